/* SPDX-License-Identifier: Apache-2.0 */
/* Heads of requests that are refused, and those that are not. */
#include "common/base/array.h"
#include "common/http/framing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct cn_framing_head
s_head(const char *method, const char *path, const char *version)
{
    struct cn_framing_head head = { .method = method,
                                    .path = path,
                                    .version = version };
    return head;
}

static void
s_add(struct cn_framing_head *head, const char *name, const char *value)
{
    head->fields[head->field_count++] =
        (struct cn_framing_field){ name, strlen(name), value, strlen(value) };
}

static enum cn_code s_check(const struct cn_framing_head *head,
                            struct cn_framing *ret_framing)
{
    static struct cn_arena *arena;
    struct cn_err err = { 0 };
    cn_arena_free(arena);
    arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    assert_non_null(arena);
    enum cn_code rc = cn_framing_check(head, arena, ret_framing, &err);
    assert_int_equal(rc, err.code);
    return rc;
}

static void s_end(void)
{
    struct cn_framing framing = { 0 };
    struct cn_framing_head head = s_head("GET", "/", "HTTP/1.1");
    s_add(&head, "Host", "h");
    assert_int_equal(s_check(&head, &framing), CN_OK);
}

static void a_plain_request_passes(void **state)
{
    struct cn_framing framing = { 0 };
    struct cn_framing_head head = s_head("POST", "/v1/x", "HTTP/1.1");
    (void)state;
    s_add(&head, "host", "cairn.example:8080");
    s_add(&head, "Content-Length", "12");
    s_add(&head, "content-type", "application/json");
    s_add(&head, "Accept", "text/html");
    s_add(&head, "X-Unknown", "a\tb \xe9");
    s_add(&head, "accept", "*/*;q=0.1");
    assert_int_equal(s_check(&head, &framing), CN_OK);
    assert_int_equal(framing.body_size, 12);
    assert_false(framing.chunked);
    assert_string_equal(framing.headers[CN_FRAMING_HOST], "cairn.example:8080");
    assert_string_equal(framing.headers[CN_FRAMING_ACCEPT],
                        "text/html, */*;q=0.1");
    assert_null(framing.headers[CN_FRAMING_IF_MATCH]);
}

struct row {
    const char *method;
    const char *path;
    const char *version;
    const char *fields[8]; /* names and values by turns */
};

static void ambiguous_heads_are_refused(void **state)
{
    static const struct row ROWS[] = {
        { "get", "/", "HTTP/1.1", { "Host", "h" } },
        { "TRACE", "/", "HTTP/1.1", { "Host", "h" } },
        { "GE\x01T", "/", "HTTP/1.1", { "Host", "h" } },
        { "GET", "v1", "HTTP/1.1", { "Host", "h" } },
        { "GET", "*", "HTTP/1.1", { "Host", "h" } },
        { "GET", "http://h/", "HTTP/1.1", { "Host", "h" } },
        { "GET", "/a\x7f", "HTTP/1.1", { "Host", "h" } },
        { "GET", "/a\xc3\xa9", "HTTP/1.1", { "Host", "h" } },
        { "GET", "/", "HTTP/2.0", { "Host", "h" } },
        { "GET", "/", "", { "Host", "h" } },
        { "GET", "/", "HTTP/1.1", { "Accept", "*/*" } },
        { "GET", "/", "HTTP/1.1", { "Host", "" } },
        { "GET", "/", "HTTP/1.1", { "Host", "h/x" } },
        { "GET", "/", "HTTP/1.1", { "Host", "h\"" } },
        { "GET", "/", "HTTP/1.1", { "Host", "h", "Host", "h" } },
        { "GET",
          "/",
          "HTTP/1.1",
          { "Host", "h", "Authorization", "a", "authorization", "a" } },
        { "POST",
          "/",
          "HTTP/1.1",
          { "Host", "h", "Content-Type", "a", "Content-Type", "a" } },
        { "POST",
          "/",
          "HTTP/1.1",
          { "Host", "h", "Content-Length", "1", "Content-Length", "1" } },
        { "POST", "/", "HTTP/1.1", { "Host", "h", "Content-Length", "" } },
        { "POST", "/", "HTTP/1.1", { "Host", "h", "Content-Length", "+1" } },
        { "POST", "/", "HTTP/1.1", { "Host", "h", "Content-Length", "-1" } },
        { "POST", "/", "HTTP/1.1", { "Host", "h", "Content-Length", "1 " } },
        { "POST", "/", "HTTP/1.1", { "Host", "h", "Content-Length", "0x1" } },
        { "POST",
          "/",
          "HTTP/1.1",
          { "Host", "h", "Content-Length", "9999999999999999999" } },
        { "POST",
          "/",
          "HTTP/1.1",
          { "Host", "h", "Content-Length", "3", "Transfer-Encoding",
            "chunked" } },
        { "POST", "/", "HTTP/1.1", { "Host", "h", "Transfer-Encoding", "x" } },
        { "POST",
          "/",
          "HTTP/1.1",
          { "Host", "h", "Transfer-Encoding", "gzip, chunked" } },
        { "POST",
          "/",
          "HTTP/1.1",
          { "Host", "h", "Transfer-Encoding", "chunked", "Transfer-Encoding",
            "chunked" } },
        { "POST",
          "/",
          "HTTP/1.0",
          { "Host", "h", "Transfer-Encoding", "chunked" } },
        { "GET", "/", "HTTP/1.1", { "Host", "h", "X-A", "a\x01" } },
        { "GET", "/", "HTTP/1.1", { "Host", "h", "X-A", "a\rb" } },
        { "GET", "/", "HTTP/1.1", { "Host", "h", "X A", "a" } },
        { "GET", "/", "HTTP/1.1", { "Host", "h", "", "a" } },
    };
    (void)state;
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        struct cn_framing framing = { 0 };
        struct cn_framing_head head =
            s_head(ROWS[i].method, ROWS[i].path, ROWS[i].version);
        for (size_t f = 0; f + 1 < 8 && ROWS[i].fields[f] != NULL; f += 2) {
            s_add(&head, ROWS[i].fields[f], ROWS[i].fields[f + 1]);
        }
        if (s_check(&head, &framing) != CN_MALFORMED) {
            fail_msg("row %zu is not refused", i);
        }
    }
    s_end();
}

