/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept for a time only: the records of idempotency keys, with their
 * sealed replies. A client may repeat a request for two days (api.md asks for
 * one at least); after that its key is free. */
#ifndef CN_RETENTION_H
#define CN_RETENTION_H

#include "common/env.h"
#include "common/err.h"

#include <stdint.h>

#define CN_IDEMPOTENCY_KEEP_US ((int64_t)48 * 3600 * 1000000)
#define CN_RETENTION_PAUSE_US                                                  \
    ((int64_t)600 * 1000000) /* between two sweeps                             \
                              */

enum { CN_RETENTION_BATCH = 1000 }; /* rows deleted in one unit */

/* Deletes the records that are older, batch by batch, until none is left. Runs
 * in a fiber. *ret_count: how many. */
CN_CHECKED enum cn_code
cn_retention_sweep(struct cn_env *env, int64_t *ret_count, struct cn_err *err);
/* Sweeps every ten minutes, for the life of the process, on every replica: what
 * another has deleted is gone, which is all that is wanted. */
CN_CHECKED enum cn_code cn_retention_start(struct cn_env *env,
                                           struct cn_err *err);

#endif
