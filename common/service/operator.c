/* SPDX-License-Identifier: Apache-2.0 */
/* The handlers of operator.v1, which every service serves: what an operator
 * sees of dead letters and decides about them. Trying again is dead_letter.c's.
 */
#include "common/inbox/dead_letter.h"
#include "common/store/page.h"
#include "common/store/store.h"
#include "common/store/write.h"
#include "common/wire/json.h"
#include "common/wire/message.h"

#include "cairn/operator.handlers.h"

#include <string.h>

static const char EVENT_PREFIX[] = "evt";
static const char REASON_CONTEXT[] = "dead_letter.reason";
enum { AGGREGATE_TEXT_MAX = 96 };

#define LETTER_COLUMNS                                                         \
    "d.event_id, d.status, d.created_at, d.producer, d.type,"                  \
    " d.aggregate_type, d.aggregate_id, d.aggregate_seq, d.error,"             \
    " d.decided_by, d.decided_at, d.reason"
enum {
    COLUMN_EVENT_ID,
    COLUMN_STATUS,
    COLUMN_CREATED_AT,
    COLUMN_PRODUCER,
    COLUMN_TYPE,
    COLUMN_AGGREGATE_TYPE,
    COLUMN_AGGREGATE_ID,
    COLUMN_AGGREGATE_SEQ,
    COLUMN_ERROR,
    COLUMN_DECIDED_BY,
    COLUMN_DECIDED_AT,
    COLUMN_REASON
};

CN_SQL_READ(SQL_DEAD_LETTER_GET,
            "SELECT " LETTER_COLUMNS
            " FROM {{schema}}.dead_letter d WHERE d.event_id = $1");
CN_SQL_READ(SQL_DEAD_LETTERS_PAGE,
            "SELECT " LETTER_COLUMNS " FROM {{schema}}.dead_letter d"
            " WHERE (d.created_at, d.event_id) > ($1, $2)"
            " AND d.status = ANY ($4) ORDER BY d.created_at, d.event_id"
            " LIMIT $3");

/* All that waits of the same record: one event is nothing without those before
 * it. */
CN_SQL_WRITE(SQL_DEAD_LETTER_RETRY,
             "WITH asked AS (UPDATE {{schema}}.dead_letter d"
             " SET status = 'retrying', decided_by = $6, decided_at = $7"
             " WHERE d.producer = $2 AND d.aggregate_type = $3"
             " AND d.aggregate_id = $4 AND d.tenant_id = $5"
             " AND d.status IN ('dead', 'retrying') RETURNING d.event_id)"
             " SELECT {{schema}}.require(EXISTS (SELECT 1 FROM asked"
             " WHERE event_id = $1), 'dead_letter_open')");
CN_SQL_WRITE(SQL_DEAD_LETTER_DISCARD,
             "WITH gone AS (UPDATE {{schema}}.dead_letter d"
             " SET status = 'discarded', decided_by = $2, decided_at = $3,"
             " reason = $4 WHERE d.event_id = $1"
             " AND d.status IN ('dead', 'retrying') RETURNING 1)"
             " SELECT {{schema}}.require(count(*) = 1, 'dead_letter_open')"
             " FROM gone");

/* A letter and what its commands need of it. */
struct letter {
    Opr__DeadLetter *message;
    struct cn_uuid event_id;
    struct cn_uuid aggregate_id;
};

static enum cn_code s_reason_read(const struct cn_store *store,
                                  const struct cn_rows *rows,
                                  size_t row,
                                  Opr__DeadLetter *letter,
                                  struct cn_err *err)
{
    ProtobufCMessage *message = NULL;

    if (cn_row_null(rows, row, COLUMN_REASON)) {
        return CN_OK;
    }
    enum cn_code rc =
        cn_store_unseal(store, REASON_CONTEXT, rows, row, COLUMN_REASON,
                        &opr__dead_letter__descriptor, &message, err);
    if (rc == CN_OK) {
        letter->reason = ((const Opr__DeadLetter *)message)->reason;
    }
    return rc;
}

static enum cn_code s_letter_read(const struct cn_store *store,
                                  const struct cn_rows *rows,
                                  size_t row,
                                  struct letter *ret_letter,
                                  struct cn_err *err)
{
    Opr__DeadLetter *message =
        CN_NEW(store->arena, opr__dead_letter, Opr__DeadLetter);
    char *aggregate = cn_arena_alloc(store->arena, CN_UUID_TEXT_SIZE);
    int status = OPR__DEAD_LETTER__STATUS__DEAD;

