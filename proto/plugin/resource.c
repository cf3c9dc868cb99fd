/* SPDX-License-Identifier: Apache-2.0 */
/* Resources: the table of columns and the statements of each. The plans behind
 * the statements of lists were measured at 300,000 rows: a filter that may be
 * absent hides from the planner how many rows a page reads, so there is one
 * statement for each way in. */
#include "plugin.h"

#include "common/base/array.h"

#include <ctype.h>
#include <string.h>

enum { FILTERS_MAX = 8, WORD_FILTERS_MAX = 3 };

/* The fields that every resource begins with. */
static const char *const HEAD[] = { "id", "version", "created_at",
                                    "updated_at" };

const struct message *resource_shown(const struct message *message)
{
    const struct field *shows = field_find(message, message->resource.shows);
    return shows != NULL && shows->message != NULL ? shows->message : message;
}

/* "sch__visit" is the hook sch_visit_moves and the like. */
static const char *hook(const struct message *message, const char *what)
{
    struct text text = { 0 };
    for (const char *at = message->c_name; *at != '\0'; at++) {
        if (at[0] != '_' || at[1] != '_') {
            text_add(&text, at, 1);
        }
    }
    text_printf(&text, "_%s", what);
    return text.data;
}

/* "VISIT": of its statements and macros. */
static const char *label(const struct message *message)
{
    const char *name = strstr(message->c_name, "__");
    return upper(name != NULL ? name + 2 : message->c_name);
}

/* ---- checks ---- */

static const char *column_kind(const struct field *field)
{
    if (field->rule.id != NULL) {
        return "ID";
    }
    if (equal(field->rule.kind, "time")) {
        return "AT";
    }
    switch ((int)field->proto->type) {
    case TYPE(ENUM):
        return "WORD";
    case TYPE(INT64):
        return "INT";
    case TYPE(BOOL):
        return "BOOL";
    case TYPE(BYTES):
        return "BYTES";
    case TYPE(STRING):
        return "TEXT";
    default:
        return NULL;
    }
}

static void check_named(struct model *model,
                        const struct message *message,
                        const char *what,
                        const char *name)
{
    if (name != NULL && field_find(resource_shown(message), name) == NULL) {
        fault(model, message->file, message->schema, "%s: no field %s", what,
              name);
    }
}

/* The resource whose row is read with each of this one; NULL: none. */
static const struct message *resource_beside(const struct model *model,
                                             const struct message *message)
{
    const struct field *link =
        field_find(resource_shown(message), message->resource.beside);
    for (size_t i = 0; link != NULL && i < model->message_count; i++) {
        const struct message *other = &model->messages[i];
        if (other->file == message->file && other->resource.present &&
            other->resource.also == NULL && link->rule.id != NULL &&
            equal(other->resource.id, link->rule.id)) {
            return other;
        }
    }
    return NULL;
}

void check_resource(struct model *model, const struct message *message)
{
    const struct resource_rule *rule = &message->resource;
    const struct message *shown = resource_shown(message);
    if (!rule->present) {
        return;
    }
    if (rule->table == NULL) {
        fault(model, message->file, message->schema, "a resource has a table");
    }
    for (size_t i = 0; rule->copy == NULL && i < CN_COUNT(HEAD); i++) {
        if (shown->field_count <= i || !equal(shown->fields[i].name, HEAD[i])) {
            fault(model, message->file, message->schema,
                  "field %zu of a resource must be %s", i + 1, HEAD[i]);
        }
    }
    for (size_t i = 0; i < shown->field_count; i++) {
        const struct field *field = &shown->fields[i];
        if (field->rule.column &&
            (field->repeated || column_kind(field) == NULL)) {
            fault(model, message->file, message->schema,
                  "%s cannot be a column", field->name);
        }
    }
    check_named(model, message, "reach", rule->reach);
    check_named(model, message, "patient", rule->patient);
    check_named(model, message, "beside", rule->beside);
    if (rule->beside != NULL && resource_beside(model, message) == NULL) {
        fault(model, message->file, message->schema,
              "%s is the id of no resource of the file", rule->beside);
    }
    if (rule->copy == NULL && (rule->order == NULL || rule->id == NULL)) {
        fault(model, message->file, message->schema,
              "a resource has an order and an id");
    }
}

