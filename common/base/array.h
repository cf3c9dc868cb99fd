/* SPDX-License-Identifier: Apache-2.0 */
/* How many items an array has. */
#ifndef CN_ARRAY_H
#define CN_ARRAY_H

/* The argument is an array, not a pointer to its first item. */
#define CN_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
