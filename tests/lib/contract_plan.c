/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of statements: each is EXPLAINed as the role that runs it, in
 * tables of 300,000 rows, both for unknown values (the plan that is kept) and
 * for known ones. The shape of each plan is recorded, so that a change of it is
 * seen in a diff. */
#include "tests/lib/contract_internal.h"

#include "common/base/array.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROWS = 300000,
    SMALL_MAX = 1000,  /* a table of so few rows may be read from end to end */
    SORTED_MAX = 5000, /* rows that a statement with known values may sort */
    PAGE = 51,
    AFTER_PAGE = 100,
    SQL_MAX = 8000,
    NODES_MAX = 64,
    STATEMENTS_MAX = 400
};

#define TENANT "00000000-0000-7000-8000-000000000001"

/* Where the recorded shapes are. */
static const char FOLDER[] = "tests/store/plans";

struct contract_plans {
    const struct contract *contract;
    struct test_pg *pg;
    struct test_psql *psql;
    char *big; /* " visit clinician ": tables of more than SMALL_MAX rows */
    unsigned faults;
};

/* Says what is wrong with the plan of a statement. */
static void s_wrong(struct contract_plans *self,
                    const char *name,
                    const char *fault,
                    const char *plan)
{
    self->faults++;
    (void)fprintf(stderr, "%s %s:\n%s\n", name, fault, plan);
}

/* ---- rows ---- */

/* Fills a table by the types and names of its columns. Nine rows in ten belong
 * to one tenant. An id of another record is that of a row of its table; eight
 * rows of the same tenant have the same id. A word of a list is the common or
 * the last one in 99 rows of 100. */
