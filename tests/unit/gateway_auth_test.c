/* SPDX-License-Identifier: Apache-2.0 */
/* Principals by key. The test serves access itself, on the same loop. */
#include "services/gateway/auth.h"

#include "common/base/clock.h"
#include "common/bus/bus.h"
#include "common/loop/fiber.h"
#include "common/loop/loop.h"
#include "common/outbox/outbox.h"
#include "common/wire/message.h"
#include "common/wire/seal.h"

#include "cairn/access.pb-c.h"
#include "cairn/events.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TWINS = 20, HELD_MAX = 32, PATIENCE_MS = 5000, HASH_SIZE = 32 };

/* Well-formed keys that access does not know. */
static const char KEY[] = "cairn_live_0123456789ABCDEFGHIJKLMNOPQRSTUV0d08af";
static const char OTHER[] = "cairn_test_0123456789ABCDEFGHIJKLMNOPQRSTUV1c0fdc";

struct world {
    struct cn_loop *loop;
    struct cn_env env;
    struct cn_bus *access;
    struct follow *follow;
    struct auth *auth;
    void (*body)(struct world *world);
    /* The answer that access gives, and how often it was asked. */
    bool holds;
    bool fails;
    bool found;
    int64_t expires_at; /* 0: never */
    unsigned asked;
    struct cn_bus_request *held[HELD_MAX];
    size_t held_count;
    /* The long poll that waits, and how many polls came. */
    struct cn_bus_request *poll;
    unsigned polls;
    int64_t seq;
    bool complete; /* nothing is held back by an open transaction */
    bool silent;   /* polls are not answered by themselves */
};

/* ---- access ---- */

static void s_send(struct world *world,
                   struct cn_bus_request *request,
                   const ProtobufCMessage *message)
{
    struct cn_bus_reply reply = { 0 };
    struct cn_err err = { 0 };
    assert_int_equal(
        cn_message_pack(request->arena, message, &reply.body, &err), CN_OK);
    cn_bus_reply_send(world->access, request->back, &reply);
    cn_arena_free(request->arena);
}

static void s_answer(struct world *world, struct cn_bus_request *request)
{
    static const char *scopes[] = { "referrals:read", "visits:read" };
    Acc__ResolveKeyResponse response = ACC__RESOLVE_KEY_RESPONSE__INIT;
    struct cn_bus_reply failed = { 0 };
    uint8_t id[16] = { 7, 1 };
    ProtobufCBinaryData branch = { sizeof(id), id };
    if (world->fails) {
        (void)cn_fail(&failed.err, CN_UNAVAILABLE, "no database");
        cn_bus_reply_send(world->access, request->back, &failed);
        cn_arena_free(request->arena);
        return;
    }
    response.has_found = 1;
    response.found = world->found;
    if (world->found) {
        response.has_tenant_id = 1;
        response.tenant_id = branch;
        response.subject = "key_1";
        response.role = "coordinator";
        response.n_branches = 1;
        response.branches = &branch;
        response.n_scopes = 2;
        response.scopes = scopes;
        response.has_expires_at = world->expires_at != 0;
        response.expires_at = world->expires_at;
    }
    s_send(world, request, &response.base);
}

/* Without an event: the end of the log. */
static void s_poll_answer(struct world *world, Evt__Event *event)
{
    Evt__FetchResponse response = EVT__FETCH_RESPONSE__INIT;
    Evt__Position head = EVT__POSITION__INIT;
    struct cn_bus_request *poll = world->poll;
    assert_non_null(poll);
    world->poll = NULL;
    head.has_epoch = head.has_xid = head.has_seq = 1;
    head.epoch = 1;
    head.seq = ++world->seq;
    response.head = &head;
    response.has_complete_until = 1;
    response.complete_until =
        world->complete ? cn_clock_real() - CN_OUTBOX_SLACK_US : 1;
    if (event != NULL) {
        event->position = &head;
        response.n_events = 1;
        response.events = &event;
    }
    s_send(world, poll, &response.base);
}

static void s_on_request(void *arg, struct cn_bus_request *request)
{
    struct world *world = arg;
    if (strcmp(request->method, "events.v1.Events/Fetch") == 0) {
        world->poll = request;
        if (world->polls++ == 0 && !world->silent) {
            s_poll_answer(world, NULL);
        }
        return;
    }
    assert_string_equal(request->method, "access.v1.Access/ResolveKey");
    world->asked++;
    if (world->holds) {
        assert_true(world->held_count < HELD_MAX);
        world->held[world->held_count++] = request;
    } else {
        s_answer(world, request);
    }
}

static void s_release(struct world *world)
{
    world->holds = false;
    for (size_t i = 0; i < world->held_count; i++) {
        s_answer(world, world->held[i]);
    }
    world->held_count = 0;
}

