/* SPDX-License-Identifier: Apache-2.0 */
/* A run of one partition, event by event: each effect with the move of the
 * position in one unit.
 *
 * The first event was counted with the job, the others are counted by the unit
 * of the event before them. An event without effect moves nothing, so the one
 * after it is not counted; a careful run makes every move and every count at
 * once. */
#include "common/inbox/consumer_internal.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/store/write.h"

#include <stdio.h>

/* ---- the position ---- */

/* The failure of a position that another replica has moved: not a trouble. */
static enum cn_code s_moved(struct cn_err *err)
{
    return cn_fail_as(err, CN_CONFLICT, "inbox_position_moved",
                      "another replica goes on from here");
}

/* Moves the position to where the run is done, in a unit of its own. */
static enum cn_code s_move(struct run *run,
                           struct cn_arena *arena,
                           int attempts,
                           struct cn_err *err)
{
    struct partition *self = run->partition;
    struct cn_param params[CONSUMER_MOVE_PARAMS];
    const struct cn_db_step step = { consumer_statement_set(), params,
                                     CONSUMER_MOVE_PARAMS };
    struct cn_db_result result = { 0 };
    consumer_move_params(self, run->done, attempts, params);
    enum cn_code rc =
        consumer_unit(self->consumer, arena, &step, 1, &result, err);
    if (rc != CN_OK) {
        return rc;
    }
    if (cn_rows_count(result.rows[0]) != 1) {
        return s_moved(err);
    }
    self->at = run->done;
    run->attempts = attempts;
    run->counted = attempts > 0;
    return CN_OK;
}

/* ---- one event ---- */

/* The last step of the unit: from the committed position to this event. The
 * event after it is counted as begun if this run goes on to it. */
static void s_position_add(const struct run *run,
                           const struct entry *entry,
                           bool more,
                           struct cn_write *write)
{
    struct cn_param params[CONSUMER_MOVE_PARAMS];
    consumer_move_params(run->partition, entry->position, more ? 1 : 0, params);
    cn_write_position(write, consumer_statement_move(), params,
                      CONSUMER_MOVE_PARAMS);
}

static void
s_position_added(struct run *run, const struct entry *entry, bool more)
{
    run->partition->at = entry->position;
    run->done = entry->position;
    run->attempts = more ? 1 : 0;
    run->counted = more;
}

/* One run of the handler and its unit. */
static enum cn_code s_effect_try(struct run *run,
                                 const struct entry *entry,
                                 bool more,
                                 bool *ret_effect,
                                 struct cn_err *err)
{
    const struct consumer *self = run->partition->consumer;
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    if (arena == NULL) {
        return cn_fail(err, CN_NOMEM, "event: no memory");
    }
    struct cn_event event =
        consumer_event(self->env, self->subscription, entry, arena);
    enum cn_code rc = consumer_event_open(entry, &event, err);
    if (rc != CN_OK) {
        return rc;
    }
    struct cn_write *write = cn_write_begin_event(self->env, arena, &event);
    rc = cn_event_handle(self->service, entry->handler, &event, write, err);
    if (rc != CN_OK) {
        return rc;
    }
    *ret_effect = !cn_write_empty(write);
    if (!*ret_effect) {
        return CN_OK;
    }
    s_position_add(run, entry, more, write);
    return cn_write_commit(write, err);
}

static enum cn_code s_handle(struct run *run,
                             struct cn_arena *arena,
                             const struct entry *entry,
                             bool more,
                             struct cn_err *err)
{
    bool effect = false;
    enum cn_code rc = CN_STALE;
    /* The budget covers all runs of the handler. */
    cn_fiber_set_deadline(cn_clock_monotonic() + CN_EVENT_BUDGET_US);
    for (unsigned i = 0; i <= CONSUMER_STALE_AGAIN_MAX && rc == CN_STALE; i++) {
        cn_err_clear(err);
        rc = s_effect_try(run, entry, more, &effect, err);
    }
    cn_fiber_set_deadline(INT64_MAX);
    if (rc != CN_OK) {
        return rc;
    }
    run->partition->passing = 0;
    run->partition->consumer->counts.effects++;
    if (effect) {
        s_position_added(run, entry, more);
        return CN_OK;
    }
    run->done = entry->position;
    run->counted = false;
    return run->careful ? s_move(run, arena, more ? 1 : 0, err) : CN_OK;
}

/* ---- failures ---- */

CN_SQL_RELAY(SQL_DEAD_LETTER_ADD,
             "INSERT INTO {{schema}}.dead_letter (tenant_id, event_id,"
             " producer, aggregate_type, aggregate_id, aggregate_seq, type,"
             " error, epoch, xid, seq, created_at)"
             " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
             " ON CONFLICT DO NOTHING");

