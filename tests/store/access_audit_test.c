/* SPDX-License-Identifier: Apache-2.0 */
/* The copy of the audit against a real PostgreSQL: copied once and checked, and
 * read by indexes when it is big. */
#include "cairn/access.cairn.h"
#include "cairn/access.handlers.h"
#include "common/audit/audit_seal.h"
#include "common/audit/audit_sealed.h"
#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/store/audit.h"
#include "services/access/audit_follow.h"
#include "services/access/service.h"
#include "tests/lib/call.h"
#include "tests/lib/explain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the four above it. */
#include <cmocka.h>

enum { CONNECTIONS = 2, PAGES = 5, LIMIT = 3 };

static struct test_pg *s_pg;
static struct access_service s_access;
static struct cn_service s_service;
static const struct test_caller SUPERVISOR = { .role = "supervisor" };
static const struct test_caller COORDINATOR = { .role = "coordinator" };

/* ---- copying ---- */

static struct cn_uuid s_audited(struct test_world *world)
{
    struct cn_err err = { 0 };
    struct cn_uuid patient = cn_uuid_new(&world->env);
    int64_t count = 0;
    struct cn_request request =
        test_world_request(world, world->arena, NULL, NULL, "read");
    assert_int_equal(
        cn_audit_read(&request, "patient.read", "pat_1", &patient, 1, &err),
        CN_OK);
    assert_int_equal(cn_audit_seal_batch(&world->env, "access", &count, &err),
                     CN_OK);
    assert_true(count > 0);
    return patient;
}

static const Aud__FetchSealedResponse *s_page(struct test_world *world,
                                              int64_t after)
{
    const Aud__FetchSealedResponse *page = NULL;
    struct cn_err err = { 0 };
    assert_int_equal(
        cn_audit_sealed_read(&world->env, world->arena, after, 0, &page, &err),
        CN_OK);
    return page;
}

/* Copies the rows after the place; the breaks that were found. */
static size_t s_copy(struct test_world *world)
{
    struct cn_err err = { 0 };
    int64_t place = 0;
    size_t breaks = 0;
    assert_int_equal(audit_follow_place(&world->env, "access", &place, &err),
                     CN_OK);
    assert_int_equal(audit_follow_copy(&world->env, "access", place,
                                       s_page(world, place), &place, &breaks,
                                       &err),
                     CN_OK);
    return breaks;
}

static const Acc__ListAuditResponse *s_list(struct test_world *world,
                                            struct cn_uuid patient)
{
    Acc__ListAuditRequest request = ACC__LIST_AUDIT_REQUEST__INIT;
    request.patient_id = cn_uuid_is_nil(patient)
                             ? NULL
                             : cn_id_text(world->arena, "pat", patient);
    struct test_answer answer =
        test_call(world, &s_service, &SUPERVISOR, "ListAudit", &request.base);
    assert_int_equal(answer.rc, CN_OK);
    return answer.body;
}

static void s_copied_once(struct test_world *world)
{
    struct cn_err err = { 0 };
    int64_t place = 0;
    size_t breaks = 0;
    struct cn_uuid patient = s_audited(world);
    (void)s_audited(world);
    assert_int_equal(audit_follow_place(&world->env, "access", &place, &err),
                     CN_OK);
    const Aud__FetchSealedResponse *page = s_page(world, place);
    int64_t to = place;
    assert_int_equal(audit_follow_copy(&world->env, "access", place, page, &to,
                                       &breaks, &err),
                     CN_OK);
    assert_int_equal(breaks, 0);
    assert_int_equal(to, page->last_seq);
    /* Another replica copies the same page: nothing is done twice. */
    assert_int_equal(audit_follow_copy(&world->env, "access", place, page, &to,
                                       &breaks, &err),
                     CN_CONFLICT);
    const Acc__ListAuditResponse *list = s_list(world, patient);
    assert_int_equal(list->n_data, 1);
    assert_string_equal(list->data[0]->action, "patient.read");
    assert_string_equal(list->data[0]->resource, "pat_1");
    assert_string_equal(list->data[0]->service, "access");
    assert_int_equal(list->data[0]->n, 1);
    assert_int_equal(list->data[0]->n_patient_ids, 1);
    assert_int_equal(s_list(world, (struct cn_uuid){ { 0 } })->n_data, 2);
    /* A filter that no index begins with. */
    Acc__ListAuditRequest request = ACC__LIST_AUDIT_REQUEST__INIT;
    request.service = "access";
    struct test_answer answer =
        test_call(world, &s_service, &SUPERVISOR, "ListAudit", &request.base);
    assert_int_equal(answer.rc, CN_OK);
    list = answer.body;
    assert_int_equal(list->n_data, 2);
}

