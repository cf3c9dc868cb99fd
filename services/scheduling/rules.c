/* SPDX-License-Identifier: Apache-2.0 */
#include "services/scheduling/rules.h"

#include "cairn/scheduling.resources.h"
#include "common/base/array.h"
#include "common/wire/text.h"

#include <stdio.h>
#include <string.h>

enum {
    DAY_MINUTES = 24 * 60,
    WEEK_DAYS = 7,
    YEAR_FIRST = 2000, /* in which a visit may be */
    YEAR_LAST = 2099
};

typedef Sch__Clinician__Discipline discipline_t;

#define DISCIPLINE(word) SCH__CLINICIAN__DISCIPLINE__##word
#define STATUS(word)     SCH__VISIT__STATUS__##word

discipline_t soc_discipline(const Sch__Need *need)
{
    /* OT alone may start care only after another therapy: it comes last. */
    static const discipline_t ORDER[] = { DISCIPLINE(RN), DISCIPLINE(PT),
                                          DISCIPLINE(SLP), DISCIPLINE(OT) };
    for (size_t i = 0; i < CN_COUNT(ORDER); i++) {
        for (size_t j = 0; j < need->n_disciplines; j++) {
            if (need->disciplines[j] == ORDER[i]) {
                return ORDER[i];
            }
        }
    }
    return DISCIPLINE(RN);
}

static bool s_knows_language(const Sch__Clinician *clinician,
                             const char *language)
{
    for (size_t i = 0; i < clinician->n_languages; i++) {
        if (cn_language_same(clinician->languages[i], language)) {
            return true;
        }
    }
    return false;
}

/* The clinician's ZIP list may hold ZIP+4: the first five digits decide. */
static bool s_covers(const Sch__Clinician *clinician, const char *postal_code)
{
    if (clinician->coverage == NULL) {
        return false;
    }
    for (size_t i = 0; i < clinician->coverage->n_postal_codes; i++) {
        if (strncmp(clinician->coverage->postal_codes[i], postal_code, 5) ==
            0) {
            return true;
        }
    }
    return false;
}

bool licence_holds(const Sch__Clinician *clinician,
                   const char *zone,
                   int64_t at)
{
    const Sch__Clinician__Licence *licence = clinician->licence;
    struct cn_date expires;
    struct cn_civil civil;
    if (licence == NULL || licence->expires_on == NULL) {
        return true;
    }
    if (!cn_date_parse(licence->expires_on, &expires) ||
        !cn_zone_civil(zone, at, &civil)) {
        return false;
    }
    return cn_date_compare(civil.date, expires) <= 0;
}

const char *match_misfit(const struct match_candidate *candidate,
                         const struct match_wish *wish)
{
    const Sch__Clinician *clinician = candidate->clinician;
    const Sch__Need *need = wish->need;
    if (clinician->discipline != wish->discipline) {
        return "discipline";
    }
    if (!licence_holds(clinician, candidate->time_zone, wish->from_at)) {
        return "licence_expired";
    }
    if (need->postal_code != NULL && !s_covers(clinician, need->postal_code)) {
        return "postal_code";
    }
    bool interpreter = need->has_interpreter_needed && need->interpreter_needed;
    if (need->language != NULL && !interpreter &&
        !s_knows_language(clinician, need->language)) {
        return "language";
    }
    if (need->has_gender &&
        (!clinician->has_gender || clinician->gender != need->gender)) {
        return "gender";
    }
    return NULL;
}

static bool s_overlaps(struct span a, struct span b)
{
    return a.from_at < b.to_at && b.from_at < a.to_at;
}

/* Local time of a slot, in minutes since the beginning of its first day. */
struct local {
    int weekday; /* of that day, 0 Monday */
    int from;
    int to;
};

