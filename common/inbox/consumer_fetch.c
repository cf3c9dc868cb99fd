/* SPDX-License-Identifier: Apache-2.0 */
/* One fiber per producer asks for what comes after the queues of all partitions
 * whose lease is ours, in one long poll, and fills the queues. It asks on while
 * workers apply what came. */
#include "common/inbox/consumer_internal.h"

#include "common/base/clock.h"
#include "common/bus/bus.h"
#include "common/wire/message.h"

#include <stdlib.h>
#include <string.h>

enum {
    /* A long poll. A lease that is new is asked for by the next one. */
    WAIT_MS = 500,
    /* The same while partitions have no room or wait for another attempt. */
    WAIT_SHORT_MS = 50,
    FETCH_BUDGET_US = 5000000,
    REST_US = 1000000,    /* without any partition */
    COMPLETE_US = 1000000 /* how often complete_until is kept */
};

/* ---- queues ---- */

static void s_page_release(struct page *page)
{
    if (--page->chunks == 0) {
        cn_arena_free(page->arena); /* page is in it */
    }
}

static void s_chunk_drop(struct partition *self)
{
    struct chunk *chunk = self->first;
    self->queued -= chunk->count - chunk->first;
    self->first = chunk->next;
    if (self->first == NULL) {
        self->last = NULL;
    }
    s_page_release(chunk->page);
}

void partition_drop(struct partition *self)
{
    while (self->first != NULL) {
        s_chunk_drop(self);
    }
    self->fetched = self->at;
    self->is_asked = false;
    self->known = false;
    self->complete_next = 0;
    self->generation++;
}

void partition_passed(struct partition *self)
{
    while (self->first != NULL) {
        struct chunk *chunk = self->first;
        while (chunk->first < chunk->count &&
               consumer_position_compare(chunk->entries[chunk->first].position,
                                         self->at) <= 0) {
            chunk->first++;
            self->queued--;
        }
        if (chunk->first < chunk->count) {
            return;
        }
        s_chunk_drop(self);
    }
    partition_completed(self);
}

void partition_completed(struct partition *self)
{
    if (self->first == NULL && !self->busy &&
        self->complete_next > self->complete_at) {
        self->complete_at = self->complete_next;
    }
}

/* ---- what came ---- */

const struct cn_event_handler *
consumer_handler_find(const struct cn_subscription *subscription,
                      const char *type)
{
    for (size_t i = 0; i < subscription->handler_count; i++) {
        if (strcmp(subscription->handlers[i].type, type) == 0) {
            return &subscription->handlers[i];
        }
    }
    return NULL;
}

const struct cn_event_shape *
consumer_shape_find(const struct cn_subscription *subscription,
                    const char *type)
{
    for (size_t i = 0; i < subscription->event_count; i++) {
        if (strcmp(subscription->events[i].type, type) == 0) {
            return &subscription->events[i];
        }
    }
    return NULL;
}

enum cn_code consumer_entry_read(const struct cn_subscription *subscription,
                                 const Evt__Event *event,
                                 struct entry *ret_entry,
                                 struct cn_err *err)
{
    struct entry entry = { .event = event };
    if (event->type == NULL || event->aggregate_type == NULL ||
        !cn_message_uuid(event->has_event_id, event->event_id,
                         &entry.event_id) ||
        !cn_message_uuid(event->has_tenant_id, event->tenant_id,
                         &entry.tenant_id) ||
        !cn_message_uuid(event->has_aggregate_id, event->aggregate_id,
                         &entry.aggregate_id)) {
        return cn_fail(err, CN_MALFORMED, "an event without its ids");
    }
    entry.handler = consumer_handler_find(subscription, event->type);
    entry.shape = consumer_shape_find(subscription, event->type);
    *ret_entry = entry;
    return CN_OK;
}

/* As above, of an event that has its place in the log. */
static enum cn_code s_entry_read(const struct cn_subscription *subscription,
                                 const Evt__Event *event,
                                 struct entry *ret_entry,
                                 struct cn_err *err)
{
    if (event->position == NULL || event->position->xid > INT64_MAX ||
        !event->has_partition || event->partition < 0 ||
        event->partition >= CN_PARTITIONS) {
        return cn_fail(err, CN_MALFORMED, "an event without its place");
    }
    enum cn_code rc = consumer_entry_read(subscription, event, ret_entry, err);
    if (rc == CN_OK) {
        ret_entry->position = (struct consumer_position){
            event->position->epoch,
            (int64_t)event->position->xid,
            event->position->seq,
        };
    }
    return rc;
}

/* Does what was asked for still go on from the end of the queue? Else the queue
 * was given up meanwhile, and there would be a hole. */
static bool s_wants(const struct partition *self)
{
    return self->is_asked && self->known &&
           consumer_position_compare(self->asked, self->fetched) <= 0;
}

