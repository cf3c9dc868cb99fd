/* SPDX-License-Identifier: Apache-2.0 */
#include "services/access/rules.h"

#include "common/base/id.h"
#include "common/policy/principal.h"
#include "common/wire/seal.h"

#include <stdio.h>
#include <string.h>

void api_key_text(const uint8_t random[API_KEY_RANDOM_SIZE],
                  char text[API_KEY_TEXT_MAX])
{
    static const char BASE62[] =
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    int size = snprintf(text, API_KEY_TEXT_MAX, "cairn_live_");
    for (size_t i = 0; i < API_KEY_RANDOM_SIZE; i++) {
        text[size++] = BASE62[random[i] % 62];
    }
    uint8_t digest[32];
    cn_sha256((struct cn_bytes){ (const uint8_t *)text, (size_t)size }, digest);
    (void)snprintf(text + size, API_KEY_TEXT_MAX - (size_t)size, "%02x%02x%02x",
                   digest[0], digest[1], digest[2]);
}

/* An agency may grant each role of the policy but the platform's. */
static void s_role_check(struct cn_op *op, const char *role)
{
    if (role != NULL && role[0] != '\0' &&
        (!cn_policy_role_known(role) || strcmp(role, "platform") == 0)) {
        cn_refuse_field(op, "/role", "unknown_role",
                        "is not a role of the policy");
    }
}

static void
s_branch_ids_check(struct cn_op *op, size_t count, const char *const *ids)
{
    for (size_t i = 0; i < count; i++) {
        struct cn_uuid id;
        if (!cn_id_parse("brn", ids[i], &id)) {
            char pointer[CN_ERR_POINTER_MAX];
            (void)snprintf(pointer, sizeof(pointer), "/branch_ids/%zu", i);
            cn_refuse_field(op, pointer, "invalid_value",
                            "is not the id of a branch");
        }
    }
}

void user_check(struct cn_op *op, const Acc__User *user)
{
    s_role_check(op, user->role);
    s_branch_ids_check(op, user->n_branch_ids, user->branch_ids);
}

static bool s_role_has_scope(const char *role, const char *scope)
{
    const char *const *scopes = cn_policy_scopes(role);
    for (; scopes != NULL && *scopes != NULL; scopes++) {
        if (strcmp(*scopes, scope) == 0) {
            return true;
        }
    }
    return false;
}

void api_key_branch_check(struct cn_op *op,
                          const char *branch_id,
                          const char *const *ids,
                          size_t count)
{
    bool is_one = branch_id == NULL || count == 0;
    for (size_t i = 0; i < count && !is_one; i++) {
        is_one = strcmp(ids[i], branch_id) == 0;
    }
    if (!is_one) {
        cn_refuse_field(op, "/branch_id", "not_in_branch_ids",
                        "is none of the branches that the key reaches");
    }
}

void api_key_check(struct cn_op *op, const Acc__ApiKey *key)
{
    struct cn_uuid id;
    s_role_check(op, key->role);
    if (key->branch_id != NULL && !cn_id_parse("brn", key->branch_id, &id)) {
        cn_refuse_field(op, "/branch_id", "invalid_value",
                        "is not the id of a branch");
    }
    s_branch_ids_check(op, key->n_branch_ids, key->branch_ids);
    api_key_branch_check(op, key->branch_id, key->branch_ids,
                         key->n_branch_ids);
    if (key->has_expires_at && key->expires_at <= op->now_at) {
        cn_refuse_field(op, "/expires_at", "invalid_value",
                        "must lie in the future");
    }
    for (size_t i = 0; !cn_failed(op) && i < key->n_scopes; i++) {
        if (!s_role_has_scope(key->role, key->scopes[i])) {
            char pointer[CN_ERR_POINTER_MAX];
            (void)snprintf(pointer, sizeof(pointer), "/scopes/%zu", i);
            cn_refuse_field(op, pointer, "unknown_scope",
                            "is not granted to this role");
        }
    }
}

bool api_key_usable(const Acc__ApiKey *key,
                    const Acc__User *user,
                    int64_t now_at)
{
    if (key->has_revoked_at ||
        (key->has_expires_at && key->expires_at <= now_at)) {
        return false;
    }
    return user == NULL || !user->has_active || user->active;
}

const char *api_key_role(const Acc__ApiKey *key, const Acc__User *user)
{
    return user != NULL ? user->role : key->role;
}

bool api_key_administers(const Acc__ApiKey *key,
                         const Acc__User *user,
                         int64_t now_at)
{
    const char *role = api_key_role(key, user);
    bool may = key->n_scopes == 0; /* then all that the role has */
    for (size_t i = 0; i < key->n_scopes; i++) {
        may = may || strcmp(key->scopes[i], "admin:write") == 0;
    }
    return may && role != NULL && strcmp(role, "administrator") == 0 &&
           api_key_usable(key, user, now_at);
}
