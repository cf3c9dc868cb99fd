/* SPDX-License-Identifier: Apache-2.0 */
/* The log of a service: the fetch, and the poller that wakes waiting fetches.
 */
#include "common/outbox.h"

#include "common/db.h"
#include "common/fiber.h"
#include "common/loop.h"
#include "common/seal.h"

#include "cairn/events.pb-c.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CONTEXT_MAX = 80,
    PARTITION_COUNT = 16,
    /* A reply stays well below the bus' limit of one message. */
    REPLY_PAYLOAD_MAX = 512 << 10,
    LOOK_BUDGET_US = 2000000,
    LOOK_RETRY_US = 100000, /* after a look that failed */
    LOOK_GAP_US = 500,      /* two looks are at least so far apart */
    /* After a hint whose commit stays behind an open transaction. */
    LOOK_AGAIN_US = 1500,
    LOOK_AGAIN_MAX = 6,
    REPLY_MARGIN_US = 100000 /* a fetch answers so long before its deadline */
};

struct position {
    int64_t epoch;
    int64_t xid;
    int64_t seq;
};

/* A long poll that waits for the log to grow past seen. In the request's
 * arena; its fiber takes it off the list. */
struct waiter {
    struct waiter *next;
    struct cn_token token;
    struct position seen;
};

/* Every transaction that had its id at complete_at is shown by now. The mark is
 * the next such instant: it holds once xmin reaches mark_xid. */
struct horizon {
    int64_t complete_at; /* 0: not known yet */
    int64_t mark_xid;
    int64_t mark_at;
};

struct cn_outbox {
    struct cn_env *env;
    char context[CONTEXT_MAX]; /* of the sealed payloads */
    int epoch;
    struct position head; /* the highest one below the horizon */
    struct horizon horizon;
    bool held; /* at the last look a transaction was open */
    struct waiter *waiters;
    unsigned waiter_count;
    struct cn_token poller;
    bool poller_parked;
    bool hinted;
};

/* What a fetch asks for, checked. */
struct fetch {
    int partition; /* -1: all */
    struct position after;
    int64_t limit;
    int64_t wait_until; /* monotonic */
    bool only_head;
    bool of_tenant; /* only its events; of all partitions */
    struct cn_uuid tenant_id;
};

/* What one look at the log gave it. */
struct page {
    const struct cn_rows *rows;
    struct position head; /* as of just before the rows were read */
    int64_t complete_at;
};

static int s_position_compare(struct position a, struct position b)
{
    if (a.epoch != b.epoch) {
        return a.epoch < b.epoch ? -1 : 1;
    }
    if (a.xid != b.xid) {
        return a.xid < b.xid ? -1 : 1;
    }
    return a.seq == b.seq ? 0 : a.seq < b.seq ? -1 : 1;
}

static struct position s_position_max(struct position a, struct position b)
{
    return s_position_compare(a, b) < 0 ? b : a;
}

/* The row comparison with (epoch, xmin) says the same as "of an older epoch or
 * below the horizon", and lets the index begin at the horizon. */
CN_SQL_RELAY(
    SQL_OUTBOX_HEAD,
    "SELECT h.epoch, h.xid::text::bigint, h.seq,"
    " pg_snapshot_xmin(pg_current_snapshot())::text::bigint,"
    " pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
    " FROM (VALUES (1)) AS one"
    " LEFT JOIN LATERAL (SELECT o.epoch, o.xid, o.seq"
    " FROM {{schema}}.outbox o"
    " WHERE (o.epoch, o.xid) < ($1, pg_snapshot_xmin(pg_current_snapshot()))"
    " ORDER BY o.epoch DESC, o.xid DESC, o.seq DESC LIMIT 1) h ON true");

#define EVENT_COLUMNS                                                          \
    "SELECT o.epoch, o.xid::text::bigint, o.seq, o.event_id, o.tenant_id,"     \
    " o.aggregate_type, o.aggregate_id, o.aggregate_seq, o.type,"              \
    " o.schema_version, o.payload, o.actor, o.causation_id,"                   \
    " o.correlation_id, o.trace, o.occurred_at FROM {{schema}}.outbox o"
