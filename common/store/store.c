/* SPDX-License-Identifier: Apache-2.0 */
#include "common/store/store.h"

#include "common/wire/seal.h"

struct cn_store cn_store_of(const struct cn_op *op)
{
    return (struct cn_store){
        .env = op->env,
        .arena = op->arena,
        .tenant_id = op->tenant_id,
        .now_at = op->now_at,
    };
}

struct cn_store cn_store_of_request(const struct cn_request *request)
{
    return (struct cn_store){
        .env = request->env,
        .arena = request->arena,
        .tenant_id = request->principal.tenant_id,
        .now_at = request->now_at,
    };
}

struct cn_store cn_store_of_event(const struct cn_event *event)
{
    return (struct cn_store){
        .env = event->env,
        .arena = event->arena,
        .tenant_id = event->tenant_id,
        .now_at = event->now_at,
    };
}

struct cn_store cn_store_of_due(const struct cn_due *due)
{
    return (struct cn_store){
        .env = due->env,
        .arena = due->arena,
        .tenant_id = due->tenant_id,
        .now_at = due->now_at,
    };
}

enum cn_code cn_store_read(const struct cn_store *self,
                           const struct cn_statement *statement,
                           const struct cn_param *params,
                           size_t count,
                           const struct cn_rows **ret_rows,
                           struct cn_err *err)
{
    bool slow = (statement->lanes & 1U << CN_LANE_SLOW) != 0;
    return cn_db_read(self->env->db, slow ? CN_LANE_SLOW : CN_LANE_READ,
                      self->arena, self->tenant_id, statement, params, count,
                      ret_rows, err);
}

enum cn_code cn_store_seal(const struct cn_store *self,
                           const char *context,
                           const ProtobufCMessage *message,
                           struct cn_param *ret_body,
                           struct cn_err *err)
{
    struct cn_bytes sealed;
    enum cn_code rc = cn_seal_message(self->env, self->arena, self->tenant_id,
                                      context, message, &sealed, err);
    if (rc == CN_OK) {
        *ret_body = cn_bytes(sealed.data, sealed.size);
    }
    return rc;
}

enum cn_code cn_store_unseal(const struct cn_store *self,
                             const char *context,
                             const struct cn_rows *rows,
                             size_t row,
                             int column,
                             const ProtobufCMessageDescriptor *descriptor,
                             ProtobufCMessage **ret_message,
                             struct cn_err *err)
{
    return cn_unseal_message(self->env, self->arena, self->tenant_id, context,
                             cn_row_bytes(rows, row, column), descriptor,
                             ret_message, err);
}
