/* SPDX-License-Identifier: Apache-2.0 */
/* The consumer's side of events: each event's effect and the move of the
 * position are one unit in the consumer's own schema. So each event has its
 * effect once, however often and by however many replicas it is fetched.
 *
 * Positions are per partition (0 to 15, by the aggregate's id). A consumer may
 * depend on the order of one aggregate's events, on no other.
 *
 * An event that fails CN_EVENT_ATTEMPTS_MAX times goes to dead_letter together
 * with the later events of its aggregate; all others go on. */
#ifndef CN_CONSUMER_H
#define CN_CONSUMER_H

#include "common/contract/service.h"
#include <stdint.h>

/* Follows all producers for the life of the process. The partitions of their
 * logs are shared with the other replicas of the service
 * (common/inbox/lease.h). The bus must know the producers (cn_bus_connect). */
CN_CHECKED enum cn_code cn_consumers_start(struct cn_env *env,
                                           const struct cn_service *service,
                                           struct cn_err *err);
/* All that the producer committed before *ret_until has had its effect here,
 * by whichever replica: the minimum over the partitions; 0 while it is not
 * known. In a fiber. */
CN_CHECKED enum cn_code cn_consumer_complete_until(struct cn_env *env,
                                                   const char *producer,
                                                   int64_t *ret_until,
                                                   struct cn_err *err);
/* Copies of that producer, or with NULL of all that the service follows, are
 * made again from its snapshot, from the first row on, while no log is followed
 * (consumer_rebuild.c). Asked for here, done by one of the replicas within a
 * second; one that is open goes on as it is. CN_INVALID /producer when it is
 * not followed, CN_UNAVAILABLE when it is not followed yet. */
CN_CHECKED enum cn_code cn_rebuild_ask(struct cn_env *env,
                                       const struct cn_service *service,
                                       const char *producer,
                                       struct cn_err *err);

/* Runs the handler, which adds its effect to write. */
CN_CHECKED enum cn_code cn_event_handle(const struct cn_service *service,
                                        const struct cn_event_handler *handler,
                                        const struct cn_event *event,
                                        struct cn_write *write,
                                        struct cn_err *err);

#endif
