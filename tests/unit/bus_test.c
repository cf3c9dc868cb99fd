/* SPDX-License-Identifier: Apache-2.0 */
/* Calls on the bus, its limits, and peers that are hostile. */
#include "common/bus/bus.h"

#include "common/base/array.h"
#include "common/bus/bus_internal.h"
#include "common/loop/metrics.h"
#include "tests/lib/bus.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above. */
#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- raw peers --- */

struct raw {
    void *ctx;
    void *dealer;
};

/* A peer that does not use our code. keys NULL: without CURVE. */
static struct raw
s_raw(const char *address, const struct test_keys *keys, const char *server_key)
{
    struct raw raw = { .ctx = zmq_ctx_new() };
    int linger = 0;
    raw.dealer = zmq_socket(raw.ctx, ZMQ_DEALER);
    assert_int_equal(
        zmq_setsockopt(raw.dealer, ZMQ_LINGER, &linger, sizeof(linger)), 0);
    if (keys != NULL) {
        assert_int_equal(zmq_setsockopt(raw.dealer, ZMQ_CURVE_SERVERKEY,
                                        server_key, CN_BUS_KEY_SIZE),
                         0);
        assert_int_equal(zmq_setsockopt(raw.dealer, ZMQ_CURVE_PUBLICKEY,
                                        keys->public_key, CN_BUS_KEY_SIZE),
                         0);
        assert_int_equal(zmq_setsockopt(raw.dealer, ZMQ_CURVE_SECRETKEY,
                                        keys->secret_key, CN_BUS_KEY_SIZE),
                         0);
    }
    assert_int_equal(zmq_connect(raw.dealer, address), 0);
    return raw;
}

static void s_raw_close(struct raw *raw)
{
    (void)zmq_close(raw->dealer);
    (void)zmq_ctx_term(raw->ctx);
}

static void
s_raw_send(struct raw *raw, const void *header, size_t size, bool with_body)
{
    assert_true(zmq_send(raw->dealer, header, size,
                         ZMQ_DONTWAIT | (with_body ? ZMQ_SNDMORE : 0)) >= 0);
    if (with_body) {
        assert_true(zmq_send(raw->dealer, "", 0, ZMQ_DONTWAIT) >= 0);
    }
}

static void s_raw_request(struct raw *raw, Env__RequestHeader *header)
{
    uint8_t packed[512];
    assert_true(env__request_header__get_packed_size(header) < sizeof(packed));
    size_t size = env__request_header__pack(header, packed);
    s_raw_send(raw, packed, size, true);
}

/* The code in the reply to a raw request, -1 when none has come. */
static int s_raw_code(struct raw *raw)
{
    zmq_msg_t frame;
    int code = -1;
    (void)zmq_msg_init(&frame);
    if (zmq_msg_recv(&frame, raw->dealer, ZMQ_DONTWAIT) >= 0) {
        CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(1 << 16);
        const ProtobufCMessage *message = NULL;
        struct cn_err err = { 0 };
        assert_int_equal(
            cn_message_unpack(arena, &env__reply_header__descriptor,
                              bus_frame_view(&frame), &message, &err),
            CN_OK);
        code = ((const Env__ReplyHeader *)message)->code;
        (void)zmq_msg_recv(&frame, raw->dealer, ZMQ_DONTWAIT);
    }
    (void)zmq_msg_close(&frame);
    return code;
}

/* --- calls --- */

static int64_t s_first_us; /* time of the quickest first call */

static void s_body_reply(struct test_net *world)
{
    test_serve(world, 0, 0);
    test_connect(world, world->servers[0].address, NULL);
    struct test_errand *errand =
        test_errand(world, test_read("echo", "hello", CN_SECOND));
    test_expect_text(errand, "hello");
    assert_int_equal(errand->reply.status, 201);
    assert_int_equal(errand->reply.version, 7);
    assert_int_equal(errand->reply.updated_at, 1234567);
    assert_string_equal(errand->reply.location, "/v1/things/thg_1");
    assert_true(errand->reply.replayed);
    assert_int_equal(errand->reply.err.code, CN_OK);
    if (errand->took_us < s_first_us) {
        s_first_us = errand->took_us;
    }
    test_errand_free(errand);
}

static void a_call_gets_its_reply_at_once(void **state)
{
    (void)state;
    s_first_us = INT64_MAX;
    for (unsigned i = 0; i < 3; i++) {
        test_run(s_body_reply);
    }
    /* The first call waits for the handshake, not for the next ping. The best
     * of three, since the machine may be busy. */
    assert_true(s_first_us < CN_BUS_PING_INTERVAL_MS * 1000);
}

