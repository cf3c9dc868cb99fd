/* SPDX-License-Identifier: Apache-2.0 */
/* JSON to message and back: what is accepted, and each fault with its pointer.
 */
#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/wire/json.h"
#include "common/wire/message.h"

#include "cairn/events.cairn.h"
#include "cairn/referrals.cairn.h"
#include "cairn/scheduling.cairn.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* --- fixture --- */

static int arena_setup(void **state)
{
    *state = cn_arena_new(CN_ARENA_REQUEST_MAX);
    return *state != NULL ? 0 : -1;
}

static int arena_teardown(void **state)
{
    cn_arena_free(*state);
    return 0;
}

static enum cn_code read_sized(struct cn_arena *arena,
                               const struct cn_shape *shape,
                               const char *text,
                               size_t size,
                               void **ret_message,
                               struct cn_err *err)
{
    /* The text has a block of its own, so that reading past its end is
     * noticed. */
    char *copy = malloc(size > 0 ? size : 1);
    ProtobufCMessage *message = cn_message_new(arena, shape->descriptor);
    assert_non_null(copy);
    assert_non_null(message);
    if (size > 0) {
        memcpy(copy, text, size);
    }
    enum cn_code rc =
        cn_json_read(arena, shape, copy, size, message, NULL, err);
    free(copy);
    assert_int_equal(rc, err->code);
    *ret_message = message;
    return rc;
}

static void *
read_ok(struct cn_arena *arena, const struct cn_shape *shape, const char *text)
{
    struct cn_err err = { 0 };
    void *message = NULL;
    enum cn_code rc =
        read_sized(arena, shape, text, strlen(text), &message, &err);
    if (rc != CN_OK) {
        fail_msg("%s: %s %s %s", text, err.msg, err.fields[0].pointer,
                 err.fields[0].word);
    }
    return message;
}

/* In static memory until the next call. */
static const char *written(const struct cn_shape *shape, const void *message)
{
    static char text[65536];
    struct cn_buffer buffer;
    cn_buffer_init(&buffer, sizeof(text) - 1);
    cn_json_write(&buffer, shape, message);
    assert_false(buffer.failed);
    memcpy(text, buffer.data, buffer.size);
    text[buffer.size] = '\0';
    cn_buffer_done(&buffer);
    return text;
}

/* --- round trip --- */

static void what_is_read_is_written(void **state)
{
    static const struct {
        const struct cn_shape *shape;
        const char *text;
    } rows[] = {
        { &ref__patient__name__shape,
          "{\"family\":\"Zo\xc3\xab\",\"given\":[\"a\",\"b\"]}" },
        { &ref__patient__name__shape, "{\"given\":[]}" },
        { &ref__patient__contact__shape,
          "{\"relationship\":\"\",\"is_representative\":false}" },
        { &ref__accept_referral_request__shape,
          "{\"note\":\"\\\"\\\\\\n\\r\\t/\"}" },
        { &ref__decline_referral_request__shape,
          "{\"reason_code\":\"no_capacity\",\"note\":\"\xf0\x9f\x8c\xbf\"}" },
        { &ref__patient__commitment__shape,
          "{\"label\":\"dialysis\",\"weekdays\":[\"monday\",\"friday\"],"
          "\"from\":\"09:00\",\"to\":\"23:59\"}" },
        { &ref__referral__decision__shape,
          "{\"outcome\":\"accept\",\"decided_at\":"
          "\"2026-03-09T21:00:00.000001Z\"}" },
        { &ref__list_referrals_request__shape,
          "{\"status\":[\"soc_scheduled\"],\"limit\":-2147483648}" },
        { &evt__fetch_response__shape,
          "{\"events\":[{\"position\":{\"epoch\":-1,"
          "\"xid\":9223372036854775807,\"seq\":-9223372036854775808},"
          "\"event_id\":\"AAECAw==\",\"payload\":\"\"}]}" },
    };
    for (size_t i = 0; i < CN_COUNT(rows); i++) {
        void *message = read_ok(*state, rows[i].shape, rows[i].text);
        assert_string_equal(written(rows[i].shape, message), rows[i].text);
    }
}

static void what_stands_in_a_text_is_escaped(void **state)
{
    Ref__Patient__Contact contact = REF__PATIENT__CONTACT__INIT;
    (void)state;
    contact.name = "\"\\\b\f\n\r\t\x01/";
    assert_string_equal(written(&ref__patient__contact__shape, &contact),
                        "{\"name\":\"\\\"\\\\\\b\\f\\n\\r\\t\\u0001/\"}");
}

static void blanks_at_the_ends_of_a_text_are_not_kept(void **state)
{
    void *patient = read_ok(
        *state, &ref__patient__shape,
        "{\"identifiers\":[{\"system\":\" brook\",\"value\":\"P-1 \"}],"
        "\"name\":{\"family\":\"\\u00a0Doe\\u3000\",\"given\":[\" Jo \"]},"
        "\"phones\":[\"5550100\\n\"],\"email\":\" a@b.example\","
        "\"address\":{\"lines\":[\"\\u200b1 Way\"],\"city\":\" \"},"
        "\"language\":\" en-US\"}");
    assert_string_equal(
        written(&ref__patient__shape, patient),
        "{\"identifiers\":[{\"system\":\"brook\",\"value\":\"P-1\"}],"
        "\"name\":{\"family\":\"Doe\",\"given\":[\"Jo\"]},"
        "\"phones\":[\"5550100\"],\"email\":\"a@b.example\","
        "\"address\":{\"lines\":[\"1 Way\"],\"city\":\"\"},"
        "\"language\":\"en\",\"contacts\":[],\"commitments\":[]}");
}

