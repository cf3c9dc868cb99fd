/* SPDX-License-Identifier: Apache-2.0 */
#include "services/scheduling/booking.h"

#include "common/contract/service.h"
#include "common/wire/json.h"
#include "common/wire/message.h"

#include <string.h>

/* Gives each candidate its bookings, which are in the candidates' order. Where
 * not all could be read, those who may lack some count as booked throughout. */
static enum cn_code s_candidates_book(const struct cn_store *store,
                                      const struct match_wish *wish,
                                      const struct booking_search *search,
                                      struct match_candidate *candidates,
                                      const struct cn_uuid *fit,
                                      size_t fit_count,
                                      struct cn_err *err)
{
    struct booked_row *booked = NULL;
    size_t count = 0;
    bool whole = true;
    enum cn_code rc = booked_between(
        store, fit, fit_count, (struct span){ wish->from_at, wish->until_at },
        &booked, &count, &whole, err);
    if (rc != CN_OK) {
        return rc;
    }
    struct span *spans =
        cn_arena_array(store->arena, count + 1, sizeof(*spans));
    if (spans == NULL) {
        return cn_fail(err, CN_NOMEM, "match clinicians");
    }
    for (size_t i = 0; i < count; i++) {
        spans[i] = booked[i].span;
    }
    spans[count] =
        (struct span){ wish->from_at - CN_DAY, wish->until_at + CN_DAY };
    size_t from = 0;
    for (size_t i = 0; i < search->count; i++) {
        size_t to = from;
        while (to < count && cn_uuid_equal(booked[to].clinician_id,
                                           search->clinicians[i].id)) {
            to++;
        }
        candidates[i].booked = &spans[from];
        candidates[i].booked_count = to - from;
        if (!whole && to == count) {
            candidates[i].booked = &spans[count];
            candidates[i].booked_count = 1;
        }
        from = to;
    }
    return CN_OK;
}

/* All who could be sent; of another discipline when nobody has this one. */
static enum cn_code s_search_clinicians(const struct cn_store *store,
                                        const struct match_wish *wish,
                                        const struct clinician_scope *scope,
                                        struct booking_search *search,
                                        struct cn_err *err)
{
    const char *discipline = cn_enum_word(
        &sch__clinician__discipline__descriptor, (int)wish->discipline);
    enum cn_code rc = clinicians_of(store, discipline, scope,
                                    &search->clinicians, &search->count, err);
    if (rc == CN_OK && search->count == 0) {
        rc = clinicians_of(store, NULL, scope, &search->clinicians,
                           &search->count, err);
    }
    return rc;
}

