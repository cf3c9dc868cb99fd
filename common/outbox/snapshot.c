/* SPDX-License-Identifier: Apache-2.0 */
/* A page of a snapshot: from resource to resource and tenant to tenant, until
 * it is full. */
#include "common/outbox/snapshot.h"

#include "common/base/clock.h"
#include "common/loop/fiber.h"
#include "common/outbox/outbox.h"
#include "common/store/record.h"
#include "common/wire/message.h"

#include "cairn/events.pb-c.h"

#include <string.h>

enum {
    /* A reply stays well below the bus' limit of one message. */
    PAGE_BYTES_MAX = 512 << 10,
    /* A page that many tenants without rows make slow ends before its caller
     * gives up. */
    PAGE_TIME_US = 1000000
};

/* A page as it grows. */
struct page {
    struct cn_op op; /* of the tenant that is read */
    const Evt__SnapshotRequest *wanted;
    size_t limit;
    int64_t until_at; /* monotonic */
    Evt__SnapshotResponse *body;
    size_t size; /* bytes of the payloads */
    bool full;
};

/* ---- tenants ---- */

CN_SQL_RELAY(SQL_SNAPSHOT_TENANT,
             "SELECT t.tenant_id FROM ("
             "(SELECT o.tenant_id FROM {{schema}}.outbox o"
             " WHERE o.tenant_id > $1 ORDER BY o.tenant_id LIMIT 1)"
             " UNION ALL (SELECT d.tenant_id FROM {{schema}}.outbox_tenant d"
             " WHERE d.tenant_id > $1 ORDER BY d.tenant_id LIMIT 1)) t"
             " ORDER BY t.tenant_id LIMIT 1");

/* The page goes on with the tenant after this one; nil: there is none. */
static void s_tenant_next(struct page *self)
{
    const struct cn_uuid after = self->op.tenant_id;
    self->op.tenant_id = (struct cn_uuid){ 0 };
    const struct cn_rows *rows =
        CN_READ(&self->op, &SQL_SNAPSHOT_TENANT, cn_uuid(after));
    if (cn_rows_count(rows) == 1) {
        self->op.tenant_id = cn_row_uuid(rows, 0, 0);
    }
}

/* ---- rows ---- */

/* The event of a row, with its packed payload. */
static Evt__Event *s_event_new(const struct page *self,
                               const struct cn_record *row,
                               struct cn_bytes payload)
{
    struct cn_arena *arena = self->op.arena;
    const char *name = row->resource->name;
    Evt__Event *event = CN_NEW(arena, evt__event, Evt__Event);
    CN_SET(event, event_id, cn_message_id(arena, cn_uuid_new(self->op.env)));
    CN_SET(event, tenant_id, cn_message_id(arena, self->op.tenant_id));
    CN_SET(event, aggregate_id, cn_message_id(arena, row->id));
    CN_SET(event, payload, cn_message_bytes(arena, payload));
    event->aggregate_type = name;
    CN_SET(event, aggregate_seq, row->event_seq);
    event->type = cn_arena_printf(arena, "%s" CN_SNAPSHOT_SUFFIX, name);
    CN_SET(event, schema_version, 1);
    CN_SET(event, occurred_at, self->op.now_at);
    return event;
}

/* Adds one row. False: the page would be too big for a reply with it. */
static bool s_row_add(struct page *self, struct cn_record *row)
{
    Evt__SnapshotResponse *body = self->body;
    struct cn_bytes payload = { 0 };
    (void)!cn_message_pack(self->op.arena, cn_told(&self->op, row), &payload,
                           self->op.err);
    if (body->n_events > 0 && self->size + payload.size > PAGE_BYTES_MAX) {
        self->full = true;
        return false;
    }
    body->events[body->n_events++] = s_event_new(self, row, payload);
    self->size += payload.size;
    self->full = body->n_events == self->limit;
    return true;
}

/* Where the next page begins. */
static void s_next_set(struct page *self, const char *name, struct cn_uuid id)
{
    struct cn_arena *arena = self->op.arena;
    Evt__SnapshotCursor *next =
        CN_NEW(arena, evt__snapshot_cursor, Evt__SnapshotCursor);
    next->aggregate_type = name;
    CN_SET(next, tenant_id, cn_message_id(arena, self->op.tenant_id));
    CN_SET(next, id, cn_message_id(arena, id));
    self->body->next = next;
}

/* The rows of the page's tenant after an id, as far as there is room. */
static void s_tenant_add(struct page *self,
                         const struct cn_resource *resource,
                         struct cn_uuid after)
{
    struct cn_op *op = &self->op;
    const size_t room = self->limit - self->body->n_events;
    struct cn_records rows = cn_records_of(
        op, resource,
        CN_READ(op, resource->after, cn_uuid(after), cn_int((int64_t)room)));
    for (size_t i = 0; i < rows.count && !self->full && !cn_failed(op); i++) {
        if (s_row_add(self, &rows.items[i])) {
            after = rows.items[i].id;
        }
    }
    self->full = self->full || cn_clock_monotonic() >= self->until_at;
    if (self->full) {
        s_next_set(self, resource->name, after);
    }
}

/* All tenants of one resource from the page's on; nil: from the first. */
static void s_resource_add(struct page *self,
                           const struct cn_resource *resource,
                           struct cn_uuid after)
{
    if (cn_uuid_is_nil(self->op.tenant_id)) {
        s_tenant_next(self);
    }
    while (!cn_failed(&self->op) && !cn_uuid_is_nil(self->op.tenant_id)) {
        s_tenant_add(self, resource, after);
        if (self->full) {
            return;
        }
        after = (struct cn_uuid){ 0 };
        s_tenant_next(self);
    }
}

