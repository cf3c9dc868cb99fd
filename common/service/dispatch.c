/* SPDX-License-Identifier: Apache-2.0 */
/* From a request on the bus to the handler of its method and back. */
#include "common/service/dispatch.h"
#include "common/wire/message.h"

#include "common/audit/audit_sealed.h"
#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/loop/fiber.h"
#include "common/loop/loop.h"
#include "common/loop/metrics.h"
#include "common/outbox/outbox.h"
#include "common/outbox/snapshot.h"
#include "common/service/caller.h"
#include "common/store/audit.h"
#include "common/store/record.h"
#include "common/store/step.h"
#include "common/wire/seal.h"

#include "cairn/audit.cairn.h"
#include "cairn/events.cairn.h"
#include "cairn/operator.handlers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LABELS_MAX = 160 };

/* One method of the table, and what was served of it. */
struct row {
    const struct cn_method *method; /* NULL: all that are none of ours */
    uint64_t codes[CN_CODE_COUNT];
    struct cn_histogram duration;
};

struct cn_dispatch {
    struct cn_env *env;
    const struct cn_service *service;
    size_t method_count;
    struct row methods[]; /* by name; one more for the unknown ones */
};

/* A request in flight; in the request's arena. */
struct work {
    struct cn_dispatch *dispatch;
    struct cn_bus_request in;
    struct row *row;
    int64_t started_at; /* monotonic */
};

/* What every service serves besides its own methods. */
static const struct cn_method FETCH = {
    .name = "events.v1.Events/Fetch",
    .input = &evt__fetch_request__shape,
    .output = &evt__fetch_response__shape,
    .handler = cn_outbox_fetch,
};
static const struct cn_method SNAPSHOT = {
    .name = "events.v1.Events/Snapshot",
    .input = &evt__snapshot_request__shape,
    .output = &evt__snapshot_response__shape,
    .handler = cn_snapshot_page,
};
static const struct cn_method SEALED = {
    .name = "audit.v1.Audit/FetchSealed",
    .input = &aud__fetch_sealed_request__shape,
    .output = &aud__fetch_sealed_response__shape,
    .handler = cn_audit_sealed_fetch,
};
static const struct cn_method *const OF_ALL[] = { &FETCH, &SNAPSHOT, &SEALED };
enum { OF_ALL_COUNT = CN_COUNT(OF_ALL) };

static int s_method_compare(const void *a, const void *b)
{
    const struct row *left = a;
    const struct row *right = b;
    return strcmp(left->method->name, right->method->name);
}

static struct row *s_row_find(struct cn_dispatch *self, const char *name)
{
    const struct cn_method wanted = { .name = name };
    const struct row key = { .method = &wanted };
    struct row *found = bsearch(&key, self->methods, self->method_count,
                                sizeof(key), s_method_compare);
    return found == NULL ? &self->methods[self->method_count] : found;
}

/* A name that is not in the table came from outside. */
static const char *s_row_name(const struct row *row)
{
    return row->method == NULL ? "unknown" : row->method->name;
}

/* ---- metrics ---- */

static void s_metrics(void *arg, struct cn_metrics_page *page)
{
    static const struct cn_metric REQUESTS = {
        "cairn_rpc_requests_total", "Requests served, by method and outcome.",
        CN_METRIC_COUNTER
    };
    const struct cn_dispatch *self = arg;
    char labels[LABELS_MAX];
    for (size_t i = 0; i <= self->method_count; i++) {
        const struct row *row = &self->methods[i];
        for (int code = 0; code < CN_CODE_COUNT; code++) {
            if (row->codes[code] > 0) {
                (void)snprintf(labels, sizeof(labels),
                               "method=\"%s\",code=\"%s\"", s_row_name(row),
                               cn_code_word((enum cn_code)code));
                cn_metrics_value(page, &REQUESTS, labels,
                                 (double)row->codes[code]);
            }
        }
    }
    for (size_t i = 0; i <= self->method_count; i++) {
        const struct row *row = &self->methods[i];
        if (row->duration.count > 0) {
            (void)snprintf(labels, sizeof(labels), "method=\"%s\"",
                           s_row_name(row));
            cn_metrics_histogram(
                page, "cairn_rpc_request_duration_seconds",
                "How long requests took, from their arrival to the reply.",
                labels, &row->duration);
        }
    }
}

struct cn_dispatch *cn_dispatch_new(struct cn_env *env,
                                    const struct cn_service *service)
{
    size_t count = service->method_count + operator_method_count + OF_ALL_COUNT;
    struct cn_dispatch *self =
        calloc(1, sizeof(*self) + (count + 1) * sizeof(struct row));
    if (self == NULL) {
        return NULL;
    }
    self->env = env;
    self->service = service;
    self->method_count = count;
    for (size_t i = 0; i < service->method_count; i++) {
        self->methods[i].method = &service->methods[i];
    }
    size_t next = service->method_count;
    for (size_t i = 0; i < operator_method_count; i++) {
        self->methods[next++].method = &operator_methods[i];
    }
    for (size_t i = 0; i < OF_ALL_COUNT; i++) {
        self->methods[next++].method = OF_ALL[i];
    }
    qsort(self->methods, count, sizeof(struct row), s_method_compare);
    cn_metrics_register(s_metrics, self);
    return self;
}

