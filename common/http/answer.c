/* SPDX-License-Identifier: Apache-2.0 */
/* libmicrohttpd 0.9.75 in our loop writes the answers. It reads only heads that
 * are made here, at the other end of a socket pair: its own reader of requests
 * accepts what RFC 9112 forbids, and answers what it refuses in HTML. */
#include "common/http/http_internal.h"

#include <microhttpd.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define STREAM_END_US CN_SECOND /* for a stream's last bytes at a stop */

enum {
    LIBRARY_MEMORY = 32 << 10, /* of a connection: bounds an answer's head */
    STREAM_BLOCK = 2048,
    PAIR_SNDBUF = 128 << 10,
    ASK_MAX = 128
};

void http_source_close(struct cn_http_source *source)
{
    struct cn_http_source closed = *source;
    *source = (struct cn_http_source){ 0 };
    if (closed.read != NULL) {
        closed.closed(closed.arg);
    }
}

/* ---- passing on ---- */

/* The library may write for this peer. */
static void s_expect(struct peer *peer)
{
    struct cn_http *self = peer->http;
    self->dirty = true;
    if (!peer->asked) {
        peer->asked = true;
        peer->asked_next = self->asked;
        self->asked = peer;
    }
}

static void s_pair_close(struct peer *peer)
{
    if (peer->pair >= 0) {
        (void)close(peer->pair);
        peer->pair = -1;
    }
}

/* Passes on what the library has written, as far as the client takes it. */
static void s_relay(struct peer *peer)
{
    char *data = peer->http->scratch;
    while (peer->fd >= 0 && peer->pair >= 0 && peer->out.size == 0) {
        ssize_t got = recv(peer->pair, data, HTTP_SCRATCH, MSG_DONTWAIT);
        if (got > 0) {
            http_peer_send(peer, data, (size_t)got);
            if (got == HTTP_SCRATCH || !peer->library) {
                continue;
            }
        } else if (got == 0) {
            s_pair_close(peer);
            if (peer->slot == NULL) {
                http_peer_end(peer);
            } else {
                http_peer_close(peer); /* the library had no room */
            }
        }
        break;
    }
}

static void s_relay_all(struct cn_http *self)
{
    struct peer **link = &self->asked;
    while (*link != NULL) {
        struct peer *peer = *link;
        s_relay(peer);
        bool idle = peer->slot == NULL || peer->slot->rests;
        if (peer->fd >= 0 && (peer->out.size > 0 || !idle)) {
            link = &peer->asked_next;
            continue;
        }
        *link = peer->asked_next;
        peer->asked = false;
        http_peer_go(peer);
        http_peer_settle(peer);
    }
}

/* ---- streams ---- */

/* The library asks for more bytes. When there are none the connection is
 * suspended: else it would ask again at every turn. */
