/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of notifications: what is checked stands in tests/README.md. */
#include "cairn/notifications.handlers.h"
#include "cairn/referrals.cairn.h"
#include "cairn/scheduling.cairn.h"
#include "common/wire/message.h"
#include "services/notifications/service.h"
#include "tests/lib/contract.h"

static void s_fill(const struct contract_maker *maker, void *message)
{
    const ProtobufCMessage *any = message;
    if (any->descriptor == &sch__visit__descriptor) {
        /* Of other visits nobody is told. */
        Sch__Visit *visit = message;
        CN_SET(visit, kind, SCH__VISIT__KIND__SOC);
        CN_SET(visit, status, SCH__VISIT__STATUS__BOOKED);
    } else if (any->descriptor == &ref__referral__descriptor) {
        Ref__Referral *referral = message;
        referral->id = contract_id(maker, "ref", maker->which);
        referral->branch_id = contract_id(maker, "brn", maker->which);
    } else if (any->descriptor == &ref__patient__descriptor) {
        Ref__Patient *patient = message;
        patient->id = contract_id(maker, "pat", maker->which);
    }
}

int main(void)
{
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
    };
    return contract_main(&contract);
}
