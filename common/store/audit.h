/* SPDX-License-Identifier: Apache-2.0 */
/* Audit rows of reads: written before the reply goes out, gathered so that a
 * read does not become a commit each. Rows of writes are part of the write
 * (write.h). */
#ifndef CN_AUDIT_H
#define CN_AUDIT_H

#include "common/base/err.h"
#include "common/base/id.h"
#include "common/db/db.h"

#include <stddef.h>

struct cn_request;

enum {
    CN_AUDIT_GATHER_MAX = 64,
    CN_AUDIT_GATHER_US = 5000,
    CN_AUDIT_PARAMS = 10
};

/* Who did what to which records, when. */
struct cn_audit_row {
    struct cn_uuid tenant_id;
    struct cn_uuid id;
    int64_t at;
    const char *actor;
    const char *role;
    const char *action;
    const char *resource; /* outside id, or NULL */
    const struct cn_uuid *patients;
    size_t patient_count;
    const char *request_id; /* or NULL */
    int epoch;              /* cn_db_epoch */
};

/* The statement that inserts one row, and its parameters, which borrow from the
 * row. For write.c. */
const struct cn_statement *
cn_audit_statement(const struct cn_audit_row *row,
                   struct cn_param params[CN_AUDIT_PARAMS]);

/* Parks until the row is committed: sent at once if no audit insert of this
 * tenant is in flight, else gathered with others until it returns. One row per
 * response, with the patients that it showed (repeats and nil are dropped).
 * CN_UNAVAILABLE (503) when it cannot be written: the reply must not go out. */
CN_CHECKED enum cn_code cn_audit_read(const struct cn_request *request,
                                      const char *action,
                                      const char *resource,
                                      const struct cn_uuid *patients,
                                      size_t patient_count,
                                      struct cn_err *err);

#endif
