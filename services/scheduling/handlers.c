/* SPDX-License-Identifier: Apache-2.0 */
/* Visits and availability. Clinicians are in handlers_clinician.c. */
#include "cairn/scheduling.handlers.h"
#include "common/store/audit.h"
#include "common/store/reach.h"
#include "common/wire/json.h"
#include "common/wire/message.h"
#include "services/scheduling/booking.h"

#include <string.h>

/* Reads a visit within the caller's reach. */
static enum cn_code s_visit_in_reach(const struct cn_request *request,
                                     const char *text_id,
                                     struct visit_row *ret_row,
                                     struct cn_err *err)
{
    struct cn_store store = cn_store_of_request(request);
    struct cn_uuid id;
    struct visit_row row;
    if (!cn_id_parse("vis", text_id, &id)) {
        return cn_fail(err, CN_NOT_FOUND, "no such visit");
    }
    enum cn_code rc = visit_store_get(&store, id, &row, err);
    if (rc != CN_OK) {
        return rc;
    }
    if (!cn_reach_includes(request, row.branch_id)) {
        return cn_fail(err, CN_NOT_FOUND, "no such visit");
    }
    *ret_row = row;
    return CN_OK;
}

static void s_visit_answer(const Sch__Visit *visit, struct cn_reply *reply)
{
    reply->body = &visit->base;
    reply->version = visit->version;
    reply->updated_at = visit->updated_at;
}

enum cn_code visit_get(void *self,
                       const struct cn_request *request,
                       struct cn_reply *reply,
                       struct cn_err *err)
{
    (void)self;
    const Sch__GetVisitRequest *body = request->body;
    struct visit_row row;
    enum cn_code rc = s_visit_in_reach(request, body->id, &row, err);
    if (rc != CN_OK) {
        return rc;
    }
    s_visit_answer(row.visit, reply);
    return cn_audit_read(request, "visit.read", row.visit->id, &row.patient_id,
                         1, err);
}

static enum cn_code s_visit_filter_read(const struct cn_request *request,
                                        const Sch__ListVisitsRequest *body,
                                        struct visit_filter *ret_filter,
                                        const char **ret_text,
                                        struct cn_err *err)
{
    struct cn_filter filter;
    cn_filter_begin(&filter, request, "visits");
    *ret_filter = (struct visit_filter){
        .statuses = cn_filter_words(&filter, &sch__visit__status__descriptor,
                                    body->status, body->n_status),
        .referral_id = cn_filter_id(&filter, "ref", body->referral_id),
        .patient_id = cn_filter_id(&filter, "pat", body->patient_id),
        .clinician_id = cn_filter_id(&filter, "cln", body->clinician_id),
    };
    *ret_text = filter.text;
    return cn_filter_end(&filter, err);
}

static enum cn_code s_visits_answer(const struct cn_request *request,
                                    struct cn_reply *reply,
                                    const struct cn_page *page,
                                    const struct visit_row *rows,
                                    size_t count,
                                    struct cn_err *err)
{
    struct cn_page_row *shown =
        cn_arena_array(request->arena, count + 1, sizeof(*shown));
    if (shown == NULL) {
        return cn_fail(err, CN_NOMEM, "list visits");
    }
    for (size_t i = 0; i < count; i++) {
        shown[i] = (struct cn_page_row){
            .shown = &rows[i].visit->base,
            .patient_id = rows[i].patient_id,
            .place = { rows[i].sort_at, rows[i].id },
        };
    }
    return cn_page_answer(request, reply, page, shown, count, "visit.list",
                          NULL, err);
}

