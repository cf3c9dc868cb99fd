/* SPDX-License-Identifier: Apache-2.0 */
/* The chain of hashes over a tenant's audit rows in one service. Pure
 * functions.
 *
 *   h(0) = SHA-256("cairn audit chain" 00 service 00 tenant_id)
 *   h(n) = SHA-256(h(n-1) | canonical(row n))
 *
 * canonical(row), form 1: each column in the order tenant_id, id, at, actor,
 * role, action, resource, patients, request_id, epoch, xid as its length in
 * four bytes, big-endian, and its bytes; NULL is the length ffffffff. A uuid is
 * its 16 bytes, at (microseconds UTC since 1970), epoch and xid are eight bytes
 * big-endian, a text is its UTF-8, patients is the text that PostgreSQL gives
 * to the list ("{<uuid>,<uuid>}"). A new column makes a new form; rows of older
 * forms keep theirs. */
#ifndef CN_AUDIT_CHAIN_H
#define CN_AUDIT_CHAIN_H

#include "common/base/err.h"
#include "common/base/id.h"
#include "common/db/db.h"
#include "common/wire/seal.h"

#include <stdbool.h>
#include <stdint.h>

enum { CN_AUDIT_FORM = 1 }; /* of the rows that are sealed now */

/* A sealed audit row: the row and its place in the chain. */
struct cn_audit_entry {
    struct cn_uuid tenant_id;
    struct cn_uuid id;
    int64_t n;   /* place in the tenant's chain, from 1 */
    int64_t seq; /* place among those of all tenants, from 1 */
    int64_t form;
    uint8_t hash[CN_SHA256_SIZE]; /* h(n) */
    bool has_row; /* false: the row is gone, and what follows here is 0 */
    int64_t at;
    const char *actor;
    const char *role;
    const char *action;
    const char *resource;   /* or NULL */
    const char *patients;   /* "{...}" */
    const char *request_id; /* or NULL */
    int64_t epoch;
    int64_t xid;
};

/* h(0). */
void cn_audit_chain_begin(const char *service,
                          struct cn_uuid tenant_id,
                          uint8_t hash[CN_SHA256_SIZE]);
/* h(n) from h(n-1) and the entry's row. False for a form that is not known, or
 * without a row. previous and hash may be the same bytes. */
CN_CHECKED bool cn_audit_chain_next(const uint8_t previous[CN_SHA256_SIZE],
                                    const struct cn_audit_entry *entry,
                                    uint8_t hash[CN_SHA256_SIZE]);
/* The order in which a tenant's rows are sealed: epoch, xid, id. */
int cn_audit_order(const struct cn_audit_entry *a,
                   const struct cn_audit_entry *b);

/* The columns of the table audit (named a) that cn_audit_entry_row reads; the
 * entry's texts belong to the rows. */
#define CN_AUDIT_COLUMNS                                                       \
    "a.id, a.at, a.actor, a.role, a.action, a.resource, a.patients::text,"     \
    " a.request_id, a.epoch, a.xid"
enum { CN_AUDIT_COLUMN_COUNT = 10 };
void cn_audit_entry_row(struct cn_audit_entry *entry,
                        const struct cn_rows *rows,
                        size_t row,
                        int first_column);

#endif
