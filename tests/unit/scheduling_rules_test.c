/* SPDX-License-Identifier: Apache-2.0 */
/* Which clinician fits which patient, and when: rows of facts for the matcher.
 */
#include "cairn/scheduling.resources.h"
#include "common/base/array.h"
#include "services/scheduling/rules.h"

#include "common/base/array.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define DISCIPLINE(word) SCH__CLINICIAN__DISCIPLINE__##word
#define WEEKDAY(word)    SCH__CLINICIAN__WEEKDAY__##word

static const char ZONE[] = "America/New_York";

static int64_t at(const char *text)
{
    int64_t instant = 0;
    assert_true(cn_time_parse(text, &instant));
    return instant;
}

/* A nurse who covers 42010, speaks English and works on Mondays to Fridays
 * from 8 to 17 in New York, with one of her facts changed by each row. */
struct nurse {
    Sch__Clinician clinician;
    Sch__Clinician__Licence licence;
    Sch__Clinician__Coverage coverage;
    Sch__Clinician__Hours hours[5];
    Sch__Clinician__Hours *hours_list[5];
    Sch__Clinician__TimeOff off;
    Sch__Clinician__TimeOff *off_list[1];
    const char *codes[1];
    const char *languages[1];
    Sch__Need need;
    Sch__Need__Span span;
    Sch__Need__Span *span_list[1];
    struct span booked[1];
    struct match_candidate candidate;
    struct match_wish wish;
};

static void nurse_init(struct nurse *self)
{
    memset(self, 0, sizeof(*self));
    sch__clinician__init(&self->clinician);
    sch__clinician__licence__init(&self->licence);
    sch__clinician__coverage__init(&self->coverage);
    sch__clinician__time_off__init(&self->off);
    sch__need__init(&self->need);
    sch__need__span__init(&self->span);
    self->clinician.has_discipline = 1;
    self->clinician.discipline = DISCIPLINE(RN);
    self->clinician.has_gender = 1;
    self->clinician.gender = SCH__CLINICIAN__GENDER__FEMALE;
    self->licence.expires_on = "2027-12-31";
    self->clinician.licence = &self->licence;
    self->codes[0] = "42010";
    self->coverage.postal_codes = self->codes;
    self->coverage.n_postal_codes = 1;
    self->clinician.coverage = &self->coverage;
    self->languages[0] = "en";
    self->clinician.languages = self->languages;
    self->clinician.n_languages = 1;
    for (int i = 0; i < 5; i++) {
        sch__clinician__hours__init(&self->hours[i]);
        self->hours[i].has_weekday = 1;
        self->hours[i].weekday = (Sch__Clinician__Weekday)(i + 1);
        self->hours[i].from = "08:00";
        self->hours[i].to = "17:00";
        self->hours_list[i] = &self->hours[i];
    }
    self->clinician.hours = self->hours_list;
    self->clinician.n_hours = 5;
    self->off_list[0] = &self->off;
    self->span_list[0] = &self->span;
    self->need.postal_code = "42010";
    self->need.language = "en";
    self->need.time_zone = ZONE;
    self->candidate.clinician = &self->clinician;
    self->candidate.time_zone = ZONE;
    self->candidate.booked = self->booked;
    self->wish.discipline = DISCIPLINE(RN);
    self->wish.need = &self->need;
    /* Monday 2026-06-01 10:00 to Wednesday 10:00 in New York. */
    self->wish.from_at = at("2026-06-01T14:00:00Z");
    self->wish.until_at = at("2026-06-03T14:00:00Z");
    self->wish.minutes = VISIT_SOC_MINUTES;
}

static void off_all(struct nurse *self)
{
    self->off.has_starts_at = self->off.has_ends_at = 1;
    self->off.starts_at = at("2026-06-01T00:00:00Z");
    self->off.ends_at = at("2026-06-05T00:00:00Z");
    self->clinician.time_off = self->off_list;
    self->clinician.n_time_off = 1;
}

