/* SPDX-License-Identifier: Apache-2.0 */
/* Prints openapi.json (OpenAPI 3.1): one line for each operation's part and
 * each schema, so that a change reads well as a difference. */
#include "plugin.h"

#include "common/base/array.h"

#include <ctype.h>
#include <string.h>

/* --- words from comments --- */

/* The comment without its @example line, on one line. */
static const char *description_of(const char *comment)
{
    struct text text = { 0 };
    text_puts(&text, "");
    while (*comment != '\0') {
        const char *end = strchrnul(comment, '\n');
        if (strncmp(comment, "@example", 8) != 0 && end > comment) {
            text_puts(&text, text.size > 0 ? " " : "");
            text_add(&text, comment, (size_t)(end - comment));
        }
        comment = *end == '\0' ? end : end + 1;
    }
    return text.data;
}

const char *example_of(const char *comment)
{
    const char *at = strstr(comment, "@example ");
    if (at == NULL) {
        return NULL;
    }
    at += strlen("@example ");
    return duplicate(at, (size_t)(strchrnul(at, '\n') - at));
}

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

static void member_text(struct text *json, const char *name, const char *value)
{
    if (value[0] != '\0') {
        text_printf(json, ",\"%s\":", name);
        text_quote(json, value);
    }
}

/* --- schemas --- */

/* Nested names and names that two files use stay apart. */
static const char *schema_name(const struct model *model,
                               const struct message *message)
{
    for (size_t i = 0; i < model->message_count; i++) {
        const struct message *other = &model->messages[i];
        if (other != message && equal(other->schema, message->schema)) {
            return format("%s.%s", message->file->stem, message->schema);
        }
    }
    return message->schema;
}

static void enum_schema(const EnumProto *proto, struct text *json)
{
    text_puts(json, "\"type\":\"string\",\"x-extensible-enum\":[");
    for (size_t i = 0; i < proto->n_value; i++) {
        text_puts(json, i > 0 ? ",\"" : "\"");
        for (const char *at = proto->value[i]->name; *at != '\0'; at++) {
            text_printf(json, "%c", tolower((unsigned char)*at));
        }
        text_puts(json, "\"");
    }
    text_puts(json, "]");
}

static const char *string_schema(const struct field_rule *rule)
{
    static const struct {
        const char *word;
        const char *schema;
    } words[] = {
        { "date", "\"type\":\"string\",\"format\":\"date\"" },
        { "birth_date", "\"type\":\"string\",\"format\":\"date\"" },
        { "language", "\"type\":\"string\",\"pattern\":"
                      "\"^[A-Za-z]{2,3}([-_].*)?$\"" },
        { "zone", "\"type\":\"string\",\"examples\":[\"America/Denver\"]" },
        { "clock", "\"type\":\"string\",\"pattern\":"
                   "\"^([01][0-9]|2[0-3]):[0-5][0-9]$\"" },
        { "npi", "\"type\":\"string\",\"pattern\":\"^[0-9]{10}$\"" },
        { "email", "\"type\":\"string\",\"format\":\"email\"" },
        { "postal_code", "\"type\":\"string\",\"pattern\":"
                         "\"^[0-9]{5}(-[0-9]{4})?$\"" },
    };
    for (size_t i = 0; i < CN_COUNT(words); i++) {
        if (equal(rule->kind, words[i].word) ||
            equal(rule->pattern, words[i].word)) {
            return words[i].schema;
        }
    }
    return "\"type\":\"string\"";
}

