/* SPDX-License-Identifier: Apache-2.0 */
/* How the replicas of a service share the partitions of the producers that they
 * follow. Every CN_LEASE_BEAT_US each replica tells that it lives, takes its
 * share of what nobody works on, and gives back what is above its share.
 *
 * A lease is an economy: it spares two replicas the same work. What makes each
 * effect happen once is the compare-and-set of the position.
 *
 * The database's clock says who lives. What a replica believes of itself is
 * older than that: it stops before its own leases may have lapsed. */
#ifndef CN_LEASE_H
#define CN_LEASE_H

#include "common/base/err.h"
#include "common/base/id.h"

#include <stdbool.h>
#include <stddef.h>

struct cn_env;
struct cn_leases;

enum {
    CN_LEASE_BEAT_US = 400000,
    CN_LEASE_LIFE_US = 1200000, /* without a beat */
    CN_LEASE_PRODUCERS_MAX = 16
};

/* Of whoever works on the partitions. They run in the fiber of the leases and
 * must not park. producer is an index of the list given. */
struct cn_lease_user {
    /* The partitions held have changed. */
    void (*changed)(void *arg);
    /* Is it being worked on? Then it is given back later: when it is idle,
     * cn_leases_idle says so. */
    bool (*busy)(void *arg, size_t producer, int partition);
    void *arg;
};

/* Starts the fiber that beats. It makes the rows of positions and leases. The
 * names live as long as the process. When the loop stops it waits up to a
 * second for what is busy, gives all back, and calls ended last of all. */
CN_CHECKED enum cn_code cn_leases_start(struct cn_env *env,
                                        const char *const *producers,
                                        size_t count,
                                        const struct cn_lease_user *user,
                                        void (*ended)(void *arg),
                                        struct cn_leases **ret_leases,
                                        struct cn_err *err);
/* After ended was called. NULL is accepted. */
void cn_leases_free(struct cn_leases *self);
/* May work on the partition begin now? */
bool cn_lease_held(const struct cn_leases *self,
                   size_t producer,
                   int partition);
/* How many of the producer's partitions, for metrics. */
unsigned cn_leases_count(const struct cn_leases *self, size_t producer);
/* Work on a partition has ended: one that was to be given back now is. */
void cn_leases_idle(struct cn_leases *self);
/* Whose they are: for a statement that asks whether a lease still holds. */
struct cn_uuid cn_leases_holder(const struct cn_leases *self);

#endif
