/* SPDX-License-Identifier: Apache-2.0 */
/* What a service tells and follows, and its moves, as lines of text: what
 * `make events` puts together (tests/events.py). */
#ifndef CN_DESCRIBE_H
#define CN_DESCRIBE_H

#include "common/contract/service.h"

/* Writes to stdout, tab-separated:
 *   event <type> <scope>
 *   follow <producer> <type> copy|effect
 *   state <machine> <state> moves|ends|unused
 *   move <machine> <command> <from,from> <to> <event> */
void cn_describe(const struct cn_service *service);

#endif
