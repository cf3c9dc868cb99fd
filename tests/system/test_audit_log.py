# SPDX-License-Identifier: Apache-2.0
"""The sealed audit as its readers see it: GET /v1/audit, and cairn-audit."""
import os
import subprocess

import pytest

from harness.story import Story
from harness.system import REPO, SERVICES, read

COPY_SECONDS = 10  # sealed within one second, copied within another; slow build
TOOL = os.path.join(REPO, "build", os.environ.get("MODE", "release"),
                    "cairn-audit")


@pytest.fixture(scope="module")
def owner(agency_factory):
    """The agency of this file's story."""
    return agency_factory(roles=["coordinator", "integrator", "supervisor"])


@pytest.fixture(scope="module")
def story(owner):
    """A story that was told, and a patient who was looked at."""
    told = Story(owner).tell()
    owner.coordinator.get("/v1/patients/" + told.patient_id).ok(200)
    return told


def seen(reader, **query):
    """All entries of the audit that the filters let through."""
    return reader.pages("/v1/audit", limit=50, **query)


def actions(reader, **query):
    """(service, action) of them."""
    return {(entry["service"], entry["action"])
            for entry in seen(reader, **query)}


# Reading

def test_who_saw_a_patient_is_told_through_all_services(owner, story,
                                                        wait_for):
    wanted = {("referrals", "referral.create"), ("referrals", "patient.read"),
              ("scheduling", "visit.book"), ("documents", "checklist.open"),
              ("notifications", "message.send")}
    wait_for(lambda: wanted <= actions(owner.supervisor,
                                       patient_id=story.patient_id),
             COPY_SECONDS, "the audit of the patient")
    for entry in seen(owner.supervisor, patient_id=story.patient_id):
        assert story.patient_id in entry["patient_ids"]


def test_a_read_is_in_the_audit_within_seconds(owner, story, wait_for):
    reply = owner.coordinator.get("/v1/patients/" + story.patient_id)
    reply.ok(200)
    request_id = reply.headers["request-id"]

    def found():
        return [entry for entry in seen(owner.supervisor,
                                        patient_id=story.patient_id,
                                        action="patient.read")
                if entry["request_id"] == request_id]
    (entry,) = wait_for(found, COPY_SECONDS, "the read in the audit")
    subject = owner.coordinator.get("/v1/me").ok(200)["subject"]
    assert entry["actor"] == subject and entry["role"] == "coordinator"
    assert entry["service"] == "referrals"
    assert entry["resource"] == story.patient_id
    assert len(entry["hash"]) == 64 and entry["n"] > 0


