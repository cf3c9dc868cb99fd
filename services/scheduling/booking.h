/* SPDX-License-Identifier: Apache-2.0 */
/* Finding a time: reads what the matcher needs and runs it. Used by the booking
 * of a start of care and by GET /v1/availability. */
#ifndef SCHEDULING_BOOKING_H
#define SCHEDULING_BOOKING_H

#include "services/scheduling/store.h"

/* All clinicians within the scope that share the wish's discipline (or all of
 * them when none does), with their result; best is -1 when nobody is free. */
struct booking_search {
    struct cn_records clinicians;
    struct match_result *results;
    int best;
};
struct booking_search booking_search(struct cn_op *op,
                                     const struct match_wish *wish,
                                     const struct clinician_scope *scope);
/* Those left out, each with its one reason. */
Sch__Visit__LeftOut **booking_left_out(struct cn_op *op,
                                       const struct booking_search *search,
                                       size_t *ret_count);
/* A new start-of-care visit of a need: booked before it is due with a clinician
 * of the referral's branch or of none, or required with the reason that left
 * each of them out. */
struct cn_record *booking_soc(struct cn_op *op, const Sch__Need *need);

#endif
