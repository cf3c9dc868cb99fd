/* SPDX-License-Identifier: Apache-2.0 */
/* Work that is due at an instant, and the handler that does it. The ticker is
 * in common/deadlines/due.h. */
#ifndef CN_CONTRACT_DUE_H
#define CN_CONTRACT_DUE_H

#include "common/base/arena.h"
#include "common/base/err.h"
#include "common/base/id.h"

#include <stdint.h>

struct cn_env;
struct cn_op;

struct cn_due {
    struct cn_env *env;
    struct cn_uuid tenant_id;
    const char *kind;
    struct cn_uuid id;
    int64_t fire_at;
    int64_t now_at;
    struct cn_arena *arena;
};

/* Does the work, and ends it with cn_due_end or puts it off with cn_due_put
 * (store/step.h): a row that it leaves is due again. Runs in a fiber of its
 * own. CN_STALE runs it again from its read; after any other failure the row is
 * due again within 30 s, the sooner the less it is late already. A process that
 * stood still for longer than its claims finds that another has begun the same
 * work: the unit must settle that by a version or a constraint. */
typedef void cn_work_fn(struct cn_op *op, const struct cn_due *due);

struct cn_due_handler {
    const char *kind;
    cn_work_fn *work;
};

#endif
