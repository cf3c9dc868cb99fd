/* SPDX-License-Identifier: Apache-2.0 */
/* The write builder: collects the steps, sends them as one unit in the binding
 * order, and says what became of it. */
#include "common/store/write.h"

#include "common/base/array.h"
#include "common/loop/fiber.h"
#include "common/store/audit.h"
#include "common/wire/seal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    STEPS_FIRST = 16,    /* room at first, doubled when it is full */
    CONTENTION_MAX = 8,  /* times that a lock or a deadlock is tried again */
    RECORD_GONE_MAX = 2, /* times that a twin's record was not found */
    CONTEXT_MAX = 96
};

static const int64_t PAUSE_MIN_US = 5000;
static const int64_t PAUSE_MAX_US = 320000;

/* The order of the unit, behind tenant, locks and the record of the key. A step
 * is filed under its stage, whenever it is added. */
enum stage { STAGE_CHANGE, STAGE_EVENT, STAGE_AUDIT, STAGE_POSITION, STAGES };

CN_SQL_WRITE(SQL_LOCK,
             "SELECT pg_advisory_xact_lock(hashtextextended('{{schema}}' || "
             "$1::text || $2::uuid::text, 0))");

/* Of a batch: the lists are in the order in which they are locked. */
CN_SQL_RELAY(SQL_LOCKS,
             "SELECT pg_advisory_xact_lock(hashtextextended('{{schema}}' || "
             "l.type || l.id::text, 0)) "
             "FROM unnest($1::text[], $2::uuid[]) AS l (type, id)");

/* Before the first tenant of a batch. */
CN_SQL_RELAY(SQL_BATCH,
             "SELECT set_config('synchronous_commit', 'off', true), "
             "set_config('plan_cache_mode', 'force_generic_plan', true)");

CN_SQL_WRITE(SQL_OUTBOX_INSERT,
             "INSERT INTO {{schema}}.outbox (tenant_id, epoch, partition, "
             "event_id, aggregate_type, aggregate_id, aggregate_seq, type, "
             "payload, actor, causation_id, correlation_id, trace, "
             "occurred_at) "
             "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, "
             "$14)");

CN_SQL_WRITE(SQL_DUE_PUT,
             "INSERT INTO {{schema}}.due (tenant_id, kind, id, fire_at) "
             "VALUES ($1, $2, $3, $4) "
             "ON CONFLICT (tenant_id, kind, id) DO UPDATE "
             "SET fire_at = EXCLUDED.fire_at, claimed_until = NULL");

CN_SQL_WRITE(SQL_DUE_DONE,
             "DELETE FROM {{schema}}.due "
             "WHERE tenant_id = $1 AND kind = $2 AND id = $3");

/* A growing list of steps in the arena. */
struct steps {
    struct cn_db_step *items;
    size_t count;
    size_t capacity;
};

/* What a batch holds of one event. */
struct segment {
    struct cn_uuid tenant_id;
    size_t first; /* of the changes */
    size_t count;
};

struct lock {
    const char *aggregate_type;
    struct cn_uuid id;
};

struct cn_write {
    struct cn_env *env;
    struct cn_arena *arena;
    const struct cn_request *request; /* NULL: the system's own */
    struct cn_reply *reply;
    enum cn_lane lane;
    struct cn_uuid tenant_id;
    const char *actor;
    const char *role;
    const char *request_id;
    const char *causation_id;
    const char *correlation_id;
    const char *trace;
    int64_t now_at;
    struct cn_err failure; /* of building; returned by the commit */
    struct lock *locks;
    size_t lock_count;
    size_t lock_capacity;
    struct steps steps[STAGES];
    size_t step_count;
    uint64_t **counters; /* to be counted up */
    size_t counter_count;
    size_t counter_capacity;
    bool has_event;
    bool has_due;
    bool batch;
    struct segment *segments; /* of a batch */
    size_t segment_count;
    size_t segment_capacity;
};

/* items with room for one more. */
static void *s_room(struct cn_arena *arena,
                    void *items,
                    size_t count,
                    size_t *capacity,
                    size_t size)
{
    if (count < *capacity) {
        return items;
    }
    size_t wanted = *capacity == 0 ? STEPS_FIRST : 2 * *capacity;
    void *grown = cn_arena_array(arena, wanted, size);
    if (count > 0) {
        memcpy(grown, items, count * size);
    }
    *capacity = wanted;
    return grown;
}

