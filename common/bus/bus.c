/* SPDX-License-Identifier: Apache-2.0 */
/* The bus: its sockets and their options, keys and peers, and its hook in the
 * loop. Calls are in bus_client.c, requests in bus_server.c. */
#include "common/bus/bus.h"

#include "common/base/array.h"
#include "common/bus/bus_internal.h"
#include "common/loop/metrics.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char ZAP_DOMAIN[] = "cairn";

/* --- sockets --- */

struct option {
    int name;
    int value;
    const char *text;
};

/* libzmq's defaults are unlimited messages, endless linger and a reconnect
 * every 100 ms. ZMQ_HEARTBEAT_* is never set: with it libzmq 4.3.4 can abort
 * the whole process (measured). */
static const struct option OPTIONS[] = {
    { ZMQ_LINGER, 0, "LINGER" },
    { ZMQ_SNDHWM, BUS_HWM, "SNDHWM" },
    { ZMQ_RCVHWM, BUS_HWM, "RCVHWM" },
    { ZMQ_SNDTIMEO, 0, "SNDTIMEO" },
    { ZMQ_RCVTIMEO, 0, "RCVTIMEO" },
    { ZMQ_HANDSHAKE_IVL, 5000, "HANDSHAKE_IVL" },
    { ZMQ_CONNECT_TIMEOUT, 2000, "CONNECT_TIMEOUT" },
    { ZMQ_RECONNECT_IVL, 100, "RECONNECT_IVL" },
    { ZMQ_RECONNECT_IVL_MAX, 5000, "RECONNECT_IVL_MAX" },
    { ZMQ_TCP_KEEPALIVE, 1, "TCP_KEEPALIVE" },
    { ZMQ_TCP_KEEPALIVE_IDLE, 30, "TCP_KEEPALIVE_IDLE" },
    { ZMQ_TCP_KEEPALIVE_INTVL, 10, "TCP_KEEPALIVE_INTVL" },
    { ZMQ_TCP_KEEPALIVE_CNT, 3, "TCP_KEEPALIVE_CNT" },
};

/* ROUTER_MANDATORY: a send to a full or vanished peer fails at once; without it
 * libzmq drops the message in silence. */
static const struct option ROUTER_OPTIONS[] = {
    { ZMQ_ROUTER_MANDATORY, 1, "ROUTER_MANDATORY" },
    { ZMQ_CURVE_SERVER, 1, "CURVE_SERVER" },
    { ZMQ_ZAP_ENFORCE_DOMAIN, 1, "ZAP_ENFORCE_DOMAIN" },
};

static const struct option DEALER_OPTIONS[] = {
    { ZMQ_IMMEDIATE, 1, "IMMEDIATE" },
};

static enum cn_code s_option_set(void *zmq,
                                 int option,
                                 const void *value,
                                 size_t size,
                                 const char *text,
                                 struct cn_err *err)
{
    if (zmq_setsockopt(zmq, option, value, size) != 0) {
        return cn_fail(err, CN_INTERNAL, "socket option %s: %s", text,
                       zmq_strerror(zmq_errno()));
    }
    return CN_OK;
}

static enum cn_code s_set_all(void *zmq,
                              const struct option *options,
                              size_t count,
                              struct cn_err *err)
{
    for (size_t i = 0; i < count; i++) {
        enum cn_code rc =
            s_option_set(zmq, options[i].name, &options[i].value,
                         sizeof(options[i].value), options[i].text, err);
        if (rc != CN_OK) {
            return rc;
        }
    }
    return CN_OK;
}

static enum cn_code
s_set_router(const struct cn_bus *bus, void *zmq, struct cn_err *err)
{
    enum cn_code rc =
        s_set_all(zmq, ROUTER_OPTIONS, CN_COUNT(ROUTER_OPTIONS), err);
    if (rc == CN_OK) {
        rc = s_option_set(zmq, ZMQ_ZAP_DOMAIN, ZAP_DOMAIN, strlen(ZAP_DOMAIN),
                          "ZAP_DOMAIN", err);
    }
    if (rc == CN_OK) {
        rc = s_option_set(zmq, ZMQ_CURVE_SECRETKEY, bus->secret_key,
                          sizeof(bus->secret_key), "CURVE_SECRETKEY", err);
    }
    return rc;
}

