/* SPDX-License-Identifier: Apache-2.0 */
/* Wire bytes that must be refused, and merge patches. */
#include "common/wire/message.h"

#include "common/base/array.h"

#include "cairn/envelope.pb-c.h"
#include "cairn/events.pb-c.h"
#include "cairn/referrals.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* --- fixture --- */

static int arena_setup(void **state)
{
    *state = cn_arena_new(CN_ARENA_REQUEST_MAX);
    return *state != NULL ? 0 : -1;
}

static int arena_teardown(void **state)
{
    cn_arena_free(*state);
    return 0;
}

/* The bytes end where their block ends, so that reading past them is noticed.
 */
static enum cn_code unpack(struct cn_arena *arena,
                           const ProtobufCMessageDescriptor *descriptor,
                           const void *data,
                           size_t size,
                           const ProtobufCMessage **ret_message)
{
    struct cn_err err = { 0 };
    uint8_t *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    enum cn_code rc = cn_message_unpack(
        arena, descriptor, (struct cn_bytes){ copy, size }, ret_message, &err);
    free(copy);
    assert_int_equal(rc, err.code);
    return rc;
}

#define UNPACK(state, descriptor, bytes, ret)                                  \
    unpack(*(state), &(descriptor), bytes, sizeof(bytes) - 1, ret)

static const Evt__Event *an_event(Evt__Event *event, Evt__Position *position)
{
    static uint8_t id[16] = { 1, 2, 3 };
    static uint8_t payload[] = { 0, 255 };
    evt__position__init(position);
    position->has_xid = 1;
    position->xid = UINT64_MAX;
    position->has_seq = 1;
    position->seq = -1;
    evt__event__init(event);
    event->position = position;
    event->has_event_id = 1;
    event->event_id = (ProtobufCBinaryData){ sizeof(id), id };
    event->type = "referral.accepted";
    event->has_payload = 1;
    event->payload = (ProtobufCBinaryData){ sizeof(payload), payload };
    event->trace = "Zo\xc3\xab \xe2\x82\xac \xf0\x9f\x8c\xbf";
    event->has_occurred_at = 1;
    event->occurred_at = 1234567890123456;
    return event;
}

static struct cn_bytes pack(struct cn_arena *arena,
                            const ProtobufCMessage *message)
{
    struct cn_err err = { 0 };
    struct cn_bytes packed = { 0 };
    assert_int_equal(cn_message_pack(arena, message, &packed, &err), CN_OK);
    return packed;
}

/* --- unpack --- */

static void a_packed_message_unpacks_to_itself(void **state)
{
    Evt__Event event;
    Evt__Position position;
    const ProtobufCMessage *message = NULL;
    struct cn_bytes packed = pack(*state, &an_event(&event, &position)->base);
    assert_int_equal(unpack(*state, &evt__event__descriptor, packed.data,
                            packed.size, &message),
                     CN_OK);
    const Evt__Event *back = (const Evt__Event *)message;
    assert_string_equal(back->trace, event.trace);
    assert_true(back->position->xid == UINT64_MAX);
    assert_true(back->position->seq == -1);
    assert_false(back->position->has_epoch);
    struct cn_bytes again = pack(*state, message);
    assert_int_equal(again.size, packed.size);
    assert_memory_equal(again.data, packed.data, packed.size);
}

static void an_empty_message_is_a_message(void **state)
{
    const ProtobufCMessage *message = NULL;
    struct cn_err err = { 0 };
    assert_int_equal(cn_message_unpack(*state, &evt__event__descriptor,
                                       (struct cn_bytes){ NULL, 0 }, &message,
                                       &err),
                     CN_OK);
    assert_null(((const Evt__Event *)message)->type);
}

