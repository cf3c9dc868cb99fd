/* SPDX-License-Identifier: Apache-2.0 */
/* The listening socket. */
#ifndef CN_LISTEN_H
#define CN_LISTEN_H

#include "common/err.h"

/* Listens at "host:port" or "[v6]:port", not blocking, so that a second gateway
 * may listen beside this one. ret_port is the one that port 0 was given.
 * CN_INVALID for a bad address, CN_UNAVAILABLE when it is taken. */
CN_CHECKED enum cn_code cn_listen_open(const char *address,
                                       int *ret_fd,
                                       unsigned *ret_port,
                                       struct cn_err *err);
/* Raises the limit of open files to what so many connections need. */
void cn_listen_raise_files(unsigned connections_max);

#endif
