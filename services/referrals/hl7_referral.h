/* SPDX-License-Identifier: Apache-2.0 */
/* REF^I12 (patient referral) as a referral and a patient. Field numbers are
 * those of HL7 v2.8. Nothing is guessed: a field that the message does not fill
 * stays absent, and the referral's list of missing items names it. Nothing
 * vanishes: what a field that is read holds and cannot be kept is a warning
 * (warning.h). */
#ifndef REFERRALS_HL7_REFERRAL_H
#define REFERRALS_HL7_REFERRAL_H

#include "cairn/referrals.pb-c.h"
#include "common/hl7/hl7.h"

/* Is its MSH-9 REF^I12? */
bool hl7_is_referral(const struct cn_hl7 *message);

/* What the message says, in the message's arena:
 * source        PRD with role RP (PRD-10, 2, 5, 13), external id RF1-6
 * physician     PRD RP (PRD-2, 5, 7); whether they agree to sign is not known
 * diagnoses     DG1-3, DG1-4
 * payer         the first IN1 by IN1-22, else by IN1-1: IN1-4, 2, 15, 36, 49
 * needs         RF1-10, 14, 24, NTE-3, OBR-13, OBR-31
 * disciplines   RF1-3 where it names one
 * discharge     PV1-45
 * patient       PID-3 (else PID-2, PID-4), 5, 7, 8, 11, 13, 14, 40, 15;
 *               contacts NK1-2, 3, 5, 6, 40
 * sent_*        MSH-7, RF1-7, RF1-8, RF1-9 as they were sent
 * Warnings, beside those of hl7_value.h: expired_on_arrival when at now_at, in
 * the branch's zone, the day of RF1-8 has passed; patient_deceased (PID-29,
 * PID-30); text_replaced; line_joined.
 * CN_INVALID with *ret_fault when PID is missing, or PID or RF1 stands there
 * twice (AE 100), or RF1-6 is too long (AE 104). CN_NOMEM when the arena has
 * failed. */
CN_CHECKED enum cn_code hl7_referral_read(const struct cn_hl7 *message,
                                          const char *zone,
                                          int64_t now_at,
                                          Ref__Referral **ret_referral,
                                          Ref__Patient **ret_patient,
                                          struct cn_hl7_fault *ret_fault,
                                          struct cn_err *err);

#endif
