/* SPDX-License-Identifier: Apache-2.0 */
/* From an API key to its principal: a cache in front of the service access,
 * kept fresh by its events and not trusted when they stop coming. */
#ifndef GATEWAY_AUTH_H
#define GATEWAY_AUTH_H

#include "common/arena.h"
#include "common/env.h"
#include "common/err.h"
#include "common/principal.h"

struct auth;

enum { AUTH_CACHE_MAX = 4096 /* keys */ };

/* An event ends what it concerns within this time, or nobody gets in. */
#define AUTH_STALE_US ((int64_t)5000000)
/* So long a request waits for that after the start or after they went stale. */
#define AUTH_WAIT_US ((int64_t)2000000)
/* How long a key that is none is remembered as such. */
#define AUTH_NEGATIVE_US ((int64_t)1000000)

/* Starts the fiber that follows access's events. */
CN_CHECKED enum cn_code
auth_new(struct cn_env *env, struct auth **ret_auth, struct cn_err *err);
/* After the loop has ended. NULL is accepted. */
void auth_free(struct auth *self);

/* Is it made like a key of ours, its checksum included? */
bool auth_key_valid(const char *key);
/* Finds the principal of a key; parks when it must ask. It lives as long as the
 * arena. CN_UNAUTHENTICATED, or CN_UNAVAILABLE when access cannot be asked or
 * its events have been too old for longer than AUTH_WAIT_US. */
CN_CHECKED enum cn_code auth_resolve(struct auth *self,
                                     struct cn_arena *arena,
                                     const char *key,
                                     const struct cn_principal **ret_principal,
                                     struct cn_err *err);
/* Are access's events fresh, so that the cache can be trusted? */
bool auth_fresh(const struct auth *self);

#endif
