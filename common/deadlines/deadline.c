/* SPDX-License-Identifier: Apache-2.0 */
#include "common/deadlines/deadline.h"

#include "common/contract/service.h"
#include "common/wire/message.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { WEEKEND = 5, LAST_MINUTE = 24 * 60 - 1, LAST_SECOND = 59 };

/* ---- words ---- */

/* Adds to the reason; CN_CLOCK_WHY_MAX holds all that is ever added. */
static void CN_PRINTF(2, 3)
    s_say(struct cn_clock *clock, const char *format, ...)
{
    size_t used = strlen(clock->why);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(clock->why + used, sizeof(clock->why) - used, format, args);
    va_end(args);
}

/* The word of a fact as people write it: "return_home" is "return home". */
static void s_say_word(struct cn_clock *clock, const char *word)
{
    for (; *word != '\0'; word++) {
        s_say(clock, "%c", *word == '_' ? ' ' : *word);
    }
}

/* ---- days ---- */

static bool s_end_of_day(const char *zone, struct cn_date date, int64_t *ret_at)
{
    struct cn_civil civil = { .date = date,
                              .minute_of_day = LAST_MINUTE,
                              .second = LAST_SECOND };
    return cn_zone_instant(zone, civil, ret_at);
}

static bool s_business_day(const struct cn_clock_facts *facts,
                           struct cn_date date)
{
    bool free = cn_date_weekday(date) >= WEEKEND;
    for (size_t i = 0; i < facts->holiday_count; i++) {
        free = free || cn_date_compare(facts->holidays[i], date) == 0;
    }
    return !free;
}

static struct cn_date s_last_day(const struct cn_clock_rule *rule,
                                 const struct cn_clock_facts *facts,
                                 struct cn_date date)
{
    if (rule->unit == CN_CLOCK_CALENDAR_DAYS) {
        return cn_date_add(date, rule->amount);
    }
    for (int left = rule->amount; left > 0;) {
        date = cn_date_add(date, 1);
        left -= s_business_day(facts, date) ? 1 : 0;
    }
    return date;
}

/* ---- the arithmetic ---- */

static bool s_starts(const struct cn_clock_rule *rule,
                     const struct cn_clock_fact *fact)
{
    bool named = false;
    for (size_t i = 0; i < rule->start_count; i++) {
        named = named || strcmp(fact->word, rule->starts[i]) == 0;
    }
    return named && fact->known;
}

static const struct cn_clock_fact *
s_clock_start(const struct cn_clock_rule *rule,
              const struct cn_clock_facts *facts)
{
    const struct cn_clock_fact *latest = NULL;
    for (size_t i = 0; i < facts->start_count; i++) {
        const struct cn_clock_fact *fact = &facts->starts[i];
        if (s_starts(rule, fact) && (latest == NULL || fact->at > latest->at)) {
            latest = fact;
        }
    }
    return latest;
}

/* The same civil time as many days later: what the clock on the wall says. */
static bool
s_wall_clock(const char *zone, int64_t from_at, int hours, int64_t *ret_at)
{
    enum { HOURS_A_DAY = 24, MINUTES_AN_HOUR = 60 };
    struct cn_civil civil;
    if (!cn_zone_civil(zone, from_at, &civil)) {
        return false;
    }
    int minute = civil.minute_of_day + hours % HOURS_A_DAY * MINUTES_AN_HOUR;
    civil.date = cn_date_add(civil.date, hours / HOURS_A_DAY +
                                             (minute > LAST_MINUTE ? 1 : 0));
    civil.minute_of_day = minute % (LAST_MINUTE + 1);
    if (!cn_zone_instant(zone, civil, ret_at)) {
        return false;
    }
    *ret_at += from_at % CN_SECOND; /* a civil time has whole seconds */
    return true;
}

