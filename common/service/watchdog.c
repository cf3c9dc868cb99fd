/* SPDX-License-Identifier: Apache-2.0 */
#include "common/service/watchdog.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/db/db.h"
#include "common/loop/fiber.h"
#include "common/loop/metrics.h"

#include <stdlib.h>

enum { ARENA_MAX = 64 << 10, PAUSE_US = 2000000, LOOK_BUDGET_US = 2000000 };

struct watchdog {
    struct cn_env *env;
    uint64_t ended;
};

/* xact_start, not the state's age: each statement of a pipeline renews that. */
CN_SQL_RELAY(SQL_WATCHDOG,
             "SELECT count(*) FROM (SELECT pg_terminate_backend(a.pid)"
             " FROM pg_stat_activity a"
             " WHERE a.datname = current_database()"
             " AND a.usename IN ('{{schema}}_app', '{{schema}}_relay')"
             " AND a.pid <> pg_backend_pid() AND a.state = 'active'"
             " AND a.wait_event = 'ClientRead' AND a.backend_xid IS NOT NULL"
             " AND a.xact_start < now() - interval '5 s') AS ended");

enum cn_code
cn_watchdog_look(struct cn_env *env, int64_t *ret_count, struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(ARENA_MAX);
    const struct cn_rows *rows = NULL;
    enum cn_code rc =
        cn_db_read_all(env->db, arena, &SQL_WATCHDOG, NULL, 0, &rows, err);
    if (rc == CN_OK) {
        *ret_count = cn_row_int(rows, 0, 0);
    }
    return rc;
}

static void s_watch(void *arg)
{
    struct watchdog *self = arg;
    while (cn_fiber_sleep(PAUSE_US) == CN_OK) {
        struct cn_err err = { 0 };
        int64_t count = 0;
        cn_fiber_set_deadline(cn_clock_monotonic() + LOOK_BUDGET_US);
        /* While the database is away there is nothing to watch. */
        if (cn_watchdog_look(self->env, &count, &err) == CN_OK && count > 0) {
            self->ended += (uint64_t)count;
            cn_log(CN_LOG_WARN,
                   "%lld backends waited for their client in an open write",
                   (long long)count);
        }
        cn_fiber_set_deadline(INT64_MAX);
    }
    cn_metrics_forget(self);
    free(self);
}

static void s_watchdog_tell(void *arg, struct cn_metrics_page *page)
{
    static const struct cn_metric ENDED = {
        "cairn_db_watchdog_ended_total",
        "Database sessions of ours that were ended because they stood still in "
        "an open write.",
        CN_METRIC_COUNTER
    };
    const struct watchdog *self = arg;
    cn_metrics_value(page, &ENDED, "", (double)self->ended);
}

enum cn_code cn_watchdog_start(struct cn_env *env, struct cn_err *err)
{
    struct watchdog *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        return cn_fail(err, CN_NOMEM, "watchdog");
    }
    self->env = env;
    enum cn_code rc = cn_fiber_spawn(env->loop, s_watch, self, INT64_MAX, err);
    if (rc != CN_OK) {
        free(self);
        return rc;
    }
    cn_metrics_register(s_watchdog_tell, self);
    return CN_OK;
}
