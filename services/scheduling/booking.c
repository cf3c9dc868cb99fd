/* SPDX-License-Identifier: Apache-2.0 */
#include "services/scheduling/booking.h"

#include "common/wire/json.h"
#include "common/wire/message.h"

/* Gives each candidate its bookings, which are in the candidates' order. Where
 * not all could be read, those who may lack some count as booked throughout. */
static void s_candidates_book(struct cn_op *op,
                              const struct match_wish *wish,
                              const struct booking_search *search,
                              struct match_candidate *candidates,
                              const struct booked *booked)
{
    const size_t count = booked->count;
    struct span *spans = cn_arena_array(op->arena, count + 1, sizeof(*spans));
    for (size_t i = 0; i < count; i++) {
        spans[i] = booked->rows[i].span;
    }
    spans[count] =
        (struct span){ wish->from_at - CN_DAY, wish->until_at + CN_DAY };
    size_t from = 0;
    for (size_t i = 0; i < search->clinicians.count; i++) {
        size_t to = from;
        while (to < count && cn_uuid_equal(booked->rows[to].clinician_id,
                                           search->clinicians.items[i].id)) {
            to++;
        }
        candidates[i].booked = &spans[from];
        candidates[i].booked_count = to - from;
        if (!booked->whole && to == count) {
            candidates[i].booked = &spans[count];
            candidates[i].booked_count = 1;
        }
        from = to;
    }
}

/* All who could be sent; of another discipline when nobody has this one. */
static struct cn_records
s_search_clinicians(struct cn_op *op,
                    const struct match_wish *wish,
                    const struct clinician_scope *scope)
{
    struct cn_records found =
        clinicians_of(op,
                      cn_enum_word(&sch__clinician__discipline__descriptor,
                                   (int)wish->discipline),
                      scope);
    return found.count > 0 ? found : clinicians_of(op, NULL, scope);
}

struct booking_search booking_search(struct cn_op *op,
                                     const struct match_wish *wish,
                                     const struct clinician_scope *scope)
{
    struct booking_search search = {
        .clinicians = s_search_clinicians(op, wish, scope),
        .best = -1,
    };
    const size_t count = search.clinicians.count;
    struct match_candidate *candidates =
        cn_arena_array(op->arena, count, sizeof(*candidates));
    struct cn_uuid *fit = cn_arena_array(op->arena, count, sizeof(*fit));
    size_t fit_count = 0;
    search.results = cn_arena_array(op->arena, count, sizeof(*search.results));
    for (size_t i = 0; i < count; i++) {
        candidates[i] = (struct match_candidate){
            .clinician = search.clinicians.items[i].body,
            .time_zone = clinician_zone(&search.clinicians.items[i]),
        };
        if (match_misfit(&candidates[i], wish) == NULL) {
            fit[fit_count++] = search.clinicians.items[i].id;
        }
    }
    if (fit_count > 0) {
        struct booked booked = booked_between(
            op, fit, fit_count, (struct span){ wish->from_at, wish->until_at });
        s_candidates_book(op, wish, &search, candidates, &booked);
    }
    if (!cn_failed(op)) {
        search.best = match_best(candidates, count, wish, search.results);
    }
    return search;
}

Sch__Visit__LeftOut **booking_left_out(struct cn_op *op,
                                       const struct booking_search *search,
                                       size_t *ret_count)
{
    Sch__Visit__LeftOut **list = cn_arena_array(
        op->arena, search->clinicians.count, sizeof(Sch__Visit__LeftOut *));
    size_t count = 0;
    for (size_t i = 0; i < search->clinicians.count; i++) {
        if (search->results[i].found) {
            continue;
        }
        const Sch__Clinician *clinician = search->clinicians.items[i].body;
        Sch__Visit__LeftOut *left =
            CN_NEW(op->arena, sch__visit__left_out, Sch__Visit__LeftOut);
        left->clinician_id = clinician->id;
        left->reason = search->results[i].reason;
        list[count++] = left;
    }
    *ret_count = count;
    return list;
}

/* What every start-of-care visit says, booked or not. */
static struct cn_record *s_soc_visit_new(struct cn_op *op,
                                         const Sch__Need *need,
                                         const struct match_wish *wish)
{
    struct cn_record *record = cn_record_new(op, &sch__visit__resource, NULL);
    Sch__Visit *visit = record->body;
    visit->referral_id = need->referral_id;
    visit->patient_id = need->patient_id;
    visit->branch_id = need->branch_id;
    visit->time_zone = need->time_zone;
    CN_SET(visit, kind, SCH__VISIT__KIND__SOC);
    CN_SET(visit, mode, SCH__VISIT__MODE__IN_PERSON);
    CN_SET(visit, discipline, wish->discipline);
    if (need->has_soc_due_at) {
        CN_SET(visit, due_at, need->soc_due_at);
    }
    return record;
}

struct cn_record *booking_soc(struct cn_op *op, const Sch__Need *need)
{
    const int64_t first = op->now_at + VISIT_NOTICE_MINUTES * CN_MINUTE;
    const struct match_wish wish = {
        .discipline = soc_discipline(need),
        .need = need,
        .from_at = first,
        .until_at =
            need->has_soc_due_at ? need->soc_due_at : first + 2 * CN_DAY,
        .minutes = VISIT_SOC_MINUTES,
    };
    const struct cn_uuid branch_id = need_branch(need);
    const struct clinician_scope scope = {
        .branches =
            cn_uuid_is_nil(branch_id) ? cn_null() : cn_uuids(&branch_id, 1),
        .unassigned = true,
    };
    struct booking_search search = booking_search(op, &wish, &scope);
    struct cn_record *record = s_soc_visit_new(op, need, &wish);
    Sch__Visit *visit = record->body;
    visit->left_out = booking_left_out(op, &search, &visit->n_left_out);
    if (search.best < 0) {
        visit->reason_code = "no_capacity";
        cn_move(op, record, "require");
        return record;
    }
    const struct cn_record *chosen = &search.clinicians.items[search.best];
    const Sch__Clinician *clinician = chosen->body;
    struct span slot = search.results[search.best].slot;
    if (visit->time_zone == NULL) {
        visit->time_zone = clinician_zone(chosen);
    }
    CN_SET(visit, starts_at, slot.from_at);
    CN_SET(visit, ends_at, slot.to_at);
    visit->clinician_id = clinician->id;
    cn_move(op, record, "book");
    Sch__VisitEvent *told = cn_told(op, record);
    told->clinician_name = clinician->name;
    return record;
}
