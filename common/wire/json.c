/* SPDX-License-Identifier: Apache-2.0 */
/* Reads JSON documents into messages by descriptor and shape. The only file
 * that uses jansson. */
#include "common/wire/json_internal.h"

#include "common/wire/message.h"

#include <assert.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* jansson spends about 100 bytes on a value. Its tree may take TREE_MIN bytes,
 * and TREE_FACTOR more for each byte of the document. */
enum { VALUES_MAX = 32768 /* of one document */, TREE_MIN = 32 << 20 };
static const size_t TREE_FACTOR = 8;

/* Memory of jansson's tree while a document is read; it is freed as a whole.
 * NULL: a test uses jansson, with malloc. */
static _Thread_local struct cn_arena *s_tree;

static void *tree_alloc(size_t size)
{
    return s_tree != NULL ? cn_arena_try(s_tree, size) : malloc(size);
}

static void tree_free(void *memory)
{
    if (s_tree == NULL) {
        free(memory);
    }
}

static bool read_object(struct cn_json_reader *reader,
                        const struct cn_json_where *where,
                        const struct cn_shape *shape,
                        json_t *json,
                        ProtobufCMessage *message);

static bool read_message(struct cn_json_reader *reader,
                         const struct cn_json_where *where,
                         json_t *json,
                         ProtobufCMessage **slot)
{
    if (!json_is_object(json)) {
        return cn_json_fault(reader, where, "wrong_type",
                             "an object is needed");
    }
    ProtobufCMessage *message =
        cn_message_new(reader->arena, where->rule->sub->descriptor);
    *slot = message;
    return read_object(reader, where, where->rule->sub, json, message);
}

static bool read_value(struct cn_json_reader *reader,
                       const struct cn_json_where *where,
                       json_t *json,
                       void *slot)
{
    if (where->field->type == PROTOBUF_C_TYPE_MESSAGE) {
        return read_message(reader, where, json, slot);
    }
    if (cn_json_is_textual(where->field, where->rule)) {
        if (!json_is_string(json)) {
            return cn_json_fault(reader, where, "wrong_type",
                                 "a string is needed");
        }
        return cn_json_store_text(reader, where, json_string_value(json),
                                  json_string_length(json), slot);
    }
    if (where->field->type == PROTOBUF_C_TYPE_BOOL) {
        if (!json_is_boolean(json)) {
            return cn_json_fault(reader, where, "wrong_type",
                                 "true or false is needed");
        }
        *(protobuf_c_boolean *)slot = json_is_true(json);
        return true;
    }
    if (where->field->type == PROTOBUF_C_TYPE_DOUBLE ||
        where->field->type == PROTOBUF_C_TYPE_FLOAT) {
        if (!json_is_number(json)) {
            return cn_json_fault(reader, where, "wrong_type",
                                 "a number is needed");
        }
        return cn_json_store_double(reader, where, json_number_value(json),
                                    slot);
    }
    if (!json_is_integer(json)) {
        return cn_json_fault(reader, where, "wrong_type",
                             "a whole number is needed");
    }
    return cn_json_store_integer(reader, where, json_integer_value(json), slot);
}

/* An object in a list must say something: {} is nobody and nothing. */
static bool is_said(struct cn_json_reader *reader,
                    const struct cn_json_where *where,
                    const void *items,
                    size_t i)
{
    if (where->field->type != PROTOBUF_C_TYPE_MESSAGE) {
        return true;
    }
    return protobuf_c_message_get_packed_size(
               ((ProtobufCMessage *const *)items)[i]) > 0 ||
           cn_json_fault(reader, where, "required",
                         "says nothing: leave it out");
}

