/* SPDX-License-Identifier: Apache-2.0 */
#include "services/referrals/warning.h"

#include "common/wire/message.h"

#include <string.h>

const char *text_cut(struct cn_arena *arena, const char *text, size_t max)
{
    if (text == NULL || strlen(text) <= max) {
        return text;
    }
    while (max > 0 && ((unsigned char)text[max] & 0xC0) == 0x80) {
        max--;
    }
    return cn_arena_strndup(arena, text, max);
}

bool referral_warned(const Ref__Referral *referral, const char *code)
{
    for (size_t i = 0; i < referral->n_warnings; i++) {
        if (strcmp(referral->warnings[i], code) == 0) {
            return true;
        }
    }
    return false;
}

void referral_warn(struct cn_arena *arena,
                   Ref__Referral *referral,
                   const char *code)
{
    size_t count = referral->n_warnings;
    if (referral_warned(referral, code)) {
        return;
    }
    const char **warnings = cn_arena_array(arena, count + 1, sizeof(*warnings));
    for (size_t i = 0; i < count; i++) {
        warnings[i] = referral->warnings[i];
    }
    warnings[count] = code;
    referral->warnings = warnings;
    referral->n_warnings = count + 1;
}

static bool s_same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool s_same_occasion(const Ref__Referral__WarningDetail *a,
                            const Ref__Referral__WarningDetail *b)
{
    return s_same_text(a->code, b->code) && s_same_text(a->field, b->field) &&
           s_same_text(a->sent, b->sent) && s_same_text(a->kept, b->kept) &&
           s_same_text(a->patient_id, b->patient_id) &&
           s_same_text(a->referral_id, b->referral_id);
}

void referral_warn_of(struct cn_arena *arena,
                      Ref__Referral *referral,
                      const struct warning *warning)
{
    size_t count = referral->n_warning_details;
    Ref__Referral__WarningDetail *detail = CN_NEW(
        arena, ref__referral__warning_detail, Ref__Referral__WarningDetail);
    referral_warn(arena, referral, warning->code);
    detail->code = warning->code;
    detail->field = warning->field;
    detail->sent = text_cut(arena, warning->sent, WARNING_SENT_MAX);
    detail->kept = text_cut(arena, warning->kept, WARNING_SENT_MAX);
    detail->patient_id = warning->patient_id;
    detail->referral_id = warning->referral_id;
    detail->source = warning->source;
    if (warning->at != 0) {
        CN_SET(detail, at, warning->at);
    }
    for (size_t i = 0; i < count; i++) {
        if (s_same_occasion(referral->warning_details[i], detail)) {
            return;
        }
    }
    if (count >= WARNING_DETAILS_MAX) {
        return;
    }
    Ref__Referral__WarningDetail **details =
        cn_arena_array(arena, count + 1, sizeof(void *));
    for (size_t i = 0; i < count; i++) {
        details[i] = referral->warning_details[i];
    }
    details[count] = detail;
    referral->warning_details = details;
    referral->n_warning_details = count + 1;
}

void referral_unwarn(struct cn_arena *arena,
                     Ref__Referral *referral,
                     const char *beginning)
{
    size_t size = strlen(beginning);
    const char **codes =
        cn_arena_array(arena, referral->n_warnings, sizeof(*codes));
    Ref__Referral__WarningDetail **details =
        cn_arena_array(arena, referral->n_warning_details, sizeof(void *));
    size_t code_count = 0;
    size_t detail_count = 0;
    for (size_t i = 0; i < referral->n_warnings; i++) {
        if (strncmp(referral->warnings[i], beginning, size) != 0) {
            codes[code_count++] = referral->warnings[i];
        }
    }
    for (size_t i = 0; i < referral->n_warning_details; i++) {
        if (strncmp(referral->warning_details[i]->code, beginning, size) != 0) {
            details[detail_count++] = referral->warning_details[i];
        }
    }
    referral->warnings = codes;
    referral->n_warnings = code_count;
    referral->warning_details = details;
    referral->n_warning_details = detail_count;
}
