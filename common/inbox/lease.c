/* SPDX-License-Identifier: Apache-2.0 */
/* The beat of a replica, and what it takes and gives back by it. */
#include "common/inbox/lease.h"

#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/base/env.h"
#include "common/db/db.h"
#include "common/inbox/consumer.h"
#include "common/loop/fiber.h"
#include "common/loop/loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    UNIT_BUDGET_US = 1000000,
    SOON_US = 100000,  /* to the next beat while less than a fair part is had */
    RETRY_US = 200000, /* after a beat that failed */
    /* From what the database says to what we believe: two clocks drift apart
     * by less than this within a life. */
    MARGIN_US = 100000,
    LEAVE_US = 1000000, /* for what is busy at a stop */
    LEAVE_LOOK_US = 2000,
    LIST_MAX = 4 * CN_PARTITIONS
};

/* Of one producer, as of the last beat. */
struct share {
    unsigned held; /* a set of 1 << partition */
    unsigned leaving;
    unsigned most; /* ceil(16 / n) */
    unsigned fair; /* floor(16 / n): less than that is not for long */
};

struct cn_leases {
    struct cn_env *env;
    const char *producers[CN_LEASE_PRODUCERS_MAX];
    size_t count;
    struct cn_lease_user user;
    void (*ended)(void *arg);
    struct cn_uuid id;
    struct share shares[CN_LEASE_PRODUCERS_MAX];
    int64_t until_at; /* monotonic: what is held is held until then */
    bool made;        /* the rows of positions and leases are there */
    struct cn_rest rest;
};

/* Nothing of this is waited for on the disk: a lost beat lapses. */
CN_SQL_RELAY(SQL_LEASE_ASYNC,
             "SELECT set_config('synchronous_commit', 'off', true)");

CN_SQL_RELAY(SQL_LEASE_MAKE,
             "INSERT INTO {{schema}}.lease (producer, partition)"
             " SELECT p, n FROM unnest($1::text[]) AS p"
             " CROSS JOIN generate_series(0, 15) AS n"
             " ORDER BY p, n ON CONFLICT DO NOTHING");

CN_SQL_RELAY(SQL_POSITION_MAKE,
             "INSERT INTO {{schema}}.inbox_position"
             " (producer, partition, epoch, xid, seq)"
             " SELECT p, n, 0, '0', 0 FROM unnest($1::text[]) AS p"
             " CROSS JOIN generate_series(0, 15) AS n"
             " ORDER BY p, n ON CONFLICT DO NOTHING");

CN_SQL_RELAY(SQL_REPLICA_BEAT,
             "INSERT INTO {{schema}}.replica (producer, id, until)"
             " SELECT p, $2, now() + $3::bigint * interval '1 us'"
             " FROM unnest($1::text[]) AS p ON CONFLICT (producer, id)"
             " DO UPDATE SET until = excluded.until");

/* Those that ended without a word. Nobody's lease depends on the row. */
CN_SQL_RELAY(SQL_REPLICA_FORGET,
             "DELETE FROM {{schema}}.replica r"
             " WHERE r.until < now() - interval '1 minute'");

#define LIVE                                                                   \
    "SELECT r.producer, count(*) AS live FROM {{schema}}.replica r"            \
    " WHERE r.producer = ANY ($1) AND r.until > now() GROUP BY r.producer"

/* Takes what nobody alive holds, up to the share. SKIP LOCKED: another takes
 * that one at this moment. */
CN_SQL_RELAY(SQL_LEASE_CLAIM,
             "WITH wanted AS (SELECT v.producer, (15 + v.live) / v.live"
             " - (SELECT count(*) FROM {{schema}}.lease m"
             " WHERE m.producer = v.producer AND m.holder = $2) AS room"
             " FROM (" LIVE ") v),"
             " free AS MATERIALIZED (SELECT f.producer, f.partition"
             " FROM wanted w CROSS JOIN LATERAL ("
             "SELECT l.producer, l.partition FROM {{schema}}.lease l"
             " WHERE l.producer = w.producer AND NOT EXISTS (SELECT 1"
             " FROM {{schema}}.replica r WHERE r.producer = l.producer"
             " AND r.id = l.holder AND r.until > now())"
             " ORDER BY l.partition LIMIT greatest(w.room, 0)"
             " FOR UPDATE OF l SKIP LOCKED) f)"
             " UPDATE {{schema}}.lease l SET holder = $2 FROM free f"
             " WHERE l.producer = f.producer AND l.partition = f.partition");

