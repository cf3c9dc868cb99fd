# SPDX-License-Identifier: Apache-2.0
"""cairn-supervisor alone, with shells as its processes."""
import os
import signal
import subprocess
import time

import pytest

from harness.system import REPO, read
from harness.wait import wait_for

BINARY = os.path.join(REPO, "build", os.environ.get("MODE", "release"),
                      "cairn-supervisor")


def alive(pid):
    """Does it run? A zombie does not."""
    text = read(f"/proc/{pid}/stat")
    return bool(text) and text.rpartition(")")[2].split()[0] != "Z"


class Supervisor:
    """One under test, in a folder of its own."""

    def __init__(self, folder, *blocks):
        self.folder = str(folder)
        for name in ("log", "run"):
            os.mkdir(os.path.join(self.folder, name))
        table = os.path.join(self.folder, "table")
        with open(table, "w", encoding="utf-8") as file:
            file.write("\n".join(blocks))
        with open(os.path.join(self.folder, "out"), "wb") as out:
            self.process = subprocess.Popen([BINARY, table, self.folder],
                                            stdout=out, stderr=out)

    def pid(self, name):
        path = os.path.join(self.folder, "run", name + ".pid")
        return int(wait_for(lambda: read(path), what=name))

    def log(self, name):
        return read(os.path.join(self.folder, "log", name + ".log"))

    def stop(self):
        self.process.terminate()
        return self.process.wait(20)


def shell(name, script, *words):
    """A block of the table."""
    return "\n".join([f"process {name}", "command /bin/sh", "argument -c",
                      f"argument {script}", *words, ""])


@pytest.fixture
def supervise(tmp_path):
    """supervise(*blocks) starts one; it is stopped after the test."""
    started = []

    def start(*blocks):
        started.append(Supervisor(tmp_path, *blocks))
        return started[-1]
    yield start
    for one in started:
        if one.process.poll() is None:
            one.stop()


def test_what_dies_is_started_again_under_a_new_pid(supervise):
    one = supervise(shell("a", "exec sleep 60"))
    old = one.pid("a")
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: read(one.folder + "/run/a.pid").strip()
             not in ("", str(old)), what="the restart")
    assert alive(one.pid("a"))


def kill(one, name):
    """kill -9. Returns the seconds until another runs in its place."""
    old = one.pid(name)
    begin = time.monotonic()
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: read(f"{one.folder}/run/{name}.pid").strip()
             not in ("", str(old)), what="the restart")
    return time.monotonic() - begin


def test_what_dies_again_and_again_waits_but_not_once_it_has_lived(supervise):
    one = supervise(shell("a", "exec sleep 60"))
    delays = [kill(one, "a") for _ in range(5)]
    assert delays[4] > 0.7, delays
    born = time.monotonic()
    wait_for(lambda: time.monotonic() - born > 2.1, what="its good life")
    assert kill(one, "a") < delays[4]


def test_nothing_after_a_once_starts_before_it_ends_well(supervise, tmp_path):
    order = f"{tmp_path}/order"
    supervise(shell("first", f"sleep 0.2; echo first >> {order}", "once"),
              shell("second", f"echo second >> {order}; exec sleep 60"))
    wait_for(lambda: read(order).split() == ["first", "second"])


def test_a_once_that_fails_ends_all(supervise):
    one = supervise(shell("a", "exec sleep 60"),
                    shell("migrate", "exit 4", "once"),
                    shell("b", "exec sleep 60"))
    assert one.process.wait(20) == 1
    assert "migrate failed" in read(one.folder + "/out")
    assert not os.path.exists(one.folder + "/log/b.log")


def test_all_is_stopped_in_reverse_order(supervise, tmp_path):
    script = (f"trap 'echo NAME >> {tmp_path}/order; exit 0' TERM; "
              "echo up; while :; do sleep 0.05; done")
    names = ["one", "two", "three"]
    one = supervise(*[shell(name, script.replace("NAME", name))
                      for name in names])
    for name in names:
        wait_for(lambda name=name: one.log(name) == "up\n", what=name)
    assert one.stop() == 0
    assert read(f"{tmp_path}/order").split() == ["three", "two", "one"]
    assert not os.listdir(one.folder + "/run")


def test_a_child_sees_only_its_own_environment(supervise, tmp_path):
    (tmp_path / "settings").write_text("A=1\nB=with space=and sign\n")
    os.environ["CAIRN_LEAK"] = "yes"
    try:
        one = supervise(shell("a", "env; exec sleep 60",
                              f"environment {tmp_path}/settings"))
    finally:
        del os.environ["CAIRN_LEAK"]
    text = wait_for(lambda: "PATH=" in one.log("a") and one.log("a"))
    assert sorted(set(text.splitlines()) - {"PWD=/"}) == sorted([
        "A=1", "B=with space=and sign", "LANG=C.UTF-8", "TZ=UTC",
        "PATH=/usr/local/bin:/usr/bin:/bin"])


def test_nothing_is_left_when_the_supervisor_is_killed(supervise):
    one = supervise(shell("a", "exec sleep 60"), shell("b", "exec sleep 60"))
    pids = [one.pid("a"), one.pid("b")]
    one.process.kill()
    one.process.wait()
    wait_for(lambda: not any(alive(pid) for pid in pids), what="their ends")


def test_a_table_that_is_none_is_refused(supervise):
    one = supervise("process a", "surprise")
    assert one.process.wait(20) == 2
    assert "is not a process table" in read(one.folder + "/out")