    if (message == NULL || aggregate == NULL) {
        return cn_fail(err, CN_NOMEM, "dead letter: no memory");
    }
    struct letter letter = {
        .message = message,
        .event_id = cn_row_uuid(rows, row, COLUMN_EVENT_ID),
        .aggregate_id = cn_row_uuid(rows, row, COLUMN_AGGREGATE_ID),
    };
    if (!cn_enum_value(&opr__dead_letter__status__descriptor,
                       cn_row_text(rows, row, COLUMN_STATUS), &status)) {
        return cn_fail(err, CN_INTERNAL, "dead letter: its status is no word");
    }
    cn_uuid_format(letter.aggregate_id, aggregate);
    message->id = cn_id_text(store->arena, EVENT_PREFIX, letter.event_id);
    CN_SET(message, status, (Opr__DeadLetter__Status)status);
    CN_SET(message, created_at, cn_row_at(rows, row, COLUMN_CREATED_AT));
    message->producer = cn_row_text(rows, row, COLUMN_PRODUCER);
    message->type = cn_row_text(rows, row, COLUMN_TYPE);
    message->aggregate_type = cn_row_text(rows, row, COLUMN_AGGREGATE_TYPE);
    message->aggregate_id = aggregate;
    CN_SET(message, aggregate_seq, cn_row_int(rows, row, COLUMN_AGGREGATE_SEQ));
    message->error = cn_row_text(rows, row, COLUMN_ERROR);
    message->decided_by = cn_row_text(rows, row, COLUMN_DECIDED_BY);
    if (!cn_row_null(rows, row, COLUMN_DECIDED_AT)) {
        CN_SET(message, decided_at, cn_row_at(rows, row, COLUMN_DECIDED_AT));
    }
    *ret_letter = letter;
    return s_reason_read(store, rows, row, message, err);
}

static enum cn_code s_letter_get(const struct cn_request *request,
                                 const char *id,
                                 struct letter *ret_letter,
                                 struct cn_err *err)
{
    const struct cn_store store = cn_store_of_request(request);
    const struct cn_rows *rows = NULL;
    struct cn_uuid event_id;

    if (!cn_id_parse(EVENT_PREFIX, id, &event_id)) {
        return cn_fail(err, CN_NOT_FOUND, "no such dead letter");
    }
    enum cn_code rc = CN_STORE_READ(&store, &SQL_DEAD_LETTER_GET, &rows, err,
                                    cn_uuid(event_id));
    if (rc != CN_OK) {
        return rc;
    }
    if (cn_rows_count(rows) == 0) {
        return cn_fail(err, CN_NOT_FOUND, "no such dead letter");
    }
    return s_letter_read(&store, rows, 0, ret_letter, err);
}

enum cn_code dead_letter_get(void *self,
                             const struct cn_request *request,
                             struct cn_reply *reply,
                             struct cn_err *err)
{
    (void)self;
    const Opr__GetDeadLetterRequest *body = request->body;
    struct letter letter;
    enum cn_code rc = s_letter_get(request, body->id, &letter, err);

    if (rc == CN_OK) {
        reply->body = &letter.message->base;
    }
    return rc;
}

static enum cn_code s_letters_answer(const struct cn_request *request,
                                     struct cn_reply *reply,
                                     const struct cn_page *page,
                                     const struct cn_rows *rows,
                                     struct cn_err *err)
{
    const struct cn_store store = cn_store_of_request(request);
    size_t count = cn_rows_count(rows);
    struct cn_page_row *shown =
        cn_arena_array(request->arena, count + 1, sizeof(*shown));

    if (shown == NULL) {
        return cn_fail(err, CN_NOMEM, "dead letters: no memory");
    }
    for (size_t i = 0; i < count; i++) {
        struct letter letter;
        enum cn_code rc = s_letter_read(&store, rows, i, &letter, err);
        if (rc != CN_OK) {
            return rc;
        }
        shown[i] = (struct cn_page_row){
            .shown = &letter.message->base,
            .place = { letter.message->created_at, letter.event_id },
        };
    }
    return cn_page_answer(request, reply, page, shown, count,
                          "dead_letter.list", NULL, err);
}

enum cn_code dead_letters_list(void *self,
                               const struct cn_request *request,
                               struct cn_reply *reply,
                               struct cn_err *err)
{
    (void)self;
    static const Opr__DeadLetter__Status OPEN[] = {
        OPR__DEAD_LETTER__STATUS__DEAD, OPR__DEAD_LETTER__STATUS__RETRYING
    };
    const Opr__ListDeadLettersRequest *body = request->body;
    const bool all = body->n_status == 0;
    const struct cn_store store = cn_store_of_request(request);
    const struct cn_rows *rows = NULL;
    struct cn_filter filter;
    struct cn_page page;

