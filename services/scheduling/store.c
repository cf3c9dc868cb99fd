/* SPDX-License-Identifier: Apache-2.0 */
/* Clinicians. Visits are in store_visit.c, the copies of other services' facts
 * in store_copy.c. */
#include "services/scheduling/store.h"

#include "common/store/reach.h"
#include "common/wire/json.h"

static const char CLINICIAN_CONTEXT[] = "scheduling.clinician.body";

/* Columns of a clinician c. A clinician's hours are in their own zone, else in
 * that of their branch, else in the agency's: the copies may lag behind. */
#define CLINICIAN_COLUMNS                                                      \
    "c.id, c.branch_id, c.version, c.event_seq, c.body,"                       \
    " coalesce((SELECT b.time_zone FROM scheduling.branch b"                   \
    " WHERE b.id = c.branch_id), (SELECT a.time_zone FROM scheduling.agency "  \
    "a))"

static enum cn_code s_clinicians_read(const struct cn_store *store,
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
            cn_store_unseal(store, CLINICIAN_CONTEXT, rows, row, 4,
                            &sch__clinician__descriptor, &message, err);
        if (rc != CN_OK) {
            return rc;
        }
        found[row].clinician = (Sch__Clinician *)message;
        found[row].time_zone = found[row].clinician->time_zone;
        if (found[row].time_zone == NULL) {
            found[row].time_zone =
                cn_row_null(rows, row, 5) ? "UTC" : cn_row_text(rows, row, 5);
        }
    }
    *ret_rows = found;
    *ret_count = count;
    return CN_OK;
}

CN_SQL_READ(SQL_CLINICIAN_GET,
            "SELECT " CLINICIAN_COLUMNS
            " FROM scheduling.clinician c WHERE c.id = $1");

enum cn_code clinician_store_get(const struct cn_store *store,
                                 struct cn_uuid id,
                                 struct clinician_row *ret_row,
                                 struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    struct clinician_row *found = NULL;
    size_t count = 0;
    enum cn_code rc =
        CN_STORE_READ(store, &SQL_CLINICIAN_GET, &rows, err, cn_uuid(id));
    if (rc == CN_OK) {
        rc = s_clinicians_read(store, rows, &found, &count, err);
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

/* One statement for one discipline and one for all, so that each has its index.
 */
#define CLINICIANS_OF(statement, condition)                                    \
    CN_SQL_READ(statement,                                                     \
                "SELECT " CLINICIAN_COLUMNS                                    \
                " FROM scheduling.clinician c WHERE " condition                \
                " AND ($2::uuid[] IS NULL OR c.branch_id = ANY ($2)"           \
                " OR ($3 AND c.branch_id IS NULL))"                            \
                " ORDER BY c.created_at, c.id LIMIT $4")
CLINICIANS_OF(SQL_CLINICIANS_OF, "c.discipline = $1");
CLINICIANS_OF(SQL_CLINICIANS_ANY, "$1::text IS NULL");

enum cn_code clinicians_of(const struct cn_store *store,
                           const char *discipline,
                           const struct clinician_scope *scope,
                           struct clinician_row **ret_rows,
                           size_t *ret_count,
                           struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc = CN_STORE_READ(
        store, discipline != NULL ? &SQL_CLINICIANS_OF : &SQL_CLINICIANS_ANY,
        &rows, err, cn_text(discipline), scope->branches,
        cn_bool(scope->unassigned), cn_int(MATCH_LEFT_OUT_MAX));
    return rc == CN_OK
               ? s_clinicians_read(store, rows, ret_rows, ret_count, err)
               : rc;
}

CN_SQL_READ(SQL_CLINICIANS_PAGE,
            "SELECT " CLINICIAN_COLUMNS " FROM scheduling.clinician c"
            " WHERE (c.created_at, c.id) > ($1, $2)"
            " AND ($3::text[] IS NULL OR c.discipline = ANY ($3))"
            " AND ($4::uuid[] IS NULL OR c.branch_id = ANY ($4))"
            " ORDER BY c.created_at, c.id LIMIT $5");

enum cn_code clinicians_page(const struct cn_request *request,
                             struct cn_param disciplines,
                             const struct cn_page *page,
                             struct clinician_row **ret_rows,
                             size_t *ret_count,
                             struct cn_err *err)
{
    struct cn_store store = cn_store_of_request(request);
    const struct cn_rows *rows = NULL;
    enum cn_code rc = CN_STORE_READ(
        &store, &SQL_CLINICIANS_PAGE, &rows, err, cn_at(page->after.key),
        cn_uuid(page->after.id), disciplines, cn_reach_branches(request),
        cn_int(page->limit + 1));
    return rc == CN_OK
               ? s_clinicians_read(&store, rows, ret_rows, ret_count, err)
               : rc;
}

CN_SQL_SLOW(SQL_CLINICIANS_AFTER,
            "SELECT " CLINICIAN_COLUMNS
            " FROM scheduling.clinician c WHERE c.id > $1"
            " ORDER BY c.id LIMIT $2");

enum cn_code clinicians_after(const struct cn_store *store,
                              struct cn_uuid after,
                              int limit,
                              struct clinician_row **ret_rows,
                              size_t *ret_count,
                              struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc = CN_STORE_READ(store, &SQL_CLINICIANS_AFTER, &rows, err,
                                    cn_uuid(after), cn_int(limit));
    return rc == CN_OK
               ? s_clinicians_read(store, rows, ret_rows, ret_count, err)
               : rc;
}

static const char *s_discipline_word(const Sch__Clinician *clinician)
{
    return cn_enum_word(&sch__clinician__discipline__descriptor,
                        (int)clinician->discipline);
}

CN_SQL_WRITE(SQL_CLINICIAN_INSERT,
             "INSERT INTO scheduling.clinician (tenant_id, id, branch_id,"
             " discipline, version, event_seq, created_at, updated_at, body)"
             " VALUES ($1, $2, $3, $4, 1, 1, $5, $5, $6)");

enum cn_code clinician_store_insert(const struct cn_store *store,
                                    struct cn_write *write,
                                    const struct clinician_row *row,
                                    struct cn_err *err)
{
    struct cn_param body;
    enum cn_code rc = cn_store_seal(store, CLINICIAN_CONTEXT,
                                    &row->clinician->base, &body, err);
    if (rc == CN_OK) {
        CN_CHANGE(write, &SQL_CLINICIAN_INSERT, cn_uuid(store->tenant_id),
                  cn_uuid(row->id), cn_uuid_or_null(row->branch_id),
                  cn_text(s_discipline_word(row->clinician)),
                  cn_at(store->now_at), body);
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

enum cn_code clinician_store_update(const struct cn_store *store,
                                    struct cn_write *write,
                                    const struct clinician_row *row,
                                    struct cn_err *err)
{
    struct cn_param body;
    enum cn_code rc = cn_store_seal(store, CLINICIAN_CONTEXT,
                                    &row->clinician->base, &body, err);
    if (rc == CN_OK) {
        CN_CHANGE(write, &SQL_CLINICIAN_UPDATE, cn_uuid(row->id),
                  cn_int(row->version), cn_uuid_or_null(row->branch_id),
                  cn_text(s_discipline_word(row->clinician)),
                  cn_at(store->now_at), body);
    }
    return rc;
}
