/* SPDX-License-Identifier: Apache-2.0 */
/* The world as a service sees it: clock, randomness, database, bus. Everything
 * that the simulator replaces is reached through this struct and nowhere else.
 */
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
    struct cn_seal *seal; /* in the gateway: of the stream's positions */
    struct cn_outbox *outbox; /* NULL in the gateway */
    /* A unit was committed that told events or put work: whoever waits for
     * them looks now instead of at its next poll. NULL: nobody waits. */
    void (*committed)(struct cn_env *env, bool told, bool due);
    void *context; /* of the replaced functions; NULL in production */
    /* Of the newest id (common/base/id.c): ids rise even when the clock does
     * not. */
    int64_t id_ms;
    unsigned id_counter;
};

/* Real clock and randomness; the rest is NULL until main sets it. */
struct cn_env cn_env_real(void);

#endif