static enum cn_code s_set_dealer(const struct cn_bus *bus,
                                 void *zmq,
                                 const char *server_key,
                                 struct cn_err *err)
{
    enum cn_code rc =
        s_set_all(zmq, DEALER_OPTIONS, CN_COUNT(DEALER_OPTIONS), err);
    if (rc == CN_OK) {
        rc = s_option_set(zmq, ZMQ_CURVE_SERVERKEY, server_key, CN_BUS_KEY_SIZE,
                          "CURVE_SERVERKEY", err);
    }
    if (rc == CN_OK) {
        rc = s_option_set(zmq, ZMQ_CURVE_PUBLICKEY, bus->public_key,
                          sizeof(bus->public_key), "CURVE_PUBLICKEY", err);
    }
    if (rc == CN_OK) {
        rc = s_option_set(zmq, ZMQ_CURVE_SECRETKEY, bus->secret_key,
                          sizeof(bus->secret_key), "CURVE_SECRETKEY", err);
    }
    return rc;
}

enum cn_code bus_socket_open(struct cn_bus *bus,
                             struct bus_socket *socket,
                             int type,
                             const char *server_key,
                             struct cn_err *err)
{
    /* Not an int: libzmq would refuse it and messages would stay unlimited. One
     * peer without a key then grew a server to 926 MB (measured). */
    const int64_t size_max = BUS_FRAME_MAX;
    assert(socket->zmq == NULL && (type == ZMQ_DEALER) == (server_key != NULL));
    socket->bus = bus;
    socket->zmq = zmq_socket(bus->ctx, type);
    if (socket->zmq == NULL) {
        return cn_fail(err, CN_UNAVAILABLE, "socket: %s",
                       zmq_strerror(zmq_errno()));
    }
    enum cn_code rc = s_option_set(socket->zmq, ZMQ_MAXMSGSIZE, &size_max,
                                   sizeof(size_max), "MAXMSGSIZE", err);
    if (rc == CN_OK) {
        rc = s_set_all(socket->zmq, OPTIONS, CN_COUNT(OPTIONS), err);
    }
    if (rc == CN_OK && type == ZMQ_ROUTER) {
        rc = s_set_router(bus, socket->zmq, err);
    }
    if (rc == CN_OK && type == ZMQ_DEALER) {
        rc = s_set_dealer(bus, socket->zmq, server_key, err);
    }
    if (rc != CN_OK) {
        bus_socket_close(socket);
    }
    return rc;
}

enum cn_code bus_socket_ipv6(struct bus_socket *socket, struct cn_err *err)
{
    const int on = 1;
    return s_option_set(socket->zmq, ZMQ_IPV6, &on, sizeof(on), "IPV6", err);
}

static void s_socket_ready(void *arg, unsigned events)
{
    struct bus_socket *socket = arg;
    (void)events;
    socket->dirty = true;
}

enum cn_code bus_socket_watch(struct bus_socket *socket, struct cn_err *err)
{
    int fd = -1;
    size_t size = sizeof(fd);
    if (zmq_getsockopt(socket->zmq, ZMQ_FD, &fd, &size) != 0) {
        return cn_fail(err, CN_INTERNAL, "socket fd: %s",
                       zmq_strerror(zmq_errno()));
    }
    socket->watch = cn_loop_watch(socket->bus->env->loop, fd, CN_READABLE,
                                  s_socket_ready, socket);
    if (socket->watch == NULL) {
        return cn_fail(err, CN_UNAVAILABLE, "socket: the loop takes no more");
    }
    bus_socket_touch(socket);
    return CN_OK;
}

void bus_socket_close(struct bus_socket *socket)
{
    cn_loop_unwatch(socket->watch);
    socket->watch = NULL;
    socket->dirty = false;
    if (socket->zmq != NULL) {
        (void)zmq_close(socket->zmq);
        socket->zmq = NULL;
    }
}

void bus_socket_touch(struct bus_socket *socket)
{
    if (!socket->dirty) {
        socket->dirty = true;
        /* The fd may not become readable again: this turn must not sleep. */
        cn_loop_wake_by(socket->bus->env->loop, 0);
    }
}

/* --- frames --- */

/* False when there is no frame. Any other failure is a bug of ours. */
static bool s_frame_receive(struct bus_socket *socket, zmq_msg_t *frame)
{
    for (;;) {
        if (zmq_msg_recv(frame, socket->zmq, ZMQ_DONTWAIT) >= 0) {
            return true;
        }
        if (zmq_errno() != EINTR) {
            assert(zmq_errno() == EAGAIN);
            return false;
        }
    }
}

size_t bus_receive(struct bus_socket *socket, zmq_msg_t *frames, size_t max)
{
    size_t count = 0;
    bool more = true;
    while (more) {
        zmq_msg_t extra;
        zmq_msg_t *frame = count < max ? &frames[count] : &extra;
        (void)zmq_msg_init(frame);
        if (!s_frame_receive(socket, frame)) {
            (void)zmq_msg_close(frame);
            break;
        }
        more = zmq_msg_more(frame) != 0;
        if (count >= max) {
            (void)zmq_msg_close(frame);
        }
        count++;
    }
    return count;
}

