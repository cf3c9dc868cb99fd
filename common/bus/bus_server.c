/* SPDX-License-Identifier: Apache-2.0 */
/* The serving side of the bus: requests and replies. */
#include "common/bus/bus_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Longer than the names of methods, keys and traces that we make. */
enum { TEXT_MAX = 256, PARTS_MAX = 256 };

/* --- replies --- */

static void s_error_fields(const struct cn_err *err,
                           Env__FieldError fields[CN_ERR_FIELDS_MAX],
                           Env__FieldError *list[CN_ERR_FIELDS_MAX],
                           Env__ReplyHeader *header)
{
    for (unsigned i = 0; i < err->field_count && i < CN_ERR_FIELDS_MAX; i++) {
        env__field_error__init(&fields[i]);
        fields[i].pointer = err->fields[i].pointer;
        fields[i].word = err->fields[i].word;
        fields[i].message = err->fields[i].msg;
        list[i] = &fields[i];
        header->n_fields = i + 1;
    }
    header->fields = list;
}

/* From reply->err for a failure, else from the rest of the reply. */
static void s_reply_header(const struct cn_bus_reply *reply,
                           bool stopping,
                           Env__ReplyHeader *header)
{
    bool failed = reply->err.code != CN_OK;
    int64_t version = failed ? reply->err.version : reply->version;
    header->has_code = true;
    header->code = (int32_t)reply->err.code;
    header->has_stopping = failed && stopping;
    header->stopping = header->has_stopping;
    if (version != 0) {
        header->has_version = true;
        header->version = version;
    }
    if (failed) {
        header->word = reply->err.word;
        header->message = reply->err.msg;
        header->location =
            reply->err.location[0] != '\0' ? reply->err.location : NULL;
        return;
    }
    header->location = reply->location;
    header->has_status = reply->status != 0;
    header->status = reply->status;
    header->has_updated_at = reply->updated_at != 0;
    header->updated_at = reply->updated_at;
    header->has_replayed = reply->replayed;
    header->replayed = reply->replayed;
}

/* Counts a reply that was not sent. Its caller notices by its deadline or its
 * ping. */
static void s_count_unsent(struct cn_bus *self)
{
    if (errno == EHOSTUNREACH) {
        self->stats.vanished++;
    } else {
        self->stats.full++;
    }
}

static void s_reply_send(struct cn_bus *self,
                         const void *routing,
                         size_t routing_size,
                         const Env__ReplyHeader *header,
                         struct cn_bytes body)
{
    zmq_msg_t frames[3];
    if (!bus_frame_bytes(&frames[0], routing, routing_size)) {
        self->stats.full++;
        return;
    }
    if (!bus_frame_pack(&frames[1], &header->base)) {
        bus_frames_close(frames, 1);
        self->stats.full++;
        return;
    }
    if (!bus_frame_bytes(&frames[2], body.data, body.size)) {
        bus_frames_close(frames, 2);
        self->stats.full++;
        return;
    }
    bus_socket_touch(&self->router);
    for (size_t i = 0; i < 3; i++) {
        if (!bus_send(&self->router, &frames[i], i < 2)) {
            s_count_unsent(self);
            bus_frames_close(&frames[i + 1], 2 - i);
            return;
        }
    }
    self->stats.replies++;
    self->replied_at = cn_clock_monotonic();
}

static void s_reply_frames(struct cn_bus *self,
                           const void *routing,
                           size_t routing_size,
                           uint64_t id,
                           const struct cn_bus_reply *reply)
{
    Env__ReplyHeader header = ENV__REPLY_HEADER__INIT;
    Env__FieldError fields[CN_ERR_FIELDS_MAX];
    Env__FieldError *list[CN_ERR_FIELDS_MAX];
    struct cn_bytes body = { 0 };
    header.has_id = true;
    header.id = id;
    s_reply_header(reply, cn_loop_stopping(self->env->loop), &header);
    if (reply->err.code == CN_OK) {
        body = reply->body;
    } else {
        s_error_fields(&reply->err, fields, list, &header);
    }
    s_reply_send(self, routing, routing_size, &header, body);
}

