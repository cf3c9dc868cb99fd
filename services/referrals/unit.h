/* SPDX-License-Identifier: Apache-2.0 */
/* What several handlers do alike: branches of a request, how a change of a
 * referral is put, who else has an identifier. */
#ifndef REFERRALS_UNIT_H
#define REFERRALS_UNIT_H

#include "services/referrals/clock.h"

/* The branch that something new belongs to: the one named, if it is within the
 * reach, else the credential's default. 422 /branch_id. */
struct cn_uuid branch_of(struct cn_op *op, const char *named);
/* The branch's zone; zone is what is known of it. A branch whose event may
 * still be on the way is waited for a little, then 503. Another is no branch of
 * the agency: 422 /branch_id. */
const char *branch_await(struct cn_op *op, struct cn_uuid id, const char *zone);
/* The same of the branch that a patched record names, which it must. */
const char *branch_patched(struct cn_op *op, const char *named);

/* Two parameters of a list of which neither stands alone: 422 at the one that
 * is missing. */
void together_check(struct cn_op *op,
                    const char *a_name,
                    const char *a,
                    const char *b_name,
                    const char *b);

/* Puts a changed referral with what becomes of its clock. The change holds only
 * for the patient beside it in the version that was read. A source and external
 * id that another referral has: 409 duplicate with its location. */
void referral_put(struct cn_op *op, struct cn_record *referral);
/* The same within the change of something else: of the patient, or of a message
 * that was received. Nothing when it is as it was read. */
void referral_put_along(struct cn_op *op, struct cn_record *referral);
/* 409 duplicate, naming the referral that has the key of this one if it is
 * within the reach. In place of a conflict. */
void referral_duplicate(struct cn_op *op, const Ref__Referral *referral);
/* 409 duplicate, naming the patient who has one of these identifiers if they
 * are within the reach. For on_conflict; the context is the patient's record.
 */
void patient_conflict(struct cn_op *op, const char *constraint);
/* In place of a conflict: somebody was faster, the handler reads again. */
void conflict_is_stale(struct cn_op *op, const char *why);

#endif
