/* SPDX-License-Identifier: Apache-2.0 */
/* PostgreSQL in the loop: lanes of pipelined connections and the units that
 * travel on them. */
#include "common/base/array.h"
#include "common/db/db_internal.h"
#include "common/loop/loop.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CONNECTIONS_MAX = 32, /* of one lane */
    POOL_MAX = 64,        /* units kept for reuse */
    READ_STEPS = 2        /* tenant and statement */
};

const char *const cn_lane_names[CN_LANE_COUNT] = { "read", "write", "relay",
                                                   "slow" };

enum { ALL_LANES = (1U << CN_LANE_COUNT) - 1 };

#define TENANT       "set_config('cairn.tenant', $1::uuid::text, true)"
#define PLANNED_ONCE "set_config('plan_cache_mode', 'force_generic_plan', true)"
#define WITHIN       "set_config('statement_timeout', $2, true)"
CN_STATEMENT(SQL_TENANT, ALL_LANES, "SELECT " TENANT);
CN_STATEMENT(SQL_TENANT_PLAN_ONCE,
             ALL_LANES,
             "SELECT " TENANT ", " PLANNED_ONCE);
/* The server times each statement from its Bind on, so the timeout that the
 * first one sets holds for the later ones (PostgreSQL's manual,
 * statement_timeout). It ends with the transaction. */
CN_STATEMENT(SQL_TENANT_WITHIN, ALL_LANES, "SELECT " TENANT ", " WITHIN);
CN_STATEMENT(SQL_TENANT_PLAN_ONCE_WITHIN,
             ALL_LANES,
             "SELECT " TENANT ", " PLANNED_ONCE ", " WITHIN);

extern const struct cn_statement *const __start_cn_statements[]
    __attribute__((weak));
extern const struct cn_statement *const __stop_cn_statements[]
    __attribute__((weak));

size_t cn_statement_count(void)
{
    return (size_t)(__stop_cn_statements - __start_cn_statements);
}

const struct cn_statement *cn_statement_at(size_t index)
{
    assert(index < cn_statement_count());
    return __start_cn_statements[index];
}

const struct cn_statement *
cn_db_tenant_within(const struct cn_statement *statement)
{
    if (statement == &SQL_TENANT) {
        return &SQL_TENANT_WITHIN;
    }
    return statement == &SQL_TENANT_PLAN_ONCE ? &SQL_TENANT_PLAN_ONCE_WITHIN
                                              : NULL;
}

const struct cn_statement *cn_db_tenant_statement(void)
{
    return &SQL_TENANT_PLAN_ONCE;
}

enum cn_code cn_db_code(const char *sqlstate)
{
    static const struct {
        const char *prefix;
        enum cn_code code;
    } CODES[] = {
        { "57014", CN_DEADLINE },    /* statement_timeout */
        { "25P03", CN_DEADLINE },    /* idle_in_transaction_session_timeout */
        { "55P03", CN_BUSY },        /* lock_timeout */
        { "40", CN_BUSY },           /* deadlock, serialisation */
        { "25006", CN_UNAVAILABLE }, /* a standby: not the primary any more */
        { "08", CN_UNAVAILABLE },
        { "53", CN_UNAVAILABLE }, /* disk, memory, connections */
        { "57P", CN_UNAVAILABLE },
        { "58", CN_UNAVAILABLE }, /* input, output */
    };
    for (size_t i = 0; i < CN_COUNT(CODES); i++) {
        if (strncmp(sqlstate, CODES[i].prefix, strlen(CODES[i].prefix)) == 0) {
            return CODES[i].code;
        }
    }
    return CN_INTERNAL;
}

/* ---- units ---- */

static struct unit *
s_unit_new(struct cn_db *self, const struct cn_db_step *steps, size_t count)
{
    struct unit *unit = self->pool;
    if (unit != NULL) {
        self->pool = unit->next;
        self->pooled--;
    } else {
        unit = malloc(sizeof(*unit));
    }
    if (unit == NULL) {
        return NULL;
    }
    *unit = (struct unit){ .db = self, .steps = steps, .count = count };
    unit->results = unit->results_inline;
    if (count > RESULTS_INLINE) {
        unit->results = calloc(count, sizeof(PGresult *));
        if (unit->results == NULL) {
            free(unit);
            return NULL;
        }
    }
    return unit;
}

