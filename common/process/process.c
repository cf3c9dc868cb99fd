/* SPDX-License-Identifier: Apache-2.0 */
/* From main to the loop and back. */
#include "common/process/process.h"

#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/bus/bus.h"
#include "common/loop/fiber.h"
#include "common/loop/loop.h"
#include "common/process/admin.h"
#include "common/process/health.h"
#include "common/process/setting.h"
#include "common/process/vitals.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_SANITIZER 1
#endif
#endif
#ifndef UNDER_SANITIZER
#define UNDER_SANITIZER 0
#endif

enum {
    GRACE_US = 20000000, /* for what is in flight at a stop */
    /* Long: where a whole machine starts at once, to end and start again makes
     * it slower still. */
    BOOT_BUDGET_US = 120000000,
    NOTICE_MAX_MS = 60000,
    PROGRAM_MAX = 64
};

static const char ADMIN[] = "CAIRN_ADMIN";

static const struct cn_option COMMON_OPTIONS[] = {
    { .name = "CAIRN_BUS_KEY",
      .kind = CN_OPTION_SECRET,
      .check = cn_setting_bus_key,
      .what = "Secret CURVE key of this process (Z85)." },
    /* A secret only so that it may come from a file: Z85 has characters that
     * shells and compose expand. */
    { .name = "CAIRN_BUS_PEERS",
      .kind = CN_OPTION_SECRET,
      .check = cn_setting_peers,
      .what = "Public keys of the processes on the bus: name=key,..." },
    { .name = "CAIRN_ENDPOINTS",
      .fallback = "",
      .check = cn_setting_endpoints,
      .what = "Replicas of the services that this process calls: "
              "name=tcp://host:port,...;name=..." },
    { .name = ADMIN,
      .fallback = "",
      .check = cn_setting_address_or_none,
      .what = "Where health and metrics are served: host:port. Empty: they "
              "are not served." },
    { .name = "CAIRN_DRAIN_DELAY_MS",
      .kind = CN_OPTION_NUMBER,
      .fallback = "0",
      .max = NOTICE_MAX_MS,
      .what = "How long the process still serves after SIGTERM. /readyz "
              "already says not ready, so that load balancers turn away "
              "first." },
    { .name = "CAIRN_LOG_LEVEL",
      .fallback = "info",
      .check = cn_setting_level,
      .what = "debug, info, warn or error." },
};

/* Of processes that others call. */
static const struct cn_option SERVER_OPTIONS[] = {
    { .name = "CAIRN_BIND",
      .check = cn_setting_endpoint,
      .what = "Where the bus listens: tcp://host:port." },
    { .name = "CAIRN_FRONTS",
      .fallback = "gateway",
      .check = cn_setting_names,
      .what = "Peers that may speak for clients: name,..." },
};

enum {
    COMMON_COUNT = CN_COUNT(COMMON_OPTIONS),
    SERVER_COUNT = CN_COUNT(SERVER_OPTIONS)
};

struct runtime {
    const struct cn_process *process;
    struct cn_option *options;
    size_t option_count;
    struct cn_config *config;
    struct cn_env env;
    struct cn_admin *admin;
    int64_t started_at; /* monotonic */
    bool started;
    bool failed;
};

/* The build sets it; a test is linked without it. */
extern const char cn_version[] __attribute__((weak));

static const char *s_build_version(void)
{
    return cn_version != NULL ? cn_version : "unknown";
}

/* ---- settings ---- */

/* No core file and no debugger: memory holds keys and patient data. Under a
 * sanitizer the process stays dumpable: LeakSanitizer attaches to it. */
static void s_harden(void)
{
    const struct rlimit none = { 0, 0 };
    (void)setrlimit(RLIMIT_CORE, &none);
    if (!UNDER_SANITIZER) {
        (void)prctl(PR_SET_DUMPABLE, 0);
    }
}

static void
s_options_add(struct runtime *self, const struct cn_option *list, size_t count)
{
    if (count > 0) {
        memcpy(self->options + self->option_count, list, count * sizeof(*list));
        self->option_count += count;
    }
}

static bool s_options_gather(struct runtime *self)
{
    const struct cn_process *process = self->process;
    size_t count = COMMON_COUNT + SERVER_COUNT;
    for (size_t i = 0; i < CN_PROCESS_OPTION_LISTS; i++) {
        count += process->lists[i].count;
    }
    self->options = calloc(count, sizeof(*self->options));
    if (self->options == NULL) {
        return false;
    }
    if (process->serves) {
        s_options_add(self, SERVER_OPTIONS, SERVER_COUNT);
    }
    s_options_add(self, COMMON_OPTIONS, COMMON_COUNT);
    for (size_t i = 0; i < CN_PROCESS_OPTION_LISTS; i++) {
        s_options_add(self, process->lists[i].options, process->lists[i].count);
    }
    return true;
}

static bool
s_config_read(struct runtime *self, int argc, char **argv, bool *ret_done)
{
    char program[PROGRAM_MAX];
    if (!s_options_gather(self)) {
        return false;
    }
    (void)snprintf(program, sizeof(program), "cairn-%s", self->process->name);
    self->config = cn_config_read(program, self->options, self->option_count,
                                  argc, argv, ret_done);
    return self->config != NULL;
}

static void s_log_start(struct runtime *self)
{
    enum cn_log_level level = CN_LOG_INFO;
    /* cn_setting_level has checked the word. */
    (void)!cn_log_level_read(cn_config_text(self->config, "CAIRN_LOG_LEVEL"),
                             &level);
    cn_log_init(self->process->name, level);
}

/* ---- the parts ---- */

static bool s_running(void *arg)
{
    const struct runtime *self = arg;
    return self->started && !cn_loop_leaving(self->env.loop);
}

