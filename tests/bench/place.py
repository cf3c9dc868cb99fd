# SPDX-License-Identifier: Apache-2.0
"""A Cairn of the bench's own, its PostgreSQL on tmpfs or on disk."""
import os
import re
import shutil
import subprocess
import tempfile
import time

from harness.system import SERVICES, System, temporary_home
from harness.wait import wait_for
from load import Broken
from units import PREFIX, read_units

REPO = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))
APP = "referrals_app"
SCRATCH = "cairn_bench"  # pgbench's database: the same schema, the same cluster
CAPTURE = {"log_statement": "all", "log_parameter_max_length": "-1",
           "log_error_verbosity": "default", "log_line_prefix": PREFIX}
CONSUMERS = ["scheduling", "documents", "notifications"]


class Place:
    """A running system and its PostgreSQL."""

    def __init__(self, on):
        self.system = System(temporary_home())
        if on is not None:
            folder = tempfile.mkdtemp(prefix="cairn-bench-", dir=on)
            if os.getuid() == 0:
                shutil.chown(folder, "postgres", "postgres")
            os.chmod(folder, 0o755)
            os.symlink(folder, os.path.join(self.system.home, "pg"))
        self.environment = {}
        self.seconds = 0

    def start(self, **environment):
        """Starts it; a second start keeps the data."""
        begin = time.monotonic()
        self.system.start(**{"CAIRN_LOG_LEVEL": "info", **environment})
        self.seconds = time.monotonic() - begin
        path = os.path.join(self.system.home, "environment/migrate")
        with open(path, encoding="utf-8") as file:
            given = dict(line.rstrip("\n").split("=", 1) for line in file)
        self.environment = {"PATH": os.environ["PATH"],
                            "PGHOST": given["PGHOST"], "PGPORT": "5432",
                            "PGUSER": "postgres", "PGDATABASE": "cairn"}

    def stop(self):
        """Stops it and keeps the data."""
        self.system.stop()

    def remove(self):
        """Stops it if it runs, and removes all of it."""
        try:
            if self.system.process is not None:
                self.system.stop()
        finally:
            self.system.remove()

    def as_app(self):
        """The environment of a client with the service's own role."""
        path = os.path.join(self.system.home, "secrets/db", APP)
        with open(path, encoding="utf-8") as file:
            return dict(self.environment, PGUSER=APP, PGPASSWORD=file.read())

    def sql(self, text, database="cairn"):
        """Rows of one statement, as lists of text."""
        done = subprocess.run(["psql", "-X", "-q", "-A", "-t", "-v",
                               "ON_ERROR_STOP=1", "-d", database, "-c", text],
                              env=self.environment, capture_output=True,
                              text=True, check=False)
        if done.returncode != 0:
            raise Broken(f"psql: {done.stderr}")
        return [line.split("|") for line in done.stdout.splitlines()]

    def settings(self, values):
        """Sets settings of the cluster; None gives one back. Some of them
        hold from the next start."""
        for name, value in values.items():
            self.sql(f"ALTER SYSTEM RESET {name}" if value is None else
                     f"ALTER SYSTEM SET {name} = '{value}'")
        self.sql("SELECT pg_reload_conf()")

    def capture(self, action, settled):
        """The units of referrals' app role while action() ran, once
        settled(units) says that they are all there."""
        path = os.path.join(self.system.home, "log/postgres.log")
        self.settings(CAPTURE)
        # A backend reads its settings before its next command.
        wait_for(lambda: self.sql("SHOW log_statement") == [["all"]], 5,
                 "log_statement")
        begin = os.path.getsize(path)
        action()

        def read():
            with open(path, encoding="utf-8", errors="replace") as file:
                file.seek(begin)
                units = read_units(file.read(), APP)
            return units if settled(units) else None
        units = wait_for(read, 5, "the units in the server's log")
        self.settings({name: None for name in CAPTURE})
        return units

    def make_scratch(self):
        """pgbench's database: the service's schema from its migrations."""
        subprocess.run([os.path.join(REPO, "deploy/migrate"),
                        os.path.join(REPO, "build/migrations"), "referrals"],
                       env=dict(self.environment, PGDATABASE=SCRATCH),
                       check=True, stdout=subprocess.DEVNULL)
        copy = subprocess.run(["pg_dump", "--data-only", "-t",
                               "referrals.branch", "cairn"],
                              env=self.environment, check=True,
                              capture_output=True)
        subprocess.run(["psql", "-X", "-q", "-d", SCRATCH], check=True,
                       env=self.environment, input=copy.stdout,
                       stdout=subprocess.DEVNULL)

    def pids(self, names=None):
        """The processes by name."""
        return {name: self.system.pid(name)
                for name in names or SERVICES + ["gateway"]}

    def ready_seconds(self):
        """From the start of each process to its ready line, by the two logs."""
        started = log_times(self.system.log("supervisor"),
                            r"^(\w+): started, pid")
        found = {}
        for name in SERVICES + ["gateway"]:
            ready = log_times(self.system.log(name), r"^(ready)\b")
            if name in started and "ready" in ready:
                found[name] = ready["ready"] - started[name]
        return found


def log_times(text, pattern):
    """The last time at which each name that the pattern finds was logged."""
    found = {}
    for line in text.splitlines():
        at = re.search(r'"(?:at|ts|time)":"?(\d{4}-[^"]+|\d+)', line)
        message = re.search(r'"msg":"([^"]*)"', line)
        match = message and re.search(pattern, message[1])
        if at and match:
            found[match[1]] = instant(at[1])
    return found


def instant(text):
    """Seconds of an RFC 3339 time in UTC."""
    whole, _, part = text.rstrip("Z").partition(".")
    return time.mktime(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + \
        float("0." + (part or "0"))