static void malformed_bytes_are_refused(void **state)
{
    static const struct {
        const char *name;
        const char *bytes;
        size_t size;
    } rows[] = {
#define ROW(name, bytes) { name, bytes, sizeof(bytes) - 1 }
        ROW("invalid UTF-8", "\x3a\x02\xff\xfe"),
        ROW("cut UTF-8", "\x3a\x02"
                         "a\xc3"),
        ROW("overlong UTF-8", "\x3a\x02\xc0\x80"),
        ROW("overlong UTF-8 of three bytes", "\x3a\x03\xe0\x80\x80"),
        ROW("a surrogate", "\x3a\x03\xed\xa0\x80"),
        ROW("above U+10FFFF", "\x3a\x04\xf4\x90\x80\x80"),
        ROW("a lone continuation", "\x3a\x09"
                                   "abcdefgh\x80"),
        ROW("a NUL in a string", "\x3a\x03"
                                 "a\0b"),
        ROW("a NUL in a long string", "\x3a\x10"
                                      "abcdefghijklmn\0p"),
        ROW("tag 0", "\x00\x01"),
        ROW("a tag too big", "\x80\x80\x80\x80\x80\x01\x01"),
        ROW("a string as varint", "\x38\x01"),
        ROW("a varint as string", "\x30\x01\x42\x01"
                                  "a"),
        ROW("a varint as bytes", "\x32\x01"
                                 "a"),
        ROW("a group", "\x3b\x3c"),
        ROW("wire type 6", "\x7e\x01"),
        ROW("wire type 7 of an unknown field", "\xff\x07\x01"),
        ROW("a length beyond the end", "\x3a\x05"
                                       "abc"),
        ROW("a huge length", "\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        ROW("a varint of eleven bytes",
            "\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        ROW("a varint above 64 bits",
            "\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"),
        ROW("an open varint", "\x30\x80"),
        ROW("an open key", "\xba"),
        ROW("a fixed64 cut short", "\xf9\x07\x01\x02"),
        ROW("a fixed32 cut short", "\xfd\x07\x01"),
        ROW("an inner message that is malformed", "\x0a\x02\x08\x80"),
#undef ROW
    };
    for (size_t i = 0; i < CN_COUNT(rows); i++) {
        const ProtobufCMessage *message = NULL;
        if (unpack(*state, &evt__event__descriptor, rows[i].bytes, rows[i].size,
                   &message) != CN_MALFORMED) {
            fail_msg("taken: %s", rows[i].name);
        }
        assert_null(message);
    }
}

static void every_cut_of_a_message_is_refused_or_shorter(void **state)
{
    Evt__Event event;
    Evt__Position position;
    struct cn_bytes packed = pack(*state, &an_event(&event, &position)->base);
    size_t taken = 0;
    for (size_t size = 0; size < packed.size; size++) {
        const ProtobufCMessage *message = NULL;
        enum cn_code rc = unpack(*state, &evt__event__descriptor, packed.data,
                                 size, &message);
        if (rc != CN_OK) {
            assert_int_equal(rc, CN_MALFORMED);
            continue;
        }
        taken++;
        assert_int_equal(pack(*state, message).size, size);
    }
    assert_int_equal(taken, 6); /* the ends of its fields */
}

static void unknown_fields_are_dropped_at_every_depth(void **state)
{
    /* Event 1 with a Position, both with fields 1000 and 1001. */
    static const char bytes[] = "\x0a\x0c\x0a\x07\x10\x05\xc2\x3e\x02hi"
                                "\x3a\x01"
                                "t"
                                "\xc8\x3e\x07";
    const ProtobufCMessage *message = NULL;
    assert_int_equal(
        UNPACK(state, evt__fetch_response__descriptor, bytes, &message), CN_OK);
    const Evt__FetchResponse *response = (const Evt__FetchResponse *)message;
    assert_int_equal(response->base.n_unknown_fields, 0);
    assert_int_equal(response->events[0]->position->base.n_unknown_fields, 0);
    assert_int_equal(pack(*state, message).size, 2 + 7);
}

static void a_message_within_a_message_ends_at_its_depth(void **state)
{
    /* None of our messages can contain itself; this one can. */
    static ProtobufCMessageDescriptor node;
    static const unsigned by_name[] = { 0 };
    static const ProtobufCIntRange ranges[] = { { 1, 0 }, { 0, 1 } };
    static const ProtobufCFieldDescriptor child = {
        .name = "child",
        .id = 1,
        .label = PROTOBUF_C_LABEL_OPTIONAL,
        .type = PROTOBUF_C_TYPE_MESSAGE,
        .offset = sizeof(ProtobufCMessage),
        .descriptor = &node
    };
    node = (ProtobufCMessageDescriptor){
        .magic = PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC,
        .name = "Node",
        .short_name = "Node",
        .sizeof_message = sizeof(ProtobufCMessage) + sizeof(void *),
        .n_fields = 1,
        .fields = &child,
        .fields_sorted_by_name = by_name,
        .n_field_ranges = 1,
        .field_ranges = ranges
    };
    uint8_t bytes[4096];
    const ProtobufCMessage *message = NULL;
    for (size_t depth = 1; depth <= 20; depth++) {
        size_t at = sizeof(bytes);
        for (size_t i = 1; i < depth; i++) {
            bytes[at - 1] = (uint8_t)(sizeof(bytes) - at);
            bytes[at - 2] = 0x0a;
            at -= 2;
        }
        assert_int_equal(
            unpack(*state, &node, bytes + at, sizeof(bytes) - at, &message),
            depth <= CN_MESSAGE_DEPTH_MAX ? CN_OK : CN_MALFORMED);
    }
}

