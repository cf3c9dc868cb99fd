/* SPDX-License-Identifier: Apache-2.0 */
/* One request as a handler sees it, and the reply that it fills. */
#ifndef CN_OP_H
#define CN_OP_H

#include "common/base/arena.h"
#include "common/base/env.h"
#include "common/base/err.h"
#include "common/policy/principal.h"

#include <protobuf-c/protobuf-c.h>
#include <stdint.h>

struct cn_method;
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

#endif
