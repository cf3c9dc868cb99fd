/* SPDX-License-Identifier: Apache-2.0 */
/* The pages of the admin port, and the shortest client for one of them. */
#include "common/process/admin.h"

#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/http/http.h"
#include "common/loop/listen.h"
#include "common/loop/metrics.h"
#include "common/process/health.h"
#include "common/wire/json.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CONNECTIONS = 16,
    OK = 200,
    NOT_FOUND = 404,
    NOT_ALLOWED = 405,
    NOT_READY = 503
};

static const int64_t ANSWER_US = 2 * CN_SECOND;
static const char TEXT[] = "text/plain; charset=utf-8";

struct cn_admin {
    struct cn_http *http;
};

/* ---- the pages ---- */

static void s_text_serve(struct cn_http_response *response,
                         unsigned status,
                         const char *text)
{
    response->status = status;
    cn_buffer_puts(&response->body, text);
    cn_http_field_add(response, "Content-Type", TEXT);
}

static void s_live(const struct cn_http_request *request,
                   struct cn_http_response *response)
{
    (void)request;
    s_text_serve(response, OK, "ok\n");
}

static void s_ready_serve(const struct cn_http_request *request,
                          struct cn_http_response *response)
{
    bool ready = cn_health_ready();
    for (size_t i = 0; i < request->query_count; i++) {
        if (strcmp(request->query[i].name, "verbose") == 0) {
            response->status = ready ? OK : NOT_READY;
            cn_health_write(&response->body);
            cn_http_field_add(response, "Content-Type", "application/json");
            return;
        }
    }
    s_text_serve(response, ready ? OK : NOT_READY,
                 ready ? "ok\n" : "not ready\n");
}

static void s_metrics_serve(const struct cn_http_request *request,
                            struct cn_http_response *response)
{
    (void)request;
    response->status = OK;
    (void)cn_metrics_write(&response->body);
    cn_http_field_add(response, "Content-Type",
                      "text/plain; version=0.0.4; charset=utf-8");
}

static const struct page {
    const char *path;
    void (*serve)(const struct cn_http_request *request,
                  struct cn_http_response *response);
} PAGES[] = {
    { "/livez", s_live },
    { "/healthz", s_live },
    { "/startupz", s_ready_serve },
    { "/readyz", s_ready_serve },
    { "/metrics", s_metrics_serve },
};

static void s_admin_handle(void *arg,
                           const struct cn_http_request *request,
                           struct cn_http_response *response)
{
    (void)arg;
    cn_http_field_add(response, "Cache-Control", "no-store");
    if (strcmp(request->method, "GET") != 0 &&
        strcmp(request->method, "HEAD") != 0) {
        cn_http_field_add(response, "Allow", "GET, HEAD");
        s_text_serve(response, NOT_ALLOWED, "only GET is served here\n");
        return;
    }
    for (size_t i = 0; i < CN_COUNT(PAGES); i++) {
        if (strcmp(PAGES[i].path, request->path) == 0) {
            PAGES[i].serve(request, response);
            return;
        }
    }
    s_text_serve(response, NOT_FOUND, "nothing is served at this path\n");
}

static void s_admin_refuse(void *arg,
                           const struct cn_http_request *request,
                           const struct cn_err *err,
                           struct cn_http_response *response)
{
    (void)arg;
    (void)request;
    response->status = err->code == CN_MALFORMED ? 400 : NOT_READY;
}

enum cn_code cn_admin_new(struct cn_env *env,
                          const char *listen,
                          struct cn_admin **ret_admin,
                          struct cn_err *err)
{
    struct cn_admin *self = calloc(1, sizeof(*self));
    const struct cn_http_config config = {
        .listen = listen,
        .connections_max = CONNECTIONS,
        .timeout_us = ANSWER_US,
        .to_the_end = true,
        .handle = s_admin_handle,
        .refuse = s_admin_refuse,
    };
    if (self == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory");
    }
    enum cn_code rc = cn_http_new(env, &config, &self->http, err);
    if (rc != CN_OK) {
        free(self);
        return rc;
    }
    *ret_admin = self;
    return CN_OK;
}

void cn_admin_free(struct cn_admin *self)
{
    if (self == NULL) {
        return;
    }
    cn_http_free(self->http);
    free(self);
}

/* ---- the client ---- */

static bool s_fd_await(int fd, short events, int64_t until_at)
{
    struct pollfd wanted = { .fd = fd, .events = events };
    int64_t left_us = until_at - cn_clock_monotonic();
    return left_us > 0 && poll(&wanted, 1, (int)(left_us / 1000) + 1) == 1;
}

/* The socket's buffer takes so short a request as a whole. */
static bool s_ready_ask(int fd, int64_t until_at)
{
    static const char REQUEST[] = "GET /readyz HTTP/1.1\r\nHost: localhost\r\n"
                                  "Connection: close\r\n\r\n";
    static const char GOOD[] = "HTTP/1.1 200 ";
    const size_t wanted = sizeof(GOOD) - 1;
    char answer[sizeof(GOOD)] = { 0 };
    size_t size = 0;
    int error = 0;
    socklen_t error_size = sizeof(error);
    if (!s_fd_await(fd, POLLOUT, until_at) ||
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_size) != 0 ||
        error != 0 ||
        send(fd, REQUEST, sizeof(REQUEST) - 1, MSG_NOSIGNAL) !=
            (ssize_t)sizeof(REQUEST) - 1) {
        return false;
    }
    while (size < wanted && s_fd_await(fd, POLLIN, until_at)) {
        ssize_t got = recv(fd, answer + size, wanted - size, 0);
        if (got <= 0) {
            return false;
        }
        size += (size_t)got;
    }
    return strcmp(answer, GOOD) == 0;
}

bool cn_admin_ask(const char *listen)
{
    int64_t until_at = cn_clock_monotonic() + ANSWER_US;
    struct cn_err err = { 0 };
    int fd = -1;
    if (cn_listen_connect(listen, &fd, &err) != CN_OK) {
        return false;
    }
    bool ready = s_ready_ask(fd, until_at);
    (void)close(fd);
    return ready;
}
