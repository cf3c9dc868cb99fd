# SPDX-License-Identifier: Apache-2.0
"""How soon the gateways notice that one of two replicas is gone, and what
fails meanwhile. Under load, with requests that are safe to repeat, a replica
is killed (-9) or stopped (SIGSTOP), several times. The times come from the
gateways' logs, which have a line for each change of a replica."""
import datetime
import json
import os
import signal
import statistics
import subprocess
import sys
import time

from harness.agency import Agency
from harness.client import Client
from harness.load import Load
from harness.wait import wait_for

SERVICE = "referrals"
CLIENTS = 12
PAUSE_SECONDS = 0.002
SEEN_SECONDS = 10
BACK_SECONDS = 30


def told(system, gateway, address, what):
    """The times, in seconds, at which a gateway's log has that line about a
    replica."""
    times = []
    for line in system.log(gateway).splitlines():
        if address not in line or what not in line:
            continue
        row = json.loads(line)
        if row["msg"].startswith(f"bus: {SERVICE} at {address} {what}"):
            moment = datetime.datetime.fromisoformat(
                row["ts"].replace("Z", "+00:00"))
            times.append(moment.timestamp())
    return times


def wait_all(system, address, what, counts, seconds):
    """Waits until each gateway has logged it once more. Returns the last of
    these times."""
    def look():
        new = [told(system, gateway, address, what)[counts[gateway]:]
               for gateway in counts]
        return max(times[0] for times in new) if all(new) else None
    return wait_for(look, seconds, f"{address} {what}")


def lose(system, name, number):
    """Sends the signal to a replica. Seconds until all gateways had marked it
    down; returns when all have it back."""
    address = system.environment(name)["CAIRN_BIND"]
    gateways = system.names_of("gateway")
    counts = {what: {gateway: len(told(system, gateway, address, what))
                     for gateway in gateways}
              for what in ("is down", "is up")}
    begin = time.time()
    system.kill(name, number)
    try:
        seen = wait_all(system, address, "is down", counts["is down"],
                        SEEN_SECONDS)
    finally:
        if number == signal.SIGSTOP:
            system.kill(name, signal.SIGCONT)
    wait_all(system, address, "is up", counts["is up"], BACK_SECONDS)
    return seen - begin


def downs(system):
    """How often any gateway has marked any replica down."""
    return sum(system.log(gateway).count(" is down (")
               for gateway in system.names_of("gateway"))


def crowd(bench, system, agency, requests):
    """A replica that is slow because the machine is busy is not gone."""
    before = downs(system)
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"])
               for _ in range(2 * os.cpu_count())]
    try:
        with Load(system, agency, 0, CLIENTS, pause=PAUSE_SECONDS) as load:
            load.go_on(requests)
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    bench.note(f"busy machine: {load.summary()}")
    bench.row("two busy processes per core: living replicas taken for lost",
              downs(system) - before, "", 0, True)


def measure(bench, system, rounds):
    """Adds the rows."""
    agency = Agency(system.url, Client(system.url, system.platform_key))
    names = system.names_of(SERVICE)
    crowd(bench, system, agency, 200 * rounds)
    for number, how, target in ((signal.SIGKILL, "kill -9", 100),
                                (signal.SIGSTOP, "SIGSTOP", 500)):
        taken = []
        with Load(system, agency, number, CLIENTS,
                  pause=PAUSE_SECONDS) as load:
            load.go_on(200)
            for turn in range(rounds):
                taken.append(
                    1000 * lose(system, names[turn % len(names)], number))
                load.go_on(100)
        bench.note(f"{how}: {load.summary()}; " +
                   ", ".join(f"{value:.1f}" for value in taken) + " ms")
        for failure in load.failures()[:10]:
            bench.note(str(failure))
        what = f"{how} of one of two replicas under load"
        bench.row(f"{what}: failed requests", len(load.failures()),
                  f"of {load.count()}", 0, True)
        bench.row(f"{what}: seen after, median", statistics.median(taken),
                  "ms")
        bench.row(f"{what}: seen after, longest", max(taken), "ms", target,
                  True)
