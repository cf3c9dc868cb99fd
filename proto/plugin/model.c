/* SPDX-License-Identifier: Apache-2.0 */
/* Reads protoc's request into the model: names, comments, options. */
#include "plugin.h"

#include "common/base/array.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* Field numbers of descriptor.proto, as the paths of comments use them. */
enum {
    PATH_FILE_MESSAGE = 4,
    PATH_FILE_SERVICE = 6,
    PATH_MESSAGE_FIELD = 2,
    PATH_MESSAGE_NESTED = 3,
    PATH_MESSAGE_ENUM = 4,
    PATH_ENUM_VALUE = 2,
    PATH_SERVICE_METHOD = 2,
    PATH_STEPS_MAX = 32
};

/* Extensions, of proto/cairn/http.proto and protobuf-c.proto. */
enum {
    EXT_HTTP = 50001,
    EXT_RULE = 50002,
    EXT_EVENT = 50003,
    EXT_RESOURCE = 50004,
    EXT_C_FILE = 1019
};

struct path {
    int32_t steps[PATH_STEPS_MAX];
    size_t count;
};

static struct path path_with(struct path path, int32_t kind, size_t index)
{
    if (path.count + 2 > PATH_STEPS_MAX) {
        return path;
    }
    path.steps[path.count++] = kind;
    path.steps[path.count++] = (int32_t)index;
    return path;
}

/* The lines of a comment without the blank in front of each. */
static const char *comment_clean(const char *raw)
{
    struct text text = { 0 };
    text_puts(&text, "");
    while (*raw != '\0') {
        const char *end = strchrnul(raw, '\n');
        raw += *raw == ' ' ? 1 : 0;
        if (end > raw) {
            text_add(&text, raw, (size_t)(end - raw));
        }
        text_puts(&text, "\n");
        raw = *end == '\0' ? end : end + 1;
    }
    while (text.size > 0 && isspace((unsigned char)text.data[text.size - 1])) {
        text.data[--text.size] = '\0';
    }
    return text.data;
}

static const char *comment_of(const FileProto *file, const struct path *path)
{
    if (file->source_code_info == NULL) {
        return "";
    }
    for (size_t i = 0; i < file->source_code_info->n_location; i++) {
        const Google__Protobuf__SourceCodeInfo__Location *location =
            file->source_code_info->location[i];
        if (location->n_path != path->count ||
            memcmp(location->path, path->steps,
                   path->count * sizeof(path->steps[0])) != 0) {
            continue;
        }
        if (location->leading_comments != NULL) {
            return comment_clean(location->leading_comments);
        }
        return location->trailing_comments != NULL
                   ? comment_clean(location->trailing_comments)
                   : "";
    }
    return "";
}

/* One field of an option message, which protobuf-c keeps as wire bytes. */
struct wire {
    const uint8_t *at;
    const uint8_t *end;
    uint32_t tag;
    uint64_t number;
    const char *text; /* of a length-delimited field */
    size_t size;
};

static uint64_t varint_read(struct wire *wire)
{
    uint64_t value = 0;
    for (unsigned shift = 0; wire->at < wire->end && shift < 64; shift += 7) {
        uint8_t byte = *wire->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            break;
        }
    }
    return value;
}

static bool wire_next(struct wire *wire)
{
    if (wire->at >= wire->end) {
        return false;
    }
    uint64_t key = varint_read(wire);
    wire->tag = (uint32_t)(key >> 3);
    wire->number = 0;
    wire->text = NULL;
    wire->size = 0;
    if ((key & 7) == 0) {
        wire->number = varint_read(wire);
        return true;
    }
    if ((key & 7) != 2) {
        return false; /* http.proto has no other types */
    }
    uint64_t size = varint_read(wire);
    if (size > (uint64_t)(wire->end - wire->at)) {
        return false;
    }
    wire->text = duplicate((const char *)wire->at, (size_t)size);
    wire->size = (size_t)size;
    wire->at += size;
    return true;
}

