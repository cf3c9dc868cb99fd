/* SPDX-License-Identifier: Apache-2.0 */
/* The reply of a request, packed before what cannot be taken back: the commit,
 * and the audit row of a read. So nothing can fail after it. */
#ifndef CN_REPLY_H
#define CN_REPLY_H

#include "common/contract/op.h"

/* Packs reply->body into reply->packed, unless it is packed already. */
CN_CHECKED enum cn_code cn_reply_pack(const struct cn_request *request,
                                      struct cn_reply *reply,
                                      struct cn_err *err);

#endif
