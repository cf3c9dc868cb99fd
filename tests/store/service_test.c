/* SPDX-License-Identifier: Apache-2.0 */
/* A whole service in a process of its own: this program again, as `serve`. */
#include "common/bus/bus.h"
#include "common/contract/service.h"
#include "common/inbox/consumer.h"
#include "common/loop/fiber.h"
#include "common/loop/listen.h"
#include "common/service/service.h"
#include "common/store/step.h"
#include "common/wire/message.h"
#include "tests/lib/pg.h"

#include "cairn/events.cairn.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SEAL_KEY                                                               \
    "1:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

enum { ANSWER_MAX = 64 << 10 };

/* ---- the service ---- */

static unsigned s_runs; /* of the handler of Change since the start */

/* Answers with the request's own content. */
static void s_echo(struct cn_op *op)
{
    const Evt__FetchRequest *body = op->request->body;
    Evt__Position *position = CN_NEW(op->arena, evt__position, Evt__Position);
    if (body->wait_ms > 0 &&
        cn_fiber_sleep((int64_t)body->wait_ms * 1000) != CN_OK) {
        cn_refuse(op, CN_UNAVAILABLE, NULL, "stopped");
    }
    CN_SET(position, xid, body->limit);
    op->reply->body = &position->base;
}

/* Writes an event. "conflict": its guard fails from the second run on; "stale":
 * the record changes under the first two runs; "full": so is the disk. */
static void s_change(struct cn_op *op)
{
    const Evt__FetchRequest *body = op->request->body;
    const char *what = body->consumer == NULL ? "" : body->consumer;
    Evt__Position *position = CN_NEW(op->arena, evt__position, Evt__Position);
    s_runs++;
    if (strcmp(what, "conflict") == 0 && s_runs > 1) {
        cn_refuse(op, CN_CONFLICT, "illegal_state", "done already");
    }
    if (strcmp(what, "stale") == 0 && s_runs <= 2) {
        cn_refuse(op, CN_STALE, NULL, "changed");
    }
    if (strcmp(what, "full") == 0) {
        cn_refuse(op, CN_UNAVAILABLE, NULL, "SQL_THING: SQLSTATE 53100");
    }
    CN_SET(position, xid, s_runs);
    op->reply->body = &position->base;
    op->reply->version = 7;
    op->reply->location = "/v1/things/thg_1";
    struct cn_uuid id = cn_uuid_new(op->env);
    cn_lock(op, "thing", id);
    cn_tell(op, "thing.changed", "thing", id, 1, body);
    cn_audit(op, "thing.change", NULL, (struct cn_uuid){ 0 });
}

static const struct cn_method METHODS[] = {
    { "probe.v1.Probe/Echo", &evt__fetch_request__shape, &evt__position__shape,
      "", false, s_echo, NULL, NULL },
    { "probe.v1.Probe/Change", &evt__fetch_request__shape,
      &evt__position__shape, "", true, s_change, NULL, NULL },
    { "probe.v1.Probe/Decide", &evt__fetch_request__shape,
      &evt__position__shape, "referrals:decide", false, s_echo, NULL, NULL },
    { "probe.v1.Probe/Inside", &evt__fetch_request__shape,
      &evt__position__shape, NULL, false, s_echo, NULL, NULL },
};
static struct cn_service s_service = { .name = "probe",
                                       .methods = METHODS,
                                       .method_count = 4 };

/* ---- its process ---- */

struct keys {
    char public_key[CN_BUS_KEY_SIZE];
    char secret_key[CN_BUS_KEY_SIZE];
};
static struct keys s_service_keys;
static struct keys s_front_keys;
static struct keys s_other_keys;
static struct test_pg *s_service_pg;
static struct test_pg *s_consumer_pg;
static char s_address[64];
static char s_admin[64]; /* "127.0.0.1:port" */
static char s_log[] = "/tmp/cairn-service-test-XXXXXX";
static char s_told[] = "/tmp/cairn-service-told-XXXXXX"; /* of other runs */

static unsigned s_port_choose(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    (void)close(fd);
    return ntohs(address.sin_port);
}

