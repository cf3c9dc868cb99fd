/* SPDX-License-Identifier: Apache-2.0 */
/* What the plugin knows of the .proto files, read once from protoc's request,
 * and the parts that check and print it. The process is short: nothing that it
 * allocates is freed. */
#ifndef CN_PLUGIN_H
#define CN_PLUGIN_H

#include "google/protobuf/compiler/plugin.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef Google__Protobuf__Compiler__CodeGeneratorRequest Request;
typedef Google__Protobuf__Compiler__CodeGeneratorResponse Response;
typedef Google__Protobuf__FileDescriptorProto FileProto;
typedef Google__Protobuf__DescriptorProto MessageProto;
typedef Google__Protobuf__FieldDescriptorProto FieldProto;
typedef Google__Protobuf__EnumDescriptorProto EnumProto;
typedef Google__Protobuf__ServiceDescriptorProto ServiceProto;
typedef Google__Protobuf__MethodDescriptorProto MethodProto;

#define TYPE(name) GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_##name
#define LABEL(name)                                                            \
    GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_##name

/* A growing text. */
struct text {
    char *data; /* always ends in NUL once something was added */
    size_t size;
    size_t capacity;
};

void *allocate(size_t count, size_t size);
char *duplicate(const char *data, size_t size);
char *format(const char *pattern, ...) __attribute__((format(printf, 1, 2)));
bool equal(const char *a, const char *b);
const char *upper(const char *name);
void text_add(struct text *self, const char *data, size_t size);
void text_puts(struct text *self, const char *more);
void text_printf(struct text *self, const char *pattern, ...)
    __attribute__((format(printf, 2, 3)));
/* The text as a JSON string with its quotes; it is a C string literal too. */
void text_quote(struct text *self, const char *value);

/* cairn.HttpRule */
struct http_rule {
    bool present;
    const char *verb; /* "GET"; NULL when none was given */
    const char *path;
    unsigned verb_count;
    const char *body;  /* "" for none */
    const char *scope; /* NULL when it was not set */
    const char *consumes;
    const char *produces;
    unsigned success;
    bool key_required;
    bool if_match_required;
    bool by_hand;
    bool existing;
    bool duplicate;
};

/* cairn.FieldRule */
struct field_rule {
    const char *kind; /* NULL: plain */
    const char *pattern;
    unsigned max;
    bool output_only;
    bool no_null;
    bool required;
    bool create_only;
    bool column;
    const char *id;
    const char *example;
    bool always;
    const char *words;
    bool summary;
};

enum { DERIVED_MAX = 8 };

/* cairn.ResourceRule; NULL: not given. */
struct resource_rule {
    bool present;
    const char *table;
    const char *id;
    const char *path;
    const char *order;
    const char *reach;
    const char *patient;
    const char *event;
    const char *also;
    const char *derived[DERIVED_MAX];
    size_t derived_count;
    bool moves;
    bool tell;
    bool show;
    const char *shows;
    bool quiet;
    const char *copy;
    const char *name;
    bool bare;
    const char *seal;
    bool tenant;
    const char *beside;
    const char *given[DERIVED_MAX];
    size_t given_count;
    bool once;
};

struct field {
    const FieldProto *proto;
    const char *name;
    const char *comment;     /* "" when there is none */
    struct message *message; /* of a message field */
    const struct enumeration *enumeration;
    const struct enumeration *words; /* of the rule */
    bool repeated;
    struct field_rule rule;
};

struct enumeration {
    const EnumProto *proto;
    const char *full_name; /* ".cairn.referrals.v1.Referral.Status" */
    const char **comments; /* of the values; "" when there is none */
};

struct message {
    const MessageProto *proto;
    const struct file *file;
    const char *full_name; /* ".cairn.referrals.v1.Referral" */
    const char *c_name;    /* "ref__referral" */
    const char *schema;    /* "Referral", nested "Referral.Source" */
    const char *comment;
    struct field *fields; /* by tag, as protobuf-c sorts them */
    size_t field_count;
    bool has_event;
    const char **event_types;
    size_t event_type_count;
    const char *event_scope; /* NULL: not for the stream */
    struct resource_rule resource;
    unsigned visit; /* of the search for recursion */
};

struct method {
    const MethodProto *proto;
    const struct service *service;
    const char *comment;
    const char *handler; /* "referral_accept" */
    const char *name;    /* "referrals.v1.Referrals/AcceptReferral" */
    const struct message *input;
    const struct message *output;
    struct http_rule http;
};

struct service {
    const ServiceProto *proto;
    const struct file *file;
    const char *comment;
    struct method *methods;
    size_t method_count;
};

