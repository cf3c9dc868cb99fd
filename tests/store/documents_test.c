/* SPDX-License-Identifier: Apache-2.0 */
/* Checklists and documents against a real PostgreSQL, and their plans. */
#include "cairn/documents.cairn.h"
#include "cairn/documents.handlers.h"
#include "cairn/referrals.cairn.h"
#include "cairn/scheduling.cairn.h"
#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/wire/message.h"
#include "services/documents/events.h"
#include "services/documents/rules.h"
#include "services/documents/store.h"
#include "tests/lib/call.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the four above it. */
#include <cmocka.h>

enum { CONNECTIONS = 4, ITEMS = 3 };

static struct test_pg *s_pg;
static struct cn_service s_service;
static const struct test_caller SUPERVISOR = { .role = "supervisor" };

/* ---- what the tests ask for ---- */

/* An accepted referral, as referrals tells it. */
struct told {
    struct cn_uuid referral_id;
    struct cn_uuid patient_id;
    struct cn_uuid branch_id;
    int64_t seq;
};

static struct told s_told(struct test_world *world)
{
    return (struct told){ .referral_id = cn_uuid_new(&world->env),
                          .patient_id = cn_uuid_new(&world->env),
                          .branch_id = cn_uuid_new(&world->env),
                          .seq = 3 };
}

static const char *
s_id(struct test_world *world, const char *prefix, struct cn_uuid id)
{
    return cn_id_text(world->arena, prefix, id);
}

