/* SPDX-License-Identifier: Apache-2.0 */
/* Reading binary results: a wrong column or type is a bug and aborts with the
 * statement's name. */
#include "common/db/db_value.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OID_BOOL = 16,
    OID_BYTEA = 17,
    OID_NAME = 19,
    OID_INT8 = 20,
    OID_INT2 = 21,
    OID_INT4 = 23,
    OID_TEXT = 25,
    OID_OID = 26,
    OID_UNKNOWN = 705,
    OID_NAME_ARRAY = 1003,
    OID_TEXT_ARRAY = 1009,
    OID_VARCHAR_ARRAY = 1015,
    OID_BPCHAR = 1042,
    OID_VARCHAR = 1043,
    OID_TIMESTAMPTZ = 1184,
    OID_UUID = 2950,
    OID_UUID_ARRAY = 2951,
    OID_XID8 = 5069
};

size_t cn_rows_count(const struct cn_rows *rows)
{
    return rows->result != NULL ? (size_t)PQntuples(rows->result) : 0;
}

int cn_rows_columns(const struct cn_rows *rows)
{
    return rows->result != NULL ? PQnfields(rows->result) : 0;
}

const struct cn_rows *cn_rows_none(void)
{
    static const struct cn_rows NONE = { .statement = "none" };
    return &NONE;
}

static _Noreturn void
s_abort(const struct cn_rows *rows, size_t row, int column, const char *what)
{
    (void)fprintf(stderr, "%s: row %zu, column %d: %s\n", rows->statement, row,
                  column, what);
    abort();
}

/* Type of the column; the place is checked. */
static Oid s_column_type(const struct cn_rows *rows, size_t row, int column)
{
    if (row >= cn_rows_count(rows) || column < 0 ||
        column >= PQnfields(rows->result)) {
        s_abort(rows, row, column, "there is no such place");
    }
    return PQftype(rows->result, column);
}

bool cn_row_null(const struct cn_rows *rows, size_t row, int column)
{
    (void)s_column_type(rows, row, column);
    return PQgetisnull(rows->result, (int)row, column) != 0;
}

const char *cn_row_text(const struct cn_rows *rows, size_t row, int column)
{
    switch (s_column_type(rows, row, column)) {
    case OID_TEXT:
    case OID_VARCHAR:
    case OID_BPCHAR:
    case OID_NAME:
    case OID_UNKNOWN:
        break;
    default:
        s_abort(rows, row, column, "not a text");
    }
    if (PQgetisnull(rows->result, (int)row, column) != 0) {
        return NULL;
    }
    return PQgetvalue(rows->result, (int)row, column);
}

int64_t cn_row_int(const struct cn_rows *rows, size_t row, int column)
{
    Oid type = s_column_type(rows, row, column);
    const char *data = PQgetvalue(rows->result, (int)row, column);
    bool null = PQgetisnull(rows->result, (int)row, column) != 0;
    switch (type) {
    case OID_INT2:
        return null ? 0 : cn_db_int16(data);
    case OID_INT4:
        return null ? 0 : cn_db_int32(data);
    case OID_OID:
        return null ? 0 : (int64_t)(uint32_t)cn_db_int32(data);
    case OID_INT8:
    case OID_XID8:
        return null ? 0 : cn_db_int64(data);
    default:
        s_abort(rows, row, column, "not a whole number");
    }
}

/* NULL for SQL NULL. */
static const char *s_exact(const struct cn_rows *rows,
                           size_t row,
                           int column,
                           Oid type,
                           const char *what)
{
    if (s_column_type(rows, row, column) != type) {
        s_abort(rows, row, column, what);
    }
    if (PQgetisnull(rows->result, (int)row, column) != 0) {
        return NULL;
    }
    return PQgetvalue(rows->result, (int)row, column);
}

bool cn_row_bool(const struct cn_rows *rows, size_t row, int column)
{
    const char *data = s_exact(rows, row, column, OID_BOOL, "not a boolean");
    return data != NULL && data[0] != 0;
}

