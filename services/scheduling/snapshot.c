/* SPDX-License-Identifier: Apache-2.0 */
/* What scheduling shows of itself in a snapshot: clinicians and visits. */
#include "services/scheduling/events.h"

#include "common/base/array.h"
#include "common/wire/message.h"

#include "services/scheduling/store.h"

static enum cn_code s_clinicians(const struct cn_store *store,
                                 struct cn_uuid after,
                                 int limit,
                                 struct cn_provided **ret_rows,
                                 size_t *ret_count,
                                 struct cn_err *err)
{
    struct clinician_row *found = NULL;
    size_t count = 0;
    enum cn_code rc =
        clinicians_after(store, after, limit, &found, &count, err);
    if (rc != CN_OK) {
        return rc;
    }
    struct cn_provided *rows =
        cn_arena_array(store->arena, count + 1, sizeof(*rows));
    for (size_t i = 0; rows != NULL && i < count; i++) {
        Sch__ClinicianEvent *event =
            CN_NEW(store->arena, sch__clinician_event, Sch__ClinicianEvent);
        if (event == NULL) {
            return cn_fail(err, CN_NOMEM, "snapshot");
        }
        event->clinician = found[i].clinician;
        rows[i] = (struct cn_provided){ found[i].id, found[i].event_seq,
                                        &event->base };
    }
    *ret_rows = rows;
    *ret_count = count;
    return rows != NULL ? CN_OK : cn_fail(err, CN_NOMEM, "snapshot");
}

static enum cn_code s_visits(const struct cn_store *store,
                             struct cn_uuid after,
                             int limit,
                             struct cn_provided **ret_rows,
                             size_t *ret_count,
                             struct cn_err *err)
{
    struct visit_row *found = NULL;
    size_t count = 0;
    enum cn_code rc = visits_after(store, after, limit, &found, &count, err);
    if (rc != CN_OK) {
        return rc;
    }
    struct cn_provided *rows =
        cn_arena_array(store->arena, count + 1, sizeof(*rows));
    for (size_t i = 0; rows != NULL && i < count; i++) {
        Sch__VisitEvent *event =
            CN_NEW(store->arena, sch__visit_event, Sch__VisitEvent);
        if (event == NULL) {
            return cn_fail(err, CN_NOMEM, "snapshot");
        }
        /* Without the clinician's name, which the clinician's row tells. */
        event->visit = found[i].visit;
        rows[i] = (struct cn_provided){ found[i].id, found[i].event_seq,
                                        &event->base };
    }
    *ret_rows = rows;
    *ret_count = count;
    return rows != NULL ? CN_OK : cn_fail(err, CN_NOMEM, "snapshot");
}

const struct cn_provider SCHEDULING_PROVIDERS[] = {
    { "clinician", s_clinicians },
    { "visit", s_visits },
};
const size_t SCHEDULING_PROVIDER_COUNT = CN_COUNT(SCHEDULING_PROVIDERS);
