/* SPDX-License-Identifier: Apache-2.0 */
/* Problem bodies, their pages, and the form of API keys. */
#include "services/gateway/problem.h"

#include "services/gateway/auth.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const char BASE[] = "https://cairn.example";
static const char UUID[] = "018f3c2e-7b7a-7c3e-9d8e-0123456789ab";

static json_t *s_problem(const struct cn_err *err, const char *request_id)
{
    struct cn_buffer body;
    cn_buffer_init(&body, 64 << 10);
    problem_write(&body, err, BASE, request_id);
    assert_false(body.failed);
    json_t *json = json_loadb(body.data, body.size, 0, NULL);
    assert_non_null(json);
    cn_buffer_done(&body);
    return json;
}

static const char *s_text(const json_t *json, const char *name)
{
    const char *text = json_string_value(json_object_get(json, name));
    return text == NULL ? "(none)" : text;
}

static void a_problem_says_what_where_and_which_request(void **state)
{
    struct cn_err err = { 0 };
    (void)state;
    (void)cn_fail_field(&err, "/patient/birth_date", "invalid_date",
                        "is no \"date\"");
    json_t *json = s_problem(&err, UUID);
    const json_t *field = json_array_get(json_object_get(json, "errors"), 0);
    assert_string_equal(s_text(json, "type"),
                        "https://cairn.example/problems/invalid");
    assert_int_equal(json_integer_value(json_object_get(json, "status")), 422);
    assert_string_equal(s_text(json, "code"), "invalid");
    assert_string_equal(s_text(json, "request_id"), UUID);
    assert_string_equal(s_text(json, "instance"),
                        "urn:uuid:018f3c2e-7b7a-7c3e-9d8e-0123456789ab");
    assert_string_equal(s_text(field, "pointer"), "/patient/birth_date");
    assert_string_equal(s_text(field, "code"), "invalid_date");
    assert_string_equal(s_text(field, "detail"), "is no \"date\"");
    json_decref(json);
}

static void an_exact_word_keeps_the_type_of_its_family(void **state)
{
    struct cn_err err = { 0 };
    (void)state;
    (void)cn_fail_as(&err, CN_CONFLICT, "illegal_state", "it is closed");
    json_t *json = s_problem(&err, "client-id-1");
    assert_string_equal(s_text(json, "type"),
                        "https://cairn.example/problems/conflict");
    assert_string_equal(s_text(json, "code"), "illegal_state");
    assert_string_equal(s_text(json, "detail"), "it is closed");
    assert_string_equal(s_text(json, "instance"),
                        "urn:cairn:request:client-id-1");
    json_decref(json);
}

static void records_that_are_not_there_are_all_alike(void **state)
{
    struct cn_err other = { 0 };
    struct cn_err unknown = { 0 };
    struct cn_buffer bodies[2];
    (void)state;
    (void)cn_fail_as(&other, CN_NOT_FOUND, "referral_hidden",
                     "referral ref_1 is another tenant's");
    (void)cn_fail(&unknown, CN_NOT_FOUND, "no referral ref_2");
    cn_buffer_init(&bodies[0], 64 << 10);
    cn_buffer_init(&bodies[1], 64 << 10);
    problem_write(&bodies[0], &other, BASE, UUID);
    problem_write(&bodies[1], &unknown, BASE, UUID);
    assert_int_equal(bodies[0].size, bodies[1].size);
    assert_memory_equal(bodies[0].data, bodies[1].data, bodies[0].size);
    cn_buffer_done(&bodies[0]);
    cn_buffer_done(&bodies[1]);
}

static void a_fault_of_ours_shows_nothing_of_itself(void **state)
{
    struct cn_err err = { 0 };
    (void)state;
    (void)cn_fail(&err, CN_INTERNAL, "constraint x_fkey");
    json_t *json = s_problem(&err, UUID);
    assert_string_equal(s_text(json, "detail"), "internal error");
    json_decref(json);
}

static void a_path_that_is_too_long_is_414(void **state)
{
    struct cn_err err = { 0 };
    (void)state;
    (void)cn_fail_as(&err, CN_TOO_LARGE, "uri_too_long", "too long");
    assert_int_equal(problem_status(&err), 414);
    cn_err_clear(&err);
    (void)cn_fail(&err, CN_TOO_LARGE, "too long");
    assert_int_equal(problem_status(&err), 413);
}

static void every_type_in_the_list_has_a_page(void **state)
{
    struct cn_buffer list;
    size_t index;
    json_t *row;
    (void)state;
    cn_buffer_init(&list, 64 << 10);
    problem_list(&list, BASE);
    json_t *json = json_loadb(list.data, list.size, 0, NULL);
    cn_buffer_done(&list);
    assert_int_equal(json_array_size(json_object_get(json, "data")),
                     CN_CODE_COUNT - 1);
    json_array_foreach(json_object_get(json, "data"), index, row)
    {
        struct cn_buffer page;
        cn_buffer_init(&page, 64 << 10);
        const char *word = s_text(row, "code");
        assert_string_equal(strrchr(s_text(row, "type"), '/') + 1, word);
        assert_true(problem_page(&page, word));
        cn_buffer_add(&page, "", 1);
        assert_non_null(strstr(page.data, "Cause: "));
        assert_null(strstr(page.data, "(null)"));
        cn_buffer_done(&page);
    }
    json_decref(json);
}

static void there_is_no_page_of_another_word(void **state)
{
    struct cn_buffer page;
    (void)state;
    cn_buffer_init(&page, 64 << 10);
    assert_false(problem_page(&page, "ok"));
    assert_false(problem_page(&page, ""));
    assert_false(problem_page(&page, "invalid/"));
    assert_int_equal(page.size, 0);
    cn_buffer_done(&page);
}

/* sha256("cairn_live_" + 32 digits) begins with the last six digits. */
static void a_key_is_known_by_its_checksum(void **state)
{
    (void)state;
    assert_true(
        auth_key_valid("cairn_live_0123456789ABCDEFGHIJKLMNOPQRSTUV0d08af"));
    assert_true(
        auth_key_valid("cairn_test_0123456789ABCDEFGHIJKLMNOPQRSTUV1c0fdc"));
    assert_false(
        auth_key_valid("cairn_test_0123456789ABCDEFGHIJKLMNOPQRSTUV0d08af"));
    assert_false(
        auth_key_valid("cairn_live_0123456789ABCDEFGHIJKLMNOPQRSTUV0d08af0"));
    assert_false(
        auth_key_valid("cairn_live_0123456789ABCDEFGHIJKLMNOPQRSTU-0d08af"));
    assert_false(auth_key_valid(""));
    assert_false(auth_key_valid("cairn_live_"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_problem_says_what_where_and_which_request),
        cmocka_unit_test(an_exact_word_keeps_the_type_of_its_family),
        cmocka_unit_test(records_that_are_not_there_are_all_alike),
        cmocka_unit_test(a_fault_of_ours_shows_nothing_of_itself),
        cmocka_unit_test(a_path_that_is_too_long_is_414),
        cmocka_unit_test(every_type_in_the_list_has_a_page),
        cmocka_unit_test(there_is_no_page_of_another_word),
        cmocka_unit_test(a_key_is_known_by_its_checksum),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
