/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON parser against jansson's: both take and refuse the same texts and
 * see the same values in them. */
#include "common/json_internal.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { MUTATIONS = 4000, TEXT_MAX = 400 };

static const char *const TEXTS[] = {
    "{}",
    " \t\r\n{ } \n",
    "{\"a\":1,\"b\":[true,false,null],\"c\":{\"d\":\"e\"}}",
    "{\"n\":[0,-0,1,-1,12,9223372036854775807,-9223372036854775808]}",
    "{\"big\":9223372036854775808}",
    "{\"big\":-9223372036854775809}",
    "{\"r\":[0.5,-1.25e3,1E-2,1e+2,0e0,1e-400]}",
    "{\"r\":1e400}",
    "{\"r\":-1e400}",
    "{\"t\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u20ac\\ud83d\\ude00\"}",
    "{\"t\":\"\\u0000\"}",
    "{\"\\u0000\":1}",
    "{\"t\":\"\\ud83d\"}",
    "{\"t\":\"\\ude00\\ud83d\"}",
    "{\"t\":\"\\ud83d\\u0041\"}",
    "{\"t\":\"\\ud83dx\"}",
    "{\"t\":\"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"}",
    "{\"t\":\"\xc0\xaf\"}",
    "{\"t\":\"\xed\xa0\x80\"}",
    "{\"t\":\"\xf4\x90\x80\x80\"}",
    "{\"t\":\"\xc3\"}",
    "{\"t\":\"a text that is longer than eight bytes, and than sixteen\"}",
    "{\"t\":\"eight by\\\"eight by\\u0041tes\xc3\xa9 and then some more\"}",
    "{\"a\":1,\"a\":2}",
    "{\"a\":1,\"\\u0061\":2}",
    "{\"a\":{\"a\":1},\"b\":{\"a\":1}}",
    "{\"a\":1,}",
    "{\"a\":[1,]}",
    "{\"a\":[,1]}",
    "{\"a\" 1}",
    "{a:1}",
    "{'a':1}",
    "{\"a\":01}",
    "{\"a\":1.}",
    "{\"a\":.5}",
    "{\"a\":+1}",
    "{\"a\":-}",
    "{\"a\":1e}",
    "{\"a\":tru}",
    "{\"a\":nulll}",
    "{\"a\":NaN}",
    "{\"a\":1} x",
    "{\"a\":\"\t\"}",
    "{\"a\":\"\x7f\"}",
    "{\"a\":\"open",
    "{\"a\":\"\\",
    "{\"a\":\"\\x\"}",
    "{\"a\":\"\\u12g4\"}",
    "[1,2]",
    "\"text\"",
    "12",
    "",
    "\xef\xbb\xbf{}",
    "/* no */{}",
    "{\"1\":1,\"2\":1,\"3\":1,\"4\":1,\"5\":1,\"6\":1,\"7\":1,\"8\":1,\"9\":1,"
    "\"10\":1,\"11\":1,\"12\":1,\"13\":1,\"14\":1,\"15\":1,\"16\":1,\"17\":1,"
    "\"18\":1,\"19\":1}",
    "{\"1\":1,\"2\":1,\"3\":1,\"4\":1,\"5\":1,\"6\":1,\"7\":1,\"8\":1,\"9\":1,"
    "\"10\":1,\"11\":1,\"12\":1,\"13\":1,\"14\":1,\"15\":1,\"16\":1,\"17\":1,"
    "\"18\":1,\"3\":1}",
};
enum { TEXT_COUNT = sizeof(TEXTS) / sizeof(TEXTS[0]) };

static void assert_same(const struct cn_json *mine, const json_t *other);

static void assert_same_list(const struct cn_json *mine, const json_t *other)
{
    size_t i = 0;
    for (const struct cn_json *one = mine->first; one != NULL;
         one = one->next) {
        assert_same(one, json_array_get(other, i++));
    }
    assert_int_equal(i, json_array_size(other));
    assert_int_equal(i, mine->count);
}

static void assert_same_object(const struct cn_json *mine, const json_t *other)
{
    size_t count = 0;
    for (const struct cn_json *one = mine->first; one != NULL;
         one = one->next) {
        assert_int_equal(one->key_size, strlen(one->key));
        assert_same(one, json_object_get(other, one->key));
        count++;
    }
    assert_int_equal(count, json_object_size(other));
    assert_int_equal(count, mine->count);
}

static void assert_same(const struct cn_json *mine, const json_t *other)
{
    static const json_type TYPES[] = {
        [CN_JSON_NULL] = JSON_NULL,  [CN_JSON_FALSE] = JSON_FALSE,
        [CN_JSON_TRUE] = JSON_TRUE,  [CN_JSON_INTEGER] = JSON_INTEGER,
        [CN_JSON_REAL] = JSON_REAL,  [CN_JSON_TEXT] = JSON_STRING,
        [CN_JSON_LIST] = JSON_ARRAY, [CN_JSON_OBJECT] = JSON_OBJECT,
    };
    assert_non_null(other);
    assert_int_equal(TYPES[mine->kind], json_typeof(other));
    if (mine->kind == CN_JSON_INTEGER) {
        assert_true(mine->integer == json_integer_value(other));
    } else if (mine->kind == CN_JSON_REAL) {
        double real = json_real_value(other);
        assert_memory_equal(&mine->real, &real, sizeof(real));
    } else if (mine->kind == CN_JSON_TEXT) {
        assert_int_equal(mine->count, json_string_length(other));
        assert_string_equal(mine->text, json_string_value(other));
    } else if (mine->kind == CN_JSON_LIST) {
        assert_same_list(mine, other);
    } else if (mine->kind == CN_JSON_OBJECT) {
        assert_same_object(mine, other);
    }
}

