/* SPDX-License-Identifier: Apache-2.0 */
/* API keys: made, ended, resolved; and who the caller is. */
#include "cairn/access.handlers.h"
#include "common/wire/message.h"
#include "common/wire/seal.h"
#include "services/access/rules.h"
#include "services/access/service.h"
#include "services/access/store.h"

#include <string.h>

static enum cn_code s_user_of_key(const struct cn_request *request,
                                  const Acc__ApiKey *key,
                                  struct cn_uuid *ret_user_id,
                                  struct cn_err *err)
{
    if (key->user_id == NULL) {
        return CN_OK;
    }
    struct resource user;
    enum cn_code rc = resource_get(request, &USERS, key->user_id, &user, err);
    if (rc == CN_NOT_FOUND) {
        cn_err_clear(err);
        return cn_fail_field(err, "/user_id", "unknown_user",
                             "is no user of the agency");
    }
    if (rc == CN_OK) {
        *ret_user_id = user.id;
    }
    return rc;
}

/* Makes the key's text and fills reply (with the key) and event (without). */
static enum cn_code s_api_key_make(const struct cn_request *request,
                                   struct cn_uuid id,
                                   const Acc__ApiKey *wanted,
                                   Acc__ApiKey **ret_shown,
                                   Acc__KeyEvent **ret_event,
                                   struct cn_err *err)
{
    uint8_t random[API_KEY_RANDOM_SIZE];
    char text[API_KEY_TEXT_MAX];
    request->env->random(request->env, random, sizeof(random));
    api_key_text(random, text);
    Acc__ApiKey *key = cn_message_copy(request->arena, &wanted->base);
    uint8_t *hash = cn_arena_alloc(request->arena, 32);
    Acc__KeyEvent *event =
        CN_NEW(request->arena, acc__key_event, Acc__KeyEvent);
    if (key == NULL || hash == NULL || event == NULL) {
        return cn_fail(err, CN_NOMEM, "create key");
    }
    cn_sha256((struct cn_bytes){ (const uint8_t *)text, strlen(text) }, hash);
    key->id = cn_id_text(request->arena, "key", id);
    CN_SET(key, version, 1);
    CN_SET(key, created_at, request->now_at);
    CN_SET(key, updated_at, request->now_at);
    key->prefix = cn_arena_strndup(request->arena, text, API_KEY_PREFIX_SIZE);
    Acc__ApiKey *shown = cn_message_copy(request->arena, &key->base);
    if (shown == NULL) {
        return cn_fail(err, CN_NOMEM, "create key");
    }
    shown->key = cn_arena_strdup(request->arena, text);
    event->api_key = key;
    event->has_key_hash = 1;
    event->key_hash = (ProtobufCBinaryData){ .len = 32, .data = hash };
    *ret_shown = shown;
    *ret_event = event;
    return CN_OK;
}

