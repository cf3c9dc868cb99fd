/* SPDX-License-Identifier: Apache-2.0 */
#include "services/access/store.h"

#include "cairn/access.pb-c.h"
#include "common/db/db.h"
#include "common/store/store.h"
#include "common/wire/seal.h"

/* The four statements of one table. Rows are told apart by row-level security
 * alone: no statement names the tenant but an insert. */
#define RESOURCE_STATEMENTS(table, list_lanes)                                 \
    CN_SQL_READ(SQL_GET_##table,                                               \
                "SELECT id, version, event_seq, body, tenant_id, created_at,"  \
                " updated_at FROM access." #table " WHERE id = $1");           \
    CN_STATEMENT(SQL_LIST_##table, list_lanes,                                 \
                 "SELECT id, version, event_seq, body, tenant_id, created_at," \
                 " updated_at FROM access." #table " t"                        \
                 " WHERE (t.created_at, t.id) > ($1, $2)"                      \
                 " ORDER BY t.created_at, t.id LIMIT $3");                     \
    CN_SQL_WRITE(SQL_UPDATE_##table,                                           \
                 "WITH u AS (UPDATE access." #table                            \
                 " SET version = version + 1, event_seq = event_seq + 1,"      \
                 " updated_at = $3, body = $4"                                 \
                 " WHERE id = $1 AND version = $2 RETURNING 1)"                \
                 " SELECT access.require(EXISTS (SELECT 1 FROM u), '" #table   \
                 "_version')")
#define RESOURCE_AFTER(table)                                                  \
    CN_SQL_READ(SQL_AFTER_##table,                                             \
                "SELECT id, version, event_seq, body, tenant_id, created_at,"  \
                " updated_at FROM access." #table " t WHERE t.id > $1"         \
                " ORDER BY t.id LIMIT $2")
#define RESOURCE_INSERT(table)                                                 \
    CN_SQL_WRITE(SQL_INSERT_##table,                                           \
                 "INSERT INTO access." #table " (tenant_id, id, version,"      \
                 " event_seq, created_at, updated_at, body)"                   \
                 " VALUES ($1, $2, 1, 1, $3, $3, $4)")

RESOURCE_STATEMENTS(agency, 1U << CN_LANE_READ | 1U << CN_LANE_RELAY);
RESOURCE_INSERT(agency);
RESOURCE_AFTER(agency);
RESOURCE_STATEMENTS(branch, 1U << CN_LANE_READ);
RESOURCE_INSERT(branch);
RESOURCE_AFTER(branch);
RESOURCE_STATEMENTS(app_user, 1U << CN_LANE_READ);
RESOURCE_INSERT(app_user);
RESOURCE_STATEMENTS(api_key, 1U << CN_LANE_READ);

const struct resource_table AGENCIES = {
    "agency",
    "agc",
    "/v1/agencies",
    "access.agency.body",
    &acc__agency__descriptor,
    &SQL_GET_agency,
    &SQL_LIST_agency,
    &SQL_INSERT_agency,
    &SQL_UPDATE_agency,
    &SQL_AFTER_agency,
};
const struct resource_table BRANCHES = {
    "branch",
    "brn",
    "/v1/branches",
    "access.branch.body",
    &acc__branch__descriptor,
    &SQL_GET_branch,
    &SQL_LIST_branch,
    &SQL_INSERT_branch,
    &SQL_UPDATE_branch,
    &SQL_AFTER_branch,
};
const struct resource_table USERS = {
    "user",
    "usr",
    "/v1/users",
    "access.user.body",
    &acc__user__descriptor,
    &SQL_GET_app_user,
    &SQL_LIST_app_user,
    &SQL_INSERT_app_user,
    &SQL_UPDATE_app_user,
    NULL,
};
const struct resource_table API_KEYS = {
    "key",
    "key",
    "/v1/api-keys",
    "access.api_key.body",
    &acc__api_key__descriptor,
    &SQL_GET_api_key,
    &SQL_LIST_api_key,
    NULL,
    &SQL_UPDATE_api_key,
    NULL,
};

static enum cn_code s_resource_read(struct cn_env *env,
                                    struct cn_arena *arena,
                                    const struct resource_table *table,
                                    const struct cn_rows *rows,
                                    size_t row,
                                    struct resource *ret_resource,
                                    struct cn_err *err)
{
    struct resource resource = {
        .id = cn_row_uuid(rows, row, 0),
        .version = cn_row_int(rows, row, 1),
        .event_seq = cn_row_int(rows, row, 2),
        .updated_at = cn_row_at(rows, row, 6),
    };
    enum cn_code rc = cn_unseal_message(
        env, arena, cn_row_uuid(rows, row, 4), table->context,
        cn_row_bytes(rows, row, 3), table->descriptor, &resource.message, err);
    if (rc == CN_OK) {
        *ret_resource = resource;
    }
    return rc;
}

enum cn_code resource_get(const struct cn_request *request,
                          const struct resource_table *table,
                          const char *id,
                          struct resource *ret_resource,
                          struct cn_err *err)
{
    struct cn_uuid uuid;
    if (!cn_id_parse(table->prefix, id, &uuid)) {
        return cn_fail(err, CN_NOT_FOUND, "no such %s", table->aggregate);
    }
    const struct cn_rows *rows = NULL;
    enum cn_code rc =
        cn_db_read(request->env->db, CN_LANE_READ, request->arena,
                   request->principal.tenant_id, table->get,
                   (const struct cn_param[]){ cn_uuid(uuid) }, 1, &rows, err);
    if (rc != CN_OK) {
        return rc;
    }
    if (cn_rows_count(rows) == 0) {
        return cn_fail(err, CN_NOT_FOUND, "no such %s", table->aggregate);
    }
    return s_resource_read(request->env, request->arena, table, rows, 0,
                           ret_resource, err);
}

enum cn_code resource_list(const struct cn_request *request,
                           const struct resource_table *table,
                           bool across_tenants,
                           const struct cn_page *page,
                           ProtobufCMessage ***ret_messages,
                           struct cn_cursor **ret_cursors,
                           size_t *ret_count,
                           struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc = cn_db_read(
        request->env->db, across_tenants ? CN_LANE_RELAY : CN_LANE_READ,
        request->arena, request->principal.tenant_id, table->list,
        (const struct cn_param[]){ cn_at(page->after.key),
                                   cn_uuid(page->after.id),
                                   cn_int(page->limit + 1) },
        3, &rows, err);
    if (rc != CN_OK) {
        return rc;
    }
    size_t count = cn_rows_count(rows);
    ProtobufCMessage **messages =
        cn_arena_array(request->arena, count + 1, sizeof(ProtobufCMessage *));
    struct cn_cursor *cursors =
        cn_arena_array(request->arena, count + 1, sizeof(*cursors));
    if (messages == NULL || cursors == NULL) {
        return cn_fail(err, CN_NOMEM, "list %s", table->aggregate);
    }
    for (size_t row = 0; row < count; row++) {
        struct resource resource;
        rc = s_resource_read(request->env, request->arena, table, rows, row,
                             &resource, err);
        if (rc != CN_OK) {
            return rc;
        }
        messages[row] = resource.message;
        cursors[row].key = cn_row_at(rows, row, 5);
        cursors[row].id = resource.id;
    }
    *ret_messages = messages;
    *ret_cursors = cursors;
    *ret_count = count;
    return CN_OK;
}

enum cn_code resources_after(const struct cn_store *store,
                             const struct resource_table *table,
                             struct cn_uuid after,
                             int limit,
                             struct resource **ret_rows,
                             size_t *ret_count,
                             struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc = CN_STORE_READ(store, table->after, &rows, err,
                                    cn_uuid(after), cn_int(limit));
    if (rc != CN_OK) {
        return rc;
    }
    size_t count = cn_rows_count(rows);
    struct resource *found =
        cn_arena_array(store->arena, count + 1, sizeof(*found));
    if (found == NULL) {
        return cn_fail(err, CN_NOMEM, "read %s", table->aggregate);
    }
    for (size_t row = 0; row < count; row++) {
        rc = s_resource_read(store->env, store->arena, table, rows, row,
                             &found[row], err);
        if (rc != CN_OK) {
            return rc;
        }
    }
    *ret_rows = found;
    *ret_count = count;
    return CN_OK;
}

CN_SQL_READ(SQL_BRANCHES_KNOWN,
            "SELECT b.id FROM access.branch b WHERE b.id = ANY ($1)");

static bool s_rows_have(const struct cn_rows *rows, const char *text)
{
    struct cn_uuid id;
    if (!cn_id_parse("brn", text, &id)) {
        return false;
    }
    for (size_t row = 0; row < cn_rows_count(rows); row++) {
        if (cn_uuid_equal(cn_row_uuid(rows, row, 0), id)) {
            return true;
        }
    }
    return false;
}

enum cn_code branches_known(const struct cn_request *request,
                            const char *pointer,
                            const char *const *ids,
                            size_t count,
                            struct cn_err *err)
{
    struct cn_store store = cn_store_of_request(request);
    const struct cn_rows *rows = NULL;
    struct cn_uuid *wanted =
        cn_arena_array(request->arena, count + 1, sizeof(*wanted));
    size_t wanted_count = 0;
    if (wanted == NULL) {
        return cn_fail(err, CN_NOMEM, "look for branches");
    }
    for (size_t i = 0; i < count; i++) {
        wanted_count += cn_id_parse("brn", ids[i], &wanted[wanted_count]);
    }
    enum cn_code rc = CN_STORE_READ(&store, &SQL_BRANCHES_KNOWN, &rows, err,
                                    cn_uuids(wanted, wanted_count));
    for (size_t i = 0; rc == CN_OK && i < count; i++) {
        if (ids[i] != NULL && !s_rows_have(rows, ids[i])) {
            return cn_fail_field(err, pointer, "unknown_branch",
                                 "is no branch of the agency");
        }
    }
    return rc;
}

enum cn_code resource_insert(const struct cn_request *request,
                             struct cn_write *write,
                             const struct resource_table *table,
                             struct cn_uuid id,
                             const ProtobufCMessage *message,
                             struct cn_err *err)
{
    struct cn_bytes body;
    enum cn_code rc = cn_seal_message(request->env, request->arena,
                                      request->principal.tenant_id,
                                      table->context, message, &body, err);
    if (rc == CN_OK) {
        CN_CHANGE(write, table->insert, cn_uuid(request->principal.tenant_id),
                  cn_uuid(id), cn_at(request->now_at),
                  cn_bytes(body.data, body.size));
    }
    return rc;
}

CN_SQL_WRITE(SQL_INSERT_api_key,
             "INSERT INTO access.api_key (tenant_id, id, version, event_seq,"
             " created_at, updated_at, body, key_hash, user_id)"
             " VALUES ($1, $2, 1, 1, $3, $3, $4, $5, $6)");

enum cn_code api_key_insert(const struct cn_request *request,
                            struct cn_write *write,
                            struct cn_uuid id,
                            struct cn_bytes key_hash,
                            struct cn_uuid user_id,
                            const ProtobufCMessage *message,
                            struct cn_err *err)
{
    struct cn_bytes body;
    enum cn_code rc = cn_seal_message(request->env, request->arena,
                                      request->principal.tenant_id,
                                      API_KEYS.context, message, &body, err);
    if (rc == CN_OK) {
        CN_CHANGE(
            write, &SQL_INSERT_api_key, cn_uuid(request->principal.tenant_id),
            cn_uuid(id), cn_at(request->now_at), cn_bytes(body.data, body.size),
            cn_bytes(key_hash.data, key_hash.size), cn_uuid_or_null(user_id));
    }
    return rc;
}

enum cn_code resource_update(const struct cn_request *request,
                             struct cn_write *write,
                             const struct resource_table *table,
                             const struct resource *resource,
                             const ProtobufCMessage *message,
                             struct cn_err *err)
{
    struct cn_bytes body;
    enum cn_code rc = cn_seal_message(request->env, request->arena,
                                      request->principal.tenant_id,
                                      table->context, message, &body, err);
    if (rc == CN_OK) {
        CN_CHANGE(write, table->update, cn_uuid(resource->id),
                  cn_int(resource->version), cn_at(request->now_at),
                  cn_bytes(body.data, body.size));
    }
    return rc;
}

CN_SQL_RELAY(SQL_FIND_KEY,
             "SELECT k.tenant_id, k.id, k.body, u.body"
             " FROM access.api_key k LEFT JOIN access.app_user u"
             " ON u.tenant_id = k.tenant_id AND u.id = k.user_id"
             " WHERE k.key_hash = $1");

enum cn_code key_find(const struct cn_request *request,
                      struct cn_bytes key_hash,
                      struct key_row *ret_row,
                      struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc = cn_db_read(
        request->env->db, CN_LANE_RELAY, request->arena,
        (struct cn_uuid){ { 0 } }, &SQL_FIND_KEY,
        (const struct cn_param[]){ cn_bytes(key_hash.data, key_hash.size) }, 1,
        &rows, err);
    if (rc != CN_OK) {
        return rc;
    }
    struct key_row key = { .found = cn_rows_count(rows) == 1 };
    if (key.found) {
        key.tenant_id = cn_row_uuid(rows, 0, 0);
        key.id = cn_row_uuid(rows, 0, 1);
        ProtobufCMessage *api_key = NULL;
        ProtobufCMessage *user = NULL;
        rc = cn_unseal_message(request->env, request->arena, key.tenant_id,
                               API_KEYS.context, cn_row_bytes(rows, 0, 2),
                               API_KEYS.descriptor, &api_key, err);
        if (rc == CN_OK && !cn_row_null(rows, 0, 3)) {
            rc = cn_unseal_message(request->env, request->arena, key.tenant_id,
                                   USERS.context, cn_row_bytes(rows, 0, 3),
                                   USERS.descriptor, &user, err);
        }
        key.api_key = api_key;
        key.user = user;
    }
    if (rc == CN_OK) {
        *ret_row = key;
    }
    return rc;
}

CN_SQL_READ(SQL_KEY_HASH, "SELECT key_hash FROM access.api_key WHERE id = $1");

enum cn_code api_key_hash_get(const struct cn_request *request,
                              struct cn_uuid id,
                              struct cn_bytes *ret_hash,
                              struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc =
        cn_db_read(request->env->db, CN_LANE_READ, request->arena,
                   request->principal.tenant_id, &SQL_KEY_HASH,
                   (const struct cn_param[]){ cn_uuid(id) }, 1, &rows, err);
    if (rc != CN_OK) {
        return rc;
    }
    if (cn_rows_count(rows) == 0) {
        return cn_fail(err, CN_NOT_FOUND, "no such key");
    }
    *ret_hash = cn_row_bytes(rows, 0, 0);
    return CN_OK;
}
