/* SPDX-License-Identifier: Apache-2.0 */
/* From the logs to the rings: new events, and events that a returning reader
 * has missed. */
#include "services/gateway/stream_internal.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/loop/loop.h"
#include "common/wire/message.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { BUDGET_US = 2500000, RETRY_US = 200000, BYTES_MAX = 128 << 20 };

/* ---- one event ---- */

/* Renders the event. *ret_entry is untouched for an event that is not for the
 * stream. CN_NOMEM. */
static enum cn_code s_entry_render(struct stream_producer *self,
                                   struct cn_arena *arena,
                                   const Evt__Event *event,
                                   struct stream_entry **ret_entry,
                                   struct cn_err *err)
{
    struct streams *streams = self->streams;
    const struct stream_kind *kind =
        stream_kind_find(&streams->kinds, self->number, event->type);
    struct cn_buffer text;
    struct cn_uuid branch = { 0 };
    if (kind == NULL) {
        return CN_OK;
    }
    cn_buffer_init(&text, STREAM_TEXT_MAX);
    enum cn_code rc =
        stream_kind_render(kind, arena, event, &text, &branch, err);
    if (rc != CN_OK) {
        cn_buffer_done(&text);
        if (rc == CN_MALFORMED) {
            /* Another try would fail too. */
            streams->counts.skipped++;
            cn_err_clear(err);
            rc = CN_OK;
        }
        return rc;
    }
    struct stream_entry *entry = stream_entry_new(text.data, text.size);
    cn_buffer_done(&text);
    if (entry == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory");
    }
    entry->at = follow_position_of(event->position);
    entry->branch_id = branch;
    entry->added_at = cn_clock_monotonic();
    entry->producer = (uint16_t)self->number;
    entry->kind = (uint16_t)(kind - streams->kinds.rows);
    *ret_entry = entry;
    return CN_OK;
}

/* ---- new events ---- */

static void s_bounded(struct streams *streams, struct stream_tenant *tenant)
{
    while (streams->bytes > BYTES_MAX && stream_ring_count(&tenant->ring) > 1) {
        size_t before = tenant->ring.bytes;
        stream_ring_drop(&tenant->ring);
        streams->bytes -= before - tenant->ring.bytes;
    }
}

static void s_append(struct streams *streams,
                     struct stream_tenant *tenant,
                     struct stream_entry *entry)
{
    size_t before = tenant->ring.bytes;
    stream_ring_append(&tenant->ring, entry);
    streams->bytes += tenant->ring.bytes;
    streams->bytes -= before;
    tenant->fresh = true;
    s_bounded(streams, tenant);
}

static void s_each_tenant(struct streams *streams,
                          void (*fn)(struct stream_producer *self,
                                     struct stream_tenant *tenant),
                          struct stream_producer *self)
{
    for (size_t i = 0; i < STREAM_TENANTS; i++) {
        for (struct stream_tenant *tenant = streams->tenants[i]; tenant != NULL;
             tenant = tenant->next) {
            fn(self, tenant);
        }
    }
}

/* Empties the ring. Readers that need its events have the log read again. */
static void s_empty(struct stream_producer *self,
                    struct stream_tenant *tenant,
                    struct follow_position at)
{
    struct stream_ring *ring = &tenant->ring;
    size_t before = ring->bytes;
    while (stream_ring_count(ring) > 0) {
        stream_ring_drop(ring);
    }
    self->streams->bytes -= before - ring->bytes;
    stream_ring_base(ring, self->number, at);
    tenant->fresh = true;
}

/* The database was restored, so readers may have had events that no longer
 * exist. */
static void s_begin_anew(struct stream_producer *self,
                         struct stream_tenant *tenant)
{
    s_empty(self, tenant, self->streams->heads.at[self->number]);
    for (struct stream *stream = tenant->streams; stream != NULL;
         stream = stream->next) {
        stream->resets = "restored";
    }
}

static struct stream_tenant *s_tenant(struct streams *streams,
                                      const Evt__Event *event)
{
    struct cn_uuid id;
    if (event->tenant_id.len != sizeof(id.bytes)) {
        return NULL;
    }
    memcpy(id.bytes, event->tenant_id.data, sizeof(id.bytes));
    return stream_tenant_find(streams, id);
}

static void
s_on_log_event(void *arg, struct cn_arena *arena, const Evt__Event *event)
{
    struct stream_producer *self = arg;
    struct streams *streams = self->streams;
    struct follow_position *head = &streams->heads.at[self->number];
    struct follow_position at = follow_position_of(event->position);
    if (head->epoch != 0 && head->epoch != at.epoch) {
        s_each_tenant(streams, s_begin_anew, self);
    }
    struct stream_tenant *tenant = s_tenant(streams, event);
    struct stream_entry *entry = NULL;
    struct cn_err err = { 0 };
    if (tenant != NULL &&
        s_entry_render(self, arena, event, &entry, &err) != CN_OK) {
        s_empty(self, tenant, at);
    } else if (entry != NULL) {
        s_append(streams, tenant, entry);
    }
    *head = at;
}

