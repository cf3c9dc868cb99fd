/* SPDX-License-Identifier: Apache-2.0 */
/* Legal moves, what is missing, the clock C01, names. */
#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/contract/service.h"
#include "common/wire/json.h"
#include "common/wire/message.h"
#include "services/referrals/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* cmocka needs the four above it. */
#include <cmocka.h>

#define STATUS(word) REF__REFERRAL__STATUS__##word

enum { ARENA_SIZE = 1 << 20 };
static const char ZONE[] = "America/New_York";

/* As the row of migration 0011 has it; that it does is tested with the store.
 */
static const struct cn_clock_rule C01 = {
    .id = "C01",
    .name = "Initial assessment visit",
    .starts = { "valid_referral", "return_home" },
    .start_count = 2,
    .amount = 48,
    .unit = CN_CLOCK_ELAPSED_HOURS,
    .ordered = "start_of_care_ordered",
    .citation = "42 CFR 484.55(a)(1)",
};

static int64_t at(const char *text)
{
    int64_t result = 0;
    assert_true(cn_time_parse(text, &result));
    return result;
}

/* ---- the clock ---- */

/* Vectors of the domain reference, section 2; times in UTC. */
static const struct {
    const char *name;
    const char *valid_at;
    const char *return_home_at; /* NULL: none */
    const char *ordered_date;   /* NULL: none */
    const char *ordered_at;
    const char *due_at;
    const char *warn_at;
    const char *why;
} CLOCKS[] = {
    { "spring DST: wall clock warns an hour earlier", "2026-03-08T01:00:00Z",
      NULL, NULL, NULL, "2026-03-10T01:00:00Z", "2026-03-10T00:00:00Z",
      "C01: valid referral Sat 2026-03-07 20:00 EST + 48 h elapsed = Mon "
      "2026-03-09 21:00 EDT; warn from Mon 2026-03-09 20:00 EDT (wall clock); "
      "42 CFR 484.55(a)(1)" },
    { "autumn DST: elapsed is the earlier", "2026-10-31T13:30:00Z", NULL, NULL,
      NULL, "2026-11-02T13:30:00Z", "2026-11-02T13:30:00Z",
      "C01: valid referral Sat 2026-10-31 09:30 EDT + 48 h elapsed = Mon "
      "2026-11-02 08:30 EST; 42 CFR 484.55(a)(1)" },
    { "a plain week", "2026-06-01T15:00:00Z", NULL, NULL, NULL,
      "2026-06-03T15:00:00Z", "2026-06-03T15:00:00Z",
      "C01: valid referral Mon 2026-06-01 11:00 EDT + 48 h elapsed = Wed "
      "2026-06-03 11:00 EDT; 42 CFR 484.55(a)(1)" },
    { "a fraction of a second warns of nothing", "2026-06-01T15:00:00.25Z",
      NULL, NULL, NULL, "2026-06-03T15:00:00.25Z", "2026-06-03T15:00:00.25Z",
      "C01: valid referral Mon 2026-06-01 11:00 EDT + 48 h elapsed = Wed "
      "2026-06-03 11:00 EDT; 42 CFR 484.55(a)(1)" },
    { "the later return home counts", "2026-06-01T15:00:00Z",
      "2026-06-02T18:00:00Z", NULL, NULL, "2026-06-04T18:00:00Z",
      "2026-06-04T18:00:00Z",
      "C01: return home Tue 2026-06-02 14:00 EDT + 48 h elapsed = Thu "
      "2026-06-04 14:00 EDT; 42 CFR 484.55(a)(1)" },
    { "an earlier return home does not", "2026-06-01T15:00:00Z",
      "2026-05-30T18:00:00Z", NULL, NULL, "2026-06-03T15:00:00Z",
      "2026-06-03T15:00:00Z",
      "C01: valid referral Mon 2026-06-01 11:00 EDT + 48 h elapsed = Wed "
      "2026-06-03 11:00 EDT; 42 CFR 484.55(a)(1)" },
    { "an ordered date holds to the end of its day", "2026-06-01T15:00:00Z",
      NULL, "2026-06-10", "2026-06-01T15:00:00Z", "2026-06-11T03:59:59Z",
      "2026-06-11T03:59:59Z",
      "C01: start of care ordered for 2026-06-10: due by the end of that day, "
      "Wed 2026-06-10 23:59 EDT; 42 CFR 484.55(a)(1)" },
    { "an order after the 48 hours moves nothing", "2026-06-01T15:00:00Z", NULL,
      "2026-06-10", "2026-06-03T15:00:01Z", "2026-06-03T15:00:00Z",
      "2026-06-03T15:00:00Z",
      "C01: valid referral Mon 2026-06-01 11:00 EDT + 48 h elapsed = Wed "
      "2026-06-03 11:00 EDT; 42 CFR 484.55(a)(1); the order for 2026-06-10 "
      "came later and moves nothing" },
};

