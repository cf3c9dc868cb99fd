/* SPDX-License-Identifier: Apache-2.0 */
/* Schemas of openapi.json, a line for each property. What answers show and what
 * clients send are apart: an answer says which members it always has, and its
 * lists of words are open; a request knows no other words and names what it
 * needs. */
#include "plugin.h"

#include "common/base/array.h"
#include "common/wire/shape.h"

#include <string.h>

/* Rows of a page, as common/store/cursor.h has them. */
enum { PAGE_DEFAULT = 50, PAGE_MAX = 200 };

/* ---- names ---- */

/* Nested names and names that two files use stay apart. */
static const char *schema_name(const struct model *model,
                               const struct message *message,
                               enum variant variant)
{
    static const char *const suffixes[VARIANT_COUNT] = { "", "Summary",
                                                         "Create", "Patch" };
    for (size_t i = 0; i < model->message_count; i++) {
        const struct message *other = &model->messages[i];
        /* A copy is shown to nobody. */
        if (other != message && other->resource.copy == NULL &&
            equal(other->schema, message->schema)) {
            return format("%s.%s%s", message->file->stem, message->schema,
                          suffixes[variant]);
        }
    }
    return format("%s%s", message->schema, suffixes[variant]);
}

void schema_ref(const struct model *model,
                const struct message *message,
                enum variant variant,
                struct text *json)
{
    text_printf(json, "\"$ref\":\"#/components/schemas/%s\"",
                schema_name(model, message, variant));
}

static bool is_sent(enum variant variant)
{
    return variant == CREATED || variant == PATCHED;
}

/* A field that a patch may only hold as it is. */
static bool is_read_only(const struct field *field, enum variant variant)
{
    return field->rule.output_only ||
           (variant == PATCHED && field->rule.create_only);
}

/* The variant of what lies in the field. */
static enum variant variant_within(const struct field *field,
                                   enum variant variant)
{
    if (!is_sent(variant) || is_read_only(field, variant)) {
        return field->rule.summary ? SUMMARY : SHOWN;
    }
    /* The items of a list are sent whole. */
    return variant == PATCHED && !field->repeated ? PATCHED : CREATED;
}

static bool
is_in(const struct message *message, const struct field *field, enum variant in)
{
    bool of_the_whole =
        message->resource.present &&
        (equal(field->name, "version") || equal(field->name, "created_at") ||
         equal(field->name, "updated_at"));
    return !equal(field->name, "update_mask") &&
           !(in == CREATED && field->rule.output_only) &&
           !(in == SUMMARY && of_the_whole);
}

/* Messages that the gateway itself writes. */
static bool is_of_gateway(const struct message *message)
{
    return equal(message->file->stem, "problem") ||
           equal(message->file->stem, "stream");
}

/* Does the object always have it? */
static bool is_there(const struct model *model,
                     const struct message *message,
                     const struct field *field,
                     enum variant variant)
{
    bool of_head =
        resource_prefix(model, message) != NULL &&
        (equal(field->name, "id") || equal(field->name, "version") ||
         equal(field->name, "created_at") || equal(field->name, "updated_at"));
    /* A list is always written, but for one of the gateway's own. */
    bool of_list = field->repeated && !is_of_gateway(message);
    bool of_page = equal(field->name, "has_more");
    switch (variant) {
    case CREATED:
        return field->rule.required;
    case SHOWN:
    case SUMMARY:
        return of_list || of_head || of_page || field->rule.always;
    case PATCHED:
    default:
        return false;
    }
}

/* ---- values ---- */

static void put_type(struct text *json, const char *type, bool nullable)
{
    text_printf(json,
                nullable ? "\"type\":[\"%s\",\"null\"]" : "\"type\":\"%s\"",
                type);
}

static void put_words(const struct enumeration *of,
                      bool open,
                      bool nullable,
                      struct text *json)
{
    put_type(json, "string", nullable);
    text_puts(json, open ? ",\"x-extensible-enum\":[" : ",\"enum\":[");
    for (size_t i = 0; i < of->proto->n_value; i++) {
        text_printf(json, "%s\"%s\"", i > 0 ? "," : "", enum_word(of, i));
    }
    text_puts(json, nullable && !open ? ",null]" : "]");
}

