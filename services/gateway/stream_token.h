/* SPDX-License-Identifier: Apache-2.0 */
/* The position of a reader of the stream in the log of each service, as an
 * opaque text. The text is the id of an event. Any gateway with the same key
 * can read it; a client can neither read nor make one. */
#ifndef GATEWAY_STREAM_TOKEN_H
#define GATEWAY_STREAM_TOKEN_H

#include "services/gateway/follow.h"

#include "common/base/clock.h"
#include "common/base/id.h"

#include "cairn/routes.h"

enum {
    STREAM_PRODUCER_BYTES = 30, /* epoch, xid, seq at their longest */
    STREAM_TOKEN_HEAD = 20,
    STREAM_TOKEN_OVERHEAD = 45, /* of the seal */
    STREAM_TOKEN_MAX =          /* text and NUL */
    (STREAM_TOKEN_HEAD + STREAM_TOKEN_OVERHEAD +
     STREAM_PRODUCER_BYTES * CN_EVENT_SOURCE_COUNT) *
        4 / 3 +
    3
};

/* A reader that stays away for longer begins anew. */
#define STREAM_TOKEN_AGE_US CN_HOUR

/* A position for each of cn_event_sources. */
struct stream_vector {
    struct follow_position at[CN_EVENT_SOURCE_COUNT];
    uint32_t known; /* a bit for each whose position is known */
};

bool stream_vector_equal(const struct stream_vector *a,
                         const struct stream_vector *b);

/* Seals the vector under env->seal. CN_NOMEM. */
CN_CHECKED enum cn_code stream_token_write(struct cn_env *env,
                                           struct cn_uuid tenant_id,
                                           const struct stream_vector *vector,
                                           char text[STREAM_TOKEN_MAX],
                                           struct cn_err *err);
/* False for a token that is forged, of another tenant, of another list of
 * services, or older than STREAM_TOKEN_AGE_US: its reader must begin anew. */
CN_CHECKED bool stream_token_read(struct cn_env *env,
                                  struct cn_uuid tenant_id,
                                  const char *text,
                                  struct stream_vector *ret_vector);

#endif
