/* SPDX-License-Identifier: Apache-2.0 */
/* What notifications does about other services' events: it copies what they
 * tell of referrals, patients, visits and clinicians, and queues what an
 * acceptance or a booking asks to be told. */
#include "cairn/referrals.cairn.h"
#include "cairn/scheduling.cairn.h"
#include "common/base/array.h"
#include "common/contract/service.h"
#include "common/wire/message.h"
#include "services/notifications/rules.h"
#include "services/notifications/service.h"
#include "services/notifications/store.h"

#include <string.h>

/* The message that a telling asks for. */
static enum cn_code s_message_make(const struct cn_store *store,
                                   struct cn_uuid referral_id,
                                   const Ntf__Care *care,
                                   const struct telling *telling,
                                   struct message_row *ret_row,
                                   struct cn_err *err)
{
    Ntf__Outgoing *outgoing =
        CN_NEW(store->arena, ntf__outgoing, Ntf__Outgoing);
    Ntf__Message *message = CN_NEW(store->arena, ntf__message, Ntf__Message);
    if (outgoing == NULL || message == NULL ||
        !template_write(store->arena, telling->template, care,
                        &outgoing->subject, &outgoing->text)) {
        return cn_fail(err, CN_NOMEM, "queue a message");
    }
    struct message_row row = {
        .id = cn_uuid_new(store->env),
        .referral_id = referral_id,
        .version = 1,
        .event_seq = 1,
        .outgoing = outgoing,
    };
    (void)!cn_id_parse("pat", care->patient_id, &row.patient_id);
    (void)!cn_id_parse("brn", care->branch_id, &row.branch_id);
    message->id = cn_id_text(store->arena, "msg", row.id);
    CN_SET(message, version, 1);
    CN_SET(message, created_at, store->now_at);
    CN_SET(message, updated_at, store->now_at);
    message->patient_id = care->patient_id;
    message->referral_id = care->referral_id;
    message->branch_id = care->branch_id;
    CN_SET(message, audience, telling->audience);
    CN_SET(message, channel, NTF__MESSAGE__CHANNEL__EMAIL);
    message->template_ = telling->template;
    message->language = telling->audience == NTF__MESSAGE__AUDIENCE__PATIENT
                            ? template_language(care)
                            : "en";
    CN_SET(message, status, NTF__MESSAGE__STATUS__QUEUED);
    if (telling->address == NULL || !address_usable(telling->address)) {
        CN_SET(message, status, NTF__MESSAGE__STATUS__NOT_SENT);
        message->reason_code =
            telling->address == NULL ? "no_address" : "bad_address";
    }

    outgoing->message = message;
    outgoing->address = telling->address;
    *ret_row = row;
    return CN_OK;
}

/* Adds the row, its event and, if it can be sent, the work of sending it. */
static enum cn_code s_message_queue(const struct cn_store *store,
                                    struct cn_write *write,
                                    const struct message_row *row,
                                    struct cn_err *err)
{
    enum cn_code rc = message_insert(store, write, row, err);
    if (rc == CN_OK &&
        row->outgoing->message->status == NTF__MESSAGE__STATUS__QUEUED) {
        cn_write_due(write, "message.send", row->id, store->now_at);
    }
    return rc;
}

static enum cn_code s_message_tell(const struct cn_store *store,
                                   struct cn_write *write,
                                   const struct message_row *row,
                                   struct cn_err *err)
{
    Ntf__MessageEvent *event =
        CN_NEW(store->arena, ntf__message_event, Ntf__MessageEvent);
    if (event == NULL) {
        return cn_fail(err, CN_NOMEM, "queue a message");
    }
    bool queued =
        row->outgoing->message->status == NTF__MESSAGE__STATUS__QUEUED;
    event->message = row->outgoing->message;
    cn_write_event(write, queued ? "message.queued" : "message.not_sent",
                   "message", row->id, 1, &event->base);
    return CN_OK;
}

/* ---- the parts that events tell ---- */

static bool s_is_accepted(Ref__Referral__Status status)
{
    return status == REF__REFERRAL__STATUS__ACCEPTED ||
           status == REF__REFERRAL__STATUS__SOC_SCHEDULED ||
           status == REF__REFERRAL__STATUS__ADMITTED;
}

/* NULL without memory. */
static Ntf__Care *s_part_of_patient(struct cn_arena *arena,
                                    const Ref__Patient *patient)
{
    Ntf__Care *part = CN_NEW(arena, ntf__care, Ntf__Care);
    if (part == NULL) {
        return NULL;
    }
    part->patient_email = patient->email;
    part->language = patient->language;
    part->patient_given = patient->name != NULL && patient->name->n_given > 0
                              ? patient->name->given[0]
                              : NULL;
    CN_SET(part, patient_version, patient->version);
    return part;
}

