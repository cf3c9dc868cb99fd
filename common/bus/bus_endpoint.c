/* SPDX-License-Identifier: Apache-2.0 */
/* The addresses of a service: reading them, and turning a name into one replica
 * per numeric address that follows the name server.
 *
 * libzmq takes only the first address of a name and keeps it, so it is never
 * given a name. */
#include "common/base/config.h"
#include "common/base/log.h"
#include "common/bus/bus_internal.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char SCHEME[] = "tcp://";

enum { SCHEME_SIZE = sizeof(SCHEME) - 1, PORT_MAX = 65535 };

/* --- reading them --- */

static bool s_host_valid(const char *host)
{
    static const char LETTERS[] = "abcdefghijklmnopqrstuvwxyz"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";
    return host[0] != '\0' && host[strspn(host, LETTERS)] == '\0';
}

/* "host:port" or "[::1]:port", in place. */
static bool s_host_port(char *text, struct bus_endpoint *endpoint)
{
    uint8_t bytes[sizeof(struct in6_addr)];
    char *colon = strrchr(text, ':');
    long port = 0;
    if (colon == NULL || strlen(colon + 1) >= sizeof(endpoint->port) ||
        !cn_parse_number(colon + 1, 1, PORT_MAX, &port)) {
        return false;
    }
    memcpy(endpoint->port, colon + 1, strlen(colon + 1) + 1);
    *colon = '\0';
    size_t size = strlen(text);
    if (size >= 2 && text[0] == '[' && text[size - 1] == ']') {
        text[size - 1] = '\0';
        text++;
        endpoint->numeric = inet_pton(AF_INET6, text, bytes) == 1;
        if (!endpoint->numeric) {
            return false;
        }
    } else {
        endpoint->numeric = inet_pton(AF_INET, text, bytes) == 1;
    }
    size = strlen(text);
    if ((!endpoint->numeric && !s_host_valid(text)) ||
        size >= sizeof(endpoint->host)) {
        return false;
    }
    memcpy(endpoint->host, text, size + 1);
    return true;
}

static enum cn_code s_endpoint_read(const char *service,
                                    const char *text,
                                    size_t size,
                                    struct bus_endpoint *ret_endpoint,
                                    struct cn_err *err)
{
    struct bus_endpoint endpoint = { 0 };
    char copy[BUS_HOST_SIZE + BUS_PORT_SIZE];
    if (size <= SCHEME_SIZE || size - SCHEME_SIZE >= sizeof(copy) ||
        memcmp(text, SCHEME, SCHEME_SIZE) != 0) {
        return cn_fail(err, CN_INVALID,
                       "an endpoint of %s is not tcp://host:port", service);
    }
    memcpy(copy, text + SCHEME_SIZE, size - SCHEME_SIZE);
    copy[size - SCHEME_SIZE] = '\0';
    if (!s_host_port(copy, &endpoint)) {
        return cn_fail(err, CN_INVALID,
                       "an endpoint of %s is not tcp://host:port", service);
    }
    *ret_endpoint = endpoint;
    return CN_OK;
}

/* Appends the endpoints of the text: all of them or none. */
static enum cn_code s_endpoints_read(struct bus_service *service,
                                     const char *text,
                                     struct cn_err *err)
{
    size_t count = service->endpoint_count;
    while (text[0] != '\0') {
        size_t size = strcspn(text, ",");
        if (count == CN_BUS_ENDPOINTS_MAX) {
            return cn_fail(err, CN_INVALID, "%s has more than %d endpoints",
                           service->peer->name, CN_BUS_ENDPOINTS_MAX);
        }
        enum cn_code rc = s_endpoint_read(service->peer->name, text, size,
                                          &service->endpoints[count], err);
        if (rc != CN_OK) {
            return rc;
        }
        count++;
        text += size + (text[size] == ',' ? 1 : 0);
    }
    service->endpoint_count = count;
    return CN_OK;
}

/* --- from addresses to replicas --- */

static struct bus_replica *s_replica_find(const struct bus_service *service,
                                          const char *address)
{
    for (size_t i = 0; i < service->replica_count; i++) {
        if (strcmp(service->replicas[i]->address, address) == 0) {
            return service->replicas[i];
        }
    }
    return NULL;
}

static uint32_t s_bit_of(const struct bus_service *service,
                         const struct bus_endpoint *endpoint)
{
    return (uint32_t)1 << (endpoint - service->endpoints);
}

/* The name server says that the endpoint has this address. */
static enum cn_code s_lead(struct bus_service *service,
                           const struct bus_endpoint *endpoint,
                           const char *address,
                           struct cn_err *err)
{
    struct bus_replica *replica = s_replica_find(service, address);
    uint32_t bit = s_bit_of(service, endpoint);
    if (replica != NULL) {
        replica->named_by |= bit;
        replica->leave_by = 0;
        return CN_OK;
    }
    return bus_replica_new(service, address, bit, err);
}

