/* SPDX-License-Identifier: Apache-2.0 */
/* What a text from outside may hold, whatever door it comes through. */
#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/wire/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

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

static void blanks_at_both_ends_are_no_part_of_a_text(void **state)
{
    static const struct {
        const char *text;
        const char *trimmed;
    } rows[] = {
        { "", "" },
        { "a", "a" },
        { " a b ", "a b" },
        { "\t\r\n a\n", "a" },
        { "\xC2\xA0P-1\xC2\xA0", "P-1" },            /* U+00A0 */
        { "\xE2\x80\x8BP-1\xE2\x80\x8B", "P-1" },    /* U+200B */
        { "\xE3\x80\x80P-1\xE3\x80\x80 ", "P-1" },   /* U+3000 */
        { "\xEF\xBB\xBFP-1", "P-1" },                /* U+FEFF */
        { " \xC2\xA0\xE2\x80\x8B\xE3\x80\x80", "" }, /* nothing else */
        { "\xC3\x89lan ", "\xC3\x89lan" },           /* a letter stays */
        { "a\xE3\x80\x80"
          "b",
          "a\xE3\x80\x80"
          "b" },                             /* so within */
        { " \xE2\x80\x99", "\xE2\x80\x99" }, /* U+2019 */
    };
    (void)state;
    for (size_t i = 0; i < CN_COUNT(rows); i++) {
        size_t size = strlen(rows[i].text);
        const char *text = cn_text_trim(rows[i].text, &size);
        assert_int_equal(size, strlen(rows[i].trimmed));
        assert_memory_equal(text, rows[i].trimmed, size);
    }
}

static void a_limit_counts_characters(void **state)
{
    (void)state;
    assert_int_equal(cn_text_fit("abc", 3, 2), 2);
    assert_int_equal(cn_text_fit("abc", 3, 3), 3);
    assert_int_equal(cn_text_fit("abc", 3, 9), 3);
    assert_int_equal(cn_text_fit("\xC3\xA9\xC3\xA9", 4, 1), 2);
    assert_int_equal(cn_text_fit("\xC3\xA9\xC3\xA9", 4, 2), 4);
    assert_int_equal(cn_text_fit("\xF0\x9F\x98\x80x", 5, 1), 4);
    assert_int_equal(cn_text_fit("", 0, 1), 0);
}

static void control_characters_are_in_no_text(void **state)
{
    static const char *const bad[] = {
        "\x01",
        "\x07",
        "\x1B",
        "\x7F",
        "\xC2\x80",
        "\xC2\x9F",
        "\xE2\x80\xA8",     /* U+2028 */
        "\xE2\x80\xA9",     /* U+2029 */
        "\xE2\x80\xAA",     /* U+202A */
        "\xE2\x80\xAE",     /* U+202E */
        "\xE2\x81\xA6",     /* U+2066 */
        "\xEF\xB7\x90",     /* U+FDD0 */
        "\xEF\xBF\xBE",     /* U+FFFE */
        "\xEF\xBF\xBF",     /* U+FFFF */
        "\xF0\x9F\xBF\xBE", /* U+1FFFE */
    };
    static const char *const good[] = {
        "O'Neil-Smith, Jr.",
        "N\xC3\xBA\xC3\xB1"
        "ez",
        "\xE2\x80\x8C", /* U+200C joins Persian letters */
        "\xE6\x9D\x8E",
        "\xF0\x9F\x98\x80",
        "\xEF\xBF\xBD", /* U+FFFD */
    };
    (void)state;
    for (size_t i = 0; i < CN_COUNT(bad); i++) {
        assert_false(cn_text_is_clean(bad[i], strlen(bad[i]), false));
        assert_false(cn_text_is_clean(bad[i], strlen(bad[i]), true));
    }
    for (size_t i = 0; i < CN_COUNT(good); i++) {
        assert_true(cn_text_is_clean(good[i], strlen(good[i]), false));
    }
    assert_false(cn_text_is_clean("a\0b", 3, true));
    assert_false(cn_text_is_clean("a\r\nb", 4, false));
    assert_false(cn_text_is_clean("a\tb", 3, false));
    assert_true(cn_text_is_clean("a\r\n\tb", 5, true));
}

static void what_is_kept_of_an_unclean_text_is_clean(void **state)
{
    static const struct {
        const char *text;
        bool has_lines;
        const char *tidy;
    } rows[] = {
        { "Willa", false, "Willa" },
        { " Willa \n\nPlease call ", false, "Willa  Please call" },
        { "Wil\x1B\x07la", false, "Wil la" },
        { "Willa\n\nPlease call", false, "Willa Please call" },
        { "one\r\ntwo\x07", true, "one\r\ntwo" },
        { "\x01\x02", false, "" },
        { "", false, "" },
    };
    for (size_t i = 0; i < CN_COUNT(rows); i++) {
        const char *tidy =
            cn_text_tidy(*state, rows[i].text, rows[i].has_lines);
        assert_string_equal(tidy, rows[i].tidy);
        assert_true(cn_text_is_clean(tidy, strlen(tidy), rows[i].has_lines));
    }
    assert_null(cn_text_tidy(*state, NULL, false));
}

