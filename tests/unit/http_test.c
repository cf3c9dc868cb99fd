/* SPDX-License-Identifier: Apache-2.0 */
/* The server on a loopback connection: whose body is read, and how much of
 * all. */
#include "common/base/clock.h"
#include "common/http/http.h"
#include "common/loop/fiber.h"
#include "common/loop/listen.h"
#include "common/loop/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { ANSWER_MAX = 4096, BODY = 1000000, GREEDY_MAX = 70 };

#define GIVE_UP_US (20 * CN_SECOND)

struct server {
    struct cn_env env;
    struct cn_http *http;
    void (*body)(struct server *self);
    unsigned handled;
    unsigned admitted;
};

/* Whoever has a credential may send; its first letter is the agency. */
static enum cn_code s_admit(void *arg,
                            const struct cn_http_request *request,
                            struct cn_uuid *ret_payer,
                            struct cn_err *err)
{
    struct server *self = arg;
    const char *given = request->headers[CN_FRAMING_AUTHORIZATION];
    if (given == NULL) {
        return cn_fail(err, CN_UNAUTHENTICATED, "who is it?");
    }
    self->admitted++;
    ret_payer->bytes[0] = (uint8_t)given[0];
    return CN_OK;
}

static void s_handle(void *arg,
                     const struct cn_http_request *request,
                     struct cn_http_response *response)
{
    struct server *self = arg;
    char text[64];
    (void)snprintf(text, sizeof(text), "%s %zu", request->path,
                   request->body.size);
    self->handled++;
    response->status = 200;
    cn_buffer_puts(&response->body, text);
}

static void s_refuse(void *arg,
                     const struct cn_http_request *request,
                     const struct cn_err *err,
                     struct cn_http_response *response)
{
    (void)arg;
    (void)request;
    response->status = cn_code_status(err->code);
}

static void s_body_run(void *arg)
{
    struct server *self = arg;
    self->body(self);
    cn_loop_stop(self->env.loop);
}

static void s_run(void (*body)(struct server *self))
{
    static struct server server;
    struct cn_err err = { 0 };
    server = (struct server){ .env = cn_env_real(), .body = body };
    server.env.loop = cn_loop_new();
    assert_non_null(server.env.loop);
    const struct cn_http_config config = {
        .listen = "127.0.0.1:0",
        .connections_max = 100,
        .timeout_us = 5 * CN_SECOND,
        .to_the_end = true,
        .admit = s_admit,
        .handle = s_handle,
        .refuse = s_refuse,
        .arg = &server,
    };
    assert_int_equal(cn_http_new(&server.env, &config, &server.http, &err),
                     CN_OK);
    assert_int_equal(cn_fiber_spawn(server.env.loop, s_body_run, &server,
                                    cn_clock_monotonic() + 60 * CN_SECOND,
                                    &err),
                     CN_OK);
    cn_loop_run(server.env.loop, 0);
    cn_http_free(server.http);
    cn_loop_free(server.env.loop);
}

/* ---- a client, in the body's fiber ---- */

static int s_connect(const struct server *server)
{
    char address[32];
    struct cn_err err = { 0 };
    int fd = -1;
    (void)snprintf(address, sizeof(address), "127.0.0.1:%u",
                   cn_http_port(server->http));
    assert_int_equal(cn_listen_connect(address, &fd, &err), CN_OK);
    return fd;
}

static void s_send(int fd, const char *data, size_t size)
{
    int64_t give_up_at = cn_clock_monotonic() + GIVE_UP_US;
    while (size > 0) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) {
            data += sent;
            size -= (size_t)sent;
        }
        assert_true(cn_clock_monotonic() < give_up_at);
        assert_int_equal(cn_fiber_sleep(0), CN_OK);
    }
}

static void s_say(int fd, const char *text)
{
    s_send(fd, text, strlen(text));
}

