/* SPDX-License-Identifier: Apache-2.0 */
/* Requests: from the bytes of a client to a fiber that works, and to the answer
 * that the library is asked for. */
#include "common/http/http.h"

#include "common/base/log.h"
#include "common/http/http_internal.h"
#include "common/loop/listen.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SWEEP_US      CN_SECOND
#define DRAIN_LOOK_US (CN_SECOND / 10)
/* At a stop: for a client that is about to send on a connection which it has
 * just used. */
#define DRAIN_IDLE_US (2 * CN_SECOND)

enum {
    BODY_FIRST = 4096,
    BODIES_MAX = 64 << 20, /* bytes of all bodies together */
    FILES_OF_A_CLIENT = 3, /* its socket and a pair */
    USED_PERCENT = 80      /* of the connections may have a request in flight */
};

static const char CONTINUE[] = "HTTP/1.1 100 Continue\r\n\r\n";

/* What the fiber of a request is given; in the request's arena. */
struct work {
    struct cn_http *http;
    size_t number;
    unsigned generation;
    struct cn_http_request *request;
};

void cn_http_field_add(struct cn_http_response *response,
                       const char *name,
                       const char *value)
{
    assert(response->field_count < CN_HTTP_FIELDS_MAX);
    response->fields[response->field_count++] =
        (struct cn_http_field){ name, value };
}

/* ---- slots ---- */

static struct slot *s_slot_take(struct cn_http *self, struct peer *peer)
{
    struct slot *slot = self->slots_free;
    struct cn_arena *arena =
        slot == NULL ? NULL : cn_arena_new(CN_ARENA_REQUEST_MAX);
    if (arena == NULL) {
        return NULL;
    }
    struct cn_http_request *request = cn_arena_alloc(arena, sizeof(*request));
    request->arena = arena;
    request->address = http_peer_address(peer, arena);
    self->slots_free = slot->next_free;
    *slot = (struct slot){ .generation = slot->generation,
                           .state = SLOT_READING,
                           .http = self,
                           .peer = peer,
                           .arena = arena,
                           .request = request };
    peer->slot = slot;
    self->used++;
    return slot;
}

void http_slot_free(struct slot *slot)
{
    struct cn_http *self = slot->http;
    struct peer *peer = slot->peer;
    cn_arena_free(slot->arena);
    http_answer_drop(slot->response);
    http_source_close(&slot->source);
    cn_loop_cancel(slot->turn);
    peer->slot = NULL;
    peer->drop = slot->drop;
    peer->deadline_at = self->draining ? self->idle_until_at
                                       : cn_clock_monotonic() + HTTP_IDLE_US;
    self->body_memory -= slot->body_memory;
    slot->body_memory = 0;
    slot->arena = NULL;
    slot->response = NULL;
    slot->request = NULL;
    slot->turn = NULL;
    slot->state = SLOT_FREE;
    slot->generation++;
    slot->next_free = self->slots_free;
    self->slots_free = slot;
    self->used--;
    http_peer_settle(peer);
}

void http_gone(struct peer *peer)
{
    if (peer->slot != NULL && peer->slot->state != SLOT_WRITING) {
        http_slot_free(peer->slot);
    }
}

/* Answers a request that never gets to a fiber, and ends the connection: the
 * rest of the request has not been read. */
static void s_slot_refuse(struct slot *slot, const struct cn_err *err)
{
    struct cn_http *self = slot->http;
    struct cn_http_response response = { 0 };
    slot->closes = true;
    if (slot->drop == 0) {
        slot->drop = HTTP_DROP_FEW;
    }
    self->config.refuse(self->config.arg, slot->request, err, &response);
    slot->response = http_answer_make(self, slot, &response);
    slot->status = response.status;
    slot->stranger = response.stranger;
    cn_arena_free(slot->arena);
    slot->arena = NULL;
    slot->request = NULL;
    http_answer_ask(slot);
}

/* ---- the work ---- */

/* The slot of a fiber's request; NULL when the client has left. */
static struct slot *s_work_slot(const struct work *work)
{
    struct slot *slot = &work->http->slots[work->number];
    return slot->generation == work->generation ? slot : NULL;
}

