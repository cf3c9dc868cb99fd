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
    bool number_is_shared; /* another person's referral has its number */
};

/* What it becomes. */
struct arrival {
    struct cn_record *referral;  /* new, with its patient beside it */
    bool skip[PATIENT_KEYS_MAX]; /* identifiers that are somebody else's */
    struct cn_deadline deadline; /* C01, when it is valid */
};

/* Finds the patient (the given one; the only one with an identifier of theirs
 * who is not another person; else a new one) and derives everything. 422
 * /patient_id; 503 while the branch is not known here.
 *
 * - What the patient found lacks is filled; what differs is a warning
 *   patient_differs, with what is here and what was sent.
 * - When the identifier is that of another person (identity_disputed), or of
 *   several (patient_ambiguous), the patient is made new without it, and the
 *   referral waits in `matching` until a person has said who it is.
 * - identifier_taken: a patient out of reach has it, and is not named.
 * - duplicate_suspected: somebody has the same name and birth date.
 * - external_id_disputed: number_is_shared. */
struct arrival arrival_make(struct cn_op *op,
                            const struct arrival_facts *facts);
/* Puts the patient when they are new or filled, else requires their version.
 * The referral is put after it, then the deadline. */
void arrival_patient_put(struct cn_op *op, const struct arrival *self);

#endif