/* The form of a string, behind its type. */
static const char *form_of(const struct field *field)
{
    static const struct {
        const char *word;
        const char *form;
    } words[] = {
        { "date", ",\"format\":\"date\"" },
        { "birth_date", ",\"format\":\"date\"" },
        { "zone", ",\"maxLength\":64" },
        { "clock", ",\"pattern\":\"^([01][0-9]|2[0-3]):[0-5][0-9]$\"" },
        { "npi", ",\"pattern\":\"^[0-9]{10}$\"" },
        { "phone", ",\"minLength\":7,\"pattern\":\"^([0-9 +().x-]|ext)+$\"" },
        { "email", ",\"format\":\"email\",\"maxLength\":254" },
        { "postal_code", ",\"pattern\":\"^[0-9]{5}(-[0-9]{4})?$\"" },
    };
    for (size_t i = 0; i < CN_COUNT(words); i++) {
        if (equal(field->rule.kind, words[i].word) ||
            equal(field->rule.pattern, words[i].word)) {
            return words[i].form;
        }
    }
    return "";
}

static void put_string(const struct field *field,
                       bool sent,
                       bool nullable,
                       struct text *json)
{
    const char *form = form_of(field);
    unsigned max = field->repeated ? 0 : field->rule.max;
    put_type(json, "string", nullable);
    text_puts(json, form);
    if (strstr(form, "maxLength") == NULL && (max > 0 || sent)) {
        text_printf(json, ",\"maxLength\":%u",
                    max > 0 ? max : (unsigned)CN_STRING_MAX);
    }
}

static void
put_number(const struct field *field, bool nullable, struct text *json)
{
    bool is_limit = equal(field->name, "limit");
    switch ((int)field->proto->type) {
    case TYPE(BOOL):
        put_type(json, "boolean", nullable);
        break;
    case TYPE(DOUBLE):
    case TYPE(FLOAT):
        put_type(json, "number", nullable);
        text_puts(json, ",\"format\":\"double\"");
        break;
    default:
        put_type(json, "integer", nullable);
        text_printf(json, ",\"minimum\":%d",
                    is_limit || equal(field->name, "version") ? 1 : 0);
        if (is_limit) {
            text_printf(json, ",\"maximum\":%d,\"default\":%d", PAGE_MAX,
                        PAGE_DEFAULT);
        }
        break;
    }
}

/* Members of the schema of one value, without the braces. */
static void value_schema(const struct model *model,
                         const struct field *field,
                         enum variant variant,
                         bool nullable,
                         struct text *json)
{
    const struct enumeration *words =
        field->words != NULL ? field->words : field->enumeration;
    bool sent = is_sent(variant) && !is_read_only(field, variant);
    if (field->message != NULL) {
        text_puts(json, nullable ? "\"anyOf\":[{" : "");
        schema_ref(model, field->message, variant_within(field, variant), json);
        text_puts(json, nullable ? "},{\"type\":\"null\"}]" : "");
    } else if (words != NULL) {
        put_words(words, !sent, nullable, json);
    } else if (equal(field->rule.kind, "time")) {
        put_type(json, "string", nullable);
        text_puts(json, ",\"format\":\"date-time\"");
    } else if (field->proto->type == TYPE(STRING)) {
        put_string(field, sent, nullable, json);
    } else if (field->proto->type == TYPE(BYTES)) {
        put_type(json, "string", nullable);
        text_puts(json, ",\"contentEncoding\":\"base64\"");
    } else {
        put_number(field, nullable, json);
    }
}

void field_schema(const struct model *model,
                  const struct field *field,
                  enum variant variant,
                  struct text *json)
{
    bool sent = is_sent(variant) && !is_read_only(field, variant);
    bool nullable = variant == PATCHED && sent && !field->rule.no_null &&
                    !field->rule.required;
    const char *example = field_example(field);
    if (field->repeated) {
        put_type(json, "array", nullable);
        text_puts(json, ",\"items\":{");
        value_schema(model, field, variant, false, json);
        text_puts(json, "}");
        if (field->rule.max > 0 || sent) {
            text_printf(json, ",\"maxItems\":%u",
                        field->rule.max > 0 ? field->rule.max
                                            : (unsigned)CN_LIST_MAX);
        }
    } else {
        value_schema(model, field, variant, nullable, json);
    }
    if (example != NULL) {
        text_printf(json, ",\"examples\":[%s]", example);
    }
}

/* ---- objects ---- */

/* Two services may tell of the same kind of thing: is this the first? */
static bool is_new_type(const struct model *model,
                        const struct message *message,
                        const char *type)
{
    for (const struct message *other = model->messages; other < message;
         other++) {
        for (size_t i = 0; i < other->event_type_count; i++) {
            if (equal(other->event_types[i], type)) {
                return false;
            }
        }
    }
    return true;
}

