/* SPDX-License-Identifier: Apache-2.0 */
#include "services/access/store_audit.h"

#include "common/base/clock.h"
#include "common/store/store.h"
#include "common/wire/message.h"
#include "common/wire/seal.h"

enum { PARAMS = 9 };

#define ENTRY_COLUMNS                                                          \
    "SELECT e.id, e.service, e.n, e.hash, e.at, e.actor, e.role, e.action,"    \
    " e.resource, e.patients, e.request_id FROM "
/* A filter that may be absent. Not `IS NULL OR`: that makes the planner expect
 * next to no rows, and sort all there are instead of reading a page in order.
 */
#define ENTRY_FILTER(column, n)                                                \
    " AND CASE WHEN $" n "::text IS NULL THEN true"                            \
    " ELSE e." column " = $" n " END"
#define ENTRY_FILTERS                                                          \
    ENTRY_FILTER("actor", "5")                                                 \
    ENTRY_FILTER("action", "6")                                                \
    ENTRY_FILTER("resource", "7") ENTRY_FILTER("service", "8")

/* One statement for each way in, each an ordered scan of its index that ends
 * with the page; the other filters drop rows on the way. Where they may drop
 * nearly all that a tenant ever did, the slow lane reads. */
#define ENTRIES_BY(kind, statement, leading)                                   \
    kind(statement, ENTRY_COLUMNS "access.audit_entry e"                       \
                                  " WHERE " leading " (e.at, e.id) < ($1, $2)" \
                                  " AND e.at >= $4" ENTRY_FILTERS              \
                                  " ORDER BY e.at DESC, e.id DESC LIMIT $3")
#define OF_ACTOR  "e.actor = $5 AND"
#define OF_ACTION "e.action = $6 AND"
ENTRIES_BY(CN_SQL_READ, SQL_AUDIT_BY_TIME, "");
ENTRIES_BY(CN_SQL_SLOW, SQL_AUDIT_SOME_BY_TIME, "");
ENTRIES_BY(CN_SQL_READ, SQL_AUDIT_BY_ACTOR, OF_ACTOR);
ENTRIES_BY(CN_SQL_SLOW, SQL_AUDIT_SOME_BY_ACTOR, OF_ACTOR);
ENTRIES_BY(CN_SQL_READ, SQL_AUDIT_BY_ACTION, OF_ACTION);
ENTRIES_BY(CN_SQL_SLOW, SQL_AUDIT_SOME_BY_ACTION, OF_ACTION);
ENTRIES_BY(CN_SQL_READ, SQL_AUDIT_BY_RESOURCE, "e.resource = $7 AND");
CN_SQL_READ(SQL_AUDIT_BY_PATIENT,
            ENTRY_COLUMNS "access.audit_patient p JOIN access.audit_entry e"
                          " ON e.tenant_id = p.tenant_id"
                          " AND e.service = p.service AND e.n = p.n"
                          " AND e.id = p.id"
                          " WHERE p.patient_id = $9"
                          " AND (p.at, p.id) < ($1, $2)"
                          " AND p.at >= $4" ENTRY_FILTERS
                          " ORDER BY p.at DESC, p.id DESC LIMIT $3");

/* The way in that leaves the fewest rows, and how many parameters it has. */
static const struct cn_statement *s_statement(const struct audit_filter *filter,
                                              size_t *ret_count)
{
    *ret_count = PARAMS - 1;
    if (!cn_uuid_is_nil(filter->patient_id)) {
        *ret_count = PARAMS;
        return &SQL_AUDIT_BY_PATIENT;
    }
    if (filter->resource != NULL) {
        return &SQL_AUDIT_BY_RESOURCE;
    }
    bool some = filter->service != NULL;
    if (filter->actor != NULL) {
        return some || filter->action != NULL ? &SQL_AUDIT_SOME_BY_ACTOR
                                              : &SQL_AUDIT_BY_ACTOR;
    }
    if (filter->action != NULL) {
        return some ? &SQL_AUDIT_SOME_BY_ACTION : &SQL_AUDIT_BY_ACTION;
    }
    return some ? &SQL_AUDIT_SOME_BY_TIME : &SQL_AUDIT_BY_TIME;
}

