/* SPDX-License-Identifier: Apache-2.0 */
/* The database in the loop, against a real PostgreSQL. */
#include "common/base/clock.h"
#include "common/db/db.h"
#include "common/loop/fiber.h"
#include "tests/lib/pg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { HELD = 4711 }; /* key of the lock that tests wait on */

CN_SQL_READ(SQL_TEST_ECHO,
            "SELECT $1::text, $2::int, $3::bigint, $4::boolean, $5::uuid, "
            "$6::timestamptz, $7::bytea, $8::text[], $9::uuid[], "
            "NULL::text, $10::smallint");
CN_SQL_READ(SQL_TEST_WAIT,
            "SELECT count(*) FROM (SELECT pg_advisory_xact_lock_shared(4711)) "
            "AS held");
CN_SQL_READ(SQL_TEST_PID, "SELECT pg_backend_pid()");
CN_SQL_READ(SQL_TEST_NAMES,
            "SELECT name FROM {{schema}}.thing ORDER BY tenant_id, id");
CN_SQL_RELAY(SQL_TEST_COUNT, "SELECT count(*) FROM {{schema}}.thing");
CN_SQL_WRITE(SQL_TEST_INSERT,
             "INSERT INTO {{schema}}.thing (tenant_id, id, version, event_seq, "
             "name, partner) VALUES ($1, $2, 1, 1, $3, $4) RETURNING version");
CN_SQL_WRITE(SQL_TEST_WARN, "SELECT {{schema}}.warn()");
CN_SQL_WRITE(SQL_TEST_DIE, "SELECT pg_terminate_backend(pg_backend_pid())");
CN_SQL_WRITE(SQL_TEST_HOLD,
             "SELECT count(*) FROM (SELECT pg_advisory_xact_lock_shared(4711)) "
             "AS held");

CN_SQL_RELAY(SQL_TEST_DUE, "SELECT count(*) FROM {{schema}}.due");
CN_SQL_RELAY(SQL_TEST_LOG, "SELECT count(*) FROM {{schema}}.outbox");

static enum cn_code s_read(struct test_world *world,
                           struct cn_uuid tenant,
                           const struct cn_statement *statement,
                           const struct cn_rows **ret_rows,
                           struct cn_err *err)
{
    return cn_db_read(world->env.db, CN_LANE_READ, world->arena, tenant,
                      statement, NULL, 0, ret_rows, err);
}

/* tenant, then insert a thing with that name and partner. */
struct insert {
    struct cn_param tenant;
    struct cn_param params[4];
    struct cn_db_step steps[2];
};

static void s_insert_init(struct insert *self,
                          struct test_world *world,
                          const char *name,
                          struct cn_uuid partner)
{
    self->tenant = cn_uuid(world->tenant);
    self->params[0] = cn_uuid(world->tenant);
    self->params[1] = cn_uuid(cn_uuid_new(&world->env));
    self->params[2] = cn_text(name);
    self->params[3] = cn_uuid_or_null(partner);
    self->steps[0] =
        (struct cn_db_step){ cn_db_tenant_statement(), &self->tenant, 1 };
    self->steps[1] = (struct cn_db_step){ &SQL_TEST_INSERT, self->params, 4 };
}

static const struct cn_uuid NONE;

static enum cn_code s_insert(struct test_world *world,
                             const char *name,
                             struct cn_uuid partner,
                             struct cn_db_result *ret_result)
{
    struct insert insert;
    struct cn_err err = { 0 };
    s_insert_init(&insert, world, name, partner);
    return cn_db_unit(world->env.db, CN_LANE_WRITE, world->arena, insert.steps,
                      2, ret_result, &err);
}

/* Bodies */

