/* SPDX-License-Identifier: Apache-2.0 */
/* Clinicians, visits and the copies of other services' facts against a real
 * PostgreSQL. Plans are in the contract test. */
#include "cairn/access.cairn.h"
#include "cairn/referrals.cairn.h"
#include "cairn/scheduling.cairn.h"
#include "cairn/scheduling.handlers.h"
#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/wire/message.h"
#include "services/scheduling/events.h"
#include "services/scheduling/store.h"
#include "tests/lib/call.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the four above it. */
#include <cmocka.h>

enum { CONNECTIONS = 4, CLIENTS = 32, DAYS_OF_WEEK = 7 };

static struct test_pg *s_pg;
static struct cn_service s_service;
static const struct test_caller SUPERVISOR = { .role = "supervisor" };

/* ---- what the tests ask for ---- */

static const char *
s_id(struct test_world *world, const char *prefix, struct cn_uuid id)
{
    return cn_id_text(world->arena, prefix, id);
}

/* A nurse who works all week around the clock in 42010. */
struct nurse {
    const char *name;
    const char *branch_id;
    const char *language;
    const char *postal_code;
    const char *licence_until;
    Sch__Clinician__Discipline discipline;
};

/* A branch, as access tells it. */
static void s_branch_told(struct test_world *world, const char *branch_id)
{
    Acc__BranchEvent payload = ACC__BRANCH_EVENT__INIT;
    Acc__Branch branch = ACC__BRANCH__INIT;
    struct cn_err err = { 0 };
    struct test_event event = {
        .producer = "access",
        .type = "branch.created",
        .aggregate_type = "branch",
        .aggregate_seq = 1,
        .payload = &payload.base,
    };
    branch.time_zone = "America/Chicago";
    payload.branch = &branch;
    assert_true(cn_id_parse("brn", branch_id, &event.aggregate_id));
    assert_int_equal(test_apply(world, &s_service, &event, &err), CN_OK);
}

/* How much of the others' logs has come is not known. */
static void s_nothing_is_told(void)
{
    free(test_pg_sql(s_pg, "DELETE FROM scheduling.inbox_position"));
}

/* All that the other services have committed by now has come. */
static void s_all_is_told(void)
{
    free(test_pg_sql(
        s_pg, "INSERT INTO scheduling.inbox_position (producer, partition,"
              " epoch, xid, seq, complete_until)"
              " SELECT p, n, 1, '1'::xid8, 1, now() + interval '1 hour'"
              " FROM unnest(ARRAY['access', 'referrals']) AS p,"
              " generate_series(0, 15) AS n"
              " ON CONFLICT (producer, partition) DO UPDATE"
              " SET complete_until = excluded.complete_until"));
}

static struct test_answer s_nurse_make(struct test_world *world,
                                       const struct test_caller *caller,
                                       const struct nurse *nurse)
{
    Sch__CreateClinicianRequest request = SCH__CREATE_CLINICIAN_REQUEST__INIT;
    Sch__Clinician clinician = SCH__CLINICIAN__INIT;
    Sch__Clinician__Coverage coverage = SCH__CLINICIAN__COVERAGE__INIT;
    Sch__Clinician__Licence licence = SCH__CLINICIAN__LICENCE__INIT;
    Sch__Clinician__Hours hours[DAYS_OF_WEEK];
    Sch__Clinician__Hours *week[DAYS_OF_WEEK];
    const char *language = nurse->language != NULL ? nurse->language : "en";
    const char *code =
        nurse->postal_code != NULL ? nurse->postal_code : "42010";
    for (int i = 0; i < DAYS_OF_WEEK; i++) {
        sch__clinician__hours__init(&hours[i]);
        CN_SET(&hours[i], weekday, (Sch__Clinician__Weekday)(i + 1));
        hours[i].from = "00:00";
        hours[i].to = "23:45";
        week[i] = &hours[i];
    }
    coverage.postal_codes = &code;
    coverage.n_postal_codes = 1;
    clinician.name = nurse->name != NULL ? nurse->name : "Example Nurse";
    CN_SET(&clinician, discipline,
           nurse->discipline != 0 ? nurse->discipline
                                  : SCH__CLINICIAN__DISCIPLINE__RN);
    clinician.languages = &language;
    clinician.n_languages = 1;
    clinician.coverage = &coverage;
    clinician.hours = week;
    clinician.n_hours = DAYS_OF_WEEK;
    clinician.time_zone = "America/Chicago";
    clinician.branch_id = nurse->branch_id;
    clinician.licence = nurse->licence_until != NULL ? &licence : NULL;
    licence.expires_on = nurse->licence_until;
    request.clinician = &clinician;
    return test_call(world, &s_service, caller, "CreateClinician",
                     &request.base);
}

static const Sch__Clinician *s_nurse(struct test_world *world)
{
    const struct nurse nurse = { .name = NULL };
    struct test_answer answer = s_nurse_make(world, &SUPERVISOR, &nurse);
    assert_int_equal(answer.rc, CN_OK);
    return answer.body;
}

/* A referral's event, as referrals tells it. */
struct told {
    struct cn_uuid referral_id;
    struct cn_uuid patient_id;
    struct cn_uuid branch_id;
    const char *language;
    const char *postal_code;
    const char *window_from; /* of a wish for Mondays, or NULL */
    int64_t seq;
    int64_t patient_version;
    int64_t soc_due_at;
    Ref__Referral__Status status; /* 0: as the type of the event says */
};

static struct told s_told(struct test_world *world)
{
    return (struct told){
        .referral_id = cn_uuid_new(&world->env),
        .patient_id = cn_uuid_new(&world->env),
        .branch_id = cn_uuid_new(&world->env),
        .language = "en",
        .postal_code = "42010",
        .seq = 1,
        .patient_version = 1,
        .soc_due_at = world->env.now(&world->env) + 2 * CN_DAY,
    };
}

/* The patient of an event; its parts live as long as it. */
struct patient_parts {
    Ref__Patient patient;
    Ref__Patient__Address address;
    Ref__Patient__Preferences preferences;
    Ref__Patient__Window window;
    Ref__Patient__Window *windows[1];
};

static void s_patient_fill(struct test_world *world,
                           const struct told *told,
                           struct patient_parts *parts)
{
    ref__patient__init(&parts->patient);
    ref__patient__address__init(&parts->address);
    ref__patient__preferences__init(&parts->preferences);
    ref__patient__window__init(&parts->window);
    parts->patient.id = s_id(world, "pat", told->patient_id);
    CN_SET(&parts->patient, version, told->patient_version);
    parts->patient.language = told->language;
    parts->address.postal_code = told->postal_code;
    parts->patient.address = &parts->address;
    if (told->window_from != NULL) {
        CN_SET(&parts->window, weekday, REF__PATIENT__WEEKDAY__MONDAY);
        parts->window.from = told->window_from;
        parts->window.to = "12:00";
        parts->windows[0] = &parts->window;
        parts->preferences.windows = parts->windows;
        parts->preferences.n_windows = 1;
        parts->patient.preferences = &parts->preferences;
    }
}

