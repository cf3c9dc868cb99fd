/* SPDX-License-Identifier: Apache-2.0 */
#include "services/referrals/events.h"

#include "cairn/access.cairn.h"
#include "cairn/scheduling.cairn.h"
#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/wire/message.h"
#include "services/referrals/clock.h"
#include "services/referrals/rules.h"
#include "services/referrals/unit.h"
#include "services/referrals/warning.h"

#include <string.h>

static void ref_on_branch(struct cn_op *op, const struct cn_event *event)
{
    const Acc__BranchEvent *payload = event->payload;
    const Acc__Branch *branch = payload->branch;
    if (branch != NULL && branch->time_zone != NULL &&
        cn_zone_valid(branch->time_zone)) {
        ref_branch_keep(op, event->aggregate_id, event->aggregate_seq,
                        branch->name != NULL ? branch->name : "",
                        branch->time_zone);
    }
}

/* The referral of a start-of-care visit; not found when the event does not
 * concern us: another kind of visit, an unknown referral. */
static struct cn_record *s_soc_referral(struct cn_op *op,
                                        const Sch__Visit *visit)
{
    struct cn_uuid id = { { 0 } };
    bool concerns = visit != NULL && visit->id != NULL && visit->has_kind &&
                    visit->kind == SCH__VISIT__KIND__SOC &&
                    cn_id_parse("ref", visit->referral_id, &id);
    return concerns
               ? cn_find(op, &ref__referral__resource, id)
               : cn_record_of(op, &ref__referral__resource, cn_rows_none());
}

/* Is it the visit that the referral waits for? */
static bool s_awaits(const Ref__Referral *referral, const Sch__Visit *visit)
{
    return referral->status == REF__REFERRAL__STATUS__SOC_SCHEDULED &&
           referral->soc_visit_id != NULL &&
           strcmp(referral->soc_visit_id, visit->id) == 0;
}

/* A start of care that the referral's state has no move for: a person must see
 * to it. One that is told again is none. */
static void s_unplaced_warn(struct cn_op *op,
                            struct cn_record *record,
                            const Sch__Visit *visit,
                            bool completed)
{
    enum { BEFORE_ACCEPTANCE, AFTER_END, AFTER_ADMISSION, WHEN_COUNT };
    static const char *const WORDS[2][WHEN_COUNT] = {
        { "visit_booked_before_acceptance", "visit_booked_after_end",
          "visit_booked_after_admission" },
        { "visit_completed_before_acceptance", "visit_completed_after_end",
          "visit_completed_after_admission" },
    };
    Ref__Referral *referral = record->body;
    int when = referral_is_undecided(referral->status) ? BEFORE_ACCEPTANCE
               : referral->soc_date != NULL            ? AFTER_ADMISSION
                                                       : AFTER_END;
    if (referral->soc_date != NULL && referral->soc_visit_id != NULL &&
        strcmp(referral->soc_visit_id, visit->id) == 0) {
        return;
    }
    referral_warn(op->arena, referral, WORDS[completed ? 1 : 0][when]);
    referral_put(op, record);
}

static void ref_on_visit_booked(struct cn_op *op, const struct cn_event *event)
{
    const Sch__VisitEvent *payload = event->payload;
    struct cn_record *record = s_soc_referral(op, payload->visit);
    Ref__Referral *referral = record->body;
    if (!record->found || s_awaits(referral, payload->visit)) {
        return;
    }
    if (!cn_may(record, "schedule")) {
        s_unplaced_warn(op, record, payload->visit, false);
        return;
    }
    cn_move(op, record, "schedule");
    referral->soc_visit_id = payload->visit->id;
    referral_unwarn(op->arena, referral, "visit_booked_");
    cn_put(op, record);
}

/* The start of care is to be booked again. Its clock has run on, for only a
 * visit that was made meets it; here it follows the facts as they are now. */
static void ref_on_visit_cancelled(struct cn_op *op,
                                   const struct cn_event *event)
{
    const Sch__VisitEvent *payload = event->payload;
    struct cn_record *record = s_soc_referral(op, payload->visit);
    Ref__Referral *referral = record->body;
    if (!record->found) {
        return;
    }
    if (s_awaits(referral, payload->visit)) {
        cn_move(op, record, "unschedule");
        referral->soc_visit_id = NULL;
    }
    referral_unwarn(op->arena, referral, "visit_booked_");
    referral_put(op, record);
}

