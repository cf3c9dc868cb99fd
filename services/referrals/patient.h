/* SPDX-License-Identifier: Apache-2.0 */
/* A patient who is here and of whom something is told again: what they lack is
 * filled, what differs is shown to a person. */
#ifndef REFERRALS_PATIENT_H
#define REFERRALS_PATIENT_H

#include "services/referrals/clock.h"

/* Fills what the patient lacks from what was sent. Each field that is there and
 * differs becomes a warning patient_differs of the referral, with what is here,
 * what was sent, by whom and when. */
void patient_fill(struct cn_op *op,
                  struct cn_record *patient,
                  const Ref__Patient *sent,
                  Ref__Referral *referral);
/* Puts a patient who is here within the change of something else: their row,
 * their identifiers and their other open referrals when they have changed, else
 * requires their version. */
void patient_put_along(struct cn_op *op, struct cn_record *patient);
/* Settles the open referrals of a patient who has changed, in the same unit. */
void patient_referrals_settle(struct cn_op *op, struct cn_record *patient);

#endif
