/* SPDX-License-Identifier: Apache-2.0 */
/* Values on PostgreSQL's wire. */
#include "common/db/db_value.h"

#include <assert.h>
#include <endian.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OID_TEXT = 25,
    OID_UUID = 2950,
    ARRAY_HEAD_SIZE = 20,      /* dimensions, flags, element, size, bound */
    ARRAY_EMPTY_SIZE = 12,     /* the same of an array without dimensions */
    ARRAY_SIZE_MAX = 64 << 20, /* bytes of one list */
    NUMBER_TEXT_MAX = 22,      /* with a comma */
    FORMAT_TEXT = 0,
    FORMAT_BINARY = 1
};

/* PostgreSQL counts from 2000-01-01. */
static const int64_t EPOCH_2000_AT = INT64_C(946684800) * CN_SECOND;

struct cn_param cn_null(void)
{
    return (struct cn_param){ .kind = CN_PARAM_NULL };
}

struct cn_param cn_text(const char *text)
{
    if (text == NULL) {
        return cn_null();
    }
    return (struct cn_param){ .kind = CN_PARAM_TEXT, .value.text = text };
}

struct cn_param cn_int(int64_t number)
{
    return (struct cn_param){ .kind = CN_PARAM_INT, .value.number = number };
}

struct cn_param cn_bool(bool value)
{
    return (struct cn_param){ .kind = CN_PARAM_BOOL, .value.number = value };
}

struct cn_param cn_uuid(struct cn_uuid id)
{
    return (struct cn_param){ .kind = CN_PARAM_UUID, .value.uuid = id };
}

struct cn_param cn_uuid_or_null(struct cn_uuid id)
{
    return cn_uuid_is_nil(id) ? cn_null() : cn_uuid(id);
}

struct cn_param cn_at(int64_t at)
{
    return (struct cn_param){ .kind = CN_PARAM_AT, .value.number = at };
}

struct cn_param cn_at_or_null(bool has, int64_t at)
{
    return has ? cn_at(at) : cn_null();
}

struct cn_param cn_bytes(const void *data, size_t size)
{
    return (struct cn_param){ .kind = CN_PARAM_BYTES,
                              .value.bytes = { .data = data, .size = size } };
}

struct cn_param cn_texts(const char *const *items, size_t count)
{
    if (items == NULL) {
        return cn_null();
    }
    return (struct cn_param){
        .kind = CN_PARAM_TEXTS, .value.list = { .items = items, .count = count }
    };
}

struct cn_param cn_uuids(const struct cn_uuid *items, size_t count)
{
    if (items == NULL) {
        return cn_null();
    }
    return (struct cn_param){
        .kind = CN_PARAM_UUIDS, .value.list = { .items = items, .count = count }
    };
}

struct cn_param
cn_numbers(struct cn_arena *arena, const int64_t *numbers, size_t count)
{
    size_t size_max = (count + 1) * NUMBER_TEXT_MAX;
    char *text = cn_arena_alloc(arena, size_max);
    size_t size = 0;
    text[size++] = '{';
    for (size_t i = 0; i < count; i++) {
        size += (size_t)snprintf(text + size, size_max - size, "%s%" PRId64,
                                 i == 0 ? "" : ",", numbers[i]);
    }
    text[size] = '}';
    return cn_text(text);
}

static char *s_put_int32(char *at, int64_t number)
{
    uint32_t big = htobe32((uint32_t)number);
    memcpy(at, &big, sizeof(big));
    return at + sizeof(big);
}

static char *s_array_head(char *at, unsigned element, size_t count)
{
    at = s_put_int32(at, count > 0 ? 1 : 0);
    at = s_put_int32(at, 0);
    at = s_put_int32(at, element);
    if (count > 0) {
        at = s_put_int32(at, (int64_t)count);
        at = s_put_int32(at, 1);
    }
    return at;
}

/* Bytes of a text[] without its NULL elements; ARRAY_SIZE_MAX + 1 if too big.
 */
