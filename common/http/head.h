/* SPDX-License-Identifier: Apache-2.0 */
/* The head of a request: where it ends, and its parts. It is read strictly
 * (RFC 9112): each line ends with CR LF, single spaces part the first line, a
 * field is a name, a colon and a value. What two readers of one connection
 * could understand differently is broken. */
#ifndef CN_HEAD_H
#define CN_HEAD_H

#include "common/http/framing.h"

enum { CN_HEAD_MAX = 32 << 10 }; /* bytes of a head with its empty line */

/* A head whose bytes are still coming. Zeroed before each request. */
struct cn_head {
    size_t at;    /* bytes that were looked at */
    size_t line;  /* where the present line begins */
    size_t begin; /* of the first line: one empty line may come before it */
};

enum cn_head_state {
    CN_HEAD_MORE,  /* it has not ended yet */
    CN_HEAD_WHOLE, /* it ends at self->at */
    CN_HEAD_BROKEN,
    CN_HEAD_TOO_LONG, /* the first line is over the limit */
    CN_HEAD_TOO_LARGE
};

/* Looks at the bytes that are new in data, which holds all of the request so
 * far. */
enum cn_head_state
cn_head_scan(struct cn_head *self, const char *data, size_t size);

/* Cuts a whole head in place: NULs end its parts. text is the head without the
 * line that is empty, and a NUL follows it. CN_MALFORMED. */
CN_CHECKED enum cn_code
cn_head_cut(char *text, struct cn_framing_head *ret_head, struct cn_err *err);

#endif
