/* SPDX-License-Identifier: Apache-2.0 */
/* The checks of this process. */
#include "common/process/health.h"

#include "common/loop/metrics.h"
#include "common/wire/json.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>

enum { LABELS_MAX = 80 };

struct check {
    const char *name;
    enum cn_health_kind kind;
    cn_health_fn *holds;
    void *arg;
};

/* One list: a process is one program with one thread. */
static struct check s_checks[CN_HEALTH_CHECKS_MAX];
static size_t s_check_count;

void cn_health_register(const char *name,
                        enum cn_health_kind kind,
                        cn_health_fn *holds,
                        void *arg)
{
    assert(s_check_count < CN_HEALTH_CHECKS_MAX);
    s_checks[s_check_count++] = (struct check){ name, kind, holds, arg };
}

void cn_health_forget(const void *arg)
{
    size_t kept = 0;
    for (size_t i = 0; i < s_check_count; i++) {
        if (s_checks[i].arg != arg) {
            s_checks[kept++] = s_checks[i];
        }
    }
    s_check_count = kept;
}

bool cn_health_ready(void)
{
    for (size_t i = 0; i < s_check_count; i++) {
        if (s_checks[i].kind == CN_HEALTH_NEEDED &&
            !s_checks[i].holds(s_checks[i].arg)) {
            return false;
        }
    }
    return true;
}

void cn_health_write(struct cn_buffer *buffer)
{
    cn_buffer_puts(buffer, cn_health_ready() ? "{\"ready\":true,\"checks\":{"
                                             : "{\"ready\":false,\"checks\":{");
    for (size_t i = 0; i < s_check_count; i++) {
        cn_buffer_puts(buffer, i > 0 ? "," : "");
        cn_buffer_json_text(buffer, s_checks[i].name);
        cn_buffer_puts(buffer,
                       s_checks[i].holds(s_checks[i].arg) ? ":true" : ":false");
    }
    cn_buffer_puts(buffer, "}}");
}

void cn_health_metrics(struct cn_metrics_page *page)
{
    static const struct cn_metric READY = {
        "cairn_ready", "1 when work may be sent here, as /readyz says.",
        CN_METRIC_GAUGE
    };
    static const struct cn_metric CHECK = {
        "cairn_check", "1 when this check of /readyz?verbose holds.",
        CN_METRIC_GAUGE
    };
    char labels[LABELS_MAX];
    cn_metrics_value(page, &READY, "", cn_health_ready() ? 1 : 0);
    for (size_t i = 0; i < s_check_count; i++) {
        (void)snprintf(labels, sizeof(labels), "check=\"%.60s\"",
                       s_checks[i].name);
        cn_metrics_value(page, &CHECK, labels,
                         s_checks[i].holds(s_checks[i].arg) ? 1 : 0);
    }
}
