/* SPDX-License-Identifier: Apache-2.0 */
/* Follows the chain of each tenant, and the order over all tenants. */
#include "common/audit/audit_verify.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_ROOM = 64 };

/* A tenant's chain as far as it has been followed. */
struct chain {
    struct cn_uuid tenant_id;
    int64_t n;
    uint8_t hash[CN_SHA256_SIZE];
    struct cn_audit_entry last; /* for its order; its texts are gone */
    bool has_head;
    struct cn_audit_head head;
    bool failed;
    size_t fault;   /* index of its fault */
    bool undecided; /* changed or moved: the next entry shows which */
};

struct cn_audit_verify {
    char *service;
    bool whole;
    struct chain *chains; /* by tenant */
    size_t chain_count;
    size_t chain_room;
    struct cn_audit_fault *faults;
    size_t fault_count;
    size_t fault_room;
    int64_t row_count;
    int64_t seq; /* of the last entry */
    bool has_gap;
    struct cn_audit_fault gap;
};

const char *cn_audit_wrong_text(enum cn_audit_wrong wrong)
{
    switch (wrong) {
    case CN_AUDIT_CHANGED:
        return "changed";
    case CN_AUDIT_MISSING:
        return "missing";
    case CN_AUDIT_MOVED:
        return "moved";
    case CN_AUDIT_EXTRA:
        return "extra: it was never sealed";
    case CN_AUDIT_CUT:
        return "cut off before the head";
    case CN_AUDIT_OTHER:
        return "of another chain than the head";
    case CN_AUDIT_UNREADABLE:
        return "unreadable";
    case CN_AUDIT_GAP:
        return "out of the order of the service: one before it is missing";
    default:
        return "wrong";
    }
}

struct cn_audit_verify *cn_audit_verify_new(const char *service, bool whole)
{
    struct cn_audit_verify *self = calloc(1, sizeof(*self));
    if (self != NULL) {
        self->service = strdup(service);
        self->whole = whole;
        if (self->service == NULL) {
            free(self);
            return NULL;
        }
    }
    return self;
}

void cn_audit_verify_free(struct cn_audit_verify *self)
{
    if (self != NULL) {
        free(self->service);
        free(self->chains);
        free(self->faults);
        free(self);
    }
}

/* items with room for one more. NULL without memory: items stays as it was. */
static void *s_items_room(void *items, size_t count, size_t *room, size_t size)
{
    if (count < *room) {
        return items;
    }
    size_t wanted = *room == 0 ? FIRST_ROOM : 2 * *room;
    void *grown = reallocarray(items, wanted, size);
    if (grown != NULL) {
        *room = wanted;
    }
    return grown;
}

