/* SPDX-License-Identifier: Apache-2.0 */
/* One replica of a service: its DEALER, its monitor, its pings.
 *
 * A process that dies is noticed by its connection, within milliseconds; a
 * process that is stopped, or a machine that is lost, by its silence. */
#include "common/base/log.h"
#include "common/bus/bus_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- its sockets --- */

static void s_close(struct bus_replica *replica)
{
    if (replica->dealer.zmq != NULL) {
        (void)zmq_socket_monitor(replica->dealer.zmq, NULL, 0);
    }
    bus_socket_close(&replica->monitor);
    bus_socket_close(&replica->dealer);
    replica->connected = false;
    replica->greeted = false;
    replica->up = false;
    replica->stopping = false;
    replica->asked_at = 0;
}

static enum cn_code s_monitor(struct bus_replica *replica, struct cn_err *err)
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
static enum cn_code s_dealer_open(struct bus_replica *replica,
                                  struct cn_err *err)
{
    struct cn_bus *bus = replica->service->bus;
    replica->made_at = cn_clock_monotonic();
    enum cn_code rc = bus_socket_open(bus, &replica->dealer, ZMQ_DEALER,
                                      replica->service->peer->public_key, err);
    if (rc == CN_OK && replica->address[6] == '[') {
        rc = bus_socket_ipv6(&replica->dealer, err);
    }
    if (rc == CN_OK) {
        rc = s_monitor(replica, err);
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
        s_close(replica);
    }
    return rc;
}

/* Makes the DEALER anew at once, or at the tick when it was made just now: a
 * server that accepts and closes must not make us spin. */
static void s_remake(struct bus_replica *replica)
{
    struct cn_err err = { 0 };
    int64_t age_us = cn_clock_monotonic() - replica->made_at;
    s_close(replica);
    if (age_us >= BUS_REMAKE_MS * (int64_t)1000) {
        (void)s_dealer_open(replica,
                            &err); /* when it fails, the tick tries again */
    }
}

static void s_log(const struct bus_replica *replica, const char *what)
{
    cn_log(CN_LOG_INFO, "bus: %s at %s %s", replica->service->peer->name,
           replica->address, what);
}

/* The fibers of the calls decide whether to try again. */
static unsigned s_calls_lose(struct bus_replica *replica)
{
    unsigned lost = 0;
    while (!bus_list_empty(&replica->calls)) {
        struct bus_op *op = (struct bus_op *)replica->calls.next;
        bus_list_remove(&op->link);
        op->state = BUS_CALL_LOST;
        op->replica = NULL;
        (void)cn_fiber_wake(op->token, CN_OK);
        lost++;
    }
    replica->outstanding = 0;
    replica->polls = 0;
    return lost;
}

void bus_replica_down(struct bus_replica *replica, const char *why)
{
    unsigned lost = s_calls_lose(replica);
    replica->service->bus->stats.downs++;
    cn_log(CN_LOG_INFO, "bus: %s at %s is down (%s), %u calls lost",
           replica->service->peer->name, replica->address, why, lost);
    s_remake(replica);
    bus_discover(replica->service);
}

bool bus_replica_serves(const struct bus_replica *replica)
{
    return replica->up && !replica->stopping && replica->leave_by == 0;
}

/* --- sending --- */

bool bus_replica_send(struct bus_replica *replica,
                      Env__RequestHeader *header,
                      struct cn_bytes body)
{
    zmq_msg_t frames[2];
    /* From it the service computes how long the request was on the way. */
    header->has_sent_at = true;
    header->sent_at = cn_clock_monotonic();
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
    /* When the connection ends between the two, the first is not sent. */
    return bus_send(&replica->dealer, &frames[1], false);
}

static void s_ping(struct bus_replica *replica, int64_t now)
{
    Env__RequestHeader header = ENV__REQUEST_HEADER__INIT;
    header.has_id = true;
    header.id = bus_ping_id(replica->service->bus);
    header.has_ping = true;
    header.ping = true;
    if (replica->asked_at == 0) {
        replica->asked_at = now;
    }
    /* A ping that was not sent is a ping that was not answered. */
    (void)!bus_replica_send(replica, &header, (struct cn_bytes){ 0 });
}

/* --- receiving --- */

