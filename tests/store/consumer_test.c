/* SPDX-License-Identifier: Apache-2.0 */
/* Events from one service to another over the bus: each has its effect once,
 * failures are put aside, a restart loses nothing. */
#include "common/inbox/consumer.h"

#include "common/loop/fiber.h"
#include "common/store/step.h"
#include "tests/lib/follow.h"
#include "tests/lib/pg.h"

#include "cairn/events.cairn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    EVENTS = 60,
    AGGREGATES = 4,
    NUMBERS_MAX = 512,
    /* What a payload asks the handler to do; its low bits are the number. */
    POISON = 1 << 12,
    WITHOUT_EFFECT = 1 << 13,
    STALE_TWICE = 1 << 14,
    AWAY = 1 << 15,
    AWAY_TIMES = 8
};

static struct test_pg *s_producer_pg;
static struct test_pg *s_consumer_pg;

/* ---- the consumer's handlers ---- */

struct effects {
    unsigned calls[NUMBERS_MAX];
    uint32_t order[NUMBERS_MAX]; /* of first calls */
    size_t count;
};
static struct effects s_effects;

static void s_changed(struct cn_op *op, const struct cn_event *event)
{
    struct effects *effects = op->self;
    const Evt__FetchRequest *payload = event->payload;
    uint32_t number = payload->limit % POISON;
    unsigned calls = ++effects->calls[number];
    assert_string_equal(event->producer, "producer");
    if (calls == 1) {
        effects->order[effects->count++] = number;
    }
    if (payload->limit & POISON) {
        cn_refuse(op, CN_INVALID, NULL, "this event is not to be had");
    }
    if ((payload->limit & STALE_TWICE) != 0 && calls <= 2) {
        cn_refuse(op, CN_STALE, NULL, "probe_version");
    }
    if ((payload->limit & AWAY) != 0 && calls <= AWAY_TIMES) {
        cn_refuse(op, CN_UNAVAILABLE, NULL, "away");
    }
    if ((payload->limit & WITHOUT_EFFECT) == 0) {
        cn_audit(op, "effect", event->type, (struct cn_uuid){ 0 });
    }
}

static const struct cn_event_shape EVENTS_OF_PRODUCER[] = {
    { "thing.changed", "", &evt__fetch_request__shape },
    { "thing.new_kind", "", &evt__fetch_request__shape },
};
static const struct cn_event_handler HANDLERS[] = {
    { "thing.changed", s_changed, .copy = false },
};
static const struct cn_subscription SUBSCRIPTIONS[] = {
    { "producer", EVENTS_OF_PRODUCER, 2, HANDLERS, 1 },
};
static struct cn_service s_consumer = { .name = "probe",
                                        .subscriptions = SUBSCRIPTIONS,
                                        .subscription_count = 1,
                                        .self = &s_effects };

/* ---- events and what became of them ---- */

static void s_emit(struct test_world *world,
                   const char *type,
                   struct cn_uuid id,
                   int64_t aggregate_seq,
                   uint32_t number)
{
    test_emit(world, world->tenant, type, id, aggregate_seq, number);
}

static void s_emit_each(struct test_world *world, uint32_t from, uint32_t count)
{
    test_emit_each(world, "thing.changed", from, count);
}

static long s_number(const char *sql)
{
    return test_pg_number(s_consumer_pg, sql);
}

/* psql blocks the loop: the fibers get their turns between two looks. */
static void s_let_go_on(void)
{
    assert_int_equal(cn_fiber_sleep(20000), CN_OK);
}

static long s_effect_count(void)
{
    return s_number("SELECT count(*) FROM probe.audit");
}

static bool s_effects_reach(void *arg)
{
    const long *wanted = arg;
    s_let_go_on();
    return s_effect_count() >= *wanted;
}

static void s_await_effects(struct test_world *world, long wanted)
{
    test_world_until(world, s_effects_reach, &wanted);
}

static void s_await_end(struct test_world *world)
{
    struct test_follow_end end = { world, s_consumer_pg };
    test_world_until(world, test_follow_at_end, &end);
}

static void s_run(void (*body)(struct test_world *world))
{
    test_world_run(s_producer_pg, 2, body, NULL);
}

static int s_empty(void **state)
{
    (void)state;
    free(test_pg_sql(s_producer_pg, "TRUNCATE probe.outbox"));
    free(test_pg_sql(s_consumer_pg,
                     "TRUNCATE probe.audit, probe.inbox_position, "
                     "probe.dead_letter, probe.lease, probe.replica"));
    memset(&s_effects, 0, sizeof(s_effects));
    return 0;
}

/* ---- tests ---- */

/* Events of four aggregates in turn, each of them numbered from one. */
static void
s_emit_in_turn(struct test_world *world, uint32_t from, uint32_t count)
{
    static struct cn_uuid ids[AGGREGATES];
    for (uint32_t i = from; i < from + count; i++) {
        if (i < AGGREGATES) {
            ids[i] = cn_uuid_new(&world->env);
        }
        s_emit(world, "thing.changed", ids[i % AGGREGATES], i / AGGREGATES + 1,
               i);
    }
}

