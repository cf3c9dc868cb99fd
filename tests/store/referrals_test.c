/* SPDX-License-Identifier: Apache-2.0 */
/* Referrals against a real PostgreSQL: what is stored, races, and the effect
 * of a change, a decision and an event. */
#include "cairn/access.pb-c.h"
#include "cairn/scheduling.pb-c.h"
#include "common/base/array.h"
#include "common/inbox/consumer.h"
#include "common/wire/message.h"
#include "services/referrals/events.h"
#include "tests/store/referrals_calls.h"

/* ---- keeping ---- */

static void s_kept_body(struct test_world *world)
{
    s_open(world);
    struct call made = s_create(world, INCOMPLETE);
    const char *id = s_id(world, &made);
    struct call got = s_get(world, id);
    const Ref__Referral *referral = s_referral(&got);
    assert_int_equal(referral->status, REF__REFERRAL__STATUS__CAPTURED);
    assert_int_equal(referral->n_missing, 2);
    assert_string_equal(referral->missing[0]->field, "patient.address");
    assert_string_equal(referral->missing[1]->field, "disciplines");
    assert_int_equal(referral->version, 1);
    assert_int_equal(made.reply.version, 1);
    assert_false(referral->has_soc_due_at);
    assert_string_equal(referral->patient->name->family, "Testpatient");
    assert_string_equal(referral->time_zone, "America/New_York");
    assert_true(ref__referral__get_packed_size(referral) ==
                ref__referral__get_packed_size(s_referral(&made)));
    s_assert_log(world, "referral", "referral.received 1");
    s_assert_log(world, "patient", "patient.created 1");
    assert_int_equal(s_number(world, "audit WHERE action = 'referral.create'"
                                     " AND array_length(patients, 1) = 1 AND "),
                     1);
    assert_int_equal(s_number(world, "audit WHERE action = 'referral.read'"
                                     " AND "),
                     1);
    s_end(&made);
    s_end(&got);
}

static void a_referral_is_kept_and_shown_with_what_is_missing(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_kept_body, NULL);
}

static void s_valid_body(struct test_world *world)
{
    s_open(world);
    struct call made = s_create(world, COMPLETE);
    const Ref__Referral *referral = s_referral(&made);
    assert_int_equal(referral->status, REF__REFERRAL__STATUS__VALID);
    assert_int_equal(referral->n_missing, 0);
    assert_int_equal(referral->soc_due_at, referral->valid_at + 48 * CN_HOUR);
    assert_non_null(strstr(referral->soc_due_why, "C01: valid referral"));
    /* The number in the summary is shown to nobody, and is not used as a key.
     */
    assert_int_equal(referral->patient->n_identifiers, 0);
    assert_int_equal(s_number(world, "patient_identifier WHERE "), 0);
    s_assert_log(world, "referral", "referral.received 1,referral.validated 2");
    s_end(&made);
}

static void a_complete_referral_is_valid_at_once(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_valid_body, NULL);
}

static void s_match_body(struct test_world *world)
{
    s_open(world);
    struct call first = s_create(world, INCOMPLETE);
    struct call second = s_create(
        world, "{\"source\": {\"system\": \"his\", \"external_id\": \"R-9\"},"
               " \"patient\": {\"identifiers\": [{\"system\": \"his\","
               " \"value\": \"P-1\"}, {\"system\": \"his\", \"value\": "
               "\"P-1\"}]}}");
    assert_string_equal(s_referral(&first)->patient_id,
                        s_referral(&second)->patient_id);
    struct call other =
        s_create(world, "{\"patient\": {\"identifiers\": [{\"system\": \"his\","
                        " \"value\": \"P-2\"}]}}");
    assert_string_not_equal(s_referral(&other)->patient_id,
                            s_referral(&first)->patient_id);
    struct call both = s_create(
        world, "{\"patient\": {\"identifiers\": [{\"system\": \"his\","
               " \"value\": \"P-1\"}, {\"system\": \"his\", \"value\": "
               "\"P-2\"}, {\"system\": \"his\", \"value\": \"P-3\"}]}}");
    assert_int_equal(s_referral(&both)->n_warnings, 1);
    assert_string_equal(s_referral(&both)->warnings[0], "patient_ambiguous");
    assert_int_equal(s_number(world, "patient WHERE "), 3);
    assert_int_equal(s_number(world, "patient_identifier WHERE "), 3);
    s_end(&first);
    s_end(&second);
    s_end(&other);
    s_end(&both);
}

