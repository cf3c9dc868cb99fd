/* SPDX-License-Identifier: Apache-2.0 */
/* Sealing of sensitive bytes at rest: XChaCha20-Poly1305 (libsodium) under a
 * key per tenant derived from a master key; the master key's id is in front of
 * the ciphertext. context ("referrals.referral.body") and the tenant are bound,
 * so a ciphertext moved to another place does not open. */
#ifndef CN_SEAL_H
#define CN_SEAL_H

#include "common/base/arena.h"
#include "common/base/err.h"
#include "common/base/id.h"

struct cn_env;
struct cn_seal;

enum {
    CN_SEAL_KEY_SIZE = 32,
    CN_SEAL_KEYS_MAX = 16,
    CN_SEAL_OVERHEAD = 1 + 4 + 24 + 16,
    CN_SHA256_SIZE = 32,
    CN_SIGN_SECRET_SIZE = 32, /* the seed of the pair */
    CN_SIGN_PUBLIC_SIZE = 32,
    CN_SIGN_SIZE = 64
};

/* text: lines "<id>:<64 hex digits>". The first key seals, every key opens.
 * NULL with err set when the text is malformed. */
struct cn_seal *cn_seal_new(const char *text, struct cn_err *err);
void cn_seal_free(struct cn_seal *self);
CN_CHECKED enum cn_code cn_seal(struct cn_env *env,
                                struct cn_arena *arena,
                                struct cn_uuid tenant,
                                const char *context,
                                struct cn_bytes plain,
                                struct cn_bytes *ret_sealed,
                                struct cn_err *err);
/* CN_INTERNAL when it does not open: key, context or tenant is another one, or
 * the bytes were changed. */
CN_CHECKED enum cn_code cn_unseal(struct cn_env *env,
                                  struct cn_arena *arena,
                                  struct cn_uuid tenant,
                                  const char *context,
                                  struct cn_bytes sealed,
                                  struct cn_bytes *ret_plain,
                                  struct cn_err *err);
/* Pack and seal, unseal and unpack, as for a resource's body column. */
CN_CHECKED enum cn_code cn_seal_message(struct cn_env *env,
                                        struct cn_arena *arena,
                                        struct cn_uuid tenant,
                                        const char *context,
                                        const ProtobufCMessage *message,
                                        struct cn_bytes *ret_sealed,
                                        struct cn_err *err);
CN_CHECKED enum cn_code
cn_unseal_message(struct cn_env *env,
                  struct cn_arena *arena,
                  struct cn_uuid tenant,
                  const char *context,
                  struct cn_bytes sealed,
                  const ProtobufCMessageDescriptor *descriptor,
                  ProtobufCMessage **ret_message,
                  struct cn_err *err);
/* The same as text for a URL or a header field (base64url, not padded).
 * cn_unseal_text takes what a client sent: CN_MALFORMED for anything that
 * cn_seal_text did not make for this tenant and context. */
CN_CHECKED enum cn_code cn_seal_text(struct cn_env *env,
                                     struct cn_arena *arena,
                                     struct cn_uuid tenant,
                                     const char *context,
                                     struct cn_bytes plain,
                                     const char **ret_text,
                                     struct cn_err *err);
CN_CHECKED enum cn_code cn_unseal_text(struct cn_env *env,
                                       struct cn_arena *arena,
                                       struct cn_uuid tenant,
                                       const char *context,
                                       const char *text,
                                       struct cn_bytes *ret_plain,
                                       struct cn_err *err);
/* Keyed hash for cursors (BLAKE2b under a key derived from the first master
 * key), 16 bytes. */
void cn_seal_mac(struct cn_seal *self, struct cn_bytes data, uint8_t mac[16]);

/* SHA-256, of one piece and of several as if they were one. */
void cn_sha256(struct cn_bytes data, uint8_t digest[CN_SHA256_SIZE]);
void cn_sha256_parts(const struct cn_bytes *parts,
                     size_t count,
                     uint8_t digest[CN_SHA256_SIZE]);
/* Signatures: Ed25519 (RFC 8032). The public half of a secret key. */
void cn_sign_public(const uint8_t secret[CN_SIGN_SECRET_SIZE],
                    uint8_t public_key[CN_SIGN_PUBLIC_SIZE]);
void cn_sign(const uint8_t secret[CN_SIGN_SECRET_SIZE],
             struct cn_bytes data,
             uint8_t signature[CN_SIGN_SIZE]);
CN_CHECKED bool cn_sign_verify(const uint8_t public_key[CN_SIGN_PUBLIC_SIZE],
                               struct cn_bytes data,
                               const uint8_t signature[CN_SIGN_SIZE]);
/* Lower-case hex with a NUL: text has room for 2 * size + 1. */
void cn_hex(const uint8_t *data, size_t size, char *text);
/* Exactly `size` bytes as hex, else false. */
CN_CHECKED bool cn_unhex(const char *text, uint8_t *data, size_t size);

/* Compares in the same time wherever the two differ. */
bool cn_equal_secret(const void *a, const void *b, size_t size);

#endif
