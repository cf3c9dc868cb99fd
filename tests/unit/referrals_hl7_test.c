/* SPDX-License-Identifier: Apache-2.0 */
/* ER7 read and acknowledged, REF^I12 as a referral. */
#include "common/base/array.h"
#include "common/base/clock.h"
#include "services/referrals/hl7.h"
#include "services/referrals/hl7_referral.h"
#include "services/referrals/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the four above it. */
#include <cmocka.h>

enum { ARENA_SIZE = 8 << 20, FILE_MAX = 1 << 20 };
static const char ZONE[] = "America/Chicago";

static int setup(void **state)
{
    *state = cn_arena_new(ARENA_SIZE);
    return *state == NULL;
}

static int teardown(void **state)
{
    cn_arena_free(*state);
    return 0;
}

static struct cn_bytes bytes_of(const char *text)
{
    return (struct cn_bytes){ (const uint8_t *)text, strlen(text) };
}

static int64_t now_at(void)
{
    int64_t at = 0;
    assert_true(cn_time_parse("2026-11-22T10:00:00Z", &at));
    return at;
}

static enum cn_code parse(struct cn_arena *arena,
                          const char *text,
                          struct hl7 *message,
                          struct hl7_fault *fault)
{
    struct cn_err err = { 0 };
    return hl7_parse(arena, hl7_normalise(arena, bytes_of(text)), message,
                     fault, &err);
}

static struct hl7 parsed(struct cn_arena *arena, const char *text)
{
    struct hl7 message;
    struct hl7_fault fault = { 0 };
    assert_int_equal(parse(arena, text, &message, &fault), CN_OK);
    return message;
}

/* A file of the folder CAIRN_SHARED or ../shared; skipped when it does not
 * exist. */
static const char *shared_file(struct cn_arena *arena, const char *name)
{
    const char *shared = getenv("CAIRN_SHARED");
    const char *path = cn_arena_printf(
        arena, "%s/data/hl7v2/%s", shared != NULL ? shared : "../shared", name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        print_message("skipped: no %s\n", name);
        skip();
        return NULL;
    }
    char *text = cn_arena_alloc(arena, FILE_MAX);
    size_t size = fread(text, 1, FILE_MAX - 1, file);
    text[size] = '\0';
    (void)fclose(file);
    return text;
}

static const char *own_file(struct cn_arena *arena)
{
    FILE *file = fopen("tests/data/referral.hl7", "rb");
    assert_non_null(file);
    char *text = cn_arena_alloc(arena, FILE_MAX);
    size_t size = fread(text, 1, FILE_MAX - 1, file);
    text[size] = '\0';
    (void)fclose(file);
    return text;
}

/* ---- reading ---- */

static const char HEADER[] =
    "MSH|^~\\&|APP|FAC^1.2^ISO|US|HERE|20260101||REF^I12|C1|P|2.8";

static void line_ends_of_every_kind_are_one_message(void **state)
{
    static const char *const TEXTS[] = {
        "MSH|^~\\&|A\rPID|1\rNK1|2",
        "MSH|^~\\&|A\nPID|1\nNK1|2\n",
        "MSH|^~\\&|A\r\nPID|1\r\nNK1|2\r\n",
        "\xEF\xBB\xBFMSH|^~\\&|A\r\n\r\nPID|1\n\nNK1|2\r\r",
        "\x0BMSH|^~\\&|A\rPID|1\rNK1|2\r\x1C\r",
    };
    for (size_t i = 0; i < CN_COUNT(TEXTS); i++) {
        struct cn_bytes text = hl7_normalise(*state, bytes_of(TEXTS[i]));
        assert_int_equal(text.size, strlen(TEXTS[0]));
        assert_memory_equal(text.data, TEXTS[0], text.size);
    }
}