/* ---- what a method serves ---- */

/* The resource of this file whose shown message that is. */
static const struct message *resource_of(const struct model *model,
                                         const struct message *shown)
{
    for (size_t i = 0; shown != NULL && i < model->message_count; i++) {
        const struct message *message = &model->messages[i];
        if (message->resource.present && message->resource.copy == NULL &&
            resource_shown(message) == shown) {
            return message;
        }
    }
    return NULL;
}

const char *resource_prefix(const struct model *model,
                            const struct message *shown)
{
    const struct message *resource = resource_of(model, shown);
    return resource != NULL ? resource->resource.id : NULL;
}

static bool is_made(const struct method *method)
{
    return method->http.present && !method->http.by_hand &&
           equal(method->http.verb, "GET") && method->http.produces == NULL;
}

const struct message *resource_of_get(const struct model *model,
                                      const struct method *method)
{
    bool plain = is_made(method) && method->input != NULL &&
                 method->input->field_count == 1 &&
                 equal(method->input->fields[0].name, "id");
    return plain ? resource_of(model, method->output) : NULL;
}

const struct message *resource_of_list(const struct model *model,
                                       const struct method *method)
{
    const struct field *data = field_find(method->output, "data");
    bool plain = is_made(method) && data != NULL && data->repeated &&
                 field_find(method->input, "cursor") != NULL;
    const struct message *listed =
        plain ? resource_of(model, data->message) : NULL;
    return listed != NULL && listed->resource.beside != NULL ? NULL : listed;
}

const struct message *resource_of_method(const struct model *model,
                                         const struct method *method)
{
    const struct field *data = field_find(method->output, "data");
    const struct message *shown =
        data != NULL && data->repeated ? data->message : method->output;
    const struct message *resource = resource_of(model, shown);
    return resource != NULL && resource->file == method->service->file
               ? resource
               : NULL;
}

/* ---- statements ---- */

static const char *table_of(const struct message *message)
{
    return format("%s.%s", message->file->stem, message->resource.table);
}

/* ", r.branch_id" of the table r, or a NULL in its place. */
static void
put_id_column(const char *table, const char *name, struct text *text)
{
    if (name != NULL) {
        text_printf(text, ", %s.%s", table, name);
    } else {
        text_puts(text, ", NULL::uuid");
    }
}

/* "r.id, r.branch_id, ..." of the table r. */
static void
put_columns(const struct message *message, const char *table, struct text *text)
{
    const struct resource_rule *rule = &message->resource;
    const char *order = rule->order != NULL ? rule->order : "";
    int size = (int)strcspn(order, " ");
    text_printf(text, "%s.id", table);
    put_id_column(table, rule->reach, text);
    put_id_column(table, rule->patient, text);
    if (size > 0) {
        text_printf(text, ", %s.%.*s, %s.version, %s.event_seq", table, size,
                    order, table, table);
    } else {
        text_printf(text, ", NULL::timestamptz, 0::bigint, %s.%s", table,
                    rule->copy);
    }
    text_printf(text, ", %s.body, %s", table,
                rule->also != NULL ? rule->also : "NULL::text");
}

/* The macros of a resource's statements: its columns, and what is joined for
 * the row beside it. OFFSET 0 keeps the planner from reading whole tables for a
 * page whose size it does not know: the row is looked up by its key. */