#define EVENT_RANGE                                                            \
    " (o.epoch, o.xid, o.seq) > ($1, $2, $3)"                                  \
    " AND (o.epoch, o.xid) < ($4, pg_snapshot_xmin(pg_current_snapshot()))"    \
    " ORDER BY o.epoch, o.xid, o.seq LIMIT $5"

CN_SQL_RELAY(SQL_OUTBOX_FETCH, EVENT_COLUMNS " WHERE" EVENT_RANGE);
CN_SQL_RELAY(SQL_OUTBOX_FETCH_PARTITION,
             EVENT_COLUMNS " WHERE o.partition = $6 AND" EVENT_RANGE);
CN_SQL_RELAY(SQL_OUTBOX_FETCH_TENANT,
             EVENT_COLUMNS " WHERE o.tenant_id = $6 AND" EVENT_RANGE);

/* Of SQL_OUTBOX_HEAD, after the position. */
enum { COLUMN_XMIN = 3, COLUMN_XMAX = 4 };

/* Of the fetches. */
enum {
    COLUMN_EPOCH,
    COLUMN_XID,
    COLUMN_SEQ,
    COLUMN_EVENT_ID,
    COLUMN_TENANT_ID,
    COLUMN_AGGREGATE_TYPE,
    COLUMN_AGGREGATE_ID,
    COLUMN_AGGREGATE_SEQ,
    COLUMN_TYPE,
    COLUMN_SCHEMA_VERSION,
    COLUMN_PAYLOAD,
    COLUMN_ACTOR,
    COLUMN_CAUSATION_ID,
    COLUMN_CORRELATION_ID,
    COLUMN_TRACE,
    COLUMN_OCCURRED_AT
};

static struct position s_row_position(const struct cn_rows *rows, size_t row)
{
    return (struct position){ cn_row_int(rows, row, COLUMN_EPOCH),
                              cn_row_int(rows, row, COLUMN_XID),
                              cn_row_int(rows, row, COLUMN_SEQ) };
}

/* Takes in a row of SQL_OUTBOX_HEAD that was asked for at at. */
static void
s_horizon_move(struct horizon *self, const struct cn_rows *rows, int64_t at)
{
    int64_t xmin = cn_row_int(rows, 0, COLUMN_XMIN);
    int64_t xmax = cn_row_int(rows, 0, COLUMN_XMAX);

    if (xmin >= self->mark_xid) {
        if (self->mark_at > self->complete_at) {
            self->complete_at = self->mark_at;
        }
        self->mark_xid = xmax;
        self->mark_at = at;
    }
    /* Nothing was open: what had its id before the look is shown. */
    if (xmin >= xmax && at > self->complete_at) {
        self->complete_at = at;
    }
}

static void
s_observe(struct cn_outbox *self, const struct cn_rows *rows, int64_t at)
{
    self->head = s_position_max(self->head, s_row_position(rows, 0));
    self->held =
        cn_row_int(rows, 0, COLUMN_XMIN) < cn_row_int(rows, 0, COLUMN_XMAX);
    s_horizon_move(&self->horizon, rows, at);
}

/* ---- the poller ---- */

static enum cn_code s_look(struct cn_outbox *self, struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    const struct cn_param params[] = { cn_int(self->epoch) };
    const struct cn_rows *rows = NULL;
    int64_t at = self->env->now(self->env);

    if (arena == NULL) {
        return cn_fail(err, CN_NOMEM, "outbox: no memory");
    }
    cn_fiber_set_deadline(cn_clock_monotonic() + LOOK_BUDGET_US);
    enum cn_code rc =
        cn_db_read(self->env->db, CN_LANE_RELAY, arena, (struct cn_uuid){ 0 },
                   &SQL_OUTBOX_HEAD, params, 1, &rows, err);
    cn_fiber_set_deadline(INT64_MAX);
    if (rc == CN_OK) {
        s_observe(self, rows, at);
    }
    return rc;
}