static void one_identifier_finds_the_patient_two_people_do_not(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_match_body, NULL);
}

static void s_refused_body(struct test_world *world)
{
    s_open(world);
    static const struct {
        const char *json;
        const char *pointer;
    } ROWS[] = {
        { "{\"patient_id\": \"pat_0\", \"patient\": {}}", "/patient_id" },
        { "{\"patient_id\": \"pat_0\"}", "/patient_id" },
        { "{\"branch_id\": \"brn_0\"}", "/branch_id" },
        { "{\"branch_id\": \"brn_00000000000000000000000000\"}", "/branch_id" },
        { "{\"patient\": {\"branch_id\":"
          " \"brn_00000000000000000000000000\"}}",
          "/patient/branch_id" },
        { "{\"patient\": {\"commitments\": [{\"label\": \"x\", \"from\":"
          " \"22:00\", \"to\": \"02:00\"}]}}",
          "/patient/commitments/0" },
        { "{\"patient\": {\"commitments\": [{\"weekdays\": [\"monday\"],"
          " \"from\": \"10:00\", \"to\": \"10:00\"}]}}",
          "/patient/commitments/0" },
        { "{\"patient\": {\"preferences\": {\"windows\": [{\"from\":"
          " \"10:00\", \"to\": \"12:00\"}]}}}",
          "/patient/preferences/windows/0" },
    };
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        struct call call = s_create(world, ROWS[i].json);
        assert_int_equal(call.rc, CN_INVALID);
        assert_string_equal(call.err.fields[0].pointer, ROWS[i].pointer);
        s_end(&call);
    }
    assert_int_equal(s_number(world, "referral WHERE "), 0);
}

static void what_names_nothing_that_exists_is_refused(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_refused_body, NULL);
}

static void s_no_branch_body(struct test_world *world)
{
    struct call call = s_create(world, COMPLETE); /* no branch was told of */
    assert_int_equal(call.rc, CN_UNAVAILABLE);
    s_end(&call);
    call = s_call(world, "key", "x");
    call.request.principal.branch_id = (struct cn_uuid){ { 0 } };
    Ref__CreateReferralRequest *body = CN_NEW(
        call.arena, ref__create_referral_request, Ref__CreateReferralRequest);
    body->referral = CN_NEW(call.arena, ref__referral, Ref__Referral);
    call.request.body = body;
    s_run(&call, "CreateReferral");
    assert_int_equal(call.rc, CN_INVALID);
    assert_string_equal(call.err.fields[0].pointer, "/branch_id");
    s_end(&call);
}

static void a_branch_that_was_not_told_of_yet_is_asked_for_again(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_no_branch_body, NULL);
}

/* ---- races ---- */

static void s_race_create(void *arg)
{
    struct race *race = arg;
    race->call = race->key != NULL
                     ? s_create_with(race->world, race->json, race->key)
                     : s_create(race->world, race->json);
    test_world_ended(race->world);
}

static void
s_race(struct test_world *world, struct race *races, const char *key)
{
    for (int i = 0; i < CLIENTS; i++) {
        races[i] = (struct race){ world, key, INCOMPLETE, { 0 } };
        test_world_spawn(world, s_race_create, &races[i], 20 * CN_SECOND);
    }
    test_world_join(world);
}

static void s_source_race_body(struct test_world *world)
{
    s_open(world);
    static struct race races[CLIENTS];
    s_race(world, races, NULL);
    int made = 0;
    int found = 0;
    const char *location = races[0].call.reply.location;
    for (int i = 0; i < CLIENTS; i++) {
        assert_string_equal(s_referral(&races[i].call)->id,
                            s_referral(&races[0].call)->id);
        assert_string_equal(races[i].call.reply.location, location);
        made += races[i].call.reply.status == 0;
        found += races[i].call.reply.status == 200;
    }
    assert_int_equal(made, 1);
    assert_int_equal(found, CLIENTS - 1);
    assert_int_equal(s_number(world, "referral WHERE "), 1);
    assert_int_equal(s_number(world, "patient WHERE "), 1);
    struct call other = s_create(
        world, "{\"source\": {\"system\": \"his\", \"external_id\": \"R-1\"}}");
    assert_int_equal(other.rc, CN_CONFLICT);
    assert_string_equal(other.err.word, "duplicate");
    assert_string_equal(other.err.location, location);
    s_end(&other);
    for (int i = 0; i < CLIENTS; i++) {
        s_end(&races[i].call);
    }
}

