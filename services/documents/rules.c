/* SPDX-License-Identifier: Apache-2.0 */
#include "services/documents/rules.h"

#include "cairn/documents.resources.h"
#include "common/base/array.h"
#include "common/base/clock.h"

#define STATUS(word) DOC__DOCUMENT__STATUS__##word
#define FROM(state)  CN_STATE(STATUS(state))

/* What a checklist asks for is told by checklist.opened. The end of a referral
 * makes void what it still asks for. */
static const struct cn_move DOCUMENT_MOVES[] = {
    { "require", CN_UNMADE, STATUS(REQUIRED), NULL },
    { "void", FROM(REQUIRED), STATUS(VOIDED), "document.updated" },
};

/* The other states are in the contract; nothing enters them before they have
 * their commands. */
const struct cn_moves doc_document_moves = {
    .of = "document",
    .states = &doc__document__status__descriptor,
    .rows = DOCUMENT_MOVES,
    .count = CN_COUNT(DOCUMENT_MOVES),
    .ends = FROM(VOIDED),
    .unused = FROM(RECEIVED_RAW) | FROM(DRAFT) | FROM(QUEUED) | FROM(SENT) |
              FROM(DELIVERED) | FROM(SIGNED) | FROM(RETURNED_DEFECTIVE) |
              FROM(REJECTED) | FROM(FILED),
};

const struct checklist_item *checklist_items(size_t *ret_count)
{
    static const struct checklist_item ITEMS[] = {
        { DOC__DOCUMENT__KIND__PLAN_OF_CARE, DOC__DOCUMENT__HOLDER__AGENCY,
          "C08: plan of care signed and dated by the physician before the"
          " first claim; 42 CFR 424.22(a)(2), 409.43(c)" },
        { DOC__DOCUMENT__KIND__FACE_TO_FACE, DOC__DOCUMENT__HOLDER__PHYSICIAN,
          "C07: encounter within 90 days before or 30 days after the start of"
          " care; 42 CFR 424.22(a)(1)(v)" },
        { DOC__DOCUMENT__KIND__CONSENT, DOC__DOCUMENT__HOLDER__PATIENT,
          "C16: rights notice and consent signed at the evaluation visit,"
          " before care; 42 CFR 484.50(a)" },
    };
    *ret_count = CN_COUNT(ITEMS);
    return ITEMS;
}

const char *checklist_rule(Doc__Document__Kind kind)
{
    size_t count = 0;
    const struct checklist_item *items = checklist_items(&count);
    for (size_t i = 0; i < count; i++) {
        if (items[i].kind == kind) {
            return items[i].rule;
        }
    }
    return NULL;
}

bool document_is_done(Doc__Document__Status status)
{
    return status == STATUS(SIGNED) || status == STATUS(FILED) ||
           status == STATUS(VOIDED);
}

const char *document_age_bucket(int64_t sent_at, int64_t now_at)
{
    static const struct {
        int64_t days_max;
        const char *bucket;
    } BUCKETS[] = { { 7, "0-7" },
                    { 14, "8-14" },
                    { 21, "15-21" },
                    { 30, "22-30" },
                    { 60, "31-60" } };
    int64_t days = (now_at - sent_at) / CN_DAY;
    for (size_t i = 0; i < CN_COUNT(BUCKETS); i++) {
        if (days <= BUCKETS[i].days_max) {
            return BUCKETS[i].bucket;
        }
    }
    return "60+";
}

void doc_document_show(struct cn_op *op, struct cn_record *record)
{
    Doc__Document *document = record->body;
    if (document->has_sent_at && !document_is_done(document->status)) {
        document->age_bucket =
            document_age_bucket(document->sent_at, op->now_at);
    }
}

void document_check(struct cn_op *op, const Doc__Document *document)
{
    const char *date = document->encounter_date;
    struct cn_date day;
    if (date == NULL) {
        return;
    }
    if (document->kind != DOC__DOCUMENT__KIND__FACE_TO_FACE) {
        cn_refuse_field(op, "/encounter_date", "not_applicable",
                        "only a face-to-face document has an encounter");
    } else if (!cn_date_parse(date, &day) ||
               /* Nowhere on earth is it this day yet. */
               cn_date_days(day) > (op->now_at + 14 * CN_HOUR) / CN_DAY) {
        cn_refuse_field(op, "/encounter_date", "invalid_value",
                        "lies in the future");
    }
}