static const char SQL_FILL[] =
    "CREATE FUNCTION contract_fill(rel regclass, n bigint, common text,"
    " since timestamptz)"
    " RETURNS void"
    " LANGUAGE plpgsql AS $fill$ DECLARE c record; k record; words text[];"
    " names text := ''; vals text := ''; v text; alone boolean; own boolean; "
    "at int := 0;"
    " again text[] := '{}'; BEGIN"
    " SELECT i.indnatts = 1 INTO alone FROM pg_index i WHERE i.indrelid = rel"
    " AND i.indisprimary;"
    " FOR c IN SELECT a.attnum, a.attname, format_type(a.atttypid, NULL) AS"
    " type FROM pg_attribute a WHERE a.attrelid = rel AND a.attnum > 0 AND NOT"
    " a.attisdropped AND a.attidentity = '' AND a.attgenerated = ''"
    " ORDER BY a.attnum LOOP"
    " at := at + 1;"
    " SELECT array_agg(m[1]) INTO words FROM pg_constraint x,"
    " regexp_matches(pg_get_constraintdef(x.oid), '''([a-z_0-9]+)''::text',"
    " 'g') m WHERE x.conrelid = rel AND x.contype = 'c' AND x.conkey ="
    " ARRAY[c.attnum];"
    " SELECT EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = rel AND"
    " i.indisunique AND i.indpred IS NULL AND i.indkey::int2[] <@ ARRAY(SELECT"
    " b.attnum FROM pg_attribute b WHERE b.attrelid = rel AND b.attname IN"
    " ('tenant_id', c.attname)) AND c.attnum = ANY (i.indkey::int2[])) INTO"
    " own;"
    " IF common = ANY (words) THEN words := array_remove(words, common) ||"
    " common; END IF;"
    " v := CASE"
    " WHEN c.attname = 'tenant_id' AND alone THEN 'CASE i WHEN 1 THEN ''" TENANT
    "'' ELSE md5(''t'' || i)::text END::uuid'"
    " WHEN c.attname = 'tenant_id' THEN 'CASE WHEN i %% 10 = 0 THEN"
    " ''00000000-0000-7000-8000-000000000002''::uuid"
    " ELSE ''" TENANT "''::uuid END'"
    " WHEN c.attname = 'branch_id' THEN '(ARRAY["
    "''00000000-0000-7000-8000-0000000000a1''::uuid,"
    " ''00000000-0000-7000-8000-0000000000a2'',"
    " ''00000000-0000-7000-8000-0000000000a3'',"
    " ''00000000-0000-7000-8000-0000000000a4''])[1 + i %% 4]'"
    " WHEN c.type = 'uuid' AND c.attname LIKE '%%\\_id' THEN format("
    "'md5(%%L || (%%s))::uuid', regexp_replace(c.attname, '_id$', ''),"
    " CASE WHEN own THEN 'i' ELSE 'i / 80 * 10 + i %% 10' END)"
    " WHEN c.type = 'uuid' THEN format('md5(%%L || i)::uuid', (SELECT"
    " relname FROM pg_class WHERE oid = rel))"
    " WHEN c.type = 'timestamp with time zone' THEN format("
    "'%%L::timestamptz + i * interval ''10 min'' + %%s * interval"
    " ''1 min''', since, at)"
    " WHEN c.type = 'date' THEN '''2000-01-01''::date + (i %% 9000)::int'"
    " WHEN c.type = 'text' AND words IS NOT NULL THEN format("
    "'(%%L::text[])[CASE WHEN i %%%% 100 = 1 THEN 1 + i / 100 %%%% %%s ELSE"
    " %%s"
    " END]', words, cardinality(words), cardinality(words))"
    " WHEN c.type = 'text' THEN format('%%L || i', c.attname)"
    " WHEN c.attname = 'partition' THEN 'i %% 16'"
    " WHEN c.attname IN ('version', 'event_seq', 'aggregate_seq') THEN '1'"
    " WHEN c.type IN ('integer', 'smallint') THEN 'i %% 1000'"
    " WHEN c.type = 'bigint' THEN 'i'"
    " WHEN c.type = 'boolean' THEN 'i %% 100 = 1'"
    " WHEN c.type = 'bytea' AND c.attname IN ('body', 'payload', 'reply') THEN"
    " '''\\x00''::bytea'"
    " WHEN c.type = 'bytea' THEN 'sha256((i)::text::bytea)'"
    " WHEN c.type = 'uuid[]' THEN 'ARRAY[md5(''patient'' || (i / 80 * 10 + i "
    "%% 10))::uuid]'"
    " WHEN c.type = 'text[]' THEN 'ARRAY[''x'' || i %% 10]'"
    " WHEN c.type = 'integer[]' THEN 'ARRAY[i %% 10]'"
    " WHEN c.type = 'xid8' THEN '(i)::text::xid8'"
    " ELSE 'NULL' END;"
    " names := names || ', ' || quote_ident(c.attname);"
    " vals := vals || ', ' || v; END LOOP;"
    /* Indexes are made behind the rows, which is faster. */
    " FOR k IN SELECT x.conname, x.contype, pg_get_constraintdef(x.oid) AS def"
    " FROM pg_constraint x WHERE x.conrelid = rel LOOP"
    " EXECUTE format('ALTER TABLE %%s DROP CONSTRAINT %%I CASCADE', rel,"
    " k.conname);"
    " IF k.contype IN ('p', 'u', 'x') THEN again := again || format("
    "'ALTER TABLE %%s ADD CONSTRAINT %%I %%s', rel, k.conname, k.def); END IF;"
    " END LOOP;"
    " FOR k IN SELECT i.indexrelid::regclass AS name,"
    " pg_get_indexdef(i.indexrelid) AS def FROM pg_index i"
    " WHERE i.indrelid = rel LOOP again := again || k.def;"
    " EXECUTE format('DROP INDEX %%s', k.name); END LOOP;"
    " EXECUTE format('ALTER TABLE %%s SET UNLOGGED', rel);"
    " EXECUTE format('INSERT INTO %%s (%%s) SELECT %%s FROM"
    " generate_series(1, %%s) i', rel, substr(names, 3), substr(vals, 3), n);"
    " FOR i IN 1 .. cardinality(again) LOOP EXECUTE again[i]; END LOOP;"
    " EXECUTE format('ANALYZE %%s', rel); END $fill$";

/* Tables of the platform that grow; its others stay small. They are looked at
 * once, not in each service. */
static const char *const GROWING[] = { "outbox", "idempotency", "audit", "due",
                                       "deadline" };
