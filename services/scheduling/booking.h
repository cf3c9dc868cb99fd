/* SPDX-License-Identifier: Apache-2.0 */
/* Finding a time: reads what the matcher needs and runs it. Used by the booking
 * of a start of care and by GET /v1/availability. */
#ifndef SCHEDULING_BOOKING_H
#define SCHEDULING_BOOKING_H

#include "services/scheduling/store.h"

/* All clinicians of the wish's agency that share its discipline (or the whole
 * list when none does), with their result; best is -1 when nobody is free. */
struct booking_search {
    struct clinician_row *clinicians;
    struct match_result *results;
    size_t count;
    int best;
};
CN_CHECKED enum cn_code booking_search(const struct store_context *store,
                                       const struct match_wish *wish,
                                       struct booking_search *ret_search,
                                       struct cn_err *err);
/* Those left out, each with its one reason; NULL without memory. */
Sch__Visit__LeftOut **booking_left_out(const struct store_context *store,
                                       const struct booking_search *search,
                                       size_t *ret_count);
/* The start-of-care visit of a need: booked before it is due, or required with
 * the reason that left each clinician out. Fills row, whose id is new. */
CN_CHECKED enum cn_code booking_soc(const struct store_context *store,
                                    const struct need_row *need,
                                    struct visit_row *ret_row,
                                    const char **ret_clinician_name,
                                    struct cn_err *err);

#endif
