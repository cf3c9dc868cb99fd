/* SPDX-License-Identifier: Apache-2.0 */
/* The log of a service: its horizon, and the poller that wakes waiting fetches.
 */
#include "common/outbox/outbox.h"

#include "common/loop/loop.h"
#include "common/loop/metrics.h"
#include "common/outbox/outbox_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LOOK_BUDGET_US = 2000000,
    LOOK_RETRY_US = 100000, /* after a look that failed */
    LOOK_GAP_US = 500,      /* two looks are at least so far apart */
    /* After a hint whose commit stays behind an open transaction. */
    LOOK_AGAIN_US = 1500,
    LOOK_AGAIN_MAX = 6
};

int outbox_position_compare(struct position a, struct position b)
{
    if (a.epoch != b.epoch) {
        return a.epoch < b.epoch ? -1 : 1;
    }
    if (a.xid != b.xid) {
        return a.xid < b.xid ? -1 : 1;
    }
    return a.seq == b.seq ? 0 : a.seq < b.seq ? -1 : 1;
}

struct position outbox_position_max(struct position a, struct position b)
{
    return outbox_position_compare(a, b) < 0 ? b : a;
}

/* The row comparison with (epoch, xmin) says the same as "of an older epoch or
 * below the horizon", and lets the index begin at the horizon. */
CN_SQL_RELAY(
    SQL_OUTBOX_HEAD,
    "SELECT h.epoch, h.xid::text::bigint, h.seq,"
    " pg_snapshot_xmin(pg_current_snapshot())::text::bigint,"
    " pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
    " FROM (VALUES (1)) AS one"
    " LEFT JOIN LATERAL (SELECT o.epoch, o.xid, o.seq"
    " FROM {{schema}}.outbox o"
    " WHERE (o.epoch, o.xid) < ($1, pg_snapshot_xmin(pg_current_snapshot()))"
    " ORDER BY o.epoch DESC, o.xid DESC, o.seq DESC LIMIT 1) h ON true");

/* Of SQL_OUTBOX_HEAD, after the position. */
enum { COLUMN_XMIN = 3, COLUMN_XMAX = 4 };

enum { COLUMN_EPOCH, COLUMN_XID, COLUMN_SEQ };

struct position outbox_row_position(const struct cn_rows *rows, size_t row)
{
    return (struct position){ cn_row_int(rows, row, COLUMN_EPOCH),
                              cn_row_int(rows, row, COLUMN_XID),
                              cn_row_int(rows, row, COLUMN_SEQ) };
}

/* Takes in a row of SQL_OUTBOX_HEAD that was asked for at at. */
void outbox_horizon_move(struct horizon *self,
                         const struct cn_rows *rows,
                         int64_t at)
{
    int64_t xmin = cn_row_int(rows, 0, COLUMN_XMIN);
    int64_t xmax = cn_row_int(rows, 0, COLUMN_XMAX);
    if (xmin >= self->mark_xid) {
        if (self->mark_at > self->complete_at) {
            self->complete_at = self->mark_at;
        }
        self->mark_xid = xmax;
        self->mark_at = at;
    }
    /* Nothing was open: what had its id before the look is shown. */
    if (xmin >= xmax && at > self->complete_at) {
        self->complete_at = at;
    }
}

void outbox_observe(struct cn_outbox *self,
                    const struct cn_rows *rows,
                    int64_t at)
{
    self->head = outbox_position_max(self->head, outbox_row_position(rows, 0));
    self->held =
        cn_row_int(rows, 0, COLUMN_XMIN) < cn_row_int(rows, 0, COLUMN_XMAX);
    outbox_horizon_move(&self->horizon, rows, at);
}

/* ---- the poller ---- */

