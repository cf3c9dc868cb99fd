/* SPDX-License-Identifier: Apache-2.0 */
/* Referrals as rows. */
#include "common/wire/json.h"
#include "services/referrals/rules.h"
#include "services/referrals/store_internal.h"

#include <assert.h>

#define REFERRAL_BODY "referrals.referral.body"

#define REFERRAL_COLUMNS                                                       \
    "r.id, r.branch_id, r.patient_id, r.version, r.event_seq, r.sort_at,"      \
    " r.content_hash, r.body, " BRANCH_ZONE_OF("r")
enum { REFERRAL_COLUMN_COUNT = 9 };

/* ---- read ---- */

static enum cn_code s_read(const struct cn_store *store,
                           const struct cn_rows *rows,
                           size_t row,
                           struct referral_row *ret_row,
                           struct cn_err *err)
{
    struct referral_row referral = {
        .id = cn_row_uuid(rows, row, 0),
        .branch_id = cn_row_uuid(rows, row, 1),
        .patient_id = cn_row_uuid(rows, row, 2),
        .version = cn_row_int(rows, row, 3),
        .event_seq = cn_row_int(rows, row, 4),
        .sort_at = cn_row_at(rows, row, 5),
        .content_hash = cn_row_bytes(rows, row, 6),
        .zone = cn_row_null(rows, row, 8) ? NULL : cn_row_text(rows, row, 8),
    };
    ProtobufCMessage *message = NULL;
    enum cn_code rc =
        cn_store_unseal(store, REFERRAL_BODY, rows, row, 7,
                        &ref__referral__descriptor, &message, err);
    if (rc == CN_OK) {
        referral.referral = (Ref__Referral *)message;
        *ret_row = referral;
    }
    return rc;
}

static enum cn_code s_read_whole(const struct cn_store *store,
                                 const struct cn_rows *rows,
                                 size_t row,
                                 struct referral_row *ret_row,
                                 struct cn_err *err)
{
    struct referral_row referral;
    enum cn_code rc = s_read(store, rows, row, &referral, err);
    if (rc == CN_OK) {
        rc = patient_read(store, rows, row, REFERRAL_COLUMN_COUNT,
                          &referral.patient, err);
    }
    if (rc == CN_OK) {
        *ret_row = referral;
    }
    return rc;
}

static enum cn_code s_read_one(const struct cn_store *store,
                               const struct cn_rows *rows,
                               struct referral_row *ret_row,
                               struct cn_err *err)
{
    if (cn_rows_count(rows) == 0) {
        return cn_fail(err, CN_NOT_FOUND, "no such referral");
    }
    return s_read_whole(store, rows, 0, ret_row, err);
}

static enum cn_code s_read_all(const struct cn_store *store,
                               const struct cn_rows *rows,
                               struct referral_row **ret_rows,
                               size_t *ret_count,
                               struct cn_err *err)
{
    enum cn_code rc = CN_OK;
    size_t count = cn_rows_count(rows);
    struct referral_row *page =
        cn_arena_array(store->arena, count + 1, sizeof(*page));
    if (page == NULL) {
        return cn_fail(err, CN_NOMEM, "list referrals");
    }
    for (size_t row = 0; rc == CN_OK && row < count; row++) {
        rc = s_read_whole(store, rows, row, &page[row], err);
    }
    if (rc == CN_OK) {
        *ret_rows = page;
        *ret_count = count;
    }
    return rc;
}

/* A referral with its patient. OFFSET keeps the lookup a lookup. */
#define REFERRAL_PATIENT                                                       \
    " CROSS JOIN LATERAL (SELECT q.tenant_id, q.id, q.branch_id, q.version,"   \
    " q.event_seq, q.body FROM referrals.patient q"                            \
    " WHERE q.tenant_id = r.tenant_id AND q.id = r.patient_id OFFSET 0) p"
#define REFERRAL_SELECT                                                        \
    "SELECT " REFERRAL_COLUMNS ", " PATIENT_COLUMNS                            \
    " FROM referrals.referral r" REFERRAL_PATIENT

