/* SPDX-License-Identifier: Apache-2.0 */
/* What every service's main() calls. */
#ifndef CN_SERVICE_H
#define CN_SERVICE_H

#include "common/contract/service.h"

/* config -> log -> db -> bus -> consumers -> loop. Returns main's exit code. */
int cn_service_main(struct cn_service *service, int argc, char **argv);

/* The hook env->committed of a service: hints to the outbox and the ticker. */
void cn_service_committed(struct cn_env *env, bool told, bool due);

#endif
