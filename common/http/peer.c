/* SPDX-License-Identifier: Apache-2.0 */
/* The clients' connections: bytes in, bytes out, their end. */
#include "common/http/http_internal.h"

#include "common/loop/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    ACCEPT_MAX = 64, /* in one turn */
    OUT_MAX = 1 << 20
};

/* At a stop: for handshakes under way. */
#define DOOR_US (CN_SECOND / 2000)

static void s_peer_watch(struct peer *peer, unsigned events)
{
    if (peer->events != events) {
        peer->events = events;
        cn_loop_watch_events(peer->watch, events);
    }
}

/* ---- the end ---- */

void http_peers_bury(struct cn_http *self)
{
    while (self->graves != NULL) {
        struct peer *peer = self->graves;
        self->graves = peer->next;
        cn_buffer_done(&peer->kept);
        cn_buffer_done(&peer->out);
        free(peer);
    }
}

void http_peer_settle(struct peer *peer)
{
    struct cn_http *self = peer->http;
    if (peer->fd < 0 && peer->slot == NULL && !peer->library && !peer->asked &&
        !peer->buried) {
        peer->buried = true;
        peer->next = self->graves;
        self->graves = peer;
    }
}

void http_peer_close(struct peer *peer)
{
    struct cn_http *self = peer->http;
    if (peer->fd < 0) {
        return;
    }
    cn_loop_unwatch(peer->watch);
    (void)close(peer->fd);
    peer->fd = -1;
    if (peer->next != NULL) {
        peer->next->previous = peer->previous;
    }
    if (peer->previous != NULL) {
        peer->previous->next = peer->next;
    } else {
        self->peers = peer->next;
    }
    self->connections--;
    self->dirty = true;
    http_gone(peer);
    http_answer_leave(peer);
    http_peer_settle(peer);
    if (self->door != NULL) {
        cn_loop_watch_events(self->door, CN_READABLE);
    }
    if (self->draining && self->peers == NULL) {
        (void)cn_fiber_wake(self->drained, CN_OK);
    }
}

/* Closing while bytes of the client lie unread resets the connection, and the
 * client may lose the answer. */
