/* SPDX-License-Identifier: Apache-2.0 */
/* Stacks, switching, waking. A fiber's record lives as long as the loop, since
 * an old token may point to it at any time. */
#include "common/loop/fiber.h"

#include "common/base/clock.h"
#include "common/loop/loop_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define FIBER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBER_ASAN 1
#endif
#endif
#ifdef FIBER_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

/* So many free fibers keep the pages of their stacks; others give them back. */
enum { WARM_MAX = 64 };

enum fiber_state { FIBER_FREE, FIBER_READY, FIBER_RUNNING, FIBER_PARKED };

struct cn_fiber {
    struct cn_loop *loop;
    struct cn_fiber *next;     /* in the ready queue or the free list */
    struct cn_fiber *next_all; /* in the list of all */
    enum fiber_state state;
    bool ended;
    bool warm;
    bool woken; /* before it parked; code holds what its park returns */
    enum cn_code code;
    uint64_t seq;
    int64_t deadline_at;
    int64_t until_at;
    void (*fn)(void *arg);
    void *arg;
    struct cn_timer timer;
    char *stack; /* lowest usable byte; the guard page lies below */
    ucontext_t context;
    void *fake_stack;
};

static struct cn_fiber *s_current;

/* The loop's stack, as AddressSanitizer gave it at the switch. */
#ifdef FIBER_ASAN
static const void *s_loop_stack;
static size_t s_loop_stack_size;
#endif

/* AddressSanitizer is told of each switch twice: before it on the old stack,
 * after it on the new one. fake NULL: the frames left are never entered again.
 */
static void s_leaving(void **fake, const void *stack, size_t size)
{
#ifdef FIBER_ASAN
    __sanitizer_start_switch_fiber(fake, stack, size);
#else
    (void)fake;
    (void)stack;
    (void)size;
#endif
}

static void s_entered_loop(void *fake)
{
#ifdef FIBER_ASAN
    __sanitizer_finish_switch_fiber(fake, NULL, NULL);
#else
    (void)fake;
#endif
}

static void s_entered_fiber(void *fake)
{
#ifdef FIBER_ASAN
    __sanitizer_finish_switch_fiber(fake, &s_loop_stack, &s_loop_stack_size);
#else
    (void)fake;
#endif
}

static void s_leaving_for_loop(void **fake)
{
#ifdef FIBER_ASAN
    s_leaving(fake, s_loop_stack, s_loop_stack_size);
#else
    s_leaving(fake, NULL, 0);
#endif
}

static void s_fiber_entry(void)
{
    struct cn_fiber *self = s_current;
    s_entered_fiber(NULL);
    self->fn(self->arg);
    self->ended = true;
    /* NULL: AddressSanitizer frees what it kept for this stack. */
    s_leaving_for_loop(NULL);
    (void)setcontext(&self->loop->context);
    abort();
}

static void s_resume(struct cn_fiber *self)
{
    struct cn_loop *loop = self->loop;
    assert(s_current == NULL);
    self->state = FIBER_RUNNING;
    s_current = self;
    s_leaving(&loop->fake_stack, self->stack, CN_FIBER_STACK_SIZE);
    int rc = swapcontext(&loop->context, &self->context);
    assert(rc == 0);
    s_entered_loop(loop->fake_stack);
    s_current = NULL;
}

/* Back to the loop until the fiber is made ready. */
static void s_switch_to_loop(struct cn_fiber *self)
{
    s_leaving_for_loop(&self->fake_stack);
    int rc = swapcontext(&self->context, &self->loop->context);
    assert(rc == 0);
    s_entered_fiber(self->fake_stack);
}

static void s_make_ready(struct cn_fiber *self, enum cn_code code)
{
    struct cn_loop *loop = self->loop;
    self->seq++;
    self->code = code;
    self->state = FIBER_READY;
    self->next = NULL;
    if (loop->ready_last == NULL) {
        loop->ready_first = self;
    } else {
        loop->ready_last->next = self;
    }
    loop->ready_last = self;
}

/* Making and reusing. */

static char *s_stack_new(void)
{
    size_t guard = (size_t)sysconf(_SC_PAGESIZE);
    size_t size = guard + CN_FIBER_STACK_SIZE;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (memory == MAP_FAILED) {
        return NULL;
    }
    if (mprotect(memory, guard, PROT_NONE) != 0) {
        (void)munmap(memory, size);
        return NULL;
    }
    return memory + guard;
}

static void s_stack_free(char *stack)
{
    size_t guard = (size_t)sysconf(_SC_PAGESIZE);
    (void)munmap(stack - guard, guard + CN_FIBER_STACK_SIZE);
}

