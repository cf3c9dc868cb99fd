/* SPDX-License-Identifier: Apache-2.0 */
#include "services/notifications/smtp.h"

#include "common/clock.h"
#include "common/fiber.h"
#include "common/loop.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SMTP_TIMEOUT_MS = 15000, /* of one attempt, connection included */
    SMTP_HEADER_MAX = 512
};

struct smtp {
    struct channel channel;
    struct cn_loop *loop;
    CURLM *multi;
    struct cn_timer *timer;
    char *url;
    char *from;
};

/* One attempt. Owned by the fiber that waits for it and, until curl is done
 * with it, by curl: freed by whoever comes last. */
struct attempt {
    struct cn_token token;
    CURL *easy;
    curl_mime *mime;
    struct curl_slist *headers;
    struct curl_slist *recipients;
    bool done;
    bool abandoned; /* the fiber left at its deadline */
    CURLcode code;
    long status;
};

static void attempt_free(struct attempt *self)
{
    if (self == NULL) {
        return;
    }
    curl_easy_cleanup(self->easy);
    curl_mime_free(self->mime);
    curl_slist_free_all(self->headers);
    curl_slist_free_all(self->recipients);
    free(self);
}

/* Tells the fibers whose attempts have ended. */
static void smtp_finish(struct smtp *self)
{
    CURLMsg *msg = NULL;
    int left = 0;
    while ((msg = curl_multi_info_read(self->multi, &left)) != NULL) {
        if (msg->msg != CURLMSG_DONE) {
            continue;
        }
        CURL *easy = msg->easy_handle;
        CURLcode code = msg->data.result;
        struct attempt *attempt = NULL;
        (void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&attempt);
        attempt->code = code;
        (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &attempt->status);
        attempt->done = true;
        (void)curl_multi_remove_handle(self->multi, easy);
        if (attempt->abandoned) {
            attempt_free(attempt);
        } else {
            (void)cn_fiber_wake(attempt->token, CN_OK);
        }
    }
}

/* What curl keeps with one of its sockets. */
struct smtp_socket {
    struct smtp *smtp;
    struct cn_watch *watch;
    curl_socket_t fd;
};

static void on_socket_ready(void *arg, unsigned events)
{
    struct smtp_socket *socket = arg;
    struct smtp *self = socket->smtp;
    int running = 0;
    int mask = ((events & CN_READABLE) != 0 ? CURL_CSELECT_IN : 0) |
               ((events & CN_WRITABLE) != 0 ? CURL_CSELECT_OUT : 0);
    /* socket may be gone after this call. */
    (void)curl_multi_socket_action(self->multi, socket->fd, mask, &running);
    smtp_finish(self);
}

static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    (void)easy;
    struct smtp *self = arg;
    struct smtp_socket *socket = socket_arg;
    if (what == CURL_POLL_REMOVE) {
        if (socket != NULL) {
            cn_loop_unwatch(socket->watch);
            (void)curl_multi_assign(self->multi, fd, NULL);
            free(socket);
        }
        return 0;
    }
    unsigned events = (what != CURL_POLL_OUT ? (unsigned)CN_READABLE : 0) |
                      (what != CURL_POLL_IN ? (unsigned)CN_WRITABLE : 0);
    if (socket != NULL) {
        cn_loop_watch_events(socket->watch, events);
        return 0;
    }
    socket = calloc(1, sizeof(*socket));
    if (socket == NULL) {
        return -1;
    }
    socket->smtp = self;
    socket->fd = fd;
    socket->watch =
        cn_loop_watch(self->loop, fd, events, on_socket_ready, socket);
    if (socket->watch == NULL) {
        free(socket);
        return -1;
    }
    (void)curl_multi_assign(self->multi, fd, socket);
    return 0;
}

static void on_timeout(void *arg)
{
    struct smtp *self = arg;
    int running = 0;
    self->timer = NULL;
    (void)curl_multi_socket_action(self->multi, CURL_SOCKET_TIMEOUT, 0,
                                   &running);
    smtp_finish(self);
}

static int on_timer(CURLM *multi, long timeout_ms, void *arg)
{
    (void)multi;
    struct smtp *self = arg;
    if (self->timer != NULL) {
        cn_loop_cancel(self->timer);
        self->timer = NULL;
    }
    if (timeout_ms >= 0) {
        self->timer =
            cn_loop_timer(self->loop, cn_clock_monotonic() + timeout_ms * 1000,
                          on_timeout, self);
        return self->timer != NULL ? 0 : -1;
    }
    return 0;
}

static bool
header_add(struct attempt *attempt, const char *name, const char *value)
{
    char header[SMTP_HEADER_MAX];
    int size = snprintf(header, sizeof(header), "%s: %s", name, value);
    if (size < 0 || (size_t)size >= sizeof(header) ||
        strpbrk(header, "\r\n") != NULL) {
        return false;
    }
    struct curl_slist *headers = curl_slist_append(attempt->headers, header);
    if (headers == NULL) {
        return false;
    }
    attempt->headers = headers;
    return true;
}