static void s_peer_finish(struct peer *peer)
{
    char byte;
    if (peer->eof || (peer->drop == 0 && peer->kept.size == 0 &&
                      recv(peer->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0)) {
        http_peer_close(peer);
        return;
    }
    (void)shutdown(peer->fd, SHUT_WR);
    if (peer->drop == 0) {
        peer->drop = HTTP_DROP_FEW;
    }
    peer->deadline_at =
        cn_clock_monotonic() +
        (peer->drop > HTTP_DROP_FEW ? HTTP_BODY_US : HTTP_LINGER_US);
    s_peer_watch(peer, CN_READABLE);
}

void http_peer_end(struct peer *peer)
{
    peer->ending = true;
    if (peer->out.size == 0) {
        s_peer_finish(peer);
    }
}

static void s_drop(struct peer *peer, size_t size)
{
    if (size >= peer->drop) {
        http_peer_close(peer);
    } else {
        peer->drop -= size;
    }
}

/* ---- bytes out ---- */

static ssize_t s_send(const struct peer *peer, const char *data, size_t size)
{
    ssize_t sent = send(peer->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : sent;
}

void http_peer_send(struct peer *peer, const char *data, size_t size)
{
    if (peer->fd < 0) {
        return;
    }
    ssize_t sent = peer->out.size > 0 ? 0 : s_send(peer, data, size);
    if (sent >= 0 && (size_t)sent < size) {
        if (peer->out.size == 0) {
            cn_buffer_init(&peer->out, OUT_MAX);
            peer->out_at = 0;
        }
        cn_buffer_add(&peer->out, data + sent, size - (size_t)sent);
        s_peer_watch(peer, peer->events | CN_WRITABLE);
    }
    if (sent < 0 || peer->out.failed) {
        http_peer_close(peer);
    }
}

static void s_flush(struct peer *peer)
{
    ssize_t sent = s_send(peer, peer->out.data + peer->out_at,
                          peer->out.size - peer->out_at);
    if (sent < 0) {
        http_peer_close(peer);
        return;
    }
    peer->out_at += (size_t)sent;
    if (peer->out_at < peer->out.size) {
        return;
    }
    cn_buffer_done(&peer->out);
    s_peer_watch(peer, peer->events & ~(unsigned)CN_WRITABLE);
    if (peer->ending) {
        s_peer_finish(peer);
    } else if (peer->asked) {
        peer->http->dirty = true; /* the library may write on */
    } else {
        http_peer_go(peer);
    }
}

/* ---- bytes in ---- */

/* Hands the bytes on, with those that were kept before them, and keeps what is
 * not taken. */
static void s_feed(struct peer *peer, const char *data, size_t size)
{
    bool kept = peer->kept.size > 0;
    if (kept) {
        cn_buffer_add(&peer->kept, data, size);
        data = peer->kept.data;
        size = peer->kept.size;
    }
    if (peer->kept.failed) {
        http_peer_close(peer);
        return;
    }
    size_t used = http_take(peer, data, size);
    if (!kept && used < size) {
        cn_buffer_init(&peer->kept, CN_HEAD_MAX + 2 * HTTP_SCRATCH);
        cn_buffer_add(&peer->kept, data + used, size - used);
    } else if (kept && used < size) {
        memmove(peer->kept.data, data + used, size - used);
        peer->kept.size = size - used;
    } else if (kept) {
        cn_buffer_done(&peer->kept);
    }
}

/* Is the next byte of the client wanted now? */
static bool s_peer_wants(const struct peer *peer)
{
    const struct slot *slot = peer->slot;
    if (peer->eof) {
        return false;
    }
    if (slot == NULL) {
        return peer->ending || peer->out.size == 0;
    }
    return slot->state == SLOT_READING || slot->source.read != NULL;
}

void http_peer_go(struct peer *peer)
{
    if (peer->fd >= 0 && peer->kept.size > 0) {
        s_feed(peer, "", 0);
    }
    if (peer->fd < 0) {
        return;
    }
    if (s_peer_wants(peer)) {
        s_peer_watch(peer, peer->events | CN_READABLE);
    }
    if (!peer->eof || peer->ending || peer->out.size > 0) {
        return;
    }
    if (peer->slot == NULL && peer->kept.size == 0) {
        http_peer_close(peer);
    } else if (peer->slot == NULL || peer->slot->state == SLOT_READING) {
        http_cut_short(peer);
    }
}

static void s_on_eof(struct peer *peer)
{
    peer->eof = true;
    if (peer->ending ||
        (peer->slot != NULL && peer->slot->source.read != NULL)) {
        http_peer_close(peer);
        return;
    }
    s_peer_watch(peer, peer->events & ~(unsigned)CN_READABLE);
    http_peer_go(peer);
}

static void s_peer_receive(struct peer *peer)
{
    char *data = peer->http->scratch;
    ssize_t got = recv(peer->fd, data, HTTP_SCRATCH, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got < 0) {
        http_peer_close(peer);
    } else if (got == 0) {
        s_on_eof(peer);
    } else if (peer->ending) {
        s_drop(peer, (size_t)got);
    } else if (peer->slot == NULL || peer->slot->source.read == NULL) {
        s_feed(peer, data, (size_t)got);
    }
}

static void s_on_client(void *arg, unsigned events)
{
    struct peer *peer = arg;
    if (events & CN_WRITABLE) {
        s_flush(peer);
    }
    if (peer->fd < 0 || !(events & CN_READABLE)) {
        return;
    }
    if (s_peer_wants(peer)) {
        s_peer_receive(peer);
    } else {
        /* More than it may send now: it is read when the answer is out. */
        s_peer_watch(peer, peer->events & ~(unsigned)CN_READABLE);
    }
}

/* ---- the door ---- */

static struct in6_addr s_peer_address(const struct sockaddr_storage *from)
{
    struct in6_addr address = { 0 };
    if (from->ss_family == AF_INET6) {
        address = ((const struct sockaddr_in6 *)(const void *)from)->sin6_addr;
    } else if (from->ss_family == AF_INET) {
        memset(address.s6_addr + 10, 0xFF, 2);
        memcpy(address.s6_addr + 12,
               &((const struct sockaddr_in *)(const void *)from)->sin_addr, 4);
    }
    return address;
}

const char *http_peer_address(const struct peer *peer, struct cn_arena *arena)
{
    static const uint8_t V4_MAPPED[12] = { [10] = 0xFF, [11] = 0xFF };
    const uint8_t *bytes = peer->address.s6_addr;
    char text[INET6_ADDRSTRLEN] = "";
    bool is_v4 = memcmp(bytes, V4_MAPPED, sizeof(V4_MAPPED)) == 0;
    (void)inet_ntop(is_v4 ? AF_INET : AF_INET6, is_v4 ? bytes + 12 : bytes,
                    text, sizeof(text));
    return cn_arena_strdup(arena, text);
}

static bool s_has_room_for(const struct cn_http *self,
                           const struct in6_addr *address)
{
    unsigned count = 0;
    if (self->config.connections_per_ip == 0) {
        return true;
    }
    for (const struct peer *peer = self->peers; peer != NULL;
         peer = peer->next) {
        count += memcmp(&peer->address, address, sizeof(*address)) == 0 ? 1 : 0;
    }
    return count < self->config.connections_per_ip;
}

static void
s_peer_new(struct cn_http *self, int fd, const struct sockaddr_storage *from)
{
    struct in6_addr address = s_peer_address(from);
    struct peer *peer =
        s_has_room_for(self, &address) ? calloc(1, sizeof(*peer)) : NULL;
    if (peer != NULL) {
        *peer = (struct peer){ .http = self,
                               .fd = fd,
                               .address = address,
                               .events = CN_READABLE,
                               .pair = -1,
                               .theirs = -1 };
        peer->watch =
            cn_loop_watch(self->env->loop, fd, CN_READABLE, s_on_client, peer);
    }
    if (peer == NULL || peer->watch == NULL) {
        free(peer);
        (void)close(fd);
        return;
    }
    peer->deadline_at = self->draining ? self->idle_until_at
                                       : cn_clock_monotonic() + HTTP_HEAD_US;
    peer->next = self->peers;
    if (peer->next != NULL) {
        peer->next->previous = peer;
    }
    self->peers = peer;
    self->connections++;
}

/* Accepts one client. False: nobody waits, or there is no room. */
static bool s_accept(struct cn_http *self)
{
    struct sockaddr_storage from = { 0 };
    socklen_t size = sizeof(from);
    int fd = -1;
    if (self->connections < self->slot_count) {
        fd = accept4(self->listener, (struct sockaddr *)&from, &size,
                     SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 &&
            (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR)) {
            return false;
        }
    }
    if (fd < 0) {
        /* Until a connection ends, or the next sweep. */
        if (self->door != NULL) {
            cn_loop_watch_events(self->door, 0);
        }
        return false;
    }
    s_peer_new(self, fd, &from);
    return true;
}

static void s_on_door(void *arg, unsigned events)
{
    (void)events;
    for (int i = 0; i < ACCEPT_MAX && s_accept(arg); i++) {
    }
}

enum cn_code http_door_open(struct cn_http *self, struct cn_err *err)
{
    enum cn_code rc =
        cn_listen_open(self->config.listen, &self->listener, &self->port, err);
    if (rc != CN_OK) {
        return rc;
    }
    self->door = cn_loop_watch(self->env->loop, self->listener, CN_READABLE,
                               s_on_door, self);
    return self->door != NULL ? CN_OK : cn_fail(err, CN_NOMEM, "no memory");
}

void http_door_close(struct cn_http *self)
{
    if (self->listener < 0) {
        return;
    }
    cn_loop_unwatch(self->door);
    self->door = NULL;
    if (cn_fiber_running()) {
        cn_listen_turn_away(self->listener);
        (void)!cn_fiber_sleep(DOOR_US);
        while (s_accept(self)) {
        }
    }
    (void)close(self->listener);
    self->listener = -1;
}

/* ---- deadlines ---- */

void http_peers_sweep(struct cn_http *self)
{
    int64_t now_at = cn_clock_monotonic();
    if (self->door != NULL) {
        cn_loop_watch_events(self->door, CN_READABLE);
    }
    for (struct peer *peer = self->peers, *next = NULL; peer != NULL;
         peer = next) {
        next = peer->next;
        if (peer->deadline_at <= now_at && self->draining &&
            peer->slot == NULL && !peer->ending) {
            /* At a stop, a request that came in the last moment is still
             * answered. */
            s_peer_receive(peer);
        }
        if (peer->fd >= 0 && peer->deadline_at <= now_at) {
            http_peer_close(peer);
        }
    }
}
