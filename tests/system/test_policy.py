# SPDX-License-Identifier: Apache-2.0
"""Who may do what, by single cells of the policy and by its whole table. The
expectations are written by hand, so that the table is not compared with
itself."""
import datetime
import hashlib
import time

import pytest

from harness.client import Client
from harness.story import Story

SECOND = 1
NO_REFERRAL = "/v1/referrals/ref_" + 26 * "0"
NO_PATIENT = "/v1/patients/pat_" + 26 * "0"
NO_VISIT = "/v1/visits/vis_" + 26 * "0"
NO_CLINICIAN = "/v1/clinicians/cln_" + 26 * "0"

ROLES = ["intake", "coordinator", "scheduler", "clinician", "records_clerk",
         "supervisor", "administrator", "integrator", "physician_office",
         "referral_source"]
# A request that needs the permission, and the roles that have it, in the
# order of ROLES: y, or - for 403.
CELLS = [
    ("intake:write", "POST", "/v1/hl7v2", "yy---y-y-y"),
    ("referrals:read", "GET", "/v1/referrals", "yyyyyy-y-y"),
    ("referrals:write", "POST", NO_REFERRAL + "/validate", "yy---y-y--"),
    ("referrals:decide", "POST", NO_REFERRAL + "/accept", "-y---y----"),
    ("referrals:decide", "POST", NO_REFERRAL + "/decline", "-y---y----"),
    ("patients:read", "GET", "/v1/patients", "yyyyyy-yyy"),
    ("patients:write", "PATCH", NO_PATIENT, "yy---y-y--"),
    ("visits:read", "GET", "/v1/visits", "yyyyyy-y-y"),
    ("visits:write", "POST", NO_VISIT + "/complete", "-yyy-y-y--"),
    ("clinicians:read", "GET", "/v1/clinicians", "yyyyyyyy--"),
    ("clinicians:write", "PATCH", NO_CLINICIAN, "--yy-yy---"),
    ("documents:read", "GET", "/v1/documents", "yy-yyy-yy-"),
    ("messages:read", "GET", "/v1/messages", "yyyyyy-y--"),
    ("admin:write", "GET", "/v1/branches", "------y---"),
    ("admin:write", "GET", "/v1/users", "------y---"),
    ("admin:write", "GET", "/v1/api-keys", "------y---"),
    ("admin:platform", "GET", "/v1/agencies", "----------"),
    ("admin:platform", "GET", "/v1/services/scheduling/rebuilds", "----------"),
    ("admin:platform", "POST", "/v1/services/scheduling/rebuild", "----------"),
]
# Roles that reach only their cases, themselves or their organisation: they see
# no record that is not tied to them.
TIED = ["clinician", "physician_office", "referral_source"]


@pytest.fixture(scope="module")
def agency(agency_factory):
    """An agency with a client of every role, in `of`."""
    made = agency_factory()
    made.of = {role: made.client(role) for role in ROLES}
    return made


@pytest.fixture(scope="module")
def told(agency):
    """A referral of its first branch, from arrival to admission."""
    return Story(agency).tell()


@pytest.fixture(scope="module")
def elsewhere(agency):
    """A second branch: its coordinator and intake."""
    branch = agency.branch("Second branch")["id"]
    return {role: agency.client(role, branch_id=branch, branch_ids=[branch])
            for role in ("coordinator", "intake", "scheduler", "records_clerk")}


# The table

def call(client, method, path):
    """A request in which nothing but the permission can be wrong."""
    if path == "/v1/hl7v2":
        return client.hl7(b"no message")
    if path.endswith("/decline"):
        return client.post(path, {"reason_code": "no_capacity"})
    if method == "PATCH":
        return client.patch(path, {})
    return client.get(path) if method == "GET" else client.post(path)


@pytest.mark.parametrize("permission, method, path, cells", CELLS,
                         ids=[f"{cell[0]} {cell[1]} {cell[2]}"
                              for cell in CELLS])
def test_a_role_may_what_its_row_says(agency, permission, method, path, cells):
    wrong = []
    for role, cell in zip(ROLES, cells):
        reply = call(agency.of[role], method, path)
        if cell == "-":
            right = (reply.status, reply.code) == (403, "forbidden")
        else:
            right = reply.status in (200, 404, 415, 422)
        if not right:
            wrong.append((role, permission, cell, reply))
    assert not wrong


