/* SPDX-License-Identifier: Apache-2.0 */
/* A thousand changes of a sealed audit, and the verifier finds each. They are
 * made by a superuser in a copy of the database, and in an export. CAIRN_SEED
 * repeats a run. */
#include "common/audit/audit_export.h"
#include "common/audit/audit_heads.h"
#include "common/audit/audit_scan.h"
#include "common/audit/audit_seal.h"
#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/base/config.h"
#include "common/loop/fiber.h"
#include "common/store/audit.h"
#include "tests/lib/pg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    MUTATIONS = 1000,
    TENANTS = 3,
    ROWS = 60, /* in all chains */
    BUDGET_US = 110000000,
    SQL_MAX = 2048,
    ARENA_SIZE = 8 << 20
};

static const struct cn_uuid NONE;
static const char KEY[] =
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
static struct test_pg *s_pg;
static uint64_t s_random;

/* Runs SQL as the superuser, in one connection of its own. True when it
 * changed the audit. */
CN_SQL_RELAY(SQL_TEST_CHANGE, "SELECT probe.change($1)");
CN_SQL_RELAY(SQL_TEST_RESTORE, "SELECT probe.restore()");

static const char SETUP[] =
    "CREATE FUNCTION probe.flip(x text, p int) RETURNS text LANGUAGE sql AS $$"
    " SELECT convert_from(set_byte(convert_to(x, 'UTF8'), p % length(x),"
    " get_byte(convert_to(x, 'UTF8'), p % length(x)) # 1), 'UTF8') $$;"
    "CREATE FUNCTION probe.flip(x uuid, p int) RETURNS uuid LANGUAGE sql AS $$"
    " SELECT encode(set_bit(decode(replace(x::text, '-', ''), 'hex'), p % 128,"
    " 1 - get_bit(decode(replace(x::text, '-', ''), 'hex'), p % 128)),"
    " 'hex')::uuid $$;"
    "CREATE FUNCTION probe.flip(x bytea, p int) RETURNS bytea LANGUAGE sql AS "
    "$$ SELECT set_bit(x, p % 256, 1 - get_bit(x, p % 256)) $$;"
    "CREATE FUNCTION probe.mark() RETURNS text LANGUAGE sql AS $$ SELECT "
    " md5((SELECT string_agg(a::text, '' ORDER BY a::text) FROM probe.audit a)"
    " || (SELECT string_agg(s::text, '' ORDER BY s::text)"
    " FROM probe.audit_seal s)) $$;"
    /* A change that a constraint refuses does not count. */
    "CREATE FUNCTION probe.change(sql text) RETURNS boolean LANGUAGE plpgsql "
    "SET session_replication_role = replica AS $$ BEGIN EXECUTE sql;"
    " RETURN probe.mark() IS DISTINCT FROM (SELECT m FROM probe.kept_mark);"
    " EXCEPTION WHEN integrity_constraint_violation THEN RETURN false; END $$;"
    "CREATE FUNCTION probe.restore() RETURNS void LANGUAGE plpgsql "
    "SET session_replication_role = replica AS $$ BEGIN"
    " DELETE FROM probe.audit a WHERE md5(a::text) NOT IN"
    " (SELECT md5(k::text) FROM probe.kept_audit k);"
    " INSERT INTO probe.audit SELECT k.* FROM probe.kept_audit k WHERE NOT "
    " EXISTS (SELECT 1 FROM probe.audit a WHERE a.id = k.id);"
    " DELETE FROM probe.audit_seal s WHERE md5(s::text) NOT IN"
    " (SELECT md5(k::text) FROM probe.kept_seal k);"
    " INSERT INTO probe.audit_seal SELECT k.* FROM probe.kept_seal k WHERE NOT "
    " EXISTS (SELECT 1 FROM probe.audit_seal s WHERE s.id = k.id); END $$;";

static uint64_t s_next(void)
{
    s_random ^= s_random << 13;
    s_random ^= s_random >> 7;
    s_random ^= s_random << 17;
    return s_random;
}

static unsigned s_below(unsigned bound)
{
    return (unsigned)(s_next() % bound);
}