static void s_request_refuse(struct cn_bus *self,
                             zmq_msg_t *routing,
                             uint64_t id,
                             const struct cn_err *err)
{
    struct cn_bus_reply reply = { .err = *err };
    s_reply_frames(self, zmq_msg_data(routing), zmq_msg_size(routing), id,
                   &reply);
}

void cn_bus_reply_send(struct cn_bus *self,
                       struct cn_bus_return *back,
                       const struct cn_bus_reply *reply)
{
    assert(back->open);
    if (reply->err.code == CN_OK && reply->body.size > CN_MESSAGE_SIZE_MAX) {
        /* The peer would close the connection, and lose all calls on it. */
        struct cn_bus_reply large = { 0 };
        (void)cn_fail(&large.err, CN_TOO_LARGE,
                      "the reply is larger than %d bytes", CN_MESSAGE_SIZE_MAX);
        s_reply_frames(self, back->routing, back->routing_size, back->id,
                       &large);
    } else {
        s_reply_frames(self, back->routing, back->routing_size, back->id,
                       reply);
    }
    back->open = false;
    back->next_free = self->returns_free;
    self->returns_free = back;
    self->stats.serving--;
}

static void s_pong(struct cn_bus *self,
                   const void *routing,
                   size_t routing_size,
                   uint64_t id)
{
    Env__ReplyHeader header = ENV__REPLY_HEADER__INIT;
    bool leaving = cn_loop_leaving(self->env->loop);
    header.has_id = true;
    header.id = id;
    header.has_queue = true;
    header.queue = (uint32_t)self->stats.serving;
    header.has_healthy = true;
    header.healthy =
        !leaving && (self->healthy == NULL || self->healthy(self->healthy_arg));
    header.has_stopping = cn_loop_stopping(self->env->loop);
    header.stopping = header.has_stopping;
    self->stats.pings++;
    s_reply_send(self, routing, routing_size, &header, (struct cn_bytes){ 0 });
}

/* 0: it serves; 1: it serves, but callers should prefer others; 2: it takes no
 * more requests. */
static int s_phase(const struct cn_bus *self)
{
    return (cn_loop_leaving(self->env->loop) ? 1 : 0) +
           (cn_loop_stopping(self->env->loop) ? 1 : 0);
}

/* Tells the phase to all callers, so that they need not learn it by a refusal
 * or by their next ping. */
static void s_pong_all(struct cn_bus *self)
{
    int64_t since = cn_clock_monotonic() - CN_SECOND;
    for (size_t i = 0; i < self->caller_count; i++) {
        const struct bus_caller *caller = &self->callers[i];
        if (caller->seen_at >= since && caller->ping != 0) {
            s_pong(self, caller->routing, caller->routing_size, caller->ping);
        }
    }
}

/* --- requests --- */

static bool s_uuid_read(protobuf_c_boolean has,
                        ProtobufCBinaryData data,
                        struct cn_uuid *ret_id)
{
    if (!has) {
        memset(ret_id, 0, sizeof(*ret_id));
        return true;
    }
    return cn_message_uuid(has, data, ret_id);
}

static const char *s_or_empty(const char *text)
{
    return text != NULL ? text : "";
}

static enum cn_code s_principal_read(const Env__Principal *wire,
                                     struct cn_arena *arena,
                                     struct cn_principal *ret_principal,
                                     struct cn_err *err)
{
    struct cn_principal principal = { .subject = s_or_empty(wire->subject),
                                      .role = s_or_empty(wire->role),
                                      .scope_count = wire->n_scopes,
                                      .branch_count = wire->n_branches };
    if (wire->n_branches > PARTS_MAX || wire->n_scopes > PARTS_MAX ||
        !s_uuid_read(wire->has_tenant_id, wire->tenant_id,
                     &principal.tenant_id) ||
        !s_uuid_read(wire->has_branch_id, wire->branch_id,
                     &principal.branch_id)) {
        return cn_fail(err, CN_MALFORMED, "the principal cannot be read");
    }
    struct cn_uuid *branches =
        cn_arena_array(arena, wire->n_branches + 1, sizeof(*branches));
    for (size_t i = 0; i < wire->n_branches; i++) {
        if (!s_uuid_read(true, wire->branches[i], &branches[i])) {
            return cn_fail(err, CN_MALFORMED, "a branch cannot be read");
        }
    }
    principal.branches = branches;
    principal.scopes = (const char *const *)wire->scopes;
    *ret_principal = principal;
    return CN_OK;
}

