/* SPDX-License-Identifier: Apache-2.0 */
/* GET /v1/availability: who could come when, and why others could not. */
#include "cairn/scheduling.handlers.h"
#include "common/store/reach.h"
#include "common/wire/json.h"
#include "common/wire/message.h"
#include "services/scheduling/booking.h"

/* What the patient needs, from the newest of their referrals that the caller
 * may see. An unknown patient and one out of reach get the same answer. */
static struct need_row s_patient_need(struct cn_op *op, const char *patient)
{
    struct need_row need = { .found = false };
    struct cn_uuid id;
    if (cn_id_parse("pat", patient, &id)) {
        need = need_within_reach(op, id);
    }
    if (!need.found && !cn_failed(op)) {
        cn_refuse_field(op, "/patient_id", "unknown_patient",
                        "is no known patient");
    }
    return need;
}

/* What is asked for, as a wish without its need. */
static struct match_wish
s_availability_wish(struct cn_op *op, const Sch__GetAvailabilityRequest *body)
{
    struct match_wish wish = {
        .discipline = body->has_discipline ? body->discipline
                                           : SCH__CLINICIAN__DISCIPLINE__RN,
        .from_at = body->has_from ? body->from : op->now_at,
        .minutes = VISIT_SOC_MINUTES,
    };
    wish.until_at = body->has_to ? body->to : wish.from_at + 7 * CN_DAY;
    if (wish.from_at < 0 || wish.until_at <= wish.from_at ||
        wish.until_at - wish.from_at > MATCH_DAYS_MAX * CN_DAY) {
        cn_refuse_field(op, "/to", "invalid_value",
                        "must be after from, by %d days at most",
                        MATCH_DAYS_MAX);
    }
    return wish;
}

/* A slot, and in words why it is offered. */
static Sch__Slot *s_slot(struct cn_op *op,
                         const struct match_wish *wish,
                         const Sch__Clinician *clinician,
                         struct span span)
{
    Sch__Slot *slot = CN_NEW(op->arena, sch__slot, Sch__Slot);
    const char **reasons = cn_arena_array(op->arena, 4, sizeof(*reasons));
    slot->clinician_id = clinician->id;
    CN_SET(slot, starts_at, span.from_at);
    CN_SET(slot, ends_at, span.to_at);
    slot->reasons = reasons;
    reasons[slot->n_reasons++] =
        cn_arena_printf(op->arena, "discipline %s",
                        cn_enum_word(&sch__clinician__discipline__descriptor,
                                     (int)clinician->discipline));
    if (wish->need->postal_code != NULL) {
        reasons[slot->n_reasons++] = cn_arena_printf(
            op->arena, "postal code %s", wish->need->postal_code);
    }
    if (wish->need->language != NULL) {
        reasons[slot->n_reasons++] =
            cn_arena_printf(op->arena, "language %s", wish->need->language);
    }
    if (wish->need->has_soc_due_at && span.from_at <= wish->need->soc_due_at) {
        reasons[slot->n_reasons++] = "before the start of care is due";
    }
    return slot;
}

void availability_get(struct cn_op *op, const Sch__GetAvailabilityRequest *body)
{
    const struct clinician_scope scope = {
        .branches = cn_reach_branches(op->request),
    };
    struct match_wish wish = s_availability_wish(op, body);
    struct need_row need = { .found = false };
    if (body->patient_id != NULL) {
        need = s_patient_need(op, body->patient_id);
    }
    if (!need.found) {
        need.need = CN_NEW(op->arena, sch__need, Sch__Need);
    }
    if (body->postal_code != NULL) {
        need.need->postal_code = body->postal_code;
    }
    wish.need = need.need;
    struct booking_search search = booking_search(op, &wish, &scope);
    if (cn_failed(op)) {
        return;
    }
    Sch__Availability *answer =
        CN_NEW(op->arena, sch__availability, Sch__Availability);
    answer->slots =
        cn_arena_array(op->arena, search.clinicians.count, sizeof(Sch__Slot *));
    for (size_t i = 0; i < search.clinicians.count; i++) {
        if (search.results[i].found) {
            answer->slots[answer->n_slots++] =
                s_slot(op, &wish, search.clinicians.items[i].body,
                       search.results[i].slot);
        }
    }
    answer->left_out = booking_left_out(op, &search, &answer->n_left_out);
    op->reply->body = &answer->base;
    if (need.found) {
        /* The answer tells what a patient needs. */
        cn_audit_shown(op, "availability.read", need.need->referral_id,
                       &need.patient_id, 1);
    }
}