static bool s_elapsed(const struct cn_clock_rule *rule,
                      const struct cn_clock_fact *start,
                      struct cn_clock *clock)
{
    int64_t wall_at = 0;
    char from[CN_TIME_TEXT_MAX * 2];
    char due[CN_TIME_TEXT_MAX * 2];
    char warn[CN_TIME_TEXT_MAX * 2];
    clock->due_at = start->at + rule->amount * CN_HOUR;
    if (!s_wall_clock(clock->zone, start->at, rule->amount, &wall_at)) {
        return false;
    }
    clock->warn_from_at = wall_at < clock->due_at ? wall_at : clock->due_at;
    if (!cn_zone_format(clock->zone, start->at, from) ||
        !cn_zone_format(clock->zone, clock->due_at, due) ||
        !cn_zone_format(clock->zone, clock->warn_from_at, warn)) {
        return false;
    }
    s_say_word(clock, start->word);
    s_say(clock, " %s + %d h elapsed = %s", from, rule->amount, due);
    if (clock->warn_from_at != clock->due_at) {
        s_say(clock, "; warn from %s (wall clock)", warn);
    }
    return true;
}

static bool s_days(const struct cn_clock_rule *rule,
                   const struct cn_clock_facts *facts,
                   const struct cn_clock_fact *start,
                   struct cn_clock *clock)
{
    struct cn_civil civil;
    char from[CN_TIME_TEXT_MAX];
    char due[CN_TIME_TEXT_MAX * 2];
    if (!cn_zone_civil(clock->zone, start->at, &civil) ||
        !s_end_of_day(clock->zone, s_last_day(rule, facts, civil.date),
                      &clock->due_at) ||
        !cn_zone_format(clock->zone, clock->due_at, due)) {
        return false;
    }
    clock->warn_from_at = clock->due_at;
    cn_date_format(civil.date, from);
    s_say_word(clock, start->word);
    s_say(clock, " %s + %d %s days = by the end of the day, %s", from,
          rule->amount,
          rule->unit == CN_CLOCK_CALENDAR_DAYS ? "calendar" : "business", due);
    return true;
}

static bool s_opens(const struct cn_clock_rule *rule,
                    const struct cn_clock_fact *start,
                    struct cn_clock *clock)
{
    struct cn_civil civil;
    char opens[CN_TIME_TEXT_MAX];
    if (!rule->has_opens_before) {
        return true;
    }
    if (!cn_zone_civil(clock->zone, start->at, &civil)) {
        return false;
    }
    civil = (struct cn_civil){ .date = cn_date_add(civil.date,
                                                   -rule->opens_before) };
    clock->has_opens = true;
    cn_date_format(civil.date, opens);
    s_say(clock, "; counts from %s on (%d days before)", opens,
          rule->opens_before);
    return cn_zone_instant(clock->zone, civil, &clock->opens_at);
}

/* The ordered date, which holds to the end of its day. */
static bool s_ordered(const struct cn_clock_rule *rule,
                      const struct cn_clock_facts *facts,
                      struct cn_clock *clock)
{
    struct cn_date date;
    char due[CN_TIME_TEXT_MAX * 2];
    if (rule->ordered == NULL || facts->ordered_date == NULL) {
        return true;
    }
    if (facts->ordered_at > clock->due_at) {
        s_say(clock, "; the order for %s came later and moves nothing",
              facts->ordered_date);
        return true;
    }
    if (!cn_date_parse(facts->ordered_date, &date) ||
        !s_end_of_day(clock->zone, date, &clock->due_at) ||
        !cn_zone_format(clock->zone, clock->due_at, due)) {
        return false;
    }
    clock->warn_from_at = clock->due_at;
    clock->why[0] = '\0';
    s_say(clock, "%s: ", rule->id);
    s_say_word(clock, rule->ordered);
    s_say(clock, " for %s: due by the end of that day, %s; %s",
          facts->ordered_date, due, rule->citation);
    return true;
}

static void s_warnings(const struct cn_clock_rule *rule, struct cn_clock *clock)
{
    for (size_t i = 0; i < rule->warn_count; i++) {
        clock->warn_at[clock->warn_count++] =
            clock->warn_from_at - rule->warn_before[i];
    }
    if (clock->warn_from_at < clock->due_at) {
        clock->warn_at[clock->warn_count++] = clock->warn_from_at;
    }
}

bool cn_clock_apply(const struct cn_clock_rule *rule,
                    const struct cn_clock_facts *facts,
                    struct cn_clock *ret_clock)
{
    const struct cn_clock_fact *start = s_clock_start(rule, facts);
    struct cn_clock clock = { .rule = rule, .zone = facts->zone };
    if (start == NULL || facts->zone == NULL) {
        return false;
    }
    clock.starts_at = start->at;
    s_say(&clock, "%s: ", rule->id);
    bool known = rule->unit == CN_CLOCK_ELAPSED_HOURS
                     ? s_elapsed(rule, start, &clock)
                     : s_days(rule, facts, start, &clock);
    if (!known || !s_opens(rule, start, &clock)) {
        return false;
    }
    s_say(&clock, "; %s", rule->citation);
    if (!s_ordered(rule, facts, &clock)) {
        return false;
    }
    s_warnings(rule, &clock);
    *ret_clock = clock;
    return true;
}