static void s_body_large(struct test_net *world)
{
    static char text[CN_MESSAGE_SIZE_MAX + 2];
    memset(text, 'x', CN_MESSAGE_SIZE_MAX);
    text[CN_MESSAGE_SIZE_MAX] = '\0';
    test_serve(world, 0, 0);
    test_connect(world, world->servers[0].address, NULL);
    struct test_errand *whole =
        test_errand(world, test_read("echo", text, 4 * CN_SECOND));
    test_expect_text(whole, text);
    text[CN_MESSAGE_SIZE_MAX] = 'x';
    struct test_errand *larger =
        test_errand(world, test_read("echo", text, 4 * CN_SECOND));
    test_expect(larger, CN_TOO_LARGE);
    test_errand_free(whole);
    test_errand_free(larger);
    test_must_answer(world);
}

static void
a_body_of_the_limit_travels_whole_and_a_larger_one_is_refused(void **state)
{
    (void)state;
    test_run(s_body_large);
}

static void s_body_error(struct test_net *world)
{
    test_serve(world, 0, 0);
    test_connect(world, world->servers[0].address, NULL);
    struct test_errand *errand =
        test_errand(world, test_read("fail", "", CN_SECOND));
    test_expect(errand, CN_INVALID);
    assert_string_equal(errand->err.word, "not_so");
    assert_true(errand->err.msg[0] != '\0');
    assert_string_equal(errand->err.location, "/v1/things/thg_2");
    assert_int_equal(errand->err.version, 9);
    assert_int_equal(errand->err.field_count, 2);
    assert_string_equal(errand->err.fields[0].pointer, "/name/family");
    assert_string_equal(errand->err.fields[0].word, "required");
    assert_string_equal(errand->err.fields[1].pointer, "/dob");
    assert_string_equal(errand->err.fields[1].msg, "is no date");
    assert_null(errand->reply.body.data);
    test_errand_free(errand);
}

static void codes_and_fields_of_an_error_travel(void **state)
{
    (void)state;
    test_run(s_body_error);
}

static const char *const SCOPES[] = { "referrals:read", "referrals:decide" };

static struct cn_principal s_coordinator(void)
{
    static const struct cn_uuid BRANCHES[] = { { { 1 } }, { { 2 } } };
    return (struct cn_principal){ .tenant_id = { { 0xab, 0xcd } },
                                  .subject = "key_7",
                                  .role = "coordinator",
                                  .branch_id = BRANCHES[0],
                                  .branches = BRANCHES,
                                  .branch_count = 2,
                                  .scopes = SCOPES,
                                  .scope_count = 2 };
}

static void s_body_principal(struct test_net *world)
{
    struct cn_principal principal = s_coordinator();
    struct cn_bus_call call = test_read("tell", "", CN_SECOND);
    test_serve(world, 0, 0);
    test_connect(world, world->servers[0].address, NULL);
    call.principal = &principal;
    call.idempotency_key = "k-1";
    call.has_client_key = true;
    call.has_expected_version = true;
    call.expected_version = 3;
    struct test_errand *errand = test_errand(world, call);
    test_expect_text(errand, "gateway|key_7|coordinator|abcd0000|2|"
                             "2:referrals:read|req_1|00-trace|k-1|1|1:3");
    test_errand_free(errand);
    errand = test_errand(world, test_read("tell", "", CN_SECOND));
    test_expect_text(errand, "gateway|gateway||00000000|0|0:|req_1|00-trace|"
                             "none|0|0:0");
    test_errand_free(errand);
}

static void a_front_tells_who_asks(void **state)
{
    (void)state;
    test_run(s_body_principal);
}

static void s_body_no_front(struct test_net *world)
{
    struct cn_principal principal = s_coordinator();
    struct cn_bus_call call = test_read("tell", "", CN_SECOND);
    test_serve(world, 0, 0);
    world->client = test_bus(world, "documents", &world->documents, NULL, 0);
    test_connect(world, world->servers[0].address, NULL);
    call.principal = &principal;
    struct test_errand *errand = test_errand(world, call);
    test_expect_text(errand,
                     "documents|documents||00000000|0|0:|req_1|00-trace|"
                     "none|0|0:0");
    test_errand_free(errand);
}

static void the_principal_of_another_service_is_not_believed(void **state)
{
    (void)state;
    test_run(s_body_no_front);
}

static void s_body_deadline(struct test_net *world)
{
    struct test_server *server = &world->servers[0];
    test_serve(world, 0, 0);
    test_connect(world, server->address, NULL);
    test_must_answer(world);
    server->holds = true;
    struct test_errand *errand =
        test_errand(world, test_read("echo", "late", CN_SECOND / 10));
    test_expect(errand, CN_DEADLINE);
    assert_in_range(errand->took_us, CN_SECOND / 10, CN_SECOND);
    test_errand_free(errand);
    /* The budget arrived with the request. The late reply has no caller any
     * more. */
    assert_int_equal(server->held_count, 1);
    assert_true(server->held[0]->deadline_at <= cn_clock_monotonic());
    test_release(server);
    UNTIL(cn_bus_stats(world->client)->late == 1);
    test_must_answer(world);
}

