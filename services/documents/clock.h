/* SPDX-License-Identifier: Apache-2.0 */
/* The clock C07 of a face-to-face document as a deadline: it runs from the
 * start of care and is met by the date of the encounter. */
#ifndef DOCUMENTS_CLOCK_H
#define DOCUMENTS_CLOCK_H

#include "common/deadlines/deadline_rule.h"
#include "common/deadlines/deadline_unit.h"
#include "services/documents/store.h"

#define FACE_TO_FACE_RULE "C07"

/* Whose clock it is. */
struct cn_deadline_subject document_subject(const struct document_row *row);
/* The deadline as it begins with the start of care on that date, in that zone;
 * met at once when the encounter was before it. The document is told until when
 * it is needed and why. CN_INTERNAL for a date or zone that is none. */
CN_CHECKED enum cn_code document_clock_start(const struct cn_store *store,
                                             const struct document_row *row,
                                             const char *soc_date,
                                             const char *zone,
                                             struct cn_deadline *ret_deadline,
                                             struct cn_err *err);
/* The deadline, if it runs yet, with the encounter date that the row has now.
 */
CN_CHECKED enum cn_code document_clock_act(const struct cn_store *store,
                                           const struct document_row *row,
                                           struct cn_deadline *ret_deadline,
                                           struct cn_err *err);

#endif