static void s_echo(struct test_world *world)
{
    const char *const texts[] = { "a", "", "{\"b\",c}" };
    const struct cn_uuid ids[] = { world->tenant, { { 1 } } };
    const struct cn_param params[] = {
        cn_text("O'Neil \\ \"x\""), cn_int(-7),
        cn_int(INT64_MIN),          cn_bool(true),
        cn_uuid(world->tenant),     cn_at(INT64_C(1772000000123456)),
        cn_bytes("\0\1\xff", 3),    cn_texts(texts, 3),
        cn_uuids(ids, 2),           cn_int(12)
    };
    const struct cn_rows *rows = NULL;
    struct cn_err err = { 0 };
    assert_int_equal(cn_db_read(world->env.db, CN_LANE_READ, world->arena,
                                world->tenant, &SQL_TEST_ECHO, params, 10,
                                &rows, &err),
                     CN_OK);
    assert_int_equal(cn_rows_count(rows), 1);
    assert_string_equal(cn_row_text(rows, 0, 0), "O'Neil \\ \"x\"");
    assert_int_equal(cn_row_int(rows, 0, 1), -7);
    assert_true(cn_row_int(rows, 0, 2) == INT64_MIN);
    assert_true(cn_row_bool(rows, 0, 3));
    assert_true(cn_uuid_equal(cn_row_uuid(rows, 0, 4), world->tenant));
    assert_int_equal(cn_row_at(rows, 0, 5), INT64_C(1772000000123456));
    struct cn_bytes bytes = cn_row_bytes(rows, 0, 6);
    assert_int_equal(bytes.size, 3);
    assert_memory_equal(bytes.data, "\0\1\xff", 3);
    size_t count = 0;
    const char **read = cn_row_texts(rows, 0, 7, world->arena, &count);
    assert_int_equal(count, 3);
    assert_string_equal(read[2], texts[2]);
    const struct cn_uuid *uuids =
        cn_row_uuids(rows, 0, 8, world->arena, &count);
    assert_int_equal(count, 2);
    assert_true(cn_uuid_equal(uuids[1], ids[1]));
    assert_true(cn_row_null(rows, 0, 9));
    assert_null(cn_row_text(rows, 0, 9));
    assert_int_equal(cn_row_int(rows, 0, 10), 12);
}

static void s_echo_empty(struct test_world *world)
{
    const char *const none[] = { NULL };
    const struct cn_param params[] = {
        cn_text(NULL),         cn_null(),
        cn_int(INT64_MAX),     cn_bool(false),
        cn_uuid_or_null(NONE), cn_at_or_null(false, 1),
        cn_bytes(NULL, 0),     cn_texts(none, 1),
        cn_uuids(&NONE, 0),    cn_null()
    };
    const struct cn_rows *rows = NULL;
    struct cn_err err = { 0 };
    assert_int_equal(cn_db_read(world->env.db, CN_LANE_READ, world->arena,
                                world->tenant, &SQL_TEST_ECHO, params, 10,
                                &rows, &err),
                     CN_OK);
    assert_true(cn_row_null(rows, 0, 0));
    assert_int_equal(cn_row_int(rows, 0, 1), 0);
    assert_false(cn_row_bool(rows, 0, 3));
    assert_true(cn_uuid_is_nil(cn_row_uuid(rows, 0, 4)));
    assert_int_equal(cn_row_at(rows, 0, 5), 0);
    assert_false(cn_row_null(rows, 0, 6));
    assert_int_equal(cn_row_bytes(rows, 0, 6).size, 0);
    size_t count = 9;
    assert_non_null(cn_row_texts(rows, 0, 7, world->arena, &count));
    assert_int_equal(count, 0);
    count = 9;
    assert_non_null(cn_row_uuids(rows, 0, 8, world->arena, &count));
    assert_int_equal(count, 0);
}

static void s_refuse(struct test_world *world)
{
    const struct cn_rows *rows = NULL;
    struct cn_db_result result = { 0 };
    struct cn_err err = { 0 };
    assert_int_equal(s_read(world, NONE, &SQL_TEST_NAMES, &rows, &err),
                     CN_FORBIDDEN);
    struct insert insert;
    s_insert_init(&insert, world, "x", NONE);
    assert_int_equal(cn_db_unit(world->env.db, CN_LANE_WRITE, world->arena,
                                insert.steps + 1, 1, &result, &err),
                     CN_FORBIDDEN);
    insert.tenant = cn_uuid(NONE);
    assert_int_equal(cn_db_unit(world->env.db, CN_LANE_WRITE, world->arena,
                                insert.steps, 2, &result, &err),
                     CN_FORBIDDEN);
}

