/* SPDX-License-Identifier: Apache-2.0 */
/* Fibers: parking, waking, deadlines, stopping, and thousands at once. */
#include "common/base/clock.h"
#include "common/loop/fiber.h"
#include "common/loop/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { FAR = 60 * 1000000 };

/* One fiber under observation. */
struct probe {
    struct cn_loop *loop;
    struct cn_token token;
    struct probe *other;
    enum cn_code rc;
    int64_t us;
    int steps;
    bool wake_result;
};

static struct cn_loop *s_loop_new(void **state)
{
    (void)state;
    struct cn_loop *loop = cn_loop_new();
    assert_non_null(loop);
    return loop;
}

static void s_spawn(struct cn_loop *loop,
                    void (*fn)(void *arg),
                    void *arg,
                    int64_t deadline_at)
{
    struct cn_err err = { 0 };
    assert_int_equal(cn_fiber_spawn(loop, fn, arg, deadline_at, &err), CN_OK);
}

static int64_t s_soon(int64_t us)
{
    return cn_clock_monotonic() + us;
}

static void s_stop(void *arg)
{
    cn_loop_stop(((struct probe *)arg)->loop);
}

/* Runs until all fibers have ended. */
static void s_run(struct cn_loop *loop)
{
    cn_loop_stop(loop);
    cn_loop_run(loop, FAR);
    assert_int_equal(cn_fiber_count(loop), 0);
    cn_loop_free(loop);
}

static void s_park(void *arg)
{
    struct probe *probe = arg;
    probe->token = cn_fiber_token();
    probe->steps++;
    probe->rc = cn_fiber_park(INT64_MAX);
    probe->steps++;
}

static void s_wake_other(void *arg)
{
    struct probe *probe = arg;
    probe->wake_result = cn_fiber_wake(probe->other->token, CN_CONFLICT);
}

static void a_wake_gives_its_code_to_the_park(void **state)
{
    struct cn_loop *loop = s_loop_new(state);
    struct probe sleeper = { .loop = loop };
    struct probe waker = { .loop = loop, .other = &sleeper };
    s_spawn(loop, s_park, &sleeper, s_soon(FAR));
    s_spawn(loop, s_wake_other, &waker, s_soon(FAR));
    assert_int_equal(cn_fiber_count(loop), 2);
    assert_false(cn_fiber_running());
    s_run(loop);
    assert_true(waker.wake_result);
    assert_int_equal(sleeper.rc, CN_CONFLICT);
    assert_int_equal(sleeper.steps, 2);
}

static void s_wake_twice(void *arg)
{
    struct probe *probe = arg;
    assert_true(cn_fiber_wake(probe->other->token, CN_OK));
    assert_false(cn_fiber_wake(probe->other->token, CN_INTERNAL));
    /* The other fiber has run, taken a new token and parked again. */
    struct cn_token old = probe->other->token;
    assert_int_equal(cn_fiber_sleep(0), CN_OK);
    assert_false(cn_fiber_wake(old, CN_INTERNAL));
    assert_true(cn_fiber_wake(probe->other->token, CN_NOT_FOUND));
}

static void s_park_twice(void *arg)
{
    struct probe *probe = arg;
    s_park(probe);
    assert_int_equal(probe->rc, CN_OK);
    s_park(probe);
}

static void a_late_wake_does_nothing(void **state)
{
    struct cn_loop *loop = s_loop_new(state);
    struct probe sleeper = { .loop = loop };
    struct probe waker = { .loop = loop, .other = &sleeper };
    s_spawn(loop, s_park_twice, &sleeper, s_soon(FAR));
    s_spawn(loop, s_wake_twice, &waker, s_soon(FAR));
    s_run(loop);
    assert_int_equal(sleeper.rc, CN_NOT_FOUND);
}

static void s_wake_after_end(void *arg)
{
    struct probe *probe = arg;
    struct cn_token old = probe->other->token;
    assert_true(cn_fiber_wake(old, CN_OK));
    assert_int_equal(cn_fiber_sleep(0), CN_OK);
    assert_false(cn_fiber_wake(old, CN_OK));
    /* A new fiber takes the record of the one that ended. */
    s_spawn(probe->loop, s_park, probe->other, s_soon(FAR));
    assert_int_equal(cn_fiber_sleep(0), CN_OK);
    assert_false(cn_fiber_wake(old, CN_INTERNAL));
    assert_true(cn_fiber_wake(probe->other->token, CN_STALE));
}

