/* SPDX-License-Identifier: Apache-2.0 */
#include "services/referrals/arrival.h"

#include "common/store/page.h"
#include "common/store/reach.h"
#include "common/wire/message.h"
#include "services/referrals/rules.h"
#include "services/referrals/unit.h"

#include <string.h>

/* A new patient as sent, with id and times. */
static enum cn_code s_patient_make(const struct cn_request *request,
                                   const struct arrival_facts *facts,
                                   const char *zone,
                                   struct patient_row *ret_row,
                                   struct cn_err *err)
{
    struct cn_arena *arena = request->arena;
    struct cn_uuid id = cn_uuid_new(request->env);
    Ref__Patient *patient = facts->patient != NULL
                                ? cn_message_copy(arena, &facts->patient->base)
                                : CN_NEW(arena, ref__patient, Ref__Patient);
    if (patient == NULL) {
        return cn_fail(err, CN_NOMEM, "patient");
    }
    patient->id = cn_id_text(arena, PATIENT_PREFIX, id);
    patient->branch_id = cn_id_text(arena, BRANCH_PREFIX, facts->branch_id);
    if (patient->id == NULL || patient->branch_id == NULL) {
        return cn_fail(err, CN_NOMEM, "patient");
    }
    CN_SET(patient, version, 1);
    CN_SET(patient, created_at, request->now_at);
    CN_SET(patient, updated_at, request->now_at);
    *ret_row = (struct patient_row){ .id = id,
                                     .branch_id = facts->branch_id,
                                     .version = 1,
                                     .event_seq = 1,
                                     .zone = zone,
                                     .patient = patient };
    return CN_OK;
}

static enum cn_code s_patient_given(const struct cn_request *request,
                                    const struct cn_store *store,
                                    const struct arrival_facts *facts,
                                    struct arrival *arrival,
                                    const char **ret_zone,
                                    struct cn_err *err)
{
    struct cn_uuid id;
    enum cn_code rc = branch_zone(store, facts->branch_id, ret_zone, err);
    if (rc != CN_OK) {
        return rc;
    }
    rc = CN_NOT_FOUND;
    if (cn_id_parse(PATIENT_PREFIX, facts->patient_id, &id)) {
        rc = patient_load(store, id, cn_reach_branches(request),
                          &arrival->row.patient, err);
    }
    if (rc == CN_NOT_FOUND) {
        cn_err_clear(err);
        return cn_fail_field(err, "/patient_id", "unknown_patient",
                             "is no patient within reach");
    }
    return rc;
}

/* By identifier: exactly one patient, within reach, is the patient. Of one out
 * of reach nothing is used: whoever names an identifier is not thereby told
 * whose it is. */
static enum cn_code s_patient_matched(const struct cn_request *request,
                                      const struct cn_store *store,
                                      const struct arrival_facts *facts,
                                      struct arrival *arrival,
                                      const char **ret_zone,
                                      struct cn_err *err)
{
    const char *systems[PATIENT_KEYS_MAX];
    const char *values[PATIENT_KEYS_MAX];
    struct intake intake;
    size_t count =
        facts->patient == NULL
            ? 0
            : patient_keys(facts->patient, systems, values, PATIENT_KEYS_MAX);
    enum cn_code rc =
        intake_load(store, facts->branch_id, systems, values, count,
                    cn_reach_branches(request), &intake, err);
    if (rc != CN_OK) {
        return rc;
    }
    *ret_zone = intake.zone;
    if (intake.match_count == 1 && !intake.hidden) {
        arrival->row.patient = intake.match;
        return CN_OK;
    }
    arrival->patient_made = true;
    memcpy(arrival->skip, intake.taken, sizeof(arrival->skip));
    rc =
        s_patient_make(request, facts, intake.zone, &arrival->row.patient, err);
    if (rc == CN_OK && intake.match_count > 1) {
        rc = referral_warn(request->arena, arrival->row.referral,
                           "patient_ambiguous", err);
    }
    if (rc == CN_OK && intake.hidden) {
        rc = referral_warn(request->arena, arrival->row.referral,
                           "identifier_taken", err);
    }
    return rc;
}