enum cn_code visits_list(void *self,
                         const struct cn_request *request,
                         struct cn_reply *reply,
                         struct cn_err *err)
{
    (void)self;
    const Sch__ListVisitsRequest *body = request->body;
    struct visit_filter filter;
    struct cn_page page;
    struct visit_row *rows = NULL;
    size_t count = 0;
    const char *text = NULL;
    enum cn_code rc = s_visit_filter_read(request, body, &filter, &text, err);
    bool nothing = rc == CN_NOT_FOUND;
    if (rc == CN_OK || nothing) {
        cn_err_clear(err);
        rc = cn_page_open(request, text, body->has_limit, body->limit,
                          body->cursor, &page, err);
    }
    if (rc == CN_OK && !nothing) {
        rc = visits_page(request, &filter, &page, &rows, &count, err);
    }
    return rc == CN_OK
               ? s_visits_answer(request, reply, &page, rows, count, err)
               : rc;
}

/* The visit that a coordinator asks for, complete. */
static enum cn_code s_visit_fill(const struct cn_request *request,
                                 const Sch__Visit *wanted,
                                 const struct need_row *need,
                                 const char *clinician_zone,
                                 struct visit_row *row,
                                 struct cn_err *err)
{
    Sch__Visit *visit = cn_message_copy(request->arena, &wanted->base);
    if (visit == NULL) {
        return cn_fail(err, CN_NOMEM, "book a visit");
    }
    row->id = cn_uuid_new(request->env);
    row->referral_id = need->referral_id;
    row->patient_id = need->patient_id;
    row->sort_at = visit->starts_at;
    (void)!cn_id_parse("brn", need->need->branch_id, &row->branch_id);
    visit->id = cn_id_text(request->arena, "vis", row->id);
    CN_SET(visit, version, 1);
    CN_SET(visit, created_at, request->now_at);
    CN_SET(visit, updated_at, request->now_at);
    CN_SET(visit, status, SCH__VISIT__STATUS__BOOKED);
    visit->patient_id = need->need->patient_id;
    visit->branch_id = need->need->branch_id;
    visit->time_zone =
        need->need->time_zone != NULL ? need->need->time_zone : clinician_zone;
    if (!visit->has_mode) {
        CN_SET(visit, mode, SCH__VISIT__MODE__IN_PERSON);
    }
    if (visit->kind == SCH__VISIT__KIND__SOC && need->need->has_soc_due_at) {
        CN_SET(visit, due_at, need->need->soc_due_at);
    }
    row->visit = visit;
    return CN_OK;
}

/* The clinician and the referral that a new visit names. */
static enum cn_code s_visit_parties(const struct cn_request *request,
                                    const Sch__Visit *wanted,
                                    struct clinician_row *ret_clinician,
                                    struct need_row *ret_need,
                                    struct cn_err *err)
{
    struct cn_store store = cn_store_of_request(request);
    struct cn_uuid referral_id = { { 0 } };
    struct cn_uuid clinician_id = { { 0 } };
    struct need_row need = { .found = false };
    if (cn_id_parse("ref", wanted->referral_id, &referral_id)) {
        enum cn_code rc = need_get(&store, referral_id, &need, err);
        if (rc != CN_OK) {
            return rc;
        }
    }
    struct cn_uuid branch_id = { { 0 } };
    if (need.found) {
        (void)!cn_id_parse("brn", need.need->branch_id, &branch_id);
    }
    if (!need.found || !cn_reach_includes(request, branch_id)) {
        return cn_fail_field(err, "/referral_id", "unknown_referral",
                             "is no known referral");
    }
    enum cn_code rc = CN_NOT_FOUND;
    if (cn_id_parse("cln", wanted->clinician_id, &clinician_id)) {
        rc = clinician_store_get(&store, clinician_id, ret_clinician, err);
    }
    if (rc == CN_OK && !cn_reach_includes(request, ret_clinician->branch_id)) {
        rc = CN_NOT_FOUND;
    }
    if (rc == CN_NOT_FOUND) {
        cn_err_clear(err);
        return cn_fail_field(err, "/clinician_id", "unknown_clinician",
                             "is no known clinician");
    }
    *ret_need = need;
    return rc;
}

