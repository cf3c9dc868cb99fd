/* SPDX-License-Identifier: Apache-2.0 */
/* Which methods a process may call, and for whom it may speak. The key of its
 * connection says who it is (ZAP): nothing in a request can. */
#ifndef CN_CALLER_H
#define CN_CALLER_H

#include "common/base/err.h"

struct cn_bus_request;
struct cn_method;

/* The rule:
 *   a front, that is a gateway: every method; for a client, whom it names
 *     in the principal, or in its own name;
 *   any other service: events.v1.Events/... and audit.v1.Audit/... alone, in
 *     its own name;
 *   a key that is not listed: nothing, not even an answer (bus_zap.c).
 * CN_FORBIDDEN. What the client himself may is another question
 * (common/policy/principal.h). */
CN_CHECKED enum cn_code cn_caller_check(const struct cn_bus_request *request,
                                        const struct cn_method *method,
                                        struct cn_err *err);

#endif