/* What is ours now, as a set of bits, and among how many it is shared. */
CN_SQL_RELAY(SQL_LEASE_VIEW,
             "SELECT v.producer, v.live, coalesce((SELECT bit_or(1 <<"
             " l.partition) FROM {{schema}}.lease l"
             " WHERE l.producer = v.producer AND l.holder = $2), 0)::bigint"
             " FROM (" LIVE ") v");

CN_SQL_RELAY(SQL_LEASE_GIVE,
             "UPDATE {{schema}}.lease l SET holder = NULL"
             " WHERE l.producer = $1 AND l.holder = $2"
             " AND l.partition = ANY ($3::int[])");

CN_SQL_RELAY(SQL_LEASE_GIVE_ALL,
             "UPDATE {{schema}}.lease l SET holder = NULL WHERE l.holder = $1");

CN_SQL_RELAY(SQL_REPLICA_LEAVE,
             "DELETE FROM {{schema}}.replica r WHERE r.id = $1");

static enum cn_code s_lease_unit(struct cn_leases *self,
                                 struct cn_arena *arena,
                                 const struct cn_db_step *steps,
                                 size_t count,
                                 struct cn_db_result *ret_result,
                                 struct cn_err *err)
{
    struct cn_db_result result = { 0 };
    cn_fiber_set_deadline(cn_clock_monotonic() + UNIT_BUDGET_US);
    enum cn_code rc = cn_db_unit(self->env->db, CN_LANE_RELAY, arena, steps,
                                 count, &result, err);
    cn_fiber_set_deadline(INT64_MAX);
    if (rc == CN_OK && result.outcome != CN_COMMITTED) {
        return cn_fail(err, CN_UNAVAILABLE, "lease: sqlstate %s",
                       result.sqlstate);
    }
    if (rc == CN_OK) {
        *ret_result = result;
    }
    return rc;
}

/* ---- giving back ---- */

static unsigned s_bits(unsigned set)
{
    return (unsigned)__builtin_popcount(set);
}

/* "{1,5}" of the set. */
static void s_set_format(unsigned set, char text[LIST_MAX])
{
    size_t size = 0;
    for (int n = 0; n < CN_PARTITIONS; n++) {
        if ((set & 1U << n) != 0) {
            size += (size_t)snprintf(text + size, LIST_MAX - size, "%c%d",
                                     size == 0 ? '{' : ',', n);
        }
    }
    (void)snprintf(text + size, LIST_MAX - size, "%s", size == 0 ? "{}" : "}");
}

/* Marks what is above the share: idle ones first, from the top. */
static void s_surplus_mark(struct cn_leases *self, size_t producer)
{
    struct share *share = &self->shares[producer];
    unsigned over = s_bits(share->held) > share->most
                        ? s_bits(share->held) - share->most
                        : 0;
    share->leaving &= share->held;
    if (over < s_bits(share->leaving)) {
        share->leaving = 0; /* The others have become fewer again. */
    }
    for (int pass = 0; pass < 2; pass++) {
        for (int n = CN_PARTITIONS - 1; n >= 0; n--) {
            bool busy = self->user.busy(self->user.arg, producer, n);
            if ((share->held & 1U << n) != 0 && busy == (pass == 1) &&
                s_bits(share->leaving) < over) {
                share->leaving |= 1U << n;
            }
        }
    }
}

/* Gives back what is leaving and idle. What fails is given back later: nobody
 * works on it here. */