void bus_replica_stops(struct bus_replica *replica)
{
    if (!replica->stopping) {
        replica->stopping = true;
        s_log(replica, "is stopping");
        bus_discover(replica->service);
    }
}

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
    if (pong->has_stopping && pong->stopping) {
        bus_replica_stops(replica);
    }
    if (!replica->up) {
        replica->up = true;
        s_log(replica, "is up");
        bus_grant(replica->service);
    }
}

static void
s_reply_take(struct bus_replica *replica, zmq_msg_t *frames, size_t count)
{
    struct cn_bus *bus = replica->service->bus;
    uint64_t id = 0;
    bool pong = false;
    if (count != 2 || !bus_id_peek(bus_frame_view(&frames[0]), &id)) {
        bus->stats.malformed++;
        return;
    }
    struct bus_op *op = bus_op_find(bus, id, &pong);
    if (pong) {
        s_pong_take(replica, bus_frame_view(&frames[0]));
        return;
    }
    if (op == NULL || op->state != BUS_CALL_ASSIGNED ||
        op->replica != replica || !op->sent) {
        bus->stats.late++;
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
        replica->asked_at = 0;
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
        s_ping(replica, replica->heard_at);
        break;
    case ZMQ_EVENT_DISCONNECTED:
        replica->connected = false;
        if (replica->greeted) {
            /* What it answered before it died still counts. */
            bus_socket_touch(&replica->dealer);
            while (s_dealer_drain(replica)) {
            }
            bus_replica_down(replica, "disconnected");
        }
        /* libzmq repeats a failed handshake after ever longer pauses. */
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

bool bus_replica_drain(struct bus_replica *replica)
{
    bool answered = replica->dealer.dirty && s_dealer_drain(replica);
    bool changed = replica->monitor.dirty && s_monitor_drain(replica);
    return answered || changed;
}

/* --- health --- */

/* True: it was silent for too long, and was made anew. */
static bool s_silent(struct bus_replica *replica, int64_t now)
{
    if (!replica->up) {
        /* A process that starts or is stopped answers later on the same
         * connection; only a lost connection must be made anew. */
        if (now - replica->heard_at < BUS_MUTE_US) {
            return false;
        }
        s_remake(replica);
        return true;
    }
    if (replica->asked_at == 0 || now - replica->asked_at < BUS_SILENCE_US) {
        return false;
    }
    bus_replica_down(replica, "silent");
    return true;
}

void bus_replica_tick(struct bus_replica *replica, int64_t now, bool late)
{
    struct cn_err err = { 0 };
    if (replica->dealer.zmq == NULL) {
        (void)s_dealer_open(replica, &err);
        return;
    }
    if (!replica->greeted) {
        /* libzmq's back-off grows to 5 s; a new socket begins it anew, so that
         * a restarted service is found sooner. */
        if (!replica->connected && now - replica->made_at >= CN_SECOND) {
            s_remake(replica);
        }
        return;
    }
    /* When this process did not run, answers may lie unread. */
    (void)s_dealer_drain(replica);
    if (late || !s_silent(replica, now)) {
        s_ping(replica, now);
    }
}

/* --- life --- */

/* 0: all are taken. */
static uint32_t s_bit_free(const struct bus_service *service)
{
    uint32_t taken = 0;
    for (size_t i = 0; i < service->replica_count; i++) {
        taken |= service->replicas[i]->bit;
    }
    return ~taken & (taken + 1);
}
_Static_assert((int)CN_BUS_ENDPOINTS_MAX == 32, "a bit for each");

enum cn_code bus_replica_new(struct bus_service *service,
                             const char *address,
                             uint32_t named_by,
                             struct cn_err *err)
{
    if (service->replica_count == CN_BUS_ENDPOINTS_MAX) {
        return cn_fail(err, CN_INVALID, "%s has more than %d addresses",
                       service->peer->name, CN_BUS_ENDPOINTS_MAX);
    }
    struct bus_replica *replica = calloc(1, sizeof(*replica));
    if (replica == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory for %s", service->peer->name);
    }
    replica->service = service;
    replica->bit = s_bit_free(service);
    replica->named_by = named_by;
    (void)snprintf(replica->address, sizeof(replica->address), "%s", address);
    bus_list_init(&replica->calls);
    enum cn_code rc = s_dealer_open(replica, err);
    if (rc != CN_OK) {
        free(replica);
        return rc;
    }
    service->replicas[service->replica_count++] = replica;
    return CN_OK;
}

void bus_replica_free(struct bus_replica *replica)
{
    (void)s_calls_lose(replica);
    s_close(replica);
    free(replica);
}
