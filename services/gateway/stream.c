/* SPDX-License-Identifier: Apache-2.0 */
/* The streams: what each one sends next, when it is woken, when it ends. */
#include "services/gateway/stream_internal.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/loop/loop.h"
#include "common/loop/metrics.h"
#include "common/wire/seal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RETRY_MS = 2000 };

#define TICK_US       CN_SECOND
#define TOKEN_HOLD_US (5 * CN_SECOND)
/* A ring is kept for this time after its last reader has gone: the reader may
 * come back. */
#define IDLE_US CN_MINUTE
/* Older entries are dropped; the logs still have them. */
#define AGE_US (5 * CN_MINUTE)

/* ---- tenants ---- */

static size_t s_tenant_list(struct cn_uuid id)
{
    return id.bytes[sizeof(id.bytes) - 1] % STREAM_TENANTS;
}

struct stream_tenant *stream_tenant_find(const struct streams *self,
                                         struct cn_uuid id)
{
    struct stream_tenant *tenant = self->tenants[s_tenant_list(id)];
    while (tenant != NULL && !cn_uuid_equal(tenant->id, id)) {
        tenant = tenant->next;
    }
    return tenant;
}

/* The tenant with its ring, made when it is missing. A new ring begins where
 * the logs have been read to. */
static struct stream_tenant *s_tenant_get(struct streams *self,
                                          struct cn_uuid id)
{
    struct stream_tenant *tenant = stream_tenant_find(self, id);
    if (tenant != NULL) {
        return tenant;
    }
    tenant = calloc(1, sizeof(*tenant));
    if (tenant != NULL) {
        tenant->id = id;
        tenant->ring.base = self->heads;
        tenant->idle_since = cn_clock_monotonic();
        tenant->next = self->tenants[s_tenant_list(id)];
        self->tenants[s_tenant_list(id)] = tenant;
    }
    return tenant;
}

/* Frees the rings that nobody has used for IDLE_US, or all. */
static void s_tenants_sweep(struct streams *self, bool all)
{
    int64_t idle_at = cn_clock_monotonic() - IDLE_US;
    for (size_t i = 0; i < STREAM_TENANTS; i++) {
        struct stream_tenant **link = &self->tenants[i];
        while (*link != NULL) {
            struct stream_tenant *tenant = *link;
            bool idle = tenant->count == 0 && tenant->holders == 0 &&
                        tenant->idle_since < idle_at;
            if (!idle && !all) {
                link = &tenant->next;
                continue;
            }
            *link = tenant->next;
            self->bytes -= tenant->ring.bytes;
            stream_ring_done(&tenant->ring);
            free(tenant);
        }
    }
}

static void s_ring_age(struct streams *self, struct stream_tenant *tenant)
{
    struct stream_ring *ring = &tenant->ring;
    int64_t old_at = cn_clock_monotonic() - AGE_US;
    size_t before = ring->bytes;
    while (stream_ring_count(ring) > 0 &&
           stream_ring_at(ring, ring->front)->added_at < old_at) {
        stream_ring_drop(ring);
    }
    self->bytes -= before - ring->bytes;
}

void streams_each(struct streams *self, void (*fn)(struct stream *stream))
{
    for (size_t i = 0; i < STREAM_TENANTS; i++) {
        for (struct stream_tenant *tenant = self->tenants[i]; tenant != NULL;
             tenant = tenant->next) {
            for (struct stream *stream = tenant->streams; stream != NULL;
                 stream = stream->next) {
                fn(stream);
            }
        }
    }
}

/* ---- what comes next ---- */

/* A reader that misses events of a log gets none of it until the log has been
 * read again. */
bool stream_misses(const struct stream *stream, size_t producer)
{
    const struct stream_vector *base = &stream->tenant->ring.base;
    uint32_t bit = 1U << producer;
    return (base->known & bit) == 0 || (stream->vector.known & bit) == 0 ||
           follow_compare(stream->vector.at[producer], base->at[producer]) < 0;
}

/* When the ring's base has moved: asks for a new read of each log from which
 * this reader misses something. */
static void s_look_at_base(struct stream *stream)
{
    const struct stream_ring *ring = &stream->tenant->ring;
    uint32_t wants = 0;
    if (stream->changes == ring->changes) {
        return;
    }
    stream->changes = ring->changes;
    for (size_t i = 0; i < CN_EVENT_SOURCE_COUNT; i++) {
        uint32_t bit = 1U << i;
        if ((ring->base.known & bit) == 0 || !stream_misses(stream, i)) {
            continue;
        }
        if ((stream->vector.known & bit) == 0) {
            /* Nobody knows which events came since the stream was opened. */
            stream->resets = "unknown_position";
        } else {
            wants |= bit;
        }
    }
    if (wants != 0 && stream->resets == NULL) {
        stream_log_want(stream->tenant, stream->streams, wants);
    }
}