static uint64_t s_seed(void)
{
    const char *given = getenv("CAIRN_SEED");
    long seed = 0;
    if (given == NULL || !cn_parse_number(given, 1, INT32_MAX, &seed)) {
        seed = (long)(cn_clock_real() % 1000000000) + 1;
    }
    print_message("CAIRN_SEED=%ld\n", seed);
    return (uint64_t)seed * UINT64_C(0x9e3779b97f4a7c15);
}

/* ---- an audit to be changed ---- */

/* Rows in three chains, with and without patients, resource and request. */
static void s_fill(struct test_world *world)
{
    struct cn_err err = { 0 };
    int64_t count = 1;
    free(test_pg_sql(
        s_pg,
        "INSERT INTO probe.audit (tenant_id, id, at, actor, role, action, "
        "resource, patients, request_id) SELECT md5((i % 3)::text)::uuid, "
        "gen_random_uuid(), now() + i * interval '1 second', 'usr_' || i % 7, "
        "'coordinator', CASE i % 3 WHEN 0 THEN 'thing.read' ELSE "
        "'thing.change' END, CASE WHEN i % 4 > 0 THEN 'thing_' || i END, "
        "CASE i % 3 WHEN 0 THEN '{}' WHEN 1 THEN ARRAY[gen_random_uuid()] "
        "ELSE ARRAY[gen_random_uuid(), gen_random_uuid()] END, "
        "CASE WHEN i % 5 > 0 THEN 'req_' || i END "
        "FROM generate_series(1, 60) i"));
    while (count > 0) {
        assert_int_equal(
            cn_audit_seal_batch(&world->env, "probe", &count, &err), CN_OK);
    }
    free(test_pg_sql(s_pg,
                     "CREATE TABLE probe.kept_audit AS TABLE probe.audit;"
                     "CREATE TABLE probe.kept_seal AS TABLE probe.audit_seal;"
                     "CREATE TABLE probe.kept_mark AS SELECT probe.mark() AS m;"
                     "ANALYZE"));
}

static struct cn_audit_heads s_heads(struct test_world *world)
{
    struct cn_audit_head *items = NULL;
    struct cn_audit_heads heads = { 0 };
    struct cn_err err = { 0 };
    size_t count = 0;
    assert_int_equal(
        cn_audit_heads_load(&world->env, world->arena, &items, &count, &err),
        CN_OK);
    assert_int_equal(count, TENANTS);
    const char *text =
        cn_audit_heads_text(world->arena, "probe", 0, items, count, KEY);
    assert_int_equal(cn_audit_heads_read(world->arena, text, &heads, &err),
                     CN_OK);
    assert_true(heads.is_right);
    return heads;
}

/* The fault that a change must be reported as; n 0: any fault. */
struct wanted {
    char tenant[CN_UUID_TEXT_SIZE];
    long n;
};

/* Is the fault that was wanted among them? */
static bool s_named(const struct cn_audit_verify *verify,
                    const struct wanted *wanted)
{
    size_t count = cn_audit_verify_fault_count(verify);
    for (size_t i = 0; i < count && wanted->n > 0; i++) {
        struct cn_audit_fault fault = cn_audit_verify_fault(verify, i);
        char tenant[CN_UUID_TEXT_SIZE];
        cn_uuid_format(fault.tenant_id, tenant);
        if (fault.n == wanted->n && strcmp(tenant, wanted->tenant) == 0) {
            return true;
        }
    }
    return count > 0 && wanted->n == 0;
}

/* ---- changes in the database ---- */

/* "(SELECT ...)" of the audit id of a row of some chain, and its place. */
static void s_row(struct wanted *wanted, char id[SQL_MAX])
{
    static const char *const TENANT_TEXTS[TENANTS] = {
        "cfcd2084-95d5-65ef-66e7-dff9f98764da",
        "c4ca4238-a0b9-2382-0dcc-509a6f75849b",
        "c81e728d-9d4c-2f63-6f06-7f89cc14862c"
    };
    (void)snprintf(wanted->tenant, sizeof(wanted->tenant), "%s",
                   TENANT_TEXTS[s_below(TENANTS)]);
    wanted->n = 1 + (long)s_below(ROWS / TENANTS);
    (void)snprintf(id, SQL_MAX,
                   "(SELECT k.id FROM probe.kept_seal k WHERE k.tenant_id = "
                   "'%s' AND k.n = %ld)",
                   wanted->tenant, wanted->n);
}

