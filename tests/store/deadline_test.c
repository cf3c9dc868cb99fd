/* SPDX-License-Identifier: Apache-2.0 */
/* Deadlines as rows. They are written in the unit of the change that concerns
 * them. Each is warned of and breached once, by any number of replicas, on a
 * clock that the test sets. */
#include "common/base/array.h"
#include "common/deadlines/deadline_rule.h"
#include "common/deadlines/deadline_unit.h"
#include "common/deadlines/deadline_watch.h"
#include "common/inbox/consumer.h"
#include "common/loop/fiber.h"
#include "tests/lib/pg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the four above it. */
#include <cmocka.h>

enum { DEADLINES = 25, CONNECTIONS = 3, SQL_MAX = 600 };
static const char VALID_AT[] = "2026-06-01T15:00:00Z";
static const char ZONE[] = "America/New_York";

static const char RULES[] =
    "INSERT INTO probe.clock_rule (id, effective_from, name, trigger, starts,"
    " amount, unit, warn_minutes, told_by, citation) VALUES"
    " ('C01', '2000-01-01', 'Visit', 'x.y', '{valid}', 48, 'elapsed_hours',"
    " '{1440,240}', NULL, 'cited'),"
    " ('C01s', '2000-01-01', 'Visit', 'x.y', '{valid}', 48, 'elapsed_hours',"
    " '{}', 'scheduling', 'cited');";

static struct test_pg *s_pg;
static int64_t s_clock;

static int64_t s_at(const char *text)
{
    int64_t at = 0;
    assert_true(cn_time_parse(text, &at));
    return at;
}

static int64_t s_now(struct cn_env *env)
{
    (void)env;
    return s_clock;
}

/* An operation of the test's own. */
static struct cn_op s_op(struct test_world *world, struct cn_err *err)
{
    return (struct cn_op){ .env = &world->env,
                           .arena = world->arena,
                           .tenant_id = world->tenant,
                           .now_at = s_clock,
                           .err = err };
}

/* ---- writing and reading ---- */

static void s_begin(struct test_world *world)
{
    world->env.now = s_now;
    s_clock = s_at(VALID_AT);
}

static struct cn_clock
s_apply(struct test_world *world, const char *id, int64_t valid_at)
{
    const struct cn_clock_case of = { .at = valid_at };
    const struct cn_clock_fact start = { "valid", true, valid_at };
    const struct cn_clock_facts facts = { .starts = &start,
                                          .start_count = 1,
                                          .zone = ZONE };
    struct cn_clock clock;
    struct cn_err err = { 0 };
    struct cn_op op = s_op(world, &err);
    const struct cn_clock_rule *rule = cn_clock_rule_of(&op, id, &of);
    assert_false(cn_failed(&op));
    assert_true(cn_clock_apply(rule, &facts, &clock));
    return clock;
}

static enum cn_code s_commit(struct test_world *world,
                             struct cn_deadline *deadline)
{
    struct cn_err err = { 0 };
    struct cn_op op = s_op(world, &err);
    cn_deadline_put(&op, deadline);
    cn_commit(&op);
    return err.code;
}

/* A clock that starts now, of a subject of its own. */
static struct cn_uuid s_start(struct test_world *world, const char *rule)
{
    struct cn_deadline deadline = { 0 };
    struct cn_clock clock = s_apply(world, rule, s_clock);
    struct cn_err err = { 0 };
    struct cn_deadline_subject subject = {
        .type = "thing",
        .id = cn_uuid_new(&world->env),
        .branch_id = world->tenant,
        .branch_text = cn_id_text(world->arena, "brn", world->tenant),
        .patient_id = cn_uuid_new(&world->env),
        .patient_text = "pat_1",
    };
    subject.text = cn_id_text(world->arena, "thg", subject.id);
    assert_int_equal(cn_deadline_run(&deadline, world->arena, &subject, &clock,
                                     cn_uuid_new(&world->env), s_clock, &err),
                     CN_OK);
    assert_int_equal(s_commit(world, &deadline), CN_OK);
    return subject.id;
}

static struct cn_deadline
s_load(struct test_world *world, struct cn_uuid subject, const char *rule)
{
    struct cn_err err = { 0 };
    struct cn_op op = s_op(world, &err);
    struct cn_deadline deadline = cn_deadline_find(&op, "thing", subject, rule);
    assert_false(cn_failed(&op));
    return deadline;
}

static long s_count(struct test_world *world, const char *what)
{
    char tenant[CN_UUID_TEXT_SIZE];
    char sql[SQL_MAX];
    cn_uuid_format(world->tenant, tenant);
    (void)snprintf(sql, sizeof(sql),
                   "SELECT count(*) FROM probe.%s AND tenant_id = '%s'", what,
                   tenant);
    return test_pg_number(s_pg, sql);
}

