/* SPDX-License-Identifier: Apache-2.0 */
/* The sealer against a real PostgreSQL: one chain for each tenant, however
 * many write and seal at the same time. That a change of a sealed audit is
 * found is tested by tests/store/audit_verify_test.c. */
#include "common/audit/audit_heads.h"
#include "common/audit/audit_scan.h"
#include "common/audit/audit_seal.h"
#include "common/audit/audit_sealed.h"
#include "common/base/clock.h"
#include "common/loop/fiber.h"
#include "common/loop/loop.h"
#include "common/store/audit.h"
#include "common/store/write.h"
#include "tests/lib/call.h"
#include "tests/lib/pg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    WRITERS = 8,
    WRITES = 60, /* of each writer */
    TENANTS = 3,
    SEALERS = 2,
    BUDGET_US = 60000000
};

static const struct cn_uuid NONE;
static const char KEY[] =
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
static struct test_pg *s_pg;

/* ---- what the tests do ---- */

static void s_audit(struct test_world *world,
                    struct cn_arena *arena,
                    struct cn_uuid tenant,
                    const char *resource)
{
    struct cn_err err = { 0 };
    struct cn_uuid patient = cn_uuid_new(&world->env);
    struct cn_request request =
        test_world_request(world, arena, NULL, NULL, "read");
    request.principal.tenant_id = tenant;
    assert_int_equal(
        cn_audit_read(&request, "thing.read", resource, &patient, 1, &err),
        CN_OK);
}

/* A row in the unit of a write, as handlers leave it. */
static void s_audit_write(struct test_world *world,
                          struct cn_arena *arena,
                          struct cn_uuid tenant)
{
    struct cn_err err = { 0 };
    struct cn_write *write =
        cn_write_begin_system(&world->env, arena, tenant, NULL);
    assert_non_null(write);
    cn_write_audit(write, "thing.change", NULL, NONE);
    assert_int_equal(cn_write_commit(write, &err), CN_OK);
}

static int64_t s_seal(struct test_world *world)
{
    struct cn_err err = { 0 };
    int64_t count = 0;
    assert_int_equal(cn_audit_seal_batch(&world->env, "probe", &count, &err),
                     CN_OK);
    return count;
}

/* Verifies all; how many rows were sealed. */
static int64_t s_verified(struct test_world *world)
{
    struct cn_err err = { 0 };
    struct cn_audit_verify *verify = cn_audit_verify_new("probe", true);
    assert_int_equal(cn_audit_scan_verify(&world->env, NONE, verify, &err),
                     CN_OK);
    cn_fiber_set_deadline(cn_clock_monotonic() + BUDGET_US);
    assert_int_equal(cn_audit_verify_fault_count(verify), 0);
    int64_t count = cn_audit_verify_row_count(verify);
    cn_audit_verify_free(verify);
    return count;
}

static long s_rows(const char *table)
{
    char sql[TEST_TEXT_MAX];
    (void)snprintf(sql, sizeof(sql), "SELECT count(*) FROM probe.%s", table);
    return test_pg_number(s_pg, sql);
}

static void s_reset(void)
{
    free(test_pg_sql(
        s_pg, "TRUNCATE probe.audit, probe.audit_seal;"
              "UPDATE probe.audit_sealer SET epoch = 0, xid = '0', seq = 0, "
              "tenant_id = '00000000-0000-0000-0000-000000000000', "
              "id = '00000000-0000-0000-0000-000000000000', holder = NULL;"));
}

/* A session that wrote a row of the tenant and stays open. */
static FILE *s_hold(struct test_world *world)
{
    char command[2048];
    char tenant[CN_UUID_TEXT_SIZE];
    cn_uuid_format(world->tenant, tenant);
    (void)snprintf(command, sizeof(command),
                   "psql -XAtq -v ON_ERROR_STOP=1 -h %s -p %s -U postgres "
                   "-d %s >/dev/null",
                   s_pg->dir, s_pg->port, s_pg->database);
    FILE *psql = popen(command, "we");
    assert_non_null(psql);
    (void)fprintf(psql,
                  "BEGIN; INSERT INTO probe.audit (tenant_id, id, at, actor, "
                  "role, action) VALUES ('%s', gen_random_uuid(), now(), "
                  "'held', 'system', 'held');\n",
                  tenant);
    (void)fflush(psql);
    while (test_pg_number(s_pg, "SELECT count(*) FROM pg_stat_activity WHERE "
                                "state = 'idle in transaction' AND "
                                "backend_xid IS NOT NULL") == 0) {
        assert_int_equal(cn_fiber_sleep(1000), CN_OK);
    }
    return psql;
}

static void s_release(FILE *psql)
{
    (void)fprintf(psql, "COMMIT;\n");
    assert_int_equal(pclose(psql), 0);
}

