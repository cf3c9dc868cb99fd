/* SPDX-License-Identifier: Apache-2.0 */
/* HL7 v2 in ER7 ("pipes"): a tolerant reader and the writer of
 * acknowledgements. Knows no message type and nothing of referrals.
 *
 * - Segments may end in CR, LF or CRLF. A segment begins with its name and the
 *   field separator: a line that does not is part of the field before it. A
 * byte order mark, an MLLP frame and a batch envelope (FHS, BHS, BTS, FTS)
 * around the message are taken off. Two messages in one body are refused.
 * - Delimiters come from MSH-1 and MSH-2; escapes are undone when text is read.
 *   A sequence that is no escape stays as it is.
 * - MSH-18, or else the media type, names the character set: none, ASCII and
 *   UTF-8 are taken, 8859/1 is converted (as windows-1252, which it often is,
 *   unless it is UTF-8 in truth), every other one is refused. Hex escapes
 *   are in that set, too.
 * - No text of a message appears in an error text. */
#ifndef CN_HL7_H
#define CN_HL7_H

#include "common/base/arena.h"
#include "common/base/err.h"

#include <stddef.h>
#include <stdint.h>

enum {
    CN_HL7_SIZE_MAX = 1000000,
    CN_HL7_SEGMENTS_MAX = 2000,
    CN_HL7_REPETITIONS_MAX = 100, /* of one field; later ones are not read */
    CN_HL7_CONTROL_ID_MAX = 20 /* of our own messages: the limit before v2.7 */
};

/* Codes of HL7 table 0357 that are used. */
enum {
    CN_HL7_ACCEPTED = 0, /* of a warning beside AA */
    CN_HL7_SEGMENT_SEQUENCE = 100,
    CN_HL7_FIELD_MISSING = 101,
    CN_HL7_DATA_TYPE = 102,
    CN_HL7_TABLE_VALUE = 103,
    CN_HL7_VALUE_TOO_LONG = 104,
    CN_HL7_UNSUPPORTED_TYPE = 200,
    CN_HL7_UNSUPPORTED_PROCESSING = 202,
    CN_HL7_UNSUPPORTED_VERSION = 203,
    CN_HL7_DUPLICATE_KEY = 205
};

/* One segment, in the arena. */
struct cn_hl7_segment {
    char name[4];
    struct cn_bytes text; /* whole, from its name to before its end */
};

/* What happened while texts were read; it grows as they are. */
struct cn_hl7_marks {
    bool replaced; /* a character that cannot be kept became '?' */
    /* Lines that are no segments and went to the field before them; NULL: none.
     */
    const char *joined;
    bool cut; /* a text was longer than any field keeps */
};

/* A message that was read. All of it lives in its arena. */
struct cn_hl7 {
    struct cn_arena *arena;
    struct cn_hl7_marks *marks;
    bool is_latin1; /* the set of its hex escapes; else UTF-8 */
    char field;     /* the five delimiters; '\0' where MSH-2 names none */
    char component;
    char repetition;
    char escape;
    char subcomponent;
    const struct cn_hl7_segment *segments; /* the first is MSH */
    size_t segment_count;
};

/* Why a message is refused, or what is said beside an AA, as the ERR segment
 * says it. The text is ours and holds no patient data. */
struct cn_hl7_fault {
    const char *ack;     /* "AE" for content, "AR" for type or encoding, "AA" */
    const char *segment; /* ERR-2: "PID"; NULL names no place */
    int sequence;        /* which of that name, from 1 */
    int field;           /* 0 is the segment itself */
    int code;            /* ERR-3, table 0357 */
    const char *text;    /* ERR-8 */
    const char *word;    /* ERR-5, our own code; NULL: none */
};

/* The message without byte order mark, MLLP frame and batch envelope, with one
 * CR between segments and none at the end; a line feed inside a field stays.
 * The hash of a body is taken of this form. */
