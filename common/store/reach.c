/* SPDX-License-Identifier: Apache-2.0 */
#include "common/store/reach.h"

struct cn_param cn_reach_branches(const struct cn_request *request)
{
    static const struct cn_uuid NONE; /* the nil id is no branch: no row */
    switch (request->reach) {
    case CN_REACH_AGENCY:
        return cn_null(); /* every row */
    case CN_REACH_BRANCH:
        if (request->principal.branch_count > 0) {
            return cn_uuids(request->principal.branches,
                            request->principal.branch_count);
        }
        return cn_uuids(&NONE, 0);
    case CN_REACH_NONE:
    case CN_REACH_TEAM:
    case CN_REACH_SELF:
    case CN_REACH_OWN:
    default:
        return cn_uuids(&NONE, 0);
    }
}

bool cn_reach_includes(const struct cn_request *request,
                       struct cn_uuid branch_id)
{
    return cn_policy_reaches(&request->principal, request->reach, branch_id);
}