CN_SQL_READ(SQL_REFERRAL_GET,
            REFERRAL_SELECT " WHERE r.tenant_id = $1 AND r.id = $2"
                            " AND ($3::uuid[] IS NULL"
                            " OR r.branch_id = ANY ($3))");

enum cn_code referral_load(const struct cn_store *store,
                           struct cn_uuid id,
                           struct cn_param reach,
                           struct referral_row *ret_row,
                           struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc =
        CN_STORE_READ(store, &SQL_REFERRAL_GET, &rows, err,
                      cn_uuid(store->tenant_id), cn_uuid(id), reach);
    return rc == CN_OK ? s_read_one(store, rows, ret_row, err) : rc;
}

CN_SQL_READ(SQL_REFERRAL_BY_SOURCE,
            REFERRAL_SELECT
            " WHERE r.tenant_id = $1 AND r.source_system = $2"
            " AND r.source_external_id = $3"
            " AND r.status NOT IN ('not_admitted', 'withdrawn', 'closed')");

enum cn_code referral_load_by_source(const struct cn_store *store,
                                     const char *system,
                                     const char *external_id,
                                     struct referral_row *ret_row,
                                     struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc = CN_STORE_READ(store, &SQL_REFERRAL_BY_SOURCE, &rows, err,
                                    cn_uuid(store->tenant_id), cn_text(system),
                                    cn_text(external_id));
    return rc == CN_OK ? s_read_one(store, rows, ret_row, err) : rc;
}

/* One ordered index scan for each status, merged: bounded however many there
 * are in a state. The page is chosen before patients are joined. */
#define PAGE_COLUMNS                                                           \
    "x.tenant_id, x.id, x.branch_id, x.patient_id, x.version, x.event_seq,"    \
    " x.sort_at, x.content_hash, x.body"
#define PAGE_OF(ways, condition)                                               \
    "SELECT " REFERRAL_COLUMNS ", " PATIENT_COLUMNS                            \
    " FROM (SELECT y.* FROM " ways " CROSS JOIN LATERAL (SELECT " PAGE_COLUMNS \
    " FROM referrals.referral x WHERE x.tenant_id = $1 AND " condition         \
    " AND (x.sort_at, x.id) > ($2, $3)"                                        \
    " ORDER BY x.sort_at, x.id LIMIT $4) y"                                    \
    " ORDER BY y.sort_at, y.id LIMIT $4) r" REFERRAL_PATIENT                   \
    " ORDER BY r.sort_at, r.id"

#define EACH_STATUS                                                            \
    "(SELECT DISTINCT u.status FROM unnest($5::text[]) AS u (status)) s"

CN_SQL_READ(SQL_REFERRALS_BY_STATUS,
            PAGE_OF(EACH_STATUS, "x.status = s.status"));
CN_SQL_READ(SQL_REFERRALS_BY_BRANCH,
            PAGE_OF(EACH_STATUS " CROSS JOIN (SELECT DISTINCT v.branch_id"
                                " FROM unnest($6::uuid[]) AS v (branch_id)) w",
                    "x.branch_id = w.branch_id AND x.status = s.status"));
CN_SQL_READ(SQL_REFERRALS_OF_PATIENT,
            PAGE_OF("(VALUES (1)) AS s (one)",
                    "x.patient_id = $7 AND x.status = ANY ($5::text[])"
                    " AND ($6::uuid[] IS NULL OR x.branch_id = ANY ($6))"));

static enum cn_code s_page(const struct cn_store *store,
                           const struct referral_filter *filter,
                           struct cn_cursor after,
                           int limit,
                           const struct cn_rows **ret_rows,
                           struct cn_err *err)
{
    const struct cn_param params[] = {
        cn_uuid(store->tenant_id),
        cn_at(after.key),
        cn_uuid(after.id),
        cn_int(limit),
        filter->statuses,
        filter->reach,
        cn_uuid(filter->patient_id),
    };
    if (!cn_uuid_is_nil(filter->patient_id)) {
        return cn_store_read(store, &SQL_REFERRALS_OF_PATIENT, params, 7,
                             ret_rows, err);
    }
    if (filter->reach.kind != CN_PARAM_NULL) {
        return cn_store_read(store, &SQL_REFERRALS_BY_BRANCH, params, 6,
                             ret_rows, err);
    }
    return cn_store_read(store, &SQL_REFERRALS_BY_STATUS, params, 5, ret_rows,
                         err);
}

