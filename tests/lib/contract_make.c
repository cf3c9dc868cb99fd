/* SPDX-License-Identifier: Apache-2.0 */
/* Messages by their shapes; records, requests and events made of them. */
#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/inbox/consumer_internal.h"
#include "common/wire/json.h"
#include "common/wire/message.h"
#include "common/wire/seal.h"
#include "tests/lib/contract_internal.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEPTH_MAX = 6,
    HEAD_FIELDS = 4, /* id, version, created_at, updated_at */
    CLOCK_FIRST = 8, /* o'clock */
    CLOCK_HOURS = 12,
    DAYS = 28,
    MONTHS = 12,
    SHORT_MAX = 12, /* texts of so few bytes hold the number alone */
    WEEK_DAYS = 7,
    PAST_DAYS = 2000
};

/* ---- ids and instants ---- */

struct cn_uuid contract_uuid(const struct contract_maker *self,
                             const char *prefix,
                             unsigned which)
{
    char text[CONTRACT_TEXT_MAX];
    char tenant[CN_UUID_TEXT_SIZE];
    uint8_t hash[CN_SHA256_SIZE];
    struct cn_uuid id;
    cn_uuid_format(self->world->tenant, tenant);
    int size = snprintf(text, sizeof(text), "%s %s %u", tenant, prefix, which);
    cn_sha256((struct cn_bytes){ (const uint8_t *)text, (size_t)size }, hash);
    memcpy(id.bytes, hash, sizeof(id.bytes));
    id.bytes[6] = (uint8_t)(0x70 | (id.bytes[6] & 0x0f));
    id.bytes[8] = (uint8_t)(0x80 | (id.bytes[8] & 0x3f));
    return id;
}

const char *contract_id(const struct contract_maker *self,
                        const char *prefix,
                        unsigned which)
{
    return cn_id_text(self->world->arena, prefix,
                      contract_uuid(self, prefix, which));
}

int64_t contract_at(const struct contract_maker *self, int hours)
{
    const int first = self->client ? WEEK_DAYS : -PAST_DAYS;
    return self->base_at + (first + (int64_t)self->number) * CN_DAY +
           hours * CN_HOUR;
}

struct contract_maker contract_maker(struct contract_run *run, bool client)
{
    return (struct contract_maker){ .world = run->world,
                                    .psql = run->psql,
                                    .number = ++run->number,
                                    .base_at = run->base_at,
                                    .client = client };
}

