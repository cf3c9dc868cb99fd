/* SPDX-License-Identifier: Apache-2.0 */
/* The arithmetic of clocks, and how the state of a deadline changes with time.
 */
#include "common/base/array.h"
#include "common/deadlines/deadline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* cmocka needs the four above it. */
#include <cmocka.h>

#define STATE(word) DLN__DEADLINE__STATE__##word

enum { ARENA_SIZE = 1 << 20 };
static const char ZONE[] = "America/New_York";

static int64_t at(const char *text)
{
    int64_t result = 0;
    assert_true(cn_time_parse(text, &result));
    return result;
}

/* ---- arithmetic ---- */

static const struct cn_clock_rule HOURS_48 = {
    .id = "C01",
    .name = "Initial assessment visit",
    .starts = { "valid_referral", "return_home" },
    .start_count = 2,
    .amount = 48,
    .unit = CN_CLOCK_ELAPSED_HOURS,
    .ordered = "start_of_care_ordered",
    .warn_before = { 24 * CN_HOUR, 4 * CN_HOUR },
    .warn_count = 2,
    .citation = "42 CFR 484.55(a)(1)",
};

#define DAYS(number, days, word)                                               \
    {                                                                          \
        .id = number, .starts = { "t0" }, .start_count = 1, .amount = (days),  \
        .unit = CN_CLOCK_##word##_DAYS, .citation = "x"                        \
    }
static const struct cn_clock_rule C02 = DAYS("C02", 5, CALENDAR);
static const struct cn_clock_rule C14 = DAYS("C14", 30, CALENDAR);
static const struct cn_clock_rule C18 = DAYS("C18", 5, BUSINESS);
static const struct cn_clock_rule C27 = DAYS("C27", 2, BUSINESS);
static const struct cn_clock_rule C28 = DAYS("C28", 14, CALENDAR);

/* Worked out by hand: the day on which something is due ends at 23:59:59 in New
 * York. */
static const struct {
    const struct cn_clock_rule *rule;
    const char *from;
    const char *due_at;
} DAYS_VECTORS[] = {
    { &C02, "2026-06-01T12:00:00Z", "2026-06-07T03:59:59Z" }, /* a Saturday */
    { &C02, "2024-01-31T15:00:00Z", "2024-02-06T04:59:59Z" }, /* 02-05 */
    { &C14, "2026-06-01T15:00:00Z", "2026-07-02T03:59:59Z" }, /* 07-01 */
    { &C14, "2026-06-20T15:00:00Z", "2026-07-21T03:59:59Z" }, /* 07-20 */
    { &C18, "2026-11-25T15:00:00Z", "2026-12-04T04:59:59Z" }, /* 12-03 */
    { &C27, "2026-11-25T15:00:00Z", "2026-12-01T04:59:59Z" }, /* 11-30 */
    { &C27, "2026-11-20T15:00:00Z", "2026-11-25T04:59:59Z" }, /* 11-24 */
    { &C28, "2026-11-25T15:00:00Z", "2026-12-10T04:59:59Z" }, /* 12-09 */
    /* In the evening in New York it is the next day in UTC: the local day
     * counts. */
    { &C02, "2026-06-02T03:30:00Z", "2026-06-07T03:59:59Z" },
    /* Over the change to summer time a day has 23 hours. */
    { &C02, "2026-03-06T15:00:00Z", "2026-03-12T03:59:59Z" },
};

static void days_end_where_the_reference_says(void **state)
{
    static const struct cn_date THANKSGIVING = { 2026, 11, 26 };
    (void)state;
    for (size_t i = 0; i < CN_COUNT(DAYS_VECTORS); i++) {
        const struct cn_clock_fact start = { "t0", true,
                                             at(DAYS_VECTORS[i].from) };
        const struct cn_clock_facts facts = { .starts = &start,
                                              .start_count = 1,
                                              .zone = ZONE,
                                              .holidays = &THANKSGIVING,
                                              .holiday_count = 1 };
        struct cn_clock clock;
        print_message("%s %s\n", DAYS_VECTORS[i].rule->id,
                      DAYS_VECTORS[i].from);
        assert_true(cn_clock_apply(DAYS_VECTORS[i].rule, &facts, &clock));
        assert_int_equal(clock.due_at, at(DAYS_VECTORS[i].due_at));
        assert_int_equal(clock.starts_at, start.at);
    }
}