static void put_macros(const struct model *model,
                       const struct message *message,
                       struct text *header)
{
    const char *name = label(message);
    const struct message *beside = resource_beside(model, message);
    text_printf(header, "#define %s_COLUMNS \\\n    \"", name);
    put_columns(message, "r", header);
    text_puts(header, "\"\n");
    if (beside != NULL) {
        text_printf(header,
                    "/* Behind its columns: \", p.*\", of this join. */\n"
                    "#define %s_BESIDE \\\n"
                    "    \" CROSS JOIN LATERAL (SELECT ",
                    name);
        put_columns(beside, "b", header);
        text_printf(header,
                    " FROM %s b\" \\\n    \" WHERE b.id = r.%s OFFSET 0) p\"\n",
                    table_of(beside), message->resource.beside);
    }
}

static void put_reads(const struct message *message, struct text *source)
{
    const char *name = label(message);
    const char *table = table_of(message);
    bool beside = message->resource.beside != NULL;
    text_printf(source,
                "CN_SQL_READ(SQL_%s_GET,\n"
                "            \"SELECT \" %s_COLUMNS \"%s FROM %s r\"%s\n"
                "            \" WHERE r.id = $1\");\n",
                name, name, beside ? ", p.*" : "", table,
                beside ? format(" %s_BESIDE", name) : "");
    if (message->resource.copy != NULL) {
        return;
    }
    /* The page is chosen before anything is joined to it. */
    text_printf(
        source,
        "CN_SQL_SLOW(SQL_%s_AFTER,\n"
        "            \"SELECT \" %s_COLUMNS \"%s FROM %s r\"\n"
        "            \" WHERE r.id > $1 ORDER BY r.id LIMIT $2%s\"%s);\n",
        name, name, beside ? ", p.*" : "",
        beside ? format("(SELECT * FROM %s", table) : table,
        beside ? ") r" : "",
        beside ? format("\n            %s_BESIDE \" ORDER BY r.id\"", name)
               : "");
}

/* Each column of the message with the number of its parameter, by a pattern of
 * name and number. Returns the number behind the last. */
static unsigned put_each(const struct message *message,
                         unsigned number,
                         const char *(*write)(const char *name,
                                              unsigned number),
                         struct text *text)
{
    const struct message *shown = resource_shown(message);
    for (size_t i = 0; i < shown->field_count; i++) {
        if (shown->fields[i].rule.column) {
            text_puts(text, write(shown->fields[i].name, number++));
        }
    }
    for (size_t i = 0; i < message->resource.derived_count; i++) {
        text_puts(text, write(message->resource.derived[i], number++));
    }
    return number;
}

static const char *write_name(const char *name, unsigned number)
{
    (void)number;
    return format(", %s", name);
}

static const char *write_number(const char *name, unsigned number)
{
    (void)name;
    return format(", $%u", number);
}

static const char *write_set(const char *name, unsigned number)
{
    return format(" %s = $%u,", name, number);
}

static const char *write_excluded(const char *name, unsigned number)
{
    (void)number;
    return format(" %s = excluded.%s,", name, name);
}

static void put_insert(const struct message *message, struct text *source)
{
    text_printf(source,
                "CN_SQL_WRITE(SQL_%s_INSERT,\n"
                "             \"INSERT INTO %s (tenant_id, id, version,\"\n"
                "             \" event_seq, created_at, updated_at, body\"\n"
                "             \"",
                label(message), table_of(message));
    unsigned given = put_each(message, 6, write_name, source);
    for (size_t i = 0; i < message->resource.given_count; i++) {
        text_printf(source, ", %s", message->resource.given[i]);
    }
    text_puts(source, ")\"\n             \" VALUES ($1, $2, 1, $3, $4, $4, $5");
    (void)put_each(message, 6, write_number, source);
    for (size_t i = 0; i < message->resource.given_count; i++) {
        text_printf(source, ", $%u", given++);
    }
    text_printf(source, ")%s\");\n",
                message->resource.quiet ? " ON CONFLICT DO NOTHING" : "");
}

