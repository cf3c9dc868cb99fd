/* SPDX-License-Identifier: Apache-2.0 */
/* Texts of a message: its fields and their parts, with escapes undone. */
#include "common/hl7/hl7_internal.h"

#include "common/base/array.h"
#include "common/wire/message.h"
#include "common/wire/text.h"

#include <ctype.h>
#include <string.h>

enum { TEXT_MAX = 40000 /* bytes as sent: more than any field keeps */ };

/* U+0080 to U+009F of windows-1252, which is what is sent under the name of
 * 8859/1 (https://encoding.spec.whatwg.org/); 0 is no character. */
static const uint16_t WINDOWS_1252[32] = {
    0x20AC, 0,      0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021,
    0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0,      0x017D, 0,
    0,      0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
    0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0,      0x017E, 0x0178
};

size_t cn_hl7_latin1_put(uint8_t c, uint8_t *out)
{
    unsigned point = c >= 0x80 && c < 0xA0 ? WINDOWS_1252[c - 0x80] : c;
    if (point < 0x80) {
        out[0] = (uint8_t)(point != 0 || c == 0 ? point : '?');
        return 1;
    }
    if (point < 0x800) {
        out[0] = (uint8_t)(0xC0 | (point >> 6));
        out[1] = (uint8_t)(0x80 | (point & 0x3F));
        return 2;
    }
    out[0] = (uint8_t)(0xE0 | (point >> 12));
    out[1] = (uint8_t)(0x80 | ((point >> 6) & 0x3F));
    out[2] = (uint8_t)(0x80 | (point & 0x3F));
    return 3;
}

struct cn_bytes cn_hl7_part(struct cn_bytes text, char delimiter, int n)
{
    for (; text.size > 0; n--) {
        const uint8_t *next =
            delimiter == '\0' ? NULL : memchr(text.data, delimiter, text.size);
        size_t size = next != NULL ? (size_t)(next - text.data) : text.size;
        if (n <= 1) {
            return (struct cn_bytes){ text.data, size };
        }
        if (next == NULL) {
            break;
        }
        text.data += size + 1;
        text.size -= size + 1;
    }
    return (struct cn_bytes){ 0 };
}

struct cn_bytes cn_hl7_raw(const struct cn_hl7 *self,
                           const struct cn_hl7_segment *segment,
                           int field)
{
    if (segment == NULL || field < 1) {
        return (struct cn_bytes){ 0 };
    }
    /* MSH-1 is the separator itself, so every later field of MSH stands one
     * place earlier than in other segments. */
    bool header = memcmp(segment->name, "MSH", 3) == 0;
    if (header && field == 1) {
        return (struct cn_bytes){ segment->text.data + 3, 1 };
    }
    return cn_hl7_part(segment->text, self->field, header ? field : field + 1);
}

int cn_hl7_repetitions(const struct cn_hl7 *self,
                       const struct cn_hl7_segment *segment,
                       int field)
{
    struct cn_bytes raw = cn_hl7_raw(self, segment, field);
    if (raw.size == 0) {
        return 0;
    }
    int count = 1;
    /* Each repetition is searched from the front: without a bound, a megabyte
     * of repetitions keeps the service busy for hours. */
    for (size_t i = 0; i < raw.size && count < CN_HL7_REPETITIONS_MAX; i++) {
        count += self->repetition != '\0' &&
                 raw.data[i] == (uint8_t)self->repetition;
    }
    return count;
}

static int s_hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (uint8_t)toupper(c);
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* A formatting command of FT (chapter 2, "Formatting codes"): its name and
 * perhaps a number. The line end or blank that it stands for; '\0': it is none.
 */
static char s_formatting(const uint8_t *text, size_t size)
{
    static const struct {
        char name[4];
        char means;
    } CODES[] = { { ".br", '\n' }, { ".sp", '\n' }, { ".ce", '\n' },
                  { ".sk", ' ' },  { ".in", ' ' },  { ".ti", ' ' },
                  { ".fi", ' ' },  { ".nf", ' ' } };
    for (size_t i = 3; i < size; i++) {
        if (strchr("0123456789+- ", text[i]) == NULL || text[i] == '\0') {
            return '\0';
        }
    }
    for (size_t i = 0; size >= 3 && i < CN_COUNT(CODES); i++) {
        if (strncasecmp((const char *)text, CODES[i].name, 3) == 0) {
            return CODES[i].means;
        }
    }
    return '\0';
}

