/* SPDX-License-Identifier: Apache-2.0 */
/* One psql session as the superuser that stays open. It is for a test that
 * asks the database so often that a process for each question would take too
 * long. */
#ifndef TEST_PSQL_H
#define TEST_PSQL_H

#include "tests/lib/pg.h"

struct test_psql;

struct test_psql *test_psql_open(const struct test_pg *pg);
void test_psql_close(struct test_psql *self);
/* Runs SQL, blocks, and returns what it printed, with '\n' between rows and
 * '|' between columns. The text stays until the next call. A failure ends the
 * program with the text of psql. */
const char *test_psql(struct test_psql *self, const char *format, ...)
    CN_PRINTF(2, 3);
/* The same in two steps. The second one returns the text of the SQL that was
 * sent last. */
void test_psql_send(struct test_psql *self, const char *format, ...)
    CN_PRINTF(2, 3);
const char *test_psql_wait(struct test_psql *self);
/* The same for one number. */
long test_psql_number(struct test_psql *self, const char *format, ...)
    CN_PRINTF(2, 3);

#endif
