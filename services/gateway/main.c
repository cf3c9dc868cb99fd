/* SPDX-License-Identifier: Apache-2.0 */
/* cairn-gateway: HTTP in front of the services. */
#include "common/bus.h"
#include "common/fiber.h"
#include "common/log.h"
#include "common/loop.h"

#include "services/gateway/setup.h"

#include <stdlib.h>

/* A fiber that did not end may still hold any of these. */
static void s_free(struct gateway *gateway, struct cn_http *http)
{
    struct cn_env *env = gateway->env;

    if (env->loop != NULL && cn_fiber_count(env->loop) > 0) {
        return;
    }
    cn_http_free(http);
    auth_free(gateway->auth);
    routes_free(gateway->routes);
    cn_bus_free(env->bus);
    cn_loop_free(env->loop);
}

int main(int argc, char **argv)
{
    struct cn_env env = { 0 };
    struct gateway gateway = { .env = &env };
    struct cn_http *http = NULL;
    struct cn_err err = { 0 };
    bool done = false;
    enum cn_code rc;

    struct cn_config *config = setup_config(argc, argv, &done);
    if (config == NULL || done) {
        rc = config != NULL ? CN_OK : CN_INVALID;
        cn_config_free(config);
        return rc == CN_OK ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    rc = setup_env(config, &env, &err);
    if (rc == CN_OK) {
        rc = setup_door(config, &gateway, &http, &err);
    }
    if (rc == CN_OK) {
        cn_log(CN_LOG_INFO, "listens on port %u", cn_http_port(http));
        cn_loop_run(env.loop, SETUP_GRACE_US);
        cn_log(CN_LOG_INFO, "stopped");
    } else {
        cn_log(CN_LOG_ERROR, "start: %s: %s", cn_code_word(rc), err.msg);
    }
    s_free(&gateway, http);
    cn_config_free(config);
    return rc == CN_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
