/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of schema notifications that are asked for otherwise than by id or page.
 * A failed operation gets none. */
#ifndef NOTIFICATIONS_STORE_H
#define NOTIFICATIONS_STORE_H

#include "cairn/notifications.resources.h"
#include "services/notifications/rules.h"

/* ---- messages (store.c) ---- */

/* Was this told to this audience of this referral already? */
bool message_exists(struct cn_op *op,
                    struct cn_uuid referral_id,
                    const struct telling *telling);
/* The messages of a referral that wait to be sent: there are few, for nobody is
 * told the same thing twice. */
struct cn_records messages_queued(struct cn_op *op, struct cn_uuid referral_id);
/* Puts a new message. When somebody was told the same meanwhile, the write is
 * stale (message_once_version). */
void message_put_new(struct cn_op *op, struct cn_record *message);

/* The metric cairn_messages_total: one more message has come to the status that
 * it is put with, once that is committed. */
void message_count(struct cn_op *op, const Ntf__Message *message);
/* Tells 0 for the statuses that no message has come to. */
void message_counts_begin(void);

/* ---- copies (store_copy.c) ---- */

/* What referrals tells of a referral and its patient; blank when it has told
 * nothing. */
struct care_known {
    int64_t event_seq; /* of the referral; 0: nothing was told */
    Ntf__Care *care;
};
struct care_known care_known(struct cn_op *op, struct cn_uuid referral_id);

/* The start of care, as it is known now. */
struct soc {
    int64_t event_seq; /* of the visit; 0: nothing was told */
    bool booked;       /* it will take place, takes place or took place */
    int64_t starts_at;
    const char *clinician_name; /* NULL: not known */
};
struct soc soc_of_visit(struct cn_op *op, struct cn_uuid visit_id);
/* The one that is booked for a referral. *ret_mark becomes another one as soon
 * as a visit of the referral changes. */
struct soc soc_of_referral(struct cn_op *op,
                           struct cn_uuid referral_id,
                           int64_t *ret_mark);

/* A part into what is known. */
void care_of_referral(const Ntf__Referral *referral, Ntf__Care *care);
void care_of_patient(const Ntf__Patient *patient, Ntf__Care *care);
void care_of_soc(const struct soc *soc, Ntf__Care *care);

/* The referral's copy, or its visits', must be as they were read
 * (care_version): two services' events may come at once, and the second then
 * decides again. Both under the lock "care" of the referral. */
void referral_require(struct cn_op *op, struct cn_uuid id, int64_t event_seq);
void soc_require(struct cn_op *op, struct cn_uuid referral_id, int64_t mark);

#endif
