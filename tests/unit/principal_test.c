/* SPDX-License-Identifier: Apache-2.0 */
/* Cells of the permission table, written out by hand so that the table is not
 * compared with itself. */
#include "common/base/array.h"
#include "common/policy/principal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above. */
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static const char *const ROLES[] = {
    "intake",           "coordinator",     "scheduler",     "clinician",
    "records_clerk",    "supervisor",      "administrator", "integrator",
    "physician_office", "referral_source", "platform",
};

enum { ROLE_COUNT = CN_COUNT(ROLES) };

/* A principal whose credential holds every scope of its role. */
static struct cn_principal s_principal(const char *role)
{
    struct cn_principal principal = { .subject = "key_1", .role = role };
    principal.scopes = cn_policy_scopes(role);
    while (principal.scopes[principal.scope_count] != NULL) {
        principal.scope_count++;
    }
    return principal;
}

static void
s_allowed(const char *role, const char *permission, enum cn_reach reach)
{
    struct cn_principal principal = s_principal(role);
    struct cn_err err = { 0 };
    enum cn_reach found = CN_REACH_NONE;
    assert_int_equal(cn_policy_check(&principal, permission, &found, &err),
                     CN_OK);
    assert_int_equal(found, reach);
}

static void s_denied(const char *role, const char *permission)
{
    struct cn_principal principal = s_principal(role);
    struct cn_err err = { 0 };
    enum cn_reach found = CN_REACH_NONE;
    const char *all[] = { permission };
    assert_int_equal(cn_policy_check(&principal, permission, &found, &err),
                     CN_FORBIDDEN);
    /* A scope outside its role gives a credential no more rights. */
    principal.scopes = all;
    principal.scope_count = 1;
    cn_err_clear(&err);
    assert_int_equal(cn_policy_check(&principal, permission, &found, &err),
                     CN_FORBIDDEN);
    assert_int_equal(found, CN_REACH_NONE);
    assert_int_equal(cn_code_status(err.code), 403);
}

static void intake_reaches_only_its_own_branches(void **state)
{
    (void)state;
    s_allowed("intake", "referrals:read", CN_REACH_BRANCH);
    s_allowed("intake", "intake:write", CN_REACH_BRANCH);
}

static void intake_does_not_decide(void **state)
{
    (void)state;
    s_denied("intake", "referrals:decide");
}

static void a_coordinator_decides_in_the_own_branch(void **state)
{
    (void)state;
    s_allowed("coordinator", "referrals:decide", CN_REACH_BRANCH);
}

static void a_scheduler_changes_no_patient(void **state)
{
    (void)state;
    s_denied("scheduler", "patients:write");
    s_allowed("scheduler", "patients:read", CN_REACH_BRANCH);
}

static void a_clinician_reads_only_the_teams_patients(void **state)
{
    (void)state;
    s_allowed("clinician", "patients:read", CN_REACH_TEAM);
}

static void a_clinician_completes_only_own_visits(void **state)
{
    (void)state;
    s_allowed("clinician", "visits:write", CN_REACH_SELF);
    s_allowed("clinician", "clinicians:write", CN_REACH_SELF);
}

static void a_records_clerk_signs_nothing(void **state)
{
    (void)state;
    s_denied("records_clerk", "documents:sign");
    s_allowed("records_clerk", "documents:write", CN_REACH_BRANCH);
}

static void only_a_physician_office_signs(void **state)
{
    (void)state;
    s_allowed("physician_office", "documents:sign", CN_REACH_TEAM);
    for (size_t i = 0; i < ROLE_COUNT; i++) {
        if (strcmp(ROLES[i], "physician_office") != 0) {
            s_denied(ROLES[i], "documents:sign");
        }
    }
}

static void a_referral_source_reads_its_own_referrals(void **state)
{
    (void)state;
    s_allowed("referral_source", "referrals:read", CN_REACH_OWN);
    s_allowed("referral_source", "intake:write", CN_REACH_OWN);
    s_allowed("referral_source", "documents:write", CN_REACH_OWN);
    s_denied("referral_source", "documents:read");
    s_denied("referral_source", "referrals:write");
}

static void an_administrator_reads_no_patient_data(void **state)
{
    (void)state;
    s_denied("administrator", "patients:read");
    s_denied("administrator", "referrals:read");
    s_denied("administrator", "documents:read");
    s_denied("administrator", "messages:read");
    s_denied("administrator", "visits:read");
    s_denied("administrator", "worklist:read");
    s_denied("administrator", "stream:read");
}

static void an_administrator_manages_keys(void **state)
{
    (void)state;
    s_allowed("administrator", "admin:write", CN_REACH_AGENCY);
    s_denied("administrator", "admin:platform");
}

