/* SPDX-License-Identifier: Apache-2.0 */
/* One operation: what a handler, an event's effect and due work are given.
 *
 * The first failure wins: after it every read gives blank rows, every step of
 * the write adds nothing, and whoever called the handler answers the error. So
 * a handler runs down to its end without asking, except before a loop over
 * rows and before an effect outside the database: there stands
 *
 *     if (cn_failed(op)) {
 *         return;
 *     }
 */
#ifndef CN_OP_H
#define CN_OP_H

#include "common/base/arena.h"
#include "common/base/env.h"
#include "common/base/err.h"
#include "common/policy/principal.h"

#include <protobuf-c/protobuf-c.h>
#include <stdint.h>

struct cn_due;
struct cn_event;
struct cn_method;
struct cn_service;
struct cn_write;

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
    const int64_t *other_versions; /* that will do as well */
    size_t other_count;
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

struct cn_op {
    struct cn_env *env;
    struct cn_arena *arena;
    struct cn_uuid tenant_id;
    int64_t now_at; /* the env's clock when the operation began */
    void *self;     /* of the service: what its main() keeps */
    /* One of the three is set. */
    const struct cn_request *request;
    const struct cn_event *event;
    const struct cn_due *due;
    struct cn_reply *reply; /* of a request */
    struct cn_write *write; /* made by the first step (store/step.h) */
    /* Called when the commit was refused by a constraint, whose name is
     * err->word. It answers instead, or fails. NULL: 409 with that name. */
    void (*on_conflict)(struct cn_op *op, const char *constraint);
    const void *context; /* for on_conflict */
    struct cn_err *err;
};

/* Has the operation failed, or its arena? */
bool cn_failed(const struct cn_op *op);
/* Ends the operation with this failure, unless it has failed before. word is
 * for the client; NULL: the code's own. Words of CN_CONFLICT: "illegal_state"
 * (cn_move), "guard_failed" (a rule of the command), "duplicate", or the name
 * of a constraint. A command with another word names it in its rpc's comment.
 */
void cn_refuse(struct cn_op *op,
               enum cn_code code,
               const char *word,
               const char *format,
               ...) CN_PRINTF(4, 5);
/* Names a field at fault (422), beside those that were named before. */
void cn_refuse_field(struct cn_op *op,
                     const char *pointer,
                     const char *word,
                     const char *format,
                     ...) CN_PRINTF(4, 5);
/* A guard of a command forbids it: 409 guard_failed with the guard's name, the
 * pointer of the field by which a client may mend it ("": by none), and why. */
void cn_refuse_guard(struct cn_op *op,
                     const char *guard,
                     const char *pointer,
                     const char *why);
/* Takes back a refusal that has another answer: an unknown id that is a field
 * at fault, a conflict that is no conflict. */
void cn_forgive(struct cn_op *op);

/* The log tells the line that refused. */
#define cn_refuse(op, ...)                                                     \
    (cn_fail_here(__FILE__, __LINE__), cn_refuse((op), __VA_ARGS__))
#define cn_refuse_field(op, ...)                                               \
    (cn_fail_here(__FILE__, __LINE__), cn_refuse_field((op), __VA_ARGS__))
#define cn_refuse_guard(op, ...)                                               \
    (cn_fail_here(__FILE__, __LINE__), cn_refuse_guard((op), __VA_ARGS__))

#endif
