# SPDX-License-Identifier: Apache-2.0
"""Clocks: a deadline starts with its trigger, has its reason in words, and is
met by the visit or breached with a reason. There is one event for each."""
import datetime

from harness.database import uuid_of
from harness.story import Story
from harness.wait import wait_for

CITATION = "42 CFR 484.55(a)(1)"
BREACHES = 12  # referrals that are late at once while a service is killed


def day(days):
    """A date so many days from now."""
    return str(datetime.date.today() + datetime.timedelta(days=days))


def deadlines(client, resource):
    """The clocks of a referral or document."""
    return client.get(f"/v1/{resource}/deadlines").ok(200)["data"]


def clock(story):
    """The clock C01 of a story's referral."""
    (found,) = deadlines(story.client, "referrals/" + story.id)
    return found


def wait_for_state(story, state, seconds=10):
    """Until the clock C01 is in that state."""
    return wait_for(lambda: (found := clock(story))["state"] == state and found,
                    seconds, f"C01 of {story.id} being {state}")


def told(database, service, deadline_id):
    """The types of a deadline's events, in their order."""
    return [row["type"] for row in database.rows(f"""
        SELECT type FROM {service}.outbox
        WHERE aggregate_id = '{uuid_of(deadline_id)}'
        ORDER BY epoch, xid, seq""")]


def late_story(agency):
    """A referral that is late when it becomes valid: its start of care was
    ordered for a day that is past."""
    story = Story(agency)
    story.body["ordered_soc_date"] = day(-3)
    story.send()
    story.complete_referral()
    return story


def test_a_referral_that_is_late_when_it_is_valid_is_a_breach(agency, database):
    story = late_story(agency)
    referral = story.referral()
    found = wait_for_state(story, "breached")
    assert found["breach_reason"] == "past_at_start"
    assert found["breached_at"] >= found["due_at"]
    assert found["due_at"] == referral["soc_due_at"]
    assert found["why"] == referral["soc_due_why"]
    assert (found["rule"], found["citation"]) == ("C01", CITATION)
    assert day(-3) in found["why"] and CITATION in found["why"]
    assert found["subject_id"] == story.id
    assert told(database, "referrals", found["id"]) == \
        ["deadline.started", "deadline.breached"]


def test_an_admission_meets_the_clock_and_starts_the_next(agency, database):
    story = Story(agency)
    story.send()
    assert deadlines(story.client, "referrals/" + story.id) == []
    story.complete_referral()
    begun = clock(story)
    assert begun["state"] == "open"
    assert len(begun["warn_at"]) >= 3
    assert all(begun["starts_at"] < at < begun["due_at"]
               for at in begun["warn_at"])
    story.accept().ok(200)
    story.wait_for_visit()
    story.wait_for_status("soc_scheduled")
    story.complete_visit()
    story.wait_for_status("admitted")
    met = clock(story)
    assert met["state"] == "met" and met["id"] == begun["id"]
    assert begun["starts_at"] <= met["met_at"] <= met["due_at"]
    assert "breached_at" not in met
    assert told(database, "referrals", met["id"]) == \
        ["deadline.started", "deadline.met"]
    check_encounter(story, database)


def check_encounter(story, database):
    """The start of care starts the clock C07, and the encounter's date meets
    it."""
    (document,) = [row for row in story.rows("documents")
                   if row["kind"] == "face_to_face"]
    path = "documents/" + document["id"]
    (begun,) = wait_for(lambda: deadlines(story.client, path), 5, "C07")
    assert (begun["rule"], begun["state"]) == ("C07", "open")
    soc_date = story.referral()["soc_date"]
    last = datetime.date.fromisoformat(soc_date) + datetime.timedelta(days=30)
    assert soc_date in begun["why"] and str(last) in begun["why"]
    shown = story.get("/v1/" + path)
    assert shown["due_at"] == begun["due_at"]
    assert shown["rule"] == begun["why"]
    changed = story.ask("PATCH", "/v1/" + path, {"encounter_date": day(-10)},
                        "encounter").ok(200)
    assert changed["encounter_date"] == day(-10)
    (met,) = deadlines(story.client, path)
    assert met["state"] == "met"
    assert told(database, "documents", met["id"]) == \
        ["deadline.started", "deadline.met"]


def test_a_clock_is_seen_by_those_who_see_its_subject(agency, agency_factory):
    story = Story(agency)
    story.send()
    story.complete_referral()
    path = f"/v1/referrals/{story.id}/deadlines"
    other = agency.branch("Another branch")["id"]
    beyond = agency.client("coordinator", branch_id=other, branch_ids=[other])
    stranger = agency_factory(disciplines=[]).coordinator
    unknown = "/v1/referrals/ref_00000000000000000000000000/deadlines"
    for client in (beyond, stranger):
        hidden = client.get(path)
        assert hidden.status == 404
        assert hidden.code == client.get(unknown).code
    assert agency.administrator.get(path).status == 403
    assert agency.client("scheduler").get(path).ok(200)["data"]


def test_a_breach_is_told_once_whoever_is_killed(agency, system, database,
                                                 long_run):
    """In the long form referrals is killed while it works. Its claims lapse
    after 5 s, and the work is taken up again."""
    stories = []
    for number in range(BREACHES):
        stories.append(late_story(agency))
        if number % (BREACHES // 2) == 1:
            if not long_run:
                wait_for_state(stories[-1], "breached")
            pid = system.kill("referrals")
            system.restarted("referrals", pid)
            system.ready("referrals")
    for story in stories:
        found = wait_for_state(story, "breached", 45)
        assert told(database, "referrals", found["id"]) == \
            ["deadline.started", "deadline.breached"]
