/* SPDX-License-Identifier: Apache-2.0 */
/* Every statement of the store is planned as the app role, under row-level
 * security and without knowing its parameters: by an index, never by reading a
 * table. */
#include "common/db.h"
#include "tests/lib/pg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* cmocka needs the four above it. */
#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define TENANT       "'00000000-0000-7000-8000-000000000001'"
#define ID           "'00000000-0000-7000-8000-0000000000aa'"
#define IDS          "'{00000000-0000-7000-8000-0000000000a1}'"
#define AT           "'2026-06-01 00:00:00Z'"
#define HASH         "'\\x00'"
#define OPEN         "'{captured,valid,accepted}'"

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

/* Each statement of the service with example parameters and the index that it
 * must use; NULL: it only inserts. */
static const struct {
    const char *name;
    const char *params;
    const char *index;
} PLANS[] = {
    { "SQL_BRANCH_ZONE", TENANT ", " ID, "branch_key" },
    { "SQL_BRANCH_PUT", TENANT ", " ID ", 'n', 'z', 1", NULL },
    { "SQL_PATIENT_GET", TENANT ", " ID ", " IDS, "patient_key" },
    { "SQL_INTAKE", TENANT ", " ID ", '{his,his}', '{1,2}'",
      "patient_identifier_key" },
    { "SQL_PATIENTS_PAGE", TENANT ", 'abc', 'abd', " ID ", NULL, 51",
      "patient_name" },
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
static char s_path[64];

/* Runs SQL of any length. */
static char *s_sql(const char *head, const char *body, const char *tail)
{
    char command[100];
    FILE *file = fopen(s_path, "w");
    assert_non_null(file);
    (void)fprintf(file, "%s%s%s", head, body, tail);
    assert_int_equal(fclose(file), 0);
    (void)snprintf(command, sizeof(command), "\\i %s", s_path);
    return test_pg_sql(s_pg, command);
}

/* How the app role would run it, whatever the parameters. */
static char *s_plan(const char *sql, const char *params)
{
    char tail[500];
    (void)snprintf(tail, sizeof(tail),
                   ";\nEXPLAIN (COSTS off) EXECUTE s (%s);\n", params);
    return s_sql("\\connect - referrals_app\n"
                 "SET cairn.tenant = " TENANT ";\n"
                 "SET plan_cache_mode = force_generic_plan;\n"
                 "PREPARE s AS ",
                 sql, tail);
}

static const struct cn_statement *s_statement(const char *name)
{
    for (size_t i = 0; i < cn_statement_count(); i++) {
        if (strcmp(cn_statement_at(i)->name, name) == 0) {
            return cn_statement_at(i);
        }
    }
    return NULL;
}

static void every_statement_has_its_plan_here(void **state)
{
    (void)state;
    for (size_t i = 0; i < cn_statement_count(); i++) {
        const struct cn_statement *statement = cn_statement_at(i);
        bool listed = false;
        for (size_t j = 0; j < COUNT(PLANS); j++) {
            listed = listed || strcmp(PLANS[j].name, statement->name) == 0;
        }
        /* What common/ brings has its own tests. */
        if (!listed && strstr(statement->sql, "referrals.") != NULL) {
            fail_msg("%s has no plan", statement->name);
        }
    }
}

static void every_statement_uses_its_index(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(PLANS); i++) {
        const struct cn_statement *statement = s_statement(PLANS[i].name);
        assert_non_null(statement);
        char *plan = s_plan(statement->sql, PLANS[i].params);
        bool scan = strstr(plan, "Seq Scan") != NULL;
        bool used =
            PLANS[i].index == NULL || strstr(plan, PLANS[i].index) != NULL;
        if (scan || !used) {
            print_error("%s: %s\n", PLANS[i].name, plan);
        }
        assert_false(scan);
        assert_true(used);
        free(plan);
    }
}

/* A page of one state comes out of the index in its order, and no further. */
static void a_worklist_page_reads_no_more_than_itself(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *params;
    } LISTS[] = {
        { "SQL_REFERRALS_BY_STATUS",
          TENANT ", '2000-01-01Z', " ID ", 51, '{admitted}'" },
        { "SQL_REFERRALS_BY_BRANCH",
          TENANT ", '2000-01-01Z', " ID ", 51, '{admitted}',"
                 " '{00000000-0000-7000-8000-0000000000a1}'" },
    };
    for (size_t i = 0; i < COUNT(LISTS); i++) {
        char tail[500];
        (void)snprintf(tail, sizeof(tail),
                       ";\nEXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY "
                       "off) EXECUTE s (%s);\n",
                       LISTS[i].params);
        char *plan = s_sql("\\connect - referrals_app\n"
                           "SET cairn.tenant = " TENANT ";\n"
                           "SET plan_cache_mode = force_generic_plan;\n"
                           "PREPARE s AS ",
                           s_statement(LISTS[i].name)->sql, tail);
        if (strstr(plan, "rows=51 ") == NULL ||
            strstr(plan, "rows=52 ") != NULL ||
            strstr(plan, "Rows Removed") != NULL) {
            fail_msg("%s: %s", LISTS[i].name, plan);
        }
        free(plan);
    }
}

static void a_tenant_reads_its_own_rows_only(void **state)
{
    (void)state;
    static const char *const TABLES[] = { "branch",   "patient",
                                          "referral", "patient_identifier",
                                          "episode",  "raw_message" };
    for (size_t i = 0; i < COUNT(TABLES); i++) {
        char body[200];
        (void)snprintf(body, sizeof(body),
                       "SELECT count(*) FILTER (WHERE tenant_id <> " TENANT
                       "), count(*) > 0 FROM referrals.%s;\n",
                       TABLES[i]);
        char *rows = s_sql("\\connect - referrals_app\n"
                           "SET cairn.tenant = " TENANT ";\n",
                           body, "");
        assert_string_equal(rows, "0|t");
        free(rows);
    }
}

static int s_setup(void **state)
{
    (void)state;
    s_pg = test_pg_new("referrals", NULL);
    (void)snprintf(s_path, sizeof(s_path), "/tmp/cairn-plan.XXXXXX");
    int fd = mkstemp(s_path);
    assert_true(fd >= 0);
    (void)close(fd);
    free(s_sql(ROWS, "", ""));
    return 0;
}

static int s_teardown(void **state)
{
    (void)state;
    (void)unlink(s_path);
    test_pg_free(s_pg);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_statement_has_its_plan_here),
        cmocka_unit_test(every_statement_uses_its_index),
        cmocka_unit_test(a_worklist_page_reads_no_more_than_itself),
        cmocka_unit_test(a_tenant_reads_its_own_rows_only),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
