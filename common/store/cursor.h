/* SPDX-License-Identifier: Apache-2.0 */
/* Keyset cursors: base64url(sort key | id | MAC). The MAC also covers the
 * tenant and the filters, so that a cursor that was tampered with or is used
 * with other filters or by another tenant is refused. */
#ifndef CN_CURSOR_H
#define CN_CURSOR_H

#include "common/base/err.h"
#include "common/base/id.h"
#include "common/contract/service.h"

enum { CN_PAGE_DEFAULT = 50, CN_PAGE_MAX = 200 };

struct cn_cursor {
    int64_t key; /* sort key: an instant or a number */
    struct cn_uuid id;
};

/* 1..200, 50 when absent; else CN_INVALID /limit. */
CN_CHECKED enum cn_code
cn_page_limit(bool has, int32_t wanted, int *ret_limit, struct cn_err *err);
/* filters is any text that names the list and its filters. */
const char *cn_cursor_write(const struct cn_request *request,
                            const char *filters,
                            struct cn_cursor cursor);
/* CN_MALFORMED invalid_cursor. */
CN_CHECKED enum cn_code cn_cursor_read(const struct cn_request *request,
                                       const char *filters,
                                       const char *text,
                                       struct cn_cursor *ret_cursor,
                                       struct cn_err *err);

#endif
