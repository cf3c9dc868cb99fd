/* SPDX-License-Identifier: Apache-2.0 */
/* Ends our own roles' backends that hold the horizon of the whole cluster: a
 * pipelined write whose Sync never came (its client was stopped or cut off)
 * stays active and waits for the client. No timeout of PostgreSQL ends it. */
#ifndef CN_WATCHDOG_H
#define CN_WATCHDOG_H

#include "common/base/env.h"
#include "common/base/err.h"

#include <stdint.h>

/* Looks once. *ret_count: how many backends were ended. In a fiber. */
CN_CHECKED enum cn_code
cn_watchdog_look(struct cn_env *env, int64_t *ret_count, struct cn_err *err);
/* Looks every 2 s, for the life of the process. */
CN_CHECKED enum cn_code cn_watchdog_start(struct cn_env *env,
                                          struct cn_err *err);

#endif
