/* SPDX-License-Identifier: Apache-2.0 */
/* One request from HTTP to one service and back. */
#include "services/gateway/exchange.h"

#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/bus/bus.h"
#include "common/loop/fiber.h"

#include "services/gateway/convert.h"
#include "services/gateway/header.h"
#include "services/gateway/page.h"
#include "services/gateway/problem.h"

#include "cairn/routes.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

enum { PROBLEM_MAX = 64 << 10, STATUS_NO_CONTENT = 204, NOT_MODIFIED = 304 };

static const char PROBLEM_TYPE[] = "application/problem+json";
static const char JSON_TYPE[] = "application/json";

/* A request on its way. */
struct exchange {
    const struct gateway *gateway;
    const struct cn_http_request *request;
    struct cn_http_response *response;
    struct cn_arena *arena;
    const char *request_id;
    const char *base; /* "http://host" */
    struct route_match match;
    const struct cn_route *route;         /* NULL: a page, or no such path */
    const struct cn_principal *principal; /* NULL: not known yet */
    char allow[ROUTE_ALLOW_MAX];          /* of the path */
    bool has_body;                        /* it may not have come yet */
};

static bool s_method_is(const struct exchange *self, const char *method)
{
    return strcmp(self->request->method, method) == 0;
}

/* ---- the request ---- */

static const char *s_request_id(const struct exchange *self)
{
    const char *given = self->request->headers[CN_FRAMING_REQUEST_ID];
    char text[CN_UUID_TEXT_SIZE];
    if (given == NULL) {
        given = self->request->headers[CN_FRAMING_X_REQUEST_ID];
    }
    if (given != NULL && header_is_request_id(given)) {
        return given;
    }
    cn_uuid_format(cn_uuid_new(self->gateway->env), text);
    return cn_arena_strdup(self->arena, text);
}

static const char *s_public_base(const struct exchange *self)
{
    const char *host = self->request->headers[CN_FRAMING_HOST];
    if (self->gateway->public_url[0] != '\0') {
        return self->gateway->public_url;
    }
    return host != NULL ? cn_arena_printf(self->arena, "http://%s", host) : "";
}

static void s_exchange_begin(struct exchange *self,
                             const struct gateway *gateway,
                             const struct cn_http_request *request,
                             struct cn_http_response *response)
{
    *self = (struct exchange){ .gateway = gateway,
                               .request = request,
                               .response = response,
                               .arena = request->arena,
                               .allow = "GET, HEAD, OPTIONS",
                               .has_body = request->body.size > 0 };
    self->request_id = s_request_id(self);
    self->base = s_public_base(self);
}

static void
s_field_add(struct exchange *self, const char *name, const char *value)
{
    cn_http_field_add(self->response, name, value);
}

/* ---- the fields of answers ---- */

/* Where a resource of ours is. Without a public URL the path alone is true for
 * every client. */
static void s_location(struct exchange *self, const char *path)
{
    s_field_add(
        self, "Location",
        cn_arena_printf(self->arena, "%s%s", self->gateway->public_url, path));
}

static void s_common_fields(struct exchange *self)
{
    s_field_add(self, "Request-Id", self->request_id);
    s_field_add(self, "Cache-Control", "no-store");
    s_field_add(self, "Vary", "Authorization, Accept");
    s_field_add(self, "X-Content-Type-Options", "nosniff");
}

static void s_etag(struct exchange *self, int64_t version)
{
    char etag[HEADER_ETAG_MAX];
    header_etag(version, etag);
    s_field_add(self, "ETag", cn_arena_strdup(self->arena, etag));
}

static void s_fail_fields(struct exchange *self, const struct cn_err *err)
{
    unsigned status = problem_status(err);
    const struct cn_route *route = self->route;
    s_field_add(self, "Content-Type", PROBLEM_TYPE);
    if (status == 401) {
        s_field_add(self, "WWW-Authenticate", "Bearer");
    }
    if (status == 503) {
        s_field_add(self, "Retry-After", "1");
    }
    if (err->code == CN_METHOD_NOT_ALLOWED) {
        s_field_add(self, "Allow", self->allow);
    }
    if (err->code == CN_UNSUPPORTED && route != NULL &&
        route->verb == CN_PATCH) {
        s_field_add(self, "Accept-Patch",
                    "application/merge-patch+json, application/json");
    }
    if (err->code == CN_STALE && err->version > 0) {
        s_etag(self, err->version);
    }
    if (err->location[0] != '\0') {
        s_location(self, err->location);
    }
}

