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

#include <string.h>

/* ---- access ---- */

static enum cn_code s_branch_copy(void *self,
                                  const struct cn_event *event,
                                  struct cn_write *write,
                                  struct cn_err *err)
{
    (void)self;
    (void)err;
    const Acc__BranchEvent *payload = event->payload;
    const Acc__Branch *branch = payload->branch;
    if (branch == NULL || branch->time_zone == NULL ||
        !cn_zone_valid(branch->time_zone)) {
        return CN_OK;
    }
    branch_put(write, event->tenant_id, event->aggregate_id,
               branch->name != NULL ? branch->name : "", branch->time_zone,
               event->aggregate_seq);
    return CN_OK;
}

static const struct cn_event_handler ACCESS_HANDLERS[] = {
    { "branch.created", s_branch_copy, .copy = true },
    { "branch.updated", s_branch_copy, .copy = true },
    { "branch.snapshot", s_branch_copy, .copy = true },
};

/* ---- scheduling ---- */

/* The referral of a start-of-care visit; *ret_found false when the event does
 * not concern us: another kind of visit, an unknown referral. */
static enum cn_code s_soc_referral(const struct cn_event *event,
                                   const Sch__Visit *visit,
                                   struct referral_row *ret_row,
                                   bool *ret_found,
                                   struct cn_err *err)
{
    const struct cn_store store = cn_store_of_event(event);
    struct cn_uuid id;
    *ret_found = false;
    if (visit == NULL || visit->id == NULL || !visit->has_kind ||
        visit->kind != SCH__VISIT__KIND__SOC ||
        !cn_id_parse(REFERRAL_PREFIX, visit->referral_id, &id)) {
        return CN_OK;
    }
    enum cn_code rc = referral_load(&store, id, cn_null(), ret_row, err);
    if (rc == CN_NOT_FOUND) {
        cn_err_clear(err);
        return CN_OK;
    }
    *ret_found = rc == CN_OK;
    return rc;
}

static enum cn_code s_move(const struct cn_event *event,
                           struct cn_write *write,
                           struct referral_row *row,
                           struct cn_err *err)
{
    const struct cn_store store = cn_store_of_event(event);
    CN_SET(row->referral, version, row->version + 1);
    CN_SET(row->referral, updated_at, event->now_at);
    return referral_change(&store, write, row, 1, err);
}

static enum cn_code s_soc_booked(void *self,
                                 const struct cn_event *event,
                                 struct cn_write *write,
                                 struct cn_err *err)
{
    (void)self;
    const Sch__VisitEvent *payload = event->payload;
    const struct cn_store store = cn_store_of_event(event);
    struct referral_row row;
    Ref__Referral__Status to;
    bool found = false;
    enum cn_code rc = s_soc_referral(event, payload->visit, &row, &found, err);
    if (rc != CN_OK || !found ||
        !referral_move(row.referral->status, REFERRAL_SCHEDULE, &to)) {
        return rc;
    }
    const char *known = row.referral->soc_visit_id;
    if (to == row.referral->status && known != NULL &&
        strcmp(known, payload->visit->id) == 0) {
        return CN_OK;
    }
    row.referral->status = to;
    row.referral->soc_visit_id = payload->visit->id;
    cn_write_lock(write, "referral", row.id);
    rc = s_move(event, write, &row, err);
    if (rc == CN_OK) {
        rc = referral_tell(&store, write, &row, "referral.scheduled",
                           row.event_seq + 1, err);
    }
    if (rc == CN_OK) {
        cn_write_audit(write, "referral.schedule", row.referral->id,
                       row.patient_id);
    }
    return rc;
}

/* The local date of the visit: day 0 of the episode's clocks. Whatever the
 * visit leaves out, an admission is never refused for it. */
static void s_soc_date(const struct cn_event *event,
                       const Sch__Visit *visit,
                       const char *zone,
                       char text[CN_TIME_TEXT_MAX])
{
    struct cn_civil civil;
    int64_t at = visit->has_starts_at      ? visit->starts_at
                 : visit->has_completed_at ? visit->completed_at
                                           : event->occurred_at;
    if (visit->time_zone != NULL && cn_zone_valid(visit->time_zone)) {
        zone = visit->time_zone;
    }
    if (zone == NULL || !cn_zone_civil(zone, at, &civil)) {
        cn_time_format(at, text);
        text[strlen("YYYY-MM-DD")] = '\0';
        return;
    }
    cn_date_format(civil.date, text);
}

