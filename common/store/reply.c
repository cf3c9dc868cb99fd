/* SPDX-License-Identifier: Apache-2.0 */
#include "common/store/reply.h"

#include "common/wire/message.h"

enum cn_code cn_reply_pack(const struct cn_request *request,
                           struct cn_reply *reply,
                           struct cn_err *err)
{
    if (reply->body == NULL || reply->packed.data != NULL) {
        return CN_OK;
    }
    return cn_message_pack(request->arena, reply->body, &reply->packed, err);
}
