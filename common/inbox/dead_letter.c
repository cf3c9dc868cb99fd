/* SPDX-License-Identifier: Apache-2.0 */
/* The fiber that tries dead letters again. A claimed letter is dead already,
 * "killed: process", until the attempt ends otherwise: one that kills the
 * process is not tried again and again. */
#include "common/inbox/dead_letter.h"

#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/bus/bus.h"
#include "common/contract/service.h"
#include "common/db/db.h"
#include "common/inbox/consumer_internal.h"
#include "common/loop/fiber.h"
#include "common/loop/loop.h"
#include "common/loop/metrics.h"
#include "common/store/write.h"
#include "common/wire/message.h"

#include "cairn/events.pb-c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CLAIM_US = 30000000,
    PASSING_US = 2000000, /* before the next try when the failure may pass */
    LOOK_US = 1000000,
    LOOK_BUDGET_US = 2000000,
    FETCH_BUDGET_US = 3000000
};

struct letters {
    struct letters *next;
    struct cn_env *env;
    const struct cn_service *service;
    struct cn_rest rest;
    bool hinted;
    int64_t dead; /* as of the last look: open letters, of all tenants */
    uint64_t retried;
    uint64_t failed;
};

/* One claimed letter. */
struct letter {
    struct cn_uuid tenant_id;
    struct cn_uuid event_id;
    const char *producer;
    const char *aggregate_type;
    struct cn_uuid aggregate_id;
    int64_t aggregate_seq;
    int64_t epoch;
    int64_t xid;
    int64_t seq;
    const char *status; /* before the claim */
    const char *error;
};

/* Usually one; the hint has no argument because handlers know no fiber. */
static struct letters *s_all;

/* While copies are being rebuilt an effect could read what is not there yet. */
#define NO_REBUILD                                                             \
    " AND NOT EXISTS (SELECT 1 FROM {{schema}}.rebuild b"                      \
    " WHERE b.ended_at IS NULL)"

/* The first open letter of its record, asked for or waiting behind one that is
 * open no more. One at a time: a claim names the culprit of a kill. */
CN_SQL_RELAY(
    SQL_DEAD_LETTER_CLAIM,
    "WITH picked AS MATERIALIZED ("
    "SELECT d.tenant_id, d.event_id, d.status, d.error"
    " FROM {{schema}}.dead_letter d"
    " WHERE d.status IN ('dead', 'retrying')"
    " AND (d.status = 'retrying' OR d.error = 'blocked: aggregate')"
    " AND (d.claimed_until IS NULL OR d.claimed_until < now())" NO_REBUILD
    " AND NOT EXISTS (SELECT 1 FROM {{schema}}.dead_letter e"
    " WHERE e.tenant_id = d.tenant_id AND e.producer = d.producer"
    " AND e.aggregate_type = d.aggregate_type"
    " AND e.aggregate_id = d.aggregate_id"
    " AND e.aggregate_seq < d.aggregate_seq"
    " AND e.status IN ('dead', 'retrying'))"
    " ORDER BY d.created_at LIMIT 1 FOR UPDATE OF d SKIP LOCKED)"
    " UPDATE {{schema}}.dead_letter d SET status = 'dead',"
    " error = 'killed: process',"
    " claimed_until = now() + $1::bigint * interval '1 us'"
    " FROM picked p WHERE d.tenant_id = p.tenant_id"
    " AND d.event_id = p.event_id"
    " RETURNING d.tenant_id, d.event_id, d.producer, d.aggregate_type,"
    " d.aggregate_id, d.aggregate_seq, d.epoch, d.xid::text::bigint, d.seq,"
    " p.status, p.error");

CN_SQL_RELAY(SQL_DEAD_LETTER_COUNT,
             "SELECT count(*) FROM {{schema}}.dead_letter d"
             " WHERE d.status IN ('dead', 'retrying')");

/* The end of the effect's unit: nobody else did it, nothing before it is open,
 * and no rebuild has begun since it was read for (it is tried again then). */
