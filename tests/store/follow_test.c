/* SPDX-License-Identifier: Apache-2.0 */
/* Replicas of a consumer as processes of their own. They share the partitions.
 * Whatever is killed, every event has its effect once, and in its aggregate's
 * order. With the word "consumer" as its argument this program is the
 * consumer. The long form (CAIRN_LONG=1) has 100,000 events. */
#include "common/base/clock.h"
#include "common/inbox/consumer.h"
#include "common/loop/fiber.h"
#include "common/service/service.h"
#include "common/store/step.h"
#include "common/wire/seal.h"
#include "tests/lib/follow.h"
#include "tests/lib/pg.h"

#include "cairn/events.cairn.h"

#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    REPLICAS = 3,
    TENANTS = 5,
    AGGREGATES = 40, /* of each tenant; a unit has an event of each */
    EVENTS_SHORT = 10000,
    EVENTS_LONG = 100000,
    KILLS_SHORT = 12,
    KILLS_LONG = 150,
    LOOK_US = 20000,
    SQL_MAX = 512
};

static struct test_pg *s_producer_pg;
static struct test_pg *s_consumer_pg;

/* ---- the consumer ---- */

CN_SQL_WRITE(SQL_TEST_FOLLOW_EFFECT,
             "INSERT INTO {{schema}}.effect (tenant_id, aggregate_id, "
             "aggregate_seq) VALUES ($1, $2, $3)");
CN_SQL_WRITE(SQL_TEST_FOLLOW_COPY,
             "INSERT INTO {{schema}}.copy AS c (tenant_id, id, event_seq, "
             "written) VALUES ($1, $2, $3, 1) ON CONFLICT (tenant_id, id) DO "
             "UPDATE SET event_seq = excluded.event_seq, written = c.written + "
             "1 WHERE c.event_seq < excluded.event_seq");

static void s_add(struct cn_op *op,
                  const struct cn_event *event,
                  const struct cn_statement *statement)
{
    CN_CHANGE(op, statement, cn_uuid(event->tenant_id),
              cn_uuid(event->aggregate_id), cn_int(event->aggregate_seq));
}

static void s_changed(struct cn_op *op, const struct cn_event *event)
{
    s_add(op, event, &SQL_TEST_FOLLOW_EFFECT);
}

static void s_copied(struct cn_op *op, const struct cn_event *event)
{
    s_add(op, event, &SQL_TEST_FOLLOW_COPY);
}

static const struct cn_event_shape EVENTS_OF_PRODUCER[] = {
    { "thing.copied", "", &evt__fetch_request__shape },
    { "thing.changed", "", &evt__fetch_request__shape },
};
static const struct cn_event_handler HANDLERS[] = {
    { "thing.copied", s_copied, .copy = true },
    { "thing.changed", s_changed, .copy = false },
};
static const struct cn_subscription SUBSCRIPTIONS[] = {
    { "producer", EVENTS_OF_PRODUCER, 2, HANDLERS, 2 },
};
static const struct cn_service CONSUMER = { .name = "probe",
                                            .subscriptions = SUBSCRIPTIONS,
                                            .subscription_count = 1 };

/* What a replica is started with. */
enum { ARG_WORD = 1, ARG_CONNINFO, ARG_ADDRESS, ARG_PEERS, ARG_SECRET, ARGS };

struct replica {
    struct cn_env env;
    char **arguments;
};

static void s_replica_boot(void *arg)
{
    struct replica *self = arg;
    struct cn_db_config db = { .conninfo = self->arguments[ARG_CONNINFO],
                               .schema = "probe",
                               .epoch = 1 };
    const struct cn_bus_config bus = { .name = "consumer",
                                       .secret_key =
                                           self->arguments[ARG_SECRET],
                                       .peers = self->arguments[ARG_PEERS] };
    struct cn_err err = { 0 };
    db.lanes[CN_LANE_RELAY].user = "probe_relay";
    db.lanes[CN_LANE_RELAY].connections = 2;
    self->env.db = cn_db_new(&self->env, &db);
    if (self->env.db == NULL || cn_db_start(self->env.db, &err) != CN_OK ||
        cn_bus_new(&self->env, &bus, &self->env.bus, &err) != CN_OK ||
        cn_bus_connect(self->env.bus, "producer", self->arguments[ARG_ADDRESS],
                       &err) != CN_OK ||
        cn_consumers_start(&self->env, &CONSUMER, &err) != CN_OK) {
        (void)fprintf(stderr, "replica: %s\n", err.msg);
        cn_loop_stop(self->env.loop);
    }
}