static Ref__Referral__Status s_status_of(const char *type)
{
    static const struct {
        const char *type;
        Ref__Referral__Status status;
    } ROWS[] = {
        { "referral.validated", REF__REFERRAL__STATUS__VALID },
        { "referral.accepted", REF__REFERRAL__STATUS__ACCEPTED },
        { "referral.declined", REF__REFERRAL__STATUS__DECLINED },
        { "referral.withdrawn", REF__REFERRAL__STATUS__WITHDRAWN },
        { "referral.not_admitted", REF__REFERRAL__STATUS__NOT_ADMITTED },
    };
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        if (strcmp(ROWS[i].type, type) == 0) {
            return ROWS[i].status;
        }
    }
    return REF__REFERRAL__STATUS__CAPTURED;
}

static enum cn_code s_tell(struct test_world *world,
                           const char *type,
                           const struct told *told,
                           struct cn_err *err)
{
    Ref__ReferralEvent payload = REF__REFERRAL_EVENT__INIT;
    Ref__Referral referral = REF__REFERRAL__INIT;
    Ref__Referral__Discipline disciplines[] = { REF__REFERRAL__DISCIPLINE__RN };
    struct patient_parts parts;
    s_patient_fill(world, told, &parts);
    referral.id = s_id(world, "ref", told->referral_id);
    referral.branch_id = s_id(world, "brn", told->branch_id);
    referral.time_zone = "America/Chicago";
    referral.disciplines = disciplines;
    referral.n_disciplines = 1;
    CN_SET(&referral, soc_due_at, told->soc_due_at);
    CN_SET(&referral, status,
           told->status != 0 ? told->status : s_status_of(type));
    payload.referral = &referral;
    payload.patient = &parts.patient;
    const struct test_event event = {
        .producer = "referrals",
        .type = type,
        .aggregate_type = "referral",
        .aggregate_id = told->referral_id,
        .aggregate_seq = told->seq,
        .payload = &payload.base,
    };
    return test_apply(world, &s_service, &event, err);
}

static void
s_told_ok(struct test_world *world, const char *type, const struct told *told)
{
    struct cn_err err = { 0 };
    enum cn_code rc = s_tell(world, type, told, &err);
    if (rc != CN_OK) {
        fail_msg("%s: %s", type, err.msg);
    }
}

static const Sch__Need *s_need(struct test_world *world, struct cn_uuid id)
{
    struct cn_err err = { 0 };
    struct cn_op op = { .env = &world->env,
                        .arena = world->arena,
                        .tenant_id = world->tenant,
                        .err = &err };
    struct need_row row = need_get(&op, id);
    assert_false(cn_failed(&op));
    assert_true(row.found);
    return row.need;
}

static enum cn_code
s_agency_told(struct test_world *world, Acc__Agency *agency, int64_t seq)
{
    Acc__AgencyEvent payload = ACC__AGENCY_EVENT__INIT;
    struct cn_err err = { 0 };
    payload.agency = agency;
    const struct test_event event = {
        .producer = "access",
        .type = "agency.updated",
        .aggregate_type = "agency",
        .aggregate_id = world->tenant,
        .aggregate_seq = seq,
        .payload = &payload.base,
    };
    return test_apply(world, &s_service, &event, &err);
}

/* The visits of a referral. */
static const Sch__ListVisitsResponse *s_visits_of(struct test_world *world,
                                                  struct cn_uuid referral_id)
{
    Sch__ListVisitsRequest request = SCH__LIST_VISITS_REQUEST__INIT;
    request.referral_id = s_id(world, "ref", referral_id);
    struct test_answer answer =
        test_call(world, &s_service, &SUPERVISOR, "ListVisits", &request.base);
    assert_int_equal(answer.rc, CN_OK);
    return answer.body;
}

static struct test_answer s_book(struct test_world *world,
                                 const struct test_caller *caller,
                                 Sch__Visit__Kind kind,
                                 struct cn_uuid referral_id,
                                 const char *clinician_id,
                                 int64_t starts_at)
{
    Sch__CreateVisitRequest request = SCH__CREATE_VISIT_REQUEST__INIT;
    Sch__Visit visit = SCH__VISIT__INIT;
    visit.referral_id = s_id(world, "ref", referral_id);
    CN_SET(&visit, kind, kind);
    visit.clinician_id = clinician_id;
    CN_SET(&visit, starts_at, starts_at);
    CN_SET(&visit, ends_at, starts_at + CN_HOUR);
    request.visit = &visit;
    return test_call(world, &s_service, caller, "CreateVisit", &request.base);
}

/* A routine visit next week, of that patient. */
static struct test_answer s_book_for(struct test_world *world,
                                     const struct told *told,
                                     const char *clinician_id,
                                     const char *patient_id)
{
    Sch__CreateVisitRequest request = SCH__CREATE_VISIT_REQUEST__INIT;
    Sch__Visit visit = SCH__VISIT__INIT;
    visit.referral_id = s_id(world, "ref", told->referral_id);
    visit.patient_id = patient_id;
    visit.clinician_id = clinician_id;
    CN_SET(&visit, kind, SCH__VISIT__KIND__ROUTINE);
    CN_SET(&visit, starts_at, world->env.now(&world->env) + 7 * CN_DAY);
    CN_SET(&visit, ends_at, visit.starts_at + CN_HOUR);
    request.visit = &visit;
    return test_call(world, &s_service, &SUPERVISOR, "CreateVisit",
                     &request.base);
}

static struct test_answer s_routine(struct test_world *world,
                                    const struct told *told,
                                    const Sch__Clinician *clinician,
                                    int64_t starts_at)
{
    return s_book(world, &SUPERVISOR, SCH__VISIT__KIND__ROUTINE,
                  told->referral_id, clinician->id, starts_at);
}

static int64_t s_soon(struct test_world *world)
{
    return world->env.now(&world->env) + 3 * CN_HOUR;
}

static int64_t s_next_week(struct test_world *world)
{
    int64_t at = world->env.now(&world->env) + 7 * CN_DAY;
    return at - at % CN_HOUR;
}

/* ---- clinicians ---- */

static struct test_answer s_nurse_rename(struct test_world *world,
                                         const struct test_caller *caller,
                                         const char *id,
                                         const char *name)
{
    Sch__UpdateClinicianRequest request = SCH__UPDATE_CLINICIAN_REQUEST__INIT;
    Sch__Clinician patch = SCH__CLINICIAN__INIT;
    const char *mask[] = { "name" };
    patch.name = name;
    request.id = id;
    request.clinician = &patch;
    request.update_mask = mask;
    request.n_update_mask = 1;
    return test_call(world, &s_service, caller, "UpdateClinician",
                     &request.base);
}

