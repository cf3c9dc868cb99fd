/* SPDX-License-Identifier: Apache-2.0 */
#include "cairn/documents.handlers.h"
#include "common/base/array.h"
#include "common/store/audit.h"
#include "common/store/reach.h"
#include "common/wire/json.h"
#include "common/wire/message.h"
#include "services/documents/clock.h"
#include "services/documents/rules.h"
#include "services/documents/store.h"

#include <string.h>

/* What depends on the time of asking. */
static void s_document_age(Doc__Document *document, int64_t now_at)
{
    if (document->has_sent_at && !document_is_done(document->status)) {
        document->age_bucket = document_age_bucket(document->sent_at, now_at);
    }
}

/* CN_NOT_FOUND beyond the reach, as for an id that is none. */
static enum cn_code s_load(const struct cn_request *request,
                           const char *text,
                           struct document_row *ret_row,
                           struct cn_err *err)
{
    const struct cn_store store = cn_store_of_request(request);
    struct cn_uuid id;
    if (!cn_id_parse("doc", text, &id)) {
        return cn_fail(err, CN_NOT_FOUND, "no such document");
    }
    enum cn_code rc = document_store_get(&store, id, ret_row, err);
    if (rc == CN_OK && !cn_reach_includes(request, ret_row->branch_id)) {
        rc = cn_fail(err, CN_NOT_FOUND, "no such document");
    }
    return rc;
}

static void s_fill(const struct cn_request *request,
                   struct cn_reply *reply,
                   const struct document_row *row)
{
    s_document_age(row->document, request->now_at);
    reply->body = &row->document->base;
    reply->version = row->document->version;
    reply->updated_at = row->document->updated_at;
}

enum cn_code document_get(void *self,
                          const struct cn_request *request,
                          struct cn_reply *reply,
                          struct cn_err *err)
{
    (void)self;
    const Doc__GetDocumentRequest *body = request->body;
    struct document_row row;
    enum cn_code rc = s_load(request, body->id, &row, err);
    if (rc != CN_OK) {
        return rc;
    }
    s_fill(request, reply, &row);
    return cn_audit_read(request, "document.read", row.document->id,
                         &row.patient_id, 1, err);
}

enum cn_code document_deadlines_list(void *self,
                                     const struct cn_request *request,
                                     struct cn_reply *reply,
                                     struct cn_err *err)
{
    (void)self;
    const Dln__ListDeadlinesRequest *body = request->body;
    struct document_row row;
    enum cn_code rc = s_load(request, body->id, &row, err);
    if (rc != CN_OK) {
        return rc;
    }
    const struct cn_deadline_subject subject = document_subject(&row);
    return cn_deadlines_answer(request, reply, &subject, err);
}

/* ---- change ---- */

/* What a PATCH may not touch, and an encounter that cannot be. */
static enum cn_code s_patch_check(const struct cn_request *request,
                                  const Doc__UpdateDocumentRequest *body,
                                  const struct document_row *row,
                                  struct cn_err *err)
{
    static const char *const FIXED[] = { "referral_id", "patient_id", "kind" };
    static const char *const POINTERS[] = { "/referral_id", "/patient_id",
                                            "/kind" };
    const char *const *mask = (const char *const *)body->update_mask;
    const char *date =
        body->document != NULL ? body->document->encounter_date : NULL;
    struct cn_date day;
    for (size_t i = 0; i < CN_COUNT(FIXED); i++) {
        if (cn_mask_has(mask, body->n_update_mask, FIXED[i])) {
            return cn_fail_field(err, POINTERS[i], "read_only_field",
                                 "a document stays what it is");
        }
    }
    if (date == NULL) {
        return CN_OK;
    }
    if (row->document->kind != DOC__DOCUMENT__KIND__FACE_TO_FACE) {
        return cn_fail_field(err, "/encounter_date", "not_applicable",
                             "only a face-to-face document has an encounter");
    }
    /* Nowhere on earth is it this day yet. */
    if (!cn_date_parse(date, &day) ||
        cn_date_days(day) > (request->now_at + 14 * CN_HOUR) / CN_DAY) {
        return cn_fail_field(err, "/encounter_date", "invalid_value",
                             "lies in the future");
    }
    return CN_OK;
}

