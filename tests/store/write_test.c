/* SPDX-License-Identifier: Apache-2.0 */
/* The write builder and the audit of reads, against a real PostgreSQL. */
#include "cairn/envelope.pb-c.h"
#include "common/base/clock.h"
#include "common/loop/fiber.h"
#include "common/store/audit.h"
#include "common/store/write.h"
#include "common/wire/message.h"
#include "common/wire/seal.h"
#include "tests/lib/pg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { HELD = 4712 }; /* key of the lock that tests wait on */

CN_SQL_WRITE(SQL_TEST_THING_INSERT,
             "INSERT INTO {{schema}}.thing (tenant_id, id, version, event_seq, "
             "name, partner) VALUES ($1, $2, 1, 1, $3, $4) RETURNING version");
CN_SQL_WRITE(SQL_TEST_THING_BUMP,
             "UPDATE {{schema}}.thing SET version = version + 1, "
             "event_seq = event_seq + 1 WHERE tenant_id = $1 AND id = $2");
/* Like an outbox row whose aggregate_seq the database counts. */
CN_SQL_WRITE(SQL_TEST_THING_EVENT,
             "INSERT INTO {{schema}}.outbox (tenant_id, epoch, partition, "
             "event_id, aggregate_type, aggregate_id, aggregate_seq, type, "
             "payload, actor, occurred_at) SELECT tenant_id, 1, 0, id, "
             "'thing', id, event_seq, 'thing.bumped', '', 'test', now() "
             "FROM {{schema}}.thing WHERE tenant_id = $1 AND id = $2");
CN_SQL_WRITE(SQL_TEST_REQUIRE, "SELECT {{schema}}.require($1, $2)");
CN_SQL_WRITE(SQL_TEST_WARN, "SELECT {{schema}}.warn()");
CN_SQL_WRITE(SQL_TEST_BLOCK,
             "SELECT count(*) FROM (SELECT pg_advisory_xact_lock(4712)) AS l");
CN_SQL_WRITE(SQL_TEST_PID,
             "INSERT INTO {{schema}}.backend (pid) VALUES (pg_backend_pid())");
CN_SQL_WRITE(SQL_TEST_POSITION,
             "INSERT INTO {{schema}}.inbox_position (producer, partition, "
             "epoch, xid, seq) VALUES ($1, 0, 1, $2, $3)");

static const struct cn_uuid NONE;
static const struct cn_method METHOD = { .name = "probe.v1.Probe/MakeThing",
                                         .writes = true };

/* Things that were made, as a metric counts them. */
static uint64_t s_made;

/* One write of a thing, as a handler does it. */
struct thing {
    struct test_world *world;
    struct cn_arena *arena;
    const char *key;
    const char *what; /* stands for the body of the request */
    const char *name;
    struct cn_uuid partner;
    const struct cn_statement *more; /* a further change without parameters */
    struct cn_uuid id;
    struct cn_request request;
    struct cn_reply reply;
    struct cn_bytes packed; /* what the client would get */
    struct cn_write *write;
    struct cn_err err;
    enum cn_code rc;
};

static const Env__FieldError *s_body(struct cn_arena *arena, struct cn_uuid id)
{
    Env__FieldError *body = CN_NEW(arena, env__field_error, Env__FieldError);
    char text[CN_UUID_TEXT_SIZE];
    cn_uuid_format(id, text);
    if (body != NULL) {
        body->pointer = cn_arena_strdup(arena, text);
    }
    return body;
}

static void s_thing_build(struct thing *self)
{
    struct cn_uuid tenant = self->world->tenant;
    self->id = cn_uuid_new(&self->world->env);
    self->request = test_world_request(self->world, self->arena, &METHOD,
                                       self->key, self->what);
    const Env__FieldError *body = s_body(self->arena, self->id);
    self->reply = (struct cn_reply){ .body = body != NULL ? &body->base : NULL,
                                     .status = 201,
                                     .version = 1,
                                     .updated_at = self->request.now_at,
                                     .location = "/v1/things/x" };
    self->write = cn_write_begin(&self->request, &self->reply);
    if (self->write == NULL || body == NULL) {
        self->write = NULL;
        return;
    }
    cn_write_lock(self->write, "thing", self->id);
    CN_CHANGE(self->write, &SQL_TEST_THING_INSERT, cn_uuid(tenant),
              cn_uuid(self->id), cn_text(self->name),
              cn_uuid_or_null(self->partner));
    if (self->more != NULL) {
        cn_write_change(self->write, self->more, NULL, 0);
    }
    cn_write_event(self->write, "thing.made", "thing", self->id, 1,
                   &body->base);
    cn_write_audit(self->write, "thing.make", "thi_x", self->id);
    cn_write_count(self->write, &s_made);
}

