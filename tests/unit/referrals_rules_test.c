/* SPDX-License-Identifier: Apache-2.0 */
/* Legal moves, what is missing, the clock C01, names. */
#include "cairn/referrals.resources.h"
#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/contract/service.h"
#include "common/wire/json.h"
#include "common/wire/message.h"
#include "services/referrals/rules.h"
#include "services/referrals/warning.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* cmocka needs the four above it. */
#include <cmocka.h>

#define STATUS(word) REF__REFERRAL__STATUS__##word

enum { ARENA_SIZE = 1 << 20 };
static const char ZONE[] = "America/New_York";

/* The same values as the row of migration 0011; a store test checks that row.
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

/* Times in UTC. */
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

/* Every legal move: the table must have these and no others. */
static const struct {
    Ref__Referral__Status from; /* 0: not made yet */
    const char *commands;       /* each between spaces */
} LEGAL[] = {
    { 0, " receive " },
    { STATUS(CAPTURED), " match decline withdraw " },
    { STATUS(MATCHING), " ask validate decline withdraw " },
    { STATUS(INCOMPLETE), " validate decline withdraw " },
    { STATUS(VALID), " validate lapse verify decline withdraw " },
    { STATUS(VERIFYING), " review decline withdraw " },
    { STATUS(REVIEW), " accept decline withdraw " },
    { STATUS(ACCEPTED), " schedule not_admit decline withdraw " },
    { STATUS(DECLINED), " reopen close " },
    { STATUS(SOC_SCHEDULED),
      " schedule unschedule admit not_admit decline withdraw " },
    { STATUS(ADMITTED), " close " },
    { STATUS(NOT_ADMITTED), " close " },
    { STATUS(WITHDRAWN), " close " },
    { STATUS(CLOSED), "" },
};

static void the_table_of_moves_knows_the_legal_ones_alone(void **state)
{
    (void)state;
    const struct cn_moves *moves = &ref_referral_moves;
    assert_int_equal(CN_COUNT(LEGAL),
                     ref__referral__status__descriptor.n_values + 1);
    for (size_t i = 0; i < CN_COUNT(LEGAL); i++) {
        for (size_t j = 0; j < moves->count; j++) {
            const char *command = moves->rows[j].command;
            char word[40];
            (void)snprintf(word, sizeof(word), " %s ", command);
            assert_int_equal(cn_move_find(moves, command, (int)LEGAL[i].from) !=
                                 NULL,
                             strstr(LEGAL[i].commands, word) != NULL);
        }
    }
}

