/* SPDX-License-Identifier: Apache-2.0 */
/* Heads of chains: loads them, writes them as a signed text, reads it. */
#include "common/audit/audit_heads.h"

#include "common/base/clock.h"
#include "common/base/config.h"
#include "common/db/db.h"
#include "common/wire/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    ARENA_MAX = 192 << 20,
    FILE_SIZE_MAX = 64 << 20,
    LINE_SIZE_MAX = 256,
    HASH_TEXT_SIZE = 2 * CN_SHA256_SIZE + 1
};

static const char FIRST_LINE[] = "cairn-audit-heads 1";

/* It steps from tenant to tenant by the index, and does not read all seals. */
CN_SQL_RELAY(
    SQL_SEAL_HEADS,
    "WITH RECURSIVE t (tenant_id) AS ("
    "(SELECT s.tenant_id FROM {{schema}}.audit_seal s"
    " ORDER BY s.tenant_id LIMIT 1)"
    " UNION ALL SELECT (SELECT s.tenant_id FROM {{schema}}.audit_seal s"
    " WHERE s.tenant_id > t.tenant_id ORDER BY s.tenant_id LIMIT 1)"
    " FROM t WHERE t.tenant_id IS NOT NULL)"
    " SELECT t.tenant_id, h.n, h.hash FROM t CROSS JOIN LATERAL"
    " (SELECT s.n, s.hash FROM {{schema}}.audit_seal s"
    " WHERE s.tenant_id = t.tenant_id ORDER BY s.n DESC LIMIT 1) h"
    " WHERE t.tenant_id IS NOT NULL ORDER BY t.tenant_id");

/* One of the given heads that is not a place of the chains. */
CN_SQL_RELAY(
    SQL_SEAL_STRANGERS,
    "SELECT h.tenant_id FROM unnest($1::uuid[], $2::text[], $3::text[])"
    " AS h (tenant_id, n, hash)"
    " WHERE NOT EXISTS (SELECT 1 FROM {{schema}}.audit_seal s"
    " WHERE s.tenant_id = h.tenant_id AND s.n = h.n::bigint"
    " AND s.hash = decode(h.hash, 'hex')) LIMIT 1");

enum cn_code cn_audit_heads_load(struct cn_env *env,
                                 struct cn_arena *arena,
                                 struct cn_audit_head **ret_heads,
                                 size_t *ret_count,
                                 struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc =
        cn_db_read_all(env->db, arena, &SQL_SEAL_HEADS, NULL, 0, &rows, err);
    if (rc != CN_OK) {
        return rc;
    }
    size_t count = cn_rows_count(rows);
    struct cn_audit_head *heads = cn_arena_try(arena, count * sizeof(*heads));
    if (heads == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory for the heads");
    }
    for (size_t i = 0; i < count; i++) {
        heads[i].tenant_id = cn_row_uuid(rows, i, 0);
        heads[i].n = cn_row_int(rows, i, 1);
        memcpy(heads[i].hash, cn_row_bytes(rows, i, 2).data, CN_SHA256_SIZE);
    }
    *ret_heads = heads;
    *ret_count = count;
    return CN_OK;
}

/* ---- as text ---- */

static void s_heads_body(struct cn_buffer *buffer,
                         const char *service,
                         const char *at,
                         const struct cn_audit_head *heads,
                         size_t count)
{
    char line[LINE_SIZE_MAX];
    (void)snprintf(line, sizeof(line), "%s\nservice %.64s\nat %.40s\n",
                   FIRST_LINE, service, at);
    cn_buffer_puts(buffer, line);
    for (size_t i = 0; i < count; i++) {
        char tenant[CN_UUID_TEXT_SIZE];
        char hash[HASH_TEXT_SIZE];
        cn_uuid_format(heads[i].tenant_id, tenant);
        cn_hex(heads[i].hash, CN_SHA256_SIZE, hash);
        (void)snprintf(line, sizeof(line), "head %s %lld %s\n", tenant,
                       (long long)heads[i].n, hash);
        cn_buffer_puts(buffer, line);
    }
}

