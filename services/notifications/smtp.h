/* SPDX-License-Identifier: Apache-2.0 */
/* E-mail by SMTP (RFC 5321). The only file that calls libcurl. */
#ifndef NOTIFICATIONS_SMTP_H
#define NOTIFICATIONS_SMTP_H

#include "services/notifications/channel.h"

struct cn_loop;

struct smtp_config {
    const char *url;  /* "smtp://host:port" or "smtps://..." */
    const char *from; /* the sender's address */
    /* File of the authorities that may have signed the server's certificate;
     * "": those of the machine. */
    const char *authorities;
    const char *user; /* "": the server asks for none */
    const char *password;
};

/* The config's texts are copied. NULL with err when libcurl refuses. */
struct channel *smtp_new(struct cn_loop *loop,
                         const struct smtp_config *config,
                         struct cn_err *err);
/* Speaks to the server once, as far as a mail would be sent, before the service
 * begins. CN_INVALID, with the setting's name, when the server's name is still
 * not known after some seconds: such a service would keep its mail for ever. A
 * server that does not answer now is told in the log alone. */
CN_CHECKED enum cn_code smtp_check(struct channel *channel, struct cn_err *err);
/* When no fiber waits for it. Blocks until what was abandoned has ended, 15 s
 * at most. NULL is accepted. */
void smtp_free(struct channel *channel);

#endif