/* The fiber's answer; it is dropped when the client has left. */
static void s_answer_pass(const struct work *work,
                          struct cn_http_response *from)
{
    static struct slot nobody;
    struct cn_http *self = work->http;
    struct slot *slot = s_work_slot(work);
    struct cn_http_source source = { 0 };
    if (from->source != NULL) {
        source = *from->source;
    }
    struct MHD_Response *response =
        http_answer_make(self, slot != NULL ? slot : &nobody, from);
    if (slot == NULL || response == NULL) {
        http_source_close(&source);
    }
    if (slot == NULL) {
        http_answer_drop(response);
        return;
    }
    struct peer *peer = slot->peer;
    slot->response = response;
    slot->status = from->status;
    slot->stranger = from->stranger;
    slot->source = source;
    if (source.read != NULL) {
        *from->stream =
            (struct cn_http_stream){ self, work->number, work->generation };
    }
    http_answer_ask(slot);
    if (source.read != NULL && peer->eof) {
        http_peer_close(peer);
    } else if (source.read != NULL) {
        http_peer_go(peer); /* its end is looked for */
    }
}

static void s_request_work(void *arg)
{
    struct work *work = arg;
    struct cn_http *self = work->http;
    struct cn_http_response response = { 0 };
    cn_buffer_init(&response.body, CN_HTTP_RESPONSE_MAX);
    self->config.handle(self->config.arg, work->request, &response);
    self->working--;
    s_answer_pass(work, &response);
    cn_arena_free(work->request->arena);
}

/* The fiber has the arena, in which work and request lie. */
static enum cn_code s_spawn(struct slot *slot,
                            void (*run)(void *arg),
                            enum slot_state state,
                            struct cn_err *err)
{
    struct cn_http *self = slot->http;
    struct work *work = cn_arena_alloc(slot->arena, sizeof(*work));
    if (self->working >= self->working_max) {
        return cn_fail(err, CN_BUSY, "too many requests in flight");
    }
    if (cn_arena_failed(slot->arena)) {
        return cn_fail(err, CN_NOMEM, "no memory");
    }
    *work = (struct work){ self, (size_t)(slot - self->slots), slot->generation,
                           slot->request };
    slot->request->came_at = cn_clock_monotonic();
    enum cn_code rc =
        cn_fiber_spawn(self->env->loop, run, work,
                       slot->request->came_at + self->config.timeout_us, err);
    if (rc == CN_OK) {
        slot->state = state;
        slot->arena = NULL;
        slot->request = NULL;
        slot->peer->deadline_at = INT64_MAX;
        self->working++;
    }
    return rc;
}

/* The request has come whole: the fiber has a deadline and answers 504 when it
 * passes. */
static void s_dispatch(struct slot *slot)
{
    struct cn_err err = { 0 };
    if (s_spawn(slot, s_request_work, SLOT_WORKING, &err) != CN_OK) {
        s_slot_refuse(slot, &err);
    }
}

/* ---- the head ---- */

/* Splits the query at '&' and '='; spaces stand for '+'. */
static bool s_query_split(struct cn_http_request *request, const char *query)
{
    char *text = cn_arena_strdup(request->arena, query);
    while (text != NULL && *text != '\0') {
        char *next = strchr(text, '&');
        if (next != NULL) {
            *next++ = '\0';
        }
        for (char *at = strchr(text, '+'); at != NULL; at = strchr(at, '+')) {
            *at = ' ';
        }
        char *value = strchr(text, '=');
        if (value != NULL) {
            *value++ = '\0';
        }
        if (request->query_count == CN_HTTP_QUERY_MAX) {
            return false;
        }
        request->query[request->query_count++] =
            (struct cn_http_parameter){ text, value == NULL ? "" : value };
        text = next;
    }
    return true;
}

static enum cn_code s_head_read(struct slot *slot,
                                const char *data,
                                size_t size,
                                struct cn_framing *ret_framing,
                                struct cn_err *err)
{
    struct cn_http_request *request = slot->request;
    struct cn_framing_head head = { 0 };
    char *text = cn_arena_strndup(slot->arena, data, size);
    if (cn_arena_failed(slot->arena)) {
        return cn_fail(err, CN_NOMEM, "no memory");
    }
    enum cn_code rc = cn_head_cut(text, &head, err);
    if (rc != CN_OK) {
        return rc;
    }
    slot->is_head = strcmp(head.method, "HEAD") == 0;
    slot->is_old = strcmp(head.version, "HTTP/1.0") == 0;
    rc = cn_framing_check(&head, slot->arena, ret_framing, err);
    if (rc == CN_MALFORMED) {
        return rc;
    }
    if (!s_query_split(request, head.query)) {
        return cn_fail(err, CN_MALFORMED, "too many query parameters");
    }
    request->method = head.method;
    request->path = head.path;
    memcpy(request->headers, ret_framing->headers, sizeof(request->headers));
    return cn_arena_failed(slot->arena) ? cn_fail(err, CN_NOMEM, "no memory")
                                        : rc;
}