    cn_filter_begin(&filter, request, "dead_letters");
    struct cn_param statuses =
        cn_filter_words(&filter, &opr__dead_letter__status__descriptor,
                        all ? OPEN : body->status, all ? 2 : body->n_status);
    enum cn_code rc = cn_filter_end(&filter, err);
    if (rc == CN_OK) {
        rc = cn_page_open(request, filter.text, body->has_limit, body->limit,
                          body->cursor, &page, err);
    }
    if (rc == CN_OK) {
        rc = CN_STORE_READ(&store, &SQL_DEAD_LETTERS_PAGE, &rows, err,
                           cn_at(page.after.key), cn_uuid(page.after.id),
                           cn_int(page.limit + 1), statuses);
    }
    return rc == CN_OK ? s_letters_answer(request, reply, &page, rows, err)
                       : rc;
}

/* ---- the commands ---- */

static void s_decided(const struct cn_request *request,
                      Opr__DeadLetter *letter,
                      Opr__DeadLetter__Status status)
{
    CN_SET(letter, status, status);
    letter->decided_by = request->principal.subject;
    CN_SET(letter, decided_at, request->now_at);
}

/* The name by which the audit calls it. */
static enum cn_code s_commit(struct cn_write *write,
                             const char *action,
                             const struct letter *letter,
                             struct cn_err *err)
{
    cn_write_audit(write, action, letter->message->id,
                   (struct cn_uuid){ { 0 } });
    enum cn_code rc = cn_write_commit(write, err);
    if (rc == CN_CONFLICT && strcmp(err->word, "dead_letter_open") == 0) {
        return cn_fail_as(err, CN_CONFLICT, "illegal_state",
                          "it is done or discarded already");
    }
    return rc;
}

enum cn_code dead_letter_retry(void *self,
                               const struct cn_request *request,
                               struct cn_reply *reply,
                               struct cn_err *err)
{
    (void)self;
    const Opr__RetryDeadLetterRequest *body = request->body;
    struct letter letter;
    enum cn_code rc = s_letter_get(request, body->id, &letter, err);
    struct cn_write *write =
        rc == CN_OK ? cn_write_begin(request, reply) : NULL;

    if (rc != CN_OK) {
        return rc;
    }
    if (write == NULL) {
        return cn_fail(err, CN_NOMEM, "dead letter: no memory");
    }
    s_decided(request, letter.message, OPR__DEAD_LETTER__STATUS__RETRYING);
    reply->body = &letter.message->base;
    cn_write_lock(write, "dead_letter", letter.aggregate_id);
    CN_CHANGE(write, &SQL_DEAD_LETTER_RETRY, cn_uuid(letter.event_id),
              cn_text(letter.message->producer),
              cn_text(letter.message->aggregate_type),
              cn_uuid(letter.aggregate_id),
              cn_uuid(request->principal.tenant_id),
              cn_text(request->principal.subject), cn_at(request->now_at));
    rc = s_commit(write, "dead_letter.retry", &letter, err);
    if (rc == CN_OK) {
        cn_dead_letters_hint();
    }
    return rc;
}

enum cn_code dead_letter_discard(void *self,
                                 const struct cn_request *request,
                                 struct cn_reply *reply,
                                 struct cn_err *err)
{
    (void)self;
    const Opr__DiscardDeadLetterRequest *body = request->body;
    const struct cn_store store = cn_store_of_request(request);
    Opr__DeadLetter words = OPR__DEAD_LETTER__INIT;
    struct cn_param reason;
    struct letter letter;

    if (body->reason == NULL || body->reason[0] == '\0') {
        return cn_fail_field(err, "/reason", "required",
                             "say why it is given up");
    }
    enum cn_code rc = s_letter_get(request, body->id, &letter, err);
    words.reason = body->reason;
    if (rc == CN_OK) {
        rc = cn_store_seal(&store, REASON_CONTEXT, &words.base, &reason, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    struct cn_write *write = cn_write_begin(request, reply);
    if (write == NULL) {
        return cn_fail(err, CN_NOMEM, "dead letter: no memory");
    }
    s_decided(request, letter.message, OPR__DEAD_LETTER__STATUS__DISCARDED);
    letter.message->reason = body->reason;
    reply->body = &letter.message->base;
    cn_write_lock(write, "dead_letter", letter.aggregate_id);
    CN_CHANGE(write, &SQL_DEAD_LETTER_DISCARD, cn_uuid(letter.event_id),
              cn_text(request->principal.subject), cn_at(request->now_at),
              reason);
    rc = s_commit(write, "dead_letter.discard", &letter, err);
    if (rc == CN_OK) {
        cn_dead_letters_hint();
    }
    return rc;
}