struct file {
    const FileProto *proto;
    const char *stem; /* "referrals" */
    const char *c_package;
    bool const_strings;
    bool wanted; /* protoc asks for its output */
    struct service *services;
    size_t service_count;
};

struct model {
    struct file *files;
    size_t file_count;
    struct message *messages;
    size_t message_count;
    size_t message_capacity;
    struct enumeration *enums;
    size_t enum_count;
    size_t enum_capacity;
    struct text errors;
};

/* Adds "cairn/x.proto: name: fault" to the errors, which end the build. */
void fault(struct model *model,
           const struct file *file,
           const char *name,
           const char *pattern,
           ...) __attribute__((format(printf, 4, 5)));
const struct field *field_find(const struct message *message, const char *name);
/* Its index among the fields by tag; -1: there is none. */
int field_index(const struct message *message, const char *name);
/* The next "{name}" of a path at or after *at; false at the end. */
bool path_next(const char **at, char *name, size_t size);
bool is_path_field(const struct method *method, const char *name);

/* model.c */
void model_read(struct model *model, const Request *request);
/* check.c */
void model_check(struct model *model);
/* resource.c: tables and statements of resources. */
void check_resource(struct model *model, const struct message *message);
/* What a client sees of the resource: the message, or one of its fields. */
const struct message *resource_shown(const struct message *message);
/* The prefix of the ids of the resource that is shown so; NULL: none is. */
const char *resource_prefix(const struct model *model,
                            const struct message *shown);
/* The resource that the method answers with: one, or a list of it; NULL when
 * its handler is written by hand. */
const struct message *resource_of_get(const struct model *model,
                                      const struct method *method);
const struct message *resource_of_list(const struct model *model,
                                       const struct method *method);
/* The resource of the method's own service that it answers with, however its
 * handler is made; NULL: it answers with something else. */
const struct message *resource_of_method(const struct model *model,
                                         const struct method *method);
void emit_resources(struct model *model,
                    const struct file *file,
                    struct text *header,
                    struct text *source);
/* emit.c: the C files. */
void emit_shapes(const struct model *model,
                 const struct file *file,
                 struct text *header,
                 struct text *source);
void emit_handlers(const struct model *model,
                   const struct file *file,
                   struct text *header,
                   struct text *source);
void emit_routes(const struct model *model,
                 const char *openapi,
                 struct text *header,
                 struct text *source);
/* openapi_text.c: words. */
/* The JSON behind "@example " in a comment; NULL when there is none. */
const char *example_of(const char *comment);
/* What the event's message says of the type behind "@event <type> "; NULL: not
 * a word. */
const char *event_text(const struct message *message, const char *type);
/* The comment without its @ lines, on one line, but for the rows of a table. */
const char *description_of(const char *comment);
/* The same of a field; one that many messages have needs no comment. */
const char *field_description(const struct field *field);
/* A value of the field as JSON; NULL: none can be made of its rules. */
const char *field_example(const struct field *field);
/* Prefix of the ids that the field holds; NULL: it holds none. */
const char *field_prefix(const struct field *field);
/* The word of an enum's value in JSON. */
const char *enum_word(const struct enumeration *of, size_t at);
/* ,"name":"value" */
void member_text(struct text *json, const char *name, const char *value);
/* Is the type told to readers of the stream? A snapshot's is not. */
bool is_streamed(const struct message *message, const char *type);

/* openapi_schema.c: schemas. One message has up to four. */
enum variant {
    SHOWN,   /* in answers */
    SUMMARY, /* within another resource's answer */
    CREATED, /* what a client sends */
    PATCHED, /* as a merge patch */
    VARIANT_COUNT
};
/* Members of the field's schema, without the braces. */
void field_schema(const struct model *model,
                  const struct field *field,
                  enum variant variant,
                  struct text *json);
/* An object of the message's fields; of those that `method`'s body carries when
 * it is not NULL. */
void object_schema(const struct model *model,
                   const struct message *message,
                   enum variant variant,
                   const struct method *method,
                   struct text *json);
void schema_ref(const struct model *model,
                const struct message *message,
                enum variant variant,
                struct text *json);
/* The members of "schemas" that the methods use, and all in them. */
void schemas(const struct model *model,
             const struct method **methods,
             struct text *json);

/* Faults of what is in the document and says nothing of itself: fields, types
 * of event. */
void check_described(struct model *model,
                     const struct message *message,
                     const struct field *field);
void check_schemas(struct model *model, const struct method **methods);

/* openapi.c */
void check_openapi(struct model *model);
void emit_openapi(const struct model *model, struct text *json);

#endif
