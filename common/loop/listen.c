/* SPDX-License-Identifier: Apache-2.0 */
/* Listening sockets, and connecting to one. */
#include "common/loop/listen.h"

#include "common/base/config.h"

#include <errno.h>
#include <linux/filter.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BACKLOG = 1024,
    FILES_SPARE = 256, /* descriptors besides the connections */
    ADDRESS_MAX = 256
};

/* Splits "host:port" and "[v6]:port". */
static bool
s_address(const char *text, char host[ADDRESS_MAX], const char **ret_port)
{
    const char *colon = strrchr(text, ':');
    size_t size = colon == NULL ? 0 : (size_t)(colon - text);
    if (size >= 2 && text[0] == '[' && text[size - 1] == ']') {
        text++;
        size -= 2;
    }
    if (colon == NULL || size >= ADDRESS_MAX) {
        return false;
    }
    memcpy(host, text, size);
    host[size] = '\0';
    *ret_port = colon + 1;
    return true;
}

static int s_bind(const struct addrinfo *address)
{
    const int on = 1;
    int fd = socket(address->ai_family,
                    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    /* REUSEPORT: a second gateway may listen at the same address. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 ||
        bind(fd, address->ai_addr, address->ai_addrlen) != 0 ||
        listen(fd, BACKLOG) != 0) {
        int why = errno;
        (void)close(fd);
        errno = why;
        return -1;
    }
    return fd;
}

/* The port stands at the same place in both families (RFC 3493). */
static unsigned s_port(int fd)
{
    struct sockaddr_in6 bound = { 0 };
    socklen_t size = sizeof(bound);
    if (getsockname(fd, (struct sockaddr *)&bound, &size) != 0) {
        return 0;
    }
    return ntohs(bound.sin6_port);
}

static enum cn_code s_resolve(const char *address,
                              int flags,
                              struct addrinfo **ret_found,
                              struct cn_err *err)
{
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
                                    .ai_flags = flags | AI_NUMERICSERV };
    char host[ADDRESS_MAX];
    const char *port = NULL;
    if (!s_address(address, host, &port) ||
        getaddrinfo(host[0] == '\0' ? NULL : host, port, &hints, ret_found) !=
            0) {
        return cn_fail(err, CN_INVALID, "%.200s: host:port is needed", address);
    }
    return CN_OK;
}

enum cn_code cn_listen_open(const char *address,
                            int *ret_fd,
                            unsigned *ret_port,
                            struct cn_err *err)
{
    struct addrinfo *found = NULL;
    enum cn_code rc = s_resolve(address, AI_PASSIVE, &found, err);
    if (rc != CN_OK) {
        return rc;
    }
    int fd = s_bind(found);
    int why = errno;
    freeaddrinfo(found);
    if (fd < 0) {
        return cn_fail(err, CN_UNAVAILABLE, "listen at %.200s: errno %d",
                       address, why);
    }
    *ret_port = s_port(fd);
    *ret_fd = fd;
    return CN_OK;
}

bool cn_listen_valid(const char *address)
{
    char host[ADDRESS_MAX];
    const char *port = NULL;
    long number = 0;
    return s_address(address, host, &port) &&
           cn_parse_number(port, 0, UINT16_MAX, &number);
}

enum cn_code
cn_listen_connect(const char *address, int *ret_fd, struct cn_err *err)
{
    struct addrinfo *found = NULL;
    enum cn_code rc = s_resolve(address, 0, &found, err);
    if (rc != CN_OK) {
        return rc;
    }
    int fd =
        socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool begun =
        fd >= 0 && (connect(fd, found->ai_addr, found->ai_addrlen) == 0 ||
                    errno == EINPROGRESS);
    int why = errno;
    freeaddrinfo(found);
    if (!begun) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return cn_fail(err, CN_UNAVAILABLE, "connect to %.200s: errno %d",
                       address, why);
    }
    *ret_fd = fd;
    return CN_OK;
}

void cn_listen_turn_away(int fd)
{
    /* On the TCP header: drops what carries SYN (0x02 of byte 13). */
    static const struct sock_filter DROP_SYN[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x02, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
    };
    struct sock_filter code[4];
    const struct sock_fprog program = { .len = 4, .filter = code };
    memcpy(code, DROP_SYN, sizeof(code));
    (void)setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program,
                     sizeof(program));
}

void cn_listen_raise_files(unsigned connections_max)
{
    struct rlimit limit;
    rlim_t wanted = connections_max + FILES_SPARE;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < wanted) {
        limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}
