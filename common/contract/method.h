/* SPDX-License-Identifier: Apache-2.0 */
/* A method of a service: its contract and its handler. */
#ifndef CN_METHOD_H
#define CN_METHOD_H

#include "common/contract/op.h"
#include "common/contract/resource.h"
#include "common/wire/shape.h"

/* Fills op->reply, adds its steps to the write; the commit is dispatch's. */
typedef void cn_handler_fn(struct cn_op *op);

/* One row of a generated handler table: rpc, contract, handler. */
struct cn_method {
    const char *name; /* "referrals.v1.Referrals/AcceptReferral" */
    const struct cn_shape *input;
    const struct cn_shape *output;
    const char *scope; /* permission; "" for any principal; NULL internal */
    bool writes;       /* has an idempotency key */
    cn_handler_fn *handler;
    /* What it answers with: one, or a list of it; NULL: something else. */
    const struct cn_resource *resource;
    const struct cn_listing *listing; /* of a generated list, or NULL */
};

#endif