static void put_update(const struct message *message, struct text *source)
{
    text_printf(source,
                "CN_SQL_WRITE(SQL_%s_UPDATE,\n"
                "             \"WITH u AS (UPDATE %s SET\"\n             \"",
                label(message), table_of(message));
    (void)put_each(message, 6, write_set, source);
    text_printf(source,
                " version = version + 1,\"\n"
                "             \" event_seq = event_seq + $3, updated_at = $4, "
                "body = $5\"\n"
                "             \" WHERE id = $1 AND version = $2 RETURNING "
                "1)\"\n"
                "             \" SELECT %s.require(EXISTS (SELECT 1 FROM "
                "u),\"\n"
                "             \" '%s_version')\");\n",
                message->file->stem, message->resource.name);
}

static void put_keep(const struct message *message, struct text *source)
{
    const struct resource_rule *rule = &message->resource;
    text_printf(source,
                "CN_SQL_WRITE(SQL_%s_KEEP,\n"
                "             \"INSERT INTO %s AS k (tenant_id, id, %s",
                label(message), table_of(message), rule->copy);
    unsigned body = put_each(message, 4, write_name, source);
    text_printf(source, "%s)\"\n             \" VALUES ($1, $2, $3",
                rule->bare ? "" : ", body");
    (void)put_each(message, 4, write_number, source);
    if (!rule->bare) {
        text_printf(source, ", $%u", body);
    }
    text_puts(source, ")\"\n             \" ON CONFLICT (tenant_id, id) DO "
                      "UPDATE SET\"\n             \"");
    (void)put_each(message, 0, write_excluded, source);
    text_printf(source,
                "%s %s = excluded.%s\"\n"
                "             \" WHERE k.%s <= excluded.%s\");\n",
                rule->bare ? "" : " body = excluded.body,", rule->copy,
                rule->copy, rule->copy, rule->copy);
}

/* ---- lists ---- */

struct filter {
    const struct field *field; /* of the request */
    bool is_id;
    bool leads; /* there is an ordered scan for each of its words */
};

struct list {
    const struct message *resource;
    const struct method *method;
    struct filter filters[FILTERS_MAX];
    size_t count;
    const char *order; /* "sort_at" */
    bool desc;
    const struct field *since; /* updated_since, or NULL */
};

static struct list list_read(struct model *model,
                             const struct message *resource,
                             const struct method *method)
{
    const struct message *shown = resource_shown(resource);
    const char *order = resource->resource.order;
    struct list list = { .resource = resource,
                         .method = method,
                         .order = duplicate(order, strcspn(order, " ")),
                         .desc = strstr(order, " desc") != NULL };
    bool has_lead = false;
    for (size_t i = 0; i < method->input->field_count; i++) {
        const struct field *field = &method->input->fields[i];
        const struct field *column = field_find(shown, field->name);
        if (equal(field->name, "limit") || equal(field->name, "cursor")) {
            continue;
        }
        if (equal(field->name, "updated_since")) {
            list.since = field;
            continue;
        }
        if (column == NULL || !column->rule.column ||
            list.count == FILTERS_MAX) {
            fault(model, method->service->file, method->proto->name,
                  "%s is no column of %s: write the list by hand", field->name,
                  resource->schema);
            continue;
        }
        struct filter filter = { .field = field,
                                 .is_id = column->rule.id != NULL };
        /* The first list of words is the one with an index. */
        filter.leads = !filter.is_id && !has_lead;
        has_lead = has_lead || filter.leads;
        list.filters[list.count++] = filter;
    }
    return list;
}

static unsigned reach_number(const struct list *list)
{
    return list->resource->resource.reach != NULL ? 4 : 3;
}

static const char *column_of(const struct list *list, size_t i)
{
    return list->filters[i].field->name;
}

/* " (r.sort_at, r.id) > ($1, $2) AND (...)": behind the cursor, in reach. */
static void put_after(const struct list *list, struct text *text)
{
    text_printf(text, " (r.%s, r.id) %s ($1, $2)", list->order,
                list->desc ? "<" : ">");
    if (list->resource->resource.reach != NULL) {
        text_puts(text, " AND ($4::uuid[] IS NULL OR r.branch_id = ANY ($4))");
    }
}