/* The referral as sent, with ids, times and what an arrival sets. */
static enum cn_code s_referral_make(const struct cn_request *request,
                                    const struct arrival_facts *facts,
                                    struct referral_row *row,
                                    struct cn_err *err)
{
    struct cn_arena *arena = request->arena;
    Ref__Referral sent = *facts->referral;
    sent.patient = NULL;
    Ref__Referral *referral = cn_message_copy(arena, &sent.base);
    if (referral == NULL) {
        return cn_fail(err, CN_NOMEM, "referral");
    }
    row->id = cn_uuid_new(request->env);
    row->branch_id = facts->branch_id;
    row->version = 1;
    row->content_hash = facts->content_hash;
    row->referral = referral;
    referral->id = cn_id_text(arena, REFERRAL_PREFIX, row->id);
    referral->branch_id = cn_id_text(arena, BRANCH_PREFIX, row->branch_id);
    if (referral->id == NULL || referral->branch_id == NULL) {
        return cn_fail(err, CN_NOMEM, "referral");
    }
    CN_SET(referral, version, 1);
    CN_SET(referral, created_at, request->now_at);
    CN_SET(referral, updated_at, request->now_at);
    CN_SET(referral, received_at, request->now_at);
    CN_SET(referral, status, REF__REFERRAL__STATUS__CAPTURED);
    if (!referral->has_channel) {
        CN_SET(referral, channel, REF__REFERRAL__CHANNEL__API);
    }
    if (referral->ordered_soc_date != NULL) {
        CN_SET(referral, ordered_soc_at, request->now_at);
    }
    return CN_OK;
}

enum cn_code arrival_make(const struct cn_request *request,
                          const struct arrival_facts *facts,
                          struct arrival *ret_arrival,
                          struct cn_err *err)
{
    const struct cn_store store = cn_store_of_request(request);
    const struct cn_clock_rule *c01 = NULL;
    struct arrival arrival = { 0 };
    const char *zone = NULL;
    enum cn_code rc = s_referral_make(request, facts, &arrival.row, err);
    if (rc == CN_OK) {
        rc = facts->patient_id != NULL
                 ? s_patient_given(request, &store, facts, &arrival, &zone, err)
                 : s_patient_matched(request, &store, facts, &arrival, &zone,
                                     err);
    }
    if (rc == CN_OK) {
        rc = branch_await(request, facts->branch_id, &zone, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    struct referral_row *row = &arrival.row;
    row->zone = zone;
    row->patient_id = row->patient.id;
    row->referral->patient_id = row->patient.patient->id;
    rc = soc_rule(&store, row->referral, row->patient.patient, &c01, err);
    if (rc == CN_OK) {
        rc = referral_settle(request->arena, row->referral,
                             row->patient.patient, zone, c01, request->now_at,
                             &arrival.validated, err);
    }
    if (rc == CN_OK) {
        rc = soc_deadline(&store, row, true, &arrival.deadline, err);
    }
    if (rc == CN_OK) {
        row->event_seq = arrival.validated ? 2 : 1;
        *ret_arrival = arrival;
    }
    return rc;
}

void arrival_lock(const struct arrival *self, struct cn_write *write)
{
    cn_write_lock(write, "referral", self->row.id);
    cn_write_lock(write, "patient", self->row.patient_id);
}

enum cn_code arrival_change(const struct cn_store *store,
                            struct arrival *self,
                            struct cn_write *write,
                            struct cn_err *err)
{
    enum cn_code rc = CN_OK;
    if (self->patient_made) {
        rc = patient_add(store, write, &self->row.patient, self->skip, err);
    } else {
        patient_require(write, store->tenant_id, self->row.patient_id,
                        self->row.patient.version);
    }
    if (rc == CN_OK) {
        rc = referral_add(store, write, &self->row, err);
    }
    return rc == CN_OK ? cn_deadline_change(store, write, &self->deadline, err)
                       : rc;
}

enum cn_code arrival_tell(const struct cn_store *store,
                          const struct arrival *self,
                          struct cn_write *write,
                          struct cn_err *err)
{
    enum cn_code rc = CN_OK;
    if (self->patient_made) {
        rc = patient_tell(store, write, &self->row.patient, "patient.created",
                          1, err);
    }
    if (rc == CN_OK) {
        rc = referral_tell(store, write, &self->row, "referral.received", 1,
                           err);
    }
    if (rc == CN_OK && self->validated) {
        rc = referral_tell(store, write, &self->row, "referral.validated", 2,
                           err);
    }
    return rc == CN_OK ? cn_deadline_tell(store, write, &self->deadline, err)
                       : rc;
}
