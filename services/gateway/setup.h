/* SPDX-License-Identifier: Apache-2.0 */
/* The gateway's settings and what is made from them. */
#ifndef GATEWAY_SETUP_H
#define GATEWAY_SETUP_H

#include "common/config.h"
#include "common/env.h"

#include "services/gateway/exchange.h"

/* A request's longest time, and how long a stop may take. */
enum { SETUP_TIMEOUT_MAX_MS = 10000 };
#define SETUP_GRACE_US (CN_HTTP_DRAIN_US + SETUP_TIMEOUT_MAX_MS * INT64_C(1000))

/* As cn_config_read; also sets up the log. No core file and no debugger: memory
 * holds keys and patient data. */
struct cn_config *setup_config(int argc, char **argv, bool *ret_done);
/* The loop that ends on a signal, and the bus to all services. */
CN_CHECKED enum cn_code setup_env(const struct cn_config *config,
                                  struct cn_env *ret_env,
                                  struct cn_err *err);
/* Routes, principals and the listening socket. */
CN_CHECKED enum cn_code setup_door(const struct cn_config *config,
                                   struct gateway *gateway,
                                   struct cn_http **ret_http,
                                   struct cn_err *err);

#endif
