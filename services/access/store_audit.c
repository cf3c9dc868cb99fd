/* SPDX-License-Identifier: Apache-2.0 */
#include "services/access/store_audit.h"

#include "common/base/clock.h"
#include "common/wire/message.h"
#include "common/wire/seal.h"

enum { PARAMS = 9 };

#define ENTRY_COLUMNS                                                          \
    "SELECT e.id, e.service, e.n, e.hash, e.at, e.actor, e.role, e.action,"    \
    " e.resource, e.patients, e.request_id FROM "
/* A filter that may be absent. With `IS NULL OR` the planner expects next to no
 * rows, and sorts all there are instead of reading a page in order. */
#define ENTRY_FILTER(column, n)                                                \
    " AND CASE WHEN $" n "::text IS NULL THEN true"                            \
    " ELSE e." column " = $" n " END"
#define ENTRY_FILTERS                                                          \
    ENTRY_FILTER("actor", "5")                                                 \
    ENTRY_FILTER("action", "6")                                                \
    ENTRY_FILTER("resource", "7") ENTRY_FILTER("service", "8")

/* One statement for each way in. Each is an ordered scan of its index that ends
 * with the page; the other filters drop rows on the way. Where they may drop
 * nearly all rows of a tenant, the slow lane reads. */
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
static const struct cn_statement *
s_audit_way(const Acc__ListAuditRequest *filter, size_t *ret_count)
{
    *ret_count = PARAMS - 1;
    if (filter->patient_id != NULL) {
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

static void s_entry_patients(struct cn_op *op,
                             const struct cn_rows *rows,
                             size_t row,
                             Acc__AuditEntry *entry)
{
    size_t count = 0;
    const struct cn_uuid *ids = cn_row_uuids(rows, row, 9, op->arena, &count);
    const char **texts = cn_arena_array(op->arena, count, sizeof(*texts));
    for (size_t i = 0; i < count; i++) {
        texts[i] = cn_id_text(op->arena, "pat", ids[i]);
    }
    entry->patient_ids = texts;
    entry->n_patient_ids = count;
}

static Acc__AuditEntry *
s_audit_entry_read(struct cn_op *op, const struct cn_rows *rows, size_t row)
{
    struct cn_bytes hash = cn_row_bytes(rows, row, 3);
    char *hex = cn_arena_alloc(op->arena, 2 * hash.size + 1);
    Acc__AuditEntry *entry =
        CN_NEW(op->arena, acc__audit_entry, Acc__AuditEntry);
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
    s_entry_patients(op, rows, row, entry);
    return entry;
}

struct audit_entries audit_entries(struct cn_op *op,
                                   const Acc__ListAuditRequest *filter,
                                   struct cn_uuid patient_id,
                                   const struct cn_page *page)
{
    struct cn_cursor after = page->after;
    size_t param_count = 0;
    /* The first page begins at `until`, which is not on it, or behind all. */
    if (after.key == 0) {
        after.key = filter->has_until ? filter->until : op->now_at + CN_DAY;
    }
    const struct cn_param params[PARAMS] = {
        cn_at(after.key),          cn_uuid(after.id),
        cn_int(page->limit + 1),   cn_at(filter->has_since ? filter->since : 0),
        cn_text(filter->actor),    cn_text(filter->action),
        cn_text(filter->resource), cn_text(filter->service),
        cn_uuid(patient_id),
    };
    const struct cn_statement *way = s_audit_way(filter, &param_count);
    const struct cn_rows *rows = cn_read(op, way, params, param_count);
    struct audit_entries entries = { .count = cn_rows_count(rows) };
    entries.items =
        cn_arena_array(op->arena, entries.count, sizeof(*entries.items));
    for (size_t i = 0; i < entries.count && !cn_failed(op); i++) {
        const Acc__AuditEntry *entry = s_audit_entry_read(op, rows, i);
        entries.items[i] = (struct cn_page_row){
            .shown = &entry->base,
            .place = { entry->at, cn_row_uuid(rows, i, 0) },
        };
    }
    return entries;
}
