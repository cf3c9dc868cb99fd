/* SPDX-License-Identifier: Apache-2.0 */
/* Checks wire bytes against a descriptor, then unpacks; copies and merges. */
#include "common/wire/message.h"

#include <assert.h>
#include <string.h>

enum {
    WIRE_VARINT = 0,
    WIRE_64 = 1,
    WIRE_SIZED = 2,
    WIRE_32 = 5,
    VARINT_SIZE_MAX = 10,
    TAG_MAX = (1 << 29) - 1
};

/* A member of a message by its offset, as protobuf-c lays it out. */
static void *member(ProtobufCMessage *message, unsigned offset)
{
    return (char *)message + offset;
}

static const void *message_member(const ProtobufCMessage *message,
                                  unsigned offset)
{
    return (const char *)message + offset;
}

size_t cn_utf8_size(const uint8_t *at, size_t size)
{
    uint8_t low = 0x80;
    uint8_t high = 0xbf;
    size_t need = 2;
    if (at[0] < 0x80) {
        return 1;
    }
    if (at[0] >= 0xc2 && at[0] <= 0xdf) {
        need = 2;
    } else if (at[0] >= 0xe0 && at[0] <= 0xef) {
        need = 3;
        low = at[0] == 0xe0 ? 0xa0 : low;
        high = at[0] == 0xed ? 0x9f : high;
    } else if (at[0] >= 0xf0 && at[0] <= 0xf4) {
        need = 4;
        low = at[0] == 0xf0 ? 0x90 : low;
        high = at[0] == 0xf4 ? 0x8f : high;
    } else {
        return 0;
    }
    if (size < need || at[1] < low || at[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < need; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return need;
}

size_t cn_utf8_cut(const char *text, size_t size, size_t max)
{
    size_t count = 0;
    for (size_t at = 0; at < size; at++) {
        bool begins = ((unsigned char)text[at] & 0xC0) != 0x80;
        if (begins && count++ == max) {
            return at;
        }
    }
    return size;
}

/* UTF-8 without NUL. Plain ASCII goes eight bytes at a time. */
static bool is_text(const uint8_t *at, size_t size)
{
    const uint64_t ones = 0x0101010101010101U;
    const uint64_t tops = 0x8080808080808080U;
    size_t i = 0;
    while (i < size) {
        uint64_t word;
        if (size - i >= sizeof(word)) {
            memcpy(&word, at + i, sizeof(word));
            if (((word | (word - ones)) & tops) == 0) {
                i += sizeof(word);
                continue;
            }
        }
        if (at[i] == 0) {
            return false;
        }
        if (at[i] < 0x80) {
            i++;
            continue;
        }
        size_t sequence = cn_utf8_size(at + i, size - i);
        if (sequence == 0) {
            return false;
        }
        i += sequence;
    }
    return true;
}

/* The bytes still to be read. */
struct wire {
    const uint8_t *at;
    const uint8_t *end;
};

static size_t wire_left(const struct wire *wire)
{
    return (size_t)(wire->end - wire->at);
}

static bool wire_varint(struct wire *wire, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < VARINT_SIZE_MAX && wire->at < wire->end; i++) {
        uint8_t byte = *wire->at++;
        if (i == VARINT_SIZE_MAX - 1 && byte > 1) {
            return false; /* more than 64 bits */
        }
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

static bool wire_sized(struct wire *wire, struct wire *ret_inner)
{
    uint64_t size;
    if (!wire_varint(wire, &size) || size > wire_left(wire)) {
        return false;
    }
    *ret_inner = (struct wire){ wire->at, wire->at + size };
    wire->at += size;
    return true;
}

static bool wire_skip(struct wire *wire, size_t size)
{
    if (size > wire_left(wire)) {
        return false;
    }
    wire->at += size;
    return true;
}

/* Wire type of a field's type. */
static unsigned wire_type_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return WIRE_32;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return WIRE_64;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return WIRE_SIZED;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_BOOL:
    case PROTOBUF_C_TYPE_ENUM:
    default:
        return WIRE_VARINT;
    }
}

static bool scan_packed(struct wire inner, ProtobufCType type)
{
    unsigned wire_type = wire_type_of(type);
    if (wire_type == WIRE_VARINT) {
        uint64_t value;
        while (inner.at < inner.end) {
            if (!wire_varint(&inner, &value)) {
                return false;
            }
        }
        return true;
    }
    return wire_left(&inner) % (wire_type == WIRE_64 ? 8 : 4) == 0;
}

static bool scan_message(const ProtobufCMessageDescriptor *descriptor,
                         struct wire wire,
                         unsigned depth,
                         bool *has_unknown);

static bool scan_sized(const ProtobufCFieldDescriptor *field,
                       struct wire *wire,
                       unsigned depth,
                       bool *has_unknown)
{
    struct wire inner;
    if (!wire_sized(wire, &inner)) {
        return false;
    }
    if (field == NULL || field->type == PROTOBUF_C_TYPE_BYTES) {
        return true;
    }
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        return is_text(inner.at, wire_left(&inner));
    }
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        return scan_message(field->descriptor, inner, depth + 1, has_unknown);
    }
    return scan_packed(inner, field->type);
}

