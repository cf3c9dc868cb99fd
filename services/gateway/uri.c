/* SPDX-License-Identifier: Apache-2.0 */
/* Percent-encoding of paths and queries. */
#include "services/gateway/uri.h"

#include "common/base/array.h"

#include <string.h>

static int s_escape_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* For each first byte of a UTF-8 character (RFC 3629): how many bytes the
 * character has, and which second bytes are allowed. Surrogates and overlong
 * forms do not pass. */
static const struct {
    unsigned char from;
    unsigned char to;
    unsigned char count;
    unsigned char second_from;
    unsigned char second_to;
} CHARACTERS[] = {
    { 0x20, 0x7e, 1, 0, 0 },       { 0xc2, 0xdf, 2, 0x80, 0xbf },
    { 0xe0, 0xe0, 3, 0xa0, 0xbf }, { 0xe1, 0xec, 3, 0x80, 0xbf },
    { 0xed, 0xed, 3, 0x80, 0x9f }, { 0xee, 0xef, 3, 0x80, 0xbf },
    { 0xf0, 0xf0, 4, 0x90, 0xbf }, { 0xf1, 0xf3, 4, 0x80, 0xbf },
    { 0xf4, 0xf4, 4, 0x80, 0x8f },
};

/* Size of the character at text; 0 for invalid bytes and control characters. */
static size_t s_character(const unsigned char *text, size_t size)
{
    size_t row = 0;
    while (text[0] < CHARACTERS[row].from || text[0] > CHARACTERS[row].to) {
        if (++row == CN_COUNT(CHARACTERS)) {
            return 0;
        }
    }
    size_t count = CHARACTERS[row].count;
    if (count > size || (count > 1 && (text[1] < CHARACTERS[row].second_from ||
                                       text[1] > CHARACTERS[row].second_to))) {
        return 0;
    }
    for (size_t i = 2; i < count; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return count;
}

static bool s_readable(const char *text, size_t size)
{
    for (size_t at = 0; at < size;) {
        size_t count = s_character((const unsigned char *)text + at, size - at);
        if (count == 0) {
            return false;
        }
        at += count;
    }
    return true;
}

const char *uri_decode(struct cn_arena *arena, const char *text, size_t size)
{
    char *decoded = cn_arena_alloc(arena, size + 1);
    size_t count = 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] != '%') {
            decoded[count++] = text[i];
            continue;
        }
        int high = i + 2 < size ? s_escape_digit(text[i + 1]) : -1;
        int low = high >= 0 ? s_escape_digit(text[i + 2]) : -1;
        if (low < 0) {
            return NULL;
        }
        decoded[count++] = (char)(high * 16 + low);
        i += 2;
    }
    decoded[count] = '\0';
    return s_readable(decoded, count) ? decoded : NULL;
}

void uri_encode(struct cn_buffer *buffer, const char *text)
{
    static const char DIGITS[] = "0123456789ABCDEF";
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0';
         at++) {
        unsigned char c = *at;
        if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
            (c >= 'a' && c <= 'z') || strchr("-._~", c) != NULL) {
            cn_buffer_add(buffer, (const char *)at, 1);
        } else {
            const char escape[3] = { '%', DIGITS[c >> 4], DIGITS[c & 15] };
            cn_buffer_add(buffer, escape, sizeof(escape));
        }
    }
}
