/* SPDX-License-Identifier: Apache-2.0 */
/* What scheduling does about other services' events, and what it shows of
 * itself. */
#ifndef SCHEDULING_EVENTS_H
#define SCHEDULING_EVENTS_H

#include "common/inbox/consumer.h"
#include "common/outbox/snapshot.h"

extern const struct cn_subscription SCHEDULING_SUBSCRIPTIONS[];
extern const size_t SCHEDULING_SUBSCRIPTION_COUNT;

#endif