static enum cn_code s_thing_commit(struct thing *self)
{
    self->rc = cn_write_commit(self->write, &self->err);
    if (self->rc == CN_OK) {
        self->packed = self->reply.packed;
    }
    if (self->rc == CN_OK && !self->reply.replayed) {
        assert_int_equal(cn_message_pack(self->arena, self->reply.body,
                                         &self->packed, &self->err),
                         CN_OK);
    }
    return self->rc;
}

static enum cn_code s_make(struct test_world *world,
                           struct thing *self,
                           const char *key,
                           const char *what,
                           const char *name)
{
    *self = (struct thing){ .world = world,
                            .arena = world->arena,
                            .key = key,
                            .what = what,
                            .name = name };
    s_thing_build(self);
    return s_thing_commit(self);
}

/* Rows of this run's tenant. */
static long s_count(struct test_world *world, const char *table)
{
    char sql[TEST_TEXT_MAX];
    char tenant[CN_UUID_TEXT_SIZE];
    cn_uuid_format(world->tenant, tenant);
    (void)snprintf(sql, sizeof(sql),
                   "SELECT count(*) FROM probe.%s WHERE tenant_id = '%s'",
                   table, tenant);
    return test_pg_number(world->pg, sql);
}

static void s_counts(struct test_world *world)
{
    struct thing thing;
    s_made = 0;
    assert_int_equal(s_make(world, &thing, "counted", "a", "a"), CN_OK);
    assert_int_equal(s_made, 1);
    assert_int_equal(s_make(world, &thing, "counted", "a", "a"), CN_OK);
    assert_true(thing.reply.replayed);
    assert_int_equal(s_make(world, &thing, "counted", "b", "b"), CN_KEY_REUSED);
    assert_int_equal(s_made, 1);
}

static void s_assert_rows(struct test_world *world, long count)
{
    assert_int_equal(s_count(world, "thing"), count);
    assert_int_equal(s_count(world, "idempotency"), count);
    assert_int_equal(s_count(world, "outbox"), count);
    assert_int_equal(s_count(world, "audit"), count);
}

/* What a session executed and with which parameters, from the server's log. */
static char *s_executed(struct test_world *world, int64_t pid)
{
    char path[TEST_TEXT_MAX * 2];
    char mark[32];
    char line[4096];
    char *text = NULL;
    size_t size = 0;
    (void)snprintf(path, sizeof(path), "%s/log", world->pg->dir);
    (void)snprintf(mark, sizeof(mark), "%lld ", (long long)pid);
    FILE *in = fopen(path, "re");
    FILE *out = open_memstream(&text, &size);
    assert_non_null(in);
    assert_non_null(out);
    while (fgets(line, sizeof(line), in) != NULL) {
        const char *what = strstr(line, "execute SQL_");
        const char *params = strstr(line, "DETAIL:  parameters: $1 = '");
        if (strncmp(line, mark, strlen(mark)) != 0) {
            continue;
        }
        if (what != NULL) {
            what += strlen("execute ");
            (void)fprintf(out, "%.*s\n", (int)strcspn(what, ":"), what);
        } else if (params != NULL) {
            (void)fprintf(out, "  %s", strchr(params, '$'));
        }
    }
    (void)fclose(in);
    (void)fclose(out);
    return text;
}

/* The names alone, in one line; free it. */
static char *s_names(const char *executed)
{
    char *names = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&names, &size);
    assert_non_null(out);
    for (const char *line = executed; *line != '\0';) {
        size_t length = strcspn(line, "\n");
        if (line[0] != ' ') {
            (void)fwrite(line, 1, length, out);
            (void)fputc(' ', out);
        }
        line += length + (line[length] == '\n' ? 1 : 0);
    }
    (void)fclose(out);
    return names;
}

/* Where the parameters of lock (type, id) stand in the log; NULL: nowhere. */
static const char *
s_lock_line(const char *executed, const char *type, struct cn_uuid id)
{
    char line[TEST_TEXT_MAX];
    char text[CN_UUID_TEXT_SIZE];
    cn_uuid_format(id, text);
    (void)snprintf(line, sizeof(line), "$1 = '%s', $2 = '%s'", type, text);
    return strstr(executed, line);
}

/* Bodies */

static void s_log_all(struct test_world *world)
{
    char sql[TEST_TEXT_MAX];
    (void)snprintf(sql, sizeof(sql),
                   "ALTER DATABASE %s SET log_statement = 'all'; "
                   "ALTER DATABASE %s SET log_error_verbosity = 'default'",
                   world->pg->database, world->pg->database);
    free(test_pg_sql(world->pg, sql));
}

static void s_log_none(struct test_world *world)
{
    char sql[TEST_TEXT_MAX];
    (void)snprintf(sql, sizeof(sql),
                   "ALTER DATABASE %s RESET log_statement; "
                   "ALTER DATABASE %s RESET log_error_verbosity",
                   world->pg->database, world->pg->database);
    free(test_pg_sql(world->pg, sql));
}

