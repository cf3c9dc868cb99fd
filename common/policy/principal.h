/* SPDX-License-Identifier: Apache-2.0 */
/* Who asks, and which rows a permission reaches. */
#ifndef CN_PRINCIPAL_H
#define CN_PRINCIPAL_H

#include "common/base/err.h"
#include "common/base/id.h"

#include <stddef.h>

/* Decoded from the bus header; lives in the request's arena. */
struct cn_principal {
    struct cn_uuid tenant_id;
    const char *subject;            /* "key_..." or "usr_..." */
    const char *role;               /* a word of ROLES; "": a service */
    struct cn_uuid branch_id;       /* default branch; nil: none */
    const struct cn_uuid *branches; /* the principal's, for reach B */
    size_t branch_count;
    const char *const *scopes; /* granted to the credential */
    size_t scope_count;
};

/* How far a role's permission reaches. */
enum cn_reach {
    CN_REACH_NONE,
    CN_REACH_AGENCY, /* A: every row of the tenant */
    CN_REACH_BRANCH, /* B: rows of the principal's branches */
    CN_REACH_TEAM,   /* T */
    CN_REACH_SELF,   /* S */
    CN_REACH_OWN     /* O: referrals of the principal's organisation */
};

/* The cell of the table; CN_REACH_NONE for an unknown role or permission. */
enum cn_reach cn_policy_reach(const char *role, const char *permission);
/* The credential must hold the permission as a scope, and the role must reach
 * some rows with it; *ret_reach says which. The permission "" needs only a
 * principal. Fails with CN_FORBIDDEN. */
CN_CHECKED enum cn_code cn_policy_check(const struct cn_principal *principal,
                                        const char *permission,
                                        enum cn_reach *ret_reach,
                                        struct cn_err *err);
/* All scopes that a role can use, NULL-terminated; NULL for an unknown role. */
const char *const *cn_policy_scopes(const char *role);
bool cn_policy_role_known(const char *role);
bool cn_policy_permission_known(const char *permission);
/* Does a role reach only rows of its branches with this permission? */
bool cn_policy_by_branch(const char *permission);
/* May the principal touch a row of that branch (nil: a row without one) within
 * that reach? The reaches T, S and O have no rows yet. */
bool cn_policy_reaches(const struct cn_principal *principal,
                       enum cn_reach reach,
                       struct cn_uuid branch_id);

#endif
