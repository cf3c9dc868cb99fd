/* SPDX-License-Identifier: Apache-2.0 */
/* GET /v1/audit: who saw and changed what, in all services. */
#include "cairn/access.handlers.h"
#include "common/store/audit.h"
#include "common/wire/message.h"
#include "services/access/store_audit.h"

/* The filters, and the text that cursors are bound to. CN_NOT_FOUND: no row can
 * match. */
static enum cn_code s_filter_read(const struct cn_request *request,
                                  const Acc__ListAuditRequest *body,
                                  struct audit_filter *ret_filter,
                                  const char **ret_text,
                                  struct cn_err *err)
{
    const char *name =
        cn_arena_printf(request->arena, "audit|%s|%s|%s|%s|%lld|%lld",
                        body->actor != NULL ? body->actor : "",
                        body->action != NULL ? body->action : "",
                        body->resource != NULL ? body->resource : "",
                        body->service != NULL ? body->service : "",
                        (long long)body->since, (long long)body->until);
    struct cn_filter filter;

    if (name == NULL) {
        return cn_fail(err, CN_NOMEM, "list the audit");
    }
    cn_filter_begin(&filter, request, name);
    *ret_filter = (struct audit_filter){
        .patient_id = cn_filter_id(&filter, "pat", body->patient_id),
        .actor = body->actor,
        .action = body->action,
        .resource = body->resource,
        .service = body->service,
        .has_since = body->has_since,
        .since = body->since,
        .has_until = body->has_until,
        .until = body->until,
    };
    *ret_text = filter.text;
    return cn_filter_end(&filter, err);
}

static enum cn_code s_answer(const struct cn_request *request,
                             const struct audit_filter *filter,
                             const struct cn_page *page,
                             Acc__ListAuditResponse *response,
                             struct cn_err *err)
{
    struct cn_cursor *cursors = NULL;
    struct cn_cursor last = { .key = 0 };
    size_t rows_read = 0;

    enum cn_code rc = audit_page(request, filter, page, &response->data,
                                 &cursors, &rows_read, err);
    if (rc != CN_OK) {
        return rc;
    }
    response->n_data = cn_page_count(page, rows_read);
    if (response->n_data > 0) {
        last = cursors[response->n_data - 1];
    }
    rc = cn_page_next(request, page, rows_read, last, &response->next_cursor,
                      err);
    if (rc == CN_OK) {
        CN_SET(response, has_more, response->next_cursor != NULL);
    }
    return rc;
}

/* Reading the audit is itself in it, under the patient who was asked for: the
 * entries show ids and nothing of a patient. */
enum cn_code audit_list(void *self,
                        const struct cn_request *request,
                        struct cn_reply *reply,
                        struct cn_err *err)
{
    (void)self;
    const Acc__ListAuditRequest *body = request->body;
    Acc__ListAuditResponse *response = CN_NEW(
        request->arena, acc__list_audit_response, Acc__ListAuditResponse);
    struct audit_filter filter;
    struct cn_page page;
    const char *text = NULL;

    if (response == NULL) {
        return cn_fail(err, CN_NOMEM, "list the audit");
    }
    reply->body = &response->base;
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
        rc = s_answer(request, &filter, &page, response, err);
    }
    return rc == CN_OK ? cn_audit_read(request, "audit.list", NULL,
                                       &filter.patient_id, 1, err)
                       : rc;
}
