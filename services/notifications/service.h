/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of notifications share. */
#ifndef NOTIFICATIONS_SERVICE_H
#define NOTIFICATIONS_SERVICE_H

#include "common/deadlines/due.h"
#include "common/inbox/consumer.h"
#include "services/notifications/channel.h"

struct notifications_service {
    struct channel *email;
    const char *message_id_domain; /* right side of every Message-ID */
};

extern const struct cn_subscription NOTIFICATIONS_SUBSCRIPTIONS[];
extern const size_t NOTIFICATIONS_SUBSCRIPTION_COUNT;

/* Due kind "message.send": one attempt to send one message. */
cn_work_fn message_send;

#endif