/* ---- the request ---- */

/* Is this type "<name>.snapshot"? */
static bool s_is_of(const char *type, const char *name)
{
    size_t size = strlen(name);
    return strncmp(type, name, size) == 0 &&
           strcmp(type + size, CN_SNAPSHOT_SUFFIX) == 0;
}

/* Does the service let others copy the resource, and is it asked for? */
static bool s_is_wanted(const struct page *self,
                        const struct cn_resource *resource)
{
    const struct cn_service *service = self->op.request->service;
    const Evt__SnapshotRequest *wanted = self->wanted;
    bool copied = false;
    bool asked = wanted->n_type == 0;
    for (size_t i = 0; i < service->event_count; i++) {
        copied |= s_is_of(service->events[i].type, resource->name);
    }
    for (size_t i = 0; i < wanted->n_type; i++) {
        asked |= s_is_of(wanted->type[i], resource->name);
    }
    return copied && asked;
}

/* The resource to begin with, its tenant (of the page) and the id after which
 * to go on. */
static const struct cn_resource *const *s_cursor_read(struct page *self,
                                                      struct cn_uuid *ret_after)
{
    static const struct cn_resource *const NONE[] = { NULL };
    const Evt__SnapshotCursor *cursor = self->wanted->after;
    const struct cn_service *service = self->op.request->service;
    const struct cn_resource *const *at =
        service->resources != NULL ? service->resources : NONE;
    if (cursor == NULL) {
        return at;
    }
    for (; *at != NULL; at++) {
        if (cursor->aggregate_type != NULL &&
            strcmp((*at)->name, cursor->aggregate_type) == 0 &&
            cn_message_uuid(cursor->has_tenant_id, cursor->tenant_id,
                            &self->op.tenant_id) &&
            cn_message_uuid(cursor->has_id, cursor->id, ret_after)) {
            return at;
        }
    }
    cn_refuse_field(&self->op, "/after", "invalid_value", "no such row");
    return at;
}

CN_SQL_RELAY(SQL_OUTBOX_CUT,
             "SELECT c.partition, c.epoch, c.xid::text::bigint, c.seq"
             " FROM {{schema}}.outbox_cut c ORDER BY c.partition");

static void s_cut_set(struct page *self)
{
    struct cn_arena *arena = self->op.arena;
    Evt__SnapshotResponse *body = self->body;
    const struct cn_rows *rows = cn_read(&self->op, &SQL_OUTBOX_CUT, NULL, 0);
    body->cut = cn_arena_array(arena, cn_rows_count(rows), sizeof(void *));
    for (size_t i = 0; i < cn_rows_count(rows); i++) {
        Evt__PartitionPosition *cut =
            CN_NEW(arena, evt__partition_position, Evt__PartitionPosition);
        Evt__Position *at = CN_NEW(arena, evt__position, Evt__Position);
        CN_SET(cut, partition, (int32_t)cn_row_int(rows, i, 0));
        CN_SET(at, epoch, (int32_t)cn_row_int(rows, i, 1));
        CN_SET(at, xid, (uint64_t)cn_row_int(rows, i, 2));
        CN_SET(at, seq, cn_row_int(rows, i, 3));
        cut->after = at;
        body->cut[body->n_cut++] = cut;
    }
}

/* What the first page says of the log; read before its rows. */
static void s_log_set(struct page *self)
{
    Evt__FetchRequest body = EVT__FETCH_REQUEST__INIT;
    struct cn_request request = *self->op.request;
    struct cn_reply reply = { 0 };
    struct cn_op fetch = self->op;
    CN_SET(&body, only_head, 1);
    request.body = &body.base;
    fetch.request = &request;
    fetch.reply = &reply;
    cn_outbox_fetch(&fetch);
    if (!cn_failed(&fetch)) {
        self->body->head = ((const Evt__FetchResponse *)reply.body)->head;
    }
    s_cut_set(self);
}

void cn_snapshot_page(struct cn_op *op)
{
    const char *subject = op->request->principal.subject;
    struct page page = {
        .op = *op,
        .wanted = op->request->body,
        .limit = CN_SNAPSHOT_LIMIT_MAX,
        .until_at = cn_clock_monotonic() + PAGE_TIME_US,
        .body =
            CN_NEW(op->arena, evt__snapshot_response, Evt__SnapshotResponse),
    };
    struct cn_uuid after = { 0 };
    if (subject != NULL && subject[0] != '\0') {
        cn_refuse(op, CN_FORBIDDEN, NULL, "snapshots are for services");
        return;
    }
    if (page.wanted->has_limit && page.wanted->limit > 0 &&
        page.wanted->limit < page.limit) {
        page.limit = page.wanted->limit;
    }
    page.op.tenant_id = (struct cn_uuid){ 0 };
    page.body->events = cn_arena_array(op->arena, page.limit, sizeof(void *));
    if (page.wanted->after == NULL) {
        s_log_set(&page);
    }
    for (const struct cn_resource *const *at = s_cursor_read(&page, &after);
         *at != NULL && !page.full && !cn_failed(op); at++) {
        if (s_is_wanted(&page, *at)) {
            s_resource_add(&page, *at, after);
        }
        page.op.tenant_id = (struct cn_uuid){ 0 };
        after = (struct cn_uuid){ 0 };
    }
    op->reply->body = &page.body->base;
}
