/* SPDX-License-Identifier: Apache-2.0 */
/* JSON to message and back, by descriptor and shape. */
#ifndef CN_JSON_H
#define CN_JSON_H

#include "common/base/arena.h"
#include "common/base/err.h"
#include "common/wire/shape.h"

enum { CN_JSON_DEPTH_MAX = 32 };

/* A growing buffer with a ceiling. A failed append frees it and sets failed;
 * later appends do nothing. */
struct cn_buffer {
    char *data;
    size_t size;
    size_t capacity;
    size_t max;
    bool failed;
};
void cn_buffer_init(struct cn_buffer *self, size_t max);
void cn_buffer_done(struct cn_buffer *self);
void cn_buffer_add(struct cn_buffer *self, const char *data, size_t size);
void cn_buffer_puts(struct cn_buffer *self, const char *text);
/* A JSON string with its quotes; NULL text is null. */
void cn_buffer_json_text(struct cn_buffer *self, const char *text);

/* Reads a JSON object (strict: UTF-8, no duplicate keys, no NUL) into message,
 * which has shape's type, in the arena. Faults are CN_MALFORMED for syntax and
 * CN_INVALID with a pointer for each field: unknown_field, read_only_field,
 * wrong_type, invalid_date, invalid_time, invalid_zone, invalid_value,
 * too_long, too_many. null counts as absent. An error repeats nothing of the
 * request but keys that look like a field's name. Texts are kept without the
 * blanks at their ends and hold no control characters (text.h). If mask is not
 * NULL this is a merge patch: null clears, and the paths of the keys present
 * ("name.family") are returned in it, those of read-only fields too: cn_patch
 * compares them with what is there. */
struct cn_json_mask {
    const char **paths;
    size_t count;
};
CN_CHECKED enum cn_code cn_json_read(struct cn_arena *arena,
                                     const struct cn_shape *shape,
                                     const char *text,
                                     size_t size,
                                     ProtobufCMessage *message,
                                     struct cn_json_mask *mask,
                                     struct cn_err *err);
/* Sets one field from the text of a query or path parameter; a repeated field
 * takes comma-separated words. The pointer of a fault is the field's name
 * ("/status"). A list grows when it is set again. Returns CN_NOT_FOUND when
 * there is no such field. */
CN_CHECKED enum cn_code cn_json_set(struct cn_arena *arena,
                                    const struct cn_shape *shape,
                                    ProtobufCMessage *message,
                                    const char *field,
                                    const char *text,
                                    struct cn_err *err);
/* Writes a message as a JSON object: absent fields are left out, lists are
 * always written (empty as []), times as RFC 3339, enums as lower-case words.
 */
void cn_json_write(struct cn_buffer *buffer,
                   const struct cn_shape *shape,
                   const ProtobufCMessage *message);
/* The word of an enum's value; NULL for a number outside the list. */
const char *cn_enum_word(const ProtobufCEnumDescriptor *descriptor, int value);
/* The value of a word; false when there is none. */
CN_CHECKED bool cn_enum_value(const ProtobufCEnumDescriptor *descriptor,
                              const char *word,
                              int *ret_value);

/* Does the text follow the named pattern of a field ("npi", "phone", "email",
 * "postal_code")? Every door asks here. False for an unknown name. */
bool cn_json_pattern(const char *pattern, const char *text);

#endif