static void s_body_await(struct slot *slot)
{
    struct peer *peer = slot->peer;
    slot->state = SLOT_READING;
    peer->deadline_at = cn_clock_monotonic() + HTTP_BODY_US;
    if (slot->waits && peer->kept.size == 0) {
        http_peer_send(peer, CONTINUE, sizeof(CONTINUE) - 1);
    }
}

/* The fiber that asks whether the body may come. */
static void s_request_judge(void *arg)
{
    struct work *work = arg;
    struct cn_http *self = work->http;
    struct cn_arena *arena = work->request->arena;
    struct cn_err err = { 0 };
    struct cn_uuid payer = { 0 };
    enum cn_code rc =
        self->config.admit(self->config.arg, work->request, &payer, &err);
    struct slot *slot = s_work_slot(work);
    self->working--;
    if (slot == NULL) {
        cn_arena_free(arena);
        return;
    }
    struct peer *peer = slot->peer;
    slot->arena = arena;
    slot->request = work->request;
    if (rc != CN_OK) {
        s_slot_refuse(slot, &err);
        return;
    }
    slot->payer = payer;
    slot->drop = HTTP_DROP_MAX;
    s_body_await(slot);
    http_peer_go(peer);
}

/* One agency may take as much of the room as it leaves free. So there is always
 * room for another. */
static bool s_room_for(const struct slot *slot, size_t size)
{
    const struct cn_http *self = slot->http;
    size_t own = self->body_memory;
    if (own + 2 * size <= BODIES_MAX - self->body_memory) {
        return true; /* whoever has it */
    }
    own = 0;
    for (size_t i = 0; i < self->slot_count; i++) {
        const struct slot *other = &self->slots[i];
        if (other->body_memory > 0 &&
            cn_uuid_equal(other->payer, slot->payer)) {
            own += other->body_memory;
        }
    }
    return own + 2 * size <= BODIES_MAX - self->body_memory;
}

/* The head is read. A body that has come with it, while there is room for those
 * without a name, costs nothing more; any other is read only from whom it may
 * come. */
static void s_request_begin(struct slot *slot,
                            const struct cn_framing *framing,
                            size_t has_come)
{
    struct cn_err err = { 0 };
    bool has_body = framing->chunked || framing->body_size > 0;
    slot->closes = framing->closes;
    slot->waits = framing->waits && has_come == 0;
    slot->announced = framing->body_size;
    cn_body_begin(&slot->reader, framing);
    if (framing->body_size > CN_HTTP_BODY_MAX) {
        (void)cn_fail(&err, CN_TOO_LARGE, "the body is over %d bytes",
                      CN_HTTP_BODY_MAX);
        slot->drop = framing->body_size > HTTP_DROP_MAX ? 0 : HTTP_DROP_MAX;
        s_slot_refuse(slot, &err);
    } else if (!has_body) {
        s_dispatch(slot);
    } else if (slot->http->config.admit == NULL ||
               (!framing->chunked && has_come >= framing->body_size &&
                s_room_for(slot, (size_t)framing->body_size))) {
        s_body_await(slot);
    } else if (s_spawn(slot, s_request_judge, SLOT_JUDGING, &err) != CN_OK) {
        s_slot_refuse(slot, &err);
    }
}

/* Refuses what cannot be read: nothing may read a head that was not kept. */
static void s_refuse_head(struct slot *slot, const struct cn_err *err)
{
    if (err->code == CN_MALFORMED || err->code == CN_NOMEM) {
        *slot->request = (struct cn_http_request){ .arena = slot->arena };
    }
    s_slot_refuse(slot, err);
}

static void s_head_fault(enum cn_head_state state, struct cn_err *err)
{
    if (state == CN_HEAD_TOO_LONG) {
        (void)cn_fail_as(err, CN_TOO_LARGE, "uri_too_long",
                         "the first line is too long");
    } else if (state == CN_HEAD_TOO_LARGE) {
        (void)cn_fail_as(err, CN_TOO_LARGE, "head_too_large",
                         "the head is over %d bytes", CN_HEAD_MAX);
    } else {
        (void)cn_fail(err, CN_MALFORMED, "a line of the head is broken");
    }
}

/* The time for the head begins with its first byte. */
static void s_head_await(struct peer *peer)
{
    int64_t until_at = cn_clock_monotonic() + HTTP_HEAD_US;
    if (peer->deadline_at > until_at || peer->http->draining) {
        peer->deadline_at = until_at;
    }
}

