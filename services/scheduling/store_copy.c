/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of other services' facts: each row keeps the newest that was told,
 * whatever the order in which it is told. */
#include "common/store/reach.h"
#include "common/wire/message.h"
#include "services/scheduling/store.h"

enum { NEEDS_OF_PATIENT_MAX = 100 };

static const char NEED_CONTEXT[] = "scheduling.need.body";
static const char PATIENT_CONTEXT[] = "scheduling.patient.body";

struct cn_uuid need_branch(const Sch__Need *need)
{
    struct cn_uuid id = { { 0 } };
    (void)!(need->branch_id != NULL &&
            cn_id_parse("brn", need->branch_id, &id));
    return id;
}

void need_of_patient(const Sch__Need *patient, Sch__Need *need)
{
    need->postal_code = patient->postal_code;
    need->language = patient->language;
    need->has_interpreter_needed = patient->has_interpreter_needed;
    need->interpreter_needed = patient->interpreter_needed;
    need->has_gender = patient->has_gender;
    need->gender = patient->gender;
    need->windows = patient->windows;
    need->n_windows = patient->n_windows;
    need->commitments = patient->commitments;
    need->n_commitments = patient->n_commitments;
    CN_SET(need, patient_version, patient->patient_version);
    if (patient->time_zone != NULL) {
        need->time_zone = patient->time_zone;
    }
}

/* Columns of a need n with its patient p. */
#define NEED_WITH_PATIENT "n.id, n.patient_id, n.event_seq, n.body, p.body"
#define NEED_PATIENT                                                           \
    " LEFT JOIN scheduling.patient p"                                          \
    " ON p.tenant_id = n.tenant_id AND p.id = n.patient_id"

/* A need that was kept before patients had rows of their own holds what was
 * known of its patient then, until the rebuild reaches it. */
static struct need_row
s_need_read(struct cn_op *op, const struct cn_rows *rows, size_t row)
{
    struct need_row need = {
        .found = true,
        .referral_id = cn_row_uuid(rows, row, 0),
        .patient_id = cn_row_uuid(rows, row, 1),
        .event_seq = cn_row_int(rows, row, 2),
        .need =
            cn_opened(op, NEED_CONTEXT, rows, row, 3, &sch__need__descriptor),
    };
    if (!cn_row_null(rows, row, 4)) {
        need_of_patient(cn_opened(op, PATIENT_CONTEXT, rows, row, 4,
                                  &sch__need__descriptor),
                        need.need);
    }
    return need;
}

CN_SQL_READ(SQL_NEED_WITH_PATIENT,
            "SELECT " NEED_WITH_PATIENT " FROM scheduling.need n" NEED_PATIENT
            " WHERE n.id = $1");

struct need_row need_get(struct cn_op *op, struct cn_uuid referral_id)
{
    const struct cn_rows *rows =
        CN_READ(op, &SQL_NEED_WITH_PATIENT, cn_uuid(referral_id));
    return cn_rows_count(rows) > 0 ? s_need_read(op, rows, 0)
                                   : (struct need_row){ .found = false };
}

CN_SQL_WRITE(SQL_NEED_REQUIRE,
             "SELECT scheduling.require(EXISTS (SELECT 1 FROM scheduling.need n"
             " WHERE n.id = $1 AND n.event_seq = $2), 'need_version')");

void need_require(struct cn_op *op, const struct need_row *need)
{
    cn_lock(op, "need", need->referral_id);
    CN_CHANGE(op, &SQL_NEED_REQUIRE, cn_uuid(need->referral_id),
              cn_int(need->event_seq));
}

CN_SQL_READ(SQL_NEEDS_OF_PATIENT,
            "SELECT " NEED_WITH_PATIENT
            " FROM (SELECT x.* FROM scheduling.need x WHERE x.patient_id = $1"
            " ORDER BY x.id DESC LIMIT $2) n" NEED_PATIENT
            " ORDER BY n.id DESC");