static void the_clock_c01_gives_the_vectors_of_the_rule(void **state)
{
    (void)state;
    for (size_t i = 0; i < CN_COUNT(CLOCKS); i++) {
        const bool home = CLOCKS[i].return_home_at != NULL;
        const char *ordered_at = CLOCKS[i].ordered_at;
        const struct soc_facts facts = {
            .valid_at = at(CLOCKS[i].valid_at),
            .has_return_home = home,
            .return_home_at = home ? at(CLOCKS[i].return_home_at) : 0,
            .ordered_date = CLOCKS[i].ordered_date,
            .ordered_at = ordered_at != NULL ? at(ordered_at) : 0,
            .zone = ZONE,
        };
        struct cn_clock clock;
        print_message("%s\n", CLOCKS[i].name);
        assert_true(soc_clock(&C01, &facts, &clock));
        assert_int_equal(clock.due_at, at(CLOCKS[i].due_at));
        assert_int_equal(clock.warn_from_at, at(CLOCKS[i].warn_at));
        assert_string_equal(clock.why, CLOCKS[i].why);
    }
}

static void an_unknown_zone_has_no_clock(void **state)
{
    (void)state;
    const struct soc_facts facts = { .zone = "Mars/Olympus" };
    struct cn_clock clock;
    assert_false(soc_clock(&C01, &facts, &clock));
}

/* ---- moves ---- */

/* Every legal move, by hand from the domain reference 3.1: the table must agree
 * and know no other. One letter per command, in the order of the enum. */
static const struct {
    Ref__Referral__Status from;
    const char *commands;
} LEGAL[] = {
    { STATUS(CAPTURED), "m d w" },
    { STATUS(MATCHING), "a v d w" },
    { STATUS(INCOMPLETE), "v d w" },
    { STATUS(VALID), "v l e d w" },
    { STATUS(VERIFYING), "r d w" },
    { STATUS(REVIEW), "A d w" },
    { STATUS(ACCEPTED), "s n d w" },
    { STATUS(DECLINED), "o c" },
    { STATUS(SOC_SCHEDULED), "s u t n d w" },
    { STATUS(ADMITTED), "c" },
    { STATUS(NOT_ADMITTED), "c" },
    { STATUS(WITHDRAWN), "c" },
    { STATUS(CLOSED), "" },
};
static const char LETTERS[] = "mavlerAdowsutnc";

static void the_table_of_moves_is_the_domains(void **state)
{
    (void)state;
    assert_int_equal(strlen(LETTERS), REFERRAL_COMMAND_COUNT);
    assert_int_equal(CN_COUNT(LEGAL),
                     ref__referral__status__descriptor.n_values);
    for (size_t i = 0; i < CN_COUNT(LEGAL); i++) {
        for (int command = 0; command < REFERRAL_COMMAND_COUNT; command++) {
            Ref__Referral__Status to;
            bool legal = referral_move(LEGAL[i].from,
                                       (enum referral_command)command, &to);
            bool expected = strchr(LEGAL[i].commands, LETTERS[command]) != NULL;
            assert_int_equal(legal, expected);
        }
    }
}