/* What a referral's event tells: the referral's part, and its patient's. */
static enum cn_code s_referral_of_event(const struct cn_event *event,
                                        struct referral_copy *ret_copy,
                                        Ntf__Care **ret_patient,
                                        struct cn_err *err)
{
    const Ref__ReferralEvent *payload = event->payload;
    const Ref__Referral *referral = payload->referral;
    struct referral_copy copy = { .id = event->aggregate_id,
                                  .event_seq = event->aggregate_seq };
    if (referral == NULL || payload->patient == NULL ||
        !cn_id_parse("pat", payload->patient->id, &copy.patient_id)) {
        return cn_fail(err, CN_INTERNAL, "the event names no referral");
    }
    Ntf__Care *care = CN_NEW(event->arena, ntf__care, Ntf__Care);
    Ntf__Care *patient = s_part_of_patient(event->arena, payload->patient);
    if (care == NULL || patient == NULL) {
        return cn_fail(err, CN_NOMEM, "keep a referral");
    }
    care->referral_id = referral->id;
    care->patient_id = payload->patient->id;
    care->branch_id = referral->branch_id;
    care->time_zone = referral->time_zone;
    if (referral->source != NULL) {
        care->source_organization = referral->source->organization;
        care->source_email = referral->source->email;
        care->external_id = referral->source->external_id;
    }
    if (referral->has_soc_due_at) {
        CN_SET(care, soc_due_at, referral->soc_due_at);
    }
    copy.accepted = referral->has_status && s_is_accepted(referral->status);
    copy.care = care;
    *ret_copy = copy;
    *ret_patient = patient;
    return CN_OK;
}

/* A visit that took place was kept, too: whether the patient is told must not
 * hang on which event is handled first, of two services after a restart. */
static bool s_is_kept(Sch__Visit__Status status)
{
    return status == SCH__VISIT__STATUS__BOOKED ||
           status == SCH__VISIT__STATUS__CONFIRMED ||
           status == SCH__VISIT__STATUS__IN_PROGRESS ||
           status == SCH__VISIT__STATUS__COMPLETED;
}

/* *ret_soc is false for a visit of another kind, of which nobody is told. */
static enum cn_code s_visit_of_event(const struct cn_event *event,
                                     struct visit_copy *ret_copy,
                                     bool *ret_soc,
                                     struct cn_err *err)
{
    const Sch__VisitEvent *payload = event->payload;
    const Sch__Visit *visit = payload->visit;
    struct visit_copy copy = { .id = event->aggregate_id,
                               .event_seq = event->aggregate_seq };
    if (visit == NULL ||
        !cn_id_parse("ref", visit->referral_id, &copy.referral_id)) {
        return cn_fail(err, CN_INTERNAL, "the event names no visit");
    }
    copy.care = CN_NEW(event->arena, ntf__care, Ntf__Care);
    if (copy.care == NULL) {
        return cn_fail(err, CN_NOMEM, "keep a visit");
    }
    (void)!cn_id_parse("cln", visit->clinician_id, &copy.clinician_id);
    copy.booked = visit->has_starts_at && s_is_kept(visit->status);
    if (visit->has_starts_at) {
        CN_SET(copy.care, soc_starts_at, visit->starts_at);
    }
    *ret_copy = copy;
    *ret_soc = visit->kind == SCH__VISIT__KIND__SOC;
    return CN_OK;
}

/* ---- copies ---- */

static enum cn_code on_referral(void *self,
                                const struct cn_event *event,
                                struct cn_write *write,
                                struct cn_err *err)
{
    (void)self;
    struct cn_store store = cn_store_of_event(event);
    struct referral_copy copy;
    Ntf__Care *patient = NULL;
    enum cn_code rc = s_referral_of_event(event, &copy, &patient, err);
    if (rc != CN_OK) {
        return rc;
    }
    cn_write_lock(write, "patient", copy.patient_id);
    rc = referral_keep(&store, write, &copy, err);
    return rc == CN_OK
               ? patient_keep(&store, write, copy.patient_id, patient, err)
               : rc;
}

static enum cn_code on_patient(void *self,
                               const struct cn_event *event,
                               struct cn_write *write,
                               struct cn_err *err)
{
    (void)self;
    const Ref__PatientEvent *payload = event->payload;
    struct cn_store store = cn_store_of_event(event);
    if (payload->patient == NULL) {
        return cn_fail(err, CN_INTERNAL, "the event names no patient");
    }
    Ntf__Care *patient = s_part_of_patient(event->arena, payload->patient);
    if (patient == NULL) {
        return cn_fail(err, CN_NOMEM, "keep a patient");
    }
    /* Referrals' events change the same row. */
    cn_write_lock(write, "patient", event->aggregate_id);
    return patient_keep(&store, write, event->aggregate_id, patient, err);
}

