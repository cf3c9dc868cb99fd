/* SPDX-License-Identifier: Apache-2.0 */
/* Branches, patients and referrals; messages as they came are in store_hl7.c.
 */
#include "services/referrals/store.h"

#include "common/store/listing.h"
#include "common/store/reach.h"
#include "services/referrals/rules.h"

/* ---- branches ---- */

CN_SQL_READ(SQL_BRANCH_ZONE,
            "SELECT b.time_zone FROM referrals.branch b WHERE b.id = $1");

const char *branch_zone(struct cn_op *op, struct cn_uuid id)
{
    const struct cn_rows *rows = CN_READ(op, &SQL_BRANCH_ZONE, cn_uuid(id));
    return cn_rows_count(rows) > 0 ? cn_row_text(rows, 0, 0) : NULL;
}

CN_SQL_WRITE(SQL_BRANCH_KEEP,
             "INSERT INTO referrals.branch AS b"
             " (tenant_id, id, event_seq, name, time_zone)"
             " VALUES ($1, $2, $3, $4, $5)"
             " ON CONFLICT (tenant_id, id) DO UPDATE"
             " SET name = excluded.name, time_zone = excluded.time_zone,"
             " event_seq = excluded.event_seq"
             " WHERE b.event_seq <= excluded.event_seq");

void ref_branch_keep(struct cn_op *op,
                     struct cn_uuid id,
                     int64_t event_seq,
                     const char *name,
                     const char *zone)
{
    CN_CHANGE(op, &SQL_BRANCH_KEEP, cn_uuid(op->tenant_id), cn_uuid(id),
              cn_int(event_seq), cn_text(name), cn_text(zone));
}

/* ---- patients, read ---- */

/* Of a patient r. OFFSET 0 keeps the planner from gathering all referrals of
 * the tenant first. */
#define PATIENT_IN_REACH(n)                                                    \
    "(" n "::uuid[] IS NULL OR r.branch_id = ANY (" n ")"                      \
    " OR EXISTS (SELECT 1 FROM referrals.referral x"                           \
    " WHERE x.tenant_id = r.tenant_id AND x.patient_id = r.id"                 \
    " AND x.branch_id = ANY (" n ") OFFSET 0))"

CN_SQL_READ(SQL_PATIENT_IN_REACH,
            "SELECT " PATIENT_COLUMNS " FROM referrals.patient r"
            " WHERE r.id = $1 AND " PATIENT_IN_REACH("$2"));

struct cn_record *patient_find(struct cn_op *op, const char *id)
{
    struct cn_uuid uuid = { { 0 } };
    bool known = id != NULL && cn_id_parse("pat", id, &uuid);
    return cn_record_of(op, &ref__patient__resource,
                        known
                            ? CN_READ(op, &SQL_PATIENT_IN_REACH, cn_uuid(uuid),
                                      cn_reach_branches(op->request))
                            : cn_rows_none());
}

struct cn_record *patient_take(struct cn_op *op, const char *id)
{
    struct cn_record *patient = patient_find(op, id);
    cn_take_check(op, patient);
    return patient;
}

/* Each identifier is looked up by itself (LIMIT 1 says so, one at most has it):
 * a join was planned over all identifiers of the tenant while they were few,
 * and the connections keep their plans. Namesakes have the place 0. */
CN_STATEMENT(SQL_INTAKE,
             1U << CN_LANE_READ | CN_PLAN_ONCE,
             "SELECT z.time_zone, r.place, " PATIENT_IN_REACH(
                 "$4") ", " PATIENT_COLUMNS
                       " FROM (SELECT (SELECT time_zone FROM referrals.branch"
                       " WHERE id = $1) AS time_zone) z"
                       " LEFT JOIN (SELECT k.place, i.* FROM"
                       " unnest($2::text[], $3::text[])"
                       " WITH ORDINALITY AS k (system, value, place)"
                       " CROSS JOIN LATERAL (SELECT q.*"
                       " FROM referrals.patient_identifier i"
                       " JOIN referrals.patient q"
                       " ON q.tenant_id = i.tenant_id AND q.id = i.patient_id"
                       " WHERE i.system = k.system"
                       " AND i.value = k.value LIMIT 1) i"
                       " UNION ALL SELECT 0, n.* FROM (SELECT q.*"
                       " FROM referrals.patient q WHERE q.birth_date = $5"
                       " AND q.family_norm = $6 AND q.given_norm = $7"
                       " ORDER BY q.id LIMIT $8) n) r ON true"
                       " ORDER BY r.place");