/* Where the tenant is, or belongs, in the sorted list. */
static size_t s_chain_place(const struct cn_audit_verify *self,
                            struct cn_uuid tenant)
{
    size_t low = 0;
    size_t high = self->chain_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (cn_uuid_compare(self->chains[middle].tenant_id, tenant) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The tenant's chain, added when it is missing. NULL without memory. */
static struct chain *s_verify_chain(struct cn_audit_verify *self,
                                    struct cn_uuid tenant)
{
    size_t place = s_chain_place(self, tenant);
    if (place < self->chain_count &&
        cn_uuid_equal(self->chains[place].tenant_id, tenant)) {
        return &self->chains[place];
    }
    struct chain *chains = s_items_room(self->chains, self->chain_count,
                                        &self->chain_room, sizeof(*chains));
    if (chains == NULL) {
        return NULL;
    }
    self->chains = chains;
    memmove(&chains[place + 1], &chains[place],
            (self->chain_count - place) * sizeof(*chains));
    self->chain_count++;
    chains[place] = (struct chain){ .tenant_id = tenant };
    cn_audit_chain_begin(self->service, tenant, chains[place].hash);
    return &chains[place];
}

enum cn_code cn_audit_verify_add(struct cn_audit_verify *self,
                                 struct cn_audit_fault fault,
                                 struct cn_err *err)
{
    struct cn_audit_fault *faults = s_items_room(
        self->faults, self->fault_count, &self->fault_room, sizeof(*faults));
    if (faults == NULL) {
        return cn_fail(err, CN_NOMEM, "verify: no memory");
    }
    self->faults = faults;
    faults[self->fault_count++] = fault;
    return CN_OK;
}

enum cn_code cn_audit_verify_heads(struct cn_audit_verify *self,
                                   const struct cn_audit_heads *heads,
                                   struct cn_uuid tenant,
                                   struct cn_err *err)
{
    if (strcmp(heads->service, self->service) != 0) {
        return cn_fail(err, CN_INVALID, "these are the heads of %.64s",
                       heads->service);
    }
    for (size_t i = 0; i < heads->count; i++) {
        const struct cn_audit_head *head = &heads->items[i];
        if (!cn_uuid_is_nil(tenant) &&
            !cn_uuid_equal(tenant, head->tenant_id)) {
            continue;
        }
        struct chain *chain = s_verify_chain(self, head->tenant_id);
        if (chain == NULL) {
            return cn_fail(err, CN_NOMEM, "verify: no memory");
        }
        chain->has_head = true;
        chain->head = *head;
    }
    return CN_OK;
}

static enum cn_code s_entry_wrong(struct cn_audit_verify *self,
                                  struct chain *chain,
                                  enum cn_audit_wrong wrong,
                                  int64_t n,
                                  struct cn_uuid id,
                                  size_t line,
                                  struct cn_err *err)
{
    chain->failed = true;
    chain->fault = self->fault_count;
    return cn_audit_verify_add(
        self,
        (struct cn_audit_fault){ .wrong = wrong,
                                 .tenant_id = chain->tenant_id,
                                 .id = id,
                                 .n = n,
                                 .line = line },
        err);
}

/* An entry behind a fault can show that a row was moved; it is not verified. */
static void s_after_fault(struct cn_audit_verify *self,
                          struct chain *chain,
                          const struct cn_audit_entry *entry)
{
    struct cn_audit_fault *fault = &self->faults[chain->fault];
    if (fault->wrong == CN_AUDIT_MISSING && entry->n == fault->n) {
        fault->wrong = CN_AUDIT_MOVED;
    }
    if (chain->undecided && entry->has_row &&
        cn_audit_order(entry, &chain->last) < 0) {
        fault->wrong = CN_AUDIT_MOVED;
    }
    chain->undecided = false;
}

/* Checks the order over all tenants. A gap is reported only when no chain has a
 * fault, which would tell more. */
static void s_order(struct cn_audit_verify *self,
                    const struct cn_audit_entry *entry,
                    size_t line)
{
    if (self->whole && !self->has_gap && entry->seq != self->seq + 1) {
        self->has_gap = true;
        self->gap = (struct cn_audit_fault){ .wrong = CN_AUDIT_GAP,
                                             .tenant_id = entry->tenant_id,
                                             .id = entry->id,
                                             .n = entry->n,
                                             .line = line };
    }
    self->seq = entry->seq;
}

static enum cn_code s_entry_link(struct cn_audit_verify *self,
                                 struct chain *chain,
                                 const struct cn_audit_entry *entry,
                                 size_t line,
                                 struct cn_err *err)
{
    uint8_t hash[CN_SHA256_SIZE];
    if (!cn_audit_chain_next(chain->hash, entry, hash) ||
        memcmp(hash, entry->hash, sizeof(hash)) != 0) {
        bool moved = chain->n > 0 && cn_audit_order(entry, &chain->last) < 0;
        chain->last = *entry;
        chain->undecided = !moved;
        return s_entry_wrong(self, chain,
                             moved ? CN_AUDIT_MOVED : CN_AUDIT_CHANGED,
                             entry->n, entry->id, line, err);
    }
    chain->n = entry->n;
    chain->last = *entry;
    memcpy(chain->hash, hash, sizeof(hash));
    if (chain->has_head && chain->head.n == entry->n &&
        memcmp(chain->head.hash, hash, sizeof(hash)) != 0) {
        return s_entry_wrong(self, chain, CN_AUDIT_OTHER, entry->n, entry->id,
                             line, err);
    }
    return CN_OK;
}

enum cn_code cn_audit_verify_entry(struct cn_audit_verify *self,
                                   const struct cn_audit_entry *entry,
                                   size_t line,
                                   struct cn_err *err)
{
    struct chain *chain = s_verify_chain(self, entry->tenant_id);
    if (chain == NULL) {
        return cn_fail(err, CN_NOMEM, "verify: no memory");
    }
    self->row_count++;
    s_order(self, entry, line);
    if (chain->failed) {
        s_after_fault(self, chain, entry);
        return CN_OK;
    }
    if (entry->n > chain->n + 1) {
        return s_entry_wrong(self, chain, CN_AUDIT_MISSING, chain->n + 1,
                             (struct cn_uuid){ { 0 } }, line, err);
    }
    if (entry->n <= chain->n) {
        return s_entry_wrong(self, chain, CN_AUDIT_EXTRA, entry->n, entry->id,
                             line, err);
    }
    if (!entry->has_row) {
        return s_entry_wrong(self, chain, CN_AUDIT_MISSING, entry->n, entry->id,
                             line, err);
    }
    return s_entry_link(self, chain, entry, line, err);
}

enum cn_code cn_audit_verify_end(struct cn_audit_verify *self,
                                 int64_t last_seq,
                                 struct cn_err *err)
{
    enum cn_code rc = CN_OK;
    for (size_t i = 0; rc == CN_OK && i < self->chain_count; i++) {
        struct chain *chain = &self->chains[i];
        if (!chain->failed && chain->has_head && chain->n < chain->head.n) {
            rc = s_entry_wrong(self, chain, CN_AUDIT_CUT, chain->n + 1,
                               (struct cn_uuid){ { 0 } }, 0, err);
        }
    }
    if (rc == CN_OK && self->fault_count == 0 && self->has_gap) {
        rc = cn_audit_verify_add(self, self->gap, err);
    }
    if (rc == CN_OK && self->fault_count == 0 && self->whole &&
        self->seq < last_seq) {
        rc = cn_audit_verify_add(
            self, (struct cn_audit_fault){ .wrong = CN_AUDIT_CUT }, err);
    }
    return rc;
}

size_t cn_audit_verify_fault_count(const struct cn_audit_verify *self)
{
    return self->fault_count;
}

struct cn_audit_fault cn_audit_verify_fault(const struct cn_audit_verify *self,
                                            size_t index)
{
    return self->faults[index];
}

int64_t cn_audit_verify_row_count(const struct cn_audit_verify *self)
{
    return self->row_count;
}

size_t cn_audit_verify_chain_count(const struct cn_audit_verify *self)
{
    return self->chain_count;
}
