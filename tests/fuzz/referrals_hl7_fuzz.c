/* SPDX-License-Identifier: Apache-2.0 */
/* Reads any bytes as an HL7 v2 message, makes a referral of it and an
 * acknowledgement. What was made of it can be sent as JSON. */
#include "cairn/referrals.cairn.h"
#include "common/base/arena.h"
#include "common/hl7/hl7.h"
#include "common/wire/json.h"
#include "services/referrals/hl7_referral.h"

#include <stdlib.h>

enum { ARENA_SIZE = 8 << 20, JSON_MAX = 4 << 20 };
static const int64_t NOW_AT = 1795342800000000; /* 2026-11-22 */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void s_json_takes(struct cn_arena *arena,
                         Ref__Referral *referral,
                         Ref__Patient *patient)
{
    Ref__Referral back = REF__REFERRAL__INIT;
    struct cn_json_mask mask = { 0 };
    struct cn_err err = { 0 };
    struct cn_buffer json;
    cn_buffer_init(&json, JSON_MAX);
    referral->patient = patient;
    cn_json_write(&json, &ref__referral__shape, &referral->base);
    if (cn_json_read(arena, &ref__referral__shape, json.data, json.size,
                     &back.base, &mask, &err) == CN_INVALID) {
        abort();
    }
    cn_buffer_done(&json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(ARENA_SIZE);
    if (arena == NULL) {
        return 0;
    }
    struct cn_hl7 message;
    struct cn_hl7_fault fault = { 0 };
    struct cn_err err = { 0 };
    Ref__Referral *referral = NULL;
    Ref__Patient *patient = NULL;
    struct cn_bytes text =
        cn_hl7_normalise(arena, (struct cn_bytes){ data, size });
    enum cn_code rc = cn_hl7_parse(arena, text, NULL, &message, &fault, &err);
    if (rc == CN_OK) {
        rc = hl7_referral_read(&message, "America/Chicago", NOW_AT, &referral,
                               &patient, &fault, &err);
    }
    if (rc == CN_NOMEM) {
        return 0;
    }
    if (rc == CN_OK) {
        s_json_takes(arena, referral, patient);
    }
    struct cn_hl7_ack ack = { .code = rc == CN_OK ? "AA" : fault.ack,
                              .control_id = "FUZZ",
                              .at = NOW_AT,
                              .fault = rc == CN_OK ? NULL : &fault };
    struct cn_bytes answer = cn_hl7_ack_write(&message, &ack);
    /* The acknowledgement must be readable. */
    struct cn_hl7 back;
    if (answer.data != NULL &&
        cn_hl7_parse(arena, cn_hl7_normalise(arena, answer), NULL, &back,
                     &fault, &err) != CN_OK) {
        abort();
    }
    return 0;
}
