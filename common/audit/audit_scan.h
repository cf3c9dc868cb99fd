/* SPDX-License-Identifier: Apache-2.0 */
/* The sealed audit of a database, from its beginning, as the relay role. It
 * reads page by page and keeps nobody from writing. */
#ifndef CN_AUDIT_SCAN_H
#define CN_AUDIT_SCAN_H

#include "common/audit/audit_chain.h"
#include "common/audit/audit_verify.h"
#include "common/base/env.h"
#include "common/base/err.h"

/* Gets each entry; its texts are gone when it returns. Not CN_OK ends the scan
 * with that failure. */
typedef enum cn_code cn_audit_entry_fn(void *arg,
                                       const struct cn_audit_entry *entry,
                                       struct cn_err *err);

/* All entries in the order of seq, or those of one tenant (not nil) in the
 * order of n. *ret_last_seq: what had been given when it began. Runs in a fiber
 * whose deadline it renews. */
CN_CHECKED enum cn_code cn_audit_scan(struct cn_env *env,
                                      struct cn_uuid tenant,
                                      cn_audit_entry_fn *fn,
                                      void *arg,
                                      int64_t *ret_last_seq,
                                      struct cn_err *err);
/* Hands all of it to verify, the rows that ought to be sealed and are not as
 * well, and ends it. */
CN_CHECKED enum cn_code cn_audit_scan_verify(struct cn_env *env,
                                             struct cn_uuid tenant,
                                             struct cn_audit_verify *verify,
                                             struct cn_err *err);

#endif