static const char *number_schema(const struct field *field)
{
    switch ((int)field->proto->type) {
    case TYPE(BOOL):
        return "\"type\":\"boolean\"";
    case TYPE(DOUBLE):
        return "\"type\":\"number\",\"format\":\"double\"";
    case TYPE(FLOAT):
        return "\"type\":\"number\",\"format\":\"float\"";
    case TYPE(INT32):
    case TYPE(SINT32):
    case TYPE(SFIXED32):
        return "\"type\":\"integer\",\"format\":\"int32\"";
    case TYPE(UINT32):
    case TYPE(FIXED32):
    case TYPE(UINT64):
    case TYPE(FIXED64):
        return "\"type\":\"integer\",\"minimum\":0";
    default:
        return "\"type\":\"integer\",\"format\":\"int64\"";
    }
}

/* Members of the schema of one value, without the braces. */
static void value_schema(const struct model *model,
                         const struct field *field,
                         struct text *json)
{
    if (field->message != NULL) {
        text_printf(json, "\"$ref\":\"#/components/schemas/%s\"",
                    schema_name(model, field->message));
    } else if (field->enumeration != NULL) {
        enum_schema(field->enumeration->proto, json);
    } else if (equal(field->rule.kind, "time")) {
        text_puts(json, "\"type\":\"string\",\"format\":\"date-time\"");
    } else if (field->proto->type == TYPE(STRING)) {
        text_puts(json, string_schema(&field->rule));
        if (field->rule.max > 0 && !field->repeated) {
            text_printf(json, ",\"maxLength\":%u", field->rule.max);
        }
    } else if (field->proto->type == TYPE(BYTES)) {
        text_puts(json, "\"type\":\"string\",\"contentEncoding\":\"base64\"");
    } else {
        text_puts(json, number_schema(field));
    }
}

static void field_schema(const struct model *model,
                         const struct field *field,
                         struct text *json)
{
    text_puts(json, "{");
    if (field->repeated) {
        text_puts(json, "\"type\":\"array\",\"items\":{");
        value_schema(model, field, json);
        text_puts(json, "}");
        if (field->rule.max > 0) {
            text_printf(json, ",\"maxItems\":%u", field->rule.max);
        }
    } else {
        value_schema(model, field, json);
    }
}

static void property(const struct model *model,
                     const struct field *field,
                     struct text *json)
{
    text_printf(json, "\"%s\":", field->name);
    field_schema(model, field, json);
    member_text(json, "description", description_of(field->comment));
    text_puts(json, field->rule.output_only ? ",\"readOnly\":true}" : "}");
}

/* An object of those fields of the message that `method`'s body carries; of all
 * when method is NULL. */
static void object_schema(const struct model *model,
                          const struct message *message,
                          const struct method *method,
                          struct text *json)
{
    bool is_first = true;
    text_puts(json, "{\"type\":\"object\"");
    member_text(json, "description", description_of(message->comment));
    text_puts(json, ",\"properties\":{");
    for (size_t i = 0; i < message->field_count; i++) {
        const struct field *field = &message->fields[i];
        if (equal(field->name, "update_mask") ||
            (method != NULL && is_path_field(method, field->name))) {
            continue;
        }
        text_puts(json, is_first ? "\n  " : ",\n  ");
        property(model, field, json);
        is_first = false;
    }
    text_puts(json, "}}");
}

static void
reach(const struct model *model, const struct message *message, bool *reached)
{
    size_t at = (size_t)(message - model->messages);
    if (reached[at]) {
        return;
    }
    reached[at] = true;
    for (size_t i = 0; i < message->field_count; i++) {
        if (message->fields[i].message != NULL) {
            reach(model, message->fields[i].message, reached);
        }
    }
}