static void s_clinicians_are_of_a_branch(struct test_world *world)
{
    const struct cn_uuid own = cn_uuid_new(&world->env);
    const struct cn_uuid other = cn_uuid_new(&world->env);
    const struct test_caller scheduler = { .role = "scheduler",
                                           .branches = &own,
                                           .branch_count = 1 };
    struct nurse nurse = { .name = "Own" };
    struct test_answer made = s_nurse_make(world, &scheduler, &nurse);
    assert_int_equal(made.rc, CN_OK);
    assert_string_equal(((const Sch__Clinician *)made.body)->branch_id,
                        s_id(world, "brn", own));
    /* A caller cannot make a record that they could not see. */
    nurse.branch_id = s_id(world, "brn", other);
    struct test_answer refused = s_nurse_make(world, &scheduler, &nurse);
    assert_int_equal(refused.rc, CN_INVALID);
    assert_string_equal(refused.err.fields[0].pointer, "/branch_id");
    nurse.name = "Other";
    s_branch_told(world, nurse.branch_id);
    const Sch__Clinician *beyond =
        s_nurse_make(world, &SUPERVISOR, &nurse).body;
    assert_int_equal(s_nurse_rename(world, &scheduler, beyond->id, "X").rc,
                     CN_NOT_FOUND);
    Sch__ListCliniciansRequest request = SCH__LIST_CLINICIANS_REQUEST__INIT;
    struct test_answer listed = test_call(world, &s_service, &scheduler,
                                          "ListClinicians", &request.base);
    const Sch__ListCliniciansResponse *page = listed.body;
    assert_int_equal(page->n_data, 1);
    assert_string_equal(page->data[0]->name, "Own");
}

/* ---- the start of care ---- */

static void s_soc_is_booked(struct test_world *world)
{
    const Sch__Clinician *nurse = s_nurse(world);
    struct told told = s_told(world);
    s_told_ok(world, "referral.received", &told);
    told.seq = 2;
    s_told_ok(world, "referral.accepted", &told);
    const Sch__ListVisitsResponse *visits =
        s_visits_of(world, told.referral_id);
    assert_int_equal(visits->n_data, 1);
    const Sch__Visit *visit = visits->data[0];
    assert_int_equal(visit->status, SCH__VISIT__STATUS__BOOKED);
    assert_int_equal(visit->kind, SCH__VISIT__KIND__SOC);
    assert_string_equal(visit->clinician_id, nurse->id);
    assert_true(visit->starts_at <= told.soc_due_at);
    assert_int_equal(visit->due_at, told.soc_due_at);
    assert_string_equal(visit->time_zone, "America/Chicago");
    assert_int_equal(test_rows(world, "outbox", "type = 'visit.booked'"), 1);
    assert_int_equal(test_rows(world, "audit", "action = 'visit.book'"), 1);
    assert_int_equal(test_rows(world, "audit", "action = 'visit.list'"), 1);
    /* Accepted again after a reopening: the visit stays, and its event is sent
     * again for the services that waited for the acceptance. */
    told.seq = 5;
    s_told_ok(world, "referral.accepted", &told);
    assert_int_equal(test_rows(world, "visit", NULL), 1);
    assert_int_equal(test_rows(world, "outbox", "type LIKE 'visit.%'"), 2);
    assert_int_equal(test_rows(world, "audit", "action = 'visit.book'"), 1);
}

static void s_declined_visits_are_free(struct test_world *world)
{
    (void)s_nurse(world);
    struct told told = s_told(world);
    told.seq = 1;
    s_told_ok(world, "referral.accepted", &told);
    const Sch__Visit *visit = s_visits_of(world, told.referral_id)->data[0];
    assert_int_equal(visit->status, SCH__VISIT__STATUS__BOOKED);
    told.seq = 2;
    s_told_ok(world, "referral.declined", &told);
    s_told_ok(world, "referral.declined", &told);
    const Sch__ListVisitsResponse *visits =
        s_visits_of(world, told.referral_id);
    assert_int_equal(visits->n_data, 1);
    assert_int_equal(visits->data[0]->status, SCH__VISIT__STATUS__CANCELLED);
    assert_int_equal(test_rows(world, "outbox", "type = 'visit.cancelled'"), 1);
    /* Accepted after a reopening: the freed time is booked anew. */
    told.seq = 3;
    s_told_ok(world, "referral.accepted", &told);
    assert_int_equal(test_rows(world, "visit", "status = 'booked'"), 1);
}

/* A start of care waits for the acceptance, or for word of the referral. */
static void s_soc_needs_an_acceptance(struct test_world *world)
{
    const Sch__Clinician *nurse = s_nurse(world);
    struct told told = s_told(world);
    const int64_t at = s_next_week(world);
    const Sch__Visit__Kind soc = SCH__VISIT__KIND__SOC;
    s_nothing_is_told();
    struct test_answer refused =
        s_book(world, &SUPERVISOR, soc, told.referral_id, nurse->id, at);
    assert_int_equal(refused.rc, CN_UNAVAILABLE);
    s_told_ok(world, "referral.received", &told);
    s_all_is_told();
    refused = s_book(world, &SUPERVISOR, soc, told.referral_id, nurse->id, at);
    assert_int_equal(refused.rc, CN_CONFLICT);
    assert_string_equal(refused.err.word, "guard_failed");
    assert_string_equal(refused.err.fields[0].word, "referral_accepted");
    refused = s_book(world, &SUPERVISOR, soc, cn_uuid_new(&world->env),
                     nurse->id, at);
    assert_int_equal(refused.rc, CN_INVALID);
    assert_string_equal(refused.err.fields[0].pointer, "/referral_id");
    told.seq = 2;
    s_told_ok(world, "referral.declined", &told);
    refused = s_book(world, &SUPERVISOR, SCH__VISIT__KIND__ROUTINE,
                     told.referral_id, nurse->id, at);
    assert_int_equal(refused.rc, CN_CONFLICT);
    assert_string_equal(refused.err.fields[0].word, "referral_open");
    assert_int_equal(test_rows(world, "visit", NULL), 0);
}

static struct test_answer s_complete(struct test_world *world,
                                     const struct test_caller *caller,
                                     const char *id,
                                     int64_t completed_at)
{
    Sch__CompleteVisitRequest request = SCH__COMPLETE_VISIT_REQUEST__INIT;
    request.id = id;
    if (completed_at != 0) {
        CN_SET(&request, completed_at, completed_at);
    }
    return test_call(world, &s_service, caller, "CompleteVisit", &request.base);
}

/* What has begun is a fact, and its end is told whatever became of the
 * referral; what has not begun is not made any more. */
static void s_soc_of_an_ended_referral(struct test_world *world)
{
    static const char *const ENDS[] = { "referral.declined",
                                        "referral.withdrawn",
                                        "referral.not_admitted" };
    (void)s_nurse(world);
    for (size_t i = 0; i < CN_COUNT(ENDS); i++) {
        struct told told = s_told(world);
        s_told_ok(world, "referral.accepted", &told);
        told.seq = 2;
        s_told_ok(world, ENDS[i], &told);
        const Sch__Visit *visit = s_visits_of(world, told.referral_id)->data[0];
        assert_int_equal(visit->status, SCH__VISIT__STATUS__CANCELLED);
        assert_string_equal(strchr(ENDS[i], '.') + 1,
                            visit->reason_code + strlen("referral_"));
        assert_int_equal(s_complete(world, &SUPERVISOR, visit->id, 0).rc,
                         CN_CONFLICT);
    }
    struct told told = s_told(world);
    s_told_ok(world, "referral.accepted", &told);
    const Sch__Visit *visit = s_visits_of(world, told.referral_id)->data[0];
    Sch__StartVisitRequest start = SCH__START_VISIT_REQUEST__INIT;
    start.id = visit->id;
    assert_int_equal(
        test_call(world, &s_service, &SUPERVISOR, "StartVisit", &start.base).rc,
        CN_OK);
    told.seq = 2;
    s_told_ok(world, "referral.declined", &told);
    assert_int_equal(s_complete(world, &SUPERVISOR, visit->id, 0).rc, CN_OK);
    assert_int_equal(test_rows(world, "outbox", "type = 'visit.completed'"), 1);
    /* Whoever takes the patient after all is told of it again. */
    told.seq = 3;
    s_told_ok(world, "referral.accepted", &told);
    assert_int_equal(test_rows(world, "outbox", "type = 'visit.completed'"), 2);
}

