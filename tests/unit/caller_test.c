/* SPDX-License-Identifier: Apache-2.0 */
/* Which methods a process may call, and for whom. */
#include "common/service/caller.h"

#include "common/bus/bus.h"
#include "common/contract/service.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above. */
#include <cmocka.h>

static enum cn_code
s_check(bool front, bool names_principal, const char *name, const char *scope)
{
    const struct cn_bus_request request = {
        .peer = "somebody", .front = front, .names_principal = names_principal
    };
    const struct cn_method method = { .name = name, .scope = scope };
    struct cn_err err = { 0 };
    enum cn_code rc = cn_caller_check(&request, &method, &err);
    assert_int_equal(err.code, rc);
    return rc;
}

static void a_front_may_call_everything_for_anybody(void **state)
{
    (void)state;
    for (int names = 0; names < 2; names++) {
        assert_int_equal(s_check(true, names, "a.v1.A/Get", "referrals:read"),
                         CN_OK);
        assert_int_equal(s_check(true, names, "a.v1.A/Resolve", NULL), CN_OK);
        assert_int_equal(s_check(true, names, "events.v1.Events/Fetch", NULL),
                         CN_OK);
    }
}

static void
a_service_may_follow_events_and_the_audit_and_nothing_else(void **state)
{
    (void)state;
    assert_int_equal(s_check(false, false, "events.v1.Events/Fetch", NULL),
                     CN_OK);
    assert_int_equal(s_check(false, false, "audit.v1.Audit/FetchSealed", NULL),
                     CN_OK);
    assert_int_equal(s_check(false, false, "audit.v1.Auditor/Fetch", NULL),
                     CN_FORBIDDEN);
    assert_int_equal(s_check(false, false, "events.v1.Events/Snapshot", NULL),
                     CN_OK);
    assert_int_equal(s_check(false, false, "a.v1.A/Get", "referrals:read"),
                     CN_FORBIDDEN);
    assert_int_equal(s_check(false, false, "a.v1.A/Me", ""), CN_FORBIDDEN);
    assert_int_equal(s_check(false, false, "a.v1.A/Resolve", NULL),
                     CN_FORBIDDEN);
    assert_int_equal(s_check(false, false, "events.v1.EventsToo/Fetch", NULL),
                     CN_FORBIDDEN);
    /* A route under that name is still for clients. */
    assert_int_equal(s_check(false, false, "events.v1.Events/List", "log:read"),
                     CN_FORBIDDEN);
}

static void a_service_speaks_for_nobody_else(void **state)
{
    (void)state;
    assert_int_equal(s_check(false, true, "events.v1.Events/Fetch", NULL),
                     CN_FORBIDDEN);
    assert_int_equal(s_check(false, true, "a.v1.A/Get", "referrals:read"),
                     CN_FORBIDDEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_front_may_call_everything_for_anybody),
        cmocka_unit_test(
            a_service_may_follow_events_and_the_audit_and_nothing_else),
        cmocka_unit_test(a_service_speaks_for_nobody_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
