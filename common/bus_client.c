/* SPDX-License-Identifier: Apache-2.0 */
/* The calling side of the bus: replicas, their health and choice, and the pool
 * of calls under way. What a call does with them is in bus_call.c. */
#include "common/bus_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An id is a counter above SLOT_BITS of the call's place in the pool. */
enum {
    SLOT_BITS = 16,
    SLOT_MASK = (1 << SLOT_BITS) - 1,
    SLOT_PING = SLOT_MASK
};
_Static_assert((int)BUS_CALLS_MAX < (int)SLOT_PING, "slots must fit");

static uint64_t s_id_new(struct cn_bus *self, unsigned slot)
{
    return ++self->ids << SLOT_BITS | slot;
}

uint64_t bus_op_renew(struct cn_bus *self, struct bus_op *op)
{
    op->id = s_id_new(self, (unsigned)(op - self->ops));
    return op->id;
}

/* --- calls in the pool --- */

struct bus_op *bus_op_take(struct cn_bus *self)
{
    struct bus_op *op = NULL;

    if (!bus_list_empty(&self->ops_free)) {
        op = (struct bus_op *)self->ops_free.next;
        bus_list_remove(&op->link);
    } else if (self->ops_used < BUS_CALLS_MAX) {
        op = &self->ops[self->ops_used++];
        bus_list_init(&op->link);
    }
    if (op != NULL) {
        op->id = 0;
        op->sent = false;
    }
    return op;
}

void bus_op_drop_reply(struct bus_op *op)
{
    if (op->state == BUS_CALL_ANSWERED) {
        (void)zmq_msg_close(&op->header);
        (void)zmq_msg_close(&op->body);
        op->state = BUS_CALL_FREE;
    }
}

/* Gives what is free to the calls that wait, in their order. */
static void s_grant(struct bus_service *service);

void bus_op_leave(struct bus_service *service, struct bus_op *op)
{
    struct bus_replica *replica = op->replica;

    if (op->state == BUS_CALL_WAITING) {
        service->waiting--;
        service->bus->stats.waiting--;
    }
    bus_list_remove(&op->link);
    op->state = BUS_CALL_FREE;
    op->replica = NULL;
    if (replica != NULL) {
        if (op->long_poll) {
            replica->polls--;
        } else {
            replica->outstanding--;
        }
        s_grant(service);
    }
}

void bus_op_give(struct bus_service *service, struct bus_op *op)
{
    bus_op_drop_reply(op);
    if (op->state == BUS_CALL_WAITING || op->state == BUS_CALL_ASSIGNED) {
        bus_op_leave(service, op);
    }
    op->state = BUS_CALL_FREE;
    op->id = 0; /* a late reply finds nothing */
    bus_list_append(&service->bus->ops_free, &op->link);
}

/* --- choosing a replica --- */

static unsigned s_load(const struct bus_replica *replica, bool long_poll)
{
    return long_poll ? replica->polls : replica->outstanding;
}

struct bus_replica *bus_pick(struct bus_service *service,
                             bool long_poll,
                             const struct bus_replica *avoid)
{
    struct bus_replica *best = NULL;

    for (size_t i = 0; i < service->replica_count; i++) {
        size_t at = (service->next + i) % service->replica_count;
        struct bus_replica *replica = service->replicas[at];
        if (!replica->up || replica == avoid ||
            (!long_poll && replica->outstanding >= CN_BUS_CREDIT)) {
            continue;
        }
        if (best == NULL || (replica->healthy && !best->healthy) ||
            (replica->healthy == best->healthy &&
             s_load(replica, long_poll) < s_load(best, long_poll))) {
            best = replica;
        }
    }
    service->next++;
    return best;
}

void bus_assign(struct bus_op *op, struct bus_replica *replica)
{
    op->state = BUS_CALL_ASSIGNED;
    op->sent = false;
    op->replica = replica;
    bus_list_append(&replica->calls, &op->link);
    if (op->long_poll) {
        replica->polls++;
    } else {
        replica->outstanding++;
    }
}

static void s_grant(struct bus_service *service)
{
    bool full = false; /* no credit is left for ordinary calls */
    struct bus_link *link = service->waiters.next;

    while (link != &service->waiters) {
        struct bus_op *op = (struct bus_op *)link;
        link = link->next;
        if (full && !op->long_poll) {
            continue;
        }
        struct bus_replica *replica = bus_pick(service, op->long_poll, NULL);
        if (replica == NULL) {
            if (op->long_poll) {
                return; /* none is alive */
            }
            full = true;
            continue;
        }
        bus_list_remove(&op->link);
        service->waiting--;
        service->bus->stats.waiting--;
        bus_assign(op, replica);
        (void)cn_fiber_wake(op->token, CN_OK);
    }
}

