/* SPDX-License-Identifier: Apache-2.0 */
/* RPC over ZeroMQ: one ROUTER per service, one DEALER per replica that is
 * called. Only common/bus/ calls zmq_*.
 *
 * Links are CURVE with a ZAP allow-list; the peer's name comes from its key. */
#ifndef CN_BUS_H
#define CN_BUS_H

#include "common/base/arena.h"
#include "common/base/env.h"
#include "common/base/err.h"
#include "common/policy/principal.h"

#include <protobuf-c/protobuf-c.h>
#include <stdint.h>

struct cn_bus;

enum {
    CN_BUS_CREDIT = 64,        /* requests outstanding at one replica */
    CN_BUS_PEERS_MAX = 16,     /* services known by key */
    CN_BUS_ENDPOINTS_MAX = 32, /* replicas of one service */
    CN_BUS_QUEUE_MAX = 1024,   /* requests being served at once */
    CN_BUS_WAITERS_MAX = 256,  /* calls that wait for a replica of a service */
    CN_BUS_KEY_SIZE = 41,      /* Z85 text and NUL */
    CN_BUS_PING_INTERVAL_MS = 125
};

/* A reply: its failure or its body, and the rest of its header. */
struct cn_bus_reply {
    struct cn_err err;
    struct cn_bytes body; /* packed; in the caller's arena */
    unsigned status;
    int64_t version;
    int64_t updated_at;
    const char *location; /* NULL: none */
    bool replayed;
};

/* A call as its header carries it. */
struct cn_bus_call {
    const char *service; /* "referrals" */
    const char *method;  /* "referrals.v1.Referrals/AcceptReferral" */
    struct cn_bytes body;
    int64_t budget_us;                    /* from now */
    const struct cn_principal *principal; /* NULL: the service itself */
    const char *request_id;
    const char *trace;
    const char *idempotency_key; /* NULL: a read */
    bool has_client_key;
    bool has_expected_version;
    int64_t expected_version;
    const int64_t *other_versions; /* that will do as well */
    size_t other_count;
    bool long_poll; /* does not count against the credit */
    bool writes;    /* changes something: it is sent twice only with a key */
};

/* What a server is handed; body and texts are in arena, which the receiver now
 * owns and must free after the reply. */
struct cn_bus_request {
    struct cn_arena *arena;
    const char *peer; /* name of the calling service, by its key */
    bool front;       /* the peer may speak for clients */
    /* The peer named a principal. Unless it is a front it is not believed, and
     * the principal below is the peer itself. */
    bool names_principal;
    const char *method;
    struct cn_bytes body;
    int64_t deadline_at; /* monotonic */
    struct cn_principal principal;
    const char *request_id;
    const char *trace;
    const char *idempotency_key; /* NULL: none */
    bool has_client_key;
    bool has_expected_version;
    int64_t expected_version;
    const int64_t *other_versions; /* that will do as well */
    size_t other_count;
    struct cn_bus_return *back; /* for cn_bus_reply_send, exactly once */
};

struct cn_bus_config {
    const char *name;       /* of this service */
    const char *secret_key; /* Z85 */
    const char *bind;       /* "tcp://127.0.0.1:7001", NULL: only a client */
    /* "gateway=<public>,referrals=<public>": who may connect, and the key to
     * expect of each service called. */
    const char *peers;
    const char *fronts; /* "gateway": peers whose principal is believed */
    unsigned queue_max; /* 0: CN_BUS_QUEUE_MAX, which is also the most */
};

/* Counted since the start; for metrics and tests. */
struct cn_bus_stats {
    /* server */
    uint64_t requests;  /* handed to on_request */
    uint64_t replies;   /* sent, refusals included */
    uint64_t pings;     /* answered */
    uint64_t busy;      /* refused: the queue is full or the loop stops */
    uint64_t stale;     /* refused: too long on the way; counted in busy too */
    uint64_t expired;   /* refused: the budget was spent */
    uint64_t malformed; /* dropped: not a message of ours */
    uint64_t vanished;  /* replies whose peer was gone (EHOSTUNREACH) */
    uint64_t full;      /* replies whose peer does not read (EAGAIN) */
    uint64_t refused;   /* handshakes refused: unknown key or mechanism */
    uint64_t serving;   /* now */
    /* client */
    uint64_t calls;   /* sent, repeats included */
    uint64_t repeats; /* sent again, to another replica */
    uint64_t late;    /* replies to calls that had ended */
    uint64_t downs;   /* replicas that were marked down */
    uint64_t waiting; /* now, for a replica with credit */
};

