/* SPDX-License-Identifier: Apache-2.0 */
/* cairn-documents: documents, orders and checklists. */
#include "cairn/documents.handlers.h"
#include "common/deadlines/deadline_unit.h"
#include "common/service/service.h"
#include "services/documents/events.h"

static const struct cn_due_handler DUE[] = { CN_DEADLINE_DUE };

int main(int argc, char **argv)
{
    struct cn_service service = {
        DOCUMENTS_CONTRACT,
        CN_ROWS(due_handler, DUE),
        .subscriptions = DOCUMENTS_SUBSCRIPTIONS,
        .subscription_count = DOCUMENTS_SUBSCRIPTION_COUNT,
    };
    return cn_service_main(&service, argc, argv);
}