static void put_order(const struct list *list, struct text *text)
{
    const char *direction = list->desc ? " DESC" : "";
    text_printf(text, " ORDER BY r.%s%s, r.id%s LIMIT $3", list->order,
                direction, direction);
}

static void put_way(const struct list *list,
                    const char *name,
                    bool slow,
                    const char *sql,
                    struct text *source)
{
    const char *lane = list->resource->resource.tenant ? "RELAY"
                       : slow                          ? "SLOW"
                                                       : "READ";
    text_printf(source,
                "CN_SQL_%s(%s,\n            \"SELECT \" %s_COLUMNS\n"
                "            \"%s\");\n",
                lane, name, label(list->resource), sql);
}

/* ($5::uuid IS NULL OR r.x = $5): a filter that may be absent. */
static void put_optional(const struct list *list,
                         size_t i,
                         unsigned number,
                         struct text *sql)
{
    text_printf(sql,
                list->filters[i].is_id
                    ? " AND ($%u::uuid IS NULL OR r.%s = $%u)"
                    : " AND ($%u::text[] IS NULL OR r.%s = ANY ($%u))",
                number, column_of(list, i), number);
}

/* In the order of changes: alone by an index, and with every filter, for which
 * rows are looked for. */
static void put_changes(const struct list *list, struct text *source)
{
    const char *base = upper(list->method->handler);
    struct list by_change = *list;
    struct text plain = { 0 };
    struct text with = { 0 };
    by_change.order = "updated_at";
    by_change.desc = false;
    text_printf(&plain, " FROM %s r WHERE", table_of(list->resource));
    put_after(&by_change, &plain);
    text_puts(&with, plain.data);
    for (size_t i = 0; i < list->count; i++) {
        put_optional(list, i, reach_number(list) + 1 + (unsigned)i, &with);
    }
    put_order(&by_change, &plain);
    put_order(&by_change, &with);
    put_way(list, format("SQL_%s_CHANGES", base), false, plain.data, source);
    put_way(list, format("SQL_%s_CHANGES_WITH", base), true, with.data, source);
}

/* By one id, where the rows are few; what else is asked for narrows them. */
static void put_id_way(const struct list *list,
                       size_t lead,
                       const char *name,
                       struct text *source)
{
    struct text sql = { 0 };
    unsigned number = reach_number(list);
    text_printf(&sql, " FROM %s r WHERE r.%s = $%u AND",
                table_of(list->resource), column_of(list, lead),
                number + 1 + (unsigned)lead);
    put_after(list, &sql);
    for (size_t i = 0; i < list->count; i++) {
        number++;
        if (i != lead) {
            put_optional(list, i, number, &sql);
        }
    }
    put_order(list, &sql);
    put_way(list, name, false, sql.data, source);
}

/* By the words that are given: one ordered scan for each word of the leading
 * list, merged. Other words are looked for among all rows: the slow lane. */
static void put_word_way(const struct list *list,
                         unsigned words,
                         const char *name,
                         struct text *source)
{
    struct text sql = { 0 };
    struct text rest = { 0 };
    unsigned number = reach_number(list);
    unsigned lead = 0;
    const char *lead_column = NULL;
    bool slow = false;
    put_after(list, &rest);
    for (size_t i = 0; i < list->count; i++) {
        if ((words & 1U << i) == 0) {
            continue;
        }
        number++;
        if (list->filters[i].leads) {
            lead = number;
            lead_column = column_of(list, i);
        } else {
            slow = true;
            text_printf(&rest, " AND r.%s = ANY ($%u)", column_of(list, i),
                        number);
        }
    }
    put_order(list, &rest);
    if (lead_column != NULL) {
        text_printf(&sql,
                    " FROM unnest($%u::text[]) AS w (word) CROSS JOIN LATERAL\""
                    "\n            \" (SELECT r.* FROM %s r WHERE r.%s = w.word"
                    " AND%s) r",
                    lead, table_of(list->resource), lead_column, rest.data);
        put_order(list, &sql);
    } else {
        text_printf(&sql, " FROM %s r WHERE%s", table_of(list->resource),
                    rest.data);
    }
    put_way(list, name, slow, sql.data, source);
}

