/* SPDX-License-Identifier: Apache-2.0 */
/* An exchange in which an allocation fails answers 503, or its whole answer. */
#include "services/gateway/exchange.h"

#include "cairn/routes.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { ALLOCATIONS_MAX = 50 };

struct fixture {
    struct cn_env env;
    struct gateway gateway;
    struct cn_arena *arena;
};

static int s_setup(void **state)
{
    static struct fixture fixture;
    fixture.env = cn_env_real();
    fixture.gateway = (struct gateway){
        .env = &fixture.env,
        .routes = routes_new(cn_routes, cn_route_count),
        .tally = tally_new(cn_routes, cn_route_count),
        .public_url = "",
    };
    *state = &fixture;
    return 0;
}

static int s_teardown(void **state)
{
    const struct fixture *fixture = *state;
    tally_free(fixture->gateway.tally);
    routes_free(fixture->gateway.routes);
    return 0;
}

/* A GET whose allocation number `fail_at` (0: none) finds no memory. */
static struct cn_http_request
s_request(struct fixture *fixture, const char *path, unsigned fail_at)
{
    fixture->arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    assert_non_null(fixture->arena);
    cn_arena_fail_at(fixture->arena, fail_at);
    return (struct cn_http_request){
        .arena = fixture->arena,
        .method = "GET",
        .path = path,
        .headers = { [CN_FRAMING_HOST] = "cairn.example" },
    };
}

static void s_is_whole_503(const struct cn_http_response *response)
{
    json_t *json =
        json_loadb(response->body.data, response->body.size, 0, NULL);
    assert_int_equal(response->status, 503);
    assert_non_null(json);
    assert_string_equal(json_string_value(json_object_get(json, "code")),
                        "out_of_memory");
    json_decref(json);
}

static const char *s_field(const struct cn_http_response *response,
                           const char *name)
{
    const char *value = NULL;
    for (size_t i = 0; i < response->field_count; i++) {
        if (strcmp(response->fields[i].name, name) == 0) {
            assert_null(value);
            value = response->fields[i].value;
        }
    }
    return value;
}

static void a_request_without_memory_answers_503(void **state)
{
    struct fixture *fixture = *state;
    bool failed = true;
    for (unsigned n = 1; failed; n++) {
        struct cn_http_request request = s_request(fixture, "/problems", n);
        struct cn_http_response response = { 0 };
        assert_true(n < ALLOCATIONS_MAX);
        cn_buffer_init(&response.body, CN_HTTP_RESPONSE_MAX);
        exchange_handle(&fixture->gateway, &request, &response);
        failed = cn_arena_failed(fixture->arena);
        if (failed) {
            s_is_whole_503(&response);
            assert_string_equal(s_field(&response, "Retry-After"), "1");
        } else {
            assert_true(n > 1);
            assert_int_equal(response.status, 200);
        }
        assert_non_null(s_field(&response, "Request-Id"));
        assert_non_null(s_field(&response, "Content-Type"));
        cn_buffer_done(&response.body);
        cn_arena_free(fixture->arena);
    }
}

static void a_refusal_without_memory_answers_503(void **state)
{
    struct fixture *fixture = *state;
    struct cn_http_request request = s_request(fixture, "/v1/referrals", 1);
    struct cn_http_response response = { 0 };
    struct cn_err err = { 0 };
    (void)cn_fail(&err, CN_TOO_LARGE, "the body is too large");
    exchange_refuse(&fixture->gateway, &request, &err, &response);
    s_is_whole_503(&response);
    assert_int_equal(err.code, CN_TOO_LARGE);
    cn_buffer_done(&response.body);
    cn_arena_free(fixture->arena);
}

static void where_a_record_is_begins_with_the_public_url(void **state)
{
    static const struct {
        const char *url;
        const char *location;
    } ROWS[] = {
        { "https://cairn.example:8443",
          "https://cairn.example:8443/v1/patients/pat_1" },
        { "", "/v1/patients/pat_1" },
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < 2; i++) {
        struct gateway gateway = fixture->gateway;
        struct cn_http_request request = s_request(fixture, "/v1/referrals", 0);
        struct cn_http_response response = { 0 };
        struct cn_err err = { 0 };
        gateway.public_url = ROWS[i].url;
        (void)cn_fail(&err, CN_CONFLICT, "it is there");
        (void)snprintf(err.location, sizeof(err.location),
                       "/v1/patients/pat_1");
        exchange_refuse(&gateway, &request, &err, &response);
        assert_int_equal(response.status, 409);
        assert_string_equal(s_field(&response, "Location"), ROWS[i].location);
        cn_buffer_done(&response.body);
        cn_arena_free(fixture->arena);
    }
}

static void a_refused_method_names_those_that_are_served(void **state)
{
    struct fixture *fixture = *state;
    struct cn_http_request request = s_request(fixture, "/v1/hl7v2", 0);
    struct cn_http_response response = { 0 };
    struct cn_uuid payer = { 0 };
    struct cn_err err = { 0 };
    request.method = "PUT";
    assert_int_equal(exchange_admit(&fixture->gateway, &request, &payer, &err),
                     CN_METHOD_NOT_ALLOWED);
    exchange_refuse(&fixture->gateway, &request, &err, &response);
    assert_int_equal(response.status, 405);
    assert_string_equal(s_field(&response, "Allow"), "POST, OPTIONS");
    cn_buffer_done(&response.body);
    cn_arena_free(fixture->arena);
}

static void a_page_takes_no_body(void **state)
{
    static const struct {
        const char *path;
        enum cn_code code;
    } ROWS[] = {
        { "/problems", CN_MALFORMED },
        { "/v1/stream", CN_MALFORMED },
        { "/v1/nothing", CN_NOT_FOUND },
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < 3; i++) {
        struct cn_http_request request = s_request(fixture, ROWS[i].path, 0);
        struct cn_uuid payer = { 0 };
        struct cn_err err = { 0 };
        assert_int_equal(
            exchange_admit(&fixture->gateway, &request, &payer, &err),
            ROWS[i].code);
        cn_arena_free(fixture->arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_without_memory_answers_503),
        cmocka_unit_test(a_refusal_without_memory_answers_503),
        cmocka_unit_test(where_a_record_is_begins_with_the_public_url),
        cmocka_unit_test(a_refused_method_names_those_that_are_served),
        cmocka_unit_test(a_page_takes_no_body),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
