/* SPDX-License-Identifier: Apache-2.0 */
/* libmicrohttpd 0.9.75 in our loop. It calls the access handler for the head,
 * for each piece of the body, for the end, and again after a resume; between
 * the last two the connection is suspended and a fiber works. */
#include "common/http/http.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/loop/fiber.h"
#include "common/loop/listen.h"
#include "common/loop/loop.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Our own deadlines: libmicrohttpd's timeout only counts inactivity, and a
 * client that sent a byte a second stayed open (measured). */
#define HEAD_US       (10 * CN_SECOND) /* from the connection or first line */
#define BODY_US       (30 * CN_SECOND) /* from the head */
#define REPLY_US      (60 * CN_SECOND) /* from first to last byte of an answer */
#define IDLE_US       (75 * CN_SECOND) /* between two requests */
#define SWEEP_US      CN_SECOND
#define DRAIN_LOOK_US (CN_SECOND / 10)
/* At a stop: for handshakes under way, and for a client that is about to send
 * on a connection which it has just used. */
#define DRAIN_DOOR_US (CN_SECOND / 2000)
#define DRAIN_IDLE_US (2 * CN_SECOND)
#define STREAM_END_US CN_SECOND /* for a stream's last bytes at a stop */

enum {
    CONNECTION_MEMORY = 32 << 10, /* bounds a request's head */
    /* So much of a body over the limit is read and dropped, so that the client
     * sees the 413 and not a reset. */
    DROP_MAX = 8 << 20,
    STREAM_BLOCK = 2048,
    BODY_FIRST = 4096,
    /* Bytes of all bodies together: they come before the credential is
     * checked. */
    BODIES_MAX = 64 << 20,
    USED_PERCENT = 80 /* of the connections may have a request in flight */
};

/* A TCP connection. */
struct peer {
    struct peer *next;
    struct peer *previous;
    int fd;
    bool busy;           /* with a request */
    bool listens;        /* we wait only for bytes of the client */
    struct slot *stream; /* whose answer is a stream; NULL: none */
    int64_t deadline_at; /* INT64_MAX while a fiber works for it */
    char address[INET6_ADDRSTRLEN];
};

enum slot_state {
    SLOT_FREE,
    SLOT_READING,
    SLOT_WORKING,  /* suspended, a fiber has the request */
    SLOT_ANSWERED, /* response is to be queued */
    SLOT_QUEUED
};

/* A request from its head to NOTIFY_COMPLETED. A fiber finds it by number and
 * generation, never by pointer. */
struct slot {
    unsigned generation;
    enum slot_state state;
    struct slot *next_free;
    struct cn_http *http;
    struct peer *peer;
    struct MHD_Connection *connection;
    struct MHD_Response *response;
    unsigned status;
    struct cn_arena *arena; /* until the fiber has it */
    struct cn_http_request *request;
    uint8_t *body;
    size_t body_capacity;
    size_t body_memory; /* allocated for the body so far */
    uint64_t body_size; /* received, dropped bytes included */
    uint64_t announced;
    struct cn_http_source source; /* read is NULL: no stream */
    bool rests;                   /* a stream, suspended */
    bool cut;
};

/* What the fiber of a request is given; in the request's arena. */
struct work {
    struct cn_http *http;
    size_t number;
    unsigned generation;
    struct cn_http_request *request;
};

struct cn_http {
    struct cn_env *env;
    struct cn_http_config config;
    struct MHD_Daemon *daemon;
    struct cn_watch *watch;
    int listener;             /* until the stop */
    struct cn_timer *sweeper; /* with config.to_the_end */
    struct slot *slots;
    struct slot *slots_free;
    struct peer *peers;
    unsigned connections;
    unsigned used;    /* slots */
    unsigned working; /* fibers */
    unsigned working_max;
    size_t body_memory; /* of all slots */
    size_t slot_count;
    bool dirty; /* libmicrohttpd has something to do */
    bool draining;
    int64_t idle_until_at; /* at a stop */
    struct cn_token drained;
    bool judges_memory; /* it is the version that cn_framing_whole knows */
    unsigned port;
};