static void a_limit_counts_characters_and_not_bytes(void **state)
{
    enum { CHARACTERS = 4000, CHARACTER_SIZE = 2 };
    static const char before[] = "{\"needs\":\"";
    static char text[sizeof(before) + CHARACTERS * CHARACTER_SIZE + 8];
    struct cn_err err = { 0 };
    void *message = NULL;
    size_t size = sizeof(before) - 1;
    memcpy(text, before, size);
    for (int i = 0; i < CHARACTERS; i++, size += CHARACTER_SIZE) {
        memcpy(text + size, "\xC3\xA9", CHARACTER_SIZE);
    }
    memcpy(text + size, "\"}", 3);
    Ref__Referral *referral = read_ok(*state, &ref__referral__shape, text);
    assert_int_equal(strlen(referral->needs), CHARACTERS * CHARACTER_SIZE);
    memcpy(text + size, "x\"}", 4);
    assert_int_equal(read_sized(*state, &ref__referral__shape, text,
                                strlen(text), &message, &err),
                     CN_INVALID);
    assert_string_equal(err.fields[0].word, "too_long");
}

static void null_counts_as_absent(void **state)
{
    void *patient =
        read_ok(*state, &ref__patient__shape,
                "{\"id\":null,\"name\":null,\"phones\":null,\"sex\":null}");
    assert_string_equal(written(&ref__patient__shape, patient),
                        "{\"identifiers\":[],\"phones\":[],\"contacts\":[],"
                        "\"commitments\":[]}");
}

static void times_in_other_offsets_are_kept_as_instants(void **state)
{
    Ref__Referral__Decision *decision =
        read_ok(*state, &ref__referral__decision__shape,
                "{\"decided_at\":\"2026-03-09T17:00:00-04:00\"}");
    int64_t at;
    assert_true(cn_time_parse("2026-03-09T21:00:00Z", &at));
    assert_true(decision->has_decided_at);
    assert_true(decision->decided_at == at);
}

/* --- faults --- */

struct fault_row {
    const struct cn_shape *shape;
    const char *text;
    const char *pointer;
    const char *word;
};

