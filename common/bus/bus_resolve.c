/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that looks names up: getaddrinfo blocks inside libc while it waits
 * for the name server. It shares nothing with the loop: questions and answers
 * go over a socket pair, and the thread ends when the pair is closed. */
#include "common/bus/bus_internal.h"

#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { NUMERIC_SIZE = 80 }; /* an IPv6 address with its scope */

/* --- the thread --- */

static void s_address_add(const struct addrinfo *info,
                          const char *port,
                          struct bus_answer *answer)
{
    char host[NUMERIC_SIZE];
    if (getnameinfo(info->ai_addr, info->ai_addrlen, host, sizeof(host), NULL,
                    0, NI_NUMERICHOST) != 0) {
        return;
    }
    if (answer->count == BUS_ANSWER_MAX) {
        answer->more = true;
        return;
    }
    (void)snprintf(answer->addresses[answer->count++], BUS_ADDRESS_SIZE,
                   info->ai_family == AF_INET6 ? "tcp://[%s]:%s"
                                               : "tcp://%s:%s",
                   host, port);
}

static void s_look_up(const struct bus_question *question,
                      struct bus_answer *answer)
{
    /* ADDRCONFIG: no IPv6 addresses on a machine that has no IPv6. */
    const struct addrinfo hints = { .ai_family = AF_UNSPEC,
                                    .ai_socktype = SOCK_STREAM,
                                    .ai_flags = AI_ADDRCONFIG };
    struct addrinfo *found = NULL;
    memset(answer, 0, sizeof(*answer));
    answer->error = getaddrinfo(question->host, NULL, &hints, &found);
    if (answer->error != 0) {
        return;
    }
    for (struct addrinfo *info = found; info != NULL; info = info->ai_next) {
        s_address_add(info, question->port, answer);
    }
    freeaddrinfo(found);
}

/* Owns its end of the pair. */
static void *s_thread(void *arg)
{
    int fd = (int)(intptr_t)arg;
    struct bus_question question;
    struct bus_answer *answer = malloc(sizeof(*answer));
    while (answer != NULL &&
           recv(fd, &question, sizeof(question), 0) == sizeof(question)) {
        s_look_up(&question, answer);
        if (send(fd, answer, sizeof(*answer), MSG_NOSIGNAL) < 0) {
            break;
        }
    }
    free(answer);
    (void)close(fd);
    return NULL;
}

/* --- the loop's side --- */

static void s_on_answer(void *arg, unsigned events)
{
    struct cn_bus *bus = arg;
    struct bus_resolver *self = &bus->resolver;
    struct bus_answer answer;
    (void)events;
    ssize_t size = recv(self->fd, &answer, sizeof(answer), MSG_DONTWAIT);
    if (size == sizeof(answer)) {
        self->asked = false;
        bus_discovered(bus, &answer);
    } else if (size >= 0 || (errno != EAGAIN && errno != EINTR)) {
        /* The thread had no memory. The next question begins another. */
        self->asked = false;
        bus_resolve_done(bus);
    }
}

/* The thread blocks all signals: the loop takes them. */
static int s_thread_start(pthread_t *thread, int fd)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(thread, NULL, s_thread, (void *)(intptr_t)fd);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

static enum cn_code s_resolver_start(struct cn_bus *bus, struct cn_err *err)
{
    struct bus_resolver *self = &bus->resolver;
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0) {
        return cn_fail(err, CN_UNAVAILABLE, "look-up: errno %d", errno);
    }
    self->watch =
        cn_loop_watch(bus->env->loop, fds[0], CN_READABLE, s_on_answer, bus);
    int error =
        self->watch != NULL ? s_thread_start(&self->thread, fds[1]) : ENOMEM;
    if (error != 0) {
        cn_loop_unwatch(self->watch);
        self->watch = NULL;
        (void)close(fds[0]);
        (void)close(fds[1]);
        return cn_fail(err, CN_UNAVAILABLE, "look-up: errno %d", error);
    }
    self->fd = fds[0];
    self->running = true;
    return CN_OK;
}

enum cn_code bus_resolve_ask(struct cn_bus *bus,
                             const struct bus_question *question,
                             struct cn_err *err)
{
    struct bus_resolver *self = &bus->resolver;
    if (!self->running) {
        enum cn_code rc = s_resolver_start(bus, err);
        if (rc != CN_OK) {
            return rc;
        }
    }
    if (send(self->fd, question, sizeof(*question),
             MSG_DONTWAIT | MSG_NOSIGNAL) != sizeof(*question)) {
        return cn_fail(err, CN_UNAVAILABLE, "look-up: errno %d", errno);
    }
    self->asked = true;
    return CN_OK;
}

void bus_resolve_done(struct cn_bus *bus)
{
    struct bus_resolver *self = &bus->resolver;
    if (!self->running) {
        return;
    }
    cn_loop_unwatch(self->watch);
    self->watch = NULL;
    (void)close(self->fd);
    /* Between questions the thread ends at once. Within one libc may wait for
     * half a minute: the stop does not wait for it, and it uses nothing of
     * ours. */
    if (self->asked) {
        (void)pthread_detach(self->thread);
    } else {
        (void)pthread_join(self->thread, NULL);
    }
    self->running = false;
    self->asked = false;
}
