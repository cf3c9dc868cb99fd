/* SPDX-License-Identifier: Apache-2.0 */
/* The checks of a request's head. */
#include "common/http/framing.h"

#include "common/base/array.h"

#include <string.h>
#include <strings.h>

enum {
    LENGTH_DIGITS_MAX = 18, /* so that a Content-Length cannot overflow */
    GAP_MAX = 32 << 10      /* the parser's buffer of one connection */
};

#define HEADER(text, is_list)                                                  \
    {                                                                          \
        text, sizeof(text) - 1, is_list                                        \
    }
static const struct {
    const char *name;
    size_t size;
    bool is_list; /* may come in several fields */
} HEADERS[CN_FRAMING_HEADER_COUNT] = {
    [CN_FRAMING_HOST] = HEADER("Host", false),
    [CN_FRAMING_AUTHORIZATION] = HEADER("Authorization", false),
    [CN_FRAMING_CONTENT_TYPE] = HEADER("Content-Type", false),
    [CN_FRAMING_CONTENT_LENGTH] = HEADER("Content-Length", false),
    [CN_FRAMING_TRANSFER_ENCODING] = HEADER("Transfer-Encoding", false),
    [CN_FRAMING_ACCEPT] = HEADER("Accept", true),
    [CN_FRAMING_EXPECT] = HEADER("Expect", true),
    [CN_FRAMING_IDEMPOTENCY_KEY] = HEADER("Idempotency-Key", false),
    [CN_FRAMING_IF_MATCH] = HEADER("If-Match", true),
    [CN_FRAMING_IF_NONE_MATCH] = HEADER("If-None-Match", true),
    [CN_FRAMING_REQUEST_ID] = HEADER("Request-Id", false),
    [CN_FRAMING_X_REQUEST_ID] = HEADER("X-Request-Id", false),
    [CN_FRAMING_TRACEPARENT] = HEADER("Traceparent", false),
    [CN_FRAMING_LAST_EVENT_ID] = HEADER("Last-Event-ID", false),
    [CN_FRAMING_FORWARDED_FOR] = HEADER("X-Forwarded-For", true),
};

static const char *const METHODS[] = { "GET",   "HEAD",   "POST",   "PUT",
                                       "PATCH", "DELETE", "OPTIONS" };

static bool s_is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
           (c >= 'a' && c <= 'z');
}

/* RFC 9110 5.6.2 */
static bool s_is_token(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (!s_is_alnum(text[i]) &&
            (text[i] == '\0' || strchr("!#$%&'*+-.^_`|~", text[i]) == NULL)) {
            return false;
        }
    }
    return size > 0;
}

static bool s_is_value(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return false;
        }
    }
    return true;
}

/* Letters, digits, dots, dashes, a port, an address in brackets. Nothing else,
 * because the Host is copied into the URLs of answers. */
static bool s_is_host(const char *text)
{
    for (const char *at = text; *at != '\0'; at++) {
        if (!s_is_alnum(*at) && strchr(".-_:[]", *at) == NULL) {
            return false;
        }
    }
    return text[0] != '\0';
}

static bool s_is_path(const char *path)
{
    for (const char *at = path; *at != '\0'; at++) {
        if (*at <= 0x20 || *at >= 0x7f) {
            return false;
        }
    }
    return path[0] == '/';
}

static enum cn_code s_check_line(const struct cn_framing_head *head,
                                 struct cn_err *err)
{
    bool known = false;
    for (size_t i = 0; i < CN_COUNT(METHODS); i++) {
        known = known || strcmp(head->method, METHODS[i]) == 0;
    }
    if (!known) {
        return cn_fail(err, CN_MALFORMED, "this method is not known");
    }
    if (strcmp(head->version, "HTTP/1.1") != 0 &&
        strcmp(head->version, "HTTP/1.0") != 0) {
        return cn_fail(err, CN_MALFORMED, "this version is not served");
    }
    if (!s_is_path(head->path) && (strcmp(head->path, "*") != 0 ||
                                   strcmp(head->method, "OPTIONS") != 0)) {
        return cn_fail(err, CN_MALFORMED, "the path cannot be read");
    }
    return CN_OK;
}

static enum cn_code s_field_take(const struct cn_framing_field *field,
                                 enum cn_framing_header header,
                                 struct cn_arena *arena,
                                 struct cn_framing *framing,
                                 struct cn_err *err)
{
    const char **slot = &framing->headers[header];
    if (*slot == NULL) {
        *slot = field->value;
        return CN_OK;
    }
    if (!HEADERS[header].is_list) {
        return cn_fail(err, CN_MALFORMED, "%s comes twice",
                       HEADERS[header].name);
    }
    *slot = cn_arena_printf(arena, "%s, %s", *slot, field->value);
    return CN_OK;
}

