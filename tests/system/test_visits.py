# SPDX-License-Identifier: Apache-2.0
"""What people do with a visit that is booked, and what follows elsewhere."""
import datetime

from harness.story import Story
from harness.wait import wait_for


def move(story, command, body=None, step=None):
    """One command on the story's visit."""
    return story.ask("POST", f"/v1/visits/{story.visit_id}/{command}",
                     body or {}, step or command)


def scheduled(agency):
    """A story whose start of care is booked."""
    story = Story(agency)
    story.send()
    story.complete_referral()
    story.accept().ok(200)
    story.wait_for_visit()
    story.wait_for_status("soc_scheduled")
    return story


def test_a_visit_is_confirmed_started_and_completed(agency):
    story = scheduled(agency)
    assert move(story, "confirm").ok(200)["status"] == "confirmed"
    again = move(story, "confirm", step="confirm-again")
    assert (again.status, again.code) == (409, "illegal_state")
    started = move(story, "start").ok(200)
    assert started["status"] == "in_progress" and started["started_at"]
    assert move(story, "cancel", {"reason_code": "hospital"}).status == 409
    story.complete_visit()
    story.wait_for_status("admitted")


def test_a_cancelled_start_of_care_gives_the_referral_back(agency):
    story = scheduled(agency)
    told = move(story, "cancel", step="no-reason")
    assert (told.status, told.pointers()) == (422, ["/reason_code"])
    visit = move(story, "cancel", {"reason_code": "patient_request"}).ok(200)
    assert (visit["status"], visit["reason_code"]) == \
        ("cancelled", "patient_request")
    story.wait_for_status("accepted")
    (clock,) = story.get(story.path + "/deadlines")["data"]
    assert clock["state"] in ("open", "warned")
    # Somebody finds another time: the referral is scheduled again.
    begins = datetime.datetime.fromisoformat(
        visit["starts_at"].replace("Z", "+00:00"))
    ends = begins + datetime.timedelta(minutes=45)
    again = story.ask("POST", "/v1/visits", {
        "referral_id": story.id, "kind": "soc",
        "clinician_id": visit["clinician_id"], "starts_at": visit["starts_at"],
        "ends_at": ends.isoformat().replace("+00:00", "Z")}, "again").ok(201)
    story.wait_for_status("soc_scheduled")
    story.visit_id = again["id"]
    story.complete_visit()
    story.wait_for_status("admitted")


def test_a_patient_has_their_referrals(agency, agency_factory):
    story = Story(agency)
    story.send()
    path = f"/v1/patients/{story.patient_id}/referrals"
    (mine,) = wait_for(lambda: story.get(path)["data"], 5, "the referral")
    assert mine["id"] == story.id
    assert agency_factory().coordinator.get(path).status == 404
