/* SPDX-License-Identifier: Apache-2.0 */
/* What an operation reads, and the steps of its write. Nothing here does
 * anything for an operation that has failed. Steps may be added in any order:
 * the commit sends them in that of write.h. */
#ifndef CN_STEP_H
#define CN_STEP_H

#include "common/contract/due.h"
#include "common/contract/event.h"
#include "common/contract/service.h"
#include "common/store/write.h"

/* One statement under the operation's tenant, on the lane that it was declared
 * for. Never NULL: a failed operation gets no rows. */
const struct cn_rows *cn_read(struct cn_op *op,
                              const struct cn_statement *statement,
                              const struct cn_param *params,
                              size_t count);
/* CN_READ(op, &SQL_X, cn_uuid(id), cn_int(3)) */
#define CN_READ(op, statement, ...)                                            \
    cn_read((op), (statement), (const struct cn_param[]){ __VA_ARGS__ },       \
            sizeof((const struct cn_param[]){ __VA_ARGS__ }) /                 \
                sizeof(struct cn_param))

/* The operation's write, begun when it is first asked for. */
struct cn_write *cn_op_write(struct cn_op *op);
void cn_lock(struct cn_op *op, const char *aggregate_type, struct cn_uuid id);
/* An event; aggregate_seq is what the change gives the row's event_seq. */
void cn_tell(struct cn_op *op,
             const char *type,
             const char *aggregate_type,
             struct cn_uuid aggregate_id,
             int64_t aggregate_seq,
             const void *payload);
/* The audit row of the write: action "referral.accept", the record's outside
 * id, whose it is (nil: nobody's). */
void cn_audit(struct cn_op *op,
              const char *action,
              const char *resource,
              struct cn_uuid patient_id);
/* Work at fire_at for the service's handler of that kind, and its end. */
void cn_due_put(struct cn_op *op,
                const char *kind,
                struct cn_uuid id,
                int64_t fire_at);
void cn_due_end(struct cn_op *op, const char *kind, struct cn_uuid id);
/* One more of a metric's counter, once the operation's write has committed. */
void cn_count(struct cn_op *op, uint64_t *counter);
/* Commits what was added so far: for due work that acts between two writes, and
 * for a handler that acts after its commit. What an operation added since is
 * committed by whoever called it. */
void cn_commit(struct cn_op *op);

/* Packs reply->body into reply->packed, unless it is packed already: before the
 * commit and before the audit row of a read, so that nothing fails after them.
 */
CN_CHECKED enum cn_code cn_reply_pack(const struct cn_request *request,
                                      struct cn_reply *reply,
                                      struct cn_err *err);
/* The row of a read in the audit; parks until it is committed. resource NULL: a
 * list. The reply is as it is sent: it is packed first. */
void cn_audit_shown(struct cn_op *op,
                    const char *action,
                    const char *resource,
                    const struct cn_uuid *patients,
                    size_t patient_count);

/* A message, packed and sealed, as a parameter; and a sealed column opened, as
 * a message that is never NULL. */
struct cn_param
cn_sealed(struct cn_op *op, const char *context, const void *message);
void *cn_opened(struct cn_op *op,
                const char *context,
                const struct cn_rows *rows,
                size_t row,
                int column,
                const ProtobufCMessageDescriptor *descriptor);

/* The operation of an event's effect, and of work that is due. */
struct cn_op cn_op_of_event(const struct cn_service *service,
                            const struct cn_event *event,
                            struct cn_write *write,
                            struct cn_err *err);
struct cn_op cn_op_of_due(const struct cn_service *service,
                          const struct cn_due *due,
                          struct cn_err *err);

#endif
