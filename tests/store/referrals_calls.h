/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of the handlers of referrals as the dispatcher makes them, for the
 * store tests. Included once by each. */
#ifndef TEST_REFERRALS_CALLS_H
#define TEST_REFERRALS_CALLS_H

#include "cairn/referrals.cairn.h"
#include "cairn/referrals.handlers.h"
#include "common/base/clock.h"
#include "common/loop/fiber.h"
#include "common/service/dispatch.h"
#include "common/store/write.h"
#include "common/wire/json.h"
#include "common/wire/message.h"
#include "services/referrals/store.h"
#include "tests/lib/pg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the four above it. */
#include <cmocka.h>

enum { CLIENTS = 32, CONNECTIONS = 4 };

static struct test_pg *s_pg;
/* The only branch that calls reach, and their default; NULL: the agency. */
static const struct cn_uuid *s_only_branch;

/* ---- calling handlers as the dispatcher does ---- */

struct call {
    struct test_world *world;
    struct cn_arena *arena;
    struct cn_request request;
    struct cn_reply reply;
    struct cn_err err;
    enum cn_code rc;
};

static inline struct cn_uuid s_branch(struct test_world *world)
{
    struct cn_uuid id = world->tenant; /* one branch, called as the tenant */
    return id;
}

static inline int64_t s_now(struct cn_env *env)
{
    int64_t *at = env->context;
    return at != NULL ? *at : cn_clock_real();
}

static inline void s_run(struct call *call, const char *rpc)
{
    static const struct cn_service SERVICE = { .name = "referrals" };
    call->request.service = &SERVICE;
    call->request.method = NULL;
    for (size_t i = 0; i < referrals_method_count; i++) {
        const char *slash = strchr(referrals_methods[i].name, '/');
        if (slash != NULL && strcmp(slash + 1, rpc) == 0) {
            call->request.method = &referrals_methods[i];
        }
    }
    assert_non_null(call->request.method);
    call->rc = cn_dispatch_answer(&call->request, &call->reply, &call->err);
}

static inline struct call
s_call(struct test_world *world, const char *key, const char *what)
{
    struct call call = { .world = world,
                         .arena = cn_arena_new(CN_ARENA_REQUEST_MAX) };
    assert_non_null(call.arena);
    call.request = test_world_request(
        world, call.arena, NULL,
        key != NULL ? cn_arena_strdup(call.arena, key) : NULL, what);
    call.request.principal.branch_id = s_branch(world);
    if (s_only_branch != NULL) {
        call.request.reach = CN_REACH_BRANCH;
        call.request.principal.branch_id = *s_only_branch;
        call.request.principal.branches = s_only_branch;
        call.request.principal.branch_count = 1;
    }
    return call;
}

static inline void s_end(struct call *call)
{
    cn_arena_free(call->arena);
    call->arena = NULL;
}

/* A key that no other call has. */
static inline const char *s_key(struct cn_env *env,
                                char text[CN_UUID_TEXT_SIZE])
{
    cn_uuid_format(cn_uuid_new(env), text);
    return text;
}

static inline void *s_json(struct cn_arena *arena,
                           const struct cn_shape *shape,
                           const char *json,
                           struct cn_json_mask *mask)
{
    struct cn_err err = { 0 };
    ProtobufCMessage *message = cn_message_new(arena, shape->descriptor);
    if (cn_json_read(arena, shape, json, strlen(json), message, mask, &err) !=
        CN_OK) {
        print_error("%s: %s %s\n", json, err.msg, err.fields[0].pointer);
        abort();
    }
    return message;
}

static inline struct call
s_create_with(struct test_world *world, const char *json, const char *key)
{
    struct call call = s_call(world, key, json);
    Ref__CreateReferralRequest *body = CN_NEW(
        call.arena, ref__create_referral_request, Ref__CreateReferralRequest);
    body->referral = s_json(call.arena, &ref__referral__shape, json, NULL);
    call.request.body = body;
    s_run(&call, "CreateReferral");
    return call;
}

