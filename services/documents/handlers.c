/* SPDX-License-Identifier: Apache-2.0 */
#include "cairn/documents.handlers.h"
#include "common/audit.h"
#include "common/json.h"
#include "common/message.h"
#include "common/reach.h"
#include "services/documents/rules.h"
#include "services/documents/store.h"

/* What depends on the time of asking. */
static void s_document_age(Doc__Document *document, int64_t now_at)
{
    if (document->has_sent_at && !document_is_done(document->status)) {
        document->age_bucket = document_age_bucket(document->sent_at, now_at);
    }
}

enum cn_code document_get(void *self,
                          const struct cn_request *request,
                          struct cn_reply *reply,
                          struct cn_err *err)
{
    (void)self;
    const Doc__GetDocumentRequest *body = request->body;
    struct cn_store store = cn_store_of_request(request);
    struct document_row row;
    struct cn_uuid id;
    if (!cn_id_parse("doc", body->id, &id)) {
        return cn_fail(err, CN_NOT_FOUND, "no such document");
    }
    enum cn_code rc = document_store_get(&store, id, &row, err);
    if (rc != CN_OK) {
        return rc;
    }
    if (!cn_reach_includes(request, row.branch_id)) {
        return cn_fail(err, CN_NOT_FOUND, "no such document");
    }
    s_document_age(row.document, request->now_at);
    reply->body = &row.document->base;
    reply->version = row.version;
    reply->updated_at = row.document->updated_at;
    return cn_audit_read(request, "document.read", row.document->id,
                         &row.patient_id, 1, err);
}

static enum cn_code s_filter_read(const struct cn_request *request,
                                  const Doc__ListDocumentsRequest *body,
                                  struct document_filter *ret_filter,
                                  const char **ret_text,
                                  struct cn_err *err)
{
    struct cn_filter filter;
    cn_filter_begin(&filter, request, "documents");
    *ret_filter = (struct document_filter){
        .statuses = cn_filter_words(&filter, &doc__document__status__descriptor,
                                    body->status, body->n_status),
        .kinds = cn_filter_words(&filter, &doc__document__kind__descriptor,
                                 body->kind, body->n_kind),
        .referral_id = cn_filter_id(&filter, "ref", body->referral_id),
        .patient_id = cn_filter_id(&filter, "pat", body->patient_id),
    };
    *ret_text = filter.text;
    return cn_filter_end(&filter, err);
}

static enum cn_code s_documents_answer(const struct cn_request *request,
                                       const struct cn_page *page,
                                       const struct document_row *rows,
                                       size_t rows_read,
                                       Doc__ListDocumentsResponse *response,
                                       struct cn_err *err)
{
    size_t count = cn_page_count(page, rows_read);
    struct cn_uuid *patients =
        cn_arena_array(request->arena, count + 1, sizeof(*patients));
    response->data =
        cn_arena_array(request->arena, count + 1, sizeof(Doc__Document *));
    if (patients == NULL || response->data == NULL) {
        return cn_fail(err, CN_NOMEM, "list documents");
    }
    struct cn_cursor last = { .key = 0 };
    for (size_t i = 0; i < count; i++) {
        s_document_age(rows[i].document, request->now_at);
        response->data[i] = rows[i].document;
        patients[i] = rows[i].patient_id;
        last = (struct cn_cursor){ rows[i].created_at, rows[i].id };
    }
    response->n_data = count;
    enum cn_code rc = cn_page_next(request, page, rows_read, last,
                                   &response->next_cursor, err);
    if (rc != CN_OK) {
        return rc;
    }
    CN_SET(response, has_more, response->next_cursor != NULL);
    return cn_audit_read(request, "document.list", NULL, patients, count, err);
}