bool bus_any_up(const struct bus_service *service)
{
    for (size_t i = 0; i < service->replica_count; i++) {
        if (service->replicas[i]->up) {
            return true;
        }
    }
    return false;
}

struct bus_service *bus_service_find(const struct cn_bus *self,
                                     const char *name)
{
    for (size_t i = 0; i < self->service_count; i++) {
        if (strcmp(self->services[i]->peer->name, name) == 0) {
            return self->services[i];
        }
    }
    return NULL;
}

bool cn_bus_reachable(const struct cn_bus *self, const char *service)
{
    const struct bus_service *found = bus_service_find(self, service);

    return found != NULL && bus_any_up(found);
}

/* --- a replica's life --- */

static void s_replica_close(struct bus_replica *replica)
{
    if (replica->dealer.zmq != NULL) {
        (void)zmq_socket_monitor(replica->dealer.zmq, NULL, 0);
    }
    bus_socket_close(&replica->monitor);
    bus_socket_close(&replica->dealer);
    replica->connected = false;
    replica->greeted = false;
    replica->up = false;
}

static enum cn_code s_replica_monitor(struct bus_replica *replica,
                                      struct cn_err *err)
{
    struct cn_bus *bus = replica->dealer.bus;
    char address[BUS_ADDRESS_SIZE];
    const int events = ZMQ_EVENT_CONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED |
                       ZMQ_EVENT_DISCONNECTED;

    (void)snprintf(address, sizeof(address), "inproc://monitor-%u",
                   bus->monitors++);
    if (zmq_socket_monitor(replica->dealer.zmq, address, events) != 0) {
        return cn_fail(err, CN_UNAVAILABLE, "socket monitor: %s",
                       zmq_strerror(zmq_errno()));
    }
    enum cn_code rc =
        bus_socket_open(bus, &replica->monitor, ZMQ_PAIR, NULL, err);
    if (rc == CN_OK && zmq_connect(replica->monitor.zmq, address) != 0) {
        rc = cn_fail(err, CN_UNAVAILABLE, "socket monitor: %s",
                     zmq_strerror(zmq_errno()));
    }
    return rc == CN_OK ? bus_socket_watch(&replica->monitor, err) : rc;
}

/* Makes the DEALER and begins to connect. */
static enum cn_code s_replica_open(struct bus_replica *replica,
                                   struct cn_err *err)
{
    struct cn_bus *bus = replica->service->bus;

    replica->made_at = cn_clock_monotonic();
    enum cn_code rc = bus_socket_open(bus, &replica->dealer, ZMQ_DEALER,
                                      replica->service->peer->public_key, err);
    if (rc == CN_OK) {
        rc = s_replica_monitor(replica, err);
    }
    if (rc == CN_OK &&
        zmq_connect(replica->dealer.zmq, replica->address) != 0) {
        rc = cn_fail(err, CN_INVALID, "connect %s: %s", replica->address,
                     zmq_strerror(zmq_errno()));
    }
    if (rc == CN_OK) {
        rc = bus_socket_watch(&replica->dealer, err);
    }
    if (rc != CN_OK) {
        s_replica_close(replica);
    }
    return rc;
}

/* At once, unless it was made just now: a server that accepts and cuts must not
 * make us spin. Else the tick does it. */
static void s_replica_remake(struct bus_replica *replica)
{
    struct cn_err err = { 0 };
    int64_t age_us = cn_clock_monotonic() - replica->made_at;

    s_replica_close(replica);
    if (age_us >= BUS_REMAKE_MS * (int64_t)1000) {
        (void)s_replica_open(replica, &err); /* else the tick tries again */
    }
}

void bus_replica_down(struct bus_replica *replica)
{
    replica->service->bus->stats.downs++;
    while (!bus_list_empty(&replica->calls)) {
        struct bus_op *op = (struct bus_op *)replica->calls.next;
        bus_list_remove(&op->link);
        op->state = BUS_CALL_LOST;
        op->replica = NULL;
        (void)cn_fiber_wake(op->token, CN_OK);
    }
    replica->outstanding = 0;
    replica->polls = 0;
    s_replica_remake(replica);
}

/* --- sending --- */

bool bus_replica_send(struct bus_replica *replica,
                      const Env__RequestHeader *header,
                      struct cn_bytes body)
{
    zmq_msg_t frames[2];

    if (!bus_frame_pack(&frames[0], &header->base)) {
        return false;
    }
    if (!bus_frame_bytes(&frames[1], body.data, body.size)) {
        bus_frames_close(frames, 1);
        return false;
    }
    bus_socket_touch(&replica->dealer);
    if (!bus_send(&replica->dealer, &frames[0], true)) {
        bus_frames_close(&frames[1], 1);
        return false;
    }
    /* A connection that ends between the two takes the first back. */
    return bus_send(&replica->dealer, &frames[1], false);
}

