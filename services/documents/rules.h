/* SPDX-License-Identifier: Apache-2.0 */
/* Pure rules of documents: what a start of care needs on paper and by when. */
#ifndef DOCUMENTS_RULES_H
#define DOCUMENTS_RULES_H

#include "cairn/documents.pb-c.h"
#include "common/contract/op.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One item of the checklist that an accepted referral opens. */
struct checklist_item {
    Doc__Document__Kind kind;
    Doc__Document__Holder holder; /* who has to act first */
    const char *rule;             /* why, by when, and the source of it */
};

/* Plan of care, face-to-face, consent. */
const struct checklist_item *checklist_items(size_t *ret_count);
/* Why a document of that kind is needed; NULL for one that is no item. */
const char *checklist_rule(Doc__Document__Kind kind);
/* Is nothing more to be done for the document? */
bool document_is_done(Doc__Document__Status status);
/* Days since it was first sent, as the buckets that coordinators use: "0-7",
 * "8-14", "15-21", "22-30", "31-60", "60+". */
const char *document_age_bucket(int64_t sent_at, int64_t now_at);
/* Refuses an encounter date that cannot be. */
void document_check(struct cn_op *op, const Doc__Document *document);

#endif
