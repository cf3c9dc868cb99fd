/* SPDX-License-Identifier: Apache-2.0 */
#include "common/store/record.h"

#include "common/store/reach.h"
#include "common/wire/json.h"
#include "common/wire/message.h"
#include "common/wire/seal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* The order of the first fields of every resource; the plugin checks it. */
enum { FIELD_ID, FIELD_VERSION, FIELD_CREATED_AT, FIELD_UPDATED_AT };

/* Columns that every statement of a resource selects first. */
enum {
    COLUMN_ID,
    COLUMN_BRANCH,
    COLUMN_PATIENT,
    COLUMN_PLACE,
    COLUMN_VERSION,
    COLUMN_EVENT_SEQ,
    COLUMN_BODY,
    COLUMN_ALSO,
    COLUMN_COUNT
};

enum { PARAMS_BEFORE_COLUMNS = 5, KEEP_BEFORE_COLUMNS = 3 };

/* ---- fields by number ---- */

static const ProtobufCFieldDescriptor *
s_descriptor(const struct cn_shape *shape, unsigned field)
{
    return &shape->descriptor->fields[field];
}

static void *
s_field_at(const struct cn_shape *shape, void *message, unsigned at)
{
    return (char *)message + s_descriptor(shape, at)->offset;
}

static const void *
s_value(const struct cn_shape *shape, const void *message, unsigned at)
{
    return (const char *)message + s_descriptor(shape, at)->offset;
}

static bool
s_has(const struct cn_shape *shape, const void *message, unsigned at)
{
    const ProtobufCFieldDescriptor *field = s_descriptor(shape, at);
    const char *base = message;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        return *(const size_t *)(const void *)(base +
                                               field->quantifier_offset) > 0;
    }
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        const char *text = *(const char *const *)s_value(shape, message, at);
        return text != NULL && text[0] != '\0';
    }
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        return *(void *const *)s_value(shape, message, at) != NULL;
    }
    return *(
        const protobuf_c_boolean *)(const void *)(base +
                                                  field->quantifier_offset);
}

static void s_set_text(const struct cn_shape *shape,
                       void *message,
                       unsigned at,
                       const char *text)
{
    *(const char **)s_field_at(shape, message, at) = text;
}

static void s_set_has(const struct cn_shape *shape, void *message, unsigned at)
{
    char *base = message;
    *(protobuf_c_boolean *)(void *)(base + s_descriptor(shape, at)
                                               ->quantifier_offset) = 1;
}

static void s_set_int(const struct cn_shape *shape,
                      void *message,
                      unsigned at,
                      int64_t value)
{
    *(int64_t *)s_field_at(shape, message, at) = value;
    s_set_has(shape, message, at);
}

static const char *
s_text(const struct cn_shape *shape, const void *message, unsigned at)
{
    return *(const char *const *)s_value(shape, message, at);
}

/* ---- reading ---- */

static void s_body_set(struct cn_record *record, void *body)
{
    const struct cn_resource *resource = record->resource;
    record->body = body;
    record->shown = body;
    if (resource->shows >= 0) {
        record->shown = *(void **)s_field_at(resource->shape, body,
                                             (unsigned)resource->shows);
    }
}

static void s_blank(struct cn_op *op,
                    const struct cn_resource *resource,
                    struct cn_record *record)
{
    *record = (struct cn_record){ .resource = resource };
    void *body = cn_message_new(op->arena, resource->shape->descriptor);
    if (resource->shows >= 0) {
        *(void **)s_field_at(resource->shape, body, (unsigned)resource->shows) =
            cn_message_new(op->arena, resource->shown->descriptor);
    }
    s_body_set(record, body);
    if (resource->beside != NULL) {
        record->beside =
            cn_record_at(op, resource->beside, cn_rows_none(), 0, 0);
    }
}

