/* SPDX-License-Identifier: Apache-2.0 */
/* A queue with numbered entries that can also grow at its front. */
#include "services/gateway/stream_ring.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { CAPACITY_FIRST = 16 };

struct stream_entry *stream_entry_new(const char *text, size_t size)
{
    struct stream_entry *entry = calloc(1, sizeof(*entry) + size);
    if (entry != NULL) {
        entry->size = (uint32_t)size;
        memcpy(entry->text, text, size);
    }
    return entry;
}

size_t stream_entry_memory(const struct stream_entry *entry)
{
    return sizeof(*entry) + entry->size;
}

static struct stream_entry **s_ring_place(const struct stream_ring *self,
                                          int64_t number)
{
    size_t offset = (size_t)(number - self->front);
    return &self->entries[(self->first + offset) & (self->capacity - 1)];
}

size_t stream_ring_count(const struct stream_ring *self)
{
    return (size_t)(self->end - self->front);
}

const struct stream_entry *stream_ring_at(const struct stream_ring *self,
                                          int64_t number)
{
    assert(number >= self->front && number < self->end);
    return *s_ring_place(self, number);
}

void stream_ring_base(struct stream_ring *self,
                      size_t producer,
                      struct follow_position at)
{
    self->base.at[producer] = at;
    self->base.known |= 1U << producer;
    self->changes++;
}

void stream_ring_drop(struct stream_ring *self)
{
    struct stream_entry *entry = *s_ring_place(self, self->front);
    assert(self->front < self->end);
    stream_ring_base(self, entry->producer, entry->at);
    self->bytes -= stream_entry_memory(entry);
    self->first = (self->first + 1) & (self->capacity - 1);
    self->front++;
    free(entry);
}

static bool s_ring_room(struct stream_ring *self, size_t more)
{
    size_t count = stream_ring_count(self);
    size_t capacity = self->capacity == 0 ? CAPACITY_FIRST : self->capacity;
    while (capacity < count + more) {
        capacity *= 2;
    }
    if (capacity == self->capacity) {
        return true;
    }
    struct stream_entry **entries =
        calloc(capacity, sizeof(struct stream_entry *));
    if (entries == NULL) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        entries[i] = *s_ring_place(self, self->front + (int64_t)i);
    }
    free(self->entries);
    self->entries = entries;
    self->capacity = capacity;
    self->first = 0;
    return true;
}

static void s_clear(struct stream_ring *self)
{
    while (self->front < self->end) {
        stream_ring_drop(self);
    }
}

void stream_ring_append(struct stream_ring *self, struct stream_entry *entry)
{
    if (stream_ring_count(self) == STREAM_RING_MAX) {
        stream_ring_drop(self);
    }
    if (!s_ring_room(self, 1)) {
        s_clear(self);
        stream_ring_base(self, entry->producer, entry->at);
        free(entry);
        return;
    }
    self->end++;
    *s_ring_place(self, self->end - 1) = entry;
    self->bytes += stream_entry_memory(entry);
}

bool stream_ring_prepend(struct stream_ring *self,
                         struct stream_entry *const *entries,
                         size_t count,
                         size_t producer,
                         struct follow_position from)
{
    if (stream_ring_count(self) + count > STREAM_RING_MAX ||
        !s_ring_room(self, count)) {
        return false;
    }
    self->first = (self->first - count) & (self->capacity - 1);
    self->front -= (int64_t)count;
    for (size_t i = 0; i < count; i++) {
        assert(entries[i]->producer == producer);
        *s_ring_place(self, self->front + (int64_t)i) = entries[i];
        self->bytes += stream_entry_memory(entries[i]);
    }
    stream_ring_base(self, producer, from);
    return true;
}

void stream_ring_done(struct stream_ring *self)
{
    s_clear(self);
    free(self->entries);
    self->entries = NULL;
    self->capacity = 0;
}
