/* SPDX-License-Identifier: Apache-2.0 */
/* How old a request is when it is read. */
#include "common/bus/bus_internal.h"

#include <string.h>

/* The caller's entry. A new caller replaces the one that was not seen for
 * longest. *ret_known: the entry was there. */
static struct bus_caller *
s_caller(struct cn_bus *self, zmq_msg_t *routing, bool *ret_known)
{
    struct bus_caller *oldest = &self->callers[0];
    size_t size = zmq_msg_size(routing);
    for (size_t i = 0; i < self->caller_count; i++) {
        struct bus_caller *caller = &self->callers[i];
        if (caller->routing_size == size &&
            memcmp(caller->routing, zmq_msg_data(routing), size) == 0) {
            *ret_known = true;
            return caller;
        }
        if (caller->seen_at < oldest->seen_at) {
            oldest = caller;
        }
    }
    if (self->caller_count < BUS_CALLERS_MAX) {
        oldest = &self->callers[self->caller_count++];
    }
    *oldest = (struct bus_caller){ .routing_size = (uint8_t)size };
    memcpy(oldest->routing, zmq_msg_data(routing), size);
    *ret_known = false;
    return oldest;
}

int64_t bus_age(struct cn_bus *self,
                zmq_msg_t *routing,
                const Env__RequestHeader *header)
{
    int64_t now = cn_clock_monotonic();
    int64_t difference = 0;
    bool known = false;
    if (!header->has_sent_at ||
        __builtin_sub_overflow(now, header->sent_at, &difference) ||
        difference > INT64_MAX / 2 || difference < -(INT64_MAX / 2)) {
        return 0;
    }
    struct bus_caller *caller = s_caller(self, routing, &known);
    if (known) {
        int64_t least = caller->least + (now - caller->seen_at) / 1000;
        caller->least = difference < least ? difference : least;
    } else {
        caller->least = difference;
    }
    caller->seen_at = now;
    if (header->has_ping && header->ping) {
        caller->ping = header->id;
    }
    return difference - caller->least;
}
