/* SPDX-License-Identifier: Apache-2.0 */
/* Sealed bytes: version 1 | key id, 4 bytes big-endian | nonce | ciphertext and
 * tag. Version, key id, tenant and context are authenticated too. */
#include "common/wire/seal.h"

#include "common/base/env.h"
#include "common/wire/message.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum {
    VERSION = 1,
    HEAD_SIZE = 1 + 4,
    NONCE_SIZE = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
    TAG_SIZE = crypto_aead_xchacha20poly1305_ietf_ABYTES,
    CONTEXT_SIZE_MAX = 128,
    AAD_SIZE_MAX = HEAD_SIZE + 16 + CONTEXT_SIZE_MAX,
    TEXT_VARIANT = sodium_base64_VARIANT_URLSAFE_NO_PADDING,
    DERIVED_MAX = 64 /* tenants' keys that are remembered */
};
_Static_assert(CN_SEAL_OVERHEAD == HEAD_SIZE + NONCE_SIZE + TAG_SIZE,
               "the header tells the overhead");
_Static_assert((int)CN_SEAL_KEY_SIZE ==
                   (int)crypto_aead_xchacha20poly1305_ietf_KEYBYTES,
               "the header tells the key's size");
_Static_assert((int)CN_SHA256_SIZE == (int)crypto_hash_sha256_BYTES,
               "the header tells the digest's size");
_Static_assert((int)CN_SIGN_SECRET_SIZE == (int)crypto_sign_SEEDBYTES &&
                   (int)CN_SIGN_PUBLIC_SIZE ==
                       (int)crypto_sign_PUBLICKEYBYTES &&
                   (int)CN_SIGN_SIZE == (int)crypto_sign_BYTES,
               "the header tells the sizes of keys and signatures");

struct master {
    uint32_t id;
    uint8_t key[CN_SEAL_KEY_SIZE];
};

/* A tenant's key, remembered: deriving it costs as much as sealing a hundred
 * bytes. */
struct derived {
    const struct master *master; /* NULL: none yet */
    struct cn_uuid tenant;
    uint8_t key[CN_SEAL_KEY_SIZE];
};

struct cn_seal {
    struct master masters[CN_SEAL_KEYS_MAX];
    size_t count;
    struct derived derived[DERIVED_MAX];
    uint8_t mac_key[CN_SEAL_KEY_SIZE];
};

static void s_sodium_ready(void)
{
    static bool ready;
    if (!ready) {
        int rc = sodium_init();
        assert(rc >= 0);
        ready = true;
    }
}

/* The keys. */

/* Reads one line "<id>:<64 hex digits>" and moves *text behind it. */
static bool s_read_master(const char **text, struct master *ret_master)
{
    uint64_t id = 0;
    int digits = 0;
    for (; **text >= '0' && **text <= '9'; (*text)++, digits++) {
        id = id * 10 + (uint64_t)(**text - '0');
        if (id > UINT32_MAX) {
            return false;
        }
    }
    if (digits == 0 || **text != ':') {
        return false;
    }
    (*text)++;
    size_t size = strcspn(*text, "\r\n");
    size_t key_size = 0;
    if (size != 2 * (size_t)CN_SEAL_KEY_SIZE ||
        sodium_hex2bin(ret_master->key, sizeof ret_master->key, *text, size,
                       NULL, &key_size, NULL) != 0 ||
        key_size != sizeof ret_master->key) {
        return false;
    }
    ret_master->id = (uint32_t)id;
    *text += size;
    return true;
}

static const struct master *s_master(const struct cn_seal *self, uint32_t id)
{
    for (size_t i = 0; i < self->count; i++) {
        if (self->masters[i].id == id) {
            return &self->masters[i];
        }
    }
    return NULL;
}

static enum cn_code
s_read_masters(struct cn_seal *self, const char *text, struct cn_err *err)
{
    for (;;) {
        text += strspn(text, "\r\n");
        if (*text == '\0') {
            break;
        }
        if (self->count == CN_SEAL_KEYS_MAX) {
            return cn_fail(err, CN_INVALID, "seal keys: more than %d",
                           CN_SEAL_KEYS_MAX);
        }
        struct master *master = &self->masters[self->count];
        if (!s_read_master(&text, master)) {
            return cn_fail(err, CN_INVALID,
                           "seal keys: line %zu is not <id>:<64 hex digits>",
                           self->count + 1);
        }
        if (s_master(self, master->id) != NULL) {
            return cn_fail(err, CN_INVALID, "seal keys: id %u is given twice",
                           master->id);
        }
        self->count++;
    }
    if (self->count == 0) {
        return cn_fail(err, CN_INVALID, "seal keys: none is given");
    }
    return CN_OK;
}

