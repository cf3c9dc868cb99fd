/* SPDX-License-Identifier: Apache-2.0 */
/* What notifications does about other services' events: it copies what they
 * tell of referrals, patients, visits and clinicians, and queues what an
 * acceptance or a booking asks to be told. */
#include "cairn/referrals.cairn.h"
#include "cairn/scheduling.cairn.h"
#include "common/base/array.h"
#include "common/contract/service.h"
#include "common/wire/message.h"
#include "services/notifications/service.h"
#include "services/notifications/store.h"

#include <string.h>

/* ---- the parts that events tell ---- */

static bool s_is_accepted(Ref__Referral__Status status)
{
    return status == REF__REFERRAL__STATUS__ACCEPTED ||
           status == REF__REFERRAL__STATUS__SOC_SCHEDULED ||
           status == REF__REFERRAL__STATUS__ADMITTED;
}

static Ntf__Patient *s_patient_part(struct cn_arena *arena,
                                    const Ref__Patient *patient)
{
    Ntf__Patient *part = CN_NEW(arena, ntf__patient, Ntf__Patient);
    part->patient_email = patient->email;
    part->language = patient->language;
    part->patient_given = patient->name != NULL && patient->name->n_given > 0
                              ? patient->name->given[0]
                              : NULL;
    CN_SET(part, patient_version, patient->version);
    return part;
}

/* A referral's event tells of its patient, too. */
struct referral_told {
    struct cn_uuid patient_id;
    Ntf__Referral *referral;
    Ntf__Patient *patient;
};

static struct referral_told s_referral_told(struct cn_op *op,
                                            const struct cn_event *event)
{
    const Ref__ReferralEvent *payload = event->payload;
    const Ref__Referral *referral = payload->referral;
    struct referral_told told = { .referral = NULL };
    if (referral == NULL || payload->patient == NULL ||
        !cn_id_parse("pat", payload->patient->id, &told.patient_id)) {
        cn_refuse(op, CN_INTERNAL, NULL, "the event names no referral");
        return told;
    }
    Ntf__Referral *part = CN_NEW(op->arena, ntf__referral, Ntf__Referral);
    part->referral_id = referral->id;
    part->patient_id = payload->patient->id;
    part->branch_id = referral->branch_id;
    part->time_zone = referral->time_zone;
    if (referral->source != NULL) {
        part->source_organization = referral->source->organization;
        part->source_email = referral->source->email;
        part->external_id = referral->source->external_id;
    }
    if (referral->has_soc_due_at) {
        CN_SET(part, soc_due_at, referral->soc_due_at);
    }
    CN_SET(part, accepted,
           referral->has_status && s_is_accepted(referral->status));
    told.referral = part;
    told.patient = s_patient_part(op->arena, payload->patient);
    return told;
}

/* A visit that took place is kept as booked, too: whether the patient is told
 * must not hang on which event is handled first, of two services after a
 * restart. */
static bool s_is_kept(Sch__Visit__Status status)
{
    return status == SCH__VISIT__STATUS__BOOKED ||
           status == SCH__VISIT__STATUS__CONFIRMED ||
           status == SCH__VISIT__STATUS__IN_PROGRESS ||
           status == SCH__VISIT__STATUS__COMPLETED;
}

/* NULL for a visit that is no start of care: of it nobody is told. */
static Ntf__Visit *s_visit_told(struct cn_op *op,
                                const struct cn_event *event,
                                struct cn_uuid *ret_referral_id)
{
    const Sch__VisitEvent *payload = event->payload;
    const Sch__Visit *visit = payload->visit;
    if (visit == NULL ||
        !cn_id_parse("ref", visit->referral_id, ret_referral_id)) {
        cn_refuse(op, CN_INTERNAL, NULL, "the event names no visit");
        return NULL;
    }
    if (visit->kind != SCH__VISIT__KIND__SOC) {
        return NULL;
    }
    Ntf__Visit *part = CN_NEW(op->arena, ntf__visit, Ntf__Visit);
    part->referral_id = visit->referral_id;
    part->clinician_id = visit->clinician_id;
    CN_SET(part, booked, visit->has_starts_at && s_is_kept(visit->status));
    if (visit->has_starts_at) {
        CN_SET(part, soc_starts_at, visit->starts_at);
    }
    return part;
}

