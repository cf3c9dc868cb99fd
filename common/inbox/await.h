/* SPDX-License-Identifier: Apache-2.0 */
/* A request may name a record of another service sooner than its event comes:
 * whoever made it was told by that service. So what is not copied here is
 * waited for a little, and only what must have come by now is refused. */
#ifndef CN_AWAIT_H
#define CN_AWAIT_H

#include "common/contract/op.h"

/* So long that, while nothing is wrong, all has come by then that was committed
 * before the request: consumers note once a second how far they are. */
enum { CN_AWAIT_US = 2500000, CN_AWAIT_LOOK_US = 20000 };

enum cn_awaited {
    CN_TOLD,         /* it is known here */
    CN_NEVER_TOLD,   /* all has come that could tell of it */
    CN_NOT_TOLD_YET, /* it may still come: answer 503, or by what is known */
};

/* Looks until `known` says true, for CN_AWAIT_US at most, and not on once all
 * has come that the producer committed before settled_at. A failed operation
 * gets CN_NEVER_TOLD. */
enum cn_awaited cn_await(struct cn_op *op,
                         const char *producer,
                         int64_t settled_at,
                         bool (*known)(struct cn_op *op, void *arg),
                         void *arg);
/* The settled_at of a record with that id: a client who knows the id has it
 * from an answer, which came after the commit. An id that no service of ours
 * can have made needs no waiting. */
int64_t cn_await_settled_at(struct cn_uuid id, int64_t now_at);
/* 503: what is named here is not known yet. */
void cn_await_refuse(struct cn_op *op, const char *noun);
/* A branch that a request names: 422 /branch_id when it is none of the
 * agency's, 503 while the producer may still tell of it. */
void cn_await_branch(struct cn_op *op,
                     const char *producer,
                     struct cn_uuid id,
                     bool (*known)(struct cn_op *op, void *arg),
                     void *arg);

#endif
