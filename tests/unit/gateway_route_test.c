/* SPDX-License-Identifier: Apache-2.0 */
/* Paths and methods to rows of a route table. */
#include "services/gateway/route.h"

#include "common/base/array.h"

#include "services/gateway/uri.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const struct cn_route TABLE[] = {
    { .verb = CN_GET, .path = "/v1/things" },
    { .verb = CN_POST, .path = "/v1/things" },
    { .verb = CN_GET, .path = "/v1/things/{id}" },
    { .verb = CN_PATCH, .path = "/v1/things/{id}" },
    { .verb = CN_POST, .path = "/v1/things/{id}/accept" },
    { .verb = CN_GET, .path = "/v1/things/{thing_id}/parts/{part_id}" },
    { .verb = CN_GET, .path = "/v1/things/newest" },
    { .verb = CN_GET, .path = "/v1/{kind}/newest/raw" },
};

struct fixture {
    struct cn_arena *arena;
    struct routes *routes;
};

static int s_setup(void **state)
{
    static struct fixture fixture;
    fixture.arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    fixture.routes = routes_new(TABLE, CN_COUNT(TABLE));
    *state = &fixture;
    return fixture.arena != NULL && fixture.routes != NULL ? 0 : -1;
}

static int s_teardown(void **state)
{
    struct fixture *fixture = *state;
    routes_free(fixture->routes);
    cn_arena_free(fixture->arena);
    return 0;
}

static const struct cn_route *s_route(const struct fixture *fixture,
                                      const char *method,
                                      const char *path,
                                      struct route_match *match)
{
    if (!routes_match(fixture->routes, fixture->arena, path, match)) {
        return NULL;
    }
    return route_of(match, method);
}

static void every_row_of_the_table_is_found(void **state)
{
    static const char *const METHODS[] = { "GET", "POST", "PUT", "PATCH",
                                           "DELETE" };
    const struct fixture *fixture = *state;
    for (size_t i = 0; i < CN_COUNT(TABLE); i++) {
        struct route_match match = { 0 };
        const struct cn_route *route =
            s_route(fixture, METHODS[TABLE[i].verb], TABLE[i].path, &match);
        assert_ptr_equal(route, &TABLE[i]);
    }
}

static void parameters_are_named_by_their_own_route(void **state)
{
    const struct fixture *fixture = *state;
    struct route_match match = { 0 };
    const struct cn_route *route =
        s_route(fixture, "GET", "/v1/things/a%20b/parts/%C3%A9", &match);
    assert_ptr_equal(route, &TABLE[5]);
    assert_int_equal(match.value_count, 2);
    assert_string_equal(match.values[0], "a b");
    assert_string_equal(match.values[1], "\xc3\xa9");
    assert_string_equal(route_param(route, fixture->arena, 0), "thing_id");
    assert_string_equal(route_param(route, fixture->arena, 1), "part_id");
}

static void a_literal_wins_over_a_parameter(void **state)
{
    struct route_match match = { 0 };
    assert_ptr_equal(s_route(*state, "GET", "/v1/things/newest", &match),
                     &TABLE[6]);
    assert_int_equal(match.value_count, 0);
}

static void a_literal_that_leads_nowhere_gives_way(void **state)
{
    struct route_match match = { 0 };
    assert_ptr_equal(s_route(*state, "GET", "/v1/things/newest/raw", &match),
                     &TABLE[7]);
    assert_int_equal(match.value_count, 1);
    assert_string_equal(match.values[0], "things");
}

static void an_escaped_slash_stays_in_its_segment(void **state)
{
    struct route_match match = { 0 };
    assert_ptr_equal(s_route(*state, "GET", "/v1/things/a%2Fparts", &match),
                     &TABLE[2]);
    assert_string_equal(match.values[0], "a/parts");
}

static void paths_of_nobody_are_not_found(void **state)
{
    static const char *const PATHS[] = {
        "",
        "*",
        "/",
        "/v1",
        "/v1/",
        "/v1/thing",
        "/v1/thingss",
        "/v1/things/",
        "/v1/things//accept",
        "/v1/things/x/accept/",
        "/v1/things/x/accept/y",
        "//v1/things",
        "/v1/things/%zz",
        "/v1/things/%2",
        "/v1/things/%00",
        "/v1/things/%ff",
        "/v1/things/%c0%af",
        "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u",
    };
    const struct fixture *fixture = *state;
    for (size_t i = 0; i < CN_COUNT(PATHS); i++) {
        struct route_match match = { 0 };
        assert_false(
            routes_match(fixture->routes, fixture->arena, PATHS[i], &match));
    }
}

static void allow_names_what_the_path_serves(void **state)
{
    const struct fixture *fixture = *state;
    struct route_match match = { 0 };
    char allow[ROUTE_ALLOW_MAX];
    assert_null(s_route(fixture, "DELETE", "/v1/things/x", &match));
    route_allow(&match, allow);
    assert_string_equal(allow, "GET, HEAD, PATCH, OPTIONS");
    assert_null(s_route(fixture, "GET", "/v1/things/x/accept", &match));
    route_allow(&match, allow);
    assert_string_equal(allow, "POST, OPTIONS");
}

static void head_is_served_by_get(void **state)
{
    struct route_match match = { 0 };
    assert_ptr_equal(s_route(*state, "HEAD", "/v1/things", &match), &TABLE[0]);
}

static void only_characters_are_decoded(void **state)
{
    static const char *const RIGHT[] = { "a~",           "%C2%80",
                                         "%DF%BF",       "%E0%A0%80",
                                         "%ED%9F%BF",    "%EE%80%80",
                                         "%F0%90%80%80", "%F4%8F%BF%BF" };
    static const char *const WRONG[] = {
        "%1f",          "%7f",          "%80",
        "%C1%81",       "%C2",          "%C2%41",
        "%E0%9F%BF",    "%ED%A0%80",    "%E1%80",
        "%E1%80%C0",    "%F0%8F%BF%BF", "%F4%90%80%80",
        "%F5%80%80%80", "%F1%80%80%7F", "%",
        "%4",
    };
    const struct fixture *fixture = *state;
    for (size_t i = 0; i < CN_COUNT(RIGHT); i++) {
        assert_non_null(uri_decode(fixture->arena, RIGHT[i], strlen(RIGHT[i])));
    }
    for (size_t i = 0; i < CN_COUNT(WRONG); i++) {
        if (uri_decode(fixture->arena, WRONG[i], strlen(WRONG[i])) != NULL) {
            fail_msg("%s is decoded", WRONG[i]);
        }
    }
}

static void encoding_leaves_only_the_unreserved(void **state)
{
    struct cn_buffer buffer;
    (void)state;
    cn_buffer_init(&buffer, 256);
    uri_encode(&buffer, "aZ09-._~ /?&=%\xc3\xa9");
    cn_buffer_add(&buffer, "", 1);
    assert_string_equal(buffer.data, "aZ09-._~%20%2F%3F%26%3D%25%C3%A9");
    cn_buffer_done(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_of_the_table_is_found),
        cmocka_unit_test(parameters_are_named_by_their_own_route),
        cmocka_unit_test(a_literal_wins_over_a_parameter),
        cmocka_unit_test(a_literal_that_leads_nowhere_gives_way),
        cmocka_unit_test(an_escaped_slash_stays_in_its_segment),
        cmocka_unit_test(paths_of_nobody_are_not_found),
        cmocka_unit_test(allow_names_what_the_path_serves),
        cmocka_unit_test(head_is_served_by_get),
        cmocka_unit_test(only_characters_are_decoded),
        cmocka_unit_test(encoding_leaves_only_the_unreserved),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
