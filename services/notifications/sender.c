/* SPDX-License-Identifier: Apache-2.0 */
/* Sending: an attempt is recorded before and after the channel is asked. A
 * process that dies in between sends again, with the same Message-ID: delivery
 * outside PostgreSQL is at least once. */
#include "common/wire/message.h"
#include "services/notifications/service.h"
#include "services/notifications/store.h"

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

/* The new attempt at the end of the message's list. */
static Ntf__Message__Attempt *s_attempt_add(struct cn_op *op,
                                            Ntf__Message *message)
{
    Ntf__Message__Attempt **list = cn_arena_array(
        op->arena, message->n_attempts + 1, sizeof(Ntf__Message__Attempt *));
    Ntf__Message__Attempt *attempt =
        CN_NEW(op->arena, ntf__message__attempt, Ntf__Message__Attempt);
    for (size_t i = 0; i < message->n_attempts; i++) {
        list[i] = message->attempts[i];
    }
    CN_SET(attempt, at, op->now_at);
    CN_SET(attempt, outcome, NTF__MESSAGE__OUTCOME__SENDING);
    list[message->n_attempts++] = attempt;
    message->attempts = list;
    return attempt;
}

/* What comes of the attempts so far: the message's end, or another attempt. */
static void s_message_settle(struct cn_op *op,
                             struct cn_record *record,
                             struct send_step step)
{
    Ntf__Outgoing *outgoing = record->body;
    outgoing->message->reason_code = step.reason_code;
    if (step.command != NULL) {
        cn_move(op, record, step.command);
        message_count(op, outgoing->message);
        cn_due_end(op, "message.send", record->id);
    } else {
        cn_due_put(op, "message.send", record->id, op->now_at + step.retry_us);
    }
    record->verb = "send";
    cn_put(op, record);
}

static bool s_mail_send(struct cn_op *op,
                        const Ntf__Outgoing *outgoing,
                        struct channel_result *ret_result)
{
    const struct notifications_service *service = op->self;
    const Ntf__Message *message = outgoing->message;
    const struct channel_mail mail = {
        .message_id = cn_arena_printf(op->arena, "%s@%s", message->id,
                                      service->message_id_domain),
        .to = outgoing->address,
        .subject = outgoing->subject,
        .text = outgoing->text,
        .sent_at = message->created_at,
    };
    return !cn_failed(op) && service->email->send(service->email, &mail,
                                                  ret_result, op->err) == CN_OK;
}

void message_send(struct cn_op *op, const struct cn_due *due)
{
    struct cn_record *record = cn_find(op, &ntf__outgoing__resource, due->id);
    Ntf__Outgoing *outgoing = record->body;
    Ntf__Message *message = outgoing->message;
    struct channel_result result;
    if (cn_failed(op)) {
        return;
    }
    if (!record->found) {
        cn_refuse(op, CN_NOT_FOUND, NULL, "no such message");
    } else if (!cn_may(record, "send")) {
        /* It was sent or stopped: nothing is left to be done. */
        cn_lock(op, "message", record->id);
        cn_due_end(op, "message.send", record->id);
    } else if (message->n_attempts >= SEND_ATTEMPTS_MAX) {
        /* The last attempt never came back: its process died. Whether that mail
         * arrived is not known; another try might be one too many. */
        s_message_settle(op, record,
                         send_next(CHANNEL_UNREACHABLE, message->n_attempts));
    } else {
        /* Counted before sending: a crash after the send must not go unseen. */
        Ntf__Message__Attempt *attempt = s_attempt_add(op, message);
        record->verb = "send";
        cn_put(op, record);
        cn_commit(op);
        if (!s_mail_send(op, outgoing, &result)) {
            return;
        }
        op->now_at = op->env->now(op->env);
        CN_SET(attempt, outcome, s_outcome_word(result.outcome));
        if (result.status != 0) {
            attempt->detail =
                cn_arena_printf(op->arena, "smtp %ld", result.status);
        }
        s_message_settle(op, record,
                         send_next(result.outcome, message->n_attempts));
    }
}
