/* SPDX-License-Identifier: Apache-2.0 */
/* Recomputes the chains of a service and names, for each tenant, the first row
 * that is not as it was sealed. Pure: audit_scan.h (from the database) or
 * audit_export.h (from a file) hands it the entries in the order of seq. */
#ifndef CN_AUDIT_VERIFY_H
#define CN_AUDIT_VERIFY_H

#include "common/audit/audit_chain.h"
#include "common/audit/audit_heads.h"
#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cn_audit_verify;

enum cn_audit_wrong {
    CN_AUDIT_CHANGED,
    CN_AUDIT_MISSING,
    CN_AUDIT_MOVED,
    CN_AUDIT_EXTRA,
    CN_AUDIT_CUT,        /* the chain ends before its head */
    CN_AUDIT_OTHER,      /* a sound chain, but not that of the head */
    CN_AUDIT_UNREADABLE, /* a line of an export */
    CN_AUDIT_GAP         /* in the order over all tenants */
};
const char *cn_audit_wrong_text(enum cn_audit_wrong wrong);

struct cn_audit_fault {
    enum cn_audit_wrong wrong;
    struct cn_uuid tenant_id; /* nil: not known */
    struct cn_uuid id;        /* of the row; nil: not known */
    int64_t n;                /* 0: not known */
    size_t line;              /* of an export; 0: from the database */
};

/* whole: the entries of all tenants are handed in, so the order over all of
 * them is checked too. NULL without memory. */
struct cn_audit_verify *cn_audit_verify_new(const char *service, bool whole);
/* NULL is accepted. */
void cn_audit_verify_free(struct cn_audit_verify *self);
/* The heads that the chains must reach; before the first entry. tenant: only
 * its head, unless it is nil. CN_NOMEM; CN_INVALID for heads of another
 * service. */
CN_CHECKED enum cn_code
cn_audit_verify_heads(struct cn_audit_verify *self,
                      const struct cn_audit_heads *heads,
                      struct cn_uuid tenant,
                      struct cn_err *err);
/* The next entry; line: where it stands in an export, else 0. CN_NOMEM. */
CN_CHECKED enum cn_code
cn_audit_verify_entry(struct cn_audit_verify *self,
                      const struct cn_audit_entry *entry,
                      size_t line,
                      struct cn_err *err);
/* Adds a fault that the caller found: a row that should be sealed and is not, a
 * line that cannot be read. CN_NOMEM. */
CN_CHECKED enum cn_code cn_audit_verify_add(struct cn_audit_verify *self,
                                            struct cn_audit_fault fault,
                                            struct cn_err *err);
/* Ends the verification. last_seq: at least so many rows were sealed. CN_NOMEM.
 */
CN_CHECKED enum cn_code cn_audit_verify_end(struct cn_audit_verify *self,
                                            int64_t last_seq,
                                            struct cn_err *err);

/* After the end. */
size_t cn_audit_verify_fault_count(const struct cn_audit_verify *self);
struct cn_audit_fault cn_audit_verify_fault(const struct cn_audit_verify *self,
                                            size_t index);
int64_t cn_audit_verify_row_count(const struct cn_audit_verify *self);
size_t cn_audit_verify_chain_count(const struct cn_audit_verify *self);

#endif