static void
a_call_ends_at_its_deadline_and_a_late_reply_is_dropped(void **state)
{
    (void)state;
    test_run(s_body_deadline);
}

static void s_body_fiber_deadline(struct test_net *world)
{
    test_serve(world, 0, 0);
    test_connect(world, world->servers[0].address, NULL);
    test_must_answer(world);
    world->servers[0].holds = true;
    cn_fiber_set_deadline(cn_clock_monotonic() + CN_SECOND / 10);
    struct test_errand *errand =
        test_errand(world, test_read("echo", "late", CN_MINUTE));
    cn_fiber_set_deadline(INT64_MAX);
    test_expect(errand, CN_DEADLINE);
    assert_true(errand->took_us < CN_SECOND);
    test_errand_free(errand);
    assert_true(world->servers[0].held[0]->deadline_at <
                cn_clock_monotonic() + CN_SECOND);
}

static void the_deadline_of_the_fiber_bounds_the_budget(void **state)
{
    (void)state;
    test_run(s_body_fiber_deadline);
}

static void s_body_late_server(struct test_net *world)
{
    test_free_address(world->servers[0].address);
    test_connect(world, world->servers[0].address, NULL);
    struct test_errand *errand =
        test_start(world, test_read("echo", "patient", 4 * CN_SECOND));
    UNTIL(cn_bus_stats(world->client)->waiting == 1);
    assert_false(cn_bus_reachable(world->client, "referrals"));
    test_serve(world, 0, 0);
    UNTIL(errand->done);
    test_expect_text(errand, "patient");
    assert_true(cn_bus_reachable(world->client, "referrals"));
    test_errand_free(errand);
}

static void a_call_waits_for_a_service_that_is_starting(void **state)
{
    (void)state;
    test_run(s_body_late_server);
}

static void s_body_starting(struct test_net *world)
{
    enum { TURNS_MAX = 100 }; /* in a second of timers and pings */
    test_listen(world, 0, 0);
    test_connect(world, world->servers[0].address, NULL);
    UNTIL(world->client->services[0]->replicas[0]->greeted);
    uint64_t before = cn_loop_turns(world->loop)->count;
    assert_int_equal(cn_fiber_sleep(CN_SECOND), CN_OK);
    assert_in_range(cn_loop_turns(world->loop)->count - before, 0, TURNS_MAX);
    test_serve(world, 0, 0);
    test_must_answer(world);
}

/* Otherwise each process that starts takes a whole core from the others. */
static void a_service_that_is_starting_sleeps_while_it_is_pinged(void **state)
{
    (void)state;
    test_run(s_body_starting);
}

static void s_body_absent(struct test_net *world)
{
    struct cn_bus_call call = test_read("echo", "", CN_SECOND / 5);
    test_free_address(world->servers[0].address);
    test_connect(world, world->servers[0].address, NULL);
    call.writes = true;
    struct test_errand *errand = test_errand(world, call);
    test_expect(errand, CN_UNAVAILABLE);
    assert_in_range(errand->took_us, CN_SECOND / 10 - 1000, 2 * CN_SECOND);
    test_errand_free(errand);
    call.service = "scheduling";
    errand = test_errand(world, call);
    test_expect(errand, CN_UNAVAILABLE);
    test_errand_free(errand);
}

static void a_call_that_no_replica_takes_is_unavailable(void **state)
{
    (void)state;
    test_run(s_body_absent);
}

/* --- limits --- */

static void s_body_busy(struct test_net *world)
{
    test_serve(world, 0, 2);
    test_connect(world, world->servers[0].address, NULL);
    world->servers[0].holds = true;
    struct test_errand *first =
        test_start(world, test_read("echo", "1", 4 * CN_SECOND));
    struct test_errand *second =
        test_start(world, test_read("echo", "2", 4 * CN_SECOND));
    UNTIL(world->servers[0].held_count == 2);
    struct test_errand *third =
        test_errand(world, test_read("echo", "3", 4 * CN_SECOND));
    test_expect(third, CN_BUSY);
    assert_true(third->took_us < 2 * CN_SECOND);
    assert_int_equal(cn_bus_stats(world->servers[0].bus)->busy, 1);
    assert_int_equal(cn_bus_stats(world->servers[0].bus)->serving, 2);
    test_release(&world->servers[0]);
    UNTIL(first->done && second->done);
    test_expect_text(first, "1");
    test_expect_text(second, "2");
    test_errand_free(first);
    test_errand_free(second);
    test_errand_free(third);
    test_must_answer(world);
}