/* Opens the i-th occurrence of an extension; false when there is none. */
static bool option_open(const ProtobufCMessage *options,
                        uint32_t extension,
                        size_t *at,
                        struct wire *ret_wire)
{
    for (; options != NULL && *at < options->n_unknown_fields; (*at)++) {
        const ProtobufCMessageUnknownField *field =
            &options->unknown_fields[*at];
        if (field->tag == extension) {
            struct wire wire = { .at = field->data,
                                 .end = field->data + field->len };
            (void)varint_read(&wire); /* the length prefix is still on */
            *ret_wire = wire;
            (*at)++;
            return true;
        }
    }
    return false;
}

static void http_take(struct http_rule *rule, const struct wire *wire)
{
    static const char *const verbs[] = { "GET", "POST", "PUT", "PATCH",
                                         "DELETE" };
    if (wire->tag >= 1 && wire->tag <= CN_COUNT(verbs)) {
        rule->verb = verbs[wire->tag - 1];
        rule->path = wire->text;
        rule->verb_count++;
    } else if (wire->tag == 6) {
        rule->body = wire->text;
    } else if (wire->tag == 7) {
        rule->scope = wire->text;
    } else if (wire->tag == 8) {
        rule->success = (unsigned)wire->number;
    } else if (wire->tag == 9) {
        rule->consumes = wire->text;
    } else if (wire->tag == 10) {
        rule->produces = wire->text;
    } else if (wire->tag == 11) {
        rule->key_required = wire->number != 0;
    } else if (wire->tag == 12) {
        rule->if_match_required = wire->number != 0;
    } else if (wire->tag == 13) {
        rule->by_hand = wire->number != 0;
    } else if (wire->tag == 14) {
        rule->existing = wire->number != 0;
    } else if (wire->tag == 15) {
        rule->duplicate = wire->number != 0;
    }
}

static struct http_rule http_read(const MethodProto *method)
{
    struct http_rule rule = { .body = "", .success = 200 };
    struct wire wire;
    size_t at = 0;
    const ProtobufCMessage *options =
        method->options != NULL ? &method->options->base : NULL;
    while (option_open(options, EXT_HTTP, &at, &wire)) {
        rule.present = true;
        while (wire_next(&wire)) {
            http_take(&rule, &wire);
        }
    }
    return rule;
}

static void rule_take(struct field_rule *rule, const struct wire *wire)
{
    const char **const texts[] = { [1] = &rule->kind,
                                   [5] = &rule->pattern,
                                   [9] = &rule->id,
                                   [10] = &rule->example,
                                   [12] = &rule->words };
    bool *const flags[] = {
        [2] = &rule->output_only, [3] = &rule->no_null, [6] = &rule->required,
        [7] = &rule->create_only, [8] = &rule->column,  [11] = &rule->always,
        [13] = &rule->summary
    };
    if (wire->tag == 4) {
        rule->max = (unsigned)wire->number;
    } else if (wire->tag < CN_COUNT(texts) && texts[wire->tag] != NULL) {
        *texts[wire->tag] = wire->text;
    } else if (wire->tag < CN_COUNT(flags) && flags[wire->tag] != NULL) {
        *flags[wire->tag] = wire->number != 0;
    }
}

static struct field_rule rule_read(const FieldProto *field)
{
    struct field_rule rule = { 0 };
    struct wire wire;
    size_t at = 0;
    const ProtobufCMessage *options =
        field->options != NULL ? &field->options->base : NULL;
    while (option_open(options, EXT_RULE, &at, &wire)) {
        while (wire_next(&wire)) {
            rule_take(&rule, &wire);
        }
    }
    return rule;
}

