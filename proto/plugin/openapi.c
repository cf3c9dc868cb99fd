/* SPDX-License-Identifier: Apache-2.0 */
/* Prints openapi.json (OpenAPI 3.1): one line for each operation's part and
 * each schema, so that a change reads well as a difference. Schemas are in
 * openapi_schema.c. */
#include "plugin.h"

#include "common/base/array.h"

#include <ctype.h>
#include <string.h>

/* AcceptReferral is "Accept referral". */
static const char *summary_of(const char *rpc)
{
    struct text text = { 0 };
    for (const char *at = rpc; *at != '\0'; at++) {
        char c = *at;
        if (at > rpc && isupper((unsigned char)c)) {
            text_puts(&text, " ");
            c = (char)tolower((unsigned char)c);
        }
        text_add(&text, &c, 1);
    }
    return text.data;
}

/* --- operations --- */

static bool is_write(const struct method *method)
{
    return !equal(method->http.verb, "GET");
}

static bool has_path_field(const struct method *method)
{
    return strchr(method->http.path, '{') != NULL;
}

static bool is_list(const struct method *method)
{
    return field_find(method->input, "cursor") != NULL;
}

/* Is the record of the key kept, so that the same key gets the same reply? */
static bool is_keyed(const struct method *method)
{
    return is_write(method) && method->http.consumes == NULL;
}

/* An answer with a version has an ETag, and a write may name it. */
static bool is_versioned(const struct method *method)
{
    return field_find(method->output, "version") != NULL;
}

static void parameter_ref(struct text *json, const char *name)
{
    text_printf(json, ",{\"$ref\":\"#/components/parameters/%s\"}", name);
}

/* The resource that the path's {id} names. */
static const struct message *path_resource(const struct model *model,
                                           const struct method *method)
{
    for (size_t i = 0; i < model->message_count; i++) {
        const struct message *message = &model->messages[i];
        const char *path = message->resource.path;
        size_t size = path != NULL ? strlen(path) : 0;
        if (size > 0 && strncmp(method->http.path, path, size) == 0 &&
            strncmp(method->http.path + size, "/{", 2) == 0) {
            return message;
        }
    }
    return NULL;
}

/* A field of the path or the query, as it is described. */
static struct field parameter_of(const struct model *model,
                                 const struct method *method,
                                 const struct field *field)
{
    struct field shown = *field;
    const struct message *resource = path_resource(model, method);
    if (equal(field->name, "id") && resource != NULL) {
        shown.rule.id = resource->resource.id;
        shown.comment = format("Id of the %s.", resource->resource.name);
    }
    return shown;
}

static void put_parameter(const struct model *model,
                          const struct field *field,
                          bool is_path,
                          struct text *json)
{
    const char *description = field_description(field);
    text_printf(json, ",\n    {\"name\":\"%s\",\"in\":\"%s\"", field->name,
                is_path ? "path" : "query");
    member_text(json, "description",
                field->repeated
                    ? format("%s\n\nSeveral: repeated, or with commas between.",
                             description)
                    : description);
    text_puts(json,
              is_path || field->rule.required ? ",\"required\":true" : "");
    text_puts(json,
              field->repeated ? ",\"style\":\"form\",\"explode\":true" : "");
    text_puts(json, ",\"schema\":{");
    field_schema(model, field, CREATED, json);
    text_puts(json, "}}");
}

static void field_parameters(const struct model *model,
                             const struct method *method,
                             struct text *json)
{
    const char *body = method->http.body;
    for (size_t i = 0; i < method->input->field_count; i++) {
        const struct field field =
            parameter_of(model, method, &method->input->fields[i]);
        bool is_path = is_path_field(method, field.name);
        bool is_raw =
            method->http.consumes != NULL &&
            (equal(field.name, "content") || equal(field.name, "content_type"));
        if (is_path ||
            !(is_raw || equal(body, "*") || equal(body, field.name) ||
              equal(field.name, "update_mask"))) {
            put_parameter(model, &field, is_path, json);
        }
    }
}