enum cn_code documents_list(void *self,
                            const struct cn_request *request,
                            struct cn_reply *reply,
                            struct cn_err *err)
{
    (void)self;
    const Doc__ListDocumentsRequest *body = request->body;
    Doc__ListDocumentsResponse *response =
        CN_NEW(request->arena, doc__list_documents_response,
               Doc__ListDocumentsResponse);
    if (response == NULL) {
        return cn_fail(err, CN_NOMEM, "list documents");
    }
    reply->body = &response->base;
    struct document_filter filter;
    struct cn_page page;
    struct document_row *rows = NULL;
    size_t count = 0;
    const char *text = NULL;
    enum cn_code rc = s_filter_read(request, body, &filter, &text, err);
    if (rc == CN_NOT_FOUND) {
        cn_err_clear(err);
        CN_SET(response, has_more, 0);
        return CN_OK;
    }
    if (rc == CN_OK) {
        rc = cn_page_open(request, text, body->has_limit, body->limit,
                          body->cursor, &page, err);
    }
    if (rc == CN_OK) {
        rc = documents_page(request, &filter, &page, &rows, &count, err);
    }
    return rc == CN_OK
               ? s_documents_answer(request, &page, rows, count, response, err)
               : rc;
}

/* All documents of a checklist: there are fewer than a page holds. */
static enum cn_code s_checklist_documents(const struct cn_request *request,
                                          struct cn_uuid referral_id,
                                          Doc__Checklist *checklist,
                                          struct cn_err *err)
{
    const struct document_filter filter = {
        .statuses = cn_null(),
        .kinds = cn_null(),
        .referral_id = referral_id,
    };
    const struct cn_page page = { .limit = CN_PAGE_MAX };
    struct document_row *rows = NULL;
    size_t count = 0;
    enum cn_code rc =
        documents_page(request, &filter, &page, &rows, &count, err);
    if (rc != CN_OK) {
        return rc;
    }
    checklist->documents =
        cn_arena_array(request->arena, count + 1, sizeof(Doc__Document *));
    if (checklist->documents == NULL) {
        return cn_fail(err, CN_NOMEM, "get checklist");
    }
    int32_t open_count = 0;
    for (size_t i = 0; i < count; i++) {
        s_document_age(rows[i].document, request->now_at);
        checklist->documents[i] = rows[i].document;
        open_count += document_is_done(rows[i].document->status) ? 0 : 1;
    }
    checklist->n_documents = count;
    CN_SET(checklist, open_count, open_count);
    return CN_OK;
}

enum cn_code checklist_get(void *self,
                           const struct cn_request *request,
                           struct cn_reply *reply,
                           struct cn_err *err)
{
    (void)self;
    const Doc__GetChecklistRequest *body = request->body;
    struct cn_store store = cn_store_of_request(request);
    struct checklist_row row;
    struct cn_uuid referral_id;
    if (!cn_id_parse("ref", body->referral_id, &referral_id)) {
        return cn_fail(err, CN_NOT_FOUND, "no such checklist");
    }
    enum cn_code rc = checklist_store_get(&store, referral_id, &row, err);
    if (rc != CN_OK) {
        return rc;
    }
    if (!cn_reach_includes(request, row.branch_id)) {
        return cn_fail(err, CN_NOT_FOUND, "no such checklist");
    }
    Doc__Checklist *checklist =
        CN_NEW(request->arena, doc__checklist, Doc__Checklist);
    if (checklist == NULL) {
        return cn_fail(err, CN_NOMEM, "get checklist");
    }
    checklist->referral_id = body->referral_id;
    checklist->patient_id = cn_id_text(request->arena, "pat", row.patient_id);
    if (!cn_uuid_is_nil(row.branch_id)) {
        checklist->branch_id = cn_id_text(request->arena, "brn", row.branch_id);
    }
    CN_SET(checklist, opened_at, row.opened_at);
    rc = s_checklist_documents(request, referral_id, checklist, err);
    if (rc != CN_OK) {
        return rc;
    }
    reply->body = &checklist->base;
    return cn_audit_read(request, "checklist.read", checklist->referral_id,
                         &row.patient_id, 1, err);
}
