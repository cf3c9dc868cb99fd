/* SPDX-License-Identifier: Apache-2.0 */
/* Servers, callers and processes of the tests of the bus. */
#include "tests/lib/bus.h"

#include "common/bus/bus_internal.h"
#include "common/service/service.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above. */
#include <arpa/inet.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- the service --- */

static void s_answer(struct test_server *server,
                     struct cn_bus_request *request,
                     const struct cn_bus_reply *reply)
{
    cn_bus_reply_send(server->bus, request->back, reply);
    cn_arena_free(request->arena);
}

static void s_answer_text(struct test_server *server,
                          struct cn_bus_request *request,
                          const char *text)
{
    struct cn_bus_reply reply = { .body = { (const uint8_t *)text,
                                            strlen(text) } };
    s_answer(server, request, &reply);
}

static void s_echo(struct test_server *server, struct cn_bus_request *request)
{
    struct cn_bus_reply reply = { .body = request->body,
                                  .status = 201,
                                  .version = 7,
                                  .updated_at = 1234567,
                                  .location = "/v1/things/thg_1",
                                  .replayed = true };
    s_answer(server, request, &reply);
}

static void s_fail(struct test_server *server, struct cn_bus_request *request)
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

/* All of a request except its body, as text. */
static void s_tell(struct test_server *server, struct cn_bus_request *request)
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

/* One slow request. */
struct slow {
    struct test_server *server;
    struct cn_bus_request *request;
};

static void s_slow_fiber(void *arg)
{
    struct slow *slow = arg;
    struct cn_bytes body = slow->request->body;
    char path[64] = "";
    assert_true(body.size < sizeof(path));
    memcpy(path, body.data, body.size);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
    while (access(path, F_OK) == 0 && cn_fiber_sleep(1000) == CN_OK) {
    }
    s_echo(slow->server, slow->request);
}

static void s_slow(struct test_server *server, struct cn_bus_request *request)
{
    struct slow *slow = cn_arena_alloc(request->arena, sizeof(*slow));
    struct cn_err err = { 0 };
    assert_non_null(slow);
    *slow = (struct slow){ server, request };
    assert_int_equal(cn_fiber_spawn(server->loop, s_slow_fiber, slow,
                                    request->deadline_at, &err),
                     CN_OK);
}

static void s_seen(struct test_server *server, struct cn_bus_request *request)
{
    char text[32];
    (void)snprintf(text, sizeof(text), "%zu", server->seen - 1);
    s_answer_text(server, request, text);
}

static void s_on_request(void *arg, struct cn_bus_request *request)
{
    struct test_server *server = arg;
    server->seen++;
    if (server->holds) {
        assert_true(server->held_count < TEST_HELD_MAX);
        server->held[server->held_count++] = request;
    } else if (strcmp(request->method, "echo") == 0) {
        s_echo(server, request);
    } else if (strcmp(request->method, "slow") == 0) {
        s_slow(server, request);
    } else if (strcmp(request->method, "seen") == 0) {
        s_seen(server, request);
    } else if (strcmp(request->method, "fail") == 0) {
        s_fail(server, request);
    } else {
        s_tell(server, request);
    }
}

void test_release(struct test_server *server)
{
    server->holds = false;
    for (size_t i = 0; i < server->held_count; i++) {
        s_echo(server, server->held[i]);
    }
    server->held_count = 0;
}

static bool s_healthy(void *arg)
{
    const struct test_server *server = arg;
    return !server->ill;
}

/* --- the world --- */

void test_free_address(char address[64])
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

