/* SPDX-License-Identifier: Apache-2.0 */
/* How far a producer's log is known to be complete and applied here, kept
 * beside the positions so that every replica knows it. */
#include "common/inbox/consumer_internal.h"

enum { ARENA_MAX = 64 << 10 };

/* Not of a row that a unit is moving: those are locked in the order of its job,
 * and waiting in another order would be a deadlock. It is told a second later.
 */
CN_SQL_RELAY(SQL_COMPLETE_KEEP,
             "WITH free AS MATERIALIZED (SELECT f.partition"
             " FROM {{schema}}.inbox_position f WHERE f.producer = $1"
             " AND f.partition = ANY ($2::int[]) FOR UPDATE SKIP LOCKED)"
             " UPDATE {{schema}}.inbox_position p SET complete_until = m.until"
             " FROM (SELECT u.partition, 'epoch'::timestamptz +"
             " u.us * interval '1 us' AS until"
             " FROM unnest($2::int[], $3::bigint[]) AS u (partition, us)) m"
             " WHERE p.producer = $1 AND p.partition = m.partition"
             " AND p.partition IN (SELECT f.partition FROM free f)"
             " AND (p.complete_until IS NULL OR p.complete_until < m.until)"
             " RETURNING p.partition, p.complete_until");

/* Not before every partition has told. */
_Static_assert(CN_PARTITIONS == 16, "the partitions in SQL_COMPLETE_UNTIL");
CN_SQL_RELAY(SQL_COMPLETE_UNTIL,
             "SELECT CASE WHEN count(p.complete_until) = 16"
             " THEN min(p.complete_until) END"
             " FROM {{schema}}.inbox_position p WHERE p.producer = $1");

enum cn_code consumer_complete_keep(struct consumer *self, struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    int64_t numbers[CN_PARTITIONS];
    int64_t until[CN_PARTITIONS];
    struct cn_db_result result = { 0 };
    size_t count = 0;
    for (int n = 0; n < CN_PARTITIONS; n++) {
        const struct partition *partition = &self->partitions[n];
        if (partition->complete_at > partition->complete_told) {
            numbers[count] = n;
            until[count++] = partition->complete_at;
        }
    }
    if (count == 0) {
        return CN_OK;
    }
    if (arena == NULL) {
        return cn_fail(err, CN_NOMEM, "consumer: no memory");
    }
    const struct cn_param params[] = {
        cn_text(self->subscription->producer),
        cn_numbers(arena, numbers, count),
        cn_numbers(arena, until, count),
    };
    const struct cn_db_step step = { &SQL_COMPLETE_KEEP, params, 3 };
    enum cn_code rc = consumer_unit(self, arena, &step, 1, &result, err);
    if (rc != CN_OK) {
        return rc;
    }
    const struct cn_rows *rows = result.rows[0];
    for (size_t row = 0; row < cn_rows_count(rows); row++) {
        struct partition *told = &self->partitions[cn_row_int(rows, row, 0)];
        told->complete_told = cn_row_at(rows, row, 1);
    }
    return CN_OK;
}

enum cn_code cn_consumer_complete_until(struct cn_env *env,
                                        const char *producer,
                                        int64_t *ret_until,
                                        struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(ARENA_MAX);
    const struct cn_param param = cn_text(producer);
    const struct cn_rows *rows = NULL;
    enum cn_code rc = cn_db_read_all(env->db, arena, &SQL_COMPLETE_UNTIL,
                                     &param, 1, &rows, err);
    if (rc == CN_OK) {
        *ret_until = cn_row_null(rows, 0, 0) ? 0 : cn_row_at(rows, 0, 0);
    }
    return rc;
}
