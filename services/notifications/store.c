/* SPDX-License-Identifier: Apache-2.0 */
#include "services/notifications/store.h"

#include "common/contract/service.h"
#include "common/store/reach.h"
#include "common/wire/json.h"

#include <string.h>

static const char MESSAGE_CONTEXT[] = "notifications.message.body";

#define MESSAGE_COLUMNS                                                        \
    "m.id, m.branch_id, m.referral_id, m.patient_id, m.created_at,"            \
    " m.version, m.event_seq, m.body"

static enum cn_code s_messages_read(const struct cn_store *store,
                                    const struct cn_rows *rows,
                                    struct message_row **ret_rows,
                                    size_t *ret_count,
                                    struct cn_err *err)
{
    size_t count = cn_rows_count(rows);
    struct message_row *found =
        cn_arena_array(store->arena, count + 1, sizeof(*found));
    if (found == NULL) {
        return cn_fail(err, CN_NOMEM, "read messages");
    }
    for (size_t row = 0; row < count; row++) {
        ProtobufCMessage *message = NULL;
        found[row].id = cn_row_uuid(rows, row, 0);
        found[row].branch_id = cn_row_uuid(rows, row, 1);
        found[row].referral_id = cn_row_uuid(rows, row, 2);
        found[row].patient_id = cn_row_uuid(rows, row, 3);
        found[row].created_at = cn_row_at(rows, row, 4);
        found[row].version = cn_row_int(rows, row, 5);
        found[row].event_seq = cn_row_int(rows, row, 6);
        enum cn_code rc =
            cn_store_unseal(store, MESSAGE_CONTEXT, rows, row, 7,
                            &ntf__outgoing__descriptor, &message, err);

        if (rc != CN_OK) {
            return rc;
        }
        found[row].outgoing = (Ntf__Outgoing *)message;
    }
    *ret_rows = found;
    *ret_count = count;
    return CN_OK;
}

CN_SQL_READ(SQL_MESSAGE_GET,
            "SELECT " MESSAGE_COLUMNS
            " FROM notifications.message m WHERE m.id = $1");