/* The types that the stream tells, with what each means and who reads it. */
static void put_event_types(const struct model *model, struct text *json)
{
    struct text words = { 0 };
    struct text meanings = { 0 };
    for (size_t i = 0; i < model->message_count; i++) {
        const struct message *message = &model->messages[i];
        for (size_t j = 0; j < message->event_type_count; j++) {
            const char *type = message->event_types[j];
            if (is_streamed(message, type)) {
                const char *said = event_text(message, type);
                text_printf(&meanings, "\n- `%s` [%s]: %s", type,
                            message->event_scope, said != NULL ? said : "");
                if (is_new_type(model, message, type)) {
                    text_printf(&words, "%s\"%s\"", words.size > 0 ? "," : "",
                                type);
                }
            }
        }
    }
    text_printf(json,
                "\"type\":\"string\",\"x-extensible-enum\":[%s],"
                "\"examples\":[\"referral.accepted\"],\"description\":",
                words.size > 0 ? words.data : "");
    text_quote(json, format("What happened, and in brackets the scope that "
                            "reads it.%s",
                            meanings.size > 0 ? meanings.data : ""));
}

static void property(const struct model *model,
                     const struct message *message,
                     const struct field *field,
                     enum variant variant,
                     struct text *json)
{
    struct field shown = *field;
    if (equal(field->name, "id") && field->rule.id == NULL) {
        shown.rule.id = resource_prefix(model, message);
    }
    text_printf(json, "\"%s\":{", field->name);
    if (equal(message->full_name, ".cairn.stream.v1.StreamEvent") &&
        equal(field->name, "type")) {
        put_event_types(model, json);
    } else {
        field_schema(model, &shown, variant, json);
        member_text(json, "description", field_description(field));
    }
    text_puts(json, is_read_only(field, variant) ? ",\"readOnly\":true}" : "}");
}

/* ,"required":[...] of those that are always there. */
static void put_required(const struct model *model,
                         const struct message *message,
                         enum variant variant,
                         const struct method *method,
                         struct text *json)
{
    bool is_first = true;
    for (size_t i = 0; i < message->field_count; i++) {
        const struct field *field = &message->fields[i];
        if (is_in(message, field, variant) &&
            (method == NULL || !is_path_field(method, field->name)) &&
            is_there(model, message, field, variant)) {
            text_printf(json, "%s\"%s\"", is_first ? ",\"required\":[" : ",",
                        field->name);
            is_first = false;
        }
    }
    text_puts(json, is_first ? "" : "]");
}

static const char *object_description(const struct message *message,
                                      enum variant variant)
{
    static const char *const more[VARIANT_COUNT] = {
        [SHOWN] = "",
        [SUMMARY] = " The part that another record shows.",
        [CREATED] = "",
        [PATCHED] = " A merge patch (RFC 7396): what is absent stays, null "
                    "clears. A read-only member may stand in it as it was "
                    "read; with another value it is 422 `read_only_field`.",
    };
    return format("%s%s", description_of(message->comment), more[variant]);
}

void object_schema(const struct model *model,
                   const struct message *message,
                   enum variant variant,
                   const struct method *method,
                   struct text *json)
{
    bool is_first = true;
    text_puts(json, "{\"type\":\"object\"");
    member_text(json, "description", object_description(message, variant));
    put_required(model, message, variant, method, json);
    text_puts(json, is_sent(variant) ? ",\"additionalProperties\":false" : "");
    text_puts(json, ",\"properties\":{");
    for (size_t i = 0; i < message->field_count; i++) {
        const struct field *field = &message->fields[i];
        if (!is_in(message, field, variant) ||
            (method != NULL && is_path_field(method, field->name))) {
            continue;
        }
        text_puts(json, is_first ? "\n  " : ",\n  ");
        property(model, message, field, variant, json);
        is_first = false;
    }
    text_puts(json, "}}");
}

/* ---- which there are ---- */

static void reach(const struct model *model,
                  const struct message *message,
                  enum variant variant,
                  bool *reached)
{
    size_t at =
        (size_t)(message - model->messages) * VARIANT_COUNT + (size_t)variant;
    if (reached[at]) {
        return;
    }
    reached[at] = true;
    for (size_t i = 0; i < message->field_count; i++) {
        const struct field *field = &message->fields[i];
        if (field->message != NULL && is_in(message, field, variant)) {
            reach(model, field->message, variant_within(field, variant),
                  reached);
        }
    }
}

