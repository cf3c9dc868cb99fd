/* SPDX-License-Identifier: Apache-2.0 */
/* Filling and reading the error record. */
#define CN_ERR_ITSELF
#include "common/base/err.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct code_row {
    const char *word;
    const char *title;
    unsigned status;
    bool retryable;
};

static const struct code_row s_codes[CN_CODE_COUNT] = {
#define X(code, code_word, code_status, code_retryable, code_title)            \
    [code] = { code_word, code_title, code_status, code_retryable },
    CN_CODES(X)
#undef X
};

static const struct code_row *s_row(enum cn_code code)
{
    assert((unsigned)code < CN_CODE_COUNT);
    return &s_codes[code];
}

const char *cn_code_word(enum cn_code code)
{
    return s_row(code)->word;
}

const char *cn_code_title(enum cn_code code)
{
    return s_row(code)->title;
}

unsigned cn_code_status(enum cn_code code)
{
    return s_row(code)->status;
}

bool cn_code_retryable(enum cn_code code)
{
    return s_row(code)->retryable;
}

static _Thread_local const char *s_file;
static _Thread_local int s_line;

void cn_fail_here(const char *file, int line)
{
    s_file = file;
    s_line = line;
}

/* Cuts at size_max; a cut text is better than none. */
static void s_copy(char *to, size_t size_max, const char *from)
{
    size_t size = strnlen(from, size_max - 1);
    memmove(to, from, size);
    to[size] = '\0';
}

/* The arguments may point into err itself, so the text is made beside it. */
static void s_fill(struct cn_err *err,
                   enum cn_code code,
                   const char *word,
                   const char *format,
                   va_list args) __attribute__((format(printf, 4, 0)));
static void s_fill(struct cn_err *err,
                   enum cn_code code,
                   const char *word,
                   const char *format,
                   va_list args)
{
    char msg[CN_ERR_MSG_MAX] = "";
    char kept_word[CN_ERR_WORD_MAX] = "";
    (void)vsnprintf(msg, sizeof msg, format, args);
    s_copy(kept_word, sizeof kept_word, word);
    cn_err_clear(err);
    err->code = code;
    err->file = s_file;
    err->line = s_line;
    memcpy(err->word, kept_word, sizeof kept_word);
    memcpy(err->msg, msg, sizeof msg);
}

enum cn_code
cn_fail(struct cn_err *err, enum cn_code code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    s_fill(err, code, cn_code_word(code), format, args);
    va_end(args);
    return code;
}

enum cn_code cn_fail_as(struct cn_err *err,
                        enum cn_code code,
                        const char *word,
                        const char *format,
                        ...)
{
    va_list args;
    va_start(args, format);
    s_fill(err, code, word, format, args);
    va_end(args);
    return code;
}

enum cn_code cn_fail_field(struct cn_err *err,
                           const char *pointer,
                           const char *word,
                           const char *format,
                           ...)
{
    struct cn_field_err field = { 0 };
    va_list args;
    va_start(args, format);
    (void)vsnprintf(field.msg, sizeof field.msg, format, args);
    va_end(args);
    s_copy(field.pointer, sizeof field.pointer, pointer);
    s_copy(field.word, sizeof field.word, word);
    if (err->code != CN_INVALID || err->field_count == 0) {
        /* The pointer may hold a name that the client made up: it stays out of
         * msg, which is logged. */
        (void)cn_fail(err, CN_INVALID, "%s", cn_code_title(CN_INVALID));
    }
    if (err->field_count < CN_ERR_FIELDS_MAX) {
        err->fields[err->field_count++] = field;
    }
    return CN_INVALID;
}

enum cn_code cn_wrap(struct cn_err *err, const char *what)
{
    char msg[CN_ERR_MSG_MAX] = "";
    s_copy(msg, sizeof msg, err->msg);
    int size = snprintf(err->msg, sizeof err->msg, "%s: ", what);
    if (size > 0 && (size_t)size < sizeof err->msg) {
        s_copy(err->msg + size, sizeof err->msg - (size_t)size, msg);
    }
    return err->code;
}

void cn_err_clear(struct cn_err *err)
{
    memset(err, 0, sizeof *err);
}

enum cn_code
cn_fail_stale(struct cn_err *err, const char *what, long long version)
{
    (void)cn_fail(err, CN_STALE, "the %s changed since it was read", what);
    err->version = version;
    return CN_STALE;
}