static void parameters(const struct model *model,
                       const struct method *method,
                       struct text *json)
{
    const struct http_rule *http = &method->http;
    text_puts(json, ",\n   \"parameters\":["
                    "{\"$ref\":\"#/components/parameters/RequestId\"}");
    if (is_keyed(method)) {
        parameter_ref(json, http->key_required ? "IdempotencyKeyRequired"
                                               : "IdempotencyKey");
    }
    if (is_write(method) && has_path_field(method)) {
        parameter_ref(json,
                      http->if_match_required ? "IfMatchRequired" : "IfMatch");
    }
    if (!is_write(method) && is_versioned(method)) {
        parameter_ref(json, "IfNoneMatch");
    }
    field_parameters(model, method, json);
    text_puts(json, "]");
}

/* "a,b" as the members of a content object, each with the same value. */
static void media_types(const char *list, const char *value, struct text *json)
{
    bool is_first = true;
    while (*list != '\0') {
        size_t size = strcspn(list, ",");
        text_puts(json, is_first ? "" : ",");
        text_quote(json, duplicate(list, size));
        text_printf(json, ":%s", value);
        is_first = false;
        list += list[size] == ',' ? size + 1 : size;
    }
}

/* A raw body: text of another form than JSON. */
static const char *raw_schema(const struct message *message)
{
    const struct field *content = field_find(message, "content");
    struct text text = { 0 };
    text_printf(&text, "{\"schema\":{\"type\":\"string\",\"maxLength\":%u",
                content->rule.max);
    member_text(&text, "description", field_description(content));
    text_puts(&text, "},\"example\":");
    text_quote(&text, "MSH|^~\\&|HIS|GENERAL HOSPITAL|CAIRN|AGENCY|"
                      "20261120101500||REF^I12^REF_I12|C-1|P|2.5.1");
    text_puts(&text, "}");
    return text.data;
}

static void request_body(const struct model *model,
                         const struct method *method,
                         struct text *json)
{
    const struct http_rule *http = &method->http;
    bool patches = equal(http->verb, "PATCH");
    if (http->consumes != NULL) {
        text_puts(json, ",\n   \"requestBody\":{\"required\":true,"
                        "\"content\":{");
        media_types(http->consumes, raw_schema(method->input), json);
        text_puts(json, "}}");
        return;
    }
    if (http->body[0] == '\0') {
        return;
    }
    const struct field *field = field_find(method->input, http->body);
    text_printf(json,
                ",\n   \"requestBody\":{\"required\":%s,\"content\":{"
                "\"application/%sjson\":{\"schema\":",
                field != NULL ? "true" : "false",
                patches ? "merge-patch+" : "");
    if (field != NULL) {
        text_puts(json, "{");
        schema_ref(model, field->message, patches ? PATCHED : CREATED, json);
        text_puts(json, "}");
    } else {
        object_schema(model, method->input, CREATED, method, json);
    }
    const char *example = example_of(method->comment);
    if (example != NULL) {
        text_printf(json, ",\"example\":%s", example);
    }
    text_puts(json, "}}}");
}

/* ---- answers ---- */

