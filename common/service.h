/* SPDX-License-Identifier: Apache-2.0 */
/* The shape of every service: a table of methods, a table of events, and the
 * loop around them. */
#ifndef CN_SERVICE_H
#define CN_SERVICE_H

#include "common/arena.h"
#include "common/config.h"
#include "common/consumer.h"
#include "common/due.h"
#include "common/env.h"
#include "common/err.h"
#include "common/message.h"
#include "common/principal.h"
#include "common/shape.h"

#include <stdint.h>

struct cn_service;

enum {
    CN_FINGERPRINT_SIZE = 32,
    /* How often a handler is run again from its read after CN_STALE. */
    CN_STALE_AGAIN_MAX = 3
};

/* One request as a handler sees it. All of it lives in arena. */
struct cn_request {
    struct cn_env *env;
    const struct cn_service *service;
    const struct cn_method *method;
    const void *body; /* unpacked and checked; the method's input type */
    struct cn_principal principal;
    enum cn_reach reach;    /* of the method's permission */
    const char *request_id; /* for the log, the audit, correlation */
    const char *trace;      /* traceparent, "" */
    /* From the client, or made by the gateway; NULL for a read. */
    const char *idempotency_key;
    bool has_client_key; /* the client sent the key itself */
    uint8_t fingerprint[CN_FINGERPRINT_SIZE]; /* SHA-256 of method and body */
    bool has_expected_version;                /* If-Match */
    int64_t expected_version;
    int64_t now_at; /* the env's clock when the request came */
    struct cn_arena *arena;
};

/* What a handler fills. body is the method's output type, in the arena. */
struct cn_reply {
    const ProtobufCMessage *body;
    unsigned status;      /* 0: the method's own success status */
    int64_t version;      /* for the ETag; 0: none */
    int64_t updated_at;   /* for Last-Modified; 0: none */
    const char *location; /* "/v1/referrals/ref_..." or NULL */
    /* Set by cn_write_commit when a key is replayed; packed wins over body. */
    bool replayed;
    struct cn_bytes packed;
    /* Set by cn_write_audit, kept with the key: of whom the reply tells. */
    struct cn_uuid patient_id; /* nil: of nobody */
    const char *resource;
};

typedef enum cn_code cn_handler_fn(void *self,
                                   const struct cn_request *request,
                                   struct cn_reply *reply,
                                   struct cn_err *err);

/* One row of a generated handler table: rpc, contract, handler. */
struct cn_method {
    const char *name; /* "referrals.v1.Referrals/AcceptReferral" */
    const struct cn_shape *input;
    const struct cn_shape *output;
    const char *scope; /* permission; "" for any principal; NULL internal */
    bool writes;       /* has an idempotency key */
    cn_handler_fn *handler;
};

struct cn_provider;

/* A service, as its main() names it. */
struct cn_service {
    const char *name; /* "referrals": schema, config prefix, bus name */
    const struct cn_method *methods;
    size_t method_count;
    const struct cn_event_shape *events; /* that it produces, generated */
    size_t event_count;
    const struct cn_provider *providers; /* what others copy (snapshot.h) */
    size_t provider_count;
    const struct cn_subscription *subscriptions;
    size_t subscription_count;
    const struct cn_due_handler *due_handlers;
    size_t due_handler_count;
    const struct cn_option *options; /* beyond the common ones */
    size_t option_count;
    /* Called in a fiber when the database is ready, before the bus opens; may
     * be NULL. */
    enum cn_code (*start)(void *self,
                          struct cn_env *env,
                          const struct cn_config *config,
                          struct cn_err *err);
    void *self; /* given to every handler */
};

/* config -> log -> db -> bus -> consumers -> loop. Returns main's exit code. */
int cn_service_main(struct cn_service *service, int argc, char **argv);

/* A message of the reply, zeroed, of the method's output type:
 *   CN_NEW(request->arena, ref__referral, Ref__Referral)
 * NULL when memory is short. */
#define CN_NEW(arena, prefix, type)                                            \
    ((type *)cn_message_new((arena), &prefix##__descriptor))
/* Sets a proto2 scalar and its has_ flag: alone, the value is not sent. */
#define CN_SET(message, field, value)                                          \
    ((message)->has_##field = 1, (message)->field = (value))

#endif
