/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of schema notifications. */
#ifndef NOTIFICATIONS_STORE_H
#define NOTIFICATIONS_STORE_H

#include "cairn/notifications.pb-c.h"
#include "common/inbox/consumer.h"
#include "common/store/page.h"
#include "common/store/store.h"

#include "common/store/write.h"

struct message_row {
    struct cn_uuid id;
    struct cn_uuid branch_id;
    struct cn_uuid referral_id;
    struct cn_uuid patient_id;
    int64_t created_at;
    int64_t version;
    int64_t event_seq;
    Ntf__Outgoing *outgoing;
};

/* Filters of a list; nil and NULL: none. */
struct message_filter {
    struct cn_param statuses; /* text[] */

    struct cn_uuid referral_id;
    struct cn_uuid patient_id;
};

/* CN_NOT_FOUND for an unknown id. */
CN_CHECKED enum cn_code message_store_get(const struct cn_store *store,
                                          struct cn_uuid id,
                                          struct message_row *ret_row,
                                          struct cn_err *err);
/* Newest first. */
CN_CHECKED enum cn_code messages_page(const struct cn_request *request,
                                      const struct message_filter *filter,
                                      const struct cn_page *page,
                                      struct message_row **ret_rows,
                                      size_t *ret_count,
                                      struct cn_err *err);
/* Was this told to this audience of this referral already? */
CN_CHECKED enum cn_code message_exists(const struct cn_store *store,
                                       struct cn_uuid referral_id,
                                       const char *template,
                                       Ntf__Message__Audience audience,
                                       bool *ret_exists,
                                       struct cn_err *err);
CN_CHECKED enum cn_code message_insert(const struct cn_store *store,
                                       struct cn_write *write,
                                       const struct message_row *row,
                                       struct cn_err *err);
/* Guarded by row->version, which it counts up (message_version). events: how
 * many events the unit adds, 0 or 1. */
CN_CHECKED enum cn_code message_update(const struct cn_store *store,
                                       struct cn_write *write,
                                       const struct message_row *row,
                                       int events,
                                       struct cn_err *err);

/* ---- copies (store_copy.c) ---- */

/* What is known is put together of parts, each a Ntf__Care with only its own
 * fields: the referral's, its patient's, the start-of-care visit's and the name
 * of its clinician. A copy is kept unless a newer one is there; two may be told
 * in any order. */

/* What a referral tells; care NULL: nothing was told. */
struct referral_copy {
    struct cn_uuid id;
    struct cn_uuid patient_id; /* not read */
    int64_t event_seq;
    bool accepted;
    Ntf__Care *care;
};
/* A visit of kind soc; care NULL: nothing was told. */
struct visit_copy {
    struct cn_uuid id;
    struct cn_uuid referral_id; /* not read */
    struct cn_uuid clinician_id;
    int64_t event_seq;
    bool booked;
    Ntf__Care *care;
};
/* The booked start of care of a referral; care NULL: there is none. */
struct soc_copy {
    int64_t mark; /* another one as soon as a visit of the referral changes */
    Ntf__Care *care;
};

/* A part into what is known. */
void care_of_patient(const Ntf__Care *patient, Ntf__Care *care);
void care_of_visit(const Ntf__Care *visit, Ntf__Care *care);

/* With the patient's part. */
CN_CHECKED enum cn_code referral_get(const struct cn_store *store,
                                     struct cn_uuid id,
                                     struct referral_copy *ret_copy,
                                     struct cn_err *err);
/* *ret_patient is NULL when nothing was told. */
CN_CHECKED enum cn_code patient_get(const struct cn_store *store,
                                    struct cn_uuid id,
                                    Ntf__Care **ret_patient,
                                    struct cn_err *err);
CN_CHECKED enum cn_code visit_get(const struct cn_store *store,
                                  struct cn_uuid id,
                                  struct visit_copy *ret_copy,
                                  struct cn_err *err);
/* *ret_name is NULL when nothing was told. */
CN_CHECKED enum cn_code clinician_name(const struct cn_store *store,
                                       struct cn_uuid id,
                                       const char **ret_name,
                                       struct cn_err *err);
/* With the clinician's name, if it is known. */
CN_CHECKED enum cn_code soc_get(const struct cn_store *store,
                                struct cn_uuid referral_id,
                                struct soc_copy *ret_copy,
                                struct cn_err *err);
CN_CHECKED enum cn_code referral_keep(const struct cn_store *store,
                                      struct cn_write *write,
                                      const struct referral_copy *copy,
                                      struct cn_err *err);
/* By patient->patient_version. */
CN_CHECKED enum cn_code patient_keep(const struct cn_store *store,
                                     struct cn_write *write,
                                     struct cn_uuid id,
                                     const Ntf__Care *patient,
                                     struct cn_err *err);
CN_CHECKED enum cn_code visit_keep(const struct cn_store *store,
                                   struct cn_write *write,
                                   const struct visit_copy *copy,
                                   struct cn_err *err);
CN_CHECKED enum cn_code clinician_keep(const struct cn_store *store,
                                       struct cn_write *write,
                                       struct cn_uuid id,
                                       int64_t event_seq,
                                       const Ntf__Care *clinician,
                                       struct cn_err *err);
/* The referral's copy, or its visits', must be as they were read
 * (care_version): two services' events may come at once, and the second then
 * decides again. Both under the lock "care" of the referral. */
void referral_require(struct cn_write *write,
                      struct cn_uuid id,
                      int64_t event_seq);
void soc_require(struct cn_write *write,
                 struct cn_uuid referral_id,
                 int64_t mark);

#endif
