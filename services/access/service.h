/* SPDX-License-Identifier: Apache-2.0 */
/* What the handlers of access share. */
#ifndef ACCESS_SERVICE_H
#define ACCESS_SERVICE_H

#include "common/contract/service.h"
#include "common/outbox/snapshot.h"

struct access_service {
    /* SHA-256 of the platform operator's key; the key itself is not kept. */
    uint8_t platform_key_hash[32];
};

#endif