static void a_token_of_an_ended_fiber_does_not_wake_its_successor(void **state)
{
    struct cn_loop *loop = s_loop_new(state);
    struct probe sleeper = { .loop = loop };
    struct probe waker = { .loop = loop, .other = &sleeper };
    s_spawn(loop, s_park, &sleeper, s_soon(FAR));
    s_spawn(loop, s_wake_after_end, &waker, s_soon(FAR));
    s_run(loop);
    assert_int_equal(sleeper.rc, CN_STALE);
    assert_int_equal(sleeper.steps, 4);
}

static void s_wake_self(void *arg)
{
    struct probe *probe = arg;
    struct cn_token token = cn_fiber_token();
    assert_true(cn_fiber_wake(token, CN_BUSY));
    assert_false(cn_fiber_wake(token, CN_OK));
    probe->rc = cn_fiber_park(INT64_MAX);
    probe->steps = 1;
}

static void a_wake_before_the_park_returns_at_once(void **state)
{
    struct cn_loop *loop = s_loop_new(state);
    struct probe probe = { .loop = loop };
    s_spawn(loop, s_wake_self, &probe, s_soon(FAR));
    s_run(loop);
    assert_int_equal(probe.rc, CN_BUSY);
    assert_int_equal(probe.steps, 1);
}

static void s_skip_a_wait(void *arg)
{
    struct probe *probe = arg;
    assert_true(cn_fiber_wake(cn_fiber_token(), CN_BUSY));
    /* That operation ended before the fiber began to wait; the fiber waits for
     * the next one. */
    struct cn_token token = cn_fiber_token();
    probe->rc = cn_fiber_park(s_soon(1000));
    assert_false(cn_fiber_wake(token, CN_OK));
}

static void a_wake_that_was_not_parked_upon_is_forgotten(void **state)
{
    struct cn_loop *loop = s_loop_new(state);
    struct probe probe = { .loop = loop };
    s_spawn(loop, s_skip_a_wait, &probe, s_soon(FAR));
    s_run(loop);
    assert_int_equal(probe.rc, CN_DEADLINE);
}

static void s_park_for(void *arg)
{
    struct probe *probe = arg;
    probe->token = cn_fiber_token();
    int64_t begin = cn_clock_monotonic();
    probe->rc = cn_fiber_park(probe->us == 0 ? INT64_MAX : begin + probe->us);
    probe->us = cn_clock_monotonic() - begin;
    assert_false(cn_fiber_wake(probe->token, CN_OK));
}

static void
a_park_ends_at_the_earlier_of_its_time_and_the_deadline(void **state)
{
    struct cn_loop *loop = s_loop_new(state);
    struct probe by_deadline = { .loop = loop };
    struct probe by_time = { .loop = loop, .us = 5000 };
    struct probe at_once = { .loop = loop };
    s_spawn(loop, s_park_for, &by_deadline, s_soon(5000));
    s_spawn(loop, s_park_for, &by_time, s_soon(FAR));
    s_spawn(loop, s_park_for, &at_once, s_soon(-1));
    s_run(loop);
    assert_int_equal(by_deadline.rc, CN_DEADLINE);
    assert_int_equal(by_time.rc, CN_DEADLINE);
    assert_true(by_time.us >= 5000);
    assert_int_equal(at_once.rc, CN_DEADLINE);
    assert_true(by_deadline.us < FAR / 2 && by_time.us < FAR / 2);
}

static void s_narrow(void *arg)
{
    struct probe *probe = arg;
    /* Sets the timer far away, then nearer, then farther again. */
    assert_int_equal(cn_fiber_park(s_soon(2000)), CN_DEADLINE);
    int64_t kept = cn_fiber_deadline();
    cn_fiber_set_deadline(s_soon(2000));
    assert_int_equal(cn_fiber_park(INT64_MAX), CN_DEADLINE);
    assert_int_equal(cn_fiber_park(INT64_MAX), CN_DEADLINE);
    cn_fiber_set_deadline(kept);
    int64_t begin = cn_clock_monotonic();
    assert_int_equal(cn_fiber_sleep(4000), CN_OK);
    probe->us = cn_clock_monotonic() - begin;
}

static void a_deadline_can_be_narrowed_and_renewed(void **state)
{
    struct cn_loop *loop = s_loop_new(state);
    struct probe probe = { .loop = loop };
    s_spawn(loop, s_narrow, &probe, s_soon(FAR));
    s_run(loop);
    assert_true(probe.us >= 4000);
}