static enum cn_code s_check_fields(const struct cn_framing_head *head,
                                   struct cn_arena *arena,
                                   struct cn_framing *framing,
                                   struct cn_err *err)
{
    for (size_t i = 0; i < head->field_count; i++) {
        const struct cn_framing_field *field = &head->fields[i];
        if (!s_is_token(field->name, field->name_size) ||
            !s_is_value(field->value, field->value_size)) {
            return cn_fail(err, CN_MALFORMED,
                           "a header field has a forbidden character");
        }
        for (size_t h = 0; h < CN_FRAMING_HEADER_COUNT; h++) {
            if (field->name_size != HEADERS[h].size ||
                strcasecmp(field->name, HEADERS[h].name) != 0) {
                continue;
            }
            enum cn_code rc = s_field_take(field, (enum cn_framing_header)h,
                                           arena, framing, err);
            if (rc != CN_OK) {
                return rc;
            }
        }
    }
    return CN_OK;
}

static enum cn_code s_check_length(const struct cn_framing_head *head,
                                   struct cn_framing *framing,
                                   struct cn_err *err)
{
    const char *length = framing->headers[CN_FRAMING_CONTENT_LENGTH];
    const char *coding = framing->headers[CN_FRAMING_TRANSFER_ENCODING];
    if (coding != NULL) {
        framing->chunked = true;
        if (length != NULL) {
            return cn_fail(err, CN_MALFORMED,
                           "Content-Length and Transfer-Encoding");
        }
        if (strcasecmp(coding, "chunked") != 0 ||
            strcmp(head->version, "HTTP/1.1") != 0) {
            return cn_fail(err, CN_MALFORMED,
                           "this Transfer-Encoding is not served");
        }
        return CN_OK;
    }
    if (length == NULL) {
        return CN_OK;
    }
    size_t digits = strspn(length, "0123456789");
    if (digits == 0 || digits > LENGTH_DIGITS_MAX || length[digits] != '\0') {
        return cn_fail(err, CN_MALFORMED, "Content-Length is no number");
    }
    for (const char *at = length; *at != '\0'; at++) {
        framing->body_size = framing->body_size * 10 + (uint64_t)(*at - '0');
    }
    return CN_OK;
}

enum cn_code cn_framing_check(const struct cn_framing_head *head,
                              struct cn_arena *arena,
                              struct cn_framing *ret_framing,
                              struct cn_err *err)
{
    struct cn_framing framing = { 0 };
    enum cn_code rc = s_check_line(head, err);
    if (rc == CN_OK) {
        rc = s_check_fields(head, arena, &framing, err);
    }
    if (rc == CN_OK) {
        rc = s_check_length(head, &framing, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    const char *host = framing.headers[CN_FRAMING_HOST];
    if (host == NULL ? strcmp(head->version, "HTTP/1.0") != 0
                     : !s_is_host(host)) {
        return cn_fail(err, CN_MALFORMED, "Host is missing or malformed");
    }
    *ret_framing = framing;
    if (strlen(head->path) > CN_FRAMING_PATH_MAX) {
        return cn_fail_as(err, CN_TOO_LARGE, "uri_too_long",
                          "the path is too long");
    }
    return CN_OK;
}

/* A NUL in the target ends it early: the rest of the target then lies before
 * the version. */
static bool s_whole_line(const struct cn_framing_head *head)
{
    const char *end = head->version + strlen(head->version);
    if (head->target_end < head->version &&
        head->version - head->target_end < GAP_MAX) {
        for (const char *at = head->target_end; at < head->version; at++) {
            if (*at != '\0') {
                return false;
            }
        }
    }
    if (head->field_count == 0) {
        return true;
    }
    const char *next = head->fields[0].name;
    return next <= end || next - end > GAP_MAX ||
           (next - end == 2 && end[1] == '\0');
}

bool cn_framing_whole(const struct cn_framing_head *head)
{
    if (!s_whole_line(head)) {
        return false;
    }
    for (size_t i = 0; i < head->field_count; i++) {
        const struct cn_framing_field *field = &head->fields[i];
        const char *end = field->value + field->value_size;
        if (i + 1 == head->field_count) {
            /* The empty line that ends the head, at least an LF. */
            return end[0] == '\0' && end[1] == '\0' && end[2] == '\0';
        }
        const char *next = head->fields[i + 1].name;
        if (next <= end || next - end > GAP_MAX) {
            continue;
        }
        if (next - end != 2 || end[1] != '\0') {
            return false;
        }
    }
    return true;
}
