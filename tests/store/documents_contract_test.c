/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of documents: what is checked stands in tests/README.md. */
#include "cairn/documents.handlers.h"
#include "cairn/referrals.cairn.h"
#include "cairn/scheduling.cairn.h"
#include "common/wire/message.h"
#include "services/documents/events.h"
#include "tests/lib/contract.h"

static void s_checklist_put(const struct contract_maker *maker,
                            const char *referral_id)
{
    struct cn_uuid id;
    char text[CN_UUID_TEXT_SIZE] = "";
    char tenant[CN_UUID_TEXT_SIZE];
    if (cn_id_parse("ref", referral_id, &id)) {
        cn_uuid_format(id, text);
    }
    cn_uuid_format(maker->world->tenant, tenant);
    (void)test_psql(maker->psql,
                    "INSERT INTO documents.checklist (tenant_id, id,"
                    " patient_id, event_seq, opened_at) VALUES ('%s', '%s',"
                    " '%s', 1, now()) ON CONFLICT DO NOTHING",
                    tenant, text, text);
}

static void s_fill(const struct contract_maker *maker, void *message)
{
    const ProtobufCMessage *any = message;
    if (any->descriptor == &doc__document__descriptor) {
        /* Only this kind has an encounter. */
        Doc__Document *document = message;
        CN_SET(document, kind, DOC__DOCUMENT__KIND__FACE_TO_FACE);
        document->encounter_date = "2026-01-02";
    } else if (any->descriptor == &doc__get_checklist_request__descriptor) {
        Doc__GetChecklistRequest *request = message;
        request->referral_id = contract_id(maker, "ref", 0);
    } else if (any->descriptor == &sch__visit__descriptor) {
        /* The clock waits for the start of care. */
        Sch__Visit *visit = message;
        CN_SET(visit, kind, SCH__VISIT__KIND__SOC);
    } else if (any->descriptor == &ref__referral__descriptor) {
        Ref__Referral *referral = message;
        referral->soc_date = "2026-01-05";
    }
}

/* A document belongs to a checklist. */
static void s_record(const struct contract_maker *maker,
                     struct cn_op *op,
                     struct cn_record *record)
{
    (void)op;
    const Doc__Document *document = record->body;
    s_checklist_put(maker, document->referral_id);
}

int main(void)
{
    static const struct contract_excuse EXCUSES[] = {
        { "SQL_DOCUMENTS_LIST_CHANGES_WITH",
          "the slow lane reads through what changed" },
        { NULL, NULL },
    };
    const struct cn_service service = {
        DOCUMENTS_CONTRACT,
        .subscriptions = DOCUMENTS_SUBSCRIPTIONS,
        .subscription_count = DOCUMENTS_SUBSCRIPTION_COUNT,
    };
    const struct contract contract = {
        .service = &service,
        .fill = s_fill,
        .record = s_record,
        .excuses = EXCUSES,
    };
    return contract_main(&contract);
}