static void s_add(struct cn_write *self,
                  enum stage stage,
                  const struct cn_statement *statement,
                  const struct cn_param *params,
                  size_t count)
{
    assert(count <= CN_DB_PARAMS_MAX);
    struct steps *steps = &self->steps[stage];
    const size_t most =
        self->batch ? CN_WRITE_BATCH_STEPS_MAX : CN_WRITE_STEPS_MAX;
    if (self->step_count + self->lock_count + self->segment_count >= most) {
        if (self->failure.code == CN_OK) {
            (void)cn_fail(&self->failure, CN_TOO_LARGE,
                          "write: more than %zu steps", most);
        }
        return;
    }
    struct cn_db_step *items = s_room(self->arena, steps->items, steps->count,
                                      &steps->capacity, sizeof(*steps->items));
    const struct cn_param *copy =
        cn_arena_copy(self->arena, params, count * sizeof(*params));
    self->step_count++;
    steps->items = items;
    items[steps->count++] = (struct cn_db_step){ .statement = statement,
                                                 .params = copy,
                                                 .count = count };
}

static struct cn_write *
s_begin(struct cn_env *env, struct cn_arena *arena, struct cn_uuid tenant_id)
{
    struct cn_write *self = cn_arena_alloc(arena, sizeof(*self));
    self->env = env;
    self->arena = arena;
    self->lane = CN_LANE_RELAY;
    self->tenant_id = tenant_id;
    self->actor = "system";
    self->role = "system";
    return self;
}

struct cn_write *cn_write_begin(const struct cn_request *request,
                                struct cn_reply *reply)
{
    const struct cn_principal *principal = &request->principal;
    struct cn_write *self =
        s_begin(request->env, request->arena, principal->tenant_id);
    self->request = request;
    self->reply = reply;
    self->lane = CN_LANE_WRITE;
    self->actor = principal->subject != NULL ? principal->subject : "";
    self->role = principal->role != NULL ? principal->role : "";
    self->request_id = request->request_id;
    self->causation_id = request->request_id;
    self->correlation_id = request->request_id;
    self->trace = request->trace;
    self->now_at = request->now_at;
    return self;
}

struct cn_write *cn_write_begin_system(struct cn_env *env,
                                       struct cn_arena *arena,
                                       struct cn_uuid tenant,
                                       const char *correlation_id)
{
    struct cn_write *self = s_begin(env, arena, tenant);
    self->correlation_id = correlation_id;
    self->now_at = env->now(env);
    return self;
}

struct cn_write *cn_write_begin_event(struct cn_env *env,
                                      struct cn_arena *arena,
                                      const struct cn_event *event)
{
    struct cn_write *self = s_begin(env, arena, event->tenant_id);
    char *cause = cn_arena_alloc(arena, CN_UUID_TEXT_SIZE);
    cn_uuid_format(event->event_id, cause);
    self->causation_id = cause;
    self->correlation_id = event->correlation_id;
    self->now_at = event->now_at;
    return self;
}

struct cn_write *cn_write_begin_batch(struct cn_env *env,
                                      struct cn_arena *arena)
{
    struct cn_write *self = s_begin(env, arena, (struct cn_uuid){ 0 });
    self->batch = true;
    self->now_at = env->now(env);
    return self;
}

static void s_segment_end(struct cn_write *self)
{
    if (self->segment_count > 0) {
        struct segment *last = &self->segments[self->segment_count - 1];
        last->count = self->steps[STAGE_CHANGE].count - last->first;
    }
}

void cn_write_tenant(struct cn_write *self, struct cn_uuid tenant)
{
    assert(self->batch && self->steps[STAGE_POSITION].count == 0);
    s_segment_end(self);
    struct segment *segments =
        s_room(self->arena, self->segments, self->segment_count,
               &self->segment_capacity, sizeof(*segments));
    self->segments = segments;
    segments[self->segment_count++] =
        (struct segment){ .tenant_id = tenant,
                          .first = self->steps[STAGE_CHANGE].count };
    self->tenant_id = tenant;
}

