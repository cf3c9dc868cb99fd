/* SPDX-License-Identifier: Apache-2.0 */
/* The types of event, from their descriptors. */
#include "services/gateway/stream_kind.h"

#include "common/base/clock.h"
#include "common/wire/message.h"

#include "cairn/routes.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { NUMBER_MAX = 24 };

static const char PERMISSION[] = "stream:read";

/* ---- the table ---- */

static const ProtobufCFieldDescriptor *s_field_named(
    const ProtobufCMessageDescriptor *of, const char *name, ProtobufCType type)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(of, name);
    return field != NULL && field->type == type &&
                   field->label == PROTOBUF_C_LABEL_OPTIONAL
               ? field
               : NULL;
}

static const ProtobufCFieldDescriptor *
s_first(const ProtobufCMessageDescriptor *of, ProtobufCType type)
{
    for (unsigned i = 0; i < of->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &of->fields[i];
        if (field->type == type && field->label == PROTOBUF_C_LABEL_OPTIONAL) {
            return field;
        }
    }
    return NULL;
}

/* The fields of the resource that hold ids of other records. */
static void s_related(struct stream_kind *kind)
{
    const struct cn_shape *payload = kind->shape->payload;
    const struct cn_shape *shape =
        payload->fields[kind->resource - payload->descriptor->fields].sub;
    for (unsigned i = 0; i < shape->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &shape->descriptor->fields[i];
        if (shape->fields[i].id != NULL && field != kind->branch &&
            field->type == PROTOBUF_C_TYPE_STRING &&
            field->label == PROTOBUF_C_LABEL_OPTIONAL &&
            strcmp(field->name, "id") != 0) {
            assert(kind->related_count < STREAM_RELATED_MAX);
            kind->related[kind->related_count++] = field;
        }
    }
}

static struct stream_kind s_kind(size_t producer,
                                 const struct cn_event_shape *shape)
{
    struct stream_kind kind = { .shape = shape, .producer = producer };
    kind.resource =
        s_first(shape->payload->descriptor, PROTOBUF_C_TYPE_MESSAGE);
    if (kind.resource != NULL) {
        const ProtobufCMessageDescriptor *of = kind.resource->descriptor;
        kind.id = s_field_named(of, "id", PROTOBUF_C_TYPE_STRING);
        if (kind.id == NULL) {
            /* A record without an id begins with the id of its owner. */
            kind.id = s_first(of, PROTOBUF_C_TYPE_STRING);
        }
        kind.version = s_field_named(of, "version", PROTOBUF_C_TYPE_INT64);
        kind.branch = s_field_named(of, "branch_id", PROTOBUF_C_TYPE_STRING);
        s_related(&kind);
    }
    return kind;
}

void stream_kinds_init(struct stream_kinds *self)
{
    self->count = 0;
    for (size_t i = 0; i < CN_EVENT_SOURCE_COUNT; i++) {
        const struct cn_event_source *source = &cn_event_sources[i];
        for (size_t j = 0; j < source->count; j++) {
            if (source->events[j].scope != NULL) {
                assert(self->count < STREAM_KINDS_MAX);
                self->rows[self->count++] = s_kind(i, &source->events[j]);
            }
        }
    }
}

const struct stream_kind *stream_kind_find(const struct stream_kinds *self,
                                           size_t producer,
                                           const char *type)
{
    for (size_t i = 0; type != NULL && i < self->count; i++) {
        if (self->rows[i].producer == producer &&
            strcmp(self->rows[i].shape->type, type) == 0) {
            return &self->rows[i];
        }
    }
    return NULL;
}

bool stream_kind_of_topic(const struct stream_kind *kind,
                          const char *topic,
                          size_t size)
{
    const char *scope = kind->shape->scope;
    return strcspn(scope, ":") == size && strncmp(scope, topic, size) == 0;
}

/* ---- who may see it ---- */

static bool s_by_rows(enum cn_reach reach)
{
    return reach == CN_REACH_AGENCY || reach == CN_REACH_BRANCH;
}

enum stream_sight stream_kind_sight(const struct stream_kind *kind,
                                    const struct cn_principal *principal)
{
    enum cn_reach whole = CN_REACH_NONE;
    enum cn_reach own = CN_REACH_NONE;
    struct cn_err err = { 0 };
    if (cn_policy_check(principal, PERMISSION, &whole, &err) != CN_OK ||
        cn_policy_check(principal, kind->shape->scope, &own, &err) != CN_OK ||
        !s_by_rows(whole) || !s_by_rows(own)) {
        return STREAM_NOTHING;
    }
    return whole == CN_REACH_AGENCY && own == CN_REACH_AGENCY ? STREAM_AGENCY
                                                              : STREAM_BRANCHES;
}

