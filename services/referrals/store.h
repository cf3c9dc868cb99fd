/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of schema referrals that are asked for otherwise than by id, and what is
 * written beside the records. Row-level security keeps every statement within
 * the operation's tenant. A failed operation gets blank rows. */
#ifndef REFERRALS_STORE_H
#define REFERRALS_STORE_H

#include "cairn/referrals.resources.h"

enum {
    PATIENT_KEYS_MAX = 20, /* identifiers of one patient */
    NAMESAKES_MAX = 3,     /* patients of one name and birth date, looked at */
    PATIENT_REFERRALS_MAX = 32 /* open referrals of one patient, looked at */
};

/* ---- branches (copies) ---- */

/* NULL when the branch is not known here. */
const char *branch_zone(struct cn_op *op, struct cn_uuid id);
/* A copy as of event_seq; an older one changes nothing. */
void ref_branch_keep(struct cn_op *op,
                     struct cn_uuid id,
                     int64_t event_seq,
                     const char *name,
                     const char *zone);

/* ---- patients ---- */

/* By the outside id. A patient is within reach by their own branch or by a
 * referral of theirs; one out of reach is not found. */
struct cn_record *patient_find(struct cn_op *op, const char *id);
/* The same as cn_take: 404 for one that is not found, 412 for another version.
 */
struct cn_record *patient_take(struct cn_op *op, const char *id);
/* What a new referral meets: the zone of its branch, the patients who have one
 * of its patient's identifiers, and those of the same name and birth date.
 * Nothing is read of one out of reach. */
struct intake {
    const char *zone;        /* NULL: the branch is not known here */
    struct cn_record *match; /* the first of them within reach, or NULL */
    size_t match_count;      /* 1 is a match, more are ambiguous */
    struct cn_record *other; /* the second, or NULL */
    size_t match_place;      /* of the identifier that match has */
    size_t other_place;
    bool hidden;                  /* one of them is out of reach */
    bool taken[PATIENT_KEYS_MAX]; /* identifier i is somebody's */
    struct cn_record *namesake;   /* same name and birth date, or NULL */
};
/* person: their name and birth date; NULL: nobody has the same. */
struct intake intake_find(struct cn_op *op,
                          struct cn_uuid branch_id,
                          const Ref__Patient *person,
                          const char *const *systems,
                          const char *const *values,
                          size_t count);
/* By family name, from the beginning `family` (normalised) and after the
 * patient `after` (nil: from the first). */
struct cn_records patients_by_name(struct cn_op *op,
                                   const char *family,
                                   struct cn_uuid after,
                                   int limit);
/* The one who has this identifier (in its form as a key), if any. */
struct cn_records patients_by_identifier(struct cn_op *op,
                                         const char *system,
                                         const char *value,
                                         struct cn_uuid after);
/* In the order of changes, behind a place in it. */
struct cn_records
patients_changed(struct cn_op *op, struct cn_cursor after, int limit);
/* The identifiers by which the patient is found, without those for which
 * skip[i] holds (NULL: all of them). After the patient's row. */
void patient_keys_add(struct cn_op *op,
                      const struct cn_record *patient,
                      const bool *skip);
/* All of them anew. */
void patient_keys_replace(struct cn_op *op, const struct cn_record *patient);
/* The patient must still have this version: a decision was based on it. Takes
 * the patient's lock. */
void patient_require(struct cn_op *op, const struct cn_record *patient);

/* ---- referrals ---- */

/* The live referral that is found under the key of this one (referral_key),
 * with the hash of what its sender sent. */
struct cn_record *referral_of_key(struct cn_op *op,
                                  const Ref__Referral *referral,
                                  struct cn_bytes *ret_content_hash);
/* Which referrals a page holds. */
struct referral_filter {
    struct cn_param reach;     /* uuid[] of branches, NULL for all */
    struct cn_param statuses;  /* text[] of words */
    struct cn_uuid patient_id; /* nil: any */
    const char *source_system; /* with external_id; NULL: any */
    const char *external_id;
    bool by_change; /* in the order of changes, from `since` */
    int64_t since;
    bool narrow; /* something is asked for besides the reach */
};
/* In the order of the worklist or of changes, after a place in it. */
struct cn_records referrals_by(struct cn_op *op,
                               const struct referral_filter *filter,
                               struct cn_cursor after,
                               int limit);
/* The open ones of a patient, at most PATIENT_REFERRALS_MAX, without the
 * patient beside them. */
struct cn_records referrals_open(struct cn_op *op, struct cn_uuid patient_id);
/* The patient's open referrals must still be these in these versions
 * (constraint referral_version). Before they are put. */
void referrals_require(struct cn_op *op,
                       struct cn_uuid patient_id,
                       struct cn_records open);

/* ---- messages as they came (store_hl7.c) ---- */

struct raw_row {
    struct cn_uuid id;
    struct cn_uuid referral_id; /* nil: none */
    struct cn_uuid patient_id;  /* the referral's; read by raw_find */
    struct cn_uuid branch_id;   /* as patient_id */
    int64_t received_at;
    const char *content_type;
    const char *message_type; /* may be NULL, as the next */
    const char *sender;
    bool control_id_reused;
    uint8_t control_hash[32];
    uint8_t body_hash[32];
    const char *ack_code;
    struct cn_bytes content; /* in clear; sealed by raw_add */
    struct cn_bytes ack;
};
/* What is known of a message's control id: was it used with another body, and
 * the same message accepted before (*ret_found, with ack, referral_id and whose
 * that is). */
struct raw_row raw_find(struct cn_op *op,
                        const uint8_t control_hash[32],
                        const uint8_t body_hash[32],
                        bool *ret_found);
/* The message that a referral came in, content and content_type alone. False:
 * it came in none. */
bool raw_of_referral(struct cn_op *op,
                     struct cn_uuid referral_id,
                     struct raw_row *ret_row);
/* The bytes that row points to stay until the commit. */
void raw_add(struct cn_op *op, const struct raw_row *row);

#endif
