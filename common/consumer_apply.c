/* SPDX-License-Identifier: Apache-2.0 */
/* A batch of events: each effect with the move of the position in one unit.
 *
 * inbox_position.attempts counts the attempts begun of the next event that has
 * a handler. It is counted before the attempt, for an event that kills the
 * process must count too: the first of a batch by a unit of its own, the others
 * by the unit of the event before them. An event without effect moves nothing,
 * so the one after it is not counted; after a failure (attempts > 1) the batch
 * is taken carefully, every move and every count at once, and the culprit
 * stands alone. */
#include "common/consumer_internal.h"

#include "common/clock.h"
#include "common/db.h"
#include "common/fiber.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/message.h"
#include "common/write.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { STALE_AGAIN_MAX = 10, ERROR_TEXT_MAX = 112, METHOD_TEXT_MAX = 96 };

/* An event of the batch that is not behind us yet. */
struct entry {
    const Evt__Event *event;
    struct consumer_position position;
    const struct cn_event_handler *handler; /* NULL: to be skipped */
    const struct cn_event_shape *shape;
    struct cn_uuid event_id;
    struct cn_uuid tenant_id;
    struct cn_uuid aggregate_id;
    bool blocked; /* its aggregate has a dead letter */
};

struct batch {
    struct consumer *consumer;
    struct cn_arena *arena;
    struct entry *entries;
    size_t count;
    /* Done up to here; at or after the committed position. */
    struct consumer_position done;
    int attempts; /* of the next handled event, if it is counted */
    bool counted;
    bool careful;
};

/* ---- the position ---- */

/* The failure of a position that another replica has moved: not a trouble. */
static enum cn_code s_moved(struct cn_err *err)
{
    return cn_fail_as(err, CN_CONFLICT, "inbox_position_moved",
                      "another replica goes on from here");
}

static bool s_is_moved(enum cn_code rc, const struct cn_err *err)
{
    return rc == CN_CONFLICT && strcmp(err->word, "inbox_position_moved") == 0;
}

/* Moves the position to where the batch is done, in a unit of its own. */
static enum cn_code
s_move(struct batch *batch, int attempts, bool keep, struct cn_err *err)
{
    struct consumer *self = batch->consumer;
    struct cn_param params[CONSUMER_MOVE_PARAMS];
    const struct cn_db_step step = { consumer_statement_set(), params,
                                     CONSUMER_MOVE_PARAMS };
    struct cn_db_result result = { 0 };

    consumer_move_params(self, batch->done, attempts, keep, params);
    enum cn_code rc = consumer_unit(self, batch->arena, &step, 1, &result, err);
    if (rc != CN_OK) {
        return rc;
    }
    assert(result.rows != NULL);
    if (cn_rows_count(result.rows[0]) != 1) {
        return s_moved(err);
    }
    self->at = batch->done;
    batch->attempts = (int)cn_row_int(result.rows[0], 0, 0);
    batch->counted = batch->attempts > 0;
    return CN_OK;
}

/* ---- reading the batch ---- */

static bool s_id_read(protobuf_c_boolean has,
                      ProtobufCBinaryData data,
                      struct cn_uuid *ret_id)
{
    if (!has || data.len != sizeof(ret_id->bytes)) {
        return false;
    }
    memcpy(ret_id->bytes, data.data, sizeof(ret_id->bytes));
    return true;
}

static const struct cn_event_handler *
s_handler_find(const struct cn_subscription *subscription, const char *type)
{
    for (size_t i = 0; i < subscription->handler_count; i++) {
        if (strcmp(subscription->handlers[i].type, type) == 0) {
            return &subscription->handlers[i];
        }
    }
    return NULL;
}

static const struct cn_event_shape *
s_shape_find(const struct cn_subscription *subscription, const char *type)
{
    for (size_t i = 0; i < subscription->event_count; i++) {
        if (strcmp(subscription->events[i].type, type) == 0) {
            return &subscription->events[i];
        }
    }
    return NULL;
}