static enum cn_code s_outbox_look(struct cn_outbox *self, struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    const struct cn_param params[] = { cn_int(self->epoch) };
    const struct cn_rows *rows = NULL;
    int64_t at = self->env->now(self->env);
    cn_fiber_set_deadline(cn_clock_monotonic() + LOOK_BUDGET_US);
    enum cn_code rc = cn_db_read_all(self->env->db, arena, &SQL_OUTBOX_HEAD,
                                     params, 1, &rows, err);
    cn_fiber_set_deadline(INT64_MAX);
    if (rc == CN_OK) {
        outbox_observe(self, rows, at);
    }
    return rc;
}

/* Wakes the waiters whom the log has passed; all of them with a failure. */
static void s_wake(struct cn_outbox *self, enum cn_code code)
{
    for (struct waiter *waiter = self->waiters; waiter != NULL;
         waiter = waiter->next) {
        if (code != CN_OK ||
            outbox_position_compare(self->head, waiter->seen) > 0) {
            (void)cn_fiber_wake(waiter->token, code);
        }
    }
}

static void s_poller_rest(int64_t until_at)
{
    int64_t left_us = until_at - cn_clock_monotonic();
    if (left_us > 0 && cn_fiber_sleep(left_us) != CN_OK) {
        return; /* The loop is stopping, which the poller sees by itself. */
    }
}

/* Looks only while somebody waits. */
static void s_outbox_poll(void *arg)
{
    struct cn_outbox *self = arg;
    unsigned again = 0;
    while (!cn_loop_stopping(self->env->loop)) {
        if (self->waiters == NULL) {
            (void)cn_rest(&self->poller, INT64_MAX);
            continue;
        }
        if (self->hinted) {
            self->hinted = false;
            again = LOOK_AGAIN_MAX;
        }
        struct cn_err err = { 0 };
        int64_t looked_at = cn_clock_monotonic();
        enum cn_code rc = s_outbox_look(self, &err);
        if (rc != CN_OK) {
            (void)cn_rest(&self->poller, looked_at + LOOK_RETRY_US);
            continue;
        }
        s_wake(self, CN_OK);
        int64_t pause_us = CN_OUTBOX_POLL_US;
        if (!self->held) {
            again = 0;
        }
        if (again > 0) {
            again--;
            pause_us = LOOK_AGAIN_US;
        }
        if (self->hinted) {
            pause_us = LOOK_GAP_US;
        }
        (void)cn_rest(&self->poller, looked_at + pause_us);
        /* A wake by a hint keeps the gap. */
        s_poller_rest(looked_at + LOOK_GAP_US);
    }
    s_wake(self, CN_UNAVAILABLE);
}

/* How far what is shown stays behind: a transaction that stays open anywhere in
 * the cluster holds all readers. It is looked at while somebody reads. */
static void s_outbox_metrics(void *arg, struct cn_metrics_page *page)
{
    static const struct cn_metric LAG = {
        "cairn_log_horizon_lag_seconds",
        "Age of the moment up to which the log of events is complete.",
        CN_METRIC_GAUGE
    };
    static const struct cn_metric WAITING = {
        "cairn_log_fetches_waiting",
        "Readers of the log that wait for the next event.", CN_METRIC_GAUGE
    };
    const struct cn_outbox *self = arg;
    int64_t lag_us = self->horizon.complete_at > 0
                         ? self->env->now(self->env) - self->horizon.complete_at
                         : 0;
    cn_metrics_value(page, &LAG, "", (double)lag_us / (double)CN_SECOND);
    cn_metrics_value(page, &WAITING, "", (double)self->waiter_count);
}

struct cn_outbox *cn_outbox_start(struct cn_env *env,
                                  const struct cn_service *service,
                                  int epoch,
                                  struct cn_err *err)
{
    struct cn_outbox *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        (void)cn_fail(err, CN_NOMEM, "outbox: no memory");
        return NULL;
    }
    self->env = env;
    self->epoch = epoch;
    (void)snprintf(self->context, sizeof(self->context), "%s.outbox.payload",
                   service->name);
    if (cn_fiber_spawn(env->loop, s_outbox_poll, self, INT64_MAX, err) !=
        CN_OK) {
        free(self);
        return NULL;
    }
    cn_metrics_register(s_outbox_metrics, self);
    return self;
}

