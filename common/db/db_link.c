/* SPDX-License-Identifier: Apache-2.0 */
/* Connections: opened, prepared, pipelined, and made anew when they break. */
#include "common/base/log.h"
#include "common/db/db_internal.h"
#include "common/loop/loop.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const int64_t TICK_US = CN_SECOND;
/* Many processes that start at once on a small machine need so long. If they
 * gave up earlier, all of them would begin again, and none would connect. */
static const int64_t CONNECT_US = 10 * CN_SECOND;
static const int64_t BACKOFF_MIN_US = 100000;
static const int64_t BACKOFF_MAX_US = 2 * CN_SECOND;
/* After a connection that lasted this long the backoff begins anew. */
static const int64_t STEADY_US = 2 * CN_SECOND;
/* A lane without a connection for longer fails its units at once. */
static const int64_t OUTAGE_US = CN_SECOND;
/* No progress for this long: others are chosen before it. */
static const int64_t SLOW_US = CN_SECOND / 4;
/* After no progress for so many times the longest statement the server counts
 * as dead. TCP does not notice a stopped one: its kernel still acknowledges. */
enum { STUCK_TIMES = 2 };
/* The server's timeout is so much later than the fiber's, which comes first. */
static const int64_t WITHIN_SLACK_US = 25000;

static void s_link_tick(void *arg);

void cn_link_tick_by(struct cn_db *self, int64_t at)
{
    if (self->timer != NULL) {
        if (self->timer_at <= at) {
            return;
        }
        cn_loop_cancel(self->timer);
    }
    self->timer_at = at;
    self->timer = cn_loop_timer(self->env->loop, at, s_link_tick, self);
}

static int64_t s_backoff(struct cn_db *self, unsigned attempts)
{
    if (attempts == 0) {
        return 0;
    }
    int64_t us = BACKOFF_MAX_US;
    if (attempts < 6) {
        us = BACKOFF_MIN_US << (attempts - 1);
        us = us < BACKOFF_MAX_US ? us : BACKOFF_MAX_US;
    }
    uint16_t random = 0;
    self->env->random(self->env, &random, sizeof(random));
    /* Up to a quarter less at random, so that replicas do not come together. */
    return us - us * random / (4 * (int64_t)UINT16_MAX);
}

static void s_connection_event(void *arg, unsigned events);

static void s_connection_unwatch(struct connection *connection)
{
    if (connection->watch != NULL) {
        cn_loop_unwatch(connection->watch);
        connection->watch = NULL;
        (void)close(connection->watch_fd);
    }
}

/* Watches a duplicate of the descriptor: libpq closes its socket by itself when
 * the connection ends, and the loop must forget a descriptor before that. */