static int s_replica_main(char **arguments)
{
    struct replica self = { .env = cn_env_real(), .arguments = arguments };
    self.env.committed = cn_service_committed;
    struct cn_err err = { 0 };

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    self.env.loop = cn_loop_new();
    self.env.seal = cn_seal_new(TEST_SEAL_KEYS, &err);
    if (self.env.loop == NULL || self.env.seal == NULL ||
        cn_loop_stop_on_signals(self.env.loop, &err) != CN_OK ||
        cn_fiber_spawn(self.env.loop, s_replica_boot, &self,
                       cn_clock_monotonic() + 30 * CN_SECOND, &err) != CN_OK) {
        return EXIT_FAILURE;
    }
    cn_loop_run(self.env.loop, 5 * CN_SECOND);
    cn_bus_free(self.env.bus);
    cn_db_free(self.env.db);
    cn_seal_free(self.env.seal);
    cn_loop_free(self.env.loop);
    return EXIT_SUCCESS;
}

/* ---- its processes ---- */

static pid_t s_spawn(const struct test_producer *producer)
{
    char peers[128];
    char conninfo[4 * TEST_TEXT_MAX];
    char address[TEST_TEXT_MAX];
    char secret[CN_BUS_KEY_SIZE];
    char name[] = "follow_test";
    char word[] = "consumer";
    pid_t pid = 0;
    (void)snprintf(peers, sizeof(peers), "producer=%s",
                   producer->keys.public_key);
    (void)snprintf(conninfo, sizeof(conninfo), "%s", s_consumer_pg->conninfo);
    (void)snprintf(address, sizeof(address), "%s",
                   cn_bus_address(producer->world->env.bus));
    (void)snprintf(secret, sizeof(secret), "%s", producer->consumer.secret_key);
    char *arguments[] = { name, word, conninfo, address, peers, secret, NULL };
    /* SIGTERM waits until its loop takes it: it must not end by the signal. */
    posix_spawnattr_t attributes;
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    int rc = posix_spawnattr_init(&attributes);
    rc |= posix_spawnattr_setsigmask(&attributes, &signals);
    rc |= posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    rc |= posix_spawn(&pid, "/proc/self/exe", NULL, &attributes, arguments,
                      environ);
    assert_int_equal(rc, 0);
    (void)posix_spawnattr_destroy(&attributes);
    return pid;
}

