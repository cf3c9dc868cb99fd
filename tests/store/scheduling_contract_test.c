/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of scheduling: what is checked stands in tests/README.md. */
#include "cairn/referrals.cairn.h"
#include "cairn/scheduling.handlers.h"
#include "common/wire/message.h"
#include "services/scheduling/events.h"
#include "tests/lib/contract.h"

static void s_fill(const struct contract_maker *maker, void *message)
{
    const ProtobufCMessage *any = message;
    if (any->descriptor == &sch__visit__descriptor) {
        /* A referral with a start of care cannot get another one. */
        Sch__Visit *visit = message;
        CN_SET(visit, kind, SCH__VISIT__KIND__ROUTINE);
    } else if (any->descriptor == &sch__complete_visit_request__descriptor) {
        Sch__CompleteVisitRequest *request = message;
        CN_SET(request, completed_at, maker->base_at);
    } else if (any->descriptor == &sch__start_visit_request__descriptor) {
        Sch__StartVisitRequest *request = message;
        CN_SET(request, started_at, maker->base_at);
    } else if (any->descriptor == &sch__get_availability_request__descriptor) {
        Sch__GetAvailabilityRequest *request = message;
        request->patient_id = contract_id(maker, "pat", 0);
    }
}

int main(void)
{
    static const struct contract_excuse EXCUSES[] = {
        { "SQL_VISITS_LIST_CHANGES_WITH",
          "the slow lane reads through what changed" },
        { NULL, NULL },
    };
    const struct cn_service service = {
        SCHEDULING_CONTRACT,
        .subscriptions = SCHEDULING_SUBSCRIPTIONS,
        .subscription_count = SCHEDULING_SUBSCRIPTION_COUNT,
    };
    static const struct contract_size SIZES[] = {
        { "visit", 0, "completed" }, { "clinician", 2000, NULL },
        { "agency", 2000, NULL },    { "branch", 2000, NULL },
        { NULL, 0, NULL },
    };
    static const struct contract_args ARGS[] = {
        { "SQL_CLINICIANS_ANY", "NULL, NULL, true, 500" },
        { NULL, NULL },
    };
    const struct contract contract = {
        .service = &service,
        .fill = s_fill,
        .sizes = SIZES,
        .excuses = EXCUSES,
        .args = ARGS,
    };
    return contract_main(&contract);
}
