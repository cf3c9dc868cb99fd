/* SPDX-License-Identifier: Apache-2.0 */
/* GET /v1/stream: the events of all services as server-sent events; each reader
 * gets those that it may see (README.md).
 *
 * A stream is state in the loop: a place in its tenant's ring, and its vector,
 * which is the position in the log of each service up to which it has sent or
 * skipped everything. The vector alone decides what is still to be sent, and
 * the id of each event is the vector after it. So a reader can go on at any
 * gateway: events that the ring no longer holds are read again from the logs.
 */
#ifndef GATEWAY_STREAM_H
#define GATEWAY_STREAM_H

#include "common/base/env.h"
#include "common/http/http.h"

#include "services/gateway/auth.h"
#include "services/gateway/follow.h"

#include "cairn/routes.h"

#define STREAM_PATH "/v1/stream"
/* Interval of comments with a fresh id, also on a busy stream. */
#define STREAM_BEAT_US (15 * CN_SECOND)
/* A reader that does not take waiting events for so long is cut off. */
#define STREAM_LAG_US (10 * CN_SECOND)

enum { STREAM_KEY_DIGITS = 64 };

struct streams;

struct streams_config {
    unsigned max; /* streams of this process */
    unsigned max_of_tenant;
    const char *key; /* STREAM_KEY_DIGITS hex digits; "": a random one */
};

/* Listens to the logs, one follower for each of cn_event_sources, and to auth;
 * sets env->seal. Before the loop first runs. CN_INVALID for a bad key. */
CN_CHECKED enum cn_code
streams_new(struct cn_env *env,
            struct auth *auth,
            struct follow *const follows[CN_EVENT_SOURCE_COUNT],
            const struct streams_config *config,
            struct streams **ret_streams,
            struct cn_err *err);
/* After the loop has ended and cn_http_free. NULL is accepted. */
void streams_free(struct streams *self);

/* Answers a GET or HEAD of STREAM_PATH: sets status and source, adds the header
 * fields of a stream. *ret_principal is set once it is known, and lives as long
 * as the request's arena. */
CN_CHECKED enum cn_code streams_serve(struct streams *self,
                                      const struct cn_http_request *request,
                                      struct cn_http_response *response,
                                      const struct cn_principal **ret_principal,
                                      struct cn_err *err);

#endif
