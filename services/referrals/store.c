/* SPDX-License-Identifier: Apache-2.0 */
/* Branches and patients; referrals, messages and episodes have their own files.
 */
#include "services/referrals/store.h"

#include "services/referrals/rules.h"
#include "services/referrals/store_internal.h"

#include <string.h>

#define PATIENT_BODY "referrals.patient.body"

/* ---- branches ---- */

CN_SQL_READ(SQL_BRANCH_ZONE,
            "SELECT b.time_zone FROM referrals.branch b"
            " WHERE b.tenant_id = $1 AND b.id = $2");

enum cn_code branch_zone(const struct cn_store *store,
                         struct cn_uuid id,
                         const char **ret_zone,
                         struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc = CN_STORE_READ(store, &SQL_BRANCH_ZONE, &rows, err,
                                    cn_uuid(store->tenant_id), cn_uuid(id));
    if (rc == CN_OK) {
        *ret_zone = cn_rows_count(rows) == 1 ? cn_row_text(rows, 0, 0) : NULL;
    }
    return rc;
}

CN_SQL_WRITE(SQL_BRANCH_PUT,
             "INSERT INTO referrals.branch AS b"
             " (tenant_id, id, name, time_zone, event_seq)"
             " VALUES ($1, $2, $3, $4, $5)"
             " ON CONFLICT (tenant_id, id) DO UPDATE"
             " SET name = excluded.name, time_zone = excluded.time_zone,"
             " event_seq = excluded.event_seq"
             " WHERE b.event_seq <= excluded.event_seq");

void branch_put(struct cn_write *write,
                struct cn_uuid tenant,
                struct cn_uuid id,
                const char *name,
                const char *zone,
                int64_t event_seq)
{
    CN_CHANGE(write, &SQL_BRANCH_PUT, cn_uuid(tenant), cn_uuid(id),
              cn_text(name), cn_text(zone), cn_int(event_seq));
}

/* ---- patients, read ---- */

enum cn_code patient_read(const struct cn_store *store,
                          const struct cn_rows *rows,
                          size_t row,
                          int first,
                          struct patient_row *ret_row,
                          struct cn_err *err)
{
    struct patient_row patient = {
        .id = cn_row_uuid(rows, row, first),
        .branch_id = cn_row_uuid(rows, row, first + 1),
        .version = cn_row_int(rows, row, first + 2),
        .event_seq = cn_row_int(rows, row, first + 3),
        .zone = cn_row_null(rows, row, first + 4)
                    ? NULL
                    : cn_row_text(rows, row, first + 4),
    };
    ProtobufCMessage *message = NULL;
    enum cn_code rc = cn_store_unseal(store, PATIENT_BODY, rows, row, first + 5,
                                      &ref__patient__descriptor, &message, err);
    if (rc == CN_OK) {
        patient.patient = (Ref__Patient *)message;
        *ret_row = patient;
    }
    return rc;
}

static enum cn_code s_patients_read(const struct cn_store *store,
                                    const struct cn_rows *rows,
                                    struct patient_row **ret_rows,
                                    size_t *ret_count,
                                    struct cn_err *err)
{
    enum cn_code rc = CN_OK;
    size_t count = cn_rows_count(rows);
    struct patient_row *page =
        cn_arena_array(store->arena, count + 1, sizeof(*page));
    if (page == NULL) {
        return cn_fail(err, CN_NOMEM, "list patients");
    }
    for (size_t row = 0; rc == CN_OK && row < count; row++) {
        rc = patient_read(store, rows, row, 0, &page[row], err);
    }
    if (rc == CN_OK) {
        *ret_rows = page;
        *ret_count = count;
    }
    return rc;
}

/* Within the reach by its own branch or by a referral. OFFSET 0 keeps the
 * planner from gathering all referrals of the tenant first. */
#define PATIENT_IN_REACH(n)                                                    \
    "(" n "::uuid[] IS NULL OR p.branch_id = ANY (" n ")"                      \
    " OR EXISTS (SELECT 1 FROM referrals.referral r"                           \
    " WHERE r.tenant_id = p.tenant_id AND r.patient_id = p.id"                 \
    " AND r.branch_id = ANY (" n ") OFFSET 0))"