void cn_http_field_add(struct cn_http_response *response,
                       const char *name,
                       const char *value)
{
    assert(response->field_count < CN_HTTP_FIELDS_MAX);
    response->fields[response->field_count++] =
        (struct cn_http_field){ name, value };
}

/* ---- streams ---- */

static void s_source_close(struct cn_http_source *source)
{
    struct cn_http_source closed = *source;
    *source = (struct cn_http_source){ 0 };
    if (closed.read != NULL) {
        closed.closed(closed.arg);
    }
}

/* libmicrohttpd asks for more bytes. When there are none the connection is
 * suspended: else the library would ask again at every turn. */
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
    int fd = slot->peer->fd;
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms,
                     sizeof(timeout_ms));
    slot->peer->stream = slot;
    slot->peer->deadline_at = INT64_MAX;
}

static void s_stream_resume(struct slot *slot)
{
    if (slot->rests) {
        slot->rests = false;
        slot->http->dirty = true;
        MHD_resume_connection(slot->connection);
    }
}

static void s_stream_cut(struct slot *slot)
{
    slot->cut = true;
    (void)shutdown(slot->peer->fd, SHUT_RDWR);
    s_stream_resume(slot);
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
        s_stream_resume(slot);
    }
}

bool cn_http_stream_rests(struct cn_http_stream stream)
{
    const struct slot *slot = s_stream_slot(stream);
    return slot != NULL && slot->rests;
}

void cn_http_stream_cut(struct cn_http_stream stream)
{
    struct slot *slot = s_stream_slot(stream);
    if (slot != NULL) {
        s_stream_cut(slot);
    }
}

/* libmicrohttpd does not notice that a client leaves while its stream rests. */
static bool s_stream_left(const struct slot *slot)
{
    char byte;
    ssize_t got = recv(slot->peer->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
}

static void s_streams_end(struct cn_http *self)
{
    for (struct peer *peer = self->peers; peer != NULL; peer = peer->next) {
        if (peer->stream != NULL) {
            s_stream_resume(peer->stream);
            peer->deadline_at = cn_clock_monotonic() + STREAM_END_US;
        }
    }
}

/* ---- answers ---- */

static struct MHD_Response *s_response(struct cn_http *self,
                                       struct slot *slot,
                                       struct cn_http_response *from,
                                       bool close)
{
    static char nothing[1];
    struct cn_buffer *body = &from->body;
    struct MHD_Response *response = NULL;
    if (from->source != NULL) {
        cn_buffer_done(body);
        response = MHD_create_response_from_callback(
            MHD_SIZE_UNKNOWN, STREAM_BLOCK, s_on_body_read, slot, NULL);
    } else if (body->failed || body->size == 0) {
        if (body->failed) {
            from->status = MHD_HTTP_SERVICE_UNAVAILABLE;
        }
        cn_buffer_done(body);
        response =
            MHD_create_response_from_buffer(0, nothing, MHD_RESPMEM_PERSISTENT);
    } else {
        response = MHD_create_response_from_buffer(body->size, body->data,
                                                   MHD_RESPMEM_MUST_FREE);
        if (response == NULL) {
            cn_buffer_done(body);
        }
    }
    if (response == NULL) {
        return NULL;
    }
    bool whole = true;
    for (size_t i = 0; i < from->field_count; i++) {
        whole =
            whole && MHD_add_response_header(response, from->fields[i].name,
                                             from->fields[i].value) == MHD_YES;
    }
    if (close || self->draining || from->source != NULL) {
        whole = whole &&
                MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION,
                                        "close") == MHD_YES;
    }
    if (!whole) {
        MHD_destroy_response(response);
        return NULL;
    }
    return response;
}

/* MHD_NO closes the connection: without memory for an answer nothing else is
 * left. */