/* The resource's columns begin at `first`. */
static void s_read(struct cn_op *op,
                   const struct cn_resource *resource,
                   const struct cn_rows *rows,
                   size_t row,
                   int first,
                   struct cn_record *record)
{
    struct cn_bytes plain = { NULL, 0 };
    const ProtobufCMessage *body = NULL;
    struct cn_uuid id = cn_row_uuid(rows, row, first + COLUMN_ID);
    enum cn_code rc = cn_unseal(
        op->env, op->arena, resource->is_tenant ? id : op->tenant_id,
        resource->context, cn_row_bytes(rows, row, first + COLUMN_BODY), &plain,
        op->err);
    if (rc == CN_OK) {
        rc = cn_message_unpack(op->arena, resource->shape->descriptor, plain,
                               &body, op->err);
    }
    if (rc != CN_OK) {
        s_blank(op, resource, record);
        return;
    }
    *record = (struct cn_record){
        .resource = resource,
        .found = true,
        .id = id,
        .branch_id = cn_row_uuid(rows, row, first + COLUMN_BRANCH),
        .patient_id = cn_row_uuid(rows, row, first + COLUMN_PATIENT),
        .place_at = cn_row_at(rows, row, first + COLUMN_PLACE),
        .version = cn_row_int(rows, row, first + COLUMN_VERSION),
        .event_seq = cn_row_int(rows, row, first + COLUMN_EVENT_SEQ),
        .also = cn_row_text(rows, row, first + COLUMN_ALSO),
        .as_read = plain,
    };
    /* The message was just made in our arena: it is ours to change. */
    s_body_set(record, (void *)(uintptr_t)body);
    if (resource->beside != NULL && first == 0 &&
        cn_rows_columns(rows) >= 2 * COLUMN_COUNT) {
        record->beside =
            cn_record_at(op, resource->beside, rows, row, COLUMN_COUNT);
    }
}

struct cn_records cn_records_of(struct cn_op *op,
                                const struct cn_resource *resource,
                                const struct cn_rows *rows)
{
    struct cn_records records = { .count = cn_rows_count(rows) };
    records.items =
        cn_arena_array(op->arena, records.count, sizeof(*records.items));
    for (size_t i = 0; i < records.count; i++) {
        if (cn_failed(op)) {
            return (struct cn_records){ 0 };
        }
        s_read(op, resource, rows, i, 0, &records.items[i]);
    }
    return records;
}

struct cn_record *cn_record_at(struct cn_op *op,
                               const struct cn_resource *resource,
                               const struct cn_rows *rows,
                               size_t row,
                               int first)
{
    struct cn_record *record = cn_arena_alloc(op->arena, sizeof(*record));
    if (row < cn_rows_count(rows) && !cn_failed(op)) {
        s_read(op, resource, rows, row, first, record);
    } else {
        s_blank(op, resource, record);
    }
    return record;
}

struct cn_record *cn_record_of(struct cn_op *op,
                               const struct cn_resource *resource,
                               const struct cn_rows *rows)
{
    return cn_record_at(op, resource, rows, 0, 0);
}

struct cn_record *
cn_find(struct cn_op *op, const struct cn_resource *resource, struct cn_uuid id)
{
    return cn_record_of(op, resource, CN_READ(op, resource->get, cn_uuid(id)));
}

static bool s_is_expected(const struct cn_request *request, int64_t version)
{
    bool expected =
        !request->has_expected_version || request->expected_version == version;
    for (size_t i = 0; i < request->other_count; i++) {
        expected = expected || request->other_versions[i] == version;
    }
    return expected;
}

void cn_take_check(struct cn_op *op, const struct cn_record *record)
{
    const struct cn_request *request = op->request;
    const struct cn_resource *resource = record->resource;
    if (cn_failed(op)) {
        return;
    }
    if (!record->found || (request != NULL && resource->branch >= 0 &&
                           !cn_reach_includes(request, record->branch_id))) {
        cn_refuse(op, CN_NOT_FOUND, NULL, "no such %s", resource->name);
    } else if (request != NULL && request->method->writes &&
               !s_is_expected(request, record->version)) {
        (void)cn_fail_stale(op->err, resource->name, record->version);
    } else if (request != NULL && request->method->writes) {
        cn_require_fields(op, request->method->input, request->body);
    }
}

struct cn_record *
cn_take(struct cn_op *op, const struct cn_resource *resource, const char *id)
{
    struct cn_uuid uuid = { { 0 } };
    bool known = id != NULL && cn_id_parse(resource->prefix, id, &uuid);
    struct cn_record *record = known
                                   ? cn_find(op, resource, uuid)
                                   : cn_record_of(op, resource, cn_rows_none());
    cn_take_check(op, record);
    return record;
}

const char *cn_record_text(const struct cn_record *record, int field)
{
    return field < 0 ? NULL
                     : s_text(record->resource->shown, record->shown,
                              (unsigned)field);
}

