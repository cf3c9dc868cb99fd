/* SPDX-License-Identifier: Apache-2.0 */
/* Agencies, branches, users and keys against a real PostgreSQL. */
#include "cairn/access.cairn.h"
#include "cairn/access.handlers.h"
#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/wire/message.h"
#include "common/wire/seal.h"
#include "services/access/rules.h"
#include "services/access/service.h"
#include "services/access/store.h"
#include "tests/lib/call.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the four above it. */
#include <cmocka.h>

enum { CONNECTIONS = 4 };

static const char PLATFORM_KEY[] = "cairn_live_platform";
static struct test_pg *s_pg;
static struct access_service s_access;
static struct cn_service s_service;
static const struct test_caller ADMINISTRATOR = { .role = "administrator" };
static const struct test_caller PLATFORM = {
    .role = "platform",
    .subject = "platform",
};

/* ---- what the tests ask for ---- */

static const Acc__Branch *s_branch_make(struct test_world *world,
                                        const struct test_caller *caller,
                                        const char *name)
{
    Acc__CreateBranchRequest request = ACC__CREATE_BRANCH_REQUEST__INIT;
    Acc__Branch branch = ACC__BRANCH__INIT;
    branch.name = name;
    branch.time_zone = "America/Denver";
    request.branch = &branch;
    struct test_answer answer =
        test_call(world, &s_service, caller, "CreateBranch", &request.base);
    assert_int_equal(answer.rc, CN_OK);
    return answer.body;
}

static struct test_answer s_branch_get(struct test_world *world, const char *id)
{
    Acc__GetBranchRequest request = ACC__GET_BRANCH_REQUEST__INIT;
    request.id = id;
    return test_call(world, &s_service, &ADMINISTRATOR, "GetBranch",
                     &request.base);
}

static struct test_answer
s_user_make(struct test_world *world, const char *role, const char *branch_id)
{
    Acc__CreateUserRequest request = ACC__CREATE_USER_REQUEST__INIT;
    Acc__User user = ACC__USER__INIT;
    user.name = "Example Coordinator";
    user.email = "coordinator@agency.example";
    user.role = role;
    user.branch_ids = &branch_id;
    user.n_branch_ids = branch_id != NULL;
    request.user = &user;
    return test_call(world, &s_service, &ADMINISTRATOR, "CreateUser",
                     &request.base);
}

static struct test_answer s_key_make(struct test_world *world,
                                     const struct test_caller *caller,
                                     const Acc__ApiKey *key)
{
    Acc__CreateApiKeyRequest request = ACC__CREATE_API_KEY_REQUEST__INIT;
    Acc__ApiKey copy = *key;
    request.api_key = &copy;
    return test_call(world, &s_service, caller, "CreateApiKey", &request.base);
}

static Acc__ApiKey s_key(const char *role)
{
    Acc__ApiKey key = ACC__API_KEY__INIT;
    key.name = "Example integration";
    key.role = role;
    return key;
}

static const Acc__ResolveKeyResponse *
s_resolve_at(struct test_world *world, const char *text, int64_t now_at)
{
    Acc__ResolveKeyRequest request = ACC__RESOLVE_KEY_REQUEST__INIT;
    uint8_t hash[CN_SHA256_SIZE];
    const struct test_caller nobody = { .role = "", .now_at = now_at };
    cn_sha256((struct cn_bytes){ (const uint8_t *)text, strlen(text) }, hash);
    request.has_key_hash = 1;
    request.key_hash = (ProtobufCBinaryData){ sizeof(hash), hash };
    struct test_answer answer =
        test_call(world, &s_service, &nobody, "ResolveKey", &request.base);
    assert_int_equal(answer.rc, CN_OK);
    return answer.body;
}

static const Acc__ResolveKeyResponse *s_resolve(struct test_world *world,
                                                const char *text)
{
    return s_resolve_at(world, text, 0);
}

static struct test_answer s_revoke(struct test_world *world, const char *id)
{
    Acc__RevokeApiKeyRequest request = ACC__REVOKE_API_KEY_REQUEST__INIT;
    request.id = id;
    return test_call(world, &s_service, &ADMINISTRATOR, "RevokeApiKey",
                     &request.base);
}

/* ---- branches ---- */