static void s_ping(struct bus_replica *replica)
{
    Env__RequestHeader header = ENV__REQUEST_HEADER__INIT;

    header.has_id = true;
    header.id = s_id_new(replica->service->bus, SLOT_PING);
    header.has_ping = true;
    header.ping = true;
    replica->unanswered++;
    /* Not sent is as good as not answered. */
    (void)!bus_replica_send(replica, &header, (struct cn_bytes){ 0 });
}

/* --- receiving --- */

static void s_pong_take(struct bus_replica *replica, struct cn_bytes header)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(BUS_HEADER_MAX);
    const ProtobufCMessage *message = NULL;
    struct cn_err err = { 0 };

    if (arena == NULL ||
        cn_message_unpack(arena, &env__reply_header__descriptor, header,
                          &message, &err) != CN_OK) {
        return;
    }
    const Env__ReplyHeader *pong = (const Env__ReplyHeader *)message;
    replica->queue = pong->queue;
    replica->healthy = pong->has_healthy && pong->healthy;
    if (!replica->up) {
        replica->up = true;
        s_grant(replica->service);
    }
}

static void
s_reply_take(struct bus_replica *replica, zmq_msg_t *frames, size_t count)
{
    struct cn_bus *self = replica->service->bus;
    uint64_t id = 0;

    if (count != 2 || !bus_id_peek(bus_frame_view(&frames[0]), &id)) {
        self->stats.malformed++;
        return;
    }
    unsigned slot = (unsigned)(id & SLOT_MASK);
    if (slot == SLOT_PING) {
        s_pong_take(replica, bus_frame_view(&frames[0]));
        return;
    }
    struct bus_op *op = slot < self->ops_used ? &self->ops[slot] : NULL;
    if (op == NULL || op->id != id || op->state != BUS_CALL_ASSIGNED ||
        op->replica != replica || !op->sent) {
        self->stats.late++;
        return;
    }
    bus_op_leave(replica->service, op);
    (void)zmq_msg_init(&op->header);
    (void)zmq_msg_init(&op->body);
    (void)zmq_msg_move(&op->header, &frames[0]);
    (void)zmq_msg_move(&op->body, &frames[1]);
    op->state = BUS_CALL_ANSWERED;
    (void)cn_fiber_wake(op->token, CN_OK);
}

static bool s_dealer_drain(struct bus_replica *replica)
{
    bool worked = false;

    for (unsigned i = 0; i < BUS_DRAIN_MAX && replica->dealer.dirty; i++) {
        zmq_msg_t frames[2];
        size_t count = bus_receive(&replica->dealer, frames, 2);
        if (count == 0) {
            replica->dealer.dirty = false;
            break;
        }
        s_reply_take(replica, frames, count);
        bus_frames_close(frames, count < 2 ? count : 2);
        worked = true;
    }
    if (worked) {
        replica->heard_at = cn_clock_monotonic();
        replica->unanswered = 0;
    }
    return worked;
}

static void s_event_take(struct bus_replica *replica, unsigned event)
{
    switch (event) {
    case ZMQ_EVENT_CONNECTED:
        replica->connected = true;
        break;
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
        replica->greeted = true;
        replica->heard_at = cn_clock_monotonic();
        replica->unanswered = 0;
        s_ping(replica);
        break;
    case ZMQ_EVENT_DISCONNECTED:
        replica->connected = false;
        if (replica->greeted) {
            /* What it answered before it went still counts. */
            bus_socket_touch(&replica->dealer);
            while (s_dealer_drain(replica)) {
            }
            bus_replica_down(replica);
        }
        /* A handshake that fails is tried again by libzmq, ever slower. */
        break;
    default:
        break;
    }
}

/* Frames of the monitor: event number (16 bits) and value, then address. */
static bool s_monitor_drain(struct bus_replica *replica)
{
    bool worked = false;

    while (replica->monitor.dirty) {
        zmq_msg_t frames[2];
        uint16_t event = 0;
        size_t count = bus_receive(&replica->monitor, frames, 2);
        if (count == 0) {
            replica->monitor.dirty = false;
            break;
        }
        if (zmq_msg_size(&frames[0]) >= sizeof(event)) {
            memcpy(&event, zmq_msg_data(&frames[0]), sizeof(event));
        }
        bus_frames_close(frames, count < 2 ? count : 2);
        s_event_take(replica, event);
        worked = true;
    }
    return worked;
}

bool bus_client_drain(struct cn_bus *self)
{
    bool worked = false;

    for (size_t i = 0; i < self->service_count; i++) {
        struct bus_service *service = self->services[i];
        for (size_t k = 0; k < service->replica_count; k++) {
            struct bus_replica *replica = service->replicas[k];
            worked |= replica->dealer.dirty && s_dealer_drain(replica);
            worked |= replica->monitor.dirty && s_monitor_drain(replica);
        }
    }
    return worked;
}

