/* SPDX-License-Identifier: Apache-2.0 */
/* The sealer's fiber, its lease and its batches. */
#include "common/audit/audit_seal.h"

#include "common/audit/audit_chain.h"
#include "common/audit/audit_heads.h"
#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/db/db.h"
#include "common/loop/fiber.h"
#include "common/loop/loop.h"
#include "common/loop/metrics.h"
#include "common/wire/seal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ARENA_MAX = 32 << 20, /* a batch of rows with hundreds of patients each */
    BUDGET_US = 4000000,  /* of one look or unit */
    IDLE_US = 1000000,    /* between two tries for the lease */
    TEXT_SIZE = 24,       /* digits of a number */
    TELL_AFTER = 8        /* failures in a row before one is logged */
};

static const int64_t HEADS_EVERY_US = CN_HOUR;
static const int64_t HEADS_RETRY_US = CN_MINUTE;

struct sealer {
    struct sealer *next;
    struct cn_env *env;
    struct cn_audit_heads_config heads;
    struct cn_uuid holder;
    bool leads;
    int64_t renew_at; /* monotonic */
    int64_t heads_at; /* monotonic: the next export */
    unsigned failures;
    uint64_t sealed;
    uint64_t lost;    /* batches that another sealer sealed first */
    int64_t lag_us;   /* of the oldest row of the last batch */
    bool head_broken; /* the exported heads do not fit the chains */
};

/* A test may run several in one process; they differ by their env. */
static struct sealer *s_sealers;

/* By the database's clock, so that the clocks of replicas do not matter. */
CN_SQL_RELAY(SQL_SEALER_TAKE,
             "UPDATE {{schema}}.audit_sealer p"
             " SET holder = $1,"
             " held_until = now() + $2::bigint * interval '1 us'"
             " WHERE p.holder = $1 OR p.holder IS NULL"
             " OR p.held_until < now() RETURNING 1");

CN_SQL_RELAY(SQL_SEALER_GIVE,
             "UPDATE {{schema}}.audit_sealer p SET holder = NULL"
             " WHERE p.holder = $1 RETURNING 1");

/* Rows that are not sealed yet, of transactions below the horizon: a row waits
 * while a transaction before it may still commit. */
_Static_assert(CN_AUDIT_SEAL_BATCH == 500, "the limit in SQL_SEALER_LOOK");
CN_SQL_RELAY(
    SQL_SEALER_LOOK,
    "SELECT p.epoch, p.xid, p.tenant_id, p.id, p.seq, a.tenant_id,"
    " " CN_AUDIT_COLUMNS " FROM {{schema}}.audit_sealer p"
    " CROSS JOIN LATERAL (SELECT a.* FROM {{schema}}.audit a"
    " WHERE (a.epoch, a.xid, a.tenant_id, a.id)"
    " > (p.epoch, p.xid, p.tenant_id, p.id)"
    " AND (a.epoch, a.xid) < ($1, pg_snapshot_xmin(pg_current_snapshot()))"
    " ORDER BY a.epoch, a.xid, a.tenant_id, a.id LIMIT 500) a"
    " ORDER BY a.epoch, a.xid, a.tenant_id, a.id");

/* Columns of SQL_SEALER_LOOK. */
enum {
    LOOK_EPOCH,
    LOOK_XID,
    LOOK_TENANT,
    LOOK_ID,
    LOOK_SEQ,
    LOOK_ROW_TENANT,
    LOOK_ROW
};

CN_SQL_RELAY(SQL_SEAL_LAST,
             "SELECT t.tenant_id, s.n, s.hash"
             " FROM unnest($1::uuid[]) AS t (tenant_id)"
             " LEFT JOIN LATERAL (SELECT s.n, s.hash"
             " FROM {{schema}}.audit_seal s WHERE s.tenant_id = t.tenant_id"
             " ORDER BY s.n DESC LIMIT 1) s ON true");

CN_SQL_RELAY(SQL_SEALER_MOVE,
             "WITH moved AS (UPDATE {{schema}}.audit_sealer p"
             " SET epoch = $6, xid = $7, tenant_id = $8, id = $9, seq = $10"
             " WHERE p.epoch = $1 AND p.xid = $2 AND p.tenant_id = $3"
             " AND p.id = $4 AND p.seq = $5 RETURNING 1)"
             " SELECT {{schema}}.require(EXISTS (SELECT 1 FROM moved),"
             " 'audit_sealer_moved')");