static ssize_t s_on_body_read(void *arg, uint64_t at, char *buffer, size_t size)
{
    struct slot *slot = arg;
    (void)at;
    if (slot->cut) {
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    if (slot->http->draining) {
        return MHD_CONTENT_READER_END_OF_STREAM;
    }
    ssize_t got = slot->source.read(slot->source.arg, buffer, size);
    if (got < 0) {
        return MHD_CONTENT_READER_END_OF_STREAM;
    }
    if (got == 0) {
        slot->rests = true;
        MHD_suspend_connection(slot->connection);
    }
    return got;
}

/* Where a call fails, the kernel's defaults hold. */
static void s_stream_begin(struct slot *slot)
{
    const int buffer = CN_HTTP_STREAM_SNDBUF;
    const unsigned timeout_ms = CN_HTTP_STREAM_TIMEOUT_MS;
    struct peer *peer = slot->peer;
    (void)setsockopt(peer->fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
    (void)setsockopt(peer->pair, SOL_SOCKET, SO_SNDBUF, &buffer,
                     sizeof(buffer));
    (void)setsockopt(peer->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms,
                     sizeof(timeout_ms));
    peer->deadline_at = INT64_MAX;
}

void http_stream_resume(struct slot *slot)
{
    if (slot->rests) {
        slot->rests = false;
        s_expect(slot->peer);
        MHD_resume_connection(slot->connection);
    }
}

/* NULL: the stream is over. */
static struct slot *s_stream_slot(struct cn_http_stream stream)
{
    if (stream.http == NULL) {
        return NULL;
    }
    struct slot *slot = &stream.http->slots[stream.number];
    return slot->generation == stream.generation && slot->source.read != NULL
               ? slot
               : NULL;
}

void cn_http_stream_wake(struct cn_http_stream stream)
{
    struct slot *slot = s_stream_slot(stream);
    if (slot != NULL) {
        http_stream_resume(slot);
    }
}

bool cn_http_stream_rests(struct cn_http_stream stream)
{
    const struct slot *slot = s_stream_slot(stream);
    return slot != NULL && slot->rests && slot->peer->out.size == 0;
}

void cn_http_stream_cut(struct cn_http_stream stream)
{
    struct slot *slot = s_stream_slot(stream);
    if (slot != NULL) {
        slot->cut = true;
        (void)shutdown(slot->peer->fd, SHUT_RDWR);
        http_stream_resume(slot);
    }
}

void http_streams_end(struct cn_http *self)
{
    for (struct peer *peer = self->peers; peer != NULL; peer = peer->next) {
        if (peer->slot != NULL && peer->slot->source.read != NULL) {
            http_stream_resume(peer->slot);
            peer->deadline_at = cn_clock_monotonic() + STREAM_END_US;
        }
    }
}

/* ---- answers ---- */

static struct MHD_Response *s_body(struct slot *slot,
                                   struct cn_http_response *from)
{
    static char nothing[1];
    struct cn_buffer *body = &from->body;
    if (from->source != NULL) {
        cn_buffer_done(body);
        return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK,
                                                 s_on_body_read, slot, NULL);
    }
    if (from->constant.data != NULL) {
        cn_buffer_done(body);
        return MHD_create_response_from_buffer(
            from->constant.size, (void *)(uintptr_t)from->constant.data,
            MHD_RESPMEM_PERSISTENT);
    }
    if (body->failed || body->size == 0) {
        if (body->failed) {
            from->status = MHD_HTTP_SERVICE_UNAVAILABLE;
        }
        cn_buffer_done(body);
        return MHD_create_response_from_buffer(0, nothing,
                                               MHD_RESPMEM_PERSISTENT);
    }
    struct MHD_Response *response = MHD_create_response_from_buffer(
        body->size, body->data, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        cn_buffer_done(body);
    }
    return response;
}

struct MHD_Response *http_answer_make(struct cn_http *self,
                                      struct slot *slot,
                                      struct cn_http_response *from)
{
    struct MHD_Response *response = s_body(slot, from);
    bool whole = response != NULL;
    for (size_t i = 0; whole && i < from->field_count; i++) {
        whole = MHD_add_response_header(response, from->fields[i].name,
                                        from->fields[i].value) == MHD_YES;
    }
    if (whole && (slot->closes || self->draining || from->source != NULL)) {
        whole = MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION,
                                        "close") == MHD_YES;
    }
    if (!whole) {
        http_answer_drop(response);
        return NULL;
    }
    return response;
}

void http_answer_drop(struct MHD_Response *response)
{
    if (response != NULL) {
        MHD_destroy_response(response);
    }
}

static bool s_pair_open(struct peer *peer)
{
    static const struct sockaddr_un FROM = { .sun_family = AF_UNIX };
    const int buffer = PAIR_SNDBUF;
    int ends[2];
    if (peer->pair >= 0) {
        return true;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
                   ends) != 0) {
        return false;
    }
    (void)setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
    peer->pair = ends[0];
    peer->theirs = ends[1];
    s_expect(peer);
    /* It closes its end when it fails. */
    return MHD_add_connection(peer->http->daemon, ends[1],
                              (const struct sockaddr *)&FROM,
                              sizeof(FROM)) == MHD_YES;
}

/* The library needs to know only whether a body follows, and what the client
 * understands of connections. */
static void s_ask(struct slot *slot)
{
    struct peer *peer = slot->peer;
    char ask[ASK_MAX];
    int size = snprintf(
        ask, sizeof(ask), "%s / HTTP/1.%c\r\nHost: cairn\r\n%s\r\n",
        slot->is_head ? "HEAD" : "GET", slot->is_old ? '0' : '1',
        slot->is_old && !slot->closes ? "Connection: keep-alive\r\n" : "");
    slot->state = SLOT_ASKED;
    peer->deadline_at = cn_clock_monotonic() + HTTP_REPLY_US;
    if (slot->response == NULL || !s_pair_open(peer) ||
        send(peer->pair, ask, (size_t)size, MSG_NOSIGNAL | MSG_DONTWAIT) !=
            size) {
        http_peer_close(peer); /* without memory nothing else is left */
        return;
    }
    s_expect(peer);
}

static void s_on_turn_of(void *arg)
{
    struct slot *slot = arg;
    slot->turn = NULL;
    s_ask(slot);
}

void http_answer_ask(struct slot *slot)
{
    struct cn_http *self = slot->http;
    int64_t now_at = cn_clock_monotonic();
    if (slot->stranger && !self->draining) {
        int64_t at = self->stranger_at;
        if (at < now_at - HTTP_STRANGER_FIRST_US) {
            at = now_at - HTTP_STRANGER_FIRST_US;
        } else if (at > now_at + HTTP_STRANGER_MAX_US) {
            at = now_at + HTTP_STRANGER_MAX_US;
        }
        self->stranger_at = at + HTTP_STRANGER_US;
        if (at > now_at) {
            slot->state = SLOT_WAITING;
            slot->peer->deadline_at = INT64_MAX;
            slot->turn = cn_loop_timer(self->env->loop, at, s_on_turn_of, slot);
        }
    }
    if (slot->turn == NULL) {
        s_ask(slot);
    }
}

