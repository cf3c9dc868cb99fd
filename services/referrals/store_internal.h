/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the store, by nobody else. */
#ifndef REFERRALS_STORE_INTERNAL_H
#define REFERRALS_STORE_INTERNAL_H

#include "services/referrals/store.h"

/* Columns of a patient p, read by patient_read from column `first` on. What is
 * looked up beside a row is written so that it is looked up by its key for each
 * row: joined plainly, the planner reads whole tables for a page whose size it
 * does not know. */
#define BRANCH_ZONE_OF(row)                                                    \
    "(SELECT b.time_zone FROM referrals.branch b"                              \
    " WHERE b.tenant_id = " row ".tenant_id AND b.id = " row ".branch_id)"
#define PATIENT_COLUMNS                                                        \
    "p.id, p.branch_id, p.version, p.event_seq, " BRANCH_ZONE_OF("p") ", "     \
                                                                      "p.body"
enum { PATIENT_COLUMN_COUNT = 6 };
CN_CHECKED enum cn_code patient_read(const struct cn_store *store,
                                     const struct cn_rows *rows,
                                     size_t row,
                                     int first,
                                     struct patient_row *ret_row,
                                     struct cn_err *err);

#endif
