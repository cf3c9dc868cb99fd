/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the contract test share: contract.c (the tests of methods
 * and moves), contract_make.c (messages, records, events), contract_list.c,
 * contract_fail.c (memory and database that fail), contract_plan.c. */
#ifndef TEST_CONTRACT_INTERNAL_H
#define TEST_CONTRACT_INTERNAL_H

#include "tests/lib/call.h"
#include "tests/lib/contract.h"
#include "tests/lib/psql.h"

enum {
    CONTRACT_MADE_MAX = 512,
    CONTRACT_METHODS_MAX = 64,
    CONTRACT_SET_MAX = 12,
    CONTRACT_WHICH = 2, /* records of each kind that a tenant has */
    CONTRACT_TEXT_MAX = 512
};

/* A field of a record that must have a value: of its column's kind. */
struct contract_set {
    unsigned field; /* of the shown message */
    unsigned value; /* which record, or which word */
};

/* A record to be made. */
struct contract_spec {
    const struct cn_resource *resource;
    unsigned number;
    int which; /* its id is that of record `which`; -1: a new one */
    int state; /* 0: the first that it can be made in */
    struct contract_set sets[CONTRACT_SET_MAX];
    size_t set_count;
};

/* A record that is in the table. */
struct contract_made {
    const struct cn_resource *resource;
    struct cn_uuid id;
    const char *text;  /* the outside id */
    const void *shown; /* as it was made */
    int64_t place_at;
};

/* A method, and what its route says. */
struct contract_method {
    const struct cn_method *method;
    const struct cn_route *route; /* NULL: internal */
    const char *rpc;
    const struct cn_resource *target; /* that {id} of its path names, or NULL */
    const char *command;              /* of the target's moves, or NULL */
    bool patch;
    const char *role; /* that reaches farthest */
    const char
        *branch_role; /* that reaches its branches; NULL: there is none */
};

/* A test under way. */
struct contract_run {
    const struct contract *contract;
    struct test_world *world;
    struct test_psql *psql;
    struct contract_method methods[CONTRACT_METHODS_MAX];
    size_t method_count;
    int64_t base_at;
    unsigned number; /* of the last making */
    struct contract_made made[CONTRACT_MADE_MAX];
    size_t made_count;
    struct cn_err err; /* why the last record was not made */
    bool everywhere;   /* what is looked at are the rows of all tenants */
    unsigned faults;
};

/* A request, ready to be sent. */
struct contract_call {
    const struct contract_method *method;
    struct contract_made target; /* of a method with one */
    ProtobufCMessage *body;
    struct test_caller caller;
};

/* Prints a sentence when the condition is false. Returns the condition. */
bool contract_must(struct contract_run *run,
                   bool holds,
                   const char *format,
                   ...) CN_PRINTF(3, 4);
/* "404 not_found" of an answer, in static memory. */
const char *contract_outcome(const struct test_answer *answer);

/* Each method that is not excused. */
const struct contract_method *contract_first(struct contract_run *run);
const struct contract_method *contract_next(struct contract_run *run,
                                            const struct contract_method *m);
#define CONTRACT_EACH(run, m)                                                  \
    for (const struct contract_method *m = contract_first(run);                \
         m < (run)->methods + (run)->method_count; m = contract_next(run, m))

/* ---- contract_make.c ---- */

struct contract_maker contract_maker(struct contract_run *run, bool client);
struct cn_uuid contract_uuid(const struct contract_maker *self,
                             const char *prefix,
                             unsigned which);
void contract_fill(const struct contract *contract,
                   const struct contract_maker *maker,
                   const struct cn_shape *shape,
                   void *message);
/* Index of the field of that name, or -1. */
int contract_field(const struct cn_shape *shape, const char *name);
/* Sets an id to that of record `value`, an enum to its value number `value`. */
void contract_set(const struct contract_maker *maker,
                  const struct cn_shape *shape,
                  void *message,
                  unsigned field,
                  unsigned value);
const char *
contract_text(const struct cn_shape *shape, const void *message, unsigned at);
int contract_enum(const struct cn_shape *shape,
                  const void *message,
                  unsigned at);

/* The state in which such a record is made. */
int contract_first_state(const struct cn_resource *resource);
/* Puts the record as the service would. NULL: a constraint refused it, see
 * run->err. It is in run->made. */
const struct contract_made *contract_make(struct contract_run *run,
                                          const struct contract_spec *spec);
/* The same; fails the test when it cannot be made. */
const struct contract_made *
contract_must_make(struct contract_run *run, const struct contract_spec *spec);
/* Makes a new record of the kind, with nothing else set. */
const struct contract_made *contract_new(struct contract_run *run,
                                         const struct cn_resource *resource,
                                         int state);
/* Reads anew which records of the resource the tenant has: an event may have
 * made some. Those that were known keep their places in run->made. */
void contract_reload(struct contract_run *run,
                     const struct cn_resource *resource);
/* A tenant of its own, with what its records point to. */
void contract_settle(struct contract_run *run);

/* A request of the method, with a target of its own that it may be used on. */
struct contract_call contract_prepare(struct contract_run *run,
                                      const struct contract_method *method);
/* Names another target in the request. */
void contract_aim(struct contract_call *call, const char *id);
struct test_answer contract_send(struct contract_run *run,
                                 const struct contract_call *call);
/* All rows of the world's tenant in the service's tables, and the positions,
 * as a text. The text changes when a row does. */
const char *contract_state(struct contract_run *run);
const char *contract_state_without(struct contract_run *run, const char *table);
/* Rows of a table of the world's tenant. */
long contract_rows(struct contract_run *run,
                   const char *table,
                   const char *format,
                   ...) CN_PRINTF(3, 4);

/* One event of a subscription, about record `which`. */
struct contract_event {
    const struct cn_subscription *subscription;
    const struct cn_event_handler *handler;
    const struct cn_event_shape *shape;
    ProtobufCMessage *payload;
    struct cn_uuid aggregate_id;
    const char *aggregate_type;
    int64_t seq;
};
struct contract_event contract_event(struct contract_run *run,
                                     const struct cn_subscription *subscription,
                                     const struct cn_event_handler *handler,
                                     unsigned which);
/* Applies it as the consumer does, with the move of its position. */
enum cn_code contract_apply(struct contract_run *run,
                            const struct contract_event *event,
                            struct cn_arena *arena,
                            struct cn_err *err);
/* Are records of that prefix the service's own? */
bool contract_owns(const struct contract *contract, const char *prefix);
/* Is it excused? */
bool contract_excused(const struct contract *contract, const char *name);

/* The run of the test that is under way in the world. */
struct contract_run *contract_run_of(const struct test_world *world);

/* ---- the tests ---- */

void contract_filters(struct test_world *world);
void contract_pages(struct test_world *world);
void contract_memory(struct test_world *world);
void contract_reads(struct test_world *world);
void contract_effects(struct test_world *world);
void contract_steps(struct test_world *world);

/* ---- contract_plan.c ---- */

/* A database of its own, which is being filled with rows. */
struct contract_plans;
struct contract_plans *contract_plans_begin(const struct contract *contract);
/* False: a plan is not as it must be, or as it was. */
bool contract_plans_look(struct contract_plans *self);
void contract_plans_end(struct contract_plans *self);

#endif
