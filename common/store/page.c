/* SPDX-License-Identifier: Apache-2.0 */
#include "common/store/page.h"

#include "common/wire/json.h"
#include "common/wire/message.h"

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

void cn_filter_text(struct cn_filter *self, const char *name, const char *text)
{
    if (text != NULL) {
        s_filter_add(self, cn_arena_printf(self->request->arena, "%s=%zu:%s",
                                           name, strlen(text), text));
    }
}

int64_t cn_filter_at(struct cn_filter *self, bool has, int64_t at)
{
    if (has) {
        s_filter_add(self, cn_arena_printf(self->request->arena, "since=%lld",
                                           (long long)at));
    }
    return has ? at : 0;
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

static bool
s_word_listed(const char *const *words, size_t count, const char *word)
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
        if (word != NULL && !s_word_listed(words, known, word)) {
            words[known++] = word;
        }
    }
    /* The end of this list, so that two lists do not flow into each other. */
    s_filter_add(self, ";");
    self->nothing = self->nothing || (count > 0 && known == 0);
    return cn_texts(known > 0 ? words : NULL, known);
}

/* ---- pages ---- */

/* Where the message of a list keeps a field; every request and every reply of a
 * list has it. */
static void *
s_member(const ProtobufCMessage *message, const char *name, bool quantifier)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(message->descriptor,
                                                        name);
    assert(field != NULL);
    return (char *)(uintptr_t)message +
           (quantifier ? field->quantifier_offset : field->offset);
}

struct cn_page cn_page_open(struct cn_op *op, const char *filters)
{
    const void *body = op->request->body;
    const protobuf_c_boolean *has_limit = s_member(body, "limit", true);
    const int32_t *limit = s_member(body, "limit", false);
    const char *const *cursor = s_member(body, "cursor", false);
    struct cn_page page = { .filters = filters };
    if (!cn_failed(op) &&
        cn_page_limit(*has_limit, *limit, &page.limit, op->err) == CN_OK &&
        *cursor != NULL) {
        (void)!cn_cursor_read(op->request, filters, *cursor, &page.after,
                              op->err);
    }
    return page;
}

static void s_list_fill(ProtobufCMessage *list,
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

void cn_page_answer(struct cn_op *op,
                    const struct cn_page *page,
                    const struct cn_page_row *rows,
                    size_t rows_read,
                    const char *action,
                    const char *resource)
{
    if (cn_failed(op)) {
        return;
    }
    const bool more = rows_read > (size_t)page->limit;
    const size_t count = more ? (size_t)page->limit : rows_read;
    ProtobufCMessage *list =
        cn_message_new(op->arena, op->request->method->output->descriptor);
    const ProtobufCMessage **data =
        cn_arena_array(op->arena, count + 1, sizeof(void *));
    struct cn_uuid *patients =
        cn_arena_array(op->arena, count + 1, sizeof(*patients));
    for (size_t i = 0; i < count; i++) {
        data[i] = rows[i].shown;
        patients[i] = rows[i].patient_id;
    }
    s_list_fill(list, data, count,
                more ? cn_cursor_write(op->request, page->filters,
                                       rows[count - 1].place)
                     : NULL);
    op->reply->body = list;
    if (action != NULL && (count > 0 || resource != NULL)) {
        cn_audit_shown(op, action, resource, patients, count);
    }
}
