/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of access: what is checked stands in tests/README.md. */
#include "cairn/access.handlers.h"
#include "common/wire/message.h"
#include "common/wire/seal.h"
#include "services/access/service.h"
#include "tests/lib/contract.h"

/* A list of the one branch. */
static void s_branches(const struct contract_maker *maker, const char **ret_ids)
{
    ret_ids[0] = contract_id(maker, "brn", maker->which);
}

static void s_key_fill(const struct contract_maker *maker, Acc__ApiKey *key)
{
    key->role = "coordinator";
    key->branch_id = contract_id(maker, "brn", maker->which);
    s_branches(maker, key->branch_ids);
    key->scopes[0] = "visits:read";
    /* One that can be used. */
    key->has_expires_at = 0;
    key->has_revoked_at = 0;
}

static void s_fill(const struct contract_maker *maker, void *message)
{
    const ProtobufCMessage *any = message;
    if (any->descriptor == &acc__user__descriptor) {
        Acc__User *user = message;
        user->role = "coordinator";
        s_branches(maker, user->branch_ids);
    } else if (any->descriptor == &acc__api_key__descriptor) {
        s_key_fill(maker, message);
    } else if (any->descriptor == &acc__resolve_key_request__descriptor) {
        Acc__ResolveKeyRequest *request = message;
        request->key_hash.len = CN_SHA256_SIZE;
        request->key_hash.data =
            cn_arena_alloc(maker->world->arena, CN_SHA256_SIZE);
    } else if (any->descriptor == &acc__list_audit_request__descriptor) {
        *(Acc__ListAuditRequest *)message =
            (Acc__ListAuditRequest)ACC__LIST_AUDIT_REQUEST__INIT;
    }
}

/* The hash of a key is a column and no field. */
static void s_record(const struct contract_maker *maker,
                     struct cn_op *op,
                     struct cn_record *record)
{
    (void)op;
    if (record->resource == &acc__api_key__resource) {
        uint8_t hash[CN_SHA256_SIZE];
        char *text =
            cn_arena_alloc(maker->world->arena, 2 * CN_SHA256_SIZE + 1);
        cn_sha256((struct cn_bytes){ record->id.bytes, 16 }, hash);
        cn_hex(hash, sizeof(hash), text);
        record->also = text;
    }
}

int main(void)
{
    static struct access_service access;
    const struct cn_service service = {
        ACCESS_CONTRACT,
        .self = &access,
    };
    const struct contract contract = {
        .service = &service,
        .fill = s_fill,
        .record = s_record,
        .subject = "key",
    };
    return contract_main(&contract);
}
