/* SPDX-License-Identifier: Apache-2.0 */
/* PostgreSQL in the loop: pipelined, asynchronous, every call with a deadline.
 * The only file that calls libpq on a connection.
 *
 * - A statement is declared beside the function that runs it and prepared on
 *   every connection of its lane at start; one that does not prepare is fatal,
 *   by name.
 * - Reads and writes use different connections, so that a waiting lock delays
 *   no reader. The relay lane is the role that may see the platform's tables
 *   across tenants; it may do all that the app role may.
 * - The slow lane is for reads whose length depends on how much data the tenant
 *   has: exports, filters without an index. Each of its few connections takes
 *   one at a time, so that they never delay a read by id (measured: with 10 %
 *   one-second statements in a shared lane, 89 % of all requests took longer
 *   than 300 ms). Beyond its short queue it is BUSY.
 * - A write is acknowledged at the Sync, never at its row. */
#ifndef CN_DB_H
#define CN_DB_H

#include "common/base/arena.h"
#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/id.h"

#include <stddef.h>
#include <stdint.h>

struct cn_db;
struct cn_env;
struct cn_rows;

enum cn_lane {
    CN_LANE_READ,
    CN_LANE_WRITE,
    CN_LANE_RELAY,
    CN_LANE_SLOW,
    CN_LANE_COUNT
};

enum {
    CN_DB_PARAMS_MAX = 40,
    CN_DB_PIPELINE_MAX = 8,     /* units in flight on one connection */
    CN_DB_WAITING_MAX = 1024,   /* units waiting for a connection */
    CN_DB_SLOW_WAITING_MAX = 16 /* more would run out of time in the queue */
};

/* The longest statement of the app role and of the relay, as roles.sql sets it.
 * A unit with a tenant and less time than that tells the server so. Statements
 * of the slow lane may use all of a request's time. */
#define CN_DB_STATEMENT_US      ((int64_t)5000000)
#define CN_DB_SLOW_STATEMENT_US ((int64_t)10000000)

/* What became of a unit. */
enum cn_outcome { CN_COMMITTED, CN_ABORTED, CN_OUTCOME_UNKNOWN };

/* A prepared statement. lanes is a set of 1 << CN_LANE_x. In the text
 * {{schema}} stands for the schema of cn_db_config: how common/ reaches the
 * platform's tables without naming a service. */
struct cn_statement {
    const char *name;
    const char *sql;
    unsigned lanes;
};

/* A flag beside the lanes: the statement is planned once for each connection.
 * By default PostgreSQL plans a statement with a list parameter anew each time,
 * because a short list promises a cheaper plan, and planning takes longer than
 * running it. For statements with only one good plan. The statements of a unit
 * are always planned once. */
enum { CN_PLAN_ONCE = 1 << 8 };

/* Declares `static const struct cn_statement NAME` and enters it in the table
 * of all statements of the program. WRITE statements exist on the write and the
 * relay lane, RELAY statements on the relay lane alone, SLOW ones on the slow
 * one. */
#define CN_STATEMENT(statement, lane_set, text)                                \
    static const struct cn_statement statement = { #statement, text,           \
                                                   lane_set };                 \
    static const struct cn_statement *const statement##_entry                  \
        __attribute__((section("cn_statements"), used)) = &statement
#define CN_SQL_READ(statement, text)                                           \
    CN_STATEMENT(statement, 1U << CN_LANE_READ, text)
#define CN_SQL_WRITE(statement, text)                                          \
    CN_STATEMENT(statement, 1U << CN_LANE_WRITE | 1U << CN_LANE_RELAY, text)
#define CN_SQL_SLOW(statement, text)                                           \
    CN_STATEMENT(statement, 1U << CN_LANE_SLOW, text)
#define CN_SQL_RELAY(statement, text)                                          \
    CN_STATEMENT(statement, 1U << CN_LANE_RELAY, text)

/* All statements of this program, for the start and for the EXPLAIN test. */
size_t cn_statement_count(void);
const struct cn_statement *cn_statement_at(size_t index);

