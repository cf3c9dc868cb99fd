/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of a request's head: what two readers of one connection could
 * understand differently (request smuggling, CWE-444) is refused. */
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
    CN_FRAMING_CONNECTION,
    CN_FRAMING_FORWARDED_FOR,
    CN_FRAMING_HEADER_COUNT
};

struct cn_framing_field {
    const char *name;
    size_t name_size;
    const char *value;
    size_t value_size;
};

/* A request's head in its parts. */
struct cn_framing_head {
    const char *method;
    const char *authority; /* of a target that names its host; else NULL */
    const char *path;      /* not decoded, without the query */
    const char *query;     /* what follows '?'; NULL: none */
    const char *version;
    struct cn_framing_field fields[CN_FRAMING_FIELDS_MAX];
    size_t field_count;
};

struct cn_framing {
    const char *headers[CN_FRAMING_HEADER_COUNT]; /* NULL: absent */
    uint64_t body_size; /* announced; 0 when chunked */
    bool chunked;
    bool closes; /* the client wants the connection closed after the answer */
    bool waits;  /* the client waits to be asked for its body */
};

/* Is it a token (RFC 9110 5.6.2)? */
bool cn_framing_is_token(const char *text, size_t size);

/* CN_MALFORMED when the connection must be closed; CN_TOO_LARGE with the word
 * uri_too_long for a path over the limit. Lists that come in several fields are
 * joined in the arena. The host of the target wins over the field Host. */
CN_CHECKED enum cn_code cn_framing_check(const struct cn_framing_head *head,
                                         struct cn_arena *arena,
                                         struct cn_framing *ret_framing,
                                         struct cn_err *err);

#endif