/* Reads until the text has come, or the end (NULL). */
static void s_hear(int fd, const char *text, char answer[ANSWER_MAX])
{
    int64_t give_up_at = cn_clock_monotonic() + GIVE_UP_US;
    size_t size = 0;
    answer[0] = '\0';
    while (text == NULL || strstr(answer, text) == NULL) {
        ssize_t got =
            recv(fd, answer + size, ANSWER_MAX - 1 - size, MSG_DONTWAIT);
        if (got == 0) {
            assert_null(text);
            return;
        }
        size += got > 0 ? (size_t)got : 0;
        answer[size] = '\0';
        assert_true(cn_clock_monotonic() < give_up_at);
        assert_int_equal(cn_fiber_sleep(0), CN_OK);
    }
}

/* ---- tests ---- */

static void s_in_order(struct server *server)
{
    char answer[ANSWER_MAX];
    int fd = s_connect(server);
    s_say(fd, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n"
              "POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
              "GET /3 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    s_hear(fd, NULL, answer);
    char *first = strstr(answer, "/1 0");
    assert_non_null(first);
    char *second = strstr(first, "/2 5");
    assert_non_null(second);
    assert_non_null(strstr(second, "/3 0"));
    assert_non_null(strstr(second, "Connection: close"));
    (void)close(fd);
}

static void requests_sent_ahead_are_answered_in_order(void **state)
{
    (void)state;
    s_run(s_in_order);
}

static void s_no_credential(struct server *server)
{
    char answer[ANSWER_MAX];
    int fd = s_connect(server);
    s_say(fd, "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
              "Transfer-Encoding: chunked\r\n\r\n");
    s_hear(fd, NULL, answer);
    assert_int_equal(strncmp(answer, "HTTP/1.1 401 ", 13), 0);
    assert_int_equal(server->handled, 0);
    (void)close(fd);
    fd = s_connect(server);
    s_say(fd, "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
              "Authorization: a\r\nContent-Length: 5\r\n\r\n");
    s_hear(fd, "100 Continue\r\n\r\n", answer);
    s_say(fd, "hello");
    s_hear(fd, "/ 5", answer);
    assert_int_equal(server->admitted, 1);
    (void)close(fd);
}

static void a_body_is_asked_for_only_from_whom_it_may_come(void **state)
{
    (void)state;
    s_run(s_no_credential);
}

/* Sends all but the last byte of a body. False: it was refused. */
static bool s_body_begin(int fd, const char *credential, const char *data)
{
    char head[128];
    char byte;
    (void)snprintf(head, sizeof(head),
                   "POST / HTTP/1.1\r\nHost: h\r\nAuthorization: %s\r\n"
                   "Content-Length: %d\r\n\r\n",
                   credential, BODY);
    s_say(fd, head);
    s_send(fd, data, BODY - 1);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(cn_fiber_sleep(0), CN_OK);
    }
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0;
}

static void s_shared(struct server *server)
{
    char answer[ANSWER_MAX];
    char *data = calloc(1, BODY);
    int fds[GREEDY_MAX];
    int count = 0;
    bool taken = true;
    assert_non_null(data);
    while (taken) {
        assert_true(count < GREEDY_MAX);
        fds[count] = s_connect(server);
        taken = s_body_begin(fds[count++], "a", data);
    }
    /* About half of the room, and the rest is another's. */
    assert_in_range(count, 8, 45);
    int fd = s_connect(server);
    assert_true(s_body_begin(fd, "b", data));
    s_say(fd, "x");
    s_hear(fd, "/ 1000000", answer);
    (void)close(fd);
    /* What is given back can be taken again. */
    (void)close(fds[0]);
    s_say(fds[1], "x");
    s_hear(fds[1], "/ 1000000", answer);
    fd = s_connect(server);
    assert_true(s_body_begin(fd, "a", data));
    (void)close(fd);
    for (int i = 1; i < count; i++) {
        (void)close(fds[i]);
    }
    free(data);
}

static void one_agency_leaves_room_for_the_bodies_of_another(void **state)
{
    (void)state;
    s_run(s_shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_sent_ahead_are_answered_in_order),
        cmocka_unit_test(a_body_is_asked_for_only_from_whom_it_may_come),
        cmocka_unit_test(one_agency_leaves_room_for_the_bodies_of_another),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
