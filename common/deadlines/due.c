/* SPDX-License-Identifier: Apache-2.0 */
/* The ticker: claims what is due, hands each row to a fiber of its own, and
 * renews the claims of those that take long. */
#include "common/deadlines/due.h"

#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/base/env.h"
#include "common/base/log.h"
#include "common/db/db.h"
#include "common/loop/fiber.h"
#include "common/loop/loop.h"
#include "common/store/step.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LOOK_BUDGET_US = 2000000,
    LOOK_GAP_US = 5000, /* between two looks, however many hints come */
    RETRY_MIN_US = 1000000,
    RETRY_MAX_US = 30000000,
    RENEW_US = 1500000, /* twice and more within a claim */
    /* Of what is in flight when the process stops: longer than its grace. */
    LAST_CLAIM_US = CN_DUE_BUDGET_US,
    METHOD_TEXT_MAX = 80
};

struct ticker {
    struct ticker *next;
    struct cn_env *env;
    const struct cn_service *service;
    const char **kinds;
    struct item *items; /* in flight */
    size_t in_flight;
    int64_t since; /* on the env's clock */
    struct cn_rest rest;
    bool hinted;
    bool ended; /* the last work frees it */
};

/* One claimed row; in the arena of its work. */
struct item {
    struct item *next;
    struct ticker *ticker;
    const struct cn_due_handler *handler;
    struct cn_due due;
    int64_t claimed_until; /* tells this claim from a later one */
    int64_t renew_at;      /* monotonic */
    bool renewing;
    bool ended; /* while it is renewed: the ticker does what is left */
    bool failed;
};

/* Usually one; the hint has no argument because writers know no ticker. */
static struct ticker *s_tickers;

/* The row is locked only while it is claimed, never while the work is done.
 * MATERIALIZED: the limit must be applied once, whatever the plan. It is not a
 * parameter: without the number the planner reads the whole table. */
_Static_assert(CN_DUE_BATCH == 32, "the limit in SQL_DUE_CLAIM");
CN_SQL_RELAY(SQL_DUE_CLAIM,
             "WITH picked AS MATERIALIZED ("
             "SELECT d.tenant_id, d.kind, d.id FROM {{schema}}.due d"
             " WHERE d.fire_at <= $1 AND d.kind = ANY ($2)"
             " AND (d.claimed_until IS NULL OR d.claimed_until < now())"
             " ORDER BY d.fire_at LIMIT 32 FOR UPDATE SKIP LOCKED)"
             " UPDATE {{schema}}.due d"
             " SET claimed_until = now() + $3::bigint * interval '1 us'"
             " FROM picked p WHERE d.tenant_id = p.tenant_id"
             " AND d.kind = p.kind AND d.id = p.id"
             " RETURNING d.tenant_id, d.kind, d.id, d.fire_at,"
             " d.claimed_until");

/* Only while the claim is still this one. */
CN_SQL_RELAY(SQL_DUE_PUT_OFF,
             "UPDATE {{schema}}.due d"
             " SET claimed_until = now() + $5::bigint * interval '1 us'"
             " WHERE d.tenant_id = $1 AND d.kind = $2 AND d.id = $3"
             " AND d.claimed_until = $4");

/* A row that is locked is in the unit that ends its work, or is renewed at the
 * next look: the ticker waits for none. */
CN_SQL_RELAY(SQL_DUE_RENEW,
             "WITH mine AS MATERIALIZED ("
             "SELECT d.tenant_id, d.kind, d.id FROM {{schema}}.due d"
             " WHERE d.tenant_id = $1 AND d.kind = $2 AND d.id = $3"
             " AND d.claimed_until = $4 FOR UPDATE SKIP LOCKED)"
             " UPDATE {{schema}}.due d"
             " SET claimed_until = now() + $5::bigint * interval '1 us'"
             " FROM mine m WHERE d.tenant_id = m.tenant_id"
             " AND d.kind = m.kind AND d.id = m.id"
             " RETURNING d.claimed_until");

static const struct cn_due_handler *
s_handler_find(const struct cn_service *service, const char *kind)
{
    for (size_t i = 0; i < service->due_handler_count; i++) {
        if (strcmp(service->due_handlers[i].kind, kind) == 0) {
            return &service->due_handlers[i];
        }
    }
    return NULL;
}

static void s_call(struct ticker *self)
{
    self->hinted = true;
    cn_rest_call(&self->rest);
}

static void s_ticker_free(struct ticker *self)
{
    struct ticker **link = &s_tickers;
    while (*link != NULL && *link != self) {
        link = &(*link)->next;
    }
    if (*link == self) {
        *link = self->next;
    }
    free(self->kinds);
    free(self);
}

/* ---- the work ---- */

/* The wait grows with the lateness, hence with every failure, and needs no
 * count of them. Lateness from before this process is not its failures'. Full
 * jitter: rows that failed together come apart. */
