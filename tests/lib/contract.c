/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of methods, records and moves. Each test runs in a world of its
 * own, and prints a sentence for each fault. */
#include "tests/lib/contract_internal.h"

#include "cairn/routes.h"
#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/wire/json.h"
#include "common/wire/message.h"

#include <assert.h>
#include <fnmatch.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the four above it. */
#include <cmocka.h>

enum { CONNECTIONS = 2, SAID_MAX = 20, ROLES_MAX = 8 };

static const int64_t WAITER_US = 20 * CN_SECOND;

static const struct contract *s_contract;
static struct test_pg *s_pg;
static struct contract_run *s_run;
static struct contract_plans *s_plans;

bool contract_must(struct contract_run *run,
                   bool holds,
                   const char *format,
                   ...)
{
    char text[CONTRACT_TEXT_MAX];
    va_list args;
    if (holds) {
        return true;
    }
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (run->faults++ < SAID_MAX) {
        print_error("must be so, and is not: %s\n", text);
    }
    return false;
}

const char *contract_outcome(const struct test_answer *answer)
{
    static char text[CONTRACT_TEXT_MAX];
    (void)snprintf(
        text, sizeof(text), "%u %s (%s%s%s)", cn_code_status(answer->rc),
        answer->rc == CN_OK ? "" : answer->err.word, answer->err.msg,
        answer->err.field_count > 0 ? ", " : "",
        answer->err.field_count > 0 ? answer->err.fields[0].pointer : "");
    return text;
}

/* ---- the methods of the service ---- */

static const struct cn_route *s_route(const char *method)
{
    for (size_t i = 0; i < cn_route_count; i++) {
        if (strcmp(cn_routes[i].method, method) == 0) {
            return &cn_routes[i];
        }
    }
    return NULL;
}

/* The resource whose path, with "/{id}", the route begins with. */
static const struct cn_resource *s_target(const struct cn_route *route)
{
    const struct cn_resource *const *all = s_contract->service->resources;
    for (size_t i = 0; route != NULL && all != NULL && all[i] != NULL; i++) {
        const char *path = all[i]->path;
        const size_t size = path != NULL ? strlen(path) : 0;
        if (size > 0 && strncmp(route->path, path, size) == 0 &&
            strncmp(route->path + size, "/{id}", 5) == 0) {
            return all[i];
        }
    }
    return NULL;
}

static const char *s_command(const struct cn_route *route,
                             const struct cn_resource *target)
{
    const char *last = target != NULL ? strrchr(route->path, '/') + 1 : "";
    for (size_t i = 0;
         target != NULL && target->moves != NULL && i < target->moves->count;
         i++) {
        if (route->verb == CN_POST &&
            strcmp(target->moves->rows[i].command, last) == 0) {
            return target->moves->rows[i].command;
        }
    }
    return NULL;
}

static const char *s_role(const char *scope, enum cn_reach reach)
{
    static const char *const ROLES[] = { "supervisor",    "administrator",
                                         "integrator",    "coordinator",
                                         "scheduler",     "intake",
                                         "records_clerk", "platform" };
    for (size_t i = 0; i < CN_COUNT(ROLES); i++) {
        if (scope == NULL || scope[0] == '\0' ||
            cn_policy_reach(ROLES[i], scope) == reach) {
            return ROLES[i];
        }
    }
    return NULL;
}

static void s_methods_read(struct contract_run *run)
{
    const struct cn_service *service = s_contract->service;
    for (size_t i = 0; i < service->method_count; i++) {
        const struct cn_method *method = &service->methods[i];
        const char *rpc = strchr(method->name, '/') + 1;
        const struct cn_route *route = s_route(method->name);
        if (contract_excused(s_contract, rpc)) {
            continue;
        }
        const char *whole = s_role(method->scope, CN_REACH_AGENCY);
        const char *part = method->scope != NULL && method->scope[0] != '\0'
                               ? s_role(method->scope, CN_REACH_BRANCH)
                               : NULL;
        assert(run->method_count < CONTRACT_METHODS_MAX);
        run->methods[run->method_count++] = (struct contract_method){
            .method = method,
            .route = route,
            .rpc = rpc,
            .target = s_target(route),
            .command = s_command(route, s_target(route)),
            .patch = route != NULL && route->verb == CN_PATCH,
            .role = whole != NULL ? whole : part,
            .branch_role = part,
        };
    }
}

static const struct contract_method *s_entered(struct contract_run *run,
                                               const struct contract_method *m)
{
    const bool is_there = m < run->methods + run->method_count;
    const struct cn_resource *resource = is_there ? m->method->resource : NULL;
    /* A tenant that a method makes is not the world's. */
    run->everywhere = resource != NULL && resource->is_tenant;
    return m;
}

const struct contract_method *contract_first(struct contract_run *run)
{
    return s_entered(run, run->methods);
}

const struct contract_method *contract_next(struct contract_run *run,
                                            const struct contract_method *m)
{
    return s_entered(run, m + 1);
}

static bool s_changes_target(const struct contract_method *m)
{
    return m->method->writes && m->target != NULL;
}

