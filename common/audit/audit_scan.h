/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the sealed audit of a database from its beginning, as the relay role,
 * page by page. It holds no lock, so writes go on. */
#ifndef CN_AUDIT_SCAN_H
#define CN_AUDIT_SCAN_H

#include "common/audit/audit_chain.h"
#include "common/audit/audit_verify.h"
#include "common/base/env.h"
#include "common/base/err.h"

/* Gets each entry, whose texts are gone when it returns. Any code but CN_OK
 * ends the scan with that failure. */
typedef enum cn_code cn_audit_entry_fn(void *arg,
                                       const struct cn_audit_entry *entry,
                                       struct cn_err *err);

/* All entries in the order of seq, or those of one tenant (not nil) in the
 * order of n. *ret_last_seq: the last seq when the scan began. Runs in a fiber
 * whose deadline it renews. */
CN_CHECKED enum cn_code cn_audit_scan(struct cn_env *env,
                                      struct cn_uuid tenant,
                                      cn_audit_entry_fn *fn,
                                      void *arg,
                                      int64_t *ret_last_seq,
                                      struct cn_err *err);
/* Hands all entries to verify, and the rows that should be sealed and are not,
 * and ends it. */
CN_CHECKED enum cn_code cn_audit_scan_verify(struct cn_env *env,
                                             struct cn_uuid tenant,
                                             struct cn_audit_verify *verify,
                                             struct cn_err *err);

#endif