static int64_t s_retry_us(const struct item *item)
{
    struct cn_env *env = item->due.env;
    int64_t since = item->ticker->since > item->due.fire_at
                        ? item->ticker->since
                        : item->due.fire_at;
    int64_t late_us = env->now(env) - since;
    int64_t max_us = late_us < RETRY_MIN_US   ? RETRY_MIN_US
                     : late_us > RETRY_MAX_US ? RETRY_MAX_US
                                              : late_us;
    uint32_t number = 0;
    env->random(env, &number, sizeof(number));
    return RETRY_MIN_US + (int64_t)number % (max_us - RETRY_MIN_US + 1);
}

static void s_put_off(const struct item *item)
{
    const struct cn_due *due = &item->due;
    const struct cn_param params[] = {
        cn_uuid(due->tenant_id),    cn_text(due->kind),       cn_uuid(due->id),
        cn_at(item->claimed_until), cn_int(s_retry_us(item)),
    };
    const struct cn_rows *rows = NULL;
    struct cn_err err = { 0 };
    cn_fiber_set_deadline(cn_clock_monotonic() + LOOK_BUDGET_US);
    if (cn_db_read_all(due->env->db, due->arena, &SQL_DUE_PUT_OFF, params,
                       CN_COUNT(params), &rows, &err) != CN_OK) {
        return; /* The claim lapses by itself. */
    }
}

static void s_log_due_failure(const struct item *item,
                              const struct cn_err *err,
                              int64_t since)
{
    char method[METHOD_TEXT_MAX];
    (void)snprintf(method, sizeof(method), "due/%s", item->due.kind);
    cn_log_request(NULL, item->due.tenant_id, method, err,
                   cn_clock_monotonic() - since);
}

static void s_item_remove(struct item *item)
{
    struct item **link = &item->ticker->items;
    while (*link != item) {
        link = &(*link)->next;
    }
    *link = item->next;
}

/* In the fiber of the work; in the ticker's if that is renewing the claim. */
static void s_item_end(struct item *item)
{
    struct ticker *self = item->ticker;
    s_item_remove(item);
    if (item->failed) {
        s_put_off(item);
    }
    cn_arena_free(item->due.arena); /* item is in it */
    self->in_flight--;
    if (self->ended && self->in_flight == 0) {
        s_ticker_free(self);
    } else if (self->hinted) {
        s_call(self); /* It waited for a place. */
    }
}

enum cn_code cn_due_handle(const struct cn_service *service,
                           const struct cn_due_handler *handler,
                           const struct cn_due *due,
                           struct cn_err *err)
{
    struct cn_op op = cn_op_of_due(service, due, err);
    handler->work(&op, due);
    cn_commit(&op);
    if (err->code == CN_OK && cn_arena_failed(due->arena)) {
        (void)cn_fail(err, CN_NOMEM, "due: no memory");
    }
    return err->code;
}

static void s_work(void *arg)
{
    struct item *item = arg;
    struct ticker *self = item->ticker;
    int64_t since = cn_clock_monotonic();
    struct cn_err err = { 0 };
    enum cn_code rc = CN_STALE;
    for (unsigned i = 0; i <= CN_STALE_AGAIN_MAX && rc == CN_STALE; i++) {
        cn_err_clear(&err);
        item->due.now_at = self->env->now(self->env);
        rc = cn_due_handle(self->service, item->handler, &item->due, &err);
    }
    if (rc != CN_OK) {
        err.code = rc;
        s_log_due_failure(item, &err, since);
    }
    item->failed = rc != CN_OK;
    item->ended = true;
    if (!item->renewing) {
        s_item_end(item);
    }
}

/* A row that cannot be started keeps its claim and is taken up when that has
 * lapsed. */
static void
s_item_start(struct ticker *self, const struct cn_rows *rows, size_t row)
{
    struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    struct cn_err err = { 0 };
    if (arena == NULL) {
        return;
    }
    struct item *item = cn_arena_alloc(arena, sizeof(*item));
    item->ticker = self;
    item->handler = s_handler_find(self->service, cn_row_text(rows, row, 1));
    item->due = (struct cn_due){
        .env = self->env,
        .tenant_id = cn_row_uuid(rows, row, 0),
        .kind = item->handler == NULL ? "" : item->handler->kind,
        .id = cn_row_uuid(rows, row, 2),
        .fire_at = cn_row_at(rows, row, 3),
        .arena = arena,
    };
    item->claimed_until = cn_row_at(rows, row, 4);
    item->renew_at = cn_clock_monotonic() + RENEW_US;
    if (item->handler == NULL || cn_arena_failed(arena) ||
        cn_fiber_spawn(self->env->loop, s_work, item,
                       cn_clock_monotonic() + CN_DUE_BUDGET_US,
                       &err) != CN_OK) {
        cn_arena_free(arena);
        return;
    }
    item->next = self->items;
    self->items = item;
    self->in_flight++;
}

/* ---- the claims of what is in flight ---- */

