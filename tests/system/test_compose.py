# SPDX-License-Identifier: Apache-2.0
"""Cairn in containers. Tests of the other files run again against
docker-compose with several replicas. Other tests look at the edge and at the
containers."""
import concurrent.futures
import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import uuid

import pytest

from harness import raw_http
from harness.client import Client
from harness.compose import Compose, Engine
from harness.system import REPO, read
from harness.wait import wait_for

SCALE = {"referrals": 3, "scheduling": 2, "gateway": 2}
JOURNEYS = ["test_story.py", "test_idempotency.py", "test_tenancy.py",
            "test_access.py", "test_referrals.py"]
JOURNEY_SECONDS = 900
OURS = ["access", "referrals", "scheduling", "documents", "notifications",
        "gateway"]

pytestmark = pytest.mark.skipif(
    bool(os.environ.get("CAIRN_TEST_HOME")),
    reason="another Cairn is the one under test")


@pytest.fixture(scope="module")
def engine():
    """The Docker Engine; without one the reason is shown."""
    running = Engine()
    reason = running.start()
    if reason is not None:
        # A CI machine has been given one: a test that skips is a fault.
        assert os.environ.get("CAIRN_CONTAINERS") != "1", reason
        pytest.skip(f"no Docker Engine here: {reason}")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def compose(engine):  # pylint: disable=unused-argument
    """The containers of this module."""
    running = Compose(SCALE)
    try:
        yield running.start()
    finally:
        if os.environ.get("CAIRN_KEEP_HOME"):
            print(f"kept: {running.home}")
        else:
            running.stop()


@pytest.fixture
def client(compose):
    """A client of the edge with the demo coordinator's key."""
    os.environ["CAIRN_CA"] = os.path.join(compose.secrets, "ca.crt")
    values = dict(line.split("=", 1) for line in
                  read(os.path.join(compose.home, "env")).splitlines())
    yield Client(compose.url, values["CAIRN_API_KEY"])
    del os.environ["CAIRN_CA"]


def raw(compose, content):
    """Bytes to the edge as they are; its whole answer."""
    context = ssl.create_default_context(
        cafile=os.path.join(compose.secrets, "ca.crt"))
    with socket.create_connection(("127.0.0.1", compose.https), 20) as plain:
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
            tls.sendall(content)
            answer = b""
            while chunk := tls.recv(65536):
                answer += chunk
    return answer


def test_the_journeys_pass_against_the_containers(compose):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
         "--tb=short", *(os.path.join(REPO, "tests/system", name)
                         for name in JOURNEYS)],
        env=compose.test_environment(), cwd=REPO, check=False,
        capture_output=True, text=True, stdin=subprocess.DEVNULL,
        timeout=JOURNEY_SECONDS)
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]


def test_each_service_runs_in_as_many_replicas_as_were_asked_for(compose):
    for name, count in dict(SCALE, access=2, documents=1).items():
        assert len(compose.containers(name)) == count


def test_requests_go_to_every_replica(compose, client):
    served = set()

    def all_served():
        client.get("/v1/referrals", limit=1).ok(200)
        for box in compose.containers("referrals"):
            text = compose.run("docker", "logs", box["Id"])
            if "ListReferrals" in text:
                served.add(box["Id"])
        return len(served) == SCALE["referrals"]
    wait_for(all_served, 30, "each replica of referrals to serve a request")


def test_a_container_has_no_more_rights_than_it_needs(compose):
    for name in OURS:
        for box in compose.containers(name):
            assert box["Config"]["User"] == "10001:10001"
            host = box["HostConfig"]
            assert host["ReadonlyRootfs"]
            assert host["CapDrop"] == ["ALL"]
            assert "no-new-privileges:true" in host["SecurityOpt"]
            status = read(f"/proc/{box['State']['Pid']}/status")
            assert "\nCapEff:\t0000000000000000\n" in status
            assert "\nNoNewPrivs:\t1\n" in status


def test_no_secret_is_in_an_environment_or_an_image(compose):
    secrets = []
    for folder, _, files in os.walk(compose.secrets):
        secrets += [read(os.path.join(folder, name)).strip() for name in files
                    if not name.endswith((".crt", ".pub", ".srl", "peers"))]
    secrets = [line for text in secrets for line in text.splitlines()
               if len(line) > 20 and not line.startswith(
                   ("-----", "CAIRN_URL", "CAIRN_CA="))]
    assert len(secrets) > 15
    shown = str(compose.containers())
    assert not [line for line in secrets if line in shown]
    logged = compose.logs()
    assert not [line for line in secrets if line in logged]


