/* SPDX-License-Identifier: Apache-2.0 */
/* A producer's snapshot loaded into the copies of this service, for a rebuild
 * that is due (consumer_rebuild.c).
 *
 * Page by page, the page's copies and the move of the cursor in one unit, the
 * cursor by compare-and-set (rebuild.turn): whoever kills us or takes over at
 * any instant, the next one goes on after the last page that is there. One
 * replica loads, as long as it renews its claim.
 *
 * Nothing is taken from any log meanwhile, for an effect may read copies of
 * several producers. The positions stay where they are, so no effect is lost or
 * repeated, and copies drop what the snapshot brought already; a position that
 * the log does not reach back to goes on where the log begins.
 *
 * A rebuild replaces rows and empties nothing: no aggregate ever goes, so every
 * row of a copy has its row in the snapshot. */
#include "common/inbox/consumer_internal.h"

#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/bus/bus.h"
#include "common/contract/event.h"
#include "common/store/write.h"
#include "common/wire/message.h"

#include <stdio.h>
#include <string.h>

enum {
    /* Another replica's claim ends so long after its last page: longer than a
     * page takes, or two work for nothing. */
    CLAIM_S = 5,
    PAGE_BUDGET_US = 4000000,
    APPLY_BUDGET_US = 4000000
};

static bool s_is_snapshot(const char *type)
{
    size_t size = strlen(type);
    size_t suffix = strlen(CN_SNAPSHOT_SUFFIX);
    return size > suffix &&
           strcmp(type + size - suffix, CN_SNAPSHOT_SUFFIX) == 0;
}

enum cn_code consumer_copies_check(const struct cn_subscription *subscription,
                                   struct cn_err *err)
{
    for (size_t i = 0; i < subscription->handler_count; i++) {
        const struct cn_event_handler *handler = &subscription->handlers[i];
        const struct cn_event_shape *shape =
            consumer_shape_find(subscription, handler->type);
        if (!s_is_snapshot(handler->type)) {
            continue;
        }
        if (shape == NULL || !handler->copy) {
            return cn_fail(err, CN_INTERNAL, "%s is no copy", handler->type);
        }
        for (size_t j = 0; j < subscription->event_count; j++) {
            const struct cn_event_shape *event = &subscription->events[j];
            if (event->payload == shape->payload &&
                consumer_handler_find(subscription, event->type) == NULL) {
                return cn_fail(err, CN_INTERNAL, "copies miss %s", event->type);
            }
        }
    }
    return CN_OK;
}

/* ---- a page ---- */

/* The types that this consumer copies. With none it still learns where the log
 * begins, so it asks for one that nobody has. */
static void s_types(const struct cn_subscription *subscription,
                    struct cn_arena *arena,
                    Evt__SnapshotRequest *request)
{
    const char **types =
        cn_arena_array(arena, subscription->handler_count + 1, sizeof(*types));
    for (size_t i = 0; i < subscription->handler_count; i++) {
        if (s_is_snapshot(subscription->handlers[i].type)) {
            types[request->n_type++] = subscription->handlers[i].type;
        }
    }
    if (request->n_type == 0) {
        types[request->n_type++] = CN_SNAPSHOT_SUFFIX;
    }
    request->type = types;
}