static void s_flip(char sql[SQL_MAX], struct wanted *wanted)
{
    static const char *const CHANGES[] = {
        "audit SET actor = probe.flip(actor, %u)",
        "audit SET role = probe.flip(role, %u)",
        "audit SET action = probe.flip(action, %u)",
        "audit SET resource = probe.flip(resource, %u)",
        "audit SET resource = coalesce(resource, '')",
        "audit SET request_id = probe.flip(request_id, %u)",
        "audit SET request_id = nullif(request_id, 'req_' || %u)",
        "audit SET at = at + (1 + %u) * interval '1 us'",
        "audit SET patients[1] = probe.flip(patients[1], %u)",
        "audit SET patients = patients || NULL::uuid",
        "audit SET patients = patients[2:]",
        "audit SET epoch = epoch # 1",
        "audit SET xid = ((xid::text::bigint # 1 << %u %% 20)::text)::xid8",
        "audit_seal SET hash = probe.flip(hash, %u)",
        "audit_seal SET form = form + 1",
        /* The verifier decides where these are found. */
        "audit SET id = probe.flip(id, %u)",
        "audit SET tenant_id = probe.flip(tenant_id, %u)",
        "audit_seal SET id = probe.flip(id, %u)",
        "audit_seal SET tenant_id = probe.flip(tenant_id, %u)",
        "audit_seal SET n = n # (1 << %u %% 10)",
        "audit_seal SET seq = seq # (1 << %u %% 10)",
    };
    enum { COUNT = CN_COUNT(CHANGES), EXACT = 17 };
    char id[SQL_MAX];
    char change[SQL_MAX];
    unsigned kind = s_below(COUNT);
    s_row(wanted, id);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    (void)snprintf(change, sizeof(change), CHANGES[kind], s_below(1000));
#pragma GCC diagnostic pop
    (void)snprintf(sql, SQL_MAX, "UPDATE probe.%.900s WHERE id = %.900s",
                   change, id);
    if (kind > EXACT) {
        wanted->n = 0;
    }
}

static void s_delete(char sql[SQL_MAX], struct wanted *wanted)
{
    char id[SQL_MAX];
    s_row(wanted, id);
    switch (s_below(3)) {
    case 0:
        (void)snprintf(sql, SQL_MAX,
                       "DELETE FROM probe.audit WHERE id = %.900s", id);
        break;
    case 1:
        (void)snprintf(sql, SQL_MAX,
                       "DELETE FROM probe.audit_seal WHERE id = %.900s", id);
        break;
    default:
        (void)snprintf(sql, SQL_MAX,
                       "WITH d AS (DELETE FROM probe.audit WHERE id = %.900s) "
                       "DELETE FROM probe.audit_seal WHERE id = %.900s",
                       id, id);
    }
}

/* Two rows of a chain change places; the first of them is the bad one. */
static void s_swap(char sql[SQL_MAX], struct wanted *wanted)
{
    static const char *const COLUMNS[] = {
        "audit SET (at, actor, action, resource, patients, request_id, xid) = "
        "(b.at, b.actor, b.action, b.resource, b.patients, b.request_id, "
        "b.xid) FROM probe.kept_audit b WHERE b.tenant_id = a.tenant_id",
        "audit_seal SET hash = b.hash FROM probe.kept_seal b "
        "WHERE b.tenant_id = a.tenant_id",
    };
    char first[SQL_MAX];
    char second[SQL_MAX];
    struct wanted other = { .n = 0 };
    s_row(wanted, first);
    do {
        s_row(&other, second);
    } while (other.n == wanted->n || strcmp(other.tenant, wanted->tenant) != 0);
    const char *change = COLUMNS[s_below(2)];
    const char *table =
        strncmp(change, "audit_seal", 10) == 0 ? "audit_seal" : "audit";
    (void)snprintf(sql, SQL_MAX,
                   "UPDATE probe.%s a %.400s AND ((a.id = %.300s AND b.id = "
                   "%.300s) OR (b.id = %.300s AND a.id = %.300s))",
                   table, strchr(change, ' '), first, second, first, second);
    wanted->n = wanted->n < other.n ? wanted->n : other.n;
}

