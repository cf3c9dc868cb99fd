/* SPDX-License-Identifier: Apache-2.0 */
/* Who gets which message, its words, and when it is tried again. */
#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/contract/service.h"
#include "common/wire/message.h"
#include "services/notifications/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
/* cmocka needs the three above it. */
#include <cmocka.h>

/* 2026-03-09 21:00 in New York. */
static const int64_t AT = 1773104400 * CN_SECOND;

static Ntf__Care care_of_a_booked_referral(void)
{
    Ntf__Care care = NTF__CARE__INIT;
    care.referral_id = "ref_00000000000000000000000001";
    care.patient_id = "pat_00000000000000000000000001";
    care.source_organization = "Example Hospital";
    care.source_email = "discharge@hospital.example";
    care.external_id = "EXT-1";
    care.patient_given = "Pat";
    care.patient_email = "pat@home.example";
    care.language = "en";
    care.time_zone = "America/New_York";
    care.clinician_name = "Example Nurse";
    CN_SET(&care, accepted, 1);
    CN_SET(&care, soc_due_at, AT);
    CN_SET(&care, soc_starts_at, AT);
    return care;
}

/* ---- who ---- */

static void
the_source_is_told_of_the_acceptance_the_patient_of_the_visit(void **state)
{
    static const struct {
        int accepted; /* -1: not known */
        bool booked;
        size_t count;
    } ROWS[] = {
        { -1, false, 0 }, { -1, true, 0 }, { 0, true, 0 },
        { 1, false, 1 },  { 1, true, 2 },
    };
    struct telling tellings[2];
    (void)state;
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        Ntf__Care care = care_of_a_booked_referral();
        care.has_accepted = ROWS[i].accepted >= 0;
        care.accepted = ROWS[i].accepted > 0;
        care.has_soc_starts_at = ROWS[i].booked;
        assert_int_equal(care_tellings(&care, tellings), ROWS[i].count);
    }
    Ntf__Care care = care_of_a_booked_referral();
    care.patient_email = NULL;
    assert_int_equal(care_tellings(&care, tellings), 2);
    assert_int_equal(tellings[0].audience,
                     NTF__MESSAGE__AUDIENCE__REFERRAL_SOURCE);
    assert_string_equal(tellings[0].template, "referral_accepted");
    assert_string_equal(tellings[0].address, "discharge@hospital.example");
    assert_int_equal(tellings[1].audience, NTF__MESSAGE__AUDIENCE__PATIENT);
    assert_string_equal(tellings[1].template, "soc_booked");
    assert_null(tellings[1].address);
}

static void an_address_is_one_plain_address(void **state)
{
    static const struct {
        const char *address;
        bool usable;
    } ROWS[] = {
        { "pat@home.example", true },
        { "pat+care@home.example", true },
        { "o'hara@home.example", true },
        { "", false },
        { "pat", false },
        { "@home.example", false },
        { "pat@", false },
        { "pat@home@example", false },
        { "pat @home.example", false },
        { "pat@home.example\r\nBcc: x@y.example", false },
        { "pat@home.example,other@home.example", false },
        { "<pat@home.example>", false },
        { "Pat <pat@home.example>", false },
        { "\"pat\"@home.example", false },
        { "p\xc3\xa1t@home.example", false },
        { "pat@home.example\x7f", false },
    };
    char longest[260];
    (void)state;
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        if (address_usable(ROWS[i].address) != ROWS[i].usable) {
            fail_msg("row %zu", i);
        }
    }
    assert_string_equal(address_fault(NULL), "no_address");
    assert_string_equal(address_fault("pat"), "bad_address");
    assert_null(address_fault("pat@home.example"));
    memset(longest, 'a', sizeof(longest));
    longest[1] = '@';
    longest[254] = '\0';
    assert_true(address_usable(longest));
    longest[254] = 'a';
    longest[255] = '\0';
    assert_false(address_usable(longest));
}

/* ---- in which words ---- */

static const char *written(struct cn_arena *arena,
                           const char *template,
                           const Ntf__Care *care,
                           const char **ret_subject)
{
    const char *text = NULL;
    assert_true(template_write(arena, template, care, ret_subject, &text));
    return text;
}

/* Lines end with CR LF, none is longer than a mail may hold, no control
 * characters, and the subject is ASCII. */
static void assert_mail(const char *subject, const char *text)
{
    size_t line = 0;
    size_t size = strlen(text);
    assert_true(size > 2);
    assert_string_equal(text + size - 2, "\r\n");
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '\r') {
            assert_int_equal(text[i + 1], '\n');
            line = 0;
            i++;
            continue;
        }
        assert_true(c >= ' ' && c != 0x7f);
        assert_true(++line < 998);
    }
    for (size_t i = 0; subject[i] != '\0'; i++) {
        assert_true(subject[i] >= ' ' && subject[i] < 0x7f);
    }
}