static const char PLATFORM[] =
    " outbox idempotency audit due inbox_position dead_letter replica lease"
    " clock_rule clock_holiday deadline audit_seal audit_sealer outbox_cut"
    " outbox_tenant rebuild log_reader ";

static bool s_is_in(const char *words, const char *word)
{
    char text[128];
    (void)snprintf(text, sizeof(text), " %s ", word);
    return strstr(words, text) != NULL;
}

static long s_rows_of(const struct contract *contract,
                      const char *table,
                      const char **ret_common)
{
    *ret_common = "";
    for (const struct contract_size *size = contract->sizes;
         size != NULL && size->table != NULL; size++) {
        if (strcmp(size->table, table) == 0) {
            *ret_common = size->common != NULL ? size->common : "";
            return size->rows != 0 ? size->rows : ROWS;
        }
    }
    for (size_t i = 0; i < CN_COUNT(GROWING); i++) {
        if (strcmp(GROWING[i], table) == 0) {
            return contract->platform ? ROWS : 0;
        }
    }
    return contract->platform || s_is_in(PLATFORM, table) ? 0 : ROWS;
}

/* Sends it all and does not wait: the other tests run meanwhile. */
static void s_rows_fill(struct contract_plans *self)
{
    const char *schema = self->contract->service->name;
    char *sql = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&sql, &size);
    char *at = NULL;
    assert(out != NULL);
    (void)test_psql(self->psql, SQL_FILL);
    char *tables = strdup(
        test_psql(self->psql,
                  "SELECT c.relname FROM pg_class c WHERE c.relnamespace ="
                  " '%s'::regnamespace AND c.relkind = 'r' AND EXISTS (SELECT 1"
                  " FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname"
                  " = 'tenant_id') ORDER BY 1",
                  schema));
    (void)fprintf(out, "SET session_replication_role = replica;"
                       " SET maintenance_work_mem = '128MB';"
                       " SET client_min_messages = warning;"
                       " SET jit = off");
    for (char *table = strtok_r(tables, "\n", &at); table != NULL;
         table = strtok_r(NULL, "\n", &at)) {
        const char *common = NULL;
        const long rows = s_rows_of(self->contract, table, &common);
        if (rows > 0) {
            (void)fprintf(out, "; SELECT contract_fill('%s.%s', %ld, '%s', %s)",
                          schema, table, rows, common,
                          self->contract->platform ? "now() - interval '1 day'"
                                                   : "'2026-01-01Z'");
        }
    }
    (void)fprintf(
        out,
        "; ANALYZE; SELECT ' ' || string_agg(c.relname, ' ') || ' ' FROM"
        " pg_class c WHERE c.relnamespace = '%s'::regnamespace AND"
        " c.relkind = 'r' AND c.reltuples > %d",
        schema, SMALL_MAX);
    (void)fclose(out);
    test_psql_send(self->psql, "%s", sql);
    free(sql);
    free(tables);
}

static void s_rows_wait(struct contract_plans *self)
{
    /* The big tables, after an empty line for each table. */
    const char *text = test_psql_wait(self->psql);
    self->big = strdup(text + strspn(text, "\n"));
}

/* ---- one plan ---- */

/* A node of a plan, by the lines of EXPLAIN. */
struct node {
    const char *line; /* behind its arrow */
    size_t size;
    int depth;  /* blanks before it */
    int level;  /* nodes above it */
    long rows;  /* expected; 0: not told */
    bool bound; /* it has an Index Cond */
};

static long s_number(const char *line, size_t size, const char *word)
{
    const char *at = memmem(line, size, word, strlen(word));
    return at != NULL ? strtol(at + strlen(word), NULL, 10) : 0;
}

static bool s_begins(const struct node *node, const char *word)
{
    return node->size >= strlen(word) &&
           strncmp(node->line, word, strlen(word)) == 0;
}

static int s_level(const struct node *nodes, size_t count, int depth)
{
    while (count > 0 && nodes[count - 1].depth >= depth) {
        count--;
    }
    return count > 0 ? nodes[count - 1].level + 1 : 0;
}

