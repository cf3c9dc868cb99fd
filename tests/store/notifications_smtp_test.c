/* SPDX-License-Identifier: Apache-2.0 */
/* E-mail by real SMTP to the sink of `make run`, which fails as an address asks
 * it to. */
#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/loop/fiber.h"
#include "common/loop/loop.h"
#include "services/notifications/smtp.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka needs four of the above. */
#include <cmocka.h>

enum { MAIL_MAX = 16384, GRACE_US = 1000000, READY_US = 20000000 };

static char s_folder[] = "/tmp/cairn-smtp-test.XXXXXX";
static struct sockaddr_in s_address;
static char s_url[64];
static pid_t s_sink;

/* ---- the sink ---- */

static void s_address_choose(void)
{
    socklen_t size = sizeof(s_address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    s_address =
        (struct sockaddr_in){ .sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    assert_int_equal(bind(fd, (struct sockaddr *)&s_address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&s_address, &size), 0);
    (void)close(fd);
    (void)snprintf(s_url, sizeof(s_url), "smtp://127.0.0.1:%u",
                   (unsigned)ntohs(s_address.sin_port));
}

static void s_sink_start(void)
{

    char port[16];
    char python[] = "/usr/bin/python3";
    char script[] = "deploy/local/sink.py";
    char host[] = "127.0.0.1";
    (void)snprintf(port, sizeof(port), "%u",
                   (unsigned)ntohs(s_address.sin_port));
    char *argv[] = { python, script, host, port, s_folder, NULL };
    assert_int_equal(posix_spawn(&s_sink, python, NULL, NULL, argv, environ),
                     0);
}

static bool s_sink_answers(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int rc = connect(fd, (struct sockaddr *)&s_address, sizeof(s_address));
    (void)close(fd);
    return rc == 0;
}

/* In a fiber. */
static void s_sink_await(void)
{
    int64_t give_up_at = cn_clock_monotonic() + READY_US;
    while (!s_sink_answers()) {
        assert_true(cn_clock_monotonic() < give_up_at);
        assert_int_equal(cn_fiber_sleep(10000), CN_OK);
    }
}

/* How many mails of an address the sink has; the last one in text. */
static int s_mails(const char *to, char text[MAIL_MAX])
{
    char mark[128];
    int count = 0;
    struct dirent **names = NULL;
    int all = scandir(s_folder, &names, NULL, alphasort);
    assert_true(all >= 0);
    (void)snprintf(mark, sizeof(mark), "X-Envelope-To: %s\r\n", to);
    for (int i = 0; i < all; i++) {
        char path[400];
        char mail[MAIL_MAX] = "";
        (void)snprintf(path, sizeof(path), "%s/%s", s_folder, names[i]->d_name);
        FILE *file =
            strstr(names[i]->d_name, ".eml") != NULL ? fopen(path, "re") : NULL;
        if (file != NULL) {
            size_t size = fread(mail, 1, sizeof(mail) - 1, file);
            mail[size] = '\0';
            (void)fclose(file);
        }
        if (strstr(mail, mark) != NULL) {
            count++;
            memcpy(text, mail, sizeof(mail));
        }
        free(names[i]);
    }
    free(names);
    return count;
}

/* ---- one send ---- */

struct sending {
    struct cn_loop *loop;
    const char *url;
    const char *to;
    int64_t budget_us; /* 0: enough */
    bool looks;        /* as at a start, without a mail */
    int64_t took_us;
    enum cn_code rc;
    struct channel_result result;
    char said[CN_ERR_MSG_MAX];
};

static void s_send_fiber(void *arg)
{
    struct sending *self = arg;
    struct cn_err err = { 0 };
    const struct smtp_config config = { .url = self->url,
                                        .from = "care@agency.example",
                                        .authorities = "",
                                        .user = "",
                                        .password = "" };
    struct channel *smtp = smtp_new(self->loop, &config, &err);
    const struct channel_mail mail = {
        .message_id = "msg_1@agency.example",
        .to = self->to,
        .subject = "Your first home visit",
        .text = "Hola Pat:\r\n\r\nvisitará su casa\r\n.\r\nend of it\r\n",
        .sent_at = 1793476800000000, /* 2026-10-31T20:00:00Z */
    };
    assert_non_null(smtp);
    if (self->url == s_url) {
        s_sink_await();
    }
    if (self->budget_us != 0) {
        cn_fiber_set_deadline(cn_clock_monotonic() + self->budget_us);
    }
    int64_t from = cn_clock_monotonic();
    self->rc = self->looks ? smtp_check(smtp, &err)
                           : smtp->send(smtp, &mail, &self->result, &err);
    (void)snprintf(self->said, sizeof(self->said), "%s", err.msg);
    self->took_us = cn_clock_monotonic() - from;

    smtp_free(smtp);
    cn_loop_stop(self->loop);
}

static void s_run(struct sending *sending)
{
    struct cn_err err = { 0 };
    sending->loop = cn_loop_new();
    assert_non_null(sending->loop);
    assert_int_equal(cn_fiber_spawn(sending->loop, s_send_fiber, sending,
                                    cn_clock_monotonic() + 30 * CN_SECOND,
                                    &err),
                     CN_OK);
    cn_loop_run(sending->loop, GRACE_US);
    cn_loop_free(sending->loop);
}

static struct sending s_send(const char *url, const char *to, int64_t budget_us)
{
    struct sending sending = { .url = url, .to = to, .budget_us = budget_us };
    s_run(&sending);
    return sending;
}

static void
s_assert_outcome(const char *to, enum channel_outcome outcome, long status)
{
    struct sending sending = s_send(s_url, to, 0);
    assert_int_equal(sending.rc, CN_OK);
    assert_int_equal(sending.result.outcome, outcome);
    assert_int_equal(sending.result.status, status);
}

/* ---- tests ---- */

static void a_mail_arrives_as_it_was_written(void **state)
{
    static const char *const PARTS[] = {
        "From: care@agency.example\r\n",
        "To: pat@home.example\r\n",
        "Message-ID: <msg_1@agency.example>\r\n",
        "Subject: Your first home visit\r\n",
        "Auto-Submitted: auto-generated\r\n",
        "Date: Sat, 31 Oct 2026 20:00:00 GMT\r\n",
        "Content-Type: text/plain; charset=utf-8\r\n",
        "visitar=C3=A1 su casa\r\n",
        "end of it\r\n",
        "X-Envelope-From: care@agency.example\r\n",
    };
    char mail[MAIL_MAX];
    (void)state;
    s_assert_outcome("pat@home.example", CHANNEL_ACCEPTED, 250);
    assert_int_equal(s_mails("pat@home.example", mail), 1);
    for (size_t i = 0; i < CN_COUNT(PARTS); i++) {
        if (strstr(mail, PARTS[i]) == NULL) {
            fail_msg("without %s:\n%s", PARTS[i], mail);
        }
    }
}

static void what_is_refused_for_good_is_told_from_what_is_not(void **state)
{
    (void)state;
    s_assert_outcome("fail@home.example", CHANNEL_REFUSED, 550);
    s_assert_outcome("reject@home.example", CHANNEL_REFUSED, 554);
    s_assert_outcome("later@home.example", CHANNEL_DEFERRED, 451);
}

static void a_lost_answer_leads_to_the_same_mail_again(void **state)
{
    char first[MAIL_MAX];
    char mail[MAIL_MAX];
    (void)state;
    struct sending sending = s_send(s_url, "drop@home.example", 0);
    assert_int_equal(sending.rc, CN_OK);
    assert_int_equal(sending.result.outcome, CHANNEL_UNREACHABLE);
    assert_int_equal(s_mails("drop@home.example", first), 1);
    s_assert_outcome("drop@home.example", CHANNEL_ACCEPTED, 250);
    assert_int_equal(s_mails("drop@home.example", mail), 2);
    assert_non_null(strstr(first, "Message-ID: <msg_1@agency.example>\r\n"));
    assert_non_null(strstr(mail, "Message-ID: <msg_1@agency.example>\r\n"));
}

static void nobody_there_is_unreachable(void **state)
{
    (void)state;
    struct sending sending = s_send("smtp://127.0.0.1:1", "a@b.example", 0);
    assert_int_equal(sending.rc, CN_OK);
    assert_int_equal(sending.result.outcome, CHANNEL_UNREACHABLE);
    assert_int_equal(sending.result.status, 0);
}

/* Such a service would put off all its mail until it is given up. */
static void a_mail_server_that_no_name_leads_to_ends_the_start(void **state)
{
    struct sending sending = { .url = "smtp://sink.invalid:25", .looks = true };
    (void)state;
    s_run(&sending);
    assert_int_equal(sending.rc, CN_INVALID);
    assert_non_null(strstr(sending.said, "CAIRN_SMTP_URL"));
}

static void a_mail_server_that_is_away_does_not_end_the_start(void **state)
{
    const char *const urls[] = { s_url, "smtp://127.0.0.1:1" };
    (void)state;
    for (size_t i = 0; i < CN_COUNT(urls); i++) {
        struct sending sending = { .url = urls[i], .looks = true };
        s_run(&sending);
        assert_int_equal(sending.rc, CN_OK);
    }
}

/* The sink answers after two seconds. The fiber and its loop do not wait for
 * it beyond the deadline. The memory that the thread holds is freed after the
 * answer. */
static void a_slow_answer_does_not_hold_the_fiber(void **state)
{
    (void)state;
    struct sending sending = s_send(s_url, "slow@home.example", CN_SECOND / 2);
    assert_int_equal(sending.rc, CN_DEADLINE);
    assert_true(sending.took_us < CN_SECOND);
}

static void an_address_cannot_add_a_header(void **state)
{
    char mail[MAIL_MAX];
    (void)state;
    struct sending sending =
        s_send(s_url, "evil@home.example\r\nBcc: all@home.example", 0);
    assert_int_equal(sending.rc, CN_NOMEM);
    assert_int_equal(s_mails("evil@home.example", mail), 0);
}

static int s_setup(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(s_folder));
    s_address_choose();
    s_sink_start();
    return 0;
}

static int s_teardown(void **state)
{
    struct dirent **names = NULL;
    (void)state;
    assert_int_equal(kill(s_sink, SIGTERM), 0);
    assert_int_equal(waitpid(s_sink, NULL, 0), s_sink);
    int count = scandir(s_folder, &names, NULL, NULL);
    for (int i = 0; i < count; i++) {
        char path[400];
        (void)snprintf(path, sizeof(path), "%s/%s", s_folder, names[i]->d_name);
        (void)unlink(path); /* "." and ".." stay */
        free(names[i]);
    }
    free(names);
    assert_int_equal(rmdir(s_folder), 0);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mail_arrives_as_it_was_written),
        cmocka_unit_test(what_is_refused_for_good_is_told_from_what_is_not),
        cmocka_unit_test(a_lost_answer_leads_to_the_same_mail_again),
        cmocka_unit_test(nobody_there_is_unreachable),
        cmocka_unit_test(a_mail_server_that_no_name_leads_to_ends_the_start),
        cmocka_unit_test(a_mail_server_that_is_away_does_not_end_the_start),
        cmocka_unit_test(a_slow_answer_does_not_hold_the_fiber),
        cmocka_unit_test(an_address_cannot_add_a_header),
    };
    return cmocka_run_group_tests(tests, s_setup, s_teardown);
}
