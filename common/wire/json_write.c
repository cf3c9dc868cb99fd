/* SPDX-License-Identifier: Apache-2.0 */
/* Writes messages as JSON, straight from their memory by their descriptors. */
#include "common/wire/json_internal.h"

#include "common/base/clock.h"
#include "common/wire/message.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void cn_buffer_init(struct cn_buffer *self, size_t max)
{
    *self = (struct cn_buffer){ .max = max };
}

void cn_buffer_done(struct cn_buffer *self)
{
    free(self->data);
    *self = (struct cn_buffer){ .max = self->max };
}

/* Room for `size` bytes more, or NULL and the buffer has failed. */
static char *buffer_room(struct cn_buffer *self, size_t size)
{
    if (self->failed) {
        return NULL;
    }
    if (size <= self->capacity - self->size) {
        return self->data + self->size;
    }
    size_t capacity = self->capacity > 0 ? self->capacity : 1024;
    while (capacity - self->size < size && capacity < self->max) {
        capacity *= 2;
    }
    capacity = capacity < self->max ? capacity : self->max;
    char *data =
        capacity - self->size < size ? NULL : realloc(self->data, capacity);
    if (data == NULL) {
        cn_buffer_done(self);
        self->failed = true;
        return NULL;
    }
    self->data = data;
    self->capacity = capacity;
    return data + self->size;
}

void cn_buffer_add(struct cn_buffer *self, const char *data, size_t size)
{
    char *room = buffer_room(self, size);
    if (room != NULL && size > 0) {
        memcpy(room, data, size);
        self->size += size;
    }
}

void cn_buffer_puts(struct cn_buffer *self, const char *text)
{
    cn_buffer_add(self, text, strlen(text));
}

static void put(struct cn_buffer *self, char c)
{
    char *room = buffer_room(self, 1);
    if (room != NULL) {
        *room = c;
        self->size++;
    }
}

static void put_escape(struct cn_buffer *self, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char plain[] = "\"\\\b\f\n\r\t";
    static const char letters[] = "\"\\bfnrt";
    const char *found = strchr(plain, c);
    if (found != NULL) {
        char two[] = { '\\', letters[found - plain] };
        cn_buffer_add(self, two, sizeof(two));
    } else {
        char six[] = { '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] };
        cn_buffer_add(self, six, sizeof(six));
    }
}

/* The length up to the first character that JSON escapes, eight at a time. */
static size_t plain_run(const char *text, size_t size)
{
    const uint64_t ones = 0x0101010101010101U;
    const uint64_t tops = 0x8080808080808080U;
    size_t i = 0;
    for (; size - i >= sizeof(uint64_t); i += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, text + i, sizeof(word));
        uint64_t quote = word ^ (ones * '"');
        uint64_t slash = word ^ (ones * '\\');
        /* The top bit of a byte below 0x20, of a quote, of a backslash. */
        uint64_t hits = (word - ones * 0x20) & ~word;
        hits |= (quote - ones) & ~quote;
        hits |= (slash - ones) & ~slash;
        if ((hits & tops) != 0) {
            break;
        }
    }
    while (i < size) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == '"' || c == '\\') {
            break;
        }
        i++;
    }
    return i;
}

void cn_buffer_json_text(struct cn_buffer *self, const char *text)
{
    if (text == NULL) {
        cn_buffer_add(self, "null", 4);
        return;
    }
    size_t left = strlen(text);
    size_t run = plain_run(text, left);
    char *room = run == left ? buffer_room(self, left + 2) : NULL;
    if (room != NULL) {
        room[0] = '"';
        memcpy(room + 1, text, left);
        room[left + 1] = '"';
        self->size += left + 2;
        return;
    }
    put(self, '"');
    while (run < left) {
        cn_buffer_add(self, text, run);
        put_escape(self, (unsigned char)text[run]);
        text += run + 1;
        left -= run + 1;
        run = plain_run(text, left);
    }
    cn_buffer_add(self, text, run);
    put(self, '"');
}

static const void *member_of(const void *memory, size_t offset)
{
    return (const char *)memory + offset;
}

static void put_unsigned(struct cn_buffer *buffer, uint64_t number)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    cn_buffer_add(buffer, digits + at, sizeof(digits) - at);
}

static void put_signed(struct cn_buffer *buffer, int64_t number)
{
    if (number < 0) {
        put(buffer, '-');
        put_unsigned(buffer, 0 - (uint64_t)number);
    } else {
        put_unsigned(buffer, (uint64_t)number);
    }
}

