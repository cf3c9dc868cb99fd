/* SPDX-License-Identifier: Apache-2.0 */
/* Refuses what would break the generated code or the contract's rules. */
#include "plugin.h"

#include "common/base/array.h"
#include "common/policy/principal.h"

#include <ctype.h>
#include <string.h>

enum { WORD_SIZE_MAX = 47 }; /* of an enum, in common/wire/json_text.c */

/* Names that the C compiler or a header takes; protobuf-c 1.4.1 knows only some
 * of them. */
static const char *const RESERVED[] = {
    "auto",          "break",    "case",    "char",
    "const",         "continue", "default", "do",
    "double",        "else",     "enum",    "extern",
    "float",         "for",      "goto",    "if",
    "inline",        "int",      "long",    "register",
    "restrict",      "return",   "short",   "signed",
    "sizeof",        "static",   "struct",  "switch",
    "typedef",       "typeof",   "union",   "unsigned",
    "void",          "volatile", "while",   "asm",
    "bool",          "true",     "false",   "constexpr",
    "nullptr",       "alignas",  "alignof", "noreturn",
    "errno",         "stdin",    "stdout",  "stderr",
    "assert",        "linux",    "unix",    "thread_local",
    "static_assert", "base"
};

static const char *const KINDS[] = { "plain", "time",       "date",
                                     "zone",  "clock",      "name",
                                     "text",  "birth_date", "language" };
static const char *const PATTERNS[] = { "npi", "phone", "email",
                                        "postal_code" };

static bool is_one_of(const char *word, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (equal(word, list[i])) {
            return true;
        }
    }
    return false;
}

/* Letters of one case, digits and underscores. */
static bool is_snake(const char *name, int (*is_letter)(int c))
{
    if (!is_letter((unsigned char)name[0])) {
        return false;
    }
    for (const char *at = name; *at != '\0'; at++) {
        if (!is_letter((unsigned char)*at) && !isdigit((unsigned char)*at) &&
            *at != '_') {
            return false;
        }
    }
    return true;
}

static bool is_lower_snake(const char *name)
{
    return is_snake(name, islower) && strstr(name, "__") == NULL;
}

static bool is_upper_snake(const char *name)
{
    return is_snake(name, isupper);
}

/* Words that begin with a capital; no runs of capitals, on which protobuf-c's
 * lower-case names run together. */
static bool is_camel(const char *name)
{
    if (!isupper((unsigned char)name[0])) {
        return false;
    }
    for (const char *at = name; *at != '\0'; at++) {
        if (!isalnum((unsigned char)*at) ||
            (isupper((unsigned char)at[0]) && isupper((unsigned char)at[1]))) {
            return false;
        }
    }
    return true;
}

static void check_file(struct model *model, const struct file *file)
{
    const FileProto *proto = file->proto;
    const char *package = format("cairn.%s.v1", file->stem);
    if (proto->syntax != NULL && !equal(proto->syntax, "proto2")) {
        fault(model, file, "syntax", "must be proto2, not %s", proto->syntax);
    }
    if (!is_lower_snake(file->stem)) {
        fault(model, file, file->stem, "the file's name must be lower_snake");
    }
    if (!equal(proto->package, package)) {
        fault(model, file, "package", "must be %s", package);
    }
    if (file->c_package == NULL || !is_lower_snake(file->c_package)) {
        fault(model, file, "c_package",
              "option (pb_c_file).c_package must be one short word");
    }
    if (!file->const_strings) {
        fault(model, file, "const_strings",
              "option (pb_c_file).const_strings must be true");
    }
    for (size_t i = 0; i < proto->n_enum_type; i++) {
        fault(model, file, proto->enum_type[i]->name,
              "an enum belongs inside a message");
    }
    if (proto->n_extension > 0) {
        fault(model, file, proto->extension[0]->name,
              "extensions are not taken");
    }
}

static void
check_enum(struct model *model, const struct file *file, const EnumProto *proto)
{
    if (!is_camel(proto->name)) {
        fault(model, file, proto->name,
              "an enum's name must be CamelCase without runs of capitals");
    }
    for (size_t i = 0; i < proto->n_value; i++) {
        const char *name = proto->value[i]->name;
        if (!is_upper_snake(name) || strlen(name) > WORD_SIZE_MAX) {
            fault(model, file, format("%s.%s", proto->name, name),
                  "an enum's value must be UPPER_SNAKE of at most %d bytes",
                  WORD_SIZE_MAX);
        }
        if (proto->value[i]->number <= 0) {
            fault(model, file, format("%s.%s", proto->name, name),
                  "an enum's value must be greater than zero");
        }
    }
}

