/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP to message and back, by descriptor and shape. */
#include "services/gateway/convert.h"

#include "common/wire/message.h"

#include "services/gateway/header.h"
#include "services/gateway/uri.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { TARGET_MAX = 64 << 10 };

static const char JSON_TYPE[] = "application/json";
static const char JSON_TYPES[] =
    "application/json,application/merge-patch+json";

/* ---- fields by name ---- */

/* NULL: the message has no such field of that type. */
static const ProtobufCFieldDescriptor *
s_field_find(const ProtobufCMessageDescriptor *descriptor,
             const char *name,
             ProtobufCType type,
             bool repeated)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(descriptor, name);
    if (field == NULL || field->type != type ||
        (field->label == PROTOBUF_C_LABEL_REPEATED) != repeated) {
        return NULL;
    }
    return field;
}

static void *s_member_at(ProtobufCMessage *message, unsigned offset)
{
    return (char *)message + offset;
}

static const void *s_read_member(const ProtobufCMessage *message,
                                 unsigned offset)
{
    return (const char *)message + offset;
}

/* NULL: absent, or no such field. */
static const char *s_member_text(const ProtobufCMessage *message,
                                 const char *name)
{
    const ProtobufCFieldDescriptor *field =
        s_field_find(message->descriptor, name, PROTOBUF_C_TYPE_STRING, false);
    return field == NULL
               ? NULL
               : *(const char *const *)s_read_member(message, field->offset);
}

/* ---- the body ---- */

static enum cn_code s_raw_body(const struct cn_http_request *request,
                               ProtobufCMessage *message,
                               struct cn_err *err)
{
    const ProtobufCFieldDescriptor *field = s_field_find(
        message->descriptor, "content", PROTOBUF_C_TYPE_BYTES, false);
    const ProtobufCFieldDescriptor *type = s_field_find(
        message->descriptor, "content_type", PROTOBUF_C_TYPE_STRING, false);
    if (field == NULL) {
        return cn_fail(err, CN_INTERNAL, "the route has no content");
    }
    *(protobuf_c_boolean *)s_member_at(message, field->quantifier_offset) = 1;
    ProtobufCBinaryData *content = s_member_at(message, field->offset);
    content->len = request->body.size;
    /* The bytes are only read; protobuf-c's struct has no const. */
    memcpy(&content->data, &request->body.data, sizeof(content->data));
    if (type != NULL) {
        *(const char **)s_member_at(message, type->offset) =
            request->headers[CN_FRAMING_CONTENT_TYPE];
    }
    return CN_OK;
}

/* The message that the body is read into: the input itself, or a field of it
 * that is made here. */
static enum cn_code s_body_target(const struct cn_route *route,
                                  struct cn_arena *arena,
                                  ProtobufCMessage *message,
                                  const struct cn_shape **ret_shape,
                                  ProtobufCMessage **ret_target,
                                  struct cn_err *err)
{
    if (strcmp(route->body, "*") == 0) {
        *ret_shape = route->input;
        *ret_target = message;
        return CN_OK;
    }
    const ProtobufCMessageDescriptor *descriptor = route->input->descriptor;
    const ProtobufCFieldDescriptor *field =
        s_field_find(descriptor, route->body, PROTOBUF_C_TYPE_MESSAGE, false);
    if (field == NULL) {
        return cn_fail(err, CN_INTERNAL, "the route has no such body");
    }
    const struct cn_shape *shape =
        route->input->fields[field - descriptor->fields].sub;
    ProtobufCMessage *target = cn_message_new(arena, shape->descriptor);
    *(ProtobufCMessage **)s_member_at(message, field->offset) = target;
    *ret_shape = shape;
    *ret_target = target;
    return CN_OK;
}

static void s_mask_set(const struct cn_shape *shape,
                       ProtobufCMessage *message,
                       const struct cn_json_mask *mask)
{
    const ProtobufCFieldDescriptor *field =
        &shape->descriptor->fields[shape->update_mask];
    *(size_t *)s_member_at(message, field->quantifier_offset) = mask->count;
    *(const char ***)s_member_at(message, field->offset) = mask->paths;
}

static enum cn_code s_json_body(const struct cn_http_request *request,
                                const struct cn_route *route,
                                ProtobufCMessage *message,
                                struct cn_err *err)
{
    const char *text = (const char *)request->body.data;
    size_t size = request->body.size;
    const struct cn_shape *shape = NULL;
    ProtobufCMessage *target = NULL;
    struct cn_json_mask mask = { 0 };
    bool patches = route->verb == CN_PATCH && route->input->update_mask >= 0;
    enum cn_code rc =
        s_body_target(route, request->arena, message, &shape, &target, err);
    if (rc != CN_OK) {
        return rc;
    }
    if (size == 0) {
        if (target != message) {
            return cn_fail(err, CN_MALFORMED, "a JSON object is needed");
        }
        text = "{}";
        size = 2;
    }
    rc = cn_json_read(request->arena, shape, text, size, target,
                      patches ? &mask : NULL, err);
    if (rc == CN_OK && patches) {
        s_mask_set(route->input, message, &mask);
    }
    return rc;
}

