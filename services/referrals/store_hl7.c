/* SPDX-License-Identifier: Apache-2.0 */
/* HL7 messages as they came, as rows. */
#include "common/wire/seal.h"
#include "services/referrals/store.h"

#define RAW_CONTENT "referrals.raw_message.content"
#define RAW_ACK     "referrals.raw_message.ack"

static struct cn_bytes s_bytes_open(struct cn_op *op,
                                    const char *context,
                                    const struct cn_rows *rows,
                                    int column)
{
    struct cn_bytes plain = { NULL, 0 };
    if (!cn_failed(op)) {
        (void)!cn_unseal(op->env, op->arena, op->tenant_id, context,
                         cn_row_bytes(rows, 0, column), &plain, op->err);
    }
    return plain;
}

static struct cn_param
s_bytes_seal(struct cn_op *op, const char *context, struct cn_bytes plain)
{
    struct cn_bytes sealed = { NULL, 0 };
    if (!cn_failed(op)) {
        (void)!cn_seal(op->env, op->arena, op->tenant_id, context, plain,
                       &sealed, op->err);
    }
    return cn_bytes(sealed.data, sealed.size);
}

CN_SQL_READ(SQL_RAW_FIND,
            "SELECT m.ack IS NOT NULL, m.referral_id, m.ack,"
            " EXISTS (SELECT 1 FROM referrals.raw_message o"
            " WHERE o.control_hash = $1 AND o.body_hash <> $2),"
            " r.patient_id, r.branch_id"
            " FROM (VALUES (1)) AS s (one) LEFT JOIN referrals.raw_message m"
            " ON m.control_hash = $1 AND m.body_hash = $2"
            " AND m.ack_code = 'AA' LEFT JOIN referrals.referral r"
            " ON r.tenant_id = m.tenant_id AND r.id = m.referral_id");

struct raw_row raw_find(struct cn_op *op,
                        const uint8_t control_hash[32],
                        const uint8_t body_hash[32],
                        bool *ret_found)
{
    const struct cn_rows *rows = CN_READ(
        op, &SQL_RAW_FIND, cn_bytes(control_hash, 32), cn_bytes(body_hash, 32));
    *ret_found = cn_rows_count(rows) > 0 && cn_row_bool(rows, 0, 0);
    if (cn_rows_count(rows) == 0) {
        return (struct raw_row){ .ack_code = NULL };
    }
    return (struct raw_row){
        .referral_id = cn_row_uuid(rows, 0, 1),
        .ack = *ret_found ? s_bytes_open(op, RAW_ACK, rows, 2)
                          : (struct cn_bytes){ NULL, 0 },
        .control_id_reused = cn_row_bool(rows, 0, 3),
        .patient_id = cn_row_uuid(rows, 0, 4),
        .branch_id = cn_row_uuid(rows, 0, 5),
    };
}

CN_SQL_READ(SQL_RAW_OF_REFERRAL,
            "SELECT m.content_type, m.content FROM referrals.raw_message m"
            " WHERE m.referral_id = $1"
            " ORDER BY m.received_at, m.id LIMIT 1");

bool raw_of_referral(struct cn_op *op,
                     struct cn_uuid referral_id,
                     struct raw_row *ret_row)
{
    const struct cn_rows *rows =
        CN_READ(op, &SQL_RAW_OF_REFERRAL, cn_uuid(referral_id));
    if (cn_rows_count(rows) == 0) {
        return false;
    }
    *ret_row =
        (struct raw_row){ .content_type = cn_row_text(rows, 0, 0),
                          .content = s_bytes_open(op, RAW_CONTENT, rows, 1) };
    return true;
}

CN_SQL_WRITE(SQL_RAW_ADD,
             "INSERT INTO referrals.raw_message (tenant_id, id, referral_id,"
             " received_at, content_type, message_type, sender,"
             " control_id_reused, control_hash, body_hash, ack_code, content,"
             " ack) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,"
             " $13)");

void raw_add(struct cn_op *op, const struct raw_row *row)
{
    CN_CHANGE(op, &SQL_RAW_ADD, cn_uuid(op->tenant_id), cn_uuid(row->id),
              cn_uuid_or_null(row->referral_id), cn_at(row->received_at),
              cn_text(row->content_type), cn_text(row->message_type),
              cn_text(row->sender), cn_bool(row->control_id_reused),
              cn_bytes(row->control_hash, 32), cn_bytes(row->body_hash, 32),
              cn_text(row->ack_code),
              s_bytes_seal(op, RAW_CONTENT, row->content),
              s_bytes_seal(op, RAW_ACK, row->ack));
}
