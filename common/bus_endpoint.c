/* SPDX-License-Identifier: Apache-2.0 */
/* How the addresses of services are written. */
#include "common/bus_internal.h"

#include <stdlib.h>
#include <string.h>

/* "access=tcp://...", in place. */
static enum cn_code
s_connect_one(struct cn_bus *self, char *text, struct cn_err *err)
{
    char *equals = strchr(text, '=');

    if (equals == NULL || equals == text || equals[1] == '\0') {
        return cn_fail(err, CN_INVALID,
                       "CAIRN_ENDPOINTS: name=tcp://host:port,... is needed");
    }
    *equals = '\0';
    return cn_bus_connect(self, text, equals + 1, err);
}

enum cn_code
cn_bus_connect_all(struct cn_bus *self, const char *text, struct cn_err *err)
{
    char *copy = strdup(text);
    char *rest = copy;
    enum cn_code rc = CN_OK;

    if (copy == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory for the endpoints");
    }
    while (rc == CN_OK && rest != NULL && rest[0] != '\0') {
        rc = s_connect_one(self, strsep(&rest, ";"), err);
    }
    free(copy);
    return rc;
}