const char *cn_record_id(const struct cn_record *record)
{
    return cn_record_text(record, FIELD_ID);
}

int64_t cn_record_updated_at(const struct cn_record *record)
{
    return *(const int64_t *)s_value(record->resource->shown, record->shown,
                                     FIELD_UPDATED_AT);
}

/* ---- what a client sent ---- */

void cn_require_fields(struct cn_op *op,
                       const struct cn_shape *shape,
                       const void *message)
{
    char pointer[CN_ERR_POINTER_MAX];
    for (unsigned i = 0; i < shape->descriptor->n_fields; i++) {
        if (shape->fields[i].required && !s_has(shape, message, i)) {
            (void)snprintf(pointer, sizeof(pointer), "/%s",
                           s_descriptor(shape, i)->name);
            cn_refuse_field(op, pointer, "required", "is required");
        }
    }
}

/* The columns of a new or changed body that are looked at in C. */
static void s_ids_set(struct cn_record *record)
{
    const struct cn_resource *resource = record->resource;
    if (resource->branch >= 0) {
        const char *text =
            s_text(resource->shown, record->shown, (unsigned)resource->branch);
        record->branch_id = (struct cn_uuid){ { 0 } };
        (void)!(text != NULL && cn_id_parse("brn", text, &record->branch_id));
    }
    if (resource->patient >= 0) {
        const char *text =
            s_text(resource->shown, record->shown, (unsigned)resource->patient);
        record->patient_id = (struct cn_uuid){ { 0 } };
        (void)!(text != NULL && cn_id_parse("pat", text, &record->patient_id));
    }
}

struct cn_record *cn_record_new(struct cn_op *op,
                                const struct cn_resource *resource,
                                const void *sent)
{
    struct cn_record *record = cn_arena_alloc(op->arena, sizeof(*record));
    if (sent != NULL) {
        assert(resource->shows < 0);
        *record = (struct cn_record){ .resource = resource };
        s_body_set(record, cn_message_copy(op->arena, sent));
    } else {
        s_blank(op, resource, record);
    }
    if (op->request != NULL) {
        cn_require_fields(op, record->resource->shown, record->shown);
    }
    record->id = resource->is_tenant ? op->tenant_id : cn_uuid_new(op->env);
    s_set_text(resource->shown, record->shown, FIELD_ID,
               cn_id_text(op->arena, resource->prefix, record->id));
    s_set_int(resource->shown, record->shown, FIELD_CREATED_AT, op->now_at);
    return record;
}

/* Is a field on the path one that a patch may not change? */
static bool
s_is_read_only(struct cn_op *op, const struct cn_shape *shape, const char *path)
{
    while (shape != NULL) {
        size_t size = strcspn(path, ".");
        const char *name = cn_arena_strndup(op->arena, path, size);
        const ProtobufCMessageDescriptor *descriptor = shape->descriptor;
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field_by_name(descriptor, name);
        if (field == NULL) {
            return false; /* the merge refuses it */
        }
        const struct cn_field_shape *rule =
            &shape->fields[field - descriptor->fields];
        if (rule->output_only || rule->create_only) {
            return true;
        }
        shape = path[size] == '.' ? rule->sub : NULL;
        path += size + 1;
    }
    return false;
}

/* The record as a client sees it now; the record itself stays as it is. */
static const ProtobufCMessage *s_as_shown(struct cn_op *op,
                                          const struct cn_record *record)
{
    struct cn_record copy = *record;
    s_body_set(&copy, cn_message_copy(op->arena, record->body));
    if (copy.resource->show != NULL) {
        copy.resource->show(op, &copy);
    }
    return copy.shown;
}

/* What the message has at the path, alone. */
static struct cn_bytes
s_alone(struct cn_op *op, const ProtobufCMessage *message, const char *path)
{
    struct cn_bytes packed = { NULL, 0 };
    ProtobufCMessage *part = cn_message_new(op->arena, message->descriptor);
    if (cn_message_merge(op->arena, part, message, &path, 1, op->err) ==
        CN_OK) {
        (void)!cn_message_pack(op->arena, part, &packed, op->err);
    }
    return packed;
}

