/* SPDX-License-Identifier: Apache-2.0 */
/* What notifications does about other services' events: it gathers what is
 * known of a referral and queues what its state asks to be told. */
#include "cairn/referrals.cairn.h"
#include "cairn/scheduling.cairn.h"
#include "common/service.h"
#include "services/notifications/rules.h"
#include "services/notifications/service.h"
#include "services/notifications/store.h"

#include <string.h>

/* The message that a telling asks for. */
static enum cn_code s_message_make(const struct cn_store *store,
                                   const struct care_row *care,
                                   const struct telling *telling,
                                   struct message_row *ret_row,
                                   struct cn_err *err)
{
    Ntf__Outgoing *outgoing =
        CN_NEW(store->arena, ntf__outgoing, Ntf__Outgoing);
    Ntf__Message *message = CN_NEW(store->arena, ntf__message, Ntf__Message);
    if (outgoing == NULL || message == NULL ||
        !template_write(store->arena, telling->template, care->care,
                        &outgoing->subject, &outgoing->text)) {
        return cn_fail(err, CN_NOMEM, "queue a message");
    }
    struct message_row row = {
        .id = cn_uuid_new(store->env),
        .referral_id = care->referral_id,
        .version = 1,
        .event_seq = 1,
        .outgoing = outgoing,
    };
    (void)!cn_id_parse("pat", care->care->patient_id, &row.patient_id);
    (void)!cn_id_parse("brn", care->care->branch_id, &row.branch_id);
    message->id = cn_id_text(store->arena, "msg", row.id);
    CN_SET(message, version, 1);
    CN_SET(message, created_at, store->now_at);
    CN_SET(message, updated_at, store->now_at);
    message->patient_id = care->care->patient_id;
    message->referral_id = care->care->referral_id;
    message->branch_id = care->care->branch_id;
    CN_SET(message, audience, telling->audience);
    CN_SET(message, channel, NTF__MESSAGE__CHANNEL__EMAIL);
    message->template_ = telling->template;
    message->language = telling->audience == NTF__MESSAGE__AUDIENCE__PATIENT
                            ? template_language(care->care)
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

/* Keeps what is known now and queues what it asks to be told. */
static enum cn_code s_care_changed(const struct cn_store *store,
                                   struct cn_write *write,
                                   const struct care_row *care,
                                   struct cn_err *err)
{
    struct telling tellings[2];
    struct message_row rows[2];
    size_t count = 0;
    size_t wanted = care_tellings(care->care, tellings);
    enum cn_code rc = CN_OK;
    for (size_t i = 0; rc == CN_OK && i < wanted; i++) {
        bool exists = true;
        rc = message_exists(store, care->referral_id, tellings[i].template,
                            tellings[i].audience, &exists, err);
        if (rc == CN_OK && !exists) {
            rc = s_message_make(store, care, &tellings[i], &rows[count], err);
            count++;
        }
    }
    if (rc != CN_OK) {
        return rc;
    }
    cn_write_lock(write, "care", care->referral_id);
    for (size_t i = 0; i < count; i++) {
        cn_write_lock(write, "message", rows[i].id);
    }
    rc = care_keep(store, write, care, err);
    for (size_t i = 0; rc == CN_OK && i < count; i++) {
        rc = s_message_queue(store, write, &rows[i], err);
    }
    for (size_t i = 0; rc == CN_OK && i < count; i++) {
        rc = s_message_tell(store, write, &rows[i], err);
    }
    return rc;
}

/* What a referral's event tells of source and patient. */
static void s_care_of_referral(const Ref__ReferralEvent *payload,
                               Ntf__Care *care)
{
    const Ref__Referral *referral = payload->referral;
    const Ref__Patient *patient = payload->patient;
    care->referral_id = referral->id;
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
    care->patient_id = patient->id;
    care->patient_email = patient->email;
    care->language = patient->language;
    care->patient_given = patient->name != NULL && patient->name->n_given > 0
                              ? patient->name->given[0]
                              : NULL;
}

static enum cn_code on_referral_accepted(void *self,
                                         const struct cn_event *event,
                                         struct cn_write *write,
                                         struct cn_err *err)
{
    (void)self;
    const Ref__ReferralEvent *payload = event->payload;
    struct cn_store store = cn_store_of_event(event);
    struct care_row care;
    if (payload->referral == NULL || payload->patient == NULL) {
        return cn_fail(err, CN_INTERNAL, "the event names no referral");
    }
    enum cn_code rc = care_get(&store, event->aggregate_id, &care, err);
    if (rc != CN_OK) {
        return rc;
    }
    if (care.care->referral_seq >= event->aggregate_seq) {
        return CN_OK; /* it comes late: a newer one was told already */
    }
    s_care_of_referral(payload, care.care);
    CN_SET(care.care, referral_seq, event->aggregate_seq);
    CN_SET(care.care, accepted, 1);
    return s_care_changed(&store, write, &care, err);
}

/* Is what is known of the visit as new as this event, or newer? One visit's
 * events are in the order of its counter; of two visits the later told one is
 * the newer. */
static bool s_visit_is_known(const Ntf__Care *care,
                             const struct cn_event *event)
{
    const Sch__VisitEvent *payload = event->payload;
    if (care->visit_id == NULL) {
        return false;
    }
    return strcmp(care->visit_id, payload->visit->id) == 0
               ? care->visit_seq >= event->aggregate_seq
               : care->visit_told_at > event->occurred_at;
}

/* The event of scheduling may come before that of referrals: what it tells is
 * kept until both have come. */
static enum cn_code on_visit_booked(void *self,
                                    const struct cn_event *event,
                                    struct cn_write *write,
                                    struct cn_err *err)
{
    (void)self;
    const Sch__VisitEvent *payload = event->payload;
    const Sch__Visit *visit = payload->visit;
    struct cn_store store = cn_store_of_event(event);
    struct cn_uuid referral_id;
    struct care_row care;
    if (visit == NULL || visit->id == NULL || !visit->has_starts_at ||
        !cn_id_parse("ref", visit->referral_id, &referral_id)) {
        return cn_fail(err, CN_INTERNAL, "the event names no visit");
    }
    if (visit->kind != SCH__VISIT__KIND__SOC) {
        return CN_OK;
    }
    enum cn_code rc = care_get(&store, referral_id, &care, err);
    if (rc != CN_OK) {
        return rc;
    }
    if (s_visit_is_known(care.care, event)) {
        return CN_OK;
    }
    care.care->referral_id = visit->referral_id;
    care.care->patient_id = visit->patient_id;
    care.care->visit_id = visit->id;
    CN_SET(care.care, visit_seq, event->aggregate_seq);
    CN_SET(care.care, visit_told_at, event->occurred_at);
    CN_SET(care.care, soc_starts_at, visit->starts_at);
    care.care->clinician_name = payload->clinician_name;
    return s_care_changed(&store, write, &care, err);
}

static const struct cn_event_handler FROM_REFERRALS[] = {
    { "referral.accepted", on_referral_accepted, .copy = false },
};

static const struct cn_event_handler FROM_SCHEDULING[] = {
    { "visit.booked", on_visit_booked, .copy = false },
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

const struct cn_subscription NOTIFICATIONS_SUBSCRIPTIONS[] = {
    { .producer = "referrals",
      .events = referrals_events,
      .event_count = referrals_event_count,
      .handlers = FROM_REFERRALS,
      .handler_count = COUNT(FROM_REFERRALS) },
    { .producer = "scheduling",
      .events = scheduling_events,
      .event_count = scheduling_event_count,
      .handlers = FROM_SCHEDULING,
      .handler_count = COUNT(FROM_SCHEDULING) },
};
const size_t NOTIFICATIONS_SUBSCRIPTION_COUNT =
    COUNT(NOTIFICATIONS_SUBSCRIPTIONS);
