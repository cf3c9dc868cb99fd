/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots from one service to another. Pages cover many tenants while these
 * change. A consumer rebuilds its copies from them and is ended in every way.
 */
#include "common/outbox/snapshot.h"
#include "common/service/service.h"

#include "common/bus/bus.h"
#include "common/inbox/consumer.h"
#include "common/inbox/dead_letter.h"
#include "common/loop/fiber.h"
#include "common/outbox/outbox.h"
#include "common/service/dispatch.h"
#include "common/store/record.h"
#include "common/store/write.h"
#include "common/wire/message.h"
#include "common/wire/seal.h"
#include "tests/lib/call.h"
#include "tests/lib/pg.h"

#include "cairn/events.cairn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    ROWS = 10000,
    TENANTS = 7,
    FEW = 450, /* rows of the rebuilds: five pages */
    SQL_MAX = 1024,
    POISON = 1 << 20 /* a value that no handler takes */
};

static struct test_pg *s_producer_pg;
static struct test_pg *s_consumer_pg;

/* ---- the producer: items ---- */

/* The columns of a resource; the value of an item is its `also`. */
CN_SQL_READ(SQL_ITEMS_AFTER,
            "SELECT i.id, NULL::uuid, NULL::uuid, now(), 1::bigint,"
            " i.event_seq, i.body, i.value::text FROM probe.item i"
            " WHERE i.id > $1 ORDER BY i.id LIMIT $2");

static void *s_item_tell(struct cn_op *op, struct cn_record *record)
{
    Evt__FetchRequest *payload =
        CN_NEW(op->arena, evt__fetch_request, Evt__FetchRequest);
    CN_SET(payload, limit, (uint32_t)strtoul(record->also, NULL, 10));
    return payload;
}

static const char ITEM_CONTEXT[] = "probe.item.body";
static const struct cn_resource ITEM = {
    .name = "item",
    .context = ITEM_CONTEXT,
    .shape = &evt__fetch_request__shape,
    .shown = &evt__fetch_request__shape,
    .shows = -1,
    .tell = s_item_tell,
    .after = &SQL_ITEMS_AFTER,
};
static const struct cn_resource *const RESOURCES[] = { &ITEM, NULL };
static const struct cn_event_shape EVENTS[] = {
    { "item.changed", "", &evt__fetch_request__shape },
    { "item.snapshot", "", &evt__fetch_request__shape },
    { "work.done", "", &evt__fetch_response__shape },
};
static struct cn_service s_producer = { .name = "probe",
                                        .resources = RESOURCES,
                                        .events = EVENTS,
                                        .event_count = CN_COUNT(EVENTS) };

static const char TABLES[] =
    "CREATE TABLE probe.item (tenant_id uuid, id uuid, event_seq bigint,"
    " value bigint, body bytea, PRIMARY KEY (tenant_id, id));"
    "ALTER TABLE probe.item ENABLE ROW LEVEL SECURITY;"
    "CREATE POLICY tenant ON probe.item TO probe_app"
    " USING (tenant_id = current_setting('cairn.tenant')::uuid);"
    "GRANT SELECT, INSERT, UPDATE ON probe.item TO probe_app;"
    /* One event of each item, as its write would have added it; the payload is
     * of no use, for it is deleted before somebody asks. */
    "CREATE FUNCTION probe.items_make(tenant uuid, n int, body bytea)"
    " RETURNS void LANGUAGE sql AS $$"
    " WITH i AS (INSERT INTO probe.item SELECT tenant,"
    " gen_random_uuid(), 1, g, body FROM generate_series(1, n) g RETURNING *)"
    " INSERT INTO probe.outbox (tenant_id, epoch, partition, event_id,"
    " aggregate_type, aggregate_id, aggregate_seq, type, payload, actor,"
    " occurred_at) SELECT tenant, 1, i.value % 16, gen_random_uuid(), 'item',"
    " i.id, 1, 'item.changed', '\\x00', 'test', now() FROM i $$;";

/* ---- the consumer: copies, and an effect that reads them ---- */

CN_SQL_WRITE(SQL_COPY_KEEP,
             "INSERT INTO probe.item AS i (tenant_id, id, event_seq, value)"
             " VALUES ($1, $2, $3, $4) ON CONFLICT (tenant_id, id)"
             " DO UPDATE SET event_seq = excluded.event_seq,"
             " value = excluded.value"
             " WHERE i.event_seq <= excluded.event_seq");

struct effects {
    unsigned calls;
    long copies; /* that the last one found */
    unsigned refused;
};
static struct effects s_effects;

static void s_copy(struct cn_op *op, const struct cn_event *event)
{
    struct effects *effects = op->self;
    const Evt__FetchRequest *payload = event->payload;
    if (payload->limit >= POISON) {
        effects->refused++;
        cn_refuse(op, CN_INVALID, NULL, "this row is not to be had");
        return;
    }
    CN_CHANGE(op, &SQL_COPY_KEEP, cn_uuid(event->tenant_id),
              cn_uuid(event->aggregate_id), cn_int(event->aggregate_seq),
              cn_int(payload->limit));
}