static void s_read_only_refuse(struct cn_op *op,
                               const struct cn_record *record,
                               const char *path)
{
    char pointer[CN_ERR_POINTER_MAX];
    (void)snprintf(pointer, sizeof(pointer), "/%s", path);
    for (char *at = strchr(pointer, '.'); at != NULL; at = strchr(at, '.')) {
        *at = '/';
    }
    cn_refuse_field(op, pointer, "read_only_field",
                    "cannot be set here, and the %s has another value",
                    record->resource->name);
}

/* The paths that the patch may change. One of a read-only field that names
 * what is there is left out, one that differs is refused. */
static size_t s_mask_writable(struct cn_op *op,
                              const struct cn_record *record,
                              const ProtobufCMessage *patch,
                              const char *const *mask,
                              size_t count,
                              const char **writable)
{
    const ProtobufCMessage *shown = NULL;
    size_t kept = 0;
    for (size_t i = 0; i < count && !cn_arena_failed(op->arena); i++) {
        if (!s_is_read_only(op, record->resource->shown, mask[i])) {
            writable[kept++] = mask[i];
            continue;
        }
        shown = shown != NULL ? shown : s_as_shown(op, record);
        const struct cn_bytes sent = s_alone(op, patch, mask[i]);
        const struct cn_bytes there = s_alone(op, shown, mask[i]);
        if (sent.size != there.size ||
            (sent.size > 0 && memcmp(sent.data, there.data, sent.size) != 0)) {
            s_read_only_refuse(op, record, mask[i]);
        }
    }
    return kept;
}

void cn_patch(struct cn_op *op,
              struct cn_record *record,
              const void *patch,
              const char *const *mask,
              size_t mask_count)
{
    if (cn_failed(op)) {
        return;
    }
    if (patch != NULL) {
        const char **writable =
            cn_arena_array(op->arena, mask_count + 1, sizeof(*writable));
        size_t count =
            s_mask_writable(op, record, patch, mask, mask_count, writable);
        (void)!cn_message_merge(op->arena, record->shown, patch, writable,
                                count, op->err);
    }
    cn_require_fields(op, record->resource->shown, record->shown);
}

void cn_record_branch(struct cn_op *op, struct cn_record *record)
{
    const struct cn_resource *resource = record->resource;
    const unsigned at = (unsigned)resource->branch;
    const char *named = s_text(resource->shown, record->shown, at);
    struct cn_uuid id = op->request->principal.branch_id;
    if (cn_failed(op)) {
        return;
    }
    if (named != NULL && !cn_id_parse("brn", named, &id)) {
        cn_refuse_field(op, "/branch_id", "invalid_value",
                        "is not the id of a branch");
    } else if (!cn_reach_includes(op->request, id)) {
        cn_refuse_field(op, "/branch_id", "unknown_branch",
                        "is no branch of yours");
    } else if (named == NULL && !cn_uuid_is_nil(id)) {
        s_set_text(resource->shown, record->shown, at,
                   cn_id_text(op->arena, "brn", id));
    }
}

/* ---- moves ---- */

static int s_state(const struct cn_record *record)
{
    const struct cn_resource *resource = record->resource;
    const unsigned at = (unsigned)resource->status;
    assert(resource->moves != NULL && resource->status >= 0);
    return s_has(resource->shown, record->shown, at)
               ? *(const int *)s_value(resource->shown, record->shown, at)
               : 0; /* CN_UNMADE */
}

bool cn_may(const struct cn_record *record, const char *command)
{
    return cn_move_find(record->resource->moves, command, s_state(record)) !=
           NULL;
}

void cn_move(struct cn_op *op, struct cn_record *record, const char *command)
{
    const struct cn_resource *resource = record->resource;
    if (cn_failed(op)) {
        return;
    }
    const struct cn_move *move =
        cn_move_find(resource->moves, command, s_state(record));
    if (move == NULL) {
        const char *word =
            cn_enum_word(resource->moves->states, s_state(record));
        cn_refuse(op, CN_CONFLICT, "illegal_state",
                  "%s is not possible: the %s is %s", command, resource->name,
                  word != NULL ? word : "not made yet");
        return;
    }
    *(int *)s_field_at(resource->shown, record->shown,
                       (unsigned)resource->status) = move->to;
    s_set_has(resource->shown, record->shown, (unsigned)resource->status);
    record->verb = command;
    if (move->event != NULL) {
        cn_also_tell(record, move->event);
    }
}

