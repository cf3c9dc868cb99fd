/* SPDX-License-Identifier: Apache-2.0 */
/* Told to the analysers only, in front of every source (tests/lint): a failure
 * is never CN_OK. They see one file at a time, where cn_fail may return
 * anything, and follow paths on which it returned success and set no output. */
#ifndef TEST_ANALYZER_H
#define TEST_ANALYZER_H

#include "common/base/err.h"

#define cn_fail(err, code, ...)                                                \
    ((void)(cn_fail)(err, code, __VA_ARGS__), (code))
#define cn_fail_as(err, code, ...)                                             \
    ((void)(cn_fail_as)(err, code, __VA_ARGS__), (code))
#define cn_fail_field(...) ((void)(cn_fail_field)(__VA_ARGS__), CN_INVALID)
#define cn_fail_stale(...) ((void)(cn_fail_stale)(__VA_ARGS__), CN_STALE)
#define cn_wrap(err, what) ((void)(cn_wrap)(err, what), CN_INTERNAL)

#endif
