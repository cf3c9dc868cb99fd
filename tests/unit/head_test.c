/* SPDX-License-Identifier: Apache-2.0 */
/* Heads and bodies as bytes: where they end, their parts, what is broken. */
#include "common/base/array.h"
#include "common/http/body.h"
#include "common/http/head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define HEAD "GET / HTTP/1.1\r\nHost: h\r\n\r\n"

/* The state after all bytes, given in pieces of this size. */
static enum cn_head_state
s_scan(const char *data, size_t size, size_t piece, struct cn_head *head)
{
    enum cn_head_state state = CN_HEAD_MORE;
    *head = (struct cn_head){ 0 };
    for (size_t at = piece; state == CN_HEAD_MORE; at += piece) {
        state = cn_head_scan(head, data, at < size ? at : size);
        if (at >= size) {
            break;
        }
    }
    return state;
}

static void a_head_ends_at_its_empty_line(void **state)
{
    static const char DATA[] = HEAD "body";
    struct cn_head head = { 0 };
    (void)state;
    for (size_t piece = 1; piece <= sizeof(DATA); piece++) {
        assert_int_equal(s_scan(DATA, sizeof(DATA) - 1, piece, &head),
                         CN_HEAD_WHOLE);
        assert_int_equal(head.at, sizeof(HEAD) - 1);
        assert_int_equal(head.begin, 0);
    }
}

static void one_empty_line_may_come_first(void **state)
{
    static const char ONE[] = "\r\n" HEAD;
    static const char TWO[] = "\r\n\r\n" HEAD;
    struct cn_head head = { 0 };
    (void)state;
    assert_int_equal(s_scan(ONE, sizeof(ONE) - 1, 1, &head), CN_HEAD_WHOLE);
    assert_int_equal(head.begin, 2);
    assert_int_equal(s_scan(TWO, sizeof(TWO) - 1, 1, &head), CN_HEAD_BROKEN);
}

static void a_line_ends_with_both_its_characters(void **state)
{
    static const struct {
        const char *data;
        size_t size;
    } ROWS[] = {
#define ROW(text) { text, sizeof(text) - 1 }
        ROW("\n"),
        ROW("\nGET"),
        ROW("\r "),
        ROW("GET / HTTP/1.1\n"),
        ROW("GET / HTTP/1.1\r\r"),
        ROW("GET / HTTP/1.1\r\nHost: h\n"),
        ROW("GET / HTTP/1.1\r\nHost: h\r\n\n"),
        ROW("GET / HTTP/1.1\r\nHost: h\rX"),
        ROW("GET / HTTP/1.1\r\nHost: h\0"),
        ROW("GET\x01"),
        ROW("GET\x7f"),
        ROW("GET / HTTP/1.1\r\nA: \x0b"),
    };
    struct cn_head head = { 0 };
    (void)state;
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        if (s_scan(ROWS[i].data, ROWS[i].size, 1, &head) != CN_HEAD_BROKEN) {
            fail_msg("row %zu is not broken", i);
        }
    }
}

static void a_head_over_the_limit_is_told_by_its_place(void **state)
{
    static char data[CN_HEAD_MAX + 100];
    struct cn_head head = { 0 };
    (void)state;
    memset(data, 'a', sizeof(data));
    assert_int_equal(s_scan(data, sizeof(data), 4096, &head), CN_HEAD_TOO_LONG);
    memcpy(data, "GET / HTTP/1.1\r\n", 16);
    assert_int_equal(s_scan(data, sizeof(data), 4096, &head),
                     CN_HEAD_TOO_LARGE);
}

static enum cn_code s_cut(const char *text, struct cn_framing_head *head)
{
    static char copy[512];
    struct cn_err err = { 0 };
    assert_true(strlen(text) < sizeof(copy));
    memcpy(copy, text, strlen(text) + 1);
    enum cn_code rc = cn_head_cut(copy, head, &err);
    assert_int_equal(rc, err.code);
    return rc;
}

static void a_head_is_cut_into_its_parts(void **state)
{
    struct cn_framing_head head = { 0 };
    (void)state;
    assert_int_equal(s_cut("POST /a/b?c=d&e HTTP/1.1\r\nHost: h:1\r\n"
                           "X-A:\t b c \t\r\nX-B:\r\nX-C:d:e",
                           &head),
                     CN_OK);
    assert_string_equal(head.method, "POST");
    assert_string_equal(head.path, "/a/b");
    assert_string_equal(head.query, "c=d&e");
    assert_string_equal(head.version, "HTTP/1.1");
    assert_null(head.authority);
    assert_int_equal(head.field_count, 4);
    assert_string_equal(head.fields[0].value, "h:1");
    assert_string_equal(head.fields[1].name, "X-A");
    assert_string_equal(head.fields[1].value, "b c");
    assert_int_equal(head.fields[1].value_size, 3);
    assert_string_equal(head.fields[2].value, "");
    assert_string_equal(head.fields[3].value, "d:e");
}

