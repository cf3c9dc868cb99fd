# SPDX-License-Identifier: Apache-2.0
"""The conventions of every route, seen from outside: framing, limits,
problems, keys, preconditions, credentials."""
import concurrent.futures
import http.client
import json
import signal
import socket
import time
import urllib.parse
import uuid

import pytest

UNKNOWN_BRANCH = "brn_00000000000000000000000000"
BODY_MAX = (1 << 20) - (16 << 10)
REVOKED_SECONDS = 1


@pytest.fixture(scope="module")
def tenant(agency_factory):
    """An agency that the tests of this file share."""
    return agency_factory(disciplines=[])


@pytest.fixture(scope="module")
def admin(tenant):
    return tenant.administrator


class Wire:
    """A TCP connection on which a test can send any bytes."""

    def __init__(self, url):
        place = urllib.parse.urlsplit(url)
        self.host = f"{place.hostname}:{place.port}"
        self.socket = socket.create_connection(
            (place.hostname, place.port), timeout=15)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *lines, body=b""):
        """Lines, each ended by CRLF, and the empty one."""
        head = b"".join(line if isinstance(line, bytes) else line.encode()
                        for line in (text + b"\r\n" if isinstance(text, bytes)
                                     else text + "\r\n" for text in lines))
        self.socket.sendall(head + b"\r\n" + body)

    def read(self, method="GET"):
        """One answer: status, headers, body."""
        reply = http.client.HTTPResponse(self.socket, method=method)
        reply.begin()
        body = reply.read()
        return reply.status, {k.lower(): v for k, v in reply.getheaders()}, body

    def ends(self):
        """Has the other side closed without sending more?"""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True


@pytest.fixture
def wire(system):
    with Wire(system.url) as made:
        yield made


def check_problem(reply, status, code=None):
    """Is it a problem with all members that each problem must have? Returns
    its JSON."""
    assert reply.status == status, reply
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-content-type-options"] == "nosniff"
    body = reply.json
    assert body["status"] == status
    assert body["type"].startswith("http")
    assert body["title"] and body["detail"] and body["instance"]
    assert body["request_id"] == reply.headers["request-id"]
    if code is not None:
        assert body["code"] == code
    return body


# Framing

BROKEN_HEADS = {
    "two lengths that differ": ["POST /v1/branches HTTP/1.1", "Host: {host}",
                                "Content-Length: 5", "Content-Length: 6"],
    "two equal lengths": ["POST /v1/branches HTTP/1.1", "Host: {host}",
                          "Content-Length: 5", "Content-Length: 5"],
    "length and coding": ["POST /v1/branches HTTP/1.1", "Host: {host}",
                          "Content-Length: 5", "Transfer-Encoding: chunked"],
    "an unknown coding": ["POST /v1/branches HTTP/1.1", "Host: {host}",
                          "Transfer-Encoding: xchunked"],
    "two codings": ["POST /v1/branches HTTP/1.1", "Host: {host}",
                    "Transfer-Encoding: gzip, chunked"],
    "no host": ["GET /v1/me HTTP/1.1", "Accept: */*"],
    "two hosts": ["GET /v1/me HTTP/1.1", "Host: {host}", "Host: {host}"],
    "a host that is none": ["GET /v1/me HTTP/1.1", "Host: a/b\"c"],
    "two credentials": ["GET /v1/me HTTP/1.1", "Host: {host}",
                        "Authorization: Bearer a", "Authorization: Bearer b"],
    "an unknown method": ["BREW /v1/me HTTP/1.1", "Host: {host}"],
    "a control character in the method": ["GE\x01T /v1/me HTTP/1.1",
                                          "Host: {host}"],
    "a control character in the path": ["GET /v1/\x01me HTTP/1.1",
                                        "Host: {host}"],
    "a control character in a value": ["GET /v1/me HTTP/1.1", "Host: {host}",
                                       "X-A: a\x02b"],
    "a NUL in a value": ["GET /v1/me HTTP/1.1", "X-A: a\0b", "Host: {host}"],
    "a NUL in the last value": ["GET /v1/me HTTP/1.1", "Host: {host}",
                                "X-A: a\0b"],
    "a NUL in the path": ["GET /v1/me\0x HTTP/1.1", "Host: {host}"],
    "a NUL in the query": ["GET /v1/me?a=1\0x HTTP/1.1", "Host: {host}"],
    "a folded line": ["GET /v1/me HTTP/1.1", "X-A: a", " b", "Host: {host}"],
    "a space in a name": ["GET /v1/me HTTP/1.1", "Host: {host}", "X A: a"],
    "a space before the colon": ["GET /v1/me HTTP/1.1", "Host: {host}",
                                 "X-A : a"],
    "a bare LF": ["GET /v1/me HTTP/1.1\nX-A: a", "Host: {host}"],
    "a bare LF between fields": ["GET /v1/me HTTP/1.1", "X-A: a\nX-B: b",
                                 "Host: {host}"],
    "an absolute path that is none": ["GET v1/me HTTP/1.1", "Host: {host}"],
    "more fields than anyone needs": ["GET /v1/me HTTP/1.1", "Host: {host}"] +
                                     [f"X-{n}: {n}" for n in range(120)],
}


