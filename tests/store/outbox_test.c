/* SPDX-License-Identifier: Apache-2.0 */
/* The log and its fetch: order, the horizon, long polls. */
#include "common/outbox/outbox.h"

#include "common/loop/fiber.h"
#include "common/store/write.h"
#include "common/wire/message.h"
#include "tests/lib/call.h"
#include "tests/lib/pg.h"

#include "cairn/events.cairn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WRITERS = 4, WRITES = 40, EPOCH = 1 };

static struct test_pg *s_pg;
static struct cn_service s_service = { .name = "probe" };

/* ---- helpers ---- */

static struct cn_outbox *s_open(struct test_world *world)
{
    struct cn_err err = { 0 };
    struct cn_outbox *outbox =
        cn_outbox_start(&world->env, &s_service, EPOCH, &err);
    assert_non_null(outbox);
    world->env.outbox = outbox;
    return outbox;
}

/* The poller ends before its outbox is freed. */
static void s_close(struct test_world *world)
{
    cn_loop_stop(world->env.loop);
    while (cn_fiber_count(world->env.loop) > 1) {
        assert_int_equal(cn_fiber_sleep(1000), CN_OK);
    }
    cn_outbox_free(world->env.outbox);
    world->env.outbox = NULL;
}

static void s_emit(struct test_world *world,
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
        cn_write_begin_system(&world->env, arena, world->tenant, "req_test");
    assert_non_null(write);
    cn_write_lock(write, "thing", id);
    cn_write_event(write, type, "thing", id, aggregate_seq, &payload.base);
    assert_int_equal(cn_write_commit(write, &err), CN_OK);
}

/* One fetch as the dispatcher would call it. */
struct fetch {
    struct test_world *world;
    Evt__Position *after;
    int partition;
    Evt__PartitionPosition *from; /* NULL: not by a list */
    uint32_t limit;
    uint32_t wait_ms;
    bool only_head;
    const char *subject;
    const struct cn_uuid *tenant; /* NULL: of all */
    struct cn_arena *arena;
    const Evt__FetchResponse *reply;
    enum cn_code rc;
    int64_t us;
};

static void s_fetch(struct fetch *fetch)
{
    static const struct cn_method METHOD = { .name = "events.v1.Events/Fetch" };
    Evt__FetchRequest body = EVT__FETCH_REQUEST__INIT;
    struct cn_reply reply = { 0 };
    struct cn_err err = { 0 };
    int64_t since = cn_clock_monotonic();
    body.after = fetch->after;
    CN_SET(&body, limit, fetch->limit);
    CN_SET(&body, wait_ms, fetch->wait_ms);
    CN_SET(&body, only_head, fetch->only_head);
    if (fetch->partition >= 0) {
        CN_SET(&body, partition, fetch->partition);
    }
    if (fetch->from != NULL) {
        body.consumer = "reader";
        body.from = &fetch->from;
        body.n_from = 1;
    }
    uint8_t tenant[16];
    if (fetch->tenant != NULL) {
        memcpy(tenant, fetch->tenant->bytes, sizeof(tenant));
        body.has_tenant_id = 1;
        body.tenant_id = (ProtobufCBinaryData){ sizeof(tenant), tenant };
    }
    struct cn_request request =
        test_world_request(fetch->world, fetch->arena, &METHOD, NULL, "fetch");
    request.principal = (struct cn_principal){ .subject = fetch->subject };
    request.body = &body;
    fetch->rc = test_handle(cn_outbox_fetch, &request, &reply, &err);
    fetch->reply = (const Evt__FetchResponse *)reply.body;
    fetch->us = cn_clock_monotonic() - since;
}

static void s_fetch_fiber(void *arg)
{
    struct fetch *fetch = arg;
    s_fetch(fetch);
    test_world_ended(fetch->world);
}

static struct fetch s_all(struct test_world *world)
{
    return (struct fetch){
        .world = world, .partition = -1, .limit = 100, .arena = world->arena
    };
}

static int s_compare(const Evt__Position *a, const Evt__Position *b)
{
    if (a->epoch != b->epoch) {
        return a->epoch < b->epoch ? -1 : 1;
    }
    if (a->xid != b->xid) {
        return a->xid < b->xid ? -1 : 1;
    }
    return a->seq < b->seq ? -1 : a->seq > b->seq;
}

static uint32_t s_number(const Evt__Event *event)
{
    Evt__FetchRequest *payload = evt__fetch_request__unpack(
        NULL, event->payload.len, event->payload.data);
    assert_non_null(payload);
    uint32_t number = payload->limit;
    evt__fetch_request__free_unpacked(payload, NULL);
    return number;
}

