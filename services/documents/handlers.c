/* SPDX-License-Identifier: Apache-2.0 */
/* A document's owner and encounter, its clocks, and the checklist. */
#include "cairn/documents.handlers.h"
#include "common/store/reach.h"
#include "services/documents/clock.h"
#include "services/documents/rules.h"
#include "services/documents/store.h"

void document_update(struct cn_op *op, const Doc__UpdateDocumentRequest *body)
{
    struct cn_record *document =
        cn_take(op, &doc__document__resource, body->id);
    cn_patch(op, document, body->document, body->update_mask,
             body->n_update_mask);
    document_check(op, document->body);
    cn_put(op, document);
    document_clock_act(op, document);
}

void document_deadlines_list(struct cn_op *op,
                             const Dln__ListDeadlinesRequest *body)
{
    const struct cn_deadline_subject subject =
        cn_deadline_subject_of(cn_take(op, &doc__document__resource, body->id));
    cn_deadlines_show(op, &subject);
}

void checklist_get(struct cn_op *op, const Doc__GetChecklistRequest *body)
{
    struct checklist_row row = { .found = false };
    struct cn_uuid id;
    if (cn_id_parse("ref", body->referral_id, &id)) {
        row = checklist_find(op, id);
    }
    if (!cn_failed(op) &&
        (!row.found || !cn_reach_includes(op->request, row.branch_id))) {
        cn_refuse(op, CN_NOT_FOUND, NULL, "no such checklist");
    }
    const Doc__Checklist *checklist =
        checklist_show(op, &row, checklist_documents(op, row.referral_id));
    op->reply->body = &checklist->base;
    cn_audit_shown(op, "checklist.read", checklist->referral_id,
                   &row.patient_id, 1);
}
