/* SPDX-License-Identifier: Apache-2.0 */
/* From an API key to its principal: a cache in front of the service access,
 * kept fresh by its events and not trusted when they stop coming. */
#ifndef GATEWAY_AUTH_H
#define GATEWAY_AUTH_H

#include "common/base/arena.h"
#include "common/base/env.h"
#include "common/base/err.h"
#include "common/policy/principal.h"

#include "services/gateway/follow.h"

struct auth;
/* What a key stood for when it was asked, for as long as somebody holds it. */
struct auth_grant;

enum { AUTH_CACHE_MAX = 4096 /* keys */ };

/* An event ends what it concerns within this time, or nobody gets in. */
#define AUTH_STALE_US ((int64_t)5000000)
/* So long a request waits for that after the start or after they went stale. */
#define AUTH_WAIT_US ((int64_t)2000000)
/* How long a key that is none is remembered as such. */
#define AUTH_NEGATIVE_US ((int64_t)1000000)

/* Listens to the log of access, before the loop first runs. */
CN_CHECKED enum cn_code auth_new(struct cn_env *env,
                                 struct follow *access,
                                 struct auth **ret_auth,
                                 struct cn_err *err);
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

/* As auth_resolve, for what outlives a request; auth_release ends it. */
CN_CHECKED enum cn_code auth_hold(struct auth *self,
                                  struct cn_arena *arena,
                                  const char *key,
                                  struct auth_grant **ret_grant,
                                  struct cn_err *err);
/* What the same key stands for now. */
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
/* Is it of the key with this SHA-256? */
bool auth_is_key(const struct auth_grant *grant, const uint8_t *key_hash);
/* Do both give the same rights for the same time? */
bool auth_same(const struct auth_grant *a, const struct auth_grant *b);
/* watch(arg, ...) runs when an event says that a key of the tenant changed:
 * that with this SHA-256, or (NULL) any of them. It must not park. One at most.
 */
typedef void
auth_watch_fn(void *arg, struct cn_uuid tenant_id, const uint8_t *key_hash);
void auth_watch(struct auth *self, auth_watch_fn *watch, void *arg);
/* Counts the events after which what was asked before may be untrue. */
uint64_t auth_changes(const struct auth *self);
/* May there be changes that an open transaction holds back? Then what is held
 * must be asked for again, and again. */
bool auth_held(const struct auth *self);

#endif