static void the_open_states_are_those_before_admission(void **state)
{
    (void)state;
    size_t count = 0;
    for (size_t i = 1; i < CN_COUNT(LEGAL); i++) {
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
    struct cn_record *record; /* of the referral, its patient beside it */
    struct cn_err *err;
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
    f.record = cn_arena_alloc(f.arena, sizeof(*f.record));
    f.record->resource = &ref__referral__resource;
    f.record->body = f.referral;
    f.record->shown = f.referral;
    f.record->also = ZONE;
    f.record->beside = cn_arena_alloc(f.arena, sizeof(*f.record));
    f.record->beside->body = f.patient;
    f.err = cn_arena_alloc(f.arena, sizeof(*f.err));
    return f;
}

/* Evaluates the referral. True: it became valid by this. */
static bool settle(const struct facts *f, int64_t now_at)
{
    struct cn_op op = { .arena = f->arena, .now_at = now_at, .err = f->err };
    f->record->event_count = 0;
    referral_settle(&op, f->record, &C01);
    assert_int_equal(f->err->code, CN_OK);
    return f->record->event_count == 1 &&
           strcmp(f->record->events[0], "referral.validated") == 0;
}

static enum cn_code pass(const struct facts *f, const char *command)
{
    struct cn_op op = { .arena = f->arena, .err = f->err };
    referral_pass(&op, f->record, command);
    return f->err->code;
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
        MISSING[i].drop(&f);
        bool validated = settle(&f, at("2026-06-01T15:00:00Z"));
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
    static const char *const COMMANDS[] = { "validate", "accept" };
    for (size_t i = 0; i < CN_COUNT(MISSING) - 1; i++) {
        for (size_t j = 0; j < CN_COUNT(COMMANDS); j++) {
            struct facts f = complete_facts();
            MISSING[i].drop(&f);
            assert_int_equal(pass(&f, COMMANDS[j]), CN_CONFLICT);
            assert_string_equal(f.err->word, "guard_failed");
            assert_int_equal(f.err->field_count, 1);
            assert_string_equal(f.err->fields[0].word, MISSING[i].guard);
            assert_non_null(strstr(f.err->msg, MISSING[i].guard));
            cn_arena_free(f.arena);
        }
    }
}

static void a_complete_referral_becomes_valid_and_due(void **state)
{
    (void)state;
    struct facts f = complete_facts();
    int64_t now_at = at("2026-06-01T15:00:00Z");
    assert_true(settle(&f, now_at));
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
    f.patient->time_zone = "America/Denver";
    assert_true(settle(&f, at("2026-06-01T15:00:00Z")));
    assert_string_equal(f.referral->time_zone, "America/Denver");
    assert_non_null(strstr(f.referral->soc_due_why, "MDT"));
    cn_arena_free(f.arena);
}

static void what_becomes_missing_again_lapses_but_keeps_its_clock(void **state)
{
    (void)state;
    struct facts f = complete_facts();
    int64_t first_at = at("2026-06-01T15:00:00Z");
    int64_t later_at = first_at + CN_HOUR;
    assert_true(settle(&f, first_at));
    drop_disciplines(&f);
    assert_false(settle(&f, later_at));
    assert_int_equal(f.referral->status, STATUS(INCOMPLETE));
    assert_int_equal(f.referral->valid_at, first_at);
    f.referral->n_disciplines = 1;
    assert_true(settle(&f, later_at));
    assert_int_equal(f.referral->valid_at, first_at);
    assert_int_equal(f.referral->soc_due_at, first_at + 48 * CN_HOUR);
    cn_arena_free(f.arena);
}

/* ---- commands ---- */

static const struct {
    Ref__Referral__Status from;
    const char *command;
    Ref__Referral__Status to; /* 0: illegal_state */
    bool validated;
} PASSAGES[] = {
    { STATUS(CAPTURED), "validate", STATUS(VALID), true },
    { STATUS(MATCHING), "validate", STATUS(VALID), true },
    { STATUS(INCOMPLETE), "validate", STATUS(VALID), true },
    { STATUS(VALID), "validate", STATUS(VALID), false },
    { STATUS(REVIEW), "validate", 0, false },
    { STATUS(ACCEPTED), "validate", 0, false },
    { STATUS(CAPTURED), "accept", STATUS(ACCEPTED), true },
    { STATUS(MATCHING), "accept", STATUS(ACCEPTED), true },
    { STATUS(INCOMPLETE), "accept", STATUS(ACCEPTED), true },
    { STATUS(VALID), "accept", STATUS(ACCEPTED), false },
    { STATUS(VERIFYING), "accept", STATUS(ACCEPTED), false },
    { STATUS(REVIEW), "accept", STATUS(ACCEPTED), false },
    { STATUS(ACCEPTED), "accept", 0, false },
    { STATUS(SOC_SCHEDULED), "accept", 0, false },
    { STATUS(DECLINED), "accept", 0, false },
    { STATUS(ADMITTED), "accept", 0, false },
    { STATUS(WITHDRAWN), "accept", 0, false },
    { STATUS(CLOSED), "accept", 0, false },
    { STATUS(CAPTURED), "decline", STATUS(DECLINED), false },
    { STATUS(ACCEPTED), "decline", STATUS(DECLINED), false },
    { STATUS(DECLINED), "decline", 0, false },
    { STATUS(ADMITTED), "decline", 0, false },
};

static void commands_pass_the_states_between_or_are_illegal(void **state)
{
    (void)state;
    for (size_t i = 0; i < CN_COUNT(PASSAGES); i++) {
        struct facts f = complete_facts();
        CN_SET(f.referral, status, PASSAGES[i].from);
        enum cn_code rc = pass(&f, PASSAGES[i].command);
        bool validated = false;
        for (unsigned j = 0; j < f.record->event_count; j++) {
            validated = validated ||
                        strcmp(f.record->events[j], "referral.validated") == 0;
        }
        if (PASSAGES[i].to == 0) {
            assert_int_equal(rc, CN_CONFLICT);
            assert_string_equal(f.err->word, "illegal_state");
        } else {
            assert_int_equal(rc, CN_OK);
            assert_int_equal(f.referral->status, PASSAGES[i].to);
            assert_int_equal(validated, PASSAGES[i].validated);
        }
        cn_arena_free(f.arena);
    }
}

static void an_incomplete_decline_needs_no_validity(void **state)
{
    (void)state;
    struct facts f = complete_facts();
    drop_name(&f);
    assert_int_equal(pass(&f, "decline"), CN_OK);
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
        { "Nguy\xE1\xBB\x85n", "nguyen" },
        { "Nguye\xCC\x82\xCC\x83n", "nguyen" },
        { "\xC8\x98tefan", "stefan" },
        { "\xEF\xAC\x81nn", "finn" },
        { "\xEF\xBC\xA1\xEF\xBD\x82", "ab" },
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
    assert_int_equal(patient_keys(f.arena, f.patient, systems, values, 5), 1);
    /* As it is compared. */
    assert_string_equal(systems[0], "hosp");
    assert_string_equal(values[0], "1");
    cn_arena_free(f.arena);
}

static void a_number_is_one_however_its_blanks_are_written(void **state)
{
    static const char *const FORMS[][2] = {
        { "General Hospital", "P 100" },
        { " GENERAL  hospital\xC2\xA0", "P\xC2\xA0 100\xE3\x80\x80" },
        { "general\xC2\xA0hospital", "P\t100" },
        { "general \xE2\x80\x8Bhospital", "\xEF\xBB\xBFP 1\xE2\x81\xA0"
                                          "00" },
        { "\xEF\xBD\x87"
          "eneral hospital",
          "P \xEF\xBC\x91"
          "00" },
    };
    struct cn_arena *arena = cn_arena_new(64 << 10);
    (void)state;
    for (size_t i = 0; i < CN_COUNT(FORMS); i++) {
        assert_string_equal(key_system(arena, FORMS[i][0]), "general hospital");
        assert_string_equal(key_value(arena, FORMS[i][1]), "P 100");
    }
    assert_string_not_equal(key_value(arena, "P100"), "P 100");
    assert_string_equal(key_value(arena, " \xC2\xA0"), "");
    assert_null(key_value(arena, NULL));
    cn_arena_free(arena);
}

/* "family|given|suffix|birth date|sex"; what is empty is not known. */
static Ref__Patient *person_of(struct cn_arena *arena, const char *text)
{
    Ref__Patient *patient = CN_NEW(arena, ref__patient, Ref__Patient);
    const char *part[5] = { NULL };
    for (size_t i = 0; i < CN_COUNT(part); i++) {
        size_t size = strcspn(text, "|");
        part[i] = size > 0 ? cn_arena_strndup(arena, text, size) : NULL;
        text += size + (text[size] == '|');
    }
    patient->name = CN_NEW(arena, ref__patient__name, Ref__Patient__Name);
    patient->name->family = part[0];
    patient->name->given = cn_arena_array(arena, 1, sizeof(void *));
    patient->name->given[0] = part[1];
    patient->name->n_given = part[1] != NULL ? 1 : 0;
    patient->name->suffix = part[2];
    patient->birth_date = part[3];
    if (part[4] != NULL) {
        CN_SET(patient, sex,
               part[4][0] == 'f' ? REF__PATIENT__SEX__FEMALE
                                 : REF__PATIENT__SEX__MALE);
    }
    return patient;
}

static void two_people_are_one_only_when_nothing_contradicts_it(void **state)
{
    static const struct {
        const char *a;
        const char *b;
        enum person_match match;
    } ROWS[] = {
        { "Alder|Amy||1943-01-05|f", "Alder|Amy||1943-01-05|f", PERSON_SAME },
        { "Alder|Amy||1943-01-05", "alder|AMY Beth||1943-01-05", PERSON_SAME },
        { "Alder|Amy", "Alder|A", PERSON_SAME },
        { "Alder|Amy||1943-01-05|f", "Birch|Ben||1958-09-11|m", PERSON_OTHER },
        { "Alder|Amy||1943-01-05", "Alder|Amy||1943-01-06", PERSON_OTHER },
        { "Alder|Amy||1943-01-05", "Alder|Ann||1943-01-05", PERSON_OTHER },
        /* A new family name, by marriage. */
        { "Alder|Amy||1943-01-05|f", "Cedar|Amy||1943-01-05|f", PERSON_SAME },
        { "Alder|Amy||1943-01-05", "Cedar|Amy||1943-01-05", PERSON_SAME },
        { "Alder|Kim||1943-01-05|f", "Cedar|Kim||1943-01-05|m", PERSON_OTHER },
        { "Alder|Amy", "Cedar|Amy", PERSON_OTHER },
        /* Father and son. */
        { "Alder|Al|Sr", "Alder|Al|Jr", PERSON_OTHER },
        { "Alder|Al|Sr|1943-01-05", "Alder|Al|Jr|1943-01-05", PERSON_SAME },
        /* Nobody can tell. */
        { "Alder|Amy", "", PERSON_UNKNOWN },
        { "Alder||||", "Alder|Amy", PERSON_UNKNOWN },
        { "|||1943-01-05", "|||1943-01-05", PERSON_UNKNOWN },
        { "|Amy||1943-01-05", "Alder|Amy||1943-01-05", PERSON_SAME },
    };
    struct cn_arena *arena = cn_arena_new(1 << 20);
    (void)state;
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        const Ref__Patient *a = person_of(arena, ROWS[i].a);
        const Ref__Patient *b = person_of(arena, ROWS[i].b);
        assert_int_equal(person_compare(arena, a, b), ROWS[i].match);
        assert_int_equal(person_compare(arena, b, a), ROWS[i].match);
    }
    cn_arena_free(arena);
}