enum cn_code referrals_page(const struct cn_store *store,
                            const struct referral_filter *filter,
                            struct cn_cursor after,
                            int limit,
                            struct referral_row **ret_rows,
                            size_t *ret_count,
                            struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc = s_page(store, filter, after, limit, &rows, err);
    return rc == CN_OK ? s_read_all(store, rows, ret_rows, ret_count, err) : rc;
}

CN_SQL_SLOW(SQL_REFERRALS_AFTER,
            "SELECT " REFERRAL_COLUMNS ", " PATIENT_COLUMNS
            " FROM (SELECT " PAGE_COLUMNS " FROM referrals.referral x"
            " WHERE x.tenant_id = $1 AND x.id > $2 ORDER BY x.id LIMIT $3) "
            "r" REFERRAL_PATIENT " ORDER BY r.id");

enum cn_code referrals_after(const struct cn_store *store,
                             struct cn_uuid after,
                             int limit,
                             struct referral_row **ret_rows,
                             size_t *ret_count,
                             struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc =
        CN_STORE_READ(store, &SQL_REFERRALS_AFTER, &rows, err,
                      cn_uuid(store->tenant_id), cn_uuid(after), cn_int(limit));
    return rc == CN_OK ? s_read_all(store, rows, ret_rows, ret_count, err) : rc;
}

CN_SQL_READ(SQL_REFERRALS_OPEN,
            "SELECT " REFERRAL_COLUMNS " FROM referrals.referral r"
            " WHERE r.tenant_id = $1 AND r.patient_id = $2"
            " AND r.status = ANY ($3::text[])"
            " ORDER BY r.sort_at, r.id LIMIT $4");

enum cn_code referrals_open(const struct cn_store *store,
                            struct cn_uuid patient_id,
                            struct referral_row **ret_rows,
                            size_t *ret_count,
                            struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc = CN_STORE_READ(
        store, &SQL_REFERRALS_OPEN, &rows, err, cn_uuid(store->tenant_id),
        cn_uuid(patient_id), cn_texts(referral_open_words, REFERRAL_OPEN_COUNT),
        cn_int(PATIENT_REFERRALS_MAX));
    if (rc != CN_OK) {
        return rc;
    }
    size_t count = cn_rows_count(rows);
    struct referral_row *open =
        cn_arena_array(store->arena, count + 1, sizeof(*open));
    if (open == NULL) {
        return cn_fail(err, CN_NOMEM, "open referrals");
    }
    for (size_t row = 0; rc == CN_OK && row < count; row++) {
        rc = s_read(store, rows, row, &open[row], err);
    }
    if (rc == CN_OK) {
        *ret_rows = open;
        *ret_count = count;
    }
    return rc;
}

/* ---- written ---- */

/* What the row repeats of the body. */
struct referral_columns {
    const char *status;
    const char *system; /* NULL unless both name the source's referral */
    const char *external_id;
    struct cn_param body;
};

static enum cn_code s_columns(const struct cn_store *store,
                              const Ref__Referral *referral,
                              struct referral_columns *ret_columns,
                              struct cn_err *err)
{
    const Ref__Referral__Source *source = referral->source;
    struct referral_columns columns = {
        .status = cn_enum_word(&ref__referral__status__descriptor,
                               (int)referral->status),
    };
    assert(columns.status != NULL);
    if (source != NULL && source->system != NULL &&
        source->external_id != NULL) {
        columns.system = source->system;
        columns.external_id = source->external_id;
    }
    Ref__Referral stored = *referral;
    stored.patient = NULL; /* has its own row */
    enum cn_code rc =
        cn_store_seal(store, REFERRAL_BODY, &stored.base, &columns.body, err);
    if (rc == CN_OK) {
        *ret_columns = columns;
    }
    return rc;
}

