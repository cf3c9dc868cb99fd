/* SPDX-License-Identifier: Apache-2.0 */
/* One test over all methods, resources, lists, moves, effects and statements
 * of a service, driven by its generated tables. tests/README.md says what it
 * checks. What it needs to know of a service is below; a short program,
 * tests/store/<service>_contract_test.c, fills it in.
 *
 * Messages are made by their shapes: each field gets a value that its rules
 * allow. An id is that of record 0 or 1 of its kind, which every tenant of the
 * test has: from the service itself, or from the events that it copies. */
#ifndef TEST_CONTRACT_H
#define TEST_CONTRACT_H

#include "common/contract/service.h"
#include "common/store/listing.h"
#include "tests/lib/psql.h"

/* Who makes a message. */
struct contract_maker {
    struct test_world *world;
    unsigned number; /* each number gives other times and texts */
    unsigned which;  /* of the records that its ids name: 0 or 1 */
    bool fresh;      /* ids of other services' records are new ones */
    int64_t base_at; /* begin of the present hour */
    bool client;     /* only what a client may send */
    const struct cn_method *method; /* of a request, else NULL */
    const char *event;              /* type of an event, else NULL */
    struct test_psql *psql;         /* for a row that no event tells */
};

/* The id of record `which` of a kind: "cln_...". */
const char *contract_id(const struct contract_maker *self,
                        const char *prefix,
                        unsigned which);
/* An instant that is later in later makings, and so many hours: in a client's
 * request a week from now or later, else in the past. */
int64_t contract_at(const struct contract_maker *self, int hours);

/* Exceptions, with the reason: an rpc, an event type or a statement that
 * cannot be called here, or that must read many rows; or "<test> <rpc>". */
struct contract_excuse {
    const char *name;
    const char *reason;
};

/* Values for the parameters of a statement whose plan for known values is not
 * that for the values that the test takes by their types. */
struct contract_args {
    const char *statement;
    const char *args; /* "NULL, 'rn', 51" */
};

/* For a table that is smaller than the others: its number of rows. And the
 * word of its state that most rows have, if that is not the last one of the
 * list. */
struct contract_size {
    const char *table;
    long rows; /* 0: as many as the others */
    const char *common;
};

/* A service. Lists end with an empty item; each may be NULL. */
struct contract {
    const struct cn_service *service;
    const char *folder; /* of migrations that are not the service's, or NULL */
    bool platform;      /* only the statements that every service has */
    /* Tables of moves beside those of the resources. */
    const struct cn_moves *const *moves;
    /* Called for each message that was made, the inner ones first: sets what
     * the shape does not tell. */
    void (*fill)(const struct contract_maker *maker, void *message);
    /* The same for each record that is put: what its message does not hold. */
    void (*record)(const struct contract_maker *maker,
                   struct cn_op *op,
                   struct cn_record *record);
    /* A command may pass states in between. So a state that its row does not
     * name may still allow it. */
    bool passes;
    /* Types of events that are applied in each new tenant, besides those of
     * snapshots. */
    const char *const *events;
    /* The caller is record 0 of the kind with this prefix; NULL: nobody. */
    const char *subject;
    const struct contract_excuse *excuses;
    const struct contract_size *sizes;
    const struct contract_args *args;
    /* Hand-written statements that read a page: with these values they must
     * read no other row. The statements of generated lists are checked without
     * being named here. */
    const struct contract_args *pages;
};

/* Runs it; for main() to return. */
int contract_main(const struct contract *contract);

#endif