static void s_unset(struct test_world *world)
{
    const struct cn_rows *rows = NULL;
    struct cn_err err = { 0 };
    assert_int_equal(cn_db_read(world->env.db, CN_LANE_RELAY, world->arena,
                                NONE, &SQL_TEST_COUNT, NULL, 0, &rows, &err),
                     CN_INTERNAL);
    assert_non_null(strstr(err.msg, "22P02"));
    assert_non_null(strstr(err.msg, "SQL_TEST_COUNT"));
}

static void s_foreign(struct test_world *world)
{
    const struct cn_rows *rows = NULL;
    struct cn_db_result result = { 0 };
    struct cn_err err = { 0 };
    assert_int_equal(s_insert(world, "seen", NONE, &result), CN_OK);
    assert_int_equal(result.outcome, CN_COMMITTED);
    assert_int_equal(s_read(world, world->tenant, &SQL_TEST_NAMES, &rows, &err),
                     CN_OK);
    assert_int_equal(cn_rows_count(rows), 1);
    assert_int_equal(
        s_read(world, cn_uuid_new(&world->env), &SQL_TEST_NAMES, &rows, &err),
        CN_OK);
    assert_int_equal(cn_rows_count(rows), 0);
    /* A unit may write only for its own tenant. */
    struct insert insert;
    s_insert_init(&insert, world, "foreign", NONE);
    insert.tenant = cn_uuid(cn_uuid_new(&world->env));
    assert_int_equal(cn_db_unit(world->env.db, CN_LANE_WRITE, world->arena,
                                insert.steps, 2, &result, &err),
                     CN_OK);
    assert_int_equal(result.outcome, CN_ABORTED);
    assert_string_equal(result.sqlstate, "42501");
}

static void s_deferred(struct test_world *world)
{
    struct cn_db_result result = { 0 };
    assert_int_equal(
        s_insert(world, "lonely", cn_uuid_new(&world->env), &result), CN_OK);
    assert_int_equal(result.outcome, CN_ABORTED);
    assert_string_equal(result.sqlstate, "23503");
    assert_string_equal(result.constraint, "thing_partner");
    /* The row had come: the error is that of the commit. */
    assert_int_equal(cn_rows_count(result.rows[1]), 1);
    assert_int_equal(result.failed_step, 2);
}

static void s_rejected(struct test_world *world)
{
    struct cn_db_result result = { 0 };
    assert_int_equal(s_insert(world, "", NONE, &result), CN_OK);
    assert_int_equal(result.outcome, CN_ABORTED);
    assert_string_equal(result.sqlstate, "23514");
    assert_string_equal(result.constraint, "thing_name_filled");
    assert_int_equal(result.failed_step, 1);
    assert_int_equal(s_insert(world, "after", NONE, &result), CN_OK);
    assert_int_equal(result.outcome, CN_COMMITTED);
}

static enum cn_code s_one_step(struct test_world *world,
                               const struct cn_statement *statement,
                               struct cn_db_result *ret_result)
{
    struct cn_err err = { 0 };
    struct cn_param tenant = cn_uuid(world->tenant);
    const struct cn_db_step steps[] = {
        { cn_db_tenant_statement(), &tenant, 1 }, { statement, NULL, 0 }
    };
    return cn_db_unit(world->env.db, CN_LANE_WRITE, world->arena, steps, 2,
                      ret_result, &err);
}

static void s_warned(struct test_world *world)
{
    struct cn_db_result result = { 0 };
    assert_int_equal(s_one_step(world, &SQL_TEST_WARN, &result), CN_OK);
    assert_int_equal(result.outcome, CN_OUTCOME_UNKNOWN);
    assert_int_equal(s_insert(world, "after", NONE, &result), CN_OK);
    assert_int_equal(result.outcome, CN_COMMITTED);
}

/* A fiber with one unit, and what it got. */
struct task {
    struct test_world *world;
    const struct cn_statement *statement; /* NULL: insert name */
    const char *name;
    enum cn_code rc;
    struct cn_db_result result;
    bool ended;
};

static void s_unit_task(void *arg)
{
    struct task *task = arg;
    task->rc = task->statement != NULL
                   ? s_one_step(task->world, task->statement, &task->result)
                   : s_insert(task->world, task->name, NONE, &task->result);
    task->ended = true;
    test_world_ended(task->world);
}