CN_SQL_READ(SQL_PATIENT_GET,
            "SELECT " PATIENT_COLUMNS " FROM referrals.patient p"
            " WHERE p.tenant_id = $1 AND p.id = $2"
            " AND " PATIENT_IN_REACH("$3"));

enum cn_code patient_load(const struct cn_store *store,
                          struct cn_uuid id,
                          struct cn_param reach,
                          struct patient_row *ret_row,
                          struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc =
        CN_STORE_READ(store, &SQL_PATIENT_GET, &rows, err,
                      cn_uuid(store->tenant_id), cn_uuid(id), reach);
    if (rc != CN_OK) {
        return rc;
    }
    if (cn_rows_count(rows) == 0) {
        return cn_fail(err, CN_NOT_FOUND, "no such patient");
    }
    return patient_read(store, rows, 0, 0, ret_row, err);
}

/* Each identifier is looked up by itself (LIMIT 1 says so, one at most has it):
 * a join was planned over all identifiers of the tenant while they were few,
 * and the connections keep their plans. */
CN_STATEMENT(SQL_INTAKE,
             1U << CN_LANE_READ | CN_PLAN_ONCE,
             "SELECT z.time_zone, k.place, " PATIENT_IN_REACH(
                 "$5") ", " PATIENT_COLUMNS
                       " FROM (SELECT (SELECT time_zone FROM referrals.branch"
                       " WHERE tenant_id = $1 AND id = $2) AS time_zone) z"
                       " LEFT JOIN (unnest($3::text[], $4::text[])"
                       " WITH ORDINALITY AS k (system, value, place)"
                       " CROSS JOIN LATERAL (SELECT q.*"
                       " FROM referrals.patient_identifier i"
                       " JOIN referrals.patient q"
                       " ON q.tenant_id = i.tenant_id AND q.id = i.patient_id"
                       " WHERE i.tenant_id = $1 AND i.system = k.system"
                       " AND i.value = k.value LIMIT 1) p) ON true"
                       " ORDER BY k.place");

enum cn_code intake_load(const struct cn_store *store,
                         struct cn_uuid branch_id,
                         const char *const *systems,
                         const char *const *values,
                         size_t count,
                         struct cn_param reach,
                         struct intake *ret_intake,
                         struct cn_err *err)
{
    static const char *const NONE[1];
    const struct cn_rows *rows = NULL;
    enum cn_code rc = CN_STORE_READ(
        store, &SQL_INTAKE, &rows, err, cn_uuid(store->tenant_id),
        cn_uuid(branch_id), cn_texts(count > 0 ? systems : NONE, count),
        cn_texts(count > 0 ? values : NONE, count), reach);
    if (rc != CN_OK) {
        return rc;
    }
    struct intake intake = { 0 };
    if (!cn_row_null(rows, 0, 0)) {
        intake.zone = cn_row_text(rows, 0, 0);
    }
    for (size_t row = 0; row < cn_rows_count(rows); row++) {
        if (cn_row_null(rows, row, 1)) {
            continue; /* nobody has any of them */
        }
        intake.taken[cn_row_int(rows, row, 1) - 1] = true;
        if (!cn_row_bool(rows, row, 2)) {
            intake.hidden = true;
            continue;
        }
        struct cn_uuid id = cn_row_uuid(rows, row, 3);
        if (intake.match_count == 0) {
            rc = patient_read(store, rows, row, 3, &intake.match, err);
            if (rc != CN_OK) {
                return rc;
            }
            intake.match_count = 1;
        } else if (!cn_uuid_equal(id, intake.match.id)) {
            intake.match_count = 2;
        }
    }
    *ret_intake = intake;
    return CN_OK;
}

/* The place of the last patient seen is its name now; without one, the
 * beginning of the range. */
