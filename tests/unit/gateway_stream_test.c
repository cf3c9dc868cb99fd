/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the stream that need no loop: positions as text, the ring, the
 * text of an event, and who gets it. */
#include "services/gateway/stream_kind.h"
#include "services/gateway/stream_ring.h"
#include "services/gateway/stream_token.h"

#include "common/base/array.h"
#include "common/wire/message.h"
#include "common/wire/seal.h"

#include "cairn/referrals.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char KEY[] =
    "1:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
static const char OTHER_KEY[] =
    "1:ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
static const struct cn_uuid TENANT = { { 1, 2, 3 } };
static const struct cn_uuid OTHER_TENANT = { { 1, 2, 4 } };

static int64_t s_now_at;

static int64_t s_now(struct cn_env *env)
{
    (void)env;
    return s_now_at;
}

static struct cn_env s_env(const char *key)
{
    struct cn_env env = cn_env_real();
    struct cn_err err = { 0 };
    env.now = s_now;
    env.seal = cn_seal_new(key, &err);
    assert_non_null(env.seal);
    return env;
}

static struct follow_position s_at(uint64_t number)
{
    return (struct follow_position){ 1, number, (int64_t)number };
}

/* ---- positions as text ---- */

static struct stream_vector s_vector(void)
{
    struct stream_vector vector = { .known = 0 };
    for (size_t i = 0; i < CN_EVENT_SOURCE_COUNT; i++) {
        vector.known |= 1U << i;
        vector.at[i] = (struct follow_position){ INT32_MAX, UINT64_MAX - i,
                                                 INT64_MAX - (int64_t)i };
    }
    vector.known &= ~2U;
    vector.at[1] = (struct follow_position){ 0, 0, 0 };
    vector.at[2] = (struct follow_position){ 0, 0, 0 };
    return vector;
}

static void a_position_is_read_by_another_gateway_with_the_key(void **state)
{
    struct cn_env one = s_env(KEY);
    struct cn_env other = s_env(KEY);
    const struct stream_vector vector = s_vector();
    struct stream_vector got;
    struct cn_err err = { 0 };
    char text[STREAM_TOKEN_MAX];
    (void)state;
    s_now_at = CN_DAY;
    assert_int_equal(stream_token_write(&one, TENANT, &vector, text, &err),
                     CN_OK);
    assert_true(strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvw"
                             "xyz0123456789-_") == strlen(text));
    s_now_at += STREAM_TOKEN_AGE_US;
    assert_true(stream_token_read(&other, TENANT, text, &got));
    assert_true(stream_vector_equal(&vector, &got));
    cn_seal_free(one.seal);
    cn_seal_free(other.seal);
}

static void a_position_of_another_tenant_key_or_day_is_not_read(void **state)
{
    struct cn_env env = s_env(KEY);
    struct cn_env stranger = s_env(OTHER_KEY);
    const struct stream_vector vector = s_vector();
    struct stream_vector got;
    struct cn_err err = { 0 };
    char text[STREAM_TOKEN_MAX];
    (void)state;
    s_now_at = CN_DAY;
    assert_int_equal(stream_token_write(&env, TENANT, &vector, text, &err),
                     CN_OK);
    assert_false(stream_token_read(&env, OTHER_TENANT, text, &got));
    assert_false(stream_token_read(&stranger, TENANT, text, &got));
    assert_false(stream_token_read(&env, TENANT, "", &got));
    s_now_at += STREAM_TOKEN_AGE_US + CN_SECOND;
    assert_false(stream_token_read(&env, TENANT, text, &got));
    cn_seal_free(env.seal);
    cn_seal_free(stranger.seal);
}

static void a_position_with_one_other_character_is_not_read(void **state)
{
    struct cn_env env = s_env(KEY);
    const struct stream_vector vector = s_vector();
    struct stream_vector got;
    struct cn_err err = { 0 };
    char text[STREAM_TOKEN_MAX];
    (void)state;
    s_now_at = CN_DAY;
    assert_int_equal(stream_token_write(&env, TENANT, &vector, text, &err),
                     CN_OK);
    for (size_t i = 0; i < strlen(text); i++) {
        char kept = text[i];
        text[i] = kept == 'A' ? 'B' : 'A';
        assert_false(stream_token_read(&env, TENANT, text, &got));
        text[i] = '*';
        assert_false(stream_token_read(&env, TENANT, text, &got));
        text[i] = kept;
    }
    size_t size = strlen(text);
    text[size - 1] = '\0';
    assert_false(stream_token_read(&env, TENANT, text, &got));
    cn_seal_free(env.seal);
}

/* ---- the ring ---- */