/* A database opened while all statements are logged. */
static void s_order(struct test_world *world)
{
    struct cn_err err = { 0 };
    s_log_all(world);
    world->config.lanes[CN_LANE_WRITE].connections = 1;
    world->env.db = cn_db_new(&world->env, &world->config);
    assert_int_equal(cn_db_start(world->env.db, &err), CN_OK);
    s_log_none(world);
    struct cn_uuid first = { { 1 } };
    struct cn_uuid second = { { 2 } };
    struct cn_request request =
        test_world_request(world, world->arena, &METHOD, "order", "order");
    struct cn_reply reply = { 0 };
    struct cn_write *write = cn_write_begin(&request, &reply);
    assert_true(cn_write_empty(write));
    cn_write_lock(write, "thing", second);
    cn_write_lock(write, "other", first);
    cn_write_lock(write, "thing", second);
    cn_write_lock(write, "thing", first);
    cn_write_change(write, &SQL_TEST_PID, NULL, 0);
    cn_write_due(write, "later", first, 1);
    const Env__FieldError *body = s_body(world->arena, first);
    cn_write_event(write, "thing.made", "thing", first, 1, &body->base);
    cn_write_audit(write, "thing.make", "thi_x", NONE);
    assert_false(cn_write_empty(write));
    assert_int_equal(cn_write_commit(write, &err), CN_OK);
    long pid = test_pg_number(world->pg, "SELECT pid FROM probe.backend");
    char *executed = s_executed(world, pid);
    char *names = s_names(executed);
    assert_string_equal(names,
                        "SQL_TENANT_PLAN_ONCE SQL_LOCK SQL_LOCK SQL_LOCK "
                        "SQL_IDEMPOTENCY_INSERT SQL_TEST_PID "
                        "SQL_DUE_PUT SQL_OUTBOX_INSERT "
                        "SQL_AUDIT_INSERT ");
    const char *locks[] = { s_lock_line(executed, "other", first),
                            s_lock_line(executed, "thing", first),
                            s_lock_line(executed, "thing", second) };
    assert_non_null(locks[0]);
    assert_true(locks[0] < locks[1]);
    assert_true(locks[1] < locks[2]);
    free(names);
    free(executed);
}

/* Many fibers write one aggregate. */
struct writer {
    struct test_world *world;
    struct cn_uuid id;
    int number;
    int failed;
};

enum { WRITERS = 40, WRITES_EACH = 30 };

static void s_bump(void *arg)
{
    struct writer *self = arg;
    struct test_world *world = self->world;
    for (int i = 0; i < WRITES_EACH; i++) {
        struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
        char key[32];
        struct cn_err err = { 0 };
        struct cn_reply reply = { 0 };
        (void)snprintf(key, sizeof(key), "bump-%d-%d", self->number, i);
        struct cn_request request =
            test_world_request(world, arena, &METHOD, key, key);
        struct cn_write *write = cn_write_begin(&request, &reply);
        cn_write_lock(write, "thing", self->id);
        CN_CHANGE(write, &SQL_TEST_THING_BUMP, cn_uuid(world->tenant),
                  cn_uuid(self->id));
        CN_CHANGE(write, &SQL_TEST_THING_EVENT, cn_uuid(world->tenant),
                  cn_uuid(self->id));
        self->failed += cn_write_commit(write, &err) != CN_OK ? 1 : 0;
        cn_arena_free(arena);
    }
    test_world_ended(world);
}

static void s_log_order(struct test_world *world)
{
    struct thing thing;
    assert_int_equal(s_make(world, &thing, "k", "b", "counted"), CN_OK);
    struct writer writers[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){ world, thing.id, i, 0 };
        test_world_spawn(world, s_bump, &writers[i], 60 * CN_SECOND);
    }
    test_world_join(world);
    for (int i = 0; i < WRITERS; i++) {
        assert_int_equal(writers[i].failed, 0);
    }
    char sql[1024];
    char id[CN_UUID_TEXT_SIZE];
    cn_uuid_format(thing.id, id);
    (void)snprintf(sql, sizeof(sql),
                   "SELECT count(*) FILTER (WHERE aggregate_seq = place), "
                   "count(*) FROM (SELECT aggregate_seq, "
                   "row_number() OVER (ORDER BY xid, seq) AS place "
                   "FROM probe.outbox WHERE aggregate_id = '%s') AS log",
                   id);
    char *ordered = test_pg_sql(world->pg, sql);
    char expected[32];
    (void)snprintf(expected, sizeof(expected), "%d|%d",
                   WRITERS * WRITES_EACH + 1, WRITERS * WRITES_EACH + 1);
    assert_string_equal(ordered, expected);
    free(ordered);
}