static size_t s_nodes(const char *plan, struct node *nodes)
{
    size_t count = 0;
    for (const char *line = plan; *line != '\0';) {
        const char *end = strchrnul(line, '\n');
        const size_t blanks = strspn(line, " ");
        const char *text = line + blanks;
        const bool arrow = strncmp(text, "->  ", 4) == 0;
        if (line == plan || arrow || strncmp(text, "CTE ", 4) == 0 ||
            strncmp(text, "InitPlan ", 9) == 0 ||
            strncmp(text, "SubPlan ", 8) == 0) {
            assert(count < NODES_MAX);
            text += arrow ? 4 : 0;
            nodes[count] = (struct node){
                .line = text,
                .size = (size_t)(end - text),
                .depth = (int)blanks,
                .level = s_level(nodes, count, (int)blanks),
                .rows = s_number(text, (size_t)(end - text), " rows="),
            };
            count++;
        } else if (count > 0 && strncmp(text, "Index Cond:", 11) == 0) {
            nodes[count - 1].bound = true;
        }
        line = *end == '\0' ? end : end + 1;
    }
    return count;
}

static const char *s_table_of(const struct node *node)
{
    static char table[64];
    const char *on = memmem(node->line, node->size, " on ", 4);
    table[0] = '\0';
    if (on != NULL) {
        (void)sscanf(on + 4, "%63[a-z_0-9]", table);
    }
    return table;
}

/* Does the sort read a table that grows? */
static bool s_sorts_big(const struct contract_plans *self,
                        const struct node *nodes,
                        size_t count,
                        size_t sort)
{
    for (size_t i = sort + 1; i < count && nodes[i].depth > nodes[sort].depth;
         i++) {
        if (s_is_in(self->big, s_table_of(&nodes[i]))) {
            return true;
        }
    }
    return false;
}

/* Is the sort the merge of ordered scans, one for each word of a list, none
 * longer than the page? */
static bool s_is_merge(const struct node *nodes, size_t count, size_t sort)
{
    bool words = false;
    bool limit = false;
    for (size_t i = sort + 1; i < count && nodes[i].depth > nodes[sort].depth;
         i++) {
        words = words || s_begins(&nodes[i], "Function Scan");
        limit = limit || s_begins(&nodes[i], "Limit");
    }
    return words && limit;
}

static const char *s_fault(const struct contract_plans *self,
                           const struct node *nodes,
                           size_t count,
                           bool known)
{
    for (size_t i = 0; i < count; i++) {
        const bool big = s_is_in(self->big, s_table_of(&nodes[i]));
        const bool sort = s_begins(&nodes[i], "Sort");
        if (s_begins(&nodes[i], "Seq Scan") && big) {
            return "reads a big table from end to end";
        }
        if (s_begins(&nodes[i], "Index") && big && !nodes[i].bound &&
            (i == 0 || !s_begins(&nodes[i - 1], "Limit"))) {
            return "reads a whole index";
        }
        if (sort && !known && i > 0 && s_begins(&nodes[i - 1], "Limit") &&
            s_sorts_big(self, nodes, count, i) &&
            !s_is_merge(nodes, count, i)) {
            return "sorts more rows than its page";
        }
        if (sort && known && nodes[i].rows > SORTED_MAX) {
            return "sorts many rows";
        }
    }
    return NULL;
}

/* ---- statements ---- */

/* The text with the schema for {{schema}}. */
static const char *s_rendered(const struct contract_plans *self,
                              const char *sql)
{
    static const char SCHEMA[] = "{{schema}}";
    static char text[SQL_MAX];
    size_t used = 0;
    while (*sql != '\0') {
        const char *mark = strstr(sql, SCHEMA);
        int size =
            snprintf(text + used, sizeof(text) - used, "%.*s%s",
                     (int)(mark == NULL ? strlen(sql) : (size_t)(mark - sql)),
                     sql, mark == NULL ? "" : self->contract->service->name);
        assert(size >= 0 && (size_t)size < sizeof(text) - used);
        used += (size_t)size;
        sql = mark == NULL ? sql + strlen(sql) : mark + sizeof(SCHEMA) - 1;
    }
    return text;
}