static void delimiters_come_from_the_header(void **state)
{
    struct hl7 message =
        parsed(*state, "MSH#*!?%#A*B%C#F\rPID#1##one*two!three*fo?S?ur%x");
    const struct hl7_segment *pid = hl7_segment(&message, "PID", 1);
    assert_string_equal(hl7_text(&message, pid, 3, 1, 1), "one");
    assert_string_equal(hl7_text(&message, pid, 3, 1, 2), "two");
    assert_string_equal(hl7_text(&message, pid, 3, 2, 1), "three");
    assert_string_equal(hl7_text(&message, pid, 3, 2, 2), "fo*ur");
    assert_int_equal(hl7_repetitions(&message, pid, 3), 2);
    assert_string_equal(hl7_text(&message, message.segments, 3, 1, 2), "B");
    assert_string_equal(hl7_text(&message, message.segments, 1, 1, 1), "#");
}

static void what_is_absent_empty_or_null_is_no_text(void **state)
{
    struct hl7 message = parsed(*state, "MSH|^~\\&|A\rPID|1||\"\"| |x");
    const struct hl7_segment *pid = hl7_segment(&message, "PID", 1);
    for (int field = 2; field <= 4; field++) {
        assert_null(hl7_text(&message, pid, field, 1, 1));
    }
    assert_null(hl7_text(&message, pid, 6, 1, 1));
    assert_null(hl7_text(&message, pid, 5, 2, 1));
    assert_null(hl7_text(&message, pid, 5, 1, 2));
    assert_null(hl7_text(&message, NULL, 1, 1, 1));
    assert_null(hl7_segment(&message, "PID", 2));
    assert_int_equal(hl7_repetitions(&message, pid, 2), 0);
}

static void repetitions_past_the_bound_are_not_read(void **state)
{
    char *text = cn_arena_printf(*state, "%s\rPID|1||%*s", HEADER, 50000, "");
    memset(text + strlen(text) - 50000, '~', 50000);
    struct hl7 message = parsed(*state, text);
    assert_int_equal(
        hl7_repetitions(&message, hl7_segment(&message, "PID", 1), 3),
        HL7_REPETITIONS_MAX);
}

static void escapes_are_undone(void **state)
{
    static const char *const ROWS[][2] = {
        { "a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f", "a|b^c&d~e\\f" },
        { "one\\.br\\two", "one\ntwo" },
        { "\\H\\bold\\N\\ text", "bold text" },
        { "\\X4A4b\\", "JK" },
        { "\\XC3A9\\", "\xC3\xA9" },
        { "\\X00\\x", "?x" },
        { "\\XFF\\x", "?x" },
        { "\\X4\\x\\X4G\\", "x" },
        { "\\Zanything\\x", "x" },
        { "open \\F", "open \\F" },
    };
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        char text[200];
        (void)snprintf(text, sizeof(text), "MSH|^~\\&|A\rNTE|1||%s",
                       ROWS[i][0]);
        struct hl7 message = parsed(*state, text);
        const struct hl7_segment *nte = hl7_segment(&message, "NTE", 1);
        assert_string_equal(hl7_text(&message, nte, 3, 1, 1), ROWS[i][1]);
    }
}

static void character_sets_are_taken_converted_or_refused_by_name(void **state)
{
    static const struct {
        const char *set;
        const char *name;     /* as sent */
        const char *expected; /* NULL: refused */
        const char *named;    /* in the fault */
    } ROWS[] = {
        { "", "M\xC3\xBCller", "M\xC3\xBCller", NULL },
        { "", "M\xFCller", NULL, "UTF-8" },
        { "ASCII", "Miller", "Miller", NULL },
        { "UNICODE UTF-8", "M\xC3\xBCller", "M\xC3\xBCller", NULL },
        { "8859/1", "M\xFCller", "M\xC3\xBCller", NULL },
        { "8859/2", "Miller", NULL, "8859/2" },
        { "GB 18030-2000", "Miller", NULL, "GB 18030-2000" },
        { "Everyman", "Miller", NULL, "not supported" },
    };
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        char text[300];
        struct hl7 message;
        struct hl7_fault fault = { 0 };
        (void)snprintf(text, sizeof(text), "%s||||||%s\rPID|1||||%s", HEADER,
                       ROWS[i].set, ROWS[i].name);
        enum cn_code rc = parse(*state, text, &message, &fault);
        if (ROWS[i].expected != NULL) {
            assert_int_equal(rc, CN_OK);
            assert_string_equal(
                hl7_text(&message, hl7_segment(&message, "PID", 1), 5, 1, 1),
                ROWS[i].expected);
            continue;
        }
        assert_int_equal(rc, CN_INVALID);
        assert_string_equal(fault.ack, "AR");
        assert_int_equal(fault.field, 18);
        assert_non_null(strstr(fault.text, ROWS[i].named));
        assert_null(strstr(fault.text, "Everyman"));
        assert_string_equal(hl7_text(&message, message.segments, 10, 1, 1),
                            "C1");
    }
}