static void s_branch_is_kept(struct test_world *world)
{
    const Acc__Branch *made = s_branch_make(world, &ADMINISTRATOR, "North");
    assert_int_equal(made->version, 1);
    struct test_answer got = s_branch_get(world, made->id);
    assert_int_equal(got.rc, CN_OK);
    const Acc__Branch *branch = got.body;
    assert_string_equal(branch->name, "North");
    assert_string_equal(branch->time_zone, "America/Denver");
    assert_int_equal(branch->created_at, made->created_at);
    assert_int_equal(got.reply.version, 1);
    assert_int_equal(test_rows(world, "outbox",
                               "type = 'branch.created'"
                               " AND aggregate_seq = 1"),
                     1);
    assert_int_equal(test_rows(world, "audit", "action = 'branch.create'"), 1);
}

/* ---- users ---- */

static void s_user_names_known_branches(struct test_world *world)
{
    const Acc__Branch *branch = s_branch_make(world, &ADMINISTRATOR, "North");
    struct test_answer made = s_user_make(world, "coordinator", branch->id);
    assert_int_equal(made.rc, CN_OK);
    assert_true(((const Acc__User *)made.body)->active);
    const char *unknown =
        cn_id_text(world->arena, "brn", cn_uuid_new(&world->env));
    struct test_answer refused = s_user_make(world, "coordinator", unknown);
    assert_int_equal(refused.rc, CN_INVALID);
    assert_string_equal(refused.err.fields[0].pointer, "/branch_ids");
    assert_string_equal(refused.err.fields[0].word, "unknown_branch");
}

static void s_role_change_is_told_as_such(struct test_world *world)
{
    struct test_answer made = s_user_make(world, "coordinator", NULL);
    const Acc__User *user = made.body;
    Acc__UpdateUserRequest request = ACC__UPDATE_USER_REQUEST__INIT;
    Acc__User patch = ACC__USER__INIT;
    const char *mask[] = { "role" };
    patch.role = "supervisor";
    request.id = user->id;
    request.user = &patch;
    request.update_mask = mask;
    request.n_update_mask = 1;
    struct test_answer changed = test_call(world, &s_service, &ADMINISTRATOR,
                                           "UpdateUser", &request.base);
    assert_int_equal(changed.rc, CN_OK);
    assert_int_equal(test_rows(world, "outbox", "type = 'role.changed'"), 1);
    /* The same patch again changes nothing: no version, no event, no audit
     * row. */
    changed = test_call(world, &s_service, &ADMINISTRATOR, "UpdateUser",
                        &request.base);
    assert_int_equal(changed.rc, CN_OK);
    assert_int_equal(changed.reply.version, 2);
    assert_int_equal(test_rows(world, "outbox", "type <> 'user.created'"), 1);
    assert_int_equal(test_rows(world, "audit", "action = 'user.update'"), 1);
    mask[0] = "active";
    CN_SET(&patch, active, 0);
    changed = test_call(world, &s_service, &ADMINISTRATOR, "UpdateUser",
                        &request.base);
    assert_int_equal(changed.rc, CN_OK);
    assert_int_equal(test_rows(world, "outbox", "type = 'user.changed'"), 1);
}

/* ---- keys ---- */

static void s_key_is_shown_once(struct test_world *world)
{
    Acc__ApiKey wanted = s_key("coordinator");
    struct test_caller caller = ADMINISTRATOR;
    caller.key = "key-1";
    struct test_answer made = s_key_make(world, &caller, &wanted);
    assert_int_equal(made.rc, CN_OK);
    const Acc__ApiKey *key = made.body;
    assert_non_null(key->key);
    Acc__GetApiKeyRequest get = ACC__GET_API_KEY_REQUEST__INIT;
    get.id = key->id;
    struct test_answer got =
        test_call(world, &s_service, &ADMINISTRATOR, "GetApiKey", &get.base);
    assert_int_equal(got.rc, CN_OK);
    assert_null(((const Acc__ApiKey *)got.body)->key);
    Acc__ListApiKeysRequest list = ACC__LIST_API_KEYS_REQUEST__INIT;
    struct test_answer listed =
        test_call(world, &s_service, &ADMINISTRATOR, "ListApiKeys", &list.base);
    const Acc__ListApiKeysResponse *page = listed.body;
    assert_int_equal(page->n_data, 1);
    assert_null(page->data[0]->key);
    assert_string_equal(page->data[0]->prefix, key->prefix);
    /* The repeated call gets the first call's answer, with the key. */
    struct test_answer again = s_key_make(world, &caller, &wanted);
    assert_true(again.reply.replayed);
    assert_string_equal(((const Acc__ApiKey *)again.body)->key, key->key);
    /* Nothing in the database holds it in the clear. */
    assert_int_equal(test_rows(world, "api_key",
                               "position("
                               "'cairn_live'::bytea IN body) > 0"),
                     0);
    assert_int_equal(test_rows(world, "outbox",
                               "position("
                               "'cairn_live'::bytea IN payload) > 0"),
                     0);
}

