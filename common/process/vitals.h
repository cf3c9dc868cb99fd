/* SPDX-License-Identifier: Apache-2.0 */
/* The metrics that every process has: build, memory, processor time, files,
 * the turns of its loop, its fibers, its health. */
#ifndef CN_VITALS_H
#define CN_VITALS_H

#include "common/base/env.h"

/* Registers them for the life of the process. name and version are kept by
 * pointer, and so is env. */
void cn_vitals_start(const struct cn_env *env,
                     const char *name,
                     const char *version);

#endif
