/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of common/wire/json.h share. */
#ifndef CN_JSON_INTERNAL_H
#define CN_JSON_INTERNAL_H

#include "common/wire/json.h"

/* The place that is being read, and what may stand there. It becomes text only
 * when an error or a mask needs it. */
struct cn_json_where {
    const struct cn_json_where *up; /* NULL for the document itself */
    const char *key;                /* NULL in a list */
    size_t index;
    const ProtobufCFieldDescriptor *field; /* NULL for the document */
    const struct cn_field_shape *rule;
    bool is_patch; /* null clears, and what stands here is in the mask */
};

struct cn_json_reader {
    struct cn_arena *arena;
    struct cn_err *err;
    struct cn_json_mask *mask; /* NULL: not a patch */
    size_t mask_capacity;
    bool has_fault;
    bool as_read; /* values are ours, of an answer: their rules do not apply */
};

static inline void *cn_json_member(ProtobufCMessage *message, unsigned offset)
{
    return (char *)message + offset;
}

/* Records a fault of the place under its stable word. Returns false. */
bool cn_json_fault(struct cn_json_reader *reader,
                   const struct cn_json_where *where,
                   const char *word,
                   const char *format,
                   ...) CN_PRINTF(4, 5);

/* The stores check one value and put it into slot, the field's memory or an
 * item's. False when a fault was recorded or the arena has failed. */
bool cn_json_store_integer(struct cn_json_reader *reader,
                           const struct cn_json_where *where,
                           int64_t number,
                           void *slot);
bool cn_json_store_double(struct cn_json_reader *reader,
                          const struct cn_json_where *where,
                          double number,
                          void *slot);
/* For a field whose value is a string in JSON (cn_json_is_textual). */
bool cn_json_store_text(struct cn_json_reader *reader,
                        const struct cn_json_where *where,
                        const char *text,
                        size_t size,
                        void *slot);
bool cn_json_is_textual(const ProtobufCFieldDescriptor *field,
                        const struct cn_field_shape *rule);
size_t cn_json_items_max(const struct cn_field_shape *rule);
/* Sets has_x where the field has one. */
void cn_json_set_has(ProtobufCMessage *message,
                     const ProtobufCFieldDescriptor *field);
/* HH:MM, 00:00 to 23:59. */
bool cn_json_is_clock(const char *text);
/* Strict base64 (RFC 4648 section 4) into the arena; false for any other text.
 * The client chooses the size: ret_bytes->data is NULL when the arena has no
 * room. */
CN_CHECKED bool cn_base64_read(struct cn_arena *arena,
                               const char *text,
                               size_t size,
                               ProtobufCBinaryData *ret_bytes);
/* Writes cn_base64_size characters: with padding, without quotes or NUL. */
void cn_base64_write(const ProtobufCBinaryData *bytes, char *text);
static inline size_t cn_base64_size(size_t size)
{
    return (size + 2) / 3 * 4;
}

#endif