static void s_sleep_long(void *arg)
{
    struct probe *probe = arg;
    probe->rc = cn_fiber_sleep(FAR);
    probe->steps++;
}

static void a_sleep_past_the_deadline_says_so(void **state)
{
    struct cn_loop *loop = s_loop_new(state);
    struct probe probe = { .loop = loop };
    s_spawn(loop, s_sleep_long, &probe, s_soon(2000));
    s_run(loop);
    assert_int_equal(probe.rc, CN_DEADLINE);
}

static void s_background(void *arg)
{
    struct probe *probe = arg;
    while (cn_fiber_sleep(FAR) == CN_OK) {
        probe->steps++;
    }
    /* The clean-up has a deadline of its own and may wait. */
    cn_fiber_set_deadline(s_soon(FAR));
    assert_int_equal(cn_fiber_sleep(1000), CN_OK);
    cn_fiber_set_deadline(INT64_MAX);
    probe->rc = cn_fiber_park(INT64_MAX);
}

static void s_request(void *arg)
{
    struct probe *probe = arg;
    assert_int_equal(cn_fiber_sleep(2000), CN_OK);
    assert_true(cn_loop_stopping(probe->loop));
    assert_int_equal(cn_fiber_sleep(2000), CN_OK);
    probe->rc = CN_OK;
    probe->steps++;
}

static void s_stopper(void *arg)
{
    struct probe *probe = arg;
    cn_loop_stop(probe->loop);
    cn_loop_stop(probe->loop);
    struct cn_err err = { 0 };
    assert_int_equal(
        cn_fiber_spawn(probe->loop, s_park, probe, INT64_MAX, &err),
        CN_UNAVAILABLE);
}

static void a_stop_wakes_the_background_and_lets_requests_end(void **state)
{
    struct cn_loop *loop = s_loop_new(state);
    struct probe background = { .loop = loop, .rc = CN_OK };
    struct probe request = { .loop = loop, .rc = CN_INTERNAL };
    s_spawn(loop, s_background, &background, INT64_MAX);
    s_spawn(loop, s_request, &request, s_soon(FAR));
    s_spawn(loop, s_stopper, &background, s_soon(FAR));
    cn_loop_run(loop, FAR);
    assert_int_equal(cn_fiber_count(loop), 0);
    cn_loop_free(loop);
    assert_int_equal(background.rc, CN_UNAVAILABLE);
    assert_int_equal(request.steps, 1);
}

static void s_stubborn(void *arg)
{
    struct probe *probe = arg;
    for (probe->steps = 0; probe->steps < 5; probe->steps++) {
        probe->rc = cn_fiber_sleep(FAR / 2);
        assert_int_equal(probe->rc, CN_UNAVAILABLE);
    }
}

static void the_end_of_the_grace_wakes_every_fiber(void **state)
{
    struct cn_loop *loop = s_loop_new(state);
    struct probe probe = { .loop = loop };
    s_spawn(loop, s_stubborn, &probe, s_soon(FAR));
    int64_t begin = cn_clock_monotonic();
    assert_non_null(cn_loop_timer(loop, s_soon(1000), s_stop, &probe));
    cn_loop_run(loop, 3000);
    int64_t us = cn_clock_monotonic() - begin;
    assert_true(us >= 4000 && us < FAR / 2);
    assert_int_equal(cn_fiber_count(loop), 0);
    assert_int_equal(probe.steps, 5);
    cn_loop_free(loop);
}

static void s_nothing(void *arg)
{
    (void)arg;
}

static void more_fibers_than_the_bound_are_refused(void **state)
{
    struct cn_loop *loop = s_loop_new(state);
    struct cn_err err = { 0 };
    for (int i = 0; i < CN_FIBERS_MAX; i++) {
        s_spawn(loop, s_nothing, NULL, INT64_MAX);
    }
    assert_int_equal(cn_fiber_spawn(loop, s_nothing, NULL, INT64_MAX, &err),
                     CN_BUSY);
    s_run(loop);
}

/* A ring: fiber n wakes fiber n + 1 and parks. The work on the stack between
 * parks shows whether frames survive. */
enum { RING_SIZE = 2000, RING_ROUNDS = 20 };
struct ring {
    struct cn_token tokens[RING_SIZE];
    int passes;
    int ended;
    int timeouts;
};
struct ring_arg {
    struct ring *ring;
    int at;
};

