/* SPDX-License-Identifier: Apache-2.0 */
/* The only place that unpacks protobuf. protobuf-c 1.4.1 has no limit on depth
 * or memory (measured: 30 KB can overflow the stack, 10 MB become 675 MB) and
 * accepts invalid UTF-8 and NUL in strings. So the wire bytes are first checked
 * against the descriptor. */
#ifndef CN_MESSAGE_H
#define CN_MESSAGE_H

#include "common/base/arena.h"
#include "common/base/err.h"
#include "common/base/id.h"

#include <protobuf-c/protobuf-c.h>

enum {
    CN_MESSAGE_SIZE_MAX = 1 << 20, /* bytes on the wire */
    CN_MESSAGE_DEPTH_MAX = 16
};

/* Size, depth, UTF-8, no NUL, then unpack into the arena. Unknown fields are
 * dropped. CN_MALFORMED for bad bytes, CN_NOMEM for the arena's bound. */
CN_CHECKED enum cn_code
cn_message_unpack(struct cn_arena *arena,
                  const ProtobufCMessageDescriptor *descriptor,
                  struct cn_bytes packed,
                  const ProtobufCMessage **ret_message,
                  struct cn_err *err);
/* Packs into the arena. CN_NOMEM; CN_TOO_LARGE over CN_MESSAGE_SIZE_MAX. */
CN_CHECKED enum cn_code cn_message_pack(struct cn_arena *arena,
                                        const ProtobufCMessage *message,
                                        struct cn_bytes *ret_packed,
                                        struct cn_err *err);
/* An empty message of that type. */
void *cn_message_new(struct cn_arena *arena,
                     const ProtobufCMessageDescriptor *descriptor);
/* A deep copy by pack and unpack. When the arena has no room for it, the arena
 * fails and the copy is an empty message. */
void *cn_message_copy(struct cn_arena *arena, const ProtobufCMessage *message);

/* Bytes and an id as the value of a field, in the arena. */
ProtobufCBinaryData cn_message_bytes(struct cn_arena *arena,
                                     struct cn_bytes bytes);
ProtobufCBinaryData cn_message_id(struct cn_arena *arena, struct cn_uuid id);
/* An id in a field of bytes. False: it is absent, or has another size. */
CN_CHECKED bool cn_message_uuid(protobuf_c_boolean has,
                                ProtobufCBinaryData data,
                                struct cn_uuid *ret_id);

/* Applies a merge patch: for each path of mask ("name.family", "phones"), the
 * field of `patch` replaces that of `target` (absent in patch: cleared).
 * Messages on the way are made when missing. The values are shared with patch,
 * which must live as long. CN_MALFORMED for a path that does not exist. */
CN_CHECKED enum cn_code cn_message_merge(struct cn_arena *arena,
                                         ProtobufCMessage *target,
                                         const ProtobufCMessage *patch,
                                         const char *const *mask,
                                         size_t mask_count,
                                         struct cn_err *err);
/* Bytes of the UTF-8 character at `at` (1 to 4), of `size` bytes left; 0 when
 * there is none. RFC 3629: no overlong form, no surrogate, nothing above
 * U+10FFFF. */
size_t cn_utf8_size(const uint8_t *at, size_t size);
/* Of valid UTF-8: how many bytes hold the first `max` characters. The limits
 * of texts count characters (maxLength of openapi.json), at every door. */
size_t cn_utf8_cut(const char *text, size_t size, size_t max);
static inline bool cn_utf8_fits(const char *text, size_t size, size_t max)
{
    return cn_utf8_cut(text, size, max) == size;
}
/* Bytes of one value of the field in memory (of one item of a list). */
size_t cn_field_size(const ProtobufCFieldDescriptor *field);
/* Is the path, or something below or above it, in the mask? */
bool cn_mask_has(const char *const *mask, size_t count, const char *path);

/* An empty message of a type:
 *   CN_NEW(request->arena, ref__referral, Ref__Referral) */
#define CN_NEW(arena, prefix, type)                                            \
    ((type *)cn_message_new((arena), &prefix##__descriptor))
/* Sets a proto2 scalar and its has_ flag: alone, the value is not sent. */
#define CN_SET(message, field, value)                                          \
    ((message)->has_##field = 1, (message)->field = (value))

#endif
