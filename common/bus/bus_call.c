/* SPDX-License-Identifier: Apache-2.0 */
/* One call on the bus: it waits for a replica, sends, parks, and is sent again
 * to another replica where that is safe. */
#include "common/bus/bus_internal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum {
    /* Replicas that may die under one call. A second one dies when two are
     * killed in a row; more are not tried, since the call may kill them. */
    LOSSES_MAX = 3,
    SENDS_MAX = 16 /* in all, refusals included */
};

/* A call as its fiber sees it. */
struct trial {
    struct cn_bus *bus;
    struct bus_service *service;
    struct bus_op *op;
    struct cn_arena *arena;
    const struct cn_bus_call *call;
    int64_t deadline_at;
    int64_t half_at; /* until then it may be sent again */
    unsigned sends;
    unsigned losses; /* sends whose replica died */
    bool lost;       /* one of them may have been carried out */
    bool leaves;     /* the replica that answered is stopping */
};

static const char *s_service_name(const struct trial *trial)
{
    return trial->service->peer->name;
}

static bool s_may_change(const struct cn_bus_call *call)
{
    return call->writes || call->idempotency_key != NULL;
}

static bool s_safe_twice(const struct cn_bus_call *call)
{
    return !call->writes || call->idempotency_key != NULL;
}

/* A failure before anything was done, unless an earlier try was lost. */
static enum cn_code s_undone(const struct trial *trial,
                             enum cn_code code,
                             const char *what,
                             struct cn_err *err)
{
    if (trial->lost && s_may_change(trial->call)) {
        code = CN_UNKNOWN;
    }
    return cn_fail(err, code, "%s: %s", s_service_name(trial), what);
}

/* --- a replica --- */

/* Assigns the call to a replica with credit, or waits for one. New calls queue
 * behind those that wait. */
static enum cn_code
s_acquire(struct trial *trial, int64_t wait_until, struct cn_err *err)
{
    struct bus_service *service = trial->service;
    struct bus_op *op = trial->op;
    struct bus_replica *replica = NULL;
    if (op->long_poll || bus_list_empty(&service->waiters)) {
        replica = bus_pick(service, op);
    }
    if (replica != NULL) {
        bus_assign(op, replica);
        return CN_OK;
    }
    if (service->waiting >= CN_BUS_WAITERS_MAX) {
        return s_undone(trial, CN_BUSY, "too many calls wait for it", err);
    }
    op->state = BUS_CALL_WAITING;
    op->token = cn_fiber_token();
    bus_list_append(&service->waiters, &op->link);
    service->waiting++;
    trial->bus->stats.waiting++;
    /* The state tells more than the park's code: the call may have got a
     * replica and lost it, or got one in the turn in which its time was over.
     */
    (void)!cn_fiber_park(wait_until);
    if (op->state != BUS_CALL_WAITING) {
        return CN_OK;
    }
    bus_op_leave(service, op);
    if (bus_any_up(service)) {
        return s_undone(trial, CN_BUSY, "all its replicas are busy", err);
    }
    return s_undone(trial, CN_UNAVAILABLE, "no replica is alive", err);
}

/* --- sending --- */

static ProtobufCBinaryData s_uuid_wire(const struct cn_uuid *id)
{
    /* The packer only reads; protobuf-c's struct has no const. */
    return (ProtobufCBinaryData){ .len = sizeof(id->bytes),
                                  .data = (uint8_t *)(uintptr_t)id->bytes };
}

static void s_principal_wire(struct cn_arena *arena,
                             const struct cn_principal *principal,
                             Env__Principal *wire)
{
    ProtobufCBinaryData *branches =
        cn_arena_array(arena, principal->branch_count + 1, sizeof(*branches));
    env__principal__init(wire);
    if (!cn_uuid_is_nil(principal->tenant_id)) {
        wire->has_tenant_id = true;
        wire->tenant_id = s_uuid_wire(&principal->tenant_id);
    }
    if (!cn_uuid_is_nil(principal->branch_id)) {
        wire->has_branch_id = true;
        wire->branch_id = s_uuid_wire(&principal->branch_id);
    }
    wire->subject = principal->subject;
    wire->role = principal->role;
    for (size_t i = 0; i < principal->branch_count; i++) {
        branches[i] = s_uuid_wire(&principal->branches[i]);
    }
    wire->n_branches = principal->branch_count;
    wire->branches = branches;
    wire->n_scopes = principal->scope_count;
    wire->scopes = (const char **)(uintptr_t)principal->scopes;
}

