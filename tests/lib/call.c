/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/call.h"

#include "common/service/dispatch.h"
#include "common/store/write.h"
#include "common/wire/message.h"
#include "common/wire/seal.h"

#include <assert.h>
#include <string.h>

enum { STALE_AGAIN_MAX = 10, SQL_MAX = 1024 };

static const struct cn_method *s_method(const struct cn_service *service,
                                        const char *rpc)
{
    for (size_t i = 0; i < service->method_count; i++) {
        const char *slash = strchr(service->methods[i].name, '/');
        if (slash != NULL && strcmp(slash + 1, rpc) == 0) {
            return &service->methods[i];
        }
    }
    assert(false);
    return NULL;
}

static struct cn_principal s_principal(const struct test_world *world,
                                       const struct test_caller *caller)
{
    struct cn_principal principal = {
        .tenant_id =
            cn_uuid_is_nil(caller->tenant) ? world->tenant : caller->tenant,
        .subject = caller->subject != NULL ? caller->subject : "key_test",
        .role = caller->role != NULL ? caller->role : "coordinator",
        .branches = caller->branches,
        .branch_count = caller->branch_count,
    };
    if (caller->branch_count > 0) {
        principal.branch_id = caller->branches[0];
    }
    principal.scopes = cn_policy_scopes(principal.role);
    while (principal.scopes != NULL &&
           principal.scopes[principal.scope_count] != NULL) {
        principal.scope_count++;
    }
    return principal;
}

static struct cn_request s_request(struct test_world *world,
                                   const struct cn_service *service,
                                   const struct test_caller *caller,
                                   const struct cn_method *method,
                                   const ProtobufCMessage *body)
{
    struct cn_request request = {
        .env = &world->env,
        .service = service,
        .method = method,
        .body = body,
        .principal = s_principal(world, caller),
        .reach = CN_REACH_AGENCY,
        .request_id = "req_test",
        .trace = "",
        .idempotency_key = caller->key,
        .has_client_key = caller->key != NULL,
        .has_expected_version = caller->has_version,
        .expected_version = caller->version,
        .now_at =
            caller->now_at != 0 ? caller->now_at : world->env.now(&world->env),
        .arena = caller->arena != NULL ? caller->arena : world->arena,
    };
    if (method->writes && request.idempotency_key == NULL) {
        request.idempotency_key =
            cn_id_text(world->arena, "tst", cn_uuid_new(&world->env));
    }
    struct cn_bytes packed;
    struct cn_err err = { 0 };
    enum cn_code rc = cn_message_pack(world->arena, body, &packed, &err);
    assert(rc == CN_OK);
    cn_sha256(packed, request.fingerprint);
    return request;
}

struct test_answer test_call(struct test_world *world,
                             const struct cn_service *service,
                             const struct test_caller *caller,
                             const char *rpc,
                             const ProtobufCMessage *body)
{
    static const struct test_caller COORDINATOR;
    const struct cn_method *method = s_method(service, rpc);
    struct cn_request request = s_request(
        world, service, caller != NULL ? caller : &COORDINATOR, method, body);
    struct test_answer answer = { .rc = CN_OK };
    const ProtobufCMessage *unpacked = NULL;
    if (method->scope != NULL) {
        answer.rc = cn_policy_check(&request.principal, method->scope,
                                    &request.reach, &answer.err);
    }
    if (answer.rc == CN_OK) {
        answer.rc = cn_dispatch_answer(&request, &answer.reply, &answer.err);
    }
    if (answer.rc != CN_OK) {
        assert(answer.rc == answer.err.code);
        return answer;
    }
    answer.rc = cn_message_unpack(world->arena, method->output->descriptor,
                                  answer.reply.packed, &unpacked, &answer.err);
    assert(answer.rc == CN_OK);
    answer.body = unpacked;
    return answer;
}

