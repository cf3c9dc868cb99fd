/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of every service in their order, and their end. */
#include "common/service/service.h"

#include "common/audit/audit_seal.h"
#include "common/base/array.h"
#include "common/bus/bus.h"
#include "common/db/db.h"
#include "common/deadlines/deadline_watch.h"
#include "common/deadlines/due.h"
#include "common/inbox/consumer.h"
#include "common/inbox/dead_letter.h"
#include "common/outbox/outbox.h"
#include "common/process/health.h"
#include "common/process/process.h"
#include "common/service/describe.h"
#include "common/service/dispatch.h"
#include "common/service/retention.h"
#include "common/service/watchdog.h"
#include "common/wire/seal.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    CONNECTIONS_MAX = 16,
    EPOCH_MAX = 1000000,
    LOG_KEEP_DAYS_MAX = 3650,
    ROLE_MAX = 64
};

static const char *s_seal_key(const char *text)
{
    struct cn_err err = { 0 };
    struct cn_seal *seal = cn_seal_new(text, &err);
    const char *wrong = seal != NULL ? NULL
                                     : "must be <id>:<64 hex digits>, a line "
                                       "for each key";
    cn_seal_free(seal);
    return wrong;
}

static const char *s_folder_or_none(const char *text)
{
    return text[0] == '\0' || access(text, W_OK | X_OK) == 0
               ? NULL
               : "must be a folder that can be written to";
}

/* Of every service, besides those of every process. */
static const struct cn_option OPTIONS[] = {
    { .name = "CAIRN_DB",
      .check = cn_db_conninfo_check,
      .what = "PostgreSQL conninfo: host, port, dbname; no user, no "
              "password." },
    { .name = "CAIRN_DB_APP_PASSWORD",
      .kind = CN_OPTION_SECRET,
      .fallback = "",
      .what = "Password of the role <service>_app." },
    { .name = "CAIRN_DB_RELAY_PASSWORD",
      .kind = CN_OPTION_SECRET,
      .fallback = "",
      .what = "Password of the role <service>_relay." },
    { .name = "CAIRN_DB_READERS",
      .kind = CN_OPTION_NUMBER,
      .fallback = "2",
      .min = 1,
      .max = CONNECTIONS_MAX,
      .what = "Connections for reads." },
    { .name = "CAIRN_DB_WRITERS",
      .kind = CN_OPTION_NUMBER,
      .fallback = "2",
      .min = 1,
      .max = CONNECTIONS_MAX,
      .what = "Connections for writes." },
    { .name = "CAIRN_DB_RELAYS",
      .kind = CN_OPTION_NUMBER,
      .fallback = "2",
      .min = 1,
      .max = CONNECTIONS_MAX,
      .what = "Connections for events and due work." },
    { .name = "CAIRN_DB_SLOWS",
      .kind = CN_OPTION_NUMBER,
      .fallback = "1",
      .min = 1,
      .max = CONNECTIONS_MAX,
      .what = "Connections for exports and other long reads, one at a time on "
              "each." },
    { .name = "CAIRN_SEAL_KEY",
      .kind = CN_OPTION_SECRET,
      .check = s_seal_key,
      .what = "Master keys, <id>:<64 hex digits> a line; the first one "
              "seals." },
    { .name = "CAIRN_EPOCH",
      .kind = CN_OPTION_NUMBER,
      .fallback = "1",
      .min = 1,
      .max = EPOCH_MAX,
      .what = "Epoch of the log; raised after a restore." },
    { .name = "CAIRN_LOG_KEEP_DAYS",
      .kind = CN_OPTION_NUMBER,
      .fallback = "30",
      .min = 1,
      .max = LOG_KEEP_DAYS_MAX,
      .what = "Days that an event can be read again after all consumers have "
              "passed it." },
    { .name = "CAIRN_AUDIT_KEY",
      .kind = CN_OPTION_SECRET,
      .fallback = "",
      .what = "Secret key that signs the heads of the audit, 64 hex digits "
              "(cairn-audit keygen)." },
    { .name = "CAIRN_AUDIT_HEADS",
      .kind = CN_OPTION_TEXT,
      .fallback = "",
      .check = s_folder_or_none,
      .what = "Folder that the heads of the audit are exported to, hourly and "
              "at a stop." },
};

struct runtime {
    struct cn_service *service;
    struct cn_env *env; /* NULL before the start */
    struct cn_dispatch *dispatch;
};

static bool s_database(void *arg)
{
    const struct runtime *self = arg;
    return cn_db_healthy(self->env->db);
}

static enum cn_code s_db_start(struct runtime *self,
                               const struct cn_config *config,
                               struct cn_err *err)
{
    const char *app_password = cn_config_text(config, "CAIRN_DB_APP_PASSWORD");
    const char *relay_password =
        cn_config_text(config, "CAIRN_DB_RELAY_PASSWORD");
    char app[ROLE_MAX];
    char relay[ROLE_MAX];
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
    db.lanes[CN_LANE_SLOW].user = app;
    db.lanes[CN_LANE_SLOW].password = app_password;
    db.lanes[CN_LANE_SLOW].connections =
        (unsigned)cn_config_number(config, "CAIRN_DB_SLOWS");
    db.lanes[CN_LANE_RELAY].user = relay;
    db.lanes[CN_LANE_RELAY].password = relay_password;
    db.lanes[CN_LANE_RELAY].connections =
        (unsigned)cn_config_number(config, "CAIRN_DB_RELAYS");

