/* SPDX-License-Identifier: Apache-2.0 */
/* An event, what a service does about it, and what others may copy of a
 * service. The producer's side is in common/outbox, the consumer's in
 * common/inbox. */
#ifndef CN_EVENT_H
#define CN_EVENT_H

#include "common/base/arena.h"
#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/id.h"
#include "common/wire/shape.h"

#include <stdbool.h>
#include <stdint.h>

struct cn_env;
struct cn_op;

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

/* Bounds of Events/Fetch, of producer and consumer alike. */
enum {
    CN_FETCH_LIMIT_MAX = 100,       /* events in one reply */
    CN_FETCH_TOTAL_MAX = 1000,      /* the same of several partitions */
    CN_FETCH_PARTITION_MAX = 100,   /* of them of each */
    CN_FETCH_REPLY_MAX = 768 << 10, /* bytes, unless one event is larger */
    CN_FETCH_WAIT_MAX_MS = 5000     /* of one long poll */
};

/* complete_until of a reply is this long before the instant at which every
 * transaction that had its id by then is over and shown. A unit is written at
 * most this long after the `now` that its events carry: the longest budget of a
 * request (dispatch.h) and the statement_timeout of the roles. */
#define CN_OUTBOX_SLACK_US (15 * CN_SECOND)

enum { CN_SNAPSHOT_LIMIT_MAX = 100 /* rows of one page */ };

/* A resource whose "<name>.snapshot" is in the service's table of events is
 * copied by others: its rows are told under that type. No event of a log has
 * such a type (constraint outbox_type). */
#define CN_SNAPSHOT_SUFFIX ".snapshot"

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

/* Reads, decides, and adds its effect to op (store/step.h, store/record.h); the
 * consumer adds the position and commits. Nothing added: the event does not
 * concern us. CN_STALE from the commit runs the
 * handler again from its read. Any other failure counts as an attempt. It has
 * CN_EVENT_BUDGET_US. */
typedef void cn_effect_fn(struct cn_op *op, const struct cn_event *event);

/* A copy handler (copy = true) reads nothing and tells nothing: by the event
 * alone it adds changes to op, each guarded so that the newer row stays ("keep
 * the newer by event_seq"). Up to CN_EVENT_BATCH_MAX of them, of several
 * aggregates and tenants, are one unit. A lock is needed only for a row that is
 * not the aggregate's own. All others are effects, and applied one by one. */
struct cn_event_handler {
    const char *type;
    cn_effect_fn *effect;
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

/* One row of a table of subscriptions: CN_FOLLOW(referrals, FROM_REFERRALS). */
#define CN_FOLLOW(service, rows)                                               \
    {                                                                          \
        .producer = #service, .events = service##_events,                      \
        .event_count = service##_event_count, .handlers = (rows),              \
        .handler_count = CN_COUNT(rows)                                        \
    }

#endif
