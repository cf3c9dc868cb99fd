/* SPDX-License-Identifier: Apache-2.0 */
/* The main of every service: the parts in their order, and their end. */
#include "common/service.h"

#include "common/bus.h"
#include "common/clock.h"
#include "common/db.h"
#include "common/dispatch.h"
#include "common/fiber.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/outbox.h"
#include "common/retention.h"
#include "common/seal.h"

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
    BOOT_BUDGET_US = 30000000,
    CONNECTIONS_MAX = 16,
    EPOCH_MAX = 1000000,
    TEXT_MAX = 64
};

static const struct cn_option COMMON_OPTIONS[] = {
    { "CAIRN_BIND", CN_OPTION_TEXT, NULL, 0, 0,
      "Where the bus listens: tcp://host:port." },
    { "CAIRN_BUS_KEY", CN_OPTION_SECRET, NULL, 0, 0,
      "Secret CURVE key of this service (Z85)." },
    { "CAIRN_BUS_PEERS", CN_OPTION_TEXT, NULL, 0, 0,
      "Public keys of the services that may connect: name=key,..." },
    { "CAIRN_FRONTS", CN_OPTION_TEXT, "gateway", 0, 0,
      "Peers that speak for clients: name,..." },
    { "CAIRN_ENDPOINTS", CN_OPTION_TEXT, "", 0, 0,
      "Replicas of the services followed: name=tcp://host:port,...;name=..." },
    { "CAIRN_DB", CN_OPTION_TEXT, NULL, 0, 0,
      "PostgreSQL conninfo: host, port, dbname; no user, no password." },
    { "CAIRN_DB_APP_PASSWORD", CN_OPTION_SECRET, "", 0, 0,
      "Password of the role <service>_app." },
    { "CAIRN_DB_RELAY_PASSWORD", CN_OPTION_SECRET, "", 0, 0,
      "Password of the role <service>_relay." },
    { "CAIRN_DB_READERS", CN_OPTION_NUMBER, "2", 1, CONNECTIONS_MAX,
      "Connections for reads." },
    { "CAIRN_DB_WRITERS", CN_OPTION_NUMBER, "2", 1, CONNECTIONS_MAX,
      "Connections for writes." },
    { "CAIRN_DB_RELAYS", CN_OPTION_NUMBER, "2", 1, CONNECTIONS_MAX,
      "Connections for events and due work." },
    { "CAIRN_SEAL_KEY", CN_OPTION_SECRET, NULL, 0, 0,
      "Master keys, <id>:<64 hex digits> a line; the first one seals." },
    { "CAIRN_EPOCH", CN_OPTION_NUMBER, "1", 1, EPOCH_MAX,
      "Epoch of the log; raised after a restore." },
    { "CAIRN_LOG_LEVEL", CN_OPTION_TEXT, "info", 0, 0,
      "debug, info, warn or error." },
};

enum { COMMON_COUNT = sizeof(COMMON_OPTIONS) / sizeof(COMMON_OPTIONS[0]) };

struct runtime {
    struct cn_service *service;
    struct cn_option *options; /* the common ones and the service's */
    struct cn_config *config;
    struct cn_env env;
    struct cn_dispatch *dispatch;
    int64_t started_at; /* monotonic */
    bool failed;
};

/* No core file and no debugger: memory holds keys and patient data.
 * LeakSanitizer attaches to its own process and needs to be let. */
static void s_harden(void)
{
    const struct rlimit none = { 0, 0 };

    (void)setrlimit(RLIMIT_CORE, &none);
    if (!UNDER_SANITIZER) {
        (void)prctl(PR_SET_DUMPABLE, 0);
    }
}

