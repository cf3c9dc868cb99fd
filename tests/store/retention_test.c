/* SPDX-License-Identifier: Apache-2.0 */
/* Records of idempotency keys are kept for two days, and events until all
 * consumers have read them, for all tenants. A backend that holds back the
 * horizon is ended. */
#include "common/outbox/outbox.h"
#include "common/service/retention.h"
#include "common/service/watchdog.h"

#include "common/loop/fiber.h"
#include "tests/lib/pg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static struct test_pg *s_pg;

static void s_sweep(struct test_world *world)
{
    struct cn_err err = { 0 };
    int64_t count = -1;
    assert_int_equal(cn_retention_sweep(&world->env, &count, &err), CN_OK);
    assert_int_equal(count, 2500);
    assert_int_equal(cn_retention_sweep(&world->env, &count, &err), CN_OK);
    assert_int_equal(count, 0);
}

static void keys_older_than_two_days_are_free_again(void **state)
{
    (void)state;
    free(test_pg_sql(
        s_pg,
        "INSERT INTO probe.idempotency (tenant_id, subject, method, key,"
        " fingerprint, reply, created_at)"
        " SELECT gen_random_uuid(), 'key_1', 'm', i::text, '', '', now() -"
        " CASE WHEN i <= 2500 THEN interval '49 hours'"
        " ELSE interval '47 hours' END FROM generate_series(1, 2510) i"));
    test_world_run(s_pg, 1, s_sweep, NULL);
    assert_int_equal(
        test_pg_number(s_pg, "SELECT count(*) FROM probe.idempotency"), 10);
}

/* Two partitions with 1,500 old events and ten new ones each. */
static void s_log_fill(void)
{
    free(test_pg_sql(
        s_pg,
        "TRUNCATE probe.outbox, probe.outbox_cut, probe.log_reader;"
        " INSERT INTO probe.outbox (tenant_id, epoch, partition, event_id,"
        " aggregate_type, aggregate_id, aggregate_seq, type, payload, actor,"
        " occurred_at) SELECT gen_random_uuid(), 1, i % 2, gen_random_uuid(),"
        " 'thing', gen_random_uuid(), 1, 'thing.changed', '', 'system',"
        " now() - CASE WHEN i <= 3000 THEN interval '31 days'"
        " ELSE interval '29 days' END FROM generate_series(1, 3020) i"
        " ORDER BY i"));
}

static long s_events(int partition)
{
    char sql[96];
    (void)snprintf(sql, sizeof(sql),
                   "SELECT count(*) FROM probe.outbox WHERE partition = %d",
                   partition);
    return test_pg_number(s_pg, sql);
}

static int64_t s_log_sweep(struct test_world *world)
{
    struct cn_err err = { 0 };
    int64_t count = -1;
    assert_int_equal(cn_retention_sweep_log(
                         &world->env, world->env.now(&world->env) - 30 * CN_DAY,
                         &count, &err),
                     CN_OK);
    return count;
}

static void s_sweep_unread(struct test_world *world)
{
    assert_int_equal(s_log_sweep(world), 3000);
}

static void events_that_nobody_follows_go_with_the_replay_window(void **state)
{
    (void)state;
    s_log_fill();
    test_world_run(s_pg, 1, s_sweep_unread, NULL);
    assert_int_equal(s_events(0), 10);
    assert_int_equal(s_events(1), 10);
}

static void s_sweep_read(struct test_world *world)
{
    assert_int_equal(s_log_sweep(world), 700);
}

static void
an_event_stays_until_the_slowest_consumer_has_passed_it(void **state)
{
    (void)state;
    s_log_fill();
    /* One consumer has read all events; the other has read only 700 events of
     * partition 0. */
    free(test_pg_sql(
        s_pg,
        "INSERT INTO probe.log_reader (consumer, partition, epoch, xid, seq,"
        " seen_at) SELECT 'fast', p, 1, '9223372036854775807', 0, now()"
        " FROM generate_series(0, 1) p;"
        " INSERT INTO probe.log_reader (consumer, partition, epoch, xid, seq,"
        " seen_at) SELECT 'slow', 0, o.epoch, o.xid, o.seq, now()"
        " FROM probe.outbox o WHERE o.partition = 0"
        " ORDER BY o.epoch, o.xid, o.seq OFFSET 699 LIMIT 1;"
        " INSERT INTO probe.log_reader VALUES ('slow', 1, 0, '0', 0, now())"));
    test_world_run(s_pg, 1, s_sweep_read, NULL);
    assert_int_equal(s_events(0), 810);
    assert_int_equal(s_events(1), 1510);
}

