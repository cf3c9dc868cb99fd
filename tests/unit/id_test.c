/* SPDX-License-Identifier: Apache-2.0 */
/* Ids: order, version bits, and both texts. */
#include "common/base/env.h"
#include "common/base/id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static int64_t s_now_at;
static unsigned char s_byte;

static int64_t s_now(struct cn_env *env)
{
    (void)env;
    return s_now_at;
}

static void s_random(struct cn_env *env, void *buffer, size_t size)
{
    (void)env;
    memset(buffer, s_byte, size);
}

static struct cn_env s_env(void)
{
    struct cn_env env = { .now = s_now, .random = s_random };
    return env;
}

static void an_id_holds_the_time_the_version_and_the_variant(void **state)
{
    (void)state;
    struct cn_env env = s_env();
    s_now_at = 0x0123456789ab * 1000 + 999;
    s_byte = 0xff;
    char text[CN_UUID_TEXT_SIZE];
    struct cn_uuid id = cn_uuid_new(&env);
    cn_uuid_format(id, text);
    assert_string_equal(text, "01234567-89ab-77ff-bfff-ffffffffffff");
    assert_int_equal(cn_uuid_made_at(id), 0x0123456789ab * 1000);
    id.bytes[6] ^= 0x30; /* of another version */
    assert_int_equal(cn_uuid_made_at(id), -1);
    s_now_at += 1000;
    s_byte = 0;
    cn_uuid_format(cn_uuid_new(&env), text);
    assert_string_equal(text, "01234567-89ac-7000-8000-000000000000");
}

static void ids_rise_while_the_clock_stands_or_goes_back(void **state)
{
    (void)state;
    struct cn_env env = s_env();
    s_now_at = (int64_t)1772931600 * 1000000;
    struct cn_uuid last = cn_uuid_new(&env);
    for (int i = 0; i < 20000; i++) {
        s_byte = (unsigned char)(251 * i);
        if (i == 9000) {
            s_now_at -= 5000000;
        }
        struct cn_uuid next = cn_uuid_new(&env);
        assert_true(cn_uuid_compare(last, next) < 0);
        assert_int_equal(next.bytes[6] >> 4, 7);
        assert_int_equal(next.bytes[8] >> 6, 2);
        last = next;
    }
    /* More than 4096 ids in one millisecond use the numbers of the next ones.
     */
    s_now_at += 15000000;
    assert_true(cn_uuid_compare(last, cn_uuid_new(&env)) < 0);
}

static void the_real_env_makes_ids_that_differ(void **state)
{
    (void)state;
    struct cn_env env = cn_env_real();
    struct cn_uuid last = cn_uuid_new(&env);
    for (int i = 0; i < 10000; i++) {
        struct cn_uuid next = cn_uuid_new(&env);
        assert_true(cn_uuid_compare(last, next) < 0);
        assert_memory_not_equal(last.bytes + 8, next.bytes + 8, 8);
        last = next;
    }
    unsigned char large[5000] = { 0 };
    env.random(&env, large, sizeof large);
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof large; i++) {
        sum += large[i];
    }
    assert_in_range(sum / sizeof large, 100, 155);
}

static void a_uuid_text_comes_back(void **state)
{
    (void)state;
    struct cn_uuid id = { { 0 } };
    assert_true(cn_uuid_is_nil(id));
    assert_true(cn_uuid_parse("01890a5d-AC96-774b-bcce-b302099a8057", &id));
    assert_false(cn_uuid_is_nil(id));
    char text[CN_UUID_TEXT_SIZE];
    cn_uuid_format(id, text);
    assert_string_equal(text, "01890a5d-ac96-774b-bcce-b302099a8057");
    assert_true(cn_uuid_equal(id, id));
    static const char *const bad[] = {
        "",
        "01890a5d-ac96-774b-bcce-b302099a805",
        "01890a5d-ac96-774b-bcce-b302099a80577",
        "01890a5dac96-774b-bcce-b302099a80577",
        "01890a5d-ac96-774b-bcce-b302099a805g",
        "01890a5d-ac96-774b+bcce-b302099a8057",
        "{1890a5d-ac96-774b-bcce-b302099a8057",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(cn_uuid_parse(bad[i], &id));
    }
    assert_false(cn_uuid_parse(NULL, &id));
    cn_uuid_format(id, text);
    assert_string_equal(text, "01890a5d-ac96-774b-bcce-b302099a8057");
}

static void an_outside_id_comes_back(void **state)
{
    (void)state;
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(1 << 20);
    struct cn_env env = cn_env_real();
    char before[CN_ID_TEXT_MAX] = "ref_";
    for (int i = 0; i < 1000; i++) {
        struct cn_uuid id = cn_uuid_new(&env);
        char text[CN_ID_TEXT_MAX];
        cn_id_format("ref", id, text);
        assert_int_equal(strlen(text), 4 + CN_ID_BASE32_SIZE);
        /* The texts sort as the ids do. */
        assert_true(strcmp(before, text) < 0);
        memcpy(before, text, sizeof before);
        struct cn_uuid back = { { 0 } };
        assert_true(cn_id_parse("ref", text, &back));
        assert_true(cn_uuid_equal(id, back));
        assert_false(cn_id_parse("pat", text, &back));
        assert_false(cn_id_parse("re", text, &back));
    }
    struct cn_uuid all;
    memset(&all, 0xff, sizeof all);
    assert_string_equal(cn_id_text(arena, "evt", all),
                        "evt_7zzzzzzzzzzzzzzzzzzzzzzzzz");
    cn_arena_fail_at(arena, 1);
    assert_non_null(cn_id_text(arena, "evt", all));
    assert_true(cn_arena_failed(arena));
}

static void what_is_no_outside_id_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "ref",
        "ref_",
        "ref_7zzzzzzzzzzzzzzzzzzzzzzzz",
        "ref_7zzzzzzzzzzzzzzzzzzzzzzzzzz",
        "ref_8zzzzzzzzzzzzzzzzzzzzzzzzz",
        "ref_7zzzzzzzzzzzzzzzzzzzzzzzzi",
        "ref_7zzzzzzzzzzzzzzzzzzzzzzzzu",
        "ref_7ZZZZZZZZZZZZZZZZZZZZZZZZZ",
        "ref_7zzzzzzzzzzz zzzzzzzzzzzzz",
        "REF_7zzzzzzzzzzzzzzzzzzzzzzzzz",
    };
    struct cn_uuid id = { { 0 } };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(cn_id_parse("ref", bad[i], &id));
    }
    assert_false(cn_id_parse("ref", NULL, &id));
    assert_true(cn_uuid_is_nil(id));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_holds_the_time_the_version_and_the_variant),
        cmocka_unit_test(ids_rise_while_the_clock_stands_or_goes_back),
        cmocka_unit_test(the_real_env_makes_ids_that_differ),
        cmocka_unit_test(a_uuid_text_comes_back),
        cmocka_unit_test(an_outside_id_comes_back),
        cmocka_unit_test(what_is_no_outside_id_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