CN_SQL_WRITE(SQL_REFERRAL_ADD,
             "INSERT INTO referrals.referral (tenant_id, id, branch_id,"
             " patient_id, status, version, event_seq, received_at, soc_due_at,"
             " source_system, source_external_id, content_hash, created_at,"
             " updated_at, body) VALUES ($1, $2, $3, $4, $5, 1, $6, $7, $8, $9,"
             " $10, $11, $12, $12, $13)");

enum cn_code referral_add(const struct cn_store *store,
                          struct cn_write *write,
                          const struct referral_row *row,
                          struct cn_err *err)
{
    const Ref__Referral *referral = row->referral;
    struct referral_columns columns;
    enum cn_code rc = s_columns(store, referral, &columns, err);
    if (rc == CN_OK) {
        CN_CHANGE(write, &SQL_REFERRAL_ADD, cn_uuid(store->tenant_id),
                  cn_uuid(row->id), cn_uuid(row->branch_id),
                  cn_uuid(row->patient_id), cn_text(columns.status),
                  cn_int(row->event_seq), cn_at(referral->received_at),
                  cn_at_or_null(referral->has_soc_due_at, referral->soc_due_at),
                  cn_text(columns.system), cn_text(columns.external_id),
                  cn_bytes(row->content_hash.data, row->content_hash.size),
                  cn_at(referral->created_at), columns.body);
    }
    return rc;
}

CN_SQL_WRITE(SQL_REFERRAL_CHANGE,
             "WITH u AS (UPDATE referrals.referral SET version = version + 1,"
             " event_seq = event_seq + $4, branch_id = $5, status = $6,"
             " soc_due_at = $7, source_system = $8, source_external_id = $9,"
             " updated_at = $10, body = $11"
             " WHERE tenant_id = $1 AND id = $2 AND version = $3 RETURNING 1)"
             " SELECT referrals.require(EXISTS (SELECT 1 FROM u),"
             " 'referral_version')");

enum cn_code referral_change(const struct cn_store *store,
                             struct cn_write *write,
                             const struct referral_row *row,
                             int events,
                             struct cn_err *err)
{
    const Ref__Referral *referral = row->referral;
    struct referral_columns columns;
    enum cn_code rc = s_columns(store, referral, &columns, err);
    if (rc == CN_OK) {
        CN_CHANGE(write, &SQL_REFERRAL_CHANGE, cn_uuid(store->tenant_id),
                  cn_uuid(row->id), cn_int(row->version), cn_int(events),
                  cn_uuid(row->branch_id), cn_text(columns.status),
                  cn_at_or_null(referral->has_soc_due_at, referral->soc_due_at),
                  cn_text(columns.system), cn_text(columns.external_id),
                  cn_at(referral->updated_at), columns.body);
    }
    return rc;
}

CN_SQL_WRITE(SQL_REFERRALS_REQUIRE,
             "SELECT referrals.require(NOT EXISTS (SELECT 1"
             " FROM referrals.referral r WHERE r.tenant_id = $1"
             " AND r.patient_id = $2 AND r.status = ANY ($3::text[])"
             " AND (r.id::text || ':' || r.version) <> ALL ($4::text[])),"
             " 'referral_version')");

enum cn_code referrals_require(const struct cn_store *store,
                               struct cn_write *write,
                               struct cn_uuid patient_id,
                               const struct referral_row *rows,
                               size_t count,
                               struct cn_err *err)
{
    const char **seen = cn_arena_array(store->arena, count + 1, sizeof(*seen));
    for (size_t i = 0; seen != NULL && i < count; i++) {
        char id[CN_UUID_TEXT_SIZE];
        cn_uuid_format(rows[i].id, id);
        seen[i] = cn_arena_printf(store->arena, "%s:%lld", id,
                                  (long long)rows[i].version);
        seen = seen[i] != NULL ? seen : NULL;
    }
    if (seen == NULL) {
        return cn_fail(err, CN_NOMEM, "open referrals");
    }
    CN_CHANGE(write, &SQL_REFERRALS_REQUIRE, cn_uuid(store->tenant_id),
              cn_uuid(patient_id),
              cn_texts(referral_open_words, REFERRAL_OPEN_COUNT),
              cn_texts(seen, count));
    return CN_OK;
}
