/* SPDX-License-Identifier: Apache-2.0 */
/* Every statement of scheduling is planned as the role that runs it. */
#include "common/base/array.h"
#include "tests/lib/explain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka needs the three above it. */
#include <cmocka.h>

#define TENANT "00000000-0000-7000-8000-000000000001"
#define ID     "'00000000-0000-7000-8000-0000000000aa'"
#define IDS    "'{00000000-0000-7000-8000-0000000000a1}'"
#define BEGIN  "'2000-01-01Z', '00000000-0000-0000-0000-000000000000'"
#define AT     "'2026-06-01Z'"
#define BODY   "'\\x00'"
#define BOOKED "'{booked}'"

/* Two tenants, one with most of the rows; visits as uneven as in life. */
static const char ROWS[] =
    "INSERT INTO scheduling.agency SELECT md5('a' || i)::uuid, 1, 'UTC', true"
    " FROM generate_series(1, 2000) i;"
    "INSERT INTO scheduling.branch SELECT ('00000000-0000-7000-8000-00000000000"
    "' || 1 + i %% 2)::uuid, md5('b' || i)::uuid, 1, 'UTC'"
    " FROM generate_series(1, 2000) i;"
    "INSERT INTO scheduling.clinician SELECT ('00000000-0000-7000-8000-"
    "00000000000' || 1 + (i %% 10) / 9)::uuid, md5('c' || i)::uuid,"
    " ('00000000-0000-7000-8000-0000000000a' || 1 + i %% 4)::uuid,"
    " CASE i %% 5 WHEN 0 THEN 'pt' WHEN 1 THEN 'aide' ELSE 'rn' END, 1, 1,"
    " '2026-01-01'::timestamptz + i * interval '1 s', now(), '\\x00'"
    " FROM generate_series(1, 2000) i;"
    "INSERT INTO scheduling.need SELECT ('00000000-0000-7000-8000-00000000000'"
    " || 1 + (i %% 10) / 9)::uuid, md5('r' || i)::uuid, md5('p' || i / "
    "2)::uuid,"
    " 1, '\\x00' FROM generate_series(1, %ld) i;"
    "INSERT INTO scheduling.patient SELECT ('00000000-0000-7000-8000-00000000"
    "000' || 1 + (i %% 10) / 9)::uuid, md5('p' || i)::uuid, 1, '\\x00'"
    " FROM generate_series(1, %ld) i;"
    "INSERT INTO scheduling.visit SELECT c.tenant_id, md5('v' || i)::uuid,"
    " c.branch_id, md5('r' || i / 8)::uuid, md5('p' || i / 16)::uuid, c.id,"
    " 'routine', s.status, t.at, t.at + interval '1 h', t.at + interval '75 "
    "min',"
    " t.at, 1, 1, t.at, t.at, '\\x00' FROM generate_series(1, %ld) i"
    " CROSS JOIN LATERAL (SELECT '2026-01-01'::timestamptz + (i / 2000) *"
    " interval '2 h' AS at) t CROSS JOIN LATERAL (SELECT CASE WHEN i %% 100 = 0"
    " THEN 'missed' WHEN i %% 20 = 0 THEN 'booked' ELSE 'completed' END"
    " AS status) s JOIN scheduling.clinician c ON c.id ="
    " md5('c' || 1 + i %% 2000)::uuid; ANALYZE;";

#define PAGE_ARGS BEGIN ", 51, NULL"

