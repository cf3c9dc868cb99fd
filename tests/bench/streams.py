# SPDX-License-Identifier: Apache-2.0
"""Many readers of GET /v1/stream while events are made at a steady pace: when
each event reached each of them, and what it cost the gateway."""
import json
import multiprocessing
import re
import select
import socket
import time
import http.client
import urllib.parse

import load

EVENT = re.compile(rb'"event_id":"evt_(\w+)"')
READ_SIZE = 65536
QUIET_SECONDS = 3  # after the last event
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def make(url, key, rate, seconds):
    """Makes patients, one event each, at an even pace; in a process of its
    own, so that the readers do not wait for it."""
    place = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port)
    begin = time.monotonic()
    for i in range(int(rate * seconds)):
        body = json.dumps({"name": {"family": "Example", "given": ["Pat"]}})
        connection.request("POST", "/v1/patients", body, {
            "Authorization": "Bearer " + key, "Content-Type":
            "application/json", "Idempotency-Key": f"stream-{begin}-{i}"})
        reply = connection.getresponse()
        reply.read()
        if reply.status != 201:
            raise load.Broken(f"POST /v1/patients: {reply.status}")
        left = begin + (i + 1) / rate - time.monotonic()
        if left > 0:
            time.sleep(left)  # the pace is what is asked for


def connect(url, key):
    """A stream that has answered; what follows is not waited for."""
    place = urllib.parse.urlsplit(url)
    one = socket.create_connection((place.hostname, place.port), 10)
    one.sendall(f"GET /v1/stream?topics=patients HTTP/1.1\r\nHost: x\r\n"
                f"Authorization: Bearer {key}\r\n\r\n".encode())
    head = b""
    while b"id: " not in head:
        got = one.recv(READ_SIZE)
        head += got
        if not got or not head.startswith(b"HTTP/1.1 200"):
            raise load.Broken(f"a stream was refused: {head[:200]!r}")
    one.setblocking(False)
    return one


def uuid_text(digits):
    """The hex digits of the UUID behind an id."""
    number = 0
    for digit in digits:
        number = number * len(ALPHABET) + ALPHABET.index(digit)
    return f"{number:032x}"


class Readers:
    """Streams, and what came of each: (event, when) by stream."""

    def __init__(self, url, key, count):
        self.streams = {one.fileno(): one for one in
                        (connect(url, key) for _ in range(count))}
        self.tails = dict.fromkeys(self.streams, b"")
        self.came = {number: [] for number in self.streams}
        self.waiting = set(self.streams)  # for their last event
        self.poll = select.epoll()
        for number in self.streams:
            self.poll.register(number, select.EPOLLIN)

    def read(self, until, enough):
        """Reads until that time, or until each has enough events."""
        while time.monotonic() < until and self.waiting:
            for number, _ in self.poll.poll(0.1):
                got = self.streams[number].recv(READ_SIZE)
                at = time.time()
                if not got:
                    raise load.Broken("a stream has ended")
                text = self.tails[number] + got
                end = text.rfind(b"\n\n") + 2
                self.tails[number] = text[end:] if end > 1 else text
                found = EVENT.findall(text[:end]) if end > 1 else []
                self.came[number] += [(one, at) for one in found]
                if len(self.came[number]) >= enough:
                    self.waiting.discard(number)

    def close(self):
        """All of them leave."""
        self.poll.close()
        for one in self.streams.values():
            one.close()


def measure(place, pid, count, rate, seconds):
    """The figures: latencies in ms, sorted; missing and repeated events; the
    gateway's share of a core and its memory before and with the readers."""
    system = place.system
    before_mib = load.resident_mib(pid)
    readers = Readers(system.url, system.key, count)
    try:
        maker = multiprocessing.Process(
            target=make, args=(system.url, system.key, rate, seconds))
        begin, cpu = time.monotonic(), load.cpu_seconds(pid)
        maker.start()
        while maker.is_alive() and readers.waiting:
            readers.read(time.monotonic() + 1, int(rate * seconds))
        readers.read(time.monotonic() + QUIET_SECONDS, int(rate * seconds))
        took = time.monotonic() - begin
        cpu = load.cpu_seconds(pid) - cpu
        memory = load.resident_mib(pid)
        maker.join()
        if maker.exitcode != 0:
            raise load.Broken("the events were not made")
    finally:
        readers.close()
    commits = {row[0].replace("-", ""): float(row[1]) for row in place.sql(
        "SELECT event_id, extract(epoch FROM pg_xact_commit_timestamp(xmin))"
        " FROM referrals.outbox WHERE type = 'patient.created'"
        f" ORDER BY seq DESC LIMIT {int(rate * seconds)}")}
    latencies, missing, repeated = [], 0, 0
    for came in readers.came.values():
        ids = [uuid_text(one.decode()) for one, _ in came]
        missing += len(set(commits) - set(ids))
        repeated += len(ids) - len(set(ids))
        latencies += [(at - commits[one]) * 1000
                      for one, (_, at) in zip(ids, came) if one in commits]
    return {"latencies": sorted(latencies), "missing": missing,
            "repeated": repeated, "cores": cpu / took,
            "memory": memory, "memory_before": before_mib}