static void the_open_states_are_those_before_admission(void **state)
{
    (void)state;
    size_t count = 0;
    for (size_t i = 0; i < CN_COUNT(LEGAL); i++) {
        const char *word = cn_enum_word(&ref__referral__status__descriptor,
                                        (int)LEGAL[i].from);
        bool listed = false;
        for (size_t j = 0; j < REFERRAL_OPEN_COUNT; j++) {
            listed = listed || strcmp(word, referral_open_words[j]) == 0;
        }
        assert_int_equal(referral_is_open(LEGAL[i].from), listed);
        count += listed;
    }
    assert_int_equal(count, REFERRAL_OPEN_COUNT);
}

/* ---- facts ---- */

struct facts {
    struct cn_arena *arena;
    Ref__Referral *referral;
    Ref__Patient *patient;
};

static struct facts complete_facts(void)
{
    static const char *phones[] = { "270 5550100" };
    static Ref__Referral__Discipline disciplines[] = {
        REF__REFERRAL__DISCIPLINE__RN
    };
    struct facts f = { .arena = cn_arena_new(ARENA_SIZE) };
    assert_non_null(f.arena);
    f.referral = CN_NEW(f.arena, ref__referral, Ref__Referral);
    f.patient = CN_NEW(f.arena, ref__patient, Ref__Patient);
    f.patient->name = CN_NEW(f.arena, ref__patient__name, Ref__Patient__Name);
    f.patient->name->family = "Testpatient";
    f.patient->phones = phones;
    f.patient->n_phones = 1;
    f.referral->source =
        CN_NEW(f.arena, ref__referral__source, Ref__Referral__Source);
    f.referral->source->email = "discharge@hospital.example";
    f.referral->ordering_physician =
        CN_NEW(f.arena, ref__referral__physician, Ref__Referral__Physician);
    f.referral->ordering_physician->name = "Pat Example";
    CN_SET(f.referral->ordering_physician, agrees_to_sign, true);
    f.referral->needs = "wound care";
    f.referral->disciplines = disciplines;
    f.referral->n_disciplines = 1;
    CN_SET(f.referral, status, STATUS(CAPTURED));
    CN_SET(f.referral, received_at, at("2026-06-01T14:00:00Z"));
    return f;
}

static void drop_name(struct facts *f)
{
    f->patient->name = NULL;
}
static void drop_phone(struct facts *f)
{
    f->patient->n_phones = 0;
}
static void drop_needs(struct facts *f)
{
    f->referral->needs = NULL;
}
static void drop_physician(struct facts *f)
{
    f->referral->ordering_physician->name = NULL;
}
static void drop_agreement(struct facts *f)
{
    f->referral->ordering_physician->has_agrees_to_sign = 0;
}
static void drop_disciplines(struct facts *f)
{
    f->referral->n_disciplines = 0;
}
static void drop_email(struct facts *f)
{
    f->referral->source = NULL;
}
static void refuse_to_sign(struct facts *f)
{
    f->referral->ordering_physician->agrees_to_sign = false;
}

static const struct {
    void (*drop)(struct facts *);
    const char *field;
    const char *guard; /* NULL: does not block */
} MISSING[] = {
    { drop_name, "patient.name", "patient_name" },
    { drop_phone, "patient.address", "patient_reachable" },
    { drop_needs, "diagnoses", "diagnosis_or_needs" },
    { drop_physician, "ordering_physician.name", "ordering_physician" },
    { drop_agreement, "ordering_physician.agrees_to_sign", "physician_agrees" },
    { refuse_to_sign, "ordering_physician.agrees_to_sign", "physician_agrees" },
    { drop_disciplines, "disciplines", "disciplines" },
    { drop_email, "source.email", NULL },
};