static void put_row(struct text *rows,
                    const char *name,
                    int lead,
                    unsigned words,
                    const struct list *list)
{
    unsigned count = 0;
    struct text filters = { 0 };
    for (size_t i = 0; i < list->count; i++) {
        if (lead >= 0 || (words & 1U << i) != 0) {
            text_printf(&filters, "%s%zu", count > 0 ? ", " : "", i);
            count++;
        }
    }
    text_printf(rows, "    { &%s, %d, %uU, %u, { %s } },\n", name, lead, words,
                count, count > 0 ? filters.data : "0");
}

static void put_ways(const struct list *list, struct text *source)
{
    struct text rows = { 0 };
    const char *base = upper(list->method->handler);
    unsigned all_words = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (list->filters[i].is_id) {
            const char *name =
                format("SQL_%s_OF_%s", base, upper(column_of(list, i)));
            put_id_way(list, i, name, source);
            put_row(&rows, name, (int)i, 0, list);
        } else {
            all_words |= 1U << i;
        }
    }
    /* Every subset of the lists of words, none of them first. */
    unsigned words = 0;
    do {
        struct text name = { 0 };
        text_printf(&name, "SQL_%s", base);
        for (size_t i = 0; i < list->count; i++) {
            if ((words & 1U << i) != 0) {
                text_printf(&name, "_BY_%s", upper(column_of(list, i)));
            }
        }
        put_word_way(list, words, name.data, source);
        put_row(&rows, name.data, -1, words, list);
        words = (words - all_words) & all_words;
    } while (words != 0);
    text_printf(source, "static const struct cn_list_way %s_ways[] = {\n%s};\n",
                list->method->handler, rows.data);
}

static void
emit_list(const struct list *list, struct text *header, struct text *source)
{
    const char *name = list->method->handler;
    const char *base = upper(name);
    put_ways(list, source);
    if (list->since != NULL) {
        put_changes(list, source);
    }
    text_printf(source, "static const struct cn_list_filter %s_filters[] = {\n",
                name);
    for (size_t i = 0; i < list->count; i++) {
        const struct field *column =
            field_find(resource_shown(list->resource), column_of(list, i));
        text_printf(source, "    { %d, ",
                    field_index(list->method->input, column_of(list, i)));
        if (column->rule.id != NULL) {
            text_quote(source, column->rule.id);
        } else {
            text_puts(source, "NULL");
        }
        text_printf(source, " }, /* %s */\n", column_of(list, i));
    }
    if (list->count == 0) {
        text_puts(source, "    { 0, NULL },\n");
    }
    text_printf(source,
                "};\nconst struct cn_listing %s_listing = {\n"
                "    \"%s\", &%s__resource, &%s__shape, %s,\n"
                "    %s_filters, %zu, %s_ways,\n"
                "    sizeof(%s_ways) / sizeof(%s_ways[0]), %d,\n    %s, %s\n"
                "};\n\n",
                name, name, list->resource->c_name, list->method->input->c_name,
                list->desc ? "true" : "false", name, list->count, name, name,
                name, field_index(list->method->input, "updated_since"),
                list->since != NULL ? format("&SQL_%s_CHANGES", base) : "NULL",
                list->since != NULL ? format("&SQL_%s_CHANGES_WITH", base)
                                    : "NULL");
    text_printf(header, "extern const struct cn_listing %s_listing;\n", name);
}

/* ---- the table ---- */

