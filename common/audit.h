/* SPDX-License-Identifier: Apache-2.0 */
/* Audit rows of reads: written before the reply goes out, gathered so that a
 * read does not become a commit each (design.md 2). Rows of writes are part of
 * the write (write.h). */
#ifndef CN_AUDIT_H
#define CN_AUDIT_H

#include "common/err.h"
#include "common/id.h"

#include <stddef.h>

struct cn_request;

enum { CN_AUDIT_GATHER_MAX = 64, CN_AUDIT_GATHER_US = 5000 };

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