@pytest.mark.parametrize("what", BROKEN_HEADS)
def test_a_head_that_two_readers_could_read_differently_is_refused(wire, what):
    wire.send(*(line.replace("{host}", wire.host)
                for line in BROKEN_HEADS[what]))
    status, headers, _ = wire.read()
    assert status == 400
    assert headers["connection"] == "close"
    assert wire.ends()


@pytest.mark.parametrize("length", ["-1", "x", "1x", "0x10", ""])
def test_a_length_that_is_no_number_is_refused(wire, length):
    wire.send("POST /v1/branches HTTP/1.1", f"Host: {wire.host}",
              f"Content-Length: {length}")
    assert wire.read()[0] == 400
    assert wire.ends()


def test_a_broken_chunk_is_refused(wire, admin):
    wire.send("POST /v1/branches HTTP/1.1", f"Host: {wire.host}",
              f"Authorization: Bearer {admin.key}", "Idempotency-Key: broken",
              "Transfer-Encoding: chunked", body=b"zz\r\n{}\r\n0\r\n\r\n")
    assert wire.read()[0] == 400
    assert wire.ends()


def test_a_head_over_the_limit_is_refused(system):
    with Wire(system.url) as wire:
        wire.send("GET /v1/me HTTP/1.1", f"Host: {wire.host}",
                  "X-A: " + 40000 * "a")
        assert wire.read()[0] == 431
    with Wire(system.url) as wire:
        wire.send("GET /" + 40000 * "a" + " HTTP/1.1", f"Host: {wire.host}")
        assert wire.read()[0] == 414


def test_a_long_path_is_a_problem_of_its_own(client):
    check_problem(client(None).raw("GET", "/v1/" + 9000 * "a"), 414,
                  "uri_too_long")


# Connections

def test_a_connection_serves_one_request_after_another(wire, admin):
    for _ in range(3):
        wire.send("GET /v1/me HTTP/1.1", f"Host: {wire.host}",
                  f"Authorization: Bearer {admin.key}")
        status, headers, body = wire.read()
        assert status == 200
        assert json.loads(body)["role"] == "administrator"
        assert headers.get("connection") != "close"


def test_requests_sent_ahead_are_answered_in_their_order(wire, admin):
    ids = [f"ahead-{n:04}" for n in range(20)]
    for name in ids:
        wire.send("GET /v1/me HTTP/1.1", f"Host: {wire.host}",
                  f"Request-Id: {name}", f"Authorization: Bearer {admin.key}")
    stream = wire.socket.makefile("rb")
    found = []
    for _ in ids:
        head = {}
        while (line := stream.readline().strip()):
            name, _, value = line.partition(b":")
            head[name.lower()] = value.strip()
        stream.read(int(head[b"content-length"]))
        found.append(head[b"request-id"].decode())
    assert found == ids


def test_a_client_may_wait_to_be_asked_for_its_body(wire, admin):
    body = json.dumps({"name": "Asked", "time_zone": "America/Chicago"})
    wire.send("POST /v1/branches HTTP/1.1", f"Host: {wire.host}",
              f"Authorization: Bearer {admin.key}",
              "Content-Type: application/json", "Expect: 100-continue",
              f"Content-Length: {len(body)}", f"Idempotency-Key: {uuid.uuid4()}")
    first = b""
    while b"\r\n\r\n" not in first:
        first += wire.socket.recv(1)
    assert first.startswith(b"HTTP/1.1 100 ")
    wire.socket.sendall(body.encode())
    assert wire.read()[0] == 201


