/* SPDX-License-Identifier: Apache-2.0 */
/* Visits: booked by hand and moved. Availability is in handlers_slot.c. */
#include "cairn/scheduling.handlers.h"
#include "common/inbox/await.h"
#include "common/store/reach.h"
#include "common/wire/json.h"
#include "common/wire/message.h"
#include "services/scheduling/store.h"

#include <string.h>

/* ---- a visit that a coordinator books ---- */

struct need_wanted {
    struct cn_uuid id;
    bool for_soc; /* then it must be known how far the referral is */
    struct need_row row;
};

static bool s_need_known(struct cn_op *op, void *arg)
{
    struct need_wanted *wanted = arg;
    wanted->row = need_get(op, wanted->id);
    return wanted->row.found &&
           (!wanted->for_soc ||
            need_standing(wanted->row.need) != STANDING_UNKNOWN);
}

static bool s_need_decided(struct cn_op *op, void *arg)
{
    const struct need_wanted *wanted = arg;
    return s_need_known(op, arg) &&
           need_standing(wanted->row.need) != STANDING_UNDECIDED;
}

/* What is known of a referral for a visit of that kind. The client may know of
 * the referral, or of its acceptance, sooner than it is told here. */
static struct need_row
s_need_await(struct cn_op *op, const char *referral_id, Sch__Visit__Kind kind)
{
    struct need_wanted wanted = { .for_soc = kind == SCH__VISIT__KIND__SOC };
    if (cn_failed(op) || !cn_id_parse("ref", referral_id, &wanted.id)) {
        return wanted.row;
    }
    enum cn_awaited awaited =
        cn_await(op, "referrals", cn_await_settled_at(wanted.id, op->now_at),
                 s_need_known, &wanted);
    if (awaited == CN_NOT_TOLD_YET ||
        (awaited == CN_NEVER_TOLD && wanted.row.found)) {
        cn_await_refuse(op, "referral");
    } else if (awaited == CN_TOLD && wanted.for_soc) {
        (void)cn_await(op, "referrals", op->now_at, s_need_decided, &wanted);
    }
    return wanted.row;
}

/* The need of the referral that the visit names. */
static struct need_row s_visit_need(struct cn_op *op, const Sch__Visit *visit)
{
    struct need_row need = s_need_await(op, visit->referral_id, visit->kind);
    if (cn_failed(op)) {
        return need;
    }
    if (!need.found ||
        !cn_reach_includes(op->request, need_branch(need.need))) {
        cn_refuse_field(op, "/referral_id", "unknown_referral",
                        "is no known referral");
    } else if (visit->patient_id != NULL &&
               strcmp(visit->patient_id, need.need->patient_id) != 0) {
        cn_refuse_field(op, "/patient_id", "wrong_patient",
                        "is not the referral's patient");
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
    if (!licence_holds(by, clinician_zone(clinician), visit->starts_at)) {
        cn_refuse_field(op, "/clinician_id", "licence_expired",
                        "has no licence on the day of the visit");
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

/* What stands against the visit, in words. */
static void s_visit_conflict(struct cn_op *op, const char *constraint)
{
    const bool is_second = strcmp(constraint, VISIT_REFUSED.one_soc) == 0;
    if (!is_second && strcmp(constraint, VISIT_REFUSED.overlap) != 0) {
        return; /* it has its words */
    }
    cn_forgive(op);
    cn_refuse(op, CN_CONFLICT, constraint, "%s",
              is_second
                  ? "the referral has a start of care: cancel it first"
                  : "the clinician has another visit then, or is on the way: "
                    "GET /v1/availability shows free times");
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
    visit_guard(op, need.need, ((const Sch__Visit *)record->body)->kind);
    need_require(op, &need);
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
    op->on_conflict = s_visit_conflict;
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

/* Moves a visit on. A start of care is moved on only while its referral is
 * accepted; but one that has begun has taken place, and what follows from it is
 * decided by who owns the referral. */
static void
s_visit_move(struct cn_op *op, struct cn_record *record, const char *command)
{
    const Sch__Visit *visit = record->body;
    const bool begun = visit->status == SCH__VISIT__STATUS__IN_PROGRESS;
    cn_move(op, record, command);
    if (cn_failed(op) || begun || visit->kind != SCH__VISIT__KIND__SOC) {
        return;
    }
    const struct need_row need =
        s_need_await(op, visit->referral_id, visit->kind);
    if (cn_failed(op) || !need.found || need.need == NULL) {
        cn_await_refuse(op, "referral");
        return;
    }
    visit_guard(op, need.need, visit->kind);
    need_require(op, &need);
}

void visit_confirm(struct cn_op *op, const Sch__ConfirmVisitRequest *body)
{
    struct cn_record *record = cn_take(op, &sch__visit__resource, body->id);
    s_visit_move(op, record, "confirm");
    cn_put(op, record);
}

void visit_start(struct cn_op *op, const Sch__StartVisitRequest *body)
{
    struct cn_record *record = cn_take(op, &sch__visit__resource, body->id);
    Sch__Visit *visit = record->body;
    CN_SET(visit, started_at,
           s_past(op, "/started_at", body->has_started_at, body->started_at));
    s_visit_move(op, record, "start");
    visit_early_guard(op, visit, visit->started_at);
    cn_put(op, record);
}

void visit_complete(struct cn_op *op, const Sch__CompleteVisitRequest *body)
{
    struct cn_record *record = cn_take(op, &sch__visit__resource, body->id);
    Sch__Visit *visit = record->body;
    CN_SET(visit, completed_at,
           s_past(op, "/completed_at", body->has_completed_at,
                  body->completed_at));
    if (body->has_completed_at && visit->has_started_at &&
        visit->completed_at < visit->started_at) {
        cn_refuse_field(op, "/completed_at", "invalid_value",
                        "must not be before started_at");
    }
    s_visit_move(op, record, "complete");
    visit_early_guard(op, visit, visit->completed_at);
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
