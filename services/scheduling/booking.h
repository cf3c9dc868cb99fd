/* SPDX-License-Identifier: Apache-2.0 */
/* Finding a time: reads what the matcher needs and runs it. Used by the booking
 * of a start of care and by GET /v1/availability. */
#ifndef SCHEDULING_BOOKING_H
#define SCHEDULING_BOOKING_H

#include "services/scheduling/store.h"

/* All clinicians within the scope that share the wish's discipline (or all of
 * them when none does), with their result; best is -1 when nobody is free. */
struct booking_search {
    struct clinician_row *clinicians;
    struct match_result *results;
    size_t count;
    int best;
};
CN_CHECKED enum cn_code booking_search(const struct cn_store *store,
                                       const struct match_wish *wish,
                                       const struct clinician_scope *scope,
                                       struct booking_search *ret_search,
                                       struct cn_err *err);
/* Those left out, each with its one reason; NULL without memory. */
Sch__Visit__LeftOut **booking_left_out(const struct cn_store *store,
                                       const struct booking_search *search,
                                       size_t *ret_count);
/* The start-of-care visit of a need: booked before it is due with a clinician
 * of the referral's branch or of none, or required with the reason that left
 * each of them out. Fills row, whose id is new. */
CN_CHECKED enum cn_code booking_soc(const struct cn_store *store,
                                    const struct need_row *need,
                                    struct visit_row *ret_row,
                                    const char **ret_clinician_name,
                                    struct cn_err *err);

#endif
