/* SPDX-License-Identifier: Apache-2.0 */
/* From a request to a stream. */
#include "services/gateway/stream_internal.h"

#include "common/base/clock.h"

#include "services/gateway/header.h"
#include "services/gateway/uri.h"

#include <string.h>

/* How long after the start a request waits until the ends of all logs are
 * known. A stream opened earlier would have to begin anew when the last end
 * becomes known. */
#define START_US (3 * CN_SECOND)
#define LOOK_US  (20 * CN_SECOND / 1000)

static const char TYPE[] = "text/event-stream";

struct query {
    const char *topics; /* NULL: all */
    const char *last_id;
};

static enum cn_code s_parameter_read(const struct cn_http_request *request,
                                     const struct cn_http_parameter *raw,
                                     struct query *query,
                                     struct cn_err *err)
{
    const char *name = uri_decode(request->arena, raw->name, strlen(raw->name));
    const char *value =
        uri_decode(request->arena, raw->value, strlen(raw->value));
    const char **field = NULL;
    if (name == NULL || value == NULL) {
        return cn_fail_as(err, CN_MALFORMED, "invalid_parameter",
                          "a query parameter cannot be decoded");
    }
    if (strcmp(name, "topics") == 0) {
        field = &query->topics;
    } else if (strcmp(name, "last_event_id") == 0) {
        field = &query->last_id;
    } else {
        return cn_fail_as(err, CN_MALFORMED, "unknown_parameter",
                          "a query parameter is not known here");
    }
    if (field == &query->topics && *field != NULL) {
        value = cn_arena_printf(request->arena, "%s,%s", *field, value);
    } else if (*field != NULL) {
        return cn_fail_as(err, CN_MALFORMED, "repeated_parameter",
                          "a query parameter comes twice");
    }
    *field = value;
    return CN_OK;
}

static enum cn_code s_query_read(const struct cn_http_request *request,
                                 struct query *ret_query,
                                 struct cn_err *err)
{
    const char *header = request->headers[CN_FRAMING_LAST_EVENT_ID];
    struct query query = { 0 };
    for (size_t i = 0; i < request->query_count; i++) {
        enum cn_code rc =
            s_parameter_read(request, &request->query[i], &query, err);
        if (rc != CN_OK) {
            return rc;
        }
    }
    /* A browser reconnects with its first URL, but sends the newest id in the
     * header field. */
    if (header != NULL) {
        query.last_id = header;
    }
    *ret_query = query;
    return CN_OK;
}

/* One topic of the list. It must exist, and the principal must hold its scope.
 */
static enum cn_code s_topic(const struct stream_kinds *kinds,
                            const struct cn_principal *principal,
                            const char *topic,
                            size_t size,
                            uint8_t sight[STREAM_KINDS_MAX],
                            struct cn_err *err)
{
    enum cn_reach reach = CN_REACH_NONE;
    bool found = false;
    for (size_t i = 0; i < kinds->count; i++) {
        const struct stream_kind *kind = &kinds->rows[i];
        if (!stream_kind_of_topic(kind, topic, size)) {
            continue;
        }
        enum cn_code rc =
            cn_policy_check(principal, kind->shape->scope, &reach, err);
        if (rc != CN_OK) {
            return rc;
        }
        sight[i] = (uint8_t)stream_kind_sight(kind, principal);
        found = true;
    }
    return found ? CN_OK
                 : cn_fail_as(err, CN_MALFORMED, "invalid_parameter",
                              "there is no such topic");
}

static enum cn_code s_sight(const struct stream_kinds *kinds,
                            const struct cn_principal *principal,
                            const char *topics,
                            uint8_t sight[STREAM_KINDS_MAX],
                            struct cn_err *err)
{
    enum cn_code rc = CN_OK;
    memset(sight, STREAM_NOTHING, STREAM_KINDS_MAX);
    for (size_t i = 0; topics == NULL && i < kinds->count; i++) {
        sight[i] = (uint8_t)stream_kind_sight(&kinds->rows[i], principal);
    }
    while (rc == CN_OK && topics != NULL) {
        size_t size = strcspn(topics, ",");
        rc = s_topic(kinds, principal, topics, size, sight, err);
        topics = topics[size] == ',' ? topics + size + 1 : NULL;
    }
    return rc;
}

