/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/follow.h"

#include "common/inbox/consumer.h"
#include "common/loop/fiber.h"
#include "common/outbox/outbox.h"
#include "common/service/service.h"
#include "common/store/write.h"
#include "common/wire/message.h"

#include "cairn/events.cairn.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { PEERS_MAX = 128 };

static struct cn_service s_service = { .name = "probe" };

static void s_must(enum cn_code rc, const struct cn_err *err)
{
    if (rc != CN_OK) {
        (void)fprintf(stderr, "%s\n", err->msg);
        abort();
    }
}

static void s_keys(struct test_keys *keys)
{
    bool made = cn_bus_keypair(keys->public_key, keys->secret_key);
    assert(made);
}

void test_producer_open(struct test_producer *self,
                        struct test_world *world,
                        int epoch)
{
    struct cn_env *env = &world->env;
    struct cn_err err = { 0 };
    char peers[PEERS_MAX];
    *self = (struct test_producer){ .world = world };
    s_keys(&self->keys);
    s_keys(&self->consumer);
    env->outbox = cn_outbox_start(env, &s_service, epoch, &err);
    self->dispatch = cn_dispatch_new(env, &s_service);
    assert(env->outbox != NULL && self->dispatch != NULL);
    (void)snprintf(peers, sizeof(peers), "consumer=%s",
                   self->consumer.public_key);
    const struct cn_bus_config config = {
        .name = "producer",
        .secret_key = self->keys.secret_key,
        .bind = "tcp://127.0.0.1:*",
        .peers = peers,
    };
    s_must(cn_bus_new(env, &config, &env->bus, &err), &err);
    cn_bus_serve(env->bus, cn_dispatch_request, self->dispatch);
}

void test_replica_open(struct test_replica *self,
                       const struct test_producer *from,
                       const struct test_pg *pg,
                       const struct cn_service *consumer)
{
    const struct test_world *world = from->world;
    struct cn_db_config db = world->config;
    struct cn_err err = { 0 };
    char peers[PEERS_MAX];
    self->env = cn_env_real();
    self->env.committed = cn_service_committed;
    self->env.loop = world->env.loop;
    self->env.seal = world->env.seal;
    db.conninfo = pg->conninfo;
    self->env.db = cn_db_new(&self->env, &db);
    assert(self->env.db != NULL);
    s_must(cn_db_start(self->env.db, &err), &err);
    (void)snprintf(peers, sizeof(peers), "producer=%s", from->keys.public_key);
    const struct cn_bus_config config = { .name = "consumer",
                                          .secret_key =
                                              from->consumer.secret_key,
                                          .peers = peers };
    s_must(cn_bus_new(&self->env, &config, &self->env.bus, &err), &err);
    s_must(cn_bus_connect(self->env.bus, "producer",
                          cn_bus_address(world->env.bus), &err),
           &err);
    s_must(cn_consumers_start(&self->env, consumer, &err), &err);
}

void test_follow_close(struct test_producer *self,
                       struct test_replica *replicas,
                       size_t count)
{
    struct cn_env *env = &self->world->env;
    cn_loop_stop(env->loop);
    while (cn_fiber_count(env->loop) > 1) {
        enum cn_code rc = cn_fiber_sleep(1000);
        assert(rc == CN_OK);
    }
    for (size_t i = 0; i < count; i++) {
        cn_bus_free(replicas[i].env.bus);
        cn_db_free(replicas[i].env.db);
    }
    cn_bus_free(env->bus);
    cn_dispatch_free(self->dispatch);
    cn_outbox_free(env->outbox);
    env->outbox = NULL;
}

void test_emit(struct test_world *world,
               struct cn_uuid tenant,
               const char *type,
               struct cn_uuid id,
               int64_t aggregate_seq,
               uint32_t number)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    Evt__FetchRequest payload = EVT__FETCH_REQUEST__INIT;
    struct cn_err err = { 0 };
    CN_SET(&payload, limit, number);
    struct cn_write *write =
        cn_write_begin_system(&world->env, arena, tenant, "req_test");
    assert(write != NULL);
    cn_write_lock(write, "thing", id);
    cn_write_event(write, type, "thing", id, aggregate_seq, &payload.base);
    s_must(cn_write_commit(write, &err), &err);
}

void test_emit_each(struct test_world *world,
                    const char *type,
                    uint32_t from,
                    uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        test_emit(world, world->tenant, type, cn_uuid_new(&world->env), 1,
                  from + i);
    }
}

bool test_follow_at_end(void *arg)
{
    const struct test_follow_end *self = arg;
    /* psql blocks the loop: the fibers get their turns between two looks. */
    enum cn_code rc = cn_fiber_sleep(20000);
    assert(rc == CN_OK);
    char *end = test_pg_sql(self->world->pg,
                            "SELECT DISTINCT ON (partition) partition, epoch, "
                            "xid, seq FROM probe.outbox ORDER BY partition, "
                            "epoch DESC, xid DESC, seq DESC");
    char *at = test_pg_sql(self->pg,
                           "SELECT partition, epoch, xid, seq FROM "
                           "probe.inbox_position WHERE xid > '0' ORDER BY 1");
    bool same = strcmp(end, at) == 0;

    free(end);
    free(at);
    return same;
}
