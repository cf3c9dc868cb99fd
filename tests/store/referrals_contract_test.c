/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of referrals: what is checked stands in tests/README.md. */
#include "cairn/referrals.handlers.h"
#include "cairn/scheduling.cairn.h"
#include "common/wire/message.h"
#include "common/wire/seal.h"
#include "services/referrals/events.h"
#include "tests/lib/contract.h"

#include <string.h>

static const char HL7[] =
    "MSH|^~\\&|APP|FAC|US|HERE|20260101||REF^I12^REF_I12|C%u|P|2.8\r"
    "RF1||||||X-%u^HIS\rPRD|RP|Example^Pat\r"
    "PID|1||P-%u^^^HIS^MR||Testpatient^Sam\rDG1|1||Z47.1^Aftercare^I10";

static void s_referral_fill(const struct contract_maker *maker,
                            Ref__Referral *referral)
{
    referral->source->external_id =
        cn_arena_printf(maker->world->arena, "x%u", maker->number);
    /* A client names the patient; the row does not hold it. */
    referral->patient = NULL;
    referral->patient_id = contract_id(maker, "pat", maker->which);
    CN_SET(referral, identity, REF__REFERRAL__IDENTITY__DIFFERENT);
    referral->source_key = NULL; /* of a number that two people share */
    if (!maker->client) {
        referral->soc_visit_id = contract_id(maker, "vis", 0);
    }
}

/* The start of care of a referral that waits for it; a booking is of one that
 * has none yet. */
static void s_visit_fill(const struct contract_maker *maker, Sch__Visit *visit)
{
    const bool booked =
        maker->event != NULL && strcmp(maker->event, "visit.booked") == 0;
    CN_SET(visit, kind, SCH__VISIT__KIND__SOC);
    visit->referral_id = contract_id(maker, "ref", booked ? 1 : 0);
}

static void s_fill(const struct contract_maker *maker, void *message)
{
    const ProtobufCMessage *any = message;
    if (any->descriptor == &ref__referral__descriptor) {
        s_referral_fill(maker, message);
    } else if (any->descriptor == &ref__patient__descriptor) {
        Ref__Patient *patient = message;
        patient->birth_date = "1948-02-29";
    } else if (any->descriptor == &ref__accept_referral_request__descriptor) {
        Ref__AcceptReferralRequest *request = message;
        CN_SET(request, identity, REF__REFERRAL__IDENTITY__DIFFERENT);
    } else if (any->descriptor == &ref__decline_referral_request__descriptor) {
        Ref__DeclineReferralRequest *request = message;
        request->reason_code = "no_capacity";
    } else if (any->descriptor == &ref__receive_hl7_request__descriptor) {
        Ref__ReceiveHl7Request *request = message;
        char *text = cn_arena_printf(maker->world->arena, HL7, maker->number,
                                     maker->number, maker->number);
        request->content.data = (uint8_t *)text;
        request->content.len = strlen(text);
        request->content_type = "x-application/hl7-v2+er7";
    } else if (any->descriptor == &ref__list_referrals_request__descriptor) {
        Ref__ListReferralsRequest *request = message;
        request->external_id = "x1"; /* with source_system */
    } else if (any->descriptor == &ref__list_patients_request__descriptor) {
        /* A list of patients has one order: by name. */
        Ref__ListPatientsRequest *request = message;
        request->identifier_system = NULL;
        request->identifier_value = NULL;
        request->has_updated_since = 0;
    } else if (any->descriptor == &sch__visit__descriptor) {
        s_visit_fill(maker, message);
    }
}

/* A referral has one episode, so a new episode needs a new referral. */
static void s_episode_refer(const struct contract_maker *maker,
                            Ref__Episode *episode)
{
    char from[CN_UUID_TEXT_SIZE];
    char to[CN_UUID_TEXT_SIZE];
    const struct cn_uuid id = cn_uuid_new(&maker->world->env);
    struct cn_uuid known = { { 0 } };
    (void)!cn_id_parse("ref", episode->referral_id, &known);
    cn_uuid_format(known, from);
    cn_uuid_format(id, to);
    (void)test_psql(maker->psql,
                    "INSERT INTO referrals.referral (tenant_id, id, branch_id,"
                    " patient_id, status, version, event_seq, received_at,"
                    " content_hash, created_at, updated_at, body) SELECT"
                    " tenant_id, '%s', branch_id, patient_id, 'closed', 1, 1,"
                    " received_at, content_hash, created_at, updated_at, body"
                    " FROM referrals.referral WHERE id = '%s'",
                    to, from);
    episode->referral_id = cn_id_text(maker->world->arena, "ref", id);
}

/* A referral has its patient beside it and the hash of what was sent; the two
 * that there are wait for their start of care and for its booking. */
static void s_record(const struct contract_maker *maker,
                     struct cn_op *op,
                     struct cn_record *record)
{
    static struct cn_param given;
    static const uint8_t HASH[CN_SHA256_SIZE];
    if (record->resource == &ref__referral__resource) {
        Ref__Referral *referral = record->body;
        struct cn_uuid patient_id = { { 0 } };
        (void)!cn_id_parse("pat", referral->patient_id, &patient_id);
        record->beside = cn_find(op, &ref__patient__resource, patient_id);
        given = cn_bytes(HASH, sizeof(HASH));
        record->given = &given;
        if (!maker->fresh) {
            CN_SET(referral, status,
                   maker->which == 0 ? REF__REFERRAL__STATUS__SOC_SCHEDULED
                                     : REF__REFERRAL__STATUS__ACCEPTED);
        }
    } else if (record->resource == &ref__episode__resource) {
        s_episode_refer(maker, record->body);
    }
}

int main(void)
{
    static const struct contract_excuse EXCUSES[] = {
        { "SQL_REFERRALS_CHANGES_WITH",
          "the slow lane reads through what changed" },
        { "GetReferralRaw", "a referral that came in no message has none" },
        { "a_key_is_used_once ReceiveHl7",
          "a message is known again by itself, not by a key" },
        { NULL, NULL },
    };
    /* The worklists: of a state, of a branch. */
#define FIRST "'2000-01-01Z', '00000000-0000-0000-0000-000000000000', 51"
    static const struct contract_args PAGES[] = {
        { "SQL_REFERRALS_BY_STATUS", FIRST ", '{closed}'" },
        { "SQL_REFERRALS_BY_BRANCH",
          FIRST ", '{closed}', '{00000000-0000-7000-8000-0000000000a1}'" },
        { "SQL_REFERRALS_CHANGES", FIRST ", NULL" },
        { "SQL_PATIENTS_CHANGES", FIRST ", NULL" },
        { "SQL_REFERRALS_OF_SENDER",
          FIRST ", '{closed}', NULL, NULL, 'source_system5',"
                " 'source_external_id5'" },
        { NULL, NULL },
    };
    const struct cn_service service = {
        REFERRALS_CONTRACT,
        .subscriptions = REFERRALS_SUBSCRIPTIONS,
        .subscription_count = REFERRALS_SUBSCRIPTION_COUNT,
    };
    const struct contract contract = {
        .service = &service,
        .fill = s_fill,
        .record = s_record,
        .passes = true,
        .excuses = EXCUSES,
        .pages = PAGES,
    };
    return contract_main(&contract);
}
