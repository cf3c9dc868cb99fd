/* SPDX-License-Identifier: Apache-2.0 */
/* Sending: an attempt is recorded before and after the channel is asked. A
 * process that dies in between sends again, with the same Message-ID: delivery
 * outside PostgreSQL is at least once. */
#include "common/contract/service.h"
#include "common/wire/message.h"
#include "services/notifications/rules.h"
#include "services/notifications/service.h"
#include "services/notifications/store.h"

#include <stdio.h>

static Ntf__Message__Outcome s_outcome_word(enum channel_outcome outcome)
{
    static const Ntf__Message__Outcome WORDS[] = {
        [CHANNEL_ACCEPTED] = NTF__MESSAGE__OUTCOME__ACCEPTED,
        [CHANNEL_REFUSED] = NTF__MESSAGE__OUTCOME__REFUSED,
        [CHANNEL_DEFERRED] = NTF__MESSAGE__OUTCOME__DEFERRED,
        [CHANNEL_UNREACHABLE] = NTF__MESSAGE__OUTCOME__UNREACHABLE,
    };
    return WORDS[outcome];
}

/* The new attempt at the end of the message's list; NULL without memory. */
static Ntf__Message__Attempt *s_attempt_add(const struct cn_due *due,
                                            Ntf__Message *message)
{
    Ntf__Message__Attempt **list = cn_arena_array(
        due->arena, message->n_attempts + 1, sizeof(Ntf__Message__Attempt *));
    Ntf__Message__Attempt *attempt =
        CN_NEW(due->arena, ntf__message__attempt, Ntf__Message__Attempt);
    if (list == NULL || attempt == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < message->n_attempts; i++) {
        list[i] = message->attempts[i];
    }
    CN_SET(attempt, at, due->now_at);
    CN_SET(attempt, outcome, NTF__MESSAGE__OUTCOME__SENDING);
    list[message->n_attempts++] = attempt;
    message->attempts = list;
    return attempt;
}

/* One unit on the message: its new version, and with an event type its event;
 * then the work is done, or due again. */
static enum cn_code s_message_record(const struct cn_store *store,
                                     struct message_row *row,
                                     const char *event_type,
                                     bool done,
                                     int64_t retry_at,
                                     struct cn_err *err)
{
    Ntf__Message *message = row->outgoing->message;
    struct cn_write *write =
        cn_write_begin_system(store->env, store->arena, store->tenant_id, NULL);
    Ntf__MessageEvent *event =
        CN_NEW(store->arena, ntf__message_event, Ntf__MessageEvent);
    if (write == NULL || event == NULL) {
        return cn_fail(err, CN_NOMEM, "record an attempt");
    }
    CN_SET(message, version, row->version + 1);
    CN_SET(message, updated_at, store->now_at);
    event->message = message;
    cn_write_lock(write, "message", row->id);
    enum cn_code rc =
        message_update(store, write, row, event_type != NULL ? 1 : 0, err);
    if (rc != CN_OK) {
        return rc;
    }
    if (done) {
        cn_write_due_done(write, "message.send", row->id);
    } else if (retry_at != 0) {
        cn_write_due(write, "message.send", row->id, retry_at);
    }
    if (event_type != NULL) {
        row->event_seq++;
        cn_write_event(write, event_type, "message", row->id, row->event_seq,
                       &event->base);
    }
    cn_write_audit(write, "message.send", message->id, row->patient_id);
    rc = cn_write_commit(write, err);
    if (rc == CN_OK) {
        row->version++;
    }
    return rc;
}

static enum cn_code s_message_finish(const struct cn_store *store,
                                     struct message_row *row,
                                     Ntf__Message__Attempt *attempt,
                                     const struct channel_result *result,
                                     struct cn_err *err)
{
    Ntf__Message *message = row->outgoing->message;
    struct send_step step = send_next(result->outcome, message->n_attempts);
    CN_SET(attempt, outcome, s_outcome_word(result->outcome));
    if (result->status != 0) {
        attempt->detail =
            cn_arena_printf(store->arena, "smtp %ld", result->status);
    }
    CN_SET(message, status, step.status);
    message->reason_code = step.reason_code;
    switch ((int)step.status) {
    case NTF__MESSAGE__STATUS__SENT:
        return s_message_record(store, row, "message.sent", true, 0, err);
    case NTF__MESSAGE__STATUS__FAILED:
        return s_message_record(store, row, "message.failed", true, 0, err);
    default:
        return s_message_record(store, row, NULL, false,
                                store->now_at + step.retry_us, err);
    }
}

/* The last of the attempts that are allowed never came back: its process died.
 * Whether that mail arrived is not known; another try might be one too many. */
static enum cn_code s_message_give_up(const struct cn_store *store,
                                      struct message_row *row,
                                      struct cn_err *err)
{
    Ntf__Message *message = row->outgoing->message;
    CN_SET(message, status, NTF__MESSAGE__STATUS__FAILED);
    message->reason_code = "attempts_exhausted";
    return s_message_record(store, row, "message.failed", true, 0, err);
}

/* Nothing is left to be done for the row: the message was sent or stopped. */
static enum cn_code
s_due_drop(const struct cn_store *store, struct cn_uuid id, struct cn_err *err)
{
    struct cn_write *write =
        cn_write_begin_system(store->env, store->arena, store->tenant_id, NULL);
    if (write == NULL) {
        return cn_fail(err, CN_NOMEM, "end a message's work");
    }
    cn_write_lock(write, "message", id);
    cn_write_due_done(write, "message.send", id);
    return cn_write_commit(write, err);
}

enum cn_code
message_send(void *self, const struct cn_due *due, struct cn_err *err)
{
    struct notifications_service *service = self;
    struct cn_store store = cn_store_of_due(due);
    struct message_row row;
    enum cn_code rc = message_store_get(&store, due->id, &row, err);
    if (rc != CN_OK) {
        return rc;
    }
    Ntf__Message *message = row.outgoing->message;
    if (message->status != NTF__MESSAGE__STATUS__QUEUED) {
        return s_due_drop(&store, row.id, err);
    }
    if (message->n_attempts >= SEND_ATTEMPTS_MAX) {
        return s_message_give_up(&store, &row, err);
    }
    Ntf__Message__Attempt *attempt = s_attempt_add(due, message);
    if (attempt == NULL) {
        return cn_fail(err, CN_NOMEM, "send a message");
    }
    /* Counted before sending: a crash after the send must not go unseen. */
    rc = s_message_record(&store, &row, NULL, false, 0, err);
    if (rc != CN_OK) {
        return rc;
    }
    struct channel_mail mail = {
        .message_id = cn_arena_printf(due->arena, "%s@%s", message->id,
                                      service->message_id_domain),
        .to = row.outgoing->address,
        .subject = row.outgoing->subject,
        .text = row.outgoing->text,
        .sent_at = message->created_at,
    };
    struct channel_result result;
    if (mail.message_id == NULL) {
        return cn_fail(err, CN_NOMEM, "send a message");
    }
    rc = service->email->send(service->email, &mail, &result, err);
    if (rc != CN_OK) {
        return rc;
    }
    store.now_at = due->env->now(due->env);
    return s_message_finish(&store, &row, attempt, &result, err);
}