static void compare(const char *text, size_t size)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(1 << 20);
    const struct cn_json *mine = NULL;
    struct cn_err err = { 0 };
    json_error_t error;
    json_t *other = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    enum cn_code rc = cn_json_parse(arena, text, size, &mine, &err);

    /* jansson overlooks a NUL between two tokens. */
    bool has_nul = memchr(text, '\0', size) != NULL;
    if (other == NULL || !json_is_object(other) || has_nul) {
        assert_int_equal(rc, CN_MALFORMED);
        if (strstr(err.msg, "a key twice") != NULL) {
            assert_int_equal(json_error_code(&error), json_error_duplicate_key);
        }
    } else {
        if (rc != CN_OK) {
            print_message("refused: %.*s\n%s\n", (int)size, text, err.msg);
        }
        assert_int_equal(rc, CN_OK);
        assert_same(mine, other);
    }
    json_decref(other);
}

static void both_take_and_refuse_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < TEXT_COUNT; i++) {
        for (size_t size = 0; size <= strlen(TEXTS[i]); size++) {
            compare(TEXTS[i], size);
        }
    }
}

static uint32_t s_seed = 20261122;

static uint32_t draw(uint32_t below)
{
    s_seed ^= s_seed << 13;
    s_seed ^= s_seed >> 17;
    s_seed ^= s_seed << 5;
    return s_seed % below;
}

/* Bytes changed, cut out, doubled or taken from another text. */
static size_t mutate(char *text, size_t size)
{
    static const char BYTES[] =
        "{}[],:\"\\0-.eE1u \n\t\x01\x7f\x80\xc3\xa9\xed\xf0";
    size_t at = draw((uint32_t)size);
    switch (draw(4)) {
    case 0:
        text[at] = BYTES[draw(sizeof(BYTES))];
        break;
    case 1:
        memmove(text + at, text + at + 1, size - at - 1);
        return size - 1;
    case 2:
        if (size < TEXT_MAX) {
            memmove(text + at + 1, text + at, size - at);
            return size + 1;
        }
        break;
    default: {
        const char *from = TEXTS[draw(TEXT_COUNT)];
        size_t have = strlen(from);
        if (have > 0) {
            text[at] = from[draw((uint32_t)have)];
        }
        break;
    }
    }
    return size;
}

static void both_judge_broken_texts_alike(void **state)
{
    (void)state;
    for (int i = 0; i < MUTATIONS; i++) {
        char text[TEXT_MAX + 1];
        const char *from = TEXTS[draw(TEXT_COUNT)];
        size_t size = strlen(from);
        memcpy(text, from, size);
        for (uint32_t n = draw(4); size > 0 && n > 0; n--) {
            size = mutate(text, size);
        }
        compare(text, size);
    }
}

/* "{"a":[[[...]]]}" of so many levels. */
static enum cn_code parse_deep(size_t levels)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(1 << 20);
    const struct cn_json *json = NULL;
    struct cn_err err = { 0 };
    char text[1000] = "{\"a\":";
    size_t size = strlen(text);
    memset(text + size, '[', levels - 1);
    memset(text + size + levels - 1, ']', levels - 1);
    size += 2 * (levels - 1);
    text[size++] = '}';
    return cn_json_parse(arena, text, size, &json, &err);
}

static void depth_is_bounded(void **state)
{
    (void)state;
    assert_int_equal(parse_deep(CN_JSON_DEPTH_MAX), CN_OK);
    assert_int_equal(parse_deep(CN_JSON_DEPTH_MAX + 1), CN_MALFORMED);
}

static void many_values_are_refused_and_short_memory_is_told(void **state)
{
    (void)state;
    static char text[200000] = "{\"a\":[1";
    size_t size = strlen(text);
    while (size < sizeof(text) - 4) {
        memcpy(text + size, ",1", 2);
        size += 2;
    }
    memcpy(text + size, "]}", 2);
    size += 2;
    const size_t budgets[] = { 64 << 20, 300000 };
    const enum cn_code codes[] = { CN_MALFORMED, CN_NOMEM };
    for (size_t i = 0; i < 2; i++) {
        CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(budgets[i]);
        const struct cn_json *json = NULL;
        struct cn_err err = { 0 };
        assert_int_equal(cn_json_parse(arena, text, size, &json, &err),
                         codes[i]);
    }
}

static void the_place_of_a_fault_is_told(void **state)
{
    (void)state;
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(1 << 20);
    const struct cn_json *json = NULL;
    struct cn_err err = { 0 };
    static const char TEXT[] = "{\n \"a\": 1,\n \"b\": nobody\n}";
    assert_int_equal(cn_json_parse(arena, TEXT, strlen(TEXT), &json, &err),
                     CN_MALFORMED);
    assert_string_equal(err.msg, "this is not JSON at line 3, column 6");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_take_and_refuse_the_same),
        cmocka_unit_test(both_judge_broken_texts_alike),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(many_values_are_refused_and_short_memory_is_told),
        cmocka_unit_test(the_place_of_a_fault_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
