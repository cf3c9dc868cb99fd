/* SPDX-License-Identifier: Apache-2.0 */
#include "services/documents/store.h"

#include "common/store/reach.h"
#include "common/wire/json.h"
#include "common/wire/message.h"

static const char DOCUMENT_CONTEXT[] = "documents.document.body";

#define DOCUMENT_COLUMNS                                                       \
    "d.id, d.branch_id, d.referral_id, d.patient_id, d.created_at,"            \
    " d.version, d.event_seq, d.body"

static enum cn_code s_documents_read(const struct cn_store *store,
                                     const struct cn_rows *rows,
                                     struct document_row **ret_rows,
                                     size_t *ret_count,
                                     struct cn_err *err)
{
    size_t count = cn_rows_count(rows);
    struct document_row *found =
        cn_arena_array(store->arena, count + 1, sizeof(*found));
    if (found == NULL) {
        return cn_fail(err, CN_NOMEM, "read documents");
    }
    for (size_t row = 0; row < count; row++) {
        ProtobufCMessage *message = NULL;
        found[row].id = cn_row_uuid(rows, row, 0);
        found[row].branch_id = cn_row_uuid(rows, row, 1);
        found[row].referral_id = cn_row_uuid(rows, row, 2);
        found[row].patient_id = cn_row_uuid(rows, row, 3);
        found[row].created_at = cn_row_at(rows, row, 4);
        found[row].version = cn_row_int(rows, row, 5);
        found[row].event_seq = cn_row_int(rows, row, 6);
        enum cn_code rc =
            cn_store_unseal(store, DOCUMENT_CONTEXT, rows, row, 7,
                            &doc__document__descriptor, &message, err);

        if (rc != CN_OK) {
            return rc;
        }
        found[row].document = (Doc__Document *)message;
    }
    *ret_rows = found;
    *ret_count = count;
    return CN_OK;
}

static enum cn_code s_document_read(const struct cn_store *store,
                                    const struct cn_rows *rows,
                                    struct document_row *ret_row,
                                    struct cn_err *err)
{
    struct document_row *found = NULL;
    size_t count = 0;
    enum cn_code rc = s_documents_read(store, rows, &found, &count, err);
    if (rc != CN_OK) {
        return rc;
    }
    if (count == 0) {
        return cn_fail(err, CN_NOT_FOUND, "no such document");
    }
    *ret_row = found[0];
    return CN_OK;
}

CN_SQL_READ(SQL_DOCUMENT_GET,
            "SELECT " DOCUMENT_COLUMNS
            " FROM documents.document d WHERE d.id = $1");

enum cn_code document_store_get(const struct cn_store *store,
                                struct cn_uuid id,
                                struct document_row *ret_row,
                                struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc =
        CN_STORE_READ(store, &SQL_DOCUMENT_GET, &rows, err, cn_uuid(id));
    return rc == CN_OK ? s_document_read(store, rows, ret_row, err) : rc;
}

CN_SQL_READ(SQL_DOCUMENT_OF_CHECKLIST,
            "SELECT " DOCUMENT_COLUMNS " FROM documents.document d"
            " WHERE d.referral_id = $1 AND d.kind = $2"
            " AND d.status NOT IN ('rejected', 'voided')");

enum cn_code document_of_checklist(const struct cn_store *store,
                                   struct cn_uuid referral_id,
                                   Doc__Document__Kind kind,
                                   struct document_row *ret_row,
                                   struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc = CN_STORE_READ(
        store, &SQL_DOCUMENT_OF_CHECKLIST, &rows, err, cn_uuid(referral_id),
        cn_text(cn_enum_word(&doc__document__kind__descriptor, (int)kind)));
    return rc == CN_OK ? s_document_read(store, rows, ret_row, err) : rc;
}

/* A filter that may be absent hides from the planner how many rows a page
 * reads, so there is one statement for each way in: by age; by status, one
 * ordered scan for each, merged, so that what is open is not looked for among
 * all that was ever filed; by one id, where the rows are few. No index leads to
 * a kind alone: that list may have to read far and has the slow lane. */
#define DOCUMENTS_AFTER                                                        \
    " (d.created_at, d.id) > ($1, $2)"                                         \
    " AND ($4::uuid[] IS NULL OR d.branch_id = ANY ($4))"