static bool s_healthy(void *arg)
{
    (void)arg;
    return cn_health_ready();
}

static enum cn_code s_bus_start(struct runtime *self, struct cn_err *err)
{
    const struct cn_config *config = self->config;
    bool serves = self->process->serves;
    const struct cn_bus_config bus = {
        .name = self->process->name,
        .secret_key = cn_config_text(config, "CAIRN_BUS_KEY"),
        .bind = serves ? cn_config_text(config, "CAIRN_BIND") : NULL,
        .peers = cn_config_text(config, "CAIRN_BUS_PEERS"),
        .fronts = serves ? cn_config_text(config, "CAIRN_FRONTS") : NULL,
    };
    enum cn_code rc = cn_bus_new(&self->env, &bus, &self->env.bus, err);
    if (rc == CN_OK) {
        cn_bus_set_health(self->env.bus, s_healthy, self);
        rc = cn_bus_connect_all(self->env.bus,
                                cn_config_text(config, "CAIRN_ENDPOINTS"), err);
    }
    return rc == CN_OK ? CN_OK : cn_wrap(err, "bus");
}

static enum cn_code s_admin_start(struct runtime *self, struct cn_err *err)
{
    const char *listen = cn_config_text(self->config, ADMIN);
    if (listen[0] == '\0') {
        return CN_OK;
    }
    enum cn_code rc = cn_admin_new(&self->env, listen, &self->admin, err);
    return rc == CN_OK ? CN_OK : cn_wrap(err, ADMIN);
}

/* Runs in the first fiber, because a start may wait for the database. */
static void s_boot(void *arg)
{
    struct runtime *self = arg;
    const struct cn_process *process = self->process;
    struct cn_err err = { 0 };
    enum cn_code rc =
        process->start(process->self, &self->env, self->config, &err);
    if (rc == CN_OK) {
        self->started = true;
        cn_log(CN_LOG_INFO, "ready in %lld ms",
               (long long)(cn_clock_monotonic() - self->started_at) / 1000);
        return;
    }
    if (!cn_loop_stopping(self->env.loop)) {
        cn_log(CN_LOG_ERROR, "start: %s: %s", cn_code_word(rc), err.msg);
        self->failed = true;
        cn_loop_stop(self->env.loop);
    }
}

/* The part of the start that needs no turn of the loop. */
static enum cn_code s_runtime_prepare(struct runtime *self, struct cn_err *err)
{
    s_log_start(self);
    self->env = cn_env_real();
    self->env.loop = cn_loop_new();
    if (self->env.loop == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory for the loop");
    }
    /* Before the bus makes its threads: they inherit the signal mask. */
    enum cn_code rc = cn_loop_stop_on_signals(self->env.loop, err);
    if (rc != CN_OK) {
        return rc;
    }
    cn_loop_set_notice(
        self->env.loop,
        1000 * cn_config_number(self->config, "CAIRN_DRAIN_DELAY_MS"));
    cn_health_register("running", CN_HEALTH_NEEDED, s_running, self);
    cn_vitals_start(&self->env, self->process->name, s_build_version());
    rc = s_bus_start(self, err);
    if (rc == CN_OK) {
        rc = s_admin_start(self, err);
    }
    if (rc == CN_OK) {
        rc = cn_fiber_spawn(self->env.loop, s_boot, self,
                            cn_clock_monotonic() + BOOT_BUDGET_US, err);
    }
    return rc;
}

/* Frees nothing while a fiber has not ended: it may use any of this. */
static void s_runtime_free(struct runtime *self)
{
    struct cn_loop *loop = self->env.loop;
    free(self->options);
    if (loop != NULL && cn_fiber_count(loop) > 0) {
        return;
    }
    if (self->config != NULL) {
        self->process->done(self->process->self);
    }
    cn_admin_free(self->admin);
    cn_bus_free(self->env.bus);
    cn_loop_free(loop);
    cn_config_free(self->config);
}

/* ---- the main ---- */

static bool s_flag(int argc, char **argv, const char *flag)
{
    return argc == 2 && strcmp(argv[1], flag) == 0;
}

/* Reads no other setting: it runs often, beside the process. */
static int s_healthcheck(const struct cn_process *process)
{
    /* There is no other thread yet. NOLINTNEXTLINE(concurrency-mt-unsafe) */
    const char *listen = getenv(ADMIN);
    if (listen == NULL || listen[0] == '\0') {
        (void)fprintf(stderr, "cairn-%s: %s is not set: nothing to ask\n",
                      process->name, ADMIN);
        return EXIT_FAILURE;
    }
    return cn_admin_ask(listen) ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int s_version_tell(const struct cn_process *process)
{
    (void)printf("cairn-%s %s\n", process->name, s_build_version());
    return EXIT_SUCCESS;
}

int cn_process_main(const struct cn_process *process, int argc, char **argv)
{
    struct runtime self = { .process = process,
                            .started_at = cn_clock_monotonic() };
    struct cn_err err = { 0 };
    bool done = false;
    if (s_flag(argc, argv, "--version")) {
        return s_version_tell(process);
    }
    if (s_flag(argc, argv, "--healthcheck")) {
        return s_healthcheck(process);
    }
    s_harden();
    bool right = s_config_read(&self, argc, argv, &done);
    if (!right || done) {
        s_runtime_free(&self);
        return right ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    enum cn_code rc = s_runtime_prepare(&self, &err);
    if (rc == CN_OK) {
        cn_loop_run(self.env.loop, GRACE_US);
    } else {
        cn_log(CN_LOG_ERROR, "start: %s: %s", cn_code_word(rc), err.msg);
        self.failed = true;
    }
    if (!self.failed) {
        cn_log(CN_LOG_INFO, "stopped");
    }
    s_runtime_free(&self);
    return self.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
