# SPDX-License-Identifier: Apache-2.0
"""One running Cairn, started by deploy/local/run in a home of its own."""
import ctypes
import email
import email.policy
import glob
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from harness.client import Client
from harness.wait import wait_for

REPO = os.path.realpath(os.path.join(os.path.dirname(__file__), "../../.."))
RUN = os.path.join(REPO, "deploy/local/run")
START_SECONDS = 600  # a first start may have to build
STOP_SECONDS = 60
SERVICES = ["access", "referrals", "scheduling", "documents", "notifications"]
REPLICAS = int(os.environ.get("CAIRN_TEST_REPLICAS") or 1)
PR_SET_PDEATHSIG = 1
SANITIZER = re.compile(r"AddressSanitizer|LeakSanitizer|runtime error:")
ENDED = re.compile(r"([\w-]+): pid (\d+) ended (with|by signal) (\d+)")


def free_port(count=1):
    """The first of so many ports of 127.0.0.1 in a row that nobody listens
    on. They lie below the range of outgoing connections: inside it, a client
    that tries again while a gateway is down can be given the gateway's port."""
    with open("/proc/sys/net/ipv4/ip_local_port_range",
              encoding="ascii") as file:
        low = int(file.read().split()[0])
    while True:
        first = random.randrange(max(1024, low - 16000), low - count)
        probes = [socket.socket() for _ in range(count)]
        try:
            for offset, probe in enumerate(probes):
                probe.bind(("127.0.0.1", first + offset))
            return first
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()


def die_with_parent():
    """Runs in the child: when pytest is killed, nothing keeps running."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def read(path):
    """A whole text file; "" when there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