enum cn_code api_key_create(void *self,
                            const struct cn_request *request,
                            struct cn_reply *reply,
                            struct cn_err *err)
{
    (void)self;
    const Acc__CreateApiKeyRequest *body = request->body;
    if (api_key_check(body->api_key, err) != CN_OK) {
        return cn_wrap(err, "create key");
    }
    struct cn_uuid user_id = { { 0 } };
    struct cn_uuid id = cn_uuid_new(request->env);
    Acc__ApiKey *shown = NULL;
    Acc__KeyEvent *event = NULL;
    const Acc__ApiKey *wanted = body->api_key;
    enum cn_code rc =
        branches_known(request, "/branch_id", &wanted->branch_id, 1, err);
    if (rc == CN_OK) {
        rc = branches_known(request, "/branch_ids", wanted->branch_ids,
                            wanted->n_branch_ids, err);
    }
    if (rc == CN_OK) {
        rc = s_user_of_key(request, body->api_key, &user_id, err);
    }
    if (rc == CN_OK) {
        rc = s_api_key_make(request, id, body->api_key, &shown, &event, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    struct cn_write *write = cn_write_begin(request, reply);
    if (write == NULL) {
        return cn_fail(err, CN_NOMEM, "create key");
    }
    cn_write_lock(write, API_KEYS.aggregate, id);
    rc = api_key_insert(
        request, write, id,
        (struct cn_bytes){ event->key_hash.data, event->key_hash.len }, user_id,
        &event->api_key->base, err);
    if (rc != CN_OK) {
        return rc;
    }
    cn_write_event(write, "key.created", "key", id, 1, &event->base);
    cn_write_audit(write, "key.create", shown->id, (struct cn_uuid){ { 0 } });
    reply->body = &shown->base;
    reply->version = 1;
    reply->updated_at = request->now_at;
    reply->location =
        cn_arena_printf(request->arena, "/v1/api-keys/%s", shown->id);
    return cn_write_commit(write, err);
}

enum cn_code api_key_revoke(void *self,
                            const struct cn_request *request,
                            struct cn_reply *reply,
                            struct cn_err *err)
{
    (void)self;
    const Acc__RevokeApiKeyRequest *body = request->body;
    struct resource resource;
    struct cn_bytes hash = { NULL, 0 };
    enum cn_code rc =
        resource_get(request, &API_KEYS, body->id, &resource, err);
    if (rc == CN_OK) {
        rc = api_key_hash_get(request, resource.id, &hash, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    Acc__ApiKey *key = (Acc__ApiKey *)resource.message;
    reply->body = &key->base;
    reply->version = resource.version;
    reply->updated_at = resource.updated_at;
    if (key->has_revoked_at) {
        return CN_OK; /* it has ended already: nothing is left to do */
    }
    Acc__KeyEvent *event =
        CN_NEW(request->arena, acc__key_event, Acc__KeyEvent);
    struct cn_write *write = cn_write_begin(request, reply);
    if (event == NULL || write == NULL) {
        return cn_fail(err, CN_NOMEM, "revoke key");
    }
    CN_SET(key, revoked_at, request->now_at);
    CN_SET(key, updated_at, request->now_at);
    CN_SET(key, version, resource.version + 1);
    reply->version = resource.version + 1;
    reply->updated_at = request->now_at;
    event->api_key = key;
    event->has_key_hash = 1;
    event->key_hash.len = hash.size;
    event->key_hash.data = cn_arena_copy(request->arena, hash.data, hash.size);
    cn_write_lock(write, API_KEYS.aggregate, resource.id);
    rc = resource_update(request, write, &API_KEYS, &resource, &key->base, err);
    if (rc != CN_OK) {
        return rc;
    }
    cn_write_event(write, "key.revoked", "key", resource.id,
                   resource.event_seq + 1, &event->base);
    cn_write_audit(write, "key.revoke", key->id, (struct cn_uuid){ { 0 } });
    return cn_write_commit(write, err);
}

/* The old key as it goes on: it ends after the overlap, or when it would have
 * ended anyway. */
static Acc__KeyEvent *s_rotated_event(const struct cn_request *request,
                                      const struct resource *old,
                                      struct cn_bytes hash)
{
    Acc__ApiKey *key = (Acc__ApiKey *)old->message;
    int64_t ends_at = request->now_at + API_KEY_OVERLAP_US;
    Acc__KeyEvent *event =
        CN_NEW(request->arena, acc__key_event, Acc__KeyEvent);
    uint8_t *copy = cn_arena_copy(request->arena, hash.data, hash.size);
    if (event == NULL || copy == NULL) {
        return NULL;
    }
    if (!key->has_expires_at || key->expires_at > ends_at) {
        CN_SET(key, expires_at, ends_at);
    }
    CN_SET(key, updated_at, request->now_at);
    CN_SET(key, version, old->version + 1);
    event->api_key = key;
    event->has_key_hash = 1;
    event->key_hash = (ProtobufCBinaryData){ .len = hash.size, .data = copy };
    return event;
}

/* The new key's row and the old one's change, with their events. */
static enum cn_code s_rotate_write(const struct cn_request *request,
                                   struct cn_write *write,
                                   const struct resource *old,
                                   Acc__KeyEvent *old_event,
                                   struct cn_uuid id,
                                   Acc__KeyEvent *event,
                                   struct cn_err *err)
{
    struct cn_uuid user_id = { { 0 } };
    (void)!cn_id_parse("usr", event->api_key->user_id, &user_id);
    cn_write_lock(write, API_KEYS.aggregate, old->id);
    cn_write_lock(write, API_KEYS.aggregate, id);
    enum cn_code rc = api_key_insert(
        request, write, id,
        (struct cn_bytes){ event->key_hash.data, event->key_hash.len }, user_id,
        &event->api_key->base, err);
    if (rc == CN_OK) {
        rc = resource_update(request, write, &API_KEYS, old, old->message, err);
    }
    if (rc == CN_OK) {
        cn_write_event(write, "key.created", "key", id, 1, &event->base);
        cn_write_event(write, "key.changed", "key", old->id, old->event_seq + 1,
                       &old_event->base);
    }
    return rc;
}

enum cn_code api_key_rotate(void *self,
                            const struct cn_request *request,
                            struct cn_reply *reply,
                            struct cn_err *err)
{
    (void)self;
    const Acc__RotateApiKeyRequest *body = request->body;
    struct resource old;
    struct cn_bytes hash = { NULL, 0 };
    struct cn_uuid id = cn_uuid_new(request->env);
    Acc__ApiKey *shown = NULL;
    Acc__KeyEvent *event = NULL;
    enum cn_code rc = resource_get(request, &API_KEYS, body->id, &old, err);
    if (rc == CN_OK) {
        rc = api_key_hash_get(request, old.id, &hash, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    Acc__ApiKey *wanted = cn_message_copy(request->arena, old.message);
    if (wanted == NULL) {
        return cn_fail(err, CN_NOMEM, "rotate key");
    }
    if (!api_key_usable(wanted, NULL, request->now_at)) {
        return cn_fail_as(err, CN_CONFLICT, "illegal_state",
                          "a key that has ended cannot be rotated");
    }
    wanted->has_expires_at = 0;
    rc = s_api_key_make(request, id, wanted, &shown, &event, err);
    if (rc != CN_OK) {
        return rc;
    }
    Acc__KeyEvent *old_event = s_rotated_event(request, &old, hash);
    struct cn_write *write = cn_write_begin(request, reply);
    if (old_event == NULL || write == NULL) {
        return cn_fail(err, CN_NOMEM, "rotate key");
    }
    reply->body = &shown->base;
    reply->version = 1;
    reply->updated_at = request->now_at;
    reply->location =
        cn_arena_printf(request->arena, "/v1/api-keys/%s", shown->id);
    rc = s_rotate_write(request, write, &old, old_event, id, event, err);
    if (rc != CN_OK) {
        return rc;
    }
    cn_write_audit(write, "key.rotate", shown->id, (struct cn_uuid){ { 0 } });
    return cn_write_commit(write, err);
}

static ProtobufCBinaryData s_uuid_data(struct cn_arena *arena,
                                       struct cn_uuid id)
{
    return (ProtobufCBinaryData){
        .len = sizeof(id.bytes),
        .data = cn_arena_copy(arena, id.bytes, sizeof(id.bytes)),
    };
}

/* Default branch and own branches: the key's, else its person's. */
static enum cn_code s_resolved_branches(struct cn_arena *arena,
                                        const struct key_row *row,
                                        Acc__ResolveKeyResponse *response,
                                        struct cn_err *err)
{
    const Acc__ApiKey *key = (const Acc__ApiKey *)row->api_key;
    const Acc__User *user = (const Acc__User *)row->user;
    size_t count = key->n_branch_ids;
    const char *const *ids = key->branch_ids;
    if (count == 0 && user != NULL) {
        count = user->n_branch_ids;
        ids = user->branch_ids;
    }
    const char *standard = key->branch_id;
    if (standard == NULL && count > 0) {
        standard = ids[0];
    }
    if (count == 0 && standard != NULL) {
        count = 1;
        ids = &standard;
    }
    response->branches =
        cn_arena_array(arena, count, sizeof(ProtobufCBinaryData));
    if (count > 0 && response->branches == NULL) {
        return cn_fail(err, CN_NOMEM, "resolve key");
    }
    struct cn_uuid id;
    for (size_t i = 0; i < count; i++) {
        if (cn_id_parse("brn", ids[i], &id)) {
            response->branches[response->n_branches++] = s_uuid_data(arena, id);
        }
    }
    if (cn_id_parse("brn", standard, &id)) {
        response->has_branch_id = 1;
        response->branch_id = s_uuid_data(arena, id);
    }
    return CN_OK;
}

/* The scopes that a credential names; all that its role can use where it names
 * none. */
static void s_grant_scopes(const struct cn_request *request,
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
    response->scopes = cn_arena_copy(request->arena, scopes,
                                     count * sizeof(response->scopes[0]));
    response->n_scopes = response->scopes != NULL ? count : 0;
}

static enum cn_code s_key_resolved(const struct cn_request *request,
                                   const struct key_row *row,
                                   Acc__ResolveKeyResponse *response,
                                   struct cn_err *err)
{
    const Acc__ApiKey *key = (const Acc__ApiKey *)row->api_key;
    const Acc__User *user = (const Acc__User *)row->user;
    CN_SET(response, found, 1);
    response->has_tenant_id = 1;
    response->tenant_id = s_uuid_data(request->arena, row->tenant_id);
    response->subject = user != NULL ? user->id : key->id;
    response->role = user != NULL ? user->role : key->role;
    if (key->has_expires_at) {
        CN_SET(response, expires_at, key->expires_at);
    }
    s_grant_scopes(request, response, key->scopes, key->n_scopes);
    return s_resolved_branches(request->arena, row, response, err);
}

enum cn_code key_resolve(void *self,
                         const struct cn_request *request,
                         struct cn_reply *reply,
                         struct cn_err *err)
{
    const struct access_service *access = self;
    const Acc__ResolveKeyRequest *body = request->body;
    Acc__ResolveKeyResponse *response = CN_NEW(
        request->arena, acc__resolve_key_response, Acc__ResolveKeyResponse);
    if (response == NULL) {
        return cn_fail(err, CN_NOMEM, "resolve key");
    }
    CN_SET(response, found, 0);
    reply->body = &response->base;
    if (!body->has_key_hash || body->key_hash.len != 32) {
        return cn_fail_field(err, "/key_hash", "invalid_value",
                             "is not a SHA-256");
    }
    if (cn_equal_secret(body->key_hash.data, access->platform_key_hash, 32)) {
        CN_SET(response, found, 1);
        response->subject = "platform";
        response->role = "platform";
        s_grant_scopes(request, response, NULL, 0);
        return CN_OK;
    }
    struct key_row row;
    enum cn_code rc = key_find(
        request, (struct cn_bytes){ body->key_hash.data, body->key_hash.len },
        &row, err);
    if (rc != CN_OK || !row.found ||
        !api_key_usable((const Acc__ApiKey *)row.api_key,
                        (const Acc__User *)row.user, request->now_at)) {
        return rc;
    }
    return s_key_resolved(request, &row, response, err);
}

/* Ids of the principal's branches as text. */
static enum cn_code
s_me_branches(const struct cn_request *request, Acc__Me *me, struct cn_err *err)
{
    const struct cn_principal *principal = &request->principal;
    const char **ids = cn_arena_array(
        request->arena, principal->branch_count + 1, sizeof(*ids));
    if (ids == NULL) {
        return cn_fail(err, CN_NOMEM, "get me");
    }
    for (size_t i = 0; i < principal->branch_count; i++) {
        ids[i] = cn_id_text(request->arena, "brn", principal->branches[i]);
    }
    me->branch_ids = ids;
    me->n_branch_ids = principal->branch_count;
    if (!cn_uuid_is_nil(principal->branch_id)) {
        me->branch_id = cn_id_text(request->arena, "brn", principal->branch_id);
    }
    return CN_OK;
}

enum cn_code me_get(void *self,
                    const struct cn_request *request,
                    struct cn_reply *reply,
                    struct cn_err *err)
{
    (void)self;
    const struct cn_principal *principal = &request->principal;
    Acc__Me *me = CN_NEW(request->arena, acc__me, Acc__Me);
    if (me == NULL) {
        return cn_fail(err, CN_NOMEM, "get me");
    }
    me->subject = principal->subject;
    me->role = principal->role;
    me->n_scopes = principal->scope_count;
    me->scopes = cn_arena_copy(request->arena, principal->scopes,
                               principal->scope_count * sizeof(me->scopes[0]));
    reply->body = &me->base;
    if (cn_uuid_is_nil(principal->tenant_id)) {
        return CN_OK; /* the platform's operator belongs to no agency */
    }
    struct resource resource;
    me->agency_id = cn_id_text(request->arena, "agc", principal->tenant_id);
    enum cn_code rc =
        resource_get(request, &AGENCIES, me->agency_id, &resource, err);
    if (rc != CN_OK) {
        return rc;
    }
    me->agency_name = ((const Acc__Agency *)resource.message)->name;
    const struct resource_table *table =
        strncmp(principal->subject, "usr_", 4) == 0 ? &USERS : &API_KEYS;
    rc = resource_get(request, table, principal->subject, &resource, err);
    if (rc != CN_OK) {
        return rc;
    }
    me->name = table == &USERS ? ((const Acc__User *)resource.message)->name
                               : ((const Acc__ApiKey *)resource.message)->name;
    return s_me_branches(request, me, err);
}