/* Has the clinician the discipline that was asked for, or the visit theirs? */
static enum cn_code s_visit_discipline(Sch__Visit *visit,
                                       const Sch__Clinician *clinician,
                                       struct cn_err *err)
{
    if (!visit->has_discipline) {
        CN_SET(visit, discipline, clinician->discipline);
    }
    return visit->discipline == clinician->discipline
               ? CN_OK
               : cn_fail_field(err, "/clinician_id", "wrong_discipline",
                               "is of another discipline");
}

/* A start of care that is wanted since the referral was accepted, and for which
 * nobody was free, is the visit that is booked: it keeps its id. */
static enum cn_code s_visit_take_over(const struct cn_request *request,
                                      struct visit_row *row,
                                      struct cn_err *err)
{
    struct cn_store store = cn_store_of_request(request);
    struct visit_row live;
    bool found = false;
    Sch__Visit__Status to;
    if (row->visit->kind != SCH__VISIT__KIND__SOC) {
        return CN_OK;
    }
    enum cn_code rc =
        visit_soc_live(&store, row->referral_id, &found, &live, err);
    if (rc != CN_OK || !found || !visit_move(live.visit->status, "book", &to)) {
        return rc; /* one that is booked stands against it: visit_one_soc */
    }
    row->id = live.id;
    row->version = live.version;
    row->event_seq = live.event_seq;
    row->visit->id = live.visit->id;
    CN_SET(row->visit, status, to);
    CN_SET(row->visit, version, live.version + 1);
    CN_SET(row->visit, created_at, live.visit->created_at);
    return CN_OK;
}

/* The visit's row, new or taken over, with its event and audit row. */
static enum cn_code s_visit_book(const struct cn_request *request,
                                 struct cn_write *write,
                                 const struct visit_row *row,
                                 const char *clinician_name,
                                 struct cn_err *err)
{
    struct cn_store store = cn_store_of_request(request);
    Sch__VisitEvent *event =
        CN_NEW(request->arena, sch__visit_event, Sch__VisitEvent);
    if (event == NULL) {
        return cn_fail(err, CN_NOMEM, "book a visit");
    }
    event->visit = row->visit;
    event->clinician_name = clinician_name;
    cn_write_lock(write, "visit", row->id);
    enum cn_code rc =
        row->version > 0
            ? visit_store_update(&store, write, row, err)
            : visit_store_insert(&store, write, row, &VISIT_REFUSED, err);
    if (rc != CN_OK) {
        return rc;
    }
    cn_write_event(write, "visit.booked", "visit", row->id, row->event_seq + 1,
                   &event->base);
    cn_write_audit(write, "visit.create", row->visit->id, row->patient_id);
    return cn_write_commit(write, err);
}