class System:
    """url, urls (of all gateways), home, key (the demo's coordinator),
    other_key (another agency's), platform_key, replicas (of each service and
    of the gateway), and the processes behind them."""

    def __init__(self, home):
        self.home = home
        self.process = None
        self.killed = set()  # pids whose end is the tests' doing
        self.url = self.key = self.other_key = self.platform_key = None
        self.urls = []
        self.replicas = 1

    # Life

    def start(self, port=None, **environment):
        """Starts it and returns when it is ready. A second start keeps the
        data; environment adds settings (CAIRN_LOG_LEVEL="debug").
        CAIRN_TEST_REPLICAS says how many of each run where the test does not
        (CAIRN_REPLICAS="2")."""
        given = {name: value for name, value in os.environ.items()
                 if not name.startswith("CAIRN_")}
        given.update({"CAIRN_REPLICAS": str(REPLICAS), **environment})
        given["CAIRN_HOME"] = self.home
        given["CAIRN_PORT"] = str(
            port or free_port(int(given["CAIRN_REPLICAS"])))
        self.killed.clear()
        out = os.path.join(self.home, "run.out")
        os.makedirs(self.home, exist_ok=True)
        with open(out, "wb") as file:
            self.process = subprocess.Popen(
                [RUN], env=given, stdin=subprocess.DEVNULL, stdout=file,
                stderr=subprocess.STDOUT, start_new_session=True,
                preexec_fn=die_with_parent)
        wait_for(lambda: self.process.poll() is not None or
                 "\nready in " in read(out), START_SECONDS, "make run")
        if self.process.poll() is not None:
            raise AssertionError(f"make run failed:\n{read(out)}\n"
                                 f"{self.log('supervisor')[-2000:]}\n" +
                                 "\n".join(self.problems())[:4000])
        self.attach()
        return self

    def attach(self):
        """Reads where a running system is and how to speak to it."""
        values = dict(line.split("=", 1) for line in
                      read(os.path.join(self.home, "env")).splitlines())
        self.url = values["CAIRN_URL"]
        self.urls = [value for name, value in values.items()
                     if re.fullmatch(r"CAIRN_URL(_\d+)?", name)]
        self.replicas = len(self.urls)
        self.key = values["CAIRN_API_KEY"]
        self.other_key = values["CAIRN_API_KEY_OTHER_AGENCY"]
        self.platform_key = read(
            os.path.join(self.home, "secrets/platform.key")).strip()
        return self

    def stop(self):
        """Stops it as Ctrl-C does. Returns the seconds that it took."""
        begin = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(STOP_SECONDS)
        self.process = None
        assert status == 0, f"make run ended with {status}"
        return time.monotonic() - begin

    def end(self):
        """Ends it whatever its state."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(STOP_SECONDS)
        self.process = None

    def remove(self):
        """Removes its data and its home."""
        subprocess.run([RUN, "--remove"], check=False,
                       env=dict(os.environ, CAIRN_HOME=self.home))
        shutil.rmtree(self.home, ignore_errors=True)

    def client(self, key):
        """A client with that key; None for no credential."""
        return Client(self.url, key)

    def admin(self, name):
        """A client of the admin port of one of names_of()."""
        return Client("http://" + self.environment(name)["CAIRN_ADMIN"], None)

    # Processes

    def environment(self, name):
        """The settings that one of names_of() runs with."""
        text = read(os.path.join(self.home, "environment", name))
        return dict(line.split("=", 1) for line in text.splitlines())

    def names_of(self, name):
        """The names of all processes of "gateway" or a service: "referrals",
        "referrals-2"."""
        return [name] + [f"{name}-{n}" for n in range(2, self.replicas + 1)]

    def names(self):
        """The names of the processes of all services."""
        return [name for service in SERVICES
                for name in self.names_of(service)]

    def pid(self, name):
        """Of "postgres", "sink" or one of names_of(); waits while the
        supervisor starts it."""
        path = os.path.join(self.home, "run", name + ".pid")
        return int(wait_for(lambda: read(path), what=f"the pid of {name}"))

    def kill(self, name, number=signal.SIGKILL):
        """Sends a signal. Returns the pid that got it."""
        pid = self.pid(name)
        if number not in (signal.SIGSTOP, signal.SIGCONT):
            self.killed.add(pid)
        os.kill(pid, number)
        return pid

    def restarted(self, name, old_pid, seconds=10):
        """Waits until another process runs in the place of old_pid."""
        path = os.path.join(self.home, "run", name + ".pid")
        return wait_for(lambda: read(path).strip() not in ("", str(old_pid))
                        and int(read(path)), seconds, f"the restart of {name}")

    def ready(self, name, seconds=30):
        """Waits until a process is ready to be sent work."""
        wait_for(lambda: self.admin(name).get("/readyz").status == 200,
                 seconds, f"{name} being ready")

    def end_of(self, name, pid, seconds):
        """Waits for the end of a process. Returns how: "with 0",
        "by signal 9"."""
        def look():
            for line in reversed(self.log("supervisor").splitlines()):
                match = ENDED.search(line)
                if match and (match[1], match[2]) == (name, str(pid)):
                    return f"{match[3]} {match[4]}"
            return None
        return wait_for(look, seconds, f"the end of {name}")

    # What it leaves

    def log(self, name):
        """All that a process has written."""
        return read(os.path.join(self.home, "log", name + ".log"))

    def mails(self, to=None):
        """What the sink kept, in the order of arrival, as messages; the
        envelope is in X-Envelope-From and X-Envelope-To."""
        kept = []
        for path in sorted(glob.glob(os.path.join(self.home, "mail/*.eml"))):
            with open(path, "rb") as file:
                mail = email.message_from_binary_file(
                    file, policy=email.policy.default)
            if to is None or to in mail.get_all("X-Envelope-To", []):
                kept.append(mail)
        return kept

    def problems(self):
        """Ends of processes that no test caused, and reports of the
        sanitizers."""
        found = []
        for line in self.log("supervisor").splitlines():
            try:
                match = ENDED.search(json.loads(line)["msg"])
            except (ValueError, KeyError, TypeError):
                continue
            if match and int(match[2]) not in self.killed and \
                    (match[3], match[4]) not in (("with", "0"),
                                                 ("by signal", "15")):
                found.append(f"{match[0]}\n{self.log(match[1])[-4000:]}")
        for path in glob.glob(os.path.join(self.home, "log/*.log")):
            text = read(path)
            match = SANITIZER.search(text)
            if match:
                begin = max(0, match.start() - 200)
                found.append(f"{path}:\n{text[begin:begin + 4000]}")
        return found


def temporary_home():
    """A short path: a socket below it must not be longer than 107 bytes."""
    return tempfile.mkdtemp(prefix="cairn-test-", dir="/tmp")
