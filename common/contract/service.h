/* SPDX-License-Identifier: Apache-2.0 */
/* A service, as its main() names it: what it serves, tells, follows and does
 * when something is due. */
#ifndef CN_CONTRACT_SERVICE_H
#define CN_CONTRACT_SERVICE_H

#include "common/base/array.h"
#include "common/base/config.h"
#include "common/contract/due.h"
#include "common/contract/event.h"
#include "common/contract/method.h"

/* A service, as its main() names it. */
struct cn_service {
    const char *name; /* "referrals": schema, config prefix, bus name */
    const struct cn_method *methods;
    size_t method_count;
    const struct cn_event_shape *events; /* that it produces, generated */
    size_t event_count;
    const struct cn_resource *const *resources; /* generated, NULL at the end */
    const struct cn_subscription *subscriptions;
    size_t subscription_count;
    const struct cn_due_handler *due_handlers;
    size_t due_handler_count;
    const struct cn_option *options; /* beyond the common ones */
    size_t option_count;
    /* Called in a fiber when the database is ready, before the bus opens; may
     * be NULL. */
    enum cn_code (*start)(void *self,
                          struct cn_env *env,
                          const struct cn_config *config,
                          struct cn_err *err);
    void *self; /* given to every handler */
};

/* An array of the same file and its count: CN_ROWS(due_handler, DUE). */
#define CN_ROWS(field, rows) .field##s = (rows), .field##_count = CN_COUNT(rows)

#endif
