/* SPDX-License-Identifier: Apache-2.0 */
/* The loop: timers, watches, hooks, signals. */
#include "common/base/clock.h"
#include "common/loop/fiber.h"
#include "common/loop/loop.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { FAR = 60 * 1000000, TIMER_COUNT = 3000 };

struct timing {
    struct cn_loop *loop;
    struct cn_timer *timers[TIMER_COUNT];
    int64_t ats[TIMER_COUNT];
    int64_t last_at;
    int last;
    int ran;
    int wanted;
};
struct timing_arg {
    struct timing *timing;
    int at;
};

static int64_t s_soon(int64_t us)
{
    return cn_clock_monotonic() + us;
}

static void s_stop(void *arg)
{
    cn_loop_stop(arg);
}

static struct cn_loop *s_loop_new(void **state)
{
    (void)state;
    struct cn_loop *loop = cn_loop_new();
    assert_non_null(loop);
    return loop;
}

static void s_on_timer(void *arg)
{
    const struct timing_arg *my = arg;
    struct timing *timing = my->timing;
    int64_t at = timing->ats[my->at];
    assert_true(cn_clock_monotonic() >= at);
    assert_true(at > timing->last_at ||
                (at == timing->last_at && my->at > timing->last));
    assert_false(cn_fiber_running());
    timing->last_at = at;
    timing->last = my->at;
    if (++timing->ran == timing->wanted) {
        cn_loop_stop(timing->loop);
    }
}

static void timers_run_in_order_unless_cancelled(void **state)
{
    struct timing *timing = calloc(1, sizeof *timing);
    struct timing_arg *args = calloc(TIMER_COUNT, sizeof *args);
    assert_true(timing != NULL && args != NULL);
    timing->loop = s_loop_new(state);
    int64_t begin = cn_clock_monotonic();
    unsigned random = 7;
    for (int i = 0; i < TIMER_COUNT; i++) {
        random = random * 1664525U + 1013904223U;
        /* Timers with the same instant run in the order in which they were
         * set. */
        timing->ats[i] = begin + (random >> 16) % 200 * 100;
        args[i] = (struct timing_arg){ timing, i };
        timing->timers[i] =
            cn_loop_timer(timing->loop, timing->ats[i], s_on_timer, &args[i]);
        assert_non_null(timing->timers[i]);
    }
    timing->wanted = TIMER_COUNT;
    for (int i = 0; i < TIMER_COUNT; i += 3) {
        cn_loop_cancel(timing->timers[i]);
        timing->wanted--;
    }
    cn_loop_cancel(NULL);
    assert_non_null(cn_loop_timer(timing->loop, INT64_MAX, s_stop, NULL));
    cn_loop_run(timing->loop, 0);
    assert_int_equal(timing->ran, timing->wanted);
    cn_loop_free(timing->loop);
    free(args);
    free(timing);
}

struct again {
    struct cn_loop *loop;
    int left;
    int watched;
    int fds[2];
};

static void s_again(void *arg)
{
    struct again *again = arg;
    if (--again->left > 0) {
        assert_non_null(cn_loop_timer(again->loop, 0, s_again, again));
    }
}

static void s_on_byte(void *arg, unsigned events)
{
    struct again *again = arg;
    char byte = 0;
    assert_int_equal(events, CN_READABLE);
    assert_int_equal(read(again->fds[0], &byte, 1), 1);
    again->watched++;
    assert_true(again->left > 0);
    cn_loop_stop(again->loop);
}

static void a_timer_that_sets_itself_anew_starves_nobody(void **state)
{
    struct again again = { .loop = s_loop_new(state), .left = 1000 };
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, again.fds), 0);
    struct cn_watch *watch =
        cn_loop_watch(again.loop, again.fds[0], CN_READABLE, s_on_byte, &again);
    assert_non_null(watch);
    assert_int_equal(write(again.fds[1], "x", 1), 1);
    s_again(&again);
    cn_loop_run(again.loop, 0);
    assert_int_equal(again.watched, 1);
    cn_loop_unwatch(watch);
    cn_loop_unwatch(NULL);
    cn_loop_free(again.loop);
    (void)close(again.fds[0]);
    (void)close(again.fds[1]);
}

/* Each end of a pair writes when it can, reads what comes, then hands over. */
struct pair {
    struct cn_loop *loop;
    struct cn_watch *watches[2];
    int fds[2];
    int calls[2];
    int hangups;
};