/* CN_INVALID for bad keys, CN_UNAVAILABLE when the address is taken. */
CN_CHECKED enum cn_code cn_bus_new(struct cn_env *env,
                                   const struct cn_bus_config *config,
                                   struct cn_bus **ret_bus,
                                   struct cn_err *err);
void cn_bus_free(struct cn_bus *self);
/* Comma-separated "tcp://host:port" of the replicas of a service. A host is an
 * IPv4 address, an IPv6 address in brackets, or a name. A name means all its
 * addresses, now and later: each gets a DEALER of its own (libzmq would use
 * only the first). A thread looks it up every 5 s, at once when a replica goes,
 * and every second while one is missing. Calls wait for the first answer as
 * they wait for a replica. An address that is no longer in the answer takes no
 * new call and is closed when those under way have ended, after 10 s at the
 * latest. A look-up that fails changes nothing.
 *
 * Docker's name server lists every running container of a service under the
 * service's name, and Kubernetes every ready pod under that of a headless
 * Service ("clusterIP: None"): "tcp://referrals:7000" means all replicas. The
 * address of a plain Kubernetes Service is not enough: it balances connections,
 * and the bus keeps one. */
CN_CHECKED enum cn_code cn_bus_connect(struct cn_bus *self,
                                       const char *service,
                                       const char *endpoints,
                                       struct cn_err *err);
/* Connects all services of a text, as CAIRN_ENDPOINTS holds it:
 * "name=tcp://host:port,tcp://host:port;name=...". "" connects none;
 * CN_INVALID names what cannot be read. */
CN_CHECKED enum cn_code
cn_bus_connect_all(struct cn_bus *self, const char *text, struct cn_err *err);
/* on_request runs outside any fiber for every request that fits the queue. A
 * request beyond it is answered CN_BUSY at once, one whose budget is spent
 * CN_DEADLINE. Before this call nothing is read, so that no caller takes the
 * service for alive. */
void cn_bus_serve(struct cn_bus *self,
                  void (*on_request)(void *arg, struct cn_bus_request *request),
                  void *arg);
/* healthy runs at each ping; false makes callers prefer other replicas. */
void cn_bus_set_health(struct cn_bus *self,
                       bool (*healthy)(void *arg),
                       void *arg);
/* Where the ROUTER is bound, with the port that "tcp://127.0.0.1:*" was given;
 * "" for a client. */
const char *cn_bus_address(const struct cn_bus *self);
const struct cn_bus_stats *cn_bus_stats(const struct cn_bus *self);
/* Answers and forgets request->back. err->code CN_OK: reply->body goes out. */
void cn_bus_reply_send(struct cn_bus *self,
                       struct cn_bus_return *back,
                       const struct cn_bus_reply *reply);
/* Sends and parks until the reply or the deadline. Returns the reply's code;
 * CN_UNAVAILABLE: no replica alive, CN_BUSY: none free (nothing was done; it
 * waits for one up to half of the budget and at most 1 s), CN_DEADLINE /
 * CN_UNKNOWN: outcome not known; a read whose replica died is CN_UNAVAILABLE.
 *
 * When its replica dies, a call that is safe to repeat (a read, or a write with
 * a key) is sent to another one while half of the budget is left, until three
 * have died under it. A call that a replica refuses as busy was not done there:
 * it goes to each of the others, and waits for a new replica when the one that
 * refused it is stopping. The reply's bytes are in arena; ret_reply is
 * untouched when err holds the failure. CN_NOMEM for a failed arena. */
CN_CHECKED enum cn_code cn_bus_call(struct cn_bus *self,
                                    struct cn_arena *arena,
                                    const struct cn_bus_call *call,
                                    struct cn_bus_reply *ret_reply,
                                    struct cn_err *err);
/* cn_bus_call with messages on both sides: packs request into call->body, and
 * unpacks the reply's body, which has the type reply, into the arena. */
CN_CHECKED enum cn_code cn_bus_ask(struct cn_bus *self,
                                   struct cn_arena *arena,
                                   struct cn_bus_call *call,
                                   const ProtobufCMessage *request,
                                   const ProtobufCMessageDescriptor *reply,
                                   const ProtobufCMessage **ret_message,
                                   struct cn_err *err);
/* Is at least one replica of the service answering its pings? */
bool cn_bus_reachable(const struct cn_bus *self, const char *service);
/* Makes a key pair (Z85 text) for `make run` and the tests. */
CN_CHECKED bool cn_bus_keypair(char public_key[CN_BUS_KEY_SIZE],
                               char secret_key[CN_BUS_KEY_SIZE]);
/* The public half of a secret key. False when the text is not a key. */
CN_CHECKED bool cn_bus_public_key(const char *secret_key,
                                  char public_key[CN_BUS_KEY_SIZE]);

#endif
