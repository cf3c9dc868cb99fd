/* SPDX-License-Identifier: Apache-2.0 */
/* Every statement of the store is planned as the app role, under row-level
 * security: by an index, never by reading a table. */
#include "common/base/array.h"
#include "tests/lib/explain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the four above it. */
#include <cmocka.h>

#define TENANT "'00000000-0000-7000-8000-000000000001'"
#define ID     "'00000000-0000-7000-8000-0000000000aa'"
#define IDS    "'{00000000-0000-7000-8000-0000000000a1}'"
#define AT     "'2026-06-01 00:00:00Z'"
#define HASH   "'\\x00'"
#define OPEN   "'{captured,valid,accepted}'"

/* Two tenants, one with most of the rows; statuses as uneven as in life. */
static const char ROWS[] =
    "INSERT INTO referrals.branch SELECT ('00000000-0000-7000-8000-00000000000'"
    " || 1 + b % 2)::uuid, md5('b' || b)::uuid, 'b', 'America/Chicago', 1"
    " FROM generate_series(1, 2000) b;\n"
    "INSERT INTO referrals.patient SELECT ('00000000-0000-7000-8000-"
    "00000000000' || 1 + (i % 10) / 9)::uuid, md5('p' || i)::uuid,"
    " ('00000000-0000-7000-8000-0000000000a' || 1 + i % 4)::uuid, 1, 1,"
    " md5('n' || i), 'x', NULL, '2026-01-01', '2026-01-01', '\\x00'"
    " FROM generate_series(1, 20000) i;\n"
    "INSERT INTO referrals.patient_identifier SELECT tenant_id, 'his',"
    " id::text, id FROM referrals.patient;\n"
    "INSERT INTO referrals.referral (tenant_id, id, branch_id, patient_id,"
    " status, version, event_seq, received_at, soc_due_at, source_system,"
    " source_external_id, content_hash, created_at, updated_at, body)"
    " SELECT p.tenant_id, md5('r' || p.id)::uuid, p.branch_id, p.id,"
    " CASE WHEN random() < 0.02 THEN 'captured' WHEN random() < 0.02 THEN"
    " 'valid' WHEN random() < 0.1 THEN 'accepted' ELSE 'admitted' END, 1, 1,"
    " '2026-01-01'::timestamptz + random() * interval '300 days', NULL, 'his',"
    " p.id::text, '\\x00', '2026-01-01', '2026-01-01', '\\x00'"
    " FROM referrals.patient p;\n"
    "INSERT INTO referrals.raw_message SELECT r.tenant_id,"
    " md5('m' || r.id)::uuid, r.id, r.received_at, 't', 'REF', 's', 'c', false,"
    " sha256(r.id::text::bytea), sha256(r.id::text::bytea), 'AA', '\\x00',"
    " '\\x00' FROM referrals.referral r;\n"
    "INSERT INTO referrals.episode SELECT r.tenant_id, md5('e' || r.id)::uuid,"
    " r.branch_id, r.patient_id, r.id, 'active', 1, 1, '2026-01-01',"
    " r.received_at, r.received_at, '\\x00' FROM referrals.referral r"
    " WHERE r.status = 'admitted';\n"
    "ANALYZE;\n";

