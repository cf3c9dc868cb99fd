/* SPDX-License-Identifier: Apache-2.0 */
/* What every list handler shares: filters, limit, cursor. */
#ifndef CN_PAGE_H
#define CN_PAGE_H

#include "common/db/db.h"
#include "common/store/cursor.h"
#include "common/store/step.h"

/* The filters of a list, gathered into the text that its cursors are bound to:
 * begin, then one call for each filter. */
struct cn_filter {
    const struct cn_request *request;
    const char *text;
    bool nothing; /* an id of another form: no row can match */
};
void cn_filter_begin(struct cn_filter *self,
                     const struct cn_request *request,
                     const char *list);
/* An optional id; absent is nil. */
struct cn_uuid
cn_filter_id(struct cn_filter *self, const char *prefix, const char *id);
/* The words of enum values (an array of the message's enum type), each once, as
 * text[] for
 * `($n::text[] IS NULL OR state = ANY ($n))`: NULL when there are none. */
struct cn_param cn_filter_words(struct cn_filter *self,
                                const ProtobufCEnumDescriptor *descriptor,
                                const void *values,
                                size_t count);
/* Any other text that narrows the list; NULL: it is not given. */
void cn_filter_text(struct cn_filter *self, const char *name, const char *text);
/* An optional instant (updated_since); 0 when it is absent. */
int64_t cn_filter_at(struct cn_filter *self, bool has, int64_t at);
/* A page being read. The statement is asked for limit + 1 rows after `after`.
 */
struct cn_page {
    const char *filters; /* names the list and its filters */
    struct cn_cursor after;
    int limit;
};

/* The page that the request asks for by its fields limit and cursor. filters
 * names the list and its filters: its cursors are bound to them. */
struct cn_page cn_page_open(struct cn_op *op, const char *filters);

/* One row of a list, as it is shown. */
struct cn_page_row {
    const ProtobufCMessage *shown;
    struct cn_uuid patient_id; /* of whom it tells, for the audit */
    struct cn_cursor place;    /* in the order of the list */
};
/* Answers a list: the rows of the page (rows_read of them were read), the
 * cursor of the next, the audit row (none without an action, and none when
 * nothing is shown and no resource is named). The method's reply is a message
 * of data, next_cursor and has_more. */
void cn_page_answer(struct cn_op *op,
                    const struct cn_page *page,
                    const struct cn_page_row *rows,
                    size_t rows_read,
                    const char *action,
                    const char *resource);

#endif
