/* SPDX-License-Identifier: Apache-2.0 */
/* Makes the input message of a route from path, query and body, and a body
 * from its output message. It uses descriptors and shapes: no endpoint has
 * code of its own. */
#ifndef GATEWAY_CONVERT_H
#define GATEWAY_CONVERT_H

#include "common/http/http.h"
#include "services/gateway/route.h"

/* Checks Content-Type, reads the body, sets the fields of path and query,
 * packs. CN_UNSUPPORTED, CN_MALFORMED, CN_INVALID with pointers; CN_NOT_FOUND
 * when a value of the path cannot belong to any record. */
CN_CHECKED enum cn_code convert_request(const struct cn_http_request *request,
                                        const struct cn_route *route,
                                        const struct route_match *match,
                                        struct cn_bytes *ret_packed,
                                        struct cn_err *err);

/* What the output message holds besides the body. */
struct convert_reply {
    const char *content_type; /* in the arena */
    const char *next_cursor;  /* NULL: none */
};

/* Adds the body to buffer. CN_UNAVAILABLE when the reply cannot be read. */
CN_CHECKED enum cn_code convert_reply(const struct cn_route *route,
                                      struct cn_arena *arena,
                                      struct cn_bytes packed,
                                      struct cn_buffer *buffer,
                                      struct convert_reply *ret_reply,
                                      struct cn_err *err);
/* The Link field of the next page: the path, after base ("" or a URL), and the
 * query with another cursor. NULL when it is too long or there is no memory. */
const char *convert_next(const struct cn_http_request *request,
                         const char *base,
                         const char *next_cursor);

#endif