static void s_address_choose(void)
{
    (void)snprintf(s_address, sizeof(s_address), "tcp://127.0.0.1:%u",
                   s_port_choose());
    (void)snprintf(s_admin, sizeof(s_admin), "127.0.0.1:%u", s_port_choose());
}

/* Starts this program again, with a flag or NULL; extra is one more setting, or
 * another value for one, or NULL. */
static pid_t s_spawn_with(const char *flag, const char *extra)
{
    enum { SETTINGS = 10, SETTING_MAX = 1200 };
    static char settings[SETTINGS][SETTING_MAX];
    char *env[SETTINGS + 1] = { NULL };
    char name[] = "probe";
    char serve[] = "serve";
    char argument[32] = "";
    char *argv[] = { name, serve, flag == NULL ? NULL : argument, NULL };
    posix_spawn_file_actions_t actions;
    pid_t pid = 0;
    int count = 0;
    (void)snprintf(argument, sizeof(argument), "%s", flag == NULL ? "" : flag);
#define SETTING(...)                                                           \
    (void)snprintf(settings[count], SETTING_MAX, __VA_ARGS__);                 \
    env[count] = settings[count];                                              \
    count++
    if (extra != NULL) {
        SETTING("%s",
                extra); /* When a name comes twice, the first one counts. */
    }
    SETTING("CAIRN_BIND=%s", s_address);
    SETTING("CAIRN_ADMIN=%s", s_admin);
    SETTING("CAIRN_BUS_KEY=%s", s_service_keys.secret_key);
    SETTING("CAIRN_BUS_PEERS=gateway=%s,other=%s", s_front_keys.public_key,
            s_other_keys.public_key);
    SETTING("CAIRN_DB=%s", s_service_pg->conninfo);
    SETTING("CAIRN_SEAL_KEY=" SEAL_KEY);
    SETTING("PATH=%s", getenv("PATH"));
#undef SETTING
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(posix_spawn_file_actions_addopen(
                         &actions, 1, flag == NULL ? s_log : s_told,
                         O_WRONLY | O_TRUNC, 0600),
                     0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, 1, 2), 0);
    assert_int_equal(
        posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, env), 0);
    (void)posix_spawn_file_actions_destroy(&actions);
    return pid;
}

static pid_t s_spawn(const char *extra)
{
    return s_spawn_with(NULL, extra);
}