static void a_target_with_a_host_is_cut_after_it(void **state)
{
    static const struct {
        const char *target;
        const char *authority;
        const char *path;
        const char *query;
    } ROWS[] = {
        { "http://h:1/a?b", "h:1", "/a", "b" },
        { "HTTPS://h/", "h", "/", NULL },
        { "http://h", "h", "/", NULL },
        { "http://h?b", "h", "/", "b" },
        { "http:///a", "", "/a", NULL },
        { "ftp://h/a", NULL, "ftp://h/a", NULL },
    };
    (void)state;
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        char text[64];
        struct cn_framing_head head = { 0 };
        (void)snprintf(text, sizeof(text), "GET %s HTTP/1.1", ROWS[i].target);
        assert_int_equal(s_cut(text, &head), CN_OK);
        assert_string_equal(head.path, ROWS[i].path);
        if (ROWS[i].authority == NULL) {
            assert_null(head.authority);
        } else {
            assert_string_equal(head.authority, ROWS[i].authority);
        }
        if (ROWS[i].query == NULL) {
            assert_null(head.query);
        } else {
            assert_string_equal(head.query, ROWS[i].query);
        }
    }
}

/* What the reader passes on is refused by the checks that follow. */
static void a_line_of_another_form_is_refused(void **state)
{
    static const char *const TEXTS[] = {
        "",
        "GET",
        "GET /",
        "GET /  HTTP/1.1\r\nHost: h",
        "GET  / HTTP/1.1\r\nHost: h",
        " GET / HTTP/1.1\r\nHost: h",
        "GET / HTTP/1.1 \r\nHost: h",
        "GET\t/ HTTP/1.1\r\nHost: h",
        "GET / HTTP/1.1\r\n: x\r\nHost: h",
        "GET / HTTP/1.1\r\n:\r\nHost: h",
        "GET / HTTP/1.1\r\n: \r\nHost: h",
        "GET / HTTP/1.1\r\n:\t\r\nHost: h",
        "GET / HTTP/1.1\r\n:GET /b HTTP/1.1\r\nHost: h",
        "GET / HTTP/1.1\r\n Host: h",
        "GET / HTTP/1.1\r\nHost: h\r\n folded",
        "GET / HTTP/1.1\r\nHost : h",
        "GET / HTTP/1.1\r\nHost\r\nHost: h",
        "GET /a#b HTTP/1.1\r\nHost: h",
        "GET /a?b#c HTTP/1.1\r\nHost: h",
        "GET /?\xc3\xa9 HTTP/1.1\r\nHost: h",
        "OPTIONS *?a HTTP/1.1\r\nHost: h",
    };
    (void)state;
    for (size_t i = 0; i < CN_COUNT(TEXTS); i++) {
        struct cn_framing_head head = { 0 };
        struct cn_framing framing = { 0 };
        struct cn_err err = { 0 };
        struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
        enum cn_code rc = s_cut(TEXTS[i], &head);
        if (rc == CN_OK) {
            rc = cn_framing_check(&head, arena, &framing, &err);
        }
        cn_arena_free(arena);
        if (rc != CN_MALFORMED) {
            fail_msg("text %zu is not refused", i);
        }
    }
}

/* ---- bodies ---- */

/* Reads in pieces of this size; *ret_left: bytes after the body. */
static enum cn_body_state s_read(const char *data,
                                 size_t size,
                                 size_t piece,
                                 const struct cn_framing *framing,
                                 char body[256],
                                 size_t *ret_left)
{
    struct cn_body reader;
    size_t at = 0;
    size_t end = 0;
    size_t got = 0;
    enum cn_body_state state = CN_BODY_MORE;
    cn_body_begin(&reader, framing);
    while (state == CN_BODY_MORE && at < size) {
        size_t used = 0;
        struct cn_bytes part = { 0 };
        end = at == end ? at + piece : end;
        end = end > size ? size : end;
        state = cn_body_read(&reader, data + at, end - at, &used, &part);
        assert_true(used > 0);
        assert_true(got + part.size < 256);
        if (part.size > 0) {
            memcpy(body + got, part.data, part.size);
        }
        got += part.size;
        at += used;
    }
    body[got] = '\0';
    *ret_left = size - at;
    return state;
}

