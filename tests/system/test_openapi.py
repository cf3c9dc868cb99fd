# SPDX-License-Identifier: Apache-2.0
"""The contract and the gateway agree: /openapi.json is compared with the
protos, with the routes that answer, and with real answers."""
import collections
import glob
import json
import os
import re
import shutil
import subprocess

import pytest

from harness.contract import METHODS
from harness.story import Recorder, Story, json_referral
from harness.system import REPO

AJV_PATHS = ["/usr/share/nodejs", "/usr/lib/node_modules",
             os.path.join(REPO, "node_modules")]
PERMISSIONS = {
    "", "intake:write", "referrals:read", "referrals:write",
    "referrals:decide", "patients:read", "patients:write", "visits:read",
    "visits:write", "clinicians:read", "clinicians:write", "documents:read",
    "documents:write", "documents:sign", "messages:read", "messages:write",
    "worklist:read", "worklist:write", "metrics:read", "stream:read",
    "audit:read", "admin:write", "admin:platform"}


def of_protos():
    """(method, path) of every rpc with an HTTP option, and the gateway's
    own."""
    found = {("GET", "/v1/stream")}
    for path in glob.glob(os.path.join(REPO, "proto/cairn/*.proto")):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for option in re.findall(r"option \(http\) = \{(.*?)\};", text,
                                 re.DOTALL):
            for method, route in re.findall(
                    r"\b(get|put|post|patch|delete): \"(/[^\"]+)\"", option):
                found.add((method.upper(), route))
    return found


@pytest.fixture(scope="module")
def answers(agency_factory):
    """Recorded requests: a story, the administration, and refusals."""
    agency = agency_factory()
    client = Recorder(agency.url, agency.coordinator.key)
    story = Story(agency, client=client).tell()
    patient = "/v1/patients/" + story.patient_id
    for path in ("/v1/me", "/v1/patients", patient, "/v1/episodes",
                 "/v1/clinicians", "/v1/documents", "/v1/messages",
                 "/v1/visits", "/v1/visits/" + story.visit_id,
                 "/v1/checklists/" + story.id, "/v1/availability?"
                 "discipline=rn&postal_code=99999", "/v1/availability?"
                 "discipline=rn&postal_code=42010"):
        client.get(path).ok(200)
    client.post("/v1/referrals", story.body).ok(200)
    assert client.post("/v1/referrals", json_referral(nonsense=1)).status == 422
    assert client.post(story.path + "/accept").status == 409
    assert client.get("/v1/branches").status == 403
    assert client.get(patient[:-1]).status == 404
    assert client.get("/v1/patients", cursor="x").status == 400
    assert client.patch(patient, {"language": "en"},
                        if_match='"0"').status in (400, 412)
    assert client.call("PATCH", patient, {}, "k", media_type="text/plain"
                       ).status == 415
    admin = Recorder(agency.url, agency.administrator.key)
    agency.administrator = admin
    agency.branch("Further branch")
    agency.key("intake")
    agency.clinician("ot", gender="female")
    for path in ("/v1/branches", "/v1/users", "/v1/api-keys",
                 "/v1/branches/" + agency.branch_id):
        admin.get(path).ok(200)
    return client.record + admin.record


# The same routes

def test_the_contract_has_the_routes_of_the_protos(contract):
    named = {(method, path) for method, path, _ in contract.operations()}
    assert named == of_protos()
    assert len(named) >= 40


def test_every_operation_is_answered(contract, client):
    for method, path, _ in contract.operations():
        reply = client(None).raw(method, re.sub(r"\{\w+\}", "x", path))
        assert reply.status == 401, (method, path, reply)


def test_what_the_contract_does_not_name_is_not_served(contract, client):
    for path, item in contract.document["paths"].items():
        if not path.startswith("/v1/"):
            continue
        for method in METHODS:
            if method in item:
                continue
            reply = client(None).raw(method.upper(),
                                     re.sub(r"\{\w+\}", "x", path))
            assert reply.status == 405, (method, path, reply)
            assert {name.lower() for name in
                    reply.headers["allow"].split(", ")} == \
                set(item) & set(METHODS) | {"options"} | (
                    {"head"} if "get" in item else set())
    for path in ("/v1", "/v1/", "/v1/nonsense", "/v2/me", "/v1/referrals/x/y"):
        assert client(None).raw("GET", path).status == 404


