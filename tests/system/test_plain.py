# SPDX-License-Identifier: Apache-2.0
"""What is sent says something, is kept or answered for, and comes back as it
was read."""
import datetime
import uuid

from harness.story import Story, json_referral
from harness.wait import wait_for

OTHER = {"name": {"family": "Birch", "given": ["Bob"]},
         "birth_date": "1958-09-11", "sex": "male"}


def sent(client, patient, **fields):
    """A referral whose patient is said to be so."""
    body = json_referral(**fields)
    body["patient"].update(patient)
    return client.post("/v1/referrals", body).ok(201)


def number():
    """A number that nobody has."""
    return {"system": "MERCY", "value": uuid.uuid4().hex}


def details(referral, code):
    """The occasions of a warning."""
    return [row for row in referral["warning_details"] if row["code"] == code]


def patched_as_read(client, path):
    """A record that is sent back stays as it is."""
    read = client.get(path).ok(200)
    assert client.patch(path, read).ok(200) == read
    return read


# What is read can be sent back

def test_a_referral_in_doubt_can_be_sent_back_as_it_was_read(agency):
    client = agency.coordinator
    shared = number()
    first = sent(client, {"identifiers": [shared]})
    second = sent(client, {"identifiers": [shared], **OTHER})
    path = "/v1/referrals/" + second["id"]
    assert patched_as_read(client, path)["identity"] == "disputed"
    for value in (None, "linked"):
        assert client.patch(path, {"identity": value}).pointers() == \
            ["/identity"]
    client.post(path + "/link-patient",
                {"patient_id": first["patient_id"]}).ok(200)
    assert patched_as_read(client, path)["identity"] == "linked"
    reply = client.patch(path, {"identity": "different"})
    assert (reply.status, reply.pointers()) == (409, ["/identity"])


def test_a_read_only_value_is_not_judged_by_the_rules_of_what_is_sent(agency):
    client = agency.coordinator
    body = json_referral(disciplines=["rn"], ordered_soc_date="2199-12-31")
    body["ordering_physician"]["agrees_to_sign"] = True
    made = client.post("/v1/referrals", body).ok(201)
    assert made["soc_due_at"].startswith("2200-01-01")
    patched_as_read(client, "/v1/referrals/" + made["id"])
    # A text that was cut ends in a blank, or has several lines.
    head = r"MSH|^~\&|APP|FAC|CAIRN|AGENCY|20260101||REF^I12^REF_I12|L1|P|2.8"
    long = r"\.br\ ".join(["word " * 30] * 60)
    reply = client.hl7("\r".join(
        (head, "RF1||||||L^X", "PID|1", "NTE|1||" + long)).encode())
    read = patched_as_read(client, reply.location)
    assert details(read, "text_shortened")
    changed = dict(details(read, "text_shortened")[0], sent="word")
    assert client.patch(reply.location, {"warning_details": [changed]}) \
        .pointers() == ["/warning_details"]


# Nothing that is sent vanishes

def test_what_is_sent_of_a_known_patient_is_filled_or_shown(agency):
    client = agency.coordinator
    known = number()
    first = sent(client, {"identifiers": [known]})
    more = {
        "interpreter_needed": True,
        "preferences": {"clinician_gender": "female", "windows": [
            {"weekday": "monday", "from": "08:00", "to": "12:00"}]},
        "commitments": [{"label": "dialysis", "weekdays": ["tuesday"],
                         "from": "08:00", "to": "12:00"}]}
    further = {"system": "Other", "value": "O-1"}
    second = sent(client, {"identifiers": [known, further], **more})
    assert second["patient_id"] == first["patient_id"]
    patient = client.get("/v1/patients/" + first["patient_id"]).ok(200)
    assert {name: patient[name] for name in more} == more
    (row,) = second["warning_details"]
    assert (row["code"], row["field"]) == \
        ("patient_differs", "patient.identifiers")
    assert row["sent"] == "other O-1" and row["at"]
    third = sent(client, {
        "identifiers": [known], "interpreter_needed": False,
        "preferences": {"channel": "email"},
        "commitments": [{"label": "dialysis", "weekdays": ["friday"],
                         "from": "08:00", "to": "12:00"}]})
    assert {(row["field"], row["sent"], row["kept"])
            for row in details(third, "patient_differs")} == {
        ("patient.interpreter_needed", "no", "interpreter_needed"),
        ("patient.preferences", "email", "female, monday, 08:00, 12:00"),
        ("patient.commitments", "dialysis, friday, 08:00, 12:00",
         "dialysis, tuesday, 08:00, 12:00")}


def test_who_was_made_in_doubt_is_named_when_they_are_sent_again(agency):
    client = agency.coordinator
    shared = number()
    first = sent(client, {"identifiers": [shared]})
    second = sent(client, {"identifiers": [shared], **OTHER})
    client.patch("/v1/referrals/" + second["id"],
                 {"identity": "different"}).ok(200)
    third = sent(client, {"identifiers": [shared], **OTHER})
    assert third["identity"] == "disputed"
    assert [(row["code"], row["patient_id"])
            for row in third["warning_details"]] == [
        ("identity_disputed", first["patient_id"]),
        ("duplicate_suspected", second["patient_id"])]
    other = number()
    client.post("/v1/patients", {
        "name": {"family": "Dogwood"}, "identifiers": [other]}).ok(201)
    both = sent(client, {"identifiers": [shared, other]})
    assert [row["sent"] for row in details(both, "patient_ambiguous")] == \
        [shared["value"], other["value"]]


