/* SPDX-License-Identifier: Apache-2.0 */
/* The position of a consumer: a row that is moved by compare-and-set. */
#include "common/consumer_internal.h"

#include "common/clock.h"
#include "common/fiber.h"

#include <assert.h>

int consumer_position_compare(struct consumer_position a,
                              struct consumer_position b)
{
    if (a.epoch != b.epoch) {
        return a.epoch < b.epoch ? -1 : 1;
    }
    if (a.xid != b.xid) {
        return a.xid < b.xid ? -1 : 1;
    }
    return a.seq == b.seq ? 0 : a.seq < b.seq ? -1 : 1;
}

CN_SQL_RELAY(SQL_POSITION_MAKE,
             "INSERT INTO {{schema}}.inbox_position"
             " (producer, partition, epoch, xid, seq)"
             " VALUES ($1, $2, 0, '0', 0) ON CONFLICT DO NOTHING");

CN_SQL_RELAY(SQL_POSITION_READ,
             "SELECT p.epoch, p.xid::text::bigint, p.seq"
             " FROM {{schema}}.inbox_position p"
             " WHERE p.producer = $1 AND p.partition = $2");

#define POSITION_SET                                                           \
    "UPDATE {{schema}}.inbox_position p SET epoch = $6, xid = $7, seq = $8,"   \
    " attempts = CASE WHEN $10 THEN p.attempts ELSE 0 END + $9"                \
    " WHERE p.producer = $1 AND p.partition = $2"                              \
    " AND (p.epoch, p.xid, p.seq) = ($3, $4, $5)"

CN_SQL_RELAY(SQL_POSITION_SET, POSITION_SET " RETURNING p.attempts");

/* The same as the end of a unit, which it rolls back if it does not match. */
CN_SQL_RELAY(SQL_POSITION_MOVE,
             "WITH moved AS (" POSITION_SET " RETURNING 1)"
             " SELECT {{schema}}.require(count(*) = 1,"
             " 'inbox_position_moved') FROM moved");

void consumer_move_params(const struct consumer *self,
                          struct consumer_position to,
                          int attempts,
                          bool keep,
                          struct cn_param params[CONSUMER_MOVE_PARAMS])
{
    params[0] = cn_text(self->subscription->producer);
    params[1] = cn_int(CONSUMER_ALL);
    params[2] = cn_int(self->at.epoch);
    params[3] = cn_int(self->at.xid);
    params[4] = cn_int(self->at.seq);
    params[5] = cn_int(to.epoch);
    params[6] = cn_int(to.xid);
    params[7] = cn_int(to.seq);
    params[8] = cn_int(attempts);
    params[9] = cn_bool(keep);
}

enum cn_code consumer_unit(const struct consumer *self,
                           struct cn_arena *arena,
                           const struct cn_db_step *steps,
                           size_t count,
                           struct cn_db_result *ret_result,
                           struct cn_err *err)
{
    struct cn_db_result result = { 0 };

    cn_fiber_set_deadline(cn_clock_monotonic() + CONSUMER_UNIT_BUDGET_US);
    enum cn_code rc = cn_db_unit(self->env->db, CN_LANE_RELAY, arena, steps,
                                 count, &result, err);
    cn_fiber_set_deadline(INT64_MAX);
    if (rc != CN_OK) {
        return rc;
    }
    if (result.outcome == CN_OUTCOME_UNKNOWN) {
        return cn_fail(err, CN_UNKNOWN, "position: outcome not known");
    }
    if (result.outcome == CN_ABORTED) {
        return cn_fail(err, cn_db_code(result.sqlstate),
                       "position: sqlstate %s", result.sqlstate);
    }
    *ret_result = result;
    return CN_OK;
}

enum cn_code consumer_position_load(struct consumer *self, struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    const struct cn_param params[] = {
        cn_text(self->subscription->producer),
        cn_int(CONSUMER_ALL),
    };
    const struct cn_db_step steps[] = { { &SQL_POSITION_MAKE, params, 2 },
                                        { &SQL_POSITION_READ, params, 2 } };
    struct cn_db_result result = { 0 };

    if (arena == NULL) {
        return cn_fail(err, CN_NOMEM, "consumer: no memory");
    }
    enum cn_code rc = consumer_unit(self, arena, steps, 2, &result, err);
    if (rc != CN_OK) {
        return rc;
    }
    assert(result.rows != NULL);
    const struct cn_rows *rows = result.rows[1];
    if (cn_rows_count(rows) != 1) {
        return cn_fail(err, CN_UNAVAILABLE, "position: it has gone");
    }
    struct consumer_position at = { cn_row_int(rows, 0, 0),
                                    cn_row_int(rows, 0, 1),
                                    cn_row_int(rows, 0, 2) };
    if (consumer_position_compare(at, self->at) != 0) {
        self->forgiven = false;
    }
    self->at = at;
    self->known = true;
    return CN_OK;
}

const struct cn_statement *consumer_statement_set(void)
{
    return &SQL_POSITION_SET;
}

const struct cn_statement *consumer_statement_move(void)
{
    return &SQL_POSITION_MOVE;
}
