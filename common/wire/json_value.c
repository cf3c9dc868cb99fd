/* SPDX-License-Identifier: Apache-2.0 */
/* Stores single values of JSON or of parameters into messages, and says what is
 * wrong with them. */
#include "common/wire/json_internal.h"

#include "common/base/clock.h"
#include "common/wire/message.h"
#include "common/wire/text.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_SHOWN_MAX = 64 };

/* A key that the client made up may hold anything. Errors repeat it only when
 * it looks like a field's name. */
static bool is_shown(const char *key)
{
    size_t size = strspn(key, "abcdefghijklmnopqrstuvwxyz"
                              "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    return size > 0 && size <= KEY_SHOWN_MAX && key[size] == '\0';
}

/* The JSON Pointer of a place; what does not fit is cut at a whole step. */
static size_t pointer_write(const struct cn_json_where *where,
                            char text[CN_ERR_POINTER_MAX])
{
    if (where == NULL || where->up == NULL) {
        text[0] = '\0';
        return 0;
    }
    size_t size = pointer_write(where->up, text);
    char step[KEY_SHOWN_MAX + 2];
    if (where->key != NULL && !is_shown(where->key)) {
        return size;
    }
    int step_size = where->key != NULL
                        ? snprintf(step, sizeof(step), "/%s", where->key)
                        : snprintf(step, sizeof(step), "/%zu", where->index);
    assert(step_size > 0 && (size_t)step_size < sizeof(step));
    if (size + (size_t)step_size < CN_ERR_POINTER_MAX) {
        memcpy(text + size, step, (size_t)step_size + 1);
        size += (size_t)step_size;
    }
    return size;
}

bool cn_json_fault(struct cn_json_reader *reader,
                   const struct cn_json_where *where,
                   const char *word,
                   const char *format,
                   ...)
{
    char pointer[CN_ERR_POINTER_MAX];
    char msg[CN_ERR_MSG_MAX];
    va_list args;
    (void)pointer_write(where, pointer);
    va_start(args, format);
    (void)vsnprintf(msg, sizeof(msg), format, args);
    va_end(args);
    (void)cn_fail_field(reader->err, pointer, word, "%s", msg);
    reader->has_fault = true;
    return false;
}

bool cn_json_store_integer(struct cn_json_reader *reader,
                           const struct cn_json_where *where,
                           int64_t number,
                           void *slot)
{
    switch (where->field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        if (number < INT32_MIN || number > INT32_MAX) {
            return cn_json_fault(reader, where, "invalid_value",
                                 "out of range");
        }
        *(int32_t *)slot = (int32_t)number;
        return true;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        if (number < 0 || number > UINT32_MAX) {
            return cn_json_fault(reader, where, "invalid_value",
                                 "out of range");
        }
        *(uint32_t *)slot = (uint32_t)number;
        return true;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        if (number < 0) {
            return cn_json_fault(reader, where, "invalid_value",
                                 "out of range");
        }
        *(uint64_t *)slot = (uint64_t)number;
        return true;
    default:
        *(int64_t *)slot = number;
        return true;
    }
}

bool cn_json_store_double(struct cn_json_reader *reader,
                          const struct cn_json_where *where,
                          double number,
                          void *slot)
{
    if (where->field->type == PROTOBUF_C_TYPE_DOUBLE) {
        *(double *)slot = number;
        return true;
    }
    *(float *)slot = (float)number;
    return isfinite(*(float *)slot) ||
           cn_json_fault(reader, where, "invalid_value", "out of range");
}

static bool store_enum(struct cn_json_reader *reader,
                       const struct cn_json_where *where,
                       const ProtobufCEnumDescriptor *descriptor,
                       const char *text,
                       void *slot)
{
    int value;
    if (cn_enum_value(descriptor, text, &value)) {
        *(int *)slot = value;
        return true;
    }
    char words[CN_ERR_MSG_MAX] = "one of";
    size_t size = strlen(words);
    for (unsigned i = 0; i < descriptor->n_values; i++) {
        const char *word =
            cn_enum_word(descriptor, descriptor->values[i].value);
        size_t more = word != NULL ? strlen(word) : 0;
        if (size + more + 2 >= sizeof(words)) {
            break; /* openapi.json has the whole list */
        }
        words[size++] = ' ';
        memcpy(words + size, word != NULL ? word : "", more + 1);
        size += more;
    }
    return cn_json_fault(reader, where, "invalid_value", "%s", words);
}

static bool store_time(struct cn_json_reader *reader,
                       const struct cn_json_where *where,
                       const char *text,
                       void *slot)
{
    int64_t at;
    if (!cn_time_parse(text, &at)) {
        return cn_json_fault(reader, where, "invalid_time",
                             "a time as 2026-03-09T21:00:00Z");
    }
    if (!reader->as_read && !cn_time_is_plausible(at)) {
        return cn_json_fault(reader, where, "invalid_time",
                             "must lie between 1900 and 2199");
    }
    *(int64_t *)slot = at;
    return true;
}

static unsigned size_max(const ProtobufCFieldDescriptor *field,
                         const struct cn_field_shape *rule)
{
    /* The max of a list counts its items; of a string, characters. */
    bool is_own = rule->max > 0 && field->label != PROTOBUF_C_LABEL_REPEATED;
    return is_own ? rule->max : CN_STRING_MAX;
}

static bool check_date(struct cn_json_reader *reader,
                       const struct cn_json_where *where,
                       const char *text)
{
    struct cn_date date;
    if (!cn_date_parse(text, &date)) {
        return cn_json_fault(reader, where, "invalid_date",
                             "a date as 2026-03-09");
    }
    if (!cn_date_is_plausible(text)) {
        return cn_json_fault(reader, where, "invalid_date",
                             "must lie between 1900 and 2199");
    }
    /* The gateway's clock is the real one, too. */
    if (where->rule->kind == CN_FIELD_BIRTH_DATE &&
        !cn_birth_date_is_plausible(text, cn_clock_real())) {
        return cn_json_fault(reader, where, "invalid_date",
                             "must not lie in the future");
    }
    return true;
}

/* May blanks stand at its ends, which are then not kept? */
static bool is_free(const struct cn_field_shape *rule)
{
    return rule->kind == CN_FIELD_PLAIN || rule->kind == CN_FIELD_NAME ||
           rule->kind == CN_FIELD_TEXT || rule->kind == CN_FIELD_LANGUAGE;
}

static bool check_characters(struct cn_json_reader *reader,
                             const struct cn_json_where *where,
                             const char *text)
{
    if (text[0] == '\0' && where->field->label == PROTOBUF_C_LABEL_REPEATED) {
        return cn_json_fault(reader, where, "invalid_value",
                             "must not be blank");
    }
    if (!cn_text_is_clean(text, strlen(text),
                          where->rule->kind == CN_FIELD_TEXT)) {
        return cn_json_fault(reader, where, "invalid_value",
                             "must not hold control characters");
    }
    if (where->rule->kind == CN_FIELD_NAME && !cn_text_is_name(text)) {
        return cn_json_fault(reader, where, "invalid_value",
                             "a name needs a letter");
    }
    return true;
}

static bool check_text(struct cn_json_reader *reader,
                       const struct cn_json_where *where,
                       const char *text)
{
    if (where->rule->kind == CN_FIELD_DATE ||
        where->rule->kind == CN_FIELD_BIRTH_DATE) {
        return check_date(reader, where, text);
    }
    if (where->rule->kind == CN_FIELD_ZONE && !cn_zone_valid(text)) {
        return cn_json_fault(reader, where, "invalid_zone",
                             "an IANA zone as America/Denver");
    }
    if (where->rule->kind == CN_FIELD_CLOCK && !cn_json_is_clock(text)) {
        return cn_json_fault(reader, where, "invalid_value",
                             "a time of day as 21:00");
    }
    if (where->rule->pattern != NULL &&
        !cn_json_pattern(where->rule->pattern, text)) {
        return cn_json_fault(reader, where, "invalid_value", "not a valid %s",
                             where->rule->pattern);
    }
    return true;
}

/* A code of any form as it is kept. */
static bool store_language(struct cn_json_reader *reader,
                           const struct cn_json_where *where,
                           const char *text,
                           void *slot)
{
    char code[CN_LANGUAGE_SIZE];
    if (!cn_language_code(text, code)) {
        return cn_json_fault(reader, where, "invalid_value",
                             "a language as en, spa or pt-BR");
    }
    *(const char **)slot = cn_arena_strdup(reader->arena, code);
    return true;
}

static bool store_string(struct cn_json_reader *reader,
                         const struct cn_json_where *where,
                         const char *text,
                         size_t size,
                         void *slot)
{
    const unsigned max = size_max(where->field, where->rule);
    if (reader->as_read) {
        *(const char **)slot = cn_arena_strndup(reader->arena, text, size);
        return true;
    }
    if (is_free(where->rule)) {
        text = cn_text_trim(text, &size);
    }
    if (cn_text_fit(text, size, max) < size) {
        return cn_json_fault(reader, where, "too_long", "at most %u characters",
                             max);
    }
    const char *copy = cn_arena_strndup(reader->arena, text, size);
    *(const char **)slot = copy;
    if (!check_characters(reader, where, copy)) {
        return false;
    }
    return where->rule->kind == CN_FIELD_LANGUAGE
               ? store_language(reader, where, copy, slot)
               : check_text(reader, where, copy);
}

static bool store_bytes(struct cn_json_reader *reader,
                        const struct cn_json_where *where,
                        const char *text,
                        size_t size,
                        void *slot)
{
    ProtobufCBinaryData bytes;
    if (!cn_base64_read(reader->arena, text, size, &bytes)) {
        return cn_json_fault(reader, where, "invalid_value", "not base64");
    }
    if (bytes.data == NULL) {
        cn_arena_fail(reader->arena);
        return false;
    }
    if (bytes.len > size_max(where->field, where->rule)) {
        return cn_json_fault(reader, where, "too_long", "at most %u bytes",
                             size_max(where->field, where->rule));
    }
    *(ProtobufCBinaryData *)slot = bytes;
    return true;
}

bool cn_json_is_textual(const ProtobufCFieldDescriptor *field,
                        const struct cn_field_shape *rule)
{
    return field->type == PROTOBUF_C_TYPE_STRING ||
           field->type == PROTOBUF_C_TYPE_BYTES ||
           field->type == PROTOBUF_C_TYPE_ENUM || rule->kind == CN_FIELD_TIME;
}

bool cn_json_store_text(struct cn_json_reader *reader,
                        const struct cn_json_where *where,
                        const char *text,
                        size_t size,
                        void *slot)
{
    if (where->rule->kind == CN_FIELD_TIME) {
        return store_time(reader, where, text, slot);
    }
    if (where->field->type == PROTOBUF_C_TYPE_ENUM) {
        return store_enum(reader, where, where->field->descriptor, text, slot);
    }
    if (where->field->type == PROTOBUF_C_TYPE_BYTES) {
        return store_bytes(reader, where, text, size, slot);
    }
    return store_string(reader, where, text, size, slot);
}

size_t cn_json_items_max(const struct cn_field_shape *rule)
{
    return rule->max > 0 ? rule->max : CN_LIST_MAX;
}

void cn_json_set_has(ProtobufCMessage *message,
                     const ProtobufCFieldDescriptor *field)
{
    if (field->type != PROTOBUF_C_TYPE_STRING &&
        field->type != PROTOBUF_C_TYPE_MESSAGE) {
        *(protobuf_c_boolean *)cn_json_member(message,
                                              field->quantifier_offset) = 1;
    }
}

static bool set_number(struct cn_json_reader *reader,
                       const struct cn_json_where *where,
                       const char *text,
                       void *slot)
{
    char *end = NULL;
    errno = 0;
    /* strtoll and strtod would skip blanks and take hex, inf and nan. */
    bool is_plain =
        text[0] != '\0' && text[strspn(text, "+-.0123456789eE")] == '\0';
    if (is_plain && (where->field->type == PROTOBUF_C_TYPE_DOUBLE ||
                     where->field->type == PROTOBUF_C_TYPE_FLOAT)) {
        double number = strtod(text, &end);
        if (errno == 0 && *end == '\0') {
            return cn_json_store_double(reader, where, number, slot);
        }
    } else if (is_plain) {
        long long number = strtoll(text, &end, 10);
        if (errno == 0 && *end == '\0') {
            return cn_json_store_integer(reader, where, number, slot);
        }
    }
    return cn_json_fault(reader, where, "wrong_type", "a number is needed");
}

static bool set_value(struct cn_json_reader *reader,
                      const struct cn_json_where *where,
                      const char *text,
                      void *slot)
{
    if (cn_json_is_textual(where->field, where->rule)) {
        return cn_json_store_text(reader, where, text, strlen(text), slot);
    }
    if (where->field->type != PROTOBUF_C_TYPE_BOOL) {
        return set_number(reader, where, text, slot);
    }
    bool is_true = strcmp(text, "true") == 0;
    if (!is_true && strcmp(text, "false") != 0) {
        return cn_json_fault(reader, where, "wrong_type",
                             "true or false is needed");
    }
    *(protobuf_c_boolean *)slot = is_true;
    return true;
}

/* Appends the words between commas to the list. */
static bool set_list(struct cn_json_reader *reader,
                     const struct cn_json_where *where,
                     const char *text,
                     ProtobufCMessage *message)
{
    size_t *count = cn_json_member(message, where->field->quantifier_offset);
    void **list = cn_json_member(message, where->field->offset);
    size_t size = cn_field_size(where->field);
    size_t total = *count + 1;
    for (const char *at = text; *at != '\0'; at++) {
        total += *at == ',' ? 1 : 0;
    }
    if (total > cn_json_items_max(where->rule)) {
        return cn_json_fault(reader, where, "too_many", "at most %zu items",
                             cn_json_items_max(where->rule));
    }
    char *items = cn_arena_array(reader->arena, total, size);
    if (*count > 0) {
        memcpy(items, *list, *count * size);
    }
    for (size_t i = *count; i < total; i++) {
        size_t length = strcspn(text, ",");
        char *word = cn_arena_strndup(reader->arena, text, length);
        if (!set_value(reader, where, word, items + i * size)) {
            return false;
        }
        text += length + 1;
    }
    *list = items;
    *count = total;
    return true;
}

enum cn_code cn_json_set(struct cn_arena *arena,
                         const struct cn_shape *shape,
                         ProtobufCMessage *message,
                         const char *name,
                         const char *text,
                         struct cn_err *err)
{
    assert(message->descriptor == shape->descriptor);
    const ProtobufCMessageDescriptor *descriptor = shape->descriptor;
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(descriptor, name);
    long index = field != NULL ? field - descriptor->fields : -1;
    if (field == NULL || index == shape->update_mask ||
        shape->fields[index].output_only ||
        field->type == PROTOBUF_C_TYPE_MESSAGE) {
        return cn_fail(err, CN_NOT_FOUND, "no such parameter");
    }
    struct cn_json_reader reader = { .arena = arena, .err = err };
    struct cn_json_where top = { 0 };
    struct cn_json_where here = {
        .up = &top, .key = name, .field = field, .rule = &shape->fields[index]
    };
    bool ok;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        ok = set_list(&reader, &here, text, message);
    } else {
        ok = set_value(&reader, &here, text,
                       cn_json_member(message, field->offset));
        if (ok) {
            cn_json_set_has(message, field);
        }
    }
    if (cn_arena_failed(arena)) {
        return cn_fail(err, CN_NOMEM, "no memory for the parameters");
    }
    return ok ? CN_OK : CN_INVALID;
}
