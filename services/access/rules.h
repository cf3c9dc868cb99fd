/* SPDX-License-Identifier: Apache-2.0 */
/* Pure rules of identity: what a valid user and key are, and who may use a key.
 */
#ifndef ACCESS_RULES_H
#define ACCESS_RULES_H

#include "cairn/access.pb-c.h"
#include "common/base/clock.h"
#include "common/contract/op.h"

enum {
    API_KEY_RANDOM_SIZE = 32, /* base62 characters, 190 bits */
    API_KEY_CHECK_SIZE = 6,   /* hex digits of SHA-256 of what precedes them */
    API_KEY_TEXT_MAX = 64,
    API_KEY_PREFIX_SIZE = 16 /* characters kept to tell keys apart */
};

/* After a rotation the old key can be used for this long: time to put the new
 * one in its place. */
#define API_KEY_OVERLAP_US CN_DAY

/* "cairn_live_" + random + checksum: the form by which a scanner for secrets
 * finds a key. */
void api_key_text(const uint8_t random[API_KEY_RANDOM_SIZE],
                  char text[API_KEY_TEXT_MAX]);

/* Each names the fields at fault, beside those that are required. */
void user_check(struct cn_op *op, const Acc__User *user);
void api_key_check(struct cn_op *op, const Acc__ApiKey *key);
/* The default branch of a key must be one of those that it reaches, if they are
 * named. */
void api_key_branch_check(struct cn_op *op,
                          const char *branch_id,
                          const char *const *ids,
                          size_t count);
/* May the key be used at now? Not when it is revoked or expired, or its person
 * is not active (user NULL: an integration). */
bool api_key_usable(const Acc__ApiKey *key,
                    const Acc__User *user,
                    int64_t now_at);
/* The role that the key has: its person's, if it has one. */
const char *api_key_role(const Acc__ApiKey *key, const Acc__User *user);
/* Can the agency be administered by it at now? */
bool api_key_administers(const Acc__ApiKey *key,
                         const Acc__User *user,
                         int64_t now_at);

#endif
