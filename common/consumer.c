/* SPDX-License-Identifier: Apache-2.0 */
/* One fiber per producer: fetch, apply, go on; quietly through restarts. */
#include "common/consumer.h"

#include "common/bus.h"
#include "common/clock.h"
#include "common/consumer_internal.h"
#include "common/fiber.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/message.h"
#include "common/outbox.h"

#include <stdlib.h>

enum {
    WAIT_MS = 2000, /* of a long poll */
    FETCH_BUDGET_US = 5000000,
    /* A producer that was killed is back within a second. */
    BACKOFF_MIN_US = 50000,
    BACKOFF_MAX_US = 800000,
    BACKOFF_DOUBLINGS_MAX = 4,
    TELL_AFTER_US = 2000000 /* trouble that is shorter is not logged */
};

static enum cn_code s_fetch_pack(const struct consumer *self,
                                 struct cn_arena *arena,
                                 struct cn_bytes *ret_body,
                                 struct cn_err *err)
{
    Evt__FetchRequest request = EVT__FETCH_REQUEST__INIT;
    Evt__Position after = EVT__POSITION__INIT;

    CN_SET(&after, epoch, (int32_t)self->at.epoch);
    CN_SET(&after, xid, (uint64_t)self->at.xid);
    CN_SET(&after, seq, self->at.seq);
    request.consumer = self->service->name;
    request.after = &after;
    CN_SET(&request, limit, CN_FETCH_LIMIT_MAX);
    CN_SET(&request, wait_ms, WAIT_MS);
    return cn_message_pack(arena, &request.base, ret_body, err);
}

static enum cn_code s_fetch(const struct consumer *self,
                            struct cn_arena *arena,
                            const Evt__FetchResponse **ret_batch,
                            struct cn_err *err)
{
    struct cn_bus_call call = {
        .service = self->subscription->producer,
        .method = "events.v1.Events/Fetch",
        .budget_us = FETCH_BUDGET_US,
        .long_poll = true,
    };
    struct cn_bus_reply reply = { 0 };
    const ProtobufCMessage *message = NULL;

    enum cn_code rc = s_fetch_pack(self, arena, &call.body, err);
    if (rc == CN_OK) {
        rc = cn_bus_call(self->env->bus, arena, &call, &reply, err);
    }
    if (rc == CN_OK) {
        rc = cn_message_unpack(arena, &evt__fetch_response__descriptor,
                               reply.body, &message, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    *ret_batch = (const Evt__FetchResponse *)message;
    return CN_OK;
}

static enum cn_code s_round(struct consumer *self, struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    const Evt__FetchResponse *batch = NULL;
    enum cn_code rc = CN_OK;

    if (arena == NULL) {
        return cn_fail(err, CN_NOMEM, "consumer: no memory");
    }
    if (!self->known) {
        rc = consumer_position_load(self, err);
    }
    if (rc == CN_OK) {
        rc = s_fetch(self, arena, &batch, err);
        if (rc != CN_OK) {
            return rc;
        }
        rc = consumer_apply(self, arena, batch, err);
    }
    if (rc != CN_OK) {
        self->known = false;
    } else if (self->known && batch->has_complete_until &&
               !cn_loop_stopping(self->env->loop)) {
        static const int ALL = CONSUMER_ALL;
        consumer_complete_note(self->env, self->subscription->producer, &ALL, 1,
                               batch->complete_until, &self->noted_at);
    }
    return rc;
}

/* Says that the following broke off and that it goes on, not every try. */
static void
s_tell(struct consumer *self, enum cn_code rc, const struct cn_err *err)
{
    const char *producer = self->subscription->producer;
    int64_t now = cn_clock_monotonic();

    if (rc == CN_OK) {
        if (self->told) {
            cn_log(CN_LOG_INFO, "following %s again after %lld ms", producer,
                   (long long)(now - self->failing_since) / 1000);
        }
        self->failing_since = 0;
        self->failures = 0;
        self->told = false;
        return;
    }
    if (self->failing_since == 0) {
        self->failing_since = now;
    }
    if (!self->told && now - self->failing_since >= TELL_AFTER_US) {
        cn_log(CN_LOG_WARN, "following %s: %s: %s", producer, cn_code_word(rc),
               err->msg);
        self->told = true;
    }
}

/* Half of the pause is fixed, half is chance. */
static int64_t s_backoff_us(struct consumer *self)
{
    unsigned doublings = self->failures < BACKOFF_DOUBLINGS_MAX
                             ? self->failures
                             : BACKOFF_DOUBLINGS_MAX;
    int64_t most = (int64_t)BACKOFF_MIN_US << doublings;
    uint32_t number = 0;

    self->env->random(self->env, &number, sizeof(number));
    self->failures++;
    return most / 2 + (int64_t)number % (most / 2 + 1);
}

static void s_follow(void *arg)
{
    struct consumer *self = arg;
    struct cn_loop *loop = self->env->loop;

    while (!cn_loop_stopping(loop)) {
        struct cn_err err = { 0 };
        enum cn_code rc = s_round(self, &err);
        cn_fiber_set_deadline(INT64_MAX);
        if (cn_loop_stopping(loop)) {
            break;
        }
        s_tell(self, rc, &err);
        if (rc != CN_OK && cn_fiber_sleep(s_backoff_us(self)) != CN_OK) {
            break;
        }
    }
    free(self);
}

static enum cn_code s_start(struct cn_env *env,
                            const struct cn_service *service,
                            const struct cn_subscription *subscription,
                            struct cn_err *err)
{
    struct consumer *self = calloc(1, sizeof(*self));

    if (self == NULL) {
        return cn_fail(err, CN_NOMEM, "consumer: no memory");
    }
    self->env = env;
    self->service = service;
    self->subscription = subscription;
    enum cn_code rc = cn_fiber_spawn(env->loop, s_follow, self, INT64_MAX, err);
    if (rc != CN_OK) {
        free(self);
    }
    return rc;
}

enum cn_code cn_consumers_start(struct cn_env *env,
                                const struct cn_service *service,
                                struct cn_err *err)
{
    for (size_t i = 0; i < service->subscription_count; i++) {
        enum cn_code rc =
            s_start(env, service, &service->subscriptions[i], err);
        if (rc != CN_OK) {
            return rc;
        }
    }
    return CN_OK;
}