static void s_on_first(void *arg, unsigned events)
{
    struct pair *pair = arg;
    assert_int_equal(events, CN_WRITABLE);
    pair->calls[0]++;
    assert_int_equal(write(pair->fds[0], "x", 1), 1);
    /* The watch wants nothing, not even the hangup below. */
    cn_loop_watch_events(pair->watches[0], 0);
    cn_loop_watch_events(pair->watches[0], 0);
}

static void s_on_second(void *arg, unsigned events)
{
    struct pair *pair = arg;
    char byte = 0;
    assert_int_equal(events, CN_READABLE);
    pair->calls[1]++;
    assert_int_equal(read(pair->fds[1], &byte, 1), 1);
    cn_loop_unwatch(pair->watches[1]);
    (void)close(pair->fds[1]);
    assert_non_null(
        cn_loop_timer(pair->loop, s_soon(5000), s_stop, pair->loop));
}

static bool s_count_turns(void *arg)
{
    ++*(int *)arg;
    return false;
}

static void a_watch_is_told_what_it_wants_and_no_more(void **state)
{
    struct pair pair = { .loop = s_loop_new(state) };
    struct cn_err err = { 0 };
    int turns = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair.fds), 0);
    pair.watches[0] =
        cn_loop_watch(pair.loop, pair.fds[0], CN_WRITABLE, s_on_first, &pair);
    pair.watches[1] =
        cn_loop_watch(pair.loop, pair.fds[1], CN_READABLE, s_on_second, &pair);
    assert_true(pair.watches[0] != NULL && pair.watches[1] != NULL);
    assert_int_equal(cn_loop_prepare(pair.loop, s_count_turns, &turns, &err),
                     CN_OK);
    cn_loop_run(pair.loop, 0);
    assert_int_equal(pair.calls[0], 1);
    assert_int_equal(pair.calls[1], 1);
    /* The hangup did not make the loop spin. */
    assert_in_range(turns, 1, 20);
    cn_loop_free(pair.loop);
    (void)close(pair.fds[0]);
}

static void s_on_hangup(void *arg, unsigned events)
{
    struct pair *pair = arg;
    assert_true(events != 0);
    pair->hangups++;
    cn_loop_stop(pair->loop);
}

static void a_hangup_reaches_who_waits_to_read(void **state)
{
    struct pair pair = { .loop = s_loop_new(state) };
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair.fds), 0);
    assert_non_null(
        cn_loop_watch(pair.loop, pair.fds[0], CN_READABLE, s_on_hangup, &pair));
    (void)close(pair.fds[1]);
    cn_loop_run(pair.loop, 0);
    assert_int_equal(pair.hangups, 1);
    cn_loop_free(pair.loop);
    (void)close(pair.fds[0]);
}

/* The watch that runs first removes the other one, whose event is then
 * dropped. */
static void s_on_rival(void *arg, unsigned events)
{
    struct pair *pair = arg;
    (void)events;
    pair->hangups++;
    cn_loop_unwatch(pair->watches[0]);
    cn_loop_unwatch(pair->watches[1]);
    cn_loop_stop(pair->loop);
}

static void a_watch_removed_by_another_is_not_called(void **state)
{
    struct pair pair = { .loop = s_loop_new(state) };
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair.fds), 0);
    for (int i = 0; i < 2; i++) {
        pair.watches[i] = cn_loop_watch(pair.loop, pair.fds[i], CN_WRITABLE,
                                        s_on_rival, &pair);
        assert_non_null(pair.watches[i]);
    }
    cn_loop_run(pair.loop, 0);
    assert_int_equal(pair.hangups, 1);
    cn_loop_free(pair.loop);
    (void)close(pair.fds[0]);
    (void)close(pair.fds[1]);
}

static void what_cannot_be_polled_is_refused(void **state)
{
    struct pair pair = { .loop = s_loop_new(state) };
    assert_null(cn_loop_watch(pair.loop, -1, CN_READABLE, s_on_hangup, &pair));
    cn_loop_free(pair.loop);
    cn_loop_free(NULL);
}

struct hook {
    struct cn_loop *loop;
    int work;
    int turns;
    int seen;
    int64_t wake_by;
};

static bool s_hook(void *arg)
{
    struct hook *hook = arg;
    hook->turns++;
    if (hook->wake_by != 0) {
        cn_loop_wake_by(hook->loop, INT64_MAX);
        cn_loop_wake_by(hook->loop, hook->wake_by);
        if (cn_clock_monotonic() >= hook->wake_by) {
            cn_loop_stop(hook->loop);
        }
    }
    if (hook->work > 0) {
        hook->work--;
        return true;
    }
    return false;
}

