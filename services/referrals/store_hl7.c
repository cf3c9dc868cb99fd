/* SPDX-License-Identifier: Apache-2.0 */
/* HL7 messages as they came, as rows. */
#include "common/wire/seal.h"
#include "services/referrals/store_internal.h"

#include <string.h>

#define RAW_CONTENT "referrals.raw_message.content"
#define RAW_ACK     "referrals.raw_message.ack"

static enum cn_code s_open(const struct cn_store *store,
                           const char *context,
                           struct cn_bytes sealed,
                           struct cn_bytes *ret_plain,
                           struct cn_err *err)
{
    return cn_unseal(store->env, store->arena, store->tenant_id, context,
                     sealed, ret_plain, err);
}

CN_SQL_READ(SQL_RAW_FIND,
            "SELECT m.ack IS NOT NULL, m.referral_id, m.ack,"
            " EXISTS (SELECT 1 FROM referrals.raw_message o"
            " WHERE o.tenant_id = $1 AND o.control_hash = $2"
            " AND o.body_hash <> $3), r.patient_id, r.branch_id"
            " FROM (VALUES (1)) AS s (one) LEFT JOIN referrals.raw_message m"
            " ON m.tenant_id = $1 AND m.control_hash = $2"
            " AND m.body_hash = $3 AND m.ack_code = 'AA'"
            " LEFT JOIN referrals.referral r"
            " ON r.tenant_id = $1 AND r.id = m.referral_id");

enum cn_code raw_find(const struct cn_store *store,
                      const uint8_t control_hash[32],
                      const uint8_t body_hash[32],
                      bool *ret_found,
                      struct raw_row *ret_row,
                      struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc = CN_STORE_READ(
        store, &SQL_RAW_FIND, &rows, err, cn_uuid(store->tenant_id),
        cn_bytes(control_hash, 32), cn_bytes(body_hash, 32));
    if (rc != CN_OK) {
        return rc;
    }
    bool found = cn_row_bool(rows, 0, 0);
    struct raw_row row = { .referral_id = cn_row_uuid(rows, 0, 1),
                           .control_id_reused = cn_row_bool(rows, 0, 3),
                           .patient_id = cn_row_uuid(rows, 0, 4),
                           .branch_id = cn_row_uuid(rows, 0, 5) };
    if (found) {
        rc = s_open(store, RAW_ACK, cn_row_bytes(rows, 0, 2), &row.ack, err);
    }
    if (rc == CN_OK) {
        *ret_found = found;
        *ret_row = row;
    }
    return rc;
}

CN_SQL_READ(SQL_RAW_GET,
            "SELECT m.content_type, m.content FROM referrals.raw_message m"
            " WHERE m.tenant_id = $1 AND m.referral_id = $2"
            " ORDER BY m.received_at, m.id LIMIT 1");

enum cn_code raw_load(const struct cn_store *store,
                      struct cn_uuid referral_id,
                      struct raw_row *ret_row,
                      struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc =
        CN_STORE_READ(store, &SQL_RAW_GET, &rows, err,
                      cn_uuid(store->tenant_id), cn_uuid(referral_id));
    if (rc != CN_OK) {
        return rc;
    }
    if (cn_rows_count(rows) == 0) {
        return cn_fail(err, CN_NOT_FOUND, "the referral came in no message");
    }
    struct raw_row row = { .content_type = cn_row_text(rows, 0, 0) };
    rc =
        s_open(store, RAW_CONTENT, cn_row_bytes(rows, 0, 1), &row.content, err);
    if (rc == CN_OK) {
        *ret_row = row;
    }
    return rc;
}

CN_SQL_WRITE(SQL_RAW_ADD,
             "INSERT INTO referrals.raw_message (tenant_id, id, referral_id,"
             " received_at, content_type, message_type, sender, control_id,"
             " control_id_reused, control_hash, body_hash, ack_code, content,"
             " ack) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,"
             " $13, $14)");

enum cn_code raw_add(const struct cn_store *store,
                     struct cn_write *write,
                     const struct raw_row *row,
                     struct cn_err *err)
{
    struct cn_bytes content;
    struct cn_bytes ack;
    enum cn_code rc = cn_seal(store->env, store->arena, store->tenant_id,
                              RAW_CONTENT, row->content, &content, err);
    if (rc == CN_OK) {
        rc = cn_seal(store->env, store->arena, store->tenant_id, RAW_ACK,
                     row->ack, &ack, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    CN_CHANGE(write, &SQL_RAW_ADD, cn_uuid(store->tenant_id), cn_uuid(row->id),
              cn_uuid_or_null(row->referral_id), cn_at(row->received_at),
              cn_text(row->content_type), cn_text(row->message_type),
              cn_text(row->sender), cn_text(row->control_id),
              cn_bool(row->control_id_reused), cn_bytes(row->control_hash, 32),
              cn_bytes(row->body_hash, 32), cn_text(row->ack_code),
              cn_bytes(content.data, content.size),
              cn_bytes(ack.data, ack.size));
    return CN_OK;
}