#define UNTIL(condition)                                                       \
    do {                                                                       \
        int64_t give_up_at =                                                   \
            cn_clock_monotonic() + PATIENCE_MS * (int64_t)1000;                \
        while (!(condition)) {                                                 \
            if (cn_clock_monotonic() > give_up_at) {                           \
                fail_msg("never: %s", #condition);                             \
            }                                                                  \
            assert_int_equal(cn_fiber_sleep(1000), CN_OK);                     \
        }                                                                      \
    } while (0)

/* Sends the gateway an event and waits until it has handled it: then the
 * gateway asks for the next one. */
static void
s_event(struct world *world, const char *type, const ProtobufCMessage *payload)
{
    Evt__Event event = EVT__EVENT__INIT;
    uint8_t packed[256];
    assert_true(protobuf_c_message_get_packed_size(payload) <= sizeof(packed));
    event.type = type;
    event.has_payload = 1;
    event.payload.data = packed;
    event.payload.len = protobuf_c_message_pack(payload, packed);
    UNTIL(world->poll != NULL);
    unsigned polls = world->polls;
    s_poll_answer(world, &event);
    UNTIL(world->polls > polls);
}

static void s_key_event(struct world *world, const char *type, const char *key)
{
    Acc__KeyEvent event = ACC__KEY_EVENT__INIT;
    uint8_t hash[HASH_SIZE];
    cn_sha256((struct cn_bytes){ (const uint8_t *)key, strlen(key) }, hash);
    event.has_key_hash = 1;
    event.key_hash.data = hash;
    event.key_hash.len = sizeof(hash);
    s_event(world, type, &event.base);
}

/* ---- the world ---- */

static void s_fiber(void *arg)
{
    struct world *world = arg;
    struct cn_err err = { 0 };
    cn_fiber_set_deadline(cn_clock_monotonic() + 30 * CN_SECOND);
    assert_int_equal(follow_new(&world->env, "access", &world->follow, &err),
                     CN_OK);
    assert_int_equal(auth_new(&world->env, world->follow, &world->auth, &err),
                     CN_OK);
    if (!world->silent) {
        UNTIL(auth_fresh(world->auth));
    }
    world->body(world);
    cn_loop_stop(world->loop);
}

static struct cn_bus *s_bus(struct world *world,
                            const char *name,
                            const char *secret,
                            const char *bind,
                            const char *peers)
{
    const struct cn_bus_config config = { .name = name,
                                          .secret_key = secret,
                                          .bind = bind,
                                          .peers = peers,
                                          .fronts = "gateway" };
    struct cn_bus *bus = NULL;
    struct cn_err err = { 0 };
    if (cn_bus_new(&world->env, &config, &bus, &err) != CN_OK) {
        fail_msg("bus %s: %s", name, err.msg);
    }
    return bus;
}

static void s_run_in(void (*body)(struct world *world), bool silent)
{
    char keys[4][CN_BUS_KEY_SIZE];
    char peers[256];
    struct world *world = calloc(1, sizeof(*world));
    struct cn_err err = { 0 };
    assert_non_null(world);
    assert_true(cn_bus_keypair(keys[0], keys[1]));
    assert_true(cn_bus_keypair(keys[2], keys[3]));
    (void)snprintf(peers, sizeof(peers), "gateway=%s,access=%s", keys[0],
                   keys[2]);
    world->env = cn_env_real();
    world->loop = world->env.loop = cn_loop_new();
    assert_non_null(world->loop);
    world->found = true;
    world->complete = true;
    world->body = body;
    world->silent = silent;
    world->access = s_bus(world, "access", keys[3], "tcp://127.0.0.1:*", peers);
    world->env.bus = s_bus(world, "gateway", keys[1], NULL, peers);
    cn_bus_serve(world->access, s_on_request, world);
    assert_int_equal(cn_bus_connect(world->env.bus, "access",
                                    cn_bus_address(world->access), &err),
                     CN_OK);
    assert_int_equal(
        cn_fiber_spawn(world->loop, s_fiber, world, INT64_MAX, &err), CN_OK);
    cn_loop_run(world->loop, CN_SECOND);
    cn_bus_free(world->env.bus);
    cn_bus_free(world->access);
    if (world->poll != NULL) {
        cn_arena_free(world->poll->arena);
    }
    auth_free(world->auth);
    follow_free(world->follow);
    cn_loop_free(world->loop);
    free(world);
}

static void s_run(void (*body)(struct world *world))
{
    s_run_in(body, false);
}

/* ---- questions ---- */

/* One request that resolves its key. */
struct errand {
    struct world *world;
    const char *key;
    struct cn_arena *arena;
    const struct cn_principal *principal;
    struct cn_err err;
    enum cn_code rc;
    bool done;
};

static void s_resolve(void *arg)
{
    struct errand *errand = arg;
    errand->rc = auth_resolve(errand->world->auth, errand->arena, errand->key,
                              &errand->principal, &errand->err);
    errand->done = true;
}

static struct errand s_errand(struct world *world, const char *key)
{
    return (struct errand){ .world = world,
                            .key = key,
                            .arena = cn_arena_new(CN_ARENA_REQUEST_MAX) };
}

static void s_start(struct errand *errand)
{
    struct cn_err err = { 0 };
    assert_int_equal(cn_fiber_spawn(errand->world->loop, s_resolve, errand,
                                    cn_clock_monotonic() + 10 * CN_SECOND,
                                    &err),
                     CN_OK);
}

static enum cn_code s_code(struct world *world, const char *key)
{
    struct errand errand = s_errand(world, key);
    s_resolve(&errand);
    cn_arena_free(errand.arena);
    return errand.rc;
}

static void s_known_once(struct world *world)
{
    struct errand errand = s_errand(world, KEY);
    s_resolve(&errand);
    assert_int_equal(errand.rc, CN_OK);
    assert_string_equal(errand.principal->subject, "key_1");
    assert_string_equal(errand.principal->role, "coordinator");
    assert_int_equal(errand.principal->tenant_id.bytes[0], 7);
    assert_int_equal(errand.principal->branch_count, 1);
    assert_int_equal(errand.principal->branches[0].bytes[1], 1);
    assert_int_equal(errand.principal->scope_count, 2);
    assert_string_equal(errand.principal->scopes[1], "visits:read");
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(s_code(world, KEY), CN_OK);
    }
    assert_int_equal(world->asked, 1);
    /* The principal of a request outlives the cache's entry. */
    s_key_event(world, "key.revoked", KEY);
    assert_string_equal(errand.principal->subject, "key_1");
    cn_arena_free(errand.arena);
}

