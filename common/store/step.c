/* SPDX-License-Identifier: Apache-2.0 */
#include "common/store/step.h"

#include "common/store/audit.h"
#include "common/wire/message.h"
#include "common/wire/seal.h"

const struct cn_rows *cn_read(struct cn_op *op,
                              const struct cn_statement *statement,
                              const struct cn_param *params,
                              size_t count)
{
    const struct cn_rows *rows = cn_rows_none();
    const unsigned lanes = statement->lanes;
    enum cn_lane lane = (lanes & 1U << CN_LANE_SLOW) != 0   ? CN_LANE_SLOW
                        : (lanes & 1U << CN_LANE_READ) != 0 ? CN_LANE_READ
                                                            : CN_LANE_RELAY;
    if (!cn_failed(op)) {
        (void)!cn_db_read(op->env->db, lane, op->arena, op->tenant_id,
                          statement, params, count, &rows, op->err);
    }
    return rows;
}

struct cn_write *cn_op_write(struct cn_op *op)
{
    if (op->write == NULL) {
        op->write = op->request != NULL
                        ? cn_write_begin(op->request, op->reply)
                        : cn_write_begin_system(op->env, op->arena,
                                                op->tenant_id, NULL);
    }
    return op->write;
}

void cn_op_change(struct cn_op *op,
                  const struct cn_statement *statement,
                  const struct cn_param *params,
                  size_t count)
{
    if (!cn_failed(op)) {
        cn_write_change(cn_op_write(op), statement, params, count);
    }
}

void cn_lock(struct cn_op *op, const char *aggregate_type, struct cn_uuid id)
{
    if (!cn_failed(op)) {
        cn_write_lock(cn_op_write(op), aggregate_type, id);
    }
}

void cn_tell(struct cn_op *op,
             const char *type,
             const char *aggregate_type,
             struct cn_uuid aggregate_id,
             int64_t aggregate_seq,
             const void *payload)
{
    if (!cn_failed(op)) {
        cn_write_event(cn_op_write(op), type, aggregate_type, aggregate_id,
                       aggregate_seq, payload);
    }
}

void cn_audit(struct cn_op *op,
              const char *action,
              const char *resource,
              struct cn_uuid patient_id)
{
    if (!cn_failed(op)) {
        cn_write_audit(cn_op_write(op), action, resource, patient_id);
    }
}

void cn_due_put(struct cn_op *op,
                const char *kind,
                struct cn_uuid id,
                int64_t fire_at)
{
    if (!cn_failed(op)) {
        cn_write_due(cn_op_write(op), kind, id, fire_at);
    }
}

void cn_due_end(struct cn_op *op, const char *kind, struct cn_uuid id)
{
    if (!cn_failed(op)) {
        cn_write_due_done(cn_op_write(op), kind, id);
    }
}

void cn_count(struct cn_op *op, uint64_t *counter)
{
    if (!cn_failed(op)) {
        cn_write_count(cn_op_write(op), counter);
    }
}

void cn_commit(struct cn_op *op)
{
    if (!cn_failed(op) && op->write != NULL) {
        (void)!cn_write_commit(op->write, op->err);
    }
    op->write = NULL;
}

enum cn_code cn_reply_pack(const struct cn_request *request,
                           struct cn_reply *reply,
                           struct cn_err *err)
{
    if (reply->body == NULL || reply->packed.data != NULL) {
        return CN_OK;
    }
    return cn_message_pack(request->arena, reply->body, &reply->packed, err);
}

void cn_audit_shown(struct cn_op *op,
                    const char *action,
                    const char *resource,
                    const struct cn_uuid *patients,
                    size_t patient_count)
{
    if (!cn_failed(op)) {
        (void)!cn_reply_pack(op->request, op->reply, op->err);
    }
    if (!cn_failed(op)) {
        (void)!cn_audit_read(op->request, action, resource, patients,
                             patient_count, op->err);
    }
}

struct cn_param
cn_sealed(struct cn_op *op, const char *context, const void *message)
{
    struct cn_bytes sealed = { NULL, 0 };
    if (!cn_failed(op)) {
        (void)!cn_seal_message(op->env, op->arena, op->tenant_id, context,
                               message, &sealed, op->err);
    }
    return cn_bytes(sealed.data, sealed.size);
}

void *cn_opened(struct cn_op *op,
                const char *context,
                const struct cn_rows *rows,
                size_t row,
                int column,
                const ProtobufCMessageDescriptor *descriptor)
{
    ProtobufCMessage *message = NULL;
    if (!cn_failed(op)) {
        (void)!cn_unseal_message(op->env, op->arena, op->tenant_id, context,
                                 cn_row_bytes(rows, row, column), descriptor,
                                 &message, op->err);
    }
    return message != NULL ? message : cn_message_new(op->arena, descriptor);
}

struct cn_op cn_op_of_event(const struct cn_service *service,
                            const struct cn_event *event,
                            struct cn_write *write,
                            struct cn_err *err)
{
    return (struct cn_op){
        .env = event->env,
        .arena = event->arena,
        .tenant_id = event->tenant_id,
        .now_at = event->now_at,
        .self = service->self,
        .event = event,
        .write = write,
        .err = err,
    };
}

struct cn_op cn_op_of_due(const struct cn_service *service,
                          const struct cn_due *due,
                          struct cn_err *err)
{
    return (struct cn_op){
        .env = due->env,
        .arena = due->arena,
        .tenant_id = due->tenant_id,
        .now_at = due->now_at,
        .self = service->self,
        .due = due,
        .err = err,
    };
}