static void one_of_many_makes_the_referral_of_a_source_and_id(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_source_race_body, NULL);
}

static void s_key_race_body(struct test_world *world)
{
    s_open(world);
    static struct race races[CLIENTS];
    s_race(world, races, "one-key");
    struct cn_bytes first = { 0 };
    int replayed = 0;
    for (int i = 0; i < CLIENTS; i++) {
        struct call *call = &races[i].call;
        struct cn_err err = { 0 };
        /* A create that lost the race for the source and id finds the winner's
         * record. */
        if (call->reply.status == 200 && !call->reply.replayed) {
            bool found = false;
            assert_int_equal(
                cn_idempotency_find(&call->request, &call->reply, &found, &err),
                CN_OK);
            assert_true(found);
        }
        if (!call->reply.replayed) {
            assert_int_equal(cn_message_pack(call->arena, call->reply.body,
                                             &call->reply.packed, &err),
                             CN_OK);
        }
        replayed += call->reply.replayed;
        first = i == 0 ? call->reply.packed : first;
        assert_int_equal(call->reply.packed.size, first.size);
        assert_memory_equal(call->reply.packed.data, first.data, first.size);
    }
    assert_int_equal(replayed, CLIENTS - 1);
    assert_int_equal(s_number(world, "referral WHERE "), 1);
    for (int i = 0; i < CLIENTS; i++) {
        s_end(&races[i].call);
    }
}

static void one_key_makes_one_referral_and_equal_replies(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_key_race_body, NULL);
}

/* ---- changing ---- */

static void s_patch_body(struct test_world *world)
{
    s_open(world);
    struct call made = s_create(world, INCOMPLETE);
    const char *id = s_id(world, &made);
    struct call same = s_patch(world, id, "{\"needs\": \"wound care\"}", 0);
    assert_int_equal(s_referral(&same)->version, 1);
    struct call part = s_patch(world, id, "{\"disciplines\": [\"rn\"]}", 1);
    assert_int_equal(s_referral(&part)->version, 2);
    assert_int_equal(s_referral(&part)->status,
                     REF__REFERRAL__STATUS__CAPTURED);
    assert_int_equal(s_referral(&part)->n_missing, 1);
    struct call stale = s_patch(world, id, "{\"needs\": \"x\"}", 1);
    assert_int_equal(stale.rc, CN_STALE);
    assert_int_equal(stale.err.version, 2);
    struct call cleared = s_patch(world, id, "{\"disciplines\": null}", 0);
    assert_int_equal(s_referral(&cleared)->n_missing, 2);
    s_assert_log(world, "referral",
                 "referral.received 1,referral.updated 2,referral.updated 3");
    struct call patient =
        s_patch(world, id, "{\"patient\": {\"email\": \"a@b.example\"}}", 0);
    assert_int_equal(patient.rc, CN_INVALID);
    assert_string_equal(patient.err.fields[0].pointer, "/patient/email");
    s_end(&made);
    s_end(&same);
    s_end(&part);
    s_end(&stale);
    s_end(&cleared);
    s_end(&patient);
}

static void a_patch_changes_what_it_names_or_nothing(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_patch_body, NULL);
}

static void s_complete_body(struct test_world *world)
{
    s_open(world);
    struct call made = s_create(world, INCOMPLETE);
    const char *id = s_id(world, &made);
    const char *patient_id =
        cn_arena_strdup(world->arena, s_referral(&made)->patient_id);
    struct call part = s_patch(world, id, "{\"disciplines\": [\"rn\"]}", 0);
    struct call patient = s_patch_patient(
        world, patient_id, "{\"address\": {\"postal_code\": \"42010\"}}");
    assert_int_equal(patient.rc, CN_OK);
    struct call got = s_get(world, id);
    assert_int_equal(s_referral(&got)->status, REF__REFERRAL__STATUS__VALID);
    assert_int_equal(s_referral(&got)->version, 3);
    assert_true(s_referral(&got)->has_soc_due_at);
    s_assert_log(world, "referral",
                 "referral.received 1,referral.updated 2,referral.validated 3");
    s_assert_log(world, "patient", "patient.created 1,patient.updated 2");
    s_end(&made);
    s_end(&part);
    s_end(&patient);
    s_end(&got);
}

