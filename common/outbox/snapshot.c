/* SPDX-License-Identifier: Apache-2.0 */
/* A page of a snapshot: from provider to provider and tenant to tenant, until
 * it is full. */
#include "common/outbox/snapshot.h"
#include "common/store/record.h"

#include "common/base/clock.h"
#include "common/loop/fiber.h"
#include "common/outbox/outbox.h"
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
    const struct cn_request *request;
    const Evt__SnapshotRequest *wanted;
    struct cn_store store; /* of the tenant that is read */
    size_t limit;
    int64_t until_at; /* monotonic */
    Evt__SnapshotResponse *body;
    size_t size; /* bytes of the payloads */
    bool full;
};

static const char *s_type(const struct cn_provider *provider)
{
    return provider->resource != NULL ? provider->resource->name
                                      : provider->aggregate_type;
}

/* ---- tenants ---- */

CN_SQL_RELAY(SQL_SNAPSHOT_TENANT,
             "SELECT t.tenant_id FROM ("
             "(SELECT o.tenant_id FROM {{schema}}.outbox o"
             " WHERE o.tenant_id > $1 ORDER BY o.tenant_id LIMIT 1)"
             " UNION ALL (SELECT d.tenant_id FROM {{schema}}.outbox_tenant d"
             " WHERE d.tenant_id > $1 ORDER BY d.tenant_id LIMIT 1)) t"
             " ORDER BY t.tenant_id LIMIT 1");

/* The tenant after this one; nil: there is none. */
static enum cn_code s_tenant_after(const struct page *self,
                                   struct cn_uuid after,
                                   struct cn_uuid *ret_tenant,
                                   struct cn_err *err)
{
    const struct cn_param params[] = { cn_uuid(after) };
    const struct cn_rows *rows = NULL;

    enum cn_code rc = cn_db_read(self->store.env->db, CN_LANE_RELAY,
                                 self->store.arena, (struct cn_uuid){ 0 },
                                 &SQL_SNAPSHOT_TENANT, params, 1, &rows, err);
    if (rc != CN_OK) {
        return cn_wrap(err, "snapshot");
    }
    *ret_tenant = cn_rows_count(rows) == 1 ? cn_row_uuid(rows, 0, 0)
                                           : (struct cn_uuid){ 0 };
    return CN_OK;
}

/* ---- rows ---- */

static bool s_set_bytes(struct cn_arena *arena,
                        protobuf_c_boolean *ret_has,
                        ProtobufCBinaryData *ret_data,
                        const void *bytes,
                        size_t size)
{
    void *copy = cn_arena_copy(arena, bytes, size);

    *ret_has = 1;
    *ret_data = (ProtobufCBinaryData){ .len = size, .data = copy };
    return copy != NULL || size == 0;
}

/* The event of a row; NULL without memory. */
static Evt__Event *s_event_new(const struct page *self,
                               const char *aggregate_type,
                               const struct cn_provided *row,
                               struct cn_bytes payload)
{
    struct cn_arena *arena = self->store.arena;
    const struct cn_uuid event_id = cn_uuid_new(self->store.env);
    const struct cn_uuid tenant_id = self->store.tenant_id;
    Evt__Event *event = CN_NEW(arena, evt__event, Evt__Event);

    if (event == NULL ||
        !s_set_bytes(arena, &event->has_event_id, &event->event_id,
                     event_id.bytes, sizeof(event_id.bytes)) ||
        !s_set_bytes(arena, &event->has_tenant_id, &event->tenant_id,
                     tenant_id.bytes, sizeof(tenant_id.bytes)) ||
        !s_set_bytes(arena, &event->has_aggregate_id, &event->aggregate_id,
                     row->id.bytes, sizeof(row->id.bytes)) ||
        !s_set_bytes(arena, &event->has_payload, &event->payload, payload.data,
                     payload.size)) {
        return NULL;
    }
    event->aggregate_type = aggregate_type;
    CN_SET(event, aggregate_seq, row->event_seq);
    event->type =
        cn_arena_printf(arena, "%s" CN_SNAPSHOT_SUFFIX, aggregate_type);
    CN_SET(event, schema_version, 1);
    CN_SET(event, occurred_at, self->store.now_at);
    return event->type != NULL ? event : NULL;
}

/* Adds one row, unless the page would be too big for a reply with it. */
static enum cn_code s_row_add(struct page *self,
                              const char *aggregate_type,
                              const struct cn_provided *row,
                              bool *ret_added,
                              struct cn_err *err)
{
    Evt__SnapshotResponse *body = self->body;
    struct cn_bytes payload = { 0 };