static enum cn_code s_entry_read(const struct cn_subscription *subscription,
                                 const Evt__Event *event,
                                 struct entry *ret_entry,
                                 struct cn_err *err)
{
    struct entry entry = { .event = event };

    if (event->position == NULL || event->position->xid > INT64_MAX ||
        event->type == NULL || event->aggregate_type == NULL ||
        !s_id_read(event->has_event_id, event->event_id, &entry.event_id) ||
        !s_id_read(event->has_tenant_id, event->tenant_id, &entry.tenant_id) ||
        !s_id_read(event->has_aggregate_id, event->aggregate_id,
                   &entry.aggregate_id)) {
        return cn_fail(err, CN_MALFORMED, "an event without its ids");
    }
    entry.position = (struct consumer_position){
        event->position->epoch,
        (int64_t)event->position->xid,
        event->position->seq,
    };
    entry.handler = s_handler_find(subscription, event->type);
    entry.shape = s_shape_find(subscription, event->type);
    *ret_entry = entry;
    return CN_OK;
}

/* Takes the events after the position, in their order. */
static enum cn_code s_batch_read(struct batch *batch,
                                 const Evt__FetchResponse *response,
                                 struct cn_err *err)
{
    struct consumer *self = batch->consumer;
    struct consumer_position last = self->at;

    batch->done = self->at;
    batch->entries = cn_arena_array(batch->arena, response->n_events + 1,
                                    sizeof(struct entry));
    if (batch->entries == NULL) {
        return cn_fail(err, CN_NOMEM, "consumer: no memory");
    }
    for (size_t i = 0; i < response->n_events; i++) {
        struct entry entry = { 0 };
        enum cn_code rc =
            s_entry_read(self->subscription, response->events[i], &entry, err);
        if (rc != CN_OK) {
            return rc;
        }
        if (consumer_position_compare(entry.position, last) > 0) {
            batch->entries[batch->count++] = entry;
            last = entry.position;
        }
    }
    return CN_OK;
}

/* ---- the beginning: count the attempt, find the blocked aggregates ---- */

CN_SQL_RELAY(SQL_DEAD_LETTER_BLOCKS,
             "SELECT DISTINCT d.tenant_id, d.aggregate_type, d.aggregate_id"
             " FROM unnest($2::uuid[], $3::text[], $4::uuid[])"
             " AS w (tenant_id, aggregate_type, aggregate_id)"
             " JOIN {{schema}}.dead_letter d ON d.tenant_id = w.tenant_id"
             " AND d.producer = $1 AND d.aggregate_type = w.aggregate_type"
             " AND d.aggregate_id = w.aggregate_id");

static bool
s_is_of(const struct entry *entry, const struct cn_rows *rows, size_t row)
{
    return cn_uuid_equal(entry->aggregate_id, cn_row_uuid(rows, row, 2)) &&
           cn_uuid_equal(entry->tenant_id, cn_row_uuid(rows, row, 0)) &&
           strcmp(entry->event->aggregate_type, cn_row_text(rows, row, 1)) == 0;
}

static void s_block(struct batch *batch, const struct cn_rows *rows)
{
    for (size_t i = 0; i < batch->count; i++) {
        struct entry *entry = &batch->entries[i];
        for (size_t row = 0; row < cn_rows_count(rows); row++) {
            entry->blocked = entry->blocked || s_is_of(entry, rows, row);
        }
    }
}