/* Takes one row of those who have an identifier. */
static void
s_intake_match(struct intake *intake, struct cn_record *found, size_t place)
{
    if (intake->match == NULL) {
        intake->match = found;
        intake->match_place = place;
        intake->match_count = 1;
    } else if (!cn_uuid_equal(found->id, intake->match->id)) {
        intake->other_place =
            intake->other != NULL ? intake->other_place : place;
        intake->other = intake->other != NULL ? intake->other : found;
        intake->match_count = 2;
    }
}

/* Name and birth date as the statement's parameters; NULLs find nobody. */
static void s_person_params(struct cn_op *op,
                            const Ref__Patient *person,
                            struct cn_param *ret_params)
{
    const Ref__Patient__Name *name = person != NULL ? person->name : NULL;
    bool whole = name != NULL && name->family != NULL && name->n_given > 0 &&
                 person->birth_date != NULL;
    ret_params[0] = cn_text(whole ? person->birth_date : NULL);
    ret_params[1] = cn_text(whole ? name_norm(op->arena, name->family) : NULL);
    ret_params[2] =
        cn_text(whole ? name_norm(op->arena, name->given[0]) : NULL);
}

struct intake intake_find(struct cn_op *op,
                          struct cn_uuid branch_id,
                          const Ref__Patient *person,
                          const char *const *systems,
                          const char *const *values,
                          size_t count)
{
    enum { ZONE, PLACE, IN_REACH, PATIENT };
    static const char *const NONE[1];
    struct cn_param who[3];
    s_person_params(op, person, who);
    const struct cn_rows *rows =
        CN_READ(op, &SQL_INTAKE, cn_uuid(branch_id),
                cn_texts(count > 0 ? systems : NONE, count),
                cn_texts(count > 0 ? values : NONE, count),
                cn_reach_branches(op->request), who[0], who[1], who[2],
                cn_int(NAMESAKES_MAX));
    struct intake intake = { .zone = NULL };
    for (size_t row = 0; row < cn_rows_count(rows); row++) {
        intake.zone = cn_row_text(rows, row, ZONE);
        if (cn_row_null(rows, row, PLACE)) {
            continue; /* nobody has any of them */
        }
        size_t place = (size_t)cn_row_int(rows, row, PLACE);
        bool in_reach = cn_row_bool(rows, row, IN_REACH);
        struct cn_record *found =
            in_reach
                ? cn_record_at(op, &ref__patient__resource, rows, row, PATIENT)
                : NULL;
        if (place == 0) {
            intake.namesake = intake.namesake != NULL ? intake.namesake : found;
            continue;
        }
        intake.taken[place - 1] = true;
        intake.hidden = intake.hidden || !in_reach;
        if (in_reach) {
            s_intake_match(&intake, found, place - 1);
        }
    }
    return intake;
}

/* The place of the last patient seen is its name now; without one, the
 * beginning of the range. */
CN_SQL_READ(SQL_PATIENTS_BY_NAME,
            "WITH place AS (SELECT coalesce((SELECT c.family_norm"
            " FROM referrals.patient c WHERE c.id = $3), $1) AS family)"
            " SELECT " PATIENT_COLUMNS " FROM referrals.patient r"
            " WHERE r.family_norm ~>=~ (SELECT family FROM place)"
            " AND r.family_norm ~<~ $2"
            " AND (r.family_norm ~>~ (SELECT family FROM place) OR r.id > $3)"
            " AND " PATIENT_IN_REACH(
                "$4") " ORDER BY r.family_norm USING ~<~, r.id LIMIT $5");

struct cn_records patients_by_name(struct cn_op *op,
                                   const char *family,
                                   struct cn_uuid after,
                                   int limit)
{
    /* U+10FFFF sorts after all that may follow the beginning. */
    const char *end = cn_arena_printf(op->arena, "%s\xF4\x8F\xBF\xBF", family);
    return cn_records_of(
        op, &ref__patient__resource,
        CN_READ(op, &SQL_PATIENTS_BY_NAME, cn_text(family), cn_text(end),
                cn_uuid(after), cn_reach_branches(op->request), cn_int(limit)));
}