/* The places of two seals, or of their rows. */
static void s_swap_seals(char sql[SQL_MAX], struct wanted *wanted)
{
    struct wanted other = { .n = 0 };
    char ignored[SQL_MAX];
    const char *column = s_below(2) == 0 ? "n" : "id";
    s_row(wanted, ignored);
    do {
        other.n = 1 + (long)s_below(ROWS / TENANTS);
    } while (other.n == wanted->n);
    (void)snprintf(
        sql, SQL_MAX,
        "WITH old AS (SELECT * FROM probe.kept_seal WHERE tenant_id = '%s' AND "
        "n IN (%ld, %ld)) SELECT 1 FROM old; "
        "DELETE FROM probe.audit_seal WHERE tenant_id = '%s' AND n IN (%ld, "
        "%ld); INSERT INTO probe.audit_seal (tenant_id, n, seq, id, form, "
        "hash) "
        "SELECT a.tenant_id, %s.n, a.seq, %s.id, a.form, a.hash FROM "
        "probe.kept_seal a JOIN probe.kept_seal b USING (tenant_id) WHERE "
        "tenant_id = '%s' AND a.n IN (%ld, %ld) AND b.n IN (%ld, %ld) AND a.n "
        "<> b.n",
        wanted->tenant, wanted->n, other.n, wanted->tenant, wanted->n, other.n,
        column[0] == 'n' ? "b" : "a", column[0] == 'n' ? "a" : "b",
        wanted->tenant, wanted->n, other.n, wanted->n, other.n);
    wanted->n = wanted->n < other.n ? wanted->n : other.n;
}

/* The end of a chain, seals and rows: only the exported head can tell. */
static void s_cut(char sql[SQL_MAX], struct wanted *wanted)
{
    char ignored[SQL_MAX];
    s_row(wanted, ignored);
    (void)snprintf(sql, SQL_MAX,
                   "DELETE FROM probe.audit WHERE id IN (SELECT k.id FROM "
                   "probe.kept_seal k WHERE k.tenant_id = '%s' AND k.n >= %ld);"
                   " DELETE FROM probe.audit_seal WHERE tenant_id = '%s' AND n "
                   ">= %ld",
                   wanted->tenant, wanted->n, wanted->tenant, wanted->n);
}

static bool s_changed(struct cn_db *super, const char *sql)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(ARENA_SIZE);
    const struct cn_param param = cn_text(sql);
    const struct cn_rows *rows = NULL;
    struct cn_err err = { 0 };
    if (cn_db_read(super, CN_LANE_RELAY, arena, NONE, &SQL_TEST_CHANGE, &param,
                   1, &rows, &err) != CN_OK) {
        fail_msg("%s: %s", err.msg, sql);
    }
    return cn_row_bool(rows, 0, 0);
}

static void s_restore(struct cn_db *super)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(ARENA_SIZE);
    const struct cn_rows *rows = NULL;
    struct cn_err err = { 0 };
    assert_int_equal(cn_db_read(super, CN_LANE_RELAY, arena, NONE,
                                &SQL_TEST_RESTORE, NULL, 0, &rows, &err),
                     CN_OK);
}

/* Verifies against the heads; faults as the verifier found them. */
static struct cn_audit_verify *s_verify(struct test_world *world,
                                        const struct cn_audit_heads *heads)
{
    struct cn_err err = { 0 };
    struct cn_audit_verify *verify = cn_audit_verify_new("probe", true);
    assert_int_equal(cn_audit_verify_heads(verify, heads, NONE, &err), CN_OK);
    assert_int_equal(cn_audit_scan_verify(&world->env, NONE, verify, &err),
                     CN_OK);
    cn_fiber_set_deadline(cn_clock_monotonic() + BUDGET_US);
    return verify;
}