/* ---- the watchdog ---- */

static void s_put_text(uint8_t **at, const char *text)
{
    memcpy(*at, text, strlen(text) + 1);
    *at += strlen(text) + 1;
}

static void s_put_number(uint8_t **at, uint32_t number)
{
    for (int shift = 24; shift >= 0; shift -= 8) {
        *(*at)++ = (uint8_t)(number >> shift);
    }
}

static void s_send(int fd, const uint8_t *from, const uint8_t *to)
{
    assert_int_equal(write(fd, from, (size_t)(to - from)), to - from);
}

/* Writes the protocol's bytes itself, since libpq would send the Sync. It
 * begins a write, and then the client says nothing more. */
static int s_write_without_sync(void)
{
    static const char WRITE[] =
        "INSERT INTO probe.log_reader VALUES ('held', 0, 1, '1', 1, now())";
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    uint8_t message[512];
    uint8_t *at = message + 4;
    char path[sizeof(address.sun_path)];
    (void)snprintf(path, sizeof(path), "%.60s/.s.PGSQL.%s", s_pg->dir,
                   s_pg->port);
    memcpy(address.sun_path, path, sizeof(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(
        connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    s_put_number(&at, 196608); /* version 3.0 */
    s_put_text(&at, "user");
    s_put_text(&at, s_pg->relay);
    s_put_text(&at, "database");
    s_put_text(&at, s_pg->database);
    *at++ = 0;
    uint8_t *size = message;
    s_put_number(&size, (uint32_t)(at - message));
    s_send(fd, message, at);
    /* Parse, Bind, Execute, Flush; no Sync. */
    at = message;
    *at++ = 'P';
    s_put_number(&at, (uint32_t)(4 + 1 + sizeof(WRITE) + 2));
    s_put_text(&at, "");
    s_put_text(&at, WRITE);
    *at++ = 0;
    *at++ = 0;
    *at++ = 'B';
    s_put_number(&at, 4 + 2 + 6);
    memset(at, 0, 8);
    at += 8;
    *at++ = 'E';
    s_put_number(&at, 4 + 1 + 4);
    memset(at, 0, 5);
    at += 5;
    *at++ = 'H';
    s_put_number(&at, 4);
    s_send(fd, message, at);
    return fd;
}

static bool s_watchdog_ended_one(void *arg)
{
    struct test_world *world = arg;
    struct cn_err err = { 0 };
    int64_t count = 0;
    assert_int_equal(cn_watchdog_look(&world->env, &count, &err), CN_OK);
    if (count == 0) {
        assert_int_equal(cn_fiber_sleep(100000), CN_OK);
    }
    return count == 1;
}

static void s_watch(struct test_world *world)
{
    int fd = s_write_without_sync();
    test_world_until(world, s_watchdog_ended_one, world);
    (void)close(fd);
}

static void a_write_whose_client_fell_silent_holds_the_horizon_5_s(void **state)
{
    (void)state;
    test_world_run(s_pg, 1, s_watch, NULL);
    assert_int_equal(test_pg_number(s_pg,
                                    "SELECT count(*) FROM probe.log_reader"
                                    " WHERE consumer = 'held'"),
                     0);
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
        cmocka_unit_test(keys_older_than_two_days_are_free_again),
        cmocka_unit_test(events_that_nobody_follows_go_with_the_replay_window),
        cmocka_unit_test(
            an_event_stays_until_the_slowest_consumer_has_passed_it),
        cmocka_unit_test(
            a_write_whose_client_fell_silent_holds_the_horizon_5_s),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