static void s_chunk_add(struct partition *self, struct chunk *chunk)
{
    if (self->last != NULL) {
        self->last->next = chunk;
    } else {
        self->first = chunk;
    }
    self->last = chunk;
    self->queued += chunk->count;
    chunk->page->chunks++;
}

/* An empty chunk of the page with room for count entries. */
static struct chunk *s_chunk_new(struct page *page, size_t count)
{
    struct chunk *chunk = cn_arena_alloc(page->arena, sizeof(*chunk));
    chunk->page = page;
    chunk->entries = cn_arena_array(page->arena, count, sizeof(struct entry));
    return chunk;
}

/* Chunks for the partitions that the reply has something of. */
static void s_chunks_new(struct page *page,
                         const Evt__FetchResponse *response,
                         struct chunk *chunks[CN_PARTITIONS])
{
    size_t counts[CN_PARTITIONS] = { 0 };
    for (size_t i = 0; i < response->n_events; i++) {
        int number = response->events[i]->partition;
        if (number >= 0 && number < CN_PARTITIONS) {
            counts[number]++;
        }
    }
    for (int n = 0; n < CN_PARTITIONS; n++) {
        if (counts[n] > 0) {
            chunks[n] = s_chunk_new(page, counts[n]);
        }
    }
}

static enum cn_code s_chunks_fill(struct consumer *self,
                                  const Evt__FetchResponse *response,
                                  struct chunk *chunks[CN_PARTITIONS],
                                  struct cn_err *err)
{
    struct consumer_position last[CN_PARTITIONS];
    for (int n = 0; n < CN_PARTITIONS; n++) {
        last[n] = self->partitions[n].fetched;
    }
    for (size_t i = 0; i < response->n_events; i++) {
        struct entry entry = { 0 };
        enum cn_code rc =
            s_entry_read(self->subscription, response->events[i], &entry, err);
        if (rc != CN_OK) {
            return rc;
        }
        int number = response->events[i]->partition;
        if (consumer_position_compare(entry.position, last[number]) > 0) {
            chunks[number]->entries[chunks[number]->count++] = entry;
            last[number] = entry.position;
        }
    }
    return CN_OK;
}

static void s_chunk_queue(struct partition *self, struct chunk *chunk)
{
    if (chunk == NULL || chunk->count == 0 || !s_wants(self)) {
        return;
    }
    for (size_t i = 0; i < chunk->count; i++) {
        consumer_gap_look(self, &chunk->entries[i]);
    }
    s_chunk_add(self, chunk);
    self->fetched = chunk->entries[chunk->count - 1].position;
}

/* Hands the events to their partitions. The page lives on in their queues. */
static enum cn_code s_events_queue(struct consumer *self,
                                   struct page *page,
                                   const Evt__FetchResponse *response,
                                   struct cn_err *err)
{
    struct chunk *chunks[CN_PARTITIONS] = { 0 };
    s_chunks_new(page, response, chunks);
    enum cn_code rc = s_chunks_fill(self, response, chunks, err);
    if (rc == CN_OK && cn_arena_failed(page->arena)) {
        rc = cn_fail(err, CN_NOMEM, "consumer: no memory");
    }
    if (rc != CN_OK) {
        return rc;
    }
    for (int n = 0; n < CN_PARTITIONS; n++) {
        struct partition *partition = &self->partitions[n];
        if (response->has_complete_until && s_wants(partition)) {
            partition->complete_next = response->complete_until;
        }
        s_chunk_queue(partition, chunks[n]);
        partition->is_asked = false;
        partition_completed(partition);
    }
    return CN_OK;
}

/* ---- the fetch ---- */

static Evt__Position *s_position_new(struct cn_arena *arena,
                                     struct consumer_position at)
{
    Evt__Position *position = CN_NEW(arena, evt__position, Evt__Position);
    CN_SET(position, epoch, (int32_t)at.epoch);
    CN_SET(position, xid, (uint64_t)at.xid);
    CN_SET(position, seq, at.seq);
    return position;
}

/* The producer keeps what is not applied yet, though it was fetched: a process
 * that ends with it in the queue must find it again. */
static void s_from_add(struct cn_arena *arena,
                       struct partition *partition,
                       Evt__FetchRequest *request)
{
    Evt__PartitionPosition *from =
        CN_NEW(arena, evt__partition_position, Evt__PartitionPosition);
    CN_SET(from, partition, partition->number);
    from->after = s_position_new(arena, partition->fetched);
    from->applied = s_position_new(arena, partition->at);
    request->from[request->n_from++] = from;
    partition->asked = partition->fetched;
    partition->is_asked = true;
}

