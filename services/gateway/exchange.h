/* SPDX-License-Identifier: Apache-2.0 */
/* One request from HTTP to one service and back: authentication, idempotency
 * keys, preconditions, problems. */
#ifndef GATEWAY_EXCHANGE_H
#define GATEWAY_EXCHANGE_H

#include "common/base/env.h"

#include "common/http/http.h"
#include "services/gateway/auth.h"
#include "services/gateway/route.h"
#include "services/gateway/stream.h"
#include "services/gateway/tally.h"

struct gateway {
    struct cn_env *env;
    struct auth *auth;
    struct streams *streams;
    struct routes *routes;  /* of all services */
    struct tally *tally;    /* counts the answers */
    const char *public_url; /* "https://cairn.example"; "": http://<Host> */
    bool behind_proxy;      /* X-Forwarded-For ends with the client's address */
};

/* For cn_http_config: arg is the gateway. Who may send a body: whoever has a
 * credential that permits the route; the agency pays for it. */
CN_CHECKED enum cn_code exchange_admit(void *arg,
                                       const struct cn_http_request *request,
                                       struct cn_uuid *ret_payer,
                                       struct cn_err *err);
void exchange_handle(void *arg,
                     const struct cn_http_request *request,
                     struct cn_http_response *response);
void exchange_refuse(void *arg,
                     const struct cn_http_request *request,
                     const struct cn_err *err,
                     struct cn_http_response *response);

#endif
