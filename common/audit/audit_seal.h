/* SPDX-License-Identifier: Apache-2.0 */
/* The sealer: gives every committed audit row its place in the chain of its
 * tenant (audit_chain.h). It runs after the writes, not inside them (measured:
 * chaining inside the write halved the rate of writes). One replica of a
 * service seals at a time, by a lease in database time. The lease only saves
 * work: the compare-and-set of the sealer's place decides. One unit holds the
 * seals of a batch and the move of the place, so a kill leaves nothing half
 * done. */
#ifndef CN_AUDIT_SEAL_H
#define CN_AUDIT_SEAL_H

#include "common/base/env.h"
#include "common/base/err.h"

#include <stdint.h>

enum {
    CN_AUDIT_SEAL_BATCH = 500,        /* rows of one unit */
    CN_AUDIT_SEAL_POLL_US = 250000,   /* between two looks */
    CN_AUDIT_SEAL_LEASE_US = 5000000, /* a killed sealer is replaced then */
    CN_AUDIT_SEAL_RENEW_US = 2000000, /* how often the lease is renewed */
    CN_AUDIT_SEAL_STOP_BUDGET_US = 3000000 /* last heads and lease at a stop */
};

/* How the heads are exported. The texts must outlive the sealer. */
struct cn_audit_heads_config {
    const char *service;
    const char *folder; /* "": they are not exported */
    const char *key;    /* secret key, 64 hex digits; "": not signed */
};

/* Starts the sealer of this replica. It exports the heads when it begins to
 * seal, every hour and at the stop. CN_INVALID for a malformed key. */
CN_CHECKED enum cn_code
cn_audit_seal_start(struct cn_env *env,
                    const struct cn_audit_heads_config *heads,
                    struct cn_err *err);
/* Does this replica hold the lease of the sealer now? */
bool cn_audit_sealing(const struct cn_env *env);
/* Seals at most one batch of rows before which no transaction can still commit
 * others. *ret_count: how many. CN_CONFLICT: another sealer was faster, and
 * nothing was done. */
CN_CHECKED enum cn_code cn_audit_seal_batch(struct cn_env *env,
                                            const char *service,
                                            int64_t *ret_count,
                                            struct cn_err *err);

#endif
