/* SPDX-License-Identifier: Apache-2.0 */
/* Who may do what, as one static table. A wider grant is a change of a row
 * here, never an exception in code. */
#include "common/policy/principal.h"

#include "common/base/array.h"

#include <assert.h>
#include <string.h>

enum role {
    INTAKE,
    COORDINATOR,
    SCHEDULER,
    CLINICIAN,
    RECORDS_CLERK,
    SUPERVISOR,
    ADMINISTRATOR,
    INTEGRATOR,
    PHYSICIAN_OFFICE,
    REFERRAL_SOURCE,
    PLATFORM, /* the platform operator's key */
    ROLE_COUNT
};

static const char *const ROLES[ROLE_COUNT] = {
    [INTAKE] = "intake",
    [COORDINATOR] = "coordinator",
    [SCHEDULER] = "scheduler",
    [CLINICIAN] = "clinician",
    [RECORDS_CLERK] = "records_clerk",
    [SUPERVISOR] = "supervisor",
    [ADMINISTRATOR] = "administrator",
    [INTEGRATOR] = "integrator",
    [PHYSICIAN_OFFICE] = "physician_office",
    [REFERRAL_SOURCE] = "referral_source",
    [PLATFORM] = "platform",
};

struct row {
    const char *permission;
    const char *cells; /* one letter per role, in the order of enum role */
};

/* Columns: Intake Coordinator Scheduler cLinician Records_clerk sUpervisor
 * Administrator iNtegrator Physician_office rEferral_source platForm. Where a
 * role may see only a part of a record ("name and status only"), the handler
 * leaves the rest out. */
static const struct row ROWS[] = {
    /*                      ICSLRUANPEF */
    { "intake:write", "BB---A-A-O-" },    { "referrals:read", "BBBTBA-A-O-" },
    { "referrals:write", "BB---A-A---" }, { "referrals:decide", "-B---A-----" },
    { "patients:read", "BBBTBA-ATO-" },   { "patients:write", "BB---A-A---" },
    { "visits:read", "BBBTBA-A-O-" },     { "visits:write", "-BBS-A-A---" },
    { "clinicians:read", "BBBBBAAA---" }, { "clinicians:write", "--BS-AA----" },
    { "documents:read", "BB-TBA-AT--" },  { "documents:write", "BB-TBA-A-O-" },
    { "documents:sign", "--------T--" },  { "messages:read", "BBBTBA-A---" },
    { "messages:write", "BBBTBA-A---" },  { "worklist:read", "BBBTBA-----" },
    { "worklist:write", "BBBTBA-----" },  { "metrics:read", "-BB--AAA---" },
    { "stream:read", "BBBTBA-A---" },     { "audit:read", "-----AA----" },
    { "admin:write", "------A----" },     { "admin:platform", "----------A" },
};

enum { ROW_COUNT = CN_COUNT(ROWS) };

static int s_role_find(const char *role)
{
    for (int i = 0; role != NULL && i < ROLE_COUNT; i++) {
        if (strcmp(ROLES[i], role) == 0) {
            return i;
        }
    }
    return -1;
}

static const struct row *s_permission_row(const char *permission)
{
    for (size_t i = 0; permission != NULL && i < ROW_COUNT; i++) {
        if (strcmp(ROWS[i].permission, permission) == 0) {
            return &ROWS[i];
        }
    }
    return NULL;
}

static enum cn_reach s_cell(const struct row *row, int role)
{
    switch (row->cells[role]) {
    case 'A':
        return CN_REACH_AGENCY;
    case 'B':
        return CN_REACH_BRANCH;
    case 'T':
        return CN_REACH_TEAM;
    case 'S':
        return CN_REACH_SELF;
    case 'O':
        return CN_REACH_OWN;
    default:
        return CN_REACH_NONE;
    }
}

enum cn_reach cn_policy_reach(const char *role, const char *permission)
{
    const struct row *row = s_permission_row(permission);
    int column = s_role_find(role);
    if (row == NULL || column < 0) {
        return CN_REACH_NONE;
    }
    return s_cell(row, column);
}

static bool s_scope_granted(const struct cn_principal *principal,
                            const char *permission)
{
    for (size_t i = 0; i < principal->scope_count; i++) {
        if (strcmp(principal->scopes[i], permission) == 0) {
            return true;
        }
    }
    return false;
}

enum cn_code cn_policy_check(const struct cn_principal *principal,
                             const char *permission,
                             enum cn_reach *ret_reach,
                             struct cn_err *err)
{
    assert(principal != NULL && permission != NULL);
    if (principal->subject == NULL || principal->subject[0] == '\0') {
        return cn_fail(err, CN_FORBIDDEN, "the request names no principal");
    }
    if (permission[0] == '\0') {
        *ret_reach = CN_REACH_SELF;
        return CN_OK;
    }
    if (!s_scope_granted(principal, permission)) {
        return cn_fail(err, CN_FORBIDDEN,
                       "the credential does not hold the scope %s", permission);
    }
    enum cn_reach reach = cn_policy_reach(principal->role, permission);
    if (reach == CN_REACH_NONE) {
        return cn_fail(err, CN_FORBIDDEN, "the role does not grant %s",
                       permission);
    }
    *ret_reach = reach;
    return CN_OK;
}

const char *const *cn_policy_scopes(const char *role)
{
    static const char *scopes[ROLE_COUNT][ROW_COUNT + 1];
    int column = s_role_find(role);
    size_t count = 0;
    if (column < 0) {
        return NULL;
    }
    if (scopes[column][0] == NULL) {
        for (size_t i = 0; i < ROW_COUNT; i++) {
            if (s_cell(&ROWS[i], column) != CN_REACH_NONE) {
                scopes[column][count++] = ROWS[i].permission;
            }
        }
    }
    return scopes[column];
}

bool cn_policy_role_known(const char *role)
{
    return s_role_find(role) >= 0;
}

bool cn_policy_permission_known(const char *permission)
{
    return s_permission_row(permission) != NULL;
}

bool cn_policy_by_branch(const char *permission)
{
    const struct row *row = s_permission_row(permission);
    return row != NULL && strchr(row->cells, 'B') != NULL;
}

bool cn_policy_reaches(const struct cn_principal *principal,
                       enum cn_reach reach,
                       struct cn_uuid branch_id)
{
    if (reach == CN_REACH_AGENCY) {
        return true;
    }
    if (reach != CN_REACH_BRANCH) {
        return false;
    }
    for (size_t i = 0; i < principal->branch_count; i++) {
        if (memcmp(principal->branches[i].bytes, branch_id.bytes,
                   sizeof(branch_id.bytes)) == 0) {
            return true;
        }
    }
    return false;
}
