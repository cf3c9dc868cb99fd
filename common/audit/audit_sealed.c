/* SPDX-License-Identifier: Apache-2.0 */
#include "common/audit/audit_sealed.h"

#include "common/audit/audit_chain.h"
#include "common/db/db.h"
#include "common/wire/message.h"

#include <string.h>

enum {
    /* Well below the bus's limit of 1 MiB for a message. */
    REPLY_SIZE_MAX = 512 << 10,
    ROW_SIZE = 256 /* of a row without its texts */
};

/* The LIMIT of one keeps the planner from reading all of audit for a join. */
CN_SQL_RELAY(SQL_SEALED_AFTER,
             "SELECT s.tenant_id, s.id, s.n, s.seq, s.form, s.hash,"
             " " CN_AUDIT_COLUMNS " FROM (SELECT s.*"
             " FROM {{schema}}.audit_seal s WHERE s.seq > $1"
             " ORDER BY s.seq LIMIT $2) s"
             " LEFT JOIN LATERAL (SELECT a.* FROM {{schema}}.audit a"
             " WHERE a.tenant_id = s.tenant_id AND a.id = s.id LIMIT 1) a"
             " ON true ORDER BY s.seq");
enum { SEALED_ROW = 6 };

CN_SQL_RELAY(SQL_SEALED_LAST, "SELECT p.seq FROM {{schema}}.audit_sealer p");

static Aud__Sealed *
s_sealed(struct cn_arena *arena, const struct cn_rows *rows, size_t row)
{
    struct cn_audit_entry entry = { .n = 0 };
    Aud__Sealed *message = CN_NEW(arena, aud__sealed, Aud__Sealed);
    CN_SET(message, tenant_id, cn_message_id(arena, cn_row_uuid(rows, row, 0)));
    CN_SET(message, id, cn_message_id(arena, cn_row_uuid(rows, row, 1)));
    CN_SET(message, hash, cn_message_bytes(arena, cn_row_bytes(rows, row, 5)));
    CN_SET(message, n, cn_row_int(rows, row, 2));
    CN_SET(message, seq, cn_row_int(rows, row, 3));
    CN_SET(message, form, (int32_t)cn_row_int(rows, row, 4));
    cn_audit_entry_row(&entry, rows, row, SEALED_ROW);
    CN_SET(message, has_row, entry.has_row);
    if (entry.has_row) {
        CN_SET(message, at, entry.at);
        CN_SET(message, epoch, (int32_t)entry.epoch);
        CN_SET(message, xid, (uint64_t)entry.xid);
        message->actor = entry.actor;
        message->role = entry.role;
        message->action = entry.action;
        message->resource = entry.resource;
        message->patients = entry.patients;
        message->request_id = entry.request_id;
    }
    return message;
}

static size_t s_text_size(const char *text)
{
    return text == NULL ? 0 : strlen(text);
}

static size_t s_size(const Aud__Sealed *sealed)
{
    return ROW_SIZE + s_text_size(sealed->actor) + s_text_size(sealed->role) +
           s_text_size(sealed->action) + s_text_size(sealed->resource) +
           s_text_size(sealed->patients) + s_text_size(sealed->request_id);
}

enum cn_code cn_audit_sealed_read(struct cn_env *env,
                                  struct cn_arena *arena,
                                  int64_t after,
                                  uint32_t limit,
                                  const Aud__FetchSealedResponse **ret_response,
                                  struct cn_err *err)
{
    const struct cn_param params[] = {
        cn_int(after),
        cn_int(limit > 0 && limit < CN_AUDIT_SEALED_MAX ? (int)limit
                                                        : CN_AUDIT_SEALED_MAX),
    };
    /* The last seq is read first, so that all rows up to it can be found. */
    const struct cn_db_step steps[] = { { &SQL_SEALED_LAST, NULL, 0 },
                                        { &SQL_SEALED_AFTER, params, 2 } };
    struct cn_db_result result = { 0 };
    size_t size = 0;
    enum cn_code rc =
        cn_db_unit(env->db, CN_LANE_RELAY, arena, steps, 2, &result, err);
    if (rc != CN_OK) {
        return cn_wrap(err, "sealed audit");
    }
    if (result.outcome != CN_COMMITTED) {
        return cn_fail(err, CN_UNAVAILABLE, "sealed audit: SQLSTATE %s",
                       result.sqlstate);
    }
    size_t count = cn_rows_count(result.rows[1]);
    Aud__FetchSealedResponse *response =
        CN_NEW(arena, aud__fetch_sealed_response, Aud__FetchSealedResponse);
    Aud__Sealed **sealed =
        cn_arena_array(arena, count + 1, sizeof(Aud__Sealed *));
    response->sealed = sealed;
    CN_SET(response, last_seq, cn_row_int(result.rows[0], 0, 0));
    for (size_t i = 0; i < count; i++) {
        sealed[i] = s_sealed(arena, result.rows[1], i);
        size += s_size(sealed[i]);
        if (size > REPLY_SIZE_MAX && i > 0) {
            break;
        }
        response->n_sealed++;
    }
    if (cn_arena_failed(arena)) {
        return cn_fail(err, CN_NOMEM, "no memory for the sealed audit");
    }
    *ret_response = response;
    return CN_OK;
}

void cn_audit_sealed_fetch(struct cn_op *op)
{
    const Aud__FetchSealedRequest *body = op->request->body;
    const Aud__FetchSealedResponse *response = NULL;
    const char *subject = op->request->principal.subject;
    if (subject != NULL && subject[0] != '\0') {
        cn_refuse(op, CN_FORBIDDEN, NULL, "the sealed audit is for services");
        return;
    }
    if (cn_audit_sealed_read(op->env, op->arena, body->after,
                             body->has_limit ? body->limit : 0, &response,
                             op->err) == CN_OK) {
        op->reply->body = &response->base;
    }
}