static void a_full_server_answers_busy_at_once(void **state)
{
    (void)state;
    test_run(s_body_busy);
}

static void s_body_busy_elsewhere(struct test_net *world)
{
    struct cn_bus_call call = test_read("echo", "other", 4 * CN_SECOND);
    world->servers[0].holds = true;
    world->servers[1].ill = true;
    test_serve(world, 0, 1);
    test_serve(world, 1, 0);
    test_connect(world, world->servers[0].address, world->servers[1].address);
    UNTIL(test_up(world, 0) && test_up(world, 1));
    struct test_errand *held = test_start(world, call);
    UNTIL(world->servers[0].held_count == 1);
    call.writes = true;
    struct test_errand *errand = test_errand(world, call);
    test_expect_text(errand, "other");
    assert_int_equal(world->servers[1].seen, 1);
    test_release(&world->servers[0]);
    UNTIL(held->done);
    test_errand_free(held);
    test_errand_free(errand);
}

static void a_busy_replica_sends_even_a_write_to_another(void **state)
{
    (void)state;
    test_run(s_body_busy_elsewhere);
}

static void s_body_credit(struct test_net *world)
{
    enum { MORE = CN_BUS_CREDIT + 10 };
    struct test_errand *errands[MORE];
    struct test_server *server = &world->servers[0];
    server->holds = true;
    test_serve(world, 0, 0);
    test_connect(world, server->address, NULL);
    for (size_t i = 0; i < MORE; i++) {
        errands[i] = test_start(world, test_read("echo", "n", 4 * CN_SECOND));
    }
    UNTIL(server->held_count == CN_BUS_CREDIT &&
          cn_bus_stats(world->client)->waiting == MORE - CN_BUS_CREDIT);
    /* A long poll is not counted, and it does not wait behind calls that are.
     */
    struct cn_bus_call poll = test_read("echo", "poll", 4 * CN_SECOND);
    poll.long_poll = true;
    struct test_errand *polling = test_start(world, poll);
    UNTIL(server->held_count == CN_BUS_CREDIT + 1);
    test_release(server);
    for (size_t i = 0; i < MORE; i++) {
        UNTIL(errands[i]->done);
        test_expect_text(errands[i], "n");
        test_errand_free(errands[i]);
    }
    UNTIL(polling->done);
    test_expect_text(polling, "poll");
    test_errand_free(polling);
    assert_int_equal(cn_bus_stats(world->client)->waiting, 0);
}

static void calls_beyond_the_credit_wait_for_it(void **state)
{
    (void)state;
    test_run(s_body_credit);
}

static void s_body_spread(struct test_net *world)
{
    enum { CALLS = 40 };
    struct test_errand *errands[CALLS];
    for (unsigned i = 0; i < 2; i++) {
        world->servers[i].holds = true;
        test_serve(world, i, 0);
    }
    test_connect(world, world->servers[0].address, world->servers[1].address);
    UNTIL(test_up(world, 0) && test_up(world, 1));
    for (size_t i = 0; i < CALLS; i++) {
        errands[i] = test_start(world, test_read("echo", "n", 4 * CN_SECOND));
    }
    UNTIL(world->servers[0].held_count + world->servers[1].held_count == CALLS);
    assert_int_equal(world->servers[0].held_count, CALLS / 2);
    test_release(&world->servers[0]);
    test_release(&world->servers[1]);
    for (size_t i = 0; i < CALLS; i++) {
        UNTIL(errands[i]->done);
        test_errand_free(errands[i]);
    }
}

static void calls_go_to_the_least_busy_replica(void **state)
{
    (void)state;
    test_run(s_body_spread);
}

/* --- tests: strangers and hostile bytes --- */

static void s_body_strangers(struct test_net *world)
{
    const char *server_key = world->service.public_key;
    struct test_keys unknown = test_keys();
    Env__RequestHeader header = ENV__REQUEST_HEADER__INIT;
    test_serve(world, 0, 0);
    const char *address = world->servers[0].address;
    struct raw stranger = s_raw(address, &unknown, server_key);
    struct raw naked = s_raw(address, NULL, NULL);
    struct raw friend = s_raw(address, &world->documents, server_key);
    header.has_id = true;
    header.id = 5;
    header.has_budget_us = true;
    header.budget_us = CN_SECOND;
    header.method = (char[]){ "echo" };
    s_raw_request(&stranger, &header);
    s_raw_request(&naked, &header);
    s_raw_request(&friend, &header);
    int code = -1;
    UNTIL((code = s_raw_code(&friend)) >= 0);
    assert_int_equal(code, CN_OK);
    UNTIL(cn_bus_stats(world->servers[0].bus)->refused > 0);
    assert_int_equal(cn_fiber_sleep(CN_SECOND / 5), CN_OK);
    assert_int_equal(s_raw_code(&stranger), -1);
    assert_int_equal(s_raw_code(&naked), -1);
    assert_int_equal(world->servers[0].seen, 1);
    s_raw_close(&stranger);
    s_raw_close(&naked);
    s_raw_close(&friend);
}