static void s_problem_answer(struct exchange *self, const struct cn_err *err)
{
    cn_buffer_done(&self->response->body);
    cn_buffer_init(&self->response->body, PROBLEM_MAX);
    self->response->constant = (struct cn_bytes){ NULL, 0 };
    self->response->status = problem_status(err);
    self->response->field_count = 0;
    s_common_fields(self);
    s_fail_fields(self, err);
    problem_write(&self->response->body, err, self->base, self->request_id);
}

/* ---- the checks before the call ---- */

static enum cn_code s_route_find(struct exchange *self, struct cn_err *err)
{
    if (!routes_match(self->gateway->routes, self->arena, self->request->path,
                      &self->match)) {
        return cn_fail_as(err, CN_NOT_FOUND, PROBLEM_NO_PATH,
                          "nothing is served at this path");
    }
    route_allow(&self->match, self->allow);
    self->route = route_of(&self->match, self->request->method);
    if (self->route == NULL && !s_method_is(self, "OPTIONS")) {
        return cn_fail(err, CN_METHOD_NOT_ALLOWED,
                       "this method is not served here");
    }
    return CN_OK;
}

static enum cn_code s_accept_check(const struct exchange *self,
                                   struct cn_err *err)
{
    const struct cn_route *route = self->route;
    const char *made = route->produces != NULL ? route->produces : JSON_TYPE;
    const char *accept = self->request->headers[CN_FRAMING_ACCEPT];
    /* A route may answer in several types, apart by commas. */
    for (const char *at = made; *at != '\0';) {
        size_t size = strcspn(at, ",");
        if (header_accepts(accept, cn_arena_strndup(self->arena, at, size))) {
            return CN_OK;
        }
        at += size + (at[size] == ',');
    }
    return cn_fail(err, CN_NOT_ACCEPTABLE, "%s is served here", made);
}

static enum cn_code s_idempotency_key(const struct exchange *self,
                                      struct cn_bus_call *call,
                                      struct cn_err *err)
{
    const char *given = self->request->headers[CN_FRAMING_IDEMPOTENCY_KEY];
    char text[CN_UUID_TEXT_SIZE];
    if (self->route->verb == CN_GET) {
        return CN_OK;
    }
    if (given != NULL) {
        call->has_client_key = true;
        return header_key(self->arena, given, &call->idempotency_key, err);
    }
    if (self->route->key_required) {
        return cn_fail_as(err, CN_MALFORMED, "idempotency_key_missing",
                          "Idempotency-Key is needed");
    }
    cn_uuid_format(cn_uuid_new(self->gateway->env), text);
    call->idempotency_key = cn_arena_strdup(self->arena, text);
    return CN_OK;
}

/* Without a version of ours none is expected that could be there. */
static enum cn_code s_if_match(const struct exchange *self,
                               const char *given,
                               struct cn_bus_call *call,
                               struct cn_err *err)
{
    struct header_tags tags = { 0 };
    enum cn_code rc = header_if_match(given, &tags, err);
    if (rc != CN_OK || tags.any) {
        return rc;
    }
    call->has_expected_version = true;
    call->expected_version = tags.versions[0];
    if (tags.count > 1) {
        call->other_count = tags.count - 1;
        call->other_versions =
            cn_arena_copy(self->arena, &tags.versions[1],
                          call->other_count * sizeof(*tags.versions));
    }
    return CN_OK;
}

static enum cn_code s_precondition(const struct exchange *self,
                                   struct cn_bus_call *call,
                                   struct cn_err *err)
{
    const char *given = self->request->headers[CN_FRAMING_IF_MATCH];
    if (self->route->verb == CN_GET) {
        return CN_OK;
    }
    if (given != NULL) {
        return s_if_match(self, given, call, err);
    }
    if (self->route->if_match_required) {
        return cn_fail(err, CN_PRECONDITION, "If-Match is needed");
    }
    if (self->route->verb == CN_PATCH && !call->has_client_key) {
        return cn_fail(err, CN_PRECONDITION,
                       "If-Match or Idempotency-Key is needed");
    }
    return CN_OK;
}

