/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks without I/O: when a rule says that something is due and why, and what
 * becomes of a deadline when time passes or somebody acts. Rules are rows
 * (deadline_rule.h), deadlines too (deadline_unit.h). */
#ifndef CN_DEADLINE_H
#define CN_DEADLINE_H

#include "cairn/deadlines.pb-c.h"
#include "common/base/arena.h"
#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/id.h"

#include <stddef.h>
#include <stdint.h>

enum {
    CN_CLOCK_STARTS_MAX = 4,
    CN_CLOCK_WARNINGS_MAX = 8, /* seven of the rule, one of the wall clock */
    CN_CLOCK_WHY_MAX = 480,
    CN_DEADLINE_EVENTS_MAX = 4
};

enum cn_clock_unit {
    CN_CLOCK_ELAPSED_HOURS, /* UTC, whatever the clocks on the wall do */
    CN_CLOCK_CALENDAR_DAYS, /* the day of the start is day 0; to the end of a
                               local day */
    CN_CLOCK_BUSINESS_DAYS  /* the first business day after the start is 1 */
};

/* One rule as its row says. */
struct cn_clock_rule {
    struct cn_uuid tenant_id; /* nil: of every agency */
    const char *id;           /* "C01" */
    const char *name;
    const char *trigger;
    const char *starts[CN_CLOCK_STARTS_MAX]; /* words of facts */
    size_t start_count;
    int amount;
    enum cn_clock_unit unit;
    bool has_opens_before;
    int opens_before;    /* days */
    const char *ordered; /* word of a fact that is a date, or NULL */
    int64_t warn_before[CN_CLOCK_WARNINGS_MAX - 1]; /* the longest first */
    size_t warn_count;
    const char *told_by; /* NULL: the service itself */
    const char *exceptions;
    const char *citation;
    const char *const *states; /* none: all */
    size_t state_count;
    const char *const *payers; /* none: all */
    size_t payer_count;
    int64_t from_day; /* since 1970-01-01, in effect from .. to */
    int64_t to_day;
};

/* What a rule is applied to. A word that the rule does not name is not looked
 * at. */
struct cn_clock_fact {
    const char *word; /* "return_home" */
    bool known;
    int64_t at;
};
struct cn_clock_facts {
    const struct cn_clock_fact *starts;
    size_t start_count;
    const char *ordered_date; /* YYYY-MM-DD, or NULL */
    int64_t ordered_at;       /* when that order arrived */
    const char *zone;         /* IANA, of the place of care */
    const struct cn_date *holidays;
    size_t holiday_count;
};

/* What follows. */
struct cn_clock {
    const struct cn_clock_rule *rule;
    const char *zone;
    int64_t starts_at;
    bool has_opens;
    int64_t opens_at;
    int64_t due_at;
    /* The earlier of elapsed and wall-clock time: the warnings count from it.
     */
    int64_t warn_from_at;
    int64_t warn_at[CN_CLOCK_WARNINGS_MAX]; /* the earliest first */
    size_t warn_count;
    char why[CN_CLOCK_WHY_MAX];
};
/* Starts from the latest of the facts that the rule names. An ordered date
 * stands in its place to the end of its day, unless the order came when all was
 * late already. False for an unknown zone, a date that is none, or when no fact
 * to start from is known. */
CN_CHECKED bool cn_clock_apply(const struct cn_clock_rule *rule,
                               const struct cn_clock_facts *facts,
                               struct cn_clock *ret_clock);

/* ---- a deadline in memory ---- */

struct cn_deadline {
    struct cn_uuid id; /* nil while there is none */
    const char *subject_type;
    struct cn_uuid subject_id;
    struct cn_uuid branch_id;
    struct cn_uuid patient_id;
    int64_t version; /* as stored; 0: not yet */
    int64_t event_seq;
    Dln__Deadline *body;
    /* What the changes below ask to be told, in their order. */
    const char *events[CN_DEADLINE_EVENTS_MAX];
    size_t event_count;
    bool changed;
};

/* Whose clock it is. Ids in both forms; all borrowed. */
struct cn_deadline_subject {
    const char *type; /* "referral" */
    struct cn_uuid id;
    const char *text; /* "ref_..." */
    struct cn_uuid branch_id;
    const char *branch_text;
    struct cn_uuid patient_id;
    const char *patient_text;
};

/* Does it still run: open, warned or suspected? */
bool cn_deadline_runs(const struct cn_deadline *self);
/* Starts the clock, or moves it to what the facts say now: then its warnings
 * begin anew. What was met or breached keeps that. id is a new one for a clock
 * that is not there yet. CN_NOMEM. */
CN_CHECKED enum cn_code
cn_deadline_run(struct cn_deadline *self,
                struct cn_arena *arena,
                const struct cn_deadline_subject *subject,
                const struct cn_clock *clock,
                struct cn_uuid id,
                int64_t now_at,
                struct cn_err *err);
/* It need not be met any more; what is met or breached stays. */
void cn_deadline_stop(struct cn_deadline *self, int64_t now_at);
/* What meets it was done at that instant: met, or breached with the reason
 * (NULL: "late"). In time, but told after the breach was recorded: met, and the
 * breach stays on record as told_late. */
void cn_deadline_act(struct cn_deadline *self,
                     int64_t acted_at,
                     const char *reason,
                     int64_t now_at);
/* What met it was an error: it runs again, as if never met. */
void cn_deadline_unact(struct cn_deadline *self, int64_t now_at);
/* Time has passed: warns once for all warnings that are due, or breaches.
 * settled: all that was done by due_at has been told; otherwise the breach is
 * only suspected. */
void cn_deadline_pass(struct cn_deadline *self, bool settled, int64_t now_at);
/* When cn_deadline_pass is to be called next; only of one that runs. */
int64_t cn_deadline_next_at(const struct cn_deadline *self);

#endif
