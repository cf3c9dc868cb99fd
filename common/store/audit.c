/* SPDX-License-Identifier: Apache-2.0 */
/* Audit rows of reads, gathered per tenant while an insert is on its way. */
#include "common/store/audit.h"

#include "common/base/arena.h"
#include "common/base/array.h"
#include "common/base/env.h"
#include "common/contract/service.h"
#include "common/loop/fiber.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    BATCH_SIZE_MAX = 4 << 20, /* bytes of a batch's arena */
    INSERT_STEPS = 2,
    /* Columns of a batch that are sent as text[]. */
    COLUMN_AT = 0,
    COLUMN_ACTOR,
    COLUMN_ROLE,
    COLUMN_ACTION,
    COLUMN_RESOURCE,
    COLUMN_PATIENTS,
    COLUMN_REQUEST,
    COLUMN_COUNT
};

/* Of the insert of a batch: nobody waits longer than for a lock and a commit.
 */
static const int64_t INSERT_BUDGET_US = 5 * CN_SECOND;

CN_SQL_WRITE(SQL_AUDIT_INSERT,
             "INSERT INTO {{schema}}.audit (tenant_id, id, at, actor, role, "
             "action, resource, patients, request_id, epoch) "
             "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)");

CN_SQL_WRITE(SQL_AUDIT_INSERT_MANY,
             "INSERT INTO {{schema}}.audit (tenant_id, id, at, actor, role, "
             "action, resource, patients, request_id, epoch) "
             "SELECT $1, r.id, r.at::timestamptz, r.actor, r.role, r.action, "
             "NULLIF(r.resource, ''), r.patients::uuid[], "
             "NULLIF(r.request_id, ''), $10::int "
             "FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], "
             "$6::text[], $7::text[], $8::text[], $9::text[]) "
             "AS r (id, at, actor, role, action, resource, patients, "
             "request_id)");

/* Rows that wait for the insert before them. It has an arena of its own: a
 * reader may leave at its deadline. */
struct batch {
    struct gather *gather;
    struct cn_arena *arena;
    size_t count;
    struct cn_uuid ids[CN_AUDIT_GATHER_MAX];
    const char *columns[COLUMN_COUNT][CN_AUDIT_GATHER_MAX];
    struct cn_token readers[CN_AUDIT_GATHER_MAX];
    struct cn_rest sender; /* the fiber that will send it */
};

/* A tenant with inserts in flight; forgotten when there are none. */
struct gather {
    struct gather *next;
    struct cn_env *env;
    struct cn_uuid tenant_id;
    unsigned in_flight; /* sent, not yet returned */
    unsigned users;     /* fibers that hold it: senders */
    struct batch *open; /* gathering, or NULL */
};

/* One loop, one thread; told apart by the env. */
static struct gather *s_gathers;

const struct cn_statement *
cn_audit_statement(const struct cn_audit_row *row,
                   struct cn_param params[CN_AUDIT_PARAMS])
{
    static const struct cn_uuid NONE;
    params[0] = cn_uuid(row->tenant_id);
    params[1] = cn_uuid(row->id);
    params[2] = cn_at(row->at);
    params[3] = cn_text(row->actor != NULL ? row->actor : "");
    params[4] = cn_text(row->role != NULL ? row->role : "");
    params[5] = cn_text(row->action);
    params[6] = cn_text(row->resource);
    params[7] = cn_uuids(row->patients != NULL ? row->patients : &NONE,
                         row->patient_count);
    params[8] = cn_text(row->request_id);
    params[9] = cn_int(row->epoch);
    return &SQL_AUDIT_INSERT;
}

static int s_compare(const void *a, const void *b)
{
    return cn_uuid_compare(*(const struct cn_uuid *)a,
                           *(const struct cn_uuid *)b);
}

/* Sorted, without repeats and nil. */
static const struct cn_uuid *s_patients(struct cn_arena *arena,
                                        const struct cn_uuid *patients,
                                        size_t count,
                                        size_t *ret_count)
{
    struct cn_uuid *kept = cn_arena_array(arena, count, sizeof(*kept));
    if (count > 0) {
        memcpy(kept, patients, count * sizeof(*kept));
        qsort(kept, count, sizeof(*kept), s_compare);
    }
    size_t left = 0;
    for (size_t i = 0; i < count; i++) {
        if (!cn_uuid_is_nil(kept[i]) &&
            (left == 0 || !cn_uuid_equal(kept[left - 1], kept[i]))) {
            kept[left++] = kept[i];
        }
    }
    *ret_count = left;
    return kept;
}