CN_SQL_READ(SQL_PATIENTS_PAGE,
            "WITH place AS (SELECT coalesce((SELECT c.family_norm"
            " FROM referrals.patient c"
            " WHERE c.tenant_id = $1 AND c.id = $4), $2) AS family)"
            " SELECT " PATIENT_COLUMNS " FROM referrals.patient p"
            " WHERE p.tenant_id = $1"
            " AND p.family_norm ~>=~ (SELECT family FROM place)"
            " AND p.family_norm ~<~ $3"
            " AND (p.family_norm ~>~ (SELECT family FROM place) OR p.id > $4)"
            " AND " PATIENT_IN_REACH(
                "$5") " ORDER BY p.family_norm USING ~<~, p.id LIMIT $6");

enum cn_code patients_page(const struct cn_store *store,
                           struct cn_param reach,
                           const char *family,
                           struct cn_uuid after,
                           int limit,
                           struct patient_row **ret_rows,
                           size_t *ret_count,
                           struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    /* U+10FFFF sorts after all that may follow the beginning. */
    const char *end =
        cn_arena_printf(store->arena, "%s\xF4\x8F\xBF\xBF", family);
    if (end == NULL) {
        return cn_fail(err, CN_NOMEM, "list patients");
    }
    enum cn_code rc = CN_STORE_READ(
        store, &SQL_PATIENTS_PAGE, &rows, err, cn_uuid(store->tenant_id),
        cn_text(family), cn_text(end), cn_uuid(after), reach, cn_int(limit));
    return rc == CN_OK ? s_patients_read(store, rows, ret_rows, ret_count, err)
                       : rc;
}

CN_SQL_SLOW(SQL_PATIENTS_AFTER,
            "SELECT " PATIENT_COLUMNS " FROM referrals.patient p"
            " WHERE p.tenant_id = $1 AND p.id > $2 ORDER BY p.id LIMIT $3");

enum cn_code patients_after(const struct cn_store *store,
                            struct cn_uuid after,
                            int limit,
                            struct patient_row **ret_rows,
                            size_t *ret_count,
                            struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc =
        CN_STORE_READ(store, &SQL_PATIENTS_AFTER, &rows, err,
                      cn_uuid(store->tenant_id), cn_uuid(after), cn_int(limit));
    return rc == CN_OK ? s_patients_read(store, rows, ret_rows, ret_count, err)
                       : rc;
}

/* ---- patients, written ---- */

/* The columns that a patient's row is found by. */
struct patient_columns {
    const char *family;
    const char *given;
    struct cn_param body;
};

static enum cn_code s_patient_columns(const struct cn_store *store,
                                      const Ref__Patient *patient,
                                      struct patient_columns *ret_columns,
                                      struct cn_err *err)
{
    const Ref__Patient__Name *name = patient->name;
    bool given = name != NULL && name->n_given > 0;
    struct patient_columns columns = {
        .family = name_norm(store->arena, name != NULL ? name->family : NULL),
        .given = name_norm(store->arena, given ? name->given[0] : NULL),
    };
    if (columns.family == NULL || columns.given == NULL) {
        return cn_fail(err, CN_NOMEM, "patient");
    }
    enum cn_code rc =
        cn_store_seal(store, PATIENT_BODY, &patient->base, &columns.body, err);
    if (rc == CN_OK) {
        *ret_columns = columns;
    }
    return rc;
}

CN_SQL_WRITE(SQL_IDENTIFIERS_ADD,
             "INSERT INTO referrals.patient_identifier"
             " (tenant_id, patient_id, system, value)"
             " SELECT $1, $2, k.system, k.value"
             " FROM unnest($3::text[], $4::text[]) AS k (system, value)");