static enum cn_code s_heads_wait(const struct streams *self, struct cn_err *err)
{
    const uint32_t all = (uint32_t)((UINT64_C(1) << CN_EVENT_SOURCE_COUNT) - 1);
    while (self->heads.known != all &&
           cn_clock_monotonic() < self->started_at + START_US) {
        enum cn_code rc = cn_fiber_sleep(LOOK_US);
        if (rc != CN_OK) {
            return cn_fail(err, rc, "the gateway is starting or stopping");
        }
    }
    return CN_OK;
}

/* False when a log has another epoch than the reader's position. It was then
 * restored, and the reader may have had events that no longer exist. */
static bool s_of_our_logs(const struct streams *self,
                          const struct stream_vector *vector)
{
    for (size_t i = 0; i < CN_EVENT_SOURCE_COUNT; i++) {
        int64_t ours = self->heads.at[i].epoch;
        int64_t its = vector->at[i].epoch;
        if ((vector->known & self->heads.known & 1U << i) != 0 && ours != 0 &&
            its != 0 && ours != its) {
            return false;
        }
    }
    return true;
}

static enum cn_code s_stream_open(struct streams *self,
                                  struct auth_grant *grant,
                                  const uint8_t sight[STREAM_KINDS_MAX],
                                  const char *last_id,
                                  struct stream **ret_stream,
                                  struct cn_err *err)
{
    struct stream_vector vector = { 0 };
    const char *resets = NULL;
    bool has_vector = false;
    if (last_id != NULL && last_id[0] != '\0') {
        has_vector = stream_token_read(
            self->env, auth_principal(grant)->tenant_id, last_id, &vector);
        if (!has_vector) {
            resets = "unknown_position";
        } else if (!s_of_our_logs(self, &vector)) {
            resets = "restored";
            has_vector = false;
        }
    }
    return stream_open(self, grant, sight, has_vector ? &vector : NULL, resets,
                       ret_stream, err);
}

static enum cn_code s_request_check(struct streams *self,
                                    const struct cn_http_request *request,
                                    const struct cn_principal *principal,
                                    struct query *ret_query,
                                    uint8_t sight[STREAM_KINDS_MAX],
                                    struct cn_err *err)
{
    enum cn_reach reach = CN_REACH_NONE;
    enum cn_code rc = cn_policy_check(principal, "stream:read", &reach, err);
    if (rc == CN_OK &&
        !header_accepts(request->headers[CN_FRAMING_ACCEPT], TYPE)) {
        rc = cn_fail(err, CN_NOT_ACCEPTABLE, "%s is served here", TYPE);
    }
    if (rc == CN_OK) {
        rc = s_query_read(request, ret_query, err);
    }
    if (rc == CN_OK) {
        rc = s_sight(&self->kinds, principal, ret_query->topics, sight, err);
    }
    if (rc == CN_OK && cn_arena_failed(request->arena)) {
        rc = cn_fail(err, CN_NOMEM, "no memory");
    }
    return rc == CN_OK ? s_heads_wait(self, err) : rc;
}

static void s_release(void *handle)
{
    auth_release(handle);
}

enum cn_code streams_serve(struct streams *self,
                           const struct cn_http_request *request,
                           struct cn_http_response *response,
                           const struct cn_principal **ret_principal,
                           struct cn_err *err)
{
    const char *key = header_bearer(request->headers[CN_FRAMING_AUTHORIZATION]);
    struct auth_grant *grant = NULL;
    struct stream *stream = NULL;
    struct query query = { 0 };
    uint8_t sight[STREAM_KINDS_MAX];
    /* An event that comes while the key is asked for does not find the stream
     * yet. A change of this count shows that one came. */
    uint64_t changes = auth_changes(self->auth);
    enum cn_code rc = auth_hold(self->auth, request->arena, key, &grant, err);
    if (rc != CN_OK) {
        return rc;
    }
    if (!cn_arena_defer(request->arena, s_release, grant)) {
        return cn_fail(err, CN_NOMEM, "no memory");
    }
    *ret_principal = auth_principal(grant);
    rc = s_request_check(self, request, *ret_principal, &query, sight, err);
    if (rc == CN_OK && strcmp(request->method, "HEAD") != 0) {
        rc = s_stream_open(self, grant, sight, query.last_id, &stream, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    response->status = 200;
    cn_http_field_add(response, "Content-Type", TYPE);
    cn_http_field_add(response, "X-Accel-Buffering", "no");
    if (stream != NULL) {
        if (changes != auth_changes(self->auth)) {
            stream_grant_doubt(stream);
        }
        response->source = &stream->source;
        response->stream = &stream->http;
    }
    return CN_OK;
}