static void s_nobody_can_come(struct test_world *world)
{
    const struct nurse nurses[] = {
        { .name = "A", .language = "fr" },
        { .name = "B", .postal_code = "10001" },
        { .name = "C", .discipline = SCH__CLINICIAN__DISCIPLINE__PT },
    };
    struct told told = s_told(world);
    for (size_t i = 0; i < CN_COUNT(nurses); i++) {
        assert_int_equal(s_nurse_make(world, &SUPERVISOR, &nurses[i]).rc,
                         CN_OK);
    }
    s_told_ok(world, "referral.accepted", &told);
    const Sch__Visit *visit = s_visits_of(world, told.referral_id)->data[0];
    assert_int_equal(visit->status, SCH__VISIT__STATUS__REQUIRED);
    assert_string_equal(visit->reason_code, "no_capacity");
    assert_int_equal(visit->n_left_out, 2);
    assert_string_equal(visit->left_out[0]->reason, "language");
    assert_string_equal(visit->left_out[1]->reason, "postal_code");
    assert_int_equal(test_rows(world, "outbox", "type = 'visit.needs_staff'"),
                     1);
    /* A clinician is found: the wanted visit is booked once. */
    const Sch__Clinician *nurse = s_nurse(world);
    int64_t at = s_next_week(world);
    struct test_answer booked =
        s_book(world, &SUPERVISOR, SCH__VISIT__KIND__SOC, told.referral_id,
               nurse->id, at);
    assert_int_equal(booked.rc, CN_OK);
    const Sch__Visit *now = booked.body;
    assert_string_equal(now->id, visit->id);
    assert_int_equal(now->status, SCH__VISIT__STATUS__BOOKED);
    assert_int_equal(now->version, 2);
    assert_int_equal(now->n_left_out, 0);
    assert_null(now->reason_code);
    assert_int_equal(test_rows(world, "outbox",
                               "type = 'visit.booked' AND aggregate_seq = 2"),
                     1);
    struct test_answer again = s_book(world, &SUPERVISOR, SCH__VISIT__KIND__SOC,
                                      told.referral_id, nurse->id, at + CN_DAY);
    assert_int_equal(again.rc, CN_CONFLICT);
    assert_string_equal(again.err.word, "visit_one_soc");
    assert_int_equal(test_rows(world, "visit", NULL), 1);
}

static void s_nobody_has_the_discipline(struct test_world *world)
{
    const struct nurse therapist = { .discipline =
                                         SCH__CLINICIAN__DISCIPLINE__PT };
    struct told told = s_told(world);
    assert_int_equal(s_nurse_make(world, &SUPERVISOR, &therapist).rc, CN_OK);
    s_told_ok(world, "referral.accepted", &told);
    const Sch__Visit *visit = s_visits_of(world, told.referral_id)->data[0];
    assert_int_equal(visit->n_left_out, 1);
    assert_string_equal(visit->left_out[0]->reason, "discipline");
}

static void s_branch_books_its_own(struct test_world *world)
{
    struct told told = s_told(world);
    const struct nurse beyond = {
        .branch_id = s_id(world, "brn", cn_uuid_new(&world->env)),
    };
    const struct nurse own = {
        .branch_id = s_id(world, "brn", told.branch_id),
    };
    s_branch_told(world, beyond.branch_id);
    s_branch_told(world, own.branch_id);
    assert_int_equal(s_nurse_make(world, &SUPERVISOR, &beyond).rc, CN_OK);
    const Sch__Clinician *nurse = s_nurse_make(world, &SUPERVISOR, &own).body;
    s_told_ok(world, "referral.accepted", &told);
    const Sch__Visit *visit = s_visits_of(world, told.referral_id)->data[0];
    assert_string_equal(visit->clinician_id, nurse->id);
    assert_int_equal(visit->n_left_out, 0);
}

static void s_agency_books_by_hand(struct test_world *world)
{
    Acc__Agency agency = ACC__AGENCY__INIT;
    struct told told = s_told(world);
    agency.time_zone = "America/Chicago";
    CN_SET(&agency, auto_book_soc, 0);
    assert_int_equal(s_agency_told(world, &agency, 2), CN_OK);
    /* An older setting that comes late changes nothing. */
    CN_SET(&agency, auto_book_soc, 1);
    assert_int_equal(s_agency_told(world, &agency, 1), CN_OK);
    const Sch__Clinician *nurse = s_nurse(world);
    s_told_ok(world, "referral.accepted", &told);
    assert_int_equal(test_rows(world, "visit", NULL), 0);
    struct test_answer booked =
        s_book(world, &SUPERVISOR, SCH__VISIT__KIND__SOC, told.referral_id,
               nurse->id, s_next_week(world));
    assert_int_equal(booked.rc, CN_OK);
    assert_int_equal(((const Sch__Visit *)booked.body)->due_at,
                     told.soc_due_at);
}

/* ---- races ---- */

/* One fiber of a race, and what it got. */
struct racer {
    struct test_world *world;
    const Sch__Clinician *clinician;
    struct told told;
    Sch__Visit__Kind kind;
    int64_t starts_at;
    enum cn_code rc;
    struct cn_err err;
};

static void s_racer_books(void *arg)
{
    struct racer *self = arg;
    struct test_answer answer =
        s_book(self->world, &SUPERVISOR, self->kind, self->told.referral_id,
               self->clinician->id, self->starts_at);
    self->rc = answer.rc;
    self->err = answer.err;
    test_world_ended(self->world);
}

static void s_racer_accepts(void *arg)
{
    struct racer *self = arg;
    self->rc =
        s_tell(self->world, "referral.accepted", &self->told, &self->err);
    test_world_ended(self->world);
}

static long s_deadlocks(void)
{
    return test_pg_number(s_pg, "SELECT deadlocks FROM pg_stat_database"
                                " WHERE datname = current_database()");
}

/* How many succeeded; all others got the conflict of that name. */
static size_t s_race(struct racer *racers,
                     size_t count,
                     void (*run)(void *),
                     const char *word)
{
    size_t won = 0;
    for (size_t i = 0; i < count; i++) {
        test_world_spawn(racers[i].world, run, &racers[i], 30 * CN_SECOND);
    }
    test_world_join(racers[0].world);
    for (size_t i = 0; i < count; i++) {
        if (racers[i].rc == CN_OK) {
            won++;
            continue;
        }
        assert_int_equal(racers[i].rc, CN_CONFLICT);
        assert_string_equal(racers[i].err.word, word);
    }
    return won;
}

