/* SPDX-License-Identifier: Apache-2.0 */
/* The copied audit, read. */
#ifndef ACCESS_STORE_AUDIT_H
#define ACCESS_STORE_AUDIT_H

#include "cairn/access.pb-c.h"
#include "common/store/page.h"
#include "common/store/step.h"

/* What is asked for, newest first: one row more than the page shows when there
 * is another page. patient_id is that of the filter, or nil. */
struct audit_entries {
    struct cn_page_row *items;
    size_t count;
};
struct audit_entries audit_entries(struct cn_op *op,
                                   const Acc__ListAuditRequest *filter,
                                   struct cn_uuid patient_id,
                                   const struct cn_page *page);

#endif
