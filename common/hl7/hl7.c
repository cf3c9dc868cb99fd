/* SPDX-License-Identifier: Apache-2.0 */
#include "common/hl7/hl7.h"

#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/wire/message.h"
#include "common/wire/text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MLLP_END = 0x1C,
    JOINED_MAX = 500,       /* bytes of joined lines that are told */
    HEADER_FIELD_MAX = 250, /* bytes of what an acknowledgement repeats */
    TEXT_MAX = 40000        /* bytes as sent: more than any field keeps */
};

/* No delimiter is a mark that numbers, dates and our own texts need. */
static bool s_is_delimiter(uint8_t c)
{
    return ispunct(c) && strchr("\"'()+,-./:_", c) == NULL;
}

/* Do a segment's name and the separator stand here, perhaps with blanks
 * between? MSH brings its own separator. */
static bool s_segment_begins(const uint8_t *at, size_t size, uint8_t separator)
{
    size_t name = 3;
    while (name < size && at[name] == ' ') {
        name++;
    }
    return name < size && isalpha(at[0]) && isalnum(at[1]) && isalnum(at[2]) &&
           (at[name] == separator ||
            (strncasecmp((const char *)at, "MSH", 3) == 0 &&
             s_is_delimiter(at[name])));
}

static bool s_is_end(uint8_t c)
{
    return c == '\r' || c == '\n' || c == MLLP_END;
}

/* Line ends made one: CR before a segment and after a CR, LF inside a field. */
static struct cn_bytes s_lines_even(struct cn_arena *arena, struct cn_bytes in)
{
    uint8_t *out = cn_arena_alloc(arena, in.size + 1);
    uint8_t separator = in.size > 3 ? in.data[3] : 0;
    size_t used = 0;
    for (size_t i = 0; i < in.size;) {
        if (!s_is_end(in.data[i])) {
            out[used++] = in.data[i++];
            continue;
        }
        bool feeds = true;
        size_t run = i;
        while (run < in.size && s_is_end(in.data[run])) {
            feeds = feeds && in.data[run] == '\n';
            run++;
        }
        bool inside =
            feeds && run < in.size &&
            !s_segment_begins(in.data + run, in.size - run, separator);
        if (used > 0 && run < in.size) {
            out[used++] = inside ? '\n' : '\r';
        }
        i = run;
    }
    return (struct cn_bytes){ out, used };
}

static bool s_line_is(struct cn_bytes text, const char *name)
{
    return text.size >= 3 && memcmp(text.data, name, 3) == 0;
}

/* The line without blanks and control characters before it, such as the begin
 * of an MLLP frame. */
static struct cn_bytes s_line_begun(struct cn_bytes line)
{
    while (line.size > 0 && line.data[0] <= ' ') {
        line.data++;
        line.size--;
    }
    return line;
}

/* The message of a batch: without FHS and BHS before it, BTS and FTS behind
 * it. A batch without a message stays as it is. */
static struct cn_bytes s_envelope_off(struct cn_bytes text)
{
    struct cn_bytes rest = text;
    while (s_line_is(rest, "FHS") || s_line_is(rest, "BHS")) {
        const uint8_t *end = memchr(rest.data, '\r', rest.size);
        if (end == NULL) {
            return text;
        }
        size_t line = (size_t)(end - rest.data) + 1;
        rest = (struct cn_bytes){ rest.data + line, rest.size - line };
    }
    size_t last = rest.size;
    while (rest.data != text.data && last > 0) {
        size_t from = last;
        while (from > 0 && rest.data[from - 1] != '\r') {
            from--;
        }
        struct cn_bytes line = { rest.data + from, last - from };
        if (from == 0 || !(s_line_is(line, "BTS") || s_line_is(line, "FTS"))) {
            break;
        }
        last = from - 1;
    }
    return s_line_is(rest, "MSH") ? (struct cn_bytes){ rest.data, last } : text;
}

struct cn_bytes cn_hl7_normalise(struct cn_arena *arena,
                                 struct cn_bytes message)
{
    struct cn_bytes in = s_line_begun(message);
    if (in.size >= 3 && memcmp(in.data, "\xEF\xBB\xBF", 3) == 0) {
        in = s_line_begun((struct cn_bytes){ in.data + 3, in.size - 3 });
    }
    return s_envelope_off(s_lines_even(arena, in));
}

struct cn_bytes cn_hl7_content(struct cn_bytes normalised)
{
    const uint8_t *end = memchr(normalised.data, '\r', normalised.size);
    size_t header =
        end != NULL ? (size_t)(end - normalised.data) + 1 : normalised.size;
    return (struct cn_bytes){ normalised.data + header,
                              normalised.size - header };
}

