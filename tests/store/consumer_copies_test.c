/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of many events in one unit, of several tenants. A unit is split when
 * one event fails. Replicas share the work while their leases move. */
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
    EVENTS = 200,
    TENANTS = 3,
    MOVES = 12,
    /* What a payload asks the handler to do, beside its number. */
    REFUSED = 1 << 20,  /* by the handler */
    FORBIDDEN = 1 << 21 /* by a constraint */
};

static struct test_pg *s_producer_pg;
static struct test_pg *s_consumer_pg;

/* ---- the consumer ---- */

/* thing.version counts how often it was copied; its name must not be empty. */
CN_SQL_WRITE(SQL_TEST_COPY,
             "INSERT INTO {{schema}}.thing AS t (tenant_id, id, version, "
             "event_seq, name) VALUES ($1, $2, 1, $3, $4) "
             "ON CONFLICT (tenant_id, id) DO UPDATE SET version = t.version + "
             "1, event_seq = excluded.event_seq, name = excluded.name "
             "WHERE t.event_seq < excluded.event_seq");

static void s_copied(struct cn_op *op, const struct cn_event *event)
{
    const Evt__FetchRequest *payload = event->payload;
    char *name = cn_arena_alloc(op->arena, CN_UUID_TEXT_SIZE);
    cn_uuid_format(event->aggregate_id, name);
    if ((payload->limit & REFUSED) != 0) {
        cn_refuse(op, CN_INVALID, NULL, "this event is not to be had");
    }
    CN_CHANGE(op, &SQL_TEST_COPY, cn_uuid(event->tenant_id),
              cn_uuid(event->aggregate_id), cn_int(event->aggregate_seq),
              cn_text((payload->limit & FORBIDDEN) != 0 ? "" : name));
}

