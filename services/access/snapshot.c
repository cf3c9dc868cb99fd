/* SPDX-License-Identifier: Apache-2.0 */
/* What access shows of itself in a snapshot: agencies and branches. */
#include "cairn/access.pb-c.h"
#include "services/access/service.h"
#include "services/access/store.h"

#include "common/base/array.h"
#include "common/wire/message.h"

/* The event of one row; NULL without memory. */
typedef const ProtobufCMessage *event_fn(struct cn_arena *arena,
                                         ProtobufCMessage *message);

static const ProtobufCMessage *s_agency_event(struct cn_arena *arena,
                                              ProtobufCMessage *message)
{
    Acc__AgencyEvent *event =
        CN_NEW(arena, acc__agency_event, Acc__AgencyEvent);

    if (event == NULL) {
        return NULL;
    }
    event->agency = (Acc__Agency *)message;
    return &event->base;
}

static const ProtobufCMessage *s_branch_event(struct cn_arena *arena,
                                              ProtobufCMessage *message)
{
    Acc__BranchEvent *event =
        CN_NEW(arena, acc__branch_event, Acc__BranchEvent);

    if (event == NULL) {
        return NULL;
    }
    event->branch = (Acc__Branch *)message;
    return &event->base;
}

static enum cn_code s_page(const struct cn_store *store,
                           const struct resource_table *table,
                           event_fn *event,
                           struct cn_uuid after,
                           int limit,
                           struct cn_provided **ret_rows,
                           size_t *ret_count,
                           struct cn_err *err)
{
    struct resource *found = NULL;
    size_t count = 0;
    enum cn_code rc =
        resources_after(store, table, after, limit, &found, &count, err);
    if (rc != CN_OK) {
        return rc;
    }
    struct cn_provided *rows =
        cn_arena_array(store->arena, count + 1, sizeof(*rows));
    for (size_t i = 0; rows != NULL && i < count; i++) {
        rows[i] = (struct cn_provided){
            .id = found[i].id,
            .event_seq = found[i].event_seq,
            .payload = event(store->arena, found[i].message),
        };
        if (rows[i].payload == NULL) {
            return cn_fail(err, CN_NOMEM, "snapshot");
        }
    }
    *ret_rows = rows;
    *ret_count = count;
    return rows != NULL ? CN_OK : cn_fail(err, CN_NOMEM, "snapshot");
}

static enum cn_code s_agencies(const struct cn_store *store,
                               struct cn_uuid after,
                               int limit,
                               struct cn_provided **ret_rows,
                               size_t *ret_count,
                               struct cn_err *err)
{
    return s_page(store, &AGENCIES, s_agency_event, after, limit, ret_rows,
                  ret_count, err);
}

static enum cn_code s_branches(const struct cn_store *store,
                               struct cn_uuid after,
                               int limit,
                               struct cn_provided **ret_rows,
                               size_t *ret_count,
                               struct cn_err *err)
{
    return s_page(store, &BRANCHES, s_branch_event, after, limit, ret_rows,
                  ret_count, err);
}

const struct cn_provider ACCESS_PROVIDERS[] = {
    { .aggregate_type = "agency", .page = s_agencies },
    { .aggregate_type = "branch", .page = s_branches },
};
const size_t ACCESS_PROVIDER_COUNT = CN_COUNT(ACCESS_PROVIDERS);
