/* SPDX-License-Identifier: Apache-2.0 */
/* Dead letters that are tried again: an operator asked for it (operator.c), or
 * what they waited behind is done or discarded. The letters of one record are
 * tried in the order of its events; each effect is in one unit with the
 * letter's end, so it happens once, whoever tries. */
#ifndef CN_DEAD_LETTER_H
#define CN_DEAD_LETTER_H

#include "common/base/err.h"

struct cn_env;
struct cn_service;

/* Starts the fiber that tries again, on every replica: a claim by the
 * database's clock keeps two from doing the same work. */
CN_CHECKED enum cn_code cn_dead_letters_start(struct cn_env *env,
                                              const struct cn_service *service,
                                              struct cn_err *err);
/* Something was decided here: look now. */
void cn_dead_letters_hint(void);

#endif
