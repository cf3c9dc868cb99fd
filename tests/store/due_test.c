/* SPDX-License-Identifier: Apache-2.0 */
/* Due work: claimed once, done again after a failure or a lapse. */
#include "common/deadlines/due.h"

#include "common/loop/fiber.h"
#include "common/store/step.h"
#include "tests/lib/pg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 100 };

static struct test_pg *s_pg;

/* ---- the handlers ---- */

struct works {
    unsigned calls;
    unsigned done;
    unsigned failures; /* so many calls fail */
    bool stuck;        /* leave the row, like a process that was killed */
    int64_t work_us;   /* how long a call takes */
    int64_t ahead_us;  /* of the clock */
};
static struct works s_works;

static void s_remind(struct cn_op *op, const struct cn_due *due)
{
    struct works *works = op->self;
    works->calls++;
    assert_string_equal(due->kind, "reminder");
    assert_true(due->fire_at <= due->now_at);
    if (works->stuck) {
        return;
    }
    if (works->work_us > 0) {
        assert_int_equal(cn_fiber_sleep(works->work_us), CN_OK);
    }
    if (works->calls <= works->failures) {
        cn_refuse(op, CN_UNAVAILABLE, NULL, "not now");
    }
    cn_due_end(op, due->kind, due->id);
    cn_audit(op, "remind", NULL, (struct cn_uuid){ 0 });
    cn_commit(op);
    works->done += !cn_failed(op);
}

static const struct cn_due_handler HANDLERS[] = {
    { .kind = "reminder", .work = s_remind },
};
static struct cn_service s_service = { .name = "probe",
                                       .due_handlers = HANDLERS,
                                       .due_handler_count = 1,
                                       .self = &s_works };

/* ---- helpers ---- */

static int64_t s_now(struct cn_env *env)
{
    (void)env;
    return cn_clock_real() + s_works.ahead_us;
}

static void
s_add(struct test_world *world, const char *kind, int64_t fire_at, size_t count)
{
    struct cn_err err = { 0 };
    struct cn_write *write =
        cn_write_begin_system(&world->env, world->arena, world->tenant, NULL);
    for (size_t i = 0; i < count; i++) {
        cn_write_due(write, kind, cn_uuid_new(&world->env), fire_at);
    }
    assert_int_equal(cn_write_commit(write, &err), CN_OK);
}

static void s_start(struct test_world *world)
{
    struct cn_err err = { 0 };
    assert_int_equal(cn_due_start(&world->env, &s_service, &err), CN_OK);
}

static void s_close(struct test_world *world)
{
    cn_loop_stop(world->env.loop);
    while (cn_fiber_count(world->env.loop) > 1) {
        assert_int_equal(cn_fiber_sleep(1000), CN_OK);
    }
}

static bool s_done_reach(void *arg)
{
    return s_works.done >= *(const unsigned *)arg;
}

static bool s_calls_reach(void *arg)
{
    return s_works.calls >= *(const unsigned *)arg;
}

static void s_await_done(struct test_world *world, unsigned wanted)
{
    test_world_until(world, s_done_reach, &wanted);
}

static void s_await_calls(struct test_world *world, unsigned wanted)
{
    test_world_until(world, s_calls_reach, &wanted);
}

static int64_t s_soon(const struct test_world *world, int64_t us)
{
    struct cn_env env = world->env;
    return s_now(&env) + us;
}

static void s_run(void (*body)(struct test_world *world))
{
    memset(&s_works, 0, sizeof(s_works));
    free(test_pg_sql(s_pg, "TRUNCATE probe.due, probe.audit"));
    test_world_run(s_pg, 2, body, NULL);
}

/* ---- tests ---- */

static void s_two_tickers(struct test_world *world)
{
    s_add(world, "reminder", s_soon(world, -CN_SECOND), ROWS);
    s_start(world);
    s_start(world);
    s_await_done(world, ROWS);
    /* Two more looks find nothing. */
    assert_int_equal(cn_fiber_sleep(2 * CN_DUE_POLL_US), CN_OK);
    assert_int_equal(s_works.calls, ROWS);
    s_close(world);
}

static void two_tickers_hand_out_each_row_once(void **state)
{
    (void)state;
    s_run(s_two_tickers);
    assert_int_equal(test_pg_number(s_pg, "SELECT count(*) FROM probe.due"), 0);
    assert_int_equal(test_pg_number(s_pg, "SELECT count(*) FROM probe.audit"),
                     ROWS);
}

static void s_future(struct test_world *world)
{
    world->env.now = s_now;
    s_start(world);
    s_add(world, "reminder", s_soon(world, CN_HOUR), 1);
    assert_int_equal(cn_fiber_sleep(2 * CN_DUE_POLL_US), CN_OK);
    assert_int_equal(s_works.calls, 0);
    s_works.ahead_us = CN_HOUR + CN_SECOND;
    s_await_done(world, 1);
    s_close(world);
}

static void a_row_waits_for_its_instant_on_the_services_clock(void **state)
{
    (void)state;
    s_run(s_future);
}

static void s_hint(struct test_world *world)
{
    s_start(world);
    assert_int_equal(cn_fiber_sleep(20000), CN_OK);
    int64_t since = cn_clock_monotonic();
    s_add(world, "reminder", s_soon(world, -1), 1);
    s_await_done(world, 1);
    assert_true(cn_clock_monotonic() - since < CN_DUE_POLL_US / 2);
    s_close(world);
}

static void a_commit_here_is_seen_at_once(void **state)
{
    (void)state;
    s_run(s_hint);
}

static void s_failures(struct test_world *world)
{
    s_works.failures = 2;
    s_add(world, "reminder", s_soon(world, -1), 1);
    s_start(world);
    s_await_done(world, 1);
    assert_int_equal(s_works.calls, 3);
    s_close(world);
}

