/* SPDX-License-Identifier: Apache-2.0 */
/* cairn-notifications: messages to patients, sources, physicians. */
#include "cairn/notifications.handlers.h"
#include "common/service/service.h"
#include "services/notifications/service.h"
#include "services/notifications/smtp.h"
#include "services/notifications/store.h"

#include <string.h>
#include <unistd.h>

static struct notifications_service s_notifications;

static const char *s_smtp_url(const char *text)
{
    static const char *const SCHEMES[] = { "smtp://", "smtps://" };
    for (size_t i = 0; i < CN_COUNT(SCHEMES); i++) {
        size_t size = strlen(SCHEMES[i]);
        if (strncmp(text, SCHEMES[i], size) == 0 &&
            strcspn(text + size, ":/ ") > 0) {
            return NULL;
        }
    }
    return "must be smtp://host:port or smtps://host:port: where mail goes";
}

static const char *s_smtp_ca(const char *text)
{
    return text[0] == '\0' || access(text, R_OK) == 0
               ? NULL
               : "must be a file that can be read";
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
      .check = s_smtp_ca,
      .what = "File of the authorities that sign the mail server's "
              "certificate; the machine's when it is empty." },
    { .name = "CAIRN_SMTP_USER",
      .kind = CN_OPTION_TEXT,
      .fallback = "",
      .what = "Name to log in with at the mail server; empty: no login." },
    { .name = "CAIRN_SMTP_PASSWORD",
      .kind = CN_OPTION_SECRET,
      .fallback = "",
      .what = "Its password." },
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
        .user = cn_config_text(config, "CAIRN_SMTP_USER"),
        .password = cn_config_text(config, "CAIRN_SMTP_PASSWORD"),
    };
    service->message_id_domain = strchr(smtp.from, '@') + 1;
    service->email = smtp_new(env->loop, &smtp, err);
    message_counts_begin();
    return service->email != NULL ? smtp_check(service->email, err) : err->code;
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