/* ---- copies ---- */

static void
s_patient_keep(struct cn_op *op, struct cn_uuid id, const Ntf__Patient *patient)
{
    if (patient == NULL) {
        return; /* the event was refused */
    }
    /* Events of patients and of referrals change the same row. */
    cn_lock(op, "patient", id);
    cn_keep(op, &ntf__patient__resource, id, patient->patient_version, patient);
}

static void s_referral_keep(struct cn_op *op,
                            const struct cn_event *event,
                            const struct referral_told *told)
{
    cn_keep(op, &ntf__referral__resource, event->aggregate_id,
            event->aggregate_seq, told->referral);
    s_patient_keep(op, told->patient_id, told->patient);
}

static void s_visit_keep(struct cn_op *op,
                         const struct cn_event *event,
                         const Ntf__Visit *visit)
{
    cn_keep(op, &ntf__visit__resource, event->aggregate_id,
            event->aggregate_seq, visit);
}

static void ntf_on_referral(struct cn_op *op, const struct cn_event *event)
{
    const struct referral_told told = s_referral_told(op, event);
    if (!cn_failed(op)) {
        s_referral_keep(op, event, &told);
    }
}

static void ntf_on_patient(struct cn_op *op, const struct cn_event *event)
{
    const Ref__PatientEvent *payload = event->payload;
    if (payload->patient == NULL) {
        cn_refuse(op, CN_INTERNAL, NULL, "the event names no patient");
        return;
    }
    s_patient_keep(op, event->aggregate_id,
                   s_patient_part(op->arena, payload->patient));
}

static void ntf_on_visit(struct cn_op *op, const struct cn_event *event)
{
    struct cn_uuid referral_id;
    const Ntf__Visit *visit = s_visit_told(op, event, &referral_id);
    if (visit != NULL) {
        s_visit_keep(op, event, visit);
    }
}

static void ntf_on_clinician(struct cn_op *op, const struct cn_event *event)
{
    const Sch__ClinicianEvent *payload = event->payload;
    if (payload->clinician == NULL) {
        cn_refuse(op, CN_INTERNAL, NULL, "the event names no clinician");
        return;
    }
    Ntf__Clinician *part = CN_NEW(op->arena, ntf__clinician, Ntf__Clinician);
    part->clinician_name = payload->clinician->name;
    cn_keep(op, &ntf__clinician__resource, event->aggregate_id,
            event->aggregate_seq, part);
}

/* ---- effects ---- */

/* Queues the message that a telling asks for, and the work of sending it. */
static void s_message_queue(struct cn_op *op,
                            const Ntf__Care *care,
                            const struct telling *telling)
{
    struct cn_record *record =
        cn_record_new(op, &ntf__outgoing__resource, NULL);
    Ntf__Outgoing *outgoing = record->body;
    Ntf__Message *message = outgoing->message;
    if (!template_write(op->arena, telling->template, care, &outgoing->subject,
                        &outgoing->text)) {
        cn_refuse(op, CN_INTERNAL, NULL, "the template cannot be written");
    }
    outgoing->address = telling->address;
    message->patient_id = care->patient_id;
    message->referral_id = care->referral_id;
    message->branch_id = care->branch_id;
    CN_SET(message, audience, telling->audience);
    CN_SET(message, channel, NTF__MESSAGE__CHANNEL__EMAIL);
    message->template_ = telling->template;
    message->language = telling->audience == NTF__MESSAGE__AUDIENCE__PATIENT
                            ? template_language(care)
                            : "en";
    message->reason_code = address_fault(telling->address);
    cn_move(op, record, message->reason_code == NULL ? "queue" : "skip");
    message_put_new(op, record);
    message_count(op, message);
    if (message->reason_code == NULL) {
        cn_due_put(op, "message.send", record->id, op->now_at);
    }
}