static void s_header_wire(const struct trial *trial,
                          int64_t budget_us,
                          Env__RequestHeader *header)
{
    const struct cn_bus_call *call = trial->call;
    env__request_header__init(header);
    header->has_id = true;
    header->id = trial->op->id;
    header->method = call->method;
    header->has_budget_us = true;
    header->budget_us = budget_us;
    header->request_id = call->request_id;
    header->trace = call->trace;
    header->idempotency_key = call->idempotency_key;
    header->has_client_key = call->has_client_key;
    header->client_key = call->has_client_key;
    header->has_expected_version = call->has_expected_version;
    header->expected_version = call->expected_version;
    header->n_other_versions = call->other_count;
    header->other_versions = (int64_t *)(uintptr_t)call->other_versions;
}

/* Sends to the assigned replica. When that fails the replica counts as down,
 * and the call is lost without having been sent. */
static enum cn_code s_call_send(struct trial *trial, struct cn_err *err)
{
    Env__RequestHeader header;
    Env__Principal principal;
    int64_t budget_us = trial->deadline_at - cn_clock_monotonic();
    struct bus_replica *replica = trial->op->replica;
    if (budget_us <= 0) {
        return s_undone(trial, CN_DEADLINE, "no budget is left", err);
    }
    (void)bus_op_renew(trial->bus, trial->op);
    s_header_wire(trial, budget_us, &header);
    if (trial->call->principal != NULL) {
        s_principal_wire(trial->arena, trial->call->principal, &principal);
        header.principal = &principal;
    }
    if (cn_arena_failed(trial->arena)) {
        return s_undone(trial, CN_NOMEM, "no memory for the header", err);
    }
    if (protobuf_c_message_get_packed_size(&header.base) > BUS_HEADER_MAX) {
        return s_undone(trial, CN_TOO_LARGE, "the header is too large", err);
    }
    if (!bus_replica_send(replica, &header, trial->call->body)) {
        bus_replica_down(replica, "cannot be sent to");
        return CN_OK;
    }
    trial->op->sent = true;
    trial->sends++;
    trial->bus->stats.calls++;
    return CN_OK;
}

/* --- the answer --- */

static void s_text_copy(char *target, size_t size, const char *text)
{
    (void)snprintf(target, size, "%s", text != NULL ? text : "");
}

/* A code that only a newer peer knows is an internal error to us. */
static enum cn_code s_code(const Env__ReplyHeader *header)
{
    return header->has_code && header->code >= 0 && header->code < CN_CODE_COUNT
               ? (enum cn_code)header->code
               : CN_INTERNAL;
}

static enum cn_code s_failure_read(const Env__ReplyHeader *header,
                                   struct cn_err *err)
{
    cn_err_clear(err);
    err->code = s_code(header);
    bool worded = header->word != NULL && header->word[0] != '\0';
    s_text_copy(err->word, sizeof(err->word),
                worded ? header->word : cn_code_word(err->code));
    s_text_copy(err->msg, sizeof(err->msg), header->message);
    s_text_copy(err->location, sizeof(err->location), header->location);
    err->version = header->version;
    for (size_t i = 0; i < header->n_fields && i < CN_ERR_FIELDS_MAX; i++) {
        struct cn_field_err *field = &err->fields[err->field_count++];
        s_text_copy(field->pointer, sizeof(field->pointer),
                    header->fields[i]->pointer);
        s_text_copy(field->word, sizeof(field->word), header->fields[i]->word);
        s_text_copy(field->msg, sizeof(field->msg), header->fields[i]->message);
    }
    return err->code;
}