/* In a fiber: waits for its end. Returns the exit code, -1 for a signal. */
static int s_await_exit(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        assert_int_equal(cn_fiber_sleep(1000), CN_OK);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool s_file_has(const char *path, const char *text)
{
    char log[16384] = { 0 };
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    size_t size = fread(log, 1, sizeof(log) - 1, file);
    (void)fclose(file);
    log[size] = '\0';
    return strstr(log, text) != NULL;
}

static bool s_log_has(const char *text)
{
    return s_file_has(s_log, text);
}

/* The exit code when it is started with the flag. */
static int s_flag(const char *flag, const char *extra)
{
    return s_await_exit(s_spawn_with(flag, extra));
}

/* The answer of the admin port: its status, 0 when there is none, and all of
 * its text. */
static unsigned s_get(const char *request, char answer[ANSWER_MAX])
{
    struct cn_err err = { 0 };
    size_t size = 0;
    unsigned status = 0;
    int fd = -1;
    assert_int_equal(cn_listen_connect(s_admin, &fd, &err), CN_OK);
    struct pollfd ready = { .fd = fd, .events = POLLOUT };
    assert_int_equal(poll(&ready, 1, 5000), 1);
    (void)dprintf(fd, "%s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
                  request);
    ready.events = POLLIN;
    while (size < ANSWER_MAX - 1 && poll(&ready, 1, 5000) == 1) {
        ssize_t got = recv(fd, answer + size, ANSWER_MAX - 1 - size, 0);
        if (got <= 0) {
            break;
        }
        size += (size_t)got;
    }
    (void)close(fd);
    answer[size] = '\0';
    return sscanf(answer, "HTTP/1.1 %u", &status) == 1 ? status : 0;
}

static unsigned s_status(const char *request)
{
    char answer[ANSWER_MAX];
    return s_get(request, answer);
}

/* In a fiber: waits until the admin port answers with this status. */
static void s_await_status(const char *request, unsigned status)
{
    int64_t give_up_at = cn_clock_monotonic() + 20 * CN_SECOND;
    while (s_status(request) != status) {
        assert_true(cn_clock_monotonic() < give_up_at);
        assert_int_equal(cn_fiber_sleep(5000), CN_OK);
    }
}

/* In a fiber: waits until its log has this line. The line follows the reply. */
static void s_await_log(const char *text)
{
    int64_t give_up_at = cn_clock_monotonic() + 20 * CN_SECOND;
    while (!s_log_has(text)) {
        assert_true(cn_clock_monotonic() < give_up_at);
        assert_int_equal(cn_fiber_sleep(5000), CN_OK);
    }
}

/* In a fiber: waits until it works on one request. */
static void s_await_in_flight(void)
{
    int64_t give_up_at = cn_clock_monotonic() + 20 * CN_SECOND;
    char answer[ANSWER_MAX];
    while (s_get("GET /metrics", answer) != 200 ||
           strstr(answer, "\ncairn_bus_requests_in_flight 1\n") == NULL) {
        assert_true(cn_clock_monotonic() < give_up_at);
        assert_int_equal(cn_fiber_sleep(5000), CN_OK);
    }
}

/* ---- its callers ---- */

/* The bus keeps the env. */
static void s_caller(struct cn_env *env,
                     const struct test_world *world,
                     const char *name,
                     const struct keys *keys)
{
    struct cn_err err = { 0 };
    char peers[128];
    *env = world->env;
    (void)snprintf(peers, sizeof(peers), "probe=%s", s_service_keys.public_key);
    const struct cn_bus_config config = { .name = name,
                                          .secret_key = keys->secret_key,
                                          .peers = peers };
    assert_int_equal(cn_bus_new(env, &config, &env->bus, &err), CN_OK);
    assert_int_equal(cn_bus_connect(env->bus, "probe", s_address, &err), CN_OK);
}

struct ask {
    struct test_world *world;
    struct cn_env *env;
    const char *method;
    const char *what;
    uint32_t number;
    uint32_t wait_ms;
    const char *key;
    bool has_version;
    bool nobody; /* in the caller's own name; the reply is not read */
    bool without_tenant;
    struct cn_bytes raw; /* instead of the body */
    struct cn_bus_reply reply;
    const Evt__Position *position; /* of the reply, by CN_OK */
    enum cn_code rc;
};

static void s_ask(struct ask *ask)
{
    struct cn_arena *arena = ask->world->arena;
    Evt__FetchRequest body = EVT__FETCH_REQUEST__INIT;
    const struct cn_principal principal = {
        .tenant_id = ask->without_tenant ? (struct cn_uuid){ { 0 } }
                                         : ask->world->tenant,
        .subject = "key_test",
        .role = "coordinator",
    };
    const ProtobufCMessage *message = NULL;
    struct cn_err err = { 0 };
    struct cn_bus_call call = { .service = "probe",
                                .method = ask->method,
                                .budget_us = 5 * CN_SECOND,
                                .principal = ask->nobody ? NULL : &principal,
                                .request_id = "req_test",
                                .idempotency_key = ask->key,
                                .writes = ask->key != NULL,
                                .has_expected_version = ask->has_version,
                                .expected_version = 1 };
    body.consumer = ask->what;
    CN_SET(&body, limit, ask->number);
    CN_SET(&body, wait_ms, ask->wait_ms);
    assert_int_equal(cn_message_pack(arena, &body.base, &call.body, &err),
                     CN_OK);
    if (ask->raw.data != NULL) {
        call.body = ask->raw;
    }
    ask->rc = cn_bus_call(ask->env->bus, arena, &call, &ask->reply, &err);
    ask->reply.err = err;
    if (ask->rc == CN_OK && !ask->nobody) {
        assert_int_equal(cn_message_unpack(arena, &evt__position__descriptor,
                                           ask->reply.body, &message, &err),
                         CN_OK);
        ask->position = (const Evt__Position *)message;
    }
}

/* The service answers, after its start. */
static void s_await_ready(struct test_world *world, struct cn_env *env)
{
    struct ask ask = { .world = world,
                       .env = env,
                       .method = "probe.v1.Probe/Inside" };
    int64_t give_up_at = cn_clock_monotonic() + 20 * CN_SECOND;

    do {
        s_ask(&ask);
        assert_true(cn_clock_monotonic() < give_up_at);
    } while (ask.rc == CN_UNAVAILABLE);
    assert_int_equal(ask.rc, CN_OK);
}

/* Runs a body with a service and its two callers. */
struct scene {
    struct test_world *world;
    struct cn_env front;
    struct cn_env other;
    pid_t pid;
};

static void s_open(struct scene *scene, struct test_world *world)
{
    *scene = (struct scene){ .world = world, .pid = s_spawn(NULL) };
    s_caller(&scene->front, world, "gateway", &s_front_keys);
    s_caller(&scene->other, world, "other", &s_other_keys);
}

static void s_stop(struct scene *scene)
{
    assert_int_equal(kill(scene->pid, SIGTERM), 0);
    assert_int_equal(s_await_exit(scene->pid), 0);
    assert_true(s_log_has("\"stopped\""));
}

static void s_leave(struct scene *scene)
{
    cn_bus_free(scene->other.bus);
    cn_bus_free(scene->front.bus);
}

static void s_close(struct scene *scene)
{
    s_stop(scene);
    s_leave(scene);
}

static struct ask s_from_front(struct scene *scene, const char *method)
{
    return (struct ask){ .world = scene->world,
                         .env = &scene->front,
                         .method = method };
}

static void s_run(void (*body)(struct test_world *world))
{
    free(test_pg_sql(s_service_pg, "TRUNCATE probe.outbox, probe.audit, "
                                   "probe.idempotency"));
    test_world_run(s_consumer_pg, 2, body, NULL);
}

/* ---- tests ---- */

static void s_serves(struct test_world *world)
{
    struct scene scene;
    s_open(&scene, world);
    s_await_ready(world, &scene.front);
    assert_true(s_log_has("ready in "));
    struct ask ask = s_from_front(&scene, "probe.v1.Probe/Echo");
    ask.number = 42;
    s_ask(&ask);
    assert_int_equal(ask.rc, CN_OK);
    assert_int_equal(ask.position->xid, 42);
    ask.method = "probe.v1.Probe/Ech";
    s_ask(&ask);
    assert_int_equal(ask.rc, CN_NOT_FOUND);
    ask.method = "probe.v1.Probe/Echo";
    ask.raw = (struct cn_bytes){ (const uint8_t *)"\x0a\x03\xff\xfe\x01", 5 };
    s_ask(&ask);
    assert_int_equal(ask.rc, CN_MALFORMED);
    s_await_log("\"method\":\"probe.v1.Probe/Echo\"");
    s_close(&scene);
}

static void a_service_serves_its_methods_and_ends_well(void **state)
{
    (void)state;
    s_run(s_serves);
}

static void s_guards(struct test_world *world)
{
    struct scene scene;
    s_open(&scene, world);
    s_await_ready(world, &scene.front);
    /* Another service may ask for events in its own name, and for nothing
     * else. */
    struct ask ask = s_from_front(&scene, "probe.v1.Probe/Echo");
    ask.env = &scene.other;
    s_ask(&ask);
    assert_int_equal(ask.rc, CN_FORBIDDEN);
    ask.nobody = true;
    s_ask(&ask);
    assert_int_equal(ask.rc, CN_FORBIDDEN);
    ask.method = "probe.v1.Probe/Inside";
    s_ask(&ask);
    assert_int_equal(ask.rc, CN_FORBIDDEN);
    ask.method = "events.v1.Events/Fetch";
    s_ask(&ask);
    assert_int_equal(ask.rc, CN_OK);
    ask.nobody = false;
    s_ask(&ask);
    assert_int_equal(ask.rc, CN_FORBIDDEN);

    ask = s_from_front(&scene, "probe.v1.Probe/Echo");
    ask.without_tenant = true;
    s_ask(&ask);
    assert_int_equal(ask.rc, CN_FORBIDDEN);
    ask = s_from_front(&scene, "probe.v1.Probe/Decide");
    s_ask(&ask);
    assert_int_equal(ask.rc, CN_FORBIDDEN);
    /* A write without a key. */
    ask = s_from_front(&scene, "probe.v1.Probe/Change");
    s_ask(&ask);
    assert_int_equal(ask.rc, CN_INVALID);
    /* Events in the name of a client. */
    ask = s_from_front(&scene, "events.v1.Events/Fetch");
    s_ask(&ask);
    assert_int_equal(ask.rc, CN_FORBIDDEN);
    /* A front may ask for events in its own name, but not call a client's
     * method. */
    ask.nobody = true;
    s_ask(&ask);
    assert_int_equal(ask.rc, CN_OK);
    ask.method = "probe.v1.Probe/Echo";
    s_ask(&ask);
    assert_int_equal(ask.rc, CN_FORBIDDEN);
    s_close(&scene);
}

static void only_who_may_is_let_in(void **state)
{
    (void)state;
    s_run(s_guards);
}

static void s_repeats(struct test_world *world)
{
    struct scene scene;
    s_open(&scene, world);
    s_await_ready(world, &scene.front);
    struct ask ask = s_from_front(&scene, "probe.v1.Probe/Change");
    ask.what = "conflict";
    ask.key = "key-1";
    s_ask(&ask);
    assert_int_equal(ask.rc, CN_OK);
    assert_false(ask.reply.replayed);
    assert_int_equal(ask.position->xid, 1);
    /* The guard would fail now, but the call gets the first answer again. */
    s_ask(&ask);
    assert_int_equal(ask.rc, CN_OK);
    assert_true(ask.reply.replayed);
    assert_int_equal(ask.position->xid, 1);
    assert_int_equal(ask.reply.version, 7);
    assert_string_equal(ask.reply.location, "/v1/things/thg_1");
    /* The same key for something else, and another key. */
    ask.number = 5;
    s_ask(&ask);
    assert_int_equal(ask.rc, CN_KEY_REUSED);
    ask.key = "key-2";
    s_ask(&ask);
    assert_int_equal(ask.rc, CN_CONFLICT);
    assert_string_equal(ask.reply.err.word, "illegal_state");
    s_close(&scene);
}

static void
a_repeated_key_gets_the_first_answer_though_the_guard_fails(void **state)
{
    (void)state;
    s_run(s_repeats);
    assert_int_equal(
        test_pg_number(s_service_pg, "SELECT count(*) FROM probe.outbox"), 1);
}

static void s_stale(struct test_world *world)
{
    struct scene scene;
    s_open(&scene, world);
    s_await_ready(world, &scene.front);
    struct ask ask = s_from_front(&scene, "probe.v1.Probe/Change");
    ask.what = "stale";
    ask.key = "key-1";
    ask.has_version = true;
    s_ask(&ask);
    assert_int_equal(ask.rc, CN_STALE);
    ask.has_version = false;
    s_ask(&ask);
    assert_int_equal(ask.rc, CN_OK);
    assert_int_equal(ask.position->xid, 3);
    s_close(&scene);
}

static void a_stale_read_is_made_again_unless_a_version_was_named(void **state)
{
    (void)state;
    s_run(s_stale);
}

static void s_inside(struct test_world *world)
{
    struct scene scene;
    s_open(&scene, world);
    s_await_ready(world, &scene.front);
    struct ask ask = s_from_front(&scene, "probe.v1.Probe/Change");
    ask.what = "full";
    ask.key = "key-1";
    s_ask(&ask);
    assert_int_equal(ask.rc, CN_UNAVAILABLE);
    assert_null(strstr(ask.reply.err.msg, "SQL"));
    s_close(&scene);
    assert_true(s_log_has("SQL_THING: SQLSTATE 53100"));
}

static void a_failure_of_ours_tells_its_inside_to_the_log_alone(void **state)
{
    (void)state;
    s_run(s_inside);
}

static void s_ask_fiber(void *arg)
{
    struct ask *ask = arg;
    s_ask(ask);
    test_world_ended(ask->world);
}

static void s_drains(struct test_world *world)
{
    struct scene scene;
    s_open(&scene, world);
    s_await_ready(world, &scene.front);
    struct ask ask = s_from_front(&scene, "probe.v1.Probe/Echo");
    ask.wait_ms = 400;
    ask.number = 1;
    test_world_spawn(world, s_ask_fiber, &ask, 10 * CN_SECOND);
    s_await_in_flight();
    s_close(&scene);
    test_world_join(world);
    assert_int_equal(ask.rc, CN_OK);
    assert_int_equal(ask.position->xid, 1);
}

static void a_stop_finishes_what_is_in_flight(void **state)
{
    (void)state;
    s_run(s_drains);
}

static void s_faults(struct test_world *world)
{
    (void)world;
    assert_int_equal(s_await_exit(s_spawn("CAIRN_LOG_LEVEL=loud")), 1);
    assert_true(s_log_has("CAIRN_LOG_LEVEL"));
    assert_int_equal(s_await_exit(s_spawn("CAIRN_NO_SUCH=1")), 1);
    assert_true(s_log_has("CAIRN_NO_SUCH"));
    assert_int_equal(s_await_exit(s_spawn("CAIRN_ENDPOINTS=nonsense")), 1);
    assert_true(s_log_has("CAIRN_ENDPOINTS"));
    /* Readers would not see what it writes in an epoch that is over. */
    free(test_pg_sql(s_service_pg, "UPDATE probe.audit_sealer SET epoch ="
                                   " epoch + 3"));
    assert_int_equal(s_await_exit(s_spawn("CAIRN_EPOCH=2")), 1);
    assert_true(s_log_has("CAIRN_EPOCH is 2"));
    free(test_pg_sql(s_service_pg, "UPDATE probe.audit_sealer SET epoch ="
                                   " epoch - 3"));
}

static void a_wrong_setting_stops_the_start_with_its_name(void **state)
{
    (void)state;
    s_run(s_faults);
}

/* ---- the admin port ---- */

static void s_tells(struct test_world *world)
{
    struct scene scene;
    char answer[ANSWER_MAX];
    s_open(&scene, world);
    s_await_ready(world, &scene.front);
    assert_int_equal(s_status("GET /livez"), 200);
    assert_int_equal(s_status("GET /healthz"), 200);
    assert_int_equal(s_status("GET /readyz"), 200);
    assert_int_equal(s_get("GET /readyz?verbose", answer), 200);
    assert_non_null(strstr(answer, "{\"ready\":true,\"checks\":{"));
    assert_non_null(strstr(answer, "\"running\":true"));
    assert_non_null(strstr(answer, "\"database\":true"));
    assert_int_equal(s_get("GET /metrics", answer), 200);
    assert_non_null(strstr(answer, "text/plain; version=0.0.4"));
    assert_int_equal(s_status("GET /"), 404);
    assert_int_equal(s_status("POST /readyz"), 405);
    assert_int_equal(s_flag("--healthcheck", NULL), 0);
    s_close(&scene);
    assert_int_equal(s_flag("--healthcheck", NULL), 1);
    assert_int_equal(s_flag("--healthcheck", "CAIRN_ADMIN="), 1);
    assert_true(s_file_has(s_told, "CAIRN_ADMIN is not set"));
    assert_int_equal(s_flag("--version", NULL), 0);
    assert_true(s_file_has(s_told, "cairn-probe unknown"));
}

static void the_admin_port_tells_health_and_metrics(void **state)
{
    (void)state;
    s_run(s_tells);
}

static void s_no_database(struct test_world *world)
{
    (void)world;
    pid_t pid = s_spawn("CAIRN_DB=host=/nowhere dbname=none");

    s_await_status("GET /livez", 200);
    assert_int_equal(s_status("GET /readyz"), 503);
    assert_int_equal(s_flag("--healthcheck", NULL), 1);
    assert_int_equal(kill(pid, SIGTERM), 0);
    assert_int_equal(s_await_exit(pid), 0);
}

static void without_its_database_it_is_alive_but_not_ready(void **state)
{
    (void)state;
    s_run(s_no_database);
}

static void s_leaves(struct test_world *world)
{
    struct scene scene;
    s_open(&scene, world);
    s_await_ready(world, &scene.front);
    struct ask slow = s_from_front(&scene, "probe.v1.Probe/Echo");
    slow.wait_ms = 2000;
    test_world_spawn(world, s_ask_fiber, &slow, 10 * CN_SECOND);
    s_await_in_flight();
    assert_int_equal(kill(scene.pid, SIGTERM), 0);
    s_await_status("GET /readyz", 503);
    assert_int_equal(s_status("GET /livez"), 200);
    struct ask late = s_from_front(&scene, "probe.v1.Probe/Echo");
    /* It waits for another process of the service, but none comes. */
    s_ask(&late);
    assert_int_equal(late.rc, CN_UNAVAILABLE);
    assert_int_equal(cn_bus_stats(scene.front.bus)->repeats, 0);
    test_world_join(world);
    assert_int_equal(slow.rc, CN_OK);
    assert_int_equal(s_await_exit(scene.pid), 0);
    s_leave(&scene);
}

static void
a_leaving_service_takes_no_more_and_finishes_what_it_has(void **state)
{
    (void)state;
    s_run(s_leaves);
}

static void s_notices(struct test_world *world)
{
    struct scene scene = { .world = world,
                           .pid = s_spawn("CAIRN_DRAIN_DELAY_MS=1500") };
    s_caller(&scene.front, world, "gateway", &s_front_keys);
    s_caller(&scene.other, world, "other", &s_other_keys);
    s_await_ready(world, &scene.front);
    assert_int_equal(kill(scene.pid, SIGTERM), 0);
    s_await_status("GET /readyz", 503);
    struct ask ask = s_from_front(&scene, "probe.v1.Probe/Echo");
    s_ask(&ask);
    assert_int_equal(ask.rc, CN_OK);
    /* On the second signal it does not wait. */
    int64_t since = cn_clock_monotonic();
    s_close(&scene);
    assert_true(cn_clock_monotonic() - since < CN_SECOND);
}

static void
with_a_delay_it_serves_on_unready_until_it_is_asked_again(void **state)
{
    (void)state;
    s_run(s_notices);
}

static void s_cut(struct test_world *world)
{
    struct scene scene;
    s_open(&scene, world);
    s_await_ready(world, &scene.front);
    struct ask slow = s_from_front(&scene, "probe.v1.Probe/Echo");
    slow.wait_ms = 4000;
    test_world_spawn(world, s_ask_fiber, &slow, 10 * CN_SECOND);
    s_await_in_flight();
    assert_int_equal(kill(scene.pid, SIGTERM), 0);
    s_await_status("GET /readyz", 503);
    int64_t since = cn_clock_monotonic();
    s_stop(&scene);
    assert_true(cn_clock_monotonic() - since < CN_SECOND);
    test_world_join(world);
    assert_int_not_equal(slow.rc, CN_OK);
    s_leave(&scene);
}

static void a_second_signal_ends_it_at_once(void **state)
{
    (void)state;
    s_run(s_cut);
}

/* ---- following it through a kill ---- */

static unsigned s_effects;

static void s_on_changed(struct cn_op *op, const struct cn_event *event)
{
    (void)op;
    (void)event;
    s_effects++;
}

static bool s_effects_reach(void *arg)
{
    return s_effects >= *(const unsigned *)arg;
}

static void s_change_and_await(struct scene *scene, unsigned wanted)
{
    struct ask ask = s_from_front(scene, "probe.v1.Probe/Change");
    char key[32];
    (void)snprintf(key, sizeof(key), "key-%u", wanted);
    ask.key = key;
    s_ask(&ask);
    assert_int_equal(ask.rc, CN_OK);
    test_world_until(scene->world, s_effects_reach, &wanted);
}

static void s_killed(struct test_world *world)
{
    static const struct cn_event_shape EVENTS[] = {
        { "thing.changed", "", &evt__fetch_request__shape },
    };
    static const struct cn_event_handler HANDLERS[] = {
        { "thing.changed", .effect = s_on_changed },
    };
    static const struct cn_subscription SUBSCRIPTIONS[] = {
        { "probe", EVENTS, 1, HANDLERS, 1 },
    };
    static const struct cn_service FOLLOWER = { .name = "probe",
                                                .subscriptions = SUBSCRIPTIONS,
                                                .subscription_count = 1 };
    struct scene scene;
    struct cn_err err = { 0 };
    s_open(&scene, world);
    s_await_ready(world, &scene.front);
    world->env.bus = scene.other.bus;
    assert_int_equal(cn_consumers_start(&world->env, &FOLLOWER, &err), CN_OK);
    s_change_and_await(&scene, 1);
    for (unsigned round = 2; round <= 4; round++) {
        assert_int_equal(kill(scene.pid, SIGKILL), 0);
        assert_int_equal(s_await_exit(scene.pid), -1);
        scene.pid = s_spawn(NULL);
        s_await_ready(world, &scene.front);
        int64_t since = cn_clock_monotonic();
        s_change_and_await(&scene, round);
        assert_true(cn_clock_monotonic() - since < CN_SECOND);
    }
    cn_loop_stop(world->env.loop);
    while (cn_fiber_count(world->env.loop) > 1) {
        assert_int_equal(cn_fiber_sleep(1000), CN_OK);
    }
    s_close(&scene);
}

static void events_flow_again_within_a_second_of_a_restart(void **state)
{
    (void)state;
    s_run(s_killed);
}

static int s_setup(void **state)
{
    (void)state;
    s_service_pg = test_pg_new("probe", "tests/store/probe");
    s_consumer_pg = test_pg_new("probe", "tests/store/probe");
    char *files[] = { s_log, s_told };
    for (size_t i = 0; i < 2; i++) {
        int fd = mkstemp(files[i]);
        assert_true(fd >= 0);
        (void)close(fd);
    }
    s_address_choose();
    struct keys *all[] = { &s_service_keys, &s_front_keys, &s_other_keys };
    for (size_t i = 0; i < 3; i++) {
        assert_true(cn_bus_keypair(all[i]->public_key, all[i]->secret_key));
    }
    return 0;
}

static int s_teardown(void **state)
{
    (void)state;
    (void)unlink(s_log);
    (void)unlink(s_told);
    test_pg_free(s_consumer_pg);
    test_pg_free(s_service_pg);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_service_serves_its_methods_and_ends_well),
        cmocka_unit_test(only_who_may_is_let_in),
        cmocka_unit_test(
            a_repeated_key_gets_the_first_answer_though_the_guard_fails),
        cmocka_unit_test(a_stale_read_is_made_again_unless_a_version_was_named),
        cmocka_unit_test(a_failure_of_ours_tells_its_inside_to_the_log_alone),
        cmocka_unit_test(a_stop_finishes_what_is_in_flight),
        cmocka_unit_test(a_wrong_setting_stops_the_start_with_its_name),
        cmocka_unit_test(the_admin_port_tells_health_and_metrics),
        cmocka_unit_test(without_its_database_it_is_alive_but_not_ready),
        cmocka_unit_test(
            a_leaving_service_takes_no_more_and_finishes_what_it_has),
        cmocka_unit_test(
            with_a_delay_it_serves_on_unready_until_it_is_asked_again),
        cmocka_unit_test(a_second_signal_ends_it_at_once),
        cmocka_unit_test(events_flow_again_within_a_second_of_a_restart),
    };
    if (argc > 1 && strcmp(argv[1], "serve") == 0) {
        return cn_service_main(&s_service, argc - 1, argv + 1);
    }
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
