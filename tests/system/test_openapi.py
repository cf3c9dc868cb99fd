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

from harness.contract import METHODS, TRANSPORT
from harness.story import Recorder, Story, json_referral
from harness.system import REPO

TYPESCRIPT = os.path.join(REPO, "tests/typescript")
TOOLS = os.path.join(TYPESCRIPT, "node_modules")
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
    for path in ("/v1/referrals", "/v1/patients", "/v1/visits",
                 "/v1/documents", "/v1/messages"):
        assert client.get(path, updated_since="2026-01-01T00:00:00Z",
                          limit="1").ok(200)["data"]
    for path in (story.path + "/deadlines", patient + "/referrals"):
        client.get(path).ok(200)
    tag = client.get(patient).etag
    assert client.raw("GET", patient, None,
                      {"If-None-Match": tag}).status == 304
    assert client.raw("GET", patient, None,
                      {"Accept": "image/png"}).status == 406
    again = client.post("/v1/patients", {"birth_date": "1950-01-31"}, "twice")
    assert client.post("/v1/patients", {"birth_date": "1950-01-31"}, "twice"
                       ).json == again.ok(201)
    taken = {"identifiers": [{"system": "HIS", "value": "MRN-1"}]}
    client.post("/v1/patients", taken).ok(201)
    assert client.post("/v1/patients", taken).headers["location"]
    client.patch("/v1/referrals/" + story.id, {"needs": "\u00e9" * 4000}).ok()
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
    # Generators make a type of each, by its name alone.
    parts = document["components"]
    assert not set(parts["responses"]) & set(parts["schemas"])


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


# Everything says what it is

