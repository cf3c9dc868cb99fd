/* SPDX-License-Identifier: Apache-2.0 */
#include "services/referrals/clock.h"

#include "services/referrals/rules.h"

const struct cn_clock_rule *soc_rule(struct cn_op *op,
                                     const struct cn_record *referral)
{
    const Ref__Referral *body = referral->body;
    const Ref__Patient *patient = referral->beside->body;
    const struct cn_clock_case of = {
        .at = body->has_valid_at ? body->valid_at : op->now_at,
        .state = patient->address != NULL ? patient->address->state : NULL,
        .payer = body->payer != NULL ? body->payer->type : NULL,
    };
    return cn_clock_rule_of(op, SOC_RULE, &of);
}

static void s_deadline_run(struct cn_op *op,
                           const struct cn_record *referral,
                           struct cn_deadline *deadline)
{
    const struct cn_deadline_subject subject = cn_deadline_subject_of(referral);
    const struct soc_facts facts = soc_facts_of(referral->body);
    const struct cn_clock_rule *rule = soc_rule(op, referral);
    struct cn_clock clock;
    if (cn_failed(op)) {
        return;
    }
    if (!soc_clock(rule, &facts, &clock)) {
        cn_refuse(op, CN_INTERNAL, NULL, "soc clock: zone or date");
        return;
    }
    (void)!cn_deadline_run(deadline, op->arena, &subject, &clock,
                           cn_uuid_new(op->env), op->now_at, op->err);
}

struct cn_deadline soc_deadline(struct cn_op *op,
                                const struct cn_record *referral)
{
    const Ref__Referral *body = referral->body;
    struct cn_deadline deadline = { .body = NULL };
    if (!body->has_valid_at) {
        return deadline;
    }
    if (referral->found) {
        deadline = cn_deadline_find(op, "referral", referral->id, SOC_RULE);
    }
    if (referral_is_open(body->status)) {
        s_deadline_run(op, referral, &deadline);
    } else {
        cn_deadline_stop(&deadline, op->now_at);
    }
    return deadline;
}
