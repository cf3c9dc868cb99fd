/* SPDX-License-Identifier: Apache-2.0 */
/* A cursor is good only for the list, the filters and the tenant that it was
 * made for. */
#include "common/store/cursor.h"
#include "common/wire/seal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const char s_filters[] = "referrals?state=received&branch=nil";

struct world {
    struct cn_env env;
    struct cn_request request;
    struct cn_err err;
};

static int s_setup(void **state)
{
    static struct world world;
    memset(&world, 0, sizeof world);
    world.env = cn_env_real();
    world.env.seal = cn_seal_new(
        "1:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        &world.err);
    world.request.env = &world.env;
    world.request.arena = cn_arena_new(1 << 20);
    world.request.principal.tenant_id.bytes[0] = 9;
    *state = &world;
    return 0;
}

static int s_teardown(void **state)
{
    struct world *world = *state;
    cn_seal_free(world->env.seal);
    cn_arena_free(world->request.arena);
    return 0;
}

static void
s_refused(struct world *world, const char *filters, const char *text)
{
    struct cn_cursor back = { .key = 42 };
    cn_err_clear(&world->err);
    assert_int_equal(
        cn_cursor_read(&world->request, filters, text, &back, &world->err),
        CN_MALFORMED);
    assert_string_equal(world->err.word, "invalid_cursor");
    assert_int_equal(back.key, 42);
}

static void a_cursor_comes_back(void **state)
{
    struct world *world = *state;
    static const int64_t keys[] = { 0,         1,         -1,
                                    INT64_MAX, INT64_MIN, 1772931600000000 };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        struct cn_cursor cursor = { keys[i], cn_uuid_new(&world->env) };
        const char *text = cn_cursor_write(&world->request, s_filters, cursor);
        assert_non_null(text);
        assert_int_equal(strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklm"
                                      "nopqrstuvwxyz0123456789-_"),
                         strlen(text));
        struct cn_cursor back = { 0 };
        assert_int_equal(cn_cursor_read(&world->request, s_filters, text, &back,
                                        &world->err),
                         CN_OK);
        assert_int_equal(back.key, keys[i]);
        assert_true(cn_uuid_equal(back.id, cursor.id));
    }
    cn_arena_fail_at(world->request.arena, 1);
    (void)cn_cursor_write(&world->request, s_filters, (struct cn_cursor){ 0 });
    assert_true(cn_arena_failed(world->request.arena));
}

static void another_list_or_tenant_is_refused(void **state)
{
    struct world *world = *state;
    struct cn_cursor cursor = { 5, cn_uuid_new(&world->env) };
    const char *text = cn_cursor_write(&world->request, s_filters, cursor);
    s_refused(world, "referrals?state=accepted&branch=nil", text);
    s_refused(world, "", text);
    world->request.principal.tenant_id.bytes[0] = 8;
    s_refused(world, s_filters, text);
}

static void any_other_text_is_refused(void **state)
{
    struct world *world = *state;
    struct cn_cursor cursor = { 5, cn_uuid_new(&world->env) };
    const char *text = cn_cursor_write(&world->request, s_filters, cursor);
    size_t size = strlen(text);
    char copy[128];
    static const char others[] = "Az09-_=+/ \x80";
    for (size_t i = 0; i < size; i++) {
        for (size_t j = 0; j < sizeof others; j++) {
            memcpy(copy, text, size + 1);
            copy[i] = others[j];
            if (others[j] != text[i]) {
                s_refused(world, s_filters, copy);
            }
        }
    }
    memcpy(copy, text, size + 1);
    copy[size] = 'A';
    copy[size + 1] = '\0';
    s_refused(world, s_filters, copy);
    s_refused(world, s_filters, "");
    s_refused(world, s_filters, NULL);
}

static void a_limit_is_within_its_bounds(void **state)
{
    struct world *world = *state;
    int limit = 0;
    assert_int_equal(cn_page_limit(false, 0, &limit, &world->err), CN_OK);
    assert_int_equal(limit, 50);
    assert_int_equal(cn_page_limit(true, 1, &limit, &world->err), CN_OK);
    assert_int_equal(limit, 1);
    assert_int_equal(cn_page_limit(true, 200, &limit, &world->err), CN_OK);
    assert_int_equal(limit, 200);
    static const int32_t bad[] = { 0, -1, 201, INT32_MAX, INT32_MIN };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cn_err_clear(&world->err);
        assert_int_equal(cn_page_limit(true, bad[i], &limit, &world->err),
                         CN_INVALID);
        assert_string_equal(world->err.fields[0].pointer, "/limit");
        assert_int_equal(limit, 200);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, s_setup, s_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_cursor_comes_back),
        TEST(another_list_or_tenant_is_refused),
        TEST(any_other_text_is_refused),
        TEST(a_limit_is_within_its_bounds),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
