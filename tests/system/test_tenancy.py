# SPDX-License-Identifier: Apache-2.0
"""A second agency and another branch see nothing. For every id of the first
agency they get the answer for an id that does not exist."""
import json

import pytest

from harness.client import Client
from harness.story import Story, lines_of, segments

SAME_REQUEST = {"Request-Id": "the-same-request"}
NEVER_WAS = 26 * "0"
# What a request must say so that only the id is at fault.
BODIES = {
    ("PATCH", "/v1/branches/{id}"): {"name": "Other"},
    ("PATCH", "/v1/users/{id}"): {"name": "Other"},
    ("PATCH", "/v1/referrals/{id}"): {"needs": "Other"},
    ("PATCH", "/v1/patients/{id}"): {"language": "fr"},
    ("PATCH", "/v1/clinicians/{id}"): {"name": "Other"},
    ("POST", "/v1/referrals/{id}/decline"): {"reason_code": "no_capacity"},
}
ADMINISTERED = ("admin:write", "clinicians:write")


@pytest.fixture(scope="module")
def owner(agency_factory):
    """The agency whose records the others ask for."""
    return agency_factory()


@pytest.fixture(scope="module")
def told(owner, data_file):
    """Its story, with a record of every kind."""
    return Story(owner, message=lines_of(data_file("referral.hl7"),
                                         b"\r")).tell()


@pytest.fixture(scope="module")
def stranger(agency_factory):
    """The second agency."""
    return agency_factory()


@pytest.fixture(scope="module")
def ids(owner, told):
    """An id of each kind, by the first word of its path."""
    user = owner.administrator.post("/v1/users", {
        "name": "Test User", "email": "user@agency.example",
        "role": "coordinator", "branch_ids": [owner.branch_id]}).ok(201)
    key = owner.key("coordinator")
    return {
        "branches": owner.branch_id, "users": user["id"],
        "api-keys": key["id"], "clinicians": owner.clinicians[0]["id"],
        "referrals": told.id, "checklists": told.id,
        "patients": told.patient_id, "visits": told.visit_id,
        "documents": told.rows("documents")[0]["id"],
        "messages": told.rows("messages")[0]["id"],
    }


def with_id(contract):
    """Operations on one record: (method, path, operation). Those of an
    operator name a service as well: see test_dead_letters.py and
    test_rebuild_asked.py."""
    return [found for found in contract.operations() if "{" in found[1]
            and not found[1].startswith("/v1/services/")]


def endless(operation):
    """A stream: see test_stream.py."""
    return "text/event-stream" in \
        operation["responses"]["200"].get("content", {})


def ask(client, method, template, record):
    """One request for a record."""
    head, _, rest = template.partition("{")
    path = head + record + rest.partition("}")[2]
    if method == "GET":
        return client.raw(method, path, headers=SAME_REQUEST)
    content = json.dumps(BODIES.get((method, template), {}))
    return client.raw(method, path, content.encode(),
                      {"Content-Type": "application/json",
                       "Idempotency-Key": "key-" + record, **SAME_REQUEST})


def check_unknown(client, method, template, record):
    """Is it the same answer as for an id that does not exist?"""
    unknown = record.partition("_")[0] + "_" + NEVER_WAS
    reply = ask(client, method, template, record)
    nothing = ask(client, method, template, unknown)
    assert (reply.status, nothing.status) == (404, 404), (method, template)
    assert reply.body == nothing.body
    plain = {name: value for name, value in reply.headers.items()
             if name != "date"}
    assert plain == {name: value for name, value in nothing.headers.items()
                     if name != "date"}


# Another agency

def test_every_id_of_another_agency_is_unknown(contract, ids, stranger):
    operations = with_id(contract)
    assert len(operations) >= 19
    for method, path, operation in operations:
        client = stranger.administrator if operation["x-scope"] in \
            ADMINISTERED else stranger.coordinator
        check_unknown(client, method, path, ids[path.split("/")[2]])


def test_an_integrator_of_another_agency_finds_nothing(contract, ids, stranger):
    for method, path, operation in with_id(contract):
        if operation["x-scope"] not in (*ADMINISTERED, "referrals:decide"):
            check_unknown(stranger.integrator, method, path,
                          ids[path.split("/")[2]])


def test_no_list_shows_another_agencys_records(contract, ids, owner, stranger):
    strings = [owner.id, *ids.values(), *(row["id"] for row in
                                          owner.clinicians)]
    seen = 0
    for method, path, operation in contract.operations():
        if method != "GET" or "{" in path or endless(operation) or \
                operation.get("x-scope") == "admin:platform":
            continue
        client = stranger.administrator if operation.get("x-scope") in \
            ADMINISTERED else stranger.coordinator
        text = client.get(path).text
        assert not [one for one in strings if one in text], path
        seen += 1
    assert seen >= 12
    for name in ("referrals", "patients", "visits", "documents", "messages",
                 "episodes"):
        assert stranger.coordinator.get("/v1/" + name).ok(200)["data"] == []