static enum MHD_Result s_response_queue(struct slot *slot)
{
    if (slot->response == NULL) {
        return MHD_NO;
    }
    slot->state = SLOT_QUEUED;
    slot->peer->listens = false;
    slot->peer->deadline_at = cn_clock_monotonic() + REPLY_US;
    if (slot->source.read != NULL) {
        s_stream_begin(slot);
    }
    enum MHD_Result rc =
        MHD_queue_response(slot->connection, slot->status, slot->response);
    MHD_destroy_response(slot->response);
    slot->response = NULL;
    return rc;
}

/* Answers a request that never gets to a fiber. A failed arena is not kept
 * while a slow client takes the answer. */
static void
s_slot_refuse(struct slot *slot, const struct cn_err *err, bool close)
{
    struct cn_http *self = slot->http;
    struct cn_http_response response = { 0 };
    self->config.refuse(self->config.arg, slot->request, err, &response);
    slot->response = s_response(self, slot, &response, close);
    slot->status = response.status;
    slot->state = SLOT_ANSWERED;
    if (cn_arena_failed(slot->arena)) {
        cn_arena_free(slot->arena);
        slot->arena = NULL;
        slot->request = NULL;
    }
}

/* ---- slots ---- */

static struct slot *s_slot_take(struct cn_http *self, struct peer *peer)
{
    struct slot *slot = self->slots_free;
    if (slot == NULL || peer == NULL || peer->busy) {
        return NULL;
    }
    struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    if (arena == NULL) {
        return NULL;
    }
    struct cn_http_request *request = cn_arena_alloc(arena, sizeof(*request));
    request->arena = arena;
    request->address = cn_arena_strdup(arena, peer->address);
    self->slots_free = slot->next_free;
    *slot = (struct slot){ .generation = slot->generation,
                           .state = SLOT_READING,
                           .http = self,
                           .peer = peer,
                           .arena = arena,
                           .request = request };
    peer->busy = true;
    self->used++;
    return slot;
}

static void s_slot_free(struct slot *slot)
{
    struct cn_http *self = slot->http;
    cn_arena_free(slot->arena);
    if (slot->response != NULL) {
        MHD_destroy_response(slot->response);
    }
    s_source_close(&slot->source);
    slot->peer->stream = NULL;
    slot->peer->busy = false;
    slot->peer->listens = true;
    slot->peer->deadline_at =
        self->draining ? self->idle_until_at : cn_clock_monotonic() + IDLE_US;
    self->body_memory -= slot->body_memory;
    slot->arena = NULL;
    slot->response = NULL;
    slot->request = NULL;
    slot->state = SLOT_FREE;
    slot->generation++;
    slot->next_free = self->slots_free;
    self->slots_free = slot;
    self->used--;
}

/* ---- the head ---- */

static enum MHD_Result s_collect_field(void *arg,
                                       enum MHD_ValueKind kind,
                                       const char *name,
                                       size_t name_size,
                                       const char *value,
                                       size_t value_size)
{
    struct cn_framing_head *head = arg;
    (void)kind;
    if (head->field_count == CN_FRAMING_FIELDS_MAX) {
        head->field_count++;
        return MHD_NO;
    }
    head->fields[head->field_count++] = (struct cn_framing_field){
        name, name_size, value == NULL ? name + name_size : value, value_size
    };
    return MHD_YES;
}

struct query {
    struct cn_http_request *request;
    const char *end; /* of the last piece */
    bool full;
};

static enum MHD_Result s_collect_parameter(void *arg,
                                           enum MHD_ValueKind kind,
                                           const char *name,
                                           size_t name_size,
                                           const char *value,
                                           size_t value_size)
{
    struct query *query = arg;
    struct cn_http_request *request = query->request;
    (void)kind;
    if (request->query_count == CN_HTTP_QUERY_MAX) {
        query->full = true;
        return MHD_NO;
    }
    query->end = value == NULL ? name + name_size : value + value_size;
    request->query[request->query_count++] =
        (struct cn_http_parameter){ name, value == NULL ? "" : value };
    return MHD_YES;
}

