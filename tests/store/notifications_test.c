/* SPDX-License-Identifier: Apache-2.0 */
/* Who gets which message, and sending with its failures, against a real
 * PostgreSQL and channels that the tests control. One exchange by real SMTP is
 * in notifications_smtp_test.c. */
#include "cairn/notifications.cairn.h"
#include "cairn/notifications.handlers.h"
#include "cairn/referrals.cairn.h"
#include "cairn/scheduling.cairn.h"
#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/loop/metrics.h"
#include "common/wire/json.h"
#include "common/wire/message.h"
#include "services/notifications/rules.h"
#include "services/notifications/service.h"
#include "services/notifications/store.h"
#include "tests/lib/call.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the four above it. */
#include <cmocka.h>

enum { CONNECTIONS = 4, SENT_MAX = 16, ID_MAX = 128 };

/* ---- a channel that the test controls ---- */

struct fake {
    struct channel channel;
    struct channel_result result;
    enum cn_code rc; /* CN_OK, or the attempt never comes back */
    size_t count;
    char ids[SENT_MAX][ID_MAX];
    char to[ID_MAX];
    char text[1024];
};

static enum cn_code s_fake_send(struct channel *channel,
                                const struct channel_mail *mail,
                                struct channel_result *ret_result,
                                struct cn_err *err)
{
    struct fake *self = (struct fake *)channel;
    assert_true(self->count < SENT_MAX);
    (void)snprintf(self->ids[self->count++], ID_MAX, "%s", mail->message_id);
    (void)snprintf(self->to, sizeof(self->to), "%s", mail->to);
    (void)snprintf(self->text, sizeof(self->text), "%s", mail->text);
    if (self->rc != CN_OK) {
        return cn_fail(err, self->rc, "the process died");
    }
    *ret_result = self->result;
    return CN_OK;
}

static struct test_pg *s_pg;
static struct fake s_fake;
static struct notifications_service s_notifications;
static struct cn_service s_service;
static const struct test_caller SUPERVISOR = { .role = "supervisor" };

/* ---- what the tests ask for ---- */

/* A referral and its first visit, as the other services tell them. */
struct told {
    struct cn_uuid referral_id;
    struct cn_uuid patient_id;
    struct cn_uuid branch_id;
    struct cn_uuid visit_id;
    const char *source_email;
    const char *patient_email;
    const char *language;
    Ref__Referral__Status status;
    int64_t seq;
    int64_t patient_version;
    int64_t visit_seq;
    int64_t starts_at;
};

static struct told s_told(struct test_world *world)
{
    return (struct told){
        .referral_id = cn_uuid_new(&world->env),
        .patient_id = cn_uuid_new(&world->env),
        .branch_id = cn_uuid_new(&world->env),
        .visit_id = cn_uuid_new(&world->env),
        .source_email = "discharge@hospital.example",
        .patient_email = "pat@home.example",
        .language = "en",
        .status = REF__REFERRAL__STATUS__ACCEPTED,
        .seq = 4,
        .patient_version = 1,
        .visit_seq = 1,
        .starts_at = world->env.now(&world->env) + CN_DAY,
    };
}

static const char *
s_id(struct test_world *world, const char *prefix, struct cn_uuid id)
{
    return cn_id_text(world->arena, prefix, id);
}

