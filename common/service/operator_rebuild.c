/* SPDX-License-Identifier: Apache-2.0 */
/* The handlers of operator.v1 by which the platform's operator has copies made
 * again. consumer_rebuild.c makes them.
 *
 * The operator has no tenant, so the idempotency key is not recorded and the
 * audit has no row: an ask changes nothing while one is open, and the log tells
 * who asked. */
#include "common/base/log.h"
#include "common/inbox/consumer.h"
#include "common/store/step.h"
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
    rebuild->producer = cn_row_text(rows, row, 0);
    CN_SET(rebuild, asked_at, cn_row_at(rows, row, 1));
    CN_SET(rebuild, loaded, cn_row_int(rows, row, 2));
    CN_SET(rebuild, failed, cn_row_int(rows, row, 3));
    if (!cn_row_null(rows, row, 4)) {
        CN_SET(rebuild, ended_at, cn_row_at(rows, row, 4));
    }
    return rebuild;
}

static void s_rebuilds_show(struct cn_op *op)
{
    const struct cn_rows *rows = cn_read(op, &SQL_REBUILDS_LIST, NULL, 0);
    const size_t count = cn_rows_count(rows);
    Opr__ListRebuildsResponse *response = CN_NEW(
        op->arena, opr__list_rebuilds_response, Opr__ListRebuildsResponse);
    response->data = cn_arena_array(op->arena, count, sizeof(Opr__Rebuild *));
    for (size_t i = 0; i < count; i++) {
        response->data[i] = s_rebuild_read(op->arena, rows, i);
    }
    response->n_data = count;
    op->reply->body = &response->base;
}

void rebuilds_list(struct cn_op *op, const Opr__ListRebuildsRequest *body)
{
    (void)body;
    s_rebuilds_show(op);
}

void rebuild_ask(struct cn_op *op, const Opr__AskRebuildRequest *body)
{
    const struct cn_request *request = op->request;
    if (cn_rebuild_ask(op->env, request->service, body->producer, op->err) !=
        CN_OK) {
        return;
    }
    cn_log(CN_LOG_INFO, "rebuild of the copies of %s asked for by %s, %s",
           body->producer == NULL ? "all" : body->producer,
           request->principal.subject, request->request_id);
    s_rebuilds_show(op);
}
