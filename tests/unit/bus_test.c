/* SPDX-License-Identifier: Apache-2.0 */
/* The bus between two of its instances on one loop, over loopback; a process of
 * its own where one is killed or stopped. */
#include "common/bus.h"

#include "common/bus_internal.h"

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
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SERVERS_MAX = 2, HELD_MAX = 2048, PATIENCE_MS = 8000 };

struct keys {
    char public_key[CN_BUS_KEY_SIZE];
    char secret_key[CN_BUS_KEY_SIZE];
};

/* A service of the tests: what it does depends on the method. */
struct server {
    struct cn_bus *bus;
    char address[64];
    bool holds; /* keeps every request */
    bool ill;
    struct cn_bus_request *held[HELD_MAX];
    size_t held_count;
    size_t seen;
};

struct world {
    struct cn_loop *loop;
    struct cn_env env;
    struct keys gateway;
    struct keys documents;
    struct keys service;
    char peers[256];
    struct server servers[SERVERS_MAX];
    struct cn_bus *client;
    pid_t child;
    void (*body)(struct world *world);
};

/* --- the service --- */

static void s_answer(struct server *server,
                     struct cn_bus_request *request,
                     const struct cn_bus_reply *reply)
{
    cn_bus_reply_send(server->bus, request->back, reply);
    cn_arena_free(request->arena);
}

static void s_answer_text(struct server *server,
                          struct cn_bus_request *request,
                          const char *text)
{
    struct cn_bus_reply reply = { .body = { (const uint8_t *)text,
                                            strlen(text) } };

    s_answer(server, request, &reply);
}

static void s_echo(struct server *server, struct cn_bus_request *request)
{
    struct cn_bus_reply reply = { .body = request->body,
                                  .status = 201,
                                  .version = 7,
                                  .updated_at = 1234567,
                                  .location = "/v1/things/thg_1",
                                  .replayed = true };

    s_answer(server, request, &reply);
}

static void s_fail(struct server *server, struct cn_bus_request *request)
{
    struct cn_bus_reply reply = { 0 };
    struct cn_err *err = &reply.err;

    (void)cn_fail_field(err, "/name/family", "required", "is missing");
    (void)cn_fail_field(err, "/dob", "bad_date", "is no date");
    (void)snprintf(err->word, sizeof(err->word), "not_so");
    (void)snprintf(err->location, sizeof(err->location), "/v1/things/thg_2");
    err->version = 9;
    s_answer(server, request, &reply);
}

/* Everything of a request but its body, as text. */
static void s_tell(struct server *server, struct cn_bus_request *request)
{
    const struct cn_principal *principal = &request->principal;
    char tenant[CN_UUID_TEXT_SIZE];
    char text[1024];

    cn_uuid_format(principal->tenant_id, tenant);
    (void)snprintf(
        text, sizeof(text), "%s|%s|%s|%.8s|%zu|%zu:%s|%s|%s|%s|%d|%d:%lld",
        request->peer, principal->subject, principal->role, tenant,
        principal->branch_count, principal->scope_count,
        principal->scope_count > 0 ? principal->scopes[0] : "",
        request->request_id, request->trace,
        request->idempotency_key != NULL ? request->idempotency_key : "none",
        request->has_client_key, request->has_expected_version,
        (long long)request->expected_version);
    s_answer_text(server, request, text);
}

static void s_on_request(void *arg, struct cn_bus_request *request)
{
    struct server *server = arg;

    server->seen++;
    if (server->holds) {
        assert_true(server->held_count < HELD_MAX);
        server->held[server->held_count++] = request;
    } else if (strcmp(request->method, "echo") == 0) {
        s_echo(server, request);
    } else if (strcmp(request->method, "fail") == 0) {
        s_fail(server, request);
    } else {
        s_tell(server, request);
    }
}

static void s_release(struct server *server)
{
    server->holds = false;
    for (size_t i = 0; i < server->held_count; i++) {
        s_echo(server, server->held[i]);
    }
    server->held_count = 0;
}

static bool s_healthy(void *arg)
{
    const struct server *server = arg;

    return !server->ill;
}

/* --- the world --- */

static void s_free_address(char address[64])
{
    struct sockaddr_in in = { .sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof(in);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &size), 0);
    (void)snprintf(address, 64, "tcp://127.0.0.1:%u",
                   (unsigned)ntohs(in.sin_port));
    (void)close(fd);
}

static struct cn_bus *s_bus(struct world *world,
                            const char *name,
                            const struct keys *keys,
                            const char *bind,
                            unsigned queue_max)
{
    struct cn_bus_config config = { .name = name,
                                    .secret_key = keys->secret_key,
                                    .bind = bind,
                                    .peers = world->peers,
                                    .fronts = "gateway",
                                    .queue_max = queue_max };
    struct cn_bus *bus = NULL;
    struct cn_err err = { 0 };

    if (cn_bus_new(&world->env, &config, &bus, &err) != CN_OK) {
        fail_msg("bus %s: %s", name, err.msg);
    }
    return bus;
}

