# SPDX-License-Identifier: Apache-2.0
"""HTTP as bytes: framing, and who may send a body."""
import json
import os
import select
import socket
import threading
import time
import urllib.parse
import uuid

import pytest

from harness import raw_http

ATTACKERS = 100
MEMORY_MAX = 32 << 20


@pytest.fixture(scope="module")
def tenant(agency_factory):
    """An agency that the tests of this file share."""
    return agency_factory(disciplines=[])


@pytest.fixture(scope="module")
def admin(tenant):
    return tenant.administrator


def connect(url, timeout=15):
    """A plain connection to the gateway."""
    place = urllib.parse.urlsplit(url)
    return socket.create_connection((place.hostname, place.port), timeout)


def exchange(url, content):
    """Sends all of it and no more; everything that comes back."""
    with connect(url) as wire:
        wire.sendall(content)
        wire.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while chunk := wire.recv(65536):
                answer += chunk
        except ConnectionResetError:
            pass
    return answer


@pytest.mark.parametrize("name", raw_http.CASES)
def test_one_connection_is_read_in_one_way(system, admin, name):
    text, statuses = raw_http.CASES[name]
    host = urllib.parse.urlsplit(system.url).netloc
    found = raw_http.answers(
        exchange(system.url, raw_http.wire(text, host, admin.key)),
        text.startswith("HEAD"))
    assert "smuggled-request" not in raw_http.ids(found), found
    if statuses and statuses[0] < 400 or len(statuses) > 1:
        assert [status for status, _, _ in found] == statuses + [200], found
        assert raw_http.ids(found)[-1] == "marker-request"
        assert all(raw_http.ids(found))
        return
    assert len(found) == 1, found
    raw_http.check_refusal(*found[0])
    assert found[0][0] in (statuses or [400])
    assert found[0][1]["connection"] == "close"


def test_there_are_as_many_cases_as_were_asked_for():
    assert len(raw_http.CASES) >= 157


# Who may send a body

def test_a_body_that_nobody_may_send_is_not_asked_for(system, tenant):
    host = urllib.parse.urlsplit(system.url).netloc
    lines = ["POST /v1/branches HTTP/1.1", f"Host: {host}",
             "Content-Type: application/json", "Content-Length: 900000",
             "Expect: 100-continue", f"Idempotency-Key: {uuid.uuid4()}"]
    for credential, status in ((None, 401), ("nonsense", 401),
                               (tenant.coordinator.key, 403)):
        with connect(system.url) as wire:
            fields = [] if credential is None else \
                [f"Authorization: Bearer {credential}"]
            wire.sendall("\r\n".join(lines + fields + ["", ""]).encode())
            answer = b""
            while chunk := wire.recv(65536):
                answer += chunk
        [(found, headers, body)] = raw_http.answers(answer)
        assert found == status
        raw_http.check_refusal(found, headers, body)


def test_a_body_that_is_refused_at_its_head_ends_the_connection(system):
    host = urllib.parse.urlsplit(system.url).netloc
    head = (f"POST /v1/referrals HTTP/1.1\r\nHost: {host}\r\n"
            "Content-Type: application/json\r\nContent-Length: 500000\r\n\r\n")
    with connect(system.url) as wire:
        wire.sendall(head.encode() + 1000 * b"x")
        answer = b""
        while chunk := wire.recv(65536):
            answer += chunk
    [(status, headers, _)] = raw_http.answers(answer)
    assert status == 401
    assert headers["connection"] == "close"


# What each answers to GET, to a PUT and to OPTIONS that have a body.
OWN = [("/problems", 400, 405, 400), ("/openapi.json", 400, 405, 400),
       ("/v1/stream", 400, 405, 400), ("/v1/branches", 401, 405, 400),
       ("/nowhere", 404, 404, 404)]
BODIES = {"by its length": ("Content-Length: 5\r\n", b"abcde"),
          "in chunks": (raw_http.CHUNKED, b"5\r\nabcde\r\n0\r\n\r\n")}