static void what_is_no_usable_message_is_refused(void **state)
{
    static const struct {
        const char *text;
        const char *ack;
        int code;
    } ROWS[] = {
        { "MSH", "AR", HL7_DATA_TYPE },
        { "MSH|", "AR", HL7_DATA_TYPE },
        { "MSHx^~\\&|", "AR", HL7_DATA_TYPE },
        { "MSH|^^\\&|", "AR", HL7_DATA_TYPE },
        { "MSH|^~\\&#%|", "AR", HL7_DATA_TYPE },
        { "MSH|^~\\&|A\rnonsense", "AE", HL7_SEGMENT_SEQUENCE },
        { "MSH|^~\\&|A\rPIDX|1", "AE", HL7_SEGMENT_SEQUENCE },
        { "MSH|^~\\&|A\rPI", "AE", HL7_SEGMENT_SEQUENCE },
    };
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        struct hl7 message;
        struct hl7_fault fault = { 0 };
        assert_int_equal(parse(*state, ROWS[i].text, &message, &fault),
                         CN_INVALID);
        assert_string_equal(fault.ack, ROWS[i].ack);
        assert_int_equal(fault.code, ROWS[i].code);
    }
    assert_false(hl7_begins(bytes_of("{\"a\": 1}")));
    assert_false(hl7_begins(bytes_of("")));
}

static void a_header_too_long_to_repeat_is_refused(void **state)
{
    char text[400];
    struct hl7 message;
    struct hl7_fault fault = { 0 };
    (void)snprintf(text, sizeof(text), "MSH|^~\\&|%0300d|F", 0);
    assert_int_equal(parse(*state, text, &message, &fault), CN_INVALID);
    assert_int_equal(fault.code, HL7_VALUE_TOO_LONG);
    const struct hl7_ack ack = {
        .code = fault.ack, .control_id = "X", .at = now_at(), .fault = &fault
    };
    assert_true(hl7_ack_write(&message, &ack).size < 200);
}

/* ---- answering ---- */

static void an_acknowledgement_swaps_and_names(void **state)
{
    struct hl7 message = parsed(*state, HEADER);
    const struct hl7_ack ack = {
        .code = "AA", .control_id = "OWN1", .at = now_at(), .text = "ref_1"
    };
    static const char EXPECTED[] =
        "MSH|^~\\&|US|HERE|APP|FAC^1.2^ISO|20261122100000+0000||ACK^I12^ACK|"
        "OWN1|P|2.8||||||UNICODE UTF-8\rMSA|AA|C1|ref_1\r";
    struct cn_bytes written = hl7_ack_write(&message, &ack);
    assert_int_equal(written.size, strlen(EXPECTED));
    assert_memory_equal(written.data, EXPECTED, written.size);
    /* What we write, we read. */
    struct hl7 back = parsed(*state, EXPECTED);
    assert_string_equal(hl7_text(&back, back.segments, 18, 1, 1),
                        "UNICODE UTF-8");
}

