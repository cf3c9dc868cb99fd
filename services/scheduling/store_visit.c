/* SPDX-License-Identifier: Apache-2.0 */
/* Visits: the constraint visit_overlap settles every race for a clinician's
 * time, visit_one_soc every race for a start of care. */
#include "common/json.h"
#include "common/seal.h"
#include "services/scheduling/store.h"

static const char VISIT_CONTEXT[] = "scheduling.visit.body";

#define VISIT_COLUMNS                                                          \
    "v.id, v.branch_id, v.referral_id, v.patient_id, v.sort_at, v.version,"    \
    " v.event_seq, v.body"

static enum cn_code visits_read(const struct store_context *store,
                                const struct cn_rows *rows,
                                struct visit_row **ret_rows,
                                size_t *ret_count,
                                struct cn_err *err)
{
    size_t count = cn_rows_count(rows);
    struct visit_row *found =
        cn_arena_array(store->arena, count + 1, sizeof(*found));
    if (found == NULL) {
        return cn_fail(err, CN_NOMEM, "read visits");
    }
    for (size_t row = 0; row < count; row++) {
        ProtobufCMessage *message = NULL;
        found[row].id = cn_row_uuid(rows, row, 0);
        found[row].branch_id = cn_row_uuid(rows, row, 1);
        found[row].referral_id = cn_row_uuid(rows, row, 2);
        found[row].patient_id = cn_row_uuid(rows, row, 3);
        found[row].sort_at = cn_row_at(rows, row, 4);
        found[row].version = cn_row_int(rows, row, 5);
        found[row].event_seq = cn_row_int(rows, row, 6);
        enum cn_code rc = cn_unseal_message(
            store->env, store->arena, store->tenant_id, VISIT_CONTEXT,
            cn_row_bytes(rows, row, 7), &sch__visit__descriptor, &message, err);
        if (rc != CN_OK) {
            return rc;
        }
        found[row].visit = (Sch__Visit *)message;
    }
    *ret_rows = found;
    *ret_count = count;
    return CN_OK;
}

CN_SQL_READ(SQL_VISIT_GET,
            "SELECT " VISIT_COLUMNS " FROM scheduling.visit v WHERE v.id = $1");