/* Does the statement name a table of the service's own? */
static bool s_is_own(const struct contract_plans *self, const char *sql)
{
    const char *schema = self->contract->service->name;
    const size_t size = strlen(schema);
    for (const char *at = sql; (at = strstr(at, schema)) != NULL; at += size) {
        char table[64] = "";
        if (at[size] == '.' &&
            sscanf(at + size + 1, "%63[a-z_0-9]", table) == 1 &&
            strcmp(table, "require") != 0 && !s_is_in(PLATFORM, table)) {
            return true;
        }
    }
    return false;
}

/* A value of the type, as SQL. */
static const char *s_value(const char *type)
{
    static const char *const VALUES[][2] = {
        { "uuid", "'00000000-0000-7000-8000-0000000000aa'" },
        { "uuid[]", "'{00000000-0000-7000-8000-0000000000a1}'" },
        { "timestamp with time zone", "'2026-06-01Z'" },
        { "date", "'2026-06-01'" },
        { "text", "'x'" },
        { "text[]", "'{x}'" },
        { "boolean", "true" },
        { "bytea", "'\\x00'" },
        { "xid8", "'7'" },
        { "integer[]", "'{1}'" },
        { "bigint[]", "'{1}'" },
        { "xid8[]", "'{7}'" },
    };
    for (size_t i = 0; i < CN_COUNT(VALUES); i++) {
        if (strcmp(VALUES[i][0], type) == 0) {
            return VALUES[i][1];
        }
    }
    return "51";
}

static const char *s_args_given(const struct contract_plans *self,
                                const char *name)
{
    for (const struct contract_args *args = self->contract->args;
         args != NULL && args->statement != NULL; args++) {
        if (strcmp(args->statement, name) == 0) {
            return args->args;
        }
    }
    return NULL;
}

static void s_prepare(struct contract_plans *self,
                      const struct cn_statement *statement)
{
    const bool relay =
        (statement->lanes & ~(unsigned)CN_PLAN_ONCE) == 1U << CN_LANE_RELAY;
    (void)test_psql(self->psql,
                    "SET SESSION AUTHORIZATION %s; SET cairn.tenant = '" TENANT
                    "'; PREPARE q AS %s",
                    relay ? self->pg->relay : self->pg->app,
                    s_rendered(self, statement->sql));
}

static void s_unprepare(struct contract_plans *self)
{
    (void)test_psql(self->psql, "DEALLOCATE q; RESET SESSION AUTHORIZATION");
}

/* "(NULL, NULL)", or a value for each parameter's type. */
static void s_args(struct contract_plans *self, bool known, char text[SQL_MAX])
{
    char *types = strdup(test_psql(
        self->psql, "SELECT array_to_string(parameter_types, '|') FROM"
                    " pg_prepared_statements WHERE name = 'q'"));
    char *at = NULL;
    size_t used = 0;
    text[0] = '\0';
    for (char *type = strtok_r(types, "|", &at); type != NULL;
         type = strtok_r(NULL, "|", &at)) {
        used += (size_t)snprintf(text + used, SQL_MAX - used, "%s%s",
                                 used == 0 ? "(" : ", ",
                                 known ? s_value(type) : "NULL");
    }
    if (used > 0) {
        (void)snprintf(text + used, SQL_MAX - used, ")");
    }
    free(types);
}

static char *s_explain(struct contract_plans *self,
                       const char *options,
                       const char *cache,
                       const char *args)
{
    (void)test_psql(self->psql, "SET plan_cache_mode = force_%s_plan", cache);
    return strdup(
        test_psql(self->psql, "EXPLAIN (%s) EXECUTE q%s", options, args));
}

/* For a list's statement: the first page, by the leading filter or by the
 * words that the statement is for. */