static enum cn_code
s_batch_begin(struct batch *batch, size_t handled, struct cn_err *err)
{
    struct consumer *self = batch->consumer;
    struct cn_uuid *tenants =
        cn_arena_array(batch->arena, handled, sizeof(*tenants));
    const char **types = cn_arena_array(batch->arena, handled, sizeof(*types));
    struct cn_uuid *ids = cn_arena_array(batch->arena, handled, sizeof(*ids));
    struct cn_param move[CONSUMER_MOVE_PARAMS];
    struct cn_db_result result = { 0 };
    size_t count = 0;

    if (tenants == NULL || types == NULL || ids == NULL) {
        return cn_fail(err, CN_NOMEM, "consumer: no memory");
    }
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->entries[i].handler != NULL) {
            tenants[count] = batch->entries[i].tenant_id;
            types[count] = batch->entries[i].event->aggregate_type;
            ids[count] = batch->entries[i].aggregate_id;
            count++;
        }
    }
    consumer_move_params(self, self->at, self->forgiven ? 0 : 1, true, move);
    const struct cn_param blocks[] = {
        cn_text(self->subscription->producer),
        cn_uuids(tenants, count),
        cn_texts(types, count),
        cn_uuids(ids, count),
    };
    const struct cn_db_step steps[] = {
        { consumer_statement_set(), move, CONSUMER_MOVE_PARAMS },
        { &SQL_DEAD_LETTER_BLOCKS, blocks, 4 },
    };
    enum cn_code rc = consumer_unit(self, batch->arena, steps, 2, &result, err);
    if (rc != CN_OK) {
        return rc;
    }
    assert(result.rows != NULL);
    if (cn_rows_count(result.rows[0]) != 1) {
        return s_moved(err);
    }
    self->forgiven = false;
    batch->attempts = (int)cn_row_int(result.rows[0], 0, 0);
    batch->counted = batch->attempts > 0;
    batch->careful = batch->attempts > 1;
    s_block(batch, result.rows[1]);
    return CN_OK;
}

/* ---- one event ---- */

/* The last step of the unit: from the committed position to this event. The
 * event after it is counted as begun if this batch goes on to it. */
static void s_position_add(const struct batch *batch,
                           const struct entry *entry,
                           bool more,
                           struct cn_write *write)
{
    struct cn_param params[CONSUMER_MOVE_PARAMS];

    consumer_move_params(batch->consumer, entry->position, more ? 1 : 0, false,
                         params);
    cn_write_position(write, consumer_statement_move(), params,
                      CONSUMER_MOVE_PARAMS);
}

static void
s_position_added(struct batch *batch, const struct entry *entry, bool more)
{
    batch->consumer->at = entry->position;
    batch->done = entry->position;
    batch->attempts = more ? 1 : 0;
    batch->counted = more;
}

static struct cn_event s_event(const struct batch *batch,
                               const struct entry *entry,
                               struct cn_arena *arena)
{
    const Evt__Event *event = entry->event;
    struct cn_env *env = batch->consumer->env;

    return (struct cn_event){
        .env = env,
        .producer = batch->consumer->subscription->producer,
        .type = event->type,
        .event_id = entry->event_id,
        .tenant_id = entry->tenant_id,
        .aggregate_type = event->aggregate_type,
        .aggregate_id = entry->aggregate_id,
        .aggregate_seq = event->aggregate_seq,
        .occurred_at = event->occurred_at,
        .correlation_id = event->correlation_id,
        .now_at = env->now(env),
        .arena = arena,
    };
}

/* One run of the handler and its unit. */
static enum cn_code s_effect_try(struct batch *batch,
                                 const struct entry *entry,
                                 bool more,
                                 bool *ret_effect,
                                 struct cn_err *err)
{
    const struct consumer *self = batch->consumer;
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    const ProtobufCMessage *payload = NULL;

    if (arena == NULL) {
        return cn_fail(err, CN_NOMEM, "event: no memory");
    }
    if (entry->shape == NULL) {
        return cn_fail(err, CN_INTERNAL, "event: its type has no shape");
    }
    struct cn_event event = s_event(batch, entry, arena);
    enum cn_code rc =
        cn_message_unpack(arena, entry->shape->payload->descriptor,
                          (struct cn_bytes){ entry->event->payload.data,
                                             entry->event->payload.len },
                          &payload, err);
    if (rc != CN_OK) {
        return rc;
    }
    event.payload = payload;
    struct cn_write *write = cn_write_begin_event(self->env, arena, &event);
    if (write == NULL) {
        return cn_fail(err, CN_NOMEM, "event: no memory");
    }
    rc = entry->handler->handler(self->service->self, &event, write, err);
    if (rc != CN_OK) {
        return rc;
    }
    *ret_effect = !cn_write_empty(write);
    if (!*ret_effect) {
        return CN_OK;
    }
    s_position_add(batch, entry, more, write);
    return cn_write_commit(write, err);
}