static void completing_the_patient_validates_the_referral(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_complete_body, NULL);
}

struct half {
    struct test_world *world;
    const char *id;
    const char *patient_id;
    enum cn_code rc;
};

static void s_patch_half(void *arg)
{
    struct half *half = arg;
    struct call call =
        half->id != NULL
            ? s_patch(half->world, half->id, "{\"disciplines\": [\"rn\"]}", 0)
            : s_patch_patient(half->world, half->patient_id,
                              "{\"phones\": [\"270 5550100\"]}");
    half->rc = call.rc;
    s_end(&call);
    test_world_ended(half->world);
}

enum { ROUNDS = 40 };

static void s_halves_body(struct test_world *world)
{
    s_open(world);
    for (int i = 0; i < ROUNDS; i++) {
        char json[300];
        (void)snprintf(
            json, sizeof(json),
            "{\"patient\": {\"name\": {\"family\": \"T\"}}, \"needs\": \"n\","
            " \"ordering_physician\": {\"name\": \"P\", \"agrees_to_sign\":"
            " true}, \"source\": {\"system\": \"s\", \"external_id\": \"%d\"}}",
            i);
        struct call made = s_create(world, json);
        const char *id = s_id(world, &made);
        struct half halves[2] = { { world, id, NULL, CN_OK },
                                  { world, NULL, s_referral(&made)->patient_id,
                                    CN_OK } };
        /* Either may begin first. */
        test_world_spawn(world, s_patch_half, &halves[i % 2], 20 * CN_SECOND);
        test_world_spawn(world, s_patch_half, &halves[1 - i % 2],
                         20 * CN_SECOND);
        test_world_join(world);
        assert_int_equal(halves[0].rc, CN_OK);
        assert_int_equal(halves[1].rc, CN_OK);
        struct call got = s_get(world, id);
        assert_int_equal(s_referral(&got)->status,
                         REF__REFERRAL__STATUS__VALID);
        s_end(&made);
        s_end(&got);
    }
}

static void two_halves_at_once_make_a_whole(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_halves_body, NULL);
}

/* A referral of a patient who is completed at the same time. */
struct meeting {
    struct test_world *world;
    const char *patient_id;
    bool arrives; /* else the patient changes */
    struct call call;
};

static void s_meet(void *arg)
{
    struct meeting *meeting = arg;
    char json[300];
    (void)snprintf(
        json, sizeof(json),
        "{\"patient_id\": \"%s\", \"needs\": \"n\", \"disciplines\": "
        "[\"rn\"], \"ordering_physician\": {\"name\": \"P\", "
        "\"agrees_to_sign\": true}}",
        meeting->patient_id);
    meeting->call = meeting->arrives
                        ? s_create(meeting->world, json)
                        : s_patch_patient(meeting->world, meeting->patient_id,
                                          "{\"phones\": [\"270 5550100\"]}");
    test_world_ended(meeting->world);
}

static void s_meetings_body(struct test_world *world)
{
    s_open(world);
    for (int i = 0; i < ROUNDS; i++) {
        struct call made =
            s_create(world, "{\"patient\": {\"name\": {\"family\": \"T\"}}}");
        const char *patient_id = s_referral(&made)->patient_id;
        struct meeting meetings[2] = { { world, patient_id, true, { 0 } },
                                       { world, patient_id, false, { 0 } } };
        test_world_spawn(world, s_meet, &meetings[i % 2], 20 * CN_SECOND);
        test_world_spawn(world, s_meet, &meetings[1 - i % 2], 20 * CN_SECOND);
        test_world_join(world);
        assert_int_equal(meetings[1].call.rc, CN_OK);
        struct call got = s_get(world, s_referral(&meetings[0].call)->id);
        assert_int_equal(s_referral(&got)->status,
                         REF__REFERRAL__STATUS__VALID);
        s_end(&made);
        s_end(&got);
        s_end(&meetings[0].call);
        s_end(&meetings[1].call);
    }
}

static void
an_arrival_and_a_change_of_its_patient_know_of_each_other(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_meetings_body, NULL);
}