static void each_fault_has_its_pointer_and_word(void **state)
{
    static const struct cn_shape *const referral = &ref__referral__shape;
    static const struct cn_shape *const patient = &ref__patient__shape;
    static const struct fault_row rows[] = {
        { referral, "{\"nothing\":1}", "/nothing", "unknown_field" },
        { referral, "{\"nothing\":null}", "/nothing", "unknown_field" },
        { referral, "{\"patient\":{\"nothing\":1}}", "/patient/nothing",
          "unknown_field" },
        { referral, "{\"id\":\"ref_0\"}", "/id", "read_only_field" },
        { referral, "{\"patient\":{\"version\":3}}", "/patient/version",
          "read_only_field" },
        { referral, "{\"decision\":{}}", "/decision", "read_only_field" },
        { referral, "{\"needs\":1}", "/needs", "wrong_type" },
        { referral, "{\"patient\":[]}", "/patient", "wrong_type" },
        { referral, "{\"patient\":\"x\"}", "/patient", "wrong_type" },
        { referral, "{\"diagnoses\":{}}", "/diagnoses", "wrong_type" },
        { referral, "{\"diagnoses\":[{\"code\":\"A\"},1]}", "/diagnoses/1",
          "wrong_type" },
        { referral, "{\"diagnoses\":[null]}", "/diagnoses/0", "wrong_type" },
        { referral, "{\"diagnoses\":[{\"code\":\"A\"},{\"code\":7}]}",
          "/diagnoses/1/code", "wrong_type" },
        /* An object in a list that says nothing. */
        { referral, "{\"diagnoses\":[{}]}", "/diagnoses/0", "required" },
        { referral, "{\"diagnoses\":[{\"code\":null}]}", "/diagnoses/0",
          "required" },
        { referral, "{\"channel\":\"pigeon\"}", "/channel", "invalid_value" },
        { referral, "{\"channel\":\"API\"}", "/channel", "invalid_value" },
        { referral, "{\"channel\":\"\"}", "/channel", "invalid_value" },
        { referral, "{\"channel\":1}", "/channel", "wrong_type" },
        { referral, "{\"disciplines\":[\"rn\",\"xx\"]}", "/disciplines/1",
          "invalid_value" },
        { referral, "{\"return_home_at\":\"2026-03-09\"}", "/return_home_at",
          "invalid_time" },
        { referral, "{\"return_home_at\":1234}", "/return_home_at",
          "wrong_type" },
        { referral, "{\"ordered_soc_date\":\"2026-02-29\"}",
          "/ordered_soc_date", "invalid_date" },
        { referral, "{\"ordering_physician\":{\"npi\":\"1234567890\"}}",
          "/ordering_physician/npi", "invalid_value" },
        { patient, "{\"time_zone\":\"Mars/Olympus\"}", "/time_zone",
          "invalid_zone" },
        { patient, "{\"interpreter_needed\":1}", "/interpreter_needed",
          "wrong_type" },
        { patient, "{\"phones\":[\"555-0100\",\"none\"]}", "/phones/1",
          "invalid_value" },
        { patient, "{\"email\":\"a b@example.test\"}", "/email",
          "invalid_value" },
        { patient, "{\"address\":{\"state\":\"KYX\"}}", "/address/state",
          "too_long" },
        /* Names without a letter, and what no line of text holds. */
        { patient, "{\"name\":{\"family\":\" \"}}", "/name/family",
          "invalid_value" },
        { patient, "{\"name\":{\"family\":\"\"}}", "/name/family",
          "invalid_value" },
        { patient, "{\"name\":{\"given\":[\"Jo\",\"\\u00a0\"]}}",
          "/name/given/1", "invalid_value" },
        { patient, "{\"name\":{\"family\":\"12\"}}", "/name/family",
          "invalid_value" },
        { patient, "{\"name\":{\"family\":\"Do\\u0007e\"}}", "/name/family",
          "invalid_value" },
        { patient, "{\"name\":{\"given\":[\"Jo\\r\\nDoe\"]}}", "/name/given/0",
          "invalid_value" },
        { patient, "{\"identifiers\":[{\"value\":\"1\\u202e2\"}]}",
          "/identifiers/0/value", "invalid_value" },
        { patient, "{\"address\":{\"lines\":[\" \"]}}", "/address/lines/0",
          "invalid_value" },
        { patient, "{\"language\":\"english\"}", "/language", "invalid_value" },
        { referral, "{\"needs\":\"a\\u001bb\"}", "/needs", "invalid_value" },
        { referral, "{\"ordering_physician\":{\"name\":\"\\u200b\"}}",
          "/ordering_physician/name", "invalid_value" },
        /* Times and dates that cannot be. */
        { patient, "{\"birth_date\":\"2199-01-01\"}", "/birth_date",
          "invalid_date" },
        { patient, "{\"birth_date\":\"1899-12-31\"}", "/birth_date",
          "invalid_date" },
        { referral, "{\"ordered_soc_date\":\"9999-12-31\"}",
          "/ordered_soc_date", "invalid_date" },
        { referral, "{\"return_home_at\":\"9999-12-31T23:59:59Z\"}",
          "/return_home_at", "invalid_time" },
        { patient,
          "{\"phones\":[\"5550100\",\"5550100\",\"5550100\",\"5550100\","
          "\"5550100\",\"5550100\",\"5550100\",\"5550100\",\"5550100\"]}",
          "/phones", "too_many" },
        { patient, "{\"preferences\":{\"windows\":[{\"from\":\"24:00\"}]}}",
          "/preferences/windows/0/from", "invalid_value" },
        { &ref__update_patient_request__shape, "{\"update_mask\":[\"id\"]}",
          "/update_mask", "unknown_field" },
        { &ref__list_patients_request__shape, "{\"limit\":1.0}", "/limit",
          "wrong_type" },
        { &ref__list_patients_request__shape, "{\"limit\":\"1\"}", "/limit",
          "wrong_type" },
        { &ref__list_patients_request__shape, "{\"limit\":2147483648}",
          "/limit", "invalid_value" },
        { &evt__fetch_request__shape, "{\"limit\":-1}", "/limit",
          "invalid_value" },
        { &evt__position__shape, "{\"xid\":-1}", "/xid", "invalid_value" },
        { &evt__event__shape, "{\"payload\":\"A\"}", "/payload",
          "invalid_value" },
        { &evt__event__shape, "{\"payload\":\"AB==\"}", "/payload",
          "invalid_value" },
        { &evt__event__shape, "{\"payload\":\"A=A=\"}", "/payload",
          "invalid_value" },
        { &evt__event__shape, "{\"payload\":\"====\"}", "/payload",
          "invalid_value" },
    };
    for (size_t i = 0; i < CN_COUNT(rows); i++) {
        struct cn_err err = { 0 };
        void *message = NULL;
        enum cn_code rc = read_sized(*state, rows[i].shape, rows[i].text,
                                     strlen(rows[i].text), &message, &err);
        if (rc != CN_INVALID || err.field_count != 1 ||
            strcmp(err.fields[0].pointer, rows[i].pointer) != 0 ||
            strcmp(err.fields[0].word, rows[i].word) != 0) {
            fail_msg("%s: code %d, %u faults, %s %s", rows[i].text, (int)rc,
                     err.field_count, err.fields[0].pointer,
                     err.fields[0].word);
        }
    }
}

static void several_faults_are_told_at_once(void **state)
{
    static const char text[] =
        "{\"id\":\"x\",\"needs\":\"fine\",\"channel\":\"pigeon\","
        "\"patient\":{\"birth_date\":\"soon\"},\"x\":1}";
    struct cn_err err = { 0 };
    void *message = NULL;
    assert_int_equal(read_sized(*state, &ref__referral__shape, text,
                                strlen(text), &message, &err),
                     CN_INVALID);
    assert_int_equal(err.field_count, 4);
    assert_string_equal(err.fields[2].pointer, "/patient/birth_date");
}

static void more_faults_than_there_is_room_for_are_cut(void **state)
{
    char text[] = "{\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1,"
                  "\"g\":1,\"h\":1,\"i\":1,\"j\":1,\"k\":1}";
    struct cn_err err = { 0 };
    void *message = NULL;
    assert_int_equal(read_sized(*state, &ref__referral__shape, text,
                                strlen(text), &message, &err),
                     CN_INVALID);
    assert_int_equal(err.field_count, CN_ERR_FIELDS_MAX);
}

static void a_value_of_the_request_is_in_no_error(void **state)
{
    static const char *const texts[] = {
        "{\"email\":\"Lovelace\"}",
        "{\"birth_date\":\"Lovelace\"}",
        "{\"sex\":\"Lovelace\"}",
        "{\"phones\":[\"Lovelace\"]}",
        "{\"time_zone\":\"Lovelace\"}",
        "{\"Ada Lovelace\":1}",
        "{\"name\":{\"Ada/Lovelace\":1}}",
        "{\"name\":\"Lovelace\"}",
        "{\"name\":{Lovelace}}",
        "{\"name\":Lovelace}",
        "{\"Lovelace 1\":1,\"Lovelace 1\":1}",
        "{\"name\":\"Lovelace",
    };
    for (size_t i = 0; i < CN_COUNT(texts); i++) {
        struct cn_err err = { 0 };
        void *message = NULL;
        assert_int_not_equal(read_sized(*state, &ref__patient__shape, texts[i],
                                        strlen(texts[i]), &message, &err),
                             CN_OK);
        assert_null(memmem(&err, sizeof(err), "Lovelace", 8));
    }
}