void cn_write_lock(struct cn_write *self,
                   const char *aggregate_type,
                   struct cn_uuid id)
{
    struct lock *locks = s_room(self->arena, self->locks, self->lock_count,
                                &self->lock_capacity, sizeof(*locks));
    self->locks = locks;
    locks[self->lock_count++] =
        (struct lock){ .aggregate_type = aggregate_type, .id = id };
}

void cn_write_change(struct cn_write *self,
                     const struct cn_statement *statement,
                     const struct cn_param *params,
                     size_t count)
{
    s_add(self, STAGE_CHANGE, statement, params, count);
}

/* By the aggregate's id alone: FNV-1a over its bytes. */
static unsigned s_partition(struct cn_uuid id)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < sizeof(id.bytes); i++) {
        hash = (hash ^ id.bytes[i]) * UINT64_C(1099511628211);
    }
    return (unsigned)((hash ^ hash >> 32) % CN_PARTITIONS);
}

static struct cn_param s_text_or_null(const char *text)
{
    return text != NULL && text[0] != '\0' ? cn_text(text) : cn_null();
}

void cn_write_event(struct cn_write *self,
                    const char *type,
                    const char *aggregate_type,
                    struct cn_uuid aggregate_id,
                    int64_t aggregate_seq,
                    const ProtobufCMessage *payload)
{
    assert(!self->batch);
    self->has_event = true;
    if (self->failure.code != CN_OK) {
        return;
    }
    char context[CONTEXT_MAX];
    (void)snprintf(context, sizeof(context), "%s.outbox.payload",
                   cn_db_schema(self->env->db));
    struct cn_bytes sealed;
    enum cn_code rc =
        cn_seal_message(self->env, self->arena, self->tenant_id, context,
                        payload, &sealed, &self->failure);
    if (rc != CN_OK) {
        return;
    }
    const struct cn_param params[] = {
        cn_uuid(self->tenant_id),
        cn_int(cn_db_epoch(self->env->db)),
        cn_int(s_partition(aggregate_id)),
        cn_uuid(cn_uuid_new(self->env)),
        cn_text(aggregate_type),
        cn_uuid(aggregate_id),
        cn_int(aggregate_seq),
        cn_text(type),
        cn_bytes(sealed.data, sealed.size),
        cn_text(self->actor),
        s_text_or_null(self->causation_id),
        s_text_or_null(self->correlation_id),
        s_text_or_null(self->trace),
        cn_at(self->now_at),
    };
    s_add(self, STAGE_EVENT, &SQL_OUTBOX_INSERT, params, CN_COUNT(params));
}

void cn_write_audit(struct cn_write *self,
                    const char *action,
                    const char *resource,
                    struct cn_uuid patient_id)
{
    assert(!self->batch);
    struct cn_audit_row row = { .tenant_id = self->tenant_id,
                                .id = cn_uuid_new(self->env),
                                .at = self->now_at,
                                .actor = self->actor,
                                .role = self->role,
                                .action = action,
                                .resource = resource,
                                .request_id = self->request_id,
                                .epoch = cn_db_epoch(self->env->db) };
    if (self->reply != NULL) {
        self->reply->patient_id = patient_id;
        self->reply->resource = resource;
    }
    if (!cn_uuid_is_nil(patient_id)) {
        /* The parameter keeps only the address of the list. */
        row.patients =
            cn_arena_copy(self->arena, &patient_id, sizeof(patient_id));
        row.patient_count = 1;
    }
    struct cn_param params[CN_AUDIT_PARAMS];
    const struct cn_statement *statement = cn_audit_statement(&row, params);
    s_add(self, STAGE_AUDIT, statement, params, CN_AUDIT_PARAMS);
}

void cn_write_due(struct cn_write *self,
                  const char *kind,
                  struct cn_uuid id,
                  int64_t fire_at)
{
    self->has_due = true;
    const struct cn_param params[] = { cn_uuid(self->tenant_id), cn_text(kind),
                                       cn_uuid(id), cn_at(fire_at) };
    s_add(self, STAGE_CHANGE, &SQL_DUE_PUT, params, CN_COUNT(params));
}

void cn_write_due_done(struct cn_write *self,
                       const char *kind,
                       struct cn_uuid id)
{
    const struct cn_param params[] = { cn_uuid(self->tenant_id), cn_text(kind),
                                       cn_uuid(id) };
    s_add(self, STAGE_CHANGE, &SQL_DUE_DONE, params, CN_COUNT(params));
}

