/* SPDX-License-Identifier: Apache-2.0 */
/* HL7 v2 messages against a real PostgreSQL: kept, answered, taken once. */
#include "common/base/array.h"
#include "common/wire/message.h"
#include "tests/store/referrals_calls.h"

static const char HL7[] =
    "MSH|^~\\&|APP|FAC|US|HERE|20260101||REF^I12^REF_I12|C1|P|2.8\r"
    "RF1||||||X-1^HIS\rPRD|RP|Example^Pat\r"
    "PID|1||P-7^^^HIS^MR||Testpatient^Sam\rDG1|1||Z47.1^Aftercare^I10";

/* The answer as text with its own id and time taken out. */
static const char *s_answer(struct call *call)
{
    assert_int_equal(call->rc, CN_OK);
    const Ref__RawMessage *raw = (const Ref__RawMessage *)call->reply.body;
    char *text = cn_arena_strndup(call->arena, (const char *)raw->content.data,
                                  raw->content.len);
    return strstr(text, "MSA|");
}

static void s_hl7_body(struct test_world *world)
{
    s_open(world);
    struct call first = s_hl7(world, HL7, strlen(HL7));
    const char *answer = s_answer(&first);
    assert_non_null(strstr(answer, "MSA|AA|C1|ref_"));
    assert_non_null(
        strstr(answer, first.reply.location + strlen("/v1/referrals/")));
    /* The same message with other line ends: the same answer, and nothing new.
     */
    char lines[sizeof(HL7)];
    memcpy(lines, HL7, sizeof(HL7));
    for (char *c = lines; *c != '\0'; c++) {
        *c = *c == '\r' ? '\n' : *c;
    }
    struct call again = s_hl7(world, lines, strlen(lines));
    assert_string_equal(s_answer(&again), answer);
    assert_string_equal(again.reply.location, first.reply.location);
    assert_int_equal(s_number(world, "raw_message WHERE "), 1);
    assert_int_equal(s_number(world, "audit WHERE action = 'hl7.repeat'"
                                     " AND patients = (SELECT array_agg(p.id)"
                                     " FROM referrals.patient p WHERE"
                                     " p.tenant_id = audit.tenant_id) AND "),
                     1);
    /* Another body with the same control id: the same referral, kept and
     * flagged. */
    char more[sizeof(HL7) + 20];
    (void)snprintf(more, sizeof(more), "%s\rNTE|1||more", HL7);
    struct call other = s_hl7(world, more, strlen(more));
    assert_memory_equal(s_answer(&other), answer, strlen(answer));
    assert_non_null(strstr(s_answer(&other), "ERR|||0^^HL70357|W|"
                                             "later_message_differs|"));
    assert_int_equal(
        s_number(world, "raw_message WHERE control_id_reused AND "), 1);
    assert_int_equal(s_number(world, "referral WHERE "), 1);
    assert_int_equal(s_number(world, "patient WHERE "), 1);
    /* MSH-10 may name a patient. */
    assert_int_equal(
        s_number(world, "raw_message WHERE control_id IS NOT NULL AND "), 0);
    s_assert_log(world, "referral", "referral.received 1,referral.updated 2");
    s_end(&first);
    s_end(&again);
    s_end(&other);
}

static void a_message_again_is_the_same_referral(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_hl7_body, NULL);
}

/* The message with another control id and more segments; all other bytes are
 * the same. */
static struct call
s_later(struct test_world *world, const char *control_id, const char *more)
{
    char text[sizeof(HL7) + 100];
    const char *id = strstr(HL7, "|C1|");
    assert_non_null(id);
    (void)snprintf(text, sizeof(text), "%.*s|%s|%s%s", (int)(id - HL7), HL7,
                   control_id, id + strlen("|C1|"), more);
    return s_hl7(world, text, strlen(text));
}