static void s_surplus_give(struct cn_leases *self, size_t producer)
{
    struct share *share = &self->shares[producer];
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    char list[LIST_MAX];
    unsigned set = 0;
    for (int n = 0; n < CN_PARTITIONS; n++) {
        if ((share->leaving & 1U << n) != 0 &&
            !self->user.busy(self->user.arg, producer, n)) {
            set |= 1U << n;
        }
    }
    if (set == 0 || arena == NULL) {
        return;
    }
    s_set_format(set, list);
    const struct cn_param params[] = { cn_text(self->producers[producer]),
                                       cn_uuid(self->id), cn_text(list) };
    const struct cn_db_step steps[] = { { &SQL_LEASE_ASYNC, NULL, 0 },
                                        { &SQL_LEASE_GIVE, params, 3 } };
    struct cn_db_result result = { 0 };
    struct cn_err err = { 0 };
    if (s_lease_unit(self, arena, steps, 2, &result, &err) == CN_OK) {
        share->held &= ~set;
        share->leaving &= ~set;
    }
}

/* ---- the beat ---- */

/* Takes in what SQL_LEASE_VIEW said. */
static void s_view(struct cn_leases *self, const struct cn_rows *rows)
{
    bool changed = false;
    for (size_t i = 0; i < self->count; i++) {
        struct share *share = &self->shares[i];
        unsigned held = 0;
        unsigned live = 1;
        for (size_t row = 0; row < cn_rows_count(rows); row++) {
            if (strcmp(cn_row_text(rows, row, 0), self->producers[i]) == 0) {
                live = (unsigned)cn_row_int(rows, row, 1);
                held = (unsigned)cn_row_int(rows, row, 2);
            }
        }
        live = live > 0 ? live : 1;
        changed = changed || held != share->held;
        share->held = held;
        share->most = (CN_PARTITIONS - 1 + live) / live;
        share->fair = CN_PARTITIONS / live;
        s_surplus_mark(self, i);
    }
    if (changed) {
        self->user.changed(self->user.arg);
    }
}

static enum cn_code s_beat(struct cn_leases *self, struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    const struct cn_param params[] = { cn_texts(self->producers, self->count),
                                       cn_uuid(self->id),
                                       cn_int(CN_LEASE_LIFE_US) };
    /* Those who make the rows together take them in one order. */
    const struct cn_db_step steps[] = {
        { &SQL_LEASE_ASYNC, NULL, 0 },    { &SQL_POSITION_MAKE, params, 1 },
        { &SQL_LEASE_MAKE, params, 1 },   { &SQL_REPLICA_BEAT, params, 3 },
        { &SQL_REPLICA_FORGET, NULL, 0 }, { &SQL_LEASE_CLAIM, params, 2 },
        { &SQL_LEASE_VIEW, params, 2 },
    };
    enum { MAKES = 2, STEPS = CN_COUNT(steps) };
    struct cn_db_step sent[STEPS];
    struct cn_db_result result = { 0 };
    size_t count = 0;
    int64_t sent_at = cn_clock_monotonic();
    if (arena == NULL) {
        return cn_fail(err, CN_NOMEM, "lease: no memory");
    }
    for (size_t i = 0; i < STEPS; i++) {
        if (!self->made || i == 0 || i > MAKES) {
            sent[count++] = steps[i];
        }
    }
    enum cn_code rc = s_lease_unit(self, arena, sent, count, &result, err);
    if (rc != CN_OK) {
        return rc;
    }
    self->made = true;
    self->until_at = sent_at + CN_LEASE_LIFE_US - MARGIN_US;
    s_view(self, result.rows[count - 1]);
    return CN_OK;
}

static bool s_stopping(const struct cn_leases *self)
{
    return cn_loop_stopping(self->env->loop);
}

/* Until the next beat, giving back what becomes idle. */
static void s_rest(struct cn_leases *self, int64_t until_at)
{
    while (!s_stopping(self)) {
        for (size_t i = 0; i < self->count; i++) {
            s_surplus_give(self, i);
        }
        if (s_stopping(self) || cn_clock_monotonic() >= until_at) {
            return;
        }
        (void)cn_rest(&self->rest, until_at);
    }
}