/* The hashes come as one string of bytes, 32 of each. */
CN_SQL_RELAY(SQL_SEAL_INSERT,
             "INSERT INTO {{schema}}.audit_seal"
             " (tenant_id, n, seq, id, form, hash)"
             " SELECT r.tenant_id, r.n::bigint, $1::bigint + r.place, r.id,"
             " $2::smallint, substring($3::bytea FROM"
             " (32 * (r.place - 1) + 1)::int FOR 32)"
             " FROM unnest($4::uuid[], $5::text[], $6::uuid[])"
             " WITH ORDINALITY AS r (tenant_id, n, id, place)");

/* ---- one batch ---- */

/* A tenant's chain while a batch is added to it. */
struct chain {
    struct cn_uuid tenant_id;
    int64_t n;
    uint8_t hash[CN_SHA256_SIZE];
};

struct batch {
    struct cn_env *env;
    struct cn_arena *arena;
    const struct cn_rows *rows;
    size_t count;
    struct cn_audit_entry *entries;
    struct chain *chains;
    size_t chain_count;
};

static enum cn_code s_batch_look(struct batch *self, struct cn_err *err)
{
    const struct cn_param epoch = cn_int(cn_db_epoch(self->env->db));
    enum cn_code rc =
        cn_db_read_all(self->env->db, self->arena, &SQL_SEALER_LOOK, &epoch, 1,
                       &self->rows, err);
    if (rc != CN_OK) {
        return rc;
    }
    self->count = cn_rows_count(self->rows);
    self->entries =
        cn_arena_array(self->arena, self->count + 1, sizeof(*self->entries));
    self->chains =
        cn_arena_array(self->arena, self->count + 1, sizeof(*self->chains));
    for (size_t i = 0; i < self->count; i++) {
        struct cn_audit_entry *entry = &self->entries[i];
        entry->tenant_id = cn_row_uuid(self->rows, i, LOOK_ROW_TENANT);
        entry->form = CN_AUDIT_FORM;
        cn_audit_entry_row(entry, self->rows, i, LOOK_ROW);
    }
    return CN_OK;
}

/* The tenant's chain, added to the list when it is missing. The list is short:
 * a batch has few tenants. */
static struct chain *s_batch_chain(struct batch *self, struct cn_uuid tenant_id)
{
    size_t i = 0;
    while (i < self->chain_count &&
           !cn_uuid_equal(self->chains[i].tenant_id, tenant_id)) {
        i++;
    }
    if (i == self->chain_count) {
        self->chains[self->chain_count++] =
            (struct chain){ .tenant_id = tenant_id };
    }
    return &self->chains[i];
}

/* Where the chain of each tenant of the batch ends now. */
static enum cn_code
s_batch_chains_load(struct batch *self, const char *service, struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    for (size_t i = 0; i < self->count; i++) {
        (void)s_batch_chain(self, self->entries[i].tenant_id);
    }
    struct cn_uuid *tenants =
        cn_arena_array(self->arena, self->chain_count, sizeof(*tenants));
    for (size_t i = 0; i < self->chain_count; i++) {
        tenants[i] = self->chains[i].tenant_id;
    }
    const struct cn_param param = cn_uuids(tenants, self->chain_count);
    enum cn_code rc = cn_db_read_all(self->env->db, self->arena, &SQL_SEAL_LAST,
                                     &param, 1, &rows, err);
    for (size_t i = 0; rc == CN_OK && i < cn_rows_count(rows); i++) {
        struct chain *chain = s_batch_chain(self, cn_row_uuid(rows, i, 0));
        if (cn_row_null(rows, i, 1)) {
            cn_audit_chain_begin(service, chain->tenant_id, chain->hash);
            continue;
        }
        chain->n = cn_row_int(rows, i, 1);
        /* The table's CHECK says that it has this size. */
        memcpy(chain->hash, cn_row_bytes(rows, i, 2).data, CN_SHA256_SIZE);
    }
    return rc;
}

