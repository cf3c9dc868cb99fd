/* SPDX-License-Identifier: Apache-2.0 */
/* Pure rules of identity: what a valid agency, branch, user and key are. */
#ifndef ACCESS_RULES_H
#define ACCESS_RULES_H

#include "cairn/access.pb-c.h"
#include "common/base/clock.h"
#include "common/base/id.h"

enum {
    API_KEY_RANDOM_SIZE = 32, /* base62 characters, 190 bits */
    API_KEY_CHECK_SIZE = 6,   /* hex digits of SHA-256 of what precedes them */
    API_KEY_TEXT_MAX = 64,
    API_KEY_PREFIX_SIZE = 16 /* characters kept to tell keys apart */
};

/* After a rotation the old key holds this long: time to put the new one in. */
#define API_KEY_OVERLAP_US CN_DAY

/* "cairn_live_" + random + checksum, so that secret scanners find it. */
void api_key_text(const uint8_t random[API_KEY_RANDOM_SIZE],
                  char text[API_KEY_TEXT_MAX]);

/* CN_INVALID with a pointer for each fault. */
CN_CHECKED enum cn_code agency_check(const Acc__Agency *agency,
                                     struct cn_err *err);
CN_CHECKED enum cn_code branch_check(const Acc__Branch *branch,
                                     struct cn_err *err);
CN_CHECKED enum cn_code user_check(const Acc__User *user, struct cn_err *err);
CN_CHECKED enum cn_code api_key_check(const Acc__ApiKey *key,
                                      struct cn_err *err);
/* May the key be used at now? Not when it is revoked or expired, or its person
 * is not active (user NULL: an integration). */
bool api_key_usable(const Acc__ApiKey *key,
                    const Acc__User *user,
                    int64_t now_at);

#endif
