/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the consumer share: consumer.c (the life of it all, the
 * workers), consumer_fetch.c (one fiber per producer, and the queues that it
 * fills), consumer_apply.c (a job: counted, copies in one unit),
 * consumer_event.c (a run of events one by one), consumer_position.c,
 * consumer_rebuild.c (copies to be rebuilt), consumer_snapshot.c (loaded),
 * consumer_complete.c, consumer_metrics.c.
 *
 * A partition is worked on by one worker at a time (busy); only that worker
 * touches its position and its queue's head meanwhile. */
#ifndef CN_CONSUMER_INTERNAL_H
#define CN_CONSUMER_INTERNAL_H

#include "common/base/env.h"
#include "common/base/err.h"
#include "common/contract/event.h"
#include "common/contract/service.h"
#include "common/db/db.h"
#include "common/inbox/consumer.h"
#include "common/inbox/lease.h"
#include "common/loop/fiber.h"
#include "common/loop/loop.h"
#include "common/loop/metrics.h"

#include "cairn/events.pb-c.h"

enum {
    CONSUMER_UNIT_BUDGET_US = 5000000,
    CONSUMER_MOVE_PARAMS = 9,
    CONSUMER_WORKERS_MAX = 4, /* of one producer */
    CONSUMER_QUEUE_ROOM =
        100, /* with fewer events waiting, more are asked for */
    CONSUMER_SEEN_MAX = 1024, /* aggregates watched for gaps */
    /* Rows of a snapshot that are taken one by one after a failure. */
    CONSUMER_CAREFUL_ROWS = CN_SNAPSHOT_LIMIT_MAX,
    CONSUMER_TYPE_MAX = 64,        /* of an aggregate */
    CONSUMER_STALE_AGAIN_MAX = 10, /* runs of a handler after its first */
    CONSUMER_ERROR_TEXT_MAX = 112, /* of a dead letter */
    CONSUMER_METHOD_TEXT_MAX = 96  /* in a line of the log */
};

struct consumer_position {
    int64_t epoch;
    int64_t xid;
    int64_t seq;
};

/* An event that waits for its effect. */
struct entry {
    const Evt__Event *event;
    struct consumer_position position;
    const struct cn_event_handler *handler; /* NULL: to be skipped */
    const struct cn_event_shape *shape;
    struct cn_uuid event_id;
    struct cn_uuid tenant_id;
    struct cn_uuid aggregate_id;
    bool blocked; /* its aggregate has a dead letter */
};

/* A reply of the producer; its memory goes with its last chunk. */
struct page {
    struct cn_arena *arena;
    size_t chunks;
};

/* What a page holds of one partition. */
struct chunk {
    struct chunk *next;
    struct page *page;
    struct entry *entries;
    size_t first; /* those before it are done */
    size_t count;
};

/* A trouble that lasts is logged once, and its end. */
struct trouble {
    unsigned failures; /* in a row, for the backoff */
    int64_t since_at;  /* monotonic; 0: all is well */
    bool told;
};

struct partition {
    struct consumer *consumer;
    int number;
    bool busy;  /* a worker has it */
    bool known; /* at is the committed position */
    struct consumer_position at;
    struct consumer_position fetched; /* end of the queue */
    struct consumer_position asked;   /* where the present fetch began */
    bool is_asked;
    struct chunk *first;
    struct chunk *last;
    size_t queued;
    unsigned generation; /* of the queue: counts up when it is dropped */
    /* The last attempt ended by something that may pass: it was counted and
     * does not count, so the next one is not counted again. */
    bool forgiven;
    unsigned passing; /* such failures in a row */
    int attempts;     /* as last counted */
    int64_t retry_at; /* monotonic: not before */
    struct trouble trouble;
    /* Before complete_next all has come, before complete_at all is applied,
     * complete_told is in the database; microseconds UTC. */
    int64_t complete_next;
    int64_t complete_at;
    int64_t complete_told;
};

/* The last event seen of an aggregate. */
struct seen {
    struct cn_uuid aggregate_id;
    struct cn_uuid tenant_id;
    int partition;
    unsigned generation;
    int64_t aggregate_seq;
};