static void s_read_task(void *arg)
{
    struct task *task = arg;
    const struct cn_rows *rows = NULL;
    struct cn_err err = { 0 };
    task->rc =
        s_read(task->world, task->world->tenant, task->statement, &rows, &err);
    task->ended = true;
    test_world_ended(task->world);
}

static void s_killed(struct test_world *world)
{
    struct task tasks[] = { { .world = world, .name = "before" },
                            { .world = world, .statement = &SQL_TEST_DIE },
                            { .world = world, .name = "behind" } };
    for (size_t i = 0; i < 3; i++) {
        test_world_spawn(world, s_unit_task, &tasks[i], 5 * CN_SECOND);
    }
    test_world_join(world);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(tasks[i].rc, CN_OK);
    }
    assert_int_equal(tasks[0].result.outcome, CN_COMMITTED);
    assert_int_equal(tasks[1].result.outcome, CN_OUTCOME_UNKNOWN);
    assert_int_equal(tasks[2].result.outcome, CN_OUTCOME_UNKNOWN);
    /* A statement waits while the outage is short. */
    struct cn_db_result result = { 0 };
    assert_int_equal(s_insert(world, "again", NONE, &result), CN_OK);
    assert_int_equal(result.outcome, CN_COMMITTED);
    const struct cn_rows *rows = NULL;
    struct cn_err err = { 0 };
    assert_int_equal(s_read(world, world->tenant, &SQL_TEST_NAMES, &rows, &err),
                     CN_OK);
    assert_int_equal(cn_rows_count(rows), 2);
}

static int64_t s_pid(struct test_world *world)
{
    const struct cn_rows *rows = NULL;
    struct cn_err err = { 0 };
    assert_int_equal(s_read(world, world->tenant, &SQL_TEST_PID, &rows, &err),
                     CN_OK);
    return cn_row_int(rows, 0, 0);
}

static void s_late(struct test_world *world)
{
    int64_t pid = s_pid(world);
    struct test_hold *hold = test_pg_hold(world->pg, HELD);
    struct task read = { .world = world, .statement = &SQL_TEST_WAIT };
    struct task unit = { .world = world, .statement = &SQL_TEST_HOLD };
    test_world_spawn(world, s_read_task, &read, 30000);
    test_world_spawn(world, s_unit_task, &unit, 30000);
    test_world_join(world);
    assert_int_equal(read.rc, CN_DEADLINE);
    /* A write that was sent may still be committed. */
    assert_int_equal(unit.rc, CN_OK);
    assert_int_equal(unit.result.outcome, CN_OUTCOME_UNKNOWN);
    test_pg_release(hold);
    /* The next answer on that connection belongs to the next statement. */
    assert_int_equal(s_pid(world), pid);
}

static void s_spent(struct test_world *world)
{
    const struct cn_rows *rows = NULL;
    struct cn_err err = { 0 };
    int64_t deadline_at = cn_fiber_deadline();
    cn_fiber_set_deadline(cn_clock_monotonic() - 1);
    enum cn_code rc = s_read(world, world->tenant, &SQL_TEST_PID, &rows, &err);
    cn_fiber_set_deadline(deadline_at);
    assert_int_equal(rc, CN_DEADLINE);
    assert_non_null(strstr(err.msg, "no time is left"));
}

/* world->data: how many fibers there were. */
static bool s_one_ended(void *arg)
{
    const struct test_world *world = arg;
    return world->fibers < *(const size_t *)world->data;
}

static void s_crowd(struct test_world *world)
{
    enum { COUNT = CN_DB_PIPELINE_MAX + CN_DB_WAITING_MAX + 1 };
    struct task *tasks = calloc(COUNT, sizeof(*tasks));
    struct test_hold *hold = test_pg_hold(world->pg, HELD);
    for (size_t i = 0; i < COUNT; i++) {
        tasks[i].world = world;
        tasks[i].statement = &SQL_TEST_WAIT;
        test_world_spawn(world, s_read_task, &tasks[i], 30 * CN_SECOND);
    }
    size_t count = COUNT;
    world->data = &count;
    test_world_until(world, s_one_ended, world);
    assert_int_equal(world->fibers, COUNT - 1);
    assert_int_equal(tasks[COUNT - 1].rc, CN_BUSY);
    test_pg_release(hold);
    test_world_join(world);
    for (size_t i = 0; i < COUNT - 1; i++) {
        assert_int_equal(tasks[i].rc, CN_OK);
    }
    free(tasks);
}