/* ---- a deadline in memory ---- */

static bool s_state_is(const struct cn_deadline *self,
                       Dln__Deadline__State state)
{
    return self->body != NULL && self->body->state == state;
}

bool cn_deadline_runs(const struct cn_deadline *self)
{
    return s_state_is(self, DLN__DEADLINE__STATE__OPEN) ||
           s_state_is(self, DLN__DEADLINE__STATE__WARNED) ||
           s_state_is(self, DLN__DEADLINE__STATE__BREACH_SUSPECTED);
}

static void
s_become(struct cn_deadline *self, Dln__Deadline__State state, int64_t now_at)
{
    CN_SET(self->body, state, state);
    CN_SET(self->body, updated_at, now_at);
    self->changed = true;
}

static void s_event_add(struct cn_deadline *self, const char *event)
{
    assert(self->event_count < CN_DEADLINE_EVENTS_MAX);
    self->events[self->event_count++] = event;
}

static void s_breach(struct cn_deadline *self, const char *reason, int64_t now)
{
    s_become(self, DLN__DEADLINE__STATE__BREACHED, now);
    CN_SET(self->body, breached_at, now);
    self->body->breach_reason = reason;
    s_event_add(self, "deadline.breached");
}

/* What does not change any more. */
static void s_make(struct cn_deadline *self,
                   struct cn_arena *arena,
                   const struct cn_deadline_subject *subject,
                   struct cn_uuid id,
                   int64_t now_at)
{
    Dln__Deadline *body = cn_message_new(arena, &dln__deadline__descriptor);
    body->id = cn_id_text(arena, "dln", id);
    CN_SET(body, created_at, now_at);
    body->subject_id = subject->text;
    body->patient_id = subject->patient_text;
    self->id = id;
    self->subject_type = subject->type;
    self->subject_id = subject->id;
    self->patient_id = subject->patient_id;
    self->body = body;
}

/* Is it already this clock, in this branch? The warnings follow from the rest.
 */
static bool s_same(const struct cn_deadline *self,
                   const struct cn_deadline_subject *subject,
                   const struct cn_clock *clock)
{
    const Dln__Deadline *body = self->body;
    return body->starts_at == clock->starts_at &&
           body->due_at == clock->due_at &&
           strcmp(body->why, clock->why) == 0 &&
           cn_uuid_equal(self->branch_id, subject->branch_id);
}

static void s_set(struct cn_deadline *self,
                  struct cn_arena *arena,
                  const struct cn_deadline_subject *subject,
                  const struct cn_clock *clock)
{
    Dln__Deadline *body = self->body;
    const struct cn_clock_rule *rule = clock->rule;
    bool moved = !body->has_due_at || body->due_at != clock->due_at;
    self->branch_id = subject->branch_id;
    body->branch_id = subject->branch_text;
    body->rule = cn_arena_strdup(arena, rule->id);
    body->name = cn_arena_strdup(arena, rule->name);
    body->citation = cn_arena_strdup(arena, rule->citation);
    body->why = cn_arena_strdup(arena, clock->why);
    body->time_zone = cn_arena_strdup(arena, clock->zone);
    body->told_by = cn_arena_strdup(arena, rule->told_by);
    body->warn_at = cn_arena_copy(arena, clock->warn_at,
                                  sizeof(int64_t) * CN_CLOCK_WARNINGS_MAX);
    body->n_warn_at = clock->warn_count;
    CN_SET(body, starts_at, clock->starts_at);
    CN_SET(body, due_at, clock->due_at);
    body->has_opens_at = clock->has_opens;
    body->opens_at = clock->opens_at;
    if (moved) {
        CN_SET(body, warned, 0);
    }
}