/* A reader that has passed the whole ring is where the logs were read to. */
static void s_to_heads(struct stream *stream)
{
    const struct stream_vector *heads = &stream->streams->heads;
    for (size_t i = 0; i < CN_EVENT_SOURCE_COUNT; i++) {
        if (!stream_misses(stream, i) &&
            follow_compare(stream->vector.at[i], heads->at[i]) < 0) {
            stream->vector.at[i] = heads->at[i];
        }
    }
}

/* The next entry that this reader may see; skips the others. NULL at the end
 * of the ring. */
static const struct stream_entry *s_entry_next(struct stream *stream)
{
    const struct stream_ring *ring = &stream->tenant->ring;
    const struct cn_principal *principal = auth_principal(stream->grant);
    s_look_at_base(stream);
    if (stream->number < ring->front) {
        stream->number = ring->front;
    }
    for (; stream->number < ring->end; stream->number++) {
        const struct stream_entry *entry = stream_ring_at(ring, stream->number);
        struct follow_position *at = &stream->vector.at[entry->producer];
        if (stream_misses(stream, entry->producer) ||
            follow_compare(entry->at, *at) <= 0) {
            continue;
        }
        if (stream_kind_visible(stream->sight[entry->kind], principal,
                                entry->branch_id)) {
            return entry;
        }
        *at = entry->at;
    }
    s_to_heads(stream);
    return NULL;
}

/* May events be sent to it now? */
static bool s_trusted(const struct stream *stream)
{
    return !stream->doubted && auth_fresh(stream->streams->auth);
}

static bool s_has_news(struct stream *stream)
{
    return stream->ends || !stream->greeted || stream->beats ||
           (s_trusted(stream) && s_entry_next(stream) != NULL) ||
           stream->resets != NULL;
}

void stream_stir(struct stream *stream)
{
    if (cn_http_stream_rests(stream->http) && s_has_news(stream)) {
        stream->woken_at = cn_clock_monotonic();
        cn_http_stream_wake(stream->http);
    }
}

void stream_stir_all(struct stream_tenant *tenant)
{
    for (struct stream *stream = tenant->streams; stream != NULL;
         stream = stream->next) {
        stream_stir(stream);
    }
}

/* ---- bytes ---- */

static void s_stage(struct stream *stream, const char *text, size_t size)
{
    assert(stream->staged + size <= STREAM_STAGE_MAX);
    memcpy(stream->stage + stream->staged, text, size);
    stream->staged += size;
}

static void s_stage_text(struct stream *stream, const char *text)
{
    s_stage(stream, text, strlen(text));
}

/* False without memory: the reader keeps its last id, and nothing is lost. */
static bool s_stage_id(struct stream *stream)
{
    struct stream_tenant *tenant = stream->tenant;
    int64_t now_at = cn_clock_monotonic();
    struct cn_err err = { 0 };
    if (!tenant->has_token || tenant->token_at + TOKEN_HOLD_US < now_at ||
        !stream_vector_equal(&tenant->token_vector, &stream->vector)) {
        tenant->has_token =
            stream_token_write(stream->streams->env, tenant->id,
                               &stream->vector, tenant->token, &err) == CN_OK;
        tenant->token_vector = stream->vector;
        tenant->token_at = now_at;
    }
    if (!tenant->has_token) {
        return false;
    }
    s_stage_text(stream, "id: ");
    s_stage_text(stream, tenant->token);
    s_stage_text(stream, "\n");
    return true;
}

static void s_stage_reset(struct stream *stream)
{
    const struct streams *streams = stream->streams;
    const char *why = stream->resets;
    stream->resets = NULL;
    stream->vector = streams->heads;
    stream->number = stream->tenant->ring.end;
    stream->changes = stream->tenant->ring.changes;
    stream->streams->counts.resets++;
    (void)s_stage_id(stream);
    s_stage_text(stream, "event: reset\ndata: {\"reason\":\"");
    s_stage_text(stream, why);
    s_stage_text(stream, "\"}\n\n");
}