static const struct header {
    const char *key; /* in components */
    const char *name;
    const char *schema;
    const char *description;
} HEADERS[] = {
    { "RequestId", "Request-Id",
      "\"type\":\"string\",\"pattern\":\"^[A-Za-z0-9._-]{8,64}$\","
      "\"examples\":[\"0190f1c2-7b4e-7c3a-9f00-5d2c6a1b8e01\"]",
      "The id of the request: the client's own, or one that was made." },
    { "CacheControl", "Cache-Control",
      "\"type\":\"string\",\"const\":\"no-store\"",
      "Nothing is to be kept: it is of patients." },
    { "Vary", "Vary", "\"type\":\"string\",\"const\":\"Authorization, Accept\"",
      "What the answer depends on." },
    { "NoSniff", "X-Content-Type-Options",
      "\"type\":\"string\",\"const\":\"nosniff\"",
      "The media type is as it says." },
    { "ETag", "ETag",
      "\"type\":\"string\",\"pattern\":\"^\\\"[0-9]+\\\"$\","
      "\"examples\":[\"\\\"3\\\"\"]",
      "The record's version in quotes, for If-Match and If-None-Match." },
    { "LastModified", "Last-Modified",
      "\"type\":\"string\","
      "\"examples\":[\"Tue, 01 Dec 2026 15:00:00 GMT\"]",
      "When the record last changed (RFC 9110 5.6.7)." },
    { "Location", "Location",
      "\"type\":\"string\",\"format\":\"uri-reference\",\"examples\":["
      "\"/v1/referrals/ref_06f5ss0n0sxxk9v8m1m0c8t5gk\"]",
      "Path of the record: of the one that was made, or of the one that is "
      "there already." },
    { "Link", "Link",
      "\"type\":\"string\","
      "\"examples\":[\"</v1/visits?cursor=AAYtXa>; rel=\\\"next\\\"\"]",
      "The next page (RFC 8288); absent on the last one." },
    { "IdempotentReplayed", "Idempotent-Replayed",
      "\"type\":\"string\",\"const\":\"true\"",
      "The key was used before: this is the reply of the first request. "
      "Absent on the first." },
    { "Allow", "Allow",
      "\"type\":\"string\",\"examples\":[\"GET, HEAD, PATCH, OPTIONS\"]",
      "The methods that are served at the path." },
    { "AcceptPatch", "Accept-Patch",
      "\"type\":\"string\","
      "\"const\":\"application/merge-patch+json, application/json\"",
      "The media types that a PATCH takes (RFC 5789); absent for other "
      "methods." },
    { "RetryAfter", "Retry-After",
      "\"type\":\"integer\",\"minimum\":0,\"examples\":[1]",
      "Wait so many seconds before you repeat the request." },
    { "Authenticate", "WWW-Authenticate",
      "\"type\":\"string\",\"examples\":[\"Bearer\"]",
      "How a credential is sent (RFC 6750)." },
};

/* Those of all answers. */
static const char *const COMMON[] = { "RequestId", "CacheControl", "Vary",
                                      "NoSniff" };

static void header_ref(struct text *json, const char *key)
{
    for (size_t i = 0; i < CN_COUNT(HEADERS); i++) {
        if (equal(HEADERS[i].key, key)) {
            text_puts(json, json->data[json->size - 1] == '{' ? "" : ",");
            text_printf(json, "\"%s\":{\"$ref\":\"#/components/headers/%s\"}",
                        HEADERS[i].name, key);
        }
    }
}

static void common_headers(struct text *json)
{
    text_puts(json, "\"headers\":{");
    for (size_t i = 0; i < CN_COUNT(COMMON); i++) {
        header_ref(json, COMMON[i]);
    }
}

static void
success_headers(const struct method *method, unsigned status, struct text *json)
{
    const struct http_rule *http = &method->http;
    common_headers(json);
    if (is_versioned(method)) {
        header_ref(json, "ETag");
    }
    if (is_versioned(method) &&
        field_find(method->output, "updated_at") != NULL) {
        header_ref(json, "LastModified");
    }
    if (status == 201 || (status == 200 && http->existing) ||
        http->consumes != NULL) {
        header_ref(json, "Location");
    }
    if (is_list(method)) {
        header_ref(json, "Link");
    }
    if (is_keyed(method) && status != 202) {
        header_ref(json, "IdempotentReplayed");
    }
    text_puts(json, "}");
}

static void success(const struct model *model,
                    const struct method *method,
                    unsigned status,
                    const char *description,
                    struct text *json)
{
    text_printf(json, "\n    \"%u\":{\"description\":\"%s\",", status,
                description);
    success_headers(method, status, json);
    text_puts(json, ",\"content\":{");
    if (method->http.produces != NULL) {
        media_types(method->http.produces, raw_schema(method->output), json);
    } else {
        text_puts(json, "\"application/json\":{\"schema\":{");
        schema_ref(model, method->output, SHOWN, json);
        text_puts(json, "}");
        const char *example = example_of(method->comment);
        if (example != NULL && method->http.body[0] == '\0') {
            text_printf(json, ",\"example\":%s", example);
        }
        text_puts(json, "}");
    }
    text_puts(json, "}}");
}

