/* SPDX-License-Identifier: Apache-2.0 */
/* The positions of a consumer: a row per partition, moved by
 * compare-and-set. */
#include "common/inbox/consumer_internal.h"

#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/store/write.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { STEPS_MAX = 4 };

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

/* ---- units ---- */

CN_SQL_RELAY(SQL_CONSUMER_ASYNC,
             "SELECT set_config('synchronous_commit', 'off', true),"
             " set_config('plan_cache_mode', 'force_generic_plan', true)");

enum cn_code consumer_unit(const struct consumer *self,
                           struct cn_arena *arena,
                           const struct cn_db_step *steps,
                           size_t count,
                           struct cn_db_result *ret_result,
                           struct cn_err *err)
{
    struct cn_db_step all[STEPS_MAX] = { { &SQL_CONSUMER_ASYNC, NULL, 0 } };
    struct cn_db_result result = { 0 };
    assert(count < STEPS_MAX);
    memcpy(&all[1], steps, count * sizeof(*steps));
    cn_fiber_set_deadline(cn_clock_monotonic() + CONSUMER_UNIT_BUDGET_US);
    enum cn_code rc = cn_db_unit(self->env->db, CN_LANE_RELAY, arena, all,
                                 count + 1, &result, err);
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
    result.rows++; /* of the steps given */
    *ret_result = result;
    return CN_OK;
}

/* ---- where they are ---- */

CN_SQL_RELAY(SQL_POSITIONS_READ,
             "SELECT p.partition, p.epoch, p.xid::text::bigint, p.seq"
             " FROM {{schema}}.inbox_position p WHERE p.producer = $1"
             " AND p.partition = ANY ($2::int[])");

static void s_position_known(struct partition *self,
                             struct consumer_position at)
{
    if (consumer_position_compare(at, self->at) != 0) {
        self->forgiven = false;
    }
    if (!self->known || consumer_position_compare(at, self->at) < 0) {
        partition_drop(self);
    }
    self->at = at;
    self->known = true;
    if (consumer_position_compare(at, self->fetched) > 0 || self->queued == 0) {
        self->fetched = at;
    }
    partition_passed(self);
}

enum cn_code
consumer_positions_load(struct consumer *self, unsigned set, struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    int64_t numbers[CN_PARTITIONS];
    struct cn_db_result result = { 0 };
    size_t count = 0;
    if (arena == NULL) {
        return cn_fail(err, CN_NOMEM, "consumer: no memory");
    }
    for (int n = 0; n < CN_PARTITIONS; n++) {
        if ((set & 1U << n) != 0) {
            numbers[count++] = n;
        }
    }
    const struct cn_param params[] = {
        cn_text(self->subscription->producer),
        cn_numbers(arena, numbers, count),
    };
    const struct cn_db_step step = { &SQL_POSITIONS_READ, params, 2 };
    enum cn_code rc = consumer_unit(self, arena, &step, 1, &result, err);
    if (rc != CN_OK) {
        return rc;
    }
    const struct cn_rows *rows = result.rows[0];
    for (size_t row = 0; row < cn_rows_count(rows); row++) {
        s_position_known(&self->partitions[cn_row_int(rows, row, 0)],
                         (struct consumer_position){
                             cn_row_int(rows, row, 1), cn_row_int(rows, row, 2),
                             cn_row_int(rows, row, 3) });
    }
    return CN_OK;
}

/* ---- one moved ---- */

/* No position moves while copies are being rebuilt (consumer_snapshot.c): what
 * would be done with the move may have read what is not there yet. */
#define NO_REBUILD                                                             \
    " AND NOT EXISTS (SELECT 1 FROM {{schema}}.rebuild b"                      \
    " WHERE b.ended_at IS NULL)"

#define POSITION_SET                                                           \
    "UPDATE {{schema}}.inbox_position p SET epoch = $6, xid = $7, seq = $8,"   \
    " attempts = $9"                                                           \
    " WHERE p.producer = $1 AND p.partition = $2"                              \
    " AND (p.epoch, p.xid, p.seq) = ($3, $4, $5)" NO_REBUILD " RETURNING 1"

CN_SQL_RELAY(SQL_POSITION_SET, POSITION_SET);

/* The same as the end of a unit, which it rolls back if it does not match. */
CN_SQL_RELAY(SQL_POSITION_MOVE,
             "WITH moved AS (" POSITION_SET ")"
             " SELECT {{schema}}.require(count(*) = 1,"
             " 'inbox_position_moved') FROM moved");

const struct cn_statement *consumer_statement_set(void)
{
    return &SQL_POSITION_SET;
}