/* Derives a key for one use: keyed BLAKE2b of the use's name and subject. */
static void s_derive(const struct master *master,
                     const char use[16],
                     const uint8_t subject[16],
                     uint8_t key[CN_SEAL_KEY_SIZE])
{
    uint8_t message[32];
    memcpy(message, use, 16);
    memcpy(message + 16, subject, 16);
    int rc = crypto_generichash(key, CN_SEAL_KEY_SIZE, message, sizeof message,
                                master->key, sizeof master->key);
    assert(rc == 0);
}

struct cn_seal *cn_seal_new(const char *text, struct cn_err *err)
{
    static const uint8_t nobody[16];
    s_sodium_ready();
    struct cn_seal *self = calloc(1, sizeof *self);
    if (self == NULL) {
        (void)cn_fail(err, CN_NOMEM, "seal keys: out of memory");
        return NULL;
    }
    /* Locked where the limits allow it; sealing works without. */
    (void)sodium_mlock(self, sizeof *self);
    if (s_read_masters(self, text == NULL ? "" : text, err) != CN_OK) {
        cn_seal_free(self);
        return NULL;
    }
    s_derive(&self->masters[0], "cairn mac v1\0\0\0", nobody, self->mac_key);
    return self;
}

void cn_seal_free(struct cn_seal *self)
{
    if (self != NULL) {
        (void)sodium_munlock(self, sizeof *self);
        sodium_memzero(self, sizeof *self);
        free(self);
    }
}

/* Sealing. */

static size_t s_aad(uint8_t aad[AAD_SIZE_MAX],
                    const uint8_t head[HEAD_SIZE],
                    struct cn_uuid tenant,
                    const char *context)
{
    size_t size = strlen(context);
    assert(size > 0 && size <= CONTEXT_SIZE_MAX);
    memcpy(aad, head, HEAD_SIZE);
    memcpy(aad + HEAD_SIZE, tenant.bytes, 16);
    memcpy(aad + HEAD_SIZE + 16, context, size); /* NOLINT: bytes, no text */
    return HEAD_SIZE + 16 + size;
}

/* Valid until the next call. */
static const uint8_t *s_tenant_key(struct cn_seal *self,
                                   const struct master *master,
                                   struct cn_uuid tenant)
{
    struct derived *derived =
        &self->derived[tenant.bytes[sizeof(tenant.bytes) - 1] % DERIVED_MAX];
    if (derived->master != master || !cn_uuid_equal(derived->tenant, tenant)) {
        s_derive(master, "cairn seal v1\0\0", tenant.bytes, derived->key);
        derived->master = master;
        derived->tenant = tenant;
    }
    return derived->key;
}

enum cn_code cn_seal(struct cn_env *env,
                     struct cn_arena *arena,
                     struct cn_uuid tenant,
                     const char *context,
                     struct cn_bytes plain,
                     struct cn_bytes *ret_sealed,
                     struct cn_err *err)
{
    const struct master *master = &env->seal->masters[0];
    size_t size = 0;
    uint8_t *sealed = NULL;
    if (!__builtin_add_overflow(plain.size, (size_t)CN_SEAL_OVERHEAD, &size)) {
        sealed = cn_arena_try(arena, size);
    }
    if (sealed == NULL) {
        return cn_fail(err, CN_NOMEM, "seal: no memory for %zu bytes",
                       plain.size);
    }
    sealed[0] = VERSION;
    for (int i = 0; i < 4; i++) {
        sealed[1 + i] = (uint8_t)(master->id >> (24 - 8 * i));
    }
    env->random(env, sealed + HEAD_SIZE, NONCE_SIZE);
    uint8_t aad[AAD_SIZE_MAX];
    size_t aad_size = s_aad(aad, sealed, tenant, context);
    int rc = crypto_aead_xchacha20poly1305_ietf_encrypt(
        sealed + HEAD_SIZE + NONCE_SIZE, NULL, plain.data, plain.size, aad,
        aad_size, NULL, sealed + HEAD_SIZE,
        s_tenant_key(env->seal, master, tenant));
    assert(rc == 0);
    *ret_sealed = (struct cn_bytes){ sealed, size };
    return CN_OK;
}

