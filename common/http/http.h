/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/1.1 in our loop: heads and bodies read strictly, limits, deadlines. A
 * whole request runs in a fiber of its own; libmicrohttpd writes the answers
 * and sees no byte of a client. The only user of MHD_*. */
#ifndef CN_HTTP_H
#define CN_HTTP_H

#include "common/base/arena.h"
#include "common/base/env.h"
#include "common/base/err.h"
#include "common/base/id.h"
#include "common/wire/json.h"

#include "common/http/framing.h"

#include <stdint.h>
#include <sys/types.h>

struct cn_http;

enum {
    /* The largest message of the bus without its header. */
    CN_HTTP_BODY_MAX = (1 << 20) - (16 << 10),
    CN_HTTP_RESPONSE_MAX = 8 << 20,
    CN_HTTP_FIELDS_MAX = 16,
    CN_HTTP_QUERY_MAX = 64
};

/* One query parameter as it stands in the URI, but with spaces for '+'. */
struct cn_http_parameter {
    const char *name;
    const char *value;
};

/* A request that has come whole. All of it is in arena. */
struct cn_http_request {
    struct cn_arena *arena;
    const char *method;
    const char *path; /* as in the URI, without the query */
    const char *headers[CN_FRAMING_HEADER_COUNT];
    struct cn_http_parameter query[CN_HTTP_QUERY_MAX];
    size_t query_count;
    struct cn_bytes body;
    int64_t came_at;     /* monotonic */
    const char *address; /* of the connection's other end: "192.0.2.7" */
};

struct cn_http_field {
    const char *name;
    const char *value;
};

/* An answer without an end, in place of a body. Both functions run in the
 * loop, outside any fiber, and must not park. */
struct cn_http_source {
    /* Puts at most size bytes into buffer and returns how many. 0: nothing now,
     * the stream rests until cn_http_stream_wake; -1: it ends cleanly. */
    ssize_t (*read)(void *arg, char *buffer, size_t size);
    /* Called exactly once, when nothing will be read any more; also for a
     * stream that never began because its client had left. */
    void (*closed)(void *arg);
    void *arg;
};

/* A handle of a stream, which may outlive it: then the calls below do nothing.
 */
struct cn_http_stream {
    struct cn_http *http; /* NULL: none */
    size_t number;
    unsigned generation;
};

/* What a handler fills. Texts need to live until it returns. */
struct cn_http_response {
    unsigned status;
    struct cn_buffer body; /* taken over */
    /* In place of body, unless its data is NULL: is not copied, and lives as
     * long as the process. */
    struct cn_bytes constant;
    struct cn_http_field fields[CN_HTTP_FIELDS_MAX];
    size_t field_count;
    /* Of one who has shown no credential: while many such come, each waits, so
     * that their answers take little of the time of others. */
    bool stranger;
    const struct cn_http_source *source; /* copied; NULL: there is a body */
    struct cn_http_stream *stream;       /* is set once the stream begins */
};

/* Adds a field; both texts are kept by pointer. */
void cn_http_field_add(struct cn_http_response *response,
                       const char *name,
                       const char *value);

struct cn_http_config {
    const char *listen; /* "127.0.0.1:8080", "[::1]:8080" */
    unsigned connections_max;
    unsigned connections_per_ip; /* 0: no limit */
    int64_t timeout_us;          /* of a request, from its last byte on */
    /* Keeps serving up to the last turn of the loop, without delaying its end.
     */
    bool to_the_end;
    unsigned streams_max; /* connections beyond connections_max, for streams */
    /* Runs in a fiber when a head announces a body that has not come yet:
     * anything but CN_OK is the answer, and the body is not read. *ret_payer:
     * whose share of the room it takes. NULL: everybody may send. */
    enum cn_code (*admit)(void *arg,
                          const struct cn_http_request *request,
                          struct cn_uuid *ret_payer,
                          struct cn_err *err);
    /* Runs in a fiber that has the request's deadline. */
    void (*handle)(void *arg,
                   const struct cn_http_request *request,
                   struct cn_http_response *response);
    /* Fills the answer to a request that never gets to handle. Its path and
     * method may be NULL. Must not park. */
    void (*refuse)(void *arg,
                   const struct cn_http_request *request,
                   const struct cn_err *err,
                   struct cn_http_response *response);
    void *arg;
};

/* Listens. When the loop stops (and to_the_end is false) it accepts no new
 * client. It answers the requests in flight, and those that come within two
 * seconds on open connections, with "Connection: close", all of it within
 * CN_HTTP_DRAIN_US, and lets the loop end. CN_INVALID for a bad address,
 * CN_UNAVAILABLE when it is taken. */
#define CN_HTTP_DRAIN_US ((int64_t)10000000)
CN_CHECKED enum cn_code cn_http_new(struct cn_env *env,
                                    const struct cn_http_config *config,
                                    struct cn_http **ret_http,
                                    struct cn_err *err);
/* After the loop has ended, before it is freed. NULL is accepted. */
void cn_http_free(struct cn_http *self);
/* The port that it listens at, also for ":0". */
unsigned cn_http_port(const struct cn_http *self);
/* Now, for metrics: open connections, and requests that a fiber answers. */
unsigned cn_http_connections(const struct cn_http *self);
unsigned cn_http_in_flight(const struct cn_http *self);

/* A stream's client that takes nothing for CN_HTTP_STREAM_TIMEOUT_MS, or has
 * left, is cut off. The kernel's send buffer is bounded, so the source of a
 * slow client is not read. At a stop every stream ends cleanly. */
enum { CN_HTTP_STREAM_TIMEOUT_MS = 20000, CN_HTTP_STREAM_SNDBUF = 32 << 10 };

/* There is something to read again. */
void cn_http_stream_wake(struct cn_http_stream stream);
/* Does it rest, with all its bytes handed to the kernel? */
bool cn_http_stream_rests(struct cn_http_stream stream);
/* Ends the connection at once, whatever has not been sent. */
void cn_http_stream_cut(struct cn_http_stream stream);

#endif