static bool s_connection_watch(struct connection *connection, unsigned events)
{
    if (connection->watch != NULL) {
        if (connection->watched != events) {
            cn_loop_watch_events(connection->watch, events);
        }
        connection->watched = events;
        return true;
    }
    int fd = fcntl(PQsocket(connection->pg), F_DUPFD_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    connection->watch = cn_loop_watch(connection->lane->db->env->loop, fd,
                                      events, s_connection_event, connection);
    if (connection->watch == NULL) {
        (void)close(fd);
        return false;
    }
    connection->watch_fd = fd;
    connection->watched = events;
    return true;
}

static void s_break_units(struct connection *connection)
{
    while (connection->in_flight > 0) {
        struct unit *unit = connection->sent[connection->head];
        connection->head = (connection->head + 1) % CN_DB_PIPELINE_MAX;
        connection->in_flight--;
        cn_unit_break(unit);
    }
}

/* Closes; units that were sent are unknown. Opens again by the tick. */
static void s_connection_lost(struct connection *connection)
{
    struct lane *lane = connection->lane;
    struct cn_db *self = lane->db;
    int64_t now = cn_clock_monotonic();
    s_connection_unwatch(connection);
    if (connection->state == READY) {
        bool steady = now - connection->since_at > STEADY_US;
        connection->attempts = steady ? 0 : 1;
        lane->ready--;
        if (lane->ready == 0) {
            lane->down_at = now;
        }
        cn_log(CN_LOG_WARN,
               "database: a connection of the %s lane was lost with %u units",
               cn_lane_names[lane->id], connection->in_flight);
    }
    lane->losses++;
    connection->state = CLOSED;
    connection->since_at = now;
    connection->retry_at = now + s_backoff(self, connection->attempts);
    connection->attempts++;
    PQfinish(connection->pg);
    connection->pg = NULL;
    s_break_units(connection);
    cn_rest_call(&self->starter);
    cn_link_tick_by(self, connection->retry_at);
}

/* False: the connection was lost. */
static bool s_connection_flush(struct connection *connection)
{
    int left = PQflush(connection->pg);
    unsigned events = CN_READABLE | (left > 0 ? CN_WRITABLE : 0U);
    if (left < 0 || !s_connection_watch(connection, events)) {
        s_connection_lost(connection);
        return false;
    }
    return true;
}

/* "{{schema}}" replaced; the caller frees it. */
static char *s_expand(const char *sql, const char *schema)
{
    static const char MARK[] = "{{schema}}";
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL) {
        return NULL;
    }
    const char *rest = sql;
    for (const char *mark; (mark = strstr(rest, MARK)) != NULL;) {
        (void)fwrite(rest, 1, (size_t)(mark - rest), out);
        (void)fputs(schema, out);
        rest = mark + sizeof(MARK) - 1;
    }
    (void)fputs(rest, out);
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

/* Statement number n of the lane; NULL past the last. */
static const struct cn_statement *s_lane_statement(const struct lane *lane,
                                                   size_t n)
{
    for (size_t i = 0; i < cn_statement_count(); i++) {
        const struct cn_statement *statement = cn_statement_at(i);
        if ((statement->lanes & 1U << lane->id) != 0 && n-- == 0) {
            return statement;
        }
    }
    return NULL;
}

/* A Sync behind each statement: the role's statement_timeout runs from the
 * first Parse to the Sync. Where many processes start at once, all statements
 * of a lane take longer than it allows. */
static bool s_prepare_send(struct connection *connection)
{
    struct lane *lane = connection->lane;
    bool is_first = true;
    if (PQsetnonblocking(connection->pg, 1) != 0 ||
        PQenterPipelineMode(connection->pg) != 1) {
        return false;
    }
    for (size_t i = 0; i < cn_statement_count(); i++) {
        const struct cn_statement *statement = cn_statement_at(i);
        if ((statement->lanes & 1U << lane->id) == 0) {
            continue;
        }
        char *sql = s_expand(statement->sql, lane->db->schema);
        int sent =
            sql != NULL && (is_first || PQpipelineSync(connection->pg) == 1)
                ? PQsendPrepare(connection->pg, statement->name, sql, 0, NULL)
                : 0;
        free(sql);
        is_first = false;
        if (sent != 1) {
            return false;
        }
    }
    return PQpipelineSync(connection->pg) == 1;
}

static void s_pump(struct lane *lane);

static void s_connection_ready(struct connection *connection)
{
    struct lane *lane = connection->lane;
    connection->state = READY;
    connection->since_at = cn_clock_monotonic();
    connection->progress_at = connection->since_at;
    lane->ready++;
    cn_rest_call(&lane->db->starter);
}

static void s_prepare_refused(struct connection *connection,
                              const PGresult *result)
{
    struct lane *lane = connection->lane;
    const struct cn_statement *statement =
        s_lane_statement(lane, connection->prepared);
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (connection->refused) {
        return; /* the first one is told */
    }
    connection->refused = true;
    if (sqlstate == NULL || cn_db_code(sqlstate) != CN_INTERNAL) {
        return;
    }
    const char *name = statement != NULL ? statement->name : "(sync)";
    if (lane->db->starting) {
        (void)cn_fail(&lane->db->fatal, CN_INTERNAL,
                      "database: %s does not prepare on the %s lane: "
                      "SQLSTATE %s",
                      name, cn_lane_names[lane->id], sqlstate);
        return;
    }
    cn_log(CN_LOG_ERROR,
           "database: %s does not prepare on the %s lane: SQLSTATE %s", name,
           cn_lane_names[lane->id], sqlstate);
}

static void s_prepare_result(struct connection *connection,
                             const PGresult *result)
{
    if (result == NULL) {
        connection->prepared += connection->got ? 1 : 0;
        connection->got = false;
        return;
    }
    connection->got = true;
    switch (PQresultStatus(result)) {
    case PGRES_COMMAND_OK:
    case PGRES_PIPELINE_ABORTED:
        break;
    case PGRES_PIPELINE_SYNC:
        connection->got = false;
        if (!connection->refused &&
            s_lane_statement(connection->lane, connection->prepared) == NULL) {
            s_connection_ready(connection);
        }
        break;
    default:
        s_prepare_refused(connection, result);
        break;
    }
}

static void s_unit_error(struct unit *unit, const PGresult *result)
{
    if (unit->failed) {
        return;
    }
    unit->failed = true;
    unit->failed_step = (unsigned)unit->at;
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *name = PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME);
    (void)snprintf(unit->sqlstate, sizeof(unit->sqlstate), "%s",
                   sqlstate != NULL ? sqlstate : "");
    (void)snprintf(unit->constraint, sizeof(unit->constraint), "%s",
                   name != NULL ? name : "");
}

