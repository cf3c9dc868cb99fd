/* SPDX-License-Identifier: Apache-2.0 */
/* The sources of metrics and the text that they make. */
#include "common/loop/metrics.h"

#include "common/base/array.h"
#include "common/wire/json.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum {
    VALUE_TEXT_MAX = 32,
    LABELS_MAX = 256,
    BLOCKS_MAX = 512,
    TOLD_MAX = 4 << 20
};

struct source {
    cn_metrics_fn *tell;
    void *arg;
};

struct cn_metrics_page {
    struct cn_buffer *buffer;
    const char *last; /* name of the metric told before */
};

/* Upper bounds of the buckets, microseconds. */
static const int64_t BOUNDS[CN_HISTOGRAM_BUCKETS] = {
    500,    1000,   2500,   5000,    10000,   25000,   50000,
    100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000
};

struct counter {
    const struct cn_metric *metric;
    char labels[LABELS_MAX];
    uint64_t value;
};

/* One list: a process is one program with one thread. */
static struct source s_sources[CN_METRICS_SOURCES_MAX];
static size_t s_source_count;
static struct counter s_counters[CN_COUNTERS_MAX];
static size_t s_counter_count;

void cn_metrics_register(cn_metrics_fn *tell, void *arg)
{
    assert(s_source_count < CN_METRICS_SOURCES_MAX);
    s_sources[s_source_count++] = (struct source){ tell, arg };
}

void cn_metrics_forget(const void *arg)
{
    size_t kept = 0;
    for (size_t i = 0; i < s_source_count; i++) {
        if (s_sources[i].arg != arg) {
            s_sources[kept++] = s_sources[i];
        }
    }
    s_source_count = kept;
}

/* HELP and TYPE are written once, before all values of a metric. */
static void s_metric_head(struct cn_metrics_page *page,
                          const char *name,
                          const char *help,
                          const char *type)
{
    if (page->last != NULL && strcmp(page->last, name) == 0) {
        return;
    }
    page->last = name;
    const char *const parts[] = { "# HELP ", name, " ",  help, "\n# TYPE ",
                                  name,      " ",  type, "\n" };
    for (size_t i = 0; i < CN_COUNT(parts); i++) {
        cn_buffer_puts(page->buffer, parts[i]);
    }
}

static void s_value_line(struct cn_metrics_page *page,
                         const char *name,
                         const char *suffix,
                         const char *labels,
                         double value)
{
    char text[VALUE_TEXT_MAX];
    const bool braces = labels != NULL && labels[0] != '\0';
    (void)snprintf(text, sizeof(text), " %.17g\n", value);
    cn_buffer_puts(page->buffer, name);
    cn_buffer_puts(page->buffer, suffix);
    if (braces) {
        cn_buffer_puts(page->buffer, "{");
        cn_buffer_puts(page->buffer, labels);
        cn_buffer_puts(page->buffer, "}");
    }
    cn_buffer_puts(page->buffer, text);
}

void cn_metrics_value(struct cn_metrics_page *page,
                      const struct cn_metric *metric,
                      const char *labels,
                      double value)
{
    s_metric_head(page, metric->name, metric->help,
                  metric->kind == CN_METRIC_COUNTER ? "counter" : "gauge");
    s_value_line(page, metric->name, "", labels, value);
}

uint64_t *cn_counter(const struct cn_metric *metric, const char *labels)
{
    size_t i = 0;
    while (i < s_counter_count && (s_counters[i].metric != metric ||
                                   strcmp(s_counters[i].labels, labels) != 0)) {
        i++;
    }
    if (i == s_counter_count) {
        assert(i < CN_COUNTERS_MAX && strlen(labels) < LABELS_MAX);
        s_counters[i].metric = metric;
        (void)snprintf(s_counters[i].labels, LABELS_MAX, "%s", labels);
        s_counter_count++;
    }
    return &s_counters[i].value;
}

void cn_histogram_add(struct cn_histogram *self, int64_t duration_us)
{
    size_t i = 0;
    while (i < CN_HISTOGRAM_BUCKETS && duration_us > BOUNDS[i]) {
        i++;
    }
    self->buckets[i]++;
    self->count++;
    self->sum_us += duration_us;
}

