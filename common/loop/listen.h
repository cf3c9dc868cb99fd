/* SPDX-License-Identifier: Apache-2.0 */
/* Listening sockets, and connecting to one. */
#ifndef CN_LISTEN_H
#define CN_LISTEN_H

#include "common/base/err.h"

/* Listens at "host:port" or "[v6]:port" with a non-blocking socket. A second
 * gateway may listen at the same address. *ret_port: the port, also where the
 * address says 0. CN_INVALID for a bad address, CN_UNAVAILABLE when it is
 * taken. */
CN_CHECKED enum cn_code cn_listen_open(const char *address,
                                       int *ret_fd,
                                       unsigned *ret_port,
                                       struct cn_err *err);
/* Is the text a host and a port? */
bool cn_listen_valid(const char *address);
/* Begins to connect to such an address without blocking; a wildcard address
 * means this machine. CN_INVALID, CN_UNAVAILABLE. */
CN_CHECKED enum cn_code
cn_listen_connect(const char *address, int *ret_fd, struct cn_err *err);
/* Drops each SYN from now on, as if the network had lost it; handshakes under
 * way still complete. So the caller can accept every connection that the kernel
 * has confirmed to a client, and close the socket without resetting any. Where
 * the kernel refuses the filter, such clients are reset. */
void cn_listen_turn_away(int fd);
/* Raises the limit of open files to what so many connections need. */
void cn_listen_raise_files(unsigned connections_max);

#endif
