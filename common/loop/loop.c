/* SPDX-License-Identifier: Apache-2.0 */
/* epoll, a heap of timers and the turn. */
#include "common/loop/loop.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/loop/loop_internal.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS_MAX = 256, /* taken from one poll */
    /* Hooks and fibers make work for each other; after so many rounds the loop
     * polls, so that they do not starve the descriptors. */
    ROUNDS_MAX = 8,
    /* Turns that fibers get to unwind once no park waits any more. */
    CUT_TURNS_MAX = 1000
};

struct cn_watch {
    struct cn_loop *loop;
    struct cn_watch *next;
    struct cn_watch *previous;
    int fd;
    unsigned events;
    void (*fn)(void *arg, unsigned events);
    void *arg;
};

/* Timers: a binary heap, earliest first. */

static bool s_before(const struct cn_timer *a, const struct cn_timer *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void
s_timer_place(struct cn_loop *loop, size_t slot, struct cn_timer *timer)
{
    loop->heap[slot] = timer;
    timer->slot = (ptrdiff_t)slot;
}

static void s_sift_up(struct cn_loop *loop, size_t slot, struct cn_timer *timer)
{
    while (slot > 0 && s_before(timer, loop->heap[(slot - 1) / 2])) {
        s_timer_place(loop, slot, loop->heap[(slot - 1) / 2]);
        slot = (slot - 1) / 2;
    }
    s_timer_place(loop, slot, timer);
}

static void
s_sift_down(struct cn_loop *loop, size_t slot, struct cn_timer *timer)
{
    for (;;) {
        size_t child = 2 * slot + 1;
        if (child >= loop->heap_count) {
            break;
        }
        if (child + 1 < loop->heap_count &&
            s_before(loop->heap[child + 1], loop->heap[child])) {
            child++;
        }
        if (!s_before(loop->heap[child], timer)) {
            break;
        }
        s_timer_place(loop, slot, loop->heap[child]);
        slot = child;
    }
    s_timer_place(loop, slot, timer);
}

bool cn_timer_reserve(struct cn_loop *loop)
{
    if (loop->timer_total == loop->heap_max) {
        size_t max = loop->heap_max == 0 ? 64 : 2 * loop->heap_max;
        struct cn_timer **heap =
            reallocarray(loop->heap, max, sizeof(struct cn_timer *));
        if (heap == NULL) {
            return false;
        }
        loop->heap = heap;
        loop->heap_max = max;
    }
    loop->timer_total++;
    return true;
}

void cn_timer_set(struct cn_timer *timer, int64_t at)
{
    struct cn_loop *loop = timer->loop;
    cn_timer_unset(timer);
    timer->at = at;
    timer->order = loop->timer_order++;
    assert(loop->heap_count < loop->heap_max);
    s_sift_up(loop, loop->heap_count++, timer);
}

void cn_timer_unset(struct cn_timer *timer)
{
    struct cn_loop *loop = timer->loop;
    if (timer->slot == CN_TIMER_IDLE) {
        return;
    }
    size_t slot = (size_t)timer->slot;
    timer->slot = CN_TIMER_IDLE;
    struct cn_timer *last = loop->heap[--loop->heap_count];
    if (last == timer) {
        return;
    }
    if (slot > 0 && s_before(last, loop->heap[(slot - 1) / 2])) {
        s_sift_up(loop, slot, last);
    } else {
        s_sift_down(loop, slot, last);
    }
}

struct cn_timer *cn_loop_timer(struct cn_loop *self,
                               int64_t at,
                               void (*fn)(void *arg),
                               void *arg)
{
    struct cn_timer *timer = self->timers_free;
    if (timer == NULL) {
        timer = calloc(1, sizeof *timer);
        if (timer == NULL) {
            return NULL;
        }
        if (!cn_timer_reserve(self)) {
            free(timer);
            return NULL;
        }
        timer->loop = self;
        timer->slot = CN_TIMER_IDLE;
    } else {
        self->timers_free = timer->next;
        timer->next = NULL;
    }
    timer->fn = fn;
    timer->arg = arg;
    cn_timer_set(timer, at);
    return timer;
}

static void s_timer_release(struct cn_timer *timer)
{
    struct cn_loop *loop = timer->loop;
    cn_timer_unset(timer);
    timer->fn = NULL;
    timer->next = loop->timers_free;
    loop->timers_free = timer;
}

void cn_loop_cancel(struct cn_timer *timer)
{
    if (timer != NULL) {
        assert(timer->slot != CN_TIMER_IDLE);
        s_timer_release(timer);
    }
}

/* A timer that a callback sets for the past runs in the next turn. */
static void s_timers_run(struct cn_loop *self)
{
    if (self->heap_count == 0) {
        return;
    }
    uint64_t limit = self->timer_order;
    int64_t now = cn_clock_monotonic();
    while (self->heap_count > 0) {
        struct cn_timer *timer = self->heap[0];
        if (timer->at > now || timer->order >= limit) {
            return;
        }
        void (*fn)(void *arg) = timer->fn;
        void *arg = timer->arg;
        if (fn == NULL) {
            cn_timer_unset(timer);
            cn_fiber_timeout(timer, now);
        } else {
            s_timer_release(timer);
            fn(arg);
        }
    }
}

/* Watches. */

static void s_epoll_event(struct cn_watch *watch, struct epoll_event *event)
{
    event->data.ptr = watch;
    /* epoll reports a hangup even to a watch that wants nothing: without
     * EPOLLET it would do so at every poll. */
    event->events = watch->events == 0 ? EPOLLET : 0;
    if (watch->events & CN_READABLE) {
        event->events |= EPOLLIN;
    }
    if (watch->events & CN_WRITABLE) {
        event->events |= EPOLLOUT;
    }
}

struct cn_watch *cn_loop_watch(struct cn_loop *self,
                               int fd,
                               unsigned events,
                               void (*fn)(void *arg, unsigned events),
                               void *arg)
{
    struct cn_watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL) {
        return NULL;
    }
    watch->loop = self;
    watch->fd = fd;
    watch->events = events;
    watch->fn = fn;
    watch->arg = arg;
    struct epoll_event event = { 0 };
    s_epoll_event(watch, &event);
    if (epoll_ctl(self->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        free(watch);
        return NULL;
    }
    watch->next = self->watches;
    if (watch->next != NULL) {
        watch->next->previous = watch;
    }
    self->watches = watch;
    return watch;
}

void cn_loop_watch_events(struct cn_watch *watch, unsigned events)
{
    if (watch->events == events) {
        return;
    }
    watch->events = events;
    struct epoll_event event = { 0 };
    s_epoll_event(watch, &event);
    int rc = epoll_ctl(watch->loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event);
    assert(rc == 0);
}

void cn_loop_unwatch(struct cn_watch *watch)
{
    if (watch == NULL) {
        return;
    }
    struct cn_loop *loop = watch->loop;
    int rc = epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
    assert(rc == 0);
    if (watch->next != NULL) {
        watch->next->previous = watch->previous;
    }
    if (watch->previous != NULL) {
        watch->previous->next = watch->next;
    } else {
        loop->watches = watch->next;
    }
    if (loop->dispatching) {
        /* An event of this poll may still point here. */
        watch->fn = NULL;
        watch->next = loop->buried;
        loop->buried = watch;
    } else {
        free(watch);
    }
}

static void s_events_dispatch(struct cn_loop *self,
                              const struct epoll_event *events,
                              int count)
{
    self->dispatching = true;
    for (int i = 0; i < count; i++) {
        struct cn_watch *watch = events[i].data.ptr;
        unsigned ready = 0;
        if (events[i].events & (EPOLLERR | EPOLLHUP)) {
            ready = watch->events;
        }
        if (events[i].events & EPOLLIN) {
            ready |= CN_READABLE;
        }
        if (events[i].events & EPOLLOUT) {
            ready |= CN_WRITABLE;
        }
        ready &= watch->events;
        if (watch->fn != NULL && ready != 0) {
            watch->fn(watch->arg, ready);
        }
    }
    self->dispatching = false;
    while (self->buried != NULL) {
        struct cn_watch *watch = self->buried;
        self->buried = watch->next;
        free(watch);
    }
}

/* The turn. */

static int
s_events_wait(struct cn_loop *self, struct epoll_event *events, int64_t at)
{
    int64_t us = -1;
    if (at != INT64_MAX) {
        int64_t now = cn_clock_monotonic();
        us = at <= now ? 0 : at - now;
    }
    if (!self->coarse_poll) {
        struct timespec timeout = { us / CN_SECOND, us % CN_SECOND * 1000 };
        int count = epoll_pwait2(self->epoll_fd, events, EVENTS_MAX,
                                 us < 0 ? NULL : &timeout, NULL);
        if (count >= 0 || (errno != ENOSYS && errno != EPERM)) {
            return count;
        }
        self->coarse_poll = true;
    }
    int ms = -1;
    if (us >= 0) {
        /* Rounded up: waking early would spin until the timer is due. */
        ms = us > CN_HOUR ? 3600000 : (int)((us + 999) / 1000);
    }
    return epoll_wait(self->epoll_fd, events, EVENTS_MAX, ms);
}

static void s_events_poll(struct cn_loop *self, int64_t at)
{
    struct epoll_event events[EVENTS_MAX];
    int count = s_events_wait(self, events, at);
    if (count < 0) {
        assert(errno == EINTR);
        return;
    }
    s_events_dispatch(self, events, count);
}

/* True when there may be more to do at once. */
static bool s_turn_work(struct cn_loop *self)
{
    for (int round = 0; round < ROUNDS_MAX; round++) {
        bool worked = false;
        self->wake_by = INT64_MAX;
        for (size_t i = 0; i < self->prepare_count; i++) {
            if (self->prepares[i].fn(self->prepares[i].arg)) {
                worked = true;
            }
        }
        /* What a fiber sent must be seen by the hooks before the poll. */
        if (cn_fibers_run(self)) {
            worked = true;
        }
        if (!worked) {
            return false;
        }
    }
    return true;
}

static int64_t s_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

const struct cn_histogram *cn_loop_turns(const struct cn_loop *self)
{
    return &self->turns;
}

void cn_loop_run(struct cn_loop *self, int64_t grace_us)
{
    int cut_turns = 0;
    int64_t woken_at = cn_clock_monotonic();
    for (;;) {
        bool busy = s_turn_work(self);
        int64_t at = self->wake_by;
        if (self->stopping) {
            int64_t cut_at = INT64_MAX;
            if (__builtin_add_overflow(self->stop_at, grace_us, &cut_at)) {
                cut_at = INT64_MAX;
            }
            if (self->fiber_count == 0 || cut_turns == CUT_TURNS_MAX) {
                cn_log_flush();
                return;
            }
            if (!self->cut && cn_clock_monotonic() >= cut_at) {
                self->cut = true;
            }
            if (self->cut) {
                cn_fibers_interrupt(self, true);
                cut_turns++;
                busy = true;
            }
            at = s_min(at, cut_at);
        }
        if (self->heap_count > 0) {
            at = s_min(at, self->heap[0]->at);
        }
        cn_log_flush();
        cn_histogram_add(&self->turns, cn_clock_monotonic() - woken_at);
        s_events_poll(self, busy ? 0 : at);
        woken_at = cn_clock_monotonic();
        s_timers_run(self);
    }
}

void cn_loop_stop(struct cn_loop *self)
{
    self->leaving = true;
    if (!self->stopping) {
        self->stopping = true;
        self->stop_at = cn_clock_monotonic();
        cn_fibers_interrupt(self, false);
    }
}

bool cn_loop_stopping(const struct cn_loop *self)
{
    return self->stopping;
}

void cn_loop_set_notice(struct cn_loop *self, int64_t notice_us)
{
    self->notice_us = notice_us;
}

bool cn_loop_leaving(const struct cn_loop *self)
{
    return self->leaving;
}

static void s_on_notice(void *arg)
{
    struct cn_loop *self = arg;
    self->notice = NULL;
    cn_loop_stop(self);
}

/* A second signal ends notice and grace. */
static void s_signalled(struct cn_loop *self)
{
    if (self->leaving) {
        self->cut = true;
    } else if (self->notice_us > 0) {
        self->leaving = true;
        self->notice = cn_loop_timer(
            self, cn_clock_monotonic() + self->notice_us, s_on_notice, self);
    }
    if (self->notice == NULL || self->cut) {
        cn_loop_stop(self);
    }
}

static void s_on_signal(void *arg, unsigned events)
{
    struct cn_loop *self = arg;
    (void)events;
    struct signalfd_siginfo info;
    while (read(self->signal_fd, &info, sizeof info) == sizeof info) {
        s_signalled(self);
    }
}

enum cn_code cn_loop_stop_on_signals(struct cn_loop *self, struct cn_err *err)
{
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    (void)signal(SIGPIPE, SIG_IGN);
    if (pthread_sigmask(SIG_BLOCK, &signals, NULL) != 0) {
        return cn_fail(err, CN_INTERNAL, "signals: cannot be blocked");
    }
    int fd = signalfd(self->signal_fd, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0) {
        return cn_fail(err, CN_INTERNAL, "signalfd: errno %d", errno);
    }
    self->signal_fd = fd;
    if (self->signal_watch == NULL) {
        self->signal_watch =
            cn_loop_watch(self, fd, CN_READABLE, s_on_signal, self);
        if (self->signal_watch == NULL) {
            return cn_fail(err, CN_NOMEM, "signalfd: cannot be watched");
        }
    }
    return CN_OK;
}

enum cn_code cn_loop_prepare(struct cn_loop *self,
                             bool (*fn)(void *arg),
                             void *arg,
                             struct cn_err *err)
{
    if (self->prepare_count == CN_LOOP_PREPARES_MAX) {
        return cn_fail(err, CN_INTERNAL, "loop: too many prepare hooks");
    }
    self->prepares[self->prepare_count].fn = fn;
    self->prepares[self->prepare_count].arg = arg;
    self->prepare_count++;
    return CN_OK;
}

void cn_loop_unprepare(struct cn_loop *self, bool (*fn)(void *arg), void *arg)
{
    size_t kept = 0;
    for (size_t i = 0; i < self->prepare_count; i++) {
        if (self->prepares[i].fn != fn || self->prepares[i].arg != arg) {
            self->prepares[kept++] = self->prepares[i];
        }
    }
    self->prepare_count = kept;
}

void cn_loop_wake_by(struct cn_loop *self, int64_t at)
{
    self->wake_by = s_min(self->wake_by, at);
}

struct cn_loop *cn_loop_new(void)
{
    struct cn_loop *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return NULL;
    }
    self->signal_fd = -1;
    self->wake_by = INT64_MAX;
    self->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (self->epoll_fd < 0) {
        free(self);
        return NULL;
    }
    return self;
}

void cn_loop_free(struct cn_loop *self)
{
    if (self == NULL) {
        return;
    }
    assert(self->fiber_count == 0);
    cn_loop_unwatch(self->signal_watch);
    if (self->signal_fd >= 0) {
        (void)close(self->signal_fd);
    }
    while (self->watches != NULL) {
        struct cn_watch *watch = self->watches;
        self->watches = watch->next;
        free(watch);
    }
    cn_fibers_free(self);
    while (self->heap_count > 0) {
        s_timer_release(self->heap[self->heap_count - 1]);
    }
    while (self->timers_free != NULL) {
        struct cn_timer *timer = self->timers_free;
        self->timers_free = timer->next;
        free(timer);
    }
    free(self->heap);
    (void)close(self->epoll_fd);
    free(self);
}