static void a_number_that_nobody_has_is_a_placeholder(void **state)
{
    static const char *const PLACEHOLDERS[] = { "UNKNOWN",  "unknown", "0",
                                                "00000",    "NA",      "N/A",
                                                "TEST",     "99999",   "-",
                                                "123456789" };
    static const char *const NUMBERS[] = { "7",  "77",     "12345",
                                           "A1", "100000", "UNKNOWN1",
                                           "",   "90210" };
    (void)state;
    for (size_t i = 0; i < CN_COUNT(PLACEHOLDERS); i++) {
        assert_true(identifier_is_placeholder(PLACEHOLDERS[i]));
    }
    for (size_t i = 0; i < CN_COUNT(NUMBERS); i++) {
        assert_false(identifier_is_placeholder(NUMBERS[i]));
    }
    assert_false(identifier_is_placeholder(NULL));
}

static void
a_referral_in_doubt_waits_until_a_person_has_said_who_it_is(void **state)
{
    (void)state;
    struct facts f = complete_facts();
    CN_SET(f.referral, identity, REF__REFERRAL__IDENTITY__DISPUTED);
    referral_warn(f.arena, f.referral, "identity_disputed");
    assert_false(settle(&f, at("2026-06-01T15:00:00Z")));
    assert_int_equal(f.referral->status, STATUS(MATCHING));
    assert_false(f.referral->has_valid_at);
    assert_int_equal(pass(&f, "accept"), CN_CONFLICT);
    assert_string_equal(f.err->word, "guard_failed");
    assert_string_equal(f.err->fields[0].pointer, "/identity");
    *f.err = (struct cn_err){ 0 };
    referral_identify(f.arena, f.referral, REF__REFERRAL__IDENTITY__DIFFERENT);
    assert_int_equal(f.referral->n_warnings, 0);
    assert_true(settle(&f, at("2026-06-01T16:00:00Z")));
    assert_int_equal(f.referral->status, STATUS(VALID));
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
        cmocka_unit_test(the_table_of_moves_knows_the_legal_ones_alone),
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
        cmocka_unit_test(a_number_is_one_however_its_blanks_are_written),
        cmocka_unit_test(two_people_are_one_only_when_nothing_contradicts_it),
        cmocka_unit_test(a_number_that_nobody_has_is_a_placeholder),
        cmocka_unit_test(
            a_referral_in_doubt_waits_until_a_person_has_said_who_it_is),
        cmocka_unit_test(only_listed_reasons_decline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
