/* SPDX-License-Identifier: Apache-2.0 */
/* The gateway's own pages. */
#include "services/gateway/page.h"

#include "common/bus.h"

#include "services/gateway/problem.h"

#include "cairn/routes.h"

#include <string.h>

static const char PROBLEMS[] = "/problems";
static const char JSON[] = "application/json";

/* Ready: access answers and its events are fresh. The others are named, but a
 * service that is down only takes its own routes with it. */
static enum cn_code s_ready(const struct gateway *gateway,
                            struct cn_buffer *body,
                            struct cn_err *err)
{
    const struct cn_bus *bus = gateway->env->bus;

    if (!auth_fresh(gateway->auth) || !cn_bus_reachable(bus, "access")) {
        return cn_fail(err, CN_UNAVAILABLE, "access does not answer");
    }
    cn_buffer_puts(body, "{\"ready\":true,\"services\":{");
    for (size_t i = 0; cn_route_services[i] != NULL; i++) {
        const char *name = cn_route_services[i];
        if (i > 0) {
            cn_buffer_puts(body, ",");
        }
        cn_buffer_json_text(body, name);
        cn_buffer_puts(body, cn_bus_reachable(bus, name) ? ":true" : ":false");
    }
    cn_buffer_puts(body, "}}");
    return CN_OK;
}

static bool s_is_problem(const char *path)
{
    const size_t size = sizeof(PROBLEMS) - 1;

    return strncmp(path, PROBLEMS, size) == 0 && path[size] == '/';
}

enum cn_code page_serve(const struct gateway *gateway,
                        const char *method,
                        const char *path,
                        const char *base,
                        struct cn_buffer *body,
                        const char **ret_content_type,
                        struct cn_err *err)
{
    bool contract = strcmp(path, "/openapi.json") == 0;
    bool list = strcmp(path, PROBLEMS) == 0;
    bool ready = strcmp(path, "/readyz") == 0;
    bool page = s_is_problem(path);

    if (!contract && !list && !ready && !page) {
        return cn_fail_as(err, CN_NOT_FOUND, PROBLEM_NO_PATH,
                          "nothing is served at this path");
    }
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        return cn_fail(err, CN_METHOD_NOT_ALLOWED,
                       "this method is not served here");
    }
    *ret_content_type = JSON;
    if (contract) {
        cn_buffer_add(body, cn_openapi_json, cn_openapi_json_size);
    } else if (list) {
        problem_list(body, base);
    } else if (ready) {
        return s_ready(gateway, body, err);
    } else {
        *ret_content_type = "text/plain; charset=utf-8";
        if (!problem_page(body, path + sizeof(PROBLEMS))) {
            return cn_fail_as(err, CN_NOT_FOUND, PROBLEM_NO_PATH,
                              "there is no such kind of problem");
        }
    }
    return CN_OK;
}
