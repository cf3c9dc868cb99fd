/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of other services' facts: each row keeps the newest that was told,
 * whatever the order in which it is told. */
#include "common/wire/message.h"
#include "services/scheduling/store.h"

static const char NEED_CONTEXT[] = "scheduling.need.body";
static const char PATIENT_CONTEXT[] = "scheduling.patient.body";

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
#define NEED_COLUMNS "n.id, n.patient_id, n.event_seq, n.body, p.body"
#define NEED_PATIENT                                                           \
    " LEFT JOIN scheduling.patient p"                                          \
    " ON p.tenant_id = n.tenant_id AND p.id = n.patient_id"

/* A need as it was kept before patients had rows of their own holds what was
 * known of its patient then, until the rebuild reaches it. */
static enum cn_code s_need_read(const struct cn_store *store,
                                const struct cn_rows *rows,
                                size_t row,
                                struct need_row *ret_row,
                                struct cn_err *err)
{
    ProtobufCMessage *need = NULL;
    ProtobufCMessage *patient = NULL;
    enum cn_code rc = cn_store_unseal(store, NEED_CONTEXT, rows, row, 3,
                                      &sch__need__descriptor, &need, err);
    if (rc == CN_OK && !cn_row_null(rows, row, 4)) {
        rc = cn_store_unseal(store, PATIENT_CONTEXT, rows, row, 4,
                             &sch__need__descriptor, &patient, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    *ret_row = (struct need_row){
        .found = true,
        .referral_id = cn_row_uuid(rows, row, 0),
        .patient_id = cn_row_uuid(rows, row, 1),
        .event_seq = cn_row_int(rows, row, 2),
        .need = (Sch__Need *)need,
    };
    if (patient != NULL) {
        need_of_patient((const Sch__Need *)patient, ret_row->need);
    }
    return CN_OK;
}

static enum cn_code s_needs_read(const struct cn_store *store,
                                 const struct cn_rows *rows,
                                 struct need_row **ret_rows,
                                 size_t *ret_count,
                                 struct cn_err *err)
{
    size_t count = cn_rows_count(rows);
    struct need_row *found =
        cn_arena_array(store->arena, count + 1, sizeof(*found));
    if (found == NULL) {
        return cn_fail(err, CN_NOMEM, "read needs");
    }
    for (size_t row = 0; row < count; row++) {
        enum cn_code rc = s_need_read(store, rows, row, &found[row], err);
        if (rc != CN_OK) {
            return rc;
        }
    }
    *ret_rows = found;
    *ret_count = count;
    return CN_OK;
}

CN_SQL_READ(SQL_NEED_GET,
            "SELECT " NEED_COLUMNS " FROM scheduling.need n" NEED_PATIENT
            " WHERE n.id = $1");

enum cn_code need_get(const struct cn_store *store,
                      struct cn_uuid referral_id,
                      struct need_row *ret_row,
                      struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    struct need_row *found = NULL;
    size_t count = 0;
    enum cn_code rc =
        CN_STORE_READ(store, &SQL_NEED_GET, &rows, err, cn_uuid(referral_id));
    if (rc == CN_OK) {
        rc = s_needs_read(store, rows, &found, &count, err);
    }
    if (rc == CN_OK) {
        *ret_row = found[0]; /* all zero, so found false, when there is none */
    }
    return rc;
}

CN_SQL_READ(SQL_NEEDS_OF_PATIENT,
            "SELECT " NEED_COLUMNS
            " FROM (SELECT x.* FROM scheduling.need x WHERE x.patient_id = $1"
            " ORDER BY x.id DESC LIMIT $2) n" NEED_PATIENT
            " ORDER BY n.id DESC");

enum cn_code needs_of_patient(const struct cn_store *store,
                              struct cn_uuid patient_id,
                              struct need_row **ret_rows,
                              size_t *ret_count,
                              struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc =
        CN_STORE_READ(store, &SQL_NEEDS_OF_PATIENT, &rows, err,
                      cn_uuid(patient_id), cn_int(NEEDS_OF_PATIENT_MAX));
    return rc == CN_OK ? s_needs_read(store, rows, ret_rows, ret_count, err)
                       : rc;
}

CN_SQL_READ(SQL_PATIENT_GET,
            "SELECT p.body FROM scheduling.patient p WHERE p.id = $1");

enum cn_code patient_get(const struct cn_store *store,
                         struct cn_uuid id,
                         const Sch__Need **ret_patient,
                         struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    ProtobufCMessage *patient = NULL;
    enum cn_code rc =
        CN_STORE_READ(store, &SQL_PATIENT_GET, &rows, err, cn_uuid(id));
    if (rc == CN_OK && cn_rows_count(rows) > 0) {
        rc = cn_store_unseal(store, PATIENT_CONTEXT, rows, 0, 0,
                             &sch__need__descriptor, &patient, err);
    }
    if (rc == CN_OK) {
        *ret_patient = (const Sch__Need *)patient;
    }
    return rc;
}

/* What is as new replaces too: a rebuild repairs what was copied wrong. */
CN_SQL_WRITE(SQL_NEED_KEEP,
             "INSERT INTO scheduling.need AS n (tenant_id, id, patient_id,"
             " event_seq, body) VALUES ($1, $2, $3, $4, $5)"
             " ON CONFLICT (tenant_id, id) DO UPDATE SET"
             " patient_id = excluded.patient_id,"
             " event_seq = excluded.event_seq, body = excluded.body"
             " WHERE n.event_seq <= excluded.event_seq");

enum cn_code need_keep(const struct cn_store *store,
                       struct cn_write *write,
                       const struct need_row *row,
                       struct cn_err *err)
{
    struct cn_param body;
    enum cn_code rc =
        cn_store_seal(store, NEED_CONTEXT, &row->need->base, &body, err);
    if (rc == CN_OK) {
        CN_CHANGE(write, &SQL_NEED_KEEP, cn_uuid(store->tenant_id),
                  cn_uuid(row->referral_id), cn_uuid(row->patient_id),
                  cn_int(row->event_seq), body);
    }
    return rc;
}

CN_SQL_WRITE(SQL_PATIENT_KEEP,
             "INSERT INTO scheduling.patient AS p (tenant_id, id, version,"
             " body) VALUES ($1, $2, $3, $4)"
             " ON CONFLICT (tenant_id, id) DO UPDATE SET"
             " version = excluded.version, body = excluded.body"
             " WHERE p.version <= excluded.version");

enum cn_code patient_keep(const struct cn_store *store,
                          struct cn_write *write,
                          struct cn_uuid id,
                          const Sch__Need *patient,
                          struct cn_err *err)
{
    struct cn_param body;
    enum cn_code rc =
        cn_store_seal(store, PATIENT_CONTEXT, &patient->base, &body, err);
    if (rc == CN_OK) {
        CN_CHANGE(write, &SQL_PATIENT_KEEP, cn_uuid(store->tenant_id),
                  cn_uuid(id), cn_int(patient->patient_version), body);
    }
    return rc;
}

CN_SQL_READ(SQL_AUTO_BOOK_SOC,
            "SELECT coalesce((SELECT a.auto_book_soc FROM scheduling.agency a"
            " WHERE a.tenant_id = $1), true)");

enum cn_code
auto_book_soc(const struct cn_store *store, bool *ret_auto, struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc = CN_STORE_READ(store, &SQL_AUTO_BOOK_SOC, &rows, err,
                                    cn_uuid(store->tenant_id));
    if (rc == CN_OK) {
        *ret_auto = cn_row_bool(rows, 0, 0);
    }
    return rc;
}

CN_SQL_WRITE(SQL_AGENCY_KEEP,
             "INSERT INTO scheduling.agency (tenant_id, event_seq, time_zone,"
             " auto_book_soc) VALUES ($1, $2, $3, $4)"
             " ON CONFLICT (tenant_id) DO UPDATE SET"
             " event_seq = excluded.event_seq, time_zone = excluded.time_zone,"
             " auto_book_soc = excluded.auto_book_soc"
             " WHERE scheduling.agency.event_seq <= excluded.event_seq");

void agency_keep(const struct cn_store *store,
                 struct cn_write *write,
                 int64_t event_seq,
                 const char *time_zone,
                 bool auto_book)
{
    CN_CHANGE(write, &SQL_AGENCY_KEEP, cn_uuid(store->tenant_id),
              cn_int(event_seq), cn_text(time_zone), cn_bool(auto_book));
}

CN_SQL_WRITE(SQL_BRANCH_KEEP,
             "INSERT INTO scheduling.branch (tenant_id, id, event_seq,"
             " time_zone) VALUES ($1, $2, $3, $4)"
             " ON CONFLICT (tenant_id, id) DO UPDATE SET"
             " event_seq = excluded.event_seq, time_zone = excluded.time_zone"
             " WHERE scheduling.branch.event_seq <= excluded.event_seq");

void branch_keep(const struct cn_store *store,
                 struct cn_write *write,
                 struct cn_uuid id,
                 int64_t event_seq,
                 const char *time_zone)
{
    CN_CHANGE(write, &SQL_BRANCH_KEEP, cn_uuid(store->tenant_id), cn_uuid(id),
              cn_int(event_seq), cn_text(time_zone));
}