static inline struct call s_create(struct test_world *world, const char *json)
{
    char key[CN_UUID_TEXT_SIZE];
    return s_create_with(world, json, s_key(&world->env, key));
}

static inline struct call s_get(struct test_world *world, const char *id)
{
    struct call call = s_call(world, NULL, "get");
    Ref__GetReferralRequest *body =
        CN_NEW(call.arena, ref__get_referral_request, Ref__GetReferralRequest);
    body->id = id;
    call.request.body = body;
    s_run(&call, "GetReferral");
    return call;
}

static inline struct call s_patch(struct test_world *world,
                                  const char *id,
                                  const char *json,
                                  int64_t expected_version)
{
    char key[CN_UUID_TEXT_SIZE];
    struct call call = s_call(world, s_key(&world->env, key), json);
    struct cn_json_mask mask = { 0 };
    Ref__UpdateReferralRequest *body = CN_NEW(
        call.arena, ref__update_referral_request, Ref__UpdateReferralRequest);
    body->id = id;
    body->referral = s_json(call.arena, &ref__referral__shape, json, &mask);
    body->update_mask = mask.paths;
    body->n_update_mask = mask.count;
    call.request.body = body;
    call.request.has_expected_version = expected_version != 0;
    call.request.expected_version = expected_version;
    s_run(&call, "UpdateReferral");
    return call;
}

static inline struct call
s_patch_patient(struct test_world *world, const char *id, const char *json)
{
    char key[CN_UUID_TEXT_SIZE];
    struct call call = s_call(world, s_key(&world->env, key), json);
    struct cn_json_mask mask = { 0 };
    Ref__UpdatePatientRequest *body = CN_NEW(
        call.arena, ref__update_patient_request, Ref__UpdatePatientRequest);
    body->id = id;
    body->patient = s_json(call.arena, &ref__patient__shape, json, &mask);
    body->update_mask = mask.paths;
    body->n_update_mask = mask.count;
    call.request.body = body;
    s_run(&call, "UpdatePatient");
    return call;
}

static inline struct call s_accept(struct test_world *world, const char *id)
{
    char key[CN_UUID_TEXT_SIZE];
    struct call call = s_call(world, s_key(&world->env, key), id);
    Ref__AcceptReferralRequest *body = CN_NEW(
        call.arena, ref__accept_referral_request, Ref__AcceptReferralRequest);
    body->id = id;
    call.request.body = body;
    s_run(&call, "AcceptReferral");
    return call;
}

static inline struct call
s_decline(struct test_world *world, const char *id, const char *reason)
{
    char key[CN_UUID_TEXT_SIZE];
    struct call call = s_call(world, s_key(&world->env, key), id);
    Ref__DeclineReferralRequest *body = CN_NEW(
        call.arena, ref__decline_referral_request, Ref__DeclineReferralRequest);
    body->id = id;
    body->reason_code = reason;
    call.request.body = body;
    s_run(&call, "DeclineReferral");
    return call;
}

static inline struct call
s_hl7(struct test_world *world, const char *text, size_t size)
{
    char key[CN_UUID_TEXT_SIZE];
    struct call call = s_call(world, s_key(&world->env, key), "hl7");
    Ref__ReceiveHl7Request *body =
        CN_NEW(call.arena, ref__receive_hl7_request, Ref__ReceiveHl7Request);
    body->has_content = 1;
    body->content.data = cn_arena_copy(call.arena, text, size);
    body->content.len = size;
    call.request.body = body;
    s_run(&call, "ReceiveHl7");
    return call;
}

static inline const Ref__Referral *s_referral(const struct call *call)
{
    if (call->rc != CN_OK) {
        print_error("%s %s %s\n", cn_code_word(call->rc), call->err.word,
                    call->err.msg);
    }
    assert_int_equal(call->rc, CN_OK);
    return (const Ref__Referral *)call->reply.body;
}