/* Wakes the waiters whom the log has passed; all of them with a failure. */
static void s_wake(struct cn_outbox *self, enum cn_code code)
{
    for (struct waiter *waiter = self->waiters; waiter != NULL;
         waiter = waiter->next) {
        if (code != CN_OK || s_position_compare(self->head, waiter->seen) > 0) {
            (void)cn_fiber_wake(waiter->token, code);
        }
    }
}

static void s_poller_park(struct cn_outbox *self, int64_t until_at)
{
    self->poller = cn_fiber_token();
    self->poller_parked = true;
    enum cn_code rc = cn_fiber_park(until_at);
    self->poller_parked = false;
    (void)rc; /* Woken, or the time has come: it looks in either case. */
}

static void s_poller_rest(int64_t until_at)
{
    int64_t left_us = until_at - cn_clock_monotonic();

    if (left_us > 0 && cn_fiber_sleep(left_us) != CN_OK) {
        return; /* The loop is stopping, which the poller sees by itself. */
    }
}

static void s_poller_call(struct cn_outbox *self)
{
    if (self->poller_parked) {
        (void)cn_fiber_wake(self->poller, CN_OK);
    }
}

/* Looks only while somebody waits. */
static void s_poll(void *arg)
{
    struct cn_outbox *self = arg;
    unsigned again = 0;

    while (!cn_loop_stopping(self->env->loop)) {
        if (self->waiters == NULL) {
            s_poller_park(self, INT64_MAX);
            continue;
        }
        if (self->hinted) {
            self->hinted = false;
            again = LOOK_AGAIN_MAX;
        }
        struct cn_err err = { 0 };
        int64_t looked_at = cn_clock_monotonic();
        enum cn_code rc = s_look(self, &err);
        if (rc != CN_OK) {
            s_poller_park(self, looked_at + LOOK_RETRY_US);
            continue;
        }
        s_wake(self, CN_OK);
        int64_t pause_us = CN_OUTBOX_POLL_US;
        if (!self->held) {
            again = 0;
        }
        if (again > 0) {
            again--;
            pause_us = LOOK_AGAIN_US;
        }
        if (self->hinted) {
            pause_us = LOOK_GAP_US;
        }
        s_poller_park(self, looked_at + pause_us);
        /* A wake by a hint keeps the gap. */
        s_poller_rest(looked_at + LOOK_GAP_US);
    }
    s_wake(self, CN_UNAVAILABLE);
}

struct cn_outbox *cn_outbox_start(struct cn_env *env,
                                  const struct cn_service *service,
                                  int epoch,
                                  struct cn_err *err)
{
    struct cn_outbox *self = calloc(1, sizeof(*self));

    if (self == NULL) {
        (void)cn_fail(err, CN_NOMEM, "outbox: no memory");
        return NULL;
    }
    self->env = env;
    self->epoch = epoch;
    (void)snprintf(self->context, sizeof(self->context), "%s.outbox.payload",
                   service->name);
    if (cn_fiber_spawn(env->loop, s_poll, self, INT64_MAX, err) != CN_OK) {
        free(self);
        return NULL;
    }
    return self;
}

void cn_outbox_free(struct cn_outbox *self)
{
    free(self);
}

void cn_outbox_hint(struct cn_outbox *self)
{
    if (self == NULL) {
        return;
    }
    self->hinted = true;
    if (self->waiters != NULL) {
        s_poller_call(self);
    }
}

/* ---- the fetch ---- */

static enum cn_code s_fetch_check(const Evt__FetchRequest *body,
                                  struct fetch *ret_fetch,
                                  struct cn_err *err)
{
    struct fetch fetch = { .partition = -1, .limit = CN_FETCH_LIMIT_MAX };
    int64_t wait_ms = 0;

