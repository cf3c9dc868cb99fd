/* SPDX-License-Identifier: Apache-2.0 */
/* What the consumers tell of themselves: metrics, and gaps in the numbers of
 * an aggregate's events. */
#include "common/inbox/consumer_internal.h"

#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/loop/metrics.h"

#include <stdio.h>
#include <string.h>

enum { LABELS_MAX = 128 };

/* ---- gaps ---- */

/* An aggregate's events are numbered without gaps, so a missing number is a
 * lost event. Looked for among the aggregates that were seen last, while their
 * partition stays with this replica: that costs no row and no statement, and
 * whatever lost events by the way (a position, a horizon, a deletion) would
 * show where something happens to an aggregate twice in a short time. */
void consumer_gap_look(struct partition *partition, const struct entry *entry)
{
    struct consumer *self = partition->consumer;
    uint32_t place = 0;
    /* The end of a UUIDv7 is random. */
    memcpy(&place, &entry->aggregate_id.bytes[12], sizeof(place));
    struct seen *seen = &self->seen[place % CONSUMER_SEEN_MAX];
    const int64_t number = entry->event->aggregate_seq;
    if (seen->generation == partition->generation &&
        seen->partition == partition->number &&
        cn_uuid_equal(seen->aggregate_id, entry->aggregate_id) &&
        cn_uuid_equal(seen->tenant_id, entry->tenant_id) &&
        number > seen->aggregate_seq + 1) {
        char id[CN_UUID_TEXT_SIZE];
        cn_uuid_format(entry->aggregate_id, id);
        self->counts.gaps++;
        cn_log(CN_LOG_ERROR,
               "gap in the events of %s: %s %s goes from %lld to %lld",
               self->subscription->producer, entry->event->aggregate_type, id,
               (long long)seen->aggregate_seq, (long long)number);
    }
    *seen = (struct seen){ .aggregate_id = entry->aggregate_id,
                           .tenant_id = entry->tenant_id,
                           .partition = partition->number,
                           .generation = partition->generation,
                           .aggregate_seq = number };
}

/* ---- metrics ---- */

static void s_consumer_counter(const struct consumers *all,
                               struct cn_metrics_page *page,
                               const struct cn_metric *metric,
                               size_t offset)
{
    char labels[LABELS_MAX];
    for (size_t i = 0; i < all->count; i++) {
        const struct consumer *self = &all->items[i];
        uint64_t value = 0;
        memcpy(&value, (const char *)&self->counts + offset, sizeof(value));
        (void)snprintf(labels, sizeof(labels), "producer=\"%s\"",
                       self->subscription->producer);
        cn_metrics_value(page, metric, labels, (double)value);
    }
}

/* Age of the oldest event that came and is not applied, seconds; 0: none. */
static double s_lag(const struct partition *self)
{
    const struct chunk *chunk = self->first;
    struct cn_env *env = self->consumer->env;
    if (chunk == NULL || chunk->first == chunk->count) {
        return 0;
    }
    int64_t at = chunk->entries[chunk->first].event->occurred_at;
    int64_t us = env->now(env) - at;
    return us > 0 ? (double)us / CN_SECOND : 0;
}

/* Age of the instant before which all is applied; it grows while the producer
 * cannot be asked, too. */
static double s_complete_age(const struct partition *self)
{
    struct cn_env *env = self->consumer->env;
    return (double)(env->now(env) - self->complete_at) / CN_SECOND;
}

static double s_queued(const struct partition *self)
{
    return (double)self->queued;
}

static double s_attempts(const struct partition *self)
{
    return (double)self->attempts;
}

static bool s_is_known(const struct partition *self)
{
    return self->known;
}

static bool s_is_complete(const struct partition *self)
{
    return self->known && self->complete_at > 0;
}

/* Of the partitions that are ours. */
static void s_partition_gauge(const struct consumers *all,
                              struct cn_metrics_page *page,
                              const struct cn_metric *metric,
                              bool (*has)(const struct partition *self),
                              double (*value)(const struct partition *self))
{
    char labels[LABELS_MAX];
    for (size_t i = 0; i < all->count; i++) {
        const struct consumer *self = &all->items[i];
        for (int n = 0; n < CN_PARTITIONS; n++) {
            const struct partition *partition = &self->partitions[n];
            if (consumer_held(partition) && has(partition)) {
                (void)snprintf(labels, sizeof(labels),
                               "producer=\"%s\",partition=\"%d\"",
                               self->subscription->producer, n);
                cn_metrics_value(page, metric, labels, value(partition));
            }
        }
    }
}