static size_t
s_texts_size(const char *const *items, size_t count, size_t *ret_present)
{
    size_t size = ARRAY_HEAD_SIZE;
    size_t present = 0;
    for (size_t i = 0; i < count; i++) {
        if (items[i] == NULL) {
            continue;
        }
        size_t length = strlen(items[i]);
        if (length > ARRAY_SIZE_MAX ||
            size + length + 4 > (size_t)ARRAY_SIZE_MAX) {
            return (size_t)ARRAY_SIZE_MAX + 1;
        }
        size += length + 4;
        present++;
    }
    *ret_present = present;
    return present > 0 ? size : (size_t)ARRAY_EMPTY_SIZE;
}

static char *s_texts(const struct cn_param *param, int *ret_size)
{
    const char *const *items = param->value.list.items;
    size_t present = 0;
    size_t size = s_texts_size(items, param->value.list.count, &present);
    char *data = size <= (size_t)ARRAY_SIZE_MAX ? malloc(size) : NULL;
    if (data == NULL) {
        return NULL;
    }
    char *at = s_array_head(data, OID_TEXT, present);
    for (size_t i = 0; i < param->value.list.count; i++) {
        if (items[i] == NULL) {
            continue;
        }
        size_t length = strlen(items[i]);
        at = s_put_int32(at, (int64_t)length);
        memcpy(at, items[i], length);
        at += length;
    }
    *ret_size = (int)size;
    return data;
}

static char *s_uuids(const struct cn_param *param, int *ret_size)
{
    enum { ITEM_SIZE = 4 + sizeof(struct cn_uuid) };
    const struct cn_uuid *items = param->value.list.items;
    size_t count = param->value.list.count;
    if (count > ARRAY_SIZE_MAX / ITEM_SIZE) {
        return NULL;
    }
    size_t size = count > 0 ? ARRAY_HEAD_SIZE + count * ITEM_SIZE
                            : (size_t)ARRAY_EMPTY_SIZE;
    char *data = malloc(size);
    if (data == NULL) {
        return NULL;
    }
    char *at = s_array_head(data, OID_UUID, count);
    for (size_t i = 0; i < count; i++) {
        at = s_put_int32(at, sizeof(struct cn_uuid));
        memcpy(at, items[i].bytes, sizeof(struct cn_uuid));
        at += sizeof(struct cn_uuid);
    }
    *ret_size = (int)size;
    return data;
}

static bool
s_list_value(struct cn_db_values *self, const struct cn_param *param, int i)
{
    char *data = param->kind == CN_PARAM_TEXTS ? s_texts(param, &self->size[i])
                                               : s_uuids(param, &self->size[i]);
    if (data == NULL) {
        return false;
    }
    self->data[i] = data;
    self->format[i] = FORMAT_BINARY;
    self->owned[self->owned_count++] = data;
    return true;
}

/* The number as text, at the end of scratch. snprintf is slow, and a row has
 * many numbers. */
