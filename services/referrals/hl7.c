/* SPDX-License-Identifier: Apache-2.0 */
#include "services/referrals/hl7.h"

#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/wire/message.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MLLP_BEGIN = 0x0B,
    MLLP_END = 0x1C,
    HEADER_FIELD_MAX = 250 /* bytes of what an acknowledgement repeats */
};

struct cn_bytes hl7_normalise(struct cn_arena *arena, struct cn_bytes message)
{
    const uint8_t *in = message.data;
    size_t size = message.size;
    if (size >= 1 && in[0] == MLLP_BEGIN) {
        in++, size--;
    }
    if (size >= 3 && memcmp(in, "\xEF\xBB\xBF", 3) == 0) {
        in += 3, size -= 3;
    }
    uint8_t *out = cn_arena_alloc(arena, size + 1);
    size_t used = 0;
    for (size_t i = 0; i < size; i++) {
        bool end = in[i] == '\r' || in[i] == '\n' || in[i] == MLLP_END;
        if (!end) {
            out[used++] = in[i];
        } else if (used > 0 && out[used - 1] != '\r') {
            out[used++] = '\r'; /* empty lines are dropped, as in CRLF */
        }
    }
    while (used > 0 && out[used - 1] == '\r') {
        used--;
    }
    return (struct cn_bytes){ out, used };
}

struct cn_bytes hl7_content(struct cn_bytes normalised)
{
    const uint8_t *end = memchr(normalised.data, '\r', normalised.size);
    size_t header =
        end != NULL ? (size_t)(end - normalised.data) + 1 : normalised.size;
    return (struct cn_bytes){ normalised.data + header,
                              normalised.size - header };
}