static int s_end(pid_t pid, int number)
{
    int status = 0;
    assert_int_equal(kill(pid, number), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static long s_number(const char *sql)
{
    return test_pg_number(s_consumer_pg, sql);
}

static void s_pause(void)
{
    assert_int_equal(cn_fiber_sleep(LOOK_US), CN_OK);
}

/* ---- the shares ---- */

/* So many live replicas hold all partitions, and none holds more than `most`.
 */
static bool s_shared(unsigned holders, unsigned most)
{
    char sql[SQL_MAX];
    (void)snprintf(
        sql, sizeof(sql),
        "SELECT (count(*) = %u AND sum(n) = 16 AND max(n) <= %u)::int"
        " FROM (SELECT count(*) AS n FROM probe.lease l"
        " JOIN probe.replica r ON r.producer = l.producer"
        " AND r.id = l.holder AND r.until > now()"
        " GROUP BY l.holder) s",
        holders, most);
    return s_number(sql) == 1;
}

/* Sanitizers make processes slow; the limit for users is two seconds. */
static int64_t s_share_limit_us(void)
{
#ifdef __SANITIZE_ADDRESS__
    return 6 * CN_SECOND;
#else
    return 2 * CN_SECOND;
#endif
}

static void s_await_shares(const char *what, unsigned holders, unsigned most)
{
    int64_t begin = cn_clock_monotonic();
    while (!s_shared(holders, most)) {
        assert_true(cn_clock_monotonic() < begin + s_share_limit_us());
        s_pause();
    }
    print_message("%s: shared after %lld ms\n", what,
                  (long long)(cn_clock_monotonic() - begin) / 1000);
}

static void s_await_replicas(long count)
{
    int64_t give_up_at = cn_clock_monotonic() + 30 * CN_SECOND;
    while (s_number("SELECT count(*) FROM probe.replica WHERE until > now()") !=
           count) {
        assert_true(cn_clock_monotonic() < give_up_at);
        s_pause();
    }
}

static void s_sharing(struct test_world *world)
{
    struct test_producer producer;
    pid_t pids[REPLICAS];
    test_producer_open(&producer, world, 1);
    pids[0] = s_spawn(&producer);
    s_await_replicas(1);
    s_await_shares("the first", 1, 16);
    pids[1] = s_spawn(&producer);
    pids[2] = s_spawn(&producer);
    s_await_replicas(REPLICAS);
    s_await_shares("two more", REPLICAS, 6);
    assert_int_equal(s_end(pids[1], SIGTERM), 0);
    s_await_shares("one left", 2, 8);
    (void)s_end(pids[0], SIGKILL);
    s_await_shares("one was killed", 1, 16);
    assert_int_equal(s_end(pids[2], SIGTERM), 0);
    assert_int_equal(
        s_number("SELECT count(*) FROM probe.lease WHERE holder IS NOT NULL"),
        0);
    test_follow_close(&producer, NULL, 0);
}

static void replicas_share_the_partitions_within_two_seconds(void **state)
{
    (void)state;
    test_world_run(s_producer_pg, 2, s_sharing, NULL);
}

/* ---- the events ---- */

struct writer {
    struct test_world *world;
    struct cn_uuid tenants[TENANTS];
    struct cn_uuid ids[TENANTS][AGGREGATES];
    uint32_t rounds;
};

/* In every other aggregate each second event has an effect. All other events
 * are copies. */
static bool s_is_effect(size_t aggregate, uint32_t seq)
{
    return aggregate % 2 == 0 && seq % 2 == 1;
}

static void s_write_unit(struct writer *self, size_t tenant, uint32_t seq)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    Evt__FetchRequest payload = EVT__FETCH_REQUEST__INIT;
    struct cn_err err = { 0 };
    struct cn_write *write = cn_write_begin_system(
        &self->world->env, arena, self->tenants[tenant], "req_test");
    assert_non_null(write);
    for (size_t i = 0; i < AGGREGATES; i++) {
        cn_write_lock(write, "thing", self->ids[tenant][i]);
    }
    for (size_t i = 0; i < AGGREGATES; i++) {
        cn_write_event(write,
                       s_is_effect(i, seq) ? "thing.changed" : "thing.copied",
                       "thing", self->ids[tenant][i], seq, &payload.base);
    }
    assert_int_equal(cn_write_commit(write, &err), CN_OK);
}

static void s_write(void *arg)
{
    struct writer *self = arg;
    for (uint32_t seq = 1; seq <= self->rounds; seq++) {
        for (size_t tenant = 0; tenant < TENANTS; tenant++) {
            s_write_unit(self, tenant, seq);
        }
    }
    test_world_ended(self->world);
}

static bool s_long(void)
{
    const char *word = getenv("CAIRN_LONG");
    return word != NULL && strcmp(word, "1") == 0;
}

static long s_applied(void)
{
    return s_number("SELECT (SELECT count(*) FROM probe.effect) + "
                    "(SELECT coalesce(sum(written), 0) FROM probe.copy)");
}

/* Between half and one and a half of the mean. */
static long s_next(long mean)
{
    return mean / 2 + random() % (mean + 1);
}

/* Kills one replica after the other while they work. */
static unsigned s_kill_until(const struct test_producer *producer,
                             pid_t pids[REPLICAS],
                             long events,
                             unsigned kills)
{
    long mean = events / (long)(kills + 1);
    long next = s_next(mean);
    unsigned killed = 0;
    for (long applied = 0; applied < events; applied = s_applied()) {
        if (applied >= next) {
            pid_t *pid = &pids[random() % REPLICAS];
            (void)s_end(*pid, SIGKILL);
            *pid = s_spawn(producer);
            killed++;
            next = applied + s_next(mean);
        }
        s_pause();
    }
    return killed;
}

static void s_killing(struct test_world *world)
{
    const long events = s_long() ? EVENTS_LONG : EVENTS_SHORT;
    const unsigned kills = s_long() ? KILLS_LONG : KILLS_SHORT;
    const int64_t budget_us = (s_long() ? 3600 : 240) * CN_SECOND;
    const unsigned seed = (unsigned)world->env.now(&world->env);
    struct test_producer producer;
    struct writer writer = { .world = world };
    pid_t pids[REPLICAS];
    cn_fiber_set_deadline(cn_clock_monotonic() + budget_us);
    srandom(seed);
    writer.rounds = (uint32_t)(events / (TENANTS * AGGREGATES));
    for (size_t t = 0; t < TENANTS; t++) {
        writer.tenants[t] = cn_uuid_new(&world->env);
        for (size_t i = 0; i < AGGREGATES; i++) {
            writer.ids[t][i] = cn_uuid_new(&world->env);
        }
    }
    test_producer_open(&producer, world, 1);
    for (size_t i = 0; i < REPLICAS; i++) {
        pids[i] = s_spawn(&producer);
    }
    int64_t begin = cn_clock_monotonic();
    test_world_spawn(world, s_write, &writer, budget_us);
    unsigned killed = s_kill_until(&producer, pids, events, kills);
    test_world_join(world);
    print_message("%ld events, %u kills, %lld ms, seed %u\n", events, killed,
                  (long long)(cn_clock_monotonic() - begin) / 1000, seed);
    assert_true(killed >= kills / 2);
    for (size_t i = 0; i < REPLICAS; i++) {
        assert_int_equal(s_end(pids[i], SIGTERM), 0);
    }
    test_follow_close(&producer, NULL, 0);
}

static void killed_consumers_lose_and_repeat_no_effect(void **state)
{
    const long events = s_long() ? EVENTS_LONG : EVENTS_SHORT;
    const long rounds = events / (TENANTS * AGGREGATES);
    const long mixed = TENANTS * AGGREGATES / 2;
    const long effects = mixed * ((rounds + 1) / 2);
    (void)state;
    test_world_run(s_producer_pg, 2, s_killing, NULL);
    assert_int_equal(s_number("SELECT count(*) FROM probe.effect"), effects);
    assert_int_equal(s_number("SELECT count(DISTINCT (tenant_id, aggregate_id, "
                              "aggregate_seq)) FROM probe.effect"),
                     effects);
    assert_int_equal(
        s_number(
            "SELECT count(*) FROM (SELECT aggregate_seq, lag(aggregate_seq)"
            " OVER (PARTITION BY aggregate_id ORDER BY place) AS before"
            " FROM probe.effect) e WHERE before > aggregate_seq"),
        0);
    /* A copy that came twice or late would not have been written. */
    assert_int_equal(s_number("SELECT sum(written) FROM probe.copy"),
                     events - effects);
    assert_int_equal(s_number("SELECT count(*) FROM probe.copy"),
                     TENANTS * AGGREGATES);
    assert_int_equal(s_number("SELECT count(*) FROM probe.dead_letter"), 0);
}

static int s_empty(void **state)
{
    (void)state;
    free(test_pg_sql(s_producer_pg, "TRUNCATE probe.outbox"));
    free(test_pg_sql(s_consumer_pg,
                     "TRUNCATE probe.effect, probe.copy, probe.inbox_position, "
                     "probe.dead_letter, probe.lease, probe.replica"));
    return 0;
}

static int s_setup(void **state)
{
    (void)state;
    s_producer_pg = test_pg_new("probe", "tests/store/follow");
    s_consumer_pg = test_pg_new("probe", "tests/store/follow");
    return 0;
}

static int s_teardown(void **state)
{
    (void)state;
    test_pg_free(s_consumer_pg);
    test_pg_free(s_producer_pg);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup(name, s_empty)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(replicas_share_the_partitions_within_two_seconds),
        TEST(killed_consumers_lose_and_repeat_no_effect),
    };
    if (argc == ARGS && strcmp(argv[ARG_WORD], "consumer") == 0) {
        return s_replica_main(argv);
    }
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