/* One parameter. Borrowed until the call returns. */
enum cn_param_kind {
    CN_PARAM_NULL,
    CN_PARAM_TEXT,  /* sent as text: text, any cast the server infers */
    CN_PARAM_INT,   /* sent as text: smallint, int, bigint, xid8 */
    CN_PARAM_BOOL,  /* boolean */
    CN_PARAM_UUID,  /* binary: uuid */
    CN_PARAM_AT,    /* binary: timestamptz */
    CN_PARAM_BYTES, /* binary: bytea */
    CN_PARAM_TEXTS, /* text[]; NULL elements are not sent */
    CN_PARAM_UUIDS  /* uuid[] */
};
struct cn_param {
    enum cn_param_kind kind;
    union {
        const char *text;
        int64_t number; /* also bool and at (microseconds UTC) */
        struct cn_uuid uuid;
        struct cn_bytes bytes;
        struct {
            const void *items; /* const char *const * or struct cn_uuid * */
            size_t count;
        } list;
    } value;
};
/* Each is a struct cn_param; a NULL text or list is SQL NULL. */
struct cn_param cn_null(void);
struct cn_param cn_text(const char *text);
struct cn_param cn_int(int64_t number);
struct cn_param cn_bool(bool value);
struct cn_param cn_uuid(struct cn_uuid id);
struct cn_param cn_uuid_or_null(struct cn_uuid id); /* nil is NULL */
struct cn_param cn_at(int64_t at);
struct cn_param cn_at_or_null(bool has, int64_t at);
struct cn_param cn_bytes(const void *data, size_t size);
struct cn_param cn_texts(const char *const *items, size_t count);
struct cn_param cn_uuids(const struct cn_uuid *items, size_t count);
/* Numbers as the text of an array, "{1,2}", for `$n::bigint[]`. */
struct cn_param
cn_numbers(struct cn_arena *arena, const int64_t *numbers, size_t count);

/* Connections by lane and how to reach them. The password is copied. */
struct cn_db_config {
    const char *conninfo; /* host, port, dbname; no user, no password */
    const char *schema;   /* of the service: for {{schema}} in statements */
    int epoch; /* CAIRN_EPOCH: the first part of an event's position */
    struct {
        const char *user;
        const char *password; /* NULL: none needed */
        unsigned connections; /* 0: the lane is not opened */
    } lanes[CN_LANE_COUNT];
};

/* A check for struct cn_option: NULL, or what is wrong with the conninfo. */
const char *cn_db_conninfo_check(const char *conninfo);
/* Opens nothing yet. NULL without memory. */
struct cn_db *cn_db_new(struct cn_env *env, const struct cn_db_config *config);
/* Connects and prepares everything; blocks the calling fiber. A statement that
 * does not prepare: CN_INTERNAL with its name. Connections that break later are
 * made anew by themselves, with a backoff of 100 ms to 2 s. */
CN_CHECKED enum cn_code cn_db_start(struct cn_db *self, struct cn_err *err);
/* Closes all connections; waiting fibers are woken with CN_UNAVAILABLE. Not
 * while cn_db_start runs. NULL is accepted. */
void cn_db_free(struct cn_db *self);
/* As configured; they live as long as self. */
const char *cn_db_schema(const struct cn_db *self);
int cn_db_epoch(const struct cn_db *self);
/* Are all lanes usable now? For /readyz and the bus ping. */
bool cn_db_healthy(const struct cn_db *self);

/* One statement in one unit, under the tenant (nil is refused with CN_FORBIDDEN
 * unless the lane is CN_LANE_RELAY). Rows belong to the arena. Fails with
 * CN_DEADLINE, CN_BUSY (the queue is full, or a lock was not had),
 * CN_UNAVAILABLE (not sent or connection lost; safe to repeat) or CN_INTERNAL
 * (SQLSTATE in the message, never row values). */
CN_CHECKED enum cn_code cn_db_read(struct cn_db *self,
                                   enum cn_lane lane,
                                   struct cn_arena *arena,
                                   struct cn_uuid tenant,
                                   const struct cn_statement *statement,
                                   const struct cn_param *params,
                                   size_t count,
                                   const struct cn_rows **ret_rows,
                                   struct cn_err *err);