/* Puts the event aside and moves the position over it. */
static enum cn_code s_bury(struct run *run,
                           const struct entry *entry,
                           bool more,
                           const char *error,
                           struct cn_err *err)
{
    struct consumer *self = run->partition->consumer;
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    if (arena == NULL) {
        return cn_fail(err, CN_NOMEM, "dead letter: no memory");
    }
    struct cn_event event =
        consumer_event(self->env, self->subscription, entry, arena);
    struct cn_write *write = cn_write_begin_event(self->env, arena, &event);
    CN_CHANGE(write, &SQL_DEAD_LETTER_ADD, cn_uuid(event.tenant_id),
              cn_uuid(event.event_id), cn_text(event.producer),
              cn_text(event.aggregate_type), cn_uuid(event.aggregate_id),
              cn_int(event.aggregate_seq), cn_text(event.type), cn_text(error),
              cn_int(entry->position.epoch), cn_int(entry->position.xid),
              cn_int(entry->position.seq), cn_at(event.now_at));
    s_position_add(run, entry, more, write);
    cn_fiber_set_deadline(cn_clock_monotonic() + CONSUMER_UNIT_BUDGET_US);
    enum cn_code rc = cn_write_commit(write, err);
    cn_fiber_set_deadline(INT64_MAX);
    if (rc != CN_OK) {
        return rc;
    }
    char id[CN_UUID_TEXT_SIZE];
    cn_uuid_format(event.event_id, id);
    cn_log(CN_LOG_ERROR, "dead letter from %s: %s, event %s: %s",
           event.producer, entry->handler->type, id, error);
    self->counts.dead_letters++;
    s_position_added(run, entry, more);
    return CN_OK;
}

static void s_log_failure(const struct entry *entry,
                          const struct cn_err *err,
                          int64_t since)
{
    char method[CONSUMER_METHOD_TEXT_MAX];
    (void)snprintf(method, sizeof(method), "event/%s", entry->handler->type);
    cn_log_request(entry->event->correlation_id, entry->tenant_id, method, err,
                   cn_clock_monotonic() - since);
}

/* Counts the failed attempt, or puts the event aside after the last one. The
 * run ends here in any case; the failure is the caller's to return, unless
 * the event is aside and the next fetch goes on at once. */
static enum cn_code s_fail(struct run *run,
                           struct cn_arena *arena,
                           const struct entry *entry,
                           enum cn_code rc,
                           struct cn_err *err)
{
    struct partition *self = run->partition;
    struct cn_err other = { 0 };
    self->consumer->counts.failures++;
    if (consumer_may_pass(rc) && self->passing < CN_EVENT_PASSING_MAX) {
        self->passing++;
        self->forgiven = run->counted;
        return rc;
    }
    if (!run->counted) {
        /* This attempt, at the place where it was made. */
        enum cn_code move_rc = s_move(run, arena, 1, &other);
        if (move_rc != CN_OK) {
            *err = other;
            return move_rc;
        }
        return rc;
    }
    if (run->attempts < CN_EVENT_ATTEMPTS_MAX) {
        return rc;
    }
    char error[CONSUMER_ERROR_TEXT_MAX];
    (void)snprintf(error, sizeof(error), "%s: %s", cn_code_word(rc), err->word);
    enum cn_code bury_rc = s_bury(run, entry, false, error, &other);
    if (bury_rc != CN_OK) {
        *err = other;
        return bury_rc;
    }
    self->passing = 0;
    return CN_OK;
}

/* ---- the run ---- */

static bool s_more(const struct run *run, size_t from)
{
    for (size_t i = from; i < run->count; i++) {
        if (run->entries[i]->handler != NULL) {
            return true;
        }
    }
    return false;
}

/* One entry. ret_ended: it was put aside after a failure, the run is over. */
static enum cn_code s_entry_apply(struct run *run,
                                  struct cn_arena *arena,
                                  size_t index,
                                  bool *ret_ended,
                                  struct cn_err *err)
{
    const struct entry *entry = run->entries[index];
    bool more = s_more(run, index + 1);
    int64_t since = cn_clock_monotonic();
    enum cn_code rc = CN_OK;
    if (entry->handler == NULL) {
        run->partition->consumer->counts.skipped++;
        run->done = entry->position;
        return CN_OK;
    }
    if (entry->blocked) {
        return s_bury(run, entry, more, "blocked: aggregate", err);
    }
    if (run->careful && !run->counted) {
        rc = s_move(run, arena, 1, err);
        if (rc != CN_OK) {
            return rc;
        }
    }
    if (run->counted && run->attempts > CN_EVENT_ATTEMPTS_MAX) {
        return s_bury(run, entry, more, "killed: process", err);
    }
    rc = s_handle(run, arena, entry, more, err);
    if (rc == CN_OK || consumer_is_moved(rc, err) ||
        consumer_stopping(run->partition->consumer)) {
        return rc;
    }
    err->code = rc;
    s_log_failure(entry, err, since);
    *ret_ended = true;
    return s_fail(run, arena, entry, rc, err);
}

enum cn_code
run_apply(struct run *run, struct cn_arena *arena, struct cn_err *err)
{
    const struct partition *self = run->partition;
    bool ended = false;
    for (size_t i = 0; i < run->count && !ended; i++) {
        if (consumer_stopping(self->consumer)) {
            return CN_OK;
        }
        enum cn_code rc = s_entry_apply(run, arena, i, &ended, err);
        if (rc != CN_OK) {
            return rc;
        }
    }
    /* What was skipped or had no effect at the end. */
    if (consumer_position_compare(run->done, self->at) > 0) {
        return s_move(run, arena, 0, err);
    }
    return CN_OK;
}