    enum cn_code rc =
        cn_message_pack(self->store.arena, row->payload, &payload, err);
    if (rc != CN_OK) {
        return rc;
    }
    if (body->n_events > 0 && self->size + payload.size > PAGE_BYTES_MAX) {
        self->full = true;
        return CN_OK;
    }
    Evt__Event *event = s_event_new(self, aggregate_type, row, payload);
    if (event == NULL) {
        return cn_fail(err, CN_NOMEM, "snapshot: no memory");
    }
    body->events[body->n_events++] = event;
    self->size += payload.size;
    self->full = body->n_events == self->limit;
    *ret_added = true;
    return CN_OK;
}

/* Where the next page begins. */
static enum cn_code s_cursor_set(struct page *self,
                                 const char *aggregate_type,
                                 struct cn_uuid tenant_id,
                                 struct cn_uuid id,
                                 struct cn_err *err)
{
    struct cn_arena *arena = self->store.arena;
    Evt__SnapshotCursor *next =
        CN_NEW(arena, evt__snapshot_cursor, Evt__SnapshotCursor);

    if (next == NULL ||
        !s_set_bytes(arena, &next->has_tenant_id, &next->tenant_id,
                     tenant_id.bytes, sizeof(tenant_id.bytes)) ||
        !s_set_bytes(arena, &next->has_id, &next->id, id.bytes,
                     sizeof(id.bytes))) {
        return cn_fail(err, CN_NOMEM, "snapshot: no memory");
    }
    next->aggregate_type = aggregate_type;
    self->body->next = next;
    return CN_OK;
}

static enum cn_code s_provide(struct page *self,
                              const struct cn_provider *provider,
                              struct cn_uuid after,
                              int limit,
                              struct cn_provided **ret_rows,
                              size_t *ret_count,
                              struct cn_err *err)
{
    struct cn_op op = {
        .env = self->store.env,
        .arena = self->store.arena,
        .tenant_id = self->store.tenant_id,
        .now_at = self->store.now_at,
        .err = err,
    };
    if (provider->resource == NULL) {
        return provider->page(&self->store, after, limit, ret_rows, ret_count,
                              err);
    }
    *ret_rows =
        cn_records_provided(&op, provider->resource, after, limit, ret_count);
    return err->code;
}

/* The rows of one tenant after an id, as far as there is room. */
static enum cn_code s_tenant_add(struct page *self,
                                 const struct cn_provider *provider,
                                 struct cn_uuid after,
                                 struct cn_err *err)
{
    int room = (int)(self->limit - self->body->n_events);
    struct cn_provided *rows = NULL;
    size_t count = 0;

    enum cn_code rc =
        s_provide(self, provider, after, room, &rows, &count, err);
    for (size_t i = 0; rc == CN_OK && i < count && !self->full; i++) {
        bool added = false;
        rc = s_row_add(self, s_type(provider), &rows[i], &added, err);
        if (added) {
            after = rows[i].id;
        }
    }
    self->full = self->full || cn_clock_monotonic() >= self->until_at;
    return rc == CN_OK && self->full
               ? s_cursor_set(self, s_type(provider), self->store.tenant_id,
                              after, err)
               : rc;
}

/* All tenants of one provider from this one on; nil: from the first. */
static enum cn_code s_provider_add(struct page *self,
                                   const struct cn_provider *provider,
                                   struct cn_uuid tenant_id,
                                   struct cn_uuid after,
                                   struct cn_err *err)
{
    enum cn_code rc = CN_OK;

    if (cn_uuid_is_nil(tenant_id)) {
        rc = s_tenant_after(self, tenant_id, &tenant_id, err);
    }
    while (rc == CN_OK && !cn_uuid_is_nil(tenant_id)) {
        self->store.tenant_id = tenant_id;
        rc = s_tenant_add(self, provider, after, err);
        if (rc != CN_OK || self->full) {
            return rc;
        }
        after = (struct cn_uuid){ 0 };
        rc = s_tenant_after(self, tenant_id, &tenant_id, err);
    }
    return rc;
}

/* ---- the request ---- */

/* Is "<aggregate_type>.snapshot" among the types asked for? */
static bool s_is_wanted(const Evt__SnapshotRequest *wanted,
                        const char *aggregate_type)
{
    size_t size = strlen(aggregate_type);

    for (size_t i = 0; i < wanted->n_type; i++) {
        if (strncmp(wanted->type[i], aggregate_type, size) == 0 &&
            strcmp(wanted->type[i] + size, CN_SNAPSHOT_SUFFIX) == 0) {
            return true;
        }
    }
    return wanted->n_type == 0;
}

/* Index of the provider to begin with, and where. */
static enum cn_code s_cursor_read(const struct cn_service *service,
                                  const Evt__SnapshotCursor *cursor,
                                  size_t *ret_first,
                                  struct cn_uuid *ret_tenant,
                                  struct cn_uuid *ret_after,
                                  struct cn_err *err)
{
    if (cursor == NULL) {
        *ret_first = 0;
        return CN_OK;
    }
    for (size_t i = 0; i < service->provider_count; i++) {
        if (cursor->aggregate_type != NULL &&
            strcmp(s_type(&service->providers[i]), cursor->aggregate_type) ==
                0 &&
            cn_message_uuid(cursor->has_tenant_id, cursor->tenant_id,
                            ret_tenant) &&
            cn_message_uuid(cursor->has_id, cursor->id, ret_after)) {
            *ret_first = i;
            return CN_OK;
        }
    }
    return cn_fail_field(err, "/after", "invalid_value", "no such row");
}