/* With an address of its own the first time, and the same again later. */
static void s_serve(struct world *world, unsigned which, unsigned queue_max)
{
    struct server *server = &world->servers[which];

    assert_null(server->bus);
    if (server->address[0] == '\0') {
        s_free_address(server->address);
    }
    server->bus =
        s_bus(world, "referrals", &world->service, server->address, queue_max);
    cn_bus_set_health(server->bus, s_healthy, server);
    cn_bus_serve(server->bus, s_on_request, server);
}

/* What it held is forgotten, as when a process dies. */
static void s_kill(struct server *server)
{
    cn_bus_free(server->bus);
    server->bus = NULL;
    for (size_t i = 0; i < server->held_count; i++) {
        cn_arena_free(server->held[i]->arena);
    }
    server->held_count = 0;
}

static void
s_connect(struct world *world, const char *first, const char *second)
{
    struct cn_err err = { 0 };
    char endpoints[256];

    (void)snprintf(endpoints, sizeof(endpoints), "%s%s%s", first,
                   second != NULL ? "," : "", second != NULL ? second : "");
    if (world->client == NULL) {
        world->client = s_bus(world, "gateway", &world->gateway, NULL, 0);
    }
    assert_int_equal(
        cn_bus_connect(world->client, "referrals", endpoints, &err), CN_OK);
}

static void s_fiber(void *arg)
{
    struct world *world = arg;

    world->body(world);
    cn_loop_stop(world->loop);
}

static struct keys s_keys(void)
{
    struct keys keys;

    assert_true(cn_bus_keypair(keys.public_key, keys.secret_key));
    return keys;
}

static void s_run(void (*body)(struct world *world))
{
    struct world *world = calloc(1, sizeof(*world));
    struct cn_err err = { 0 };

    assert_non_null(world);
    world->env = cn_env_real();
    world->loop = world->env.loop = cn_loop_new();
    assert_non_null(world->loop);
    world->gateway = s_keys();
    world->documents = s_keys();
    world->service = s_keys();
    (void)snprintf(world->peers, sizeof(world->peers),
                   "gateway=%s,documents=%s,referrals=%s",
                   world->gateway.public_key, world->documents.public_key,
                   world->service.public_key);
    world->body = body;
    assert_int_equal(
        cn_fiber_spawn(world->loop, s_fiber, world, INT64_MAX, &err), CN_OK);
    cn_loop_run(world->loop, CN_SECOND);
    cn_bus_free(world->client);
    for (size_t i = 0; i < SERVERS_MAX; i++) {
        s_kill(&world->servers[i]);
    }
    cn_loop_free(world->loop);
    free(world);
}

/* Lets the loop turn until a condition holds; fails after PATIENCE_MS. */
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

/* --- calls --- */

/* One call in a fiber of its own. */
struct errand {
    struct cn_bus *bus;
    struct cn_bus_call call;
    struct cn_arena *arena;
    struct cn_bus_reply reply;
    struct cn_err err;
    enum cn_code rc;
    int64_t took_us;
    bool done;
};

static struct cn_bus_call
s_read_of(const char *method, const char *body, int64_t budget_us)
{
    return (
        struct cn_bus_call){ .service = "referrals",
                             .method = method,
                             .body = { (const uint8_t *)body, strlen(body) },
                             .budget_us = budget_us,
                             .request_id = "req_1",
                             .trace = "00-trace" };
}

static void s_errand_run(struct errand *errand)
{
    int64_t began_at = cn_clock_monotonic();

    errand->rc = cn_bus_call(errand->bus, errand->arena, &errand->call,
                             &errand->reply, &errand->err);
    errand->took_us = cn_clock_monotonic() - began_at;
    errand->done = true;
}

static void s_errand_fiber(void *arg)
{
    s_errand_run(arg);
}

static struct errand *s_errand_new(struct world *world, struct cn_bus_call call)
{
    struct errand *errand = calloc(1, sizeof(*errand));

    assert_non_null(errand);
    errand->bus = world->client;
    errand->call = call;
    errand->arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    assert_non_null(errand->arena);
    return errand;
}

static void s_errand_free(struct errand *errand)
{
    cn_arena_free(errand->arena);
    free(errand);
}

/* Begins a call and goes on. */
static struct errand *s_start(struct world *world, struct cn_bus_call call)
{
    struct errand *errand = s_errand_new(world, call);
    struct cn_err err = { 0 };

    assert_int_equal(cn_fiber_spawn(world->loop, s_errand_fiber, errand,
                                    cn_clock_monotonic() + CN_MINUTE, &err),
                     CN_OK);
    return errand;
}

static struct errand *s_call(struct world *world, struct cn_bus_call call)
{
    struct errand *errand = s_errand_new(world, call);

    s_errand_run(errand);
    return errand;
}

static void s_expect(struct errand *errand, enum cn_code rc)
{
    if (errand->rc != rc) {
        fail_msg("%s, not %s: %s", cn_code_word(errand->rc), cn_code_word(rc),
                 errand->err.msg);
    }
    if (rc != CN_OK) {
        assert_int_equal(errand->err.code, rc);
    }
}