static void s_one_slot_has_one_winner(struct test_world *world)
{
    struct racer racers[CLIENTS];
    const Sch__Clinician *nurse = s_nurse(world);
    struct told told = s_told(world);
    int64_t starts_at = s_next_week(world);
    long deadlocks = s_deadlocks();
    s_told_ok(world, "referral.received", &told);
    for (size_t i = 0; i < CLIENTS; i++) {
        /* No two at the same minute, but all overlap. */
        racers[i] = (struct racer){
            .world = world,
            .clinician = nurse,
            .told = told,
            .kind = SCH__VISIT__KIND__ROUTINE,
            .starts_at = starts_at + (int64_t)i * CN_MINUTE,
        };
    }
    assert_int_equal(s_race(racers, CLIENTS, s_racer_books, "visit_overlap"),
                     1);
    assert_int_equal(test_rows(world, "visit", NULL), 1);
    assert_int_equal(test_rows(world, "outbox", "type = 'visit.booked'"), 1);
    assert_int_equal(s_deadlocks(), deadlocks);
}

static void s_one_referral_has_one_soc(struct test_world *world)
{
    enum { NURSES = 8 };
    struct racer racers[NURSES];
    struct told told = s_told(world);
    Acc__Agency agency = ACC__AGENCY__INIT;
    agency.time_zone = "America/Chicago";
    CN_SET(&agency, auto_book_soc, 0);
    assert_int_equal(s_agency_told(world, &agency, 1), CN_OK);
    s_told_ok(world, "referral.accepted", &told);
    for (size_t i = 0; i < NURSES; i++) {
        racers[i] = (struct racer){
            .world = world,
            .clinician = s_nurse(world),
            .told = told,
            .kind = SCH__VISIT__KIND__SOC,
            .starts_at = s_next_week(world),
        };
    }
    assert_int_equal(s_race(racers, NURSES, s_racer_books, "visit_one_soc"), 1);
    racers[0].starts_at += CN_DAY;
    assert_int_equal(s_race(racers, 1, s_racer_books, "visit_one_soc"), 0);
    assert_int_equal(test_rows(world, "visit", NULL), 1);
}

/* Acceptances at the same time see the same free hour; each gets a visit of
 * its own. */
static void s_acceptances_share_a_nurse(struct test_world *world)
{
    enum { REFERRALS = 8 };
    struct racer racers[REFERRALS];
    (void)s_nurse(world);
    for (size_t i = 0; i < REFERRALS; i++) {
        racers[i] = (struct racer){ .world = world, .told = s_told(world) };
    }
    assert_int_equal(s_race(racers, REFERRALS, s_racer_accepts, ""), REFERRALS);
    assert_int_equal(test_rows(world, "visit", "status = 'booked'"), REFERRALS);
}

/* ---- visits ---- */

static void s_visit_is_completed_once(struct test_world *world)
{
    struct told told = s_told(world);
    s_told_ok(world, "referral.received", &told);
    const Sch__Clinician *nurse = s_nurse(world);
    struct test_answer booked =
        s_routine(world, &told, nurse, s_next_week(world));
    assert_int_equal(booked.rc, CN_OK);
    const Sch__Visit *visit = booked.body;
    struct test_answer early = s_complete(world, &SUPERVISOR, visit->id, 0);
    assert_int_equal(early.rc, CN_CONFLICT);
    assert_string_equal(early.err.fields[0].word, "visit_time");
    booked = s_routine(world, &told, nurse, s_soon(world));
    assert_int_equal(booked.rc, CN_OK);
    visit = booked.body;
    struct test_caller caller = SUPERVISOR;
    caller.has_version = true;
    caller.version = 7;
    assert_int_equal(s_complete(world, &caller, visit->id, 0).rc, CN_STALE);
    int64_t later = world->env.now(&world->env) + CN_DAY;
    struct test_answer future =
        s_complete(world, &SUPERVISOR, visit->id, later);
    assert_int_equal(future.rc, CN_INVALID);
    assert_string_equal(future.err.fields[0].pointer, "/completed_at");
    caller = SUPERVISOR;
    caller.key = "key-complete";
    struct test_answer done = s_complete(world, &caller, visit->id, 0);
    assert_int_equal(done.rc, CN_OK);
    assert_int_equal(((const Sch__Visit *)done.body)->status,
                     SCH__VISIT__STATUS__COMPLETED);
    assert_int_equal(test_rows(world, "outbox",
                               "type = 'visit.completed'"
                               " AND aggregate_seq = 2"),
                     1);
    struct test_answer again = s_complete(world, &caller, visit->id, 0);
    assert_int_equal(again.rc, CN_OK);
    assert_true(again.reply.replayed);
    struct test_answer other = s_complete(world, &SUPERVISOR, visit->id, 0);
    assert_int_equal(other.rc, CN_CONFLICT);
    assert_string_equal(other.err.word, "illegal_state");
}

static void s_visit_is_confirmed_and_started(struct test_world *world)
{
    struct told told = s_told(world);
    s_told_ok(world, "referral.received", &told);
    const Sch__Visit *visit =
        s_routine(world, &told, s_nurse(world), s_soon(world)).body;
    Sch__ConfirmVisitRequest confirm = SCH__CONFIRM_VISIT_REQUEST__INIT;
    Sch__StartVisitRequest start = SCH__START_VISIT_REQUEST__INIT;
    confirm.id = visit->id;
    start.id = visit->id;
    struct test_answer confirmed = test_call(world, &s_service, &SUPERVISOR,
                                             "ConfirmVisit", &confirm.base);
    assert_int_equal(confirmed.rc, CN_OK);
    assert_int_equal(((const Sch__Visit *)confirmed.body)->status,
                     SCH__VISIT__STATUS__CONFIRMED);
    struct test_answer again = test_call(world, &s_service, &SUPERVISOR,
                                         "ConfirmVisit", &confirm.base);
    assert_int_equal(again.rc, CN_CONFLICT);
    assert_string_equal(again.err.word, "illegal_state");
    struct test_answer started =
        test_call(world, &s_service, &SUPERVISOR, "StartVisit", &start.base);
    assert_int_equal(started.rc, CN_OK);
    assert_true(((const Sch__Visit *)started.body)->has_started_at);
    assert_int_equal(s_complete(world, &SUPERVISOR, visit->id, 0).rc, CN_OK);
    assert_int_equal(test_rows(world, "outbox",
                               "type IN ('visit.confirmed', 'visit.started')"),
                     2);
}

static void s_cancelled_visit_frees_its_time(struct test_world *world)
{
    struct told told = s_told(world);
    const Sch__Clinician *nurse = s_nurse(world);
    s_told_ok(world, "referral.received", &told);
    const Sch__Visit *visit =
        s_routine(world, &told, nurse, s_next_week(world)).body;
    Sch__CancelVisitRequest cancel = SCH__CANCEL_VISIT_REQUEST__INIT;
    cancel.id = visit->id;
    struct test_answer why =
        test_call(world, &s_service, &SUPERVISOR, "CancelVisit", &cancel.base);
    assert_int_equal(why.rc, CN_INVALID);
    assert_string_equal(why.err.fields[0].pointer, "/reason_code");
    CN_SET(&cancel, reason_code,
           SCH__CANCEL_VISIT_REQUEST__REASON_CODE__HOSPITAL);
    struct test_answer cancelled =
        test_call(world, &s_service, &SUPERVISOR, "CancelVisit", &cancel.base);
    assert_int_equal(cancelled.rc, CN_OK);
    assert_string_equal(((const Sch__Visit *)cancelled.body)->reason_code,
                        "hospital");
    assert_int_equal(s_routine(world, &told, nurse, s_next_week(world)).rc,
                     CN_OK);
    assert_int_equal(s_complete(world, &SUPERVISOR, visit->id, 0).rc,
                     CN_CONFLICT);
}

