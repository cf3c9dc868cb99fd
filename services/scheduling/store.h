/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of schema scheduling. */
#ifndef SCHEDULING_STORE_H
#define SCHEDULING_STORE_H

#include "cairn/scheduling.pb-c.h"
#include "common/inbox/consumer.h"
#include "common/store/page.h"
#include "common/store/store.h"
#include "common/store/write.h"
#include "services/scheduling/rules.h"

struct clinician_row {
    struct cn_uuid id;
    struct cn_uuid branch_id;
    int64_t version;
    int64_t event_seq;
    const char *time_zone; /* own, else the branch's, else the agency's */
    Sch__Clinician *clinician;
};

struct visit_row {
    struct cn_uuid id;
    struct cn_uuid branch_id;
    struct cn_uuid referral_id;
    struct cn_uuid patient_id;
    int64_t sort_at;
    int64_t version;
    int64_t event_seq;
    Sch__Visit *visit;
};

/* A copy of what a referral needs; found false: its events have not come. */
struct need_row {
    bool found;
    struct cn_uuid referral_id;
    struct cn_uuid patient_id;
    int64_t event_seq;
    Sch__Need *need;
};

/* CN_NOT_FOUND for an unknown id. */
CN_CHECKED enum cn_code clinician_store_get(const struct cn_store *store,
                                            struct cn_uuid id,
                                            struct clinician_row *ret_row,
                                            struct cn_err *err);
/* Who may be sent: clinicians of these branches (a uuid[], NULL for all), and
 * those of no branch where unassigned says so. */
struct clinician_scope {
    struct cn_param branches;
    bool unassigned;
};
/* All of a discipline (NULL: of any), in the order they were made, at most
 * MATCH_LEFT_OUT_MAX. */
CN_CHECKED enum cn_code clinicians_of(const struct cn_store *store,
                                      const char *discipline,
                                      const struct clinician_scope *scope,
                                      struct clinician_row **ret_rows,
                                      size_t *ret_count,
                                      struct cn_err *err);
/* One page; disciplines is a text[], NULL for all. */
CN_CHECKED enum cn_code clinicians_page(const struct cn_request *request,
                                        struct cn_param disciplines,
                                        const struct cn_page *page,
                                        struct clinician_row **ret_rows,
                                        size_t *ret_count,
                                        struct cn_err *err);
/* All of the tenant in the order of their ids: up to limit after one. */
CN_CHECKED enum cn_code clinicians_after(const struct cn_store *store,
                                         struct cn_uuid after,
                                         int limit,
                                         struct clinician_row **ret_rows,
                                         size_t *ret_count,
                                         struct cn_err *err);
CN_CHECKED enum cn_code clinician_store_insert(const struct cn_store *store,
                                               struct cn_write *write,
                                               const struct clinician_row *row,
                                               struct cn_err *err);
/* Guarded by row->version, which it counts up (clinician_version). */
CN_CHECKED enum cn_code clinician_store_update(const struct cn_store *store,
                                               struct cn_write *write,
                                               const struct clinician_row *row,
                                               struct cn_err *err);

/* Live visits of clinicians that touch a span, for the matcher, in the order of
 * the list. ret_whole: there were no more than can be read. */
enum { BOOKED_MAX = 20000 };
struct booked_row {
    struct cn_uuid clinician_id;
    struct span span;
};
CN_CHECKED enum cn_code booked_between(const struct cn_store *store,
                                       const struct cn_uuid *clinicians,
                                       size_t clinician_count,
                                       struct span span,
                                       struct booked_row **ret_rows,
                                       size_t *ret_count,
                                       bool *ret_whole,
                                       struct cn_err *err);

CN_CHECKED enum cn_code visit_store_get(const struct cn_store *store,
                                        struct cn_uuid id,
                                        struct visit_row *ret_row,
                                        struct cn_err *err);
/* Filters of a list; nil and NULL: none. */
struct visit_filter {
    struct cn_param statuses; /* text[] */
    struct cn_uuid referral_id;
    struct cn_uuid patient_id;
    struct cn_uuid clinician_id;
};
CN_CHECKED enum cn_code visits_page(const struct cn_request *request,
                                    const struct visit_filter *filter,
                                    const struct cn_page *page,
                                    struct visit_row **ret_rows,
                                    size_t *ret_count,
                                    struct cn_err *err);