bool cn_hl7_begins(struct cn_bytes normalised)
{
    return normalised.size >= 4 &&
           (s_line_is(normalised, "MSH") || s_line_is(normalised, "FHS") ||
            s_line_is(normalised, "BHS"));
}

static bool s_utf8_valid(struct cn_bytes text)
{
    for (size_t i = 0; i < text.size;) {
        size_t size = cn_utf8_size(text.data + i, text.size - i);
        if (size == 0) {
            return false;
        }
        i += size;
    }
    return true;
}

/* U+0080 to U+009F of windows-1252, which is what is sent under the name of
 * 8859/1 (https://encoding.spec.whatwg.org/); 0 is no character. */
static const uint16_t WINDOWS_1252[32] = {
    0x20AC, 0,      0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021,
    0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0,      0x017D, 0,
    0,      0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
    0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0,      0x017E, 0x0178
};

/* One byte of 8859/1 as UTF-8, at most three bytes; returns how many. */
static size_t s_latin1_put(uint8_t c, uint8_t *out)
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

static struct cn_bytes s_latin1_to_utf8(struct cn_arena *arena,
                                        struct cn_bytes text)
{
    uint8_t *out = cn_arena_array(arena, text.size + 1, 3);
    size_t used = 0;
    for (size_t i = 0; i < text.size; i++) {
        used += s_latin1_put(text.data[i], out + used);
    }
    return (struct cn_bytes){ out, used };
}

/* Part number n (from 1) of text cut at a delimiter; '\0' cuts nothing. */
static struct cn_bytes s_nth_part(struct cn_bytes text, char delimiter, int n)
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
    return s_nth_part(segment->text, self->field, header ? field : field + 1);
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
            used += s_latin1_put(byte, out + used);
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

/* Text with escapes undone, without blanks at its ends; NULL when nothing is
 * left, and for the HL7 null. */
static const char *s_plain(const struct cn_hl7 *self, struct cn_bytes raw)
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
    raw = repetition == 0 ? raw : s_nth_part(raw, self->repetition, repetition);
    return component == 0 ? raw : s_nth_part(raw, self->component, component);
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
    return s_plain(self, s_nth_part(s_component(self, segment, field,
                                                repetition, component),
                                    self->subcomponent, subcomponent));
}

