/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks of memory that are filled from the front and freed together. */
#include "common/base/arena.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_EXACT 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_EXACT 1
#endif
#endif
#ifndef ARENA_EXACT
#define ARENA_EXACT 0
#endif

/* Under AddressSanitizer every allocation has a block of its own, so that
 * reading past its end is seen. */
enum {
    ALIGN = 16,
    FIRST_BLOCK_SIZE = ARENA_EXACT ? 0 : 4096 - 64,
    SIZES = 5, /* of blocks: the first one, doubled with each */
    BLOCK_SIZE_MAX = FIRST_BLOCK_SIZE << (SIZES - 1),
    KEPT_MAX = 16 /* free blocks of each size: at most 2 MiB in all */
};

struct block {
    struct block *next;
    size_t size; /* of data */
    size_t used;
    _Alignas(ALIGN) unsigned char data[];
};

struct deferred {
    struct deferred *next;
    void (*release)(void *handle);
    void *handle;
};

/* Free blocks, for the arenas to come: a request's blocks are too large for
 * the quick lists of malloc, which would cut and join them each time. */
struct kept {
    struct block *first;
    unsigned count;
};
static _Thread_local struct kept s_kept[SIZES];

/* Failed arenas take their memory from here. It is filled from the front, never
 * wrapped, and empty again when the last failed arena is freed. */
struct reserve {
    unsigned char *data;
    size_t used;
    unsigned arenas; /* failed ones that are alive */
};
static _Thread_local struct reserve s_reserve;

struct cn_arena {
    struct block *blocks; /* the one being filled first */
    struct deferred *deferred;
    size_t size; /* sum of the allocations, rounded up */
    size_t size_max;
    size_t block_size; /* of the next block */
    unsigned count;
    unsigned fail_at;
    bool failed;
    ProtobufCAllocator allocator;
};

static void *s_protobuf_alloc(void *self, size_t size)
{
    return cn_arena_try(self, size);
}

static void s_protobuf_free(void *self, void *memory)
{
    (void)self;
    (void)memory;
}

static bool s_reserve_make(void)
{
    if (s_reserve.data == NULL) {
        /* Its pages are taken from the kernel when they are first used. */
        s_reserve.data = malloc(CN_ARENA_RESERVE);
    }
    return s_reserve.data != NULL;
}

struct cn_arena *cn_arena_new(size_t size_max)
{
    struct cn_arena *self = s_reserve_make() ? calloc(1, sizeof *self) : NULL;
    if (self == NULL) {
        return NULL;
    }
    self->size_max = size_max;
    self->block_size = FIRST_BLOCK_SIZE;
    self->allocator.alloc = s_protobuf_alloc;
    self->allocator.free = s_protobuf_free;
    self->allocator.allocator_data = self;
    return self;
}

/* The list of blocks of that size, or NULL. */
static struct kept *s_kept_of(size_t size)
{
    for (unsigned i = 0; !ARENA_EXACT && i < SIZES; i++) {
        if (size == (size_t)FIRST_BLOCK_SIZE << i) {
            return &s_kept[i];
        }
    }
    return NULL;
}

static void s_block_free(struct block *block)
{
    struct kept *kept = s_kept_of(block->size);
    if (kept == NULL || kept->count == KEPT_MAX) {
        free(block);
        return;
    }
    block->next = kept->first;
    kept->first = block;
    kept->count++;
}

void cn_arena_free(struct cn_arena *self)
{
    if (self == NULL) {
        return;
    }
    while (self->deferred != NULL) {
        struct deferred *first = self->deferred;
        self->deferred = first->next;
        first->release(first->handle);
    }
    struct block *block = self->blocks;
    while (block != NULL) {
        struct block *next = block->next;
        s_block_free(block);
        block = next;
    }
    if (self->failed && --s_reserve.arenas == 0) {
        s_reserve.used = 0;
    }
    free(self);
}

void cn_arena_fail(struct cn_arena *self)
{
    s_reserve.arenas += self->failed ? 0 : 1;
    self->failed = true;
}

bool cn_arena_failed(const struct cn_arena *self)
{
    return self->failed;
}

static struct block *s_block_new(size_t size)
{
    size_t whole = 0;
    struct kept *kept = s_kept_of(size);
    if (kept != NULL && kept->first != NULL) {
        struct block *first = kept->first;
        kept->first = first->next;
        kept->count--;
        first->used = 0;
        return first;
    }
    if (__builtin_add_overflow(sizeof(struct block), size, &whole)) {
        return NULL;
    }
    struct block *block = malloc(whole);
    if (block == NULL) {
        return NULL;
    }
    block->size = size;
    block->used = 0;
    return block;
}

