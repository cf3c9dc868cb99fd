/* SPDX-License-Identifier: Apache-2.0 */
/* The clock C01 of a referral as a deadline. It starts, moves, stops and is
 * met in the unit of the change that causes it, and has the same words as the
 * referral. */
#include "cairn/scheduling.pb-c.h"
#include "common/deadlines/deadline_rule.h"
#include "common/deadlines/deadline_unit.h"
#include "common/wire/message.h"
#include "services/referrals/events.h"
#include "tests/lib/call.h"
#include "tests/store/referrals_calls.h"

#define STATE(word) DLN__DEADLINE__STATE__##word

static int64_t s_clock_at;
static struct cn_service s_service;

static int64_t s_at(const char *text)
{
    int64_t at = 0;
    assert_true(cn_time_parse(text, &at));
    return at;
}

/* The world of a test, on a Monday of its own. */
static void s_begin(struct test_world *world)
{
    s_open(world);
    s_clock_at = s_at("2026-06-01T15:00:00Z");
    world->env.context = &s_clock_at;
}

static struct call s_deadlines(struct test_world *world, const char *id)
{
    struct call call = s_call(world, NULL, "deadlines");
    Dln__ListDeadlinesRequest *body = CN_NEW(
        call.arena, dln__list_deadlines_request, Dln__ListDeadlinesRequest);
    body->id = id;
    call.request.body = body;
    s_run(&call, "ListReferralDeadlines");
    return call;
}

/* The only clock of the referral; it lives in the world's arena. */
static const Dln__Deadline *s_clock(struct test_world *world, const char *id)
{
    struct call call = s_deadlines(world, id);
    assert_int_equal(call.rc, CN_OK);
    const Dln__ListDeadlinesResponse *list =
        (const Dln__ListDeadlinesResponse *)call.reply.body;
    assert_int_equal(list->n_data, 1);
    assert_false(list->has_more);
    const Dln__Deadline *clock =
        cn_message_copy(world->arena, &list->data[0]->base);
    assert_non_null(clock);
    s_end(&call);
    return clock;
}

/* The referral's own words and the deadline's are the same. */
static void s_assert_agree(struct test_world *world, const char *id)
{
    struct call got = s_get(world, id);
    const Ref__Referral *referral = s_referral(&got);
    const Dln__Deadline *clock = s_clock(world, id);
    assert_int_equal(clock->due_at, referral->soc_due_at);
    assert_string_equal(clock->why, referral->soc_due_why);
    assert_string_equal(clock->branch_id, referral->branch_id);
    assert_string_equal(clock->subject_id, id);
    s_end(&got);
}

static enum cn_code s_soc(struct test_world *world,
                          const char *type,
                          const char *referral_id,
                          int64_t completed_at)
{
    Sch__VisitEvent payload = SCH__VISIT_EVENT__INIT;
    Sch__Visit visit = SCH__VISIT__INIT;
    struct cn_err err = { 0 };
    visit.id = "vis_1";
    visit.referral_id = referral_id;
    CN_SET(&visit, kind, SCH__VISIT__KIND__SOC);
    visit.has_completed_at = completed_at != 0;
    visit.completed_at = completed_at;
    payload.visit = &visit;
    const struct test_event event = {
        .producer = "scheduling",
        .type = type,
        .aggregate_type = "visit",
        .aggregate_id = cn_uuid_new(&world->env),
        .aggregate_seq = 1,
        .payload = &payload.base,
    };
    return test_apply(world, &s_service, &event, &err);
}

/* A valid referral that is accepted and booked. */
static const char *s_booked(struct test_world *world)
{
    struct call made = s_create(world, COMPLETE);
    const char *id = s_id(world, &made);
    struct call accepted = s_accept(world, id);
    assert_int_equal(accepted.rc, CN_OK);
    assert_int_equal(s_soc(world, "visit.booked", id, 0), CN_OK);
    s_end(&made);
    s_end(&accepted);
    return id;
}

/* ---- the rule ---- */

static void s_rule_body(struct test_world *world)
{
    struct cn_err err = { 0 };
    struct cn_op op = { .env = &world->env,
                        .arena = world->arena,
                        .tenant_id = world->tenant,
                        .err = &err };
    const struct cn_clock_case of = { .at = s_at("2026-06-01T15:00:00Z") };
    const struct cn_clock_rule *rule = cn_clock_rule_of(&op, "C01", &of);
    assert_false(cn_failed(&op));
    assert_int_equal(rule->amount, 48);
    assert_int_equal(rule->unit, CN_CLOCK_ELAPSED_HOURS);
    assert_int_equal(rule->start_count, 2);
    assert_string_equal(rule->starts[0], "valid_referral");
    assert_string_equal(rule->starts[1], "return_home");
    assert_string_equal(rule->ordered, "start_of_care_ordered");
    assert_string_equal(rule->told_by, "scheduling");
    assert_string_equal(rule->trigger, "referral.validated");
    assert_string_equal(rule->citation, "42 CFR 484.55(a)(1)");
    assert_int_equal(rule->warn_count, 3);
    assert_int_equal(rule->warn_before[0], CN_DAY);
    assert_false(rule->has_opens_before);
}