/* Copies what the fiber needs out of libmicrohttpd's memory. */
static void s_request_keep(struct cn_http_request *request,
                           const struct cn_framing_head *head,
                           const struct cn_framing *framing)
{
    struct cn_arena *arena = request->arena;
    request->method = cn_arena_strdup(arena, head->method);
    request->path = cn_arena_strdup(arena, head->path);
    for (size_t i = 0; i < CN_FRAMING_HEADER_COUNT; i++) {
        request->headers[i] = cn_arena_strdup(arena, framing->headers[i]);
    }
    for (size_t i = 0; i < request->query_count; i++) {
        struct cn_http_parameter *parameter = &request->query[i];
        parameter->name = cn_arena_strdup(arena, parameter->name);
        parameter->value = cn_arena_strdup(arena, parameter->value);
    }
}

static enum cn_code s_request_head(struct slot *slot,
                                   const char *path,
                                   const char *method,
                                   const char *version,
                                   struct cn_framing *ret_framing,
                                   struct cn_err *err)
{
    struct cn_http_request *request = slot->request;
    struct cn_framing_head head = { .method = method,
                                    .path = path,
                                    .version = version };
    struct query query = { request, path + strlen(path), false };
    (void)MHD_get_connection_values_n(slot->connection, MHD_HEADER_KIND,
                                      s_collect_field, &head);
    (void)MHD_get_connection_values_n(slot->connection, MHD_GET_ARGUMENT_KIND,
                                      s_collect_parameter, &query);
    head.target_end = query.end;
    if (head.field_count > CN_FRAMING_FIELDS_MAX || query.full) {
        return cn_fail(err, CN_MALFORMED, "too many fields or parameters");
    }
    enum cn_code rc = cn_framing_check(&head, request->arena, ret_framing, err);
    if (rc == CN_MALFORMED) {
        return rc;
    }
    if (slot->http->judges_memory && !cn_framing_whole(&head)) {
        return cn_fail(err, CN_MALFORMED, "a line of the head is broken");
    }
    s_request_keep(request, &head, ret_framing);
    return cn_arena_failed(request->arena) ? cn_fail(err, CN_NOMEM, "no memory")
                                           : rc;
}

/* The first call. A refusal that is queued here closes the connection; others
 * wait for the end of the body. */
static enum MHD_Result s_request_begin(struct slot *slot,
                                       const char *path,
                                       const char *method,
                                       const char *version)
{
    struct cn_err err = { 0 };
    struct cn_framing framing = { 0 };
    slot->peer->deadline_at = cn_clock_monotonic() + BODY_US;
    enum cn_code rc =
        s_request_head(slot, path, method, version, &framing, &err);
    if (rc == CN_MALFORMED || rc == CN_NOMEM) {
        /* Nothing may read a head that was not copied. */
        *slot->request =
            (struct cn_http_request){ .arena = slot->arena,
                                      .address = slot->request->address };
        s_slot_refuse(slot, &err, true);
        return s_response_queue(slot);
    }
    slot->announced = framing.body_size;
    if (rc == CN_OK && framing.body_size > CN_HTTP_BODY_MAX) {
        rc = cn_fail(&err, CN_TOO_LARGE, "the body is over %d bytes",
                     CN_HTTP_BODY_MAX);
    }
    if (rc == CN_OK) {
        return MHD_YES;
    }
    bool waits = slot->request->headers[CN_FRAMING_EXPECT] != NULL;
    bool dropped = framing.body_size > DROP_MAX || waits;
    s_slot_refuse(slot, &err, dropped);
    return dropped ? s_response_queue(slot) : MHD_YES;
}

/* ---- the body ---- */