static void event_read(struct message *message)
{
    struct wire wire;
    size_t at = 0;
    const ProtobufCMessage *options =
        message->proto->options != NULL ? &message->proto->options->base : NULL;
    while (option_open(options, EXT_EVENT, &at, &wire)) {
        message->has_event = true;
        while (wire_next(&wire)) {
            if (wire.tag == 1) {
                size_t count = message->event_type_count + 1;
                const char **types = allocate(count, sizeof(*types));
                if (count > 1) {
                    memcpy(types, message->event_types,
                           (count - 1) * sizeof(*types));
                }
                types[count - 1] = wire.text;
                message->event_types = types;
                message->event_type_count = count;
            } else if (wire.tag == 2) {
                message->event_scope = wire.text;
            }
        }
    }
}

/* protobuf-c's CamelToLower: "FetchRequest" is fetch_request. */
static void lower_add(struct text *text, const char *camel)
{
    bool was_upper = true;
    for (; *camel != '\0'; camel++) {
        bool is_upper = isupper((unsigned char)*camel) != 0;
        if (is_upper && !was_upper) {
            text_puts(text, "_");
        }
        char c = (char)tolower((unsigned char)*camel);
        text_add(text, &c, 1);
        was_upper = is_upper;
    }
}

static void resource_take(struct resource_rule *rule, const struct wire *wire)
{
    const char **const texts[] = {
        [1] = &rule->table,   [2] = &rule->id,    [3] = &rule->path,
        [4] = &rule->order,   [5] = &rule->reach, [6] = &rule->patient,
        [7] = &rule->event,   [8] = &rule->also,  [13] = &rule->shows,
        [15] = &rule->copy,   [16] = &rule->name, [18] = &rule->seal,
        [21] = &rule->beside,
    };
    bool *const flags[] = {
        [10] = &rule->moves, [11] = &rule->tell, [12] = &rule->show,
        [14] = &rule->quiet, [17] = &rule->bare, [19] = &rule->tenant,
        [23] = &rule->once
    };
    if (wire->tag == 9 && rule->derived_count < DERIVED_MAX) {
        rule->derived[rule->derived_count++] = wire->text;
    } else if (wire->tag == 22 && rule->given_count < DERIVED_MAX) {
        rule->given[rule->given_count++] = wire->text;
    } else if (wire->tag < CN_COUNT(texts) && texts[wire->tag] != NULL) {
        *texts[wire->tag] = wire->text;
    } else if (wire->tag < CN_COUNT(flags) && flags[wire->tag] != NULL) {
        *flags[wire->tag] = wire->number != 0;
    }
}

static void resource_read(struct message *message)
{
    struct wire wire;
    size_t at = 0;
    const ProtobufCMessage *options =
        message->proto->options != NULL ? &message->proto->options->base : NULL;
    while (option_open(options, EXT_RESOURCE, &at, &wire)) {
        message->resource.present = true;
        while (wire_next(&wire)) {
            resource_take(&message->resource, &wire);
        }
    }
    if (message->resource.present && message->resource.name == NULL) {
        struct text name = { 0 };
        lower_add(&name, message->proto->name);
        message->resource.name = name.data;
    }
}

static void c_options_read(struct file *file)
{
    struct wire wire;
    size_t at = 0;
    const ProtobufCMessage *options =
        file->proto->options != NULL ? &file->proto->options->base : NULL;
    while (option_open(options, EXT_C_FILE, &at, &wire)) {
        while (wire_next(&wire)) {
            if (wire.tag == 4) {
                file->const_strings = wire.number != 0;
            } else if (wire.tag == 6) {
                file->c_package = wire.text;
            }
        }
    }
}

static int field_compare(const void *a, const void *b)
{
    int32_t x = ((const struct field *)a)->proto->number;
    int32_t y = ((const struct field *)b)->proto->number;
    return (x > y) - (x < y);
}