static void an_unknown_key_and_no_key_get_no_reply(void **state)
{
    (void)state;
    test_run(s_body_strangers);
}

static void s_body_malformed(struct test_net *world)
{
    static const uint8_t GARBAGE[] = { 0xff, 0xff, 0x00, 0x08 };
    const struct cn_bus_stats *stats = NULL;
    int code = -1;
    test_serve(world, 0, 0);
    stats = cn_bus_stats(world->servers[0].bus);
    struct raw raw = s_raw(world->servers[0].address, &world->gateway,
                           world->service.public_key);
    s_raw_send(&raw, GARBAGE, sizeof(GARBAGE), true);
    s_raw_send(&raw, "", 0, true);          /* no id */
    s_raw_send(&raw, "\x08\x05", 2, false); /* no body */
    assert_true(zmq_send(raw.dealer, "a", 1, ZMQ_SNDMORE) > 0);
    assert_true(zmq_send(raw.dealer, "b", 1, ZMQ_SNDMORE) > 0);
    s_raw_send(&raw, GARBAGE, sizeof(GARBAGE), true); /* four frames */
    UNTIL(stats->malformed == 4);
    /* The request has an id, so the refusal can be sent to its caller. */
    Env__RequestHeader header = ENV__REQUEST_HEADER__INIT;
    header.has_id = true;
    header.id = 5;
    header.has_budget_us = true;
    header.budget_us = INT64_MAX;
    s_raw_request(&raw, &header);
    UNTIL((code = s_raw_code(&raw)) >= 0);
    assert_int_equal(code, CN_MALFORMED);
    header.request_id = (char[]){ "\xff" };
    s_raw_request(&raw, &header);
    UNTIL((code = s_raw_code(&raw)) >= 0);
    assert_int_equal(code, CN_MALFORMED);
    header.request_id = NULL;
    header.method = (char[]){ "echo" };
    Env__Principal principal = ENV__PRINCIPAL__INIT;
    principal.has_tenant_id = true;
    principal.tenant_id.data = (uint8_t[]){ 1, 2, 3 };
    principal.tenant_id.len = 3;
    header.principal = &principal;
    s_raw_request(&raw, &header);
    UNTIL((code = s_raw_code(&raw)) >= 0);
    assert_int_equal(code, CN_MALFORMED);
    header.principal = NULL;
    s_raw_request(&raw, &header);
    UNTIL((code = s_raw_code(&raw)) >= 0);
    assert_int_equal(code, CN_OK);
    assert_int_equal(world->servers[0].seen, 1);
    s_raw_close(&raw);
}

static void what_is_no_request_is_dropped_and_counted(void **state)
{
    (void)state;
    test_run(s_body_malformed);
}

static void s_body_spent(struct test_net *world)
{
    Env__RequestHeader header = ENV__REQUEST_HEADER__INIT;
    int code = -1;
    test_serve(world, 0, 0);
    struct raw raw = s_raw(world->servers[0].address, &world->gateway,
                           world->service.public_key);
    header.has_id = true;
    header.id = 5;
    header.method = (char[]){ "echo" };
    s_raw_request(&raw, &header);
    UNTIL((code = s_raw_code(&raw)) >= 0);
    assert_int_equal(code, CN_DEADLINE);
    header.has_budget_us = true;
    header.budget_us = INT64_MIN;
    s_raw_request(&raw, &header);
    UNTIL((code = s_raw_code(&raw)) >= 0);
    assert_int_equal(code, CN_DEADLINE);
    assert_int_equal(world->servers[0].seen, 0);
    assert_int_equal(cn_bus_stats(world->servers[0].bus)->expired, 2);
    s_raw_close(&raw);
}

static void a_spent_budget_never_reaches_the_service(void **state)
{
    (void)state;
    test_run(s_body_spent);
}

/* The code of the reply to an echo whose header has this sent_at. */
static int s_dated(struct raw *raw, int64_t sent_at, int64_t budget_us)
{
    Env__RequestHeader header = ENV__REQUEST_HEADER__INIT;
    int code = -1;
    header.has_id = true;
    header.id = 5;
    header.method = (char[]){ "echo" };
    header.has_budget_us = true;
    header.budget_us = budget_us;
    header.has_sent_at = true;
    header.sent_at = sent_at;
    s_raw_request(raw, &header);
    UNTIL((code = s_raw_code(raw)) >= 0);
    return code;
}

