/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of http share. A client's bytes go from its socket (peer.c) to
 * the reader of heads and bodies (http.c), and never to libmicrohttpd: when the
 * answer is there, the library is asked for it over a socket pair by a head of
 * ours (answer.c), and what it writes is passed on to the client. */
#ifndef CN_HTTP_INTERNAL_H
#define CN_HTTP_INTERNAL_H

#include "common/base/clock.h"
#include "common/http/body.h"
#include "common/http/head.h"
#include "common/http/http.h"
#include "common/loop/fiber.h"
#include "common/loop/loop.h"

#include <netinet/in.h>

/* Our own deadlines. A client that sends a byte a second gains nothing. */
#define HTTP_HEAD_US (10 * CN_SECOND) /* from the connection or first byte */
#define HTTP_BODY_US (30 * CN_SECOND) /* from the head */
#define HTTP_REPLY_US                                                          \
    (60 * CN_SECOND) /* from first to last byte of an answer */
#define HTTP_IDLE_US   (75 * CN_SECOND) /* between two requests */
#define HTTP_LINGER_US (2 * CN_SECOND)  /* for a client to take a refusal */

/* Strangers are answered one in HTTP_STRANGER_US, after those that may come at
 * once, and none waits for longer than HTTP_STRANGER_MAX_US. */
#define HTTP_STRANGER_US       (CN_SECOND / 100)
#define HTTP_STRANGER_FIRST_US (64 * HTTP_STRANGER_US)
#define HTTP_STRANGER_MAX_US   (2 * CN_SECOND)

enum {
    HTTP_SCRATCH = 64 << 10,
    /* So much of a body that is refused is read and dropped, so that the client
     * sees the answer and not a reset: of one that has shown a credential, and
     * of any other. */
    HTTP_DROP_MAX = 8 << 20,
    HTTP_DROP_FEW = 256 << 10
};

struct MHD_Connection;
struct MHD_Daemon;
struct MHD_Response;

/* A client's TCP connection. It is freed at the end of a turn, once neither the
 * client nor the library has it. */
struct peer {
    struct cn_http *http;
    struct peer *next;
    struct peer *previous;
    int fd; /* -1: gone */
    struct cn_watch *watch;
    unsigned events; /* that are watched */
    struct in6_addr address;
    struct cn_buffer kept; /* bytes that nobody has taken yet */
    struct cn_head head;   /* of the next request, in kept */
    struct cn_buffer out;  /* bytes that the client has not taken yet */
    size_t out_at;
    bool eof;    /* the client sends no more */
    bool ending; /* no more is answered */
    bool buried;
    size_t drop;         /* bytes that may still be read and dropped */
    int64_t deadline_at; /* INT64_MAX while a fiber works for it */
    struct slot *slot;   /* the request under way; NULL: none */
    /* answer.c */
    int pair;     /* our end; -1: none */
    int theirs;   /* the library's end */
    bool library; /* the library has the connection */
    bool asked;   /* in the list of those for whom the library writes */
    struct peer *asked_next;
};

enum slot_state {
    SLOT_FREE,
    SLOT_JUDGING, /* a fiber asks whether the body may come */
    SLOT_READING,
    SLOT_WORKING, /* a fiber has the request */
    SLOT_WAITING, /* the answer of a stranger */
    SLOT_ASKED,   /* the library is asked for the answer */
    SLOT_WRITING  /* the library writes it */
};

/* A request from its head to its answer's last byte. A fiber finds it by number
 * and generation, never by pointer. */
struct slot {
    unsigned generation;
    enum slot_state state;
    struct slot *next_free;
    struct cn_http *http;
    struct peer *peer;
    struct MHD_Connection *connection;
    struct MHD_Response *response;
    unsigned status;
    bool stranger;
    struct cn_timer *turn; /* NULL, or the stranger's */
    bool is_head;          /* its method */
    bool is_old;           /* its version */
    bool closes;           /* the connection, after the answer */
    bool waits;            /* for our 100 Continue */
    size_t drop;
    struct cn_arena *arena; /* until the fiber has it */
    struct cn_http_request *request;
    struct cn_body reader;
    struct cn_uuid payer; /* whose share of the room the body takes */
    uint8_t *body;
    size_t body_capacity;
    size_t body_memory; /* allocated for the body so far */
    uint64_t announced;
    struct cn_http_source source; /* read is NULL: no stream */
    bool rests;                   /* a stream, suspended */
    bool cut;
};

struct cn_http {
    struct cn_env *env;
    struct cn_http_config config;
    struct MHD_Daemon *daemon;
    struct cn_watch *watch;
    int listener;
    struct cn_watch *door;    /* the listener's; NULL after the stop */
    struct cn_timer *sweeper; /* with config.to_the_end */
    struct slot *slots;
    struct slot *slots_free;
    struct peer *peers;
    struct peer *graves;
    struct peer *asked;
    unsigned connections;
    unsigned used;    /* slots */
    unsigned working; /* fibers */
    unsigned working_max;
    size_t body_memory; /* of all slots */
    size_t slot_count;
    int64_t stranger_at; /* monotonic: when the next one is answered */
    bool dirty;          /* the library has something to do */
    bool draining;
    int64_t idle_until_at; /* at a stop */
    struct cn_token drained;
    unsigned port;
    char scratch[HTTP_SCRATCH];
};

/* peer.c */
CN_CHECKED enum cn_code http_door_open(struct cn_http *self,
                                       struct cn_err *err);
/* Accepts whoever has been told that it is connected, then nobody. */
void http_door_close(struct cn_http *self);
void http_peer_send(struct peer *peer, const char *data, size_t size);
/* The client may send the next request, or more of its body. */
void http_peer_go(struct peer *peer);
/* Ends the connection once its client has the bytes that are out. */
void http_peer_end(struct peer *peer);
/* Ends it at once. */
void http_peer_close(struct peer *peer);
/* The other end's address as text, in the arena. */
const char *http_peer_address(const struct peer *peer, struct cn_arena *arena);
/* Frees what nobody has any more. */
void http_peer_settle(struct peer *peer);
void http_peers_bury(struct cn_http *self);
/* Ends what is past its deadline. */
void http_peers_sweep(struct cn_http *self);

/* http.c */
/* Takes bytes of the client and says how many. */
size_t http_take(struct peer *peer, const char *data, size_t size);
/* The client has sent only the beginning of a request. */
void http_cut_short(struct peer *peer);
/* The client has left. */
void http_gone(struct peer *peer);
void http_slot_free(struct slot *slot);

/* answer.c */
CN_CHECKED enum cn_code http_library_start(struct cn_http *self,
                                           struct cn_err *err);
void http_library_stop(struct cn_http *self);
/* Makes the answer, whose body it takes over; NULL without memory. */
struct MHD_Response *http_answer_make(struct cn_http *self,
                                      struct slot *slot,
                                      struct cn_http_response *from);
void http_answer_drop(struct MHD_Response *response);
/* Asks the library to write slot->response. */
void http_answer_ask(struct slot *slot);
/* The client has left: the library is told. */
void http_answer_leave(struct peer *peer);
void http_stream_resume(struct slot *slot);
void http_streams_end(struct cn_http *self);
void http_source_close(struct cn_http_source *source);

#endif