/* Room for size bytes, or NULL. */
static void *s_block_take(struct cn_arena *self, size_t size, size_t rounded)
{
    struct block *block = self->blocks;
    if (block != NULL && block->size - block->used >= rounded) {
        void *memory = block->data + block->used;
        block->used += rounded;
        return memory;
    }
    while (rounded > self->block_size / 4 &&
           self->block_size != BLOCK_SIZE_MAX) {
        self->block_size *= 2;
    }
    if (rounded > self->block_size / 4) {
        /* A large piece gets its own block behind the one being filled. */
        block = s_block_new(size);
        if (block == NULL) {
            return NULL;
        }
        block->used = size;
        if (self->blocks == NULL) {
            block->next = NULL;
            self->blocks = block;
        } else {
            block->next = self->blocks->next;
            self->blocks->next = block;
        }
        return block->data;
    }
    block = s_block_new(self->block_size);
    if (block == NULL) {
        return NULL;
    }
    if (self->block_size != BLOCK_SIZE_MAX) {
        self->block_size *= 2;
    }
    block->next = self->blocks;
    self->blocks = block;
    block->used = rounded;
    return block->data;
}

void *cn_arena_try(struct cn_arena *self, size_t size)
{
    if (self->failed) {
        return NULL;
    }
    if (size == 0) {
        size = 1;
    }
    size_t rounded = 0;
    if (__builtin_add_overflow(size, (size_t)ALIGN - 1, &rounded)) {
        return NULL;
    }
    rounded &= ~((size_t)ALIGN - 1);
    if (rounded > self->size_max - self->size) {
        return NULL;
    }
    self->count++;
    if (self->fail_at != 0 && self->count >= self->fail_at) {
        return NULL;
    }
    void *memory = s_block_take(self, size, rounded);
    if (memory == NULL) {
        return NULL;
    }
    self->size += rounded;
    return memory;
}

/* Memory of a failed arena. */
static void *s_reserve_take(struct cn_arena *self, size_t size)
{
    cn_arena_fail(self);
    size_t left = CN_ARENA_RESERVE - s_reserve.used;
    if (size > left || left - size < ALIGN) {
        (void)fprintf(stderr, "cn_arena: the reserve is full\n");
        abort();
    }
    void *memory = s_reserve.data + s_reserve.used;
    s_reserve.used += (size + ALIGN) & ~((size_t)ALIGN - 1);
    return memory;
}

/* Memory that its caller fills. */
static void *s_alloc(struct cn_arena *self, size_t size)
{
    void *memory = cn_arena_try(self, size);
    return memory != NULL ? memory : s_reserve_take(self, size);
}

void *cn_arena_alloc(struct cn_arena *self, size_t size)
{
    return memset(s_alloc(self, size), 0, size);
}

void *cn_arena_bytes(struct cn_arena *self, size_t size)
{
    return s_alloc(self, size);
}

void *cn_arena_array(struct cn_arena *self, size_t count, size_t size)
{
    size_t whole = 0;
    if (__builtin_mul_overflow(count, size, &whole)) {
        whole = SIZE_MAX; /* no arena has so much: it fails */
    }
    return cn_arena_alloc(self, whole);
}

void *cn_arena_copy(struct cn_arena *self, const void *data, size_t size)
{
    void *copy = s_alloc(self, size);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    return copy;
}

char *cn_arena_strdup(struct cn_arena *self, const char *text)
{
    return text == NULL ? NULL : cn_arena_strndup(self, text, strlen(text));
}

char *cn_arena_strndup(struct cn_arena *self, const char *text, size_t size)
{
    if (text == NULL) {
        return NULL;
    }
    size = strnlen(text, size);
    char *copy = s_alloc(self, size + 1);
    memcpy(copy, text, size);
    copy[size] = '\0';
    return copy;
}

char *cn_arena_printf(struct cn_arena *self, const char *format, ...)
{
    char small[256];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(small, sizeof small, format, args);
    va_end(args);
    assert(size >= 0); /* the formats are ours */
    char *text = s_alloc(self, (size_t)size + 1);
    if ((size_t)size < sizeof small) {
        memcpy(text, small, (size_t)size + 1);
        return text;
    }
    va_start(args, format);
    (void)vsnprintf(text, (size_t)size + 1, format, args);
    va_end(args);
    return text;
}

bool cn_arena_defer(struct cn_arena *self,
                    void (*release)(void *),
                    void *handle)
{
    struct deferred *deferred = cn_arena_alloc(self, sizeof *deferred);
    if (self->failed) {
        release(handle);
        return false;
    }
    deferred->release = release;
    deferred->handle = handle;
    deferred->next = self->deferred;
    self->deferred = deferred;
    return true;
}

ProtobufCAllocator *cn_arena_allocator(struct cn_arena *self)
{
    return &self->allocator;
}

size_t cn_arena_size(const struct cn_arena *self)
{
    return self->size;
}

void cn_arena_fail_at(struct cn_arena *self, unsigned n)
{
    self->fail_at = n;
}
