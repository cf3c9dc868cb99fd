/* SPDX-License-Identifier: Apache-2.0 */
/* GET /v1/audit: who saw and changed what, in all services. */
#include "cairn/access.handlers.h"
#include "common/store/audit.h"
#include "services/access/store_audit.h"

static const char *s_text_or_empty(const char *text)
{
    return text != NULL ? text : "";
}

/* Reading the audit is itself in it, under the patient who was asked for: the
 * entries show ids and nothing of a patient. */
void audit_list(struct cn_op *op, const Acc__ListAuditRequest *body)
{
    struct audit_entries entries = { .count = 0 };
    struct cn_filter filter;
    cn_filter_begin(
        &filter, op->request,
        cn_arena_printf(
            op->arena, "audit|%s|%s|%s|%s|%lld|%lld",
            s_text_or_empty(body->actor), s_text_or_empty(body->action),
            s_text_or_empty(body->resource), s_text_or_empty(body->service),
            (long long)body->since, (long long)body->until));
    struct cn_uuid patient_id = cn_filter_id(&filter, "pat", body->patient_id);
    struct cn_page page = cn_page_open(op, filter.text);
    if (!filter.nothing) {
        entries = audit_entries(op, body, patient_id, &page);
    }
    cn_page_answer(op, &page, entries.items, entries.count, NULL, NULL);
    if (!filter.nothing) {
        cn_audit_shown(op, "audit.list", NULL, &patient_id, 1);
    }
}