static void s_differs_body(struct test_world *world)
{
    static const struct {
        const char *control_id;
        const char *more;
        const char *log; /* of the referral, afterwards */
        size_t warnings;
    } ROWS[] = {
        { "C1", "", "referral.received 1", 0 },
        { "C2", "", "referral.received 1", 0 },
        { "C3", "\rNTE|1||more", "referral.received 1,referral.updated 2", 1 },
        { "C4", "\rNTE|1||other", "referral.received 1,referral.updated 2", 1 },
        { "C5", "", "referral.received 1,referral.updated 2", 1 },
    };
    const char *id = NULL;
    s_open(world);
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        struct call call = s_later(world, ROWS[i].control_id, ROWS[i].more);
        assert_memory_equal(s_answer(&call), "MSA|AA|", strlen("MSA|AA|"));
        id = cn_arena_strdup(world->arena,
                             call.reply.location + strlen("/v1/referrals/"));
        struct call get = s_get(world, id);
        assert_int_equal(s_referral(&get)->n_warnings, ROWS[i].warnings);
        assert_int_equal(s_referral(&get)->version, 1 + ROWS[i].warnings);
        if (ROWS[i].warnings > 0) {
            assert_string_equal(s_referral(&get)->warnings[0],
                                "later_message_differs");
        }
        s_assert_log(world, "referral", ROWS[i].log);
        s_end(&get);
        s_end(&call);
    }
    assert_int_equal(s_number(world, "referral WHERE "), 1);
    assert_int_equal(s_number(world, "raw_message WHERE referral_id IS NOT NULL"
                                     " AND "),
                     CN_COUNT(ROWS));
}

static void a_later_message_that_differs_is_told_once(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_differs_body, NULL);
}

static void s_hl7_refused_body(struct test_world *world)
{
    s_open(world);
    static const struct {
        const char *text;
        const char *msa;
        const char *err; /* ERR-2 and the code */
    } ROWS[] = {
        { "MSH|^~\\&|A|B|||||ADT^A01|1|P|2.8\rPID|1", "MSA|AR|1",
          "ERR||MSH^1^9|200^" },
        { "MSH|^~\\&|A|B|||||REF^I12|1|P|2.8\rRF1|1", "MSA|AE|1",
          "ERR||PID^1|100^" },
        { "MSH|^~\\&|A|B|||||REF^I12|1|P|3.0\rPID|1", "MSA|AR|1",
          "ERR||MSH^1^12|203^" },
        { "MSH|^~\\&|A|B|||||REF^I12||P|2.8\rPID|1", "MSA|AE|",
          "ERR||MSH^1^10|101^" },
        { "MSH|^~\\&|A|B|||||REF^I12|1|P|2.8||||||8859/5\rPID|1", "MSA|AR|1",
          "ERR||MSH^1^18|103^" },
        { "MSH|", "MSA|AR|", "ERR||MSH^1^2|102^" },
    };
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        struct call call = s_hl7(world, ROWS[i].text, strlen(ROWS[i].text));
        const char *answer = s_answer(&call);
        assert_memory_equal(answer, ROWS[i].msa, strlen(ROWS[i].msa));
        assert_non_null(strstr(answer, ROWS[i].err));
        assert_null(call.reply.location);
        s_end(&call);
        /* Evaluated again, and kept again. */
        call = s_hl7(world, ROWS[i].text, strlen(ROWS[i].text));
        assert_int_equal(call.rc, CN_OK);
        s_end(&call);
    }
    assert_int_equal(s_number(world, "raw_message WHERE referral_id IS NULL"
                                     " AND "),
                     2 * CN_COUNT(ROWS));
    assert_int_equal(s_number(world, "referral WHERE "), 0);
    struct call none = s_hl7(world, "{\"a\": 1}", 8);
    assert_int_equal(none.rc, CN_UNSUPPORTED);
    s_end(&none);
}

static void what_is_refused_is_kept_and_evaluated_again(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_hl7_refused_body, NULL);
}