void http_answer_leave(struct peer *peer)
{
    struct slot *slot = peer->slot;
    s_pair_close(peer);
    if (slot != NULL) {
        slot->cut = true;
        http_stream_resume(slot);
    }
}

/* ---- the library's callbacks ---- */

static struct peer *s_connection_peer(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info == NULL ? NULL : info->socket_context;
}

/* The first call is for the head, the second for the end of the request. */
static enum MHD_Result s_on_access(void *arg,
                                   struct MHD_Connection *connection,
                                   const char *path,
                                   const char *method,
                                   const char *version,
                                   const char *data,
                                   size_t *data_size,
                                   void **context)
{
    struct peer *peer = s_connection_peer(connection);
    struct slot *slot = *context;
    (void)arg;
    (void)path;
    (void)method;
    (void)version;
    (void)data;
    (void)data_size;
    if (slot == NULL) {
        slot = peer == NULL ? NULL : peer->slot;
        if (slot == NULL || slot->state != SLOT_ASKED) {
            return MHD_NO; /* the client has left */
        }
        slot->connection = connection;
        slot->state = SLOT_WRITING;
        *context = slot;
        return MHD_YES;
    }
    if (slot->response == NULL) {
        return MHD_YES;
    }
    if (slot->source.read != NULL && slot->peer->fd >= 0) {
        s_stream_begin(slot);
    }
    enum MHD_Result rc =
        MHD_queue_response(connection, slot->status, slot->response);
    MHD_destroy_response(slot->response);
    slot->response = NULL;
    return rc;
}

static void s_on_completed(void *arg,
                           struct MHD_Connection *connection,
                           void **context,
                           enum MHD_RequestTerminationCode why)
{
    struct slot *slot = *context;
    (void)arg;
    (void)connection;
    (void)why;
    *context = NULL;
    if (slot != NULL) {
        http_slot_free(slot);
    }
}

static void s_on_connection(void *arg,
                            struct MHD_Connection *connection,
                            void **context,
                            enum MHD_ConnectionNotificationCode code)
{
    const struct cn_http *self = arg;
    struct peer *peer = *context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(
            connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        for (peer = self->asked; peer != NULL; peer = peer->asked_next) {
            if (info != NULL && peer->theirs == info->connect_fd) {
                peer->library = true;
                *context = peer;
                return;
            }
        }
    } else if (peer != NULL) {
        *context = NULL;
        peer->library = false;
        peer->theirs = -1;
        http_peer_settle(peer);
    }
}

/* ---- the loop ---- */

static void s_on_ready(void *arg, unsigned events)
{
    struct cn_http *self = arg;
    (void)events;
    self->dirty = true;
}

static bool s_on_turn(void *arg)
{
    struct cn_http *self = arg;
    MHD_UNSIGNED_LONG_LONG timeout_ms = 0;
    if (!self->dirty) {
        return false;
    }
    self->dirty = false;
    (void)MHD_run(self->daemon);
    if (MHD_get_timeout(self->daemon, &timeout_ms) == MHD_YES) {
        /* We set no timeout in the library: it has data left to look at. */
        self->dirty = true;
    }
    s_relay_all(self);
    http_peers_bury(self);
    return true;
}

enum cn_code http_library_start(struct cn_http *self, struct cn_err *err)
{
    self->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_TURBO |
            MHD_USE_NO_LISTEN_SOCKET,
        0, NULL, NULL, s_on_access, self, MHD_OPTION_CONNECTION_LIMIT,
        2 * (unsigned)self->slot_count, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)LIBRARY_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, 0U,
        MHD_OPTION_NOTIFY_COMPLETED, s_on_completed, self,
        MHD_OPTION_NOTIFY_CONNECTION, s_on_connection, self, MHD_OPTION_END);
    if (self->daemon == NULL) {
        return cn_fail(err, CN_INTERNAL, "libmicrohttpd does not start");
    }
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(self->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    self->watch = cn_loop_watch(self->env->loop, info->epoll_fd, CN_READABLE,
                                s_on_ready, self);
    if (self->watch == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory");
    }
    return cn_loop_prepare(self->env->loop, s_on_turn, self, err);
}

void http_library_stop(struct cn_http *self)
{
    cn_loop_unprepare(self->env->loop, s_on_turn, self);
    cn_loop_unwatch(self->watch);
    if (self->daemon != NULL) {
        /* It must see before the stop that streams are resumed. */
        (void)MHD_run(self->daemon);
        MHD_stop_daemon(self->daemon);
    }
    while (self->asked != NULL) {
        struct peer *peer = self->asked;
        self->asked = peer->asked_next;
        peer->asked = false;
        http_peer_settle(peer);
    }
    http_peers_bury(self);
}