static enum cn_code s_identifiers_add(const struct cn_store *store,
                                      struct cn_write *write,
                                      const struct patient_row *row,
                                      const bool *skip,
                                      struct cn_err *err)
{
    const char **systems =
        cn_arena_array(store->arena, PATIENT_KEYS_MAX, sizeof(*systems));
    const char **values =
        cn_arena_array(store->arena, PATIENT_KEYS_MAX, sizeof(*values));
    if (systems == NULL || values == NULL) {
        return cn_fail(err, CN_NOMEM, "patient identifiers");
    }
    size_t found =
        patient_keys(row->patient, systems, values, PATIENT_KEYS_MAX);
    size_t count = 0;
    for (size_t i = 0; i < found; i++) {
        if (skip == NULL || !skip[i]) {
            systems[count] = systems[i];
            values[count] = values[i];
            count++;
        }
    }
    if (count > 0) {
        CN_CHANGE(write, &SQL_IDENTIFIERS_ADD, cn_uuid(store->tenant_id),
                  cn_uuid(row->id), cn_texts(systems, count),
                  cn_texts(values, count));
    }
    return CN_OK;
}

CN_SQL_WRITE(SQL_PATIENT_ADD,
             "INSERT INTO referrals.patient (tenant_id, id, branch_id, version,"
             " event_seq, family_norm, given_norm, birth_date, created_at,"
             " updated_at, body)"
             " VALUES ($1, $2, $3, 1, $4, $5, $6, $7, $8, $8, $9)");

enum cn_code patient_add(const struct cn_store *store,
                         struct cn_write *write,
                         const struct patient_row *row,
                         const bool *skip,
                         struct cn_err *err)
{
    struct patient_columns columns;
    enum cn_code rc = s_patient_columns(store, row->patient, &columns, err);
    if (rc != CN_OK) {
        return rc;
    }
    CN_CHANGE(write, &SQL_PATIENT_ADD, cn_uuid(store->tenant_id),
              cn_uuid(row->id), cn_uuid(row->branch_id), cn_int(row->event_seq),
              cn_text(columns.family), cn_text(columns.given),
              cn_text(row->patient->birth_date),
              cn_at(row->patient->created_at), columns.body);
    return s_identifiers_add(store, write, row, skip, err);
}

CN_SQL_WRITE(SQL_PATIENT_CHANGE,
             "WITH u AS (UPDATE referrals.patient SET version = version + 1,"
             " event_seq = event_seq + $4, branch_id = $5, family_norm = $6,"
             " given_norm = $7, birth_date = $8, updated_at = $9, body = $10"
             " WHERE tenant_id = $1 AND id = $2 AND version = $3 RETURNING 1)"
             " SELECT referrals.require(EXISTS (SELECT 1 FROM u),"
             " 'patient_version')");
CN_SQL_WRITE(SQL_IDENTIFIERS_CLEAR,
             "DELETE FROM referrals.patient_identifier"
             " WHERE tenant_id = $1 AND patient_id = $2");

enum cn_code patient_change(const struct cn_store *store,
                            struct cn_write *write,
                            const struct patient_row *row,
                            int events,
                            bool identifiers,
                            struct cn_err *err)
{
    struct patient_columns columns;
    enum cn_code rc = s_patient_columns(store, row->patient, &columns, err);
    if (rc != CN_OK) {
        return rc;
    }
    CN_CHANGE(write, &SQL_PATIENT_CHANGE, cn_uuid(store->tenant_id),
              cn_uuid(row->id), cn_int(row->version), cn_int(events),
              cn_uuid(row->branch_id), cn_text(columns.family),
              cn_text(columns.given), cn_text(row->patient->birth_date),
              cn_at(row->patient->updated_at), columns.body);
    if (!identifiers) {
        return CN_OK;
    }
    CN_CHANGE(write, &SQL_IDENTIFIERS_CLEAR, cn_uuid(store->tenant_id),
              cn_uuid(row->id));
    return s_identifiers_add(store, write, row, NULL, err);
}

CN_SQL_WRITE(SQL_PATIENT_REQUIRE,
             "SELECT referrals.require(EXISTS (SELECT 1 FROM referrals.patient"
             " WHERE tenant_id = $1 AND id = $2 AND version = $3),"
             " 'patient_version')");

void patient_require(struct cn_write *write,
                     struct cn_uuid tenant,
                     struct cn_uuid id,
                     int64_t version)
{
    CN_CHANGE(write, &SQL_PATIENT_REQUIRE, cn_uuid(tenant), cn_uuid(id),
              cn_int(version));
}
