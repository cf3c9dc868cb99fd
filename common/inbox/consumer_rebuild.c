/* SPDX-License-Identifier: Apache-2.0 */
/* Rebuilds of copies: asked for, found due, ended. The table rebuild holds
 * them; one replica loads each (consumer_snapshot.c). */
#include "common/inbox/consumer_internal.h"

#include "common/base/clock.h"
#include "common/base/log.h"

#include <stdio.h>
#include <string.h>

enum { LOOK_US = 500000 /* how often it is looked whether one is due */ };

/* ---- asked for ---- */

/* No row: its positions are not made yet (common/inbox/lease.c), so nothing has
 * been copied that could be made again. */
CN_SQL_RELAY(SQL_REBUILD_ASK,
             "SELECT {{schema}}.rebuild_ask($1, false) WHERE EXISTS (SELECT 1"
             " FROM {{schema}}.inbox_position p WHERE p.producer = $1)");

static enum cn_code
s_rebuild_ask(struct cn_env *env, const char *producer, struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    const struct cn_param param = cn_text(producer);
    const struct cn_rows *rows = NULL;
    enum cn_code rc =
        cn_db_read_all(env->db, arena, &SQL_REBUILD_ASK, &param, 1, &rows, err);
    if (rc == CN_OK && cn_rows_count(rows) == 0) {
        return cn_fail(err, CN_UNAVAILABLE, "%s is not followed yet", producer);
    }
    return rc;
}

enum cn_code cn_rebuild_ask(struct cn_env *env,
                            const struct cn_service *service,
                            const char *producer,
                            struct cn_err *err)
{
    bool found = producer == NULL;
    for (size_t i = 0; i < service->subscription_count; i++) {
        const char *name = service->subscriptions[i].producer;
        if (producer != NULL && strcmp(producer, name) != 0) {
            continue;
        }
        found = true;
        enum cn_code rc = s_rebuild_ask(env, name, err);
        if (rc != CN_OK) {
            return cn_wrap(err, "rebuild");
        }
    }
    return found ? CN_OK
                 : cn_fail_field(err, "/producer", "unknown_producer",
                                 "is not followed by this service");
}

enum cn_code consumer_rebuild_due(struct consumer *self, struct cn_err *err)
{
    cn_fiber_set_deadline(cn_clock_monotonic() + CONSUMER_UNIT_BUDGET_US);
    enum cn_code rc =
        s_rebuild_ask(self->env, self->subscription->producer, err);
    cn_fiber_set_deadline(INT64_MAX);
    if (rc == CN_OK) {
        cn_log(CN_LOG_INFO, "the log of %s begins later than we are: rebuild",
               self->subscription->producer);
        self->all->rebuilding = true;
        cn_rest_call(&self->all->rebuilder);
    }
    return rc;
}

/* ---- what is due ---- */

CN_SQL_RELAY(SQL_REBUILDS_OPEN,
             "SELECT r.producer, r.turn, r.attempts, r.after_type,"
             " r.after_tenant, r.after_id,"
             " coalesce(r.claimed_until > now(), false)"
             " FROM {{schema}}.rebuild r WHERE r.ended_at IS NULL"
             " ORDER BY r.producer");

static struct consumer *s_consumer_of(struct consumers *all,
                                      const char *producer)
{
    for (size_t i = 0; i < all->count; i++) {
        if (strcmp(all->items[i].subscription->producer, producer) == 0) {
            return &all->items[i];
        }
    }
    return NULL;
}

/* Of a producer that no live replica follows: nobody would load it, and all
 * would wait for it. A replica of an earlier or later release may follow it. */
CN_SQL_RELAY(SQL_REBUILD_END,
             "UPDATE {{schema}}.rebuild r SET turn = r.turn + 1,"
             " ended_at = now() WHERE r.producer = $1 AND r.turn = $2"
             " AND r.ended_at IS NULL AND NOT EXISTS (SELECT 1"
             " FROM {{schema}}.replica a WHERE a.producer = r.producer"
             " AND a.until > now()) RETURNING r.producer");

