/* SPDX-License-Identifier: Apache-2.0 */
/* What referrals shows of itself in a snapshot: patients and referrals. */
#include "services/referrals/events.h"

#include "services/referrals/unit.h"

static enum cn_code s_patients(const struct cn_store *store,
                               struct cn_uuid after,
                               int limit,
                               struct cn_provided **ret_rows,
                               size_t *ret_count,
                               struct cn_err *err)
{
    struct patient_row *found = NULL;
    size_t count = 0;
    enum cn_code rc = patients_after(store, after, limit, &found, &count, err);
    if (rc != CN_OK) {
        return rc;
    }
    struct cn_provided *rows =
        cn_arena_array(store->arena, count + 1, sizeof(*rows));
    for (size_t i = 0; rows != NULL && i < count; i++) {
        Ref__PatientEvent *event = patient_event(store->arena, &found[i]);
        if (event == NULL) {
            return cn_fail(err, CN_NOMEM, "snapshot");
        }
        rows[i] = (struct cn_provided){ found[i].id, found[i].event_seq,
                                        &event->base };
    }
    *ret_rows = rows;
    *ret_count = count;
    return rows != NULL ? CN_OK : cn_fail(err, CN_NOMEM, "snapshot");
}

static enum cn_code s_referrals(const struct cn_store *store,
                                struct cn_uuid after,
                                int limit,
                                struct cn_provided **ret_rows,
                                size_t *ret_count,
                                struct cn_err *err)
{
    struct referral_row *found = NULL;
    size_t count = 0;
    enum cn_code rc = referrals_after(store, after, limit, &found, &count, err);
    if (rc != CN_OK) {
        return rc;
    }
    struct cn_provided *rows =
        cn_arena_array(store->arena, count + 1, sizeof(*rows));
    for (size_t i = 0; rows != NULL && i < count; i++) {
        Ref__ReferralEvent *event = referral_event(store->arena, &found[i]);
        if (event == NULL) {
            return cn_fail(err, CN_NOMEM, "snapshot");
        }
        rows[i] = (struct cn_provided){ found[i].id, found[i].event_seq,
                                        &event->base };
    }
    *ret_rows = rows;
    *ret_count = count;
    return rows != NULL ? CN_OK : cn_fail(err, CN_NOMEM, "snapshot");
}

const struct cn_provider referrals_providers[REFERRALS_PROVIDER_COUNT] = {
    { .aggregate_type = "patient", .page = s_patients },
    { .aggregate_type = "referral", .page = s_referrals },
};