static struct stream_entry *s_entry(uint16_t producer, uint64_t number)
{
    struct stream_entry *entry = stream_entry_new("event", 5);
    assert_non_null(entry);
    entry->producer = producer;
    entry->at = s_at(number);
    return entry;
}

static uint64_t s_number(const struct stream_ring *ring, int64_t at)
{
    return stream_ring_at(ring, at)->at.xid;
}

static void a_full_ring_drops_its_oldest_and_says_so(void **state)
{
    struct stream_ring ring = { 0 };
    const uint64_t more = 10;
    (void)state;
    stream_ring_base(&ring, 0, s_at(0));
    stream_ring_base(&ring, 1, s_at(0));
    uint64_t changes = ring.changes;
    for (uint64_t i = 1; i <= STREAM_RING_MAX; i++) {
        stream_ring_append(&ring, s_entry((uint16_t)(i % 2), i));
    }
    assert_int_equal(ring.changes, changes);
    for (uint64_t i = 1; i <= more; i++) {
        stream_ring_append(&ring,
                           s_entry((uint16_t)(i % 2), STREAM_RING_MAX + i));
    }
    assert_int_equal(stream_ring_count(&ring), STREAM_RING_MAX);
    assert_int_equal(ring.front, more);
    assert_int_equal(s_number(&ring, ring.front), more + 1);
    assert_int_equal(s_number(&ring, ring.end - 1), STREAM_RING_MAX + more);
    /* The ring has all events of each producer after its base. */
    assert_int_equal(ring.base.at[0].xid, more);
    assert_int_equal(ring.base.at[1].xid, more - 1);
    assert_true(ring.changes > changes);
    stream_ring_done(&ring);
    assert_int_equal(ring.bytes, 0);
}

static void what_was_missed_goes_in_front(void **state)
{
    struct stream_ring ring = { 0 };
    struct stream_entry *missed[20];
    const size_t count = CN_COUNT(missed);
    (void)state;
    stream_ring_base(&ring, 0, s_at(100));
    for (uint64_t i = 101; i <= 103; i++) {
        stream_ring_append(&ring, s_entry(0, i));
    }
    for (size_t i = 0; i < count; i++) {
        missed[i] = s_entry(0, 81 + i);
    }
    assert_true(stream_ring_prepend(&ring, missed, count, 0, s_at(80)));
    assert_int_equal(ring.front, -20);
    assert_int_equal(ring.end, 3);
    assert_int_equal(ring.base.at[0].xid, 80);
    for (int64_t i = ring.front; i < ring.end; i++) {
        assert_int_equal(s_number(&ring, i), 101 + i);
    }
    stream_ring_drop(&ring);
    assert_int_equal(ring.base.at[0].xid, 81);
    stream_ring_done(&ring);
    assert_int_equal(ring.bytes, 0);
}

static void what_finds_no_room_changes_nothing(void **state)
{
    struct stream_ring ring = { 0 };
    (void)state;
    stream_ring_base(&ring, 0, s_at(5));
    for (uint64_t i = 6; i < 5 + STREAM_RING_MAX; i++) {
        stream_ring_append(&ring, s_entry(0, i));
    }
    struct stream_entry *missed[] = { s_entry(0, 4), s_entry(0, 5) };
    assert_false(stream_ring_prepend(&ring, missed, 2, 0, s_at(3)));
    assert_int_equal(ring.base.at[0].xid, 5);
    assert_int_equal(ring.front, 0);
    free(missed[0]);
    free(missed[1]);
    stream_ring_done(&ring);
}

/* ---- what is told, and to whom ---- */

static size_t s_producer(const char *service)
{
    for (size_t i = 0; i < CN_EVENT_SOURCE_COUNT; i++) {
        if (strcmp(cn_event_sources[i].service, service) == 0) {
            return i;
        }
    }
    fail_msg("no producer %s", service);
    return 0;
}

static const struct stream_kind *
s_kind(struct stream_kinds *kinds, const char *service, const char *type)
{
    stream_kinds_init(kinds);
    const struct stream_kind *kind =
        stream_kind_find(kinds, s_producer(service), type);
    assert_non_null(kind);
    return kind;
}

