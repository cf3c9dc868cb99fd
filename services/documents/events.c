/* SPDX-License-Identifier: Apache-2.0 */
#include "services/documents/events.h"

#include "cairn/referrals.cairn.h"
#include "cairn/scheduling.cairn.h"
#include "common/base/array.h"
#include "common/contract/service.h"
#include "common/wire/message.h"
#include "services/documents/clock.h"
#include "services/documents/rules.h"
#include "services/documents/store.h"

#include <string.h>

/* What the event tells of the checklist itself. */
static struct checklist_row s_checklist_told(struct cn_op *op,
                                             const Ref__ReferralEvent *payload)
{
    struct checklist_row row = { .opened_at = op->now_at };
    if (payload->referral == NULL || payload->patient == NULL ||
        !cn_id_parse("ref", payload->referral->id, &row.referral_id) ||
        !cn_id_parse("pat", payload->patient->id, &row.patient_id)) {
        cn_refuse(op, CN_INTERNAL, NULL, "the event names no referral");
        return row;
    }
    (void)!cn_id_parse("brn", payload->referral->branch_id, &row.branch_id);
    return row;
}

/* A document that a checklist asks for, not put yet. */
static struct cn_record *s_document_ask(struct cn_op *op,
                                        const Ref__ReferralEvent *payload,
                                        const struct checklist_item *item)
{
    struct cn_record *record =
        cn_record_new(op, &doc__document__resource, NULL);
    Doc__Document *document = record->body;
    document->referral_id = payload->referral->id;
    document->patient_id = payload->patient->id;
    document->branch_id = payload->referral->branch_id;
    CN_SET(document, kind, item->kind);
    CN_SET(document, holder, item->holder);
    document->rule = item->rule;
    cn_move(op, record, "require");
    return record;
}

/* Opens the checklist: one required document for each item. */
static void s_checklist_open(struct cn_op *op,
                             const Ref__ReferralEvent *payload,
                             const struct checklist_row *row)
{
    struct cn_records documents = { .count = 0 };
    size_t count = 0;
    const struct checklist_item *items = checklist_items(&count);
    documents.items =
        cn_arena_array(op->arena, count, sizeof(*documents.items));
    cn_lock(op, "checklist", row->referral_id);
    checklist_insert(op, row);
    while (documents.count < count) {
        struct cn_record *record =
            s_document_ask(op, payload, &items[documents.count]);
        cn_put_part(op, record);
        documents.items[documents.count++] = *record;
    }
    Doc__ChecklistEvent *told =
        CN_NEW(op->arena, doc__checklist_event, Doc__ChecklistEvent);
    told->checklist = checklist_show(op, row, documents);
    cn_tell(op, "checklist.opened", "checklist", row->referral_id, 1, told);
    cn_audit(op, "checklist.open", told->checklist->referral_id,
             row->patient_id);
}

/* A referral that is accepted again, after a reopening, keeps its list; what
 * became void meanwhile is asked for anew. */
static void s_checklist_renew(struct cn_op *op,
                              const Ref__ReferralEvent *payload,
                              const struct checklist_row *row)
{
    size_t count = 0;
    const struct checklist_item *items = checklist_items(&count);
    for (size_t i = 0; i < count; i++) {
        bool is_asked =
            checklist_document(op, row->referral_id, items[i].kind)->found;
        if (cn_failed(op)) {
            return;
        }
        if (!is_asked) {
            cn_put(op, s_document_ask(op, payload, &items[i]));
        }
    }
}

static void doc_on_referral_accepted(struct cn_op *op,
                                     const struct cn_event *event)
{
    const Ref__ReferralEvent *payload = event->payload;
    const struct checklist_row row = s_checklist_told(op, payload);
    const bool open = checklist_find(op, row.referral_id).found;
    if (cn_failed(op)) {
        return;
    }
    if (open) {
        s_checklist_renew(op, payload, &row);
    } else {
        s_checklist_open(op, payload, &row);
    }
}

/* Nobody needs the papers of a patient who was not taken. */
static void doc_on_referral_ended(struct cn_op *op,
                                  const struct cn_event *event)
{
    const struct checklist_row row = s_checklist_told(op, event->payload);
    struct cn_records documents = checklist_documents(op, row.referral_id);
    if (cn_failed(op)) {
        return;
    }
    for (size_t i = 0; i < documents.count; i++) {
        if (cn_may(&documents.items[i], "void")) {
            /* "referral_declined" */
            document_void(op, &documents.items[i],
                          cn_arena_printf(op->arena, "referral_%s",
                                          strchr(event->type, '.') + 1));
        }
    }
}

/* The start of care; one that was told without its date is of the day on which
 * the patient was admitted. */
static const char *s_soc_date_told(const struct cn_event *event,
                                   const Ref__Referral *referral)
{
    char text[CN_TIME_TEXT_MAX];
    struct cn_civil civil;
    if (referral->soc_date != NULL) {
        return referral->soc_date;
    }
    if (referral->time_zone == NULL ||
        !cn_zone_civil(referral->time_zone, event->occurred_at, &civil)) {
        return NULL;
    }
    cn_date_format(civil.date, text);
    return cn_arena_strdup(event->arena, text);
}

/* Starts the clock of the face-to-face document, where one is needed. */
static void doc_on_referral_admitted(struct cn_op *op,
                                     const struct cn_event *event)
{
    const Ref__ReferralEvent *payload = event->payload;
    const struct checklist_row row = s_checklist_told(op, payload);
    struct cn_record *document = checklist_document(
        op, row.referral_id, DOC__DOCUMENT__KIND__FACE_TO_FACE);
    if (!cn_failed(op) && document->found) {
        document_clock_start(op, document,
                             s_soc_date_told(event, payload->referral),
                             payload->referral->time_zone);
    }
}

/* Without its start of care no encounter is waited for. */
static void doc_on_visit_cancelled(struct cn_op *op,
                                   const struct cn_event *event)
{
    const Sch__VisitEvent *payload = event->payload;
    const Sch__Visit *visit = payload->visit;
    struct cn_uuid referral_id;
    if (visit == NULL ||
        !cn_id_parse("ref", visit->referral_id, &referral_id)) {
        cn_refuse(op, CN_INTERNAL, NULL, "the event names no visit");
        return;
    }
    if (visit->kind != SCH__VISIT__KIND__SOC) {
        return;
    }
    struct cn_record *document =
        checklist_document(op, referral_id, DOC__DOCUMENT__KIND__FACE_TO_FACE);
    if (document->found) {
        document_clock_stop(op, document, event->occurred_at);
    }
}

static const struct cn_event_handler FROM_REFERRALS[] = {
    { "referral.accepted", .effect = doc_on_referral_accepted, .copy = false },
    { "referral.admitted", .effect = doc_on_referral_admitted, .copy = false },
    { "referral.declined", .effect = doc_on_referral_ended, .copy = false },
    { "referral.withdrawn", .effect = doc_on_referral_ended, .copy = false },
    { "referral.not_admitted", .effect = doc_on_referral_ended, .copy = false },
};

static const struct cn_event_handler FROM_SCHEDULING[] = {
    { "visit.cancelled", .effect = doc_on_visit_cancelled, .copy = false },
};

const struct cn_subscription DOCUMENTS_SUBSCRIPTIONS[] = {
    CN_FOLLOW(referrals, FROM_REFERRALS),
    CN_FOLLOW(scheduling, FROM_SCHEDULING),
};
const size_t DOCUMENTS_SUBSCRIPTION_COUNT = CN_COUNT(DOCUMENTS_SUBSCRIPTIONS);
