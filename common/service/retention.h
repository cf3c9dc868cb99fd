/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept for a time only.
 *
 * Records of idempotency keys, with their sealed replies: a client may repeat a
 * request for two days; after that its key is free.
 *
 * Events: until every consumer that has ever named itself has passed them and
 * the replay window is over. A consumer that begins later begins with a
 * snapshot. */
#ifndef CN_RETENTION_H
#define CN_RETENTION_H

#include "common/base/env.h"
#include "common/base/err.h"

#include <stdint.h>

#define CN_IDEMPOTENCY_KEEP_US ((int64_t)48 * 3600 * 1000000)
/* Between two sweeps. */
#define CN_RETENTION_PAUSE_US ((int64_t)600 * 1000000)

enum { CN_RETENTION_BATCH = 1000 }; /* rows deleted in one unit */

/* Deletes the records that are older, batch by batch, until none is left. Runs
 * in a fiber. *ret_count: how many. */
CN_CHECKED enum cn_code
cn_retention_sweep(struct cn_env *env, int64_t *ret_count, struct cn_err *err);
/* Notes how far the consumers have read, then deletes the events that occurred
 * before before_at and that all of them have passed, batch by batch. Runs in a
 * fiber. *ret_count: how many. */
CN_CHECKED enum cn_code cn_retention_sweep_log(struct cn_env *env,
                                               int64_t before_at,
                                               int64_t *ret_count,
                                               struct cn_err *err);
/* Sweeps every ten minutes, for the life of the process, on every replica: what
 * another has deleted is gone, which is all that is wanted. log_keep_us is the
 * replay window. */
CN_CHECKED enum cn_code
cn_retention_start(struct cn_env *env, int64_t log_keep_us, struct cn_err *err);

#endif