static void a_key_is_asked_for_once(void **state)
{
    (void)state;
    s_run(s_known_once);
}

static void s_malformed(struct world *world)
{
    assert_int_equal(s_code(world, NULL), CN_UNAUTHENTICATED);
    assert_int_equal(s_code(world, "nonsense"), CN_UNAUTHENTICATED);
    assert_int_equal(world->asked, 0);
}

static void what_is_no_key_is_not_asked_for(void **state)
{
    (void)state;
    s_run(s_malformed);
}

static void s_unknown(struct world *world)
{
    world->found = false;
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(s_code(world, KEY), CN_UNAUTHENTICATED);
    }
    assert_int_equal(world->asked, 1);
    /* The key is made at this moment: its event removes the answer that it is
     * unknown. */
    world->found = true;
    s_key_event(world, "key.created", KEY);
    assert_int_equal(s_code(world, KEY), CN_OK);
}

static void a_key_of_nobody_is_remembered_until_it_is_made(void **state)
{
    (void)state;
    s_run(s_unknown);
}

static void s_twins(struct world *world)
{
    struct errand errands[TWINS];
    world->holds = true;
    for (size_t i = 0; i < TWINS; i++) {
        errands[i] = s_errand(world, KEY);
        s_start(&errands[i]);
    }
    UNTIL(world->held_count == 1);
    s_release(world);
    for (size_t i = 0; i < TWINS; i++) {
        UNTIL(errands[i].done);
        assert_int_equal(errands[i].rc, CN_OK);
        cn_arena_free(errands[i].arena);
    }
    assert_int_equal(world->asked, 1);
}

static void twins_wait_for_one_question(void **state)
{
    (void)state;
    s_run(s_twins);
}

static void s_failing(struct world *world)
{
    struct errand errands[TWINS];
    world->holds = true;
    world->fails = true;
    for (size_t i = 0; i < TWINS; i++) {
        errands[i] = s_errand(world, KEY);
        s_start(&errands[i]);
    }
    UNTIL(world->held_count == 1);
    s_release(world);
    for (size_t i = 0; i < TWINS; i++) {
        UNTIL(errands[i].done);
        assert_int_equal(errands[i].rc, CN_UNAVAILABLE);
        cn_arena_free(errands[i].arena);
    }
    world->fails = false;
    assert_int_equal(s_code(world, KEY), CN_OK);
}

static void a_failure_is_told_to_all_and_not_remembered(void **state)
{
    (void)state;
    s_run(s_failing);
}

static void s_early(struct world *world)
{
    struct errand errand = s_errand(world, KEY);
    s_start(&errand);
    UNTIL(world->poll != NULL);
    assert_false(errand.done);
    s_poll_answer(world, NULL);
    UNTIL(errand.done);
    assert_int_equal(errand.rc, CN_OK);
    cn_arena_free(errand.arena);
}

static void a_request_before_the_first_events_waits_for_them(void **state)
{
    (void)state;
    s_run_in(s_early, true);
}