def test_a_role_that_the_policy_does_not_know_is_refused(agency):
    for role in ("king", "platform", "", "Coordinator"):
        reply = agency.administrator.post("/v1/api-keys",
                                          {"name": "Key", "role": role})
        assert reply.status == 422, role


def test_no_agency_can_give_itself_the_platforms_scope(agency):
    reply = agency.administrator.post("/v1/api-keys", {
        "name": "Key", "role": "administrator", "scopes": ["admin:platform"]})
    if reply.status == 201:
        client = Client(agency.url, reply.json["key"])
        assert client.get("/v1/agencies").status == 403
    else:
        assert reply.status == 422


# Single cells, as far as there are routes

def test_1_intake_reads_nothing_of_another_branch(told, elsewhere):
    assert elsewhere["intake"].get(told.path).status == 404


def test_2_intake_does_not_accept(told, agency):
    assert agency.of["intake"].get(told.path).status == 200
    assert agency.of["intake"].post(told.path + "/accept").status == 403


def test_3_a_coordinator_declines_in_the_own_branch(agency):
    story = Story(agency)
    story.send()
    body = {"reason_code": "out_of_area"}
    agency.coordinator.post(story.path + "/decline", body).ok(200)
    assert story.referral()["status"] == "declined"


def test_4_a_scheduler_changes_no_patient(told, agency):
    path = "/v1/patients/" + told.patient_id
    assert agency.of["scheduler"].get(path).status == 200
    assert agency.of["scheduler"].patch(path, {"language": "fr"}).status == 403


def test_5_a_clinician_reads_no_patient_who_is_not_theirs(told, agency):
    client = agency.of["clinician"]
    assert client.get("/v1/patients/" + told.patient_id).status == 404
    assert client.get("/v1/patients").ok(200)["data"] == []


def test_6_a_clinician_completes_no_colleagues_visit(told, agency):
    client = agency.of["clinician"]
    path = f"/v1/visits/{told.visit_id}/complete"
    assert client.post(path).status == 404


def test_9_a_referral_source_reads_no_others_referral(told, agency):
    assert agency.of["referral_source"].get(told.path).status == 404


def test_10_an_administrator_reads_no_patient(told, agency):
    for path in ("/v1/patients/" + told.patient_id, told.path,
                 told.path + "/raw", "/v1/visits/" + told.visit_id,
                 "/v1/checklists/" + told.id):
        assert agency.administrator.get(path).status == 403


def test_14_a_key_may_no_more_than_its_scopes(told, agency):
    client = agency.client("integrator", scopes=["referrals:read"])
    assert client.get("/v1/me").ok(200)["scopes"] == ["referrals:read"]
    client.get(told.path).ok(200)
    assert client.post("/v1/visits", {
        "referral_id": told.id, "kind": "routine", "discipline": "rn",
        "clinician_id": agency.clinicians[0]["id"],
        "starts_at": "2036-01-07T15:00:00Z",
        "ends_at": "2036-01-07T16:00:00Z"}).status == 403
    assert client.patch(told.path, {"needs": "Other"}).status == 403
    assert client.get("/v1/patients/" + told.patient_id).status == 403


def test_a_scope_grants_nothing_that_the_role_does_not(told, agency):
    made = agency.administrator.post("/v1/api-keys", {
        "name": "Key", "role": "intake", "branch_id": agency.branch_id,
        "branch_ids": [agency.branch_id], "scopes": ["referrals:decide"]})
    if made.status == 201:
        client = Client(agency.url, made.json["key"])
        assert client.post(told.path + "/accept").status == 403
    else:
        assert made.status == 422


def test_15_an_id_of_another_agency_is_unknown(told, agency_factory):
    other = agency_factory(disciplines=[])
    for client in (other.coordinator, other.integrator):
        assert client.get(told.path).status == 404


def test_16_a_revoked_key_is_refused_a_second_later(agency):
    made = agency.key("coordinator")
    client = Client(agency.url, made["key"])
    client.get("/v1/referrals").ok(200)
    agency.administrator.post(f"/v1/api-keys/{made['id']}/revoke").ok(200)
    deadline = time.monotonic() + SECOND
    while client.get("/v1/referrals").status != 401:
        assert time.monotonic() < deadline
    assert client.get("/v1/referrals").code == "unauthenticated"