/* The Sync has come: only now is the outcome known. An error may have followed
 * a statement's rows (a deferred constraint). */
static void s_unit_synced(struct connection *connection)
{
    struct unit *unit = connection->sent[connection->head];
    connection->head = (connection->head + 1) % CN_DB_PIPELINE_MAX;
    connection->in_flight--;
    unit->outcome = CN_COMMITTED;
    if (unit->failed) {
        unit->outcome = CN_ABORTED;
    } else if (unit->warned) {
        unit->outcome = CN_OUTCOME_UNKNOWN;
    }
    cn_unit_complete(unit);
}

/* Takes over the result. */
static void s_unit_result(struct connection *connection, PGresult *result)
{
    struct unit *unit = connection->sent[connection->head];
    if (result == NULL) {
        unit->at += unit->got ? 1 : 0;
        unit->got = false;
        return;
    }
    unit->got = true;
    switch (PQresultStatus(result)) {
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
        if (PQntuples(result) > 0 && unit->at < unit->count &&
            unit->results[unit->at] == NULL && !unit->abandoned) {
            unit->results[unit->at] = result;
            return;
        }
        break;
    case PGRES_PIPELINE_SYNC:
        s_unit_synced(connection);
        break;
    case PGRES_PIPELINE_ABORTED:
        break;
    default:
        s_unit_error(unit, result);
        break;
    }
    PQclear(result);
}

static bool s_connection_expects(const struct connection *connection)
{
    return connection->state == PREPARING || connection->in_flight > 0;
}

/* Handles all results that libpq has complete. */
static void s_connection_drain(struct connection *connection)
{
    /* After two in a row libpq has nothing more, as on a dead connection. */
    unsigned terminators = 0;
    while (terminators < 2 && PQisBusy(connection->pg) == 0 &&
           s_connection_expects(connection)) {
        PGresult *result = PQgetResult(connection->pg);
        terminators = result == NULL ? terminators + 1 : 0;
        if (connection->state == PREPARING) {
            s_prepare_result(connection, result);
            PQclear(result);
        } else {
            s_unit_result(connection, result);
        }
    }
}

static void s_connection_read(struct connection *connection)
{
    bool alive = PQconsumeInput(connection->pg) == 1;
    connection->progress_at = cn_clock_monotonic();
    s_connection_drain(connection);
    if (!alive || PQstatus(connection->pg) == CONNECTION_BAD ||
        connection->refused) {
        s_connection_lost(connection);
        return;
    }
    s_pump(connection->lane);
}

/* SQLSTATE 01000 while a unit runs: its commit did not wait for the standby,
 * and a failover may lose it. PostgreSQL then reports success with this warning
 * alone (measured), before the unit's Sync. */
static void s_notice(void *arg, const PGresult *notice)
{
    struct connection *connection = arg;
    const char *sqlstate = PQresultErrorField(notice, PG_DIAG_SQLSTATE);
    if (sqlstate != NULL && strcmp(sqlstate, "01000") == 0 &&
        connection->in_flight > 0) {
        connection->sent[connection->head]->warned = true;
    }
}