def test_only_the_edge_can_be_reached_from_outside(compose):
    for box in compose.containers():
        name = box["Config"]["Labels"]["com.docker.compose.service"]
        ports = {port for port, to in box["NetworkSettings"]["Ports"].items()
                 if to}
        # PostgreSQL's is the tests' own addition.
        assert not ports or name in ("edge", "postgres")


@pytest.mark.parametrize("head", [
    b"GET /v1/me HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"POST /v1/referrals HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
    b"Content-Length: 2\r\n\r\nxx",
    b"GET /v1/me HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\n"
    b"Authorization: Bearer b\r\nConnection: close\r\n\r\n",
    b"GET /v1/me HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n"
    b"Connection: close\r\n\r\n",
    b"G\x01T /v1/me HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /v1/me HTTP/1.1\r\nHost : a\r\n\r\n",
], ids=["two hosts", "two lengths", "two credentials", "NUL", "control",
        "space before colon"])
def test_a_request_that_two_readers_could_read_differently_is_refused(compose,
                                                                      head):
    """haproxy's parser closes the connection; a rule of the edge and the
    gateway say why."""
    found = raw_http.answers(raw(compose, head))
    assert len(found) == (1 if b"Bearer" in head or b"\x00" in head else 0)
    for status, headers, body in found:
        raw_http.check_refusal(status, headers, body)
        assert status == 400


def test_all_containers_write_json_lines(compose, client):
    """PostgreSQL and the edge too, whose programs write none by themselves. A
    line of the edge and one of the gateway have the id of the request, and
    the address is the client's."""
    mark = client.get("/v1/patients", family="Marburg-Zzyzx") \
        .headers["request-id"]
    refused = raw(compose, b"GET /v1/me HTTP/1.1\r\nHost: a\r\n"
                  b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n"
                  b"Connection: close\r\n\r\n")
    assert re.search(rb"(?i)\r\nrequest-id: [0-9a-f-]{36}\r\n", refused)

    def lines():
        found = {}
        for box in compose.containers():
            name = box["Config"]["Labels"]["com.docker.compose.service"]
            text = compose.run("docker", "logs", box["Id"], both=True)
            for line in text.splitlines():
                told = json.loads(line)
                assert {"ts", "level", "svc"} <= set(told), line
                found.setdefault(name, []).append(told)
        return found
    told = wait_for(lambda: (found := lines()) and any(
        line.get("request_id") == mark for line in found["edge"]) and found,
        10, "the edge's line")
    for name in ("postgres", "edge", "gateway", "referrals", "migrate"):
        assert told[name], name
    edge = [line for line in told["edge"] if line.get("request_id") == mark]
    gateway = [line for line in told["gateway"]
               if line.get("request_id") == mark]
    assert len(edge) == len(gateway) == 1
    assert gateway[0]["path"] == "/v1/patients"
    assert gateway[0]["address"] == edge[0]["address"]
    assert edge[0]["status"] == gateway[0]["status"]
    assert "Zzyzx" not in json.dumps(told)


def test_no_container_can_eat_the_machine(compose):
    for box in compose.containers():
        host = box["HostConfig"]
        assert 0 < host["Memory"] <= 2 << 30
        options = host["LogConfig"]["Config"]
        assert host["LogConfig"]["Type"] == "json-file"
        assert options["max-size"] and options["max-file"]


def test_a_first_start_warns_of_nothing(compose):
    warned = []
    for name in OURS + ["postgres", "migrate", "edge", "demo"]:
        for box in compose.containers(name):
            warned += [line for line in compose.first.get(box["Id"], [])
                       if json.loads(line)["level"] in ("warn", "error")]
    assert not warned, "\n".join(warned[:20])


def test_the_demos_keys_name_what_the_host_can_reach(compose, client):
    values = dict(line.split("=", 1) for line in
                  read(os.path.join(compose.home, "env")).splitlines())
    assert values["CAIRN_URL"] == compose.url
    assert values["CAIRN_CA"] == os.path.join(compose.secrets, "ca.crt")
    administrator = Client(compose.url, values["CAIRN_ADMINISTRATOR_KEY"])
    assert administrator.get("/v1/me").ok(200)["role"] == "administrator"
    assert client.get("/v1/me").ok(200)["role"] == "coordinator"