enum { DUPLICATE = 1409 }; /* 409 with Location */

static const struct {
    unsigned status;
    const char *name;
    const char *description;
} ERRORS[] = {
    { 400, "BadRequest", "The request cannot be read." },
    { 401, "Unauthenticated", "A valid credential is needed." },
    { 403, "Forbidden", "The credential does not grant this." },
    { 404, "NotFound", "No such record." },
    { 405, "MethodNotAllowed",
      "Another method than those of the path. Allow names them." },
    { 406, "NotAcceptable", "Accept takes no media type that is served here." },
    { 409, "Conflict", "The state or a guard forbids it." },
    { DUPLICATE, "Duplicate",
      "The state or a guard forbids it, or the record is there already: then "
      "Location names it, if the credential reaches it." },
    { 412, "Stale",
      "The record changed since it was read. ETag is that of now." },
    { 413, "TooLarge", "The request is too large." },
    { 414, "UriTooLong", "The path with its query is too long." },
    { 415, "Unsupported", "This media type is not taken here." },
    { 422, "Invalid",
      "A member is missing or malformed: `errors` names it. Or the "
      "Idempotency-Key was used with another request." },
    { 428, "PreconditionRequired",
      "A PATCH names the version that it changes (If-Match), or has an "
      "Idempotency-Key." },
    { 431, "HeadTooLarge", "The head of the request is too large." },
    { 500, "Internal", "A fault of ours." },
    { 503, "Unavailable", "At its limit, or a dependency did not answer." },
    { 504, "GatewayTimeout",
      "The outcome is not known in time; repeat with the same "
      "Idempotency-Key." },
};

static bool may_fail(const struct method *method, unsigned status)
{
    const struct http_rule *http = &method->http;
    bool has_body = http->body[0] != '\0' || http->consumes != NULL;
    switch (status) {
    case 403:
        return http->scope[0] != '\0';
    case 404:
        return has_path_field(method);
    case 409:
        return is_keyed(method) && !http->duplicate;
    case DUPLICATE:
        return http->duplicate;
    case 412:
        return is_write(method) && has_path_field(method);
    case 413:
    case 415:
        return has_body;
    case 422:
        return is_keyed(method) || is_list(method) ||
               (!is_write(method) && !has_path_field(method) &&
                method->input->field_count > 0);
    case 428:
        return http->if_match_required || equal(http->verb, "PATCH");
    default:
        return true;
    }
}

static void error_ref(size_t at, struct text *json)
{
    text_printf(json, ",\n    \"%u\":{\"$ref\":\"#/components/responses/%s\"}",
                ERRORS[at].status % 1000, ERRORS[at].name);
}

static void responses(const struct model *model,
                      const struct method *method,
                      struct text *json)
{
    text_puts(json, ",\n   \"responses\":{");
    if (method->http.existing) {
        success(model, method, 200,
                "It was there already, sent the same by the same sender.",
                json);
        text_puts(json, ",");
    }
    success(model, method, method->http.success, "Done.", json);
    if (!is_write(method) && is_versioned(method)) {
        text_puts(json, ",\n    \"304\":{\"$ref\":"
                        "\"#/components/responses/NotModified\"}");
    }
    for (size_t i = 0; i < CN_COUNT(ERRORS); i++) {
        if (may_fail(method, ERRORS[i].status)) {
            error_ref(i, json);
        }
    }
    text_puts(json, "}");
}

