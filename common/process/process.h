/* SPDX-License-Identifier: Apache-2.0 */
/* The start and the end of every process, gateway and services alike: it is
 * hardened, its settings are checked, then come log, loop, signals, bus and
 * admin port, then the parts of its own. */
#ifndef CN_PROCESS_H
#define CN_PROCESS_H

#include "common/base/config.h"
#include "common/base/env.h"
#include "common/base/err.h"

#include <stddef.h>

enum { CN_PROCESS_OPTION_LISTS = 2 };

struct cn_process {
    const char *name; /* "referrals": on the bus and in the log; the program
                       * is cairn-referrals */
    bool serves;      /* other processes call it: it has an address on the
                       * bus, CAIRN_BIND */
    /* Settings beyond those of every process. */
    struct {
        const struct cn_option *options;
        size_t count;
    } lists[CN_PROCESS_OPTION_LISTS];
    /* Runs in the first fiber, which may wait for at most 30 s. env has clock,
     * randomness, loop and bus; start sets the rest. done frees all that start
     * has made. */
    enum cn_code (*start)(void *self,
                          struct cn_env *env,
                          const struct cn_config *config,
                          struct cn_err *err);
    /* After the loop has ended and all fibers have; also when start failed
     * half-way. */
    void (*done)(void *self);
    void *self;
};

/* All that a main does. Returns its exit code: 0 after a signal, else 1. Takes
 * the flags of cn_config_read, --version, and --healthcheck: is the process
 * that runs with this environment ready? */
int cn_process_main(const struct cn_process *process, int argc, char **argv);

#endif
