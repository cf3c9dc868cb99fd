/* SPDX-License-Identifier: Apache-2.0 */
/* Which rows a request may touch: the reach that principal.h found in the
 * policy (A: the agency, B: own branches), applied to rows. Reading by SQL or
 * with the row in hand, every handler comes through here. */
#ifndef CN_REACH_H
#define CN_REACH_H

#include "common/contract/service.h"
#include "common/db/db.h"

/* As a uuid[] parameter for
 *   `($n::uuid[] IS NULL OR branch_id = ANY ($n))`
 * SQL NULL is the whole agency; a reach that is not by branch (T, S and O of
 * the policy, which have no rows yet) is a list that matches no row. */
struct cn_param cn_reach_branches(const struct cn_request *request);
/* The same decision for a row in hand; nil is a row of no branch. A row out of
 * reach is answered as one that does not exist. */
bool cn_reach_includes(const struct cn_request *request,
                       struct cn_uuid branch_id);

#endif
