/* SPDX-License-Identifier: Apache-2.0 */
#include "services/referrals/hl7.h"

#include "common/base/array.h"
#include "common/base/clock.h"

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
    if (out == NULL) {
        return (struct cn_bytes){ 0 };
    }
    size_t used = 0;
    for (size_t i = 0; i < size; i++) {
        bool end = in[i] == '\r' || in[i] == '\n' || in[i] == MLLP_END;
        if (!end) {
            out[used++] = in[i];
        } else if (used > 0 && out[used - 1] != '\r') {
            out[used++] = '\r'; /* empty lines fall away with CRLF */
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

/* Length of the UTF-8 sequence at text (1..4), 0 when it is none. Refuses
 * overlong forms, surrogates and what lies past U+10FFFF (RFC 3629). */
static size_t s_utf8_size(const uint8_t *text, size_t size)
{
    uint8_t first = text[0];
    if (first < 0x80) {
        return 1;
    }
    size_t need = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4 || size < need) {
        return 0;
    }
    for (size_t i = 1; i < need; i++) {
        if ((text[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    bool bad = (first == 0xE0 && text[1] < 0xA0) ||
               (first == 0xED && text[1] > 0x9F) ||
               (first == 0xF0 && text[1] < 0x90) ||
               (first == 0xF4 && text[1] > 0x8F);
    return bad ? 0 : need;
}

static bool s_utf8_valid(struct cn_bytes text)
{
    for (size_t i = 0; i < text.size;) {
        size_t size = s_utf8_size(text.data + i, text.size - i);
        if (size == 0) {
            return false;
        }
        i += size;
    }
    return true;
}

static bool s_latin1_to_utf8(struct cn_arena *arena, struct cn_bytes *text)
{
    uint8_t *out = cn_arena_array(arena, text->size + 1, 2);
    if (out == NULL) {
        return false;
    }
    size_t used = 0;
    for (size_t i = 0; i < text->size; i++) {
        uint8_t c = text->data[i];
        if (c < 0x80) {
            out[used++] = c;
        } else {
            out[used++] = (uint8_t)(0xC0 | (c >> 6));
            out[used++] = (uint8_t)(0x80 | (c & 0x3F));
        }
    }
    *text = (struct cn_bytes){ out, used };
    return true;
}

/* Part number n (from 1) of text cut at a delimiter; '\0' cuts nothing. */
static struct cn_bytes s_part(struct cn_bytes text, char delimiter, int n)
{
    const uint8_t *at = text.data;
    size_t left = text.size;
    for (; n > 1 && left > 0; n--) {
        const uint8_t *next =
            delimiter == '\0' ? NULL : memchr(at, delimiter, left);
        if (next == NULL) {
            return (struct cn_bytes){ 0 };
        }
        left -= (size_t)(next + 1 - at);
        at = next + 1;
    }
    if (n > 1 || left == 0) {
        return (struct cn_bytes){ 0 };
    }
    const uint8_t *end = delimiter == '\0' ? NULL : memchr(at, delimiter, left);
    return (struct cn_bytes){ at, end == NULL ? left : (size_t)(end - at) };
}

struct cn_bytes
hl7_raw(const struct hl7 *self, const struct hl7_segment *segment, int field)
{
    if (segment == NULL || field < 1) {
        return (struct cn_bytes){ 0 };
    }
    /* MSH-1 is the separator itself, so its fields count one behind. */
    bool header = memcmp(segment->name, "MSH", 3) == 0;
    if (header && field == 1) {
        return (struct cn_bytes){ segment->text.data + 3, 1 };
    }
    return s_part(segment->text, self->field, header ? field : field + 1);
}

static bool s_is_null(struct cn_bytes raw)
{
    return raw.size == 2 && memcmp(raw.data, "\"\"", 2) == 0;
}

bool hl7_null(const struct hl7 *self,
              const struct hl7_segment *segment,
              int field)
{
    return s_is_null(hl7_raw(self, segment, field));
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
    for (size_t i = 0; i < raw.size; i++) {
        count += self->repetition != '\0' &&
                 raw.data[i] == (uint8_t)self->repetition;
    }
    return count;
}

static int s_hex(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (uint8_t)toupper(c);
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Undoes one escape sequence (its text between the two escape characters);
 * returns how many bytes were written. What has no meaning in plain text,
 * highlighting and the like, falls away. */
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
        int high = s_hex(text[i]);
        int low = s_hex(text[i + 1]);
        if (high < 0 || low < 0) {
            return 0;
        }
        out[used++] = (uint8_t)(high * 16 + low);
    }
    return used;
}

/* Hex escapes may make anything: what is no UTF-8, or a control character that
 * PostgreSQL or JSON would refuse, becomes '?'. */
static void s_clean(uint8_t *text, size_t size)
{
    for (size_t i = 0; i < size;) {
        size_t step = s_utf8_size(text + i, size - i);
        bool control = text[i] < 0x20 && text[i] != '\n' && text[i] != '\t';
        if (step == 0 || control || text[i] == 0x7F) {
            text[i] = '?';
            step = 1;
        }
        i += step;
    }
}

static size_t s_trimmed(uint8_t *text, size_t size)
{
    size_t begin = 0;
    while (size > begin && (text[size - 1] == ' ' || text[size - 1] == '\n')) {
        size--;
    }
    while (begin < size && (text[begin] == ' ' || text[begin] == '\n')) {
        begin++;
    }
    memmove(text, text + begin, size - begin);
    return size - begin;
}

static const char *s_plain(const struct hl7 *self, struct cn_bytes raw)
{
    if (raw.size == 0 || s_is_null(raw)) {
        return NULL;
    }
    uint8_t *out = cn_arena_alloc(self->arena, raw.size + 1);
    if (out == NULL) {
        return NULL;
    }
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
    used = s_trimmed(out, used);
    out[used] = '\0';
    return used > 0 ? (const char *)out : NULL;
}

const char *hl7_text(const struct hl7 *self,
                     const struct hl7_segment *segment,
                     int field,
                     int repetition,
                     int component)
{
    struct cn_bytes raw = hl7_raw(self, segment, field);
    raw = s_part(raw, self->repetition, repetition);
    raw = s_part(raw, self->component, component);
    return s_plain(self, s_part(raw, self->subcomponent, 1));
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

static enum cn_code
s_refuse(struct hl7_fault *fault, struct cn_err *err, struct hl7_fault what)
{
    *fault = what;
    return cn_fail(err, CN_INVALID, "HL7 %s %d: %s", what.ack, what.code,
                   what.text);
}

/* MSH-1 and MSH-2: five different marks, of which only the first two must be
 * there; none that numbers, dates and our own words need. */
static bool s_read_delimiters(struct hl7 *message, struct cn_bytes text)
{
    /* Four as ever, and since v2.7 a truncation character, which we ignore. */
    char marks[6] = { (char)text.data[3] };
    struct cn_bytes rest = { text.data + 4, text.size - 4 };
    struct cn_bytes encoding = s_part(rest, marks[0], 1);
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

/* Sets *ret_text to the text in UTF-8. The name of the set is not repeated in
 * the fault: it is the sender's text. */
static enum cn_code s_read_charset(struct hl7 *message,
                                   struct cn_bytes *text,
                                   struct hl7_fault *fault,
                                   struct cn_err *err)
{
    static const char *const UTF8[] = { "ASCII", "UNICODE UTF-8", "UTF-8",
                                        "UTF8" };
    static const char *const LATIN1[] = { "8859/1", "ISO-8859-1" };
    static const char *const NAMED[] = {
        "8859/2",         "8859/3",    "8859/4",        "8859/5",
        "8859/6",         "8859/7",    "8859/8",        "8859/9",
        "8859/15",        "ISO IR14",  "ISO IR6",       "ISO IR87",
        "JAS2020",        "ISO IR159", "GB 18030-2000", "KS X 1001",
        "CNS 11643-1992", "BIG-5",     "UNICODE",       "UNICODE UTF-16",
        "UNICODE UTF-32"
    };
    const char *set = hl7_text(message, message->segments, 18, 1, 1);
    for (size_t i = 0; set != NULL && i < CN_COUNT(LATIN1); i++) {
        if (strcasecmp(set, LATIN1[i]) == 0) {
            return s_latin1_to_utf8(message->arena, text)
                       ? CN_OK
                       : cn_fail(err, CN_NOMEM, "HL7 charset");
        }
    }
    bool known = set == NULL;
    for (size_t i = 0; !known && i < CN_COUNT(UTF8); i++) {
        known = strcasecmp(set, UTF8[i]) == 0;
    }
    const char *why = "the character set is not supported; send UNICODE UTF-8";
    if (known && s_utf8_valid(*text)) {
        return CN_OK;
    }
    if (known) {
        why = "the text is no UTF-8; name its character set in MSH-18";
    }
    for (size_t i = 0; !known && i < CN_COUNT(NAMED); i++) {
        if (strcasecmp(set, NAMED[i]) == 0) {
            why = cn_arena_printf(message->arena,
                                  "the character set %s is not supported; "
                                  "send UNICODE UTF-8",
                                  NAMED[i]);
        }
    }
    return s_refuse(fault, err,
                    (struct hl7_fault){ .ack = "AR",
                                        .segment = "MSH",
                                        .sequence = 1,
                                        .field = 18,
                                        .code = HL7_TABLE_VALUE,
                                        .text = why });
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
    static const struct hl7_fault TOO_MANY = { .ack = "AE",
                                               .code = HL7_VALUE_TOO_LONG,
                                               .text = "too many segments" };
    static const struct hl7_fault NO_SEGMENT = {
        .ack = "AE",
        .code = HL7_SEGMENT_SEQUENCE,
        .text = "a line is no segment: three letters and the separator"
    };
    size_t count = 1;
    for (size_t i = 0; i < text.size; i++) {
        count += text.data[i] == '\r';
    }
    if (count > HL7_SEGMENTS_MAX) {
        return s_refuse(fault, err, TOO_MANY);
    }
    struct hl7_segment *segments =
        cn_arena_array(message->arena, count, sizeof(*segments));
    if (segments == NULL) {
        return cn_fail(err, CN_NOMEM, "HL7 segments");
    }
    for (size_t i = 0; i < count; i++) {
        struct cn_bytes line = s_part(text, '\r', 1);
        text.data += line.size + (i + 1 < count);
        text.size -= line.size + (i + 1 < count);
        if (!s_segment_name(line, message->field)) {
            return s_refuse(fault, err, NO_SEGMENT);
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
        .ack = "AR",
        .segment = "MSH",
        .sequence = 1,
        .field = 2,
        .code = HL7_DATA_TYPE,
        .text = "MSH-1 and MSH-2 do not name the delimiters"
    };
    static const struct hl7_fault LONG = { .ack = "AR",
                                           .segment = "MSH",
                                           .sequence = 1,
                                           .code = HL7_VALUE_TOO_LONG,
                                           .text = "a field is too long" };
    static const struct hl7_fault NUL = { .ack = "AR",
                                          .code = HL7_DATA_TYPE,
                                          .text = "the text holds a NUL" };
    /* What an acknowledgement is made of when nothing could be read. */
    static const struct hl7_segment NOTHING = {
        "MSH", { (const uint8_t *)"MSH|^~\\&", 8 }
    };
    struct hl7_segment *header = cn_arena_alloc(arena, sizeof(*header));
    if (header == NULL) {
        return cn_fail(err, CN_NOMEM, "HL7 message");
    }
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
        return s_refuse(ret_fault, err, NO_HEADER);
    }
    if (memchr(normalised.data, '\0', normalised.size) != NULL) {
        return s_refuse(ret_fault, err, NUL);
    }
    *header = (struct hl7_segment){ "MSH", s_part(normalised, '\r', 1) };
    message.segments = header;
    if (!s_header_fits(&message)) {
        return s_refuse(ret_fault, err, LONG);
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
    header->text = s_part(text, '\r', 1);
    if (!s_header_fits(&message)) {
        return s_refuse(ret_fault, err, LONG);
    }
    *ret_message = message;
    rc = s_read_segments(&message, text, ret_fault, err);
    if (rc == CN_OK) {
        *ret_message = message;
    }
    return rc;
}

/* Text of ours as a field: delimiters escaped, or spaces where the message has
 * no escape; line ends as spaces. */
static void s_put_text(FILE *out, const struct hl7 *message, const char *text)
{
    const char marks[] = { message->field, message->component,
                           message->subcomponent, message->repetition,
                           message->escape };
    for (; text != NULL && *text != '\0'; text++) {
        const char *at = memchr(marks, *text, sizeof(marks));
        if (at != NULL && message->escape != '\0') {
            (void)fprintf(out, "%c%c%c", message->escape, "FSTRE"[at - marks],
                          message -> escape);
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

/* YYYYMMDDHHMMSS+0000, from the RFC 3339 text. */
static void s_put_time(FILE *out, const struct hl7 *message, int64_t at)
{
    char text[CN_TIME_TEXT_MAX];
    cn_time_format(at, text);
    for (size_t i = 0, digits = 0; text[i] != '\0' && digits < 14; i++) {
        if (isdigit((unsigned char)text[i])) {
            (void)fputc(text[i], out);
            digits++;
        }
    }
    s_put_text(out, message, "+0000");
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
    s_put_text(out, message, fault->text);
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
    s_put_time(out, message, ack->at);
    (void)fprintf(out, "%c%cACK", f, f);
    const char *trigger = hl7_text(message, message->segments, 9, 1, 2);
    if (trigger != NULL && s_is_trigger(trigger)) {
        (void)fprintf(out, "%c%s%cACK", message->component, trigger,
                      message->component);
    }
    (void)fprintf(out, "%c%s%c", f, ack->control_id, f);
    s_put_field(out, message, 11);
    s_put_field(out, message, 12);
    (void)fprintf(out, "%c%c%c%c%c", f, f, f, f, f);
    s_put_text(out, message, "UNICODE UTF-8");
    (void)fprintf(out, "\rMSA%c%s%c", f, ack->code, f);
    s_put_raw(out, message, 10);
    if (ack->text != NULL) {
        (void)fputc(f, out);
        s_put_text(out, message, ack->text);
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
    if (out == NULL) {
        return (struct cn_bytes){ 0 };
    }
    s_put_ack(out, message, ack);
    struct cn_bytes written = { 0 };
    if (fclose(out) == 0) {
        written.data = cn_arena_copy(message->arena, data, size);
        written.size = written.data != NULL ? size : 0;
    }
    free(data);
    return written;
}