static void many_small_messages_stay_within_the_arena(void **state)
{
    /* The worst case: 70 bytes of memory for each byte of the wire. */
    enum { PAIRS = CN_MESSAGE_SIZE_MAX / 2 };
    uint8_t *bytes = calloc(PAIRS, 2);
    const ProtobufCMessage *message = NULL;
    assert_non_null(bytes);
    for (size_t i = 0; i < PAIRS; i++) {
        bytes[i * 2] = 0x0a;
    }
    assert_int_equal(unpack(*state, &evt__fetch_response__descriptor, bytes,
                            (size_t)PAIRS * 2, &message),
                     CN_NOMEM);
    assert_true(cn_arena_size(*state) <= CN_ARENA_REQUEST_MAX);
    free(bytes);
}

static void more_than_the_size_is_refused(void **state)
{
    uint8_t *bytes = calloc(CN_MESSAGE_SIZE_MAX + 1, 1);
    const ProtobufCMessage *message = NULL;
    assert_non_null(bytes);
    assert_int_equal(unpack(*state, &evt__event__descriptor, bytes,
                            CN_MESSAGE_SIZE_MAX + 1, &message),
                     CN_MALFORMED);
    free(bytes);
}

static void a_message_too_big_to_be_read_is_not_packed(void **state)
{
    static uint8_t content[CN_MESSAGE_SIZE_MAX];
    Evt__Event event = EVT__EVENT__INIT;
    struct cn_bytes packed = { 0 };
    struct cn_err err = { 0 };
    event.has_payload = 1;
    event.payload = (ProtobufCBinaryData){ sizeof(content), content };
    assert_int_equal(cn_message_pack(*state, &event.base, &packed, &err),
                     CN_TOO_LARGE);
    assert_null(packed.data);
}

static void each_failing_allocation_is_reported(void **state)
{
    Evt__Event event;
    Evt__Position position;
    struct cn_bytes packed = pack(*state, &an_event(&event, &position)->base);
    bool is_done = false;
    for (unsigned n = 1; !is_done; n++) {
        struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
        struct cn_err err = { 0 };
        const ProtobufCMessage *message = NULL;
        cn_arena_fail_at(arena, n);
        enum cn_code rc = cn_message_unpack(arena, &evt__event__descriptor,
                                            packed, &message, &err);
        is_done = rc == CN_OK;
        assert_true(is_done || rc == CN_NOMEM);
        assert_true(n < 64);
        cn_arena_free(arena);
    }
}

/* --- new, copy, merge --- */

static void a_copy_shares_nothing(void **state)
{
    Evt__Event event;
    Evt__Position position;
    an_event(&event, &position);
    Evt__Event *copy = cn_message_copy(*state, &event.base);
    assert_non_null(copy);
    assert_ptr_not_equal(copy->position, &position);
    assert_ptr_not_equal(copy->type, event.type);
    assert_string_equal(copy->type, event.type);
}

static Ref__Patient *a_patient(struct cn_arena *arena)
{
    static const char *given[] = { "Pat", "Q." };
    static const char *phones[] = { "555-0100" };
    Ref__Patient *patient = cn_message_new(arena, &ref__patient__descriptor);
    patient->name = cn_message_new(arena, &ref__patient__name__descriptor);
    patient->name->family = "Example";
    patient->name->given = given;
    patient->name->n_given = 2;
    patient->phones = phones;
    patient->n_phones = 1;
    patient->email = "pat@example.test";
    patient->has_interpreter_needed = 1;
    patient->interpreter_needed = 1;
    return patient;
}