static void s_follow(struct test_world *world)
{
    struct test_producer producer;
    struct test_replica replica;
    uint32_t last[AGGREGATES] = { 0 };
    test_producer_open(&producer, world, 1);
    s_emit_in_turn(world, 0, EVENTS / 2);
    test_replica_open(&replica, &producer, s_consumer_pg, &s_consumer);
    s_await_effects(world, EVENTS / 2);
    s_emit_in_turn(world, EVENTS / 2, EVENTS / 2);
    s_await_effects(world, EVENTS);
    for (uint32_t i = 0; i < EVENTS; i++) {
        uint32_t number = s_effects.order[i];
        assert_int_equal(s_effects.calls[number], 1);
        assert_int_equal(last[number % AGGREGATES], number / AGGREGATES);
        last[number % AGGREGATES]++;
    }
    s_await_end(world);
    assert_int_equal(s_number("SELECT sum(attempts) FROM probe.inbox_position"),
                     0);
    test_follow_close(&producer, &replica, 1);
}

static void an_aggregates_events_have_their_effects_in_its_order(void **state)
{
    (void)state;
    s_run(s_follow);
}

static void s_two_replicas(struct test_world *world)
{
    struct test_producer producer;
    struct test_replica replicas[2];
    test_producer_open(&producer, world, 1);
    s_emit_each(world, 0, EVENTS);
    test_replica_open(&replicas[0], &producer, s_consumer_pg, &s_consumer);
    test_replica_open(&replicas[1], &producer, s_consumer_pg, &s_consumer);
    s_emit_each(world, EVENTS, EVENTS);
    s_await_effects(world, 2L * EVENTS);
    s_await_end(world);
    test_follow_close(&producer, replicas, 2);
}

static void two_replicas_have_each_effect_once(void **state)
{
    (void)state;
    s_run(s_two_replicas);
    assert_int_equal(s_effect_count(), 2L * EVENTS);
    assert_int_equal(s_number("SELECT count(*) FROM probe.dead_letter"), 0);
}

static void s_stop_midway(struct test_world *world)
{
    struct test_producer producer;
    struct test_replica replica;
    test_producer_open(&producer, world, 1);
    s_emit_each(world, 0, 4 * EVENTS);
    test_replica_open(&replica, &producer, s_consumer_pg, &s_consumer);
    s_await_effects(world, 1);
    test_follow_close(&producer, &replica, 1);
}

static void s_go_on(struct test_world *world)
{
    struct test_producer producer;
    struct test_replica replica;
    test_producer_open(&producer, world, 1);
    test_replica_open(&replica, &producer, s_consumer_pg, &s_consumer);
    s_await_effects(world, 4L * EVENTS);
    test_follow_close(&producer, &replica, 1);
}

static void a_consumer_that_stops_goes_on_where_it_was(void **state)
{
    (void)state;
    s_run(s_stop_midway);
    assert_in_range(s_effect_count(), 1, 4L * EVENTS - 1);
    s_run(s_go_on);
    assert_int_equal(s_effect_count(), 4L * EVENTS);
}

static void s_poison(struct test_world *world)
{
    struct test_producer producer;
    struct test_replica replica;
    struct cn_uuid bad = cn_uuid_new(&world->env);
    test_producer_open(&producer, world, 1);
    s_emit_each(world, 0, 3);
    s_emit(world, "thing.changed", bad, 1, POISON + 10);
    s_emit_each(world, 20, 3);
    s_emit(world, "thing.changed", bad, 2, 11);
    s_emit_each(world, 30, 3);
    test_replica_open(&replica, &producer, s_consumer_pg, &s_consumer);
    s_await_effects(world, 9);
    s_await_end(world);
    assert_int_equal(s_effects.calls[10], CN_EVENT_ATTEMPTS_MAX);
    assert_int_equal(s_effects.calls[11], 0);
    /* Later events of the same aggregate are put aside too. */
    s_emit(world, "thing.changed", bad, 3, 12);
    s_await_end(world);
    assert_int_equal(s_effects.calls[12], 0);
    test_follow_close(&producer, &replica, 1);
}

static void a_failing_event_is_put_aside_and_blocks_its_aggregate(void **state)
{
    (void)state;
    s_run(s_poison);
    assert_int_equal(s_effect_count(), 9);
    char *letters = test_pg_sql(s_consumer_pg,
                                "SELECT producer, type, aggregate_seq, error "
                                "FROM probe.dead_letter ORDER BY seq");
    assert_string_equal(letters, "producer|thing.changed|1|invalid: invalid\n"
                                 "producer|thing.changed|2|blocked: aggregate\n"
                                 "producer|thing.changed|3|blocked: aggregate");
    free(letters);
}

