/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the stream share. */
#ifndef GATEWAY_STREAM_INTERNAL_H
#define GATEWAY_STREAM_INTERNAL_H

#include "common/loop/fiber.h"

#include "services/gateway/stream.h"
#include "services/gateway/stream_kind.h"
#include "services/gateway/stream_ring.h"
#include "services/gateway/stream_token.h"

enum {
    STREAM_TENANTS = 256, /* lists that tenants are found by */
    STREAM_STAGE_MAX = STREAM_TOKEN_MAX + STREAM_TEXT_MAX + 64
};

struct streams;
struct stream_tenant;

/* One reader. */
struct stream {
    struct stream *next; /* of its tenant */
    struct stream *previous;
    struct streams *streams;
    struct stream_tenant *tenant;
    struct cn_http_source source;
    struct cn_http_stream http;
    struct auth_grant *grant;
    struct stream_vector vector;
    int64_t number;     /* of the next entry to look at */
    uint64_t changes;   /* of the ring's base, that were looked at */
    int64_t beat_at;    /* monotonic */
    int64_t woken_at;   /* monotonic; from its last rest */
    const char *resets; /* why it must begin anew; NULL: it need not */
    bool greeted;       /* the first bytes are out */
    bool beats;         /* a comment is due */
    bool asks;          /* its key is to be asked for again */
    bool doubted;       /* and until then it is told nothing */
    bool ends;          /* nothing more is sent, then it ends */
    uint8_t sight[STREAM_KINDS_MAX]; /* enum stream_sight, by kind */
    size_t staged;
    size_t sent; /* of what is staged */
    char stage[STREAM_STAGE_MAX];
};

struct stream_tenant {
    struct stream_tenant *next; /* of its list */
    struct cn_uuid id;
    struct stream_ring ring;
    struct stream *streams;
    unsigned count;
    unsigned holders;   /* fibers that read the logs for it */
    uint32_t wants;     /* a bit per producer whose log is to be read again */
    int64_t idle_since; /* monotonic; when count became 0 */
    bool fresh;         /* has entries that no stream was woken for */
    /* All readers that have kept up have the same vector. */
    bool has_token;
    int64_t token_at;
    struct stream_vector token_vector;
    char token[STREAM_TOKEN_MAX];
};

/* Of one producer: told by its follower, and a fiber that reads its log again
 * for those who come back. */
struct stream_producer {
    struct streams *streams;
    size_t number;
    struct follow *follow;
    struct cn_token worker;
    bool worker_parked;
};

struct stream_counts {
    uint64_t opened;
    uint64_t events;
    uint64_t resets;
    uint64_t swept;
    uint64_t refused;
    uint64_t resumed; /* with their position known */
    uint64_t catch_ups;
    uint64_t skipped; /* events that could not be told */
};

struct streams {
    struct cn_env *env;
    struct auth *auth;
    struct streams_config config;
    struct stream_kinds kinds;
    struct stream_producer producers[CN_EVENT_SOURCE_COUNT];
    /* All of each log up to here is in the rings, or before their base. */
    struct stream_vector heads;
    struct stream_tenant *tenants[STREAM_TENANTS];
    unsigned count;
    size_t bytes; /* of all rings */
    int64_t started_at;
    struct cn_token asker;
    bool asker_parked;
    bool asks; /* some stream does */
    struct stream_counts counts;
};

/* stream.c */

/* NULL: it has no ring. */
struct stream_tenant *stream_tenant_find(const struct streams *self,
                                         struct cn_uuid id);
/* Shares the grant; vector NULL: from now on. CN_BUSY when there are too many,
 * CN_NOMEM. */
CN_CHECKED enum cn_code stream_open(struct streams *self,
                                    struct auth_grant *grant,
                                    const uint8_t sight[STREAM_KINDS_MAX],
                                    const struct stream_vector *vector,
                                    const char *resets,
                                    struct stream **ret_stream,
                                    struct cn_err *err);
/* Wakes it if there is something to send. */
void stream_stir(struct stream *stream);
void stream_stir_all(struct stream_tenant *tenant);
/* Is something of that producer's log missing in the ring for this reader, or
 * not known at all? */
bool stream_misses(const struct stream *stream, size_t producer);
/* Runs fn for each stream; fn may not end any. */
void streams_each(struct streams *self, void (*fn)(struct stream *stream));

/* stream_log.c */

/* Listens to the producer's follower and starts the fiber that catches up. */
CN_CHECKED enum cn_code stream_log_start(struct stream_producer *self,
                                         struct cn_err *err);
/* Reads again what the tenant's readers miss of the producers in wants. */
void stream_log_want(struct stream_tenant *tenant,
                     struct streams *streams,
                     uint32_t wants);
/* stream_grant.c */

/* Ends streams whose key was revoked or changed, and asks again for those whose
 * key may have been. */
CN_CHECKED enum cn_code stream_grant_start(struct streams *self,
                                           struct cn_err *err);
/* Once a second. */
void stream_grant_tick(struct streams *self);
/* Tells the stream nothing before its key was asked for again. */
void stream_grant_doubt(struct stream *stream);

/* stream_metrics.c */
void stream_metrics(struct streams *self);

#endif