CN_SQL_READ(SQL_COPIES, "SELECT count(*) FROM probe.item");

static void s_effect(struct cn_op *op, const struct cn_event *event)
{
    struct effects *effects = op->self;
    const struct cn_rows *rows = cn_read(op, &SQL_COPIES, NULL, 0);
    if (cn_failed(op)) {
        return;
    }
    effects->calls++;
    effects->copies = cn_row_int(rows, 0, 0);
    cn_audit(op, "effect", event->type, (struct cn_uuid){ 0 });
}

static const struct cn_event_handler HANDLERS[] = {
    { "item.changed", s_copy, .copy = true },
    { "item.snapshot", s_copy, .copy = true },
    { "work.done", s_effect, .copy = false },
};
static const struct cn_subscription SUBSCRIPTIONS[] = {
    { "producer", EVENTS, 3, HANDLERS, 3 },
};
static struct cn_service s_consumer = { .name = "probe",
                                        .subscriptions = SUBSCRIPTIONS,
                                        .subscription_count = 1,
                                        .self = &s_effects };

/* ---- two services in one loop ---- */

struct keys {
    char public_key[CN_BUS_KEY_SIZE];
    char secret_key[CN_BUS_KEY_SIZE];
};
static struct keys s_producer_keys;
static struct keys s_consumer_keys;

struct producer {
    struct test_world *world;
    struct cn_dispatch *dispatch;
};

struct replica {
    struct cn_env env;
};

static void s_producer_open(struct producer *self, struct test_world *world)
{
    struct cn_err err = { 0 };
    char peers[128];
    *self = (struct producer){ .world = world };
    world->env.outbox = cn_outbox_start(&world->env, &s_producer, 1, &err);
    assert_non_null(world->env.outbox);
    self->dispatch = cn_dispatch_new(&world->env, &s_producer);
    assert_non_null(self->dispatch);
    (void)snprintf(peers, sizeof(peers), "consumer=%s",
                   s_consumer_keys.public_key);
    const struct cn_bus_config config = {
        .name = "producer",
        .secret_key = s_producer_keys.secret_key,
        .bind = "tcp://127.0.0.1:*",
        .peers = peers,
    };
    assert_int_equal(cn_bus_new(&world->env, &config, &world->env.bus, &err),
                     CN_OK);
    cn_bus_serve(world->env.bus, cn_dispatch_request, self->dispatch);
}

static void s_replica_open(struct replica *self, const struct producer *from)
{
    const struct test_world *world = from->world;
    struct cn_db_config db = world->config;
    struct cn_err err = { 0 };
    char peers[128];
    self->env = cn_env_real();
    self->env.committed = cn_service_committed;
    self->env.loop = world->env.loop;
    self->env.seal = world->env.seal;
    db.conninfo = s_consumer_pg->conninfo;
    self->env.db = cn_db_new(&self->env, &db);
    assert_non_null(self->env.db);
    assert_int_equal(cn_db_start(self->env.db, &err), CN_OK);
    (void)snprintf(peers, sizeof(peers), "producer=%s",
                   s_producer_keys.public_key);
    const struct cn_bus_config config = { .name = "consumer",
                                          .secret_key =
                                              s_consumer_keys.secret_key,
                                          .peers = peers };
    assert_int_equal(cn_bus_new(&self->env, &config, &self->env.bus, &err),
                     CN_OK);
    assert_int_equal(cn_bus_connect(self->env.bus, "producer",
                                    cn_bus_address(world->env.bus), &err),
                     CN_OK);
    assert_int_equal(cn_consumers_start(&self->env, &s_consumer, &err), CN_OK);
}

