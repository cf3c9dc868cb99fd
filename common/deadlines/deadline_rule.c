/* SPDX-License-Identifier: Apache-2.0 */
#include "common/deadlines/deadline_rule.h"

#include <stdlib.h>
#include <string.h>

enum { ARENA_MAX = 1 << 20 };

/* No work lives longer, so nothing points to older rules any more. */
static const int64_t RETIRED_US = 10 * CN_MINUTE;

struct holiday {
    struct cn_uuid tenant_id;
    struct cn_date day;
};

/* The rows as they were at one time; in its own arena. */
struct generation {
    struct generation *older;
    struct cn_arena *arena;
    const char *schema;
    int64_t read_at;    /* the env's clock */
    int64_t retired_at; /* monotonic; 0: the present one */
    struct cn_clock_rule *rules;
    size_t rule_count;
    struct holiday *holidays;
    size_t holiday_count;
};

/* The newest first. One process runs one service. */
static struct generation *s_generations;

CN_SQL_RELAY(SQL_CLOCK_RULES,
             "SELECT r.tenant_id, r.id, r.name, r.trigger, r.starts, r.amount,"
             " r.unit, r.opens_before, r.ordered, r.warn_minutes::text[],"
             " r.told_by, r.exceptions, r.citation, r.states, r.payers,"
             " r.effective_from - '1970-01-01'::date,"
             " coalesce(r.effective_to, '9999-12-31') - '1970-01-01'::date"
             " FROM {{schema}}.clock_rule r"
             " ORDER BY r.id, r.effective_from DESC, r.tenant_id");

CN_SQL_RELAY(SQL_CLOCK_HOLIDAYS,
             "SELECT h.tenant_id, to_char(h.day, 'YYYY-MM-DD')"
             " FROM {{schema}}.clock_holiday h ORDER BY h.day, h.tenant_id");

static enum cn_clock_unit s_unit(const char *word)
{
    return strcmp(word, "elapsed_hours") == 0   ? CN_CLOCK_ELAPSED_HOURS
           : strcmp(word, "calendar_days") == 0 ? CN_CLOCK_CALENDAR_DAYS
                                                : CN_CLOCK_BUSINESS_DAYS;
}

static const char *s_column_text(struct cn_arena *arena,
                                 const struct cn_rows *rows,
                                 size_t row,
                                 int column)
{
    return cn_row_null(rows, row, column)
               ? NULL
               : cn_arena_strdup(arena, cn_row_text(rows, row, column));
}

/* Rows belong to the generation's arena, and the texts in them. The checks of
 * the table keep the lists within their arrays. */
static void s_rule_read(struct cn_arena *arena,
                        const struct cn_rows *rows,
                        size_t row,
                        struct cn_clock_rule *rule)
{
    size_t start_count = 0;
    size_t warn_count = 0;
    const char **starts = cn_row_texts(rows, row, 4, arena, &start_count);
    const char **warnings = cn_row_texts(rows, row, 9, arena, &warn_count);
    *rule = (struct cn_clock_rule){
        .tenant_id = cn_row_uuid(rows, row, 0),
        .id = s_column_text(arena, rows, row, 1),
        .name = s_column_text(arena, rows, row, 2),
        .trigger = s_column_text(arena, rows, row, 3),
        .amount = (int)cn_row_int(rows, row, 5),
        .unit = s_unit(cn_row_text(rows, row, 6)),
        .has_opens_before = !cn_row_null(rows, row, 7),
        .opens_before = (int)cn_row_int(rows, row, 7),
        .ordered = s_column_text(arena, rows, row, 8),
        .told_by = s_column_text(arena, rows, row, 10),
        .exceptions = s_column_text(arena, rows, row, 11),
        .citation = s_column_text(arena, rows, row, 12),
        .from_day = cn_row_int(rows, row, 15),
        .to_day = cn_row_int(rows, row, 16),
    };
    rule->states = cn_row_texts(rows, row, 13, arena, &rule->state_count);
    rule->payers = cn_row_texts(rows, row, 14, arena, &rule->payer_count);
    for (size_t i = 0; i < start_count; i++) {
        rule->starts[rule->start_count++] = starts[i];
    }
    for (size_t i = 0; i < warn_count; i++) {
        rule->warn_before[rule->warn_count++] =
            strtoll(warnings[i], NULL, 10) * CN_MINUTE;
    }
}