void cn_write_count(struct cn_write *self, uint64_t *counter)
{
    self->counters = s_room(self->arena, self->counters, self->counter_count,
                            &self->counter_capacity, sizeof(*self->counters));
    self->counters[self->counter_count++] = counter;
}

void cn_write_position(struct cn_write *self,
                       const struct cn_statement *statement,
                       const struct cn_param *params,
                       size_t count)
{
    assert(self->steps[STAGE_POSITION].count == 0);
    s_add(self, STAGE_POSITION, statement, params, count);
}

bool cn_write_empty(const struct cn_write *self)
{
    return self->failure.code == CN_OK && self->lock_count == 0 &&
           self->step_count == self->steps[STAGE_POSITION].count;
}

/* The unit */

static int s_lock_compare(const void *a, const void *b)
{
    const struct lock *left = a;
    const struct lock *right = b;
    int order = strcmp(left->aggregate_type, right->aggregate_type);
    return order != 0 ? order : cn_uuid_compare(left->id, right->id);
}

/* All take their locks in one order, so none waits for the other in a ring. */
static void s_locks_sort(struct cn_write *self)
{
    if (self->lock_count < 2) {
        return;
    }
    qsort(self->locks, self->lock_count, sizeof(*self->locks), s_lock_compare);
    size_t left = 1;
    for (size_t i = 1; i < self->lock_count; i++) {
        if (s_lock_compare(&self->locks[left - 1], &self->locks[i]) != 0) {
            self->locks[left++] = self->locks[i];
        }
    }
    self->lock_count = left;
}

static bool s_keyed(const struct cn_write *self)
{
    return self->request != NULL && self->request->idempotency_key != NULL;
}

struct unit {
    struct cn_db_step *steps;
    size_t count;
};

static void s_put(struct cn_write *self,
                  struct unit *unit,
                  const struct cn_statement *statement,
                  const struct cn_param *params,
                  size_t count)
{
    const struct cn_param *copy =
        cn_arena_copy(self->arena, params, count * sizeof(*params));
    unit->steps[unit->count++] = (struct cn_db_step){ .statement = statement,
                                                      .params = copy,
                                                      .count = count };
}

static enum cn_code
s_put_record(struct cn_write *self, struct unit *unit, struct cn_err *err)
{
    const struct cn_statement *statement = NULL;
    struct cn_param params[CN_IDEMPOTENCY_PARAMS];
    enum cn_code rc = cn_idempotency_record(self->request, self->reply,
                                            &statement, params, err);
    if (rc == CN_OK) {
        s_put(self, unit, statement, params, CN_IDEMPOTENCY_PARAMS);
    }
    return rc;
}

static void s_put_steps(struct unit *unit,
                        const struct steps *steps,
                        size_t first,
                        size_t count)
{
    if (count > 0) {
        memcpy(unit->steps + unit->count, steps->items + first,
               count * sizeof(*unit->steps));
        unit->count += count;
    }
}

static int s_segment_compare(const void *a, const void *b)
{
    const struct segment *left = a;
    const struct segment *right = b;
    int order = cn_uuid_compare(left->tenant_id, right->tenant_id);
    if (order != 0) {
        return order;
    }
    /* Of one tenant as they came. */
    return left->first < right->first ? -1 : left->first > right->first;
}

/* All locks by one statement, which takes them in the order of the lists. */
static void s_put_locks(struct cn_write *self, struct unit *unit)
{
    const char **types =
        cn_arena_array(self->arena, self->lock_count, sizeof(*types));
    struct cn_uuid *ids =
        cn_arena_array(self->arena, self->lock_count, sizeof(*ids));
    for (size_t i = 0; i < self->lock_count; i++) {
        types[i] = self->locks[i].aggregate_type;
        ids[i] = self->locks[i].id;
    }
    const struct cn_param params[] = { cn_texts(types, self->lock_count),
                                       cn_uuids(ids, self->lock_count) };
    s_put(self, unit, &SQL_LOCKS, params, 2);
}