/* ---- rules ---- */

static void s_rules(struct test_world *world)
{
    char sql[SQL_MAX];
    char tenant[CN_UUID_TEXT_SIZE];
    struct cn_clock_case of = { .at = s_at(VALID_AT) };
    struct cn_err err = { 0 };
    struct cn_op op = s_op(world, &err);
    s_begin(world);
    cn_uuid_format(world->tenant, tenant);
    assert_int_equal(s_apply(world, "C01", s_clock).due_at,
                     s_clock + 48 * CN_HOUR);
    (void)snprintf(
        sql, sizeof(sql),
        "INSERT INTO probe.clock_rule (tenant_id, id, effective_from,"
        " effective_to, name, trigger, starts, amount, unit, warn_minutes,"
        " citation, payers) VALUES"
        " ('%s', 'C01', '2026-05-01', '2026-06-30', 'Visit', 'x.y', '{valid}',"
        " 24, 'elapsed_hours', '{60}', 'own', '{}'),"
        " (DEFAULT, 'C99', '2000-01-01', NULL, 'Other', 'x.y', '{valid}', 1,"
        " 'calendar_days', '{}', 'cited', '{medicare}');"
        "INSERT INTO probe.clock_holiday (day, name) VALUES ('2026-11-26',"
        " 'Thanksgiving') ON CONFLICT DO NOTHING;",
        tenant);
    free(test_pg_sql(s_pg, sql));
    /* What is in memory is used until it is a minute old. */
    assert_int_equal(s_apply(world, "C01", s_clock).due_at,
                     s_clock + 48 * CN_HOUR);
    s_clock += CN_CLOCK_RULES_KEEP_US;
    assert_int_equal(s_apply(world, "C01", s_clock).due_at,
                     s_clock + 24 * CN_HOUR);
    /* Outside its days the agency's own row is not used. */
    assert_int_equal(s_apply(world, "C01", s_at("2026-07-01T00:00:00Z")).due_at,
                     s_at("2026-07-03T00:00:00Z"));
    (void)cn_clock_rule_of(&op, "C99", &of);
    assert_int_equal(err.code, CN_INTERNAL);
    cn_forgive(&op);
    of.payer = "commercial";
    (void)cn_clock_rule_of(&op, "C99", &of);
    assert_int_equal(err.code, CN_INTERNAL);
    cn_forgive(&op);
    of.payer = "medicare";
    (void)cn_clock_rule_of(&op, "C99", &of);
    size_t count = 0;
    const struct cn_date *days = cn_clock_holidays(&op, &count);
    assert_false(cn_failed(&op));
    assert_int_equal(count, 1);
    assert_int_equal(days[0].day, 26);
    /* Another agency still has the common rule. */
    op.tenant_id = cn_uuid_new(&world->env);
    assert_int_equal(cn_clock_rule_of(&op, "C01", &of)->amount, 48);
}

/* ---- the ticker ---- */

static struct cn_service s_service;
static const struct cn_due_handler DUE[] = { CN_DEADLINE_DUE };

struct counted {
    struct test_world *world;
    const char *type;
    long wanted;
};

static bool s_told(void *arg)
{
    const struct counted *counted = arg;
    char what[SQL_MAX];
    (void)snprintf(what, sizeof(what), "outbox WHERE type = '%s'",
                   counted->type);
    return s_count(counted->world, what) >= counted->wanted;
}

static void s_await(struct test_world *world, const char *type, long wanted)
{
    struct counted counted = { world, type, wanted };
    test_world_until(world, s_told, &counted);
    /* Two more looks of each ticker add no event. */
    assert_int_equal(cn_fiber_sleep(2 * CN_DUE_POLL_US), CN_OK);
    char what[SQL_MAX];
    (void)snprintf(what, sizeof(what), "outbox WHERE type = '%s'", type);
    assert_int_equal(s_count(world, what), wanted);
}

static void s_close(struct test_world *world)
{
    cn_loop_stop(world->env.loop);
    while (cn_fiber_count(world->env.loop) > 1) {
        assert_int_equal(cn_fiber_sleep(1000), CN_OK);
    }
}