static enum cn_code on_visit(void *self,
                             const struct cn_event *event,
                             struct cn_write *write,
                             struct cn_err *err)
{
    (void)self;
    struct cn_store store = cn_store_of_event(event);
    struct visit_copy copy;
    bool soc = false;
    enum cn_code rc = s_visit_of_event(event, &copy, &soc, err);
    return rc == CN_OK && soc ? visit_keep(&store, write, &copy, err) : rc;
}

static enum cn_code on_clinician(void *self,
                                 const struct cn_event *event,
                                 struct cn_write *write,
                                 struct cn_err *err)
{
    (void)self;
    const Sch__ClinicianEvent *payload = event->payload;
    struct cn_store store = cn_store_of_event(event);
    Ntf__Care *part = CN_NEW(event->arena, ntf__care, Ntf__Care);
    if (payload->clinician == NULL) {
        return cn_fail(err, CN_INTERNAL, "the event names no clinician");
    }
    if (part == NULL) {
        return cn_fail(err, CN_NOMEM, "keep a clinician");
    }
    part->clinician_name = payload->clinician->name;
    return clinician_keep(&store, write, event->aggregate_id,
                          event->aggregate_seq, part, err);
}

/* ---- effects ---- */

enum { TELLINGS_MAX = 2 };

/* The messages that are wanted and not there yet. */
struct queue {
    struct message_row rows[TELLINGS_MAX];
    size_t count;
};

static enum cn_code s_queue_decide(const struct cn_store *store,
                                   struct cn_uuid referral_id,
                                   const Ntf__Care *care,
                                   struct queue *ret_queue,
                                   struct cn_err *err)
{
    struct telling tellings[TELLINGS_MAX];
    struct queue queue = { .count = 0 };
    size_t wanted = care_tellings(care, tellings);
    enum cn_code rc = CN_OK;
    for (size_t i = 0; rc == CN_OK && i < wanted; i++) {
        bool exists = true;
        rc = message_exists(store, referral_id, tellings[i].template,
                            tellings[i].audience, &exists, err);
        if (rc == CN_OK && !exists) {
            rc = s_message_make(store, referral_id, care, &tellings[i],
                                &queue.rows[queue.count], err);
            queue.count++;
        }
    }
    if (rc == CN_OK) {
        *ret_queue = queue;
    }
    return rc;
}

static void s_queue_lock(struct cn_write *write,
                         struct cn_uuid referral_id,
                         const struct queue *queue)
{
    cn_write_lock(write, "care", referral_id);
    for (size_t i = 0; i < queue->count; i++) {
        cn_write_lock(write, "message", queue->rows[i].id);
    }
}

static enum cn_code s_queue_add(const struct cn_store *store,
                                struct cn_write *write,
                                const struct queue *queue,
                                struct cn_err *err)
{
    enum cn_code rc = CN_OK;
    for (size_t i = 0; rc == CN_OK && i < queue->count; i++) {
        rc = s_message_queue(store, write, &queue->rows[i], err);
    }
    for (size_t i = 0; rc == CN_OK && i < queue->count; i++) {
        rc = s_message_tell(store, write, &queue->rows[i], err);
    }
    return rc;
}

/* What is known now of a referral as an event tells it: the newer patient, and
 * the start of care, which may have been booked before. */