static const struct test_plan PLANS[] = {
    { "SQL_BRANCH_ZONE", TENANT ", " ID, "branch_key" },
    { "SQL_BRANCH_PUT", TENANT ", " ID ", 'n', 'z', 1", NULL },
    { "SQL_PATIENT_GET", TENANT ", " ID ", " IDS, "patient_key" },
    { "SQL_INTAKE", TENANT ", " ID ", '{his,his}', '{1,2}', NULL",
      "patient_identifier_key" },
    { "SQL_PATIENTS_PAGE", TENANT ", 'abc', 'abd', " ID ", NULL, 51",
      "patient_name" },
    { "SQL_PATIENTS_AFTER", TENANT ", " ID ", 100", "patient_key" },
    { "SQL_IDENTIFIERS_ADD", TENANT ", " ID ", '{his}', '{1}'", NULL },
    { "SQL_IDENTIFIERS_CLEAR", TENANT ", " ID,
      "patient_identifier_patient_id" },
    { "SQL_PATIENT_ADD",
      TENANT ", " ID ", " ID ", 1, 'f', 'g', NULL, " AT ", " HASH, NULL },
    { "SQL_PATIENT_CHANGE",
      TENANT ", " ID ", 1, 1, " ID ", 'f', 'g', NULL, " AT ", " HASH,
      "patient_key" },
    { "SQL_PATIENT_REQUIRE", TENANT ", " ID ", 1", "patient_key" },
    { "SQL_REFERRAL_GET", TENANT ", " ID ", NULL", "referral_key" },
    { "SQL_REFERRAL_BY_SOURCE", TENANT ", 'his', 'x'",
      "referral_source_external_id" },
    { "SQL_REFERRALS_BY_STATUS", TENANT ", " AT ", " ID ", 51, '{valid}'",
      "referral_worklist" },
    { "SQL_REFERRALS_BY_BRANCH", TENANT ", " AT ", " ID ", 51, '{valid}', " IDS,
      "referral_branch_worklist" },
    { "SQL_REFERRALS_OF_PATIENT",
      TENANT ", " AT ", " ID ", 51, '{valid}', NULL, " ID,
      "referral_of_patient" },
    { "SQL_REFERRALS_AFTER", TENANT ", " ID ", 100", "referral_key" },
    { "SQL_REFERRALS_OPEN", TENANT ", " ID ", " OPEN ", 32",
      "referral_of_patient" },
    { "SQL_REFERRAL_ADD",
      TENANT ", " ID ", " ID ", " ID ", 'valid', 1, " AT ", " AT
             ", 'his', 'x', " HASH ", " AT ", " HASH,
      NULL },
    { "SQL_REFERRAL_CHANGE",
      TENANT ", " ID ", 1, 1, " ID ", 'valid', " AT ", 'his', 'x', " AT
             ", " HASH,
      "referral_key" },
    { "SQL_REFERRALS_REQUIRE", TENANT ", " ID ", " OPEN ", '{a:1}'",
      "referral_of_patient" },
    { "SQL_RAW_FIND", TENANT ", " HASH ", " HASH, "hl7_control" },
    { "SQL_RAW_GET", TENANT ", " ID, "raw_message_referral" },
    { "SQL_RAW_ADD",
      TENANT ", " ID ", " ID ", " AT ", 't', 'm', 's', 'c', false, " HASH
             ", " HASH ", 'AA', " HASH ", " HASH,
      NULL },
    { "SQL_EPISODES_PAGE", TENANT ", " AT ", " ID ", NULL, 51",
      "episode_order" },
    { "SQL_EPISODES_OF_PATIENT", TENANT ", " AT ", " ID ", NULL, 51, " ID,
      "episode_of_patient" },
    { "SQL_EPISODE_ADD",
      TENANT ", " ID ", " ID ", " ID ", " ID ", 'active', '2026-01-01', " AT
             ", " HASH,
      NULL },
};

static struct test_pg *s_pg;
static struct cn_uuid s_tenant;

static void every_statement_uses_its_index(void **state)
{
    (void)state;
    test_explain(s_pg, s_tenant, PLANS, CN_COUNT(PLANS));
}

/* A page of one state comes out of the index in its order, and no further. */
static void a_worklist_page_reads_no_more_than_itself(void **state)
{
    (void)state;
    test_explain_page(s_pg, s_tenant, "SQL_REFERRALS_BY_STATUS",
                      TENANT ", '2000-01-01Z', " ID ", 51, '{admitted}'", 51);
    test_explain_page(s_pg, s_tenant, "SQL_REFERRALS_BY_BRANCH",
                      TENANT ", '2000-01-01Z', " ID ", 51, '{admitted}',"
                             " '{00000000-0000-7000-8000-0000000000a1}'",
                      51);
}

static void a_tenant_reads_its_own_rows_only(void **state)
{
    (void)state;
    static const char *const TABLES[] = { "branch",   "patient",
                                          "referral", "patient_identifier",
                                          "episode",  "raw_message" };
    for (size_t i = 0; i < CN_COUNT(TABLES); i++) {
        char sql[400];
        (void)snprintf(sql, sizeof(sql),
                       "\\connect - referrals_app\n"
                       "SET cairn.tenant = " TENANT ";\n"
                       "SELECT count(*) FILTER (WHERE tenant_id <> " TENANT
                       "), count(*) > 0 FROM referrals.%s;\n",
                       TABLES[i]);
        char *rows = test_pg_sql(s_pg, sql);
        assert_string_equal(rows, "0|t");
        free(rows);
    }
}

static int s_setup(void **state)
{
    (void)state;
    const char *tenant = TENANT;
    char text[CN_UUID_TEXT_SIZE] = "";
    memcpy(text, tenant + 1, sizeof(text) - 1); /* without its quotes */
    assert_true(cn_uuid_parse(text, &s_tenant));
    s_pg = test_pg_new("referrals", NULL);
    free(test_pg_sql(s_pg, ROWS));
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
        cmocka_unit_test(a_worklist_page_reads_no_more_than_itself),
        cmocka_unit_test(a_tenant_reads_its_own_rows_only),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