CN_SQL_READ(SQL_PATIENTS_BY_IDENTIFIER,
            "SELECT " PATIENT_COLUMNS " FROM referrals.patient_identifier i"
            " JOIN referrals.patient r"
            " ON r.tenant_id = i.tenant_id AND r.id = i.patient_id"
            " WHERE i.system = $1 AND i.value = $2"
            " AND r.id > $3 AND " PATIENT_IN_REACH("$4"));

struct cn_records patients_by_identifier(struct cn_op *op,
                                         const char *system,
                                         const char *value,
                                         struct cn_uuid after)
{
    return cn_records_of(op, &ref__patient__resource,
                         CN_READ(op, &SQL_PATIENTS_BY_IDENTIFIER,
                                 cn_text(system), cn_text(value),
                                 cn_uuid(after),
                                 cn_reach_branches(op->request)));
}

CN_SQL_READ(SQL_PATIENTS_CHANGES,
            "SELECT " PATIENT_COLUMNS " FROM referrals.patient r"
            " WHERE (r.updated_at, r.id) > ($1, $2) AND " PATIENT_IN_REACH(
                "$4") " ORDER BY r.updated_at, r.id LIMIT $3");

struct cn_records
patients_changed(struct cn_op *op, struct cn_cursor after, int limit)
{
    return cn_records_of_changes(
        op, &ref__patient__resource,
        CN_READ(op, &SQL_PATIENTS_CHANGES, cn_at(after.key), cn_uuid(after.id),
                cn_int(limit), cn_reach_branches(op->request)));
}

/* ---- patients, written ---- */

void ref_patient_derived(struct cn_op *op,
                         const struct cn_record *record,
                         struct cn_param *ret_params)
{
    const Ref__Patient *patient = record->body;
    const Ref__Patient__Name *name = patient->name;
    bool given = name != NULL && name->n_given > 0;
    ret_params[0] =
        cn_text(name_norm(op->arena, name != NULL ? name->family : NULL));
    ret_params[1] =
        cn_text(name_norm(op->arena, given ? name->given[0] : NULL));
}

CN_SQL_WRITE(SQL_PATIENT_KEYS_ADD,
             "INSERT INTO referrals.patient_identifier"
             " (tenant_id, patient_id, system, value)"
             " SELECT $1, $2, k.system, k.value"
             " FROM unnest($3::text[], $4::text[]) AS k (system, value)");

void patient_keys_add(struct cn_op *op,
                      const struct cn_record *patient,
                      const bool *skip)
{
    const char **systems =
        cn_arena_array(op->arena, PATIENT_KEYS_MAX, sizeof(*systems));
    const char **values =
        cn_arena_array(op->arena, PATIENT_KEYS_MAX, sizeof(*values));
    size_t found = patient_keys(op->arena, patient->body, systems, values,
                                PATIENT_KEYS_MAX);
    size_t count = 0;
    for (size_t i = 0; i < found; i++) {
        if (skip == NULL || !skip[i]) {
            systems[count] = systems[i];
            values[count] = values[i];
            count++;
        }
    }
    if (count > 0) {
        CN_CHANGE(op, &SQL_PATIENT_KEYS_ADD, cn_uuid(op->tenant_id),
                  cn_uuid(patient->id), cn_texts(systems, count),
                  cn_texts(values, count));
    }
}

CN_SQL_WRITE(SQL_PATIENT_KEYS_CLEAR,
             "DELETE FROM referrals.patient_identifier WHERE patient_id = $1");

void patient_keys_replace(struct cn_op *op, const struct cn_record *patient)
{
    CN_CHANGE(op, &SQL_PATIENT_KEYS_CLEAR, cn_uuid(patient->id));
    patient_keys_add(op, patient, NULL);
}

CN_SQL_WRITE(SQL_PATIENT_REQUIRE,
             "SELECT referrals.require(EXISTS (SELECT 1 FROM referrals.patient"
             " WHERE id = $1 AND version = $2), 'patient_version')");

void patient_require(struct cn_op *op, const struct cn_record *patient)
{
    cn_lock(op, "patient", patient->id);
    CN_CHANGE(op, &SQL_PATIENT_REQUIRE, cn_uuid(patient->id),
              cn_int(patient->version));
}

