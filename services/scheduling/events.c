/* SPDX-License-Identifier: Apache-2.0 */
#include "services/scheduling/events.h"

#include "cairn/access.cairn.h"
#include "cairn/referrals.cairn.h"
#include "common/base/array.h"
#include "common/contract/service.h"
#include "common/wire/message.h"
#include "services/scheduling/booking.h"

#include <string.h>

/* One span of the week; NULL when it is not whole or memory is short. */
static Sch__Need__Span *s_span_new(struct cn_arena *arena,
                                   int weekday,
                                   const char *from,
                                   const char *to)
{
    int from_minutes;
    int to_minutes;
    if (!clock_minutes(from, &from_minutes) ||
        !clock_minutes(to, &to_minutes)) {
        return NULL;
    }
    Sch__Need__Span *span = CN_NEW(arena, sch__need__span, Sch__Need__Span);
    if (span != NULL) {
        CN_SET(span, weekday, weekday);
        CN_SET(span, from, from_minutes);
        CN_SET(span, to, to_minutes);
    }
    return span;
}

static void s_need_windows(struct cn_arena *arena,
                           const Ref__Patient__Preferences *preferences,
                           Sch__Need *need)
{
    need->windows =
        cn_arena_array(arena, preferences->n_windows + 1, sizeof(void *));
    for (size_t i = 0; need->windows != NULL && i < preferences->n_windows;
         i++) {
        const Ref__Patient__Window *window = preferences->windows[i];
        Sch__Need__Span *span =
            s_span_new(arena, (int)window->weekday, window->from, window->to);
        if (span != NULL) {
            need->windows[need->n_windows++] = span;
        }
    }
}

static void s_need_commitments(struct cn_arena *arena,
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
                s_span_new(arena, (int)commitment->weekdays[j],
                           commitment->from, commitment->to);
            if (span != NULL) {
                need->commitments[need->n_commitments++] = span;
            }
        }
    }
}

/* What a patient tells of every need of theirs; NULL without memory. */
static Sch__Need *s_need_of_patient(struct cn_arena *arena,
                                    const Ref__Patient *patient)
{
    Sch__Need *need = CN_NEW(arena, sch__need, Sch__Need);
    if (need == NULL) {
        return NULL;
    }
    need->postal_code =
        patient->address != NULL ? patient->address->postal_code : NULL;
    need->language = patient->language;
    need->has_interpreter_needed = patient->has_interpreter_needed;
    need->interpreter_needed = patient->interpreter_needed;
    need->time_zone = patient->time_zone;
    CN_SET(need, patient_version, patient->version);

    if (patient->preferences != NULL) {
        const Ref__Patient__Preferences *preferences = patient->preferences;
        /* The two enums share their words; only the known sexes bind. */
        if (preferences->has_clinician_gender &&
            (int)preferences->clinician_gender <=
                (int)SCH__CLINICIAN__GENDER__MALE) {
            CN_SET(need, gender,
                   (Sch__Clinician__Gender)preferences->clinician_gender);
        }
        s_need_windows(arena, preferences, need);
    }
    s_need_commitments(arena, patient, need);
    return need;
}

/* What a referral's event tells: the referral's part of the need, and its
 * patient's. */
