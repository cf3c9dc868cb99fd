/* SPDX-License-Identifier: Apache-2.0 */
/* The checks of a request's head. */
#include "common/http/framing.h"

#include "common/base/array.h"

#include <string.h>
#include <strings.h>

enum {
    LENGTH_DIGITS_MAX = 18 /* so that a Content-Length cannot overflow */
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
    [CN_FRAMING_CONNECTION] = HEADER("Connection", true),
    [CN_FRAMING_FORWARDED_FOR] = HEADER("X-Forwarded-For", true),
};

static const char *const METHODS[] = { "GET",   "HEAD",   "POST",   "PUT",
                                       "PATCH", "DELETE", "OPTIONS" };

static bool s_is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
           (c >= 'a' && c <= 'z');
}

bool cn_framing_is_token(const char *text, size_t size)
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

/* A fragment is no part of a target (RFC 9112 3.2). */
static bool s_is_visible(const char *text)
{
    for (const char *at = text; *at != '\0'; at++) {
        if (*at <= 0x20 || *at >= 0x7f || *at == '#') {
            return false;
        }
    }
    return true;
}

static bool s_is_target(const struct cn_framing_head *head)
{
    if (strcmp(head->path, "*") == 0) {
        return strcmp(head->method, "OPTIONS") == 0 && head->query == NULL;
    }
    return head->path[0] == '/' && s_is_visible(head->path) &&
           (head->query == NULL || s_is_visible(head->query));
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
    if (!s_is_target(head)) {
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
        if (!cn_framing_is_token(field->name, field->name_size) ||
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

/* Does the list (NULL: empty) name the word? */
static bool s_list_names(const char *list, const char *word)
{
    const size_t size = strlen(word);
    while (list != NULL && *list != '\0') {
        list += strspn(list, ", \t");
        if (strcspn(list, ", \t;") == size &&
            strncasecmp(list, word, size) == 0) {
            return true;
        }
        list += strcspn(list, ",");
    }
    return false;
}

static void s_manners(const struct cn_framing_head *head,
                      struct cn_framing *framing)
{
    const char *connection = framing->headers[CN_FRAMING_CONNECTION];
    bool old = strcmp(head->version, "HTTP/1.0") == 0;
    framing->closes = s_list_names(connection, "close") ||
                      (old && !s_list_names(connection, "keep-alive"));
    framing->waits = !old && s_list_names(framing->headers[CN_FRAMING_EXPECT],
                                          "100-continue");
}

static enum cn_code s_check_host(const struct cn_framing_head *head,
                                 struct cn_framing *framing,
                                 struct cn_err *err)
{
    const char **host = &framing->headers[CN_FRAMING_HOST];
    if ((*host == NULL ? strcmp(head->version, "HTTP/1.0") != 0
                       : !s_is_host(*host)) ||
        (head->authority != NULL && !s_is_host(head->authority))) {
        return cn_fail(err, CN_MALFORMED, "Host is missing or malformed");
    }
    if (head->authority != NULL) {
        *host = head->authority;
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
    if (rc == CN_OK) {
        rc = s_check_host(head, &framing, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    s_manners(head, &framing);
    *ret_framing = framing;
    if (strlen(head->path) > CN_FRAMING_PATH_MAX) {
        return cn_fail_as(err, CN_TOO_LARGE, "uri_too_long",
                          "the path is too long");
    }
    return CN_OK;
}
