/* SPDX-License-Identifier: Apache-2.0 */
#include "services/scheduling/events.h"

#include "cairn/access.cairn.h"
#include "cairn/referrals.cairn.h"
#include "common/service.h"
#include "services/scheduling/booking.h"

#include <string.h>

static int minutes_of(const char *clock)
{
    return ((clock[0] - '0') * 10 + (clock[1] - '0')) * 60 +
           (clock[3] - '0') * 10 + (clock[4] - '0');
}

/* One span of the week; NULL when it is not whole or memory is short. */
static Sch__Need__Span *
span_new(struct cn_arena *arena, int weekday, const char *from, const char *to)
{
    if (from == NULL || to == NULL) {
        return NULL;
    }
    Sch__Need__Span *span = CN_NEW(arena, sch__need__span, Sch__Need__Span);
    if (span != NULL) {
        CN_SET(span, weekday, weekday);
        CN_SET(span, from, minutes_of(from));
        CN_SET(span, to, minutes_of(to));
    }
    return span;
}

static void need_windows(struct cn_arena *arena,
                         const Ref__Patient__Preferences *preferences,
                         Sch__Need *need)
{
    need->windows =
        cn_arena_array(arena, preferences->n_windows + 1, sizeof(void *));
    for (size_t i = 0; need->windows != NULL && i < preferences->n_windows;
         i++) {
        const Ref__Patient__Window *window = preferences->windows[i];
        Sch__Need__Span *span =
            span_new(arena, (int)window->weekday, window->from, window->to);
        if (span != NULL) {
            need->windows[need->n_windows++] = span;
        }
    }
}

static void need_commitments(struct cn_arena *arena,
                             const Ref__Patient *patient,
                             Sch__Need *need)
{
    size_t total = 0;
    for (size_t i = 0; i < patient->n_commitments; i++) {
        total += patient->commitments[i]->n_weekdays;
    }
    need->commitments = cn_arena_array(arena, total + 1, sizeof(void *));
    for (size_t i = 0; need->commitments != NULL && i < patient->n_commitments;
         i++) {
        const Ref__Patient__Commitment *commitment = patient->commitments[i];
        for (size_t j = 0; j < commitment->n_weekdays; j++) {
            Sch__Need__Span *span =
                span_new(arena, (int)commitment->weekdays[j], commitment->from,
                         commitment->to);
            if (span != NULL) {
                need->commitments[need->n_commitments++] = span;
            }
        }
    }
}

/* The part of a need that the patient tells. */
static void need_of_patient(struct cn_arena *arena,
                            const Ref__Patient *patient,
                            Sch__Need *need)
{
    need->postal_code =
        patient->address != NULL ? patient->address->postal_code : NULL;
    need->language = patient->language;
    need->has_interpreter_needed = patient->has_interpreter_needed;
    need->interpreter_needed = patient->interpreter_needed;
    need->has_gender = 0;
    need->n_windows = 0;
    need->n_commitments = 0;
    if (patient->time_zone != NULL) {
        need->time_zone = patient->time_zone;
    }
    if (patient->preferences != NULL) {
        const Ref__Patient__Preferences *preferences = patient->preferences;
        /* The two enums share their words; only the known sexes bind. */
        if (preferences->has_clinician_gender &&
            (int)preferences->clinician_gender <=
                (int)SCH__CLINICIAN__GENDER__MALE) {
            CN_SET(need, gender,
                   (Sch__Clinician__Gender)preferences->clinician_gender);
        }
        need_windows(arena, preferences, need);
    }
    need_commitments(arena, patient, need);
}

/* The need that a referral's event tells. */
static enum cn_code need_of_event(const struct cn_event *event,
                                  struct need_row *ret_row,
                                  struct cn_err *err)
{
    const Ref__ReferralEvent *payload = event->payload;
    const Ref__Referral *referral = payload->referral;
    struct need_row row = { .found = true, .event_seq = event->aggregate_seq };
    if (referral == NULL || payload->patient == NULL ||
        !cn_id_parse("ref", referral->id, &row.referral_id) ||
        !cn_id_parse("pat", payload->patient->id, &row.patient_id)) {
        return cn_fail(err, CN_INTERNAL, "the event names no referral");
    }
    Sch__Need *need = CN_NEW(event->arena, sch__need, Sch__Need);
    if (need == NULL) {
        return cn_fail(err, CN_NOMEM, "keep a need");
    }
    need->referral_id = referral->id;
    need->patient_id = payload->patient->id;
    need->branch_id = referral->branch_id;
    need->time_zone = referral->time_zone;
    if (referral->has_soc_due_at) {
        CN_SET(need, soc_due_at, referral->soc_due_at);
    }
    need->disciplines =
        cn_arena_array(event->arena, referral->n_disciplines + 1,
                       sizeof(need->disciplines[0]));
    for (size_t i = 0; i < referral->n_disciplines; i++) {
        /* The two enums share their words and numbers. */
        need->disciplines[need->n_disciplines++] =
            (Sch__Clinician__Discipline)referral->disciplines[i];
    }
    need_of_patient(event->arena, payload->patient, need);
    row.need = need;
    *ret_row = row;
    return CN_OK;
}