/* The answer of the call, which must be a success. */
static struct test_answer s_succeed(struct contract_run *run,
                                    const struct contract_call *call)
{
    struct test_answer answer = contract_send(run, call);
    contract_must(run, answer.rc == CN_OK, "%s answers a valid request: %s",
                  call->method->rpc, contract_outcome(&answer));
    return answer;
}

/* ---- each method once ---- */

/* Columns of contract_trace: when, which table, how many locks are held. */
static void s_trace_begin(struct contract_run *run)
{
    (void)test_psql(run->psql, "TRUNCATE contract_trace RESTART IDENTITY");
}

/* The stage of write.h that a change of the table belongs to. */
#define STAGE                                                                  \
    "CASE t.name WHEN 'idempotency' THEN 1 WHEN 'outbox' THEN 3"               \
    " WHEN 'audit' THEN 4 WHEN 'inbox_position' THEN 5 ELSE 2 END"

static void s_trace_look(struct contract_run *run, const char *what)
{
    const char *text = test_psql(
        run->psql,
        "SELECT string_agg(s.name, ' ' ORDER BY s.n) FROM (SELECT t.*, " STAGE
        " AS stage, max(" STAGE
        ") OVER (PARTITION BY t.xid ORDER BY t.n) AS highest"
        " FROM contract_trace t) s WHERE s.stage < s.highest");
    contract_must(run, text[0] == '\0',
                  "the unit of %s is locks, key, changes, events, audit,"
                  " position: too late came %s",
                  what, text);
    text = test_psql(run->psql,
                     "SELECT min(t.name) FROM contract_trace t WHERE " STAGE
                     " = 2 AND t.name <> 'due' AND t.locks = 0 AND EXISTS"
                     " (SELECT 1 FROM contract_trace a WHERE a.xid = t.xid"
                     " AND a.locks > 0)");
    contract_must(run, text[0] == '\0',
                  "the locks of %s are taken before its changes: %s was"
                  " changed first",
                  what, text);
}

static struct cn_record *s_look(struct contract_run *run,
                                const struct contract_made *made)
{
    static struct cn_err err;
    struct test_world *world = run->world;
    err = (struct cn_err){ 0 };
    struct cn_op op = { .env = &world->env,
                        .arena = world->arena,
                        .tenant_id = world->tenant,
                        .now_at = run->base_at,
                        .err = &err };
    struct cn_record *record = cn_find(&op, made->resource, made->id);
    assert(record->found);
    return record;
}

/* What a write leaves behind besides its rows. */
static void s_written(struct contract_run *run,
                      const struct contract_call *call,
                      long audited)
{
    const char *rpc = call->method->rpc;
    contract_must(run,
                  contract_rows(run, "idempotency",
                                "key = '#' || encode(sha256('%s'), 'hex')",
                                call->caller.key) == 1,
                  "%s leaves the record of its key", rpc);
    contract_must(run, contract_rows(run, "audit", "true") > audited,
                  "%s leaves a row in the audit", rpc);
    if (call->method->target != NULL) {
        char id[CN_UUID_TEXT_SIZE];
        cn_uuid_format(call->target.id, id);
        const int64_t seq = s_look(run, &call->target)->event_seq;
        contract_must(run,
                      contract_rows(run, "outbox",
                                    "aggregate_id = '%s' AND aggregate_seq ="
                                    " %lld",
                                    id, (long long)seq) == (seq > 0 ? 1 : 0),
                      "the last event of what %s changed has the number that"
                      " its row holds",
                      rpc);
    }
}

static size_t s_listed(const struct test_answer *answer,
                       const struct cn_shape *output)
{
    const int data = contract_field(output, "data");
    const char *base = answer->body;
    assert(data >= 0);
    return *(const size_t *)(const void *)(base +
                                           output->descriptor->fields[data]
                                               .quantifier_offset);
}

static bool s_is_list(const struct contract_method *m)
{
    return !m->method->writes && m->route != NULL &&
           contract_field(m->method->output, "data") >= 0;
}

static void s_shown(struct contract_run *run,
                    const struct contract_call *call,
                    const struct test_answer *answer)
{
    const struct cn_resource *resource = call->method->method->resource;
    const bool one = call->method->target == resource;
    const char *action = one ? "read" : "list";
    if (resource == NULL || !resource->audited ||
        call->method->method->writes) {
        return;
    }
    if (!one && s_listed(answer, call->method->method->output) == 0) {
        contract_must(run, call->method->target != NULL,
                      "%s shows the records that there are", call->method->rpc);
        return;
    }
    contract_must(run,
                  contract_rows(run, "audit",
                                "action = '%s.%s' AND cardinality(patients) > 0"
                                " AND (resource = '%s' OR NOT %s)",
                                resource->name, action,
                                one ? call->target.text : "",
                                one ? "true" : "false") == 1,
                  "%s shows a patient, and the audit tells whose and what",
                  call->method->rpc);
}

/* The same request without its filters. */
static void s_ask_for_all(struct contract_run *run, struct contract_call *call)
{
    if (s_is_list(call->method) && call->method->target == NULL) {
        call->body = cn_message_new(run->world->arena,
                                    call->method->method->input->descriptor);
    }
}

