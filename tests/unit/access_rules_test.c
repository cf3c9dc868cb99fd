/* SPDX-License-Identifier: Apache-2.0 */
/* The form of a key, who may use it, and which identity data is valid. */
#include "cairn/access.cairn.h"
#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/store/record.h"
#include "common/wire/message.h"
#include "common/wire/seal.h"
#include "services/access/rules.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* cmocka needs three of the above. */
#include <cmocka.h>

static const char BRANCH[] = "brn_00000000000000000000000001";
static const char PREFIX[] = "cairn_live_";
enum { PREFIX_SIZE = sizeof(PREFIX) - 1 };

/* ---- the key's text ---- */

static void a_key_is_prefix_randomness_and_checksum(void **state)
{
    uint8_t random[API_KEY_RANDOM_SIZE];
    char text[API_KEY_TEXT_MAX];
    (void)state;
    for (size_t i = 0; i < sizeof(random); i++) {
        random[i] = (uint8_t)(i * 37);
    }
    api_key_text(random, text);
    const size_t body = PREFIX_SIZE + API_KEY_RANDOM_SIZE;
    assert_int_equal(strlen(text), body + API_KEY_CHECK_SIZE);
    assert_memory_equal(text, PREFIX, PREFIX_SIZE);
    for (size_t i = PREFIX_SIZE; i < body; i++) {
        assert_true(isalnum((unsigned char)text[i]));
    }
    uint8_t digest[CN_SHA256_SIZE];
    char check[API_KEY_CHECK_SIZE + 1];
    cn_sha256((struct cn_bytes){ (const uint8_t *)text, body }, digest);
    (void)snprintf(check, sizeof(check), "%02x%02x%02x", digest[0], digest[1],
                   digest[2]);
    assert_string_equal(text + body, check);
}

static void two_keys_differ_by_any_byte_of_their_randomness(void **state)
{
    uint8_t random[API_KEY_RANDOM_SIZE] = { 0 };
    char first[API_KEY_TEXT_MAX];
    char other[API_KEY_TEXT_MAX];
    (void)state;
    api_key_text(random, first);
    for (size_t i = 0; i < sizeof(random); i++) {
        random[i]++;
        api_key_text(random, other);
        assert_string_not_equal(first, other);
        random[i]--;
    }
}

/* ---- who may use it ---- */

static void a_key_is_usable_until_it_ends_or_its_person_does(void **state)
{
    static const struct {
        bool revoked;
        int64_t expires_at; /* 0: never */
        int active;         /* of the person; -1: an integration, 2: not said */
        bool usable;
    } ROWS[] = {
        { false, 0, -1, true },   { true, 0, -1, false },
        { false, 101, -1, true }, { false, 100, -1, false },
        { false, 99, -1, false }, { true, 101, -1, false },
        { false, 0, 1, true },    { false, 0, 2, true },
        { false, 0, 0, false },   { true, 0, 1, false },
    };
    (void)state;
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        Acc__ApiKey key = ACC__API_KEY__INIT;
        Acc__User user = ACC__USER__INIT;
        if (ROWS[i].revoked) {
            CN_SET(&key, revoked_at, 1);
        }
        if (ROWS[i].expires_at != 0) {
            CN_SET(&key, expires_at, ROWS[i].expires_at);
        }
        if (ROWS[i].active != 2) {
            CN_SET(&user, active, ROWS[i].active == 1);
        }
        bool usable =
            api_key_usable(&key, ROWS[i].active == -1 ? NULL : &user, 100);
        if (usable != ROWS[i].usable) {
            fail_msg("row %zu", i);
        }
    }
}

/* ---- what is valid ---- */

static void assert_fault(const struct cn_err *err,
                         unsigned at,
                         const char *pointer,
                         const char *word)
{
    assert_true(at < err->field_count);
    assert_string_equal(err->fields[at].pointer, pointer);
    assert_string_equal(err->fields[at].word, word);
}

static struct cn_op s_op(struct cn_arena *arena, struct cn_err *err)
{
    return (struct cn_op){ .arena = arena, .err = err };
}

/* The rules for a user and for a key that a client sent. */
static enum cn_code s_user_checked(const Acc__User *user, struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    struct cn_op op = s_op(arena, err);
    cn_require_fields(&op, &acc__user__shape, user);
    user_check(&op, user);
    return err->code;
}

static enum cn_code s_key_checked(const Acc__ApiKey *key, struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    struct cn_op op = s_op(arena, err);
    cn_require_fields(&op, &acc__api_key__shape, key);
    api_key_check(&op, key);
    return err->code;
}