#define DOCUMENTS_KIND  " AND ($5::text[] IS NULL OR d.kind = ANY ($5))"
#define DOCUMENTS_ORDER " ORDER BY d.created_at, d.id LIMIT $3"
#define DOCUMENTS_PAGE(kind)                                                   \
    "SELECT " DOCUMENT_COLUMNS " FROM documents.document d"                    \
    " WHERE" DOCUMENTS_AFTER kind DOCUMENTS_ORDER
#define DOCUMENTS_BY_STATUS(kind)                                              \
    "SELECT " DOCUMENT_COLUMNS                                                 \
    " FROM unnest($6::text[]) AS s (status) CROSS JOIN LATERAL"                \
    " (SELECT d.* FROM documents.document d WHERE d.status = s.status"         \
    " AND" DOCUMENTS_AFTER kind DOCUMENTS_ORDER ") d" DOCUMENTS_ORDER
/* A parameter that nothing uses has no type of its own. */
#define DOCUMENTS_NO_KIND " AND $5::text[] IS NULL"
CN_SQL_READ(SQL_DOCUMENTS_PAGE, DOCUMENTS_PAGE(DOCUMENTS_NO_KIND));
CN_SQL_SLOW(SQL_DOCUMENTS_OF_KIND, DOCUMENTS_PAGE(DOCUMENTS_KIND));
CN_SQL_READ(SQL_DOCUMENTS_BY_STATUS, DOCUMENTS_BY_STATUS(DOCUMENTS_NO_KIND));
CN_SQL_SLOW(SQL_DOCUMENTS_OF_KIND_BY_STATUS,
            DOCUMENTS_BY_STATUS(DOCUMENTS_KIND));
#define DOCUMENTS_OF(statement, leading)                                       \
    CN_SQL_READ(                                                               \
        statement,                                                             \
        "SELECT " DOCUMENT_COLUMNS " FROM documents.document d"                \
        " WHERE " leading " AND" DOCUMENTS_AFTER DOCUMENTS_KIND                \
        " AND ($6::text[] IS NULL OR d.status = ANY ($6))"                     \
        " AND ($7::uuid IS NULL OR d.referral_id = $7)"                        \
        " AND ($8::uuid IS NULL OR d.patient_id = $8)" DOCUMENTS_ORDER)
DOCUMENTS_OF(SQL_DOCUMENTS_OF_REFERRAL, "d.referral_id = $7");
DOCUMENTS_OF(SQL_DOCUMENTS_OF_PATIENT, "d.patient_id = $8");

/* The statement, and how many of the parameters it has. */
static const struct cn_statement *
s_page_statement(const struct document_filter *by, size_t *ret_count)
{
    *ret_count = 8;
    if (!cn_uuid_is_nil(by->referral_id)) {
        return &SQL_DOCUMENTS_OF_REFERRAL;
    }
    if (!cn_uuid_is_nil(by->patient_id)) {
        return &SQL_DOCUMENTS_OF_PATIENT;
    }
    bool of_kind = by->kinds.kind != CN_PARAM_NULL;
    if (by->statuses.kind != CN_PARAM_NULL) {
        *ret_count = 6;
        return of_kind ? &SQL_DOCUMENTS_OF_KIND_BY_STATUS
                       : &SQL_DOCUMENTS_BY_STATUS;
    }
    *ret_count = 5;
    return of_kind ? &SQL_DOCUMENTS_OF_KIND : &SQL_DOCUMENTS_PAGE;
}

enum cn_code documents_page(const struct cn_request *request,
                            const struct document_filter *filter,
                            const struct cn_page *page,
                            struct document_row **ret_rows,
                            size_t *ret_count,
                            struct cn_err *err)
{
    struct cn_store store = cn_store_of_request(request);
    const struct cn_param params[] = {
        cn_at(page->after.key),
        cn_uuid(page->after.id),
        cn_int(page->limit + 1),
        cn_reach_branches(request),
        filter->kinds,
        filter->statuses,
        cn_uuid_or_null(filter->referral_id),
        cn_uuid_or_null(filter->patient_id),
    };
    const struct cn_rows *rows = NULL;
    size_t count = 0;
    const struct cn_statement *statement = s_page_statement(filter, &count);
    enum cn_code rc =
        cn_store_read(&store, statement, params, count, &rows, err);
    return rc == CN_OK
               ? s_documents_read(&store, rows, ret_rows, ret_count, err)
               : rc;
}

CN_SQL_READ(SQL_CHECKLIST_GET,
            "SELECT id, patient_id, branch_id, opened_at"
            " FROM documents.checklist WHERE id = $1");

