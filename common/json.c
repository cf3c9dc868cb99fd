/* SPDX-License-Identifier: Apache-2.0 */
/* Reads JSON documents into messages by descriptor and shape. */
#include "common/json_internal.h"

#include "common/message.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static bool read_object(struct cn_json_reader *reader,
                        const struct cn_json_where *where,
                        const struct cn_shape *shape,
                        const struct cn_json *json,
                        ProtobufCMessage *message,
                        bool is_patch);

static bool read_message(struct cn_json_reader *reader,
                         const struct cn_json_where *where,
                         const struct cn_shape *shape,
                         const struct cn_json *json,
                         ProtobufCMessage **slot,
                         bool is_patch)
{
    if (json->kind != CN_JSON_OBJECT) {
        return cn_json_fault(reader, where, "wrong_type",
                             "an object is needed");
    }
    ProtobufCMessage *message =
        cn_message_new(reader->arena, shape->descriptor);
    if (message == NULL) {
        return cn_json_no_memory(reader);
    }
    *slot = message;
    return read_object(reader, where, shape, json, message, is_patch);
}

static bool read_value(struct cn_json_reader *reader,
                       const struct cn_json_where *where,
                       const ProtobufCFieldDescriptor *field,
                       const struct cn_field_shape *rule,
                       const struct cn_json *json,
                       void *slot)
{
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        return read_message(reader, where, rule->sub, json, slot, false);
    }
    if (cn_json_is_textual(field, rule)) {
        if (json->kind != CN_JSON_TEXT) {
            return cn_json_fault(reader, where, "wrong_type",
                                 "a string is needed");
        }
        return cn_json_store_text(reader, where, field, rule, json->text,
                                  json->count, slot);
    }
    if (field->type == PROTOBUF_C_TYPE_BOOL) {
        if (json->kind != CN_JSON_TRUE && json->kind != CN_JSON_FALSE) {
            return cn_json_fault(reader, where, "wrong_type",
                                 "true or false is needed");
        }
        *(protobuf_c_boolean *)slot = json->kind == CN_JSON_TRUE;
        return true;
    }
    if (field->type == PROTOBUF_C_TYPE_DOUBLE ||
        field->type == PROTOBUF_C_TYPE_FLOAT) {
        if (json->kind != CN_JSON_REAL && json->kind != CN_JSON_INTEGER) {
            return cn_json_fault(reader, where, "wrong_type",
                                 "a number is needed");
        }
        return cn_json_store_double(
            reader, where, field->type,
            json->kind == CN_JSON_REAL ? json->real : (double)json->integer,
            slot);
    }
    if (json->kind != CN_JSON_INTEGER) {
        return cn_json_fault(reader, where, "wrong_type",
                             "a whole number is needed");
    }
    return cn_json_store_integer(reader, where, field->type, json->integer,
                                 slot);
}

static bool read_list(struct cn_json_reader *reader,
                      const struct cn_json_where *where,
                      const ProtobufCFieldDescriptor *field,
                      const struct cn_field_shape *rule,
                      const struct cn_json *json,
                      ProtobufCMessage *message)
{
    if (json->kind != CN_JSON_LIST) {
        return cn_json_fault(reader, where, "wrong_type", "a list is needed");
    }
    size_t count = json->count;
    if (count > cn_json_items_max(rule)) {
        return cn_json_fault(reader, where, "too_many", "at most %zu items",
                             cn_json_items_max(rule));
    }
    size_t size = cn_field_size(field);
    char *items = count > 0 ? cn_arena_array(reader->arena, count, size) : NULL;
    if (count > 0 && items == NULL) {
        return cn_json_no_memory(reader);
    }
    bool ok = true;
    size_t i = 0;
    for (json = json->first; json != NULL; json = json->next, i++) {
        struct cn_json_where here = { .up = where, .index = i };
        ok = read_value(reader, &here, field, rule, json, items + i * size) &&
             ok;
    }
    *(void **)cn_json_member(message, field->offset) = items;
    *(size_t *)cn_json_member(message, field->quantifier_offset) = count;
    return ok;
}

static size_t
path_write(const struct cn_json_where *where, char *text, size_t size)
{
    if (where->up == NULL) {
        return 0;
    }
    size_t at = path_write(where->up, text, size);
    int more =
        snprintf(text + at, size - at, "%s%s", at > 0 ? "." : "", where->key);
    assert(more > 0 && at + (size_t)more < size);
    return at + (size_t)more;
}

