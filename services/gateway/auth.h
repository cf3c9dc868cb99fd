/* SPDX-License-Identifier: Apache-2.0 */
/* From an API key to its principal: a cache in front of the service access.
 * The events of access keep the cache fresh. When they stop coming the cache
 * is not used. */
#ifndef GATEWAY_AUTH_H
#define GATEWAY_AUTH_H

#include "common/base/arena.h"
#include "common/base/env.h"
#include "common/base/err.h"
#include "common/policy/principal.h"

#include "services/gateway/follow.h"

struct auth;
/* The principal of a key, as access answered. It exists while somebody holds
 * it. */
struct auth_grant;

enum { AUTH_CACHE_MAX = 4096 /* keys */ };

/* When the events are older than this, requests with a key wait for newer ones,
 * and are refused after AUTH_WAIT_US. */
#define AUTH_STALE_US ((int64_t)5000000)
/* How long a request waits for fresh events after the start, or after they have
 * become stale. */
#define AUTH_WAIT_US ((int64_t)2000000)
/* Lifetime of a cached answer that a key is unknown. */
#define AUTH_NEGATIVE_US ((int64_t)1000000)

/* Listens to the log of access, before the loop first runs. */
CN_CHECKED enum cn_code auth_new(struct cn_env *env,
                                 struct follow *access,
                                 struct auth **ret_auth,
                                 struct cn_err *err);
/* After the loop has ended. NULL is accepted. */
void auth_free(struct auth *self);

/* Does the text have the form of a key, with a right checksum? */
bool auth_key_valid(const char *key);
/* Finds the principal of a key; parks when it must ask access. The principal
 * lives as long as the arena. CN_UNAUTHENTICATED, CN_UNAVAILABLE when access
 * cannot be asked or its events have been too old for longer than AUTH_WAIT_US,
 * CN_NOMEM for a failed arena. */
CN_CHECKED enum cn_code auth_resolve(struct auth *self,
                                     struct cn_arena *arena,
                                     const char *key,
                                     const struct cn_principal **ret_principal,
                                     struct cn_err *err);
/* Are access's events fresh, so that the cache can be trusted? */
bool auth_fresh(const struct auth *self);

/* As auth_resolve, for a use that outlives the request; auth_release ends it.
 */
CN_CHECKED enum cn_code auth_hold(struct auth *self,
                                  struct cn_arena *arena,
                                  const char *key,
                                  struct auth_grant **ret_grant,
                                  struct cn_err *err);
/* The grant that the same key has now. */
CN_CHECKED enum cn_code auth_hold_again(struct auth *self,
                                        struct cn_arena *arena,
                                        const struct auth_grant *grant,
                                        struct auth_grant **ret_grant,
                                        struct cn_err *err);
/* One more holder. */
struct auth_grant *auth_share(struct auth_grant *grant);
/* NULL is accepted. */
void auth_release(struct auth_grant *grant);
const struct cn_principal *auth_principal(const struct auth_grant *grant);
/* Microseconds UTC; INT64_MAX: never. */
int64_t auth_expires_at(const struct auth_grant *grant);
/* Is it the grant of the key with this SHA-256? */
bool auth_is_key(const struct auth_grant *grant, const uint8_t *key_hash);
/* Do both give the same rights for the same time? */
bool auth_same(const struct auth_grant *a, const struct auth_grant *b);
/* watch(arg, ...) runs when an event says that a key of the tenant changed: the
 * key with this SHA-256, or (NULL) any of them. It must not park. There is only
 * one watch. */
typedef void
auth_watch_fn(void *arg, struct cn_uuid tenant_id, const uint8_t *key_hash);
void auth_watch(struct auth *self, auth_watch_fn *watch, void *arg);
/* Counts the events after which an earlier answer of access may be wrong. */
uint64_t auth_changes(const struct auth *self);
/* Does an open transaction hold back events? Then held grants must be asked for
 * again and again. */
bool auth_held(const struct auth *self);

#endif
