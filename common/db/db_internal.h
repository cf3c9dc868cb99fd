/* SPDX-License-Identifier: Apache-2.0 */
/* What common/db/db.c (lanes, units) and common/db/db_link.c (connections)
 * share. */
#ifndef CN_DB_INTERNAL_H
#define CN_DB_INTERNAL_H

#include "common/base/env.h"
#include "common/db/db.h"
#include "common/db/db_value.h"
#include "common/loop/fiber.h"
#include "common/loop/metrics.h"

#include <libpq-fe.h>

enum {
    RESULTS_INLINE = 12, /* steps of a unit without a further allocation */
    ERROR_MAX = 128
};

enum unit_state { UNIT_WAITING, UNIT_SENT, UNIT_DONE };

/* One unit on its way. Lives on the heap: its fiber may leave at its deadline
 * while the results are still to come. */
struct unit {
    struct unit *next; /* in the lane's queue or the pool */
    struct unit *previous;
    struct cn_db *db; /* NULL when that was freed */
    struct lane *lane;
    int64_t began_at;    /* monotonic */
    int64_t deadline_at; /* of its fiber */
    struct cn_token token;
    const struct cn_db_step *steps; /* the fiber's; until it is sent */
    size_t count;
    enum unit_state state;
    bool abandoned; /* its fiber has left */
    bool sent;      /* something may have reached the server */
    bool warned;    /* not replicated as promised */
    bool failed;
    bool got; /* a result of step `at` came, its terminator not yet */
    size_t at;
    enum cn_code refusal; /* of a unit that was not sent */
    enum cn_outcome outcome;
    unsigned failed_step;
    char sqlstate[6];
    char constraint[64];
    PGresult **results;
    PGresult *results_inline[RESULTS_INLINE];
};

enum connection_state { CLOSED, CONNECTING, PREPARING, READY };

struct connection {
    struct lane *lane;
    PGconn *pg;
    struct cn_watch *watch;
    int watch_fd; /* a duplicate: libpq closes its own by itself */
    unsigned watched;
    enum connection_state state;
    unsigned attempts;
    int64_t since_at;    /* of the state */
    int64_t retry_at;    /* when closed */
    int64_t progress_at; /* something was sent to an idle server or came back */
    size_t prepared;     /* statements answered, while preparing */
    bool got;
    bool refused; /* a statement did not prepare */
    struct unit *sent[CN_DB_PIPELINE_MAX];
    unsigned head;
    unsigned in_flight;
};

/* How a unit ended, for the metrics. */
enum unit_end {
    END_COMMITTED,
    END_ABORTED,
    END_UNKNOWN,
    END_LATE,    /* its fiber left before the answer came */
    END_REFUSED, /* nothing was sent */
    END_COUNT
};

struct lane {
    struct cn_db *db;
    enum cn_lane id;
    char *user;
    char *password;
    unsigned depth; /* units in flight on one connection */
    size_t waiting_max;
    int64_t statement_us; /* the longest statement */
    unsigned count;
    unsigned ready;
    int64_t down_at; /* since when none is ready; INT64_MIN: from the start */
    struct connection *connections;
    struct unit *first; /* waiting */
    struct unit *last;
    size_t waiting;
    uint64_t ends[END_COUNT];
    uint64_t losses;               /* of connections */
    struct cn_histogram durations; /* of units, the wait for a connection too */
};

struct cn_db {
    struct cn_env *env;
    char *conninfo;
    char *schema;
    char application[64];
    int epoch;
    struct lane lanes[CN_LANE_COUNT];
    struct unit *pool;
    size_t pooled;
    struct cn_timer *timer;
    int64_t timer_at;
    unsigned fail_at; /* cn_db_fail_at */
    bool starting;
    struct cn_rest starter; /* the fiber in cn_db_start */
    struct cn_err fatal;
    char error[ERROR_MAX]; /* of the last attempt to connect */
};

extern const char *const cn_lane_names[CN_LANE_COUNT];

/* Units: common/db/db.c */

/* The variant of a statement which sets the tenant that also sets the server's
 * timeout; NULL for any other statement. */
const struct cn_statement *
cn_db_tenant_within(const struct cn_statement *statement);

void cn_unit_free(struct unit *unit);
/* The outcome is in: wakes its fiber, or frees it when that has left. */
void cn_unit_complete(struct unit *unit);
/* Ends a unit whose connection is gone, or that never had one. */
void cn_unit_break(struct unit *unit);
void cn_queue_add(struct lane *lane, struct unit *unit);
void cn_queue_remove(struct lane *lane, struct unit *unit);

/* Metrics: common/db/db_metrics.c */

void cn_db_metrics(void *arg, struct cn_metrics_page *page);

/* Connections: common/db/db_link.c */

/* Makes sure that the tick runs no later than `at`, and then by itself. It
 * opens closed connections, closes stuck ones, and fails units that wait while
 * their lane is down. */
void cn_link_tick_by(struct cn_db *self, int64_t at);
/* Was the lane without a connection for too long to wait for one? */
bool cn_link_down(const struct lane *lane, int64_t now);
/* The connection with the fewest units in flight; one that makes no progress
 * only when no other has room. NULL when all are full or gone. */
struct connection *cn_link_choose(struct lane *lane, int64_t now);
/* Sends the unit; it may be done (broken) at once. */
void cn_link_send(struct connection *connection,
                  struct unit *unit,
                  int64_t now);
/* Closes for good; units in flight are broken. */
void cn_link_done(struct connection *connection);

#endif
