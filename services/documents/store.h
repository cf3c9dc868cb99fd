/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of schema documents. */
#ifndef DOCUMENTS_STORE_H
#define DOCUMENTS_STORE_H

#include "cairn/documents.pb-c.h"
#include "common/inbox/consumer.h"
#include "common/store/page.h"
#include "common/store/store.h"

#include "common/store/write.h"

struct document_row {
    struct cn_uuid id;
    struct cn_uuid branch_id;
    struct cn_uuid referral_id;
    struct cn_uuid patient_id;
    int64_t created_at;
    int64_t version;
    int64_t event_seq;
    Doc__Document *document;
};

struct checklist_row {
    struct cn_uuid referral_id;
    struct cn_uuid patient_id;
    struct cn_uuid branch_id;
    int64_t opened_at;
};

/* Filters of a list; nil and NULL: none. */
struct document_filter {
    struct cn_param statuses; /* text[] */
    struct cn_param kinds;    /* text[] */

    struct cn_uuid referral_id;
    struct cn_uuid patient_id;
};

/* The live document of that kind in a checklist; CN_NOT_FOUND. */
CN_CHECKED enum cn_code document_of_checklist(const struct cn_store *store,
                                              struct cn_uuid referral_id,
                                              Doc__Document__Kind kind,
                                              struct document_row *ret_row,
                                              struct cn_err *err);
/* CN_NOT_FOUND for an unknown id. */
CN_CHECKED enum cn_code document_store_get(const struct cn_store *store,
                                           struct cn_uuid id,
                                           struct document_row *ret_row,
                                           struct cn_err *err);
CN_CHECKED enum cn_code documents_page(const struct cn_request *request,
                                       const struct document_filter *filter,
                                       const struct cn_page *page,
                                       struct document_row **ret_rows,
                                       size_t *ret_count,
                                       struct cn_err *err);
/* CN_NOT_FOUND when none was opened for the referral. */
CN_CHECKED enum cn_code checklist_store_get(const struct cn_store *store,
                                            struct cn_uuid referral_id,
                                            struct checklist_row *ret_row,
                                            struct cn_err *err);
void checklist_insert(const struct cn_store *store,
                      struct cn_write *write,
                      const struct checklist_row *row);
CN_CHECKED enum cn_code document_insert(const struct cn_store *store,
                                        struct cn_write *write,
                                        const struct document_row *row,
                                        struct cn_err *err);
/* From row->version to version + 1 (constraint document_version), with one more
 * event. */
CN_CHECKED enum cn_code document_change(const struct cn_store *store,
                                        struct cn_write *write,
                                        const struct document_row *row,
                                        struct cn_err *err);
/* document.updated, as that change leaves it. */
CN_CHECKED enum cn_code document_tell(const struct cn_store *store,
                                      struct cn_write *write,
                                      const struct document_row *row,
                                      struct cn_err *err);

#endif