static void s_in_the_database(struct test_world *world)
{
    typedef void change_fn(char sql[SQL_MAX], struct wanted *wanted);
    static change_fn *const CHANGES[] = { s_flip,   s_flip, s_flip,
                                          s_delete, s_swap, s_swap_seals,
                                          s_cut };
    struct cn_env super = world->env;
    struct cn_db_config config = world->config;
    struct cn_err err = { 0 };
    unsigned found = 0;
    unsigned named = 0;
    config.lanes[CN_LANE_READ].connections = 0;
    config.lanes[CN_LANE_WRITE].connections = 0;
    config.lanes[CN_LANE_RELAY].user = "postgres";
    s_fill(world);
    struct cn_audit_heads heads = s_heads(world);
    super.db = cn_db_new(&super, &config);
    assert_int_equal(cn_db_start(super.db, &err), CN_OK);
    struct cn_audit_verify *sound = s_verify(world, &heads);
    assert_int_equal(cn_audit_verify_fault_count(sound), 0);
    assert_int_equal(cn_audit_verify_row_count(sound), ROWS);
    cn_audit_verify_free(sound);
    for (unsigned i = 0; i < MUTATIONS;) {
        char sql[SQL_MAX];
        struct wanted wanted = { .n = 0 };
        CHANGES[s_below(CN_COUNT(CHANGES))](sql, &wanted);
        if (!s_changed(super.db, sql)) {
            continue;
        }
        struct cn_audit_verify *verify = s_verify(world, &heads);
        bool is_found = cn_audit_verify_fault_count(verify) > 0;
        bool is_named = s_named(verify, &wanted);
        if (!is_found || !is_named) {
            print_error("%s: %s\n", is_found ? "misnamed" : "not found", sql);
        }
        found += is_found;
        named += is_named;
        cn_audit_verify_free(verify);
        s_restore(super.db);
        i++;
    }
    sound = s_verify(world, &heads);
    assert_int_equal(cn_audit_verify_fault_count(sound), 0);
    cn_audit_verify_free(sound);
    cn_db_free(super.db);
    print_message("%u of %d changes in the database found, %u named\n", found,
                  MUTATIONS, named);
    assert_int_equal(found, MUTATIONS);
    assert_int_equal(named, MUTATIONS);
}

/* ---- changes in an export ---- */

/* The text of line `number` from 0, with its end; its size. */
static const char *s_line(const char *text, unsigned number, size_t *ret_size)
{
    while (number-- > 0) {
        text = strchr(text, '\n') + 1;
    }
    *ret_size = (size_t)(strchr(text, '\n') + 1 - text);
    return text;
}

static unsigned s_lines(const char *text)
{
    unsigned count = 0;
    for (; (text = strchr(text, '\n')) != NULL; text++) {
        count++;
    }
    return count;
}

/* A copy of the export with one change; NULL when it changed nothing. */
static char *s_export_changed(const char *text, size_t *ret_size)
{
    size_t size = strlen(text);
    unsigned lines = s_lines(text);
    char *copy = NULL;
    FILE *out = open_memstream(&copy, ret_size);
    size_t a_size = 0;
    size_t b_size = 0;
    unsigned a = 1 + s_below(lines - 2);
    unsigned b = 1 + s_below(lines - 2);
    const char *line = s_line(text, a, &a_size);
    const char *other = s_line(text, b, &b_size);
    size_t at = s_next() % size;
    switch (s_below(5)) {
    case 0: /* one bit anywhere, also in the first and last line */
    case 1:
        (void)fwrite(text, 1, at, out);
        (void)fputc((unsigned char)text[at] ^ (1 << s_below(8)), out);
        (void)fwrite(text + at + 1, 1, size - at - 1, out);
        break;
    case 2: /* a line */
        (void)fwrite(text, 1, (size_t)(line - text), out);
        (void)fputs(line + a_size, out);
        break;
    case 3: /* two lines */
        if (line < other) {
            (void)fwrite(text, 1, (size_t)(line - text), out);
            (void)fwrite(other, 1, b_size, out);
            (void)fwrite(line + a_size, 1,
                         (size_t)(other - line - (long)a_size), out);
            (void)fwrite(line, 1, a_size, out);
            (void)fputs(other + b_size, out);
        } else {
            (void)fputs(text, out);
        }
        break;
    default: /* the end is cut and the last line made to fit: only the heads
                show it */
        (void)fwrite(text, 1, (size_t)(line - text), out);
        (void)fprintf(out, "{\"rows\":%u,\"last_seq\":%u}\n", a - 1, a - 1);
    }
    (void)fclose(out);
    if (*ret_size == size && memcmp(copy, text, size) == 0) {
        free(copy);
        return NULL;
    }
    return copy;
}