void cn_unit_free(struct unit *unit)
{
    for (size_t i = 0; i < unit->count; i++) {
        PQclear(unit->results[i]);
    }
    if (unit->results != unit->results_inline) {
        free(unit->results);
    }
    struct cn_db *db = unit->db;
    if (db == NULL || db->pooled >= POOL_MAX) {
        free(unit);
        return;
    }
    unit->next = db->pool;
    db->pool = unit;
    db->pooled++;
}

static void
s_count(struct lane *lane, const struct unit *unit, enum unit_end end)
{
    lane->ends[end]++;
    cn_histogram_add(&lane->durations, cn_clock_monotonic() - unit->began_at);
}

static void s_count_outcome(const struct unit *unit)
{
    static const enum unit_end ENDS[] = {
        [CN_COMMITTED] = END_COMMITTED,
        [CN_ABORTED] = END_ABORTED,
        [CN_OUTCOME_UNKNOWN] = END_UNKNOWN,
    };
    enum unit_end end = ENDS[unit->outcome];
    if (unit->refusal != CN_OK) {
        end = END_REFUSED;
    } else if (unit->abandoned) {
        end = END_LATE;
    }
    s_count(unit->lane, unit, end);
}

void cn_unit_complete(struct unit *unit)
{
    unit->state = UNIT_DONE;
    if (unit->db != NULL) {
        s_count_outcome(unit);
    }
    if (unit->abandoned) {
        cn_unit_free(unit);
    } else {
        /* Its fiber may be ready already; then it sees the state. */
        (void)cn_fiber_wake(unit->token, CN_OK);
    }
}

void cn_unit_break(struct unit *unit)
{
    unit->outcome = CN_OUTCOME_UNKNOWN;
    unit->refusal = unit->sent ? CN_OK : CN_UNAVAILABLE;
    cn_unit_complete(unit);
}

void cn_queue_add(struct lane *lane, struct unit *unit)
{
    unit->state = UNIT_WAITING;
    unit->next = NULL;
    unit->previous = lane->last;
    if (lane->last != NULL) {
        lane->last->next = unit;
    } else {
        lane->first = unit;
    }
    lane->last = unit;
    lane->waiting++;
}

void cn_queue_remove(struct lane *lane, struct unit *unit)
{
    if (unit->previous != NULL) {
        unit->previous->next = unit->next;
    } else {
        lane->first = unit->next;
    }
    if (unit->next != NULL) {
        unit->next->previous = unit->previous;
    } else {
        lane->last = unit->previous;
    }
    lane->waiting--;
}

static enum cn_code s_unit_enter(struct cn_db *self,
                                 struct lane *lane,
                                 struct unit *unit,
                                 struct cn_err *err)
{
    int64_t now = cn_clock_monotonic();
    if (cn_fiber_deadline() <= now) {
        return cn_fail(err, CN_DEADLINE, "database: no time is left");
    }
    if (self->timer == NULL) {
        cn_link_tick_by(self, now);
    }
    if (lane->count == 0 || cn_link_down(lane, now)) {
        return cn_fail(err, CN_UNAVAILABLE, "database: the %s lane is down",
                       cn_lane_names[lane->id]);
    }
    struct connection *connection =
        lane->first == NULL ? cn_link_choose(lane, now) : NULL;
    if (connection != NULL) {
        cn_link_send(connection, unit, now);
    } else if (lane->waiting < lane->waiting_max) {
        cn_queue_add(lane, unit);
    } else {
        return cn_fail(err, CN_BUSY,
                       "database: the queue of the %s lane is full",
                       cn_lane_names[lane->id]);
    }
    return CN_OK;
}

unsigned cn_db_fail_at(struct cn_db *self, unsigned n)
{
    const unsigned left = self->fail_at;
    self->fail_at = n;
    return left;
}

/* Sends or queues and parks. The unit is done or still on its way (its state
 * says which) and must be given to s_unit_leave; NULL: nothing was sent, see
 * err. */