static void s_order_body(struct test_world *world)
{
    static int64_t now_at;
    s_open(world);
    assert_true(cn_time_parse("2026-06-01T15:00:00Z", &now_at));
    world->env.context = &now_at;
    struct call made = s_create(world, COMPLETE);
    const char *id = s_id(world, &made);
    struct call ordered =
        s_patch(world, id, "{\"ordered_soc_date\": \"2026-06-10\"}", 0);
    int64_t due_at = 0;
    assert_true(cn_time_parse("2026-06-11T03:59:59Z", &due_at));
    assert_int_equal(s_referral(&ordered)->soc_due_at, due_at);
    assert_int_equal(s_referral(&ordered)->ordered_soc_at, now_at);
    struct call dropped = s_patch(world, id, "{\"ordered_soc_date\": null}", 0);
    assert_int_equal(s_referral(&dropped)->soc_due_at, now_at + 48 * CN_HOUR);
    now_at += 49 * CN_HOUR;
    struct call late =
        s_patch(world, id, "{\"ordered_soc_date\": \"2026-06-10\"}", 0);
    assert_int_equal(s_referral(&late)->soc_due_at,
                     s_referral(&made)->valid_at + 48 * CN_HOUR);
    assert_non_null(strstr(s_referral(&late)->soc_due_why, "moves nothing"));
    struct call home =
        s_patch(world, id, "{\"return_home_at\": \"2026-06-08T12:00:00Z\"}", 0);
    assert_true(cn_time_parse("2026-06-11T03:59:59Z", &due_at));
    /* The 48 hours now begin later, and the order came before they end. */
    assert_int_equal(s_referral(&home)->soc_due_at, due_at);
    world->env.context = NULL;
    s_end(&made);
    s_end(&ordered);
    s_end(&dropped);
    s_end(&late);
    s_end(&home);
}

static void an_ordered_date_and_a_return_home_move_the_clock(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_order_body, NULL);
}

/* ---- deciding ---- */

static void s_decide_body(struct test_world *world)
{
    s_open(world);
    struct call made = s_create(world, INCOMPLETE);
    const char *id = s_id(world, &made);
    struct call early = s_accept(world, id);
    assert_int_equal(early.rc, CN_CONFLICT);
    assert_string_equal(early.err.word, "guard_failed");
    assert_string_equal(early.err.fields[0].word, "patient_reachable");
    struct call valid = s_create(world, COMPLETE);
    const char *valid_id = s_id(world, &valid);
    struct call accepted = s_accept(world, valid_id);
    assert_int_equal(s_referral(&accepted)->status,
                     REF__REFERRAL__STATUS__ACCEPTED);
    assert_int_equal(s_referral(&accepted)->decision->outcome,
                     REF__REFERRAL__OUTCOME__ACCEPT);
    assert_string_equal(s_referral(&accepted)->decision->decided_by,
                        "key_test");
    struct call again = s_accept(world, valid_id);
    assert_int_equal(again.rc, CN_CONFLICT);
    assert_string_equal(again.err.word, "illegal_state");
    struct call why = s_decline(world, id, "because");
    assert_int_equal(why.rc, CN_INVALID);
    struct call declined = s_decline(world, id, "out_of_area");
    assert_int_equal(s_referral(&declined)->status,
                     REF__REFERRAL__STATUS__DECLINED);
    assert_string_equal(s_referral(&declined)->decision->reason_code,
                        "out_of_area");
    s_end(&made);
    s_end(&early);
    s_end(&valid);
    s_end(&accepted);
    s_end(&again);
    s_end(&why);
    s_end(&declined);
}

static void a_decision_needs_its_state_its_guards_and_its_reason(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_decide_body, NULL);
}

/* ---- events ---- */

static const struct cn_event_handler *s_handler(const char *type)
{
    for (size_t i = 0; i < REFERRALS_SUBSCRIPTION_COUNT; i++) {
        const struct cn_subscription *from = &REFERRALS_SUBSCRIPTIONS[i];
        for (size_t j = 0; j < from->handler_count; j++) {
            if (strcmp(from->handlers[j].type, type) == 0) {
                return &from->handlers[j];
            }
        }
    }
    print_error("no handler of %s\n", type);
    abort();
}

