/* SPDX-License-Identifier: Apache-2.0 */
/* The pages that the gateway serves without a service. */
#include "services/gateway/page.h"

#include "services/gateway/problem.h"

#include "cairn/routes.h"

#include <string.h>

static const char PROBLEMS[] = "/problems";
static const char JSON[] = "application/json";

static bool s_is_problem(const char *path)
{
    const size_t size = sizeof(PROBLEMS) - 1;
    return strncmp(path, PROBLEMS, size) == 0 && path[size] == '/';
}

enum cn_code page_serve(const char *method,
                        const char *path,
                        const char *base,
                        struct cn_http_response *response,
                        const char **ret_content_type,
                        struct cn_err *err)
{
    bool contract = strcmp(path, "/openapi.json") == 0;
    bool list = strcmp(path, PROBLEMS) == 0;
    bool page = s_is_problem(path);
    if (!contract && !list && !page) {
        return cn_fail_as(err, CN_NOT_FOUND, PROBLEM_NO_PATH,
                          "nothing is served at this path");
    }
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        return cn_fail(err, CN_METHOD_NOT_ALLOWED,
                       "this method is not served here");
    }
    *ret_content_type = JSON;
    if (contract) {
        /* A copy for each client that takes its time would fill the memory. */
        response->constant =
            (struct cn_bytes){ (const uint8_t *)cn_openapi_json,
                               cn_openapi_json_size };
    } else if (list) {
        problem_list(&response->body, base);
    } else {
        *ret_content_type = "text/plain; charset=utf-8";
        if (!problem_page(&response->body, path + sizeof(PROBLEMS))) {
            return cn_fail_as(err, CN_NOT_FOUND, PROBLEM_NO_PATH,
                              "there is no such kind of problem");
        }
    }
    return CN_OK;
}