/* ---- one chain ---- */

struct crowd {
    struct test_world *world;
    struct cn_uuid tenants[TENANTS];
    unsigned writing;
    int64_t sealed;
};

struct writer {
    struct crowd *crowd;
    unsigned number;
};

static void s_writer(void *arg)
{
    struct writer *self = arg;
    struct crowd *crowd = self->crowd;
    for (unsigned i = 0; i < WRITES; i++) {
        CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(1 << 20);
        struct cn_uuid tenant = crowd->tenants[(self->number + i) % TENANTS];
        if (i % 3 == 0) {
            s_audit_write(crowd->world, arena, tenant);
        } else {
            s_audit(crowd->world, arena, tenant, i % 2 == 0 ? "thing_1" : NULL);
        }
    }
    crowd->writing--;
    test_world_ended(crowd->world);
}

static void s_sealer(void *arg)
{
    struct crowd *crowd = arg;
    bool last = false;
    for (int64_t count = 0; !last || count > 0;) {
        struct cn_err err = { 0 };
        last = crowd->writing == 0;
        enum cn_code rc =
            cn_audit_seal_batch(&crowd->world->env, "probe", &count, &err);
        assert_true(rc == CN_OK || rc == CN_CONFLICT);
        if (rc == CN_CONFLICT) {
            last = false;
            continue;
        }
        crowd->sealed += count;
    }
    test_world_ended(crowd->world);
}

static void s_crowd(struct test_world *world)
{
    struct crowd crowd = { .world = world, .writing = WRITERS };
    struct writer writers[WRITERS];
    for (unsigned i = 0; i < TENANTS; i++) {
        crowd.tenants[i] = cn_uuid_new(&world->env);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){ &crowd, i };
        test_world_spawn(world, s_writer, &writers[i], BUDGET_US);
    }
    for (unsigned i = 0; i < SEALERS; i++) {
        test_world_spawn(world, s_sealer, &crowd, BUDGET_US);
    }
    FILE *held = s_hold(world);
    assert_int_equal(cn_fiber_sleep(50000), CN_OK);
    s_release(held);
    test_world_join(world);
    while (s_seal(world) > 0) {
    }
    /* Two sealers may meet at one place; the second one then finds it moved.
     * Each row is sealed once in any case: */
    assert_int_equal(s_verified(world), WRITERS * WRITES + 1);
    assert_int_equal(s_rows("audit"), WRITERS * WRITES + 1);
    assert_int_equal(
        test_pg_number(s_pg, "SELECT count(*) FROM (SELECT tenant_id FROM "
                             "probe.audit_seal GROUP BY tenant_id HAVING "
                             "max(n) <> count(*) OR min(n) <> 1) broken"),
        0);
}

static void s_waits_for_the_open(struct test_world *world)
{
    FILE *held = s_hold(world);
    s_audit(world, world->arena, world->tenant, "later");
    assert_int_equal(s_seal(world), 0);
    s_release(held);
    assert_int_equal(s_seal(world), 2);
    char *order =
        test_pg_sql(s_pg, "SELECT a.actor FROM probe.audit_seal s JOIN "
                          "probe.audit a USING (tenant_id, id) ORDER BY s.n");
    assert_string_equal(order, "held\nkey_test");
    free(order);
    assert_int_equal(s_verified(world), 2);
}

static void s_goes_on_where_it_was(struct test_world *world)
{
    for (int i = 0; i < 3; i++) {
        s_audit(world, world->arena, world->tenant, NULL);
        s_audit(world, world->arena, cn_uuid_new(&world->env), NULL);
        assert_int_equal(s_seal(world), 2);
        assert_int_equal(s_seal(world), 0);
    }
    assert_int_equal(s_verified(world), 6);
}

/* After a restore transaction ids begin anew; the epoch is raised. */
static void s_older_epoch_first(struct test_world *world)
{
    s_audit(world, world->arena, world->tenant, NULL);
    free(test_pg_sql(s_pg, "SET session_replication_role = replica; UPDATE "
                           "probe.audit SET xid = '4000000000', epoch = 0"));
    assert_int_equal(s_seal(world), 1);
    s_audit(world, world->arena, world->tenant, NULL);
    assert_int_equal(s_seal(world), 1);
    assert_int_equal(s_verified(world), 2);
}

static void s_more_than_a_batch(struct test_world *world)
{
    free(test_pg_sql(
        s_pg, "INSERT INTO probe.audit (tenant_id, id, at, actor, role, action,"
              " patients) SELECT md5((i % 7)::text)::uuid, gen_random_uuid(), "
              "now(), 'many', 'system', 'many', CASE WHEN i % 2 = 0 THEN "
              "ARRAY[gen_random_uuid(), gen_random_uuid()] ELSE '{}' END "
              "FROM generate_series(1, 1201) i"));
    assert_int_equal(s_seal(world), CN_AUDIT_SEAL_BATCH);
    assert_int_equal(s_seal(world), CN_AUDIT_SEAL_BATCH);
    assert_int_equal(s_seal(world), 1201 - 2 * CN_AUDIT_SEAL_BATCH);
    assert_int_equal(s_verified(world), 1201);
}