def test_the_newest_comes_first_and_pages_follow_each_other(owner, story):
    assert story
    rows = owner.supervisor.pages("/v1/audit", limit=3,
                                  service="referrals")
    assert len(rows) > 6
    times = [row["at"] for row in rows]
    assert times == sorted(times, reverse=True)
    places = [row["n"] for row in rows]
    assert len(set(places)) == len(places)
    middle = times[len(times) // 2]
    newer = seen(owner.supervisor, service="referrals", since=middle)
    older = seen(owner.supervisor, service="referrals", until=middle)
    assert {row["n"] for row in newer + older} >= set(places)
    assert not {row["n"] for row in newer} & {row["n"] for row in older}
    assert min(row["at"] for row in newer) == middle


def test_the_audit_is_searched_by_actor_action_and_resource(owner, story):
    subject = owner.coordinator.get("/v1/me").ok(200)["subject"]
    for name, value in (("actor", subject), ("action", "visit.book"),
                        ("resource", story.id), ("service", "documents")):
        rows = seen(owner.supervisor, **{name: value})
        assert rows and {row[name] for row in rows} == {value}
    both = seen(owner.supervisor, actor=subject, patient_id=story.patient_id)
    assert both and {row["actor"] for row in both} == {subject}
    assert seen(owner.supervisor, actor="usr_nobody") == []


def test_reading_the_audit_is_in_the_audit(owner, story, wait_for):
    reply = owner.supervisor.get("/v1/audit", patient_id=story.patient_id)
    reply.ok(200)
    request_id = reply.headers["request-id"]
    wait_for(lambda: request_id in
             {entry["request_id"] for entry in seen(
                 owner.supervisor, patient_id=story.patient_id,
                 service="access", action="audit.list")},
             COPY_SECONDS, "the reading in the audit")


def test_only_supervisors_and_administrators_read_it(owner, story):
    assert owner.administrator.get(
        "/v1/audit", patient_id=story.patient_id).status == 200
    assert owner.coordinator.get("/v1/audit").status == 403
    assert owner.integrator.get("/v1/audit").status == 403


def test_another_agency_sees_nothing_of_it(agency_factory, story, wait_for):
    other = agency_factory(roles=["supervisor"])
    assert seen(other.supervisor, patient_id=story.patient_id) == []
    assert seen(other.supervisor, resource=story.id) == []
    rows = wait_for(lambda: seen(other.supervisor), COPY_SECONDS, "its own")
    assert {row["action"] for row in rows} <= {
        "agency.create", "branch.create", "key.create", "clinician.create",
        "audit.list"}


def test_a_wrong_question_is_refused(owner):
    assert owner.supervisor.get("/v1/audit", since="yesterday").status == 400
    assert owner.supervisor.get("/v1/audit", cursor="x").status == 400
    assert owner.supervisor.get("/v1/audit", patient_id="pat_x").ok(200)[
        "data"] == []


# cairn-audit

class Tool:
    """cairn-audit against the running system's database."""

    def __init__(self, system):
        self.home = system.home
        settings = dict(line.split("=", 1) for line in read(os.path.join(
            system.home, "environment/migrate")).splitlines())
        self.place = f"host='{settings['PGHOST']}' port={settings['PGPORT']}" \
            f" dbname={settings['PGDATABASE']}"

    def run(self, *words, service="referrals"):
        """(exit code, what it printed)."""
        secrets = os.path.join(self.home, "secrets")
        done = subprocess.run(
            [TOOL, *words], check=False, capture_output=True, text=True,
            timeout=60, env={
                "CAIRN_DB": self.place,
                "CAIRN_DB_RELAY_PASSWORD_FILE":
                    f"{secrets}/db/{service}_relay",
                "CAIRN_AUDIT_KEY_FILE": f"{secrets}/audit.key"})
        return done.returncode, done.stdout or done.stderr


@pytest.fixture(scope="module")
def tool(system):
    """See Tool."""
    return Tool(system)


def sealed(database, service):
    """Is every row of the service's audit sealed?"""
    return database.value(f"""
        SELECT (SELECT count(*) FROM {service}.audit) =
               (SELECT count(*) FROM {service}.audit_seal)""") == "t"


def test_every_chain_of_every_service_is_verified(story, tool, database,
                                                  wait_for):
    assert story
    for service in SERVICES:
        wait_for(lambda name=service: sealed(database, name), COPY_SECONDS,
                 f"the seals of {service}")
        code, text = tool.run("verify", service, service=service)
        assert code == 0 and " 0 faults" in text, text


def test_a_killed_sealer_leaves_one_chain(system, owner, tool, database,
                                          wait_for):
    for _ in range(3):
        for _ in range(4):
            owner.coordinator.get("/v1/patients").ok(200)
        system.kill("referrals")
        wait_for(lambda: owner.coordinator.get("/v1/patients").status == 200,
                 30, "referrals is back")
    wait_for(lambda: sealed(database, "referrals"), 30, "the seals")
    code, text = tool.run("verify", "referrals")
    assert code == 0, text


def test_heads_are_signed_and_the_chains_reach_them(system, tool, wait_for):
    path = os.path.join(system.home, "audit/referrals.heads")
    wait_for(lambda: os.path.exists(path), COPY_SECONDS, "the heads")
    public = os.path.join(system.home, "secrets/audit.pub")
    code, text = tool.run("verify", "-H", path, "-k", public, "referrals")
    assert code == 0, text
    code, text = tool.run("verify", "-H", path, "-k", 64 * "0", "referrals")
    assert code == 1 and "bad signature" in text, text


def test_an_export_is_verified_apart_from_the_database(story, tool, database,
                                                       tmp_path):
    tenant = database.tenant_of(story)
    code, text = tool.run("export", "-t", tenant, "referrals")
    assert code == 0 and text.count("\n") > 5
    path = tmp_path / "export"
    path.write_text(text)
    code, heads = tool.run("head", "referrals")
    assert code == 0 and heads.startswith("cairn-audit-heads 1\n")
    (tmp_path / "heads").write_text(heads)
    code, out = tool.run("verify", "-f", str(path))
    assert code == 0, out
    lines = text.splitlines(keepends=True)
    (tmp_path / "changed").write_text(
        text.replace('"action":"referral.create"',
                     '"action":"referral.ereate"', 1))
    (tmp_path / "cut").write_text("".join(lines[:-3] + lines[-1:]))
    for name, words in (("changed", "changed"), ("cut", "unreadable")):
        code, out = tool.run("verify", "-f", str(tmp_path / name))
        assert code == 1 and words in out, out


def test_the_tool_says_in_one_line_what_is_wrong(tool):
    for words in (["verify"], ["verify", "No"], ["frobnicate", "referrals"],
                  ["keygen", "/nowhere/key"]):
        code, text = tool.run(*words)
        assert code == 2 and text.count("\n") == 1, text
