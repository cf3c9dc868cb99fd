/* SPDX-License-Identifier: Apache-2.0 */
/* The seam to the world outside: a channel takes one message to one address.
 * SMTP is the first; tests put their own in its place. */
#ifndef NOTIFICATIONS_CHANNEL_H
#define NOTIFICATIONS_CHANNEL_H

#include "common/base/err.h"

#include <stdint.h>

/* What goes out. message_id is the same at every attempt, so that the receiver
 * can drop a repeat: delivery is at least once. */
struct channel_mail {
    const char *message_id; /* without <> */
    const char *to;
    const char *subject; /* ASCII */
    const char *text;    /* UTF-8 */
    int64_t sent_at;     /* for the Date header */
};

/* How an attempt ended. */
enum channel_outcome {
    CHANNEL_ACCEPTED,   /* the channel took it: SMTP 250 */
    CHANNEL_REFUSED,    /* for good: SMTP 5xx */
    CHANNEL_DEFERRED,   /* for now: SMTP 4xx */
    CHANNEL_UNREACHABLE /* no answer at all */
};

struct channel_result {
    enum channel_outcome outcome;
    long status; /* the channel's code, 0: none */
};

struct channel {
    /* Parks the fiber until the channel answered. CN_OK: ret_result is filled;
     * else nothing is known (CN_DEADLINE, CN_UNAVAILABLE, CN_NOMEM). */
    enum cn_code (*send)(struct channel *self,
                         const struct channel_mail *mail,
                         struct channel_result *ret_result,
                         struct cn_err *err);
};

#endif
