/* SPDX-License-Identifier: Apache-2.0 */
/* The metric cairn_hl7_messages_total: messages by type and answer. */
#ifndef REFERRALS_HL7_COUNT_H
#define REFERRALS_HL7_COUNT_H

#include "common/base/env.h"
#include "common/base/err.h"

struct cn_config;

/* The counter of messages of this MSH-9 ("REF^I12...", NULL: none) that were
 * answered so ("AA"). A type that Cairn does not take counts as "other". */
uint64_t *hl7_counter(const char *type, const char *answer);
/* For cn_service.start: the metric tells 0 before the first message. */
enum cn_code hl7_count_start(void *self,
                             struct cn_env *env,
                             const struct cn_config *config,
                             struct cn_err *err);

#endif
