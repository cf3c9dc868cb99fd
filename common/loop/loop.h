/* SPDX-License-Identifier: Apache-2.0 */
/* The one event loop of a process: file descriptors, timers, fibers. */
#ifndef CN_LOOP_H
#define CN_LOOP_H

#include "common/base/err.h"

#include <stdint.h>

struct cn_loop;
struct cn_watch;
struct cn_timer;

enum { CN_READABLE = 1, CN_WRITABLE = 2 };

struct cn_loop *cn_loop_new(void);
/* All fibers must have ended. NULL is accepted. */
void cn_loop_free(struct cn_loop *self);

/* Runs until cn_loop_stop and until the last fiber has ended or grace_us is
 * over. Each turn: the prepare hooks, ready fibers, then poll. */
void cn_loop_run(struct cn_loop *self, int64_t grace_us);
/* Ends the loop. Parked fibers without a deadline are woken with CN_UNAVAILABLE
 * now, those with one (requests) when the grace is over; from then on no park
 * waits. May be called from a signal watch, a fiber or a hook. */
void cn_loop_stop(struct cn_loop *self);
bool cn_loop_stopping(const struct cn_loop *self);
/* Stops on SIGTERM and SIGINT (signalfd), a second one ends the grace; ignores
 * SIGPIPE. Call it before any thread is made: they inherit the mask. */
CN_CHECKED enum cn_code cn_loop_stop_on_signals(struct cn_loop *self,
                                                struct cn_err *err);

/* How long the loop runs on as before after a signal asks it to stop, so that
 * those who send work can learn of it first. 0 until it is set. */
void cn_loop_set_notice(struct cn_loop *self, int64_t notice_us);
/* Was the loop asked to stop, by a signal or by cn_loop_stop? From then on no
 * work should be sent here. */
bool cn_loop_leaving(const struct cn_loop *self);

/* How long the turns took, from the end of one poll to the beginning of the
 * next: so long everything else waited. */
struct cn_histogram;
const struct cn_histogram *cn_loop_turns(const struct cn_loop *self);

/* Level-triggered. fn(arg, events) runs outside any fiber and must not park.
 * Returns NULL when memory or epoll fails. */
struct cn_watch *cn_loop_watch(struct cn_loop *self,
                               int fd,
                               unsigned events,
                               void (*fn)(void *arg, unsigned events),
                               void *arg);
void cn_loop_watch_events(struct cn_watch *watch, unsigned events);
/* Before the fd is closed. NULL is accepted. */
void cn_loop_unwatch(struct cn_watch *watch);

/* Runs fn(arg) once at the monotonic time `at`, outside any fiber. NULL without
 * memory. The handle is void after fn ran or was cancelled. */
struct cn_timer *cn_loop_timer(struct cn_loop *self,
                               int64_t at,
                               void (*fn)(void *arg),
                               void *arg);
void cn_loop_cancel(struct cn_timer *timer);

/* Runs at every turn before poll: for sockets whose fd is edge-triggered
 * (ZMQ_FD). fn returns true when it did work, and the loop turns again without
 * sleeping. At most 8 hooks. */
CN_CHECKED enum cn_code cn_loop_prepare(struct cn_loop *self,
                                        bool (*fn)(void *arg),
                                        void *arg,
                                        struct cn_err *err);
/* Removes a hook. Not from inside a hook. */
void cn_loop_unprepare(struct cn_loop *self, bool (*fn)(void *arg), void *arg);
/* Tells poll to return no later than `at` (monotonic) this turn; for a prepare
 * hook whose library has timeouts of its own. */
void cn_loop_wake_by(struct cn_loop *self, int64_t at);

#endif
