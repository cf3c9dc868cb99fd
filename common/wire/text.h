/* SPDX-License-Identifier: Apache-2.0 */
/* What a text from outside may hold: one rule for every door, be it JSON, HL7
 * v2 or a parameter. All texts are valid UTF-8. A door that refuses asks
 * cn_text_is_clean; one that keeps what it can takes cn_text_tidy. */
#ifndef CN_TEXT_H
#define CN_TEXT_H

#include "common/base/arena.h"
#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The first character of a text that is not empty; it has *ret_size bytes. */
uint32_t cn_text_point(const char *text, size_t *ret_size);
/* Where the text begins without the blanks at both ends; *size becomes its
 * size. A blank is every white space of Unicode, and what shows nothing beside
 * it: U+200B, U+200E, U+200F, U+2060, U+FEFF. */
const char *cn_text_trim(const char *text, size_t *size);
/* Bytes of its first `max` characters, of all when it has no more. Limits count
 * characters, as JSON Schema's maxLength does. */
size_t cn_text_fit(const char *text, size_t size, size_t max);
/* Has it no character that is none to a reader, or that turns the direction of
 * what follows: U+0000-001F, U+007F-009F, U+2028-202E, U+2066-2069 and
 * noncharacters? has_lines: tabs and line ends may stand in it. */
bool cn_text_is_clean(const char *text, size_t size, bool has_lines);
/* The text, trimmed, with one blank in place of each run of what is not clean.
 * NULL in, NULL out. */
const char *
cn_text_tidy(struct cn_arena *arena, const char *text, bool has_lines);
/* Can it name somebody: does it show at least one letter, of any script? */
bool cn_text_is_name(const char *text);

/* A language as it is kept: the two letters of ISO 639-1, or the three of
 * ISO 639-2 where there are no two, lower case. "ENG", "en-US" and "en" are all
 * "en". False, and nothing set: the text is no code, or says that the language
 * is not known ("und"). */
enum { CN_LANGUAGE_SIZE = 4 };
CN_CHECKED bool cn_language_code(const char *text,
                                 char ret_code[CN_LANGUAGE_SIZE]);
/* Do two codes mean the same language? Neither need be as it is kept. */
bool cn_language_same(const char *a, const char *b);

/* A time or date that home care can have to do with: from 1900 to 2199. */
bool cn_time_is_plausible(int64_t at);
bool cn_date_is_plausible(const char *text);
/* A day on which somebody now alive may have been born: not before 1900, and
 * somewhere on earth it is that day already. */
bool cn_birth_date_is_plausible(const char *text, int64_t now_at);

#endif
