# SPDX-License-Identifier: Apache-2.0
"""Load generators, and what processes cost meanwhile."""
import os
import re
import subprocess

HERE = os.path.dirname(os.path.realpath(__file__))
TICKS = os.sysconf("SC_CLK_TCK")


class Broken(Exception):
    """A slice that measured nothing."""


def wrk(url, seconds, connections, script=None, env=None):
    """One slice: (requests a second, requests, p99 in ms)."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    if script is not None:
        command += ["-s", script]
    done = subprocess.run(command + [url], env=dict(os.environ, **(env or {})),
                          capture_output=True, text=True, check=False)
    rate = re.search(r"^Requests/sec:\s+([\d.]+)", done.stdout, re.M)
    count = re.search(r"^\s*(\d+) requests in", done.stdout, re.M)
    slow = re.search(r"^\s*99%\s+([\d.]+)(us|ms|s)", done.stdout, re.M)
    if done.returncode != 0 or not rate or not count or not slow or \
            "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise Broken(f"wrk {url}: {done.stdout} {done.stderr}")
    unit = {"us": 0.001, "ms": 1, "s": 1000}[slow[2]]
    return float(rate[1]), int(count[1]), float(slow[1]) * unit


def pgbench(server, script, seconds, clients, database, **variables):
    """One slice: transactions a second. server is the environment that says
    where PostgreSQL is and who asks."""
    command = ["pgbench", "-n", "-M", "prepared", "-f", script, "-T",
               str(seconds), "-c", str(clients), "-j", "1",
               "-D", f"clients={clients}", "-D", "c=0"]
    for name, value in variables.items():
        command += ["-D", f"{name}={value}"]
    done = subprocess.run(command + [database], env=server,
                          capture_output=True, text=True, check=False)
    rate = re.search(r"^tps = ([\d.]+)", done.stdout, re.M)
    failed = re.search(r"failed transactions: (\d+)", done.stdout)
    if done.returncode != 0 or not rate or (failed and int(failed[1]) > 0):
        raise Broken(f"pgbench: {done.stdout[-2000:]} {done.stderr[-2000:]}")
    return float(rate[1])


def cpu_seconds(pid):
    """User and system time that a process has used."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mib(pid):
    """Resident memory now."""
    with open(f"/proc/{pid}/status", encoding="ascii",
              errors="replace") as file:
        return int(re.search(r"VmRSS:\s+(\d+) kB", file.read())[1]) / 1024
