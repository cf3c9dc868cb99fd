/* SPDX-License-Identifier: Apache-2.0 */
#include "common/retention.h"

#include "common/clock.h"
#include "common/db.h"
#include "common/fiber.h"
#include "common/log.h"
#include "common/loop.h"

enum { ARENA_MAX = 256 << 10 };

static const int64_t SWEEP_BUDGET_US = 60 * CN_SECOND;

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
    while (batch == CN_RETENTION_BATCH) {
        CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(ARENA_MAX);
        const struct cn_param before =
            cn_at(env->now(env) - CN_IDEMPOTENCY_KEEP_US);
        const struct cn_rows *rows = NULL;
        if (arena == NULL) {
            return cn_fail(err, CN_NOMEM, "sweep old keys");
        }
        enum cn_code rc =
            cn_db_read(env->db, CN_LANE_RELAY, arena, (struct cn_uuid){ 0 },
                       &SQL_IDEMPOTENCY_SWEEP, &before, 1, &rows, err);
        if (rc != CN_OK) {
            return rc;
        }
        batch = cn_row_int(rows, 0, 0);
        count += batch;
    }
    *ret_count = count;
    return CN_OK;
}

static void s_sweep(void *arg)
{
    struct cn_env *env = arg;
    while (cn_fiber_sleep(CN_RETENTION_PAUSE_US) == CN_OK) {
        struct cn_err err = { 0 };
        int64_t count = 0;
        cn_fiber_set_deadline(cn_clock_monotonic() + SWEEP_BUDGET_US);
        if (cn_retention_sweep(env, &count, &err) != CN_OK) {
            cn_log(CN_LOG_WARN, "retention: %s", err.msg);
        }
        cn_fiber_set_deadline(INT64_MAX);
    }
}

enum cn_code cn_retention_start(struct cn_env *env, struct cn_err *err)
{
    return cn_fiber_spawn(env->loop, s_sweep, env, INT64_MAX, err);
}
