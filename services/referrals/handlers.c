/* SPDX-License-Identifier: Apache-2.0 */
/* Referrals: create, list, change, decide. One alone is read by the generated
 * GET. Patients are in handlers_patient.c, HL7 in handlers_hl7.c. */
#include "cairn/referrals.handlers.h"
#include "common/store/reach.h"
#include "common/wire/json.h"
#include "common/wire/message.h"
#include "services/referrals/arrival.h"
#include "services/referrals/patient.h"
#include "services/referrals/rules.h"
#include "services/referrals/unit.h"

#include <string.h>

/* ---- create ---- */

/* The source's referral is here already: 200 with it when its sender sent the
 * same, else 409; both name it. */
static void s_existing_answer(struct cn_op *op, const struct arrival *arrival)
{
    const Ref__Referral *referral = arrival->referral->body;
    const struct cn_bytes sent = { op->request->fingerprint,
                                   CN_FINGERPRINT_SIZE };
    struct cn_bytes hash;
    cn_forgive(op);
    struct cn_record *there = referral_of_key(op, referral, &hash);
    if (!there->found || hash.size != sent.size ||
        memcmp(hash.data, sent.data, sent.size) != 0 ||
        !cn_reach_includes(op->request, there->branch_id)) {
        referral_duplicate(op, referral);
        return;
    }
    *op->reply = (struct cn_reply){ .status = 200 };
    cn_record_locate(op, there);
    cn_show(op, there);
}

static void s_create_conflict(struct cn_op *op, const char *constraint)
{
    if (strcmp(constraint, "referral_source_external_id") == 0) {
        s_existing_answer(op, op->context);
    } else if (strcmp(constraint, "patient_identifier_key") == 0) {
        conflict_is_stale(op, "the patient was made meanwhile");
    }
}

/* The patient of a new referral is of its branch. */
static void s_patient_sent_check(struct cn_op *op,
                                 const Ref__Patient *patient,
                                 struct cn_uuid branch_id)
{
    struct cn_uuid named;
    if (ref__patient__get_packed_size(patient) == 0) {
        cn_refuse_field(op, "/patient", "required",
                        "says nothing of the patient: leave it out");
    }
    patient_check(op, patient, "/patient");
    if (patient->branch_id != NULL &&
        (!cn_id_parse("brn", patient->branch_id, &named) ||
         !cn_uuid_equal(named, branch_id))) {
        cn_refuse_field(op, "/patient/branch_id", "wrong_branch",
                        "is not the referral's branch");
    }
}

void referral_create(struct cn_op *op, const Ref__CreateReferralRequest *body)
{
    const Ref__Referral *sent = body->referral;
    if (sent == NULL) {
        cn_refuse_field(op, "", "required", "a referral is needed");
        return;
    }
    if (sent->patient != NULL && sent->patient_id != NULL) {
        cn_refuse_field(op, "/patient_id", "either_or",
                        "give patient_id or patient, not both");
    }
    const struct arrival_facts facts = {
        .branch_id = branch_of(op, sent->branch_id),
        .referral = sent,
        .patient = sent->patient,
        .patient_id = sent->patient_id,
        .content_hash = { op->request->fingerprint, CN_FINGERPRINT_SIZE },
    };
    if (sent->patient != NULL) {
        s_patient_sent_check(op, sent->patient, facts.branch_id);
    }
    if (cn_failed(op)) {
        return;
    }
    struct arrival *arrival = cn_arena_alloc(op->arena, sizeof(*arrival));
    *arrival = arrival_make(op, &facts);
    arrival_patient_put(op, arrival);
    cn_put(op, arrival->referral);
    cn_deadline_put(op, &arrival->deadline);
    op->context = arrival;
    op->on_conflict = s_create_conflict;
}

/* ---- read ---- */

void referral_raw_get(struct cn_op *op, const Ref__GetReferralRawRequest *body)
{
    const struct cn_record *referral =
        cn_take(op, &ref__referral__resource, body->id);
    struct raw_row raw;
    if (!raw_of_referral(op, referral->id, &raw)) {
        cn_refuse(op, CN_NOT_FOUND, NULL, "the referral came in no message");
        return;
    }
    Ref__RawMessage *shown =
        CN_NEW(op->arena, ref__raw_message, Ref__RawMessage);
    shown->has_content = 1;
    shown->content.len = raw.content.size;
    shown->content.data =
        cn_arena_copy(op->arena, raw.content.data, raw.content.size);
    shown->content_type = raw.content_type;
    op->reply->body = &shown->base;
    cn_audit_shown(op, "referral.raw.read", cn_record_id(referral),
                   &referral->patient_id, 1);
}

