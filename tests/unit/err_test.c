/* SPDX-License-Identifier: Apache-2.0 */
/* The error record and its list of codes. */
#include "common/base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void a_failure_carries_the_word_of_its_code(void **state)
{
    (void)state;
    struct cn_err err = { 0 };
    assert_int_equal(cn_fail(&err, CN_NOT_FOUND, "referral %d", 7),
                     CN_NOT_FOUND);
    assert_int_equal(err.code, CN_NOT_FOUND);
    assert_string_equal(err.word, "not_found");
    assert_string_equal(err.msg, "referral 7");
    assert_int_equal(
        cn_fail_as(&err, CN_CONFLICT, "illegal_state", "it is closed"),
        CN_CONFLICT);
    assert_string_equal(err.word, "illegal_state");
}

static void a_new_failure_forgets_the_old_one(void **state)
{
    (void)state;
    struct cn_err err = { 0 };
    (void)cn_fail_field(&err, "/name", "missing", "is needed");
    err.version = 3;
    memcpy(err.location, "/v1/x", sizeof "/v1/x");
    (void)cn_fail(&err, CN_BUSY, "full");
    assert_int_equal(err.field_count, 0);
    assert_int_equal(err.version, 0);
    assert_string_equal(err.location, "");
    cn_err_clear(&err);
    assert_int_equal(err.code, CN_OK);
    assert_string_equal(err.msg, "");
}

static void a_failure_may_quote_the_record_it_replaces(void **state)
{
    (void)state;
    struct cn_err err = { 0 };
    (void)cn_fail_as(&err, CN_CONFLICT, "twin", "first");
    (void)cn_fail_as(&err, CN_STALE, err.word, "second after %s", err.msg);
    assert_string_equal(err.word, "twin");
    assert_string_equal(err.msg, "second after first");
}

static void fields_at_fault_are_gathered_up_to_the_bound(void **state)
{
    (void)state;
    struct cn_err err = { 0 };
    (void)cn_fail(&err, CN_BUSY, "of before");
    for (int i = 0; i < CN_ERR_FIELDS_MAX + 3; i++) {
        assert_int_equal(cn_fail_field(&err, "/name", "missing", "no %d", i),
                         CN_INVALID);
    }
    assert_int_equal(err.code, CN_INVALID);
    assert_string_equal(err.word, "invalid");
    assert_int_equal(err.field_count, CN_ERR_FIELDS_MAX);
    assert_string_equal(err.fields[0].pointer, "/name");
    assert_string_equal(err.fields[0].word, "missing");
    assert_string_equal(err.fields[1].msg, "no 1");
    /* msg is logged, and the pointer can hold a client's text. */
    assert_null(strstr(err.msg, "/name"));
}

static void long_texts_are_cut(void **state)
{
    (void)state;
    char text[CN_ERR_MSG_MAX * 2];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    struct cn_err err = { 0 };
    (void)cn_fail_as(&err, CN_INTERNAL, text, "%s", text);
    assert_int_equal(strlen(err.msg), CN_ERR_MSG_MAX - 1);
    assert_int_equal(strlen(err.word), CN_ERR_WORD_MAX - 1);
    assert_int_equal(cn_wrap(&err, "outer"), CN_INTERNAL);
    assert_int_equal(strlen(err.msg), CN_ERR_MSG_MAX - 1);
    assert_int_equal(strncmp(err.msg, "outer: xxx", 10), 0);
    assert_int_equal(cn_wrap(&err, text), CN_INTERNAL);
    (void)cn_fail_field(&err, text, text, "%s", text);
    assert_int_equal(strlen(err.fields[0].pointer), CN_ERR_POINTER_MAX - 1);
}

static void a_wrap_puts_the_place_in_front(void **state)
{
    (void)state;
    struct cn_err err = { 0 };
    (void)cn_fail(&err, CN_UNAVAILABLE, "no replica");
    assert_int_equal(cn_wrap(&err, "accept referral"), CN_UNAVAILABLE);
    assert_string_equal(err.msg, "accept referral: no replica");
}

static void every_code_has_a_word_a_title_and_a_status(void **state)
{
    (void)state;
    for (int i = 0; i < CN_CODE_COUNT; i++) {
        enum cn_code code = (enum cn_code)i;
        assert_true(strlen(cn_code_word(code)) > 0);
        assert_true(strlen(cn_code_word(code)) < CN_ERR_WORD_MAX);
        assert_true(strlen(cn_code_title(code)) > 0);
        assert_true(cn_code_status(code) >= 200);
        assert_true(cn_code_status(code) < 600);
        for (int j = 0; j < i; j++) {
            assert_string_not_equal(cn_code_word(code),
                                    cn_code_word((enum cn_code)j));
        }
    }
    assert_true(cn_code_retryable(CN_BUSY));
    assert_false(cn_code_retryable(CN_CONFLICT));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_carries_the_word_of_its_code),
        cmocka_unit_test(a_new_failure_forgets_the_old_one),
        cmocka_unit_test(a_failure_may_quote_the_record_it_replaces),
        cmocka_unit_test(fields_at_fault_are_gathered_up_to_the_bound),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(a_wrap_puts_the_place_in_front),
        cmocka_unit_test(every_code_has_a_word_a_title_and_a_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
