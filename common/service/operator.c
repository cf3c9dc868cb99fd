/* SPDX-License-Identifier: Apache-2.0 */
/* The handlers of operator.v1, which every service serves: what an operator
 * sees of dead letters and decides about them. dead_letter.c tries them again.
 */
#include "common/inbox/dead_letter.h"
#include "common/store/page.h"
#include "common/store/step.h"
#include "common/wire/json.h"
#include "common/wire/message.h"

#include "cairn/operator.handlers.h"

#include <string.h>

static const char EVENT_PREFIX[] = "evt";
static const char REASON_CONTEXT[] = "dead_letter.reason";

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

/* All letters of the same record that wait: an event is applied only after
 * those before it. */
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

static struct letter
s_letter_read(struct cn_op *op, const struct cn_rows *rows, size_t row)
{
    struct letter letter = {
        .message = CN_NEW(op->arena, opr__dead_letter, Opr__DeadLetter),
        .event_id = cn_row_uuid(rows, row, COLUMN_EVENT_ID),
        .aggregate_id = cn_row_uuid(rows, row, COLUMN_AGGREGATE_ID),
    };
    Opr__DeadLetter *message = letter.message;
    char *aggregate = cn_arena_alloc(op->arena, CN_UUID_TEXT_SIZE);
    int status = OPR__DEAD_LETTER__STATUS__DEAD;
    if (!cn_enum_value(&opr__dead_letter__status__descriptor,
                       cn_row_text(rows, row, COLUMN_STATUS), &status)) {
        cn_refuse(op, CN_INTERNAL, NULL, "dead letter: its status is no word");
    }
    cn_uuid_format(letter.aggregate_id, aggregate);
    message->id = cn_id_text(op->arena, EVENT_PREFIX, letter.event_id);
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
    if (!cn_row_null(rows, row, COLUMN_REASON)) {
        const Opr__DeadLetter *words =
            cn_opened(op, REASON_CONTEXT, rows, row, COLUMN_REASON,
                      &opr__dead_letter__descriptor);
        message->reason = words->reason;
    }
    return letter;
}

static struct letter s_letter_take(struct cn_op *op, const char *id)
{
    const struct cn_rows *rows = cn_rows_none();
    struct cn_uuid event_id;
    if (cn_id_parse(EVENT_PREFIX, id, &event_id)) {
        rows = CN_READ(op, &SQL_DEAD_LETTER_GET, cn_uuid(event_id));
    }
    if (cn_rows_count(rows) > 0) {
        return s_letter_read(op, rows, 0);
    }
    cn_refuse(op, CN_NOT_FOUND, NULL, "no such dead letter");
    return (struct letter){
        .message = CN_NEW(op->arena, opr__dead_letter, Opr__DeadLetter),
    };
}

void dead_letter_get(struct cn_op *op, const Opr__GetDeadLetterRequest *body)
{
    op->reply->body = &s_letter_take(op, body->id).message->base;
}

static void s_letters_answer(struct cn_op *op,
                             const struct cn_page *page,
                             const struct cn_rows *rows)
{
    size_t count = cn_rows_count(rows);
    struct cn_page_row *shown =
        cn_arena_array(op->arena, count, sizeof(*shown));
    for (size_t i = 0; i < count; i++) {
        struct letter letter = s_letter_read(op, rows, i);
        shown[i] = (struct cn_page_row){
            .shown = &letter.message->base,
            .place = { letter.message->created_at, letter.event_id },
        };
    }
    cn_page_answer(op, page, shown, count, "dead_letter.list", NULL);
}

void dead_letters_list(struct cn_op *op,
                       const Opr__ListDeadLettersRequest *body)
{
    static const Opr__DeadLetter__Status OPEN[] = {
        OPR__DEAD_LETTER__STATUS__DEAD, OPR__DEAD_LETTER__STATUS__RETRYING
    };
    const bool all = body->n_status == 0;
    const struct cn_rows *rows = cn_rows_none();
    struct cn_filter filter;
    cn_filter_begin(&filter, op->request, "dead_letters");
    struct cn_param statuses =
        cn_filter_words(&filter, &opr__dead_letter__status__descriptor,
                        all ? OPEN : body->status, all ? 2 : body->n_status);
    struct cn_page page = cn_page_open(op, filter.text);
    if (!filter.nothing) {
        rows =
            CN_READ(op, &SQL_DEAD_LETTERS_PAGE, cn_at(page.after.key),
                    cn_uuid(page.after.id), cn_int(page.limit + 1), statuses);
    }
    s_letters_answer(op, &page, rows);
}

/* ---- the commands ---- */

static void s_letter_closed(struct cn_op *op, const char *constraint)
{
    if (strcmp(constraint, "dead_letter_open") == 0) {
        cn_forgive(op);
        cn_refuse(op, CN_CONFLICT, "illegal_state",
                  "it is done or discarded already");
    }
}

/* Who decided, the answer and the audit; then the change is committed, for the
 * fiber that tries again may look only after it. */
static void s_letter_decide(struct cn_op *op,
                            const struct letter *letter,
                            Opr__DeadLetter__Status status,
                            const char *action)
{
    Opr__DeadLetter *message = letter->message;
    CN_SET(message, status, status);
    message->decided_by = op->request->principal.subject;
    CN_SET(message, decided_at, op->now_at);
    op->reply->body = &message->base;
    op->on_conflict = s_letter_closed;
    cn_lock(op, "dead_letter", letter->aggregate_id);
    cn_audit(op, action, message->id, (struct cn_uuid){ { 0 } });
    cn_commit(op);
    if (!cn_failed(op)) {
        cn_dead_letters_hint();
    }
}

void dead_letter_retry(struct cn_op *op,
                       const Opr__RetryDeadLetterRequest *body)
{
    struct letter letter = s_letter_take(op, body->id);
    CN_CHANGE(op, &SQL_DEAD_LETTER_RETRY, cn_uuid(letter.event_id),
              cn_text(letter.message->producer),
              cn_text(letter.message->aggregate_type),
              cn_uuid(letter.aggregate_id), cn_uuid(op->tenant_id),
              cn_text(op->request->principal.subject), cn_at(op->now_at));
    s_letter_decide(op, &letter, OPR__DEAD_LETTER__STATUS__RETRYING,
                    "dead_letter.retry");
}

void dead_letter_discard(struct cn_op *op,
                         const Opr__DiscardDeadLetterRequest *body)
{
    Opr__DeadLetter words = OPR__DEAD_LETTER__INIT;
    if (body->reason == NULL || body->reason[0] == '\0') {
        cn_refuse_field(op, "/reason", "required", "say why it is given up");
    }
    words.reason = body->reason;
    struct letter letter = s_letter_take(op, body->id);
    letter.message->reason = body->reason;
    CN_CHANGE(op, &SQL_DEAD_LETTER_DISCARD, cn_uuid(letter.event_id),
              cn_text(op->request->principal.subject), cn_at(op->now_at),
              cn_sealed(op, REASON_CONTEXT, &words));
    s_letter_decide(op, &letter, OPR__DEAD_LETTER__STATUS__DISCARDED,
                    "dead_letter.discard");
}
