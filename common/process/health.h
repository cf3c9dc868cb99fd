/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold for this process to be sent work. A part of the program
 * registers a check of its own; the admin port's /readyz and the answer to the
 * bus's pings ask all of them. */
#ifndef CN_HEALTH_H
#define CN_HEALTH_H

#include <stdbool.h>

struct cn_buffer;
struct cn_metrics_page;

enum { CN_HEALTH_CHECKS_MAX = 32 };

enum cn_health_kind {
    CN_HEALTH_NEEDED, /* without it the process is not ready */
    /* Told beside the others: work goes on without it. A service that is away
     * must not take with it those that follow its events. */
    CN_HEALTH_TOLD
};

/* Looks at what is known already: it must neither park nor block. */
typedef bool cn_health_fn(void *arg);

/* Registers a check for the life of the process; cn_health_forget takes back
 * those of one arg. name is kept by pointer. Too many abort. */
void cn_health_register(const char *name,
                        enum cn_health_kind kind,
                        cn_health_fn *holds,
                        void *arg);
void cn_health_forget(const void *arg);
/* Does all that is needed hold? */
bool cn_health_ready(void);
/* {"ready":true,"checks":{"database":true,...}}, in the order of
 * registration. */
void cn_health_write(struct cn_buffer *buffer);
/* The same as metrics: cairn_ready, and cairn_check by name. */
void cn_health_metrics(struct cn_metrics_page *page);

#endif