static void s_batch_link(struct batch *self)
{
    int64_t seq = cn_row_int(self->rows, 0, LOOK_SEQ);
    for (size_t i = 0; i < self->count; i++) {
        struct cn_audit_entry *entry = &self->entries[i];
        struct chain *chain = s_batch_chain(self, entry->tenant_id);
        bool known = cn_audit_chain_next(chain->hash, entry, chain->hash);
        assert(known);
        entry->n = ++chain->n;
        entry->seq = ++seq;
        memcpy(entry->hash, chain->hash, CN_SHA256_SIZE);
    }
}

/* Parameters of SQL_SEAL_INSERT. */
static void s_seals(const struct batch *self, struct cn_param params[6])
{
    struct cn_arena *arena = self->arena;
    size_t count = self->count;
    struct cn_uuid *tenants = cn_arena_array(arena, count, sizeof(*tenants));
    struct cn_uuid *ids = cn_arena_array(arena, count, sizeof(*ids));
    const char **places = cn_arena_array(arena, count, sizeof(*places));
    uint8_t *hashes = cn_arena_array(arena, count, CN_SHA256_SIZE);
    for (size_t i = 0; i < count; i++) {
        const struct cn_audit_entry *entry = &self->entries[i];
        tenants[i] = entry->tenant_id;
        ids[i] = entry->id;
        places[i] = cn_arena_printf(arena, "%lld", (long long)entry->n);
        memcpy(hashes + i * CN_SHA256_SIZE, entry->hash, CN_SHA256_SIZE);
    }
    params[0] = cn_int(self->entries[0].seq - 1);
    params[1] = cn_int(CN_AUDIT_FORM);
    params[2] = cn_bytes(hashes, count * CN_SHA256_SIZE);
    params[3] = cn_uuids(tenants, count);
    params[4] = cn_texts(places, count);
    params[5] = cn_uuids(ids, count);
}

/* The sealer's place moves first: of two sealers the second waits for its row,
 * then sees that the place has moved, and fails. */
static enum cn_code s_commit(struct batch *self, struct cn_err *err)
{
    const struct cn_rows *rows = self->rows;
    const struct cn_audit_entry *last = &self->entries[self->count - 1];
    const struct cn_param move[] = {
        cn_int(cn_row_int(rows, 0, LOOK_EPOCH)),
        cn_int(cn_row_int(rows, 0, LOOK_XID)),
        cn_uuid(cn_row_uuid(rows, 0, LOOK_TENANT)),
        cn_uuid(cn_row_uuid(rows, 0, LOOK_ID)),
        cn_int(cn_row_int(rows, 0, LOOK_SEQ)),
        cn_int(last->epoch),
        cn_int(last->xid),
        cn_uuid(last->tenant_id),
        cn_uuid(last->id),
        cn_int(last->seq),
    };
    struct cn_param seals[6];
    struct cn_db_result result = { 0 };
    s_seals(self, seals);
    const struct cn_db_step steps[] = {
        { &SQL_SEALER_MOVE, move, CN_COUNT(move) },
        { &SQL_SEAL_INSERT, seals, CN_COUNT(seals) },
    };
    enum cn_code rc = cn_db_unit(self->env->db, CN_LANE_RELAY, self->arena,
                                 steps, 2, &result, err);
    if (rc != CN_OK) {
        return rc;
    }
    if (result.outcome == CN_COMMITTED) {
        return CN_OK;
    }
    if (strcmp(result.constraint, "audit_sealer_moved") == 0) {
        return cn_fail(err, CN_CONFLICT, "another sealer has sealed the rows");
    }
    /* An unknown outcome does no harm: the next batch begins at the place that
     * the database has. */
    return cn_fail(err, CN_UNAVAILABLE,
                   "the audit was not sealed: SQLSTATE %s%s%s", result.sqlstate,
                   result.constraint[0] == '\0' ? "" : ", ", result.constraint);
}