/* Where the clocks change within a slot it is all that they show. */
static bool s_local(const char *zone, struct span slot, struct local *ret_local)
{
    struct cn_civil begin;
    struct cn_civil end;
    if (!cn_zone_civil(zone, slot.from_at, &begin) ||
        !cn_zone_civil(zone, slot.to_at, &end)) {
        return false;
    }
    const int passing = (int)((slot.to_at - slot.from_at) / CN_MINUTE);
    const int days = (int)(cn_date_days(end.date) - cn_date_days(begin.date));
    const int from = begin.minute_of_day;
    const int to = end.minute_of_day + days * DAY_MINUTES;
    *ret_local = (struct local){
        .weekday = cn_date_weekday(begin.date),
        .from = from < to - passing ? from : to - passing,
        .to = to > from + passing ? to : from + passing,
    };
    return true;
}

/* Does the slot lie inside one of the week's spans (or, for any, touch one)? */
static bool s_in_week(Sch__Need__Span *const *spans,
                      size_t count,
                      struct local slot,
                      bool inside)
{
    for (size_t i = 0; i < count; i++) {
        /* The next time that its weekday comes, and the one before. */
        int days =
            (spans[i]->weekday - 1 - slot.weekday + WEEK_DAYS) % WEEK_DAYS;
        for (int again = 0; again < 2; again++, days -= WEEK_DAYS) {
            int from = spans[i]->from + days * DAY_MINUTES;
            int to = spans[i]->to + days * DAY_MINUTES;
            if (inside ? from <= slot.from && slot.to <= to
                       : from < slot.to && slot.from < to) {
                return true;
            }
        }
    }
    return false;
}

/* What stands against one slot; NULL when it is free. */
static const char *s_slot_obstacle(const struct match_candidate *candidate,
                                   const struct match_wish *wish,
                                   struct span slot)
{
    const Sch__Clinician *clinician = candidate->clinician;
    for (size_t i = 0; i < clinician->n_time_off; i++) {
        const Sch__Clinician__TimeOff *off = clinician->time_off[i];
        if (s_overlaps(slot, (struct span){ off->starts_at, off->ends_at })) {
            return "time_off";
        }
    }
    const int64_t travel = VISIT_TRAVEL_MINUTES * CN_MINUTE;
    struct span with_travel = { slot.from_at, slot.to_at + travel };
    for (size_t i = 0; i < candidate->booked_count; i++) {
        struct span booked = candidate->booked[i];
        booked.to_at += travel;
        if (s_overlaps(with_travel, booked)) {
            return "booked";
        }
    }
    const Sch__Need *need = wish->need;
    struct local local;
    const char *zone =
        need->time_zone != NULL ? need->time_zone : candidate->time_zone;
    if (!s_local(zone, slot, &local)) {
        return "windows";
    }
    if (need->n_windows > 0 &&
        !s_in_week(need->windows, need->n_windows, local, true)) {
        return "windows";
    }
    if (s_in_week(need->commitments, need->n_commitments, local, false)) {
        return "commitments";
    }
    return NULL;
}

bool clock_minutes(const char *text, int *ret_minutes)
{
    if (text == NULL || strlen(text) != 5 || text[2] != ':') {
        return false;
    }
    for (size_t i = 0; i < 5; i++) {
        if (i != 2 && (text[i] < '0' || text[i] > '9')) {
            return false;
        }
    }
    int hours = (text[0] - '0') * 10 + (text[1] - '0');
    int minutes = (text[3] - '0') * 10 + (text[4] - '0');
    if (hours > 23 || minutes > 59) {
        return false;
    }
    *ret_minutes = hours * 60 + minutes;
    return true;
}

/* Working hours of one entry on one local day, as instants. */
static bool s_hours_span(const struct match_candidate *candidate,
                         const Sch__Clinician__Hours *hours,
                         struct cn_date date,
                         struct span *ret_span)
{
    struct cn_civil from = { .date = date };
    struct cn_civil to = { .date = date };
    if ((int)hours->weekday != cn_date_weekday(date) + 1 ||
        !clock_minutes(hours->from, &from.minute_of_day) ||
        !clock_minutes(hours->to, &to.minute_of_day)) {
        return false;
    }
    return cn_zone_instant(candidate->time_zone, from, &ret_span->from_at) &&
           cn_zone_instant(candidate->time_zone, to, &ret_span->to_at);
}

static int64_t s_grid_up(int64_t at)
{
    const int64_t grid = VISIT_GRID_MINUTES * CN_MINUTE;
    return (at + grid - 1) / grid * grid;
}