static bool s_short(const struct cn_leases *self)
{
    for (size_t i = 0; i < self->count; i++) {
        if (s_bits(self->shares[i].held) < self->shares[i].fair) {
            return true;
        }
    }
    return false;
}

static bool s_any_busy(const struct cn_leases *self)
{
    for (size_t i = 0; i < self->count; i++) {
        for (int n = 0; n < CN_PARTITIONS; n++) {
            if (self->user.busy(self->user.arg, i, n)) {
                return true;
            }
        }
    }
    return false;
}

/* The others need not wait until our beat lapses. */
static void s_replica_leave(struct cn_leases *self)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    const struct cn_param params[] = { cn_uuid(self->id) };
    const struct cn_db_step steps[] = { { &SQL_LEASE_ASYNC, NULL, 0 },
                                        { &SQL_REPLICA_LEAVE, params, 1 },
                                        { &SQL_LEASE_GIVE_ALL, params, 1 } };
    struct cn_db_result result = { 0 };
    struct cn_err err = { 0 };
    int64_t until_at = cn_clock_monotonic() + LEAVE_US;
    self->until_at = 0; /* Nothing new is begun. */
    while (s_any_busy(self) && cn_clock_monotonic() < until_at) {
        cn_fiber_set_deadline(until_at);
        if (cn_fiber_sleep(LEAVE_LOOK_US) != CN_OK) {
            break;
        }
    }
    if (arena == NULL ||
        s_lease_unit(self, arena, steps, 3, &result, &err) != CN_OK) {
        return; /* It lapses by itself. */
    }
}

static void s_leases_run(void *arg)
{
    struct cn_leases *self = arg;
    while (!s_stopping(self)) {
        struct cn_err err = { 0 };
        int64_t beat_at = cn_clock_monotonic();
        int64_t pause_us = RETRY_US; /* The consumers tell of the trouble. */
        if (s_beat(self, &err) == CN_OK) {
            pause_us = s_short(self) ? SOON_US : CN_LEASE_BEAT_US;
        }
        s_rest(self, beat_at + pause_us);
    }
    s_replica_leave(self);
    self->ended(self->user.arg);
}

/* ---- what its user sees ---- */

enum cn_code cn_leases_start(struct cn_env *env,
                             const char *const *producers,
                             size_t count,
                             const struct cn_lease_user *user,
                             void (*ended)(void *arg),
                             struct cn_leases **ret_leases,
                             struct cn_err *err)
{
    struct cn_leases *self = calloc(1, sizeof(*self));
    if (self == NULL || count > CN_LEASE_PRODUCERS_MAX) {
        free(self);
        return cn_fail(err, CN_NOMEM, "lease: no memory");
    }
    self->env = env;
    self->user = *user;
    self->ended = ended;
    self->count = count;
    memcpy(self->producers, producers, count * sizeof(*producers));
    self->id = cn_uuid_new(env);
    enum cn_code rc =
        cn_fiber_spawn(env->loop, s_leases_run, self, INT64_MAX, err);
    if (rc != CN_OK) {
        free(self);
        return rc;
    }
    *ret_leases = self;
    return CN_OK;
}

void cn_leases_free(struct cn_leases *self)
{
    free(self);
}

bool cn_lease_held(const struct cn_leases *self, size_t producer, int partition)
{
    const struct share *share = &self->shares[producer];
    return (share->held & ~share->leaving & 1U << partition) != 0 &&
           cn_clock_monotonic() < self->until_at;
}

unsigned cn_leases_count(const struct cn_leases *self, size_t producer)
{
    return cn_clock_monotonic() < self->until_at
               ? s_bits(self->shares[producer].held)
               : 0;
}

void cn_leases_idle(struct cn_leases *self)
{
    for (size_t i = 0; i < self->count; i++) {
        if (self->shares[i].leaving != 0) {
            cn_rest_call(&self->rest);
        }
    }
}

struct cn_uuid cn_leases_holder(const struct cn_leases *self)
{
    return self->id;
}