static void operation(const struct model *model,
                      const struct method *method,
                      struct text *json)
{
    text_puts(json, "\"");
    for (const char *at = method->http.verb; *at != '\0'; at++) {
        text_printf(json, "%c", tolower((unsigned char)*at));
    }
    text_printf(json, "\":{\"operationId\":\"%s\",\"tags\":[\"%s\"]",
                method->proto->name, method->service->proto->name);
    member_text(json, "summary", summary_of(method->proto->name));
    member_text(json, "description", description_of(method->comment));
    if (method->http.scope[0] != '\0') {
        text_puts(json, ",\"x-scope\":");
        text_quote(json, method->http.scope);
    }
    parameters(model, method, json);
    request_body(model, method, json);
    responses(model, method, json);
    text_puts(json, "}");
}

/* --- the document --- */

/* All methods with a route; NULL at the end. */
static const struct method **routed(const struct model *model)
{
    size_t total = 0;
    for (size_t i = 0; i < model->file_count; i++) {
        for (size_t j = 0; j < model->files[i].service_count; j++) {
            total += model->files[i].services[j].method_count;
        }
    }
    const struct method **methods = allocate(total + 1, sizeof(void *));
    size_t count = 0;
    for (size_t i = 0; i < model->file_count; i++) {
        const struct file *file = &model->files[i];
        for (size_t j = 0; file->wanted && j < file->service_count; j++) {
            for (size_t k = 0; k < file->services[j].method_count; k++) {
                if (file->services[j].methods[k].http.present) {
                    methods[count++] = &file->services[j].methods[k];
                }
            }
        }
    }
    return methods;
}

static bool is_first_of_path(const struct method **methods, size_t at)
{
    for (size_t i = 0; i < at; i++) {
        if (equal(methods[i]->http.path, methods[at]->http.path)) {
            return false;
        }
    }
    return true;
}

/* ---- what the gateway serves without a service ---- */

static void own_responses(const unsigned *statuses, struct text *json)
{
    for (size_t i = 0; statuses[i] != 0; i++) {
        for (size_t j = 0; j < CN_COUNT(ERRORS); j++) {
            if (ERRORS[j].status == statuses[i]) {
                error_ref(j, json);
            }
        }
    }
    text_puts(json, "}}}");
}

static void stream(struct text *json)
{
    static const unsigned STATUSES[] = { 400, 401, 403, 405, 414,
                                         431, 500, 503, 504, 0 };
    text_puts(
        json,
        ",\n \"/v1/stream\":{\"get\":{\"operationId\":\"StreamEvents\","
        "\"tags\":[\"Stream\"],\"summary\":\"Stream events\","
        "\"description\":\"Server-sent events: what changes, as it changes, as "
        "far as the credential may read it. `event` is the type; `data` is a "
        "StreamEvent as JSON: it names the record, its version and the records "
        "that it belongs to, and holds nothing of a patient; `id` is an opaque "
        "position. A reader that comes back with its last id misses and "
        "repeats nothing; where that cannot be kept it gets the event `reset`, "
        "whose data is a StreamReset: load the lists again. A comment and a "
        "fresh id come every 15 s.\",\"x-scope\":\"stream:read\",\n"
        "   \"parameters\":[{\"$ref\":\"#/components/parameters/RequestId\"},\n"
        "    {\"name\":\"topics\",\"in\":\"query\",\"description\":\"Only "
        "events that these scopes read: `referrals,visits` are those of "
        "referrals:read and visits:read; all when absent.\\nSeveral: repeated, "
        "or with commas "
        "between.\",\"style\":\"form\",\"explode\":true,\"schema\":{\"type\":"
        "\"array\",\"items\":{\"type\":\"string\",\"maxLength\":64},"
        "\"maxItems\":64,\"examples\":[[\"referrals\",\"visits\"]]}},\n"
        "    {\"name\":\"last_event_id\",\"in\":\"query\",\"description\":\"As "
        "Last-Event-ID, for readers that cannot send it.\",\"schema\":{"
        "\"type\":\"string\",\"maxLength\":4096,\"examples\":[\"AQAAAAE\"]}},\n"
        "    {\"name\":\"Last-Event-ID\",\"in\":\"header\",\"description\":\""
        "The id after which to go on. It comes before last_event_id.\","
        "\"schema\":{\"type\":\"string\",\"maxLength\":4096,\"examples\":["
        "\"AQAAAAE\"]}}],\n"
        "   \"responses\":{\n"
        "    \"200\":{\"description\":\"The stream, without an end.\",");
    common_headers(json);
    text_puts(
        json,
        "},\"content\":{\"text/event-stream\":{\"schema\":{\"type\":"
        "\"string\",\"description\":\"Events, each with its data as JSON.\","
        "\"contentMediaType\":\"text/event-stream\",\"contentSchema\":{"
        "\"anyOf\":[{\"$ref\":\"#/components/schemas/StreamEvent\"},{\"$ref\":"
        "\"#/components/schemas/StreamReset\"}]}},\"example\":"
        "\"id: AQAAAAE\\nevent: referral.accepted\\ndata: {\\\"type\\\":"
        "\\\"referral.accepted\\\",\\\"id\\\":\\\"ref_06f5ss0n0sxxk9v8m1m0c8"
        "t5gk\\\",\\\"version\\\":4,\\\"aggregate_seq\\\":3,\\\"event_id\\\":"
        "\\\"evt_06f5ss0n0sxxk9v8m1m0c8t5gk\\\",\\\"occurred_at\\\":"
        "\\\"2026-12-01T15:00:00Z\\\"}\\n\\n\"}}}");
    own_responses(STATUSES, json);
}