static enum cn_code s_rebuild_end(struct consumers *all,
                                  struct cn_arena *arena,
                                  const char *producer,
                                  int64_t turn,
                                  bool *ret_ended,
                                  struct cn_err *err)
{
    const struct cn_param params[] = { cn_text(producer), cn_int(turn) };
    const struct cn_rows *rows = NULL;
    enum cn_code rc = cn_db_read_all(all->env->db, arena, &SQL_REBUILD_END,
                                     params, 2, &rows, err);
    if (rc != CN_OK) {
        return rc;
    }
    *ret_ended = cn_rows_count(rows) == 1;
    if (*ret_ended) {
        cn_log(CN_LOG_WARN, "%s is not followed: its rebuild is ended",
               producer);
    }
    return CN_OK;
}

static void s_load_fill(struct load *self,
                        struct consumer *consumer,
                        const struct cn_rows *rows,
                        size_t row)
{
    *self = (struct load){ .consumer = consumer,
                           .turn = cn_row_int(rows, row, 1),
                           .after.tenant_id = cn_row_uuid(rows, row, 4),
                           .after.id = cn_row_uuid(rows, row, 5) };
    /* An attempt that somebody did not end may have killed it. */
    self->careful = cn_row_int(rows, row, 2) > 0 ? CONSUMER_CAREFUL_ROWS : 0;
    if (!cn_row_null(rows, row, 3)) {
        (void)snprintf(self->after.type, sizeof(self->after.type), "%s",
                       cn_row_text(rows, row, 3));
    }
}

/* Fills load with the first of the open ones that nobody loads. *ret_open:
 * there is one, whoever loads it. */
static enum cn_code s_open_look(struct consumers *all,
                                struct cn_arena *arena,
                                const struct cn_rows *rows,
                                struct load *load,
                                bool *ret_open,
                                struct cn_err *err)
{
    bool open = false;
    for (size_t i = 0; i < all->count; i++) {
        all->items[i].rebuild_open = false;
    }
    for (size_t row = 0; row < cn_rows_count(rows); row++) {
        const char *producer = cn_row_text(rows, row, 0);
        struct consumer *consumer = s_consumer_of(all, producer);
        bool ended = false;
        if (consumer == NULL) {
            enum cn_code rc = s_rebuild_end(
                all, arena, producer, cn_row_int(rows, row, 1), &ended, err);
            if (rc != CN_OK) {
                return rc;
            }
        } else {
            consumer->rebuild_open = true;
            if (load->consumer == NULL && !cn_row_bool(rows, row, 6)) {
                s_load_fill(load, consumer, rows, row);
            }
        }
        open = open || !ended;
    }
    *ret_open = open;
    return CN_OK;
}

static enum cn_code s_rebuilds_look(struct consumers *all,
                                    struct load *load,
                                    bool *ret_open,
                                    struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    const struct cn_rows *rows = NULL;
    cn_fiber_set_deadline(cn_clock_monotonic() + CONSUMER_UNIT_BUDGET_US);
    enum cn_code rc = cn_db_read_all(all->env->db, arena, &SQL_REBUILDS_OPEN,
                                     NULL, 0, &rows, err);
    if (rc == CN_OK) {
        rc = s_open_look(all, arena, rows, load, ret_open, err);
    }
    cn_fiber_set_deadline(INT64_MAX);
    return rc;
}

/* Lets the logs go on, or holds them. */
static void s_set_rebuilding(struct consumers *all, bool rebuilding)
{
    bool before = all->rebuilding;
    all->rebuilding = rebuilding;
    for (size_t i = 0; i < all->count && before && !rebuilding; i++) {
        consumer_fetch_wake(&all->items[i]);
    }
}

void consumers_rebuild(void *arg)
{
    struct consumers *all = arg;
    while (!cn_loop_stopping(all->env->loop)) {
        struct load load = { .consumer = NULL };
        struct cn_err err = { 0 };
        bool open = all->rebuilding;
        enum cn_code rc = s_rebuilds_look(all, &load, &open, &err);
        if (rc == CN_OK) {
            s_set_rebuilding(all, open);
        }
        if (rc == CN_OK && load.consumer != NULL) {
            consumer_load(&load);
            if (load.ended) {
                load.consumer->rebuild_open = false;
                continue; /* Is another one due? */
            }
        }
        if (!cn_loop_stopping(all->env->loop)) {
            (void)cn_rest(&all->rebuilder, cn_clock_monotonic() + LOOK_US);
        }
    }
    consumers_fiber_ended(all);
}