/* Applies an event as the consumer does. True: it had an effect. */
static bool s_apply(struct test_world *world,
                    const char *type,
                    struct cn_uuid aggregate,
                    int64_t seq,
                    const void *payload)
{
    static const struct cn_service SERVICE = { .name = "referrals" };
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    struct cn_err err = { 0 };
    const struct cn_event event = { .env = &world->env,
                                    .type = type,
                                    .event_id = cn_uuid_new(&world->env),
                                    .tenant_id = world->tenant,
                                    .aggregate_id = aggregate,
                                    .aggregate_seq = seq,
                                    .payload = payload,
                                    .correlation_id = "req_test",
                                    .now_at = world->env.now(&world->env),
                                    .arena = arena };
    struct cn_write *write = cn_write_begin_event(&world->env, arena, &event);
    assert_int_equal(
        cn_event_handle(&SERVICE, s_handler(type), &event, write, &err), CN_OK);
    bool effect = !cn_write_empty(write);
    if (effect) {
        assert_int_equal(cn_write_commit(write, &err), CN_OK);
    }
    return effect;
}

static void s_branch_body(struct test_world *world)
{
    struct cn_err err = { 0 };
    struct cn_op op = s_op(world, world->arena, &err);
    struct cn_uuid id = cn_uuid_new(&world->env);
    static const struct {
        const char *zone;
        int64_t seq;
        const char *known;
    } ROWS[] = { { "America/Denver", 2, "America/Denver" },
                 { "America/Chicago", 1, "America/Denver" },
                 { "Mars/Olympus", 3, "America/Denver" },
                 { "America/Chicago", 3, "America/Chicago" } };
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        Acc__Branch branch = ACC__BRANCH__INIT;
        Acc__BranchEvent payload = ACC__BRANCH_EVENT__INIT;
        branch.name = "Test";
        branch.time_zone = ROWS[i].zone;
        payload.branch = &branch;
        (void)s_apply(world, "branch.updated", id, ROWS[i].seq, &payload);
        assert_string_equal(branch_zone(&op, id), ROWS[i].known);
    }
}

static void an_older_branch_does_not_replace_a_newer_one(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_branch_body, NULL);
}

static bool s_visit(struct test_world *world,
                    const char *type,
                    const char *referral_id,
                    const char *visit_id,
                    Sch__Visit__Kind kind)
{
    Sch__Visit visit = SCH__VISIT__INIT;
    Sch__VisitEvent payload = SCH__VISIT_EVENT__INIT;
    visit.id = visit_id;
    visit.referral_id = referral_id;
    CN_SET(&visit, kind, kind);
    CN_SET(&visit, starts_at, 1780369200000000); /* 2026-06-02 03:00 UTC */
    payload.visit = &visit;
    return s_apply(world, type, cn_uuid_new(&world->env), 1, &payload);
}

static void s_admit_body(struct test_world *world)
{
    const Sch__Visit__Kind soc = SCH__VISIT__KIND__SOC;
    s_open(world);
    struct call made = s_create(world, COMPLETE);
    const char *id = s_id(world, &made);
    struct call accepted = s_accept(world, id);
    assert_int_equal(accepted.rc, CN_OK);
    assert_false(
        s_visit(world, "visit.booked", id, "vis_1", SCH__VISIT__KIND__ROUTINE));
    assert_true(s_visit(world, "visit.booked", id, "vis_1", soc));
    assert_false(s_visit(world, "visit.booked", id, "vis_1", soc));
    struct call booked = s_get(world, id);
    assert_int_equal(s_referral(&booked)->status,
                     REF__REFERRAL__STATUS__SOC_SCHEDULED);
    assert_string_equal(s_referral(&booked)->soc_visit_id, "vis_1");
    assert_true(s_visit(world, "visit.completed", id, "vis_1", soc));
    assert_false(s_visit(world, "visit.completed", id, "vis_1", soc));
    assert_false(s_visit(world, "visit.booked",
                         "ref_00000000000000000000000000", "vis_1", soc));
    struct call admitted = s_get(world, id);
    assert_int_equal(s_referral(&admitted)->status,
                     REF__REFERRAL__STATUS__ADMITTED);
    /* 03:00 UTC is still the day before in New York. */
    assert_int_equal(
        s_number(world, "episode WHERE soc_date = '2026-06-01' AND "), 1);
    s_assert_log(
        world, "referral",
        "referral.received 1,referral.validated 2,"
        "referral.accepted 3,referral.scheduled 4,referral.admitted 5");
    s_assert_log(world, "episode", "episode.opened 1");
    s_end(&made);
    s_end(&accepted);
    s_end(&booked);
    s_end(&admitted);
}