static const struct page {
    const char *path;
    const char *id;
    const char *summary;
    const char *description;
    const char *parameters;
    const char *content;
} PAGES[] = {
    { "/openapi.json", "GetOpenapi", "This document",
      "The contract, as OpenAPI 3.1. It needs no credential.", "",
      "\"application/json\":{\"schema\":{\"type\":\"object\"}}" },
    { "/problems", "ListProblems", "The types of problem",
      "Every type of problem with its code, status and title, and whether the "
      "request may be repeated. It needs no credential.",
      "",
      "\"application/json\":{\"schema\":{\"$ref\":"
      "\"#/components/schemas/ListProblemsResponse\"}}" },
    { "/problems/{code}", "GetProblem", "One type of problem",
      "Cause and cure of a type of problem, in words. The `type` of a problem "
      "points here. It needs no credential.",
      ",\n   {\"name\":\"code\",\"in\":\"path\",\"required\":true,"
      "\"description\":\"The last word of the type.\",\"schema\":{\"type\":"
      "\"string\",\"maxLength\":47,\"examples\":[\"stale\"]}}",
      "\"text/plain\":{\"schema\":{\"type\":\"string\"},\"example\":"
      "\"stale (412)\\n\\nCause: ...\"}" },
};

static void pages(struct text *json)
{
    static const unsigned STATUSES[] = { 400, 404, 405, 414, 431, 500, 503, 0 };
    for (size_t i = 0; i < CN_COUNT(PAGES); i++) {
        const struct page *page = &PAGES[i];
        bool is_one = strchr(page->path, '{') != NULL;
        text_printf(json,
                    "%s\n \"%s\":{\"get\":{\"operationId\":\"%s\","
                    "\"tags\":[\"Contract\"],\"summary\":\"%s\","
                    "\"description\":\"%s\",\"security\":[],\n"
                    "   \"parameters\":[{\"$ref\":"
                    "\"#/components/parameters/RequestId\"}%s],\n"
                    "   \"responses\":{\n"
                    "    \"200\":{\"description\":\"Done.\",",
                    i > 0 ? "," : "", page->path, page->id, page->summary,
                    page->description, page->parameters);
        common_headers(json);
        text_printf(json, "},\"content\":{%s}}", page->content);
        own_responses(is_one ? STATUSES : STATUSES + 2, json);
    }
}

