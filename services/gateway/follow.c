/* SPDX-License-Identifier: Apache-2.0 */
/* The fiber that follows a log. */
#include "services/gateway/follow.h"

#include "common/base/clock.h"
#include "common/bus/bus.h"
#include "common/loop/fiber.h"
#include "common/loop/loop.h"
#include "common/loop/metrics.h"
#include "common/wire/message.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    WAIT_MS = 1000,
    BUDGET_US = 2500000,
    RETRY_US = 100000, /* after a fetch that failed */
    LABELS_MAX = 64
};

struct follow {
    struct follow *next; /* in s_all */
    struct cn_env *env;
    const char *service;
    struct follow_listener listeners[FOLLOW_LISTENERS_MAX];
    size_t listener_count;
    bool has_position;
    bool caught_up; /* the log has been read to its end once */
    struct follow_position position;
    int64_t fresh_at;
    uint64_t events;
};

/* All followers are one source of metrics, since the values of one metric must
 * be written one after the other. */
static struct follow *s_all;

int follow_compare(struct follow_position a, struct follow_position b)
{
    if (a.epoch != b.epoch) {
        return a.epoch < b.epoch ? -1 : 1;
    }
    if (a.xid != b.xid) {
        return a.xid < b.xid ? -1 : 1;
    }
    return a.seq == b.seq ? 0 : a.seq < b.seq ? -1 : 1;
}

struct follow_position follow_position_of(const Evt__Position *position)
{
    return (struct follow_position){ position->epoch, position->xid,
                                     position->seq };
}

enum cn_code follow_fetch(struct cn_env *env,
                          struct cn_arena *arena,
                          const char *service,
                          const Evt__FetchRequest *request,
                          int64_t budget_us,
                          const Evt__FetchResponse **ret_response,
                          struct cn_err *err)
{
    struct cn_bus_call call = { .service = service,
                                .method = "events.v1.Events/Fetch",
                                .budget_us = budget_us,
                                .long_poll = true };
    const ProtobufCMessage *message = NULL;
    enum cn_code rc =
        cn_bus_ask(env->bus, arena, &call, &request->base,
                   &evt__fetch_response__descriptor, &message, err);
    if (rc == CN_OK) {
        *ret_response = (const Evt__FetchResponse *)message;
    }
    return rc;
}

static enum cn_code s_events_fetch(struct follow *self,
                                   struct cn_arena *arena,
                                   const Evt__FetchResponse **ret_response,
                                   struct cn_err *err)
{
    Evt__FetchRequest request = EVT__FETCH_REQUEST__INIT;
    Evt__Position after = EVT__POSITION__INIT;
    request.consumer = "gateway";
    /* The gateway needs no events from before its start. */
    request.has_only_head = !self->has_position;
    request.only_head = !self->has_position;
    if (self->has_position) {
        after.has_epoch = 1;
        after.epoch = (int32_t)self->position.epoch;
        after.has_xid = 1;
        after.xid = self->position.xid;
        after.has_seq = 1;
        after.seq = self->position.seq;
        request.after = &after;
    }
    request.has_limit = 1;
    request.limit = FOLLOW_PAGE;
    request.has_wait_ms = 1;
    request.wait_ms = self->caught_up ? WAIT_MS : 0;
    return follow_fetch(self->env, arena, self->service, &request, BUDGET_US,
                        ret_response, err);
}

static void s_event_pass(struct follow *self,
                         struct cn_arena *arena,
                         const Evt__Event *event)
{
    if (event->position == NULL) {
        return;
    }
    struct follow_position position = follow_position_of(event->position);
    if (self->has_position && follow_compare(position, self->position) <= 0) {
        return;
    }
    for (size_t i = 0; i < self->listener_count; i++) {
        self->listeners[i].event(self->listeners[i].arg, arena, event);
    }
    self->position = position;
    self->has_position = true;
    self->events++;
}