static void malformed_documents_are_refused(void **state)
{
    static const struct {
        const char *text;
        size_t size;
    } rows[] = {
#define ROW(text) { text, sizeof(text) - 1 }
        ROW(""),
        ROW(" "),
        ROW("[]"),
        ROW("1"),
        ROW("null"),
        ROW("\"x\""),
        ROW("{} {}"),
        ROW("{}x"),
        ROW("{\"needs\":\"a\",\"needs\":\"a\"}"),
        ROW("{\"needs\":\"a\\u0000b\"}"),
        ROW("{\"needs\":\"a\0b\"}"),
        ROW("{\"needs\":\"\xff\"}"),
        ROW("{\"needs\":\"\xed\xa0\x80\"}"),
        ROW("{\"needs\":\"\\ud800\"}"),
        ROW("\xef\xbb\xbf{}"),
        ROW("{\"limit\":9223372036854775808}"),
        ROW("{\"limit\":1e999}"),
        ROW("{\"limit\":01}"),
        ROW("{\"limit\":NaN}"),
        ROW("{,}"),
        ROW("{\"a\":1,}"),
        ROW("{'a':1}"),
        ROW("{} // x"),
#undef ROW
    };
    for (size_t i = 0; i < CN_COUNT(rows); i++) {
        struct cn_err err = { 0 };
        void *message = NULL;
        if (read_sized(*state, &ref__referral__shape, rows[i].text,
                       rows[i].size, &message, &err) != CN_MALFORMED) {
            fail_msg("taken: %s", rows[i].text);
        }
    }
}

static char *nested(size_t depth)
{
    char *text = calloc(depth * 2 + 16, 1);
    assert_non_null(text);
    memcpy(text, "{\"x\":", 5);
    memset(text + 5, '[', depth);
    memset(text + 5 + depth, ']', depth);
    text[5 + depth * 2] = '}';
    return text;
}

static void a_deep_document_is_malformed(void **state)
{
    for (size_t depth = CN_JSON_DEPTH_MAX - 2; depth < 100000; depth *= 3) {
        struct cn_err err = { 0 };
        void *message = NULL;
        char *text = nested(depth);
        assert_int_equal(read_sized(*state, &ref__referral__shape, text,
                                    strlen(text), &message, &err),
                         depth < CN_JSON_DEPTH_MAX ? CN_INVALID : CN_MALFORMED);
        free(text);
    }
}

static void brackets_within_strings_do_not_count(void **state)
{
    char text[256] = "{\"needs\":\"\\\"";
    memset(text + strlen(text), '[', 100);
    memcpy(text + strlen(text), "\\\\\"}", 5);
    (void)read_ok(*state, &ref__referral__shape, text);
}

static void a_document_of_too_many_values_is_malformed(void **state)
{
    enum { SIZE = 1 << 18 };
    char *text = malloc(SIZE);
    struct cn_err err = { 0 };
    void *message = NULL;
    assert_non_null(text);
    memset(text, ',', SIZE);
    assert_int_equal(
        read_sized(*state, &ref__referral__shape, text, SIZE, &message, &err),
        CN_MALFORMED);
    free(text);
}

static void each_failing_allocation_is_reported(void **state)
{
    static const char text[] =
        "{\"needs\":\"x\",\"patient\":{\"name\":{\"family\":\"a\","
        "\"given\":[\"b\"]}},\"diagnoses\":[{\"code\":\"c\"}]}";
    bool is_done = false;
    (void)state;
    for (unsigned n = 1; !is_done; n++) {
        struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
        struct cn_json_mask mask = { 0 };
        struct cn_err err = { 0 };
        ProtobufCMessage *message =
            cn_message_new(arena, &ref__referral__descriptor);
        cn_arena_fail_at(arena, n + 1);
        enum cn_code rc = cn_json_read(arena, &ref__referral__shape, text,
                                       strlen(text), message, &mask, &err);
        is_done = rc == CN_OK;
        assert_true(is_done || rc == CN_NOMEM);
        assert_int_equal(err.field_count, 0);
        assert_true(n < 64);
        cn_arena_free(arena);
    }
}

/* --- patterns --- */

static bool takes(struct cn_arena *arena,
                  const struct cn_shape *shape,
                  const char *field,
                  const char *text)
{
    struct cn_err err = { 0 };
    ProtobufCMessage *message = cn_message_new(arena, shape->descriptor);
    return cn_json_set(arena, shape, message, field, text, &err) == CN_OK;
}