static enum cn_code s_care_of_acceptance(const struct cn_store *store,
                                         const struct referral_copy *copy,
                                         const Ntf__Care *patient,
                                         Ntf__Care *care,
                                         int64_t *ret_mark,
                                         struct cn_err *err)
{
    Ntf__Care *known = NULL;
    struct soc_copy soc;
    enum cn_code rc = patient_get(store, copy->patient_id, &known, err);
    if (rc == CN_OK) {
        rc = soc_get(store, copy->id, &soc, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    *care = *copy->care;
    care_of_patient(known != NULL &&
                            known->patient_version > patient->patient_version
                        ? known
                        : patient,
                    care);
    if (soc.care != NULL) {
        care_of_visit(soc.care, care);
    }
    CN_SET(care, accepted, 1);
    *ret_mark = soc.mark;
    return CN_OK;
}

static enum cn_code on_referral_accepted(void *self,
                                         const struct cn_event *event,
                                         struct cn_write *write,
                                         struct cn_err *err)
{
    (void)self;
    struct cn_store store = cn_store_of_event(event);
    struct referral_copy copy;
    struct queue queue;
    Ntf__Care *patient = NULL;
    Ntf__Care care = NTF__CARE__INIT;
    int64_t mark = 0;
    enum cn_code rc = s_referral_of_event(event, &copy, &patient, err);
    if (rc == CN_OK) {
        rc = s_care_of_acceptance(&store, &copy, patient, &care, &mark, err);
    }
    if (rc == CN_OK) {
        rc = s_queue_decide(&store, copy.id, &care, &queue, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    s_queue_lock(write, copy.id, &queue);
    cn_write_lock(write, "patient", copy.patient_id);
    soc_require(write, copy.id, mark);
    rc = referral_keep(&store, write, &copy, err);
    if (rc == CN_OK) {
        rc = patient_keep(&store, write, copy.patient_id, patient, err);
    }
    return rc == CN_OK ? s_queue_add(&store, write, &queue, err) : rc;
}

/* The visit as it is known now: later events of it may have come first. */
static enum cn_code s_visit_now(const struct cn_event *event,
                                const struct visit_copy *told,
                                Ntf__Care *care,
                                bool *ret_booked,
                                struct cn_err *err)
{
    const Sch__VisitEvent *payload = event->payload;
    const struct cn_store store = cn_store_of_event(event);
    struct visit_copy known;
    enum cn_code rc = visit_get(&store, told->id, &known, err);
    if (rc != CN_OK) {
        return rc;
    }
    bool newer = known.care != NULL && known.event_seq > told->event_seq;
    const struct visit_copy *now = newer ? &known : told;
    care_of_visit(now->care, care);
    *ret_booked = now->booked;
    if (!newer && payload->clinician_name != NULL) {
        care->clinician_name = payload->clinician_name;
        return CN_OK;
    }
    return clinician_name(&store, now->clinician_id, &care->clinician_name,
                          err);
}

/* The event of scheduling may come before that of referrals: then the
 * acceptance finds the visit. */
static enum cn_code on_visit_booked(void *self,
                                    const struct cn_event *event,
                                    struct cn_write *write,
                                    struct cn_err *err)
{
    (void)self;
    struct cn_store store = cn_store_of_event(event);
    struct visit_copy copy;
    struct referral_copy referral;
    struct queue queue = { .count = 0 };
    bool soc = false;
    bool booked = false;
    Ntf__Care care = NTF__CARE__INIT;
    enum cn_code rc = s_visit_of_event(event, &copy, &soc, err);
    if (rc != CN_OK || !soc) {
        return rc;
    }
    rc = referral_get(&store, copy.referral_id, &referral, err);
    if (rc == CN_OK && referral.care != NULL) {
        care = *referral.care;
        CN_SET(&care, accepted, referral.accepted);
    }
    if (rc == CN_OK) {
        rc = s_visit_now(event, &copy, &care, &booked, err);
    }
    if (rc == CN_OK && booked) {
        rc = s_queue_decide(&store, copy.referral_id, &care, &queue, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    s_queue_lock(write, copy.referral_id, &queue);
    referral_require(write, copy.referral_id, referral.event_seq);
    rc = visit_keep(&store, write, &copy, err);
    return rc == CN_OK ? s_queue_add(&store, write, &queue, err) : rc;
}

static const struct cn_event_handler FROM_REFERRALS[] = {
    { "referral.received", on_referral, .copy = true },
    { "referral.updated", on_referral, .copy = true },
    { "referral.validated", on_referral, .copy = true },
    { "referral.accepted", on_referral_accepted, .copy = false },
    { "referral.declined", on_referral, .copy = true },
    { "referral.scheduled", on_referral, .copy = true },
    { "referral.admitted", on_referral, .copy = true },
    { "referral.snapshot", on_referral, .copy = true },
    { "patient.created", on_patient, .copy = true },
    { "patient.updated", on_patient, .copy = true },
    { "patient.snapshot", on_patient, .copy = true },
};

static const struct cn_event_handler FROM_SCHEDULING[] = {
    { "visit.booked", on_visit_booked, .copy = false },
    { "visit.confirmed", on_visit, .copy = true },
    { "visit.started", on_visit, .copy = true },
    { "visit.completed", on_visit, .copy = true },
    { "visit.cancelled", on_visit, .copy = true },
    { "visit.needs_staff", on_visit, .copy = true },
    { "visit.snapshot", on_visit, .copy = true },
    { "clinician.updated", on_clinician, .copy = true },
    { "coverage.changed", on_clinician, .copy = true },
    { "clinician.snapshot", on_clinician, .copy = true },
};

const struct cn_subscription NOTIFICATIONS_SUBSCRIPTIONS[] = {
    { .producer = "referrals",
      .events = referrals_events,
      .event_count = referrals_event_count,
      .handlers = FROM_REFERRALS,
      .handler_count = CN_COUNT(FROM_REFERRALS) },
    { .producer = "scheduling",
      .events = scheduling_events,
      .event_count = scheduling_event_count,
      .handlers = FROM_SCHEDULING,
      .handler_count = CN_COUNT(FROM_SCHEDULING) },
};
const size_t NOTIFICATIONS_SUBSCRIPTION_COUNT =
    CN_COUNT(NOTIFICATIONS_SUBSCRIPTIONS);