/* The same over all tenants, on the relay lane. An arena that could not be made
 * (NULL) is CN_NOMEM. */
CN_CHECKED enum cn_code cn_db_read_all(struct cn_db *self,
                                       struct cn_arena *arena,
                                       const struct cn_statement *statement,
                                       const struct cn_param *params,
                                       size_t count,
                                       const struct cn_rows **ret_rows,
                                       struct cn_err *err);

/* The first step of every unit: sets the tenant (its one parameter is
 * cn_uuid(tenant)), and that the unit's statements are planned once. Only units
 * of the relay lane may do without. */
const struct cn_statement *cn_db_tenant_statement(void);

/* Several statements as one unit: what write.h is built on. */
struct cn_db_step {
    const struct cn_statement *statement;
    const struct cn_param *params; /* borrowed until the call returns */
    size_t count;
};
struct cn_db_result {
    enum cn_outcome outcome;
    char sqlstate[6];            /* of the first error, else "" */
    char constraint[64];         /* its constraint's name, else "" */
    unsigned failed_step;        /* index of the step that failed */
    const struct cn_rows **rows; /* one per step, in the arena */
};
/* Runs the steps in one implicit transaction (READ COMMITTED), Query and Sync
 * in one send. CN_OK means that ret_result is filled, whatever its outcome;
 * otherwise nothing was sent (CN_BUSY, CN_UNAVAILABLE, CN_DEADLINE, CN_NOMEM,
 * and CN_FORBIDDEN for a unit without a tenant outside the relay lane). A
 * deadline or a lost connection after the send is CN_OK with
 * CN_OUTCOME_UNKNOWN. */
CN_CHECKED enum cn_code cn_db_unit(struct cn_db *self,
                                   enum cn_lane lane,
                                   struct cn_arena *arena,
                                   const struct cn_db_step *steps,
                                   size_t count,
                                   struct cn_db_result *ret_result,
                                   struct cn_err *err);

/* For tests: unit number n (from 1) from now on, a read or a write, is not sent
 * and fails with CN_UNAVAILABLE; 0: none. Returns how many units an earlier
 * call still had to go: 0 when it has struck. */
unsigned cn_db_fail_at(struct cn_db *self, unsigned n);

/* Reading rows. Column numbers are those of the statement's list; a wrong type
 * or number is a bug and aborts. NULL reads as NULL, 0, false, nil, empty. */
size_t cn_rows_count(const struct cn_rows *rows);
int cn_rows_columns(const struct cn_rows *rows);
/* No rows, of no statement. */
const struct cn_rows *cn_rows_none(void);
bool cn_row_null(const struct cn_rows *rows, size_t row, int column);
const char *cn_row_text(const struct cn_rows *rows, size_t row, int column);
int64_t cn_row_int(const struct cn_rows *rows, size_t row, int column);
bool cn_row_bool(const struct cn_rows *rows, size_t row, int column);
struct cn_uuid cn_row_uuid(const struct cn_rows *rows, size_t row, int column);
int64_t cn_row_at(const struct cn_rows *rows, size_t row, int column);
struct cn_bytes
cn_row_bytes(const struct cn_rows *rows, size_t row, int column);
/* text[] into the arena, never NULL; a NULL element reads as "". */
const char **cn_row_texts(const struct cn_rows *rows,
                          size_t row,
                          int column,
                          struct cn_arena *arena,
                          size_t *ret_count);
/* uuid[] into the arena, never NULL; a NULL element reads as nil. */
const struct cn_uuid *cn_row_uuids(const struct cn_rows *rows,
                                   size_t row,
                                   int column,
                                   struct cn_arena *arena,
                                   size_t *ret_count);

/* The failure that a SQLSTATE stands for, apart from constraints:
 * CN_UNAVAILABLE, CN_DEADLINE, CN_BUSY or CN_INTERNAL. */
enum cn_code cn_db_code(const char *sqlstate);

#endif
