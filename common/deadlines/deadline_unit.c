/* SPDX-License-Identifier: Apache-2.0 */
#include "common/deadlines/deadline_unit.h"

#include "common/inbox/consumer.h"
#include "common/wire/json.h"
#include "common/wire/message.h"

#include <assert.h>
#include <stdio.h>

enum { CONTEXT_MAX = 96 };

#define DEADLINE_COLUMNS                                                       \
    "d.id, d.subject_type, d.subject_id, d.branch_id, d.patient_id,"           \
    " d.version, d.event_seq, d.created_at, d.body"

/* What the seal of a body is bound to; in the arena. */
static const char *s_context(const struct cn_store *store)
{
    return cn_arena_printf(store->arena, "%s.deadline.body",
                           cn_db_schema(store->env->db));
}

/* ---- read ---- */

static enum cn_code s_read(const struct cn_store *store,
                           const struct cn_rows *rows,
                           size_t row,
                           struct cn_deadline *ret_deadline,
                           struct cn_err *err)
{
    struct cn_deadline deadline = {
        .id = cn_row_uuid(rows, row, 0),
        .subject_type = cn_row_text(rows, row, 1),
        .subject_id = cn_row_uuid(rows, row, 2),
        .branch_id = cn_row_uuid(rows, row, 3),
        .patient_id = cn_row_uuid(rows, row, 4),
        .version = cn_row_int(rows, row, 5),
        .event_seq = cn_row_int(rows, row, 6),
    };
    ProtobufCMessage *message = NULL;
    enum cn_code rc =
        cn_store_unseal(store, s_context(store), rows, row, 8,
                        &dln__deadline__descriptor, &message, err);
    if (rc == CN_OK) {
        deadline.body = (Dln__Deadline *)message;
        *ret_deadline = deadline;
    }
    return rc;
}

CN_SQL_READ(SQL_DEADLINE_OF_RULE,
            "SELECT " DEADLINE_COLUMNS " FROM {{schema}}.deadline d"
            " WHERE d.tenant_id = $1 AND d.subject_type = $2"
            " AND d.subject_id = $3 AND d.rule = $4");

enum cn_code cn_deadline_load(const struct cn_store *store,
                              const char *subject_type,
                              struct cn_uuid subject_id,
                              const char *rule,
                              struct cn_deadline *ret_deadline,
                              struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc = CN_STORE_READ(
        store, &SQL_DEADLINE_OF_RULE, &rows, err, cn_uuid(store->tenant_id),
        cn_text(subject_type), cn_uuid(subject_id), cn_text(rule));
    if (rc != CN_OK) {
        return rc;
    }
    if (cn_rows_count(rows) == 0) {
        *ret_deadline = (struct cn_deadline){ 0 };
        return CN_OK;
    }
    return s_read(store, rows, 0, ret_deadline, err);
}

CN_SQL_READ(SQL_DEADLINE_GET,
            "SELECT " DEADLINE_COLUMNS " FROM {{schema}}.deadline d"
            " WHERE d.tenant_id = $1 AND d.id = $2");

CN_SQL_READ(SQL_DEADLINES_OF_SUBJECT,
            "SELECT " DEADLINE_COLUMNS " FROM {{schema}}.deadline d"
            " WHERE d.tenant_id = $1 AND d.subject_type = $2"
            " AND d.subject_id = $3 AND (d.created_at, d.id) > ($4, $5)"
            " ORDER BY d.created_at, d.id LIMIT $6");

/* ---- written ---- */

CN_SQL_WRITE(SQL_DEADLINE_ADD,
             "INSERT INTO {{schema}}.deadline (tenant_id, id, subject_type,"
             " subject_id, rule, branch_id, patient_id, state, starts_at,"
             " due_at, version, event_seq, created_at, updated_at, body)"
             " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 1, $11, $12,"
             " $13, $14)");

CN_SQL_WRITE(SQL_DEADLINE_CHANGE,
             "WITH u AS (UPDATE {{schema}}.deadline SET version = version + 1,"
             " event_seq = event_seq + $4, branch_id = $5, state = $6,"
             " starts_at = $7, due_at = $8, updated_at = $9, body = $10"
             " WHERE tenant_id = $1 AND id = $2 AND version = $3 RETURNING 1)"
             " SELECT {{schema}}.require(EXISTS (SELECT 1 FROM u),"
             " 'deadline_version')");

static int64_t s_again_us(int64_t late_us)
{
    int64_t us = late_us / 8;
    return us < CN_DEADLINE_AGAIN_MIN_US   ? CN_DEADLINE_AGAIN_MIN_US
           : us > CN_DEADLINE_AGAIN_MAX_US ? CN_DEADLINE_AGAIN_MAX_US
                                           : us;
}