static void a_refusal_says_where_and_why(void **state)
{
    struct hl7 message = parsed(*state, HEADER);
    const struct hl7_fault fault = { .ack = "AE",
                                     .segment = "PID",
                                     .sequence = 1,
                                     .field = 0,
                                     .code = 100,
                                     .text = "a|b" };
    const struct hl7_ack ack = {
        .code = "AE", .control_id = "OWN1", .at = now_at(), .fault = &fault
    };
    struct cn_bytes written = hl7_ack_write(&message, &ack);
    struct hl7 back =
        parsed(*state, cn_arena_strndup(*state, (const char *)written.data,
                                        written.size));
    const struct hl7_segment *err = hl7_segment(&back, "ERR", 1);
    assert_string_equal(hl7_text(&back, err, 2, 1, 1), "PID");
    assert_string_equal(hl7_text(&back, err, 2, 1, 2), "1");
    assert_null(hl7_text(&back, err, 2, 1, 3));
    assert_string_equal(hl7_text(&back, err, 3, 1, 1), "100");
    assert_string_equal(hl7_text(&back, err, 4, 1, 1), "E");
    assert_string_equal(hl7_text(&back, err, 8, 1, 1), "a|b");
    assert_string_equal(hl7_text(&back, hl7_segment(&back, "MSA", 1), 1, 1, 1),
                        "AE");
}

/* ---- REF^I12 ---- */

struct read {
    Ref__Referral *referral;
    Ref__Patient *patient;
    struct hl7_fault fault;
    enum cn_code rc;
};

static struct read read_referral(struct cn_arena *arena, const char *text)
{
    struct read r = { 0 };
    struct cn_err err = { 0 };
    struct hl7 message = parsed(arena, text);
    r.rc = hl7_referral_read(&message, ZONE, now_at(), &r.referral, &r.patient,
                             &r.fault, &err);
    return r;
}

static void assert_missing(struct cn_arena *arena,
                           const struct read *r,
                           const char *const *fields,
                           size_t count)
{
    referral_missing_set(arena, r->referral, r->patient);
    assert_int_equal(r->referral->n_missing, count);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(r->referral->missing[i]->field, fields[i]);
    }
}

static void a_real_referral_gives_what_it_says_and_no_more(void **state)
{
    static const char *const MISSING[] = { "ordering_physician.agrees_to_sign",
                                           "disciplines", "source.email" };
    const char *text = shared_file(*state, "REF-I12-01.hl7");
    struct read r = read_referral(*state, text);
    assert_int_equal(r.rc, CN_OK);
    const Ref__Referral *referral = r.referral;
    assert_string_equal(referral->source->external_id, "226839");
    assert_string_equal(referral->source->system, "EPIC");
    assert_string_equal(referral->source->organization, "GOOD HEALTH HOSPITAL");
    assert_string_equal(referral->source->contact_name, "ROBERT POWELL");
    assert_string_equal(referral->source->phone, "(626)555-1234");
    assert_null(referral->source->email);
    assert_string_equal(referral->ordering_physician->name, "ROBERT POWELL");
    assert_false(referral->ordering_physician->has_agrees_to_sign);
    assert_int_equal(referral->n_diagnoses, 1);
    assert_string_equal(referral->diagnoses[0]->system, "icd-10-cm");
    assert_string_equal(referral->diagnoses[0]->code, "K63.3");
    assert_string_equal(referral->diagnoses[0]->display, "Ulcer of Intestine");
    assert_string_equal(referral->payer->name,
                        "Blue Cross Blue Shield of Texas");
    assert_string_equal(referral->payer->member_id, "548851236L");
    assert_int_equal(referral->n_disciplines, 0);
    assert_int_equal(referral->n_warnings, 1);
    assert_string_equal(referral->warnings[0], "expired_on_arrival");
    assert_string_equal(referral->sent_at, "202201251620+0000");
    assert_string_equal(referral->sent_effective, "20220125");
    assert_string_equal(referral->sent_expires, "20220210");
    assert_string_equal(referral->sent_processed, "20220125");
    assert_missing(*state, &r, MISSING, CN_COUNT(MISSING));
}

