/* SPDX-License-Identifier: Apache-2.0 */
/* cairn-scheduling: clinicians and visits. */
#include "cairn/scheduling.handlers.h"
#include "common/service/service.h"
#include "services/scheduling/events.h"

int main(int argc, char **argv)
{
    struct cn_service service = {
        SCHEDULING_CONTRACT,
        .subscriptions = SCHEDULING_SUBSCRIPTIONS,
        .subscription_count = SCHEDULING_SUBSCRIPTION_COUNT,
    };
    return cn_service_main(&service, argc, argv);
}