static enum cn_code
s_renew_try(struct item *item, int64_t claim_us, struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    const struct cn_due *due = &item->due;
    const struct cn_param params[] = {
        cn_uuid(due->tenant_id),    cn_text(due->kind), cn_uuid(due->id),
        cn_at(item->claimed_until), cn_int(claim_us),
    };
    const struct cn_rows *rows = NULL;
    cn_fiber_set_deadline(cn_clock_monotonic() + LOOK_BUDGET_US);
    enum cn_code rc = cn_db_read_all(due->env->db, arena, &SQL_DUE_RENEW,
                                     params, CN_COUNT(params), &rows, err);
    if (rc == CN_OK && cn_rows_count(rows) > 0) {
        item->claimed_until = cn_row_at(rows, 0, 0);
        item->renew_at = cn_clock_monotonic() + RENEW_US;
    }
    return rc;
}

/* A claim that is not renewed now is tried again at the next look. */
static void s_renew(struct item *item, int64_t claim_us)
{
    struct cn_err err = { 0 };
    item->renew_at = cn_clock_monotonic() + CN_DUE_POLL_US;
    item->renewing = true;
    (void)!s_renew_try(item, claim_us, &err);
    item->renewing = false;
    if (item->ended) {
        s_item_end(item);
    }
    cn_fiber_set_deadline(INT64_MAX);
}

/* Those that are to be renewed by until_at. The list may change meanwhile. */
static void s_renew_all(struct ticker *self, int64_t until_at, int64_t claim_us)
{
    struct item *item = self->items;
    while (item != NULL) {
        if (item->renew_at > until_at) {
            item = item->next;
            continue;
        }
        s_renew(item, claim_us);
        item = self->items;
    }
}

/* ---- the ticker ---- */

/* Claims and starts what is due, at most CN_DUE_BATCH rows. */
static enum cn_code
s_claim(struct ticker *self, size_t *ret_count, struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    const struct cn_param params[] = {
        cn_at(self->env->now(self->env)),
        cn_texts(self->kinds, self->service->due_handler_count),
        cn_int(CN_DUE_CLAIM_US),
    };
    const struct cn_rows *rows = NULL;
    cn_fiber_set_deadline(cn_clock_monotonic() + LOOK_BUDGET_US);
    enum cn_code rc = cn_db_read_all(self->env->db, arena, &SQL_DUE_CLAIM,
                                     params, CN_COUNT(params), &rows, err);
    cn_fiber_set_deadline(INT64_MAX);
    if (rc != CN_OK) {
        return rc;
    }
    for (size_t row = 0; row < cn_rows_count(rows); row++) {
        s_item_start(self, rows, row);
    }
    *ret_count = cn_rows_count(rows);
    return CN_OK;
}

/* The works in flight outlive the ticker: their claims must, too. */
static void s_renew_last(struct ticker *self)
{
    for (struct item *item = self->items; item != NULL; item = item->next) {
        item->renew_at = 0;
    }
    s_renew_all(self, 0, LAST_CLAIM_US);
}

static bool s_ticker_goes_on(const struct ticker *self)
{
    return !cn_loop_stopping(self->env->loop);
}

static void s_tick(void *arg)
{
    struct ticker *self = arg;
    while (s_ticker_goes_on(self)) {
        s_renew_all(self, cn_clock_monotonic(), CN_DUE_CLAIM_US);
        bool room = self->in_flight + CN_DUE_BATCH <= CN_DUE_IN_FLIGHT_MAX;
        int64_t looked_at = cn_clock_monotonic();
        struct cn_err err = { 0 };
        size_t count = 0;

        self->hinted = !room;
        /* While the database is away the next look is the retry. */
        if (room && s_claim(self, &count, &err) == CN_OK &&
            count == CN_DUE_BATCH) {
            self->hinted = true; /* There may be more. */
        }
        if (!self->hinted || !room) {
            (void)cn_rest(&self->rest, looked_at + CN_DUE_POLL_US);
        }
        while (s_ticker_goes_on(self) &&
               cn_clock_monotonic() < looked_at + LOOK_GAP_US) {
            (void)cn_rest(&self->rest, looked_at + LOOK_GAP_US);
        }
    }
    s_renew_last(self);
    self->ended = true;
    if (self->in_flight == 0) {
        s_ticker_free(self);
    }
}

enum cn_code cn_due_start(struct cn_env *env,
                          const struct cn_service *service,
                          struct cn_err *err)
{
    if (service->due_handler_count == 0) {
        return CN_OK;
    }
    struct ticker *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        return cn_fail(err, CN_NOMEM, "due: no memory");
    }
    self->env = env;
    self->service = service;
    self->since = env->now(env);
    self->kinds = calloc(service->due_handler_count, sizeof(char *));
    if (self->kinds == NULL) {
        s_ticker_free(self);
        return cn_fail(err, CN_NOMEM, "due: no memory");
    }
    for (size_t i = 0; i < service->due_handler_count; i++) {
        self->kinds[i] = service->due_handlers[i].kind;
    }
    self->next = s_tickers;
    s_tickers = self;
    enum cn_code rc = cn_fiber_spawn(env->loop, s_tick, self, INT64_MAX, err);
    if (rc != CN_OK) {
        s_ticker_free(self);
    }
    return rc;
}

void cn_due_hint(void)
{
    for (struct ticker *self = s_tickers; self != NULL; self = self->next) {
        s_call(self);
    }
}