static enum cn_code s_episode(const struct cn_event *event,
                              const Sch__Visit *visit,
                              const struct referral_row *row,
                              struct episode_row *ret_row,
                              struct cn_err *err)
{
    char date[CN_TIME_TEXT_MAX];
    Ref__Episode *episode = CN_NEW(event->arena, ref__episode, Ref__Episode);
    struct cn_uuid id = cn_uuid_new(event->env);
    if (episode == NULL) {
        return cn_fail(err, CN_NOMEM, "episode");
    }
    s_soc_date(event, visit, row->referral->time_zone, date);
    episode->id = cn_id_text(event->arena, EPISODE_PREFIX, id);
    episode->soc_date = cn_arena_strdup(event->arena, date);
    if (episode->id == NULL || episode->soc_date == NULL) {
        return cn_fail(err, CN_NOMEM, "episode");
    }
    CN_SET(episode, version, 1);
    CN_SET(episode, created_at, event->now_at);
    CN_SET(episode, updated_at, event->now_at);
    CN_SET(episode, status, REF__EPISODE__STATUS__ACTIVE);
    episode->patient_id = row->referral->patient_id;
    episode->referral_id = row->referral->id;
    episode->branch_id = row->referral->branch_id;
    *ret_row = (struct episode_row){ .id = id,
                                     .branch_id = row->branch_id,
                                     .patient_id = row->patient_id,
                                     .referral_id = row->id,
                                     .created_at = event->now_at,
                                     .episode = episode };
    return CN_OK;
}

static enum cn_code s_soc_completed(void *self,
                                    const struct cn_event *event,
                                    struct cn_write *write,
                                    struct cn_err *err)
{
    (void)self;
    const Sch__VisitEvent *payload = event->payload;
    const struct cn_store store = cn_store_of_event(event);
    struct referral_row row;
    struct episode_row episode;
    struct cn_deadline deadline;
    Ref__Referral__Status to;
    bool found = false;
    enum cn_code rc = s_soc_referral(event, payload->visit, &row, &found, err);
    if (rc != CN_OK || !found ||
        !referral_move(row.referral->status, REFERRAL_ADMIT, &to)) {
        return rc;
    }
    const Sch__Visit *visit = payload->visit;
    rc = soc_deadline_act(&store, &row,
                          visit->has_completed_at ? visit->completed_at
                                                  : event->occurred_at,
                          &deadline, err);
    if (rc == CN_OK) {
        rc = s_episode(event, visit, &row, &episode, err);
    }
    Ref__EpisodeEvent *opened =
        CN_NEW(event->arena, ref__episode_event, Ref__EpisodeEvent);
    if (rc != CN_OK) {
        return rc;
    }
    if (opened == NULL) {
        return cn_fail(err, CN_NOMEM, "episode");
    }
    opened->episode = episode.episode;
    row.referral->status = to;
    row.referral->soc_date = episode.episode->soc_date;
    cn_write_lock(write, "referral", row.id);
    cn_write_lock(write, "episode", episode.id);
    rc = s_move(event, write, &row, err);
    if (rc == CN_OK) {
        rc = episode_add(&store, write, &episode, err);
    }
    if (rc == CN_OK) {
        rc = cn_deadline_change(&store, write, &deadline, err);
    }
    if (rc == CN_OK) {
        rc = referral_tell(&store, write, &row, "referral.admitted",
                           row.event_seq + 1, err);
    }
    if (rc == CN_OK) {
        cn_write_event(write, "episode.opened", "episode", episode.id, 1,
                       &opened->base);
        rc = cn_deadline_tell(&store, write, &deadline, err);
    }
    if (rc == CN_OK) {
        cn_write_audit(write, "referral.admit", row.referral->id,
                       row.patient_id);
    }
    return rc;
}

static const struct cn_event_handler SCHEDULING_HANDLERS[] = {
    { "visit.booked", s_soc_booked, .copy = false },
    { "visit.completed", s_soc_completed, .copy = false },
};

const struct cn_subscription
    referrals_subscriptions[REFERRALS_SUBSCRIPTION_COUNT] = {
        { .producer = "access",
          .events = access_events,
          .event_count = access_event_count,
          .handlers = ACCESS_HANDLERS,
          .handler_count = CN_COUNT(ACCESS_HANDLERS) },
        { .producer = "scheduling",
          .events = scheduling_events,
          .event_count = scheduling_event_count,
          .handlers = SCHEDULING_HANDLERS,
          .handler_count = CN_COUNT(SCHEDULING_HANDLERS) },
    };
