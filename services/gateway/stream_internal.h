/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the stream. */
#ifndef GATEWAY_STREAM_INTERNAL_H
#define GATEWAY_STREAM_INTERNAL_H

#include "common/loop/fiber.h"

#include "services/gateway/stream.h"
#include "services/gateway/stream_kind.h"
#include "services/gateway/stream_ring.h"
#include "services/gateway/stream_token.h"

enum {
    STREAM_TENANTS = 256, /* hash lists of tenants */
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
    uint64_t changes;   /* the ring's `changes` when it was last looked at */
    int64_t beat_at;    /* monotonic */
    int64_t woken_at;   /* monotonic; the last wake from a rest */
    const char *resets; /* why it must begin anew; NULL: it need not */
    bool greeted;       /* the first bytes were staged */
    bool beats;         /* a comment is due */
    bool asks;          /* its key must be asked for again */
    bool doubted;       /* it gets no events until its key was asked for */
    bool ends;          /* it ends after what is staged */
    uint8_t sight[STREAM_KINDS_MAX]; /* enum stream_sight, by kind */
    size_t staged;
    size_t sent; /* of the staged bytes */
    char stage[STREAM_STAGE_MAX];
};

struct stream_tenant {
    struct stream_tenant *next; /* of its list */
    struct cn_uuid id;
    struct stream_ring ring;
    struct stream *streams;
    unsigned count;
    unsigned holders;   /* fibers that read the logs for it */
    uint32_t wants;     /* bits of the producers whose log must be read again */
    int64_t idle_since; /* monotonic; when count became 0 */
    bool fresh;         /* has entries for which no stream was woken yet */
    /* The last id. It is kept because all readers that have kept up have the
     * same vector. */
    bool has_token;
    int64_t token_at;
    struct stream_vector token_vector;
    char token[STREAM_TOKEN_MAX];
};

/* One producer. Its follower brings new events; a fiber reads its log again for
 * readers that come back. */
struct stream_producer {
    struct streams *streams;
    size_t number;
    struct follow *follow;
    struct cn_rest worker;
};

struct stream_counts {
    uint64_t opened;
    uint64_t events;
    uint64_t resets;
    uint64_t swept;
    uint64_t refused;
    uint64_t resumed; /* opened with a known position */
    uint64_t catch_ups;
    uint64_t skipped; /* events that could not be rendered */
};

struct streams {
    struct cn_env *env;
    struct auth *auth;
    struct streams_config config;
    struct stream_kinds kinds;
    struct stream_producer producers[CN_EVENT_SOURCE_COUNT];
    /* The rings hold all of each log up to here, from their base on. */
    struct stream_vector heads;
    struct stream_tenant *tenants[STREAM_TENANTS];
    unsigned count;
    size_t bytes; /* of all rings */
    int64_t started_at;
    struct cn_rest asker;
    bool asks; /* some stream has `asks` */
    struct stream_counts counts;
};

/* stream.c */

/* NULL: the tenant has no ring. */
struct stream_tenant *stream_tenant_find(const struct streams *self,
                                         struct cn_uuid id);
/* Opens a stream that holds the grant. vector: where it goes on; NULL: from now
 * on. CN_BUSY when there are too many, CN_NOMEM. */
CN_CHECKED enum cn_code stream_open(struct streams *self,
                                    struct auth_grant *grant,
                                    const uint8_t sight[STREAM_KINDS_MAX],
                                    const struct stream_vector *vector,
                                    const char *resets,
                                    struct stream **ret_stream,
                                    struct cn_err *err);
/* Wakes the stream if there is something to send. */
void stream_stir(struct stream *stream);
void stream_stir_all(struct stream_tenant *tenant);
/* Does this reader miss events of that producer's log that the ring does not
 * have, or is this not known? */
bool stream_misses(const struct stream *stream, size_t producer);
/* Runs fn for each stream; fn may not end any. */
void streams_each(struct streams *self, void (*fn)(struct stream *stream));

/* stream_log.c */

/* Listens to the producer's follower, and starts the fiber that reads its log
 * again. */
CN_CHECKED enum cn_code stream_log_start(struct stream_producer *self,
                                         struct cn_err *err);
/* Asks for the logs of the producers in wants to be read again for the tenant's
 * readers. */
void stream_log_want(struct stream_tenant *tenant,
                     struct streams *streams,
                     uint32_t wants);

/* stream_grant.c */

/* Ends streams whose key was revoked or changed. When this is not certain it
 * asks access again. */
CN_CHECKED enum cn_code stream_grant_start(struct streams *self,
                                           struct cn_err *err);
/* Once a second. */
void stream_grant_tick(struct streams *self);
/* Holds back the stream's events until its key has been asked for again. */
void stream_grant_doubt(struct stream *stream);

/* stream_metrics.c */
void stream_metrics(struct streams *self);

#endif