static void span_set(struct nurse *self, int weekday, int from, int to)
{
    self->span.has_weekday = self->span.has_from = self->span.has_to = 1;
    self->span.weekday = weekday;
    self->span.from = from;
    self->span.to = to;
}

static void other_discipline(struct nurse *self)
{
    self->clinician.discipline = DISCIPLINE(PT);
}
static void licence_ran_out(struct nurse *self)
{
    self->licence.expires_on = "2026-05-31";
}
static void other_postal_code(struct nurse *self)
{
    self->codes[0] = "40202";
}
static void no_coverage(struct nurse *self)
{
    self->clinician.coverage = NULL;
}
static void other_language(struct nurse *self)
{
    self->need.language = "vi";
}
static void other_gender(struct nurse *self)
{
    self->need.has_gender = 1;
    self->need.gender = SCH__CLINICIAN__GENDER__MALE;
}
static void no_hours(struct nurse *self)
{
    self->clinician.n_hours = 0;
}
static void due_at_night(struct nurse *self)
{
    self->wish.from_at = at("2026-06-01T22:00:00Z");
    self->wish.until_at = at("2026-06-02T04:00:00Z");
}
static void booked_throughout(struct nurse *self)
{
    self->booked[0] =
        (struct span){ at("2026-06-01T00:00:00Z"), at("2026-06-04T00:00:00Z") };
    self->candidate.booked_count = 1;
}
static void window_on_sunday(struct nurse *self)
{
    span_set(self, 7, 480, 1020);
    self->need.windows = self->span_list;
    self->need.n_windows = 1;
}

static void each_clinician_left_out_has_the_one_reason(void **state)
{
    static const struct {
        const char *name;
        void (*change)(struct nurse *);
        const char *reason;
    } ROWS[] = {
        { "of another discipline", other_discipline, "discipline" },
        { "licence ran out yesterday", licence_ran_out, "licence_expired" },
        { "covers another ZIP", other_postal_code, "postal_code" },
        { "covers nothing", no_coverage, "postal_code" },
        { "does not speak it", other_language, "language" },
        { "of another gender than asked for", other_gender, "gender" },
        { "works at no time", no_hours, "hours" },
        { "nobody works at night", due_at_night, "hours" },
        { "not at work", off_all, "time_off" },
        { "booked throughout", booked_throughout, "booked" },
        { "patient's windows are on Sunday", window_on_sunday, "windows" },
    };
    (void)state;
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        struct nurse nurse;
        nurse_init(&nurse);
        ROWS[i].change(&nurse);
        struct match_result result =
            match_clinician(&nurse.candidate, &nurse.wish);
        if (result.found || strcmp(result.reason, ROWS[i].reason) != 0) {
            fail_msg("%s: %s, expected %s", ROWS[i].name,
                     result.found ? "a slot" : result.reason, ROWS[i].reason);
        }
    }
}

static void expect_slot(struct nurse *nurse, const char *from)
{
    struct match_result result =
        match_clinician(&nurse->candidate, &nurse->wish);
    char text[CN_TIME_TEXT_MAX];
    if (!result.found) {
        fail_msg("no slot: %s", result.reason);
    }
    cn_time_format(result.slot.from_at, text);
    assert_string_equal(text, from);
    assert_int_equal(result.slot.to_at - result.slot.from_at,
                     nurse->wish.minutes * CN_MINUTE);
    assert_true(result.slot.from_at <= nurse->wish.until_at);
}

static void the_first_free_quarter_of_an_hour_is_offered(void **state)
{
    (void)state;
    struct nurse nurse;
    nurse_init(&nurse);
    expect_slot(&nurse, "2026-06-01T14:00:00Z");
    nurse.wish.from_at += CN_MINUTE;
    expect_slot(&nurse, "2026-06-01T14:15:00Z");
}

static void after_hours_the_next_working_day_is_offered(void **state)
{
    (void)state;
    struct nurse nurse;
    nurse_init(&nurse);
    nurse.wish.from_at = at("2026-06-01T20:00:00Z"); /* 16:00: too short */
    expect_slot(&nurse, "2026-06-02T12:00:00Z");
}

