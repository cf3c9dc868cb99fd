/* SPDX-License-Identifier: Apache-2.0 */
/* An attempt runs in a thread of its own, which owns nothing but the attempt
 * and hands it back over a pipe. In the loop it would hold all other fibers:
 * libcurl waits for the answer to the end of a mail inside its own code
 * (smtp_done), with the multi interface too, and a server may take seconds to
 * look at it. */
#include "services/notifications/smtp.h"

#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/loop/fiber.h"
#include "common/loop/loop.h"

#include <assert.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum {
    SMTP_TIMEOUT_MS = 15000, /* of one attempt, connection included */
    SMTP_HEADER_MAX = 512,
    SMTP_STACK_SIZE = 512 << 10,
    LOOK_TIMEOUT_MS = 4000,
    LOOKS_MAX = 4,
    LOOK_PAUSE_US = 1000000
};

struct smtp {
    struct channel channel;
    struct cn_loop *loop;
    struct cn_watch *watch;
    int done_fd;    /* attempts that have ended come out here */
    int ended_fd;   /* threads write them here */
    size_t threads; /* whose attempts have not come back */
    char *url;
    char *from;
    char *authorities;
    char *user;
    char *password;
};

/* One attempt. Its thread has it until it comes out of the pipe; then it
 * belongs to the fiber, or to nobody where the fiber has left. */
struct attempt {
    int ended_fd;
    struct cn_token token;
    CURL *easy;
    curl_mime *mime;
    struct curl_slist *headers;
    struct curl_slist *recipients;
    CURLcode code;
    long status;
    bool done;
    bool abandoned; /* the fiber left at its deadline */
};

static void s_attempt_free(struct attempt *self)
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

static void *s_attempt_run(void *arg)
{
    struct attempt *self = arg;
    self->code = curl_easy_perform(self->easy);
    (void)curl_easy_getinfo(self->easy, CURLINFO_RESPONSE_CODE, &self->status);
    /* A pointer is written whole or not at all. */
    ssize_t size = 0;
    do {
        size = write(self->ended_fd, &self, sizeof(struct attempt *));
    } while (size < 0 && errno == EINTR);
    assert(size == (ssize_t)sizeof(struct attempt *));
    return NULL;
}

/* Takes one attempt that has ended out of the pipe. False: there is none. */
static bool s_smtp_take(struct smtp *self)
{
    struct attempt *attempt = NULL;
    ssize_t size = read(self->done_fd, &attempt, sizeof(struct attempt *));
    if (size != (ssize_t)sizeof(struct attempt *)) {
        return false;
    }
    self->threads--;
    attempt->done = true;
    if (attempt->abandoned) {
        s_attempt_free(attempt);
    } else {
        (void)cn_fiber_wake(attempt->token, CN_OK);
    }
    return true;
}

static void on_ended(void *arg, unsigned events)
{
    struct smtp *self = arg;
    (void)events;
    while (s_smtp_take(self)) {
    }
}

static bool
s_header_add(struct attempt *attempt, const char *name, const char *value)
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

static bool s_headers_fill(struct attempt *attempt,
                           const struct smtp *self,
                           const struct channel_mail *mail)
{
    char date[CN_TIME_TEXT_MAX];
    char id[SMTP_HEADER_MAX];
    cn_time_format_http(mail->sent_at, date);
    (void)snprintf(id, sizeof(id), "<%s>", mail->message_id);
    return s_header_add(attempt, "Date", date) &&
           s_header_add(attempt, "From", self->from) &&
           s_header_add(attempt, "To", mail->to) &&
           s_header_add(attempt, "Message-ID", id) &&
           s_header_add(attempt, "Subject", mail->subject) &&
           s_header_add(attempt, "Auto-Submitted", "auto-generated");
}

static bool s_body_fill(struct attempt *attempt,
                        const struct channel_mail *mail)
{
    attempt->mime = curl_mime_init(attempt->easy);
    curl_mimepart *part =
        attempt->mime != NULL ? curl_mime_addpart(attempt->mime) : NULL;
    return part != NULL &&
           curl_mime_data(part, mail->text, CURL_ZERO_TERMINATED) == CURLE_OK &&
           curl_mime_type(part, "text/plain; charset=utf-8") == CURLE_OK &&
           curl_mime_encoder(part, "quoted-printable") == CURLE_OK;
}

/* Patients' mail leaves this machine encrypted or not at all: STARTTLS is
 * demanded of every server but one on loopback. */