static void a_real_patient_is_read_with_shifted_fields(void **state)
{
    const char *text = shared_file(*state, "REF-I12-01.hl7");
    struct read r = read_referral(*state, text);
    const Ref__Patient *patient = r.patient;
    assert_string_equal(patient->name->family, "EVERYMAN");
    assert_int_equal(patient->name->n_given, 2);
    assert_string_equal(patient->name->given[0], "ADAM");
    assert_string_equal(patient->name->suffix, "III");
    assert_string_equal(patient->birth_date, "1961-06-15");
    assert_int_equal(patient->sex, REF__PATIENT__SEX__MALE);
    assert_string_equal(patient->address->lines[0], "115 MAINSTREET");
    assert_string_equal(patient->address->city, "GOODTOWN");
    assert_string_equal(patient->address->state, "KY");
    assert_string_equal(patient->address->postal_code, "42010");
    assert_int_equal(patient->n_phones, 1);
    assert_string_equal(patient->phones[0], "270 6009800");
    assert_null(patient->email);
    assert_string_equal(patient->language, "en");
    assert_int_equal(patient->n_identifiers, 2);
    assert_string_equal(patient->identifiers[0]->system, "ADT1");
    assert_string_equal(patient->identifiers[0]->value, "PATID1234");
    assert_null(patient->identifiers[0]->type);
    assert_string_equal(patient->identifiers[1]->system, "USSSA");
    assert_string_equal(patient->identifiers[1]->type, "SS");
    assert_int_equal(patient->n_contacts, 1);
    assert_string_equal(patient->contacts[0]->name, "MARY DOE");
    assert_string_equal(patient->contacts[0]->relationship, "mother");
    assert_string_equal(patient->contacts[0]->phone, "(555) 555-2004");
}

static void our_own_sample_lacks_only_the_agreement_to_sign(void **state)
{
    static const char *const MISSING[] = {
        "ordering_physician.agrees_to_sign"
    };
    struct read r = read_referral(*state, own_file(*state));
    assert_int_equal(r.rc, CN_OK);
    assert_int_equal(r.referral->n_warnings, 0);
    assert_string_equal(r.referral->source->email,
                        "discharge@hospital.example");
    assert_string_equal(r.referral->source->fax, "270 5550101");
    assert_string_equal(r.referral->ordering_physician->npi, "1234567893");
    assert_string_equal(r.referral->discharge_date, "2026-11-20");
    assert_int_equal(r.referral->n_disciplines, 1);
    assert_int_equal(r.referral->disciplines[0], REF__REFERRAL__DISCIPLINE__RN);
    assert_string_equal(r.referral->payer->type, "commercial");
    assert_string_equal(r.patient->email, "sam.testpatient@patient.example");
    assert_missing(*state, &r, MISSING, CN_COUNT(MISSING));
}

static void a_referral_without_a_patient_is_an_error_of_content(void **state)
{
    struct read r = read_referral(*state, HEADER);
    assert_int_equal(r.rc, CN_INVALID);
    assert_string_equal(r.fault.ack, "AE");
    assert_string_equal(r.fault.segment, "PID");
    assert_int_equal(r.fault.code, 100);
}

static void texts_that_are_too_long_are_shortened_at_a_character(void **state)
{
    char text[1000];
    int used = snprintf(text, sizeof(text), "%s\rPID|1||||", HEADER);
    for (int i = 0; i < 60; i++) {
        used += snprintf(text + used, sizeof(text) - (size_t)used, "\xC3\xA9");
    }
    (void)snprintf(text + used, sizeof(text) - (size_t)used, "x");
    struct read r = read_referral(*state, text);
    assert_int_equal(r.rc, CN_OK);
    assert_int_equal(strlen(r.patient->name->family), 100);
    assert_string_equal(r.referral->warnings[0], "text_shortened");
}

