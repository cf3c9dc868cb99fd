/* SPDX-License-Identifier: Apache-2.0 */
/* JSON lines to stdout. Only ids, codes, names of ours and numbers go in: never
 * a value that a client or the database sent. */
#ifndef CN_LOG_H
#define CN_LOG_H

#include "common/base/err.h"

#include <stdint.h>

enum cn_log_level { CN_LOG_DEBUG, CN_LOG_INFO, CN_LOG_WARN, CN_LOG_ERROR };

/* Reads "debug", "info", "warn" or "error"; false for any other word. */
CN_CHECKED bool cn_log_level_read(const char *word,
                                  enum cn_log_level *ret_level);
/* Sets the service's name for every line, and the lowest level written. */
void cn_log_init(const char *service, enum cn_log_level level);
/* {"ts":...,"level":...,"svc":...,"msg":...}; msg is escaped. */
void cn_log(enum cn_log_level level, const char *format, ...) CN_PRINTF(2, 3);
/* The one line of a finished unit of work. id and tenant may be NULL. */
void cn_log_request(const char *request_id,
                    const char *tenant,
                    const char *method,
                    const struct cn_err *err,
                    int64_t elapsed_us);
/* Writes the lines that cn_log_request has gathered. The loop calls it before
 * it waits. */
void cn_log_flush(void);

#endif