static void s_visits_are_of_a_branch(struct test_world *world)
{
    struct told told = s_told(world);
    const struct cn_uuid other = cn_uuid_new(&world->env);
    const struct test_caller theirs = { .role = "coordinator",
                                        .branches = &told.branch_id,
                                        .branch_count = 1 };
    const struct test_caller beyond = { .role = "coordinator",
                                        .branches = &other,
                                        .branch_count = 1 };
    const struct nurse nurse = { .branch_id =
                                     s_id(world, "brn", told.branch_id) };
    s_branch_told(world, nurse.branch_id);
    const Sch__Clinician *clinician =
        s_nurse_make(world, &SUPERVISOR, &nurse).body;
    const Sch__Clinician *foreign = s_nurse(world);
    s_told_ok(world, "referral.received", &told);
    int64_t at = s_next_week(world);
    struct test_answer made = s_book(world, &theirs, SCH__VISIT__KIND__ROUTINE,
                                     told.referral_id, clinician->id, at);
    assert_int_equal(made.rc, CN_OK);
    const Sch__Visit *visit = made.body;
    /* A referral and a clinician out of reach are both unknown. */
    struct test_answer refused =
        s_book(world, &beyond, SCH__VISIT__KIND__ROUTINE, told.referral_id,
               clinician->id, at + CN_DAY);
    assert_int_equal(refused.rc, CN_INVALID);
    assert_string_equal(refused.err.fields[0].pointer, "/referral_id");
    refused = s_book(world, &theirs, SCH__VISIT__KIND__ROUTINE,
                     told.referral_id, foreign->id, at + CN_DAY);
    assert_int_equal(refused.rc, CN_INVALID);
    assert_string_equal(refused.err.fields[0].pointer, "/clinician_id");
    Sch__GetVisitRequest get = SCH__GET_VISIT_REQUEST__INIT;
    get.id = visit->id;
    assert_int_equal(
        test_call(world, &s_service, &theirs, "GetVisit", &get.base).rc, CN_OK);
    assert_int_equal(test_rows(world, "audit", "action = 'visit.read'"), 1);
    assert_int_equal(
        test_call(world, &s_service, &beyond, "GetVisit", &get.base).rc,
        CN_NOT_FOUND);
    assert_int_equal(s_complete(world, &beyond, visit->id, 0).rc, CN_NOT_FOUND);
    Sch__ListVisitsRequest list = SCH__LIST_VISITS_REQUEST__INIT;
    struct test_answer listed =
        test_call(world, &s_service, &beyond, "ListVisits", &list.base);
    assert_int_equal(((const Sch__ListVisitsResponse *)listed.body)->n_data, 0);
}

static void s_tenants_are_apart(struct test_world *world)
{
    struct told told = s_told(world);
    const Sch__Clinician *nurse = s_nurse(world);
    s_told_ok(world, "referral.received", &told);
    const Sch__Visit *visit =
        s_routine(world, &told, nurse, s_next_week(world)).body;
    const struct test_caller other = { .role = "supervisor",
                                       .tenant = cn_uuid_new(&world->env) };
    Sch__GetVisitRequest get = SCH__GET_VISIT_REQUEST__INIT;
    get.id = visit->id;
    struct test_answer theirs =
        test_call(world, &s_service, &other, "GetVisit", &get.base);
    get.id = s_id(world, "vis", cn_uuid_new(&world->env));
    struct test_answer unknown =
        test_call(world, &s_service, &other, "GetVisit", &get.base);
    assert_int_equal(theirs.rc, CN_NOT_FOUND);
    assert_true(test_same_refusal(theirs.err, unknown.err));
    assert_int_equal(s_nurse_rename(world, &other, nurse->id, "Theirs").rc,
                     CN_NOT_FOUND);
    assert_int_equal(s_complete(world, &other, visit->id, 0).rc, CN_NOT_FOUND);
    s_all_is_told();
    struct test_answer refused =
        s_book(world, &other, SCH__VISIT__KIND__ROUTINE, told.referral_id,
               nurse->id, s_next_week(world) + CN_DAY);
    assert_int_equal(refused.rc, CN_INVALID);
    Sch__ListVisitsRequest list = SCH__LIST_VISITS_REQUEST__INIT;
    struct test_answer listed =
        test_call(world, &s_service, &other, "ListVisits", &list.base);
    assert_int_equal(((const Sch__ListVisitsResponse *)listed.body)->n_data, 0);
}

/* What a visit says twice must agree, and who makes it may. */
static void s_visit_says_nothing_else(struct test_world *world)
{
    static const char *const OTHERS[] = { "/etc/passwd", "" };
    struct told told = s_told(world);
    const struct nurse expired = { .licence_until = "2020-01-31" };
    const Sch__Clinician *nurse = s_nurse(world);
    const Sch__Clinician *former =
        s_nurse_make(world, &SUPERVISOR, &expired).body;
    s_told_ok(world, "referral.received", &told);
    for (size_t i = 0; i <= CN_COUNT(OTHERS); i++) {
        const char *patient_id =
            i < CN_COUNT(OTHERS) ? OTHERS[i]
                                 : s_id(world, "pat", cn_uuid_new(&world->env));
        struct test_answer refused =
            s_book_for(world, &told, nurse->id, patient_id);
        assert_int_equal(refused.rc, CN_INVALID);
        assert_string_equal(refused.err.fields[0].pointer, "/patient_id");
    }
    const char *patient_id = s_id(world, "pat", told.patient_id);
    assert_int_equal(s_book_for(world, &told, nurse->id, patient_id).rc, CN_OK);
    struct test_answer refused =
        s_book_for(world, &told, former->id, patient_id);
    assert_int_equal(refused.rc, CN_INVALID);
    assert_string_equal(refused.err.fields[0].word, "licence_expired");
}

/* A branch that access has not told of is waited for; one of which it never
 * told is none of the agency's. */
static void s_clinicians_branch_is_known(struct test_world *world)
{
    const struct nurse nurse = {
        .branch_id = s_id(world, "brn", cn_uuid_new(&world->env)),
    };
    const struct nurse odd = { .branch_id = "brn_00000000000000000000000000" };
    s_nothing_is_told();
    assert_int_equal(s_nurse_make(world, &SUPERVISOR, &nurse).rc,
                     CN_UNAVAILABLE);
    struct test_answer refused = s_nurse_make(world, &SUPERVISOR, &odd);
    assert_int_equal(refused.rc, CN_INVALID);
    assert_string_equal(refused.err.fields[0].word, "unknown_branch");
    s_all_is_told();
    refused = s_nurse_make(world, &SUPERVISOR, &nurse);
    assert_int_equal(refused.rc, CN_INVALID);
    assert_string_equal(refused.err.fields[0].pointer, "/branch_id");
    s_branch_told(world, nurse.branch_id);
    assert_int_equal(s_nurse_make(world, &SUPERVISOR, &nurse).rc, CN_OK);
}

/* ---- availability ---- */

static struct test_answer s_available(struct test_world *world,
                                      const struct test_caller *caller,
                                      const char *patient_id)
{
    Sch__GetAvailabilityRequest request = SCH__GET_AVAILABILITY_REQUEST__INIT;
    request.patient_id = patient_id;
    return test_call(world, &s_service, caller, "GetAvailability",
                     &request.base);
}

