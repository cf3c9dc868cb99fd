/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/explain.h"

#include "common/base/array.h"
#include "common/db/db.h"

#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the four above it. */
#include <cmocka.h>

enum { SQL_MAX = 8000, SORTED_MAX = 5000, SMALL_MAX = 1000 };

long test_explain_rows(void)
{
    const char *wide = getenv("CAIRN_LONG");
    return wide != NULL && strcmp(wide, "1") == 0 ? 300000 : 20000;
}

static const struct cn_statement *s_statement(const char *name)
{
    for (size_t i = 0; i < cn_statement_count(); i++) {
        if (strcmp(cn_statement_at(i)->name, name) == 0) {
            return cn_statement_at(i);
        }
    }
    print_error("no statement is called %s\n", name);
    abort();
}

/* The text with the test's schema for {{schema}}. */
static void
s_rendered(const struct test_pg *pg, const char *sql, char text[SQL_MAX])
{
    static const char SCHEMA[] = "{{schema}}";
    size_t used = 0;
    for (const char *at = sql; *at != '\0';) {
        const char *mark = strstr(at, SCHEMA);
        int size =
            snprintf(text + used, SQL_MAX - used, "%.*s%s",
                     (int)(mark == NULL ? strlen(at) : (size_t)(mark - at)), at,
                     mark == NULL ? "" : pg->service);
        assert(size >= 0 && (size_t)size < SQL_MAX - used);
        used += (size_t)size;
        at = mark == NULL ? at + strlen(at) : mark + strlen(SCHEMA);
    }
}

/* Its plan as text: options of EXPLAIN, "generic" or "custom". */
static char *s_plan(const struct test_pg *pg,
                    struct cn_uuid tenant,
                    const char *name,
                    const char *args,
                    const char *options,
                    const char *cache)
{
    char sql[2 * SQL_MAX];
    char rendered[SQL_MAX];
    char tenant_text[CN_UUID_TEXT_SIZE];
    const struct cn_statement *statement = s_statement(name);
    const char *words = args[0] == '\0' ? "" : "(";
    bool relay = statement->lanes == 1U << CN_LANE_RELAY;
    cn_uuid_format(tenant, tenant_text);
    s_rendered(pg, statement->sql, rendered);
    int size =
        snprintf(sql, sizeof(sql),
                 "SET SESSION AUTHORIZATION %s; SET cairn.tenant = '%s'; "
                 "SET plan_cache_mode = force_%s_plan; PREPARE q AS %s; "
                 "EXPLAIN (%s) EXECUTE q%s%s%s;",
                 relay ? pg->relay : pg->app, tenant_text, cache, rendered,
                 options, words, args, args[0] == '\0' ? "" : ")");
    assert(size > 0 && (size_t)size < sizeof(sql));
    return test_pg_sql(pg, sql);
}

/* The number after a word of the line; 0 when the word is not there. */
static long s_number(const char *line, const char *end, const char *word)
{
    const char *at = strstr(line, word);
    return at != NULL && at < end ? strtol(at + strlen(word), NULL, 10) : 0;
}

static bool s_is_big(const struct test_pg *pg, const char *scan)
{
    char table[64] = "";
    char sql[TEST_TEXT_MAX];
    (void)sscanf(scan, "Seq Scan on %63[a-z_]", table);
    (void)snprintf(sql, sizeof(sql),
                   "SELECT coalesce(max(reltuples), 0)::bigint FROM pg_class "
                   "WHERE relname = '%s' AND relkind = 'r'",
                   table);
    return test_pg_number(pg, sql) > SMALL_MAX;
}

/* What is wrong with a plan; NULL when nothing is. How many rows are sorted is
 * not known while the LIMIT is not. */
static const char *s_fault(const struct test_pg *pg,
                           const char *plan,
                           const char *index,
                           bool limit_known)
{
    for (const char *line = plan; *line != '\0';) {
        const char *end = strchrnul(line, '\n');
        const char *scan = strstr(line, "Seq Scan on ");
        const char *sort = strstr(line, "Sort  (cost");
        if (scan != NULL && scan < end && s_is_big(pg, scan)) {
            return "reads a big table from end to end";
        }
        if (limit_known && sort != NULL && sort < end &&
            s_number(line, end, " rows=") > SORTED_MAX) {
            return "sorts many rows";
        }
        line = *end == '\0' ? end : end + 1;
    }
    return index != NULL && strstr(plan, index) == NULL
               ? "does not use its index"
               : NULL;
}

static bool s_holds(const struct test_pg *pg,
                    struct cn_uuid tenant,
                    const struct test_plan *plan,
                    const char *cache)
{
    char *text =
        s_plan(pg, tenant, plan->statement, plan->args, "COSTS on", cache);
    const char *fault =
        s_fault(pg, text, plan->index, strcmp(cache, "custom") == 0);
    if (fault != NULL) {
        print_error("%s (%s plan) %s:\n%s\n", plan->statement, cache, fault,
                    text);
    }
    free(text);
    return fault == NULL;
}

void test_explain_some(const struct test_pg *pg,
                       struct cn_uuid tenant,
                       const struct test_plan *plans,
                       size_t count)
{
    size_t faults = 0;
    for (size_t i = 0; i < count; i++) {
        faults += !s_holds(pg, tenant, &plans[i], "generic");
        faults += !s_holds(pg, tenant, &plans[i], "custom");
    }
    assert_int_equal(faults, 0);
}

void test_explain_page(const struct test_pg *pg,
                       struct cn_uuid tenant,
                       const char *statement,
                       const char *args,
                       long rows)
{
    char *plan =
        s_plan(pg, tenant, statement, args,
               "ANALYZE, COSTS off, TIMING off, SUMMARY off", "generic");
    long most = 0;
    for (const char *line = plan; *line != '\0';) {
        const char *end = strchrnul(line, '\n');
        long here = s_number(line, end, " rows=");
        most = here > most ? here : most;
        line = *end == '\0' ? end : end + 1;
    }
    if (most != rows || strstr(plan, "Rows Removed") != NULL) {
        fail_msg("%s reads other rows than its page:\n%s", statement, plan);
    }
    free(plan);
}
