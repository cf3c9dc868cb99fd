/* SPDX-License-Identifier: Apache-2.0 */
/* Lists and reach of referrals and patients against a real PostgreSQL. */
#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/wire/message.h"
#include "services/referrals/rules.h"
#include "tests/store/referrals_calls.h"

/* ---- lists ---- */

static struct call s_list(struct test_world *world,
                          const char *statuses,
                          int limit,
                          const char *cursor)
{
    struct call call = s_call(world, NULL, "list");
    struct cn_err err = { 0 };
    Ref__ListReferralsRequest *body = CN_NEW(
        call.arena, ref__list_referrals_request, Ref__ListReferralsRequest);
    if (statuses != NULL) {
        assert_int_equal(cn_json_set(call.arena,
                                     &ref__list_referrals_request__shape,
                                     &body->base, "status", statuses, &err),
                         CN_OK);
    }
    CN_SET(body, limit, limit);
    body->cursor = cursor;
    call.request.body = body;
    s_run(&call, "ListReferrals");
    return call;
}

/* Reads all pages, and checks that each row comes after the one before.
 * Returns the number of rows. */
static size_t s_walk(struct test_world *world, const char *statuses, int limit)
{
    const char *cursor = NULL;
    size_t count = 0;
    int64_t last_at = 0;
    do {
        struct call call = s_list(world, statuses, limit, cursor);
        assert_int_equal(call.rc, CN_OK);
        const Ref__ListReferralsResponse *page =
            (const Ref__ListReferralsResponse *)call.reply.body;
        assert_true(page->n_data <= (size_t)limit);
        assert_int_equal(page->has_more, page->next_cursor != NULL);
        for (size_t i = 0; i < page->n_data; i++) {
            const Ref__Referral *referral = page->data[i];
            int64_t at = referral->has_soc_due_at ? referral->soc_due_at
                                                  : referral->received_at;
            assert_true(at >= last_at);
            last_at = at;
        }
        count += page->n_data;
        cursor = cn_arena_strdup(world->arena, page->next_cursor);
        s_end(&call);
    } while (cursor != NULL);
    return count;
}

static void s_worklist_body(struct test_world *world)
{
    enum { MADE = 23 };
    s_open(world);
    for (int i = 0; i < MADE; i++) {
        struct call made =
            s_create(world, i % 3 == 0 ? "{\"needs\": \"a\", \"patient\": "
                                         "{\"phones\": [\"270 5550100\"], "
                                         "\"name\": {\"family\": \"T\"}}, "
                                         "\"ordering_physician\": {\"name\": "
                                         "\"P\", \"agrees_to_sign\": true}, "
                                         "\"disciplines\": [\"pt\"]}"
                                       : "{\"needs\": \"b\"}");
        assert_int_equal(made.rc, CN_OK);
        s_end(&made);
    }
    assert_int_equal(s_walk(world, "captured", 4), 15);
    assert_int_equal(s_walk(world, "valid", 200), 8);
    assert_int_equal(s_walk(world, "valid,captured", 5), MADE);
    assert_int_equal(s_walk(world, NULL, 1), MADE);
    assert_int_equal(s_walk(world, "accepted", 5), 0);
    /* A cursor holds for its own filters only. */
    struct call page = s_list(world, "captured", 4, NULL);
    const Ref__ListReferralsResponse *list =
        (const Ref__ListReferralsResponse *)page.reply.body;
    struct call wrong = s_list(world, "valid", 4, list->next_cursor);
    assert_int_equal(wrong.rc, CN_MALFORMED);
    assert_int_equal(s_number(world, "audit WHERE action = 'referral.list'"
                                     " AND array_length(patients, 1) = 4"
                                     " AND "),
                     4);
    s_end(&page);
    s_end(&wrong);
}

static void the_worklist_pages_without_gaps_or_repeats(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_worklist_body, NULL);
}

static struct call
s_patients(struct test_world *world, const char *family, const char *cursor)
{
    struct call call = s_call(world, NULL, "patients");
    Ref__ListPatientsRequest *body = CN_NEW(
        call.arena, ref__list_patients_request, Ref__ListPatientsRequest);
    body->family = family;
    body->cursor = cursor;
    CN_SET(body, limit, 2);
    call.request.body = body;
    s_run(&call, "ListPatients");
    assert_int_equal(call.rc, CN_OK);
    return call;
}

