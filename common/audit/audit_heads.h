/* SPDX-License-Identifier: Apache-2.0 */
/* The heads of a service's chains, exported outside the database: whoever cuts
 * the end off a chain, or makes a chain anew, must change them too. A text
 * file, signed with Ed25519 over all lines before the last:
 *
 *   cairn-audit-heads 1
 *   service referrals
 *   at 2026-03-09T21:00:00Z
 *   head <tenant> <n> <hash, hex>            a line for each tenant, sorted
 *   key <public key, hex> or: key none
 *   signature <hex> or: signature none
 */
#ifndef CN_AUDIT_HEADS_H
#define CN_AUDIT_HEADS_H

#include "common/audit/audit_seal.h"
#include "common/base/arena.h"
#include "common/base/env.h"
#include "common/base/err.h"
#include "common/base/id.h"
#include "common/wire/seal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The end of a tenant's chain. */
struct cn_audit_head {
    struct cn_uuid tenant_id;
    int64_t n;
    uint8_t hash[CN_SHA256_SIZE];
};

/* A file of heads; all of it in an arena. */
struct cn_audit_heads {
    const char *service;
    const char *at;
    const struct cn_audit_head *items;
    size_t count;
    bool is_signed;
    bool is_right; /* the signature was made with the key in the file */
    uint8_t public_key[CN_SIGN_PUBLIC_SIZE];
    uint8_t signature[CN_SIGN_SIZE];
};

/* The ends of all chains of the database's service, by tenant. */
CN_CHECKED enum cn_code cn_audit_heads_load(struct cn_env *env,
                                            struct cn_arena *arena,
                                            struct cn_audit_head **ret_heads,
                                            size_t *ret_count,
                                            struct cn_err *err);
/* The text of a file. key: 64 hex digits, or "" for an unsigned file. NULL when
 * it does not fit into memory, the arena or 64 MiB. */
const char *cn_audit_heads_text(struct cn_arena *arena,
                                const char *service,
                                int64_t at,
                                const struct cn_audit_head *heads,
                                size_t count,
                                const char *key);
/* Reads a file's text. The signature is checked against the key in the text;
 * the caller checks whose key that is. CN_MALFORMED for anything that is not
 * exactly what cn_audit_heads_text writes. */
CN_CHECKED enum cn_code cn_audit_heads_read(struct cn_arena *arena,
                                            const char *text,
                                            struct cn_audit_heads *ret_heads,
                                            struct cn_err *err);
/* Writes <folder>/<service>.heads, whole or not at all. A file whose heads are
 * no longer places of the chains is kept: CN_CONFLICT and *ret_broken. */
CN_CHECKED enum cn_code
cn_audit_heads_export(struct cn_env *env,
                      const struct cn_audit_heads_config *config,
                      bool *ret_broken,
                      struct cn_err *err);
/* A whole file into the arena, with a NUL after it. CN_NOT_FOUND when there is
 * none, CN_UNAVAILABLE when it cannot be read, CN_TOO_LARGE over 64 MiB. */
CN_CHECKED enum cn_code cn_audit_file_read(struct cn_arena *arena,
                                           const char *path,
                                           const char **ret_text,
                                           struct cn_err *err);

#endif