static struct cn_fiber *s_fiber_new(struct cn_loop *loop)
{
    struct cn_fiber *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return NULL;
    }
    self->stack = s_stack_new();
    if (self->stack == NULL || !cn_timer_reserve(loop)) {
        if (self->stack != NULL) {
            s_stack_free(self->stack);
        }
        free(self);
        return NULL;
    }
    self->loop = loop;
    self->timer.loop = loop;
    self->timer.slot = CN_TIMER_IDLE;
    self->timer.arg = self;
    self->next_all = loop->fibers;
    loop->fibers = self;
    loop->fiber_total++;
    return self;
}

static struct cn_fiber *s_fiber_take(struct cn_loop *loop)
{
    struct cn_fiber *self = loop->fibers_free;
    if (self == NULL) {
        return s_fiber_new(loop);
    }
    loop->fibers_free = self->next;
    if (self->warm) {
        self->warm = false;
        loop->warm_count--;
    }
    return self;
}

static void s_fiber_release(struct cn_fiber *self)
{
    struct cn_loop *loop = self->loop;
    cn_timer_unset(&self->timer);
    self->seq++;
    self->state = FIBER_FREE;
    self->next = loop->fibers_free;
    loop->fibers_free = self;
    loop->fiber_count--;
#ifdef FIBER_ASAN
    /* The last frames were left without returning: they are still poisoned. */
    ASAN_UNPOISON_MEMORY_REGION(self->stack, CN_FIBER_STACK_SIZE);
#endif
    if (loop->warm_count < WARM_MAX) {
        self->warm = true;
        loop->warm_count++;
    } else {
        (void)madvise(self->stack, CN_FIBER_STACK_SIZE, MADV_DONTNEED);
    }
}

/* A function of its own: the compiler must expect getcontext to return twice.
 */
__attribute__((noinline)) static void s_context_make(struct cn_fiber *self)
{
    int rc = getcontext(&self->context);
    assert(rc == 0);
    self->context.uc_stack.ss_sp = self->stack;
    self->context.uc_stack.ss_size = CN_FIBER_STACK_SIZE;
    self->context.uc_link = NULL;
    makecontext(&self->context, s_fiber_entry, 0);
    /* AddressSanitizer's swapcontext clears what it knows of the stack named
     * here, at every switch; the annotations above make that needless. */
    self->context.uc_stack.ss_sp = NULL;
    self->context.uc_stack.ss_size = 0;
}

enum cn_code cn_fiber_spawn(struct cn_loop *loop,
                            void (*fn)(void *arg),
                            void *arg,
                            int64_t deadline_at,
                            struct cn_err *err)
{
    if (loop->cut || (loop->stopping && deadline_at == INT64_MAX)) {
        return cn_fail(err, CN_UNAVAILABLE, "fiber: the loop is stopping");
    }
    if (loop->fiber_count >= CN_FIBERS_MAX) {
        return cn_fail(err, CN_BUSY, "fiber: %d are alive", CN_FIBERS_MAX);
    }
    struct cn_fiber *self = s_fiber_take(loop);
    if (self == NULL) {
        return cn_fail(err, CN_NOMEM, "fiber: no memory for a stack");
    }
    s_context_make(self);
    self->fn = fn;
    self->arg = arg;
    self->deadline_at = deadline_at;
    self->ended = false;
    self->woken = false;
    self->fake_stack = NULL;
    loop->fiber_count++;
    s_make_ready(self, CN_OK);
    return CN_OK;
}

/* Waiting and waking. */

/* A stopping loop waits for fibers with a deadline (requests) until the grace
 * is over, and not at all for the others. */
static bool s_interrupted(const struct cn_fiber *self)
{
    return self->loop->cut ||
           (self->loop->stopping && self->deadline_at == INT64_MAX);
}

/* Goes to the end of the ready queue, so that the others run first. */
static enum cn_code s_yield(struct cn_fiber *self, enum cn_code code)
{
    s_make_ready(self, code);
    s_switch_to_loop(self);
    return self->code;
}

bool cn_fiber_running(void)
{
    return s_current != NULL;
}

struct cn_token cn_fiber_token(void)
{
    struct cn_fiber *self = s_current;
    assert(self != NULL);
    self->woken = false;
    return (struct cn_token){ self, self->seq };
}