bool hl7_begins(struct cn_bytes normalised)
{
    return normalised.size >= 4 && memcmp(normalised.data, "MSH", 3) == 0;
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

static struct cn_bytes s_latin1_to_utf8(struct cn_arena *arena,
                                        struct cn_bytes text)
{
    uint8_t *out = cn_arena_array(arena, text.size + 1, 2);
    size_t used = 0;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c < 0x80) {
            out[used++] = c;
        } else {
            out[used++] = (uint8_t)(0xC0 | (c >> 6));
            out[used++] = (uint8_t)(0x80 | (c & 0x3F));
        }
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

struct cn_bytes
hl7_raw(const struct hl7 *self, const struct hl7_segment *segment, int field)
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

int hl7_repetitions(const struct hl7 *self,
                    const struct hl7_segment *segment,
                    int field)
{
    struct cn_bytes raw = hl7_raw(self, segment, field);
    if (raw.size == 0) {
        return 0;
    }
    int count = 1;
    /* Each repetition is searched from the front: without a bound, a megabyte
     * of repetitions keeps the service busy for hours. */
    for (size_t i = 0; i < raw.size && count < HL7_REPETITIONS_MAX; i++) {
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

/* Undoes one escape sequence (the text between its two escape characters);
 * returns how many bytes were written. Sequences without a meaning in plain
 * text, such as highlighting, write nothing. */
static size_t s_unescape(const struct hl7 *self,
                         const uint8_t *text,
                         size_t size,
                         uint8_t *out)
{
    if (size == 1) {
        const char *at = strchr("FSTRE", text[0]);
        const char delimiters[] = { self->field, self->component,
                                    self->subcomponent, self->repetition,
                                    self->escape };
        if (text[0] == '\0' || at == NULL) {
            return 0;
        }
        out[0] = (uint8_t)delimiters[at - "FSTRE"];
        return 1;
    }
    if (size >= 3 && memcmp(text, ".br", 3) == 0) {
        out[0] = '\n';
        return 1;
    }
    size_t used = 0;
    for (size_t i = 1; text[0] == 'X' && i + 1 < size; i += 2) {
        int high = s_hex_digit(text[i]);
        int low = s_hex_digit(text[i + 1]);
        if (high < 0 || low < 0) {
            return 0;
        }
        out[used++] = (uint8_t)(high * 16 + low);
    }
    return used;
}

/* A hex escape can make any byte. Bytes that are not UTF-8, and control
 * characters that PostgreSQL or JSON would refuse, become '?'. */
static void s_clean(uint8_t *text, size_t size)
{
    for (size_t i = 0; i < size;) {
        size_t step = cn_utf8_size(text + i, size - i);
        bool control = text[i] < 0x20 && text[i] != '\n' && text[i] != '\t';
        if (step == 0 || control || text[i] == 0x7F) {
            text[i] = '?';
            step = 1;
        }
        i += step;
    }
}

/* Text with escapes undone and spaces at its ends dropped; NULL when nothing is
 * left, and for the HL7 null. */
static const char *s_plain(const struct hl7 *self, struct cn_bytes raw)
{
    if (raw.size == 0 || (raw.size == 2 && memcmp(raw.data, "\"\"", 2) == 0)) {
        return NULL;
    }
    uint8_t *out = cn_arena_alloc(self->arena, raw.size + 1);
    size_t used = 0;
    for (size_t i = 0; i < raw.size; i++) {
        const uint8_t *end = NULL;
        if (self->escape != '\0' && raw.data[i] == (uint8_t)self->escape) {
            end = memchr(raw.data + i + 1, self->escape, raw.size - i - 1);
        }
        if (end == NULL) {
            out[used++] = raw.data[i];
            continue;
        }
        size_t size = (size_t)(end - raw.data) - i - 1;
        used += s_unescape(self, raw.data + i + 1, size, out + used);
        i += size + 1;
    }
    s_clean(out, used);
    while (used > 0 && (out[used - 1] == ' ' || out[used - 1] == '\n')) {
        used--;
    }
    out[used] = '\0';
    const char *text = (const char *)out;
    text += strspn(text, " \n");
    return *text != '\0' ? text : NULL;
}

const char *hl7_text(const struct hl7 *self,
                     const struct hl7_segment *segment,
                     int field,
                     int repetition,
                     int component)
{
    struct cn_bytes raw = hl7_raw(self, segment, field);
    raw = s_nth_part(raw, self->repetition, repetition);
    raw = s_nth_part(raw, self->component, component);
    return s_plain(self, s_nth_part(raw, self->subcomponent, 1));
}

const struct hl7_segment *
hl7_segment(const struct hl7 *self, const char *name, size_t nth)
{
    for (size_t i = 0; i < self->segment_count; i++) {
        if (strcmp(self->segments[i].name, name) == 0 && --nth == 0) {
            return &self->segments[i];
        }
    }
    return NULL;
}

enum cn_code hl7_refuse(struct hl7_fault *ret_fault,
                        const struct hl7_fault *why,
                        struct cn_err *err)
{
    *ret_fault = *why;
    return cn_fail(err, CN_INVALID, "HL7 %s %d: %s", why->ack, why->code,
                   why->text);
}

/* MSH-1 and MSH-2: five delimiters, of which the first two must be there. All
 * differ, and none is a mark that numbers, dates and our own texts need. */
static bool s_read_delimiters(struct hl7 *message, struct cn_bytes text)
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
        bool bad = !ispunct((unsigned char)marks[i]) ||
                   strchr("\"'()+,-./:_", marks[i]) != NULL;
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
    "ASCII",         "UNICODE UTF-8",  "UTF-8",         "UTF8",
    "8859/1",        "ISO-8859-1",     "8859/2",        "8859/3",
    "8859/4",        "8859/5",         "8859/6",        "8859/7",
    "8859/8",        "8859/9",         "8859/15",       "ISO IR14",
    "ISO IR6",       "ISO IR87",       "JAS2020",       "ISO IR159",
    "GB 18030-2000", "KS X 1001",      "BIG-5",         "CNS 11643-1992",
    "UNICODE",       "UNICODE UTF-16", "UNICODE UTF-32"
};
/* Rows before the first end are taken as UTF-8, rows before the second as
 * ISO 8859-1. */
enum { CHARSETS_UTF8_END = 4, CHARSETS_LATIN1_END = 6 };

/* Turns the text into UTF-8. The fault names a set by our own list, never in
 * the sender's words. */
static enum cn_code s_read_charset(struct hl7 *message,
                                   struct cn_bytes *text,
                                   struct hl7_fault *fault,
                                   struct cn_err *err)
{
    const char *set = hl7_text(message, message->segments, 18, 1, 1);
    size_t row = 0;
    while (set != NULL && row < CN_COUNT(CHARSETS) &&
           strcasecmp(set, CHARSETS[row]) != 0) {
        row++;
    }
    if (row < CHARSETS_UTF8_END && s_utf8_valid(*text)) {
        return CN_OK;
    }
    if (row >= CHARSETS_UTF8_END && row < CHARSETS_LATIN1_END) {
        *text = s_latin1_to_utf8(message->arena, *text);
        return CN_OK;
    }
    struct hl7_fault refused = { "AR", "MSH", 1, 18, HL7_TABLE_VALUE, NULL };
    refused.text =
        row < CHARSETS_UTF8_END
            ? "the text is not UTF-8; name its character set in MSH-18"
            : cn_arena_printf(message->arena,
                              "the character set %s is not supported; "
                              "send UNICODE UTF-8",
                              row < CN_COUNT(CHARSETS) ? CHARSETS[row]
                                                       : "in MSH-18");
    return hl7_refuse(fault, &refused, err);
}

static bool s_segment_name(struct cn_bytes line, char separator)
{
    return line.size >= 3 && isupper(line.data[0]) &&
           (isupper(line.data[1]) || isdigit(line.data[1])) &&
           (isupper(line.data[2]) || isdigit(line.data[2])) &&
           (line.size == 3 || line.data[3] == (uint8_t)separator);
}

/* Cuts the text into segments. */
static enum cn_code s_read_segments(struct hl7 *message,
                                    struct cn_bytes text,
                                    struct hl7_fault *fault,
                                    struct cn_err *err)
{
    static const struct hl7_fault TOO_MANY = {
        "AE", NULL, 0, 0, HL7_VALUE_TOO_LONG, "too many segments"
    };
    static const struct hl7_fault NO_SEGMENT = {
        "AE", NULL, 0, 0, HL7_SEGMENT_SEQUENCE, "a line has no segment name"
    };
    size_t count = 1;
    for (size_t i = 0; i < text.size; i++) {
        count += text.data[i] == '\r';
    }
    if (count > HL7_SEGMENTS_MAX) {
        return hl7_refuse(fault, &TOO_MANY, err);
    }
    struct hl7_segment *segments =
        cn_arena_array(message->arena, count, sizeof(*segments));
    for (size_t i = 0; i < count; i++) {
        struct cn_bytes line = s_nth_part(text, '\r', 1);
        text.data += line.size + (i + 1 < count);
        text.size -= line.size + (i + 1 < count);
        if (!s_segment_name(line, message->field)) {
            return hl7_refuse(fault, &NO_SEGMENT, err);
        }
        memcpy(segments[i].name, line.data, 3);
        segments[i].text = line;
    }
    message->segments = segments;
    message->segment_count = count;
    return CN_OK;
}

static bool s_header_fits(const struct hl7 *message)
{
    for (int field = 3; field <= 12; field++) {
        if (hl7_raw(message, message->segments, field).size >
            HEADER_FIELD_MAX) {
            return false;
        }
    }
    return true;
}

enum cn_code hl7_parse(struct cn_arena *arena,
                       struct cn_bytes normalised,
                       struct hl7 *ret_message,
                       struct hl7_fault *ret_fault,
                       struct cn_err *err)
{
    static const struct hl7_fault NO_HEADER = {
        "AR", "MSH", 1, 2, HL7_DATA_TYPE, "MSH-1 and MSH-2 are not delimiters"
    };
    static const struct hl7_fault LONG_FIELD = {
        "AR", "MSH", 1, 0, HL7_VALUE_TOO_LONG, "a field is too long"
    };
    static const struct hl7_fault NUL = {
        "AR", NULL, 0, 0, HL7_DATA_TYPE, "the text holds a NUL character"
    };
    /* The acknowledgement repeats this header when none could be read. */
    static const struct hl7_segment NOTHING = {
        "MSH", { (const uint8_t *)"MSH|^~\\&", 8 }
    };
    struct hl7_segment *header = cn_arena_alloc(arena, sizeof(*header));
    struct hl7 message = { .arena = arena,
                           .field = '|',
                           .component = '^',
                           .repetition = '~',
                           .escape = '\\',
                           .subcomponent = '&',
                           .segments = &NOTHING,
                           .segment_count = 1 };
    *ret_message = message;
    if (!hl7_begins(normalised) || normalised.size > HL7_SIZE_MAX ||
        !s_read_delimiters(&message, normalised)) {
        return hl7_refuse(ret_fault, &NO_HEADER, err);
    }
    if (memchr(normalised.data, '\0', normalised.size) != NULL) {
        return hl7_refuse(ret_fault, &NUL, err);
    }
    *header = (struct hl7_segment){ "MSH", s_nth_part(normalised, '\r', 1) };
    message.segments = header;
    if (!s_header_fits(&message)) {
        return hl7_refuse(ret_fault, &LONG_FIELD, err);
    }
    struct cn_bytes text = normalised;
    enum cn_code rc = s_read_charset(&message, &text, ret_fault, err);
    if (rc != CN_OK) {
        /* The header is repeated in the acknowledgement only as UTF-8. */
        if (s_utf8_valid(header->text)) {
            *ret_message = message;
        }
        return rc;
    }
    header->text = s_nth_part(text, '\r', 1);
    if (!s_header_fits(&message)) {
        return hl7_refuse(ret_fault, &LONG_FIELD, err);
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
s_put_own_text(FILE *out, const struct hl7 *message, const char *text)
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

static void s_put_raw(FILE *out, const struct hl7 *message, int field)
{
    struct cn_bytes raw = hl7_raw(message, message->segments, field);
    if (raw.size > 0) {
        (void)fwrite(raw.data, 1, raw.size, out);
    }
}

static void s_put_field(FILE *out, const struct hl7 *message, int field)
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

static void
s_put_fault(FILE *out, const struct hl7 *message, const struct hl7_fault *fault)
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
    (void)fprintf(out, "%c%d%c%cHL70357%cE%c%c%c%c", f, fault->code, c, c, f, f,
                  f, f, f);
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
s_put_ack(FILE *out, const struct hl7 *message, const struct hl7_ack *ack)
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
    const char *trigger = hl7_text(message, message->segments, 9, 1, 2);
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

struct cn_bytes hl7_ack_write(const struct hl7 *message,
                              const struct hl7_ack *ack)
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
