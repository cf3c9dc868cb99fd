/* SPDX-License-Identifier: Apache-2.0 */
/* The record of an idempotency key: made in the unit of its write, and opened
 * when the key comes again. */
#ifndef CN_IDEMPOTENCY_H
#define CN_IDEMPOTENCY_H

#include "common/contract/service.h"
#include "common/db/db.h"

enum { CN_IDEMPOTENCY_PARAMS = 8 };

/* The statement that inserts the record with the sealed reply, which it packs,
 * and its parameters, which live in the request's arena. For write.c. */
CN_CHECKED enum cn_code
cn_idempotency_record(const struct cn_request *request,
                      struct cn_reply *reply,
                      const struct cn_statement **ret_statement,
                      struct cn_param params[CN_IDEMPOTENCY_PARAMS],
                      struct cn_err *err);

/* Looks for the record of the request's key: for a handler whose guard failed
 * because its twin is done. Found: the reply is filled as cn_write_commit does,
 * CN_KEY_REUSED if the key belongs to another request. */
CN_CHECKED enum cn_code cn_idempotency_find(const struct cn_request *request,
                                            struct cn_reply *reply,
                                            bool *ret_found,
                                            struct cn_err *err);

#endif