static const char *const TEMPLATES[] = {
    "referral_accepted",     "soc_booked",
    "referral_declined",     "referral_withdrawn",
    "referral_not_admitted", "care_not_started"
};

static void each_template_is_crlf_text_in_each_language(void **state)
{
    static const char *const LANGUAGES[] = { "en", "es", "es-mx", "vi", NULL };
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    (void)state;
    for (size_t i = 0; i < CN_COUNT(TEMPLATES); i++) {
        for (size_t j = 0; j < CN_COUNT(LANGUAGES); j++) {
            for (int known = 0; known < 2; known++) {
                Ntf__Care care = care_of_a_booked_referral();
                const char *subject = NULL;
                care.language = LANGUAGES[j];
                if (!known) {
                    care.patient_given = care.clinician_name = NULL;
                    care.external_id = care.time_zone = NULL;
                    care.has_soc_due_at = 0;
                }
                const char *text =
                    written(arena, TEMPLATES[i], &care, &subject);
                assert_mail(subject, text);
                assert_null(strstr(text, "(null)"));
            }
        }
    }
}

static void
the_end_is_told_to_the_source_and_to_whom_it_was_promised(void **state)
{
    static const struct {
        const char *ended;
        const char *reason;
        bool accepted;
        size_t count;
        const char *source; /* the template */
    } ROWS[] = {
        { "declined", "no_capacity", false, 1, "referral_declined" },
        { "declined", "no_capacity", true, 2, "referral_declined" },
        { "withdrawn", NULL, true, 2, "referral_withdrawn" },
        { "not_admitted", "patient_refused", true, 2, "referral_not_admitted" },
        /* Nobody writes to the dead. */
        { "declined", "deceased", true, 1, "referral_declined" },
    };
    struct telling tellings[CARE_TELLINGS_MAX];
    (void)state;
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        Ntf__Care care = care_of_a_booked_referral();
        care.ended = ROWS[i].ended;
        care.reason_code = ROWS[i].reason;
        CN_SET(&care, accepted, ROWS[i].accepted);
        assert_int_equal(care_tellings(&care, tellings), ROWS[i].count);
        assert_int_equal(tellings[0].audience,
                         NTF__MESSAGE__AUDIENCE__REFERRAL_SOURCE);
        assert_string_equal(tellings[0].template, ROWS[i].source);
        if (ROWS[i].count == 2) {
            assert_string_equal(tellings[1].template, "care_not_started");
            assert_string_equal(tellings[1].address, "pat@home.example");
        }
    }
}

static void
a_mail_tells_no_reason_that_is_about_the_patients_health(void **state)
{
    static const struct {
        const char *reason;
        const char *words;
    } ROWS[] = {
        { "no_capacity", "Reason: we have nobody free in time." },
        { "payer_not_accepted", "Reason: we do not work with this payer." },
        { "not_homebound", "Reason: please call us." },
        { "hospitalised", "Reason: please call us." },
        { "deceased", "Reason: please call us." },
        { NULL, "Reason: please call us." },
    };
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    (void)state;
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        Ntf__Care care = care_of_a_booked_referral();
        const char *subject = NULL;
        care.ended = "declined";
        care.reason_code = ROWS[i].reason;
        const char *text = written(arena, "referral_declined", &care, &subject);
        assert_non_null(strstr(text, ROWS[i].words));
        assert_null(strstr(text, "Pat"));
        assert_string_equal(subject, "Your referral was not accepted");
    }
}

static void a_patient_reads_their_own_language(void **state)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    Ntf__Care care = care_of_a_booked_referral();
    const char *subject = NULL;
    (void)state;
    const char *text = written(arena, "soc_booked", &care, &subject);
    assert_string_equal(text,
                        "Hello Pat,\r\n\r\nExample Nurse will visit you at"
                        " home on Mon 2026-03-09 21:00 EDT.\r\nIf this time"
                        " does not suit you, please call us.\r\n");
    assert_string_equal(template_language(&care), "en");
    care.language = "es";
    text = written(arena, "soc_booked", &care, &subject);
    assert_string_equal(text,
                        "Hola Pat:\r\n\r\nExample Nurse visitará su casa el"
                        " 2026-03-09 21:00 EDT.\r\nSi esta hora no le"
                        " conviene, llámenos, por favor.\r\n");
    assert_string_equal(subject, "Su primera visita en casa");
    assert_string_equal(template_language(&care), "es");
    care.language = "vi"; /* not among the templates yet */
    assert_string_equal(template_language(&care), "en");
}

