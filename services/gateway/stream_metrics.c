/* SPDX-License-Identifier: Apache-2.0 */
/* The metrics of the streams. */
#include "services/gateway/stream_internal.h"

#include "common/base/clock.h"
#include "common/loop/metrics.h"

#define COUNTER(name, help)                                                    \
    {                                                                          \
        "cairn_stream_" name "_total", help, CN_METRIC_COUNTER                 \
    }
#define GAUGE(name, help)                                                      \
    {                                                                          \
        "cairn_stream_" name, help, CN_METRIC_GAUGE                            \
    }

/* Age of the oldest event in a ring. */
static int64_t s_age(const struct streams *self)
{
    int64_t now_at = cn_clock_monotonic();
    int64_t oldest_at = now_at;
    for (size_t i = 0; i < STREAM_TENANTS; i++) {
        for (const struct stream_tenant *tenant = self->tenants[i];
             tenant != NULL; tenant = tenant->next) {
            const struct stream_ring *ring = &tenant->ring;
            if (stream_ring_count(ring) > 0) {
                int64_t at = stream_ring_at(ring, ring->front)->added_at;
                oldest_at = at < oldest_at ? at : oldest_at;
            }
        }
    }
    return now_at - oldest_at;
}

static void s_streams_metrics(void *arg, struct cn_metrics_page *page)
{
    static const struct cn_metric OPEN =
        GAUGE("open", "Live streams of events that are open.");
    static const struct cn_metric BYTES =
        GAUGE("ring_bytes", "Memory of the events kept for the streams.");
    static const struct cn_metric AGE = GAUGE(
        "ring_age_seconds", "Age of the oldest event kept for the streams.");
    static const struct cn_metric OPENED =
        COUNTER("opened", "Streams that were opened.");
    static const struct cn_metric RESUMED =
        COUNTER("resumed", "Opened streams that went on from a position.");
    static const struct cn_metric REFUSED =
        COUNTER("refused", "Streams refused because there were too many.");
    static const struct cn_metric EVENTS =
        COUNTER("events", "Events that were sent, once for each stream.");
    static const struct cn_metric RESETS =
        COUNTER("resets", "Readers that were told to begin anew.");
    static const struct cn_metric SWEPT =
        COUNTER("swept", "Streams cut off because their readers were slow.");
    static const struct cn_metric CATCH_UPS =
        COUNTER("catch_ups", "Logs read again for readers that came back.");
    static const struct cn_metric SKIPPED =
        COUNTER("skipped", "Events that could not be shown.");
    const struct streams *self = arg;
    const struct stream_counts *counts = &self->counts;
    cn_metrics_value(page, &OPEN, "", self->count);
    cn_metrics_value(page, &BYTES, "", (double)self->bytes);
    cn_metrics_value(page, &AGE, "", (double)s_age(self) / (double)CN_SECOND);
    cn_metrics_value(page, &OPENED, "", (double)counts->opened);
    cn_metrics_value(page, &RESUMED, "", (double)counts->resumed);
    cn_metrics_value(page, &REFUSED, "", (double)counts->refused);
    cn_metrics_value(page, &EVENTS, "", (double)counts->events);
    cn_metrics_value(page, &RESETS, "", (double)counts->resets);
    cn_metrics_value(page, &SWEPT, "", (double)counts->swept);
    cn_metrics_value(page, &CATCH_UPS, "", (double)counts->catch_ups);
    cn_metrics_value(page, &SKIPPED, "", (double)counts->skipped);
}

void stream_metrics(struct streams *self)
{
    cn_metrics_register(s_streams_metrics, self);
}
