/* SPDX-License-Identifier: Apache-2.0 */
/* ER7 read and acknowledged, REF^I12 as a referral. */
#include "cairn/referrals.cairn.h"
#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/hl7/hl7.h"
#include "common/wire/json.h"
#include "services/referrals/hl7_referral.h"
#include "services/referrals/rules.h"
#include "services/referrals/warning.h"

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
                          struct cn_hl7 *message,
                          struct cn_hl7_fault *fault)
{
    struct cn_err err = { 0 };
    return cn_hl7_parse(arena, cn_hl7_normalise(arena, bytes_of(text)), NULL,
                        message, fault, &err);
}

static struct cn_hl7 parsed(struct cn_arena *arena, const char *text)
{
    struct cn_hl7 message;
    struct cn_hl7_fault fault = { 0 };
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
        struct cn_bytes text = cn_hl7_normalise(*state, bytes_of(TEXTS[i]));
        assert_int_equal(text.size, strlen(TEXTS[0]));
        assert_memory_equal(text.data, TEXTS[0], text.size);
    }
}

static void a_line_that_is_no_segment_belongs_to_the_field_before(void **state)
{
    static const struct {
        const char *text;
        const char *needs;
        bool joined;
    } ROWS[] = {
        { "MSH|^~\\&|A\rNTE|1||one\ntwo\rPID|1", "one\ntwo", false },
        { "MSH|^~\\&|A\nNTE|1||one\ntwo\nPID|1", "one\ntwo", false },
        { "MSH|^~\\&|A\rNTE|1||one\rtwo\rPID|1", "one\ntwo", true },
        { "MSH|^~\\&|A\rNTE|1||one\r\x1A\r  \rPID|1", "one", false },
        { "MSH|^~\\&|A\rNTE|1||one\r PID|1", "one", false },
        { "MSH|^~\\&|A\rNTE |1||one\rPID|1", "one", false },
        { "\r\n MSH|^~\\&|A\rNTE|1||one\rPID|1", "one", false },
        { "MSH|^~\\&|A\rnte|1||one\rpid|1", "one", false },
        { "FHS|^~\\&\rBHS|^~\\&\rMSH|^~\\&|A\rNTE|1||one\rPID|1\rBTS|1\rFTS|1",
          "one", false },
    };
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        struct cn_hl7 message = parsed(*state, ROWS[i].text);
        assert_int_equal(message.segment_count, 3);
        assert_string_equal(
            cn_hl7_text(&message, cn_hl7_segment(&message, "NTE", 1), 3, 1, 1),
            ROWS[i].needs);
        assert_non_null(cn_hl7_segment(&message, "PID", 1));
        assert_int_equal(message.marks->joined != NULL, ROWS[i].joined);
    }
}

static void delimiters_come_from_the_header(void **state)
{
    struct cn_hl7 message =
        parsed(*state, "MSH#*!?%#A*B%C#F\rPID#1##one*two!three*fo?S?ur%x");
    const struct cn_hl7_segment *pid = cn_hl7_segment(&message, "PID", 1);
    assert_string_equal(cn_hl7_text(&message, pid, 3, 1, 1), "one");
    assert_string_equal(cn_hl7_text(&message, pid, 3, 1, 2), "two");
    assert_string_equal(cn_hl7_text(&message, pid, 3, 2, 1), "three");
    assert_string_equal(cn_hl7_text(&message, pid, 3, 2, 2), "fo*ur");
    assert_int_equal(cn_hl7_repetitions(&message, pid, 3), 2);
    assert_string_equal(cn_hl7_text(&message, message.segments, 3, 1, 2), "B");
    assert_string_equal(cn_hl7_text(&message, message.segments, 1, 1, 1), "#");
}

static void what_is_absent_empty_or_null_is_no_text(void **state)
{
    struct cn_hl7 message = parsed(*state, "MSH|^~\\&|A\rPID|1||\"\"| |x");
    const struct cn_hl7_segment *pid = cn_hl7_segment(&message, "PID", 1);
    for (int field = 2; field <= 4; field++) {
        assert_null(cn_hl7_text(&message, pid, field, 1, 1));
    }
    assert_null(cn_hl7_text(&message, pid, 6, 1, 1));
    assert_null(cn_hl7_text(&message, pid, 5, 2, 1));
    assert_null(cn_hl7_text(&message, pid, 5, 1, 2));
    assert_null(cn_hl7_text(&message, NULL, 1, 1, 1));
    assert_null(cn_hl7_segment(&message, "PID", 2));
    assert_int_equal(cn_hl7_repetitions(&message, pid, 2), 0);
}