/* Asks for every partition that has room. *ret_all: none was left out. */
static void s_request_fill(struct consumer *self,
                           struct cn_arena *arena,
                           Evt__FetchRequest *request,
                           bool *ret_all)
{
    *ret_all = true;
    request->consumer = self->service->name;
    request->from =
        cn_arena_array(arena, CN_PARTITIONS, sizeof(Evt__PartitionPosition *));
    for (int n = 0; n < CN_PARTITIONS; n++) {
        struct partition *partition = &self->partitions[n];
        partition->is_asked = false;
        if (!consumer_held(partition)) {
            continue;
        }
        if (!partition->known || partition->queued >= CONSUMER_QUEUE_ROOM) {
            *ret_all = false;
        } else {
            s_from_add(arena, partition, request);
        }
    }
    CN_SET(request, limit, CN_FETCH_TOTAL_MAX);
    CN_SET(request, wait_ms, *ret_all ? WAIT_MS : WAIT_SHORT_MS);
}

static enum cn_code s_page_ask(const struct consumer *self,
                               struct cn_arena *arena,
                               const Evt__FetchRequest *request,
                               const Evt__FetchResponse **ret_response,
                               struct cn_err *err)
{
    struct cn_bus_call call = {
        .service = self->subscription->producer,
        .method = "events.v1.Events/Fetch",
        .budget_us = FETCH_BUDGET_US,
        .long_poll = true,
    };
    const ProtobufCMessage *message = NULL;
    enum cn_code rc =
        cn_bus_ask(self->env->bus, arena, &call, &request->base,
                   &evt__fetch_response__descriptor, &message, err);
    if (rc != CN_OK) {
        return rc;
    }
    *ret_response = (const Evt__FetchResponse *)message;
    return CN_OK;
}

/* ---- a round ---- */

void consumer_fetch_wake(struct consumer *self)
{
    cn_rest_call(&self->fetcher);
}

/* Forgets what is not ours any more and looks up where the new ones are. */
static enum cn_code s_leases_follow(struct consumer *self, struct cn_err *err)
{
    unsigned unknown = 0;
    for (int n = 0; n < CN_PARTITIONS; n++) {
        struct partition *partition = &self->partitions[n];
        if (partition->busy) {
            continue;
        }
        if (!consumer_held(partition)) {
            partition_drop(partition);
        } else if (!partition->known) {
            unknown |= 1U << n;
        }
    }
    return unknown != 0 ? consumer_positions_load(self, unknown, err) : CN_OK;
}

static enum cn_code s_complete(struct consumer *self, struct cn_err *err)
{
    int64_t now = cn_clock_monotonic();
    if (now - self->complete_told_at < COMPLETE_US) {
        return CN_OK;
    }
    self->complete_told_at = now;
    return consumer_complete_keep(self, err);
}

static enum cn_code
s_page_fetch(struct consumer *self, struct page *page, struct cn_err *err)
{
    Evt__FetchRequest request = EVT__FETCH_REQUEST__INIT;
    const Evt__FetchResponse *response = NULL;
    bool all = false;
    s_request_fill(self, page->arena, &request, &all);
    if (cn_arena_failed(page->arena)) {
        return cn_fail(err, CN_NOMEM, "consumer: no memory");
    }
    if (request.n_from == 0) {
        (void)cn_rest(&self->fetcher,
                      cn_clock_monotonic() +
                          (all ? REST_US : WAIT_SHORT_MS * 1000));
        return CN_OK;
    }
    enum cn_code rc = s_page_ask(self, page->arena, &request, &response, err);
    if (rc == CN_OK && response->deleted) {
        return consumer_rebuild_due(self, err);
    }
    if (rc == CN_OK) {
        rc = s_events_queue(self, page, response, err);
    }
    if (rc == CN_OK) {
        consumer_work(self);
    }
    return rc;
}

static enum cn_code s_fetch_round(struct consumer *self, struct cn_err *err)
{
    enum cn_code rc = s_leases_follow(self, err);
    if (rc == CN_OK) {
        rc = s_complete(self, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    if (arena == NULL) {
        return cn_fail(err, CN_NOMEM, "consumer: no memory");
    }
    struct page *page = cn_arena_alloc(arena, sizeof(*page));
    /* Ours until its chunks have it. */
    *page = (struct page){ .arena = arena, .chunks = 1 };
    rc = s_page_fetch(self, page, err);
    s_page_release(page);
    return rc;
}

void consumer_follow(void *arg)
{
    struct consumer *self = arg;
    while (!consumer_stopping(self)) {
        struct cn_err err = { 0 };
        enum cn_code rc = s_fetch_round(self, &err);
        cn_fiber_set_deadline(INT64_MAX);
        if (consumer_stopping(self)) {
            break;
        }
        consumer_tell(self, &self->trouble, -1, rc, &err);
        if (rc != CN_OK) {
            (void)cn_rest(&self->fetcher,
                          cn_clock_monotonic() +
                              consumer_backoff_us(self, &self->trouble));
        }
    }
    consumers_fiber_ended(self->all);
}