static void s_method_answers(struct contract_run *run,
                             const struct contract_method *m)
{
    contract_settle(run);
    struct contract_call call = contract_prepare(run, m);
    call.caller.key = m->method->writes
                          ? cn_id_text(run->world->arena, "key",
                                       cn_uuid_new(&run->world->env))
                          : NULL;
    s_ask_for_all(run, &call);
    const long audited = contract_rows(run, "audit", "true");
    s_trace_begin(run);
    struct test_answer answer = s_succeed(run, &call);
    if (answer.rc != CN_OK) {
        return;
    }
    if (m->method->writes) {
        s_written(run, &call, audited);
        s_trace_look(run, m->rpc);
    }
    s_shown(run, &call, &answer);
}

static void s_methods_answer(struct test_world *world)
{
    (void)world;
    CONTRACT_EACH(s_run, m)
    {
        s_method_answers(s_run, m);
    }
}

/* ---- tenant and reach ---- */

/* Checks that the record seems not to exist: the answer is that for an unknown
 * id. */
static void s_is_absent(struct contract_run *run,
                        struct contract_call *call,
                        const char *id,
                        const char *whose)
{
    const struct contract_maker maker = contract_maker(run, true);
    const char *state = contract_state(run);
    contract_aim(call, id);
    struct test_answer there = contract_send(run, call);
    contract_aim(call,
                 cn_id_text(run->world->arena, call->method->target->prefix,
                            cn_uuid_new(&maker.world->env)));
    struct test_answer absent = contract_send(run, call);
    const char *rpc = call->method->rpc;
    contract_must(run, absent.rc == CN_NOT_FOUND,
                  "%s of an unknown id is 404: %s", rpc,
                  contract_outcome(&absent));
    contract_must(run,
                  there.rc == CN_NOT_FOUND &&
                      test_same_refusal(there.err, absent.err),
                  "%s of a record of another %s is the 404 of an unknown id: "
                  "%s",
                  rpc, whose, contract_outcome(&there));
    contract_must(run, strcmp(state, contract_state(run)) == 0,
                  "%s of a record of another %s changes nothing", rpc, whose);
}

/* A list shows nothing to a caller who may see nothing. */
static void s_lists_nothing(struct contract_run *run,
                            struct contract_call *call,
                            const char *whose)
{
    struct test_answer answer = s_succeed(run, call);
    if (answer.rc == CN_OK) {
        contract_must(run, s_listed(&answer, call->method->method->output) == 0,
                      "%s shows nothing of another %s", call->method->rpc,
                      whose);
    }
}

static void s_tenants_are_apart(struct test_world *world)
{
    CONTRACT_EACH(s_run, m)
    {
        if (m->target == NULL && !s_is_list(m)) {
            continue;
        }
        contract_settle(s_run);
        struct contract_call call = contract_prepare(s_run, m);
        const struct cn_uuid own = world->tenant;
        call.caller.tenant = cn_uuid_new(&world->env);
        if (m->target != NULL) {
            s_is_absent(s_run, &call, call.target.text, "tenant");
            world->tenant = own;
        } else if (m->method->resource != NULL &&
                   !m->method->resource->is_tenant) {
            s_ask_for_all(s_run, &call);
            s_lists_nothing(s_run, &call, "tenant");
        }
    }
}

static void s_branches_are_apart(struct test_world *world)
{
    CONTRACT_EACH(s_run, m)
    {
        const struct cn_resource *resource =
            m->target != NULL ? m->target : m->method->resource;
        if (m->branch_role == NULL || resource == NULL ||
            resource->branch < 0 || (m->target == NULL && !s_is_list(m))) {
            continue;
        }
        contract_settle(s_run);
        struct contract_call call = contract_prepare(s_run, m);
        const struct contract_maker maker = contract_maker(s_run, true);
        const struct cn_uuid own = contract_uuid(&maker, "brn", 0);
        const struct cn_uuid other = cn_uuid_new(&world->env);
        call.caller.role = m->branch_role;
        call.caller.branch_count = 1;
        call.caller.branches = &other;
        if (m->target == NULL) {
            s_ask_for_all(s_run, &call);
            s_lists_nothing(s_run, &call, "branch");
            continue;
        }
        s_is_absent(s_run, &call, call.target.text, "branch");
        /* With the record's own branch the same call succeeds. */
        call.caller.branches = &own;
        contract_aim(&call, call.target.text);
        (void)s_succeed(s_run, &call);
    }
}

/* ---- If-Match ---- */

static void s_versions_are_kept(struct test_world *world)
{
    (void)world;
    CONTRACT_EACH(s_run, m)
    {
        if (!s_changes_target(m)) {
            continue;
        }
        contract_settle(s_run);
        struct contract_call call = contract_prepare(s_run, m);
        const int64_t version = s_look(s_run, &call.target)->version;
        const char *state = contract_state(s_run);
        call.caller.has_version = true;
        call.caller.version = version + 6;
        struct test_answer stale = contract_send(s_run, &call);
        contract_must(s_run,
                      stale.rc == CN_STALE && stale.err.version == version,
                      "%s with If-Match of another version is 412 with the"
                      " present one: %s, version %lld",
                      m->rpc, contract_outcome(&stale), stale.err.version);
        contract_must(s_run, strcmp(state, contract_state(s_run)) == 0,
                      "%s with If-Match of another version changes nothing",
                      m->rpc);
        call.caller.version = version;
        (void)s_succeed(s_run, &call);
    }
}