static bool
s_config_read(struct runtime *self, int argc, char **argv, bool *ret_done)
{
    const struct cn_service *service = self->service;
    size_t count = COMMON_COUNT + service->option_count;
    char program[TEXT_MAX];

    self->options = calloc(count, sizeof(*self->options));
    if (self->options == NULL) {
        return false;
    }
    memcpy(self->options, COMMON_OPTIONS, sizeof(COMMON_OPTIONS));
    if (service->option_count > 0) {
        memcpy(self->options + COMMON_COUNT, service->options,
               service->option_count * sizeof(*self->options));
    }
    (void)snprintf(program, sizeof(program), "cairn-%s", service->name);
    self->config =
        cn_config_read(program, self->options, count, argc, argv, ret_done);
    return self->config != NULL;
}

static enum cn_code s_log_start(struct runtime *self, struct cn_err *err)
{
    static const char *const levels[] = { "debug", "info", "warn", "error" };
    const char *wanted = cn_config_text(self->config, "CAIRN_LOG_LEVEL");

    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        if (strcmp(levels[i], wanted) == 0) {
            cn_log_init(self->service->name, (enum cn_log_level)i);
            return CN_OK;
        }
    }
    cn_log_init(self->service->name, CN_LOG_INFO);
    return cn_fail(err, CN_INVALID, "CAIRN_LOG_LEVEL: no such level");
}

/* ---- the parts ---- */

static enum cn_code s_db_start(struct runtime *self, struct cn_err *err)
{
    const struct cn_config *config = self->config;
    const char *app_password = cn_config_text(config, "CAIRN_DB_APP_PASSWORD");
    const char *relay_password =
        cn_config_text(config, "CAIRN_DB_RELAY_PASSWORD");
    char app[TEXT_MAX];
    char relay[TEXT_MAX];

    (void)snprintf(app, sizeof(app), "%s_app", self->service->name);
    (void)snprintf(relay, sizeof(relay), "%s_relay", self->service->name);
    app_password = app_password[0] == '\0' ? NULL : app_password;
    relay_password = relay_password[0] == '\0' ? NULL : relay_password;

    struct cn_db_config db = {
        .conninfo = cn_config_text(config, "CAIRN_DB"),
        .schema = self->service->name,
        .epoch = (int)cn_config_number(config, "CAIRN_EPOCH"),
    };
    db.lanes[CN_LANE_READ].user = app;
    db.lanes[CN_LANE_READ].password = app_password;
    db.lanes[CN_LANE_READ].connections =
        (unsigned)cn_config_number(config, "CAIRN_DB_READERS");
    db.lanes[CN_LANE_WRITE].user = app;
    db.lanes[CN_LANE_WRITE].password = app_password;
    db.lanes[CN_LANE_WRITE].connections =
        (unsigned)cn_config_number(config, "CAIRN_DB_WRITERS");
    db.lanes[CN_LANE_RELAY].user = relay;
    db.lanes[CN_LANE_RELAY].password = relay_password;
    db.lanes[CN_LANE_RELAY].connections =
        (unsigned)cn_config_number(config, "CAIRN_DB_RELAYS");

    self->env.db = cn_db_new(&self->env, &db);
    if (self->env.db == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory");
    }
    enum cn_code rc = cn_db_start(self->env.db, err);
    return rc == CN_OK ? CN_OK : cn_wrap(err, "database");
}

static bool s_healthy(void *arg)
{
    const struct runtime *self = arg;

    return cn_db_healthy(self->env.db);
}

static enum cn_code s_bus_start(struct runtime *self, struct cn_err *err)
{
    const struct cn_config *config = self->config;
    const struct cn_bus_config bus = {
        .name = self->service->name,
        .secret_key = cn_config_text(config, "CAIRN_BUS_KEY"),
        .bind = cn_config_text(config, "CAIRN_BIND"),
        .peers = cn_config_text(config, "CAIRN_BUS_PEERS"),
        .fronts = cn_config_text(config, "CAIRN_FRONTS"),
    };

    enum cn_code rc = cn_bus_new(&self->env, &bus, &self->env.bus, err);
    if (rc == CN_OK) {
        cn_bus_set_health(self->env.bus, s_healthy, self);
        rc = cn_bus_connect_all(self->env.bus,
                                cn_config_text(config, "CAIRN_ENDPOINTS"), err);
    }
    return rc == CN_OK ? CN_OK : cn_wrap(err, "bus");
}