enum cn_code test_handle(cn_handler_fn *handler,
                         const struct cn_request *request,
                         struct cn_reply *reply,
                         struct cn_err *err)
{
    struct cn_op op = {
        .env = request->env,
        .arena = request->arena,
        .tenant_id = request->principal.tenant_id,
        .now_at = request->now_at,
        .request = request,
        .reply = reply,
        .err = err,
    };
    handler(&op);
    return err->code;
}

static const struct cn_subscription *
s_subscription(const struct cn_service *service, const char *producer)
{
    for (size_t i = 0; i < service->subscription_count; i++) {
        if (strcmp(service->subscriptions[i].producer, producer) == 0) {
            return &service->subscriptions[i];
        }
    }
    assert(false);
    return NULL;
}

static const struct cn_event_handler *
s_handler(const struct cn_subscription *subscription, const char *type)
{
    for (size_t i = 0; i < subscription->handler_count; i++) {
        if (strcmp(subscription->handlers[i].type, type) == 0) {
            return &subscription->handlers[i];
        }
    }
    assert(false);
    return NULL;
}

/* The payload as another process reads it. */
static const ProtobufCMessage *
s_payload(struct test_world *world,
          const struct cn_subscription *subscription,
          const struct test_event *event)
{
    struct cn_err err = { 0 };
    struct cn_bytes packed;
    const ProtobufCMessage *payload = NULL;
    enum cn_code rc =
        cn_message_pack(world->arena, event->payload, &packed, &err);
    for (size_t i = 0; rc == CN_OK && i < subscription->event_count; i++) {
        if (strcmp(subscription->events[i].type, event->type) == 0) {
            rc = cn_message_unpack(world->arena,
                                   subscription->events[i].payload->descriptor,
                                   packed, &payload, &err);
        }
    }
    assert(rc == CN_OK && payload != NULL);
    return payload;
}

enum cn_code test_apply(struct test_world *world,
                        const struct cn_service *service,
                        const struct test_event *event,
                        struct cn_err *err)
{
    const struct cn_subscription *subscription =
        s_subscription(service, event->producer);
    const struct cn_event_handler *handler =
        s_handler(subscription, event->type);
    int64_t now_at = world->env.now(&world->env);
    const struct cn_event came = {
        .env = &world->env,
        .producer = event->producer,
        .type = event->type,
        .event_id = cn_uuid_new(&world->env),
        .tenant_id =
            cn_uuid_is_nil(event->tenant) ? world->tenant : event->tenant,
        .aggregate_type = event->aggregate_type,
        .aggregate_id = event->aggregate_id,
        .aggregate_seq = event->aggregate_seq,
        .payload = s_payload(world, subscription, event),
        .occurred_at = event->occurred_at != 0 ? event->occurred_at : now_at,
        .correlation_id = "req_test",
        .now_at = now_at,
        .arena = world->arena,
    };
    enum cn_code rc = CN_STALE;
    for (unsigned i = 0; i <= STALE_AGAIN_MAX && rc == CN_STALE; i++) {
        cn_err_clear(err);
        struct cn_write *write =
            cn_write_begin_event(&world->env, world->arena, &came);
        assert(write != NULL);
        rc = cn_event_handle(service, handler, &came, write, err);
        if (rc == CN_OK && !cn_write_empty(write)) {
            rc = cn_write_commit(write, err);
        }
    }
    return rc;
}

long test_rows(struct test_world *world, const char *table, const char *where)
{
    char sql[SQL_MAX];
    char tenant[CN_UUID_TEXT_SIZE];
    cn_uuid_format(world->tenant, tenant);
    int size = snprintf(sql, sizeof(sql),
                        "SELECT count(*) FROM %s.%s WHERE tenant_id = '%s'"
                        " AND (%s)",
                        world->pg->service, table, tenant,
                        where != NULL ? where : "true");
    assert(size > 0 && (size_t)size < sizeof(sql));
    return test_pg_number(world->pg, sql);
}

bool test_same_refusal(struct cn_err a, struct cn_err b)
{
    a.file = NULL;
    a.line = 0;
    b.file = NULL;
    b.line = 0;
    return memcmp(&a, &b, sizeof(a)) == 0;
}
