/* SPDX-License-Identifier: Apache-2.0 */
/* What the two files of the consumer share: consumer.c (the loop around the
 * fetch) and consumer_apply.c (a batch and its events). */
#ifndef CN_CONSUMER_INTERNAL_H
#define CN_CONSUMER_INTERNAL_H

#include "common/consumer.h"
#include "common/env.h"
#include "common/err.h"
#include "common/service.h"

#include "cairn/events.pb-c.h"

enum {
    CONSUMER_ALL = -1, /* the partition of a position over all of them */
    CONSUMER_UNIT_BUDGET_US = 5000000
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
    uint64_t skipped;      /* events of types that nobody handles here */
};

int consumer_position_compare(struct consumer_position a,
                              struct consumer_position b);
/* Reads the position, which is made at the beginning of the log if there is
 * none. */
CN_CHECKED enum cn_code consumer_position_load(struct consumer *self,
                                               struct cn_err *err);
/* Applies what was fetched. On a failure the position must be loaded anew. */
CN_CHECKED enum cn_code consumer_apply(struct consumer *self,
                                       struct cn_arena *arena,
                                       const Evt__FetchResponse *batch,
                                       struct cn_err *err);

#endif
