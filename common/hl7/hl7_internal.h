/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of common/hl7/hl7.h share. */
#ifndef CN_HL7_INTERNAL_H
#define CN_HL7_INTERNAL_H

#include "common/hl7/hl7.h"

/* Part number n (from 1) of text cut at a delimiter; '\0' cuts nothing. */
struct cn_bytes cn_hl7_part(struct cn_bytes text, char delimiter, int n);
/* Text with escapes undone, without blanks at its ends; NULL when nothing is
 * left, and for the HL7 null. */
const char *cn_hl7_plain(const struct cn_hl7 *self, struct cn_bytes raw);
/* One byte of 8859/1 as UTF-8, at most three bytes; returns how many. */
size_t cn_hl7_latin1_put(uint8_t c, uint8_t *out);

#endif
