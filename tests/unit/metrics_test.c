/* SPDX-License-Identifier: Apache-2.0 */
/* The text that Prometheus reads, and the health behind /readyz. */
#include "common/loop/metrics.h"
#include "common/process/health.h"
#include "common/wire/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct cn_metric COUNT = { "cairn_test_total", "Counted.",
                                        CN_METRIC_COUNTER };
static const struct cn_metric LEVEL = { "cairn_test_level", "Measured.",
                                        CN_METRIC_GAUGE };

/* The page of metrics as it is now; the caller frees it. */
static void s_text(struct cn_buffer *buffer)
{
    cn_buffer_init(buffer, 1 << 20);
    assert_true(cn_metrics_write(buffer));
    cn_buffer_add(buffer, "", 1);
    assert_false(buffer->failed);
}

static void s_tell(void *arg, struct cn_metrics_page *page)
{
    cn_metrics_value(page, &COUNT, arg, 3);
    cn_metrics_value(page, &LEVEL, arg, 0.5);
}

static void two_sources_of_one_metric_stand_together(void **state)
{
    struct cn_buffer buffer;
    char a[] = "of=\"a\"";
    char b[] = "of=\"b\"";
    (void)state;
    cn_metrics_register(s_tell, a);
    cn_metrics_register(s_tell, b);
    s_text(&buffer);
    assert_string_equal(buffer.data, "# HELP cairn_test_total Counted.\n"
                                     "# TYPE cairn_test_total counter\n"
                                     "cairn_test_total{of=\"a\"} 3\n"
                                     "cairn_test_total{of=\"b\"} 3\n"
                                     "# HELP cairn_test_level Measured.\n"
                                     "# TYPE cairn_test_level gauge\n"
                                     "cairn_test_level{of=\"a\"} 0.5\n"
                                     "cairn_test_level{of=\"b\"} 0.5\n");
    cn_buffer_done(&buffer);
    cn_metrics_forget(a);
    cn_metrics_forget(b);
    s_text(&buffer);
    assert_string_equal(buffer.data, "");
    cn_buffer_done(&buffer);
}

static void a_counter_is_told_from_when_it_is_asked_for(void **state)
{
    static const struct cn_metric COUNTED = { "cairn_test_counted_total",
                                              "Counted by two words.",
                                              CN_METRIC_COUNTER };
    struct cn_buffer buffer;
    (void)state;
    uint64_t *one = cn_counter(&COUNTED, "of=\"a\"");
    (void)cn_counter(&COUNTED, "of=\"b\"");
    *one += 2;
    assert_ptr_equal(cn_counter(&COUNTED, "of=\"a\""), one);
    s_text(&buffer);
    assert_string_equal(buffer.data,
                        "# HELP cairn_test_counted_total Counted by two "
                        "words.\n"
                        "# TYPE cairn_test_counted_total counter\n"
                        "cairn_test_counted_total{of=\"a\"} 2\n"
                        "cairn_test_counted_total{of=\"b\"} 0\n");
    cn_buffer_done(&buffer);
}

static void s_tell_durations(void *arg, struct cn_metrics_page *page)
{
    cn_metrics_histogram(page, "cairn_test_seconds", "Took.", "", arg);
}

static void a_histogram_counts_each_duration_once(void **state)
{
    struct cn_histogram durations = { 0 };
    struct cn_buffer buffer;
    (void)state;
    cn_histogram_add(&durations, 500);
    cn_histogram_add(&durations, 501);
    cn_histogram_add(&durations, 3600000000);
    cn_metrics_register(s_tell_durations, &durations);
    s_text(&buffer);
    assert_non_null(strstr(buffer.data, "_bucket{le=\"0.0005\"} 1\n"));
    assert_non_null(strstr(buffer.data, "_bucket{le=\"0.001\"} 2\n"));
    assert_non_null(strstr(buffer.data, "_bucket{le=\"10\"} 2\n"));
    assert_non_null(strstr(buffer.data, "_bucket{le=\"+Inf\"} 3\n"));
    assert_non_null(strstr(buffer.data, "cairn_test_seconds_count 3\n"));
    cn_buffer_done(&buffer);
    cn_metrics_forget(&durations);
}

static bool s_holds(void *arg)
{
    return *(const bool *)arg;
}

static void only_what_is_needed_decides(void **state)
{
    struct cn_buffer buffer;
    bool needed = true;
    bool told = false;
    (void)state;
    assert_true(cn_health_ready());
    cn_health_register("needed", CN_HEALTH_NEEDED, s_holds, &needed);
    cn_health_register("told", CN_HEALTH_TOLD, s_holds, &told);
    assert_true(cn_health_ready());
    needed = false;
    assert_false(cn_health_ready());
    cn_buffer_init(&buffer, 4096);
    cn_health_write(&buffer);
    cn_buffer_add(&buffer, "", 1);
    assert_string_equal(buffer.data, "{\"ready\":false,\"checks\":{"
                                     "\"needed\":false,\"told\":false}}");
    cn_buffer_done(&buffer);
    cn_health_forget(&needed);
    cn_health_forget(&told);
    assert_true(cn_health_ready());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_sources_of_one_metric_stand_together),
        cmocka_unit_test(a_histogram_counts_each_duration_once),
        cmocka_unit_test(only_what_is_needed_decides),
        /* Last: its counters stay. */
        cmocka_unit_test(a_counter_is_told_from_when_it_is_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