static bool headers_fill(struct attempt *attempt,
                         const struct smtp *self,
                         const struct channel_mail *mail)
{
    char date[CN_TIME_TEXT_MAX];
    char id[SMTP_HEADER_MAX];
    cn_time_format_http(mail->sent_at, date);
    (void)snprintf(id, sizeof(id), "<%s>", mail->message_id);
    return header_add(attempt, "Date", date) &&
           header_add(attempt, "From", self->from) &&
           header_add(attempt, "To", mail->to) &&
           header_add(attempt, "Message-ID", id) &&
           header_add(attempt, "Subject", mail->subject) &&
           header_add(attempt, "Auto-Submitted", "auto-generated");
}

static bool body_fill(struct attempt *attempt, const struct channel_mail *mail)
{
    attempt->mime = curl_mime_init(attempt->easy);
    curl_mimepart *part =
        attempt->mime != NULL ? curl_mime_addpart(attempt->mime) : NULL;
    return part != NULL &&
           curl_mime_data(part, mail->text, CURL_ZERO_TERMINATED) == CURLE_OK &&
           curl_mime_type(part, "text/plain; charset=utf-8") == CURLE_OK &&
           curl_mime_encoder(part, "quoted-printable") == CURLE_OK;
}

static bool options_fill(struct attempt *attempt,
                         const struct smtp *self,
                         const struct channel_mail *mail)
{
    CURL *easy = attempt->easy;
    attempt->recipients = curl_slist_append(NULL, mail->to);
    return attempt->recipients != NULL &&
           curl_easy_setopt(easy, CURLOPT_PRIVATE, attempt) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_URL, self->url) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "smtp,smtps") ==
               CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)SMTP_TIMEOUT_MS) ==
               CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_MAIL_FROM, self->from) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_MAIL_RCPT, attempt->recipients) ==
               CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HTTPHEADER, attempt->headers) ==
               CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_MIMEPOST, attempt->mime) == CURLE_OK;
}

static struct attempt *attempt_new(const struct smtp *self,
                                   const struct channel_mail *mail)
{
    struct attempt *attempt = calloc(1, sizeof(*attempt));
    if (attempt == NULL) {
        return NULL;
    }
    attempt->easy = curl_easy_init();
    if (attempt->easy == NULL || !headers_fill(attempt, self, mail) ||
        !body_fill(attempt, mail) || !options_fill(attempt, self, mail)) {
        attempt_free(attempt);
        return NULL;
    }
    return attempt;
}

static struct channel_result attempt_result(const struct attempt *attempt)
{
    struct channel_result result = { CHANNEL_UNREACHABLE, attempt->status };
    if (attempt->code == CURLE_OK) {
        result.outcome = CHANNEL_ACCEPTED;
    } else if (attempt->status >= 500 && attempt->status < 600) {
        result.outcome = CHANNEL_REFUSED;
    } else if (attempt->status >= 400 && attempt->status < 500) {
        result.outcome = CHANNEL_DEFERRED;
    }
    return result;
}

static enum cn_code smtp_send(struct channel *channel,
                              const struct channel_mail *mail,
                              struct channel_result *ret_result,
                              struct cn_err *err)
{
    struct smtp *self = (struct smtp *)channel;
    struct attempt *attempt = attempt_new(self, mail);
    if (attempt == NULL) {
        return cn_fail(err, CN_NOMEM, "prepare an e-mail");
    }
    attempt->token = cn_fiber_token();
    if (curl_multi_add_handle(self->multi, attempt->easy) != CURLM_OK) {
        attempt_free(attempt);
        return cn_fail(err, CN_UNAVAILABLE, "libcurl takes no more");
    }
    enum cn_code rc = cn_fiber_park(INT64_MAX);
    if (attempt->done) {
        *ret_result = attempt_result(attempt);
        attempt_free(attempt);
        return CN_OK;
    }
    /* Our deadline came first: curl still has it and ends it by its own. */
    attempt->abandoned = true;
    return cn_fail(err, rc, "send an e-mail");
}

struct channel *smtp_new(struct cn_loop *loop,
                         const char *url,
                         const char *from,
                         struct cn_err *err)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        (void)cn_fail(err, CN_INTERNAL, "libcurl does not start");
        return NULL;
    }
    struct smtp *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        (void)cn_fail(err, CN_NOMEM, "open SMTP");
        return NULL;
    }
    self->channel.send = smtp_send;
    self->loop = loop;
    self->multi = curl_multi_init();
    self->url = strdup(url);
    self->from = strdup(from);
    if (self->multi == NULL || self->url == NULL || self->from == NULL) {
        (void)cn_fail(err, CN_NOMEM, "open SMTP");
        curl_multi_cleanup(self->multi);
        free(self->url);
        free(self->from);
        free(self);
        return NULL;
    }
    (void)curl_multi_setopt(self->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    (void)curl_multi_setopt(self->multi, CURLMOPT_SOCKETDATA, self);
    (void)curl_multi_setopt(self->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    (void)curl_multi_setopt(self->multi, CURLMOPT_TIMERDATA, self);
    return &self->channel;
}

void smtp_free(struct channel *channel)
{
    struct smtp *self = (struct smtp *)channel;
    if (self == NULL) {
        return;
    }
    /* Closes what connections curl keeps, which unwatches their sockets. */
    curl_multi_cleanup(self->multi);
    if (self->timer != NULL) {
        cn_loop_cancel(self->timer);
    }
    free(self->url);
    free(self->from);
    free(self);
}
