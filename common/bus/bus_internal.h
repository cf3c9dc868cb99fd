/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the bus share. bus.c: sockets, keys, the loop's hook.
 * bus_endpoint.c: the addresses of a service; bus_resolve.c: the thread that
 * looks names up. bus_replica.c: one DEALER and its health; bus_client.c: the
 * choice among replicas; bus_call.c: one call. bus_server.c: requests and
 * replies; bus_age.c: how old requests are; bus_zap.c: who may connect.
 * bus_metrics.c: metrics. */
#ifndef CN_BUS_INTERNAL_H
#define CN_BUS_INTERNAL_H

#include "common/base/clock.h"
#include "common/bus/bus.h"
#include "common/loop/fiber.h"
#include "common/loop/loop.h"
#include "common/wire/message.h"

#include <pthread.h>
#include <zmq.h>

#include "cairn/envelope.pb-c.h"

/* zmq.h shows this only with the draft API; the stable library takes it. */
#ifndef ZMQ_ZAP_ENFORCE_DOMAIN
#define ZMQ_ZAP_ENFORCE_DOMAIN 93
#endif

enum {
    BUS_HEADER_MAX = 32 << 10,                        /* bytes of a header */
    BUS_FRAME_MAX = CN_MESSAGE_SIZE_MAX + (64 << 10), /* on the wire */
    BUS_HWM = 1000,                                   /* messages per peer */
    BUS_DRAIN_MAX = 256, /* messages of one socket in one turn of the loop */
    BUS_COPY_MAX = 4096, /* a smaller body is copied, a larger one is kept */
    BUS_NAME_SIZE = 32,
    BUS_ADDRESS_SIZE = 128,
    BUS_ROUTING_MAX = 16, /* bytes of a routing id; libzmq's own have 5 */
    BUS_KEY_BYTES = 32,
    BUS_HOST_SIZE = 256,
    BUS_PORT_SIZE = 8,
    BUS_ANSWER_MAX = 128,  /* addresses of one name */
    BUS_CALLERS_MAX = 256, /* connections to a server that are remembered */
    BUS_CALLS_MAX = CN_FIBERS_MAX,
    BUS_REMAKE_MS = 100 /* a socket lives at least so long */
};

/* A replica whose ping has been unanswered for two intervals is down; so a
 * process that stops just after a pong is seen after three. 10 ms less, for the
 * timer's slack. */
#define BUS_SILENCE_US ((int64_t)2000 * CN_BUS_PING_INTERVAL_MS - 10000)
/* When a tick is so late, this process itself did not run, and answers may lie
 * unread: the tick calls no replica down. The next one comes after BUS_SOON_US.
 */
#define BUS_LATE_US ((int64_t)100000)
#define BUS_SOON_US ((int64_t)50000)
/* A request that was so long on the way is refused. */
#define BUS_STALE_US CN_SECOND
/* How long a connection may stand without a first answer. */
#define BUS_MUTE_US (5 * CN_SECOND)
/* Between two look-ups of a name: normally, while a replica is missing, and
 * while none is known. */
#define BUS_LOOKUP_US       (5 * CN_SECOND)
#define BUS_LOOKUP_SOON_US  CN_SECOND
#define BUS_LOOKUP_FIRST_US (CN_SECOND / 4)
/* How long the calls under way at an address that vanished may take. */
#define BUS_LEAVE_US (10 * CN_SECOND)
/* A call waits no longer for a replica with credit. A service that its
 * supervisor restarts is back sooner. */
#define BUS_WAIT_US CN_SECOND
/* The longest budget; a hostile one must not overflow the clock. */
#define BUS_BUDGET_MAX (5 * CN_MINUTE)

/* A key that may connect or is called. */
struct bus_peer {
    char name[BUS_NAME_SIZE];
    char public_key[CN_BUS_KEY_SIZE];
    uint8_t key[BUS_KEY_BYTES];
    bool front; /* its principal is believed */
};

/* ZMQ_FD becomes readable once when something changed. So a socket is read
 * until EAGAIN when its fd became readable, and after each send, since a send
 * may consume the change; otherwise there is nothing to read. */
struct bus_socket {
    struct cn_bus *bus;
    void *zmq; /* NULL: closed */
    struct cn_watch *watch;
    bool dirty;
};

struct bus_link {
    struct bus_link *prev;
    struct bus_link *next;
};