static void each_element_that_is_missing_is_named_with_its_reason(void **state)
{
    (void)state;
    for (size_t i = 0; i < CN_COUNT(MISSING); i++) {
        struct facts f = complete_facts();
        struct cn_err err = { 0 };
        bool validated = true;
        MISSING[i].drop(&f);
        assert_int_equal(referral_settle(f.arena, f.referral, f.patient, ZONE,
                                         &C01, at("2026-06-01T15:00:00Z"),
                                         &validated, &err),
                         CN_OK);
        assert_int_equal(f.referral->n_missing, 1);
        assert_string_equal(f.referral->missing[0]->field, MISSING[i].field);
        assert_true(strlen(f.referral->missing[0]->why) > 0);
        assert_int_equal(f.referral->missing[0]->blocks_validity,
                         MISSING[i].guard != NULL);
        assert_int_equal(validated, MISSING[i].guard == NULL);
        assert_int_equal(f.referral->status, MISSING[i].guard == NULL
                                                 ? STATUS(VALID)
                                                 : STATUS(CAPTURED));
        cn_arena_free(f.arena);
    }
}

static void a_failed_guard_is_named_by_validate_and_by_accept(void **state)
{
    (void)state;
    static const enum referral_command COMMANDS[] = { REFERRAL_VALIDATE,
                                                      REFERRAL_ACCEPT };
    for (size_t i = 0; i < CN_COUNT(MISSING) - 1; i++) {
        for (size_t j = 0; j < CN_COUNT(COMMANDS); j++) {
            struct facts f = complete_facts();
            struct cn_err err = { 0 };
            struct referral_passage passage = { 0 };
            MISSING[i].drop(&f);
            assert_int_equal(referral_pass(f.referral, f.patient, COMMANDS[j],
                                           &passage, &err),
                             CN_CONFLICT);
            assert_string_equal(err.word, "guard_failed");
            assert_int_equal(err.field_count, 1);
            assert_string_equal(err.fields[0].word, MISSING[i].guard);
            assert_string_equal(passage.guard, MISSING[i].guard);
            assert_non_null(strstr(err.msg, MISSING[i].guard));
            cn_arena_free(f.arena);
        }
    }
}

static void a_complete_referral_becomes_valid_and_due(void **state)
{
    (void)state;
    struct facts f = complete_facts();
    struct cn_err err = { 0 };
    bool validated = false;
    int64_t now_at = at("2026-06-01T15:00:00Z");
    assert_int_equal(referral_settle(f.arena, f.referral, f.patient, ZONE, &C01,
                                     now_at, &validated, &err),
                     CN_OK);
    assert_true(validated);
    assert_int_equal(f.referral->n_missing, 0);
    assert_int_equal(f.referral->status, STATUS(VALID));
    assert_int_equal(f.referral->valid_at, now_at);
    assert_int_equal(f.referral->soc_due_at, at("2026-06-03T15:00:00Z"));
    assert_string_equal(f.referral->time_zone, ZONE);
    cn_arena_free(f.arena);
}

static void the_patients_own_zone_wins_over_the_branchs(void **state)
{
    (void)state;
    struct facts f = complete_facts();
    struct cn_err err = { 0 };
    bool validated = false;
    f.patient->time_zone = "America/Denver";
    assert_int_equal(referral_settle(f.arena, f.referral, f.patient, ZONE, &C01,
                                     at("2026-06-01T15:00:00Z"), &validated,
                                     &err),
                     CN_OK);
    assert_string_equal(f.referral->time_zone, "America/Denver");
    assert_non_null(strstr(f.referral->soc_due_why, "MDT"));
    cn_arena_free(f.arena);
}