/* "word <hex>", or "word none". */
static void s_hex_line(struct cn_buffer *buffer,
                       const char *word,
                       const uint8_t *data,
                       size_t size)
{
    char hex[2 * CN_SIGN_SIZE + 1] = "none";
    if (data != NULL) {
        cn_hex(data, size, hex);
    }
    cn_buffer_puts(buffer, word);
    cn_buffer_puts(buffer, " ");
    cn_buffer_puts(buffer, hex);
    cn_buffer_puts(buffer, "\n");
}

/* The signature covers the key's line too. */
static void s_sign(struct cn_buffer *buffer, const char *key)
{
    uint8_t secret[CN_SIGN_SECRET_SIZE];
    uint8_t public_key[CN_SIGN_PUBLIC_SIZE];
    uint8_t signature[CN_SIGN_SIZE];
    bool has_key = cn_unhex(key, secret, sizeof(secret));
    if (has_key) {
        cn_sign_public(secret, public_key);
    }
    s_hex_line(buffer, "key", has_key ? public_key : NULL, sizeof(public_key));
    if (has_key && !buffer->failed) {
        cn_sign(
            secret,
            (struct cn_bytes){ (const uint8_t *)buffer->data, buffer->size },
            signature);
    }
    s_hex_line(buffer, "signature", has_key ? signature : NULL,
               sizeof(signature));
    explicit_bzero(secret, sizeof(secret));
}

const char *cn_audit_heads_text(struct cn_arena *arena,
                                const char *service,
                                int64_t at,
                                const struct cn_audit_head *heads,
                                size_t count,
                                const char *key)
{
    struct cn_buffer buffer;
    char when[CN_TIME_TEXT_MAX];
    cn_time_format(at, when);
    cn_buffer_init(&buffer, FILE_SIZE_MAX);
    s_heads_body(&buffer, service, when, heads, count);
    s_sign(&buffer, key);
    char *text = buffer.failed ? NULL : cn_arena_try(arena, buffer.size + 1);
    if (text != NULL) {
        memcpy(text, buffer.data, buffer.size);
        text[buffer.size] = '\0';
    }
    cn_buffer_done(&buffer);
    return text;
}

/* The rest of the next line behind its word; NULL when the line begins with
 * another one. The line's end becomes a NUL. */
static char *s_line_rest(char **text, const char *word)
{
    char *line = *text;
    size_t size = strlen(word);
    char *end = strchr(line, '\n');
    if (end == NULL || strncmp(line, word, size) != 0 || line[size] != ' ') {
        return NULL;
    }
    *end = '\0';
    *text = end + 1;
    return line + size + 1;
}

static bool s_read_head(char *line, struct cn_audit_head *head)
{
    char *tenant = strsep(&line, " ");
    char *n = strsep(&line, " ");
    long number = 0;
    if (line == NULL || !cn_uuid_parse(tenant, &head->tenant_id) ||
        !cn_parse_number(n, 1, INT64_MAX, &number) ||
        !cn_unhex(line, head->hash, sizeof(head->hash))) {
        return false;
    }
    head->n = number;
    return true;
}

static bool s_read_signature(char *rest, struct cn_audit_heads *heads)
{
    const char *key = s_line_rest(&rest, "key");
    const char *told = key == NULL ? NULL : s_line_rest(&rest, "signature");
    if (told == NULL || rest[0] != '\0') {
        return false;
    }
    heads->is_signed = strcmp(key, "none") != 0 || strcmp(told, "none") != 0;
    return !heads->is_signed ||
           (cn_unhex(key, heads->public_key, sizeof(heads->public_key)) &&
            cn_unhex(told, heads->signature, sizeof(heads->signature)));
}

/* Is the text exactly what s_heads_body and s_sign write for its contents? Then
 * no two texts mean the same. Also checks the signature. */