static struct unit *s_unit_run(struct cn_db *self,
                               enum cn_lane lane_id,
                               const struct cn_db_step *steps,
                               size_t count,
                               struct cn_err *err)
{
    struct lane *lane = &self->lanes[lane_id];
    assert(cn_fiber_running());
    if (self->fail_at > 0 && --self->fail_at == 0) {
        (void)cn_fail(err, CN_UNAVAILABLE, "database: a test let it fail");
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        assert((steps[i].statement->lanes & 1U << lane_id) != 0);
    }
    struct unit *unit = s_unit_new(self, steps, count);
    if (unit == NULL) {
        (void)cn_fail(err, CN_NOMEM, "database: no memory for a unit");
        return NULL;
    }
    unit->token = cn_fiber_token();
    unit->lane = lane;
    unit->began_at = cn_clock_monotonic();
    unit->deadline_at = cn_fiber_deadline();
    enum cn_code rc = s_unit_enter(self, lane, unit, err);
    if (rc != CN_OK) {
        s_count(lane, unit, END_REFUSED);
        cn_unit_free(unit);
        return NULL;
    }
    if (unit->state != UNIT_DONE) {
        rc = cn_fiber_park(INT64_MAX);
    }
    if (unit->state == UNIT_WAITING) {
        cn_queue_remove(lane, unit);
        s_count(lane, unit, END_REFUSED);
        cn_unit_free(unit);
        (void)cn_fail(err, rc == CN_DEADLINE ? CN_DEADLINE : CN_UNAVAILABLE,
                      "database: no connection of the %s lane was free in time",
                      cn_lane_names[lane_id]);
        return NULL;
    }
    if (unit->state == UNIT_DONE && unit->refusal != CN_OK) {
        (void)cn_fail(err, unit->refusal, "database: nothing was sent");
        cn_unit_free(unit);
        return NULL;
    }
    return unit;
}

static void s_unit_leave(struct unit *unit)
{
    if (unit->state == UNIT_DONE) {
        cn_unit_free(unit);
        return;
    }
    /* The results are dropped when they come. */
    unit->abandoned = true;
}

/* Room for the rows in an arena. It is made before the send, so that nothing
 * can fail after it. */
struct row_set {
    size_t count;
    struct cn_rows *rows;
    const struct cn_rows **pointers;
};

static void s_row_set_clear(void *handle)
{
    struct row_set *set = handle;
    for (size_t i = 0; i < set->count; i++) {
        PQclear(set->rows[i].result);
        set->rows[i].result = NULL;
    }
}

/* NULL for a failed arena. */
static struct row_set *
s_row_set(struct cn_arena *arena, const struct cn_db_step *steps, size_t count)
{
    size_t item = sizeof(struct cn_rows) + sizeof(const struct cn_rows *);
    struct row_set *set = cn_arena_alloc(arena, sizeof(*set) + count * item);
    set->count = count;
    set->rows = (struct cn_rows *)(set + 1);
    set->pointers = (const struct cn_rows **)(set->rows + count);
    for (size_t i = 0; i < count; i++) {
        set->rows[i].statement = steps[i].statement->name;
        set->pointers[i] = &set->rows[i];
    }
    return cn_arena_defer(arena, s_row_set_clear, set) ? set : NULL;
}

/* Moves the results of steps first.. of a unit that is done. */
static void s_row_set_fill(struct row_set *set, struct unit *unit, size_t first)
{
    for (size_t i = 0; i < set->count; i++) {
        set->rows[i].result = unit->results[first + i];
        unit->results[first + i] = NULL;
    }
}

static enum cn_code s_read_failed(const struct unit *unit,
                                  const struct cn_statement *statement,
                                  struct cn_err *err)
{
    if (unit->state != UNIT_DONE) {
        return cn_fail(err, CN_DEADLINE, "%s: no answer yet", statement->name);
    }
    if (unit->outcome == CN_OUTCOME_UNKNOWN) {
        return cn_fail(err, CN_UNAVAILABLE, "%s: the connection was lost",
                       statement->name);
    }
    return cn_fail(err, cn_db_code(unit->sqlstate), "%s: SQLSTATE %s",
                   statement->name, unit->sqlstate);
}

