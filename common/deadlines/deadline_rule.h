/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of clocks as rows of <schema>.clock_rule, kept in memory. */
#ifndef CN_DEADLINE_RULE_H
#define CN_DEADLINE_RULE_H

#include "common/deadlines/deadline.h"
#include "common/store/step.h"

/* How old a rule in memory may be, by the env's clock. */
#define CN_CLOCK_RULES_KEEP_US (60 * CN_SECOND)

/* To what a rule is to apply. */
struct cn_clock_case {
    int64_t at;        /* a rule must be in effect on this day, UTC */
    const char *state; /* of the place of care, "KY"; NULL: not known */
    const char *payer; /* "medicare"; NULL: not known */
};
/* The rule with that id for the operation's tenant: its own before everybody's,
 * of several the latest. A rule for certain states or payers is none where
 * these are not known. Never NULL: the operation fails (CN_INTERNAL) when there
 * is none, for the service's migrations put it there. It stays until the work
 * that asked has ended. Reads the rows when those in memory are too old, hence
 * in a fiber. */
const struct cn_clock_rule *cn_clock_rule_of(struct cn_op *op,
                                             const char *id,
                                             const struct cn_clock_case *of);
/* The tenant's holidays and everybody's, for cn_clock_facts. */
const struct cn_date *cn_clock_holidays(struct cn_op *op, size_t *ret_count);

#endif