static void check_rule(struct model *model,
                       const struct message *message,
                       const struct field *field,
                       const char *name)
{
    const struct field_rule *rule = &field->rule;
    const struct file *file = message->file;
    bool is_text = field->proto->type == TYPE(STRING);
    if (rule->kind != NULL && !is_one_of(rule->kind, KINDS, CN_COUNT(KINDS))) {
        fault(model, file, name, "unknown kind %s", rule->kind);
    } else if (equal(rule->kind, "time") && field->proto->type != TYPE(INT64)) {
        fault(model, file, name, "a time must be an int64");
    } else if (rule->kind != NULL && !equal(rule->kind, "time") &&
               !equal(rule->kind, "plain") && !is_text) {
        fault(model, file, name, "a %s must be a string", rule->kind);
    }
    if (rule->pattern != NULL &&
        !is_one_of(rule->pattern, PATTERNS, CN_COUNT(PATTERNS))) {
        fault(model, file, name, "unknown pattern %s", rule->pattern);
    } else if (rule->pattern != NULL && !is_text) {
        fault(model, file, name, "a pattern needs a string");
    }
    if (rule->words != NULL && (field->words == NULL || !is_text)) {
        fault(model, file, name,
              "its words are no enum %s of the file, or it"
              " is no string",
              rule->words);
    }
    if (rule->max > 0 && !field->repeated && !is_text &&
        field->proto->type != TYPE(BYTES)) {
        fault(model, file, name, "a max needs a string, bytes or a list");
    }
}

static void check_field_name(struct model *model,
                             const struct message *message,
                             const struct field *field,
                             const char *name)
{
    if (!is_lower_snake(field->name)) {
        fault(model, message->file, name, "a field's name must be lower_snake");
    }
    if (is_one_of(field->name, RESERVED, CN_COUNT(RESERVED))) {
        fault(model, message->file, name, "the name is taken in C");
    }
    bool has_flag = !field->repeated && field->message == NULL &&
                    field->proto->type != TYPE(STRING);
    if (has_flag &&
        field_find(message, format("has_%s", field->name)) != NULL) {
        fault(model, message->file, name, "has_%s beside it collides in C",
              field->name);
    }
    if (field->repeated &&
        field_find(message, format("n_%s", field->name)) != NULL) {
        fault(model, message->file, name, "n_%s beside it collides in C",
              field->name);
    }
}

static void check_field(struct model *model,
                        const struct message *message,
                        const struct field *field)
{
    const char *name = format("%s.%s", message->schema, field->name);
    check_field_name(model, message, field, name);
    check_rule(model, message, field, name);
    if (field->proto->label == LABEL(REQUIRED)) {
        fault(model, message->file, name, "required can never be taken back");
    }
    if (field->proto->default_value != NULL) {
        fault(model, message->file, name, "a default hides that it is absent");
    }
    if (field->proto->has_oneof_index) {
        fault(model, message->file, name, "oneof is not taken");
    }
    if (field->proto->type == TYPE(GROUP)) {
        fault(model, message->file, name, "a group is not taken");
    } else if (field->proto->type_name != NULL && field->message == NULL &&
               field->enumeration == NULL) {
        fault(model, message->file, name, "its type %s is not one of ours",
              field->proto->type_name);
    }
}

/* Does the message contain itself? visit: 1 on the way down, 2 done. */
static bool is_recursive(struct message *message)
{
    if (message->visit != 0) {
        return message->visit == 1;
    }
    message->visit = 1;
    bool found = false;
    for (size_t i = 0; i < message->field_count && !found; i++) {
        struct message *sub = message->fields[i].message;
        found = sub != NULL && is_recursive(sub);
    }
    message->visit = 2;
    return found;
}