/* Tries the grid within one span of working hours. The last obstacle met stays
 * in *obstacle. */
static bool s_span_slot(const struct match_candidate *candidate,
                        const struct match_wish *wish,
                        struct span hours,
                        struct span *ret_slot,
                        const char **obstacle)
{
    const int64_t size = wish->minutes * CN_MINUTE;
    int64_t at = hours.from_at > wish->from_at ? hours.from_at : wish->from_at;
    for (at = s_grid_up(at); at + size <= hours.to_at && at <= wish->until_at;
         at += VISIT_GRID_MINUTES * CN_MINUTE) {
        struct span slot = { at, at + size };
        const char *against = s_slot_obstacle(candidate, wish, slot);
        if (against == NULL) {
            *ret_slot = slot;
            return true;
        }
        *obstacle = against;
    }
    return false;
}

struct match_result match_clinician(const struct match_candidate *candidate,
                                    const struct match_wish *wish)
{
    struct match_result result = { .reason = match_misfit(candidate, wish) };
    struct cn_civil civil;
    if (result.reason != NULL) {
        return result;
    }
    result.reason = "hours";
    if (!cn_zone_civil(candidate->time_zone, wish->from_at, &civil)) {
        return result;
    }
    const Sch__Clinician *clinician = candidate->clinician;
    for (int day = 0; day < MATCH_DAYS_MAX; day++) {
        struct cn_date date = cn_date_add(civil.date, day);
        struct span best = { INT64_MAX, INT64_MAX };
        for (size_t i = 0; i < clinician->n_hours; i++) {
            struct span hours;
            struct span slot;
            if (s_hours_span(candidate, clinician->hours[i], date, &hours) &&
                s_span_slot(candidate, wish, hours, &slot, &result.reason) &&
                slot.from_at < best.from_at) {
                best = slot;
            }
        }
        if (best.from_at != INT64_MAX) {
            return (struct match_result){ .found = true, .slot = best };
        }
    }
    return result;
}

int match_best(const struct match_candidate *candidates,
               size_t count,
               const struct match_wish *wish,
               struct match_result *results)
{
    int best = -1;
    for (size_t i = 0; i < count; i++) {
        results[i] = match_clinician(&candidates[i], wish);
        if (results[i].found && (best < 0 || results[i].slot.from_at <
                                                 results[best].slot.from_at)) {
            best = (int)i;
        }
    }
    return best;
}

#define FROM(state) CN_STATE(STATUS(state))

/* Offers, the waiting list, a clinician's refusal, missed and attempted visits
 * have states in the contract and no command yet. */
static const struct cn_move VISIT_MOVES[] = {
    { "require", CN_UNMADE, STATUS(REQUIRED), "visit.needs_staff" },
    { "book",
      CN_UNMADE | FROM(REQUIRED) | FROM(WAITLISTED) |
          FROM(DECLINED_BY_CLINICIAN),
      STATUS(BOOKED), "visit.booked" },
    { "confirm", FROM(BOOKED), STATUS(CONFIRMED), "visit.confirmed" },
    { "start", FROM(BOOKED) | FROM(CONFIRMED), STATUS(IN_PROGRESS),
      "visit.started" },
    { "cancel",
      FROM(REQUIRED) | FROM(OFFERED) | FROM(WAITLISTED) | FROM(BOOKED) |
          FROM(CONFIRMED),
      STATUS(CANCELLED), "visit.cancelled" },
    { "complete", FROM(BOOKED) | FROM(CONFIRMED) | FROM(IN_PROGRESS),
      STATUS(COMPLETED), "visit.completed" },
};

const struct cn_moves sch_visit_moves = {
    .of = "visit",
    .states = &sch__visit__status__descriptor,
    .rows = VISIT_MOVES,
    .count = CN_COUNT(VISIT_MOVES),
    .ends = FROM(COMPLETED) | FROM(CANCELLED),
    .unused = FROM(OFFERED) | FROM(WAITLISTED) | FROM(RESCHEDULED) |
              FROM(DECLINED_BY_CLINICIAN) | FROM(ATTEMPTED_NOT_HOME) |
              FROM(MISSED),
};