# A whole document

def test_the_document_is_whole(contract):
    document = contract.document
    assert re.fullmatch(r"3\.1\.\d", document["openapi"])
    assert document["info"]["title"] and document["info"]["version"]
    for node in contract.references():
        assert contract.resolve(node) is not None
    tags = {tag["name"] for tag in document["tags"]}
    names = collections.Counter()
    for method, path, operation in contract.operations():
        names[operation["operationId"]] += 1
        assert set(operation["tags"]) <= tags and operation["tags"]
        assert operation["summary"] and operation["description"]
        assert operation.get("x-scope", "") in PERMISSIONS, (method, path)
    assert set(names.values()) == {1}


def test_every_operation_names_its_parameters_and_errors(contract):
    for method, path, operation in contract.operations():
        given = [contract.resolve(one)
                 for one in operation.get("parameters", [])]
        in_path = {one["name"] for one in given if one["in"] == "path"}
        assert in_path == set(re.findall(r"\{(\w+)\}", path))
        assert all(one["required"] for one in given if one["in"] == "path")
        assert len({(one["in"], one["name"]) for one in given}) == len(given)
        statuses = set(operation["responses"])
        assert {"401", "500", "503", "504"} <= statuses
        assert ("403" in statuses) == ("x-scope" in operation)
        assert any(status.startswith("2") for status in statuses)
        if in_path:
            assert "404" in statuses, (method, path)
        for status, response in operation["responses"].items():
            content = contract.resolve(response).get("content", {})
            if status >= "400":
                assert list(content) == ["application/problem+json"]


def test_every_example_is_what_its_schema_says(contract):
    seen = 0
    for _, path, operation in contract.operations():
        for media in operation.get("requestBody", {}).get("content",
                                                          {}).values():
            if "example" in media:
                assert contract.faults(media["schema"],
                                       media["example"]) == [], path
                seen += 1
    assert seen >= 7


# Real answers

def test_every_answer_is_what_the_contract_says(contract, answers):
    faults = [fault for method, path, reply in answers
              for fault in contract.answer_faults(method, path, reply)]
    assert faults == []
    assert {str(reply.status) for _, _, reply in answers} >= {
        "200", "201", "403", "404", "409", "415", "422"}


AJV = """
const Ajv = require("ajv/dist/2020");
const {document, cases} = JSON.parse(require("fs").readFileSync(0, "utf8"));
const ajv = new Ajv({strict: false, validateFormats: false});
ajv.addSchema(document, "cairn");
for (const [what, pointer, value] of cases) {
  const check = ajv.compile({$ref: "cairn#" + pointer});
  if (!check(value)) console.log(what, JSON.stringify(check.errors));
}
"""


def escaped(word):
    """A word of a JSON pointer in a URI's fragment."""
    return word.replace("~", "~0").replace("/", "~1").replace("{", "%7B") \
        .replace("}", "%7D").replace("+", "%2B")


def test_ajv_finds_the_same(contract, answers):
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    environment = dict(os.environ, NODE_PATH=":".join(
        [os.environ.get("NODE_PATH", ""), *AJV_PATHS]))
    if subprocess.run(["node", "-e", 'require("ajv/dist/2020")'],
                      env=environment, capture_output=True,
                      check=False).returncode != 0:
        pytest.skip("ajv (2020-12) is not installed")
    cases = []
    for method, path, reply in answers:
        operation = contract.operation_of(method, path)
        route = next(name for _, name, one in contract.operations()
                     if one is operation)
        described = operation["responses"][str(reply.status)]
        if reply.json is None:
            continue
        base = described["$ref"][1:] if "$ref" in described else "/paths/" + \
            "/".join([escaped(route), method.lower(), "responses",
                      str(reply.status)])
        media = reply.headers["content-type"]
        cases.append((f"{method} {path} {reply.status}",
                      f"{base}/content/{escaped(media)}/schema", reply.json))
    done = subprocess.run(["node", "-e", AJV], env=environment, text=True,
                          input=json.dumps({"document": contract.document,
                                            "cases": cases}),
                          capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