/* Without a body Content-Type does not matter. */
static enum cn_code s_type_check(const struct cn_http_request *request,
                                 const struct cn_route *route,
                                 struct cn_err *err)
{
    const char *type = request->headers[CN_FRAMING_CONTENT_TYPE];
    if (route->consumes != NULL) {
        if (type == NULL || header_type_in(type, route->consumes)) {
            return CN_OK;
        }
        return cn_fail(err, CN_UNSUPPORTED, "%s is taken here",
                       route->consumes);
    }
    if (request->body.size == 0) {
        return CN_OK;
    }
    const char *taken = route->verb == CN_PATCH ? JSON_TYPES : JSON_TYPE;
    if (type != NULL && header_type_in(type, taken)) {
        return CN_OK;
    }
    return cn_fail(err, CN_UNSUPPORTED, "%s is taken here", taken);
}

static enum cn_code s_body_read(const struct cn_http_request *request,
                                const struct cn_route *route,
                                ProtobufCMessage *message,
                                struct cn_err *err)
{
    if (route->consumes != NULL) {
        return s_raw_body(request, message, err);
    }
    if (route->body[0] == '\0') {
        return request->body.size == 0
                   ? CN_OK
                   : cn_fail_as(err, CN_MALFORMED, "unexpected_body",
                                "no body is taken here");
    }
    return s_json_body(request, route, message, err);
}

/* ---- path and query ---- */

static enum cn_code s_path(const struct cn_http_request *request,
                           const struct cn_route *route,
                           const struct route_match *match,
                           ProtobufCMessage *message,
                           struct cn_err *err)
{
    for (size_t i = 0; i < match->value_count; i++) {
        const char *name = route_param(route, request->arena, i);
        enum cn_code rc = cn_json_set(request->arena, route->input, message,
                                      name, match->values[i], err);
        if (rc != CN_OK) {
            cn_err_clear(err);
            return cn_fail(err, rc == CN_NOMEM ? CN_NOMEM : CN_NOT_FOUND,
                           "no such record");
        }
    }
    return CN_OK;
}

static bool s_is_path_field(const struct cn_http_request *request,
                            const struct cn_route *route,
                            const struct route_match *match,
                            const char *name)
{
    for (size_t i = 0; i < match->value_count; i++) {
        const char *param = route_param(route, request->arena, i);
        if (strcmp(param, name) == 0) {
            return true;
        }
    }
    return false;
}

/* A list may come in several parameters, as OpenAPI's default form has it, as
 * well as between commas. */
static bool s_is_list(const struct cn_route *route, const char *name)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(
            route->input->descriptor, name);
    return field != NULL && field->label == PROTOBUF_C_LABEL_REPEATED;
}

/* The name is the client's: it is not repeated. */
static enum cn_code s_unknown(struct cn_err *err)
{
    return cn_fail_as(err, CN_MALFORMED, "unknown_parameter",
                      "a query parameter is not known here");
}

static enum cn_code s_parameter_set(const struct cn_http_request *request,
                                    const struct cn_route *route,
                                    ProtobufCMessage *message,
                                    const char *name,
                                    const char *value,
                                    struct cn_err *err)
{
    enum cn_code rc =
        cn_json_set(request->arena, route->input, message, name, value, err);
    if (rc == CN_NOT_FOUND) {
        cn_err_clear(err);
        return s_unknown(err);
    }
    if (rc == CN_INVALID) {
        /* A bad value in the query is bad syntax (400), not a bad field (422).
         */
        err->code = CN_MALFORMED;
        (void)snprintf(err->word, sizeof(err->word), "invalid_parameter");
        return CN_MALFORMED;
    }
    return rc;
}

static enum cn_code s_query_set(const struct cn_http_request *request,
                                const struct cn_route *route,
                                const struct route_match *match,
                                ProtobufCMessage *message,
                                struct cn_err *err)
{
    const char *names[CN_HTTP_QUERY_MAX];
    /* A route with a body has no query parameters. */
    if (request->query_count > 0 &&
        (route->body[0] != '\0' || route->consumes != NULL)) {
        return s_unknown(err);
    }
    for (size_t i = 0; i < request->query_count; i++) {
        const struct cn_http_parameter *raw = &request->query[i];
        const char *value =
            uri_decode(request->arena, raw->value, strlen(raw->value));
        names[i] = uri_decode(request->arena, raw->name, strlen(raw->name));
        if (names[i] == NULL || value == NULL) {
            return cn_fail_as(err, CN_MALFORMED, "invalid_parameter",
                              "a query parameter cannot be decoded");
        }
        for (size_t other = 0; other < i; other++) {
            if (strcmp(names[other], names[i]) == 0 &&
                !s_is_list(route, names[i])) {
                return cn_fail_as(err, CN_MALFORMED, "repeated_parameter",
                                  "a query parameter comes twice");
            }
        }
        if (s_is_path_field(request, route, match, names[i])) {
            return s_unknown(err);
        }
        enum cn_code rc =
            s_parameter_set(request, route, message, names[i], value, err);
        if (rc != CN_OK) {
            return rc;
        }
    }
    return CN_OK;
}