static void an_event_is_told_without_what_the_record_says(void **state)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    struct stream_kinds kinds;
    const struct stream_kind *kind =
        s_kind(&kinds, "referrals", "patient.updated");
    const struct cn_uuid branch = { { 9, 8, 7 } };
    struct cn_uuid got_branch;
    struct cn_uuid event_id = { { 5 } };
    Ref__PatientEvent payload = REF__PATIENT_EVENT__INIT;
    Ref__Patient patient = REF__PATIENT__INIT;
    Ref__Patient__Name name = REF__PATIENT__NAME__INIT;
    Evt__Event event = EVT__EVENT__INIT;
    struct cn_bytes packed = { 0 };
    struct cn_buffer text;
    struct cn_err err = { 0 };
    char family[] = "Quillfeather";
    (void)state;
    name.family = family;
    patient.name = &name;
    patient.id = cn_id_text(arena, "pat", (struct cn_uuid){ { 1 } });
    patient.branch_id = cn_id_text(arena, "brn", branch);
    patient.has_version = 1;
    patient.version = 7;
    payload.patient = &patient;
    assert_int_equal(cn_message_pack(arena, &payload.base, &packed, &err),
                     CN_OK);
    event.payload =
        (ProtobufCBinaryData){ packed.size, (uint8_t *)(uintptr_t)packed.data };
    event.event_id = (ProtobufCBinaryData){ 16, event_id.bytes };
    event.aggregate_seq = 9;
    event.occurred_at = CN_SECOND;
    cn_buffer_init(&text, STREAM_TEXT_MAX);
    assert_int_equal(
        stream_kind_render(kind, arena, &event, &text, &got_branch, &err),
        CN_OK);
    cn_buffer_add(&text, "", 1);
    assert_string_equal(
        text.data,
        "event: patient.updated\ndata: {\"type\":\"patient.updated\","
        "\"id\":\"pat_01000000000000000000000000\",\"version\":7,"
        "\"aggregate_seq\":9,\"branch_id\":\"brn_09103g00000000000000000000\","
        "\"event_id\":\"evt_05000000000000000000000000\","
        "\"occurred_at\":\"1970-01-01T00:00:01Z\"}\n\n");
    assert_true(cn_uuid_equal(got_branch, branch));
    cn_buffer_done(&text);
}

static void an_event_names_the_records_that_it_belongs_to(void **state)
{
    static const struct {
        const char *service;
        const char *type;
        const char *related[4];
    } rows[] = {
        { "scheduling",
          "visit.booked",
          { "referral_id", "patient_id", "clinician_id" } },
        { "referrals", "referral.accepted", { "patient_id", "soc_visit_id" } },
        { "referrals", "episode.opened", { "patient_id", "referral_id" } },
        { "referrals", "deadline.breached", { "subject_id", "patient_id" } },
        { "documents", "document.updated", { "referral_id", "patient_id" } },
        { "documents", "checklist.opened", { "referral_id", "patient_id" } },
        { "notifications", "message.sent", { "referral_id", "patient_id" } },
    };
    struct stream_kinds kinds;
    (void)state;
    for (size_t i = 0; i < CN_COUNT(rows); i++) {
        const struct stream_kind *kind =
            s_kind(&kinds, rows[i].service, rows[i].type);
        for (size_t j = 0; j < 4 && rows[i].related[j] != NULL; j++) {
            bool found = false;
            for (size_t k = 0; k < kind->related_count; k++) {
                found = found ||
                        strcmp(kind->related[k]->name, rows[i].related[j]) == 0;
            }
            if (!found) {
                fail_msg("%s names no %s", rows[i].type, rows[i].related[j]);
            }
        }
    }
}

static void a_payload_that_is_none_is_not_told(void **state)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    struct stream_kinds kinds;
    const struct stream_kind *kind =
        s_kind(&kinds, "referrals", "patient.updated");
    uint8_t bytes[] = { 0xff, 0xff, 0xff };
    Evt__Event event = EVT__EVENT__INIT;
    struct cn_uuid branch;
    struct cn_buffer text;
    struct cn_err err = { 0 };
    (void)state;
    cn_buffer_init(&text, STREAM_TEXT_MAX);
    assert_int_equal(
        stream_kind_render(kind, arena, &event, &text, &branch, &err),
        CN_MALFORMED);
    event.payload = (ProtobufCBinaryData){ sizeof(bytes), bytes };
    cn_err_clear(&err);
    assert_int_equal(
        stream_kind_render(kind, arena, &event, &text, &branch, &err),
        CN_MALFORMED);
    cn_buffer_done(&text);
}

struct cell {
    const char *role;
    const char *service;
    const char *type;
    enum stream_sight sight;
};

