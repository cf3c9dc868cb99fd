/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of schema referrals, read and written. Reads run at once, in a fiber;
 * writes add their statements to a unit (common/store/write.h), whose order the
 * caller keeps. */
#ifndef REFERRALS_STORE_H
#define REFERRALS_STORE_H

#include "cairn/referrals.pb-c.h"
#include "common/base/id.h"
#include "common/contract/service.h"
#include "common/db/db.h"
#include "common/store/cursor.h"
#include "common/store/reach.h"
#include "common/store/store.h"
#include "common/store/write.h"

enum {
    PATIENT_KEYS_MAX = 20,     /* identifiers of one patient */
    PATIENT_REFERRALS_MAX = 32 /* open referrals of one patient, looked at */
};

/* `reach` below is the uuid[] of branches whose rows are seen, NULL for all:
 * what cn_reach_branches gives. */

struct patient_row {
    struct cn_uuid id;
    struct cn_uuid branch_id;
    int64_t version;
    int64_t event_seq;
    const char *zone; /* of its branch; NULL: the branch is not known here */
    Ref__Patient *patient;
};

struct referral_row {
    struct cn_uuid id;
    struct cn_uuid branch_id;
    struct cn_uuid patient_id;
    int64_t version;
    int64_t event_seq;
    int64_t sort_at;
    const char *zone; /* of its branch; NULL: not known here */
    struct cn_bytes content_hash;
    Ref__Referral *referral; /* without its patient */
    struct patient_row patient;
};

/* ---- branches (copies) ---- */

/* *ret_zone is NULL when the branch is not known here. */
CN_CHECKED enum cn_code branch_zone(const struct cn_store *store,
                                    struct cn_uuid id,
                                    const char **ret_zone,
                                    struct cn_err *err);
/* A copy as of event_seq; an older one changes nothing. */
void branch_put(struct cn_write *write,
                struct cn_uuid tenant,
                struct cn_uuid id,
                const char *name,
                const char *zone,
                int64_t event_seq);

/* ---- patients ---- */

/* CN_NOT_FOUND beyond the reach too: a patient is within it by their own branch
 * or by a referral of theirs. */
CN_CHECKED enum cn_code patient_load(const struct cn_store *store,
                                     struct cn_uuid id,
                                     struct cn_param reach,
                                     struct patient_row *ret_row,
                                     struct cn_err *err);
/* What a new referral meets: the zone of its branch, and the patients who have
 * one of these identifiers. Nothing is read of one out of reach. */
struct intake {
    const char *zone;             /* NULL: the branch is not known here */
    struct patient_row match;     /* the first of them within reach */
    size_t match_count;           /* 1 is a match, more are ambiguous */
    bool hidden;                  /* one of them is out of reach */
    bool taken[PATIENT_KEYS_MAX]; /* identifier i is somebody's */
};
CN_CHECKED enum cn_code intake_load(const struct cn_store *store,
                                    struct cn_uuid branch_id,
                                    const char *const *systems,
                                    const char *const *values,
                                    size_t count,
                                    struct cn_param reach,
                                    struct intake *ret_intake,
                                    struct cn_err *err);
/* A page by family name, from the beginning `family` (normalised) and after the
 * patient `after` (nil: from the first). */
CN_CHECKED enum cn_code patients_page(const struct cn_store *store,
                                      struct cn_param reach,
                                      const char *family,
                                      struct cn_uuid after,
                                      int limit,
                                      struct patient_row **ret_rows,
                                      size_t *ret_count,
                                      struct cn_err *err);
/* All of the tenant, whatever their branch, in the order of their ids: up to
 * limit after one. */
CN_CHECKED enum cn_code patients_after(const struct cn_store *store,
                                       struct cn_uuid after,
                                       int limit,
                                       struct patient_row **ret_rows,
                                       size_t *ret_count,
                                       struct cn_err *err);
/* row->patient holds id, version and times; row holds the columns. Identifiers
 * for which skip[i] holds stay out of the table. */
CN_CHECKED enum cn_code patient_add(const struct cn_store *store,
                                    struct cn_write *write,
                                    const struct patient_row *row,
                                    const bool *skip,
                                    struct cn_err *err);
/* From row->version to version + 1 (constraint patient_version), with `events`
 * more events. identifiers: replace them too. */
CN_CHECKED enum cn_code patient_change(const struct cn_store *store,
                                       struct cn_write *write,
                                       const struct patient_row *row,
                                       int events,
                                       bool identifiers,
                                       struct cn_err *err);