static bool scan_value(const ProtobufCFieldDescriptor *field,
                       unsigned wire_type,
                       struct wire *wire,
                       unsigned depth,
                       bool *has_unknown)
{
    uint64_t ignored;
    if (field != NULL && wire_type != wire_type_of(field->type) &&
        (wire_type != WIRE_SIZED ||
         field->label != PROTOBUF_C_LABEL_REPEATED)) {
        return false; /* only a list of numbers may come packed */
    }
    switch (wire_type) {
    case WIRE_VARINT:
        return wire_varint(wire, &ignored);
    case WIRE_64:
        return wire_skip(wire, 8);
    case WIRE_32:
        return wire_skip(wire, 4);
    case WIRE_SIZED:
        return scan_sized(field, wire, depth, has_unknown);
    default:
        return false; /* groups, and types that do not exist */
    }
}

/* The field of a tag. In most cases it is `last` or the one after it. */
static const ProtobufCFieldDescriptor *field_of(
    const ProtobufCMessageDescriptor *descriptor, uint32_t tag, unsigned last)
{
    for (unsigned i = last; i < last + 2 && i < descriptor->n_fields; i++) {
        if (descriptor->fields[i].id == tag) {
            return &descriptor->fields[i];
        }
    }
    return protobuf_c_message_descriptor_get_field(descriptor, tag);
}

/* Recursion ends at CN_MESSAGE_DEPTH_MAX. */
static bool scan_message(const ProtobufCMessageDescriptor *descriptor,
                         struct wire wire,
                         unsigned depth,
                         bool *has_unknown)
{
    unsigned last = 0;
    if (depth > CN_MESSAGE_DEPTH_MAX) {
        return false;
    }
    while (wire.at < wire.end) {
        uint64_t key;
        if (!wire_varint(&wire, &key) || key >> 3 == 0 || key >> 3 > TAG_MAX) {
            return false;
        }
        const ProtobufCFieldDescriptor *field =
            field_of(descriptor, (uint32_t)(key >> 3), last);
        if (field == NULL) {
            *has_unknown = true;
        } else {
            last = (unsigned)(field - descriptor->fields);
        }
        if (!scan_value(field, (unsigned)(key & 7), &wire, depth,
                        has_unknown)) {
            return false;
        }
    }
    return true;
}

/* Drops the unknown fields that protobuf-c keeps: it would pack them again. */
static void drop_unknown(ProtobufCMessage *message)
{
    message->n_unknown_fields = 0;
    message->unknown_fields = NULL;
    const ProtobufCMessageDescriptor *descriptor = message->descriptor;
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        if (field->type != PROTOBUF_C_TYPE_MESSAGE) {
            continue;
        }
        if (field->label != PROTOBUF_C_LABEL_REPEATED) {
            ProtobufCMessage *const *sub = member(message, field->offset);
            if (*sub != NULL) {
                drop_unknown(*sub);
            }
            continue;
        }
        const size_t *count = member(message, field->quantifier_offset);
        ProtobufCMessage **const *list = member(message, field->offset);
        for (size_t j = 0; j < *count; j++) {
            drop_unknown((*list)[j]);
        }
    }
}