static struct gather *s_find(struct cn_env *env, struct cn_uuid tenant_id)
{
    struct gather *gather = s_gathers;
    while (gather != NULL && (gather->env != env ||
                              !cn_uuid_equal(gather->tenant_id, tenant_id))) {
        gather = gather->next;
    }
    return gather;
}

static struct gather *s_gather_new(struct cn_env *env, struct cn_uuid tenant_id)
{
    struct gather *gather = calloc(1, sizeof(*gather));
    if (gather != NULL) {
        gather->env = env;
        gather->tenant_id = tenant_id;
        gather->next = s_gathers;
        s_gathers = gather;
    }
    return gather;
}

static void s_gather_free(struct gather *self)
{
    struct gather **link = &s_gathers;
    while (*link != self) {
        link = &(*link)->next;
    }
    *link = self->next;
    free(self);
}

/* An insert has come back: what gathered meanwhile goes. The caller holds self
 * no longer. */
static void s_gather_returned(struct gather *self)
{
    self->in_flight--;
    self->users--;
    if (self->open != NULL) {
        cn_rest_call(&self->open->sender);
    }
    if (self->users == 0) {
        s_gather_free(self);
    }
}

/* One unit on the write lane. */
static enum cn_code s_insert(struct cn_env *env,
                             struct cn_arena *arena,
                             struct cn_uuid tenant_id,
                             const struct cn_statement *statement,
                             const struct cn_param *params,
                             size_t count,
                             struct cn_err *err)
{
    struct cn_param tenant = cn_uuid(tenant_id);
    const struct cn_db_step steps[INSERT_STEPS] = {
        { .statement = cn_db_tenant_statement(),
          .params = &tenant,
          .count = 1 },
        { .statement = statement, .params = params, .count = count }
    };
    struct cn_db_result result;
    enum cn_code rc = cn_db_unit(env->db, CN_LANE_WRITE, arena, steps,
                                 INSERT_STEPS, &result, err);
    if (rc != CN_OK) {
        return cn_fail(err, CN_UNAVAILABLE, "audit: the row was not written");
    }
    if (result.outcome != CN_COMMITTED) {
        return cn_fail(err, CN_UNAVAILABLE,
                       "audit: the row was not written: SQLSTATE %s",
                       result.sqlstate);
    }
    return CN_OK;
}

static void s_batch_free(struct batch *self)
{
    if (self != NULL) {
        cn_arena_free(self->arena);
        free(self);
    }
}

static enum cn_code s_batch_insert(struct batch *self)
{
    struct gather *gather = self->gather;
    struct cn_err err = { 0 };
    struct cn_param params[2 + COLUMN_COUNT + 1];
    params[0] = cn_uuid(gather->tenant_id);
    params[1] = cn_uuids(self->ids, self->count);
    for (size_t i = 0; i < COLUMN_COUNT; i++) {
        params[2 + i] = cn_texts(self->columns[i], self->count);
    }
    params[2 + COLUMN_COUNT] = cn_int(cn_db_epoch(gather->env->db));
    return s_insert(gather->env, self->arena, gather->tenant_id,
                    &SQL_AUDIT_INSERT_MANY, params, CN_COUNT(params), &err);
}

/* Fiber of a batch: waits for the insert before it, for more rows or for its
 * time, then sends and wakes the readers. */
static void s_batch_send(void *arg)
{
    struct batch *self = arg;
    struct gather *gather = self->gather;
    if (gather->in_flight > 0 && self->count < CN_AUDIT_GATHER_MAX) {
        (void)cn_rest(&self->sender, cn_clock_monotonic() + CN_AUDIT_GATHER_US);
    }
    if (gather->open == self) {
        gather->open = NULL;
    }
    gather->in_flight++;
    enum cn_code rc = s_batch_insert(self);
    for (size_t i = 0; i < self->count; i++) {
        (void)cn_fiber_wake(self->readers[i], rc);
    }
    s_gather_returned(gather);
    s_batch_free(self);
}