static enum cn_code s_snapshot_fetch(const struct load *self,
                                     struct cn_arena *arena,
                                     const Evt__SnapshotResponse **ret_page,
                                     struct cn_err *err)
{
    const struct consumer *consumer = self->consumer;
    Evt__SnapshotRequest request = EVT__SNAPSHOT_REQUEST__INIT;
    Evt__SnapshotCursor after = EVT__SNAPSHOT_CURSOR__INIT;
    struct cn_uuid tenant = self->after.tenant_id;
    struct cn_uuid id = self->after.id;
    struct cn_bus_call call = {
        .service = consumer->subscription->producer,
        .method = "events.v1.Events/Snapshot",
        .budget_us = PAGE_BUDGET_US,
    };
    const ProtobufCMessage *message = NULL;
    request.consumer = consumer->service->name;
    CN_SET(&request, limit, self->careful > 0 ? 1 : CN_SNAPSHOT_LIMIT_MAX);
    if (self->after.type[0] != '\0') {
        after.aggregate_type = self->after.type;
        after.has_tenant_id = 1;
        after.tenant_id =
            (ProtobufCBinaryData){ sizeof(tenant.bytes), tenant.bytes };
        after.has_id = 1;
        after.id = (ProtobufCBinaryData){ sizeof(id.bytes), id.bytes };
        request.after = &after;
    }
    s_types(consumer->subscription, arena, &request);
    enum cn_code rc =
        cn_bus_ask(consumer->env->bus, arena, &call, &request.base,
                   &evt__snapshot_response__descriptor, &message, err);
    if (rc == CN_OK) {
        *ret_page = (const Evt__SnapshotResponse *)message;
    }
    return rc;
}

static enum cn_code s_message_add(const struct consumer *self,
                                  const Evt__Event *message,
                                  struct cn_arena *arena,
                                  struct cn_write *write,
                                  struct cn_err *err)
{
    struct entry entry = { 0 };
    enum cn_code rc =
        consumer_entry_read(self->subscription, message, &entry, err);
    if (rc != CN_OK || entry.handler == NULL) {
        return rc;
    }
    struct cn_event event =
        consumer_event(self->env, self->subscription, &entry, arena);
    rc = consumer_event_open(&entry, &event, err);
    if (rc != CN_OK) {
        return rc;
    }
    cn_write_tenant(write, entry.tenant_id);
    return cn_event_handle(self->service, entry.handler, &event, write, err);
}

/* ---- the row of the rebuild ---- */

/* Counts an attempt of the page after the cursor, before it is made: a page
 * that kills the process must count, too. */
CN_SQL_RELAY(SQL_REBUILD_BEGIN,
             "UPDATE {{schema}}.rebuild r SET turn = r.turn + 1,"
             " attempts = r.attempts + $3,"
             " claimed_until = now() + $4 * interval '1 s'"
             " WHERE r.producer = $1 AND r.turn = $2 AND r.ended_at IS NULL"
             " RETURNING r.turn, r.attempts");

/* The end of a page's unit. With the first page the positions that the log does
 * not reach back to go to where it begins. */
CN_SQL_RELAY(
    SQL_REBUILD_MOVE,
    "WITH cut AS (INSERT INTO {{schema}}.inbox_position AS p"
    " (producer, partition, epoch, xid, seq)"
    " SELECT $1, c.partition, c.epoch, c.xid, c.seq"
    " FROM unnest($9::int[], $10::int[], $11::xid8[], $12::bigint[])"
    " AS c (partition, epoch, xid, seq)"
    " ON CONFLICT (producer, partition) DO UPDATE SET epoch = excluded.epoch,"
    " xid = excluded.xid, seq = excluded.seq, attempts = 0"
    " WHERE (p.epoch, p.xid, p.seq)"
    " < (excluded.epoch, excluded.xid, excluded.seq)),"
    " moved AS (UPDATE {{schema}}.rebuild r SET turn = r.turn + 1,"
    " attempts = 0, claimed_until = now() + $3 * interval '1 s',"
    " after_type = $4, after_tenant = $5, after_id = $6,"
    " loaded = r.loaded + $7, failed = r.failed + $8,"
    " ended_at = CASE WHEN $4::text IS NULL THEN now() END"
    " WHERE r.producer = $1 AND r.turn = $2 AND r.ended_at IS NULL"
    " RETURNING 1)"
    " SELECT {{schema}}.require(count(*) = 1, 'rebuild_moved') FROM moved");

