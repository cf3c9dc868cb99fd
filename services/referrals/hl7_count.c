/* SPDX-License-Identifier: Apache-2.0 */
#include "services/referrals/hl7_count.h"

#include "common/base/array.h"
#include "common/loop/metrics.h"

#include <stdio.h>
#include <string.h>

enum { LABELS_MAX = 64 };

static const char TAKEN[] = "REF^I12";
static const char OTHER[] = "other";

uint64_t *hl7_counter(const char *type, const char *answer)
{
    static const struct cn_metric MESSAGES = {
        "cairn_hl7_messages_total",
        "HL7 messages received, by type and answer: AA was taken, AE and AR "
        "were refused and kept.",
        CN_METRIC_COUNTER
    };
    char labels[LABELS_MAX];
    /* A third component, the structure, may follow. */
    bool taken = type != NULL && (strcmp(type, TAKEN) == 0 ||
                                  strncmp(type, "REF^I12^", 8) == 0);
    (void)snprintf(labels, sizeof(labels), "type=\"%s\",answer=\"%.2s\"",
                   taken ? TAKEN : OTHER, answer);
    return cn_counter(&MESSAGES, labels);
}

enum cn_code hl7_count_start(void *self,
                             struct cn_env *env,
                             const struct cn_config *config,
                             struct cn_err *err)
{
    static const char *const ANSWERS[] = { "AA", "AE", "AR" };
    (void)self;
    (void)env;
    (void)config;
    (void)err;
    for (size_t i = 0; i < CN_COUNT(ANSWERS); i++) {
        (void)hl7_counter(TAKEN, ANSWERS[i]);
        (void)hl7_counter(OTHER, ANSWERS[i]);
    }
    return CN_OK;
}