static void s_read_is_audited(struct test_world *world)
{
    struct cn_uuid patient = s_audited(world);
    (void)s_list(world, patient);
    assert_int_equal(test_rows(world, "audit", "action = 'audit.list'"), 1);
    Acc__ListAuditRequest request = ACC__LIST_AUDIT_REQUEST__INIT;
    assert_int_equal(
        test_call(world, &s_service, &COORDINATOR, "ListAudit", &request.base)
            .rc,
        CN_FORBIDDEN);
}

static void s_broken(struct test_world *world)
{
    char sql[TEST_TEXT_MAX];
    char tenant[CN_UUID_TEXT_SIZE];
    cn_uuid_format(world->tenant, tenant);
    (void)s_audited(world);
    assert_int_equal(s_copy(world), 0);
    /* Changed between its seal and its copy. */
    (void)s_audited(world);
    (void)snprintf(sql, sizeof(sql),
                   "SET session_replication_role = replica; UPDATE "
                   "access.audit a SET actor = 'usr_x' FROM access.audit_seal "
                   "s WHERE s.id = a.id AND s.tenant_id = '%s' AND s.n = 2",
                   tenant);
    free(test_pg_sql(s_pg, sql));
    assert_int_equal(s_copy(world), 1);
    (void)snprintf(sql, sizeof(sql),
                   "SELECT count(*) FROM access.audit_break WHERE n = 2 AND "
                   "service = 'access' AND tenant_id = '%s'",
                   tenant);
    assert_int_equal(test_pg_number(s_pg, sql), 1);
    /* The rows after it are still copied. */
    (void)s_audited(world);
    assert_int_equal(s_copy(world), 0);
}

/* Rows that were copied and then deleted: the copy keeps them, and reports
 * them. */
static void s_cut(struct test_world *world)
{
    struct cn_uuid patient = s_audited(world);
    (void)s_copy(world);
    free(test_pg_sql(s_pg, "SET session_replication_role = replica; "
                           "DELETE FROM access.audit_seal WHERE seq = "
                           "(SELECT seq FROM access.audit_sealer); "
                           "UPDATE access.audit_sealer SET seq = seq - 1"));
    assert_int_equal(s_copy(world), 1);
    assert_int_equal(s_list(world, patient)->n_data, 1);
}

static void s_apart(struct test_world *world)
{
    struct cn_uuid patient = s_audited(world);
    (void)s_copy(world);
    const struct test_caller other = { .role = "supervisor",
                                       .tenant = cn_uuid_new(&world->env) };
    Acc__ListAuditRequest request = ACC__LIST_AUDIT_REQUEST__INIT;
    request.patient_id = cn_id_text(world->arena, "pat", patient);
    struct test_answer answer =
        test_call(world, &s_service, &other, "ListAudit", &request.base);
    assert_int_equal(answer.rc, CN_OK);
    assert_int_equal(((const Acc__ListAuditResponse *)answer.body)->n_data, 0);
}

/* ---- plans ---- */

#define END     "now() + interval '1 day'"
#define NIL     "'00000000-0000-0000-0000-000000000000'"
#define FROM    "'2020-01-01'"
#define PATIENT "md5('p7')::uuid"
static const struct test_plan PLANS[] = {
    { "SQL_AUDIT_BY_TIME", END ", " NIL ", 3, " FROM ", NULL, NULL, NULL, NULL",
      "audit_entry_at" },
    { "SQL_AUDIT_BY_ACTOR",
      END ", " NIL ", 3, " FROM ", 'usr_7', NULL, NULL, NULL",
      "audit_entry_actor" },
    { "SQL_AUDIT_BY_ACTION",
      END ", " NIL ", 3, " FROM ", NULL, 'rare.read', NULL, NULL",
      "audit_entry_action" },
    { "SQL_AUDIT_SOME_BY_TIME",
      END ", " NIL ", 3, " FROM ", NULL, NULL, NULL, 'referrals'",
      "audit_entry_at" },
    { "SQL_AUDIT_BY_RESOURCE",
      END ", " NIL ", 3, " FROM ", NULL, NULL, 'ref_7', NULL",
      "audit_entry_resource" },
    { "SQL_AUDIT_BY_PATIENT",
      END ", " NIL ", 3, " FROM ", NULL, NULL, NULL, NULL, " PATIENT,
      "audit_patient_key" },
    { "SQL_AUDIT_PLACE", "'access'", NULL },
    { "SQL_AUDIT_CHAINS", "'access', ARRAY[" NIL "]::uuid[]", NULL },
    { "SQL_AUDIT_MOVE", "'access', 0, 0", NULL },
    { "SQL_AUDIT_BREAK_COUNT", "'access'", NULL },
    /* The sealer's own, in the schema of every service. */
    { "SQL_SEALED_AFTER", "300, 200", "audit_seal_order" },
    { "SQL_SEAL_LAST", "ARRAY[md5('t1')::uuid]", "audit_seal_key" },
    { "SQL_SEAL_HEADS", "", "audit_seal_key" },
    { "SQL_SEALER_LOOK", "1", "audit_order" },
};