/* The service of the route, or the one that the path names. */
static enum cn_code s_service(const struct exchange *self,
                              const char **ret_name,
                              struct cn_err *err)
{
    const char *wanted = NULL;
    if (self->route->service != NULL) {
        *ret_name = self->route->service;
        return CN_OK;
    }
    for (size_t i = 0; i < self->match.value_count; i++) {
        const char *name = route_param(self->route, self->arena, i);
        if (strcmp(name, "service") == 0) {
            wanted = self->match.values[i];
        }
    }
    for (size_t i = 0; wanted != NULL && cn_route_services[i] != NULL; i++) {
        if (strcmp(cn_route_services[i], wanted) == 0) {
            *ret_name = cn_route_services[i];
            return CN_OK;
        }
    }
    return cn_fail_as(err, CN_NOT_FOUND, PROBLEM_NO_PATH,
                      "there is no such service");
}

/* What the head alone decides, before the body is looked at: whose key it is,
 * what it permits, the fields. */
static enum cn_code
s_call_head(struct exchange *self, struct cn_bus_call *call, struct cn_err *err)
{
    const char *trace = self->request->headers[CN_FRAMING_TRACEPARENT];
    const char *authorization =
        self->request->headers[CN_FRAMING_AUTHORIZATION];
    enum cn_reach reach = CN_REACH_NONE;
    call->method = self->route->method;
    call->request_id = self->request_id;
    call->trace = trace != NULL && header_is_trace(trace) ? trace : "";
    enum cn_code rc =
        auth_resolve(self->gateway->auth, self->arena,
                     header_bearer(authorization), &self->principal, err);
    if (rc == CN_OK) {
        call->principal = self->principal;
        rc = s_service(self, &call->service, err);
    }
    if (rc == CN_OK) {
        rc = cn_policy_check(self->principal, self->route->scope, &reach, err);
    }
    if (rc == CN_OK) {
        rc = s_accept_check(self, err);
    }
    if (rc == CN_OK) {
        rc = s_idempotency_key(self, call, err);
    }
    return rc == CN_OK ? s_precondition(self, call, err) : rc;
}

static enum cn_code s_call_prepare(struct exchange *self,
                                   struct cn_bus_call *call,
                                   struct cn_err *err)
{
    enum cn_code rc = s_call_head(self, call, err);
    return rc == CN_OK ? convert_request(self->request, self->route,
                                         &self->match, &call->body, err)
                       : rc;
}

/* ---- the reply ---- */

static void s_reply_headers(struct exchange *self,
                            const struct cn_bus_reply *reply,
                            const struct convert_reply *converted)
{
    char modified[CN_TIME_TEXT_MAX];
    s_common_fields(self);
    s_field_add(self, "Content-Type", converted->content_type);
    if (reply->version > 0) {
        s_etag(self, reply->version);
    }
    if (reply->updated_at > 0) {
        cn_time_format_http(reply->updated_at, modified);
        s_field_add(self, "Last-Modified",
                    cn_arena_strdup(self->arena, modified));
    }
    if (reply->location != NULL && reply->location[0] != '\0') {
        s_location(self, reply->location);
    }
    if (reply->replayed) {
        s_field_add(self, "Idempotent-Replayed", "true");
    }
    if (converted->next_cursor != NULL && converted->next_cursor[0] != '\0') {
        const char *next = convert_next(
            self->request, self->gateway->public_url, converted->next_cursor);
        if (next != NULL) {
            s_field_add(self, "Link", next);
        }
    }
}

static enum cn_code s_reply_convert(struct exchange *self,
                                    const struct cn_bus_reply *reply,
                                    struct cn_err *err)
{
    const char *none_match = self->request->headers[CN_FRAMING_IF_NONE_MATCH];
    struct cn_http_response *response = self->response;
    struct convert_reply converted = { 0 };
    response->status =
        reply->status != 0 ? reply->status : self->route->success;
    enum cn_code rc = convert_reply(self->route, self->arena, reply->body,
                                    &response->body, &converted, err);
    if (rc != CN_OK) {
        return rc;
    }
    if (response->body.failed) {
        return cn_fail(err, CN_NOMEM, "the answer is too big");
    }
    s_reply_headers(self, reply, &converted);
    if (self->route->verb == CN_GET && none_match != NULL &&
        reply->version > 0 && header_none_match(none_match, reply->version)) {
        /* The body is not sent, but its length is (RFC 9110 8.6). */
        response->status = NOT_MODIFIED;
    }
    return CN_OK;
}