static void s_repeat(struct test_world *world)
{
    struct thing first;
    struct thing again;
    assert_int_equal(s_make(world, &first, "key", "body", "one"), CN_OK);
    assert_false(first.reply.replayed);
    /* Its natural key is taken too, but the record comes first. */
    assert_int_equal(s_make(world, &again, "key", "body", "one"), CN_OK);
    assert_true(again.reply.replayed);
    assert_int_equal(again.packed.size, first.packed.size);
    assert_memory_equal(again.packed.data, first.packed.data,
                        first.packed.size);
    assert_int_equal(again.reply.status, 201);
    assert_int_equal(again.reply.version, 1);
    assert_int_equal(again.reply.updated_at, first.request.now_at);
    assert_string_equal(again.reply.location, "/v1/things/x");
    s_assert_rows(world, 1);
}

static void s_reuse(struct test_world *world)
{
    struct thing thing;
    assert_int_equal(s_make(world, &thing, "key", "body", "one"), CN_OK);
    assert_int_equal(s_make(world, &thing, "key", "other", "two"),
                     CN_KEY_REUSED);
    s_assert_rows(world, 1);
}

static long s_with_key(struct test_world *world, const char *key)
{
    char sql[TEST_TEXT_MAX];
    (void)snprintf(sql, sizeof(sql),
                   "SELECT count(*) FROM probe.idempotency WHERE key = %s",
                   key);
    return test_pg_number(world->pg, sql);
}

static void s_hashed(struct test_world *world)
{
    struct thing thing;
    assert_int_equal(s_make(world, &thing, "of-a-patient", "body", "one"),
                     CN_OK);
    assert_int_equal(s_with_key(world, "'of-a-patient'"), 0);
    assert_int_equal(
        s_with_key(world, "'#' || encode(sha256('of-a-patient'), 'hex')"), 1);
}

/* The first try was of a release that kept the key itself. */
static void s_upgraded(struct test_world *world)
{
    struct thing thing;
    assert_int_equal(s_make(world, &thing, "old", "body", "one"), CN_OK);
    free(test_pg_sql(world->pg, "UPDATE probe.idempotency SET key = 'old' "
                                "WHERE key = '#' || "
                                "encode(sha256('old'), 'hex')"));
    assert_int_equal(s_with_key(world, "'old'"), 1);
    assert_int_equal(s_make(world, &thing, "old", "body", "two"), CN_OK);
    assert_true(thing.reply.replayed);
    assert_int_equal(s_make(world, &thing, "old", "other", "two"),
                     CN_KEY_REUSED);
    s_assert_rows(world, 1);
}

static void s_find(struct test_world *world)
{
    struct thing thing;
    struct cn_reply reply = { 0 };
    struct cn_err err = { 0 };
    bool found = true;
    struct cn_request request =
        test_world_request(world, world->arena, &METHOD, "key", "body");
    assert_int_equal(cn_idempotency_find(&request, &reply, &found, &err),
                     CN_OK);
    assert_false(found);
    assert_int_equal(s_make(world, &thing, "key", "body", "one"), CN_OK);
    assert_int_equal(cn_idempotency_find(&request, &reply, &found, &err),
                     CN_OK);
    assert_true(found);
    assert_true(reply.replayed);
    assert_int_equal(reply.packed.size, thing.packed.size);
    request = test_world_request(world, world->arena, &METHOD, "key", "no");
    assert_int_equal(cn_idempotency_find(&request, &reply, &found, &err),
                     CN_KEY_REUSED);
    request = test_world_request(world, world->arena, &METHOD, NULL, "no");
    assert_int_equal(cn_idempotency_find(&request, &reply, &found, &err),
                     CN_OK);
    assert_false(found);
}

static void s_commit_task(void *arg)
{
    struct thing *self = arg;
    s_thing_build(self);
    (void)s_thing_commit(self);
    test_world_ended(self->world);
}

static void s_twins(struct test_world *world)
{
    enum { TWINS = 32 };
    struct thing twins[TWINS];
    unsigned fresh = 0;
    for (size_t i = 0; i < TWINS; i++) {
        twins[i] = (struct thing){ .world = world,
                                   .arena = world->arena,
                                   .key = "twin",
                                   .what = "body",
                                   .name = "twin" };
        test_world_spawn(world, s_commit_task, &twins[i], 10 * CN_SECOND);
    }
    test_world_join(world);
    for (size_t i = 0; i < TWINS; i++) {
        assert_int_equal(twins[i].rc, CN_OK);
        fresh += twins[i].reply.replayed ? 0 : 1;
        assert_int_equal(twins[i].packed.size, twins[0].packed.size);
        assert_memory_equal(twins[i].packed.data, twins[0].packed.data,
                            twins[0].packed.size);
    }
    assert_int_equal(fresh, 1);
    s_assert_rows(world, 1);
}