/* Since the start. */
struct consumer_counts {
    uint64_t copies;
    uint64_t effects; /* of events that had one, and of those that had none */
    uint64_t skipped; /* events of types that nobody handles here */
    uint64_t dead_letters;
    uint64_t failures;       /* attempts that failed */
    uint64_t fallbacks;      /* batches that were taken apart */
    uint64_t moved;          /* positions that another replica had moved */
    uint64_t gaps;           /* in the numbers of an aggregate's events */
    uint64_t rebuild_loaded; /* rows of snapshots */
    uint64_t rebuild_failed; /* rows that were given up */
};

/* One subscription of this replica. */
struct consumer {
    struct consumers *all;
    size_t index; /* of the producer, for the leases */
    struct cn_env *env;
    const struct cn_service *service;
    const struct cn_subscription *subscription;
    struct partition partitions[CN_PARTITIONS];
    unsigned workers;
    int cursor; /* the partition that is taken next */
    struct cn_rest fetcher;
    struct cn_timer *retry;
    int64_t retry_at;
    struct trouble trouble;   /* of the fetch */
    int64_t complete_told_at; /* monotonic */
    struct seen seen[CONSUMER_SEEN_MAX];
    bool rebuild_open; /* when it was looked last */
    struct consumer_counts counts;
};

/* All of a process; freed by the last of its fibers. */
struct consumers {
    struct cn_env *env;
    struct cn_leases *leases;
    bool rebuilding; /* copies: nothing is taken from any log meanwhile */
    struct cn_rest rebuilder;
    struct trouble rebuild_trouble;
    unsigned fibers;
    size_t count;
    struct consumer items[];
};

/* The row after which a page begins. */
struct cursor {
    char type[CONSUMER_TYPE_MAX]; /* "": before the first */
    struct cn_uuid tenant_id;
    struct cn_uuid id;
};

/* A snapshot that is being loaded. */
struct load {
    struct consumer *consumer;
    int64_t turn; /* of the row, as far as we know */
    int attempts; /* begun of the next page */
    struct cursor after;
    bool forgiven;    /* the last attempt does not count */
    unsigned careful; /* rows still to be taken one by one */
    unsigned passing; /* failures that may pass, in a row */
    int64_t loaded;   /* rows, here */
    bool ended;       /* there is nothing more to be done here */
};

/* A part of one partition's queue that a job is to apply. */
struct run {
    struct partition *partition;
    struct entry **entries;
    size_t count;
    /* Done up to here; at or after the committed position. */
    struct consumer_position done;
    int attempts; /* of the next handled event, if it is counted */
    bool counted;
    bool careful; /* every move and every count at once */
    bool ended;   /* nothing more is to be done with it */
    bool reload;  /* where the position is must be looked up */
    enum cn_code rc;
    struct cn_err err;
};

/* What a worker applies at once. */
struct job {
    struct consumer *consumer;
    struct cn_arena *arena;
    bool copies; /* all of it may be one unit */
    struct run runs[CN_PARTITIONS];
    size_t count;
};

/* ---- consumer.c ---- */

bool consumer_stopping(const struct consumer *self);
bool consumer_held(const struct partition *partition);
/* Starts workers for what is ready. */
void consumer_work(struct consumer *self);
/* The partition is worked on again no earlier than at (monotonic). */
void consumer_retry(struct partition *partition, int64_t at);
/* Half of the pause is fixed, half is chance; grows with the failures. */
int64_t consumer_backoff_us(struct consumer *self, struct trouble *trouble);
/* Says that something broke off and that it goes on, not every try. */
void consumer_tell(const struct consumer *self,
                   struct trouble *trouble,
                   int partition,
                   enum cn_code rc,
                   const struct cn_err *err);
/* One fiber fewer: the last one frees all. */
void consumers_fiber_ended(struct consumers *self);

/* ---- consumer_fetch.c ---- */

/* The fiber of a producer. */
void consumer_follow(void *arg);
/* Handler and shape of a type; NULL where the subscription has none. */
const struct cn_event_handler *
consumer_handler_find(const struct cn_subscription *subscription,
                      const char *type);
const struct cn_event_shape *
consumer_shape_find(const struct cn_subscription *subscription,
                    const char *type);
/* The ids of an event, its handler and shape, without its place. */
CN_CHECKED enum cn_code
consumer_entry_read(const struct cn_subscription *subscription,
                    const Evt__Event *event,
                    struct entry *ret_entry,
                    struct cn_err *err);