static bool s_body_room(struct slot *slot, size_t size)
{
    if (size <= slot->body_capacity) {
        return true;
    }
    /* An announced length is believed only as far as bytes have come. */
    size_t capacity =
        slot->body_capacity == 0 ? BODY_FIRST : 2 * slot->body_capacity;
    if (capacity < size) {
        capacity = size;
    }
    if (slot->announced > 0 && capacity > slot->announced) {
        capacity = (size_t)slot->announced;
    }
    if (capacity > BODIES_MAX - slot->http->body_memory) {
        return false;
    }
    uint8_t *body = cn_arena_try(slot->arena, capacity);
    if (body == NULL) {
        return false;
    }
    slot->body_memory += capacity;
    slot->http->body_memory += capacity;
    if (slot->request->body.size > 0) {
        memcpy(body, slot->body, slot->request->body.size);
    }
    slot->body = body;
    slot->body_capacity = capacity;
    return true;
}

static enum MHD_Result
s_body_take(struct slot *slot, const char *data, size_t size)
{
    struct cn_err err = { 0 };
    slot->body_size += size;
    if (slot->state != SLOT_READING) {
        return slot->body_size > DROP_MAX ? MHD_NO : MHD_YES;
    }
    struct cn_bytes *body = &slot->request->body;
    if (slot->body_size > CN_HTTP_BODY_MAX) {
        (void)cn_fail(&err, CN_TOO_LARGE, "the body is over %d bytes",
                      CN_HTTP_BODY_MAX);
    } else if (!s_body_room(slot, (size_t)slot->body_size)) {
        (void)cn_fail(&err, CN_BUSY, "too many bodies at once");
    }
    if (err.code != CN_OK) {
        s_slot_refuse(slot, &err, false);
        return MHD_YES;
    }
    memcpy(slot->body + body->size, data, size);
    body->data = slot->body;
    body->size += size;
    return MHD_YES;
}

/* ---- the work ---- */

/* Queues the fiber's answer; drops it when the client has left. */
static void s_answer_pass(struct cn_http *self,
                          const struct work *work,
                          struct cn_http_response *from)
{
    struct slot *slot = &self->slots[work->number];
    struct cn_http_source source = { 0 };
    struct MHD_Response *response = s_response(self, slot, from, false);
    if (from->source != NULL) {
        source = *from->source;
    }
    self->working--;
    if (slot->generation != work->generation || slot->state != SLOT_WORKING ||
        response == NULL) {
        s_source_close(&source);
    }
    if (slot->generation != work->generation || slot->state != SLOT_WORKING) {
        if (response != NULL) {
            MHD_destroy_response(response);
        }
        return;
    }
    if (source.read != NULL) {
        slot->source = source;
        *from->stream =
            (struct cn_http_stream){ self, work->number, work->generation };
    }
    slot->response = response;
    slot->status = from->status;
    slot->state = SLOT_ANSWERED;
    self->dirty = true;
    MHD_resume_connection(slot->connection);
}

static void s_request_work(void *arg)
{
    struct work *work = arg;
    struct cn_http *self = work->http;
    struct cn_http_response response = { 0 };
    cn_buffer_init(&response.body, CN_HTTP_RESPONSE_MAX);
    self->config.handle(self->config.arg, work->request, &response);
    s_answer_pass(self, work, &response);
    cn_arena_free(work->request->arena);
}

static enum cn_code s_spawn(struct slot *slot, struct cn_err *err)
{
    struct cn_http *self = slot->http;
    struct work *work = cn_arena_alloc(slot->arena, sizeof(*work));
    if (self->working >= self->working_max) {
        return cn_fail(err, CN_BUSY, "too many requests in flight");
    }
    if (cn_arena_failed(slot->arena)) {
        return cn_fail(err, CN_NOMEM, "no memory");
    }
    *work = (struct work){ self, (size_t)(slot - self->slots), slot->generation,
                           slot->request };
    slot->request->came_at = cn_clock_monotonic();
    /* The fiber frees the arena in which work and request lie. */
    enum cn_code rc =
        cn_fiber_spawn(self->env->loop, s_request_work, work,
                       slot->request->came_at + self->config.timeout_us, err);
    if (rc == CN_OK) {
        slot->arena = NULL;
        slot->request = NULL;
    }
    return rc;
}