/* The patient must still have this version: a decision was based on it. */
void patient_require(struct cn_write *write,
                     struct cn_uuid tenant,
                     struct cn_uuid id,
                     int64_t version);

/* ---- referrals ---- */

CN_CHECKED enum cn_code referral_load(const struct cn_store *store,
                                      struct cn_uuid id,
                                      struct cn_param reach,
                                      struct referral_row *ret_row,
                                      struct cn_err *err);
/* The live referral of that source and external id. */
CN_CHECKED enum cn_code referral_load_by_source(const struct cn_store *store,
                                                const char *system,
                                                const char *external_id,
                                                struct referral_row *ret_row,
                                                struct cn_err *err);
/* Which referrals a page holds. */
struct referral_filter {
    struct cn_param reach;
    struct cn_param statuses;  /* text[] of words */
    struct cn_uuid patient_id; /* nil: any */
};
/* A page in the order of the worklist, after a place in it. */
CN_CHECKED enum cn_code referrals_page(const struct cn_store *store,
                                       const struct referral_filter *filter,
                                       struct cn_cursor after,
                                       int limit,
                                       struct referral_row **ret_rows,
                                       size_t *ret_count,
                                       struct cn_err *err);
/* All of the tenant, whatever their branch, in the order of their ids: up to
 * limit after one. */
CN_CHECKED enum cn_code referrals_after(const struct cn_store *store,
                                        struct cn_uuid after,
                                        int limit,
                                        struct referral_row **ret_rows,
                                        size_t *ret_count,
                                        struct cn_err *err);
/* The open ones of a patient, at most PATIENT_REFERRALS_MAX, without patient.
 */
CN_CHECKED enum cn_code referrals_open(const struct cn_store *store,
                                       struct cn_uuid patient_id,
                                       struct referral_row **ret_rows,
                                       size_t *ret_count,
                                       struct cn_err *err);
CN_CHECKED enum cn_code referral_add(const struct cn_store *store,
                                     struct cn_write *write,
                                     const struct referral_row *row,
                                     struct cn_err *err);
/* From row->version to version + 1 (constraint referral_version), with `events`
 * more events. */
CN_CHECKED enum cn_code referral_change(const struct cn_store *store,
                                        struct cn_write *write,
                                        const struct referral_row *row,
                                        int events,
                                        struct cn_err *err);
/* The patient's open referrals must still be these in these versions
 * (constraint referral_version). */
CN_CHECKED enum cn_code referrals_require(const struct cn_store *store,
                                          struct cn_write *write,
                                          struct cn_uuid patient_id,
                                          const struct referral_row *rows,
                                          size_t count,
                                          struct cn_err *err);

/* ---- messages as they came ---- */

struct raw_row {
    struct cn_uuid id;
    struct cn_uuid referral_id; /* nil: none */
    struct cn_uuid patient_id;  /* the referral's; read by raw_find */
    struct cn_uuid branch_id;   /* as patient_id */
    int64_t received_at;
    const char *content_type;
    const char *message_type; /* may be NULL, as the next two */
    const char *sender;
    const char *control_id;
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
CN_CHECKED enum cn_code raw_find(const struct cn_store *store,
                                 const uint8_t control_hash[32],
                                 const uint8_t body_hash[32],
                                 bool *ret_found,
                                 struct raw_row *ret_row,
                                 struct cn_err *err);
/* The message that a referral came in, content and content_type alone. */
CN_CHECKED enum cn_code raw_load(const struct cn_store *store,
                                 struct cn_uuid referral_id,
                                 struct raw_row *ret_row,
                                 struct cn_err *err);
CN_CHECKED enum cn_code raw_add(const struct cn_store *store,
                                struct cn_write *write,
                                const struct raw_row *row,
                                struct cn_err *err);

/* ---- episodes ---- */

struct episode_row {
    struct cn_uuid id;
    struct cn_uuid branch_id;
    struct cn_uuid patient_id;
    struct cn_uuid referral_id;
    int64_t created_at;
    Ref__Episode *episode;
};
/* Newest first; patient_id nil: of all. */
CN_CHECKED enum cn_code episodes_page(const struct cn_store *store,
                                      struct cn_param reach,
                                      struct cn_uuid patient_id,
                                      struct cn_cursor before,
                                      int limit,
                                      struct episode_row **ret_rows,
                                      size_t *ret_count,
                                      struct cn_err *err);
CN_CHECKED enum cn_code episode_add(const struct cn_store *store,
                                    struct cn_write *write,
                                    const struct episode_row *row,
                                    struct cn_err *err);

#endif
