/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of a request's head. libmicrohttpd 0.9.75 accepts heads that two
 * readers of one connection could understand differently (request smuggling,
 * CWE-444); they are refused here. */
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
    CN_FRAMING_FORWARDED_FOR,
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

/* CN_MALFORMED when the connection must be closed; CN_TOO_LARGE with the word
 * uri_too_long for a path over the limit. Lists that come in several fields are
 * joined in the arena. */
CN_CHECKED enum cn_code cn_framing_check(const struct cn_framing_head *head,
                                         struct cn_arena *arena,
                                         struct cn_framing *ret_framing,
                                         struct cn_err *err);
/* False for a head with a NUL in a value, a bare LF or a folded line.
 * libmicrohttpd 0.9.75 reports none of them, but it cuts lines in place: after
 * a value follow the two NULs that were CR and LF, then the next name. Fields
 * that do not follow each other in memory are not checked. */
bool cn_framing_whole(const struct cn_framing_head *head);

#endif
