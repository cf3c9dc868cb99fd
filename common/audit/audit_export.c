/* SPDX-License-Identifier: Apache-2.0 */
/* Writes the lines of an export, and checks them byte for byte when it reads
 * them. */
#include "common/audit/audit_export.h"

#include "common/audit/audit_scan.h"
#include "common/base/arena.h"
#include "common/contract/service.h"
#include "common/wire/json.h"
#include "common/wire/message.h"

#include "cairn/audit.cairn.h"

#include <stdlib.h>
#include <string.h>

enum {
    ARENA_MAX = 8 << 20,
    LINE_SIZE_MAX = 1 << 20,
    HEADER_SIZE_MAX = 256,
    FIRST_LINES = 2, /* the header is line 1 */
    HASH_TEXT_SIZE = 2 * CN_SHA256_SIZE + 1
};

/* ---- one line ---- */

/* The entry as its line, without the line's end. */
static void s_line_write(struct cn_buffer *buffer,
                         const struct cn_audit_entry *entry)
{
    char tenant[CN_UUID_TEXT_SIZE];
    char id[CN_UUID_TEXT_SIZE];
    char hash[HASH_TEXT_SIZE];
    Aud__Line line = AUD__LINE__INIT;
    Aud__LineRow row = AUD__LINE_ROW__INIT;
    cn_uuid_format(entry->tenant_id, tenant);
    cn_uuid_format(entry->id, id);
    cn_hex(entry->hash, sizeof(entry->hash), hash);
    line.tenant_id = tenant;
    line.id = id;
    line.hash = hash;
    CN_SET(&line, n, entry->n);
    CN_SET(&line, seq, entry->seq);
    CN_SET(&line, form, (int32_t)entry->form);
    if (entry->has_row) {
        CN_SET(&row, at, entry->at);
        CN_SET(&row, epoch, (int32_t)entry->epoch);
        CN_SET(&row, xid, entry->xid);
        row.actor = entry->actor;
        row.role = entry->role;
        row.action = entry->action;
        row.resource = entry->resource;
        row.patients = entry->patients;
        row.request_id = entry->request_id;
        line.row = &row;
    }
    cn_json_write(buffer, &aud__line__shape, &line.base);
}

static bool s_row_read(const Aud__LineRow *row, struct cn_audit_entry *entry)
{
    entry->has_row = true;
    entry->at = row->at;
    entry->actor = row->actor;
    entry->role = row->role;
    entry->action = row->action;
    entry->resource = row->resource;
    entry->patients = row->patients;
    entry->request_id = row->request_id;
    entry->epoch = row->epoch;
    entry->xid = row->xid;
    return row->has_at && row->has_epoch && row->has_xid &&
           row->actor != NULL && row->role != NULL && row->action != NULL &&
           row->patients != NULL;
}

/* False for anything that is not exactly what s_line_write writes. The entry's
 * texts are in the arena. */
static bool s_line_read(struct cn_arena *arena,
                        const char *text,
                        size_t size,
                        struct cn_audit_entry *entry)
{
    Aud__Line *line = CN_NEW(arena, aud__line, Aud__Line);
    struct cn_err err = { 0 };
    struct cn_buffer buffer;
    if (cn_json_read(arena, &aud__line__shape, text, size, &line->base, NULL,
                     &err) != CN_OK) {
        return false;
    }
    *entry = (struct cn_audit_entry){ .n = line->n,
                                      .seq = line->seq,
                                      .form = line->form };
    if (line->tenant_id == NULL || line->id == NULL ||
        !cn_uuid_parse(line->tenant_id, &entry->tenant_id) ||
        !cn_uuid_parse(line->id, &entry->id) ||
        !cn_unhex(line->hash, entry->hash, sizeof(entry->hash)) ||
        (line->row != NULL && !s_row_read(line->row, entry))) {
        return false;
    }
    cn_buffer_init(&buffer, LINE_SIZE_MAX);
    s_line_write(&buffer, entry);
    bool same = !buffer.failed && buffer.size == size &&
                memcmp(buffer.data, text, size) == 0;
    cn_buffer_done(&buffer);
    return same;
}

/* ---- writing ---- */

struct writer {
    FILE *file;
    int64_t count;
    int64_t last_seq;
};

static enum cn_code
s_export_write(FILE *file, const char *text, size_t size, struct cn_err *err)
{
    if (fwrite(text, 1, size, file) != size) {
        return cn_fail(err, CN_UNAVAILABLE, "the export cannot be written");
    }
    return CN_OK;
}

static enum cn_code
s_write_entry(void *arg, const struct cn_audit_entry *entry, struct cn_err *err)
{
    struct writer *self = arg;
    struct cn_buffer buffer;
    cn_buffer_init(&buffer, LINE_SIZE_MAX);
    s_line_write(&buffer, entry);
    cn_buffer_puts(&buffer, "\n");
    enum cn_code rc =
        buffer.failed
            ? cn_fail(err, CN_NOMEM, "export: no memory for a line")
            : s_export_write(self->file, buffer.data, buffer.size, err);
    cn_buffer_done(&buffer);
    self->count++;
    self->last_seq = entry->seq;
    return rc;
}

static void s_export_header(const char *service,
                            struct cn_uuid tenant,
                            char text[HEADER_SIZE_MAX])
{
    char id[CN_UUID_TEXT_SIZE];
    bool whole = cn_uuid_is_nil(tenant);
    cn_uuid_format(tenant, id);
    (void)snprintf(text, HEADER_SIZE_MAX,
                   "{\"cairn_audit_export\":1,\"service\":\"%.64s\","
                   "\"tenant_id\":%s%s%s}\n",
                   service, whole ? "" : "\"", whole ? "null" : id,
                   whole ? "" : "\"");
}