static void
s_due(struct cn_write *write, const struct cn_deadline *self, int64_t now_at)
{
    if (self->body->state == DLN__DEADLINE__STATE__BREACH_SUSPECTED) {
        cn_write_due(write, CN_DEADLINE_KIND, self->id,
                     now_at + s_again_us(now_at - self->body->due_at));
    } else if (cn_deadline_runs(self)) {
        cn_write_due(write, CN_DEADLINE_KIND, self->id,
                     cn_deadline_next_at(self));
    } else if (self->version > 0) {
        cn_write_due_done(write, CN_DEADLINE_KIND, self->id);
    }
}

enum cn_code cn_deadline_change(const struct cn_store *store,
                                struct cn_write *write,
                                struct cn_deadline *self,
                                struct cn_err *err)
{
    Dln__Deadline *body = self->body;
    struct cn_param sealed;
    if (!self->changed) {
        return CN_OK;
    }
    CN_SET(body, version, self->version + 1);
    enum cn_code rc =
        cn_store_seal(store, s_context(store), &body->base, &sealed, err);
    if (rc != CN_OK) {
        return rc;
    }
    const char *state =
        cn_enum_word(&dln__deadline__state__descriptor, (int)body->state);
    assert(state != NULL);
    if (self->version == 0) {
        CN_CHANGE(write, &SQL_DEADLINE_ADD, cn_uuid(store->tenant_id),
                  cn_uuid(self->id), cn_text(self->subject_type),
                  cn_uuid(self->subject_id), cn_text(body->rule),
                  cn_uuid_or_null(self->branch_id), cn_uuid(self->patient_id),
                  cn_text(state), cn_at(body->starts_at), cn_at(body->due_at),
                  cn_int((int64_t)self->event_count), cn_at(body->created_at),
                  cn_at(body->updated_at), sealed);
    } else {
        CN_CHANGE(write, &SQL_DEADLINE_CHANGE, cn_uuid(store->tenant_id),
                  cn_uuid(self->id), cn_int(self->version),
                  cn_int((int64_t)self->event_count),
                  cn_uuid_or_null(self->branch_id), cn_text(state),
                  cn_at(body->starts_at), cn_at(body->due_at),
                  cn_at(body->updated_at), sealed);
    }
    s_due(write, self, store->now_at);
    return CN_OK;
}

enum cn_code cn_deadline_tell(const struct cn_store *store,
                              struct cn_write *write,
                              const struct cn_deadline *self,
                              struct cn_err *err)
{
    if (!self->changed || self->event_count == 0) {
        return CN_OK;
    }
    Dln__DeadlineChange *told =
        CN_NEW(store->arena, dln__deadline_change, Dln__DeadlineChange);
    told->deadline = self->body;
    for (size_t i = 0; i < self->event_count; i++) {
        cn_write_event(write, self->events[i], "deadline", self->id,
                       self->event_seq + 1 + (int64_t)i, &told->base);
    }
    return cn_arena_failed(store->arena)
               ? cn_fail(err, CN_NOMEM, "tell of a deadline")
               : CN_OK;
}

/* ---- the ticker ---- */

/* Has all been told that was done by then? */
static enum cn_code s_settled(const struct cn_store *store,
                              const Dln__Deadline *body,
                              bool *ret_settled,
                              struct cn_err *err)
{
    int64_t until = 0;
    if (body->told_by == NULL) {
        *ret_settled = true;
        return CN_OK;
    }
    enum cn_code rc =
        cn_consumer_complete_until(store->env, body->told_by, &until, err);
    if (rc == CN_OK) {
        *ret_settled = until > body->due_at;
    }
    return rc;
}

