/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of schema scheduling. */
#ifndef SCHEDULING_STORE_H
#define SCHEDULING_STORE_H

#include "cairn/scheduling.pb-c.h"
#include "common/consumer.h"
#include "common/page.h"
#include "common/write.h"
#include "services/scheduling/rules.h"

/* Whose rows are read: a request's or an event's tenant. */
struct store_context {
    struct cn_env *env;
    struct cn_arena *arena;
    struct cn_uuid tenant_id;
    int64_t now_at;
};
struct store_context store_of_request(const struct cn_request *request);
struct store_context store_of_event(const struct cn_event *event);

struct clinician_row {
    struct cn_uuid id;
    struct cn_uuid branch_id;
    int64_t version;
    int64_t event_seq;
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
CN_CHECKED enum cn_code clinician_store_get(const struct store_context *store,
                                            struct cn_uuid id,
                                            struct clinician_row *ret_row,
                                            struct cn_err *err);
/* All clinicians of a discipline, in the order they were made, at most
 * MATCH_LEFT_OUT_MAX. */
CN_CHECKED enum cn_code clinicians_of(const struct store_context *store,
                                      const char *discipline,
                                      struct clinician_row **ret_rows,
                                      size_t *ret_count,
                                      struct cn_err *err);
/* One page; discipline NULL for all. */
CN_CHECKED enum cn_code clinicians_page(const struct cn_request *request,
                                        const char *const *disciplines,
                                        size_t discipline_count,
                                        const struct cn_page *page,
                                        struct clinician_row **ret_rows,
                                        size_t *ret_count,
                                        struct cn_err *err);
CN_CHECKED enum cn_code
clinician_store_insert(const struct store_context *store,
                       struct cn_write *write,
                       const struct clinician_row *row,
                       struct cn_err *err);
/* Guarded by row->version, which it counts up (clinician_version). */
CN_CHECKED enum cn_code
clinician_store_update(const struct store_context *store,
                       struct cn_write *write,
                       const struct clinician_row *row,
                       struct cn_err *err);

/* Live visits of clinicians that touch a span, for the matcher. */
struct booked_row {
    struct cn_uuid clinician_id;
    struct span span;
};
CN_CHECKED enum cn_code booked_between(const struct store_context *store,
                                       struct span span,
                                       struct booked_row **ret_rows,
                                       size_t *ret_count,
                                       struct cn_err *err);

CN_CHECKED enum cn_code visit_store_get(const struct store_context *store,
                                        struct cn_uuid id,
                                        struct visit_row *ret_row,
                                        struct cn_err *err);
/* Filters of a list; nil and 0: none. At most one of the ids narrows. */
struct visit_filter {
    const char *const *statuses;
    size_t status_count;
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
/* Both constraints that may stand against it (visit_overlap, visit_one_soc)
 * fail the write by name. */
CN_CHECKED enum cn_code visit_store_insert(const struct store_context *store,
                                           struct cn_write *write,
                                           const struct visit_row *row,
                                           struct cn_err *err);
/* Guarded by row->version, which it counts up (visit_version). */
CN_CHECKED enum cn_code visit_store_update(const struct store_context *store,
                                           struct cn_write *write,
                                           const struct visit_row *row,
                                           struct cn_err *err);

CN_CHECKED enum cn_code need_get(const struct store_context *store,
                                 struct cn_uuid referral_id,
                                 struct need_row *ret_row,
                                 struct cn_err *err);
/* The needs of a patient's referrals, the newest last. */
CN_CHECKED enum cn_code needs_of_patient(const struct store_context *store,
                                         struct cn_uuid patient_id,
                                         struct need_row **ret_rows,
                                         size_t *ret_count,
                                         struct cn_err *err);
/* Keeps it unless a later event of the referral was applied. */
CN_CHECKED enum cn_code need_keep(const struct store_context *store,
                                  struct cn_write *write,
                                  const struct need_row *row,
                                  struct cn_err *err);

/* Copies of access. Zone of a branch, else of the agency; NULL when neither is
 * known here yet. */
CN_CHECKED enum cn_code zone_of(const struct store_context *store,
                                struct cn_uuid branch_id,
                                const char **ret_zone,
                                struct cn_err *err);
/* Agency setting auto_book_soc; true until told otherwise. */
CN_CHECKED enum cn_code auto_book_soc(const struct store_context *store,
                                      bool *ret_auto,
                                      struct cn_err *err);
void agency_keep(const struct store_context *store,
                 struct cn_write *write,
                 int64_t event_seq,
                 const char *time_zone,
                 bool auto_book);
void branch_keep(const struct store_context *store,
                 struct cn_write *write,
                 struct cn_uuid id,
                 int64_t event_seq,
                 const char *time_zone);

#endif