static void s_leave_queue(struct test_world *world)
{
    enum { COUNT = CN_DB_PIPELINE_MAX + 2 };
    struct task tasks[COUNT];
    struct test_hold *hold = test_pg_hold(world->pg, HELD);
    for (size_t i = 0; i < COUNT; i++) {
        tasks[i] = (struct task){ .world = world, .statement = &SQL_TEST_WAIT };
        bool early = i == CN_DB_PIPELINE_MAX;
        test_world_spawn(world, s_read_task, &tasks[i],
                         early ? 20000 : 10 * CN_SECOND);
    }
    size_t count = COUNT;
    world->data = &count;
    test_world_until(world, s_one_ended, world);
    assert_int_equal(tasks[CN_DB_PIPELINE_MAX].rc, CN_DEADLINE);
    test_pg_release(hold);
    test_world_join(world);
    assert_int_equal(tasks[COUNT - 1].rc, CN_OK);
}

static bool s_lost(void *arg)
{
    struct test_world *world = arg;
    return !cn_db_healthy(world->env.db);
}

static bool s_found(void *arg)
{
    struct test_world *world = arg;
    return cn_db_healthy(world->env.db);
}

static void s_outage(struct test_world *world)
{
    char sql[TEST_TEXT_MAX * 2];
    (void)snprintf(sql, sizeof(sql),
                   "ALTER DATABASE %s CONNECTION LIMIT 0;"
                   "SELECT count(pg_terminate_backend(pid)) FROM "
                   "pg_stat_activity WHERE datname = current_database() "
                   "AND application_name = 'cairn-probe'",
                   world->pg->database);
    free(test_pg_sql(world->pg, sql));
    test_world_until(world, s_lost, world);
    const struct cn_rows *rows = NULL;
    struct cn_err err = { 0 };
    /* The first may still find a connection and lose it. The second waits a
     * little for a connection. Then each fails at once. */
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(
            s_read(world, world->tenant, &SQL_TEST_PID, &rows, &err),
            CN_UNAVAILABLE);
    }
    int64_t before_at = cn_clock_monotonic();
    assert_int_equal(s_read(world, world->tenant, &SQL_TEST_PID, &rows, &err),
                     CN_UNAVAILABLE);
    assert_true(cn_clock_monotonic() - before_at < CN_SECOND / 10);
    (void)snprintf(sql, sizeof(sql), "ALTER DATABASE %s CONNECTION LIMIT -1",
                   world->pg->database);
    free(test_pg_sql(world->pg, sql));
    test_world_until(world, s_found, world);
    assert_true(s_pid(world) > 0);
}

static void s_wrong_schema(struct test_world *world)
{
    struct cn_err err = { 0 };
    world->config.schema = "nowhere";
    for (unsigned lane = 0; lane < CN_LANE_COUNT; lane++) {
        world->config.lanes[lane].connections = 1;
    }
    struct cn_db *db = cn_db_new(&world->env, &world->config);
    assert_int_equal(cn_db_start(db, &err), CN_INTERNAL);
    assert_non_null(strstr(err.msg, "SQL_TEST_"));
    assert_non_null(strstr(err.msg, "does not prepare"));
    cn_db_free(db);
}

static void s_wrong_user(struct test_world *world)
{
    struct cn_err err = { 0 };
    world->config.lanes[CN_LANE_READ].user = "nobody_known";
    world->config.lanes[CN_LANE_READ].connections = 1;
    struct cn_db *db = cn_db_new(&world->env, &world->config);
    int64_t deadline_at = cn_fiber_deadline();
    cn_fiber_set_deadline(cn_clock_monotonic() + CN_SECOND / 5);
    enum cn_code rc = cn_db_start(db, &err);
    cn_fiber_set_deadline(deadline_at);
    assert_int_equal(rc, CN_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "28000"));
    assert_false(cn_db_healthy(db));
    cn_db_free(db);
}

