/* SPDX-License-Identifier: Apache-2.0 */
/* What an HL7 message says to people and the referral does not keep. Nothing
 * vanishes: each text of the fields that people need stands in the referral,
 * its patient or a warning, and so does each segment that is not read. */
#ifndef REFERRALS_HL7_LEFT_H
#define REFERRALS_HL7_LEFT_H

#include "services/referrals/hl7_value.h"

/* Warns of all that was left, once all else is read. */
void hl7_left_warn(struct hl7_reader *self, Ref__Patient *patient);
/* A warning that shows the segment, without social security numbers. */
void hl7_segment_not_kept(struct hl7_reader *self,
                          const struct cn_hl7_segment *segment,
                          const char *code);

#endif