/* The request has come whole: a suspended connection has no timeout, but the
 * fiber has a deadline and answers 504 when it passes. */
static enum MHD_Result s_request_dispatch(struct slot *slot)
{
    struct cn_err err = { 0 };
    if (s_spawn(slot, &err) != CN_OK) {
        s_slot_refuse(slot, &err, false);
        return s_response_queue(slot);
    }
    slot->state = SLOT_WORKING;
    slot->peer->listens = false;
    slot->peer->deadline_at = INT64_MAX;
    slot->http->working++;
    MHD_suspend_connection(slot->connection);
    return MHD_YES;
}

/* ---- libmicrohttpd's callbacks ---- */

static struct peer *s_connection_peer(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info == NULL ? NULL : info->socket_context;
}

static enum MHD_Result s_on_access(void *arg,
                                   struct MHD_Connection *connection,
                                   const char *path,
                                   const char *method,
                                   const char *version,
                                   const char *data,
                                   size_t *data_size,
                                   void **context)
{
    struct cn_http *self = arg;
    struct slot *slot = *context;
    if (slot == NULL) {
        slot = s_slot_take(self, s_connection_peer(connection));
        if (slot == NULL) {
            return MHD_NO;
        }
        slot->connection = connection;
        *context = slot;
        return s_request_begin(slot, path, method, version);
    }
    if (*data_size > 0) {
        enum MHD_Result rc = s_body_take(slot, data, *data_size);
        *data_size = 0;
        return rc;
    }
    switch (slot->state) {
    case SLOT_READING:
        return s_request_dispatch(slot);
    case SLOT_ANSWERED:
        return s_response_queue(slot);
    case SLOT_FREE:
    case SLOT_WORKING:
    case SLOT_QUEUED:
        break;
    }
    return MHD_YES;
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
        s_slot_free(slot);
    }
}

/* Empty where the kernel does not tell. */
static void s_peer_address(struct peer *peer)
{
    struct sockaddr_storage address = { 0 };
    socklen_t size = sizeof(address);
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address;
    if (getpeername(peer->fd, (struct sockaddr *)&address, &size) == 0) {
        (void)inet_ntop(address.ss_family,
                        address.ss_family == AF_INET6
                            ? (const void *)&v6->sin6_addr
                            : (const void *)&v4->sin_addr,
                        peer->address, sizeof(peer->address));
    }
}

static void s_on_connection(void *arg,
                            struct MHD_Connection *connection,
                            void **context,
                            enum MHD_ConnectionNotificationCode code)
{
    struct cn_http *self = arg;
    struct peer *peer = *context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(
            connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        peer = calloc(1, sizeof(*peer));
        if (peer == NULL || info == NULL) {
            free(peer);
            return; /* Its first request is refused. */
        }
        peer->fd = info->connect_fd;
        s_peer_address(peer);
        peer->listens = true;
        peer->deadline_at = self->draining ? self->idle_until_at
                                           : cn_clock_monotonic() + HEAD_US;
        peer->next = self->peers;
        if (peer->next != NULL) {
            peer->next->previous = peer;
        }
        self->peers = peer;
        self->connections++;
        *context = peer;
    } else if (peer != NULL) {
        if (peer->next != NULL) {
            peer->next->previous = peer->previous;
        }
        if (peer->previous != NULL) {
            peer->previous->next = peer->next;
        } else {
            self->peers = peer->next;
        }
        *context = NULL;
        self->connections--;
        free(peer);
        if (self->draining && self->peers == NULL) {
            (void)cn_fiber_wake(self->drained, CN_OK);
        }
    }
}

/* The first line of a request has come; on a connection that was idle the time
 * for the head begins here. */
static void *
s_on_line(void *arg, const char *uri, struct MHD_Connection *connection)
{
    const struct cn_http *self = arg;
    struct peer *peer = s_connection_peer(connection);
    int64_t until_at = cn_clock_monotonic() + HEAD_US;
    (void)uri;
    if (peer != NULL && (peer->deadline_at > until_at || self->draining)) {
        peer->deadline_at = until_at;
    }
    return NULL;
}

