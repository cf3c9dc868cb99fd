/* SPDX-License-Identifier: Apache-2.0 */
/* The reader of bodies. */
#include "common/http/body.h"

/* What the next byte may be. */
enum step {
    STEP_LENGTH, /* a byte of a body whose length is known */
    STEP_SIZE,
    STEP_SPACE, /* after the size, before an extension */
    STEP_EXTENSION,
    STEP_SIZE_LF,
    STEP_DATA,
    STEP_DATA_CR,
    STEP_DATA_LF,
    STEP_TRAILER, /* the beginning of a line */
    STEP_NAME,
    STEP_VALUE,
    STEP_VALUE_LF,
    STEP_END_LF,
    STEP_WHOLE,
    STEP_BROKEN
};

enum { SIZE_DIGITS_MAX = 15 }; /* so that a size cannot overflow */

void cn_body_begin(struct cn_body *self, const struct cn_framing *framing)
{
    enum step step = STEP_LENGTH;
    if (framing->chunked) {
        step = STEP_SIZE;
    } else if (framing->body_size == 0) {
        step = STEP_WHOLE;
    }
    *self = (struct cn_body){ .step = step, .left = framing->body_size };
}

static int s_chunk_digit(unsigned char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum step s_size_step(struct cn_body *self, unsigned char c)
{
    int digit = self->step == STEP_SIZE ? s_chunk_digit(c) : -1;
    if (digit >= 0) {
        self->left = self->left * 16 + (unsigned)digit;
        return ++self->digits <= SIZE_DIGITS_MAX ? STEP_SIZE : STEP_BROKEN;
    }
    if (self->digits == 0) {
        return STEP_BROKEN;
    }
    if (c == '\r') {
        return self->step == STEP_SIZE ? STEP_SIZE_LF : STEP_BROKEN;
    }
    if (c == ' ' || c == '\t') {
        return STEP_SPACE;
    }
    return c == ';' ? STEP_EXTENSION : STEP_BROKEN;
}

/* Text up to its CR. */
static enum step s_text_step(unsigned char c, enum step now, enum step after)
{
    if (c == '\r') {
        return after;
    }
    return (c < 0x20 && c != '\t') || c == 0x7f ? STEP_BROKEN : now;
}

static enum step s_trailer_step(struct cn_body *self, unsigned char c)
{
    const char byte = (char)c;
    if (self->step == STEP_TRAILER && c == '\r') {
        return STEP_END_LF;
    }
    if (self->step == STEP_NAME && c == ':') {
        return STEP_VALUE;
    }
    return cn_framing_is_token(&byte, 1) ? STEP_NAME : STEP_BROKEN;
}

static enum step s_size_end(struct cn_body *self)
{
    self->digits = 0;
    return self->left == 0 ? STEP_TRAILER : STEP_DATA;
}

static enum step s_step(struct cn_body *self, unsigned char c)
{
    switch ((enum step)self->step) {
    case STEP_SIZE:
    case STEP_SPACE:
        return s_size_step(self, c);
    case STEP_EXTENSION:
        return s_text_step(c, STEP_EXTENSION, STEP_SIZE_LF);
    case STEP_SIZE_LF:
        return c == '\n' ? s_size_end(self) : STEP_BROKEN;
    case STEP_DATA_CR:
        return c == '\r' ? STEP_DATA_LF : STEP_BROKEN;
    case STEP_DATA_LF:
        return c == '\n' ? STEP_SIZE : STEP_BROKEN;
    case STEP_TRAILER:
    case STEP_NAME:
        return s_trailer_step(self, c);
    case STEP_VALUE:
        return s_text_step(c, STEP_VALUE, STEP_VALUE_LF);
    case STEP_VALUE_LF:
        return c == '\n' ? STEP_TRAILER : STEP_BROKEN;
    case STEP_END_LF:
        return c == '\n' ? STEP_WHOLE : STEP_BROKEN;
    case STEP_LENGTH:
    case STEP_DATA:
    case STEP_WHOLE:
    case STEP_BROKEN:
        break;
    }
    return STEP_BROKEN;
}

static bool s_is_extra(unsigned step)
{
    return step == STEP_SPACE || step == STEP_EXTENSION || step == STEP_NAME ||
           step == STEP_VALUE;
}

static struct cn_bytes
s_piece(struct cn_body *self, const char *data, size_t size)
{
    struct cn_bytes piece = { (const uint8_t *)data, size };
    if (piece.size > self->left) {
        piece.size = (size_t)self->left;
    }
    self->left -= piece.size;
    if (self->left == 0) {
        self->step = self->step == STEP_LENGTH ? STEP_WHOLE : STEP_DATA_CR;
    }
    return piece;
}

enum cn_body_state cn_body_read(struct cn_body *self,
                                const char *data,
                                size_t size,
                                size_t *ret_used,
                                struct cn_bytes *ret_piece)
{
    size_t used = 0;
    *ret_piece = (struct cn_bytes){ NULL, 0 };
    while (used < size && self->step != STEP_WHOLE &&
           self->step != STEP_BROKEN) {
        if (self->step == STEP_LENGTH || self->step == STEP_DATA) {
            *ret_piece = s_piece(self, data + used, size - used);
            used += ret_piece->size;
            break;
        }
        self->step = s_step(self, (unsigned char)data[used++]);
        if (s_is_extra(self->step) && ++self->extra > CN_BODY_EXTRA_MAX) {
            self->step = STEP_BROKEN;
        }
    }
    *ret_used = used;
    if (self->step == STEP_BROKEN) {
        return CN_BODY_BROKEN;
    }
    return self->step == STEP_WHOLE ? CN_BODY_WHOLE : CN_BODY_MORE;
}
