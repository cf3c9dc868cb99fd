/* SPDX-License-Identifier: Apache-2.0 */
/* The sealed audit as JSON lines. Each content has exactly one text: any other
 * line is refused.
 *
 *   {"cairn_audit_export":1,"service":"referrals","tenant_id":null}
 *   {"tenant_id":...,"n":1,"seq":7,"form":1,"hash":...,"id":...,"row":{...}}
 *   ...
 *   {"rows":1,"last_seq":7}
 *
 * A seal whose row is gone has no "row". With a tenant_id in the first line the
 * export is of this tenant alone. */
#ifndef CN_AUDIT_EXPORT_H
#define CN_AUDIT_EXPORT_H

#include "common/audit/audit_verify.h"
#include "common/base/env.h"
#include "common/base/err.h"
#include "common/base/id.h"

#include <stdio.h>

/* Writes all sealed rows, or those of one tenant (not nil). Runs in a fiber.
 * *ret_count: how many. CN_UNAVAILABLE when the file does not take them. */
CN_CHECKED enum cn_code cn_audit_export_write(struct cn_env *env,
                                              const char *service,
                                              struct cn_uuid tenant,
                                              FILE *file,
                                              int64_t *ret_count,
                                              struct cn_err *err);
/* Reads service and tenant (nil: all) from the first line. CN_MALFORMED for
 * any other file. service has room for CN_AUDIT_SERVICE_MAX bytes. */
enum { CN_AUDIT_SERVICE_MAX = 64 };
CN_CHECKED enum cn_code cn_audit_export_open(FILE *file,
                                             char service[CN_AUDIT_SERVICE_MAX],
                                             struct cn_uuid *ret_tenant,
                                             struct cn_err *err);
/* Hands the rest of the file to verify, and ends it. A line that cannot be
 * parsed is a fault of the audit; CN_UNAVAILABLE: the file cannot be read. */
CN_CHECKED enum cn_code cn_audit_export_verify(FILE *file,
                                               struct cn_audit_verify *verify,
                                               struct cn_err *err);

#endif