enum cn_code message_store_get(const struct cn_store *store,
                               struct cn_uuid id,
                               struct message_row *ret_row,
                               struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    struct message_row *found = NULL;
    size_t count = 0;
    enum cn_code rc =
        CN_STORE_READ(store, &SQL_MESSAGE_GET, &rows, err, cn_uuid(id));
    if (rc == CN_OK) {
        rc = s_messages_read(store, rows, &found, &count, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    if (count == 0) {
        return cn_fail(err, CN_NOT_FOUND, "no such message");
    }
    *ret_row = found[0];
    return CN_OK;
}

/* A filter that may be absent hides from the planner how many rows a page
 * reads, so there is one statement for each way in: by time; by status, one
 * ordered scan for each, merged, so that what failed is not looked for among
 * all that was ever sent; by one id, where the rows are few. */
#define MESSAGES_BEFORE                                                        \
    " (m.created_at, m.id) < ($1, $2)"                                         \
    " AND ($4::uuid[] IS NULL OR m.branch_id = ANY ($4))"
#define MESSAGES_ORDER " ORDER BY m.created_at DESC, m.id DESC LIMIT $3"
CN_SQL_READ(SQL_MESSAGES_PAGE,
            "SELECT " MESSAGE_COLUMNS " FROM notifications.message m"
            " WHERE" MESSAGES_BEFORE MESSAGES_ORDER);
CN_SQL_READ(SQL_MESSAGES_BY_STATUS,
            "SELECT " MESSAGE_COLUMNS
            " FROM unnest($5::text[]) AS s (status) CROSS JOIN LATERAL"
            " (SELECT m.* FROM notifications.message m"
            " WHERE m.status = s.status"
            " AND" MESSAGES_BEFORE MESSAGES_ORDER ") m" MESSAGES_ORDER);
#define MESSAGES_OF(statement, leading)                                        \
    CN_SQL_READ(statement,                                                     \
                "SELECT " MESSAGE_COLUMNS " FROM notifications.message m"      \
                " WHERE " leading " AND" MESSAGES_BEFORE                       \
                " AND ($5::text[] IS NULL OR m.status = ANY ($5))"             \
                " AND ($6::uuid IS NULL OR m.referral_id = $6)"                \
                " AND ($7::uuid IS NULL OR m.patient_id = $7)" MESSAGES_ORDER)
MESSAGES_OF(SQL_MESSAGES_OF_REFERRAL, "m.referral_id = $6");
MESSAGES_OF(SQL_MESSAGES_OF_PATIENT, "m.patient_id = $7");

/* The statement, and how many of the parameters it has. */
static const struct cn_statement *
s_page_statement(const struct message_filter *by, size_t *ret_count)
{
    *ret_count = 7;
    if (!cn_uuid_is_nil(by->referral_id)) {
        return &SQL_MESSAGES_OF_REFERRAL;
    }
    if (!cn_uuid_is_nil(by->patient_id)) {
        return &SQL_MESSAGES_OF_PATIENT;
    }
    if (by->statuses.kind != CN_PARAM_NULL) {
        *ret_count = 5;
        return &SQL_MESSAGES_BY_STATUS;
    }
    *ret_count = 4;
    return &SQL_MESSAGES_PAGE;
}

enum cn_code messages_page(const struct cn_request *request,
                           const struct message_filter *filter,
                           const struct cn_page *page,
                           struct message_row **ret_rows,
                           size_t *ret_count,
                           struct cn_err *err)
{
    struct cn_store store = cn_store_of_request(request);
    /* Newest first: the first page begins after everything. */
    struct cn_cursor after = page->after;
    if (after.key == 0) {
        after.key = request->now_at + CN_DAY;
        memset(after.id.bytes, 0xff, sizeof(after.id.bytes));
    }
    const struct cn_param params[] = {
        cn_at(after.key),
        cn_uuid(after.id),
        cn_int(page->limit + 1),
        cn_reach_branches(request),
        filter->statuses,
        cn_uuid_or_null(filter->referral_id),
        cn_uuid_or_null(filter->patient_id),
    };
    const struct cn_rows *rows = NULL;
    size_t count = 0;
    const struct cn_statement *statement = s_page_statement(filter, &count);
    enum cn_code rc =
        cn_store_read(&store, statement, params, count, &rows, err);
    return rc == CN_OK ? s_messages_read(&store, rows, ret_rows, ret_count, err)
                       : rc;
}

static const char *s_audience_word(Ntf__Message__Audience audience)
{
    return cn_enum_word(&ntf__message__audience__descriptor, (int)audience);
}

static const char *s_status_word(const Ntf__Message *message)
{
    return cn_enum_word(&ntf__message__status__descriptor,
                        (int)message->status);
}

CN_SQL_READ(SQL_MESSAGE_EXISTS,
            "SELECT 1 FROM notifications.message m WHERE m.referral_id = $1"
            " AND m.template = $2 AND m.audience = $3");

enum cn_code message_exists(const struct cn_store *store,
                            struct cn_uuid referral_id,
                            const char *template,
                            Ntf__Message__Audience audience,
                            bool *ret_exists,
                            struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc = CN_STORE_READ(store, &SQL_MESSAGE_EXISTS, &rows, err,
                                    cn_uuid(referral_id), cn_text(template),
                                    cn_text(s_audience_word(audience)));
    if (rc == CN_OK) {
        *ret_exists = cn_rows_count(rows) > 0;
    }
    return rc;
}

/* Whoever finds that somebody was told meanwhile decides again. */
CN_SQL_WRITE(SQL_MESSAGE_INSERT,
             "WITH i AS (INSERT INTO notifications.message (tenant_id, id,"
             " branch_id, referral_id, patient_id, audience, template, status,"
             " version, event_seq, created_at, updated_at, body)"
             " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, 1, $9, $9, $10)"
             " ON CONFLICT ON CONSTRAINT message_once DO NOTHING RETURNING 1)"
             " SELECT notifications.require(EXISTS (SELECT 1 FROM i),"
             " 'message_once_version')");

enum cn_code message_insert(const struct cn_store *store,
                            struct cn_write *write,
                            const struct message_row *row,
                            struct cn_err *err)
{
    const Ntf__Message *message = row->outgoing->message;
    struct cn_param body;
    enum cn_code rc =
        cn_store_seal(store, MESSAGE_CONTEXT, &row->outgoing->base, &body, err);

    if (rc == CN_OK) {
        CN_CHANGE(write, &SQL_MESSAGE_INSERT, cn_uuid(store->tenant_id),
                  cn_uuid(row->id), cn_uuid_or_null(row->branch_id),
                  cn_uuid(row->referral_id), cn_uuid(row->patient_id),
                  cn_text(s_audience_word(message->audience)),
                  cn_text(message->template_), cn_text(s_status_word(message)),
                  cn_at(store->now_at), body);
    }
    return rc;
}

CN_SQL_WRITE(SQL_MESSAGE_UPDATE,
             "WITH u AS (UPDATE notifications.message SET status = $3,"
             " version = version + 1, event_seq = event_seq + $4,"
             " updated_at = $5, body = $6"
             " WHERE id = $1 AND version = $2 RETURNING 1)"
             " SELECT notifications.require(EXISTS (SELECT 1 FROM u),"
             " 'message_version')");

enum cn_code message_update(const struct cn_store *store,
                            struct cn_write *write,
                            const struct message_row *row,
                            int events,
                            struct cn_err *err)
{
    struct cn_param body;
    enum cn_code rc =
        cn_store_seal(store, MESSAGE_CONTEXT, &row->outgoing->base, &body, err);

    if (rc == CN_OK) {
        CN_CHANGE(write, &SQL_MESSAGE_UPDATE, cn_uuid(row->id),
                  cn_int(row->version),
                  cn_text(s_status_word(row->outgoing->message)),
                  cn_int(events), cn_at(store->now_at), body);
    }
    return rc;
}