/* The tenant's open batch, or a new one with its fiber. */
static struct batch *s_batch_open(struct gather *gather, struct cn_err *err)
{
    if (gather->open != NULL) {
        return gather->open;
    }
    struct batch *batch = calloc(1, sizeof(*batch));
    if (batch == NULL) {
        return NULL;
    }
    batch->gather = gather;
    batch->arena = cn_arena_new(BATCH_SIZE_MAX);
    if (batch->arena == NULL ||
        cn_fiber_spawn(gather->env->loop, s_batch_send, batch,
                       cn_clock_monotonic() + INSERT_BUDGET_US, err) != CN_OK) {
        s_batch_free(batch);
        return NULL;
    }
    gather->open = batch;
    gather->users++;
    return batch;
}

/* "{uuid,uuid}" */
static const char *
s_array_text(struct cn_arena *arena, const struct cn_uuid *ids, size_t count)
{
    char *text = cn_arena_array(arena, count + 1, CN_UUID_TEXT_SIZE);
    char *at = text;
    *at++ = '{';
    for (size_t i = 0; i < count; i++) {
        cn_uuid_format(ids[i], at);
        at += CN_UUID_TEXT_SIZE - 1;
        *at++ = i + 1 < count ? ',' : '}';
    }
    if (count == 0) {
        *at = '}';
    }
    return text;
}

static bool s_batch_add(struct batch *self, const struct cn_audit_row *row)
{
    struct cn_arena *arena = self->arena;
    char at[CN_TIME_TEXT_MAX];
    cn_time_format(row->at, at);
    const char *values[COLUMN_COUNT] = { [COLUMN_AT] = at,
                                         [COLUMN_ACTOR] = row->actor,
                                         [COLUMN_ROLE] = row->role,
                                         [COLUMN_ACTION] = row->action,
                                         [COLUMN_RESOURCE] = row->resource,
                                         [COLUMN_REQUEST] = row->request_id };
    size_t n = self->count;
    for (size_t i = 0; i < COLUMN_COUNT; i++) {
        const char *value = values[i] != NULL ? values[i] : "";
        self->columns[i][n] =
            i == COLUMN_PATIENTS
                ? s_array_text(arena, row->patients, row->patient_count)
                : cn_arena_strdup(arena, value);
    }
    if (cn_arena_failed(arena)) {
        return false;
    }
    self->ids[n] = row->id;
    self->count++;
    return true;
}

/* Joins the rows that wait for the insert in flight. */
static enum cn_code s_gathered(struct gather *gather,
                               const struct cn_audit_row *row,
                               struct cn_err *err)
{
    struct batch *batch = s_batch_open(gather, err);
    if (batch == NULL || !s_batch_add(batch, row)) {
        return cn_fail(err, CN_UNAVAILABLE, "audit: no memory for the row");
    }
    batch->readers[batch->count - 1] = cn_fiber_token();
    if (batch->count == CN_AUDIT_GATHER_MAX) {
        gather->open = NULL;
        cn_rest_call(&batch->sender);
    }
    if (cn_fiber_park(INT64_MAX) != CN_OK) {
        return cn_fail(err, CN_UNAVAILABLE, "audit: the row was not written");
    }
    return CN_OK;
}

enum cn_code cn_audit_read(const struct cn_request *request,
                           const char *action,
                           const char *resource,
                           const struct cn_uuid *patients,
                           size_t patient_count,
                           struct cn_err *err)
{
    struct cn_env *env = request->env;
    struct cn_uuid tenant_id = request->principal.tenant_id;
    struct cn_audit_row row = { .tenant_id = tenant_id,
                                .id = cn_uuid_new(env),
                                .at = request->now_at,
                                .actor = request->principal.subject,
                                .role = request->principal.role,
                                .action = action,
                                .resource = resource,
                                .request_id = request->request_id,
                                .epoch = cn_db_epoch(env->db) };
    row.patients =
        s_patients(request->arena, patients, patient_count, &row.patient_count);
    if (cn_arena_failed(request->arena)) {
        return cn_fail(err, CN_UNAVAILABLE, "audit: no memory for the row");
    }
    struct gather *gather = s_find(env, tenant_id);
    if (gather != NULL) {
        return s_gathered(gather, &row, err);
    }
    gather = s_gather_new(env, tenant_id);
    if (gather == NULL) {
        return cn_fail(err, CN_UNAVAILABLE, "audit: no memory for the row");
    }
    gather->users++;
    gather->in_flight++;
    struct cn_param params[CN_AUDIT_PARAMS];
    const struct cn_statement *statement = cn_audit_statement(&row, params);
    enum cn_code rc = s_insert(env, request->arena, tenant_id, statement,
                               params, CN_AUDIT_PARAMS, err);
    s_gather_returned(gather);
    return rc;
}