/* All of the tenant in the order of their ids: up to limit after one. */
CN_CHECKED enum cn_code visits_after(const struct cn_store *store,
                                     struct cn_uuid after,
                                     int limit,
                                     struct visit_row **ret_rows,
                                     size_t *ret_count,
                                     struct cn_err *err);
/* The live start-of-care visit of a referral; *ret_found false: none, and
 * *ret_row is as it was. */
CN_CHECKED enum cn_code visit_soc_live(const struct cn_store *store,
                                       struct cn_uuid referral_id,
                                       bool *ret_found,
                                       struct visit_row *ret_row,
                                       struct cn_err *err);
/* The visits of a referral that are still to be made, at most 200. */
CN_CHECKED enum cn_code visits_to_come(const struct cn_store *store,
                                       struct cn_uuid referral_id,
                                       struct visit_row **ret_rows,
                                       size_t *ret_count,
                                       struct cn_err *err);
/* The names under which the two constraints that may stand against a new visit
 * fail its write. */
struct visit_names {
    const char *overlap;
    const char *one_soc;
};
/* A client is told which: visit_overlap, visit_one_soc. */
extern const struct visit_names VISIT_REFUSED;
/* The system itself looks again for another time: both are CN_STALE. */
extern const struct visit_names VISIT_LOOK_AGAIN;
CN_CHECKED enum cn_code visit_store_insert(const struct cn_store *store,
                                           struct cn_write *write,
                                           const struct visit_row *row,
                                           const struct visit_names *names,
                                           struct cn_err *err);
/* Guarded by row->version, which it counts up (visit_version). */
CN_CHECKED enum cn_code visit_store_update(const struct cn_store *store,
                                           struct cn_write *write,
                                           const struct visit_row *row,
                                           struct cn_err *err);

/* ---- copies (store_copy.c) ---- */

/* A copy is kept unless a newer one is there; two may be told in any order. */

/* The patient's part of a need: what a row of patient holds, the rest empty. */
void need_of_patient(const Sch__Need *patient, Sch__Need *need);
/* With the patient's part as it is known now. */
CN_CHECKED enum cn_code need_get(const struct cn_store *store,
                                 struct cn_uuid referral_id,
                                 struct need_row *ret_row,
                                 struct cn_err *err);
/* The needs of a patient's referrals, the newest first, at most
 * NEEDS_OF_PATIENT_MAX. */
enum { NEEDS_OF_PATIENT_MAX = 100 };
CN_CHECKED enum cn_code needs_of_patient(const struct cn_store *store,
                                         struct cn_uuid patient_id,
                                         struct need_row **ret_rows,
                                         size_t *ret_count,
                                         struct cn_err *err);
/* *ret_patient is NULL when nothing was told of the patient. */
CN_CHECKED enum cn_code patient_get(const struct cn_store *store,
                                    struct cn_uuid id,
                                    const Sch__Need **ret_patient,
                                    struct cn_err *err);
/* The referral's part, by row->event_seq. */
CN_CHECKED enum cn_code need_keep(const struct cn_store *store,
                                  struct cn_write *write,
                                  const struct need_row *row,
                                  struct cn_err *err);
/* The patient's part, by patient->patient_version. */
CN_CHECKED enum cn_code patient_keep(const struct cn_store *store,
                                     struct cn_write *write,
                                     struct cn_uuid id,
                                     const Sch__Need *patient,
                                     struct cn_err *err);

/* Agency setting auto_book_soc; true until told otherwise. */
CN_CHECKED enum cn_code
auto_book_soc(const struct cn_store *store, bool *ret_auto, struct cn_err *err);
void agency_keep(const struct cn_store *store,
                 struct cn_write *write,
                 int64_t event_seq,
                 const char *time_zone,
                 bool auto_book);
void branch_keep(const struct cn_store *store,
                 struct cn_write *write,
                 struct cn_uuid id,
                 int64_t event_seq,
                 const char *time_zone);

#endif
