/* SPDX-License-Identifier: Apache-2.0 */
#include "services/scheduling/events.h"

#include "cairn/access.cairn.h"
#include "cairn/referrals.cairn.h"
#include "common/base/array.h"
#include "common/contract/service.h"
#include "common/wire/json.h"
#include "common/wire/message.h"
#include "services/scheduling/booking.h"

#include <string.h>

/* One span of the week; NULL when it is not whole. One that ends before it
 * begins goes over midnight. */
static Sch__Need__Span *s_span_new(struct cn_arena *arena,
                                   int weekday,
                                   const char *from,
                                   const char *to)
{
    int from_minutes;
    int to_minutes;
    if (!clock_minutes(from, &from_minutes) ||
        !clock_minutes(to, &to_minutes) || from_minutes == to_minutes) {
        return NULL;
    }
    if (to_minutes < from_minutes) {
        to_minutes += (int)(CN_DAY / CN_MINUTE);
    }
    Sch__Need__Span *span = CN_NEW(arena, sch__need__span, Sch__Need__Span);
    CN_SET(span, weekday, weekday);
    CN_SET(span, from, from_minutes);
    CN_SET(span, to, to_minutes);
    return span;
}

static void s_need_windows(struct cn_arena *arena,
                           const Ref__Patient__Preferences *preferences,
                           Sch__Need *need)
{
    need->windows =
        cn_arena_array(arena, preferences->n_windows + 1, sizeof(void *));
    for (size_t i = 0; i < preferences->n_windows; i++) {
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
    for (size_t i = 0; i < patient->n_commitments; i++) {
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

/* What a patient tells of every need of theirs. */
static Sch__Need *s_need_of_patient(struct cn_arena *arena,
                                    const Ref__Patient *patient)
{
    Sch__Need *need = CN_NEW(arena, sch__need, Sch__Need);
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
struct told {
    struct need_row need;
    const Sch__Need *patient;
};

static struct told s_told(struct cn_op *op, const struct cn_event *event)
{
    const Ref__ReferralEvent *payload = event->payload;
    const Ref__Referral *referral = payload->referral;
    struct told told = { .need = { .event_seq = event->aggregate_seq } };
    if (referral == NULL || payload->patient == NULL ||
        !cn_id_parse("ref", referral->id, &told.need.referral_id) ||
        !cn_id_parse("pat", payload->patient->id, &told.need.patient_id)) {
        cn_refuse(op, CN_INTERNAL, NULL, "the event names no referral");
        return told;
    }
    Sch__Need *need = CN_NEW(op->arena, sch__need, Sch__Need);
    need->referral_id = referral->id;
    need->patient_id = payload->patient->id;
    need->branch_id = referral->branch_id;
    need->time_zone = referral->time_zone;
    if (referral->has_status) {
        need->status = cn_enum_word(&ref__referral__status__descriptor,
                                    (int)referral->status);
    }
    if (referral->has_soc_due_at) {
        CN_SET(need, soc_due_at, referral->soc_due_at);
    }
    need->disciplines = cn_arena_array(op->arena, referral->n_disciplines,
                                       sizeof(need->disciplines[0]));
    for (size_t i = 0; i < referral->n_disciplines; i++) {
        /* The two enums share their words and numbers. */
        need->disciplines[need->n_disciplines++] =
            (Sch__Clinician__Discipline)referral->disciplines[i];
    }
    told.need.need = need;
    told.patient = s_need_of_patient(op->arena, payload->patient);
    return told;
}

/* Keeps both copies. Events of patients change the patient's row, too. */
static void s_told_keep(struct cn_op *op, const struct told *told)
{
    if (cn_failed(op)) {
        return;
    }
    cn_lock(op, "patient", told->need.patient_id);
    cn_keep(op, &sch__need__resource, told->need.referral_id,
            told->need.event_seq, told->need.need);
    sch_patient_keep(op, told->need.patient_id, told->patient);
}

static void sch_on_referral(struct cn_op *op, const struct cn_event *event)
{
    const struct told told = s_told(op, event);
    s_told_keep(op, &told);
}

static void sch_on_patient(struct cn_op *op, const struct cn_event *event)
{
    const Ref__PatientEvent *payload = event->payload;
    if (payload->patient == NULL) {
        cn_refuse(op, CN_INTERNAL, NULL, "the event names no patient");
        return;
    }
    cn_lock(op, "patient", event->aggregate_id);
    sch_patient_keep(op, event->aggregate_id,
                     s_need_of_patient(op->arena, payload->patient));
}

/* The need to act on: the referral's part as the event tells it, the patient's
 * as it is known now, for a later event of the patient may have come first. */
static Sch__Need *s_need_whole(struct cn_op *op, const struct told *told)
{
    const Sch__Need *known = sch_patient_get(op, told->need.patient_id);
    Sch__Need *whole = CN_NEW(op->arena, sch__need, Sch__Need);
    bool newer = known != NULL &&
                 known->patient_version > told->patient->patient_version;
    *whole = *told->need.need;
    need_of_patient(newer ? known : told->patient, whole);
    return whole;
}

/* What a start of care that was there before the acceptance tells once more:
 * who waits for the acceptance did not act on it. NULL: nothing. */
static const char *s_told_again(const Sch__Visit *visit)
{
    switch (visit->status) {
    case SCH__VISIT__STATUS__BOOKED:
    case SCH__VISIT__STATUS__CONFIRMED:
    case SCH__VISIT__STATUS__IN_PROGRESS:
        return "visit.booked";
    case SCH__VISIT__STATUS__COMPLETED:
        return "visit.completed";
    default:
        return NULL;
    }
}

/* Books the start of care, or says of whom nobody could come. A visit that was
 * there before stands. */
static void sch_on_referral_accepted(struct cn_op *op,
                                     const struct cn_event *event)
{
    const struct told told = s_told(op, event);
    if (cn_failed(op)) {
        return;
    }
    const Sch__Need *need = s_need_whole(op, &told);
    struct cn_record *visit = visit_soc_live(op, told.need.referral_id);
    bool book = auto_book_soc(op) && !visit->found;
    s_told_keep(op, &told);
    if (book) {
        visit = booking_soc(op, need);
        visit->verb = "book";
        visit_put_new(op, visit, &VISIT_LOOK_AGAIN);
    } else if (visit->found && s_told_again(visit->body) != NULL) {
        cn_also_tell(visit, s_told_again(visit->body));
        cn_put(op, visit);
    }
}

/* Nobody goes to a patient who was not taken: what was booked is free again. A
 * visit that is booked at the same time is refused, or seen here. */
static void sch_on_referral_ended(struct cn_op *op,
                                  const struct cn_event *event)
{
    const struct told told = s_told(op, event);
    if (cn_failed(op)) {
        return;
    }
    struct cn_records visits = visits_to_come(op, told.need.referral_id);
    cn_lock(op, "need", told.need.referral_id);
    s_told_keep(op, &told);
    for (size_t i = 0; i < visits.count; i++) {
        Sch__Visit *visit = visits.items[i].body;
        cn_move(op, &visits.items[i], "cancel");
        /* "referral_declined" */
        visit->reason_code = cn_arena_printf(op->arena, "referral_%s",
                                             strchr(event->type, '.') + 1);
        cn_put(op, &visits.items[i]);
    }
    if (visits.count < VISITS_MAX) {
        visits_gone_require(op, told.need.referral_id);
    }
}

static void sch_on_agency(struct cn_op *op, const struct cn_event *event)
{
    const Acc__AgencyEvent *payload = event->payload;
    const Acc__Agency *agency = payload->agency;
    if (agency == NULL || agency->time_zone == NULL ||
        !cn_zone_valid(agency->time_zone)) {
        cn_refuse(op, CN_INTERNAL, NULL, "the event names no agency");
        return;
    }
    agency_keep(op, event->aggregate_seq, agency->time_zone,
                !agency->has_auto_book_soc || agency->auto_book_soc);
}

static void sch_on_branch(struct cn_op *op, const struct cn_event *event)
{
    const Acc__BranchEvent *payload = event->payload;
    const Acc__Branch *branch = payload->branch;
    if (branch == NULL || branch->time_zone == NULL ||
        !cn_zone_valid(branch->time_zone)) {
        cn_refuse(op, CN_INTERNAL, NULL, "the event names no branch");
        return;
    }
    branch_keep(op, event->aggregate_id, event->aggregate_seq,
                branch->time_zone);
}

static const struct cn_event_handler FROM_REFERRALS[] = {
    { "patient.created", .effect = sch_on_patient, .copy = true },
    { "patient.updated", .effect = sch_on_patient, .copy = true },
    { "patient.snapshot", .effect = sch_on_patient, .copy = true },
    { "referral.received", .effect = sch_on_referral, .copy = true },
    { "referral.updated", .effect = sch_on_referral, .copy = true },
    { "referral.validated", .effect = sch_on_referral, .copy = true },
    { "referral.accepted", .effect = sch_on_referral_accepted, .copy = false },
    { "referral.declined", .effect = sch_on_referral_ended, .copy = false },
    { "referral.withdrawn", .effect = sch_on_referral_ended, .copy = false },
    { "referral.not_admitted", .effect = sch_on_referral_ended, .copy = false },
    { "referral.scheduled", .effect = sch_on_referral, .copy = true },
    { "referral.admitted", .effect = sch_on_referral, .copy = true },
    { "referral.duplicate_suspected", .effect = sch_on_referral, .copy = true },
    { "referral.snapshot", .effect = sch_on_referral, .copy = true },
};

static const struct cn_event_handler FROM_ACCESS[] = {
    { "agency.created", .effect = sch_on_agency, .copy = true },
    { "agency.updated", .effect = sch_on_agency, .copy = true },
    { "agency.snapshot", .effect = sch_on_agency, .copy = true },
    { "branch.created", .effect = sch_on_branch, .copy = true },
    { "branch.updated", .effect = sch_on_branch, .copy = true },
    { "branch.snapshot", .effect = sch_on_branch, .copy = true },
};

const struct cn_subscription SCHEDULING_SUBSCRIPTIONS[] = {
    CN_FOLLOW(referrals, FROM_REFERRALS),
    CN_FOLLOW(access, FROM_ACCESS),
};
const size_t SCHEDULING_SUBSCRIPTION_COUNT = CN_COUNT(SCHEDULING_SUBSCRIPTIONS);
