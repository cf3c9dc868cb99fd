/* SPDX-License-Identifier: Apache-2.0 */
#define CN_ERR_ITSELF
#include "common/contract/op.h"

#include <stdarg.h>
#include <stdio.h>

#undef cn_refuse
#undef cn_refuse_field
#undef cn_refuse_guard

bool cn_failed(const struct cn_op *op)
{
    return op->err->code != CN_OK || cn_arena_failed(op->arena);
}

void cn_refuse(struct cn_op *op,
               enum cn_code code,
               const char *word,
               const char *format,
               ...)
{
    char msg[CN_ERR_MSG_MAX];
    va_list args;
    if (cn_failed(op)) {
        return;
    }
    va_start(args, format);
    (void)vsnprintf(msg, sizeof(msg), format, args);
    va_end(args);
    (void)cn_fail_as(op->err, code, word != NULL ? word : cn_code_word(code),
                     "%s", msg);
}

void cn_refuse_field(struct cn_op *op,
                     const char *pointer,
                     const char *word,
                     const char *format,
                     ...)
{
    char msg[CN_ERR_MSG_MAX];
    va_list args;
    if (cn_arena_failed(op->arena) ||
        (op->err->code != CN_OK && op->err->field_count == 0)) {
        return;
    }
    va_start(args, format);
    (void)vsnprintf(msg, sizeof(msg), format, args);
    va_end(args);
    (void)cn_fail_field(op->err, pointer, word, "%s", msg);
}

void cn_refuse_guard(struct cn_op *op,
                     const char *guard,
                     const char *pointer,
                     const char *why)
{
    if (cn_failed(op)) {
        return;
    }
    cn_refuse(op, CN_CONFLICT, "guard_failed", "guard %s failed: %s", guard,
              why);
    struct cn_field_err *field = &op->err->fields[0];
    (void)snprintf(field->pointer, sizeof(field->pointer), "%s", pointer);
    (void)snprintf(field->word, sizeof(field->word), "%s", guard);
    (void)snprintf(field->msg, sizeof(field->msg), "%s", why);
    op->err->field_count = 1;
}

void cn_forgive(struct cn_op *op)
{
    cn_err_clear(op->err);
}