static void s_patients_body(struct test_world *world)
{
    static const char *const NAMES[] = { "M\xC3\xBCller", "Muller-Lee", "Mull",
                                         "Nobody",        "mu'ller",    "Abc" };
    static const struct {
        const char *family;
        const char *found; /* in order, the names' normal forms */
    } ROWS[] = {
        { "M\xC3\xBCLL", "mull,muller,muller,mullerlee" },
        { "muller", "muller,muller,mullerlee" },
        { "n", "nobody" },
        { "x", "" },
        { NULL, "abc,mull,muller,muller,mullerlee,nobody" },
    };
    s_open(world);
    for (size_t i = 0; i < CN_COUNT(NAMES); i++) {
        char json[200];
        (void)snprintf(json, sizeof(json),
                       "{\"patient\": {\"name\": {\"family\": \"%s\"}}}",
                       NAMES[i]);
        struct call made = s_create(world, json);
        assert_int_equal(made.rc, CN_OK);
        s_end(&made);
    }
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        const char *found = "";
        const char *cursor = NULL;
        do {
            struct call call = s_patients(world, ROWS[i].family, cursor);
            const Ref__ListPatientsResponse *page =
                (const Ref__ListPatientsResponse *)call.reply.body;
            for (size_t j = 0; j < page->n_data; j++) {
                found = cn_arena_printf(
                    world->arena, "%s%s%s", found, found[0] ? "," : "",
                    name_norm(call.arena, page->data[j]->name->family));
            }
            cursor = cn_arena_strdup(world->arena, page->next_cursor);
            s_end(&call);
        } while (cursor != NULL);
        assert_string_equal(found, ROWS[i].found);
    }
}

static void patients_are_found_by_the_beginning_of_the_name(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_patients_body, NULL);
}

/* ---- by what others know, and by what changed ---- */

/* The ids of the rows, joined by blanks; "422 /x" for a refusal. */
static const char *s_found(struct test_world *world,
                           const struct cn_shape *shape,
                           const char *rpc,
                           const char *const parameters[][2])
{
    struct call call = s_call(world, NULL, "found");
    struct cn_err err = { 0 };
    ProtobufCMessage *body = cn_message_new(call.arena, shape->descriptor);
    const char *found = "";
    for (size_t i = 0; parameters[i][0] != NULL; i++) {
        assert_int_equal(cn_json_set(call.arena, shape, body, parameters[i][0],
                                     parameters[i][1], &err),
                         CN_OK);
    }
    call.request.body = body;
    s_run(&call, rpc);
    if (call.rc != CN_OK) {
        found = cn_arena_printf(world->arena, "%u %s", cn_code_status(call.rc),
                                call.err.fields[0].pointer);
    } else if (shape == &ref__list_patients_request__shape) {
        const Ref__ListPatientsResponse *page =
            (const Ref__ListPatientsResponse *)call.reply.body;
        for (size_t i = 0; i < page->n_data; i++) {
            found = cn_arena_printf(world->arena, "%s%s%s", found,
                                    i > 0 ? " " : "", page->data[i]->id);
        }
    } else {
        const Ref__ListReferralsResponse *page =
            (const Ref__ListReferralsResponse *)call.reply.body;
        for (size_t i = 0; i < page->n_data; i++) {
            found = cn_arena_printf(world->arena, "%s%s%s", found,
                                    i > 0 ? " " : "", page->data[i]->id);
        }
    }
    s_end(&call);
    return found;
}

#define REFERRALS_BY(...)                                                      \
    s_found(world, &ref__list_referrals_request__shape, "ListReferrals",       \
            (const char *const[][2]){ __VA_ARGS__, { NULL, NULL } })
#define PATIENTS_BY(...)                                                       \
    s_found(world, &ref__list_patients_request__shape, "ListPatients",         \
            (const char *const[][2]){ __VA_ARGS__, { NULL, NULL } })