bool contract_owns(const struct contract *contract, const char *prefix)
{
    const struct cn_resource *const *all = contract->service->resources;
    for (size_t i = 0; all != NULL && all[i] != NULL; i++) {
        if (all[i]->insert != NULL && strcmp(all[i]->prefix, prefix) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- fields ---- */

static const ProtobufCFieldDescriptor *s_field(const struct cn_shape *shape,
                                               unsigned at)
{
    return &shape->descriptor->fields[at];
}

static void *s_place(const struct cn_shape *shape, void *message, unsigned at)
{
    return (char *)message + s_field(shape, at)->offset;
}

static const void *
s_value(const struct cn_shape *shape, const void *message, unsigned at)
{
    return (const char *)message + s_field(shape, at)->offset;
}

static void s_has_set(const struct cn_shape *shape, void *message, unsigned at)
{
    char *base = message;
    const bool has = s_field(shape, at)->label == PROTOBUF_C_LABEL_OPTIONAL;
    if (has) {
        *(protobuf_c_boolean *)(void *)(base +
                                        s_field(shape, at)->quantifier_offset) =
            1;
    }
}

int contract_field(const struct cn_shape *shape, const char *name)
{
    for (unsigned i = 0; i < shape->descriptor->n_fields; i++) {
        if (strcmp(s_field(shape, i)->name, name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

const char *
contract_text(const struct cn_shape *shape, const void *message, unsigned at)
{
    return *(const char *const *)s_value(shape, message, at);
}

int contract_enum(const struct cn_shape *shape,
                  const void *message,
                  unsigned at)
{
    return *(const int *)s_value(shape, message, at);
}

void contract_set(const struct contract_maker *maker,
                  const struct cn_shape *shape,
                  void *message,
                  unsigned field,
                  unsigned value)
{
    const ProtobufCFieldDescriptor *descriptor = s_field(shape, field);
    if (descriptor->type == PROTOBUF_C_TYPE_ENUM) {
        const ProtobufCEnumDescriptor *words = descriptor->descriptor;
        *(int *)s_place(shape, message, field) =
            words->values[value % words->n_values].value;
        s_has_set(shape, message, field);
    } else {
        assert(shape->fields[field].id != NULL);
        *(const char **)s_place(shape, message, field) =
            contract_id(maker, shape->fields[field].id, value);
    }
}

static const char *s_pattern(const struct contract_maker *maker,
                             const char *pattern)
{
    struct cn_arena *arena = maker->world->arena;
    if (strcmp(pattern, "npi") == 0) {
        return "1234567893";
    }
    if (strcmp(pattern, "phone") == 0) {
        return cn_arena_printf(arena, "+1502555%04u", maker->number % 10000);
    }
    if (strcmp(pattern, "email") == 0) {
        return cn_arena_printf(arena, "n%u@example.org", maker->number);
    }
    return "40202";
}

static const char *s_string(const struct contract *contract,
                            const struct contract_maker *maker,
                            const struct cn_shape *shape,
                            unsigned at)
{
    const struct cn_field_shape *rule = &shape->fields[at];
    struct cn_arena *arena = maker->world->arena;
    const char *name = s_field(shape, at)->name;
    const size_t size = strlen(name);
    if (rule->id != NULL) {
        const bool fresh = maker->fresh && strcmp(rule->id, "brn") != 0 &&
                           !contract_owns(contract, rule->id);
        return contract_id(maker, rule->id,
                           fresh ? CONTRACT_WHICH + maker->number
                                 : maker->which);
    }
    if (rule->pattern != NULL) {
        return s_pattern(maker, rule->pattern);
    }
    if (rule->kind == CN_FIELD_ZONE) {
        return "America/Chicago";
    }
    if (rule->kind == CN_FIELD_CLOCK) {
        return cn_arena_printf(arena, "%02u:00",
                               CLOCK_FIRST + at % CLOCK_HOURS);
    }
    if (rule->kind == CN_FIELD_DATE || rule->kind == CN_FIELD_BIRTH_DATE) {
        return cn_arena_printf(arena, "2027-%02u-%02u",
                               1 + maker->number / DAYS % MONTHS,
                               1 + (maker->number + at) % DAYS);
    }
    if (rule->kind == CN_FIELD_LANGUAGE) {
        return "en";
    }
    if (size > 3 && strcmp(name + size - 3, "_id") == 0) {
        return NULL; /* the shape does not say of which kind the id is */
    }
    if (rule->kind != CN_FIELD_NAME && rule->max > 0 &&
        rule->max <= SHORT_MAX) {
        return cn_arena_strndup(
            arena, cn_arena_printf(arena, "%u", maker->number), rule->max);
    }
    return cn_arena_printf(arena, "%s %u", name, maker->number);
}

/* One value at its place: a scalar's own, or an item of a list. */
static void s_value_fill(const struct contract *contract,
                         const struct contract_maker *maker,
                         const struct cn_shape *shape,
                         unsigned at,
                         void *place)
{
    const ProtobufCFieldDescriptor *field = s_field(shape, at);
    const struct cn_shape *sub = shape->fields[at].sub;
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
        *(const char **)place = s_string(contract, maker, shape, at);
        break;
    case PROTOBUF_C_TYPE_ENUM:
        *(int *)place = ((const ProtobufCEnumDescriptor *)field->descriptor)
                            ->values[0]
                            .value;
        break;
    case PROTOBUF_C_TYPE_BOOL:
        *(protobuf_c_boolean *)place = 1;
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64:
        *(int64_t *)place = shape->fields[at].kind == CN_FIELD_TIME
                                ? contract_at(maker, (int)at)
                                : 1;
        break;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_UINT32:
        *(int32_t *)place = 1;
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        *(double *)place = 1.0;
        break;
    case PROTOBUF_C_TYPE_BYTES:
        *(ProtobufCBinaryData *)place = (ProtobufCBinaryData){
            .len = 4, .data = cn_arena_copy(maker->world->arena, "byte", 4)
        };
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        if (*(void **)place == NULL) {
            *(void **)place =
                cn_message_new(maker->world->arena, field->descriptor);
        }
        contract_fill(contract, maker, sub, *(void **)place);
        break;
    default:
        assert(!"a type that no proto of ours has");
    }
}

static bool s_is_skipped(const struct contract_maker *maker,
                         const struct cn_shape *shape,
                         unsigned at)
{
    const char *name = s_field(shape, at)->name;
    return (maker->client && shape->fields[at].output_only) ||
           (int)at == shape->update_mask || strcmp(name, "limit") == 0 ||
           strcmp(name, "cursor") == 0;
}

void contract_fill(const struct contract *contract,
                   const struct contract_maker *maker,
                   const struct cn_shape *shape,
                   void *message)
{
    static unsigned depth;
    if (depth == DEPTH_MAX) {
        return;
    }
    depth++;
    for (unsigned i = 0; i < shape->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = s_field(shape, i);
        if (s_is_skipped(maker, shape, i)) {
            continue;
        }
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            void *items =
                cn_arena_alloc(maker->world->arena, cn_field_size(field));
            s_value_fill(contract, maker, shape, i, items);
            *(void **)s_place(shape, message, i) = items;
            char *base = message;
            *(size_t *)(void *)(base + field->quantifier_offset) = 1;
            continue;
        }
        s_value_fill(contract, maker, shape, i, s_place(shape, message, i));
        if (field->type != PROTOBUF_C_TYPE_STRING &&
            field->type != PROTOBUF_C_TYPE_MESSAGE) {
            s_has_set(shape, message, i);
        }
    }
    depth--;
    if (contract->fill != NULL) {
        contract->fill(maker, message);
    }
}

/* ---- records ---- */

int contract_first_state(const struct cn_resource *resource)
{
    const struct cn_moves *moves = resource->moves;
    if (moves == NULL) {
        return 0;
    }
    for (size_t i = 0; i < moves->count; i++) {
        if ((moves->rows[i].from & CN_UNMADE) != 0) {
            return moves->rows[i].to;
        }
    }
    return moves->states->values[0].value;
}

/* Sets the first fields as cn_record_new and cn_put set them for a client. */
static void s_head_keep(struct contract_run *run,
                        const struct contract_spec *spec,
                        const struct contract_maker *maker,
                        struct cn_record *record)
{
    const struct cn_resource *resource = spec->resource;
    if (spec->which >= 0 && !resource->is_tenant) {
        record->id =
            contract_uuid(maker, resource->prefix, (unsigned)spec->which);
    }
    *(const char **)s_place(resource->shown, record->shown, 0) =
        cn_id_text(run->world->arena, resource->prefix, record->id);
    *(int64_t *)s_place(resource->shown, record->shown, 2) =
        contract_at(maker, 0);
    s_has_set(resource->shown, record->shown, 2);
}

static void s_record_fill(struct contract_run *run,
                          const struct contract_spec *spec,
                          const struct contract_maker *maker,
                          struct cn_record *record)
{
    const struct cn_resource *resource = spec->resource;
    const struct cn_shape *shown = resource->shown;
    contract_fill(run->contract, maker, resource->shape, record->body);
    s_head_keep(run, spec, maker, record);
    if (resource->status >= 0 && resource->moves != NULL) {
        const unsigned status = (unsigned)resource->status;
        *(int *)s_place(shown, record->shown, status) =
            spec->state != 0 ? spec->state : contract_first_state(resource);
        s_has_set(shown, record->shown, status);
    }
    for (size_t i = 0; i < spec->set_count; i++) {
        contract_set(maker, shown, record->shown, spec->sets[i].field,
                     spec->sets[i].value);
    }
}

static void s_remember(struct contract_run *run, const struct cn_record *record)
{
    assert(run->made_count < CONTRACT_MADE_MAX);
    run->made[run->made_count++] = (struct contract_made){
        .resource = record->resource,
        .id = record->id,
        .text = contract_text(record->resource->shown, record->shown, 0),
        .shown = record->shown,
        .place_at = record->place_at,
    };
}

const struct contract_made *contract_make(struct contract_run *run,
                                          const struct contract_spec *spec)
{
    struct test_world *world = run->world;
    struct contract_maker maker = contract_maker(run, false);
    maker.number = spec->number != 0 ? spec->number : maker.number;
    maker.which = spec->which >= 0 ? (unsigned)spec->which : 0;
    maker.fresh = spec->which < 0;
    run->err = (struct cn_err){ 0 };
    struct cn_op op = {
        .env = &world->env,
        .arena = world->arena,
        .tenant_id = world->tenant,
        .now_at = contract_at(&maker, 0),
        .self = run->contract->service->self,
        .err = &run->err,
    };
    struct cn_record *record = cn_record_new(&op, spec->resource, NULL);
    s_record_fill(run, spec, &maker, record);
    if (run->contract->record != NULL) {
        run->contract->record(&maker, &op, record);
    }
    cn_put(&op, record);
    cn_commit(&op);
    struct cn_record *found = cn_find(&op, spec->resource, record->id);
    if (cn_failed(&op) || !found->found) {
        return NULL;
    }
    s_remember(run, found);
    return &run->made[run->made_count - 1];
}

const struct contract_made *contract_must_make(struct contract_run *run,
                                               const struct contract_spec *spec)
{
    const struct contract_made *made = contract_make(run, spec);
    if (made == NULL) {
        (void)fprintf(stderr, "no %s could be made: %s %s\n",
                      spec->resource->name, run->err.word, run->err.msg);
        abort();
    }
    return made;
}

const struct contract_made *contract_new(struct contract_run *run,
                                         const struct cn_resource *resource,
                                         int state)
{
    const struct contract_spec spec = { .resource = resource,
                                        .which = -1,
                                        .state = state };
    return contract_must_make(run, &spec);
}

static bool s_is_known(const struct contract_run *run,
                       const struct cn_record *record)
{
    for (size_t i = 0; i < run->made_count; i++) {
        if (run->made[i].resource == record->resource &&
            cn_uuid_equal(run->made[i].id, record->id)) {
            return true;
        }
    }
    return false;
}

void contract_reload(struct contract_run *run,
                     const struct cn_resource *resource)
{
    struct test_world *world = run->world;
    struct cn_err err = { 0 };
    struct cn_op op = { .env = &world->env,
                        .arena = world->arena,
                        .tenant_id = world->tenant,
                        .err = &err };
    const struct cn_uuid first = { { 0 } };
    struct cn_records records =
        cn_records_of(&op, resource,
                      CN_READ(&op, resource->after, cn_uuid(first),
                              cn_int(CONTRACT_MADE_MAX)));
    assert(!cn_failed(&op));
    for (size_t i = 0; i < records.count; i++) {
        if (!s_is_known(run, &records.items[i])) {
            s_remember(run, &records.items[i]);
        }
    }
}

/* ---- a tenant ---- */

static bool s_is_settled(const struct contract *contract, const char *type)
{
    for (size_t i = 0; contract->events != NULL && contract->events[i] != NULL;
         i++) {
        if (strcmp(contract->events[i], type) == 0) {
            return true;
        }
    }
    const size_t size = strlen(type);
    const size_t end = sizeof(CN_SNAPSHOT_SUFFIX) - 1;
    return size > end && strcmp(type + size - end, CN_SNAPSHOT_SUFFIX) == 0;
}

static void s_settle_copies(struct contract_run *run)
{
    const struct cn_service *service = run->contract->service;
    for (size_t i = 0; i < service->subscription_count; i++) {
        const struct cn_subscription *from = &service->subscriptions[i];
        for (size_t j = 0; j < from->handler_count; j++) {
            const struct cn_event_handler *handler = &from->handlers[j];
            for (unsigned which = 0;
                 which < CONTRACT_WHICH &&
                 s_is_settled(run->contract, handler->type) &&
                 !contract_excused(run->contract, handler->type);
                 which++) {
                struct contract_event event =
                    contract_event(run, from, handler, which);
                struct cn_err err = { 0 };
                enum cn_code rc =
                    contract_apply(run, &event, run->world->arena, &err);
                contract_must(run, rc == CN_OK, "%s is applied: %s %s",
                              handler->type, err.word, err.msg);
            }
        }
    }
}

void contract_settle(struct contract_run *run)
{
    struct test_world *world = run->world;
    const struct contract *contract = run->contract;
    world->tenant = cn_uuid_new(&world->env);
    run->made_count = 0;
    s_settle_copies(run);
    const struct cn_resource *const *all = contract->service->resources;
    for (size_t i = 0; all != NULL && all[i] != NULL; i++) {
        for (int which = 0; all[i]->insert != NULL &&
                            which < (all[i]->is_tenant ? 1 : CONTRACT_WHICH);
             which++) {
            const struct contract_spec spec = { .resource = all[i],
                                                .which = which };
            (void)contract_must_make(run, &spec);
        }
    }
}

/* ---- requests ---- */

static bool
s_is_set(const struct cn_shape *shape, const void *message, unsigned at)
{
    const ProtobufCFieldDescriptor *field = s_field(shape, at);
    const char *base = message;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        return *(const size_t *)(const void *)(base +
                                               field->quantifier_offset) > 0;
    }
    if (field->type == PROTOBUF_C_TYPE_STRING ||
        field->type == PROTOBUF_C_TYPE_MESSAGE) {
        return *(void *const *)s_value(shape, message, at) != NULL;
    }
    return *(
        const protobuf_c_boolean *)(const void *)(base +
                                                  field->quantifier_offset);
}

/* All fields that are set, of those that a patch may name. */
static void
s_mask_fill(const struct contract_method *method, void *body, int mask)
{
    const struct cn_shape *input = method->method->input;
    const int at = contract_field(input, method->route->body);
    assert(at >= 0);
    const struct cn_shape *shape = input->fields[at].sub;
    const void *patch = *(void *const *)s_value(input, body, (unsigned)at);
    static const char *paths[64];
    size_t count = 0;
    for (unsigned i = 0; i < shape->descriptor->n_fields; i++) {
        if (!shape->fields[i].output_only && !shape->fields[i].create_only &&
            s_is_set(shape, patch, i)) {
            assert(count < CN_COUNT(paths));
            paths[count++] = s_field(shape, i)->name;
        }
    }
    *(const char ***)s_place(input, body, (unsigned)mask) = paths;
    char *base = body;
    *(size_t *)(void *)(base +
                        s_field(input, (unsigned)mask)->quantifier_offset) =
        count;
}

void contract_aim(struct contract_call *call, const char *id)
{
    const struct cn_shape *input = call->method->method->input;
    const int at = contract_field(input, "id");
    assert(at >= 0);
    *(const char **)s_place(input, call->body, (unsigned)at) = id;
}

/* A state in which the command may be used. */
static int s_state_for(const struct contract_method *method)
{
    const struct cn_moves *moves = method->target->moves;
    for (size_t i = 0; method->command != NULL && i < moves->count; i++) {
        for (unsigned j = 0; j < moves->states->n_values; j++) {
            const int state = moves->states->values[j].value;
            if (strcmp(moves->rows[i].command, method->command) == 0 &&
                (moves->rows[i].from & CN_STATE(state)) != 0) {
                return state;
            }
        }
    }
    return 0;
}

struct contract_call contract_prepare(struct contract_run *run,
                                      const struct contract_method *method)
{
    struct contract_call call = { .method = method,
                                  .caller = { .role = method->role } };
    if (method->target != NULL) {
        call.target = *contract_new(run, method->target, s_state_for(method));
    }
    const struct cn_shape *input = method->method->input;
    struct contract_maker maker = contract_maker(run, true);
    maker.method = method->method;
    /* A record made without a branch belongs to the caller's branch. */
    const struct cn_uuid branch = contract_uuid(&maker, "brn", 0);
    call.caller.branches =
        cn_arena_copy(run->world->arena, &branch, sizeof(branch));
    call.caller.branch_count = 1;
    if (run->contract->subject != NULL) {
        call.caller.subject = contract_id(&maker, run->contract->subject, 0);
    }
    call.body = cn_message_new(run->world->arena, input->descriptor);
    contract_fill(run->contract, &maker, input, call.body);
    if (method->target != NULL) {
        contract_aim(&call, call.target.text);
    }
    if (method->patch && input->update_mask >= 0) {
        s_mask_fill(method, call.body, input->update_mask);
    }
    return call;
}

struct test_answer contract_send(struct contract_run *run,
                                 const struct contract_call *call)
{
    return test_call(run->world, run->contract->service, &call->caller,
                     call->method->rpc, call->body);
}

const char *contract_state(struct contract_run *run)
{
    return contract_state_without(run, "");
}

const char *contract_state_without(struct contract_run *run, const char *table)
{
    char tenant[CN_UUID_TEXT_SIZE] = "";
    if (!run->everywhere) {
        cn_uuid_format(run->world->tenant, tenant);
    }
    return cn_arena_strdup(run->world->arena,
                           test_psql(run->psql,
                                     "SELECT contract_state('%s', '%s')",
                                     tenant, table));
}

long contract_rows(struct contract_run *run,
                   const char *table,
                   const char *format,
                   ...)
{
    char where[CONTRACT_TEXT_MAX];
    char tenant[CN_UUID_TEXT_SIZE];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(where, sizeof(where), format, args);
    va_end(args);
    cn_uuid_format(run->world->tenant, tenant);
    return test_psql_number(
        run->psql,
        "SELECT count(*) FROM %s.%s WHERE (%s OR tenant_id = '%s') AND (%s)",
        run->contract->service->name, table, run->everywhere ? "true" : "false",
        tenant, where);
}

/* ---- events ---- */

bool contract_excused(const struct contract *contract, const char *name)
{
    const struct contract_excuse *excuse = contract->excuses;
    while (excuse != NULL && excuse->name != NULL) {
        if (strcmp(excuse->name, name) == 0) {
            return true;
        }
        excuse++;
    }
    return false;
}

/* The id of the record that the payload tells: of its field of that name. */
static struct cn_uuid s_told_id(const struct cn_event_shape *event,
                                const ProtobufCMessage *payload,
                                const char *aggregate_type)
{
    struct cn_uuid id = { { 0 } };
    const int at = contract_field(event->payload, aggregate_type);
    const struct cn_shape *sub =
        at >= 0 ? event->payload->fields[at].sub : NULL;
    const int own = sub != NULL ? contract_field(sub, "id") : -1;
    if (own >= 0) {
        const void *record =
            *(void *const *)s_value(event->payload, payload, (unsigned)at);
        const char *text = contract_text(sub, record, (unsigned)own);
        char prefix[CN_ID_TEXT_MAX] = "";
        (void)snprintf(prefix, sizeof(prefix), "%.*s",
                       (int)strcspn(text != NULL ? text : "", "_"),
                       text != NULL ? text : "");
        (void)!cn_id_parse(prefix, text, &id);
    }
    return id;
}

struct contract_event contract_event(struct contract_run *run,
                                     const struct cn_subscription *subscription,
                                     const struct cn_event_handler *handler,
                                     unsigned which)
{
    struct cn_arena *arena = run->world->arena;
    struct contract_event event = {
        .subscription = subscription,
        .handler = handler,
        .shape = consumer_shape_find(subscription, handler->type),
        .aggregate_type =
            cn_arena_strndup(arena, handler->type, strcspn(handler->type, ".")),
    };
    assert(event.shape != NULL);
    struct contract_maker maker = contract_maker(run, false);
    maker.which = which;
    maker.event = handler->type;
    event.seq = maker.number;
    event.payload = cn_message_new(arena, event.shape->payload->descriptor);
    contract_fill(run->contract, &maker, event.shape->payload, event.payload);
    event.aggregate_id =
        s_told_id(event.shape, event.payload, event.aggregate_type);
    return event;
}

/* The move of the position by one, as the last step of the unit. */
static void s_position_add(struct contract_run *run,
                           const char *producer,
                           struct cn_write *write)
{
    const long at = test_psql_number(
        run->psql,
        "SELECT seq FROM %s.inbox_position WHERE producer = '%s'"
        " AND partition = 0",
        run->contract->service->name, producer);
    const struct cn_param params[CONSUMER_MOVE_PARAMS] = {
        cn_text(producer), cn_int(0), cn_int(1),      cn_int(1), cn_int(at),
        cn_int(1),         cn_int(1), cn_int(at + 1), cn_int(0)
    };
    cn_write_position(write, consumer_statement_move(), params,
                      CONSUMER_MOVE_PARAMS);
}

static enum cn_code s_apply_once(struct contract_run *run,
                                 const struct contract_event *event,
                                 struct cn_arena *arena,
                                 struct cn_err *err)
{
    struct test_world *world = run->world;
    const int64_t now_at = world->env.now(&world->env);
    const struct cn_event came = {
        .env = &world->env,
        .producer = event->subscription->producer,
        .type = event->handler->type,
        .event_id = cn_uuid_new(&world->env),
        .tenant_id = world->tenant,
        .aggregate_type = event->aggregate_type,
        .aggregate_id = event->aggregate_id,
        .aggregate_seq = event->seq,
        .payload = event->payload,
        .occurred_at = now_at,
        .correlation_id = "req_test",
        .now_at = now_at,
        .arena = arena,
    };
    struct cn_write *write =
        event->handler->copy ? cn_write_begin_batch(&world->env, arena)
                             : cn_write_begin_event(&world->env, arena, &came);
    if (event->handler->copy) {
        cn_write_tenant(write, world->tenant);
    }
    enum cn_code rc = cn_event_handle(run->contract->service, event->handler,
                                      &came, write, err);
    if (rc == CN_OK && !cn_write_empty(write)) {
        s_position_add(run, event->subscription->producer, write);
        rc = cn_write_commit(write, err);
    }
    return rc;
}

enum cn_code contract_apply(struct contract_run *run,
                            const struct contract_event *event,
                            struct cn_arena *arena,
                            struct cn_err *err)
{
    enum cn_code rc = CN_STALE;
    for (unsigned i = 0; i <= CN_STALE_AGAIN_MAX && rc == CN_STALE; i++) {
        cn_err_clear(err);
        rc = s_apply_once(run, event, arena, err);
    }
    return rc;
}