static void a_failure_is_tried_again_before_the_claim_lapses(void **state)
{
    (void)state;
    s_run(s_failures);
}

static void s_lapse(struct test_world *world)
{
    s_works.stuck = true;
    s_add(world, "reminder", s_soon(world, -1), 1);
    s_start(world);
    s_await_calls(world, 1);
    assert_int_equal(cn_fiber_sleep(2 * CN_DUE_POLL_US), CN_OK);
    assert_int_equal(s_works.calls, 1);
    assert_int_equal(
        test_pg_number(world->pg,
                       "SELECT count(*) FROM probe.due WHERE claimed_until "
                       "BETWEEN now() + '3 s' AND now() + '5 s'"),
        1);
    s_works.stuck = false;
    free(test_pg_sql(world->pg, "UPDATE probe.due SET claimed_until = "
                                "now() - interval '1 ms'"));
    s_await_done(world, 1);
    assert_int_equal(s_works.calls, 2);
    s_close(world);
}

static void a_claim_that_lapsed_is_taken_by_another(void **state)
{
    (void)state;
    s_run(s_lapse);
}

/* The claim of the one row, in microseconds from now. */
static int64_t s_claim_left(struct test_world *world)
{
    return test_pg_number(world->pg,
                          "SELECT (extract(epoch FROM claimed_until - now())"
                          " * 1000000)::bigint FROM probe.due");
}

static void s_long(struct test_world *world)
{
    s_works.work_us = CN_DUE_CLAIM_US + CN_SECOND;
    s_add(world, "reminder", s_soon(world, -1), 1);
    s_start(world);
    s_start(world); /* would take it at once if it were free */
    s_await_done(world, 1);
    assert_int_equal(s_works.calls, 1);
    s_close(world);
}

static void a_claim_holds_for_as_long_as_the_work_takes(void **state)
{
    (void)state;
    s_run(s_long);
    assert_int_equal(test_pg_number(s_pg, "SELECT count(*) FROM probe.due"), 0);
    assert_int_equal(test_pg_number(s_pg, "SELECT count(*) FROM probe.audit"),
                     1);
}

static void s_lost(struct test_world *world)
{
    s_works.failures = 1;
    s_works.work_us = 2 * CN_SECOND; /* it is renewed once in that time */
    s_add(world, "reminder", s_soon(world, -1), 1);
    s_start(world);
    s_await_calls(world, 1);
    free(test_pg_sql(world->pg, "UPDATE probe.due SET claimed_until = "
                                "now() + interval '1 hour'"));
    assert_int_equal(cn_fiber_sleep(s_works.work_us + CN_SECOND / 2), CN_OK);
    assert_true(s_claim_left(world) > CN_HOUR - CN_MINUTE);
    assert_int_equal(s_works.calls, 1);
    s_close(world);
}

static void a_claim_of_another_is_neither_renewed_nor_put_off(void **state)
{
    (void)state;
    s_run(s_lost);
}

static void s_stop(struct test_world *world)
{
    s_works.work_us = CN_SECOND;
    s_add(world, "reminder", s_soon(world, -1), 1);
    s_start(world);
    s_await_calls(world, 1);
    cn_loop_stop(world->env.loop);
    assert_int_equal(cn_fiber_sleep(CN_SECOND / 2), CN_OK);
    assert_true(s_claim_left(world) > CN_DUE_BUDGET_US - CN_SECOND);
    s_await_done(world, 1);
    s_close(world);
}

static void what_is_in_flight_at_a_stop_keeps_its_claim_to_its_end(void **state)
{
    (void)state;
    s_run(s_stop);
}

static void s_overdue(struct test_world *world)
{
    s_works.failures = 2;
    s_add(world, "reminder", s_soon(world, -CN_HOUR), 1);
    s_start(world);
    int64_t since = cn_clock_monotonic();
    s_await_done(world, 1);
    /* At most 1 s, then at most as long as this ticker runs. */
    assert_true(cn_clock_monotonic() - since < 6 * CN_SECOND);
    s_close(world);
}

static void the_wait_after_a_failure_is_short_in_a_new_process(void **state)
{
    (void)state;
    s_run(s_overdue);
}

static void s_unknown_kind(struct test_world *world)
{
    s_add(world, "newer_kind", s_soon(world, -1), 1);
    s_add(world, "reminder", s_soon(world, -1), 1);
    s_start(world);
    s_await_done(world, 1);
    s_close(world);
}

static void a_kind_without_handler_is_left_to_others(void **state)
{
    (void)state;
    s_run(s_unknown_kind);
    assert_int_equal(
        test_pg_number(s_pg, "SELECT count(*) FROM probe.due WHERE kind = "
                             "'newer_kind' AND claimed_until IS NULL"),
        1);
}

static int s_setup(void **state)
{
    (void)state;
    s_pg = test_pg_new("probe", "tests/store/probe");
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
        cmocka_unit_test(two_tickers_hand_out_each_row_once),
        cmocka_unit_test(a_row_waits_for_its_instant_on_the_services_clock),
        cmocka_unit_test(a_commit_here_is_seen_at_once),
        cmocka_unit_test(a_failure_is_tried_again_before_the_claim_lapses),
        cmocka_unit_test(a_claim_that_lapsed_is_taken_by_another),
        cmocka_unit_test(a_claim_holds_for_as_long_as_the_work_takes),
        cmocka_unit_test(a_claim_of_another_is_neither_renewed_nor_put_off),
        cmocka_unit_test(
            what_is_in_flight_at_a_stop_keeps_its_claim_to_its_end),
        cmocka_unit_test(the_wait_after_a_failure_is_short_in_a_new_process),
        cmocka_unit_test(a_kind_without_handler_is_left_to_others),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