enum cn_code cn_unseal(struct cn_env *env,
                       struct cn_arena *arena,
                       struct cn_uuid tenant,
                       const char *context,
                       struct cn_bytes sealed,
                       struct cn_bytes *ret_plain,
                       struct cn_err *err)
{
    if (sealed.size < CN_SEAL_OVERHEAD || sealed.data[0] != VERSION) {
        return cn_fail(err, CN_INTERNAL, "unseal %s: not sealed bytes",
                       context);
    }
    uint32_t id = 0;
    for (int i = 0; i < 4; i++) {
        id = id << 8 | sealed.data[1 + i];
    }
    const struct master *master = s_master(env->seal, id);
    if (master == NULL) {
        return cn_fail(err, CN_INTERNAL, "unseal %s: no key %u", context, id);
    }
    size_t size = sealed.size - CN_SEAL_OVERHEAD;
    uint8_t *plain = cn_arena_try(arena, size);
    if (plain == NULL) {
        return cn_fail(err, CN_NOMEM, "unseal: no memory for %zu bytes", size);
    }
    uint8_t aad[AAD_SIZE_MAX];
    size_t aad_size = s_aad(aad, sealed.data, tenant, context);
    int rc = crypto_aead_xchacha20poly1305_ietf_decrypt(
        plain, NULL, NULL, sealed.data + HEAD_SIZE + NONCE_SIZE,
        size + TAG_SIZE, aad, aad_size, sealed.data + HEAD_SIZE,
        s_tenant_key(env->seal, master, tenant));
    if (rc != 0) {
        return cn_fail(err, CN_INTERNAL, "unseal %s: it does not open",
                       context);
    }
    *ret_plain = (struct cn_bytes){ plain, size };
    return CN_OK;
}

enum cn_code cn_seal_message(struct cn_env *env,
                             struct cn_arena *arena,
                             struct cn_uuid tenant,
                             const char *context,
                             const ProtobufCMessage *message,
                             struct cn_bytes *ret_sealed,
                             struct cn_err *err)
{
    struct cn_bytes packed = { 0 };
    enum cn_code rc = cn_message_pack(arena, message, &packed, err);
    if (rc != CN_OK) {
        return rc;
    }
    return cn_seal(env, arena, tenant, context, packed, ret_sealed, err);
}

enum cn_code cn_unseal_message(struct cn_env *env,
                               struct cn_arena *arena,
                               struct cn_uuid tenant,
                               const char *context,
                               struct cn_bytes sealed,
                               const ProtobufCMessageDescriptor *descriptor,
                               ProtobufCMessage **ret_message,
                               struct cn_err *err)
{
    struct cn_bytes plain = { 0 };
    enum cn_code rc =
        cn_unseal(env, arena, tenant, context, sealed, &plain, err);
    if (rc != CN_OK) {
        return rc;
    }
    const ProtobufCMessage *message = NULL;
    rc = cn_message_unpack(arena, descriptor, plain, &message, err);
    if (rc == CN_NOMEM) {
        return rc;
    }
    if (rc != CN_OK) {
        /* We sealed these bytes ourselves: no client is at fault. */
        return cn_fail(err, CN_INTERNAL, "unseal %s: it is not a %s", context,
                       descriptor->name);
    }
    /* It was made in this arena just now; const only guards requests. */
    *ret_message = (ProtobufCMessage *)(uintptr_t)message;
    return CN_OK;
}

enum cn_code cn_seal_text(struct cn_env *env,
                          struct cn_arena *arena,
                          struct cn_uuid tenant,
                          const char *context,
                          struct cn_bytes plain,
                          const char **ret_text,
                          struct cn_err *err)
{
    struct cn_bytes sealed = { 0 };
    enum cn_code rc = cn_seal(env, arena, tenant, context, plain, &sealed, err);
    if (rc != CN_OK) {
        return rc;
    }
    size_t size = sodium_base64_encoded_len(sealed.size, TEXT_VARIANT);
    char *text = cn_arena_try(arena, size);
    if (text == NULL) {
        return cn_fail(err, CN_NOMEM, "seal: no memory for %zu bytes", size);
    }
    *ret_text =
        sodium_bin2base64(text, size, sealed.data, sealed.size, TEXT_VARIANT);
    return CN_OK;
}