static bool read_list(struct cn_json_reader *reader,
                      const struct cn_json_where *where,
                      json_t *json,
                      ProtobufCMessage *message)
{
    if (!json_is_array(json)) {
        return cn_json_fault(reader, where, "wrong_type", "a list is needed");
    }
    size_t count = json_array_size(json);
    if (count > cn_json_items_max(where->rule)) {
        return cn_json_fault(reader, where, "too_many", "at most %zu items",
                             cn_json_items_max(where->rule));
    }
    size_t size = cn_field_size(where->field);
    char *items = cn_arena_array(reader->arena, count, size);
    bool ok = true;
    for (size_t i = 0; i < count && !cn_arena_failed(reader->arena); i++) {
        struct cn_json_where here = {
            .up = where, .index = i, .field = where->field, .rule = where->rule
        };
        ok = read_value(reader, &here, json_array_get(json, i),
                        items + i * size) &&
             (reader->as_read || is_said(reader, &here, items, i)) && ok;
    }
    *(void **)cn_json_member(message, where->field->offset) =
        count > 0 ? items : NULL;
    *(size_t *)cn_json_member(message, where->field->quantifier_offset) = count;
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

/* Adds the place to the patch's mask. All its steps are names of fields. */
static bool mask_add(struct cn_json_reader *reader,
                     const struct cn_json_where *where)
{
    char path[512];
    struct cn_json_mask *mask = reader->mask;
    if (mask->count == reader->mask_capacity) {
        size_t capacity = mask->count * 2 + 16;
        const char **paths =
            cn_arena_array(reader->arena, capacity, sizeof(*paths));
        if (mask->count > 0) {
            memcpy(paths, mask->paths, mask->count * sizeof(*paths));
        }
        mask->paths = paths;
        reader->mask_capacity = capacity;
    }
    size_t size = path_write(where, path, sizeof(path));
    mask->paths[mask->count++] = cn_arena_strndup(reader->arena, path, size);
    return true;
}

static bool read_null(struct cn_json_reader *reader,
                      const struct cn_json_where *where)
{
    if (!where->is_patch) {
        return true; /* as if it were absent */
    }
    if (where->rule->no_null) {
        return cn_json_fault(reader, where, "invalid_value",
                             "it cannot be cleared");
    }
    return mask_add(reader, where);
}

static bool read_given(struct cn_json_reader *reader,
                       const struct cn_json_where *where,
                       json_t *json,
                       ProtobufCMessage *message)
{
    void *slot = cn_json_member(message, where->field->offset);
    if (where->field->label == PROTOBUF_C_LABEL_REPEATED) {
        return read_list(reader, where, json, message) &&
               (!where->is_patch || mask_add(reader, where));
    }
    if (where->is_patch && where->field->type == PROTOBUF_C_TYPE_MESSAGE) {
        return read_message(reader, where, json, slot);
    }
    if (!read_value(reader, where, json, slot)) {
        return false;
    }
    cn_json_set_has(message, where->field);
    return !where->is_patch || mask_add(reader, where);
}

/* A read-only field of a patch is read as it was written: whoever applies the
 * patch compares it with what is there. A value of another form is none of
 * ours. */
static bool read_read_only(struct cn_json_reader *reader,
                           const struct cn_json_where *where,
                           json_t *json,
                           ProtobufCMessage *message)
{
    struct cn_err faults = { 0 };
    struct cn_json_reader inner = *reader;
    inner.err = &faults;
    inner.as_read = true;
    bool ok = where->is_patch && read_given(&inner, where, json, message);
    reader->mask_capacity = inner.mask_capacity;
    return ok ||
           cn_json_fault(reader, where, "read_only_field", "it cannot be set");
}

static bool read_field(struct cn_json_reader *reader,
                       const struct cn_json_where *where,
                       json_t *json,
                       ProtobufCMessage *message)
{
    if (json_is_null(json)) {
        return read_null(reader, where);
    }
    return (where->rule->output_only ? read_read_only : read_given)(
        reader, where, json, message);
}

/* The recursion is bounded by the shapes: no message type contains itself. */
static bool read_object(struct cn_json_reader *reader,
                        const struct cn_json_where *where,
                        const struct cn_shape *shape,
                        json_t *json,
                        ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *descriptor = shape->descriptor;
    const char *key;
    json_t *value;
    bool ok = true;
    json_object_foreach(json, key, value)
    {
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field_by_name(descriptor, key);
        long index = field != NULL ? field - descriptor->fields : -1;
        struct cn_json_where here = {
            .up = where, .key = key, .field = field, .is_patch = where->is_patch
        };
        if (field == NULL || index == shape->update_mask) {
            ok = cn_json_fault(reader, &here, "unknown_field", "no such field");
            continue;
        }
        here.rule = &shape->fields[index];
        ok = read_field(reader, &here, value, message) && ok;
        if (cn_arena_failed(reader->arena)) {
            return false;
        }
    }
    return ok;
}

/* Bounds depth and number of values before jansson reads: it recurses and
 * allocates as the text demands. */
static bool is_modest(const char *text, size_t size)
{
    size_t depth = 0;
    size_t values = 0;
    bool in_text = false;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (in_text) {
            i += c == '\\' ? 1 : 0;
            in_text = c != '"';
        } else if (c == '"') {
            in_text = true;
        } else if (c == '{' || c == '[') {
            depth++;
            values++;
        } else if (c == '}' || c == ']') {
            depth -= depth > 0 ? 1 : 0;
        } else if (c == ',') {
            values++;
        }
        if (depth > CN_JSON_DEPTH_MAX || values > VALUES_MAX) {
            return false;
        }
    }
    return true;
}

static enum cn_code
load(const char *text, size_t size, json_t **ret_json, struct cn_err *err)
{
    json_error_t error;
    if (!is_modest(text, size)) {
        return cn_fail(err, CN_MALFORMED,
                       "the JSON is deeper than %d or has more than %d values",
                       CN_JSON_DEPTH_MAX, VALUES_MAX);
    }
    json_t *json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL) {
        /* Never error.text: it quotes the document. */
        enum json_error_code code = json_error_code(&error);
        if (code == json_error_out_of_memory) {
            return cn_fail(err, CN_NOMEM, "no memory to read the JSON");
        }
        return cn_fail(err, CN_MALFORMED, "%s at line %d, column %d",
                       code == json_error_duplicate_key
                           ? "the JSON has a key twice"
                           : "this is not JSON",
                       error.line, error.column);
    }
    if (!json_is_object(json)) {
        return cn_fail(err, CN_MALFORMED, "the JSON must be an object");
    }
    *ret_json = json;
    return CN_OK;
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
    struct cn_json_where top = { .is_patch = mask != NULL };
    json_t *json = NULL;
    s_tree = cn_arena_new(TREE_MIN + TREE_FACTOR * size);
    if (s_tree == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory to read the JSON");
    }
    json_set_alloc_funcs(tree_alloc, tree_free);
    enum cn_code rc = load(text, size, &json, err);
    bool ok = rc == CN_OK && read_object(&reader, &top, shape, json, message);
    /* The tree is freed with its arena, not value by value. */
    cn_arena_free(s_tree);
    s_tree = NULL;
    if (rc != CN_OK) {
        return rc;
    }
    if (cn_arena_failed(arena)) {
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