/* One step of connecting, and of what follows it. */
static void s_connection_poll(struct connection *connection,
                              PostgresPollingStatusType status)
{
    struct cn_db *self = connection->lane->db;
    if (status == PGRES_POLLING_OK) {
        connection->state = PREPARING;
        if (!s_prepare_send(connection)) {
            s_connection_lost(connection);
        } else {
            (void)s_connection_flush(connection);
        }
        return;
    }
    if (status == PGRES_POLLING_FAILED) {
        /* Of our own connection settings: no row was touched yet. */
        (void)snprintf(self->error, sizeof(self->error), "%s",
                       PQerrorMessage(connection->pg));
        s_connection_lost(connection);
        return;
    }
    unsigned events =
        status == PGRES_POLLING_READING ? CN_READABLE : CN_WRITABLE;
    if (!s_connection_watch(connection, events)) {
        s_connection_lost(connection);
    }
}

static void s_connection_event(void *arg, unsigned events)
{
    struct connection *connection = arg;
    if (connection->state == CONNECTING) {
        /* libpq may go on to another address and so another socket. */
        s_connection_unwatch(connection);
        s_connection_poll(connection, PQconnectPoll(connection->pg));
        return;
    }
    if ((events & CN_WRITABLE) != 0 && !s_connection_flush(connection)) {
        return;
    }
    s_connection_read(connection);
}

const char *cn_db_conninfo_check(const char *conninfo)
{
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    const char *wrong = NULL;
    if (options == NULL) {
        return "must be a PostgreSQL conninfo: host=... port=... dbname=...";
    }
    for (const PQconninfoOption *at = options; at->keyword != NULL; at++) {
        if (at->val != NULL && at->val[0] != '\0' &&
            (strcmp(at->keyword, "user") == 0 ||
             strcmp(at->keyword, "password") == 0)) {
            wrong = "must name no user and no password";
        }
    }
    PQconninfoFree(options);
    return wrong;
}

static void s_connection_open(struct connection *connection, int64_t now)
{
    struct lane *lane = connection->lane;
    struct cn_db *self = lane->db;
    /* libpq expands the conninfo at dbname: it may replace the values before
     * it, and not those after it. */
    const char *keywords[] = { "connect_timeout",
                               "tcp_user_timeout",
                               "keepalives_idle",
                               "keepalives_interval",
                               "keepalives_count",
                               "target_session_attrs",
                               "application_name",
                               "dbname",
                               "client_encoding",
                               "user",
                               lane->password != NULL ? "password" : NULL,
                               NULL };
    const char *values[] = { "2",
                             "3000",
                             "5",
                             "2",
                             "3",
                             "read-write",
                             self->application,
                             self->conninfo,
                             "UTF8",
                             lane->user,
                             lane->password,
                             NULL };
    connection->state = CONNECTING;
    connection->since_at = now;
    connection->prepared = 0;
    connection->got = false;
    connection->refused = false;
    connection->head = 0;
    connection->pg = PQconnectStartParams(keywords, values, 1);
    if (connection->pg == NULL || PQstatus(connection->pg) == CONNECTION_BAD) {
        s_connection_poll(connection, PGRES_POLLING_FAILED);
        return;
    }
    (void)PQsetErrorVerbosity(connection->pg, PQERRORS_SQLSTATE);
    (void)PQsetNoticeReceiver(connection->pg, s_notice, connection);
    s_connection_poll(connection, PGRES_POLLING_WRITING);
}

static void s_connection_tick(struct connection *connection, int64_t now)
{
    switch (connection->state) {
    case CLOSED:
        if (connection->retry_at <= now) {
            s_connection_open(connection, now);
        }
        break;
    case CONNECTING:
    case PREPARING:
        if (now - connection->since_at > CONNECT_US) {
            s_connection_lost(connection);
        }
        break;
    case READY:
        if (connection->in_flight > 0 &&
            now - connection->progress_at >
                STUCK_TIMES * connection->lane->statement_us) {
            s_connection_lost(connection);
        }
        break;
    }
}

bool cn_link_down(const struct lane *lane, int64_t now)
{
    return lane->ready == 0 &&
           (lane->down_at == INT64_MIN || now - lane->down_at > OUTAGE_US);
}

