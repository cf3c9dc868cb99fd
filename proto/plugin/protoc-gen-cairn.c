/* SPDX-License-Identifier: Apache-2.0 */
/* protoc plugin: from proto/cairn makes what protobuf-c does not: shapes,
 * handler tables, routes and openapi.json, and refuses what would break them.
 */
#include "plugin.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count > 0 ? count : 1, size);
    if (memory == NULL) {
        abort(); /* a build tool has nothing better to do */
    }
    return memory;
}

char *duplicate(const char *data, size_t size)
{
    char *copy = allocate(size + 1, 1);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    return copy;
}

bool equal(const char *a, const char *b)
{
    return a != NULL && b != NULL && strcmp(a, b) == 0;
}

const char *upper(const char *name)
{
    struct text text = { 0 };
    for (; *name != '\0'; name++) {
        char c = (char)toupper((unsigned char)*name);
        text_add(&text, &c, 1);
    }
    return text.data;
}

void text_add(struct text *self, const char *data, size_t size)
{
    if (self->size + size + 1 > self->capacity) {
        size_t capacity = (self->size + size + 1) * 2;
        char *grown = realloc(self->data, capacity);
        if (grown == NULL) {
            abort();
        }
        self->data = grown;
        self->capacity = capacity;
    }
    memcpy(self->data + self->size, data, size);
    self->size += size;
    self->data[self->size] = '\0';
}

void text_puts(struct text *self, const char *more)
{
    text_add(self, more, strlen(more));
}

static void __attribute__((format(printf, 2, 0)))
text_vprintf(struct text *self, const char *pattern, va_list args)
{
    char *made = NULL;
    int size = vasprintf(&made, pattern, args);
    if (size < 0) {
        abort();
    }
    text_add(self, made, (size_t)size);
    free(made);
}

void text_printf(struct text *self, const char *pattern, ...)
{
    va_list args;
    va_start(args, pattern);
    text_vprintf(self, pattern, args);
    va_end(args);
}

char *format(const char *pattern, ...)
{
    struct text text = { 0 };
    va_list args;
    va_start(args, pattern);
    text_vprintf(&text, pattern, args);
    va_end(args);
    return text.data;
}

void text_quote(struct text *self, const char *value)
{
    text_puts(self, "\"");
    for (; *value != '\0'; value++) {
        unsigned char c = (unsigned char)*value;
        if (c == '"' || c == '\\') {
            text_printf(self, "\\%c", c);
        } else if (c == '\n') {
            text_puts(self, "\\n");
        } else if (c == '\t') {
            text_puts(self, "\\t");
        } else if (c >= 0x20) {
            text_add(self, value, 1);
        }
    }
    text_puts(self, "\"");
}

void fault(struct model *model,
           const struct file *file,
           const char *name,
           const char *pattern,
           ...)
{
    va_list args;
    va_start(args, pattern);
    text_printf(&model->errors,
                "%s%s: %s: ", model->errors.size > 0 ? "\n" : "",
                file->proto->name, name);
    text_vprintf(&model->errors, pattern, args);
    va_end(args);
}

const struct field *field_find(const struct message *message, const char *name)
{
    for (size_t i = 0; message != NULL && i < message->field_count; i++) {
        if (equal(message->fields[i].name, name)) {
            return &message->fields[i];
        }
    }
    return NULL;
}

int field_index(const struct message *message, const char *name)
{
    const struct field *field = field_find(message, name);
    return field != NULL ? (int)(field - message->fields) : -1;
}

bool path_next(const char **at, char *name, size_t size)
{
    const char *open = strchr(*at, '{');
    const char *close = open != NULL ? strchr(open, '}') : NULL;
    if (close == NULL || (size_t)(close - open) > size) {
        return false;
    }
    size_t length = (size_t)(close - open) - 1;
    memcpy(name, open + 1, length);
    name[length] = '\0';
    *at = close + 1;
    return true;
}

bool is_path_field(const struct method *method, const char *name)
{
    const char *at = method->http.path;
    char part[128];
    while (at != NULL && path_next(&at, part, sizeof(part))) {
        if (equal(part, name)) {
            return true;
        }
    }
    return false;
}

static Request *request_read(void)
{
    struct text input = { 0 };
    char piece[65536];
    size_t size;
    while ((size = fread(piece, 1, sizeof(piece), stdin)) > 0) {
        text_add(&input, piece, size);
    }
    Request *request =
        input.size == 0
            ? NULL
            : google__protobuf__compiler__code_generator_request__unpack(
                  NULL, input.size, (const uint8_t *)input.data);
    free(input.data);
    return request;
}

static void response_add(Response *response, char *name, struct text *content)
{
    Google__Protobuf__Compiler__CodeGeneratorResponse__File *file =
        allocate(1, sizeof(*file));
    google__protobuf__compiler__code_generator_response__file__init(file);
    file->name = name;
    file->content = content->data;
    response->file[response->n_file++] = file;
}

static void response_fill(struct model *model, Response *response)
{
    response->file = allocate(model->file_count * 6 + 3, sizeof(void *));
    for (size_t i = 0; i < model->file_count; i++) {
        const struct file *file = &model->files[i];
        if (!file->wanted) {
            continue;
        }
        struct text header = { 0 };
        struct text source = { 0 };
        emit_shapes(model, file, &header, &source);
        response_add(response, format("cairn/%s.cairn.h", file->stem), &header);
        response_add(response, format("cairn/%s.cairn.c", file->stem), &source);
        header = (struct text){ 0 };
        source = (struct text){ 0 };
        emit_resources(model, file, &header, &source);
        response_add(response, format("cairn/%s.resources.h", file->stem),
                     &header);
        response_add(response, format("cairn/%s.resources.c", file->stem),
                     &source);
        /* Events and Audit are served by common/ itself, for every service. */
        if (file->service_count > 0 && !equal(file->stem, "events") &&
            !equal(file->stem, "audit")) {
            header = (struct text){ 0 };
            source = (struct text){ 0 };
            emit_handlers(model, file, &header, &source);
            response_add(response, format("cairn/%s.handlers.h", file->stem),
                         &header);
            response_add(response, format("cairn/%s.handlers.c", file->stem),
                         &source);
        }
    }
    struct text openapi = { 0 };
    struct text header = { 0 };
    struct text source = { 0 };
    emit_openapi(model, &openapi);
    emit_routes(model, openapi.data, &header, &source);
    response_add(response, format("openapi.json"), &openapi);
    response_add(response, format("cairn/routes.h"), &header);
    response_add(response, format("cairn/routes.c"), &source);
}

int main(void)
{
    const Request *request = request_read();
    if (request == NULL) {
        (void)fputs("protoc-gen-cairn: run me through protoc\n", stderr);
        return EXIT_FAILURE;
    }
    struct model model = { 0 };
    Response response =
        GOOGLE__PROTOBUF__COMPILER__CODE_GENERATOR_RESPONSE__INIT;
    model_read(&model, request);
    model_check(&model);
    if (model.errors.size == 0) {
        check_openapi(&model);
    }
    if (model.errors.size > 0) {
        response.error = model.errors.data;
    } else {
        response_fill(&model, &response);
    }
    if (model.errors.size > 0) {
        response.error = model.errors.data;
        response.n_file = 0;
    }
    size_t size =
        google__protobuf__compiler__code_generator_response__get_packed_size(
            &response);
    uint8_t *packed = allocate(size, 1);
    (void)google__protobuf__compiler__code_generator_response__pack(&response,
                                                                    packed);
    bool written = fwrite(packed, 1, size, stdout) == size;
    free(packed);
    return written && fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
