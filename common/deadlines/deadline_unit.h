/* SPDX-License-Identifier: Apache-2.0 */
/* Deadlines as rows, written in the unit of what changes them, and their
 * ticker. An operation that changes one:
 *
 *     cn_deadline_find        what there is
 *     cn_deadline_run, ...    what becomes of it (deadline.h)
 *     cn_deadline_put         its row, its `due` row and its events
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

/* While a breach is only suspected, it is looked at again after an eighth of
 * the time that it is late, within these: a service that is away for hours must
 * not make work of its silence. */
#define CN_DEADLINE_AGAIN_MIN_US (2 * CN_SECOND)
#define CN_DEADLINE_AGAIN_MAX_US (60 * CN_SECOND)

/* A record as the subject of a clock: its ids are borrowed. */
struct cn_deadline_subject
cn_deadline_subject_of(const struct cn_record *record);
/* The clock of a rule; body NULL: there is none. */
struct cn_deadline cn_deadline_find(struct cn_op *op,
                                    const char *subject_type,
                                    struct cn_uuid subject_id,
                                    const char *rule);
/* Nothing when it has not changed. A lost race is CN_STALE (deadline_version)
 * at the commit. */
void cn_deadline_put(struct cn_op *op, struct cn_deadline *self);
/* Answers a ListDeadlinesRequest about a subject that was taken: the oldest
 * clock first, with its audit row. */
void cn_deadlines_show(struct cn_op *op,
                       const struct cn_deadline_subject *subject);

/* Warns and breaches: each once, by however many replicas and ends. */
cn_work_fn cn_deadline_fire;
#define CN_DEADLINE_KIND "deadline.fire"
#define CN_DEADLINE_DUE                                                        \
    {                                                                          \
        .kind = CN_DEADLINE_KIND, .work = cn_deadline_fire                     \
    }

#endif