void cn_also_tell(struct cn_record *record, const char *type)
{
    assert(record->event_count < CN_RECORD_EVENTS_MAX);
    record->events[record->event_count++] = type;
}

void *cn_told(struct cn_op *op, struct cn_record *record)
{
    const struct cn_resource *resource = record->resource;
    void *told = NULL;
    if (resource->tell != NULL) {
        told = resource->tell(op, record);
    } else {
        told = cn_message_new(op->arena, resource->told->descriptor);
        *(void **)s_field_at(resource->told, told,
                             (unsigned)resource->told_field) = record->shown;
    }
    record->told = told;
    return told;
}

/* ---- writing ---- */

static struct cn_param s_column(const struct cn_record *record,
                                const struct cn_column *column)
{
    const struct cn_shape *shape = record->resource->shown;
    const void *value = s_value(shape, record->shown, column->field);
    struct cn_uuid id = { { 0 } };
    if (!s_has(shape, record->shown, column->field)) {
        return cn_null();
    }
    switch (column->kind) {
    case CN_COLUMN_WORD:
        return cn_text(
            cn_enum_word(s_descriptor(shape, column->field)->descriptor,
                         *(const int *)value));
    case CN_COLUMN_ID:
        (void)!cn_id_parse(column->prefix, *(const char *const *)value, &id);
        return cn_uuid_or_null(id);
    case CN_COLUMN_AT:
        return cn_at(*(const int64_t *)value);
    case CN_COLUMN_INT:
        return cn_int(*(const int64_t *)value);
    case CN_COLUMN_BOOL:
        return cn_bool(*(const protobuf_c_boolean *)value != 0);
    case CN_COLUMN_BYTES: {
        const ProtobufCBinaryData *bytes = value;
        return cn_bytes(bytes->data, bytes->len);
    }
    case CN_COLUMN_TEXT:
    default:
        return cn_text(*(const char *const *)value);
    }
}

/* Puts the values of the columns behind those that are there. */
static size_t s_columns(struct cn_op *op,
                        const struct cn_record *record,
                        struct cn_param *params,
                        size_t count)
{
    const struct cn_resource *resource = record->resource;
    for (size_t i = 0; i < resource->column_count; i++) {
        params[count++] = s_column(record, &resource->columns[i]);
    }
    if (resource->derived_count > 0) {
        resource->derived(op, record, &params[count]);
        count += resource->derived_count;
    }
    return count;
}

static void s_reply_fill(struct cn_op *op, struct cn_record *record)
{
    struct cn_reply *reply = op->reply;
    if (record->resource->show != NULL) {
        record->resource->show(op, record);
    }
    if (reply != NULL) {
        reply->body = record->shown;
        reply->version = record->version;
        reply->updated_at = cn_record_updated_at(record);
    }
}

static const char *
s_action(struct cn_op *op, const struct cn_record *record, const char *verb)
{
    return cn_arena_printf(op->arena, "%s.%s", record->resource->name, verb);
}

static void
s_row_put(struct cn_op *op, struct cn_record *record, struct cn_bytes packed)
{
    const struct cn_resource *resource = record->resource;
    struct cn_param params[CN_DB_PARAMS_MAX];
    struct cn_bytes sealed = { NULL, 0 };
    if (cn_seal(op->env, op->arena, op->tenant_id, resource->context, packed,
                &sealed, op->err) != CN_OK) {
        return;
    }
    params[0] = record->found ? cn_uuid(record->id) : cn_uuid(op->tenant_id);
    params[1] = record->found ? cn_int(record->version) : cn_uuid(record->id);
    params[2] = cn_int(record->event_count);
    params[3] = cn_at(op->now_at);
    params[4] = cn_bytes(sealed.data, sealed.size);
    size_t count = s_columns(op, record, params, PARAMS_BEFORE_COLUMNS);
    for (size_t i = 0; !record->found && i < resource->given_count; i++) {
        params[count++] = record->given[i];
    }
    cn_op_change(op, record->found ? resource->update : resource->insert,
                 params, count);
}

/* Stamps the record as it will be, and writes its row. */
static void s_stamped_put(struct cn_op *op, struct cn_record *record)
{
    const struct cn_resource *resource = record->resource;
    struct cn_bytes packed = { NULL, 0 };
    s_set_int(resource->shown, record->shown, FIELD_VERSION,
              record->version + 1);
    s_set_int(resource->shown, record->shown, FIELD_UPDATED_AT, op->now_at);
    s_ids_set(record);
    (void)!cn_message_pack(op->arena, record->body, &packed, op->err);
    if (!cn_failed(op)) {
        s_row_put(op, record, packed);
        record->version++;
        record->as_read = packed;
    }
}

