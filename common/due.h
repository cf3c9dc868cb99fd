/* SPDX-License-Identifier: Apache-2.0 */
/* Work that is due at an instant: rows of <schema>.due, claimed by the ticker
 * and handed to a handler in the tenant's name (design.md 7). The ticker renews
 * the claim while the handler runs. A claim lapses after CN_DUE_CLAIM_US, so
 * that work of a killed process is soon done by another.
 */
#ifndef CN_DUE_H
#define CN_DUE_H

#include "common/arena.h"
#include "common/err.h"
#include "common/id.h"

#include <stdint.h>

struct cn_env;
struct cn_service;

enum {
    CN_DUE_CLAIM_US = 5000000,   /* without being renewed */
    CN_DUE_BUDGET_US = 25000000, /* of one handler */
    CN_DUE_BATCH = 32,
    CN_DUE_IN_FLIGHT_MAX = 64,
    CN_DUE_POLL_US = 250000
};

struct cn_due {
    struct cn_env *env;
    struct cn_uuid tenant_id;
    const char *kind;
    struct cn_uuid id;
    int64_t fire_at;
    int64_t now_at;
    struct cn_arena *arena;
};

/* Does the work; its unit ends with cn_write_due_done, or puts the row off with
 * cn_write_due at a later instant. Runs in a fiber of its own. CN_STALE runs it
 * again from its read; after any other failure the row is due again within 30
 * s, the sooner the less it is late already. A process that stood still for
 * longer than its claims finds that another has begun the same work: the unit
 * must settle that by a version or a constraint. */
typedef enum cn_code
cn_due_fn(void *self, const struct cn_due *due, struct cn_err *err);

struct cn_due_handler {
    const char *kind;
    cn_due_fn *handler;
};

/* Starts the ticker. It looks every 250 ms and at every hint. Due-ness is by
 * the env's clock, the claim by the database's. */
CN_CHECKED enum cn_code cn_due_start(struct cn_env *env,
                                     const struct cn_service *service,
                                     struct cn_err *err);
/* A due row was committed here: look now. */
void cn_due_hint(void);

#endif