static void check_event(struct model *model, const struct message *message)
{
    if (message->has_event && message->event_type_count == 0) {
        fault(model, message->file, message->schema, "an event needs a type");
    }
    for (size_t i = 0; i < message->event_type_count; i++) {
        const char *type = message->event_types[i];
        const char *dot = strchr(type, '.');
        if (dot == NULL || !is_lower_snake(dot + 1) ||
            !is_lower_snake(duplicate(type, (size_t)(dot - type)))) {
            fault(model, message->file, message->schema,
                  "an event's type must be two words, as referral.accepted");
        }
        for (const struct message *other = model->messages; other <= message;
             other++) {
            size_t end = other == message ? i : other->event_type_count;
            /* Two services may tell of the same kind of thing. */
            if (other->file == message->file &&
                is_one_of(type, other->event_types, end)) {
                fault(model, message->file, message->schema,
                      "the event type %s is taken", type);
            }
        }
    }
}

/* A reader of the stream whose reach is a branch sees the events of resources
 * of that branch: the first message in the payload must say which that is. */
static void check_event_scope(struct model *model,
                              const struct message *message)
{
    const struct message *resource = NULL;
    if (message->event_type_count == 0 || message->event_scope == NULL) {
        return;
    }
    if (!cn_policy_permission_known(message->event_scope)) {
        fault(model, message->file, message->schema,
              "the policy has no permission %s", message->event_scope);
        return;
    }
    for (size_t i = 0; i < message->field_count && resource == NULL; i++) {
        resource = message->fields[i].message;
    }
    const struct field *branch =
        resource == NULL ? NULL : field_find(resource, "branch_id");
    if (cn_policy_by_branch(message->event_scope) &&
        (branch == NULL || branch->repeated ||
         branch->proto->type != TYPE(STRING))) {
        fault(model, message->file, message->schema,
              "readers with %s reach a branch: the event's resource needs a "
              "`string branch_id`",
              message->event_scope);
    }
}

static void check_message(struct model *model, struct message *message)
{
    const MessageProto *proto = message->proto;
    if (!is_camel(proto->name)) {
        fault(model, message->file, message->schema,
              "a message's name must be CamelCase without runs of capitals");
    }
    if (proto->options != NULL && proto->options->has_map_entry &&
        proto->options->map_entry) {
        fault(model, message->file, message->schema,
              "map<> is not taken: repeat a message of name and value");
        return;
    }
    if (message->comment[0] == '\0') {
        fault(model, message->file, message->schema,
              "a message needs a comment");
    }
    if (is_recursive(message)) {
        fault(model, message->file, message->schema,
              "a message must not contain itself");
    }
    for (size_t i = 0; i < message->field_count; i++) {
        check_field(model, message, &message->fields[i]);
    }
    for (size_t i = 0; i < proto->n_enum_type; i++) {
        check_enum(model, message->file, proto->enum_type[i]);
    }
    check_event(model, message);
    check_event_scope(model, message);
}

static bool is_scalar(const struct field *field)
{
    return field->message == NULL && field->proto->type != TYPE(BYTES);
}

static void
check_path(struct model *model, const struct method *method, const char *name)
{
    const struct file *file = method->service->file;
    const char *at = method->http.path;
    if (at == NULL || at[0] != '/') {
        fault(model, file, name, "the path must begin with /");
        return;
    }
    char part[128];
    while (path_next(&at, part, sizeof(part))) {
        const struct field *field = field_find(method->input, part);
        if (field == NULL) {
            fault(model, file, name, "the path's {%s} is no field of %s", part,
                  method->input->schema);
        } else if (!is_scalar(field) || field->repeated) {
            fault(model, file, name, "the path's {%s} must be one plain value",
                  part);
        }
    }
    if (strpbrk(at, "{}") != NULL) {
        fault(model, file, name, "the path's braces do not match");
    }
}

static void check_content(struct model *model,
                          const struct method *method,
                          const struct message *message,
                          const char *name,
                          const char *option)
{
    const struct field *content = field_find(message, "content");
    if (content == NULL || content->proto->type != TYPE(BYTES)) {
        fault(model, method->service->file, name,
              "%s needs a field `bytes content` in %s", option,
              message->schema);
    }
}