    if (body->has_partition) {
        if (body->partition < 0 || body->partition >= PARTITION_COUNT) {
            return cn_fail_field(err, "/partition", "invalid_value",
                                 "no such partition");
        }
        fetch.partition = body->partition;
    }
    if (body->after != NULL) {
        if (body->after->xid > INT64_MAX) {
            return cn_fail_field(err, "/after/xid", "invalid_value",
                                 "no such position");
        }
        fetch.after =
            (struct position){ body->after->epoch, (int64_t)body->after->xid,
                               body->after->seq };
    }
    if (body->has_limit && body->limit > 0 &&
        body->limit < CN_FETCH_LIMIT_MAX) {
        fetch.limit = body->limit;
    }
    if (body->has_wait_ms) {
        wait_ms = body->wait_ms < CN_FETCH_WAIT_MAX_MS ? body->wait_ms
                                                       : CN_FETCH_WAIT_MAX_MS;
    }
    fetch.wait_until = cn_clock_monotonic() + wait_ms * 1000;
    if (fetch.wait_until > cn_fiber_deadline() - REPLY_MARGIN_US) {
        fetch.wait_until = cn_fiber_deadline() - REPLY_MARGIN_US;
    }
    if (body->has_tenant_id) {
        if (body->tenant_id.len != sizeof(fetch.tenant_id.bytes) ||
            fetch.partition >= 0 || body->n_from > 0) {
            return cn_fail_field(err, "/tenant_id", "invalid_value",
                                 "a tenant's events are of the whole log");
        }
        memcpy(fetch.tenant_id.bytes, body->tenant_id.data,
               sizeof(fetch.tenant_id.bytes));
        fetch.of_tenant = true;
    }
    if (body->has_only_head && body->only_head) {
        /* Behind every position there is, so that no row is read. */
        fetch.after = (struct position){ INT32_MAX, INT64_MAX, INT64_MAX };
        fetch.wait_until = 0;
        fetch.only_head = true;
    }
    *ret_fetch = fetch;
    return CN_OK;
}

/* The head and the rows in one unit: the head's snapshot is the older one, so
 * every event up to the head is among the rows unless they were cut. */
static enum cn_code s_fetch_once(struct cn_outbox *self,
                                 struct cn_arena *arena,
                                 const struct fetch *fetch,
                                 struct page *ret_page,
                                 struct cn_err *err)
{
    const struct cn_param head_params[] = { cn_int(self->epoch) };
    const struct cn_param fetch_params[] = { cn_int(fetch->after.epoch),
                                             cn_int(fetch->after.xid),
                                             cn_int(fetch->after.seq),
                                             cn_int(self->epoch),
                                             cn_int(fetch->limit),
                                             fetch->of_tenant
                                                 ? cn_uuid(fetch->tenant_id)
                                                 : cn_int(fetch->partition) };
    const bool all = fetch->partition < 0 && !fetch->of_tenant;
    const struct cn_statement *of = fetch->of_tenant
                                        ? &SQL_OUTBOX_FETCH_TENANT
                                        : &SQL_OUTBOX_FETCH_PARTITION;
    const struct cn_db_step steps[] = {
        { &SQL_OUTBOX_HEAD, head_params, 1 },
        { all ? &SQL_OUTBOX_FETCH : of, fetch_params, all ? 5 : 6 },
    };
    struct cn_db_result result = { 0 };
    /* Others may look later and return earlier: what they learn about the
     * horizon is not true of the rows of this fetch. */
    struct horizon horizon = self->horizon;
    int64_t at = self->env->now(self->env);

    enum cn_code rc =
        cn_db_unit(self->env->db, CN_LANE_RELAY, arena, steps, 2, &result, err);
    if (rc != CN_OK) {
        return cn_wrap(err, "fetch");
    }
    if (result.outcome != CN_COMMITTED) {
        return cn_fail(err, CN_UNAVAILABLE, "fetch: sqlstate %s",
                       result.sqlstate);
    }
    s_observe(self, result.rows[0], at);
    s_horizon_move(&horizon, result.rows[0], at);
    *ret_page = (struct page){ .rows = result.rows[1],
                               .head = s_row_position(result.rows[0], 0),
                               .complete_at = horizon.complete_at };
    return CN_OK;
}