static void s_deaf(struct world *world)
{
    int64_t from = cn_clock_monotonic();
    assert_int_equal(s_code(world, KEY), CN_UNAVAILABLE);
    assert_true(cn_clock_monotonic() - from <= 2 * AUTH_WAIT_US);
    from = cn_clock_monotonic();
    assert_int_equal(s_code(world, KEY), CN_UNAVAILABLE);
    assert_true(cn_clock_monotonic() - from <= AUTH_WAIT_US / 4);
    assert_int_equal(world->asked, 0);
}

static void in_a_longer_outage_nobody_is_kept_waiting(void **state)
{
    (void)state;
    s_run_in(s_deaf, true);
}

static void s_revoked(struct world *world)
{
    assert_int_equal(s_code(world, KEY), CN_OK);
    assert_int_equal(s_code(world, OTHER), CN_OK);
    world->found = false;
    s_key_event(world, "key.revoked", KEY);
    assert_int_equal(s_code(world, KEY), CN_UNAUTHENTICATED);
    assert_int_equal(s_code(world, OTHER), CN_OK);
}

static void a_revoked_key_is_forgotten_and_no_other(void **state)
{
    (void)state;
    s_run(s_revoked);
}

static void s_user(struct world *world)
{
    static const char *const TYPES[] = { "user.changed", "role.changed" };
    const Acc__UserEvent event = ACC__USER_EVENT__INIT;
    const Acc__BranchEvent branch = ACC__BRANCH_EVENT__INIT;
    for (size_t i = 0; i < 2; i++) {
        world->found = true;
        s_event(world, "user.created", &event.base);
        assert_int_equal(s_code(world, KEY), CN_OK);
        world->found = false;
        s_event(world, "branch.updated", &branch.base);
        assert_int_equal(s_code(world, KEY), CN_OK);
        s_event(world, TYPES[i], &event.base);
        assert_int_equal(s_code(world, KEY), CN_UNAUTHENTICATED);
    }
}

static void a_change_of_a_user_ends_all_that_was_known(void **state)
{
    (void)state;
    s_run(s_user);
}

static void s_overtaken(struct world *world)
{
    struct errand errand = s_errand(world, KEY);
    world->holds = true;
    s_start(&errand);
    UNTIL(world->held_count == 1);
    s_key_event(world, "key.revoked", KEY);
    s_release(world);
    UNTIL(errand.done);
    assert_int_equal(errand.rc, CN_OK);
    cn_arena_free(errand.arena);
    world->found = false;
    assert_int_equal(s_code(world, KEY), CN_UNAUTHENTICATED);
    assert_int_equal(world->asked, 2);
}

static void an_answer_that_an_event_overtook_is_not_kept(void **state)
{
    (void)state;
    s_run(s_overtaken);
}

static void s_held(struct world *world)
{
    const Acc__BranchEvent branch = ACC__BRANCH_EVENT__INIT;
    world->complete = false;
    s_event(world, "branch.updated", &branch.base);
    assert_int_equal(s_code(world, KEY), CN_OK);
    assert_int_equal(s_code(world, KEY), CN_OK);
    assert_int_equal(world->asked, 1);
    world->found = false;
    UNTIL(s_code(world, KEY) == CN_UNAUTHENTICATED);
    assert_int_equal(world->asked, 2);
}

static void while_events_are_held_back_keys_are_asked_for_again(void **state)
{
    (void)state;
    s_run(s_held);
}

static void s_expired(struct world *world)
{
    world->expires_at = cn_clock_real() + CN_HOUR;
    assert_int_equal(s_code(world, KEY), CN_OK);
    world->expires_at = cn_clock_real() - 1;
    assert_int_equal(s_code(world, OTHER), CN_UNAUTHENTICATED);
}

static void an_expired_key_is_refused(void **state)
{
    (void)state;
    s_run(s_expired);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_asked_for_once),
        cmocka_unit_test(what_is_no_key_is_not_asked_for),
        cmocka_unit_test(a_key_of_nobody_is_remembered_until_it_is_made),
        cmocka_unit_test(twins_wait_for_one_question),
        cmocka_unit_test(a_failure_is_told_to_all_and_not_remembered),
        cmocka_unit_test(a_request_before_the_first_events_waits_for_them),
        cmocka_unit_test(in_a_longer_outage_nobody_is_kept_waiting),
        cmocka_unit_test(a_revoked_key_is_forgotten_and_no_other),
        cmocka_unit_test(a_change_of_a_user_ends_all_that_was_known),
        cmocka_unit_test(an_answer_that_an_event_overtook_is_not_kept),
        cmocka_unit_test(while_events_are_held_back_keys_are_asked_for_again),
        cmocka_unit_test(an_expired_key_is_refused),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
