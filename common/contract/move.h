/* SPDX-License-Identifier: Apache-2.0 */
/* The moves of a state machine as rows. Every service has its machines in this
 * form, in its rules.c: `make events` and the tables of the READMEs are made
 * from them. */
#ifndef CN_MOVE_H
#define CN_MOVE_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The states that a move may begin in: a set of these. */
#define CN_STATE(state) (1ULL << (unsigned)(state))
/* Before the record is made; no enum of ours has the value 0. */
#define CN_UNMADE CN_STATE(0)

struct cn_move {
    const char *command; /* "complete" */
    uint64_t from;       /* set of CN_STATE */
    int to;
    const char *event; /* "visit.completed"; NULL: nothing is told */
};

struct cn_moves {
    const char *of; /* "visit" */
    const ProtobufCEnumDescriptor *states;
    const struct cn_move *rows;
    size_t count;
    /* States that end it, and states that nothing enters yet, each with its
     * reason in the table's comment: the test of all moves excuses them. */
    uint64_t ends;
    uint64_t unused;
};

/* NULL: the command may not be used in that state. */
const struct cn_move *
cn_move_find(const struct cn_moves *moves, const char *command, int from);

#endif
