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
/* 422 /name when a patient who is made by themselves has none. */
void patient_name_check(struct cn_op *op, const Ref__Patient *patient);

/* Is it a reason of the list for declining? */
bool referral_reason_known(const char *code);

/* A name for comparing: lower case, accents and marks off, letters and digits
 * only. NULL in, "" out. */
char *name_norm(struct cn_arena *arena, const char *name);

/* The identifiers by which a patient is found: those with system and value,
 * without social security numbers, which are nobody's key. */
size_t patient_keys(const Ref__Patient *patient,
                    const char **systems,
                    const char **values,
                    size_t max);
/* A social security number? Shown to nobody but who may read the patient. */
bool identifier_is_ssn(const Ref__Patient__Identifier *identifier);

#endif
