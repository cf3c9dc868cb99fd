/* SPDX-License-Identifier: Apache-2.0 */
/* The producer's side of snapshots: Events/Snapshot pages through what a
 * service owns as it is now (design.md 4), for a consumer that has no copies of
 * it, or too old ones.
 *
 * A page is read tenant by tenant in the tenant's own name, so row-level
 * security holds. What changes between two pages is told by the log: a reader
 * that keeps the newer by aggregate_seq is right in the end. */
#ifndef CN_SNAPSHOT_H
#define CN_SNAPSHOT_H

#include "common/err.h"
#include "common/service.h"
#include "common/store.h"

enum { CN_SNAPSHOT_LIMIT_MAX = 100 /* rows of one page */ };

/* What the type of a row ends with: "patient.snapshot". No event of a log has
 * such a type (constraint outbox_type). */
#define CN_SNAPSHOT_SUFFIX ".snapshot"

/* One row as it is now, in the store's arena. payload is the message of the
 * aggregate's events. */
struct cn_provided {
    struct cn_uuid id;
    int64_t event_seq;
    const ProtobufCMessage *payload;
};

/* Up to limit rows of the store's tenant whose id is greater than after (nil:
 * the first), in the order of their ids. Fewer than limit: there are no more.
 */
typedef enum cn_code cn_provider_fn(const struct cn_store *store,
                                    struct cn_uuid after,
                                    int limit,
                                    struct cn_provided **ret_rows,
                                    size_t *ret_count,
                                    struct cn_err *err);

/* One kind of aggregate that a service owns and others copy. Its rows are told
 * as "<aggregate_type>.snapshot", which is in the service's table of events. */
struct cn_provider {
    const char *aggregate_type;
    cn_provider_fn *page;
};

/* The handler of events.v1.Events/Snapshot, which every service has. It shows
 * rows of all tenants: only a service in its own name may call it. */
CN_CHECKED enum cn_code cn_snapshot_page(const struct cn_request *request,
                                         struct cn_reply *reply,
                                         struct cn_err *err);

#endif