static const struct test_plan PLANS[] = {
    { "SQL_CLINICIAN_GET", ID, "clinician_key" },
    { "SQL_CLINICIANS_OF", "'pt', " IDS ", true, 500",
      "clinician_by_discipline" },
    { "SQL_CLINICIANS_ANY", "NULL, NULL, true, 500", "clinician_order" },
    { "SQL_CLINICIANS_PAGE", BEGIN ", NULL, NULL, 51", "clinician_order" },
    { "SQL_CLINICIAN_INSERT", ID ", " ID ", " ID ", 'rn', " AT ", " BODY,
      NULL },
    { "SQL_CLINICIAN_UPDATE", ID ", 1, " ID ", 'rn', " AT ", " BODY,
      "clinician_key" },
    { "SQL_CLINICIANS_AFTER", ID ", 100", "clinician_key" },
    { "SQL_NEED_GET", ID, "need_key" },
    { "SQL_NEEDS_OF_PATIENT", ID ", 100", "need_by_patient" },
    { "SQL_NEED_KEEP", ID ", " ID ", " ID ", 1, " BODY, NULL },
    { "SQL_PATIENT_GET", ID, "patient_key" },
    { "SQL_PATIENT_KEEP", ID ", " ID ", 1, " BODY, NULL },
    { "SQL_AUTO_BOOK_SOC", "'" TENANT "'", "agency_key" },
    { "SQL_AGENCY_KEEP", "'" TENANT "', 1, 'UTC', true", NULL },
    { "SQL_BRANCH_KEEP", ID ", " ID ", 1, 'UTC'", NULL },
    { "SQL_VISIT_GET", ID, "visit_key" },
    { "SQL_VISITS_PAGE", PAGE_ARGS, "visit_order" },
    { "SQL_VISITS_BY_STATUS", PAGE_ARGS ", " BOOKED, "visit_by_status" },
    { "SQL_VISITS_OF_REFERRAL", PAGE_ARGS ", NULL, " ID ", NULL, NULL",
      "visit_by_referral" },
    { "SQL_VISITS_OF_PATIENT", PAGE_ARGS ", NULL, NULL, " ID ", NULL",
      "visit_by_patient" },
    { "SQL_VISITS_OF_CLINICIAN", PAGE_ARGS ", NULL, NULL, NULL, " ID,
      "visit_by_clinician" },
    { "SQL_VISITS_AFTER", ID ", 100", "visit_key" },
    { "SQL_BOOKED_BETWEEN", AT ", '2026-07-01Z', " IDS ", 20000",
      "visit_by_clinician" },
    { "SQL_VISIT_SOC_LIVE", ID, "visit_" },
    { "SQL_VISITS_TO_COME", ID, "visit_by_referral" },
    { "SQL_VISIT_INSERT",
      ID ", " ID ", " ID ", " ID ", " ID ", " ID ", 'soc', 'booked', " AT
         ", " AT ", " AT ", " AT ", " BODY ", " AT,
      NULL },
    { "SQL_VISIT_INSERTED", ID ", 'soc', " ID ", 'a', 'b'", "visit_key" },
    { "SQL_VISIT_UPDATE",
      ID ", 1, " ID ", 'booked', " AT ", " AT ", " AT ", " AT ", " BODY ", " AT,
      "visit_key" },
};

static struct test_pg *s_pg;
static struct cn_uuid s_tenant;

static void every_statement_uses_its_index(void **state)
{
    (void)state;
    test_explain(s_pg, s_tenant, PLANS, CN_COUNT(PLANS));
}

static void a_page_reads_no_more_than_itself(void **state)
{
    (void)state;
    test_explain_page(s_pg, s_tenant, "SQL_VISITS_PAGE", PAGE_ARGS, 51);
    test_explain_page(s_pg, s_tenant, "SQL_VISITS_BY_STATUS",
                      PAGE_ARGS ", '{missed}'", 51);
    test_explain_page(s_pg, s_tenant, "SQL_VISITS_AFTER", ID ", 100", 100);
    test_explain_page(s_pg, s_tenant, "SQL_CLINICIANS_AFTER", ID ", 100", 100);
    test_explain_page(s_pg, s_tenant, "SQL_CLINICIANS_PAGE",
                      BEGIN ", NULL, NULL, 51", 51);
}

static int s_setup(void **state)
{
    char sql[4000];
    (void)state;
    assert_true(cn_uuid_parse(TENANT, &s_tenant));
    s_pg = test_pg_new("scheduling", NULL);
    assert_in_range(snprintf(sql, sizeof(sql), ROWS, test_explain_rows(),
                             test_explain_rows(), test_explain_rows()),
                    1, sizeof(sql) - 1);
    free(test_pg_sql(s_pg, sql));
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
        cmocka_unit_test(every_statement_uses_its_index),
        cmocka_unit_test(a_page_reads_no_more_than_itself),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
