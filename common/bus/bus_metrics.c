/* SPDX-License-Identifier: Apache-2.0 */
/* The metrics of the bus: per service that is called, and in all. */
#include "common/base/array.h"
#include "common/bus/bus_internal.h"
#include "common/loop/metrics.h"

#include <stdio.h>
#include <string.h>

enum { LABELS_MAX = 64 };

/* A number of one service. */
struct gauge {
    struct cn_metric metric;
    unsigned (*of)(const struct bus_service *service);
};

/* A counter of struct cn_bus_stats. Counters of one name stand together. */
struct counter {
    struct cn_metric metric;
    const char *labels;
    size_t at;
};

static unsigned s_replicas(const struct bus_service *service)
{
    return (unsigned)service->replica_count;
}

static unsigned s_up(const struct bus_service *service)
{
    unsigned count = 0;
    for (size_t i = 0; i < service->replica_count; i++) {
        const struct bus_replica *replica = service->replicas[i];
        count += bus_replica_serves(replica) ? 1 : 0;
    }
    return count;
}

static unsigned s_outstanding(const struct bus_service *service)
{
    unsigned count = 0;
    for (size_t i = 0; i < service->replica_count; i++) {
        count += service->replicas[i]->outstanding;
    }
    return count;
}

static unsigned s_calls_waiting(const struct bus_service *service)
{
    return service->waiting;
}

static const struct gauge GAUGES[] = {
    { { "cairn_bus_replicas",
        "Replicas that are known of a service that this process calls.",
        CN_METRIC_GAUGE },
      s_replicas },
    { { "cairn_bus_replicas_up",
        "Replicas of a service that answer and take calls.", CN_METRIC_GAUGE },
      s_up },
    { { "cairn_bus_calls_outstanding",
        "Calls to a service that are not answered yet; long polls are not "
        "counted.",
        CN_METRIC_GAUGE },
      s_outstanding },
    { { "cairn_bus_calls_waiting",
        "Calls to a service that wait because no replica can take them.",
        CN_METRIC_GAUGE },
      s_calls_waiting },
};

#define AT(field) offsetof(struct cn_bus_stats, field)
#define COUNTER(name, help)                                                    \
    {                                                                          \
        (name), (help), CN_METRIC_COUNTER                                      \
    }
#define REFUSED                                                                \
    COUNTER("cairn_bus_refused_total",                                         \
            "Requests of other processes that were not taken, by reason.")
#define UNSENT                                                                 \
    COUNTER("cairn_bus_replies_unsent_total",                                  \
            "Replies that were dropped because the caller was gone or did "    \
            "not read.")

static const struct counter COUNTERS[] = {
    { COUNTER("cairn_bus_requests_total",
              "Requests of other processes that were taken."),
      "", AT(requests) },
    { REFUSED, "reason=\"busy\"", AT(busy) },
    { REFUSED, "reason=\"stale\"", AT(stale) },
    { REFUSED, "reason=\"expired\"", AT(expired) },
    { REFUSED, "reason=\"malformed\"", AT(malformed) },
    { REFUSED, "reason=\"key\"", AT(refused) },
    { UNSENT, "reason=\"vanished\"", AT(vanished) },
    { UNSENT, "reason=\"full\"", AT(full) },
    { COUNTER("cairn_bus_pings_total",
              "Pings of other processes that were answered."),
      "", AT(pings) },
    { COUNTER("cairn_bus_calls_total",
              "Calls sent to other services, repeats included."),
      "", AT(calls) },
    { COUNTER("cairn_bus_repeats_total",
              "Calls that were sent again to another replica."),
      "", AT(repeats) },
    { COUNTER("cairn_bus_late_total",
              "Replies that came after their call had ended."),
      "", AT(late) },
    { COUNTER("cairn_bus_downs_total",
              "Times that a replica was found to be down."),
      "", AT(downs) },
};

void bus_metrics(void *arg, struct cn_metrics_page *page)
{
    static const struct cn_metric SERVING = {
        "cairn_bus_requests_in_flight",
        "Requests of other processes that are being answered now.",
        CN_METRIC_GAUGE
    };
    const struct cn_bus *self = arg;
    char labels[LABELS_MAX];
    for (size_t i = 0; i < CN_COUNT(GAUGES); i++) {
        for (size_t k = 0; k < self->service_count; k++) {
            (void)snprintf(labels, sizeof(labels), "service=\"%s\"",
                           self->services[k]->peer->name);
            cn_metrics_value(page, &GAUGES[i].metric, labels,
                             GAUGES[i].of(self->services[k]));
        }
    }
    cn_metrics_value(page, &SERVING, "", (double)self->stats.serving);
    for (size_t i = 0; i < CN_COUNT(COUNTERS); i++) {
        uint64_t value = 0;
        memcpy(&value, (const char *)&self->stats + COUNTERS[i].at,
               sizeof(value));
        cn_metrics_value(page, &COUNTERS[i].metric, COUNTERS[i].labels,
                         (double)value);
    }
}