static void s_external_body(struct test_world *world)
{
    s_open(world);
    struct call made = s_create(
        world, "{\"needs\": \"a\", \"source\": {\"system\": \"HIS\","
               " \"external_id\": \"X-1\"}, \"patient\": {\"identifiers\":"
               " [{\"system\": \"HIS\", \"value\": \"MRN-1\"},"
               " {\"system\": \"SSA\", \"value\": \"900-00-0000\","
               " \"type\": \"SS\"}]}}");
    assert_int_equal(made.rc, CN_OK);
    const char *id = s_id(world, &made);
    const char *patient = cn_arena_strdup(
        world->arena, ((const Ref__Referral *)made.reply.body)->patient_id);
    s_end(&made);
    struct call other = s_create(world, INCOMPLETE);
    s_end(&other);
    assert_string_equal(
        REFERRALS_BY({ "source_system", "HIS" }, { "external_id", "X-1" }), id);
    assert_string_equal(
        REFERRALS_BY({ "source_system", "HIS" }, { "external_id", "X-1" },
                     { "status", "captured" }, { "patient_id", patient }),
        id);
    assert_string_equal(REFERRALS_BY({ "source_system", "HIS" },
                                     { "external_id", "X-1" },
                                     { "status", "accepted" }),
                        "");
    assert_string_equal(
        REFERRALS_BY({ "source_system", "HIS" }, { "external_id", "X-2" }), "");
    assert_string_equal(REFERRALS_BY({ "external_id", "X-1" }),
                        "422 /source_system");
    assert_string_equal(PATIENTS_BY({ "identifier_system", "HIS" },
                                    { "identifier_value", "MRN-1" }),
                        patient);
    assert_string_equal(PATIENTS_BY({ "identifier_system", "HIS" },
                                    { "identifier_value", "MRN-2" }),
                        "");
    assert_string_equal(PATIENTS_BY({ "identifier_system", "SSA" },
                                    { "identifier_value", "900-00-0000" }),
                        "");
    assert_string_equal(PATIENTS_BY({ "identifier_system", "HIS" }),
                        "422 /identifier_value");
    assert_string_equal(PATIENTS_BY({ "identifier_system", "HIS" },
                                    { "identifier_value", "MRN-1" },
                                    { "family", "a" }),
                        "422 /identifier_value");
}

static void a_record_is_found_by_what_others_call_it(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_external_body, NULL);
}

static void s_changes_body(struct test_world *world)
{
    const char *ids[3];
    const char *patients[3];
    const char *times[3];
    s_open(world);
    for (size_t i = 0; i < CN_COUNT(ids); i++) {
        char at[CN_TIME_TEXT_MAX];
        struct call made = s_create(world, "{\"needs\": \"a\"}");
        assert_int_equal(made.rc, CN_OK);
        const Ref__Referral *referral = (const Ref__Referral *)made.reply.body;
        ids[i] = cn_arena_strdup(world->arena, referral->id);
        patients[i] = cn_arena_strdup(world->arena, referral->patient_id);
        cn_time_format(referral->updated_at, at);
        times[i] = cn_arena_strdup(world->arena, at);
        s_end(&made);
    }
    assert_string_equal(
        REFERRALS_BY({ "updated_since", times[0] }),
        cn_arena_printf(world->arena, "%s %s %s", ids[0], ids[1], ids[2]));
    assert_string_equal(REFERRALS_BY({ "updated_since", times[1] }),
                        cn_arena_printf(world->arena, "%s %s", ids[1], ids[2]));
    assert_string_equal(REFERRALS_BY({ "updated_since", times[0] },
                                     { "patient_id", patients[1] }),
                        ids[1]);
    assert_string_equal(
        REFERRALS_BY({ "updated_since", times[0] }, { "status", "accepted" }),
        "");
    assert_string_equal(
        PATIENTS_BY({ "updated_since", times[1] }),
        cn_arena_printf(world->arena, "%s %s", patients[1], patients[2]));
    assert_string_equal(
        REFERRALS_BY({ "updated_since", "2100-01-01T00:00:00Z" }), "");
    assert_string_equal(
        PATIENTS_BY({ "updated_since", times[1] }, { "family", "a" }),
        "422 /updated_since");
}

static void a_list_by_change_begins_at_its_instant(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_changes_body, NULL);
}

/* ---- others ---- */

static void s_others_body(struct test_world *world)
{
    s_open(world);
    struct call made = s_create(world, INCOMPLETE);
    const char *id = s_id(world, &made);
    struct cn_uuid own = world->tenant;
    /* Another tenant: as if it did not exist, and free to use the same names.
     */
    world->tenant = cn_uuid_new(&world->env);
    s_add_branch(world, world->tenant);
    struct call unknown = s_get(world, "ref_00000000000000000000000000");
    struct call other = s_get(world, id);
    assert_int_equal(other.rc, CN_NOT_FOUND);
    assert_string_equal(other.err.msg, unknown.err.msg);
    assert_int_equal(s_walk(world, NULL, 50), 0);
    struct call theirs = s_create(world, INCOMPLETE);
    assert_int_equal(theirs.rc, CN_OK);
    assert_int_equal(theirs.reply.status, 0);
    world->tenant = own;
    s_end(&made);
    s_end(&unknown);
    s_end(&other);
    s_end(&theirs);
}

static void another_tenant_sees_nothing_and_is_not_hindered(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_others_body, NULL);
}

