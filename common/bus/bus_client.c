/* SPDX-License-Identifier: Apache-2.0 */
/* The calling side of the bus: the pool of calls under way, the choice among
 * the replicas, and the pings. One call's steps are in bus_call.c. */
#include "common/bus/bus_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* An id is a counter; its lowest SLOT_BITS are the call's place in the pool. */
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

uint64_t bus_ping_id(struct cn_bus *self)
{
    return s_id_new(self, SLOT_PING);
}

struct bus_op *bus_op_find(struct cn_bus *self, uint64_t id, bool *ret_ping)
{
    unsigned slot = (unsigned)(id & SLOT_MASK);
    *ret_ping = slot == SLOT_PING;
    return slot < self->ops_used && self->ops[slot].id == id ? &self->ops[slot]
                                                             : NULL;
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
        op->full = 0;
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
        bus_grant(service);
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

static bool s_takes(const struct bus_replica *replica, const struct bus_op *op)
{
    return bus_replica_serves(replica) && (op->full & replica->bit) == 0 &&
           (op->long_poll || replica->outstanding < CN_BUS_CREDIT);
}

struct bus_replica *bus_pick(struct bus_service *service,
                             const struct bus_op *op)
{
    struct bus_replica *best = NULL;
    for (size_t i = 0; i < service->replica_count; i++) {
        size_t at = (service->next + i) % service->replica_count;
        struct bus_replica *replica = service->replicas[at];
        if (!s_takes(replica, op)) {
            continue;
        }
        if (best == NULL || (replica->healthy && !best->healthy) ||
            (replica->healthy == best->healthy &&
             s_load(replica, op->long_poll) < s_load(best, op->long_poll))) {
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

void bus_grant(struct bus_service *service)
{
    bool full = false; /* no credit is left for ordinary calls */
    struct bus_link *link = service->waiters.next;
    while (link != &service->waiters) {
        struct bus_op *op = (struct bus_op *)link;
        link = link->next;
        if (full && !op->long_poll) {
            continue;
        }
        struct bus_replica *replica = bus_pick(service, op);
        if (replica == NULL) {
            if (op->full == 0 && op->long_poll) {
                return; /* no replica is alive */
            }
            /* A replica that refused this call may take the next one. */
            full = full || op->full == 0;
            continue;
        }
        bus_list_remove(&op->link);
        service->waiting--;
        service->bus->stats.waiting--;
        bus_assign(op, replica);
        (void)cn_fiber_wake(op->token, CN_OK);
    }
}

void bus_stops(struct bus_service *service, const struct bus_replica *replica)
{
    for (size_t i = 0; i < service->replica_count; i++) {
        if (service->replicas[i] == replica) {
            bus_replica_stops(service->replicas[i]);
        }
    }
}

bool bus_any_up(const struct bus_service *service)
{
    for (size_t i = 0; i < service->replica_count; i++) {
        if (bus_replica_serves(service->replicas[i])) {
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

/* --- turns and ticks --- */

bool bus_client_drain(struct cn_bus *self)
{
    bool worked = false;
    for (size_t i = 0; i < self->service_count; i++) {
        struct bus_service *service = self->services[i];
        for (size_t k = 0; k < service->replica_count; k++) {
            worked |= bus_replica_drain(service->replicas[k]);
        }
    }
    return worked;
}

static void s_client_tick(void *arg);

static bool s_tick_set(struct cn_bus *self, int64_t at)
{
    self->tick_at = at;
    self->tick = cn_loop_timer(self->env->loop, at, s_client_tick, self);
    return self->tick != NULL;
}

static void s_client_tick(void *arg)
{
    struct cn_bus *self = arg;
    int64_t now = cn_clock_monotonic();
    bool late = now - self->tick_at >= BUS_LATE_US;
    /* The timer that has just run is used again: this never fails. */
    (void)!s_tick_set(
        self,
        now + (late ? BUS_SOON_US : CN_BUS_PING_INTERVAL_MS * (int64_t)1000));
    for (size_t i = 0; i < self->service_count; i++) {
        struct bus_service *service = self->services[i];
        for (size_t k = 0; k < service->replica_count; k++) {
            bus_replica_tick(service->replicas[k], now, late);
        }
    }
    bus_discover_tick(self, now);
}

enum cn_code bus_tick_start(struct cn_bus *self, struct cn_err *err)
{
    if (self->tick == NULL &&
        !s_tick_set(self, cn_clock_monotonic() +
                              CN_BUS_PING_INTERVAL_MS * (int64_t)1000)) {
        return cn_fail(err, CN_NOMEM, "no memory for the ping");
    }
    return CN_OK;
}

void bus_client_done(struct cn_bus *self)
{
    bus_resolve_done(self);
    cn_loop_cancel(self->tick);
    self->tick = NULL;
    for (size_t i = 0; i < self->service_count; i++) {
        struct bus_service *service = self->services[i];
        assert(bus_list_empty(&service->waiters));
        for (size_t k = 0; k < service->replica_count; k++) {
            assert(bus_list_empty(&service->replicas[k]->calls));
            bus_replica_free(service->replicas[k]);
        }
        free(service);
    }
    self->service_count = 0;
}
