/* SPDX-License-Identifier: Apache-2.0 */
#include "common/service/retention.h"

#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/db/db.h"
#include "common/inbox/consumer.h"
#include "common/loop/fiber.h"
#include "common/loop/loop.h"
#include "common/outbox/outbox.h"

#include <stdlib.h>

enum { ARENA_MAX = 256 << 10 };

static const int64_t SWEEP_BUDGET_US = 60 * CN_SECOND;

struct sweeper {
    struct cn_env *env;
    int64_t log_keep_us;
};

CN_SQL_RELAY(SQL_IDEMPOTENCY_SWEEP,
             "WITH old AS (SELECT i.tenant_id, i.subject, i.method, i.key"
             " FROM {{schema}}.idempotency i WHERE i.created_at < $1"
             " ORDER BY i.created_at LIMIT 1000),"
             " gone AS (DELETE FROM {{schema}}.idempotency i USING old"
             " WHERE i.tenant_id = old.tenant_id AND i.subject = old.subject"
             " AND i.method = old.method AND i.key = old.key RETURNING 1)"
             " SELECT count(*) FROM gone");

enum cn_code
cn_retention_sweep(struct cn_env *env, int64_t *ret_count, struct cn_err *err)
{
    int64_t count = 0;
    int64_t batch = CN_RETENTION_BATCH;
    while (batch == CN_RETENTION_BATCH && !cn_loop_stopping(env->loop)) {
        CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(ARENA_MAX);
        const struct cn_param before =
            cn_at(env->now(env) - CN_IDEMPOTENCY_KEEP_US);
        const struct cn_rows *rows = NULL;
        enum cn_code rc = cn_db_read_all(env->db, arena, &SQL_IDEMPOTENCY_SWEEP,
                                         &before, 1, &rows, err);
        if (rc != CN_OK) {
            return rc;
        }
        batch = cn_row_int(rows, 0, 0);
        count += batch;
    }
    *ret_count = count;
    return CN_OK;
}

/* ---- the log ---- */

CN_SQL_RELAY(SQL_LOG_READER_NOTE,
             "INSERT INTO {{schema}}.log_reader AS r"
             " (consumer, partition, epoch, xid, seq, seen_at)"
             " VALUES ($1, $2, $3, $4, $5, now())"
             " ON CONFLICT (consumer, partition) DO UPDATE"
             " SET epoch = excluded.epoch, xid = excluded.xid,"
             " seq = excluded.seq, seen_at = excluded.seen_at"
             " WHERE (r.epoch, r.xid, r.seq) <="
             " (excluded.epoch, excluded.xid, excluded.seq)");

/* The oldest rows of one partition; of those, what is old enough and behind
 * every reader. */
CN_SQL_RELAY(
    SQL_LOG_SWEEP,
    "WITH first AS MATERIALIZED (SELECT o.tenant_id, o.aggregate_type,"
    " o.aggregate_id, o.aggregate_seq, o.occurred_at, o.epoch, o.xid, o.seq"
    " FROM {{schema}}.outbox o WHERE o.partition = $1"
    " ORDER BY o.epoch, o.xid, o.seq LIMIT 1000),"
    " gone AS (DELETE FROM {{schema}}.outbox o USING first f"
    " WHERE o.tenant_id = f.tenant_id"
    " AND o.aggregate_type = f.aggregate_type"
    " AND o.aggregate_id = f.aggregate_id"
    " AND o.aggregate_seq = f.aggregate_seq AND f.occurred_at < $2"
    " AND NOT EXISTS (SELECT 1 FROM {{schema}}.log_reader r"
    " WHERE r.partition = $1"
    " AND (r.epoch, r.xid, r.seq) < (f.epoch, f.xid, f.seq))"
    " RETURNING 1) SELECT count(*) FROM gone");

static enum cn_code s_note(struct cn_env *env,
                           const struct cn_outbox_reader *reader,
                           struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(ARENA_MAX);
    const struct cn_param params[] = {
        cn_text(reader->consumer), cn_int(reader->partition),
        cn_int(reader->epoch),     cn_int(reader->xid),
        cn_int(reader->seq),
    };
    const struct cn_rows *rows = NULL;
    return cn_db_read_all(env->db, arena, &SQL_LOG_READER_NOTE, params,
                          CN_COUNT(params), &rows, err);
}

/* Before the deletion: an event is passed only when that is known here. */
static enum cn_code s_note_readers(struct cn_env *env, struct cn_err *err)
{
    struct cn_outbox_reader reader;
    enum cn_code rc = CN_OK;
    for (size_t i = 0;
         rc == CN_OK && cn_outbox_reader_at(env->outbox, i, &reader); i++) {
        rc = s_note(env, &reader, err);
    }
    return rc;
}

static enum cn_code s_sweep_partition(struct cn_env *env,
                                      int partition,
                                      int64_t before_at,
                                      int64_t *count,
                                      struct cn_err *err)
{
    int64_t batch = CN_RETENTION_BATCH;
    while (batch == CN_RETENTION_BATCH && !cn_loop_stopping(env->loop)) {
        CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(ARENA_MAX);
        const struct cn_param params[] = { cn_int(partition),
                                           cn_at(before_at) };
        const struct cn_rows *rows = NULL;
        enum cn_code rc = cn_db_read_all(env->db, arena, &SQL_LOG_SWEEP, params,
                                         2, &rows, err);
        if (rc != CN_OK) {
            return rc;
        }
        batch = cn_row_int(rows, 0, 0);
        *count += batch;
    }
    return CN_OK;
}

enum cn_code cn_retention_sweep_log(struct cn_env *env,
                                    int64_t before_at,
                                    int64_t *ret_count,
                                    struct cn_err *err)
{
    int64_t count = 0;
    enum cn_code rc = s_note_readers(env, err);
    for (int i = 0; rc == CN_OK && i < CN_PARTITIONS; i++) {
        rc = s_sweep_partition(env, i, before_at, &count, err);
    }
    if (rc == CN_OK) {
        *ret_count = count;
    }
    return rc;
}

/* ---- the fiber ---- */

static void s_sweep(void *arg)
{
    struct sweeper *self = arg;
    struct cn_env *env = self->env;
    while (cn_fiber_sleep(CN_RETENTION_PAUSE_US) == CN_OK) {
        struct cn_err err = { 0 };
        int64_t count = 0;
        cn_fiber_set_deadline(cn_clock_monotonic() + SWEEP_BUDGET_US);
        if (cn_retention_sweep(env, &count, &err) != CN_OK) {
            cn_log(CN_LOG_WARN, "retention: %s", err.msg);
        }
        cn_fiber_set_deadline(cn_clock_monotonic() + SWEEP_BUDGET_US);
        if (cn_retention_sweep_log(env, env->now(env) - self->log_keep_us,
                                   &count, &err) != CN_OK) {
            cn_log(CN_LOG_WARN, "retention of the log: %s", err.msg);
        }
        cn_fiber_set_deadline(INT64_MAX);
    }
    free(self);
}

enum cn_code
cn_retention_start(struct cn_env *env, int64_t log_keep_us, struct cn_err *err)
{
    struct sweeper *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        return cn_fail(err, CN_NOMEM, "retention");
    }
    self->env = env;
    self->log_keep_us = log_keep_us;
    enum cn_code rc = cn_fiber_spawn(env->loop, s_sweep, self, INT64_MAX, err);
    if (rc != CN_OK) {
        free(self);
    }
    return rc;
}