enum cn_code cn_message_unpack(struct cn_arena *arena,
                               const ProtobufCMessageDescriptor *descriptor,
                               struct cn_bytes packed,
                               const ProtobufCMessage **ret_message,
                               struct cn_err *err)
{
    bool has_unknown = false;
    if (packed.size > CN_MESSAGE_SIZE_MAX) {
        return cn_fail(err, CN_MALFORMED, "%s: more than %d bytes",
                       descriptor->short_name, CN_MESSAGE_SIZE_MAX);
    }
    /* Never NULL: the pointers into it are subtracted. */
    const uint8_t *data = packed.size > 0 ? packed.data : (const uint8_t *)"";
    struct wire wire = { data, data + packed.size };
    if (!scan_message(descriptor, wire, 1, &has_unknown)) {
        return cn_fail(err, CN_MALFORMED, "%s: malformed bytes",
                       descriptor->short_name);
    }
    ProtobufCMessage *message = protobuf_c_message_unpack(
        descriptor, cn_arena_allocator(arena), packed.size, data);
    if (message == NULL) {
        return cn_fail(err, CN_NOMEM, "%s: it does not fit the arena",
                       descriptor->short_name);
    }
    if (has_unknown) {
        drop_unknown(message);
    }
    *ret_message = message;
    return CN_OK;
}

enum cn_code cn_message_pack(struct cn_arena *arena,
                             const ProtobufCMessage *message,
                             struct cn_bytes *ret_packed,
                             struct cn_err *err)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    if (size > CN_MESSAGE_SIZE_MAX) {
        return cn_fail(err, CN_TOO_LARGE, "%s: more than %d bytes",
                       message->descriptor->short_name, CN_MESSAGE_SIZE_MAX);
    }
    uint8_t *data = cn_arena_try(arena, size);
    if (data == NULL) {
        return cn_fail(err, CN_NOMEM, "%s: it does not fit the arena",
                       message->descriptor->short_name);
    }
    (void)protobuf_c_message_pack(message, data);
    *ret_packed = (struct cn_bytes){ data, size };
    return CN_OK;
}

void *cn_message_new(struct cn_arena *arena,
                     const ProtobufCMessageDescriptor *descriptor)
{
    ProtobufCMessage *message =
        cn_arena_alloc(arena, descriptor->sizeof_message);
    assert(descriptor->message_init != NULL);
    protobuf_c_message_init(descriptor, message);
    return message;
}

void *cn_message_copy(struct cn_arena *arena, const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *data = cn_arena_try(arena, size);
    void *copy = NULL;
    if (data != NULL) {
        (void)protobuf_c_message_pack(message, data);
        copy = protobuf_c_message_unpack(message->descriptor,
                                         cn_arena_allocator(arena), size, data);
    }
    if (copy == NULL) {
        cn_arena_fail(arena);
        copy = cn_message_new(arena, message->descriptor);
    }
    return copy;
}

size_t cn_field_size(const ProtobufCFieldDescriptor *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return sizeof(int64_t);
    case PROTOBUF_C_TYPE_DOUBLE:
        return sizeof(double);
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
        return sizeof(char *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(ProtobufCMessage *);
    case PROTOBUF_C_TYPE_ENUM:
        return sizeof(int);
    case PROTOBUF_C_TYPE_FLOAT:
        return sizeof(float);
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    default:
        return sizeof(int32_t);
    }
}

/* Does a field of that kind have a count or a has_ flag beside it? */
static size_t quantifier_size(const ProtobufCFieldDescriptor *field)
{
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        return sizeof(size_t);
    }
    bool is_pointer = field->type == PROTOBUF_C_TYPE_STRING ||
                      field->type == PROTOBUF_C_TYPE_MESSAGE;
    return is_pointer || field->label == PROTOBUF_C_LABEL_REQUIRED
               ? 0
               : sizeof(protobuf_c_boolean);
}

