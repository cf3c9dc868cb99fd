# SPDX-License-Identifier: Apache-2.0
"""Many at once: one effect for one key, one referral for one source's id, one
visit for one slot."""
import collections
import concurrent.futures
import threading
import uuid

import pytest

from harness.client import Client
from harness.story import Story, json_referral, lines_of, segments

CLIENTS = 32


def at_once(call):
    """The replies of CLIENTS calls that start together: call(number)."""
    start = threading.Barrier(CLIENTS)

    def one(number):
        start.wait()
        return call(number)
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(one, range(CLIENTS)))


def speakers(client):
    """As many clients, all with one credential."""
    return [Client(client.url, client.key, timeout=60)
            for _ in range(CLIENTS)]


def statuses(replies):
    """How often each status was answered."""
    return dict(collections.Counter(reply.status for reply in replies))


@pytest.fixture
def accepted(agency):
    """A story whose referral was accepted and whose visit is booked."""
    story = Story(agency)
    story.send()
    story.complete_referral()
    story.accept().ok(200)
    story.wait_for_visit()
    story.wait_for_status("soc_scheduled")
    return story


# One key

def test_one_key_and_one_body_make_one_referral_and_equal_answers(agency):
    clients = speakers(agency.integrator)
    body = json_referral()
    key = str(uuid.uuid4())
    replies = at_once(lambda n: clients[n].post("/v1/referrals", body, key=key))
    assert statuses(replies) == {201: CLIENTS}
    assert len({reply.body for reply in replies}) == 1
    for name in ("location", "etag", "last-modified"):
        assert len({reply.headers[name] for reply in replies}) == 1
    again = [reply for reply in replies
             if reply.headers.get("idempotent-replayed") == "true"]
    assert len(again) == CLIENTS - 1
    assert len(agency.integrator.get("/v1/referrals").ok()["data"]) == 1
    assert len(agency.integrator.get("/v1/patients").ok()["data"]) == 1


def test_one_key_of_many_acceptances_is_one_and_the_answers_are_equal(agency):
    story = Story(agency)
    story.send()
    story.complete_referral()
    clients = speakers(agency.coordinator)
    replies = at_once(lambda n: clients[n].post(story.path + "/accept",
                                                key="the-one"))
    assert statuses(replies) == {200: CLIENTS}
    assert len({reply.body for reply in replies}) == 1
    story.wait_for_visit()
    assert len(story.rows("visits")) == 1


def test_one_key_of_two_credentials_is_two_keys(agency):
    key = str(uuid.uuid4())
    first = agency.integrator.post("/v1/referrals", json_referral(), key=key)
    second = agency.coordinator.post("/v1/referrals", json_referral(), key=key)
    assert first.ok(201)["id"] != second.ok(201)["id"]


def test_a_repeated_acceptance_is_answered_as_the_first(accepted, agency):
    repeated = accepted.accept()
    assert repeated.ok(200)["status"] == "accepted"
    assert repeated.headers["idempotent-replayed"] == "true"
    assert accepted.referral()["status"] == "soc_scheduled"
    assert len(accepted.rows("visits")) == 1
    other = agency.coordinator.post(accepted.path + "/accept",
                                    {"note": "another body"},
                                    key=f"accept-{accepted.name}")
    assert (other.status, other.code) == (422, "idempotency_key_reused")


def test_a_refused_request_does_not_use_up_its_key(agency):
    story = Story(agency)
    story.send()
    assert story.accept().status == 409
    story.complete_referral()
    reply = story.accept()
    assert reply.ok(200)["status"] == "accepted"
    assert "idempotent-replayed" not in reply.headers


def test_of_many_acceptances_one_accepts(agency, system):
    story = Story(agency)
    story.send()
    story.complete_referral()
    story.complete_patient()
    clients = speakers(agency.coordinator)
    replies = at_once(lambda n: clients[n].post(story.path + "/accept"))
    assert statuses(replies) == {200: 1, 409: CLIENTS - 1}
    story.wait_for_visit()
    story.wait_for_messages()
    assert len(story.rows("visits")) == 1
    assert len(story.rows("documents")) == 3
    assert len(system.mails(to=story.source_email)) == 1


# One source and external id

def test_one_source_and_external_id_make_one_referral(agency):
    clients = speakers(agency.integrator)
    body = json_referral()
    replies = at_once(lambda n: clients[n].post("/v1/referrals", body))
    assert statuses(replies) == {201: 1, 200: CLIENTS - 1}
    assert len({reply.json["id"] for reply in replies}) == 1
    assert len({reply.headers["location"] for reply in replies}) == 1
    assert len(agency.integrator.get("/v1/referrals").ok()["data"]) == 1
    assert len(agency.integrator.get("/v1/patients").ok()["data"]) == 1


def test_the_same_external_id_with_other_content_is_refused(agency):
    body = json_referral()
    made = agency.integrator.post("/v1/referrals", body).ok(201)
    body["diagnoses"] = [{"system": "icd-10-cm", "code": "K63.3"}]
    reply = agency.integrator.post("/v1/referrals", body)
    assert reply.status == 409
    assert reply.location == "/v1/referrals/" + made["id"]


def test_one_message_from_many_interfaces_is_one_referral(agency, data_file):
    clients = speakers(agency.integrator)
    message = lines_of(data_file("referral.hl7"), b"\r")
    replies = at_once(lambda n: clients[n].hl7(message))
    assert statuses(replies) == {200: CLIENTS}
    found = [segments(reply)["MSA"] for reply in replies]
    assert {fields[1] for fields in found} == {"AA"}
    assert len({fields[3] for fields in found}) == 1
    assert len({reply.body for reply in replies}) == 1
    assert len(agency.integrator.get("/v1/referrals").ok()["data"]) == 1
    assert len(agency.integrator.get("/v1/patients").ok()["data"]) == 1


# One slot

def test_a_clinicians_last_slot_is_booked_once(accepted, agency):
    clients = speakers(agency.coordinator)
    nurse = agency.clinicians[0]["id"]
    free = [slot for slot in accepted.get(
        "/v1/availability?discipline=rn&postal_code=42010")["slots"]
        if slot["clinician_id"] == nurse][0]
    body = {"referral_id": accepted.id, "kind": "routine", "discipline": "rn",
            "clinician_id": nurse, "starts_at": free["starts_at"],
            "ends_at": free["ends_at"]}
    replies = at_once(lambda n: clients[n].post("/v1/visits", body))
    assert statuses(replies) == {201: 1, 409: CLIENTS - 1}
    (made,) = [reply.json for reply in replies if reply.status == 201]
    listed = accepted.get("/v1/visits?clinician_id=" + nurse)["data"]
    assert {row["id"] for row in listed} == {accepted.visit_id, made["id"]}


def test_many_referrals_accepted_at_once_get_a_slot_each(agency):
    stories = [Story(agency) for _ in range(CLIENTS // 4)]
    for story in stories:
        story.send()
        story.complete_referral()
    with concurrent.futures.ThreadPoolExecutor(len(stories)) as pool:
        for reply in pool.map(Story.accept, stories):
            reply.ok(200)
    spans = sorted((visit["starts_at"], visit["ends_at"]) for visit in
                   (story.wait_for_visit() for story in stories))
    for (_, end), (begin, _) in zip(spans, spans[1:]):
        assert end < begin