/* ---- a lost race ---- */

/* A call in a fiber of its own. */
struct waiter {
    struct contract_run *run;
    const struct contract_call *call;
    struct test_answer answer;
    bool ended;
};

static void s_wait_send(void *arg)
{
    struct waiter *self = arg;
    self->answer = contract_send(self->run, self->call);
    self->ended = true;
    test_world_ended(self->run->world);
}

static bool s_waits_for_lock(void *arg)
{
    struct waiter *self = arg;
    return self->ended ||
           test_psql_number(self->run->psql,
                            "SELECT count(*) FROM pg_locks WHERE locktype ="
                            " 'advisory' AND NOT granted") > 0;
}

/* "scheduling.visit" of the resource's update. */
static const char *s_table(struct contract_run *run,
                           const struct cn_resource *resource)
{
    const char *at = strstr(resource->update->sql, "UPDATE ") + 7;
    return cn_arena_strndup(run->world->arena, at, strcspn(at, " "));
}

/* While the call waits for the lock of its record, another changes it. */
static struct test_answer s_race(struct contract_run *run,
                                 const struct contract_call *call)
{
    const struct cn_resource *resource = call->method->target;
    struct waiter waiter = { .run = run, .call = call };
    char id[CN_UUID_TEXT_SIZE];
    cn_uuid_format(call->target.id, id);
    const char *lock =
        cn_arena_printf(run->world->arena, "hashtextextended('%s%s%s', 0)",
                        s_contract->service->name, resource->name, id);
    (void)test_psql(run->psql, "SELECT pg_advisory_lock(%s)", lock);
    test_world_spawn(run->world, s_wait_send, &waiter, WAITER_US);
    test_world_until(run->world, s_waits_for_lock, &waiter);
    contract_must(run, !waiter.ended, "%s waits for the lock of its record: %s",
                  call->method->rpc, contract_outcome(&waiter.answer));
    (void)test_psql(run->psql,
                    "UPDATE %s SET version = version + 1 WHERE id = '%s'",
                    s_table(run, resource), id);
    (void)test_psql(run->psql, "SELECT pg_advisory_unlock(%s)", lock);
    test_world_join(run->world);
    return waiter.answer;
}

static void s_races_are_lost(struct test_world *world)
{
    (void)world;
    CONTRACT_EACH(s_run, m)
    {
        if (!s_changes_target(m)) {
            continue;
        }
        contract_settle(s_run);
        struct contract_call call = contract_prepare(s_run, m);
        const int64_t version = s_look(s_run, &call.target)->version;
        struct test_answer answer = s_race(s_run, &call);
        contract_must(s_run,
                      answer.rc == CN_OK &&
                          s_look(s_run, &call.target)->version == version + 2,
                      "%s that lost a race reads again and succeeds: %s",
                      m->rpc, contract_outcome(&answer));
        call = contract_prepare(s_run, m);
        call.caller.has_version = true;
        call.caller.version = s_look(s_run, &call.target)->version;
        answer = s_race(s_run, &call);
        contract_must(s_run, answer.rc == CN_STALE,
                      "%s with If-Match that lost a race is 412: %s", m->rpc,
                      contract_outcome(&answer));
    }
}

/* ---- a patch of nothing ---- */

/* The request's field that holds the patch. */
static void s_patch_is(const struct contract_call *call, const void *shown)
{
    const struct cn_shape *input = call->method->method->input;
    const int at = contract_field(input, call->method->route->body);
    char *base = (char *)call->body;
    assert(at >= 0);
    memcpy(base + input->descriptor->fields[at].offset, &shown, sizeof(shown));
}

static void s_nothing_is_written(struct contract_run *run,
                                 const struct contract_call *call,
                                 const struct test_answer *first,
                                 const char *what)
{
    const struct cn_resource *target = call->method->target;
    const char *rpc = call->method->rpc;
    struct cn_record *record = s_look(run, &call->target);
    const int updated = contract_field(target->shown, "updated_at");
    int64_t updated_at = 0;
    memcpy(&updated_at,
           (const char *)record->shown +
               target->shown->descriptor->fields[updated].offset,
           sizeof(updated_at));
    const long events = contract_rows(run, "outbox", "true");
    const long reads =
        contract_rows(run, "audit", "action = '%s.read'", target->name);
    const long rows = contract_rows(run, "audit", "true");
    struct contract_call again = *call;
    s_patch_is(&again, record->shown);
    again.caller.key =
        cn_id_text(run->world->arena, "key", cn_uuid_new(&run->world->env));
    struct test_answer answer = s_succeed(run, &again);
    (void)first;
    contract_must(run,
                  answer.reply.version == record->version &&
                      answer.reply.updated_at == updated_at &&
                      s_look(run, &call->target)->version == record->version,
                  "%s of %s keeps version and updated_at: %lld is now %lld",
                  rpc, what, (long long)record->version,
                  (long long)answer.reply.version);
    contract_must(run, contract_rows(run, "outbox", "true") == events,
                  "%s of %s tells nothing", rpc, what);
    contract_must(
        run,
        contract_rows(run, "audit", "action = '%s.read'", target->name) ==
                reads + (target->audited ? 1 : 0) &&
            contract_rows(run, "audit", "true") ==
                rows + (target->audited ? 1 : 0),
        "%s of %s leaves its read in the audit, and no write", rpc, what);
    answer = contract_send(run, &again);
    contract_must(run, answer.rc == CN_OK && answer.reply.replayed,
                  "%s of %s leaves the record of its key: %s", rpc, what,
                  contract_outcome(&answer));
}