struct cn_bytes cn_hl7_normalise(struct cn_arena *arena,
                                 struct cn_bytes message);
/* The segments of a normalised message after MSH. MSH holds the control id and
 * the time of sending, which differ between two messages of equal content. */
struct cn_bytes cn_hl7_content(struct cn_bytes normalised);
/* Does it begin with MSH, or with a batch that holds no message? Everything
 * else is another media type. */
bool cn_hl7_begins(struct cn_bytes normalised);
/* Reads a normalised message. charset is that of the media type, or NULL;
 * MSH-18 wins over it. CN_INVALID with *ret_fault when it is no usable HL7;
 * *ret_message then holds as much of MSH as could be read, for the
 * acknowledgement. CN_NOMEM when the arena has failed. */
CN_CHECKED enum cn_code cn_hl7_parse(struct cn_arena *arena,
                                     struct cn_bytes normalised,
                                     const char *charset,
                                     struct cn_hl7 *ret_message,
                                     struct cn_hl7_fault *ret_fault,
                                     struct cn_err *err);
/* Sets *ret_fault and returns CN_INVALID. */
CN_CHECKED enum cn_code cn_hl7_refuse(struct cn_hl7_fault *ret_fault,
                                      const struct cn_hl7_fault *why,
                                      struct cn_err *err);

/* Segment number `nth` (from 1) of that name, or NULL. */
const struct cn_hl7_segment *
cn_hl7_segment(const struct cn_hl7 *self, const char *name, size_t nth);
/* The field as it was sent, with all its repetitions; size 0 when absent. */
struct cn_bytes cn_hl7_raw(const struct cn_hl7 *self,
                           const struct cn_hl7_segment *segment,
                           int field);
/* How many repetitions of the field are read; 0 when it is empty. */
int cn_hl7_repetitions(const struct cn_hl7 *self,
                       const struct cn_hl7_segment *segment,
                       int field);
/* Text of a component (its first subcomponent) with escapes undone and line
 * ends as LF; numbers count from 1. NULL when it is absent, blank or the HL7
 * null
 * (""), and for a NULL segment. */
const char *cn_hl7_text(const struct cn_hl7 *self,
                        const struct cn_hl7_segment *segment,
                        int field,
                        int repetition,
                        int component);

/* The same of another subcomponent, and of all of a component: what stands
 * between its subcomponents stays. Component 0 is all of the repetition,
 * repetition 0 all of the field. */
const char *cn_hl7_sub(const struct cn_hl7 *self,
                       const struct cn_hl7_segment *segment,
                       int field,
                       int repetition,
                       int component,
                       int subcomponent);
const char *cn_hl7_whole(const struct cn_hl7 *self,
                         const struct cn_hl7_segment *segment,
                         int field,
                         int repetition,
                         int component);
/* A repetition as it was sent, its delimiters too, on one line, for people.
 * NULL when it is empty or the HL7 null. */
const char *cn_hl7_sent(const struct cn_hl7 *self,
                        const struct cn_hl7_segment *segment,
                        int field,
                        int repetition);
/* The text on one line: its line ends and tabs are blanks, and blanks beside
 * each other are one. NULL gives NULL. */
const char *cn_hl7_line(struct cn_arena *arena, const char *text);

/* What an acknowledgement says. */
struct cn_hl7_ack {
    const char *code;                 /* MSA-1: "AA", "AE", "AR", "CA" ... */
    const char *control_id;           /* our own MSH-10 */
    int64_t at;                       /* MSH-7 */
    const char *text;                 /* MSA-3; NULL: none */
    const struct cn_hl7_fault *fault; /* ERR; NULL: none */
};
/* The acknowledgement of a message in its own delimiters, sender and receiver
 * swapped. It may be empty when the arena has failed. */
struct cn_bytes cn_hl7_ack_write(const struct cn_hl7 *message,
                                 const struct cn_hl7_ack *ack);

#endif
