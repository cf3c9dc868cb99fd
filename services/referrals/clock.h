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
const struct cn_clock_rule *soc_rule(struct cn_op *op,
                                     const struct cn_record *referral);
/* The deadline as the referral asks for it: it runs from validity to admission.
 * A referral that is not in the table yet has none there. */
struct cn_deadline soc_deadline(struct cn_op *op,
                                const struct cn_record *referral);

#endif
