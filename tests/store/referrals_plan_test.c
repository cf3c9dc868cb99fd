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
    { "SQL_BRANCH_ZONE", ID, "branch_key" },
    { "SQL_BRANCH_KEEP", TENANT ", " ID ", 1, 'n', 'z'", NULL },
    { "SQL_PATIENT_GET", ID, "patient_key" },
    { "SQL_PATIENT_IN_REACH", ID ", " IDS, "patient_key" },
    { "SQL_INTAKE", ID ", '{his,his}', '{1,2}', NULL",
      "patient_identifier_key" },
    { "SQL_PATIENTS_BY_NAME", "'abc', 'abd', " ID ", NULL, 51",
      "patient_name" },
    { "SQL_PATIENT_AFTER", ID ", 100", "patient_key" },
    { "SQL_PATIENT_KEYS_ADD", TENANT ", " ID ", '{his}', '{1}'", NULL },
    { "SQL_PATIENT_KEYS_CLEAR", ID, "patient_identifier_patient_id" },
    { "SQL_PATIENT_INSERT",
      TENANT ", " ID ", 1, " AT ", " HASH ", " ID ", NULL, 'f', 'g'", NULL },
    { "SQL_PATIENT_UPDATE",
      ID ", 1, 1, " AT ", " HASH ", " ID ", NULL, 'f', 'g'", "patient_key" },
    { "SQL_PATIENT_REQUIRE", ID ", 1", "patient_key" },
    { "SQL_REFERRAL_GET", ID, "referral_key" },
    { "SQL_REFERRAL_OF_SOURCE", "'his', 'x'", "referral_source_external_id" },
    { "SQL_REFERRALS_BY_STATUS", AT ", " ID ", 51, '{valid}'",
      "referral_worklist" },
    { "SQL_REFERRALS_BY_BRANCH", AT ", " ID ", 51, '{valid}', " IDS,
      "referral_branch_worklist" },
    { "SQL_REFERRALS_OF_PATIENT", AT ", " ID ", 51, '{valid}', NULL, " ID,
      "referral_of_patient" },
    { "SQL_REFERRAL_AFTER", ID ", 100", "referral_key" },
    { "SQL_REFERRALS_OPEN", ID ", " OPEN ", 32", "referral_of_patient" },
    { "SQL_REFERRAL_INSERT",
      TENANT ", " ID ", 1, " AT ", " HASH ", 'valid', " ID ", " AT ", " ID
             ", " AT ", 'his', 'x', " HASH,
      NULL },
    { "SQL_REFERRAL_UPDATE",
      ID ", 1, 1, " AT ", " HASH ", 'valid', " ID ", " AT ", " ID ", " AT
         ", 'his', 'x'",
      "referral_key" },
    { "SQL_REFERRALS_REQUIRE", ID ", " OPEN ", '{a:1}'",
      "referral_of_patient" },
    { "SQL_RAW_FIND", HASH ", " HASH, "hl7_control" },
    { "SQL_RAW_OF_REFERRAL", ID, "raw_message_referral" },
    { "SQL_RAW_ADD",
      TENANT ", " ID ", " ID ", " AT ", 't', 'm', 's', 'c', false, " HASH
             ", " HASH ", 'AA', " HASH ", " HASH,
      NULL },
    { "SQL_EPISODE_GET", ID, "episode_key" },
    { "SQL_EPISODE_AFTER", ID ", 100", "episode_key" },
    { "SQL_EPISODES_LIST", AT ", " ID ", 51, NULL", "episode_order" },
    { "SQL_EPISODES_LIST_OF_PATIENT_ID", AT ", " ID ", 51, NULL, " ID,
      "episode_of_patient" },
    { "SQL_EPISODE_INSERT",
      TENANT ", " ID ", 1, " AT ", " HASH ", " ID ", " ID
             ", 'active', '2026-01-01', " ID,
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
                      "'2000-01-01Z', " ID ", 51, '{admitted}'", 51);
    test_explain_page(s_pg, s_tenant, "SQL_REFERRALS_BY_BRANCH",
                      "'2000-01-01Z', " ID ", 51, '{admitted}',"
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