static void s_expect_text(struct errand *errand, const char *text)
{
    s_expect(errand, CN_OK);
    assert_int_equal(errand->reply.body.size, strlen(text));
    assert_memory_equal(errand->reply.body.data, text, strlen(text));
}

/* A read that must succeed. */
static void s_must_answer(struct world *world)
{
    struct errand *errand =
        s_call(world, s_read_of("echo", "hello", 4 * CN_SECOND));

    s_expect_text(errand, "hello");
    s_errand_free(errand);
}

static bool s_up(const struct world *world, size_t replica)
{
    return world->client->services[0]->replicas[replica]->up;
}

/* --- raw peers --- */

struct raw {
    void *ctx;
    void *dealer;
};

/* A peer that does not use our code. keys NULL: without CURVE. */
static struct raw
s_raw(const char *address, const struct keys *keys, const char *server_key)
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

/* --- a process of its own --- */

static void s_child_start(struct world *world, const char *address)
{
    char *argv[] = { (char[]){ "bus_test" }, (char[]){ "serve" },
                     strdup(address),        strdup(world->service.secret_key),
                     strdup(world->peers),   NULL };

    assert_int_equal(
        posix_spawn(&world->child, "/proc/self/exe", NULL, NULL, argv, environ),
        0);
    for (size_t i = 2; i < 5; i++) {
        free(argv[i]);
    }
}

static void s_child_kill(struct world *world)
{
    assert_int_equal(kill(world->child, SIGKILL), 0);
    assert_int_equal(waitpid(world->child, NULL, 0), world->child);
    world->child = 0;
}

static int s_child_main(char **argv)
{
    static struct server server;
    struct world world = { 0 };
    struct cn_err err = { 0 };

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    world.env = cn_env_real();
    world.loop = world.env.loop = cn_loop_new();
    struct cn_bus_config config = { .name = "referrals",
                                    .bind = argv[2],
                                    .secret_key = argv[3],
                                    .peers = argv[4],
                                    .fronts = "gateway" };
    if (cn_bus_new(&world.env, &config, &server.bus, &err) != CN_OK) {
        (void)fprintf(stderr, "child: %s\n", err.msg);
        return 1;
    }
    cn_bus_serve(server.bus, s_on_request, &server);
    cn_loop_run(world.loop, 0);
    return 0;
}

/* --- tests: calls --- */

static int64_t s_first_us; /* of the quickest first call */

static void s_body_reply(struct world *world)
{
    s_serve(world, 0, 0);
    s_connect(world, world->servers[0].address, NULL);
    struct errand *errand =
        s_call(world, s_read_of("echo", "hello", CN_SECOND));
    s_expect_text(errand, "hello");
    assert_int_equal(errand->reply.status, 201);
    assert_int_equal(errand->reply.version, 7);
    assert_int_equal(errand->reply.updated_at, 1234567);
    assert_string_equal(errand->reply.location, "/v1/things/thg_1");
    assert_true(errand->reply.replayed);
    assert_int_equal(errand->reply.err.code, CN_OK);
    if (errand->took_us < s_first_us) {
        s_first_us = errand->took_us;
    }
    s_errand_free(errand);
}

static void a_call_gets_its_reply_at_once(void **state)
{
    (void)state;
    s_first_us = INT64_MAX;
    for (unsigned i = 0; i < 3; i++) {
        s_run(s_body_reply);
    }
    /* It waits for the handshake, never for the next ping. Of three, since the
     * machine may be busy. */
    assert_true(s_first_us < CN_BUS_PING_INTERVAL_MS * 1000);
}

static void s_body_large(struct world *world)
{
    static char text[CN_MESSAGE_SIZE_MAX + 2];

    memset(text, 'x', CN_MESSAGE_SIZE_MAX);
    text[CN_MESSAGE_SIZE_MAX] = '\0';
    s_serve(world, 0, 0);
    s_connect(world, world->servers[0].address, NULL);
    struct errand *whole =
        s_call(world, s_read_of("echo", text, 4 * CN_SECOND));
    s_expect_text(whole, text);
    text[CN_MESSAGE_SIZE_MAX] = 'x';
    struct errand *larger =
        s_call(world, s_read_of("echo", text, 4 * CN_SECOND));
    s_expect(larger, CN_TOO_LARGE);
    s_errand_free(whole);
    s_errand_free(larger);
    s_must_answer(world);
}

static void
a_body_of_the_limit_travels_whole_and_a_larger_one_is_refused(void **state)
{
    (void)state;
    s_run(s_body_large);
}

static void s_body_error(struct world *world)
{
    s_serve(world, 0, 0);
    s_connect(world, world->servers[0].address, NULL);
    struct errand *errand = s_call(world, s_read_of("fail", "", CN_SECOND));
    s_expect(errand, CN_INVALID);
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
    s_errand_free(errand);
}