static void a_booked_and_made_start_of_care_admits_once(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_admit_body, NULL);
}

/* The one warning of the referral; "" when there is none. */
static const char *s_warning(struct test_world *world, const char *id)
{
    struct call got = s_get(world, id);
    const Ref__Referral *referral = s_referral(&got);
    assert_true(referral->n_warnings <= 1);
    const char *warning = cn_arena_strdup(
        world->arena, referral->n_warnings > 0 ? referral->warnings[0] : "");
    s_end(&got);
    return warning;
}

/* What has no move is told to a person, once; what is told again is nothing. */
static void s_unplaced_body(struct test_world *world)
{
    const Sch__Visit__Kind soc = SCH__VISIT__KIND__SOC;
    s_open(world);
    struct call made = s_create(world, COMPLETE);
    const char *id = s_id(world, &made);
    assert_true(s_visit(world, "visit.booked", id, "vis_1", soc));
    assert_string_equal(s_warning(world, id), "visit_booked_before_acceptance");
    assert_false(s_visit(world, "visit.booked", id, "vis_1", soc));
    assert_true(s_visit(world, "visit.cancelled", id, "vis_1", soc));
    assert_string_equal(s_warning(world, id), "");
    struct call accepted = s_accept(world, id);
    struct call declined = s_decline(world, id, "no_capacity");
    assert_int_equal(accepted.rc, CN_OK);
    assert_int_equal(declined.rc, CN_OK);
    assert_true(s_visit(world, "visit.booked", id, "vis_2", soc));
    assert_string_equal(s_warning(world, id), "visit_booked_after_end");
    assert_true(s_visit(world, "visit.cancelled", id, "vis_2", soc));
    assert_string_equal(s_warning(world, id), "");
    assert_true(s_visit(world, "visit.completed", id, "vis_3", soc));
    assert_string_equal(s_warning(world, id), "visit_completed_after_end");
    assert_false(s_visit(world, "visit.completed", id, "vis_3", soc));
    struct call got = s_get(world, id);
    assert_int_equal(s_referral(&got)->status, REF__REFERRAL__STATUS__DECLINED);
    assert_int_equal(s_number(world, "episode WHERE "), 0);
    s_end(&made);
    s_end(&accepted);
    s_end(&declined);
    s_end(&got);
}

static void an_event_without_a_move_is_a_warning(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_unplaced_body, NULL);
}

/* Made before the acceptance, and told again after it. */
static void s_made_before_body(struct test_world *world)
{
    const Sch__Visit__Kind soc = SCH__VISIT__KIND__SOC;
    s_open(world);
    struct call made = s_create(world, COMPLETE);
    const char *id = s_id(world, &made);
    assert_true(s_visit(world, "visit.completed", id, "vis_1", soc));
    assert_string_equal(s_warning(world, id),
                        "visit_completed_before_acceptance");
    struct call accepted = s_accept(world, id);
    assert_int_equal(accepted.rc, CN_OK);
    assert_true(s_visit(world, "visit.completed", id, "vis_1", soc));
    assert_string_equal(s_warning(world, id), "");
    assert_int_equal(s_number(world, "episode WHERE "), 1);
    assert_false(s_visit(world, "visit.completed", id, "vis_1", soc));
    assert_true(s_visit(world, "visit.completed", id, "vis_2", soc));
    assert_string_equal(s_warning(world, id),
                        "visit_completed_after_admission");
    assert_int_equal(s_number(world, "episode WHERE "), 1);
    s_end(&made);
    s_end(&accepted);
}

static void
a_start_of_care_made_too_early_admits_with_the_acceptance(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_made_before_body, NULL);
}

