/* SPDX-License-Identifier: Apache-2.0 */
/* API keys: made, ended, resolved; and who the caller is. */
#include "cairn/access.handlers.h"
#include "common/wire/message.h"
#include "common/wire/seal.h"
#include "services/access/service.h"
#include "services/access/store.h"

#include <string.h>

/* ---- made and ended ---- */

/* The person whose key it is; NULL: nobody's. */
static const struct cn_record *s_key_user(struct cn_op *op,
                                          const Acc__ApiKey *key)
{
    struct cn_uuid id = { { 0 } };
    if (key->user_id == NULL || cn_failed(op)) {
        return NULL;
    }
    (void)!cn_id_parse("usr", key->user_id, &id);
    return cn_find(op, &acc__user__resource, id);
}

/* The person whose key it is to be. Without branches of its own the key has
 * theirs. */
static void s_key_user_check(struct cn_op *op, const Acc__ApiKey *key)
{
    const struct cn_record *record = s_key_user(op, key);
    if (record == NULL || cn_failed(op)) {
        return;
    }
    const Acc__User *user = record->body;
    if (!record->found) {
        cn_refuse_field(op, "/user_id", "unknown_user",
                        "is no user of the agency");
    } else if (key->n_branch_ids == 0) {
        api_key_branch_check(op, key->branch_id, user->branch_ids,
                             user->n_branch_ids);
    }
}

/* Puts the new key and shows its text, which the row and the event have not. */
static void s_key_put_shown(struct cn_op *op, struct cn_record *record)
{
    const char *text = api_key_put_new(op, record);
    Acc__ApiKey *shown = cn_message_copy(op->arena, record->shown);
    shown->key = text;
    op->reply->body = &shown->base;
}

void api_key_create(struct cn_op *op, const Acc__CreateApiKeyRequest *body)
{
    struct cn_record *record =
        cn_record_new(op, &acc__api_key__resource, body->api_key);
    const Acc__ApiKey *key = record->body;
    api_key_check(op, key);
    branches_check(op, "/branch_id", &key->branch_id, 1);
    branches_check(op, "/branch_ids", key->branch_ids, key->n_branch_ids);
    s_key_user_check(op, key);
    s_key_put_shown(op, record);
}

void api_key_revoke(struct cn_op *op, const Acc__RevokeApiKeyRequest *body)
{
    struct cn_record *record = cn_take(op, &acc__api_key__resource, body->id);
    Acc__ApiKey *key = record->body;
    const struct cn_record *user = s_key_user(op, key);
    if (api_key_administers(key, user != NULL ? user->body : NULL,
                            op->now_at)) {
        administrator_require(op, record->id, (struct cn_uuid){ { 0 } });
    }
    if (!key->has_revoked_at) {
        CN_SET(key, revoked_at, op->now_at);
        record->verb = "revoke";
        cn_also_tell(record, "key.revoked");
    }
    cn_put(op, record);
}

void api_key_rotate(struct cn_op *op, const Acc__RotateApiKeyRequest *body)
{
    struct cn_record *old = cn_take(op, &acc__api_key__resource, body->id);
    struct cn_record *next =
        cn_record_new(op, &acc__api_key__resource, old->body);
    const int64_t ends_at = op->now_at + API_KEY_OVERLAP_US;
    Acc__ApiKey *key = old->body;
    Acc__ApiKey *next_key = next->body;
    if (!api_key_usable(key, NULL, op->now_at)) {
        cn_refuse(op, CN_CONFLICT, "illegal_state",
                  "a key that has ended cannot be rotated");
    }
    if (!key->has_expires_at || key->expires_at > ends_at) {
        CN_SET(key, expires_at, ends_at);
    }
    old->verb = "rotate";
    cn_put(op, old);
    next_key->has_expires_at = 0;
    next->verb = "rotate";
    s_key_put_shown(op, next);
}

/* ---- what a key stands for ---- */

/* Default branch and own branches: the key's, else its person's. */
static void s_grant_branches(struct cn_op *op,
                             const struct key_row *row,
                             Acc__ResolveKeyResponse *response)
{
    size_t count = row->key->n_branch_ids;
    const char *const *ids = row->key->branch_ids;
    const char *standard = row->key->branch_id;
    struct cn_uuid id;
    if (count == 0 && row->user != NULL) {
        count = row->user->n_branch_ids;
        ids = row->user->branch_ids;
    }
    if (standard == NULL && count > 0) {
        standard = ids[0];
    }
    if (count == 0 && standard != NULL) {
        count = 1;
        ids = &standard;
    }
    response->branches =
        cn_arena_array(op->arena, count, sizeof(ProtobufCBinaryData));
    for (size_t i = 0; i < count; i++) {
        if (cn_id_parse("brn", ids[i], &id)) {
            response->branches[response->n_branches++] =
                cn_message_id(op->arena, id);
        }
    }
    if (cn_id_parse("brn", standard, &id)) {
        CN_SET(response, branch_id, cn_message_id(op->arena, id));
    }
}

