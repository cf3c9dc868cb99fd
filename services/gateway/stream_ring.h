/* SPDX-License-Identifier: Apache-2.0 */
/* The latest events of a tenant, rendered once for all its readers. */
#ifndef GATEWAY_STREAM_RING_H
#define GATEWAY_STREAM_RING_H

#include "services/gateway/stream_token.h"

enum { STREAM_RING_MAX = 8192 /* entries */ };

struct stream_entry {
    struct follow_position at;
    struct cn_uuid branch_id; /* nil: the record has none */
    int64_t added_at;         /* monotonic */
    uint16_t producer;
    uint16_t kind; /* row of stream_kinds */
    uint32_t size;
    char text[]; /* without a NUL */
};

/* NULL without memory. */
struct stream_entry *stream_entry_new(const char *text, size_t size);
size_t stream_entry_memory(const struct stream_entry *entry);

/* Entries have the numbers front to end - 1; an entry keeps its number. The
 * ring holds every event of the tenant after base, for each producer, in the
 * order of the log. Zeroed is empty. */
struct stream_ring {
    struct stream_entry **entries;
    size_t capacity; /* a power of two */
    size_t first;    /* index of the entry `front` */
    int64_t front;
    int64_t end;
    struct stream_vector base;
    uint64_t changes; /* of base */
    size_t bytes;
};

void stream_ring_done(struct stream_ring *self);
size_t stream_ring_count(const struct stream_ring *self);
/* number is from front to end - 1. */
const struct stream_entry *stream_ring_at(const struct stream_ring *self,
                                          int64_t number);
/* Sets the base of a producer: the ring holds its log from there on. */
void stream_ring_base(struct stream_ring *self,
                      size_t producer,
                      struct follow_position at);
/* Takes the entry over, and drops the oldest when full. Without memory it drops
 * all entries and this one, and moves base. */
void stream_ring_append(struct stream_ring *self, struct stream_entry *entry);
/* Puts count entries before all others of their producer. They begin after
 * `from`, which becomes the base. False when there is no room: then nothing is
 * changed or taken over. */
CN_CHECKED bool stream_ring_prepend(struct stream_ring *self,
                                    struct stream_entry *const *entries,
                                    size_t count,
                                    size_t producer,
                                    struct follow_position from);
/* Drops the oldest entry. */
void stream_ring_drop(struct stream_ring *self);

#endif
