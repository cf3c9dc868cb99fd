/* SPDX-License-Identifier: Apache-2.0 */
/* The admin port: orchestrators and Prometheus ask it of every process. It
 * needs no credential and shows nothing of a tenant or a patient; it belongs on
 * a network that clients cannot reach.
 *
 *   GET /livez, /healthz    200: the loop turns
 *   GET /startupz, /readyz  200, or 503; ?verbose: each check, as JSON
 *   GET /metrics            the text of Prometheus, 0.0.4 */
#ifndef CN_ADMIN_H
#define CN_ADMIN_H

#include "common/base/env.h"
#include "common/base/err.h"

struct cn_admin;

/* Listens at "host:port". It answers up to the last turn of the loop, also
 * while the rest of the process ends. CN_INVALID for a bad address,
 * CN_UNAVAILABLE when it is taken. */
CN_CHECKED enum cn_code cn_admin_new(struct cn_env *env,
                                     const char *listen,
                                     struct cn_admin **ret_admin,
                                     struct cn_err *err);
/* After the loop has ended. NULL is accepted. */
void cn_admin_free(struct cn_admin *self);
/* Does /readyz of another process at "host:port" answer 200 within 2 s? Blocks.
 * For health checks of containers, whose images have no other HTTP client. */
bool cn_admin_ask(const char *listen);

#endif