static void fields_read(struct message *message, const struct path *path)
{
    const MessageProto *proto = message->proto;
    message->field_count = proto->n_field;
    message->fields = allocate(proto->n_field, sizeof(*message->fields));
    for (size_t i = 0; i < proto->n_field; i++) {
        struct path here = path_with(*path, PATH_MESSAGE_FIELD, i);
        message->fields[i] =
            (struct field){ .proto = proto->field[i],
                            .name = proto->field[i]->name,
                            .comment = comment_of(message->file->proto, &here),
                            .repeated =
                                proto->field[i]->label == LABEL(REPEATED),
                            .rule = rule_read(proto->field[i]) };
    }
    if (proto->n_field > 1) {
        qsort(message->fields, proto->n_field, sizeof(*message->fields),
              field_compare);
    }
}

static void enum_read(struct model *model,
                      const FileProto *file,
                      const EnumProto *proto,
                      struct path path,
                      const char *scope)
{
    const char **comments = allocate(proto->n_value, sizeof(*comments));
    for (size_t i = 0; i < proto->n_value; i++) {
        struct path here = path_with(path, PATH_ENUM_VALUE, i);
        comments[i] = comment_of(file, &here);
    }
    if (model->enum_count == model->enum_capacity) {
        model->enum_capacity = model->enum_capacity * 2 + 64;
        struct enumeration *enums =
            allocate(model->enum_capacity, sizeof(*enums));
        if (model->enum_count > 0) {
            memcpy(enums, model->enums, model->enum_count * sizeof(*enums));
        }
        model->enums = enums;
    }
    model->enums[model->enum_count++] =
        (struct enumeration){ .proto = proto,
                              .full_name = format("%s.%s", scope, proto->name),
                              .comments = comments };
}

static struct message *message_new(struct model *model)
{
    if (model->message_count == model->message_capacity) {
        model->message_capacity = model->message_capacity * 2 + 64;
        struct message *messages =
            allocate(model->message_capacity, sizeof(*messages));
        if (model->message_count > 0) {
            memcpy(messages, model->messages,
                   model->message_count * sizeof(*messages));
        }
        model->messages = messages;
    }
    return &model->messages[model->message_count++];
}

/* A message and those nested in it. `outer` are its outer messages' names. */
static void message_read(struct model *model,
                         const struct file *file,
                         const MessageProto *proto,
                         struct path path,
                         const char *outer,
                         const char *outer_c)
{
    struct message *message = message_new(model);
    struct text c_name = { 0 };
    text_printf(&c_name, "%s__", outer_c);
    lower_add(&c_name, proto->name);
    *message =
        (struct message){ .proto = proto,
                          .file = file,
                          .schema = format("%s%s", outer, proto->name),
                          .full_name = format(".%s.%s%s", file->proto->package,
                                              outer, proto->name),
                          .c_name = c_name.data,
                          .comment = comment_of(file->proto, &path) };
    fields_read(message, &path);
    event_read(message);
    resource_read(message);
    for (size_t i = 0; i < proto->n_enum_type; i++) {
        enum_read(model, file->proto, proto->enum_type[i],
                  path_with(path, PATH_MESSAGE_ENUM, i), message->full_name);
    }
    const char *inner = format("%s.", message->schema);
    for (size_t i = 0; i < proto->n_nested_type; i++) {
        message_read(model, file, proto->nested_type[i],
                     path_with(path, PATH_MESSAGE_NESTED, i), inner,
                     c_name.data);
    }
}

/* AcceptReferral is referral_accept: the first word, the verb, goes last. */
static const char *handler_name(const char *rpc)
{
    size_t verb = 1;
    while (rpc[verb] != '\0' && !isupper((unsigned char)rpc[verb])) {
        verb++;
    }
    struct text text = { 0 };
    lower_add(&text, rpc + verb);
    if (text.size > 0) {
        text_puts(&text, "_");
    }
    lower_add(&text, duplicate(rpc, verb));
    return text.data;
}

