/* SPDX-License-Identifier: Apache-2.0 */
/* Warnings of a referral: what was sent and could not be kept as it came, and
 * what a person must look at. A code stands once in `warnings`; each occasion
 * is one of `warning_details`. Their words are listed in the README of the
 * service. */
#ifndef REFERRALS_WARNING_H
#define REFERRALS_WARNING_H

#include "cairn/referrals.pb-c.h"
#include "common/base/arena.h"

#include <stdint.h>

enum {
    WARNING_DETAILS_MAX = 60, /* of one referral; later ones are codes alone */
    WARNING_SENT_MAX = 500    /* bytes of a text that was sent */
};

/* One occasion. Texts may be NULL; they live as long as the referral. */
struct warning {
    const char *code;
    const char *field;       /* where it stands: "PID-7", "patient.email" */
    const char *sent;        /* what was sent; shortened to WARNING_SENT_MAX */
    const char *kept;        /* what is here instead */
    const char *patient_id;  /* another patient that it is about */
    const char *referral_id; /* another referral that it is about */
    const char *source;      /* who sent it */
    int64_t at;              /* when; 0: not said */
};

/* Adds the code unless it is there. */
void referral_warn(struct cn_arena *arena,
                   Ref__Referral *referral,
                   const char *code);
/* Adds the code and the occasion, unless the same one is there. */
void referral_warn_of(struct cn_arena *arena,
                      Ref__Referral *referral,
                      const struct warning *warning);
/* Is the code among the warnings? */
bool referral_warned(const Ref__Referral *referral, const char *code);
/* Takes the codes that begin so away, with their occasions: what they told is
 * settled. */
void referral_unwarn(struct cn_arena *arena,
                     Ref__Referral *referral,
                     const char *beginning);

/* The text cut to max bytes, never inside a UTF-8 character. */
const char *text_cut(struct cn_arena *arena, const char *text, size_t max);

#endif
