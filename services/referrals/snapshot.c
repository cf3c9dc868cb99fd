/* SPDX-License-Identifier: Apache-2.0 */
/* What referrals shows of itself in a snapshot. */
#include "common/base/array.h"
#include "services/referrals/events.h"
#include "services/referrals/store.h"

const struct cn_provider REFERRALS_PROVIDERS[] = {
    { .resource = &ref__patient__resource },
    { .resource = &ref__referral__resource },
};
const size_t REFERRALS_PROVIDER_COUNT = CN_COUNT(REFERRALS_PROVIDERS);
