/* SPDX-License-Identifier: Apache-2.0 */
/* Records of idempotency keys: kept for two days, of all tenants. */
#include "common/retention.h"

#include "tests/lib/pg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static struct test_pg *s_pg;

static void s_sweep(struct test_world *world)
{
    struct cn_err err = { 0 };
    int64_t count = -1;
    assert_int_equal(cn_retention_sweep(&world->env, &count, &err), CN_OK);
    assert_int_equal(count, 2500);
    assert_int_equal(cn_retention_sweep(&world->env, &count, &err), CN_OK);
    assert_int_equal(count, 0);
}

static void keys_older_than_two_days_are_free_again(void **state)
{
    (void)state;
    free(test_pg_sql(
        s_pg,
        "INSERT INTO probe.idempotency (tenant_id, subject, method, key,"
        " fingerprint, reply, created_at)"
        " SELECT gen_random_uuid(), 'key_1', 'm', i::text, '', '', now() -"
        " CASE WHEN i <= 2500 THEN interval '49 hours'"
        " ELSE interval '47 hours' END FROM generate_series(1, 2510) i"));
    test_world_run(s_pg, 1, s_sweep, NULL);
    assert_int_equal(
        test_pg_number(s_pg, "SELECT count(*) FROM probe.idempotency"), 10);
}

static int s_setup(void **state)
{
    (void)state;
    s_pg = test_pg_new("probe", "tests/store/probe");
    return 0;
}

static int s_teardown(void **state)
{
    (void)state;
    test_pg_free(s_pg);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_older_than_two_days_are_free_again),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
