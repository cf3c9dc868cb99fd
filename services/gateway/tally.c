/* SPDX-License-Identifier: Apache-2.0 */
/* Counters by route and status, and their page of metrics. */
#include "services/gateway/tally.h"

#include "common/loop/metrics.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    STATUSES_MAX = 24, /* of one route; further ones count as the last */
    LABELS_MAX = 192
};

struct line {
    struct {
        unsigned status;
        uint64_t count;
    } statuses[STATUSES_MAX];
    struct cn_histogram duration;
};

struct tally {
    const struct cn_route *routes;
    size_t count;
    const struct cn_http *http;
    struct line lines[]; /* by route; the last: requests without a route */
};

static const struct cn_metric REQUESTS = {
    "cairn_http_requests_total",
    "Requests answered, by route, method and status.", CN_METRIC_COUNTER
};
static const struct cn_metric CONNECTIONS = {
    "cairn_http_connections", "Connections of clients that are open.",
    CN_METRIC_GAUGE
};
static const struct cn_metric IN_FLIGHT = {
    "cairn_http_requests_in_flight", "Requests that are being answered now.",
    CN_METRIC_GAUGE
};

static void
s_labels(const struct tally *self, size_t index, char labels[LABELS_MAX])
{
    static const char *const VERBS[] = { [CN_GET] = "GET",
                                         [CN_POST] = "POST",
                                         [CN_PUT] = "PUT",
                                         [CN_PATCH] = "PATCH",
                                         [CN_DELETE] = "DELETE" };
    if (index == self->count) {
        (void)snprintf(labels, LABELS_MAX, "route=\"none\",method=\"any\"");
        return;
    }
    (void)snprintf(labels, LABELS_MAX, "route=\"%s\",method=\"%s\"",
                   self->routes[index].path, VERBS[self->routes[index].verb]);
}

static void s_requests(const struct tally *self, struct cn_metrics_page *page)
{
    char labels[LABELS_MAX];
    char with[LABELS_MAX + 32];
    for (size_t i = 0; i <= self->count; i++) {
        const struct line *line = &self->lines[i];
        s_labels(self, i, labels);
        for (size_t s = 0; s < STATUSES_MAX && line->statuses[s].count > 0;
             s++) {
            (void)snprintf(with, sizeof(with), "%s,status=\"%u\"", labels,
                           line->statuses[s].status);
            cn_metrics_value(page, &REQUESTS, with,
                             (double)line->statuses[s].count);
        }
    }
}

static void s_tally_metrics(void *arg, struct cn_metrics_page *page)
{
    const struct tally *self = arg;
    char labels[LABELS_MAX];
    s_requests(self, page);
    for (size_t i = 0; i <= self->count; i++) {
        if (self->lines[i].duration.count > 0) {
            s_labels(self, i, labels);
            cn_metrics_histogram(
                page, "cairn_http_request_duration_seconds",
                "How long requests took, from their last byte to the answer.",
                labels, &self->lines[i].duration);
        }
    }
    if (self->http != NULL) {
        cn_metrics_value(page, &CONNECTIONS, "",
                         cn_http_connections(self->http));
        cn_metrics_value(page, &IN_FLIGHT, "", cn_http_in_flight(self->http));
    }
}

struct tally *tally_new(const struct cn_route *routes, size_t count)
{
    struct tally *self =
        calloc(1, sizeof(*self) + (count + 1) * sizeof(self->lines[0]));
    if (self == NULL) {
        return NULL;
    }
    self->routes = routes;
    self->count = count;
    cn_metrics_register(s_tally_metrics, self);
    return self;
}

void tally_free(struct tally *self)
{
    if (self != NULL) {
        cn_metrics_forget(self);
        free(self);
    }
}

void tally_watch(struct tally *self, const struct cn_http *http)
{
    self->http = http;
}

void tally_add(struct tally *self,
               const struct cn_route *route,
               unsigned status,
               int64_t duration_us)
{
    struct line *line =
        &self->lines[route == NULL ? self->count
                                   : (size_t)(route - self->routes)];
    size_t s = 0;
    while (s < STATUSES_MAX - 1 && line->statuses[s].count > 0 &&
           line->statuses[s].status != status) {
        s++;
    }
    line->statuses[s].status = status;
    line->statuses[s].count++;
    cn_histogram_add(&line->duration, duration_us);
}