const struct cn_statement *consumer_statement_move(void)
{
    return &SQL_POSITION_MOVE;
}

void consumer_move_params(const struct partition *partition,
                          struct consumer_position to,
                          int attempts,
                          struct cn_param params[CONSUMER_MOVE_PARAMS])
{
    params[0] = cn_text(partition->consumer->subscription->producer);
    params[1] = cn_int(partition->number);
    params[2] = cn_int(partition->at.epoch);
    params[3] = cn_int(partition->at.xid);
    params[4] = cn_int(partition->at.seq);
    params[5] = cn_int(to.epoch);
    params[6] = cn_int(to.xid);
    params[7] = cn_int(to.seq);
    params[8] = cn_int(attempts);
}

/* ---- several ---- */

CN_SQL_RELAY(
    SQL_POSITIONS_MOVE,
    "WITH moved AS (UPDATE {{schema}}.inbox_position p SET epoch = m.epoch,"
    " xid = m.xid, seq = m.seq, attempts = 0"
    " FROM unnest($2::int[], $3::int[], $4::xid8[], $5::bigint[],"
    " $6::int[], $7::xid8[], $8::bigint[]) AS m (partition, old_epoch,"
    " old_xid, old_seq, epoch, xid, seq)"
    " WHERE p.producer = $1 AND p.partition = m.partition"
    " AND (p.epoch, p.xid, p.seq) = (m.old_epoch, m.old_xid, "
    "m.old_seq)" NO_REBUILD " RETURNING 1)"
    " SELECT {{schema}}.require(count(*) = cardinality($2),"
    " 'inbox_position_moved') FROM moved");

/* The numbers of a job's partitions in columns. */
struct columns {
    int64_t partition[CN_PARTITIONS];
    int64_t epoch[CN_PARTITIONS];
    int64_t xid[CN_PARTITIONS];
    int64_t seq[CN_PARTITIONS];
};

static void s_column_put(struct columns *columns,
                         size_t index,
                         int partition,
                         struct consumer_position position)
{
    columns->partition[index] = partition;
    columns->epoch[index] = position.epoch;
    columns->xid[index] = position.xid;
    columns->seq[index] = position.seq;
}

void consumer_move_many(const struct consumer *self,
                        struct cn_arena *arena,
                        struct run *const *runs,
                        size_t count,
                        struct cn_write *write)
{
    struct columns from = { 0 };
    struct columns to = { 0 };
    for (size_t i = 0; i < count; i++) {
        const struct run *run = runs[i];
        const int number = run->partition->number;
        s_column_put(&from, i, number, run->partition->at);
        s_column_put(&to, i, number, run->entries[run->count - 1]->position);
    }
    const struct cn_param params[] = {
        cn_text(self->subscription->producer),
        cn_numbers(arena, from.partition, count),
        cn_numbers(arena, from.epoch, count),
        cn_numbers(arena, from.xid, count),
        cn_numbers(arena, from.seq, count),
        cn_numbers(arena, to.epoch, count),
        cn_numbers(arena, to.xid, count),
        cn_numbers(arena, to.seq, count),
    };
    cn_write_position(write, &SQL_POSITIONS_MOVE, params, CN_COUNT(params));
}

/* ---- attempts ---- */

/* Only of those whose lease is ours: who has lost it must not count attempts
 * against an event that another is at. */
CN_SQL_RELAY(
    SQL_ATTEMPT_COUNT,
    "UPDATE {{schema}}.inbox_position p SET attempts = p.attempts + m.more"
    " FROM unnest($2::int[], $3::int[], $4::xid8[], $5::bigint[], $6::int[])"
    " AS m (partition, epoch, xid, seq, more)"
    " WHERE p.producer = $1 AND p.partition = m.partition"
    " AND (p.epoch, p.xid, p.seq) = (m.epoch, m.xid, m.seq)"
    " AND EXISTS (SELECT 1 FROM {{schema}}.lease l"
    " JOIN {{schema}}.replica r ON r.producer = l.producer AND r.id = l.holder"
    " WHERE l.producer = p.producer AND l.partition = p.partition"
    " AND l.holder = $7 AND r.until > now())" NO_REBUILD
    " RETURNING p.partition, p.attempts");

CN_SQL_RELAY(SQL_DEAD_LETTER_BLOCKS,
             "SELECT DISTINCT d.tenant_id, d.aggregate_type, d.aggregate_id"
             " FROM unnest($2::uuid[], $3::text[], $4::uuid[])"
             " AS w (tenant_id, aggregate_type, aggregate_id)"
             " JOIN {{schema}}.dead_letter d ON d.tenant_id = w.tenant_id"
             " AND d.producer = $1 AND d.aggregate_type = w.aggregate_type"
             " AND d.aggregate_id = w.aggregate_id"
             " AND d.status IN ('dead', 'retrying')");