/* Parks until the log has grown past seen. CN_DEADLINE when it did not. */
static enum cn_code s_wait(struct cn_outbox *self,
                           struct cn_arena *arena,
                           struct position seen,
                           int64_t until_at)
{
    if (cn_loop_stopping(self->env->loop)) {
        return CN_UNAVAILABLE;
    }
    if (s_position_compare(self->head, seen) > 0) {
        return CN_OK;
    }
    if (self->waiter_count == CN_OUTBOX_WAITING_MAX) {
        return CN_BUSY;
    }
    struct waiter *waiter = cn_arena_alloc(arena, sizeof(*waiter));
    if (waiter == NULL) {
        return CN_NOMEM;
    }
    waiter->token = cn_fiber_token();
    waiter->seen = seen;
    waiter->next = self->waiters;
    self->waiters = waiter;
    self->waiter_count++;
    /* The first one starts the poller; a hint may have come before it. */
    if (self->waiter_count == 1 || self->hinted) {
        s_poller_call(self);
    }
    enum cn_code rc = cn_fiber_park(until_at);

    struct waiter **link = &self->waiters;
    while (*link != waiter) {
        link = &(*link)->next;
    }
    *link = waiter->next;
    self->waiter_count--;
    return rc;
}

static bool s_set_bytes(struct cn_arena *arena,
                        protobuf_c_boolean *ret_has,
                        ProtobufCBinaryData *ret_data,
                        struct cn_bytes bytes)
{
    void *copy = cn_arena_copy(arena, bytes.data, bytes.size);

    if (copy == NULL && bytes.size > 0) {
        return false;
    }
    *ret_has = 1;
    *ret_data = (ProtobufCBinaryData){ .len = bytes.size, .data = copy };
    return true;
}

static bool s_set_id(struct cn_arena *arena,
                     protobuf_c_boolean *ret_has,
                     ProtobufCBinaryData *ret_data,
                     struct cn_uuid id)
{
    return s_set_bytes(arena, ret_has, ret_data,
                       (struct cn_bytes){ id.bytes, sizeof(id.bytes) });
}

static Evt__Position *s_position_message(struct cn_arena *arena,
                                         struct position position)
{
    Evt__Position *message = CN_NEW(arena, evt__position, Evt__Position);

    if (message != NULL) {
        CN_SET(message, epoch, (int32_t)position.epoch);
        CN_SET(message, xid, (uint64_t)position.xid);
        CN_SET(message, seq, position.seq);
    }
    return message;
}

/* The event of a row, its payload opened. */
static enum cn_code s_event(struct cn_outbox *self,
                            struct cn_arena *arena,
                            const struct cn_rows *rows,
                            size_t row,
                            Evt__Event **ret_event,
                            struct cn_err *err)
{
    struct cn_uuid tenant = cn_row_uuid(rows, row, COLUMN_TENANT_ID);
    struct cn_bytes payload = { 0 };

    enum cn_code rc =
        cn_unseal(self->env, arena, tenant, self->context,
                  cn_row_bytes(rows, row, COLUMN_PAYLOAD), &payload, err);
    if (rc != CN_OK) {
        return cn_wrap(err, "event");
    }
    Evt__Event *event = CN_NEW(arena, evt__event, Evt__Event);
    if (event == NULL) {
        return cn_fail(err, CN_NOMEM, "fetch: no memory");
    }
    event->position = s_position_message(arena, s_row_position(rows, row));
    if (event->position == NULL ||
        !s_set_id(arena, &event->has_event_id, &event->event_id,
                  cn_row_uuid(rows, row, COLUMN_EVENT_ID)) ||
        !s_set_id(arena, &event->has_tenant_id, &event->tenant_id, tenant) ||
        !s_set_id(arena, &event->has_aggregate_id, &event->aggregate_id,
                  cn_row_uuid(rows, row, COLUMN_AGGREGATE_ID)) ||
        !s_set_bytes(arena, &event->has_payload, &event->payload, payload)) {
        return cn_fail(err, CN_NOMEM, "fetch: no memory");
    }
    event->aggregate_type = cn_row_text(rows, row, COLUMN_AGGREGATE_TYPE);
    CN_SET(event, aggregate_seq, cn_row_int(rows, row, COLUMN_AGGREGATE_SEQ));
    event->type = cn_row_text(rows, row, COLUMN_TYPE);
    CN_SET(event, schema_version,
           (int32_t)cn_row_int(rows, row, COLUMN_SCHEMA_VERSION));
    event->actor = cn_row_text(rows, row, COLUMN_ACTOR);
    event->causation_id = cn_row_text(rows, row, COLUMN_CAUSATION_ID);
    event->correlation_id = cn_row_text(rows, row, COLUMN_CORRELATION_ID);
    event->trace = cn_row_text(rows, row, COLUMN_TRACE);
    CN_SET(event, occurred_at, cn_row_at(rows, row, COLUMN_OCCURRED_AT));
    *ret_event = event;
    return CN_OK;
}