static enum cn_code
s_generation_read(struct cn_db *db, struct generation *self, struct cn_err *err)
{
    const struct cn_rows *rules = NULL;
    const struct cn_rows *days = NULL;
    enum cn_code rc =
        cn_db_read_all(db, self->arena, &SQL_CLOCK_RULES, NULL, 0, &rules, err);
    if (rc == CN_OK) {
        rc = cn_db_read_all(db, self->arena, &SQL_CLOCK_HOLIDAYS, NULL, 0,
                            &days, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    self->schema = cn_arena_strdup(self->arena, cn_db_schema(db));
    self->rule_count = cn_rows_count(rules);
    self->holiday_count = cn_rows_count(days);
    self->rules =
        cn_arena_array(self->arena, self->rule_count + 1, sizeof(*self->rules));
    self->holidays = cn_arena_array(self->arena, self->holiday_count + 1,
                                    sizeof(*self->holidays));
    for (size_t i = 0; i < self->rule_count; i++) {
        s_rule_read(self->arena, rules, i, &self->rules[i]);
    }
    for (size_t i = 0; i < self->holiday_count; i++) {
        self->holidays[i].tenant_id = cn_row_uuid(days, i, 0);
        if (!cn_date_parse(cn_row_text(days, i, 1), &self->holidays[i].day)) {
            return cn_fail(err, CN_INTERNAL, "a holiday is not a date");
        }
    }
    return cn_arena_failed(self->arena)
               ? cn_fail(err, CN_NOMEM, "read the rules of clocks")
               : CN_OK;
}

static void s_free(struct generation *self)
{
    cn_arena_free(self->arena);
    free(self);
}

/* Makes it the present one; what nobody can use any more goes. */
static void s_keep(struct generation *self)
{
    int64_t now = cn_clock_monotonic();
    struct generation **link = &self->older;
    self->older = s_generations;
    s_generations = self;
    while (*link != NULL) {
        struct generation *old = *link;
        if (old->retired_at == 0) {
            old->retired_at = now;
        }
        if (now - old->retired_at > RETIRED_US) {
            *link = old->older;
            s_free(old);
        } else {
            link = &old->older;
        }
    }
}

static bool s_fresh(const struct cn_op *op, const struct generation *self)
{
    int64_t age = op->env->now(op->env) - self->read_at;
    return age >= 0 && age < CN_CLOCK_RULES_KEEP_US &&
           strcmp(self->schema, cn_db_schema(op->env->db)) == 0;
}

/* NULL: the operation has failed. */
static const struct generation *s_present(struct cn_op *op)
{
    if (cn_failed(op)) {
        return NULL;
    }
    if (s_generations != NULL && s_fresh(op, s_generations)) {
        return s_generations;
    }
    struct generation *self = calloc(1, sizeof(*self));
    if (self == NULL || (self->arena = cn_arena_new(ARENA_MAX)) == NULL) {
        free(self);
        cn_refuse(op, CN_NOMEM, NULL, "read the rules of clocks");
        return NULL;
    }
    self->read_at = op->env->now(op->env);
    if (s_generation_read(op->env->db, self, op->err) != CN_OK) {
        s_free(self);
        return NULL;
    }
    s_keep(self);
    return self;
}

static bool s_listed(const char *const *words, size_t count, const char *word)
{
    bool found = count == 0;
    for (size_t i = 0; word != NULL && i < count; i++) {
        found = found || strcmp(words[i], word) == 0;
    }
    return found;
}

static bool s_is_for(const struct cn_clock_rule *rule,
                     struct cn_uuid tenant_id,
                     const char *id,
                     const struct cn_clock_case *of)
{
    int64_t day = of->at / CN_DAY;
    return strcmp(rule->id, id) == 0 &&
           (cn_uuid_is_nil(rule->tenant_id) ||
            cn_uuid_equal(rule->tenant_id, tenant_id)) &&
           day >= rule->from_day && day <= rule->to_day &&
           s_listed(rule->states, rule->state_count, of->state) &&
           s_listed(rule->payers, rule->payer_count, of->payer);
}

const struct cn_clock_rule *cn_clock_rule_of(struct cn_op *op,
                                             const char *id,
                                             const struct cn_clock_case *of)
{
    static const struct cn_clock_rule NONE = { .id = "" };
    const struct generation *rules = s_present(op);
    const struct cn_clock_rule *found = &NONE;
    for (size_t i = 0; rules != NULL && i < rules->rule_count; i++) {
        const struct cn_clock_rule *rule = &rules->rules[i];
        if (s_is_for(rule, op->tenant_id, id, of) &&
            (found == &NONE || (cn_uuid_is_nil(found->tenant_id) &&
                                !cn_uuid_is_nil(rule->tenant_id)))) {
            found = rule;
        }
    }
    if (rules != NULL && found == &NONE) {
        cn_refuse(op, CN_INTERNAL, NULL, "no rule %s is in effect", id);
    }
    return found;
}

const struct cn_date *cn_clock_holidays(struct cn_op *op, size_t *ret_count)
{
    const struct generation *rules = s_present(op);
    const size_t known = rules != NULL ? rules->holiday_count : 0;
    struct cn_date *days = cn_arena_array(op->arena, known, sizeof(*days));
    size_t count = 0;
    for (size_t i = 0; i < known; i++) {
        const struct holiday *holiday = &rules->holidays[i];
        if (cn_uuid_is_nil(holiday->tenant_id) ||
            cn_uuid_equal(holiday->tenant_id, op->tenant_id)) {
            days[count++] = holiday->day;
        }
    }
    *ret_count = count;
    return days;
}