static void s_branches_body(struct test_world *world)
{
    s_open(world);
    struct call made = s_create(world, INCOMPLETE);
    const char *id = s_id(world, &made);
    const char *patient_id =
        cn_arena_strdup(world->arena, s_referral(&made)->patient_id);
    struct cn_uuid elsewhere = cn_uuid_new(&world->env);
    const struct cn_uuid own = s_branch(world);
    const struct {
        const struct cn_uuid *branch;
        enum cn_code rc;
    } ROWS[] = { { &own, CN_OK }, { &elsewhere, CN_NOT_FOUND } };
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        struct call call = s_call(world, NULL, "get");
        Ref__GetReferralRequest referral = REF__GET_REFERRAL_REQUEST__INIT;
        Ref__GetPatientRequest patient = REF__GET_PATIENT_REQUEST__INIT;
        Ref__ListReferralsRequest list = REF__LIST_REFERRALS_REQUEST__INIT;
        referral.id = id;
        patient.id = patient_id;
        call.request.reach = CN_REACH_BRANCH;
        call.request.principal.branches = ROWS[i].branch;
        call.request.principal.branch_count = 1;
        call.request.body = &referral;
        s_run(&call, "GetReferral");
        assert_int_equal(call.rc, ROWS[i].rc);
        call.request.body = &patient;
        s_run(&call, "GetPatient");
        assert_int_equal(call.rc, ROWS[i].rc);
        call.request.body = &list;
        s_run(&call, "ListReferrals");
        assert_int_equal(call.rc, CN_OK);
        assert_int_equal(
            ((const Ref__ListReferralsResponse *)call.reply.body)->n_data,
            ROWS[i].rc == CN_OK);
        s_end(&call);
    }
    s_end(&made);
}

static void another_branch_is_out_of_reach(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_branches_body, NULL);
}

/* Asserts that a call in another branch made a new patient for P-1, with no
 * data of the patient who has that identifier. */
static void s_assert_stranger(const struct call *call, const char *patient_id)
{
    const Ref__Referral *made = s_referral(call);
    assert_string_not_equal(made->patient_id, patient_id);
    assert_null(made->patient->name);
    assert_int_equal(made->n_warnings, 1);
    assert_string_equal(made->warnings[0], "identifier_taken");
}

static void s_taken_body(struct test_world *world)
{
    static const char TAKEN[] = "{\"patient\": {\"identifiers\": [{\"system\":"
                                " \"his\", \"value\": \"P-1\"}]}}";
    s_open(world);
    struct call made = s_create(world, INCOMPLETE);
    const char *patient_id = s_referral(&made)->patient_id;
    struct cn_uuid elsewhere = cn_uuid_new(&world->env);
    s_add_branch(world, elsewhere);
    s_only_branch = &elsewhere;
    struct call theirs = s_create(world, TAKEN);
    s_assert_stranger(&theirs, patient_id);
    /* The referral does not bring the patient within the branch's reach. */
    struct call call = s_call(world, NULL, "get");
    Ref__GetPatientRequest get = REF__GET_PATIENT_REQUEST__INIT;
    get.id = patient_id;
    call.request.body = &get;
    s_run(&call, "GetPatient");
    assert_int_equal(call.rc, CN_NOT_FOUND);
    /* A second patient with it is not taken for the patient either. */
    struct call both =
        s_create(world, "{\"patient\": {\"identifiers\": [{\"system\": \"his\","
                        " \"value\": \"P-1\"}, {\"system\": \"his\","
                        " \"value\": \"P-2\"}]}}");
    s_assert_stranger(&both, patient_id);
    s_only_branch = NULL;
    struct call own = s_create(world, TAKEN);
    assert_string_equal(s_referral(&own)->patient_id, patient_id);
    assert_int_equal(s_number(world, "patient WHERE "), 3);
    assert_int_equal(s_number(world, "patient_identifier WHERE "), 2);
    s_end(&made);
    s_end(&theirs);
    s_end(&call);
    s_end(&both);
    s_end(&own);
}

static void an_identifier_of_another_branch_tells_nothing(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_taken_body, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_worklist_pages_without_gaps_or_repeats),
        cmocka_unit_test(patients_are_found_by_the_beginning_of_the_name),
        cmocka_unit_test(a_record_is_found_by_what_others_call_it),
        cmocka_unit_test(a_list_by_change_begins_at_its_instant),
        cmocka_unit_test(another_tenant_sees_nothing_and_is_not_hindered),
        cmocka_unit_test(another_branch_is_out_of_reach),
        cmocka_unit_test(an_identifier_of_another_branch_tells_nothing),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
