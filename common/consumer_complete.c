/* SPDX-License-Identifier: Apache-2.0 */
/* How far a producer's log is known to be complete and applied here, kept
 * beside the positions so that every replica knows it. */
#include "common/clock.h"
#include "common/consumer_internal.h"
#include "common/log.h"

#include <stdio.h>

enum { PARTITION_TEXT_MAX = 8, ARENA_MAX = 64 << 10 };

/* Written once a second: a breach is decided that much later, no more. */
static const int64_t NOTE_EVERY_US = CN_SECOND;

CN_SQL_RELAY(SQL_COMPLETE_NOTE,
             "UPDATE {{schema}}.inbox_position p SET complete_until = $3"
             " WHERE p.producer = $1 AND p.partition = ANY ($2::text[]::int[])"
             " AND (p.complete_until IS NULL OR p.complete_until < $3)");

/* Until every partition has a position, the one over all of them counts. */
CN_SQL_RELAY(SQL_COMPLETE_UNTIL,
             "SELECT CASE WHEN count(p.complete_until) IN (1, 16) AND"
             " count(p.complete_until) = count(*)"
             " THEN min(p.complete_until) END"
             " FROM {{schema}}.inbox_position p WHERE p.producer = $1"
             " AND (p.partition >= 0) = EXISTS (SELECT 1"
             " FROM {{schema}}.inbox_position q WHERE q.producer = $1"
             " AND q.partition >= 0)");

void consumer_complete_note(struct cn_env *env,
                            const char *producer,
                            const int *partitions,
                            size_t count,
                            int64_t complete_until,
                            int64_t *noted_at)
{
    CN_ARENA_AUTO struct cn_arena *arena = NULL;
    const char *words[CN_PARTITIONS];
    const struct cn_rows *rows = NULL;
    struct cn_err err = { 0 };
    int64_t now = cn_clock_monotonic();
    if (now - *noted_at < NOTE_EVERY_US) {
        return;
    }
    *noted_at = now;
    arena = cn_arena_new(ARENA_MAX);
    for (size_t i = 0; arena != NULL && i < count; i++) {
        words[i] = cn_arena_printf(arena, "%d", partitions[i]);
    }
    const struct cn_param params[] = {
        cn_text(producer),
        cn_texts(words, count),
        cn_at(complete_until),
    };
    /* What could not be written now is written by the next one. */
    if (arena == NULL ||
        cn_db_read(env->db, CN_LANE_RELAY, arena, (struct cn_uuid){ 0 },
                   &SQL_COMPLETE_NOTE, params, 3, &rows, &err) != CN_OK) {
        cn_log(CN_LOG_INFO, "complete_until of %s: %s", producer, err.msg);
    }
}

enum cn_code cn_consumer_complete_until(struct cn_env *env,
                                        const char *producer,
                                        int64_t *ret_until,
                                        struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(ARENA_MAX);
    const struct cn_param param = cn_text(producer);
    const struct cn_rows *rows = NULL;
    if (arena == NULL) {
        return cn_fail(err, CN_NOMEM, "consumer: no memory");
    }
    enum cn_code rc =
        cn_db_read(env->db, CN_LANE_RELAY, arena, (struct cn_uuid){ 0 },
                   &SQL_COMPLETE_UNTIL, &param, 1, &rows, err);
    if (rc == CN_OK) {
        *ret_until = cn_row_null(rows, 0, 0) ? 0 : cn_row_at(rows, 0, 0);
    }
    return rc;
}
