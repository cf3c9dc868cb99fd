/* SPDX-License-Identifier: Apache-2.0 */
#include "common/wire/fold.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* Base letters of U+00C0..U+017F (Latin-1 Supplement, Latin Extended-A), two
 * columns each; a space ends a single one, "--" is no letter. Those that
 * Unicode does not decompose are read here: o with stroke, ae, th. */
static const char LATIN[] =
    "a a a a a a aec e e e e i i i i d n o o o o o --o u u u u y thss"
    "a a a a a a aec e e e e i i i i d n o o o o o --o u u u u y thy "
    "a a a a a a c c c c c c c c d d d d e e e e e e e e e e g g g g "
    "g g g g h h h h i i i i i i i i i i ijijj j k k k l l l l l l l "
    "l l l n n n n n n n n n o o o o o o oeoer r r r r r s s s s s s "
    "s s t t t t t t u u u u u u u u u u u u w w y y y z z z z z z s ";

/* Is it a letter or a digit, not a mark beside one? */
static bool is_letter(utf8proc_int32_t point)
{
    switch (utf8proc_category(point)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
        return true;
    default:
        return false;
    }
}

/* Writes the letters of one folded character; returns how many bytes. */
static size_t put_letters(utf8proc_int32_t point, char *out)
{
    size_t used = 0;
    if (point >= 0xC0 && point <= 0x17F) {
        const char *base = LATIN + 2 * (size_t)(point - 0xC0);
        for (int k = 0; k < 2 && base[k] >= 'a'; k++) {
            out[used++] = base[k];
        }
    } else if (is_letter(point)) {
        used = (size_t)utf8proc_encode_char(point, (utf8proc_uint8_t *)out);
    }
    return used;
}

char *cn_text_folded(struct cn_arena *arena, const char *text)
{
    static const utf8proc_option_t OPTIONS =
        UTF8PROC_NULLTERM | UTF8PROC_STABLE | UTF8PROC_COMPAT |
        UTF8PROC_DECOMPOSE | UTF8PROC_CASEFOLD | UTF8PROC_STRIPMARK;
    utf8proc_uint8_t *mapped = NULL;
    utf8proc_ssize_t size =
        text != NULL
            ? utf8proc_map((const utf8proc_uint8_t *)text, 0, &mapped, OPTIONS)
            : 0;
    if (size == UTF8PROC_ERROR_NOMEM) {
        cn_arena_fail(arena);
    }
    if (size <= 0) {
        free(mapped);
        return cn_arena_strdup(arena, "");
    }
    char *out = cn_arena_alloc(arena, (size_t)size + 1);
    size_t used = 0;
    for (utf8proc_ssize_t at = 0; at < size;) {
        utf8proc_int32_t point = 0;
        utf8proc_ssize_t step =
            utf8proc_iterate(mapped + at, size - at, &point);
        if (step <= 0) {
            break;
        }
        used += put_letters(point, out + used);
        at += step;
    }
    out[used] = '\0';
    free(mapped);
    return out;
}
