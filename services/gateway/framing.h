/* SPDX-License-Identifier: Apache-2.0 */
/* What a request's head must be. libmicrohttpd 0.9.75 lets pass what two
 * readers of one stream could understand differently (CWE-444): all of it is
 * refused here. */
#ifndef GATEWAY_FRAMING_H
#define GATEWAY_FRAMING_H

#include "common/arena.h"
#include "common/err.h"

#include <stddef.h>
#include <stdint.h>

enum { FRAMING_FIELDS_MAX = 100, FRAMING_PATH_MAX = 8000 };

/* Header fields that the gateway reads. */
enum framing_header {
    FRAMING_HOST,
    FRAMING_AUTHORIZATION,
    FRAMING_CONTENT_TYPE,
    FRAMING_CONTENT_LENGTH,
    FRAMING_TRANSFER_ENCODING,
    FRAMING_ACCEPT,
    FRAMING_EXPECT,
    FRAMING_IDEMPOTENCY_KEY,
    FRAMING_IF_MATCH,
    FRAMING_IF_NONE_MATCH,
    FRAMING_REQUEST_ID,
    FRAMING_X_REQUEST_ID,
    FRAMING_TRACEPARENT,
    FRAMING_HEADER_COUNT
};

struct framing_field {
    const char *name;
    size_t name_size;
    const char *value;
    size_t value_size;
};

/* A request's head as the parser read it. */
struct framing_head {
    const char *method;
    const char *path;       /* not decoded, without the query */
    const char *target_end; /* where the last piece of path and query ends */
    const char *version;
    struct framing_field fields[FRAMING_FIELDS_MAX];
    size_t field_count;
};

struct framing {
    const char *headers[FRAMING_HEADER_COUNT]; /* NULL: absent */
    uint64_t body_size;                        /* announced; 0 when chunked */
    bool chunked;
};

/* CN_MALFORMED when the connection must be given up; CN_TOO_LARGE with the word
 * uri_too_long for a path over the limit. Lists that come in several fields are
 * joined in the arena. */
CN_CHECKED enum cn_code framing_check(const struct framing_head *head,
                                      struct cn_arena *arena,
                                      struct framing *ret_framing,
                                      struct cn_err *err);
/* libmicrohttpd 0.9.75 cuts lines in place: after a value stand the two NULs
 * that were CR and LF, then the next name. Anything else was a NUL in a value,
 * a bare LF or a folded line, none of which it reports. False when the fields
 * do not lie so; fields that do not follow each other in memory are not judged.
 */
bool framing_whole(const struct framing_head *head);

#endif
