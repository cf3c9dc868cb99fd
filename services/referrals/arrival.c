/* SPDX-License-Identifier: Apache-2.0 */
#include "services/referrals/arrival.h"

#include "common/store/reach.h"
#include "common/wire/message.h"
#include "services/referrals/patient.h"
#include "services/referrals/rules.h"
#include "services/referrals/unit.h"
#include "services/referrals/warning.h"

#include <string.h>

static struct cn_record *s_patient_given(struct cn_op *op,
                                         const struct arrival_facts *facts,
                                         struct cn_record *referral)
{
    struct cn_record *patient = patient_find(op, facts->patient_id);
    referral->also = branch_zone(op, facts->branch_id);
    if (!patient->found) {
        cn_refuse_field(op, "/patient_id", "unknown_patient",
                        "is no patient within reach");
    }
    return patient;
}

/* ---- whose identifier it is ---- */

/* A warning that names another patient. */
static void s_warn_patient(struct cn_op *op,
                           Ref__Referral *referral,
                           const char *code,
                           const char *sent,
                           const struct cn_record *other)
{
    const struct warning warning = { .code = code,
                                     .field = "patient",
                                     .sent = sent,
                                     .patient_id = cn_record_id(other),
                                     .at = op->now_at };
    referral_warn_of(op->arena, referral, &warning);
}

/* Is the patient with the identifier the one who was sent? A number that only
 * says that nobody knows it needs more. */
static bool s_is_person(struct cn_op *op,
                        const struct cn_record *match,
                        const Ref__Patient *sent,
                        const char *value)
{
    const Ref__Patient *here = match->body;
    enum person_match same = person_compare(op->arena, here, sent);
    if (identifier_is_placeholder(value)) {
        return same == PERSON_SAME && here->birth_date != NULL &&
               sent->birth_date != NULL;
    }
    return same != PERSON_OTHER;
}

/* The patient made new, and what is in doubt about them. */
static struct cn_record *s_patient_new(struct cn_op *op,
                                       const struct arrival_facts *facts,
                                       struct arrival *arrival,
                                       const struct intake *intake,
                                       const char *const *values)
{
    Ref__Referral *referral = arrival->referral->body;
    struct cn_record *made =
        cn_record_new(op, &ref__patient__resource, facts->patient);
    ((Ref__Patient *)made->body)->branch_id = referral->branch_id;
    memcpy(arrival->skip, intake->taken, sizeof(arrival->skip));
    if (intake->hidden) {
        referral_warn(op->arena, referral, "identifier_taken");
    }
    if (intake->match != NULL) {
        const char *code =
            intake->match_count > 1 ? "patient_ambiguous" : "identity_disputed";
        s_warn_patient(op, referral, code, values[intake->match_place],
                       intake->match);
        if (intake->other != NULL) {
            s_warn_patient(op, referral, code, values[intake->other_place],
                           intake->other);
        }
        CN_SET(referral, identity, REF__REFERRAL__IDENTITY__DISPUTED);
    }
    /* Of one whose number is disputed the namesake is most likely the person:
     * made when the number was first sent for them. */
    if (intake->namesake != NULL) {
        s_warn_patient(op, referral, "duplicate_suspected", NULL,
                       intake->namesake);
    }
    if (intake->match != NULL || intake->namesake != NULL) {
        cn_also_tell(arrival->referral, "referral.duplicate_suspected");
    }
    return made;
}

/* By identifier: exactly one patient, within reach, who is no other person, is
 * the patient. Of one out of reach nothing is used: whoever names an identifier
 * is not thereby told whose it is. */
static struct cn_record *s_patient_matched(struct cn_op *op,
                                           const struct arrival_facts *facts,
                                           struct arrival *arrival)
{
    const char *systems[PATIENT_KEYS_MAX];
    const char *values[PATIENT_KEYS_MAX];
    size_t count = facts->patient == NULL
                       ? 0
                       : patient_keys(op->arena, facts->patient, systems,
                                      values, PATIENT_KEYS_MAX);
    const struct intake intake = intake_find(
        op, facts->branch_id, facts->patient, systems, values, count);
    arrival->referral->also = intake.zone;
    if (cn_failed(op)) {
        return cn_record_new(op, &ref__patient__resource, NULL);
    }
    const char *value =
        intake.match != NULL ? values[intake.match_place] : NULL;
    if (facts->patient != NULL && value != NULL && intake.match_count == 1 &&
        !intake.hidden &&
        s_is_person(op, intake.match, facts->patient, value)) {
        patient_fill(op, intake.match, facts->patient, arrival->referral->body);
        return intake.match;
    }
    return s_patient_new(op, facts, arrival, &intake, values);
}

/* The referral as sent, with its id, its branch and what an arrival sets. */
static struct cn_record *s_referral_new(struct cn_op *op,
                                        const struct arrival_facts *facts)
{
    struct cn_param *hash = cn_arena_alloc(op->arena, sizeof(*hash));
    Ref__Referral sent = *facts->referral;
    sent.patient = NULL; /* they have a row of their own */
    struct cn_record *record =
        cn_record_new(op, &ref__referral__resource, &sent);
    Ref__Referral *referral = record->body;
    *hash = cn_bytes(facts->content_hash.data, facts->content_hash.size);
    record->given = hash;
    record->branch_id = facts->branch_id;
    referral->branch_id = cn_id_text(op->arena, "brn", facts->branch_id);
    CN_SET(referral, received_at, op->now_at);
    if (!referral->has_channel) {
        CN_SET(referral, channel, REF__REFERRAL__CHANNEL__API);
    }
    if (referral->ordered_soc_date != NULL) {
        CN_SET(referral, ordered_soc_at, op->now_at);
    }
    referral->has_identity = 0;
    if (facts->number_is_shared && facts->patient != NULL) {
        const struct warning warning = { .code = "external_id_disputed",
                                         .field = "source.external_id",
                                         .sent = referral->source->external_id,
                                         .at = op->now_at };
        referral->source_key = referral_key_of_person(
            op->arena, referral->source->external_id, facts->patient);
        referral_warn_of(op->arena, referral, &warning);
    }
    cn_move(op, record, "receive");
    return record;
}

struct arrival arrival_make(struct cn_op *op, const struct arrival_facts *facts)
{
    struct arrival arrival = { .referral = s_referral_new(op, facts) };
    struct cn_record *referral = arrival.referral;
    struct cn_record *patient = facts->patient_id != NULL
                                    ? s_patient_given(op, facts, referral)
                                    : s_patient_matched(op, facts, &arrival);
    referral->also = branch_await(op, facts->branch_id, referral->also);
    referral->beside = patient;
    referral->patient_id = patient->id;
    ((Ref__Referral *)referral->body)->patient_id = cn_record_id(patient);
    referral_settle(op, referral, soc_rule(op, referral));
    referral->verb = "create";
    arrival.deadline = soc_deadline(op, referral);
    return arrival;
}

void arrival_patient_put(struct cn_op *op, const struct arrival *self)
{
    struct cn_record *patient = self->referral->beside;
    if (patient->found) {
        patient_put_along(op, patient);
        return;
    }
    cn_also_tell(patient, "patient.created");
    cn_lock(op, "patient", patient->id);
    cn_put_part(op, patient);
    patient_keys_add(op, patient, self->skip);
}