static void s_way_args(const struct cn_listing *listing,
                       const struct cn_list_way *way,
                       char args[SQL_MAX])
{
    const struct cn_shape *request = listing->request;
    size_t used = (size_t)snprintf(
        args, SQL_MAX, "(%s, %d%s",
        listing->newest_first
            ? "'2100-01-01Z', 'ffffffff-ffff-ffff-ffff-ffffffffffff'"
            : "'2000-01-01Z', '00000000-0000-0000-0000-000000000000'",
        PAGE, listing->resource->branch >= 0 ? ", NULL" : "");
    for (unsigned i = 0; i < way->filter_count; i++) {
        const struct cn_list_filter *filter =
            &listing->filters[way->filters[i]];
        const ProtobufCFieldDescriptor *field =
            &request->descriptor->fields[filter->field];
        const char *value = "NULL";
        char text[128];
        if (filter->prefix != NULL && way->lead == (int)way->filters[i]) {
            (void)snprintf(text, sizeof(text),
                           "md5(replace('%.60s', '_id', '5'))::uuid",
                           field->name);
            value = strcmp(field->name, "branch_id") == 0
                        ? "'00000000-0000-7000-8000-0000000000a1'"
                        : text;
        } else if (filter->prefix == NULL && way->lead < 0) {
            /* Few rows have a word that is not the last. */
            (void)snprintf(text, sizeof(text), "ARRAY[lower('%s')]",
                           ((const ProtobufCEnumDescriptor *)field->descriptor)
                               ->values[0]
                               .name);
            value = text;
        }
        used += (size_t)snprintf(args + used, SQL_MAX - used, ", %s", value);
    }
    (void)snprintf(args + used, SQL_MAX - used, ")");
}

static bool s_is_way(const struct contract_plans *self,
                     const struct cn_statement *statement,
                     char args[SQL_MAX])
{
    const struct cn_service *service = self->contract->service;
    for (size_t i = 0; i < service->method_count; i++) {
        const struct cn_listing *listing = service->methods[i].listing;
        for (size_t j = 0; listing != NULL && j < listing->way_count; j++) {
            if (listing->ways[j].statement == statement) {
                s_way_args(listing, &listing->ways[j], args);
                return true;
            }
        }
    }
    return false;
}

static void s_put_shape(FILE *shapes,
                        const char *name,
                        const struct node *nodes,
                        size_t count)
{
    (void)fprintf(shapes, "%s\n", name);
    for (size_t i = 0; i < count; i++) {
        (void)fprintf(shapes, "%*s%.*s\n", 2 + 2 * nodes[i].level, "",
                      (int)nodes[i].size, nodes[i].line);
    }
    (void)fprintf(shapes, "\n");
}

static void s_statement_look(struct contract_plans *self,
                             const struct cn_statement *statement,
                             FILE *shapes)
{
    struct node nodes[NODES_MAX];
    char args[SQL_MAX];
    const char *given = s_args_given(self, statement->name);
    s_prepare(self, statement);
    s_args(self, false, args);
    char *plan = s_explain(self, "COSTS off", "generic", args);
    size_t count = s_nodes(plan, nodes);
    const char *fault = s_fault(self, nodes, count, false);
    if (fault != NULL && !contract_excused(self->contract, statement->name)) {
        s_wrong(self, statement->name, fault, plan);
    }
    s_put_shape(shapes, statement->name, nodes, count);
    free(plan);
    if (given != NULL) {
        (void)snprintf(args, sizeof(args), "(%s)", given);
    } else if (!s_is_way(self, statement, args)) {
        s_args(self, true, args);
    }
    plan = s_explain(self, "COSTS on", "custom", args);
    count = s_nodes(plan, nodes);
    fault = s_fault(self, nodes, count, true);
    if (fault != NULL && !contract_excused(self->contract, statement->name)) {
        s_wrong(self, statement->name, fault, plan);
    }
    free(plan);
    s_unprepare(self);
}

/* ---- pages ---- */

/* Runs the statement: no step of it may read more rows than it returns, or drop
 * any that it has read. */
static void s_page_look(struct contract_plans *self,
                        const struct cn_statement *statement,
                        const char *args)
{
    long most = 0;
    s_prepare(self, statement);
    char *plan = s_explain(self, "ANALYZE, COSTS off, TIMING off, SUMMARY off",
                           "generic", args);
    const long rows = s_number(plan, strcspn(plan, "\n"), " rows=");
    for (const char *line = plan; *line != '\0';) {
        const char *end = strchrnul(line, '\n');
        const long here = s_number(line, (size_t)(end - line), " rows=");
        most = here > most ? here : most;
        line = *end == '\0' ? end : end + 1;
    }
    if (rows == 0) {
        s_wrong(self, statement->name, args, plan);
        s_wrong(self, statement->name, "found no row to page", plan);
    } else if (most > rows || strstr(plan, "Rows Removed") != NULL) {
        s_wrong(self, statement->name, "reads other rows than its page", plan);
    }
    free(plan);
    s_unprepare(self);
}