static void travel_lies_between_two_visits(void **state)
{
    (void)state;
    struct nurse nurse;
    nurse_init(&nurse);
    nurse.booked[0] =
        (struct span){ at("2026-06-01T13:00:00Z"), at("2026-06-01T15:00:00Z") };
    nurse.candidate.booked_count = 1;
    expect_slot(&nurse, "2026-06-01T15:15:00Z");
    /* Before the later visit there is no room for 90 minutes and the travel. */
    nurse.booked[0] =
        (struct span){ at("2026-06-01T15:30:00Z"), at("2026-06-01T16:30:00Z") };
    expect_slot(&nurse, "2026-06-01T16:45:00Z");
}

static void dialysis_is_respected_in_the_patients_zone(void **state)
{
    (void)state;
    struct nurse nurse;
    nurse_init(&nurse);
    nurse.need.time_zone = "America/Chicago";
    span_set(&nurse, 1, 9 * 60, 13 * 60); /* 10:00 to 14:00 in New York */
    nurse.need.commitments = nurse.span_list;
    nurse.need.n_commitments = 1;
    expect_slot(&nurse, "2026-06-01T18:00:00Z");
}

static void a_window_of_the_patient_is_met(void **state)
{
    (void)state;
    struct nurse nurse;
    nurse_init(&nurse);
    span_set(&nurse, 2, 13 * 60, 17 * 60);
    nurse.need.windows = nurse.span_list;
    nurse.need.n_windows = 1;
    expect_slot(&nurse, "2026-06-02T17:00:00Z");
}

static void a_commitment_over_midnight_holds_on_both_days(void **state)
{
    (void)state;
    struct nurse nurse;
    nurse_init(&nurse);
    span_set(&nurse, 7, 22 * 60, (24 + 11) * 60); /* Sunday 22:00 to 11:00 */
    nurse.need.commitments = nurse.span_list;
    nurse.need.n_commitments = 1;
    expect_slot(&nurse, "2026-06-01T15:00:00Z"); /* Monday 11:00 */
    span_set(&nurse, 7, 9 * 60, (24 + 11) * 60);
    nurse.wish.from_at = at("2026-05-31T12:00:00Z"); /* Sunday */
    expect_slot(&nurse, "2026-06-01T15:00:00Z");
}

static void a_window_over_midnight_is_met_on_either_day(void **state)
{
    (void)state;
    struct nurse nurse;
    nurse_init(&nurse);
    span_set(&nurse, 7, 22 * 60, (24 + 12) * 60); /* Sunday 22:00 to 12:00 */
    nurse.need.windows = nurse.span_list;
    nurse.need.n_windows = 1;
    expect_slot(&nurse, "2026-06-01T14:00:00Z");
    nurse.wish.from_at = at("2026-06-01T15:00:00Z"); /* ends after 12:00 */
    assert_false(match_clinician(&nurse.candidate, &nurse.wish).found);
}

static void a_visit_over_midnight_meets_the_next_days_commitment(void **state)
{
    (void)state;
    struct nurse nurse;
    nurse_init(&nurse);
    /* At work until 23:45 in Los Angeles, which is 2:45 at the patient's. */
    nurse.candidate.time_zone = "America/Los_Angeles";
    nurse.hours[0].to = "23:45";
    span_set(&nurse, 2, 0, 2 * 60);
    nurse.need.commitments = nurse.span_list;
    nurse.need.n_commitments = 1;
    nurse.wish.from_at = at("2026-06-02T03:00:00Z"); /* Monday 23:00 */
    expect_slot(&nurse, "2026-06-02T15:00:00Z");
}

