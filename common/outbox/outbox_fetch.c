/* SPDX-License-Identifier: Apache-2.0 */
/* Events/Fetch: what comes after a position of the log, or after one position
 * of each partition asked for. */
#include "common/outbox/outbox.h"

#include "common/loop/loop.h"
#include "common/outbox/outbox_internal.h"
#include "common/wire/message.h"
#include "common/wire/seal.h"

#include "cairn/events.pb-c.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    /* A reply stays well below the bus' limit of one message. */
    REPLY_PAYLOAD_MAX = 512 << 10,
    REPLY_MARGIN_US = 100000, /* a fetch answers so long before its deadline */
};

/* What a fetch asks for, checked. */
struct fetch {
    struct position after;
    int64_t limit;
    int64_t wait_until; /* monotonic */
    bool only_head;
    bool of_tenant; /* only its events; of all partitions */
    struct cn_uuid tenant_id;
    /* Of several partitions: of SQL_OUTBOX_FETCH_PARTITIONS. */
    size_t from_count; /* 0: the whole log */
    int64_t partitions[CN_PARTITIONS];
    int64_t epochs[CN_PARTITIONS];
    int64_t xids[CN_PARTITIONS];
    int64_t seqs[CN_PARTITIONS];
};

/* What one look at the log gave it. */
struct page {
    const struct cn_rows *rows;
    struct position head; /* as of just before the rows were read */
    int64_t complete_at;
    bool cut;     /* there is more */
    bool deleted; /* what came next in a partition is not there any more */
};

#define EVENT_COLUMNS                                                          \
    "SELECT o.epoch, o.xid::text::bigint, o.seq, o.event_id, o.tenant_id,"     \
    " o.aggregate_type, o.aggregate_id, o.aggregate_seq, o.type,"              \
    " o.schema_version, o.payload, o.actor, o.causation_id,"                   \
    " o.correlation_id, o.trace, o.occurred_at, o.partition"

#define EVENT_RANGE                                                            \
    " (o.epoch, o.xid, o.seq) > ($1, $2, $3)"                                  \
    " AND (o.epoch, o.xid) < ($4, pg_snapshot_xmin(pg_current_snapshot()))"    \
    " ORDER BY o.epoch, o.xid, o.seq LIMIT $5"

CN_SQL_RELAY(SQL_OUTBOX_FETCH,
             EVENT_COLUMNS " FROM {{schema}}.outbox o WHERE" EVENT_RANGE);
CN_SQL_RELAY(SQL_OUTBOX_FETCH_TENANT,
             EVENT_COLUMNS " FROM {{schema}}.outbox o"
                           " WHERE o.tenant_id = $6 AND" EVENT_RANGE);
/* The first of each partition, the second of each, and so on, until the reply
 * is full: who is far behind does not crowd out the others. The limit of a
 * partition is not a parameter: without the number the planner sorts. */
_Static_assert(CN_FETCH_PARTITION_MAX == 100, "the limit of a partition");
_Static_assert(CN_FETCH_REPLY_MAX == 768 << 10, "the size of a reply");
CN_SQL_RELAY(
    SQL_OUTBOX_FETCH_PARTITIONS,
    EVENT_COLUMNS
    ", o.total FROM (SELECT p.*, count(*) OVER () AS total,"
    " row_number() OVER shares AS number,"
    " sum(octet_length(p.payload) + 256) OVER shares AS size"
    " FROM unnest($1::int[], $2::int[], $3::xid8[], $4::bigint[])"
    " AS w (partition, epoch, xid, seq) CROSS JOIN LATERAL ("
    "SELECT o.*, row_number() OVER (ORDER BY o.epoch, o.xid, o.seq) AS place"
    " FROM {{schema}}.outbox o WHERE o.partition = w.partition"
    " AND (o.epoch, o.xid, o.seq) > (w.epoch, w.xid, w.seq)"
    " AND (o.epoch, o.xid) < ($5, pg_snapshot_xmin(pg_current_snapshot()))"
    " ORDER BY o.epoch, o.xid, o.seq LIMIT 100) p"
    " WINDOW shares AS (ORDER BY p.place, p.partition ROWS UNBOUNDED"
    " PRECEDING)) o WHERE o.number <= $6"
    " AND (o.number = 1 OR o.size <= 786432) ORDER BY o.place, o.partition");

/* Read after the events: what is deleted between the two is among them, and a
 * reader that is sent to a snapshot for nothing loses nothing. */
