/* SPDX-License-Identifier: Apache-2.0 */
/* The metric cairn_deadlines: how many clocks of all agencies there are, by
 * rule and state. Clocks that were met or cancelled are not counted. */
#ifndef CN_DEADLINE_WATCH_H
#define CN_DEADLINE_WATCH_H

#include "common/contract/service.h"

enum {
    CN_DEADLINE_WATCH_US = 10000000, /* between two counts */
    CN_DEADLINE_COUNTS_MAX = 64,     /* more rules than these are not told */
    CN_DEADLINE_WORD_MAX = 24
};

struct cn_deadline_count {
    char rule[CN_DEADLINE_WORD_MAX];
    char state[CN_DEADLINE_WORD_MAX];
    int64_t count;
};

/* Counts once, as the relay; for each rule each state, though it be 0. Parks.
 */
CN_CHECKED enum cn_code
cn_deadline_count(struct cn_env *env,
                  struct cn_deadline_count counts[CN_DEADLINE_COUNTS_MAX],
                  size_t *ret_count,
                  struct cn_err *err);
/* Counts from now on and tells the metric, for a service that has clocks.
 * Every replica counts all of them. */
CN_CHECKED enum cn_code cn_deadline_watch_start(
    struct cn_env *env, const struct cn_service *service, struct cn_err *err);

#endif
