/* SPDX-License-Identifier: Apache-2.0 */
/* What a request's head must be. libmicrohttpd 0.9.75 lets pass what two
 * readers of one stream could understand differently (CWE-444): all of it is
 * refused here. */
#ifndef CN_FRAMING_H
#define CN_FRAMING_H

#include "common/base/arena.h"
#include "common/base/err.h"

#include <stddef.h>
#include <stdint.h>

enum { CN_FRAMING_FIELDS_MAX = 100, CN_FRAMING_PATH_MAX = 8000 };

/* Header fields that the gateway reads. */
enum cn_framing_header {
    CN_FRAMING_HOST,
    CN_FRAMING_AUTHORIZATION,
    CN_FRAMING_CONTENT_TYPE,
    CN_FRAMING_CONTENT_LENGTH,
    CN_FRAMING_TRANSFER_ENCODING,
    CN_FRAMING_ACCEPT,
    CN_FRAMING_EXPECT,
    CN_FRAMING_IDEMPOTENCY_KEY,
    CN_FRAMING_IF_MATCH,
    CN_FRAMING_IF_NONE_MATCH,
    CN_FRAMING_REQUEST_ID,
    CN_FRAMING_X_REQUEST_ID,
    CN_FRAMING_TRACEPARENT,
    CN_FRAMING_LAST_EVENT_ID,
    CN_FRAMING_HEADER_COUNT
};

struct cn_framing_field {
    const char *name;
    size_t name_size;
    const char *value;
    size_t value_size;
};

/* A request's head as the parser read it. */
struct cn_framing_head {
    const char *method;
    const char *path;       /* not decoded, without the query */
    const char *target_end; /* where the last piece of path and query ends */
    const char *version;
    struct cn_framing_field fields[CN_FRAMING_FIELDS_MAX];
    size_t field_count;
};

struct cn_framing {
    const char *headers[CN_FRAMING_HEADER_COUNT]; /* NULL: absent */
    uint64_t body_size; /* announced; 0 when chunked */
    bool chunked;
};

/* CN_MALFORMED when the connection must be given up; CN_TOO_LARGE with the word
 * uri_too_long for a path over the limit. Lists that come in several fields are
 * joined in the arena. */
CN_CHECKED enum cn_code cn_framing_check(const struct cn_framing_head *head,
                                         struct cn_arena *arena,
                                         struct cn_framing *ret_framing,
                                         struct cn_err *err);
/* libmicrohttpd 0.9.75 cuts lines in place: after a value stand the two NULs
 * that were CR and LF, then the next name. Anything else was a NUL in a value,
 * a bare LF or a folded line, none of which it reports. False when the fields
 * do not lie so; fields that do not follow each other in memory are not judged.
 */
bool cn_framing_whole(const struct cn_framing_head *head);

#endif