static void s_freed(struct test_world *world)
{
    struct test_hold *hold = test_pg_hold(world->pg, HELD);
    struct task tasks[CN_DB_PIPELINE_MAX + 2];
    for (size_t i = 0; i < CN_DB_PIPELINE_MAX + 2; i++) {
        tasks[i] = (struct task){ .world = world, .statement = &SQL_TEST_WAIT };
        test_world_spawn(world, s_read_task, &tasks[i], 5 * CN_SECOND);
    }
    assert_int_equal(cn_fiber_sleep(0), CN_OK);
    cn_db_free(world->env.db);
    world->env.db = NULL;
    test_world_join(world);
    for (size_t i = 0; i < CN_DB_PIPELINE_MAX + 2; i++) {
        assert_int_equal(tasks[i].rc, CN_UNAVAILABLE);
    }
    test_pg_release(hold);
}

/* Many readers at once, each must get its own answer. */
struct asker {
    struct test_world *world;
    int64_t number;
    bool right;
};

static void s_ask(void *arg)
{
    enum { QUESTIONS = 10 };
    struct asker *asker = arg;
    asker->right = true;
    for (int i = 0; i < QUESTIONS; i++) {
        struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
        const struct cn_rows *rows = NULL;
        struct cn_err err = { 0 };
        struct cn_param params[10];
        for (size_t p = 0; p < 10; p++) {
            params[p] = cn_null();
        }
        params[2] = cn_int(asker->number * QUESTIONS + i);
        enum cn_code rc = cn_db_read(asker->world->env.db, CN_LANE_READ, arena,
                                     asker->world->tenant, &SQL_TEST_ECHO,
                                     params, 10, &rows, &err);
        asker->right = asker->right && rc == CN_OK &&
                       cn_row_int(rows, 0, 2) == asker->number * QUESTIONS + i;
        cn_arena_free(arena);
    }
    test_world_ended(asker->world);
}

static void s_askers(struct test_world *world)
{
    enum { ASKERS = 200 };
    struct asker askers[ASKERS];
    for (size_t i = 0; i < ASKERS; i++) {
        askers[i] = (struct asker){ world, (int64_t)i, false };
        test_world_spawn(world, s_ask, &askers[i], 30 * CN_SECOND);
    }
    test_world_join(world);
    for (size_t i = 0; i < ASKERS; i++) {
        assert_true(askers[i].right);
    }
}

static void s_settings(struct test_world *world)
{
    char *shown = test_pg_sql(
        world->pg,
        "SELECT count(*), count(DISTINCT usename) FROM pg_stat_activity "
        "WHERE datname = current_database() "
        "AND application_name = 'cairn-probe'");
    assert_string_equal(shown, "4|2");
    free(shown);
}

static void s_relay(struct test_world *world)
{
    const struct cn_rows *rows = NULL;
    struct cn_err err = { 0 };
    assert_int_equal(cn_db_read(world->env.db, CN_LANE_RELAY, world->arena,
                                NONE, &SQL_TEST_DUE, NULL, 0, &rows, &err),
                     CN_OK);
    assert_int_equal(cn_db_read(world->env.db, CN_LANE_RELAY, world->arena,
                                NONE, &SQL_TEST_LOG, NULL, 0, &rows, &err),
                     CN_OK);
}

/* Of each platform table what a role may do: select, insert, update, delete. */
static void s_grants(struct test_world *world)
{
    char *grants = test_pg_sql(
        world->pg,
        "SELECT r, t, string_agg(left(p, 1), '' ORDER BY n) FROM "
        "unnest(ARRAY['probe_app', 'probe_relay']) r, "
        "unnest(ARRAY['outbox', 'idempotency', 'audit', 'due', "
        "'inbox_position', 'dead_letter', 'lease', 'replica', "
        "'log_reader']) t, "
        "unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) "
        "WITH ORDINALITY AS a (p, n) "
        "WHERE has_table_privilege(r, 'probe.' || t, p) "
        "GROUP BY r, t ORDER BY r, t");
    assert_string_equal(grants, "probe_app|audit|I\n"
                                "probe_app|dead_letter|S\n"
                                "probe_app|due|SIUD\n"
                                "probe_app|idempotency|SI\n"
                                "probe_app|outbox|I\n"
                                "probe_relay|audit|SI\n"
                                "probe_relay|dead_letter|SID\n"
                                "probe_relay|due|SIUD\n"
                                "probe_relay|idempotency|SID\n"
                                "probe_relay|inbox_position|SIU\n"
                                "probe_relay|lease|SIU\n"
                                "probe_relay|log_reader|SIU\n"
                                "probe_relay|outbox|SID\n"
                                "probe_relay|replica|SIUD");
    free(grants);
}

