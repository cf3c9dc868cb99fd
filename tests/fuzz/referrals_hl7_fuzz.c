/* SPDX-License-Identifier: Apache-2.0 */
/* Reads any bytes as an HL7 v2 message, makes a referral of it and an
 * acknowledgement. */
#include "common/base/arena.h"
#include "common/hl7/hl7.h"
#include "services/referrals/hl7_referral.h"

#include <stdlib.h>

enum { ARENA_SIZE = 8 << 20 };
static const int64_t NOW_AT = 1795342800000000; /* 2026-11-22 */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
    struct cn_hl7_ack ack = { .code = rc == CN_OK ? "AA" : fault.ack,
                              .control_id = "FUZZ",
                              .at = NOW_AT,
                              .fault = rc == CN_OK ? NULL : &fault };
    struct cn_bytes answer = cn_hl7_ack_write(&message, &ack);
    /* The acknowledgement must be readable. */
    struct cn_hl7 back;
    if (answer.data != NULL &&
        cn_hl7_parse(arena, cn_hl7_normalise(arena, answer), &back, &fault,
                     &err) != CN_OK) {
        abort();
    }
    return 0;
}