void cn_dispatch_free(struct cn_dispatch *self)
{
    cn_metrics_forget(self);
    free(self);
}

/* ---- who may ---- */

static enum cn_code s_authorize(const struct cn_bus_request *in,
                                struct cn_request *request,
                                struct cn_err *err)
{
    const struct cn_method *method = request->method;
    const struct cn_principal *principal = &request->principal;
    enum cn_code rc = cn_caller_check(in, method, err);
    if (rc != CN_OK) {
        return rc;
    }
    /* A call in the caller's own name: the subject is then the peer's name,
     * without tenant and role. */
    if (cn_uuid_is_nil(principal->tenant_id) &&
        (principal->role == NULL || principal->role[0] == '\0')) {
        request->principal = (struct cn_principal){ 0 };
    }
    if (method->scope == NULL) {
        return CN_OK;
    }
    if (cn_uuid_is_nil(principal->tenant_id) &&
        (principal->role == NULL || strcmp(principal->role, "platform") != 0)) {
        return cn_fail(err, CN_FORBIDDEN, "a tenant is needed");
    }
    if (method->writes && request->idempotency_key == NULL) {
        return cn_fail(err, CN_INVALID, "a write needs an idempotency key");
    }
    return cn_policy_check(principal, method->scope, &request->reach, err);
}

static void s_fingerprint(struct cn_request *request, struct cn_bytes body)
{
    const char *name = request->method->name;
    const struct cn_bytes parts[] = {
        /* The NUL keeps the name apart from the body. */
        { (const uint8_t *)name, strlen(name) + 1 },
        body,
    };
    cn_sha256_parts(parts, 2, request->fingerprint);
}

/* ---- running ---- */

static void s_reply_pack(struct cn_op *op)
{
    if (!cn_failed(op)) {
        (void)!cn_reply_pack(op->request, op->reply, op->err);
    }
}

/* One run of the handler, and the commit of what it added. */
static enum cn_code s_method_handle(const struct cn_request *request,
                                    struct cn_reply *reply,
                                    struct cn_err *err)
{
    struct cn_op op = {
        .env = request->env,
        .arena = request->arena,
        .tenant_id = request->principal.tenant_id,
        .now_at = request->now_at,
        .self = request->service->self,
        .request = request,
        .reply = reply,
        .err = err,
    };
    request->method->handler(&op);
    s_reply_pack(&op);
    cn_commit(&op);
    if (err->code == CN_CONFLICT && op.on_conflict != NULL) {
        char constraint[CN_ERR_WORD_MAX];
        memcpy(constraint, err->word, sizeof(constraint));
        reply->packed = (struct cn_bytes){ NULL, 0 };
        op.on_conflict(&op, constraint);
        s_reply_pack(&op);
    }
    if (err->code == CN_OK && cn_arena_failed(request->arena)) {
        (void)cn_fail(err, CN_NOMEM, "no memory");
    }
    return err->code;
}

/* Runs the handler; again from its read when the record changed under it and
 * the client named no version of its own. */
static enum cn_code s_run(const struct cn_request *request,
                          struct cn_reply *reply,
                          struct cn_err *err)
{
    enum cn_code rc = CN_STALE;
    for (unsigned i = 0; i <= CN_STALE_AGAIN_MAX; i++) {
        cn_err_clear(err);
        *reply = (struct cn_reply){ 0 };
        rc = s_method_handle(request, reply, err);
        if (rc != CN_STALE || request->has_expected_version) {
            return rc;
        }
    }
    return cn_fail(err, CN_BUSY, "the record keeps changing");
}

/* A refusal by the state that the request's own first run may have brought
 * about. */
static bool s_may_be_repeat(enum cn_code rc)
{
    return rc == CN_CONFLICT || rc == CN_STALE || rc == CN_NOT_FOUND ||
           rc == CN_INVALID;
}

static enum cn_code s_run_once(const struct cn_request *request,
                               struct cn_reply *reply,
                               struct cn_err *err)
{
    enum cn_code rc = s_run(request, reply, err);
    if (!s_may_be_repeat(rc) || !request->method->writes ||
        request->idempotency_key == NULL) {
        return rc;
    }
    struct cn_reply first = { 0 };
    struct cn_err find_err = { 0 };
    bool found = false;
    enum cn_code find_rc =
        cn_idempotency_find(request, &first, &found, &find_err);
    if (find_rc != CN_OK) {
        *err = find_err;
        return find_rc;
    }
    if (found) {
        *reply = first;
        cn_err_clear(err);
        return CN_OK;
    }
    return rc;
}

