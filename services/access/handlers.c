/* SPDX-License-Identifier: Apache-2.0 */
/* Agencies, branches and users. Keys are in handlers_key.c. */
#include "cairn/access.handlers.h"
#include "common/wire/message.h"
#include "common/wire/seal.h"
#include "services/access/rules.h"
#include "services/access/store.h"

#include <string.h>

/* Adds the audit row, puts version and times into the reply, commits. */
static enum cn_code s_resource_commit(const struct cn_request *request,
                                      struct cn_write *write,
                                      struct cn_reply *reply,
                                      const struct resource_table *table,
                                      const char *action,
                                      const char *id,
                                      int64_t version,
                                      struct cn_err *err)
{
    reply->version = version;
    reply->updated_at = request->now_at;
    reply->location =
        cn_arena_printf(request->arena, "%s/%s", table->collection, id);
    cn_write_audit(write, action, id, (struct cn_uuid){ { 0 } });
    return cn_write_commit(write, err);
}

/* The head that every resource has. */
#define RESOURCE_HEAD(message, request, text_id, number)                       \
    do {                                                                       \
        (message)->id = (text_id);                                             \
        CN_SET((message), version, (number));                                  \
        CN_SET((message), updated_at, (request)->now_at);                      \
    } while (0)

/* The tenant of a new agency follows from the operator's key and idempotency
 * key: the same call again looks for its record in the same tenant. */
static struct cn_uuid s_agency_tenant(const struct cn_request *request)
{
    const struct cn_bytes parts[] = {
        { (const uint8_t *)"agency", 7 },
        { (const uint8_t *)request->principal.subject,
          strlen(request->principal.subject) + 1 },
        { (const uint8_t *)request->idempotency_key,
          strlen(request->idempotency_key) },
    };
    uint8_t digest[32];
    cn_sha256_parts(parts, 3, digest);
    struct cn_uuid id;
    memcpy(id.bytes, digest, sizeof(id.bytes));
    /* Version 8, an id made by a rule of one's own (RFC 9562 5.8). */
    id.bytes[6] = (uint8_t)((id.bytes[6] & 0x0f) | 0x80);
    id.bytes[8] = (uint8_t)((id.bytes[8] & 0x3f) | 0x80);
    return id;
}

/* First key of a new agency: an administrator's, who makes the others. */
static enum cn_code s_administrator_key_add(const struct cn_request *request,
                                            struct cn_write *write,
                                            Acc__Agency *agency,
                                            Acc__KeyEvent *event,
                                            struct cn_uuid id,
                                            struct cn_err *err)
{
    uint8_t random[API_KEY_RANDOM_SIZE];
    char text[API_KEY_TEXT_MAX];
    request->env->random(request->env, random, sizeof(random));
    api_key_text(random, text);
    uint8_t *hash = cn_arena_alloc(request->arena, 32);
    Acc__ApiKey *key = CN_NEW(request->arena, acc__api_key, Acc__ApiKey);
    agency->administrator_key = cn_arena_strdup(request->arena, text);
    if (hash == NULL || key == NULL || agency->administrator_key == NULL) {
        return cn_fail(err, CN_NOMEM, "create agency");
    }
    cn_sha256((struct cn_bytes){ (const uint8_t *)text, strlen(text) }, hash);
    RESOURCE_HEAD(key, request, cn_id_text(request->arena, "key", id), 1);
    CN_SET(key, created_at, request->now_at);
    key->name = "First administrator";
    key->role = "administrator";
    key->prefix = cn_arena_strndup(request->arena, text, API_KEY_PREFIX_SIZE);
    event->api_key = key;
    event->has_key_hash = 1;
    event->key_hash = (ProtobufCBinaryData){ .len = 32, .data = hash };
    return api_key_insert(request, write, id, (struct cn_bytes){ hash, 32 },
                          (struct cn_uuid){ { 0 } }, &key->base, err);
}