void bus_frames_close(zmq_msg_t *frames, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        (void)zmq_msg_close(&frames[i]);
    }
}

bool bus_send(struct bus_socket *socket, zmq_msg_t *frame, bool more)
{
    int flags = ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0);
    while (zmq_msg_send(frame, socket->zmq, flags) < 0) {
        int error = zmq_errno();
        if (error != EINTR) {
            (void)zmq_msg_close(frame);
            errno = error;
            return false;
        }
    }
    return true;
}

bool bus_frame_bytes(zmq_msg_t *frame, const void *data, size_t size)
{
    if (zmq_msg_init_size(frame, size) != 0) {
        return false;
    }
    if (size > 0) {
        memcpy(zmq_msg_data(frame), data, size);
    }
    return true;
}

bool bus_frame_pack(zmq_msg_t *frame, const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    if (zmq_msg_init_size(frame, size) != 0) {
        return false;
    }
    size_t packed = protobuf_c_message_pack(message, zmq_msg_data(frame));
    assert(packed == size);
    return true;
}

struct cn_bytes bus_frame_view(zmq_msg_t *frame)
{
    return (struct cn_bytes){ .data = zmq_msg_data(frame),
                              .size = zmq_msg_size(frame) };
}

static void s_frame_release(void *handle)
{
    (void)zmq_msg_close(handle);
}

bool bus_frame_keep(zmq_msg_t *frame,
                    struct cn_arena *arena,
                    struct cn_bytes *ret_bytes)
{
    struct cn_bytes view = bus_frame_view(frame);
    if (view.size <= BUS_COPY_MAX) {
        void *copy = cn_arena_copy(arena, view.data, view.size);
        (void)zmq_msg_close(frame);
        *ret_bytes = (struct cn_bytes){ .data = copy, .size = view.size };
        return !cn_arena_failed(arena);
    }
    zmq_msg_t *kept = cn_arena_alloc(arena, sizeof(*kept));
    (void)zmq_msg_init(kept);
    (void)zmq_msg_move(kept, frame);
    (void)zmq_msg_close(frame);
    if (!cn_arena_defer(arena, s_frame_release, kept)) {
        return false;
    }
    *ret_bytes = bus_frame_view(kept);
    return true;
}

bool bus_id_peek(struct cn_bytes header, uint64_t *ret_id)
{
    uint64_t id = 0;
    if (header.size < 2 || header.size > BUS_HEADER_MAX ||
        header.data[0] != 0x08) {
        return false;
    }
    for (size_t i = 1; i < header.size && i <= 10; i++) {
        id |= (uint64_t)(header.data[i] & 0x7f) << (7 * (i - 1));
        if ((header.data[i] & 0x80) == 0) {
            *ret_id = id;
            return true;
        }
    }
    return false;
}

/* --- keys and peers --- */

bool cn_bus_keypair(char public_key[CN_BUS_KEY_SIZE],
                    char secret_key[CN_BUS_KEY_SIZE])
{
    return zmq_curve_keypair(public_key, secret_key) == 0;
}

bool cn_bus_public_key(const char *secret_key, char public_key[CN_BUS_KEY_SIZE])
{
    uint8_t bytes[BUS_KEY_BYTES];
    if (secret_key == NULL || strlen(secret_key) != CN_BUS_KEY_SIZE - 1 ||
        zmq_z85_decode(bytes, secret_key) == NULL) {
        return false;
    }
    explicit_bzero(bytes, sizeof(bytes));
    return zmq_curve_public(public_key, secret_key) == 0;
}

const struct bus_peer *bus_peer_find(const struct cn_bus *bus, const char *name)
{
    for (size_t i = 0; name != NULL && i < bus->peer_count; i++) {
        if (strcmp(bus->peers[i].name, name) == 0) {
            return &bus->peers[i];
        }
    }
    return NULL;
}

/* "name=key" of the given size. */
static enum cn_code s_peer_add(struct cn_bus *bus,
                               const char *text,
                               size_t size,
                               struct cn_err *err)
{
    const char *equals = memchr(text, '=', size);
    size_t name_size = equals != NULL ? (size_t)(equals - text) : 0;
    if (name_size == 0 || name_size >= BUS_NAME_SIZE) {
        return cn_fail(err, CN_INVALID, "peer %zu is not name=key",
                       bus->peer_count + 1);
    }
    if (bus->peer_count == CN_BUS_PEERS_MAX) {
        return cn_fail(err, CN_INVALID, "more than %d peers", CN_BUS_PEERS_MAX);
    }
    struct bus_peer *peer = &bus->peers[bus->peer_count];
    memcpy(peer->name, text, name_size);
    peer->name[name_size] = '\0';
    if (size - name_size - 1 != CN_BUS_KEY_SIZE - 1) {
        return cn_fail(err, CN_INVALID, "the key of peer %s is not 40 bytes",
                       peer->name);
    }
    memcpy(peer->public_key, equals + 1, CN_BUS_KEY_SIZE - 1);
    peer->public_key[CN_BUS_KEY_SIZE - 1] = '\0';
    if (zmq_z85_decode(peer->key, peer->public_key) == NULL) {
        return cn_fail(err, CN_INVALID, "the key of peer %s is not Z85",
                       peer->name);
    }
    bus->peer_count++;
    return CN_OK;
}