static void s_body_old(struct test_net *world)
{
    test_serve(world, 0, 0);
    struct raw raw = s_raw(world->servers[0].address, &world->gateway,
                           world->service.public_key);
    /* The sender's clock has another zero than ours; only differences count. */
    int64_t zero = cn_clock_monotonic() - 1000 * CN_SECOND;
    int64_t least = cn_clock_monotonic() - zero;
    assert_int_equal(s_dated(&raw, least, CN_MINUTE), CN_OK);
    int64_t late = cn_clock_monotonic() - zero - CN_SECOND / 2;
    assert_int_equal(s_dated(&raw, late, CN_SECOND / 4), CN_DEADLINE);
    assert_int_equal(s_dated(&raw, late, INT64_MIN), CN_DEADLINE);
    int64_t old = cn_clock_monotonic() - zero - 3 * CN_SECOND;
    assert_int_equal(s_dated(&raw, old, CN_MINUTE), CN_BUSY);
    assert_int_equal(cn_bus_stats(world->servers[0].bus)->stale, 1);
    assert_int_equal(world->servers[0].seen, 1);
    /* A sent_at that cannot be a time is ignored. */
    assert_int_equal(s_dated(&raw, INT64_MIN, CN_MINUTE), CN_OK);
    assert_int_equal(s_dated(&raw, INT64_MAX, CN_MINUTE), CN_OK);
    s_raw_close(&raw);
}

static void time_on_the_way_counts_and_too_much_of_it_is_refused(void **state)
{
    (void)state;
    test_run(s_body_old);
}

static void s_body_vanished(struct test_net *world)
{
    Env__RequestHeader header = ENV__REQUEST_HEADER__INIT;
    struct test_server *server = &world->servers[0];
    test_serve(world, 0, 0);
    server->holds = true;
    struct raw raw =
        s_raw(server->address, &world->gateway, world->service.public_key);
    header.has_id = true;
    header.id = 5;
    header.has_budget_us = true;
    header.budget_us = CN_MINUTE;
    header.method = (char[]){ "echo" };
    s_raw_request(&raw, &header);
    UNTIL(server->held_count == 1);
    s_raw_close(&raw);
    /* The ROUTER learns of the end only after a while. */
    assert_int_equal(cn_fiber_sleep(CN_SECOND / 5), CN_OK);
    test_release(server);
    assert_int_equal(cn_bus_stats(server->bus)->vanished, 1);
    assert_int_equal(cn_bus_stats(server->bus)->serving, 0);
}

static void a_reply_to_a_peer_that_went_is_counted(void **state)
{
    (void)state;
    test_run(s_body_vanished);
}

static size_t s_rss_kib(void)
{
    char line[128];
    size_t kib = 0;
    FILE *status = fopen("/proc/self/status", "re");
    assert_non_null(status);
    while (fgets(line, sizeof(line), status) != NULL) {
        if (strncmp(line, "VmRSS:", 6) == 0) {
            kib = strtoul(line + 6, NULL, 10);
        }
    }
    (void)fclose(status);
    return kib;
}

