/* SPDX-License-Identifier: Apache-2.0 */
/* The clock C01 of a referral as a deadline: which rule applies, and what
 * becomes of the deadline in a unit that changes the referral. */
#ifndef REFERRALS_CLOCK_H
#define REFERRALS_CLOCK_H

#include "common/deadlines/deadline_rule.h"
#include "common/deadlines/deadline_unit.h"
#include "services/referrals/store.h"

#define SOC_RULE "C01"

/* The rule for this referral: in effect when it became valid, or now. */
CN_CHECKED enum cn_code soc_rule(const struct cn_store *store,
                                 const Ref__Referral *referral,
                                 const Ref__Patient *patient,
                                 const struct cn_clock_rule **ret_rule,
                                 struct cn_err *err);
/* The deadline as the row asks for it: it runs from validity to admission.
 * made: the referral is new, and has none yet. */
CN_CHECKED enum cn_code soc_deadline(const struct cn_store *store,
                                     const struct referral_row *row,
                                     bool made,
                                     struct cn_deadline *ret_deadline,
                                     struct cn_err *err);
/* The same when the start-of-care visit was made at that instant. */
CN_CHECKED enum cn_code soc_deadline_act(const struct cn_store *store,
                                         const struct referral_row *row,
                                         int64_t acted_at,
                                         struct cn_deadline *ret_deadline,
                                         struct cn_err *err);
/* Whose clock it is. */
struct cn_deadline_subject soc_subject(const struct referral_row *row);

#endif