static const char *s_digits_write(char scratch[CN_DB_SCRATCH], int64_t number)
{
    char *at = scratch + CN_DB_SCRATCH - 1;
    uint64_t left = number < 0 ? -(uint64_t)number : (uint64_t)number;
    *at = '\0';
    do {
        *--at = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    if (number < 0) {
        *--at = '-';
    }
    return at;
}

static void
s_scratch(struct cn_db_values *self, const struct cn_param *param, int i)
{
    char *scratch = self->scratch[i];
    self->data[i] = scratch;
    if (param->kind == CN_PARAM_AT) {
        uint64_t big =
            htobe64((uint64_t)param->value.number - (uint64_t)EPOCH_2000_AT);
        memcpy(scratch, &big, sizeof(big));
        self->size[i] = sizeof(big);
        self->format[i] = FORMAT_BINARY;
    } else if (param->kind == CN_PARAM_BOOL) {
        scratch[0] = param->value.number != 0 ? 't' : 'f';
        scratch[1] = '\0';
    } else {
        self->data[i] = s_digits_write(scratch, param->value.number);
    }
}

static bool
s_param(struct cn_db_values *self, const struct cn_param *param, int i)
{
    static const char EMPTY[] = "";
    self->data[i] = NULL;
    self->size[i] = 0;
    self->format[i] = FORMAT_TEXT;
    switch (param->kind) {
    case CN_PARAM_NULL:
        return true;
    case CN_PARAM_TEXT:
        self->data[i] = param->value.text;
        return true;
    case CN_PARAM_INT:
    case CN_PARAM_BOOL:
    case CN_PARAM_AT:
        s_scratch(self, param, i);
        return true;
    case CN_PARAM_UUID:
        self->data[i] = (const char *)param->value.uuid.bytes;
        self->size[i] = sizeof(param->value.uuid.bytes);
        self->format[i] = FORMAT_BINARY;
        return true;
    case CN_PARAM_BYTES:
        if (param->value.bytes.size > ARRAY_SIZE_MAX) {
            return false;
        }
        /* NULL data of size 0 is an empty bytea, not SQL NULL. */
        self->data[i] = param->value.bytes.data != NULL
                            ? (const char *)param->value.bytes.data
                            : EMPTY;
        self->size[i] = (int)param->value.bytes.size;
        self->format[i] = FORMAT_BINARY;
        return true;
    case CN_PARAM_TEXTS:
    case CN_PARAM_UUIDS:
        return s_list_value(self, param, i);
    default:
        abort(); /* no such kind */
    }
}

bool cn_db_values_init(struct cn_db_values *self,
                       const struct cn_param *params,
                       size_t count)
{
    assert(count <= CN_DB_PARAMS_MAX);
    self->count = (int)count;
    self->owned_count = 0;
    for (int i = 0; i < self->count; i++) {
        if (!s_param(self, &params[i], i)) {
            return false;
        }
    }
    return true;
}

void cn_db_values_done(struct cn_db_values *self)
{
    for (int i = 0; i < self->owned_count; i++) {
        free(self->owned[i]);
    }
    self->owned_count = 0;
}

int16_t cn_db_int16(const char *data)
{
    uint16_t big = 0;
    memcpy(&big, data, sizeof(big));
    return (int16_t)be16toh(big);
}

int32_t cn_db_int32(const char *data)
{
    uint32_t big = 0;
    memcpy(&big, data, sizeof(big));
    return (int32_t)be32toh(big);
}

int64_t cn_db_int64(const char *data)
{
    uint64_t big = 0;
    memcpy(&big, data, sizeof(big));
    return (int64_t)be64toh(big);
}

int64_t cn_db_at(const char *data)
{
    int64_t at = cn_db_int64(data);
    /* 'infinity' and '-infinity'. */
    if (at == INT64_MAX || at == INT64_MIN) {
        return at;
    }
    return at + EPOCH_2000_AT;
}

bool cn_db_array(const char *data,
                 size_t size,
                 void (*visit)(void *arg, const char *data, size_t size),
                 void *arg,
                 size_t *ret_count)
{
    if (size < ARRAY_EMPTY_SIZE) {
        return false;
    }
    int32_t dimensions = cn_db_int32(data);
    if (dimensions == 0) {
        *ret_count = 0;
        return true;
    }
    if (dimensions != 1 || size < ARRAY_HEAD_SIZE) {
        return false;
    }
    int32_t count = cn_db_int32(data + ARRAY_EMPTY_SIZE);
    size_t at = ARRAY_HEAD_SIZE;
    for (int32_t i = 0; i < count; i++) {
        if (size - at < 4) {
            return false;
        }
        int32_t length = cn_db_int32(data + at);
        at += 4;
        if (length >= 0 && (size_t)length > size - at) {
            return false;
        }
        size_t step = length >= 0 ? (size_t)length : 0;
        visit(arg, length >= 0 ? data + at : NULL, step);
        at += step;
    }
    *ret_count = count > 0 ? (size_t)count : 0;
    return true;
}
