/* SPDX-License-Identifier: Apache-2.0 */
/* The producer's side of events: the outbox is the log, and Events/Fetch reads
 * it (design.md 4). */
#ifndef CN_OUTBOX_H
#define CN_OUTBOX_H

#include "common/env.h"
#include "common/err.h"
#include "common/service.h"

struct cn_outbox;

enum {
    CN_FETCH_LIMIT_MAX = 100,    /* events in one reply */
    CN_FETCH_WAIT_MAX_MS = 5000, /* of one long poll */
    CN_OUTBOX_POLL_US = 20000    /* how often the horizon is looked at */
};

/* Starts the poller of this replica. schema names the outbox' schema. NULL
 * without memory. */
struct cn_outbox *cn_outbox_start(struct cn_env *env,
                                  const struct cn_service *service,
                                  int epoch,
                                  struct cn_err *err);
/* Something was committed here: look now instead of at the next poll. */
void cn_outbox_hint(struct cn_outbox *self);
/* The handler of events.v1.Events/Fetch, which every service has. */
enum cn_code cn_outbox_fetch(struct cn_outbox *self,
                             const struct cn_request *request,
                             struct cn_reply *reply,
                             struct cn_err *err);

#endif