static bool
s_is_dead(const struct entry *entry, const struct cn_rows *rows, size_t row)
{
    return cn_uuid_equal(entry->aggregate_id, cn_row_uuid(rows, row, 2)) &&
           cn_uuid_equal(entry->tenant_id, cn_row_uuid(rows, row, 0)) &&
           strcmp(entry->event->aggregate_type, cn_row_text(rows, row, 1)) == 0;
}

static void s_block(struct run *run, const struct cn_rows *rows)
{
    for (size_t i = 0; i < run->count; i++) {
        struct entry *entry = run->entries[i];
        entry->blocked = false;
        for (size_t row = 0; row < cn_rows_count(rows); row++) {
            entry->blocked = entry->blocked || s_is_dead(entry, rows, row);
        }
    }
}

/* Parameters of SQL_DEAD_LETTER_BLOCKS. */
static void
s_blocks_params(const struct job *job, size_t handled, struct cn_param *params)
{
    struct cn_uuid *tenants =
        cn_arena_array(job->arena, handled, sizeof(*tenants));
    const char **types = cn_arena_array(job->arena, handled, sizeof(*types));
    struct cn_uuid *ids = cn_arena_array(job->arena, handled, sizeof(*ids));
    size_t count = 0;
    for (size_t r = 0; r < job->count; r++) {
        for (size_t i = 0; i < job->runs[r].count; i++) {
            const struct entry *entry = job->runs[r].entries[i];
            if (entry->handler != NULL) {
                tenants[count] = entry->tenant_id;
                types[count] = entry->event->aggregate_type;
                ids[count] = entry->aggregate_id;
                count++;
            }
        }
    }
    params[0] = cn_text(job->consumer->subscription->producer);
    params[1] = cn_uuids(tenants, count);
    params[2] = cn_texts(types, count);
    params[3] = cn_uuids(ids, count);
}

static void s_count_params(const struct job *job, struct cn_param *params)
{
    struct columns at = { 0 };
    int64_t more[CN_PARTITIONS] = { 0 };
    const int64_t *const lists[] = { at.partition, at.epoch, at.xid, at.seq,
                                     more };
    for (size_t i = 0; i < job->count; i++) {
        const struct partition *partition = job->runs[i].partition;
        s_column_put(&at, i, partition->number, partition->at);
        more[i] = partition->forgiven ? 0 : 1;
    }
    params[0] = cn_text(job->consumer->subscription->producer);
    for (size_t i = 0; i < CN_COUNT(lists); i++) {
        params[i + 1] = cn_numbers(job->arena, lists[i], job->count);
    }
    params[6] = cn_uuid(cn_leases_holder(job->consumer->all->leases));
}

static void s_counted(struct run *run, const struct cn_rows *rows)
{
    struct partition *partition = run->partition;
    for (size_t row = 0; row < cn_rows_count(rows); row++) {
        if (cn_row_int(rows, row, 0) == partition->number) {
            partition->forgiven = false;
            run->attempts = (int)cn_row_int(rows, row, 1);
            run->counted = run->attempts > 0;
            run->careful = run->attempts > 1;
            partition->attempts = run->attempts;
            return;
        }
    }
    run->ended = true;
    run->reload = true;
}

enum cn_code consumer_count(struct job *job, struct cn_err *err)
{
    struct cn_param count[7];
    struct cn_param blocks[4];
    struct cn_db_result result = { 0 };
    size_t handled = 0;
    for (size_t r = 0; r < job->count; r++) {
        for (size_t i = 0; i < job->runs[r].count; i++) {
            handled += job->runs[r].entries[i]->handler != NULL;
        }
    }
    if (handled == 0) {
        return CN_OK;
    }
    s_count_params(job, count);
    s_blocks_params(job, handled, blocks);
    const struct cn_db_step steps[] = {
        { &SQL_ATTEMPT_COUNT, count, 7 }, { &SQL_DEAD_LETTER_BLOCKS, blocks, 4 }
    };
    enum cn_code rc =
        consumer_unit(job->consumer, job->arena, steps, 2, &result, err);
    if (rc != CN_OK) {
        return rc;
    }
    assert(result.rows != NULL);
    for (size_t r = 0; r < job->count; r++) {
        s_counted(&job->runs[r], result.rows[0]);
        s_block(&job->runs[r], result.rows[1]);
    }
    return CN_OK;
}
