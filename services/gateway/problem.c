/* SPDX-License-Identifier: Apache-2.0 */
/* Problem bodies and pages. */
#include "services/gateway/problem.h"

#include "common/base/id.h"

#include <stdio.h>
#include <string.h>

enum {
    NUMBER_MAX = 16,
    STATUS_URI_TOO_LONG = 414,
    STATUS_HEAD_TOO_LARGE = 431
};

/* What a client can do, in a sentence or two each. */
static const char *const CURES[CN_CODE_COUNT] = {
    [CN_MALFORMED] = "Check the syntax: JSON without duplicate keys, known "
                     "query parameters, well-formed header fields. `code` and "
                     "`errors` name the place.",
    [CN_UNAUTHENTICATED] = "Send `Authorization: Bearer <API key>` with a key "
                           "that is neither revoked nor expired.",
    [CN_FORBIDDEN] = "Ask an administrator for a key whose role and scopes "
                     "grant this operation. GET /v1/me shows what yours has.",
    [CN_NOT_FOUND] = "Check the path and the id. A record of another agency or "
                     "branch answers the same.",
    [CN_METHOD_NOT_ALLOWED] = "Use one of the methods in the Allow field.",
    [CN_NOT_ACCEPTABLE] = "Send `Accept: application/json`, or leave it out.",
    [CN_CONFLICT] = "Read the record again: its state does not allow this. For "
                    "a duplicate, Location names the existing record.",
    [CN_STALE] = "Read the record again and repeat the change with the ETag "
                 "that you get in If-Match.",
    [CN_TOO_LARGE] = "Send less in one request.",
    [CN_UNSUPPORTED] = "Send `Content-Type: application/json`; a PATCH also "
                       "takes application/merge-patch+json.",
    [CN_INVALID] = "Correct the fields that `errors` names by JSON Pointer.",
    [CN_KEY_REUSED] = "Use a new Idempotency-Key for a new request; repeat the "
                      "old one only with the same body.",
    [CN_PRECONDITION] = "Read the record and send its ETag in If-Match. A "
                        "PATCH may have an Idempotency-Key instead.",
    [CN_BUSY] = "Wait for the time in Retry-After and repeat the request with "
                "the same Idempotency-Key.",
    [CN_UNAVAILABLE] = "Nothing was done. Wait for the time in Retry-After and "
                       "repeat the request with the same Idempotency-Key.",
    [CN_NOMEM] = "Wait for the time in Retry-After and repeat the request with "
                 "the same Idempotency-Key.",
    [CN_DEADLINE] = "It may or may not have been done. Repeat the request with "
                    "the same Idempotency-Key: it is done at most once.",
    [CN_UNKNOWN] = "It may or may not have been done. Repeat the request with "
                   "the same Idempotency-Key: it is done at most once.",
    [CN_INTERNAL] = "This is a fault of ours. Report it with the request_id.",
};

unsigned problem_status(const struct cn_err *err)
{
    if (err->code == CN_TOO_LARGE && strcmp(err->word, "uri_too_long") == 0) {
        return STATUS_URI_TOO_LONG;
    }
    if (err->code == CN_TOO_LARGE && strcmp(err->word, "head_too_large") == 0) {
        return STATUS_HEAD_TOO_LARGE;
    }
    return cn_code_status(err->code);
}

static void
s_problem_text(struct cn_buffer *body, const char *name, const char *value)
{
    cn_buffer_puts(body, ",\"");
    cn_buffer_puts(body, name);
    cn_buffer_puts(body, "\":");
    cn_buffer_json_text(body, value);
}

static void
s_problem_number(struct cn_buffer *body, const char *name, unsigned value)
{
    char text[NUMBER_MAX];
    cn_buffer_puts(body, ",\"");
    cn_buffer_puts(body, name);
    (void)snprintf(text, sizeof(text), "\":%u", value);
    cn_buffer_puts(body, text);
}

static void
s_problem_type(struct cn_buffer *body, const char *base, const char *word)
{
    cn_buffer_puts(body, "\"type\":\"");
    cn_buffer_puts(body, base); /* already checked: nothing to escape */
    cn_buffer_puts(body, "/problems/");
    cn_buffer_puts(body, word);
    cn_buffer_puts(body, "\"");
}

