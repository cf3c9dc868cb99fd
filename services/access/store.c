/* SPDX-License-Identifier: Apache-2.0 */
#include "services/access/store.h"

#include "common/wire/message.h"
#include "common/wire/seal.h"

#include <string.h>

/* ---- branches ---- */

CN_SQL_READ(SQL_BRANCHES_KNOWN,
            "SELECT b.id FROM access.branch b WHERE b.id = ANY ($1)");

static bool s_rows_have(const struct cn_rows *rows, struct cn_uuid id)
{
    for (size_t row = 0; row < cn_rows_count(rows); row++) {
        if (cn_uuid_equal(cn_row_uuid(rows, row, 0), id)) {
            return true;
        }
    }
    return false;
}

void branches_check(struct cn_op *op,
                    const char *pointer,
                    const char *const *ids,
                    size_t count)
{
    struct cn_uuid *wanted = cn_arena_array(op->arena, count, sizeof(*wanted));
    size_t wanted_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (ids[i] != NULL) {
            (void)!cn_id_parse("brn", ids[i], &wanted[wanted_count++]);
        }
    }
    if (wanted_count == 0) {
        return;
    }
    const struct cn_rows *rows =
        CN_READ(op, &SQL_BRANCHES_KNOWN, cn_uuids(wanted, wanted_count));
    for (size_t i = 0; !cn_failed(op) && i < wanted_count; i++) {
        if (!s_rows_have(rows, wanted[i])) {
            cn_refuse_field(op, pointer, "unknown_branch",
                            "is no branch of the agency");
        }
    }
}

/* ---- keys ---- */

/* The hash of the key's text: read with the row, or put there by
 * api_key_put_new. */
static uint8_t *s_key_hash(struct cn_op *op, const struct cn_record *record)
{
    uint8_t *hash = cn_arena_alloc(op->arena, CN_SHA256_SIZE);
    if (record->also == NULL || !cn_unhex(record->also, hash, CN_SHA256_SIZE)) {
        cn_refuse(op, CN_INTERNAL, NULL, "the key has no hash");
    }
    return hash;
}

void acc_api_key_derived(struct cn_op *op,
                         const struct cn_record *record,
                         struct cn_param *ret_params)
{
    ret_params[0] = cn_bytes(s_key_hash(op, record), CN_SHA256_SIZE);
}

void *acc_api_key_tell(struct cn_op *op, struct cn_record *record)
{
    Acc__KeyEvent *event = CN_NEW(op->arena, acc__key_event, Acc__KeyEvent);
    event->api_key = record->shown;
    CN_SET(event, key_hash,
           ((ProtobufCBinaryData){ CN_SHA256_SIZE, s_key_hash(op, record) }));
    return event;
}

const char *api_key_put_new(struct cn_op *op, struct cn_record *record)
{
    Acc__ApiKey *key = record->body;
    uint8_t random[API_KEY_RANDOM_SIZE];
    uint8_t hash[CN_SHA256_SIZE];
    char *text = cn_arena_alloc(op->arena, API_KEY_TEXT_MAX);
    char *hash_text = cn_arena_alloc(op->arena, 2 * CN_SHA256_SIZE + 1);
    op->env->random(op->env, random, sizeof(random));
    api_key_text(random, text);
    cn_sha256((struct cn_bytes){ (const uint8_t *)text, strlen(text) }, hash);
    cn_hex(hash, sizeof(hash), hash_text);
    record->also = hash_text;
    key->prefix = cn_arena_strndup(op->arena, text, API_KEY_PREFIX_SIZE);
    cn_also_tell(record, "key.created");
    cn_put(op, record);
    return text;
}

CN_SQL_RELAY(SQL_FIND_KEY,
             "SELECT k.tenant_id, k.body, u.body"
             " FROM access.api_key k LEFT JOIN access.app_user u"
             " ON u.tenant_id = k.tenant_id AND u.id = k.user_id"
             " WHERE k.key_hash = $1");

struct key_row key_find(struct cn_op *op, struct cn_bytes key_hash)
{
    const struct cn_rows *rows =
        CN_READ(op, &SQL_FIND_KEY, cn_bytes(key_hash.data, key_hash.size));
    struct key_row row = { .found = cn_rows_count(rows) == 1 };
    if (!row.found) {
        return row;
    }
    row.tenant_id = cn_row_uuid(rows, 0, 0);
    /* Sealed for the tenant that the key tells. */
    op->tenant_id = row.tenant_id;
    row.key = cn_opened(op, acc__api_key__resource.context, rows, 0, 1,
                        &acc__api_key__descriptor);
    if (!cn_row_null(rows, 0, 2)) {
        row.user = cn_opened(op, acc__user__resource.context, rows, 0, 2,
                             &acc__user__descriptor);
    }
    return row;
}