enum bus_call_state {
    BUS_CALL_FREE,
    BUS_CALL_WAITING,  /* in service->waiters */
    BUS_CALL_ASSIGNED, /* in replica->calls */
    BUS_CALL_ANSWERED, /* header and body hold the reply */
    BUS_CALL_LOST      /* its replica went down */
};

/* A call under way. Its fiber may leave at any time: then a late reply finds no
 * call of its id. */
struct bus_op {
    struct bus_link link; /* first */
    uint64_t id;          /* counter of tries above the slot in the pool */
    struct cn_token token;
    struct bus_replica *replica;
    enum bus_call_state state;
    bool sent;
    bool long_poll;
    uint32_t full; /* bits of the replicas that answered BUSY */
    zmq_msg_t header;
    zmq_msg_t body;
};

/* One numeric address of a service and the DEALER that is connected to it. */
struct bus_replica {
    struct bus_service *service;
    char address[BUS_ADDRESS_SIZE];
    uint32_t bit;      /* among the replicas of the service */
    uint32_t named_by; /* bits of the endpoints that lead to the address */
    struct bus_socket dealer;
    struct bus_socket monitor;
    int64_t made_at;  /* when the DEALER was made */
    int64_t heard_at; /* last message, or the handshake */
    int64_t asked_at; /* the oldest ping since then; 0: none */
    int64_t leave_by; /* no endpoint has the address any more; 0: one has */
    bool connected;   /* by TCP */
    bool greeted;     /* the handshake is done */
    bool up;          /* and it answered a ping */
    bool healthy;
    bool stopping;  /* it takes no more calls */
    unsigned queue; /* as its last ping said */
    struct bus_link calls;
    unsigned outstanding; /* calls without the long polls */
    unsigned polls;
};

/* "tcp://host:port" as it was configured. */
struct bus_endpoint {
    char host[BUS_HOST_SIZE];
    char port[BUS_PORT_SIZE];
    bool numeric;     /* needs no look-up */
    bool failed;      /* the last look-up */
    int64_t asked_at; /* the last look-up */
    int64_t ask_at;   /* the next one */
};

/* A service that is called. */
struct bus_service {
    struct cn_bus *bus;
    const struct bus_peer *peer;
    struct bus_endpoint endpoints[CN_BUS_ENDPOINTS_MAX];
    size_t endpoint_count;
    struct bus_replica *replicas[CN_BUS_ENDPOINTS_MAX];
    size_t replica_count;
    size_t next; /* where the search for the least busy begins */
    struct bus_link waiters;
    unsigned waiting;
};

/* What the thread is asked and answers: bytes over a socket pair, and nothing
 * else is shared. */
struct bus_question {
    char host[BUS_HOST_SIZE];
    char port[BUS_PORT_SIZE];
};
struct bus_answer {
    int error; /* of getaddrinfo; 0: the addresses are all there are */
    bool more; /* addresses than fit */
    unsigned count;
    char addresses[BUS_ANSWER_MAX][BUS_ADDRESS_SIZE]; /* "tcp://[::1]:7001" */
};

/* The thread, from the loop's side. */
struct bus_resolver {
    pthread_t thread;
    int fd; /* only while it runs */
    struct cn_watch *watch;
    bool running;
    bool asked; /* and not answered */
    struct bus_service *service;
    struct bus_endpoint *endpoint;
};

/* A connection to a server. */
struct bus_caller {
    uint8_t routing[BUS_ROUTING_MAX];
    uint8_t routing_size;
    uint64_t ping;   /* id of its last ping */
    int64_t seen_at; /* its last message */
    int64_t least;   /* least difference of our clock and its own at the send */
};

/* Where a reply goes. */
struct cn_bus_return {
    struct cn_bus_return *next_free;
    uint64_t id;
    uint8_t routing[BUS_ROUTING_MAX];
    uint8_t routing_size;
    bool open;
};

struct cn_bus {
    struct cn_env *env;
    void *ctx;
    char name[BUS_NAME_SIZE];
    char public_key[CN_BUS_KEY_SIZE];
    char secret_key[CN_BUS_KEY_SIZE];
    struct bus_peer peers[CN_BUS_PEERS_MAX];
    size_t peer_count;
    bool hooked;
    struct cn_bus_stats stats;

