/* SPDX-License-Identifier: Apache-2.0 */
/* The system's clock and the kernel's randomness. */
#include "common/base/env.h"

#include "common/base/clock.h"

#include <assert.h>
#include <errno.h>
#include <malloc.h>
#include <string.h>
#include <sys/random.h>

/* One getrandom serves many nonces and ids. Bytes that are handed out are wiped
 * here. */
enum { POOL_SIZE = 4096 };
static unsigned char s_pool[POOL_SIZE];
static size_t s_left;

static int64_t s_now(struct cn_env *env)
{
    (void)env;
    return cn_clock_real();
}

/* getrandom of an initialised kernel fails only by a signal. */
static void s_random_read(unsigned char *buffer, size_t size)
{
    while (size > 0) {
        ssize_t got = getrandom(buffer, size, 0);
        if (got < 0) {
            assert(errno == EINTR);
            continue;
        }
        buffer += got;
        size -= (size_t)got;
    }
}

static void s_random(struct cn_env *env, void *buffer, size_t size)
{
    (void)env;
    if (size > POOL_SIZE / 4) {
        s_random_read(buffer, size);
        return;
    }
    if (size > s_left) {
        s_random_read(s_pool, sizeof s_pool);
        s_left = sizeof s_pool;
    }
    s_left -= size;
    memcpy(buffer, s_pool + s_left, size);
    explicit_bzero(s_pool + s_left, size);
}

/* By default malloc returns the memory of a large reply to the kernel and
 * fetches it again, page by page, for the next one. */
static void s_keep_memory(void)
{
    enum { MMAP_FROM = 2 << 20, TRIM_FROM = 2 << 20 };
    /* At the start, before there is another thread.
     * NOLINTBEGIN(concurrency-mt-unsafe) */
    (void)mallopt(M_MMAP_THRESHOLD, MMAP_FROM);
    (void)mallopt(M_TRIM_THRESHOLD, TRIM_FROM);
    /* NOLINTEND(concurrency-mt-unsafe) */
}

struct cn_env cn_env_real(void)
{
    s_keep_memory();
    struct cn_env env = { 0 };
    env.now = s_now;
    env.random = s_random;
    return env;
}