/* What the operation's body or reply shows, and all that lies in it. */
static void reach_method(const struct model *model,
                         const struct method *method,
                         bool *reached)
{
    const struct field *body = field_find(method->input, method->http.body);
    if (method->http.produces == NULL) {
        reach(model, method->output, reached);
    }
    if (body != NULL && body->message != NULL) {
        reach(model, body->message, reached);
    }
    for (size_t i = 0;
         i < method->input->field_count && equal(method->http.body, "*"); i++) {
        if (method->input->fields[i].message != NULL) {
            reach(model, method->input->fields[i].message, reached);
        }
    }
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

static void parameter_ref(struct text *json, const char *name)
{
    text_printf(json, ",{\"$ref\":\"#/components/parameters/%s\"}", name);
}

static void field_parameters(const struct model *model,
                             const struct method *method,
                             struct text *json)
{
    const char *body = method->http.body;
    for (size_t i = 0; i < method->input->field_count; i++) {
        const struct field *field = &method->input->fields[i];
        bool is_path = is_path_field(method, field->name);
        bool is_raw = method->http.consumes != NULL &&
                      (equal(field->name, "content") ||
                       equal(field->name, "content_type"));
        if (!is_path &&
            (is_raw || equal(body, "*") || equal(body, field->name) ||
             equal(field->name, "update_mask"))) {
            continue;
        }
        text_printf(json, ",\n    {\"name\":\"%s\",\"in\":\"%s\"", field->name,
                    is_path ? "path" : "query");
        member_text(json, "description", description_of(field->comment));
        text_puts(json, is_path ? ",\"required\":true" : "");
        text_puts(json, field->repeated ? ",\"style\":\"form\",\"explode\":true"
                                        : "");
        text_puts(json, ",\"schema\":");
        field_schema(model, field, json);
        text_puts(json, "}}");
    }
}

static void parameters(const struct model *model,
                       const struct method *method,
                       struct text *json)
{
    const struct http_rule *http = &method->http;
    text_puts(json, ",\n   \"parameters\":["
                    "{\"$ref\":\"#/components/parameters/RequestId\"}");
    if (is_write(method) && http->consumes == NULL) {
        parameter_ref(json, http->key_required ? "IdempotencyKeyRequired"
                                               : "IdempotencyKey");
    }
    if (is_write(method) && has_path_field(method)) {
        parameter_ref(json,
                      http->if_match_required ? "IfMatchRequired" : "IfMatch");
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

static void request_body(const struct model *model,
                         const struct method *method,
                         struct text *json)
{
    const struct http_rule *http = &method->http;
    if (http->consumes != NULL) {
        text_puts(json, ",\n   \"requestBody\":{\"required\":true,"
                        "\"content\":{");
        media_types(http->consumes, "{}", json);
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
                equal(http->verb, "PATCH") ? "merge-patch+" : "");
    if (field != NULL) {
        field_schema(model, field, json);
        text_puts(json, "}");
    } else {
        object_schema(model, method->input, method, json);
    }
    const char *example = example_of(method->comment);
    if (example != NULL) {
        text_printf(json, ",\"example\":%s", example);
    }
    text_puts(json, "}}}");
}

static void
success_headers(const struct method *method, unsigned status, struct text *json)
{
    text_puts(json, "\"headers\":{\"Request-Id\":{\"$ref\":"
                    "\"#/components/headers/RequestId\"}");
    if (field_find(method->output, "version") != NULL) {
        text_puts(json, ",\"ETag\":{\"$ref\":\"#/components/headers/ETag\"}");
    }
    if (status != 200 || method->http.success != 200) {
        text_puts(json,
                  ",\"Location\":{\"$ref\":\"#/components/headers/Location\"}");
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
        media_types(method->http.produces, "{}", json);
    } else {
        text_printf(json,
                    "\"application/json\":{\"schema\":{\"$ref\":"
                    "\"#/components/schemas/%s\"}",
                    schema_name(model, method->output));
        const char *example = example_of(method->comment);
        if (example != NULL && method->http.body[0] == '\0') {
            text_printf(json, ",\"example\":%s", example);
        }
        text_puts(json, "}");
    }
    text_puts(json, "}}");
}

static const struct {
    unsigned status;
    const char *name;
    const char *description;
} ERRORS[] = {
    { 400, "BadRequest", "The request cannot be read." },
    { 401, "Unauthenticated", "A valid credential is needed." },
    { 403, "Forbidden", "The credential does not grant this." },
    { 404, "NotFound", "No such record." },
    { 409, "Conflict", "The state or a guard forbids it." },
    { 412, "Stale", "The record changed since it was read." },
    { 413, "TooLarge", "The request is too large." },
    { 415, "Unsupported", "This media type is not taken here." },
    { 422, "Invalid", "A field is missing or malformed; errors names it." },
    { 428, "PreconditionRequired",
      "If-Match is needed, or an Idempotency-Key." },
    { 429, "TooMany", "Too many requests." },
    { 500, "Internal", "Internal error." },
    { 503, "Unavailable", "At its limit, or a dependency did not answer." },
    { 504, "Deadline",
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
        return is_write(method);
    case 412:
        return is_write(method) && has_path_field(method);
    case 413:
    case 415:
        return has_body;
    case 422:
        return method->input->field_count > 0 && http->consumes == NULL;
    case 428:
        return http->if_match_required || equal(http->verb, "PATCH");
    default:
        return true;
    }
}

static void responses(const struct model *model,
                      const struct method *method,
                      struct text *json)
{
    text_puts(json, ",\n   \"responses\":{");
    if (method->http.success == 201) {
        success(model, method, 200, "It was there already.", json);
        text_puts(json, ",");
    }
    success(model, method, method->http.success, "Done.", json);
    for (size_t i = 0; i < CN_COUNT(ERRORS); i++) {
        if (may_fail(method, ERRORS[i].status)) {
            text_printf(json,
                        ",\n    \"%u\":{\"$ref\":"
                        "\"#/components/responses/%s\"}",
                        ERRORS[i].status, ERRORS[i].name);
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

/* The gateway's own: no rpc stands behind it. */
static void stream(struct text *json)
{
    text_puts(
        json,
        ",\n \"/v1/stream\":{\"get\":{\"operationId\":\"StreamEvents\","
        "\"tags\":[\"Stream\"],\"summary\":\"Stream events\","
        "\"description\":\"Server-sent events: what changes, as it changes, as "
        "far as the credential may read it. `event` is the type, `data` names "
        "the record and its version and holds nothing of a patient, `id` is "
        "an opaque position. A reader that comes back with its last id misses "
        "and repeats nothing; where that cannot be kept it gets the event "
        "`reset`: load the lists again. A comment and a fresh id come every "
        "15 s.\",\"x-scope\":\"stream:read\",\n"
        "   \"parameters\":[{\"$ref\":\"#/components/parameters/RequestId\"},\n"
        "    {\"name\":\"topics\",\"in\":\"query\",\"description\":\"Only "
        "events "
        "that these scopes read: `referrals,visits` are those of "
        "referrals:read and visits:read; all when absent.\",\"style\":\"form\","
        "\"explode\":true,\"schema\":{\"type\":\"array\",\"items\":{\"type\":"
        "\"string\"}}},\n"
        "    {\"name\":\"last_event_id\",\"in\":\"query\",\"description\":\"As "
        "Last-Event-ID, for readers that cannot send "
        "it.\",\"schema\":{\"type\":"
        "\"string\"}},\n"
        "    "
        "{\"name\":\"Last-Event-ID\",\"in\":\"header\",\"description\":\"The "
        "id "
        "after which to go on.\",\"schema\":{\"type\":\"string\"}}],\n"
        "   \"responses\":{\n"
        "    \"200\":{\"description\":\"The stream, without an end.\","
        "\"headers\":{\"Request-Id\":{\"$ref\":"
        "\"#/components/headers/RequestId\"}},\"content\":{"
        "\"text/event-stream\":{\"schema\":{\"type\":\"string\"},\"example\":"
        "\"id: AQ...\\nevent: referral.accepted\\ndata: {\\\"type\\\":"
        "\\\"referral.accepted\\\"}\\n\\n\"}}},\n"
        "    \"400\":{\"$ref\":\"#/components/responses/BadRequest\"},\n"
        "    \"401\":{\"$ref\":\"#/components/responses/Unauthenticated\"},\n"
        "    \"403\":{\"$ref\":\"#/components/responses/Forbidden\"},\n"
        "    \"500\":{\"$ref\":\"#/components/responses/Internal\"},\n"
        "    \"503\":{\"$ref\":\"#/components/responses/Unavailable\"},\n"
        "    \"504\":{\"$ref\":\"#/components/responses/Deadline\"}}}}");
}

static void paths(const struct model *model,
                  const struct method **methods,
                  struct text *json)
{
    text_puts(json,
              ",\n\"paths\":{\n"
              " \"/openapi.json\":{\"get\":{\"operationId\":\"GetOpenapi\","
              "\"summary\":\"This document\",\"security\":[],\"responses\":{"
              "\"200\":{\"description\":\"Done.\",\"content\":{"
              "\"application/json\":{\"schema\":{\"type\":\"object\"}}}}}}},\n"
              " \"/problems\":{\"get\":{\"operationId\":\"ListProblems\","
              "\"summary\":\"The types of problem\",\"security\":[],"
              "\"responses\":{\"200\":{\"description\":\"Done.\",\"content\":{"
              "\"application/json\":{\"schema\":{\"type\":\"object\"}}}}}}}");
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

static void schemas(const struct model *model,
                    const struct method **methods,
                    struct text *json)
{
    bool *reached = allocate(model->message_count, sizeof(*reached));
    for (size_t i = 0; methods[i] != NULL; i++) {
        reach_method(model, methods[i], reached);
    }
    text_puts(json, ",\n\"components\":{\"schemas\":{");
    for (size_t i = 0; i < model->message_count; i++) {
        if (reached[i]) {
            text_printf(json,
                        "\n \"%s\":", schema_name(model, &model->messages[i]));
            object_schema(model, &model->messages[i], NULL, json);
            text_puts(json, ",");
        }
    }
    text_puts(
        json,
        "\n \"Problem\":{\"type\":\"object\",\"description\":\"RFC 9457\","
        "\"required\":[\"type\",\"title\",\"status\",\"code\"],"
        "\"properties\":{\n"
        "  \"type\":{\"type\":\"string\",\"format\":\"uri-reference\"},\n"
        "  \"title\":{\"type\":\"string\"},\n"
        "  \"status\":{\"type\":\"integer\"},\n"
        "  \"detail\":{\"type\":\"string\"},\n"
        "  \"instance\":{\"type\":\"string\",\"format\":\"uri-reference\"},\n"
        "  \"code\":{\"type\":\"string\"},\n"
        "  \"request_id\":{\"type\":\"string\"},\n"
        "  \"errors\":{\"type\":\"array\",\"items\":{\"type\":\"object\","
        "\"properties\":{\"pointer\":{\"type\":\"string\"},"
        "\"code\":{\"type\":\"string\"},\"detail\":{\"type\":\"string\"}}}}"
        "}}}");
}

static void shared_parts(struct text *json)
{
    text_puts(
        json,
        ",\n\"parameters\":{\n"
        " \"RequestId\":{\"name\":\"Request-Id\",\"in\":\"header\","
        "\"description\":\"Named in the reply and in every log line; made "
        "when absent.\",\"schema\":{\"type\":\"string\",\"pattern\":"
        "\"^[A-Za-z0-9._-]{8,64}$\"}},\n"
        " \"IdempotencyKey\":{\"name\":\"Idempotency-Key\",\"in\":\"header\","
        "\"description\":\"The same key and body again: the same reply, and "
        "nothing new.\",\"schema\":{\"type\":\"string\",\"minLength\":1,"
        "\"maxLength\":255}},\n"
        " \"IdempotencyKeyRequired\":{\"name\":\"Idempotency-Key\","
        "\"in\":\"header\",\"required\":true,\"description\":\"The same key "
        "and body again: the same reply, and nothing new.\",\"schema\":{"
        "\"type\":\"string\",\"minLength\":1,\"maxLength\":255}},\n"
        " \"IfMatch\":{\"name\":\"If-Match\",\"in\":\"header\","
        "\"description\":\"The ETag that was read; 412 when it is "
        "stale.\",\"schema\":{\"type\":\"string\"}},\n"
        " \"IfMatchRequired\":{\"name\":\"If-Match\",\"in\":\"header\","
        "\"required\":true,\"description\":\"The ETag that was read; 412 when "
        "it is stale.\",\"schema\":{\"type\":\"string\"}}}"
        ",\n\"headers\":{\n"
        " \"RequestId\":{\"schema\":{\"type\":\"string\"}},\n"
        " \"ETag\":{\"description\":\"The version, for If-Match.\","
        "\"schema\":{\"type\":\"string\"}},\n"
        " \"Location\":{\"description\":\"Path of the resource.\","
        "\"schema\":{\"type\":\"string\"}},\n"
        " \"RetryAfter\":{\"description\":\"Seconds.\","
        "\"schema\":{\"type\":\"integer\"}},\n"
        " \"Authenticate\":{\"schema\":{\"type\":\"string\"}}}"
        ",\n\"securitySchemes\":{\"bearer\":{\"type\":\"http\","
        "\"scheme\":\"bearer\",\"description\":\"An API key.\"}}"
        ",\n\"responses\":{");
    for (size_t i = 0; i < CN_COUNT(ERRORS); i++) {
        unsigned status = ERRORS[i].status;
        text_printf(json, "%s\n \"%s\":{\"description\":\"%s\",\"headers\":{",
                    i > 0 ? "," : "", ERRORS[i].name, ERRORS[i].description);
        text_puts(json, "\"Request-Id\":{\"$ref\":"
                        "\"#/components/headers/RequestId\"}");
        text_puts(json, status == 401 ? ",\"WWW-Authenticate\":{\"$ref\":"
                                        "\"#/components/headers/Authenticate\"}"
                                      : "");
        text_puts(json, status == 429 || status == 503
                            ? ",\"Retry-After\":{\"$ref\":"
                              "\"#/components/headers/RetryAfter\"}"
                            : "");
        text_puts(json, "},\"content\":{\"application/problem+json\":{"
                        "\"schema\":{\"$ref\":"
                        "\"#/components/schemas/Problem\"}}}}");
    }
    text_puts(json, "}}");
}

void emit_openapi(const struct model *model, struct text *json)
{
    const struct method **methods = routed(model);
    text_puts(json, "{\"openapi\":\"3.1.0\",\n\"info\":{\"title\":\"Cairn\","
                    "\"version\":\"1\",\"summary\":\"Coordination of home "
                    "health care\",\"license\":{\"name\":\"Apache License "
                    "2.0\",\"identifier\":\"Apache-2.0\"}},\n"
                    "\"servers\":[{\"url\":\"/\"}],\n"
                    "\"security\":[{\"bearer\":[]}],\n\"tags\":[");
    bool is_first = true;
    for (size_t i = 0; methods[i] != NULL; i++) {
        const struct service *service = methods[i]->service;
        if (i == 0 || methods[i - 1]->service != service) {
            text_printf(json, "%s\n {\"name\":\"%s\"", is_first ? "" : ",",
                        service->proto->name);
            member_text(json, "description", description_of(service->comment));
            text_puts(json, "}");
            is_first = false;
        }
    }
    text_printf(json,
                "%s\n {\"name\":\"Stream\",\"description\":\"What changes, "
                "told to those who watch.\"}]",
                is_first ? "" : ",");
    paths(model, methods, json);
    schemas(model, methods, json);
    shared_parts(json);
    text_puts(json, "}\n");
}
