/* SPDX-License-Identifier: Apache-2.0 */
/* The listening socket, and one to it. */
#ifndef CN_LISTEN_H
#define CN_LISTEN_H

#include "common/base/err.h"

/* Listens at "host:port" or "[v6]:port", not blocking, so that a second gateway
 * may listen beside this one. ret_port is the one that port 0 was given.
 * CN_INVALID for a bad address, CN_UNAVAILABLE when it is taken. */
CN_CHECKED enum cn_code cn_listen_open(const char *address,
                                       int *ret_fd,
                                       unsigned *ret_port,
                                       struct cn_err *err);
/* Could it be listened at, as far as the text tells? */
bool cn_listen_valid(const char *address);
/* Begins to connect to such an address, not blocking; one with a wildcard is
 * this machine. CN_INVALID, CN_UNAVAILABLE. */
CN_CHECKED enum cn_code
cn_listen_connect(const char *address, int *ret_fd, struct cn_err *err);
/* From now on nobody begins to connect, as if the segment had been lost, while
 * those who have begun still arrive: what waits can be accepted and the socket
 * closed without a reset for a client who was told that it is connected. Where
 * the system refuses, such clients are reset. */
void cn_listen_turn_away(int fd);
/* Raises the limit of open files to what so many connections need. */
void cn_listen_raise_files(unsigned connections_max);

#endif
