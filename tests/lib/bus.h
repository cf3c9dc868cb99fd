/* SPDX-License-Identifier: Apache-2.0 */
/* The bus between instances of it on one loop, over loopback, and in processes
 * of their own where one is killed or stopped. The service is "referrals", its
 * caller "gateway". */
#ifndef TEST_BUS_H
#define TEST_BUS_H

#include "common/base/clock.h"
#include "common/base/env.h"
#include "common/bus/bus.h"
#include "common/loop/fiber.h"
#include "common/loop/loop.h"

#include <sys/types.h>

enum { TEST_SERVERS_MAX = 3, TEST_HELD_MAX = 2048, TEST_PATIENCE_MS = 20000 };

struct test_keys {
    char public_key[CN_BUS_KEY_SIZE];
    char secret_key[CN_BUS_KEY_SIZE];
};

/* A replica of the service. Its methods: "echo"; "slow", which makes the file
 * whose path is the body, and echoes when the file has been removed; "fail";
 * "seen", the number of requests before this one; any other: all of the
 * request except its body, as text. */
struct test_server {
    struct cn_bus *bus;
    struct cn_loop *loop;
    char address[64];
    bool holds; /* keeps every request */
    bool ill;
    struct cn_bus_request *held[TEST_HELD_MAX];
    size_t held_count;
    size_t seen;
};

struct test_net {
    struct cn_loop *loop;
    struct cn_env env;
    struct test_keys gateway;
    struct test_keys documents;
    struct test_keys service;
    char peers[256];
    struct test_server servers[TEST_SERVERS_MAX];
    struct cn_bus *client;
    void (*body)(struct test_net *world);
};

/* Runs the body in a fiber, with a loop and keys, and frees all of it. */
void test_run(void (*body)(struct test_net *world));

/* Lets the loop turn until a condition holds; fails after TEST_PATIENCE_MS. */
#define UNTIL(condition)                                                       \
    do {                                                                       \
        int64_t give_up_at =                                                   \
            cn_clock_monotonic() + TEST_PATIENCE_MS * (int64_t)1000;           \
        while (!(condition)) {                                                 \
            if (cn_clock_monotonic() > give_up_at) {                           \
                fail_msg("never: %s", #condition);                             \
            }                                                                  \
            assert_int_equal(cn_fiber_sleep(1000), CN_OK);                     \
        }                                                                      \
    } while (0)

/* Servers. */

struct test_keys test_keys(void);
struct cn_bus *test_bus(struct test_net *world,
                        const char *name,
                        const struct test_keys *keys,
                        const char *bind,
                        unsigned queue_max);
/* An address that is free now. */
void test_free_address(char address[64]);
/* A bus that does not serve yet, like a process that starts. Its address is
 * new the first time, and the same after that. */
void test_listen(struct test_net *world, unsigned which, unsigned queue_max);
/* Lets it serve; makes it first if it does not exist. */
void test_serve(struct test_net *world, unsigned which, unsigned queue_max);
/* Answers the calls that it held, and holds no more. */
void test_release(struct test_server *server);
/* Forgets the calls that it held, as when a process dies. */
void test_kill(struct test_server *server);

/* A server in a process of its own, which ends with this program. SIGTERM
 * stops it as it does a service. main must first give its arguments to
 * test_child_main, which returns false when they are not those of such a
 * process. */
pid_t test_child_start(struct test_net *world, const char *address);
/* Kills it and waits for it. */
void test_child_kill(pid_t child);
bool test_child_main(int argc, char **argv, int *ret_status);

/* Calls. */

/* One call in a fiber of its own. */
struct test_errand {
    struct cn_bus *bus;
    struct cn_bus_call call;
    struct cn_arena *arena;
    struct cn_bus_reply reply;
    struct cn_err err;
    enum cn_code rc;
    int64_t took_us;
    bool done;
};

/* The gateway, which is made by the first call, connects; second may be NULL.
 */
void test_connect(struct test_net *world,
                  const char *first,
                  const char *second);
struct cn_bus_call
test_read(const char *method, const char *body, int64_t budget_us);
/* Begins a call and does not wait for it. */
struct test_errand *test_start(struct test_net *world, struct cn_bus_call call);
/* Calls and waits for the outcome. */
struct test_errand *test_errand(struct test_net *world,
                                struct cn_bus_call call);
void test_errand_free(struct test_errand *errand);
void test_expect(struct test_errand *errand, enum cn_code rc);
void test_expect_text(struct test_errand *errand, const char *text);
/* A read that must succeed. */
void test_must_answer(struct test_net *world);
/* Is the replica up, in the order in which they were connected? */
bool test_up(const struct test_net *world, size_t replica);

#endif