def test_what_has_a_length_and_chunks_is_framed_anew(compose):
    # By its chunks, as RFC 9112 6.1 has it: the gateway sees no length.
    answer = raw(compose, b"POST /v1/referrals HTTP/1.1\r\nHost: a\r\n"
                 b"Connection: close\r\nContent-Length: 3\r\n"
                 b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 401 ")


def test_a_head_that_is_too_large_is_a_problem_at_the_edge(compose):
    def problem(content):
        [(status, headers, body)] = raw_http.answers(raw(compose, content))
        raw_http.check_refusal(status, headers, body)
        return status
    assert problem(b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: a\r\n"
                   b"Connection: close\r\n\r\n") == 414
    assert problem(b"GET /v1/me HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
                   + b"X-Large: " + b"a" * 30000 + b"\r\n\r\n") in (401, 431)
    assert problem(b"GET /v1/me HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
                   + b"".join(b"X-%d: y\r\n" % i for i in range(99))
                   + b"\r\n") in (400, 401, 431)


def test_no_request_is_smuggled_past_the_edge(compose, client):
    """The edge may read a case in its own way, but a gateway must read what the
    edge sends as the edge meant it: whoever comes next over the same connection
    to a gateway gets its own answer. What is no request at all has no answer:
    its connection is closed. Every refusal is a problem with its id."""
    def one(name):
        text, _ = raw_http.CASES[name]
        found = raw_http.answers(raw(compose, raw_http.wire(
            text, "127.0.0.1", client.key)), text.startswith("HEAD"))
        for answer in found:
            if answer[0] >= 400:
                raw_http.check_refusal(*answer)
        canary = "canary-" + uuid.uuid4().hex
        reply = client.raw("GET", "/problems", headers={"Request-Id": canary})
        assert (reply.status, reply.headers["request-id"]) == (200, canary)
        ids = [word for word in raw_http.ids(found)
               if word in ("smuggled-request", "marker-request")]
        assert len(ids) == len(set(ids)), ids
    faults = {}
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for name, done in [(name, pool.submit(one, name))
                           for name in raw_http.CASES]:
            if done.exception() is not None:
                faults[name] = done.exception()
    assert not faults


def test_a_head_that_drips_is_cut_off(compose, long_run):
    if not long_run:
        pytest.skip("takes 10 s: make test-long")
    assert raw(compose, b"GET /v1/me HTTP/1.1\r\nHost: a\r\n") == b""
    answer = raw(compose, b"POST /v1/referrals HTTP/1.1\r\nHost: a\r\n"
                 b"Content-Length: 9\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 408 ")
    [(status, headers, body)] = raw_http.answers(answer)
    raw_http.check_refusal(status, headers, body)


def test_plain_http_is_sent_to_https_and_hsts_keeps_it_there(compose, client):
    plain = http.client.HTTPConnection("127.0.0.1", compose.http, timeout=10)
    plain.request("GET", "/v1/me?a=b")
    answer = plain.getresponse()
    assert answer.status == 308
    assert answer.getheader("location") == compose.url + "/v1/me?a=b"
    assert answer.getheader("request-id")
    plain.close()
    made = client.post("/v1/referrals", {"channel": "phone"})
    assert made.headers["location"] == \
        compose.url + "/v1/referrals/" + made.ok(201)["id"]
    headers = client.get("/v1/me").headers
    assert "max-age=" in headers["strict-transport-security"]


@pytest.mark.parametrize("name", ["referrals", "gateway"])
def test_a_killed_replica_costs_no_safe_request(compose, client, name):
    victim = compose.containers(name)[0]
    client.get("/v1/referrals", limit=1).ok(200)
    compose.run("docker", "kill", "-s", "KILL", victim["Id"])
    for number in range(100):
        client.get("/v1/referrals", limit=1).ok(200)
        client.post("/v1/referrals", {"channel": "phone"},
                    key=f"after-the-kill-{name}-{number}").ok(201)
    # After a kill through Docker itself, Docker does not start the container
    # again.
    compose.run("docker", "start", victim["Id"])
    wait_for(compose.healthy, 60, "all containers to be healthy again")
