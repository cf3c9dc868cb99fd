/* SPDX-License-Identifier: Apache-2.0 */
/* An exchange in which an allocation fails answers 503, or its whole answer.
 * The line in the log names the template of the path and nothing that a client
 * sent. */
#include "services/gateway/exchange.h"

#include "cairn/routes.h"
#include "common/base/log.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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

/* The line that the answer to a request leaves. */
static json_t *s_line_of(struct fixture *fixture,
                         struct cn_http_request *request)
{
    static char text[4096];
    struct cn_http_response response = { 0 };
    int kept = dup(STDOUT_FILENO);
    int capture = memfd_create("log", MFD_CLOEXEC);
    assert_true(kept >= 0 && capture >= 0);
    cn_log_flush();
    assert_true(dup2(capture, STDOUT_FILENO) >= 0);
    cn_buffer_init(&response.body, CN_HTTP_RESPONSE_MAX);
    exchange_handle(&fixture->gateway, request, &response);
    cn_log_flush();
    assert_true(dup2(kept, STDOUT_FILENO) >= 0);
    ssize_t size = pread(capture, text, sizeof(text), 0);
    assert_true(size > 0);
    (void)close(kept);
    (void)close(capture);
    cn_buffer_done(&response.body);
    cn_arena_free(fixture->arena);
    json_t *line = json_loadb(text, (size_t)size, 0, NULL);
    assert_non_null(line);
    return line;
}

static void s_says(const json_t *line, const char *name, const char *value)
{
    const char *said = json_string_value(json_object_get(line, name));
    assert_non_null(said);
    assert_string_equal(said, value);
}

static void a_line_names_the_template_and_nothing_that_was_sent(void **state)
{
    static const struct {
        const char *method;
        const char *path;
        const char *verb;
        const char *template;
        int status;
    } ROWS[] = {
        { "DELETE", "/v1/referrals/Smith", "DELETE", "/v1/referrals/{id}",
          405 },
        { "OPTIONS", "/v1/referrals", "OPTIONS", "/v1/referrals", 204 },
        { "GET", "/problems", "GET", "/problems", 200 },
        { "GET", "/problems/Smith", "GET", "/problems/{code}", 404 },
        { "GET", "/openapi.json", "GET", "/openapi.json", 200 },
        { "GET", "/Smith", "GET", "none", 404 },
        { "SMITH", "/v1/referrals", "none", "/v1/referrals", 405 },
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        struct cn_http_request request = s_request(fixture, ROWS[i].path, 0);
        request.method = ROWS[i].method;
        request.address = "192.0.2.7";
        request.query[0] = (struct cn_http_parameter){ "family", "Smith" };
        json_t *line = s_line_of(fixture, &request);
        char *text = json_dumps(line, 0);
        s_says(line, "verb", ROWS[i].verb);
        s_says(line, "path", ROWS[i].template);
        s_says(line, "address", "192.0.2.7");
        assert_int_equal(json_integer_value(json_object_get(line, "status")),
                         ROWS[i].status);
        assert_null(strcasestr(text, "smith"));
        free(text);
        json_decref(line);
    }
}

static void an_address_is_believed_from_our_proxy_alone(void **state)
{
    static const struct {
        bool behind_proxy;
        const char *forwarded;
        const char *address;
    } ROWS[] = {
        { false, "203.0.113.9", "192.0.2.7" },
        { true, "203.0.113.9", "203.0.113.9" },
        { true, "10.0.0.1, 2001:db8::9", "2001:db8::9" },
        { true, "203.0.113.9, Smith", "192.0.2.7" },
        { true, NULL, "192.0.2.7" },
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        struct cn_http_request request = s_request(fixture, "/problems", 0);
        fixture->gateway.behind_proxy = ROWS[i].behind_proxy;
        request.address = "192.0.2.7";
        request.headers[CN_FRAMING_FORWARDED_FOR] = ROWS[i].forwarded;
        json_t *line = s_line_of(fixture, &request);
        s_says(line, "address", ROWS[i].address);
        json_decref(line);
    }
    fixture->gateway.behind_proxy = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_names_the_template_and_nothing_that_was_sent),
        cmocka_unit_test(an_address_is_believed_from_our_proxy_alone),
        cmocka_unit_test(a_request_without_memory_answers_503),
        cmocka_unit_test(a_refusal_without_memory_answers_503),
        cmocka_unit_test(where_a_record_is_begins_with_the_public_url),
        cmocka_unit_test(a_refused_method_names_those_that_are_served),
        cmocka_unit_test(a_page_takes_no_body),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
