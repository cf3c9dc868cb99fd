/* SPDX-License-Identifier: Apache-2.0 */
/* Records of idempotency keys. */
#include "common/store/idempotency.h"

#include "cairn/envelope.pb-c.h"
#include "common/base/array.h"
#include "common/base/env.h"
#include "common/store/step.h"
#include "common/wire/message.h"
#include "common/wire/seal.h"

#include <stdio.h>
#include <string.h>

enum { CONTEXT_MAX = 96, KEY_MAX = 1 + 2 * CN_SHA256_SIZE + 1 };

/* A key is a client's text and may name a patient: it is kept as its hash. The
 * records of releases before have the key itself ($8), and hold for the rest of
 * their time: a retry across the upgrade runs once. */
CN_SQL_WRITE(SQL_IDEMPOTENCY_INSERT,
             "WITH kept AS (INSERT INTO {{schema}}.idempotency (tenant_id, "
             "subject, method, key, fingerprint, reply, created_at) "
             "VALUES ($1, $2, $3, $4, $5, $6, $7)) "
             "SELECT {{schema}}.require(NOT EXISTS (SELECT 1 "
             "FROM {{schema}}.idempotency WHERE tenant_id = $1 "
             "AND subject = $2 AND method = $3 AND key = $8), "
             "'idempotency_key')");

CN_SQL_READ(SQL_IDEMPOTENCY_FIND,
            "SELECT fingerprint, reply FROM {{schema}}.idempotency "
            "WHERE tenant_id = $1 AND subject = $2 AND method = $3 "
            "AND key IN ($4, $5)");

/* '#', then the hash in hex. */
static const char *s_key_hidden(const struct cn_request *request)
{
    static const char DIGITS[] = "0123456789abcdef";
    const char *key = request->idempotency_key;
    const struct cn_bytes bytes = { (const uint8_t *)key, strlen(key) };
    uint8_t hash[CN_SHA256_SIZE];
    char text[KEY_MAX] = "#";
    cn_sha256(bytes, hash);
    for (size_t i = 0; i < sizeof(hash); i++) {
        text[1 + 2 * i] = DIGITS[hash[i] >> 4];
        text[2 + 2 * i] = DIGITS[hash[i] & 15];
    }
    return cn_arena_strdup(request->arena, text);
}

static void s_key_context(const struct cn_request *request,
                          char context[CONTEXT_MAX])
{
    (void)snprintf(context, CONTEXT_MAX, "%s.idempotency.reply",
                   cn_db_schema(request->env->db));
}

static const char *s_subject(const struct cn_request *request)
{
    const char *subject = request->principal.subject;
    return subject != NULL ? subject : "";
}

/* The reply as it is kept with the key. */
static enum cn_code s_seal_reply(const struct cn_request *request,
                                 struct cn_reply *reply,
                                 struct cn_bytes *ret_sealed,
                                 struct cn_err *err)
{
    enum cn_code rc = cn_reply_pack(request, reply, err);
    if (rc != CN_OK) {
        return rc;
    }
    const struct cn_bytes body = reply->packed;
    /* protobuf-c's bytes are not const; packing only reads them. */
    union {
        const uint8_t *borrowed;
        uint8_t *data;
    } bytes = { .borrowed = body.data };
    struct cn_uuid patient = reply->patient_id;
    Env__StoredReply stored = ENV__STORED_REPLY__INIT;
    CN_SET(&stored, body, ((ProtobufCBinaryData){ body.size, bytes.data }));
    CN_SET(&stored, status, reply->status);
    CN_SET(&stored, version, reply->version);
    CN_SET(&stored, updated_at, reply->updated_at);
    stored.location = reply->location;
    if (!cn_uuid_is_nil(reply->patient_id)) {
        CN_SET(&stored, patient_id,
               ((ProtobufCBinaryData){ sizeof(patient.bytes), patient.bytes }));
        stored.resource = reply->resource;
    }
    char context[CONTEXT_MAX];
    s_key_context(request, context);
    return cn_seal_message(request->env, request->arena,
                           request->principal.tenant_id, context, &stored.base,
                           ret_sealed, err);
}