/* ---- start, move, stop ---- */

static void s_start_body(struct test_world *world)
{
    s_begin(world);
    struct call made = s_create(world, COMPLETE);
    const char *id = s_id(world, &made);
    const Dln__Deadline *clock = s_clock(world, id);
    s_assert_agree(world, id);
    assert_string_equal(clock->rule, "C01");
    assert_string_equal(clock->citation, "42 CFR 484.55(a)(1)");
    assert_int_equal(clock->state, STATE(OPEN));
    assert_int_equal(clock->starts_at, s_clock_at);
    assert_int_equal(clock->n_warn_at, 3);
    assert_int_equal(clock->warn_at[0], s_clock_at + CN_DAY);
    s_assert_log(world, "deadline", "deadline.started 1");
    assert_int_equal(s_number(world, "due WHERE kind = 'deadline.fire' AND"
                                     " fire_at = '2026-06-02 15:00Z' AND "),
                     1);
    assert_int_equal(s_number(world, "audit WHERE action = 'deadline.list'"
                                     " AND array_length(patients, 1) = 1 AND "),
                     2);
    s_end(&made);
}

static void s_incomplete_body(struct test_world *world)
{
    s_begin(world);
    struct call made = s_create(world, INCOMPLETE);
    const char *id = s_id(world, &made);
    struct call none = s_deadlines(world, id);
    const Dln__ListDeadlinesResponse *list =
        (const Dln__ListDeadlinesResponse *)none.reply.body;
    assert_int_equal(none.rc, CN_OK);
    assert_int_equal(list->n_data, 0);
    s_clock_at += CN_HOUR;
    struct call patched = s_patch(
        world, id,
        "{\"disciplines\": [\"rn\"], \"ordered_soc_date\": \"2026-06-05\"}", 0);
    assert_int_equal(patched.rc, CN_OK);
    struct call reached = s_patch_patient(world, s_referral(&made)->patient_id,
                                          "{\"phones\": [\"270 5550100\"]}");
    assert_int_equal(reached.rc, CN_OK);
    assert_int_equal(s_clock(world, id)->starts_at, s_clock_at);
    s_assert_agree(world, id);
    s_assert_log(world, "deadline", "deadline.started 1");
    s_end(&made);
    s_end(&none);
    s_end(&patched);
    s_end(&reached);
}

static void s_move_body(struct test_world *world)
{
    s_begin(world);
    struct call made = s_create(world, COMPLETE);
    const char *id = s_id(world, &made);
    s_clock_at += CN_HOUR;
    struct call home =
        s_patch(world, id, "{\"return_home_at\": \"2026-06-02T18:00:00Z\"}", 0);
    assert_int_equal(home.rc, CN_OK);
    assert_int_equal(s_clock(world, id)->due_at, s_at("2026-06-04T18:00:00Z"));
    s_assert_agree(world, id);
    struct call ordered =
        s_patch(world, id, "{\"ordered_soc_date\": \"2026-06-10\"}", 0);
    assert_int_equal(ordered.rc, CN_OK);
    assert_int_equal(s_clock(world, id)->due_at, s_at("2026-06-11T03:59:59Z"));
    s_assert_agree(world, id);
    /* A change that the clock does not depend on does not move it. */
    struct call other = s_patch(world, id,
                                "{\"needs\": \"wound care\","
                                " \"disciplines\": [\"pt\"]}",
                                0);
    assert_int_equal(other.rc, CN_OK);
    /* The zone of the place of care is the patient's. */
    struct call moved = s_patch_patient(world, s_referral(&made)->patient_id,
                                        "{\"time_zone\": \"America/Denver\"}");
    assert_int_equal(moved.rc, CN_OK);
    assert_int_equal(s_clock(world, id)->due_at, s_at("2026-06-11T05:59:59Z"));
    s_assert_agree(world, id);
    s_assert_log(world, "deadline",
                 "deadline.started 1,deadline.changed 2,deadline.changed 3,"
                 "deadline.changed 4");
    assert_int_equal(s_number(world, "due WHERE kind = 'deadline.fire' AND"
                                     " fire_at = '2026-06-10 05:59:59Z' AND "),
                     1);
    s_end(&made);
    s_end(&home);
    s_end(&ordered);
    s_end(&other);
    s_end(&moved);
}

