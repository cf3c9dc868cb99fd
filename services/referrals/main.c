/* SPDX-License-Identifier: Apache-2.0 */
/* cairn-referrals: intake, patients, referrals, episodes. */
#include "cairn/referrals.handlers.h"
#include "common/deadlines/deadline_unit.h"
#include "common/service/service.h"
#include "services/referrals/events.h"
#include "services/referrals/hl7_count.h"

static const struct cn_due_handler DUE[] = { CN_DEADLINE_DUE };

int main(int argc, char **argv)
{
    struct cn_service service = {
        REFERRALS_CONTRACT,
        CN_ROWS(due_handler, DUE),
        .subscriptions = REFERRALS_SUBSCRIPTIONS,
        .subscription_count = REFERRALS_SUBSCRIPTION_COUNT,
        .start = hl7_count_start,
    };
    return cn_service_main(&service, argc, argv);
}