/* A transaction that wrote an event and stays open. */
struct held {
    FILE *psql;
};

static struct held s_hold(struct test_world *world)
{
    char command[2048];
    struct held held = { 0 };
    (void)snprintf(command, sizeof(command),
                   "psql -XAtq -v ON_ERROR_STOP=1 -h %s -p %s -U postgres "
                   "-d %s >/dev/null",
                   world->pg->dir, world->pg->port, world->pg->database);
    held.psql = popen(command, "we");
    assert_non_null(held.psql);
    /* A copy of an event that is there: its payload opens. */
    (void)fprintf(held.psql,
                  "BEGIN; INSERT INTO probe.outbox (tenant_id, epoch, "
                  "partition, event_id, aggregate_type, aggregate_id, "
                  "aggregate_seq, type, payload, actor, occurred_at) "
                  "SELECT tenant_id, epoch, partition, gen_random_uuid(), "
                  "'thing', gen_random_uuid(), 1, 'held', payload, actor, "
                  "occurred_at FROM probe.outbox LIMIT 1;\n");
    (void)fflush(held.psql);
    while (test_pg_number(world->pg,
                          "SELECT count(*) FROM pg_stat_activity WHERE "
                          "state = 'idle in transaction' AND "
                          "backend_xid IS NOT NULL") == 0) {
        assert_int_equal(cn_fiber_sleep(1000), CN_OK);
    }
    return held;
}

static void s_release(struct held held)
{
    (void)fprintf(held.psql, "COMMIT;\n");
    assert_int_equal(pclose(held.psql), 0);
}

static void s_run(void (*body)(struct test_world *world))
{
    free(test_pg_sql(s_pg, "TRUNCATE probe.outbox"));
    test_world_run(s_pg, 2, body, NULL);
}

/* ---- fetching ---- */

static void s_fetch_in_pages(struct test_world *world)
{
    (void)s_open(world);
    struct cn_uuid id = cn_uuid_new(&world->env);
    for (uint32_t i = 1; i <= 5; i++) {
        s_emit(world, "thing.changed", id, i, i);
    }
    struct fetch fetch = s_all(world);
    fetch.limit = 3;
    s_fetch(&fetch);
    assert_int_equal(fetch.rc, CN_OK);
    assert_int_equal(fetch.reply->n_events, 3);
    assert_int_equal(s_number(fetch.reply->events[0]), 1);
    assert_int_equal(s_number(fetch.reply->events[2]), 3);
    assert_string_equal(fetch.reply->events[0]->type, "thing.changed");
    assert_string_equal(fetch.reply->events[0]->correlation_id, "req_test");
    assert_memory_equal(fetch.reply->events[0]->tenant_id.data,
                        world->tenant.bytes, 16);
    assert_int_equal(
        s_compare(fetch.reply->head, fetch.reply->events[2]->position), 0);
    /* The page was cut, so nothing is known of the rest. */
    assert_false(fetch.reply->has_complete_until);

    fetch.after = fetch.reply->head;
    s_fetch(&fetch);
    assert_int_equal(fetch.reply->n_events, 2);
    assert_int_equal(s_number(fetch.reply->events[1]), 5);
    assert_true(fetch.reply->has_complete_until);
    assert_true(
        s_compare(fetch.reply->head, fetch.reply->events[1]->position) >= 0);
    s_close(world);
}

static void a_fetch_goes_on_after_the_position_of_the_last(void **state)
{
    (void)state;
    s_run(s_fetch_in_pages);
}

static void s_fetch_head(struct test_world *world)
{
    (void)s_open(world);
    struct cn_uuid id = cn_uuid_new(&world->env);
    s_emit(world, "thing.changed", id, 1, 1);
    struct fetch fetch = s_all(world);
    fetch.only_head = true;
    fetch.wait_ms = 5000;
    s_fetch(&fetch);
    assert_int_equal(fetch.rc, CN_OK);
    assert_int_equal(fetch.reply->n_events, 0);
    assert_true(fetch.us < CN_SECOND);

    s_emit(world, "thing.changed", id, 2, 2);
    fetch.only_head = false;
    fetch.wait_ms = 0;
    fetch.after = fetch.reply->head;
    s_fetch(&fetch);
    assert_int_equal(fetch.reply->n_events, 1);
    assert_int_equal(s_number(fetch.reply->events[0]), 2);
    s_close(world);
}