    /* server */
    char address[BUS_ADDRESS_SIZE];
    struct bus_socket zap;
    struct bus_socket router;
    int64_t replied_at; /* the last reply; 0: none yet */
    void (*on_request)(void *arg, struct cn_bus_request *request);
    void *on_request_arg;
    bool (*healthy)(void *arg);
    void *healthy_arg;
    unsigned queue_max;
    struct cn_bus_return *returns; /* queue_max of them */
    struct cn_bus_return *returns_free;
    struct bus_caller *callers; /* BUS_CALLERS_MAX */
    size_t caller_count;
    int told; /* the phase (s_phase) that the callers know of */

    /* client */
    struct bus_service *services[CN_BUS_PEERS_MAX];
    size_t service_count;
    struct bus_op *ops; /* BUS_CALLS_MAX, touched only as far as used */
    struct bus_link ops_free;
    unsigned ops_used;
    uint64_t ids;
    unsigned monitors; /* made so far; names them */
    struct cn_timer *tick;
    int64_t tick_at; /* when it is due */
    struct bus_resolver resolver;
};

/* bus.c: sockets */

/* The one constructor: every option of every socket is set here. server_key is
 * that of the service a DEALER calls, else NULL. */
CN_CHECKED enum cn_code bus_socket_open(struct cn_bus *bus,
                                        struct bus_socket *socket,
                                        int type,
                                        const char *server_key,
                                        struct cn_err *err);
/* Before a socket is bound or connected to an IPv6 address. */
CN_CHECKED enum cn_code bus_socket_ipv6(struct bus_socket *socket,
                                        struct cn_err *err);
/* Watches the socket's fd, once it is bound or connected. */
CN_CHECKED enum cn_code bus_socket_watch(struct bus_socket *socket,
                                         struct cn_err *err);
void bus_socket_close(struct bus_socket *socket);
/* Called before every send: the send may consume the change of ZMQ_FD. */
void bus_socket_touch(struct bus_socket *socket);

/* bus.c: frames */

/* Reads one message. Frames beyond max are dropped. Returns how many frames it
 * had, 0 when there is none; close min(max, that) with bus_frames_close. */
size_t bus_receive(struct bus_socket *socket, zmq_msg_t *frames, size_t max);
void bus_frames_close(zmq_msg_t *frames, size_t count);
/* Sends a frame and closes it. False with errno set when it did not go. */
CN_CHECKED bool
bus_send(struct bus_socket *socket, zmq_msg_t *frame, bool more);
/* A frame with these bytes, or with this message packed. False: no memory. */
CN_CHECKED bool
bus_frame_bytes(zmq_msg_t *frame, const void *data, size_t size);
CN_CHECKED bool bus_frame_pack(zmq_msg_t *frame,
                               const ProtobufCMessage *message);
struct cn_bytes bus_frame_view(zmq_msg_t *frame);
/* Gives the frame's bytes to the arena. The frame is closed in any case.
 * False: no memory. */
CN_CHECKED bool bus_frame_keep(zmq_msg_t *frame,
                               struct cn_arena *arena,
                               struct cn_bytes *ret_bytes);

/* The id of a packed header. Our packer writes it first, so it can be read
 * before there is an arena for the rest. False: no id, or the header is too
 * large. */
CN_CHECKED bool bus_id_peek(struct cn_bytes header, uint64_t *ret_id);

/* bus.c: peers */

const struct bus_peer *bus_peer_find(const struct cn_bus *bus,
                                     const char *name);

/* bus_client.c: services and their calls */

/* Each drain reads what has come; true when there was something. */
bool bus_client_drain(struct cn_bus *bus);
void bus_client_done(struct cn_bus *bus);
/* NULL when the service is not connected. */
struct bus_service *bus_service_find(const struct cn_bus *bus,
                                     const char *name);
bool bus_any_up(const struct bus_service *service);
/* A live replica with credit that is not in op->full: a healthy one first, then
 * the least busy, equal ones in turn. NULL: none. */
struct bus_replica *bus_pick(struct bus_service *service,
                             const struct bus_op *op);
/* Begins to ping. */
CN_CHECKED enum cn_code bus_tick_start(struct cn_bus *bus, struct cn_err *err);
/* Gives free replicas to the calls that wait, in their order. */
void bus_grant(struct bus_service *service);
/* NULL when all are in use. */
struct bus_op *bus_op_take(struct cn_bus *bus);
void bus_op_give(struct bus_service *service, struct bus_op *op);
/* A new id for the next try: replies to the old one find nothing. */
uint64_t bus_op_renew(struct cn_bus *bus, struct bus_op *op);
uint64_t bus_ping_id(struct cn_bus *bus);
/* The call of an id; NULL when there is none. *ret_ping: a ping's id. */
struct bus_op *bus_op_find(struct cn_bus *bus, uint64_t id, bool *ret_ping);
void bus_op_drop_reply(struct bus_op *op);
/* Takes the call out of the waiters or from its replica, whose credit goes to
 * the next. */
