/* SPDX-License-Identifier: Apache-2.0 */
/* Clinicians and the copies of other services' facts. Visits are in
 * store_visit.c. */
#include "services/scheduling/store.h"

#include "common/json.h"
#include "common/seal.h"

static const char CLINICIAN_CONTEXT[] = "scheduling.clinician.body";
static const char NEED_CONTEXT[] = "scheduling.need.body";

struct store_context store_of_request(const struct cn_request *request)
{
    return (struct store_context){
        .env = request->env,
        .arena = request->arena,
        .tenant_id = request->principal.tenant_id,
        .now_at = request->now_at,
    };
}

struct store_context store_of_event(const struct cn_event *event)
{
    return (struct store_context){
        .env = event->env,
        .arena = event->arena,
        .tenant_id = event->tenant_id,
        .now_at = event->now_at,
    };
}

#define READ(store, statement, ret_rows, err, ...)                             \
    cn_db_read((store)->env->db, CN_LANE_READ, (store)->arena,                 \
               (store)->tenant_id, (statement),                                \
               (const struct cn_param[]){ __VA_ARGS__ },                       \
               sizeof((const struct cn_param[]){ __VA_ARGS__ }) /              \
                   sizeof(struct cn_param),                                    \
               (ret_rows), (err))

/* Columns: id, branch_id, version, event_seq, body, created_at. */
static enum cn_code clinicians_read(const struct store_context *store,
                                    const struct cn_rows *rows,
                                    struct clinician_row **ret_rows,
                                    size_t *ret_count,
                                    struct cn_err *err)
{
    size_t count = cn_rows_count(rows);
    struct clinician_row *found =
        cn_arena_array(store->arena, count + 1, sizeof(*found));
    if (found == NULL) {
        return cn_fail(err, CN_NOMEM, "read clinicians");
    }
    for (size_t row = 0; row < count; row++) {
        ProtobufCMessage *message = NULL;
        found[row].id = cn_row_uuid(rows, row, 0);
        found[row].branch_id = cn_row_uuid(rows, row, 1);
        found[row].version = cn_row_int(rows, row, 2);
        found[row].event_seq = cn_row_int(rows, row, 3);
        enum cn_code rc =
            cn_unseal_message(store->env, store->arena, store->tenant_id,
                              CLINICIAN_CONTEXT, cn_row_bytes(rows, row, 4),
                              &sch__clinician__descriptor, &message, err);
        if (rc != CN_OK) {
            return rc;
        }
        found[row].clinician = (Sch__Clinician *)message;
    }
    *ret_rows = found;
    *ret_count = count;
    return CN_OK;
}

CN_SQL_READ(SQL_CLINICIAN_GET,
            "SELECT id, branch_id, version, event_seq, body, created_at"
            " FROM scheduling.clinician WHERE id = $1");

