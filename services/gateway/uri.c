/* SPDX-License-Identifier: Apache-2.0 */
/* Percent-encoding of paths and queries. */
#include "services/gateway/uri.h"

#include <string.h>

static int s_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Bytes of the UTF-8 character at text, 0 when it is none or a control
 * character (RFC 3629: neither surrogates nor overlong forms). */
static size_t s_character(const unsigned char *text, size_t size)
{
    unsigned char first = text[0];
    size_t count = first < 0x80                     ? 1
                   : first >= 0xc2 && first <= 0xdf ? 2
                   : first >= 0xe0 && first <= 0xef ? 3
                   : first >= 0xf0 && first <= 0xf4 ? 4
                                                    : 0;
    if (count == 1) {
        return first < 0x20 || first == 0x7f ? 0 : 1;
    }
    if (count > size) {
        return 0;
    }
    for (size_t i = 1; i < count; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    if ((first == 0xe0 && text[1] < 0xa0) ||
        (first == 0xed && text[1] > 0x9f) ||
        (first == 0xf0 && text[1] < 0x90) ||
        (first == 0xf4 && text[1] > 0x8f)) {
        return 0;
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

    if (decoded == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < size; i++) {
        if (text[i] != '%') {
            decoded[count++] = text[i];
            continue;
        }
        int high = i + 2 < size ? s_digit(text[i + 1]) : -1;
        int low = high >= 0 ? s_digit(text[i + 2]) : -1;
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
