/* SPDX-License-Identifier: Apache-2.0 */
/* cairn-gateway: HTTP in front of the services. */
#include "common/base/array.h"
#include "common/base/log.h"
#include "common/bus/bus.h"
#include "common/process/health.h"
#include "common/process/process.h"
#include "common/process/setting.h"

#include "services/gateway/exchange.h"

#include "cairn/routes.h"

#include <string.h>

enum { TIMEOUT_MAX_MS = 10000 };

static const struct cn_option OPTIONS[] = {
    { .name = "CAIRN_LISTEN",
      .fallback = "127.0.0.1:8080",
      .check = cn_setting_address,
      .what = "Where HTTP is served: host:port." },
    { .name = "CAIRN_PUBLIC_URL",
      .fallback = "",
      .check = cn_setting_url_or_none,
      .what = "The gateway's URL for clients, without a slash at the end. "
              "Empty: http:// and the Host of each request." },
    { .name = "CAIRN_BEHIND_PROXY",
      .kind = CN_OPTION_NUMBER,
      .fallback = "0",
      .max = 1,
      .what =
          "1: nobody but a proxy of yours reaches the gateway, and the last "
          "address in X-Forwarded-For is the client's, for the log." },
    { .name = "CAIRN_REQUEST_TIMEOUT_MS",
      .kind = CN_OPTION_NUMBER,
      .fallback = "10000",
      .min = 100,
      .max = TIMEOUT_MAX_MS,
      .what = "How long a request may take." },
    { .name = "CAIRN_CONNECTIONS",
      .kind = CN_OPTION_NUMBER,
      .fallback = "2048",
      .min = 16,
      .max = 4096,
      .what = "Connections at once. Four fifths of them may have a request in "
              "flight." },
    { .name = "CAIRN_CONNECTIONS_PER_IP",
      .kind = CN_OPTION_NUMBER,
      .fallback = "0",
      .max = 4096,
      .what = "Connections at once from one address. 0: no limit, for a "
              "gateway behind a proxy." },
    { .name = "CAIRN_STREAMS",
      .kind = CN_OPTION_NUMBER,
      .fallback = "1024",
      .max = 16384,
      .what = "Streams of events at once, in addition to CAIRN_CONNECTIONS." },
    { .name = "CAIRN_STREAMS_PER_TENANT",
      .kind = CN_OPTION_NUMBER,
      .fallback = "512",
      .max = 16384,
      .what = "Streams of one agency at once." },
    { .name = "CAIRN_STREAM_KEY",
      .kind = CN_OPTION_SECRET,
      .fallback = "",
      .what = "64 hex digits, the same for all gateways: seals the positions "
              "of streams. Empty: a random key, and a stream can go on only at "
              "the gateway that opened it." },
};

/* The health check of a service. When the service does not answer, only its
 * own routes fail. */
struct reach {
    const struct gateway *gateway;
    const char *service;
};

struct runtime {
    struct gateway gateway;
    struct reach reaches[CN_BUS_PEERS_MAX];
    struct cn_http *http;
    struct follow *follows[CN_EVENT_SOURCE_COUNT];
    struct follow *access; /* one of follows */
};

static bool s_access(void *arg)
{
    const struct gateway *gateway = arg;
    return auth_fresh(gateway->auth) &&
           cn_bus_reachable(gateway->env->bus, "access");
}

static bool s_reachable(void *arg)
{
    const struct reach *reach = arg;
    return cn_bus_reachable(reach->gateway->env->bus, reach->service);
}

static void s_health(struct runtime *self)
{
    cn_health_register("principals", CN_HEALTH_NEEDED, s_access,
                       &self->gateway);
    for (size_t i = 0; i < CN_BUS_PEERS_MAX && cn_route_services[i] != NULL;
         i++) {
        self->reaches[i] =
            (struct reach){ &self->gateway, cn_route_services[i] };
        cn_health_register(cn_route_services[i], CN_HEALTH_TOLD, s_reachable,
                           &self->reaches[i]);
    }
}