static void what_becomes_missing_again_lapses_but_keeps_its_clock(void **state)
{
    (void)state;
    struct facts f = complete_facts();
    struct cn_err err = { 0 };
    bool validated = false;
    int64_t first_at = at("2026-06-01T15:00:00Z");
    int64_t later_at = first_at + CN_HOUR;
    assert_int_equal(referral_settle(f.arena, f.referral, f.patient, ZONE, &C01,
                                     first_at, &validated, &err),
                     CN_OK);
    drop_disciplines(&f);
    assert_int_equal(referral_settle(f.arena, f.referral, f.patient, ZONE, &C01,
                                     later_at, &validated, &err),
                     CN_OK);
    assert_false(validated);
    assert_int_equal(f.referral->status, STATUS(INCOMPLETE));
    assert_int_equal(f.referral->valid_at, first_at);
    f.referral->n_disciplines = 1;
    assert_int_equal(referral_settle(f.arena, f.referral, f.patient, ZONE, &C01,
                                     later_at, &validated, &err),
                     CN_OK);
    assert_true(validated);
    assert_int_equal(f.referral->valid_at, first_at);
    assert_int_equal(f.referral->soc_due_at, first_at + 48 * CN_HOUR);
    cn_arena_free(f.arena);
}

/* ---- commands ---- */

static const struct {
    Ref__Referral__Status from;
    enum referral_command command;
    Ref__Referral__Status to; /* 0: illegal_state */
    bool validated;
} PASSAGES[] = {
    { STATUS(CAPTURED), REFERRAL_VALIDATE, STATUS(VALID), true },
    { STATUS(MATCHING), REFERRAL_VALIDATE, STATUS(VALID), true },
    { STATUS(INCOMPLETE), REFERRAL_VALIDATE, STATUS(VALID), true },
    { STATUS(VALID), REFERRAL_VALIDATE, STATUS(VALID), false },
    { STATUS(REVIEW), REFERRAL_VALIDATE, 0, false },
    { STATUS(ACCEPTED), REFERRAL_VALIDATE, 0, false },
    { STATUS(CAPTURED), REFERRAL_ACCEPT, STATUS(ACCEPTED), true },
    { STATUS(MATCHING), REFERRAL_ACCEPT, STATUS(ACCEPTED), true },
    { STATUS(INCOMPLETE), REFERRAL_ACCEPT, STATUS(ACCEPTED), true },
    { STATUS(VALID), REFERRAL_ACCEPT, STATUS(ACCEPTED), false },
    { STATUS(VERIFYING), REFERRAL_ACCEPT, STATUS(ACCEPTED), false },
    { STATUS(REVIEW), REFERRAL_ACCEPT, STATUS(ACCEPTED), false },
    { STATUS(ACCEPTED), REFERRAL_ACCEPT, 0, false },
    { STATUS(SOC_SCHEDULED), REFERRAL_ACCEPT, 0, false },
    { STATUS(DECLINED), REFERRAL_ACCEPT, 0, false },
    { STATUS(ADMITTED), REFERRAL_ACCEPT, 0, false },
    { STATUS(WITHDRAWN), REFERRAL_ACCEPT, 0, false },
    { STATUS(CLOSED), REFERRAL_ACCEPT, 0, false },
    { STATUS(CAPTURED), REFERRAL_DECLINE, STATUS(DECLINED), false },
    { STATUS(ACCEPTED), REFERRAL_DECLINE, STATUS(DECLINED), false },
    { STATUS(DECLINED), REFERRAL_DECLINE, 0, false },
    { STATUS(ADMITTED), REFERRAL_DECLINE, 0, false },
};

static void commands_pass_the_states_between_or_are_illegal(void **state)
{
    (void)state;
    for (size_t i = 0; i < CN_COUNT(PASSAGES); i++) {
        struct facts f = complete_facts();
        struct cn_err err = { 0 };
        struct referral_passage passage = { 0 };
        f.referral->status = PASSAGES[i].from;
        enum cn_code rc = referral_pass(f.referral, f.patient,
                                        PASSAGES[i].command, &passage, &err);
        if (PASSAGES[i].to == 0) {
            assert_int_equal(rc, CN_CONFLICT);
            assert_string_equal(err.word, "illegal_state");
        } else {
            assert_int_equal(rc, CN_OK);
            assert_int_equal(passage.to, PASSAGES[i].to);
            assert_int_equal(passage.validated, PASSAGES[i].validated);
        }
        cn_arena_free(f.arena);
    }
}