static void s_events_put(struct cn_op *op, struct cn_record *record)
{
    if (record->event_count > 0 && record->told == NULL) {
        (void)cn_told(op, record);
    }
    for (unsigned i = 0; i < record->event_count; i++) {
        cn_tell(op, record->events[i], record->resource->name, record->id,
                ++record->event_seq, record->told);
    }
}

/* What was read again is as it was. */
static void s_unchanged(struct cn_op *op, struct cn_record *record)
{
    if (op->request == NULL) {
        return;
    }
    (void)cn_op_write(op); /* the record of the key */
    if (record->resource->audited) {
        cn_audit(op, s_action(op, record, "read"),
                 s_text(record->resource->shown, record->shown, FIELD_ID),
                 record->patient_id);
    }
    s_reply_fill(op, record);
}

void cn_record_locate(struct cn_op *op, const struct cn_record *record)
{
    const struct cn_resource *resource = record->resource;
    if (op->reply != NULL && resource->path != NULL) {
        op->reply->location =
            cn_arena_printf(op->arena, "%s/%s", resource->path,
                            s_text(resource->shown, record->shown, FIELD_ID));
    }
}

bool cn_changed(struct cn_op *op, const struct cn_record *record)
{
    struct cn_bytes packed = { NULL, 0 };
    if (cn_failed(op) || !record->found || record->event_count > 0) {
        return !cn_failed(op);
    }
    (void)!cn_message_pack(op->arena, record->body, &packed, op->err);
    return packed.size != record->as_read.size ||
           (packed.size > 0 &&
            memcmp(packed.data, record->as_read.data, packed.size) != 0);
}

void cn_put(struct cn_op *op, struct cn_record *record)
{
    const struct cn_resource *resource = record->resource;
    if (cn_failed(op)) {
        return;
    }
    if (!cn_changed(op, record)) {
        s_unchanged(op, record);
        return;
    }
    if (record->event_count == 0 && resource->event != NULL) {
        cn_also_tell(record, resource->event);
    }
    const bool made = !record->found;
    const char *verb = record->verb != NULL ? record->verb
                       : made               ? "create"
                                            : "update";
    cn_lock(op, resource->name, record->id);
    cn_put_part(op, record);
    cn_audit(op, s_action(op, record, verb),
             s_text(resource->shown, record->shown, FIELD_ID),
             record->patient_id);
    if (made) {
        cn_record_locate(op, record);
    }
    s_reply_fill(op, record);
    record->verb = NULL;
}

void cn_put_part(struct cn_op *op, struct cn_record *record)
{
    if (cn_failed(op)) {
        return;
    }
    s_stamped_put(op, record);
    s_events_put(op, record);
    record->found = true;
    record->event_count = 0;
    record->told = NULL;
}

void cn_show(struct cn_op *op, struct cn_record *record)
{
    if (cn_failed(op)) {
        return;
    }
    s_reply_fill(op, record);
    if (record->resource->audited) {
        cn_audit_shown(op, s_action(op, record, "read"),
                       s_text(record->resource->shown, record->shown, FIELD_ID),
                       &record->patient_id, 1);
    }
}

void cn_get(struct cn_op *op,
            const struct cn_resource *resource,
            const char *id)
{
    cn_show(op, cn_take(op, resource, id));
}

void cn_keep(struct cn_op *op,
             const struct cn_resource *resource,
             struct cn_uuid id,
             int64_t seq,
             const void *body)
{
    struct cn_param params[CN_DB_PARAMS_MAX];
    struct cn_record record = { .resource = resource };
    /* Only read: the columns are made of it. */
    s_body_set(&record, (void *)(uintptr_t)body);
    params[0] = cn_uuid(op->tenant_id);
    params[1] = cn_uuid(id);
    params[2] = cn_int(seq);
    size_t count = s_columns(op, &record, params, KEEP_BEFORE_COLUMNS);
    if (resource->context != NULL) {
        params[count++] = cn_sealed(op, resource->context, body);
    }
    cn_op_change(op, resource->keep, params, count);
}
