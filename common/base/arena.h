/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of one request: allocated freely, bounded, freed at once.
 *
 * An arena never hands out NULL. Past its bound, or when malloc has no memory,
 * it has failed for good and takes its memory from a reserve of the thread, so
 * the code that runs goes on to its end without a check at each allocation.
 * What it makes is worthless then: whoever acts on a result asks
 * cn_arena_failed first, and every function that parks a fiber refuses a failed
 * arena. So few arenas share the reserve at a time, and none keeps it long. A
 * reserve that is full ends the process. */
#ifndef CN_ARENA_H
#define CN_ARENA_H

#include "common/base/err.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CN_ARENA_REQUEST_MAX = 8 << 20, /* bytes one request may hold */
    CN_ARENA_RESERVE = 8 << 20 /* bytes for all failed arenas of a thread */
};

struct cn_arena;

/* Borrowed bytes; data may be NULL when size is 0. */
struct cn_bytes {
    const uint8_t *data;
    size_t size;
};

/* NULL when memory is short. size_max bounds the sum of all allocations. */
struct cn_arena *cn_arena_new(size_t size_max);
/* Runs the deferred releases, newest first, and frees all. NULL is accepted. */
void cn_arena_free(struct cn_arena *self);
/* Did an allocation pass the bound, or find no memory? It stays so. */
bool cn_arena_failed(const struct cn_arena *self);
/* Fails it: for a function that could not make what its caller asked for. */
void cn_arena_fail(struct cn_arena *self);
/* 16-byte aligned, zeroed. */
void *cn_arena_alloc(struct cn_arena *self, size_t size);
/* The same, not zeroed: the caller writes every byte. */
void *cn_arena_bytes(struct cn_arena *self, size_t size);
/* count * size with the overflow checked. */
void *cn_arena_array(struct cn_arena *self, size_t count, size_t size);
void *cn_arena_copy(struct cn_arena *self, const void *data, size_t size);
/* For a size that an outsider chooses: NULL, and the arena has not failed, when
 * the bound or the memory is reached. Not zeroed. */
void *cn_arena_try(struct cn_arena *self, size_t size);
/* NULL in, NULL out. */
char *cn_arena_strdup(struct cn_arena *self, const char *text);
char *cn_arena_strndup(struct cn_arena *self, const char *text, size_t size);
char *cn_arena_printf(struct cn_arena *self, const char *format, ...)
    CN_PRINTF(2, 3);
/* release(handle) runs when the arena is freed: how a PGresult is tied to a
 * request. False for a failed arena: release has then run already. */
CN_CHECKED bool
cn_arena_defer(struct cn_arena *self, void (*release)(void *), void *handle);
/* For protobuf-c: cn_arena_try, and frees nothing. */
ProtobufCAllocator *cn_arena_allocator(struct cn_arena *self);
size_t cn_arena_size(const struct cn_arena *self);
/* For tests: allocation number n (from 1) and all later ones find no memory; 0:
 * none. */
void cn_arena_fail_at(struct cn_arena *self, unsigned n);

/* Frees the arena at the end of the scope. */
#define CN_ARENA_AUTO __attribute__((cleanup(cn_arena_cleanup)))
static inline void cn_arena_cleanup(struct cn_arena **self)
{
    cn_arena_free(*self);
    *self = NULL;
}

#endif
