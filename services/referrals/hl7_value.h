/* SPDX-License-Identifier: Apache-2.0 */
/* Data types of HL7 v2 (chapter 2A) as texts of the API: names, addresses,
 * telecommunication, identifiers, days, coded words. Senders fill them in many
 * ways. What was sent and is not returned becomes a warning of the referral,
 * with the field and what stood there. */
#ifndef REFERRALS_HL7_VALUE_H
#define REFERRALS_HL7_VALUE_H

#include "common/base/clock.h"
#include "common/hl7/hl7.h"
#include "services/referrals/warning.h"

/* The message while it is read. */
struct hl7_reader {
    const struct cn_hl7 *message;
    struct cn_arena *arena;
    const char *zone; /* of the branch */
    int64_t now_at;
    Ref__Referral *referral; /* takes the warnings */
};

/* A repetition of a field; a segment that the message has not is NULL. */
struct hl7_place {
    const struct cn_hl7_segment *segment;
    int field;
    int repetition;
};

/* Warnings about a place. */
void hl7_not_understood(struct hl7_reader *self, struct hl7_place place);
void hl7_not_kept(struct hl7_reader *self, struct hl7_place place);
void hl7_doubtful(struct hl7_reader *self, struct hl7_place place);

/* The place, repetition 1. */
struct hl7_place hl7_at(const struct cn_hl7_segment *segment, int field);
/* How many repetitions the field has; more than CN_HL7_REPETITIONS_MAX is a
 * warning. */
int hl7_count(struct hl7_reader *self, struct hl7_place place);

/* Texts of a component, of at most max characters; a longer one is shortened,
 * which is a warning. One line, and lines. */
const char *hl7_word(struct hl7_reader *self,
                     struct hl7_place place,
                     int component,
                     size_t max);
const char *hl7_lines(struct hl7_reader *self,
                      struct hl7_place place,
                      int component,
                      size_t max);
/* The text cut to max characters; when it is longer, a warning about place. */
const char *hl7_fit(struct hl7_reader *self,
                    struct hl7_place place,
                    const char *text,
                    size_t max);
/* a, or b when a is absent. */
const char *hl7_either(const char *a, const char *b);
const char *hl7_lower(struct hl7_reader *self, const char *text);
/* Texts that are given, joined by a separator; NULL when none is. */
const char *hl7_join(struct hl7_reader *self,
                     const char *const *parts,
                     size_t count,
                     const char *separator);

/* XPN, PLN: a name as people write it: given, middle, family, suffix. */
const char *hl7_person_name(struct hl7_reader *self, struct hl7_place place);
/* The text when it can name somebody; else NULL and a warning. */
const char *
hl7_name(struct hl7_reader *self, struct hl7_place place, const char *text);
/* The repetition with the legal name (table 0200), else the first that is
 * neither nickname nor alias. The others are a warning. */
struct hl7_place hl7_legal_name(struct hl7_reader *self,
                                struct hl7_place place);
/* FN: the family name, of XPN.1. */
const char *hl7_family_name(struct hl7_reader *self, struct hl7_place place);

/* XAD: the address of the home, else of mailing, else another (table 0190).
 * Never a birthplace, a bad address, an office. NULL when there is none. */
Ref__Patient__Address *hl7_address(struct hl7_reader *self,
                                   struct hl7_place place);

/* XTN and TN: all numbers and e-mails of some fields, in their order and
 * without repeats. */
enum { HL7_TELECOMS_MAX = 32 };
struct hl7_telecoms {
    struct hl7_telecom {
        const char *text;
        struct hl7_place place;
    } phones[HL7_TELECOMS_MAX], faxes[HL7_TELECOMS_MAX],
        emails[HL7_TELECOMS_MAX];
    size_t phone_count;
    size_t fax_count;
    size_t email_count;
};
/* Adds those of a field. */
void hl7_telecoms_read(struct hl7_reader *self,
                       struct hl7_place place,
                       struct hl7_telecoms *telecoms);
/* The first of a kind, or NULL; the others are a warning. */
const char *hl7_telecom_one(struct hl7_reader *self,
                            const struct hl7_telecom *items,
                            size_t count);
/* From number `from` on: a warning each. */
void hl7_telecoms_left(struct hl7_reader *self,
                       const struct hl7_telecom *items,
                       size_t count,
                       size_t from);

/* DTM, TS, DT: the day as YYYY-MM-DD, or NULL with a warning when it is no
 * whole day. A time in UTC is a day in the branch's zone; with another offset,
 * or none, it is the day that the sender's wall showed. */
const char *hl7_day(struct hl7_reader *self, struct hl7_place place);
/* The same of a day of birth, whose time is never looked at. One in the future
 * or before 1900 is not kept; one more than 120 years ago is doubtful. */
const char *hl7_birth_day(struct hl7_reader *self, struct hl7_place place);

/* CX: the authority, HD in component 4 or 6, else the sender of the message. */
const char *hl7_authority(struct hl7_reader *self, struct hl7_place place);
/* The sender: MSH-4, else MSH-3. */
const char *hl7_sender(struct hl7_reader *self);

/* A code that is sent, and what it stands for. */
struct hl7_code {
    const char *sent;
    const char *text;
    int value;
};
/* The row of a code, upper and lower case alike; NULL when there is none. */
const struct hl7_code *
hl7_code_find(const struct hl7_code *rows, size_t count, const char *sent);
/* CWE.3: a code system by our word; another one as it was sent. */
const char *hl7_code_system(struct hl7_reader *self,
                            struct hl7_place place,
                            const char *sent);

#endif