static size_t put_column_table(const struct message *message,
                               struct text *source)
{
    const struct message *shown = resource_shown(message);
    size_t count = 0;
    text_printf(source, "static const struct cn_column %s__columns[] = {\n",
                message->c_name);
    for (size_t i = 0; i < shown->field_count; i++) {
        const struct field *field = &shown->fields[i];
        if (field->rule.column) {
            text_printf(source, "    { %zu, CN_COLUMN_%s, ", i,
                        column_kind(field));
            if (field->rule.id != NULL) {
                text_quote(source, field->rule.id);
            } else {
                text_puts(source, "NULL");
            }
            text_printf(source, " }, /* %s */\n", field->name);
            count++;
        }
    }
    text_puts(source,
              count == 0 ? "    { 0, CN_COLUMN_TEXT, NULL },\n};\n" : "};\n");
    return count;
}

/* The message of events that tells the resource, and the field that holds it.
 */
static const struct message *told_of(const struct model *model,
                                     const struct message *message,
                                     int *ret_field)
{
    const struct message *shown = resource_shown(message);
    for (size_t i = 0; i < model->message_count; i++) {
        const struct message *event = &model->messages[i];
        for (size_t j = 0; event->has_event && event->file == message->file &&
                           j < event->field_count;
             j++) {
            if (event->fields[j].message == shown &&
                !event->fields[j].repeated) {
                *ret_field = (int)j;
                return event;
            }
        }
    }
    *ret_field = -1;
    return NULL;
}

static void put_text(struct text *source, const char *name, const char *value)
{
    text_printf(source, "    .%s = ", name);
    if (value != NULL) {
        text_quote(source, value);
    } else {
        text_puts(source, "NULL");
    }
    text_puts(source, ",\n");
}

/* Which statements the table names. */
static void put_statement_names(const struct message *message,
                                struct text *source)
{
    const struct resource_rule *rule = &message->resource;
    const char *name = label(message);
    if (!rule->bare) {
        text_printf(source, "    .get = &SQL_%s_GET,\n", name);
    }
    if (rule->copy != NULL) {
        text_printf(source, "    .keep = &SQL_%s_KEEP,\n", name);
        return;
    }
    text_printf(source,
                "    .after = &SQL_%s_AFTER,\n"
                "    .insert = &SQL_%s_INSERT,\n",
                name, name);
    if (!rule->once) {
        text_printf(source, "    .update = &SQL_%s_UPDATE,\n", name);
    }
}

/* Declares what the service writes by hand, and names it in the table. */
static void put_hooks(const struct message *message,
                      struct text *header,
                      struct text *source)
{
    static const char RECORD[] =
        "(struct cn_op *op, struct cn_record *record);\n";
    static const char DERIVED[] = "(struct cn_op *op,\n"
                                  "    const struct cn_record *record,\n"
                                  "    struct cn_param *ret_params);\n";
    const struct resource_rule *rule = &message->resource;
    const struct {
        bool is_there;
        const char *name, *type, *params, *sign;
    } hooks[] = {
        { rule->derived_count > 0, "derived", "void ", DERIVED, "" },
        { rule->moves, "moves", "extern const struct cn_moves ", ";\n", "&" },
        { rule->tell, "tell", "void *", RECORD, "" },
        { rule->show, "show", "void ", RECORD, "" },
    };
    for (size_t i = 0; i < rule->derived_count; i++) {
        text_printf(header, "%s%s", i == 0 ? "/* Values of: " : ", ",
                    rule->derived[i]);
    }
    text_puts(header, rule->derived_count > 0 ? ". */\n" : "");
    for (size_t i = 0; i < sizeof(hooks) / sizeof(hooks[0]); i++) {
        if (hooks[i].is_there) {
            const char *name = hook(message, hooks[i].name);
            text_printf(header, "%s%s%s", hooks[i].type, name, hooks[i].params);
            text_printf(source, "    .%s = %s%s,\n", hooks[i].name,
                        hooks[i].sign, name);
        }
    }
}

