/* SPDX-License-Identifier: Apache-2.0 */
#include "services/documents/events.h"

#include "cairn/referrals.cairn.h"
#include "common/base/array.h"
#include "common/contract/service.h"
#include "common/wire/message.h"
#include "services/documents/clock.h"
#include "services/documents/rules.h"
#include "services/documents/store.h"

/* One required document of a checklist that is being opened. */
static enum cn_code s_document_open(const struct cn_event *event,
                                    const Ref__ReferralEvent *payload,
                                    const struct checklist_row *checklist,
                                    const struct checklist_item *item,
                                    struct document_row *ret_row,
                                    struct cn_err *err)
{
    Doc__Document *document =
        CN_NEW(event->arena, doc__document, Doc__Document);
    if (document == NULL) {
        return cn_fail(err, CN_NOMEM, "open a checklist");
    }
    struct document_row row = {
        .id = cn_uuid_new(event->env),
        .branch_id = checklist->branch_id,
        .referral_id = checklist->referral_id,
        .patient_id = checklist->patient_id,
        .created_at = event->now_at,
        .document = document,
    };
    document->id = cn_id_text(event->arena, "doc", row.id);
    CN_SET(document, version, 1);
    CN_SET(document, created_at, event->now_at);
    CN_SET(document, updated_at, event->now_at);
    document->referral_id = payload->referral->id;
    document->patient_id = payload->patient->id;
    document->branch_id = payload->referral->branch_id;
    CN_SET(document, kind, item->kind);
    CN_SET(document, status, DOC__DOCUMENT__STATUS__REQUIRED);
    CN_SET(document, holder, item->holder);
    document->rule = item->rule;
    *ret_row = row;
    return CN_OK;
}

/* What the event tells of the checklist itself. */
static enum cn_code s_checklist_of_event(const struct cn_event *event,
                                         struct checklist_row *ret_row,
                                         struct cn_err *err)
{
    const Ref__ReferralEvent *payload = event->payload;
    struct checklist_row row = { .opened_at = event->now_at };
    if (payload->referral == NULL || payload->patient == NULL ||
        !cn_id_parse("ref", payload->referral->id, &row.referral_id) ||
        !cn_id_parse("pat", payload->patient->id, &row.patient_id)) {
        return cn_fail(err, CN_INTERNAL, "the event names no referral");
    }
    (void)!cn_id_parse("brn", payload->referral->branch_id, &row.branch_id);
    *ret_row = row;
    return CN_OK;
}

/* Opens the checklist: one required document for each item. */
static enum cn_code on_referral_accepted(void *self,
                                         const struct cn_event *event,
                                         struct cn_write *write,
                                         struct cn_err *err)
{
    (void)self;
    const Ref__ReferralEvent *payload = event->payload;
    struct cn_store store = cn_store_of_event(event);
    size_t count = 0;
    const struct checklist_item *items = checklist_items(&count);
    struct checklist_row row;
    struct checklist_row open;
    enum cn_code rc = s_checklist_of_event(event, &row, err);
    if (rc != CN_OK) {
        return rc;
    }
    rc = checklist_store_get(&store, row.referral_id, &open, err);
    if (rc != CN_NOT_FOUND) {
        return rc; /* accepted again after a reopening: the list stands */
    }
    cn_err_clear(err);
    rc = CN_OK;

    Doc__ChecklistEvent *told =
        CN_NEW(event->arena, doc__checklist_event, Doc__ChecklistEvent);
    Doc__Checklist *checklist =
        CN_NEW(event->arena, doc__checklist, Doc__Checklist);
    struct document_row *documents =
        cn_arena_array(event->arena, count, sizeof(*documents));
    Doc__Document **list =
        cn_arena_array(event->arena, count, sizeof(Doc__Document *));
    if (told == NULL || checklist == NULL || documents == NULL ||
        list == NULL) {
        return cn_fail(err, CN_NOMEM, "open a checklist");
    }
    for (size_t i = 0; i < count; i++) {
        rc = s_document_open(event, payload, &row, &items[i], &documents[i],
                             err);
        if (rc != CN_OK) {
            return rc;
        }
        list[i] = documents[i].document;
    }
    cn_write_lock(write, "checklist", row.referral_id);
    checklist_insert(&store, write, &row);
    for (size_t i = 0; rc == CN_OK && i < count; i++) {
        rc = document_insert(&store, write, &documents[i], err);
    }
    checklist->referral_id = payload->referral->id;
    checklist->patient_id = payload->patient->id;
    checklist->branch_id = payload->referral->branch_id;
    CN_SET(checklist, opened_at, row.opened_at);
    CN_SET(checklist, open_count, (int32_t)count);
    checklist->documents = list;
    checklist->n_documents = count;
    told->checklist = checklist;
    cn_write_event(write, "checklist.opened", "checklist", row.referral_id, 1,
                   &told->base);
    cn_write_audit(write, "checklist.open", payload->referral->id,
                   row.patient_id);
    return rc;
}

/* The start of care; one that was told without its date is of the day on which
 * the patient was admitted. */
static const char *s_soc_date(const struct cn_event *event,
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

/* Starts the clock of the face-to-face document. */
static enum cn_code on_referral_admitted(void *self,
                                         const struct cn_event *event,
                                         struct cn_write *write,
                                         struct cn_err *err)
{
    (void)self;
    const Ref__ReferralEvent *payload = event->payload;
    const struct cn_store store = cn_store_of_event(event);
    struct cn_deadline deadline;
    struct checklist_row checklist;
    struct document_row row;
    enum cn_code rc = s_checklist_of_event(event, &checklist, err);
    if (rc == CN_OK) {
        rc =
            document_of_checklist(&store, checklist.referral_id,
                                  DOC__DOCUMENT__KIND__FACE_TO_FACE, &row, err);
    }
    if (rc == CN_NOT_FOUND) {
        cn_err_clear(err);
        return CN_OK; /* No such document is needed any more. */
    }
    if (rc == CN_OK) {
        rc = document_clock_start(&store, &row,
                                  s_soc_date(event, payload->referral),
                                  payload->referral->time_zone, &deadline, err);
    }
    if (rc != CN_OK || !deadline.changed) {
        return rc;
    }
    cn_write_lock(write, "document", row.id);
    rc = document_change(&store, write, &row, err);
    if (rc == CN_OK) {
        rc = cn_deadline_change(&store, write, &deadline, err);
    }
    if (rc == CN_OK) {
        rc = document_tell(&store, write, &row, err);
    }
    if (rc == CN_OK) {
        rc = cn_deadline_tell(&store, write, &deadline, err);
    }
    if (rc == CN_OK) {
        cn_write_audit(write, "document.clock", row.document->id,
                       row.patient_id);
    }
    return rc;
}

static const struct cn_event_handler FROM_REFERRALS[] = {
    { "referral.accepted", on_referral_accepted, .copy = false },
    { "referral.admitted", on_referral_admitted, .copy = false },
};

const struct cn_subscription DOCUMENTS_SUBSCRIPTIONS[] = {
    { .producer = "referrals",
      .events = referrals_events,
      .event_count = referrals_event_count,
      .handlers = FROM_REFERRALS,
      .handler_count = CN_COUNT(FROM_REFERRALS) },
};
const size_t DOCUMENTS_SUBSCRIPTION_COUNT = CN_COUNT(DOCUMENTS_SUBSCRIPTIONS);
