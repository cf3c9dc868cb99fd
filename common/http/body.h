/* SPDX-License-Identifier: Apache-2.0 */
/* The body of a request on its way: by its length, or in chunks, which are read
 * strictly (RFC 9112 7.1). */
#ifndef CN_BODY_H
#define CN_BODY_H

#include "common/base/arena.h"
#include "common/http/framing.h"

enum { CN_BODY_EXTRA_MAX = 8 << 10 }; /* bytes of extensions and trailers */

enum cn_body_state { CN_BODY_MORE, CN_BODY_WHOLE, CN_BODY_BROKEN };

struct cn_body {
    unsigned step;
    unsigned digits;
    uint64_t left; /* bytes of the body, or of the chunk, that are to come */
    size_t extra;
};

void cn_body_begin(struct cn_body *self, const struct cn_framing *framing);
/* Takes a piece of the body and what stands before it: call it again until it
 * takes nothing or is not CN_BODY_MORE. *ret_used: bytes taken. */
enum cn_body_state cn_body_read(struct cn_body *self,
                                const char *data,
                                size_t size,
                                size_t *ret_used,
                                struct cn_bytes *ret_piece);

#endif