static enum cn_code s_service_call(struct exchange *self, struct cn_err *err)
{
    struct cn_bus_call call = { 0 };
    struct cn_bus_reply reply = { 0 };
    enum cn_code rc = s_call_prepare(self, &call, err);
    if (rc != CN_OK) {
        return rc;
    }
    call.budget_us = cn_fiber_deadline() - cn_clock_monotonic();
    rc = cn_bus_call(self->gateway->env->bus, self->arena, &call, &reply, err);
    return rc == CN_OK ? s_reply_convert(self, &reply, err) : rc;
}

/* ---- pages and options ---- */

static bool s_reads(const struct exchange *self)
{
    return s_method_is(self, "GET") || s_method_is(self, "HEAD");
}

/* Only routes take bodies. */
static enum cn_code s_no_body(const struct exchange *self, struct cn_err *err)
{
    return self->has_body ? cn_fail_as(err, CN_MALFORMED, "unexpected_body",
                                       "no body is taken here")
                          : CN_OK;
}

static enum cn_code s_stream(struct exchange *self, struct cn_err *err)
{
    if (s_method_is(self, "OPTIONS")) {
        return CN_OK;
    }
    if (!s_reads(self)) {
        return cn_fail(err, CN_METHOD_NOT_ALLOWED,
                       "this method is not served here");
    }
    if (s_no_body(self, err) != CN_OK) {
        return err->code;
    }
    s_common_fields(self);
    return streams_serve(self->gateway->streams, self->request, self->response,
                         &self->principal, err);
}

static enum cn_code s_page_serve(struct exchange *self, struct cn_err *err)
{
    const char *type = JSON_TYPE;
    enum cn_code rc = page_serve(self->request->method, self->request->path,
                                 self->base, self->response, &type, err);
    if (rc == CN_METHOD_NOT_ALLOWED && s_method_is(self, "OPTIONS")) {
        cn_err_clear(err);
        return CN_OK;
    }
    if (rc == CN_OK) {
        rc = s_no_body(self, err);
    }
    if (rc == CN_OK) {
        self->response->status = 200;
        s_common_fields(self);
        s_field_add(self, "Content-Type", type);
    }
    return rc;
}

