/* SPDX-License-Identifier: Apache-2.0 */
/* The producer's side of snapshots: Events/Snapshot pages through what a
 * service owns as it is now, for a consumer that has no copies of it, or too
 * old ones.
 *
 * A page is read tenant by tenant in the tenant's own name, so row-level
 * security holds. What changes between two pages is told by the log: a reader
 * that keeps the newer by aggregate_seq is right in the end. */
#ifndef CN_SNAPSHOT_H
#define CN_SNAPSHOT_H

#include "common/contract/service.h"

/* The handler of events.v1.Events/Snapshot, which every service has. It shows
 * rows of all tenants: only a service in its own name may call it. */
void cn_snapshot_page(struct cn_op *op);

#endif