static void put_double(struct cn_buffer *buffer, double number)
{
    char text[40];
    if (!isfinite(number)) {
        cn_buffer_puts(buffer, "null"); /* JSON has no word for it */
        return;
    }
    (void)snprintf(text, sizeof(text), "%.15g", number);
    if (strtod(text, NULL) != number) {
        (void)snprintf(text, sizeof(text), "%.17g", number);
    }
    cn_buffer_puts(buffer, text);
}

static void
put_int64(struct cn_buffer *buffer, enum cn_field_kind kind, int64_t number)
{
    if (kind == CN_FIELD_TIME) {
        char text[CN_TIME_TEXT_MAX];
        cn_time_format(number, text);
        cn_buffer_json_text(buffer, text);
    } else {
        put_signed(buffer, number);
    }
}

static void put_bytes(struct cn_buffer *buffer,
                      const ProtobufCBinaryData *bytes)
{
    size_t size = cn_base64_size(bytes->len);
    put(buffer, '"');
    char *room = buffer_room(buffer, size);
    if (room != NULL) {
        cn_base64_write(bytes, room);
        buffer->size += size;
    }
    put(buffer, '"');
}

static void put_enum(struct cn_buffer *buffer,
                     const ProtobufCEnumDescriptor *descriptor,
                     int value)
{
    const char *word = cn_enum_word(descriptor, value);
    if (word != NULL) {
        cn_buffer_json_text(buffer, word);
    } else {
        put_signed(buffer, value); /* a newer program has a word for it */
    }
}

/* One value; `at` points to its memory. */
static void put_value(struct cn_buffer *buffer,
                      const ProtobufCFieldDescriptor *field,
                      const struct cn_field_shape *rule,
                      const void *at)
{
    const char *const *text = at;
    const ProtobufCMessage *const *message = at;
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
        cn_buffer_json_text(buffer, *text);
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        put_int64(buffer, rule->kind, *(const int64_t *)at);
        break;
    case PROTOBUF_C_TYPE_ENUM:
        put_enum(buffer, field->descriptor, *(const int *)at);
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        cn_json_write(buffer, rule->sub, *message);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        cn_buffer_puts(buffer,
                       *(const protobuf_c_boolean *)at ? "true" : "false");
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        put_unsigned(buffer, *(const uint64_t *)at);
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        put_unsigned(buffer, *(const uint32_t *)at);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        put_double(buffer, *(const double *)at);
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        put_double(buffer, (double)*(const float *)at);
        break;
    case PROTOBUF_C_TYPE_BYTES:
        put_bytes(buffer, at);
        break;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    default:
        put_signed(buffer, *(const int32_t *)at);
        break;
    }
}

static void put_list(struct cn_buffer *buffer,
                     const ProtobufCFieldDescriptor *field,
                     const struct cn_field_shape *rule,
                     const ProtobufCMessage *message)
{
    const size_t *count = member_of(message, field->quantifier_offset);
    const void *const *items = member_of(message, field->offset);
    size_t size = cn_field_size(field);
    put(buffer, '[');
    for (size_t i = 0; i < *count; i++) {
        if (i > 0) {
            put(buffer, ',');
        }
        put_value(buffer, field, rule, member_of(*items, i * size));
    }
    put(buffer, ']');
}

static bool is_present(const ProtobufCFieldDescriptor *field,
                       const ProtobufCMessage *message)
{
    if (field->label != PROTOBUF_C_LABEL_OPTIONAL) {
        return true; /* a list is always written */
    }
    if (field->type == PROTOBUF_C_TYPE_STRING ||
        field->type == PROTOBUF_C_TYPE_MESSAGE) {
        const void *const *pointer = member_of(message, field->offset);
        return *pointer != NULL;
    }
    const protobuf_c_boolean *has =
        member_of(message, field->quantifier_offset);
    return *has != 0;
}

/* Names of fields need no escapes. */
static void put_key(struct cn_buffer *buffer, bool is_first, const char *name)
{
    size_t size = strlen(name);
    char *room = buffer_room(buffer, size + 4);
    if (room == NULL) {
        return;
    }
    char *at = room;
    *at = ',';
    at += is_first ? 0 : 1;
    *at++ = '"';
    at = mempcpy(at, name, size);
    *at++ = '"';
    *at++ = ':';
    buffer->size += (size_t)(at - room);
}

void cn_json_write(struct cn_buffer *buffer,
                   const struct cn_shape *shape,
                   const ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *descriptor = shape->descriptor;
    bool is_first = true;
    put(buffer, '{');
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        const struct cn_field_shape *rule = &shape->fields[i];
        if (!is_present(field, message)) {
            continue;
        }
        put_key(buffer, is_first, field->name);
        is_first = false;
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            put_list(buffer, field, rule, message);
        } else {
            put_value(buffer, field, rule, member_of(message, field->offset));
        }
    }
    put(buffer, '}');
}
