/* SPDX-License-Identifier: Apache-2.0 */
/* A service's handlers called in a store test as dispatch and the consumer call
 * them, without bus and loop around them. */
#ifndef TEST_CALL_H
#define TEST_CALL_H

#include "common/contract/service.h"
#include "common/inbox/consumer.h"
#include "tests/lib/pg.h"

/* Who calls; zero but for role: the test's tenant, no branch, all scopes of the
 * role. */
struct test_caller {
    const char *role; /* NULL: coordinator */
    const char *subject;
    struct cn_uuid tenant; /* nil: the world's */
    const struct cn_uuid *branches;
    size_t branch_count; /* the first is the default */
    const char *key;     /* of idempotency; NULL: one of its own per call */
    bool has_version;    /* If-Match */
    int64_t version;
    int64_t now_at;         /* 0: the world's clock */
    struct cn_arena *arena; /* of the request; NULL: the world's */
};

/* The reply; in the world's arena. */
struct test_answer {
    enum cn_code rc;
    struct cn_err err;
    struct cn_reply reply;
    const void *body; /* the method's output type, also of a replay; by CN_OK */
};

/* Calls "<...>/rpc" of the service's table as dispatch does: policy, handler,
 * again when it is stale, the reply of the key's first call when it was used
 * before. */
struct test_answer test_call(struct test_world *world,
                             const struct cn_service *service,
                             const struct test_caller *caller,
                             const char *rpc,
                             const ProtobufCMessage *body);

/* Runs one handler, of a request made by hand, without policy and commit. */
enum cn_code test_handle(cn_handler_fn *handler,
                         const struct cn_request *request,
                         struct cn_reply *reply,
                         struct cn_err *err);

/* One event as it came. */
struct test_event {
    const char *producer;
    const char *type;
    const char *aggregate_type;
    struct cn_uuid aggregate_id;
    int64_t aggregate_seq;
    int64_t occurred_at;   /* 0: now */
    struct cn_uuid tenant; /* nil: the world's */
    const ProtobufCMessage *payload;
};
/* Applies the event: packed and unpacked, handled, committed, and again when
 * it is stale. */
enum cn_code test_apply(struct test_world *world,
                        const struct cn_service *service,
                        const struct test_event *event,
                        struct cn_err *err);

/* Rows of the service's table of the world's tenant; where: NULL for all, or
 * "type = 'visit.booked'". */
long test_rows(struct test_world *world, const char *table, const char *where);

/* Would the client see the same failure? The place in the code is only for our
 * log. */
bool test_same_refusal(struct cn_err a, struct cn_err b);

#endif