struct cn_bus *test_bus(struct test_net *world,
                        const char *name,
                        const struct test_keys *keys,
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

void test_listen(struct test_net *world, unsigned which, unsigned queue_max)
{
    struct test_server *server = &world->servers[which];
    assert_null(server->bus);
    server->loop = world->loop;
    if (server->address[0] == '\0') {
        test_free_address(server->address);
    }
    server->bus = test_bus(world, "referrals", &world->service, server->address,
                           queue_max);
    cn_bus_set_health(server->bus, s_healthy, server);
}

void test_serve(struct test_net *world, unsigned which, unsigned queue_max)
{
    struct test_server *server = &world->servers[which];
    if (server->bus == NULL) {
        test_listen(world, which, queue_max);
    }
    cn_bus_serve(server->bus, s_on_request, server);
}

/* Forgets the calls that it held, as when a process dies. */
void test_kill(struct test_server *server)
{
    cn_bus_free(server->bus);
    server->bus = NULL;
    for (size_t i = 0; i < server->held_count; i++) {
        cn_arena_free(server->held[i]->arena);
    }
    server->held_count = 0;
}

void test_connect(struct test_net *world, const char *first, const char *second)
{
    struct cn_err err = { 0 };
    char endpoints[256];
    (void)snprintf(endpoints, sizeof(endpoints), "%s%s%s", first,
                   second != NULL ? "," : "", second != NULL ? second : "");
    if (world->client == NULL) {
        world->client = test_bus(world, "gateway", &world->gateway, NULL, 0);
    }
    assert_int_equal(
        cn_bus_connect(world->client, "referrals", endpoints, &err), CN_OK);
}

static void s_fiber(void *arg)
{
    struct test_net *world = arg;
    world->body(world);
    cn_loop_stop(world->loop);
}

struct test_keys test_keys(void)
{
    struct test_keys keys;
    assert_true(cn_bus_keypair(keys.public_key, keys.secret_key));
    return keys;
}

void test_run(void (*body)(struct test_net *world))
{
    struct test_net *world = calloc(1, sizeof(*world));
    struct cn_err err = { 0 };
    assert_non_null(world);
    world->env = cn_env_real();
    world->env.committed = cn_service_committed;
    world->loop = world->env.loop = cn_loop_new();
    assert_non_null(world->loop);
    world->gateway = test_keys();
    world->documents = test_keys();
    world->service = test_keys();
    (void)snprintf(world->peers, sizeof(world->peers),
                   "gateway=%s,documents=%s,referrals=%s",
                   world->gateway.public_key, world->documents.public_key,
                   world->service.public_key);
    world->body = body;
    assert_int_equal(
        cn_fiber_spawn(world->loop, s_fiber, world, INT64_MAX, &err), CN_OK);
    cn_loop_run(world->loop, CN_SECOND);
    cn_bus_free(world->client);
    for (size_t i = 0; i < TEST_SERVERS_MAX; i++) {
        test_kill(&world->servers[i]);
    }
    cn_loop_free(world->loop);
    free(world);
}

/* --- calls --- */

struct cn_bus_call
test_read(const char *method, const char *body, int64_t budget_us)
{
    return (
        struct cn_bus_call){ .service = "referrals",
                             .method = method,
                             .body = { (const uint8_t *)body, strlen(body) },
                             .budget_us = budget_us,
                             .request_id = "req_1",
                             .trace = "00-trace" };
}

static void s_errand_run(struct test_errand *errand)
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

static struct test_errand *s_errand_new(struct test_net *world,
                                        struct cn_bus_call call)
{
    struct test_errand *errand = calloc(1, sizeof(*errand));
    assert_non_null(errand);
    errand->bus = world->client;
    errand->call = call;
    errand->arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    assert_non_null(errand->arena);
    return errand;
}

void test_errand_free(struct test_errand *errand)
{
    cn_arena_free(errand->arena);
    free(errand);
}

/* Begins a call and does not wait for it. */
struct test_errand *test_start(struct test_net *world, struct cn_bus_call call)
{
    struct test_errand *errand = s_errand_new(world, call);
    struct cn_err err = { 0 };
    assert_int_equal(cn_fiber_spawn(world->loop, s_errand_fiber, errand,
                                    cn_clock_monotonic() + CN_MINUTE, &err),
                     CN_OK);
    return errand;
}

struct test_errand *test_errand(struct test_net *world, struct cn_bus_call call)
{
    struct test_errand *errand = s_errand_new(world, call);
    s_errand_run(errand);
    return errand;
}

void test_expect(struct test_errand *errand, enum cn_code rc)
{
    if (errand->rc != rc) {
        fail_msg("%s, not %s: %s", cn_code_word(errand->rc), cn_code_word(rc),
                 errand->err.msg);
    }
    if (rc != CN_OK) {
        assert_int_equal(errand->err.code, rc);
    }
}

void test_expect_text(struct test_errand *errand, const char *text)
{
    test_expect(errand, CN_OK);
    assert_int_equal(errand->reply.body.size, strlen(text));
    assert_memory_equal(errand->reply.body.data, text, strlen(text));
}

/* A read that must succeed. */
void test_must_answer(struct test_net *world)
{
    struct test_errand *errand =
        test_errand(world, test_read("echo", "hello", 4 * CN_SECOND));
    test_expect_text(errand, "hello");
    test_errand_free(errand);
}

bool test_up(const struct test_net *world, size_t replica)
{
    return world->client->services[0]->replicas[replica]->up;
}

/* --- a process of its own --- */

pid_t test_child_start(struct test_net *world, const char *address)
{
    char *argv[] = { (char[]){ "bus" },    (char[]){ "serve" },
                     strdup(address),      strdup(world->service.secret_key),
                     strdup(world->peers), NULL };
    pid_t child = 0;
    assert_int_equal(
        posix_spawn(&child, "/proc/self/exe", NULL, NULL, argv, environ), 0);
    for (size_t i = 2; i < 5; i++) {
        free(argv[i]);
    }
    return child;
}

void test_child_kill(pid_t child)
{
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

static int s_child_serve(char **argv)
{
    static struct test_server server;
    struct test_net world = { 0 };
    struct cn_err err = { 0 };
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    world.env = cn_env_real();
    world.env.committed = cn_service_committed;
    world.loop = world.env.loop = server.loop = cn_loop_new();
    struct cn_bus_config config = { .name = "referrals",
                                    .bind = argv[2],
                                    .secret_key = argv[3],
                                    .peers = argv[4],
                                    .fronts = "gateway" };
    if (cn_loop_stop_on_signals(world.loop, &err) != CN_OK ||
        cn_bus_new(&world.env, &config, &server.bus, &err) != CN_OK) {
        (void)fprintf(stderr, "child: %s\n", err.msg);
        return 1;
    }
    cn_bus_serve(server.bus, s_on_request, &server);
    cn_loop_run(world.loop, 20 * CN_SECOND);
    cn_bus_free(server.bus);
    cn_loop_free(world.loop);
    return 0;
}

bool test_child_main(int argc, char **argv, int *ret_status)
{
    if (argc != 5 || strcmp(argv[1], "serve") != 0) {
        return false;
    }
    *ret_status = s_child_serve(argv);
    return true;
}
