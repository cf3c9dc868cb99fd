/* SPDX-License-Identifier: Apache-2.0 */
/* Work that is due at an instant: rows of <schema>.due, claimed by the ticker
 * and handed to a handler in the tenant's name. The ticker renews the claim
 * while the handler runs. A claim lapses after CN_DUE_CLAIM_US, so that work of
 * a killed process is soon done by another. */
#ifndef CN_DUE_H
#define CN_DUE_H

#include "common/contract/service.h"

enum {
    CN_DUE_CLAIM_US = 5000000,   /* without being renewed */
    CN_DUE_BUDGET_US = 25000000, /* of one handler */
    CN_DUE_BATCH = 32,
    CN_DUE_IN_FLIGHT_MAX = 64,
    CN_DUE_POLL_US = 250000
};

/* Starts the ticker. It looks every 250 ms and at every hint. Due-ness is by
 * the env's clock, the claim by the database's. */
CN_CHECKED enum cn_code cn_due_start(struct cn_env *env,
                                     const struct cn_service *service,
                                     struct cn_err *err);
/* A due row was committed here: look now. */
void cn_due_hint(void);

/* Does one piece of work and commits what it added. */
CN_CHECKED enum cn_code cn_due_handle(const struct cn_service *service,
                                      const struct cn_due_handler *handler,
                                      const struct cn_due *due,
                                      struct cn_err *err);

#endif