static void s_key_is_resolved(struct test_world *world)
{
    const Acc__Branch *branch = s_branch_make(world, &ADMINISTRATOR, "North");
    Acc__ApiKey wanted = s_key("coordinator");
    const char *scopes[] = { "referrals:read" };
    wanted.branch_id = branch->id;
    wanted.scopes = scopes;
    wanted.n_scopes = 1;
    struct test_answer made = s_key_make(world, &ADMINISTRATOR, &wanted);
    const Acc__ApiKey *key = made.body;
    const Acc__ResolveKeyResponse *who = s_resolve(world, key->key);
    struct cn_uuid branch_id;
    assert_true(cn_id_parse("brn", branch->id, &branch_id));
    assert_true(who->found);
    assert_string_equal(who->subject, key->id);
    assert_string_equal(who->role, "coordinator");
    assert_int_equal(who->n_scopes, 1);
    assert_memory_equal(who->tenant_id.data, world->tenant.bytes, 16);
    assert_memory_equal(who->branch_id.data, branch_id.bytes, 16);
    assert_int_equal(who->n_branches, 1);
    assert_false(s_resolve(world, "cairn_live_other")->found);
    assert_string_equal(s_resolve(world, PLATFORM_KEY)->role, "platform");
}

static void s_persons_key_follows_the_person(struct test_world *world)
{
    const Acc__Branch *branch = s_branch_make(world, &ADMINISTRATOR, "North");
    const Acc__User *user = s_user_make(world, "coordinator", branch->id).body;
    Acc__ApiKey wanted = s_key("supervisor");
    wanted.user_id = user->id;
    const Acc__ApiKey *key = s_key_make(world, &ADMINISTRATOR, &wanted).body;
    const Acc__ResolveKeyResponse *who = s_resolve(world, key->key);
    assert_string_equal(who->subject, user->id);
    assert_string_equal(who->role, "coordinator");
    assert_int_equal(who->n_branches, 1);
    Acc__UpdateUserRequest request = ACC__UPDATE_USER_REQUEST__INIT;
    Acc__User patch = ACC__USER__INIT;
    const char *mask[] = { "active" };
    CN_SET(&patch, active, 0);
    request.id = user->id;
    request.user = &patch;
    request.update_mask = mask;
    request.n_update_mask = 1;
    assert_int_equal(test_call(world, &s_service, &ADMINISTRATOR, "UpdateUser",
                               &request.base)
                         .rc,
                     CN_OK);
    assert_false(s_resolve(world, key->key)->found);
}

static void s_revoked_key_is_nobodys(struct test_world *world)
{
    Acc__ApiKey wanted = s_key("integrator");
    const Acc__ApiKey *key = s_key_make(world, &ADMINISTRATOR, &wanted).body;
    assert_true(s_resolve(world, key->key)->found);
    struct test_answer revoked = s_revoke(world, key->id);
    assert_int_equal(revoked.rc, CN_OK);
    assert_true(((const Acc__ApiKey *)revoked.body)->has_revoked_at);
    assert_false(s_resolve(world, key->key)->found);
    assert_int_equal(test_rows(world, "outbox", "type = 'key.revoked'"), 1);
    /* Again: the key has ended already, and there is no new event. */
    struct test_answer again = s_revoke(world, key->id);
    assert_int_equal(again.rc, CN_OK);
    assert_int_equal(again.reply.version, 2);
    assert_int_equal(test_rows(world, "outbox", "type = 'key.revoked'"), 1);
}