static enum cn_code
s_load_begin(struct load *self, struct cn_arena *arena, struct cn_err *err)
{
    const struct cn_param params[] = {
        cn_text(self->consumer->subscription->producer),
        cn_int(self->turn),
        cn_int(self->forgiven ? 0 : 1),
        cn_int(CLAIM_S),
    };
    const struct cn_db_step step = { &SQL_REBUILD_BEGIN, params, 4 };
    struct cn_db_result result = { 0 };
    enum cn_code rc =
        consumer_unit(self->consumer, arena, &step, 1, &result, err);
    if (rc != CN_OK) {
        return rc;
    }
    if (cn_rows_count(result.rows[0]) != 1) {
        return cn_fail_as(err, CN_CONFLICT, "rebuild_moved",
                          "another replica goes on from here");
    }
    self->turn = cn_row_int(result.rows[0], 0, 0);
    self->attempts = (int)cn_row_int(result.rows[0], 0, 1);
    self->forgiven = false;
    return CN_OK;
}

enum { CUT_COLUMNS = 4 };

/* Where the log begins: partitions, epochs, xids and seqs. */
static enum cn_code s_cut_read(const Evt__SnapshotResponse *page,
                               struct cn_arena *arena,
                               struct cn_param ret_cut[CUT_COLUMNS],
                               struct cn_err *err)
{
    int64_t columns[CUT_COLUMNS][CN_PARTITIONS] = { 0 };
    size_t count = 0;
    for (size_t i = 0; i < page->n_cut; i++) {
        const Evt__PartitionPosition *cut = page->cut[i];
        if (count == CN_PARTITIONS || cut->after == NULL ||
            cut->partition < 0 || cut->partition >= CN_PARTITIONS ||
            cut->after->xid > INT64_MAX) {
            return cn_fail(err, CN_MALFORMED, "no beginning of a log");
        }
        columns[0][count] = cut->partition;
        columns[1][count] = cut->after->epoch;
        columns[2][count] = (int64_t)cut->after->xid;
        columns[3][count] = cut->after->seq;
        count++;
    }
    for (size_t i = 0; i < CUT_COLUMNS; i++) {
        ret_cut[i] = cn_numbers(arena, columns[i], count);
    }
    return CN_OK;
}

/* Where the page after this one begins; type "" after the last. */
static enum cn_code s_next_cursor(const Evt__SnapshotCursor *next,
                                  struct cursor *ret_cursor,
                                  struct cn_err *err)
{
    struct cursor cursor = { .type = "" };
    if (next == NULL) {
        *ret_cursor = cursor;
        return CN_OK;
    }
    if (next->aggregate_type == NULL || next->aggregate_type[0] == '\0' ||
        strlen(next->aggregate_type) >= CONSUMER_TYPE_MAX ||
        !cn_message_uuid(next->has_tenant_id, next->tenant_id,
                         &cursor.tenant_id) ||
        !cn_message_uuid(next->has_id, next->id, &cursor.id)) {
        return cn_fail(err, CN_MALFORMED, "a page without its end");
    }
    (void)snprintf(cursor.type, sizeof(cursor.type), "%s",
                   next->aggregate_type);
    *ret_cursor = cursor;
    return CN_OK;
}