static void s_killed(struct test_world *world)
{
    struct test_producer producer;
    struct test_replica replica;
    test_producer_open(&producer, world, 1);
    struct cn_uuid id = cn_uuid_new(&world->env);
    s_emit(world, "thing.changed", id, 1, 0);
    s_emit_each(world, 1, 2 * EVENTS);
    /* Like five processes that died while they applied the first event. */
    char *partition = test_pg_sql(
        world->pg, "SELECT partition FROM probe.outbox ORDER BY seq LIMIT 1");
    char sql[TEST_TEXT_MAX];
    (void)snprintf(sql, sizeof(sql),
                   "INSERT INTO probe.inbox_position VALUES "
                   "('producer', %s, 0, '0', 0, 5)",
                   partition);
    free(partition);
    free(test_pg_sql(s_consumer_pg, sql));
    test_replica_open(&replica, &producer, s_consumer_pg, &s_consumer);
    s_await_effects(world, 2L * EVENTS);
    assert_int_equal(s_effects.calls[0], 0);
    test_follow_close(&producer, &replica, 1);
}

static void an_event_that_killed_the_process_is_put_aside(void **state)
{
    (void)state;
    s_run(s_killed);
    assert_int_equal(s_number("SELECT count(*) FROM probe.dead_letter "
                              "WHERE error LIKE 'killed%'"),
                     1);
}

static void s_skips(struct test_world *world)
{
    struct test_producer producer;
    struct test_replica replica;
    test_producer_open(&producer, world, 1);
    for (uint32_t i = 0; i < EVENTS; i++) {
        struct cn_uuid id = cn_uuid_new(&world->env);
        s_emit(world, i % 2 == 0 ? "thing.new_kind" : "thing.changed", id, 1,
               WITHOUT_EFFECT + i);
    }
    test_replica_open(&replica, &producer, s_consumer_pg, &s_consumer);
    s_await_end(world);
    assert_int_equal(s_effects.count, EVENTS / 2);
    test_follow_close(&producer, &replica, 1);
}

static void what_has_no_handler_or_no_effect_is_passed(void **state)
{
    (void)state;
    s_run(s_skips);
    assert_int_equal(s_effect_count(), 0);
    assert_int_equal(s_number("SELECT count(*) FROM probe.dead_letter"), 0);
}

static void s_passing(struct test_world *world)
{
    struct test_producer producer;
    struct test_replica replica;
    test_producer_open(&producer, world, 1);
    s_emit_each(world, STALE_TWICE + 1, 1);
    s_emit_each(world, WITHOUT_EFFECT + 2, 1);
    s_emit_each(world, AWAY + 3, 1);
    s_emit_each(world, 4, 1);
    test_replica_open(&replica, &producer, s_consumer_pg, &s_consumer);
    s_await_effects(world, 3);
    assert_int_equal(s_effects.calls[1], 3);
    assert_int_equal(s_effects.calls[3], AWAY_TIMES + 1);
    test_follow_close(&producer, &replica, 1);
}

static void failures_that_pass_are_no_attempts(void **state)
{
    (void)state;
    s_run(s_passing);
    assert_int_equal(s_effect_count(), 3);
    assert_int_equal(s_number("SELECT count(*) FROM probe.dead_letter"), 0);
}

static void s_cuts(struct test_world *world)
{
    struct test_producer producer;
    struct test_replica replica;
    test_producer_open(&producer, world, 1);
    s_emit_each(world, 0, 4 * EVENTS);
    test_replica_open(&replica, &producer, s_consumer_pg, &s_consumer);
    for (long wanted = 1; wanted < 4L * EVENTS; wanted += EVENTS) {
        s_await_effects(world, wanted);
        free(test_pg_sql(s_consumer_pg,
                         "SELECT pg_terminate_backend(pid) FROM "
                         "pg_stat_activity WHERE usename = 'probe_relay' "
                         "AND datname = current_database()"));
    }
    s_await_effects(world, 4L * EVENTS);
    s_await_end(world);
    test_follow_close(&producer, &replica, 1);
}

static void lost_connections_lose_and_repeat_no_effect(void **state)
{
    (void)state;
    s_run(s_cuts);
    assert_int_equal(s_effect_count(), 4L * EVENTS);
    assert_int_equal(s_number("SELECT count(*) FROM probe.dead_letter"), 0);
}

static int s_setup(void **state)
{
    (void)state;
    s_producer_pg = test_pg_new("probe", "tests/store/probe");
    s_consumer_pg = test_pg_new("probe", "tests/store/probe");
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_aggregates_events_have_their_effects_in_its_order),
        TEST(two_replicas_have_each_effect_once),
        TEST(a_consumer_that_stops_goes_on_where_it_was),
        TEST(a_failing_event_is_put_aside_and_blocks_its_aggregate),
        TEST(an_event_that_killed_the_process_is_put_aside),
        TEST(what_has_no_handler_or_no_effect_is_passed),
        TEST(failures_that_pass_are_no_attempts),
        TEST(lost_connections_lose_and_repeat_no_effect),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