/* Decodes nothing: the handler decodes path and query piece by piece. */
static size_t
s_on_unescape(void *arg, struct MHD_Connection *connection, char *text)
{
    (void)arg;
    (void)connection;
    return strlen(text);
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
    return true;
}

/* After a read that did not fill its buffer the library reads no more, so it
 * misses an end of the stream that came right behind the bytes. */
static bool s_has_left(const struct peer *peer)
{
    char byte;
    return peer->listens &&
           recv(peer->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* At a stop, a request that came in the last moment is still answered. */
static bool s_has_asked(const struct cn_http *self, const struct peer *peer)
{
    char byte;
    return self->draining && peer->listens && !peer->busy &&
           recv(peer->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static void s_connections_sweep(struct cn_http *self)
{
    int64_t now_at = cn_clock_monotonic();
    for (struct peer *peer = self->peers; peer != NULL; peer = peer->next) {
        if (peer->stream != NULL && s_stream_left(peer->stream)) {
            s_stream_cut(peer->stream);
        }
        bool over = peer->deadline_at <= now_at && !s_has_asked(self, peer);
        if (over || s_has_left(peer)) {
            /* The library sees this end and closes the connection. */
            (void)shutdown(peer->fd, SHUT_RDWR);
            peer->deadline_at = INT64_MAX;
            peer->listens = false;
        }
    }
}

/* Accepts no new client. A client that the kernel has already told that it is
 * connected is still accepted: it may have sent its request. */
static void s_door_close(struct cn_http *self)
{
    cn_listen_turn_away(self->listener);
    (void)!cn_fiber_sleep(DRAIN_DOOR_US);
    int listener = MHD_quiesce_daemon(self->daemon);
    if (listener < 0) {
        return;
    }
    for (;;) {
        struct sockaddr_storage address = { 0 };
        socklen_t size = sizeof(address);
        int fd = accept4(listener, (struct sockaddr *)&address, &size,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            break;
        }
        /* It closes fd when it fails. */
        (void)MHD_add_connection(self->daemon, fd, (struct sockaddr *)&address,
                                 size);
        self->dirty = true;
    }
    (void)close(listener);
}

/* Answers what is in flight, and what comes within a moment on connections that
 * are open, with "Connection: close": a client that was about to ask is told,
 * not cut off. */
static void s_drain(struct cn_http *self)
{
    int64_t now_at = cn_clock_monotonic();
    int64_t until_at = now_at + CN_HTTP_DRAIN_US;
    cn_fiber_set_deadline(until_at);
    self->draining = true;
    self->idle_until_at = now_at + DRAIN_IDLE_US;
    s_streams_end(self);
    for (struct peer *peer = self->peers; peer != NULL; peer = peer->next) {
        if (!peer->busy) {
            peer->deadline_at = self->idle_until_at;
        }
    }
    s_door_close(self);
    while (self->peers != NULL && cn_clock_monotonic() < until_at) {
        self->drained = cn_fiber_token();
        enum cn_code rc = cn_fiber_park(cn_clock_monotonic() + DRAIN_LOOK_US);
        if (rc != CN_OK && rc != CN_DEADLINE) {
            break;
        }
        s_connections_sweep(self);
    }
    self->drained = (struct cn_token){ NULL, 0 };
    if (self->used > 0) {
        cn_log(CN_LOG_WARN, "stop: %u requests are cut off", self->used);
    }
}

/* With config.to_the_end a timer sweeps: a fiber would delay the loop's end. */
static void s_on_sweep(void *arg)
{
    struct cn_http *self = arg;
    self->sweeper = cn_loop_timer(
        self->env->loop, cn_clock_monotonic() + SWEEP_US, s_on_sweep, self);
    s_connections_sweep(self);
}

/* Ends connections that are past their deadline; at a stop, lets the requests
 * in flight end. */
static void s_connections_guard(void *arg)
{
    struct cn_http *self = arg;
    while (!cn_loop_stopping(self->env->loop)) {
        if (cn_fiber_sleep(SWEEP_US) == CN_OK) {
            s_connections_sweep(self);
        }
    }
    s_drain(self);
}

/* ---- the start ---- */

static enum cn_code s_daemon_start(struct cn_http *self, struct cn_err *err)
{
    int fd = -1;
    enum cn_code rc =
        cn_listen_open(self->config.listen, &fd, &self->port, err);
    if (rc != CN_OK) {
        return rc;
    }
    self->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_TURBO, 0, NULL, NULL,
        s_on_access, self, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)self->slot_count, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        self->config.connections_per_ip, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, 0U,
        MHD_OPTION_NOTIFY_COMPLETED, s_on_completed, self,
        MHD_OPTION_NOTIFY_CONNECTION, s_on_connection, self,
        MHD_OPTION_URI_LOG_CALLBACK, s_on_line, self,
        MHD_OPTION_UNESCAPE_CALLBACK, s_on_unescape, self, MHD_OPTION_END);
    if (self->daemon == NULL) {
        (void)close(fd);
        return cn_fail(err, CN_INTERNAL, "libmicrohttpd does not start");
    }
    self->listener = fd;
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(self->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    self->watch = cn_loop_watch(self->env->loop, info->epoll_fd, CN_READABLE,
                                s_on_ready, self);
    if (self->watch == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory");
    }
    rc = cn_loop_prepare(self->env->loop, s_on_turn, self, err);
    if (rc != CN_OK) {
        return rc;
    }
    if (self->config.to_the_end) {
        s_on_sweep(self);
        return self->sweeper != NULL ? CN_OK
                                     : cn_fail(err, CN_NOMEM, "no memory");
    }
    return cn_fiber_spawn(self->env->loop, s_connections_guard, self, INT64_MAX,
                          err);
}

enum cn_code cn_http_new(struct cn_env *env,
                         const struct cn_http_config *config,
                         struct cn_http **ret_http,
                         struct cn_err *err)
{
    struct cn_http *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory");
    }
    self->env = env;
    self->config = *config;
    self->dirty = true;
    self->working_max = config->connections_max * USED_PERCENT / 100;
    self->judges_memory = strcmp(MHD_get_version(), "0.9.75") == 0;
    self->slot_count = (size_t)config->connections_max + config->streams_max;
    self->slots = calloc(self->slot_count, sizeof(*self->slots));
    for (size_t i = self->slot_count; self->slots != NULL && i > 0; i--) {
        self->slots[i - 1].next_free = self->slots_free;
        self->slots_free = &self->slots[i - 1];
    }
    cn_listen_raise_files((unsigned)self->slot_count);
    enum cn_code rc = self->slots == NULL ? cn_fail(err, CN_NOMEM, "no memory")
                                          : s_daemon_start(self, err);
    if (rc != CN_OK) {
        cn_http_free(self);
        return rc;
    }
    *ret_http = self;
    return CN_OK;
}

void cn_http_free(struct cn_http *self)
{
    if (self == NULL) {
        return;
    }
    if (self->sweeper != NULL) {
        cn_loop_cancel(self->sweeper);
    }
    cn_loop_unprepare(self->env->loop, s_on_turn, self);
    cn_loop_unwatch(self->watch);
    if (self->daemon != NULL) {
        /* The library must see before the stop that they are resumed. */
        self->draining = true;
        s_streams_end(self);
        (void)MHD_run(self->daemon);
        MHD_stop_daemon(self->daemon);
    }
    free(self->slots);
    free(self);
}

unsigned cn_http_port(const struct cn_http *self)
{
    return self->port;
}

unsigned cn_http_connections(const struct cn_http *self)
{
    return self->connections;
}

unsigned cn_http_in_flight(const struct cn_http *self)
{
    return self->working;
}