/* Queues the messages that are wanted and not there yet. */
static void s_messages_queue(struct cn_op *op,
                             struct cn_uuid referral_id,
                             const Ntf__Care *care)
{
    struct telling tellings[CARE_TELLINGS_MAX];
    const size_t count = care_tellings(care, tellings);
    for (size_t i = 0; i < count; i++) {
        bool exists = message_exists(op, referral_id, &tellings[i]);
        if (cn_failed(op)) {
            return;
        }
        if (!exists) {
            s_message_queue(op, care, &tellings[i]);
        }
    }
}

/* What the event tells and the newer patient. */
static void
s_care_told(struct cn_op *op, const struct referral_told *told, Ntf__Care *care)
{
    const Ntf__Patient *known =
        cn_find(op, &ntf__patient__resource, told->patient_id)->body;
    bool newer = known->patient_version > told->patient->patient_version;
    care_of_referral(told->referral, care);
    care_of_patient(newer ? known : told->patient, care);
}

/* The acceptance acts on the newer patient, and on the start of care that may
 * have been booked before. */
static void ntf_on_referral_accepted(struct cn_op *op,
                                     const struct cn_event *event)
{
    const struct referral_told told = s_referral_told(op, event);
    const struct cn_uuid id = event->aggregate_id;
    Ntf__Care care = NTF__CARE__INIT;
    int64_t mark = 0;
    if (cn_failed(op) || told.patient == NULL) {
        return;
    }
    const struct soc soc = soc_of_referral(op, id, &mark);
    s_care_told(op, &told, &care);
    care_of_soc(&soc, &care);
    CN_SET(&care, accepted, 1);
    cn_lock(op, "care", id);
    soc_require(op, id, mark);
    s_referral_keep(op, event, &told);
    s_messages_queue(op, id, &care);
}

/* What waits to be sent is not so any more. One that is being sent at this
 * moment is decided first. */
static void s_messages_stop(struct cn_op *op, struct cn_uuid referral_id)
{
    struct cn_records queued = messages_queued(op, referral_id);
    for (size_t i = 0; i < queued.count; i++) {
        struct cn_record *record = &queued.items[i];
        Ntf__Outgoing *outgoing = record->body;
        cn_move(op, record, "stop");
        outgoing->message->reason_code = "referral_ended";
        cn_put(op, record);
        cn_due_end(op, "message.send", record->id);
    }
}

/* That the source was told of an acceptance shows that there was one. A visit
 * that is booked at the same time is decided again after this. */
static void ntf_on_referral_ended(struct cn_op *op,
                                  const struct cn_event *event)
{
    static const struct telling ACCEPTED = {
        NTF__MESSAGE__AUDIENCE__REFERRAL_SOURCE, "referral_accepted", NULL
    };
    const struct referral_told told = s_referral_told(op, event);
    const Ref__ReferralEvent *payload = event->payload;
    const struct cn_uuid id = event->aggregate_id;
    Ntf__Care care = NTF__CARE__INIT;
    int64_t mark = 0;
    if (cn_failed(op) || told.patient == NULL) {
        return;
    }
    (void)soc_of_referral(op, id, &mark);
    s_care_told(op, &told, &care);
    CN_SET(&care, accepted, message_exists(op, id, &ACCEPTED));
    care.ended = strchr(event->type, '.') + 1;
    if (payload->referral->decision != NULL) {
        care.reason_code = payload->referral->decision->reason_code;
    }
    cn_lock(op, "care", id);
    soc_require(op, id, mark);
    s_referral_keep(op, event, &told);
    s_messages_stop(op, id);
    s_messages_queue(op, id, &care);
}