enum cn_code checklist_store_get(const struct cn_store *store,
                                 struct cn_uuid referral_id,
                                 struct checklist_row *ret_row,
                                 struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc = CN_STORE_READ(store, &SQL_CHECKLIST_GET, &rows, err,
                                    cn_uuid(referral_id));
    if (rc != CN_OK) {
        return rc;
    }
    if (cn_rows_count(rows) == 0) {
        return cn_fail(err, CN_NOT_FOUND, "no such checklist");
    }
    *ret_row = (struct checklist_row){
        .referral_id = cn_row_uuid(rows, 0, 0),
        .patient_id = cn_row_uuid(rows, 0, 1),
        .branch_id = cn_row_uuid(rows, 0, 2),
        .opened_at = cn_row_at(rows, 0, 3),
    };
    return CN_OK;
}

CN_SQL_WRITE(SQL_CHECKLIST_INSERT,
             "INSERT INTO documents.checklist (tenant_id, id, patient_id,"
             " branch_id, event_seq, opened_at)"
             " VALUES ($1, $2, $3, $4, 1, $5)");

void checklist_insert(const struct cn_store *store,
                      struct cn_write *write,
                      const struct checklist_row *row)
{
    CN_CHANGE(write, &SQL_CHECKLIST_INSERT, cn_uuid(store->tenant_id),
              cn_uuid(row->referral_id), cn_uuid(row->patient_id),
              cn_uuid_or_null(row->branch_id), cn_at(row->opened_at));
}

CN_SQL_WRITE(SQL_DOCUMENT_INSERT,
             "INSERT INTO documents.document (tenant_id, id, branch_id,"
             " referral_id, patient_id, kind, status, version, event_seq,"
             " created_at, updated_at, body)"
             " VALUES ($1, $2, $3, $4, $5, $6, $7, 1, 0, $8, $8, $9)");

enum cn_code document_insert(const struct cn_store *store,
                             struct cn_write *write,
                             const struct document_row *row,
                             struct cn_err *err)
{
    struct cn_param body;
    enum cn_code rc = cn_store_seal(store, DOCUMENT_CONTEXT,
                                    &row->document->base, &body, err);

    if (rc == CN_OK) {
        CN_CHANGE(write, &SQL_DOCUMENT_INSERT, cn_uuid(store->tenant_id),
                  cn_uuid(row->id), cn_uuid_or_null(row->branch_id),
                  cn_uuid(row->referral_id), cn_uuid(row->patient_id),
                  cn_text(cn_enum_word(&doc__document__kind__descriptor,
                                       (int)row->document->kind)),
                  cn_text(cn_enum_word(&doc__document__status__descriptor,
                                       (int)row->document->status)),
                  cn_at(row->created_at), body);
    }
    return rc;
}

CN_SQL_WRITE(SQL_DOCUMENT_CHANGE,
             "WITH u AS (UPDATE documents.document SET version = version + 1,"
             " event_seq = event_seq + 1, updated_at = $4, body = $5"
             " WHERE tenant_id = $1 AND id = $2 AND version = $3 RETURNING 1)"
             " SELECT documents.require(EXISTS (SELECT 1 FROM u),"
             " 'document_version')");

enum cn_code document_change(const struct cn_store *store,
                             struct cn_write *write,
                             const struct document_row *row,
                             struct cn_err *err)
{
    struct cn_param body;
    CN_SET(row->document, version, row->version + 1);
    CN_SET(row->document, updated_at, store->now_at);
    enum cn_code rc = cn_store_seal(store, DOCUMENT_CONTEXT,
                                    &row->document->base, &body, err);
    if (rc == CN_OK) {
        CN_CHANGE(write, &SQL_DOCUMENT_CHANGE, cn_uuid(store->tenant_id),
                  cn_uuid(row->id), cn_int(row->version), cn_at(store->now_at),
                  body);
    }
    return rc;
}

enum cn_code document_tell(const struct cn_store *store,
                           struct cn_write *write,
                           const struct document_row *row,
                           struct cn_err *err)
{
    Doc__DocumentEvent *told =
        CN_NEW(store->arena, doc__document_event, Doc__DocumentEvent);
    if (told == NULL) {
        return cn_fail(err, CN_NOMEM, "tell of a document");
    }
    told->document = row->document;
    cn_write_event(write, "document.updated", "document", row->id,
                   row->event_seq + 1, &told->base);
    return CN_OK;
}