static void s_patches_of_nothing(struct test_world *world)
{
    (void)world;
    CONTRACT_EACH(s_run, m)
    {
        if (!m->patch || m->target == NULL) {
            continue;
        }
        contract_settle(s_run);
        struct contract_call call = contract_prepare(s_run, m);
        const int64_t version = s_look(s_run, &call.target)->version;
        struct test_answer first = s_succeed(s_run, &call);
        if (first.rc != CN_OK) {
            continue;
        }
        contract_must(s_run, first.reply.version == version + 1,
                      "%s of something is a new version", m->rpc);
        s_nothing_is_written(s_run, &call, &first, "what is there already");
        const struct cn_shape *input = m->method->input;
        char *base = (char *)call.body;
        if (input->update_mask >= 0) {
            *(size_t *)(void *)(base +
                                input->descriptor->fields[input->update_mask]
                                    .quantifier_offset) = 0;
            s_nothing_is_written(s_run, &call, &first, "no field");
        }
    }
}

/* ---- an object that was just read ---- */

static void s_mask_is(const struct contract_call *call,
                      const char *const *paths,
                      size_t count)
{
    const struct cn_shape *input = call->method->method->input;
    const ProtobufCFieldDescriptor *mask =
        &input->descriptor->fields[input->update_mask];
    char *base = (char *)call->body;
    memcpy(base + mask->offset, &paths, sizeof(paths));
    memcpy(base + mask->quantifier_offset, &count, sizeof(count));
}

/* The JSON that a client read becomes the patch. */
static void s_patch_is_read(struct contract_run *run,
                            const struct contract_call *call,
                            const void *shown)
{
    const struct cn_shape *shape = call->method->method->output;
    struct cn_buffer text;
    struct cn_json_mask mask = { 0 };
    struct cn_err err = { 0 };
    ProtobufCMessage *patch =
        cn_message_new(run->world->arena, shape->descriptor);
    cn_buffer_init(&text, CN_MESSAGE_SIZE_MAX);
    cn_json_write(&text, shape, shown);
    contract_must(run,
                  cn_json_read(run->world->arena, shape, text.data, text.size,
                               patch, &mask, &err) == CN_OK,
                  "%s takes what was read: %s %s", call->method->rpc,
                  err.fields[0].pointer, err.fields[0].msg);
    cn_buffer_done(&text);
    s_patch_is(call, patch);
    s_mask_is(call, mask.paths, mask.count);
}

/* Each read-only field that is there, cleared. */
static void s_read_only_is_named(struct contract_run *run,
                                 const struct contract_call *call,
                                 const void *shown)
{
    const struct cn_shape *shape = call->method->method->output;
    s_patch_is(call, cn_message_new(run->world->arena, shape->descriptor));
    for (unsigned i = 0; i < shape->descriptor->n_fields; i++) {
        const char *name = shape->descriptor->fields[i].name;
        ProtobufCMessage *alone =
            cn_message_new(run->world->arena, shape->descriptor);
        struct cn_err err = { 0 };
        struct cn_bytes packed = { NULL, 0 };
        if (!shape->fields[i].output_only && !shape->fields[i].create_only) {
            continue;
        }
        assert_int_equal(
            cn_message_merge(run->world->arena, alone, shown, &name, 1, &err),
            CN_OK);
        assert_int_equal(
            cn_message_pack(run->world->arena, alone, &packed, &err), CN_OK);
        s_mask_is(call, &name, 1);
        struct test_answer answer = contract_send(run, call);
        contract_must(
            run,
            packed.size == 0
                ? answer.rc == CN_OK
                : answer.rc == CN_INVALID &&
                      strcmp(answer.err.fields[0].pointer + 1, name) == 0 &&
                      strcmp(answer.err.fields[0].word, "read_only_field") == 0,
            "%s that clears %s, which is %s, is: %s", call->method->rpc, name,
            packed.size == 0 ? "absent" : "there", contract_outcome(&answer));
    }
}

static void s_objects_are_sent_back(struct test_world *world)
{
    (void)world;
    CONTRACT_EACH(s_run, m)
    {
        if (!m->patch || m->target == NULL) {
            continue;
        }
        contract_settle(s_run);
        struct contract_call call = contract_prepare(s_run, m);
        s_mask_is(&call, NULL, 0);
        const struct test_answer read = s_succeed(s_run, &call);
        if (read.rc != CN_OK) {
            continue;
        }
        call.caller.key = NULL;
        s_patch_is_read(s_run, &call, read.body);
        const struct test_answer again = s_succeed(s_run, &call);
        contract_must(s_run, again.reply.version == read.reply.version,
                      "%s of the object that was just read changes nothing",
                      m->rpc);
        s_read_only_is_named(s_run, &call, read.body);
    }
}