static void s_deferred(struct test_world *world)
{
    struct thing thing = { .world = world,
                           .arena = world->arena,
                           .key = "key",
                           .what = "body",
                           .name = "lonely",
                           .partner = cn_uuid_new(&world->env) };
    s_thing_build(&thing);
    assert_int_equal(s_thing_commit(&thing), CN_CONFLICT);
    assert_string_equal(thing.err.word, "thing_partner");
    s_assert_rows(world, 0);
}

static enum cn_code
s_require(struct test_world *world, const char *constraint, struct cn_err *err)
{
    struct cn_request request =
        test_world_request(world, world->arena, &METHOD, "key", "body");
    struct cn_reply reply = { 0 };
    struct cn_uuid id = cn_uuid_new(&world->env);
    struct cn_write *write = cn_write_begin(&request, &reply);
    cn_write_lock(write, "thing", id);
    CN_CHANGE(write, &SQL_TEST_THING_INSERT, cn_uuid(world->tenant),
              cn_uuid(id), cn_text("guarded"), cn_null());
    CN_CHANGE(write, &SQL_TEST_REQUIRE, cn_bool(false), cn_text(constraint));
    const Env__FieldError *body = s_body(world->arena, id);
    cn_write_event(write, "thing.made", "thing", id, 1, &body->base);
    cn_write_audit(write, "thing.make", "thi_x", id);
    return cn_write_commit(write, err);
}

static void s_guard(struct test_world *world)
{
    struct cn_err err = { 0 };
    assert_int_equal(s_require(world, "thing_version", &err), CN_STALE);
    assert_int_equal(s_require(world, "thing_state", &err), CN_CONFLICT);
    assert_string_equal(err.word, "thing_state");
    s_assert_rows(world, 0);
    /* The key is free: the corrected request may use it. */
    struct thing thing;
    assert_int_equal(s_make(world, &thing, "key", "body", "good"), CN_OK);
    s_assert_rows(world, 1);
}

static bool s_waits(void *arg)
{
    const struct test_world *world = arg;
    return test_pg_number(world->pg,
                          "SELECT count(*) FROM pg_locks WHERE locktype = "
                          "'advisory' AND NOT granted AND objid = 4712") > 0;
}

static bool s_waits_not(void *arg)
{
    return !s_waits(arg);
}

static void s_killed(struct test_world *world)
{
    struct test_hold *hold = test_pg_hold(world->pg, HELD);
    struct thing thing = { .world = world,
                           .arena = world->arena,
                           .key = "key",
                           .what = "body",
                           .name = "killed",
                           .more = &SQL_TEST_BLOCK };
    test_world_spawn(world, s_commit_task, &thing, 20 * CN_SECOND);
    test_world_until(world, s_waits, world);
    free(test_pg_sql(world->pg,
                     "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE "
                     "locktype = 'advisory' AND NOT granted "
                     "AND objid = 4712"));
    test_pg_release(hold);
    test_world_join(world);
    assert_int_equal(thing.rc, CN_OK);
    assert_false(thing.reply.replayed);
    s_assert_rows(world, 1);
}

static void s_unknown(struct test_world *world)
{
    /* Committed, but the answer is that the outcome is unknown. */
    struct thing thing = { .world = world,
                           .arena = world->arena,
                           .key = "key",
                           .what = "body",
                           .name = "warned",
                           .more = &SQL_TEST_WARN };
    s_thing_build(&thing);
    assert_int_equal(s_thing_commit(&thing), CN_OK);
    assert_true(thing.reply.replayed);
    s_assert_rows(world, 1);
}

static void s_unknown_system(struct test_world *world)
{
    struct cn_err err = { 0 };
    struct cn_write *write = cn_write_begin_system(&world->env, world->arena,
                                                   world->tenant, "req_test");
    cn_write_change(write, &SQL_TEST_WARN, NULL, 0);
    cn_write_audit(write, "thing.warn", NULL, NONE);
    assert_int_equal(cn_write_commit(write, &err), CN_UNKNOWN);
    assert_int_equal(s_count(world, "audit"), 1);
}

static void s_contended(struct test_world *world)
{
    struct test_hold *hold = test_pg_hold(world->pg, HELD);
    struct thing thing = { .world = world,
                           .arena = world->arena,
                           .key = "key",
                           .what = "body",
                           .name = "patient",
                           .more = &SQL_TEST_BLOCK };
    test_world_spawn(world, s_commit_task, &thing, 20 * CN_SECOND);
    test_world_until(world, s_waits, world);
    /* lock_timeout ends the first try. */
    test_world_until(world, s_waits_not, world);
    test_pg_release(hold);
    test_world_join(world);
    assert_int_equal(thing.rc, CN_OK);
    s_assert_rows(world, 1);
}