static void codes_and_fields_of_an_error_travel(void **state)
{
    (void)state;
    s_run(s_body_error);
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

static void s_body_principal(struct world *world)
{
    struct cn_principal principal = s_coordinator();
    struct cn_bus_call call = s_read_of("tell", "", CN_SECOND);

    s_serve(world, 0, 0);
    s_connect(world, world->servers[0].address, NULL);
    call.principal = &principal;
    call.idempotency_key = "k-1";
    call.has_client_key = true;
    call.has_expected_version = true;
    call.expected_version = 3;
    struct errand *errand = s_call(world, call);
    s_expect_text(errand, "gateway|key_7|coordinator|abcd0000|2|"
                          "2:referrals:read|req_1|00-trace|k-1|1|1:3");
    s_errand_free(errand);
    errand = s_call(world, s_read_of("tell", "", CN_SECOND));
    s_expect_text(errand, "gateway|gateway||00000000|0|0:|req_1|00-trace|"
                          "none|0|0:0");
    s_errand_free(errand);
}

static void a_front_tells_who_asks(void **state)
{
    (void)state;
    s_run(s_body_principal);
}

static void s_body_no_front(struct world *world)
{
    struct cn_principal principal = s_coordinator();
    struct cn_bus_call call = s_read_of("tell", "", CN_SECOND);

    s_serve(world, 0, 0);
    world->client = s_bus(world, "documents", &world->documents, NULL, 0);
    s_connect(world, world->servers[0].address, NULL);
    call.principal = &principal;
    struct errand *errand = s_call(world, call);
    s_expect_text(errand, "documents|documents||00000000|0|0:|req_1|00-trace|"
                          "none|0|0:0");
    s_errand_free(errand);
}

static void the_principal_of_another_service_is_not_believed(void **state)
{
    (void)state;
    s_run(s_body_no_front);
}

static void s_body_deadline(struct world *world)
{
    struct server *server = &world->servers[0];

    s_serve(world, 0, 0);
    s_connect(world, server->address, NULL);
    s_must_answer(world);
    server->holds = true;
    struct errand *errand =
        s_call(world, s_read_of("echo", "late", CN_SECOND / 10));
    s_expect(errand, CN_DEADLINE);
    assert_in_range(errand->took_us, CN_SECOND / 10, CN_SECOND);
    s_errand_free(errand);
    /* Its budget came along, and its late reply finds nobody. */
    assert_int_equal(server->held_count, 1);
    assert_true(server->held[0]->deadline_at <= cn_clock_monotonic());
    s_release(server);
    UNTIL(cn_bus_stats(world->client)->late == 1);
    s_must_answer(world);
}

static void
a_call_ends_at_its_deadline_and_a_late_reply_is_dropped(void **state)
{
    (void)state;
    s_run(s_body_deadline);
}

static void s_body_fiber_deadline(struct world *world)
{
    s_serve(world, 0, 0);
    s_connect(world, world->servers[0].address, NULL);
    s_must_answer(world);
    world->servers[0].holds = true;
    cn_fiber_set_deadline(cn_clock_monotonic() + CN_SECOND / 10);
    struct errand *errand = s_call(world, s_read_of("echo", "late", CN_MINUTE));
    cn_fiber_set_deadline(INT64_MAX);
    s_expect(errand, CN_DEADLINE);
    assert_true(errand->took_us < CN_SECOND);
    s_errand_free(errand);
    assert_true(world->servers[0].held[0]->deadline_at <
                cn_clock_monotonic() + CN_SECOND);
}

static void the_deadline_of_the_fiber_bounds_the_budget(void **state)
{
    (void)state;
    s_run(s_body_fiber_deadline);
}

static void s_body_late_server(struct world *world)
{
    s_free_address(world->servers[0].address);
    s_connect(world, world->servers[0].address, NULL);
    struct errand *errand =
        s_start(world, s_read_of("echo", "patient", 4 * CN_SECOND));
    UNTIL(cn_bus_stats(world->client)->waiting == 1);
    assert_false(cn_bus_reachable(world->client, "referrals"));
    s_serve(world, 0, 0);
    UNTIL(errand->done);
    s_expect_text(errand, "patient");
    assert_true(cn_bus_reachable(world->client, "referrals"));
    s_errand_free(errand);
}

static void a_call_waits_for_a_service_that_is_starting(void **state)
{
    (void)state;
    s_run(s_body_late_server);
}

static void s_body_absent(struct world *world)
{
    struct cn_bus_call call = s_read_of("echo", "", CN_SECOND / 5);

    s_free_address(world->servers[0].address);
    s_connect(world, world->servers[0].address, NULL);
    call.writes = true;
    struct errand *errand = s_call(world, call);
    s_expect(errand, CN_UNAVAILABLE);
    assert_in_range(errand->took_us, CN_SECOND / 10 - 1000, 2 * CN_SECOND);
    s_errand_free(errand);
    call.service = "scheduling";
    errand = s_call(world, call);
    s_expect(errand, CN_UNAVAILABLE);
    s_errand_free(errand);
}

static void a_call_that_no_replica_takes_is_unavailable(void **state)
{
    (void)state;
    s_run(s_body_absent);
}

/* --- tests: replicas that go --- */

static void s_body_remade(struct world *world)
{
    s_serve(world, 0, 0);
    s_connect(world, world->servers[0].address, NULL);
    for (unsigned i = 0; i < 3; i++) {
        s_must_answer(world);
        s_kill(&world->servers[0]);
        UNTIL(!cn_bus_reachable(world->client, "referrals"));
        s_serve(world, 0, 0);
    }
    s_must_answer(world);
    assert_int_equal(cn_bus_stats(world->client)->downs, 3);
}

static void calls_go_on_when_a_server_is_back_on_its_port(void **state)
{
    (void)state;
    s_run(s_body_remade);
}

/* Two replicas; the first is preferred, holds the call and dies. */
static struct errand *s_orphan(struct world *world, struct cn_bus_call call)
{
    world->servers[0].holds = true;
    world->servers[1].ill = true;
    s_serve(world, 0, 0);
    s_serve(world, 1, 0);
    s_connect(world, world->servers[0].address, world->servers[1].address);
    UNTIL(s_up(world, 0) && s_up(world, 1));
    struct errand *errand = s_start(world, call);
    UNTIL(world->servers[0].held_count == 1);
    s_kill(&world->servers[0]);
    UNTIL(errand->done);
    return errand;
}

static void s_body_resent(struct world *world)
{
    struct errand *errand =
        s_orphan(world, s_read_of("echo", "again", 4 * CN_SECOND));

    s_expect_text(errand, "again");
    assert_int_equal(cn_bus_stats(world->client)->repeats, 1);
    s_errand_free(errand);
}

static void a_read_whose_replica_dies_is_sent_to_another(void **state)
{
    (void)state;
    s_run(s_body_resent);
}

static void s_body_keyed(struct world *world)
{
    struct cn_bus_call call = s_read_of("echo", "keyed", 4 * CN_SECOND);

    call.writes = true;
    call.idempotency_key = "k-1";
    struct errand *errand = s_orphan(world, call);
    s_expect_text(errand, "keyed");
    assert_int_equal(world->servers[1].seen, 1);
    s_errand_free(errand);
}

static void a_keyed_write_whose_replica_dies_is_sent_to_another(void **state)
{
    (void)state;
    s_run(s_body_keyed);
}

static void s_body_once(struct world *world)
{
    struct cn_bus_call call = s_read_of("echo", "once", 4 * CN_SECOND);

    call.writes = true;
    struct errand *errand = s_orphan(world, call);
    s_expect(errand, CN_UNKNOWN);
    assert_int_equal(world->servers[1].seen, 0);
    assert_int_equal(cn_bus_stats(world->client)->repeats, 0);
    s_errand_free(errand);
    s_must_answer(world);
}

static void a_write_without_a_key_is_never_sent_twice(void **state)
{
    (void)state;
    s_run(s_body_once);
}

/* The only replica dies with the call and none takes its place. */
static enum cn_code s_alone(struct world *world, bool writes)
{
    struct cn_bus_call call = s_read_of("echo", "alone", 4 * CN_SECOND);

    call.writes = writes;
    call.idempotency_key = writes ? "k-1" : NULL;
    world->servers[0].holds = true;
    s_serve(world, 0, 0);
    s_connect(world, world->servers[0].address, NULL);
    struct errand *errand = s_start(world, call);
    UNTIL(world->servers[0].held_count == 1);
    s_kill(&world->servers[0]);
    UNTIL(errand->done);
    enum cn_code rc = errand->rc;
    s_errand_free(errand);
    return rc;
}

static void s_body_alone_read(struct world *world)
{
    assert_int_equal(s_alone(world, false), CN_UNAVAILABLE);
}

static void s_body_alone_write(struct world *world)
{
    assert_int_equal(s_alone(world, true), CN_UNKNOWN);
}

static void a_read_that_nobody_can_repeat_is_unavailable(void **state)
{
    (void)state;
    s_run(s_body_alone_read);
}

static void a_write_that_nobody_can_repeat_is_unknown(void **state)
{
    (void)state;
    s_run(s_body_alone_write);
}

static void s_body_restart_under_call(struct world *world)
{
    world->servers[0].holds = true;
    s_serve(world, 0, 0);
    s_connect(world, world->servers[0].address, NULL);
    struct errand *errand =
        s_start(world, s_read_of("echo", "through", 4 * CN_SECOND));
    UNTIL(world->servers[0].held_count == 1);
    s_kill(&world->servers[0]);
    UNTIL(cn_bus_stats(world->client)->downs == 1);
    world->servers[0].holds = false;
    s_serve(world, 0, 0);
    UNTIL(errand->done);
    s_expect_text(errand, "through");
    s_errand_free(errand);
}

static void a_read_survives_the_restart_of_the_only_replica(void **state)
{
    (void)state;
    s_run(s_body_restart_under_call);
}

static void s_body_killed(struct world *world)
{
    char address[64];

    s_free_address(address);
    s_child_start(world, address);
    s_connect(world, address, NULL);
    UNTIL(cn_bus_reachable(world->client, "referrals"));
    s_must_answer(world);
    s_child_kill(world);
    int64_t killed_at = cn_clock_monotonic();
    UNTIL(!cn_bus_reachable(world->client, "referrals"));
    /* By the monitor: silence takes two pings at least. */
    assert_true(cn_clock_monotonic() - killed_at < CN_SECOND / 2);
    s_child_start(world, address);
    UNTIL(cn_bus_reachable(world->client, "referrals"));
    s_must_answer(world);
    s_child_kill(world);
}

static void a_killed_process_is_seen_at_once(void **state)
{
    (void)state;
    s_run(s_body_killed);
}

static void s_body_stopped(struct world *world)
{
    char address[64];

    s_free_address(address);
    s_child_start(world, address);
    world->servers[0].ill = true;
    s_serve(world, 0, 0);
    s_connect(world, address, world->servers[0].address);
    UNTIL(s_up(world, 0) && s_up(world, 1));
    s_must_answer(world);
    assert_int_equal(world->servers[0].seen, 0);
    assert_int_equal(kill(world->child, SIGSTOP), 0);
    struct errand *errand =
        s_call(world, s_read_of("echo", "stopped", 4 * CN_SECOND));
    s_expect_text(errand, "stopped");
    s_errand_free(errand);
    assert_int_equal(world->servers[0].seen, 1);
    assert_false(s_up(world, 0));
    assert_int_equal(kill(world->child, SIGCONT), 0);
    UNTIL(s_up(world, 0));
    s_must_answer(world);
    assert_int_equal(world->servers[0].seen, 1);
    s_child_kill(world);
}

static void a_stopped_process_is_seen_by_its_silence(void **state)
{
    (void)state;
    s_run(s_body_stopped);
}

/* Keyed writes and reads in turn, as long as the test wants. */
struct load {
    struct world *world;
    bool ends;
    unsigned fibers;
    unsigned answered;
    unsigned failed;
};

static void s_load_fiber(void *arg)
{
    struct load *load = arg;

    for (unsigned i = 0; !load->ends; i++) {
        struct cn_bus_call call = s_read_of("echo", "load", 4 * CN_SECOND);
        call.writes = i % 2 == 0;
        call.idempotency_key = call.writes ? "k" : NULL;
        struct errand *errand = s_call(load->world, call);
        if (errand->rc == CN_OK) {
            load->answered++;
        } else {
            load->failed++;
        }
        s_errand_free(errand);
    }
    load->fibers--;
}

static void s_body_load(struct world *world)
{
    struct load load = { .world = world, .fibers = 32 };
    struct cn_err err = { 0 };
    char address[64];

    s_free_address(address);
    s_child_start(world, address);
    s_serve(world, 0, 0);
    s_connect(world, address, world->servers[0].address);
    UNTIL(s_up(world, 0) && s_up(world, 1));
    for (unsigned i = 0; i < 32; i++) {
        assert_int_equal(cn_fiber_spawn(world->loop, s_load_fiber, &load,
                                        cn_clock_monotonic() + CN_MINUTE, &err),
                         CN_OK);
    }
    for (unsigned round = 0; round < 3; round++) {
        unsigned seen = load.answered;
        UNTIL(s_up(world, 0) && load.answered > seen + 500);
        s_child_kill(world);
        UNTIL(!s_up(world, 0) && load.answered > seen + 1000);
        s_child_start(world, address);
    }
    load.ends = true;
    UNTIL(load.fibers == 0);
    assert_int_equal(load.failed, 0);
    assert_true(cn_bus_stats(world->client)->repeats > 0);
    s_child_kill(world);
}

static void
no_safe_request_fails_when_one_of_two_replicas_is_killed(void **state)
{
    (void)state;
    s_run(s_body_load);
}

/* --- tests: limits --- */

static void s_body_busy(struct world *world)
{
    s_serve(world, 0, 2);
    s_connect(world, world->servers[0].address, NULL);
    world->servers[0].holds = true;
    struct errand *first =
        s_start(world, s_read_of("echo", "1", 4 * CN_SECOND));
    struct errand *second =
        s_start(world, s_read_of("echo", "2", 4 * CN_SECOND));
    UNTIL(world->servers[0].held_count == 2);
    struct errand *third = s_call(world, s_read_of("echo", "3", 4 * CN_SECOND));
    s_expect(third, CN_BUSY);
    assert_true(third->took_us < 2 * CN_SECOND);
    assert_int_equal(cn_bus_stats(world->servers[0].bus)->busy, 1);
    assert_int_equal(cn_bus_stats(world->servers[0].bus)->serving, 2);
    s_release(&world->servers[0]);
    UNTIL(first->done && second->done);
    s_expect_text(first, "1");
    s_expect_text(second, "2");
    s_errand_free(first);
    s_errand_free(second);
    s_errand_free(third);
    s_must_answer(world);
}

static void a_full_server_answers_busy_at_once(void **state)
{
    (void)state;
    s_run(s_body_busy);
}

static void s_body_busy_elsewhere(struct world *world)
{
    struct cn_bus_call call = s_read_of("echo", "other", 4 * CN_SECOND);

    world->servers[0].holds = true;
    world->servers[1].ill = true;
    s_serve(world, 0, 1);
    s_serve(world, 1, 0);
    s_connect(world, world->servers[0].address, world->servers[1].address);
    UNTIL(s_up(world, 0) && s_up(world, 1));
    struct errand *held = s_start(world, call);
    UNTIL(world->servers[0].held_count == 1);
    call.writes = true;
    struct errand *errand = s_call(world, call);
    s_expect_text(errand, "other");
    assert_int_equal(world->servers[1].seen, 1);
    s_release(&world->servers[0]);
    UNTIL(held->done);
    s_errand_free(held);
    s_errand_free(errand);
}

static void a_busy_replica_sends_even_a_write_to_another(void **state)
{
    (void)state;
    s_run(s_body_busy_elsewhere);
}

static void s_body_credit(struct world *world)
{
    enum { MORE = CN_BUS_CREDIT + 10 };
    struct errand *errands[MORE];
    struct server *server = &world->servers[0];

    server->holds = true;
    s_serve(world, 0, 0);
    s_connect(world, server->address, NULL);
    for (size_t i = 0; i < MORE; i++) {
        errands[i] = s_start(world, s_read_of("echo", "n", 4 * CN_SECOND));
    }
    UNTIL(server->held_count == CN_BUS_CREDIT &&
          cn_bus_stats(world->client)->waiting == MORE - CN_BUS_CREDIT);
    /* A long poll is not counted and does not wait behind them. */
    struct cn_bus_call poll = s_read_of("echo", "poll", 4 * CN_SECOND);
    poll.long_poll = true;
    struct errand *polling = s_start(world, poll);
    UNTIL(server->held_count == CN_BUS_CREDIT + 1);
    s_release(server);
    for (size_t i = 0; i < MORE; i++) {
        UNTIL(errands[i]->done);
        s_expect_text(errands[i], "n");
        s_errand_free(errands[i]);
    }
    UNTIL(polling->done);
    s_expect_text(polling, "poll");
    s_errand_free(polling);
    assert_int_equal(cn_bus_stats(world->client)->waiting, 0);
}

static void calls_beyond_the_credit_wait_for_it(void **state)
{
    (void)state;
    s_run(s_body_credit);
}

static void s_body_spread(struct world *world)
{
    enum { CALLS = 40 };
    struct errand *errands[CALLS];

    for (unsigned i = 0; i < 2; i++) {
        world->servers[i].holds = true;
        s_serve(world, i, 0);
    }
    s_connect(world, world->servers[0].address, world->servers[1].address);
    UNTIL(s_up(world, 0) && s_up(world, 1));
    for (size_t i = 0; i < CALLS; i++) {
        errands[i] = s_start(world, s_read_of("echo", "n", 4 * CN_SECOND));
    }
    UNTIL(world->servers[0].held_count + world->servers[1].held_count == CALLS);
    assert_int_equal(world->servers[0].held_count, CALLS / 2);
    s_release(&world->servers[0]);
    s_release(&world->servers[1]);
    for (size_t i = 0; i < CALLS; i++) {
        UNTIL(errands[i]->done);
        s_errand_free(errands[i]);
    }
}

static void calls_go_to_the_least_busy_replica(void **state)
{
    (void)state;
    s_run(s_body_spread);
}

/* --- tests: strangers and hostile bytes --- */

static void s_body_strangers(struct world *world)
{
    const char *server_key = world->service.public_key;
    struct keys unknown = s_keys();
    Env__RequestHeader header = ENV__REQUEST_HEADER__INIT;

    s_serve(world, 0, 0);
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
    s_run(s_body_strangers);
}

static void s_body_malformed(struct world *world)
{
    static const uint8_t GARBAGE[] = { 0xff, 0xff, 0x00, 0x08 };
    const struct cn_bus_stats *stats = NULL;
    int code = -1;

    s_serve(world, 0, 0);
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
    /* With an id there is somebody to tell. */
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
    s_run(s_body_malformed);
}

static void s_body_spent(struct world *world)
{
    Env__RequestHeader header = ENV__REQUEST_HEADER__INIT;
    int code = -1;

    s_serve(world, 0, 0);
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
    s_run(s_body_spent);
}

static void s_body_vanished(struct world *world)
{
    Env__RequestHeader header = ENV__REQUEST_HEADER__INIT;
    struct server *server = &world->servers[0];

    s_serve(world, 0, 0);
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
    /* The ROUTER learns of it in its own time. */
    assert_int_equal(cn_fiber_sleep(CN_SECOND / 5), CN_OK);
    s_release(server);
    assert_int_equal(cn_bus_stats(server->bus)->vanished, 1);
    assert_int_equal(cn_bus_stats(server->bus)->serving, 0);
}

static void a_reply_to_a_peer_that_went_is_counted(void **state)
{
    (void)state;
    s_run(s_body_vanished);
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

/* Writes as far as the peer reads, for at most so many bytes. Returns what was
 * taken until the peer cut us off. */
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

/* reliability.md TV2: a peer that never authenticates claims a 1 GiB frame. */
static void s_body_hostile(struct world *world)
{
    uint8_t greeting[64] = { 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0 };
    static const uint8_t CLAIM[] = { 0x06, 0, 0, 0, 0, 0x40, 0, 0, 0 };
    size_t before = s_rss_kib();

    memcpy(&greeting[12], "CURVE", 5);
    s_serve(world, 0, 0);
    s_connect(world, world->servers[0].address, NULL);
    s_must_answer(world);
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
    s_must_answer(world);
    assert_true(s_rss_kib() < before + (16 << 10));
}

static void a_peer_that_never_authenticates_takes_no_memory(void **state)
{
    (void)state;
    s_run(s_body_hostile);
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
    /* 0: off. With it libzmq 4.3.4 can abort the process. */
    assert_int_equal(s_option(zmq, ZMQ_HEARTBEAT_IVL), 0);
}

static void s_body_options(struct world *world)
{
    char domain[16] = "";
    size_t size = sizeof(domain);

    s_serve(world, 0, 0);
    s_connect(world, world->servers[0].address, NULL);
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
    s_run(s_body_options);
}

static enum cn_code s_try(struct world *world,
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

static void s_body_config(struct world *world)
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
    s_serve(world, 0, 0);
    assert_int_equal(s_try(world, secret, world->peers, "gateway",
                           world->servers[0].address),
                     CN_UNAVAILABLE);
    s_connect(world, world->servers[0].address, NULL);
    assert_int_equal(cn_bus_connect(world->client, "scheduling",
                                    world->servers[0].address, &err),
                     CN_INVALID);
    assert_int_equal(
        cn_bus_connect(world->client, "documents", "udp://x:1", &err),
        CN_INVALID);
    s_must_answer(world);
}

static void bad_keys_addresses_and_names_are_refused(void **state)
{
    (void)state;
    s_run(s_body_config);
}

static void s_body_endpoints(struct world *world)
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

    s_serve(world, 0, 0);
    world->client = s_bus(world, "gateway", &world->gateway, NULL, 0);
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        assert_int_equal(cn_bus_connect_all(world->client, BAD[i], &err),
                         CN_INVALID);
    }
    assert_int_equal(cn_bus_connect_all(world->client, "", &err), CN_OK);
    (void)snprintf(text, sizeof(text),
                   "documents=tcp://127.0.0.1:1,tcp://127.0.0.1:2;referrals=%s",
                   world->servers[0].address);
    assert_int_equal(cn_bus_connect_all(world->client, text, &err), CN_OK);
    s_must_answer(world);
    assert_true(cn_bus_reachable(world->client, "referrals"));
    assert_false(cn_bus_reachable(world->client, "documents"));
}

