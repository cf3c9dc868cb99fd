/* SPDX-License-Identifier: Apache-2.0 */
/* Sealing: what can be opened, and what must not be. */
#include "cairn/envelope.pb-c.h"
#include "common/base/env.h"
#include "common/wire/message.h"
#include "common/wire/seal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define KEY_A "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define KEY_B "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100"

static const struct cn_uuid s_tenant = { { 1, 2, 3 } };
static const struct cn_uuid s_other = { { 1, 2, 4 } };
static const char s_context[] = "referrals.referral.body";

struct world {
    struct cn_env env;
    struct cn_arena *arena;
    struct cn_err err;
};

static int s_setup(void **state)
{
    static struct world world;
    world.env = cn_env_real();
    world.arena = cn_arena_new(1 << 22);
    cn_err_clear(&world.err);
    world.env.seal = cn_seal_new("7:" KEY_A "\n", &world.err);
    *state = &world;
    return world.arena == NULL || world.env.seal == NULL ? -1 : 0;
}

static int s_teardown(void **state)
{
    struct world *world = *state;
    cn_seal_free(world->env.seal);
    cn_arena_free(world->arena);
    return 0;
}

static struct cn_bytes s_bytes(const char *text)
{
    return (struct cn_bytes){ (const uint8_t *)text, strlen(text) };
}

static struct cn_bytes s_seal(struct world *world, struct cn_bytes plain)
{
    struct cn_bytes sealed = { 0 };
    assert_int_equal(cn_seal(&world->env, world->arena, s_tenant, s_context,
                             plain, &sealed, &world->err),
                     CN_OK);
    return sealed;
}

static enum cn_code s_open(struct world *world, struct cn_bytes sealed)
{
    struct cn_bytes plain = { 0 };
    return cn_unseal(&world->env, world->arena, s_tenant, s_context, sealed,
                     &plain, &world->err);
}

static void sealed_bytes_of_any_size_open(void **state)
{
    struct world *world = *state;
    uint8_t data[300];
    memset(data, 'x', sizeof data);
    for (size_t size = 0; size < sizeof data; size++) {
        struct cn_bytes sealed = s_seal(world, (struct cn_bytes){ data, size });
        struct cn_bytes plain = { 0 };
        assert_int_equal(sealed.size, size + CN_SEAL_OVERHEAD);
        assert_int_equal(cn_unseal(&world->env, world->arena, s_tenant,
                                   s_context, sealed, &plain, &world->err),
                         CN_OK);
        assert_int_equal(plain.size, size);
        assert_memory_equal(plain.data, data, size);
    }
    assert_int_equal(s_open(world, s_seal(world, (struct cn_bytes){ 0 })),
                     CN_OK);
}

static void the_form_is_version_key_id_nonce_and_text(void **state)
{
    struct world *world = *state;
    struct cn_bytes one = s_seal(world, s_bytes("the same text"));
    struct cn_bytes two = s_seal(world, s_bytes("the same text"));
    static const uint8_t head[5] = { 1, 0, 0, 0, 7 };
    assert_memory_equal(one.data, head, 5);
    /* No nonce comes twice, and the sealed bytes hold no part of the text. */
    assert_memory_not_equal(one.data + 5, two.data + 5, 24);
    assert_memory_not_equal(one.data + 29, two.data + 29, 13);
    assert_null(memmem(one.data, one.size, "same", 4));
}

static void any_changed_bit_keeps_it_shut(void **state)
{
    struct world *world = *state;
    struct cn_bytes sealed = s_seal(world, s_bytes("blood pressure"));
    for (size_t i = 0; i < sealed.size * 8; i++) {
        uint8_t *copy = cn_arena_copy(world->arena, sealed.data, sealed.size);
        assert_non_null(copy);
        copy[i / 8] ^= (uint8_t)(1U << i % 8);
        assert_int_equal(s_open(world, (struct cn_bytes){ copy, sealed.size }),
                         CN_INTERNAL);
    }
    for (size_t size = 0; size < sealed.size; size++) {
        assert_int_equal(s_open(world, (struct cn_bytes){ sealed.data, size }),
                         CN_INTERNAL);
    }
    assert_int_equal(s_open(world, sealed), CN_OK);
}

static void another_tenant_or_place_keeps_it_shut(void **state)
{
    struct world *world = *state;
    struct cn_bytes sealed = s_seal(world, s_bytes("blood pressure"));
    struct cn_bytes plain = { 0 };
    assert_int_equal(cn_unseal(&world->env, world->arena, s_other, s_context,
                               sealed, &plain, &world->err),
                     CN_INTERNAL);
    assert_int_equal(cn_unseal(&world->env, world->arena, s_tenant,
                               "referrals.referral.bod", sealed, &plain,
                               &world->err),
                     CN_INTERNAL);
    assert_null(plain.data);
    assert_null(strstr(world->err.msg, "pressure"));
}

static void an_old_key_opens_and_the_first_seals(void **state)
{
    struct world *world = *state;
    struct cn_bytes old = s_seal(world, s_bytes("old"));
    struct cn_seal *before = world->env.seal;
    world->env.seal =
        cn_seal_new("4294967295:" KEY_B "\r\n7:" KEY_A, &world->err);
    assert_non_null(world->env.seal);
    assert_int_equal(s_open(world, old), CN_OK);
    struct cn_bytes new = s_seal(world, s_bytes("new"));
    static const uint8_t head[5] = { 1, 255, 255, 255, 255 };
    assert_memory_equal(new.data, head, 5);
    assert_int_equal(s_open(world, new), CN_OK);
    cn_seal_free(world->env.seal);
    world->env.seal = before;
    assert_int_equal(s_open(world, new), CN_INTERNAL);
    /* The same id with another key does not open either. */
    world->env.seal = cn_seal_new("7:" KEY_B, &world->err);
    assert_int_equal(s_open(world, old), CN_INTERNAL);
    cn_seal_free(world->env.seal);
    world->env.seal = before;
}