static void an_incomplete_decline_needs_no_validity(void **state)
{
    (void)state;
    struct facts f = complete_facts();
    struct cn_err err = { 0 };
    struct referral_passage passage = { 0 };
    drop_name(&f);
    assert_int_equal(
        referral_pass(f.referral, f.patient, REFERRAL_DECLINE, &passage, &err),
        CN_OK);
    cn_arena_free(f.arena);
}

/* ---- the rest ---- */

static void names_are_compared_without_case_accents_and_marks(void **state)
{
    (void)state;
    static const char *const ROWS[][2] = {
        { "Everyman", "everyman" },
        { "O'Brien-Smith Jr.", "obriensmithjr" },
        { "M\xC3\xBCller", "muller" },
        { "\xC3\x85ngstr\xC3\xB6m", "angstrom" },
        { "Stra\xC3\x9F"
          "e",
          "strasse" },
        { "\xC5\x81ukasz", "lukasz" },
        { "Jose\xCC\x81", "jose" },
        { "\xE5\xB1\xB1\xE7\x94\xB0", "\xE5\xB1\xB1\xE7\x94\xB0" },
        { "", "" },
    };
    struct cn_arena *arena = cn_arena_new(ARENA_SIZE);
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        assert_string_equal(name_norm(arena, ROWS[i][0]), ROWS[i][1]);
    }
    assert_string_equal(name_norm(arena, NULL), "");
    cn_arena_free(arena);
}

static void a_social_security_number_is_nobodys_key(void **state)
{
    (void)state;
    struct facts f = complete_facts();
    Ref__Patient__Identifier ids[5];
    Ref__Patient__Identifier *list[5];
    static const char *const ROWS[5][3] = {
        { "HOSP", "1", "MR" }, { "USSSA", "2", NULL }, { "HOSP", "3", "SS" },
        { "HOSP", "1", "MR" }, { NULL, "4", "MR" },
    };
    for (size_t i = 0; i < 5; i++) {
        ref__patient__identifier__init(&ids[i]);
        ids[i].system = ROWS[i][0];
        ids[i].value = ROWS[i][1];
        ids[i].type = ROWS[i][2];
        list[i] = &ids[i];
    }
    f.patient->identifiers = list;
    f.patient->n_identifiers = 5;
    const char *systems[5];
    const char *values[5];
    assert_int_equal(patient_keys(f.patient, systems, values, 5), 1);
    assert_string_equal(systems[0], "HOSP");
    assert_string_equal(values[0], "1");
    cn_arena_free(f.arena);
}

static void only_listed_reasons_decline(void **state)
{
    (void)state;
    assert_true(referral_reason_known("no_capacity"));
    assert_true(referral_reason_known("wrong_service"));
    assert_false(referral_reason_known("no-capacity"));
    assert_false(referral_reason_known(""));
    assert_false(referral_reason_known(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_clock_c01_gives_the_vectors_of_the_rule),
        cmocka_unit_test(an_unknown_zone_has_no_clock),
        cmocka_unit_test(the_table_of_moves_is_the_domains),
        cmocka_unit_test(the_open_states_are_those_before_admission),
        cmocka_unit_test(each_element_that_is_missing_is_named_with_its_reason),
        cmocka_unit_test(a_failed_guard_is_named_by_validate_and_by_accept),
        cmocka_unit_test(a_complete_referral_becomes_valid_and_due),
        cmocka_unit_test(the_patients_own_zone_wins_over_the_branchs),
        cmocka_unit_test(what_becomes_missing_again_lapses_but_keeps_its_clock),
        cmocka_unit_test(commands_pass_the_states_between_or_are_illegal),
        cmocka_unit_test(an_incomplete_decline_needs_no_validity),
        cmocka_unit_test(names_are_compared_without_case_accents_and_marks),
        cmocka_unit_test(a_social_security_number_is_nobodys_key),
        cmocka_unit_test(only_listed_reasons_decline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