/* A message names the patient by the given name alone, and one to the source
 * not even so. No message says what the care is for. */
static void a_mail_holds_no_more_than_it_must(void **state)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    Ntf__Care care = care_of_a_booked_referral();
    const char *subject = NULL;
    (void)state;
    /* Care may get more fields, but never a diagnosis. */
    for (unsigned i = 0; i < ntf__care__descriptor.n_fields; i++) {
        const char *name = ntf__care__descriptor.fields[i].name;
        assert_null(strstr(name, "diagnos"));
        assert_null(strstr(name, "family"));
        assert_null(strstr(name, "birth"));
        assert_null(strstr(name, "payer"));
    }
    for (size_t i = 0; i < CN_COUNT(TEMPLATES); i++) {
        const char *text = written(arena, TEMPLATES[i], &care, &subject);
        assert_null(strstr(text, care.patient_id));
        assert_null(strstr(text, care.patient_email));
        assert_null(strstr(subject, "Pat"));
    }
    const char *text = written(arena, "referral_accepted", &care, &subject);
    assert_null(strstr(text, "Pat"));
    assert_non_null(strstr(text, "EXT-1"));
    assert_non_null(strstr(text, "Mon 2026-03-09 21:00 EDT"));
}

static void an_unknown_zone_is_written_in_utc(void **state)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    Ntf__Care care = care_of_a_booked_referral();
    const char *subject = NULL;
    (void)state;
    care.time_zone = "Nowhere/Land";
    assert_non_null(strstr(written(arena, "soc_booked", &care, &subject),
                           "2026-03-10 01:00 UTC"));
}

static void without_a_template_there_is_no_text(void **state)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    Ntf__Care care = care_of_a_booked_referral();
    const char *subject = NULL;
    const char *text = NULL;
    (void)state;
    assert_false(template_write(arena, "greeting", &care, &subject, &text));
    assert_null(text);
}

/* ---- when again ---- */

static void waits_grow_until_the_attempts_are_used_up(void **state)
{
    static const enum channel_outcome AGAIN[] = { CHANNEL_DEFERRED,
                                                  CHANNEL_UNREACHABLE };
    (void)state;
    for (size_t i = 0; i < CN_COUNT(AGAIN); i++) {
        int64_t last = 0;
        int64_t sum = 0;
        for (size_t n = 1; n < SEND_ATTEMPTS_MAX; n++) {
            struct send_step step = send_next(AGAIN[i], n);
            assert_null(step.command);
            assert_null(step.reason_code);
            assert_true(step.retry_us > last);
            last = step.retry_us;
            sum += last;
        }
        /* The tries go on for longer than a night without a mail server. */
        assert_true(sum > 8 * CN_HOUR);
        struct send_step step = send_next(AGAIN[i], SEND_ATTEMPTS_MAX);
        assert_string_equal(step.command, "fail");
        assert_string_equal(step.reason_code, "attempts_exhausted");
    }
    assert_int_equal(send_next(CHANNEL_UNREACHABLE, 1).retry_us, 2 * CN_SECOND);
}

static void an_answer_for_good_ends_it_at_any_attempt(void **state)
{
    (void)state;
    for (size_t n = 1; n <= SEND_ATTEMPTS_MAX; n++) {
        struct send_step step = send_next(CHANNEL_ACCEPTED, n);
        assert_string_equal(step.command, "send");
        assert_null(step.reason_code);
        step = send_next(CHANNEL_REFUSED, n);
        assert_string_equal(step.command, "fail");
        assert_string_equal(step.reason_code, "refused");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            the_source_is_told_of_the_acceptance_the_patient_of_the_visit),
        cmocka_unit_test(an_address_is_one_plain_address),
        cmocka_unit_test(each_template_is_crlf_text_in_each_language),
        cmocka_unit_test(
            the_end_is_told_to_the_source_and_to_whom_it_was_promised),
        cmocka_unit_test(
            a_mail_tells_no_reason_that_is_about_the_patients_health),
        cmocka_unit_test(a_patient_reads_their_own_language),
        cmocka_unit_test(a_mail_holds_no_more_than_it_must),
        cmocka_unit_test(an_unknown_zone_is_written_in_utc),
        cmocka_unit_test(without_a_template_there_is_no_text),
        cmocka_unit_test(waits_grow_until_the_attempts_are_used_up),
        cmocka_unit_test(an_answer_for_good_ends_it_at_any_attempt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