CN_SQL_RELAY(SQL_DEAD_LETTER_DONE,
             "WITH done AS (UPDATE {{schema}}.dead_letter d"
             " SET status = 'done', error = $7, claimed_until = NULL"
             " WHERE d.tenant_id = $1 AND d.event_id = $2"
             " AND d.status IN ('dead', 'retrying')"
             " AND NOT EXISTS (SELECT 1 FROM {{schema}}.dead_letter e"
             " WHERE e.tenant_id = $1 AND e.producer = $3"
             " AND e.aggregate_type = $4 AND e.aggregate_id = $5"
             " AND e.aggregate_seq < $6"
             " AND e.status IN ('dead', 'retrying')) RETURNING 1)"
             " SELECT {{schema}}.require(true" NO_REBUILD
             ", 'rebuild_version'),"
             " {{schema}}.require(count(*) = 1, 'dead_letter_open')"
             " FROM done");

/* After a failure; a letter discarded meanwhile stays so. */
CN_SQL_RELAY(SQL_DEAD_LETTER_FAILED,
             "UPDATE {{schema}}.dead_letter d SET status = $3, error = $4,"
             " claimed_until = now() + $5::bigint * interval '1 us'"
             " WHERE d.tenant_id = $1 AND d.event_id = $2"
             " AND d.status IN ('dead', 'retrying')");

/* ---- one letter ---- */

static const struct cn_subscription *
s_subscription(const struct cn_service *service, const char *producer)
{
    for (size_t i = 0; i < service->subscription_count; i++) {
        if (strcmp(service->subscriptions[i].producer, producer) == 0) {
            return &service->subscriptions[i];
        }
    }
    return NULL;
}

/* The event as its producer has it: the first one after the place before it. */
static enum cn_code s_event_fetch(const struct letters *self,
                                  const struct letter *letter,
                                  struct cn_arena *arena,
                                  const Evt__Event **ret_event,
                                  struct cn_err *err)
{
    Evt__FetchRequest request = EVT__FETCH_REQUEST__INIT;
    Evt__Position after = EVT__POSITION__INIT;
    struct cn_bus_call call = { .service = letter->producer,
                                .method = "events.v1.Events/Fetch",
                                .budget_us = FETCH_BUDGET_US };
    const ProtobufCMessage *message = NULL;
    CN_SET(&after, epoch, (int32_t)letter->epoch);
    CN_SET(&after, xid, (uint64_t)letter->xid);
    CN_SET(&after, seq, letter->seq - 1);
    request.consumer = self->service->name;
    request.after = &after;
    CN_SET(&request, limit, 1);
    enum cn_code rc =
        cn_bus_ask(self->env->bus, arena, &call, &request.base,
                   &evt__fetch_response__descriptor, &message, err);
    if (rc != CN_OK) {
        return rc;
    }
    const Evt__FetchResponse *page = (const Evt__FetchResponse *)message;
    const Evt__Event *event = page->n_events > 0 ? page->events[0] : NULL;
    struct cn_uuid id;
    if (event == NULL ||
        !cn_message_uuid(event->has_event_id, event->event_id, &id) ||
        !cn_uuid_equal(id, letter->event_id)) {
        return cn_fail_as(err, CN_NOT_FOUND, "event_gone",
                          "the producer's log has it no more");
    }
    *ret_event = event;
    return CN_OK;
}

static void s_done_add(struct cn_write *write, const struct letter *letter)
{
    const struct cn_param params[] = {
        cn_uuid(letter->tenant_id),    cn_uuid(letter->event_id),
        cn_text(letter->producer),     cn_text(letter->aggregate_type),
        cn_uuid(letter->aggregate_id), cn_int(letter->aggregate_seq),
        cn_text(letter->error),
    };
    cn_write_position(write, &SQL_DEAD_LETTER_DONE, params, CN_COUNT(params));
}