/* Tests */

#define BODY_TEST(name, connections, body)                                     \
    static void name(void **state)                                             \
    {                                                                          \
        test_world_run(*state, connections, body, NULL);                       \
    }

BODY_TEST(parameters_come_back_as_they_went, 1, s_echo)
BODY_TEST(nothing_reads_as_nothing, 1, s_echo_empty)
BODY_TEST(no_tenant_is_refused, 1, s_refuse)
BODY_TEST(an_unset_tenant_is_an_error, 1, s_unset)
BODY_TEST(rows_of_another_tenant_are_not_there, 1, s_foreign)
BODY_TEST(an_error_after_the_row_is_not_acknowledged, 1, s_deferred)
BODY_TEST(a_constraint_is_told_by_its_name, 1, s_rejected)
BODY_TEST(a_commit_that_was_not_replicated_is_unknown, 1, s_warned)
BODY_TEST(a_lost_connection_keeps_what_was_finished, 1, s_killed)
BODY_TEST(a_late_answer_leaves_the_connection_usable, 1, s_late)
BODY_TEST(a_spent_budget_is_not_sent, 1, s_spent)
BODY_TEST(beyond_the_pipeline_waits_beyond_the_queue_is_busy, 1, s_crowd)
BODY_TEST(a_unit_leaves_the_queue_at_its_deadline, 1, s_leave_queue)
BODY_TEST(an_outage_is_said_at_once_and_ends_by_itself, 1, s_outage)
BODY_TEST(a_statement_that_does_not_prepare_stops_the_start, 0, s_wrong_schema)
BODY_TEST(a_start_without_a_database_says_why, 0, s_wrong_user)
BODY_TEST(freeing_wakes_those_who_wait, 1, s_freed)
BODY_TEST(each_of_many_readers_gets_its_own_answer, 3, s_askers)
BODY_TEST(each_lane_connects_as_its_role, 1, s_settings)
BODY_TEST(the_relay_sees_the_platform_without_a_tenant, 1, s_relay)
BODY_TEST(the_log_and_the_audit_only_grow, 0, s_grants)

static int s_setup(void **state)
{
    *state = test_pg_new("probe", "tests/store/probe");
    return 0;
}

static int s_teardown(void **state)
{
    test_pg_free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_come_back_as_they_went),
        cmocka_unit_test(nothing_reads_as_nothing),
        cmocka_unit_test(no_tenant_is_refused),
        cmocka_unit_test(an_unset_tenant_is_an_error),
        cmocka_unit_test(rows_of_another_tenant_are_not_there),
        cmocka_unit_test(an_error_after_the_row_is_not_acknowledged),
        cmocka_unit_test(a_constraint_is_told_by_its_name),
        cmocka_unit_test(a_commit_that_was_not_replicated_is_unknown),
        cmocka_unit_test(a_lost_connection_keeps_what_was_finished),
        cmocka_unit_test(a_late_answer_leaves_the_connection_usable),
        cmocka_unit_test(a_spent_budget_is_not_sent),
        cmocka_unit_test(beyond_the_pipeline_waits_beyond_the_queue_is_busy),
        cmocka_unit_test(a_unit_leaves_the_queue_at_its_deadline),
        cmocka_unit_test(an_outage_is_said_at_once_and_ends_by_itself),
        cmocka_unit_test(a_statement_that_does_not_prepare_stops_the_start),
        cmocka_unit_test(a_start_without_a_database_says_why),
        cmocka_unit_test(freeing_wakes_those_who_wait),
        cmocka_unit_test(each_of_many_readers_gets_its_own_answer),
        cmocka_unit_test(each_lane_connects_as_its_role),
        cmocka_unit_test(the_relay_sees_the_platform_without_a_tenant),
        cmocka_unit_test(the_log_and_the_audit_only_grow),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