static enum cn_code s_listen(struct runtime *self,
                             const struct cn_config *config,
                             struct cn_err *err)
{
    const struct cn_http_config http = {
        .listen = cn_config_text(config, "CAIRN_LISTEN"),
        .connections_max =
            (unsigned)cn_config_number(config, "CAIRN_CONNECTIONS"),
        .connections_per_ip =
            (unsigned)cn_config_number(config, "CAIRN_CONNECTIONS_PER_IP"),
        .streams_max = (unsigned)cn_config_number(config, "CAIRN_STREAMS"),
        .timeout_us =
            1000 * cn_config_number(config, "CAIRN_REQUEST_TIMEOUT_MS"),
        .admit = exchange_admit,
        .handle = exchange_handle,
        .refuse = exchange_refuse,
        .arg = &self->gateway,
    };
    enum cn_code rc = cn_http_new(self->gateway.env, &http, &self->http, err);
    if (rc != CN_OK) {
        return cn_wrap(err, "CAIRN_LISTEN");
    }
    tally_watch(self->gateway.tally, self->http);
    cn_log(CN_LOG_INFO, "listens on port %u", cn_http_port(self->http));
    return CN_OK;
}

static enum cn_code s_follows_new(struct runtime *self, struct cn_err *err)
{
    enum cn_code rc = CN_OK;
    for (size_t i = 0; rc == CN_OK && i < CN_EVENT_SOURCE_COUNT; i++) {
        const char *service = cn_event_sources[i].service;
        rc = follow_new(self->gateway.env, service, &self->follows[i], err);
        if (strcmp(service, "access") == 0) {
            self->access = self->follows[i];
        }
    }
    return rc;
}

static enum cn_code s_streams(struct runtime *self,
                              const struct cn_config *config,
                              struct cn_err *err)
{
    const struct streams_config streams = {
        .max = (unsigned)cn_config_number(config, "CAIRN_STREAMS"),
        .max_of_tenant =
            (unsigned)cn_config_number(config, "CAIRN_STREAMS_PER_TENANT"),
        .key = cn_config_text(config, "CAIRN_STREAM_KEY"),
    };
    enum cn_code rc =
        streams_new(self->gateway.env, self->gateway.auth, self->follows,
                    &streams, &self->gateway.streams, err);
    return rc == CN_OK ? CN_OK : cn_wrap(err, "CAIRN_STREAM_KEY");
}

static enum cn_code s_gateway_start(void *arg,
                                    struct cn_env *env,
                                    const struct cn_config *config,
                                    struct cn_err *err)
{
    struct runtime *self = arg;
    struct gateway *gateway = &self->gateway;
    gateway->env = env;
    gateway->public_url = cn_config_text(config, "CAIRN_PUBLIC_URL");
    gateway->behind_proxy = cn_config_number(config, "CAIRN_BEHIND_PROXY") == 1;
    gateway->routes = routes_new(cn_routes, cn_route_count);
    gateway->tally = tally_new(cn_routes, cn_route_count);
    if (gateway->routes == NULL || gateway->tally == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory");
    }
    enum cn_code rc = s_follows_new(self, err);
    if (rc == CN_OK) {
        rc = auth_new(env, self->access, &gateway->auth, err);
    }
    if (rc == CN_OK) {
        rc = s_streams(self, config, err);
    }
    if (rc == CN_OK) {
        s_health(self);
        rc = s_listen(self, config, err);
    }
    return rc;
}

static void s_gateway_done(void *arg)
{
    struct runtime *self = arg;
    cn_http_free(self->http);
    streams_free(self->gateway.streams);
    tally_free(self->gateway.tally);
    auth_free(self->gateway.auth);
    for (size_t i = 0; i < CN_EVENT_SOURCE_COUNT; i++) {
        follow_free(self->follows[i]);
    }
    routes_free(self->gateway.routes);
}

int main(int argc, char **argv)
{
    struct runtime self = { 0 };
    const struct cn_process process = {
        .name = "gateway",
        .lists = { { OPTIONS, CN_COUNT(OPTIONS) } },
        .start = s_gateway_start,
        .done = s_gateway_done,
        .self = &self,
    };
    return cn_process_main(&process, argc, argv);
}
