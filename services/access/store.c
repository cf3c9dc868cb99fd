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

/* ---- administrators ---- */

enum { KEYS_PAGE = 50 };

CN_SQL_READ(SQL_KEYS_NEWEST,
            "SELECT k.id, k.version, k.body, u.id, u.version, u.body"
            " FROM access.api_key k LEFT JOIN access.app_user u"
            " ON u.tenant_id = k.tenant_id AND u.id = k.user_id"
            " WHERE k.id < $1 ORDER BY k.id DESC LIMIT $2");

/* An administrator's key that can be used; versions of it and of its person. */
struct administrator {
    bool found;
    struct cn_uuid key_id;
    int64_t version;
    int64_t user_version; /* 0: it is nobody's */
};

static struct administrator
s_administrator_read(struct cn_op *op, const struct cn_rows *rows, size_t row)
{
    struct administrator one = {
        .key_id = cn_row_uuid(rows, row, 0),
        .version = cn_row_int(rows, row, 1),
    };
    const Acc__User *user = NULL;
    const Acc__ApiKey *key = cn_opened(op, acc__api_key__resource.context, rows,
                                       row, 2, &acc__api_key__descriptor);
    if (!cn_row_null(rows, row, 3)) {
        one.user_version = cn_row_int(rows, row, 4);
        user = cn_opened(op, acc__user__resource.context, rows, row, 5,
                         &acc__user__descriptor);
    }
    one.found = api_key_administers(key, user, op->now_at);
    return one;
}

/* The newest first: they are the ones in use. */
static struct administrator s_administrator_find(struct cn_op *op,
                                                 struct cn_uuid not_key,
                                                 struct cn_uuid not_user)
{
    struct administrator one = { .found = false };
    struct cn_uuid before;
    size_t count = KEYS_PAGE;
    memset(before.bytes, 0xff, sizeof(before.bytes));
    while (!one.found && count == KEYS_PAGE && !cn_failed(op)) {
        const struct cn_rows *rows =
            CN_READ(op, &SQL_KEYS_NEWEST, cn_uuid(before), cn_int(KEYS_PAGE));
        count = cn_rows_count(rows);
        for (size_t row = 0; row < count && !one.found; row++) {
            before = cn_row_uuid(rows, row, 0);
            bool is_left_out =
                cn_uuid_equal(before, not_key) ||
                (!cn_uuid_is_nil(not_user) && !cn_row_null(rows, row, 3) &&
                 cn_uuid_equal(cn_row_uuid(rows, row, 3), not_user));
            if (!is_left_out) {
                one = s_administrator_read(op, rows, row);
            }
        }
    }
    return one;
}

CN_SQL_WRITE(SQL_ADMINISTRATOR_REQUIRE,
             "SELECT access.require(EXISTS (SELECT 1 FROM access.api_key k"
             " LEFT JOIN access.app_user u"
             " ON u.tenant_id = k.tenant_id AND u.id = k.user_id"
             " WHERE k.id = $1 AND k.version = $2"
             " AND coalesce(u.version, 0) = $3), 'administrator_version')");

void administrator_require(struct cn_op *op,
                           struct cn_uuid key_id,
                           struct cn_uuid user_id)
{
    const struct administrator left = s_administrator_find(op, key_id, user_id);
    if (cn_failed(op)) {
        return;
    }
    if (!left.found) {
        cn_refuse_guard(op, "administrator", "",
                        "nobody could administer the agency any more");
        return;
    }
    cn_lock(op, "administrators", op->tenant_id);
    CN_CHANGE(op, &SQL_ADMINISTRATOR_REQUIRE, cn_uuid(left.key_id),
              cn_int(left.version), cn_int(left.user_version));
}
