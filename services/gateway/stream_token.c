/* SPDX-License-Identifier: Apache-2.0 */
/* A token: version 1 | 4 bytes of the services' names | seconds when it was
 * written | for each service: epoch + 1 (0: unknown), xid, seq. Numbers are in
 * base 128. It is sealed, because the positions show how many events other
 * tenants have. */
#include "services/gateway/stream_token.h"

#include "common/wire/seal.h"

#include <assert.h>
#include <string.h>

enum {
    VERSION = 1,
    NAMES_SIZE = 4,
    PLAIN_MAX =
        STREAM_TOKEN_HEAD + STREAM_PRODUCER_BYTES * CN_EVENT_SOURCE_COUNT,
    SHIFT_MAX = 63,
    MEMORY_MAX = 64 << 10
};

static const char CONTEXT[] = "gateway.stream.position";

struct writer {
    uint8_t bytes[PLAIN_MAX];
    size_t size;
};

struct reader {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
};

static void s_varint_put(struct writer *self, uint64_t number)
{
    do {
        uint8_t more = number > 0x7f ? 0x80 : 0;
        assert(self->size < PLAIN_MAX);
        self->bytes[self->size++] = (uint8_t)(number & 0x7f) | more;
        number >>= 7;
    } while (number > 0);
}

static uint64_t s_get(struct reader *self)
{
    uint64_t number = 0;
    for (unsigned shift = 0; shift <= SHIFT_MAX; shift += 7) {
        if (self->at == self->end) {
            break;
        }
        uint8_t byte = *self->at++;
        number |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            return number;
        }
    }
    self->failed = true;
    return 0;
}

/* A digest of the list of services: in a token of an older release the
 * positions may be those of other services. */
static void s_names(uint8_t names[NAMES_SIZE])
{
    struct cn_bytes parts[2 * CN_EVENT_SOURCE_COUNT];
    uint8_t digest[CN_SHA256_SIZE];
    for (size_t i = 0; i < CN_EVENT_SOURCE_COUNT; i++) {
        const char *name = cn_event_sources[i].service;
        parts[2 * i] = (struct cn_bytes){ (const uint8_t *)name, strlen(name) };
        parts[2 * i + 1] = (struct cn_bytes){ (const uint8_t *)",", 1 };
    }
    cn_sha256_parts(parts, sizeof(parts) / sizeof(parts[0]), digest);
    memcpy(names, digest, NAMES_SIZE);
}

bool stream_vector_equal(const struct stream_vector *a,
                         const struct stream_vector *b)
{
    for (size_t i = 0; i < CN_EVENT_SOURCE_COUNT; i++) {
        if (follow_compare(a->at[i], b->at[i]) != 0) {
            return false;
        }
    }
    return a->known == b->known;
}

enum cn_code stream_token_write(struct cn_env *env,
                                struct cn_uuid tenant_id,
                                const struct stream_vector *vector,
                                char text[STREAM_TOKEN_MAX],
                                struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(MEMORY_MAX);
    struct writer plain = { .size = 1 + NAMES_SIZE };
    const char *sealed = NULL;
    if (arena == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory");
    }
    plain.bytes[0] = VERSION;
    s_names(plain.bytes + 1);
    s_varint_put(&plain, (uint64_t)(env->now(env) / CN_SECOND));
    for (size_t i = 0; i < CN_EVENT_SOURCE_COUNT; i++) {
        const struct follow_position *at = &vector->at[i];
        if ((vector->known & (1U << i)) == 0) {
            s_varint_put(&plain, 0);
            continue;
        }
        s_varint_put(&plain, (uint64_t)at->epoch + 1);
        s_varint_put(&plain, at->xid);
        s_varint_put(&plain, (uint64_t)at->seq);
    }
    enum cn_code rc = cn_seal_text(env, arena, tenant_id, CONTEXT,
                                   (struct cn_bytes){ plain.bytes, plain.size },
                                   &sealed, err);
    if (rc == CN_OK) {
        size_t size = strlen(sealed) + 1;
        assert(size <= STREAM_TOKEN_MAX);
        memcpy(text, sealed, size);
    }
    return rc;
}

static bool s_vector_read(struct cn_env *env,
                          struct reader *reader,
                          struct stream_vector *ret_vector)
{
    struct stream_vector vector = { 0 };
    uint8_t names[NAMES_SIZE];
    s_names(names);
    if (reader->end - reader->at < 1 + NAMES_SIZE || reader->at[0] != VERSION ||
        memcmp(reader->at + 1, names, NAMES_SIZE) != 0) {
        return false;
    }
    reader->at += 1 + NAMES_SIZE;
    int64_t written_at = (int64_t)s_get(reader) * CN_SECOND;
    if (env->now(env) - written_at > STREAM_TOKEN_AGE_US) {
        return false;
    }
    for (size_t i = 0; i < CN_EVENT_SOURCE_COUNT; i++) {
        uint64_t epoch = s_get(reader);
        if (epoch > 0) {
            vector.known |= 1U << i;
            vector.at[i].epoch = (int64_t)epoch - 1;
            vector.at[i].xid = s_get(reader);
            vector.at[i].seq = (int64_t)s_get(reader);
        }
    }
    if (reader->failed || reader->at != reader->end) {
        return false;
    }
    *ret_vector = vector;
    return true;
}

bool stream_token_read(struct cn_env *env,
                       struct cn_uuid tenant_id,
                       const char *text,
                       struct stream_vector *ret_vector)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(MEMORY_MAX);
    struct cn_bytes plain = { 0 };
    struct cn_err err = { 0 };
    if (arena == NULL || strnlen(text, STREAM_TOKEN_MAX) >= STREAM_TOKEN_MAX ||
        cn_unseal_text(env, arena, tenant_id, CONTEXT, text, &plain, &err) !=
            CN_OK) {
        return false;
    }
    struct reader reader = { plain.data, plain.data + plain.size, false };
    return s_vector_read(env, &reader, ret_vector);
}