/* The id of what a call made, outside the call's arena. */
static inline const char *s_id(struct test_world *world,
                               const struct call *call)
{
    return cn_arena_strdup(world->arena, s_referral(call)->id);
}

/* ---- the world ---- */

/* An operation of the system in the world's tenant. */
static inline struct cn_op
s_op(struct test_world *world, struct cn_arena *arena, struct cn_err *err)
{
    return (struct cn_op){ .env = &world->env,
                           .arena = arena,
                           .tenant_id = world->tenant,
                           .now_at = world->env.now(&world->env),
                           .err = err };
}

/* The branch that access would have told of. */
static inline void s_add_branch(struct test_world *world, struct cn_uuid id)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    struct cn_err err = { 0 };
    struct cn_op op = s_op(world, arena, &err);
    ref_branch_keep(&op, id, 1, "Test", "America/New_York");
    cn_commit(&op);
    assert_int_equal(err.code, CN_OK);
}

static inline void s_open(struct test_world *world)
{
    s_only_branch = NULL;
    world->env.now = s_now;
    s_add_branch(world, s_branch(world));
}

static inline long s_number(struct test_world *world, const char *format)
{
    char tenant[CN_UUID_TEXT_SIZE];
    char sql[1000];
    cn_uuid_format(world->tenant, tenant);
    (void)snprintf(sql, sizeof(sql),
                   "SELECT count(*) FROM referrals.%s"
                   "tenant_id = '%s'",
                   format, tenant);
    return test_pg_number(s_pg, sql);
}

/* "type seq,type seq,..." of the tenant's log, in its order. */
static inline char *s_log(struct test_world *world, const char *type)
{
    char tenant[CN_UUID_TEXT_SIZE];
    char sql[1000];
    cn_uuid_format(world->tenant, tenant);
    (void)snprintf(sql, sizeof(sql),
                   "SELECT coalesce(string_agg(type || ' ' || aggregate_seq,"
                   " ',' ORDER BY epoch, xid, seq), '')"
                   " FROM referrals.outbox WHERE tenant_id = '%s'"
                   " AND aggregate_type = '%s'",
                   tenant, type);
    return test_pg_sql(s_pg, sql);
}

static inline void
s_assert_log(struct test_world *world, const char *type, const char *expected)
{
    char *log = s_log(world, type);
    assert_string_equal(log, expected);
    free(log);
}

/* Lacks disciplines and a way to reach the patient. */
static const char INCOMPLETE[] =
    "{\"source\": {\"organization\": \"Example Hospital\", \"email\": "
    "\"d@hospital.example\", \"system\": \"his\", \"external_id\": \"R-1\"},"
    " \"patient\": {\"name\": {\"family\": \"Testpatient\"}, \"identifiers\": "
    "[{\"system\": \"his\", \"value\": \"P-1\", \"type\": \"MR\"}]},"
    " \"ordering_physician\": {\"name\": \"Pat Example\", \"agrees_to_sign\": "
    "true}, \"needs\": \"wound care\"}";
static const char COMPLETE[] =
    "{\"source\": {\"email\": \"d@hospital.example\", \"system\": \"his\", "
    "\"external_id\": \"R-2\"}, \"patient\": {\"name\": {\"family\": "
    "\"Testpatient\"}, \"phones\": [\"270 5550100\"], \"identifiers\": "
    "[{\"system\": \"USSSA\", \"value\": \"000000000\", \"type\": \"SS\"}]},"
    " \"ordering_physician\": {\"name\": \"Pat Example\", \"agrees_to_sign\": "
    "true}, \"needs\": \"wound care\", \"disciplines\": [\"rn\"]}";

/* Handlers that take part in a race. */
struct race {
    struct test_world *world;
    const char *key; /* NULL: one of its own */
    const char *json;
    struct call call;
};

static int s_setup(void **state)
{
    (void)state;
    s_pg = test_pg_new("referrals", NULL);
    return s_pg == NULL;
}

static int s_teardown(void **state)
{
    (void)state;
    test_pg_free(s_pg);
    return 0;
}

#endif