static bool s_answer_has(const struct bus_answer *answer, const char *address)
{
    for (unsigned i = 0; i < answer->count; i++) {
        if (strcmp(answer->addresses[i], address) == 0) {
            return true;
        }
    }
    return false;
}

/* Replicas at addresses that this endpoint has lost, and that no other endpoint
 * has, take no more calls and are closed when those under way have ended. */
static void s_replicas_leave(struct bus_service *service,
                             const struct bus_endpoint *endpoint,
                             const struct bus_answer *answer)
{
    uint32_t bit = s_bit_of(service, endpoint);
    for (size_t i = 0; i < service->replica_count; i++) {
        struct bus_replica *replica = service->replicas[i];
        if ((replica->named_by & bit) == 0 ||
            s_answer_has(answer, replica->address)) {
            continue;
        }
        replica->named_by &= ~bit;
        if (replica->named_by == 0) {
            replica->leave_by = cn_clock_monotonic() + BUS_LEAVE_US;
            cn_log(CN_LOG_INFO, "bus: %s no longer has the address %s",
                   service->peer->name, replica->address);
        }
    }
}

/* How long until the next look-up. */
static int64_t s_ease_us(const struct bus_service *service, bool failed)
{
    if (service->replica_count == 0) {
        return BUS_LOOKUP_FIRST_US;
    }
    for (size_t i = 0; i < service->replica_count; i++) {
        if (!service->replicas[i]->up && service->replicas[i]->leave_by == 0) {
            return BUS_LOOKUP_SOON_US;
        }
    }
    return failed ? BUS_LOOKUP_SOON_US : BUS_LOOKUP_US;
}

/* --- asking --- */

/* The endpoint whose look-up has been due for longest; NULL when none is. */
static struct bus_endpoint *s_endpoint_due(struct cn_bus *bus,
                                           int64_t now,
                                           struct bus_service **ret_service)
{
    struct bus_endpoint *due = NULL;
    for (size_t i = 0; i < bus->service_count; i++) {
        struct bus_service *service = bus->services[i];
        for (size_t k = 0; k < service->endpoint_count; k++) {
            struct bus_endpoint *endpoint = &service->endpoints[k];
            if (!endpoint->numeric && endpoint->ask_at <= now &&
                (due == NULL || endpoint->ask_at < due->ask_at)) {
                due = endpoint;
                *ret_service = service;
            }
        }
    }
    return due;
}

static void s_endpoint_ask(struct cn_bus *bus)
{
    struct bus_resolver *resolver = &bus->resolver;
    struct bus_service *service = NULL;
    struct bus_question question = { 0 };
    struct cn_err err = { 0 };
    int64_t now = cn_clock_monotonic();
    struct bus_endpoint *endpoint =
        resolver->asked ? NULL : s_endpoint_due(bus, now, &service);
    if (endpoint == NULL) {
        return;
    }
    memcpy(question.host, endpoint->host, sizeof(question.host));
    memcpy(question.port, endpoint->port, sizeof(question.port));
    endpoint->asked_at = now;
    endpoint->ask_at = now + BUS_LOOKUP_US;
    resolver->service = service;
    resolver->endpoint = endpoint;
    if (bus_resolve_ask(bus, &question, &err) != CN_OK) {
        endpoint->ask_at = now + BUS_LOOKUP_SOON_US;
        cn_log(CN_LOG_WARN, "bus: %s", err.msg);
    }
}

void bus_discover(struct bus_service *service)
{
    int64_t now = cn_clock_monotonic();
    for (size_t i = 0; i < service->endpoint_count; i++) {
        struct bus_endpoint *endpoint = &service->endpoints[i];
        int64_t soonest_at = endpoint->asked_at + BUS_LOOKUP_SOON_US / 2;
        int64_t ask_at = now > soonest_at ? now : soonest_at;
        if (ask_at < endpoint->ask_at) {
            endpoint->ask_at = ask_at;
        }
    }
    s_endpoint_ask(service->bus);
}

/* The known addresses stay: a name server that is away, or does not know the
 * name for a moment, tells nothing about the replicas. */
static void s_lookup_failed(struct bus_service *service,
                            struct bus_endpoint *endpoint,
                            const struct bus_answer *answer)
{
    if (!endpoint->failed) {
        cn_log(CN_LOG_WARN, "bus: %s: %s cannot be looked up: %s",
               service->peer->name, endpoint->host,
               gai_strerror(answer->error));
    }
    endpoint->failed = true;
}