/* The visit as it is known now: later events of it may have come first. */
static struct soc s_soc_now(struct cn_op *op,
                            const struct cn_event *event,
                            const Ntf__Visit *told)
{
    const Sch__VisitEvent *payload = event->payload;
    struct soc soc = soc_of_visit(op, event->aggregate_id);
    if (soc.event_seq > event->aggregate_seq) {
        return soc;
    }
    soc = (struct soc){ .booked = told->booked,
                        .starts_at = told->soc_starts_at,
                        .clinician_name = payload->clinician_name };
    struct cn_uuid id;
    if (soc.clinician_name == NULL && told->clinician_id != NULL &&
        cn_id_parse("cln", told->clinician_id, &id)) {
        const Ntf__Clinician *clinician =
            cn_find(op, &ntf__clinician__resource, id)->body;
        soc.clinician_name = clinician->clinician_name;
    }
    return soc;
}

/* The event of scheduling may come before that of referrals: then the
 * acceptance finds the visit. */
static void ntf_on_visit_booked(struct cn_op *op, const struct cn_event *event)
{
    struct cn_uuid referral_id;
    const Ntf__Visit *visit = s_visit_told(op, event, &referral_id);
    if (visit == NULL) {
        return;
    }
    struct care_known known = care_known(op, referral_id);
    const struct soc soc = s_soc_now(op, event, visit);
    care_of_soc(&soc, known.care);
    cn_lock(op, "care", referral_id);
    referral_require(op, referral_id, known.event_seq);
    s_visit_keep(op, event, visit);
    if (soc.booked) {
        s_messages_queue(op, referral_id, known.care);
    }
}

static const struct cn_event_handler FROM_REFERRALS[] = {
    { "referral.received", .effect = ntf_on_referral, .copy = true },
    { "referral.updated", .effect = ntf_on_referral, .copy = true },
    { "referral.validated", .effect = ntf_on_referral, .copy = true },
    { "referral.accepted", .effect = ntf_on_referral_accepted, .copy = false },
    { "referral.declined", .effect = ntf_on_referral_ended, .copy = false },
    { "referral.withdrawn", .effect = ntf_on_referral_ended, .copy = false },
    { "referral.not_admitted", .effect = ntf_on_referral_ended, .copy = false },
    { "referral.scheduled", .effect = ntf_on_referral, .copy = true },
    { "referral.admitted", .effect = ntf_on_referral, .copy = true },
    { "referral.duplicate_suspected", .effect = ntf_on_referral, .copy = true },
    { "referral.snapshot", .effect = ntf_on_referral, .copy = true },
    { "patient.created", .effect = ntf_on_patient, .copy = true },
    { "patient.updated", .effect = ntf_on_patient, .copy = true },
    { "patient.snapshot", .effect = ntf_on_patient, .copy = true },
};

static const struct cn_event_handler FROM_SCHEDULING[] = {
    { "visit.booked", .effect = ntf_on_visit_booked, .copy = false },
    { "visit.confirmed", .effect = ntf_on_visit, .copy = true },
    { "visit.started", .effect = ntf_on_visit, .copy = true },
    { "visit.completed", .effect = ntf_on_visit, .copy = true },
    { "visit.cancelled", .effect = ntf_on_visit, .copy = true },
    { "visit.needs_staff", .effect = ntf_on_visit, .copy = true },
    { "visit.snapshot", .effect = ntf_on_visit, .copy = true },
    { "clinician.updated", .effect = ntf_on_clinician, .copy = true },
    { "coverage.changed", .effect = ntf_on_clinician, .copy = true },
    { "clinician.snapshot", .effect = ntf_on_clinician, .copy = true },
};

const struct cn_subscription NOTIFICATIONS_SUBSCRIPTIONS[] = {
    CN_FOLLOW(referrals, FROM_REFERRALS),
    CN_FOLLOW(scheduling, FROM_SCHEDULING),
};
const size_t NOTIFICATIONS_SUBSCRIPTION_COUNT =
    CN_COUNT(NOTIFICATIONS_SUBSCRIPTIONS);