/* --- health --- */

static void s_replica_tick(struct bus_replica *replica, int64_t now)
{
    struct cn_err err = { 0 };

    if (replica->dealer.zmq == NULL) {
        (void)s_replica_open(replica, &err);
        return;
    }
    if (!replica->greeted) {
        /* Begins libzmq's back-off anew: it grows to 5 s, and a restarted
         * service must be found sooner. */
        if (!replica->connected && now - replica->made_at >= CN_SECOND) {
            s_replica_remake(replica);
        }
        return;
    }
    /* Answers may lie there when it was us who slept. */
    (void)s_dealer_drain(replica);
    if (replica->unanswered >= 2 && now - replica->heard_at >= BUS_SILENCE_US) {
        bus_replica_down(replica);
        return;
    }
    s_ping(replica);
}

static void s_tick(void *arg)
{
    struct cn_bus *self = arg;
    int64_t now = cn_clock_monotonic();

    self->tick = cn_loop_timer(self->env->loop,
                               now + CN_BUS_PING_INTERVAL_MS * (int64_t)1000,
                               s_tick, self);
    for (size_t i = 0; i < self->service_count; i++) {
        struct bus_service *service = self->services[i];
        for (size_t k = 0; k < service->replica_count; k++) {
            s_replica_tick(service->replicas[k], now);
        }
    }
}

/* --- services and endpoints --- */

static enum cn_code s_service_require(struct cn_bus *self,
                                      const char *name,
                                      struct bus_service **ret_service,
                                      struct cn_err *err)
{
    struct bus_service *service = bus_service_find(self, name);
    const struct bus_peer *peer = bus_peer_find(self, name);

    if (service != NULL) {
        *ret_service = service;
        return CN_OK;
    }
    if (peer == NULL) {
        return cn_fail(err, CN_INVALID, "no key is known of %s", name);
    }
    assert(self->service_count < CN_BUS_PEERS_MAX);
    service = calloc(1, sizeof(*service));
    if (service == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory for %s", name);
    }
    service->bus = self;
    service->peer = peer;
    bus_list_init(&service->waiters);
    self->services[self->service_count++] = service;
    *ret_service = service;
    return CN_OK;
}

static enum cn_code s_replica_add(struct bus_service *service,
                                  const char *address,
                                  size_t size,
                                  struct cn_err *err)
{
    if (size < 7 || size >= BUS_ADDRESS_SIZE ||
        memcmp(address, "tcp://", 6) != 0) {
        return cn_fail(err, CN_INVALID, "an endpoint of %s is not tcp://h:p",
                       service->peer->name);
    }
    if (service->replica_count == CN_BUS_ENDPOINTS_MAX) {
        return cn_fail(err, CN_INVALID, "%s has more than %d endpoints",
                       service->peer->name, CN_BUS_ENDPOINTS_MAX);
    }
    struct bus_replica *replica = calloc(1, sizeof(*replica));
    if (replica == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory for %s", service->peer->name);
    }
    replica->service = service;
    memcpy(replica->address, address, size);
    bus_list_init(&replica->calls);
    enum cn_code rc = s_replica_open(replica, err);
    if (rc != CN_OK) {
        free(replica);
        return rc;
    }
    service->replicas[service->replica_count++] = replica;
    return CN_OK;
}

enum cn_code cn_bus_connect(struct cn_bus *self,
                            const char *service,
                            const char *endpoints,
                            struct cn_err *err)
{
    struct bus_service *found = NULL;
    enum cn_code rc = s_service_require(self, service, &found, err);

    while (rc == CN_OK && endpoints[0] != '\0') {
        size_t size = strcspn(endpoints, ",");
        rc = s_replica_add(found, endpoints, size, err);
        endpoints += size + (endpoints[size] == ',' ? 1 : 0);
    }
    if (rc == CN_OK && self->tick == NULL) {
        self->tick = cn_loop_timer(self->env->loop,
                                   cn_clock_monotonic() +
                                       CN_BUS_PING_INTERVAL_MS * (int64_t)1000,
                                   s_tick, self);
        if (self->tick == NULL) {
            return cn_fail(err, CN_NOMEM, "no memory for the ping");
        }
    }
    return rc;
}

void bus_client_done(struct cn_bus *self)
{
    cn_loop_cancel(self->tick);
    self->tick = NULL;
    for (size_t i = 0; i < self->service_count; i++) {
        struct bus_service *service = self->services[i];
        assert(bus_list_empty(&service->waiters));
        for (size_t k = 0; k < service->replica_count; k++) {
            assert(bus_list_empty(&service->replicas[k]->calls));
            s_replica_close(service->replicas[k]);
            free(service->replicas[k]);
        }
        free(service);
    }
    self->service_count = 0;
}
