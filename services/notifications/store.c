/* SPDX-License-Identifier: Apache-2.0 */
#include "services/notifications/store.h"

#include "common/base/array.h"
#include "common/loop/metrics.h"
#include "common/store/page.h"
#include "common/wire/json.h"

#include <stdio.h>

CN_SQL_READ(SQL_MESSAGE_EXISTS,
            "SELECT 1 FROM notifications.message m WHERE m.referral_id = $1"
            " AND m.template = $2 AND m.audience = $3");

bool message_exists(struct cn_op *op,
                    struct cn_uuid referral_id,
                    const struct telling *telling)
{
    const char *audience = cn_enum_word(&ntf__message__audience__descriptor,
                                        (int)telling->audience);
    return cn_rows_count(CN_READ(op, &SQL_MESSAGE_EXISTS, cn_uuid(referral_id),
                                 cn_text(telling->template),
                                 cn_text(audience))) > 0;
}

CN_SQL_READ(SQL_MESSAGES_QUEUED,
            "SELECT " OUTGOING_COLUMNS
            " FROM notifications.message r WHERE r.referral_id = $1"
            " AND r.status = 'queued' ORDER BY r.created_at, r.id LIMIT $2");

struct cn_records messages_queued(struct cn_op *op, struct cn_uuid referral_id)
{
    return cn_records_of(op, &ntf__outgoing__resource,
                         CN_READ(op, &SQL_MESSAGES_QUEUED, cn_uuid(referral_id),
                                 cn_int(CN_PAGE_MAX)));
}

/* The insert does nothing where the constraint message_once stands against it.
 */
CN_SQL_WRITE(SQL_MESSAGE_INSERTED,
             "SELECT notifications.require(EXISTS (SELECT 1"
             " FROM notifications.message m WHERE m.id = $1),"
             " 'message_once_version')");

void message_put_new(struct cn_op *op, struct cn_record *message)
{
    cn_lock(op, "message", message->id);
    cn_put_part(op, message);
    CN_CHANGE(op, &SQL_MESSAGE_INSERTED, cn_uuid(message->id));
}

static uint64_t *s_counter(int channel, int status)
{
    static const struct cn_metric MESSAGES = {
        "cairn_messages_total",
        "Messages to people that came to a status, by channel: queued, sent, "
        "failed after the last try, or not sent for want of an address.",
        CN_METRIC_COUNTER
    };
    char labels[96];
    (void)snprintf(labels, sizeof(labels), "channel=\"%s\",status=\"%s\"",
                   cn_enum_word(&ntf__message__channel__descriptor, channel),
                   cn_enum_word(&ntf__message__status__descriptor, status));
    return cn_counter(&MESSAGES, labels);
}

void message_count(struct cn_op *op, const Ntf__Message *message)
{
    if (!cn_failed(op)) {
        cn_count(op, s_counter((int)message->channel, (int)message->status));
    }
}

void message_counts_begin(void)
{
    static const int TOLD[] = { NTF__MESSAGE__STATUS__QUEUED,
                                NTF__MESSAGE__STATUS__SENT,
                                NTF__MESSAGE__STATUS__FAILED,
                                NTF__MESSAGE__STATUS__NOT_SENT };
    for (size_t i = 0; i < CN_COUNT(TOLD); i++) {
        (void)s_counter(NTF__MESSAGE__CHANNEL__EMAIL, TOLD[i]);
    }
}
