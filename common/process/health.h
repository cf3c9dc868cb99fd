/* SPDX-License-Identifier: Apache-2.0 */
/* Checks that must hold before this process is sent work. Each part of the
 * program registers its own; the admin port's /readyz and the answer to a ping
 * of the bus ask all of them. */
#ifndef CN_HEALTH_H
#define CN_HEALTH_H

#include <stdbool.h>

struct cn_buffer;
struct cn_metrics_page;

enum { CN_HEALTH_CHECKS_MAX = 32 };

enum cn_health_kind {
    CN_HEALTH_NEEDED, /* without it the process is not ready */
    /* Only shown beside the others: a service that is away must not make those
     * that follow its events unready. */
    CN_HEALTH_TOLD
};

/* Looks only at what is known already: it must neither park nor block. */
typedef bool cn_health_fn(void *arg);

/* Registers a check for the life of the process, or until cn_health_forget of
 * its arg. name is kept by pointer. Too many abort. */
void cn_health_register(const char *name,
                        enum cn_health_kind kind,
                        cn_health_fn *holds,
                        void *arg);
void cn_health_forget(const void *arg);
/* Do all checks of CN_HEALTH_NEEDED hold? */
bool cn_health_ready(void);
/* {"ready":true,"checks":{"database":true,...}}, in the order of
 * registration. */
void cn_health_write(struct cn_buffer *buffer);
/* The same as metrics: cairn_ready, and cairn_check by name. */
void cn_health_metrics(struct cn_metrics_page *page);

#endif