/* Two replicas: each its env, its connections and its ticker. */
static void s_two_replicas(struct test_world *world)
{
    struct cn_env other = world->env;
    struct cn_err err = { 0 };
    s_begin(world);
    other.now = s_now;
    other.db = cn_db_new(&other, &world->config);
    assert_non_null(other.db);
    assert_int_equal(cn_db_start(other.db, &err), CN_OK);
    for (int i = 0; i < DEADLINES; i++) {
        (void)s_start(world, "C01");
    }
    assert_int_equal(cn_due_start(&world->env, &s_service, &err), CN_OK);
    assert_int_equal(cn_due_start(&other, &s_service, &err), CN_OK);
    s_await(world, "deadline.started", DEADLINES);
    assert_int_equal(s_count(world, "outbox WHERE type <> 'deadline.started'"),
                     0);
    s_clock = s_at("2026-06-02T15:00:00Z");
    s_await(world, "deadline.warning", DEADLINES);
    assert_int_equal(s_count(world, "deadline WHERE state = 'warned'"),
                     DEADLINES);
    s_clock = s_at("2026-06-03T11:00:00Z");
    s_await(world, "deadline.warning", 2 * DEADLINES);
    s_clock = s_at("2026-06-03T15:00:00Z") + 1;
    s_await(world, "deadline.breached", DEADLINES);
    assert_int_equal(s_count(world, "deadline WHERE state = 'breached'"),
                     DEADLINES);
    assert_int_equal(s_count(world, "due WHERE true"), 0);
    assert_int_equal(s_count(world, "audit WHERE action = 'deadline.breached'"),
                     DEADLINES);
    s_close(world);
    cn_db_free(other.db);
}

struct fire {
    struct test_world *world;
    struct cn_due due;
    enum cn_code rc;
};

static void s_fire(void *arg)
{
    struct fire *fire = arg;
    struct cn_err err = { 0 };
    fire->rc = CN_STALE;
    for (int i = 0; i < CN_STALE_AGAIN_MAX && fire->rc == CN_STALE; i++) {
        cn_err_clear(&err);
        fire->due.now_at = s_clock;
        fire->rc = cn_due_handle(&s_service, &DUE[0], &fire->due, &err);
    }
    test_world_ended(fire->world);
}

/* Like a slow replica whose claim lapsed while it was still at work. */
static void s_same_row(struct test_world *world)
{
    enum { REPLICAS = 4 };
    struct fire fires[REPLICAS];
    s_begin(world);
    struct cn_uuid subject = s_start(world, "C01");
    struct cn_deadline deadline = s_load(world, subject, "C01");
    s_clock = s_at("2026-06-02T15:00:00Z");
    for (int i = 0; i < REPLICAS; i++) {
        fires[i] = (struct fire){
            .world = world,
            .due = { .env = &world->env,
                     .tenant_id = world->tenant,
                     .kind = CN_DEADLINE_KIND,
                     .id = deadline.id,
                     .fire_at = s_clock,
                     .arena = cn_arena_new(CN_ARENA_REQUEST_MAX) },
        };
        test_world_spawn(world, s_fire, &fires[i], 10 * CN_SECOND);
    }
    test_world_join(world);
    for (int i = 0; i < REPLICAS; i++) {
        assert_int_equal(fires[i].rc, CN_OK);
        cn_arena_free(fires[i].due.arena);
    }
    assert_int_equal(s_count(world, "outbox WHERE type = 'deadline.warning'"),
                     1);
    deadline = s_load(world, subject, "C01");
    assert_int_equal(deadline.version, 2);
    assert_int_equal(deadline.event_seq, 2);
}

static void s_moved_while_it_ticks(struct test_world *world)
{
    s_begin(world);
    struct cn_uuid subject = s_start(world, "C01");
    struct cn_deadline stale = s_load(world, subject, "C01");
    struct cn_deadline deadline = s_load(world, subject, "C01");
    cn_deadline_stop(&deadline, s_clock);
    assert_int_equal(s_commit(world, &deadline), CN_OK);
    assert_int_equal(s_count(world, "due WHERE true"), 0);
    cn_deadline_pass(&stale, true, s_clock + 72 * CN_HOUR);
    assert_int_equal(s_commit(world, &stale), CN_STALE);
    assert_int_equal(s_load(world, subject, "C01").body->state,
                     DLN__DEADLINE__STATE__CANCELLED);
}

/* ---- the metric ---- */

static int64_t
s_counted(struct test_world *world, const char *rule, const char *state)
{
    struct cn_deadline_count counts[CN_DEADLINE_COUNTS_MAX];
    struct cn_err err = { 0 };
    size_t count = 0;
    int64_t found = -1;
    assert_int_equal(cn_deadline_count(&world->env, counts, &count, &err),
                     CN_OK);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(counts[i].rule, rule) == 0 &&
            strcmp(counts[i].state, state) == 0) {
            assert_int_equal(found, -1);
            found = counts[i].count;
        }
    }
    return found;
}

