/* SPDX-License-Identifier: Apache-2.0 */
#include "services/documents/store.h"

#include "common/store/page.h"
#include "common/wire/json.h"
#include "common/wire/message.h"
#include "services/documents/rules.h"

CN_SQL_READ(SQL_CHECKLIST_GET,
            "SELECT c.patient_id, c.branch_id, c.opened_at"
            " FROM documents.checklist c WHERE c.id = $1");

struct checklist_row checklist_find(struct cn_op *op,
                                    struct cn_uuid referral_id)
{
    const struct cn_rows *rows =
        CN_READ(op, &SQL_CHECKLIST_GET, cn_uuid(referral_id));
    if (cn_rows_count(rows) == 0) {
        return (struct checklist_row){ .found = false };
    }
    return (struct checklist_row){
        .found = true,
        .referral_id = referral_id,
        .patient_id = cn_row_uuid(rows, 0, 0),
        .branch_id = cn_row_uuid(rows, 0, 1),
        .opened_at = cn_row_at(rows, 0, 2),
    };
}

CN_SQL_WRITE(SQL_CHECKLIST_INSERT,
             "INSERT INTO documents.checklist (tenant_id, id, patient_id,"
             " branch_id, event_seq, opened_at)"
             " VALUES ($1, $2, $3, $4, 1, $5)");

void checklist_insert(struct cn_op *op, const struct checklist_row *row)
{
    CN_CHANGE(op, &SQL_CHECKLIST_INSERT, cn_uuid(op->tenant_id),
              cn_uuid(row->referral_id), cn_uuid(row->patient_id),
              cn_uuid_or_null(row->branch_id), cn_at(row->opened_at));
}

CN_SQL_READ(SQL_CHECKLIST_DOCUMENTS,
            "SELECT " DOCUMENT_COLUMNS
            " FROM documents.document r WHERE r.referral_id = $1"
            " ORDER BY r.created_at, r.id LIMIT $2");

struct cn_records checklist_documents(struct cn_op *op,
                                      struct cn_uuid referral_id)
{
    return cn_records_of(op, &doc__document__resource,
                         CN_READ(op, &SQL_CHECKLIST_DOCUMENTS,
                                 cn_uuid(referral_id), cn_int(CN_PAGE_MAX)));
}

Doc__Checklist *checklist_show(struct cn_op *op,
                               const struct checklist_row *row,
                               struct cn_records documents)
{
    Doc__Checklist *checklist =
        CN_NEW(op->arena, doc__checklist, Doc__Checklist);
    int32_t open_count = 0;
    checklist->referral_id = cn_id_text(op->arena, "ref", row->referral_id);
    checklist->patient_id = cn_id_text(op->arena, "pat", row->patient_id);
    if (!cn_uuid_is_nil(row->branch_id)) {
        checklist->branch_id = cn_id_text(op->arena, "brn", row->branch_id);
    }
    checklist->documents =
        cn_arena_array(op->arena, documents.count, sizeof(Doc__Document *));
    checklist->n_documents = documents.count;
    for (size_t i = 0; i < documents.count; i++) {
        Doc__Document *document = documents.items[i].body;
        doc_document_show(op, &documents.items[i]);
        checklist->documents[i] = document;
        open_count += document_is_done(document->status) ? 0 : 1;
    }
    CN_SET(checklist, opened_at, row->opened_at);
    CN_SET(checklist, open_count, open_count);
    return checklist;
}

CN_SQL_READ(SQL_CHECKLIST_DOCUMENT,
            "SELECT " DOCUMENT_COLUMNS " FROM documents.document r"
            " WHERE r.referral_id = $1 AND r.kind = $2"
            " AND r.status NOT IN ('rejected', 'voided')");

struct cn_record *checklist_document(struct cn_op *op,
                                     struct cn_uuid referral_id,
                                     Doc__Document__Kind kind)
{
    return cn_record_of(
        op, &doc__document__resource,
        CN_READ(op, &SQL_CHECKLIST_DOCUMENT, cn_uuid(referral_id),
                cn_text(cn_enum_word(&doc__document__kind__descriptor,
                                     (int)kind))));
}