static long s_security(const char *url)
{
    static const char *const LOOPBACK[] = { "smtp://127.", "smtp://localhost:",
                                            "smtp://[::1]" };
    for (size_t i = 0; i < CN_COUNT(LOOPBACK); i++) {
        if (strncasecmp(url, LOOPBACK[i], strlen(LOOPBACK[i])) == 0) {
            return CURLUSESSL_TRY;
        }
    }
    return CURLUSESSL_ALL;
}

static bool
s_server_fill(struct attempt *attempt, const struct smtp *self, long timeout_ms)
{
    CURL *easy = attempt->easy;
    return curl_easy_setopt(easy, CURLOPT_URL, self->url) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "smtp,smtps") ==
               CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_USE_SSL, s_security(self->url)) ==
               CURLE_OK &&
           (self->authorities[0] == '\0' ||
            curl_easy_setopt(easy, CURLOPT_CAINFO, self->authorities) ==
                CURLE_OK) &&
           (self->user[0] == '\0' ||
            (curl_easy_setopt(easy, CURLOPT_USERNAME, self->user) == CURLE_OK &&
             curl_easy_setopt(easy, CURLOPT_PASSWORD, self->password) ==
                 CURLE_OK)) &&
           curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, timeout_ms) == CURLE_OK;
}

static bool s_options_fill(struct attempt *attempt,
                           const struct smtp *self,
                           const struct channel_mail *mail)
{
    CURL *easy = attempt->easy;
    attempt->recipients = curl_slist_append(NULL, mail->to);
    return attempt->recipients != NULL &&
           s_server_fill(attempt, self, SMTP_TIMEOUT_MS) &&
           curl_easy_setopt(easy, CURLOPT_MAIL_FROM, self->from) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_MAIL_RCPT, attempt->recipients) ==
               CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HTTPHEADER, attempt->headers) ==
               CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_MIMEPOST, attempt->mime) == CURLE_OK;
}

static struct attempt *s_attempt_new(const struct smtp *self,
                                     const struct channel_mail *mail)
{
    struct attempt *attempt = calloc(1, sizeof(*attempt));
    if (attempt == NULL) {
        return NULL;
    }
    attempt->easy = curl_easy_init();
    if (attempt->easy == NULL || !s_headers_fill(attempt, self, mail) ||
        !s_body_fill(attempt, mail) || !s_options_fill(attempt, self, mail)) {
        s_attempt_free(attempt);
        return NULL;
    }
    return attempt;
}

static struct channel_result s_attempt_result(const struct attempt *attempt)
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

/* The threads have every signal blocked: the loop takes them by signalfd. */
static bool s_attempt_start(struct attempt *attempt)
{
    pthread_attr_t attr;
    pthread_t thread;
    if (pthread_attr_init(&attr) != 0) {
        return false;
    }
    bool started =
        pthread_attr_setstacksize(&attr, SMTP_STACK_SIZE) == 0 &&
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED) == 0 &&
        pthread_create(&thread, &attr, s_attempt_run, attempt) == 0;
    (void)pthread_attr_destroy(&attr);
    return started;
}

/* Runs the attempt in a thread and parks. CN_OK: it has ended, and the caller
 * frees it; else it is not the caller's any more. */
static enum cn_code
s_attempt_wait(struct smtp *self, struct attempt *attempt, struct cn_err *err)
{
    if (attempt == NULL) {
        return cn_fail(err, CN_NOMEM, "prepare an e-mail");
    }
    attempt->ended_fd = self->ended_fd;
    attempt->token = cn_fiber_token();
    if (!s_attempt_start(attempt)) {
        s_attempt_free(attempt);
        return cn_fail(err, CN_UNAVAILABLE, "no thread for an e-mail");
    }
    self->threads++;
    enum cn_code rc = cn_fiber_park(INT64_MAX);
    if (attempt->done) {
        return CN_OK;
    }
    /* Our deadline came first: the thread still has it. */
    attempt->abandoned = true;
    return cn_fail(err, rc, "send an e-mail");
}

static enum cn_code s_smtp_send(struct channel *channel,
                                const struct channel_mail *mail,
                                struct channel_result *ret_result,
                                struct cn_err *err)
{
    struct smtp *self = (struct smtp *)channel;
    struct attempt *attempt = s_attempt_new(self, mail);
    enum cn_code rc = s_attempt_wait(self, attempt, err);
    if (rc == CN_OK) {
        *ret_result = s_attempt_result(attempt);
        s_attempt_free(attempt);
    }
    return rc;
}