void referral_deadlines_list(struct cn_op *op,
                             const Dln__ListDeadlinesRequest *body)
{
    const struct cn_deadline_subject subject =
        cn_deadline_subject_of(cn_take(op, &ref__referral__resource, body->id));
    cn_deadlines_show(op, &subject);
}

/* ---- list ---- */

/* Every state: what is listed when none is named. */
static struct cn_param s_all_statuses(struct cn_arena *arena)
{
    const ProtobufCEnumDescriptor *states = &ref__referral__status__descriptor;
    const char **words =
        cn_arena_array(arena, states->n_values, sizeof(*words));
    for (unsigned i = 0; i < states->n_values; i++) {
        words[i] = cn_enum_word(states, states->values[i].value);
    }
    return cn_texts(words, states->n_values);
}

/* What the request asks for; false: nothing can be in such a list. */
static bool s_filter_read(struct cn_op *op,
                          const Ref__ListReferralsRequest *body,
                          struct referral_filter *ret_filter,
                          const char **ret_text)
{
    struct cn_filter filter;
    struct cn_uuid *branch = cn_arena_alloc(op->arena, sizeof(*branch));
    cn_filter_begin(&filter, op->request, "referrals");
    ret_filter->reach = cn_reach_branches(op->request);
    ret_filter->statuses =
        cn_filter_words(&filter, &ref__referral__status__descriptor,
                        body->status, body->n_status);
    ret_filter->patient_id = cn_filter_id(&filter, "pat", body->patient_id);
    *branch = cn_filter_id(&filter, "brn", body->branch_id);
    if (body->branch_id != NULL) {
        /* A branch out of reach has no rows for this reader. */
        ret_filter->reach =
            cn_uuids(branch, cn_reach_includes(op->request, *branch) ? 1 : 0);
    }
    if (body->n_status == 0) {
        ret_filter->statuses = s_all_statuses(op->arena);
    }
    together_check(op, "source_system", body->source_system, "external_id",
                   body->external_id);
    cn_filter_text(&filter, "source", body->source_system);
    cn_filter_text(&filter, "external", body->external_id);
    ret_filter->source_system = key_system(op->arena, body->source_system);
    ret_filter->external_id = key_value(op->arena, body->external_id);
    ret_filter->by_change = body->has_updated_since;
    ret_filter->since =
        cn_filter_at(&filter, body->has_updated_since, body->updated_since);
    ret_filter->narrow = body->n_status > 0 || body->patient_id != NULL ||
                         body->external_id != NULL;
    *ret_text = filter.text;
    return !filter.nothing;
}

void referrals_list(struct cn_op *op, const Ref__ListReferralsRequest *body)
{
    struct referral_filter filter = { .narrow = false };
    struct cn_records records = { .count = 0 };
    const char *text = NULL;
    bool some = s_filter_read(op, body, &filter, &text);
    struct cn_page page = cn_page_open(op, text);
    if (some && !cn_failed(op)) {
        records = referrals_by(op, &filter, page.after, page.limit + 1);
    }
    cn_list_answer(op, &page, records, "referral.list", NULL);
}

void patient_referrals_list(struct cn_op *op,
                            const Ref__ListPatientReferralsRequest *body)
{
    const struct cn_record *patient = patient_take(op, body->id);
    const struct referral_filter filter = {
        .reach = cn_reach_branches(op->request),
        .statuses = s_all_statuses(op->arena),
        .patient_id = patient->id,
    };
    struct cn_page page =
        cn_page_open(op, cn_arena_printf(op->arena, "patient|%s", body->id));
    cn_list_answer(op, &page,
                   referrals_by(op, &filter, page.after, page.limit + 1),
                   "referral.list", NULL);
}

/* ---- change ---- */

/* A person says that the patient is not the one whose number was sent, or whose
 * name they have. */
static void s_identity_take(struct cn_op *op,
                            Ref__Referral *referral,
                            Ref__Referral__Identity was,
                            bool has_identity,
                            Ref__Referral__Identity identity)
{
    if (!has_identity || identity != REF__REFERRAL__IDENTITY__DIFFERENT) {
        cn_refuse_field(op, "/identity", "invalid_value",
                        "can be set to different only; for the same patient "
                        "use link-patient");
    } else if (was == REF__REFERRAL__IDENTITY__LINKED) {
        cn_refuse_guard(op, "identity", "/identity",
                        "link-patient has said which patient it is");
    } else {
        referral_identify(op->arena, referral, identity);
    }
}