static int s_deep(int depth, struct ring *ring, int at)
{
    volatile char frame[128];
    memset((char *)(uintptr_t)frame, at & 0x7f, sizeof frame);
    if (depth > 0) {
        int below = s_deep(depth - 1, ring, at);
        assert_int_equal(frame[depth], at & 0x7f);
        return below + 1;
    }
    ring->tokens[at] = cn_fiber_token();
    /* Some fibers wait with a deadline, so that timers and wakes mix. */
    int64_t until = at % 7 == 0 ? s_soon(1000 + at) : INT64_MAX;
    enum cn_code rc = cn_fiber_park(until);
    assert_true(rc == CN_OK || (rc == CN_DEADLINE && at % 7 == 0));
    if (rc == CN_DEADLINE) {
        ring->timeouts++;
    }
    assert_int_equal(frame[0], at & 0x7f);
    return 0;
}

static void s_ring_fiber(void *arg)
{
    const struct ring_arg *my = arg;
    struct ring *ring = my->ring;
    for (int round = 0; round < RING_ROUNDS; round++) {
        assert_int_equal(s_deep(4 + my->at % 5, ring, my->at), 4 + my->at % 5);
        ring->passes++;
    }
    ring->tokens[my->at].fiber = NULL;
    ring->ended++;
}

static void s_ring_waker(void *arg)
{
    struct ring *ring = arg;
    unsigned random = 12345;
    while (ring->ended < RING_SIZE) {
        for (int i = 0; i < RING_SIZE; i++) {
            random = random * 1664525U + 1013904223U;
            unsigned at = (random >> 8) % RING_SIZE;
            (void)cn_fiber_wake(ring->tokens[at], CN_OK);
        }
        assert_int_equal(cn_fiber_sleep(0), CN_OK);
    }
}

static void thousands_of_fibers_keep_their_frames(void **state)
{
    struct cn_loop *loop = s_loop_new(state);
    struct ring *ring = calloc(1, sizeof *ring);
    struct ring_arg *args = calloc(RING_SIZE, sizeof *args);
    assert_true(ring != NULL && args != NULL);
    for (int i = 0; i < RING_SIZE; i++) {
        args[i] = (struct ring_arg){ ring, i };
        s_spawn(loop, s_ring_fiber, &args[i], s_soon(FAR));
    }
    s_spawn(loop, s_ring_waker, ring, s_soon(FAR));
    s_run(loop);
    assert_int_equal(ring->ended, RING_SIZE);
    assert_int_equal(ring->passes, RING_SIZE * RING_ROUNDS);
    free(args);
    free(ring);
}

/* Fibers come and go: every stack is used many times over. */
struct churn {
    struct cn_loop *loop;
    int left;
    int ended;
};

static void s_churn_fiber(void *arg)
{
    struct churn *churn = arg;
    char *frame = malloc(64);
    assert_non_null(frame);
    assert_int_equal(cn_fiber_sleep(churn->left % 3 * 10), CN_OK);
    free(frame);
    churn->ended++;
    if (churn->left > 0) {
        churn->left--;
        s_spawn(churn->loop, s_churn_fiber, churn, s_soon(FAR));
    }
}

static void a_stack_is_used_again_and_again(void **state)
{
    struct cn_loop *loop = s_loop_new(state);
    struct churn churn = { loop, 10000, 0 };
    for (int i = 0; i < 200; i++) {
        s_spawn(loop, s_churn_fiber, &churn, s_soon(FAR));
    }
    s_run(loop);
    assert_int_equal(churn.ended, 10200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wake_gives_its_code_to_the_park),
        cmocka_unit_test(a_late_wake_does_nothing),
        cmocka_unit_test(a_token_of_an_ended_fiber_does_not_wake_its_successor),
        cmocka_unit_test(a_wake_before_the_park_returns_at_once),
        cmocka_unit_test(a_wake_that_was_not_parked_upon_is_forgotten),
        cmocka_unit_test(
            a_park_ends_at_the_earlier_of_its_time_and_the_deadline),
        cmocka_unit_test(a_deadline_can_be_narrowed_and_renewed),
        cmocka_unit_test(a_sleep_past_the_deadline_says_so),
        cmocka_unit_test(a_stop_wakes_the_background_and_lets_requests_end),
        cmocka_unit_test(the_end_of_the_grace_wakes_every_fiber),
        cmocka_unit_test(more_fibers_than_the_bound_are_refused),
        cmocka_unit_test(thousands_of_fibers_keep_their_frames),
        cmocka_unit_test(a_stack_is_used_again_and_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