enum cn_code visit_store_get(const struct store_context *store,
                             struct cn_uuid id,
                             struct visit_row *ret_row,
                             struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    struct visit_row *found = NULL;
    size_t count = 0;
    enum cn_code rc =
        cn_db_read(store->env->db, CN_LANE_READ, store->arena, store->tenant_id,
                   &SQL_VISIT_GET, (const struct cn_param[]){ cn_uuid(id) }, 1,
                   &rows, err);
    if (rc == CN_OK) {
        rc = visits_read(store, rows, &found, &count, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    if (count == 0) {
        return cn_fail(err, CN_NOT_FOUND, "no such visit");
    }
    *ret_row = found[0];
    return CN_OK;
}

/* One statement per leading filter, so that each has its index. */
#define VISITS_PAGE(statement, leading)                                        \
    CN_SQL_READ(statement,                                                     \
                "SELECT " VISIT_COLUMNS                                        \
                " FROM scheduling.visit v WHERE " leading                      \
                " (v.sort_at, v.id) > ($1, $2)"                                \
                " AND ($3::text[] IS NULL OR v.status = ANY ($3))"             \
                " AND ($4::uuid[] IS NULL OR v.branch_id = ANY ($4))"          \
                " ORDER BY v.sort_at, v.id LIMIT $5")
VISITS_PAGE(SQL_VISITS_PAGE, "$6::uuid IS NULL AND");
VISITS_PAGE(SQL_VISITS_OF_REFERRAL, "v.referral_id = $6 AND");
VISITS_PAGE(SQL_VISITS_OF_PATIENT, "v.patient_id = $6 AND");
VISITS_PAGE(SQL_VISITS_OF_CLINICIAN, "v.clinician_id = $6 AND");

enum cn_code visits_page(const struct cn_request *request,
                         const struct visit_filter *filter,
                         const struct cn_page *page,
                         struct visit_row **ret_rows,
                         size_t *ret_count,
                         struct cn_err *err)
{
    struct store_context store = store_of_request(request);
    const struct cn_statement *statement = &SQL_VISITS_PAGE;
    struct cn_uuid leading = { { 0 } };
    if (!cn_uuid_is_nil(filter->referral_id)) {
        statement = &SQL_VISITS_OF_REFERRAL;
        leading = filter->referral_id;
    } else if (!cn_uuid_is_nil(filter->patient_id)) {
        statement = &SQL_VISITS_OF_PATIENT;
        leading = filter->patient_id;
    } else if (!cn_uuid_is_nil(filter->clinician_id)) {
        statement = &SQL_VISITS_OF_CLINICIAN;
        leading = filter->clinician_id;
    }
    const struct cn_param params[] = {
        cn_at(page->after.key),
        cn_uuid(page->after.id),
        cn_texts(filter->status_count > 0 ? filter->statuses : NULL,
                 filter->status_count),
        cn_reach_branches(request),
        cn_int(page->limit + 1),
        cn_uuid_or_null(leading),
    };
    const struct cn_rows *rows = NULL;
    enum cn_code rc = cn_db_read(
        store.env->db, CN_LANE_READ, store.arena, store.tenant_id, statement,
        params, sizeof(params) / sizeof(params[0]), &rows, err);
    return rc == CN_OK ? visits_read(&store, rows, ret_rows, ret_count, err)
                       : rc;
}

CN_SQL_READ(SQL_BOOKED_BETWEEN,
            "SELECT v.clinician_id, v.starts_at, v.ends_at"
            " FROM scheduling.visit v"
            " WHERE v.sort_at >= $1 AND v.sort_at < $2"
            " AND v.status IN ('booked', 'confirmed', 'in_progress',"
            " 'completed') ORDER BY v.sort_at, v.id LIMIT 20000");

enum cn_code booked_between(const struct store_context *store,
                            struct span span,
                            struct booked_row **ret_rows,
                            size_t *ret_count,
                            struct cn_err *err)
{
    /* A visit lasts a day at most, so one that touches the span begins at most
     * a day before it. */
    const struct cn_param params[] = { cn_at(span.from_at - CN_DAY),
                                       cn_at(span.to_at + CN_HOUR) };
    const struct cn_rows *rows = NULL;
    enum cn_code rc =
        cn_db_read(store->env->db, CN_LANE_READ, store->arena, store->tenant_id,
                   &SQL_BOOKED_BETWEEN, params, 2, &rows, err);
    if (rc != CN_OK) {
        return rc;
    }
    size_t count = cn_rows_count(rows);
    struct booked_row *booked =
        cn_arena_array(store->arena, count + 1, sizeof(*booked));
    if (booked == NULL) {
        return cn_fail(err, CN_NOMEM, "read bookings");
    }
    for (size_t row = 0; row < count; row++) {
        booked[row].clinician_id = cn_row_uuid(rows, row, 0);
        booked[row].span.from_at = cn_row_at(rows, row, 1);
        booked[row].span.to_at = cn_row_at(rows, row, 2);
    }
    *ret_rows = booked;
    *ret_count = count;
    return CN_OK;
}

static enum cn_code visit_seal(const struct store_context *store,
                               const Sch__Visit *visit,
                               struct cn_bytes *ret_body,
                               struct cn_err *err)
{
    return cn_seal_message(store->env, store->arena, store->tenant_id,
                           VISIT_CONTEXT, &visit->base, ret_body, err);
}

static struct cn_uuid clinician_of(const Sch__Visit *visit)
{
    struct cn_uuid id = { { 0 } };
    (void)!cn_id_parse("cln", visit->clinician_id, &id);
    return id;
}

/* The clinician is taken until then: the way to the next home included. */
static struct cn_param busy_until(const Sch__Visit *visit)
{
    return cn_at_or_null(visit->has_ends_at,
                         visit->ends_at + VISIT_TRAVEL_MINUTES * CN_MINUTE);
}

/* DO NOTHING and a look at the count: plain inserts against an exclusion
 * constraint deadlock (design.md 2). Which of the two stood against it is told
 * by looking again. */
CN_SQL_WRITE(
    SQL_VISIT_INSERT,
    "WITH i AS (INSERT INTO scheduling.visit (tenant_id, id, branch_id,"
    " referral_id, patient_id, clinician_id, kind, status, starts_at, ends_at,"
    " busy_until, sort_at, version, event_seq, created_at, updated_at, body)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $14, $11, 1, 1, $12,"
    " $12, $13) ON CONFLICT DO NOTHING RETURNING 1)"
    " SELECT scheduling.require(EXISTS (SELECT 1 FROM i),"
    " CASE WHEN $7 = 'soc' AND EXISTS (SELECT 1 FROM scheduling.visit v"
    " WHERE v.referral_id = $4 AND v.kind = 'soc' AND v.status IN"
    " ('required', 'offered', 'waitlisted', 'booked', 'confirmed',"
    " 'in_progress', 'completed')) THEN 'visit_one_soc'"
    " ELSE 'visit_overlap' END)");

enum cn_code visit_store_insert(const struct store_context *store,
                                struct cn_write *write,
                                const struct visit_row *row,
                                struct cn_err *err)
{
    const Sch__Visit *visit = row->visit;
    struct cn_bytes body;
    enum cn_code rc = visit_seal(store, visit, &body, err);
    if (rc == CN_OK) {
        CN_CHANGE(write, &SQL_VISIT_INSERT, cn_uuid(store->tenant_id),
                  cn_uuid(row->id), cn_uuid_or_null(row->branch_id),
                  cn_uuid(row->referral_id), cn_uuid(row->patient_id),
                  cn_uuid_or_null(clinician_of(visit)),
                  cn_text(cn_enum_word(&sch__visit__kind__descriptor,
                                       (int)visit->kind)),
                  cn_text(cn_enum_word(&sch__visit__status__descriptor,
                                       (int)visit->status)),
                  cn_at_or_null(visit->has_starts_at, visit->starts_at),
                  cn_at_or_null(visit->has_ends_at, visit->ends_at),
                  cn_at(row->sort_at), cn_at(store->now_at),
                  cn_bytes(body.data, body.size), busy_until(visit));
    }
    return rc;
}

CN_SQL_WRITE(SQL_VISIT_UPDATE,
             "WITH u AS (UPDATE scheduling.visit SET clinician_id = $3,"
             " status = $4, starts_at = $5, ends_at = $6,"
             " busy_until = $10, sort_at = $7,"
             " version = version + 1, event_seq = event_seq + 1,"
             " updated_at = $8, body = $9"
             " WHERE id = $1 AND version = $2 RETURNING 1)"
             " SELECT scheduling.require(EXISTS (SELECT 1 FROM u),"
             " 'visit_version')");

enum cn_code visit_store_update(const struct store_context *store,
                                struct cn_write *write,
                                const struct visit_row *row,
                                struct cn_err *err)
{
    const Sch__Visit *visit = row->visit;
    struct cn_bytes body;
    enum cn_code rc = visit_seal(store, visit, &body, err);
    if (rc == CN_OK) {
        CN_CHANGE(write, &SQL_VISIT_UPDATE, cn_uuid(row->id),
                  cn_int(row->version), cn_uuid_or_null(clinician_of(visit)),
                  cn_text(cn_enum_word(&sch__visit__status__descriptor,
                                       (int)visit->status)),
                  cn_at_or_null(visit->has_starts_at, visit->starts_at),
                  cn_at_or_null(visit->has_ends_at, visit->ends_at),
                  cn_at(row->sort_at), cn_at(store->now_at),
                  cn_bytes(body.data, body.size), busy_until(visit));
    }
    return rc;
}