static void s_cancelled_body(struct test_world *world)
{
    const Sch__Visit__Kind soc = SCH__VISIT__KIND__SOC;
    s_open(world);
    struct call made = s_create(world, COMPLETE);
    const char *id = s_id(world, &made);
    struct call accepted = s_accept(world, id);
    assert_int_equal(accepted.rc, CN_OK);
    assert_true(s_visit(world, "visit.booked", id, "vis_1", soc));
    /* Another visit than the one that the referral waits for. */
    assert_false(s_visit(world, "visit.cancelled", id, "vis_2", soc));
    assert_false(s_visit(world, "visit.cancelled", id, "vis_1",
                         SCH__VISIT__KIND__ROUTINE));
    assert_true(s_visit(world, "visit.cancelled", id, "vis_1", soc));
    assert_false(s_visit(world, "visit.cancelled", id, "vis_1", soc));
    struct call got = s_get(world, id);
    assert_int_equal(s_referral(&got)->status, REF__REFERRAL__STATUS__ACCEPTED);
    assert_null(s_referral(&got)->soc_visit_id);
    assert_int_equal(s_number(world, "deadline WHERE state = 'open' AND "), 1);
    assert_int_equal(
        s_number(world, "audit WHERE action = 'referral.unschedule' AND "), 1);
    assert_true(s_visit(world, "visit.booked", id, "vis_3", soc));
    struct call declined = s_decline(world, id, "no_capacity");
    assert_int_equal(declined.rc, CN_OK);
    assert_false(s_visit(world, "visit.cancelled", id, "vis_3", soc));
    s_assert_log(world, "referral",
                 "referral.received 1,referral.validated 2,"
                 "referral.accepted 3,referral.scheduled 4,referral.updated 5,"
                 "referral.scheduled 6,referral.declined 7");
    s_end(&made);
    s_end(&accepted);
    s_end(&got);
    s_end(&declined);
}

static void a_cancelled_start_of_care_is_to_be_booked_again(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_cancelled_body, NULL);
}

/* ---- memory ---- */

/* The Nth allocation of a create fails: an error, and nothing is kept. */
static void s_memory_body(struct test_world *world)
{
    s_open(world);
    enum cn_code rc = CN_NOMEM;
    unsigned n = 1;
    for (; rc != CN_OK; n += 3) {
        struct call call = s_call(world, "memory", COMPLETE);
        Ref__CreateReferralRequest body = REF__CREATE_REFERRAL_REQUEST__INIT;
        body.referral =
            s_json(world->arena, &ref__referral__shape, COMPLETE, NULL);
        call.request.body = &body;
        cn_arena_fail_at(call.arena, n);
        s_run(&call, "CreateReferral");
        rc = call.rc;
        if (rc != CN_OK) {
            assert_int_equal(rc, CN_NOMEM);
            assert_int_equal(s_number(world, "referral WHERE "), 0);
        }
        s_end(&call);
        assert_true(n < 2000);
    }
    assert_int_equal(s_number(world, "referral WHERE "), 1);
}

static void lack_of_memory_keeps_nothing(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_memory_body, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_referral_is_kept_and_shown_with_what_is_missing),
        cmocka_unit_test(a_complete_referral_is_valid_at_once),
        cmocka_unit_test(one_identifier_finds_the_patient_two_people_do_not),
        cmocka_unit_test(what_names_nothing_that_exists_is_refused),
        cmocka_unit_test(a_branch_that_was_not_told_of_yet_is_asked_for_again),
        cmocka_unit_test(one_of_many_makes_the_referral_of_a_source_and_id),
        cmocka_unit_test(one_key_makes_one_referral_and_equal_replies),
        cmocka_unit_test(a_patch_changes_what_it_names_or_nothing),
        cmocka_unit_test(completing_the_patient_validates_the_referral),
        cmocka_unit_test(two_halves_at_once_make_a_whole),
        cmocka_unit_test(
            an_arrival_and_a_change_of_its_patient_know_of_each_other),
        cmocka_unit_test(an_ordered_date_and_a_return_home_move_the_clock),
        cmocka_unit_test(a_decision_needs_its_state_its_guards_and_its_reason),
        cmocka_unit_test(an_older_branch_does_not_replace_a_newer_one),
        cmocka_unit_test(a_booked_and_made_start_of_care_admits_once),
        cmocka_unit_test(a_cancelled_start_of_care_is_to_be_booked_again),
        cmocka_unit_test(an_event_without_a_move_is_a_warning),
        cmocka_unit_test(
            a_start_of_care_made_too_early_admits_with_the_acceptance),
        cmocka_unit_test(lack_of_memory_keeps_nothing),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
