/* SPDX-License-Identifier: Apache-2.0 */
/* One request from the bus to its handler and back: may the caller call, may
 * the principal, is the body well-formed, run, reply, one log line. */
#ifndef CN_DISPATCH_H
#define CN_DISPATCH_H

#include "common/base/err.h"
#include "common/bus/bus.h"
#include "common/contract/service.h"

struct cn_dispatch;

enum {
    /* However much time the caller gives: bounds how old the `now` of an event
     * can be when it is committed (outbox.h). */
    CN_REQUEST_BUDGET_MAX_US = 10000000
};

/* NULL without memory. */
struct cn_dispatch *cn_dispatch_new(struct cn_env *env,
                                    const struct cn_service *service);
/* After the loop has ended. NULL is accepted. */
void cn_dispatch_free(struct cn_dispatch *self);
/* For cn_bus_serve; arg is the struct cn_dispatch. */
void cn_dispatch_request(void *arg, struct cn_bus_request *request);

/* Runs the method's handler and commits what it added, again from its read
 * while the record changes under it and the client named no version of its own.
 * A key that was used before gives its first reply again. By CN_OK
 * reply->packed is the reply. */
CN_CHECKED enum cn_code cn_dispatch_answer(const struct cn_request *request,
                                           struct cn_reply *reply,
                                           struct cn_err *err);

#endif
