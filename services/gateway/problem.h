/* SPDX-License-Identifier: Apache-2.0 */
/* Errors as application/problem+json (RFC 9457), and the pages that their types
 * point to. */
#ifndef GATEWAY_PROBLEM_H
#define GATEWAY_PROBLEM_H

#include "common/base/err.h"
#include "common/wire/json.h"

/* Word of a 404 for a path that does not exist. */
#define PROBLEM_NO_PATH "no_such_path"

/* The status of the answer to err. */
unsigned problem_status(const struct cn_err *err);
/* base is "http://host", without a slash. A record that does not exist and one
 * of another agency have the same body, without the service's words. The body
 * of an internal error has none of them either. */
void problem_write(struct cn_buffer *body,
                   const struct cn_err *err,
                   const char *base,
                   const char *request_id);
/* GET /problems: all kinds, as JSON. */
void problem_list(struct cn_buffer *body, const char *base);
/* GET /problems/{word}: cause and cure as text. False: there is none. */
CN_CHECKED bool problem_page(struct cn_buffer *body, const char *word);

#endif