static void an_id_that_is_too_long_is_refused(void **state)
{
    char text[400];
    (void)snprintf(text, sizeof(text), "%s\rRF1||||||%0101d\rPID|1", HEADER, 0);
    struct read r = read_referral(*state, text);
    assert_int_equal(r.rc, CN_INVALID);
    assert_string_equal(r.fault.segment, "RF1");
    assert_int_equal(r.fault.code, HL7_VALUE_TOO_LONG);
}

static void a_referral_expires_at_the_end_of_its_local_day(void **state)
{
    /* Noon UTC of the 22nd is the 22nd in Chicago. */
    static const struct {
        const char *expires;
        size_t warnings;
    } ROWS[] = { { "20261121", 1 },
                 { "20261122", 0 },
                 { "20261123", 0 },
                 { "nonsense", 0 },
                 { "", 0 } };
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        char text[300];
        (void)snprintf(text, sizeof(text), "%s\rRF1||||||||%s\rPID|1", HEADER,
                       ROWS[i].expires);
        struct read r = read_referral(*state, text);
        assert_int_equal(r.referral->n_warnings, ROWS[i].warnings);
    }
}

static void only_ref_i12_is_a_referral(void **state)
{
    static const struct {
        const char *type;
        bool taken;
    } ROWS[] = {
        { "REF^I12^REF_I12", true }, { "REF^I12", true }, { "REF^I14", false },
        { "ADT^A01", false },        { "REF", false },    { "", false }
    };
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        char text[200];
        (void)snprintf(text, sizeof(text), "MSH|^~\\&|||||||%s|1",
                       ROWS[i].type);
        struct hl7 message = parsed(*state, text);
        assert_int_equal(hl7_is_referral(&message), ROWS[i].taken);
    }
}

/* The Nth allocation fails, for every N: an error, never a crash. */
static void lack_of_memory_is_an_error(void **state)
{
    const char *text = own_file(*state);
    enum cn_code rc = CN_NOMEM;
    for (unsigned n = 1; rc != CN_OK && n < 1000; n++) {
        struct cn_arena *arena = cn_arena_new(ARENA_SIZE);
        struct hl7 message;
        struct hl7_fault fault = { 0 };
        struct cn_err err = { 0 };
        Ref__Referral *referral = NULL;
        Ref__Patient *patient = NULL;
        cn_arena_fail_at(arena, n);
        struct cn_bytes normal = hl7_normalise(arena, bytes_of(text));
        rc = hl7_parse(arena, normal, &message, &fault, &err);
        if (rc == CN_OK) {
            rc = hl7_referral_read(&message, ZONE, now_at(), &referral,
                                   &patient, &fault, &err);
        }
        if (rc != CN_OK) {
            assert_int_equal(rc, CN_NOMEM);
        }
        cn_arena_free(arena);
    }
    assert_int_equal(rc, CN_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(line_ends_of_every_kind_are_one_message),
        TEST(delimiters_come_from_the_header),
        TEST(what_is_absent_empty_or_null_is_no_text),
        TEST(repetitions_past_the_bound_are_not_read),
        TEST(escapes_are_undone),
        TEST(character_sets_are_taken_converted_or_refused_by_name),
        TEST(what_is_no_usable_message_is_refused),
        TEST(a_header_too_long_to_repeat_is_refused),
        TEST(an_acknowledgement_swaps_and_names),
        TEST(a_refusal_says_where_and_why),
        TEST(a_real_referral_gives_what_it_says_and_no_more),
        TEST(a_real_patient_is_read_with_shifted_fields),
        TEST(our_own_sample_lacks_only_the_agreement_to_sign),
        TEST(a_referral_without_a_patient_is_an_error_of_content),
        TEST(texts_that_are_too_long_are_shortened_at_a_character),
        TEST(an_id_that_is_too_long_is_refused),
        TEST(a_referral_expires_at_the_end_of_its_local_day),
        TEST(only_ref_i12_is_a_referral),
        TEST(lack_of_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