static void s_way_look(struct contract_plans *self,
                       const struct cn_listing *listing,
                       const struct cn_list_way *way)
{
    char args[SQL_MAX];
    s_way_args(listing, way, args);
    if ((way->statement->lanes & 1U << CN_LANE_SLOW) == 0) {
        s_page_look(self, way->statement, args);
    }
}

/* The first page of what changed. */
static void s_changes_look(struct contract_plans *self,
                           const struct cn_listing *listing)
{
    char args[SQL_MAX];
    (void)snprintf(args, sizeof(args),
                   "('2000-01-01Z', '00000000-0000-0000-0000-000000000000',"
                   " %d%s)",
                   PAGE, listing->resource->branch >= 0 ? ", NULL" : "");
    s_page_look(self, listing->changes, args);
}

static const struct cn_statement *s_statement(const char *name)
{
    for (size_t i = 0; i < cn_statement_count(); i++) {
        if (strcmp(cn_statement_at(i)->name, name) == 0) {
            return cn_statement_at(i);
        }
    }
    (void)fprintf(stderr, "no statement is called %s\n", name);
    abort();
}

static void s_pages_look(struct contract_plans *self)
{
    for (const struct contract_args *page = self->contract->pages;
         page != NULL && page->statement != NULL; page++) {
        char args[SQL_MAX];
        (void)snprintf(args, sizeof(args), "(%s)", page->args);
        s_page_look(self, s_statement(page->statement), args);
    }
    const struct cn_service *service = self->contract->service;
    const struct cn_resource *const *resources =
        self->contract->service->resources;
    for (size_t i = 0; i < service->method_count; i++) {
        const struct cn_listing *listing = service->methods[i].listing;
        for (size_t j = 0; listing != NULL && j < listing->way_count; j++) {
            s_way_look(self, listing, &listing->ways[j]);
        }
        if (listing != NULL && listing->changes != NULL) {
            s_changes_look(self, listing);
        }
    }
    for (size_t i = 0; resources != NULL && resources[i] != NULL; i++) {
        if (resources[i]->after != NULL) {
            char args[SQL_MAX];
            (void)snprintf(args, sizeof(args),
                           "('00000000-0000-0000-0000-000000000000', %d)",
                           AFTER_PAGE);
            s_page_look(self, resources[i]->after, args);
        }
    }
}

/* ---- whose rows ---- */

/* The role that serves requests sees the rows of its tenant and no other. */
static void s_tenants_look(struct contract_plans *self)
{
    const char *schema = self->contract->service->name;
    char *tables = strdup(
        test_psql(self->psql,
                  "SELECT c.relname FROM pg_class c WHERE c.relnamespace ="
                  " '%s'::regnamespace AND c.relkind = 'r' AND"
                  " has_table_privilege('%s', c.oid, 'SELECT') AND EXISTS"
                  " (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND"
                  " a.attname = 'tenant_id')",
                  schema, self->pg->app));
    char *at = NULL;
    (void)test_psql(self->psql,
                    "SET SESSION AUTHORIZATION %s; SET cairn.tenant = '" TENANT
                    "'",
                    self->pg->app);
    for (char *table = strtok_r(tables, "\n", &at); table != NULL;
         table = strtok_r(NULL, "\n", &at)) {
        const char *text =
            test_psql(self->psql,
                      "SELECT count(*) FILTER (WHERE tenant_id <> '" TENANT
                      "') || ' of ' || count(*) FROM %s.%s",
                      schema, table);
        const bool is_own = strncmp(text, "0 of ", 5) == 0;
        const bool is_some =
            !s_is_in(self->big, table) || strcmp(text, "0 of 0") != 0;
        if (!is_own || !is_some) {
            s_wrong(self, table, "shows rows of another tenant, or none", text);
        }
    }
    free(tables);
    (void)test_psql(self->psql, "RESET SESSION AUTHORIZATION");
}