static void s_link_tick(void *arg)
{
    struct cn_db *self = arg;
    int64_t now = cn_clock_monotonic();
    int64_t next_at = now + TICK_US;
    self->timer = NULL;
    for (size_t l = 0; l < CN_LANE_COUNT; l++) {
        struct lane *lane = &self->lanes[l];
        for (unsigned i = 0; i < lane->count; i++) {
            s_connection_tick(&lane->connections[i], now);
            if (lane->connections[i].state == CLOSED &&
                lane->connections[i].retry_at < next_at) {
                next_at = lane->connections[i].retry_at;
            }
        }
        while (lane->first != NULL && cn_link_down(lane, now)) {
            struct unit *unit = lane->first;
            cn_queue_remove(lane, unit);
            cn_unit_break(unit);
        }
    }
    cn_link_tick_by(self, next_at);
}

/* ---- sending ---- */

struct connection *cn_link_choose(struct lane *lane, int64_t now)
{
    struct connection *best = NULL;
    unsigned best_load = UINT32_MAX;
    for (unsigned i = 0; i < lane->count; i++) {
        struct connection *connection = &lane->connections[i];
        if (connection->state != READY ||
            connection->in_flight >= lane->depth) {
            continue;
        }
        unsigned load = connection->in_flight;
        if (load > 0 && now - connection->progress_at > SLOW_US) {
            load += CN_DB_PIPELINE_MAX;
        }
        if (load < best_load) {
            best = connection;
            best_load = load;
        }
    }
    return best;
}

static bool s_step_send(struct connection *connection,
                        const struct cn_db_step *step)
{
    struct cn_db_values values;
    bool sent =
        cn_db_values_init(&values, step->params, step->count) &&
        PQsendQueryPrepared(connection->pg, step->statement->name, values.count,
                            values.data, values.size, values.format, 1) == 1;
    cn_db_values_done(&values);
    return sent;
}

/* Sends the first step, which may set the tenant. On the slow lane, and where
 * the unit has less time than the role's statement_timeout, the step also sets
 * the timeout. Only then, because it costs the server one more function call.
 */
static bool s_first_send(struct connection *connection,
                         const struct unit *unit,
                         int64_t now)
{
    const struct cn_db_step *first = &unit->steps[0];
    const struct lane *lane = connection->lane;
    const struct cn_statement *within = cn_db_tenant_within(first->statement);
    int64_t left_us = lane->statement_us;
    if (unit->deadline_at < now + left_us) {
        left_us = unit->deadline_at - now;
    }
    if (within == NULL || left_us == CN_DB_STATEMENT_US) {
        return s_step_send(connection, first);
    }
    left_us = left_us < 0 ? 0 : left_us;
    const struct cn_param params[] = {
        first->params[0], cn_int((left_us + WITHIN_SLACK_US) / 1000)
    };
    const struct cn_db_step step = { .statement = within,
                                     .params = params,
                                     .count = 2 };
    return s_step_send(connection, &step);
}

/* All statements and the Sync gather in libpq's buffer; PQpipelineSync gives
 * them to the kernel in one send. */
void cn_link_send(struct connection *connection, struct unit *unit, int64_t now)
{
    if (connection->in_flight == 0) {
        connection->progress_at = now;
    }
    bool built = s_first_send(connection, unit, now);
    for (size_t i = 1; built && i < unit->count; i++) {
        built = s_step_send(connection, &unit->steps[i]);
    }
    if (built) {
        unit->sent = true;
        built = PQpipelineSync(connection->pg) == 1;
    }
    unit->steps = NULL;
    unit->state = UNIT_SENT;
    unsigned tail =
        (connection->head + connection->in_flight) % CN_DB_PIPELINE_MAX;
    connection->sent[tail] = unit;
    connection->in_flight++;
    if (!built) {
        /* Half a unit in libpq's buffer cannot be taken back. */
        s_connection_lost(connection);
        return;
    }
    (void)s_connection_flush(connection);
}

static void s_pump(struct lane *lane)
{
    if (lane->first == NULL) {
        return;
    }
    int64_t now = cn_clock_monotonic();
    for (struct unit *unit; (unit = lane->first) != NULL;) {
        struct connection *connection = cn_link_choose(lane, now);
        if (connection == NULL) {
            return;
        }
        cn_queue_remove(lane, unit);
        cn_link_send(connection, unit, now);
    }
}

void cn_link_done(struct connection *connection)
{
    s_connection_unwatch(connection);
    PQfinish(connection->pg);
    connection->pg = NULL;
    s_break_units(connection);
}
