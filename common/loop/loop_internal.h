/* SPDX-License-Identifier: Apache-2.0 */
/* What the loop and the fibers share. Only loop.c and fiber.c include it. */
#ifndef CN_LOOP_INTERNAL_H
#define CN_LOOP_INTERNAL_H

#include "common/loop/fiber.h"
#include "common/loop/loop.h"
#include "common/loop/metrics.h"

#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

enum { CN_LOOP_PREPARES_MAX = 8, CN_TIMER_IDLE = -1 };

struct cn_timer {
    struct cn_loop *loop;
    struct cn_timer *next; /* in the list of free ones */
    int64_t at;
    uint64_t order;        /* equal instants run in the order they were set */
    ptrdiff_t slot;        /* in the heap; CN_TIMER_IDLE: not set */
    void (*fn)(void *arg); /* NULL: arg is a fiber */
    void *arg;
};

struct cn_loop {
    int epoll_fd;
    int signal_fd;
    struct cn_watch *signal_watch;
    struct cn_watch *watches;
    struct cn_watch *buried; /* unwatched in this dispatch */
    bool dispatching;
    bool coarse_poll; /* the kernel has no epoll_pwait2 */

    /* The heap has room for every timer that exists, so setting one that
     * exists never fails. */
    struct cn_timer **heap;
    size_t heap_count;
    size_t heap_max;
    size_t timer_total;
    uint64_t timer_order;
    struct cn_timer *timers_free;

    struct {
        bool (*fn)(void *arg);
        void *arg;
    } prepares[CN_LOOP_PREPARES_MAX];
    size_t prepare_count;
    int64_t wake_by;

    struct cn_histogram turns;

    int64_t notice_us;
    struct cn_timer *notice; /* runs while the notice does */
    bool leaving;            /* asked to stop */
    bool stopping;
    bool cut; /* the grace is over: no park waits any more */
    int64_t stop_at;

    struct cn_fiber *ready_first;
    struct cn_fiber *ready_last;
    struct cn_fiber *fibers_free;
    struct cn_fiber *fibers; /* all that were ever made */
    size_t fiber_count;      /* alive */
    size_t fiber_total;
    size_t warm_count; /* free ones that keep their pages */

    ucontext_t context; /* of the loop, while a fiber runs */
    void *fake_stack;   /* AddressSanitizer's */
};

/* Makes room in the heap for one more timer. */
CN_CHECKED bool cn_timer_reserve(struct cn_loop *loop);
/* Sets a timer that has room, or moves it. */
void cn_timer_set(struct cn_timer *timer, int64_t at);
void cn_timer_unset(struct cn_timer *timer);

/* Runs the fibers that are ready now. True when there were any. */
bool cn_fibers_run(struct cn_loop *loop);
/* Wakes parked fibers with CN_UNAVAILABLE: those without a deadline, or all. */
void cn_fibers_interrupt(struct cn_loop *loop, bool all);
/* The fiber's timer has run. */
void cn_fiber_timeout(struct cn_timer *timer, int64_t now);
void cn_fibers_free(struct cn_loop *loop);

#endif