static void s_elsewhere_body(struct test_world *world)
{
    static const char OTHER_ID[] = "MSH|^~\\&|APP|FAC|US|HERE|20260101||"
                                   "REF^I12^REF_I12|C2|P|2.8\r"
                                   "RF1||||||X-1^HIS\rPID|1";
    const char *const messages[] = { HL7, OTHER_ID };
    s_open(world);
    struct call made = s_hl7(world, HL7, strlen(HL7));
    assert_non_null(strstr(s_answer(&made), "MSA|AA|"));
    struct cn_uuid elsewhere = cn_uuid_new(&world->env);
    s_add_branch(world, elsewhere);
    s_only_branch = &elsewhere;
    for (size_t i = 0; i < CN_COUNT(messages); i++) {
        struct call call = s_hl7(world, messages[i], strlen(messages[i]));
        const char *answer = s_answer(&call);
        assert_memory_equal(answer, "MSA|AE|", strlen("MSA|AE|"));
        assert_non_null(strstr(answer, "ERR||RF1^1^6|205^"));
        assert_null(strstr(answer, "ref_"));
        assert_null(call.reply.location);
        s_end(&call);
    }
    s_only_branch = NULL;
    assert_int_equal(s_number(world, "referral WHERE "), 1);
    assert_int_equal(s_number(world, "raw_message WHERE referral_id IS NULL"
                                     " AND ack_code = 'AE' AND "),
                     CN_COUNT(messages));
    s_assert_log(world, "referral", "referral.received 1");
    s_end(&made);
}

static void a_referral_of_another_branch_is_not_named(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_elsewhere_body, NULL);
}

static void s_raw_body(struct test_world *world)
{
    s_open(world);
    struct call made = s_hl7(world, HL7, strlen(HL7));
    struct call call = s_call(world, NULL, "raw");
    Ref__GetReferralRawRequest *body = CN_NEW(
        call.arena, ref__get_referral_raw_request, Ref__GetReferralRawRequest);
    assert_int_equal(made.rc, CN_OK);
    body->id = made.reply.location + strlen("/v1/referrals/");
    call.request.body = body;
    s_run(&call, "GetReferralRaw");
    assert_int_equal(call.rc, CN_OK);
    const Ref__RawMessage *raw = (const Ref__RawMessage *)call.reply.body;
    assert_int_equal(raw->content.len, strlen(HL7));
    assert_memory_equal(raw->content.data, HL7, strlen(HL7));
    s_end(&call);
    struct call json = s_create(world, COMPLETE);
    call = s_call(world, NULL, "raw");
    body = CN_NEW(call.arena, ref__get_referral_raw_request,
                  Ref__GetReferralRawRequest);
    body->id = s_referral(&json)->id;
    call.request.body = body;
    s_run(&call, "GetReferralRaw");
    assert_int_equal(call.rc, CN_NOT_FOUND);
    s_end(&call);
    s_end(&json);
    s_end(&made);
}

static void the_raw_message_is_given_back_byte_for_byte(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_raw_body, NULL);
}

static void s_hl7_race(void *arg)
{
    struct race *race = arg;
    race->call = s_hl7(race->world, HL7, strlen(HL7));
    test_world_ended(race->world);
}

static void s_hl7_race_body(struct test_world *world)
{
    s_open(world);
    static struct race races[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        races[i] = (struct race){ .world = world };
        test_world_spawn(world, s_hl7_race, &races[i], 20 * CN_SECOND);
    }
    test_world_join(world);
    for (int i = 0; i < CLIENTS; i++) {
        assert_string_equal(s_answer(&races[i].call), s_answer(&races[0].call));
    }
    assert_int_equal(s_number(world, "raw_message WHERE "), 1);
    assert_int_equal(s_number(world, "referral WHERE "), 1);
    for (int i = 0; i < CLIENTS; i++) {
        s_end(&races[i].call);
    }
}

static void one_of_many_equal_messages_is_kept(void **state)
{
    (void)state;
    test_world_run(s_pg, CONNECTIONS, s_hl7_race_body, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_again_is_the_same_referral),
        cmocka_unit_test(a_later_message_that_differs_is_told_once),
        cmocka_unit_test(what_is_refused_is_kept_and_evaluated_again),
        cmocka_unit_test(a_referral_of_another_branch_is_not_named),
        cmocka_unit_test(the_raw_message_is_given_back_byte_for_byte),
        cmocka_unit_test(one_of_many_equal_messages_is_kept),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