/* Adds the place to the patch's mask. Its steps are all fields' names. */
static bool mask_add(struct cn_json_reader *reader,
                     const struct cn_json_where *where)
{
    char path[512];
    struct cn_json_mask *mask = reader->mask;
    if (mask->count == reader->mask_capacity) {
        size_t capacity = mask->count * 2 + 16;
        const char **paths =
            cn_arena_array(reader->arena, capacity, sizeof(*paths));
        if (paths == NULL) {
            return cn_json_no_memory(reader);
        }
        if (mask->count > 0) {
            memcpy(paths, mask->paths, mask->count * sizeof(*paths));
        }
        mask->paths = paths;
        reader->mask_capacity = capacity;
    }
    size_t size = path_write(where, path, sizeof(path));
    const char *copy = cn_arena_strndup(reader->arena, path, size);
    if (copy == NULL) {
        return cn_json_no_memory(reader);
    }
    mask->paths[mask->count++] = copy;
    return true;
}

static bool read_null(struct cn_json_reader *reader,
                      const struct cn_json_where *where,
                      const struct cn_field_shape *rule,
                      bool is_patch)
{
    if (!is_patch) {
        return true; /* as if it were absent */
    }
    if (rule->output_only) {
        return cn_json_fault(reader, where, "read_only_field",
                             "it cannot be set");
    }
    if (rule->no_null) {
        return cn_json_fault(reader, where, "invalid_value",
                             "it cannot be cleared");
    }
    return mask_add(reader, where);
}

static bool read_field(struct cn_json_reader *reader,
                       const struct cn_json_where *where,
                       const ProtobufCFieldDescriptor *field,
                       const struct cn_field_shape *rule,
                       const struct cn_json *json,
                       ProtobufCMessage *message,
                       bool is_patch)
{
    void *slot = cn_json_member(message, field->offset);
    if (json->kind == CN_JSON_NULL) {
        return read_null(reader, where, rule, is_patch);
    }
    if (rule->output_only) {
        return cn_json_fault(reader, where, "read_only_field",
                             "it cannot be set");
    }
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        return read_list(reader, where, field, rule, json, message) &&
               (!is_patch || mask_add(reader, where));
    }
    if (is_patch && field->type == PROTOBUF_C_TYPE_MESSAGE) {
        return read_message(reader, where, rule->sub, json, slot, true);
    }
    if (!read_value(reader, where, field, rule, json, slot)) {
        return false;
    }
    cn_json_set_has(message, field);
    return !is_patch || mask_add(reader, where);
}

/* The recursion ends with the shapes: no message contains itself. */
static bool read_object(struct cn_json_reader *reader,
                        const struct cn_json_where *where,
                        const struct cn_shape *shape,
                        const struct cn_json *json,
                        ProtobufCMessage *message,
                        bool is_patch)
{
    const ProtobufCMessageDescriptor *descriptor = shape->descriptor;
    bool ok = true;
    for (json = json->first; json != NULL; json = json->next) {
        struct cn_json_where here = { .up = where, .key = json->key };
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field_by_name(descriptor,
                                                            json->key);
        long index = field != NULL ? field - descriptor->fields : -1;
        if (field == NULL || index == shape->update_mask) {
            ok = cn_json_fault(reader, &here, "unknown_field", "no such field");
            continue;
        }
        ok = read_field(reader, &here, field, &shape->fields[index], json,
                        message, is_patch) &&
             ok;
        if (reader->is_out_of_memory) {
            return false;
        }
    }
    return ok;
}

enum cn_code cn_json_read(struct cn_arena *arena,
                          const struct cn_shape *shape,
                          const char *text,
                          size_t size,
                          ProtobufCMessage *message,
                          struct cn_json_mask *mask,
                          struct cn_err *err)
{
    assert(message->descriptor == shape->descriptor);
    struct cn_json_mask paths = { 0 };
    struct cn_json_reader reader = { .arena = arena,
                                     .err = err,
                                     .mask = mask != NULL ? &paths : NULL };
    struct cn_json_where top = { 0 };
    const struct cn_json *json = NULL;
    CN_ARENA_AUTO struct cn_arena *tree = cn_arena_new(CN_ARENA_REQUEST_MAX);
    if (tree == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory to read the JSON");
    }
    enum cn_code rc = cn_json_parse(tree, text, size, &json, err);
    if (rc != CN_OK) {
        return rc;
    }
    bool ok = read_object(&reader, &top, shape, json, message, mask != NULL);
    if (reader.is_out_of_memory) {
        cn_err_clear(err);
        return cn_fail(err, CN_NOMEM, "no memory to read the JSON");
    }
    if (!ok) {
        assert(reader.has_fault);
        return CN_INVALID;
    }
    if (mask != NULL) {
        *mask = paths;
    }
    return CN_OK;
}
