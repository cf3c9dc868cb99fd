/* SPDX-License-Identifier: Apache-2.0 */
#include "services/documents/clock.h"

#include "cairn/documents.resources.h"
#include "common/deadlines/deadline_rule.h"
#include "common/wire/message.h"
#include "services/documents/rules.h"

static const char RULE[] = "C07";

static struct cn_deadline s_clock_find(struct cn_op *op,
                                       const struct cn_record *document)
{
    return cn_deadline_find(op, "document", document->id, RULE);
}

/* The beginning of a local day, which stands for all of it. */
static int64_t s_day_begin(struct cn_op *op, const char *zone, const char *date)
{
    struct cn_civil civil = { .second = 0 };
    int64_t at = 0;
    if (zone == NULL || date == NULL || !cn_date_parse(date, &civil.date) ||
        !cn_zone_instant(zone, civil, &at)) {
        cn_refuse(op, CN_INTERNAL, NULL,
                  "face-to-face clock: a date or zone that is none");
    }
    return at;
}

static struct cn_clock
s_clock_apply(struct cn_op *op, int64_t soc_at, const char *zone)
{
    const struct cn_clock_case of = { .at = soc_at };
    const struct cn_clock_fact start = { "start_of_care", true, soc_at };
    const struct cn_clock_facts facts = { .starts = &start,
                                          .start_count = 1,
                                          .zone = zone };
    const struct cn_clock_rule *rule = cn_clock_rule_of(op, RULE, &of);
    struct cn_clock clock = { .rule = rule };
    if (!cn_failed(op) && !cn_clock_apply(rule, &facts, &clock)) {
        cn_refuse(op, CN_INTERNAL, NULL,
                  "face-to-face clock: the rule cannot be applied");
    }
    return clock;
}

static void s_clock_act(struct cn_op *op,
                        const Doc__Document *document,
                        struct cn_deadline *deadline)
{
    const char *date = document->encounter_date;
    if (deadline->body == NULL) {
        return;
    }
    int64_t at =
        date != NULL ? s_day_begin(op, deadline->body->time_zone, date) : 0;
    if (date == NULL || !deadline->body->has_met_at ||
        deadline->body->met_at != at) {
        cn_deadline_unact(deadline, op->now_at);
    }
    if (date != NULL) {
        cn_deadline_act(deadline, at, NULL, op->now_at);
    }
}

void document_clock_start(struct cn_op *op,
                          struct cn_record *document,
                          const char *soc_date,
                          const char *zone)
{
    Doc__Document *body = document->body;
    const struct cn_deadline_subject subject = cn_deadline_subject_of(document);
    const struct cn_clock clock =
        s_clock_apply(op, s_day_begin(op, zone, soc_date), zone);
    struct cn_deadline deadline = s_clock_find(op, document);
    if (cn_failed(op) ||
        cn_deadline_run(&deadline, op->arena, &subject, &clock,
                        cn_uuid_new(op->env), op->now_at, op->err) != CN_OK) {
        return;
    }
    s_clock_act(op, body, &deadline);
    CN_SET(body, due_at, deadline.body->due_at);
    body->rule = deadline.body->why;
    document->verb = "clock";
    cn_put(op, document);
    cn_deadline_put(op, &deadline);
}

void document_clock_act(struct cn_op *op, const struct cn_record *document)
{
    struct cn_deadline deadline = s_clock_find(op, document);
    s_clock_act(op, document->body, &deadline);
    cn_deadline_put(op, &deadline);
}

void document_clock_stop(struct cn_op *op,
                         struct cn_record *document,
                         int64_t cancelled_at)
{
    Doc__Document *body = document->body;
    struct cn_deadline deadline = s_clock_find(op, document);
    /* Services' events come in no order: a visit that was cancelled before the
     * clock began is not the one that it began with. */
    if (!cn_deadline_runs(&deadline) ||
        deadline.body->created_at > cancelled_at) {
        return;
    }
    cn_deadline_stop(&deadline, op->now_at);
    body->has_due_at = 0;
    body->due_at = 0;
    body->rule = checklist_rule(body->kind);
    document->verb = "clock";
    cn_put(op, document);
    cn_deadline_put(op, &deadline);
}

void document_void(struct cn_op *op,
                   struct cn_record *document,
                   const char *reason_code)
{
    Doc__Document *body = document->body;
    struct cn_deadline deadline = s_clock_find(op, document);
    cn_move(op, document, "void");
    body->reason_code = reason_code;
    body->has_due_at = 0;
    body->due_at = 0;
    if (cn_deadline_runs(&deadline)) {
        cn_deadline_stop(&deadline, op->now_at);
    }
    cn_put(op, document);
    cn_deadline_put(op, &deadline);
}
