/* SPDX-License-Identifier: Apache-2.0 */
/* Do indexes serve the statements of a service? Each statement is EXPLAINed as
 * the role that runs it, with row-level security on, and its plan is read.
 * Fill the tables and ANALYZE first. */
#ifndef TEST_EXPLAIN_H
#define TEST_EXPLAIN_H

#include "common/base/id.h"
#include "tests/lib/pg.h"

/* Rows to fill a big table with: 20,000, or 300,000 with CAIRN_LONG=1. */
long test_explain_rows(void);

/* A statement of the service, parameters as SQL ("now(), NULL, 51"), and the
 * index that its plan must name; NULL: it only inserts. */
struct test_plan {
    const char *statement;
    const char *args;
    const char *index;
};

/* Fails the test, with the plan, for each statement that has one of these
 * faults. For these parameters or for unknown ones the plan does not name its
 * index, or reads a table of more than 1,000 rows from end to end. Or for
 * these parameters it sorts more than 5,000 rows. The contract test
 * (contract.h) looks at all statements of a program; here are those whose rows
 * it cannot make. */
void test_explain_some(const struct test_pg *pg,
                       struct cn_uuid tenant,
                       const struct test_plan *plans,
                       size_t count);
/* Runs a statement that reads a page of so many rows and fails the test when a
 * step of it touched more of them, or dropped any it had read. */
void test_explain_page(const struct test_pg *pg,
                       struct cn_uuid tenant,
                       const char *statement,
                       const char *args,
                       long rows);

#endif