def test_a_filter_by_another_agencys_id_finds_nothing(ids, stranger):
    for name in ("visits", "documents", "messages"):
        for field, kind in (("referral_id", "referrals"),
                            ("patient_id", "patients")):
            page = stranger.coordinator.get("/v1/" + name, **{field: ids[kind]})
            assert page.ok(200)["data"] == []
    for name in ("referrals", "episodes"):
        page = stranger.coordinator.get("/v1/" + name,
                                        patient_id=ids["patients"])
        assert page.ok(200)["data"] == []
    page = stranger.coordinator.get("/v1/visits",
                                    clinician_id=ids["clinicians"])
    assert page.ok(200)["data"] == []


REFERENCES = [
    ("coordinator", "/v1/referrals", {"patient_id": "patients"}, {}),
    ("coordinator", "/v1/referrals", {"branch_id": "branches"},
     {"patient": {"name": {"family": "Example"}}}),
    ("coordinator", "/v1/patients", {"branch_id": "branches"},
     {"name": {"family": "Example"}}),
    ("coordinator", "/v1/visits", {"referral_id": "referrals"},
     {"kind": "routine", "discipline": "rn", "clinician_id": "own",
      "starts_at": "2036-01-07T15:00:00Z", "ends_at": "2036-01-07T16:00:00Z"}),
    ("administrator", "/v1/api-keys", {"branch_id": "branches"},
     {"name": "Key", "role": "coordinator"}),
    ("administrator", "/v1/api-keys", {"user_id": "users"},
     {"name": "Key", "role": "coordinator"}),
    ("administrator", "/v1/users", {"branch_ids": "branches"},
     {"name": "User", "email": "u@agency.example", "role": "coordinator"}),
]


@pytest.mark.parametrize("role, path, reference, body", REFERENCES)
def test_a_record_cannot_be_made_on_another_agencys(stranger, ids, role, path,
                                                    reference, body):
    client = getattr(stranger, role)
    ((field, kind),) = reference.items()
    if body.get("clinician_id") == "own":
        body = dict(body, clinician_id=stranger.clinicians[0]["id"])
    replies = []
    for record in (ids[kind], ids[kind].partition("_")[0] + "_" + NEVER_WAS):
        value = [record] if field.endswith("s") else record
        content = json.dumps(dict(body, **{field: value}))
        replies.append(client.raw(
            "POST", path, content.encode(),
            {"Content-Type": "application/json",
             "Idempotency-Key": "key-" + record, **SAME_REQUEST}))
    assert replies[0].status in (404, 422), replies[0]
    assert replies[0].status == replies[1].status
    assert replies[0].body == replies[1].body


def test_the_same_message_is_each_agencys_own_referral(told, stranger,
                                                       agency_factory,
                                                       data_file):
    third = agency_factory(disciplines=[])
    reply = third.coordinator.hl7(lines_of(data_file("referral.hl7"), b"\r"))
    found = segments(reply)["MSA"]
    assert found[1] == "AA" and found[3] != told.id
    assert len(third.coordinator.get("/v1/referrals").ok(200)["data"]) == 1
    assert stranger.coordinator.get("/v1/referrals").ok(200)["data"] == []


# Another branch of the same agency

def test_a_coordinator_of_another_branch_finds_nothing(contract, ids, owner,
                                                       told):
    elsewhere = owner.branch("Elsewhere")["id"]
    client = owner.client("coordinator", branch_id=elsewhere,
                          branch_ids=[elsewhere])
    for method, path, operation in with_id(contract):
        kind = path.split("/")[2]
        if operation["x-scope"] not in ADMINISTERED and kind != "clinicians":
            check_unknown(client, method, path, ids[kind])
    for name in ("referrals", "patients", "visits", "documents", "messages",
                 "episodes"):
        assert client.get("/v1/" + name).ok(200)["data"] == []
    for name in ("visits", "documents", "messages"):
        page = client.get("/v1/" + name, referral_id=told.id)
        assert page.ok(200)["data"] == []


def test_a_supervisor_sees_every_branch_of_the_agency(owner, told):
    elsewhere = owner.branch("Far away")["id"]
    client = owner.client("supervisor", branch_id=elsewhere,
                          branch_ids=[elsewhere])
    for path in (told.path, "/v1/patients/" + told.patient_id,
                 "/v1/visits/" + told.visit_id):
        assert client.get(path).status == 200


def test_a_credential_of_no_agency_sees_no_agencys_records(system, ids):
    client = Client(system.url, system.platform_key)
    for name in ("referrals", "patients", "visits", "documents", "messages"):
        assert client.get(f"/v1/{name}/{ids[name]}").status == 403
        assert client.get("/v1/" + name).status == 403
