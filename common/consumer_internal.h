/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the consumer share: consumer.c (the loop around the fetch),
 * consumer_apply.c (a batch and its events), consumer_position.c. */
#ifndef CN_CONSUMER_INTERNAL_H
#define CN_CONSUMER_INTERNAL_H

#include "common/consumer.h"
#include "common/db.h"
#include "common/env.h"
#include "common/err.h"
#include "common/service.h"

#include "cairn/events.pb-c.h"

enum {
    CONSUMER_ALL = -1, /* the partition of a position over all of them */
    CONSUMER_UNIT_BUDGET_US = 5000000,
    CONSUMER_MOVE_PARAMS = 10
};

struct consumer_position {
    int64_t epoch;
    int64_t xid;
    int64_t seq;
};

/* One subscription of this replica. */
struct consumer {
    struct cn_env *env;
    const struct cn_service *service;
    const struct cn_subscription *subscription;
    struct consumer_position at; /* as committed, when it is known */
    bool known;
    /* The last attempt ended by something that may pass: it was counted and
     * does not count, so the next one is not counted again. */
    bool forgiven;
    unsigned passing;      /* such failures in a row */
    unsigned failures;     /* of any kind in a row, for the backoff */
    int64_t failing_since; /* monotonic; 0: all is well */
    bool told;             /* the trouble was logged */
    int64_t noted_at;      /* monotonic: complete_until was last written */
    uint64_t skipped;      /* events of types that nobody handles here */
};

int consumer_position_compare(struct consumer_position a,
                              struct consumer_position b);
/* Reads the position, which is made at the beginning of the log if there is
 * none. */
CN_CHECKED enum cn_code consumer_position_load(struct consumer *self,
                                               struct cn_err *err);
/* A unit across tenants, in the relay's own name. */
CN_CHECKED enum cn_code consumer_unit(const struct consumer *self,
                                      struct cn_arena *arena,
                                      const struct cn_db_step *steps,
                                      size_t count,
                                      struct cn_db_result *ret_result,
                                      struct cn_err *err);
/* Two statements that move the position from self->at. set returns one row with
 * the attempts, none when the position is elsewhere; move is the end of a unit,
 * which it rolls back then (inbox_position_moved). */
const struct cn_statement *consumer_statement_set(void);
const struct cn_statement *consumer_statement_move(void);
/* Their parameters. attempts is set, or added when keep is true. */
void consumer_move_params(const struct consumer *self,
                          struct consumer_position to,
                          int attempts,
                          bool keep,
                          struct cn_param params[CONSUMER_MOVE_PARAMS]);
/* All that a reply held of these partitions is applied: keeps its
 * complete_until for cn_consumer_complete_until, at most once a second. */
void consumer_complete_note(struct cn_env *env,
                            const char *producer,
                            const int *partitions,
                            size_t count,
                            int64_t complete_until,
                            int64_t *noted_at);
/* Applies what was fetched. On a failure the position must be loaded anew. */
CN_CHECKED enum cn_code consumer_apply(struct consumer *self,
                                       struct cn_arena *arena,
                                       const Evt__FetchResponse *batch,
                                       struct cn_err *err);

#endif