enum cn_code cn_unseal_text(struct cn_env *env,
                            struct cn_arena *arena,
                            struct cn_uuid tenant,
                            const char *context,
                            const char *text,
                            struct cn_bytes *ret_plain,
                            struct cn_err *err)
{
    size_t size = strlen(text);
    size_t sealed_size = 0;
    uint8_t *sealed = cn_arena_try(arena, size + 1);
    if (sealed == NULL) {
        return cn_fail(err, CN_NOMEM, "unseal: no memory for %zu bytes", size);
    }
    if (sodium_base642bin(sealed, size + 1, text, size, NULL, &sealed_size,
                          NULL, TEXT_VARIANT) != 0) {
        return cn_fail(err, CN_MALFORMED, "unseal %s: it is not sealed text",
                       context);
    }
    enum cn_code rc =
        cn_unseal(env, arena, tenant, context,
                  (struct cn_bytes){ sealed, sealed_size }, ret_plain, err);
    if (rc == CN_INTERNAL) {
        /* The bytes come from a client: this is not an internal error. */
        cn_err_clear(err);
        return cn_fail(err, CN_MALFORMED, "unseal %s: it does not open",
                       context);
    }
    return rc;
}

/* Hashes. */

void cn_seal_mac(struct cn_seal *self, struct cn_bytes data, uint8_t mac[16])
{
    int rc = crypto_generichash(mac, 16, data.data, data.size, self->mac_key,
                                sizeof self->mac_key);
    assert(rc == 0);
}

void cn_sha256(struct cn_bytes data, uint8_t digest[CN_SHA256_SIZE])
{
    cn_sha256_parts(&data, 1, digest);
}

void cn_sha256_parts(const struct cn_bytes *parts,
                     size_t count,
                     uint8_t digest[CN_SHA256_SIZE])
{
    s_sodium_ready();
    crypto_hash_sha256_state state;
    (void)crypto_hash_sha256_init(&state);
    for (size_t i = 0; i < count; i++) {
        if (parts[i].size > 0) {
            (void)crypto_hash_sha256_update(&state, parts[i].data,
                                            parts[i].size);
        }
    }
    (void)crypto_hash_sha256_final(&state, digest);
}

/* Signatures. */

/* libsodium's secret key is the seed and the public key. */
static void s_sign_pair(const uint8_t seed[CN_SIGN_SECRET_SIZE],
                        uint8_t public_key[CN_SIGN_PUBLIC_SIZE],
                        uint8_t secret[crypto_sign_SECRETKEYBYTES])
{
    s_sodium_ready();
    int rc = crypto_sign_seed_keypair(public_key, secret, seed);
    assert(rc == 0);
}

void cn_sign_public(const uint8_t secret[CN_SIGN_SECRET_SIZE],
                    uint8_t public_key[CN_SIGN_PUBLIC_SIZE])
{
    uint8_t pair[crypto_sign_SECRETKEYBYTES];
    s_sign_pair(secret, public_key, pair);
    sodium_memzero(pair, sizeof pair);
}

void cn_sign(const uint8_t secret[CN_SIGN_SECRET_SIZE],
             struct cn_bytes data,
             uint8_t signature[CN_SIGN_SIZE])
{
    uint8_t public_key[CN_SIGN_PUBLIC_SIZE];
    uint8_t pair[crypto_sign_SECRETKEYBYTES];
    s_sign_pair(secret, public_key, pair);
    int rc = crypto_sign_detached(signature, NULL, data.data, data.size, pair);
    assert(rc == 0);
    sodium_memzero(pair, sizeof pair);
}

bool cn_sign_verify(const uint8_t public_key[CN_SIGN_PUBLIC_SIZE],
                    struct cn_bytes data,
                    const uint8_t signature[CN_SIGN_SIZE])
{
    s_sodium_ready();
    return crypto_sign_verify_detached(signature, data.data, data.size,
                                       public_key) == 0;
}

/* Hex. */

void cn_hex(const uint8_t *data, size_t size, char *text)
{
    (void)sodium_bin2hex(text, 2 * size + 1, data, size);
}

bool cn_unhex(const char *text, uint8_t *data, size_t size)
{
    size_t read_size = 0;
    return text != NULL && strlen(text) == 2 * size &&
           sodium_hex2bin(data, size, text, 2 * size, NULL, &read_size, NULL) ==
               0 &&
           read_size == size;
}

bool cn_equal_secret(const void *a, const void *b, size_t size)
{
    return sodium_memcmp(a, b, size) == 0;
}