static enum cn_code s_tell(struct test_world *world,
                           const char *type,
                           const struct told *told,
                           struct cn_err *err)
{
    Ref__ReferralEvent payload = REF__REFERRAL_EVENT__INIT;
    Ref__Referral referral = REF__REFERRAL__INIT;
    Ref__Patient patient = REF__PATIENT__INIT;
    referral.id = s_id(world, "ref", told->referral_id);
    referral.branch_id = s_id(world, "brn", told->branch_id);
    patient.id = s_id(world, "pat", told->patient_id);
    payload.referral = &referral;
    payload.patient = &patient;
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
s_tell_ok(struct test_world *world, const char *type, const struct told *told)
{
    struct cn_err err = { 0 };
    assert_int_equal(s_tell(world, type, told, &err), CN_OK);
}

static void s_accept_ok(struct test_world *world, const struct told *told)
{
    s_tell_ok(world, "referral.accepted", told);
}

static struct test_answer s_checklist(struct test_world *world,
                                      const struct test_caller *caller,
                                      struct cn_uuid referral_id)
{
    Doc__GetChecklistRequest request = DOC__GET_CHECKLIST_REQUEST__INIT;
    request.referral_id = s_id(world, "ref", referral_id);
    return test_call(world, &s_service, caller, "GetChecklist", &request.base);
}

static struct test_answer s_document(struct test_world *world,
                                     const struct test_caller *caller,
                                     const char *id)
{
    Doc__GetDocumentRequest request = DOC__GET_DOCUMENT_REQUEST__INIT;
    request.id = id;
    return test_call(world, &s_service, caller, "GetDocument", &request.base);
}

static const Doc__ListDocumentsResponse *
s_list(struct test_world *world,
       const struct test_caller *caller,
       const Doc__ListDocumentsRequest *request)
{
    struct test_answer answer =
        test_call(world, &s_service, caller, "ListDocuments", &request->base);
    assert_int_equal(answer.rc, CN_OK);
    return answer.body;
}

/* ---- the checklist ---- */

static void s_checklist_opens(struct test_world *world)
{
    struct told told = s_told(world);
    s_accept_ok(world, &told);
    struct test_answer answer =
        s_checklist(world, &SUPERVISOR, told.referral_id);
    assert_int_equal(answer.rc, CN_OK);
    const Doc__Checklist *list = answer.body;
    assert_int_equal(list->n_documents, ITEMS);
    assert_int_equal(list->open_count, ITEMS);
    bool kinds[6] = { false };
    for (size_t i = 0; i < ITEMS; i++) {
        const Doc__Document *document = list->documents[i];
        assert_int_equal(document->status, DOC__DOCUMENT__STATUS__REQUIRED);
        assert_non_null(document->rule);
        kinds[document->kind] = true;
        struct test_answer got = s_document(world, &SUPERVISOR, document->id);
        assert_int_equal(got.rc, CN_OK);
        assert_int_equal(got.reply.version, 1);
    }
    assert_true(kinds[DOC__DOCUMENT__KIND__PLAN_OF_CARE]);
    assert_true(kinds[DOC__DOCUMENT__KIND__FACE_TO_FACE]);
    assert_true(kinds[DOC__DOCUMENT__KIND__CONSENT]);
    assert_int_equal(test_rows(world, "outbox", "type = 'checklist.opened'"),
                     1);
    assert_int_equal(test_rows(world, "audit", "action = 'checklist.read'"), 1);
    assert_int_equal(test_rows(world, "audit", "action = 'document.read'"),
                     ITEMS);
}

static void s_checklist_opens_once(struct test_world *world)
{
    struct told told = s_told(world);
    s_accept_ok(world, &told);
    s_accept_ok(world, &told);
    told.seq = 9; /* accepted again after a reopening */
    s_accept_ok(world, &told);
    assert_int_equal(test_rows(world, "document", NULL), ITEMS);
    assert_int_equal(test_rows(world, "outbox", NULL), 1);
}

/* The end of a referral, before and after the acceptance. */
static void s_end_makes_void(struct test_world *world)
{
    static const char *const ENDS[] = { "referral.declined",
                                        "referral.withdrawn",
                                        "referral.not_admitted" };
    for (size_t i = 0; i < CN_COUNT(ENDS); i++) {
        struct told told = s_told(world);
        const long before = test_rows(world, "document", NULL);
        s_tell_ok(world, ENDS[i], &told);
        assert_int_equal(test_rows(world, "document", NULL), before);
        told.seq = 5;
        s_accept_ok(world, &told);
        for (told.seq = 6; told.seq < 8; told.seq++) { /* told again */
            s_tell_ok(world, ENDS[i], &told);
        }
        const Doc__Checklist *list =
            s_checklist(world, &SUPERVISOR, told.referral_id).body;
        assert_int_equal(list->open_count, 0);
        for (size_t j = 0; j < ITEMS; j++) {
            const Doc__Document *document = list->documents[j];
            assert_int_equal(document->status, DOC__DOCUMENT__STATUS__VOIDED);
            assert_int_equal(document->version, 2);
            assert_string_equal(document->reason_code + strlen("referral_"),
                                strchr(ENDS[i], '.') + 1);
        }
        /* Taken after all: all of it is needed anew. */
        s_accept_ok(world, &told);
        list = s_checklist(world, &SUPERVISOR, told.referral_id).body;
        assert_int_equal(list->n_documents, 2 * ITEMS);
        assert_int_equal(list->open_count, ITEMS);
        s_accept_ok(world, &told);
        assert_int_equal(test_rows(world, "document", NULL),
                         before + 2 * ITEMS);
    }
    assert_int_equal(test_rows(world, "outbox", "type = 'document.updated'"),
                     (long)(2 * ITEMS * CN_COUNT(ENDS)));
}

static void s_odd_event_is_refused(struct test_world *world)
{
    struct cn_err err = { 0 };
    Ref__ReferralEvent payload = REF__REFERRAL_EVENT__INIT;
    const struct test_event event = {
        .producer = "referrals",
        .type = "referral.accepted",
        .aggregate_type = "referral",
        .aggregate_id = cn_uuid_new(&world->env),
        .aggregate_seq = 1,
        .payload = &payload.base,
    };
    assert_int_equal(test_apply(world, &s_service, &event, &err), CN_INTERNAL);
}

/* ---- reading ---- */

static void s_documents_are_of_a_branch(struct test_world *world)
{
    struct told told = s_told(world);
    const struct cn_uuid other = cn_uuid_new(&world->env);
    const struct test_caller own = { .branches = &told.branch_id,
                                     .branch_count = 1 };
    const struct test_caller beyond = { .branches = &other, .branch_count = 1 };
    s_accept_ok(world, &told);
    struct test_answer answer = s_checklist(world, &own, told.referral_id);
    assert_int_equal(answer.rc, CN_OK);
    const Doc__Checklist *list = answer.body;
    const char *id = list->documents[0]->id;
    assert_int_equal(s_document(world, &own, id).rc, CN_OK);
    struct test_answer theirs = s_document(world, &beyond, id);
    struct test_answer unknown = s_document(
        world, &beyond, s_id(world, "doc", cn_uuid_new(&world->env)));
    assert_int_equal(theirs.rc, CN_NOT_FOUND);
    assert_true(test_same_refusal(theirs.err, unknown.err));
    assert_int_equal(s_checklist(world, &beyond, told.referral_id).rc,
                     CN_NOT_FOUND);
    const Doc__ListDocumentsRequest all = DOC__LIST_DOCUMENTS_REQUEST__INIT;
    assert_int_equal(s_list(world, &own, &all)->n_data, ITEMS);
    assert_int_equal(s_list(world, &beyond, &all)->n_data, 0);
}

static void s_tenants_are_apart(struct test_world *world)
{
    struct told told = s_told(world);
    const struct test_caller other = { .role = "supervisor",
                                       .tenant = cn_uuid_new(&world->env) };
    s_accept_ok(world, &told);
    const Doc__Checklist *list =
        s_checklist(world, &SUPERVISOR, told.referral_id).body;
    assert_int_equal(s_document(world, &other, list->documents[0]->id).rc,
                     CN_NOT_FOUND);
    assert_int_equal(s_checklist(world, &other, told.referral_id).rc,
                     CN_NOT_FOUND);
    const Doc__ListDocumentsRequest all = DOC__LIST_DOCUMENTS_REQUEST__INIT;
    assert_int_equal(s_list(world, &other, &all)->n_data, 0);
}

/* ---- the clock of the face-to-face document ---- */

#define STATE(word) DLN__DEADLINE__STATE__##word

static int64_t s_clock_at;

static int64_t s_now(struct cn_env *env)
{
    (void)env;
    return s_clock_at;
}

static int64_t s_at(const char *text)
{
    int64_t at = 0;
    assert_true(cn_time_parse(text, &at));
    return at;
}

static enum cn_code s_admit(struct test_world *world, const struct told *told)
{
    Ref__ReferralEvent payload = REF__REFERRAL_EVENT__INIT;
    Ref__Referral referral = REF__REFERRAL__INIT;
    Ref__Patient patient = REF__PATIENT__INIT;
    struct cn_err err = { 0 };
    referral.id = s_id(world, "ref", told->referral_id);
    referral.branch_id = s_id(world, "brn", told->branch_id);
    referral.soc_date = "2026-06-01";
    referral.time_zone = "America/New_York";
    patient.id = s_id(world, "pat", told->patient_id);
    payload.referral = &referral;
    payload.patient = &patient;
    const struct test_event event = {
        .producer = "referrals",
        .type = "referral.admitted",
        .aggregate_type = "referral",
        .aggregate_id = told->referral_id,
        .aggregate_seq = told->seq + 2,
        .payload = &payload.base,
    };
    return test_apply(world, &s_service, &event, &err);
}

static const Doc__Document *s_of_kind(struct test_world *world,
                                      const struct told *told,
                                      Doc__Document__Kind kind)
{
    const Doc__Checklist *list =
        s_checklist(world, &SUPERVISOR, told->referral_id).body;
    for (size_t i = 0; i < list->n_documents; i++) {
        if (list->documents[i]->kind == kind) {
            return list->documents[i];
        }
    }
    fail();
    return NULL;
}

/* An accepted referral's face-to-face document, in summer. */
static const char *s_face_to_face(struct test_world *world, struct told *told)
{
    world->env.now = s_now;
    s_clock_at = s_at("2026-05-30T15:00:00Z");
    *told = s_told(world);
    s_accept_ok(world, told);
    s_clock_at = s_at("2026-06-01T20:00:00Z");
    return s_of_kind(world, told, DOC__DOCUMENT__KIND__FACE_TO_FACE)->id;
}

static struct test_answer s_deadlines(struct test_world *world,
                                      const struct test_caller *caller,
                                      const char *id)
{
    Dln__ListDeadlinesRequest request = DLN__LIST_DEADLINES_REQUEST__INIT;
    request.id = id;
    return test_call(world, &s_service, caller, "ListDocumentDeadlines",
                     &request.base);
}

/* The only clock; NULL when there is none. */
static const Dln__Deadline *s_clock(struct test_world *world, const char *id)
{
    struct test_answer answer = s_deadlines(world, &SUPERVISOR, id);
    assert_int_equal(answer.rc, CN_OK);
    const Dln__ListDeadlinesResponse *list = answer.body;
    assert_true(list->n_data <= 1);
    return list->n_data == 1 ? list->data[0] : NULL;
}

/* PATCH with an encounter date; NULL clears it. */
static struct test_answer
s_encounter(struct test_world *world, const char *id, const char *date)
{
    const char *mask[] = { "encounter_date" };
    Doc__UpdateDocumentRequest request = DOC__UPDATE_DOCUMENT_REQUEST__INIT;
    Doc__Document document = DOC__DOCUMENT__INIT;
    document.encounter_date = date;
    request.id = id;
    request.document = &document;
    request.update_mask = mask;
    request.n_update_mask = 1;
    return test_call(world, &s_service, &SUPERVISOR, "UpdateDocument",
                     &request.base);
}

static void s_clock_starts(struct test_world *world)
{
    struct told told;
    const char *id = s_face_to_face(world, &told);
    assert_null(s_clock(world, id));
    assert_int_equal(s_admit(world, &told), CN_OK);
    assert_int_equal(s_admit(world, &told), CN_OK); /* told again */
    const Dln__Deadline *clock = s_clock(world, id);
    assert_non_null(clock);
    assert_string_equal(clock->rule, "C07");
    assert_int_equal(clock->state, STATE(OPEN));
    /* Worked out by hand: 2026-03-03 to 2026-07-01. */
    assert_int_equal(clock->opens_at, s_at("2026-03-03T05:00:00Z"));
    assert_int_equal(clock->due_at, s_at("2026-07-02T03:59:59Z"));
    assert_string_equal(clock->branch_id, s_id(world, "brn", told.branch_id));
    const Doc__Document *document = s_document(world, &SUPERVISOR, id).body;
    assert_int_equal(document->due_at, clock->due_at);
    assert_string_equal(document->rule, clock->why);
    assert_int_equal(document->version, 2);
    assert_int_equal(test_rows(world, "outbox", "type = 'deadline.started'"),
                     1);
    assert_int_equal(test_rows(world, "outbox", "type = 'document.updated'"),
                     1);
    assert_int_equal(
        test_rows(world, "due", "fire_at = '2026-06-18 03:59:59Z'"), 1);
    const Doc__Document *consent =
        s_of_kind(world, &told, DOC__DOCUMENT__KIND__CONSENT);
    assert_null(s_clock(world, consent->id));
    assert_false(consent->has_due_at);
}

static void s_clock_met(struct test_world *world)
{
    struct told told;
    const char *id = s_face_to_face(world, &told);
    assert_int_equal(s_admit(world, &told), CN_OK);
    /* The last day that is too early to count, then the first day that counts.
     */
    assert_int_equal(s_encounter(world, id, "2026-03-02").rc, CN_OK);
    assert_int_equal(s_clock(world, id)->state, STATE(OPEN));
    struct test_answer answer = s_encounter(world, id, "2026-03-03");
    assert_int_equal(answer.rc, CN_OK);
    assert_int_equal(answer.reply.version, 4);
    assert_int_equal(s_clock(world, id)->state, STATE(MET));
    assert_int_equal(s_clock(world, id)->met_at, s_at("2026-03-03T05:00:00Z"));
    assert_int_equal(test_rows(world, "due", NULL), 0);
    /* It was an error. */
    assert_int_equal(s_encounter(world, id, NULL).rc, CN_OK);
    assert_int_equal(s_clock(world, id)->state, STATE(OPEN));
    assert_int_equal(test_rows(world, "due", NULL), 1);
    /* The last day. */
    s_clock_at = s_at("2026-07-05T12:00:00Z");
    assert_int_equal(s_encounter(world, id, "2026-07-01").rc, CN_OK);
    assert_int_equal(s_clock(world, id)->state, STATE(MET));
    assert_int_equal(test_rows(world, "outbox", "type = 'deadline.met'"), 2);
}

static void s_clock_late(struct test_world *world)
{
    struct told told;
    const char *id = s_face_to_face(world, &told);
    assert_int_equal(s_admit(world, &told), CN_OK);
    s_clock_at = s_at("2026-07-02T12:00:00Z");
    assert_int_equal(s_encounter(world, id, "2026-07-02").rc, CN_OK);
    const Dln__Deadline *clock = s_clock(world, id);
    assert_int_equal(clock->state, STATE(BREACHED));
    assert_string_equal(clock->breach_reason, "late");
    assert_int_equal(test_rows(world, "outbox", "type = 'deadline.breached'"),
                     1);
    /* A correction: it was in time. The record that it was late stays. */
    assert_int_equal(s_encounter(world, id, "2026-06-30").rc, CN_OK);
    clock = s_clock(world, id);
    assert_int_equal(clock->state, STATE(MET));
    assert_true(clock->has_breached_at);
    assert_string_equal(clock->breach_reason, "told_late");
}

static void s_clock_known_before(struct test_world *world)
{
    struct told told;
    const char *id = s_face_to_face(world, &told);
    assert_int_equal(s_encounter(world, id, "2026-05-20").rc, CN_OK);
    assert_int_equal(s_admit(world, &told), CN_OK);
    assert_int_equal(s_clock(world, id)->state, STATE(MET));
    assert_int_equal(s_clock(world, id)->version, 1);
    assert_int_equal(test_rows(world, "outbox",
                               "type = 'deadline.started' AND aggregate_seq = "
                               "1 OR type = 'deadline.met' AND aggregate_seq "
                               "= 2"),
                     2);
    assert_int_equal(test_rows(world, "due", NULL), 0);
}

/* A visit of the referral was cancelled at that instant. */
static enum cn_code s_cancel(struct test_world *world,
                             const struct told *told,
                             Sch__Visit__Kind kind,
                             const char *at)
{
    Sch__VisitEvent payload = SCH__VISIT_EVENT__INIT;
    Sch__Visit visit = SCH__VISIT__INIT;
    struct cn_err err = { 0 };
    visit.referral_id = s_id(world, "ref", told->referral_id);
    CN_SET(&visit, kind, kind);
    CN_SET(&visit, status, SCH__VISIT__STATUS__CANCELLED);
    payload.visit = &visit;
    const struct test_event event = {
        .producer = "scheduling",
        .type = "visit.cancelled",
        .aggregate_type = "visit",
        .aggregate_id = cn_uuid_new(&world->env),
        .aggregate_seq = 2,
        .occurred_at = s_at(at),
        .payload = &payload.base,
    };
    return test_apply(world, &s_service, &event, &err);
}

static void s_clock_stops(struct test_world *world)
{
    struct told told;
    const char *id = s_face_to_face(world, &told);
    /* There is no clock yet. */
    assert_int_equal(
        s_cancel(world, &told, SCH__VISIT__KIND__SOC, "2026-06-01T10:00:00Z"),
        CN_OK);
    assert_null(s_clock(world, id));
    const char *rule =
        ((const Doc__Document *)s_document(world, &SUPERVISOR, id).body)->rule;
    assert_int_equal(s_admit(world, &told), CN_OK);
    /* Another visit, and a start of care that was cancelled before the one
     * that admitted; its event came late. */
    s_clock_at = s_at("2026-06-02T12:00:00Z");
    assert_int_equal(s_cancel(world, &told, SCH__VISIT__KIND__ROUTINE,
                              "2026-06-02T11:00:00Z"),
                     CN_OK);
    assert_int_equal(
        s_cancel(world, &told, SCH__VISIT__KIND__SOC, "2026-06-01T10:00:00Z"),
        CN_OK);
    assert_int_equal(s_clock(world, id)->state, STATE(OPEN));
    for (int i = 0; i < 2; i++) { /* told again */
        assert_int_equal(s_cancel(world, &told, SCH__VISIT__KIND__SOC,
                                  "2026-06-02T11:00:00Z"),
                         CN_OK);
    }
    assert_int_equal(s_clock(world, id)->state, STATE(CANCELLED));
    assert_int_equal(test_rows(world, "outbox", "type = 'deadline.cancelled'"),
                     1);
    assert_int_equal(test_rows(world, "due", NULL), 0);
    const Doc__Document *document = s_document(world, &SUPERVISOR, id).body;
    assert_int_equal(document->version, 3);
    assert_false(document->has_due_at);
    assert_string_equal(document->rule, rule);
    /* Care starts after all. */
    assert_int_equal(s_admit(world, &told), CN_OK);
    assert_int_equal(s_clock(world, id)->state, STATE(OPEN));
    document = s_document(world, &SUPERVISOR, id).body;
    assert_int_equal(document->due_at, s_clock(world, id)->due_at);
}

static void s_met_clock_stays(struct test_world *world)
{
    struct told told;
    const char *id = s_face_to_face(world, &told);
    assert_int_equal(s_encounter(world, id, "2026-05-20").rc, CN_OK);
    assert_int_equal(s_admit(world, &told), CN_OK);
    assert_int_equal(
        s_cancel(world, &told, SCH__VISIT__KIND__SOC, "2026-06-02T11:00:00Z"),
        CN_OK);
    assert_int_equal(s_clock(world, id)->state, STATE(MET));
}

static void s_patch_without_change(struct test_world *world)
{
    struct told told;
    const char *id = s_face_to_face(world, &told);
    assert_int_equal(s_admit(world, &told), CN_OK);
    assert_int_equal(s_encounter(world, id, "2026-05-20").rc, CN_OK);
    long events = test_rows(world, "outbox", NULL);
    struct test_answer again = s_encounter(world, id, "2026-05-20");
    assert_int_equal(again.rc, CN_OK);
    assert_int_equal(again.reply.version, 3);
    assert_int_equal(test_rows(world, "outbox", NULL), events);
    assert_int_equal(test_rows(world, "audit", "action = 'document.update'"),
                     1);
    assert_int_equal(test_rows(world, "audit", "action = 'document.read'"), 1);
}

static void s_clock_refuses(struct test_world *world)
{
    struct told told;
    const char *id = s_face_to_face(world, &told);
    const struct cn_uuid other = cn_uuid_new(&world->env);
    const struct test_caller beyond = { .branches = &other, .branch_count = 1 };
    const struct test_caller own = { .branches = &told.branch_id,
                                     .branch_count = 1 };
    assert_int_equal(s_admit(world, &told), CN_OK);
    assert_int_equal(s_deadlines(world, &own, id).rc, CN_OK);
    struct test_answer theirs = s_deadlines(world, &beyond, id);
    struct test_answer unknown = s_deadlines(
        world, &beyond, s_id(world, "doc", cn_uuid_new(&world->env)));
    assert_int_equal(theirs.rc, CN_NOT_FOUND);
    assert_true(test_same_refusal(theirs.err, unknown.err));
    assert_int_equal(test_rows(world, "audit", "action = 'deadline.list'"), 1);
    struct test_answer future = s_encounter(world, id, "2026-06-03");
    assert_int_equal(future.rc, CN_INVALID);
    assert_string_equal(future.err.fields[0].pointer, "/encounter_date");
    const Doc__Document *consent =
        s_of_kind(world, &told, DOC__DOCUMENT__KIND__CONSENT);
    assert_int_equal(s_encounter(world, consent->id, "2026-06-01").rc,
                     CN_INVALID);
    assert_int_equal(test_rows(world, "outbox", "type = 'document.updated'"),
                     1);
}

/* ---- the program ---- */

#define TEST(name, body)                                                       \
    static void name(void **state)                                             \
    {                                                                          \
        (void)state;                                                           \
        test_world_run(s_pg, CONNECTIONS, body, NULL);                         \
    }
TEST(an_accepted_referral_opens_its_checklist, s_checklist_opens)
TEST(a_checklist_opens_once, s_checklist_opens_once)
TEST(the_end_of_a_referral_makes_its_documents_void, s_end_makes_void)
TEST(an_odd_event_is_refused_without_harm, s_odd_event_is_refused)
TEST(a_document_is_known_in_its_branch, s_documents_are_of_a_branch)
TEST(one_tenant_never_sees_anothers_rows, s_tenants_are_apart)
TEST(the_start_of_care_starts_the_clock_of_the_encounter, s_clock_starts)
TEST(an_encounter_within_its_window_meets_the_clock, s_clock_met)
TEST(an_encounter_after_its_window_is_a_breach, s_clock_late)
TEST(an_encounter_before_the_start_of_care_counts_at_once, s_clock_known_before)
TEST(a_cancelled_start_of_care_stops_the_clock, s_clock_stops)
TEST(a_clock_that_was_met_is_not_stopped, s_met_clock_stays)
TEST(a_patch_that_changes_nothing_writes_nothing, s_patch_without_change)
TEST(a_clock_is_seen_and_changed_as_its_document_is, s_clock_refuses)

static int s_setup(void **state)
{
    (void)state;
    s_pg = test_pg_new("documents", NULL);
    s_service = (struct cn_service){
        .name = "documents",
        .methods = documents_methods,
        .method_count = documents_method_count,
        .subscriptions = DOCUMENTS_SUBSCRIPTIONS,
        .subscription_count = DOCUMENTS_SUBSCRIPTION_COUNT,
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
        cmocka_unit_test(an_accepted_referral_opens_its_checklist),
        cmocka_unit_test(a_checklist_opens_once),
        cmocka_unit_test(the_end_of_a_referral_makes_its_documents_void),
        cmocka_unit_test(an_odd_event_is_refused_without_harm),
        cmocka_unit_test(a_document_is_known_in_its_branch),
        cmocka_unit_test(one_tenant_never_sees_anothers_rows),
        cmocka_unit_test(the_start_of_care_starts_the_clock_of_the_encounter),
        cmocka_unit_test(an_encounter_within_its_window_meets_the_clock),
        cmocka_unit_test(an_encounter_after_its_window_is_a_breach),
        cmocka_unit_test(an_encounter_before_the_start_of_care_counts_at_once),
        cmocka_unit_test(a_cancelled_start_of_care_stops_the_clock),
        cmocka_unit_test(a_clock_that_was_met_is_not_stopped),
        cmocka_unit_test(a_patch_that_changes_nothing_writes_nothing),
        cmocka_unit_test(a_clock_is_seen_and_changed_as_its_document_is),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