static bool s_text_fits(const char *text)
{
    return text == NULL || strlen(text) <= TEXT_MAX;
}

/* Fills all but back. Texts stay in the arena that the header was unpacked
 * into. */
static enum cn_code s_request_read(const struct bus_peer *peer,
                                   const Env__RequestHeader *header,
                                   int64_t age_us,
                                   struct cn_bus_request *request,
                                   struct cn_err *err)
{
    int64_t budget_us =
        header->has_budget_us && header->budget_us > 0 ? header->budget_us : 0;
    if (budget_us > BUS_BUDGET_MAX) {
        budget_us = BUS_BUDGET_MAX;
    }
    budget_us -= age_us;
    if (header->method == NULL || !s_text_fits(header->method) ||
        !s_text_fits(header->request_id) || !s_text_fits(header->trace) ||
        !s_text_fits(header->idempotency_key)) {
        return cn_fail(err, CN_MALFORMED, "the header cannot be read");
    }
    if (budget_us <= 0) {
        return cn_fail(err, CN_DEADLINE, "the budget was spent on the way");
    }
    request->peer = peer->name;
    request->front = peer->front;
    request->names_principal = header->principal != NULL;
    request->method = header->method;
    request->deadline_at = cn_clock_monotonic() + budget_us;
    request->request_id = s_or_empty(header->request_id);
    request->trace = s_or_empty(header->trace);
    request->idempotency_key = header->idempotency_key;
    request->has_client_key = header->has_client_key && header->client_key;
    request->has_expected_version = header->has_expected_version;
    request->expected_version = header->expected_version;
    request->other_versions = header->other_versions;
    request->other_count = header->n_other_versions;
    request->principal.subject = peer->name;
    request->principal.role = "";
    /* A peer that is not a front could otherwise act as anybody. */
    if (peer->front && header->principal != NULL) {
        return s_principal_read(header->principal, request->arena,
                                &request->principal, err);
    }
    return CN_OK;
}

static enum cn_code
s_admit(struct cn_bus *self, int64_t age_us, struct cn_err *err)
{
    if (cn_loop_stopping(self->env->loop)) {
        return cn_fail(err, CN_BUSY, "%s is stopping", self->name);
    }
    if (age_us >= BUS_STALE_US) {
        /* Its caller has taken us for down and asked another replica. */
        self->stats.stale++;
        return cn_fail(err, CN_BUSY, "the request is too old");
    }
    if (self->returns_free == NULL) {
        return cn_fail(err, CN_BUSY, "%s serves %u requests at once",
                       self->name, self->queue_max);
    }
    return CN_OK;
}

static struct cn_bus_return *
s_return_take(struct cn_bus *self, zmq_msg_t *routing, uint64_t id)
{
    struct cn_bus_return *back = self->returns_free;
    self->returns_free = back->next_free;
    self->stats.serving++;
    back->open = true;
    back->id = id;
    back->routing_size = (uint8_t)zmq_msg_size(routing);
    memcpy(back->routing, zmq_msg_data(routing), back->routing_size);
    return back;
}

enum { FRAME_ROUTING, FRAME_HEADER, FRAME_BODY, FRAME_COUNT };

/* Takes the body's frame. On failure the caller frees the arena. */
static enum cn_code s_request_accept(struct cn_bus *self,
                                     const struct bus_peer *peer,
                                     const Env__RequestHeader *header,
                                     struct cn_arena *arena,
                                     zmq_msg_t *frames,
                                     struct cn_err *err)
{
    struct cn_bus_request *request = cn_arena_alloc(arena, sizeof(*request));
    int64_t age_us = bus_age(self, &frames[FRAME_ROUTING], header);
    enum cn_code rc = s_admit(self, age_us, err);
    if (rc != CN_OK) {
        self->stats.busy++;
        return rc;
    }
    request->arena = arena;
    rc = s_request_read(peer, header, age_us, request, err);
    if (rc != CN_OK) {
        self->stats.expired += rc == CN_DEADLINE ? 1 : 0;
        return rc;
    }
    bool kept = bus_frame_keep(&frames[FRAME_BODY], arena, &request->body);
    (void)zmq_msg_init(&frames[FRAME_BODY]);
    if (!kept) {
        return cn_fail(err, CN_NOMEM, "no memory for the request");
    }
    request->back = s_return_take(self, &frames[FRAME_ROUTING], header->id);
    self->stats.requests++;
    self->on_request(self->on_request_arg, request);
    return CN_OK;
}