const char *cn_hl7_whole(const struct cn_hl7 *self,
                         const struct cn_hl7_segment *segment,
                         int field,
                         int repetition,
                         int component)
{
    return s_plain(self,
                   s_component(self, segment, field, repetition, component));
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

const struct cn_hl7_segment *
cn_hl7_segment(const struct cn_hl7 *self, const char *name, size_t nth)
{
    for (size_t i = 0; i < self->segment_count; i++) {
        if (strcmp(self->segments[i].name, name) == 0 && --nth == 0) {
            return &self->segments[i];
        }
    }
    return NULL;
}

enum cn_code cn_hl7_refuse(struct cn_hl7_fault *ret_fault,
                           const struct cn_hl7_fault *why,
                           struct cn_err *err)
{
    *ret_fault = *why;
    return cn_fail(err, CN_INVALID, "HL7 %s %d: %s", why->ack, why->code,
                   why->text);
}

/* MSH-1 and MSH-2: five delimiters that differ; the first two must be there. */
static bool s_read_delimiters(struct cn_hl7 *message, struct cn_bytes text)
{
    /* MSH-2 has four; v2.7 added a fifth for cut texts, which is not used. */
    char marks[6] = { (char)text.data[3] };
    struct cn_bytes rest = { text.data + 4, text.size - 4 };
    struct cn_bytes encoding = s_nth_part(rest, marks[0], 1);
    if (encoding.size < 1 || encoding.size > 5) {
        return false;
    }
    for (size_t i = 0; i < encoding.size; i++) {
        marks[i + 1] = (char)encoding.data[i];
    }
    for (size_t i = 0; i <= encoding.size; i++) {
        bool bad = !s_is_delimiter((uint8_t)marks[i]);
        for (size_t j = 0; j < i; j++) {
            bad = bad || marks[i] == marks[j];
        }
        if (bad) {
            return false;
        }
    }
    message->field = marks[0];
    message->component = marks[1];
    message->repetition = marks[2];
    message->escape = marks[3];
    message->subcomponent = marks[4];
    return true;
}

/* Table 0211, and other spellings of the sets that are taken. */
static const char *const CHARSETS[] = {
    "ASCII",         "US-ASCII",       "UNICODE UTF-8", "UTF-8",
    "UTF8",          "8859/1",         "ISO-8859-1",    "LATIN1",
    "WINDOWS-1252",  "CP1252",         "8859/2",        "8859/3",
    "8859/4",        "8859/5",         "8859/6",        "8859/7",
    "8859/8",        "8859/9",         "8859/15",       "ISO IR14",
    "ISO IR6",       "ISO IR87",       "JAS2020",       "ISO IR159",
    "GB 18030-2000", "KS X 1001",      "BIG-5",         "CNS 11643-1992",
    "UNICODE",       "UNICODE UTF-16", "UNICODE UTF-32"
};
/* Rows before the first end are taken as UTF-8, rows before the second as
 * ISO 8859-1. */
enum { CHARSETS_UTF8_END = 5, CHARSETS_LATIN1_END = 10 };

/* Turns the text into UTF-8. media_type is the set that the media type names,
 * or NULL. The fault names a set by our own list, never in the sender's words.
 */
static enum cn_code s_read_charset(struct cn_hl7 *message,
                                   const char *media_type,
                                   struct cn_bytes *text,
                                   struct cn_hl7_fault *fault,
                                   struct cn_err *err)
{
    const char *set = cn_hl7_text(message, message->segments, 18, 1, 1);
    size_t row = 0;
    set = set != NULL ? set : media_type;
    while (set != NULL && row < CN_COUNT(CHARSETS) &&
           strcasecmp(set, CHARSETS[row]) != 0) {
        row++;
    }
    if (row < CHARSETS_UTF8_END && s_utf8_valid(*text)) {
        return CN_OK;
    }
    if (row >= CHARSETS_UTF8_END && row < CHARSETS_LATIN1_END) {
        /* What reads as UTF-8 is UTF-8, whatever its sender calls it. */
        *text = s_utf8_valid(*text) ? *text
                                    : s_latin1_to_utf8(message->arena, *text);
        message->is_latin1 = true;
        return CN_OK;
    }
    struct cn_hl7_fault refused = { "AR", "MSH", 1, 18, CN_HL7_TABLE_VALUE,
                                    NULL, NULL };
    refused.text =
        row < CHARSETS_UTF8_END
            ? "the text is not UTF-8: name its character set in MSH-18"
            : cn_arena_printf(message->arena,
                              "the character set %s is not supported; "
                              "send UNICODE UTF-8",
                              row < CN_COUNT(CHARSETS) ? CHARSETS[row]
                                                       : "in MSH-18");
    return cn_hl7_refuse(fault, &refused, err);
}

/* Does the line begin a segment? One may be its name alone. */
static bool s_is_segment(struct cn_bytes line, char separator)
{
    return s_segment_begins(line.data, line.size, (uint8_t)separator) ||
           (line.size == 3 && isupper(line.data[0]) && isupper(line.data[1]) &&
            (isupper(line.data[2]) || isdigit(line.data[2])));
}

static size_t s_lines_count(struct cn_bytes text)
{
    size_t count = 1;
    for (size_t i = 0; i < text.size; i++) {
        count += text.data[i] == '\r';
    }
    return count;
}

static void s_joined_add(struct cn_hl7 *message, struct cn_bytes line)
{
    const char *before = message->marks->joined;
    const char *text = s_plain(message, line);
    if (before == NULL) {
        message->marks->joined = text;
    } else if (text != NULL && strlen(before) < JOINED_MAX) {
        message->marks->joined = cn_arena_printf(message->arena, "%s\n%.*s",
                                                 before, JOINED_MAX, text);
    }
}

/* Cuts the text into segments. What stands on a line that begins none belongs
 * to the field before it. */
static enum cn_code s_read_segments(struct cn_hl7 *message,
                                    struct cn_bytes text,
                                    struct cn_hl7_fault *fault,
                                    struct cn_err *err)
{
    static const struct cn_hl7_fault TOO_MANY = {
        "AE", NULL, 0, 0, CN_HL7_VALUE_TOO_LONG, "too many segments", NULL
    };
    static const struct cn_hl7_fault SECOND = {
        "AE",
        "MSH",
        2,
        0,
        CN_HL7_SEGMENT_SEQUENCE,
        "send one message at a time: nothing of these was taken",
        NULL
    };
    size_t lines = s_lines_count(text);
    if (lines > CN_HL7_SEGMENTS_MAX) {
        return cn_hl7_refuse(fault, &TOO_MANY, err);
    }
    struct cn_hl7_segment *segments =
        cn_arena_array(message->arena, lines, sizeof(*segments));
    uint8_t *own = cn_arena_copy(message->arena, text.data, text.size);
    size_t count = 0;
    for (size_t at = 0; at < text.size;) {
        struct cn_bytes rest = { own + at, text.size - at };
        struct cn_bytes whole = s_nth_part(rest, '\r', 1);
        struct cn_bytes line = s_line_begun(whole);
        if (s_is_segment(line, message->field)) {
            struct cn_hl7_segment *segment = &segments[count++];
            for (size_t i = 0; i < 3; i++) {
                segment->name[i] = (char)toupper(line.data[i]);
            }
            segment->text = line;
        } else if (line.size > 0 && count > 0) {
            s_joined_add(message, line);
            /* The acknowledgement repeats the header as it is. */
            if (count > 1) {
                struct cn_bytes *before = &segments[count - 1].text;
                size_t from = (size_t)(before->data - own);
                own[at - 1] = '\n';
                before->size = at + whole.size - from;
            }
        }
        at += whole.size + 1;
    }
    message->segments = segments;
    message->segment_count = count;
    return cn_hl7_segment(message, "MSH", 2) != NULL
               ? cn_hl7_refuse(fault, &SECOND, err)
               : CN_OK;
}

static bool s_header_fits(const struct cn_hl7 *message)
{
    for (int field = 3; field <= 12; field++) {
        if (cn_hl7_raw(message, message->segments, field).size >
            HEADER_FIELD_MAX) {
            return false;
        }
    }
    return true;
}

enum cn_code cn_hl7_parse(struct cn_arena *arena,
                          struct cn_bytes normalised,
                          const char *charset,
                          struct cn_hl7 *ret_message,
                          struct cn_hl7_fault *ret_fault,
                          struct cn_err *err)
{
    static const struct cn_hl7_fault NO_HEADER = {
        "AR",
        "MSH",
        1,
        2,
        CN_HL7_DATA_TYPE,
        "MSH-1 and MSH-2 are not delimiters",
        NULL
    };
    static const struct cn_hl7_fault LONG_FIELD = {
        "AR", "MSH", 1, 0, CN_HL7_VALUE_TOO_LONG, "a field is too long", NULL
    };
    static const struct cn_hl7_fault NUL = {
        "AR", NULL, 0, 0, CN_HL7_DATA_TYPE, "the text holds a NUL character",
        NULL
    };
    /* The acknowledgement repeats this header when none could be read. */
    static const struct cn_hl7_segment NOTHING = {
        "MSH", { (const uint8_t *)"MSH|^~\\&", 8 }
    };
    struct cn_hl7_segment *header = cn_arena_alloc(arena, sizeof(*header));
    struct cn_hl7 message = { .arena = arena,
                              .marks =
                                  cn_arena_alloc(arena, sizeof(*message.marks)),
                              .field = '|',
                              .component = '^',
                              .repetition = '~',
                              .escape = '\\',
                              .subcomponent = '&',
                              .segments = &NOTHING,
                              .segment_count = 1 };
    *ret_message = message;
    if (normalised.size < 4 || !s_line_is(normalised, "MSH") ||
        normalised.size > CN_HL7_SIZE_MAX ||
        !s_read_delimiters(&message, normalised)) {
        return cn_hl7_refuse(ret_fault, &NO_HEADER, err);
    }
    if (memchr(normalised.data, '\0', normalised.size) != NULL) {
        return cn_hl7_refuse(ret_fault, &NUL, err);
    }
    *header = (struct cn_hl7_segment){ "MSH", s_nth_part(normalised, '\r', 1) };
    message.segments = header;
    if (!s_header_fits(&message)) {
        return cn_hl7_refuse(ret_fault, &LONG_FIELD, err);
    }
    struct cn_bytes text = normalised;
    enum cn_code rc = s_read_charset(&message, charset, &text, ret_fault, err);
    if (rc != CN_OK) {
        /* The header is repeated in the acknowledgement only as UTF-8. */
        if (s_utf8_valid(header->text)) {
            *ret_message = message;
        }
        return rc;
    }
    header->text = s_nth_part(text, '\r', 1);
    if (!s_header_fits(&message)) {
        return cn_hl7_refuse(ret_fault, &LONG_FIELD, err);
    }
    *ret_message = message;
    rc = s_read_segments(&message, text, ret_fault, err);
    if (rc == CN_OK) {
        *ret_message = message;
    }
    return rc == CN_OK && cn_arena_failed(arena)
               ? cn_fail(err, CN_NOMEM, "HL7 message")
               : rc;
}

/* Writes a text of ours: delimiters are escaped (spaces where the message names
 * no escape character), line ends become spaces. */
static void
s_put_own_text(FILE *out, const struct cn_hl7 *message, const char *text)
{
    const char marks[] = { message->field, message->component,
                           message->subcomponent, message->repetition,
                           message->escape };
    for (char e = message->escape; text != NULL && *text != '\0'; text++) {
        const char *at = memchr(marks, *text, sizeof(marks));
        if (at != NULL && e != '\0') {
            (void)fprintf(out, "%c%c%c", e, "FSTRE"[at - marks], e);
        } else {
            bool plain = at == NULL && *text != '\r' && *text != '\n';
            (void)fputc(plain ? *text : ' ', out);
        }
    }
}

static void s_put_raw(FILE *out, const struct cn_hl7 *message, int field)
{
    struct cn_bytes raw = cn_hl7_raw(message, message->segments, field);
    if (raw.size > 0) {
        (void)fwrite(raw.data, 1, raw.size, out);
    }
}

static void s_put_field(FILE *out, const struct cn_hl7 *message, int field)
{
    s_put_raw(out, message, field);
    (void)fputc(message->field, out);
}

/* YYYYMMDDHHMMSS+0000 from "YYYY-MM-DDTHH:MM:SS". */
static void s_put_time(FILE *out, int64_t at)
{
    char text[CN_TIME_TEXT_MAX];
    cn_time_format(at, text);
    (void)fprintf(out, "%.4s%.2s%.2s%.2s%.2s%.2s+0000", text, text + 5,
                  text + 8, text + 11, text + 14, text + 17);
}

static void s_put_fault(FILE *out,
                        const struct cn_hl7 *message,
                        const struct cn_hl7_fault *fault)
{
    char f = message->field;
    char c = message->component;
    (void)fprintf(out, "ERR%c%c", f, f);
    if (fault->segment != NULL) {
        (void)fprintf(out, "%s%c%d", fault->segment, c, fault->sequence);
    }
    if (fault->segment != NULL && fault->field > 0) {
        (void)fprintf(out, "%c%d", c, fault->field);
    }
    (void)fprintf(out, "%c%d%c%cHL70357%c%c%c%s%c%c%c", f, fault->code, c, c, f,
                  fault->ack[1] == 'A' ? 'W' : 'E', f,
                  fault->word != NULL ? fault->word : "", f, f, f);
    s_put_own_text(out, message, fault->text);
    (void)fputc('\r', out);
}

/* Trigger events are a letter and two digits (table 0003). */
static bool s_is_trigger(const char *text)
{
    return isupper((unsigned char)text[0]) && isdigit((unsigned char)text[1]) &&
           isdigit((unsigned char)text[2]) && text[3] == '\0';
}

static void
s_put_ack(FILE *out, const struct cn_hl7 *message, const struct cn_hl7_ack *ack)
{
    char f = message->field;
    (void)fprintf(out, "MSH%c", f);
    s_put_field(out, message, 2);
    s_put_field(out, message, 5); /* receiver becomes sender */
    s_put_field(out, message, 6);
    s_put_field(out, message, 3);
    s_put_field(out, message, 4);
    s_put_time(out, ack->at);
    (void)fprintf(out, "%c%cACK", f, f);
    const char *trigger = cn_hl7_text(message, message->segments, 9, 1, 2);
    if (trigger != NULL && s_is_trigger(trigger)) {
        (void)fprintf(out, "%c%s%cACK", message->component, trigger,
                      message->component);
    }
    (void)fprintf(out, "%c%s%c", f, ack->control_id, f);
    s_put_field(out, message, 11);
    s_put_field(out, message, 12);
    (void)fprintf(out, "%c%c%c%c%cUNICODE UTF-8\r", f, f, f, f, f);
    (void)fprintf(out, "MSA%c%s%c", f, ack->code, f);
    s_put_raw(out, message, 10);
    if (ack->text != NULL) {
        (void)fputc(f, out);
        s_put_own_text(out, message, ack->text);
    }
    (void)fputc('\r', out);
    if (ack->fault != NULL) {
        s_put_fault(out, message, ack->fault);
    }
}

struct cn_bytes cn_hl7_ack_write(const struct cn_hl7 *message,
                                 const struct cn_hl7_ack *ack)
{
    char *data = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&data, &size);
    if (out != NULL) {
        s_put_ack(out, message, ack);
    }
    struct cn_bytes written = { 0 };
    if (out != NULL && fclose(out) == 0) {
        written.data = cn_arena_copy(message->arena, data, size);
        written.size = size;
    } else {
        cn_arena_fail(message->arena);
    }
    free(data);
    return written;
}