static void s_stage_entry(struct stream *stream,
                          const struct stream_entry *entry)
{
    stream->vector.at[entry->producer] = entry->at;
    stream->number++;
    if (stream->number == stream->tenant->ring.end) {
        s_to_heads(stream);
    }
    (void)s_stage_id(stream);
    s_stage(stream, entry->text, entry->size);
    stream->streams->counts.events++;
}

/* Stages the next piece. False: there is none now. */
static bool s_stage_next(struct stream *stream)
{
    char retry[32];
    stream->staged = 0;
    stream->sent = 0;
    if (stream->ends) {
        return false;
    }
    if (!stream->greeted) {
        stream->greeted = true;
        (void)s_entry_next(stream);
        (void)snprintf(retry, sizeof(retry), "retry: %d\n", RETRY_MS);
        s_stage_text(stream, retry);
        (void)s_stage_id(stream);
        s_stage_text(stream, "\n");
        return true;
    }
    const struct stream_entry *entry =
        s_trusted(stream) ? s_entry_next(stream) : NULL;
    if (stream->resets != NULL) {
        s_stage_reset(stream);
        return true;
    }
    if (stream->beats) {
        stream->beats = false;
        s_stage_text(stream, ":hb\n");
        (void)s_stage_id(stream);
        s_stage_text(stream, "\n");
        return true;
    }
    if (entry != NULL) {
        s_stage_entry(stream, entry);
        return true;
    }
    return false;
}

static ssize_t s_on_stream_read(void *arg, char *buffer, size_t size)
{
    struct stream *stream = arg;
    size_t put = 0;
    while (put < size) {
        size_t left = stream->staged - stream->sent;
        if (left == 0 && !s_stage_next(stream)) {
            break;
        }
        left = stream->staged - stream->sent;
        if (left > size - put) {
            left = size - put;
        }
        memcpy(buffer + put, stream->stage + stream->sent, left);
        stream->sent += left;
        put += left;
    }
    return put == 0 && stream->ends ? -1 : (ssize_t)put;
}

/* ---- one stream's life ---- */

static void s_on_closed(void *arg)
{
    struct stream *stream = arg;
    struct stream_tenant *tenant = stream->tenant;
    if (stream->next != NULL) {
        stream->next->previous = stream->previous;
    }
    if (stream->previous != NULL) {
        stream->previous->next = stream->next;
    } else {
        tenant->streams = stream->next;
    }
    tenant->count--;
    tenant->idle_since = cn_clock_monotonic();
    stream->streams->count--;
    auth_release(stream->grant);
    free(stream);
}

static enum cn_code s_room_check(struct streams *self,
                                 const struct stream_tenant *tenant,
                                 struct cn_err *err)
{
    if (self->count < self->config.max &&
        tenant->count < self->config.max_of_tenant) {
        return CN_OK;
    }
    self->counts.refused++;
    return cn_fail_as(err, CN_BUSY, "too_many_streams",
                      "there are too many streams; close some");
}

enum cn_code stream_open(struct streams *self,
                         struct auth_grant *grant,
                         const uint8_t sight[STREAM_KINDS_MAX],
                         const struct stream_vector *vector,
                         const char *resets,
                         struct stream **ret_stream,
                         struct cn_err *err)
{
    struct stream_tenant *tenant =
        s_tenant_get(self, auth_principal(grant)->tenant_id);
    if (tenant == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory");
    }
    enum cn_code rc = s_room_check(self, tenant, err);
    if (rc != CN_OK) {
        return rc;
    }
    struct stream *stream = calloc(1, sizeof(*stream));
    if (stream == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory");
    }
    stream->streams = self;
    stream->tenant = tenant;
    stream->grant = auth_share(grant);
    stream->source =
        (struct cn_http_source){ s_on_stream_read, s_on_closed, stream };
    stream->vector = vector != NULL ? *vector : self->heads;
    stream->number = vector != NULL ? tenant->ring.front : tenant->ring.end;
    stream->changes = UINT64_MAX;
    stream->resets = resets;
    stream->beat_at = cn_clock_monotonic() + STREAM_BEAT_US;
    memcpy(stream->sight, sight, STREAM_KINDS_MAX);
    stream->next = tenant->streams;
    if (stream->next != NULL) {
        stream->next->previous = stream;
    }
    tenant->streams = stream;
    tenant->count++;
    self->count++;
    self->counts.opened++;
    self->counts.resumed += vector != NULL ? 1 : 0;
    *ret_stream = stream;
    return CN_OK;
}

/* ---- time ---- */

