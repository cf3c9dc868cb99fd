/* SPDX-License-Identifier: Apache-2.0 */
/* A producer and replicas of a consumer that follow it over the bus, in one
 * loop. The producer's side is the world's env and database. Link tests/lib
 * with cmocka's assertions: what goes wrong here fails the test. */
#ifndef TEST_FOLLOW_H
#define TEST_FOLLOW_H

#include "common/bus/bus.h"
#include "common/contract/service.h"
#include "common/service/dispatch.h"
#include "tests/lib/pg.h"

struct test_keys {
    char public_key[CN_BUS_KEY_SIZE];
    char secret_key[CN_BUS_KEY_SIZE];
};

struct test_producer {
    struct test_world *world;
    struct cn_dispatch *dispatch;
    struct test_keys keys;
    struct test_keys consumer; /* of all its replicas */
};

struct test_replica {
    struct cn_env env;
};

/* Serves Events of service "probe" under the name "producer". */
void test_producer_open(struct test_producer *self,
                        struct test_world *world,
                        int epoch);
/* Follows from with a database of its own side. */
void test_replica_open(struct test_replica *self,
                       const struct test_producer *from,
                       const struct test_pg *pg,
                       const struct cn_service *consumer);
/* Stops the loop, lets all fibers end and frees all. */
void test_follow_close(struct test_producer *self,
                       struct test_replica *replicas,
                       size_t count);

/* One event of a "thing"; its payload is an evt FetchRequest whose limit is
 * number. */
void test_emit(struct test_world *world,
               struct cn_uuid tenant,
               const char *type,
               struct cn_uuid id,
               int64_t aggregate_seq,
               uint32_t number);
/* Events of things of their own, numbered from from. */
void test_emit_each(struct test_world *world,
                    const char *type,
                    uint32_t from,
                    uint32_t count);
/* For test_world_until: has the consumer in pg passed the whole log? Lets the
 * fibers go on meanwhile. */
struct test_follow_end {
    const struct test_world *world;
    const struct test_pg *pg;
};
bool test_follow_at_end(void *arg);

#endif