/* NULL: the message cannot be answered, or its peer is not known. */
static const struct bus_peer *s_sender(const struct cn_bus *self,
                                       zmq_msg_t *frames,
                                       size_t count,
                                       uint64_t *ret_id)
{
    if (count != FRAME_COUNT ||
        zmq_msg_size(&frames[FRAME_ROUTING]) > BUS_ROUTING_MAX ||
        zmq_msg_size(&frames[FRAME_BODY]) > CN_MESSAGE_SIZE_MAX ||
        !bus_id_peek(bus_frame_view(&frames[FRAME_HEADER]), ret_id)) {
        return NULL;
    }
    /* The name is the one in our answer to ZAP. */
    return bus_peer_find(self, zmq_msg_gets(&frames[FRAME_HEADER], "User-Id"));
}

/* NULL with err set when it cannot be read. */
static const Env__RequestHeader *s_header_read(struct cn_arena *arena,
                                               zmq_msg_t *frame,
                                               uint64_t id,
                                               struct cn_err *err)
{
    const ProtobufCMessage *message = NULL;
    if (arena == NULL) {
        (void)cn_fail(err, CN_NOMEM, "no memory for the request");
        return NULL;
    }
    if (cn_message_unpack(arena, &env__request_header__descriptor,
                          bus_frame_view(frame), &message, err) != CN_OK) {
        (void)cn_wrap(err, "header");
        return NULL;
    }
    const Env__RequestHeader *header = (const Env__RequestHeader *)message;
    if (header->id != id) {
        (void)cn_fail(err, CN_MALFORMED, "header: two ids");
        return NULL;
    }
    return header;
}

static void s_receive(struct cn_bus *self, zmq_msg_t *frames, size_t count)
{
    uint64_t id = 0;
    const struct bus_peer *peer = s_sender(self, frames, count, &id);
    struct cn_err err = { 0 };
    if (peer == NULL) {
        self->stats.malformed++;
        return;
    }
    struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    const Env__RequestHeader *header =
        s_header_read(arena, &frames[FRAME_HEADER], id, &err);
    if (header != NULL && header->has_ping && header->ping) {
        (void)bus_age(self, &frames[FRAME_ROUTING], header);
        s_pong(self, zmq_msg_data(&frames[FRAME_ROUTING]),
               zmq_msg_size(&frames[FRAME_ROUTING]), id);
    } else if (header != NULL && s_request_accept(self, peer, header, arena,
                                                  frames, &err) == CN_OK) {
        arena = NULL; /* the receiver frees it */
    }
    if (err.code != CN_OK) {
        self->stats.malformed += err.code == CN_MALFORMED ? 1 : 0;
        s_request_refuse(self, &frames[FRAME_ROUTING], id, &err);
    }
    cn_arena_free(arena);
}

static bool s_router_drain(struct cn_bus *self)
{
    bool worked = false;
    for (unsigned i = 0; i < BUS_DRAIN_MAX && self->router.dirty; i++) {
        zmq_msg_t frames[FRAME_COUNT];
        size_t count = bus_receive(&self->router, frames, FRAME_COUNT);
        if (count == 0) {
            self->router.dirty = false;
            break;
        }
        s_receive(self, frames, count);
        bus_frames_close(frames, count < FRAME_COUNT ? count : FRAME_COUNT);
        worked = true;
    }
    return worked;
}

bool bus_server_drain(struct cn_bus *self)
{
    bool shaken = bus_zap_drain(self);
    if (self->on_request == NULL) {
        return shaken;
    }
    if (self->told != s_phase(self)) {
        self->told = s_phase(self);
        s_pong_all(self);
    }
    return s_router_drain(self) || shaken;
}

