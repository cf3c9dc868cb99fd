/* SPDX-License-Identifier: Apache-2.0 */
/* Values of header fields. */
#include "services/gateway/header.h"

#include "common/base/array.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void a_request_id_has_8_to_64_safe_characters(void **state)
{
    (void)state;
    assert_true(header_is_request_id("abc-12._"));
    assert_true(header_is_request_id(
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"));
    assert_false(header_is_request_id("abc-123"));
    assert_false(header_is_request_id(
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0"));
    assert_false(header_is_request_id("abc 12345"));
    assert_false(header_is_request_id("abc\"12345"));
    assert_false(header_is_request_id(""));
}

static void a_trace_is_four_hex_groups(void **state)
{
    (void)state;
    assert_true(header_is_trace(
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    assert_false(header_is_trace(
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"));
    assert_false(header_is_trace(
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7_01"));
    assert_false(header_is_trace(""));
}

static void only_a_bearer_is_a_credential(void **state)
{
    (void)state;
    assert_string_equal(header_bearer("Bearer abc"), "abc");
    assert_string_equal(header_bearer("bearer   abc"), "abc");
    assert_null(header_bearer("Basic abc"));
    assert_null(header_bearer("Bearerabc"));
    assert_null(header_bearer("Bearer"));
    assert_null(header_bearer(NULL));
}

static void parameters_of_a_media_type_do_not_matter(void **state)
{
    static const char LIST[] = "application/json,application/x-a+b";
    (void)state;
    assert_true(header_type_in("application/json", LIST));
    assert_true(header_type_in("Application/JSON ; charset=utf-8", LIST));
    assert_true(header_type_in(" application/x-a+b;v=2", LIST));
    assert_false(header_type_in("application/jso", LIST));
    assert_false(header_type_in("application/json5", LIST));
    assert_false(header_type_in("application/json, text/html", LIST));
    assert_false(header_type_in("", LIST));
}

static void accept_goes_by_the_most_exact_range(void **state)
{
    static const char JSON[] = "application/json";
    (void)state;
    assert_true(header_accepts(NULL, JSON));
    assert_true(header_accepts("", JSON));
    assert_true(header_accepts("*/*", JSON));
    assert_true(header_accepts("text/html, application/*;q=0.2", JSON));
    assert_true(header_accepts("application/JSON;charset=utf-8", JSON));
    assert_true(header_accepts("*/*;q=0, application/json", JSON));
    assert_true(header_accepts("application/json;q=0.001", JSON));
    assert_false(header_accepts("text/html", JSON));
    assert_false(header_accepts("application/xml, text/*", JSON));
    assert_false(header_accepts("application/json;q=0, */*", JSON));
    assert_false(header_accepts("application/json; q=0.000", JSON));
    assert_false(header_accepts("application", JSON));
}

static const char *s_key(const char *text)
{
    static struct cn_arena *arena;
    struct cn_err err = { 0 };
    const char *key = NULL;
    cn_arena_free(arena);
    arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    enum cn_code rc = header_key(arena, text, &key, &err);
    assert_int_equal(rc, err.code);
    if (rc != CN_OK) {
        assert_int_equal(rc, CN_MALFORMED);
        assert_string_equal(err.word, "invalid_idempotency_key");
    }
    return key;
}

static void a_key_comes_bare_or_in_quotes(void **state)
{
    char longest[HEADER_KEY_MAX + 2];
    (void)state;
    assert_string_equal(s_key("8e03978e-40d5"), "8e03978e-40d5");
    assert_string_equal(s_key(" \"8e03978e-40d5\" "), "8e03978e-40d5");
    assert_string_equal(s_key("\"a\\\"b\\\\c\""), "a\"b\\c");
    assert_string_equal(s_key("\"a b\""), "a b");
    assert_string_equal(s_key("1:a/b~c"), "1:a/b~c");
    assert_null(s_key(""));
    assert_null(s_key("\"\""));
    assert_null(s_key("\"abc"));
    assert_null(s_key("\"a\"b\""));
    assert_null(s_key("\"a\\b\""));
    assert_null(s_key("\"a\\\""));
    assert_null(s_key("\""));
    assert_null(s_key(":tok"));
    assert_null(s_key(":YWJj:"));
    assert_null(s_key("-a"));
    assert_null(s_key("a b"));
    assert_null(s_key("a,b"));
    assert_null(s_key("a;b"));
    assert_null(s_key("a\"b"));
    assert_null(s_key("a\xc3\xa9"));
    memset(longest, 'k', sizeof(longest));
    longest[HEADER_KEY_MAX + 1] = '\0';
    assert_null(s_key(longest));
    longest[HEADER_KEY_MAX] = '\0';
    assert_string_equal(s_key(longest), longest);
}

static struct header_tags s_tags(const char *text)
{
    struct header_tags tags = { .count = 99 };
    struct cn_err err = { 0 };
    enum cn_code rc = header_if_match(text, &tags, &err);
    assert_int_equal(rc, err.code);
    return tags;
}

static void if_match_is_a_list_of_tags_or_any(void **state)
{
    (void)state;
    assert_true(s_tags(" * ").any);
    assert_int_equal(s_tags("\"17\"").count, 1);
    assert_int_equal(s_tags("\"17\"").versions[0], 17);
    assert_int_equal(s_tags("\"3\" ,, \"4\"").count, 2);
    assert_int_equal(s_tags("W/\"1\", \"4\"").versions[0], 4);
    assert_int_equal(s_tags("\"a,b\", \"4\"").count, 1);
}

static void a_tag_that_is_weak_or_not_ours_matches_nothing(void **state)
{
    static const char *const TAGS[] = { "W/\"3\"", "\"x\"",
                                        "\"\"",    "\"-1\"",
                                        "\"03\"",  "\"9999999999999999999\"" };
    (void)state;
    for (size_t i = 0; i < CN_COUNT(TAGS); i++) {
        struct header_tags tags = s_tags(TAGS[i]);
        assert_false(tags.any);
        assert_int_equal(tags.count, 0);
    }
}

static void an_if_match_without_quotes_cannot_be_read(void **state)
{
    static const char *const WRONG[] = { "",        ",",           "3",
                                         "\"3",     "**",          "*, \"3\"",
                                         "w/\"3\"", "\"3\" \"4\"", "\"a b\"",
                                         "W/",      "W/*",         "\"3\";" };
    (void)state;
    for (size_t i = 0; i < CN_COUNT(WRONG); i++) {
        assert_int_equal(s_tags(WRONG[i]).count, 99);
    }
}

static void if_none_match_takes_a_list_of_tags(void **state)
{
    (void)state;
    assert_true(header_none_match("\"3\"", 3));
    assert_true(header_none_match("W/\"3\"", 3));
    assert_true(header_none_match("\"1\", \"abc\" ,\"3\"", 3));
    assert_true(header_none_match("*", 3));
    assert_false(header_none_match("\"4\"", 3));
    assert_true(header_none_match("\"a,\", \"3\"", 3));
    assert_false(header_none_match("3", 3));
    assert_false(header_none_match("\"03\"", 3));
    assert_false(header_none_match("\"a,\"3\"", 3));
    assert_false(header_none_match("", 3));
}

static void a_tag_comes_back_as_it_went(void **state)
{
    char tag[HEADER_ETAG_MAX];
    (void)state;
    header_etag(42, tag);
    assert_string_equal(tag, "\"42\"");
    assert_int_equal(s_tags(tag).versions[0], 42);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_id_has_8_to_64_safe_characters),
        cmocka_unit_test(a_trace_is_four_hex_groups),
        cmocka_unit_test(only_a_bearer_is_a_credential),
        cmocka_unit_test(parameters_of_a_media_type_do_not_matter),
        cmocka_unit_test(accept_goes_by_the_most_exact_range),
        cmocka_unit_test(a_key_comes_bare_or_in_quotes),
        cmocka_unit_test(if_match_is_a_list_of_tags_or_any),
        cmocka_unit_test(a_tag_that_is_weak_or_not_ours_matches_nothing),
        cmocka_unit_test(an_if_match_without_quotes_cannot_be_read),
        cmocka_unit_test(if_none_match_takes_a_list_of_tags),
        cmocka_unit_test(a_tag_comes_back_as_it_went),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