/* Does the export have a fault? It is read like cairn-audit verify -f does. */
static bool
s_export_wrong(char *text, size_t size, const struct cn_audit_heads *heads)
{
    char service[CN_AUDIT_SERVICE_MAX];
    struct cn_uuid tenant = { 0 };
    struct cn_err err = { 0 };
    FILE *file = fmemopen(text, size, "r");
    assert_non_null(file);
    bool wrong = cn_audit_export_open(file, service, &tenant, &err) != CN_OK;
    if (!wrong) {
        struct cn_audit_verify *verify =
            cn_audit_verify_new(service, cn_uuid_is_nil(tenant));
        wrong = cn_audit_verify_heads(verify, heads, tenant, &err) != CN_OK ||
                cn_audit_export_verify(file, verify, &err) != CN_OK ||
                cn_audit_verify_fault_count(verify) > 0;
        cn_audit_verify_free(verify);
    }
    (void)fclose(file);
    return wrong;
}

static void s_in_an_export(struct test_world *world)
{
    struct cn_err err = { 0 };
    struct cn_audit_heads heads = s_heads(world);
    char *text = NULL;
    size_t size = 0;
    int64_t count = 0;
    unsigned found = 0;
    FILE *file = open_memstream(&text, &size);
    assert_int_equal(
        cn_audit_export_write(&world->env, "probe", NONE, file, &count, &err),
        CN_OK);
    cn_fiber_set_deadline(cn_clock_monotonic() + BUDGET_US);
    (void)fclose(file);
    assert_int_equal(count, ROWS);
    assert_false(s_export_wrong(text, size, &heads));
    for (unsigned i = 0; i < MUTATIONS;) {
        size_t changed_size = 0;
        char *changed = s_export_changed(text, &changed_size);
        if (changed == NULL) {
            continue;
        }
        bool wrong = s_export_wrong(changed, changed_size, &heads);
        if (!wrong) {
            print_error("not found:\n%.*s\n", (int)changed_size, changed);
        }
        found += wrong;
        free(changed);
        i++;
    }
    free(text);
    print_message("%u of %d changes in an export found\n", found, MUTATIONS);
    assert_int_equal(found, MUTATIONS);
}

/* One tenant's rows are verified without the others'. */
static void s_one_tenant(struct test_world *world)
{
    struct cn_err err = { 0 };
    struct cn_audit_heads heads = s_heads(world);
    struct cn_uuid tenant = heads.items[1].tenant_id;
    char *text = NULL;
    size_t size = 0;
    int64_t count = 0;
    FILE *file = open_memstream(&text, &size);
    assert_int_equal(
        cn_audit_export_write(&world->env, "probe", tenant, file, &count, &err),
        CN_OK);
    (void)fclose(file);
    assert_int_equal(count, ROWS / TENANTS);
    assert_false(s_export_wrong(text, size, &heads));
    free(text);
    struct cn_audit_verify *verify = cn_audit_verify_new("probe", false);
    assert_int_equal(cn_audit_verify_heads(verify, &heads, tenant, &err),
                     CN_OK);
    assert_int_equal(cn_audit_scan_verify(&world->env, tenant, verify, &err),
                     CN_OK);
    assert_int_equal(cn_audit_verify_fault_count(verify), 0);
    assert_int_equal(cn_audit_verify_row_count(verify), ROWS / TENANTS);
    cn_audit_verify_free(verify);
}

/* ---- tests ---- */

#define TEST(name, body)                                                       \
    static void name(void **state)                                             \
    {                                                                          \
        (void)state;                                                           \
        test_world_run(s_pg, 1, body, NULL);                                   \
    }

TEST(a_thousand_changes_in_the_database_are_found_and_named, s_in_the_database)
TEST(a_thousand_changes_in_an_export_are_found, s_in_an_export)
TEST(one_tenant_is_verified_alone, s_one_tenant)

static int s_setup(void **state)
{
    (void)state;
    s_random = s_seed();
    s_pg = test_pg_new("probe", "tests/store/probe");
    free(test_pg_sql(s_pg, SETUP));
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
        cmocka_unit_test(
            a_thousand_changes_in_the_database_are_found_and_named),
        cmocka_unit_test(a_thousand_changes_in_an_export_are_found),
        cmocka_unit_test(one_tenant_is_verified_alone),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