static void repetitions_past_the_bound_are_not_read(void **state)
{
    char *text = cn_arena_printf(*state, "%s\rPID|1||%*s", HEADER, 50000, "");
    memset(text + strlen(text) - 50000, '~', 50000);
    struct cn_hl7 message = parsed(*state, text);
    assert_int_equal(
        cn_hl7_repetitions(&message, cn_hl7_segment(&message, "PID", 1), 3),
        CN_HL7_REPETITIONS_MAX);
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
        { "\\X4\\x\\X4G\\", "\\X4\\x\\X4G\\" },
        { "\\Zanything\\x", "\\Zanything\\x" },
        { "open \\F", "open \\F" },
        { "C:\\Users\\F\\x", "C:\\Users|x" },
        { "a\\X0D0A\\b\\X0D\\c\\X0D\\\\X0A\\d", "a\nb\nc\nd" },
        { "a\\.sp\\b\\.ce\\c\\.sk2\\d\\.in+3\\e", "a\nb\nc d e" },
        { "a\\.spx\\b", "a\\.spx\\b" },
        { "\\X07\\a\\XC280\\b\\XE280A8\\c", "?a?b?c" },
        { "\xC2\xA0 a \xE3\x80\x80", "a" },
        { "a\\P\\b", "a#b" },
    };
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        char text[200];
        (void)snprintf(text, sizeof(text), "MSH|^~\\&|A\rNTE|1||%s",
                       ROWS[i][0]);
        struct cn_hl7 message = parsed(*state, text);
        const struct cn_hl7_segment *nte = cn_hl7_segment(&message, "NTE", 1);
        assert_string_equal(cn_hl7_text(&message, nte, 3, 1, 1), ROWS[i][1]);
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
        { "8859/1", "M\xC3\xBCller", "M\xC3\xBCller", NULL },
        { "8859/1", "O\x92Neil", "O\xE2\x80\x99Neil", NULL },
        { "8859/1", "N\\XFA\\\\XF1\\ez", "N\xC3\xBA\xC3\xB1\x65z", NULL },
        { "8859/2", "Miller", NULL, "8859/2" },
        { "GB 18030-2000", "Miller", NULL, "GB 18030-2000" },
        { "Everyman", "Miller", NULL, "not supported" },
    };
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        char text[300];
        struct cn_hl7 message;
        struct cn_hl7_fault fault = { 0 };
        (void)snprintf(text, sizeof(text), "%s||||||%s\rPID|1||||%s", HEADER,
                       ROWS[i].set, ROWS[i].name);
        enum cn_code rc = parse(*state, text, &message, &fault);
        if (ROWS[i].expected != NULL) {
            assert_int_equal(rc, CN_OK);
            assert_string_equal(cn_hl7_text(&message,
                                            cn_hl7_segment(&message, "PID", 1),
                                            5, 1, 1),
                                ROWS[i].expected);
            continue;
        }
        assert_int_equal(rc, CN_INVALID);
        assert_string_equal(fault.ack, "AR");
        assert_int_equal(fault.field, 18);
        assert_non_null(strstr(fault.text, ROWS[i].named));
        assert_null(strstr(fault.text, "Everyman"));
        assert_string_equal(cn_hl7_text(&message, message.segments, 10, 1, 1),
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
        { "MSH", "AR", CN_HL7_DATA_TYPE },
        { "MSH|", "AR", CN_HL7_DATA_TYPE },
        { "MSHx^~\\&|", "AR", CN_HL7_DATA_TYPE },
        { "MSH|^^\\&|", "AR", CN_HL7_DATA_TYPE },
        { "MSH|^~\\&#%|", "AR", CN_HL7_DATA_TYPE },
        { "MSH|^~\\&|A\rPID|1\rMSH|^~\\&|B", "AE", CN_HL7_SEGMENT_SEQUENCE },
        { "MSH|^~\\&|A\rPID|1\rMSH#*!?%#B", "AE", CN_HL7_SEGMENT_SEQUENCE },
        { "MSH|^~\\&|A\nPID|1\nMSH#*!?%#B", "AE", CN_HL7_SEGMENT_SEQUENCE },
        { "FHS|^~\\&|A\rBHS|^~\\&|A\rBTS|0", "AR", CN_HL7_DATA_TYPE },
    };
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        struct cn_hl7 message;
        struct cn_hl7_fault fault = { 0 };
        assert_int_equal(parse(*state, ROWS[i].text, &message, &fault),
                         CN_INVALID);
        assert_string_equal(fault.ack, ROWS[i].ack);
        assert_int_equal(fault.code, ROWS[i].code);
    }
    assert_false(cn_hl7_begins(bytes_of("{\"a\": 1}")));
    assert_false(cn_hl7_begins(bytes_of("")));
}

static void a_header_too_long_to_repeat_is_refused(void **state)
{
    char text[400];
    struct cn_hl7 message;
    struct cn_hl7_fault fault = { 0 };
    (void)snprintf(text, sizeof(text), "MSH|^~\\&|%0300d|F", 0);
    assert_int_equal(parse(*state, text, &message, &fault), CN_INVALID);
    assert_int_equal(fault.code, CN_HL7_VALUE_TOO_LONG);
    const struct cn_hl7_ack ack = {
        .code = fault.ack, .control_id = "X", .at = now_at(), .fault = &fault
    };
    assert_true(cn_hl7_ack_write(&message, &ack).size < 200);
}

/* ---- answering ---- */