static void
s_footer(int64_t count, int64_t last_seq, char text[HEADER_SIZE_MAX])
{
    (void)snprintf(text, HEADER_SIZE_MAX, "{\"rows\":%lld,\"last_seq\":%lld}\n",
                   (long long)count, (long long)last_seq);
}

enum cn_code cn_audit_export_write(struct cn_env *env,
                                   const char *service,
                                   struct cn_uuid tenant,
                                   FILE *file,
                                   int64_t *ret_count,
                                   struct cn_err *err)
{
    struct writer writer = { .file = file };
    char line[HEADER_SIZE_MAX];
    int64_t last_seq = 0;
    s_export_header(service, tenant, line);
    enum cn_code rc = s_export_write(file, line, strlen(line), err);
    if (rc == CN_OK) {
        rc = cn_audit_scan(env, tenant, s_write_entry, &writer, &last_seq, err);
    }
    if (rc == CN_OK) {
        s_footer(writer.count, writer.last_seq, line);
        rc = s_export_write(file, line, strlen(line), err);
    }
    if (rc == CN_OK && fflush(file) != 0) {
        rc = cn_fail(err, CN_UNAVAILABLE, "the export cannot be written");
    }
    if (rc == CN_OK) {
        *ret_count = writer.count;
    }
    return rc;
}

/* ---- reading ---- */

enum cn_code cn_audit_export_open(FILE *file,
                                  char service[CN_AUDIT_SERVICE_MAX],
                                  struct cn_uuid *ret_tenant,
                                  struct cn_err *err)
{
    static const char BEFORE[] = "{\"cairn_audit_export\":1,\"service\":\"";
    static const char BETWEEN[] = "\",\"tenant_id\":";
    char line[HEADER_SIZE_MAX];
    char again[HEADER_SIZE_MAX];
    char id[CN_UUID_TEXT_SIZE] = "";
    struct cn_uuid tenant = { 0 };
    if (fgets(line, sizeof(line), file) == NULL) {
        return cn_fail(err, CN_MALFORMED, "the export is empty");
    }
    if (strncmp(line, BEFORE, sizeof(BEFORE) - 1) != 0) {
        return cn_fail(err, CN_MALFORMED, "this is not an export of an audit");
    }
    const char *name = line + sizeof(BEFORE) - 1;
    const char *end = strchr(name, '"');
    if (end == NULL || end - name >= CN_AUDIT_SERVICE_MAX) {
        return cn_fail(err, CN_MALFORMED, "this is not an export of an audit");
    }
    memcpy(service, name, (size_t)(end - name));
    service[end - name] = '\0';
    if (strncmp(end, BETWEEN, sizeof(BETWEEN) - 1) == 0 &&
        end[sizeof(BETWEEN) - 1] == '"') {
        (void)snprintf(id, sizeof(id), "%s", end + sizeof(BETWEEN));
    }
    if (id[0] != '\0' && !cn_uuid_parse(id, &tenant)) {
        return cn_fail(err, CN_MALFORMED, "this is not an export of an audit");
    }
    s_export_header(service, tenant, again);
    if (strcmp(line, again) != 0) {
        return cn_fail(err, CN_MALFORMED, "this is not an export of an audit");
    }
    *ret_tenant = tenant;
    return CN_OK;
}

struct reader {
    struct cn_audit_verify *verify;
    size_t line;
    int64_t last_seq;
    bool ended; /* the last line has been read */
};

static enum cn_code s_read_line(struct reader *self,
                                const char *text,
                                size_t size,
                                struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(ARENA_MAX);
    struct cn_audit_entry entry = { .n = 0 };
    char last[HEADER_SIZE_MAX];
    if (arena == NULL) {
        return cn_fail(err, CN_NOMEM, "verify: no memory");
    }
    s_footer(cn_audit_verify_row_count(self->verify), self->last_seq, last);
    if (!self->ended && size == strlen(last) && memcmp(text, last, size) == 0) {
        self->ended = true;
        return CN_OK;
    }
    if (self->ended || size == 0 || size > LINE_SIZE_MAX ||
        text[size - 1] != '\n' || !s_line_read(arena, text, size - 1, &entry)) {
        return cn_audit_verify_add(
            self->verify,
            (struct cn_audit_fault){ .wrong = CN_AUDIT_UNREADABLE,
                                     .line = self->line },
            err);
    }
    self->last_seq = entry.seq;
    return cn_audit_verify_entry(self->verify, &entry, self->line, err);
}

enum cn_code cn_audit_export_verify(FILE *file,
                                    struct cn_audit_verify *verify,
                                    struct cn_err *err)
{
    struct reader reader = { .verify = verify, .line = FIRST_LINES };
    char *line = NULL;
    size_t room = 0;
    ssize_t size = 0;
    enum cn_code rc = CN_OK;
    while (rc == CN_OK && (size = getline(&line, &room, file)) > 0) {
        rc = s_read_line(&reader, line, (size_t)size, err);
        reader.line++;
    }
    free(line);
    if (rc == CN_OK && ferror(file) != 0) {
        rc = cn_fail(err, CN_UNAVAILABLE, "the export cannot be read");
    }
    if (rc == CN_OK) {
        rc = cn_audit_verify_end(verify, reader.last_seq, err);
    }
    /* An export without its last line was cut off, even where it has no other
     * fault. */
    if (rc == CN_OK && !reader.ended &&
        cn_audit_verify_fault_count(verify) == 0) {
        rc = cn_audit_verify_add(verify,
                                 (struct cn_audit_fault){ .wrong = CN_AUDIT_CUT,
                                                          .line = reader.line },
                                 err);
    }
    return rc;
}