void referral_update(struct cn_op *op, const Ref__UpdateReferralRequest *body)
{
    struct cn_record *record = cn_take(op, &ref__referral__resource, body->id);
    Ref__Referral *referral = record->body;
    const char *ordered = referral->ordered_soc_date;
    const bool had_identity = referral->has_identity;
    const Ref__Referral__Identity identity = referral->identity;
    cn_patch(op, record, body->referral, body->update_mask,
             body->n_update_mask);
    if (cn_mask_has(body->update_mask, body->n_update_mask, "branch_id")) {
        record->also = branch_patched(op, referral->branch_id);
    }
    /* As it was read it says nothing. */
    if (referral->has_identity != had_identity ||
        referral->identity != identity) {
        s_identity_take(op, referral, identity, referral->has_identity,
                        referral->identity);
    }
    const char *now_ordered = referral->ordered_soc_date;
    if (now_ordered == NULL) {
        referral->has_ordered_soc_at = 0;
        referral->ordered_soc_at = 0;
    } else if (ordered == NULL || strcmp(ordered, now_ordered) != 0) {
        CN_SET(referral, ordered_soc_at, op->now_at);
    }
    referral_settle(op, record, soc_rule(op, record));
    record->verb = "update";
    referral_put(op, record);
}

/* ---- decide ---- */

/* The referral, brought up to date and taken through the command. */
static struct cn_record *
s_command(struct cn_op *op, struct cn_record *record, const char *command)
{
    referral_settle(op, record, soc_rule(op, record));
    referral_pass(op, record, command);
    return record;
}

static void s_decide(struct cn_op *op,
                     struct cn_record *record,
                     Ref__Referral__Outcome outcome,
                     const char *reason_code,
                     const char *note)
{
    Ref__Referral__Decision *decision =
        CN_NEW(op->arena, ref__referral__decision, Ref__Referral__Decision);
    CN_SET(decision, outcome, outcome);
    decision->reason_code = reason_code;
    decision->note = note;
    decision->decided_by = op->request->principal.subject;
    CN_SET(decision, decided_at, op->now_at);
    ((Ref__Referral *)record->body)->decision = decision;
    referral_put(op, record);
}

void referral_validate(struct cn_op *op,
                       const Ref__ValidateReferralRequest *body)
{
    struct cn_record *record = cn_take(op, &ref__referral__resource, body->id);
    referral_put(op, s_command(op, record, "validate"));
}

void patient_link(struct cn_op *op, const Ref__LinkPatientRequest *body)
{
    struct cn_record *record = cn_take(op, &ref__referral__resource, body->id);
    Ref__Referral *referral = record->body;
    if (cn_failed(op)) {
        return;
    }
    if (!referral_is_undecided(referral->status)) {
        cn_refuse(op, CN_CONFLICT, "illegal_state",
                  "the referral is decided: its patient stays");
        return;
    }
    struct cn_record *patient = patient_find(op, body->patient_id);
    if (!patient->found) {
        cn_refuse_field(op, "/patient_id", "unknown_patient",
                        "is no patient within reach");
        return;
    }
    referral_identify(op->arena, referral, REF__REFERRAL__IDENTITY__LINKED);
    if (!cn_uuid_equal(patient->id, record->patient_id)) {
        patient_fill(op, patient, record->beside->body, referral);
        patient_put_along(op, patient);
        record->beside = patient;
        record->patient_id = patient->id;
        referral->patient_id = cn_record_id(patient);
    }
    referral_settle(op, record, soc_rule(op, record));
    record->verb = "link_patient";
    referral_put(op, record);
}

void referral_accept(struct cn_op *op, const Ref__AcceptReferralRequest *body)
{
    struct cn_record *record = cn_take(op, &ref__referral__resource, body->id);
    if (body->has_identity) {
        Ref__Referral *referral = record->body;
        s_identity_take(op, referral, referral->identity, true, body->identity);
    }
    s_decide(op, s_command(op, record, "accept"),
             REF__REFERRAL__OUTCOME__ACCEPT, NULL, body->note);
}

void referral_decline(struct cn_op *op, const Ref__DeclineReferralRequest *body)
{
    struct cn_record *record = cn_take(op, &ref__referral__resource, body->id);
    if (!cn_failed(op) && !referral_reason_known(body->reason_code)) {
        cn_refuse_field(op, "/reason_code", "invalid_value",
                        "is no reason of the list");
    }
    s_decide(op, s_command(op, record, "decline"),
             REF__REFERRAL__OUTCOME__DECLINE, body->reason_code, body->note);
}
