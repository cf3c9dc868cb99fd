/* SPDX-License-Identifier: Apache-2.0 */
/* cairn-referrals: intake, patients, referrals, episodes. */
#include "cairn/referrals.handlers.h"
#include "common/base/array.h"
#include "common/deadlines/deadline_unit.h"
#include "common/service/service.h"
#include "services/referrals/events.h"

static const struct cn_due_handler DUE[] = { CN_DEADLINE_DUE };

int main(int argc, char **argv)
{
    struct cn_service service = {
        .name = "referrals",
        .methods = referrals_methods,
        .method_count = referrals_method_count,
        .events = referrals_events,
        .event_count = referrals_event_count,
        .resources = referrals_resources,
        .due_handlers = DUE,
        .due_handler_count = CN_COUNT(DUE),
        .providers = referrals_providers,
        .provider_count = REFERRALS_PROVIDER_COUNT,
        .subscriptions = referrals_subscriptions,
        .subscription_count = REFERRALS_SUBSCRIPTION_COUNT,
    };
    return cn_service_main(&service, argc, argv);
}