void clinician_check(struct cn_op *op, const Sch__Clinician *clinician)
{
    for (size_t i = 0; i < clinician->n_hours; i++) {
        const Sch__Clinician__Hours *hours = clinician->hours[i];
        char pointer[CN_ERR_POINTER_MAX];
        (void)snprintf(pointer, sizeof(pointer), "/hours/%zu", i);
        if (!hours->has_weekday || hours->from == NULL || hours->to == NULL) {
            cn_refuse_field(op, pointer, "required",
                            "needs weekday, from and to");
        } else if (strcmp(hours->from, hours->to) >= 0) {
            cn_refuse_field(op, pointer, "invalid_value",
                            "must end after its beginning");
        }
    }
    for (size_t i = 0; i < clinician->n_time_off; i++) {
        const Sch__Clinician__TimeOff *off = clinician->time_off[i];
        char pointer[CN_ERR_POINTER_MAX];
        (void)snprintf(pointer, sizeof(pointer), "/time_off/%zu", i);
        if (!off->has_starts_at || !off->has_ends_at) {
            cn_refuse_field(op, pointer, "required",
                            "needs starts_at and ends_at");
        } else if (off->starts_at >= off->ends_at) {
            cn_refuse_field(op, pointer, "invalid_value",
                            "must end after its beginning");
        }
    }
}

static bool s_is_of_our_time(int64_t at)
{
    struct cn_civil civil;
    return cn_zone_civil("UTC", at, &civil) && civil.date.year >= YEAR_FIRST &&
           civil.date.year <= YEAR_LAST;
}

void visit_check(struct cn_op *op, const Sch__Visit *visit)
{
    if (visit->has_starts_at && !s_is_of_our_time(visit->starts_at)) {
        cn_refuse_field(op, "/starts_at", "invalid_value",
                        "must lie between %d and %d", YEAR_FIRST, YEAR_LAST);
    }
    if (visit->has_starts_at && visit->has_ends_at &&
        (visit->starts_at >= visit->ends_at ||
         visit->ends_at - visit->starts_at > CN_DAY)) {
        cn_refuse_field(op, "/ends_at", "invalid_value",
                        "must be after starts_at, by a day at most");
    }
}

/* ---- what a referral allows ---- */

enum standing need_standing(const Sch__Need *need)
{
    static const struct {
        const char *status;
        enum standing standing;
    } STANDINGS[] = {
        { "captured", STANDING_UNDECIDED },
        { "matching", STANDING_UNDECIDED },
        { "incomplete", STANDING_UNDECIDED },
        { "valid", STANDING_UNDECIDED },
        { "verifying", STANDING_UNDECIDED },
        { "review", STANDING_UNDECIDED },
        { "accepted", STANDING_ACCEPTED },
        { "soc_scheduled", STANDING_ACCEPTED },
        { "declined", STANDING_ENDED },
        { "withdrawn", STANDING_ENDED },
        { "not_admitted", STANDING_ENDED },
    };
    for (size_t i = 0; need->status != NULL && i < CN_COUNT(STANDINGS); i++) {
        if (strcmp(STANDINGS[i].status, need->status) == 0) {
            return STANDINGS[i].standing;
        }
    }
    return need->status != NULL ? STANDING_IN_CARE : STANDING_UNKNOWN;
}

void visit_guard(struct cn_op *op, const Sch__Need *need, Sch__Visit__Kind kind)
{
    const enum standing standing = need_standing(need);
    if (standing == STANDING_ENDED) {
        cn_refuse_guard(op, "referral_open", "/referral_id",
                        "the referral has ended");
    } else if (kind == SCH__VISIT__KIND__SOC && standing != STANDING_ACCEPTED) {
        cn_refuse_guard(op, "referral_accepted", "/referral_id",
                        "the referral does not wait for its start of care");
    }
}

void visit_early_guard(struct cn_op *op, const Sch__Visit *visit, int64_t at)
{
    if (visit->has_starts_at &&
        visit->starts_at - at > VISIT_EARLY_HOURS * CN_HOUR) {
        cn_refuse_guard(op, "visit_time", "",
                        "the visit is to begin more than 72 hours later");
    }
}