static void patterns_take_and_refuse(void **state)
{
    static const struct {
        const struct cn_shape *shape;
        const char *field;
        const char *text;
        bool is_taken;
    } rows[] = {
#define NPI    &ref__referral__physician__shape, "npi"
#define PHONE  &ref__patient__contact__shape, "phone"
#define EMAIL  &ref__patient__contact__shape, "email"
#define POSTAL &ref__patient__address__shape, "postal_code"
#define CLOCK  &ref__patient__window__shape, "from"
        { NPI, "1234567893", true },
        { NPI, "1245319599", true },
        { NPI, "1234567890", false },
        { NPI, "123456789", false },
        { NPI, "12345678931", false },
        { NPI, "123456789a", false },
        { NPI, "", false },
        { PHONE, "5550100", true },
        { PHONE, "+1 (502) 555-0100", true },
        { PHONE, "502.555.0100 ext 12", true },
        { PHONE, "502-555-0100x12", true },
        { PHONE, "555010", false },
        { PHONE, "123456789012345678901", false },
        { PHONE, "call me 5550100", false },
        { PHONE, "5550100\nx", false },
        { EMAIL, "pat@example.test", true },
        { EMAIL, "p.a-t+x@sub.example.test", true },
        { EMAIL, "pat@example", false },
        { EMAIL, "pat", false },
        { EMAIL, "@example.test", false },
        { EMAIL, "pat@", false },
        { EMAIL, "pat@@example.test", false },
        { EMAIL, "p@t@example.test", false },
        { EMAIL, ".pat@example.test", false },
        { EMAIL, "pat.@example.test", false },
        { EMAIL, "p..t@example.test", false },
        { EMAIL, "pat@example..test", false },
        { EMAIL, "pat@.test", false },
        { EMAIL, "pat@example.test.", false },
        { EMAIL, "p t@example.test", false },
        { EMAIL, "pat@exa mple.test", false },
        { EMAIL, "pat@example.test\r\nBcc: x@example.test", false },
        { EMAIL, "\"pat\"@example.test", false },
        { EMAIL, "p\xc3\xa4t@example.test", false },
        { POSTAL, "40202", true },
        { POSTAL, "40202-1234", true },
        { POSTAL, "4020", false },
        { POSTAL, "402021", false },
        { POSTAL, "40202-", false },
        { POSTAL, "40202-12345", false },
        { POSTAL, "40202 1234", false },
        { CLOCK, "00:00", true },
        { CLOCK, "23:59", true },
        { CLOCK, "19:30", true },
        { CLOCK, "24:00", false },
        { CLOCK, "09:60", false },
        { CLOCK, "9:00", false },
        { CLOCK, "09:00:00", false },
        { CLOCK, "ab:cd", false },
        { CLOCK, "", false },
#undef NPI
#undef PHONE
#undef EMAIL
#undef POSTAL
#undef CLOCK
    };
    for (size_t i = 0; i < CN_COUNT(rows); i++) {
        if (takes(*state, rows[i].shape, rows[i].field, rows[i].text) !=
            rows[i].is_taken) {
            fail_msg("%s: %s", rows[i].field, rows[i].text);
        }
    }
}

/* --- parameters --- */

static void parameters_are_set_by_their_type(void **state)
{
    struct cn_arena *arena = *state;
    struct cn_err err = { 0 };
    const struct cn_shape *shape = &ref__list_referrals_request__shape;
    Ref__ListReferralsRequest *request =
        cn_message_new(arena, shape->descriptor);
#define SET(name, text)                                                        \
    cn_json_set(arena, shape, &request->base, name, text, &err)
    assert_int_equal(SET("status", "captured,accepted"), CN_OK);
    assert_int_equal(SET("status", "closed"), CN_OK);
    assert_int_equal(SET("limit", "50"), CN_OK);
    assert_int_equal(SET("patient_id", "a,b"), CN_OK);
    assert_int_equal(request->n_status, 3);
    assert_int_equal(request->status[1], REF__REFERRAL__STATUS__ACCEPTED);
    assert_int_equal(request->status[2], REF__REFERRAL__STATUS__CLOSED);
    assert_true(request->has_limit);
    assert_int_equal(request->limit, 50);
    assert_string_equal(request->patient_id, "a,b");
    assert_int_equal(SET("nothing", "x"), CN_NOT_FOUND);
#undef SET
}

static void wrong_parameters_name_themselves(void **state)
{
    static const struct {
        const char *field;
        const char *text;
        const char *word;
    } rows[] = {
        { "status", "captured,", "invalid_value" },
        { "status", "", "invalid_value" },
        { "status", "captured, accepted", "invalid_value" },
        { "limit", "", "wrong_type" },
        { "limit", "x", "wrong_type" },
        { "limit", " 5", "wrong_type" },
        { "limit", "0x5", "wrong_type" },
        { "limit", "5 ", "wrong_type" },
        { "limit", "5.5", "wrong_type" },
        { "limit", "99999999999999999999", "wrong_type" },
        { "limit", "2147483648", "invalid_value" },
    };
    for (size_t i = 0; i < CN_COUNT(rows); i++) {
        struct cn_err err = { 0 };
        const struct cn_shape *shape = &ref__list_referrals_request__shape;
        ProtobufCMessage *message = cn_message_new(*state, shape->descriptor);
        char pointer[32];
        (void)snprintf(pointer, sizeof(pointer), "/%s", rows[i].field);
        assert_int_equal(cn_json_set(*state, shape, message, rows[i].field,
                                     rows[i].text, &err),
                         CN_INVALID);
        assert_string_equal(err.fields[0].pointer, pointer);
        assert_string_equal(err.fields[0].word, rows[i].word);
    }
}

static void what_is_no_parameter_is_not_set(void **state)
{
    static const struct {
        const struct cn_shape *shape;
        const char *field;
    } rows[] = {
        { &ref__update_patient_request__shape, "update_mask" },
        { &ref__update_patient_request__shape, "patient" },
        { &ref__patient__shape, "version" },
        { &ref__patient__shape, "" },
    };
    for (size_t i = 0; i < CN_COUNT(rows); i++) {
        struct cn_err err = { 0 };
        ProtobufCMessage *message =
            cn_message_new(*state, rows[i].shape->descriptor);
        assert_int_equal(cn_json_set(*state, rows[i].shape, message,
                                     rows[i].field, "1", &err),
                         CN_NOT_FOUND);
    }
}