static void an_acknowledgement_swaps_and_names(void **state)
{
    struct cn_hl7 message = parsed(*state, HEADER);
    const struct cn_hl7_ack ack = {
        .code = "AA", .control_id = "OWN1", .at = now_at(), .text = "ref_1"
    };
    static const char EXPECTED[] =
        "MSH|^~\\&|US|HERE|APP|FAC^1.2^ISO|20261122100000+0000||ACK^I12^ACK|"
        "OWN1|P|2.8||||||UNICODE UTF-8\rMSA|AA|C1|ref_1\r";
    struct cn_bytes written = cn_hl7_ack_write(&message, &ack);
    assert_int_equal(written.size, strlen(EXPECTED));
    assert_memory_equal(written.data, EXPECTED, written.size);
    /* What we write, we read. */
    struct cn_hl7 back = parsed(*state, EXPECTED);
    assert_string_equal(cn_hl7_text(&back, back.segments, 18, 1, 1),
                        "UNICODE UTF-8");
}

/* A line feed inside a field is text; repeated by us, "MSA|" would begin a
 * segment. Found by fuzzing. */
static void
an_acknowledgement_is_one_message_whatever_the_header_holds(void **state)
{
    struct cn_hl7 message = parsed(*state, "MSH|^~\\&|APP\nMSA\rPID|1\rRF1|1");
    const struct cn_hl7_ack ack = { .code = "AA",
                                    .control_id = "OWN1",
                                    .at = now_at() };
    struct cn_bytes written = cn_hl7_ack_write(&message, &ack);
    struct cn_hl7 back =
        parsed(*state, cn_arena_strndup(*state, (const char *)written.data,
                                        written.size));
    assert_string_equal(cn_hl7_text(&back, back.segments, 5, 1, 1), "APP MSA");
    assert_int_equal(back.segment_count, 2);
    assert_string_equal(
        cn_hl7_text(&back, cn_hl7_segment(&back, "MSA", 1), 1, 1, 1), "AA");
}

static void a_refusal_says_where_and_why(void **state)
{
    struct cn_hl7 message = parsed(*state, HEADER);
    const struct cn_hl7_fault fault = { .ack = "AE",
                                        .segment = "PID",
                                        .sequence = 1,
                                        .field = 0,
                                        .code = 100,
                                        .text = "a|b" };
    const struct cn_hl7_ack ack = {
        .code = "AE", .control_id = "OWN1", .at = now_at(), .fault = &fault
    };
    struct cn_bytes written = cn_hl7_ack_write(&message, &ack);
    struct cn_hl7 back =
        parsed(*state, cn_arena_strndup(*state, (const char *)written.data,
                                        written.size));
    const struct cn_hl7_segment *err = cn_hl7_segment(&back, "ERR", 1);
    assert_string_equal(cn_hl7_text(&back, err, 2, 1, 1), "PID");
    assert_string_equal(cn_hl7_text(&back, err, 2, 1, 2), "1");
    assert_null(cn_hl7_text(&back, err, 2, 1, 3));
    assert_string_equal(cn_hl7_text(&back, err, 3, 1, 1), "100");
    assert_string_equal(cn_hl7_text(&back, err, 4, 1, 1), "E");
    assert_string_equal(cn_hl7_text(&back, err, 8, 1, 1), "a|b");
    assert_string_equal(
        cn_hl7_text(&back, cn_hl7_segment(&back, "MSA", 1), 1, 1, 1), "AE");
}

/* ---- REF^I12 ---- */

struct read {
    Ref__Referral *referral;
    Ref__Patient *patient;
    struct cn_hl7_fault fault;
    enum cn_code rc;
};

static struct read read_referral(struct cn_arena *arena, const char *text)
{
    struct read r = { 0 };
    struct cn_err err = { 0 };
    struct cn_hl7 message = parsed(arena, text);
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
    static const char *const WARNINGS[] = { "expired_on_arrival",
                                            "value_not_kept",
                                            "value_not_understood",
                                            "segment_not_kept" };
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
    assert_int_equal(referral->n_warnings, CN_COUNT(WARNINGS));
    for (size_t i = 0; i < CN_COUNT(WARNINGS); i++) {
        assert_string_equal(referral->warnings[i], WARNINGS[i]);
    }
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
    assert_int_equal(patient->n_phones, 2);
    assert_string_equal(patient->phones[0], "270 6009800");
    assert_string_equal(patient->phones[1], "89898989");
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
    assert_string_equal(patient->contacts[0]->work_phone, "(555)555-2005");
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
    for (int i = 0; i < 110; i++) {
        used += snprintf(text + used, sizeof(text) - (size_t)used, "\xC3\xA9");
    }
    (void)snprintf(text + used, sizeof(text) - (size_t)used, "x");
    struct read r = read_referral(*state, text);
    assert_int_equal(r.rc, CN_OK);
    /* Limits count characters: these have two bytes each. */
    assert_int_equal(strlen(r.patient->name->family), 200);
    assert_string_equal(r.referral->warnings[0], "text_shortened");
    assert_string_equal(r.referral->warning_details[0]->field, "PID-5");
}

static void an_id_that_is_too_long_is_refused(void **state)
{
    char text[400];
    (void)snprintf(text, sizeof(text), "%s\rRF1||||||%0101d\rPID|1", HEADER, 0);
    struct read r = read_referral(*state, text);
    assert_int_equal(r.rc, CN_INVALID);
    assert_string_equal(r.fault.segment, "RF1");
    assert_int_equal(r.fault.code, CN_HL7_VALUE_TOO_LONG);
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
                 { "nonsense", 1 },
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
        struct cn_hl7 message = parsed(*state, text);
        assert_int_equal(hl7_is_referral(&message), ROWS[i].taken);
    }
}