static void
check_body(struct model *model, const struct method *method, const char *name)
{
    const struct http_rule *http = &method->http;
    const struct file *file = method->service->file;
    bool is_named = http->body[0] != '\0' && !equal(http->body, "*");
    const struct field *field = field_find(method->input, http->body);
    if (is_named && http->consumes == NULL &&
        (field == NULL || field->message == NULL || field->repeated)) {
        fault(model, file, name, "the body %s is no message field of %s",
              http->body, method->input->schema);
    }
    if (http->body[0] != '\0' &&
        (equal(http->verb, "GET") || equal(http->verb, "DELETE"))) {
        fault(model, file, name, "a %s has no body", http->verb);
    }
    const struct field *mask = field_find(method->input, "update_mask");
    if (equal(http->verb, "PATCH") &&
        (http->body[0] == '\0' || mask == NULL || !mask->repeated ||
         mask->proto->type != TYPE(STRING))) {
        fault(model, file, name,
              "a PATCH needs a body and a `repeated string update_mask`");
    }
    if (http->consumes != NULL) {
        check_content(model, method, method->input, name, "consumes");
    }
    if (http->produces != NULL) {
        check_content(model, method, method->output, name, "produces");
    }
    for (size_t i = 0; i < method->input->field_count; i++) {
        field = &method->input->fields[i];
        if (!equal(http->body, "*") && !equal(http->body, field->name) &&
            !is_scalar(field) && !equal(field->name, "content")) {
            fault(model, file, name, "%s cannot come from the query",
                  field->name);
        }
    }
}

/* Two paths are one route when they differ only in their fields' names. */
static bool is_same_path(const char *a, const char *b)
{
    while (*a != '\0' && *b != '\0') {
        if (*a != *b) {
            return false;
        }
        if (*a == '{') {
            a = strchrnul(a, '}');
            b = strchrnul(b, '}');
            if (*a == '\0' || *b == '\0') {
                break;
            }
        }
        a++;
        b++;
    }
    return *a == *b;
}

static void
check_http(struct model *model, const struct method *method, const char *name)
{
    const struct http_rule *http = &method->http;
    const struct file *file = method->service->file;
    if (http->scope == NULL) {
        fault(model, file, name,
              "the http option must set scope (\"\" for any principal)");
    }
    if (http->verb_count != 1) {
        fault(model, file, name,
              "the http option needs one of get, post, put, patch, delete");
        return;
    }
    if (http->success < 200 || http->success > 299 || http->success == 204) {
        fault(model, file, name, "success must be 200, 201 or 202");
    }
    check_path(model, method, name);
    check_body(model, method, name);
}

/* --- JSON of an @example, which goes into openapi.json as it is --- */

static const char *json_blank(const char *at)
{
    return at + strspn(at, " \t");
}

static const char *json_string(const char *at)
{
    if (*at++ != '"') {
        return NULL;
    }
    for (; *at != '"'; at++) {
        if (*at == '\0' || (*at == '\\' && *++at == '\0')) {
            return NULL;
        }
    }
    return at + 1;
}

static const char *json_scalar(const char *at)
{
    static const char *const words[] = { "true", "false", "null" };
    for (size_t i = 0; i < CN_COUNT(words); i++) {
        if (strncmp(at, words[i], strlen(words[i])) == 0) {
            return at + strlen(words[i]);
        }
    }
    const char *digits = at + (*at == '-' ? 1 : 0);
    size_t size = strspn(digits, "0123456789");
    if (size == 0 || (digits[0] == '0' && size > 1)) {
        return NULL;
    }
    at = digits + size;
    if (*at == '.') {
        size = strspn(at + 1, "0123456789");
        at = size > 0 ? at + 1 + size : NULL;
    }
    return at;
}

/* The end of a value; NULL when it is none. */
static const char *json_value(const char *at)
{
    char close = *at == '{' ? '}' : ']';
    if (*at == '"') {
        return json_string(at);
    }
    if (*at != '{' && *at != '[') {
        return json_scalar(at);
    }
    at = json_blank(at + 1);
    if (*at == close) {
        return at + 1;
    }
    while (true) {
        if (close == '}') {
            at = json_string(at);
            at = at != NULL ? json_blank(at) : NULL;
            if (at == NULL || *at != ':') {
                return NULL;
            }
            at = json_blank(at + 1);
        }
        at = json_value(at);
        at = at != NULL ? json_blank(at) : NULL;
        if (at == NULL || *at == close) {
            return at != NULL ? at + 1 : NULL;
        }
        if (*at != ',') {
            return NULL;
        }
        at = json_blank(at + 1);
    }
}