def test_a_body_may_come_in_chunks_and_byte_by_byte(wire, admin):
    body = json.dumps({"name": "Chunked", "time_zone": "America/Chicago"})
    wire.send("POST /v1/branches HTTP/1.1", f"Host: {wire.host}",
              f"Authorization: Bearer {admin.key}",
              "Content-Type: application/json", "Transfer-Encoding: chunked",
              f"Idempotency-Key: {uuid.uuid4()}")
    for letter in body.encode():
        wire.socket.sendall(b"1\r\n" + bytes([letter]) + b"\r\n")
    wire.socket.sendall(b"0\r\n\r\n")
    status, _, answer = wire.read()
    assert status == 201
    assert json.loads(answer)["name"] == "Chunked"


def test_a_client_that_leaves_early_disturbs_nobody(system, admin):
    for _ in range(50):
        with Wire(system.url) as wire:
            wire.send("GET /v1/me HTTP/1.1", f"Host: {wire.host}",
                      f"Authorization: Bearer {admin.key}")
        with Wire(system.url) as wire:
            wire.send("POST /v1/branches HTTP/1.1", f"Host: {wire.host}",
                      "Content-Length: 100", body=b"{")
    admin.get("/v1/me").ok(200)


def test_many_connections_are_served_at_once(system, admin):
    def one(number):
        reply = admin.raw("GET", "/v1/me",
                          headers={"Request-Id": f"many-{number:04}"})
        return reply.status, reply.headers["request-id"]
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        found = list(pool.map(one, range(200)))
    assert found == [(200, f"many-{number:04}") for number in range(200)]


def test_a_head_that_does_not_come_ends_the_connection(system, long_run):
    if not long_run:
        pytest.skip("takes 12 s: make test-long")
    with Wire(system.url) as wire:
        begin = time.monotonic()
        wire.socket.sendall(b"GET /v1/me HTTP/1.1\r\n")
        wire.socket.settimeout(1)
        while time.monotonic() < begin + 14:
            try:
                wire.socket.sendall(b"X-A: a\r\n")
                if wire.ends():
                    break
            except socket.timeout:
                continue
            except OSError:
                break
        assert 9 < time.monotonic() - begin < 14


# Limits

def test_a_body_over_the_limit_is_too_large(admin):
    body = b'{"name": "' + BODY_MAX * b"a" + b'"}'
    headers = {"Content-Type": "application/json",
               "Idempotency-Key": str(uuid.uuid4())}
    check_problem(admin.raw("POST", "/v1/branches", body, headers), 413,
                  "too_large")