CN_SQL_RELAY(SQL_OUTBOX_DELETED,
             "SELECT 1 FROM unnest($1::int[], $2::int[], $3::xid8[],"
             " $4::bigint[]) AS w (partition, epoch, xid, seq)"
             " JOIN {{schema}}.outbox_cut c ON c.partition = w.partition"
             " AND (c.epoch, c.xid, c.seq) > (w.epoch, w.xid, w.seq) LIMIT 1");

/* One good plan, which the lists do not change. */
CN_SQL_RELAY(SQL_FETCH_PLAN_ONCE,
             "SELECT set_config('plan_cache_mode', 'force_generic_plan',"
             " true)");

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
    COLUMN_OCCURRED_AT,
    COLUMN_PARTITION,
    COLUMN_TOTAL /* of the partitions alone */
};

/* ---- what is asked for ---- */

static bool s_position_read(const Evt__Position *message,
                            struct position *ret_position)
{
    if (message != NULL) {
        if (message->xid > INT64_MAX) {
            return false;
        }
        *ret_position =
            (struct position){ message->epoch, (int64_t)message->xid,
                               message->seq };
    }
    return true;
}

static void s_partition_add(struct cn_op *op,
                            struct fetch *fetch,
                            unsigned *seen,
                            int partition,
                            const Evt__Position *message)
{
    struct position after = { 0 };
    const size_t index = fetch->from_count;
    if (partition < 0 || partition >= CN_PARTITIONS ||
        (*seen & 1U << partition) != 0) {
        cn_refuse_field(op, "/partition", "invalid_value",
                        "no such partition, or named twice");
        return;
    }
    if (!s_position_read(message, &after)) {
        cn_refuse_field(op, "/after/xid", "invalid_value", "no such position");
        return;
    }
    *seen |= 1U << partition;
    fetch->from_count++;
    fetch->partitions[index] = partition;
    fetch->epochs[index] = after.epoch;
    fetch->xids[index] = after.xid;
    fetch->seqs[index] = after.seq;
}

static void s_partitions_read(struct cn_op *op,
                              const Evt__FetchRequest *body,
                              struct fetch *fetch)
{
    unsigned seen = 0;
    for (size_t i = 0; i < body->n_from && !cn_failed(op); i++) {
        const Evt__PartitionPosition *from = body->from[i];
        s_partition_add(op, fetch, &seen,
                        from->has_partition ? from->partition : -1,
                        from->after);
    }
    if (body->n_from == 0 && body->has_partition) {
        s_partition_add(op, fetch, &seen, body->partition, body->after);
    }
}

static void s_tenant_read(struct cn_op *op,
                          const Evt__FetchRequest *body,
                          struct fetch *fetch)
{
    if (!body->has_tenant_id) {
        return;
    }
    fetch->of_tenant = true;
    if (!cn_message_uuid(body->has_tenant_id, body->tenant_id,
                         &fetch->tenant_id) ||
        fetch->from_count > 0) {
        cn_refuse_field(op, "/tenant_id", "invalid_value",
                        "a tenant's events are of the whole log");
    }
}

static void s_fetch_read(struct cn_op *op,
                         const Evt__FetchRequest *body,
                         struct fetch *fetch)
{
    int64_t wait_ms = 0;
    s_partitions_read(op, body, fetch);
    s_tenant_read(op, body, fetch);
    if (fetch->from_count == 0 &&
        !s_position_read(body->after, &fetch->after)) {
        cn_refuse_field(op, "/after/xid", "invalid_value", "no such position");
    }
    fetch->limit =
        fetch->from_count > 0 ? CN_FETCH_TOTAL_MAX : CN_FETCH_LIMIT_MAX;
    if (body->has_limit && body->limit > 0 && body->limit < fetch->limit) {
        fetch->limit = body->limit;
    }
    if (body->has_wait_ms) {
        wait_ms = body->wait_ms < CN_FETCH_WAIT_MAX_MS ? body->wait_ms
                                                       : CN_FETCH_WAIT_MAX_MS;
    }
    fetch->wait_until = cn_clock_monotonic() + wait_ms * 1000;
    if (fetch->wait_until > cn_fiber_deadline() - REPLY_MARGIN_US) {
        fetch->wait_until = cn_fiber_deadline() - REPLY_MARGIN_US;
    }
    if (body->has_only_head && body->only_head) {
        /* Behind every position there is, so that no row is read. */
        fetch->after = (struct position){ INT32_MAX, INT64_MAX, INT64_MAX };
        fetch->wait_until = 0;
        fetch->only_head = true;
        fetch->from_count = 0;
    }
}

/* ---- the log ---- */

/* Of several partitions the rows say how many there were before the cut, and
 * one that fills its limit may have more. */
