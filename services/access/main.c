/* SPDX-License-Identifier: Apache-2.0 */
/* cairn-access: identity of agencies, branches, users and keys. */
#include "cairn/access.cairn.h"
#include "cairn/access.handlers.h"
#include "common/service/service.h"
#include "common/wire/seal.h"
#include "services/access/audit_follow.h"
#include "services/access/service.h"

#include <string.h>

static struct access_service s_access;

static const struct cn_option OPTIONS[] = {
    { .name = "CAIRN_PLATFORM_KEY",
      .kind = CN_OPTION_SECRET,
      .what = "Key of the platform's operator, who makes agencies." },
};

static enum cn_code s_access_start(void *self,
                                   struct cn_env *env,
                                   const struct cn_config *config,
                                   struct cn_err *err)
{
    struct access_service *access = self;
    const char *key = cn_config_text(config, "CAIRN_PLATFORM_KEY");
    cn_sha256((struct cn_bytes){ (const uint8_t *)key, strlen(key) },
              access->platform_key_hash);
    return audit_follow_start(env, "access",
                              cn_config_text(config, "CAIRN_ENDPOINTS"), err);
}

int main(int argc, char **argv)
{
    struct cn_service service = {
        .name = "access",
        .methods = access_methods,
        .method_count = access_method_count,
        .events = access_events,
        .event_count = access_event_count,
        .resources = access_resources,
        CN_ROWS(option, OPTIONS),
        .start = s_access_start,
        .self = &s_access,
    };
    return cn_service_main(&service, argc, argv);
}