static enum cn_code s_handle(struct batch *batch,
                             const struct entry *entry,
                             bool more,
                             struct cn_err *err)
{
    bool effect = false;
    enum cn_code rc = CN_STALE;

    /* The budget covers all runs of the handler. */
    cn_fiber_set_deadline(cn_clock_monotonic() + CN_EVENT_BUDGET_US);
    for (unsigned i = 0; i <= STALE_AGAIN_MAX && rc == CN_STALE; i++) {
        cn_err_clear(err);
        rc = s_effect_try(batch, entry, more, &effect, err);
    }
    cn_fiber_set_deadline(INT64_MAX);
    if (rc != CN_OK) {
        return rc;
    }
    batch->consumer->passing = 0;
    if (effect) {
        s_position_added(batch, entry, more);
        return CN_OK;
    }
    batch->done = entry->position;
    batch->counted = false;
    return batch->careful ? s_move(batch, more ? 1 : 0, false, err) : CN_OK;
}

/* ---- failures ---- */

CN_SQL_RELAY(SQL_DEAD_LETTER_ADD,
             "INSERT INTO {{schema}}.dead_letter (tenant_id, event_id,"
             " producer, aggregate_type, aggregate_id, aggregate_seq, type,"
             " error, epoch, xid, seq, created_at)"
             " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
             " ON CONFLICT DO NOTHING");

/* Puts the event aside and moves the position over it. */
static enum cn_code s_bury(struct batch *batch,
                           const struct entry *entry,
                           bool more,
                           const char *error,
                           struct cn_err *err)
{
    const struct consumer *self = batch->consumer;
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);

    if (arena == NULL) {
        return cn_fail(err, CN_NOMEM, "dead letter: no memory");
    }
    struct cn_event event = s_event(batch, entry, arena);
    struct cn_write *write = cn_write_begin_event(self->env, arena, &event);
    if (write == NULL) {
        return cn_fail(err, CN_NOMEM, "dead letter: no memory");
    }
    CN_CHANGE(write, &SQL_DEAD_LETTER_ADD, cn_uuid(event.tenant_id),
              cn_uuid(event.event_id), cn_text(event.producer),
              cn_text(event.aggregate_type), cn_uuid(event.aggregate_id),
              cn_int(event.aggregate_seq), cn_text(event.type), cn_text(error),
              cn_int(entry->position.epoch), cn_int(entry->position.xid),
              cn_int(entry->position.seq), cn_at(event.now_at));
    s_position_add(batch, entry, more, write);
    cn_fiber_set_deadline(cn_clock_monotonic() + CONSUMER_UNIT_BUDGET_US);
    enum cn_code rc = cn_write_commit(write, err);
    cn_fiber_set_deadline(INT64_MAX);
    if (rc != CN_OK) {
        return rc;
    }
    cn_log(CN_LOG_ERROR, "dead letter from %s: %s: %s", event.producer,
           entry->handler->type, error);
    s_position_added(batch, entry, more);
    return CN_OK;
}

static bool s_may_pass(enum cn_code rc)
{
    return cn_code_retryable(rc) || rc == CN_STALE;
}

static void s_log_failure(const struct entry *entry,
                          const struct cn_err *err,
                          int64_t since)
{
    char tenant[CN_UUID_TEXT_SIZE];
    char method[METHOD_TEXT_MAX];

    cn_uuid_format(entry->tenant_id, tenant);
    (void)snprintf(method, sizeof(method), "event/%s", entry->handler->type);
    cn_log_request(entry->event->correlation_id, tenant, method, err,
                   cn_clock_monotonic() - since);
}

/* Counts the failed attempt, or puts the event aside after the last one. The
 * batch ends here in any case; the failure is the caller's to return, unless
 * the event is aside and the next fetch goes on at once. */
static enum cn_code s_fail(struct batch *batch,
                           const struct entry *entry,
                           enum cn_code rc,
                           struct cn_err *err)
{
    struct consumer *self = batch->consumer;
    struct cn_err other = { 0 };