/* ---- keys ---- */

static bool s_same_bytes(const struct test_answer *a,
                         const struct test_answer *b)
{
    return a->reply.packed.size == b->reply.packed.size &&
           memcmp(a->reply.packed.data, b->reply.packed.data,
                  a->reply.packed.size) == 0;
}

static void s_keys_are_used_once(struct test_world *world)
{
    CONTRACT_EACH(s_run, m)
    {
        char name[CONTRACT_TEXT_MAX];
        (void)snprintf(name, sizeof(name), "a_key_is_used_once %s", m->rpc);
        if (!m->method->writes || m->route == NULL ||
            contract_excused(s_contract, name)) {
            continue;
        }
        contract_settle(s_run);
        struct contract_call call = contract_prepare(s_run, m);
        struct contract_call other = contract_prepare(s_run, m);
        call.caller.key =
            cn_id_text(world->arena, "key", cn_uuid_new(&world->env));
        other.caller.key = call.caller.key;
        struct test_answer first = s_succeed(s_run, &call);
        if (first.rc != CN_OK) {
            continue;
        }
        /* A reply that is given again shows its patient again. */
        const char *state = contract_state_without(s_run, "audit");
        struct test_answer again = contract_send(s_run, &call);
        contract_must(s_run,
                      again.rc == CN_OK && again.reply.replayed &&
                          s_same_bytes(&first, &again) &&
                          again.reply.version == first.reply.version,
                      "%s with the key of a request gives its reply again: %s",
                      m->rpc, contract_outcome(&again));
        struct test_answer reused = contract_send(s_run, &other);
        contract_must(s_run, reused.rc == CN_KEY_REUSED,
                      "%s with the key of another request is"
                      " idempotency_key_reused: %s",
                      m->rpc, contract_outcome(&reused));
        contract_must(
            s_run, strcmp(state, contract_state_without(s_run, "audit")) == 0,
            "%s with a key that was used writes nothing", m->rpc);
    }
}

/* ---- moves ---- */

static void s_moves_are_whole(struct contract_run *run,
                              const struct cn_moves *moves)
{
    uint64_t entered = moves->unused;
    uint64_t left = moves->ends;
    for (size_t i = 0; i < moves->count; i++) {
        entered |= CN_STATE(moves->rows[i].to);
        left |= moves->rows[i].from;
    }
    for (unsigned i = 0; i < moves->states->n_values; i++) {
        const uint64_t state = CN_STATE(moves->states->values[i].value);
        const char *name = moves->states->values[i].name;
        contract_must(run, (entered & state) != 0,
                      "a %s enters %s by a move, or the table excuses it",
                      moves->of, name);
        contract_must(run, (left & state) != 0 || (moves->unused & state) != 0,
                      "a %s leaves %s by a move, or ends there", moves->of,
                      name);
    }
    for (size_t i = 0; i < moves->count; i++) {
        for (unsigned j = 0; j < moves->states->n_values; j++) {
            const int from = moves->states->values[j].value;
            const struct cn_move *found =
                cn_move_find(moves, moves->rows[i].command, from);
            size_t rows = 0;
            for (size_t k = 0; k < moves->count; k++) {
                rows += strcmp(moves->rows[k].command,
                               moves->rows[i].command) == 0 &&
                        (moves->rows[k].from & CN_STATE(from)) != 0;
            }
            contract_must(run, rows == (found != NULL ? 1U : 0U),
                          "%s of a %s that is %s has one row at most",
                          moves->rows[i].command, moves->of,
                          moves->states->values[j].name);
        }
    }
}

static void s_events_are_told(struct contract_run *run,
                              const struct cn_moves *moves)
{
    const struct cn_service *service = s_contract->service;
    for (size_t i = 0; i < moves->count; i++) {
        bool known = moves->rows[i].event == NULL;
        for (size_t j = 0; j < service->event_count; j++) {
            known = known ||
                    strcmp(service->events[j].type, moves->rows[i].event) == 0;
        }
        contract_must(run, known, "%s of a %s tells an event of the service",
                      moves->rows[i].command, moves->of);
    }
}