void cn_outbox_free(struct cn_outbox *self)
{
    cn_metrics_forget(self);
    free(self);
}

void cn_outbox_hint(struct cn_outbox *self)
{
    if (self == NULL) {
        return;
    }
    self->hinted = true;
    if (self->waiters == NULL) {
        return;
    }
    /* Most often nothing holds the horizon and the fetch itself finds what was
     * committed: that saves the look before it. The poller looks beside it. */
    int64_t now = cn_clock_monotonic();
    if (now - self->hinted_at >= LOOK_GAP_US) {
        self->hinted_at = now;
        for (struct waiter *waiter = self->waiters; waiter != NULL;
             waiter = waiter->next) {
            (void)cn_fiber_wake(waiter->token, CN_OK);
        }
    }
    cn_rest_call(&self->poller);
}

/* ---- the readers ---- */

static struct reader *s_reader(struct cn_outbox *self, const char *consumer)
{
    for (size_t i = 0; i < self->reader_count; i++) {
        if (strcmp(self->readers[i].name, consumer) == 0) {
            return &self->readers[i];
        }
    }
    if (self->reader_count == OUTBOX_READERS_MAX ||
        strlen(consumer) >= OUTBOX_NAME_MAX) {
        return NULL;
    }
    struct reader *reader = &self->readers[self->reader_count++];
    (void)snprintf(reader->name, sizeof(reader->name), "%s", consumer);
    return reader;
}

void outbox_reader_note(struct cn_outbox *self,
                        const char *consumer,
                        int partition,
                        struct position at)
{
    struct reader *reader = s_reader(self, consumer);
    if (reader == NULL) {
        return;
    }
    reader->at[partition] = outbox_position_max(reader->at[partition], at);
    reader->known[partition] = true;
}

bool cn_outbox_reader_at(const struct cn_outbox *self,
                         size_t index,
                         struct cn_outbox_reader *ret_reader)
{
    if (self == NULL) {
        return false;
    }
    for (size_t i = 0; i < self->reader_count * CN_PARTITIONS; i++) {
        const struct reader *reader = &self->readers[i / CN_PARTITIONS];
        size_t partition = i % CN_PARTITIONS;
        if (!reader->known[partition] || index-- > 0) {
            continue;
        }
        *ret_reader = (struct cn_outbox_reader){
            .consumer = reader->name,
            .partition = (int)partition,
            .epoch = reader->at[partition].epoch,
            .xid = reader->at[partition].xid,
            .seq = reader->at[partition].seq,
        };
        return true;
    }
    return false;
}

const struct cn_statement *outbox_statement_head(void)
{
    return &SQL_OUTBOX_HEAD;
}

enum cn_code outbox_wait(struct cn_outbox *self,
                         struct cn_arena *arena,
                         struct position seen,
                         int64_t until_at)
{
    if (cn_loop_stopping(self->env->loop)) {
        return CN_UNAVAILABLE;
    }
    if (outbox_position_compare(self->head, seen) > 0) {
        return CN_OK;
    }
    if (self->waiter_count == CN_OUTBOX_WAITING_MAX) {
        return CN_BUSY;
    }
    struct waiter *waiter = cn_arena_alloc(arena, sizeof(*waiter));
    if (cn_arena_failed(arena)) {
        return CN_NOMEM;
    }
    waiter->token = cn_fiber_token();
    waiter->seen = seen;
    waiter->next = self->waiters;
    self->waiters = waiter;
    self->waiter_count++;
    /* The first one starts the poller; a hint may have come before it. */
    if (self->waiter_count == 1 || self->hinted) {
        cn_rest_call(&self->poller);
    }
    enum cn_code rc = cn_fiber_park(until_at);

    struct waiter **link = &self->waiters;
    while (*link != waiter) {
        link = &(*link)->next;
    }
    *link = waiter->next;
    self->waiter_count--;
    return rc;
}
