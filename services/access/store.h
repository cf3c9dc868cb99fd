/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of schema access. Each resource is a sealed message under one shape of
 * row, so one set of functions serves the four tables. */
#ifndef ACCESS_STORE_H
#define ACCESS_STORE_H

#include "common/store/page.h"
#include "common/store/store.h"
#include "common/store/write.h"

/* One of the tables and what it holds. */
struct resource_table {
    const char *aggregate;  /* "branch" */
    const char *prefix;     /* of its ids: "brn" */
    const char *collection; /* "/v1/branches" */
    const char *context;    /* of the seal */
    const ProtobufCMessageDescriptor *descriptor;
    const struct cn_statement *get;
    const struct cn_statement *list;
    const struct cn_statement *insert;
    const struct cn_statement *update;
    const struct cn_statement *after; /* NULL: not in a snapshot */
};

extern const struct resource_table AGENCIES;
extern const struct resource_table BRANCHES;
extern const struct resource_table USERS;
extern const struct resource_table API_KEYS;

/* One row; message is of the table's type, in the request's arena. */
struct resource {
    struct cn_uuid id;
    int64_t version;
    int64_t event_seq;
    int64_t updated_at;
    ProtobufCMessage *message;
};

/* CN_NOT_FOUND for an id of another form, another tenant or nobody. */
CN_CHECKED enum cn_code resource_get(const struct cn_request *request,
                                     const struct resource_table *table,
                                     const char *id,
                                     struct resource *ret_resource,
                                     struct cn_err *err);
/* A page and one row more, in the order they were made. across_tenants is for
 * the platform's operator. */
CN_CHECKED enum cn_code resource_list(const struct cn_request *request,
                                      const struct resource_table *table,
                                      bool across_tenants,
                                      const struct cn_page *page,
                                      ProtobufCMessage ***ret_messages,
                                      struct cn_cursor **ret_cursors,
                                      size_t *ret_count,
                                      struct cn_err *err);
/* Up to limit rows of the store's tenant after an id, in the order of ids. */
CN_CHECKED enum cn_code resources_after(const struct cn_store *store,
                                        const struct resource_table *table,
                                        struct cn_uuid after,
                                        int limit,
                                        struct resource **ret_rows,
                                        size_t *ret_count,
                                        struct cn_err *err);
/* Every id must be of a branch of the agency; NULL ids are skipped. CN_INVALID
 * at that pointer. */
CN_CHECKED enum cn_code branches_known(const struct cn_request *request,
                                       const char *pointer,
                                       const char *const *ids,
                                       size_t count,
                                       struct cn_err *err);
/* Adds the row to the write, at version 1. */
CN_CHECKED enum cn_code resource_insert(const struct cn_request *request,
                                        struct cn_write *write,
                                        const struct resource_table *table,
                                        struct cn_uuid id,
                                        const ProtobufCMessage *message,
                                        struct cn_err *err);
/* The same for a key, with what it is looked up by. */
CN_CHECKED enum cn_code api_key_insert(const struct cn_request *request,
                                       struct cn_write *write,
                                       struct cn_uuid id,
                                       struct cn_bytes key_hash,
                                       struct cn_uuid user_id,
                                       const ProtobufCMessage *message,
                                       struct cn_err *err);
/* Adds the change to the write: version and event_seq count up from those of
 * resource, guarded by its version (<aggregate>_version). */
CN_CHECKED enum cn_code resource_update(const struct cn_request *request,
                                        struct cn_write *write,
                                        const struct resource_table *table,
                                        const struct resource *resource,
                                        const ProtobufCMessage *message,
                                        struct cn_err *err);

/* A key as it is resolved, before there is a tenant. */
struct key_row {
    bool found;
    struct cn_uuid tenant_id;
    struct cn_uuid id;
    const ProtobufCMessage *api_key; /* Acc__ApiKey */
    const ProtobufCMessage *user;    /* Acc__User; NULL: an integration */
};
CN_CHECKED enum cn_code key_find(const struct cn_request *request,
                                 struct cn_bytes key_hash,
                                 struct key_row *ret_row,
                                 struct cn_err *err);
/* Hash of a key's row, for its events. */
CN_CHECKED enum cn_code api_key_hash_get(const struct cn_request *request,
                                         struct cn_uuid id,
                                         struct cn_bytes *ret_hash,
                                         struct cn_err *err);

#endif