enum cn_code cn_db_read(struct cn_db *self,
                        enum cn_lane lane,
                        struct cn_arena *arena,
                        struct cn_uuid tenant,
                        const struct cn_statement *statement,
                        const struct cn_param *params,
                        size_t count,
                        const struct cn_rows **ret_rows,
                        struct cn_err *err)
{
    bool nil = cn_uuid_is_nil(tenant);
    if (nil && lane != CN_LANE_RELAY) {
        return cn_fail(err, CN_FORBIDDEN, "%s: no tenant", statement->name);
    }
    struct cn_param tenant_param = cn_uuid(tenant);
    struct cn_db_step steps[READ_STEPS] = {
        { .statement = (statement->lanes & CN_PLAN_ONCE) != 0
                           ? &SQL_TENANT_PLAN_ONCE
                           : &SQL_TENANT,
          .params = &tenant_param,
          .count = 1 },
        { .statement = statement, .params = params, .count = count }
    };
    size_t first = nil ? 1 : 0;
    struct row_set *set = s_row_set(arena, &steps[1], 1);
    if (set == NULL) {
        return cn_fail(err, CN_NOMEM, "%s: no memory", statement->name);
    }
    struct unit *unit =
        s_unit_run(self, lane, &steps[first], READ_STEPS - first, err);
    if (unit == NULL) {
        return err->code;
    }
    enum cn_code rc = CN_OK;
    if (unit->state == UNIT_DONE && unit->outcome == CN_COMMITTED) {
        s_row_set_fill(set, unit, unit->count - 1);
        *ret_rows = set->pointers[0];
    } else {
        rc = s_read_failed(unit, statement, err);
    }
    s_unit_leave(unit);
    return rc;
}

enum cn_code cn_db_read_all(struct cn_db *self,
                            struct cn_arena *arena,
                            const struct cn_statement *statement,
                            const struct cn_param *params,
                            size_t count,
                            const struct cn_rows **ret_rows,
                            struct cn_err *err)
{
    if (arena == NULL) {
        return cn_fail(err, CN_NOMEM, "%s: no memory", statement->name);
    }
    return cn_db_read(self, CN_LANE_RELAY, arena, (struct cn_uuid){ { 0 } },
                      statement, params, count, ret_rows, err);
}

static bool s_has_tenant(const struct cn_db_step *steps, size_t count)
{
    return count > 0 && steps[0].statement == &SQL_TENANT_PLAN_ONCE &&
           !cn_uuid_is_nil(steps[0].params[0].value.uuid);
}

enum cn_code cn_db_unit(struct cn_db *self,
                        enum cn_lane lane,
                        struct cn_arena *arena,
                        const struct cn_db_step *steps,
                        size_t count,
                        struct cn_db_result *ret_result,
                        struct cn_err *err)
{
    if (lane != CN_LANE_RELAY && !s_has_tenant(steps, count)) {
        return cn_fail(err, CN_FORBIDDEN, "database: a unit without a tenant");
    }
    struct row_set *set = s_row_set(arena, steps, count);
    if (set == NULL) {
        return cn_fail(err, CN_NOMEM, "database: no memory for the rows");
    }
    struct unit *unit = s_unit_run(self, lane, steps, count, err);
    if (unit == NULL) {
        return err->code;
    }
    struct cn_db_result result = { .outcome = CN_OUTCOME_UNKNOWN,
                                   .rows = set->pointers };
    if (unit->state == UNIT_DONE) {
        result.outcome = unit->outcome;
        result.failed_step = unit->failed_step;
        memcpy(result.sqlstate, unit->sqlstate, sizeof(result.sqlstate));
        memcpy(result.constraint, unit->constraint, sizeof(result.constraint));
        s_row_set_fill(set, unit, 0);
    }
    s_unit_leave(unit);
    *ret_result = result;
    return CN_OK;
}

/* ---- life ---- */