enum cn_code agency_create(void *self,
                           const struct cn_request *request,
                           struct cn_reply *reply,
                           struct cn_err *err)
{
    (void)self;
    const Acc__CreateAgencyRequest *body = request->body;
    if (agency_check(body->agency, err) != CN_OK) {
        return cn_wrap(err, "create agency");
    }
    /* From here on the write is the new tenant's own. */
    struct cn_request own = *request;
    own.principal.tenant_id = s_agency_tenant(request);
    struct cn_uuid id = own.principal.tenant_id;
    struct cn_uuid key_id = cn_uuid_new(request->env);
    Acc__Agency *agency = cn_message_copy(request->arena, &body->agency->base);
    Acc__AgencyEvent *event =
        CN_NEW(request->arena, acc__agency_event, Acc__AgencyEvent);
    Acc__KeyEvent *key_event =
        CN_NEW(request->arena, acc__key_event, Acc__KeyEvent);
    struct cn_write *write = cn_write_begin(&own, reply);
    if (agency == NULL || event == NULL || key_event == NULL || write == NULL) {
        return cn_fail(err, CN_NOMEM, "create agency");
    }
    RESOURCE_HEAD(agency, request, cn_id_text(request->arena, "agc", id), 1);
    CN_SET(agency, created_at, request->now_at);
    cn_write_lock(write, AGENCIES.aggregate, id);
    cn_write_lock(write, API_KEYS.aggregate, key_id);
    enum cn_code rc =
        resource_insert(&own, write, &AGENCIES, id, &agency->base, err);
    if (rc == CN_OK) {
        rc = s_administrator_key_add(&own, write, agency, key_event, key_id,
                                     err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    Acc__Agency *told = cn_message_copy(request->arena, &agency->base);
    if (told == NULL) {
        return cn_fail(err, CN_NOMEM, "create agency");
    }
    told->administrator_key = NULL; /* shown in the reply alone */
    event->agency = told;
    cn_write_event(write, "agency.created", "agency", id, 1, &event->base);
    cn_write_event(write, "key.created", "key", key_id, 1, &key_event->base);
    reply->body = &agency->base;
    return s_resource_commit(&own, write, reply, &AGENCIES, "agency.create",
                             agency->id, 1, err);
}

enum cn_code branch_create(void *self,
                           const struct cn_request *request,
                           struct cn_reply *reply,
                           struct cn_err *err)
{
    (void)self;
    const Acc__CreateBranchRequest *body = request->body;
    if (branch_check(body->branch, err) != CN_OK) {
        return cn_wrap(err, "create branch");
    }
    struct cn_uuid id = cn_uuid_new(request->env);
    Acc__Branch *branch = cn_message_copy(request->arena, &body->branch->base);
    Acc__BranchEvent *event =
        CN_NEW(request->arena, acc__branch_event, Acc__BranchEvent);
    struct cn_write *write = cn_write_begin(request, reply);
    if (branch == NULL || event == NULL || write == NULL) {
        return cn_fail(err, CN_NOMEM, "create branch");
    }
    RESOURCE_HEAD(branch, request, cn_id_text(request->arena, "brn", id), 1);
    CN_SET(branch, created_at, request->now_at);
    event->branch = branch;
    cn_write_lock(write, BRANCHES.aggregate, id);
    enum cn_code rc =
        resource_insert(request, write, &BRANCHES, id, &branch->base, err);
    if (rc != CN_OK) {
        return rc;
    }
    cn_write_event(write, "branch.created", "branch", id, 1, &event->base);
    reply->body = &branch->base;
    return s_resource_commit(request, write, reply, &BRANCHES, "branch.create",
                             branch->id, 1, err);
}

enum cn_code user_create(void *self,
                         const struct cn_request *request,
                         struct cn_reply *reply,
                         struct cn_err *err)
{
    (void)self;
    const Acc__CreateUserRequest *body = request->body;
    if (user_check(body->user, err) != CN_OK ||
        branches_known(request, "/branch_ids", body->user->branch_ids,
                       body->user->n_branch_ids, err) != CN_OK) {
        return cn_wrap(err, "create user");
    }

    struct cn_uuid id = cn_uuid_new(request->env);
    Acc__User *user = cn_message_copy(request->arena, &body->user->base);
    Acc__UserEvent *event =
        CN_NEW(request->arena, acc__user_event, Acc__UserEvent);
    struct cn_write *write = cn_write_begin(request, reply);
    if (user == NULL || event == NULL || write == NULL) {
        return cn_fail(err, CN_NOMEM, "create user");
    }
    RESOURCE_HEAD(user, request, cn_id_text(request->arena, "usr", id), 1);
    CN_SET(user, created_at, request->now_at);
    if (!user->has_active) {
        CN_SET(user, active, 1);
    }
    event->user = user;
    cn_write_lock(write, USERS.aggregate, id);
    enum cn_code rc =
        resource_insert(request, write, &USERS, id, &user->base, err);
    if (rc != CN_OK) {
        return rc;
    }
    cn_write_event(write, "user.created", "user", id, 1, &event->base);
    reply->body = &user->base;
    return s_resource_commit(request, write, reply, &USERS, "user.create",
                             user->id, 1, err);
}

/* Reads the row, refuses a stale If-Match, applies the merge patch to a copy.
 */
static enum cn_code s_resource_patch(const struct cn_request *request,
                                     const struct resource_table *table,
                                     const char *id,
                                     const ProtobufCMessage *patch,
                                     size_t mask_count,
                                     const char *const *mask,
                                     struct resource *ret_resource,
                                     ProtobufCMessage **ret_message,
                                     struct cn_err *err)
{
    struct resource resource;
    enum cn_code rc = resource_get(request, table, id, &resource, err);
    if (rc != CN_OK) {
        return rc;
    }
    if (request->has_expected_version &&
        request->expected_version != resource.version) {
        return cn_fail_stale(err, table->aggregate, resource.version);
    }
    ProtobufCMessage *message =
        cn_message_copy(request->arena, resource.message);
    if (message == NULL) {
        return cn_fail(err, CN_NOMEM, "update %s", table->aggregate);
    }
    if (patch != NULL) {
        rc = cn_message_merge(request->arena, message, patch, mask, mask_count,
                              err);
    }
    if (rc == CN_OK) {
        *ret_resource = resource;
        *ret_message = message;
    }
    return rc;
}

enum cn_code branch_update(void *self,
                           const struct cn_request *request,
                           struct cn_reply *reply,
                           struct cn_err *err)
{
    (void)self;
    const Acc__UpdateBranchRequest *body = request->body;
    struct resource resource;
    ProtobufCMessage *message = NULL;
    enum cn_code rc = s_resource_patch(
        request, &BRANCHES, body->id,
        body->branch != NULL ? &body->branch->base : NULL, body->n_update_mask,
        body->update_mask, &resource, &message, err);
    if (rc != CN_OK) {
        return rc;
    }
    Acc__Branch *branch = (Acc__Branch *)message;
    if (branch_check(branch, err) != CN_OK) {
        return cn_wrap(err, "update branch");
    }
    Acc__BranchEvent *event =
        CN_NEW(request->arena, acc__branch_event, Acc__BranchEvent);
    struct cn_write *write = cn_write_begin(request, reply);
    if (event == NULL || write == NULL) {
        return cn_fail(err, CN_NOMEM, "update branch");
    }
    RESOURCE_HEAD(branch, request, branch->id, resource.version + 1);
    event->branch = branch;
    cn_write_lock(write, BRANCHES.aggregate, resource.id);
    rc = resource_update(request, write, &BRANCHES, &resource, message, err);
    if (rc != CN_OK) {
        return rc;
    }
    cn_write_event(write, "branch.updated", "branch", resource.id,
                   resource.event_seq + 1, &event->base);
    reply->body = message;
    return s_resource_commit(request, write, reply, &BRANCHES, "branch.update",
                             branch->id, resource.version + 1, err);
}

enum cn_code user_update(void *self,
                         const struct cn_request *request,
                         struct cn_reply *reply,
                         struct cn_err *err)
{
    (void)self;
    const Acc__UpdateUserRequest *body = request->body;
    struct resource resource;
    ProtobufCMessage *message = NULL;
    enum cn_code rc = s_resource_patch(
        request, &USERS, body->id,
        body->user != NULL ? &body->user->base : NULL, body->n_update_mask,
        body->update_mask, &resource, &message, err);
    if (rc != CN_OK) {
        return rc;
    }
    Acc__User *user = (Acc__User *)message;
    if (user_check(user, err) != CN_OK ||
        branches_known(request, "/branch_ids", user->branch_ids,
                       user->n_branch_ids, err) != CN_OK) {
        return cn_wrap(err, "update user");
    }

    Acc__UserEvent *event =
        CN_NEW(request->arena, acc__user_event, Acc__UserEvent);
    struct cn_write *write = cn_write_begin(request, reply);
    if (event == NULL || write == NULL) {
        return cn_fail(err, CN_NOMEM, "update user");
    }
    bool role_changed =
        strcmp(((Acc__User *)resource.message)->role, user->role) != 0;
    RESOURCE_HEAD(user, request, user->id, resource.version + 1);
    event->user = user;
    cn_write_lock(write, USERS.aggregate, resource.id);
    rc = resource_update(request, write, &USERS, &resource, message, err);
    if (rc != CN_OK) {
        return rc;
    }
    cn_write_event(write, role_changed ? "role.changed" : "user.changed",
                   "user", resource.id, resource.event_seq + 1, &event->base);
    reply->body = message;
    return s_resource_commit(request, write, reply, &USERS, "user.update",
                             user->id, resource.version + 1, err);
}

/* Answers one resource as it is. */
static enum cn_code s_resource_answer(const struct cn_request *request,
                                      const struct resource_table *table,
                                      const char *id,
                                      struct cn_reply *reply,
                                      struct cn_err *err)
{
    struct resource resource;
    enum cn_code rc = resource_get(request, table, id, &resource, err);
    if (rc == CN_OK) {
        reply->body = resource.message;
        reply->version = resource.version;
        reply->updated_at = resource.updated_at;
    }
    return rc;
}

enum cn_code branch_get(void *self,
                        const struct cn_request *request,
                        struct cn_reply *reply,
                        struct cn_err *err)
{
    (void)self;
    const Acc__GetBranchRequest *body = request->body;
    return s_resource_answer(request, &BRANCHES, body->id, reply, err);
}

enum cn_code user_get(void *self,
                      const struct cn_request *request,
                      struct cn_reply *reply,
                      struct cn_err *err)
{
    (void)self;
    const Acc__GetUserRequest *body = request->body;
    return s_resource_answer(request, &USERS, body->id, reply, err);
}

enum cn_code api_key_get(void *self,
                         const struct cn_request *request,
                         struct cn_reply *reply,
                         struct cn_err *err)
{
    (void)self;
    const Acc__GetApiKeyRequest *body = request->body;
    return s_resource_answer(request, &API_KEYS, body->id, reply, err);
}

/* One page of a table and where the next begins. */
struct page {
    ProtobufCMessage **data;
    size_t count;
    const char *next_cursor; /* NULL: the last page */
};

static enum cn_code s_resource_page(const struct cn_request *request,
                                    const struct resource_table *table,
                                    bool has_limit,
                                    int32_t wanted,
                                    const char *cursor,
                                    struct page *ret_page,
                                    struct cn_err *err)
{
    struct cn_page at;
    enum cn_code rc = cn_page_open(request, table->collection, has_limit,
                                   wanted, cursor, &at, err);
    if (rc != CN_OK) {
        return rc;
    }
    struct page page = { .count = 0 };
    struct cn_cursor *cursors = NULL;
    size_t rows_read = 0;
    bool across = strcmp(request->principal.role, "platform") == 0;
    rc = resource_list(request, table, across, &at, &page.data, &cursors,
                       &rows_read, err);
    if (rc != CN_OK) {
        return rc;
    }
    page.count = cn_page_count(&at, rows_read);
    struct cn_cursor last = { .key = 0 };
    if (page.count > 0) {
        last = cursors[page.count - 1];
    }
    rc = cn_page_next(request, &at, rows_read, last, &page.next_cursor, err);
    if (rc != CN_OK) {
        return rc;
    }
    *ret_page = page;
    return CN_OK;
}

/* The four lists differ in their types alone, which take no parentheses.
 * NOLINTBEGIN(bugprone-macro-parentheses) */
#define RESOURCES_LIST(name, table, Request, response_prefix, Response, Item)  \
    enum cn_code name(void *self, const struct cn_request *request,            \
                      struct cn_reply *reply, struct cn_err *err)              \
    {                                                                          \
        (void)self;                                                            \
        const Request *body = request->body;                                   \
        struct page page;                                                      \
        enum cn_code rc =                                                      \
            s_resource_page(request, &(table), body->has_limit, body->limit,   \
                            body->cursor, &page, err);                         \
        if (rc != CN_OK) {                                                     \
            return rc;                                                         \
        }                                                                      \
        Response *response =                                                   \
            CN_NEW(request->arena, response_prefix, Response);                 \
        if (response == NULL) {                                                \
            return cn_fail(err, CN_NOMEM, #name);                              \
        }                                                                      \
        response->data = (Item **)page.data;                                   \
        response->n_data = page.count;                                         \
        response->next_cursor = page.next_cursor;                              \
        CN_SET(response, has_more, page.next_cursor != NULL);                  \
        reply->body = &response->base;                                         \
        return CN_OK;                                                          \
    }
/* NOLINTEND(bugprone-macro-parentheses) */

RESOURCES_LIST(agencies_list,
               AGENCIES,
               Acc__ListAgenciesRequest,
               acc__list_agencies_response,
               Acc__ListAgenciesResponse,
               Acc__Agency)
RESOURCES_LIST(branches_list,
               BRANCHES,
               Acc__ListBranchesRequest,
               acc__list_branches_response,
               Acc__ListBranchesResponse,
               Acc__Branch)
RESOURCES_LIST(users_list,
               USERS,
               Acc__ListUsersRequest,
               acc__list_users_response,
               Acc__ListUsersResponse,
               Acc__User)
RESOURCES_LIST(api_keys_list,
               API_KEYS,
               Acc__ListApiKeysRequest,
               acc__list_api_keys_response,
               Acc__ListApiKeysResponse,
               Acc__ApiKey)
