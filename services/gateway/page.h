/* SPDX-License-Identifier: Apache-2.0 */
/* The pages that the gateway itself serves, without a credential: openapi.json
 * and the kinds of problems. */
#ifndef GATEWAY_PAGE_H
#define GATEWAY_PAGE_H

#include "common/base/err.h"
#include "common/http/http.h"

/* Serves a page: fills its content and its type. CN_NOT_FOUND when there is no
 * page at the path; CN_METHOD_NOT_ALLOWED. */
CN_CHECKED enum cn_code page_serve(const char *method,
                                   const char *path,
                                   const char *base,
                                   struct cn_http_response *response,
                                   const char **ret_content_type,
                                   struct cn_err *err);

#endif
