/* SPDX-License-Identifier: Apache-2.0 */
/* A referral that arrives, as JSON or by HL7: its patient is found or made, it
 * is checked, and both become rows, events and an audit row of one unit. */
#ifndef REFERRALS_ARRIVAL_H
#define REFERRALS_ARRIVAL_H

#include "services/referrals/clock.h"

/* What came. */
struct arrival_facts {
    struct cn_uuid branch_id;
    const Ref__Referral *referral; /* as sent; its patient is not looked at */
    const Ref__Patient *patient;   /* as sent; NULL: nothing is known */
    const char *patient_id;        /* of an existing patient instead, or NULL */
    struct cn_bytes content_hash;  /* of what was sent */
};

/* What it becomes. */
struct arrival {
    struct referral_row row; /* version 1, with its patient */
    bool patient_made;
    bool skip[PATIENT_KEYS_MAX]; /* identifiers that are somebody else's */
    bool validated;
    struct cn_deadline deadline; /* C01, when it is valid */
};

/* Finds the patient (the given one; the only one with an identifier of theirs;
 * else a new one) and derives everything. An ambiguous patient is made new with
 * the warning patient_ambiguous, one whose identifier a patient out of reach
 * has with identifier_taken. CN_INVALID /patient_id; CN_UNAVAILABLE while
 * the branch is not known here. */
CN_CHECKED enum cn_code arrival_make(const struct cn_request *request,
                                     const struct arrival_facts *facts,
                                     struct arrival *ret_arrival,
                                     struct cn_err *err);
/* The three parts of its unit, in this order. */
void arrival_lock(const struct arrival *self, struct cn_write *write);
CN_CHECKED enum cn_code arrival_change(const struct cn_store *store,
                                       struct arrival *self,
                                       struct cn_write *write,
                                       struct cn_err *err);
CN_CHECKED enum cn_code arrival_tell(const struct cn_store *store,
                                     const struct arrival *self,
                                     struct cn_write *write,
                                     struct cn_err *err);

#endif