/* A reply that is given again shows its patient again. */
static enum cn_code s_audit_replay(const struct cn_request *request,
                                   const struct cn_reply *reply,
                                   struct cn_err *err)
{
    if (!reply->replayed || cn_uuid_is_nil(reply->patient_id)) {
        return CN_OK;
    }
    return cn_audit_read(request, "reply.replay", reply->resource,
                         &reply->patient_id, 1, err);
}

enum cn_code cn_dispatch_answer(const struct cn_request *request,
                                struct cn_reply *reply,
                                struct cn_err *err)
{
    enum cn_code rc = s_run_once(request, reply, err);
    if (rc == CN_OK) {
        rc = s_audit_replay(request, reply, err);
    }
    return rc;
}

static enum cn_code s_answer(const struct work *work,
                             struct cn_request *request,
                             struct cn_reply *reply,
                             struct cn_err *err)
{
    const struct cn_bus_request *in = &work->in;
    const ProtobufCMessage *body = NULL;
    if (request->method == NULL) {
        return cn_fail(err, CN_NOT_FOUND, "no such method");
    }
    enum cn_code rc = s_authorize(in, request, err);
    if (rc != CN_OK) {
        return rc;
    }
    rc = cn_message_unpack(request->arena, request->method->input->descriptor,
                           in->body, &body, err);
    if (rc != CN_OK) {
        return rc;
    }
    request->body = body;
    if (request->idempotency_key != NULL) {
        s_fingerprint(request, in->body);
    }
    return cn_dispatch_answer(request, reply, err);
}

/* Counts and logs what was served. */
static void s_tell(const struct work *work,
                   const struct cn_request *request,
                   const struct cn_err *err)
{
    int64_t elapsed_us = cn_clock_monotonic() - work->started_at;
    work->row->codes[err->code]++;
    cn_histogram_add(&work->row->duration, elapsed_us);
    /* What is asked all the time, and went well or was ended by our stop, says
     * nothing. */
    if ((request->method == &FETCH || request->method == &SNAPSHOT ||
         request->method == &SEALED) &&
        (err->code == CN_OK || cn_loop_stopping(request->env->loop))) {
        return;
    }
    cn_log_request(request->request_id, request->principal.tenant_id,
                   s_row_name(work->row), err, elapsed_us);
}

static void s_reply(const struct work *work,
                    const struct cn_reply *reply,
                    const struct cn_err *err)
{
    struct cn_bus_reply out = { .err = *err };
    if (cn_code_status(err->code) >= 500 &&
        strcmp(err->word, cn_code_word(err->code)) == 0) {
        /* Names of statements and replicas, SQLSTATEs: for the log alone. */
        out.err.msg[0] = '\0';
    }
    if (err->code == CN_OK) {
        out.body = reply->packed;
        out.status = reply->status;
        out.version = reply->version;
        out.updated_at = reply->updated_at;
        out.location = reply->location;
        out.replayed = reply->replayed;
    }
    cn_bus_reply_send(work->dispatch->env->bus, work->in.back, &out);
}

static void s_serve(void *arg)
{
    const struct work *work = arg;
    const struct cn_dispatch *self = work->dispatch;
    const struct cn_bus_request *in = &work->in;
    struct cn_request request = {
        .env = self->env,
        .service = self->service,
        .method = work->row->method,
        .principal = in->principal,
        .request_id = in->request_id,
        .trace = in->trace == NULL ? "" : in->trace,
        .idempotency_key = in->idempotency_key,
        .has_client_key = in->has_client_key,
        .has_expected_version = in->has_expected_version,
        .expected_version = in->expected_version,
        .other_versions = in->other_versions,
        .other_count = in->other_count,
        .now_at = self->env->now(self->env),
        .arena = in->arena,
    };
    struct cn_reply reply = { 0 };
    struct cn_err err = { 0 };
    err.code = s_answer(work, &request, &reply, &err);
    s_reply(work, &reply, &err);
    s_tell(work, &request, &err);
    cn_arena_free(in->arena); /* work is in it */
}

static void s_refuse(struct cn_dispatch *self,
                     struct cn_bus_request *request,
                     const struct cn_err *err)
{
    struct cn_bus_reply out = { .err = *err };
    struct cn_arena *arena = request->arena;
    cn_bus_reply_send(self->env->bus, request->back, &out);
    cn_arena_free(arena);
}

void cn_dispatch_request(void *arg, struct cn_bus_request *request)
{
    struct cn_dispatch *self = arg;
    int64_t now = cn_clock_monotonic();
    int64_t latest_at = now + CN_REQUEST_BUDGET_MAX_US;
    struct work *work = cn_arena_alloc(request->arena, sizeof(*work));
    struct cn_err err = { 0 };
    enum cn_code rc;
    if (cn_arena_failed(request->arena)) {
        rc = cn_fail(&err, CN_NOMEM, "no memory");
    } else {
        *work = (struct work){ self, *request,
                               s_row_find(self, request->method), now };
        rc = cn_fiber_spawn(
            self->env->loop, s_serve, work,
            request->deadline_at < latest_at ? request->deadline_at : latest_at,
            &err);
    }
    if (rc != CN_OK) {
        s_refuse(self, request, &err);
    }
}
