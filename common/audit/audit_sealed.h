/* SPDX-License-Identifier: Apache-2.0 */
/* The sealed audit rows of a service, for the service that shows them. */
#ifndef CN_AUDIT_SEALED_H
#define CN_AUDIT_SEALED_H

#include "common/base/env.h"
#include "common/base/err.h"
#include "common/contract/service.h"

#include "cairn/audit.pb-c.h"

enum { CN_AUDIT_SEALED_MAX = 200 }; /* rows in one reply */

/* Rows of all tenants with a seq above `after`, in that order, in the arena. A
 * reply may hold fewer than the limit, because its size is bounded: call again
 * after its last row. */
CN_CHECKED enum cn_code
cn_audit_sealed_read(struct cn_env *env,
                     struct cn_arena *arena,
                     int64_t after,
                     uint32_t limit,
                     const Aud__FetchSealedResponse **ret_response,
                     struct cn_err *err);
/* The handler of audit.v1.Audit/FetchSealed, which every service has. It shows
 * rows of all tenants, so no client may call it, only a service. */
void cn_audit_sealed_fetch(struct cn_op *op);

#endif
