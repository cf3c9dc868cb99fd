/* SPDX-License-Identifier: Apache-2.0 */
/* A private PostgreSQL for store tests. */
#include "tests/lib/pg.h"

#include "common/base/clock.h"
#include "common/loop/fiber.h"
#include "common/service/service.h"
#include "common/wire/seal.h"
#include "tests/lib/psql.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const int64_t BODY_US = 120 * CN_SECOND;
static const int64_t UNTIL_US = 10 * CN_SECOND;
static const int64_t LOOK_US = 1000;
static const int64_t GRACE_US = 5 * CN_SECOND;

enum { COMMAND_MAX = 16384 };

const char TEST_SEAL_KEYS[] =
    "1:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

struct test_hold {
    FILE *psql;
};

/* What a command printed, without its last newline. */
static char *s_command(const char *command)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    FILE *in = popen(command, "re");
    assert(out != NULL && in != NULL);
    char piece[COMMAND_MAX];
    for (size_t got = 0; (got = fread(piece, 1, sizeof(piece), in)) > 0;) {
        (void)fwrite(piece, 1, got, out);
    }
    int status = pclose(in);
    (void)fclose(out);
    if (status != 0) {
        (void)fprintf(stderr, "failed: %s\n%s\n", command, text);
        abort();
    }
    if (size > 0 && text[size - 1] == '\n') {
        text[size - 1] = '\0';
    }
    return text;
}

static void s_server(struct test_pg *self)
{
    const char *given = getenv("CAIRN_TEST_PG");
    if (given != NULL && given[0] != '\0') {
        (void)snprintf(self->server, sizeof(self->server), "%s", given);
    } else {
        char command[COMMAND_MAX];
        char *line = s_command("tests/lib/pg.sh start");
        const char *value = strchr(line, '=');
        assert(value != NULL);
        (void)snprintf(self->server, sizeof(self->server), "%s", value + 1);
        free(line);
        (void)snprintf(command, sizeof(command),
                       "trap '' INT; cat >/dev/null; tests/lib/pg.sh stop %s",
                       self->server);
        self->keeper = popen(command, "we");
        assert(self->keeper != NULL);
    }
    (void)snprintf(self->dir, sizeof(self->dir), "%s", self->server);
    char *colon = strrchr(self->dir, ':');
    assert(colon != NULL);
    *colon = '\0';
    (void)snprintf(self->port, sizeof(self->port), "%s", colon + 1);
}

struct test_pg *test_pg_new(const char *service, const char *folder)
{
    static unsigned databases;
    /* See the header: an assertion in a fiber must not jump. */
    (void)setenv("CMOCKA_TEST_ABORT", "1", 1);
    struct test_pg *self = calloc(1, sizeof(*self));
    assert(self != NULL);
    s_server(self);
    (void)snprintf(self->service, sizeof(self->service), "%s", service);
    (void)snprintf(self->database, sizeof(self->database), "%s_%d_%u", service,
                   (int)getpid(), databases++);
    (void)snprintf(self->app, sizeof(self->app), "%s_app", service);
    (void)snprintf(self->relay, sizeof(self->relay), "%s_relay", service);
    (void)snprintf(self->conninfo, sizeof(self->conninfo),
                   "host=%s port=%s dbname=%s", self->dir, self->port,
                   self->database);
    char command[COMMAND_MAX];
    (void)snprintf(command, sizeof(command),
                   "tests/lib/pg.sh migrate %s %s %s %s", self->server,
                   self->database, service, folder != NULL ? folder : "");
    free(s_command(command));
    self->psql = test_psql_open(self);
    return self;
}

void test_pg_free(struct test_pg *self)
{
    char command[COMMAND_MAX];
    test_psql_close(self->psql);
    if (self->keeper != NULL) {
        (void)pclose(self->keeper);
    } else {
        (void)snprintf(command, sizeof(command),
                       "dropdb -f -h %s -p %s -U postgres %s", self->dir,
                       self->port, self->database);
        free(s_command(command));
    }
    free(self);
}

char *test_pg_sql(const struct test_pg *self, const char *sql)
{
    char *text = strdup(test_psql(self->psql, "%s", sql));
    assert(text != NULL);
    (void)test_psql(self->psql, "DISCARD ALL");
    return text;
}

long test_pg_number(const struct test_pg *self, const char *sql)
{
    char *text = test_pg_sql(self, sql);
    long number = strtol(text, NULL, 10);
    free(text);
    return number;
}

struct test_hold *test_pg_hold(const struct test_pg *self, long key)
{
    char command[COMMAND_MAX];
    char sql[TEST_TEXT_MAX];
    struct test_hold *hold = calloc(1, sizeof(*hold));
    assert(hold != NULL);
    (void)snprintf(command, sizeof(command),
                   "psql -Xq -v ON_ERROR_STOP=1 -h %s -p %s -U postgres -d %s "
                   ">/dev/null",
                   self->dir, self->port, self->database);
    hold->psql = popen(command, "we");
    assert(hold->psql != NULL);
    (void)fprintf(hold->psql, "SELECT pg_advisory_lock(%ld);\n", key);
    (void)fflush(hold->psql);
    (void)snprintf(sql, sizeof(sql),
                   "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' "
                   "AND granted AND (classid::bigint << 32 | objid::bigint) "
                   "= %ld",
                   key);
    int64_t give_up_at = cn_clock_monotonic() + UNTIL_US;
    while (test_pg_number(self, sql) == 0) {
        assert(cn_clock_monotonic() < give_up_at);
    }
    return hold;
}

