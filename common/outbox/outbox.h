/* SPDX-License-Identifier: Apache-2.0 */
/* The producer's side of events: the outbox is the log, and Events/Fetch reads
 * it.
 *
 * An event is shown once no transaction that could come before it in the log is
 * open any more (the horizon), so a reader that goes on from the last position
 * it saw loses none. */
#ifndef CN_OUTBOX_H
#define CN_OUTBOX_H

#include "common/base/clock.h"
#include "common/base/env.h"
#include "common/base/err.h"
#include "common/contract/service.h"

struct cn_outbox;

enum {
    CN_OUTBOX_POLL_US = 20000,  /* how often the horizon is looked at */
    CN_OUTBOX_WAITING_MAX = 256 /* long polls at once */
};

/* Starts the poller of this replica. service->name is the schema. epoch is the
 * number from the configuration that a restore raises. When the loop stops the
 * long polls end with CN_UNAVAILABLE: their callers go to another replica. */
struct cn_outbox *cn_outbox_start(struct cn_env *env,
                                  const struct cn_service *service,
                                  int epoch,
                                  struct cn_err *err);
/* After the loop has ended. NULL is accepted. */
void cn_outbox_free(struct cn_outbox *self);
/* Something was committed here: look now instead of at the next poll. NULL is
 * accepted. */
void cn_outbox_hint(struct cn_outbox *self);
/* The handler of events.v1.Events/Fetch, which every service has. It shows rows
 * of all tenants: only a service in its own name may call it. */
void cn_outbox_fetch(struct cn_op *op);

/* How far a consumer had read a partition when it last asked here. */
struct cn_outbox_reader {
    const char *consumer; /* until the outbox is freed */
    int partition;
    int64_t epoch;
    int64_t xid;
    int64_t seq;
};
/* Number index of them; false: there are no more. NULL is accepted. */
bool cn_outbox_reader_at(const struct cn_outbox *self,
                         size_t index,
                         struct cn_outbox_reader *ret_reader);

#endif
