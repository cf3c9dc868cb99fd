/* SPDX-License-Identifier: Apache-2.0 */
#include "common/contract/move.h"

#include <string.h>

const struct cn_move *
cn_move_find(const struct cn_moves *moves, const char *command, int from)
{
    for (size_t i = 0; i < moves->count; i++) {
        const struct cn_move *move = &moves->rows[i];
        if ((move->from & CN_STATE(from)) != 0 &&
            strcmp(move->command, command) == 0) {
            return move;
        }
    }
    return NULL;
}