static enum cn_code s_fire(const struct cn_store *store,
                           struct cn_deadline *deadline,
                           struct cn_err *err)
{
    struct cn_write *write =
        cn_write_begin_system(store->env, store->arena, store->tenant_id, NULL);
    enum cn_code rc = CN_OK;
    if (deadline->changed) {
        rc = cn_deadline_change(store, write, deadline, err);
    } else {
        s_due(write, deadline, store->now_at);
    }
    if (rc == CN_OK) {
        rc = cn_deadline_tell(store, write, deadline, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    if (deadline->event_count > 0) {
        cn_write_audit(write, deadline->events[0], deadline->body->subject_id,
                       deadline->patient_id);
    }
    return cn_write_commit(write, err);
}

enum cn_code
cn_deadline_fire(void *self, const struct cn_due *due, struct cn_err *err)
{
    (void)self;
    const struct cn_store store = cn_store_of_due(due);
    const struct cn_rows *rows = NULL;
    struct cn_deadline deadline;
    bool settled = false;
    enum cn_code rc = CN_STORE_READ(&store, &SQL_DEADLINE_GET, &rows, err,
                                    cn_uuid(store.tenant_id), cn_uuid(due->id));
    if (rc == CN_OK && cn_rows_count(rows) == 0) {
        rc = cn_fail(err, CN_INTERNAL, "a due row without its deadline");
    }
    if (rc == CN_OK) {
        rc = s_read(&store, rows, 0, &deadline, err);
    }
    if (rc == CN_OK && deadline.body->due_at < store.now_at) {
        rc = s_settled(&store, deadline.body, &settled, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    cn_deadline_pass(&deadline, settled, store.now_at);
    return s_fire(&store, &deadline, err);
}

/* ---- shown ---- */

static enum cn_code s_page(const struct cn_request *request,
                           const struct cn_deadline_subject *subject,
                           const struct cn_page *page,
                           struct cn_page_row **ret_rows,
                           size_t *ret_count,
                           struct cn_err *err)
{
    const struct cn_store store = cn_store_of_request(request);
    const struct cn_rows *rows = NULL;
    enum cn_code rc = CN_STORE_READ(
        &store, &SQL_DEADLINES_OF_SUBJECT, &rows, err, cn_uuid(store.tenant_id),
        cn_text(subject->type), cn_uuid(subject->id), cn_at(page->after.key),
        cn_uuid(page->after.id), cn_int(page->limit + 1));
    if (rc != CN_OK) {
        return rc;
    }
    size_t count = cn_rows_count(rows);
    struct cn_page_row *shown =
        cn_arena_array(store.arena, count + 1, sizeof(*shown));
    for (size_t i = 0; rc == CN_OK && i < count; i++) {
        struct cn_deadline deadline;
        rc = s_read(&store, rows, i, &deadline, err);
        if (rc == CN_OK) {
            shown[i] = (struct cn_page_row){
                .shown = &deadline.body->base,
                .patient_id = deadline.patient_id,
                .place = { cn_row_at(rows, i, 7), deadline.id },
            };
        }
    }
    if (rc == CN_OK) {
        *ret_rows = shown;
        *ret_count = count;
    }
    return rc;
}

enum cn_code cn_deadlines_answer(const struct cn_request *request,
                                 struct cn_reply *reply,
                                 const struct cn_deadline_subject *subject,
                                 struct cn_err *err)
{
    const Dln__ListDeadlinesRequest *body = request->body;
    const char *filters =
        cn_arena_printf(request->arena, "deadlines|%s", subject->text);
    struct cn_page_row *rows = NULL;
    struct cn_page page;
    size_t count = 0;
    enum cn_code rc = cn_page_open(request, filters, body->has_limit,
                                   body->limit, body->cursor, &page, err);
    if (rc == CN_OK) {
        rc = s_page(request, subject, &page, &rows, &count, err);
    }
    return rc == CN_OK ? cn_page_answer(request, reply, &page, rows, count,
                                        "deadline.list", subject->text, err)
                       : rc;
}

/* ---- for an operation ---- */

struct cn_deadline_subject
cn_deadline_subject_of(const struct cn_record *record)
{
    const struct cn_resource *resource = record->resource;
    return (struct cn_deadline_subject){
        .type = resource->name,
        .id = record->id,
        .text = cn_record_id(record),
        .branch_id = record->branch_id,
        .branch_text = cn_record_text(record, resource->branch),
        .patient_id = record->patient_id,
        .patient_text = cn_record_text(record, resource->patient),
    };
}

struct cn_deadline cn_deadline_find(struct cn_op *op,
                                    const char *subject_type,
                                    struct cn_uuid subject_id,
                                    const char *rule)
{
    struct cn_store store = cn_store_of(op);
    struct cn_deadline found = { .body = NULL };
    if (!cn_failed(op)) {
        (void)!cn_deadline_load(&store, subject_type, subject_id, rule, &found,
                                op->err);
    }
    return found;
}

void cn_deadline_put(struct cn_op *op, struct cn_deadline *self)
{
    struct cn_store store = cn_store_of(op);
    if (cn_failed(op) || !self->changed) {
        return;
    }
    struct cn_write *write = cn_op_write(op);
    if (cn_deadline_change(&store, write, self, op->err) == CN_OK) {
        (void)!cn_deadline_tell(&store, write, self, op->err);
    }
}

void cn_deadlines_show(struct cn_op *op,
                       const struct cn_deadline_subject *subject)
{
    if (!cn_failed(op)) {
        (void)!cn_deadlines_answer(op->request, op->reply, subject, op->err);
    }
}