static bool s_rows_cut(const struct fetch *fetch, const struct cn_rows *rows)
{
    size_t count = cn_rows_count(rows);
    unsigned of[CN_PARTITIONS] = { 0 };
    if (fetch->from_count == 0) {
        return count == (size_t)fetch->limit;
    }
    if (count == 0) {
        return false;
    }
    if (cn_row_int(rows, 0, COLUMN_TOTAL) > (int64_t)count) {
        return true;
    }
    for (size_t row = 0; row < count; row++) {
        unsigned *number = &of[cn_row_int(rows, row, COLUMN_PARTITION)];
        if (++*number == CN_FETCH_PARTITION_MAX) {
            return true;
        }
    }
    return false;
}

/* Only a list of partitions is a consumer's; a reader of the whole log (the
 * gateway's stream) begins anew after each of its starts. */
static void s_reader_note(struct cn_outbox *self, const Evt__FetchRequest *body)
{
    for (size_t i = 0; body->consumer != NULL && i < body->n_from; i++) {
        const Evt__PartitionPosition *from = body->from[i];
        const Evt__Position *passed =
            from->applied != NULL ? from->applied : from->after;
        struct position at = { 0 };
        if (s_position_read(passed, &at)) {
            outbox_reader_note(self, body->consumer, from->partition, at);
        }
    }
}

/* The head and the rows in one unit: the head's snapshot is the older one, so
 * every event up to the head is among the rows unless they were cut. */
static struct page s_fetch_once(struct cn_op *op, const struct fetch *fetch)
{
    struct cn_outbox *self = op->env->outbox;
    struct page none = { .rows = cn_rows_none() };
    const struct cn_param head_params[] = { cn_int(self->epoch) };
    const struct cn_param log_params[] = {
        cn_int(fetch->after.epoch), cn_int(fetch->after.xid),
        cn_int(fetch->after.seq),   cn_int(self->epoch),
        cn_int(fetch->limit),       cn_uuid(fetch->tenant_id),
    };
    const struct cn_param from_params[] = {
        cn_numbers(op->arena, fetch->partitions, fetch->from_count),
        cn_numbers(op->arena, fetch->epochs, fetch->from_count),
        cn_numbers(op->arena, fetch->xids, fetch->from_count),
        cn_numbers(op->arena, fetch->seqs, fetch->from_count),
        cn_int(self->epoch),
        cn_int(fetch->limit),
    };
    struct cn_db_step log = { &SQL_OUTBOX_FETCH, log_params, 5 };
    if (fetch->of_tenant) {
        log = (struct cn_db_step){ &SQL_OUTBOX_FETCH_TENANT, log_params, 6 };
    } else if (fetch->from_count > 0) {
        log =
            (struct cn_db_step){ &SQL_OUTBOX_FETCH_PARTITIONS, from_params, 6 };
    }
    const struct cn_db_step steps[] = {
        { &SQL_FETCH_PLAN_ONCE, NULL, 0 },
        { outbox_statement_head(), head_params, 1 },
        log,
        { &SQL_OUTBOX_DELETED, from_params, 4 },
    };
    const bool by_partitions = fetch->from_count > 0;
    struct cn_db_result result = { 0 };
    /* Others may look later and return earlier: what they learn about the
     * horizon is not true of the rows of this fetch. */
    struct horizon horizon = self->horizon;
    int64_t at = self->env->now(self->env);

    if (cn_db_unit(self->env->db, CN_LANE_RELAY, op->arena, steps,
                   by_partitions ? 4 : 3, &result, op->err) != CN_OK) {
        (void)cn_wrap(op->err, "fetch");
        return none;
    }
    if (result.outcome != CN_COMMITTED) {
        cn_refuse(op, CN_UNAVAILABLE, NULL, "fetch: sqlstate %s",
                  result.sqlstate);
        return none;
    }
    outbox_observe(self, result.rows[1], at);
    outbox_horizon_move(&horizon, result.rows[1], at);
    return (struct page){ .rows = result.rows[2],
                          .head = outbox_row_position(result.rows[1], 0),
                          .complete_at = horizon.complete_at,
                          .cut = s_rows_cut(fetch, result.rows[2]),
                          .deleted = by_partitions &&
                                     cn_rows_count(result.rows[3]) > 0 };
}

static Evt__Position *s_position_message(struct cn_arena *arena,
                                         struct position position)
{
    Evt__Position *message = CN_NEW(arena, evt__position, Evt__Position);
    CN_SET(message, epoch, (int32_t)position.epoch);
    CN_SET(message, xid, (uint64_t)position.xid);
    CN_SET(message, seq, position.seq);
    return message;
}