struct need_row need_within_reach(struct cn_op *op, struct cn_uuid patient_id)
{
    const struct cn_rows *rows =
        CN_READ(op, &SQL_NEEDS_OF_PATIENT, cn_uuid(patient_id),
                cn_int(NEEDS_OF_PATIENT_MAX));
    for (size_t row = 0; row < cn_rows_count(rows); row++) {
        struct need_row need = s_need_read(op, rows, row);
        if (cn_reach_includes(op->request, need_branch(need.need))) {
            return need;
        }
    }
    return (struct need_row){ .found = false };
}

CN_SQL_READ(SQL_PATIENT_GET,
            "SELECT p.body FROM scheduling.patient p WHERE p.id = $1");

const Sch__Need *sch_patient_get(struct cn_op *op, struct cn_uuid id)
{
    const struct cn_rows *rows = CN_READ(op, &SQL_PATIENT_GET, cn_uuid(id));
    return cn_rows_count(rows) > 0 ? cn_opened(op, PATIENT_CONTEXT, rows, 0, 0,
                                               &sch__need__descriptor)
                                   : NULL;
}

CN_SQL_WRITE(SQL_PATIENT_KEEP,
             "INSERT INTO scheduling.patient AS p (tenant_id, id, version,"
             " body) VALUES ($1, $2, $3, $4)"
             " ON CONFLICT (tenant_id, id) DO UPDATE SET"
             " version = excluded.version, body = excluded.body"
             " WHERE p.version <= excluded.version");

void sch_patient_keep(struct cn_op *op,
                      struct cn_uuid id,
                      const Sch__Need *patient)
{
    CN_CHANGE(op, &SQL_PATIENT_KEEP, cn_uuid(op->tenant_id), cn_uuid(id),
              cn_int(patient->patient_version),
              cn_sealed(op, PATIENT_CONTEXT, patient));
}

CN_SQL_READ(SQL_AUTO_BOOK_SOC,
            "SELECT coalesce((SELECT a.auto_book_soc FROM scheduling.agency a"
            " WHERE a.tenant_id = $1), true)");

bool auto_book_soc(struct cn_op *op)
{
    const struct cn_rows *rows =
        CN_READ(op, &SQL_AUTO_BOOK_SOC, cn_uuid(op->tenant_id));
    return cn_rows_count(rows) > 0 && cn_row_bool(rows, 0, 0);
}

CN_SQL_WRITE(SQL_AGENCY_KEEP,
             "INSERT INTO scheduling.agency (tenant_id, event_seq, time_zone,"
             " auto_book_soc) VALUES ($1, $2, $3, $4)"
             " ON CONFLICT (tenant_id) DO UPDATE SET"
             " event_seq = excluded.event_seq, time_zone = excluded.time_zone,"
             " auto_book_soc = excluded.auto_book_soc"
             " WHERE scheduling.agency.event_seq <= excluded.event_seq");

void agency_keep(struct cn_op *op,
                 int64_t event_seq,
                 const char *time_zone,
                 bool auto_book)
{
    CN_CHANGE(op, &SQL_AGENCY_KEEP, cn_uuid(op->tenant_id), cn_int(event_seq),
              cn_text(time_zone), cn_bool(auto_book));
}

CN_SQL_WRITE(SQL_BRANCH_KEEP,
             "INSERT INTO scheduling.branch (tenant_id, id, event_seq,"
             " time_zone) VALUES ($1, $2, $3, $4)"
             " ON CONFLICT (tenant_id, id) DO UPDATE SET"
             " event_seq = excluded.event_seq, time_zone = excluded.time_zone"
             " WHERE scheduling.branch.event_seq <= excluded.event_seq");

void branch_keep(struct cn_op *op,
                 struct cn_uuid id,
                 int64_t event_seq,
                 const char *time_zone)
{
    CN_CHANGE(op, &SQL_BRANCH_KEEP, cn_uuid(op->tenant_id), cn_uuid(id),
              cn_int(event_seq), cn_text(time_zone));
}

CN_SQL_READ(SQL_BRANCH_KNOWN,
            "SELECT 1 FROM scheduling.branch b WHERE b.id = $1");

bool sch_branch_known(struct cn_op *op, struct cn_uuid id)
{
    return cn_rows_count(CN_READ(op, &SQL_BRANCH_KNOWN, cn_uuid(id))) > 0;
}