static void a_reader_that_starts_now_is_told_where_the_log_ends(void **state)
{
    (void)state;
    s_run(s_fetch_head);
}

static void s_fetch_refused(struct test_world *world)
{
    (void)s_open(world);
    struct fetch fetch = s_all(world);
    fetch.subject = "key_test";
    s_fetch(&fetch);
    assert_int_equal(fetch.rc, CN_FORBIDDEN);
    fetch.subject = NULL;
    fetch.partition = 16;
    s_fetch(&fetch);
    assert_int_equal(fetch.rc, CN_INVALID);
    s_close(world);
}

static void a_client_may_not_fetch_and_a_partition_must_exist(void **state)
{
    (void)state;
    s_run(s_fetch_refused);
}

/* Events that it fetched but has not applied may be asked for again. */
static void s_fetch_applied(struct test_world *world)
{
    Evt__Position after = EVT__POSITION__INIT;
    Evt__Position applied = EVT__POSITION__INIT;
    Evt__PartitionPosition from = EVT__PARTITION_POSITION__INIT;
    struct cn_outbox_reader reader;
    (void)s_open(world);
    struct fetch fetch = s_all(world);
    CN_SET(&after, epoch, 1);
    CN_SET(&after, xid, 700);
    CN_SET(&after, seq, 7);
    applied = after;
    CN_SET(&applied, xid, 600);
    CN_SET(&from, partition, 3);
    from.after = &after;
    from.applied = &applied;
    fetch.from = &from;
    s_fetch(&fetch);
    assert_int_equal(fetch.rc, CN_OK);
    assert_true(cn_outbox_reader_at(world->env.outbox, 0, &reader));
    assert_string_equal(reader.consumer, "reader");
    assert_int_equal(reader.partition, 3);
    assert_int_equal(reader.xid, 600);
    /* A reader of an earlier release does not send it. */
    from.applied = NULL;
    s_fetch(&fetch);
    assert_true(cn_outbox_reader_at(world->env.outbox, 0, &reader));
    assert_int_equal(reader.xid, 700);
    s_close(world);
}

static void a_reader_has_passed_what_it_has_applied(void **state)
{
    (void)state;
    s_run(s_fetch_applied);
}

static void s_fetch_partitions(struct test_world *world)
{
    (void)s_open(world);
    for (uint32_t i = 0; i < 40; i++) {
        s_emit(world, "thing.made", cn_uuid_new(&world->env), 1, i);
    }
    size_t count = 0;
    for (int partition = 0; partition < 16; partition++) {
        struct fetch fetch = s_all(world);
        fetch.partition = partition;
        s_fetch(&fetch);
        assert_int_equal(fetch.rc, CN_OK);
        count += fetch.reply->n_events;
        /* It goes on from the end of the log, not of its own events. */
        fetch.after = fetch.reply->head;
        s_fetch(&fetch);
        assert_int_equal(fetch.reply->n_events, 0);
    }
    assert_int_equal(count, 40);
    s_close(world);
}

static void the_partitions_together_are_the_log(void **state)
{
    (void)state;
    s_run(s_fetch_partitions);
}

static void s_fetch_tenant(struct test_world *world)
{
    const struct cn_uuid one = world->tenant;
    const struct cn_uuid other = cn_uuid_new(&world->env);
    (void)s_open(world);
    for (uint32_t i = 1; i <= 6; i++) {
        world->tenant = i % 2 == 0 ? other : one;
        s_emit(world, "thing.made", cn_uuid_new(&world->env), 1, i);
    }
    world->tenant = one;
    struct fetch fetch = s_all(world);
    fetch.tenant = &one;
    fetch.limit = 2;
    s_fetch(&fetch);
    assert_int_equal(fetch.rc, CN_OK);
    assert_int_equal(fetch.reply->n_events, 2);
    assert_int_equal(s_number(fetch.reply->events[0]), 1);
    assert_int_equal(s_number(fetch.reply->events[1]), 3);
    fetch.after = fetch.reply->head;
    fetch.limit = 100;
    s_fetch(&fetch);
    assert_int_equal(fetch.reply->n_events, 1);
    assert_int_equal(s_number(fetch.reply->events[0]), 5);
    /* It goes on from the end of the log, which is another's event. */
    assert_true(s_compare(fetch.reply->head, fetch.reply->events[0]->position) >
                0);
    fetch.partition = 3;
    s_fetch(&fetch);
    assert_int_equal(fetch.rc, CN_INVALID);
    s_close(world);
}

