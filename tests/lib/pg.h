/* SPDX-License-Identifier: Apache-2.0 */
/* A private PostgreSQL for store tests, and a world (loop, database, seal) to
 * run a test's body in. A test is run from the repository's root.
 *
 * A failed assertion in a fiber cannot jump back to cmocka, so it prints and
 * aborts the program. */
#ifndef TEST_PG_H
#define TEST_PG_H

#include "common/base/arena.h"
#include "common/base/env.h"
#include "common/base/id.h"
#include "common/contract/service.h"
#include "common/db/db.h"
#include "common/loop/loop.h"

#include <stdio.h>

enum { TEST_TEXT_MAX = 256 };

/* The master keys of every world. */
extern const char TEST_SEAL_KEYS[];

/* One database in the server named by CAIRN_TEST_PG (<dir>:<port>), or in a
 * server of its own. */
struct test_pg {
    char server[TEST_TEXT_MAX]; /* <dir>:<port> */
    char dir[TEST_TEXT_MAX];    /* of the socket; the log is <dir>/log */
    char port[16];
    char database[64];
    char service[64];
    char conninfo[4 * TEST_TEXT_MAX];
    char app[80];
    char relay[80];
    struct test_psql *psql; /* of test_pg_sql */
    FILE *keeper;           /* stops the server when we end, however we end */
};

/* Makes a database with the migrations of build/migrations/<service>, or, with
 * a folder ("tests/store/probe"), of the template and that folder. Aborts when
 * it cannot. */
struct test_pg *test_pg_new(const char *service, const char *folder);
void test_pg_free(struct test_pg *self);
/* Runs SQL as the superuser and blocks; what it sets ends with it. Returns what
 * it printed, with '\n' between rows and '|' between columns; free it. */
char *test_pg_sql(const struct test_pg *self, const char *sql);
/* The same for one number. */
long test_pg_number(const struct test_pg *self, const char *sql);
/* Holds an advisory lock in a session of its own until it is released. */
struct test_hold;
struct test_hold *test_pg_hold(const struct test_pg *self, long key);
void test_pg_release(struct test_hold *hold);

/* What a body runs in. */
struct test_world {
    struct cn_env env;
    struct test_pg *pg;
    struct cn_arena *arena;
    struct cn_uuid tenant; /* a new one for each run */
    struct cn_db_config config;
    size_t fibers; /* of test_world_spawn, still running */
    void *data;    /* the test's own */
};

/* Runs body in a fiber with that many connections per lane; 0: without a
 * database. data is found in the world. */
void test_world_run(struct test_pg *pg,
                    unsigned connections,
                    void (*body)(struct test_world *world),
                    void *data);
/* A fiber beside the body, with a budget; the body waits for all with join. */
void test_world_spawn(struct test_world *self,
                      void (*fn)(void *arg),
                      void *arg,
                      int64_t budget_us);
/* To be called last by each spawned fiber. */
void test_world_ended(struct test_world *self);
void test_world_join(struct test_world *self);
/* Parks until the condition holds; fails the test after 10 s. */
void test_world_until(struct test_world *self,
                      bool (*holds)(void *arg),
                      void *arg);
/* A coordinator's request of the tenant, with a fingerprint made from `what`.
 * The test sets all other fields. */
struct cn_request test_world_request(struct test_world *self,
                                     struct cn_arena *arena,
                                     const struct cn_method *method,
                                     const char *key,
                                     const char *what);

#endif