static void s_rotated_key_leaves_a_day(struct test_world *world)
{
    Acc__ApiKey wanted = s_key("integrator");
    const Acc__ApiKey *old = s_key_make(world, &ADMINISTRATOR, &wanted).body;
    Acc__RotateApiKeyRequest request = ACC__ROTATE_API_KEY_REQUEST__INIT;
    request.id = old->id;
    struct test_answer rotated = test_call(world, &s_service, &ADMINISTRATOR,
                                           "RotateApiKey", &request.base);
    assert_int_equal(rotated.rc, CN_OK);
    const Acc__ApiKey *key = rotated.body;
    assert_string_not_equal(key->id, old->id);
    int64_t now_at = world->env.now(&world->env);
    assert_true(s_resolve_at(world, key->key, now_at + 2 * CN_DAY)->found);
    assert_true(s_resolve(world, old->key)->found);
    assert_false(s_resolve_at(world, old->key, now_at + 2 * CN_DAY)->found);
    assert_int_equal(test_rows(world, "outbox", "type = 'key.changed'"), 1);
    /* The audit of each key tells that it was rotated. */
    assert_int_equal(test_rows(world, "audit", "action = 'key.rotate'"), 2);
}

static void s_key_names_its_agencys_own(struct test_world *world)
{
    Acc__ApiKey wanted = s_key("coordinator");
    wanted.branch_id =
        cn_id_text(world->arena, "brn", cn_uuid_new(&world->env));
    struct test_answer answer = s_key_make(world, &ADMINISTRATOR, &wanted);
    assert_int_equal(answer.rc, CN_INVALID);
    assert_string_equal(answer.err.fields[0].pointer, "/branch_id");
    wanted.branch_id = NULL;
    wanted.user_id = cn_id_text(world->arena, "usr", cn_uuid_new(&world->env));
    answer = s_key_make(world, &ADMINISTRATOR, &wanted);
    assert_int_equal(answer.rc, CN_INVALID);
    assert_string_equal(answer.err.fields[0].pointer, "/user_id");
}

/* What a key says of its branches must agree, and it must have time to live. */
static void s_key_contradicts_itself(struct test_world *world)
{
    const Acc__Branch *north = s_branch_make(world, &ADMINISTRATOR, "North");
    const Acc__Branch *south = s_branch_make(world, &ADMINISTRATOR, "South");
    const Acc__User *user = s_user_make(world, "coordinator", north->id).body;
    Acc__ApiKey wanted = s_key("coordinator");
    const char *ids[] = { north->id };
    wanted.branch_id = south->id;
    wanted.branch_ids = ids;
    wanted.n_branch_ids = 1;
    struct test_answer answer = s_key_make(world, &ADMINISTRATOR, &wanted);
    assert_int_equal(answer.rc, CN_INVALID);
    assert_string_equal(answer.err.fields[0].pointer, "/branch_id");
    wanted.n_branch_ids = 0;
    wanted.user_id = user->id;
    answer = s_key_make(world, &ADMINISTRATOR, &wanted);
    assert_int_equal(answer.rc, CN_INVALID);
    assert_string_equal(answer.err.fields[0].word, "not_in_branch_ids");
    wanted.branch_id = north->id;
    assert_int_equal(s_key_make(world, &ADMINISTRATOR, &wanted).rc, CN_OK);
    CN_SET(&wanted, expires_at, world->env.now(&world->env) - 1);
    answer = s_key_make(world, &ADMINISTRATOR, &wanted);
    assert_int_equal(answer.rc, CN_INVALID);
    assert_string_equal(answer.err.fields[0].pointer, "/expires_at");
}

/* ---- administrators ---- */

static struct test_answer s_user_demote(struct test_world *world,
                                        const char *id)
{
    Acc__UpdateUserRequest request = ACC__UPDATE_USER_REQUEST__INIT;
    Acc__User patch = ACC__USER__INIT;
    const char *mask[] = { "role" };
    patch.role = "supervisor";
    request.id = id;
    request.user = &patch;
    request.update_mask = mask;
    request.n_update_mask = 1;
    return test_call(world, &s_service, &ADMINISTRATOR, "UpdateUser",
                     &request.base);
}

