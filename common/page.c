/* SPDX-License-Identifier: Apache-2.0 */
#include "common/page.h"

#include "common/json.h"

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
    if (text == NULL) {
        self->failed = true;
        return;
    }
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
    if (words == NULL) {
        self->failed = true;
        return cn_texts(NULL, 0);
    }
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
    if (self->failed) {
        return cn_fail(err, CN_NOMEM, "filter a list");
    }
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
    if (rows_read > (size_t)page->limit) {
        cursor = cn_cursor_write(request, page->filters, last);
        if (cursor == NULL) {
            return cn_fail(err, CN_NOMEM, "write a cursor");
        }
    }
    *ret_cursor = cursor;
    return CN_OK;
}
