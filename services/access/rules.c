/* SPDX-License-Identifier: Apache-2.0 */
#include "services/access/rules.h"

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

static void
s_need_text(const char *value, const char *pointer, struct cn_err *err)
{
    if (value == NULL || value[0] == '\0') {
        (void)cn_fail_field(err, pointer, "required", "is required");
    }
}

enum cn_code agency_check(const Acc__Agency *agency, struct cn_err *err)
{
    if (agency == NULL) {
        return cn_fail(err, CN_INVALID, "an agency is required");
    }
    s_need_text(agency->name, "/name", err);
    s_need_text(agency->time_zone, "/time_zone", err);
    return err->code;
}

enum cn_code branch_check(const Acc__Branch *branch, struct cn_err *err)
{
    if (branch == NULL) {
        return cn_fail(err, CN_INVALID, "a branch is required");
    }
    s_need_text(branch->name, "/name", err);
    s_need_text(branch->time_zone, "/time_zone", err);
    return err->code;
}

/* A role of the policy that an agency may grant: not the platform's. */
static void s_need_role(const char *role, struct cn_err *err)
{
    s_need_text(role, "/role", err);
    if (role != NULL && role[0] != '\0' &&
        (!cn_policy_role_known(role) || strcmp(role, "platform") == 0)) {
        (void)cn_fail_field(err, "/role", "unknown_role",
                            "is not a role of the policy");
    }
}

static void
s_need_branch_ids(size_t count, const char *const *ids, struct cn_err *err)
{
    for (size_t i = 0; i < count; i++) {
        struct cn_uuid id;
        if (!cn_id_parse("brn", ids[i], &id)) {
            char pointer[CN_ERR_POINTER_MAX];
            (void)snprintf(pointer, sizeof(pointer), "/branch_ids/%zu", i);
            (void)cn_fail_field(err, pointer, "invalid_value",
                                "is not the id of a branch");
        }
    }
}

enum cn_code user_check(const Acc__User *user, struct cn_err *err)
{
    if (user == NULL) {
        return cn_fail(err, CN_INVALID, "a user is required");
    }
    s_need_text(user->name, "/name", err);
    s_need_text(user->email, "/email", err);
    s_need_role(user->role, err);
    s_need_branch_ids(user->n_branch_ids, user->branch_ids, err);
    return err->code;
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

enum cn_code api_key_check(const Acc__ApiKey *key, struct cn_err *err)
{
    if (key == NULL) {
        return cn_fail(err, CN_INVALID, "a key is required");
    }
    s_need_text(key->name, "/name", err);
    s_need_role(key->role, err);
    struct cn_uuid id;
    if (key->branch_id != NULL && !cn_id_parse("brn", key->branch_id, &id)) {
        (void)cn_fail_field(err, "/branch_id", "invalid_value",
                            "is not the id of a branch");
    }
    s_need_branch_ids(key->n_branch_ids, key->branch_ids, err);
    for (size_t i = 0; err->code == CN_OK && i < key->n_scopes; i++) {
        if (!s_role_has_scope(key->role, key->scopes[i])) {
            char pointer[CN_ERR_POINTER_MAX];
            (void)snprintf(pointer, sizeof(pointer), "/scopes/%zu", i);
            (void)cn_fail_field(err, pointer, "unknown_scope",
                                "is not granted to this role");
        }
    }
    return err->code;
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
