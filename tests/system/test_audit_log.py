# SPDX-License-Identifier: Apache-2.0
"""The sealed audit as its readers see it: GET /v1/audit, and cairn-audit."""
import os
import subprocess

import pytest

from harness.database import uuid_of
from harness.story import Story
from harness.system import REPO, SERVICES

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
