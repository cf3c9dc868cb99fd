/* SPDX-License-Identifier: Apache-2.0 */
/* CMOCKA_TEST_FILTER='*overlap*' before a test's program runs those cases
 * alone. Newer releases of cmocka read it by themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
/* cmocka needs those above it. */
#include <cmocka.h>

static void __attribute__((constructor)) s_filter_read(void)
{
    cmocka_set_test_filter(getenv("CMOCKA_TEST_FILTER"));
}