static void the_window_of_the_encounter_is_explained(void **state)
{
    static const struct cn_clock_rule C07 = {
        .id = "C07",
        .starts = { "start_of_care" },
        .start_count = 1,
        .amount = 30,
        .unit = CN_CLOCK_CALENDAR_DAYS,
        .has_opens_before = true,
        .opens_before = 90,
        .citation = "42 CFR 424.22(a)(1)(v)",
    };
    const struct cn_clock_fact start = { "start_of_care", true,
                                         at("2026-06-01T04:00:00Z") };
    const struct cn_clock_facts facts = { .starts = &start,
                                          .start_count = 1,
                                          .zone = ZONE };
    struct cn_clock clock;
    (void)state;
    assert_true(cn_clock_apply(&C07, &facts, &clock));
    assert_true(clock.has_opens);
    assert_int_equal(clock.opens_at, at("2026-03-03T05:00:00Z"));
    assert_int_equal(clock.due_at, at("2026-07-02T03:59:59Z"));
    assert_string_equal(
        clock.why, "C07: start of care 2026-06-01 + 30 calendar days = by the "
                   "end of the day, Wed 2026-07-01 23:59 EDT; counts from "
                   "2026-03-03 on (90 days before); 42 CFR 424.22(a)(1)(v)");
}

static void a_clock_needs_a_start_and_a_zone(void **state)
{
    const struct cn_clock_fact unknown = { "valid_referral", false, 0 };
    const struct cn_clock_fact other = { "discharge", true, 1 };
    struct cn_clock_facts facts = { .starts = &unknown,
                                    .start_count = 1,
                                    .zone = ZONE };
    struct cn_clock clock;
    (void)state;
    assert_false(cn_clock_apply(&HOURS_48, &facts, &clock));
    facts.starts = &other;
    assert_false(cn_clock_apply(&HOURS_48, &facts, &clock));
    const struct cn_clock_fact known = { "valid_referral", true, CN_DAY };
    facts.starts = &known;
    assert_true(cn_clock_apply(&HOURS_48, &facts, &clock));
    facts.zone = "Mars/Olympus";
    assert_false(cn_clock_apply(&HOURS_48, &facts, &clock));
}

/* ---- a deadline ---- */

struct world {
    struct cn_arena *arena;
    struct cn_deadline deadline;
    struct cn_clock clock;
    struct cn_deadline_subject subject;
};

static struct cn_clock clock_of(const char *valid_at, const char *ordered)
{
    const struct cn_clock_fact start = { "valid_referral", true, at(valid_at) };
    const struct cn_clock_facts facts = { .starts = &start,
                                          .start_count = 1,
                                          .ordered_date = ordered,
                                          .ordered_at = at(valid_at),
                                          .zone = ZONE };
    struct cn_clock clock;
    assert_true(cn_clock_apply(&HOURS_48, &facts, &clock));
    return clock;
}

static void run(struct world *self, int64_t now_at)
{
    struct cn_err err = { 0 };
    assert_int_equal(cn_deadline_run(&self->deadline, self->arena,
                                     &self->subject, &self->clock,
                                     (struct cn_uuid){ { 1 } }, now_at, &err),
                     CN_OK);
}

/* The events since the last call; "" when there are none. */
static const char *told(struct world *self)
{
    const char *event = "";
    assert_true(self->deadline.event_count <= 1);
    if (self->deadline.event_count == 1) {
        event = self->deadline.events[0];
    }
    self->deadline.event_count = 0;
    self->deadline.changed = false;
    self->deadline.version = 1;
    return event;
}

static struct world begin(const char *valid_at, const char *ordered)
{
    struct world self = {
        .arena = cn_arena_new(ARENA_SIZE),
        .clock = clock_of(valid_at, ordered),
        .subject = { .type = "referral",
                     .id = { { 2 } },
                     .text = "ref_1",
                     .branch_id = { { 3 } },
                     .branch_text = "brn_1",
                     .patient_id = { { 4 } },
                     .patient_text = "pat_1" },
    };
    assert_non_null(self.arena);
    run(&self, at(valid_at));
    assert_string_equal(told(&self), "deadline.started");
    assert_int_equal(self.deadline.body->state, STATE(OPEN));
    return self;
}

static const char *pass(struct world *self, const char *now, bool settled)
{
    cn_deadline_pass(&self->deadline, settled, at(now));
    return told(self);
}

