/* SPDX-License-Identifier: Apache-2.0 */
/* cairn-notifications: messages to patients, sources, physicians. */
#include "cairn/notifications.handlers.h"
#include "common/service/service.h"
#include "services/notifications/service.h"
#include "services/notifications/smtp.h"

#include <string.h>

static struct notifications_service s_notifications;

static const char *s_smtp_url(const char *text)
{
    return strncmp(text, "smtp://", 7) == 0 || strncmp(text, "smtps://", 8) == 0
               ? NULL
               : "must be smtp://host:port or smtps://host:port";
}

static const char *s_mail_from(const char *text)
{
    const char *at = strchr(text, '@');
    return at != NULL && at != text && at[1] != '\0' ? NULL
                                                     : "must be name@domain";
}

static const struct cn_option OPTIONS[] = {
    { .name = "CAIRN_SMTP_URL",
      .kind = CN_OPTION_TEXT,
      .check = s_smtp_url,
      .what = "Where e-mail goes: smtp://host:port or smtps://host:port." },
    { .name = "CAIRN_SMTP_CA",
      .kind = CN_OPTION_TEXT,
      .fallback = "",
      .what = "File of the authorities that sign the mail server's "
              "certificate; the machine's when it is empty." },
    { .name = "CAIRN_MAIL_FROM",
      .kind = CN_OPTION_TEXT,
      .fallback = "care@cairn.localhost",
      .check = s_mail_from,
      .what = "Sender of e-mail; its domain is that of the Message-IDs." },
};

static const struct cn_due_handler DUE_HANDLERS[] = {
    { .kind = "message.send", .work = message_send },
};

static enum cn_code s_notifications_start(void *self,
                                          struct cn_env *env,
                                          const struct cn_config *config,
                                          struct cn_err *err)
{
    struct notifications_service *service = self;
    const struct smtp_config smtp = {
        .url = cn_config_text(config, "CAIRN_SMTP_URL"),
        .from = cn_config_text(config, "CAIRN_MAIL_FROM"),
        .authorities = cn_config_text(config, "CAIRN_SMTP_CA"),
    };
    service->message_id_domain = strchr(smtp.from, '@') + 1;
    service->email = smtp_new(env->loop, &smtp, err);
    return service->email != NULL ? CN_OK : err->code;
}

int main(int argc, char **argv)
{
    struct cn_service service = {
        NOTIFICATIONS_CONTRACT,
        .subscriptions = NOTIFICATIONS_SUBSCRIPTIONS,
        .subscription_count = NOTIFICATIONS_SUBSCRIPTION_COUNT,
        CN_ROWS(due_handler, DUE_HANDLERS),
        CN_ROWS(option, OPTIONS),
        .start = s_notifications_start,
        .self = &s_notifications,
    };
    return cn_service_main(&service, argc, argv);
}
