/* SPDX-License-Identifier: Apache-2.0 */
#include "services/documents/clock.h"
#include "common/wire/message.h"

struct cn_deadline_subject document_subject(const struct document_row *row)
{
    return (struct cn_deadline_subject){
        .type = "document",
        .id = row->id,
        .text = row->document->id,
        .branch_id = row->branch_id,
        .branch_text = row->document->branch_id,
        .patient_id = row->patient_id,
        .patient_text = row->document->patient_id,
    };
}

/* The beginning of a local day, which stands for all of it. */
static bool s_day(const char *zone, const char *date, int64_t *ret_at)
{
    struct cn_civil civil = { .second = 0 };
    return zone != NULL && date != NULL && cn_date_parse(date, &civil.date) &&
           cn_zone_instant(zone, civil, ret_at);
}

static enum cn_code s_clock(const struct cn_store *store,
                            int64_t soc_at,
                            const char *zone,
                            struct cn_clock *ret_clock,
                            struct cn_err *err)
{
    const struct cn_clock_case of = { .at = soc_at };
    const struct cn_clock_fact start = { "start_of_care", true, soc_at };
    const struct cn_clock_facts facts = { .starts = &start,
                                          .start_count = 1,
                                          .zone = zone };
    const struct cn_clock_rule *rule = NULL;
    enum cn_code rc =
        cn_clock_rule_find(store, FACE_TO_FACE_RULE, &of, &rule, err);
    if (rc == CN_OK && !cn_clock_apply(rule, &facts, ret_clock)) {
        rc = cn_fail(err, CN_INTERNAL, "face-to-face clock: zone or date");
    }
    return rc;
}

/* As the encounter date of the row has it: none takes back what met it. */
static enum cn_code s_act(const struct cn_store *store,
                          const struct document_row *row,
                          struct cn_deadline *deadline,
                          struct cn_err *err)
{
    const char *date = row->document->encounter_date;
    int64_t at = 0;
    if (deadline->body == NULL) {
        return CN_OK;
    }
    if (date != NULL && !s_day(deadline->body->time_zone, date, &at)) {
        return cn_fail(err, CN_INTERNAL, "face-to-face clock: encounter date");
    }
    if (date == NULL || !deadline->body->has_met_at ||
        deadline->body->met_at != at) {
        cn_deadline_unact(deadline, store->now_at);
    }
    if (date != NULL) {
        cn_deadline_act(deadline, at, NULL, store->now_at);
    }
    return CN_OK;
}

enum cn_code document_clock_start(const struct cn_store *store,
                                  const struct document_row *row,
                                  const char *soc_date,
                                  const char *zone,
                                  struct cn_deadline *ret_deadline,
                                  struct cn_err *err)
{
    const struct cn_deadline_subject subject = document_subject(row);
    struct cn_deadline deadline;
    struct cn_clock clock;
    int64_t soc_at = 0;
    if (!s_day(zone, soc_date, &soc_at)) {
        return cn_fail(err, CN_INTERNAL, "face-to-face clock: start of care");
    }
    enum cn_code rc = s_clock(store, soc_at, zone, &clock, err);
    if (rc == CN_OK) {
        rc = cn_deadline_load(store, "document", row->id, FACE_TO_FACE_RULE,
                              &deadline, err);
    }
    if (rc == CN_OK) {
        rc = cn_deadline_run(&deadline, store->arena, &subject, &clock,
                             cn_uuid_new(store->env), store->now_at, err);
    }
    if (rc == CN_OK) {
        rc = s_act(store, row, &deadline, err);
    }
    if (rc == CN_OK) {
        CN_SET(row->document, due_at, deadline.body->due_at);
        row->document->rule = deadline.body->why;
        *ret_deadline = deadline;
    }
    return rc;
}

enum cn_code document_clock_act(const struct cn_store *store,
                                const struct document_row *row,
                                struct cn_deadline *ret_deadline,
                                struct cn_err *err)
{
    struct cn_deadline deadline;
    enum cn_code rc = cn_deadline_load(store, "document", row->id,
                                       FACE_TO_FACE_RULE, &deadline, err);
    if (rc == CN_OK) {
        rc = s_act(store, row, &deadline, err);
    }
    if (rc == CN_OK) {
        *ret_deadline = deadline;
    }
    return rc;
}