/* The scopes that a credential names, else all that its role has. */
static void s_grant_scopes(struct cn_op *op,
                           Acc__ResolveKeyResponse *response,
                           const char *const *scopes,
                           size_t count)
{
    if (count == 0) {
        scopes = cn_policy_scopes(response->role);
        while (scopes != NULL && scopes[count] != NULL) {
            count++;
        }
    }
    response->scopes =
        cn_arena_copy(op->arena, scopes, count * sizeof(response->scopes[0]));
    response->n_scopes = count;
}

static void s_grant_key(struct cn_op *op,
                        const struct key_row *row,
                        Acc__ResolveKeyResponse *response)
{
    const Acc__ApiKey *key = row->key;
    const Acc__User *user = row->user;
    CN_SET(response, found, 1);
    CN_SET(response, tenant_id, cn_message_id(op->arena, row->tenant_id));
    response->subject = user != NULL ? user->id : key->id;
    response->role = api_key_role(key, user);
    if (key->has_expires_at) {
        CN_SET(response, expires_at, key->expires_at);
    }
    s_grant_scopes(op, response, key->scopes, key->n_scopes);
    s_grant_branches(op, row, response);
}

void key_resolve(struct cn_op *op, const Acc__ResolveKeyRequest *body)
{
    const struct access_service *access = op->self;
    Acc__ResolveKeyResponse *response =
        CN_NEW(op->arena, acc__resolve_key_response, Acc__ResolveKeyResponse);
    CN_SET(response, found, 0);
    op->reply->body = &response->base;
    if (!body->has_key_hash || body->key_hash.len != CN_SHA256_SIZE) {
        cn_refuse_field(op, "/key_hash", "invalid_value", "is not a SHA-256");
        return;
    }
    if (cn_equal_secret(body->key_hash.data, access->platform_key_hash,
                        CN_SHA256_SIZE)) {
        CN_SET(response, found, 1);
        response->subject = "platform";
        response->role = "platform";
        s_grant_scopes(op, response, NULL, 0);
        return;
    }
    struct key_row row = key_find(
        op, (struct cn_bytes){ body->key_hash.data, body->key_hash.len });
    if (row.found && api_key_usable(row.key, row.user, op->now_at)) {
        s_grant_key(op, &row, response);
    }
}

/* ---- who the caller is ---- */

/* Ids of the principal's branches as text. */
static void s_me_branches(struct cn_op *op, Acc__Me *me)
{
    const struct cn_principal *principal = &op->request->principal;
    const char **ids =
        cn_arena_array(op->arena, principal->branch_count, sizeof(*ids));
    for (size_t i = 0; i < principal->branch_count; i++) {
        ids[i] = cn_id_text(op->arena, "brn", principal->branches[i]);
    }
    me->branch_ids = ids;
    me->n_branch_ids = principal->branch_count;
    if (!cn_uuid_is_nil(principal->branch_id)) {
        me->branch_id = cn_id_text(op->arena, "brn", principal->branch_id);
    }
}

/* The name of the person or of the integration. */
static const char *s_subject_name(struct cn_op *op, const char *subject)
{
    if (strncmp(subject, "usr_", 4) == 0) {
        const Acc__User *user =
            cn_take(op, &acc__user__resource, subject)->body;
        return user->name;
    }
    const Acc__ApiKey *key =
        cn_take(op, &acc__api_key__resource, subject)->body;
    return key->name;
}

void me_get(struct cn_op *op, const Acc__GetMeRequest *body)
{
    const struct cn_principal *principal = &op->request->principal;
    Acc__Me *me = CN_NEW(op->arena, acc__me, Acc__Me);
    (void)body;
    me->subject = principal->subject;
    me->role = principal->role;
    me->n_scopes = principal->scope_count;
    me->scopes = cn_arena_copy(op->arena, principal->scopes,
                               principal->scope_count * sizeof(me->scopes[0]));
    op->reply->body = &me->base;
    if (cn_uuid_is_nil(principal->tenant_id)) {
        return; /* the platform's operator belongs to no agency */
    }
    me->agency_id =
        cn_id_text(op->arena, CN_TENANT_PREFIX, principal->tenant_id);
    const Acc__Agency *agency =
        cn_take(op, &acc__agency__resource, me->agency_id)->body;
    me->agency_name = agency->name;
    me->name = s_subject_name(op, principal->subject);
    s_me_branches(op, me);
}