static void s_availability_stays_in_reach(struct test_world *world)
{
    struct told told = s_told(world);
    const struct cn_uuid other = cn_uuid_new(&world->env);
    const struct test_caller own = { .role = "coordinator",
                                     .branches = &told.branch_id,
                                     .branch_count = 1 };
    const struct test_caller beyond = { .role = "coordinator",
                                        .branches = &other,
                                        .branch_count = 1 };
    struct nurse nurse = { .branch_id = s_id(world, "brn", told.branch_id) };
    s_branch_told(world, nurse.branch_id);
    s_branch_told(world, s_id(world, "brn", other));
    const Sch__Clinician *free = s_nurse_make(world, &SUPERVISOR, &nurse).body;
    nurse.language = "fr";
    const Sch__Clinician *french =
        s_nurse_make(world, &SUPERVISOR, &nurse).body;
    nurse.branch_id = s_id(world, "brn", other);
    (void)s_nurse_make(world, &SUPERVISOR, &nurse);
    s_told_ok(world, "referral.received", &told);
    const char *patient = s_id(world, "pat", told.patient_id);
    struct test_answer answer = s_available(world, &own, patient);
    assert_int_equal(answer.rc, CN_OK);
    const Sch__Availability *available = answer.body;
    assert_int_equal(available->n_slots, 1);
    assert_string_equal(available->slots[0]->clinician_id, free->id);
    assert_int_equal(available->n_left_out, 1);
    assert_string_equal(available->left_out[0]->clinician_id, french->id);
    assert_string_equal(available->left_out[0]->reason, "language");
    assert_int_equal(test_rows(world, "audit", "action = 'availability.read'"),
                     1);
    /* Out-of-reach and unknown patients get the same answer. */
    struct test_answer theirs = s_available(world, &beyond, patient);
    struct test_answer unknown = s_available(
        world, &beyond, s_id(world, "pat", cn_uuid_new(&world->env)));
    assert_int_equal(theirs.rc, CN_INVALID);
    assert_true(test_same_refusal(theirs.err, unknown.err));
    /* Without a patient: their own clinician, for anybody. */
    answer = s_available(world, &beyond, NULL);
    assert_int_equal(answer.rc, CN_OK);
    available = answer.body;
    assert_int_equal(available->n_slots, 1);
    assert_int_equal(available->n_left_out, 0);
}

static void s_booked_hours_are_not_offered(struct test_world *world)
{
    struct told told = s_told(world);
    const Sch__Clinician *one = s_nurse(world);
    const Sch__Clinician *two = s_nurse(world);
    s_told_ok(world, "referral.received", &told);
    struct test_answer before = s_available(world, &SUPERVISOR, NULL);
    const Sch__Availability *available = before.body;
    assert_int_equal(available->n_slots, 2);
    int64_t at = available->slots[0]->starts_at;
    assert_int_equal(available->slots[1]->starts_at, at);
    assert_int_equal(s_routine(world, &told, two, at).rc, CN_OK);
    available = s_available(world, &SUPERVISOR, NULL).body;
    assert_int_equal(available->n_slots, 2);
    assert_string_equal(available->slots[0]->clinician_id, one->id);
    assert_true(available->slots[0]->starts_at < at + CN_HOUR);
    assert_true(available->slots[1]->starts_at >=
                at + CN_HOUR + VISIT_TRAVEL_MINUTES * CN_MINUTE);
}

/* ---- copies ---- */

static enum cn_code
s_patient_told(struct test_world *world, const struct told *told, bool whole)
{
    Ref__PatientEvent payload = REF__PATIENT_EVENT__INIT;
    struct patient_parts parts;
    struct cn_err err = { 0 };
    s_patient_fill(world, told, &parts);
    payload.patient = whole ? &parts.patient : NULL;
    const struct test_event event = {
        .producer = "referrals",
        .type = "patient.updated",
        .aggregate_type = "patient",
        .aggregate_id = told->patient_id,
        .aggregate_seq = told->patient_version,
        .payload = &payload.base,
    };
    return test_apply(world, &s_service, &event, &err);
}

static void s_older_facts_do_not_replace_newer(struct test_world *world)
{
    struct told told = s_told(world);
    told.seq = 3;
    s_told_ok(world, "referral.validated", &told);
    told.patient_version = 2;
    told.language = "es";
    told.window_from = "08:00";
    assert_int_equal(s_patient_told(world, &told, true), CN_OK);
    const Sch__Need *need = s_need(world, told.referral_id);
    assert_string_equal(need->language, "es");
    assert_int_equal(need->n_windows, 1);
    assert_int_equal(need->windows[0]->from, 8 * 60);
    /* The referral's next event was written before that change: it has its own
     * new facts, and the patient's old ones. */
    struct told beside = told;
    beside.seq = 4;
    beside.patient_version = 1;
    beside.language = "en";
    beside.window_from = NULL;
    beside.soc_due_at += CN_DAY;
    s_told_ok(world, "referral.updated", &beside);
    need = s_need(world, told.referral_id);
    assert_int_equal(need->soc_due_at, beside.soc_due_at);
    assert_string_equal(need->language, "es");
    assert_int_equal(need->n_windows, 1);
    /* An event of the referral that comes late, and an old patient. */
    s_told_ok(world, "referral.received", &told);
    need = s_need(world, told.referral_id);
    assert_int_equal(need->soc_due_at, beside.soc_due_at);
    assert_int_equal(s_patient_told(world, &beside, true), CN_OK);
    assert_string_equal(s_need(world, told.referral_id)->language, "es");
    assert_int_equal(test_rows(world, "need", NULL), 1);
}

/* Events of a patient and of their referral are in different partitions: either
 * may come first. */
static void s_patients_come_in_any_order(struct test_world *world)
{
    struct told told = s_told(world);
    struct told newer = told;
    const struct nurse nurses[] = {
        { .name = "English" },
        { .name = "Spanish", .language = "es" },
    };
    for (size_t i = 0; i < CN_COUNT(nurses); i++) {
        assert_int_equal(s_nurse_make(world, &SUPERVISOR, &nurses[i]).rc,
                         CN_OK);
    }
    newer.patient_version = 2;
    newer.language = "es";
    assert_int_equal(s_patient_told(world, &newer, true), CN_OK);
    /* The acceptance was written before that change, and comes after it. */
    s_told_ok(world, "referral.accepted", &told);
    assert_string_equal(s_need(world, told.referral_id)->language, "es");
    const Sch__Visit *visit = s_visits_of(world, told.referral_id)->data[0];
    assert_int_equal(visit->status, SCH__VISIT__STATUS__BOOKED);
    assert_int_equal(visit->n_left_out, 1);
    assert_string_equal(visit->left_out[0]->reason, "language");
}