void bus_op_leave(struct bus_service *service, struct bus_op *op);
void bus_assign(struct bus_op *op, struct bus_replica *replica);
/* A reply said that the replica is stopping; the replica may be gone by now. */
void bus_stops(struct bus_service *service, const struct bus_replica *replica);

/* bus_replica.c */

/* Makes the replica and begins to connect. */
CN_CHECKED enum cn_code bus_replica_new(struct bus_service *service,
                                        const char *address,
                                        uint32_t named_by,
                                        struct cn_err *err);
/* Its calls are lost. Never from inside bus_client_drain. */
void bus_replica_free(struct bus_replica *replica);
bool bus_replica_drain(struct bus_replica *replica);
/* Takes it for down when it was silent for too long (unless `late`), and pings
 * it. */
void bus_replica_tick(struct bus_replica *replica, int64_t now, bool late);
/* False: nothing of the message will be delivered. */
CN_CHECKED bool bus_replica_send(struct bus_replica *replica,
                                 Env__RequestHeader *header,
                                 struct cn_bytes body);
/* Its calls are lost, and their fibers woken. The DEALER is made anew: it would
 * deliver all that it still holds when the replica returns. why is for the log.
 */
void bus_replica_down(struct bus_replica *replica, const char *why);
/* The replica said that it is stopping: it gets no more calls. */
void bus_replica_stops(struct bus_replica *replica);
/* Does it take calls? */
bool bus_replica_serves(const struct bus_replica *replica);

/* bus_endpoint.c: the addresses of a service */

/* Looks the service's names up soon, because a replica has changed. */
void bus_discover(struct bus_service *service);
/* Starts the look-up that is due, and closes replicas that have left. */
void bus_discover_tick(struct cn_bus *bus, int64_t now);
/* Takes the answer to the last question. */
void bus_discovered(struct cn_bus *bus, const struct bus_answer *answer);

/* bus_resolve.c */

/* One question at a time. The loop gives its answer to bus_discovered. */
CN_CHECKED enum cn_code bus_resolve_ask(struct cn_bus *bus,
                                        const struct bus_question *question,
                                        struct cn_err *err);
/* Ends the thread, or lets go of it while libc does not return. */
void bus_resolve_done(struct cn_bus *bus);

/* bus_zap.c */

/* Before the ROUTER is bound: without a ZAP handler libzmq accepts any key. */
CN_CHECKED enum cn_code bus_zap_init(struct cn_bus *bus, struct cn_err *err);
bool bus_zap_drain(struct cn_bus *bus);

/* bus_age.c */

/* How long a message was on the way; it may lie in buffers of the kernel while
 * one of the two processes stands still. The clocks of two machines have no
 * common zero, but their difference stays the same: what exceeds the least
 * difference seen on this connection is time on the way. The least rises by a
 * thousandth of the time, since clocks do not run equally fast. A connection
 * begins with a ping, and requests follow only when it was answered in time. */
int64_t bus_age(struct cn_bus *bus,
                zmq_msg_t *routing,
                const Env__RequestHeader *header);

/* bus_server.c */

CN_CHECKED enum cn_code bus_server_init(struct cn_bus *bus,
                                        const struct cn_bus_config *config,
                                        struct cn_err *err);
bool bus_server_drain(struct cn_bus *bus);
void bus_server_done(struct cn_bus *bus);

/* bus_metrics.c */

struct cn_metrics_page;
/* A source for common/loop/metrics.h; arg is the bus. */
void bus_metrics(void *arg, struct cn_metrics_page *page);

/* Intrusive lists. */
static inline void bus_list_init(struct bus_link *list)
{
    list->prev = list;
    list->next = list;
}
static inline bool bus_list_empty(const struct bus_link *list)
{
    return list->next == list;
}
static inline void bus_list_append(struct bus_link *list, struct bus_link *link)
{
    link->prev = list->prev;
    link->next = list;
    list->prev->next = link;
    list->prev = link;
}
static inline void bus_list_remove(struct bus_link *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    bus_list_init(link);
}

#endif
