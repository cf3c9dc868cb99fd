/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of clocks as rows of <schema>.clock_rule, kept in memory. */
#ifndef CN_DEADLINE_RULE_H
#define CN_DEADLINE_RULE_H

#include "common/deadlines/deadline.h"
#include "common/store/store.h"

/* How old a rule in memory may be, by the env's clock. */
#define CN_CLOCK_RULES_KEEP_US (60 * CN_SECOND)

/* To what a rule is to apply. */
struct cn_clock_case {
    int64_t at;        /* a rule must be in effect on this day, UTC */
    const char *state; /* of the place of care, "KY"; NULL: not known */
    const char *payer; /* "medicare"; NULL: not known */
};
/* The rule with that id for the store's tenant: its own before everybody's, of
 * several the latest. A rule for certain states or payers is none where these
 * are not known. It stays until the work that asked has ended. CN_INTERNAL when
 * there is none: the service's migrations put it there. Reads the rows when
 * those in memory are too old, hence in a fiber. */
CN_CHECKED enum cn_code
cn_clock_rule_find(const struct cn_store *store,
                   const char *id,
                   const struct cn_clock_case *of,
                   const struct cn_clock_rule **ret_rule,
                   struct cn_err *err);
/* The same for an operation, which fails when there is none. Never NULL. */
const struct cn_clock_rule *cn_clock_rule_of(struct cn_op *op,
                                             const char *id,
                                             const struct cn_clock_case *of);
/* The tenant's holidays and everybody's, for cn_clock_facts. */
CN_CHECKED enum cn_code cn_clock_holidays(const struct cn_store *store,
                                          const struct cn_date **ret_holidays,
                                          size_t *ret_count,
                                          struct cn_err *err);

#endif