enum cn_code cn_deadline_run(struct cn_deadline *self,
                             struct cn_arena *arena,
                             const struct cn_deadline_subject *subject,
                             const struct cn_clock *clock,
                             struct cn_uuid id,
                             int64_t now_at,
                             struct cn_err *err)
{
    bool made = self->body == NULL;
    if (made) {
        s_make(self, arena, subject, id, now_at);
    } else if (s_same(self, subject, clock) &&
               !s_state_is(self, DLN__DEADLINE__STATE__CANCELLED)) {
        return CN_OK;
    }
    bool moved = made || self->body->due_at != clock->due_at;
    bool again = made || s_state_is(self, DLN__DEADLINE__STATE__CANCELLED);
    Dln__Deadline__State state = again || (moved && cn_deadline_runs(self))
                                     ? DLN__DEADLINE__STATE__OPEN
                                     : self->body->state;
    s_set(self, arena, subject, clock);
    s_become(self, state, now_at);
    s_event_add(self, again ? "deadline.started" : "deadline.changed");
    return cn_arena_failed(arena) ? cn_fail(err, CN_NOMEM, "deadline") : CN_OK;
}

void cn_deadline_stop(struct cn_deadline *self, int64_t now_at)
{
    if (cn_deadline_runs(self)) {
        s_become(self, DLN__DEADLINE__STATE__CANCELLED, now_at);
        s_event_add(self, "deadline.cancelled");
    }
}

void cn_deadline_act(struct cn_deadline *self,
                     int64_t acted_at,
                     const char *reason,
                     int64_t now_at)
{
    Dln__Deadline *body = self->body;
    if (body == NULL || s_state_is(self, DLN__DEADLINE__STATE__CANCELLED) ||
        (body->has_met_at && body->met_at == acted_at)) {
        return;
    }
    if (body->has_opens_at && acted_at < body->opens_at) {
        return; /* Too early to count. */
    }
    CN_SET(body, met_at, acted_at);
    if (acted_at <= body->due_at) {
        s_become(self, DLN__DEADLINE__STATE__MET, now_at);
        body->breach_reason = body->has_breached_at ? "told_late" : NULL;
        s_event_add(self, "deadline.met");
    } else if (body->has_breached_at) {
        s_become(self, DLN__DEADLINE__STATE__BREACHED, now_at);
        body->breach_reason = reason != NULL ? reason : "late";
        s_event_add(self, "deadline.changed");
    } else {
        s_breach(self, reason != NULL ? reason : "late", now_at);
    }
}

void cn_deadline_unact(struct cn_deadline *self, int64_t now_at)
{
    Dln__Deadline *body = self->body;
    if (body == NULL || !body->has_met_at) {
        return;
    }
    bool breached = body->has_breached_at;
    body->has_met_at = 0;
    body->met_at = 0;
    body->breach_reason = breached ? "not_met" : NULL;
    s_become(self,
             breached ? DLN__DEADLINE__STATE__BREACHED
                      : DLN__DEADLINE__STATE__OPEN,
             now_at);
    s_event_add(self, "deadline.changed");
}

/* How many of the warnings are due by then. */
static int32_t s_warnings_by(const Dln__Deadline *body, int64_t at)
{
    int32_t count = 0;
    while ((size_t)count < body->n_warn_at && body->warn_at[count] <= at) {
        count++;
    }
    return count;
}

void cn_deadline_pass(struct cn_deadline *self, bool settled, int64_t now_at)
{
    Dln__Deadline *body = self->body;
    if (!cn_deadline_runs(self)) {
        return;
    }
    int32_t warnings = s_warnings_by(body, now_at);
    if (now_at > body->due_at && settled) {
        s_breach(self,
                 body->due_at < body->created_at ? "past_at_start" : "not_met",
                 now_at);
    } else if (now_at > body->due_at) {
        if (!s_state_is(self, DLN__DEADLINE__STATE__BREACH_SUSPECTED)) {
            s_become(self, DLN__DEADLINE__STATE__BREACH_SUSPECTED, now_at);
        }
    } else if (warnings > body->warned) {
        CN_SET(body, warned, warnings);
        s_become(self, DLN__DEADLINE__STATE__WARNED, now_at);
        s_event_add(self, "deadline.warning");
    }
}

int64_t cn_deadline_next_at(const struct cn_deadline *self)
{
    const Dln__Deadline *body = self->body;
    assert(cn_deadline_runs(self));
    if ((size_t)body->warned < body->n_warn_at) {
        return body->warn_at[body->warned];
    }
    /* What is done at the very instant is in time. */
    return body->due_at + 1;
}
