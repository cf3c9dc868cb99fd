/* SPDX-License-Identifier: Apache-2.0 */
/* What documents does about other services' events. */
#ifndef DOCUMENTS_EVENTS_H
#define DOCUMENTS_EVENTS_H

#include "common/inbox/consumer.h"

extern const struct cn_subscription DOCUMENTS_SUBSCRIPTIONS[];
extern const size_t DOCUMENTS_SUBSCRIPTION_COUNT;

#endif
