/* SPDX-License-Identifier: Apache-2.0 */
/* Percent-encoding of paths and queries (RFC 3986). */
#ifndef GATEWAY_URI_H
#define GATEWAY_URI_H

#include "common/base/arena.h"
#include "common/wire/json.h"

/* Decodes size bytes into the arena. NULL for a broken escape, a control
 * character or bytes that are not UTF-8. */
const char *uri_decode(struct cn_arena *arena, const char *text, size_t size);
/* Adds text with all but the unreserved characters escaped. */
void uri_encode(struct cn_buffer *buffer, const char *text);

#endif