/* Takes the reply out of the call. */
static enum cn_code s_reply_read(struct trial *trial,
                                 struct cn_bus_reply *ret_reply,
                                 struct cn_err *err)
{
    struct bus_op *op = trial->op;
    const ProtobufCMessage *message = NULL;
    struct cn_bytes body = { 0 };
    enum cn_code rc =
        cn_message_unpack(trial->arena, &env__reply_header__descriptor,
                          bus_frame_view(&op->header), &message, err);
    if (rc != CN_OK) {
        trial->lost = true;
        return s_undone(trial, rc == CN_NOMEM ? CN_NOMEM : CN_INTERNAL,
                        "its reply cannot be read", err);
    }
    const Env__ReplyHeader *header = (const Env__ReplyHeader *)message;
    if (s_code(header) != CN_OK) {
        trial->leaves = header->has_stopping && header->stopping;
        return s_failure_read(header, err);
    }
    bool kept = bus_frame_keep(&op->body, trial->arena, &body);
    (void)zmq_msg_init(&op->body);
    if (!kept) {
        trial->lost = true;
        return s_undone(trial, CN_NOMEM, "no memory for its reply", err);
    }
    *ret_reply = (struct cn_bus_reply){ .body = body,
                                        .status = header->status,
                                        .version = header->version,
                                        .updated_at = header->updated_at,
                                        .location = header->location,
                                        .replayed = header->replayed };
    return CN_OK;
}

/* --- the call --- */

/* May the call be sent again, to another replica? Only while at least half of
 * the budget is left. */
static bool s_may_repeat(const struct trial *trial)
{
    return trial->losses < LOSSES_MAX && trial->sends < SENDS_MAX &&
           s_safe_twice(trial->call) && cn_clock_monotonic() <= trial->half_at;
}

static int64_t s_wait_until(const struct trial *trial)
{
    int64_t now = cn_clock_monotonic();
    int64_t half_us = (trial->deadline_at - now) / 2;
    return now + (half_us < BUS_WAIT_US ? half_us : BUS_WAIT_US);
}

/* The fiber was woken without an outcome, by the deadline or by the loop. */
static enum cn_code
s_unanswered(struct trial *trial, enum cn_code woken, struct cn_err *err)
{
    trial->lost = true;
    if (woken == CN_UNAVAILABLE) {
        return s_undone(trial, CN_UNAVAILABLE, "this process is stopping", err);
    }
    return cn_fail(err, CN_DEADLINE, "%s: no answer in time",
                   s_service_name(trial));
}

/* The replica answered CN_BUSY and did nothing, so even a write may go to
 * another one. A full replica is asked only once; for one that is stopping the
 * call waits until another takes its place. True: the call is to be sent again
 * and is assigned to another replica or to none. */
static bool s_refused(struct trial *trial,
                      struct bus_replica *replica,
                      uint32_t bit,
                      enum cn_code *ret_rc,
                      struct cn_err *err)
{
    struct bus_op *op = trial->op;
    if (trial->leaves) {
        bus_stops(trial->service, replica);
    } else {
        op->full |= bit;
    }
    if (trial->sends < SENDS_MAX) {
        struct bus_replica *other = bus_pick(trial->service, op);
        if (other != NULL) {
            bus_assign(op, other);
            return true;
        }
        if (trial->leaves) {
            return true;
        }
    }
    if (trial->lost && s_may_change(trial->call)) {
        *ret_rc = s_undone(trial, CN_UNKNOWN, "its replica died", err);
    }
    return false;
}

/* Waits for the outcome of what was sent. True: the call is to be sent again
 * and is assigned to another replica or to none. */
static bool s_outcome_await(struct trial *trial,
                            struct cn_bus_reply *ret_reply,
                            enum cn_code *ret_rc,
                            struct cn_err *err)
{
    struct bus_op *op = trial->op;
    struct bus_replica *replica = op->replica;
    uint32_t bit = replica != NULL ? replica->bit : 0;
    if (op->state == BUS_CALL_ASSIGNED) {
        op->token = cn_fiber_token();
        *ret_rc = cn_fiber_park(trial->deadline_at);
    }
    if (op->state == BUS_CALL_ASSIGNED) {
        bus_op_leave(trial->service, op);
        *ret_rc = s_unanswered(trial, *ret_rc, err);
        return false;
    }
    if (op->state == BUS_CALL_LOST) {
        trial->lost = trial->lost || op->sent;
        trial->losses += op->sent ? 1 : 0;
        if (!op->sent || s_may_repeat(trial)) {
            return true;
        }
        *ret_rc = s_undone(trial, CN_UNAVAILABLE, "its replica died", err);
        return false;
    }
    assert(op->state == BUS_CALL_ANSWERED);
    *ret_rc = s_reply_read(trial, ret_reply, err);
    bus_op_drop_reply(op);
    return *ret_rc == CN_BUSY && s_refused(trial, replica, bit, ret_rc, err);
}

