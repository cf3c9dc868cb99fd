/* SPDX-License-Identifier: Apache-2.0 */
/* Clinicians and visits, as the matcher and the booking ask for them. The
 * copies of other services' facts are in store_copy.c. */
#include "services/scheduling/store.h"

#include "common/wire/json.h"

/* ---- clinicians ---- */

/* One statement for one discipline and one for all, so that each has its index.
 */
#define CLINICIANS_OF(statement, condition)                                    \
    CN_SQL_READ(statement,                                                     \
                "SELECT " CLINICIAN_COLUMNS                                    \
                " FROM scheduling.clinician r WHERE " condition                \
                " AND ($2::uuid[] IS NULL OR r.branch_id = ANY ($2)"           \
                " OR ($3 AND r.branch_id IS NULL))"                            \
                " ORDER BY r.created_at, r.id LIMIT $4")
CLINICIANS_OF(SQL_CLINICIANS_OF, "r.discipline = $1");
CLINICIANS_OF(SQL_CLINICIANS_ANY, "$1::text IS NULL");

struct cn_records clinicians_of(struct cn_op *op,
                                const char *discipline,
                                const struct clinician_scope *scope)
{
    const struct cn_rows *rows = CN_READ(
        op, discipline != NULL ? &SQL_CLINICIANS_OF : &SQL_CLINICIANS_ANY,
        cn_text(discipline), scope->branches, cn_bool(scope->unassigned),
        cn_int(MATCH_LEFT_OUT_MAX));
    return cn_records_of(op, &sch__clinician__resource, rows);
}

const char *clinician_zone(const struct cn_record *clinician)
{
    const Sch__Clinician *body = clinician->body;
    return body->time_zone != NULL   ? body->time_zone
           : clinician->also != NULL ? clinician->also
                                     : "UTC";
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

struct booked booked_between(struct cn_op *op,
                             const struct cn_uuid *clinicians,
                             size_t clinician_count,
                             struct span span)
{
    const struct cn_rows *rows =
        CN_READ(op, &SQL_BOOKED_BETWEEN, cn_at(span.from_at - CN_DAY),
                cn_at(span.to_at + CN_HOUR),
                cn_uuids(clinicians, clinician_count), cn_int(BOOKED_MAX));
    struct booked booked = { .count = cn_rows_count(rows) };
    booked.rows = cn_arena_array(op->arena, booked.count, sizeof(*booked.rows));
    booked.whole = booked.count < BOOKED_MAX;
    for (size_t row = 0; row < booked.count; row++) {
        booked.rows[row].clinician_id = cn_row_uuid(rows, row, 0);
        booked.rows[row].span.from_at = cn_row_at(rows, row, 1);
        booked.rows[row].span.to_at = cn_row_at(rows, row, 2);
    }
    return booked;
}

/* ---- visits ---- */

#define SOC_LIVE                                                               \
    " r.kind = 'soc' AND r.status IN ('required', 'offered', 'waitlisted',"    \
    " 'booked', 'confirmed', 'in_progress', 'completed')"
CN_SQL_READ(SQL_VISIT_SOC_LIVE,
            "SELECT " VISIT_COLUMNS
            " FROM scheduling.visit r WHERE r.referral_id = $1"
            " AND" SOC_LIVE " LIMIT 1");

struct cn_record *visit_soc_live(struct cn_op *op, struct cn_uuid referral_id)
{
    return cn_record_of(op, &sch__visit__resource,
                        CN_READ(op, &SQL_VISIT_SOC_LIVE, cn_uuid(referral_id)));
}

#define TO_COME                                                                \
    " FROM scheduling.visit r WHERE r.referral_id = $1 AND r.status IN"        \
    " ('required', 'offered', 'waitlisted', 'booked', 'confirmed')"
CN_SQL_READ(SQL_VISITS_TO_COME,
            "SELECT " VISIT_COLUMNS TO_COME
            " ORDER BY r.sort_at, r.id LIMIT $2");

struct cn_records visits_to_come(struct cn_op *op, struct cn_uuid referral_id)
{
    return cn_records_of(op, &sch__visit__resource,
                         CN_READ(op, &SQL_VISITS_TO_COME, cn_uuid(referral_id),
                                 cn_int(VISITS_MAX)));
}

CN_SQL_WRITE(SQL_VISITS_GONE_REQUIRE,
             "SELECT scheduling.require(NOT EXISTS (SELECT 1" TO_COME
             "), 'visits_to_come_version')");

void visits_gone_require(struct cn_op *op, struct cn_uuid referral_id)
{
    CN_CHANGE(op, &SQL_VISITS_GONE_REQUIRE, cn_uuid(referral_id));
}

void sch_visit_derived(struct cn_op *op,
                       const struct cn_record *record,
                       struct cn_param *ret_params)
{
    (void)op;
    const Sch__Visit *visit = record->body;
    int64_t sort_at = visit->has_starts_at ? visit->starts_at
                      : visit->has_due_at  ? visit->due_at
                                           : visit->created_at;
    ret_params[0] = cn_at(sort_at);
    /* The way to the next home is part of the time that is taken. */
    ret_params[1] = cn_at_or_null(
        visit->has_ends_at, visit->ends_at + VISIT_TRAVEL_MINUTES * CN_MINUTE);
}

/* A name that ends in _version is read again (write.h), any other is a client's
 * 409. */
const struct visit_names VISIT_REFUSED = { "visit_overlap", "visit_one_soc" };
const struct visit_names VISIT_LOOK_AGAIN = { "visit_overlap_version",
                                              "visit_one_soc_version" };

/* The constraint visit_overlap decides, but quietly: the insert does nothing,
 * then this looks whether the row is there. Plain inserts against an exclusion
 * constraint deadlock each other. It is a statement of its own because the
 * visit that stood against it may have been committed while the insert waited,
 * and only a new snapshot shows it. */
CN_SQL_WRITE(SQL_VISIT_INSERTED,
             "SELECT scheduling.require(EXISTS (SELECT 1 FROM scheduling.visit"
             " v WHERE v.id = $1), CASE WHEN $2 = 'soc' AND EXISTS (SELECT 1"
             " FROM scheduling.visit r WHERE r.referral_id = $3 AND" SOC_LIVE
             ") THEN $4 ELSE $5 END)");

void visit_put_new(struct cn_op *op,
                   struct cn_record *visit,
                   const struct visit_names *names)
{
    const Sch__Visit *body = visit->body;
    struct cn_uuid referral_id = { { 0 } };
    cn_put(op, visit);
    if (cn_failed(op)) {
        return;
    }
    (void)!cn_id_parse("ref", body->referral_id, &referral_id);
    CN_CHANGE(
        op, &SQL_VISIT_INSERTED, cn_uuid(visit->id),
        cn_text(cn_enum_word(&sch__visit__kind__descriptor, (int)body->kind)),
        cn_uuid(referral_id), cn_text(names->one_soc), cn_text(names->overlap));
}