    self->env->db = cn_db_new(self->env, &db);
    if (self->env->db == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory");
    }
    cn_health_register("database", CN_HEALTH_NEEDED, s_database, self);
    enum cn_code rc = cn_db_start(self->env->db, err);
    return rc == CN_OK ? CN_OK : cn_wrap(err, "database");
}

/* The last epoch that something was written in. */
CN_SQL_RELAY(SQL_EPOCH_LAST,
             "SELECT greatest((SELECT o.epoch FROM {{schema}}.outbox o"
             " ORDER BY o.epoch DESC, o.xid DESC, o.seq DESC LIMIT 1),"
             " (SELECT p.epoch FROM {{schema}}.audit_sealer p))");

/* What is written in an epoch that is over comes before what consumers and the
 * sealer have passed: nobody would ever see it. */
static enum cn_code s_epoch_check(const struct runtime *self,
                                  struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    const struct cn_rows *rows = NULL;
    enum cn_code rc = cn_db_read_all(self->env->db, arena, &SQL_EPOCH_LAST,
                                     NULL, 0, &rows, err);
    if (rc == CN_OK && cn_row_int(rows, 0, 0) > cn_db_epoch(self->env->db)) {
        rc = cn_fail(err, CN_INVALID,
                     "CAIRN_EPOCH is %d, but the log is in epoch %lld already",
                     cn_db_epoch(self->env->db),
                     (long long)cn_row_int(rows, 0, 0));
    }
    return rc;
}

void cn_service_committed(struct cn_env *env, bool told, bool due)
{
    if (told) {
        cn_outbox_hint(env->outbox);
    }
    if (due) {
        cn_due_hint();
    }
}

static enum cn_code s_parts_begin(struct runtime *self,
                                  const struct cn_config *config,
                                  struct cn_err *err)
{
    struct cn_env *env = self->env;
    env->seal = cn_seal_new(cn_config_text(config, "CAIRN_SEAL_KEY"), err);
    if (env->seal == NULL) {
        return cn_wrap(err, "CAIRN_SEAL_KEY");
    }
    self->dispatch = cn_dispatch_new(env, self->service);
    if (self->dispatch == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory");
    }
    enum cn_code rc = s_db_start(self, config, err);
    if (rc == CN_OK) {
        rc = s_epoch_check(self, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    env->outbox = cn_outbox_start(
        env, self->service, (int)cn_config_number(config, "CAIRN_EPOCH"), err);
    env->committed = cn_service_committed;
    return env->outbox != NULL ? CN_OK : err->code;
}

static enum cn_code s_start(void *arg,
                            struct cn_env *env,
                            const struct cn_config *config,
                            struct cn_err *err)
{
    struct runtime *self = arg;
    struct cn_service *service = self->service;
    self->env = env;
    enum cn_code rc = s_parts_begin(self, config, err);
    if (rc == CN_OK && service->start != NULL) {
        rc = service->start(service->self, env, config, err);
    }
    if (rc == CN_OK) {
        rc = cn_consumers_start(env, service, err);
    }
    if (rc == CN_OK) {
        rc = cn_dead_letters_start(env, service, err);
    }
    if (rc == CN_OK) {
        rc = cn_due_start(env, service, err);
    }
    if (rc == CN_OK) {
        rc = cn_deadline_watch_start(env, service, err);
    }
    if (rc == CN_OK) {
        rc = cn_retention_start(
            env, cn_config_number(config, "CAIRN_LOG_KEEP_DAYS") * CN_DAY, err);
    }
    if (rc == CN_OK) {
        rc = cn_watchdog_start(env, err);
    }
    if (rc == CN_OK) {
        const struct cn_audit_heads_config heads = {
            .service = service->name,
            .folder = cn_config_text(config, "CAIRN_AUDIT_HEADS"),
            .key = cn_config_text(config, "CAIRN_AUDIT_KEY"),
        };
        rc = cn_audit_seal_start(env, &heads, err);
    }
    if (rc == CN_OK) {
        cn_bus_serve(env->bus, cn_dispatch_request, self->dispatch);
    }
    return rc;
}

static void s_done(void *arg)
{
    struct runtime *self = arg;
    cn_dispatch_free(self->dispatch);
    if (self->env != NULL) {
        cn_outbox_free(self->env->outbox);
        cn_db_free(self->env->db);
        cn_seal_free(self->env->seal);
    }
}

int cn_service_main(struct cn_service *service, int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--print-events") == 0) {
        cn_describe(service);
        return 0;
    }
    struct runtime self = { .service = service };
    const struct cn_process process = {
        .name = service->name,
        .serves = true,
        .lists = { { OPTIONS, CN_COUNT(OPTIONS) },
                   { service->options, service->option_count } },
        .start = s_start,
        .done = s_done,
        .self = &self,
    };
    return cn_process_main(&process, argc, argv);
}
