/* SPDX-License-Identifier: Apache-2.0 */
/* cairn-scheduling: clinicians and visits. */
#include "cairn/scheduling.cairn.h"
#include "cairn/scheduling.handlers.h"
#include "common/service/service.h"
#include "services/scheduling/events.h"

int main(int argc, char **argv)
{
    struct cn_service service = {
        .name = "scheduling",
        .methods = scheduling_methods,
        .method_count = scheduling_method_count,
        .events = scheduling_events,
        .event_count = scheduling_event_count,
        .resources = scheduling_resources,
        .providers = SCHEDULING_PROVIDERS,
        .provider_count = SCHEDULING_PROVIDER_COUNT,
        .subscriptions = SCHEDULING_SUBSCRIPTIONS,
        .subscription_count = SCHEDULING_SUBSCRIPTION_COUNT,
    };
    return cn_service_main(&service, argc, argv);
}
