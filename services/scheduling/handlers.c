/* SPDX-License-Identifier: Apache-2.0 */
/* Visits: booked by hand and moved. Availability is in handlers_slot.c. */
#include "cairn/scheduling.handlers.h"
#include "common/store/reach.h"
#include "common/wire/json.h"
#include "common/wire/message.h"
#include "services/scheduling/store.h"

/* ---- a visit that a coordinator books ---- */

/* The need of the referral that the visit names. */
static struct need_row s_visit_need(struct cn_op *op, const Sch__Visit *visit)
{
    struct need_row need = { .found = false };
    struct cn_uuid id;
    if (cn_failed(op)) {
        return need;
    }
    if (cn_id_parse("ref", visit->referral_id, &id)) {
        need = need_get(op, id);
    }
    if (!need.found ||
        !cn_reach_includes(op->request, need_branch(need.need))) {
        cn_refuse_field(op, "/referral_id", "unknown_referral",
                        "is no known referral");
    }
    return need;
}

/* The clinician that the visit names. */
static const struct cn_record *s_visit_clinician(struct cn_op *op,
                                                 const Sch__Visit *visit)
{
    struct cn_uuid id = { { 0 } };
    (void)!(visit->clinician_id != NULL &&
            cn_id_parse("cln", visit->clinician_id, &id));
    const struct cn_record *clinician =
        cn_find(op, &sch__clinician__resource, id);
    if (!cn_failed(op) &&
        (!clinician->found ||
         !cn_reach_includes(op->request, clinician->branch_id))) {
        cn_refuse_field(op, "/clinician_id", "unknown_clinician",
                        "is no known clinician");
    }
    return clinician;
}

/* What follows from the need and the clinician. */
static void s_visit_fill(struct cn_op *op,
                         Sch__Visit *visit,
                         const Sch__Need *need,
                         const struct cn_record *clinician)
{
    const Sch__Clinician *by = clinician->body;
    visit->patient_id = need->patient_id;
    visit->branch_id = need->branch_id;
    visit->time_zone =
        need->time_zone != NULL ? need->time_zone : clinician_zone(clinician);
    if (!visit->has_mode) {
        CN_SET(visit, mode, SCH__VISIT__MODE__IN_PERSON);
    }
    if (visit->kind == SCH__VISIT__KIND__SOC && need->has_soc_due_at) {
        CN_SET(visit, due_at, need->soc_due_at);
    }
    if (!visit->has_discipline) {
        CN_SET(visit, discipline, by->discipline);
    } else if (visit->discipline != by->discipline) {
        cn_refuse_field(op, "/clinician_id", "wrong_discipline",
                        "is of another discipline");
    }
}

/* A start of care that the acceptance asked for, and for which nobody was free,
 * becomes the visit that is booked: it keeps its id. One that is booked already
 * stands against the new one (visit_one_soc). */
static struct cn_record *s_visit_take_over(struct cn_op *op,
                                           struct cn_record *record,
                                           struct cn_uuid referral_id)
{
    Sch__Visit *wanted = record->body;
    if (wanted->kind != SCH__VISIT__KIND__SOC) {
        return record;
    }
    struct cn_record *live = visit_soc_live(op, referral_id);
    if (!live->found || !cn_may(live, "book")) {
        return record;
    }
    const Sch__Visit *was = live->body;
    wanted->id = was->id;
    CN_SET(wanted, created_at, was->created_at);
    CN_SET(wanted, status, was->status);
    live->body = wanted;
    live->shown = wanted;
    return live;
}

void visit_create(struct cn_op *op, const Sch__CreateVisitRequest *body)
{
    struct cn_record *record =
        cn_record_new(op, &sch__visit__resource, body->visit);
    visit_check(op, record->body);
    struct need_row need = s_visit_need(op, record->body);
    const struct cn_record *clinician = s_visit_clinician(op, record->body);
    if (cn_failed(op) || !need.found || need.need == NULL) {
        return;
    }
    s_visit_fill(op, record->body, need.need, clinician);
    record = s_visit_take_over(op, record, need.referral_id);
    cn_move(op, record, "book");
    Sch__VisitEvent *told = cn_told(op, record);
    told->clinician_name = ((const Sch__Clinician *)clinician->body)->name;
    record->verb = "create";
    cn_record_locate(op, record);
    if (record->found) {
        cn_put(op, record);
    } else {
        visit_put_new(op, record, &VISIT_REFUSED);
    }
}

/* ---- moves ---- */

/* What a client says of the past; now when it says nothing. */
static int64_t s_past(struct cn_op *op,
                      const char *pointer,
                      protobuf_c_boolean has,
                      int64_t at)
{
    if (has && at > op->now_at) {
        cn_refuse_field(op, pointer, "invalid_value",
                        "must not be in the future");
    }
    return has ? at : op->now_at;
}

void visit_confirm(struct cn_op *op, const Sch__ConfirmVisitRequest *body)
{
    struct cn_record *record = cn_take(op, &sch__visit__resource, body->id);
    cn_move(op, record, "confirm");
    cn_put(op, record);
}

void visit_start(struct cn_op *op, const Sch__StartVisitRequest *body)
{
    struct cn_record *record = cn_take(op, &sch__visit__resource, body->id);
    Sch__Visit *visit = record->body;
    CN_SET(visit, started_at,
           s_past(op, "/started_at", body->has_started_at, body->started_at));
    cn_move(op, record, "start");
    cn_put(op, record);
}

void visit_complete(struct cn_op *op, const Sch__CompleteVisitRequest *body)
{
    struct cn_record *record = cn_take(op, &sch__visit__resource, body->id);
    Sch__Visit *visit = record->body;
    CN_SET(visit, completed_at,
           s_past(op, "/completed_at", body->has_completed_at,
                  body->completed_at));
    cn_move(op, record, "complete");
    cn_put(op, record);
}

void visit_cancel(struct cn_op *op, const Sch__CancelVisitRequest *body)
{
    struct cn_record *record = cn_take(op, &sch__visit__resource, body->id);
    Sch__Visit *visit = record->body;
    visit->reason_code =
        cn_enum_word(&sch__cancel_visit_request__reason_code__descriptor,
                     (int)body->reason_code);
    cn_move(op, record, "cancel");
    cn_put(op, record);
}