enum cn_code clinician_store_get(const struct store_context *store,
                                 struct cn_uuid id,
                                 struct clinician_row *ret_row,
                                 struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    struct clinician_row *found = NULL;
    size_t count = 0;
    enum cn_code rc = READ(store, &SQL_CLINICIAN_GET, &rows, err, cn_uuid(id));
    if (rc == CN_OK) {
        rc = clinicians_read(store, rows, &found, &count, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    if (count == 0) {
        return cn_fail(err, CN_NOT_FOUND, "no such clinician");
    }
    *ret_row = found[0];
    return CN_OK;
}

CN_SQL_READ(SQL_CLINICIANS_OF,
            "SELECT id, branch_id, version, event_seq, body, created_at"
            " FROM scheduling.clinician c WHERE c.discipline = $1"
            " ORDER BY c.created_at, c.id LIMIT $2");

enum cn_code clinicians_of(const struct store_context *store,
                           const char *discipline,
                           struct clinician_row **ret_rows,
                           size_t *ret_count,
                           struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc = READ(store, &SQL_CLINICIANS_OF, &rows, err,
                           cn_text(discipline), cn_int(MATCH_LEFT_OUT_MAX));
    return rc == CN_OK ? clinicians_read(store, rows, ret_rows, ret_count, err)
                       : rc;
}

CN_SQL_READ(SQL_CLINICIANS_PAGE,
            "SELECT id, branch_id, version, event_seq, body, created_at"
            " FROM scheduling.clinician c"
            " WHERE (c.created_at, c.id) > ($1, $2)"
            " AND ($3::text[] IS NULL OR c.discipline = ANY ($3))"
            " AND ($4::uuid[] IS NULL OR c.branch_id = ANY ($4))"
            " ORDER BY c.created_at, c.id LIMIT $5");

enum cn_code clinicians_page(const struct cn_request *request,
                             const char *const *disciplines,
                             size_t discipline_count,
                             const struct cn_page *page,
                             struct clinician_row **ret_rows,
                             size_t *ret_count,
                             struct cn_err *err)
{
    struct store_context store = store_of_request(request);
    const struct cn_rows *rows = NULL;
    enum cn_code rc = READ(
        &store, &SQL_CLINICIANS_PAGE, &rows, err, cn_at(page->after.key),
        cn_uuid(page->after.id),
        cn_texts(discipline_count > 0 ? disciplines : NULL, discipline_count),
        cn_reach_branches(request), cn_int(page->limit + 1));
    return rc == CN_OK ? clinicians_read(&store, rows, ret_rows, ret_count, err)
                       : rc;
}

static const char *discipline_word(const Sch__Clinician *clinician)
{
    return cn_enum_word(&sch__clinician__discipline__descriptor,
                        (int)clinician->discipline);
}

static enum cn_code clinician_seal(const struct store_context *store,
                                   const Sch__Clinician *clinician,
                                   struct cn_bytes *ret_body,
                                   struct cn_err *err)
{
    return cn_seal_message(store->env, store->arena, store->tenant_id,
                           CLINICIAN_CONTEXT, &clinician->base, ret_body, err);
}

CN_SQL_WRITE(SQL_CLINICIAN_INSERT,
             "INSERT INTO scheduling.clinician (tenant_id, id, branch_id,"
             " discipline, version, event_seq, created_at, updated_at, body)"
             " VALUES ($1, $2, $3, $4, 1, 1, $5, $5, $6)");

enum cn_code clinician_store_insert(const struct store_context *store,
                                    struct cn_write *write,
                                    const struct clinician_row *row,
                                    struct cn_err *err)
{
    struct cn_bytes body;
    enum cn_code rc = clinician_seal(store, row->clinician, &body, err);
    if (rc == CN_OK) {
        CN_CHANGE(write, &SQL_CLINICIAN_INSERT, cn_uuid(store->tenant_id),
                  cn_uuid(row->id), cn_uuid_or_null(row->branch_id),
                  cn_text(discipline_word(row->clinician)),
                  cn_at(store->now_at), cn_bytes(body.data, body.size));
    }
    return rc;
}

CN_SQL_WRITE(SQL_CLINICIAN_UPDATE,
             "WITH u AS (UPDATE scheduling.clinician SET branch_id = $3,"
             " discipline = $4, version = version + 1,"
             " event_seq = event_seq + 1, updated_at = $5, body = $6"
             " WHERE id = $1 AND version = $2 RETURNING 1)"
             " SELECT scheduling.require(EXISTS (SELECT 1 FROM u),"
             " 'clinician_version')");

enum cn_code clinician_store_update(const struct store_context *store,
                                    struct cn_write *write,
                                    const struct clinician_row *row,
                                    struct cn_err *err)
{
    struct cn_bytes body;
    enum cn_code rc = clinician_seal(store, row->clinician, &body, err);
    if (rc == CN_OK) {
        CN_CHANGE(write, &SQL_CLINICIAN_UPDATE, cn_uuid(row->id),
                  cn_int(row->version), cn_uuid_or_null(row->branch_id),
                  cn_text(discipline_word(row->clinician)),
                  cn_at(store->now_at), cn_bytes(body.data, body.size));
    }
    return rc;
}

/* Columns: id, patient_id, event_seq, body. */
static enum cn_code needs_read(const struct store_context *store,
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
        ProtobufCMessage *message = NULL;
        found[row].found = true;
        found[row].referral_id = cn_row_uuid(rows, row, 0);
        found[row].patient_id = cn_row_uuid(rows, row, 1);
        found[row].event_seq = cn_row_int(rows, row, 2);
        enum cn_code rc = cn_unseal_message(
            store->env, store->arena, store->tenant_id, NEED_CONTEXT,
            cn_row_bytes(rows, row, 3), &sch__need__descriptor, &message, err);
        if (rc != CN_OK) {
            return rc;
        }
        found[row].need = (Sch__Need *)message;
    }
    *ret_rows = found;
    *ret_count = count;
    return CN_OK;
}

CN_SQL_READ(SQL_NEED_GET,
            "SELECT id, patient_id, event_seq, body FROM scheduling.need"
            " WHERE id = $1");

enum cn_code need_get(const struct store_context *store,
                      struct cn_uuid referral_id,
                      struct need_row *ret_row,
                      struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    struct need_row *found = NULL;
    size_t count = 0;
    enum cn_code rc =
        READ(store, &SQL_NEED_GET, &rows, err, cn_uuid(referral_id));
    if (rc == CN_OK) {
        rc = needs_read(store, rows, &found, &count, err);
    }
    if (rc == CN_OK) {
        *ret_row = found[0]; /* all zero, so found false, when there is none */
    }
    return rc;
}

CN_SQL_READ(SQL_NEEDS_OF_PATIENT,
            "SELECT id, patient_id, event_seq, body FROM scheduling.need n"
            " WHERE n.patient_id = $1 ORDER BY n.id LIMIT 100");

enum cn_code needs_of_patient(const struct store_context *store,
                              struct cn_uuid patient_id,
                              struct need_row **ret_rows,
                              size_t *ret_count,
                              struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc =
        READ(store, &SQL_NEEDS_OF_PATIENT, &rows, err, cn_uuid(patient_id));
    return rc == CN_OK ? needs_read(store, rows, ret_rows, ret_count, err) : rc;
}

CN_SQL_WRITE(SQL_NEED_KEEP,
             "INSERT INTO scheduling.need (tenant_id, id, patient_id,"
             " event_seq, body) VALUES ($1, $2, $3, $4, $5)"
             " ON CONFLICT (tenant_id, id) DO UPDATE SET"
             " event_seq = excluded.event_seq, body = excluded.body"
             " WHERE scheduling.need.event_seq <= excluded.event_seq");

enum cn_code need_keep(const struct store_context *store,
                       struct cn_write *write,
                       const struct need_row *row,
                       struct cn_err *err)
{
    struct cn_bytes body;
    enum cn_code rc =
        cn_seal_message(store->env, store->arena, store->tenant_id,
                        NEED_CONTEXT, &row->need->base, &body, err);
    if (rc == CN_OK) {
        CN_CHANGE(write, &SQL_NEED_KEEP, cn_uuid(store->tenant_id),
                  cn_uuid(row->referral_id), cn_uuid(row->patient_id),
                  cn_int(row->event_seq), cn_bytes(body.data, body.size));
    }
    return rc;
}

CN_SQL_READ(
    SQL_ZONE_OF,
    "SELECT coalesce((SELECT b.time_zone FROM scheduling.branch b"
    " WHERE b.id = $1), (SELECT a.time_zone FROM scheduling.agency a))");

enum cn_code zone_of(const struct store_context *store,
                     struct cn_uuid branch_id,
                     const char **ret_zone,
                     struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc = READ(store, &SQL_ZONE_OF, &rows, err, cn_uuid(branch_id));
    if (rc == CN_OK) {
        *ret_zone = cn_row_text(rows, 0, 0);
    }
    return rc;
}

CN_SQL_READ(SQL_AUTO_BOOK_SOC,
            "SELECT coalesce((SELECT a.auto_book_soc FROM scheduling.agency a"
            " WHERE a.tenant_id = $1), true)");

enum cn_code auto_book_soc(const struct store_context *store,
                           bool *ret_auto,
                           struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc =
        READ(store, &SQL_AUTO_BOOK_SOC, &rows, err, cn_uuid(store->tenant_id));
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
             " WHERE scheduling.agency.event_seq < excluded.event_seq");

void agency_keep(const struct store_context *store,
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
             " WHERE scheduling.branch.event_seq < excluded.event_seq");

void branch_keep(const struct store_context *store,
                 struct cn_write *write,
                 struct cn_uuid id,
                 int64_t event_seq,
                 const char *time_zone)
{
    CN_CHANGE(write, &SQL_BRANCH_KEEP, cn_uuid(store->tenant_id), cn_uuid(id),
              cn_int(event_seq), cn_text(time_zone));
}
