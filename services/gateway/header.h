/* SPDX-License-Identifier: Apache-2.0 */
/* The values of header fields: media types, entity tags, keys, ids. */
#ifndef GATEWAY_HEADER_H
#define GATEWAY_HEADER_H

#include "common/base/arena.h"
#include "common/base/err.h"

#include <stddef.h>
#include <stdint.h>

enum {
    HEADER_REQUEST_ID_MAX = 64,
    HEADER_KEY_MAX = 255, /* bytes of an Idempotency-Key */
    HEADER_ETAG_MAX = 24,
    HEADER_TAGS_MAX = 8
};

/* The versions that an If-Match names; any: of whatever is there. None: a tag
 * that no record of ours has. */
struct header_tags {
    bool any;
    int64_t versions[HEADER_TAGS_MAX];
    size_t count;
};

/* Is it a client's request id: [A-Za-z0-9._-]{8,64}? */
bool header_is_request_id(const char *text);
/* Is it a traceparent (W3C)? */
bool header_is_trace(const char *text);
/* The credential of "Bearer <credential>"; NULL for another scheme. */
const char *header_bearer(const char *authorization);
/* Is the media type in the comma-separated list? Its parameters do not count.
 */
bool header_type_in(const char *type, const char *list);
/* Does an Accept (NULL: anything) take this media type? */
bool header_accepts(const char *accept, const char *type);
/* An Idempotency-Key: a word (a letter or a digit, then also !#$%&'*+-.^_`|~:/)
 * or an RFC 8941 string, of 1..255 printable bytes. The same text in quotes and
 * bare is the same key. CN_MALFORMED. The key is in the arena. */
CN_CHECKED enum cn_code header_key(struct cn_arena *arena,
                                   const char *text,
                                   const char **ret_key,
                                   struct cn_err *err);
/* If-Match: a list of entity tags, or *. Weak tags and those that are none of
 * ours match nothing; versions over HEADER_TAGS_MAX are not kept.
 * CN_MALFORMED. */
CN_CHECKED enum cn_code header_if_match(const char *text,
                                        struct header_tags *ret_tags,
                                        struct cn_err *err);
/* Does If-None-Match name the version (weak comparison)? */
bool header_none_match(const char *text, int64_t version);
/* "<version>" with its quotes. */
void header_etag(int64_t version, char text[HEADER_ETAG_MAX]);

#endif