static enum cn_code s_patient_updated(struct test_world *world,
                                      const struct told *told)
{
    Ref__PatientEvent payload = REF__PATIENT_EVENT__INIT;
    Ref__Patient patient = REF__PATIENT__INIT;
    struct cn_err err = { 0 };
    patient.id = s_id(world, "pat", told->patient_id);
    patient.email = told->patient_email;
    patient.language = told->language;
    CN_SET(&patient, version, told->patient_version);
    payload.patient = &patient;
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

static enum cn_code s_referral_told(struct test_world *world,
                                    const struct told *told,
                                    const char *type)
{
    Ref__ReferralEvent payload = REF__REFERRAL_EVENT__INIT;
    Ref__Referral referral = REF__REFERRAL__INIT;
    Ref__Referral__Source source = REF__REFERRAL__SOURCE__INIT;
    Ref__Patient patient = REF__PATIENT__INIT;
    Ref__Patient__Name name = REF__PATIENT__NAME__INIT;
    const char *given[] = { "Pat" };
    struct cn_err err = { 0 };
    name.given = given;
    name.n_given = 1;
    name.family = "Example";
    patient.id = s_id(world, "pat", told->patient_id);
    patient.name = &name;
    patient.email = told->patient_email;
    patient.language = told->language;
    CN_SET(&patient, version, told->patient_version);
    CN_SET(&referral, status, told->status);
    source.organization = "Example Hospital";
    source.email = told->source_email;
    source.external_id = "EXT-1";
    referral.id = s_id(world, "ref", told->referral_id);
    referral.branch_id = s_id(world, "brn", told->branch_id);
    referral.time_zone = "America/Chicago";
    referral.source = &source;
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
    return test_apply(world, &s_service, &event, &err);
}

static enum cn_code s_accept(struct test_world *world, const struct told *told)
{
    return s_referral_told(world, told, "referral.accepted");
}

static enum cn_code
s_clinician_told(struct test_world *world, struct cn_uuid id, const char *name)
{
    Sch__ClinicianEvent payload = SCH__CLINICIAN_EVENT__INIT;
    Sch__Clinician clinician = SCH__CLINICIAN__INIT;
    struct cn_err err = { 0 };
    clinician.name = name;
    payload.clinician = &clinician;
    const struct test_event event = {
        .producer = "scheduling",
        .type = "clinician.updated",
        .aggregate_type = "clinician",
        .aggregate_id = id,
        .aggregate_seq = 1,
        .payload = &payload.base,
    };
    return test_apply(world, &s_service, &event, &err);
}

static enum cn_code s_visit_event(struct test_world *world,
                                  const struct told *told,
                                  const char *type,
                                  const char *clinician_name,
                                  Sch__Visit *visit)
{
    Sch__VisitEvent payload = SCH__VISIT_EVENT__INIT;
    struct cn_err err = { 0 };
    payload.visit = visit;
    payload.clinician_name = clinician_name;
    const struct test_event event = {
        .producer = "scheduling",
        .type = type,
        .aggregate_type = "visit",
        .aggregate_id = told->visit_id,
        .aggregate_seq = told->visit_seq,
        .payload = &payload.base,
    };
    return test_apply(world, &s_service, &event, &err);
}

static enum cn_code s_visit_told(struct test_world *world,
                                 const struct told *told,
                                 Sch__Visit *visit)
{
    return s_visit_event(world, told, "visit.booked", "Example Nurse", visit);
}

static Sch__Visit s_visit(struct test_world *world, const struct told *told)
{
    Sch__Visit visit = SCH__VISIT__INIT;
    visit.id = s_id(world, "vis", told->visit_id);
    visit.referral_id = s_id(world, "ref", told->referral_id);
    visit.patient_id = s_id(world, "pat", told->patient_id);
    CN_SET(&visit, kind, SCH__VISIT__KIND__SOC);
    CN_SET(&visit, status, SCH__VISIT__STATUS__BOOKED);
    CN_SET(&visit, starts_at, told->starts_at);
    return visit;
}

static enum cn_code s_book(struct test_world *world, const struct told *told)
{
    Sch__Visit visit = s_visit(world, told);
    return s_visit_told(world, told, &visit);
}

static const Ntf__ListMessagesResponse *
s_list(struct test_world *world,
       const struct test_caller *caller,
       const Ntf__ListMessagesRequest *request)
{
    struct test_answer answer =
        test_call(world, &s_service, caller, "ListMessages", &request->base);
    assert_int_equal(answer.rc, CN_OK);
    return answer.body;
}

/* The message of a referral for an audience; NULL: there is none. */
static const Ntf__Message *s_message(struct test_world *world,
                                     const struct told *told,
                                     Ntf__Message__Audience audience)
{
    Ntf__ListMessagesRequest request = NTF__LIST_MESSAGES_REQUEST__INIT;
    request.referral_id = s_id(world, "ref", told->referral_id);
    const Ntf__ListMessagesResponse *page =
        s_list(world, &SUPERVISOR, &request);
    for (size_t i = 0; i < page->n_data; i++) {
        if (page->data[i]->audience == audience) {
            return page->data[i];
        }
    }
    return NULL;
}

static const Ntf__Message *s_to_source(struct test_world *world,
                                       const struct told *told)
{
    const Ntf__Message *message =
        s_message(world, told, NTF__MESSAGE__AUDIENCE__REFERRAL_SOURCE);
    assert_non_null(message);
    return message;
}

/* One run of the work that is due for a message. */
static enum cn_code s_send(struct test_world *world, const char *message_id)
{
    struct cn_err err = { 0 };
    struct cn_due due = {
        .env = &world->env,
        .tenant_id = world->tenant,
        .kind = "message.send",
        .now_at = world->env.now(&world->env),
        .arena = world->arena,
    };
    assert_true(cn_id_parse("msg", message_id, &due.id));
    struct cn_op op = cn_op_of_due(&s_service, &due, &err);
    message_send(&op, &due);
    cn_commit(&op);
    return err.code;
}

static void s_channel_answers(enum channel_outcome outcome, long status)
{
    s_fake = (struct fake){ .channel = { s_fake_send },
                            .result = { outcome, status } };
}

/* To read as a handler does. */
static struct cn_op s_op(struct test_world *world, struct cn_err *err)
{
    return (struct cn_op){ .env = &world->env,
                           .arena = world->arena,
                           .tenant_id = world->tenant,
                           .err = err };
}

/* What the metric says of e-mails that came to a status. */
static long s_counted(const char *status)
{
    struct cn_buffer page;
    char line[ID_MAX];
    cn_buffer_init(&page, 1 << 20);
    assert_true(cn_metrics_write(&page));
    cn_buffer_add(&page, "", 1);
    (void)snprintf(line, sizeof(line),
                   "\ncairn_messages_total{channel=\"email\",status=\"%s\"} ",
                   status);
    const char *at = strstr(page.data, line);
    long count = at != NULL ? strtol(at + strlen(line), NULL, 10) : 0;
    cn_buffer_done(&page);
    return count;
}

/* ---- who is told ---- */

static void s_assert_two(struct test_world *world)
{
    assert_int_equal(test_rows(world, "message", NULL), 2);
    assert_int_equal(test_rows(world, "outbox", "type = 'message.queued'"), 2);
    assert_int_equal(test_rows(world, "due", "kind = 'message.send'"), 2);
}

static void s_both_are_told(struct test_world *world)
{
    struct told told = s_told(world);
    assert_int_equal(s_accept(world, &told), CN_OK);
    assert_int_equal(test_rows(world, "message", NULL), 1);
    assert_int_equal(s_book(world, &told), CN_OK);
    s_assert_two(world);
    /* The events come again, and the referral is accepted again: no message is
     * sent twice. */
    assert_int_equal(s_accept(world, &told), CN_OK);
    assert_int_equal(s_book(world, &told), CN_OK);
    told.seq = 9;
    assert_int_equal(s_accept(world, &told), CN_OK);
    s_assert_two(world);
    const Ntf__Message *message =
        s_message(world, &told, NTF__MESSAGE__AUDIENCE__PATIENT);
    assert_non_null(message);
    assert_string_equal(message->template_, "soc_booked");
    assert_int_equal(message->status, NTF__MESSAGE__STATUS__QUEUED);
}

static void s_visit_comes_first(struct test_world *world)
{
    struct told told = s_told(world);
    assert_int_equal(s_book(world, &told), CN_OK);
    assert_int_equal(test_rows(world, "message", NULL), 0);
    assert_int_equal(test_rows(world, "visit", "booked"), 1);
    assert_int_equal(s_accept(world, &told), CN_OK);
    s_assert_two(world);
    assert_string_equal(s_to_source(world, &told)->branch_id,
                        s_id(world, "brn", told.branch_id));
}

struct teller {
    struct test_world *world;
    const struct told *told;
    enum cn_code (*tell)(struct test_world *, const struct told *);
    enum cn_code rc;
};

static void s_tells(void *arg)
{
    struct teller *self = arg;
    self->rc = self->tell(self->world, self->told);
    test_world_ended(self->world);
}

static void s_both_come_at_once(struct test_world *world)
{
    struct told told = s_told(world);
    struct teller tellers[] = { { world, &told, s_accept, CN_INTERNAL },
                                { world, &told, s_book, CN_INTERNAL } };
    for (size_t i = 0; i < CN_COUNT(tellers); i++) {
        test_world_spawn(world, s_tells, &tellers[i], 10 * CN_SECOND);
    }
    test_world_join(world);
    assert_int_equal(tellers[0].rc, CN_OK);
    assert_int_equal(tellers[1].rc, CN_OK);
    s_assert_two(world);
}

static enum cn_code
s_end(struct test_world *world, struct told *told, const char *type)
{
    told->seq++;
    told->status = REF__REFERRAL__STATUS__DECLINED;
    return s_referral_told(world, told, type);
}

/* Before an acceptance the source alone is told. */
static void s_end_is_told(struct test_world *world)
{
    struct told told = s_told(world);
    assert_int_equal(s_end(world, &told, "referral.declined"), CN_OK);
    assert_int_equal(s_end(world, &told, "referral.declined"), CN_OK);
    assert_int_equal(test_rows(world, "message", NULL), 1);
    assert_string_equal(s_to_source(world, &told)->template_,
                        "referral_declined");
    /* A visit that is told late is not announced. */
    assert_int_equal(s_book(world, &told), CN_OK);
    assert_int_equal(test_rows(world, "message", NULL), 1);
}

/* After it the patient is told, too, and what waits to be sent is not sent. */
static void s_end_after_acceptance_is_told(struct test_world *world)
{
    static const char *const ENDS[] = { "referral.declined",
                                        "referral.withdrawn",
                                        "referral.not_admitted" };
    for (size_t i = 0; i < CN_COUNT(ENDS); i++) {
        struct told told = s_told(world);
        const long count = (long)i + 1;
        assert_int_equal(s_accept(world, &told), CN_OK);
        assert_int_equal(s_book(world, &told), CN_OK);
        assert_int_equal(s_end(world, &told, ENDS[i]), CN_OK);
        assert_int_equal(test_rows(world, "message", NULL), 4 * count);
        assert_int_equal(test_rows(world, "message", "status = 'stopped'"),
                         2 * count);
        assert_int_equal(
            test_rows(world, "message",
                      "template = 'care_not_started' AND status = 'queued'"),
            count);
        assert_int_equal(test_rows(world, "due", "kind = 'message.send'"),
                         2 * count);
    }
    assert_int_equal(test_rows(world, "outbox", "type = 'message.not_sent'"),
                     (long)(2 * CN_COUNT(ENDS)));
}

static void s_who_cannot_be_reached(struct test_world *world)
{
    struct told told = s_told(world);
    told.source_email = NULL;
    told.patient_email = "pat@home.example\r\nBcc: all@everywhere.example";
    assert_int_equal(s_accept(world, &told), CN_OK);
    assert_int_equal(s_book(world, &told), CN_OK);
    const Ntf__Message *source = s_to_source(world, &told);
    assert_int_equal(source->status, NTF__MESSAGE__STATUS__NOT_SENT);
    assert_string_equal(source->reason_code, "no_address");
    const Ntf__Message *patient =
        s_message(world, &told, NTF__MESSAGE__AUDIENCE__PATIENT);
    assert_int_equal(patient->status, NTF__MESSAGE__STATUS__NOT_SENT);
    assert_string_equal(patient->reason_code, "bad_address");
    assert_int_equal(test_rows(world, "outbox", "type = 'message.not_sent'"),
                     2);
    assert_int_equal(test_rows(world, "due", NULL), 0);
}

static void s_older_facts_do_not_replace_newer(struct test_world *world)
{
    struct told told = s_told(world);
    struct cn_err err = { 0 };
    struct cn_op op = s_op(world, &err);
    int64_t mark = 0;
    told.patient_version = 2;
    assert_int_equal(s_accept(world, &told), CN_OK);
    told.visit_seq = 2;
    assert_int_equal(s_book(world, &told), CN_OK);
    struct told older = told;
    older.seq--;
    older.visit_seq--;
    older.patient_version--;
    older.starts_at += CN_DAY;
    older.patient_email = "old@home.example";
    assert_int_equal(s_accept(world, &older), CN_OK);
    assert_int_equal(s_book(world, &older), CN_OK);
    assert_int_equal(s_patient_updated(world, &older), CN_OK);
    assert_int_equal(soc_of_referral(&op, told.referral_id, &mark).starts_at,
                     told.starts_at);
    const struct care_known known = care_known(&op, told.referral_id);
    assert_false(cn_failed(&op));
    assert_int_equal(mark, told.visit_seq);
    assert_int_equal(known.event_seq, told.seq);
    assert_string_equal(known.care->patient_email, told.patient_email);
}

/* The events of patient, referral and visit come from different partitions and
 * producers. In each order both messages are sent, and the copies are the same
 * in the end. */
static void s_any_order(struct test_world *world)
{
    static const unsigned ORDERS[6][3] = { { 0, 1, 2 }, { 0, 2, 1 },
                                           { 1, 0, 2 }, { 1, 2, 0 },
                                           { 2, 0, 1 }, { 2, 1, 0 } };
    enum cn_code (*const TELL[])(struct test_world *,
                                 const struct told *) = { s_accept, s_book,
                                                          s_patient_updated };
    for (size_t i = 0; i < CN_COUNT(ORDERS); i++) {
        struct told told = s_told(world);
        struct told newer = told;
        struct cn_err err = { 0 };
        struct cn_op op = s_op(world, &err);
        newer.patient_version = 2;
        newer.patient_email = "new@home.example";
        for (size_t j = 0; j < CN_COUNT(TELL); j++) {
            unsigned which = ORDERS[i][j];
            assert_int_equal(TELL[which](world, which == 2 ? &newer : &told),
                             CN_OK);
        }
        assert_non_null(
            s_message(world, &told, NTF__MESSAGE__AUDIENCE__PATIENT));
        assert_non_null(s_to_source(world, &told));
        assert_string_equal(
            care_known(&op, told.referral_id).care->patient_email,
            "new@home.example");
    }
    assert_int_equal(test_rows(world, "message", NULL), 2L * CN_COUNT(ORDERS));
}

/* The message goes to the address that the patient has when it is made. */
static void s_new_address_is_used(struct test_world *world)
{
    struct told told = s_told(world);
    assert_int_equal(s_accept(world, &told), CN_OK);
    struct told newer = told;
    newer.patient_version = 2;
    newer.patient_email = "new@home.example";
    assert_int_equal(s_patient_updated(world, &newer), CN_OK);
    assert_int_equal(s_book(world, &told), CN_OK);
    s_channel_answers(CHANNEL_ACCEPTED, 250);
    assert_int_equal(
        s_send(world,
               s_message(world, &told, NTF__MESSAGE__AUDIENCE__PATIENT)->id),
        CN_OK);
    assert_string_equal(s_fake.to, "new@home.example");
}

/* For a visit that was cancelled there is no message when the acceptance
 * comes. */
static void s_cancelled_is_not_told(struct test_world *world)
{
    struct told told = s_told(world);
    Sch__Visit visit = s_visit(world, &told);
    assert_int_equal(s_visit_told(world, &told, &visit), CN_OK);
    told.visit_seq = 2;
    CN_SET(&visit, status, SCH__VISIT__STATUS__CANCELLED);
    assert_int_equal(
        s_visit_event(world, &told, "visit.cancelled", NULL, &visit), CN_OK);
    assert_int_equal(s_accept(world, &told), CN_OK);
    assert_int_equal(test_rows(world, "message", NULL), 1);
    assert_non_null(s_to_source(world, &told));
}

/* After a time without notifications: the visit was booked and took place. In
 * each order of the two services' events the patient gets the message. */
static void s_visit_over_is_told(struct test_world *world)
{
    for (unsigned accepted_at = 0; accepted_at <= 2; accepted_at++) {
        struct told told = s_told(world);
        Sch__Visit visit = s_visit(world, &told);
        for (unsigned i = 0; i <= 2; i++) {
            if (i == accepted_at) {
                assert_int_equal(s_accept(world, &told), CN_OK);
            }
            if (i == 0) {
                assert_int_equal(s_visit_told(world, &told, &visit), CN_OK);
            } else if (i == 1) {
                told.visit_seq = 2;
                CN_SET(&visit, status, SCH__VISIT__STATUS__COMPLETED);
                assert_int_equal(s_visit_event(world, &told, "visit.completed",
                                               NULL, &visit),
                                 CN_OK);
            }
        }
        assert_non_null(s_to_source(world, &told));
        assert_non_null(
            s_message(world, &told, NTF__MESSAGE__AUDIENCE__PATIENT));
    }
    assert_int_equal(test_rows(world, "message", NULL), 6);
}

/* The same when the copy is newer than the booking, as after a snapshot. */
static void s_visit_over_before_its_booking(struct test_world *world)
{
    struct told told = s_told(world);
    struct told older = told;
    Sch__Visit visit = s_visit(world, &told);
    assert_int_equal(s_accept(world, &told), CN_OK);
    told.visit_seq = 2;
    CN_SET(&visit, status, SCH__VISIT__STATUS__COMPLETED);
    assert_int_equal(
        s_visit_event(world, &told, "visit.snapshot", NULL, &visit), CN_OK);
    assert_int_equal(test_rows(world, "message", NULL), 1);
    assert_int_equal(s_book(world, &older), CN_OK);
    s_assert_two(world);
}

/* When a visit's event comes again, or the acceptance finds the visit, the
 * event has no name: the clinician's own row has it. */
static void s_clinician_is_named(struct test_world *world)
{
    struct told told = s_told(world);
    struct cn_uuid clinician_id = cn_uuid_new(&world->env);
    Sch__Visit visit = s_visit(world, &told);
    visit.clinician_id = s_id(world, "cln", clinician_id);
    assert_int_equal(s_clinician_told(world, clinician_id, "Nurse Okoro"),
                     CN_OK);
    assert_int_equal(s_visit_event(world, &told, "visit.booked", NULL, &visit),
                     CN_OK);
    assert_int_equal(s_accept(world, &told), CN_OK);
    s_channel_answers(CHANNEL_ACCEPTED, 250);
    assert_int_equal(
        s_send(world,
               s_message(world, &told, NTF__MESSAGE__AUDIENCE__PATIENT)->id),
        CN_OK);
    assert_non_null(strstr(s_fake.text, "Nurse Okoro"));
}

/* The event still has its effect when a snapshot brought the row first. The
 * snapshot itself has no effect. */
static void s_snapshot_before_the_events(struct test_world *world)
{
    struct told told = s_told(world);
    struct told now = told;
    Sch__Visit visit = s_visit(world, &told);
    now.seq = 6;
    now.visit_seq = 2;
    now.status = REF__REFERRAL__STATUS__SOC_SCHEDULED;
    assert_int_equal(s_referral_told(world, &now, "referral.snapshot"), CN_OK);
    assert_int_equal(s_visit_event(world, &now, "visit.snapshot", NULL, &visit),
                     CN_OK);
    assert_int_equal(test_rows(world, "message", NULL), 0);
    assert_int_equal(s_accept(world, &told), CN_OK);
    assert_int_equal(s_book(world, &told), CN_OK);
    s_assert_two(world);
}

static void s_odd_events_are_refused(struct test_world *world)
{
    struct told told = s_told(world);
    Sch__Visit visit = s_visit(world, &told);
    visit.referral_id = "ref_none";
    assert_int_equal(s_visit_told(world, &told, &visit), CN_INTERNAL);
    assert_int_equal(s_visit_told(world, &told, NULL), CN_INTERNAL);
    visit = s_visit(world, &told);
    visit.kind = SCH__VISIT__KIND__ROUTINE;
    assert_int_equal(s_visit_told(world, &told, &visit), CN_OK);
    assert_int_equal(test_rows(world, "visit", NULL), 0);
}

/* ---- sending ---- */

static const char *s_queued(struct test_world *world, struct told *told)
{
    *told = s_told(world);
    assert_int_equal(s_accept(world, told), CN_OK);
    return s_to_source(world, told)->id;
}

static void s_mail_is_sent(struct test_world *world)
{
    struct told told;
    const char *id = s_queued(world, &told);
    s_channel_answers(CHANNEL_ACCEPTED, 250);
    assert_int_equal(s_send(world, id), CN_OK);
    const Ntf__Message *message = s_to_source(world, &told);
    assert_int_equal(message->status, NTF__MESSAGE__STATUS__SENT);
    assert_int_equal(message->n_attempts, 1);
    assert_int_equal(message->attempts[0]->outcome,
                     NTF__MESSAGE__OUTCOME__ACCEPTED);
    assert_string_equal(message->attempts[0]->detail, "smtp 250");
    assert_string_equal(s_fake.to, "discharge@hospital.example");
    assert_non_null(strstr(s_fake.text, "EXT-1"));
    assert_int_equal(test_rows(world, "outbox",
                               "type = 'message.sent' AND aggregate_seq = 2"),
                     1);
    assert_int_equal(test_rows(world, "due", NULL), 0);
    /* If the work runs again, it is only removed. */
    assert_int_equal(s_send(world, id), CN_OK);
    assert_int_equal(s_fake.count, 1);
}

static void s_unreachable_is_tried_again(struct test_world *world)
{
    struct told told;
    const char *id = s_queued(world, &told);
    s_channel_answers(CHANNEL_UNREACHABLE, 0);
    assert_int_equal(s_send(world, id), CN_OK);
    const Ntf__Message *message = s_to_source(world, &told);
    assert_int_equal(message->status, NTF__MESSAGE__STATUS__QUEUED);
    assert_int_equal(message->attempts[0]->outcome,
                     NTF__MESSAGE__OUTCOME__UNREACHABLE);
    assert_int_equal(test_rows(world, "due",
                               "fire_at BETWEEN now() + interval '1 s'"
                               " AND now() + interval '3 s'"),
                     1);
    s_fake.result = (struct channel_result){ CHANNEL_DEFERRED, 451 };
    assert_int_equal(s_send(world, id), CN_OK);
    assert_int_equal(
        test_rows(world, "due", "fire_at > now() + interval '8 s'"), 1);
    s_fake.result = (struct channel_result){ CHANNEL_ACCEPTED, 250 };
    assert_int_equal(s_send(world, id), CN_OK);
    message = s_to_source(world, &told);
    assert_int_equal(message->status, NTF__MESSAGE__STATUS__SENT);
    assert_int_equal(message->n_attempts, 3);
    assert_string_equal(s_fake.ids[0], s_fake.ids[1]);
    assert_string_equal(s_fake.ids[0], s_fake.ids[2]);
    assert_int_equal(test_rows(world, "due", NULL), 0);
}

static void s_refused_is_failed(struct test_world *world)
{
    struct told told;
    const char *id = s_queued(world, &told);
    s_channel_answers(CHANNEL_REFUSED, 550);
    assert_int_equal(s_send(world, id), CN_OK);
    const Ntf__Message *message = s_to_source(world, &told);
    assert_int_equal(message->status, NTF__MESSAGE__STATUS__FAILED);
    assert_string_equal(message->reason_code, "refused");
    assert_string_equal(message->attempts[0]->detail, "smtp 550");
    assert_int_equal(test_rows(world, "outbox", "type = 'message.failed'"), 1);
    assert_int_equal(test_rows(world, "due", NULL), 0);
}

/* The process dies after the channel took the mail and before this is written.
 */
static void s_crash_sends_the_same_again(struct test_world *world)
{
    struct told told;
    const char *id = s_queued(world, &told);
    s_channel_answers(CHANNEL_ACCEPTED, 250);
    s_fake.rc = CN_UNAVAILABLE;
    assert_int_equal(s_send(world, id), CN_UNAVAILABLE);
    const Ntf__Message *message = s_to_source(world, &told);
    assert_int_equal(message->status, NTF__MESSAGE__STATUS__QUEUED);
    assert_int_equal(message->attempts[0]->outcome,
                     NTF__MESSAGE__OUTCOME__SENDING);
    assert_int_equal(test_rows(world, "due", NULL), 1);
    s_fake.rc = CN_OK;
    assert_int_equal(s_send(world, id), CN_OK);
    assert_int_equal(s_fake.count, 2);
    assert_string_equal(s_fake.ids[0], s_fake.ids[1]);
    message = s_to_source(world, &told);
    assert_int_equal(message->n_attempts, 2);
    assert_int_equal(test_rows(world, "outbox", "type = 'message.sent'"), 1);
}

static void s_crashes_end(struct test_world *world)
{
    struct told told;
    const char *id = s_queued(world, &told);
    s_channel_answers(CHANNEL_ACCEPTED, 250);
    s_fake.rc = CN_UNAVAILABLE;
    for (int i = 0; i < SEND_ATTEMPTS_MAX; i++) {
        assert_int_equal(s_send(world, id), CN_UNAVAILABLE);
    }
    assert_int_equal(s_send(world, id), CN_OK);
    assert_int_equal(s_fake.count, SEND_ATTEMPTS_MAX);
    const Ntf__Message *message = s_to_source(world, &told);
    assert_int_equal(message->status, NTF__MESSAGE__STATUS__FAILED);
    assert_string_equal(message->reason_code, "attempts_exhausted");
    assert_int_equal(test_rows(world, "due", NULL), 0);
}

/* ---- reading ---- */

static void s_messages_are_of_a_branch(struct test_world *world)
{
    struct told told;
    const char *id = s_queued(world, &told);
    const struct cn_uuid other = cn_uuid_new(&world->env);
    const struct test_caller own = { .branches = &told.branch_id,
                                     .branch_count = 1 };
    const struct test_caller beyond = { .branches = &other, .branch_count = 1 };
    const struct test_caller stranger = { .role = "supervisor",
                                          .tenant = cn_uuid_new(&world->env) };
    const Ntf__ListMessagesRequest all = NTF__LIST_MESSAGES_REQUEST__INIT;
    Ntf__GetMessageRequest get = NTF__GET_MESSAGE_REQUEST__INIT;
    get.id = id;
    assert_int_equal(
        test_call(world, &s_service, &own, "GetMessage", &get.base).rc, CN_OK);
    assert_int_equal(test_rows(world, "audit", "action = 'message.read'"), 1);
    struct test_answer theirs =
        test_call(world, &s_service, &beyond, "GetMessage", &get.base);
    assert_int_equal(
        test_call(world, &s_service, &stranger, "GetMessage", &get.base).rc,
        CN_NOT_FOUND);
    get.id = s_id(world, "msg", cn_uuid_new(&world->env));
    struct test_answer unknown =
        test_call(world, &s_service, &beyond, "GetMessage", &get.base);
    assert_int_equal(theirs.rc, CN_NOT_FOUND);
    assert_true(test_same_refusal(theirs.err, unknown.err));
    assert_int_equal(s_list(world, &own, &all)->n_data, 1);
    assert_int_equal(s_list(world, &beyond, &all)->n_data, 0);
    assert_int_equal(s_list(world, &stranger, &all)->n_data, 0);
}

/* ---- the program ---- */

#define TEST(name, body)                                                       \
    static void name(void **state)                                             \
    {                                                                          \
        (void)state;                                                           \
        test_world_run(s_pg, CONNECTIONS, body, NULL);                         \
    }
TEST(source_and_patient_are_each_told_once, s_both_are_told)
TEST(the_visit_may_come_before_the_acceptance, s_visit_comes_first)
TEST(both_events_may_come_at_once, s_both_come_at_once)
TEST(the_end_of_a_referral_is_told_to_its_source, s_end_is_told)
TEST(the_end_after_an_acceptance_is_told_to_the_patient_too,
     s_end_after_acceptance_is_told)
TEST(who_cannot_be_reached_is_not_sent_and_says_why, s_who_cannot_be_reached)
TEST(older_facts_do_not_replace_newer, s_older_facts_do_not_replace_newer)
TEST(all_are_told_whatever_the_order_of_events, s_any_order)
TEST(the_newest_address_is_used, s_new_address_is_used)
TEST(a_cancelled_visit_is_not_told, s_cancelled_is_not_told)
TEST(a_visit_that_took_place_is_told_in_any_order, s_visit_over_is_told)
TEST(a_visit_that_took_place_is_told_by_its_booking,
     s_visit_over_before_its_booking)
TEST(the_clinician_is_named, s_clinician_is_named)
TEST(a_snapshot_tells_nobody_and_keeps_no_event_from_it,
     s_snapshot_before_the_events)
TEST(odd_events_are_refused_without_harm, s_odd_events_are_refused)
static void s_counts(struct test_world *world)
{
    const long queued = s_counted("queued");
    const long sent = s_counted("sent");
    const long not_sent = s_counted("not_sent");
    struct told told = s_told(world);
    told.patient_email = NULL;
    assert_int_equal(s_accept(world, &told), CN_OK);
    assert_int_equal(s_accept(world, &told), CN_OK);
    assert_int_equal(s_book(world, &told), CN_OK);
    assert_int_equal(s_counted("queued") - queued, 1);
    assert_int_equal(s_counted("not_sent") - not_sent, 1);
    s_channel_answers(CHANNEL_DEFERRED, 451);
    assert_int_equal(s_send(world, s_to_source(world, &told)->id), CN_OK);
    assert_int_equal(s_counted("sent") - sent, 0);
    s_channel_answers(CHANNEL_ACCEPTED, 250);
    assert_int_equal(s_send(world, s_to_source(world, &told)->id), CN_OK);
    assert_int_equal(s_send(world, s_to_source(world, &told)->id), CN_OK);
    assert_int_equal(s_counted("sent") - sent, 1);
}

TEST(a_mail_is_sent, s_mail_is_sent)
TEST(a_message_is_counted_once_in_each_status, s_counts)
TEST(an_unreachable_channel_is_tried_again, s_unreachable_is_tried_again)
TEST(a_refused_mail_has_failed, s_refused_is_failed)
TEST(a_crash_sends_the_same_again, s_crash_sends_the_same_again)
TEST(a_mail_that_kills_its_process_ends, s_crashes_end)
TEST(a_message_is_known_in_its_branch_and_agency, s_messages_are_of_a_branch)

static int s_setup(void **state)
{
    (void)state;
    s_pg = test_pg_new("notifications", NULL);
    s_notifications = (struct notifications_service){
        .email = &s_fake.channel,
        .message_id_domain = "agency.example",
    };
    s_service = (struct cn_service){
        .name = "notifications",
        .methods = notifications_methods,
        .method_count = notifications_method_count,
        .subscriptions = NOTIFICATIONS_SUBSCRIPTIONS,
        .subscription_count = NOTIFICATIONS_SUBSCRIPTION_COUNT,
        .self = &s_notifications,
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
        cmocka_unit_test(source_and_patient_are_each_told_once),
        cmocka_unit_test(the_visit_may_come_before_the_acceptance),
        cmocka_unit_test(both_events_may_come_at_once),
        cmocka_unit_test(the_end_of_a_referral_is_told_to_its_source),
        cmocka_unit_test(
            the_end_after_an_acceptance_is_told_to_the_patient_too),
        cmocka_unit_test(who_cannot_be_reached_is_not_sent_and_says_why),
        cmocka_unit_test(older_facts_do_not_replace_newer),
        cmocka_unit_test(all_are_told_whatever_the_order_of_events),
        cmocka_unit_test(the_newest_address_is_used),
        cmocka_unit_test(a_cancelled_visit_is_not_told),
        cmocka_unit_test(a_visit_that_took_place_is_told_in_any_order),
        cmocka_unit_test(a_visit_that_took_place_is_told_by_its_booking),
        cmocka_unit_test(the_clinician_is_named),
        cmocka_unit_test(a_snapshot_tells_nobody_and_keeps_no_event_from_it),
        cmocka_unit_test(odd_events_are_refused_without_harm),
        cmocka_unit_test(a_mail_is_sent),
        cmocka_unit_test(a_message_is_counted_once_in_each_status),
        cmocka_unit_test(an_unreachable_channel_is_tried_again),
        cmocka_unit_test(a_refused_mail_has_failed),
        cmocka_unit_test(a_crash_sends_the_same_again),
        cmocka_unit_test(a_mail_that_kills_its_process_ends),
        cmocka_unit_test(a_message_is_known_in_its_branch_and_agency),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
