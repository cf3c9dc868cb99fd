/* SPDX-License-Identifier: Apache-2.0 */
/* Text for comparing and searching: the only user of utf8proc. */
#ifndef CN_FOLD_H
#define CN_FOLD_H

#include "common/base/arena.h"

/* The letters and digits of the text, as they are compared: compatible forms
 * made one (NFKD: composed and decomposed, full width, ligatures), case folded,
 * accents and marks off, letters of Latin scripts by their base letters (oe,
 * ss, th). Invalid UTF-8 gives "". NULL in, "" out. */
char *cn_text_folded(struct cn_arena *arena, const char *text);

#endif