static void paths(const struct model *model,
                  const struct method **methods,
                  struct text *json)
{
    text_puts(json, ",\n\"paths\":{");
    pages(json);
    stream(json);
    for (size_t i = 0; methods[i] != NULL; i++) {
        if (!is_first_of_path(methods, i)) {
            continue;
        }
        text_printf(json, ",\n \"%s\":{", methods[i]->http.path);
        for (size_t j = i; methods[j] != NULL; j++) {
            if (equal(methods[i]->http.path, methods[j]->http.path)) {
                text_puts(json, j > i ? ",\n  " : "\n  ");
                operation(model, methods[j], json);
            }
        }
        text_puts(json, "}");
    }
    text_puts(json, "}");
}

/* ---- what is shared ---- */

static const struct {
    const char *key;
    const char *name;
    bool required;
    const char *schema;
    const char *description;
} PARAMETERS[] = {
    { "RequestId", "Request-Id", false,
      "\"type\":\"string\",\"pattern\":\"^[A-Za-z0-9._-]{8,64}$\","
      "\"examples\":[\"intake-20261201-0001\"]",
      "Named in the reply and in every log line; made when it is absent or of "
      "another form." },
    { "IdempotencyKey", "Idempotency-Key", false,
      "\"type\":\"string\",\"minLength\":1,\"maxLength\":255,"
      "\"examples\":[\"accept-R-1\"]",
      "The same key and request again: the same reply, and nothing new. A "
      "PATCH needs it or If-Match." },
    { "IdempotencyKeyRequired", "Idempotency-Key", true,
      "\"type\":\"string\",\"minLength\":1,\"maxLength\":255,"
      "\"examples\":[\"accept-R-1\"]",
      "The same key and request again: the same reply, and nothing new." },
    { "IfMatch", "If-Match", false,
      "\"type\":\"string\",\"maxLength\":255,\"examples\":[\"\\\"3\\\"\"]",
      "ETags that were read, or `*`; 412 when none is that of now." },
    { "IfMatchRequired", "If-Match", true,
      "\"type\":\"string\",\"maxLength\":255,\"examples\":[\"\\\"3\\\"\"]",
      "ETags that were read, or `*`; 412 when none is that of now." },
    { "IfNoneMatch", "If-None-Match", false,
      "\"type\":\"string\",\"maxLength\":255,\"examples\":[\"\\\"3\\\"\"]",
      "ETags that the client has; 304 when one of them is that of now." },
};

static bool is_used(const struct method **methods, const char *key)
{
    bool required = false;
    for (size_t i = 0; methods[i] != NULL; i++) {
        required = required || methods[i]->http.if_match_required;
    }
    return required || !equal(key, "IfMatchRequired");
}

static void shared_parameters(const struct method **methods, struct text *json)
{
    text_puts(json, ",\n\"parameters\":{");
    for (size_t i = 0; i < CN_COUNT(PARAMETERS); i++) {
        if (!is_used(methods, PARAMETERS[i].key)) {
            continue;
        }
        text_printf(json, "%s\n \"%s\":{\"name\":\"%s\",\"in\":\"header\"%s",
                    i > 0 ? "," : "", PARAMETERS[i].key, PARAMETERS[i].name,
                    PARAMETERS[i].required ? ",\"required\":true" : "");
        member_text(json, "description", PARAMETERS[i].description);
        text_printf(json, ",\"schema\":{%s}}", PARAMETERS[i].schema);
    }
    text_puts(json, "}");
}

static void shared_headers(struct text *json)
{
    text_puts(json, ",\n\"headers\":{");
    for (size_t i = 0; i < CN_COUNT(HEADERS); i++) {
        text_printf(json, "%s\n \"%s\":{\"schema\":{%s}", i > 0 ? "," : "",
                    HEADERS[i].key, HEADERS[i].schema);
        member_text(json, "description", HEADERS[i].description);
        text_puts(json, "}");
    }
    text_puts(json, "}");
}