/* What the operation's body or reply shows, and all that lies in it. */
static void reach_method(const struct model *model,
                         const struct method *method,
                         bool *reached)
{
    const struct http_rule *http = &method->http;
    const struct field *body = field_find(method->input, http->body);
    if (http->produces == NULL) {
        reach(model, method->output, SHOWN, reached);
    }
    if (body != NULL && body->message != NULL) {
        reach(model, body->message,
              equal(http->verb, "PATCH") ? PATCHED : CREATED, reached);
    }
    for (size_t i = 0; i < method->input->field_count && equal(http->body, "*");
         i++) {
        if (method->input->fields[i].message != NULL) {
            reach(model, method->input->fields[i].message, CREATED, reached);
        }
    }
}

/* Of each message and variant, whether it is in the document. */
static bool *reached_of(const struct model *model,
                        const struct method **methods)
{
    bool *reached =
        allocate(model->message_count * VARIANT_COUNT, sizeof(*reached));
    for (size_t i = 0; methods[i] != NULL; i++) {
        reach_method(model, methods[i], reached);
    }
    for (size_t i = 0; i < model->message_count; i++) {
        if (is_of_gateway(&model->messages[i])) {
            reach(model, &model->messages[i], SHOWN, reached);
        }
    }
    return reached;
}

void schemas(const struct model *model,
             const struct method **methods,
             struct text *json)
{
    const bool *reached = reached_of(model, methods);
    bool is_first = true;
    for (size_t i = 0; i < model->message_count * VARIANT_COUNT; i++) {
        const struct message *message = &model->messages[i / VARIANT_COUNT];
        enum variant variant = (enum variant)(i % VARIANT_COUNT);
        if (reached[i]) {
            text_printf(json, "%s\n \"%s\":", is_first ? "" : ",",
                        schema_name(model, message, variant));
            object_schema(model, message, variant, NULL, json);
            is_first = false;
        }
    }
}

/* ---- what must be said ---- */

void check_described(struct model *model,
                     const struct message *message,
                     const struct field *field)
{
    const char *name = format("%s.%s", message->schema, field->name);
    bool is_type = equal(message->full_name, ".cairn.stream.v1.StreamEvent") &&
                   equal(field->name, "type");
    if (is_type || equal(field->name, "update_mask")) {
        return;
    }
    if (field_description(field)[0] == '\0') {
        fault(model, message->file, name, "what clients see needs a comment");
    }
    if (field->message == NULL && field_example(field) == NULL) {
        fault(model, message->file, name, "what clients see needs an example");
    }
}

/* Each type that the stream tells is explained, and StreamEvent has each id
 * that an event shows. */
static void check_stream_event(struct model *model,
                               const struct message *message)
{
    const struct message *shown = NULL;
    const struct message *event = NULL;
    for (size_t i = 0; i < message->event_type_count; i++) {
        const char *type = message->event_types[i];
        if (is_streamed(message, type) && event_text(message, type) == NULL) {
            fault(model, message->file, message->schema,
                  "its comment needs a line \"@event %s ...\"", type);
        }
    }
    for (size_t i = 0; i < message->field_count && shown == NULL; i++) {
        shown = message->fields[i].message;
    }
    for (size_t i = 0; i < model->message_count; i++) {
        if (equal(model->messages[i].full_name,
                  ".cairn.stream.v1.StreamEvent")) {
            event = &model->messages[i];
        }
    }
    for (size_t i = 0; event != NULL && shown != NULL &&
                       message->event_scope != NULL && i < shown->field_count;
         i++) {
        if (shown->fields[i].rule.id != NULL &&
            field_find(event, shown->fields[i].name) == NULL) {
            fault(model, message->file, message->schema,
                  "StreamEvent has no %s, which its events show",
                  shown->fields[i].name);
        }
    }
}

void check_schemas(struct model *model, const struct method **methods)
{
    const bool *reached = reached_of(model, methods);
    for (size_t i = 0; i < model->message_count; i++) {
        const struct message *message = &model->messages[i];
        bool is_reached = false;
        for (size_t j = 0; j < VARIANT_COUNT; j++) {
            is_reached = is_reached || reached[i * VARIANT_COUNT + j];
        }
        for (size_t j = 0; is_reached && j < message->field_count; j++) {
            check_described(model, message, &message->fields[j]);
        }
        check_stream_event(model, message);
    }
}