static void the_local_end_of_a_visit_follows_the_clocks(void **state)
{
    (void)state;
    struct nurse nurse;
    nurse_init(&nurse);
    nurse.candidate.time_zone = "UTC";
    nurse.hours[0].weekday = WEEKDAY(SATURDAY);
    nurse.hours[0].from = "00:00";
    nurse.hours[0].to = "23:45";
    nurse.need.time_zone = "Australia/Sydney";
    nurse.need.commitments = nurse.span_list;
    nurse.need.n_commitments = 1;
    /* At 16:00Z 2:00 becomes 3:00: Sunday's 3:00 to 4:00 is 16:00Z to 17:00Z.
     */
    span_set(&nurse, 7, 3 * 60, 4 * 60);
    nurse.wish.from_at = at("2027-10-02T15:00:00Z");
    nurse.wish.until_at = at("2027-10-02T20:00:00Z");
    expect_slot(&nurse, "2027-10-02T17:00:00Z");
    /* At 16:00Z 3:00 becomes 2:00: the hour from 2:00 comes twice. */
    span_set(&nurse, 7, 2 * 60, 3 * 60);
    nurse.wish.from_at = at("2027-04-03T14:00:00Z");
    nurse.wish.until_at = at("2027-04-03T20:00:00Z");
    expect_slot(&nurse, "2027-04-03T17:00:00Z");
}

static void codes_of_one_language_fit_each_other(void **state)
{
    static const char *const SPOKEN[] = { "en", "ENG", "en-US", "EN" };
    (void)state;
    for (size_t i = 0; i < CN_COUNT(SPOKEN); i++) {
        for (size_t j = 0; j < CN_COUNT(SPOKEN); j++) {
            struct nurse nurse;
            nurse_init(&nurse);
            nurse.languages[0] = SPOKEN[i];
            nurse.need.language = SPOKEN[j];
            assert_null(match_misfit(&nurse.candidate, &nurse.wish));
        }
    }
}

static void an_interpreter_opens_every_language(void **state)
{
    (void)state;
    struct nurse nurse;
    nurse_init(&nurse);
    nurse.need.language = "vi";
    nurse.need.has_interpreter_needed = 1;
    nurse.need.interpreter_needed = 1;
    expect_slot(&nurse, "2026-06-01T14:00:00Z");
}

static void hours_follow_the_wall_clock_over_a_change_of_time(void **state)
{
    (void)state;
    struct nurse nurse;
    nurse_init(&nurse);
    /* From Friday 2026-03-06 17:00 EST over the change on the 8th. */
    nurse.wish.from_at = at("2026-03-06T22:00:00Z");
    nurse.wish.until_at = at("2026-03-10T22:00:00Z");
    expect_slot(&nurse, "2026-03-09T12:00:00Z"); /* 8:00 EDT */
}

static void the_earliest_slot_wins_and_the_first_of_equals(void **state)
{
    (void)state;
    struct nurse nurses[3];
    struct match_candidate candidates[3];
    struct match_result results[3];
    for (int i = 0; i < 3; i++) {
        nurse_init(&nurses[i]);
    }
    nurses[0].booked[0] =
        (struct span){ at("2026-06-01T14:00:00Z"), at("2026-06-01T16:00:00Z") };
    nurses[0].candidate.booked_count = 1;
    for (int i = 0; i < 3; i++) {
        candidates[i] = nurses[i].candidate;
    }
    assert_int_equal(match_best(candidates, 3, &nurses[0].wish, results), 1);
    assert_int_equal(match_best(candidates, 0, &nurses[0].wish, results), -1);
}

static void a_nurse_starts_care_unless_only_therapy_is_ordered(void **state)
{
    (void)state;
    static const struct {
        Sch__Clinician__Discipline ordered[3];
        size_t count;
        Sch__Clinician__Discipline starts;
    } ROWS[] = {
        { { 0 }, 0, DISCIPLINE(RN) },
        { { DISCIPLINE(PT), DISCIPLINE(RN) }, 2, DISCIPLINE(RN) },
        { { DISCIPLINE(OT), DISCIPLINE(PT) }, 2, DISCIPLINE(PT) },
        { { DISCIPLINE(SLP), DISCIPLINE(OT) }, 2, DISCIPLINE(SLP) },
        { { DISCIPLINE(AIDE) }, 1, DISCIPLINE(RN) },
    };
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        Sch__Clinician__Discipline ordered[3];
        Sch__Need need;
        sch__need__init(&need);
        memcpy(ordered, ROWS[i].ordered, sizeof(ordered));
        need.disciplines = ordered;
        need.n_disciplines = ROWS[i].count;
        assert_int_equal(soc_discipline(&need), ROWS[i].starts);
    }
}

