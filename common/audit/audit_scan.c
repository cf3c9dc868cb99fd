/* SPDX-License-Identifier: Apache-2.0 */
#include "common/audit/audit_scan.h"

#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/db/db.h"
#include "common/loop/fiber.h"

#include <string.h>

enum {
    ARENA_MAX = 64 << 20,
    BUDGET_US = 30000000, /* of one page */
    ENTRY_PAGE = 1000,
    KEY_PAGE = 5000
};

#define SCAN_COLUMNS                                                           \
    "SELECT s.tenant_id, s.id, s.n, s.seq, s.form, s.hash, " CN_AUDIT_COLUMNS
/* The LIMIT of one keeps the planner from reading all of audit for a join. */
#define SCAN_ROW                                                               \
    " LEFT JOIN LATERAL (SELECT a.* FROM {{schema}}.audit a"                   \
    " WHERE a.tenant_id = s.tenant_id AND a.id = s.id LIMIT 1) a ON true"
enum { SCAN_FIRST = 6 };

/* Not by seq alone: after tampering two rows may have the same seq. */
_Static_assert(ENTRY_PAGE == 1000, "the limit in SQL_AUDIT_SCAN");
CN_SQL_RELAY(SQL_AUDIT_SCAN,
             SCAN_COLUMNS
             " FROM (SELECT s.* FROM {{schema}}.audit_seal s"
             " WHERE (s.seq, s.tenant_id, s.n) > ($1, $2, $3)"
             " ORDER BY s.seq, s.tenant_id, s.n LIMIT 1000) s" SCAN_ROW
             " ORDER BY s.seq, s.tenant_id, s.n");
CN_SQL_RELAY(SQL_AUDIT_SCAN_TENANT,
             SCAN_COLUMNS " FROM (SELECT s.* FROM {{schema}}.audit_seal s"
                          " WHERE s.tenant_id = $1 AND s.n > $2"
                          " ORDER BY s.n LIMIT 1000) s" SCAN_ROW
                          " ORDER BY s.n");

CN_SQL_RELAY(SQL_AUDIT_SCAN_PLACE,
             "SELECT p.epoch, p.xid, p.tenant_id, p.id, p.seq"
             " FROM {{schema}}.audit_sealer p");

/* Rows up to the sealer's place, and whether they have a seal. */
_Static_assert(KEY_PAGE == 5000, "the limit in SQL_AUDIT_SCAN_KEYS");
CN_SQL_RELAY(SQL_AUDIT_SCAN_KEYS,
             "SELECT a.epoch, a.xid, a.tenant_id, a.id, s.id IS NOT NULL"
             " FROM (SELECT a.* FROM {{schema}}.audit a"
             " WHERE (a.epoch, a.xid, a.tenant_id, a.id) > ($1, $2, $3, $4)"
             " AND (a.epoch, a.xid, a.tenant_id, a.id) <= ($5, $6, $7, $8)"
             " ORDER BY a.epoch, a.xid, a.tenant_id, a.id LIMIT 5000) a"
             " LEFT JOIN LATERAL (SELECT s.id FROM {{schema}}.audit_seal s"
             " WHERE s.tenant_id = a.tenant_id AND s.id = a.id LIMIT 1) s"
             " ON true"
             " ORDER BY a.epoch, a.xid, a.tenant_id, a.id");

/* A place in the order of audit. */
struct place {
    int64_t epoch;
    int64_t xid;
    struct cn_uuid tenant_id;
    struct cn_uuid id;
};

static struct place s_row_place(const struct cn_rows *rows, size_t row)
{
    return (struct place){ cn_row_int(rows, row, 0), cn_row_int(rows, row, 1),
                           cn_row_uuid(rows, row, 2),
                           cn_row_uuid(rows, row, 3) };
}

static enum cn_code s_sealer(struct cn_env *env,
                             struct place *ret_place,
                             int64_t *ret_seq,
                             struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(ARENA_MAX);
    const struct cn_rows *rows = NULL;
    cn_fiber_set_deadline(cn_clock_monotonic() + BUDGET_US);
    enum cn_code rc = cn_db_read_all(env->db, arena, &SQL_AUDIT_SCAN_PLACE,
                                     NULL, 0, &rows, err);
    if (rc == CN_OK && cn_rows_count(rows) != 1) {
        rc = cn_fail(err, CN_INTERNAL, "the sealer has no place");
    }
    if (rc == CN_OK) {
        *ret_place = s_row_place(rows, 0);
        *ret_seq = cn_row_int(rows, 0, 4);
    }
    return rc;
}

static struct cn_audit_entry s_row_entry(const struct cn_rows *rows, size_t row)
{
    struct cn_bytes hash = cn_row_bytes(rows, row, 5);
    struct cn_audit_entry entry = {
        .tenant_id = cn_row_uuid(rows, row, 0),
        .id = cn_row_uuid(rows, row, 1),
        .n = cn_row_int(rows, row, 2),
        .seq = cn_row_int(rows, row, 3),
        .form = cn_row_int(rows, row, 4),
    };
    if (hash.size == sizeof(entry.hash)) {
        memcpy(entry.hash, hash.data, sizeof(entry.hash));
    }
    cn_audit_entry_row(&entry, rows, row, SCAN_FIRST);
    return entry;
}