CN_SQL_RELAY(SQL_OUTBOX_CUT,
             "SELECT c.partition, c.epoch, c.xid::text::bigint, c.seq"
             " FROM {{schema}}.outbox_cut c ORDER BY c.partition");

static enum cn_code s_cut_set(struct page *self, struct cn_err *err)
{
    struct cn_arena *arena = self->store.arena;
    Evt__SnapshotResponse *body = self->body;
    const struct cn_rows *rows = NULL;

    enum cn_code rc =
        cn_db_read(self->store.env->db, CN_LANE_RELAY, arena,
                   (struct cn_uuid){ 0 }, &SQL_OUTBOX_CUT, NULL, 0, &rows, err);
    if (rc != CN_OK) {
        return cn_wrap(err, "snapshot");
    }
    body->cut = cn_arena_array(arena, cn_rows_count(rows) + 1, sizeof(void *));
    for (size_t i = 0; body->cut != NULL && i < cn_rows_count(rows); i++) {
        Evt__PartitionPosition *cut =
            CN_NEW(arena, evt__partition_position, Evt__PartitionPosition);
        Evt__Position *at = CN_NEW(arena, evt__position, Evt__Position);
        if (cut == NULL || at == NULL) {
            return cn_fail(err, CN_NOMEM, "snapshot: no memory");
        }
        CN_SET(cut, partition, (int32_t)cn_row_int(rows, i, 0));
        CN_SET(at, epoch, (int32_t)cn_row_int(rows, i, 1));
        CN_SET(at, xid, (uint64_t)cn_row_int(rows, i, 2));
        CN_SET(at, seq, cn_row_int(rows, i, 3));
        cut->after = at;
        body->cut[body->n_cut++] = cut;
    }
    return body->cut != NULL ? CN_OK
                             : cn_fail(err, CN_NOMEM, "snapshot: no memory");
}

/* What the first page says of the log; read before its rows. */
static enum cn_code s_log_set(struct page *self, struct cn_err *err)
{
    Evt__FetchRequest fetch = EVT__FETCH_REQUEST__INIT;
    struct cn_request request = *self->request;
    struct cn_reply reply = { 0 };

    CN_SET(&fetch, only_head, 1);
    request.body = &fetch.base;
    enum cn_code rc =
        cn_outbox_fetch(self->store.env->outbox, &request, &reply, err);
    if (rc != CN_OK) {
        return rc;
    }
    self->body->head = ((const Evt__FetchResponse *)reply.body)->head;
    return s_cut_set(self, err);
}

enum cn_code cn_snapshot_page(const struct cn_request *request,
                              struct cn_reply *reply,
                              struct cn_err *err)
{
    const struct cn_service *service = request->service;
    struct page page = {
        .request = request,
        .wanted = request->body,
        .store = cn_store_of_request(request),
        .limit = CN_SNAPSHOT_LIMIT_MAX,
        .until_at = cn_clock_monotonic() + PAGE_TIME_US,
        .body = CN_NEW(request->arena, evt__snapshot_response,
                       Evt__SnapshotResponse),
    };
    struct cn_uuid tenant = { 0 };
    struct cn_uuid after = { 0 };
    size_t first = 0;

    if (request->principal.subject != NULL &&
        request->principal.subject[0] != '\0') {
        return cn_fail(err, CN_FORBIDDEN, "snapshots are for services");
    }
    if (page.wanted->has_limit && page.wanted->limit > 0 &&
        page.wanted->limit < page.limit) {
        page.limit = page.wanted->limit;
    }
    enum cn_code rc = s_cursor_read(service, page.wanted->after, &first,
                                    &tenant, &after, err);
    if (rc != CN_OK) {
        return rc;
    }
    if (page.body != NULL) {
        page.body->events =
            cn_arena_array(request->arena, page.limit, sizeof(void *));
    }
    if (page.body == NULL || page.body->events == NULL) {
        return cn_fail(err, CN_NOMEM, "snapshot: no memory");
    }
    if (page.wanted->after == NULL) {
        rc = s_log_set(&page, err);
    }
    for (size_t i = first;
         rc == CN_OK && i < service->provider_count && !page.full; i++) {
        const struct cn_provider *provider = &service->providers[i];
        if (s_is_wanted(page.wanted, s_type(provider))) {
            rc = s_provider_add(&page, provider, tenant, after, err);
        }
        tenant = (struct cn_uuid){ 0 };
        after = (struct cn_uuid){ 0 };
    }
    reply->body = &page.body->base;
    return rc;
}