static void s_counts(struct test_world *world)
{
    s_begin(world);
    struct cn_uuid met = s_start(world, "C01");
    struct cn_uuid late = s_start(world, "C01");
    (void)s_start(world, "C01s");
    struct cn_deadline deadline = s_load(world, met, "C01");
    cn_deadline_act(&deadline, s_clock, NULL, s_clock);
    assert_int_equal(s_commit(world, &deadline), CN_OK);
    deadline = s_load(world, late, "C01");
    cn_deadline_pass(&deadline, true, s_clock + 72 * CN_HOUR);
    assert_int_equal(s_commit(world, &deadline), CN_OK);
    world->tenant = cn_uuid_new(&world->env);
    (void)s_start(world, "C01");
    (void)s_start(world, "C01s");
    assert_int_equal(s_counted(world, "C01", "open"), 1);
    assert_int_equal(s_counted(world, "C01", "breached"), 1);
    assert_int_equal(s_counted(world, "C01", "warned"), 0);
    assert_int_equal(s_counted(world, "C01s", "open"), 2);
    assert_int_equal(s_counted(world, "C01s", "breach_suspected"), 0);
    assert_int_equal(s_counted(world, "C01", "met"), -1);
}

/* ---- told by another service ---- */

static bool s_is_suspected(void *arg)
{
    return s_count(arg, "deadline WHERE state = 'breach_suspected'") == 1;
}

static void s_positions(const char *complete_until, int partitions)
{
    char sql[SQL_MAX];
    (void)snprintf(
        sql, sizeof(sql),
        "INSERT INTO probe.inbox_position (producer, partition,"
        " epoch, xid, seq, complete_until) SELECT 'scheduling', p, 1,"
        " '9', 9, %s FROM generate_series(0, %d) p"
        " ON CONFLICT (producer, partition) DO UPDATE"
        " SET complete_until = excluded.complete_until",
        complete_until, partitions - 1);
    free(test_pg_sql(s_pg, sql));
}

static void s_suspected(struct test_world *world)
{
    struct cn_err err = { 0 };
    int64_t until = 1;
    s_begin(world);
    assert_int_equal(
        cn_consumer_complete_until(&world->env, "scheduling", &until, &err),
        CN_OK);
    assert_int_equal(until, 0);
    struct cn_uuid subject = s_start(world, "C01s");
    assert_int_equal(cn_due_start(&world->env, &s_service, &err), CN_OK);
    s_clock = s_at("2026-06-03T15:00:01Z");
    test_world_until(world, s_is_suspected, world);
    /* While one partition is behind the instant nothing is decided. */
    s_positions("'2026-06-03T15:00:09Z'", CN_PARTITIONS);
    free(test_pg_sql(s_pg, "UPDATE probe.inbox_position SET complete_until ="
                           " '2026-06-03T14:59:59Z' WHERE partition = 7"));
    s_clock += 10 * CN_SECOND;
    assert_int_equal(cn_fiber_sleep(3 * CN_DUE_POLL_US), CN_OK);
    assert_true(s_is_suspected(world));
    assert_int_equal(s_count(world, "outbox WHERE type <> 'deadline.started'"),
                     0);
    s_positions("'2026-06-03T15:00:01Z'", CN_PARTITIONS);
    s_clock += 10 * CN_SECOND;
    s_await(world, "deadline.breached", 1);
    assert_string_equal(s_load(world, subject, "C01s").body->breach_reason,
                        "not_met");
    s_close(world);
}

/* ---- the program ---- */

#define TEST(name, body)                                                       \
    static void name(void **state)                                             \
    {                                                                          \
        (void)state;                                                           \
        free(test_pg_sql(s_pg, "TRUNCATE probe.deadline, probe.due,"           \
                               " probe.inbox_position"));                      \
        test_world_run(s_pg, CONNECTIONS, body, NULL);                         \
    }
TEST(a_rule_is_a_row_and_an_agencys_own_comes_first, s_rules)
TEST(two_replicas_warn_and_breach_once_each, s_two_replicas)
TEST(replicas_at_the_same_row_have_one_effect, s_same_row)
TEST(who_looked_before_a_change_does_nothing_after_it, s_moved_while_it_ticks)
TEST(a_breach_waits_for_what_may_still_be_told, s_suspected)
TEST(clocks_of_all_agencies_are_counted_by_rule_and_state, s_counts)

static int s_setup(void **state)
{
    (void)state;
    s_pg = test_pg_new("probe", "tests/store/probe");
    free(test_pg_sql(s_pg, RULES));
    s_service = (struct cn_service){ .name = "probe",
                                     .due_handlers = DUE,
                                     .due_handler_count = 1 };
    return 0;
}

static int s_teardown(void **state)
{
    (void)state;
    test_pg_free(s_pg);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rule_is_a_row_and_an_agencys_own_comes_first),
        cmocka_unit_test(two_replicas_warn_and_breach_once_each),
        cmocka_unit_test(replicas_at_the_same_row_have_one_effect),
        cmocka_unit_test(who_looked_before_a_change_does_nothing_after_it),
        cmocka_unit_test(a_breach_waits_for_what_may_still_be_told),
        cmocka_unit_test(clocks_of_all_agencies_are_counted_by_rule_and_state),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