static void s_leases(const struct consumers *all, struct cn_metrics_page *page)
{
    static const struct cn_metric LEASES = {
        "cairn_events_leases",
        "Parts of the log (partitions) that this replica works on.",
        CN_METRIC_GAUGE
    };
    char labels[LABELS_MAX];
    for (size_t i = 0; i < all->count; i++) {
        (void)snprintf(labels, sizeof(labels), "producer=\"%s\"",
                       all->items[i].subscription->producer);
        cn_metrics_value(page, &LEASES, labels,
                         cn_leases_count(all->leases, i));
    }
}

static void s_rebuilds(const struct consumers *all,
                       struct cn_metrics_page *page)
{
    static const struct cn_metric OPEN = {
        "cairn_rebuild_open",
        "1 while copies of another service's facts are made again.",
        CN_METRIC_GAUGE
    };
    static const struct cn_metric LOADED = {
        "cairn_rebuild_rows_loaded_total",
        "Rows of snapshots loaded by this replica.", CN_METRIC_COUNTER
    };
    static const struct cn_metric FAILED = {
        "cairn_rebuild_rows_failed_total",
        "Rows of snapshots that could not be loaded and were given up.",
        CN_METRIC_COUNTER
    };
    char labels[LABELS_MAX];
    for (size_t i = 0; i < all->count; i++) {
        (void)snprintf(labels, sizeof(labels), "producer=\"%s\"",
                       all->items[i].subscription->producer);
        cn_metrics_value(page, &OPEN, labels, all->items[i].rebuild_open);
    }
    s_consumer_counter(all, page, &LOADED,
                       offsetof(struct consumer_counts, rebuild_loaded));
    s_consumer_counter(all, page, &FAILED,
                       offsetof(struct consumer_counts, rebuild_failed));
}

#define COUNTER(field, text)                                                   \
    {                                                                          \
        { "cairn_events_" #field "_total", text, CN_METRIC_COUNTER },          \
            offsetof(struct consumer_counts, field)                            \
    }

void consumers_tell_metrics(void *arg, struct cn_metrics_page *page)
{
    static const struct {
        struct cn_metric metric;
        size_t offset;
    } COUNTERS[] = {
        COUNTER(copies, "Events whose facts were copied."),
        COUNTER(effects, "Events that were acted on."),
        COUNTER(skipped, "Events of types that this service does not handle."),
        COUNTER(dead_letters,
                "Events set aside after their last failed attempt."),
        COUNTER(failures, "Attempts to apply an event that failed."),
        COUNTER(fallbacks,
                "Batches of copies that failed and were applied one by one."),
        COUNTER(moved, "Events that another replica had applied meanwhile."),
        COUNTER(
            gaps,
            "Events found missing between two events of one record: a fault."),
    };
    static const struct cn_metric LAG = {
        "cairn_events_lag_seconds",
        "Age of the oldest event that has come and is not applied yet.",
        CN_METRIC_GAUGE
    };
    static const struct cn_metric AGE = {
        "cairn_events_complete_age_seconds",
        "Age of the moment up to which all events are applied.", CN_METRIC_GAUGE
    };
    static const struct cn_metric QUEUED = {
        "cairn_events_queued", "Events that have come and are not applied yet.",
        CN_METRIC_GAUGE
    };
    static const struct cn_metric ATTEMPTS = {
        "cairn_events_attempts", "Attempts so far to apply the next event.",
        CN_METRIC_GAUGE
    };
    const struct consumers *all = arg;
    for (size_t i = 0; i < CN_COUNT(COUNTERS); i++) {
        s_consumer_counter(all, page, &COUNTERS[i].metric, COUNTERS[i].offset);
    }
    s_leases(all, page);
    s_rebuilds(all, page);
    s_partition_gauge(all, page, &LAG, s_is_known, s_lag);
    s_partition_gauge(all, page, &AGE, s_is_complete, s_complete_age);
    s_partition_gauge(all, page, &QUEUED, s_is_known, s_queued);
    s_partition_gauge(all, page, &ATTEMPTS, s_is_known, s_attempts);
}
