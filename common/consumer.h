/* SPDX-License-Identifier: Apache-2.0 */
/* The consumer's side of events: each event's effect and the move of the
 * position are one unit in the consumer's own schema (design.md 4), so each
 * event has its effect once, however often it is fetched and by however many
 * replicas.
 *
 * Positions are per partition (0 to 15, by the aggregate's id). A consumer may
 * depend on the order of one aggregate's events, on no other.
 *
 * An event that fails CN_EVENT_ATTEMPTS_MAX times goes to dead_letter together
 * with the later events of its aggregate; all others go on. */
#ifndef CN_CONSUMER_H
#define CN_CONSUMER_H

#include "common/arena.h"
#include "common/err.h"
#include "common/id.h"
#include "common/shape.h"

#include <stdbool.h>
#include <stdint.h>

struct cn_env;
struct cn_service;
struct cn_write;

enum {
    CN_EVENT_ATTEMPTS_MAX = 5,
    CN_EVENT_BUDGET_US = 10000000,
    CN_EVENT_BATCH_MAX = 100, /* copies in one unit */
    CN_PARTITIONS = 16,       /* of every log */
    /* Failures that may pass by themselves (the database is away, a lock is not
     * had, no time is left) are not counted as attempts so many times in a row:
     * an outage must not empty the log into dead_letter. */
    CN_EVENT_PASSING_MAX = 20
};

/* One event as a handler sees it. */
struct cn_event {
    struct cn_env *env;
    const char *producer;
    const char *type;
    struct cn_uuid event_id;
    struct cn_uuid tenant_id;
    const char *aggregate_type;
    struct cn_uuid aggregate_id;
    int64_t aggregate_seq;
    const void *payload; /* unpacked; type by the producer's event table */
    int64_t occurred_at;
    const char *correlation_id;
    int64_t now_at;
    struct cn_arena *arena;
};

/* Reads, decides, and adds its effect to write (locks first, then changes and
 * events, as in write.h); the consumer adds the position and commits. Nothing
 * added: the event does not concern us. CN_STALE from the commit runs the
 * handler again from its read. Any other failure counts as an attempt. It has
 * CN_EVENT_BUDGET_US. */
typedef enum cn_code cn_event_fn(void *self,
                                 const struct cn_event *event,
                                 struct cn_write *write,
                                 struct cn_err *err);

/* A copy handler (copy = true) reads nothing and tells nothing: by the event
 * alone it adds changes to write, each guarded so that the newer row stays
 * ("keep the newer by event_seq"). Up to CN_EVENT_BATCH_MAX of them, of several
 * aggregates and tenants, are one unit, so write may hold others' changes; it
 * stands at the event's tenant. A lock is needed only for a row that is not the
 * aggregate's own. All others are effects, and applied one by one. */
struct cn_event_handler {
    const char *type;
    cn_event_fn *handler;
    bool copy;
};

/* What a service follows of one producer. events is the producer's generated
 * table, for unpacking. Unknown types are skipped and counted. */
struct cn_subscription {
    const char *producer;
    const struct cn_event_shape *events;
    size_t event_count;
    const struct cn_event_handler *handlers;
    size_t handler_count;
};

/* Follows all producers for the life of the process. The partitions of their
 * logs are shared with the other replicas of the service (common/lease.h). The
 * bus must know the producers (cn_bus_connect). */
CN_CHECKED enum cn_code cn_consumers_start(struct cn_env *env,
                                           const struct cn_service *service,
                                           struct cn_err *err);
/* All that the producer committed before *ret_until has had its effect here,
 * by whichever replica: the minimum over the partitions; 0 while it is not
 * known. In a fiber. */
CN_CHECKED enum cn_code cn_consumer_complete_until(struct cn_env *env,
                                                   const char *producer,
                                                   int64_t *ret_until,
                                                   struct cn_err *err);
/* Copies of that producer, or with NULL of all that the service follows, are
 * made again from its snapshot, from the first row on, while no log is followed
 * (consumer_rebuild.c). Asked for here, done by one of the replicas within a
 * second; one that is open goes on as it is. CN_INVALID /producer when it is
 * not followed, CN_UNAVAILABLE when it is not followed yet. */
CN_CHECKED enum cn_code cn_rebuild_ask(struct cn_env *env,
                                       const struct cn_service *service,
                                       const char *producer,
                                       struct cn_err *err);

#endif
