/* SPDX-License-Identifier: Apache-2.0 */
/* Deadlines as rows, written in the unit of what changes them, and their
 * ticker (design.md 7). A unit that changes one:
 *
 *     cn_deadline_load        what there is
 *     cn_deadline_run, ...    what becomes of it (deadline.h)
 *     cn_deadline_change      among the unit's changes, with its `due` row
 *     cn_deadline_tell        among the unit's events
 *
 * A service that has deadlines puts CN_DEADLINE_DUE among its due handlers and
 * declares the events deadline.started, .changed, .warning, .breached, .met and
 * .cancelled with a message of the form of DeadlineChange. */
#ifndef CN_DEADLINE_UNIT_H
#define CN_DEADLINE_UNIT_H

#include "common/deadlines/deadline.h"
#include "common/deadlines/due.h"
#include "common/store/page.h"
#include "common/store/record.h"
#include "common/store/step.h"
#include "common/store/store.h"
#include "common/store/write.h"

/* While a breach is only suspected, it is looked at again after an eighth of
 * the time that it is late, within these: a service that is away for hours must
 * not make work of its silence. */
#define CN_DEADLINE_AGAIN_MIN_US (2 * CN_SECOND)
#define CN_DEADLINE_AGAIN_MAX_US (60 * CN_SECOND)

/* The clock of that rule of a subject; id nil when there is none. */
CN_CHECKED enum cn_code cn_deadline_load(const struct cn_store *store,
                                         const char *subject_type,
                                         struct cn_uuid subject_id,
                                         const char *rule,
                                         struct cn_deadline *ret_deadline,
                                         struct cn_err *err);
/* Nothing when it has not changed. Loses a race by CN_STALE
 * (deadline_version). */
CN_CHECKED enum cn_code cn_deadline_change(const struct cn_store *store,
                                           struct cn_write *write,
                                           struct cn_deadline *self,
                                           struct cn_err *err);
CN_CHECKED enum cn_code cn_deadline_tell(const struct cn_store *store,
                                         struct cn_write *write,
                                         const struct cn_deadline *self,
                                         struct cn_err *err);

/* A record as the subject of a clock: its ids are borrowed. */
struct cn_deadline_subject
cn_deadline_subject_of(const struct cn_record *record);
/* The same for an operation: the clock of a rule (body NULL: there is none),
 * and what became of it: nothing when it has not changed, else its row, its
 * `due` row and its events. */
struct cn_deadline cn_deadline_find(struct cn_op *op,
                                    const char *subject_type,
                                    struct cn_uuid subject_id,
                                    const char *rule);
void cn_deadline_put(struct cn_op *op, struct cn_deadline *self);
/* Answers a ListDeadlinesRequest about a subject that was taken. */
void cn_deadlines_show(struct cn_op *op,
                       const struct cn_deadline_subject *subject);

/* Warns and breaches: each once, by however many replicas and ends. */
enum cn_code
cn_deadline_fire(void *self, const struct cn_due *due, struct cn_err *err);
#define CN_DEADLINE_KIND "deadline.fire"
#define CN_DEADLINE_DUE                                                        \
    {                                                                          \
        .kind = CN_DEADLINE_KIND, .handler = cn_deadline_fire                  \
    }

/* Answers a ListDeadlinesRequest about a subject that the caller was found to
 * reach: the oldest clock first, with its audit row. */
CN_CHECKED enum cn_code
cn_deadlines_answer(const struct cn_request *request,
                    struct cn_reply *reply,
                    const struct cn_deadline_subject *subject,
                    struct cn_err *err);

#endif