#define STATUS(word) SCH__VISIT__STATUS__##word

/* The states in which a command may be used, and the state after it. */
static void a_visit_moves_from_where_it_may(void **state)
{
    static const struct {
        const char *command;
        Sch__Visit__Status from[8]; /* ends with 0 */
        Sch__Visit__Status to;
    } ROWS[] = {
        { "complete",
          { STATUS(BOOKED), STATUS(CONFIRMED), STATUS(IN_PROGRESS) },
          STATUS(COMPLETED) },
        { "cancel",
          { STATUS(REQUIRED), STATUS(OFFERED), STATUS(WAITLISTED),
            STATUS(BOOKED), STATUS(CONFIRMED) },
          STATUS(CANCELLED) },
    };
    (void)state;
    const ProtobufCEnumDescriptor *all = &sch__visit__status__descriptor;
    for (size_t row = 0; row < CN_COUNT(ROWS); row++) {
        for (unsigned i = 0; i < all->n_values; i++) {
            bool may = false;
            for (size_t j = 0; ROWS[row].from[j] != 0; j++) {
                may = may || (int)ROWS[row].from[j] == all->values[i].value;
            }
            const struct cn_move *move = cn_move_find(
                &sch_visit_moves, ROWS[row].command, all->values[i].value);
            assert_int_equal(move != NULL, may);
            assert_true(move == NULL || move->to == (int)ROWS[row].to);
        }
    }
}

static struct cn_op op_of(struct cn_arena *arena, struct cn_err *err)
{
    return (struct cn_op){ .arena = arena, .err = err };
}

static void a_clinician_without_name_and_with_odd_hours_is_refused(void **state)
{
    (void)state;
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    struct nurse nurse;
    struct cn_err err = { 0 };
    struct cn_op op = op_of(arena, &err);
    nurse_init(&nurse);
    nurse.hours[2].to = "07:00";
    cn_require_fields(&op, &sch__clinician__shape, &nurse.clinician);
    clinician_check(&op, &nurse.clinician);
    assert_int_equal(err.code, CN_INVALID);
    assert_int_equal(err.field_count, 2);
    assert_string_equal(err.fields[0].pointer, "/name");
    assert_string_equal(err.fields[1].pointer, "/hours/2");
}

static void a_visit_needs_who_when_and_for_whom(void **state)
{
    (void)state;
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    Sch__Visit visit;
    struct cn_err err = { 0 };
    struct cn_op op = op_of(arena, &err);
    sch__visit__init(&visit);
    cn_require_fields(&op, &sch__visit__shape, &visit);
    assert_int_equal(err.code, CN_INVALID);
    assert_int_equal(err.field_count, 5);
    cn_err_clear(&err);
    visit.referral_id = "ref_1";
    visit.clinician_id = "cln_1";
    visit.has_kind = 1;
    visit.has_starts_at = visit.has_ends_at = 1;
    visit.starts_at = at("2026-06-01T14:00:00Z");
    visit.ends_at = visit.starts_at;
    cn_require_fields(&op, &sch__visit__shape, &visit);
    visit_check(&op, &visit);
    assert_int_equal(err.code, CN_INVALID);
    assert_string_equal(err.fields[0].pointer, "/ends_at");
    cn_err_clear(&err);
    visit.ends_at++;
    visit_check(&op, &visit);
    assert_int_equal(err.code, CN_OK);
}