def test_a_body_over_the_limit_in_chunks_is_too_large(admin):
    def pieces():
        for _ in range(BODY_MAX // 65536 + 2):
            yield 65536 * b"a"
    headers = {"Content-Type": "application/json",
               "Idempotency-Key": str(uuid.uuid4())}
    check_problem(admin.raw("POST", "/v1/branches", pieces(), headers), 413,
                  "too_large")


def test_a_huge_body_is_refused_before_it_comes(wire):
    wire.send("POST /v1/branches HTTP/1.1", f"Host: {wire.host}",
              "Content-Length: 999999999999", "Expect: 100-continue")
    status, headers, _ = wire.read()
    assert status == 413
    assert headers["content-type"] == "application/problem+json"
    assert wire.ends()


# Methods and paths

def test_an_unknown_path_is_not_found(client, admin):
    for speaker in (client(None), admin):
        for path in ("/", "/v1", "/v1/nothing", "/v1/branches/", "/v2/me",
                     "/v1/branches/%zz"):
            check_problem(speaker.get(path), 404, "no_such_path")


def test_a_method_that_is_not_served_names_those_that_are(admin):
    reply = admin.call("DELETE", "/v1/branches")
    check_problem(reply, 405, "method_not_allowed")
    assert reply.headers["allow"] == "GET, HEAD, POST, OPTIONS"


def test_options_names_the_methods(client):
    reply = client(None).raw("OPTIONS", "/v1/branches/" + UNKNOWN_BRANCH)
    assert reply.status == 204
    assert reply.headers["allow"] == "GET, HEAD, PATCH, OPTIONS"
    assert reply.body == b""
    assert client(None).raw("OPTIONS", "*").status == 204
    assert client(None).raw("OPTIONS", "/problems").status == 204
    check_problem(client(None).raw("OPTIONS", "/v1/nothing"), 404)


def test_head_is_get_without_the_body(tenant, admin):
    path = "/v1/branches/" + tenant.branch_id
    got = admin.raw("GET", path)
    head = admin.raw("HEAD", path)
    assert head.status == 200
    assert head.body == b""
    for name in ("etag", "last-modified", "content-type", "content-length"):
        assert head.headers[name] == got.headers[name]


# Credentials

@pytest.mark.parametrize("credential", [
    None, "", "Bearer", "Bearer ", "Basic YTpi", "Bearer nonsense",
    "Bearer cairn_live_00000000000000000000000000000000000000",
    "Bearer cairn_live_" + 32 * "a" + "zzzzzz",
])
def test_without_a_good_credential_nothing_is_served(client, credential):
    headers = {} if credential is None else {"Authorization": credential}
    reply = client(None).raw("GET", "/v1/me", headers=headers)
    check_problem(reply, 401, "unauthenticated")
    assert reply.headers["www-authenticate"] == "Bearer"


def test_a_well_formed_key_that_nobody_has_is_refused(client):
    # Its checksum is right: sha256("cairn_test_0123456789AB...UV").
    key = "cairn_test_0123456789ABCDEFGHIJKLMNOPQRSTUV1c0fdc"
    for _ in range(3):
        check_problem(client(key).get("/v1/me"), 401, "unauthenticated")


def test_a_revoked_key_is_refused_within_a_second(tenant, admin, client,
                                                  wait_for):
    made = tenant.key("coordinator")
    speaker = client(made["key"])
    speaker.get("/v1/me").ok(200)
    admin.post(f"/v1/api-keys/{made['id']}/revoke").ok(200)
    wait_for(lambda: speaker.get("/v1/me").status == 401, REVOKED_SECONDS,
             "the refusal")
    assert speaker.get("/v1/me").status == 401


def test_a_user_who_may_no_longer_act_is_refused_within_a_second(
        tenant, admin, client, wait_for):
    user = admin.post("/v1/users", {
        "name": "Test User", "email": "user@agency.example",
        "role": "coordinator", "branch_ids": [tenant.branch_id],
        "active": True}).ok(201)
    made = tenant.key("coordinator", user_id=user["id"])
    speaker = client(made["key"])
    assert speaker.get("/v1/me").ok(200)["subject"] == user["id"]
    admin.patch("/v1/users/" + user["id"], {"active": False}).ok(200)
    wait_for(lambda: speaker.get("/v1/me").status == 401, REVOKED_SECONDS,
             "the refusal")


def test_a_key_of_too_little_scope_is_forbidden(tenant):
    body = {"name": "North", "time_zone": "America/Chicago"}
    check_problem(tenant.coordinator.post("/v1/branches", body), 403)


def test_nobody_gets_in_when_access_has_been_silent_for_long(system, admin,
                                                             wait_for):
    try:
        system.pid("access")
    except AssertionError:
        pytest.skip("the processes are not ours")
    admin.get("/v1/me").ok(200)
    for name in system.names_of("access"):
        system.kill(name, signal.SIGSTOP)
    try:
        # The credential is in the cache: at first only access's own answer is
        # missing, later the gateway does not trust its cache any more.
        wait_for(lambda: "credentials" in admin.get("/v1/clinicians").text, 12,
                 "the refusal")
        reply = admin.get("/v1/clinicians")
        check_problem(reply, 503, "unavailable")
        assert reply.headers["retry-after"] == "1"
        assert system.admin("gateway").get("/readyz").status == 503
    finally:
        for name in system.names_of("access"):
            system.kill(name, signal.SIGCONT)
    wait_for(lambda: admin.get("/v1/me").status == 200, 10, "its return")


# Request ids

def test_the_request_id_of_the_client_is_echoed(admin):
    for name in ("Request-Id", "X-Request-Id"):
        reply = admin.raw("GET", "/v1/me", headers={name: "my.own_id-1"})
        assert reply.headers["request-id"] == "my.own_id-1"


@pytest.mark.parametrize("given", ["short", "has space 1", 65 * "x", "<script>"])
def test_a_request_id_that_is_none_is_replaced(admin, given):
    reply = admin.raw("GET", "/v1/me", headers={"Request-Id": given})
    assert reply.status == 200
    uuid.UUID(reply.headers["request-id"])


# Media types

def test_a_media_type_that_is_not_taken_is_refused(tenant, admin):
    path = "/v1/branches/" + tenant.branch_id
    for media_type in ("text/plain", "application/xml", "application/json5"):
        headers = {"Content-Type": media_type,
                   "Idempotency-Key": str(uuid.uuid4())}
        reply = admin.raw("POST", "/v1/branches", b"{}", headers)
        check_problem(reply, 415, "unsupported_media_type")
        assert "accept-patch" not in reply.headers
        reply = admin.raw("PATCH", path, b"{}", headers)
        check_problem(reply, 415)
        assert "application/merge-patch+json" in reply.headers["accept-patch"]
    check_problem(admin.raw("POST", "/v1/branches", b"{}",
                            {"Idempotency-Key": str(uuid.uuid4())}), 415)


def test_parameters_of_the_media_type_do_not_matter(admin):
    headers = {"Content-Type": "application/json; charset=utf-8",
               "Idempotency-Key": str(uuid.uuid4())}
    admin.raw("POST", "/v1/branches",
              b'{"name": "Typed", "time_zone": "America/Chicago"}',
              headers).ok(201)


def test_a_patch_takes_both_of_its_types(tenant, admin):
    path = "/v1/branches/" + tenant.branch_id
    for media_type in ("application/json", "application/merge-patch+json"):
        admin.call("PATCH", path, {"phone": "270-555-0100"}, if_match="*",
                   media_type=media_type).ok(200)


def test_raw_bytes_have_their_own_types(tenant):
    reply = tenant.coordinator.hl7(b"%PDF", media_type="application/pdf")
    check_problem(reply, 415, "unsupported_media_type")


@pytest.mark.parametrize("accept, status", [
    ("*/*", 200), ("application/json", 200), ("application/*;q=0.1", 200),
    ("text/html, */*;q=0.1", 200), ("text/html", 406),
    ("application/json;q=0", 406), ("application/json;q=0, */*", 406)])
def test_an_answer_has_a_type_that_is_accepted(admin, accept, status):
    reply = admin.raw("GET", "/v1/me", headers={"Accept": accept})
    if status == 406:
        check_problem(reply, 406, "not_acceptable")
    else:
        reply.ok(status)
        assert reply.headers["content-type"] == "application/json"
        assert reply.headers["vary"] == "Authorization, Accept"


# Bodies

@pytest.mark.parametrize("body, status, code", [
    (b"", 400, None), (b"{", 400, None), (b"[]", 400, None),
    (b"null", 400, None), (b'"x"', 400, None), (b"{} {}", 400, None),
    (b'{"name": "a", "name": "b"}', 400, None),
    (b'{"name": "a\\u0000b"}', 400, None), (b'{"name": "\xff"}', 400, None),
    (40 * b'{"a":' + b"1" + 40 * b"}", 400, None),
    (b'{"nonsense": 1}', 422, None), (b'{"name": 1}', 422, None),
    (b'{"name": "a", "id": "brn_1"}', 422, None),
    (b'{"name": "a", "time_zone": "Mars/Olympus"}', 422, None)])
def test_a_body_that_is_not_right_is_a_problem(admin, body, status, code):
    headers = {"Content-Type": "application/json",
               "Idempotency-Key": str(uuid.uuid4())}
    reply = admin.raw("POST", "/v1/branches", body, headers)
    check_problem(reply, status, code)
    if status == 422:
        assert reply.json["errors"]


def test_the_fields_at_fault_are_named_by_pointer(admin):
    reply = admin.post("/v1/branches", {"name": "North", "nonsense": 1,
                                        "time_zone": "Mars/Olympus",
                                        "postal_codes": ["42001", "x"]})
    problem = check_problem(reply, 422)
    named = {error["pointer"]: error["code"] for error in problem["errors"]}
    assert named["/nonsense"] == "unknown_field"
    assert named["/time_zone"] == "invalid_zone"
    assert "/postal_codes/1" in named


def test_where_no_body_is_taken_none_is(admin):
    headers = {"Content-Type": "application/json"}
    check_problem(admin.raw("GET", "/v1/me", b"{}", headers), 400,
                  "unexpected_body")


# Queries

def test_a_query_parameter_that_is_unknown_is_refused(tenant, admin):
    check_problem(admin.get("/v1/branches", nonsense="1"), 400,
                  "unknown_parameter")
    check_problem(admin.get("/v1/branches/" + tenant.branch_id, id="x"), 400,
                  "unknown_parameter")
    check_problem(admin.call("POST", "/v1/branches?name=x", {}, "k"), 400,
                  "unknown_parameter")


@pytest.mark.parametrize("query", ["limit=x", "limit=1.5", "limit=", "limit=1e2",
                                   "limit=99999999999"])
def test_a_value_that_cannot_be_read_names_its_parameter(admin, query):
    reply = admin.get("/v1/branches?" + query)
    check_problem(reply, 400)
    assert reply.pointers() == ["/limit"]


def test_a_list_filter_may_be_repeated(tenant):
    client = tenant.coordinator
    made = [client.post("/v1/referrals", {"channel": "phone"}).ok(201)["id"]
            for _ in range(3)]
    for query in ("status=captured&status=accepted", "status=captured,accepted",
                  "status=accepted&status=declined,captured"):
        reply = client.raw("GET", "/v1/referrals?limit=2&" + query)
        page = reply.ok(200)
        assert {row["status"] for row in page["data"]} == {"captured"}
        path = reply.headers["link"].partition(">")[0].removeprefix("<")
        path = path.removeprefix(client.url)
        rows = page["data"] + client.raw("GET", path).ok(200)["data"]
        assert set(made) <= {row["id"] for row in rows}
    check_problem(client.get("/v1/referrals?status=captured&status=x"), 400)


@pytest.mark.parametrize("query, code", [
    ("limit=1&limit=2", "repeated_parameter"), ("cursor=%zz", None),
    ("cursor=%00", None), ("cursor=%ff", None), ("cursor=nonsense", None)])
def test_a_query_that_is_not_right_is_a_problem(admin, query, code):
    check_problem(admin.get("/v1/branches?" + query), 400, code)


def test_the_link_leads_through_all_pages(agency_factory):
    tenant = agency_factory(disciplines=[], roles=[])
    made = {tenant.branch_id} | {tenant.branch(f"Branch {n}")["id"]
                                 for n in range(4)}
    path, found = "/v1/branches?limit=2", []
    while path is not None:
        reply = tenant.administrator.raw("GET", path)
        page = reply.ok(200)
        found += [row["id"] for row in page["data"]]
        link = reply.headers.get("link")
        assert (link is not None) == page["has_more"]
        path = None
        if link is not None:
            path, _, relation = link.partition(">; ")
            path = path.removeprefix("<")
            assert relation == 'rel="next"'
            assert "limit=2" in path
    assert len(found) == len(set(found)) and set(found) == made


# Idempotency

def test_a_creation_needs_a_key(admin):
    check_problem(admin.post("/v1/branches", {"name": "North"}, key=None), 400,
                  "idempotency_key_missing")


@pytest.mark.parametrize("key", [256 * "k", '"abc', "a\xe9", ":tok", ":YWJj:",
                                 "a b", "a,b", "a;b=1", "-a", "", '""'])
def test_a_key_that_is_none_is_refused(admin, key):
    check_problem(admin.post("/v1/branches", {"name": "North"}, key=key), 400,
                  "invalid_idempotency_key")


def test_the_same_key_gives_the_same_answer(admin):
    body = {"name": "Once", "time_zone": "America/Chicago"}
    key = str(uuid.uuid4())
    first = admin.post("/v1/branches", body, key=key)
    again = admin.post("/v1/branches", body, key=f'"{key}"')
    first.ok(201)
    again.ok(201)
    assert again.body == first.body
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    for name in ("etag", "location", "last-modified"):
        assert again.headers[name] == first.headers[name]
    check_problem(admin.post("/v1/branches", dict(body, name="Twice"), key=key),
                  422, "idempotency_key_reused")


def test_what_is_made_says_where_it_is(admin):
    reply = admin.post("/v1/branches", {"name": "Placed",
                                        "time_zone": "America/Chicago"})
    made = reply.ok(201)
    assert reply.headers["location"] == "/v1/branches/" + made["id"]
    assert reply.etag == '"1"'
    assert admin.get(reply.headers["location"]).ok(200) == made


# Preconditions

@pytest.fixture
def branch(tenant, admin):
    """The path and the ETag of a new branch."""
    made = tenant.branch("Changing")
    path = "/v1/branches/" + made["id"]
    return path, admin.get(path).etag


def test_an_answer_that_the_client_has_is_not_sent_again(admin, branch):
    path, etag = branch
    whole = admin.get(path)
    for tags in (etag, "W/" + etag, '"0", ' + etag, "*"):
        reply = admin.raw("GET", path, headers={"If-None-Match": tags})
        assert reply.status == 304
        assert reply.body == b""
        assert reply.headers["content-length"] == whole.headers["content-length"]
        assert reply.etag == etag
    admin.raw("GET", path, headers={"If-None-Match": '"0"'}).ok(200)


def test_a_change_of_what_changed_is_refused_with_the_tag(admin, branch):
    path, etag = branch
    changed = admin.patch(path, {"name": "First"}, if_match=etag)
    changed.ok(200)
    assert changed.etag not in (None, etag)
    reply = admin.patch(path, {"name": "Second"}, if_match=etag)
    check_problem(reply, 412, "stale")
    assert reply.etag == changed.etag
    assert admin.get(path).ok(200)["name"] == "First"
    admin.patch(path, {"name": "Third"}, if_match="*").ok(200)


@pytest.mark.parametrize("tags", ['"x"', 'W/"1"', 'W/"1", "7"', '"7", "8"', '""'])
def test_a_precondition_that_no_tag_meets_fails(admin, branch, tags):
    path, etag = branch
    reply = admin.patch(path, {"name": "No"}, if_match=tags)
    check_problem(reply, 412, "stale")
    assert reply.etag == etag


def test_a_precondition_that_one_tag_meets_holds(admin, branch):
    path, etag = branch
    changed = admin.patch(path, {"name": "One"}, if_match=f'"7", {etag},"x"')
    changed.ok(200)
    assert admin.patch(path, {"name": "Two"}, key=None,
                       if_match=changed.etag).ok(200)["name"] == "Two"


@pytest.mark.parametrize("tags", ["1", "", '"1" "2"', '"1', '*, "1"', "w/\"1\""])
def test_a_precondition_that_is_no_list_of_tags_is_malformed(admin, branch, tags):
    check_problem(admin.patch(branch[0], {"name": "No"}, if_match=tags), 400,
                  "invalid_if_match")


def test_a_change_without_a_version_or_a_key_needs_one(admin, branch):
    path, _ = branch
    check_problem(admin.patch(path, {"name": "No"}, key=None), 428,
                  "precondition_required")
    admin.patch(path, {"name": "Keyed"}, key=str(uuid.uuid4())).ok(200)


def test_who_may_not_is_told_before_the_body_is_looked_at(tenant):
    headers = {"Content-Type": "text/plain", "Idempotency-Key": str(uuid.uuid4())}
    for body in (b"{", b"x" * 1000, b""):
        check_problem(tenant.coordinator.raw("POST", "/v1/branches", body,
                                             headers), 403, "forbidden")


# Records that are not there

def test_another_agencys_record_is_as_unknown_as_no_record(
        tenant, agency_factory):
    other = agency_factory(disciplines=[], roles=[])
    headers = {"Request-Id": "the-same-request"}
    path = "/v1/branches/"
    replies = [other.administrator.raw("GET", path + name, headers=headers)
               for name in (tenant.branch_id, UNKNOWN_BRANCH, "x", "%20",
                            600 * "x")]
    for reply in replies:
        check_problem(reply, 404, "not_found")
        assert reply.body == replies[0].body
        assert set(reply.headers) == set(replies[0].headers)


# Pages of the gateway

def test_the_type_of_a_problem_leads_to_its_page(client):
    problem = check_problem(client(None).get("/v1/me"), 401)
    page = client(None).raw("GET", urllib.parse.urlsplit(problem["type"]).path)
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/plain")
    assert "Authorization" in page.text


def test_every_kind_of_problem_is_listed_with_its_page(client):
    rows = client(None).get("/problems").ok(200)["data"]
    assert {row["code"] for row in rows} > {"stale", "invalid", "busy"}
    for row in rows:
        path = urllib.parse.urlsplit(row["type"]).path
        assert client(None).raw("GET", path).status == 200
    check_problem(client(None).get("/problems/nonsense"), 404)


def test_the_contract_names_every_path_that_is_served(client):
    contract = client(None).get("/openapi.json").ok(200)
    assert contract["openapi"].startswith("3.1")
    for path, operations in contract["paths"].items():
        if not path.startswith("/v1/"):
            continue
        allowed = client(None).raw("OPTIONS", path.replace("{", "").replace(
            "}", "")).headers["allow"]
        named = {method.upper() for method in operations
                 if method in ("get", "post", "put", "patch", "delete")}
        assert named == set(allowed.split(", ")) - {"HEAD", "OPTIONS"}
