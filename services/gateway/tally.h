/* SPDX-License-Identifier: Apache-2.0 */
/* What the gateway has answered, by route: rate, errors, duration. */
#ifndef GATEWAY_TALLY_H
#define GATEWAY_TALLY_H

#include "common/http/http.h"
#include "common/wire/shape.h"

#include <stddef.h>
#include <stdint.h>

struct tally;

/* Of these routes; registers itself with the metrics. NULL without memory. */
struct tally *tally_new(const struct cn_route *routes, size_t count);
/* NULL is accepted. */
void tally_free(struct tally *self);
/* Tells the connections of http too; NULL: no more. */
void tally_watch(struct tally *self, const struct cn_http *http);
/* One answer. route NULL: of none, as of a page or an unknown path. */
void tally_add(struct tally *self,
               const struct cn_route *route,
               unsigned status,
               int64_t duration_us);

#endif