static void s_tenant_known(struct stream_producer *self,
                           struct stream_tenant *tenant)
{
    stream_ring_base(&tenant->ring, self->number,
                     self->streams->heads.at[self->number]);
    tenant->fresh = true;
}

static void s_stir(struct stream_producer *self, struct stream_tenant *tenant)
{
    (void)self;
    if (tenant->fresh) {
        tenant->fresh = false;
        stream_stir_all(tenant);
    }
}

static void s_on_log_look(void *arg, const struct follow_look *look)
{
    struct stream_producer *self = arg;
    struct streams *streams = self->streams;
    uint32_t bit = 1U << self->number;
    streams->heads.at[self->number] = look->position;
    if ((streams->heads.known & bit) == 0) {
        streams->heads.known |= bit;
        s_each_tenant(streams, s_tenant_known, self);
    }
    s_each_tenant(streams, s_stir, self);
}

/* ---- missed events ---- */

/* Events of one tenant that are read again, in the order of the log. */
struct catch_up {
    struct stream_producer *producer;
    struct stream_tenant *tenant;
    struct follow_position from;
    struct follow_position reached;
    struct stream_entry *entries[STREAM_RING_MAX];
    size_t count;
    bool too_much;
};

static struct follow_position s_ring_position(const struct catch_up *self)
{
    return self->tenant->ring.base.at[self->producer->number];
}

/* The earliest position of a reader that misses something of this log. */
static bool s_earliest(const struct stream_producer *self,
                       const struct stream_tenant *tenant,
                       struct follow_position *ret_at)
{
    const uint32_t bit = 1U << self->number;
    bool found = false;
    for (const struct stream *stream = tenant->streams; stream != NULL;
         stream = stream->next) {
        const struct follow_position *at = &stream->vector.at[self->number];
        if (stream->resets != NULL || (stream->vector.known & bit) == 0 ||
            !stream_misses(stream, self->number)) {
            continue;
        }
        if (!found || follow_compare(*at, *ret_at) < 0) {
            *ret_at = *at;
            found = true;
        }
    }
    return found;
}

static enum cn_code s_page_take(struct catch_up *self,
                                struct cn_arena *arena,
                                const Evt__FetchResponse *response,
                                struct cn_err *err)
{
    enum cn_code rc = CN_OK;
    for (size_t i = 0; rc == CN_OK && i < response->n_events; i++) {
        const Evt__Event *event = response->events[i];
        if (self->count == STREAM_RING_MAX) {
            self->too_much = true;
            return CN_OK;
        }
        if (event->position == NULL) {
            return cn_fail(err, CN_INTERNAL, "an event has no position");
        }
        rc = s_entry_render(self->producer, arena, event,
                            &self->entries[self->count], err);
        if (rc == CN_OK && self->entries[self->count] != NULL) {
            self->count++;
        }
        self->reached = follow_position_of(event->position);
    }
    return rc;
}

/* Drops the events of the last page that the ring has already. */
static void s_page_cut(struct catch_up *self)
{
    while (self->count > 0 && follow_compare(self->entries[self->count - 1]->at,
                                             s_ring_position(self)) > 0) {
        free(self->entries[--self->count]);
    }
}

static enum cn_code s_catch_up_fetch(struct catch_up *self, struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    const Evt__FetchResponse *response = NULL;
    Evt__FetchRequest request = EVT__FETCH_REQUEST__INIT;
    Evt__Position after = EVT__POSITION__INIT;
    struct cn_uuid tenant_id = self->tenant->id;
    if (arena == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory");
    }
    after.has_epoch = 1;
    after.epoch = (int32_t)self->reached.epoch;
    after.has_xid = 1;
    after.xid = self->reached.xid;
    after.has_seq = 1;
    after.seq = self->reached.seq;
    request.consumer = "gateway";
    request.after = &after;
    request.has_limit = 1;
    request.limit = FOLLOW_PAGE;
    request.has_tenant_id = 1;
    request.tenant_id =
        (ProtobufCBinaryData){ sizeof(tenant_id.bytes), tenant_id.bytes };
    enum cn_code rc = follow_fetch(self->producer->streams->env, arena,
                                   follow_service(self->producer->follow),
                                   &request, BUDGET_US, &response, err);
    if (rc != CN_OK) {
        return rc;
    }
    rc = s_page_take(self, arena, response, err);
    bool more = response->n_events > 0 && !response->has_complete_until;
    if (!more && response->head != NULL) {
        struct follow_position head = follow_position_of(response->head);
        if (follow_compare(self->reached, head) < 0) {
            self->reached = head;
        }
    }
    if (response->n_events == 0 &&
        follow_compare(self->reached, s_ring_position(self)) < 0) {
        /* The log ends before a position that was read from it earlier. */
        self->too_much = true;
    }
    return rc;
}

