/* SPDX-License-Identifier: Apache-2.0 */
/* Fibers: one per unit of work, switched only when they park. Why: see
 * common/README.md.
 *
 * Rules:
 * - A fiber is never destroyed while parked: it is woken with an error and
 *   unwinds by itself.
 * - It waits with a token {fiber, seq}. seq counts up at each wake, so a late
 *   wake with an old token does nothing.
 * - Its deadline bounds every park: CN_DEADLINE when it passes.
 * - What another party writes to while the fiber is parked lives in a pool or
 *   an arena that outlives the wait, never on the fiber's stack. */
#ifndef CN_FIBER_H
#define CN_FIBER_H

#include "common/base/err.h"

#include <stddef.h>
#include <stdint.h>

struct cn_loop;
struct cn_fiber;

enum { CN_FIBER_STACK_SIZE = 256 << 10, CN_FIBERS_MAX = 4096 };

struct cn_token {
    struct cn_fiber *fiber;
    uint64_t seq;
};

/* Starts fn(arg) in a new fiber on the loop's next turn. deadline_at is on the
 * monotonic clock; INT64_MAX for a fiber that lives as long as the process.
 * CN_BUSY when CN_FIBERS_MAX are alive, CN_NOMEM without memory, CN_UNAVAILABLE
 * when the loop is stopping and the fiber has no deadline or the grace is over.
 */
CN_CHECKED enum cn_code cn_fiber_spawn(struct cn_loop *loop,
                                       void (*fn)(void *arg),
                                       void *arg,
                                       int64_t deadline_at,
                                       struct cn_err *err);
/* True inside a fiber. */
bool cn_fiber_running(void);
/* Token of the wait that this fiber is about to begin. Take it once per wait,
 * before anybody can wake the fiber, and give it to all who may. It forgets a
 * wake for an earlier wait on which the fiber never parked. */
struct cn_token cn_fiber_token(void);
/* Parks until cn_fiber_wake with the present token or until the earlier of
 * until_at (monotonic, INT64_MAX: none) and the fiber's deadline. Returns the
 * code given to the wake, or CN_DEADLINE, or CN_UNAVAILABLE when the loop
 * stops: a fiber without a deadline at once, others when the grace is over. */
CN_CHECKED enum cn_code cn_fiber_park(int64_t until_at);
/* Makes the fiber ready with this code; when it has not parked yet, its park
 * returns at once. False for an old token. */
bool cn_fiber_wake(struct cn_token token, enum cn_code code);
/* Parks for a time; CN_OK when it has passed, CN_DEADLINE when the fiber's own
 * deadline came first, CN_UNAVAILABLE as for a park. 0 lets the others run. */
CN_CHECKED enum cn_code cn_fiber_sleep(int64_t us);
/* The rest of a fiber that works in rounds: it parks until the time has come or
 * somebody calls. Zeroed at first; a call while nobody rests does nothing. */
struct cn_rest {
    struct cn_token token;
    bool parked;
};
/* Returns as cn_fiber_park does. Most look in every case. */
enum cn_code cn_rest(struct cn_rest *self, int64_t until_at);
void cn_rest_call(struct cn_rest *self);
/* Deadline of the running fiber, and a way to narrow or renew it. */
int64_t cn_fiber_deadline(void);
void cn_fiber_set_deadline(int64_t deadline_at);
/* Alive now, for metrics and tests. */
size_t cn_fiber_count(const struct cn_loop *loop);

#endif
