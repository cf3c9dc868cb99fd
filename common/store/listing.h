/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of records, by a table that the plugin makes of the rpc
 * (contract/resource.h): one statement for each way in, so that each has its
 * index; what no index leads to has the slow lane. */
#ifndef CN_LISTING_H
#define CN_LISTING_H

#include "common/store/page.h"
#include "common/store/record.h"

/* The handler of a generated list. */
void cn_list(struct cn_op *op, const struct cn_listing *listing);
/* The same in two steps, for a handler by hand: the page that the request asks
 * for (one row more than it shows when there is another page), and the answer
 * with its audit row. */
struct cn_records cn_list_read(struct cn_op *op,
                               const struct cn_listing *listing,
                               struct cn_page *ret_page);
/* Rows of a list that is in the order of changes: their place is when they last
 * changed. */
struct cn_records cn_records_of_changes(struct cn_op *op,
                                        const struct cn_resource *resource,
                                        const struct cn_rows *rows);
void cn_list_answer(struct cn_op *op,
                    const struct cn_page *page,
                    struct cn_records records,
                    const char *action,
                    const char *resource);

#endif
