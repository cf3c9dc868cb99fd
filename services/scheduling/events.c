/* SPDX-License-Identifier: Apache-2.0 */
#include "services/scheduling/events.h"

#include "cairn/access.cairn.h"
#include "cairn/referrals.cairn.h"
#include "common/service.h"
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

/* The part of a need that the patient tells. */
static void s_need_of_patient(struct cn_arena *arena,
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
    CN_SET(need, patient_version, patient->version);
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
        s_need_windows(arena, preferences, need);
    }
    s_need_commitments(arena, patient, need);
}

/* The patient's part of one need into another. */
static void s_need_patient_copy(const Sch__Need *from, Sch__Need *to)
{
    to->postal_code = from->postal_code;
    to->language = from->language;
    to->has_interpreter_needed = from->has_interpreter_needed;
    to->interpreter_needed = from->interpreter_needed;
    to->has_gender = from->has_gender;
    to->gender = from->gender;
    to->windows = from->windows;
    to->n_windows = from->n_windows;
    to->commitments = from->commitments;
    to->n_commitments = from->n_commitments;
    to->time_zone = from->time_zone;
    CN_SET(to, patient_version, from->patient_version);
}

/* The need that a referral's event tells. */
static enum cn_code s_need_of_event(const struct cn_event *event,
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
    s_need_of_patient(event->arena, payload->patient, need);
    row.need = need;
    *ret_row = row;
    return CN_OK;
}

/* What the event tells and what is known already: the referral's part is the
 * event's, the patient's part that of the newer patient, for a referral may
 * have been written beside a change of its patient. */
static enum cn_code s_need_now(const struct cn_event *event,
                               struct need_row *ret_row,
                               struct cn_err *err)
{
    struct cn_store store = cn_store_of_event(event);
    struct need_row row;
    struct need_row known;
    enum cn_code rc = s_need_of_event(event, &row, err);
    if (rc == CN_OK) {
        rc = need_get(&store, row.referral_id, &known, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    if (known.found) {
        CN_SET(row.need, accepted, known.need->accepted);
    }
    if (known.found && cn_uuid_equal(known.patient_id, row.patient_id) &&
        known.need->patient_version > row.need->patient_version) {
        s_need_patient_copy(known.need, row.need);
    }
    *ret_row = row;
    return CN_OK;
}

static enum cn_code on_referral(void *self,
                                const struct cn_event *event,
                                struct cn_write *write,
                                struct cn_err *err)
{
    (void)self;
    struct cn_store store = cn_store_of_event(event);
    struct need_row need;
    enum cn_code rc = s_need_now(event, &need, err);
    if (rc != CN_OK) {
        return rc;
    }
    cn_write_lock(write, "need", need.referral_id);
    return need_keep(&store, write, &need, err);
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

/* Books the start of care, or says of whom nobody could come. A visit that was
 * booked by hand before stands, and is told again: who waited for the
 * acceptance did not act on it then. */
static enum cn_code on_referral_accepted(void *self,
                                         const struct cn_event *event,
                                         struct cn_write *write,
                                         struct cn_err *err)
{
    (void)self;
    struct cn_store store = cn_store_of_event(event);
    struct need_row need;
    struct visit_row visit = { .version = 0 };
    const char *clinician_name = NULL;
    bool book = false;
    bool has_visit = false;
    enum cn_code rc = s_need_now(event, &need, err);
    if (rc == CN_OK) {
        rc = auto_book_soc(&store, &book, err);
    }
    if (rc == CN_OK) {
        rc = visit_soc_live(&store, need.referral_id, &has_visit, &visit, err);
    }
    book = book && !has_visit;
    if (rc == CN_OK && book) {
        rc = booking_soc(&store, &need, &visit, &clinician_name, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    bool stands = has_visit && !need.need->accepted && s_is_booked(visit.visit);
    CN_SET(need.need, accepted, true);
    cn_write_lock(write, "need", need.referral_id);
    if (book || stands) {
        cn_write_lock(write, "visit", visit.id);
    }
    rc = need_keep(&store, write, &need, err);
    if (rc == CN_OK && book) {
        return s_soc_write(&store, write, &visit, clinician_name, err);
    }
    if (rc == CN_OK && stands) {
        rc = s_visit_change(&store, write, &visit, err);
    }
    return rc == CN_OK && stands
               ? s_visit_tell(&store, write, &visit, "visit.booked", err)
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
    struct visit_row *visits = NULL;
    size_t count = 0;
    enum cn_code rc = s_need_now(event, &need, err);
    if (rc == CN_OK) {
        rc = visits_to_come(&store, need.referral_id, &visits, &count, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    CN_SET(need.need, accepted, false);
    cn_write_lock(write, "need", need.referral_id);
    for (size_t i = 0; rc == CN_OK && i < count; i++) {
        cn_write_lock(write, "visit", visits[i].id);
    }
    rc = need_keep(&store, write, &need, err);
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

/* A patient's wishes changed: the needs of their referrals follow. */
static enum cn_code on_patient_updated(void *self,
                                       const struct cn_event *event,
                                       struct cn_write *write,
                                       struct cn_err *err)
{
    (void)self;
    const Ref__PatientEvent *payload = event->payload;
    struct cn_store store = cn_store_of_event(event);
    struct need_row *needs = NULL;
    size_t count = 0;
    size_t kept = 0;
    if (payload->patient == NULL) {
        return cn_fail(err, CN_INTERNAL, "the event names no patient");
    }
    enum cn_code rc =
        needs_of_patient(&store, event->aggregate_id, &needs, &count, err);
    for (size_t i = 0; rc == CN_OK && i < count; i++) {
        if (needs[i].need->patient_version < payload->patient->version) {
            needs[kept++] = needs[i];
            cn_write_lock(write, "need", needs[i].referral_id);
        }
    }
    for (size_t i = 0; rc == CN_OK && i < kept; i++) {
        s_need_of_patient(event->arena, payload->patient, needs[i].need);
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
    { "referral.received", on_referral, .copy = false },
    { "referral.updated", on_referral, .copy = false },
    { "referral.validated", on_referral, .copy = false },
    { "referral.accepted", on_referral_accepted, .copy = false },
    { "referral.declined", on_referral_declined, .copy = false },
    { "patient.updated", on_patient_updated, .copy = false },
};

static const struct cn_event_handler FROM_ACCESS[] = {
    { "agency.created", on_agency, .copy = true },
    { "agency.updated", on_agency, .copy = true },
    { "branch.created", on_branch, .copy = true },
    { "branch.updated", on_branch, .copy = true },
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