static void s_last_administrator_stays(struct test_world *world)
{
    Acc__ApiKey wanted = s_key("administrator");
    const Acc__ApiKey *first = s_key_make(world, &ADMINISTRATOR, &wanted).body;
    struct test_answer refused = s_revoke(world, first->id);
    assert_int_equal(refused.rc, CN_CONFLICT);
    assert_string_equal(refused.err.word, "guard_failed");
    assert_string_equal(refused.err.fields[0].word, "administrator");
    /* The key of a person, who must then stay an administrator. */
    const Acc__User *user = s_user_make(world, "administrator", NULL).body;
    wanted.user_id = user->id;
    const Acc__ApiKey *theirs = s_key_make(world, &ADMINISTRATOR, &wanted).body;
    assert_int_equal(s_revoke(world, first->id).rc, CN_OK);
    assert_int_equal(s_user_demote(world, user->id).rc, CN_CONFLICT);
    assert_int_equal(s_revoke(world, theirs->id).rc, CN_CONFLICT);
    wanted.user_id = NULL;
    assert_int_equal(s_key_make(world, &ADMINISTRATOR, &wanted).rc, CN_OK);
    assert_int_equal(s_user_demote(world, user->id).rc, CN_OK);
}

/* Two who end each other's key at once. */
struct ender {
    struct test_world *world;
    const char *id;
    enum cn_code rc;
};

static void s_ender_revokes(void *arg)
{
    struct ender *self = arg;
    self->rc = s_revoke(self->world, self->id).rc;
    test_world_ended(self->world);
}

static void s_administrators_end_each_other(struct test_world *world)
{
    const Acc__ApiKey wanted = s_key("administrator");
    struct ender enders[2];
    for (int i = 0; i < 2; i++) {
        const Acc__ApiKey *made =
            s_key_make(world, &ADMINISTRATOR, &wanted).body;
        enders[i] = (struct ender){ .world = world, .id = made->id };
    }
    for (int i = 0; i < 2; i++) {
        test_world_spawn(world, s_ender_revokes, &enders[i], 30 * CN_SECOND);
    }
    test_world_join(world);
    assert_int_equal((enders[0].rc == CN_OK) + (enders[1].rc == CN_OK), 1);
    assert_int_equal(
        (enders[0].rc == CN_CONFLICT) + (enders[1].rc == CN_CONFLICT), 1);
}

/* ---- agencies ---- */

static struct test_answer s_agency_make(struct test_world *world,
                                        const char *key)
{
    Acc__CreateAgencyRequest request = ACC__CREATE_AGENCY_REQUEST__INIT;
    Acc__Agency agency = ACC__AGENCY__INIT;
    struct test_caller caller = PLATFORM;
    agency.name = "Example Home Health";
    agency.time_zone = "America/Chicago";
    request.agency = &agency;
    caller.key = key;
    return test_call(world, &s_service, &caller, "CreateAgency", &request.base);
}

static void s_agency_comes_with_its_administrator(struct test_world *world)
{
    const char *key = cn_id_text(world->arena, "tst", world->tenant);
    struct test_answer made = s_agency_make(world, key);
    assert_int_equal(made.rc, CN_OK);
    const Acc__Agency *agency = made.body;
    assert_non_null(agency->administrator_key);
    const Acc__ResolveKeyResponse *who =
        s_resolve(world, agency->administrator_key);
    assert_true(who->found);
    assert_string_equal(who->role, "administrator");
    /* The same call again returns the same agency and the same key. */
    struct test_answer again = s_agency_make(world, key);
    assert_int_equal(again.rc, CN_OK);
    assert_true(again.reply.replayed);
    assert_string_equal(((const Acc__Agency *)again.body)->administrator_key,
                        agency->administrator_key);
    /* The new agency's administrator sees who they are. */
    struct test_caller caller = { .role = "administrator",
                                  .subject = who->subject };
    memcpy(caller.tenant.bytes, who->tenant_id.data, 16);
    Acc__GetMeRequest request = ACC__GET_ME_REQUEST__INIT;
    struct test_answer me =
        test_call(world, &s_service, &caller, "GetMe", &request.base);
    assert_int_equal(me.rc, CN_OK);
    assert_string_equal(((const Acc__Me *)me.body)->agency_id, agency->id);
    assert_string_equal(((const Acc__Me *)me.body)->agency_name,
                        "Example Home Health");
}

