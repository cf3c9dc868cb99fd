/* SPDX-License-Identifier: Apache-2.0 */
/* The metrics of the lanes. */
#include "common/base/array.h"
#include "common/db/db_internal.h"

#include <stdio.h>

enum { LABELS_MAX = 64 };

static const char *const END_WORDS[END_COUNT] = {
    [END_COMMITTED] = "committed", [END_ABORTED] = "aborted",
    [END_UNKNOWN] = "unknown",     [END_LATE] = "late",
    [END_REFUSED] = "refused",
};

static double s_connections(const struct lane *lane)
{
    return lane->count;
}

static double s_links_ready(const struct lane *lane)
{
    return lane->ready;
}

static double s_in_use(const struct lane *lane)
{
    unsigned used = 0;
    for (unsigned i = 0; i < lane->count; i++) {
        used += lane->connections[i].in_flight > 0 ? 1 : 0;
    }
    return used;
}

static double s_in_flight(const struct lane *lane)
{
    unsigned units = 0;
    for (unsigned i = 0; i < lane->count; i++) {
        units += lane->connections[i].in_flight;
    }
    return units;
}

static double s_units_waiting(const struct lane *lane)
{
    return (double)lane->waiting;
}

static double s_losses(const struct lane *lane)
{
    return (double)lane->losses;
}

static const struct {
    struct cn_metric metric;
    double (*value)(const struct lane *lane);
} VALUES[] = {
    { { "cairn_db_connections",
        "Connections to PostgreSQL that a lane may have.", CN_METRIC_GAUGE },
      s_connections },
    { { "cairn_db_connections_ready",
        "Connections to PostgreSQL that can be used.", CN_METRIC_GAUGE },
      s_links_ready },
    { { "cairn_db_connections_in_use",
        "Connections to PostgreSQL with statements under way.",
        CN_METRIC_GAUGE },
      s_in_use },
    { { "cairn_db_units_in_flight",
        "Units of statements that PostgreSQL has not answered yet.",
        CN_METRIC_GAUGE },
      s_in_flight },
    { { "cairn_db_units_waiting",
        "Units of statements that wait for a connection.", CN_METRIC_GAUGE },
      s_units_waiting },
    { { "cairn_db_connection_losses_total",
        "Connections to PostgreSQL that broke or could not be made.",
        CN_METRIC_COUNTER },
      s_losses },
};

void cn_db_metrics(void *arg, struct cn_metrics_page *page)
{
    static const struct cn_metric UNITS = {
        "cairn_db_units_total",
        "Units of statements sent to PostgreSQL, by how they ended.",
        CN_METRIC_COUNTER
    };
    const struct cn_db *self = arg;
    char labels[LABELS_MAX];
    for (size_t i = 0; i < CN_COUNT(VALUES); i++) {
        for (size_t l = 0; l < CN_LANE_COUNT; l++) {
            (void)snprintf(labels, sizeof(labels), "lane=\"%s\"",
                           cn_lane_names[l]);
            cn_metrics_value(page, &VALUES[i].metric, labels,
                             VALUES[i].value(&self->lanes[l]));
        }
    }
    for (size_t l = 0; l < CN_LANE_COUNT; l++) {
        for (size_t end = 0; end < END_COUNT; end++) {
            (void)snprintf(labels, sizeof(labels), "lane=\"%s\",outcome=\"%s\"",
                           cn_lane_names[l], END_WORDS[end]);
            cn_metrics_value(page, &UNITS, labels,
                             (double)self->lanes[l].ends[end]);
        }
    }
    for (size_t l = 0; l < CN_LANE_COUNT; l++) {
        (void)snprintf(labels, sizeof(labels), "lane=\"%s\"", cn_lane_names[l]);
        cn_metrics_histogram(
            page, "cairn_db_unit_duration_seconds",
            "How long a unit of statements took, its wait for a "
            "connection included.",
            labels, &self->lanes[l].durations);
    }
}