@pytest.mark.parametrize("whole", [False, True], ids=["its head alone", "whole"])
@pytest.mark.parametrize("form", BODIES)
@pytest.mark.parametrize("path,to_get,to_put,to_options", OWN)
def test_an_answer_does_not_depend_on_when_the_body_comes(
        system, path, to_get, to_put, to_options, form, whole):
    field, content = BODIES[form]
    host = urllib.parse.urlsplit(system.url).netloc
    for method, status in (("GET", to_get), ("PUT", to_put), ("OPTIONS", to_options)):
        with connect(system.url) as wire:
            head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{field}\r\n".encode()
            wire.sendall(head + content if whole else head)
            if whole:
                wire.shutdown(socket.SHUT_WR)
            answer = b""
            while chunk := wire.recv(65536):
                answer += chunk
        found = raw_http.answers(answer)
        assert [one[0] for one in found] == [status], (method, found)
        raw_http.check_refusal(*found[0])
        assert status != 405 or found[0][1]["allow"]


class Attackers:
    """Connections without a credential that send what they like."""

    def __init__(self, url, count):
        self.url = url
        self.host = urllib.parse.urlsplit(url).netloc
        self.stop = threading.Event()
        self.sent = 0
        self.threads = [threading.Thread(target=self.run, args=(number,),
                                         daemon=True) for number in range(count)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(10)

    def head(self, number):
        """Each a request of another kind."""
        if number % 5 == 4:
            return 2000 * (raw_http.GET + f"Host: {self.host}\r\n\r\n").replace(
                "/problems", "/openapi.json").encode()
        fields = ["Content-Length: 1000000", "Transfer-Encoding: chunked",
                  "Content-Length: 1000000\r\nAuthorization: Bearer nonsense",
                  "X-A: " + 20000 * "a"][number % 5]
        end = "\r\n\r\n" if number % 5 < 3 else "\r\n"
        return (f"POST /v1/referrals HTTP/1.1\r\nHost: {self.host}\r\n"
                f"Content-Type: application/json\r\n{fields}{end}").encode()

    def run(self, number):
        """Sends a head, then a piece of the body at a time; never reads."""
        piece = [4000 * b"a", b"fa0\r\n" + 4000 * b"a" + b"\r\n", 4000 * b"a",
                 b"X-B: c\r\n", b""][number % 5]
        while not self.stop.is_set():
            try:
                with connect(self.url, 1) as wire:
                    wire.sendall(self.head(number))
                    while not self.stop.wait(0.1):
                        wire.sendall(piece)
                        self.sent += len(piece)
            except OSError:
                self.stop.wait(0.5)


def test_those_without_a_credential_wait_for_each_other(system, admin):
    host = urllib.parse.urlsplit(system.url).netloc
    many = 300 * f"GET /v1/me HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    wires = [connect(system.url) for _ in range(8)]
    begin, count = time.monotonic(), 0
    for wire in wires:
        wire.sendall(many)
    while time.monotonic() < begin + 3:
        for wire in select.select(wires, [], [], 1)[0]:
            count += wire.recv(1 << 20).count(b"HTTP/1.1 401")
        admin.get("/v1/branches", limit=1).ok(200)
    for wire in wires:
        wire.close()
    assert 64 <= count < 64 + 150 * (time.monotonic() - begin), count


def resident(pid):
    """Bytes of memory of a process."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def rate(admin, seconds):
    """Reads and writes a second of one client; every one must succeed."""
    begin, count = time.monotonic(), 0
    while time.monotonic() < begin + seconds:
        admin.get("/v1/branches", limit=1).ok(200)
        admin.post("/v1/branches", {
            "name": 20000 * "n", "time_zone": "America/Chicago"}).ok(201, 422)
        count += 2
    return count / (time.monotonic() - begin)


def test_those_without_a_credential_take_no_room_from_those_with_one(
        system, admin, long_run, wait_for):
    try:
        pid = system.pid("gateway")
    except AssertionError:
        pytest.skip("the processes are not ours")
    seconds = 10 if long_run else 2
    before = rate(admin, seconds)
    memory = resident(pid)
    with Attackers(system.url, ATTACKERS) as attackers:
        wait_for(lambda: attackers.sent > 2 << 20, 20, "the attackers to begin")
        during = rate(admin, seconds)
        grown = resident(pid) - memory
    print(json.dumps({"before": before, "during": during, "grown": grown}))
    assert grown < MEMORY_MAX
    # How fast the machine is while others work on it says little in a short run.
    assert during >= before * (0.9 if long_run else 0.3)