bool stream_kind_visible(enum stream_sight sight,
                         const struct cn_principal *principal,
                         struct cn_uuid branch_id)
{
    switch (sight) {
    case STREAM_AGENCY:
        return true;
    case STREAM_BRANCHES:
        return cn_policy_reaches(principal, CN_REACH_BRANCH, branch_id);
    case STREAM_NOTHING:
    default:
        return false;
    }
}

/* ---- its text ---- */

static const void *s_at(const ProtobufCMessage *message,
                        const ProtobufCFieldDescriptor *field)
{
    return (const char *)message + field->offset;
}

static const char *s_field_text(const ProtobufCMessage *message,
                                const ProtobufCFieldDescriptor *field)
{
    return field == NULL ? NULL : *(const char *const *)s_at(message, field);
}

static void
s_json_member(struct cn_buffer *text, const char *name, const char *value)
{
    if (value != NULL) {
        cn_buffer_puts(text, ",\"");
        cn_buffer_puts(text, name);
        cn_buffer_puts(text, "\":");
        cn_buffer_json_text(text, value);
    }
}

static void
s_json_number(struct cn_buffer *text, const char *name, int64_t value)
{
    char digits[NUMBER_MAX];
    (void)snprintf(digits, sizeof(digits), "%" PRId64, value);
    cn_buffer_puts(text, ",\"");
    cn_buffer_puts(text, name);
    cn_buffer_puts(text, "\":");
    cn_buffer_puts(text, digits);
}

static void s_version_write(struct cn_buffer *text,
                            const ProtobufCMessage *resource,
                            const ProtobufCFieldDescriptor *field)
{
    if (field == NULL) {
        return;
    }
    const protobuf_c_boolean *has =
        (const void *)((const char *)resource + field->quantifier_offset);
    if (*has) {
        s_json_number(text, "version", *(const int64_t *)s_at(resource, field));
    }
}

static void s_event_write(const struct stream_kind *kind,
                          const Evt__Event *event,
                          const ProtobufCMessage *resource,
                          struct cn_buffer *text)
{
    char id[CN_ID_TEXT_MAX];
    char at[CN_TIME_TEXT_MAX];
    struct cn_uuid event_id = { 0 };
    if (event->event_id.len == sizeof(event_id.bytes)) {
        memcpy(event_id.bytes, event->event_id.data, sizeof(event_id.bytes));
    }
    cn_id_format("evt", event_id, id);
    cn_time_format(event->occurred_at, at);
    cn_buffer_puts(text, "event: ");
    cn_buffer_puts(text, kind->shape->type);
    cn_buffer_puts(text, "\ndata: {\"type\":");
    cn_buffer_json_text(text, kind->shape->type);
    s_json_member(text, "id", s_field_text(resource, kind->id));
    s_version_write(text, resource, kind->version);
    s_json_number(text, "aggregate_seq", event->aggregate_seq);
    s_json_member(text, "branch_id", s_field_text(resource, kind->branch));
    for (size_t i = 0; i < kind->related_count; i++) {
        s_json_member(text, kind->related[i]->name,
                      s_field_text(resource, kind->related[i]));
    }
    s_json_member(text, "event_id", id);
    s_json_member(text, "occurred_at", at);
    cn_buffer_puts(text, "}\n\n");
}

enum cn_code stream_kind_render(const struct stream_kind *kind,
                                struct cn_arena *arena,
                                const Evt__Event *event,
                                struct cn_buffer *text,
                                struct cn_uuid *ret_branch,
                                struct cn_err *err)
{
    const ProtobufCMessage *payload = NULL;
    const ProtobufCMessage *resource = NULL;
    struct cn_uuid branch = { 0 };
    enum cn_code rc = cn_message_unpack(
        arena, kind->shape->payload->descriptor,
        (struct cn_bytes){ event->payload.data, event->payload.len }, &payload,
        err);
    if (rc != CN_OK) {
        return rc;
    }
    if (kind->resource != NULL) {
        resource =
            *(const ProtobufCMessage *const *)s_at(payload, kind->resource);
    }
    if (resource == NULL) {
        return cn_fail(err, CN_MALFORMED, "the event has no resource");
    }
    s_event_write(kind, event, resource, text);
    if (text->failed) {
        return cn_fail(err, CN_MALFORMED, "the event is too long");
    }
    if (kind->branch != NULL) {
        (void)!cn_id_parse("brn", s_field_text(resource, kind->branch),
                           &branch);
    }
    *ret_branch = branch;
    return CN_OK;
}