static void an_old_client_needs_no_host(void **state)
{
    struct cn_framing framing = { 0 };
    const struct cn_framing_head head = s_head("GET", "/", "HTTP/1.0");
    (void)state;
    assert_int_equal(s_check(&head, &framing), CN_OK);
}

static void a_path_over_the_limit_is_too_long(void **state)
{
    struct cn_framing framing = { 0 };
    char path[CN_FRAMING_PATH_MAX + 2];
    struct cn_framing_head head = s_head("GET", path, "HTTP/1.1");
    (void)state;
    memset(path, 'a', sizeof(path) - 1);
    path[0] = '/';
    path[sizeof(path) - 1] = '\0';
    s_add(&head, "Host", "h");
    assert_int_equal(s_check(&head, &framing), CN_TOO_LARGE);
    path[sizeof(path) - 2] = '\0';
    assert_int_equal(s_check(&head, &framing), CN_OK);
}

static void a_target_may_name_its_host(void **state)
{
    struct cn_framing framing = { 0 };
    struct cn_framing_head head = s_head("GET", "/", "HTTP/1.1");
    (void)state;
    head.authority = "cairn.example";
    s_add(&head, "Host", "other.example");
    assert_int_equal(s_check(&head, &framing), CN_OK);
    assert_string_equal(framing.headers[CN_FRAMING_HOST], "cairn.example");
    head.authority = "user@cairn.example";
    assert_int_equal(s_check(&head, &framing), CN_MALFORMED);
}

static void a_connection_lives_as_its_client_says(void **state)
{
    static const struct {
        const char *version;
        const char *connection;
        bool closes;
    } ROWS[] = {
        { "HTTP/1.1", "x", false },
        { "HTTP/1.1", "keep-alive", false },
        { "HTTP/1.1", "x , Close", true },
        { "HTTP/1.1", "closed", false },
        { "HTTP/1.0", "x", true },
        { "HTTP/1.0", "Keep-Alive", false },
        { "HTTP/1.0", "keep-alive, close", true },
    };
    (void)state;
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        struct cn_framing framing = { 0 };
        struct cn_framing_head head = s_head("GET", "/", ROWS[i].version);
        s_add(&head, "Host", "h");
        s_add(&head, "Connection", ROWS[i].connection);
        assert_int_equal(s_check(&head, &framing), CN_OK);
        assert_int_equal(framing.closes, ROWS[i].closes);
    }
}

static void only_a_new_client_waits_to_be_asked(void **state)
{
    struct cn_framing framing = { 0 };
    struct cn_framing_head head = s_head("POST", "/", "HTTP/1.1");
    (void)state;
    s_add(&head, "Host", "h");
    s_add(&head, "Expect", "100-Continue");
    assert_int_equal(s_check(&head, &framing), CN_OK);
    assert_true(framing.waits);
    head.version = "HTTP/1.0";
    assert_int_equal(s_check(&head, &framing), CN_OK);
    assert_false(framing.waits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_request_passes),
        cmocka_unit_test(ambiguous_heads_are_refused),
        cmocka_unit_test(an_old_client_needs_no_host),
        cmocka_unit_test(a_path_over_the_limit_is_too_long),
        cmocka_unit_test(a_target_may_name_its_host),
        cmocka_unit_test(a_connection_lives_as_its_client_says),
        cmocka_unit_test(only_a_new_client_waits_to_be_asked),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