/* One page in one unit; without its rows when they are given up. */
static enum cn_code s_page_apply(struct load *self,
                                 struct cn_arena *arena,
                                 const Evt__SnapshotResponse *page,
                                 bool give_up,
                                 struct cn_err *err)
{
    const struct consumer *consumer = self->consumer;
    const size_t failed = give_up ? page->n_events : 0;
    const size_t loaded = page->n_events - failed;
    struct cursor next;
    struct cn_param cut[CUT_COLUMNS] = { { 0 } };
    enum cn_code rc = s_next_cursor(page->next, &next, err);
    if (rc == CN_OK) {
        rc = s_cut_read(page, arena, cut, err);
    }
    struct cn_write *write = cn_write_begin_batch(consumer->env, arena);
    for (size_t i = 0; rc == CN_OK && i < loaded; i++) {
        rc = s_message_add(consumer, page->events[i], arena, write, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    const bool more = next.type[0] != '\0';
    const struct cn_param params[] = {
        cn_text(consumer->subscription->producer),
        cn_int(self->turn),
        cn_int(CLAIM_S),
        more ? cn_text(next.type) : cn_null(),
        more ? cn_uuid(next.tenant_id) : cn_null(),
        more ? cn_uuid(next.id) : cn_null(),
        cn_int((int64_t)loaded),
        cn_int((int64_t)failed),
        cut[0],
        cut[1],
        cut[2],
        cut[3],
    };
    cn_write_position(write, &SQL_REBUILD_MOVE, params, CN_COUNT(params));
    cn_fiber_set_deadline(cn_clock_monotonic() + APPLY_BUDGET_US);
    rc = cn_write_commit(write, err);
    cn_fiber_set_deadline(INT64_MAX);
    if (rc == CN_OK) {
        self->turn++;
        self->after = next;
        self->loaded += (int64_t)loaded;
        self->consumer->counts.rebuild_loaded += loaded;
        self->consumer->counts.rebuild_failed += failed;
        self->ended = !more;
    }
    return rc;
}

static void s_log_given_up(const struct load *self,
                           const Evt__SnapshotResponse *page,
                           const char *error)
{
    const char *type = page->n_events > 0 ? page->events[0]->type : "no row";
    cn_log(CN_LOG_ERROR, "a row of the snapshot of %s is given up: %s: %s",
           self->consumer->subscription->producer, type, error);
}

/* A page: fetched, counted, applied. What failed too often, or killed its
 * process so often, stands alone by then and is given up. */
static enum cn_code
s_load_page(struct load *self, struct cn_arena *arena, struct cn_err *err)
{
    const Evt__SnapshotResponse *page = NULL;
    enum cn_code rc = s_snapshot_fetch(self, arena, &page, err);
    if (rc == CN_OK) {
        rc = s_load_begin(self, arena, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    if (self->attempts > 1 && page->n_events > 1) {
        self->careful = CONSUMER_CAREFUL_ROWS;
        self->forgiven = true;
        return CN_OK; /* The same rows again, one by one. */
    }
    bool give_up = self->attempts > CN_EVENT_ATTEMPTS_MAX;
    rc = s_page_apply(self, arena, page, give_up, err);
    if (rc == CN_OK && give_up) {
        s_log_given_up(self, page, "too many attempts");
    }
    if (rc == CN_OK) {
        self->passing = 0;
        self->careful -= self->careful > 0;
    }
    return rc;
}

static bool s_is_moved(enum cn_code rc, const struct cn_err *err)
{
    return rc == CN_CONFLICT && strcmp(err->word, "rebuild_moved") == 0;
}

void consumer_load(struct load *self)
{
    struct consumer *consumer = self->consumer;
    while (!self->ended && !consumer_stopping(consumer)) {
        CN_ARENA_AUTO struct cn_arena *arena =
            cn_arena_new(CN_ARENA_REQUEST_MAX);
        struct cn_err err = { 0 };
        enum cn_code rc = arena == NULL
                              ? cn_fail(&err, CN_NOMEM, "rebuild: no memory")
                              : s_load_page(self, arena, &err);
        if (s_is_moved(rc, &err) || rc == CN_UNKNOWN) {
            return; /* Where it is is looked up. */
        }
        if (rc != CN_OK && !consumer_stopping(consumer)) {
            bool passes = consumer_may_pass(rc) &&
                          ++self->passing <= CN_EVENT_PASSING_MAX;
            self->forgiven = self->forgiven || passes;
            self->careful = passes ? self->careful : CONSUMER_CAREFUL_ROWS;
            consumer_tell(consumer, &consumer->all->rebuild_trouble, -1, rc,
                          &err);
            if (cn_fiber_sleep(consumer_backoff_us(
                    consumer, &consumer->all->rebuild_trouble)) != CN_OK) {
                return;
            }
        } else if (rc == CN_OK) {
            consumer_tell(consumer, &consumer->all->rebuild_trouble, -1, rc,
                          &err);
        }
    }
    if (self->ended) {
        cn_log(CN_LOG_INFO, "copies of %s are rebuilt: %lld rows",
               consumer->subscription->producer, (long long)self->loaded);
    }
}