static void a_tenants_fetch_shows_its_events_alone(void **state)
{
    (void)state;
    s_run(s_fetch_tenant);
}

static void s_fetch_old_epoch(struct test_world *world)
{
    (void)s_open(world);
    s_emit(world, "thing.made", cn_uuid_new(&world->env), 1, 7);
    /* As after a restore into a new cluster: ids beyond any horizon. */
    free(test_pg_sql(world->pg,
                     "UPDATE probe.outbox SET epoch = 0, xid = '99999999'"));
    s_emit(world, "thing.made", cn_uuid_new(&world->env), 1, 8);
    struct fetch fetch = s_all(world);
    s_fetch(&fetch);
    assert_int_equal(fetch.reply->n_events, 2);
    assert_int_equal(s_number(fetch.reply->events[0]), 7);
    assert_int_equal(s_number(fetch.reply->events[1]), 8);
    s_close(world);
}

static void events_of_an_older_epoch_come_first(void **state)
{
    (void)state;
    s_run(s_fetch_old_epoch);
}

/* ---- the horizon ---- */

static void s_horizon(struct test_world *world)
{
    (void)s_open(world);
    s_emit(world, "thing.made", cn_uuid_new(&world->env), 1, 1);
    struct held held = s_hold(world);
    int64_t held_at = world->env.now(&world->env);
    s_emit(world, "thing.made", cn_uuid_new(&world->env), 1, 2);

    struct fetch fetch = s_all(world);
    s_fetch(&fetch);
    assert_int_equal(fetch.reply->n_events, 1);
    assert_true(!fetch.reply->has_complete_until ||
                fetch.reply->complete_until < held_at);

    s_release(held);
    fetch.after = fetch.reply->head;
    s_fetch(&fetch);
    assert_int_equal(fetch.reply->n_events, 2);
    assert_string_equal(fetch.reply->events[0]->type, "held");
    assert_int_equal(s_number(fetch.reply->events[1]), 2);
    assert_true(fetch.reply->has_complete_until);
    assert_true(fetch.reply->complete_until > held_at - CN_OUTBOX_SLACK_US);
    s_close(world);
}

static void an_open_transaction_holds_back_what_comes_after_it(void **state)
{
    (void)state;
    s_run(s_horizon);
}

struct writer {
    struct test_world *world;
    uint32_t from;
};

static void s_write_fiber(void *arg)
{
    const struct writer *writer = arg;
    struct cn_uuid id = cn_uuid_new(&writer->world->env);
    for (uint32_t i = 0; i < WRITES; i++) {
        s_emit(writer->world, "thing.changed", id, i + 1, writer->from + i);
    }
    test_world_ended(writer->world);
}

/* Reads until all is there; each must be new and after the last. */
static void s_read_fiber(void *arg)
{
    struct test_world *world = arg;
    bool seen[WRITERS * WRITES + 1] = { false };
    Evt__Position after = EVT__POSITION__INIT;
    size_t count = 0;
    while (count < WRITERS * WRITES + 2) {
        CN_ARENA_AUTO struct cn_arena *arena =
            cn_arena_new(CN_ARENA_REQUEST_MAX);
        struct fetch fetch = s_all(world);
        fetch.arena = arena;
        fetch.after = &after;
        fetch.limit = 7;
        fetch.wait_ms = 1000;
        s_fetch(&fetch);
        assert_int_equal(fetch.rc, CN_OK);
        for (size_t i = 0; i < fetch.reply->n_events; i++) {
            const Evt__Event *event = fetch.reply->events[i];
            assert_true(s_compare(&after, event->position) < 0);
            after = *event->position;
            if (strcmp(event->type, "held") != 0) {
                assert_false(seen[s_number(event)]);
                seen[s_number(event)] = true;
            }
            count++;
        }
    }
    test_world_ended(world);
}

static void s_concurrent(struct test_world *world)
{
    struct writer writers[WRITERS];
    (void)s_open(world);
    s_emit(world, "thing.made", cn_uuid_new(&world->env), 1, WRITERS * WRITES);
    test_world_spawn(world, s_read_fiber, world, 60 * CN_SECOND);
    struct held held = s_hold(world);
    for (uint32_t i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){ world, i * WRITES };
        test_world_spawn(world, s_write_fiber, &writers[i], 60 * CN_SECOND);
    }
    /* For a while all writers write behind an open transaction. */
    assert_int_equal(cn_fiber_sleep(30000), CN_OK);
    s_release(held);
    test_world_join(world);
    s_close(world);
}