static size_t s_head_take(struct peer *peer, const char *data, size_t size)
{
    struct cn_http *self = peer->http;
    struct cn_framing framing = { 0 };
    struct cn_err err = { 0 };
    bool fresh = peer->head.at == 0 && size > 0;
    enum cn_head_state state = cn_head_scan(&peer->head, data, size);
    if (state == CN_HEAD_MORE) {
        if (fresh) {
            s_head_await(peer);
        }
        return 0;
    }
    struct slot *slot = s_slot_take(self, peer);
    struct cn_head head = peer->head;
    peer->head = (struct cn_head){ 0 };
    if (slot == NULL) {
        http_peer_close(peer); /* without memory nothing else is left */
        return size;
    }
    if (state != CN_HEAD_WHOLE) {
        s_head_fault(state, &err);
        s_refuse_head(slot, &err);
        return size;
    }
    if (s_head_read(slot, data + head.begin, head.line - 2 - head.begin,
                    &framing, &err) != CN_OK) {
        s_refuse_head(slot, &err);
        return size;
    }
    s_request_begin(slot, &framing, size - head.at);
    return head.at;
}

void http_cut_short(struct peer *peer)
{
    struct cn_err err = { 0 };
    struct slot *slot =
        peer->slot != NULL ? peer->slot : s_slot_take(peer->http, peer);
    (void)cn_fail(&err, CN_MALFORMED, "the request ended before its end");
    cn_buffer_done(&peer->kept);
    peer->head = (struct cn_head){ 0 };
    if (slot == NULL) {
        http_peer_close(peer);
    } else {
        s_slot_refuse(slot, &err);
    }
}

/* ---- the body ---- */

static bool s_body_room(struct slot *slot, size_t size)
{
    if (size <= slot->body_capacity) {
        return true;
    }
    /* An announced length is believed only as far as bytes have come. */
    size_t capacity =
        slot->body_capacity == 0 ? BODY_FIRST : 2 * slot->body_capacity;
    if (capacity < size) {
        capacity = size;
    }
    if (slot->announced > 0 && capacity > slot->announced) {
        capacity = (size_t)slot->announced;
    }
    if (!s_room_for(slot, capacity)) {
        return false;
    }
    uint8_t *body = cn_arena_try(slot->arena, capacity);
    if (body == NULL) {
        return false;
    }
    slot->body_memory += capacity;
    slot->http->body_memory += capacity;
    if (slot->request->body.size > 0) {
        memcpy(body, slot->body, slot->request->body.size);
    }
    slot->body = body;
    slot->body_capacity = capacity;
    return true;
}

static enum cn_code
s_body_keep(struct slot *slot, struct cn_bytes piece, struct cn_err *err)
{
    struct cn_bytes *body = &slot->request->body;
    size_t size = body->size + piece.size;
    if (piece.size == 0) {
        return CN_OK;
    }
    if (size > CN_HTTP_BODY_MAX) {
        return cn_fail(err, CN_TOO_LARGE, "the body is over %d bytes",
                       CN_HTTP_BODY_MAX);
    }
    if (!s_body_room(slot, size)) {
        return cn_fail(err, CN_BUSY, "too many bodies at once");
    }
    memcpy(slot->body + body->size, piece.data, piece.size);
    body->data = slot->body;
    body->size = size;
    return CN_OK;
}

static size_t s_body_take(struct slot *slot, const char *data, size_t size)
{
    struct cn_bytes piece = { 0 };
    struct cn_err err = { 0 };
    size_t used = 0;
    enum cn_body_state state =
        cn_body_read(&slot->reader, data, size, &used, &piece);
    enum cn_code rc = s_body_keep(slot, piece, &err);
    if (rc == CN_OK && state == CN_BODY_BROKEN) {
        rc = cn_fail(&err, CN_MALFORMED, "the chunks cannot be read");
    }
    if (rc != CN_OK) {
        s_slot_refuse(slot, &err);
        return size;
    }
    if (state == CN_BODY_WHOLE) {
        slot->drop = 0;
        s_dispatch(slot);
    }
    return used;
}

size_t http_take(struct peer *peer, const char *data, size_t size)
{
    size_t used = 0;
    for (size_t took = 1; took > 0;) {
        if (peer->fd < 0 || peer->ending) {
            return size;
        }
        took = 0;
        if (peer->slot != NULL && peer->slot->state == SLOT_READING) {
            took = s_body_take(peer->slot, data + used, size - used);
        } else if (peer->slot == NULL && peer->out.size == 0) {
            took = s_head_take(peer, data + used, size - used);
        }
        used += took;
    }
    return used;
}