/* ---- nothing vanishes ---- */

/* Is the word in the text? Numbers are looked for by their digits alone, words
 * whatever their case. */
static bool is_kept(const char *json, const char *word)
{
    size_t size = strlen(word);
    if (strspn(word, "0123456789") < size) {
        return strcasestr(json, word) != NULL;
    }
    for (const char *at = json; *at != '\0'; at++) {
        size_t same = 0;
        for (const char *c = at; *c != '\0' && same < size; c++) {
            if (*c == word[same]) {
                same++;
            } else if (strchr("-() .x,/^", *c) == NULL) {
                break;
            }
        }
        if (same == size) {
            return true;
        }
    }
    return false;
}

/* Forms of each field that is read; a form has its words behind it, which must
 * be kept or be in a warning about the field. */
static const struct {
    const char *segment;
    int field;
    const char *form;
    const char *words; /* in what is kept, apart by blanks */
} FORMS[] = {
    { "PID", 3, "A123", "A123" },
    { "PID", 3, "A123^^^HOSP", "A123 HOSP" },
    { "PID", 3, "A123^^^HOSP&1.2.3&ISO^MR", "A123 HOSP" },
    { "PID", 3, "A123^^^&1.2.3&ISO^PI", "A123 1.2.3" },
    { "PID", 3, "A123^4^M10^HOSP^MR~B456^^^OTHER^VN", "A123 B456 OTHER" },
    { "PID", 3, "^^^HOSP^MR", "HOSP" },
    { "PID", 3, "A123^^^^^PLACE", "A123 PLACE" },
    { "PID", 2, "A123^^^HOSP", "A123 HOSP" },
    { "PID", 4, "A123", "A123" },
    { "PID", 5, "Alder", "Alder" },
    { "PID", 5, "Alder^Amy^Beth^III", "Alder Amy Beth III" },
    { "PID", 5, "Van Alder&Van&Alder^Amy", "Van Alder Amy" },
    { "PID", 5, "&Van&Alder^Amy", "Van Alder Amy" },
    { "PID", 5, "Alder^Amy^^^^^L~Birch^Bee^^^^^M", "Alder Amy Birch Bee" },
    { "PID", 5, "^^^^^^L", "" },
    { "PID", 5, "?^?", "?" },
    { "PID", 5, "Alder^?", "Alder ?" },
    { "PID", 5, "^4711", "4711" },
    { "PID", 5, "Alder^Amy^B^III^Herr^RN^L", "Amy III Herr RN" },
    { "PID", 5, "Alder^Amy^^^^^L^^^^^^^CNA", "CNA" },
    { "PID", 5, "Alder^Amy & Beth", "Amy Beth" },
    { "PID", 5, "Alder&von&Elder&de&Oak", "Alder Elder Oak" },
    { "PID", 5, "&&&van&Birch^Amy", "van Birch" },
    { "PID", 9, "Elder^Willie", "Elder Willie" },
    { "PID", 2, "B456^^^HOSP~C789", "B456 C789" },
    { "PID", 3, "A123^^^HOSP^Good Health", "A123 Health" },
    { "PID", 3, "A123^^^HOSP^mr", "A123 mr" },
    { "PID", 3, "A123^^^HOSP^MR^PLACE", "A123 HOSP PLACE" },
    { "PID", 7, "19480229", "19480229" },
    { "PID", 7, "194802291530-0600", "19480229" },
    { "PID", 7, "1948", "1948" },
    { "PID", 7, "194802", "194802" },
    { "PID", 7, "02/29/1948", "02291948" },
    { "PID", 7, "19480101^Y", "19480101" },
    { "PID", 7, "19480101^L", "19480101" },
    { "PID", 7, "19480229^D", "19480229" },
    { "PID", 7, "19480229~19490101", "19480229 19490101" },
    { "PID", 7, "18500101", "18500101" },
    { "PID", 8, "F", "female" },
    { "PID", 8, "W", "W" },
    { "PID", 8, "^Female", "Female" },
    { "PID", 11, "1 Elm^Apt 2^Paducah^KY^42001^USA^H", "Elm Apt 42001 KY" },
    { "PID", 11, "1&Elm&^^Paducah", "Elm Paducah" },
    { "PID", 11, "&Elm&17^^Paducah^Kentucky^420019999", "17 KY 420019999" },
    { "PID", 11, "^^^Nowhere", "Nowhere" },
    { "PID", 11, "1 Elm^^Paducah^KY^42001^USA^H^Upper^KENTON", "Upper KENTON" },
    { "PID", 11, "1 Elm^^Paducah^KY^42001^USA^H^^^^^^^^^^^^c/o Bea^gate 4711",
      "Elm Bea 4711" },
    { "PID", 11, "1 Elm^^^^^^H^^^^^^^^^^Y~9 Oak^^^^^^M", "Elm Oak" },
    { "PID", 11, "1&Elm&2&extra", "Elm extra" },
    { "PID", 11, "1 Elm & 5th^^Paducah", "Elm 5th" },
    { "PID", 11, "1 Elm, Paducah, KY 42001", "Elm Paducah 42001" },
    { "PID", 11, "PO Box 7^^Paducah^Ky.^42001", "Box Ky. 42001" },
    { "PID", 11, "^^^^^GBR", "GBR" },
    { "PID", 11, "^^^^1234", "1234" },
    { "PID", 11, "1 Elm^^^^^^H~9 Oak^^^^^^M", "Elm Oak" },
    { "PID", 11, "1 Elm^^^^^^BDL", "Elm" },
    { "PID", 11, "1 Elm^^Turin^TO^10121^ITA", "Elm Turin 10121" },
    { "PID", 13, "(270)555-0140", "2705550140" },
    { "PID", 13, "(270)555-0140X12", "270555014012" },
    { "PID", 13, "270.555.0140 ext. 12", "270555014012" },
    { "PID", 13, "270/555-0140", "2705550140" },
    { "PID", 13, "tel:+1-270-555-0140", "12705550140" },
    { "PID", 13, "(270)555-0140B77C after five", "2705550140 five" },
    { "PID", 13, "^PRN^PH^^1^270^5550140^12", "270555014012" },
    { "PID", 13, "^PRN^PH^^44^20^79460000", "442079460000" },
    { "PID", 13, "^PRN^PH^^^^^^^^^2705550140", "2705550140" },
    { "PID", 13, "^PRN^PH^^^270^5550140^^ask for Bea", "2705550140 Bea" },
    { "PID", 13, "^NET^Internet^a@b.example", "a@b.example" },
    { "PID", 13, "a@b.example^NET^Internet", "a@b.example" },
    { "PID", 13, "mailto:a@b.example", "a@b.example" },
    { "PID", 13, "2705550140^PRN^PH^a@b.example", "2705550140 a@b.example" },
    { "PID", 13, "^NET^Internet^a@b.example~^NET^Internet^c@d.example",
      "a@b.example c@d.example" },
    { "PID", 13, "a at b", "at" },
    { "PID", 13, "^NET^Internet^a at b", "at" },
    { "PID", 13, "^PRN^PH^neighbour", "neighbour" },
    { "PID", 13, "(270)555-0140^PRN^PH^^1^270^5550199",
      "2705550140 2705550199" },
    { "PID", 13, "^PRN^PH^^1^270^5550199^^^^^2705550140",
      "2705550140 2705550199" },
    { "PID", 13, "^PRN^PH^^1^270^5550199^12^^x^*77", "270555019912 77" },
    { "PID", 13, "(270)555-0142X7^PRN^PH^^^^^9", "27055501427 9" },
    { "PID", 13, "^PRN^PH^^1^270^", "270" },
    { "PID", 13, "a@b.example^NET^Internet^c@d.example",
      "a@b.example c@d.example" },
    { "PID", 13, "Amy <a@b.example>", "a@b.example" },
    { "PID", 13, "^WPN^BP^^^270^5550140", "2705550140 BP" },
    { "PID", 13, "270-555-0140/270-555-0141", "2705550140 value_doubtful" },
    { "PID", 13, "5550", "5550" },
    { "PID", 13, "1-800-FLOWERS", "FLOWERS" },
    { "PID", 13, "none", "none" },
    { "PID", 13, "^PRN^FX^^^270^5550140", "2705550140" },
    { "PID", 14, "^WPN^PH^^^270^5550140", "2705550140" },
    { "PID", 40, "^PRS^CP^^^270^5550140", "2705550140" },
    { "PID", 15, "EN", "en" },
    { "PID", 15, "eng^English^ISO639", "en" },
    { "PID", 15, "es-MX", "es" },
    { "PID", 15, "Klingonese", "Klingonese" },
    { "PID", 15, "en~fr", "en fr" },
    { "PID", 29, "20261119", "20261119" },
    { "PID", 30, "Y", "patient_deceased" },
    { "PV1", 36, "20^Expired", "patient_deceased" },
    { "PRD", 2, "Doe^Dana^Q^Jr", "Doe Dana Jr" },
    { "PRD", 2, "Doe^Dana^^^Prof^NP", "Doe Prof NP" },
    { "PRD", 2, "123", "123" },
    { "PRD", 2, "Smith & Jones^Dana & Bo", "Smith Jones Dana Bo" },
    { "PRD", 2, "Doe^Dana~Roe^Robin", "Doe Roe" },
    { "PRD", 6, "FX^Fax", "Fax" },
    { "PRD", 7, "PLN1001^SL", "PLN1001" },
    { "PRD", 7, "1234567893", "1234567893" },
    { "PRD", 7, "1234567893^NPI~99^DEA", "1234567893 DEA" },
    { "PRD", 10, "Here~There", "Here There" },
    { "PRD", 5, "^WPN^PH^^^270^5550150~^WPN^FX^^^270^5550151",
      "2705550150 2705550151" },
    { "PRD", 5, "^WPN^PH^^^270^5550150~^WPN^PH^^^270^5550152",
      "2705550150 2705550152" },
    { "PRD", 7, "1234567893^NPI", "1234567893" },
    { "PRD", 7, "1234567893^^^&2.16.840.1.113883.4.6&ISO", "1234567893" },
    { "PRD", 7, "1234567890^NPI", "1234567890" },
    { "PRD", 10, "Smith & Sons Hospital", "Sons" },
    { "PRD", 13, "^WPN^PH^^^270^5550150", "2705550150" },
    { "NK1", 2, "Elder^Sam", "Elder Sam" },
    { "NK1", 2, "Elder^Sam & Bo", "Elder Sam Bo" },
    { "NK1", 2, "12", "12" },
    { "NK1", 3, "SPO^Spouse", "spo" },
    { "NK1", 3, "SPO", "spo" },
    { "NK1", 4, "1 Elm^^Paducah", "Elm Paducah" },
    { "NK1", 7, "EC^Emergency", "Emergency" },
    { "NK1", 13, "Home Help Inc", "Help" },
    { "NK1", 30, "Doe^Jane", "Doe Jane" },
    { "NK1", 31, "270-555-0177", "2705550177" },
    { "NK1", 37, "900-12-3456", "" },
    { "NK1", 5, "270-555-0160~270-555-0161~270-555-0162",
      "2705550160 2705550161 2705550162" },
    { "NK1", 6, "270-555-0160", "2705550160" },
    { "NK1", 40, "^NET^Internet^a@b.example", "a@b.example" },
    { "IN1", 2, "MCR", "MCR" },
    { "IN1", 2, "MCR^Medicare Part B", "Part" },
    { "IN1", 4, "Medicare Part A", "Medicare" },
    { "IN1", 4, "Medicare Part A~Other", "Medicare Other" },
    { "IN1", 8, "G-77", "G-77" },
    { "IN1", 13, "20200101", "20200101" },
    { "IN1", 14, "AUTH77^20260101", "AUTH77" },
    { "IN1", 15, "^HMO", "hmo" },
    { "IN1", 15, "HMO^plan", "hmo" },
    { "IN1", 36, "M-1", "M-1" },
    { "IN1", 49, "M-2", "M-2" },
    { "DG1", 3, "Z47.1^Aftercare^I10", "Z47.1 Aftercare icd-10-cm" },
    { "DG1", 3, "Z47.1^x^ICD-10-CM 2026", "icd-10-cm" },
    { "DG1", 3, "Z47.1^x^urn:oid:2.16.840.1.113883.6.90", "icd-10-cm" },
    { "DG1", 3, "^Aftercare", "Aftercare" },
    { "DG1", 3, "^^^Z47.1^Aftercare^I10C", "Z47.1 Aftercare icd-10-cm" },
    { "DG1", 3, "^^^^^^^^said so", "said" },
    { "DG1", 3, "^^I10", "I10" },
    { "DG1", 3, "Z47.1^Aftercare^I10^V54.81^Old^I9C", "Z47.1 V54.81 Old" },
    { "DG1", 3, "Z47.1^Aftercare^I10^^^^^^own words", "Aftercare words" },
    { "DG1", 3, "Z47.1~Z48.0", "Z47.1 Z48.0" },
    { "DG1", 4, "Aftercare", "Aftercare" },
    { "RF1", 3, "PT~OT", "pt ot" },
    { "RF1", 3, "Massage", "Massage" },
    { "RF1", 3, "Psy", "Psy" },
    { "RF1", 3, "PT^Therapy^L^^^^^^twice a week", "pt twice week" },
    { "RF1", 3, "^Physical Therapy", "Physical" },
    { "RF1", 1, "R^Rejected", "Rejected" },
    { "RF1", 2, "S^STAT", "STAT" },
    { "RF1", 4, "DS^Discharge Summary", "Summary" },
    { "RF1", 11, "X-7", "X-7" },
    { "RF1", 15, "12^visits", "12" },
    { "RF1", 20, "7^Doe^Dana", "Doe Dana" },
    { "RF1", 6, "R-1^SYS", "R-1 SYS" },
    { "RF1", 6, "R-1", "R-1" },
    { "RF1", 6, "^^R-1", "R-1" },
    { "RF1", 6, "^R-1", "R-1" },
    { "RF1", 8, "never", "never" },
    { "RF1", 10, "^Teaching", "Teaching" },
    { "RF1", 10, "FALL", "FALL" },
    { "RF1", 10, "S^Second Opinion^HL70336", "Second" },
    { "RF1", 10, "FALL^Fall^L^W19^Tumble", "Fall Tumble" },
    { "RF1", 14, "Take 5^2 & 3 pills", "5 2 3 pills" },
    { "RF1", 14, "Needs one~Needs two", "one two" },
    { "RF1", 24, "Reason text", "Reason" },
    { "NTE", 3, "A note~and another", "note another" },
    { "NTE", 3, "A^note & b", "note b" },
    { "NTE", 3, "one\\.br\\two\\X0A\\three\\Zxx\\", "one two three" },
    { "OBR", 4, "97110^Physical therapy", "97110 Physical" },
    { "OBR", 16, "7^Doe^Dana", "Doe Dana" },
    { "OBR", 13, "Relevant", "Relevant" },
    { "OBR", 31, "^Why so", "Why" },
    { "PV1", 45, "20261120", "20261120" },
    { "PV1", 45, "20261121003000+0000", "20261120" },
    { "PV1", 45, "2026112", "2026112" },
    { "PV1", 45, "2026112100+0000", "20261120" },
    { "PV1", 45, "20261121003000.1234-0000", "20261120" },
    { "PV1", 45, "20261120~20261122", "20261120 20261122" },
    { "PV1", 45, "20261101^L", "20261101" },
    { "PV1", 45, "60261120", "60261120" },
    { "PV1", 7, "7^Doe^Dana", "Doe Dana" },
    { "PV1", 8, "7^Doe^Dana", "Doe Dana" },
    { "PV1", 17, "7^Doe^Dana", "Doe Dana" },
    { "PV1", 37, "Home with aide", "aide" },
    { "AL1", 3, "^Penicillin", "Penicillin" },
    { "AUT", 2, "HC02", "HC02" },
    { "OBX", 5, "Positive", "Positive" },
    { "PR1", 3, "^Biopsy", "Biopsy" },
    { "GT1", 3, "Radiant^Lucy", "Radiant" },
    { "PD1", 4, "7^Primary", "Primary" },
    { "ZXX", 1, "own words", "words" },
    { "PV1", 45, "soon", "soon" },
};

