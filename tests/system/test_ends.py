# SPDX-License-Identifier: Apache-2.0
"""What the end of a referral brings about in every service, and what happens
to a start of care at the same time."""
import concurrent.futures
import datetime
import zoneinfo

from harness.story import Story, text_of
from harness.wait import wait_for

RACES = 6
WARNING = "visit_completed_after_end"


def told(agency):
    """A story of which everybody was told: visit, documents, e-mails."""
    story = Story(agency)
    story.send()
    story.complete_referral()
    story.complete_patient()
    story.accept().ok(200)
    story.wait_for_visit()
    story.wait_for_documents()
    story.wait_for_messages()
    story.wait_for_status("soc_scheduled")
    return story


def decline(story, reason="no_capacity"):
    """The agency does not take the patient after all."""
    return story.ask("POST", story.path + "/decline", {"reason_code": reason},
                     "decline")


def free_time(story):
    """What POST /v1/visits needs of a time that is free; None until the patient
    is known there."""
    reply = story.client.get("/v1/availability", discipline="rn",
                             patient_id=story.patient_id)
    return reply.status == 200 and {
        name: reply.json["slots"][0][name]
        for name in ("clinician_id", "starts_at", "ends_at")} or None


def book(story, kind="soc", **fields):
    """A visit that somebody books by hand."""
    slot = wait_for(lambda: free_time(story), 5, "a free time")
    return story.client.post("/v1/visits", {
        "referral_id": story.id, "kind": kind, "discipline": "rn", **slot,
        **fields})


def test_a_decline_after_the_acceptance_is_told_and_ends_what_hangs_on_it(
        agency, system):
    story = told(agency)
    decline(story).ok(200)
    visit = story.wait_for_visit("cancelled")
    assert visit["reason_code"] == "referral_declined"
    wait_for(lambda: all(row["status"] == "voided" and
                         row["reason_code"] == "referral_declined"
                         for row in story.rows("documents")), 5,
             "documents that are void")
    assert story.get("/v1/checklists/" + story.id)["open_count"] == 0
    story.wait_for_messages(4)
    for address, subject in (
            (story.source_email, "Your referral was not accepted"),
            (story.patient_email, "Your care at home")):
        (mail,) = [mail for mail in system.mails(to=address)
                   if mail["Subject"] == subject]
        assert "K63.3" not in text_of(mail) and "Z47.1" not in text_of(mail)
    (clock,) = story.get(story.path + "/deadlines")["data"]
    assert clock["state"] == "cancelled"


def test_a_decline_before_any_acceptance_is_told_to_the_source_alone(agency,
                                                                     system):
    story = Story(agency)
    story.send()
    story.complete_referral()
    story.complete_patient()
    decline(story, "not_homebound").ok(200)
    story.wait_for_messages(1)
    (mail,) = system.mails(to=story.source_email)
    assert story.id in text_of(mail) and "homebound" not in text_of(mail)
    assert system.mails(to=story.patient_email) == []


def test_a_start_of_care_that_took_place_is_not_lost_to_a_decline(agency):
    """Both at once: the patient is admitted, or a person is warned."""
    stories = [told(agency) for _ in range(RACES)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for story in stories:
            path = f"/v1/visits/{story.visit_id}/complete"
            made = pool.submit(story.ask, "POST", path, {}, "visit")
            ended = pool.submit(decline, story)
            story.made = made.result().status == 200
            story.ended = ended.result().status == 200
    for story in stories:
        assert story.made or story.ended

        def settled(story=story):
            referral = story.referral()
            return not story.made or referral["status"] == "admitted" or \
                WARNING in referral["warnings"]
        wait_for(settled, 5, "an admission or a warning")
        assert (story.referral()["status"] == "declined") == story.ended


def test_a_start_of_care_needs_an_accepted_referral(agency):
    story = Story(agency)
    story.send()
    story.complete_referral()
    reply = book(story)
    assert (reply.status, reply.code) == (409, "guard_failed")
    assert reply.json["errors"][0]["code"] == "referral_accepted"
    decline(story).ok(200)
    for kind in ("soc", "routine"):
        reply = wait_for(
            lambda kind=kind: (found := book(story, kind)).status == 409 and
            found.json["errors"][0]["code"] == "referral_open" and found, 5,
            "the referral's end")
        assert reply.code == "guard_failed"
    assert story.rows("visits") == []


def test_an_id_that_repeats_what_another_implies_must_agree(agency):
    story = told(agency)
    other = Story(agency)
    other.send()
    for patient_id in (other.patient_id, "/etc/passwd"):
        reply = book(story, "routine", patient_id=patient_id)
        assert (reply.status, reply.pointers()) == (422, ["/patient_id"])
    book(story, "routine", patient_id=story.patient_id).ok(201)


def test_a_visit_that_is_yet_to_come_is_not_made(agency):
    story = told(agency)
    begins = datetime.datetime.now(datetime.timezone.utc) + \
        datetime.timedelta(days=9)
    ends = begins + datetime.timedelta(hours=1)
    visit = book(story, "routine", starts_at=begins.isoformat(),
                 ends_at=ends.isoformat()).ok(201)
    for command in ("start", "complete"):
        reply = story.ask("POST", f"/v1/visits/{visit['id']}/{command}", {},
                          command)
        assert (reply.status, reply.code) == (409, "guard_failed")
    for year in ("1900", "9999"):
        reply = book(story, "routine", starts_at=f"{year}-06-01T10:00:00Z",
                     ends_at=f"{year}-06-01T11:00:00Z")
        assert (reply.status, reply.pointers()[0]) == (422, "/starts_at")


def test_a_commitment_over_midnight_keeps_visits_away(agency):
    story = Story(agency)
    days = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday",
            "sunday")
    story.body["patient"]["commitments"] = [
        {"label": "night care", "weekdays": list(days), "from": "20:00",
         "to": "12:00"}]
    story.send()

    def hours():
        """When the first free time of each clinician begins."""
        found = story.client.get("/v1/availability", discipline="rn",
                                 patient_id=story.patient_id)
        return found.status == 200 and [
            row["starts_at"] for row in found.json["slots"]]
    begins = wait_for(hours, 5, "a free time")
    zone = story.referral()["time_zone"]
    for text in begins:
        local = datetime.datetime.fromisoformat(
            text.replace("Z", "+00:00")).astimezone(
                zoneinfo.ZoneInfo(zone))
        assert 12 <= local.hour < 20