static void
a_supervisor_reads_the_audit_and_a_coordinator_does_not(void **state)
{
    (void)state;
    s_allowed("supervisor", "audit:read", CN_REACH_AGENCY);
    s_allowed("administrator", "audit:read", CN_REACH_AGENCY);
    s_denied("coordinator", "audit:read");
}

static void a_scope_that_the_credential_lacks_is_refused(void **state)
{
    static const char *const SCOPES[] = { "referrals:read" };
    struct cn_principal principal = { .subject = "key_1",
                                      .role = "integrator",
                                      .scopes = SCOPES,
                                      .scope_count = 1 };
    struct cn_err err = { 0 };
    enum cn_reach reach = CN_REACH_NONE;
    (void)state;
    assert_int_equal(cn_policy_check(&principal, "visits:write", &reach, &err),
                     CN_FORBIDDEN);
    assert_int_equal(
        cn_policy_check(&principal, "referrals:read", &reach, &err), CN_OK);
    assert_int_equal(reach, CN_REACH_AGENCY);
    s_allowed("integrator", "visits:write", CN_REACH_AGENCY);
}

static void only_the_platform_makes_agencies(void **state)
{
    (void)state;
    s_allowed("platform", "admin:platform", CN_REACH_AGENCY);
    s_denied("platform", "admin:write");
    s_denied("platform", "patients:read");
    for (size_t i = 0; i + 1 < ROLE_COUNT; i++) {
        s_denied(ROLES[i], "admin:platform");
    }
}

static void an_unknown_role_or_permission_is_denied(void **state)
{
    (void)state;
    assert_int_equal(cn_policy_reach("janitor", "patients:read"),
                     CN_REACH_NONE);
    assert_int_equal(cn_policy_reach("supervisor", "patients:delete"),
                     CN_REACH_NONE);
    assert_int_equal(cn_policy_reach("", "patients:read"), CN_REACH_NONE);
    assert_int_equal(cn_policy_reach(NULL, NULL), CN_REACH_NONE);
    assert_null(cn_policy_scopes("janitor"));
    assert_false(cn_policy_role_known("janitor"));
    assert_true(cn_policy_role_known("referral_source"));
    assert_true(cn_policy_role_known("platform"));
}

static void an_empty_permission_needs_nothing_but_a_principal(void **state)
{
    struct cn_principal principal = { .subject = "usr_1", .role = "" };
    struct cn_principal nobody = { .role = "supervisor" };
    struct cn_err err = { 0 };
    enum cn_reach reach = CN_REACH_NONE;
    (void)state;
    assert_int_equal(cn_policy_check(&principal, "", &reach, &err), CN_OK);
    assert_int_equal(reach, CN_REACH_SELF);
    assert_int_equal(cn_policy_check(&nobody, "", &reach, &err), CN_FORBIDDEN);
}

/* Counted by hand: how many permissions each role's column grants. */
static void each_role_has_as_many_scopes_as_its_column(void **state)
{
    static const size_t COUNTS[ROLE_COUNT] = { 14, 17, 12, 13, 11, 19,
                                               5,  14, 3,  5,  1 };
    (void)state;
    for (size_t i = 0; i < ROLE_COUNT; i++) {
        struct cn_principal principal = s_principal(ROLES[i]);
        if (principal.scope_count != COUNTS[i]) {
            fail_msg("%s has %zu scopes", ROLES[i], principal.scope_count);
        }
        assert_ptr_equal(cn_policy_scopes(ROLES[i]), principal.scopes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(intake_reaches_only_its_own_branches),
        cmocka_unit_test(intake_does_not_decide),
        cmocka_unit_test(a_coordinator_decides_in_the_own_branch),
        cmocka_unit_test(a_scheduler_changes_no_patient),
        cmocka_unit_test(a_clinician_reads_only_the_teams_patients),
        cmocka_unit_test(a_clinician_completes_only_own_visits),
        cmocka_unit_test(a_records_clerk_signs_nothing),
        cmocka_unit_test(only_a_physician_office_signs),
        cmocka_unit_test(a_referral_source_reads_its_own_referrals),
        cmocka_unit_test(an_administrator_reads_no_patient_data),
        cmocka_unit_test(an_administrator_manages_keys),
        cmocka_unit_test(
            a_supervisor_reads_the_audit_and_a_coordinator_does_not),
        cmocka_unit_test(a_scope_that_the_credential_lacks_is_refused),
        cmocka_unit_test(only_the_platform_makes_agencies),
        cmocka_unit_test(an_unknown_role_or_permission_is_denied),
        cmocka_unit_test(an_empty_permission_needs_nothing_but_a_principal),
        cmocka_unit_test(each_role_has_as_many_scopes_as_its_column),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