static void a_hook_bounds_the_poll(void **state)
{
    struct hook hook = { .loop = s_loop_new(state), .wake_by = s_soon(5000) };
    struct cn_err err = { 0 };
    assert_int_equal(cn_loop_prepare(hook.loop, s_hook, &hook, &err), CN_OK);
    cn_loop_run(hook.loop, 0);
    assert_true(cn_clock_monotonic() >= hook.wake_by);
    /* The loop slept and did not spin. */
    assert_in_range(hook.turns, 2, 20);
    cn_loop_free(hook.loop);
}

static void a_hook_with_work_turns_the_loop_without_sleep(void **state)
{
    struct hook hook = { .loop = s_loop_new(state), .work = 500 };
    struct cn_err err = { 0 };
    assert_int_equal(cn_loop_prepare(hook.loop, s_hook, &hook, &err), CN_OK);
    assert_non_null(cn_loop_timer(hook.loop, s_soon(20000), s_stop, hook.loop));
    cn_loop_run(hook.loop, 0);
    assert_int_equal(hook.work, 0);
    assert_in_range(hook.turns, 501, 520);
    cn_loop_free(hook.loop);
}

static void s_leave_work(void *arg)
{
    struct hook *hook = arg;
    hook->seen = hook->turns;
    hook->work = 1;
}

static void hooks_run_again_after_the_fibers_before_the_poll(void **state)
{
    struct hook hook = { .loop = s_loop_new(state) };
    struct cn_err err = { 0 };
    assert_int_equal(cn_loop_prepare(hook.loop, s_hook, &hook, &err), CN_OK);
    assert_int_equal(
        cn_fiber_spawn(hook.loop, s_leave_work, &hook, INT64_MAX, &err), CN_OK);
    cn_loop_stop(hook.loop);
    cn_loop_run(hook.loop, 0);
    /* The loop did the last fiber's deferred work before it ended. */
    assert_int_equal(hook.seen, 1);
    assert_int_equal(hook.work, 0);
    cn_loop_free(hook.loop);
}

static void more_hooks_than_the_bound_are_refused(void **state)
{
    struct cn_loop *loop = s_loop_new(state);
    struct cn_err err = { 0 };
    int turns = 0;
    for (int i = 0; i < 8; i++) {
        assert_int_equal(cn_loop_prepare(loop, s_count_turns, &turns, &err),
                         CN_OK);
    }
    assert_int_equal(cn_loop_prepare(loop, s_count_turns, &turns, &err),
                     CN_INTERNAL);
    cn_loop_free(loop);
}

/* Repeated, because signals that are not read yet are merged into one. */
static void s_raise(void *arg)
{
    struct cn_loop *loop = arg;
    (void)kill(getpid(), SIGPIPE);
    (void)kill(getpid(), SIGTERM);
    assert_non_null(cn_loop_timer(loop, s_soon(1000), s_raise, loop));
}

static void s_wait(void *arg)
{
    enum cn_code *rc = arg;
    *rc = cn_fiber_sleep(FAR / 2);
}

static void a_signal_stops_and_a_second_one_ends_the_grace(void **state)
{
    struct cn_loop *loop = s_loop_new(state);
    struct cn_err err = { 0 };
    sigset_t before;
    enum cn_code rc = CN_OK;
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &before), 0);
    assert_int_equal(cn_loop_stop_on_signals(loop, &err), CN_OK);
    assert_non_null(cn_loop_timer(loop, s_soon(1000), s_raise, loop));
    assert_int_equal(cn_fiber_spawn(loop, s_wait, &rc, s_soon(FAR), &err),
                     CN_OK);
    int64_t begin = cn_clock_monotonic();
    cn_loop_run(loop, FAR);
    assert_true(cn_clock_monotonic() - begin < FAR / 4);
    assert_true(cn_loop_stopping(loop));
    assert_int_equal(rc, CN_UNAVAILABLE);
    cn_loop_free(loop);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_run_in_order_unless_cancelled),
        cmocka_unit_test(a_timer_that_sets_itself_anew_starves_nobody),
        cmocka_unit_test(a_watch_is_told_what_it_wants_and_no_more),
        cmocka_unit_test(a_hangup_reaches_who_waits_to_read),
        cmocka_unit_test(a_watch_removed_by_another_is_not_called),
        cmocka_unit_test(what_cannot_be_polled_is_refused),
        cmocka_unit_test(a_hook_bounds_the_poll),
        cmocka_unit_test(a_hook_with_work_turns_the_loop_without_sleep),
        cmocka_unit_test(hooks_run_again_after_the_fibers_before_the_poll),
        cmocka_unit_test(more_hooks_than_the_bound_are_refused),
        cmocka_unit_test(a_signal_stops_and_a_second_one_ends_the_grace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