static void it_warns_at_each_lead_time_once_and_then_breaches(void **state)
{
    struct world self = begin("2026-06-01T15:00:00Z", NULL);
    const Dln__Deadline *body = self.deadline.body;
    (void)state;
    assert_int_equal(cn_deadline_next_at(&self.deadline),
                     at("2026-06-02T15:00:00Z"));
    assert_string_equal(pass(&self, "2026-06-02T14:59:59Z", true), "");
    assert_string_equal(pass(&self, "2026-06-02T15:00:00Z", true),
                        "deadline.warning");
    assert_int_equal(body->state, STATE(WARNED));
    assert_string_equal(pass(&self, "2026-06-02T15:00:01Z", true), "");
    assert_int_equal(cn_deadline_next_at(&self.deadline),
                     at("2026-06-03T11:00:00Z"));
    assert_string_equal(pass(&self, "2026-06-03T11:00:00Z", true),
                        "deadline.warning");
    /* Done exactly at due_at is in time. */
    assert_string_equal(pass(&self, "2026-06-03T15:00:00Z", true), "");
    assert_int_equal(cn_deadline_next_at(&self.deadline),
                     at("2026-06-03T15:00:00Z") + 1);
    assert_string_equal(pass(&self, "2026-06-03T15:00:01Z", true),
                        "deadline.breached");
    assert_int_equal(body->state, STATE(BREACHED));
    assert_string_equal(body->breach_reason, "not_met");
    assert_string_equal(pass(&self, "2026-06-03T15:00:02Z", true), "");
    cn_arena_free(self.arena);
}

static void warnings_that_were_slept_through_are_one(void **state)
{
    struct world self = begin("2026-06-01T15:00:00Z", NULL);
    (void)state;
    assert_string_equal(pass(&self, "2026-06-03T12:00:00Z", true),
                        "deadline.warning");
    assert_int_equal(self.deadline.body->warned, 2);
    assert_string_equal(pass(&self, "2026-06-03T12:00:01Z", true), "");
    cn_arena_free(self.arena);
}

/* Due on Monday at 21:00 EDT, 48 hours after Saturday 20:00 EST. The last
 * warning comes at 20:00: by the wall clock 48 hours are over then. */
static void at_the_change_to_summer_time_the_wall_clock_warns(void **state)
{
    struct world self = begin("2026-03-08T01:00:00Z", NULL);
    (void)state;
    assert_int_equal(self.clock.warn_count, 3);
    assert_int_equal(self.clock.warn_at[0], at("2026-03-09T00:00:00Z"));
    assert_int_equal(self.clock.warn_at[2], at("2026-03-10T00:00:00Z"));
    assert_string_equal(pass(&self, "2026-03-09T20:00:00Z", true),
                        "deadline.warning");
    assert_string_equal(pass(&self, "2026-03-09T23:59:59Z", true), "");
    assert_string_equal(pass(&self, "2026-03-10T00:00:00Z", true),
                        "deadline.warning");
    assert_string_equal(pass(&self, "2026-03-10T00:59:59Z", true), "");
    assert_string_equal(pass(&self, "2026-03-10T01:00:01Z", true),
                        "deadline.breached");
    cn_arena_free(self.arena);
}

/* Due on Monday at 08:30 EST; the wall clock would say 09:30. */
static void at_the_change_from_summer_time_elapsed_hours_count(void **state)
{
    struct world self = begin("2026-10-31T13:30:00Z", NULL);
    (void)state;
    assert_int_equal(self.clock.warn_count, 2);
    assert_string_equal(pass(&self, "2026-11-02T13:30:00Z", true),
                        "deadline.warning");
    assert_string_equal(pass(&self, "2026-11-02T13:30:01Z", true),
                        "deadline.breached");
    cn_arena_free(self.arena);
}