/* An event still has its effect when a snapshot brought the row first. */
static void s_snapshot_before_the_acceptance(struct test_world *world)
{
    (void)s_nurse(world);
    struct told told = s_told(world);
    struct told now = told;
    now.seq = 4;
    now.soc_due_at += CN_DAY;
    s_told_ok(world, "referral.snapshot", &now);
    told.seq = 2;
    s_told_ok(world, "referral.accepted", &told);
    assert_int_equal(test_rows(world, "visit", "status = 'booked'"), 1);
    /* The copy stays at the newer event. */
    assert_int_equal(s_need(world, told.referral_id)->soc_due_at,
                     now.soc_due_at);
    /* An equal version overwrites too, so a rebuild repairs a bad copy. */
    now.soc_due_at += CN_DAY;
    s_told_ok(world, "referral.snapshot", &now);
    assert_int_equal(s_need(world, told.referral_id)->soc_due_at,
                     now.soc_due_at);
}

static void s_odd_events_are_refused(struct test_world *world)
{
    struct told told = s_told(world);
    Acc__Agency agency = ACC__AGENCY__INIT;
    agency.time_zone = "Nowhere/Land";
    assert_int_equal(s_agency_told(world, &agency, 1), CN_INTERNAL);
    assert_int_equal(s_agency_told(world, NULL, 1), CN_INTERNAL);
    assert_int_equal(s_patient_told(world, &told, false), CN_INTERNAL);
    /* A time that is not valid is not a wish. */
    told.window_from = "8";
    s_told_ok(world, "referral.received", &told);
    assert_int_equal(s_need(world, told.referral_id)->n_windows, 0);
}

/* Their numbers are copied as they are. */
static void the_enums_of_two_services_agree(void **state)
{
    (void)state;
    const struct {
        const ProtobufCEnumDescriptor *theirs;
        const ProtobufCEnumDescriptor *ours;
    } PAIRS[] = {
        { &ref__referral__discipline__descriptor,
          &sch__clinician__discipline__descriptor },
        { &ref__patient__weekday__descriptor,
          &sch__clinician__weekday__descriptor },
        { &ref__patient__sex__descriptor, &sch__clinician__gender__descriptor },
    };
    for (size_t i = 0; i < CN_COUNT(PAIRS); i++) {
        for (unsigned j = 0; j < PAIRS[i].ours->n_values; j++) {
            const ProtobufCEnumValue *value = &PAIRS[i].ours->values[j];
            const ProtobufCEnumValue *other =
                protobuf_c_enum_descriptor_get_value(PAIRS[i].theirs,
                                                     value->value);
            assert_non_null(other);
            assert_string_equal(other->name, value->name);
        }
    }
}

#define TEST(name, body)                                                       \
    static void name(void **state)                                             \
    {                                                                          \
        (void)state;                                                           \
        test_world_run(s_pg, CONNECTIONS, body, NULL);                         \
    }
TEST(a_clinician_is_known_in_their_branch, s_clinicians_are_of_a_branch)
TEST(an_accepted_referral_has_one_start_of_care, s_soc_is_booked)
TEST(a_declined_referral_frees_its_visits, s_declined_visits_are_free)
TEST(a_start_of_care_needs_an_accepted_referral, s_soc_needs_an_acceptance)
TEST(a_start_of_care_of_an_ended_referral_is_not_made_unless_it_has_begun,
     s_soc_of_an_ended_referral)
TEST(an_id_that_repeats_what_another_implies_must_agree,
     s_visit_says_nothing_else)
TEST(a_branch_that_is_not_the_agencys_is_refused, s_clinicians_branch_is_known)
TEST(whom_nobody_can_visit_says_why_of_each, s_nobody_can_come)
TEST(nobody_of_the_discipline_is_a_reason_too, s_nobody_has_the_discipline)
TEST(a_branch_sends_its_own_clinicians, s_branch_books_its_own)
TEST(an_agency_may_book_by_hand, s_agency_books_by_hand)
TEST(of_32_bookings_of_one_slot_one_wins, s_one_slot_has_one_winner)
TEST(a_second_start_of_care_is_refused, s_one_referral_has_one_soc)
TEST(acceptances_at_once_share_a_nurse, s_acceptances_share_a_nurse)
TEST(a_visit_is_completed_once, s_visit_is_completed_once)
TEST(a_visit_is_confirmed_started_and_completed,
     s_visit_is_confirmed_and_started)
TEST(a_cancelled_visit_says_why_and_frees_its_time,
     s_cancelled_visit_frees_its_time)
TEST(a_visit_is_known_in_its_branch, s_visits_are_of_a_branch)
TEST(one_tenant_never_sees_anothers_rows, s_tenants_are_apart)
TEST(availability_stays_within_reach, s_availability_stays_in_reach)
TEST(booked_hours_are_not_offered, s_booked_hours_are_not_offered)
TEST(older_facts_do_not_replace_newer, s_older_facts_do_not_replace_newer)
TEST(patients_and_referrals_come_in_any_order, s_patients_come_in_any_order)
TEST(a_snapshot_does_not_keep_an_acceptance_from_its_effect,
     s_snapshot_before_the_acceptance)
TEST(odd_events_are_refused_without_harm, s_odd_events_are_refused)

static int s_setup(void **state)
{
    (void)state;
    s_pg = test_pg_new("scheduling", NULL);
    s_service = (struct cn_service){
        .name = "scheduling",
        .methods = scheduling_methods,
        .method_count = scheduling_method_count,
        .subscriptions = SCHEDULING_SUBSCRIPTIONS,
        .subscription_count = SCHEDULING_SUBSCRIPTION_COUNT,
    };
    return 0;
}

static int s_teardown(void **state)
{
    (void)state;
    test_pg_free(s_pg);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_clinician_is_known_in_their_branch),
        cmocka_unit_test(an_accepted_referral_has_one_start_of_care),
        cmocka_unit_test(a_declined_referral_frees_its_visits),
        cmocka_unit_test(a_start_of_care_needs_an_accepted_referral),
        cmocka_unit_test(
            a_start_of_care_of_an_ended_referral_is_not_made_unless_it_has_begun),
        cmocka_unit_test(an_id_that_repeats_what_another_implies_must_agree),
        cmocka_unit_test(a_branch_that_is_not_the_agencys_is_refused),
        cmocka_unit_test(whom_nobody_can_visit_says_why_of_each),
        cmocka_unit_test(nobody_of_the_discipline_is_a_reason_too),
        cmocka_unit_test(a_branch_sends_its_own_clinicians),
        cmocka_unit_test(an_agency_may_book_by_hand),
        cmocka_unit_test(of_32_bookings_of_one_slot_one_wins),
        cmocka_unit_test(a_second_start_of_care_is_refused),
        cmocka_unit_test(acceptances_at_once_share_a_nurse),
        cmocka_unit_test(a_visit_is_completed_once),
        cmocka_unit_test(a_visit_is_confirmed_started_and_completed),
        cmocka_unit_test(a_cancelled_visit_says_why_and_frees_its_time),
        cmocka_unit_test(a_visit_is_known_in_its_branch),
        cmocka_unit_test(one_tenant_never_sees_anothers_rows),
        cmocka_unit_test(availability_stays_within_reach),
        cmocka_unit_test(booked_hours_are_not_offered),
        cmocka_unit_test(older_facts_do_not_replace_newer),
        cmocka_unit_test(patients_and_referrals_come_in_any_order),
        cmocka_unit_test(
            a_snapshot_does_not_keep_an_acceptance_from_its_effect),
        cmocka_unit_test(odd_events_are_refused_without_harm),
        cmocka_unit_test(the_enums_of_two_services_agree),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