/* Has an entry waited too long for the reader to take it? */
static bool s_lags(const struct stream *stream)
{
    const struct stream_ring *ring = &stream->tenant->ring;
    int64_t late_at = cn_clock_monotonic() - STREAM_LAG_US;
    if (stream->http.http == NULL || cn_http_stream_rests(stream->http) ||
        stream->woken_at >= late_at || stream->number >= ring->end) {
        return false;
    }
    return stream->number < ring->front ||
           stream_ring_at(ring, stream->number)->added_at < late_at;
}

static void s_stream_tick(struct stream *stream)
{
    struct streams *self = stream->streams;
    int64_t now_at = cn_clock_monotonic();
    if (auth_expires_at(stream->grant) <= self->env->now(self->env)) {
        stream->ends = true;
    }
    if (stream->beat_at <= now_at) {
        stream->beats = true;
        stream->beat_at = now_at + STREAM_BEAT_US;
    }
    if (s_lags(stream)) {
        self->counts.swept++;
        cn_http_stream_cut(stream->http);
    } else {
        stream_stir(stream);
    }
}

static void s_streams_tick(void *arg)
{
    struct streams *self = arg;
    while (cn_fiber_sleep(TICK_US) == CN_OK &&
           !cn_loop_stopping(self->env->loop)) {
        for (size_t i = 0; i < STREAM_TENANTS; i++) {
            for (struct stream_tenant *tenant = self->tenants[i];
                 tenant != NULL; tenant = tenant->next) {
                s_ring_age(self, tenant);
            }
        }
        s_tenants_sweep(self, false);
        stream_grant_tick(self);
        streams_each(self, s_stream_tick);
    }
}

/* ---- the start ---- */

/* Makes env->seal of the configured key or a random one. cn_seal_new wants a
 * key's number before it. */
static enum cn_code s_seal_make(struct streams *self, struct cn_err *err)
{
    static const char DIGITS[] = "0123456789abcdef";
    char text[2 + STREAM_KEY_DIGITS + 1] = "1:";
    uint8_t random[STREAM_KEY_DIGITS / 2];
    if (self->config.key[0] != '\0') {
        if (strlen(self->config.key) != STREAM_KEY_DIGITS) {
            return cn_fail(err, CN_INVALID, "needs %d hex digits",
                           STREAM_KEY_DIGITS);
        }
        memcpy(text + 2, self->config.key, STREAM_KEY_DIGITS + 1);
    } else {
        self->env->random(self->env, random, sizeof(random));
        for (size_t i = 0; i < STREAM_KEY_DIGITS; i++) {
            text[2 + i] =
                DIGITS[i % 2 == 0 ? random[i / 2] >> 4 : random[i / 2] & 15];
        }
        cn_log(CN_LOG_WARN,
               "CAIRN_STREAM_KEY is not set: a reader of the stream that comes "
               "back to another gateway, or after a restart, must begin anew");
    }
    self->env->seal = cn_seal_new(text, err);
    explicit_bzero(text, sizeof(text));
    explicit_bzero(random, sizeof(random));
    return self->env->seal == NULL ? err->code : CN_OK;
}

enum cn_code streams_new(struct cn_env *env,
                         struct auth *auth,
                         struct follow *const follows[CN_EVENT_SOURCE_COUNT],
                         const struct streams_config *config,
                         struct streams **ret_streams,
                         struct cn_err *err)
{
    struct streams *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory");
    }
    self->env = env;
    self->auth = auth;
    self->config = *config;
    self->started_at = cn_clock_monotonic();
    stream_kinds_init(&self->kinds);
    enum cn_code rc = s_seal_make(self, err);
    for (size_t i = 0; rc == CN_OK && i < CN_EVENT_SOURCE_COUNT; i++) {
        self->producers[i] = (struct stream_producer){ .streams = self,
                                                       .number = i,
                                                       .follow = follows[i] };
        rc = stream_log_start(&self->producers[i], err);
    }
    if (rc == CN_OK) {
        rc = stream_grant_start(self, err);
    }
    if (rc == CN_OK) {
        rc = cn_fiber_spawn(env->loop, s_streams_tick, self, INT64_MAX, err);
    }
    if (rc == CN_OK) {
        stream_metrics(self);
    }
    /* Set after a failure too: the fibers that have been started use it. */
    *ret_streams = self;
    return rc;
}

void streams_free(struct streams *self)
{
    if (self == NULL) {
        return;
    }
    cn_metrics_forget(self);
    s_tenants_sweep(self, true);
    cn_seal_free(self->env->seal);
    self->env->seal = NULL;
    free(self);
}