/* ---- the record of shapes ---- */

static char *s_file_read(const char *path)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = fopen(path, "re");
    FILE *out = open_memstream(&text, &size);
    assert(out != NULL);
    for (int c = 0; file != NULL && (c = fgetc(file)) != EOF;) {
        (void)fputc(c, out);
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    (void)fclose(out);
    return text;
}

/* The piece of the text about one statement, up to its empty line. */
static const char *s_piece(const char *text, const char *name, int *ret_size)
{
    const size_t size = strlen(name);
    const char *at = text;
    while (*at != '\0') {
        const char *end = strstr(at, "\n\n");
        end = end != NULL ? end + 2 : at + strlen(at);
        if (strncmp(at, name, size) == 0 && at[size] == '\n') {
            *ret_size = (int)(end - at);
            return at;
        }
        at = end;
    }
    *ret_size = 6;
    return "none\n\n";
}

static void
s_shapes_compare(struct contract_plans *self, const char *stem, const char *now)
{
    char path[256];
    const char *wish = getenv("CAIRN_PLANS");
    (void)snprintf(path, sizeof(path), "%s/%s.txt", FOLDER, stem);
    if (wish != NULL && strcmp(wish, "write") == 0) {
        FILE *file = fopen(path, "we");
        assert(file != NULL);
        (void)fputs(now, file);
        (void)fclose(file);
        return;
    }
    char *was = s_file_read(path);
    if (strcmp(was, now) != 0) {
        self->faults++;
        (void)fprintf(stderr,
                      "%s: the shape of a plan is another; if it is meant, run"
                      " with CAIRN_PLANS=write and look at the diff\n",
                      path);
    }
    for (size_t i = 0; i < cn_statement_count(); i++) {
        int was_size = 0;
        int now_size = 0;
        const char *name = cn_statement_at(i)->name;
        const char *before = s_piece(was, name, &was_size);
        const char *after = s_piece(now, name, &now_size);
        if (was_size != now_size ||
            strncmp(before, after, (size_t)was_size) != 0) {
            (void)fprintf(stderr, "was %.*snow %.*s", was_size, before,
                          now_size, after);
        }
    }
    free(was);
}

static int s_compare(const void *a, const void *b)
{
    const struct cn_statement *left = *(const struct cn_statement *const *)a;
    const struct cn_statement *right = *(const struct cn_statement *const *)b;
    return strcmp(left->name, right->name);
}

static void
s_statements_look(struct contract_plans *self, bool own, const char *stem)
{
    const struct cn_statement *all[STATEMENTS_MAX];
    char *text = NULL;
    size_t size = 0;
    FILE *shapes = open_memstream(&text, &size);
    const size_t count = cn_statement_count();
    assert(shapes != NULL && count <= STATEMENTS_MAX);
    for (size_t i = 0; i < count; i++) {
        all[i] = cn_statement_at(i);
    }
    qsort(all, count, sizeof(all[0]), s_compare);
    for (size_t i = 0; i < count; i++) {
        if (s_is_own(self, all[i]->sql) == own) {
            s_statement_look(self, all[i], shapes);
        }
    }
    (void)fclose(shapes);
    s_shapes_compare(self, stem, text);
    free(text);
}

struct contract_plans *contract_plans_begin(const struct contract *contract)
{
    struct contract_plans *self = calloc(1, sizeof(*self));
    assert(self != NULL);
    self->contract = contract;
    self->pg = test_pg_new(contract->service->name, contract->folder);
    self->psql = test_psql_open(self->pg);
    s_rows_fill(self);
    return self;
}

bool contract_plans_look(struct contract_plans *self)
{
    s_rows_wait(self);
    const bool platform = self->contract->platform;
    s_statements_look(self, !platform,
                      platform ? "platform" : self->contract->service->name);
    s_pages_look(self);
    s_tenants_look(self);
    return self->faults == 0;
}

void contract_plans_end(struct contract_plans *self)
{
    test_psql_close(self->psql);
    test_pg_free(self->pg);
    free(self->big);
    free(self);
}
