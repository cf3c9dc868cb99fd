/* SPDX-License-Identifier: Apache-2.0 */
/* The clock C07 of a face-to-face document as a deadline: it runs from the
 * start of care and is met by the date of the encounter. */
#ifndef DOCUMENTS_CLOCK_H
#define DOCUMENTS_CLOCK_H

#include "common/deadlines/deadline_unit.h"
#include "common/store/record.h"

/* The clock begins with the start of care on that date, in that zone; it is met
 * at once when the encounter was before it. The document says until when it is
 * needed and why. CN_INTERNAL for a date or zone that is none. */
void document_clock_start(struct cn_op *op,
                          struct cn_record *document,
                          const char *soc_date,
                          const char *zone);
/* The clock, if it runs yet, with the encounter date that the document has now:
 * none takes back what met it. */
void document_clock_act(struct cn_op *op, const struct cn_record *document);
/* The start of care was cancelled at that instant: a clock that ran before it
 * stops, and the document is not due any more. */
void document_clock_stop(struct cn_op *op,
                         struct cn_record *document,
                         int64_t cancelled_at);

/* Makes void a document that is not needed any more, and ends its clock. */
void document_void(struct cn_op *op,
                   struct cn_record *document,
                   const char *reason_code);

#endif