static void s_stop_body(struct test_world *world)
{
    s_begin(world);
    struct call made = s_create(world, COMPLETE);
    const char *id = s_id(world, &made);
    struct call declined = s_decline(world, id, "no_capacity");
    assert_int_equal(declined.rc, CN_OK);
    assert_int_equal(s_clock(world, id)->state, STATE(CANCELLED));
    s_assert_log(world, "deadline", "deadline.started 1,deadline.cancelled 2");
    assert_int_equal(s_number(world, "due WHERE "), 0);
    s_end(&made);
    s_end(&declined);
}

/* ---- met, late ---- */

static void s_met_body(struct test_world *world)
{
    s_begin(world);
    const char *id = s_booked(world);
    s_clock_at += 47 * CN_HOUR;
    assert_int_equal(s_soc(world, "visit.completed", id, s_clock_at - 5),
                     CN_OK);
    const Dln__Deadline *clock = s_clock(world, id);
    assert_int_equal(clock->state, STATE(MET));
    assert_int_equal(clock->met_at, s_clock_at - 5);
    s_assert_log(world, "deadline", "deadline.started 1,deadline.met 2");
    assert_int_equal(s_number(world, "due WHERE "), 0);
    /* The event again: no second effect. */
    assert_int_equal(s_soc(world, "visit.completed", id, s_clock_at), CN_OK);
    s_assert_log(world, "deadline", "deadline.started 1,deadline.met 2");
}

static void s_late_body(struct test_world *world)
{
    s_begin(world);
    const char *id = s_booked(world);
    s_clock_at += 49 * CN_HOUR;
    assert_int_equal(s_soc(world, "visit.completed", id, s_clock_at), CN_OK);
    const Dln__Deadline *clock = s_clock(world, id);
    assert_int_equal(clock->state, STATE(BREACHED));
    assert_int_equal(clock->met_at, s_clock_at);
    assert_string_equal(clock->breach_reason, "late");
    s_assert_log(world, "deadline", "deadline.started 1,deadline.breached 2");
}

/* ---- who sees it ---- */

static void s_reach_body(struct test_world *world)
{
    const struct cn_uuid elsewhere = cn_uuid_new(&world->env);
    s_begin(world);
    struct call made = s_create(world, COMPLETE);
    const char *id = s_id(world, &made);
    const struct cn_uuid own = s_branch(world);
    s_only_branch = &own;
    assert_int_equal(s_clock(world, id)->state, STATE(OPEN));
    s_only_branch = &elsewhere;
    struct call theirs = s_deadlines(world, id);
    struct call unknown = s_deadlines(world, "ref_00000000000000000000000000");
    assert_int_equal(theirs.rc, CN_NOT_FOUND);
    assert_true(test_same_refusal(theirs.err, unknown.err));
    s_only_branch = NULL;
    s_end(&made);
    s_end(&theirs);
    s_end(&unknown);
}

#define TEST(name, body)                                                       \
    static void name(void **state)                                             \
    {                                                                          \
        (void)state;                                                           \
        test_world_run(s_pg, CONNECTIONS, body, NULL);                         \
    }
TEST(the_rule_c01_is_the_row_of_the_reference, s_rule_body)
TEST(a_valid_referral_starts_its_clock_in_its_own_unit, s_start_body)
TEST(what_completes_a_referral_starts_its_clock, s_incomplete_body)
TEST(new_facts_move_the_clock_and_nothing_else_does, s_move_body)
TEST(a_declined_referral_has_its_clock_stopped, s_stop_body)
TEST(the_visit_in_time_meets_the_clock_once, s_met_body)
TEST(a_late_visit_is_a_breach_with_its_reason, s_late_body)
TEST(the_clock_is_seen_where_the_referral_is, s_reach_body)

static int s_setup_all(void **state)
{
    s_service = (struct cn_service){
        .name = "referrals",
        .subscriptions = REFERRALS_SUBSCRIPTIONS,
        .subscription_count = REFERRALS_SUBSCRIPTION_COUNT,
    };
    return s_setup(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rule_c01_is_the_row_of_the_reference),
        cmocka_unit_test(a_valid_referral_starts_its_clock_in_its_own_unit),
        cmocka_unit_test(what_completes_a_referral_starts_its_clock),
        cmocka_unit_test(new_facts_move_the_clock_and_nothing_else_does),
        cmocka_unit_test(a_declined_referral_has_its_clock_stopped),
        cmocka_unit_test(the_visit_in_time_meets_the_clock_once),
        cmocka_unit_test(a_late_visit_is_a_breach_with_its_reason),
        cmocka_unit_test(the_clock_is_seen_where_the_referral_is),
    };
    return cmocka_run_group_tests(tests, s_setup_all, s_teardown);
}
