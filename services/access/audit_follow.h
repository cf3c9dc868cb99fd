/* SPDX-License-Identifier: Apache-2.0 */
/* Copies the sealed audit of every service, so that GET /v1/audit is one read,
 * and checks each link of each chain on the way. A service that later shows
 * other rows than those copied raises an alarm: a row of audit_break, a metric,
 * an error in the log. */
#ifndef ACCESS_AUDIT_FOLLOW_H
#define ACCESS_AUDIT_FOLLOW_H

#include "common/base/env.h"
#include "common/base/err.h"

#include "cairn/audit.pb-c.h"

enum { AUDIT_FOLLOW_POLL_US = 300000 };

/* Follows the service itself and each service of the endpoints ("name=...;"), a
 * fiber for each. They copy while this replica is the sealer of access. */
CN_CHECKED enum cn_code audit_follow_start(struct cn_env *env,
                                           const char *service,
                                           const char *endpoints,
                                           struct cn_err *err);

/* The place up to which a service's audit was copied. Its row is made if there
 * is none. */
CN_CHECKED enum cn_code audit_follow_place(struct cn_env *env,
                                           const char *service,
                                           int64_t *ret_seq,
                                           struct cn_err *err);
/* Copies one page that was fetched after `from`, in one unit with the move of
 * the place to *ret_seq. *ret_breaks: at how many places a chain did not
 * continue what was copied before. CN_CONFLICT: another replica was faster, and
 * nothing was done. */
CN_CHECKED enum cn_code audit_follow_copy(struct cn_env *env,
                                          const char *service,
                                          int64_t from,
                                          const Aud__FetchSealedResponse *page,
                                          int64_t *ret_seq,
                                          size_t *ret_breaks,
                                          struct cn_err *err);

#endif
