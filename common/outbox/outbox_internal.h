/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the log share: outbox.c (the horizon and the poller that
 * wakes the waiting fetches) and outbox_fetch.c. */
#ifndef CN_OUTBOX_INTERNAL_H
#define CN_OUTBOX_INTERNAL_H

#include "common/contract/event.h"
#include "common/db/db.h"
#include "common/loop/fiber.h"
#include "common/outbox/outbox.h"

enum {
    OUTBOX_CONTEXT_MAX = 80,
    OUTBOX_READERS_MAX = 16, /* consumers that name themselves */
    OUTBOX_NAME_MAX = 32
};

struct position {
    int64_t epoch;
    int64_t xid;
    int64_t seq;
};

/* A long poll that waits for the log to grow past seen. In the request's
 * arena; its fiber takes it off the list. */
struct waiter {
    struct waiter *next;
    struct cn_token token;
    struct position seen;
};

/* Every transaction that had its id at complete_at is shown by now. The mark is
 * the next such instant: it holds once xmin reaches mark_xid. */
struct horizon {
    int64_t complete_at; /* 0: not known yet */
    int64_t mark_xid;
    int64_t mark_at;
};

/* A consumer and how far it has read each partition, as it said itself. */
struct reader {
    char name[OUTBOX_NAME_MAX];
    struct position at[CN_PARTITIONS];
    bool known[CN_PARTITIONS];
};

struct cn_outbox {
    struct cn_env *env;
    char context[OUTBOX_CONTEXT_MAX]; /* of the sealed payloads */
    int epoch;
    struct position head; /* the highest one below the horizon */
    struct horizon horizon;
    bool held; /* at the last look a transaction was open */
    struct waiter *waiters;
    unsigned waiter_count;
    struct cn_rest poller;
    bool hinted;
    int64_t hinted_at; /* monotonic: the waiters were last called by a hint */
    struct reader readers[OUTBOX_READERS_MAX];
    size_t reader_count;
};

int outbox_position_compare(struct position a, struct position b);
struct position outbox_position_max(struct position a, struct position b);
/* The position in a row's first three columns. */
struct position outbox_row_position(const struct cn_rows *rows, size_t row);
/* A row of head, xmin and xmax; its parameter is the epoch. */
const struct cn_statement *outbox_statement_head(void);
/* Takes in such a row that was asked for at at. */
void outbox_horizon_move(struct horizon *self,
                         const struct cn_rows *rows,
                         int64_t at);
void outbox_observe(struct cn_outbox *self,
                    const struct cn_rows *rows,
                    int64_t at);
/* A consumer is done with what comes before at, and with at. */
void outbox_reader_note(struct cn_outbox *self,
                        const char *consumer,
                        int partition,
                        struct position at);
/* Parks until the log has grown past seen. CN_DEADLINE when it did not. */
CN_CHECKED enum cn_code outbox_wait(struct cn_outbox *self,
                                    struct cn_arena *arena,
                                    struct position seen,
                                    int64_t until_at);

#endif
