/* SPDX-License-Identifier: Apache-2.0 */
/* Values on PostgreSQL's wire: parameters as libpq takes them, and the binary
 * forms of results. Only common/db/ uses it. */
#ifndef CN_DB_VALUE_H
#define CN_DB_VALUE_H

#include "common/db/db.h"

#include <libpq-fe.h>

/* The rows of one statement; result is NULL when there are none. */
struct cn_rows {
    PGresult *result;
    const char *statement; /* for the message of an abort */
};

enum { CN_DB_SCRATCH = 24 }; /* digits of an int64 and NUL */

/* The parameters of one statement, laid out as PQsendQueryPrepared wants them.
 * Big values are borrowed from the params, small ones lie in scratch, arrays
 * are owned. */
struct cn_db_values {
    const char *data[CN_DB_PARAMS_MAX];
    int size[CN_DB_PARAMS_MAX];
    int format[CN_DB_PARAMS_MAX];
    char scratch[CN_DB_PARAMS_MAX][CN_DB_SCRATCH];
    void *owned[CN_DB_PARAMS_MAX];
    int count;
    int owned_count;
};

/* False without memory or when a value is too large for the wire. Call done
 * after it in either case. */
CN_CHECKED bool cn_db_values_init(struct cn_db_values *self,
                                  const struct cn_param *params,
                                  size_t count);
void cn_db_values_done(struct cn_db_values *self);

/* Big-endian integers and timestamptz. */
int16_t cn_db_int16(const char *data);
int32_t cn_db_int32(const char *data);
int64_t cn_db_int64(const char *data);
int64_t cn_db_at(const char *data);
/* Elements of a one-dimensional binary array; false when it is malformed. Each
 * call of visit gets one element, data NULL for a NULL. */
CN_CHECKED bool
cn_db_array(const char *data,
            size_t size,
            void (*visit)(void *arg, const char *data, size_t size),
            void *arg,
            size_t *ret_count);

#endif