static void a_list_of_too_many_words_is_refused(void **state)
{
    char text[512] = "5550100";
    for (int i = 0; i < 8; i++) {
        memcpy(text + strlen(text), ",5550100", 9);
    }
    struct cn_err err = { 0 };
    ProtobufCMessage *message =
        cn_message_new(*state, &ref__patient__descriptor);
    assert_int_equal(cn_json_set(*state, &ref__patient__shape, message,
                                 "phones", text, &err),
                     CN_INVALID);
    assert_string_equal(err.fields[0].word, "too_many");
}

/* --- merge patch --- */

static void a_patch_names_the_leaves_it_holds(void **state)
{
    static const char text[] =
        "{\"name\":{\"family\":\"New\"},\"email\":null,\"phones\":[],"
        "\"address\":null,\"preferences\":{\"channel\":null},"
        "\"identifiers\":[{\"value\":\"1\",\"type\":null}],\"contacts\":null}";
    static const char *const paths[] = {
        "name.family",         "email",       "phones",  "address",
        "preferences.channel", "identifiers", "contacts"
    };
    struct cn_json_mask mask = { 0 };
    struct cn_err err = { 0 };
    Ref__Patient *patch = cn_message_new(*state, &ref__patient__descriptor);
    assert_int_equal(cn_json_read(*state, &ref__patient__shape, text,
                                  strlen(text), &patch->base, &mask, &err),
                     CN_OK);
    assert_int_equal(mask.count, CN_COUNT(paths));
    for (size_t i = 0; i < mask.count; i++) {
        assert_string_equal(mask.paths[i], paths[i]);
    }
    Ref__Patient *target =
        read_ok(*state, &ref__patient__shape,
                "{\"name\":{\"family\":\"Old\",\"given\":[\"Pat\"]},"
                "\"email\":\"pat@example.test\",\"phones\":[\"5550100\"],"
                "\"language\":\"es\"}");
    assert_int_equal(cn_message_merge(*state, &target->base, &patch->base,
                                      mask.paths, mask.count, &err),
                     CN_OK);
    assert_string_equal(
        written(&ref__patient__shape, target),
        "{\"identifiers\":[{\"value\":\"1\"}],\"name\":{\"family\":\"New\","
        "\"given\":[\"Pat\"]},\"phones\":[],\"language\":\"es\","
        "\"contacts\":[],\"preferences\":{\"windows\":[]},"
        "\"commitments\":[]}");
}

static void a_patch_of_what_cannot_be_set_is_refused(void **state)
{
    static const struct fault_row rows[] = {
        { &ref__patient__shape, "{\"version\":\"one\"}", "/version",
          "read_only_field" },
        { &ref__referral__shape, "{\"decision\":{\"x\":1}}", "/decision",
          "read_only_field" },
        { &ref__referral__shape, "{\"patient\":{\"created_at\":\"x\"}}",
          "/patient/created_at", "read_only_field" },
        { &sch__clinician__shape, "{\"name\":null}", "/name", "invalid_value" },
        { &ref__patient__shape, "{\"name\":{\"x\":null}}", "/name/x",
          "unknown_field" },
        { &ref__patient__shape, "{\"name\":7}", "/name", "wrong_type" },
    };
    for (size_t i = 0; i < CN_COUNT(rows); i++) {
        struct cn_json_mask mask = { 0 };
        struct cn_err err = { 0 };
        ProtobufCMessage *message =
            cn_message_new(*state, rows[i].shape->descriptor);
        assert_int_equal(cn_json_read(*state, rows[i].shape, rows[i].text,
                                      strlen(rows[i].text), message, &mask,
                                      &err),
                         CN_INVALID);
        assert_string_equal(err.fields[0].pointer, rows[i].pointer);
        assert_string_equal(err.fields[0].word, rows[i].word);
        assert_int_equal(mask.count, 0);
    }
}

/* Whoever applies the patch compares them with what is there. */
static void a_patch_names_its_read_only_fields(void **state)
{
    static const char text[] =
        "{\"version\":3,\"updated_at\":\"2026-03-09T21:00:00Z\","
        "\"decision\":{\"outcome\":\"accept\"},\"warnings\":[\"x\"],"
        "\"valid_at\":null,\"patient\":{\"id\":\"pat_0\"}}";
    static const char *const paths[] = { "version",          "updated_at",
                                         "decision.outcome", "warnings",
                                         "valid_at",         "patient.id" };
    struct cn_json_mask mask = { 0 };
    struct cn_err err = { 0 };
    Ref__Referral *patch = cn_message_new(*state, &ref__referral__descriptor);
    assert_int_equal(cn_json_read(*state, &ref__referral__shape, text,
                                  strlen(text), &patch->base, &mask, &err),
                     CN_OK);
    assert_int_equal(mask.count, CN_COUNT(paths));
    for (size_t i = 0; i < mask.count; i++) {
        assert_string_equal(mask.paths[i], paths[i]);
    }
    assert_int_equal(patch->version, 3);
    assert_string_equal(patch->patient->id, "pat_0");
}

/* In the body and in the query: maxLength of openapi.json counts them so. */
static void limits_count_characters_not_bytes(void **state)
{
    enum { MAX = 20 }; /* of a suffix */
    static const char *const characters[] = { "e", "\xc3\xa9", "\xe2\x82\xac",
                                              "\xf0\x9f\x8c\xbf" };
    for (size_t i = 0; i < CN_COUNT(characters); i++) {
        for (int more = 0; more < 2; more++) {
            struct cn_err err = { 0 };
            char value[4 * (MAX + 1) + 1] = "";
            char text[sizeof(value) + 16];
            void *message = NULL;
            for (int j = 0; j < MAX + more; j++) {
                const size_t size = strlen(characters[i]);
                memcpy(value + (size_t)j * size, characters[i], size);
            }
            (void)snprintf(text, sizeof(text), "{\"suffix\":\"%s\"}", value);
            assert_int_equal(read_sized(*state, &ref__patient__name__shape,
                                        text, strlen(text), &message, &err),
                             more == 0 ? CN_OK : CN_INVALID);
            assert_string_equal(err.fields[0].word,
                                more == 0 ? "" : "too_long");
            err = (struct cn_err){ 0 };
            assert_int_equal(cn_json_set(*state, &ref__patient__name__shape,
                                         message, "suffix", value, &err),
                             more == 0 ? CN_OK : CN_INVALID);
        }
    }
}