static enum cn_code
s_peers_read(struct cn_bus *bus, const char *text, struct cn_err *err)
{
    while (text != NULL && text[0] != '\0') {
        size_t size = strcspn(text, ",");
        enum cn_code rc = s_peer_add(bus, text, size, err);
        if (rc != CN_OK) {
            return rc;
        }
        text += size + (text[size] == ',' ? 1 : 0);
    }
    return CN_OK;
}

/* A peer may be listed twice, with two keys, while its keys are rotated. */
static enum cn_code
s_fronts_read(struct cn_bus *bus, const char *text, struct cn_err *err)
{
    while (text != NULL && text[0] != '\0') {
        size_t size = strcspn(text, ",");
        bool known = false;
        for (size_t i = 0; i < bus->peer_count; i++) {
            struct bus_peer *peer = &bus->peers[i];
            if (strlen(peer->name) == size &&
                memcmp(peer->name, text, size) == 0) {
                peer->front = true;
                known = true;
            }
        }
        if (!known) {
            return cn_fail(err, CN_INVALID, "front %.*s is not among the peers",
                           (int)(size < BUS_NAME_SIZE ? size : BUS_NAME_SIZE),
                           text);
        }
        text += size + (text[size] == ',' ? 1 : 0);
    }
    return CN_OK;
}

/* --- the bus --- */

static bool s_bus_prepare(void *arg)
{
    struct cn_bus *self = arg;
    bool served = bus_server_drain(self);
    bool called = bus_client_drain(self);
    return served || called;
}

static enum cn_code s_bus_init(struct cn_bus *self,
                               const struct cn_bus_config *config,
                               struct cn_err *err)
{
    size_t name_size = config->name != NULL ? strlen(config->name) : 0;
    if (name_size == 0 || name_size >= sizeof(self->name)) {
        return cn_fail(err, CN_INVALID, "the bus needs a short name");
    }
    memcpy(self->name, config->name, name_size + 1);
    if (!cn_bus_public_key(config->secret_key, self->public_key)) {
        return cn_fail(err, CN_INVALID,
                       "the secret key is not 40 bytes of Z85");
    }
    memcpy(self->secret_key, config->secret_key, sizeof(self->secret_key));
    enum cn_code rc = s_peers_read(self, config->peers, err);
    if (rc == CN_OK) {
        rc = s_fronts_read(self, config->fronts, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    self->ctx = zmq_ctx_new();
    self->ops = calloc(BUS_CALLS_MAX, sizeof(*self->ops));
    if (self->ctx == NULL || self->ops == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory for the bus");
    }
    if (config->bind != NULL) {
        rc = bus_server_init(self, config, err);
    }
    if (rc == CN_OK) {
        rc = cn_loop_prepare(self->env->loop, s_bus_prepare, self, err);
        self->hooked = rc == CN_OK;
    }
    return rc;
}

enum cn_code cn_bus_new(struct cn_env *env,
                        const struct cn_bus_config *config,
                        struct cn_bus **ret_bus,
                        struct cn_err *err)
{
    struct cn_bus *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory for the bus");
    }
    self->env = env;
    bus_list_init(&self->ops_free);
    enum cn_code rc = s_bus_init(self, config, err);
    if (rc != CN_OK) {
        cn_bus_free(self);
        return rc;
    }
    cn_metrics_register(bus_metrics, self);
    *ret_bus = self;
    return CN_OK;
}

void cn_bus_free(struct cn_bus *self)
{
    if (self == NULL) {
        return;
    }
    cn_metrics_forget(self);
    if (self->hooked) {
        cn_loop_unprepare(self->env->loop, s_bus_prepare, self);
    }
    bus_client_done(self);
    bus_server_done(self);
    if (self->ctx != NULL) {
        while (zmq_ctx_term(self->ctx) != 0 && zmq_errno() == EINTR) {
        }
    }
    free(self->ops);
    explicit_bzero(self->secret_key, sizeof(self->secret_key));
    free(self);
}

const struct cn_bus_stats *cn_bus_stats(const struct cn_bus *self)
{
    return &self->stats;
}
