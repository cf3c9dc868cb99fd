/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of failures. Memory ends, or the database does not answer, at
 * each step in turn. Either the answer is a failure that may pass and nothing
 * is written, or it is a full success. */
#include "tests/lib/contract_internal.h"

#include "common/wire/message.h"

#include <assert.h>
#include <string.h>

enum { TRIES_MAX = 4000 };

/* ---- requests ---- */

static void s_failed_whole(struct contract_run *run,
                           const char *what,
                           const char *where,
                           unsigned n,
                           enum cn_code rc,
                           const char *before)
{
    contract_must(run, cn_code_retryable(rc),
                  "%s that fails at %s %u fails as what may pass: %s", what,
                  where, n, cn_code_word(rc));
    const char *now = contract_state(run);
    contract_must(run, strcmp(before, now) == 0,
                  "%s that fails at %s %u leaves nothing behind: %s", what,
                  where, n, now);
}

/* A call that succeeded has the record of its key, if it is a write. */
static void s_succeeded_whole(struct contract_run *run,
                              const struct contract_call *call,
                              const char *where,
                              unsigned n)
{
    if (call->method->method->writes && call->method->route != NULL) {
        struct contract_call again = *call;
        again.caller.arena = NULL;
        struct test_answer answer = contract_send(run, &again);
        contract_must(run, answer.rc == CN_OK && answer.reply.replayed,
                      "%s that succeeds in spite of %s %u is whole: %s",
                      call->method->rpc, where, n, contract_outcome(&answer));
    }
}

static struct contract_call s_call(struct contract_run *run,
                                   const struct contract_method *m)
{
    struct contract_call call = contract_prepare(run, m);
    if (m->method->writes) {
        call.caller.key =
            cn_id_text(run->world->arena, "key", cn_uuid_new(&run->world->env));
    }
    return call;
}

static void s_memory(struct contract_run *run, const struct contract_method *m)
{
    contract_settle(run);
    struct contract_call call = s_call(run, m);
    const char *before = contract_state(run);
    bool failed = true;
    for (unsigned n = 1; failed && n < TRIES_MAX; n++) {
        struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
        assert(arena != NULL);
        cn_arena_fail_at(arena, n);
        call.caller.arena = arena;
        struct test_answer answer = contract_send(run, &call);
        failed = cn_arena_failed(arena);
        cn_arena_free(arena);
        if (answer.rc != CN_OK) {
            s_failed_whole(run, m->rpc, "allocation", n, answer.rc, before);
        } else if (failed) {
            s_succeeded_whole(run, &call, "allocation", n);
            call = s_call(run, m);
            before = contract_state(run);
        }
        failed = failed || answer.rc != CN_OK;
    }
}

void contract_memory(struct test_world *world)
{
    struct contract_run *run = contract_run_of(world);
    CONTRACT_EACH(run, m)
    {
        s_memory(run, m);
    }
}

static void s_reads(struct contract_run *run, const struct contract_method *m)
{
    struct cn_db *db = run->world->env.db;
    contract_settle(run);
    struct contract_call call = s_call(run, m);
    const char *before = contract_state(run);
    bool struck = true;
    for (unsigned n = 1; struck && n < TRIES_MAX; n++) {
        (void)cn_db_fail_at(db, n);
        struct test_answer answer = contract_send(run, &call);
        struck = cn_db_fail_at(db, 0) == 0;
        if (answer.rc != CN_OK) {
            s_failed_whole(run, m->rpc, "statement", n, answer.rc, before);
        } else {
            contract_must(run, !struck, "%s fails when its statement %u fails",
                          m->rpc, n);
        }
        struck = struck && answer.rc != CN_OK;
    }
}

void contract_reads(struct test_world *world)
{
    struct contract_run *run = contract_run_of(world);
    CONTRACT_EACH(run, m)
    {
        s_reads(run, m);
    }
}

/* ---- effects ---- */

/* One try with a fault. True: the fault was met. */
typedef bool try_fn(struct contract_run *run,
                    const struct contract_event *event,
                    unsigned n,
                    enum cn_code *ret_rc);

static bool s_try_memory(struct contract_run *run,
                         const struct contract_event *event,
                         unsigned n,
                         enum cn_code *ret_rc)
{
    struct cn_err err = { 0 };
    struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    assert(arena != NULL);
    cn_arena_fail_at(arena, n);
    *ret_rc = contract_apply(run, event, arena, &err);
    const bool met = cn_arena_failed(arena);
    cn_arena_free(arena);
    return met;
}

static bool s_try_reads(struct contract_run *run,
                        const struct contract_event *event,
                        unsigned n,
                        enum cn_code *ret_rc)
{
    struct cn_err err = { 0 };
    struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    assert(arena != NULL);
    (void)cn_db_fail_at(run->world->env.db, n);
    *ret_rc = contract_apply(run, event, arena, &err);
    const bool met = cn_db_fail_at(run->world->env.db, 0) == 0;
    cn_arena_free(arena);
    return met;
}