struct cn_uuid cn_row_uuid(const struct cn_rows *rows, size_t row, int column)
{
    struct cn_uuid id = { 0 };
    const char *data = s_exact(rows, row, column, OID_UUID, "not a uuid");
    if (data != NULL) {
        memcpy(id.bytes, data, sizeof(id.bytes));
    }
    return id;
}

int64_t cn_row_at(const struct cn_rows *rows, size_t row, int column)
{
    const char *data =
        s_exact(rows, row, column, OID_TIMESTAMPTZ, "not a timestamptz");
    return data != NULL ? cn_db_at(data) : 0;
}

struct cn_bytes cn_row_bytes(const struct cn_rows *rows, size_t row, int column)
{
    const char *data = s_exact(rows, row, column, OID_BYTEA, "not a bytea");
    if (data == NULL) {
        return (struct cn_bytes){ 0 };
    }
    int size = PQgetlength(rows->result, (int)row, column);
    return (struct cn_bytes){ .data = (const uint8_t *)data,
                              .size = (size_t)size };
}

/* The elements of an array as far as they were read. */
struct list {
    struct cn_arena *arena;
    const char **texts;
    struct cn_uuid *uuids;
    size_t count;
};

static void s_add_text(void *arg, const char *data, size_t size)
{
    struct list *list = arg;
    list->texts[list->count++] =
        cn_arena_strndup(list->arena, data != NULL ? data : "", size);
}

static void s_add_uuid(void *arg, const char *data, size_t size)
{
    struct list *list = arg;
    struct cn_uuid id = { 0 };
    if (data != NULL && size == sizeof(id.bytes)) {
        memcpy(id.bytes, data, size);
    }
    list->uuids[list->count++] = id;
}

/* Calls visit for each element; SQL NULL has none. */
static void s_visit(const struct cn_rows *rows,
                    size_t row,
                    int column,
                    void (*visit)(void *arg, const char *data, size_t size),
                    struct list *list,
                    size_t *ret_count)
{
    size_t size = (size_t)PQgetlength(rows->result, (int)row, column);
    const char *data = PQgetvalue(rows->result, (int)row, column);
    *ret_count = 0;
    if (size > 0 && !cn_db_array(data, size, visit, list, ret_count)) {
        s_abort(rows, row, column, "not a list of one dimension");
    }
}

/* An element takes at least the four bytes of its length. */
static size_t s_count_max(const struct cn_rows *rows, size_t row, int column)
{
    return (size_t)PQgetlength(rows->result, (int)row, column) / 4 + 1;
}

const char **cn_row_texts(const struct cn_rows *rows,
                          size_t row,
                          int column,
                          struct cn_arena *arena,
                          size_t *ret_count)
{
    Oid type = s_column_type(rows, row, column);
    if (type != OID_TEXT_ARRAY && type != OID_VARCHAR_ARRAY &&
        type != OID_NAME_ARRAY) {
        s_abort(rows, row, column, "not a text[]");
    }
    struct list list = { .arena = arena };
    list.texts = cn_arena_array(arena, s_count_max(rows, row, column),
                                sizeof(*list.texts));
    s_visit(rows, row, column, s_add_text, &list, ret_count);
    return list.texts;
}

const struct cn_uuid *cn_row_uuids(const struct cn_rows *rows,
                                   size_t row,
                                   int column,
                                   struct cn_arena *arena,
                                   size_t *ret_count)
{
    if (s_column_type(rows, row, column) != OID_UUID_ARRAY) {
        s_abort(rows, row, column, "not a uuid[]");
    }
    struct list list = { .arena = arena };
    list.uuids = cn_arena_array(arena, s_count_max(rows, row, column),
                                sizeof(*list.uuids));
    s_visit(rows, row, column, s_add_uuid, &list, ret_count);
    return list.uuids;
}
