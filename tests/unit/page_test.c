/* SPDX-License-Identifier: Apache-2.0 */
/* Filters of lists and the reach of rows. */
#include "common/base/array.h"
#include "common/store/page.h"
#include "common/store/reach.h"

#include "cairn/scheduling.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
/* cmocka needs the three above it. */
#include <cmocka.h>

#define STATUS(word) SCH__VISIT__STATUS__##word
#define WORDS(filter, values, count)                                           \
    cn_filter_words((filter), &sch__visit__status__descriptor, (values),       \
                    (count))

static const char REFERRAL[] = "ref_00000000000000000000000001";

static void words_are_listed_once_and_in_their_order(void **state)
{
    static const Sch__Visit__Status VALUES[] = { STATUS(MISSED), STATUS(BOOKED),
                                                 STATUS(MISSED) };
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    const struct cn_request request = { .arena = arena };
    struct cn_filter filter;
    (void)state;
    cn_filter_begin(&filter, &request, "visits");
    struct cn_param words = WORDS(&filter, VALUES, CN_COUNT(VALUES));
    assert_false(filter.nothing);
    assert_int_equal(words.kind, CN_PARAM_TEXTS);
    assert_int_equal(words.value.list.count, 2);
    const char *const *items = words.value.list.items;
    assert_string_equal(items[0], "missed");
    assert_string_equal(items[1], "booked");
    assert_int_equal(WORDS(&filter, NULL, 0).kind, CN_PARAM_NULL);
}

/* A number that is not a value of the enum matches no row. */
static void a_value_outside_the_list_matches_nothing(void **state)
{
    static const int VALUES[] = { 99, STATUS(BOOKED) };
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    const struct cn_request request = { .arena = arena };
    struct cn_filter filter;
    (void)state;
    cn_filter_begin(&filter, &request, "visits");
    assert_int_equal(WORDS(&filter, VALUES, 2).value.list.count, 1);
    assert_false(filter.nothing);
    cn_filter_begin(&filter, &request, "visits");
    (void)WORDS(&filter, VALUES, 1);
    assert_true(filter.nothing);
}

static void an_id_of_another_form_matches_nothing(void **state)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    const struct cn_request request = { .arena = arena };
    struct cn_filter filter;
    (void)state;
    cn_filter_begin(&filter, &request, "visits");
    assert_true(cn_uuid_is_nil(cn_filter_id(&filter, "ref", NULL)));
    assert_false(cn_uuid_is_nil(cn_filter_id(&filter, "ref", REFERRAL)));
    assert_false(filter.nothing);
    (void)cn_filter_id(&filter, "pat", REFERRAL);
    assert_true(filter.nothing);
}

/* Two lists of filters never have the same text, so neither takes the other's
 * cursor. */
static void the_text_tells_every_two_lists_apart(void **state)
{
    static const Sch__Visit__Status ONE[] = { STATUS(BOOKED) };
    static const Sch__Visit__Status TWO[] = { STATUS(BOOKED), STATUS(MISSED) };
    static const struct {
        const Sch__Visit__Status *first;
        size_t first_count;
        const Sch__Visit__Status *second;
        size_t second_count;
        const char *referral;
        const char *patient;
    } ROWS[] = {
        { NULL, 0, NULL, 0, NULL, NULL }, { ONE, 1, NULL, 0, NULL, NULL },
        { NULL, 0, ONE, 1, NULL, NULL },  { TWO, 2, NULL, 0, NULL, NULL },
        { ONE, 1, TWO, 2, NULL, NULL },   { TWO, 2, ONE, 1, NULL, NULL },
        { NULL, 0, NULL, 0, "x", NULL },  { NULL, 0, NULL, 0, NULL, "x" },
    };
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    const struct cn_request request = { .arena = arena };
    const char *texts[CN_COUNT(ROWS)];
    (void)state;
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        struct cn_filter filter;
        cn_filter_begin(&filter, &request, "visits");
        (void)WORDS(&filter, ROWS[i].first, ROWS[i].first_count);
        (void)WORDS(&filter, ROWS[i].second, ROWS[i].second_count);
        (void)cn_filter_id(&filter, "ref", ROWS[i].referral);
        (void)cn_filter_id(&filter, "pat", ROWS[i].patient);
        texts[i] = filter.text;
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(texts[i], texts[j]);
        }
    }
}

static void without_memory_the_arena_of_a_filter_fails(void **state)
{
    static const Sch__Visit__Status ONE[] = { STATUS(BOOKED) };
    (void)state;
    for (unsigned n = 1; n <= 4; n++) {
        CN_ARENA_AUTO struct cn_arena *arena =
            cn_arena_new(CN_ARENA_REQUEST_MAX);
        const struct cn_request request = { .arena = arena };
        struct cn_filter filter;
        cn_arena_fail_at(arena, n);
        cn_filter_begin(&filter, &request, "visits");
        (void)WORDS(&filter, ONE, 1);
        (void)cn_filter_id(&filter, "ref", REFERRAL);
        assert_true(cn_arena_failed(arena));
    }
}

static void a_row_is_within_the_reach_of_few(void **state)
{
    const struct cn_uuid branches[] = { { { 1 } }, { { 2 } } };
    const struct cn_uuid other = { { 3 } };
    const struct cn_uuid none = { { 0 } };
    static const struct {
        enum cn_reach reach;
        size_t branch_count;
        bool own;
        bool others;
        bool nobodys;
    } ROWS[] = {
        { CN_REACH_AGENCY, 0, true, true, true },
        { CN_REACH_BRANCH, 2, true, false, false },
        { CN_REACH_BRANCH, 0, false, false, false },
        { CN_REACH_TEAM, 2, false, false, false },
        { CN_REACH_SELF, 2, false, false, false },
        { CN_REACH_OWN, 2, false, false, false },
        { CN_REACH_NONE, 2, false, false, false },
    };
    (void)state;
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        const struct cn_request request = {
            .reach = ROWS[i].reach,
            .principal = { .branches = branches,
                           .branch_count = ROWS[i].branch_count },
        };
        assert_int_equal(cn_reach_includes(&request, branches[1]), ROWS[i].own);
        assert_int_equal(cn_reach_includes(&request, other), ROWS[i].others);
        assert_int_equal(cn_reach_includes(&request, none), ROWS[i].nobodys);
        /* The same as parameters of a statement: all rows, these branches, or
         * no row. */
        struct cn_param param = cn_reach_branches(&request);
        if (ROWS[i].nobodys) {
            assert_int_equal(param.kind, CN_PARAM_NULL);
        } else {
            assert_int_equal(param.kind, CN_PARAM_UUIDS);
            assert_int_equal(param.value.list.count, ROWS[i].own ? 2 : 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_listed_once_and_in_their_order),
        cmocka_unit_test(a_value_outside_the_list_matches_nothing),
        cmocka_unit_test(an_id_of_another_form_matches_nothing),
        cmocka_unit_test(the_text_tells_every_two_lists_apart),
        cmocka_unit_test(without_memory_the_arena_of_a_filter_fails),
        cmocka_unit_test(a_row_is_within_the_reach_of_few),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
