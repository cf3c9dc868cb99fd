/* SPDX-License-Identifier: Apache-2.0 */
/* From a path and a method to a row of the generated route table. */
#ifndef GATEWAY_ROUTE_H
#define GATEWAY_ROUTE_H

#include "common/base/arena.h"
#include "common/base/err.h"
#include "common/wire/shape.h"

#include <stddef.h>

enum { ROUTE_PARAMS_MAX = 4, ROUTE_SEGMENTS_MAX = 12, ROUTE_ALLOW_MAX = 64 };

struct routes;

/* The routes of a path, and the values in it. */
struct route_match {
    const struct cn_route *verbs[CN_DELETE + 1]; /* by enum cn_verb */
    const char *values[ROUTE_PARAMS_MAX]; /* of its parameters, decoded */
    size_t value_count;
};

/* A tree of the table's paths. NULL without memory. */
struct routes *routes_new(const struct cn_route *table, size_t count);
/* NULL is accepted. */
void routes_free(struct routes *self);

/* Finds a path as it stands in the URI, without the query. A literal segment
 * wins over a parameter. A segment that cannot be decoded matches nothing.
 * False: there is no such path. The values are in the arena. */
CN_CHECKED bool routes_match(const struct routes *self,
                             struct cn_arena *arena,
                             const char *path,
                             struct route_match *ret_match);
/* Name of the route's parameter number index (from 0): a field of its input. */
const char *
route_param(const struct cn_route *route, struct cn_arena *arena, size_t index);
/* The value of an Allow header: "GET, HEAD, POST, OPTIONS". */
void route_allow(const struct route_match *match, char text[ROUTE_ALLOW_MAX]);
/* The route of an HTTP method; HEAD has the route of GET. NULL: answer 405. */
const struct cn_route *route_of(const struct route_match *match,
                                const char *method);

#endif