/* ---- the look at the start ---- */

/* An attempt without a mail: it ends where a mail would begin. */
static struct attempt *s_look_new(const struct smtp *self)
{
    struct attempt *attempt = calloc(1, sizeof(*attempt));
    if (attempt == NULL) {
        return NULL;
    }
    attempt->easy = curl_easy_init();
    if (attempt->easy == NULL ||
        !s_server_fill(attempt, self, LOOK_TIMEOUT_MS) ||
        curl_easy_setopt(attempt->easy, CURLOPT_CONNECT_ONLY, 1L) != CURLE_OK) {
        s_attempt_free(attempt);
        return NULL;
    }
    return attempt;
}

static enum cn_code
s_look(struct smtp *self, CURLcode *ret_code, struct cn_err *err)
{
    struct attempt *attempt = s_look_new(self);
    enum cn_code rc = s_attempt_wait(self, attempt, err);
    if (rc == CN_OK) {
        *ret_code = attempt->code;
        s_attempt_free(attempt);
    }
    return rc;
}

enum cn_code smtp_check(struct channel *channel, struct cn_err *err)
{
    struct smtp *self = (struct smtp *)channel;
    CURLcode code = CURLE_OK;
    enum cn_code rc = s_look(self, &code, err);
    /* A container's name is known only when the container runs. */
    for (unsigned i = 1; rc == CN_OK && code == CURLE_COULDNT_RESOLVE_HOST;
         i++) {
        if (i == LOOKS_MAX) {
            return cn_fail(err, CN_INVALID,
                           "CAIRN_SMTP_URL %s names a host that is not known "
                           "here: no mail could be sent",
                           self->url);
        }
        rc = cn_fiber_sleep(LOOK_PAUSE_US);
        if (rc == CN_OK) {
            rc = s_look(self, &code, err);
        }
    }
    if (rc == CN_OK && code == CURLE_PEER_FAILED_VERIFICATION) {
        cn_log(CN_LOG_WARN, "the mail server's certificate is not signed by "
                            "the authorities of CAIRN_SMTP_CA: no mail goes "
                            "out");
    } else if (rc == CN_OK && code == CURLE_LOGIN_DENIED) {
        cn_log(CN_LOG_WARN, "the mail server refuses CAIRN_SMTP_USER and "
                            "CAIRN_SMTP_PASSWORD: no mail goes out");
    } else if (rc == CN_OK && code != CURLE_OK) {
        cn_log(CN_LOG_INFO, "the mail server does not answer now (curl %d)",
               (int)code);
    }
    return rc;
}

struct channel *smtp_new(struct cn_loop *loop,
                         const struct smtp_config *config,
                         struct cn_err *err)
{
    int ends[2] = { -1, -1 };
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        (void)cn_fail(err, CN_INTERNAL, "libcurl does not start");
        return NULL;
    }
    struct smtp *self = calloc(1, sizeof(*self));
    if (self == NULL || pipe2(ends, O_CLOEXEC) != 0 ||
        fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0) {
        (void)cn_fail(err, CN_NOMEM, "open SMTP");
        free(self);
        return NULL;
    }
    *self = (struct smtp){
        .channel = { s_smtp_send },
        .loop = loop,
        .done_fd = ends[0],
        .ended_fd = ends[1],
        .watch = cn_loop_watch(loop, ends[0], CN_READABLE, on_ended, self),
        .url = strdup(config->url),
        .from = strdup(config->from),
        .authorities = strdup(config->authorities),
        .user = strdup(config->user),
        .password = strdup(config->password),
    };
    if (self->watch == NULL || self->url == NULL || self->from == NULL ||
        self->authorities == NULL || self->user == NULL ||
        self->password == NULL) {
        (void)cn_fail(err, CN_NOMEM, "open SMTP");
        smtp_free(&self->channel);
        return NULL;
    }
    return &self->channel;
}

void smtp_free(struct channel *channel)
{
    struct smtp *self = (struct smtp *)channel;
    if (self == NULL) {
        return;
    }
    cn_loop_unwatch(self->watch);
    (void)fcntl(self->done_fd, F_SETFL, 0);
    while (self->threads > 0) {
        (void)s_smtp_take(self);
    }
    (void)close(self->done_fd);
    (void)close(self->ended_fd);
    free(self->url);
    free(self->from);
    free(self->authorities);
    free(self->user);
    if (self->password != NULL) {
        explicit_bzero(self->password, strlen(self->password));
    }
    free(self->password);
    free(self);
}
