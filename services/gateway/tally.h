/* SPDX-License-Identifier: Apache-2.0 */
/* Counts the gateway's answers by route: rate, errors, duration. */
#ifndef GATEWAY_TALLY_H
#define GATEWAY_TALLY_H

#include "common/http/http.h"
#include "common/wire/shape.h"

#include <stddef.h>
#include <stdint.h>

struct tally;

/* For these routes; registers itself with the metrics. NULL without memory. */
struct tally *tally_new(const struct cn_route *routes, size_t count);
/* NULL is accepted. */
void tally_free(struct tally *self);
/* Adds the connections of http to the metrics; NULL: no longer. */
void tally_watch(struct tally *self, const struct cn_http *http);
/* Counts one answer. route NULL: a page or an unknown path. */
void tally_add(struct tally *self,
               const struct cn_route *route,
               unsigned status,
               int64_t duration_us);

#endif
