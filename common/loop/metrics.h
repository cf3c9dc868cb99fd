/* SPDX-License-Identifier: Apache-2.0 */
/* What this process counts, as the text of Prometheus (exposition format
 * 0.0.4), served by the admin port.
 *
 * Each part of the program counts in a struct of its own and registers a
 * function that writes the present values when they are asked for. Names are
 * cairn_<part>_<what>_<unit>, counters end in _total; labels have few values
 * and never an id, a tenant or anything of a patient. */
#ifndef CN_METRICS_H
#define CN_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cn_buffer;

enum cn_metric_kind { CN_METRIC_COUNTER, CN_METRIC_GAUGE };

enum {
    CN_METRICS_SOURCES_MAX = 64,
    CN_COUNTERS_MAX = 64,
    CN_HISTOGRAM_BUCKETS = 14 /* 0.5 ms to 10 s, and beyond */
};

/* One metric under one name, for all its labels. */
struct cn_metric {
    const char *name; /* "cairn_bus_requests_total" */
    const char *help;
    enum cn_metric_kind kind;
};

/* Durations; add with cn_histogram_add. Zeroed is empty. */
struct cn_histogram {
    uint64_t buckets[CN_HISTOGRAM_BUCKETS + 1];
    uint64_t count;
    int64_t sum_us;
};

struct cn_metrics_page; /* being written */

/* Writes values by cn_metrics_value and cn_metrics_histogram. Must not park. */
typedef void cn_metrics_fn(void *arg, struct cn_metrics_page *page);

/* Registers a source for the life of the process, or until cn_metrics_forget
 * where arg does not live so long. Too many abort. */
void cn_metrics_register(cn_metrics_fn *tell, void *arg);
void cn_metrics_forget(const void *arg);
/* One value. labels is "producer=\"referrals\",partition=\"3\"" or "". A source
 * writes the values of one metric one after the other. */
void cn_metrics_value(struct cn_metrics_page *page,
                      const struct cn_metric *metric,
                      const char *labels,
                      double value);
/* Buckets, sum and count of a metric in seconds. */
void cn_metrics_histogram(struct cn_metrics_page *page,
                          const char *name,
                          const char *help,
                          const char *labels,
                          const struct cn_histogram *histogram);
/* A counter of this metric with these labels, made when it is first asked for
 * and told from then on, for the life of the process: *counter += 1. Labels
 * have few values: one counter more than CN_COUNTERS_MAX aborts. */
uint64_t *cn_counter(const struct cn_metric *metric, const char *labels);
void cn_histogram_add(struct cn_histogram *self, int64_t duration_us);
/* Writes all sources, in the order of their registration, with the values of
 * one metric together. False: no memory. */
bool cn_metrics_write(struct cn_buffer *buffer);

#endif