enum cn_code cn_fiber_park(int64_t until_at)
{
    struct cn_fiber *self = s_current;
    assert(self != NULL);
    if (self->woken) {
        self->woken = false;
        return self->code;
    }
    if (s_interrupted(self)) {
        /* A fiber that tries again and again must not keep the others from
         * ending. */
        return s_yield(self, CN_UNAVAILABLE);
    }
    if (until_at > self->deadline_at) {
        until_at = self->deadline_at;
    }
    if (until_at != INT64_MAX) {
        if (until_at <= cn_clock_monotonic()) {
            self->seq++;
            return CN_DEADLINE;
        }
        /* A timer that is set for an earlier time stays, and is set anew when
         * it runs: most fibers park many times under one deadline. */
        if (self->timer.slot == CN_TIMER_IDLE || self->timer.at > until_at) {
            cn_timer_set(&self->timer, until_at);
        }
    }
    self->until_at = until_at;
    self->state = FIBER_PARKED;
    s_switch_to_loop(self);
    return self->code;
}

void cn_fiber_timeout(struct cn_timer *timer, int64_t now)
{
    struct cn_fiber *self = timer->arg;
    if (self->state != FIBER_PARKED) {
        return;
    }
    if (self->until_at <= now) {
        s_make_ready(self, CN_DEADLINE);
    } else if (self->until_at != INT64_MAX) {
        cn_timer_set(timer, self->until_at);
    }
}

bool cn_fiber_wake(struct cn_token token, enum cn_code code)
{
    struct cn_fiber *fiber = token.fiber;
    if (fiber == NULL || fiber->seq != token.seq) {
        return false;
    }
    if (fiber->state == FIBER_PARKED) {
        s_make_ready(fiber, code);
        return true;
    }
    /* It has taken its token and has not parked yet. */
    assert(fiber->state == FIBER_RUNNING);
    fiber->seq++;
    fiber->code = code;
    fiber->woken = true;
    return true;
}

enum cn_code cn_fiber_sleep(int64_t us)
{
    struct cn_fiber *self = s_current;
    assert(self != NULL);
    /* Nobody holds a token of this wait. */
    self->seq++;
    self->woken = false;
    if (us <= 0) {
        return s_yield(self, s_interrupted(self) ? CN_UNAVAILABLE : CN_OK);
    }
    int64_t until_at = INT64_MAX;
    if (__builtin_add_overflow(cn_clock_monotonic(), us, &until_at)) {
        until_at = INT64_MAX;
    }
    bool whole = until_at <= self->deadline_at;
    enum cn_code rc = cn_fiber_park(until_at);
    return rc == CN_DEADLINE && whole ? CN_OK : rc;
}

enum cn_code cn_rest(struct cn_rest *self, int64_t until_at)
{
    self->token = cn_fiber_token();
    self->parked = true;
    enum cn_code rc = cn_fiber_park(until_at);
    self->parked = false;
    return rc;
}

void cn_rest_call(struct cn_rest *self)
{
    if (self->parked) {
        (void)cn_fiber_wake(self->token, CN_OK);
    }
}

int64_t cn_fiber_deadline(void)
{
    assert(s_current != NULL);
    return s_current->deadline_at;
}

void cn_fiber_set_deadline(int64_t deadline_at)
{
    assert(s_current != NULL);
    s_current->deadline_at = deadline_at;
}

size_t cn_fiber_count(const struct cn_loop *loop)
{
    return loop->fiber_count;
}

/* For the loop. */

bool cn_fibers_run(struct cn_loop *loop)
{
    struct cn_fiber *last = loop->ready_last;
    if (last == NULL) {
        return false;
    }
    struct cn_fiber *fiber = NULL;
    do {
        fiber = loop->ready_first;
        assert(fiber != NULL); /* last is behind it */
        loop->ready_first = fiber->next;
        if (loop->ready_first == NULL) {
            loop->ready_last = NULL;
        }
        s_resume(fiber);
        if (fiber->ended) {
            s_fiber_release(fiber);
        }
    } while (fiber != last);
    return true;
}

void cn_fibers_interrupt(struct cn_loop *loop, bool all)
{
    for (struct cn_fiber *fiber = loop->fibers; fiber != NULL;
         fiber = fiber->next_all) {
        if (fiber->state == FIBER_PARKED &&
            (all || fiber->deadline_at == INT64_MAX)) {
            s_make_ready(fiber, CN_UNAVAILABLE);
        }
    }
}

void cn_fibers_free(struct cn_loop *loop)
{
    while (loop->fibers != NULL) {
        struct cn_fiber *fiber = loop->fibers;
        loop->fibers = fiber->next_all;
        s_stack_free(fiber->stack);
        free(fiber);
    }
}
