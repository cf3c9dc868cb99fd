/* SPDX-License-Identifier: Apache-2.0 */
/* From settings to parts. */
#include "services/gateway/setup.h"

#include "common/bus.h"
#include "common/log.h"
#include "common/loop.h"

#include "cairn/routes.h"

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

static const struct cn_option OPTIONS[] = {
    { "CAIRN_LISTEN", CN_OPTION_TEXT, "127.0.0.1:8080", 0, 0,
      "Where HTTP is served: host:port." },
    { "CAIRN_PUBLIC_URL", CN_OPTION_TEXT, "", 0, 0,
      "How clients see the gateway, without a slash at the end; the Host of "
      "each request when it is empty." },
    { "CAIRN_REQUEST_TIMEOUT_MS", CN_OPTION_NUMBER, "10000", 100,
      SETUP_TIMEOUT_MAX_MS, "How long a request may take." },
    { "CAIRN_CONNECTIONS", CN_OPTION_NUMBER, "2048", 16, 4096,
      "Connections at once; four fifths of them may have a request in "
      "flight." },
    { "CAIRN_CONNECTIONS_PER_IP", CN_OPTION_NUMBER, "0", 0, 4096,
      "Connections at once of one address; 0: no limit, as behind a proxy." },
    { "CAIRN_BUS_KEY", CN_OPTION_SECRET, NULL, 0, 0,
      "Secret CURVE key of the gateway (Z85)." },
    { "CAIRN_BUS_PEERS", CN_OPTION_TEXT, NULL, 0, 0,
      "Public keys of the services: name=key,..." },
    { "CAIRN_ENDPOINTS", CN_OPTION_TEXT, NULL, 0, 0,
      "Replicas of the services: name=tcp://host:port,...;name=..." },
    { "CAIRN_LOG_LEVEL", CN_OPTION_TEXT, "info", 0, 0,
      "debug, info, warn or error." },
};

/* LeakSanitizer attaches to its own process and needs to be let. */
static void s_harden(void)
{
    const struct rlimit none = { 0, 0 };

    (void)setrlimit(RLIMIT_CORE, &none);
    if (!UNDER_SANITIZER) {
        (void)prctl(PR_SET_DUMPABLE, 0);
    }
}

struct cn_config *setup_config(int argc, char **argv, bool *ret_done)
{
    static const char *const LEVELS[] = { "debug", "info", "warn", "error" };
    enum cn_log_level level = CN_LOG_INFO;

    s_harden();
    struct cn_config *config = cn_config_read(
        "cairn-gateway", OPTIONS, sizeof(OPTIONS) / sizeof(OPTIONS[0]), argc,
        argv, ret_done);
    for (size_t i = 0; config != NULL && i < 4; i++) {
        if (strcmp(LEVELS[i], cn_config_text(config, "CAIRN_LOG_LEVEL")) == 0) {
            level = (enum cn_log_level)i;
        }
    }
    cn_log_init("gateway", level);
    return config;
}

enum cn_code setup_env(const struct cn_config *config,
                       struct cn_env *ret_env,
                       struct cn_err *err)
{
    const struct cn_bus_config bus = {
        .name = "gateway",
        .secret_key = cn_config_text(config, "CAIRN_BUS_KEY"),
        .peers = cn_config_text(config, "CAIRN_BUS_PEERS"),
    };

    *ret_env = cn_env_real();
    ret_env->loop = cn_loop_new();
    if (ret_env->loop == NULL) {
        return cn_fail(err, CN_NOMEM, "no loop");
    }
    /* Before the bus makes its threads: they inherit the signal mask. */
    enum cn_code rc = cn_loop_stop_on_signals(ret_env->loop, err);
    if (rc == CN_OK) {
        rc = cn_bus_new(ret_env, &bus, &ret_env->bus, err);
    }
    if (rc == CN_OK) {
        rc = cn_bus_connect_all(ret_env->bus,
                                cn_config_text(config, "CAIRN_ENDPOINTS"), err);
    }
    return rc;
}

enum cn_code setup_door(const struct cn_config *config,
                        struct gateway *gateway,
                        struct cn_http **ret_http,
                        struct cn_err *err)
{
    const struct cn_http_config http = {
        .listen = cn_config_text(config, "CAIRN_LISTEN"),
        .connections_max =
            (unsigned)cn_config_number(config, "CAIRN_CONNECTIONS"),
        .connections_per_ip =
            (unsigned)cn_config_number(config, "CAIRN_CONNECTIONS_PER_IP"),
        .timeout_us =
            1000 * cn_config_number(config, "CAIRN_REQUEST_TIMEOUT_MS"),
        .handle = exchange_handle,
        .refuse = exchange_refuse,
        .arg = gateway,
    };

    gateway->public_url = cn_config_text(config, "CAIRN_PUBLIC_URL");
    gateway->routes = routes_new(cn_routes, cn_route_count);
    if (gateway->routes == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory");
    }
    enum cn_code rc = auth_new(gateway->env, &gateway->auth, err);
    if (rc == CN_OK) {
        rc = cn_http_new(gateway->env, &http, ret_http, err);
    }
    return rc;
}
