/* SPDX-License-Identifier: Apache-2.0 */
/* JSON lines to stdout. Only ids, codes, names of ours and numbers go in: never
 * a value that a client or the database sent. */
#ifndef CN_LOG_H
#define CN_LOG_H

#include "common/base/err.h"
#include "common/base/id.h"

#include <stdint.h>

enum cn_log_level { CN_LOG_DEBUG, CN_LOG_INFO, CN_LOG_WARN, CN_LOG_ERROR };

/* Reads "debug", "info", "warn" or "error"; false for any other word. */
CN_CHECKED bool cn_log_level_read(const char *word,
                                  enum cn_log_level *ret_level);
/* Sets the service's name for every line, and the lowest level written. */
void cn_log_init(const char *service, enum cn_log_level level);
/* {"ts":...,"level":...,"svc":...,"msg":...}; msg is escaped. */
void cn_log(enum cn_log_level level, const char *format, ...) CN_PRINTF(2, 3);
/* The one line of a finished unit of work. request_id may be NULL, tenant_id
 * nil; the tenant stands in the line as the API has it ("agc_..."). */
void cn_log_request(const char *request_id,
                    struct cn_uuid tenant_id,
                    const char *method,
                    const struct cn_err *err,
                    int64_t elapsed_us);
/* What the line of an answer over HTTP has besides: all of it words of ours,
 * but for the address, which is one. */
struct cn_log_http {
    const char *address; /* of the client, "192.0.2.7"; NULL: not known */
    const char *verb;    /* "GET" */
    const char *path;    /* its template: "/v1/referrals/{id}" */
    unsigned status;
};
void cn_log_answer(const char *request_id,
                   struct cn_uuid tenant_id,
                   const char *method,
                   const struct cn_err *err,
                   int64_t elapsed_us,
                   const struct cn_log_http *http);
/* Writes the lines that cn_log_request has gathered. The loop calls it before
 * it waits. */
void cn_log_flush(void);

#endif