static bool s_patients(struct cn_arena *arena,
                       const struct cn_rows *rows,
                       size_t row,
                       Acc__AuditEntry *entry)
{
    size_t count = 0;
    const struct cn_uuid *ids = cn_row_uuids(rows, row, 9, arena, &count);
    const char **texts = cn_arena_array(arena, count + 1, sizeof(*texts));

    if (ids == NULL || texts == NULL) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        texts[i] = cn_id_text(arena, "pat", ids[i]);
        if (texts[i] == NULL) {
            return false;
        }
    }
    entry->patient_ids = texts;
    entry->n_patient_ids = count;
    return true;
}

/* NULL without memory. */
static Acc__AuditEntry *
s_entry(struct cn_arena *arena, const struct cn_rows *rows, size_t row)
{
    struct cn_bytes hash = cn_row_bytes(rows, row, 3);
    char *hex = cn_arena_alloc(arena, 2 * hash.size + 1);
    Acc__AuditEntry *entry = CN_NEW(arena, acc__audit_entry, Acc__AuditEntry);

    if (hex == NULL || entry == NULL || !s_patients(arena, rows, row, entry)) {
        return NULL;
    }
    cn_hex(hash.data, hash.size, hex);
    entry->service = cn_row_text(rows, row, 1);
    CN_SET(entry, n, cn_row_int(rows, row, 2));
    entry->hash = hex;
    CN_SET(entry, at, cn_row_at(rows, row, 4));
    entry->actor = cn_row_text(rows, row, 5);
    entry->role = cn_row_text(rows, row, 6);
    entry->action = cn_row_text(rows, row, 7);
    entry->resource = cn_row_text(rows, row, 8);
    entry->request_id = cn_row_text(rows, row, 10);
    return entry;
}

enum cn_code audit_page(const struct cn_request *request,
                        const struct audit_filter *filter,
                        const struct cn_page *page,
                        Acc__AuditEntry ***ret_entries,
                        struct cn_cursor **ret_cursors,
                        size_t *ret_count,
                        struct cn_err *err)
{
    struct cn_store store = cn_store_of_request(request);
    struct cn_cursor after = page->after;
    const struct cn_rows *rows = NULL;
    size_t param_count = 0;

    /* Newest first: the first page begins at `until`, which is not among them,
     * or after everything. */
    if (after.key == 0) {
        after.key =
            filter->has_until ? filter->until : request->now_at + CN_DAY;
    }
    const struct cn_param params[PARAMS] = {
        cn_at(after.key),
        cn_uuid(after.id),
        cn_int(page->limit + 1),
        cn_at(filter->has_since ? filter->since : 0),
        cn_text(filter->actor),
        cn_text(filter->action),
        cn_text(filter->resource),
        cn_text(filter->service),
        cn_uuid(filter->patient_id),
    };
    const struct cn_statement *statement = s_statement(filter, &param_count);
    enum cn_code rc =
        cn_store_read(&store, statement, params, param_count, &rows, err);
    if (rc != CN_OK) {
        return rc;
    }
    size_t count = cn_rows_count(rows);
    Acc__AuditEntry **entries =
        cn_arena_array(request->arena, count + 1, sizeof(Acc__AuditEntry *));
    struct cn_cursor *cursors =
        cn_arena_array(request->arena, count + 1, sizeof(*cursors));
    if (entries == NULL || cursors == NULL) {
        return cn_fail(err, CN_NOMEM, "list the audit");
    }
    for (size_t i = 0; i < count; i++) {
        entries[i] = s_entry(request->arena, rows, i);
        if (entries[i] == NULL) {
            return cn_fail(err, CN_NOMEM, "list the audit");
        }
        cursors[i] =
            (struct cn_cursor){ entries[i]->at, cn_row_uuid(rows, i, 0) };
    }
    *ret_entries = entries;
    *ret_cursors = cursors;
    *ret_count = count;
    return CN_OK;
}
