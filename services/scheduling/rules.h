/* SPDX-License-Identifier: Apache-2.0 */
/* Pure rules of scheduling: who fits whom and when, and the moves of a visit.
 * No database, no clock: all facts are arguments. */
#ifndef SCHEDULING_RULES_H
#define SCHEDULING_RULES_H

#include "cairn/scheduling.pb-c.h"
#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/contract/move.h"
#include "common/contract/op.h"

#include <stddef.h>

enum {
    VISIT_SOC_MINUTES = 90,     /* default length of a start of care */
    VISIT_GRID_MINUTES = 15,    /* slots begin on this grid */
    VISIT_TRAVEL_MINUTES = 15,  /* after each visit; kept in visit.busy_until */
    VISIT_NOTICE_MINUTES = 120, /* none begins sooner than this from now */
    VISIT_EARLY_HOURS = 72, /* one is made so long before its time at most */
    MATCH_DAYS_MAX = 31,
    MATCH_LEFT_OUT_MAX = 500
};

/* "HH:MM" as minutes of the day; false for anything else. */
CN_CHECKED bool clock_minutes(const char *text, int *ret_minutes);

/* Half-open span of time, microseconds UTC. */
struct span {
    int64_t from_at;
    int64_t to_at;
};

/* One clinician with what is booked already. */
struct match_candidate {
    const Sch__Clinician *clinician;
    const char *time_zone;     /* of the hours: own, else the branch's */
    const struct span *booked; /* live visits, travel not included */
    size_t booked_count;
};

/* What is looked for: a start in from_at..until_at. */
struct match_wish {
    Sch__Clinician__Discipline discipline;
    const Sch__Need *need; /* NULL fields constrain nothing */
    int64_t from_at;
    int64_t until_at;
    int minutes;
};

/* A slot, or why there is none. */
struct match_result {
    bool found;
    struct span slot;
    const char *reason; /* a word of Visit.LeftOut.reason when not found */
};

/* The discipline that starts care: a nurse, or a therapist when the orders are
 * for therapy alone (C01, 42 CFR 484.55(a)). RN when nothing is ordered. */
Sch__Clinician__Discipline soc_discipline(const Sch__Need *need);
/* What no time of day can mend; NULL when the clinician fits. */
const char *match_misfit(const struct match_candidate *candidate,
                         const struct match_wish *wish);
/* First free slot of one clinician, or the one reason. */
struct match_result match_clinician(const struct match_candidate *candidate,
                                    const struct match_wish *wish);
/* Index of the candidate with the earliest slot (the first of equals), or -1.
 * results has a place for each candidate. */
int match_best(const struct match_candidate *candidates,
               size_t count,
               const struct match_wish *wish,
               struct match_result *results);

/* How far a referral is, as visits must know it. */
enum standing {
    STANDING_UNKNOWN, /* its copy is older than this question */
    STANDING_UNDECIDED,
    STANDING_ACCEPTED, /* the start of care is to be made */
    STANDING_IN_CARE,
    STANDING_ENDED /* declined, withdrawn, not admitted */
};
enum standing need_standing(const Sch__Need *need);
/* 409 guard_failed: a start of care needs a referral that is accepted, any
 * other visit one that has not ended. */
void visit_guard(struct cn_op *op,
                 const Sch__Need *need,
                 Sch__Visit__Kind kind);
/* 409 guard_failed: what began or ended at that instant was to begin long after
 * it. */
void visit_early_guard(struct cn_op *op, const Sch__Visit *visit, int64_t at);

/* Does the licence hold on the day of that instant, in that zone? */
bool licence_holds(const Sch__Clinician *clinician,
                   const char *zone,
                   int64_t at);
/* Names each field at fault of what a client sent. */
void clinician_check(struct cn_op *op, const Sch__Clinician *clinician);
void visit_check(struct cn_op *op, const Sch__Visit *visit);

#endif
