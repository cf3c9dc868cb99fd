/* SPDX-License-Identifier: Apache-2.0 */
/* Ends a stream when the rights of its key end or change. */
#include "services/gateway/stream_internal.h"

#include "common/base/clock.h"
#include "common/loop/loop.h"

#include <stddef.h>

enum { BUDGET_US = 2500000, RETRY_US = 200000 };

void stream_grant_doubt(struct stream *stream)
{
    struct streams *self = stream->streams;
    stream->asks = true;
    stream->doubted = true;
    self->asks = true;
    cn_rest_call(&self->asker);
}

/* Runs in the follower's fiber at an event of access. The event that a key was
 * made may come after the key's first use, so the key is asked for again. */
static void
s_on_change(void *arg, struct cn_uuid tenant_id, const uint8_t *key_hash)
{
    struct streams *self = arg;
    struct stream_tenant *tenant = stream_tenant_find(self, tenant_id);
    for (struct stream *stream = tenant == NULL ? NULL : tenant->streams;
         stream != NULL; stream = stream->next) {
        if (key_hash == NULL || auth_is_key(stream->grant, key_hash)) {
            stream_grant_doubt(stream);
        }
    }
}

static void s_ask_again(struct stream *stream)
{
    stream->asks = true;
}

void stream_grant_tick(struct streams *self)
{
    if (auth_held(self->auth)) {
        streams_each(self, s_ask_again);
        self->asks = self->count > 0;
    }
    if (self->asks) {
        cn_rest_call(&self->asker);
    }
}

static struct stream *s_asking(const struct streams *self)
{
    for (size_t i = 0; i < STREAM_TENANTS; i++) {
        for (struct stream_tenant *tenant = self->tenants[i]; tenant != NULL;
             tenant = tenant->next) {
            for (struct stream *stream = tenant->streams; stream != NULL;
                 stream = stream->next) {
                if (stream->asks && !stream->ends) {
                    return stream;
                }
            }
        }
    }
    return NULL;
}

/* Applies the answer to all streams of the tenant with the same grant. The
 * stream for which it was asked may have ended. now NULL: the key gives no
 * rights any more. */
static void s_grant_apply(struct streams *self,
                          const struct auth_grant *held,
                          const struct auth_grant *now)
{
    struct stream_tenant *tenant =
        stream_tenant_find(self, auth_principal(held)->tenant_id);
    for (struct stream *stream = tenant == NULL ? NULL : tenant->streams;
         stream != NULL; stream = stream->next) {
        if (!auth_same(stream->grant, held)) {
            continue;
        }
        stream->asks = false;
        stream->doubted = false;
        stream->ends = stream->ends || now == NULL || !auth_same(held, now);
        stream_stir(stream);
    }
}

static enum cn_code s_grant_ask(struct streams *self, struct stream *stream)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    struct auth_grant *held = auth_share(stream->grant);
    struct auth_grant *now = NULL;
    struct cn_err err = { 0 };
    enum cn_code rc = CN_NOMEM;
    uint64_t changes = auth_changes(self->auth);
    if (arena != NULL) {
        cn_fiber_set_deadline(cn_clock_monotonic() + BUDGET_US);
        rc = auth_hold_again(self->auth, arena, held, &now, &err);
        cn_fiber_set_deadline(INT64_MAX);
    }
    if (rc == CN_OK && changes != auth_changes(self->auth)) {
        /* The event may be newer than the answer: the key is asked for again.
         */
    } else if (rc == CN_OK || rc == CN_UNAUTHENTICATED) {
        s_grant_apply(self, held, now);
        rc = CN_OK;
    }
    auth_release(now);
    auth_release(held);
    return rc;
}

static void s_grant_work(void *arg)
{
    struct streams *self = arg;
    while (!cn_loop_stopping(self->env->loop)) {
        struct stream *stream = s_asking(self);
        if (stream != NULL) {
            if (s_grant_ask(self, stream) != CN_OK &&
                cn_fiber_sleep(RETRY_US) != CN_OK) {
                return;
            }
            continue;
        }
        self->asks = false;
        if (cn_rest(&self->asker, INT64_MAX) != CN_OK) {
            return;
        }
    }
}

enum cn_code stream_grant_start(struct streams *self, struct cn_err *err)
{
    auth_watch(self->auth, s_on_change, self);
    return cn_fiber_spawn(self->env->loop, s_grant_work, self, INT64_MAX, err);
}
