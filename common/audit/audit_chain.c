/* SPDX-License-Identifier: Apache-2.0 */
/* The canonical form of an audit row, and the chain over it. */
#include "common/audit/audit_chain.h"

#include "common/base/array.h"

#include <assert.h>
#include <string.h>

static const char DOMAIN[] = "cairn audit chain";

enum {
    COLUMNS = 11,
    LENGTH_SIZE = 4,
    NUMBER_SIZE = 8,
    NULL_LENGTH = -1 /* as four bytes: ffffffff */
};

/* The parts of one link, and the memory of lengths and numbers. */
struct canonical {
    struct cn_bytes parts[1 + 2 * COLUMNS];
    size_t count;
    uint8_t lengths[COLUMNS][LENGTH_SIZE];
    uint8_t numbers[COLUMNS][NUMBER_SIZE];
};

static void s_big_endian(uint64_t value, uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(value >> 8 * (size - 1 - i));
    }
}

static void
s_canonical_data(struct canonical *self, const void *data, size_t size)
{
    uint8_t *length = self->lengths[self->count / 2];
    uint32_t told = data == NULL ? (uint32_t)NULL_LENGTH : (uint32_t)size;
    assert(self->count + 2 <= CN_COUNT(self->parts));
    s_big_endian(told, length, LENGTH_SIZE);
    self->parts[self->count++] = (struct cn_bytes){ length, LENGTH_SIZE };
    self->parts[self->count++] =
        (struct cn_bytes){ data, data == NULL ? 0 : size };
}

static void s_canonical_text(struct canonical *self, const char *text)
{
    s_canonical_data(self, text, text == NULL ? 0 : strlen(text));
}

static void s_canonical_number(struct canonical *self, int64_t number)
{
    uint8_t *bytes = self->numbers[self->count / 2];
    s_big_endian((uint64_t)number, bytes, NUMBER_SIZE);
    s_canonical_data(self, bytes, NUMBER_SIZE);
}

void cn_audit_chain_begin(const char *service,
                          struct cn_uuid tenant_id,
                          uint8_t hash[CN_SHA256_SIZE])
{
    const struct cn_bytes parts[] = {
        { (const uint8_t *)DOMAIN, sizeof(DOMAIN) },
        { (const uint8_t *)service, strlen(service) + 1 },
        { tenant_id.bytes, sizeof(tenant_id.bytes) },
    };
    cn_sha256_parts(parts, CN_COUNT(parts), hash);
}

bool cn_audit_chain_next(const uint8_t previous[CN_SHA256_SIZE],
                         const struct cn_audit_entry *entry,
                         uint8_t hash[CN_SHA256_SIZE])
{
    struct canonical row = { .count = 0 };
    if (entry->form != CN_AUDIT_FORM || !entry->has_row) {
        return false;
    }
    row.parts[row.count++] = (struct cn_bytes){ previous, CN_SHA256_SIZE };
    s_canonical_data(&row, entry->tenant_id.bytes,
                     sizeof(entry->tenant_id.bytes));
    s_canonical_data(&row, entry->id.bytes, sizeof(entry->id.bytes));
    s_canonical_number(&row, entry->at);
    s_canonical_text(&row, entry->actor);
    s_canonical_text(&row, entry->role);
    s_canonical_text(&row, entry->action);
    s_canonical_text(&row, entry->resource);
    s_canonical_text(&row, entry->patients);
    s_canonical_text(&row, entry->request_id);
    s_canonical_number(&row, entry->epoch);
    s_canonical_number(&row, entry->xid);
    cn_sha256_parts(row.parts, row.count, hash);
    return true;
}

static int s_int64_compare(int64_t a, int64_t b)
{
    return a < b ? -1 : a > b;
}

int cn_audit_order(const struct cn_audit_entry *a,
                   const struct cn_audit_entry *b)
{
    int order = s_int64_compare(a->epoch, b->epoch);
    if (order == 0) {
        order = s_int64_compare(a->xid, b->xid);
    }
    return order != 0 ? order : cn_uuid_compare(a->id, b->id);
}

void cn_audit_entry_row(struct cn_audit_entry *entry,
                        const struct cn_rows *rows,
                        size_t row,
                        int first_column)
{
    int column = first_column;
    entry->has_row = !cn_row_null(rows, row, column);
    if (!entry->has_row) {
        return;
    }
    entry->id = cn_row_uuid(rows, row, column++);
    entry->at = cn_row_at(rows, row, column++);
    entry->actor = cn_row_text(rows, row, column++);
    entry->role = cn_row_text(rows, row, column++);
    entry->action = cn_row_text(rows, row, column++);
    entry->resource = cn_row_text(rows, row, column++);
    entry->patients = cn_row_text(rows, row, column++);
    entry->request_id = cn_row_text(rows, row, column++);
    entry->epoch = cn_row_int(rows, row, column++);
    entry->xid = cn_row_int(rows, row, column++);
    assert(column == first_column + CN_AUDIT_COLUMN_COUNT);
}