/* ---- the sealer's fiber ---- */

static bool s_all_sealed(void *arg)
{
    (void)arg;
    return s_rows("audit") == s_rows("audit_seal");
}

static void s_lease_is_one(struct test_world *world)
{
    char folder[] = "/tmp/cairn-heads-XXXXXX";
    struct cn_err err = { 0 };
    assert_non_null(mkdtemp(folder));
    const struct cn_audit_heads_config heads = { .service = "probe",
                                                 .folder = folder,
                                                 .key = KEY };
    struct cn_env second = world->env;
    s_audit(world, world->arena, world->tenant, NULL);
    assert_int_equal(cn_audit_seal_start(&world->env, &heads, &err), CN_OK);
    assert_int_equal(cn_audit_seal_start(&second, &heads, &err), CN_OK);
    test_world_until(world, s_all_sealed, NULL);
    assert_int_equal(cn_audit_sealing(&world->env) + cn_audit_sealing(&second),
                     1);
    assert_int_equal(
        test_pg_number(s_pg, "SELECT count(*) FROM probe.audit_sealer WHERE "
                             "holder IS NOT NULL AND held_until > now()"),
        1);
    s_audit(world, world->arena, world->tenant, NULL);
    test_world_until(world, s_all_sealed, NULL);
    /* At a stop the last heads go out and the lease is given back. */
    cn_loop_stop(world->env.loop);
    while (test_pg_number(s_pg, "SELECT count(*) FROM probe.audit_sealer WHERE "
                                "holder IS NULL") == 0) {
        assert_int_equal(cn_fiber_sleep(1000), CN_OK);
    }
    char path[TEST_TEXT_MAX];
    const char *text = NULL;
    struct cn_audit_heads read = { 0 };
    (void)snprintf(path, sizeof(path), "%s/probe.heads", folder);
    assert_int_equal(cn_audit_file_read(world->arena, path, &text, &err),
                     CN_OK);
    assert_int_equal(cn_audit_heads_read(world->arena, text, &read, &err),
                     CN_OK);
    assert_true(read.is_signed && read.is_right);
    assert_int_equal(read.count, 1);
    assert_int_equal(read.items[0].n, 2);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

static void s_bad_key(struct test_world *world)
{
    struct cn_err err = { 0 };
    const struct cn_audit_heads_config heads = { "probe", "", "secret" };
    assert_int_equal(cn_audit_seal_start(&world->env, &heads, &err),
                     CN_INVALID);
}

/* A file of heads is never replaced by those of a shorter or another chain. */
static void s_heads_stay(struct test_world *world)
{
    char folder[] = "/tmp/cairn-heads-XXXXXX";
    char path[TEST_TEXT_MAX];
    const char *first = NULL;
    const char *text = NULL;
    bool broken = false;
    struct cn_err err = { 0 };
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/probe.heads", folder);
    const struct cn_audit_heads_config heads = { "probe", folder, KEY };
    for (int i = 0; i < 3; i++) {
        s_audit(world, world->arena, world->tenant, NULL);
        assert_int_equal(s_seal(world), 1);
        assert_int_equal(
            cn_audit_heads_export(&world->env, &heads, &broken, &err), CN_OK);
    }
    assert_int_equal(cn_audit_file_read(world->arena, path, &first, &err),
                     CN_OK);
    free(test_pg_sql(s_pg, "SET session_replication_role = replica; "
                           "DELETE FROM probe.audit_seal WHERE n = 3"));
    assert_int_equal(cn_audit_heads_export(&world->env, &heads, &broken, &err),
                     CN_CONFLICT);
    assert_true(broken);
    assert_int_equal(cn_audit_file_read(world->arena, path, &text, &err),
                     CN_OK);
    assert_string_equal(first, text);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

/* ---- what is told of it, and who may ---- */

static void s_fetched(struct test_world *world)
{
    const Aud__FetchSealedResponse *page = NULL;
    struct cn_err err = { 0 };
    for (int i = 0; i < 5; i++) {
        s_audit(world, world->arena, world->tenant, "thing_1");
    }
    assert_int_equal(s_seal(world), 5);
    s_audit(world, world->arena, world->tenant, "not sealed yet");
    assert_int_equal(
        cn_audit_sealed_read(&world->env, world->arena, 1, 3, &page, &err),
        CN_OK);
    assert_int_equal(page->last_seq, 5);
    assert_int_equal(page->n_sealed, 3);
    assert_int_equal(page->sealed[0]->seq, 2);
    assert_int_equal(page->sealed[0]->n, 2);
    assert_string_equal(page->sealed[0]->resource, "thing_1");
    assert_int_equal(page->sealed[0]->hash.len, 32);
    assert_int_equal(
        cn_audit_sealed_read(&world->env, world->arena, 5, 3, &page, &err),
        CN_OK);
    assert_int_equal(page->n_sealed, 0);

    struct cn_reply reply = { 0 };
    Aud__FetchSealedRequest body = AUD__FETCH_SEALED_REQUEST__INIT;
    struct cn_request request =
        test_world_request(world, world->arena, NULL, NULL, "fetch");
    request.body = &body;
    assert_int_equal(test_handle(cn_audit_sealed_fetch, &request, &reply, &err),
                     CN_FORBIDDEN);
}

static void s_grants(struct test_world *world)
{
    char *grants = test_pg_sql(
        world->pg,
        "SELECT r, t, string_agg(left(p, 1), '' ORDER BY n) FROM "
        "unnest(ARRAY['probe_app', 'probe_relay']) r, "
        "unnest(ARRAY['audit', 'audit_seal', 'audit_sealer']) t, "
        "unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) "
        "WITH ORDINALITY AS a (p, n) "
        "WHERE has_table_privilege(r, 'probe.' || t, p) "
        "GROUP BY r, t ORDER BY r, t");
    assert_string_equal(grants, "probe_app|audit|I\n"
                                "probe_relay|audit|SI\n"
                                "probe_relay|audit_seal|SI\n"
                                "probe_relay|audit_sealer|SU");
    free(grants);
    /* The trigger stops the table's owner too. */
    char *answer = test_pg_sql(
        world->pg,
        "CREATE FUNCTION pg_temp.try(sql text) RETURNS text LANGUAGE plpgsql "
        "AS $$ BEGIN EXECUTE sql; RETURN 'done'; EXCEPTION WHEN OTHERS THEN "
        "RETURN SQLERRM; END $$; SET ROLE probe_owner; "
        "SELECT DISTINCT pg_temp.try(s) FROM unnest(ARRAY["
        "'UPDATE probe.audit SET actor = actor', 'DELETE FROM probe.audit', "
        "'UPDATE probe.audit_seal SET n = n', 'DELETE FROM probe.audit_seal'"
        "]) s");
    assert_string_equal(answer, "the audit only grows");
    free(answer);
}

/* ---- tests ---- */

#define TEST(name, connections, body)                                          \
    static void name(void **state)                                             \
    {                                                                          \
        (void)state;                                                           \
        s_reset();                                                             \
        test_world_run(s_pg, connections, body, NULL);                         \
    }

TEST(concurrent_writers_and_two_sealers_make_one_chain, 3, s_crowd)
TEST(a_row_that_may_still_come_before_is_waited_for, 1, s_waits_for_the_open)
TEST(a_sealer_goes_on_where_the_last_one_ended, 1, s_goes_on_where_it_was)
TEST(rows_of_an_older_epoch_come_first, 1, s_older_epoch_first)
TEST(many_rows_are_sealed_batch_by_batch, 1, s_more_than_a_batch)
TEST(one_replica_holds_the_lease_and_leaves_signed_heads, 2, s_lease_is_one)
TEST(a_signing_key_that_is_none_stops_the_start, 1, s_bad_key)
TEST(exported_heads_are_not_replaced_by_those_of_another_chain, 1, s_heads_stay)
TEST(sealed_rows_are_told_in_pages_to_services_alone, 1, s_fetched)
TEST(nobody_may_change_the_audit_or_its_seals, 0, s_grants)

static int s_setup(void **state)
{
    (void)state;
    s_pg = test_pg_new("probe", "tests/store/probe");
    return 0;
}

static int s_teardown(void **state)
{
    (void)state;
    test_pg_free(s_pg);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(concurrent_writers_and_two_sealers_make_one_chain),
        cmocka_unit_test(a_row_that_may_still_come_before_is_waited_for),
        cmocka_unit_test(a_sealer_goes_on_where_the_last_one_ended),
        cmocka_unit_test(rows_of_an_older_epoch_come_first),
        cmocka_unit_test(many_rows_are_sealed_batch_by_batch),
        cmocka_unit_test(one_replica_holds_the_lease_and_leaves_signed_heads),
        cmocka_unit_test(a_signing_key_that_is_none_stops_the_start),
        cmocka_unit_test(
            exported_heads_are_not_replaced_by_those_of_another_chain),
        cmocka_unit_test(sealed_rows_are_told_in_pages_to_services_alone),
        cmocka_unit_test(nobody_may_change_the_audit_or_its_seals),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