static void agencies_and_branches_need_name_and_zone(void **state)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    Acc__Agency agency = ACC__AGENCY__INIT;
    Acc__Branch branch = ACC__BRANCH__INIT;
    struct cn_err err = { 0 };
    struct cn_op op = s_op(arena, &err);
    (void)state;
    cn_require_fields(&op, &acc__agency__shape, &agency);
    assert_int_equal(err.code, CN_INVALID);
    assert_int_equal(err.field_count, 2);
    assert_fault(&err, 0, "/name", "required");
    assert_fault(&err, 1, "/time_zone", "required");
    cn_err_clear(&err);
    agency.name = "Example";
    agency.time_zone = "America/Chicago";
    cn_require_fields(&op, &acc__agency__shape, &agency);
    assert_int_equal(err.code, CN_OK);
    branch.name = "";
    branch.time_zone = "America/Chicago";
    cn_require_fields(&op, &acc__branch__shape, &branch);
    assert_int_equal(err.code, CN_INVALID);
    assert_fault(&err, 0, "/name", "required");
    cn_err_clear(&err);
    branch.name = "North";
    cn_require_fields(&op, &acc__branch__shape, &branch);
    assert_int_equal(err.code, CN_OK);
}

static void a_role_is_one_of_the_policys(void **state)
{
    static const struct {
        const char *role;
        const char *word; /* NULL: it may be granted */
    } ROWS[] = {
        { "coordinator", NULL },
        { "integrator", NULL },
        { "administrator", NULL },
        { "physician_office", NULL },
        { "platform", "unknown_role" },
        { "root", "unknown_role" },
        { "Coordinator", "unknown_role" },
        { "", "required" },
        { NULL, "required" },
    };
    (void)state;
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        Acc__User user = ACC__USER__INIT;
        Acc__ApiKey key = ACC__API_KEY__INIT;
        struct cn_err err = { 0 };
        user.name = key.name = "Example";
        user.email = "someone@agency.example";
        user.role = key.role = ROWS[i].role;
        enum cn_code expected = ROWS[i].word == NULL ? CN_OK : CN_INVALID;
        assert_int_equal(s_user_checked(&user, &err), expected);
        if (ROWS[i].word != NULL) {
            assert_fault(&err, 0, "/role", ROWS[i].word);
        }
        cn_err_clear(&err);
        assert_int_equal(s_key_checked(&key, &err), expected);
    }
}

static void the_pointer_names_the_branch_at_fault(void **state)
{
    const char *ids[] = { BRANCH, "ref_00000000000000000000000001", "x" };
    Acc__User user = ACC__USER__INIT;
    Acc__ApiKey key = ACC__API_KEY__INIT;
    struct cn_err err = { 0 };
    (void)state;
    user.name = key.name = "Example";
    user.email = "someone@agency.example";
    user.role = key.role = "coordinator";
    user.branch_ids = key.branch_ids = ids;
    user.n_branch_ids = key.n_branch_ids = CN_COUNT(ids);
    assert_int_equal(s_user_checked(&user, &err), CN_INVALID);
    assert_int_equal(err.field_count, 2);
    assert_fault(&err, 0, "/branch_ids/1", "invalid_value");
    assert_fault(&err, 1, "/branch_ids/2", "invalid_value");
    cn_err_clear(&err);
    key.n_branch_ids = 1;
    key.branch_id = "brn_1";
    assert_int_equal(s_key_checked(&key, &err), CN_INVALID);
    assert_fault(&err, 0, "/branch_id", "invalid_value");
    cn_err_clear(&err);
    key.branch_id = BRANCH;
    assert_int_equal(s_key_checked(&key, &err), CN_OK);
}

static void a_key_is_granted_what_its_role_has_alone(void **state)
{
    const char *scopes[] = { "referrals:read", "referrals:decide",
                             "admin:platform" };
    Acc__ApiKey key = ACC__API_KEY__INIT;
    struct cn_err err = { 0 };
    (void)state;
    key.name = "Example";
    key.role = "coordinator";
    key.scopes = scopes;
    key.n_scopes = 2;
    assert_int_equal(s_key_checked(&key, &err), CN_OK);
    key.n_scopes = CN_COUNT(scopes);
    assert_int_equal(s_key_checked(&key, &err), CN_INVALID);
    assert_int_equal(err.field_count, 1);
    assert_fault(&err, 0, "/scopes/2", "unknown_scope");
    cn_err_clear(&err);
    key.role = "integrator"; /* who decides nothing */
    key.n_scopes = 2;
    assert_int_equal(s_key_checked(&key, &err), CN_INVALID);
    assert_fault(&err, 0, "/scopes/1", "unknown_scope");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_prefix_randomness_and_checksum),
        cmocka_unit_test(two_keys_differ_by_any_byte_of_their_randomness),
        cmocka_unit_test(a_key_is_usable_until_it_ends_or_its_person_does),
        cmocka_unit_test(agencies_and_branches_need_name_and_zone),
        cmocka_unit_test(a_role_is_one_of_the_policys),
        cmocka_unit_test(the_pointer_names_the_branch_at_fault),
        cmocka_unit_test(a_key_is_granted_what_its_role_has_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