static void a_patch_changes_only_what_its_mask_names(void **state)
{
    struct cn_err err = { 0 };
    Ref__Patient *target = a_patient(*state);
    Ref__Patient *patch = cn_message_new(*state, &ref__patient__descriptor);
    patch->name = cn_message_new(*state, &ref__patient__name__descriptor);
    patch->name->family = "Other";
    patch->language = "es";
    patch->birth_date = "1950-01-31"; /* not in the mask */
    const char *mask[] = { "name.family", "phones", "interpreter_needed",
                           "language", "email" };
    assert_int_equal(
        cn_message_merge(*state, &target->base, &patch->base, mask, 5, &err),
        CN_OK);
    assert_string_equal(target->name->family, "Other");
    assert_int_equal(target->name->n_given, 2);
    assert_int_equal(target->n_phones, 0);
    assert_false(target->has_interpreter_needed);
    assert_string_equal(target->language, "es");
    assert_null(target->email);
    assert_null(target->birth_date);
}

static void a_patch_makes_the_messages_on_its_way(void **state)
{
    struct cn_err err = { 0 };
    Ref__Patient *target = cn_message_new(*state, &ref__patient__descriptor);
    Ref__Patient *patch = a_patient(*state);
    const char *mask[] = { "name.family", "address.city" };
    assert_int_equal(
        cn_message_merge(*state, &target->base, &patch->base, mask, 2, &err),
        CN_OK);
    assert_string_equal(target->name->family, "Example");
    assert_int_equal(target->name->n_given, 0);
    assert_non_null(target->address);
    assert_null(target->address->city);
}

static void a_null_of_a_message_clears_it(void **state)
{
    struct cn_err err = { 0 };
    Ref__Patient *target = a_patient(*state);
    Ref__Patient *patch = cn_message_new(*state, &ref__patient__descriptor);
    const char *mask[] = { "name" };
    assert_int_equal(
        cn_message_merge(*state, &target->base, &patch->base, mask, 1, &err),
        CN_OK);
    assert_null(target->name);
}

static void a_mask_with_an_unknown_path_is_refused(void **state)
{
    static const char *const paths[] = { "nothing", "name.nothing",
                                         "email.x", "identifiers.value",
                                         "",        "name.",
                                         "." };
    for (size_t i = 0; i < CN_COUNT(paths); i++) {
        struct cn_err err = { 0 };
        Ref__Patient *target = a_patient(*state);
        Ref__Patient *patch = a_patient(*state);
        assert_int_equal(cn_message_merge(*state, &target->base, &patch->base,
                                          &paths[i], 1, &err),
                         CN_MALFORMED);
    }
}

static void a_mask_has_what_is_above_and_below(void **state)
{
    static const char *const mask[] = { "name.family", "address" };
    (void)state;
    assert_true(cn_mask_has(mask, 2, "name"));
    assert_true(cn_mask_has(mask, 2, "name.family"));
    assert_true(cn_mask_has(mask, 2, "address.city"));
    assert_false(cn_mask_has(mask, 2, "name.given"));
    assert_false(cn_mask_has(mask, 2, "addresses"));
    assert_false(cn_mask_has(mask, 2, "add"));
    assert_false(cn_mask_has(mask, 0, "name"));
}

int main(void)
{
#define TEST(name)                                                             \
    cmocka_unit_test_setup_teardown(name, arena_setup, arena_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_packed_message_unpacks_to_itself),
        TEST(an_empty_message_is_a_message),
        TEST(malformed_bytes_are_refused),
        TEST(every_cut_of_a_message_is_refused_or_shorter),
        TEST(unknown_fields_are_dropped_at_every_depth),
        TEST(a_message_within_a_message_ends_at_its_depth),
        TEST(many_small_messages_stay_within_the_arena),
        TEST(more_than_the_size_is_refused),
        TEST(a_message_too_big_to_be_read_is_not_packed),
        TEST(each_failing_allocation_is_reported),
        TEST(a_copy_shares_nothing),
        TEST(a_patch_changes_only_what_its_mask_names),
        TEST(a_patch_makes_the_messages_on_its_way),
        TEST(a_null_of_a_message_clears_it),
        TEST(a_mask_with_an_unknown_path_is_refused),
        TEST(a_mask_has_what_is_above_and_below),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
