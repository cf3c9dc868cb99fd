/* SPDX-License-Identifier: Apache-2.0 */
/* What the stores of the services share: whose rows are meant, one read of
 * them, one sealed body. */
#ifndef CN_STORE_H
#define CN_STORE_H

#include "common/base/env.h"
#include "common/contract/service.h"
#include "common/db/db.h"

/* Whose rows are read and written, when, and in whose arena: of a request, of
 * an event or of work that is due. */
struct cn_store {
    struct cn_env *env;
    struct cn_arena *arena;
    struct cn_uuid tenant_id;
    int64_t now_at;
};
struct cn_store cn_store_of(const struct cn_op *op);
struct cn_store cn_store_of_request(const struct cn_request *request);
struct cn_store cn_store_of_event(const struct cn_event *event);
struct cn_store cn_store_of_due(const struct cn_due *due);

/* One statement on the read lane, under the store's tenant. */
CN_CHECKED enum cn_code cn_store_read(const struct cn_store *self,
                                      const struct cn_statement *statement,
                                      const struct cn_param *params,
                                      size_t count,
                                      const struct cn_rows **ret_rows,
                                      struct cn_err *err);
/* CN_STORE_READ(store, &SQL_X, &rows, err, cn_uuid(id), cn_int(3)) */
#define CN_STORE_READ(store, statement, ret_rows, err, ...)                    \
    cn_store_read((store), (statement),                                        \
                  (const struct cn_param[]){ __VA_ARGS__ },                    \
                  sizeof((const struct cn_param[]){ __VA_ARGS__ }) /           \
                      sizeof(struct cn_param),                                 \
                  (ret_rows), (err))
/* Packs and seals a message; the bytes as a parameter. */
CN_CHECKED enum cn_code cn_store_seal(const struct cn_store *self,
                                      const char *context,
                                      const ProtobufCMessage *message,
                                      struct cn_param *ret_body,
                                      struct cn_err *err);
/* Opens a column that cn_store_seal made. */
CN_CHECKED enum cn_code
cn_store_unseal(const struct cn_store *self,
                const char *context,
                const struct cn_rows *rows,
                size_t row,
                int column,
                const ProtobufCMessageDescriptor *descriptor,
                ProtobufCMessage **ret_message,
                struct cn_err *err);

#endif
