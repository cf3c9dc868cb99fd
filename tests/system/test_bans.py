# SPDX-License-Identifier: Apache-2.0
"""The bans find what they are meant to find, and nothing in comments."""
import pytest

from harness.lint import check

bans = check("bans")
SPDX = "/* SPDX-License-Identifier: Apache-2.0 */\n"
# ban, file, a line that must be found
SAMPLES = [
    ("string-calls", "common/x.c", "(void)strcpy(a, b);"),
    ("shell", "services/access/x.c", "system(text);"),
    ("fork", "services/access/x.c", "pid_t pid = fork();"),
    ("threads", "common/x.c", "pthread_create(&t, NULL, f, NULL);"),
    ("number-parsing", "common/x.c", "int n = atoi(text);"),
    ("civil-time", "services/referrals/rules.c", "gmtime_r(&t, &tm);"),
    ("clocks", "common/loop/loop.c", "clock_gettime(CLOCK_REALTIME, &t);"),
    ("clocks", "common/loop/loop.c", "time_t now = time(NULL);"),
    ("calendar", "common/deadlines/due.c", "icaltimezone_get_builtin_timezone(zone);"),
    ("exit", "common/x.c", "exit(1);"),
    ("libpq", "services/access/store.c", "PQclear(result);"),
    ("blocking-libpq", "common/db/db.c", "PQexec(pg, sql);"),
    ("database-text", "common/db/db.c", "PQresultErrorMessage(result)"),
    ("zeromq", "services/gateway/main.c", "zmq_socket(ctx, ZMQ_DEALER);"),
    ("zeromq-heartbeat", "common/bus/bus.c", "int option = ZMQ_HEARTBEAT_IVL;"),
    ("unpack", "services/access/x.c", "m = acc__me__unpack(NULL, n, d);"),
    ("http-server", "services/gateway/auth.c", "MHD_suspend_connection(c);"),
    ("post-processor", "services/gateway/http.c", "MHD_PostProcessor *p;"),
    ("sodium", "services/access/x.c", "crypto_hash_sha256(out, in, n);"),
    ("curl", "services/notifications/send.c", "curl_easy_init();"),
    ("jansson", "services/gateway/x.c", "#include <jansson.h>"),
    ("services-apart", "common/x.c", '#include "services/access/rules.h"'),
    ("services-apart", "services/access/x.c",
     '#include "services/referrals/rules.h"'),
    ("common-names-no-service", "common/x.c", 'call("scheduling");'),
    ("sleeping-tests", "tests/unit/x_test.c", "usleep(1000);"),
    ("unfinished", "common/x.c", "/* TODO: all of it */"),
    ("outside-page", "common/x.h", "/* A rule (design.md 7). */"),
    ("sql-enum", "services/access/migrations/1.sql",
     "CREATE TYPE access.state AS ENUM ('a');"),
    ("security-definer", "common/schema/x.sql", "SECURITY DEFINER"),
]


def found(path, text):
    return {fault[0] for fault in bans.faults(path, text)}


def test_every_ban_has_a_sample():
    assert {ban[0] for ban in bans.BANS} == {sample[0] for sample in SAMPLES}


@pytest.mark.parametrize("ban, path, line", SAMPLES)
def test_a_ban_finds_its_sample(ban, path, line):
    assert ban in found(path, SPDX + line + "\n")


def test_a_comment_is_no_call():
    text = SPDX + "/* strcpy(a, b) and\n * fork() */\nint a; // exit(1)\n"
    assert not found("common/x.c", text)


def test_an_own_header_and_a_method_of_that_name_are_free():
    text = SPDX + '#include "services/access/rules.h"\nself->exit(1);\n'
    assert not found("services/access/x.c", text)


def test_a_library_is_free_where_it_belongs():
    assert not found("common/base/clock.c", SPDX + "clock_gettime(a, &b);\n")
    assert not found("common/bus/bus_call.c", SPDX + "zmq_send(a, b, c, d);\n")


def test_a_static_name_in_two_files_is_found():
    one = "static int\ns_read(int a)\n{\n}\n"
    two = "\nstatic void s_read(void)\n{\n}\n"
    assert list(bans.doubled_statics(
        [("common/a.c", one), ("common/b.c", two), ("tests/c.c", two)])) == \
        [("common/b.c", 2, "s_read", "common/a.c")]


def test_a_file_without_a_licence_line_is_found():
    assert found("common/x.c", "int a;\n") == {"spdx"}