/* *ret_oldest_at: `at` of the oldest row of the batch. */
static enum cn_code s_batch(struct cn_env *env,
                            const char *service,
                            int64_t *ret_count,
                            int64_t *ret_oldest_at,
                            struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(ARENA_MAX);
    struct batch batch = { .env = env, .arena = arena };
    if (arena == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory to seal the audit");
    }
    enum cn_code rc = s_batch_look(&batch, err);
    if (rc == CN_OK && batch.count > 0) {
        rc = s_batch_chains_load(&batch, service, err);
        if (rc == CN_OK) {
            s_batch_link(&batch);
            rc = s_commit(&batch, err);
        }
    }
    if (rc != CN_OK) {
        return rc;
    }
    *ret_count = (int64_t)batch.count;
    *ret_oldest_at = INT64_MAX;
    for (size_t i = 0; i < batch.count; i++) {
        if (batch.entries[i].at < *ret_oldest_at) {
            *ret_oldest_at = batch.entries[i].at;
        }
    }
    return CN_OK;
}

enum cn_code cn_audit_seal_batch(struct cn_env *env,
                                 const char *service,
                                 int64_t *ret_count,
                                 struct cn_err *err)
{
    int64_t oldest_at = 0;
    return s_batch(env, service, ret_count, &oldest_at, err);
}

/* ---- the lease ---- */

static enum cn_code s_lease(const struct sealer *self,
                            const struct cn_statement *statement,
                            size_t count,
                            bool *ret_done,
                            struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(ARENA_MAX);
    const struct cn_param params[] = { cn_uuid(self->holder),
                                       cn_int(CN_AUDIT_SEAL_LEASE_US) };
    const struct cn_rows *rows = NULL;
    enum cn_code rc = cn_db_read_all(self->env->db, arena, statement, params,
                                     count, &rows, err);
    if (rc == CN_OK) {
        *ret_done = cn_rows_count(rows) > 0;
    }
    return rc;
}

static enum cn_code s_lease_renew(struct sealer *self, struct cn_err *err)
{
    int64_t now = cn_clock_monotonic();
    if (self->leads && now < self->renew_at) {
        return CN_OK;
    }
    enum cn_code rc = s_lease(self, &SQL_SEALER_TAKE, 2, &self->leads, err);
    if (rc != CN_OK) {
        self->leads = false;
        return rc;
    }
    self->renew_at = now + CN_AUDIT_SEAL_RENEW_US;
    return CN_OK;
}

/* ---- the heads ---- */

/* A file whose heads do not fit the chains is an alarm, not a failure: the file
 * is kept, and the sealing goes on. */
static void s_export(struct sealer *self)
{
    struct cn_err err = { 0 };
    bool broken = false;
    self->heads_at = cn_clock_monotonic() + HEADS_EVERY_US;
    if (self->heads.folder[0] == '\0') {
        return;
    }
    enum cn_code rc =
        cn_audit_heads_export(self->env, &self->heads, &broken, &err);
    self->head_broken = broken;
    if (rc != CN_OK) {
        self->heads_at = cn_clock_monotonic() + HEADS_RETRY_US;
        cn_log(broken ? CN_LOG_ERROR : CN_LOG_WARN, "audit heads: %s", err.msg);
    }
}

/* ---- the fiber ---- */

static void
s_sealer_tell(struct sealer *self, enum cn_code rc, const char *what)
{
    if (rc == CN_OK || rc == CN_CONFLICT) {
        if (self->failures >= TELL_AFTER) {
            cn_log(CN_LOG_INFO, "the audit is sealed again");
        }
        self->failures = 0;
        return;
    }
    self->failures++;
    if (self->failures == TELL_AFTER) {
        cn_log(CN_LOG_WARN, "sealing the audit: %s", what);
    }
}

/* Seals one batch. Returns how long to rest after it. */
static int64_t s_sealer_round(struct sealer *self)
{
    struct cn_err err = { 0 };
    int64_t count = 0;
    int64_t oldest_at = INT64_MAX;
    cn_fiber_set_deadline(cn_clock_monotonic() + BUDGET_US);
    enum cn_code rc = s_lease_renew(self, &err);
    bool leads = self->leads;
    if (rc == CN_OK && leads) {
        rc = s_batch(self->env, self->heads.service, &count, &oldest_at, &err);
        if (rc == CN_CONFLICT) {
            self->lost++;
            self->leads = false; /* so the next round asks for the lease */
        }
    }
    if (leads && rc == CN_OK && cn_clock_monotonic() >= self->heads_at) {
        s_export(self);
    }
    cn_fiber_set_deadline(INT64_MAX);
    s_sealer_tell(self, rc, err.msg);
    self->sealed += (uint64_t)count;
    self->lag_us = count > 0 ? self->env->now(self->env) - oldest_at : 0;
    if (rc == CN_OK && count == CN_AUDIT_SEAL_BATCH) {
        return 0;
    }
    return leads ? CN_AUDIT_SEAL_POLL_US : IDLE_US;
}

