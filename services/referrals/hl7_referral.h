/* SPDX-License-Identifier: Apache-2.0 */
/* REF^I12 (patient referral) as a referral and a patient. Field numbers are
 * those of HL7 v2.8. Nothing is guessed: what the message does not say stays
 * absent and is then named in `missing`. */
#ifndef REFERRALS_HL7_REFERRAL_H
#define REFERRALS_HL7_REFERRAL_H

#include "cairn/referrals.pb-c.h"
#include "services/referrals/hl7.h"

/* Is its MSH-9 a referral that is taken? */
bool hl7_is_referral(const struct hl7 *message);

/* What the message says, in the message's arena:
 * source        PRD with role RP (PRD-10, 2, 5), external id RF1-6
 * physician     PRD RP; whether they agree to sign is not known
 * diagnoses     DG1-3;  payer IN1-4, 15, 36;  needs RF1-14, RF1-24
 * disciplines   RF1-3 where it names one (Skn, RN, PT, OT, SLP, MSW, AIDE)
 * patient       PID-3, 5, 7, 8, 11, 13, 14, 15, contacts NK1
 * sent_*        MSH-7, RF1-7, RF1-8, RF1-9 as they were sent
 * zone (of the branch) and now_at tell whether RF1-8 has passed: warning
 * expired_on_arrival. A text longer than its field holds is shortened, with the
 * warning text_shortened. CN_INVALID with *ret_fault for what must not be
 * missing or long: PID (AE 100), RF1-6. */
CN_CHECKED enum cn_code hl7_referral_read(const struct hl7 *message,
                                          const char *zone,
                                          int64_t now_at,
                                          Ref__Referral **ret_referral,
                                          Ref__Patient **ret_patient,
                                          struct hl7_fault *ret_fault,
                                          struct cn_err *err);

#endif
