/* SPDX-License-Identifier: Apache-2.0 */
/* The arena: bounds, alignment, deferred releases, injected failures. */
#include "common/base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void memory_is_zeroed_aligned_and_apart(void **state)
{
    (void)state;
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(1 << 20);
    unsigned char *all[300];
    for (size_t i = 0; i < 300; i++) {
        size_t size = i * 7 % 2500;
        all[i] = cn_arena_alloc(arena, size);
        assert_non_null(all[i]);
        assert_int_equal((uintptr_t)all[i] % 16, 0);
        for (size_t j = 0; j < size; j++) {
            assert_int_equal(all[i][j], 0);
        }
        memset(all[i], (int)(i & 0xff), size);
    }
    for (size_t i = 0; i < 300; i++) {
        for (size_t j = 0; j < i * 7 % 2500; j++) {
            assert_int_equal(all[i][j], i & 0xff);
        }
    }
}

/* A reused block still holds what an earlier arena wrote. */
static void memory_of_an_arena_before_is_zeroed(void **state)
{
    for (int round = 0; round < 3; round++) {
        memory_is_zeroed_aligned_and_apart(state);
    }
}

static void the_bound_holds_for_the_sum(void **state)
{
    (void)state;
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(1024);
    assert_null(cn_arena_try(arena, 1025));
    assert_non_null(cn_arena_alloc(arena, 1000));
    assert_int_equal(cn_arena_size(arena), 1008);
    assert_null(cn_arena_try(arena, 17));
    assert_non_null(cn_arena_alloc(arena, 16));
    assert_null(cn_arena_try(arena, 0));
    assert_int_equal(cn_arena_size(arena), 1024);
    assert_false(cn_arena_failed(arena));
    assert_non_null(cn_arena_alloc(arena, 0));
    assert_true(cn_arena_failed(arena));
}

static void sizes_that_overflow_are_refused(void **state)
{
    (void)state;
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(SIZE_MAX);
    assert_null(cn_arena_try(arena, SIZE_MAX));
    assert_null(cn_arena_try(arena, SIZE_MAX - 14));
    assert_string_equal(cn_arena_strndup(arena, "x", SIZE_MAX), "x");
    assert_false(cn_arena_failed(arena));
    assert_non_null(cn_arena_array(arena, 3, 5));
    assert_non_null(cn_arena_array(arena, 0, 5));
}

static void texts_are_copied(void **state)
{
    (void)state;
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(1 << 20);
    assert_string_equal(cn_arena_strdup(arena, "abc"), "abc");
    assert_null(cn_arena_strdup(arena, NULL));
    assert_string_equal(cn_arena_strndup(arena, "abcdef", 3), "abc");
    assert_string_equal(cn_arena_strndup(arena, "ab", 9), "ab");
    assert_memory_equal(cn_arena_copy(arena, "a\0b", 3), "a\0b", 3);
    assert_non_null(cn_arena_copy(arena, NULL, 0));
    assert_string_equal(cn_arena_printf(arena, "%s-%d", "x", 7), "x-7");
    char *wide = cn_arena_printf(arena, "%1000d", 7);
    assert_int_equal(strlen(wide), 1000);
    assert_int_equal(wide[999], '7');
}

static int s_released[4];
static int s_release_count;

static void s_release(void *handle)
{
    s_released[s_release_count++] = *(int *)handle;
}

static void deferred_releases_run_newest_first(void **state)
{
    (void)state;
    int one = 1;
    int two = 2;
    s_release_count = 0;
    struct cn_arena *arena = cn_arena_new(1 << 10);
    assert_true(cn_arena_defer(arena, s_release, &one));
    assert_true(cn_arena_defer(arena, s_release, &two));
    assert_int_equal(s_release_count, 0);
    cn_arena_free(arena);
    assert_int_equal(s_release_count, 2);
    assert_int_equal(s_released[0], 2);
    assert_int_equal(s_released[1], 1);
}

static void a_release_that_cannot_be_deferred_runs_at_once(void **state)
{
    (void)state;
    int one = 1;
    s_release_count = 0;
    struct cn_arena *arena = cn_arena_new(8);
    assert_false(cn_arena_defer(arena, s_release, &one));
    assert_int_equal(s_release_count, 1);
    cn_arena_free(arena);
    assert_int_equal(s_release_count, 1);
    cn_arena_free(NULL);
}

static void the_chosen_allocation_and_all_later_ones_fail(void **state)
{
    (void)state;
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(1 << 10);
    cn_arena_fail_at(arena, 3);
    assert_non_null(cn_arena_alloc(arena, 1));
    assert_non_null(cn_arena_alloc(arena, 1));
    assert_false(cn_arena_failed(arena));
    assert_string_equal(cn_arena_printf(arena, "x"), "x");
    assert_true(cn_arena_failed(arena));
    assert_null(cn_arena_try(arena, 1));
    cn_arena_fail_at(arena, 0);
    assert_string_equal(cn_arena_strdup(arena, "abc"), "abc");
    assert_true(cn_arena_failed(arena));
}

static void protobuf_allocates_within_the_bound(void **state)
{
    (void)state;
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(64);
    ProtobufCAllocator *allocator = cn_arena_allocator(arena);
    void *memory = allocator->alloc(allocator->allocator_data, 64);
    assert_non_null(memory);
    allocator->free(allocator->allocator_data, memory);
    assert_null(allocator->alloc(allocator->allocator_data, 1));
}

/* The blocks of a failed arena can be reused, and no other arena has them. */
static void
failed_arenas_share_the_reserve_until_the_last_is_freed(void **state)
{
    (void)state;
    enum { SIZE = 1 << 20, ROUNDS = 40 };
    for (int round = 0; round < ROUNDS; round++) {
        CN_ARENA_AUTO struct cn_arena *one = cn_arena_new(16);
        CN_ARENA_AUTO struct cn_arena *two = cn_arena_new(16);
        unsigned char *first = cn_arena_alloc(one, SIZE);
        unsigned char *second = cn_arena_alloc(two, SIZE);
        memset(first, 1, SIZE);
        assert_int_equal((uintptr_t)second % 16, 0);
        assert_int_equal(second[0], 0);
        memset(second, 2, SIZE);
        assert_int_equal(first[SIZE - 1], 1);
    }
}

static void a_failed_arena_defers_nothing(void **state)
{
    (void)state;
    int one = 1;
    s_release_count = 0;
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(16);
    (void)cn_arena_alloc(arena, 17);
    assert_false(cn_arena_defer(arena, s_release, &one));
    assert_int_equal(s_release_count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_zeroed_aligned_and_apart),
        cmocka_unit_test(memory_of_an_arena_before_is_zeroed),
        cmocka_unit_test(the_bound_holds_for_the_sum),
        cmocka_unit_test(sizes_that_overflow_are_refused),
        cmocka_unit_test(texts_are_copied),
        cmocka_unit_test(deferred_releases_run_newest_first),
        cmocka_unit_test(a_release_that_cannot_be_deferred_runs_at_once),
        cmocka_unit_test(the_chosen_allocation_and_all_later_ones_fail),
        cmocka_unit_test(protobuf_allocates_within_the_bound),
        cmocka_unit_test(
            failed_arenas_share_the_reserve_until_the_last_is_freed),
        cmocka_unit_test(a_failed_arena_defers_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