static void a_body_ends_at_its_length(void **state)
{
    const struct cn_framing framing = { .body_size = 5 };
    char body[256];
    size_t left = 0;
    (void)state;
    for (size_t piece = 1; piece < 9; piece++) {
        assert_int_equal(s_read("helloGET", 8, piece, &framing, body, &left),
                         CN_BODY_WHOLE);
        assert_string_equal(body, "hello");
        assert_int_equal(left, 3);
    }
    assert_int_equal(s_read("hell", 4, 4, &framing, body, &left), CN_BODY_MORE);
}

static void chunks_make_one_body(void **state)
{
    static const char *const TEXTS[] = {
        "5\r\nhello\r\n0\r\n\r\nGET",
        "2\r\nhe\r\n3\r\nllo\r\n00\r\n\r\nGET",
        "05;a=b\r\nhello\r\n0;c\r\n\r\nGET",
        "5 ;a=\"b c\"\r\nhello\r\n0\r\n\r\nGET",
        "5\r\nhello\r\n0\r\nX-A: b\r\nX-B:\r\n\r\nGET",
        "5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\nGET",
    };
    const struct cn_framing framing = { .chunked = true };
    (void)state;
    for (size_t i = 0; i < CN_COUNT(TEXTS); i++) {
        for (size_t piece = 1; piece < 9; piece++) {
            char body[256];
            size_t left = 0;
            assert_int_equal(s_read(TEXTS[i], strlen(TEXTS[i]), piece, &framing,
                                    body, &left),
                             CN_BODY_WHOLE);
            assert_string_equal(body, "hello");
            assert_int_equal(left, 3);
        }
    }
}

static void a_chunk_of_another_form_is_broken(void **state)
{
    static const char *const TEXTS[] = {
        "5\nhello\r\n0\r\n\r\n",        /* a bare LF after a size */
        "5\r\nhello\n0\r\n\r\n",        /* and after the data */
        "5\r\nhello\r\n0\n\r\n",        /* and after the last size */
        "5\r\nhello\r\n0\r\n\n",        /* and at the end */
        "5\r\nhello\r\n0\r\nA: b\n",    /* and in a trailer */
        "5;a\nb\r\nhello\r\n0\r\n\r\n", /* and in an extension */
        "5\rhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "\r\n",
        " 5\r\nhello\r\n",
        "5 \r\nhello\r\n",
        "5 5\r\nhello\r\n",
        "+5\r\nhello\r\n",
        "-5\r\nhello\r\n",
        "0x5\r\nhello\r\n",
        "5h\r\nhello\r\n",
        "g\r\n",
        ";a\r\n",
        "10000000000000005\r\nhello\r\n",
        "0000000000000000\r\n",
        "5\r\nhello\r\n0\r\n: b\r\n\r\n",
        "5\r\nhello\r\n0\r\n A: b\r\n\r\n",
        "5\r\nhello\r\n0\r\nA : b\r\n\r\n",
        "5\r\nhello\r\n0\r\nA\r\n\r\n",
        "5;\x01\r\nhello\r\n",
    };
    const struct cn_framing framing = { .chunked = true };
    (void)state;
    for (size_t i = 0; i < CN_COUNT(TEXTS); i++) {
        char body[256];
        size_t left = 0;
        if (s_read(TEXTS[i], strlen(TEXTS[i]), 1, &framing, body, &left) !=
            CN_BODY_BROKEN) {
            fail_msg("text %zu is not broken", i);
        }
    }
}

static void what_surrounds_chunks_is_bounded(void **state)
{
    static char data[CN_BODY_EXTRA_MAX + 100];
    const struct cn_framing framing = { .chunked = true };
    char body[256];
    size_t left = 0;
    (void)state;
    memset(data, 'a', sizeof(data));
    memcpy(data, "5;", 2);
    assert_int_equal(
        s_read(data, sizeof(data), sizeof(data), &framing, body, &left),
        CN_BODY_BROKEN);
    memcpy(data, "0\r\nA:", 5);
    assert_int_equal(
        s_read(data, sizeof(data), sizeof(data), &framing, body, &left),
        CN_BODY_BROKEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_ends_at_its_empty_line),
        cmocka_unit_test(one_empty_line_may_come_first),
        cmocka_unit_test(a_line_ends_with_both_its_characters),
        cmocka_unit_test(a_head_over_the_limit_is_told_by_its_place),
        cmocka_unit_test(a_head_is_cut_into_its_parts),
        cmocka_unit_test(a_target_with_a_host_is_cut_after_it),
        cmocka_unit_test(a_line_of_another_form_is_refused),
        cmocka_unit_test(a_body_ends_at_its_length),
        cmocka_unit_test(chunks_make_one_body),
        cmocka_unit_test(a_chunk_of_another_form_is_broken),
        cmocka_unit_test(what_surrounds_chunks_is_bounded),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