static void error_headers(unsigned status, struct text *json)
{
    static const struct {
        unsigned status;
        const char *key;
    } own[] = {
        { 401, "Authenticate" }, { 405, "Allow" },
        { 412, "ETag" },         { 415, "AcceptPatch" },
        { 503, "RetryAfter" },   { DUPLICATE, "Location" },
    };
    common_headers(json);
    for (size_t i = 0; i < CN_COUNT(own); i++) {
        if (own[i].status == status) {
            header_ref(json, own[i].key);
        }
    }
}

static void shared_responses(struct text *json)
{
    text_puts(json, ",\n\"responses\":{\n \"NotModified\":{\"description\":"
                    "\"The client has the record as it is now.\",");
    common_headers(json);
    header_ref(json, "ETag");
    header_ref(json, "LastModified");
    text_puts(json, "}}");
    for (size_t i = 0; i < CN_COUNT(ERRORS); i++) {
        text_printf(json, ",\n \"%s\":{", ERRORS[i].name);
        text_puts(json, "\"description\":");
        text_quote(json, ERRORS[i].description);
        text_puts(json, ",");
        error_headers(ERRORS[i].status, json);
        text_puts(json, "},\"content\":{\"application/problem+json\":{"
                        "\"schema\":{\"$ref\":"
                        "\"#/components/schemas/Problem\"}}}}");
    }
    text_puts(json, "}");
}

static void tags(const struct method **methods, struct text *json)
{
    text_puts(json, ",\n\"tags\":[");
    for (size_t i = 0; methods[i] != NULL; i++) {
        const struct service *service = methods[i]->service;
        if (i == 0 || methods[i - 1]->service != service) {
            text_printf(json, "\n {\"name\":\"%s\"", service->proto->name);
            member_text(json, "description", description_of(service->comment));
            text_puts(json, "},");
        }
    }
    text_puts(json,
              "\n {\"name\":\"Stream\",\"description\":\"What changes, told to "
              "those who watch.\"},\n {\"name\":\"Contract\",\"description\":"
              "\"What Cairn says of itself.\"}]");
}

void check_openapi(struct model *model)
{
    const struct method **methods = routed(model);
    check_schemas(model, methods);
    for (size_t i = 0; methods[i] != NULL; i++) {
        const struct message *input = methods[i]->input;
        const char *body = methods[i]->http.body;
        for (size_t j = 0; j < input->field_count; j++) {
            if (!equal(body, input->fields[j].name)) {
                check_described(model, input, &input->fields[j]);
            }
        }
    }
}

void emit_openapi(const struct model *model, struct text *json)
{
    const struct method **methods = routed(model);
    text_puts(json, "{\"openapi\":\"3.1.0\",\n\"info\":{\"title\":\"Cairn\","
                    "\"version\":\"1\",\"summary\":\"Coordination of home "
                    "health care\",\"description\":");
    text_quote(json,
               "Referrals, visits, documents and messages of home-health "
               "agencies, as JSON over HTTP.\n\n"
               "Answers may have further members and further words in their "
               "lists (`x-extensible-enum`): pass over what you do not know. "
               "Requests are read strictly: an unknown member is 422 "
               "`unknown_field`. Every GET is served as HEAD too, and every "
               "path answers OPTIONS with Allow. Times are RFC 3339, in UTC in "
               "answers. Lengths of texts count characters.");
    text_puts(json, ",\"license\":{\"name\":\"Apache License 2.0\","
                    "\"identifier\":\"Apache-2.0\"}},\n"
                    "\"servers\":[{\"url\":\"/\",\"description\":\"The gateway "
                    "that serves this document.\"}],\n"
                    "\"security\":[{\"bearer\":[]}]");
    tags(methods, json);
    paths(model, methods, json);
    text_puts(json, ",\n\"components\":{\"schemas\":{");
    schemas(model, methods, json);
    text_puts(json, "}");
    shared_parameters(methods, json);
    shared_headers(json);
    text_puts(json, ",\n\"securitySchemes\":{\"bearer\":{\"type\":\"http\","
                    "\"scheme\":\"bearer\",\"description\":\"An API key: "
                    "`cairn_live_...`.\"}}");
    shared_responses(json);
    text_puts(json, "}}\n");
}