static void a_reader_sees_what_the_policy_grants(void **state)
{
    static const struct cell CELLS[] = {
        { "supervisor", "referrals", "referral.received", STREAM_AGENCY },
        { "integrator", "scheduling", "visit.booked", STREAM_AGENCY },
        { "coordinator", "referrals", "referral.received", STREAM_BRANCHES },
        { "scheduler", "scheduling", "clinician.updated", STREAM_BRANCHES },
        { "intake", "documents", "checklist.opened", STREAM_BRANCHES },
        /* A role's row of documents:read is "-". */
        { "scheduler", "documents", "checklist.opened", STREAM_NOTHING },
        /* Teams do not exist yet: neither stream:read nor visits:read. */
        { "clinician", "scheduling", "visit.booked", STREAM_NOTHING },
        { "clinician", "scheduling", "clinician.updated", STREAM_NOTHING },
        /* Reads clinicians of the whole agency, but not the stream. */
        { "administrator", "scheduling", "clinician.updated", STREAM_NOTHING },
        { "supervisor", "access", "key.created", STREAM_NOTHING },
        { "physician_office", "documents", "checklist.opened", STREAM_NOTHING },
        { "referral_source", "referrals", "referral.received", STREAM_NOTHING },
    };
    struct stream_kinds kinds;
    (void)state;
    for (size_t i = 0; i < CN_COUNT(CELLS); i++) {
        const struct cell *cell = &CELLS[i];
        const char *const *scopes = cn_policy_scopes(cell->role);
        size_t count = 0;
        while (scopes[count] != NULL) {
            count++;
        }
        const struct cn_principal principal = { .subject = "key_test",
                                                .role = cell->role,
                                                .scopes = scopes,
                                                .scope_count = count };
        assert_int_equal(
            stream_kind_sight(s_kind(&kinds, cell->service, cell->type),
                              &principal),
            cell->sight);
        const struct cn_principal none = { .subject = "key_test",
                                           .role = cell->role };
        assert_int_equal(
            stream_kind_sight(s_kind(&kinds, cell->service, cell->type), &none),
            STREAM_NOTHING);
    }
}

static void a_branch_sees_its_own_records_alone(void **state)
{
    static const struct cn_uuid BRANCHES[] = { { { 1 } }, { { 2 } } };
    const struct cn_principal principal = { .branches = BRANCHES,
                                            .branch_count = 2 };
    const struct cn_principal nowhere = { 0 };
    const struct cn_uuid none = { { 0 } };
    (void)state;
    assert_true(stream_kind_visible(STREAM_BRANCHES, &principal, BRANCHES[1]));
    assert_false(stream_kind_visible(STREAM_BRANCHES, &principal,
                                     (struct cn_uuid){ { 3 } }));
    assert_false(stream_kind_visible(STREAM_BRANCHES, &principal, none));
    assert_false(stream_kind_visible(STREAM_BRANCHES, &nowhere, none));
    assert_true(stream_kind_visible(STREAM_AGENCY, &nowhere, none));
    assert_false(stream_kind_visible(STREAM_NOTHING, &principal, BRANCHES[0]));
}

static void every_event_that_a_branch_reads_names_its_branch(void **state)
{
    struct stream_kinds kinds;
    (void)state;
    stream_kinds_init(&kinds);
    assert_true(kinds.count > 20);
    for (size_t i = 0; i < kinds.count; i++) {
        const struct stream_kind *kind = &kinds.rows[i];
        assert_non_null(kind->resource);
        assert_non_null(kind->id);
        assert_true(kind->branch != NULL ||
                    !cn_policy_by_branch(kind->shape->scope));
    }
}

static void a_topic_is_the_word_of_the_scope(void **state)
{
    struct stream_kinds kinds;
    const struct stream_kind *kind =
        s_kind(&kinds, "referrals", "episode.opened");
    (void)state;
    assert_true(stream_kind_of_topic(kind, "referrals,visits", 9));
    assert_false(stream_kind_of_topic(kind, "referral", 8));
    assert_false(stream_kind_of_topic(kind, "referrals:read", 14));
    assert_false(stream_kind_of_topic(kind, "", 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_position_is_read_by_another_gateway_with_the_key),
        cmocka_unit_test(a_position_of_another_tenant_key_or_day_is_not_read),
        cmocka_unit_test(a_position_with_one_other_character_is_not_read),
        cmocka_unit_test(a_full_ring_drops_its_oldest_and_says_so),
        cmocka_unit_test(what_was_missed_goes_in_front),
        cmocka_unit_test(what_finds_no_room_changes_nothing),
        cmocka_unit_test(an_event_is_told_without_what_the_record_says),
        cmocka_unit_test(an_event_names_the_records_that_it_belongs_to),
        cmocka_unit_test(a_payload_that_is_none_is_not_told),
        cmocka_unit_test(a_reader_sees_what_the_policy_grants),
        cmocka_unit_test(a_branch_sees_its_own_records_alone),
        cmocka_unit_test(every_event_that_a_branch_reads_names_its_branch),
        cmocka_unit_test(a_topic_is_the_word_of_the_scope),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