enum cn_code
cn_idempotency_record(const struct cn_request *request,
                      struct cn_reply *reply,
                      const struct cn_statement **ret_statement,
                      struct cn_param params[CN_IDEMPOTENCY_PARAMS],
                      struct cn_err *err)
{
    struct cn_bytes sealed;
    enum cn_code rc = s_seal_reply(request, reply, &sealed, err);
    if (rc != CN_OK) {
        return rc;
    }
    params[0] = cn_uuid(request->principal.tenant_id);
    params[1] = cn_text(s_subject(request));
    params[2] = cn_text(request->method->name);
    params[3] = cn_text(s_key_hidden(request));
    params[4] = cn_bytes(request->fingerprint, sizeof(request->fingerprint));
    params[5] = cn_bytes(sealed.data, sealed.size);
    params[6] = cn_at(request->now_at);
    params[7] = cn_text(request->idempotency_key);
    *ret_statement = &SQL_IDEMPOTENCY_INSERT;
    return CN_OK;
}

static enum cn_code s_open_record(const struct cn_request *request,
                                  const struct cn_rows *rows,
                                  struct cn_reply *reply,
                                  struct cn_err *err)
{
    struct cn_bytes fingerprint = cn_row_bytes(rows, 0, 0);
    if (fingerprint.size != sizeof(request->fingerprint) ||
        memcmp(fingerprint.data, request->fingerprint,
               sizeof(request->fingerprint)) != 0) {
        return cn_fail(err, CN_KEY_REUSED,
                       "the idempotency key was used with another request");
    }
    char context[CONTEXT_MAX];
    s_key_context(request, context);
    ProtobufCMessage *message = NULL;
    enum cn_code rc = cn_unseal_message(
        request->env, request->arena, request->principal.tenant_id, context,
        cn_row_bytes(rows, 0, 1), &env__stored_reply__descriptor, &message,
        err);
    if (rc != CN_OK) {
        return cn_wrap(err, "stored reply");
    }
    const Env__StoredReply *stored = (const Env__StoredReply *)(void *)message;
    *reply = (struct cn_reply){ .status = stored->status,
                                .version = stored->version,
                                .updated_at = stored->updated_at,
                                .location = stored->location,
                                .resource = stored->resource,
                                .replayed = true };
    if (stored->has_patient_id &&
        stored->patient_id.len == sizeof(reply->patient_id.bytes)) {
        memcpy(reply->patient_id.bytes, stored->patient_id.data,
               sizeof(reply->patient_id.bytes));
    }
    reply->packed = (struct cn_bytes){ .data = stored->body.data,
                                       .size = stored->body.len };
    return CN_OK;
}

enum cn_code cn_idempotency_find(const struct cn_request *request,
                                 struct cn_reply *reply,
                                 bool *ret_found,
                                 struct cn_err *err)
{
    const struct cn_principal *principal = &request->principal;
    if (request->idempotency_key == NULL ||
        cn_uuid_is_nil(principal->tenant_id)) {
        *ret_found = false;
        return CN_OK;
    }
    const struct cn_param params[] = {
        cn_uuid(principal->tenant_id),     cn_text(s_subject(request)),
        cn_text(request->method->name),    cn_text(s_key_hidden(request)),
        cn_text(request->idempotency_key),
    };
    const struct cn_rows *rows = NULL;
    enum cn_code rc = cn_db_read(request->env->db, CN_LANE_READ, request->arena,
                                 principal->tenant_id, &SQL_IDEMPOTENCY_FIND,
                                 params, CN_COUNT(params), &rows, err);
    if (rc != CN_OK) {
        return rc;
    }
    bool found = cn_rows_count(rows) > 0;
    if (found) {
        rc = s_open_record(request, rows, reply, err);
        if (rc != CN_OK) {
            return rc;
        }
    }
    *ret_found = found;
    return CN_OK;
}