def test_a_person_who_says_different_settles_what_is_suspected(agency):
    client = agency.coordinator
    sent(client, {})
    second = sent(client, {})
    assert second["warnings"] == ["duplicate_suspected"]
    found = client.patch("/v1/referrals/" + second["id"],
                         {"identity": "different"}).ok(200)
    assert found["warnings"] == [] and found["identity"] == "different"


# Nothing is no fact

def test_an_object_in_a_list_says_something(agency):
    client = agency.coordinator
    for field in ("contacts", "identifiers", "commitments"):
        for nothing in ({}, {"system": None} if field == "identifiers" else {}):
            reply = client.post("/v1/patients", {
                "name": {"family": "Xu"}, field: [nothing]})
            assert (reply.status, reply.pointers()) == (422, [f"/{field}/0"])
    reply = client.post("/v1/referrals", {"diagnoses": [{}]})
    assert (reply.status, reply.pointers()) == (422, ["/diagnoses/0"])


def test_a_diagnosis_without_a_word_does_not_start_the_clock(agency):
    client = agency.coordinator
    for row in ({"system": "icd-10-cm"}, {"code": " "}, {"display": ""}):
        body = json_referral(disciplines=["rn"], diagnoses=[row])
        body["ordering_physician"]["agrees_to_sign"] = True
        made = client.post("/v1/referrals", body).ok(201)
        assert (made["status"], "soc_due_at" in made) == ("captured", False)
        assert "diagnoses" in [row["field"] for row in made["missing"]]


def test_a_user_acts_or_not_but_is_never_neither(agency):
    made = agency.administrator.post("/v1/users", {
        "name": "Una", "email": "una@agency.example", "role": "coordinator",
        "branch_ids": [agency.branch_id]}).ok(201)
    reply = agency.administrator.patch("/v1/users/" + made["id"],
                                       {"active": None})
    assert (reply.status, reply.pointers()) == (422, ["/active"])


# Who is left

def test_a_key_that_cannot_administer_is_no_administrator(agency):
    admin = agency.administrator
    admin.post("/v1/api-keys", {"name": "reads", "role": "administrator",
                                "scopes": ["audit:read"]}).ok(201)
    mine = f"/v1/api-keys/{admin.get('/v1/me').ok(200)['subject']}/revoke"
    reply = admin.post(mine, {})
    assert (reply.status, reply.code) == (409, "guard_failed")
    admin.post("/v1/api-keys", {"name": "acts", "role": "administrator",
                                "scopes": ["admin:write"]}).ok(201)
    admin.post(mine, {}).ok(200)


# What an answer says

def test_only_what_was_looked_for_is_said_to_be_unknown(agency):
    story = Story(agency)
    story.send()
    reply = agency.administrator.post("/v1/clinicians", {
        "name": "Nina Nurse", "discipline": "rn",
        "branch_id": agency.branch_id,
        "hours": [{"weekday": "monday", "from": "22:00", "to": "06:00"}]})
    assert reply.pointers() == ["/hours/0"]
    wait_for(lambda: story.client.get(
        "/v1/availability", patient_id=story.patient_id).status == 200, 5,
        "a known patient")
    reply = story.client.get("/v1/availability", patient_id=story.patient_id,
                             to="2000-01-01T00:00:00Z")
    assert reply.pointers() == ["/to"]


def test_what_stands_against_a_visit_is_said_in_words(agency):
    story = Story(agency)
    story.send()
    story.complete_referral()
    story.accept().ok(200)
    visit = story.wait_for_visit()
    slot = {name: visit[name]
            for name in ("clinician_id", "starts_at", "ends_at")}
    for kind, code in (("soc", "visit_one_soc"), ("routine", "visit_overlap")):
        reply = story.client.post("/v1/visits", {
            "referral_id": story.id, "kind": kind, **slot})
        assert (reply.status, reply.code) == (409, code)
        assert " " in reply.json["detail"]


def test_a_visit_does_not_end_before_it_begins(agency):
    story = Story(agency)
    story.send()
    story.complete_referral()
    story.accept().ok(200)
    story.wait_for_visit()
    path = "/v1/visits/" + story.visit_id
    started = story.client.post(path + "/start", {}).ok(200)["started_at"]
    begun = datetime.datetime.fromisoformat(started.replace("Z", "+00:00"))
    before = (begun - datetime.timedelta(hours=1)).isoformat()
    reply = story.client.post(path + "/complete", {"completed_at": before})
    assert (reply.status, reply.pointers()) == (422, ["/completed_at"])
    story.client.post(path + "/complete", {"completed_at": started}).ok(200)