static bool s_is_exact(const char *text, struct cn_audit_heads *heads)
{
    bool is_signed = heads->is_signed;
    struct cn_buffer buffer;
    cn_buffer_init(&buffer, FILE_SIZE_MAX);
    s_heads_body(&buffer, heads->service, heads->at, heads->items,
                 heads->count);
    s_hex_line(&buffer, "key", is_signed ? heads->public_key : NULL,
               sizeof(heads->public_key));
    heads->is_right =
        is_signed && !buffer.failed &&
        cn_sign_verify(
            heads->public_key,
            (struct cn_bytes){ (const uint8_t *)buffer.data, buffer.size },
            heads->signature);
    s_hex_line(&buffer, "signature", is_signed ? heads->signature : NULL,
               sizeof(heads->signature));
    cn_buffer_add(&buffer, "", 1);
    bool same = !buffer.failed && strcmp(text, buffer.data) == 0;
    cn_buffer_done(&buffer);
    return same;
}

enum cn_code cn_audit_heads_read(struct cn_arena *arena,
                                 const char *text,
                                 struct cn_audit_heads *ret_heads,
                                 struct cn_err *err)
{
    size_t size = strlen(text) + 1;
    char *rest = cn_arena_try(arena, size);
    struct cn_audit_heads heads = { 0 };
    size_t lines = 0;
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++) {
        lines++;
    }
    struct cn_audit_head *items =
        cn_arena_try(arena, (lines + 1) * sizeof(*items));
    if (rest == NULL || items == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory for the heads");
    }
    memcpy(rest, text, size);
    heads.items = items;
    if (strncmp(rest, FIRST_LINE, strlen(FIRST_LINE)) == 0 &&
        rest[strlen(FIRST_LINE)] == '\n') {
        rest += strlen(FIRST_LINE) + 1;
        heads.service = s_line_rest(&rest, "service");
        heads.at = heads.service == NULL ? NULL : s_line_rest(&rest, "at");
    }
    if (heads.at == NULL) {
        return cn_fail(err, CN_MALFORMED, "these are not heads of an audit");
    }
    for (char *line = NULL; (line = s_line_rest(&rest, "head")) != NULL;) {
        if (!s_read_head(line, &items[heads.count++])) {
            return cn_fail(err, CN_MALFORMED, "head %zu cannot be read",
                           heads.count);
        }
    }
    if (!s_read_signature(rest, &heads) || !s_is_exact(text, &heads)) {
        return cn_fail(err, CN_MALFORMED, "the heads were changed");
    }
    *ret_heads = heads;
    return CN_OK;
}

/* ---- the file ---- */

enum cn_code cn_audit_file_read(struct cn_arena *arena,
                                const char *path,
                                const char **ret_text,
                                struct cn_err *err)
{
    struct stat about;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        return cn_fail(err, CN_NOT_FOUND, "there is no such file");
    }
    if (fd < 0 || fstat(fd, &about) != 0 || about.st_size > FILE_SIZE_MAX) {
        if (fd >= 0) {
            (void)close(fd);
            return cn_fail(err, CN_TOO_LARGE, "the file is too large");
        }
        return cn_fail(err, CN_UNAVAILABLE,
                       "the file cannot be opened: errno %d", errno);
    }
    size_t size = (size_t)about.st_size;
    char *text = cn_arena_try(arena, size + 1);
    size_t have = 0;
    ssize_t got = 1;
    while (text != NULL && have < size && got > 0) {
        got = read(fd, text + have, size - have);
        have += got > 0 ? (size_t)got : 0;
    }
    (void)close(fd);
    if (text == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory for the file");
    }
    text[have] = '\0';
    if (have < size || strlen(text) != size) {
        return cn_fail(err, CN_UNAVAILABLE, "the file cannot be read as text");
    }
    *ret_text = text;
    return CN_OK;
}

/* Writes under another name first, so that the file is always whole: the old
 * one or the new one. */
