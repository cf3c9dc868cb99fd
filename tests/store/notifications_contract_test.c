/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of notifications: what is checked stands in tests/README.md. */
#include "cairn/notifications.handlers.h"
#include "cairn/scheduling.cairn.h"
#include "common/wire/message.h"
#include "services/notifications/service.h"
#include "tests/lib/contract.h"

static void s_fill(const struct contract_maker *maker, void *message)
{
    const ProtobufCMessage *any = message;
    (void)maker;
    if (any->descriptor == &sch__visit__descriptor) {
        /* For other visits there is no message. */
        Sch__Visit *visit = message;
        CN_SET(visit, kind, SCH__VISIT__KIND__SOC);
        CN_SET(visit, status, SCH__VISIT__STATUS__BOOKED);
    }
}

int main(void)
{
    static const struct contract_excuse EXCUSES[] = {
        { "SQL_MESSAGES_LIST_CHANGES_WITH",
          "the slow lane reads through what changed" },
        { NULL, NULL },
    };
    static struct notifications_service notifications;
    const struct cn_service service = {
        NOTIFICATIONS_CONTRACT,
        .subscriptions = NOTIFICATIONS_SUBSCRIPTIONS,
        .subscription_count = NOTIFICATIONS_SUBSCRIPTION_COUNT,
        .self = &notifications,
    };
    const struct contract contract = {
        .service = &service,
        .fill = s_fill,
        .excuses = EXCUSES,
    };
    return contract_main(&contract);
}