/* One fetch; hands its events to the listeners. */
static enum cn_code s_follow_once(struct follow *self, struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    const Evt__FetchResponse *response = NULL;
    int64_t asked_at = cn_clock_monotonic();
    if (arena == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory");
    }
    enum cn_code rc = s_events_fetch(self, arena, &response, err);
    if (rc != CN_OK) {
        return rc;
    }
    assert(response != NULL);
    for (size_t i = 0; i < response->n_events; i++) {
        s_event_pass(self, arena, response->events[i]);
    }
    /* complete_until is missing from a page that does not reach the end. */
    bool whole = response->n_events == 0 || response->has_complete_until;
    if (whole && response->head != NULL) {
        struct follow_position head = follow_position_of(response->head);
        if (!self->has_position || follow_compare(head, self->position) > 0) {
            self->position = head;
        }
        self->has_position = true;
    }
    if (whole) {
        self->caught_up = true;
        self->fresh_at = asked_at;
    }
    const struct follow_look look = { .position = self->position,
                                      .asked_at = asked_at,
                                      .whole = whole,
                                      .has_complete_until =
                                          response->has_complete_until,
                                      .complete_until =
                                          response->complete_until };
    for (size_t i = 0; self->has_position && i < self->listener_count; i++) {
        self->listeners[i].look(self->listeners[i].arg, &look);
    }
    return CN_OK;
}

static void s_follow_run(void *arg)
{
    struct follow *self = arg;
    while (!cn_loop_stopping(self->env->loop)) {
        struct cn_err err = { 0 };
        if (s_follow_once(self, &err) == CN_OK) {
            continue;
        }
        if (cn_fiber_sleep(RETRY_US) != CN_OK) {
            return;
        }
    }
}

static void s_follow_metrics(void *arg, struct cn_metrics_page *page)
{
    static const struct cn_metric EVENTS = {
        "cairn_follow_events_total", "Events read from the log of a service.",
        CN_METRIC_COUNTER
    };
    static const struct cn_metric LAG = {
        "cairn_follow_lag_seconds",
        "Time since the log of a service had last been read to its end.",
        CN_METRIC_GAUGE
    };
    char labels[LABELS_MAX];
    int64_t now_at = cn_clock_monotonic();
    (void)arg;
    for (const struct follow *one = s_all; one != NULL; one = one->next) {
        (void)snprintf(labels, sizeof(labels), "producer=\"%s\"", one->service);
        cn_metrics_value(page, &EVENTS, labels, (double)one->events);
    }
    for (const struct follow *one = s_all; one != NULL; one = one->next) {
        if (one->fresh_at > 0) {
            (void)snprintf(labels, sizeof(labels), "producer=\"%s\"",
                           one->service);
            cn_metrics_value(page, &LAG, labels,
                             (double)(now_at - one->fresh_at) /
                                 (double)CN_SECOND);
        }
    }
}

enum cn_code follow_new(struct cn_env *env,
                        const char *service,
                        struct follow **ret_follow,
                        struct cn_err *err)
{
    struct follow *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory");
    }
    self->env = env;
    self->service = service;
    enum cn_code rc =
        cn_fiber_spawn(env->loop, s_follow_run, self, INT64_MAX, err);
    if (rc != CN_OK) {
        free(self);
        return rc;
    }
    if (s_all == NULL) {
        cn_metrics_register(s_follow_metrics, &s_all);
    }
    self->next = s_all;
    s_all = self;
    *ret_follow = self;
    return CN_OK;
}

void follow_free(struct follow *self)
{
    struct follow **link = &s_all;
    if (self == NULL) {
        return;
    }
    while (*link != self) {
        link = &(*link)->next;
    }
    *link = self->next;
    if (s_all == NULL) {
        cn_metrics_forget(&s_all);
    }
    free(self);
}

void follow_listen(struct follow *self, struct follow_listener listener)
{
    assert(self->listener_count < FOLLOW_LISTENERS_MAX);
    self->listeners[self->listener_count++] = listener;
}

const char *follow_service(const struct follow *self)
{
    return self->service;
}

int64_t follow_fresh_at(const struct follow *self)
{
    return self->fresh_at;
}