static enum cn_code s_file_write(struct cn_arena *arena,
                                 const char *path,
                                 const char *text,
                                 struct cn_err *err)
{
    const char *draft = cn_arena_printf(arena, "%s.new", path);
    size_t size = strlen(text);
    size_t done = 0;
    if (cn_arena_failed(arena)) {
        return cn_fail(err, CN_NOMEM, "no memory for the heads");
    }
    int fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    while (fd >= 0 && done < size) {
        ssize_t got = write(fd, text + done, size - done);
        if (got < 0) {
            break;
        }
        done += (size_t)got;
    }
    bool whole = fd >= 0 && done == size && fsync(fd) == 0;
    int number = errno;
    if (fd >= 0 && close(fd) != 0) {
        whole = false;
    }
    if (!whole || rename(draft, path) != 0) {
        return cn_fail(err, CN_UNAVAILABLE,
                       "the heads cannot be written: errno %d",
                       whole ? errno : number);
    }
    return CN_OK;
}

/* Are the heads of the file still places of the chains? */
static enum cn_code s_check_old(struct cn_env *env,
                                struct cn_arena *arena,
                                const char *path,
                                const char *service,
                                bool *ret_broken,
                                struct cn_err *err)
{
    const char *text = NULL;
    struct cn_audit_heads old = { 0 };
    const struct cn_rows *rows = NULL;
    enum cn_code rc = cn_audit_file_read(arena, path, &text, err);
    if (rc == CN_NOT_FOUND) {
        cn_err_clear(err);
        return CN_OK;
    }
    if (rc == CN_OK) {
        rc = cn_audit_heads_read(arena, text, &old, err);
    }
    if (rc == CN_MALFORMED || (rc == CN_OK && old.is_signed && !old.is_right) ||
        (rc == CN_OK && strcmp(old.service, service) != 0)) {
        *ret_broken = true;
        return cn_fail(err, CN_CONFLICT, "the exported heads were changed");
    }
    if (rc != CN_OK || old.count == 0) {
        return rc;
    }
    struct cn_uuid *tenants = cn_arena_try(arena, old.count * sizeof(*tenants));
    const char **places = cn_arena_try(arena, old.count * sizeof(*places));
    const char **hashes = cn_arena_try(arena, old.count * sizeof(*hashes));
    if (tenants == NULL || places == NULL || hashes == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory for the heads");
    }
    for (size_t i = 0; i < old.count && !cn_arena_failed(arena); i++) {
        char hash[HASH_TEXT_SIZE];
        cn_hex(old.items[i].hash, CN_SHA256_SIZE, hash);
        tenants[i] = old.items[i].tenant_id;
        places[i] = cn_arena_printf(arena, "%lld", (long long)old.items[i].n);
        hashes[i] = cn_arena_strdup(arena, hash);
    }
    const struct cn_param params[] = { cn_uuids(tenants, old.count),
                                       cn_texts(places, old.count),
                                       cn_texts(hashes, old.count) };
    rc = cn_db_read_all(env->db, arena, &SQL_SEAL_STRANGERS, params, 3, &rows,
                        err);
    if (rc == CN_OK && cn_rows_count(rows) > 0) {
        char tenant[CN_UUID_TEXT_SIZE];
        cn_uuid_format(cn_row_uuid(rows, 0, 0), tenant);
        *ret_broken = true;
        rc = cn_fail(err, CN_CONFLICT,
                     "the exported head of tenant %s is not in its chain",
                     tenant);
    }
    return rc;
}

enum cn_code cn_audit_heads_export(struct cn_env *env,
                                   const struct cn_audit_heads_config *config,
                                   bool *ret_broken,
                                   struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(ARENA_MAX);
    struct cn_audit_head *heads = NULL;
    size_t count = 0;
    *ret_broken = false;
    if (arena == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory for the heads");
    }
    const char *path =
        cn_arena_printf(arena, "%s/%s.heads", config->folder, config->service);
    enum cn_code rc =
        s_check_old(env, arena, path, config->service, ret_broken, err);
    if (rc == CN_OK) {
        rc = cn_audit_heads_load(env, arena, &heads, &count, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    const char *text = cn_audit_heads_text(
        arena, config->service, env->now(env), heads, count, config->key);
    if (text == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory for the heads");
    }
    return s_file_write(arena, path, text, err);
}
