/* SPDX-License-Identifier: Apache-2.0 */
/* The sealed audit rows of a service, for the one that shows them. */
#ifndef CN_AUDIT_SEALED_H
#define CN_AUDIT_SEALED_H

#include "common/base/env.h"
#include "common/base/err.h"
#include "common/contract/service.h"

#include "cairn/audit.pb-c.h"

enum { CN_AUDIT_SEALED_MAX = 200 }; /* rows in one reply */

/* Rows sealed after `after`, of all tenants, in their order; in the arena. The
 * reply is cut by size, too: another call goes on. */
CN_CHECKED enum cn_code
cn_audit_sealed_read(struct cn_env *env,
                     struct cn_arena *arena,
                     int64_t after,
                     uint32_t limit,
                     const Aud__FetchSealedResponse **ret_response,
                     struct cn_err *err);
/* The handler of audit.v1.Audit/FetchSealed, which every service has. It shows
 * rows of all tenants: only a service in its own name may call it. */
CN_CHECKED enum cn_code cn_audit_sealed_fetch(void *self,
                                              const struct cn_request *request,
                                              struct cn_reply *reply,
                                              struct cn_err *err);

#endif