/* ---- the stop ---- */

/* Answers what is in flight, and what comes within a moment on connections that
 * are open, with "Connection: close": a client that was about to ask is told,
 * not cut off. */
static void s_drain(struct cn_http *self)
{
    int64_t now_at = cn_clock_monotonic();
    int64_t until_at = now_at + CN_HTTP_DRAIN_US;
    cn_fiber_set_deadline(until_at);
    self->draining = true;
    self->idle_until_at = now_at + DRAIN_IDLE_US;
    http_streams_end(self);
    for (struct peer *peer = self->peers; peer != NULL; peer = peer->next) {
        if (peer->slot == NULL) {
            peer->deadline_at = self->idle_until_at;
        }
    }
    http_door_close(self);
    while (self->peers != NULL && cn_clock_monotonic() < until_at) {
        self->drained = cn_fiber_token();
        enum cn_code rc = cn_fiber_park(cn_clock_monotonic() + DRAIN_LOOK_US);
        if (rc != CN_OK && rc != CN_DEADLINE) {
            break;
        }
        http_peers_sweep(self);
    }
    self->drained = (struct cn_token){ NULL, 0 };
    if (self->used > 0) {
        cn_log(CN_LOG_WARN, "stop: %u requests are cut off", self->used);
    }
}

/* With config.to_the_end a timer sweeps: a fiber would delay the loop's end. */
static void s_on_sweep(void *arg)
{
    struct cn_http *self = arg;
    self->sweeper = cn_loop_timer(
        self->env->loop, cn_clock_monotonic() + SWEEP_US, s_on_sweep, self);
    http_peers_sweep(self);
}

/* Ends connections that are past their deadline; at a stop, lets the requests
 * in flight end. */
static void s_connections_guard(void *arg)
{
    struct cn_http *self = arg;
    while (!cn_loop_stopping(self->env->loop)) {
        if (cn_fiber_sleep(SWEEP_US) == CN_OK) {
            http_peers_sweep(self);
        }
    }
    s_drain(self);
}

/* ---- the start ---- */

static enum cn_code s_guard_start(struct cn_http *self, struct cn_err *err)
{
    if (!self->config.to_the_end) {
        return cn_fiber_spawn(self->env->loop, s_connections_guard, self,
                              INT64_MAX, err);
    }
    s_on_sweep(self);
    return self->sweeper != NULL ? CN_OK : cn_fail(err, CN_NOMEM, "no memory");
}

static enum cn_code s_http_start(struct cn_http *self, struct cn_err *err)
{
    self->slots = calloc(self->slot_count, sizeof(*self->slots));
    if (self->slots == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory");
    }
    for (size_t i = self->slot_count; i > 0; i--) {
        self->slots[i - 1].next_free = self->slots_free;
        self->slots_free = &self->slots[i - 1];
    }
    cn_listen_raise_files(FILES_OF_A_CLIENT * (unsigned)self->slot_count);
    enum cn_code rc = http_library_start(self, err);
    if (rc == CN_OK) {
        rc = http_door_open(self, err);
    }
    return rc == CN_OK ? s_guard_start(self, err) : rc;
}

enum cn_code cn_http_new(struct cn_env *env,
                         const struct cn_http_config *config,
                         struct cn_http **ret_http,
                         struct cn_err *err)
{
    struct cn_http *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory");
    }
    self->env = env;
    self->config = *config;
    self->listener = -1;
    self->working_max = config->connections_max * USED_PERCENT / 100;
    self->slot_count = (size_t)config->connections_max + config->streams_max;
    enum cn_code rc = s_http_start(self, err);
    if (rc != CN_OK) {
        cn_http_free(self);
        return rc;
    }
    *ret_http = self;
    return CN_OK;
}

void cn_http_free(struct cn_http *self)
{
    if (self == NULL) {
        return;
    }
    if (self->sweeper != NULL) {
        cn_loop_cancel(self->sweeper);
    }
    self->draining = true;
    http_door_close(self);
    while (self->peers != NULL) {
        http_peer_close(self->peers);
    }
    http_library_stop(self);
    free(self->slots);
    free(self);
}

unsigned cn_http_port(const struct cn_http *self)
{
    return self->port;
}

unsigned cn_http_connections(const struct cn_http *self)
{
    return self->connections;
}

unsigned cn_http_in_flight(const struct cn_http *self)
{
    return self->working;
}