static void s_found(struct bus_service *service,
                    struct bus_endpoint *endpoint,
                    const struct bus_answer *answer)
{
    struct cn_err err = { 0 };
    endpoint->failed = false;
    if (!answer->more) {
        s_replicas_leave(service, endpoint, answer);
    }
    for (unsigned i = 0; i < answer->count; i++) {
        if (s_lead(service, endpoint, answer->addresses[i], &err) != CN_OK) {
            cn_log(CN_LOG_WARN, "bus: %s: an address is left out: %s",
                   service->peer->name, err.msg);
            break;
        }
    }
}

void bus_discovered(struct cn_bus *bus, const struct bus_answer *answer)
{
    struct bus_service *service = bus->resolver.service;
    struct bus_endpoint *endpoint = bus->resolver.endpoint;
    int64_t now = cn_clock_monotonic();
    if (answer->error != 0) {
        s_lookup_failed(service, endpoint, answer);
    } else {
        s_found(service, endpoint, answer);
    }
    endpoint->ask_at = now + s_ease_us(service, endpoint->failed);
    s_endpoint_ask(bus);
}

void bus_discover_tick(struct cn_bus *bus, int64_t now)
{
    for (size_t i = 0; i < bus->service_count; i++) {
        struct bus_service *service = bus->services[i];
        for (size_t k = service->replica_count; k > 0; k--) {
            struct bus_replica *replica = service->replicas[k - 1];
            /* Long polls do not keep the replica: their callers ask another. */
            if (replica->leave_by != 0 &&
                (replica->outstanding == 0 || now >= replica->leave_by)) {
                bus_replica_free(replica);
                service->replicas[k - 1] =
                    service->replicas[--service->replica_count];
            }
        }
    }
    s_endpoint_ask(bus);
}

/* --- from outside --- */

/* The service, made when it is connected for the first time. NULL with err set.
 */
static struct bus_service *
s_service_require(struct cn_bus *self, const char *name, struct cn_err *err)
{
    struct bus_service *service = bus_service_find(self, name);
    const struct bus_peer *peer = bus_peer_find(self, name);
    if (service != NULL) {
        return service;
    }
    if (peer == NULL) {
        (void)cn_fail(err, CN_INVALID, "the key of %s is not known", name);
        return NULL;
    }
    assert(self->service_count < CN_BUS_PEERS_MAX);
    service = calloc(1, sizeof(*service));
    if (service == NULL) {
        (void)cn_fail(err, CN_NOMEM, "no memory for %s", name);
        return NULL;
    }
    service->bus = self;
    service->peer = peer;
    bus_list_init(&service->waiters);
    self->services[self->service_count++] = service;
    return service;
}

static enum cn_code s_endpoint_connect(struct bus_service *service,
                                       const struct bus_endpoint *endpoint,
                                       struct cn_err *err)
{
    char address[BUS_ADDRESS_SIZE];
    bool ipv6 = strchr(endpoint->host, ':') != NULL;
    if (!endpoint->numeric) {
        return CN_OK;
    }
    (void)snprintf(address, sizeof(address),
                   ipv6 ? "tcp://[%.*s]:%s" : "tcp://%.*s:%s", INET6_ADDRSTRLEN,
                   endpoint->host, endpoint->port);
    return s_lead(service, endpoint, address, err);
}

enum cn_code cn_bus_connect(struct cn_bus *self,
                            const char *service,
                            const char *endpoints,
                            struct cn_err *err)
{
    struct bus_service *found = s_service_require(self, service, err);
    if (found == NULL) {
        return err->code;
    }
    size_t first = found->endpoint_count;
    enum cn_code rc = s_endpoints_read(found, endpoints, err);
    for (size_t i = first; rc == CN_OK && i < found->endpoint_count; i++) {
        rc = s_endpoint_connect(found, &found->endpoints[i], err);
    }
    if (rc == CN_OK) {
        rc = bus_tick_start(self, err);
    }
    if (rc == CN_OK) {
        s_endpoint_ask(self);
    }
    return rc;
}

/* "access=tcp://...", in place. */
static enum cn_code
s_connect_one(struct cn_bus *self, char *text, struct cn_err *err)
{
    char *equals = strchr(text, '=');
    if (equals == NULL || equals == text || equals[1] == '\0') {
        return cn_fail(err, CN_INVALID,
                       "CAIRN_ENDPOINTS: name=tcp://host:port,... is needed");
    }
    *equals = '\0';
    return cn_bus_connect(self, text, equals + 1, err);
}

enum cn_code
cn_bus_connect_all(struct cn_bus *self, const char *text, struct cn_err *err)
{
    char *copy = strdup(text);
    char *rest = copy;
    enum cn_code rc = CN_OK;
    if (copy == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory for the endpoints");
    }
    while (rc == CN_OK && rest != NULL && rest[0] != '\0') {
        rc = s_connect_one(self, strsep(&rest, ";"), err);
    }
    free(copy);
    return rc;
}
