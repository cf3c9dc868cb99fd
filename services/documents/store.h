/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of schema documents that are asked for otherwise than by id or page. A
 * failed operation gets none. */
#ifndef DOCUMENTS_STORE_H
#define DOCUMENTS_STORE_H

#include "cairn/documents.resources.h"

struct checklist_row {
    bool found;
    struct cn_uuid referral_id;
    struct cn_uuid patient_id;
    struct cn_uuid branch_id; /* nil: of none */
    int64_t opened_at;
};

/* The checklist of a referral, if one was opened. */
struct checklist_row checklist_find(struct cn_op *op,
                                    struct cn_uuid referral_id);
void checklist_insert(struct cn_op *op, const struct checklist_row *row);
/* All documents of a checklist: there are fewer than a page holds. */
struct cn_records checklist_documents(struct cn_op *op,
                                      struct cn_uuid referral_id);
/* The checklist as it is shown, with these documents. */
Doc__Checklist *checklist_show(struct cn_op *op,
                               const struct checklist_row *row,
                               struct cn_records documents);
/* The document of that kind that a checklist waits for, or waited for: not one
 * that was rejected or voided. */
struct cn_record *checklist_document(struct cn_op *op,
                                     struct cn_uuid referral_id,
                                     Doc__Document__Kind kind);

#endif
