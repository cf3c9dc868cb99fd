/* SPDX-License-Identifier: Apache-2.0 */
#include "common/store/page.h"
#include "common/wire/message.h"

#include "common/store/audit.h"
#include "common/store/reply.h"
#include "common/wire/json.h"

#include <assert.h>
#include <string.h>

void cn_filter_begin(struct cn_filter *self,
                     const struct cn_request *request,
                     const char *list)
{
    *self = (struct cn_filter){ .request = request, .text = list };
}

static void s_filter_add(struct cn_filter *self, const char *word)
{
    const char *text = cn_arena_printf(self->request->arena, "%s|%s",
                                       self->text, word != NULL ? word : "");
    self->text = text;
}

struct cn_uuid
cn_filter_id(struct cn_filter *self, const char *prefix, const char *id)
{
    struct cn_uuid uuid = { { 0 } };
    s_filter_add(self, id);
    if (id != NULL && !cn_id_parse(prefix, id, &uuid)) {
        self->nothing = true;
    }
    return uuid;
}

static bool s_listed(const char *const *words, size_t count, const char *word)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(words[i], word) == 0) {
            return true;
        }
    }
    return false;
}

struct cn_param cn_filter_words(struct cn_filter *self,
                                const ProtobufCEnumDescriptor *descriptor,
                                const void *values,
                                size_t count)
{
    const char **words =
        cn_arena_array(self->request->arena, count + 1, sizeof(*words));
    size_t known = 0;
    for (size_t i = 0; i < count; i++) {
        int value;
        memcpy(&value, (const char *)values + i * sizeof(value), sizeof(value));
        const char *word = cn_enum_word(descriptor, value);
        s_filter_add(self, word);
        if (word != NULL && !s_listed(words, known, word)) {
            words[known++] = word;
        }
    }
    /* The end of this list, so that two lists do not flow into each other. */
    s_filter_add(self, ";");
    self->nothing = self->nothing || (count > 0 && known == 0);
    return cn_texts(known > 0 ? words : NULL, known);
}

enum cn_code cn_filter_end(const struct cn_filter *self, struct cn_err *err)
{
    return self->nothing ? cn_fail(err, CN_NOT_FOUND, "no such id") : CN_OK;
}

enum cn_code cn_page_open(const struct cn_request *request,
                          const char *filters,
                          bool has_limit,
                          int32_t limit,
                          const char *cursor,
                          struct cn_page *ret_page,
                          struct cn_err *err)
{
    struct cn_page page = { .filters = filters };
    enum cn_code rc = cn_page_limit(has_limit, limit, &page.limit, err);
    if (rc == CN_OK && cursor != NULL) {
        rc = cn_cursor_read(request, filters, cursor, &page.after, err);
    }
    if (rc == CN_OK) {
        *ret_page = page;
    }
    return rc;
}

size_t cn_page_count(const struct cn_page *page, size_t rows_read)
{
    size_t limit = (size_t)page->limit;
    return rows_read > limit ? limit : rows_read;
}

enum cn_code cn_page_next(const struct cn_request *request,
                          const struct cn_page *page,
                          size_t rows_read,
                          struct cn_cursor last,
                          const char **ret_cursor,
                          struct cn_err *err)
{
    const char *cursor = NULL;
    (void)err;
    if (rows_read > (size_t)page->limit) {
        cursor = cn_cursor_write(request, page->filters, last);
    }
    *ret_cursor = cursor;
    return CN_OK;
}

/* Where the reply keeps a field; every list has it. */
static void *
s_member(ProtobufCMessage *reply, const char *name, bool quantifier)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(reply->descriptor,
                                                        name);
    assert(field != NULL);
    return (char *)reply +
           (quantifier ? field->quantifier_offset : field->offset);
}

static void s_put(ProtobufCMessage *list,
                  const ProtobufCMessage **data,
                  size_t count,
                  const char *next_cursor)
{
    const protobuf_c_boolean more = next_cursor != NULL;
    const protobuf_c_boolean has = 1;
    memcpy(s_member(list, "data", false), &data, sizeof(data));
    memcpy(s_member(list, "data", true), &count, sizeof(count));
    memcpy(s_member(list, "next_cursor", false), &next_cursor,
           sizeof(next_cursor));
    memcpy(s_member(list, "has_more", false), &more, sizeof(more));
    memcpy(s_member(list, "has_more", true), &has, sizeof(has));
}

enum cn_code cn_page_answer(const struct cn_request *request,
                            struct cn_reply *reply,
                            const struct cn_page *page,
                            const struct cn_page_row *rows,
                            size_t rows_read,
                            const char *action,
                            const char *resource,
                            struct cn_err *err)
{
    struct cn_arena *arena = request->arena;
    size_t count = cn_page_count(page, rows_read);
    ProtobufCMessage *list =
        cn_message_new(arena, request->method->output->descriptor);
    const ProtobufCMessage **data =
        cn_arena_array(arena, count + 1, sizeof(void *));
    struct cn_uuid *patients =
        cn_arena_array(arena, count + 1, sizeof(*patients));
    const char *next_cursor = NULL;
    struct cn_cursor last = { 0 };
    for (size_t i = 0; i < count; i++) {
        data[i] = rows[i].shown;
        patients[i] = rows[i].patient_id;
        last = rows[i].place;
    }
    enum cn_code rc =
        cn_page_next(request, page, rows_read, last, &next_cursor, err);
    if (rc != CN_OK) {
        return rc;
    }
    s_put(list, data, count, next_cursor);
    reply->body = list;
    if (action == NULL || (count == 0 && resource == NULL)) {
        return CN_OK;
    }
    rc = cn_reply_pack(request, reply, err);
    return rc == CN_OK
               ? cn_audit_read(request, action, resource, patients, count, err)
               : rc;
}
