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
static const char *s_context(const struct cn_op *op)
{
    return cn_arena_printf(op->arena, "%s.deadline.body",
                           cn_db_schema(op->env->db));
}

/* ---- read ---- */

static struct cn_deadline
s_deadline_read(struct cn_op *op, const struct cn_rows *rows, size_t row)
{
    return (struct cn_deadline){
        .id = cn_row_uuid(rows, row, 0),
        .subject_type = cn_row_text(rows, row, 1),
        .subject_id = cn_row_uuid(rows, row, 2),
        .branch_id = cn_row_uuid(rows, row, 3),
        .patient_id = cn_row_uuid(rows, row, 4),
        .version = cn_row_int(rows, row, 5),
        .event_seq = cn_row_int(rows, row, 6),
        .body = cn_opened(op, s_context(op), rows, row, 8,
                          &dln__deadline__descriptor),
    };
}

CN_SQL_READ(SQL_DEADLINE_OF_RULE,
            "SELECT " DEADLINE_COLUMNS " FROM {{schema}}.deadline d"
            " WHERE d.tenant_id = $1 AND d.subject_type = $2"
            " AND d.subject_id = $3 AND d.rule = $4");

struct cn_deadline cn_deadline_find(struct cn_op *op,
                                    const char *subject_type,
                                    struct cn_uuid subject_id,
                                    const char *rule)
{
    const struct cn_rows *rows =
        CN_READ(op, &SQL_DEADLINE_OF_RULE, cn_uuid(op->tenant_id),
                cn_text(subject_type), cn_uuid(subject_id), cn_text(rule));
    return cn_rows_count(rows) > 0 ? s_deadline_read(op, rows, 0)
                                   : (struct cn_deadline){ .body = NULL };
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

static void s_due(struct cn_op *op, const struct cn_deadline *self)
{
    if (self->body->state == DLN__DEADLINE__STATE__BREACH_SUSPECTED) {
        cn_due_put(op, CN_DEADLINE_KIND, self->id,
                   op->now_at + s_again_us(op->now_at - self->body->due_at));
    } else if (cn_deadline_runs(self)) {
        cn_due_put(op, CN_DEADLINE_KIND, self->id, cn_deadline_next_at(self));
    } else if (self->version > 0) {
        cn_due_end(op, CN_DEADLINE_KIND, self->id);
    }
}

static void s_deadline_row(struct cn_op *op, struct cn_deadline *self)
{
    Dln__Deadline *body = self->body;
    const char *state =
        cn_enum_word(&dln__deadline__state__descriptor, (int)body->state);
    assert(state != NULL);
    CN_SET(body, version, self->version + 1);
    struct cn_param sealed = cn_sealed(op, s_context(op), body);
    if (self->version == 0) {
        CN_CHANGE(op, &SQL_DEADLINE_ADD, cn_uuid(op->tenant_id),
                  cn_uuid(self->id), cn_text(self->subject_type),
                  cn_uuid(self->subject_id), cn_text(body->rule),
                  cn_uuid_or_null(self->branch_id), cn_uuid(self->patient_id),
                  cn_text(state), cn_at(body->starts_at), cn_at(body->due_at),
                  cn_int((int64_t)self->event_count), cn_at(body->created_at),
                  cn_at(body->updated_at), sealed);
    } else {
        CN_CHANGE(op, &SQL_DEADLINE_CHANGE, cn_uuid(op->tenant_id),
                  cn_uuid(self->id), cn_int(self->version),
                  cn_int((int64_t)self->event_count),
                  cn_uuid_or_null(self->branch_id), cn_text(state),
                  cn_at(body->starts_at), cn_at(body->due_at),
                  cn_at(body->updated_at), sealed);
    }
}

void cn_deadline_put(struct cn_op *op, struct cn_deadline *self)
{
    if (cn_failed(op) || !self->changed) {
        return;
    }
    s_deadline_row(op, self);
    s_due(op, self);
    Dln__DeadlineChange *told =
        CN_NEW(op->arena, dln__deadline_change, Dln__DeadlineChange);
    told->deadline = self->body;
    for (size_t i = 0; i < self->event_count; i++) {
        cn_tell(op, self->events[i], "deadline", self->id,
                self->event_seq + 1 + (int64_t)i, &told->base);
    }
}

/* ---- the ticker ---- */

/* Has all been told that was done before the deadline was due? */
static bool s_settled(struct cn_op *op, const Dln__Deadline *body)
{
    int64_t until = 0;
    if (cn_failed(op) || body->due_at >= op->now_at) {
        return false;
    }
    if (body->told_by == NULL) {
        return true;
    }
    (void)!cn_consumer_complete_until(op->env, body->told_by, &until, op->err);
    return until > body->due_at;
}

void cn_deadline_fire(struct cn_op *op, const struct cn_due *due)
{
    const struct cn_rows *rows = CN_READ(
        op, &SQL_DEADLINE_GET, cn_uuid(op->tenant_id), cn_uuid(due->id));
    if (cn_rows_count(rows) == 0) {
        cn_refuse(op, CN_INTERNAL, NULL, "a due row without its deadline");
        return;
    }
    struct cn_deadline deadline = s_deadline_read(op, rows, 0);
    bool settled = s_settled(op, deadline.body);
    if (cn_failed(op)) {
        return;
    }
    cn_deadline_pass(&deadline, settled, op->now_at);
    cn_deadline_put(op, &deadline);
    if (!deadline.changed) {
        s_due(op, &deadline);
    }
    if (deadline.event_count > 0) {
        cn_audit(op, deadline.events[0], deadline.body->subject_id,
                 deadline.patient_id);
    }
}

/* ---- shown ---- */

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

void cn_deadlines_show(struct cn_op *op,
                       const struct cn_deadline_subject *subject)
{
    if (cn_failed(op)) {
        return;
    }
    struct cn_page page = cn_page_open(
        op, cn_arena_printf(op->arena, "deadlines|%s", subject->text));
    const struct cn_rows *rows = CN_READ(
        op, &SQL_DEADLINES_OF_SUBJECT, cn_uuid(op->tenant_id),
        cn_text(subject->type), cn_uuid(subject->id), cn_at(page.after.key),
        cn_uuid(page.after.id), cn_int(page.limit + 1));
    size_t count = cn_rows_count(rows);
    struct cn_page_row *shown =
        cn_arena_array(op->arena, count, sizeof(*shown));
    for (size_t i = 0; i < count && !cn_failed(op); i++) {
        struct cn_deadline deadline = s_deadline_read(op, rows, i);
        shown[i] = (struct cn_page_row){
            .shown = &deadline.body->base,
            .patient_id = deadline.patient_id,
            .place = { cn_row_at(rows, i, 7), deadline.id },
        };
    }
    cn_page_answer(op, &page, shown, count, "deadline.list", subject->text);
}