/* Settings, locks, then each tenant's steps, then the positions. */
static enum cn_code s_assemble_batch(struct cn_write *self,
                                     struct unit *ret_unit,
                                     struct cn_err *err)
{
    enum { SETTINGS_AND_LOCKS = 2 };
    struct unit unit = { 0 };
    s_segment_end(self);
    s_locks_sort(self);
    if (self->segment_count > 0) {
        qsort(self->segments, self->segment_count, sizeof(*self->segments),
              s_segment_compare);
    }
    unit.steps = cn_arena_array(self->arena,
                                SETTINGS_AND_LOCKS + self->segment_count +
                                    self->step_count,
                                sizeof(*unit.steps));
    s_put(self, &unit, &SQL_BATCH, NULL, 0);
    if (self->lock_count > 0) {
        s_put_locks(self, &unit);
    }
    struct cn_uuid tenant = { 0 };
    for (size_t i = 0; i < self->segment_count; i++) {
        const struct segment *segment = &self->segments[i];
        if (segment->count > 0 && !cn_uuid_equal(segment->tenant_id, tenant)) {
            tenant = segment->tenant_id;
            const struct cn_param param = cn_uuid(tenant);
            s_put(self, &unit, cn_db_tenant_statement(), &param, 1);
        }
        s_put_steps(&unit, &self->steps[STAGE_CHANGE], segment->first,
                    segment->count);
    }
    s_put_steps(&unit, &self->steps[STAGE_POSITION], 0,
                self->steps[STAGE_POSITION].count);
    if (self->failure.code != CN_OK) {
        *err = self->failure;
        return err->code;
    }
    *ret_unit = unit;
    return CN_OK;
}

/* Tenant, locks, record, then what was collected. */
static enum cn_code
s_assemble(struct cn_write *self, struct unit *ret_unit, struct cn_err *err)
{
    enum { TENANT_AND_RECORD = 2 };
    if (self->batch) {
        return s_assemble_batch(self, ret_unit, err);
    }
    s_locks_sort(self);
    struct unit unit = { 0 };
    unit.steps = cn_arena_array(
        self->arena, TENANT_AND_RECORD + self->lock_count + self->step_count,
        sizeof(*unit.steps));
    struct cn_param tenant = cn_uuid(self->tenant_id);
    s_put(self, &unit, cn_db_tenant_statement(), &tenant, 1);
    for (size_t i = 0; i < self->lock_count; i++) {
        const struct cn_param params[] = {
            cn_text(self->locks[i].aggregate_type), cn_uuid(self->locks[i].id)
        };
        s_put(self, &unit, &SQL_LOCK, params, 2);
    }
    if (s_keyed(self)) {
        enum cn_code rc = s_put_record(self, &unit, err);
        if (rc != CN_OK) {
            return rc;
        }
    }
    if (self->failure.code != CN_OK) {
        *err = self->failure;
        return err->code;
    }
    for (size_t stage = 0; stage < STAGES; stage++) {
        s_put_steps(&unit, &self->steps[stage], 0, self->steps[stage].count);
    }
    *ret_unit = unit;
    return CN_OK;
}

/* The outcome */

static bool s_is(const struct cn_db_result *result, const char *sqlstate)
{
    return strcmp(result->sqlstate, sqlstate) == 0;
}

static bool s_ends_with(const char *text, const char *end)
{
    size_t size = strlen(text);
    size_t end_size = strlen(end);
    return size >= end_size && strcmp(text + size - end_size, end) == 0;
}

static enum cn_code s_aborted(const struct unit *unit,
                              const struct cn_db_result *result,
                              struct cn_err *err)
{
    const char *name = result->constraint;
    if (strncmp(result->sqlstate, "23", 2) == 0 && name[0] != '\0') {
        /* The names are the protocol (write.h): a version that moved on is
         * read again, every other name goes to the client as it is. */
        if (s_ends_with(name, "_version")) {
            return cn_fail(err, CN_STALE, "%s", name);
        }
        return cn_fail_as(err, CN_CONFLICT, name, "%s", name);
    }
    const char *step = result->failed_step < unit->count
                           ? unit->steps[result->failed_step].statement->name
                           : "commit";
    return cn_fail(err, cn_db_code(result->sqlstate), "%s: SQLSTATE %s", step,
                   result->sqlstate);
}

/* Waits before the next try, longer each time, by chance between half and
 * all of it. False when the fiber's time does not allow it. */
