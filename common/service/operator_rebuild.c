/* SPDX-License-Identifier: Apache-2.0 */
/* The handlers of operator.v1 by which the platform's operator has copies made
 * again. Making them is consumer_rebuild.c's.
 *
 * The operator has no tenant, so there is neither a record of the idempotency
 * key nor a row of the audit: an ask changes nothing while one is open, and who
 * asked is in the log. */
#include "common/base/log.h"
#include "common/inbox/consumer.h"
#include "common/store/store.h"
#include "common/wire/message.h"

#include "cairn/operator.handlers.h"

/* Of no tenant: the relay's own table. */
CN_SQL_RELAY(SQL_REBUILDS_LIST,
             "SELECT r.producer, r.asked_at, r.loaded, r.failed, r.ended_at"
             " FROM {{schema}}.rebuild r ORDER BY r.producer");

static Opr__Rebuild *
s_rebuild_read(struct cn_arena *arena, const struct cn_rows *rows, size_t row)
{
    Opr__Rebuild *rebuild = CN_NEW(arena, opr__rebuild, Opr__Rebuild);

    if (rebuild == NULL) {
        return NULL;
    }
    rebuild->producer = cn_row_text(rows, row, 0);
    CN_SET(rebuild, asked_at, cn_row_at(rows, row, 1));
    CN_SET(rebuild, loaded, cn_row_int(rows, row, 2));
    CN_SET(rebuild, failed, cn_row_int(rows, row, 3));
    if (!cn_row_null(rows, row, 4)) {
        CN_SET(rebuild, ended_at, cn_row_at(rows, row, 4));
    }
    return rebuild;
}

enum cn_code rebuilds_list(void *self,
                           const struct cn_request *request,
                           struct cn_reply *reply,
                           struct cn_err *err)
{
    (void)self;
    struct cn_arena *arena = request->arena;
    Opr__ListRebuildsResponse *response =
        CN_NEW(arena, opr__list_rebuilds_response, Opr__ListRebuildsResponse);
    const struct cn_rows *rows = NULL;

    enum cn_code rc = cn_db_read(request->env->db, CN_LANE_RELAY, arena,
                                 (struct cn_uuid){ 0 }, &SQL_REBUILDS_LIST,
                                 NULL, 0, &rows, err);
    if (rc != CN_OK) {
        return rc;
    }
    const size_t count = cn_rows_count(rows);
    Opr__Rebuild **data =
        cn_arena_array(arena, count + 1, sizeof(Opr__Rebuild *));
    if (response == NULL || data == NULL) {
        return cn_fail(err, CN_NOMEM, "rebuilds: no memory");
    }
    for (size_t i = 0; i < count; i++) {
        data[i] = s_rebuild_read(arena, rows, i);
        if (data[i] == NULL) {
            return cn_fail(err, CN_NOMEM, "rebuilds: no memory");
        }
    }
    response->data = data;
    response->n_data = count;
    reply->body = &response->base;
    return CN_OK;
}

enum cn_code rebuild_ask(void *self,
                         const struct cn_request *request,
                         struct cn_reply *reply,
                         struct cn_err *err)
{
    const Opr__AskRebuildRequest *body = request->body;

    enum cn_code rc =
        cn_rebuild_ask(request->env, request->service, body->producer, err);
    if (rc != CN_OK) {
        return rc;
    }
    cn_log(CN_LOG_INFO, "rebuild of the copies of %s asked for by %s, %s",
           body->producer == NULL ? "all" : body->producer,
           request->principal.subject, request->request_id);
    return rebuilds_list(self, request, reply, err);
}
