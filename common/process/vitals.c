/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics of the process. Those that every program has keep the names of
 * Prometheus's client libraries. */
#include "common/process/vitals.h"

#include "common/base/clock.h"
#include "common/loop/fiber.h"
#include "common/loop/loop.h"
#include "common/loop/metrics.h"
#include "common/process/health.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { LABELS_MAX = 160, STATM_MAX = 128 };

static struct {
    const struct cn_env *env;
    const char *name;
    const char *version;
    int64_t started_at; /* wall clock */
} s_self;

static void s_vital_gauge(struct cn_metrics_page *page,
                          const char *name,
                          const char *help,
                          double value)
{
    const struct cn_metric metric = { name, help, CN_METRIC_GAUGE };
    cn_metrics_value(page, &metric, "", value);
}

static void s_vital_counter(struct cn_metrics_page *page,
                            const char *name,
                            const char *help,
                            double value)
{
    const struct cn_metric metric = { name, help, CN_METRIC_COUNTER };
    cn_metrics_value(page, &metric, "", value);
}

/* ---- what the kernel knows ---- */

/* Virtual and resident memory in bytes. */
static bool s_memory(double *ret_virtual, double *ret_resident)
{
    char text[STATM_MAX] = { 0 };
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t size = read(fd, text, sizeof(text) - 1);
    (void)close(fd);
    if (size <= 0) {
        return false;
    }
    char *rest = NULL;
    unsigned long all = strtoul(text, &rest, 10);
    unsigned long resident = strtoul(rest, NULL, 10);
    double page = (double)sysconf(_SC_PAGESIZE);
    *ret_virtual = (double)all * page;
    *ret_resident = (double)resident * page;
    return true;
}

static double s_open_files(void)
{
    DIR *folder = opendir("/proc/self/fd");
    double count = -3; /* ".", ".." and the folder itself */
    if (folder == NULL) {
        return 0;
    }
    /* No other thread has this folder. NOLINTNEXTLINE(concurrency-mt-unsafe) */
    while (readdir(folder) != NULL) {
        count++;
    }
    (void)closedir(folder);
    return count;
}

static double s_seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / (double)CN_SECOND;
}

static void s_process(struct cn_metrics_page *page)
{
    struct rusage used;
    struct rlimit files;
    double all = 0;
    double resident = 0;
    if (getrusage(RUSAGE_SELF, &used) == 0) {
        s_vital_counter(page, "process_cpu_seconds_total",
                        "Processor time that the process has used.",
                        s_seconds(used.ru_utime) + s_seconds(used.ru_stime));
    }
    if (s_memory(&all, &resident)) {
        s_vital_gauge(page, "process_virtual_memory_bytes",
                      "Virtual memory of the process.", all);
        s_vital_gauge(page, "process_resident_memory_bytes",
                      "Memory that the process really has (resident).",
                      resident);
    }
    s_vital_gauge(page, "process_open_fds",
                  "Files and connections that are open.", s_open_files());
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        s_vital_gauge(page, "process_max_fds",
                      "Files and connections that may be open at most.",
                      (double)files.rlim_cur);
    }
    s_vital_gauge(page, "process_start_time_seconds",
                  "When the process started, in seconds since 1970.",
                  (double)s_self.started_at / (double)CN_SECOND);
}

static void s_vitals_metrics(void *arg, struct cn_metrics_page *page)
{
    const struct cn_loop *loop = s_self.env->loop;
    char labels[LABELS_MAX];
    (void)arg;
    static const struct cn_metric BUILD = { "cairn_build_info",
                                            "Always 1; the labels say what "
                                            "runs here.",
                                            CN_METRIC_GAUGE };
    (void)snprintf(labels, sizeof(labels),
                   "process=\"%.60s\",version=\"%.60s\"", s_self.name,
                   s_self.version);
    cn_metrics_value(page, &BUILD, labels, 1);
    cn_health_metrics(page);
    s_process(page);
    cn_metrics_histogram(
        page, "cairn_loop_turn_duration_seconds",
        "How long a turn of the event loop took; all else waits "
        "meanwhile.",
        "", cn_loop_turns(loop));
    s_vital_gauge(page, "cairn_fibers",
                  "Pieces of work (fibers) that are under way.",
                  (double)cn_fiber_count(loop));
    s_vital_gauge(page, "cairn_fibers_limit",
                  "Pieces of work (fibers) that may be under way at most.",
                  CN_FIBERS_MAX);
}

void cn_vitals_start(const struct cn_env *env,
                     const char *name,
                     const char *version)
{
    s_self.env = env;
    s_self.name = name;
    s_self.version = version;
    s_self.started_at = cn_clock_real();
    cn_metrics_register(s_vitals_metrics, &s_self);
}