void cn_metrics_histogram(struct cn_metrics_page *page,
                          const char *name,
                          const char *help,
                          const char *labels,
                          const struct cn_histogram *histogram)
{
    uint64_t below = 0;
    const char *comma = labels != NULL && labels[0] != '\0' ? "," : "";
    char with[LABELS_MAX + VALUE_TEXT_MAX];
    s_metric_head(page, name, help, "histogram");
    for (size_t i = 0; i <= CN_HISTOGRAM_BUCKETS; i++) {
        char bound[VALUE_TEXT_MAX] = "+Inf";
        if (i < CN_HISTOGRAM_BUCKETS) {
            (void)snprintf(bound, sizeof(bound), "%g",
                           (double)BOUNDS[i] / 1000000.0);
        }
        below += histogram->buckets[i];
        (void)snprintf(with, sizeof(with), "%s%sle=\"%s\"",
                       labels != NULL ? labels : "", comma, bound);
        s_value_line(page, name, "_bucket", with, (double)below);
    }
    s_value_line(page, name, "_sum", labels,
                 (double)histogram->sum_us / 1000000.0);
    s_value_line(page, name, "_count", labels, (double)histogram->count);
}

/* ---- the page ---- */

static const char HELP[] = "# HELP ";

/* What one source writes of one metric, from its HELP line on. */
struct block {
    const char *from;
    const char *to;
    bool told;
};

static size_t s_blocks_cut(const char *text, struct block blocks[BLOCKS_MAX])
{
    size_t count = 0;
    while (*text != '\0' && count < BLOCKS_MAX) {
        const char *next = strstr(text, "\n# HELP ");
        const char *to = next == NULL ? text + strlen(text) : next + 1;
        blocks[count++] = (struct block){ text, to, false };
        text = to;
    }
    return count;
}

static bool s_block_same(const struct block *a, const struct block *b)
{
    const char *name = a->from + sizeof(HELP) - 1;
    const char *other = b->from + sizeof(HELP) - 1;
    size_t size = strcspn(name, " ");
    return strncmp(name, other, size) == 0 && other[size] == ' ';
}

/* Past the lines of HELP and TYPE. */
static const char *s_values(const struct block *block)
{
    const char *type = strchr(block->from, '\n') + 1;
    return strchr(type, '\n') + 1;
}

/* Several sources may write the same metric, as two followers do, but the
 * format wants all values of a metric together. */
static void s_gather(const char *text, struct cn_buffer *buffer)
{
    struct block blocks[BLOCKS_MAX];
    size_t count = s_blocks_cut(text, blocks);
    for (size_t i = 0; i < count; i++) {
        if (blocks[i].told) {
            continue;
        }
        cn_buffer_add(buffer, blocks[i].from,
                      (size_t)(blocks[i].to - blocks[i].from));
        for (size_t k = i + 1; k < count; k++) {
            if (!blocks[k].told && s_block_same(&blocks[i], &blocks[k])) {
                const char *values = s_values(&blocks[k]);
                cn_buffer_add(buffer, values, (size_t)(blocks[k].to - values));
                blocks[k].told = true;
            }
        }
    }
}

bool cn_metrics_write(struct cn_buffer *buffer)
{
    struct cn_buffer told;
    struct cn_metrics_page page = { .buffer = &told };
    cn_buffer_init(&told, TOLD_MAX);
    for (size_t i = 0; i < s_source_count; i++) {
        s_sources[i].tell(s_sources[i].arg, &page);
    }
    for (size_t i = 0; i < s_counter_count; i++) {
        const struct counter *counter = &s_counters[i];
        cn_metrics_value(&page, counter->metric, counter->labels,
                         (double)counter->value);
    }
    cn_buffer_add(&told, "", 1);
    if (told.failed) {
        buffer->failed = true;
    } else {
        s_gather(told.data, buffer);
    }
    cn_buffer_done(&told);
    return !buffer->failed;
}