static enum cn_code s_need_of_event(const struct cn_event *event,
                                    struct need_row *ret_row,
                                    const Sch__Need **ret_patient,
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
    const Sch__Need *patient =
        s_need_of_patient(event->arena, payload->patient);
    if (need == NULL || patient == NULL) {
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
    for (size_t i = 0; need->disciplines != NULL && i < referral->n_disciplines;
         i++) {
        /* The two enums share their words and numbers. */
        need->disciplines[need->n_disciplines++] =
            (Sch__Clinician__Discipline)referral->disciplines[i];
    }
    row.need = need;
    *ret_row = row;
    *ret_patient = patient;
    return CN_OK;
}

/* Adds both copies; both are locked. */
static enum cn_code s_copies_keep(const struct cn_store *store,
                                  struct cn_write *write,
                                  const struct need_row *need,
                                  const Sch__Need *patient,
                                  struct cn_err *err)
{
    enum cn_code rc = need_keep(store, write, need, err);
    return rc == CN_OK
               ? patient_keep(store, write, need->patient_id, patient, err)
               : rc;
}

static enum cn_code on_referral(void *self,
                                const struct cn_event *event,
                                struct cn_write *write,
                                struct cn_err *err)
{
    (void)self;
    struct cn_store store = cn_store_of_event(event);
    struct need_row need;
    const Sch__Need *patient = NULL;
    enum cn_code rc = s_need_of_event(event, &need, &patient, err);
    if (rc != CN_OK) {
        return rc;
    }
    cn_write_lock(write, "patient", need.patient_id);
    return s_copies_keep(&store, write, &need, patient, err);
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
    const Sch__Need *patient =
        s_need_of_patient(event->arena, payload->patient);
    if (patient == NULL) {
        return cn_fail(err, CN_NOMEM, "keep a patient");
    }
    /* Referrals' events change the same row. */
    cn_write_lock(write, "patient", event->aggregate_id);
    return patient_keep(&store, write, event->aggregate_id, patient, err);
}

/* The need to act on: the referral's part as the event tells it, the patient's
 * as it is known now, for a later event of the patient may have come first. */
static enum cn_code s_need_whole(const struct cn_store *store,
                                 const struct need_row *told,
                                 const Sch__Need *patient,
                                 struct need_row *ret_row,
                                 struct cn_err *err)
{
    const Sch__Need *known = NULL;
    Sch__Need *whole = CN_NEW(store->arena, sch__need, Sch__Need);
    enum cn_code rc = patient_get(store, told->patient_id, &known, err);
    if (rc != CN_OK) {
        return rc;
    }
    if (whole == NULL) {
        return cn_fail(err, CN_NOMEM, "read a need");
    }
    bool newer =
        known != NULL && known->patient_version > patient->patient_version;
    *whole = *told->need;
    need_of_patient(newer ? known : patient, whole);
    *ret_row = *told;
    ret_row->need = whole;
    return CN_OK;
}

/* Adds the visit, its event and the audit row. */
static enum cn_code s_soc_write(const struct cn_store *store,
                                struct cn_write *write,
                                const struct visit_row *visit,
                                const char *clinician_name,
                                struct cn_err *err)
{
    Sch__VisitEvent *told =
        CN_NEW(store->arena, sch__visit_event, Sch__VisitEvent);
    if (told == NULL) {
        return cn_fail(err, CN_NOMEM, "book a start of care");
    }
    enum cn_code rc =
        visit_store_insert(store, write, visit, &VISIT_LOOK_AGAIN, err);
    if (rc != CN_OK) {
        return rc;
    }
    told->visit = visit->visit;
    told->clinician_name = clinician_name;
    bool booked = visit->visit->status == SCH__VISIT__STATUS__BOOKED;
    cn_write_event(write, booked ? "visit.booked" : "visit.needs_staff",
                   "visit", visit->id, 1, &told->base);
    cn_write_audit(write, "visit.book", visit->visit->id, visit->patient_id);
    return CN_OK;
}

static bool s_is_booked(const Sch__Visit *visit)
{
    return visit->status == SCH__VISIT__STATUS__BOOKED ||
           visit->status == SCH__VISIT__STATUS__CONFIRMED;
}

/* A change of a visit that stands. */
static enum cn_code s_visit_change(const struct cn_store *store,
                                   struct cn_write *write,
                                   struct visit_row *row,
                                   struct cn_err *err)
{
    CN_SET(row->visit, version, row->version + 1);
    CN_SET(row->visit, updated_at, store->now_at);
    return visit_store_update(store, write, row, err);
}

static enum cn_code s_visit_tell(const struct cn_store *store,
                                 struct cn_write *write,
                                 const struct visit_row *row,
                                 const char *type,
                                 struct cn_err *err)
{
    Sch__VisitEvent *told =
        CN_NEW(store->arena, sch__visit_event, Sch__VisitEvent);
    if (told == NULL) {
        return cn_fail(err, CN_NOMEM, "tell of a visit");
    }
    told->visit = row->visit;
    cn_write_event(write, type, "visit", row->id, row->event_seq + 1,
                   &told->base);
    return CN_OK;
}

/* What an acceptance finds, and what it does about it. */
struct acceptance {
    struct need_row need;
    const Sch__Need *patient; /* as the event tells it */
    struct visit_row visit;
    const char *clinician_name;
    bool book;   /* the visit is new */
    bool stands; /* the visit was booked by hand before */
};

static enum cn_code s_acceptance_read(const struct cn_event *event,
                                      struct acceptance *ret_acceptance,
                                      struct cn_err *err)
{
    struct cn_store store = cn_store_of_event(event);
    struct acceptance self = { .visit = { .version = 0 } };
    struct need_row whole;
    bool has_visit = false;
    enum cn_code rc = s_need_of_event(event, &self.need, &self.patient, err);
    if (rc == CN_OK) {
        rc = s_need_whole(&store, &self.need, self.patient, &whole, err);
    }
    if (rc == CN_OK) {
        rc = auto_book_soc(&store, &self.book, err);
    }
    if (rc == CN_OK) {
        rc = visit_soc_live(&store, whole.referral_id, &has_visit, &self.visit,
                            err);
    }
    self.book = self.book && !has_visit;
    if (rc == CN_OK && self.book) {
        rc =
            booking_soc(&store, &whole, &self.visit, &self.clinician_name, err);
    }
    if (rc == CN_OK) {
        self.stands = has_visit && s_is_booked(self.visit.visit);
        *ret_acceptance = self;
    }
    return rc;
}

/* Books the start of care, or says of whom nobody could come. A visit that is
 * booked already stands, and is told again: who waits for the acceptance did
 * not act on it before. */
static enum cn_code on_referral_accepted(void *self,
                                         const struct cn_event *event,
                                         struct cn_write *write,
                                         struct cn_err *err)
{
    (void)self;
    struct cn_store store = cn_store_of_event(event);
    struct acceptance found;
    enum cn_code rc = s_acceptance_read(event, &found, err);
    if (rc != CN_OK) {
        return rc;
    }
    cn_write_lock(write, "patient", found.need.patient_id);
    if (found.book || found.stands) {
        cn_write_lock(write, "visit", found.visit.id);
    }
    rc = s_copies_keep(&store, write, &found.need, found.patient, err);
    if (rc == CN_OK && found.book) {
        return s_soc_write(&store, write, &found.visit, found.clinician_name,
                           err);
    }
    if (rc == CN_OK && found.stands) {
        rc = s_visit_change(&store, write, &found.visit, err);
    }
    return rc == CN_OK && found.stands
               ? s_visit_tell(&store, write, &found.visit, "visit.booked", err)
               : rc;
}

/* Nobody goes to a patient who was not taken: what was booked is free again. */
static enum cn_code on_referral_declined(void *self,
                                         const struct cn_event *event,
                                         struct cn_write *write,
                                         struct cn_err *err)
{
    (void)self;
    struct cn_store store = cn_store_of_event(event);
    struct need_row need;
    const Sch__Need *patient = NULL;
    struct visit_row *visits = NULL;
    size_t count = 0;
    enum cn_code rc = s_need_of_event(event, &need, &patient, err);
    if (rc == CN_OK) {
        rc = visits_to_come(&store, need.referral_id, &visits, &count, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    cn_write_lock(write, "patient", need.patient_id);
    for (size_t i = 0; i < count; i++) {
        cn_write_lock(write, "visit", visits[i].id);
    }
    rc = s_copies_keep(&store, write, &need, patient, err);
    for (size_t i = 0; rc == CN_OK && i < count; i++) {
        Sch__Visit *visit = visits[i].visit;
        if (visit_move(visit->status, "cancel", &visit->status)) {
            visit->reason_code = "referral_declined";
        }
        rc = s_visit_change(&store, write, &visits[i], err);
    }
    for (size_t i = 0; rc == CN_OK && i < count; i++) {
        rc = s_visit_tell(&store, write, &visits[i], "visit.cancelled", err);
    }
    for (size_t i = 0; rc == CN_OK && i < count; i++) {
        cn_write_audit(write, "visit.cancel", visits[i].visit->id,
                       visits[i].patient_id);
    }
    return rc;
}

static enum cn_code on_agency(void *self,
                              const struct cn_event *event,
                              struct cn_write *write,
                              struct cn_err *err)
{
    (void)self;
    const Acc__AgencyEvent *payload = event->payload;
    const Acc__Agency *agency = payload->agency;
    if (agency == NULL || agency->time_zone == NULL ||
        !cn_zone_valid(agency->time_zone)) {
        return cn_fail(err, CN_INTERNAL, "the event names no agency");
    }

    struct cn_store store = cn_store_of_event(event);
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
    const Acc__BranchEvent *payload = event->payload;
    if (payload->branch == NULL || payload->branch->time_zone == NULL ||
        !cn_zone_valid(payload->branch->time_zone)) {
        return cn_fail(err, CN_INTERNAL, "the event names no branch");
    }

    struct cn_store store = cn_store_of_event(event);
    branch_keep(&store, write, event->aggregate_id, event->aggregate_seq,
                payload->branch->time_zone);
    return CN_OK;
}

static const struct cn_event_handler FROM_REFERRALS[] = {
    { "referral.received", on_referral, .copy = true },
    { "referral.updated", on_referral, .copy = true },
    { "referral.validated", on_referral, .copy = true },
    { "referral.accepted", on_referral_accepted, .copy = false },
    { "referral.declined", on_referral_declined, .copy = false },
    { "referral.scheduled", on_referral, .copy = true },
    { "referral.admitted", on_referral, .copy = true },
    { "referral.snapshot", on_referral, .copy = true },
    { "patient.created", on_patient, .copy = true },
    { "patient.updated", on_patient, .copy = true },
    { "patient.snapshot", on_patient, .copy = true },
};

static const struct cn_event_handler FROM_ACCESS[] = {
    { "agency.created", on_agency, .copy = true },
    { "agency.updated", on_agency, .copy = true },
    { "agency.snapshot", on_agency, .copy = true },
    { "branch.created", on_branch, .copy = true },
    { "branch.updated", on_branch, .copy = true },
    { "branch.snapshot", on_branch, .copy = true },
};

const struct cn_subscription SCHEDULING_SUBSCRIPTIONS[] = {
    { .producer = "referrals",
      .events = referrals_events,
      .event_count = referrals_event_count,
      .handlers = FROM_REFERRALS,
      .handler_count = CN_COUNT(FROM_REFERRALS) },
    { .producer = "access",
      .events = access_events,
      .event_count = access_event_count,
      .handlers = FROM_ACCESS,
      .handler_count = CN_COUNT(FROM_ACCESS) },
};
const size_t SCHEDULING_SUBSCRIPTION_COUNT = CN_COUNT(SCHEDULING_SUBSCRIPTIONS);