static int s_tcp(const char *address)
{
    struct sockaddr_in in = { .sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const char *port = strrchr(address, ':') + 1;
    in.sin_port = htons((uint16_t)strtoul(port, NULL, 10));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

/* Writes at most so many bytes, while the peer reads. Returns how many the
 * peer took before it closed the connection. */
static size_t s_flood(int fd, size_t size)
{
    static const char ZEROS[1 << 16];
    size_t sent = 0;
    unsigned idle = 0;
    while (sent < size && idle < 200) {
        ssize_t rc = send(fd, ZEROS, sizeof(ZEROS), MSG_NOSIGNAL);
        if (rc > 0) {
            sent += (size_t)rc;
            idle = 0;
        } else if (rc < 0 && errno == EAGAIN) {
            idle++;
            assert_int_equal(cn_fiber_sleep(1000), CN_OK);
        } else {
            break;
        }
    }
    return sent;
}

/* A peer that never authenticates claims a frame of 1 GiB. */
static void s_body_hostile(struct test_net *world)
{
    uint8_t greeting[64] = { 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0 };
    static const uint8_t CLAIM[] = { 0x06, 0, 0, 0, 0, 0x40, 0, 0, 0 };
    size_t before = s_rss_kib();
    memcpy(&greeting[12], "CURVE", 5);
    test_serve(world, 0, 0);
    test_connect(world, world->servers[0].address, NULL);
    test_must_answer(world);
    for (unsigned i = 0; i < 4; i++) {
        int fd = s_tcp(world->servers[0].address);
        assert_int_equal(send(fd, greeting, sizeof(greeting), MSG_NOSIGNAL),
                         sizeof(greeting));
        assert_int_equal(send(fd, CLAIM, sizeof(CLAIM), MSG_NOSIGNAL),
                         sizeof(CLAIM));
        assert_true(s_flood(fd, 64 << 20) < 32 << 20);
        (void)close(fd);
    }
    /* No greeting at all. */
    int fd = s_tcp(world->servers[0].address);
    (void)s_flood(fd, 1 << 20);
    (void)close(fd);
    test_must_answer(world);
    assert_true(s_rss_kib() < before + (16 << 10));
}

static void a_peer_that_never_authenticates_takes_no_memory(void **state)
{
    (void)state;
    test_run(s_body_hostile);
}

/* --- tests: options and configuration --- */

static long long s_option(void *zmq, int option)
{
    int64_t wide = 0;
    int value = 0;
    size_t size = option == ZMQ_MAXMSGSIZE ? sizeof(wide) : sizeof(value);
    void *target = option == ZMQ_MAXMSGSIZE ? (void *)&wide : (void *)&value;
    assert_int_equal(zmq_getsockopt(zmq, option, target, &size), 0);
    return option == ZMQ_MAXMSGSIZE ? wide : value;
}

static void s_check_options(void *zmq)
{
    assert_int_equal(s_option(zmq, ZMQ_MAXMSGSIZE), BUS_FRAME_MAX);
    assert_int_equal(s_option(zmq, ZMQ_SNDHWM), BUS_HWM);
    assert_int_equal(s_option(zmq, ZMQ_RCVHWM), BUS_HWM);
    assert_int_equal(s_option(zmq, ZMQ_LINGER), 0);
    assert_int_equal(s_option(zmq, ZMQ_HANDSHAKE_IVL), 5000);
    assert_int_equal(s_option(zmq, ZMQ_RECONNECT_IVL), 100);
    assert_int_equal(s_option(zmq, ZMQ_RECONNECT_IVL_MAX), 5000);
    assert_int_equal(s_option(zmq, ZMQ_MECHANISM), ZMQ_CURVE);
    /* 0 switches it off: with it libzmq 4.3.4 can abort the process. */
    assert_int_equal(s_option(zmq, ZMQ_HEARTBEAT_IVL), 0);
}

static void s_body_options(struct test_net *world)
{
    char domain[16] = "";
    size_t size = sizeof(domain);
    test_serve(world, 0, 0);
    test_connect(world, world->servers[0].address, NULL);
    void *router = world->servers[0].bus->router.zmq;
    void *dealer = world->client->services[0]->replicas[0]->dealer.zmq;
    s_check_options(router);
    s_check_options(dealer);
    assert_int_equal(s_option(dealer, ZMQ_IMMEDIATE), 1);
    assert_int_equal(s_option(router, ZMQ_CURVE_SERVER), 1);
    assert_int_equal(s_option(router, ZMQ_ZAP_ENFORCE_DOMAIN), 1);
    assert_int_equal(zmq_getsockopt(router, ZMQ_ZAP_DOMAIN, domain, &size), 0);
    assert_string_equal(domain, "cairn");
    /* ROUTER_MANDATORY cannot be read: an unknown peer must be an error. */
    assert_int_equal(zmq_send(router, "nobody", 6, ZMQ_DONTWAIT | ZMQ_SNDMORE),
                     -1);
    assert_int_equal(zmq_errno(), EHOSTUNREACH);
    int major = 0;
    int minor = 0;
    int patch = 0;
    zmq_version(&major, &minor, &patch);
    assert_true(ZMQ_MAKE_VERSION(major, minor, patch) >=
                ZMQ_MAKE_VERSION(4, 3, 3));
}

static void the_options_of_every_socket_are_set(void **state)
{
    (void)state;
    test_run(s_body_options);
}

static enum cn_code s_try(struct test_net *world,
                          const char *secret_key,
                          const char *peers,
                          const char *fronts,
                          const char *bind)
{
    struct cn_bus_config config = { .name = "referrals",
                                    .secret_key = secret_key,
                                    .peers = peers,
                                    .fronts = fronts,
                                    .bind = bind };
    struct cn_bus *bus = NULL;
    struct cn_err err = { 0 };
    enum cn_code rc = cn_bus_new(&world->env, &config, &bus, &err);
    cn_bus_free(bus);
    return rc;
}

static void s_body_config(struct test_net *world)
{
    const char *secret = world->service.secret_key;
    char bad[CN_BUS_KEY_SIZE + 16];
    struct cn_err err = { 0 };
    assert_int_equal(s_try(world, secret, "", NULL, NULL), CN_OK);
    assert_int_equal(s_try(world, "short", "", NULL, NULL), CN_INVALID);
    assert_int_equal(s_try(world, NULL, "", NULL, NULL), CN_INVALID);
    assert_int_equal(s_try(world, secret, "gateway", NULL, NULL), CN_INVALID);
    assert_int_equal(s_try(world, secret, "gateway=short", NULL, NULL),
                     CN_INVALID);
    (void)snprintf(bad, sizeof(bad), "gateway=%.39s~",
                   world->gateway.public_key);
    assert_int_equal(s_try(world, secret, bad, NULL, NULL), CN_INVALID);
    assert_int_equal(s_try(world, secret, world->peers, "edge", NULL),
                     CN_INVALID);
    test_serve(world, 0, 0);
    assert_int_equal(s_try(world, secret, world->peers, "gateway",
                           world->servers[0].address),
                     CN_UNAVAILABLE);
    test_connect(world, world->servers[0].address, NULL);
    assert_int_equal(cn_bus_connect(world->client, "scheduling",
                                    world->servers[0].address, &err),
                     CN_INVALID);
    assert_int_equal(
        cn_bus_connect(world->client, "documents", "udp://x:1", &err),
        CN_INVALID);
    test_must_answer(world);
}

static void bad_keys_addresses_and_names_are_refused(void **state)
{
    (void)state;
    test_run(s_body_config);
}

static void s_body_endpoints(struct test_net *world)
{
    static const char *const BAD[] = { "nonsense",
                                       "=tcp://127.0.0.1:1",
                                       "referrals=",
                                       "referrals=udp://x:1",
                                       ";",
                                       "referrals",
                                       "unknown=tcp://127.0.0.1:1" };
    char text[256];
    struct cn_err err = { 0 };
    test_serve(world, 0, 0);
    world->client = test_bus(world, "gateway", &world->gateway, NULL, 0);
    for (size_t i = 0; i < CN_COUNT(BAD); i++) {
        assert_int_equal(cn_bus_connect_all(world->client, BAD[i], &err),
                         CN_INVALID);
    }
    assert_int_equal(cn_bus_connect_all(world->client, "", &err), CN_OK);
    (void)snprintf(text, sizeof(text),
                   "documents=tcp://127.0.0.1:1,tcp://127.0.0.1:2;referrals=%s",
                   world->servers[0].address);
    assert_int_equal(cn_bus_connect_all(world->client, text, &err), CN_OK);
    test_must_answer(world);
    assert_true(cn_bus_reachable(world->client, "referrals"));
    assert_false(cn_bus_reachable(world->client, "documents"));
}

static void one_text_names_the_replicas_of_all_services(void **state)
{
    (void)state;
    test_run(s_body_endpoints);
}

static void a_secret_key_has_one_public_key(void **state)
{
    struct test_keys keys = test_keys();
    char public_key[CN_BUS_KEY_SIZE];
    (void)state;
    assert_true(cn_bus_public_key(keys.secret_key, public_key));
    assert_string_equal(public_key, keys.public_key);
    assert_false(cn_bus_public_key("", public_key));
    assert_false(cn_bus_public_key(NULL, public_key));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_gets_its_reply_at_once),
        cmocka_unit_test(
            a_body_of_the_limit_travels_whole_and_a_larger_one_is_refused),
        cmocka_unit_test(codes_and_fields_of_an_error_travel),
        cmocka_unit_test(a_front_tells_who_asks),
        cmocka_unit_test(the_principal_of_another_service_is_not_believed),
        cmocka_unit_test(
            a_call_ends_at_its_deadline_and_a_late_reply_is_dropped),
        cmocka_unit_test(the_deadline_of_the_fiber_bounds_the_budget),
        cmocka_unit_test(a_call_waits_for_a_service_that_is_starting),
        cmocka_unit_test(a_service_that_is_starting_sleeps_while_it_is_pinged),
        cmocka_unit_test(a_call_that_no_replica_takes_is_unavailable),
        cmocka_unit_test(a_full_server_answers_busy_at_once),
        cmocka_unit_test(a_busy_replica_sends_even_a_write_to_another),
        cmocka_unit_test(calls_beyond_the_credit_wait_for_it),
        cmocka_unit_test(calls_go_to_the_least_busy_replica),
        cmocka_unit_test(an_unknown_key_and_no_key_get_no_reply),
        cmocka_unit_test(what_is_no_request_is_dropped_and_counted),
        cmocka_unit_test(a_spent_budget_never_reaches_the_service),
        cmocka_unit_test(time_on_the_way_counts_and_too_much_of_it_is_refused),
        cmocka_unit_test(a_reply_to_a_peer_that_went_is_counted),
        cmocka_unit_test(a_peer_that_never_authenticates_takes_no_memory),
        cmocka_unit_test(the_options_of_every_socket_are_set),
        cmocka_unit_test(bad_keys_addresses_and_names_are_refused),
        cmocka_unit_test(one_text_names_the_replicas_of_all_services),
        cmocka_unit_test(a_secret_key_has_one_public_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