/* The event of a row, its payload opened. */
static Evt__Event *
s_event_of_row(struct cn_op *op, const struct cn_rows *rows, size_t row)
{
    struct cn_arena *arena = op->arena;
    struct cn_uuid tenant = cn_row_uuid(rows, row, COLUMN_TENANT_ID);
    struct cn_bytes payload = { 0 };
    Evt__Event *event = CN_NEW(arena, evt__event, Evt__Event);
    if (cn_unseal(op->env, arena, tenant, op->env->outbox->context,
                  cn_row_bytes(rows, row, COLUMN_PAYLOAD), &payload,
                  op->err) != CN_OK) {
        (void)cn_wrap(op->err, "event");
        return event;
    }
    event->position = s_position_message(arena, outbox_row_position(rows, row));
    CN_SET(event, event_id,
           cn_message_id(arena, cn_row_uuid(rows, row, COLUMN_EVENT_ID)));
    CN_SET(event, tenant_id, cn_message_id(arena, tenant));
    CN_SET(event, aggregate_id,
           cn_message_id(arena, cn_row_uuid(rows, row, COLUMN_AGGREGATE_ID)));
    CN_SET(event, payload, cn_message_bytes(arena, payload));
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
    CN_SET(event, partition, (int32_t)cn_row_int(rows, row, COLUMN_PARTITION));
    return event;
}

/* The events of the rows, as many as a reply has room for; at least one. */
static void s_events(struct cn_op *op,
                     const struct cn_rows *rows,
                     size_t payload_max,
                     Evt__FetchResponse *body)
{
    size_t row_count = cn_rows_count(rows);
    size_t size = 0;
    body->events = cn_arena_array(op->arena, row_count, sizeof(Evt__Event *));
    for (size_t row = 0; row < row_count && !cn_failed(op); row++) {
        Evt__Event *event = s_event_of_row(op, rows, row);
        size += event->payload.len;
        if (size > payload_max && row > 0) {
            break;
        }
        body->events[body->n_events++] = event;
    }
}

/* A page that was cut, by the limit or by size, says nothing of what comes
 * after it: it has no complete_until. Of the whole log its last event is the
 * head then. */
static Evt__FetchResponse *s_fetch_response(struct cn_op *op,
                                            const struct fetch *fetch,
                                            const struct page *page)
{
    Evt__FetchResponse *body =
        CN_NEW(op->arena, evt__fetch_response, Evt__FetchResponse);
    struct position head = fetch->only_head
                               ? page->head
                               : outbox_position_max(fetch->after, page->head);
    if (page->deleted) {
        CN_SET(body, deleted, 1);
        return body;
    }
    s_events(op, page->rows,
             fetch->from_count > 0 ? CN_FETCH_REPLY_MAX : REPLY_PAYLOAD_MAX,
             body);
    const size_t count = body->n_events;
    const bool cut = page->cut || count < cn_rows_count(page->rows);
    if (fetch->from_count == 0 && count > 0) {
        struct position last = outbox_row_position(page->rows, count - 1);
        head = cut ? last : outbox_position_max(head, last);
    }
    if (!cut && page->complete_at > 0) {
        CN_SET(body, complete_until, page->complete_at - CN_OUTBOX_SLACK_US);
    }
    body->head = s_position_message(op->arena, head);
    return body;
}

/* Looks at the log until something is there or the wait is over. */
static struct page s_fetch_wait(struct cn_op *op, const struct fetch *fetch)
{
    for (;;) {
        struct page page = s_fetch_once(op, fetch);
        if (cn_failed(op) || cn_rows_count(page.rows) > 0 || page.deleted ||
            cn_clock_monotonic() >= fetch->wait_until) {
            return page;
        }
        enum cn_code rc = outbox_wait(
            op->env->outbox, op->arena,
            outbox_position_max(fetch->after, page.head), fetch->wait_until);
        if (rc != CN_OK && rc != CN_DEADLINE) {
            cn_refuse(op, rc, NULL, "fetch: the wait was ended");
        }
        if (rc != CN_OK) {
            return page;
        }
    }
}

void cn_outbox_fetch(struct cn_op *op)
{
    const struct cn_request *request = op->request;
    struct fetch fetch = { 0 };
    if (request->principal.subject != NULL &&
        request->principal.subject[0] != '\0') {
        cn_refuse(op, CN_FORBIDDEN, NULL, "events are for services");
    }
    s_fetch_read(op, request->body, &fetch);
    if (cn_failed(op)) {
        return;
    }
    s_reader_note(op->env->outbox, request->body);
    struct page page = s_fetch_wait(op, &fetch);
    if (!cn_failed(op)) {
        op->reply->body = &s_fetch_response(op, &fetch, &page)->base;
    }
}