/* ---- referrals, read ---- */

CN_SQL_READ(SQL_REFERRAL_OF_SOURCE,
            "SELECT " REFERRAL_COLUMNS ", p.*, r.content_hash"
            " FROM referrals.referral r" REFERRAL_BESIDE
            " WHERE r.source_system = $1 AND r.source_external_id = $2"
            " AND r.status NOT IN ('not_admitted', 'withdrawn', 'closed')");

struct cn_record *referral_of_key(struct cn_op *op,
                                  const Ref__Referral *referral,
                                  struct cn_bytes *ret_content_hash)
{
    const char *system = NULL;
    const char *number = NULL;
    referral_key(op->arena, referral, &system, &number);
    const struct cn_rows *rows =
        CN_READ(op, &SQL_REFERRAL_OF_SOURCE, cn_text(system), cn_text(number));
    struct cn_record *found = cn_record_of(op, &ref__referral__resource, rows);
    *ret_content_hash = found->found
                            ? cn_row_bytes(rows, 0, cn_rows_columns(rows) - 1)
                            : (struct cn_bytes){ NULL, 0 };
    return found;
}

/* One ordered index scan for each status, merged: bounded however many there
 * are in a state. The page is chosen before patients are joined. */
#define PAGE_OF(ways, condition)                                               \
    "SELECT " REFERRAL_COLUMNS ", p.* FROM (SELECT y.* FROM " ways             \
    " CROSS JOIN LATERAL (SELECT x.* FROM referrals.referral x"                \
    " WHERE " condition " AND (x.sort_at, x.id) > ($1, $2)"                    \
    " ORDER BY x.sort_at, x.id LIMIT $3) y"                                    \
    " ORDER BY y.sort_at, y.id LIMIT $3) r" REFERRAL_BESIDE                    \
    " ORDER BY r.sort_at, r.id"

#define EACH_STATUS                                                            \
    "(SELECT DISTINCT u.status FROM unnest($4::text[]) AS u (status)) s"

CN_SQL_READ(SQL_REFERRALS_BY_STATUS,
            PAGE_OF(EACH_STATUS, "x.status = s.status"));
CN_SQL_READ(SQL_REFERRALS_BY_BRANCH,
            PAGE_OF(EACH_STATUS " CROSS JOIN (SELECT DISTINCT v.branch_id"
                                " FROM unnest($5::uuid[]) AS v (branch_id)) w",
                    "x.branch_id = w.branch_id AND x.status = s.status"));
CN_SQL_READ(SQL_REFERRALS_OF_PATIENT,
            PAGE_OF("(VALUES (1)) AS s (one)",
                    "x.patient_id = $6 AND x.status = ANY ($4::text[])"
                    " AND ($5::uuid[] IS NULL OR x.branch_id = ANY ($5))"));

/* Those that a sender knows by one id: few. */
CN_SQL_READ(SQL_REFERRALS_OF_SENDER,
            PAGE_OF("(VALUES (1)) AS s (one)",
                    "x.source_system = $7 AND x.source_external_id = $8"
                    " AND x.status = ANY ($4::text[])"
                    " AND ($5::uuid[] IS NULL OR x.branch_id = ANY ($5))"
                    " AND ($6::uuid IS NULL OR x.patient_id = $6)"));

/* In the order of changes: alone by an index; with filters rows are looked for.
 */
#define CHANGES_OF(condition)                                                  \
    "SELECT " REFERRAL_COLUMNS ", p.* FROM (SELECT x.*"                        \
    " FROM referrals.referral x WHERE (x.updated_at, x.id) > ($1, $2)"         \
    " AND ($4::uuid[] IS NULL OR x.branch_id = ANY ($4))" condition            \
    " ORDER BY x.updated_at, x.id LIMIT $3) r" REFERRAL_BESIDE                 \
    " ORDER BY r.updated_at, r.id"

CN_SQL_READ(SQL_REFERRALS_CHANGES, CHANGES_OF(""));
CN_SQL_SLOW(SQL_REFERRALS_CHANGES_WITH,
            CHANGES_OF(" AND x.status = ANY ($5::text[])"
                       " AND ($6::uuid IS NULL OR x.patient_id = $6)"
                       " AND ($7::text IS NULL OR x.source_system = $7)"
                       " AND ($8::text IS NULL OR x.source_external_id = $8)"));