static enum cn_code s_start(struct runtime *self, struct cn_err *err)
{
    struct cn_service *service = self->service;

    enum cn_code rc = s_db_start(self, err);
    if (rc != CN_OK) {
        return rc;
    }
    self->env.outbox = cn_outbox_start(
        &self->env, service, (int)cn_config_number(self->config, "CAIRN_EPOCH"),
        err);
    if (self->env.outbox == NULL) {
        return err->code;
    }
    rc = s_bus_start(self, err);
    if (rc == CN_OK && service->start != NULL) {
        rc = service->start(service->self, &self->env, self->config, err);
    }
    if (rc == CN_OK) {
        rc = cn_consumers_start(&self->env, service, err);
    }
    if (rc == CN_OK) {
        rc = cn_due_start(&self->env, service, err);
    }
    if (rc == CN_OK) {
        rc = cn_retention_start(&self->env, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    cn_bus_serve(self->env.bus, cn_dispatch_request, self->dispatch);
    return CN_OK;
}

/* The first fiber: what it starts may wait for the database. */
static void s_boot(void *arg)
{
    struct runtime *self = arg;
    struct cn_err err = { 0 };

    enum cn_code rc = s_start(self, &err);
    if (rc == CN_OK) {
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

/* What needs neither the loop's turns nor the database. */
static enum cn_code s_prepare(struct runtime *self, struct cn_err *err)
{
    enum cn_code rc = s_log_start(self, err);

    if (rc != CN_OK) {
        return rc;
    }
    self->env = cn_env_real();
    self->env.loop = cn_loop_new();
    if (self->env.loop == NULL) {
        return cn_fail(err, CN_NOMEM, "no loop");
    }
    /* Before the bus makes its threads: they inherit the signal mask. */
    rc = cn_loop_stop_on_signals(self->env.loop, err);
    if (rc != CN_OK) {
        return rc;
    }
    self->env.seal =
        cn_seal_new(cn_config_text(self->config, "CAIRN_SEAL_KEY"), err);
    if (self->env.seal == NULL) {
        return cn_wrap(err, "CAIRN_SEAL_KEY");
    }
    self->dispatch =
        cn_dispatch_new(&self->env, self->service,
                        cn_config_text(self->config, "CAIRN_FRONTS"));
    if (self->dispatch == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory");
    }
    return cn_fiber_spawn(self->env.loop, s_boot, self,
                          cn_clock_monotonic() + BOOT_BUDGET_US, err);
}

/* A fiber that did not end may still hold any of these. */
static void s_free(struct runtime *self)
{
    struct cn_loop *loop = self->env.loop;

    if (loop != NULL && cn_fiber_count(loop) > 0) {
        return;
    }
    cn_bus_free(self->env.bus);
    cn_dispatch_free(self->dispatch);
    cn_outbox_free(self->env.outbox);
    cn_db_free(self->env.db);
    cn_seal_free(self->env.seal);
    cn_loop_free(loop);
    cn_config_free(self->config);
}

int cn_service_main(struct cn_service *service, int argc, char **argv)
{
    struct runtime self = { .service = service,
                            .started_at = cn_clock_monotonic() };
    struct cn_err err = { 0 };
    bool done = false;

    s_harden();
    bool right = s_config_read(&self, argc, argv, &done);
    if (!right || done) {
        s_free(&self);
        free(self.options);
        return right ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    enum cn_code rc = s_prepare(&self, &err);
    if (rc == CN_OK) {
        cn_loop_run(self.env.loop, GRACE_US);
    } else {
        cn_log(CN_LOG_ERROR, "start: %s: %s", cn_code_word(rc), err.msg);
        self.failed = true;
    }
    if (!self.failed) {
        cn_log(CN_LOG_INFO, "stopped");
    }
    s_free(&self);
    free(self.options);
    return self.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