static void a_breach_is_suspected_until_all_is_told(void **state)
{
    struct world self = begin("2026-06-01T15:00:00Z", NULL);
    const Dln__Deadline *body = self.deadline.body;
    (void)state;
    assert_string_equal(pass(&self, "2026-06-03T15:00:01Z", false), "");
    assert_int_equal(body->state, STATE(BREACH_SUSPECTED));
    assert_true(cn_deadline_runs(&self.deadline));
    cn_deadline_act(&self.deadline, at("2026-06-03T14:00:00Z"), NULL,
                    at("2026-06-03T15:00:10Z"));
    assert_string_equal(told(&self), "deadline.met");
    assert_int_equal(body->state, STATE(MET));
    assert_false(body->has_breached_at);
    cn_arena_free(self.arena);

    self = begin("2026-06-01T15:00:00Z", NULL);
    assert_string_equal(pass(&self, "2026-06-03T15:00:01Z", false), "");
    assert_string_equal(pass(&self, "2026-06-03T15:00:20Z", true),
                        "deadline.breached");
    cn_arena_free(self.arena);
}

static void an_act_in_time_meets_it_a_late_one_is_a_breach(void **state)
{
    struct world self = begin("2026-06-01T15:00:00Z", NULL);
    (void)state;
    cn_deadline_act(&self.deadline, at("2026-06-03T15:00:00Z"), NULL,
                    at("2026-06-03T15:00:00Z"));
    assert_string_equal(told(&self), "deadline.met");
    assert_string_equal(pass(&self, "2026-06-09T15:00:00Z", true), "");
    /* The same fact again: no event. */
    cn_deadline_act(&self.deadline, at("2026-06-03T15:00:00Z"), NULL,
                    at("2026-06-09T15:00:00Z"));
    assert_string_equal(told(&self), "");
    cn_arena_free(self.arena);

    self = begin("2026-06-01T15:00:00Z", NULL);
    cn_deadline_act(&self.deadline, at("2026-06-03T15:00:01Z"), NULL,
                    at("2026-06-03T15:00:01Z"));
    assert_string_equal(told(&self), "deadline.breached");
    assert_string_equal(self.deadline.body->breach_reason, "late");
    assert_int_equal(self.deadline.body->met_at, at("2026-06-03T15:00:01Z"));
    cn_arena_free(self.arena);
}

static void a_breach_on_record_stays_there(void **state)
{
    struct world self = begin("2026-06-01T15:00:00Z", NULL);
    const Dln__Deadline *body = self.deadline.body;
    (void)state;
    assert_string_equal(pass(&self, "2026-06-03T15:00:01Z", true),
                        "deadline.breached");
    /* Late, with a reason. */
    cn_deadline_act(&self.deadline, at("2026-06-04T15:00:00Z"),
                    "patient_refusal", at("2026-06-04T15:00:00Z"));
    assert_string_equal(told(&self), "deadline.changed");
    assert_int_equal(body->state, STATE(BREACHED));
    assert_string_equal(body->breach_reason, "patient_refusal");
    cn_arena_free(self.arena);

    /* In time, but told late. */
    self = begin("2026-06-01T15:00:00Z", NULL);
    body = self.deadline.body;
    assert_string_equal(pass(&self, "2026-06-03T15:00:01Z", true),
                        "deadline.breached");
    cn_deadline_act(&self.deadline, at("2026-06-03T10:00:00Z"), NULL,
                    at("2026-06-05T10:00:00Z"));
    assert_string_equal(told(&self), "deadline.met");
    assert_int_equal(body->state, STATE(MET));
    assert_int_equal(body->breached_at, at("2026-06-03T15:00:01Z"));
    assert_string_equal(body->breach_reason, "told_late");
    cn_arena_free(self.arena);

    /* The breach stays when the clock is stopped or has a new date. */
    self = begin("2026-06-01T15:00:00Z", NULL);
    assert_string_equal(pass(&self, "2026-06-03T15:00:01Z", true),
                        "deadline.breached");
    cn_deadline_stop(&self.deadline, at("2026-06-04T15:00:00Z"));
    assert_string_equal(told(&self), "");
    self.clock = clock_of("2026-06-01T15:00:00Z", "2026-06-20");
    run(&self, at("2026-06-04T15:00:00Z"));
    assert_string_equal(told(&self), "deadline.changed");
    assert_int_equal(self.deadline.body->state, STATE(BREACHED));
    assert_int_equal(self.deadline.body->due_at, at("2026-06-21T03:59:59Z"));
    cn_arena_free(self.arena);
}