static void a_name_shows_a_letter(void **state)
{
    static const struct {
        const char *text;
        bool is_name;
    } rows[] = {
        { "Ada", true },
        { "X", true },
        { "3M", true },
        { "\xC3\x89", true },     /* Latin */
        { "\xD0\x96", true },     /* Cyrillic */
        { "\xD8\xB9", true },     /* Arabic */
        { "\xE6\x9D\x8E", true }, /* Han */
        { "\xE1\x8A\xA0", true }, /* Ethiopic */
        { "\xE0\xA4\x85", true }, /* Devanagari */
        { "\xEF\xBC\xA1", true }, /* full width */
        { "", false },
        { "123", false },
        { "?!.-", false },
        { "\xE2\x80\x8C", false },     /* U+200C alone */
        { "\xCC\x81", false },         /* an accent on nothing */
        { "\xE2\x80\x93", false },     /* a dash */
        { "\xF0\x9F\x98\x80", false }, /* a face */
        { "\xE3\x85\xA4", false },     /* Hangul filler */
    };
    (void)state;
    for (size_t i = 0; i < CN_COUNT(rows); i++) {
        if (cn_text_is_name(rows[i].text) != rows[i].is_name) {
            fail_msg("row %zu", i);
        }
    }
}

static void codes_of_one_language_meet(void **state)
{
    static const struct {
        const char *text;
        const char *code;
    } rows[] = {
        { "en", "en" },    { "EN", "en" },      { "ENG", "en" },
        { "en-US", "en" }, { "en_GB", "en" },   { "es-MX", "es" },
        { "SPA", "es" },   { "zh-Hant", "zh" }, { "chi", "zh" },
        { "zho", "zh" },   { "ger", "de" },     { "deu", "de" },
        { "hmn", "hmn" },  { "aar", "aa" },     { "zul", "zu" },
        { "ase", "ase" },
    };
    static const char *const none[] = { "",      "e",   "english", "1",
                                        "en.US", " en", "und",     "ZXX" };
    char code[CN_LANGUAGE_SIZE];
    (void)state;
    for (size_t i = 0; i < CN_COUNT(rows); i++) {
        assert_true(cn_language_code(rows[i].text, code));
        assert_string_equal(code, rows[i].code);
        assert_true(cn_language_same(rows[i].text, rows[i].code));
    }
    for (size_t i = 0; i < CN_COUNT(none); i++) {
        assert_false(cn_language_code(none[i], code));
    }
    assert_false(cn_language_same("en", "es"));
    assert_false(cn_language_same("en", "enm"));
    assert_true(cn_language_same("English", "english"));
}

static void a_date_that_cannot_be_is_not_plausible(void **state)
{
    int64_t now_at;
    (void)state;
    assert_true(cn_time_parse("2026-03-09T21:00:00Z", &now_at));
    assert_true(cn_date_is_plausible("1900-01-01"));
    assert_true(cn_date_is_plausible("2199-12-31"));
    assert_false(cn_date_is_plausible("1899-12-31"));
    assert_false(cn_date_is_plausible("2200-01-01"));
    assert_false(cn_date_is_plausible("9999-12-31"));
    assert_false(cn_date_is_plausible("2026-02-30"));
    assert_true(cn_birth_date_is_plausible("1948-02-29", now_at));
    assert_true(cn_birth_date_is_plausible("2026-03-09", now_at));
    /* It is the tenth already on Kiritimati. */
    assert_true(cn_birth_date_is_plausible("2026-03-10", now_at));
    assert_false(cn_birth_date_is_plausible("2026-03-11", now_at));
    assert_false(cn_birth_date_is_plausible("2199-01-01", now_at));
    assert_false(cn_birth_date_is_plausible("1899-12-31", now_at));
    assert_true(cn_time_is_plausible(now_at));
    assert_true(cn_time_parse("1900-01-01T00:00:00Z", &now_at));
    assert_true(cn_time_is_plausible(now_at));
    assert_false(cn_time_is_plausible(now_at - 1));
    assert_true(cn_time_parse("2200-01-01T00:00:00Z", &now_at));
    assert_false(cn_time_is_plausible(now_at));
    assert_true(cn_time_is_plausible(now_at - 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blanks_at_both_ends_are_no_part_of_a_text),
        cmocka_unit_test(a_limit_counts_characters),
        cmocka_unit_test(control_characters_are_in_no_text),
        cmocka_unit_test(what_is_kept_of_an_unclean_text_is_clean),
        cmocka_unit_test(a_name_shows_a_letter),
        cmocka_unit_test(codes_of_one_language_meet),
        cmocka_unit_test(a_date_that_cannot_be_is_not_plausible),
    };
    return cmocka_run_group_tests(tests, arena_setup, arena_teardown);
}