def schemas_of(node, place=""):
    """(place, schema) of every property, wherever it is."""
    if isinstance(node, dict):
        for name, schema in node.get("properties", {}).items() \
                if isinstance(node.get("properties"), dict) else ():
            yield f"{place}.{name}", schema
        for name, value in node.items():
            yield from schemas_of(value, f"{place}/{name}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from schemas_of(value, f"{place}/{index}")


def scalar(schema):
    """The schema of a scalar or of the items of a list of them; else None."""
    if schema.get("type") in ("array", ["array", "null"]):
        schema = schema["items"]
    return None if "$ref" in schema or "anyOf" in schema or \
        schema.get("type") == "object" else schema


def is_bounded(schema):
    """Does the schema of what a client sends say how much it may be?"""
    if schema.get("type") in ("array", ["array", "null"]):
        return "maxItems" in schema and is_bounded(schema["items"])
    if schema.get("type") in ("string", ["string", "null"]):
        return any(word in schema for word in
                   ("maxLength", "format", "pattern", "enum"))
    return True


def test_every_property_is_described_with_an_example(contract):
    seen = 0
    for place, schema in schemas_of(contract.document):
        assert schema.get("description"), place
        if scalar(schema) is not None:
            (example,) = schema["examples"]
            assert contract.faults(schema, example) == [], place
        seen += 1
    assert seen > 400


def test_every_parameter_header_and_answer_is_described(contract):
    document = contract.document
    for path, item in document["paths"].items():
        for operation in item.values():
            for one in map(contract.resolve, operation.get("parameters", [])):
                assert one.get("description"), (path, one["name"])
                assert one["schema"].get("examples"), (path, one["name"])
                assert is_bounded(one["schema"]), (path, one["name"])
            for status, one in operation["responses"].items():
                described = contract.resolve(one)
                assert described["description"], (path, status)
                assert {"Request-Id", "Cache-Control", "Vary"} <= \
                    set(described["headers"]), (path, status)
    for name, one in document["components"]["headers"].items():
        assert one.get("description") and one["schema"], name
    assert all(tag["description"] for tag in document["tags"])


def test_every_code_and_every_event_says_what_it_means(contract):
    schemas = contract.document["components"]["schemas"]
    listed = [schemas["Problem"]["properties"]["code"],
              schemas["Problem.Fault"]["properties"]["code"],
              schemas["StreamEvent"]["properties"]["type"],
              schemas["StreamReset"]["properties"]["reason"],
              schemas["Referral"]["properties"]["status"],
              schemas["Visit"]["properties"]["reason_code"],
              schemas["Message"]["properties"]["reason_code"],
              schemas["Deadline"]["properties"]["breach_reason"]]
    warnings = schemas["Referral"]["properties"]["warnings"]
    listed.append({**warnings["items"], "description": warnings["description"]})
    for schema in listed:
        for word in schema["x-extensible-enum"]:
            assert f"`{word}`" in schema["description"], word
    assert "| PID-7" in contract.document["paths"]["/v1/hl7v2"]["post"][
        "description"]


def test_requests_have_closed_words_and_bounds_and_answers_open_ones(contract):
    seen = 0
    for name, schema in contract.document["components"]["schemas"].items():
        sent = name.endswith(("Create", "Patch"))
        for member, one in schema.get("properties", {}).items():
            words = one.get("items", one)
            if sent and not one.get("readOnly"):
                assert "x-extensible-enum" not in words, (name, member)
                assert is_bounded(one), (name, member)
                seen += "enum" in words
            else:
                assert "enum" not in words, (name, member)
    assert seen > 10
    for _, path, operation in contract.operations():
        for one in map(contract.resolve, operation["parameters"]):
            if one["schema"].get("type") == "array":
                assert one["style"] == "form" and one["explode"] is True
            if one["schema"].get("type") == "array" and \
                    one["name"] != "topics":
                assert "enum" in one["schema"]["items"], (path, one["name"])


# Real answers

def test_every_answer_is_what_the_contract_says(contract, answers):
    faults = [fault for method, path, reply in answers
              for fault in contract.answer_faults(method, path, reply)]
    assert faults == []
    assert {str(reply.status) for _, _, reply in answers} >= {
        "200", "201", "304", "403", "404", "406", "409", "415", "422"}


def test_an_object_just_read_may_be_sent_back(agency_factory):
    agency = agency_factory()
    story = Story(agency).tell()
    client, admin = agency.coordinator, agency.administrator
    document = client.get("/v1/documents", referral_id=story.id
                          ).ok()["data"][0]["id"]
    user = admin.post("/v1/users", {
        "name": "Alex Example", "email": "alex@agency.example",
        "role": "coordinator"}).ok(201)["id"]
    for who, path in ((client, story.path),
                      (client, "/v1/patients/" + story.patient_id),
                      (client, "/v1/documents/" + document),
                      (admin, "/v1/branches/" + agency.branch_id),
                      (admin, "/v1/users/" + user),
                      (admin, "/v1/clinicians/" + agency.clinicians[0]["id"])):
        read = who.get(path).ok(200)
        assert who.patch(path, read).ok(200)["version"] == read["version"]
        refused = who.patch(path, {**read, "version": 0, "created_at":
                                   "2020-01-01T00:00:00Z"})
        assert refused.status == 422
        assert sorted(refused.pointers()) == ["/created_at", "/version"]
        assert {one["code"] for one in refused.json["errors"]} == {
            "read_only_field"}
    refused = client.patch(story.path, {"patient": {"birth_date": "1950-01-31"},
                                        "patient_id": "pat_0"})
    assert (refused.status, sorted(refused.pointers())) == \
        (422, ["/patient/birth_date", "/patient_id"])


def test_a_text_of_as_many_characters_as_its_bound_is_taken(agency_factory):
    client = agency_factory(disciplines=[]).coordinator
    made = client.post("/v1/referrals", json_referral(needs="\u00e9" * 4000))
    assert made.ok(201)["needs"] == "\u00e9" * 4000
    assert client.post("/v1/referrals", json_referral(needs="\u00e9" * 4001)
                       ).pointers() == ["/needs"]


def test_the_pages_of_problems_are_what_the_contract_says(contract, client):
    paths = contract.document["paths"]
    codes = contract.document["components"]["schemas"]["Problem"][
        "properties"]["code"]["x-extensible-enum"]
    listed = client(None).get("/problems")
    described = paths["/problems"]["get"]["responses"]["200"]
    assert contract.faults(described["content"]["application/json"]["schema"],
                           listed.ok(200)) == []
    assert {one["code"] for one in listed.json["data"]} <= set(codes)
    for path, reply in (
            ("/problems", listed),
            ("/problems/{code}", client(None).get("/problems/stale")),
            ("/openapi.json", client(None).get("/openapi.json"))):
        known = paths[path]["get"]["responses"]["200"]["headers"]
        assert {name.lower() for name in known} | TRANSPORT >= \
            set(reply.headers), path


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


def tools_or_skip():
    """The tools of tests/typescript are a step of their own to install."""
    if shutil.which("node") is None or not os.path.isdir(TOOLS):
        pytest.skip("deploy/install --typescript has not run")


def test_ajv_finds_the_same(contract, answers):
    tools_or_skip()
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
    done = subprocess.run(["node", "-e", AJV], text=True, cwd=TYPESCRIPT,
                          input=json.dumps({"document": contract.document,
                                            "cases": cases}),
                          capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


def test_typescript_refuses_a_misspelt_status(contract, tmp_path):
    """Its tools are those of tests/typescript/package-lock.json."""
    tools_or_skip()
    (tmp_path / "openapi.json").write_text(json.dumps(contract.document))
    shutil.copy(os.path.join(TYPESCRIPT, "misspelt.ts"), tmp_path)
    os.symlink(TOOLS, tmp_path / "node_modules")
    for command in (["openapi-typescript/bin/cli.js", "openapi.json", "-o",
                     "cairn.ts"],
                    ["typescript/bin/tsc", "--noEmit", "--strict",
                     "--skipLibCheck", "--exactOptionalPropertyTypes",
                     "misspelt.ts"]):
        done = subprocess.run(
            ["node", os.path.join(TOOLS, command[0]), *command[1:]],
            cwd=tmp_path, capture_output=True, text=True, check=False,
            timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
