/* SPDX-License-Identifier: Apache-2.0 */
/* What scheduling shows of itself in a snapshot. A visit is shown without its
 * clinician's name, which the clinician's row tells. */
#include "common/base/array.h"
#include "services/scheduling/events.h"
#include "services/scheduling/store.h"

const struct cn_provider SCHEDULING_PROVIDERS[] = {
    { .resource = &sch__clinician__resource },
    { .resource = &sch__visit__resource },
};
const size_t SCHEDULING_PROVIDER_COUNT = CN_COUNT(SCHEDULING_PROVIDERS);