/* Copied rows of a tenant and of others, and sealed rows to read. */
static void s_fill(long rows)
{
    char sql[4000];
    (void)snprintf(
        sql, sizeof(sql),
        "INSERT INTO access.audit_entry SELECT md5('t' || i %% 3)::uuid, "
        "'referrals', i, '\\x00', md5('e' || i)::uuid, now() - i * interval "
        "'1 s', 'usr_' || i %% 500, 'coordinator', CASE WHEN i %% 500 = 1 "
        "THEN 'rare.read' ELSE 'patient.read' END, 'ref_' || i %% 3000, "
        "ARRAY[md5('p' || i %% 1000)::uuid], 'req' "
        "FROM generate_series(1, %ld) i;"
        "INSERT INTO access.audit_patient SELECT tenant_id, patients[1], at, "
        "id, service, n FROM access.audit_entry WHERE hash = '\\x00';"
        "INSERT INTO access.audit (tenant_id, id, at, actor, role, action, xid)"
        " SELECT md5('t' || i %% 3)::uuid, md5('e' || i)::uuid, now(), 'a', "
        "'r', 'a', (i / 3)::text::xid8 FROM generate_series(1, %ld) i;"
        "INSERT INTO access.audit_seal SELECT tenant_id, row_number() OVER "
        "(PARTITION BY tenant_id ORDER BY id), 1000 + row_number() OVER (), "
        "id, 1, sha256('') FROM access.audit WHERE role = 'r';"
        "UPDATE access.audit_sealer SET xid = '%ld', epoch = 1; ANALYZE",
        rows, rows, rows / 3);
    free(test_pg_sql(s_pg, sql));
}

static void the_audit_is_read_by_indexes(void **state)
{
    struct cn_uuid tenant;
    (void)state;
    char *text = test_pg_sql(s_pg, "SELECT md5('t1')::uuid");
    assert_true(cn_uuid_parse(text, &tenant));
    free(text);
    s_fill(test_explain_rows());
    test_explain_some(s_pg, tenant, PLANS, CN_COUNT(PLANS));
    for (size_t i = 0; i < PAGES; i++) {
        test_explain_page(s_pg, tenant, PLANS[i].statement, PLANS[i].args,
                          LIMIT);
    }
}

/* ---- tests ---- */

#define TEST(name, body)                                                       \
    static void name(void **state)                                             \
    {                                                                          \
        (void)state;                                                           \
        test_world_run(s_pg, CONNECTIONS, body, NULL);                         \
    }

TEST(a_sealed_row_is_copied_once_and_shown, s_copied_once)
TEST(reading_the_audit_is_for_few_and_in_the_audit, s_read_is_audited)
TEST(a_row_that_does_not_follow_is_an_alarm, s_broken)
TEST(a_chain_that_became_shorter_is_an_alarm, s_cut)
TEST(one_tenant_never_sees_anothers_audit, s_apart)

static int s_setup(void **state)
{
    (void)state;
    s_service = (struct cn_service){ .name = "access",
                                     .methods = access_methods,
                                     .method_count = access_method_count,
                                     .events = access_events,
                                     .event_count = access_event_count,
                                     .self = &s_access };
    s_pg = test_pg_new("access", NULL);
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
        cmocka_unit_test(a_sealed_row_is_copied_once_and_shown),
        cmocka_unit_test(reading_the_audit_is_for_few_and_in_the_audit),
        cmocka_unit_test(a_row_that_does_not_follow_is_an_alarm),
        cmocka_unit_test(a_chain_that_became_shorter_is_an_alarm),
        cmocka_unit_test(one_tenant_never_sees_anothers_audit),
        cmocka_unit_test(the_audit_is_read_by_indexes),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