enum cn_code booking_search(const struct cn_store *store,
                            const struct match_wish *wish,
                            const struct clinician_scope *scope,
                            struct booking_search *ret_search,
                            struct cn_err *err)
{
    struct booking_search search = { .best = -1 };
    enum cn_code rc = s_search_clinicians(store, wish, scope, &search, err);
    if (rc != CN_OK) {
        return rc;
    }
    struct match_candidate *candidates =
        cn_arena_array(store->arena, search.count + 1, sizeof(*candidates));
    struct cn_uuid *fit =
        cn_arena_array(store->arena, search.count + 1, sizeof(*fit));
    search.results =
        cn_arena_array(store->arena, search.count + 1, sizeof(*search.results));
    if (candidates == NULL || fit == NULL || search.results == NULL) {
        return cn_fail(err, CN_NOMEM, "match clinicians");
    }
    size_t fit_count = 0;
    for (size_t i = 0; i < search.count; i++) {
        candidates[i] = (struct match_candidate){
            .clinician = search.clinicians[i].clinician,
            .time_zone = search.clinicians[i].time_zone,
        };
        if (match_misfit(&candidates[i], wish) == NULL) {
            fit[fit_count++] = search.clinicians[i].id;
        }
    }
    if (fit_count > 0) {
        rc = s_candidates_book(store, wish, &search, candidates, fit, fit_count,
                               err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    search.best = match_best(candidates, search.count, wish, search.results);
    *ret_search = search;
    return CN_OK;
}

Sch__Visit__LeftOut **booking_left_out(const struct cn_store *store,
                                       const struct booking_search *search,
                                       size_t *ret_count)
{
    Sch__Visit__LeftOut **list = cn_arena_array(store->arena, search->count + 1,
                                                sizeof(Sch__Visit__LeftOut *));
    size_t count = 0;
    for (size_t i = 0; list != NULL && i < search->count; i++) {
        if (search->results[i].found) {
            continue;
        }
        Sch__Visit__LeftOut *left =
            CN_NEW(store->arena, sch__visit__left_out, Sch__Visit__LeftOut);
        if (left == NULL) {
            return NULL;
        }
        left->clinician_id = search->clinicians[i].clinician->id;
        left->reason = search->results[i].reason;
        list[count++] = left;
    }
    *ret_count = count;
    return list;
}

/* What every start-of-care visit says, booked or not. */
static Sch__Visit *s_soc_visit_new(const struct cn_store *store,
                                   const struct need_row *need,
                                   const struct match_wish *wish,
                                   struct cn_uuid id)
{
    Sch__Visit *visit = CN_NEW(store->arena, sch__visit, Sch__Visit);
    if (visit == NULL) {
        return NULL;
    }
    visit->id = cn_id_text(store->arena, "vis", id);
    CN_SET(visit, version, 1);
    CN_SET(visit, created_at, store->now_at);
    CN_SET(visit, updated_at, store->now_at);
    visit->referral_id = need->need->referral_id;
    visit->patient_id = need->need->patient_id;
    visit->branch_id = need->need->branch_id;
    visit->time_zone = need->need->time_zone;
    CN_SET(visit, kind, SCH__VISIT__KIND__SOC);
    CN_SET(visit, mode, SCH__VISIT__MODE__IN_PERSON);
    CN_SET(visit, discipline, wish->discipline);
    if (need->need->has_soc_due_at) {
        CN_SET(visit, due_at, need->need->soc_due_at);
    }
    return visit->id != NULL ? visit : NULL;
}

enum cn_code booking_soc(const struct cn_store *store,
                         const struct need_row *need,
                         struct visit_row *ret_row,
                         const char **ret_clinician_name,
                         struct cn_err *err)
{
    const int64_t first = store->now_at + VISIT_NOTICE_MINUTES * CN_MINUTE;
    struct match_wish wish = {
        .discipline = soc_discipline(need->need),
        .need = need->need,
        .from_at = first,
        .until_at = need->need->has_soc_due_at ? need->need->soc_due_at
                                               : first + 2 * CN_DAY,
        .minutes = VISIT_SOC_MINUTES,
    };
    struct booking_search search;
    struct cn_uuid branch_id = { { 0 } };
    const struct clinician_scope scope = {
        .branches = cn_uuids(
            cn_id_parse("brn", need->need->branch_id, &branch_id) ? &branch_id
                                                                  : NULL,
            1),
        .unassigned = true,
    };
    enum cn_code rc = booking_search(store, &wish, &scope, &search, err);
    if (rc != CN_OK) {
        return rc;
    }
    struct visit_row row = {
        .id = cn_uuid_new(store->env),
        .referral_id = need->referral_id,
        .patient_id = need->patient_id,
        .branch_id = branch_id,
        .version = 1,
        .event_seq = 1,
        .sort_at = wish.until_at,
    };
    row.visit = s_soc_visit_new(store, need, &wish, row.id);
    if (row.visit == NULL) {
        return cn_fail(err, CN_NOMEM, "book a start of care");
    }
    *ret_clinician_name = NULL;
    row.visit->left_out =
        booking_left_out(store, &search, &row.visit->n_left_out);
    if (row.visit->left_out == NULL) {
        return cn_fail(err, CN_NOMEM, "book a start of care");
    }
    if (search.best < 0) {
        CN_SET(row.visit, status, SCH__VISIT__STATUS__REQUIRED);
        row.visit->reason_code = "no_capacity";
        *ret_row = row;
        return CN_OK;
    }
    const Sch__Clinician *chosen = search.clinicians[search.best].clinician;
    if (row.visit->time_zone == NULL) {
        row.visit->time_zone = search.clinicians[search.best].time_zone;
    }

    struct span slot = search.results[search.best].slot;
    CN_SET(row.visit, status, SCH__VISIT__STATUS__BOOKED);
    CN_SET(row.visit, starts_at, slot.from_at);
    CN_SET(row.visit, ends_at, slot.to_at);
    row.visit->clinician_id = chosen->id;
    row.sort_at = slot.from_at;
    *ret_clinician_name = chosen->name;
    *ret_row = row;
    return CN_OK;
}
