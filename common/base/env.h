/* SPDX-License-Identifier: Apache-2.0 */
/* Clock, randomness, database and bus of a process. Code reaches them only
 * through this struct, so that a test can replace them. */
#ifndef CN_ENV_H
#define CN_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cn_loop;
struct cn_db;
struct cn_bus;
struct cn_seal;
struct cn_outbox;

struct cn_env {
    int64_t (*now)(struct cn_env *env); /* microseconds UTC */
    void (*random)(struct cn_env *env, void *buffer, size_t size);
    struct cn_loop *loop;
    struct cn_db *db;     /* NULL in the gateway */
    struct cn_bus *bus;   /* to the other services; NULL where none is called */
    struct cn_seal *seal; /* in the gateway it seals positions of streams */
    struct cn_outbox *outbox; /* NULL in the gateway */
    /* Called after a unit has committed that wrote events (told) or due work
     * (due): those who wait for them look now, not at their next poll. NULL:
     * nobody waits. */
    void (*committed)(struct cn_env *env, bool told, bool due);
    void *context; /* for the functions of a test; NULL in production */
    /* The newest id (common/base/id.c): ids rise even when the clock does not.
     */
    int64_t id_ms;
    unsigned id_counter;
};

/* Real clock and randomness; the rest is NULL until main sets it. */
struct cn_env cn_env_real(void);

#endif
