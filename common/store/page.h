/* SPDX-License-Identifier: Apache-2.0 */
/* What every list handler shares: filters, limit, cursor. */
#ifndef CN_PAGE_H
#define CN_PAGE_H

#include "common/db/db.h"
#include "common/store/cursor.h"

/* The filters of a list, gathered into the text that its cursors are bound to:
 * begin, then one call for each filter, then end, which looks at the ids. */
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
/* CN_NOT_FOUND when no row can match: an empty page. */
CN_CHECKED enum cn_code cn_filter_end(const struct cn_filter *self,
                                      struct cn_err *err);

/* A page being read. The statement is asked for limit + 1 rows after `after`.
 */
struct cn_page {
    const char *filters; /* names the list and its filters */
    struct cn_cursor after;
    int limit;
};

/* Checks limit and cursor (NULL: the first page). */
CN_CHECKED enum cn_code cn_page_open(const struct cn_request *request,
                                     const char *filters,
                                     bool has_limit,
                                     int32_t limit,
                                     const char *cursor,
                                     struct cn_page *ret_page,
                                     struct cn_err *err);
/* How many of the rows read belong to the page. */
size_t cn_page_count(const struct cn_page *page, size_t rows_read);
/* Cursor of the next page, given the last row of this one; *ret_cursor is NULL
 * when this page is the last. */
CN_CHECKED enum cn_code cn_page_next(const struct cn_request *request,
                                     const struct cn_page *page,
                                     size_t rows_read,
                                     struct cn_cursor last,
                                     const char **ret_cursor,
                                     struct cn_err *err);

/* One row of a list, as it is shown. */
struct cn_page_row {
    const ProtobufCMessage *shown;
    struct cn_uuid patient_id; /* of whom it tells, for the audit */
    struct cn_cursor place;    /* in the order of the list */
};
/* Answers a list: the rows of the page (rows_read of them were read), the
 * cursor of the next, the audit row (none without an action, and none when
 * nothing is shown and no resource is named). The method's reply is a message
 * of data, next_cursor and has_more.
 */
CN_CHECKED enum cn_code cn_page_answer(const struct cn_request *request,
                                       struct cn_reply *reply,
                                       const struct cn_page *page,
                                       const struct cn_page_row *rows,
                                       size_t rows_read,
                                       const char *action,
                                       const char *resource,
                                       struct cn_err *err);

#endif