/* \Xdd..\ in the message's character set. False when it is no hex. */
static bool s_unescape_hex(const struct cn_hl7 *self,
                           const uint8_t *text,
                           size_t size,
                           uint8_t *out,
                           size_t *ret_used)
{
    size_t used = 0;
    if (size < 3 || size % 2 != 1 || text[0] != 'X') {
        return false;
    }
    for (size_t i = 1; i + 1 < size; i += 2) {
        int high = s_hex_digit(text[i]);
        int low = s_hex_digit(text[i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        uint8_t byte = (uint8_t)(high * 16 + low);
        if (self->is_latin1) {
            used += cn_hl7_latin1_put(byte, out + used);
        } else {
            out[used++] = byte;
        }
    }
    *ret_used = used;
    return true;
}

/* Undoes one escape sequence, the text between its two escape characters. False
 * when it is none: then the text stays as it is. Highlighting has no meaning in
 * plain text and writes nothing. */
static bool s_unescape(const struct cn_hl7 *self,
                       const uint8_t *text,
                       size_t size,
                       uint8_t *out,
                       size_t *ret_used)
{
    static const char USUAL[] = "|^&~\\";
    const char delimiters[] = { self->field, self->component,
                                self->subcomponent, self->repetition,
                                self->escape };
    *ret_used = 0;
    if (size == 1) {
        const char *at = text[0] != '\0' ? strchr("FSTRE", text[0]) : NULL;
        if (at != NULL) {
            char mark = delimiters[at - "FSTRE"];
            out[0] = (uint8_t)(mark != '\0' ? mark : USUAL[at - "FSTRE"]);
            *ret_used = 1;
        }
        if (text[0] == 'P') { /* the mark of a cut text, since v2.7 */
            out[0] = '#';
            *ret_used = 1;
        }
        return at != NULL || (text[0] != '\0' && strchr("HNP", text[0]));
    }
    char formatting = s_formatting(text, size);
    if (formatting != '\0') {
        out[0] = (uint8_t)formatting;
        *ret_used = 1;
        return true;
    }
    return s_unescape_hex(self, text, size, out, ret_used);
}

/* An escape can make any byte: CR and CRLF become LF; bytes that are not UTF-8
 * and control characters become '?', which is marked. Returns the new size. */
static size_t s_clean(const struct cn_hl7 *self, uint8_t *text, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < size;) {
        size_t step = cn_utf8_size(text + i, size - i);
        if (text[i] == '\r') {
            i += i + 1 < size && text[i + 1] == '\n' ? 2 : 1;
            text[used++] = '\n';
        } else if (step == 0 ||
                   !cn_text_is_clean((const char *)text + i, step, true)) {
            i += step == 0 ? 1 : step;
            text[used++] = '?';
            self->marks->replaced = true;
        } else {
            memmove(text + used, text + i, step);
            used += step;
            i += step;
        }
    }
    return used;
}

const char *cn_hl7_plain(const struct cn_hl7 *self, struct cn_bytes raw)
{
    if (raw.size == 0 || (raw.size == 2 && memcmp(raw.data, "\"\"", 2) == 0)) {
        return NULL;
    }
    if (raw.size > TEXT_MAX) {
        raw.size = TEXT_MAX;
        self->marks->cut = true;
    }
    /* Two digits of hex can become three bytes. */
    uint8_t *out = cn_arena_array(self->arena, raw.size + 1, 2);
    size_t used = 0;
    for (size_t i = 0; i < raw.size;) {
        const uint8_t *end = NULL;
        size_t written = 0;
        if (self->escape != '\0' && raw.data[i] == (uint8_t)self->escape) {
            end = memchr(raw.data + i + 1, self->escape, raw.size - i - 1);
        }
        size_t size = end != NULL ? (size_t)(end - raw.data) - i - 1 : 0;
        if (end != NULL &&
            s_unescape(self, raw.data + i + 1, size, out + used, &written)) {
            used += written;
            i += size + 2;
        } else {
            out[used++] = raw.data[i++];
        }
    }
    used = s_clean(self, out, used);
    char *text = (char *)out;
    text += cn_text_trim(text, &used) - text;
    text[used] = '\0';
    return used > 0 ? text : NULL;
}

static struct cn_bytes s_component(const struct cn_hl7 *self,
                                   const struct cn_hl7_segment *segment,
                                   int field,
                                   int repetition,
                                   int component)
{
    struct cn_bytes raw = cn_hl7_raw(self, segment, field);
    raw =
        repetition == 0 ? raw : cn_hl7_part(raw, self->repetition, repetition);
    return component == 0 ? raw : cn_hl7_part(raw, self->component, component);
}

const char *cn_hl7_text(const struct cn_hl7 *self,
                        const struct cn_hl7_segment *segment,
                        int field,
                        int repetition,
                        int component)
{
    return cn_hl7_sub(self, segment, field, repetition, component, 1);
}

const char *cn_hl7_sub(const struct cn_hl7 *self,
                       const struct cn_hl7_segment *segment,
                       int field,
                       int repetition,
                       int component,
                       int subcomponent)
{
    return cn_hl7_plain(self, cn_hl7_part(s_component(self, segment, field,
                                                      repetition, component),
                                          self->subcomponent, subcomponent));
}

const char *cn_hl7_whole(const struct cn_hl7 *self,
                         const struct cn_hl7_segment *segment,
                         int field,
                         int repetition,
                         int component)
{
    return cn_hl7_plain(
        self, s_component(self, segment, field, repetition, component));
}

const char *cn_hl7_sent(const struct cn_hl7 *self,
                        const struct cn_hl7_segment *segment,
                        int field,
                        int repetition)
{
    return cn_hl7_line(self->arena,
                       cn_hl7_whole(self, segment, field, repetition, 0));
}

const char *cn_hl7_line(struct cn_arena *arena, const char *text)
{
    if (text == NULL) {
        return NULL;
    }
    char *line = cn_arena_alloc(arena, strlen(text) + 1);
    size_t used = 0;
    for (const char *at = text; *at != '\0'; at++) {
        bool is_blank = *at == '\n' || *at == '\t';
        char c = (char)(is_blank ? ' ' : *at);
        if (c != ' ' || (used > 0 && line[used - 1] != ' ')) {
            line[used++] = c;
        }
    }
    line[used] = '\0';
    return line;
}