    if (s_may_pass(rc) && self->passing < CN_EVENT_PASSING_MAX) {
        self->passing++;
        self->forgiven = batch->counted;
        return rc;
    }
    if (!batch->counted) {
        /* This attempt, at the place where it was made. */
        enum cn_code move_rc = s_move(batch, 1, false, &other);
        if (move_rc != CN_OK) {
            *err = other;
            return move_rc;
        }
        return rc;
    }
    if (batch->attempts < CN_EVENT_ATTEMPTS_MAX) {
        return rc;
    }
    char error[ERROR_TEXT_MAX];
    (void)snprintf(error, sizeof(error), "%s: %s", cn_code_word(rc), err->word);
    enum cn_code bury_rc = s_bury(batch, entry, false, error, &other);
    if (bury_rc != CN_OK) {
        *err = other;
        return bury_rc;
    }
    self->passing = 0;
    return CN_OK;
}

/* ---- the batch ---- */

static bool s_more(const struct batch *batch, size_t from)
{
    for (size_t i = from; i < batch->count; i++) {
        if (batch->entries[i].handler != NULL) {
            return true;
        }
    }
    return false;
}

/* One entry. ret_ended: it was put aside after a failure, the batch is over. */
static enum cn_code s_entry_apply(struct batch *batch,
                                  size_t index,
                                  bool *ret_ended,
                                  struct cn_err *err)
{
    const struct entry *entry = &batch->entries[index];
    bool more = s_more(batch, index + 1);
    int64_t since = cn_clock_monotonic();
    enum cn_code rc = CN_OK;

    if (entry->handler == NULL) {
        batch->consumer->skipped++;
        batch->done = entry->position;
        return CN_OK;
    }
    if (entry->blocked) {
        return s_bury(batch, entry, more, "blocked: aggregate", err);
    }
    if (batch->careful && !batch->counted) {
        rc = s_move(batch, 1, false, err);
        if (rc != CN_OK) {
            return rc;
        }
    }
    if (batch->counted && batch->attempts > CN_EVENT_ATTEMPTS_MAX) {
        return s_bury(batch, entry, more, "killed: process", err);
    }
    rc = s_handle(batch, entry, more, err);
    if (rc == CN_OK || s_is_moved(rc, err) ||
        cn_loop_stopping(batch->consumer->env->loop)) {
        return rc;
    }
    err->code = rc;
    s_log_failure(entry, err, since);
    *ret_ended = true;
    return s_fail(batch, entry, rc, err);
}

static enum cn_code s_batch_apply(struct batch *batch, struct cn_err *err)
{
    const struct consumer *self = batch->consumer;
    bool ended = false;

    for (size_t i = 0; i < batch->count && !ended; i++) {
        if (cn_loop_stopping(self->env->loop)) {
            return CN_OK;
        }
        enum cn_code rc = s_entry_apply(batch, i, &ended, err);
        if (rc != CN_OK) {
            return rc;
        }
    }
    /* What was skipped or had no effect at the end. */
    if (consumer_position_compare(batch->done, self->at) > 0) {
        return s_move(batch, 0, false, err);
    }
    return CN_OK;
}

enum cn_code consumer_apply(struct consumer *self,
                            struct cn_arena *arena,
                            const Evt__FetchResponse *response,
                            struct cn_err *err)
{
    struct batch batch = { .consumer = self, .arena = arena };
    size_t handled = 0;

    enum cn_code rc = s_batch_read(&batch, response, err);
    if (rc != CN_OK) {
        return rc;
    }
    for (size_t i = 0; i < batch.count; i++) {
        handled += batch.entries[i].handler != NULL;
    }
    if (handled > 0) {
        rc = s_batch_begin(&batch, handled, err);
    }
    if (rc == CN_OK) {
        rc = s_batch_apply(&batch, err);
    }
    if (s_is_moved(rc, err)) {
        /* Not ours any more: read where it is and go on from there. */
        self->known = false;
        return CN_OK;
    }
    return rc;
}