static void check_example(struct model *model,
                          const struct method *method,
                          const char *name)
{
    const char *example = example_of(method->comment);
    const char *end = example != NULL ? json_value(json_blank(example)) : NULL;
    if (example != NULL && (end == NULL || *json_blank(end) != '\0')) {
        fault(model, method->service->file, name,
              "its @example is not JSON on one line");
    }
}

static const char *method_label(const struct method *method)
{
    return format("%s.%s", method->service->proto->name, method->proto->name);
}

static void check_method(struct model *model, const struct method *method)
{
    const struct file *file = method->service->file;
    const char *name = method_label(method);
    if (!is_camel(method->proto->name)) {
        fault(model, file, name,
              "an rpc's name must be CamelCase without runs of capitals");
    }
    if (equal(method->proto->name, "Init")) {
        fault(model, file, name, "protobuf-c breaks on an rpc named Init");
    }
    if (method->comment[0] == '\0') {
        fault(model, file, name, "an rpc needs a comment");
    }
    check_example(model, method, name);
    if (method->proto->client_streaming || method->proto->server_streaming) {
        fault(model, file, name, "streams are not taken");
    }
    if (method->input == NULL || method->output == NULL) {
        fault(model, file, name, "input and output must be messages of ours");
    } else if (method->http.present) {
        check_http(model, method, name);
    }
}

/* Compares with every method before it: routes and handlers are taken once. */
static void
check_twins(struct model *model, const struct method **methods, size_t count)
{
    const struct method *last = methods[count - 1];
    const struct file *file = last->service->file;
    for (size_t i = 0; i + 1 < count; i++) {
        const struct method *other = methods[i];
        if (other->http.present && last->http.present &&
            equal(other->proto->name, last->proto->name)) {
            fault(model, file, method_label(last),
                  "its name, an operationId, is taken by %s",
                  method_label(other));
        }
        if (other->http.path != NULL && last->http.path != NULL &&
            !equal(other->http.path, last->http.path) &&
            is_same_path(other->http.path, last->http.path)) {
            fault(model, file, method_label(last),
                  "%s names the fields of its path otherwise",
                  method_label(other));
        }
        if (other->http.path != NULL && last->http.path != NULL &&
            equal(other->http.verb, last->http.verb) &&
            is_same_path(other->http.path, last->http.path)) {
            fault(model, file, method_label(last), "its route is taken by %s",
                  method_label(other));
        }
        if (other->service->file == file &&
            equal(other->handler, last->handler)) {
            fault(model, file, method_label(last),
                  "its handler %s is taken by %s", last->handler,
                  method_label(other));
        }
    }
}

static void check_methods(struct model *model)
{
    size_t total = 0;
    for (size_t i = 0; i < model->file_count; i++) {
        for (size_t j = 0; j < model->files[i].service_count; j++) {
            total += model->files[i].services[j].method_count;
        }
    }
    const struct method **seen = allocate(total, sizeof(void *));
    size_t count = 0;
    for (size_t i = 0; i < model->file_count; i++) {
        for (size_t j = 0; j < model->files[i].service_count; j++) {
            const struct service *service = &model->files[i].services[j];
            if (!is_camel(service->proto->name)) {
                fault(model, &model->files[i], service->proto->name,
                      "a service's name must be CamelCase");
            }
            for (size_t k = 0; k < service->method_count; k++) {
                check_method(model, &service->methods[k]);
                seen[count++] = &service->methods[k];
                check_twins(model, seen, count);
            }
        }
    }
}

void model_check(struct model *model)
{
    for (size_t i = 0; i < model->file_count; i++) {
        check_file(model, &model->files[i]);
        for (size_t j = 0; j < i; j++) {
            if (equal(model->files[i].c_package, model->files[j].c_package)) {
                fault(model, &model->files[i], "c_package", "%s is taken by %s",
                      model->files[i].c_package, model->files[j].proto->name);
            }
        }
    }
    for (size_t i = 0; i < model->message_count; i++) {
        check_message(model, &model->messages[i]);
        check_resource(model, &model->messages[i]);
    }
    check_methods(model);
}
