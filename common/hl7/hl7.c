/* SPDX-License-Identifier: Apache-2.0 */
/* A message cut into segments, its delimiters and character set known. */
#include "common/hl7/hl7_internal.h"

#include "common/base/array.h"
#include "common/wire/message.h"

#include <ctype.h>
#include <string.h>

enum {
    MLLP_END = 0x1C,
    JOINED_MAX = 500,      /* bytes of joined lines that are told */
    HEADER_FIELD_MAX = 250 /* bytes of what an acknowledgement repeats */
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

static struct cn_bytes s_latin1_to_utf8(struct cn_arena *arena,
                                        struct cn_bytes text)
{
    uint8_t *out = cn_arena_array(arena, text.size + 1, 3);
    size_t used = 0;
    for (size_t i = 0; i < text.size; i++) {
        used += cn_hl7_latin1_put(text.data[i], out + used);
    }
    return (struct cn_bytes){ out, used };
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
    struct cn_bytes encoding = cn_hl7_part(rest, marks[0], 1);
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
    const struct cn_hl7_fault refused = {
        .ack = "AR",
        .segment = "MSH",
        .sequence = 1,
        .field = 18,
        .code = CN_HL7_TABLE_VALUE,
        .text = row < CHARSETS_UTF8_END
                    ? "the text is not UTF-8: name its character set in MSH-18"
                    : cn_arena_printf(message->arena,
                                      "the character set %s is not supported; "
                                      "send UNICODE UTF-8",
                                      row < CN_COUNT(CHARSETS) ? CHARSETS[row]
                                                               : "in MSH-18")
    };
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
    const char *text = cn_hl7_plain(message, line);
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
        .ack = "AE",
        .code = CN_HL7_VALUE_TOO_LONG,
        .text = "too many segments",
    };
    static const struct cn_hl7_fault SECOND = {
        .ack = "AE",
        .segment = "MSH",
        .sequence = 2,
        .code = CN_HL7_SEGMENT_SEQUENCE,
        .text = "send one message at a time: nothing of these was taken"
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
        struct cn_bytes whole = cn_hl7_part(rest, '\r', 1);
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

/* Reads the delimiters and the header, and turns the text into UTF-8. *message
 * gets the header only when an acknowledgement can repeat it. */
static enum cn_code s_read_header(struct cn_hl7 *message,
                                  const char *charset,
                                  struct cn_bytes *text,
                                  struct cn_hl7_fault *fault,
                                  struct cn_err *err)
{
    static const struct cn_hl7_fault NO_HEADER = {
        .ack = "AR",
        .segment = "MSH",
        .sequence = 1,
        .field = 2,
        .code = CN_HL7_DATA_TYPE,
        .text = "MSH-1 and MSH-2 are not delimiters"
    };
    static const struct cn_hl7_fault TOO_LARGE = {
        .ack = "AR",
        .code = CN_HL7_VALUE_TOO_LONG,
        .text = "the message is longer than 1000000 bytes",
    };
    static const struct cn_hl7_fault LONG_FIELD = {
        .ack = "AR",
        .segment = "MSH",
        .sequence = 1,
        .code = CN_HL7_VALUE_TOO_LONG,
        .text = "a field is too long",
    };
    static const struct cn_hl7_fault NUL = {
        .ack = "AR",
        .code = CN_HL7_DATA_TYPE,
        .text = "the text holds a NUL character"
    };
    struct cn_hl7 read = *message;
    if (text->size < 4 || !s_line_is(*text, "MSH") ||
        !s_read_delimiters(&read, *text)) {
        return cn_hl7_refuse(fault, &NO_HEADER, err);
    }
    if (text->size > CN_HL7_SIZE_MAX) {
        return cn_hl7_refuse(fault, &TOO_LARGE, err);
    }
    if (memchr(text->data, '\0', text->size) != NULL) {
        return cn_hl7_refuse(fault, &NUL, err);
    }
    struct cn_hl7_segment *header =
        cn_arena_alloc(message->arena, sizeof(*header));
    *header = (struct cn_hl7_segment){ "MSH", cn_hl7_part(*text, '\r', 1) };
    read.segments = header;
    if (!s_header_fits(&read)) {
        return cn_hl7_refuse(fault, &LONG_FIELD, err);
    }
    enum cn_code rc = s_read_charset(&read, charset, text, fault, err);
    if (rc == CN_OK) {
        header->text = cn_hl7_part(*text, '\r', 1);
        if (!s_header_fits(&read)) {
            return cn_hl7_refuse(fault, &LONG_FIELD, err);
        }
    }
    if (s_utf8_valid(header->text)) {
        *message = read;
    }
    return rc;
}

enum cn_code cn_hl7_parse(struct cn_arena *arena,
                          struct cn_bytes normalised,
                          const char *charset,
                          struct cn_hl7 *ret_message,
                          struct cn_hl7_fault *ret_fault,
                          struct cn_err *err)
{
    /* The acknowledgement repeats this header when none could be read. */
    static const struct cn_hl7_segment NOTHING = {
        "MSH", { (const uint8_t *)"MSH|^~\\&", 8 }
    };
    *ret_message = (struct cn_hl7){ .arena = arena,
                                    .marks = cn_arena_alloc(
                                        arena, sizeof(struct cn_hl7_marks)),
                                    .field = '|',
                                    .component = '^',
                                    .repetition = '~',
                                    .escape = '\\',
                                    .subcomponent = '&',
                                    .segments = &NOTHING,
                                    .segment_count = 1 };
    struct cn_bytes text = normalised;
    enum cn_code rc =
        s_read_header(ret_message, charset, &text, ret_fault, err);
    if (rc != CN_OK) {
        return rc;
    }
    struct cn_hl7 message = *ret_message;
    rc = s_read_segments(&message, text, ret_fault, err);
    if (rc != CN_OK) {
        return rc;
    }
    *ret_message = message;
    return cn_arena_failed(arena) ? cn_fail(err, CN_NOMEM, "HL7 message")
                                  : CN_OK;
}