static void s_late(struct test_world *world)
{
    struct test_hold *hold = test_pg_hold(world->pg, HELD);
    struct thing thing = { .world = world,
                           .arena = world->arena,
                           .key = "key",
                           .what = "body",
                           .name = "late",
                           .more = &SQL_TEST_BLOCK };
    test_world_spawn(world, s_commit_task, &thing, 50000);
    test_world_join(world);
    test_pg_release(hold);
    assert_int_equal(thing.rc, CN_UNKNOWN);
    /* The client repeats it with its key. */
    assert_int_equal(s_make(world, &thing, "key", "body", "late"), CN_OK);
    s_assert_rows(world, 1);
}

static void s_event(struct test_world *world)
{
    struct thing thing;
    assert_int_equal(s_make(world, &thing, "key", "body", "told"), CN_OK);
    char sql[1024];
    char id[CN_UUID_TEXT_SIZE];
    cn_uuid_format(thing.id, id);
    (void)snprintf(sql, sizeof(sql),
                   "SELECT epoch, partition BETWEEN 0 AND 15, aggregate_type, "
                   "aggregate_seq, type, actor, correlation_id, trace IS NULL, "
                   "position(convert_to('%s', 'UTF8') IN payload) "
                   "FROM probe.outbox WHERE aggregate_id = '%s'",
                   id, id);
    char *row = test_pg_sql(world->pg, sql);
    assert_string_equal(row, "1|t|thing|1|thing.made|key_test|req_test|t|0");
    free(row);
    (void)snprintf(sql, sizeof(sql),
                   "SELECT actor, role, action, resource, patients, request_id "
                   "FROM probe.audit WHERE patients = ARRAY['%s'::uuid]",
                   id);
    row = test_pg_sql(world->pg, sql);
    (void)snprintf(sql, sizeof(sql),
                   "key_test|coordinator|thing.make|thi_x|{%s}|req_test", id);
    assert_string_equal(row, sql);
    free(row);
}

static void s_consumer(struct test_world *world)
{
    struct cn_err err = { 0 };
    struct cn_event event = { .env = &world->env,
                              .event_id = cn_uuid_new(&world->env),
                              .tenant_id = world->tenant,
                              .correlation_id = "req_cause",
                              .now_at = world->env.now(&world->env),
                              .arena = world->arena };
    struct cn_write *write =
        cn_write_begin_event(&world->env, world->arena, &event);
    assert_true(cn_write_empty(write));
    struct cn_uuid id = cn_uuid_new(&world->env);
    const Env__FieldError *body = s_body(world->arena, id);
    cn_write_due(write, "later", id, event.now_at);
    cn_write_event(write, "thing.moved", "thing", id, 1, &body->base);
    const struct cn_param position[] = { cn_text("maker"), cn_int(7),
                                         cn_int(8) };
    cn_write_position(write, &SQL_TEST_POSITION, position, 3);
    assert_false(cn_write_empty(write));
    assert_int_equal(cn_write_commit(write, &err), CN_OK);
    char cause[CN_UUID_TEXT_SIZE];
    char sql[512];
    cn_uuid_format(event.event_id, cause);
    (void)snprintf(sql, sizeof(sql),
                   "SELECT actor, correlation_id FROM probe.outbox "
                   "WHERE causation_id = '%s'",
                   cause);
    char *row = test_pg_sql(world->pg, sql);
    assert_string_equal(row, "system|req_cause");
    free(row);
    assert_int_equal(s_count(world, "due"), 1);
    write =
        cn_write_begin_system(&world->env, world->arena, world->tenant, NULL);
    cn_write_due_done(write, "later", id);
    assert_int_equal(cn_write_commit(write, &err), CN_OK);
    assert_int_equal(s_count(world, "due"), 0);
    /* The position alone is nothing; taken twice, it is refused. */
    write = cn_write_begin_event(&world->env, world->arena, &event);
    cn_write_position(write, &SQL_TEST_POSITION, position, 3);
    assert_true(cn_write_empty(write));
    assert_int_equal(cn_write_commit(write, &err), CN_CONFLICT);
    assert_string_equal(err.word, "inbox_position_key");
}

static void s_too_many(struct test_world *world)
{
    struct cn_err err = { 0 };
    struct cn_write *write =
        cn_write_begin_system(&world->env, world->arena, world->tenant, NULL);
    for (size_t i = 0; i <= CN_WRITE_STEPS_MAX; i++) {
        cn_write_due(write, "later", cn_uuid_new(&world->env), 1);
    }
    assert_int_equal(cn_write_commit(write, &err), CN_TOO_LARGE);
    assert_int_equal(s_count(world, "due"), 0);
}