static enum cn_code s_exchange_serve(struct exchange *self, struct cn_err *err)
{
    bool options = s_method_is(self, "OPTIONS");
    enum cn_code rc = CN_OK;
    if (options && strcmp(self->request->path, "*") == 0) {
        (void)snprintf(self->allow, sizeof(self->allow),
                       "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    } else {
        rc = s_route_find(self, err);
        if (rc == CN_NOT_FOUND) {
            cn_err_clear(err);
            rc = strcmp(self->request->path, STREAM_PATH) == 0
                     ? s_stream(self, err)
                     : s_page_serve(self, err);
            if (!options || rc != CN_OK) {
                return rc;
            }
        }
    }
    if (rc == CN_OK && options) {
        rc = s_no_body(self, err);
    }
    if (rc == CN_OK && options) {
        self->response->status = STATUS_NO_CONTENT;
        s_common_fields(self);
        s_field_add(self, "Allow", self->allow);
        return CN_OK;
    }
    return rc == CN_OK ? s_service_call(self, err) : rc;
}

/* ---- the line in the log ---- */

/* The address that our own proxy has added, as it stands behind all that a
 * client may have sent; NULL when there is none. */
static const char *s_forwarded(const struct exchange *self)
{
    const char *list = self->request->headers[CN_FRAMING_FORWARDED_FOR];
    const char *comma = list != NULL ? strrchr(list, ',') : NULL;
    const char *last = comma != NULL ? comma + 1 : list;
    struct in6_addr unused;
    if (last == NULL || !self->gateway->behind_proxy) {
        return NULL;
    }
    last += strspn(last, " \t");
    return inet_pton(AF_INET, last, &unused) == 1 ||
                   inet_pton(AF_INET6, last, &unused) == 1
               ? last
               : NULL;
}

/* The path as the contract has it: what stands in the URI may name a patient.
 */
static const char *s_template(const struct exchange *self)
{
    static const char *const OWN[] = { STREAM_PATH, "/openapi.json",
                                       "/problems" };
    const char *path = self->request->path;
    for (size_t i = 0; i < CN_COUNT(self->match.verbs); i++) {
        if (self->match.verbs[i] != NULL) {
            return self->match.verbs[i]->path;
        }
    }
    for (size_t i = 0; path != NULL && i < CN_COUNT(OWN); i++) {
        if (strcmp(path, OWN[i]) == 0) {
            return OWN[i];
        }
    }
    return path != NULL && strncmp(path, "/problems/", 10) == 0
               ? "/problems/{code}"
               : "none";
}

static const char *s_verb(const struct exchange *self)
{
    static const char *const VERBS[] = { "GET",   "HEAD",   "POST",   "PUT",
                                         "PATCH", "DELETE", "OPTIONS" };
    for (size_t i = 0; self->request->method != NULL && i < CN_COUNT(VERBS);
         i++) {
        if (s_method_is(self, VERBS[i])) {
            return VERBS[i];
        }
    }
    return "none";
}

/* Counts and logs the answer. */
static void s_exchange_tell(const struct exchange *self,
                            const struct cn_err *err)
{
    const char *forwarded = s_forwarded(self);
    const struct cn_log_http http = {
        .address = forwarded != NULL ? forwarded : self->request->address,
        .verb = s_verb(self),
        .path = s_template(self),
        .status = self->response->status,
    };
    int64_t elapsed_us = self->request->came_at == 0
                             ? 0
                             : cn_clock_monotonic() - self->request->came_at;
    tally_add(self->gateway->tally, self->route, self->response->status,
              elapsed_us);
    cn_log_answer(self->request_id,
                  self->principal != NULL ? self->principal->tenant_id
                                          : (struct cn_uuid){ { 0 } },
                  self->route != NULL ? self->route->method : "gateway", err,
                  elapsed_us, &http);
}

/* Finishes the answer of s_exchange_serve, or answers the failure. An answer
 * from a failed arena is never sent. */
static void
s_answer_finish(struct exchange *self, enum cn_code rc, struct cn_err *err)
{
    if (cn_arena_failed(self->arena)) {
        rc = cn_fail(err, CN_NOMEM, "no memory for the request");
    }
    if (rc != CN_OK) {
        s_problem_answer(self, err);
    }
    /* Whoever finds no room is told so at once. */
    self->response->stranger = self->principal == NULL && err->code != CN_BUSY;
    s_exchange_tell(self, err);
}

void exchange_handle(void *arg,
                     const struct cn_http_request *request,
                     struct cn_http_response *response)
{
    struct exchange exchange;
    struct cn_err err = { 0 };
    s_exchange_begin(&exchange, arg, request, response);
    s_answer_finish(&exchange, s_exchange_serve(&exchange, &err), &err);
}

enum cn_code exchange_admit(void *arg,
                            const struct cn_http_request *request,
                            struct cn_uuid *ret_payer,
                            struct cn_err *err)
{
    struct exchange exchange;
    struct cn_http_response nothing = { 0 };
    struct cn_bus_call call = { 0 };
    cn_buffer_init(&nothing.body, CN_HTTP_RESPONSE_MAX);
    s_exchange_begin(&exchange, arg, request, &nothing);
    exchange.has_body = true;
    (void)!s_route_find(&exchange, err);
    enum cn_code rc = exchange.route != NULL
                          ? s_call_head(&exchange, &call, err)
                          : s_exchange_serve(&exchange, err); /* fails */
    cn_buffer_done(&nothing.body);
    if (rc == CN_OK) {
        *ret_payer = exchange.principal->tenant_id;
    }
    return rc;
}

void exchange_refuse(void *arg,
                     const struct cn_http_request *request,
                     const struct cn_err *err,
                     struct cn_http_response *response)
{
    struct exchange exchange;
    struct cn_err failure = *err;
    struct cn_err nowhere = { 0 };
    s_exchange_begin(&exchange, arg, request, response);
    if (request->path != NULL) {
        (void)!s_route_find(&exchange, &nowhere);
    }
    s_answer_finish(&exchange, err->code, &failure);
}