/* All readers look at the whole ring again: their vectors say what they have
 * had. */
static void s_go_on(struct catch_up *self)
{
    for (struct stream *stream = self->tenant->streams; stream != NULL;
         stream = stream->next) {
        stream->number = self->tenant->ring.front;
        stream_stir(stream);
    }
}

/* Readers that miss more events than can be read again must begin anew. */
static void s_give_up(struct catch_up *self)
{
    for (struct stream *stream = self->tenant->streams; stream != NULL;
         stream = stream->next) {
        if (stream_misses(stream, self->producer->number) &&
            follow_compare(stream->vector.at[self->producer->number],
                           self->from) <= 0) {
            stream->resets = "too_old";
            stream_stir(stream);
        }
    }
}

static void s_finish(struct catch_up *self)
{
    struct streams *streams = self->producer->streams;
    struct stream_ring *ring = &self->tenant->ring;
    size_t before = ring->bytes;
    s_page_cut(self);
    if (self->too_much ||
        !stream_ring_prepend(ring, self->entries, self->count,
                             self->producer->number, self->from)) {
        s_give_up(self);
        return;
    }
    self->count = 0;
    streams->bytes += ring->bytes - before;
    s_go_on(self);
}

/* Reads on up to the ring's base, which may move forward meanwhile. */
static enum cn_code s_catch_up(struct catch_up *self, struct cn_err *err)
{
    enum cn_code rc = CN_OK;
    self->tenant->holders++;
    self->reached = self->from;
    while (rc == CN_OK && !self->too_much &&
           follow_compare(self->reached, s_ring_position(self)) < 0) {
        rc = s_catch_up_fetch(self, err);
    }
    self->tenant->holders--;
    if (rc == CN_OK) {
        self->producer->streams->counts.catch_ups++;
        s_finish(self);
    }
    for (size_t i = 0; i < self->count; i++) {
        free(self->entries[i]);
    }
    return rc;
}

static struct stream_tenant *s_wanting(const struct stream_producer *self)
{
    const struct streams *streams = self->streams;
    for (size_t i = 0; i < STREAM_TENANTS; i++) {
        for (struct stream_tenant *tenant = streams->tenants[i]; tenant != NULL;
             tenant = tenant->next) {
            if ((tenant->wants & 1U << self->number) != 0) {
                return tenant;
            }
        }
    }
    return NULL;
}

static enum cn_code s_tenant_serve(struct stream_producer *self,
                                   struct stream_tenant *tenant,
                                   struct cn_err *err)
{
    struct follow_position from = { 0 };
    if (!s_earliest(self, tenant, &from)) {
        tenant->wants &= ~(1U << self->number);
        return CN_OK;
    }
    struct catch_up *catch_up = calloc(1, sizeof(*catch_up));
    if (catch_up == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory");
    }
    catch_up->producer = self;
    catch_up->tenant = tenant;
    catch_up->from = from;
    enum cn_code rc = s_catch_up(catch_up, err);
    free(catch_up);
    return rc;
}

/* One tenant after the other, so that many readers that come back at once do
 * not overload the producer. */
static void s_producer_work(void *arg)
{
    struct stream_producer *self = arg;
    while (!cn_loop_stopping(self->streams->env->loop)) {
        struct stream_tenant *tenant = s_wanting(self);
        struct cn_err err = { 0 };
        if (tenant == NULL) {
            if (cn_rest(&self->worker, INT64_MAX) != CN_OK) {
                return;
            }
        } else if (s_tenant_serve(self, tenant, &err) != CN_OK &&
                   cn_fiber_sleep(RETRY_US) != CN_OK) {
            return;
        }
    }
}

void stream_log_want(struct stream_tenant *tenant,
                     struct streams *streams,
                     uint32_t wants)
{
    tenant->wants |= wants;
    for (size_t i = 0; i < CN_EVENT_SOURCE_COUNT; i++) {
        struct stream_producer *producer = &streams->producers[i];
        if ((wants & 1U << i) != 0) {
            cn_rest_call(&producer->worker);
        }
    }
}

enum cn_code stream_log_start(struct stream_producer *self, struct cn_err *err)
{
    follow_listen(self->follow, (struct follow_listener){
                                    s_on_log_event, s_on_log_look, self });
    return cn_fiber_spawn(self->streams->env->loop, s_producer_work, self,
                          INT64_MAX, err);
}