static void a_visit_is_of_our_time(void **state)
{
    static const char *const OTHERS[] = { "1900-01-01T12:00:00Z",
                                          "1999-12-31T23:59:59Z",
                                          "2100-01-01T00:00:00Z",
                                          "9999-12-31T12:00:00Z" };
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    (void)state;
    for (size_t i = 0; i < CN_COUNT(OTHERS); i++) {
        struct cn_err err = { 0 };
        struct cn_op op = op_of(arena, &err);
        Sch__Visit visit = SCH__VISIT__INIT;
        visit.has_starts_at = visit.has_ends_at = 1;
        visit.starts_at = at(OTHERS[i]);
        visit.ends_at = visit.starts_at + CN_HOUR;
        visit_check(&op, &visit);
        assert_int_equal(err.code, CN_INVALID);
        assert_string_equal(err.fields[0].pointer, "/starts_at");
    }
}

static void a_visit_needs_a_referral_that_goes_on(void **state)
{
    static const struct {
        const char *status;
        const char *soc; /* the guard that refuses, or NULL */
        const char *routine;
    } ROWS[] = {
        { "captured", "referral_accepted", NULL },
        { "valid", "referral_accepted", NULL },
        { "review", "referral_accepted", NULL },
        { "accepted", NULL, NULL },
        { "soc_scheduled", NULL, NULL },
        { "admitted", "referral_accepted", NULL },
        { "closed", "referral_accepted", NULL },
        { "declined", "referral_open", "referral_open" },
        { "withdrawn", "referral_open", "referral_open" },
        { "not_admitted", "referral_open", "referral_open" },
    };
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    (void)state;
    for (size_t i = 0; i < 2 * CN_COUNT(ROWS); i++) {
        struct cn_err err = { 0 };
        struct cn_op op = op_of(arena, &err);
        Sch__Need need = SCH__NEED__INIT;
        const char *guard = i % 2 == 0 ? ROWS[i / 2].soc : ROWS[i / 2].routine;
        need.status = ROWS[i / 2].status;
        visit_guard(&op, &need,
                    i % 2 == 0 ? SCH__VISIT__KIND__SOC
                               : SCH__VISIT__KIND__ROUTINE);
        assert_int_equal(err.code, guard != NULL ? CN_CONFLICT : CN_OK);
        assert_string_equal(err.fields[0].word, guard != NULL ? guard : "");
    }
    Sch__Need old = SCH__NEED__INIT;
    assert_int_equal(need_standing(&old), STANDING_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_clinician_left_out_has_the_one_reason),
        cmocka_unit_test(the_first_free_quarter_of_an_hour_is_offered),
        cmocka_unit_test(after_hours_the_next_working_day_is_offered),
        cmocka_unit_test(travel_lies_between_two_visits),
        cmocka_unit_test(dialysis_is_respected_in_the_patients_zone),
        cmocka_unit_test(a_window_of_the_patient_is_met),
        cmocka_unit_test(a_commitment_over_midnight_holds_on_both_days),
        cmocka_unit_test(a_window_over_midnight_is_met_on_either_day),
        cmocka_unit_test(a_visit_over_midnight_meets_the_next_days_commitment),
        cmocka_unit_test(the_local_end_of_a_visit_follows_the_clocks),
        cmocka_unit_test(codes_of_one_language_fit_each_other),
        cmocka_unit_test(an_interpreter_opens_every_language),
        cmocka_unit_test(hours_follow_the_wall_clock_over_a_change_of_time),
        cmocka_unit_test(the_earliest_slot_wins_and_the_first_of_equals),
        cmocka_unit_test(a_nurse_starts_care_unless_only_therapy_is_ordered),
        cmocka_unit_test(a_visit_moves_from_where_it_may),
        cmocka_unit_test(
            a_clinician_without_name_and_with_odd_hours_is_refused),
        cmocka_unit_test(a_visit_needs_who_when_and_for_whom),
        cmocka_unit_test(a_visit_is_of_our_time),
        cmocka_unit_test(a_visit_needs_a_referral_that_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