static void a_text_is_cut_between_characters(void **state)
{
    static const char text[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x8c\xbf";
    static const size_t sizes[] = { 0, 1, 3, 6, 10, 10 };
    (void)state;
    for (size_t i = 0; i < CN_COUNT(sizes); i++) {
        assert_int_equal(cn_utf8_cut(text, strlen(text), i), sizes[i]);
        assert_int_equal(cn_utf8_fits(text, strlen(text), i), i >= 4);
    }
}

static void an_empty_patch_names_nothing(void **state)
{
    struct cn_json_mask mask = { 0 };
    struct cn_err err = { 0 };
    ProtobufCMessage *message =
        cn_message_new(*state, &ref__patient__descriptor);
    assert_int_equal(cn_json_read(*state, &ref__patient__shape, "{}", 2,
                                  message, &mask, &err),
                     CN_OK);
    assert_int_equal(mask.count, 0);
}

/* --- numbers that no message of ours has yet --- */

struct measure {
    ProtobufCMessage base;
    protobuf_c_boolean has_wide;
    double wide;
    protobuf_c_boolean has_small;
    float small;
};

static const unsigned MEASURE_BY_NAME[] = { 1, 0 };
static const ProtobufCIntRange MEASURE_RANGES[] = { { 1, 0 }, { 0, 2 } };
static const ProtobufCFieldDescriptor MEASURE_FIELDS[] = {
    { .name = "wide",
      .id = 1,
      .label = PROTOBUF_C_LABEL_OPTIONAL,
      .type = PROTOBUF_C_TYPE_DOUBLE,
      .quantifier_offset = offsetof(struct measure, has_wide),
      .offset = offsetof(struct measure, wide) },
    { .name = "small",
      .id = 2,
      .label = PROTOBUF_C_LABEL_OPTIONAL,
      .type = PROTOBUF_C_TYPE_FLOAT,
      .quantifier_offset = offsetof(struct measure, has_small),
      .offset = offsetof(struct measure, small) }
};
static void measure_init(ProtobufCMessage *message);
static const ProtobufCMessageDescriptor MEASURE = {
    .magic = PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC,
    .name = "Measure",
    .short_name = "Measure",
    .sizeof_message = sizeof(struct measure),
    .n_fields = 2,
    .fields = MEASURE_FIELDS,
    .fields_sorted_by_name = MEASURE_BY_NAME,
    .n_field_ranges = 1,
    .field_ranges = MEASURE_RANGES,
    .message_init = measure_init
};
static void measure_init(ProtobufCMessage *message)
{
    message->descriptor = &MEASURE;
}
static const struct cn_field_shape MEASURE_RULES[2];
static const struct cn_shape MEASURE_SHAPE = { &MEASURE, MEASURE_RULES, -1 };

static void reals_are_read_and_written(void **state)
{
    static const struct {
        const char *text;
        const char *written;
    } rows[] = {
        { "{\"wide\":0.1,\"small\":0.5}", "{\"wide\":0.1,\"small\":0.5}" },
        { "{\"wide\":-1e300}", "{\"wide\":-1e+300}" },
        { "{\"wide\":7}", "{\"wide\":7}" },
        { "{\"wide\":0.30000000000000004}", "{\"wide\":0.30000000000000004}" },
    };
    for (size_t i = 0; i < CN_COUNT(rows); i++) {
        void *message = read_ok(*state, &MEASURE_SHAPE, rows[i].text);
        assert_string_equal(written(&MEASURE_SHAPE, message), rows[i].written);
    }
    assert_true(takes(*state, &MEASURE_SHAPE, "wide", "-1.5e3"));
    assert_false(takes(*state, &MEASURE_SHAPE, "wide", "inf"));
    assert_false(takes(*state, &MEASURE_SHAPE, "wide", "1e999"));
    assert_false(takes(*state, &MEASURE_SHAPE, "small", "1e300"));
}

/* --- words, buffer --- */

static void every_enum_value_has_its_word(void **state)
{
    const ProtobufCEnumDescriptor *descriptor =
        &ref__referral__status__descriptor;
    (void)state;
    for (unsigned i = 0; i < descriptor->n_values; i++) {
        int value = descriptor->values[i].value;
        int back = 0;
        const char *word = cn_enum_word(descriptor, value);
        assert_non_null(word);
        assert_ptr_equal(word, cn_enum_word(descriptor, value));
        assert_true(cn_enum_value(descriptor, word, &back));
        assert_int_equal(back, value);
    }
    int unchanged = 77;
    assert_string_equal(
        cn_enum_word(descriptor, REF__REFERRAL__STATUS__SOC_SCHEDULED),
        "soc_scheduled");
    assert_null(cn_enum_word(descriptor, 0));
    assert_null(cn_enum_word(descriptor, 1000));
    assert_false(cn_enum_value(descriptor, "nothing", &unchanged));
    assert_false(cn_enum_value(descriptor, "Closed", &unchanged));
    assert_int_equal(unchanged, 77);
}

static void an_enum_value_from_the_future_is_a_number(void **state)
{
    Ref__Referral__Decision decision = REF__REFERRAL__DECISION__INIT;
    (void)state;
    decision.has_outcome = 1;
    decision.outcome = (Ref__Referral__Outcome)99;
    assert_string_equal(written(&ref__referral__decision__shape, &decision),
                        "{\"outcome\":99}");
}

static void a_buffer_ends_at_its_ceiling(void **state)
{
    struct cn_buffer buffer;
    (void)state;
    cn_buffer_init(&buffer, 1000);
    for (int i = 0; i < 100; i++) {
        cn_buffer_puts(&buffer, "0123456789");
    }
    assert_false(buffer.failed);
    assert_int_equal(buffer.size, 1000);
    cn_buffer_add(&buffer, "", 0);
    assert_false(buffer.failed);
    cn_buffer_puts(&buffer, "x");
    assert_true(buffer.failed);
    assert_null(buffer.data);
    cn_buffer_puts(&buffer, "x");
    cn_buffer_json_text(&buffer, "x");
    assert_true(buffer.failed);
    assert_int_equal(buffer.size, 0);
    cn_buffer_done(&buffer);
}

static void a_text_of_null_is_null(void **state)
{
    struct cn_buffer buffer;
    (void)state;
    cn_buffer_init(&buffer, 100);
    cn_buffer_json_text(&buffer, NULL);
    assert_int_equal(buffer.size, 4);
    assert_memory_equal(buffer.data, "null", 4);
    cn_buffer_done(&buffer);
}

/* --- the JSON test suite --- */

static const char *cases_folder(char *folder, size_t size)
{
    const char *shared = getenv("CAIRN_SHARED");
    (void)snprintf(folder, size, "%s/data/json/cases",
                   shared != NULL ? shared : "../shared");
    return folder;
}

static size_t
case_read(const char *folder, const char *name, char *text, size_t size)
{
    char path[1024];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t got = fread(text, 1, size, file);
    assert_true(feof(file));
    (void)fclose(file);
    return got;
}

/* We refuse duplicate keys and NUL on purpose. */
static bool is_refused_on_purpose(const char *name)
{
    return strncmp(name, "y_object_duplicated_key", 23) == 0 ||
           strcmp(name, "y_string_null_escape.json") == 0 ||
           strcmp(name, "y_object_escaped_null_in_key.json") == 0;
}

static void case_check(struct cn_arena *arena,
                       const char *name,
                       const char *text,
                       size_t size)
{
    static char wrapped[300000];
    struct cn_err err = { 0 };
    void *message = NULL;
    assert_true(size + 8 < sizeof(wrapped));
    memcpy(wrapped, "{\"x\":", 5);
    memcpy(wrapped + 5, text, size);
    wrapped[5 + size] = '}';
    enum cn_code alone =
        read_sized(arena, &ref__referral__shape, text, size, &message, &err);
    cn_err_clear(&err);
    enum cn_code inside = read_sized(arena, &ref__referral__shape, wrapped,
                                     size + 6, &message, &err);
    if (name[0] == 'n' && alone != CN_MALFORMED) {
        fail_msg("taken: %s", name);
    }
    /* The key is unknown, but its value was checked. */
    if (name[0] == 'y' &&
        (inside == CN_MALFORMED) != is_refused_on_purpose(name)) {
        fail_msg("wrong: %s", name);
    }
}

static void the_json_test_suite_holds(void **state)
{
    static char text[280000];
    char folder[512];
    DIR *cases = opendir(cases_folder(folder, sizeof(folder)));
    size_t count = 0;
    if (cases == NULL) {
        skip();
    }
    for (struct dirent *entry = readdir(cases); entry != NULL;
         entry = readdir(cases)) {
        if (entry->d_name[0] != '.') {
            size_t size = case_read(folder, entry->d_name, text, sizeof(text));
            case_check(*state, entry->d_name, text, size);
            count++;
        }
    }
    (void)closedir(cases);
    assert_true(count > 300);
}

int main(void)
{
#define TEST(name)                                                             \
    cmocka_unit_test_setup_teardown(name, arena_setup, arena_teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_is_read_is_written),
        TEST(what_stands_in_a_text_is_escaped),
        TEST(blanks_at_the_ends_of_a_text_are_not_kept),
        TEST(a_limit_counts_characters_and_not_bytes),
        TEST(null_counts_as_absent),
        TEST(times_in_other_offsets_are_kept_as_instants),
        TEST(each_fault_has_its_pointer_and_word),
        TEST(several_faults_are_told_at_once),
        TEST(more_faults_than_there_is_room_for_are_cut),
        TEST(a_value_of_the_request_is_in_no_error),
        TEST(malformed_documents_are_refused),
        TEST(a_deep_document_is_malformed),
        TEST(brackets_within_strings_do_not_count),
        TEST(a_document_of_too_many_values_is_malformed),
        TEST(each_failing_allocation_is_reported),
        TEST(patterns_take_and_refuse),
        TEST(parameters_are_set_by_their_type),
        TEST(wrong_parameters_name_themselves),
        TEST(what_is_no_parameter_is_not_set),
        TEST(a_list_of_too_many_words_is_refused),
        TEST(a_patch_names_the_leaves_it_holds),
        TEST(a_patch_of_what_cannot_be_set_is_refused),
        TEST(a_patch_names_its_read_only_fields),
        TEST(limits_count_characters_not_bytes),
        TEST(a_text_is_cut_between_characters),
        TEST(an_empty_patch_names_nothing),
        TEST(reals_are_read_and_written),
        TEST(every_enum_value_has_its_word),
        TEST(an_enum_value_from_the_future_is_a_number),
        TEST(a_buffer_ends_at_its_ceiling),
        TEST(a_text_of_null_is_null),
        TEST(the_json_test_suite_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