static void s_no_memory(struct test_world *world)
{
    unsigned n = 1;
    enum cn_code rc = CN_NOMEM;
    for (; rc != CN_OK; n++) {
        struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
        struct thing thing = { .world = world,
                               .arena = arena,
                               .key = "key",
                               .what = "body",
                               .name = "tight" };
        cn_arena_fail_at(arena, n);
        s_thing_build(&thing);
        struct cn_err err = { 0 };
        rc =
            thing.write != NULL ? cn_write_commit(thing.write, &err) : CN_NOMEM;
        assert_true(rc == CN_OK || rc == CN_NOMEM);
        cn_arena_free(arena);
    }
    assert_true(n > 10);
    s_assert_rows(world, 1);
}

/* Reads that leave an audit row. */
struct reader {
    struct test_world *world;
    const struct cn_uuid *patients;
    size_t patient_count;
    const char *resource;
    enum cn_code rc;
};

static void s_read_task(void *arg)
{
    struct reader *self = arg;
    struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    struct cn_request request =
        test_world_request(self->world, arena, &METHOD, NULL, "");
    struct cn_err err = { 0 };
    self->rc = cn_audit_read(&request, "thing.read", self->resource,
                             self->patients, self->patient_count, &err);
    cn_arena_free(arena);
    test_world_ended(self->world);
}

enum { READERS = 150 };

static void s_readers(struct test_world *world,
                      struct reader readers[READERS],
                      const struct reader *like)
{
    for (size_t i = 0; i < READERS; i++) {
        readers[i] = *like;
        readers[i].world = world;
        test_world_spawn(world, s_read_task, &readers[i], 10 * CN_SECOND);
    }
    test_world_join(world);
}

static void s_gathered(struct test_world *world)
{
    struct cn_uuid one = { { 1 } };
    struct cn_uuid two = { { 2 } };
    const struct cn_uuid patients[] = { two, one, NONE, two };
    struct reader readers[READERS];
    const struct reader like = { .patients = patients,
                                 .patient_count = 4,
                                 .resource = "thi_x" };
    s_readers(world, readers, &like);
    for (size_t i = 0; i < READERS; i++) {
        assert_int_equal(readers[i].rc, CN_OK);
    }
    assert_int_equal(s_count(world, "audit"), READERS);
    char sql[1024];
    char tenant[CN_UUID_TEXT_SIZE];
    cn_uuid_format(world->tenant, tenant);
    (void)snprintf(sql, sizeof(sql),
                   "SELECT count(DISTINCT xmin::text) <= 5, "
                   "count(DISTINCT (patients, actor, role, action, resource, "
                   "request_id)), count(DISTINCT id), max(at) <= now(), "
                   "max(cardinality(patients)) "
                   "FROM probe.audit WHERE tenant_id = '%s'",
                   tenant);
    char *row = test_pg_sql(world->pg, sql);
    assert_string_equal(row, "t|1|150|t|2");
    free(row);
}

static void s_audit_alone(struct test_world *world)
{
    struct reader reader = { .world = world };
    test_world_spawn(world, s_read_task, &reader, 10 * CN_SECOND);
    test_world_join(world);
    assert_int_equal(reader.rc, CN_OK);
    char *row = test_pg_sql(world->pg, "SELECT resource IS NULL, patients FROM "
                                       "probe.audit ORDER BY at DESC LIMIT 1");
    assert_string_equal(row, "t|{}");
    free(row);
}

static void s_audit_fails(struct test_world *world)
{
    struct reader readers[READERS];
    const struct reader like = { .resource = "thi_x" };
    free(test_pg_sql(world->pg, "ALTER TABLE probe.audit ADD CONSTRAINT "
                                "audit_never CHECK (false) NOT VALID"));
    s_readers(world, readers, &like);
    free(test_pg_sql(world->pg,
                     "ALTER TABLE probe.audit DROP CONSTRAINT audit_never"));
    for (size_t i = 0; i < READERS; i++) {
        assert_int_equal(readers[i].rc, CN_UNAVAILABLE);
    }
    assert_int_equal(s_count(world, "audit"), 0);
}

static void s_audit_late(struct test_world *world)
{
    struct test_hold *hold = test_pg_hold(world->pg, HELD);
    /* All writers' connections are taken. */
    struct thing thing = { .world = world,
                           .arena = world->arena,
                           .key = "key",
                           .what = "body",
                           .name = "slow",
                           .more = &SQL_TEST_BLOCK };
    test_world_spawn(world, s_commit_task, &thing, 10 * CN_SECOND);
    test_world_until(world, s_waits, world);
    struct reader readers[4];
    for (size_t i = 0; i < 4; i++) {
        readers[i] = (struct reader){ .world = world };
        test_world_spawn(world, s_read_task, &readers[i],
                         i % 2 == 0 ? 20000 : 10 * CN_SECOND);
    }
    for (size_t left = world->fibers; left > 3; left = world->fibers) {
        assert_int_equal(cn_fiber_sleep(1000), CN_OK);
    }
    test_pg_release(hold);
    test_world_join(world);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(readers[i].rc, i % 2 == 0 ? CN_UNAVAILABLE : CN_OK);
    }
}