/* The request as a URN: urn:uuid where its id is a UUID. */
static void s_instance(struct cn_buffer *body, const char *request_id)
{
    struct cn_uuid uuid = { 0 };
    cn_buffer_puts(body, ",\"instance\":\"");
    cn_buffer_puts(body, cn_uuid_parse(request_id, &uuid)
                             ? "urn:uuid:"
                             : "urn:cairn:request:");
    cn_buffer_puts(body, request_id);
    cn_buffer_puts(body, "\"");
}

static void s_errors(struct cn_buffer *body, const struct cn_err *err)
{
    cn_buffer_puts(body, ",\"errors\":[");
    for (unsigned i = 0; i < err->field_count; i++) {
        const struct cn_field_err *field = &err->fields[i];
        cn_buffer_puts(body, i == 0 ? "{\"pointer\":" : ",{\"pointer\":");
        cn_buffer_json_text(body, field->pointer);
        s_problem_text(body, "code", field->word);
        s_problem_text(body, "detail", field->msg);
        cn_buffer_puts(body, "}");
    }
    cn_buffer_puts(body, "]");
}

/* May the client see the message and the word of the failure? Not for a record
 * that is not found, because it must look like a record of another agency. For
 * an unknown path yes: the gateway itself answers. */
static bool s_speaks(const struct cn_err *err)
{
    if (err->code == CN_NOT_FOUND) {
        return strcmp(err->word, PROBLEM_NO_PATH) == 0;
    }
    return err->code != CN_INTERNAL && err->code != CN_NOMEM;
}

void problem_write(struct cn_buffer *body,
                   const struct cn_err *err,
                   const char *base,
                   const char *request_id)
{
    const char *family = cn_code_word(err->code);
    const char *title = cn_code_title(err->code);
    bool speaks = s_speaks(err);
    bool has_word = speaks && err->word[0] != '\0';
    cn_buffer_puts(body, "{");
    s_problem_type(body, base, family);
    s_problem_text(body, "title", title);
    s_problem_number(body, "status", problem_status(err));
    s_problem_text(body, "detail",
                   speaks && err->msg[0] != '\0' ? err->msg : title);
    s_instance(body, request_id);
    s_problem_text(body, "code", has_word ? err->word : family);
    s_problem_text(body, "request_id", request_id);
    if (speaks && err->field_count > 0) {
        s_errors(body, err);
    }
    cn_buffer_puts(body, "}");
}

void problem_list(struct cn_buffer *body, const char *base)
{
    cn_buffer_puts(body, "{\"data\":[");
    for (unsigned code = CN_OK + 1; code < CN_CODE_COUNT; code++) {
        cn_buffer_puts(body, code == CN_OK + 1 ? "{" : ",{");
        s_problem_type(body, base, cn_code_word(code));
        s_problem_text(body, "code", cn_code_word(code));
        s_problem_number(body, "status", cn_code_status(code));
        s_problem_text(body, "title", cn_code_title(code));
        cn_buffer_puts(body, cn_code_retryable(code) ? ",\"retryable\":true}"
                                                     : ",\"retryable\":false}");
    }
    cn_buffer_puts(body, "]}");
}

bool problem_page(struct cn_buffer *body, const char *word)
{
    for (unsigned code = CN_OK + 1; code < CN_CODE_COUNT; code++) {
        char status[NUMBER_MAX];
        if (strcmp(word, cn_code_word(code)) != 0) {
            continue;
        }
        (void)snprintf(status, sizeof(status), " (%u)\n\n",
                       cn_code_status(code));
        cn_buffer_puts(body, word);
        cn_buffer_puts(body, status);
        cn_buffer_puts(body, "Cause: ");
        cn_buffer_puts(body, cn_code_title(code));
        cn_buffer_puts(body, ".\nCure:  ");
        cn_buffer_puts(body, CURES[code]);
        cn_buffer_puts(body, "\n");
        return true;
    }
    return false;
}