static const char *form_message(struct cn_arena *arena, size_t row)
{
    char bars[64] = "";
    bool is_prd = strcmp(FORMS[row].segment, "PRD") == 0;
    memset(bars, '|', (size_t)FORMS[row].field);
    bars[FORMS[row].field] = '\0';
    return cn_arena_printf(
        arena, "%s\r%s%s%s%s%s", HEADER, FORMS[row].segment,
        is_prd ? "|RP" : "", is_prd ? bars + 1 : bars, FORMS[row].form,
        strcmp(FORMS[row].segment, "PID") == 0 ? "" : "\rPID|1");
}

/* One rule for both doors: what was read can be sent back as it is. */
static void assert_json_takes(struct cn_arena *arena,
                              const struct cn_buffer *json,
                              size_t row)
{
    Ref__Referral back = REF__REFERRAL__INIT;
    struct cn_json_mask mask = { 0 };
    struct cn_err err = { 0 };
    if (cn_json_read(arena, &ref__referral__shape, json->data, json->size - 1,
                     &back.base, &mask, &err) != CN_OK) {
        print_message("%s-%d %s: %s\n%s\n", FORMS[row].segment,
                      FORMS[row].field, FORMS[row].form, err.fields[0].pointer,
                      json->data);
        fail();
    }
}