static enum cn_code on_referral(void *self,
                                const struct cn_event *event,
                                struct cn_write *write,
                                struct cn_err *err)
{
    (void)self;
    struct store_context store = store_of_event(event);
    struct need_row need;
    enum cn_code rc = need_of_event(event, &need, err);
    if (rc != CN_OK) {
        return rc;
    }
    cn_write_lock(write, "need", need.referral_id);
    return need_keep(&store, write, &need, err);
}

/* Books the start of care, or says of whom nobody could come. */
static enum cn_code on_referral_accepted(void *self,
                                         const struct cn_event *event,
                                         struct cn_write *write,
                                         struct cn_err *err)
{
    (void)self;
    struct store_context store = store_of_event(event);
    struct need_row need;
    bool book = true;
    enum cn_code rc = need_of_event(event, &need, err);
    if (rc == CN_OK) {
        rc = auto_book_soc(&store, &book, err);
    }
    struct visit_row visit = { .version = 0 };
    const char *clinician_name = NULL;
    if (rc == CN_OK && book) {
        rc = booking_soc(&store, &need, &visit, &clinician_name, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    cn_write_lock(write, "need", need.referral_id);
    if (book) {
        cn_write_lock(write, "visit", visit.id);
    }
    rc = need_keep(&store, write, &need, err);
    if (rc != CN_OK || !book) {
        return rc;
    }
    rc = visit_store_insert(&store, write, &visit, err);
    Sch__VisitEvent *told =
        CN_NEW(event->arena, sch__visit_event, Sch__VisitEvent);
    if (rc != CN_OK) {
        return rc;
    }
    if (told == NULL) {
        return cn_fail(err, CN_NOMEM, "book a start of care");
    }
    told->visit = visit.visit;
    told->clinician_name = clinician_name;
    bool booked = visit.visit->status == SCH__VISIT__STATUS__BOOKED;
    cn_write_event(write, booked ? "visit.booked" : "visit.needs_staff",
                   "visit", visit.id, 1, &told->base);
    cn_write_audit(write, "visit.book", visit.visit->id, visit.patient_id);
    return CN_OK;
}

/* A patient's wishes changed: the needs of all referrals follow. */
static enum cn_code on_patient_updated(void *self,
                                       const struct cn_event *event,
                                       struct cn_write *write,
                                       struct cn_err *err)
{
    (void)self;
    const Ref__PatientEvent *payload = event->payload;
    struct store_context store = store_of_event(event);
    struct need_row *needs = NULL;
    size_t count = 0;
    enum cn_code rc =
        needs_of_patient(&store, event->aggregate_id, &needs, &count, err);
    for (size_t i = 0; rc == CN_OK && i < count; i++) {
        cn_write_lock(write, "need", needs[i].referral_id);
    }
    for (size_t i = 0; rc == CN_OK && i < count; i++) {
        need_of_patient(event->arena, payload->patient, needs[i].need);
        rc = need_keep(&store, write, &needs[i], err);
    }
    return rc;
}

static enum cn_code on_agency(void *self,
                              const struct cn_event *event,
                              struct cn_write *write,
                              struct cn_err *err)
{
    (void)self;
    (void)err;
    const Acc__AgencyEvent *payload = event->payload;
    const Acc__Agency *agency = payload->agency;
    struct store_context store = store_of_event(event);
    cn_write_lock(write, "agency", event->tenant_id);
    agency_keep(&store, write, event->aggregate_seq, agency->time_zone,
                !agency->has_auto_book_soc || agency->auto_book_soc);
    return CN_OK;
}

static enum cn_code on_branch(void *self,
                              const struct cn_event *event,
                              struct cn_write *write,
                              struct cn_err *err)
{
    (void)self;
    (void)err;
    const Acc__BranchEvent *payload = event->payload;
    struct store_context store = store_of_event(event);
    cn_write_lock(write, "branch", event->aggregate_id);
    branch_keep(&store, write, event->aggregate_id, event->aggregate_seq,
                payload->branch->time_zone);
    return CN_OK;
}

static const struct cn_event_handler FROM_REFERRALS[] = {
    { "referral.received", on_referral },
    { "referral.updated", on_referral },
    { "referral.validated", on_referral },
    { "referral.accepted", on_referral_accepted },
    { "patient.updated", on_patient_updated },
};

static const struct cn_event_handler FROM_ACCESS[] = {
    { "agency.created", on_agency },
    { "agency.updated", on_agency },
    { "branch.created", on_branch },
    { "branch.updated", on_branch },
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

const struct cn_subscription SCHEDULING_SUBSCRIPTIONS[] = {
    { .producer = "referrals",
      .events = referrals_events,
      .event_count = referrals_event_count,
      .handlers = FROM_REFERRALS,
      .handler_count = COUNT(FROM_REFERRALS) },
    { .producer = "access",
      .events = access_events,
      .event_count = access_event_count,
      .handlers = FROM_ACCESS,
      .handler_count = COUNT(FROM_ACCESS) },
};
const size_t SCHEDULING_SUBSCRIPTION_COUNT = COUNT(SCHEDULING_SUBSCRIPTIONS);