/* One page after the last entry; *ret_count: how many. */
static enum cn_code s_scan_page(struct cn_env *env,
                                struct cn_uuid tenant,
                                struct cn_audit_entry *last,
                                cn_audit_entry_fn *fn,
                                void *arg,
                                size_t *ret_count,
                                struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(ARENA_MAX);
    const struct cn_param all[] = { cn_int(last->seq), cn_uuid(last->tenant_id),
                                    cn_int(last->n) };
    const struct cn_param own[] = { cn_uuid(tenant), cn_int(last->n) };
    bool whole = cn_uuid_is_nil(tenant);
    const struct cn_rows *rows = NULL;
    cn_fiber_set_deadline(cn_clock_monotonic() + BUDGET_US);
    enum cn_code rc =
        whole ? cn_db_read_all(env->db, arena, &SQL_AUDIT_SCAN, all, 3, &rows,
                               err)
              : cn_db_read_all(env->db, arena, &SQL_AUDIT_SCAN_TENANT, own, 2,
                               &rows, err);
    if (rc != CN_OK) {
        return rc;
    }
    *ret_count = cn_rows_count(rows);
    for (size_t row = 0; rc == CN_OK && row < *ret_count; row++) {
        struct cn_audit_entry entry = s_row_entry(rows, row);
        rc = fn(arg, &entry, err);
        *last = entry; /* Nobody reads its texts, which end with the arena. */
    }
    return rc;
}

enum cn_code cn_audit_scan(struct cn_env *env,
                           struct cn_uuid tenant,
                           cn_audit_entry_fn *fn,
                           void *arg,
                           int64_t *ret_last_seq,
                           struct cn_err *err)
{
    struct cn_audit_entry last = { .seq = INT64_MIN };
    struct place place = { 0 };
    size_t count = ENTRY_PAGE;
    if (!cn_uuid_is_nil(tenant)) {
        last.n = INT64_MIN;
    }
    enum cn_code rc = s_sealer(env, &place, ret_last_seq, err);
    while (rc == CN_OK && count == ENTRY_PAGE) {
        rc = s_scan_page(env, tenant, &last, fn, arg, &count, err);
    }
    return rc;
}

/* ---- verifying ---- */

static enum cn_code s_verify_entry(void *arg,
                                   const struct cn_audit_entry *entry,
                                   struct cn_err *err)
{
    return cn_audit_verify_entry(arg, entry, 0, err);
}

/* Rows without a seal among those after *from and up to `to`. */
static enum cn_code s_unsealed(struct cn_env *env,
                               struct cn_uuid tenant,
                               struct place *from,
                               struct place to,
                               struct cn_audit_verify *verify,
                               size_t *ret_count,
                               struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(ARENA_MAX);
    const struct cn_param params[] = {
        cn_int(from->epoch),   cn_int(from->xid), cn_uuid(from->tenant_id),
        cn_uuid(from->id),     cn_int(to.epoch),  cn_int(to.xid),
        cn_uuid(to.tenant_id), cn_uuid(to.id),
    };
    const struct cn_rows *rows = NULL;
    cn_fiber_set_deadline(cn_clock_monotonic() + BUDGET_US);
    enum cn_code rc = cn_db_read_all(env->db, arena, &SQL_AUDIT_SCAN_KEYS,
                                     params, CN_COUNT(params), &rows, err);
    if (rc != CN_OK) {
        return rc;
    }
    *ret_count = cn_rows_count(rows);
    for (size_t row = 0; rc == CN_OK && row < *ret_count; row++) {
        *from = s_row_place(rows, row);
        bool wanted =
            cn_uuid_is_nil(tenant) || cn_uuid_equal(tenant, from->tenant_id);
        if (wanted && !cn_row_bool(rows, row, 4)) {
            rc = cn_audit_verify_add(
                verify,
                (struct cn_audit_fault){ .wrong = CN_AUDIT_EXTRA,
                                         .tenant_id = from->tenant_id,
                                         .id = from->id },
                err);
        }
    }
    return rc;
}

enum cn_code cn_audit_scan_verify(struct cn_env *env,
                                  struct cn_uuid tenant,
                                  struct cn_audit_verify *verify,
                                  struct cn_err *err)
{
    struct place from = { .epoch = INT32_MIN };
    struct place to = { 0 };
    int64_t last_seq = 0;
    size_t count = KEY_PAGE;
    /* The place is read first: rows up to it have their seals already. */
    enum cn_code rc = s_sealer(env, &to, &last_seq, err);
    if (rc == CN_OK) {
        rc = cn_audit_scan(env, tenant, s_verify_entry, verify, &last_seq, err);
    }
    while (rc == CN_OK && count == KEY_PAGE) {
        rc = s_unsealed(env, tenant, &from, to, verify, &count, err);
    }
    return rc == CN_OK ? cn_audit_verify_end(verify, last_seq, err) : rc;
}