static enum cn_code s_trial_run(struct trial *trial,
                                struct cn_bus_reply *ret_reply,
                                struct cn_err *err)
{
    int64_t wait_until = s_wait_until(trial);
    enum cn_code rc = CN_OK;
    bool again = true;
    while (again) {
        if (trial->op->state != BUS_CALL_ASSIGNED) {
            rc = s_acquire(trial, wait_until, err);
        }
        if (rc == CN_OK && trial->op->state == BUS_CALL_ASSIGNED) {
            trial->bus->stats.repeats += trial->sends > 0 ? 1 : 0;
            rc = s_call_send(trial, err);
        }
        if (rc != CN_OK) {
            return rc;
        }
        again = s_outcome_await(trial, ret_reply, &rc, err);
        if (again) {
            rc = CN_OK;
            cn_err_clear(err);
        }
        if (again && trial->op->sent) {
            wait_until = s_wait_until(trial);
        }
    }
    return rc;
}

enum cn_code cn_bus_call(struct cn_bus *self,
                         struct cn_arena *arena,
                         const struct cn_bus_call *call,
                         struct cn_bus_reply *ret_reply,
                         struct cn_err *err)
{
    int64_t now = cn_clock_monotonic();
    struct bus_service *service = bus_service_find(self, call->service);
    int64_t budget_us = call->budget_us;
    assert(cn_fiber_running());
    if (cn_arena_failed(arena)) {
        return cn_fail(err, CN_NOMEM, "%s: nothing was sent", call->service);
    }
    if (service == NULL) {
        return cn_fail(err, CN_UNAVAILABLE, "%s has no endpoint",
                       call->service);
    }
    if (call->body.size > CN_MESSAGE_SIZE_MAX) {
        return cn_fail(err, CN_TOO_LARGE, "the body is larger than %d bytes",
                       CN_MESSAGE_SIZE_MAX);
    }
    if (budget_us > cn_fiber_deadline() - now) {
        budget_us = cn_fiber_deadline() - now;
    }
    if (budget_us > BUS_BUDGET_MAX) {
        budget_us = BUS_BUDGET_MAX;
    }
    if (budget_us <= 0) {
        return cn_fail(err, CN_DEADLINE, "%s: no budget is left",
                       call->service);
    }
    struct trial trial = { .bus = self,
                           .service = service,
                           .op = bus_op_take(self),
                           .arena = arena,
                           .call = call,
                           .deadline_at = now + budget_us,
                           .half_at = now + budget_us / 2 };
    if (trial.op == NULL) {
        return cn_fail(err, CN_BUSY, "too many calls are under way");
    }
    trial.op->long_poll = call->long_poll;
    trial.op->token = cn_fiber_token();
    enum cn_code rc = s_trial_run(&trial, ret_reply, err);
    bus_op_give(service, trial.op);
    return rc;
}

enum cn_code cn_bus_ask(struct cn_bus *self,
                        struct cn_arena *arena,
                        struct cn_bus_call *call,
                        const ProtobufCMessage *request,
                        const ProtobufCMessageDescriptor *reply,
                        const ProtobufCMessage **ret_message,
                        struct cn_err *err)
{
    struct cn_bus_reply answer = { 0 };
    enum cn_code rc = cn_message_pack(arena, request, &call->body, err);
    if (rc == CN_OK) {
        rc = cn_bus_call(self, arena, call, &answer, err);
    }
    return rc == CN_OK
               ? cn_message_unpack(arena, reply, answer.body, ret_message, err)
               : rc;
}