static void s_changed(struct cn_op *op, const struct cn_event *event)
{
    cn_audit(op, "effect", event->type, event->aggregate_id);
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

/* ---- helpers ---- */

static long s_number(const char *sql)
{
    return test_pg_number(s_consumer_pg, sql);
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

/* Follows the log as it is to its end with one replica. */
static void s_follow(struct test_world *world, int epoch)
{
    struct test_producer producer;
    struct test_replica replica;
    test_producer_open(&producer, world, epoch);
    test_replica_open(&replica, &producer, s_consumer_pg, &CONSUMER);
    s_await_end(world);
    test_follow_close(&producer, &replica, 1);
}

static int s_empty(void **state)
{
    (void)state;
    free(test_pg_sql(s_producer_pg, "TRUNCATE probe.outbox"));
    free(test_pg_sql(s_consumer_pg,
                     "TRUNCATE probe.thing, probe.audit, probe.inbox_position, "
                     "probe.dead_letter, probe.lease, probe.replica"));
    return 0;
}

/* ---- tests ---- */

static void s_of_tenants(struct test_world *world)
{
    struct cn_uuid tenants[TENANTS];
    for (size_t i = 0; i < TENANTS; i++) {
        tenants[i] = cn_uuid_new(&world->env);
    }
    for (uint32_t i = 0; i < EVENTS; i++) {
        struct cn_uuid id = cn_uuid_new(&world->env);
        test_emit(world, tenants[i % TENANTS], "thing.copied", id, 1, i);
        test_emit(world, tenants[i % TENANTS], "thing.copied", id, 2, i);
    }
    s_follow(world, 1);
}

static void copies_of_many_tenants_are_few_units(void **state)
{
    (void)state;
    s_run(s_of_tenants);
    assert_int_equal(s_number("SELECT count(*) FROM probe.thing "
                              "WHERE version = 2 AND event_seq = 2"),
                     EVENTS);
    assert_int_equal(
        s_number("SELECT count(DISTINCT tenant_id) FROM probe.thing"), TENANTS);
    /* Each unit has one transaction id; one unit for each event would make
     * 400. */
    assert_in_range(s_number("SELECT count(DISTINCT xmin::text) FROM "
                             "probe.thing"),
                    1, EVENTS / 4);
}

static void s_with_poison(struct test_world *world)
{
    struct cn_uuid refused = cn_uuid_new(&world->env);
    struct cn_uuid forbidden = cn_uuid_new(&world->env);
    struct cn_uuid tenant = world->tenant;
    test_emit_each(world, "thing.copied", 0, EVENTS / 2);
    test_emit(world, tenant, "thing.copied", refused, 1, REFUSED);
    test_emit(world, tenant, "thing.copied", forbidden, 1, FORBIDDEN);
    test_emit(world, tenant, "thing.copied", forbidden, 2, 0);
    test_emit_each(world, "thing.copied", 0, EVENTS / 2);
    s_follow(world, 1);
}

static void a_batch_that_fails_is_taken_apart(void **state)
{
    (void)state;
    s_run(s_with_poison);
    assert_int_equal(
        s_number("SELECT count(*) FROM probe.thing WHERE version = 1"), EVENTS);
    char *letters =
        test_pg_sql(s_consumer_pg, "SELECT error FROM probe.dead_letter "
                                   "ORDER BY seq");
    assert_string_equal(letters, "invalid: invalid\n"
                                 "conflict: thing_name_filled\n"
                                 "blocked: aggregate");
    free(letters);
}

static void s_mixed(struct test_world *world)
{
    struct cn_uuid id = cn_uuid_new(&world->env);
    for (uint32_t i = 0; i < EVENTS; i++) {
        /* One, a few and many copies in a row between the effects. */
        bool copy = i % 7 != 0 && i % 50 != 1;
        test_emit(world, world->tenant, copy ? "thing.copied" : "thing.changed",
                  id, i + 1, i);
    }
    s_follow(world, 1);
}

static void copies_and_effects_of_an_aggregate_keep_their_order(void **state)
{
    long effects = 0;
    (void)state;
    for (uint32_t i = 0; i < EVENTS; i++) {
        effects += i % 7 == 0 || i % 50 == 1;
    }
    s_run(s_mixed);
    assert_int_equal(s_number("SELECT count(*) FROM probe.audit"), effects);
    /* A copy that came late would have been left out. */
    assert_int_equal(s_number("SELECT version FROM probe.thing"),
                     EVENTS - effects);
}

/* The leases of all partitions move from one replica to the other and back
 * while both work. For a while both replicas believe that they hold them. */
static void s_moving(struct test_world *world)
{
    struct test_producer producer;
    struct test_replica replicas[2];
    test_producer_open(&producer, world, 1);
    test_replica_open(&replicas[0], &producer, s_consumer_pg, &CONSUMER);
    test_replica_open(&replicas[1], &producer, s_consumer_pg, &CONSUMER);
    for (uint32_t i = 0; i < MOVES; i++) {
        test_emit_each(world, i % 2 == 0 ? "thing.copied" : "thing.changed", 0,
                       EVENTS / 4);
        free(test_pg_sql(
            s_consumer_pg,
            "UPDATE probe.lease SET holder = (SELECT id FROM probe.replica "
            "ORDER BY id OFFSET floor(random() * 2) LIMIT 1)"));
    }
    s_await_end(world);
    test_follow_close(&producer, replicas, 2);
}

static void two_holders_of_a_partition_have_each_effect_once(void **state)
{
    (void)state;
    s_run(s_moving);
    assert_int_equal(s_number("SELECT count(*) FROM probe.thing"),
                     MOVES / 2 * (EVENTS / 4));
    assert_int_equal(s_number("SELECT sum(version) FROM probe.thing"),
                     MOVES / 2 * (EVENTS / 4));
    assert_int_equal(s_number("SELECT count(*) FROM probe.audit"),
                     MOVES / 2 * (EVENTS / 4));
    assert_int_equal(s_number("SELECT count(*) FROM probe.dead_letter"), 0);
    assert_int_equal(
        s_number(
            "SELECT count(*) FROM probe.inbox_position WHERE attempts > 0"),
        0);
}

/* As after a restore into a new cluster: transaction ids begin again far below
 * the positions, and the epoch is raised. */
static void s_restored(struct test_world *world)
{
    test_emit_each(world, "thing.copied", 0, EVENTS);
    free(test_pg_sql(s_producer_pg, "UPDATE probe.outbox SET epoch = 2"));
    free(test_pg_sql(s_consumer_pg,
                     "INSERT INTO probe.inbox_position SELECT 'producer', n, 1,"
                     " '900000000000', 7 FROM generate_series(0, 15) n"));
    s_follow(world, 2);
}

static void a_position_goes_on_into_a_higher_epoch(void **state)
{
    (void)state;
    s_run(s_restored);
    assert_int_equal(s_number("SELECT count(*) FROM probe.thing"), EVENTS);
}

static bool s_complete(void *arg)
{
    struct test_replica *replica = arg;
    struct cn_err err = { 0 };
    int64_t until = 0;
    return cn_consumer_complete_until(&replica->env, "producer", &until,
                                      &err) == CN_OK &&
           until > 0;
}

static void s_known(struct test_world *world)
{
    struct test_producer producer;
    struct test_replica replica;
    struct cn_err err = { 0 };
    int64_t until = 0;
    int64_t begin = world->env.now(&world->env);
    test_producer_open(&producer, world, 1);
    test_emit_each(world, "thing.copied", 0, EVENTS);
    test_replica_open(&replica, &producer, s_consumer_pg, &CONSUMER);
    assert_int_equal(
        cn_consumer_complete_until(&replica.env, "producer", &until, &err),
        CN_OK);
    assert_int_equal(until, 0);
    test_world_until(world, s_complete, &replica);
    assert_int_equal(
        cn_consumer_complete_until(&replica.env, "producer", &until, &err),
        CN_OK);
    assert_true(until > begin - 60 * CN_SECOND);
    assert_true(until < world->env.now(&world->env));
    assert_int_equal(s_number("SELECT count(*) FROM probe.thing"), EVENTS);
    test_follow_close(&producer, &replica, 1);
}

static void how_far_all_is_applied_is_known(void **state)
{
    (void)state;
    s_run(s_known);
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
        TEST(copies_of_many_tenants_are_few_units),
        TEST(a_batch_that_fails_is_taken_apart),
        TEST(copies_and_effects_of_an_aggregate_keep_their_order),
        TEST(two_holders_of_a_partition_have_each_effect_once),
        TEST(a_position_goes_on_into_a_higher_epoch),
        TEST(how_far_all_is_applied_is_known),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
