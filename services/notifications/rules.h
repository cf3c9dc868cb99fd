/* SPDX-License-Identifier: Apache-2.0 */
/* Pure rules of telling people: who is told what, in which words, and when to
 * try again. */
#ifndef NOTIFICATIONS_RULES_H
#define NOTIFICATIONS_RULES_H

#include "cairn/notifications.pb-c.h"
#include "common/base/arena.h"
#include "services/notifications/channel.h"

enum { SEND_ATTEMPTS_MAX = 8, CARE_TELLINGS_MAX = 2 };

/* A message to be made: to whom, what, where to. address NULL: there is none,
 * and the message says so (not_sent, no_address). */
struct telling {
    Ntf__Message__Audience audience;
    const char *template;
    const char *address;
};

/* Whom a referral's state asks to be told: its source once it is accepted, the
 * patient once the first visit is booked; when it has ended its source, and the
 * patient if it was accepted before. Returns how many. What was told
 * already is left out by the constraint message_once. */
size_t care_tellings(const Ntf__Care *care,
                     struct telling ret_tellings[CARE_TELLINGS_MAX]);

/* Can mail be sent there? One address of plain ASCII, with nothing that a
 * header or an SMTP command could take for its own. */
bool address_usable(const char *address);
/* Why a message cannot be sent to it: "no_address" (NULL), "bad_address"; NULL
 * when it can. */
const char *address_fault(const char *address);

/* Subject (ASCII) and text of a template in the patient's language where there
 * is one, else in English. Minimum necessary: no diagnosis, no full name. False
 * for an unknown template. */
CN_CHECKED bool template_write(struct cn_arena *arena,
                               const char *template,
                               const Ntf__Care *care,
                               const char **ret_subject,
                               const char **ret_text);
/* "en" or "es": the language in which template_write answers. */
const char *template_language(const Ntf__Care *care);

/* What an attempt's outcome makes of the message. */
struct send_step {
    const char *command;     /* "send", "fail"; NULL: again after retry_us */
    const char *reason_code; /* NULL: none */
    int64_t retry_us;
};
/* attempts: how many were made. */
struct send_step send_next(enum channel_outcome outcome, size_t attempts);

#endif