static bool s_pause(struct cn_write *self, unsigned attempt)
{
    int64_t us = PAUSE_MIN_US << (attempt < 6 ? attempt : 6);
    us = us < PAUSE_MAX_US ? us : PAUSE_MAX_US;
    uint16_t random = 0;
    self->env->random(self->env, &random, sizeof(random));
    us = us / 2 + us / 2 * random / UINT16_MAX;
    if (cn_fiber_deadline() - us <= cn_clock_monotonic()) {
        return false;
    }
    return cn_fiber_sleep(us) == CN_OK;
}

static void s_tell_committed(const struct cn_write *self)
{
    if ((self->has_event || self->has_due) && self->env->committed != NULL) {
        self->env->committed(self->env, self->has_event, self->has_due);
    }
}

static void s_tell_counters(const struct cn_write *self)
{
    for (size_t i = 0; i < self->counter_count; i++) {
        ++*self->counters[i];
    }
}

/* How far the tries of one commit have come. */
struct tries {
    unsigned count;
    unsigned contention;
    unsigned gone;
    bool unknown; /* one of them may have committed */
};

/* The key was used: by a twin, or by a try of ours whose outcome was unknown.
 * *ret_again: its record is gone again. */
static enum cn_code s_replay(struct cn_write *self,
                             struct tries *tries,
                             bool *ret_again,
                             struct cn_err *err)
{
    bool found = false;
    enum cn_code rc =
        cn_idempotency_find(self->request, self->reply, &found, err);
    if (rc == CN_OK && !found) {
        *ret_again = tries->gone++ < RECORD_GONE_MAX;
        return cn_fail(err, CN_BUSY, "the twin of this request came and went");
    }
    if (rc == CN_OK) {
        /* Perhaps it was our own try that committed. */
        s_tell_committed(self);
    }
    if (rc == CN_OK && tries->unknown) {
        s_tell_counters(self);
    }
    return rc;
}

/* One try. *ret_again: it may be tried again, else the code is final. */
static enum cn_code s_unit_try(struct cn_write *self,
                               const struct unit *unit,
                               struct tries *tries,
                               bool *ret_again,
                               struct cn_err *err)
{
    struct cn_db_result result = { 0 };
    *ret_again = false;
    enum cn_code rc = cn_db_unit(self->env->db, self->lane, self->arena,
                                 unit->steps, unit->count, &result, err);
    if (rc != CN_OK) {
        /* Nothing was sent; but a try before it may have done something. */
        *ret_again = tries->unknown && cn_code_retryable(rc);
        return rc;
    }
    if (result.outcome == CN_COMMITTED) {
        s_tell_committed(self);
        s_tell_counters(self);
        return CN_OK;
    }
    if (result.outcome == CN_OUTCOME_UNKNOWN) {
        tries->unknown = true;
        *ret_again = s_keyed(self);
        return cn_fail(err, CN_UNKNOWN, "write: the outcome is not known");
    }
    if (s_keyed(self) && strcmp(result.constraint, "idempotency_key") == 0) {
        return s_replay(self, tries, ret_again, err);
    }
    if (s_is(&result, "55P03") || s_is(&result, "40P01") ||
        s_is(&result, "40001")) {
        *ret_again = tries->contention++ < CONTENTION_MAX;
    } else if (tries->unknown) {
        /* The server had no room or was stopping: that decides nothing. */
        *ret_again = cn_db_code(result.sqlstate) == CN_UNAVAILABLE;
    }
    return s_aborted(unit, &result, err);
}

enum cn_code cn_write_commit(struct cn_write *self, struct cn_err *err)
{
    struct unit unit = { 0 };
    struct tries tries = { 0 };
    if (self->failure.code != CN_OK) {
        *err = self->failure;
        return err->code;
    }
    enum cn_code rc = s_assemble(self, &unit, err);
    if (rc != CN_OK) {
        return rc;
    }
    bool again = false;
    do {
        cn_err_clear(err);
        rc = s_unit_try(self, &unit, &tries, &again, err);
    } while (again && s_pause(self, tries.count++));
    if (tries.unknown && rc != CN_OK && (again || cn_code_retryable(rc))) {
        return cn_fail(err, CN_UNKNOWN, "write: the outcome is not known");
    }
    return rc;
}