/* The local date of the visit: day 0 of the episode's clocks. Whatever the
 * visit leaves out, an admission is never refused for it. */
static const char *
s_soc_date_of_visit(struct cn_op *op, const Sch__Visit *visit, const char *zone)
{
    char text[CN_TIME_TEXT_MAX];
    struct cn_civil civil;
    int64_t at = visit->has_starts_at      ? visit->starts_at
                 : visit->has_completed_at ? visit->completed_at
                                           : op->event->occurred_at;
    if (visit->time_zone != NULL && cn_zone_valid(visit->time_zone)) {
        zone = visit->time_zone;
    }
    if (zone != NULL && cn_zone_civil(zone, at, &civil)) {
        cn_date_format(civil.date, text);
    } else {
        cn_time_format(at, text);
        text[strlen("YYYY-MM-DD")] = '\0';
    }
    return cn_arena_strdup(op->arena, text);
}

static void s_episode_open(struct cn_op *op, const Ref__Referral *referral)
{
    struct cn_record *record = cn_record_new(op, &ref__episode__resource, NULL);
    Ref__Episode *episode = record->body;
    episode->patient_id = referral->patient_id;
    episode->referral_id = referral->id;
    episode->branch_id = referral->branch_id;
    episode->soc_date = referral->soc_date;
    cn_move(op, record, "open");
    cn_lock(op, "episode", record->id);
    cn_put_part(op, record);
}

static void ref_on_visit_completed(struct cn_op *op,
                                   const struct cn_event *event)
{
    const Sch__VisitEvent *payload = event->payload;
    const Sch__Visit *visit = payload->visit;
    struct cn_record *record = s_soc_referral(op, visit);
    Ref__Referral *referral = record->body;
    if (!record->found) {
        return;
    }
    if (referral->status == REF__REFERRAL__STATUS__ACCEPTED) {
        /* It was made before the acceptance, and is told again. */
        cn_move(op, record, "schedule");
        referral->soc_visit_id = visit->id;
    }
    if (!cn_may(record, "admit")) {
        s_unplaced_warn(op, record, visit, true);
        return;
    }
    referral_unwarn(op->arena, referral, "visit_");
    struct cn_deadline deadline =
        cn_deadline_find(op, "referral", record->id, SOC_RULE);
    cn_deadline_act(&deadline,
                    visit->has_completed_at ? visit->completed_at
                                            : event->occurred_at,
                    NULL, op->now_at);
    cn_move(op, record, "admit");
    referral->soc_date = s_soc_date_of_visit(op, visit, referral->time_zone);
    cn_put(op, record);
    s_episode_open(op, referral);
    cn_deadline_put(op, &deadline);
}

static const struct cn_event_handler FROM_ACCESS[] = {
    { "branch.created", .effect = ref_on_branch, .copy = true },
    { "branch.updated", .effect = ref_on_branch, .copy = true },
    { "branch.snapshot", .effect = ref_on_branch, .copy = true },
};

static const struct cn_event_handler FROM_SCHEDULING[] = {
    { "visit.booked", .effect = ref_on_visit_booked, .copy = false },
    { "visit.cancelled", .effect = ref_on_visit_cancelled, .copy = false },
    { "visit.completed", .effect = ref_on_visit_completed, .copy = false },
};

const struct cn_subscription REFERRALS_SUBSCRIPTIONS[] = {
    { .producer = "access",
      .events = access_events,
      .event_count = access_event_count,
      .handlers = FROM_ACCESS,
      .handler_count = CN_COUNT(FROM_ACCESS) },
    { .producer = "scheduling",
      .events = scheduling_events,
      .event_count = scheduling_event_count,
      .handlers = FROM_SCHEDULING,
      .handler_count = CN_COUNT(FROM_SCHEDULING) },
};
const size_t REFERRALS_SUBSCRIPTION_COUNT = CN_COUNT(REFERRALS_SUBSCRIPTIONS);
