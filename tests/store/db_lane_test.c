/* SPDX-License-Identifier: Apache-2.0 */
/* Lanes do not wait for each other, and the server knows how long a statement
 * may take. */
#include "common/base/clock.h"
#include "common/db/db.h"
#include "common/loop/fiber.h"
#include "tests/lib/pg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { HELD = 4711 }; /* key of the lock that tests wait on */

#define TIMEOUTS                                                               \
    "SELECT current_setting('statement_timeout'),"                             \
    " current_setting('lock_timeout')"
CN_STATEMENT(SQL_TEST_TIMEOUTS, (1U << CN_LANE_COUNT) - 1, TIMEOUTS);
CN_STATEMENT(SQL_TEST_SLEEP,
             1U << CN_LANE_READ | 1U << CN_LANE_SLOW,
             "SELECT count(*) FROM (SELECT pg_sleep(0.8)) AS slept");
CN_SQL_WRITE(SQL_TEST_LOCKED,
             "SELECT count(*) FROM (SELECT pg_advisory_xact_lock(4711)) AS "
             "held");

CN_SQL_READ(SQL_TEST_PID, "SELECT pg_backend_pid()");

struct task {
    struct test_world *world;
    enum cn_lane lane;
    const struct cn_statement *statement;
    enum cn_code rc;
    bool ended;
};

static void s_task(void *arg)
{
    struct task *task = arg;
    const struct cn_rows *rows = NULL;
    struct cn_err err = { 0 };
    task->rc =
        cn_db_read(task->world->env.db, task->lane, task->world->arena,
                   task->world->tenant, task->statement, NULL, 0, &rows, &err);
    task->ended = true;
    test_world_ended(task->world);
}

static void s_pid(struct test_world *world)
{
    const struct cn_rows *rows = NULL;
    struct cn_err err = { 0 };
    assert_int_equal(cn_db_read(world->env.db, CN_LANE_READ, world->arena,
                                world->tenant, &SQL_TEST_PID, NULL, 0, &rows,
                                &err),
                     CN_OK);
}

/* Its one connection is in use and its queue is full: the read lane is not
 * affected. */
static void s_saturated(struct test_world *world)
{
    enum { COUNT = 1 + CN_DB_SLOW_WAITING_MAX, READS = 50 };
    struct task tasks[COUNT + 1];
    int64_t longest_us = 0;
    for (size_t i = 0; i < COUNT + 1; i++) {
        tasks[i] =
            (struct task){ world, CN_LANE_SLOW, &SQL_TEST_SLEEP, 0, false };
        test_world_spawn(world, s_task, &tasks[i], 2 * CN_SECOND);
    }
    assert_int_equal(cn_fiber_sleep(0), CN_OK);
    /* When the queue is full a unit gets BUSY at once, and does not go to
     * another lane. */
    assert_true(tasks[COUNT].ended);
    assert_int_equal(tasks[COUNT].rc, CN_BUSY);
    for (size_t i = 0; i < READS; i++) {
        int64_t since = cn_clock_monotonic();
        s_pid(world);
        int64_t took_us = cn_clock_monotonic() - since;
        longest_us = took_us > longest_us ? took_us : longest_us;
    }
    /* None of them waited for one that sleeps. */
    assert_false(tasks[1].ended);
    assert_true(longest_us < 500000);
    test_world_join(world);
    assert_int_equal(tasks[0].rc, CN_OK);
    assert_int_equal(tasks[COUNT - 1].rc, CN_DEADLINE);
}

static void s_timeouts_are(struct test_world *world,
                           enum cn_lane lane,
                           const char *statement,
                           const char *lock)
{
    const struct cn_rows *rows = NULL;
    struct cn_err err = { 0 };
    assert_int_equal(cn_db_read(world->env.db, lane, world->arena,
                                world->tenant, &SQL_TEST_TIMEOUTS, NULL, 0,
                                &rows, &err),
                     CN_OK);
    assert_string_equal(cn_row_text(rows, 0, 0), statement);
    assert_string_equal(cn_row_text(rows, 0, 1), lock);
}

static void s_timeouts(struct test_world *world)
{
    int64_t deadline_at = cn_fiber_deadline();
    cn_fiber_set_deadline(INT64_MAX);
    for (int round = 0; round < 2; round++) {
        s_timeouts_are(world, CN_LANE_READ, "5s", "1s");
        s_timeouts_are(world, CN_LANE_WRITE, "5s", "1s");
        s_timeouts_are(world, CN_LANE_RELAY, "5s", "1s");
        s_timeouts_are(world, CN_LANE_SLOW, "10025ms", "1s");
    }
    cn_fiber_set_deadline(deadline_at);
}

/* The server has ended the statement too, and the connection is free for
 * others. */
static void s_budget(struct test_world *world)
{
    struct task read = { world, CN_LANE_READ, &SQL_TEST_SLEEP, 0, false };
    int64_t since = cn_clock_monotonic();
    test_world_spawn(world, s_task, &read, 100000);
    test_world_join(world);
    assert_int_equal(read.rc, CN_DEADLINE);
    s_pid(world); /* There is but one connection. */
    assert_true(cn_clock_monotonic() - since < 600000);
    /* The time limit of one unit does not apply to the next one. */
    cn_fiber_set_deadline(INT64_MAX);
    s_timeouts_are(world, CN_LANE_READ, "5s", "1s");
}

static void s_locked(struct test_world *world)
{
    struct test_hold *hold = test_pg_hold(world->pg, HELD);
    struct task write = { world, CN_LANE_WRITE, &SQL_TEST_LOCKED, 0, false };
    int64_t since = cn_clock_monotonic();
    test_world_spawn(world, s_task, &write, 10 * CN_SECOND);
    test_world_join(world);
    assert_int_equal(write.rc, CN_BUSY);
    assert_true(cn_clock_monotonic() - since < 4 * CN_SECOND);
    test_pg_release(hold);
}

#define BODY_TEST(name, body)                                                  \
    static void name(void **state)                                             \
    {                                                                          \
        test_world_run(*state, 1, body, NULL);                                 \
    }

BODY_TEST(a_full_slow_lane_delays_no_read, s_saturated)
BODY_TEST(every_lane_has_its_timeouts, s_timeouts)
BODY_TEST(a_smaller_budget_ends_the_statement_on_the_server, s_budget)
BODY_TEST(a_lock_is_not_waited_for_longer_than_a_second, s_locked)

static int s_setup(void **state)
{
    *state = test_pg_new("probe", "tests/store/probe");
    return *state == NULL ? -1 : 0;
}

static int s_teardown(void **state)
{
    test_pg_free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_slow_lane_delays_no_read),
        cmocka_unit_test(every_lane_has_its_timeouts),
        cmocka_unit_test(a_smaller_budget_ends_the_statement_on_the_server),
        cmocka_unit_test(a_lock_is_not_waited_for_longer_than_a_second),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