static void service_read(struct file *file, struct service *service, size_t at)
{
    const ServiceProto *proto = file->proto->service[at];
    struct path path = path_with((struct path){ 0 }, PATH_FILE_SERVICE, at);
    *service = (struct service){ .proto = proto,
                                 .file = file,
                                 .comment = comment_of(file->proto, &path),
                                 .method_count = proto->n_method,
                                 .methods = allocate(proto->n_method,
                                                     sizeof(struct method)) };
    for (size_t i = 0; i < proto->n_method; i++) {
        const MethodProto *rpc = proto->method[i];
        struct path here = path_with(path, PATH_SERVICE_METHOD, i);
        service->methods[i] =
            (struct method){ .proto = rpc,
                             .service = service,
                             .comment = comment_of(file->proto, &here),
                             .handler = handler_name(rpc->name),
                             .name = format("%s.v1.%s/%s", file->stem,
                                            proto->name, rpc->name),
                             .http = http_read(rpc) };
    }
}

static struct message *message_find(const struct model *model,
                                    const char *full_name)
{
    for (size_t i = 0; i < model->message_count; i++) {
        if (equal(model->messages[i].full_name, full_name)) {
            return &model->messages[i];
        }
    }
    return NULL;
}

static const struct enumeration *enum_find(const struct model *model,
                                           const char *full_name)
{
    for (size_t i = 0; i < model->enum_count; i++) {
        if (equal(model->enums[i].full_name, full_name)) {
            return &model->enums[i];
        }
    }
    return NULL;
}

/* Names become pointers, once no array grows any more. */
static void model_link(struct model *model)
{
    for (size_t i = 0; i < model->message_count; i++) {
        struct message *message = &model->messages[i];
        for (size_t j = 0; j < message->field_count; j++) {
            struct field *field = &message->fields[j];
            const char *type = field->proto->type_name;
            if (type != NULL) {
                field->message = message_find(model, type);
                field->enumeration = enum_find(model, type);
            }
            if (field->rule.words != NULL) {
                field->words = enum_find(
                    model, format(".%s.%s", message->file->proto->package,
                                  field->rule.words));
            }
        }
    }
    for (size_t i = 0; i < model->file_count; i++) {
        struct file *file = &model->files[i];
        for (size_t j = 0; j < file->service_count; j++) {
            struct service *service = &file->services[j];
            for (size_t k = 0; k < service->method_count; k++) {
                struct method *method = &service->methods[k];
                method->input = message_find(model, method->proto->input_type);
                method->output =
                    message_find(model, method->proto->output_type);
            }
        }
    }
}

static bool is_ours(const FileProto *file)
{
    return strncmp(file->name, "cairn/", 6) == 0 &&
           !equal(file->name, "cairn/http.proto");
}

static void
file_read(struct model *model, const Request *request, const FileProto *proto)
{
    struct file *file = &model->files[model->file_count++];
    size_t stem_size = strlen(proto->name) - strlen("cairn/.proto");
    *file = (struct file){
        .proto = proto,
        .stem = duplicate(proto->name + strlen("cairn/"), stem_size),
        .services = allocate(proto->n_service, sizeof(struct service)),
        .service_count = proto->n_service
    };
    c_options_read(file);
    for (size_t i = 0; i < request->n_file_to_generate; i++) {
        if (equal(request->file_to_generate[i], proto->name)) {
            file->wanted = true;
        }
    }
    for (size_t i = 0; i < proto->n_message_type; i++) {
        struct path path = path_with((struct path){ 0 }, PATH_FILE_MESSAGE, i);
        message_read(model, file, proto->message_type[i], path, "",
                     file->c_package != NULL ? file->c_package : "none");
    }
    for (size_t i = 0; i < proto->n_service; i++) {
        service_read(file, &file->services[i], i);
    }
}

void model_read(struct model *model, const Request *request)
{
    model->files = allocate(request->n_proto_file, sizeof(*model->files));
    for (size_t i = 0; i < request->n_proto_file; i++) {
        if (is_ours(request->proto_file[i])) {
            file_read(model, request, request->proto_file[i]);
        }
    }
    model_link(model);
}