/* A page that was cut, by the limit or by size, says nothing of what comes
 * after it: it has no complete_until and its last event is the head. */
static enum cn_code s_fetch_reply(struct cn_outbox *self,
                                  struct cn_arena *arena,
                                  const struct fetch *fetch,
                                  const struct page *page,
                                  struct cn_reply *reply,
                                  struct cn_err *err)
{
    Evt__FetchResponse *body =
        CN_NEW(arena, evt__fetch_response, Evt__FetchResponse);
    size_t row_count = cn_rows_count(page->rows);
    struct position head = fetch->only_head
                               ? page->head
                               : s_position_max(fetch->after, page->head);
    size_t count = 0;
    size_t size = 0;

    if (body == NULL) {
        return cn_fail(err, CN_NOMEM, "fetch: no memory");
    }
    body->events = cn_arena_array(arena, row_count + 1, sizeof(Evt__Event *));
    if (body->events == NULL) {
        return cn_fail(err, CN_NOMEM, "fetch: no memory");
    }
    while (count < row_count && (count == 0 || size < REPLY_PAYLOAD_MAX)) {
        enum cn_code rc =
            s_event(self, arena, page->rows, count, &body->events[count], err);
        if (rc != CN_OK) {
            return rc;
        }
        size += body->events[count]->payload.len;
        if (size > REPLY_PAYLOAD_MAX && count > 0) {
            break;
        }
        count++;
    }
    body->n_events = count;
    if (count < row_count || count == (size_t)fetch->limit) {
        head = s_row_position(page->rows, count - 1);
    } else {
        if (count > 0) {
            head = s_position_max(head, s_row_position(page->rows, count - 1));
        }
        if (page->complete_at > 0) {
            CN_SET(body, complete_until,
                   page->complete_at - CN_OUTBOX_SLACK_US);
        }
    }
    body->head = s_position_message(arena, head);
    if (body->head == NULL) {
        return cn_fail(err, CN_NOMEM, "fetch: no memory");
    }
    reply->body = &body->base;
    return CN_OK;
}

enum cn_code cn_outbox_fetch(struct cn_outbox *self,
                             const struct cn_request *request,
                             struct cn_reply *reply,
                             struct cn_err *err)
{
    struct fetch fetch = { 0 };
    struct page page = { 0 };

    if (request->principal.subject != NULL &&
        request->principal.subject[0] != '\0') {
        return cn_fail(err, CN_FORBIDDEN, "events are for services");
    }
    enum cn_code rc = s_fetch_check(request->body, &fetch, err);
    if (rc != CN_OK) {
        return rc;
    }
    for (;;) {
        rc = s_fetch_once(self, request->arena, &fetch, &page, err);
        if (rc != CN_OK) {
            return rc;
        }
        if (cn_rows_count(page.rows) > 0 ||
            cn_clock_monotonic() >= fetch.wait_until) {
            break;
        }
        rc = s_wait(self, request->arena,
                    s_position_max(fetch.after, page.head), fetch.wait_until);
        if (rc == CN_DEADLINE) {
            break;
        }
        if (rc != CN_OK) {
            return cn_fail(err, rc, "fetch: the wait was ended");
        }
    }
    return s_fetch_reply(self, request->arena, &fetch, &page, reply, err);
}