/* The event's effect and the letter's end, in one unit. */
static enum cn_code s_effect(const struct letters *self,
                             const struct cn_subscription *subscription,
                             const struct letter *letter,
                             const struct entry *entry,
                             struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    enum cn_code rc = CN_OK;
    if (arena == NULL) {
        return cn_fail(err, CN_NOMEM, "dead letter: no memory");
    }
    struct cn_event event =
        consumer_event(self->env, subscription, entry, arena);
    struct cn_write *write = cn_write_begin_event(self->env, arena, &event);
    /* A type that is followed no more asks for nothing. */
    if (entry->handler != NULL) {
        rc = consumer_event_open(entry, &event, err);
        if (rc == CN_OK) {
            rc = cn_event_handle(self->service, entry->handler, &event, write,
                                 err);
        }
    }
    if (rc != CN_OK) {
        return rc;
    }
    s_done_add(write, letter);
    return cn_write_commit(write, err);
}

static enum cn_code s_try(const struct letters *self,
                          const struct letter *letter,
                          struct cn_arena *arena,
                          struct cn_err *err)
{
    const struct cn_subscription *subscription =
        s_subscription(self->service, letter->producer);
    const Evt__Event *event = NULL;
    struct entry entry = { 0 };
    if (subscription == NULL) {
        return cn_fail_as(err, CN_NOT_FOUND, "producer_gone",
                          "its producer is followed no more");
    }
    enum cn_code rc = s_event_fetch(self, letter, arena, &event, err);
    if (rc == CN_OK) {
        rc = consumer_entry_read(subscription, event, &entry, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    rc = CN_STALE;
    for (unsigned i = 0; i <= CONSUMER_STALE_AGAIN_MAX && rc == CN_STALE; i++) {
        cn_err_clear(err);
        rc = s_effect(self, subscription, letter, &entry, err);
    }
    return rc;
}

/* What the row says after a failure: as before when it may pass by itself. */
static void s_letter_failed(const struct letters *self,
                            const struct letter *letter,
                            struct cn_arena *arena,
                            enum cn_code rc,
                            const struct cn_err *failure)
{
    const bool passing = consumer_may_pass(rc);
    char error[CONSUMER_ERROR_TEXT_MAX];
    const struct cn_rows *rows = NULL;
    struct cn_err err = { 0 };
    (void)snprintf(error, sizeof(error), "%s: %s", cn_code_word(rc),
                   failure->word);
    const struct cn_param params[] = {
        cn_uuid(letter->tenant_id),
        cn_uuid(letter->event_id),
        cn_text(passing ? letter->status : "dead"),
        cn_text(passing ? letter->error : error),
        cn_int(PASSING_US),
    };
    cn_fiber_set_deadline(cn_clock_monotonic() + LOOK_BUDGET_US);
    if (cn_db_read_all(self->env->db, arena, &SQL_DEAD_LETTER_FAILED, params,
                       CN_COUNT(params), &rows, &err) != CN_OK) {
        cn_log(CN_LOG_WARN, "dead letter: %s", err.msg);
    }
}

static void s_letter(struct letters *self,
                     const struct letter *letter,
                     struct cn_arena *arena)
{
    int64_t since = cn_clock_monotonic();
    struct cn_err err = { 0 };
    char method[CONSUMER_METHOD_TEXT_MAX];
    cn_fiber_set_deadline(since + CN_EVENT_BUDGET_US);
    enum cn_code rc = s_try(self, letter, arena, &err);
    self->retried++;
    err.code = rc;
    (void)snprintf(method, sizeof(method), "retry/%s", letter->producer);
    cn_log_request(NULL, letter->tenant_id, method, &err,
                   cn_clock_monotonic() - since);
    if (rc != CN_OK) {
        self->failed++;
        s_letter_failed(self, letter, arena, rc, &err);
    }
    cn_fiber_set_deadline(INT64_MAX);
}

/* ---- the fiber ---- */

static struct letter s_letter_of_row(const struct cn_rows *rows, size_t row)
{
    return (struct letter){
        .tenant_id = cn_row_uuid(rows, row, 0),
        .event_id = cn_row_uuid(rows, row, 1),
        .producer = cn_row_text(rows, row, 2),
        .aggregate_type = cn_row_text(rows, row, 3),
        .aggregate_id = cn_row_uuid(rows, row, 4),
        .aggregate_seq = cn_row_int(rows, row, 5),
        .epoch = cn_row_int(rows, row, 6),
        .xid = cn_row_int(rows, row, 7),
        .seq = cn_row_int(rows, row, 8),
        .status = cn_row_text(rows, row, 9),
        .error = cn_row_text(rows, row, 10),
    };
}

static enum cn_code s_letters_round(struct letters *self, struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    const struct cn_param claim = cn_int(CLAIM_US);
    const struct cn_rows *rows = NULL;
    const struct cn_rows *count = NULL;
    cn_fiber_set_deadline(cn_clock_monotonic() + LOOK_BUDGET_US);
    enum cn_code rc = cn_db_read_all(
        self->env->db, arena, &SQL_DEAD_LETTER_CLAIM, &claim, 1, &rows, err);
    if (rc == CN_OK) {
        rc = cn_db_read_all(self->env->db, arena, &SQL_DEAD_LETTER_COUNT, NULL,
                            0, &count, err);
    }
    cn_fiber_set_deadline(INT64_MAX);
    if (rc != CN_OK) {
        return rc;
    }
    self->dead = cn_row_int(count, 0, 0);
    if (cn_rows_count(rows) > 0) {
        const struct letter letter = s_letter_of_row(rows, 0);
        self->hinted = true; /* There may be more. */
        s_letter(self, &letter, arena);
    }
    return CN_OK;
}

static void s_letters_run(void *arg)
{
    struct letters *self = arg;
    while (!cn_loop_stopping(self->env->loop)) {
        struct cn_err err = { 0 };
        self->hinted = false;
        /* While the database is away the next look is the retry. */
        (void)!s_letters_round(self, &err);
        if (!self->hinted) {
            (void)cn_rest(&self->rest, cn_clock_monotonic() + LOOK_US);
        }
    }
    struct letters **link = &s_all;
    while (*link != self) {
        link = &(*link)->next;
    }
    *link = self->next;
    cn_metrics_forget(self);
    free(self);
}

static void s_letters_metrics(void *arg, struct cn_metrics_page *page)
{
    static const struct cn_metric DEAD = {
        "cairn_dead_letters",
        "Events that failed too often and wait for somebody to retry or "
        "discard them.",
        CN_METRIC_GAUGE
    };
    static const struct cn_metric RETRIED = {
        "cairn_dead_letters_retried_total",
        "Events set aside that were tried again.", CN_METRIC_COUNTER
    };
    static const struct cn_metric FAILED = {
        "cairn_dead_letters_failed_again_total",
        "Events set aside that failed when they were tried again.",
        CN_METRIC_COUNTER
    };
    const struct letters *self = arg;
    cn_metrics_value(page, &DEAD, "", (double)self->dead);
    cn_metrics_value(page, &RETRIED, "", (double)self->retried);
    cn_metrics_value(page, &FAILED, "", (double)self->failed);
}

enum cn_code cn_dead_letters_start(struct cn_env *env,
                                   const struct cn_service *service,
                                   struct cn_err *err)
{
    struct letters *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        return cn_fail(err, CN_NOMEM, "dead letters: no memory");
    }
    self->env = env;
    self->service = service;
    enum cn_code rc =
        cn_fiber_spawn(env->loop, s_letters_run, self, INT64_MAX, err);
    if (rc != CN_OK) {
        free(self);
        return rc;
    }
    self->next = s_all;
    s_all = self;
    cn_metrics_register(s_letters_metrics, self);
    return CN_OK;
}

void cn_dead_letters_hint(void)
{
    for (struct letters *self = s_all; self != NULL; self = self->next) {
        self->hinted = true;
        cn_rest_call(&self->rest);
    }
}