/* One command by one method, on a record in one state. */
static void s_command_walk(struct contract_run *run,
                           const struct contract_method *m,
                           int state)
{
    const struct cn_moves *moves = m->target->moves;
    const struct cn_move *move = cn_move_find(moves, m->command, state);
    const unsigned status = (unsigned)m->target->status;
    const char *name =
        protobuf_c_enum_descriptor_get_value(moves->states, state)->name;
    struct contract_call call = contract_prepare(run, m);
    const struct contract_spec spec = { .resource = m->target,
                                        .which = -1,
                                        .state = state };
    const struct contract_made *made = contract_make(run, &spec);
    if (made == NULL) {
        return; /* the table of rows does not hold such a record */
    }
    call.target = *made;
    contract_aim(&call, made->text);
    const char *before = contract_state(run);
    struct test_answer answer = contract_send(run, &call);
    const int now =
        contract_enum(m->target->shown, s_look(run, made)->shown, status);
    char id[CN_UUID_TEXT_SIZE];
    cn_uuid_format(made->id, id);
    if (s_contract->passes && move == NULL && answer.rc == CN_OK) {
        return; /* it passed the states between */
    }
    if (move == NULL) {
        contract_must(run,
                      answer.rc == CN_CONFLICT &&
                          strcmp(answer.err.word, "illegal_state") == 0,
                      "%s of a %s that is %s is 409 illegal_state: %s", m->rpc,
                      moves->of, name, contract_outcome(&answer));
        contract_must(run, strcmp(before, contract_state(run)) == 0,
                      "%s of a %s that is %s changes nothing", m->rpc,
                      moves->of, name);
        return;
    }
    contract_must(run, answer.rc == CN_OK && now == move->to,
                  "%s of a %s that is %s ends in its state: %s", m->rpc,
                  moves->of, name, contract_outcome(&answer));
    contract_must(
        run,
        move->event == NULL ||
            contract_rows(run, "outbox", "aggregate_id = '%s' AND type = '%s'",
                          id, move->event) == 1,
        "%s of a %s that is %s tells its event", m->rpc, moves->of, name);
}

static void s_moves_are_made(struct test_world *world)
{
    (void)world;
    for (size_t i = 0;
         s_contract->moves != NULL && s_contract->moves[i] != NULL; i++) {
        s_moves_are_whole(s_run, s_contract->moves[i]);
        s_events_are_told(s_run, s_contract->moves[i]);
    }
    const struct cn_resource *const *all = s_contract->service->resources;
    for (size_t i = 0; all != NULL && all[i] != NULL; i++) {
        if (all[i]->moves != NULL) {
            s_moves_are_whole(s_run, all[i]->moves);
            s_events_are_told(s_run, all[i]->moves);
        }
    }
    CONTRACT_EACH(s_run, m)
    {
        if (m->command == NULL) {
            continue;
        }
        contract_settle(s_run);
        const ProtobufCEnumDescriptor *states = m->target->moves->states;
        for (unsigned i = 0; i < states->n_values; i++) {
            s_command_walk(s_run, m, states->values[i].value);
        }
    }
}

/* ---- a world for each ---- */

struct body {
    void (*run)(struct test_world *world);
    unsigned faults;
};

static void s_body(struct test_world *world)
{
    struct body *body = world->data;
    struct contract_run *run = calloc(1, sizeof(*run));
    struct cn_arena *arena = world->arena;
    assert(run != NULL);
    run->contract = s_contract;
    run->world = world;
    run->psql = test_psql_open(s_pg);
    run->base_at = world->env.now(&world->env);
    run->base_at -= run->base_at % CN_HOUR;
    s_methods_read(run);
    /* Many requests: more than the arena of one may hold. */
    world->arena = cn_arena_new((size_t)1 << 30);
    assert(world->arena != NULL);
    s_run = run;
    body->run(world);
    s_run = NULL;
    body->faults = run->faults;
    cn_arena_free(world->arena);
    world->arena = arena;
    test_psql_close(run->psql);
    free(run);
}

struct contract_run *contract_run_of(const struct test_world *world)
{
    (void)world;
    return s_run;
}

static void s_world(void (*run)(struct test_world *world))
{
    struct body body = { .run = run };
    test_world_run(s_pg, CONNECTIONS, s_body, &body);
    assert_int_equal(body.faults, 0);
}

#define TEST(name, body)                                                       \
    static void name(void **state)                                             \
    {                                                                          \
        (void)state;                                                           \
        s_world(body);                                                         \
    }
TEST(every_method_answers_and_leaves_its_traces, s_methods_answer)
TEST(a_record_of_another_tenant_is_as_unknown_as_any, s_tenants_are_apart)
TEST(a_record_of_another_branch_is_as_unknown_as_any, s_branches_are_apart)
TEST(each_filter_of_each_list_narrows, contract_filters)
TEST(pages_have_no_gap_and_no_repeat, contract_pages)
TEST(a_version_that_is_named_is_kept, s_versions_are_kept)
TEST(a_race_that_is_lost_is_run_again, s_races_are_lost)
TEST(a_patch_of_nothing_writes_nothing, s_patches_of_nothing)
TEST(an_object_just_read_may_be_sent_back, s_objects_are_sent_back)
TEST(a_key_is_used_once, s_keys_are_used_once)
TEST(every_move_stands_in_its_table, s_moves_are_made)
TEST(steps_before_a_failure_are_not_sent, contract_steps)
TEST(where_memory_ends_nothing_is_left_behind, contract_memory)
TEST(where_the_database_fails_nothing_is_left_behind, contract_reads)
TEST(an_effect_that_fails_moves_nothing, contract_effects)

static void every_statement_has_its_plan(void **state)
{
    (void)state;
    assert_true(contract_plans_look(s_plans));
}

/* All rows of a tenant as one text; and which tables a unit changes, in which
 * order, holding how many locks. */