static bool s_lane_init(struct cn_db *self,
                        enum cn_lane id,
                        const struct cn_db_config *config)
{
    struct lane *lane = &self->lanes[id];
    lane->db = self;
    lane->id = id;
    bool slow = id == CN_LANE_SLOW;
    lane->depth = slow ? 1 : CN_DB_PIPELINE_MAX;
    lane->waiting_max = slow ? CN_DB_SLOW_WAITING_MAX : CN_DB_WAITING_MAX;
    lane->statement_us = slow ? CN_DB_SLOW_STATEMENT_US : CN_DB_STATEMENT_US;
    lane->down_at = INT64_MIN;
    unsigned count = config->lanes[id].connections;
    if (count == 0) {
        return true;
    }
    assert(count <= CONNECTIONS_MAX);
    lane->user = strdup(config->lanes[id].user);
    lane->connections = calloc(count, sizeof(*lane->connections));
    if (lane->user == NULL || lane->connections == NULL) {
        return false;
    }
    lane->count = count;
    for (unsigned i = 0; i < count; i++) {
        lane->connections[i].lane = lane;
    }
    if (config->lanes[id].password != NULL) {
        lane->password = strdup(config->lanes[id].password);
        return lane->password != NULL;
    }
    return true;
}

struct cn_db *cn_db_new(struct cn_env *env, const struct cn_db_config *config)
{
    struct cn_db *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        return NULL;
    }
    self->env = env;
    self->epoch = config->epoch;
    self->conninfo = strdup(config->conninfo);
    self->schema = strdup(config->schema);
    (void)snprintf(self->application, sizeof(self->application), "cairn-%s",
                   config->schema);
    bool ok = self->conninfo != NULL && self->schema != NULL;
    for (unsigned id = 0; id < CN_LANE_COUNT; id++) {
        ok = s_lane_init(self, (enum cn_lane)id, config) && ok;
    }
    cn_metrics_register(cn_db_metrics, self);
    if (!ok) {
        cn_db_free(self);
        return NULL;
    }
    return self;
}

static bool s_all_ready(const struct cn_db *self)
{
    for (size_t l = 0; l < CN_LANE_COUNT; l++) {
        if (self->lanes[l].ready < self->lanes[l].count) {
            return false;
        }
    }
    return true;
}

enum cn_code cn_db_start(struct cn_db *self, struct cn_err *err)
{
    assert(cn_fiber_running());
    self->starting = true;
    cn_link_tick_by(self, cn_clock_monotonic());
    enum cn_code rc = CN_OK;
    while (rc == CN_OK && self->fatal.code == CN_OK && !s_all_ready(self)) {
        rc = cn_rest(&self->starter, INT64_MAX);
    }
    self->starting = false;
    if (self->fatal.code != CN_OK) {
        *err = self->fatal;
        return err->code;
    }
    if (rc != CN_OK) {
        return cn_fail(err, CN_UNAVAILABLE, "database: not reachable: %.*s",
                       (int)strcspn(self->error, "\n"), self->error);
    }
    return CN_OK;
}

bool cn_db_healthy(const struct cn_db *self)
{
    for (size_t l = 0; l < CN_LANE_COUNT; l++) {
        if (self->lanes[l].count > 0 && self->lanes[l].ready == 0) {
            return false;
        }
    }
    return true;
}

const char *cn_db_schema(const struct cn_db *self)
{
    return self->schema;
}

int cn_db_epoch(const struct cn_db *self)
{
    return self->epoch;
}

static void s_lane_done(struct lane *lane)
{
    while (lane->first != NULL) {
        struct unit *unit = lane->first;
        cn_queue_remove(lane, unit);
        assert(lane->first != unit);
        unit->db = NULL;
        cn_unit_break(unit);
    }
    for (unsigned i = 0; i < lane->count; i++) {
        struct connection *connection = &lane->connections[i];
        for (unsigned n = 0; n < connection->in_flight; n++) {
            unsigned at = (connection->head + n) % CN_DB_PIPELINE_MAX;
            connection->sent[at]->db = NULL;
        }
        cn_link_done(connection);
    }
    if (lane->password != NULL) {
        explicit_bzero(lane->password, strlen(lane->password));
    }
    free(lane->password);
    free(lane->user);
    free(lane->connections);
}

void cn_db_free(struct cn_db *self)
{
    if (self == NULL) {
        return;
    }
    cn_metrics_forget(self);
    if (self->timer != NULL) {
        cn_loop_cancel(self->timer);
    }
    for (size_t l = 0; l < CN_LANE_COUNT; l++) {
        s_lane_done(&self->lanes[l]);
    }
    while (self->pool != NULL) {
        struct unit *unit = self->pool;
        self->pool = unit->next;
        free(unit);
    }
    free(self->conninfo);
    free(self->schema);
    free(self);
}
