/* SPDX-License-Identifier: Apache-2.0 */
/* Follows the log of a service from its end at the gateway's start: one long
 * poll for all listeners. */
#ifndef GATEWAY_FOLLOW_H
#define GATEWAY_FOLLOW_H

#include "common/base/arena.h"
#include "common/base/env.h"
#include "common/base/err.h"

#include "cairn/events.pb-c.h"

struct follow;

enum { FOLLOW_LISTENERS_MAX = 2, FOLLOW_PAGE = 100 /* events */ };

/* A place in a log; zero is its beginning. */
struct follow_position {
    int64_t epoch;
    uint64_t xid;
    int64_t seq;
};

/* Below, at or above zero, in the order of the log. */
int follow_compare(struct follow_position a, struct follow_position b);
struct follow_position follow_position_of(const Evt__Position *position);

/* One answer of the service. */
struct follow_look {
    struct follow_position position; /* listeners have all events up to here */
    int64_t asked_at;                /* monotonic */
    bool whole; /* the log was read to its end as of asked_at */
    bool has_complete_until;
    int64_t complete_until; /* as in events.proto */
};

/* Both functions run in the follower's fiber and must not park: no other fiber
 * runs between the events of one answer and its end. */
struct follow_listener {
    /* Each event once, in the order of the log. */
    void (*event)(void *arg, struct cn_arena *arena, const Evt__Event *event);
    /* After the events of each answer. */
    void (*look)(void *arg, const struct follow_look *look);
    void *arg;
};

/* Starts the fiber; service is kept by pointer. */
CN_CHECKED enum cn_code follow_new(struct cn_env *env,
                                   const char *service,
                                   struct follow **ret_follow,
                                   struct cn_err *err);
/* After the loop has ended. NULL is accepted. */
void follow_free(struct follow *self);
/* Before the loop first runs. */
void follow_listen(struct follow *self, struct follow_listener listener);
const char *follow_service(const struct follow *self);
/* When the log was last read to its end, monotonic; 0: never. */
int64_t follow_fresh_at(const struct follow *self);

/* One Events/Fetch; the response is in the arena. after may be NULL. */
CN_CHECKED enum cn_code follow_fetch(struct cn_env *env,
                                     struct cn_arena *arena,
                                     const char *service,
                                     const Evt__FetchRequest *request,
                                     int64_t budget_us,
                                     const Evt__FetchResponse **ret_response,
                                     struct cn_err *err);

#endif