static void
s_close(struct producer *self, struct replica *replicas, size_t count)
{
    struct cn_env *env = &self->world->env;
    cn_loop_stop(env->loop);
    while (cn_fiber_count(env->loop) > 1) {
        assert_int_equal(cn_fiber_sleep(1000), CN_OK);
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

static void s_run(void (*body)(struct test_world *world))
{
    test_world_run(s_producer_pg, 2, body, NULL);
}

static int s_empty(void **state)
{
    (void)state;
    free(test_pg_sql(s_producer_pg, "TRUNCATE probe.outbox, probe.outbox_cut,"
                                    " probe.outbox_tenant, probe.item"));
    free(test_pg_sql(s_consumer_pg,
                     "TRUNCATE probe.audit, probe.inbox_position, probe.lease,"
                     " probe.replica, probe.dead_letter, probe.rebuild,"
                     " probe.item"));
    memset(&s_effects, 0, sizeof(s_effects));
    return 0;
}

/* ---- rows and events ---- */

static void s_items_make(struct test_world *world, unsigned n, int rows)
{
    char sql[SQL_MAX];
    struct cn_uuid tenant = world->tenant;
    char text[CN_UUID_TEXT_SIZE];
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    const Evt__FetchRequest empty = EVT__FETCH_REQUEST__INIT;
    struct cn_bytes body;
    struct cn_err err = { 0 };
    tenant.bytes[15] = (uint8_t)(tenant.bytes[15] + n);
    cn_uuid_format(tenant, text);
    assert_int_equal(cn_seal_message(&world->env, arena, tenant, ITEM_CONTEXT,
                                     &empty.base, &body, &err),
                     CN_OK);
    char *hex = cn_arena_alloc(arena, 2 * body.size + 1);
    cn_hex(body.data, body.size, hex);
    (void)snprintf(sql, sizeof(sql),
                   "SELECT probe.items_make('%s', %d, '\\x%s')", text, rows,
                   hex);
    free(test_pg_sql(s_producer_pg, sql));
}

/* An event of the log. The item's row is changed by the caller. */
static void s_emit(struct test_world *world,
                   const char *type,
                   const char *aggregate_type,
                   struct cn_uuid id,
                   int64_t aggregate_seq,
                   uint32_t value)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    Evt__FetchRequest payload = EVT__FETCH_REQUEST__INIT;
    struct cn_err err = { 0 };
    CN_SET(&payload, limit, value);
    struct cn_write *write =
        cn_write_begin_system(&world->env, arena, world->tenant, "req_test");
    assert_non_null(write);
    cn_write_lock(write, aggregate_type, id);
    cn_write_event(write, type, aggregate_type, id, aggregate_seq,
                   &payload.base);
    assert_int_equal(cn_write_commit(write, &err), CN_OK);
}

static struct cn_uuid s_first_item(void)
{
    char *text = test_pg_sql(s_producer_pg,
                             "SELECT id FROM probe.item ORDER BY id LIMIT 1");
    struct cn_uuid id;
    assert_true(cn_uuid_parse(text, &id));
    free(text);
    return id;
}

static long s_number(const char *sql)
{
    return test_pg_number(s_consumer_pg, sql);
}

/* psql blocks the loop: the fibers get their turns between two looks. */
static bool s_holds(void *arg)
{
    assert_int_equal(cn_fiber_sleep(20000), CN_OK);
    return s_number(arg) == 1;
}

static void s_await(struct test_world *world, const char *sql)
{
    char query[SQL_MAX];
    (void)snprintf(query, sizeof(query), "SELECT count(*) WHERE %s", sql);
    test_world_until(world, s_holds, query);
}

#define REBUILT "EXISTS (SELECT FROM probe.rebuild WHERE ended_at IS NOT NULL)"

static void s_assert_equal_rows(void)
{
    static const char ALL[] =
        "SELECT tenant_id, id, event_seq, value FROM probe.item ORDER BY 1, 2";
    char *owned = test_pg_sql(s_producer_pg, ALL);
    char *copied = test_pg_sql(s_consumer_pg, ALL);
    assert_string_equal(copied, owned);
    free(owned);
    free(copied);
}

/* ---- pages ---- */

static const Evt__SnapshotResponse *s_page(struct test_world *world,
                                           struct cn_arena *arena,
                                           const Evt__SnapshotCursor *after,
                                           const char *type,
                                           enum cn_code expected)
{
    static const struct cn_method METHOD = { .name =
                                                 "events.v1.Events/Snapshot" };
    Evt__SnapshotRequest body = EVT__SNAPSHOT_REQUEST__INIT;
    struct cn_reply reply = { 0 };
    struct cn_err err = { 0 };
    if (after != NULL) {
        body.after = cn_arena_copy(arena, after, sizeof(*after));
    }
    body.type = &type;
    body.n_type = type != NULL;
    struct cn_request request =
        test_world_request(world, arena, &METHOD, NULL, "snapshot");
    request.principal = (struct cn_principal){ 0 };
    request.service = &s_producer;
    request.body = &body;
    assert_int_equal(test_handle(cn_snapshot_page, &request, &reply, &err),
                     expected);
    return (const Evt__SnapshotResponse *)reply.body;
}

/* A place in a snapshot, kept beyond the memory of its page. */
struct place {
    uint8_t tenant_id[16];
    uint8_t id[16];
    Evt__SnapshotCursor cursor;
};

static bool s_place_move(struct place *self, const Evt__Event *event)
{
    int order = memcmp(self->tenant_id, event->tenant_id.data, 16);
    bool later =
        order < 0 ||
        (order == 0 && memcmp(self->id, event->aggregate_id.data, 16) < 0);
    memcpy(self->tenant_id, event->tenant_id.data, 16);
    memcpy(self->id, event->aggregate_id.data, 16);
    return later;
}

static const Evt__SnapshotCursor *s_place_keep(struct place *self,
                                               const Evt__SnapshotCursor *next)
{
    if (next == NULL) {
        return NULL;
    }
    memcpy(self->tenant_id, next->tenant_id.data, 16);
    memcpy(self->id, next->id.data, 16);
    evt__snapshot_cursor__init(&self->cursor);
    self->cursor.aggregate_type = "item";
    self->cursor.has_tenant_id = self->cursor.has_id = 1;
    self->cursor.tenant_id = (ProtobufCBinaryData){ 16, self->tenant_id };
    self->cursor.id = (ProtobufCBinaryData){ 16, self->id };
    return &self->cursor;
}

/* All rows come once, in their order, while half of them change, new ones
 * come, and the log is deleted between the pages. */
static void s_pages(struct test_world *world)
{
    const Evt__SnapshotCursor *after = NULL;
    struct place last = { .id = { 0 } };
    struct place next;
    struct cn_err err = { 0 };
    size_t rows = 0;
    size_t changed = 0;
    size_t pages = 0;
    world->env.outbox = cn_outbox_start(&world->env, &s_producer, 1, &err);
    assert_non_null(world->env.outbox);
    for (unsigned n = 0; n < TENANTS; n++) {
        s_items_make(world, n, n == 0 ? ROWS - (TENANTS - 1) * 1000 : 1000);
    }
    free(test_pg_sql(s_producer_pg, "DELETE FROM probe.outbox WHERE"
                                    " tenant_id = (SELECT min(tenant_id::text)"
                                    "::uuid FROM probe.outbox)"));
    do {
        CN_ARENA_AUTO struct cn_arena *arena =
            cn_arena_new(CN_ARENA_REQUEST_MAX);
        const Evt__SnapshotResponse *page =
            s_page(world, arena, after, "item.snapshot", CN_OK);
        assert_int_equal(page->head != NULL, after == NULL);
        for (size_t i = 0; i < page->n_events; i++) {
            const Evt__Event *event = page->events[i];
            assert_string_equal(event->type, "item.snapshot");
            assert_true(s_place_move(&last, event));
            rows += event->aggregate_seq < 3;
            changed += event->aggregate_seq == 2;
        }
        after = s_place_keep(&next, page->next);
        pages++;
        if (pages == 20) {
            free(test_pg_sql(s_producer_pg,
                             "UPDATE probe.item SET event_seq = 2;"
                             "DELETE FROM probe.outbox;"
                             "INSERT INTO probe.item SELECT tenant_id,"
                             " gen_random_uuid(), 3, 0, body FROM probe.item"
                             " LIMIT 500"));
        }
    } while (after != NULL);
    assert_int_equal(rows, ROWS);
    assert_int_equal(changed, ROWS - 20 * CN_SNAPSHOT_LIMIT_MAX);
    assert_in_range(pages, ROWS / CN_SNAPSHOT_LIMIT_MAX,
                    ROWS / CN_SNAPSHOT_LIMIT_MAX + 10);
    /* A type that the service does not have: no rows, and the beginning of the
     * log. */
    const Evt__SnapshotResponse *none =
        s_page(world, world->arena, NULL, "thing.snapshot", CN_OK);
    assert_int_equal(none->n_events, 0);
    assert_null(none->next);
    assert_int_equal(none->n_cut, 16);
    cn_loop_stop(world->env.loop);
    while (cn_fiber_count(world->env.loop) > 1) {
        assert_int_equal(cn_fiber_sleep(1000), CN_OK);
    }
    cn_outbox_free(world->env.outbox);
    world->env.outbox = NULL;
}

static void every_row_of_every_tenant_is_shown_once(void **state)
{
    (void)state;
    s_run(s_pages);
}

static void s_refusals(struct test_world *world)
{
    Evt__SnapshotCursor cursor = EVT__SNAPSHOT_CURSOR__INIT;
    uint8_t id[16] = { 0 };
    cursor.aggregate_type = "item";
    (void)s_page(world, world->arena, &cursor, NULL, CN_INVALID);
    cursor.has_id = cursor.has_tenant_id = 1;
    cursor.id = cursor.tenant_id = (ProtobufCBinaryData){ sizeof(id), id };
    cursor.aggregate_type = "nothing";
    (void)s_page(world, world->arena, &cursor, NULL, CN_INVALID);
    /* Nor of a service that has no resources. */
    s_producer.resources = NULL;
    cursor.aggregate_type = "item";
    (void)s_page(world, world->arena, &cursor, NULL, CN_INVALID);
    s_producer.resources = RESOURCES;

    static const struct cn_method METHOD = { .name =
                                                 "events.v1.Events/Snapshot" };
    struct cn_request request =
        test_world_request(world, world->arena, &METHOD, NULL, "snapshot");
    Evt__SnapshotRequest body = EVT__SNAPSHOT_REQUEST__INIT;
    struct cn_reply reply = { 0 };
    struct cn_err err = { 0 };
    request.body = &body;
    assert_int_equal(test_handle(cn_snapshot_page, &request, &reply, &err),
                     CN_FORBIDDEN);
}

static void a_client_sees_no_snapshot_and_no_cursor_is_made_up(void **state)
{
    (void)state;
    s_run(s_refusals);
}

static void no_snapshot_is_ever_in_a_log(void **state)
{
    (void)state;
    char *answer = test_pg_sql(
        s_producer_pg,
        "CREATE FUNCTION pg_temp.try() RETURNS text LANGUAGE plpgsql AS $$"
        " DECLARE name text; BEGIN INSERT INTO probe.outbox (tenant_id, epoch,"
        " partition, event_id, aggregate_type, aggregate_id, aggregate_seq,"
        " type, payload, actor, occurred_at) VALUES (gen_random_uuid(), 1, 0,"
        " gen_random_uuid(), 'item', gen_random_uuid(), 1, 'item.snapshot',"
        " '', 'test', now()); RETURN 'taken'; EXCEPTION WHEN check_violation"
        " THEN GET STACKED DIAGNOSTICS name = CONSTRAINT_NAME; RETURN name;"
        " END $$; SELECT pg_temp.try()");
    assert_string_equal(answer, "outbox_type");
    free(answer);
}

/* ---- rebuilds ---- */

static void s_log_is_gone(struct test_world *world)
{
    struct producer producer;
    struct replica replica;
    s_producer_open(&producer, world);
    s_items_make(world, 0, FEW);
    s_items_make(world, 1, 1);
    free(test_pg_sql(s_producer_pg, "DELETE FROM probe.outbox"));
    s_replica_open(&replica, &producer);
    s_await(world, REBUILT);
    s_assert_equal_rows();
    /* From there the consumer reads the log, and asks for no other snapshot. */
    struct cn_uuid id = s_first_item();
    free(test_pg_sql(s_producer_pg, "UPDATE probe.item SET event_seq = 2,"
                                    " value = 4242 WHERE id = (SELECT id FROM"
                                    " probe.item ORDER BY id LIMIT 1)"));
    char tenant[64];
    char *text = test_pg_sql(
        s_producer_pg, "SELECT tenant_id FROM probe.item ORDER BY id LIMIT 1");
    (void)snprintf(tenant, sizeof(tenant), "%s", text);
    free(text);
    assert_true(cn_uuid_parse(tenant, &world->tenant));
    s_emit(world, "item.changed", "item", id, 2, 4242);
    s_await(world, "EXISTS (SELECT FROM probe.item WHERE value = 4242)");
    s_assert_equal_rows();
    assert_int_equal(s_number("SELECT loaded FROM probe.rebuild"), FEW + 1);
    s_close(&producer, &replica, 1);
}

static void a_consumer_behind_the_log_begins_with_a_snapshot(void **state)
{
    (void)state;
    s_run(s_log_is_gone);
}

static void s_whole_log(struct test_world *world)
{
    struct producer producer;
    struct replica replica;
    s_producer_open(&producer, world);
    for (uint32_t i = 0; i < 20; i++) {
        s_emit(world, "item.changed", "item", cn_uuid_new(&world->env), 1, i);
    }
    s_replica_open(&replica, &producer);
    s_await(world, "20 = (SELECT count(*) FROM probe.item)");
    assert_int_equal(s_number("SELECT count(*) FROM probe.rebuild"), 0);
    s_close(&producer, &replica, 1);
}

static void a_whole_log_needs_no_snapshot(void **state)
{
    (void)state;
    s_run(s_whole_log);
}

static void s_ask(void)
{
    free(test_pg_sql(s_consumer_pg,
                     "BEGIN; TRUNCATE probe.item;"
                     "SELECT probe.rebuild_ask('producer', true); COMMIT"));
}

/* The copies are from two pages: the third one seems to wait for a lock. */
static void s_slow_add(void)
{
    free(test_pg_sql(
        s_consumer_pg,
        "CREATE OR REPLACE FUNCTION probe.slow() RETURNS trigger LANGUAGE"
        " plpgsql AS $$ BEGIN IF (SELECT loaded FROM probe.rebuild) >= 200 THEN"
        " RAISE lock_not_available; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER slow BEFORE INSERT ON probe.item"
        " FOR EACH ROW EXECUTE FUNCTION probe.slow()"));
}

static void s_slow_drop(void)
{
    free(test_pg_sql(s_consumer_pg, "DROP TRIGGER slow ON probe.item"));
}

/* Stopped after some pages; the next process goes on after the last. */
static void s_first_pages(struct test_world *world)
{
    struct producer producer;
    struct replica replica;
    s_producer_open(&producer, world);
    s_items_make(world, 0, FEW);
    free(test_pg_sql(s_producer_pg, "DELETE FROM probe.outbox"));
    s_slow_add();
    s_replica_open(&replica, &producer);
    s_await(world, "200 = (SELECT loaded FROM probe.rebuild)");
    s_close(&producer, &replica, 1);
}

static void s_other_pages(struct test_world *world)
{
    struct producer producer;
    struct replica replica;
    s_producer_open(&producer, world);
    s_replica_open(&replica, &producer);
    s_await(world, REBUILT);
    s_close(&producer, &replica, 1);
}

static void a_rebuild_goes_on_after_its_last_page(void **state)
{
    (void)state;
    s_run(s_first_pages);
    s_slow_drop();
    /* As if its lease had lapsed: a killed process does not renew its claim. */
    free(test_pg_sql(s_consumer_pg,
                     "UPDATE probe.rebuild SET claimed_until = now()"));
    s_run(s_other_pages);
    assert_int_equal(s_number("SELECT loaded FROM probe.rebuild"), FEW);
    assert_int_equal(s_number("SELECT failed FROM probe.rebuild"), 0);
    s_assert_equal_rows();
}

static void s_two_load(struct test_world *world)
{
    struct producer producer;
    struct replica replicas[2];
    s_producer_open(&producer, world);
    s_items_make(world, 0, FEW);
    free(test_pg_sql(s_producer_pg, "DELETE FROM probe.outbox"));
    s_replica_open(&replicas[0], &producer);
    s_replica_open(&replicas[1], &producer);
    s_await(world, REBUILT);
    s_ask();
    s_await(world, REBUILT);
    s_close(&producer, replicas, 2);
}

static void of_two_replicas_one_loads(void **state)
{
    (void)state;
    s_run(s_two_load);
    assert_int_equal(s_number("SELECT loaded FROM probe.rebuild"), FEW);
    s_assert_equal_rows();
}

static void s_bad_row(struct test_world *world)
{
    struct producer producer;
    struct replica replica;
    s_producer_open(&producer, world);
    s_items_make(world, 0, 5);
    free(test_pg_sql(s_producer_pg,
                     "DELETE FROM probe.outbox;"
                     "UPDATE probe.item SET value = 1048577 WHERE id = (SELECT"
                     " id FROM probe.item ORDER BY id OFFSET 2 LIMIT 1)"));
    s_replica_open(&replica, &producer);
    s_await(world, REBUILT);
    s_close(&producer, &replica, 1);
}

static void a_row_that_no_handler_takes_is_given_up_alone(void **state)
{
    (void)state;
    s_run(s_bad_row);
    assert_int_equal(s_number("SELECT loaded FROM probe.rebuild"), 4);
    assert_int_equal(s_number("SELECT failed FROM probe.rebuild"), 1);
    assert_int_equal(s_number("SELECT count(*) FROM probe.item"), 4);
    /* First as one row of its page, then alone. */
    assert_int_equal(s_effects.refused, 1 + CN_EVENT_ATTEMPTS_MAX);
}

/* An effect that comes before the copies waits for them. It is neither lost
 * nor repeated. */
static void s_effect_waits(struct test_world *world)
{
    struct producer producer;
    struct replica replica;
    s_producer_open(&producer, world);
    s_items_make(world, 0, FEW);
    free(test_pg_sql(s_producer_pg, "DELETE FROM probe.outbox"));
    s_replica_open(&replica, &producer);
    s_await(world, REBUILT);
    s_emit(world, "work.done", "work", cn_uuid_new(&world->env), 1, 0);
    s_await(world, "1 = (SELECT count(*) FROM probe.audit)");
    assert_int_equal(s_effects.copies, FEW);
    for (int i = 0; i < 2; i++) {
        s_effects.copies = 0;
        s_ask();
        s_emit(world, "work.done", "work", cn_uuid_new(&world->env), 1, 0);
        char sql[SQL_MAX];
        (void)snprintf(sql, sizeof(sql),
                       "%d = (SELECT count(*) FROM probe.audit)", 2 + i);
        s_await(world, sql);
        assert_int_equal(s_effects.copies, FEW);
        s_await(world, REBUILT);
    }
    s_close(&producer, &replica, 1);
}

static void an_effect_waits_for_the_copies_that_it_reads(void **state)
{
    (void)state;
    s_run(s_effect_waits);
    assert_int_equal(s_number("SELECT count(*) FROM probe.audit"), 3);
    assert_int_equal(s_number("SELECT count(*) FROM probe.dead_letter"), 0);
}

/* The effect of a dead letter that is tried again waits too. */
static void s_letter_waits(struct test_world *world)
{
    struct producer producer;
    struct replica replica;
    struct cn_err err = { 0 };
    s_producer_open(&producer, world);
    s_emit(world, "work.done", "work", cn_uuid_new(&world->env), 1, 0);
    s_replica_open(&replica, &producer);
    s_await(world, "1 = (SELECT count(*) FROM probe.audit)");
    char *letter = test_pg_sql(
        s_producer_pg,
        "SELECT format('INSERT INTO probe.dead_letter (tenant_id, event_id,"
        " producer, aggregate_type, aggregate_id, aggregate_seq, type, error,"
        " epoch, xid, seq, created_at, status) VALUES (%L, %L, %L, %L, %L, 1,"
        " %L, %L, 1, %L, %L, now(), %L)', tenant_id, event_id, 'producer',"
        " 'work', aggregate_id, type, 'x', xid, seq, 'retrying')"
        " FROM probe.outbox WHERE type = 'work.done'");
    /* A rebuild of another release: this release neither loads nor ends it. */
    free(test_pg_sql(
        s_consumer_pg,
        "INSERT INTO probe.inbox_position (producer, partition, epoch, xid,"
        " seq) VALUES ('elsewhere', 0, 0, '0', 0);"
        "INSERT INTO probe.replica (producer, id, until) VALUES ('elsewhere',"
        " gen_random_uuid(), now() + interval '1 hour');"
        "SELECT probe.rebuild_ask('elsewhere', true)"));
    free(test_pg_sql(s_consumer_pg, letter));
    free(letter);
    assert_int_equal(cn_dead_letters_start(&replica.env, &s_consumer, &err),
                     CN_OK);
    assert_int_equal(cn_fiber_sleep(CN_SECOND / 2), CN_OK);
    assert_int_equal(s_number("SELECT count(*) FROM probe.dead_letter"
                              " WHERE status = 'retrying'"),
                     1);
    free(test_pg_sql(s_consumer_pg, "UPDATE probe.rebuild SET ended_at = now()"
                                    " WHERE producer = 'elsewhere'"));
    s_await(world, "EXISTS (SELECT FROM probe.dead_letter"
                   " WHERE status = 'done')");
    s_close(&producer, &replica, 1);
}

static void a_dead_letter_waits_for_the_copies_that_it_reads(void **state)
{
    (void)state;
    s_run(s_letter_waits);
    assert_int_equal(s_number("SELECT count(*) FROM probe.audit"), 2);
}

/* ---- asked for by an operator ---- */

static void s_asked_twice(struct test_world *world)
{
    static const char ASKED_AT[] =
        "SELECT extract(epoch FROM asked_at) * 1000000 FROM probe.rebuild";
    struct producer producer;
    struct replica replica;
    struct cn_err err = { 0 };
    s_producer_open(&producer, world);
    s_items_make(world, 0, FEW);
    free(test_pg_sql(s_producer_pg, "DELETE FROM probe.outbox"));
    s_replica_open(&replica, &producer);
    s_await(world, REBUILT);
    long first_at = s_number(ASKED_AT);
    s_slow_add();
    free(test_pg_sql(s_consumer_pg, "UPDATE probe.item SET value = 0"));
    assert_int_equal(
        cn_rebuild_ask(&replica.env, &s_consumer, "producer", &err), CN_OK);
    s_await(world, "200 = (SELECT loaded FROM probe.rebuild)");
    long asked_at = s_number(ASKED_AT);
    assert_true(asked_at > first_at);
    assert_int_equal(
        cn_rebuild_ask(&replica.env, &s_consumer, "producer", &err), CN_OK);
    assert_int_equal(cn_rebuild_ask(&replica.env, &s_consumer, NULL, &err),
                     CN_OK);
    assert_int_equal(s_number("SELECT loaded FROM probe.rebuild"), 200);
    assert_int_equal(s_number(ASKED_AT), asked_at);
    s_slow_drop();
    s_await(world, REBUILT);
    assert_int_equal(s_number("SELECT loaded FROM probe.rebuild"), FEW);
    s_assert_equal_rows();
    /* A rebuild that has ended begins again. */
    assert_int_equal(cn_rebuild_ask(&replica.env, &s_consumer, NULL, &err),
                     CN_OK);
    assert_true(s_number(ASKED_AT) > asked_at);
    s_await(world, REBUILT);
    s_close(&producer, &replica, 1);
}

static void to_ask_twice_is_to_ask_once(void **state)
{
    (void)state;
    s_run(s_asked_twice);
    assert_int_equal(s_number("SELECT loaded FROM probe.rebuild"), FEW);
}

static void s_refused(struct test_world *world)
{
    struct cn_env env = world->env;
    struct cn_err err = { 0 };
    env.db = NULL;
    assert_int_equal(cn_rebuild_ask(&env, &s_consumer, "nobody", &err),
                     CN_INVALID);
    assert_int_equal(err.field_count, 1);
    assert_string_equal(err.fields[0].pointer, "/producer");
    assert_string_equal(err.fields[0].word, "unknown_producer");
    /* Followed, but no position was made yet. */
    cn_err_clear(&err);
    assert_int_equal(cn_rebuild_ask(&world->env, &s_consumer, "producer", &err),
                     CN_UNAVAILABLE);
    assert_int_equal(
        test_pg_number(s_producer_pg, "SELECT count(*) FROM probe.rebuild"), 0);
}

static void what_is_not_followed_is_not_rebuilt(void **state)
{
    (void)state;
    s_run(s_refused);
}

/* Two producers that this release does not follow. A live replica of another
 * release follows one of them: while its rebuild is open no effect may run. */
static void s_unfollowed(struct test_world *world)
{
    struct producer producer;
    struct replica replica;
    s_producer_open(&producer, world);
    free(test_pg_sql(
        s_consumer_pg,
        "INSERT INTO probe.inbox_position (producer, partition, epoch, xid,"
        " seq) VALUES ('gone', 0, 0, '0', 0), ('elsewhere', 0, 0, '0', 0);"
        "INSERT INTO probe.replica (producer, id, until) VALUES ('elsewhere',"
        " gen_random_uuid(), now() + interval '1 hour');"
        "SELECT probe.rebuild_ask('gone', true);"
        "SELECT probe.rebuild_ask('elsewhere', true)"));
    s_emit(world, "work.done", "work", cn_uuid_new(&world->env), 1, 0);
    s_replica_open(&replica, &producer);
    s_await(world, "EXISTS (SELECT FROM probe.rebuild WHERE producer = 'gone'"
                   " AND ended_at IS NOT NULL)");
    assert_int_equal(s_number("SELECT count(*) FROM probe.rebuild"
                              " WHERE ended_at IS NULL"),
                     1);
    assert_int_equal(s_number("SELECT count(*) FROM probe.audit"), 0);
    free(test_pg_sql(s_consumer_pg, "UPDATE probe.replica SET until = now()"
                                    " WHERE producer = 'elsewhere'"));
    s_await(world, "NOT EXISTS (SELECT FROM probe.rebuild"
                   " WHERE ended_at IS NULL)");
    s_await(world, "1 = (SELECT count(*) FROM probe.audit)");
    s_close(&producer, &replica, 1);
}

static void a_rebuild_that_nobody_would_load_is_ended(void **state)
{
    (void)state;
    s_run(s_unfollowed);
    assert_int_equal(s_number("SELECT sum(loaded) FROM probe.rebuild"), 0);
}

/* ---- what is refused at the start ---- */

static void s_missing(struct test_world *world)
{
    static const struct cn_event_handler TWO[] = {
        { "item.snapshot", s_copy, .copy = true },
        { "work.done", s_effect, .copy = false },
    };
    static const struct cn_subscription FORGETFUL[] = {
        { "producer", EVENTS, 3, TWO, 2 },
    };
    const struct cn_service service = { .name = "probe",
                                        .subscriptions = FORGETFUL,
                                        .subscription_count = 1 };
    struct cn_err err = { 0 };
    assert_int_equal(cn_consumers_start(&world->env, &service, &err),
                     CN_INTERNAL);
    assert_string_equal(err.msg, "copies miss item.changed");
}

static void a_copy_that_misses_an_event_does_not_start(void **state)
{
    (void)state;
    s_run(s_missing);
}

static int s_setup(void **state)
{
    (void)state;
    s_producer_pg = test_pg_new("probe", "tests/store/probe");
    s_consumer_pg = test_pg_new("probe", "tests/store/probe");
    free(test_pg_sql(s_producer_pg, TABLES));
    free(test_pg_sql(s_consumer_pg, TABLES));
    assert_true(
        cn_bus_keypair(s_producer_keys.public_key, s_producer_keys.secret_key));
    assert_true(
        cn_bus_keypair(s_consumer_keys.public_key, s_consumer_keys.secret_key));
    return 0;
}

static int s_teardown(void **state)
{
    (void)state;
    test_pg_free(s_producer_pg);
    test_pg_free(s_consumer_pg);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(every_row_of_every_tenant_is_shown_once,
                               s_empty),
        cmocka_unit_test_setup(
            a_client_sees_no_snapshot_and_no_cursor_is_made_up, s_empty),
        cmocka_unit_test_setup(no_snapshot_is_ever_in_a_log, s_empty),
        cmocka_unit_test_setup(a_consumer_behind_the_log_begins_with_a_snapshot,
                               s_empty),
        cmocka_unit_test_setup(a_whole_log_needs_no_snapshot, s_empty),
        cmocka_unit_test_setup(a_rebuild_goes_on_after_its_last_page, s_empty),
        cmocka_unit_test_setup(of_two_replicas_one_loads, s_empty),
        cmocka_unit_test_setup(a_row_that_no_handler_takes_is_given_up_alone,
                               s_empty),
        cmocka_unit_test_setup(an_effect_waits_for_the_copies_that_it_reads,
                               s_empty),
        cmocka_unit_test_setup(a_dead_letter_waits_for_the_copies_that_it_reads,
                               s_empty),
        cmocka_unit_test_setup(to_ask_twice_is_to_ask_once, s_empty),
        cmocka_unit_test_setup(what_is_not_followed_is_not_rebuilt, s_empty),
        cmocka_unit_test_setup(a_rebuild_that_nobody_would_load_is_ended,
                               s_empty),
        cmocka_unit_test_setup(a_copy_that_misses_an_event_does_not_start,
                               s_empty),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
