/* SPDX-License-Identifier: Apache-2.0 */
/* What is decided about a referral, as pure functions of its facts: legal
 * moves, what is missing, the clock C01, reasons. No database, no clock, no
 * bus.
 *
 * The states and their guards are those of the domain: a referral is captured,
 * its patient matched, it is incomplete or valid, verified, reviewed, accepted,
 * its start of care (SOC) scheduled, the patient admitted, the loop closed. */
#ifndef REFERRALS_RULES_H
#define REFERRALS_RULES_H

#include "cairn/referrals.pb-c.h"
#include "common/base/arena.h"
#include "common/base/err.h"
#include "common/deadlines/deadline.h"

#include <stdint.h>

/* What moves a referral: commands of clients, and what events bring. */
enum referral_command {
    REFERRAL_MATCH,
    REFERRAL_ASK, /* request-info */
    REFERRAL_VALIDATE,
    REFERRAL_LAPSE, /* something needed is gone again */
    REFERRAL_VERIFY,
    REFERRAL_REVIEW,
    REFERRAL_ACCEPT,
    REFERRAL_DECLINE,
    REFERRAL_REOPEN,
    REFERRAL_WITHDRAW,
    REFERRAL_SCHEDULE,   /* the SOC visit is booked */
    REFERRAL_UNSCHEDULE, /* the SOC visit is lost */
    REFERRAL_ADMIT,      /* the SOC visit is made */
    REFERRAL_NOT_ADMIT,
    REFERRAL_CLOSE,
    REFERRAL_COMMAND_COUNT
};

/* One step of the table of legal moves; false when there is none. */
bool referral_move(Ref__Referral__Status from,
                   enum referral_command command,
                   Ref__Referral__Status *ret_to);

/* How a command ended that may pass through the states between. */
struct referral_passage {
    Ref__Referral__Status to;
    bool validated;      /* the state valid was entered on the way */
    const char *guard;   /* first guard that failed, else NULL */
    const char *pointer; /* the field it looks at */
    const char *why;
};
/* Goes from `from` by `command`, through matching, valid, verifying and review
 * where they lie between, with their checks (contract: validate and accept may
 * be called in one go). CN_CONFLICT illegal_state, or guard_failed with the
 * guard in err and in ret_passage. patient may be NULL: nothing is known of
 * them. */
CN_CHECKED enum cn_code referral_pass(const Ref__Referral *referral,
                                      const Ref__Patient *patient,
                                      enum referral_command command,
                                      struct referral_passage *ret_passage,
                                      struct cn_err *err);

/* What is not known yet, in the order of the needs table, with why it is
 * needed; CN_NOMEM. */
CN_CHECKED enum cn_code referral_missing(struct cn_arena *arena,
                                         const Ref__Referral *referral,
                                         const Ref__Patient *patient,
                                         Ref__Referral__Missing ***ret_missing,
                                         size_t *ret_count,
                                         struct cn_err *err);

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
/* 42 CFR 484.55(a)(1), as the rule's row has it (migration 0011): within 48
 * hours of the valid referral or of the return home, whichever is later, or on
 * the start-of-care date that the physician ordered. Hours are elapsed; at a
 * change to or from daylight saving time the warning comes at the earlier of
 * elapsed and wall-clock time. An order that arrives after the 48 hours does
 * not move the date. False for an unknown zone. */
CN_CHECKED bool soc_clock(const struct cn_clock_rule *rule,
                          const struct soc_facts *facts,
                          struct cn_clock *ret_clock);

/* Brings the derived fields of a referral (missing, status as far as validity
 * goes, valid_at, soc_due_at and its reason, time_zone) up to date with its
 * facts and its patient's. *ret_validated: it became valid by this. zone is the
 * branch's, for a patient without one; c01 the rule of the clock. Changes
 * nothing when the facts did not change. */
CN_CHECKED enum cn_code referral_settle(struct cn_arena *arena,
                                        Ref__Referral *referral,
                                        const Ref__Patient *patient,
                                        const char *zone,
                                        const struct cn_clock_rule *c01,
                                        int64_t now_at,
                                        bool *ret_validated,
                                        struct cn_err *err);

/* Before admission: what changes of a patient may still matter to. */
bool referral_is_open(Ref__Referral__Status status);
/* Their words, for the store. */
enum { REFERRAL_OPEN_COUNT = 8 };
extern const char *const referral_open_words[REFERRAL_OPEN_COUNT];

/* Is it a reason of the list for declining? */
bool referral_reason_known(const char *code);

/* A name for comparing: lower case, accents and marks off, letters and digits
 * only. NULL in, "" out; NULL without memory. */
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