static struct cn_records s_referral_changes(struct cn_op *op,
                                            const struct referral_filter *by,
                                            struct cn_cursor after,
                                            int limit)
{
    const struct cn_param params[] = {
        cn_at(after.key != 0 ? after.key : by->since),
        cn_uuid(after.id),
        cn_int(limit),
        by->reach,
        by->statuses,
        cn_uuid_or_null(by->patient_id),
        cn_text(by->source_system),
        cn_text(by->external_id),
    };
    return cn_records_of_changes(op, &ref__referral__resource,
                                 cn_read(op,
                                         by->narrow
                                             ? &SQL_REFERRALS_CHANGES_WITH
                                             : &SQL_REFERRALS_CHANGES,
                                         params, by->narrow ? 8 : 4));
}

struct cn_records referrals_by(struct cn_op *op,
                               const struct referral_filter *filter,
                               struct cn_cursor after,
                               int limit)
{
    const bool sent = filter->external_id != NULL;
    const struct cn_param params[] = {
        cn_at(after.key),
        cn_uuid(after.id),
        cn_int(limit),
        filter->statuses,
        filter->reach,
        sent ? cn_uuid_or_null(filter->patient_id)
             : cn_uuid(filter->patient_id),
        cn_text(filter->source_system),
        cn_text(filter->external_id),
    };
    if (filter->by_change) {
        return s_referral_changes(op, filter, after, limit);
    }
    const struct cn_statement *statement = &SQL_REFERRALS_BY_STATUS;
    size_t count = 4;
    if (sent) {
        statement = &SQL_REFERRALS_OF_SENDER;
        count = 8;
    } else if (!cn_uuid_is_nil(filter->patient_id)) {
        statement = &SQL_REFERRALS_OF_PATIENT;
        count = 6;
    } else if (filter->reach.kind != CN_PARAM_NULL) {
        statement = &SQL_REFERRALS_BY_BRANCH;
        count = 5;
    }
    return cn_records_of(op, &ref__referral__resource,
                         cn_read(op, statement, params, count));
}

CN_SQL_READ(SQL_REFERRALS_OPEN,
            "SELECT " REFERRAL_COLUMNS " FROM referrals.referral r"
            " WHERE r.patient_id = $1 AND r.status = ANY ($2::text[])"
            " ORDER BY r.sort_at, r.id LIMIT $3");

struct cn_records referrals_open(struct cn_op *op, struct cn_uuid patient_id)
{
    return cn_records_of(
        op, &ref__referral__resource,
        CN_READ(op, &SQL_REFERRALS_OPEN, cn_uuid(patient_id),
                cn_texts(referral_open_words, REFERRAL_OPEN_COUNT),
                cn_int(PATIENT_REFERRALS_MAX)));
}

/* ---- referrals, written ---- */

/* Both are NULL unless both name the source's referral. */
void ref_referral_derived(struct cn_op *op,
                          const struct cn_record *record,
                          struct cn_param *ret_params)
{
    const char *system = NULL;
    const char *number = NULL;
    referral_key(op->arena, record->body, &system, &number);
    ret_params[0] = cn_text(system);
    ret_params[1] = cn_text(number);
}

CN_SQL_WRITE(SQL_REFERRALS_REQUIRE,
             "SELECT referrals.require(NOT EXISTS (SELECT 1"
             " FROM referrals.referral r"
             " WHERE r.patient_id = $1 AND r.status = ANY ($2::text[])"
             " AND (r.id::text || ':' || r.version) <> ALL ($3::text[])),"
             " 'referral_version')");

void referrals_require(struct cn_op *op,
                       struct cn_uuid patient_id,
                       struct cn_records open)
{
    const char **seen =
        cn_arena_array(op->arena, open.count + 1, sizeof(*seen));
    for (size_t i = 0; i < open.count; i++) {
        char id[CN_UUID_TEXT_SIZE];
        cn_uuid_format(open.items[i].id, id);
        seen[i] = cn_arena_printf(op->arena, "%s:%lld", id,
                                  (long long)open.items[i].version);
    }
    CN_CHANGE(op, &SQL_REFERRALS_REQUIRE, cn_uuid(patient_id),
              cn_texts(referral_open_words, REFERRAL_OPEN_COUNT),
              cn_texts(seen, open.count));
}