static const char SQL_SETUP[] =
    "CREATE FUNCTION contract_state(tenant text, without text) RETURNS text"
    " LANGUAGE plpgsql"
    " AS $$ DECLARE t text; part text; whole text := ''; BEGIN"
    " FOR t IN SELECT c.oid::regclass FROM pg_class c JOIN pg_attribute a"
    " ON a.attrelid = c.oid AND a.attname = 'tenant_id'"
    " WHERE c.relnamespace = '%s'::regnamespace AND c.relkind = 'r'"
    " AND c.relname <> without ORDER BY c.relname LOOP"
    " EXECUTE format('SELECT count(*) || '':'' || coalesce(md5(string_agg("
    "x::text, '','' ORDER BY x::text)), '''') FROM %%s x WHERE %%s', t, CASE"
    " tenant WHEN '' THEN 'true' ELSE format('tenant_id = %%L', tenant) END)"
    " INTO part;"
    " IF part <> '0:' THEN whole := whole || t || '=' || part || ' '; END IF;"
    " END LOOP;"
    " SELECT coalesce(md5(string_agg(p::text, ',' ORDER BY p.producer,"
    " p.partition)), '') INTO part FROM %s.inbox_position p;"
    " RETURN whole || part; END $$;"
    "CREATE TABLE contract_trace (n bigserial, xid xid8, name text, locks int);"
    "GRANT ALL ON contract_trace, contract_trace_n_seq TO PUBLIC;"
    "CREATE FUNCTION contract_trace() RETURNS trigger LANGUAGE plpgsql AS $$"
    " BEGIN INSERT INTO public.contract_trace (xid, name, locks)"
    " VALUES (pg_current_xact_id(), TG_TABLE_NAME, (SELECT count(*)"
    " FROM pg_locks l WHERE l.locktype = 'advisory' AND l.pid ="
    " pg_backend_pid())); RETURN NULL; END $$;"
    "DO $$ DECLARE t text; BEGIN FOR t IN SELECT c.oid::regclass FROM pg_class"
    " c WHERE c.relnamespace = '%s'::regnamespace AND c.relkind = 'r' LOOP"
    " EXECUTE format('CREATE TRIGGER contract_trace BEFORE INSERT OR UPDATE OR"
    " DELETE ON %%s FOR EACH STATEMENT EXECUTE FUNCTION"
    " public.contract_trace()', t); END LOOP; END $$;";

static int s_setup(void **state)
{
    (void)state;
    const char *name = s_contract->service->name;
    const char *only = getenv("CMOCKA_TEST_FILTER");
    if (only == NULL || fnmatch(only, "every_statement_has_its_plan", 0) == 0) {
        s_plans = contract_plans_begin(s_contract);
    }
    if (s_contract->platform) {
        return 0;
    }
    s_pg = test_pg_new(name, s_contract->folder);
    struct test_psql *psql = test_psql_open(s_pg);
    (void)test_psql(psql, SQL_SETUP, name, name, name);
    for (size_t i = 0; i < s_contract->service->subscription_count; i++) {
        (void)test_psql(psql,
                        "INSERT INTO %s.inbox_position (producer, partition,"
                        " epoch, xid, seq) VALUES ('%s', 0, 1, '1', 0)",
                        name, s_contract->service->subscriptions[i].producer);
    }
    test_psql_close(psql);
    return 0;
}

static int s_teardown(void **state)
{
    (void)state;
    if (s_plans != NULL) {
        contract_plans_end(s_plans);
    }
    if (s_pg != NULL) {
        test_pg_free(s_pg);
    }
    return 0;
}

int contract_main(const struct contract *contract)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_method_answers_and_leaves_its_traces),
        cmocka_unit_test(a_record_of_another_tenant_is_as_unknown_as_any),
        cmocka_unit_test(a_record_of_another_branch_is_as_unknown_as_any),
        cmocka_unit_test(each_filter_of_each_list_narrows),
        cmocka_unit_test(pages_have_no_gap_and_no_repeat),
        cmocka_unit_test(a_version_that_is_named_is_kept),
        cmocka_unit_test(a_race_that_is_lost_is_run_again),
        cmocka_unit_test(a_patch_of_nothing_writes_nothing),
        cmocka_unit_test(an_object_just_read_may_be_sent_back),
        cmocka_unit_test(a_key_is_used_once),
        cmocka_unit_test(every_move_stands_in_its_table),
        cmocka_unit_test(steps_before_a_failure_are_not_sent),
        cmocka_unit_test(where_memory_ends_nothing_is_left_behind),
        cmocka_unit_test(where_the_database_fails_nothing_is_left_behind),
        cmocka_unit_test(an_effect_that_fails_moves_nothing),
        cmocka_unit_test(every_statement_has_its_plan),
    };
    s_contract = contract;
    const struct CMUnitTest plans[] = {
        cmocka_unit_test(every_statement_has_its_plan),
    };
    if (contract->platform) {
        return cmocka_run_group_tests_name("platform", plans, s_setup,
                                           s_teardown);
    }
    return cmocka_run_group_tests_name(contract->service->name, tests, s_setup,
                                       s_teardown);
}
