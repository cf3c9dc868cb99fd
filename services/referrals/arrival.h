/* SPDX-License-Identifier: Apache-2.0 */
/* A referral that arrives, as JSON or by HL7: its patient is found or made, it
 * is checked, and both become rows and events of one unit. */
#ifndef REFERRALS_ARRIVAL_H
#define REFERRALS_ARRIVAL_H

#include "services/referrals/clock.h"

/* What came. */
struct arrival_facts {
    struct cn_uuid branch_id;
    const Ref__Referral *referral; /* as sent; its patient is not looked at */
    const Ref__Patient *patient;   /* as sent; NULL: nothing is known */
    const char *patient_id;        /* of an existing patient instead, or NULL */
    struct cn_bytes content_hash;  /* of what was sent; kept until the commit */
};

/* What it becomes. */
struct arrival {
    struct cn_record *referral;  /* new, with its patient beside it */
    bool skip[PATIENT_KEYS_MAX]; /* identifiers that are somebody else's */
    struct cn_deadline deadline; /* C01, when it is valid */
};

/* Finds the patient (the given one; the only one with an identifier of theirs;
 * else a new one) and derives everything. An ambiguous patient is made new with
 * the warning patient_ambiguous, one whose identifier a patient out of reach
 * has with identifier_taken. 422 /patient_id; 503 while the branch is not known
 * here. */
struct arrival arrival_make(struct cn_op *op,
                            const struct arrival_facts *facts);
/* Puts the patient when they are new, else requires their version. The referral
 * is put after it, then the deadline. */
void arrival_patient_put(struct cn_op *op, const struct arrival *self);

#endif