static void s_operator_sees_all_agencies(struct test_world *world)
{
    for (int i = 0; i < 3; i++) {
        const char *key =
            cn_id_text(world->arena, "tst", cn_uuid_new(&world->env));
        assert_int_equal(s_agency_make(world, key).rc, CN_OK);
    }
    Acc__ListAgenciesRequest request = ACC__LIST_AGENCIES_REQUEST__INIT;
    CN_SET(&request, limit, 2);
    size_t count = 0;
    for (bool more = true; more;) {
        struct test_answer answer = test_call(world, &s_service, &PLATFORM,
                                              "ListAgencies", &request.base);
        assert_int_equal(answer.rc, CN_OK);
        const Acc__ListAgenciesResponse *page = answer.body;
        for (size_t i = 0; i < page->n_data; i++) {
            assert_null(page->data[i]->administrator_key);
        }
        count += page->n_data;
        more = page->has_more;
        request.cursor = page->next_cursor;
    }
    assert_int_equal(
        count, test_pg_number(world->pg, "SELECT count(*) FROM access.agency"));
    struct test_answer refused = test_call(world, &s_service, &ADMINISTRATOR,
                                           "ListAgencies", &request.base);
    assert_int_equal(refused.rc, CN_FORBIDDEN);
}

/* ---- the program ---- */

#define TEST(name, body)                                                       \
    static void name(void **state)                                             \
    {                                                                          \
        (void)state;                                                           \
        test_world_run(s_pg, CONNECTIONS, body, NULL);                         \
    }
TEST(a_branch_is_kept_told_and_audited, s_branch_is_kept)
TEST(a_user_names_known_branches_alone, s_user_names_known_branches)
TEST(a_change_of_role_is_told_as_such, s_role_change_is_told_as_such)
TEST(a_key_is_shown_once, s_key_is_shown_once)
TEST(a_key_is_resolved_to_who_it_is, s_key_is_resolved)
TEST(a_persons_key_follows_the_person, s_persons_key_follows_the_person)
TEST(a_revoked_key_is_nobodys, s_revoked_key_is_nobodys)
TEST(a_rotated_key_holds_for_another_day, s_rotated_key_leaves_a_day)
TEST(a_key_names_its_agencys_own, s_key_names_its_agencys_own)
TEST(a_key_that_contradicts_itself_is_refused, s_key_contradicts_itself)
TEST(the_last_administrator_of_an_agency_stays, s_last_administrator_stays)
TEST(of_two_administrators_who_end_each_other_one_stays,
     s_administrators_end_each_other)
TEST(an_agency_comes_with_its_administrator,
     s_agency_comes_with_its_administrator)
TEST(the_operator_alone_sees_all_agencies, s_operator_sees_all_agencies)

static int s_setup(void **state)
{
    (void)state;
    s_pg = test_pg_new("access", NULL);
    cn_sha256((struct cn_bytes){ (const uint8_t *)PLATFORM_KEY,
                                 strlen(PLATFORM_KEY) },
              s_access.platform_key_hash);
    s_service = (struct cn_service){ .name = "access",
                                     .methods = access_methods,
                                     .method_count = access_method_count,
                                     .self = &s_access };
    return 0;
}

static int s_teardown(void **state)
{
    (void)state;
    test_pg_free(s_pg);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_branch_is_kept_told_and_audited),
        cmocka_unit_test(a_user_names_known_branches_alone),
        cmocka_unit_test(a_change_of_role_is_told_as_such),
        cmocka_unit_test(a_key_is_shown_once),
        cmocka_unit_test(a_key_is_resolved_to_who_it_is),
        cmocka_unit_test(a_persons_key_follows_the_person),
        cmocka_unit_test(a_revoked_key_is_nobodys),
        cmocka_unit_test(a_rotated_key_holds_for_another_day),
        cmocka_unit_test(a_key_names_its_agencys_own),
        cmocka_unit_test(a_key_that_contradicts_itself_is_refused),
        cmocka_unit_test(the_last_administrator_of_an_agency_stays),
        cmocka_unit_test(of_two_administrators_who_end_each_other_one_stays),
        cmocka_unit_test(an_agency_comes_with_its_administrator),
        cmocka_unit_test(the_operator_alone_sees_all_agencies),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