static void what_a_field_says_is_kept_or_in_a_warning(void **state)
{
    for (size_t i = 0; i < CN_COUNT(FORMS); i++) {
        struct read r = read_referral(*state, form_message(*state, i));
        struct cn_buffer json;
        assert_int_equal(r.rc, CN_OK);
        r.referral->patient = r.patient;
        cn_buffer_init(&json, FILE_MAX);
        cn_json_write(&json, &ref__referral__shape, &r.referral->base);
        cn_buffer_add(&json, "", 1);
        char *words = cn_arena_strdup(*state, FORMS[i].words);
        char *rest = NULL;
        for (char *word = strtok_r(words, " ", &rest); word != NULL;
             word = strtok_r(NULL, " ", &rest)) {
            if (!is_kept(json.data, word)) {
                print_message("%s-%d %s: %s is not kept\n%s\n",
                              FORMS[i].segment, FORMS[i].field, FORMS[i].form,
                              word, json.data);
                fail();
            }
        }
        assert_json_takes(*state, &json, i);
        cn_buffer_done(&json);
    }
}

/* The main reason, and who pays first, are told by an order, not by the place
 * in the text. */
static void what_has_an_order_stands_in_it(void **state)
{
    static const char *const ORDERS[][3] = {
        { "DG1|1||A00^^I10", "DG1|2||B00^^I10", "A00" },
        { "DG1|2||A00^^I10", "DG1|1||B00^^I10", "B00" },
        { "DG1|1||A00^^I10||||||||||||2", "DG1|2||B00^^I10||||||||||||1",
          "B00" },
        { "DG1|||A00^^I10", "DG1|||B00^^I10", "A00" },
    };
    for (size_t i = 0; i < CN_COUNT(ORDERS); i++) {
        struct read r = read_referral(
            *state, cn_arena_printf(*state, "%s\rPID|1\r%s\r%s", HEADER,
                                    ORDERS[i][0], ORDERS[i][1]));
        assert_int_equal(r.referral->n_diagnoses, 2);
        assert_string_equal(r.referral->diagnoses[0]->code, ORDERS[i][2]);
    }
}