void consumer_fetch_wake(struct consumer *self);
/* Takes off the queue what the position has passed. */
void partition_passed(struct partition *self);
/* Forgets the queue; what it held is fetched again from the position. */
void partition_drop(struct partition *self);
/* The queue is empty: all that had come is applied. */
void partition_completed(struct partition *self);

/* ---- consumer_apply.c ---- */

/* Applies a job; each run has its outcome then. */
void job_apply(struct job *job);
/* The event as its handler sees it. */
struct cn_event consumer_event(struct cn_env *env,
                               const struct cn_subscription *subscription,
                               const struct entry *entry,
                               struct cn_arena *arena);
/* Its payload, unpacked into the event's arena. */
CN_CHECKED enum cn_code consumer_event_open(const struct entry *entry,
                                            struct cn_event *event,
                                            struct cn_err *err);
bool consumer_is_moved(enum cn_code rc, const struct cn_err *err);
/* Failures that may pass by themselves. */
bool consumer_may_pass(enum cn_code rc);

/* ---- consumer_event.c ---- */

/* Applies a run event by event, after it was counted. */
CN_CHECKED enum cn_code
run_apply(struct run *run, struct cn_arena *arena, struct cn_err *err);

/* ---- consumer_position.c ---- */

int consumer_position_compare(struct consumer_position a,
                              struct consumer_position b);
/* A unit across tenants, in the relay's own name, not waited for on the disk:
 * what it does is done again after a crash. */
CN_CHECKED enum cn_code consumer_unit(const struct consumer *self,
                                      struct cn_arena *arena,
                                      const struct cn_db_step *steps,
                                      size_t count,
                                      struct cn_db_result *ret_result,
                                      struct cn_err *err);
/* Reads the positions of those partitions (a set of 1 << number) and brings
 * their queues in line. */
CN_CHECKED enum cn_code consumer_positions_load(struct consumer *self,
                                                unsigned set,
                                                struct cn_err *err);
/* Two statements that move one position from where the partition is known to
 * be. set returns a row, none when the position is elsewhere; move is the end
 * of a unit, which it rolls back then (inbox_position_moved). */
const struct cn_statement *consumer_statement_set(void);
const struct cn_statement *consumer_statement_move(void);
void consumer_move_params(const struct partition *partition,
                          struct consumer_position to,
                          int attempts,
                          struct cn_param params[CONSUMER_MOVE_PARAMS]);
/* The end of a unit that moves the positions of several runs to where they end,
 * no attempt of what follows being counted. */
void consumer_move_many(const struct consumer *self,
                        struct cn_arena *arena,
                        struct run *const *runs,
                        size_t count,
                        struct cn_write *write);
/* Counts an attempt of each run's next event, and finds what is blocked. Those
 * whose position or lease is not ours any more are ended. */
CN_CHECKED enum cn_code consumer_count(struct job *job, struct cn_err *err);

/* ---- consumer_rebuild.c ---- */

/* The fiber that loads the snapshots that are due. arg: struct consumers. */
void consumers_rebuild(void *arg);
/* The producer's log does not go back to where a position is: its snapshot is
 * due. */
CN_CHECKED enum cn_code consumer_rebuild_due(struct consumer *self,
                                             struct cn_err *err);

/* ---- consumer_snapshot.c ---- */

/* Loads until the end, until another has taken over, or until a stop. */
void consumer_load(struct load *self);
/* Every event of an aggregate that is copied from snapshots must be handled, or
 * its copy would miss what it told. CN_INTERNAL with the type that is not. */
CN_CHECKED enum cn_code
consumer_copies_check(const struct cn_subscription *subscription,
                      struct cn_err *err);

/* ---- consumer_complete.c ---- */

/* Keeps how far all is applied, for cn_consumer_complete_until. */
CN_CHECKED enum cn_code consumer_complete_keep(struct consumer *self,
                                               struct cn_err *err);

/* ---- consumer_metrics.c ---- */

void consumers_tell_metrics(void *arg, struct cn_metrics_page *page);
/* Looks whether an event that came is the one after the last one of its
 * aggregate; a gap is counted and logged. */
void consumer_gap_look(struct partition *partition, const struct entry *entry);

#endif
