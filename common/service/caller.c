/* SPDX-License-Identifier: Apache-2.0 */
/* The rule of callers. */
#include "common/service/caller.h"

#include "common/bus/bus.h"
#include "common/contract/service.h"

#include <string.h>

/* Of another service a service needs to know what happened and who did it, and
 * nothing else. */
static bool s_is_for_services(const struct cn_method *method)
{
    static const char EVENTS[] = "events.v1.Events/";
    static const char AUDIT[] = "audit.v1.Audit/";
    return method->scope == NULL &&
           (strncmp(method->name, EVENTS, sizeof(EVENTS) - 1) == 0 ||
            strncmp(method->name, AUDIT, sizeof(AUDIT) - 1) == 0);
}

enum cn_code cn_caller_check(const struct cn_bus_request *request,
                             const struct cn_method *method,
                             struct cn_err *err)
{
    if (request->front) {
        return CN_OK;
    }
    if (request->names_principal) {
        return cn_fail(err, CN_FORBIDDEN,
                       "a service speaks in its own name alone");
    }
    return s_is_for_services(method)
               ? CN_OK
               : cn_fail(err, CN_FORBIDDEN, "this method is not for services");
}
