/* SPDX-License-Identifier: Apache-2.0 */
/* Settings from the environment (CAIRN_*). A secret X may come from the file
 * named by X_FILE. An unknown CAIRN_* or a bad value stops the start with one
 * clear line per fault. */
#ifndef CN_CONFIG_H
#define CN_CONFIG_H

#include "common/base/err.h"

#include <stddef.h>

enum cn_option_kind { CN_OPTION_TEXT, CN_OPTION_NUMBER, CN_OPTION_SECRET };

/* One setting. fallback NULL means that it must be given. */
struct cn_option {
    const char *name;
    enum cn_option_kind kind;
    const char *fallback;
    long min; /* numbers only */
    long max;
    /* May be NULL. Returns NULL for a good text, else what it must be: "must be
     * host:port". The answer never quotes the text. */
    const char *(*check)(const char *text);
    const char *what; /* for --help, a sentence */
};

struct cn_config;

/* Reads all options. On faults prints them to stderr and returns NULL. Accepts
 * the flags --help, --check-config and --print-config (then *ret_done is true
 * and main returns 0 for a result that is not NULL, else 1). What is printed
 * holds no secret. */
struct cn_config *cn_config_read(const char *program,
                                 const struct cn_option *options,
                                 size_t count,
                                 int argc,
                                 char **argv,
                                 bool *ret_done);
/* Also wipes the secrets. NULL is accepted. */
void cn_config_free(struct cn_config *self);
/* The name must be one of the options: anything else is a bug and aborts. */
const char *cn_config_text(const struct cn_config *self, const char *name);
long cn_config_number(const struct cn_config *self, const char *name);

/* A decimal number from min to max, else false. No other parser is used. */
CN_CHECKED bool
cn_parse_number(const char *text, long min, long max, long *ret_number);

#endif