static void a_flood_of_segments_is_told_within_bounds(void **state)
{
    char *text = cn_arena_alloc(*state, FILE_MAX);
    size_t used = (size_t)snprintf(text, FILE_MAX, "%s\rPID|1", HEADER);
    for (int i = 0; i < 950; i++) {
        used += (size_t)snprintf(text + used, FILE_MAX - used,
                                 "\rZXX|%d|x^y~z|x^y~z|x^y~z\rNTE|1||a~b~c", i);
    }
    struct read r = read_referral(*state, text);
    assert_int_equal(r.rc, CN_OK);
    assert_int_equal(r.referral->n_warning_details, WARNING_DETAILS_MAX);
}

/* It was told that its delimiters are none. */
static void a_message_that_is_too_large_is_told_so(void **state)
{
    char *text = cn_arena_alloc(*state, CN_HL7_SIZE_MAX + 2);
    struct cn_hl7 message;
    struct cn_hl7_fault fault = { 0 };
    size_t head = (size_t)snprintf(text, CN_HL7_SIZE_MAX, "%s\rPID|", HEADER);
    memset(text + head, 'x', CN_HL7_SIZE_MAX + 1 - head);
    text[CN_HL7_SIZE_MAX + 1] = '\0';
    assert_int_equal(parse(*state, text, &message, &fault), CN_INVALID);
    assert_string_equal(fault.ack, "AR");
    assert_int_equal(fault.code, CN_HL7_VALUE_TOO_LONG);
    assert_non_null(strstr(fault.text, "1000000 bytes"));
    text[CN_HL7_SIZE_MAX] = '\0';
    assert_int_equal(parse(*state, text, &message, &fault), CN_OK);
}