static void s_effect(struct contract_run *run,
                     const struct cn_subscription *subscription,
                     const struct cn_event_handler *handler,
                     try_fn *try,
                     const char *where)
{
    contract_settle(run);
    const struct contract_event event =
        contract_event(run, subscription, handler, 0);
    const char *before = contract_state(run);
    bool met = true;
    for (unsigned n = 1; met && n < TRIES_MAX; n++) {
        enum cn_code rc = CN_OK;
        met = try(run, &event, n, &rc);
        if (rc != CN_OK) {
            s_failed_whole(run, handler->type, where, n, rc, before);
        } else {
            contract_must(run, !met, "%s fails when its %s %u fails",
                          handler->type, where, n);
        }
        met = met && rc != CN_OK;
    }
}

void contract_effects(struct test_world *world)
{
    struct contract_run *run = contract_run_of(world);
    const struct cn_service *service = run->contract->service;
    for (size_t i = 0; i < service->subscription_count; i++) {
        const struct cn_subscription *from = &service->subscriptions[i];
        for (size_t j = 0; j < from->handler_count; j++) {
            if (!contract_excused(run->contract, from->handlers[j].type)) {
                s_effect(run, from, &from->handlers[j], s_try_memory,
                         "allocation");
                s_effect(run, from, &from->handlers[j], s_try_reads,
                         "statement");
            }
        }
    }
}

/* ---- a handler that fails late ---- */

/* What the handler below does after its put. */
enum late { LATE_NOTHING, LATE_REFUSE, LATE_MEMORY };

static struct cn_uuid s_late_id;
static const struct cn_resource *s_late_resource;
static enum late s_late;

static void s_handler_late(struct cn_op *op)
{
    struct cn_record *record = cn_find(op, s_late_resource, s_late_id);
    const ProtobufCFieldDescriptor *created =
        &s_late_resource->shown->descriptor->fields[2];
    char *base = record->shown;
    (*(int64_t *)(void *)(base + created->offset))++;
    cn_put(op, record);
    if (s_late == LATE_REFUSE) {
        cn_refuse(op, CN_CONFLICT, "too_late", "the test refuses it");
    } else if (s_late == LATE_MEMORY) {
        cn_arena_fail(op->arena);
    }
}

static struct test_answer s_late_call(struct contract_run *run, enum late late)
{
    const struct cn_method method = {
        .name = "contract.v1.Contract/Put",
        .input = s_late_resource->shown,
        .output = s_late_resource->shown,
        .scope = "",
        .writes = true,
        .handler = s_handler_late,
    };
    struct cn_service service = *run->contract->service;
    struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    const struct test_caller caller = { .role = "supervisor", .arena = arena };
    assert(arena != NULL);
    service.methods = &method;
    service.method_count = 1;
    s_late = late;
    /* The body holds what a request must have, for any resource. */
    struct contract_maker maker = contract_maker(run, false);
    ProtobufCMessage *body =
        cn_message_new(run->world->arena, s_late_resource->shown->descriptor);
    contract_fill(run->contract, &maker, s_late_resource->shown, body);
    struct test_answer answer =
        test_call(run->world, &service, &caller, "Put", body);
    cn_arena_free(arena);
    return answer;
}

void contract_steps(struct test_world *world)
{
    struct contract_run *run = contract_run_of(world);
    const struct cn_resource *const *all = run->contract->service->resources;
    for (size_t i = 0; all != NULL && all[i] != NULL; i++) {
        if (all[i]->update == NULL) {
            continue; /* a copy, or made once and never changed */
        }
        contract_settle(run);
        s_late_resource = all[i];
        s_late_id = all[i]->is_tenant ? world->tenant
                                      : contract_new(run, all[i], 0)->id;
        const char *before = contract_state(run);
        struct test_answer answer = s_late_call(run, LATE_REFUSE);
        contract_must(run, answer.rc == CN_CONFLICT,
                      "a handler that puts a %s and refuses then, refuses: %s",
                      all[i]->name, contract_outcome(&answer));
        answer = s_late_call(run, LATE_MEMORY);
        contract_must(run, answer.rc == CN_NOMEM,
                      "a handler that puts a %s and has no memory then, fails:"
                      " %s",
                      all[i]->name, contract_outcome(&answer));
        contract_must(run, strcmp(before, contract_state(run)) == 0,
                      "a handler that puts a %s and fails then leaves nothing"
                      " behind: %s",
                      all[i]->name, contract_state(run));
        answer = s_late_call(run, LATE_NOTHING);
        contract_must(
            run, answer.rc == CN_OK && strcmp(before, contract_state(run)) != 0,
            "a handler that puts a %s puts it: %s", all[i]->name,
            contract_outcome(&answer));
    }
}