static void s_sealer_forget(struct sealer *self)
{
    struct sealer **link = &s_sealers;
    while (*link != self) {
        link = &(*link)->next;
    }
    *link = self->next;
    cn_metrics_forget(self);
    free(self);
}

/* The last work when the loop stops. Only a fiber with a deadline may still
 * park then. */
static void s_stop(struct sealer *self)
{
    struct cn_err err = { 0 };
    bool given = false;
    int64_t count = 0;
    cn_fiber_set_deadline(cn_clock_monotonic() + CN_AUDIT_SEAL_STOP_BUDGET_US);
    if (self->leads) {
        /* The next sealer does what this batch leaves. */
        (void)!cn_audit_seal_batch(self->env, self->heads.service, &count,
                                   &err);
        s_export(self);
        self->leads = false;
        (void)!s_lease(self, &SQL_SEALER_GIVE, 1, &given, &err);
    }
    s_sealer_forget(self);
}

static void s_seal(void *arg)
{
    struct sealer *self = arg;
    while (!cn_loop_stopping(self->env->loop)) {
        int64_t rest_us = s_sealer_round(self);
        if (cn_fiber_sleep(rest_us) != CN_OK) {
            break;
        }
    }
    s_stop(self);
}

static void s_sealer_metrics(void *arg, struct cn_metrics_page *page)
{
    static const struct cn_metric SEALED = {
        "cairn_audit_sealed_total", "Audit rows that this process has sealed.",
        CN_METRIC_COUNTER
    };
    static const struct cn_metric LAG = {
        "cairn_audit_seal_lag_seconds",
        "Age of the oldest audit row when it was sealed.", CN_METRIC_GAUGE
    };
    static const struct cn_metric LEADS = {
        "cairn_audit_sealer",
        "1 when this process seals the audit of its service.", CN_METRIC_GAUGE
    };
    static const struct cn_metric BROKEN = {
        "cairn_audit_heads_broken",
        "1: the exported heads do not fit the chains; verify the audit.",
        CN_METRIC_GAUGE
    };
    const struct sealer *self = arg;
    cn_metrics_value(page, &SEALED, "", (double)self->sealed);
    cn_metrics_value(page, &LAG, "", (double)self->lag_us / (double)CN_SECOND);
    cn_metrics_value(page, &LEADS, "", self->leads ? 1 : 0);
    cn_metrics_value(page, &BROKEN, "", self->head_broken ? 1 : 0);
}

enum cn_code cn_audit_seal_start(struct cn_env *env,
                                 const struct cn_audit_heads_config *heads,
                                 struct cn_err *err)
{
    uint8_t secret[CN_SIGN_SECRET_SIZE];
    if (heads->key[0] != '\0' &&
        !cn_unhex(heads->key, secret, sizeof(secret))) {
        return cn_fail(err, CN_INVALID,
                       "CAIRN_AUDIT_KEY must be 64 hex digits");
    }
    explicit_bzero(secret, sizeof(secret));
    struct sealer *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory for the sealer");
    }
    self->env = env;
    self->heads = *heads;
    self->holder = cn_uuid_new(env);
    enum cn_code rc = cn_fiber_spawn(env->loop, s_seal, self, INT64_MAX, err);
    if (rc != CN_OK) {
        free(self);
        return rc;
    }
    self->next = s_sealers;
    s_sealers = self;
    cn_metrics_register(s_sealer_metrics, self);
    return CN_OK;
}

bool cn_audit_sealing(const struct cn_env *env)
{
    const struct sealer *self = s_sealers;
    while (self != NULL && self->env != env) {
        self = self->next;
    }
    return self != NULL && self->leads;
}