/* Tests */

#define BODY_TEST(name, connections, body)                                     \
    static void name(void **state)                                             \
    {                                                                          \
        test_world_run(*state, connections, body, NULL);                       \
    }

BODY_TEST(the_steps_are_sent_in_the_binding_order, 0, s_order)
BODY_TEST(the_log_of_an_aggregate_has_the_order_of_its_versions, 4, s_log_order)
BODY_TEST(a_repeated_key_replays_the_first_reply, 1, s_repeat)
BODY_TEST(a_key_with_another_body_is_refused, 1, s_reuse)
BODY_TEST(a_key_is_kept_as_its_hash, 1, s_hashed)
BODY_TEST(a_retry_across_the_upgrade_runs_once, 1, s_upgraded)
BODY_TEST(a_finished_twin_is_found, 1, s_find)
BODY_TEST(twins_in_flight_have_one_effect_and_equal_replies, 4, s_twins)
BODY_TEST(an_error_of_the_commit_undoes_all, 1, s_deferred)
BODY_TEST(what_is_counted_was_committed_once, 1, s_counts)
BODY_TEST(a_failed_guard_undoes_all, 1, s_guard)
BODY_TEST(a_write_of_a_killed_backend_is_done_once, 1, s_killed)
BODY_TEST(an_unknown_outcome_is_resolved_by_its_key, 1, s_unknown)
BODY_TEST(an_unknown_outcome_without_a_key_stays_unknown, 1, s_unknown_system)
BODY_TEST(a_lock_that_is_not_had_is_tried_again, 1, s_contended)
BODY_TEST(a_write_that_is_late_is_unknown_and_can_be_repeated, 1, s_late)
BODY_TEST(events_and_audit_say_who_and_what_and_are_sealed, 1, s_event)
BODY_TEST(the_effect_of_an_event_moves_the_position, 1, s_consumer)
BODY_TEST(too_many_steps_are_refused, 1, s_too_many)
BODY_TEST(without_memory_nothing_is_written, 1, s_no_memory)
BODY_TEST(rows_of_reads_are_gathered, 2, s_gathered)
BODY_TEST(a_read_alone_is_audited_at_once, 1, s_audit_alone)
BODY_TEST(without_its_audit_row_no_read_is_answered, 1, s_audit_fails)
BODY_TEST(a_reader_may_leave_before_its_row_is_written, 1, s_audit_late)

static int s_setup(void **state)
{
    struct test_pg *pg = test_pg_new("probe", "tests/store/probe");
    free(test_pg_sql(pg, "CREATE TABLE probe.backend (pid int);"
                         "GRANT INSERT ON probe.backend TO probe_app"));
    *state = pg;
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
        cmocka_unit_test(the_steps_are_sent_in_the_binding_order),
        cmocka_unit_test(the_log_of_an_aggregate_has_the_order_of_its_versions),
        cmocka_unit_test(a_repeated_key_replays_the_first_reply),
        cmocka_unit_test(a_key_with_another_body_is_refused),
        cmocka_unit_test(a_key_is_kept_as_its_hash),
        cmocka_unit_test(a_retry_across_the_upgrade_runs_once),
        cmocka_unit_test(a_finished_twin_is_found),
        cmocka_unit_test(twins_in_flight_have_one_effect_and_equal_replies),
        cmocka_unit_test(an_error_of_the_commit_undoes_all),
        cmocka_unit_test(what_is_counted_was_committed_once),
        cmocka_unit_test(a_failed_guard_undoes_all),
        cmocka_unit_test(a_write_of_a_killed_backend_is_done_once),
        cmocka_unit_test(an_unknown_outcome_is_resolved_by_its_key),
        cmocka_unit_test(an_unknown_outcome_without_a_key_stays_unknown),
        cmocka_unit_test(a_lock_that_is_not_had_is_tried_again),
        cmocka_unit_test(a_write_that_is_late_is_unknown_and_can_be_repeated),
        cmocka_unit_test(events_and_audit_say_who_and_what_and_are_sealed),
        cmocka_unit_test(the_effect_of_an_event_moves_the_position),
        cmocka_unit_test(too_many_steps_are_refused),
        cmocka_unit_test(without_memory_nothing_is_written),
        cmocka_unit_test(rows_of_reads_are_gathered),
        cmocka_unit_test(a_read_alone_is_audited_at_once),
        cmocka_unit_test(without_its_audit_row_no_read_is_answered),
        cmocka_unit_test(a_reader_may_leave_before_its_row_is_written),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