static void concurrent_writers_lose_no_event_and_keep_the_order(void **state)
{
    (void)state;
    s_run(s_concurrent);
}

/* ---- long polls ---- */

static void s_poll_wakes(struct test_world *world)
{
    (void)s_open(world);
    struct fetch fetch = s_all(world);
    fetch.wait_ms = 5000;
    test_world_spawn(world, s_fetch_fiber, &fetch, 10 * CN_SECOND);
    assert_int_equal(cn_fiber_sleep(50000), CN_OK);
    assert_int_equal(world->fibers, 1);
    int64_t since = cn_clock_monotonic();
    s_emit(world, "thing.made", cn_uuid_new(&world->env), 1, 1);
    test_world_join(world);
    assert_int_equal(fetch.rc, CN_OK);
    assert_int_equal(fetch.reply->n_events, 1);
    assert_true(cn_clock_monotonic() - since < CN_SECOND);
    s_close(world);
}

static void a_long_poll_wakes_on_a_commit(void **state)
{
    (void)state;
    s_run(s_poll_wakes);
}

static void s_poll_other(struct test_world *world)
{
    (void)s_open(world);
    s_emit(world, "thing.made", cn_uuid_new(&world->env), 1, 1);
    struct fetch fetch = s_all(world);
    s_fetch(&fetch);
    fetch.after = fetch.reply->head;
    fetch.wait_ms = 5000;
    test_world_spawn(world, s_fetch_fiber, &fetch, 10 * CN_SECOND);
    /* Another replica's commit gives no hint here. */
    s_release(s_hold(world));
    test_world_join(world);
    assert_int_equal(fetch.reply->n_events, 1);
    assert_true(fetch.us < 3 * CN_SECOND);
    s_close(world);
}

static void a_long_poll_sees_the_commits_of_others(void **state)
{
    (void)state;
    s_run(s_poll_other);
}

static void s_poll_ends(struct test_world *world)
{
    (void)s_open(world);
    s_emit(world, "thing.made", cn_uuid_new(&world->env), 1, 1);
    struct fetch fetch = s_all(world);
    s_fetch(&fetch);
    Evt__Position *head = fetch.reply->head;
    fetch.after = head;
    fetch.wait_ms = 100;
    s_fetch(&fetch);
    assert_int_equal(fetch.rc, CN_OK);
    assert_int_equal(fetch.reply->n_events, 0);
    assert_int_equal(s_compare(fetch.reply->head, head), 0);
    assert_true(fetch.us >= 100000);
    s_close(world);
}

static void a_long_poll_ends_empty_after_its_time(void **state)
{
    (void)state;
    s_run(s_poll_ends);
}

static void s_poll_stops(struct test_world *world)
{
    (void)s_open(world);
    struct fetch fetch = s_all(world);
    fetch.wait_ms = 5000;
    test_world_spawn(world, s_fetch_fiber, &fetch, 10 * CN_SECOND);
    assert_int_equal(cn_fiber_sleep(50000), CN_OK);
    cn_loop_stop(world->env.loop);
    test_world_join(world);
    assert_int_equal(fetch.rc, CN_UNAVAILABLE);
    assert_true(fetch.us < CN_SECOND);
    s_close(world);
}

static void a_stop_ends_the_long_polls(void **state)
{
    (void)state;
    s_run(s_poll_stops);
}

static int s_setup(void **state)
{
    (void)state;
    s_pg = test_pg_new("probe", "tests/store/probe");
    return 0;
}

static int s_teardown(void **state)
{
    (void)state;
    test_pg_free(s_pg);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fetch_goes_on_after_the_position_of_the_last),
        cmocka_unit_test(a_reader_that_starts_now_is_told_where_the_log_ends),
        cmocka_unit_test(a_client_may_not_fetch_and_a_partition_must_exist),
        cmocka_unit_test(a_reader_has_passed_what_it_has_applied),
        cmocka_unit_test(the_partitions_together_are_the_log),
        cmocka_unit_test(a_tenants_fetch_shows_its_events_alone),
        cmocka_unit_test(events_of_an_older_epoch_come_first),
        cmocka_unit_test(an_open_transaction_holds_back_what_comes_after_it),
        cmocka_unit_test(concurrent_writers_lose_no_event_and_keep_the_order),
        cmocka_unit_test(a_long_poll_wakes_on_a_commit),
        cmocka_unit_test(a_long_poll_sees_the_commits_of_others),
        cmocka_unit_test(a_long_poll_ends_empty_after_its_time),
        cmocka_unit_test(a_stop_ends_the_long_polls),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
