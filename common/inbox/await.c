/* SPDX-License-Identifier: Apache-2.0 */
#include "common/inbox/await.h"

#include "common/base/clock.h"
#include "common/inbox/consumer.h"
#include "common/loop/fiber.h"

/* By how much the clocks of two machines may differ. */
#define SKEW_US (CN_SECOND / 4)

int64_t cn_await_settled_at(struct cn_uuid id, int64_t now_at)
{
    int64_t made_at = cn_uuid_made_at(id);
    if (made_at < 0 || made_at > now_at + CN_OUTBOX_SLACK_US) {
        return INT64_MIN;
    }
    /* The id is made before its unit is written, and not long before. */
    int64_t written_at = made_at + CN_OUTBOX_SLACK_US;
    return written_at < now_at ? written_at : now_at;
}

/* Has all come that was committed before? Asked before the copy is looked at
 * once more: what came in between is then seen. */
static bool
s_is_settled(struct cn_op *op, const char *producer, int64_t settled_at)
{
    int64_t until = 0;
    if (settled_at == INT64_MIN) {
        return true;
    }
    (void)!cn_consumer_complete_until(op->env, producer, &until, op->err);
    return until + CN_OUTBOX_SLACK_US > settled_at + SKEW_US;
}

enum cn_awaited cn_await(struct cn_op *op,
                         const char *producer,
                         int64_t settled_at,
                         bool (*known)(struct cn_op *op, void *arg),
                         void *arg)
{
    bool is_known = !cn_failed(op) && known(op, arg);
    for (int64_t waited = 0; !is_known && !cn_failed(op);
         waited += CN_AWAIT_LOOK_US) {
        bool is_settled = s_is_settled(op, producer, settled_at);
        is_known = !cn_failed(op) && known(op, arg);
        if (!is_known && is_settled) {
            return CN_NEVER_TOLD;
        }
        if (!is_known && (waited >= CN_AWAIT_US ||
                          cn_fiber_sleep(CN_AWAIT_LOOK_US) != CN_OK)) {
            return CN_NOT_TOLD_YET;
        }
    }
    return is_known && !cn_failed(op) ? CN_TOLD : CN_NEVER_TOLD;
}

void cn_await_refuse(struct cn_op *op, const char *noun)
{
    cn_refuse(op, CN_UNAVAILABLE, NULL, "%s not yet known here", noun);
}

void cn_await_branch(struct cn_op *op,
                     const char *producer,
                     struct cn_uuid id,
                     bool (*known)(struct cn_op *op, void *arg),
                     void *arg)
{
    if (cn_failed(op)) {
        return; /* it was not looked for */
    }
    switch (cn_await(op, producer, cn_await_settled_at(id, op->now_at), known,
                     arg)) {
    case CN_NEVER_TOLD:
        cn_refuse_field(op, "/branch_id", "unknown_branch",
                        "is no branch of the agency");
        break;
    case CN_NOT_TOLD_YET:
        cn_await_refuse(op, "branch");
        break;
    case CN_TOLD:
    default:
        break;
    }
}
