/* SPDX-License-Identifier: Apache-2.0 */
/* What access shows of itself in a snapshot: agencies and branches. */
#include "cairn/access.resources.h"
#include "common/base/array.h"
#include "services/access/service.h"

const struct cn_provider ACCESS_PROVIDERS[] = {
    { .resource = &acc__agency__resource },
    { .resource = &acc__branch__resource },
};
const size_t ACCESS_PROVIDER_COUNT = CN_COUNT(ACCESS_PROVIDERS);
