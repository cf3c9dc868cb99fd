/* SPDX-License-Identifier: Apache-2.0 */
/* Visits: the constraint visit_overlap settles every race for a clinician's
 * time, visit_one_soc every race for a start of care. */
#include "common/store/reach.h"
#include "common/wire/json.h"
#include "services/scheduling/store.h"

static const char VISIT_CONTEXT[] = "scheduling.visit.body";

#define VISIT_COLUMNS                                                          \
    "v.id, v.branch_id, v.referral_id, v.patient_id, v.sort_at, v.version,"    \
    " v.event_seq, v.body"

static enum cn_code s_visits_read(const struct cn_store *store,
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
        enum cn_code rc =
            cn_store_unseal(store, VISIT_CONTEXT, rows, row, 7,
                            &sch__visit__descriptor, &message, err);
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

enum cn_code visit_store_get(const struct cn_store *store,
                             struct cn_uuid id,
                             struct visit_row *ret_row,
                             struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    struct visit_row *found = NULL;
    size_t count = 0;
    enum cn_code rc =
        CN_STORE_READ(store, &SQL_VISIT_GET, &rows, err, cn_uuid(id));
    if (rc == CN_OK) {
        rc = s_visits_read(store, rows, &found, &count, err);
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

/* A filter that may be absent hides from the planner how many rows a page
 * reads, so there is one statement for each way in: by time; by status, one
 * ordered scan for each, merged, so that the few that are wanted are not looked
 * for among all that were ever made; by one id, where the rows are few and what
 * else is asked for may narrow them. */
#define VISITS_AFTER                                                           \
    " (v.sort_at, v.id) > ($1, $2)"                                            \
    " AND ($4::uuid[] IS NULL OR v.branch_id = ANY ($4))"
#define VISITS_ORDER " ORDER BY v.sort_at, v.id LIMIT $3"
CN_SQL_READ(SQL_VISITS_PAGE,
            "SELECT " VISIT_COLUMNS
            " FROM scheduling.visit v WHERE" VISITS_AFTER VISITS_ORDER);
CN_SQL_READ(SQL_VISITS_BY_STATUS,
            "SELECT " VISIT_COLUMNS
            " FROM unnest($5::text[]) AS s (status) CROSS JOIN LATERAL"
            " (SELECT v.* FROM scheduling.visit v WHERE v.status = s.status"
            " AND" VISITS_AFTER VISITS_ORDER ") v" VISITS_ORDER);
#define VISITS_OF(statement, leading)                                          \
    CN_SQL_READ(statement,                                                     \
                "SELECT " VISIT_COLUMNS                                        \
                " FROM scheduling.visit v WHERE " leading " AND" VISITS_AFTER  \
                " AND ($5::text[] IS NULL OR v.status = ANY ($5))"             \
                " AND ($6::uuid IS NULL OR v.referral_id = $6)"                \
                " AND ($7::uuid IS NULL OR v.patient_id = $7)"                 \
                " AND ($8::uuid IS NULL OR v.clinician_id = $8)" VISITS_ORDER)
VISITS_OF(SQL_VISITS_OF_REFERRAL, "v.referral_id = $6");
VISITS_OF(SQL_VISITS_OF_PATIENT, "v.patient_id = $7");
VISITS_OF(SQL_VISITS_OF_CLINICIAN, "v.clinician_id = $8");

/* The statement, and how many of the parameters it has. */
static const struct cn_statement *
s_page_statement(const struct visit_filter *by, size_t *ret_count)
{
    *ret_count = 8;
    if (!cn_uuid_is_nil(by->referral_id)) {
        return &SQL_VISITS_OF_REFERRAL;
    }
    if (!cn_uuid_is_nil(by->patient_id)) {
        return &SQL_VISITS_OF_PATIENT;
    }
    if (!cn_uuid_is_nil(by->clinician_id)) {
        return &SQL_VISITS_OF_CLINICIAN;
    }
    if (by->statuses.kind != CN_PARAM_NULL) {
        *ret_count = 5;
        return &SQL_VISITS_BY_STATUS;
    }
    *ret_count = 4;
    return &SQL_VISITS_PAGE;
}

enum cn_code visits_page(const struct cn_request *request,
                         const struct visit_filter *filter,
                         const struct cn_page *page,
                         struct visit_row **ret_rows,
                         size_t *ret_count,
                         struct cn_err *err)
{
    struct cn_store store = cn_store_of_request(request);
    const struct cn_param params[] = {
        cn_at(page->after.key),
        cn_uuid(page->after.id),
        cn_int(page->limit + 1),
        cn_reach_branches(request),
        filter->statuses,
        cn_uuid_or_null(filter->referral_id),
        cn_uuid_or_null(filter->patient_id),
        cn_uuid_or_null(filter->clinician_id),
    };
    const struct cn_rows *rows = NULL;
    size_t count = 0;
    const struct cn_statement *statement = s_page_statement(filter, &count);
    enum cn_code rc =
        cn_store_read(&store, statement, params, count, &rows, err);
    return rc == CN_OK ? s_visits_read(&store, rows, ret_rows, ret_count, err)
                       : rc;
}

CN_SQL_SLOW(SQL_VISITS_AFTER,
            "SELECT " VISIT_COLUMNS " FROM scheduling.visit v WHERE v.id > $1"
            " ORDER BY v.id LIMIT $2");

enum cn_code visits_after(const struct cn_store *store,
                          struct cn_uuid after,
                          int limit,
                          struct visit_row **ret_rows,
                          size_t *ret_count,
                          struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc = CN_STORE_READ(store, &SQL_VISITS_AFTER, &rows, err,
                                    cn_uuid(after), cn_int(limit));
    return rc == CN_OK ? s_visits_read(store, rows, ret_rows, ret_count, err)
                       : rc;
}

/* A visit lasts a day at most, so one that touches the span begins at most a
 * day before it; what follows it within the way to the next home counts too. */
CN_SQL_READ(SQL_BOOKED_BETWEEN,
            "SELECT v.clinician_id, v.starts_at, v.ends_at"
            " FROM unnest($3::uuid[]) WITH ORDINALITY AS c (id, place)"
            " CROSS JOIN LATERAL"
            " (SELECT x.clinician_id, x.starts_at, x.ends_at"
            " FROM scheduling.visit x WHERE x.clinician_id = c.id"
            " AND x.sort_at >= $1 AND x.sort_at < $2"
            " AND x.status IN ('booked', 'confirmed', 'in_progress',"
            " 'completed') ORDER BY x.sort_at, x.id LIMIT $4) v"
            " ORDER BY c.place LIMIT $4");

enum cn_code booked_between(const struct cn_store *store,
                            const struct cn_uuid *clinicians,
                            size_t clinician_count,
                            struct span span,
                            struct booked_row **ret_rows,
                            size_t *ret_count,
                            bool *ret_whole,
                            struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc = CN_STORE_READ(
        store, &SQL_BOOKED_BETWEEN, &rows, err, cn_at(span.from_at - CN_DAY),
        cn_at(span.to_at + CN_HOUR), cn_uuids(clinicians, clinician_count),
        cn_int(BOOKED_MAX));
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
    *ret_whole = count < BOOKED_MAX;
    return CN_OK;
}

#define SOC_LIVE                                                               \
    " v.kind = 'soc' AND v.status IN ('required', 'offered', 'waitlisted',"    \
    " 'booked', 'confirmed', 'in_progress', 'completed')"
CN_SQL_READ(SQL_VISIT_SOC_LIVE,
            "SELECT " VISIT_COLUMNS
            " FROM scheduling.visit v WHERE v.referral_id = $1"
            " AND" SOC_LIVE " LIMIT 1");

enum cn_code visit_soc_live(const struct cn_store *store,
                            struct cn_uuid referral_id,
                            bool *ret_found,
                            struct visit_row *ret_row,
                            struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    struct visit_row *found = NULL;
    size_t count = 0;
    enum cn_code rc = CN_STORE_READ(store, &SQL_VISIT_SOC_LIVE, &rows, err,
                                    cn_uuid(referral_id));
    if (rc == CN_OK) {
        rc = s_visits_read(store, rows, &found, &count, err);
    }
    if (rc == CN_OK) {
        *ret_found = count > 0;
    }
    if (rc == CN_OK && count > 0) {
        *ret_row = found[0];
    }
    return rc;
}

CN_SQL_READ(SQL_VISITS_TO_COME,
            "SELECT " VISIT_COLUMNS
            " FROM scheduling.visit v WHERE v.referral_id = $1 AND v.status IN"
            " ('required', 'offered', 'waitlisted', 'booked', 'confirmed')"
            " ORDER BY v.sort_at, v.id LIMIT 200");

enum cn_code visits_to_come(const struct cn_store *store,
                            struct cn_uuid referral_id,
                            struct visit_row **ret_rows,
                            size_t *ret_count,
                            struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc = CN_STORE_READ(store, &SQL_VISITS_TO_COME, &rows, err,
                                    cn_uuid(referral_id));
    return rc == CN_OK ? s_visits_read(store, rows, ret_rows, ret_count, err)
                       : rc;
}

static struct cn_uuid s_clinician_of(const Sch__Visit *visit)
{
    struct cn_uuid id = { { 0 } };
    (void)!cn_id_parse("cln", visit->clinician_id, &id);
    return id;
}

/* The clinician is taken until then: the way to the next home included. */
static struct cn_param s_busy_until(const Sch__Visit *visit)
{
    return cn_at_or_null(visit->has_ends_at,
                         visit->ends_at + VISIT_TRAVEL_MINUTES * CN_MINUTE);
}

/* The name under which a lost race is raised decides what becomes of it
 * (write.h): the constraint's own is a 409 for the client; one that ends in
 * _version is CN_STALE, and the event's handler looks for another slot. */
const struct visit_names VISIT_REFUSED = { "visit_overlap", "visit_one_soc" };
const struct visit_names VISIT_LOOK_AGAIN = { "visit_overlap_version",
                                              "visit_one_soc_version" };

/* The constraint visit_overlap decides, but quietly: DO NOTHING, then a look
 * whether the row is there. Plain inserts against an exclusion constraint
 * deadlock each other. */
CN_SQL_WRITE(
    SQL_VISIT_INSERT,
    "INSERT INTO scheduling.visit (tenant_id, id, branch_id,"
    " referral_id, patient_id, clinician_id, kind, status, starts_at, ends_at,"
    " busy_until, sort_at, version, event_seq, created_at, updated_at, body)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $14, $11, 1, 1, $12,"
    " $12, $13) ON CONFLICT DO NOTHING");
/* A statement of its own: the visit that stood against it may have been
 * committed while the insert waited, and only a new snapshot shows it. */
CN_SQL_WRITE(SQL_VISIT_INSERTED,
             "SELECT scheduling.require(EXISTS (SELECT 1 FROM scheduling.visit"
             " v WHERE v.id = $1), CASE WHEN $2 = 'soc' AND EXISTS (SELECT 1"
             " FROM scheduling.visit v WHERE v.referral_id = $3 AND" SOC_LIVE
             ") THEN $4 ELSE $5 END)");

enum cn_code visit_store_insert(const struct cn_store *store,
                                struct cn_write *write,
                                const struct visit_row *row,
                                const struct visit_names *names,
                                struct cn_err *err)
{
    const Sch__Visit *visit = row->visit;
    struct cn_param body;
    enum cn_code rc =
        cn_store_seal(store, VISIT_CONTEXT, &visit->base, &body, err);
    if (rc == CN_OK) {
        CN_CHANGE(write, &SQL_VISIT_INSERT, cn_uuid(store->tenant_id),
                  cn_uuid(row->id), cn_uuid_or_null(row->branch_id),
                  cn_uuid(row->referral_id), cn_uuid(row->patient_id),
                  cn_uuid_or_null(s_clinician_of(visit)),
                  cn_text(cn_enum_word(&sch__visit__kind__descriptor,
                                       (int)visit->kind)),
                  cn_text(cn_enum_word(&sch__visit__status__descriptor,
                                       (int)visit->status)),
                  cn_at_or_null(visit->has_starts_at, visit->starts_at),
                  cn_at_or_null(visit->has_ends_at, visit->ends_at),
                  cn_at(row->sort_at), cn_at(store->now_at), body,
                  s_busy_until(visit));
        CN_CHANGE(write, &SQL_VISIT_INSERTED, cn_uuid(row->id),
                  cn_text(cn_enum_word(&sch__visit__kind__descriptor,
                                       (int)visit->kind)),
                  cn_uuid(row->referral_id), cn_text(names->one_soc),
                  cn_text(names->overlap));
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

enum cn_code visit_store_update(const struct cn_store *store,
                                struct cn_write *write,
                                const struct visit_row *row,
                                struct cn_err *err)
{
    const Sch__Visit *visit = row->visit;
    struct cn_param body;
    enum cn_code rc =
        cn_store_seal(store, VISIT_CONTEXT, &visit->base, &body, err);
    if (rc == CN_OK) {
        CN_CHANGE(write, &SQL_VISIT_UPDATE, cn_uuid(row->id),
                  cn_int(row->version), cn_uuid_or_null(s_clinician_of(visit)),
                  cn_text(cn_enum_word(&sch__visit__status__descriptor,
                                       (int)visit->status)),
                  cn_at_or_null(visit->has_starts_at, visit->starts_at),
                  cn_at_or_null(visit->has_ends_at, visit->ends_at),
                  cn_at(row->sort_at), cn_at(store->now_at), body,
                  s_busy_until(visit));
    }
    return rc;
}