static void keys_that_are_malformed_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "\n\n",
        "7",
        "7:",
        ":" KEY_A,
        "7:00",
        "7:" KEY_A "0",
        "7:" KEY_A " ",
        "-7:" KEY_A,
        "7 :" KEY_A,
        "4294967296:" KEY_A,
        "7:" KEY_A "\n7:" KEY_B,
        "7:" KEY_A "\nx",
        "7:g00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        "7:0:010203040506070809a0b0c0d0e0f101112131415161718191a1b1c1d1e1f0",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct cn_err err = { 0 };
        assert_null(cn_seal_new(bad[i], &err));
        assert_int_equal(err.code, CN_INVALID);
        assert_null(strstr(err.msg, "0001"));
    }
    struct cn_err err = { 0 };
    assert_null(cn_seal_new(NULL, &err));
    char many[17 * 80] = "";
    size_t size = 0;
    for (int i = 0; i < 17; i++) {
        size += (size_t)snprintf(many + size, sizeof many - size,
                                 "%d:" KEY_A "\n", i);
    }
    assert_null(cn_seal_new(many, &err));
    cn_seal_free(NULL);
}

static void short_memory_is_told(void **state)
{
    struct world *world = *state;
    struct cn_bytes sealed = s_seal(world, s_bytes("text"));
    struct cn_bytes out = { 0 };
    cn_arena_fail_at(world->arena, 1);
    assert_int_equal(s_open(world, sealed), CN_NOMEM);
    assert_int_equal(cn_seal(&world->env, world->arena, s_tenant, s_context,
                             s_bytes("x"), &out, &world->err),
                     CN_NOMEM);
    assert_null(out.data);
}

static void a_message_comes_back_and_another_type_does_not(void **state)
{
    struct world *world = *state;
    Env__FieldError field = ENV__FIELD_ERROR__INIT;
    field.pointer = "/name";
    field.word = "missing";
    struct cn_bytes sealed = { 0 };
    assert_int_equal(cn_seal_message(&world->env, world->arena, s_tenant,
                                     s_context, &field.base, &sealed,
                                     &world->err),
                     CN_OK);
    ProtobufCMessage *message = NULL;
    assert_int_equal(cn_unseal_message(
                         &world->env, world->arena, s_tenant, s_context, sealed,
                         &env__field_error__descriptor, &message, &world->err),
                     CN_OK);
    const Env__FieldError *back = (const Env__FieldError *)(void *)message;
    assert_string_equal(back->pointer, "/name");
    assert_string_equal(back->word, "missing");
    assert_null(back->message);

    sealed = s_seal(world, s_bytes("\x0a\xff no message"));
    assert_int_equal(cn_unseal_message(
                         &world->env, world->arena, s_tenant, s_context, sealed,
                         &env__field_error__descriptor, &message, &world->err),
                     CN_INTERNAL);
}

static void a_mac_depends_on_the_key_and_the_data(void **state)
{
    struct world *world = *state;
    uint8_t one[16];
    uint8_t two[16];
    cn_seal_mac(world->env.seal, s_bytes("a"), one);
    cn_seal_mac(world->env.seal, s_bytes("a"), two);
    assert_true(cn_equal_secret(one, two, 16));
    cn_seal_mac(world->env.seal, s_bytes("b"), two);
    assert_false(cn_equal_secret(one, two, 16));
    struct cn_seal *other = cn_seal_new("7:" KEY_B, &world->err);
    assert_non_null(other);
    cn_seal_mac(other, s_bytes("a"), two);
    assert_false(cn_equal_secret(one, two, 16));
    cn_seal_free(other);
}

static void a_digest_is_that_of_the_standard(void **state)
{
    (void)state;
    /* FIPS 180-2, B.1. */
    static const uint8_t abc[CN_SHA256_SIZE] = {
        0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
        0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
        0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad
    };
    uint8_t digest[CN_SHA256_SIZE];
    cn_sha256(s_bytes("abc"), digest);
    assert_memory_equal(digest, abc, sizeof abc);
    struct cn_bytes parts[] = { s_bytes("a"), { NULL, 0 }, s_bytes("bc") };
    cn_sha256_parts(parts, 3, digest);
    assert_memory_equal(digest, abc, sizeof abc);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, s_setup, s_teardown)
    const struct CMUnitTest tests[] = {
        TEST(sealed_bytes_of_any_size_open),
        TEST(the_form_is_version_key_id_nonce_and_text),
        TEST(any_changed_bit_keeps_it_shut),
        TEST(another_tenant_or_place_keeps_it_shut),
        TEST(an_old_key_opens_and_the_first_seals),
        TEST(keys_that_are_malformed_are_refused),
        TEST(short_memory_is_told),
        TEST(a_message_comes_back_and_another_type_does_not),
        TEST(a_mac_depends_on_the_key_and_the_data),
        TEST(a_digest_is_that_of_the_standard),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
