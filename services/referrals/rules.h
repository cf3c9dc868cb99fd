/* SPDX-License-Identifier: Apache-2.0 */
/* What is decided about a referral from its facts: the table of moves, what is
 * missing, the clock C01, reasons to decline. Nothing here reads the database,
 * the clock or the bus.
 *
 * A referral is captured, its patient matched, it is incomplete or valid,
 * verified, reviewed, accepted, its start of care (SOC) scheduled, the patient
 * admitted, the loop closed. */
#ifndef REFERRALS_RULES_H
#define REFERRALS_RULES_H

#include "cairn/referrals.pb-c.h"
#include "common/deadlines/deadline.h"
#include "common/store/record.h"

/* A record of a referral has its patient beside it, and the zone of its branch
 * in `also`. */

/* Takes the referral through the command. States that lie between are passed
 * with their checks: match, validate, verify, review. 409 illegal_state when no
 * way leads to the command, guard_failed with the first guard that fails. */
void referral_pass(struct cn_op *op,
                   struct cn_record *record,
                   const char *command);

/* Sets what is not known yet, in the order of the needs table, with why it is
 * needed. */
void referral_missing_set(struct cn_arena *arena,
                          Ref__Referral *referral,
                          const Ref__Patient *patient);

/* Facts of the clock C01, the initial assessment visit. */
struct soc_facts {
    int64_t valid_at; /* when the referral became valid */
    bool has_return_home;
    int64_t return_home_at;
    const char *ordered_date; /* YYYY-MM-DD, or NULL */
    int64_t ordered_at;       /* when that order arrived */
    const char *zone;         /* IANA, of the place of care */
};
/* The facts as a referral has them. */
struct soc_facts soc_facts_of(const Ref__Referral *referral);
/* 42 CFR 484.55(a)(1), as the rule's row says (migration 0011): within 48
 * hours of the valid referral or of the return home, whichever is later, or on
 * the start-of-care date that the physician ordered. Hours are elapsed; at a
 * change to or from daylight saving time the warning comes at the earlier of
 * elapsed and wall-clock time. An order that arrives after the 48 hours does
 * not move the date. False for an unknown zone. */
CN_CHECKED bool soc_clock(const struct cn_clock_rule *rule,
                          const struct soc_facts *facts,
                          struct cn_clock *ret_clock);

/* Brings the derived fields of a referral up to date with its facts and its
 * patient's: missing, valid_at, soc_due_at and its reason, time_zone, and the
 * status as far as validity goes (with the event of that move). c01 is the rule
 * of the clock. Changes nothing when the facts did not change. */
void referral_settle(struct cn_op *op,
                     struct cn_record *record,
                     const struct cn_clock_rule *c01);

/* Before the decision. */
bool referral_is_undecided(Ref__Referral__Status status);
/* Before admission: what changes of a patient may still matter to. */
bool referral_is_open(Ref__Referral__Status status);
/* Their words, for the store. */
enum { REFERRAL_OPEN_COUNT = 8 };
extern const char *const referral_open_words[REFERRAL_OPEN_COUNT];

/* Names what of a patient cannot be, although each field may: a time of the
 * week that is not whole, or empty. It may end on the day after. pointer: where
 * the patient stands in the request, "" or "/patient". */
void patient_check(struct cn_op *op,
                   const Ref__Patient *patient,
                   const char *pointer);

/* Is it a reason of the list for declining? */
bool referral_reason_known(const char *code);

/* A name for comparing: lower case, accents and marks off, letters and digits
 * only. NULL in, "" out. */
char *name_norm(struct cn_arena *arena, const char *name);

/* An authority or a system for comparing: lower case, blanks at its ends off. A
 * number: blanks at its ends off. NULL in, NULL out. */
const char *key_system(struct cn_arena *arena, const char *system);
const char *key_value(struct cn_arena *arena, const char *value);

/* The identifiers by which a patient is found: those with system and value, as
 * they are compared, without social security numbers, which are nobody's key.
 */
size_t patient_keys(struct cn_arena *arena,
                    const Ref__Patient *patient,
                    const char **systems,
                    const char **values,
                    size_t max);
/* A social security number, by whatever name? Shown to nobody but who may read
 * the patient. */
bool identifier_is_ssn(const Ref__Patient__Identifier *identifier);
/* Does the value only say that nobody knows the number (UNKNOWN, 0, 99999)? It
 * finds nobody but a person who agrees in name and birth date. */
bool identifier_is_placeholder(const char *value);

/* Are two patients one person? OTHER when birth dates, given names, family
 * names or suffixes are known of both and differ; but a family name may change
 * when given name, birth date and sex agree. SAME when family and given name,
 * or given name and birth date agree. Else nobody can tell. */
enum person_match { PERSON_UNKNOWN, PERSON_SAME, PERSON_OTHER };
enum person_match person_compare(struct cn_arena *arena,
                                 const Ref__Patient *a,
                                 const Ref__Patient *b);
/* Of two who differ: do their whole names agree, or given name and birth date,
 * or family name and birth date? */
bool person_agrees_in_part(struct cn_arena *arena,
                           const Ref__Patient *a,
                           const Ref__Patient *b);
/* Do they share an identifier by which a patient is found? */
bool person_shares_key(struct cn_arena *arena,
                       const Ref__Patient *a,
                       const Ref__Patient *b);
/* Have both such identifiers, and share none? */
bool person_numbers_differ(struct cn_arena *arena,
                           const Ref__Patient *a,
                           const Ref__Patient *b);

/* Under which system and number a referral is found; NULL both unless it has
 * both. */
void referral_key(struct cn_arena *arena,
                  const Ref__Referral *referral,
                  const char **ret_system,
                  const char **ret_number);
/* The number of a referral whose sender's number is that of another person: the
 * same for the same person. */
const char *referral_key_of_person(struct cn_arena *arena,
                                   const char *number,
                                   const Ref__Patient *patient);
/* Must a person first say whether the patient is somebody else's namesake or
 * the same? */
bool referral_in_doubt(const Ref__Referral *referral);
/* A person has said it: takes the doubt and its warnings away. */
void referral_identify(struct cn_arena *arena,
                       Ref__Referral *referral,
                       Ref__Referral__Identity identity);

#endif