def test_a_key_ends_when_it_expires(agency, wait_for):
    ends = datetime.datetime.now(datetime.timezone.utc) + \
        datetime.timedelta(seconds=1.5)
    client = agency.client("coordinator",
                           expires_at=ends.isoformat().replace("+00:00", "Z"))
    client.get("/v1/referrals").ok(200)
    wait_for(lambda: client.get("/v1/referrals").status == 401, 3, "the end")


# Reach

def test_other_branches_see_nothing(told, elsewhere):
    for client in elsewhere.values():
        assert client.get(told.path).status == 404
        assert client.get("/v1/referrals").ok(200)["data"] == []


def test_of_several_branches_all_are_seen(told, agency):
    branch = agency.branch("Third branch")["id"]
    client = agency.client("coordinator", branch_id=branch,
                           branch_ids=[branch, agency.branch_id])
    client.get(told.path).ok(200)
    assert client.get("/v1/referrals").ok(200)["data"]


def test_what_a_key_makes_is_of_its_branch(agency, elsewhere):
    story = Story(agency, client=elsewhere["intake"])
    story.send()
    assert story.referral()["branch_id"] != agency.branch_id
    assert agency.coordinator.get(story.path).status == 404


def test_nothing_is_made_in_a_branch_out_of_reach(agency, elsewhere):
    story = Story(agency)
    story.body["branch_id"] = agency.branch_id
    reply = elsewhere["intake"].post("/v1/referrals", story.body)
    assert reply.status in (403, 404, 422), reply


@pytest.mark.parametrize("role", TIED)
def test_who_is_tied_to_nothing_sees_nothing(told, agency, role):
    client = agency.of[role]
    paths = {"/v1/referrals": told.path,
             "/v1/patients": "/v1/patients/" + told.patient_id,
             "/v1/visits": "/v1/visits/" + told.visit_id,
             "/v1/documents": "/v1/documents/" +
                              told.rows("documents")[0]["id"],
             "/v1/messages": "/v1/messages/" + told.rows("messages")[0]["id"],
             "/v1/episodes": None}
    for listed, one in paths.items():
        reply = client.get(listed)
        assert reply.status == 403 or reply.ok(200)["data"] == []
        assert one is None or client.get(one).status in (403, 404)


# Without a valid credential

def fill(path):
    """A path with ids that do not exist."""
    return path.replace("{id}", "ref_" + 26 * "0").replace(
        "{referral_id}", "ref_" + 26 * "0")


def bad_credentials(key):
    """Authorization fields that are malformed, or of an unknown key."""
    other = "0" if key[15] != "0" else "1"
    return {
        "none": None, "empty": "", "scheme alone": "Bearer", "blank": "Bearer ",
        "another scheme": "Basic Y29vcmRpbmF0b3I6c2VjcmV0",
        "no scheme": key, "short": "Bearer cairn_live_x",
        "cut": "Bearer " + key[:-1], "longer": "Bearer " + key + "0",
        "one letter": "Bearer " + key[:15] + other + key[16:],
        "twice": f"Bearer {key} {key}", "quoted": f'Bearer "{key}"',
        "long": "Bearer " + 4000 * "k",
        # Well formed, with its checksum, but of an unknown key.
        "forged": "Bearer cairn_live_0123456789ABCDEFGHIJKLMNOPQRSTUV" +
                  checksum("cairn_live_0123456789ABCDEFGHIJKLMNOPQRSTUV"),
    }


def checksum(text):
    """The last six characters of a key."""
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def test_no_route_answers_without_a_credential(contract, agency, client):
    nobody = client(None)
    bad = bad_credentials(agency.coordinator.key)
    for method, path, _ in contract.operations():
        for what in ("none", "forged", "cut"):
            headers = {} if bad[what] is None else {"Authorization": bad[what]}
            reply = nobody.raw(method, fill(path), headers=headers)
            assert (reply.status, reply.code) == (401, "unauthenticated"), \
                (method, path, what, reply)
            assert reply.headers["www-authenticate"] == "Bearer"


def test_no_credential_that_is_none_opens_anything(agency, client):
    nobody = client(None)
    for what, value in bad_credentials(agency.coordinator.key).items():
        headers = {} if value is None else {"Authorization": value}
        reply = nobody.raw("GET", "/v1/referrals", headers=headers)
        assert reply.status == 401, (what, reply)