static void what_never_ends_has_not_ended(void **state)
{
    struct read r =
        read_referral(*state, cn_arena_printf(*state,
                                              "%s\rRF1||||||||99991231\rPID|1\r"
                                              "IN1|1|||Payer|||||||||99991231",
                                              HEADER));
    assert_int_equal(r.referral->n_warnings, 0);
}

static void a_social_security_number_is_in_no_warning(void **state)
{
    static const char *const SEGMENTS[] = {
        "PID|1||A1^^^HOSP~900-12-3456^^^US-SSN^SS",
        "PID|1||A1^^^HOSP~900123456^^^HOSP^ss",
        "PID|1||A1^^^HOSP~900123456^^^BOARD&2.16.840.1.113883.4.1&ISO^PN",
        "PID|1||A1^^^HOSP~900123456^^^SSN#^Social Security^PLACE",
        "PID|1|900-12-3456|A1^^^HOSP",
        "PID|1||A1^^^HOSP||||||||||||||||900123456",
        "PID|1\rNK1|1|Elder^Sam|||||||||||||||||||||||||||||||||||900123456",
        "PID|1\rNK1|1|||||||||||||||||||||||||||||||||||x|900123456",
        "PID|1\rGT1|1||Radiant|||||||||900123456",
        "PID|1\rIN2|1|900123456",
        "PID|1\rZXX|900-12-3456",
    };
    for (size_t i = 0; i < CN_COUNT(SEGMENTS); i++) {
        struct read r = read_referral(
            *state, cn_arena_printf(*state, "%s\r%s", HEADER, SEGMENTS[i]));
        const Ref__Referral *referral = r.referral;
        for (size_t j = 0; j < referral->n_warning_details; j++) {
            assert_null(strstr(referral->warning_details[j]->sent, "3456"));
        }
        const char *systems[4];
        const char *values[4];
        size_t count = patient_keys(*state, r.patient, systems, values, 4);
        for (size_t j = 0; j < count; j++) {
            assert_string_equal(values[j], "A1");
        }
    }
}

/* The Nth allocation fails, for every N: an error, never a crash. */
static void lack_of_memory_is_an_error(void **state)
{
    const char *text = own_file(*state);
    enum cn_code rc = CN_NOMEM;
    for (unsigned n = 1; rc != CN_OK && n < 20000; n++) {
        struct cn_arena *arena = cn_arena_new(ARENA_SIZE);
        struct cn_hl7 message;
        struct cn_hl7_fault fault = { 0 };
        struct cn_err err = { 0 };
        Ref__Referral *referral = NULL;
        Ref__Patient *patient = NULL;
        cn_arena_fail_at(arena, n);
        struct cn_bytes normal = cn_hl7_normalise(arena, bytes_of(text));
        rc = cn_hl7_parse(arena, normal, NULL, &message, &fault, &err);
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
        TEST(a_line_that_is_no_segment_belongs_to_the_field_before),
        TEST(delimiters_come_from_the_header),
        TEST(what_is_absent_empty_or_null_is_no_text),
        TEST(repetitions_past_the_bound_are_not_read),
        TEST(escapes_are_undone),
        TEST(character_sets_are_taken_converted_or_refused_by_name),
        TEST(what_is_no_usable_message_is_refused),
        TEST(a_header_too_long_to_repeat_is_refused),
        TEST(an_acknowledgement_swaps_and_names),
        TEST(an_acknowledgement_is_one_message_whatever_the_header_holds),
        TEST(a_refusal_says_where_and_why),
        TEST(a_real_referral_gives_what_it_says_and_no_more),
        TEST(a_real_patient_is_read_with_shifted_fields),
        TEST(our_own_sample_lacks_only_the_agreement_to_sign),
        TEST(a_referral_without_a_patient_is_an_error_of_content),
        TEST(texts_that_are_too_long_are_shortened_at_a_character),
        TEST(an_id_that_is_too_long_is_refused),
        TEST(a_referral_expires_at_the_end_of_its_local_day),
        TEST(only_ref_i12_is_a_referral),
        TEST(what_a_field_says_is_kept_or_in_a_warning),
        TEST(what_has_an_order_stands_in_it),
        TEST(a_flood_of_segments_is_told_within_bounds),
        TEST(a_message_that_is_too_large_is_told_so),
        TEST(what_never_ends_has_not_ended),
        TEST(a_social_security_number_is_in_no_warning),
        TEST(lack_of_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