static void a_moved_clock_warns_anew_and_says_why(void **state)
{
    struct world self = begin("2026-06-01T15:00:00Z", NULL);
    const Dln__Deadline *body = self.deadline.body;
    (void)state;
    run(&self, at("2026-06-01T16:00:00Z"));
    assert_string_equal(told(&self), ""); /* the same clock */
    assert_string_equal(pass(&self, "2026-06-03T12:00:00Z", true),
                        "deadline.warning");
    self.clock = clock_of("2026-06-01T15:00:00Z", "2026-06-10");
    run(&self, at("2026-06-03T13:00:00Z"));
    assert_string_equal(told(&self), "deadline.changed");
    assert_int_equal(body->state, STATE(OPEN));
    assert_int_equal(body->warned, 0);
    assert_non_null(strstr(body->why, "start of care ordered for 2026-06-10"));
    assert_int_equal(cn_deadline_next_at(&self.deadline),
                     at("2026-06-10T03:59:59Z"));
    assert_string_equal(pass(&self, "2026-06-10T04:00:00Z", true),
                        "deadline.warning");
    /* The subject moves to another branch. */
    self.subject.branch_id = (struct cn_uuid){ { 9 } };
    run(&self, at("2026-06-10T04:00:01Z"));
    assert_string_equal(told(&self), "deadline.changed");
    assert_int_equal(body->state, STATE(WARNED));
    cn_arena_free(self.arena);
}

static void one_that_is_late_when_it_starts_says_so(void **state)
{
    struct world self = begin("2026-06-01T15:00:00Z", "2026-05-31");
    (void)state;
    assert_string_equal(pass(&self, "2026-06-01T15:00:00Z", true),
                        "deadline.breached");
    assert_string_equal(self.deadline.body->breach_reason, "past_at_start");
    cn_arena_free(self.arena);
}

static void a_stopped_clock_starts_again_when_it_is_needed_again(void **state)
{
    struct world self = begin("2026-06-01T15:00:00Z", NULL);
    (void)state;
    cn_deadline_stop(&self.deadline, at("2026-06-02T10:00:00Z"));
    assert_string_equal(told(&self), "deadline.cancelled");
    assert_false(cn_deadline_runs(&self.deadline));
    assert_string_equal(pass(&self, "2026-06-05T10:00:00Z", true), "");
    cn_deadline_act(&self.deadline, at("2026-06-02T11:00:00Z"), NULL,
                    at("2026-06-02T11:00:00Z"));
    assert_string_equal(told(&self), "");
    run(&self, at("2026-06-02T12:00:00Z"));
    assert_string_equal(told(&self), "deadline.started");
    assert_true(cn_deadline_runs(&self.deadline));
    cn_arena_free(self.arena);
}

static void what_was_an_error_does_not_meet_it(void **state)
{
    struct world self = begin("2026-06-01T15:00:00Z", NULL);
    const Dln__Deadline *body = self.deadline.body;
    (void)state;
    cn_deadline_act(&self.deadline, at("2026-06-02T15:00:00Z"), NULL,
                    at("2026-06-02T15:00:00Z"));
    assert_string_equal(told(&self), "deadline.met");
    cn_deadline_unact(&self.deadline, at("2026-06-02T16:00:00Z"));
    assert_string_equal(told(&self), "deadline.changed");
    assert_int_equal(body->state, STATE(OPEN));
    assert_false(body->has_met_at);
    assert_string_equal(pass(&self, "2026-06-03T15:00:01Z", true),
                        "deadline.breached");
    cn_arena_free(self.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(days_end_where_the_reference_says),
        cmocka_unit_test(the_window_of_the_encounter_is_explained),
        cmocka_unit_test(a_clock_needs_a_start_and_a_zone),
        cmocka_unit_test(it_warns_at_each_lead_time_once_and_then_breaches),
        cmocka_unit_test(warnings_that_were_slept_through_are_one),
        cmocka_unit_test(at_the_change_to_summer_time_the_wall_clock_warns),
        cmocka_unit_test(at_the_change_from_summer_time_elapsed_hours_count),
        cmocka_unit_test(a_breach_is_suspected_until_all_is_told),
        cmocka_unit_test(an_act_in_time_meets_it_a_late_one_is_a_breach),
        cmocka_unit_test(a_breach_on_record_stays_there),
        cmocka_unit_test(a_moved_clock_warns_anew_and_says_why),
        cmocka_unit_test(one_that_is_late_when_it_starts_says_so),
        cmocka_unit_test(a_stopped_clock_starts_again_when_it_is_needed_again),
        cmocka_unit_test(what_was_an_error_does_not_meet_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