static enum cn_code s_save(const struct cn_request *request,
                           struct cn_reply *reply,
                           const struct document_row *row,
                           struct cn_err *err)
{
    const struct cn_store store = cn_store_of_request(request);
    struct cn_write *write = cn_write_begin(request, reply);
    struct cn_deadline deadline;
    if (write == NULL) {
        return cn_fail(err, CN_NOMEM, "update document");
    }
    enum cn_code rc = document_clock_act(&store, row, &deadline, err);
    if (rc != CN_OK) {
        return rc;
    }
    cn_write_lock(write, "document", row->id);
    rc = document_change(&store, write, row, err);
    if (rc == CN_OK) {
        rc = cn_deadline_change(&store, write, &deadline, err);
    }
    if (rc == CN_OK) {
        rc = document_tell(&store, write, row, err);
    }
    if (rc == CN_OK) {
        rc = cn_deadline_tell(&store, write, &deadline, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    s_fill(request, reply, row);
    cn_write_audit(write, "document.update", row->document->id,
                   row->patient_id);
    return cn_write_commit(write, err);
}

enum cn_code document_update(void *self,
                             const struct cn_request *request,
                             struct cn_reply *reply,
                             struct cn_err *err)
{
    (void)self;
    const Doc__UpdateDocumentRequest *body = request->body;
    const Doc__Document empty = DOC__DOCUMENT__INIT;
    const Doc__Document *patch =
        body->document != NULL ? body->document : &empty;
    struct document_row row;
    enum cn_code rc = s_load(request, body->id, &row, err);
    if (rc != CN_OK) {
        return rc;
    }
    if (request->has_expected_version &&
        request->expected_version != row.version) {
        rc = cn_fail(err, CN_STALE, "the present version is another");
        err->version = row.version;
        return rc;
    }
    rc = s_patch_check(request, body, &row, err);
    if (rc == CN_OK) {
        rc = cn_message_merge(request->arena, &row.document->base, &patch->base,
                              (const char *const *)body->update_mask,
                              body->n_update_mask, err);
    }
    return rc == CN_OK ? s_save(request, reply, &row, err) : rc;
}

/* ---- lists ---- */

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
                                       struct cn_reply *reply,
                                       const struct cn_page *page,
                                       const struct document_row *rows,
                                       size_t count,
                                       struct cn_err *err)
{
    struct cn_page_row *shown =
        cn_arena_array(request->arena, count + 1, sizeof(*shown));
    if (shown == NULL) {
        return cn_fail(err, CN_NOMEM, "list documents");
    }
    for (size_t i = 0; i < count; i++) {
        s_document_age(rows[i].document, request->now_at);
        shown[i] = (struct cn_page_row){
            .shown = &rows[i].document->base,
            .patient_id = rows[i].patient_id,
            .place = { rows[i].created_at, rows[i].id },
        };
    }
    return cn_page_answer(request, reply, page, shown, count, "document.list",
                          NULL, err);
}

enum cn_code documents_list(void *self,
                            const struct cn_request *request,
                            struct cn_reply *reply,
                            struct cn_err *err)
{
    (void)self;
    const Doc__ListDocumentsRequest *body = request->body;
    struct document_filter filter;
    struct cn_page page;
    struct document_row *rows = NULL;
    size_t count = 0;
    const char *text = NULL;
    enum cn_code rc = s_filter_read(request, body, &filter, &text, err);
    bool nothing = rc == CN_NOT_FOUND;
    if (rc == CN_OK || nothing) {
        cn_err_clear(err);
        rc = cn_page_open(request, text, body->has_limit, body->limit,
                          body->cursor, &page, err);
    }
    if (rc == CN_OK && !nothing) {
        rc = documents_page(request, &filter, &page, &rows, &count, err);
    }
    return rc == CN_OK
               ? s_documents_answer(request, reply, &page, rows, count, err)
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