enum cn_code convert_request(const struct cn_http_request *request,
                             const struct cn_route *route,
                             const struct route_match *match,
                             struct cn_bytes *ret_packed,
                             struct cn_err *err)
{
    ProtobufCMessage *message =
        cn_message_new(request->arena, route->input->descriptor);
    enum cn_code rc = s_type_check(request, route, err);
    if (rc == CN_OK) {
        rc = s_body_read(request, route, message, err);
    }
    if (rc == CN_OK) {
        rc = s_path(request, route, match, message, err);
    }
    if (rc == CN_OK) {
        rc = s_query_set(request, route, match, message, err);
    }
    if (rc == CN_OK) {
        rc = cn_message_pack(request->arena, message, ret_packed, err);
    }
    if (rc == CN_OK && ret_packed->size > CN_MESSAGE_SIZE_MAX) {
        return cn_fail(err, CN_TOO_LARGE, "the request is too large");
    }
    return rc;
}

/* ---- the reply ---- */

/* The message's content as it is, under the content type that it names. */
static enum cn_code s_raw_reply(const struct cn_route *route,
                                const ProtobufCMessage *message,
                                struct cn_buffer *buffer,
                                struct convert_reply *ret_reply,
                                struct cn_err *err)
{
    const ProtobufCFieldDescriptor *field = s_field_find(
        message->descriptor, "content", PROTOBUF_C_TYPE_BYTES, false);
    const char *type = s_member_text(message, "content_type");
    if (field == NULL) {
        return cn_fail(err, CN_INTERNAL, "the route has no content");
    }
    const ProtobufCBinaryData *content = s_read_member(message, field->offset);
    if (content->len > 0) {
        cn_buffer_add(buffer, (const char *)content->data, content->len);
    }
    ret_reply->content_type =
        type == NULL || type[0] == '\0' ? route->produces : type;
    return CN_OK;
}

enum cn_code convert_reply(const struct cn_route *route,
                           struct cn_arena *arena,
                           struct cn_bytes packed,
                           struct cn_buffer *buffer,
                           struct convert_reply *ret_reply,
                           struct cn_err *err)
{
    const ProtobufCMessage *message = NULL;
    if (cn_message_unpack(arena, route->output->descriptor, packed, &message,
                          err) != CN_OK) {
        return cn_wrap(err, "reply");
    }
    if (route->produces != NULL) {
        return s_raw_reply(route, message, buffer, ret_reply, err);
    }
    ret_reply->content_type = JSON_TYPE;
    ret_reply->next_cursor = s_member_text(message, "next_cursor");
    cn_json_write(buffer, route->output, message);
    return CN_OK;
}

static void s_next_add(struct cn_buffer *buffer,
                       const char *name,
                       const char *value,
                       char separator)
{
    cn_buffer_add(buffer, &separator, 1);
    uri_encode(buffer, name);
    cn_buffer_puts(buffer, "=");
    uri_encode(buffer, value);
}

const char *convert_next(const struct cn_http_request *request,
                         const char *base,
                         const char *next_cursor)
{
    struct cn_buffer buffer;
    const char *target = NULL;
    char separator = '?';
    cn_buffer_init(&buffer, TARGET_MAX);
    cn_buffer_puts(&buffer, "<");
    cn_buffer_puts(&buffer, base);
    cn_buffer_puts(&buffer, request->path);
    for (size_t i = 0; i < request->query_count; i++) {
        const struct cn_http_parameter *raw = &request->query[i];
        const char *name =
            uri_decode(request->arena, raw->name, strlen(raw->name));
        const char *value =
            uri_decode(request->arena, raw->value, strlen(raw->value));
        if (name != NULL && value != NULL && strcmp(name, "cursor") != 0) {
            s_next_add(&buffer, name, value, separator);
            separator = '&';
        }
    }
    s_next_add(&buffer, "cursor", next_cursor, separator);
    cn_buffer_puts(&buffer, ">; rel=\"next\"");
    if (!buffer.failed) {
        target = cn_arena_strndup(request->arena, buffer.data, buffer.size);
    }
    cn_buffer_done(&buffer);
    return target;
}