static void emit_resource(const struct model *model,
                          const struct message *message,
                          struct text *header,
                          struct text *source)
{
    const struct resource_rule *rule = &message->resource;
    const struct message *shown = resource_shown(message);
    int told_field = -1;
    const struct message *told = told_of(model, message, &told_field);
    put_macros(model, message, header);
    text_printf(header, "extern const struct cn_resource %s__resource;\n",
                message->c_name);
    if (!rule->bare) {
        put_reads(message, source);
    }
    if (rule->copy != NULL) {
        put_keep(message, source);
    } else {
        put_insert(message, source);
        if (!rule->once) {
            put_update(message, source);
        }
    }
    size_t columns = put_column_table(message, source);
    text_printf(source, "const struct cn_resource %s__resource = {\n",
                message->c_name);
    put_text(source, "name", rule->name);
    put_text(source, "prefix", rule->id);
    put_text(source, "path", rule->path);
    put_text(source, "context",
             rule->bare ? NULL
                        : format("%s.%s.body", message->file->stem,
                                 rule->seal != NULL ? rule->seal : rule->name));
    put_text(source, "event", rule->event);
    text_printf(source,
                "    .shape = &%s__shape,\n    .shown = &%s__shape,\n"
                "    .shows = %d,\n    .columns = %s__columns,\n"
                "    .column_count = %zu,\n    .derived_count = %zu,\n"
                "    .given_count = %zu,\n"
                "    .told_field = %d,\n    .status = %d,\n    .branch = %d,\n"
                "    .patient = %d,\n    .audited = %s,\n",
                message->c_name, shown->c_name,
                field_index(message, rule->shows), message->c_name, columns,
                rule->derived_count, rule->given_count, told_field,
                field_index(shown, "status"), field_index(shown, rule->reach),
                field_index(shown, rule->patient),
                rule->patient != NULL ? "true" : "false");
    text_printf(source, "    .is_tenant = %s,\n",
                rule->tenant ? "true" : "false");
    if (told != NULL) {
        text_printf(source, "    .told = &%s__shape,\n", told->c_name);
    }
    put_hooks(message, header, source);
    put_statement_names(message, source);
    if (rule->beside != NULL) {
        text_printf(source, "    .beside = &%s__resource,\n",
                    resource_beside(model, message)->c_name);
    }
    text_puts(source, "};\n\n");
}

void emit_resources(struct model *model,
                    const struct file *file,
                    struct text *header,
                    struct text *source)
{
    text_printf(header,
                "/* Generated by protoc-gen-cairn. Do not edit. */\n"
                "#ifndef CN_GEN_%s_RESOURCES_H\n"
                "#define CN_GEN_%s_RESOURCES_H\n\n"
                "#include \"cairn/%s.cairn.h\"\n"
                "#include \"common/store/listing.h\"\n\n",
                upper(file->stem), upper(file->stem), file->stem);
    text_printf(source,
                "/* Generated by protoc-gen-cairn. Do not edit. */\n"
                "#include \"cairn/%s.resources.h\"\n\n",
                file->stem);
    for (size_t i = 0; i < model->message_count; i++) {
        const struct message *message = &model->messages[i];
        if (message->file == file && message->resource.present) {
            emit_resource(model, message, header, source);
        }
    }
    text_printf(header,
                "/* All of them, NULL at the end. */\n"
                "extern const struct cn_resource *const %s_resources[];\n",
                file->stem);
    text_printf(source, "const struct cn_resource *const %s_resources[] = {\n",
                file->stem);
    for (size_t i = 0; i < model->message_count; i++) {
        const struct message *message = &model->messages[i];
        if (message->file == file && message->resource.present) {
            text_printf(source, "    &%s__resource,\n", message->c_name);
        }
    }
    text_puts(source, "    NULL,\n};\n\n");
    for (size_t i = 0; i < file->service_count; i++) {
        const struct service *service = &file->services[i];
        for (size_t j = 0; j < service->method_count; j++) {
            const struct method *method = &service->methods[j];
            const struct message *resource = resource_of_list(model, method);
            if (resource != NULL) {
                struct list list = list_read(model, resource, method);
                emit_list(&list, header, source);
            }
        }
    }
    text_puts(header, "\n#endif\n");
}