/* --- life --- */

static enum cn_code
s_router_bind(struct cn_bus *self, const char *address, struct cn_err *err)
{
    size_t size = sizeof(self->address);
    if (zmq_bind(self->router.zmq, address) != 0) {
        return cn_fail(err, CN_UNAVAILABLE, "bind %s: %s", address,
                       zmq_strerror(zmq_errno()));
    }
    if (zmq_getsockopt(self->router.zmq, ZMQ_LAST_ENDPOINT, self->address,
                       &size) != 0) {
        return cn_fail(err, CN_INTERNAL, "bind %s: %s", address,
                       zmq_strerror(zmq_errno()));
    }
    enum cn_code rc = bus_socket_watch(&self->router, err);
    if (rc == CN_OK) {
        /* Peers ping already. Nobody reads it before cn_bus_serve, and the loop
         * must not turn for it meanwhile. */
        cn_loop_watch_events(self->router.watch, 0);
    }
    return rc;
}

/* "tcp://[::1]:7001", or "*", which means IPv4 and IPv6; on a machine without
 * IPv6 libzmq then takes IPv4 alone. */
static bool s_is_ipv6(const char *address)
{
    return strncmp(address, "tcp://[", 7) == 0 ||
           strncmp(address, "tcp://*:", 8) == 0;
}

enum cn_code bus_server_init(struct cn_bus *self,
                             const struct cn_bus_config *config,
                             struct cn_err *err)
{
    unsigned max = config->queue_max;
    self->queue_max =
        max == 0 || max > CN_BUS_QUEUE_MAX ? CN_BUS_QUEUE_MAX : max;
    self->returns = calloc(self->queue_max, sizeof(*self->returns));
    self->callers = calloc(BUS_CALLERS_MAX, sizeof(*self->callers));
    if (self->returns == NULL || self->callers == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory for the bus");
    }
    for (unsigned i = self->queue_max; i > 0; i--) {
        self->returns[i - 1].next_free = self->returns_free;
        self->returns_free = &self->returns[i - 1];
    }
    enum cn_code rc = bus_zap_init(self, err);
    if (rc == CN_OK) {
        rc = bus_socket_open(self, &self->router, ZMQ_ROUTER, NULL, err);
    }
    if (rc == CN_OK && s_is_ipv6(config->bind)) {
        rc = bus_socket_ipv6(&self->router, err);
    }
    return rc == CN_OK ? s_router_bind(self, config->bind, err) : rc;
}

/* A peer drops the replies that its loop has not read when the connection ends:
 * the last reply gets the time that a busy machine needs to read it. */
static void s_reply_settles(const struct cn_bus *self)
{
    enum { SETTLE_US = 250000 };
    int64_t left_us = self->replied_at + SETTLE_US - cn_clock_monotonic();
    if (self->replied_at != 0 && left_us > 0) {
        (void)zmq_poll(NULL, 0, (long)(left_us / 1000) + 1);
    }
}

void bus_server_done(struct cn_bus *self)
{
    const int linger_ms = 1000;
    if (self->router.zmq != NULL) {
        s_reply_settles(self);
        /* Time for the last replies to leave; a peer that does not read cannot
         * delay us longer. */
        (void)zmq_setsockopt(self->router.zmq, ZMQ_LINGER, &linger_ms,
                             sizeof(linger_ms));
    }
    bus_socket_close(&self->router);
    bus_socket_close(&self->zap);
    free(self->returns);
    self->returns = NULL;
    free(self->callers);
    self->callers = NULL;
}

void cn_bus_serve(struct cn_bus *self,
                  void (*on_request)(void *arg, struct cn_bus_request *request),
                  void *arg)
{
    assert(self->router.zmq != NULL && on_request != NULL);
    self->on_request = on_request;
    self->on_request_arg = arg;
    cn_loop_watch_events(self->router.watch, CN_READABLE);
    bus_socket_touch(&self->router);
}

void cn_bus_set_health(struct cn_bus *self,
                       bool (*healthy)(void *arg),
                       void *arg)
{
    self->healthy = healthy;
    self->healthy_arg = arg;
}

const char *cn_bus_address(const struct cn_bus *self)
{
    return self->address;
}
