/* SPDX-License-Identifier: Apache-2.0 */
#include "services/referrals/clock.h"

#include "services/referrals/rules.h"
#include "services/referrals/unit.h"

enum cn_code soc_rule(const struct cn_store *store,
                      const Ref__Referral *referral,
                      const Ref__Patient *patient,
                      const struct cn_clock_rule **ret_rule,
                      struct cn_err *err)
{
    const bool placed = patient != NULL && patient->address != NULL;
    const struct cn_clock_case of = {
        .at = referral->has_valid_at ? referral->valid_at : store->now_at,
        .state = placed ? patient->address->state : NULL,
        .payer = referral->payer != NULL ? referral->payer->type : NULL,
    };
    return cn_clock_rule_find(store, SOC_RULE, &of, ret_rule, err);
}

struct cn_deadline_subject soc_subject(const struct referral_row *row)
{
    return (struct cn_deadline_subject){
        .type = "referral",
        .id = row->id,
        .text = row->referral->id,
        .branch_id = row->branch_id,
        .branch_text = row->referral->branch_id,
        .patient_id = row->patient_id,
        .patient_text = row->referral->patient_id,
    };
}

static enum cn_code s_run(const struct cn_store *store,
                          const struct referral_row *row,
                          struct cn_deadline *deadline,
                          struct cn_err *err)
{
    const struct cn_deadline_subject subject = soc_subject(row);
    const struct soc_facts facts = soc_facts_of(row->referral);
    const struct cn_clock_rule *rule = NULL;
    struct cn_clock clock;
    enum cn_code rc =
        soc_rule(store, row->referral, row->patient.patient, &rule, err);
    if (rc == CN_OK && !soc_clock(rule, &facts, &clock)) {
        rc = cn_fail(err, CN_INTERNAL, "soc clock: zone or date");
    }
    return rc == CN_OK
               ? cn_deadline_run(deadline, store->arena, &subject, &clock,
                                 cn_uuid_new(store->env), store->now_at, err)
               : rc;
}

enum cn_code soc_deadline(const struct cn_store *store,
                          const struct referral_row *row,
                          bool made,
                          struct cn_deadline *ret_deadline,
                          struct cn_err *err)
{
    const Ref__Referral *referral = row->referral;
    struct cn_deadline deadline = { 0 };
    enum cn_code rc = CN_OK;
    if (!referral->has_valid_at) {
        *ret_deadline = deadline;
        return CN_OK;
    }
    if (!made) {
        rc = cn_deadline_load(store, "referral", row->id, SOC_RULE, &deadline,
                              err);
    }
    if (rc == CN_OK && referral_is_open(referral->status)) {
        rc = s_run(store, row, &deadline, err);
    } else if (rc == CN_OK) {
        cn_deadline_stop(&deadline, store->now_at);
    }
    if (rc == CN_OK) {
        *ret_deadline = deadline;
    }
    return rc;
}

enum cn_code soc_deadline_act(const struct cn_store *store,
                              const struct referral_row *row,
                              int64_t acted_at,
                              struct cn_deadline *ret_deadline,
                              struct cn_err *err)
{
    enum cn_code rc = cn_deadline_load(store, "referral", row->id, SOC_RULE,
                                       ret_deadline, err);
    if (rc == CN_OK) {
        cn_deadline_act(ret_deadline, acted_at, NULL, store->now_at);
    }
    return rc;
}