static void one_text_names_the_replicas_of_all_services(void **state)
{
    (void)state;
    s_run(s_body_endpoints);
}

static void a_secret_key_has_one_public_key(void **state)
{
    struct keys keys = s_keys();
    char public_key[CN_BUS_KEY_SIZE];

    (void)state;
    assert_true(cn_bus_public_key(keys.secret_key, public_key));
    assert_string_equal(public_key, keys.public_key);
    assert_false(cn_bus_public_key("", public_key));
    assert_false(cn_bus_public_key(NULL, public_key));
}

int main(int argc, char **argv)
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
        cmocka_unit_test(a_call_that_no_replica_takes_is_unavailable),
        cmocka_unit_test(calls_go_on_when_a_server_is_back_on_its_port),
        cmocka_unit_test(a_read_whose_replica_dies_is_sent_to_another),
        cmocka_unit_test(a_keyed_write_whose_replica_dies_is_sent_to_another),
        cmocka_unit_test(a_write_without_a_key_is_never_sent_twice),
        cmocka_unit_test(a_read_that_nobody_can_repeat_is_unavailable),
        cmocka_unit_test(a_write_that_nobody_can_repeat_is_unknown),
        cmocka_unit_test(a_read_survives_the_restart_of_the_only_replica),
        cmocka_unit_test(a_killed_process_is_seen_at_once),
        cmocka_unit_test(a_stopped_process_is_seen_by_its_silence),
        cmocka_unit_test(
            no_safe_request_fails_when_one_of_two_replicas_is_killed),
        cmocka_unit_test(a_full_server_answers_busy_at_once),
        cmocka_unit_test(a_busy_replica_sends_even_a_write_to_another),
        cmocka_unit_test(calls_beyond_the_credit_wait_for_it),
        cmocka_unit_test(calls_go_to_the_least_busy_replica),
        cmocka_unit_test(an_unknown_key_and_no_key_get_no_reply),
        cmocka_unit_test(what_is_no_request_is_dropped_and_counted),
        cmocka_unit_test(a_spent_budget_never_reaches_the_service),
        cmocka_unit_test(a_reply_to_a_peer_that_went_is_counted),
        cmocka_unit_test(a_peer_that_never_authenticates_takes_no_memory),
        cmocka_unit_test(the_options_of_every_socket_are_set),
        cmocka_unit_test(bad_keys_addresses_and_names_are_refused),
        cmocka_unit_test(one_text_names_the_replicas_of_all_services),
        cmocka_unit_test(a_secret_key_has_one_public_key),
    };

    if (argc == 5 && strcmp(argv[1], "serve") == 0) {
        return s_child_main(argv);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
