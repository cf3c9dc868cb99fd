/* SPDX-License-Identifier: Apache-2.0 */
#include "cairn/notifications.handlers.h"
#include "common/store/audit.h"
#include "common/store/reach.h"
#include "common/wire/json.h"
#include "common/wire/message.h"
#include "services/notifications/store.h"

enum cn_code message_get(void *self,
                         const struct cn_request *request,
                         struct cn_reply *reply,
                         struct cn_err *err)
{
    (void)self;
    const Ntf__GetMessageRequest *body = request->body;
    struct cn_store store = cn_store_of_request(request);
    struct message_row row;
    struct cn_uuid id;
    if (!cn_id_parse("msg", body->id, &id)) {
        return cn_fail(err, CN_NOT_FOUND, "no such message");
    }
    enum cn_code rc = message_store_get(&store, id, &row, err);
    if (rc != CN_OK) {
        return rc;
    }
    if (!cn_reach_includes(request, row.branch_id)) {
        return cn_fail(err, CN_NOT_FOUND, "no such message");
    }
    reply->body = &row.outgoing->message->base;
    reply->version = row.version;
    reply->updated_at = row.outgoing->message->updated_at;
    return cn_audit_read(request, "message.read", row.outgoing->message->id,
                         &row.patient_id, 1, err);
}

static enum cn_code s_filter_read(const struct cn_request *request,
                                  const Ntf__ListMessagesRequest *body,
                                  struct message_filter *ret_filter,
                                  const char **ret_text,
                                  struct cn_err *err)
{
    struct cn_filter filter;
    cn_filter_begin(&filter, request, "messages");
    *ret_filter = (struct message_filter){
        .statuses = cn_filter_words(&filter, &ntf__message__status__descriptor,
                                    body->status, body->n_status),
        .referral_id = cn_filter_id(&filter, "ref", body->referral_id),
        .patient_id = cn_filter_id(&filter, "pat", body->patient_id),
    };
    *ret_text = filter.text;
    return cn_filter_end(&filter, err);
}

static enum cn_code s_messages_answer(const struct cn_request *request,
                                      struct cn_reply *reply,
                                      const struct cn_page *page,
                                      const struct message_row *rows,
                                      size_t count,
                                      struct cn_err *err)
{
    struct cn_page_row *shown =
        cn_arena_array(request->arena, count + 1, sizeof(*shown));
    if (shown == NULL) {
        return cn_fail(err, CN_NOMEM, "list messages");
    }
    for (size_t i = 0; i < count; i++) {
        shown[i] = (struct cn_page_row){
            .shown = &rows[i].outgoing->message->base,
            .patient_id = rows[i].patient_id,
            .place = { rows[i].created_at, rows[i].id },
        };
    }
    return cn_page_answer(request, reply, page, shown, count, "message.list",
                          NULL, err);
}

enum cn_code messages_list(void *self,
                           const struct cn_request *request,
                           struct cn_reply *reply,
                           struct cn_err *err)
{
    (void)self;
    const Ntf__ListMessagesRequest *body = request->body;
    struct message_filter filter;
    struct cn_page page;
    struct message_row *rows = NULL;
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
        rc = messages_page(request, &filter, &page, &rows, &count, err);
    }
    return rc == CN_OK
               ? s_messages_answer(request, reply, &page, rows, count, err)
               : rc;
}
