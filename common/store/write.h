/* SPDX-License-Identifier: Apache-2.0 */
/* A write: one unit of prepared statements in the order
 *   tenant, locks, idempotency record, changes, outbox rows, audit rows
 * sent before a single Sync (a consumer's position comes last of all). They may
 * be added in any order. What fails while it is built (sealing, more steps than
 * CN_WRITE_STEPS_MAX) is returned by cn_write_commit. Schema and epoch are
 * those of the env's database (cn_db_config).
 *
 * Every statement of a change that must match says so itself, by
 *   SELECT <schema>.require(<condition>, '<constraint>')
 * which raises that constraint and rolls everything back. */
#ifndef CN_WRITE_H
#define CN_WRITE_H

#include "common/contract/service.h"
#include "common/db/db.h"
#include "common/store/idempotency.h"

#include <protobuf-c/protobuf-c.h>

struct cn_write;

enum {
    CN_WRITE_STEPS_MAX = 512,
    CN_WRITE_BATCH_STEPS_MAX = 2048 /* of cn_write_begin_batch */
};

/* A write of a client's request: tenant, actor, idempotency key and fingerprint
 * come from the request, whose arena holds the steps. The reply must be filled
 * before cn_write_commit: it is sealed and kept with the key. */
struct cn_write *cn_write_begin(const struct cn_request *request,
                                struct cn_reply *reply);
/* A write of the system itself (a sender, a ticker): no key; the actor is
 * "system". On the relay lane. */
struct cn_write *cn_write_begin_system(struct cn_env *env,
                                       struct cn_arena *arena,
                                       struct cn_uuid tenant,
                                       const char *correlation_id);
/* The effect of an event: tenant and correlation are the event's, which is the
 * cause; no key; the actor is "system". On the relay lane. */
struct cn_write *cn_write_begin_event(struct cn_env *env,
                                      struct cn_arena *arena,
                                      const struct cn_event *event);

/* The copies of several events in one unit, of one tenant or many, on the relay
 * lane: all locks first, then tenant by tenant what was added for each, then
 * the positions. It tells and audits nothing, so its commit does not wait for
 * the disk: after a crash copies and positions are gone together. */
struct cn_write *cn_write_begin_batch(struct cn_env *env,
                                      struct cn_arena *arena);
/* What is added from here on is of this tenant. Only for a batch, and before
 * anything is added to it. */
void cn_write_tenant(struct cn_write *self, struct cn_uuid tenant);

/* Locks an aggregate. Several: all locks before anything else; they are sent
 * sorted and without repeats. */
void cn_write_lock(struct cn_write *self,
                   const char *aggregate_type,
                   struct cn_uuid id);
/* One statement of the change. Parameters are copied (their bytes are not: they
 * stay valid until commit). */
void cn_write_change(struct cn_write *self,
                     const struct cn_statement *statement,
                     const struct cn_param *params,
                     size_t count);
/* CN_CHANGE(op, &SQL_X, cn_uuid(id), cn_int(3)), of an operation (step.h) or a
 * write. */
void cn_op_change(struct cn_op *op,
                  const struct cn_statement *statement,
                  const struct cn_param *params,
                  size_t count);
#define CN_CHANGE(on, statement, ...)                                          \
    _Generic((on), struct cn_op *                                              \
             : cn_op_change, struct cn_write *                                 \
             : cn_write_change)(                                               \
        (on), (statement), (const struct cn_param[]){ __VA_ARGS__ },           \
        sizeof((const struct cn_param[]){ __VA_ARGS__ }) /                     \
            sizeof(struct cn_param))
/* One outbox row; payload is packed and sealed here. aggregate_seq is the value
 * that the change gives to the aggregate row's event_seq. */
void cn_write_event(struct cn_write *self,
                    const char *type,
                    const char *aggregate_type,
                    struct cn_uuid aggregate_id,
                    int64_t aggregate_seq,
                    const ProtobufCMessage *payload);
/* The audit row: what was done to which record of which patient (nil: none).
 * action is "referral.accept"; resource is its outside id. */
void cn_write_audit(struct cn_write *self,
                    const char *action,
                    const char *resource,
                    struct cn_uuid patient_id);
/* Something to do at fire_at, handed to the service's due handler of that kind
 * (common/deadlines/due.h). Part of the change. */
void cn_write_due(struct cn_write *self,
                  const char *kind,
                  struct cn_uuid id,
                  int64_t fire_at);
void cn_write_due_done(struct cn_write *self,
                       const char *kind,
                       struct cn_uuid id);

/* One more of a metric's counter (common/loop/metrics.h), once the unit has
 * committed: what was tried again, or replayed to a repeated key, counts once.
 */
void cn_write_count(struct cn_write *self, uint64_t *counter);

/* The move of a consumer's position: the last step of all, once. */
void cn_write_position(struct cn_write *self,
                       const struct cn_statement *statement,
                       const struct cn_param *params,
                       size_t count);
/* Was nothing added? The position does not count. */
bool cn_write_empty(const struct cn_write *self);

/* Sends the unit and parks until its Sync.
 * CN_OK: committed, or a key used before with the same request: then
 * reply->replayed is set and reply->packed holds the stored reply. The key with
 * another request is CN_KEY_REUSED.
 * CN_CONFLICT with err->word = the constraint's name for a unique, exclusion,
 * check, foreign key or require() violation; the handler may turn named ones
 * into something more exact. CN_STALE for a constraint whose name ends in
 * "_version" (then nothing was written: read again, or tell the client).
 * CN_UNKNOWN after the same unit was sent again under its key and its outcome
 * is still not known (a write without a key is not sent again). 40001, 40P01
 * and 55P03 are retried within the budget, then CN_BUSY. */
CN_CHECKED enum cn_code cn_write_commit(struct cn_write *self,
                                        struct cn_err *err);

#endif
