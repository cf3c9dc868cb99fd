/* SPDX-License-Identifier: Apache-2.0 */
/* The copied audit, read. */
#ifndef ACCESS_STORE_AUDIT_H
#define ACCESS_STORE_AUDIT_H

#include "common/store/page.h"

#include "cairn/access.pb-c.h"

/* What is looked for; NULL, nil and false: anything. */
struct audit_filter {
    struct cn_uuid patient_id;
    const char *actor;
    const char *action;
    const char *resource;
    const char *service;
    bool has_since;
    int64_t since;
    bool has_until;
    int64_t until;
};

/* A page of entries, newest first, and where each stands in the list. */
CN_CHECKED enum cn_code audit_page(const struct cn_request *request,
                                   const struct audit_filter *filter,
                                   const struct cn_page *page,
                                   Acc__AuditEntry ***ret_entries,
                                   struct cn_cursor **ret_cursors,
                                   size_t *ret_count,
                                   struct cn_err *err);

#endif
