/* SPDX-License-Identifier: Apache-2.0 */
#include "common/deadlines/deadline_watch.h"

#include "common/base/clock.h"
#include "common/base/env.h"
#include "common/db/db.h"
#include "common/deadlines/deadline_unit.h"
#include "common/loop/fiber.h"
#include "common/loop/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_MAX = 64 << 10, LOOK_BUDGET_US = 2000000, LABELS_MAX = 96 };

struct watch {
    struct cn_env *env;
    struct cn_deadline_count counts[CN_DEADLINE_COUNTS_MAX];
    size_t count;
};

/* The list of states is the index's own, or the index is not used. */
CN_SQL_RELAY(SQL_DEADLINE_COUNT,
             "SELECT r.id, s.state, (SELECT count(*)"
             " FROM {{schema}}.deadline d WHERE d.state = s.state"
             " AND d.rule = r.id AND d.state IN"
             " ('open', 'warned', 'breach_suspected', 'breached'))"
             " FROM (SELECT DISTINCT q.id FROM {{schema}}.clock_rule q) r"
             " CROSS JOIN unnest('{open,warned,breach_suspected,breached}'"
             "::text[]) AS s (state)"
             " ORDER BY r.id, s.state LIMIT 64");
_Static_assert(CN_DEADLINE_COUNTS_MAX == 64, "the limit in SQL_DEADLINE_COUNT");

enum cn_code
cn_deadline_count(struct cn_env *env,
                  struct cn_deadline_count counts[CN_DEADLINE_COUNTS_MAX],
                  size_t *ret_count,
                  struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(ARENA_MAX);
    const struct cn_rows *rows = NULL;
    enum cn_code rc = cn_db_read_all(env->db, arena, &SQL_DEADLINE_COUNT, NULL,
                                     0, &rows, err);
    if (rc != CN_OK) {
        return rc;
    }
    for (size_t i = 0; i < cn_rows_count(rows); i++) {
        struct cn_deadline_count *one = &counts[i];
        (void)snprintf(one->rule, sizeof(one->rule), "%s",
                       cn_row_text(rows, i, 0));
        (void)snprintf(one->state, sizeof(one->state), "%s",
                       cn_row_text(rows, i, 1));
        one->count = cn_row_int(rows, i, 2);
    }
    *ret_count = cn_rows_count(rows);
    return CN_OK;
}

static void s_deadlines_look(struct watch *self)
{
    struct cn_err err = { 0 };
    cn_fiber_set_deadline(cn_clock_monotonic() + LOOK_BUDGET_US);
    /* While the database is away the last counts stand. */
    (void)!cn_deadline_count(self->env, self->counts, &self->count, &err);
    cn_fiber_set_deadline(INT64_MAX);
}

static void s_deadlines_run(void *arg)
{
    struct watch *self = arg;
    do {
        s_deadlines_look(self);
    } while (cn_fiber_sleep(CN_DEADLINE_WATCH_US) == CN_OK);
    cn_metrics_forget(self);
    free(self);
}

static void s_deadlines_tell(void *arg, struct cn_metrics_page *page)
{
    static const struct cn_metric DEADLINES = {
        "cairn_deadlines",
        "Clocks of all agencies that run or were breached, by rule and state; "
        "each replica of a service tells the same number.",
        CN_METRIC_GAUGE
    };
    const struct watch *self = arg;
    char labels[LABELS_MAX];
    for (size_t i = 0; i < self->count; i++) {
        (void)snprintf(labels, sizeof(labels), "rule=\"%s\",state=\"%s\"",
                       self->counts[i].rule, self->counts[i].state);
        cn_metrics_value(page, &DEADLINES, labels,
                         (double)self->counts[i].count);
    }
}

static bool s_has_clocks(const struct cn_service *service)
{
    bool found = false;
    for (size_t i = 0; i < service->due_handler_count; i++) {
        found = found ||
                strcmp(service->due_handlers[i].kind, CN_DEADLINE_KIND) == 0;
    }
    return found;
}

enum cn_code cn_deadline_watch_start(struct cn_env *env,
                                     const struct cn_service *service,
                                     struct cn_err *err)
{
    if (!s_has_clocks(service)) {
        return CN_OK;
    }
    struct watch *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        return cn_fail(err, CN_NOMEM, "deadlines: no memory");
    }
    self->env = env;
    enum cn_code rc =
        cn_fiber_spawn(env->loop, s_deadlines_run, self, INT64_MAX, err);
    if (rc != CN_OK) {
        free(self);
        return rc;
    }
    cn_metrics_register(s_deadlines_tell, self);
    return CN_OK;
}
