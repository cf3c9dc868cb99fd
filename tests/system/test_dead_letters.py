# SPDX-License-Identifier: Apache-2.0
"""An event that a service cannot act on is put aside for its operator, who
lists it, has it tried again or gives it up; nobody else waits."""
import uuid

import pytest

from harness.database import uuid_of
from harness.story import Story
from harness.wait import wait_for

LETTERS = "/v1/services/{}/dead-letters"


@pytest.fixture
def refuse(database):
    """refuse("documents.checklist", story) makes a table refuse that referral,
    as a fault of a release would; returns what ends it."""
    made = []

    def make(table, story):
        name = "refused_" + uuid.uuid4().hex
        database.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c",
                     f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK "
                     f"(id <> '{uuid_of(story.id)}') NOT VALID")

        def end():
            if (table, name) in made:
                made.remove((table, name))
                database.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c",
                             f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        made.append((table, name))
        return end
    yield make
    for table, name in made:
        database.run("psql", "-X", "-q", "-c",
                     f"ALTER TABLE {table} DROP CONSTRAINT {name}")


def accepted(agency):
    """A referral that is complete; accept() is still to come."""
    story = Story(agency)
    story.send()
    story.complete_referral()
    story.complete_patient()
    return story


def letters(agency, service, **query):
    """What the administrator is shown."""
    return agency.administrator.get(LETTERS.format(service),
                                    **query).ok(200)["data"]


def of(story, rows):
    """Those about the referral itself."""
    return [row for row in rows if row["aggregate_id"] == uuid_of(story.id)]


def put_aside(agency, service, story, count=1):
    """Waits for the dead letters of a referral."""
    def look():
        found = of(story, letters(agency, service))
        return len(found) >= count and found
    return wait_for(look, 20, "the event to be put aside")


def has_checklist(story):
    """Has documents done its part?"""
    return story.client.get(f"/v1/checklists/{story.id}").status == 200


def test_a_dead_letter_is_tried_again_and_has_its_effect_once(
        agency, database, refuse):
    story = accepted(agency)
    end = refuse("documents.checklist", story)
    story.accept().ok(200)
    (letter,) = put_aside(agency, "documents", story)
    assert letter["type"] == "referral.accepted"
    assert letter["producer"] == "referrals"
    assert letter["status"] == "dead"
    assert letter["error"].startswith("conflict: refused_")
    # Nobody else waits.
    other = accepted(agency)
    other.accept().ok(200)
    wait_for(lambda: has_checklist(other), what="another referral's checklist")
    path = LETTERS.format("documents") + "/" + letter["id"]
    # Tried again too early it is dead once more.
    agency.administrator.post(path + "/retry").ok(200)
    wait_for(lambda: agency.administrator.get(path).ok(200)["status"] == "dead",
             what="the failed retry")
    assert not has_checklist(story)
    end()
    agency.administrator.post(path + "/retry").ok(200)
    wait_for(lambda: has_checklist(story), what="the checklist")
    done = wait_for(lambda: (row := agency.administrator.get(path).ok(200))
                    ["status"] == "done" and row, what="the letter's end")
    assert done["decided_by"].startswith("key_")
    assert letters(agency, "documents") == []
    assert database.value(
        "SELECT count(*) FROM documents.outbox WHERE type = 'checklist.opened'"
        f" AND aggregate_id = '{uuid_of(story.id)}'") == "1"
    reply = agency.administrator.post(path + "/retry")
    assert (reply.status, reply.code) == (409, "illegal_state")


def test_what_waits_behind_a_letter_follows_it_in_order(agency, refuse):
    story = Story(agency)
    story.send()
    end = refuse("scheduling.need", story)
    story.complete_referral()
    story.complete_patient()
    story.accept().ok(200)
    found = put_aside(agency, "scheduling", story, 2)
    assert [row["aggregate_seq"] for row in found] == \
        sorted(row["aggregate_seq"] for row in found)
    assert found[-1]["error"] == "blocked: aggregate"
    end()
    path = LETTERS.format("scheduling") + "/" + found[0]["id"]
    agency.administrator.post(path + "/retry").ok(200)
    story.wait_for_visit()
    wait_for(lambda: of(story, letters(agency, "scheduling")) == [],
             what="all letters of the referral to be done")


def test_a_letter_that_is_given_up_lets_the_others_go(agency, refuse):
    story = Story(agency)
    story.send()
    end = refuse("scheduling.need", story)
    story.complete_referral()
    story.complete_patient()
    story.accept().ok(200)
    found = put_aside(agency, "scheduling", story, 2)
    end()
    path = LETTERS.format("scheduling") + "/" + found[0]["id"]
    reply = agency.administrator.post(path + "/discard")
    assert reply.status == 422 and reply.pointers() == ["/reason"]
    given_up = agency.administrator.post(
        path + "/discard", {"reason": "a duplicate of the call"}).ok(200)
    assert given_up["status"] == "discarded"
    assert given_up["reason"] == "a duplicate of the call"
    story.wait_for_visit()
    assert of(story, letters(agency, "scheduling")) == []
    (kept,) = letters(agency, "scheduling", status="discarded")
    assert kept["id"] == found[0]["id"]


def test_dead_letters_are_for_the_agencys_administrator_alone(
        agency, agency_factory, refuse):
    story = accepted(agency)
    refuse("documents.checklist", story)
    story.accept().ok(200)
    (letter,) = put_aside(agency, "documents", story)
    path = LETTERS.format("documents")
    assert agency.coordinator.get(path).status == 403
    other = agency_factory()
    assert letters(other, "documents") == []
    for call in (lambda: other.administrator.get(f"{path}/{letter['id']}"),
                 lambda: other.administrator.post(
                     f"{path}/{letter['id']}/retry"),
                 lambda: agency.administrator.get(
                     f"{path}/evt_00000000000000000000000000")):
        reply = call()
        assert (reply.status, reply.code) == (404, "not_found")
    reply = agency.administrator.get(LETTERS.format("payroll"))
    assert (reply.status, reply.code) == (404, "no_such_path")