enum cn_code visit_create(void *self,
                          const struct cn_request *request,
                          struct cn_reply *reply,
                          struct cn_err *err)
{
    (void)self;
    const Sch__CreateVisitRequest *body = request->body;
    const Sch__Visit *wanted = body->visit;
    struct clinician_row clinician;
    struct need_row need = { .found = false };
    struct visit_row row = { .version = 0 }; /* of none: a new one */
    enum cn_code rc = visit_check(wanted, err);
    if (rc == CN_OK) {
        rc = s_visit_parties(request, wanted, &clinician, &need, err);
    }
    if (rc == CN_OK) {
        rc = s_visit_fill(request, wanted, &need, clinician.time_zone, &row,
                          err);
    }
    if (rc == CN_OK) {
        rc = s_visit_discipline(row.visit, clinician.clinician, err);
    }
    if (rc == CN_OK) {
        rc = s_visit_take_over(request, &row, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    struct cn_write *write = cn_write_begin(request, reply);
    if (write == NULL) {
        return cn_fail(err, CN_NOMEM, "book a visit");
    }
    s_visit_answer(row.visit, reply);
    reply->location =
        cn_arena_printf(request->arena, "/v1/visits/%s", row.visit->id);
    return s_visit_book(request, write, &row, clinician.clinician->name, err);
}

enum cn_code visit_complete(void *self,
                            const struct cn_request *request,
                            struct cn_reply *reply,
                            struct cn_err *err)
{
    (void)self;
    const Sch__CompleteVisitRequest *body = request->body;
    struct cn_store store = cn_store_of_request(request);
    struct visit_row row;
    enum cn_code rc = s_visit_in_reach(request, body->id, &row, err);
    if (rc != CN_OK) {
        return rc;
    }
    if (request->has_expected_version &&
        request->expected_version != row.version) {
        return cn_fail_stale(err, "visit", row.version);
    }
    if (body->has_completed_at && body->completed_at > request->now_at) {
        return cn_fail_field(err, "/completed_at", "invalid_value",
                             "must not be in the future");
    }
    Sch__Visit__Status to;
    if (!visit_move(row.visit->status, "complete", &to)) {
        return cn_fail_as(err, CN_CONFLICT, "illegal_state",
                          "a visit that is %s cannot be completed",
                          cn_enum_word(&sch__visit__status__descriptor,
                                       (int)row.visit->status));
    }
    Sch__VisitEvent *event =
        CN_NEW(request->arena, sch__visit_event, Sch__VisitEvent);
    struct cn_write *write = cn_write_begin(request, reply);
    if (event == NULL || write == NULL) {
        return cn_fail(err, CN_NOMEM, "complete a visit");
    }
    Sch__Visit *visit = row.visit;
    CN_SET(visit, status, to);
    CN_SET(visit, completed_at,
           body->has_completed_at ? body->completed_at : request->now_at);
    CN_SET(visit, updated_at, request->now_at);
    CN_SET(visit, version, row.version + 1);
    event->visit = visit;
    s_visit_answer(visit, reply);
    cn_write_lock(write, "visit", row.id);
    rc = visit_store_update(&store, write, &row, err);
    if (rc != CN_OK) {
        return rc;
    }
    cn_write_event(write, "visit.completed", "visit", row.id, row.event_seq + 1,
                   &event->base);
    cn_write_audit(write, "visit.complete", visit->id, row.patient_id);
    return cn_write_commit(write, err);
}

/* What the patient needs, from the newest of their referrals that the caller
 * may see; a patient beyond reach is told from an unknown one by nothing. */
static enum cn_code s_patient_need(const struct cn_request *request,
                                   const char *patient,
                                   struct need_row *ret_need,
                                   struct cn_err *err)
{
    struct cn_store store = cn_store_of_request(request);
    struct cn_uuid patient_id;
    struct need_row *needs = NULL;
    size_t count = 0;
    if (cn_id_parse("pat", patient, &patient_id)) {
        enum cn_code rc =
            needs_of_patient(&store, patient_id, &needs, &count, err);
        if (rc != CN_OK) {
            return rc;
        }
    }
    for (size_t i = 0; i < count; i++) {
        struct cn_uuid branch_id = { { 0 } };
        (void)!cn_id_parse("brn", needs[i].need->branch_id, &branch_id);
        if (cn_reach_includes(request, branch_id)) {
            *ret_need = needs[i];
            return CN_OK;
        }
    }
    return cn_fail_field(err, "/patient_id", "unknown_patient",
                         "is no known patient");
}

/* What is asked of availability, as a wish; ret_need is not found when no
 * patient is named. */
static enum cn_code s_availability_wish(const struct cn_request *request,
                                        const Sch__GetAvailabilityRequest *body,
                                        struct match_wish *ret_wish,
                                        struct need_row *ret_need,
                                        struct cn_err *err)
{
    const int64_t span_max = MATCH_DAYS_MAX * CN_DAY;
    struct match_wish wish = {
        .discipline = body->has_discipline ? body->discipline
                                           : SCH__CLINICIAN__DISCIPLINE__RN,
        .from_at = body->has_from ? body->from : request->now_at,
        .minutes = VISIT_SOC_MINUTES,
    };
    wish.until_at = body->has_to ? body->to : wish.from_at + 7 * CN_DAY;
    if (wish.from_at < 0 || wish.until_at <= wish.from_at ||
        wish.until_at - wish.from_at > span_max) {
        return cn_fail_field(err, "/to", "invalid_value",
                             "must be after from, by %d days at most",
                             MATCH_DAYS_MAX);
    }
    struct need_row row = {
        .found = false,
        .need = CN_NEW(request->arena, sch__need, Sch__Need),
    };
    if (row.need == NULL) {
        return cn_fail(err, CN_NOMEM, "find slots");
    }
    if (body->patient_id != NULL) {
        enum cn_code rc = s_patient_need(request, body->patient_id, &row, err);
        if (rc != CN_OK) {
            return rc;
        }
    }
    if (body->postal_code != NULL) {
        row.need->postal_code = body->postal_code;
    }
    wish.need = row.need;
    *ret_wish = wish;
    *ret_need = row;
    return CN_OK;
}

/* Why this slot is offered, in words. */
static enum cn_code s_slot_fill(const struct cn_request *request,
                                const struct match_wish *wish,
                                const Sch__Clinician *clinician,
                                struct span span,
                                Sch__Slot **ret_slot,
                                struct cn_err *err)
{
    Sch__Slot *slot = CN_NEW(request->arena, sch__slot, Sch__Slot);
    const char **reasons = cn_arena_array(request->arena, 4, sizeof(*reasons));
    if (slot == NULL || reasons == NULL) {
        return cn_fail(err, CN_NOMEM, "find slots");
    }
    slot->clinician_id = clinician->id;
    CN_SET(slot, starts_at, span.from_at);
    CN_SET(slot, ends_at, span.to_at);
    reasons[slot->n_reasons++] =
        cn_arena_printf(request->arena, "discipline %s",
                        cn_enum_word(&sch__clinician__discipline__descriptor,
                                     (int)clinician->discipline));
    if (wish->need->postal_code != NULL) {
        reasons[slot->n_reasons++] = cn_arena_printf(
            request->arena, "postal code %s", wish->need->postal_code);
    }
    if (wish->need->language != NULL) {
        reasons[slot->n_reasons++] = cn_arena_printf(
            request->arena, "language %s", wish->need->language);
    }
    if (wish->need->has_soc_due_at && span.from_at <= wish->need->soc_due_at) {
        reasons[slot->n_reasons++] = "before the start of care is due";
    }
    slot->reasons = reasons;
    *ret_slot = slot;
    return CN_OK;
}

enum cn_code availability_get(void *self,
                              const struct cn_request *request,
                              struct cn_reply *reply,
                              struct cn_err *err)
{
    (void)self;
    const Sch__GetAvailabilityRequest *body = request->body;
    struct cn_store store = cn_store_of_request(request);
    const struct clinician_scope scope = {
        .branches = cn_reach_branches(request),
    };
    struct match_wish wish;
    struct need_row need;
    struct booking_search search;
    enum cn_code rc = s_availability_wish(request, body, &wish, &need, err);
    if (rc == CN_OK) {
        rc = booking_search(&store, &wish, &scope, &search, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    Sch__Availability *answer =
        CN_NEW(request->arena, sch__availability, Sch__Availability);
    if (answer == NULL) {
        return cn_fail(err, CN_NOMEM, "find slots");
    }
    reply->body = &answer->base;
    answer->slots =
        cn_arena_array(request->arena, search.count + 1, sizeof(Sch__Slot *));
    answer->left_out = booking_left_out(&store, &search, &answer->n_left_out);
    if (answer->slots == NULL || answer->left_out == NULL) {
        return cn_fail(err, CN_NOMEM, "find slots");
    }
    for (size_t i = 0; rc == CN_OK && i < search.count; i++) {
        if (search.results[i].found) {
            rc = s_slot_fill(request, &wish, search.clinicians[i].clinician,
                             search.results[i].slot,
                             &answer->slots[answer->n_slots++], err);
        }
    }
    /* The answer tells what a patient needs. */
    return rc == CN_OK && need.found
               ? cn_audit_read(request, "availability.read",
                               need.need->referral_id, &need.patient_id, 1, err)
               : rc;
}
