/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of schema notifications. */
#ifndef NOTIFICATIONS_STORE_H
#define NOTIFICATIONS_STORE_H

#include "cairn/notifications.pb-c.h"
#include "common/consumer.h"
#include "common/page.h"
#include "common/store.h"

#include "common/write.h"

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

/* What is known of a referral; version 0: nothing yet. */
struct care_row {
    struct cn_uuid referral_id;
    int64_t version;
    Ntf__Care *care;
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
CN_CHECKED enum cn_code care_get(const struct cn_store *store,
                                 struct cn_uuid referral_id,
                                 struct care_row *ret_row,
                                 struct cn_err *err);
/* Guarded by row->version (care_version): two services' events may come at
 * once, and the second then decides again. */
CN_CHECKED enum cn_code care_keep(const struct cn_store *store,
                                  struct cn_write *write,
                                  const struct care_row *row,
                                  struct cn_err *err);

#endif
