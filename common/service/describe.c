/* SPDX-License-Identifier: Apache-2.0 */
#include "common/service/describe.h"

#include "common/contract/resource.h"
#include "common/wire/json.h"

#include <stdio.h>

static void s_states(const struct cn_moves *moves)
{
    for (unsigned i = 0; i < moves->states->n_values; i++) {
        const int state = moves->states->values[i].value;
        (void)printf("state\t%s\t%s\t%s\n", moves->of,
                     cn_enum_word(moves->states, state),
                     (moves->ends & CN_STATE(state)) != 0     ? "ends"
                     : (moves->unused & CN_STATE(state)) != 0 ? "unused"
                                                              : "moves");
    }
}

static void s_from(const struct cn_moves *moves, uint64_t from)
{
    const char *comma = "";
    if ((from & CN_UNMADE) != 0) {
        (void)printf("new");
        comma = ",";
    }
    for (unsigned i = 0; i < moves->states->n_values; i++) {
        const int state = moves->states->values[i].value;
        if ((from & CN_STATE(state)) != 0) {
            (void)printf("%s%s", comma, cn_enum_word(moves->states, state));
            comma = ",";
        }
    }
}

static void s_moves(const struct cn_moves *moves)
{
    s_states(moves);
    for (size_t i = 0; i < moves->count; i++) {
        const struct cn_move *move = &moves->rows[i];
        (void)printf("move\t%s\t%s\t", moves->of, move->command);
        s_from(moves, move->from);
        (void)printf("\t%s\t%s\n", cn_enum_word(moves->states, move->to),
                     move->event != NULL ? move->event : "-");
    }
}

void cn_describe(const struct cn_service *service)
{
    for (size_t i = 0; i < service->event_count; i++) {
        const char *scope = service->events[i].scope;
        (void)printf("event\t%s\t%s\n", service->events[i].type,
                     scope != NULL ? scope : "-");
    }
    for (size_t i = 0; i < service->subscription_count; i++) {
        const struct cn_subscription *of = &service->subscriptions[i];
        for (size_t j = 0; j < of->handler_count; j++) {
            (void)printf("follow\t%s\t%s\t%s\n", of->producer,
                         of->handlers[j].type,
                         of->handlers[j].copy ? "copy" : "effect");
        }
    }
    for (size_t i = 0; service->resources[i] != NULL; i++) {
        if (service->resources[i]->moves != NULL) {
            s_moves(service->resources[i]->moves);
        }
    }
}