/* Copies the value of one field; source NULL clears it. */
static void field_move(ProtobufCMessage *target,
                       const ProtobufCMessage *source,
                       const ProtobufCFieldDescriptor *field)
{
    size_t size = field->label == PROTOBUF_C_LABEL_REPEATED
                      ? sizeof(void *)
                      : cn_field_size(field);
    size_t extra = quantifier_size(field);
    void *value = member(target, field->offset);
    if (source == NULL) {
        memset(value, 0, size);
    } else {
        memcpy(value, message_member(source, field->offset), size);
    }
    if (extra == 0) {
        return;
    }
    void *quantifier = member(target, field->quantifier_offset);
    if (source == NULL) {
        memset(quantifier, 0, extra);
    } else {
        memcpy(quantifier, message_member(source, field->quantifier_offset),
               extra);
    }
}

static const ProtobufCFieldDescriptor *field_named(
    const ProtobufCMessageDescriptor *descriptor, const char *name, size_t size)
{
    char text[128];
    if (size >= sizeof(text)) {
        return NULL;
    }
    memcpy(text, name, size);
    text[size] = '\0';
    return protobuf_c_message_descriptor_get_field_by_name(descriptor, text);
}

static enum cn_code merge_path(struct cn_arena *arena,
                               ProtobufCMessage *target,
                               const ProtobufCMessage *patch,
                               const char *path,
                               struct cn_err *err)
{
    while (true) {
        size_t size = strcspn(path, ".");
        const ProtobufCFieldDescriptor *field =
            field_named(target->descriptor, path, size);
        if (field != NULL && path[size] == '\0') {
            field_move(target, patch, field);
            return CN_OK;
        }
        if (field == NULL || field->type != PROTOBUF_C_TYPE_MESSAGE ||
            field->label == PROTOBUF_C_LABEL_REPEATED) {
            return cn_fail(err, CN_MALFORMED, "the mask has an unknown path");
        }
        ProtobufCMessage **sub = member(target, field->offset);
        if (*sub == NULL) {
            *sub = cn_message_new(arena, field->descriptor);
        }
        if (patch != NULL) {
            const ProtobufCMessage *const *below =
                message_member(patch, field->offset);
            patch = *below;
        }
        target = *sub;
        path += size + 1;
    }
}

enum cn_code cn_message_merge(struct cn_arena *arena,
                              ProtobufCMessage *target,
                              const ProtobufCMessage *patch,
                              const char *const *mask,
                              size_t mask_count,
                              struct cn_err *err)
{
    assert(target->descriptor == patch->descriptor);
    for (size_t i = 0; i < mask_count; i++) {
        enum cn_code rc = merge_path(arena, target, patch, mask[i], err);
        if (rc != CN_OK) {
            return rc;
        }
    }
    return CN_OK;
}

bool cn_mask_has(const char *const *mask, size_t count, const char *path)
{
    size_t path_size = strlen(path);
    for (size_t i = 0; i < count; i++) {
        size_t size = strlen(mask[i]);
        size_t common = size < path_size ? size : path_size;
        if (strncmp(mask[i], path, common) == 0 &&
            (size == path_size || mask[i][common] == '.' ||
             path[common] == '.')) {
            return true;
        }
    }
    return false;
}

ProtobufCBinaryData cn_message_bytes(struct cn_arena *arena,
                                     struct cn_bytes bytes)
{
    return (ProtobufCBinaryData){
        .len = bytes.size,
        .data = cn_arena_copy(arena, bytes.data, bytes.size),
    };
}

ProtobufCBinaryData cn_message_id(struct cn_arena *arena, struct cn_uuid id)
{
    return cn_message_bytes(arena,
                            (struct cn_bytes){ id.bytes, sizeof(id.bytes) });
}

bool cn_message_uuid(protobuf_c_boolean has,
                     ProtobufCBinaryData data,
                     struct cn_uuid *ret_id)
{
    if (!has || data.len != sizeof(ret_id->bytes)) {
        return false;
    }
    memcpy(ret_id->bytes, data.data, sizeof(ret_id->bytes));
    return true;
}