void test_pg_release(struct test_hold *hold)
{
    (void)pclose(hold->psql);
    free(hold);
}

/* A run: the world, and the body that its first fiber calls. */
struct run {
    struct test_world *world;
    unsigned connections;
    void (*body)(struct test_world *world);
    bool done;
};

static void s_fail_with(const char *what, const struct cn_err *err)
{
    (void)fprintf(stderr, "%s: %s\n", what, err->msg);
    abort();
}

static void s_run(void *arg)
{
    struct run *run = arg;
    struct test_world *world = run->world;
    struct cn_err err = { 0 };
    if (run->connections > 0) {
        world->env.db = cn_db_new(&world->env, &world->config);
        assert(world->env.db != NULL);
        if (cn_db_start(world->env.db, &err) != CN_OK) {
            s_fail_with("start", &err);
        }
    }
    run->body(world);
    run->done = true;
    cn_loop_stop(world->env.loop);
}

static void s_configure(struct test_world *world, unsigned connections)
{
    struct test_pg *pg = world->pg;
    world->config.conninfo = pg->conninfo;
    world->config.schema = pg->service;
    world->config.epoch = 1;
    for (unsigned lane = 0; lane < CN_LANE_COUNT; lane++) {
        world->config.lanes[lane].user =
            lane == CN_LANE_RELAY ? pg->relay : pg->app;
        world->config.lanes[lane].connections = connections;
    }
}

void test_world_run(struct test_pg *pg,
                    unsigned connections,
                    void (*body)(struct test_world *world),
                    void *data)
{
    struct cn_err err = { 0 };
    struct test_world world = { .env = cn_env_real(), .pg = pg, .data = data };
    world.env.committed = cn_service_committed;
    world.env.loop = cn_loop_new();
    world.env.seal = cn_seal_new(TEST_SEAL_KEYS, &err);
    world.arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    world.tenant = cn_uuid_new(&world.env);
    assert(world.env.loop != NULL && world.env.seal != NULL &&
           world.arena != NULL);
    s_configure(&world, connections);
    struct run run = { &world, connections, body, false };
    if (cn_fiber_spawn(world.env.loop, s_run, &run,
                       cn_clock_monotonic() + BODY_US, &err) != CN_OK) {
        s_fail_with("spawn", &err);
    }
    cn_loop_run(world.env.loop, GRACE_US);
    assert(run.done);
    cn_arena_free(world.arena);
    cn_db_free(world.env.db);
    cn_seal_free(world.env.seal);
    cn_loop_free(world.env.loop);
}

void test_world_spawn(struct test_world *self,
                      void (*fn)(void *arg),
                      void *arg,
                      int64_t budget_us)
{
    struct cn_err err = { 0 };
    if (cn_fiber_spawn(self->env.loop, fn, arg,
                       cn_clock_monotonic() + budget_us, &err) != CN_OK) {
        s_fail_with("spawn", &err);
    }
    self->fibers++;
}

void test_world_ended(struct test_world *self)
{
    assert(self->fibers > 0);
    self->fibers--;
}

static bool s_all_ended(void *arg)
{
    const struct test_world *self = arg;
    return self->fibers == 0;
}

void test_world_join(struct test_world *self)
{
    while (!s_all_ended(self)) {
        enum cn_code rc = cn_fiber_sleep(LOOK_US);
        assert(rc == CN_OK);
    }
}

void test_world_until(struct test_world *self,
                      bool (*holds)(void *arg),
                      void *arg)
{
    (void)self;
    int64_t give_up_at = cn_clock_monotonic() + UNTIL_US;
    while (!holds(arg)) {
        assert(cn_clock_monotonic() < give_up_at);
        enum cn_code rc = cn_fiber_sleep(LOOK_US);
        assert(rc == CN_OK);
    }
}

struct cn_request test_world_request(struct test_world *self,
                                     struct cn_arena *arena,
                                     const struct cn_method *method,
                                     const char *key,
                                     const char *what)
{
    struct cn_request request = { .env = &self->env,
                                  .method = method,
                                  .principal = { .tenant_id = self->tenant,
                                                 .subject = "key_test",
                                                 .role = "coordinator" },
                                  .reach = CN_REACH_AGENCY,
                                  .request_id = "req_test",
                                  .trace = "",
                                  .idempotency_key = key,
                                  .has_client_key = key != NULL,
                                  .now_at = self->env.now(&self->env),
                                  .arena = arena };
    struct cn_bytes bytes = { (const uint8_t *)what, strlen(what) };
    cn_sha256(bytes, request.fingerprint);
    return request;
}
