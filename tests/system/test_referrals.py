# SPDX-License-Identifier: Apache-2.0
"""Intake through the gateway: HL7 v2 as the contract's table says, what a
referral lacks and how it is completed, decisions, patients, the worklist."""
import datetime
import uuid

import pytest

from harness.client import HL7
from harness.story import json_referral, lines_of, segments

UNSUPPORTED = ["ADT-A01-01", "ADT-A03-01", "ADT-A04-01", "ADT-A08-01",
               "ADT-A40-01", "SIU-S12-01", "SIU-S13-01", "SIU-S15-01",
               "SIU-S26-01", "MDM-T02-01", "ORU-R01-01", "ORM-O01-01",
               "REF-I14-01"]
HEADER = r"MSH|^~\&|APP|FAC|CAIRN|AGENCY|20260101||REF^I12^REF_I12|{}|P|2.8"
AGREES = {"ordering_physician": {"agrees_to_sign": True}}


def message(*lines, control_id="C1", charset=None):
    """An HL7 message of these segments after an MSH."""
    head = HEADER.format(control_id)
    if charset is not None:
        head += "||||||" + charset
    return "\r".join((head, *lines))


def referral_of(client, reply):
    """The referral that an acknowledgement or a creation names."""
    return client.get(reply.location).ok(200)


def create(client, **fields):
    """A referral as JSON, incomplete unless fields say otherwise."""
    return client.post("/v1/referrals", json_referral(**fields)).ok(201)


def complete(client, **fields):
    """A referral that is valid at once."""
    body = json_referral(disciplines=["rn"], **fields)
    body["ordering_physician"]["agrees_to_sign"] = True
    made = client.post("/v1/referrals", body).ok(201)
    assert made["status"] == "valid"
    return made


def path_of(referral):
    """Where it is."""
    return "/v1/referrals/" + referral["id"]


# HL7 v2

@pytest.mark.parametrize("name", UNSUPPORTED)
def test_a_message_whose_turn_has_not_come_is_refused_by_its_type(
        agency, shared_file, name):
    reply = agency.coordinator.hl7(shared_file(f"data/hl7v2/{name}.hl7"))
    assert reply.status == 200
    assert "location" not in reply.headers
    found = segments(reply)
    assert found["MSA"][1] == "AR"
    assert found["ERR"][2] == "MSH^1^9"
    assert found["ERR"][3].startswith("200^")
    assert agency.coordinator.get("/v1/referrals").ok()["data"] == []
    assert agency.coordinator.get("/v1/patients").ok()["data"] == []


@pytest.mark.parametrize("content, ack, place, code", [
    (message("RF1|1"), "AE", "PID^1", "100"),
    (message("PID|1", control_id=""), "AE", "MSH^1^10", "101"),
    (message("PID|1", "PID|2"), "AE", "PID^2", "100"),
    (message("PID|1", charset="8859/5"), "AR", "MSH^1^18", "103"),
    (message("PID|1").replace("|2.8", "|3.0"), "AR", "MSH^1^12", "203"),
])
def test_an_unusable_message_is_told_what_is_wrong(agency, content, ack, place,
                                                   code):
    reply = agency.coordinator.hl7(content.encode())
    assert reply.status == 200
    found = segments(reply)
    assert found["MSA"][1] == ack
    assert found["ERR"][2] == place
    assert found["ERR"][3].split("^")[0] == code
    assert agency.coordinator.get("/v1/referrals").ok()["data"] == []


def test_a_refused_character_set_is_named(agency):
    content = message("PID|1", charset="GB 18030-2000")
    reply = agency.coordinator.hl7(content.encode())
    assert "GB 18030-2000" in segments(reply)["ERR"][8]


def test_latin_1_is_converted(agency):
    content = message("PID|1||||Müller^Jörg", charset="8859/1")
    reply = agency.coordinator.hl7(content.encode("latin-1"))
    found = referral_of(agency.coordinator, reply)
    assert found["patient"]["name"]["family"] == "Müller"
    rows = agency.coordinator.get("/v1/patients", family="mull").ok()["data"]
    assert [row["id"] for row in rows] == [found["patient_id"]]


@pytest.mark.parametrize("content", [b"", b"{}", b"PID|1", b"\x00\x01"])
def test_what_is_no_hl7_at_all_is_an_unsupported_media_type(agency, content):
    reply = agency.coordinator.hl7(content)
    assert reply.status in (400, 415), reply
    assert reply.headers["content-type"].startswith("application/problem+json")


def test_an_acknowledgement_is_of_its_own_and_swaps_the_parties(agency,
                                                                data_file):
    reply = agency.coordinator.hl7(data_file("referral.hl7"))
    assert reply.headers["content-type"].startswith(HL7)
    head = segments(reply)["MSH"]
    assert head[2:6] == ["CAIRN", "EXAMPLE-AGENCY", "EXAMPLE-HIS",
                         "EXAMPLE-HOSPITAL"]
    assert head[8] == "ACK^I12^ACK"
    assert head[9] not in ("", "EXAMPLE-MSG-0001")
    assert head[17] == "UNICODE UTF-8"
    assert segments(reply)["MSA"][2] == "EXAMPLE-MSG-0001"


def test_the_sample_of_our_own_lacks_only_the_physicians_agreement(agency,
                                                                   data_file):
    client = agency.coordinator
    found = referral_of(client, client.hl7(data_file("referral.hl7")))
    assert [row["field"] for row in found["missing"]] == \
        ["ordering_physician.agrees_to_sign"]
    assert found["warnings"] == []
    assert found["channel"] == "hl7v2"
    assert found["disciplines"] == ["rn"]
    assert found["discharge_date"] == "2026-11-20"
    assert found["patient"]["address"]["postal_code"] == "42010"
    valid = client.patch(path_of(found), AGREES).ok(200)
    assert valid["status"] == "valid"
    patient = client.get("/v1/patients/" + found["patient_id"]).ok(200)
    assert patient["email"] == "sam.testpatient@patient.example"
    assert patient["contacts"][0]["relationship"] == "child"


def test_another_message_of_the_same_referral_changes_nothing(agency,
                                                              data_file):
    client = agency.coordinator
    content = data_file("referral.hl7")
    first = client.hl7(content)
    before = referral_of(client, first)
    other = client.hl7(content.replace(b"EXAMPLE-MSG-0001", b"OTHER"))
    assert segments(other)["MSA"][1:4] == ["AA", "OTHER", before["id"]]
    assert other.headers["location"] == first.headers["location"]
    assert referral_of(client, first) == before
    assert client.get(path_of(before) + "/raw").body == content


def test_a_later_message_that_says_something_else_is_told_once(agency):
    client = agency.coordinator
    lines = ["RF1||||||A^X", "PID|1"]
    first = client.hl7(message(*lines).encode())
    for number in range(2):
        later = message(*lines, f"NTE|1||more {number}",
                        control_id=f"LATER{number}")
        assert client.hl7(later.encode()).headers["location"] == \
            first.headers["location"]
        found = referral_of(client, first)
        assert found["warnings"] == ["later_message_differs"]
        assert found["version"] == 2


def test_hl7_of_another_branch_is_not_named(agency):
    content = message("RF1||||||A^X", "PID|1").encode()
    agency.coordinator.hl7(content)
    other = agency.branch("Other branch")["id"]
    client = agency.client("coordinator", branch_id=other, branch_ids=[other])
    for sent in (content, content.replace(b"|C1|", b"|C2|")):
        reply = client.hl7(sent)
        found = segments(reply)
        assert found["MSA"][1] == "AE"
        assert found["ERR"][2] == "RF1^1^6"
        assert found["ERR"][3].split("^")[0] == "205"
        assert "location" not in reply.headers
        assert b"ref_" not in reply.body


def test_a_control_id_used_again_is_another_message_and_flagged(agency):
    client = agency.coordinator
    first = client.hl7(message("RF1||||||A^X", "PID|1").encode())
    second = client.hl7(message("RF1||||||B^X", "PID|1").encode())
    assert first.headers["location"] != second.headers["location"]
    assert referral_of(client, first)["warnings"] == []
    assert referral_of(client, second)["warnings"] == ["control_id_reused"]


def test_the_real_patient_is_read_field_by_field(agency, shared_file):
    client = agency.coordinator
    found = referral_of(
        client, client.hl7(shared_file("data/hl7v2/REF-I12-01.hl7")))
    patient = client.get("/v1/patients/" + found["patient_id"]).ok(200)
    assert patient["name"] == {"family": "EVERYMAN", "given": ["ADAM", "A"],
                               "suffix": "III"}
    assert (patient["birth_date"], patient["sex"]) == ("1961-06-15", "male")
    assert patient["address"]["postal_code"] == "42010"
    assert (patient["phones"], patient["language"]) == (["270 6009800", "89898989"], "en")
    assert [(row["system"], row["value"]) for row in patient["identifiers"]] \
        == [("ADT1", "PATID1234"), ("USSSA", "123456789")]
    # A referral's summary and its events show no social security number.
    assert [row["system"] for row in found["patient"]["identifiers"]] == \
        ["ADT1"]
    assert found["source"]["system"] == "EPIC"
    assert found["source"]["organization"] == "GOOD HEALTH HOSPITAL"
    assert found["ordering_physician"]["name"] == "ROBERT POWELL"
    assert "agrees_to_sign" not in found["ordering_physician"]
    assert found["payer"]["name"] == "Blue Cross Blue Shield of Texas"
    assert found["sent_expires"] == "20220210"


def test_line_ends_make_no_difference_to_our_own_sample(agency, data_file):
    content = data_file("referral.hl7")
    replies = [agency.coordinator.hl7(lines_of(content, end))
               for end in (b"\r", b"\n", b"\r\n")]
    assert len({reply.headers["location"] for reply in replies}) == 1
    assert len({reply.body for reply in replies}) == 1


# Completing

def test_nothing_is_refused_for_being_incomplete(agency):
    client = agency.coordinator
    made = client.post("/v1/referrals", {"needs": "wound care"}).ok(201)
    assert made["status"] == "captured"
    assert [row["field"] for row in made["missing"]] == [
        "patient.name", "patient.address", "ordering_physician.name",
        "ordering_physician.agrees_to_sign", "disciplines", "source.email"]
    assert [row["blocks_validity"] for row in made["missing"]] == \
        [True, True, True, True, True, False]
    assert client.get(path_of(made) + "/raw").status == 404


def test_completing_the_patient_validates_the_referral(agency):
    client = agency.coordinator
    body = json_referral(disciplines=["pt"])
    body["ordering_physician"]["agrees_to_sign"] = True
    body["patient"] = {"name": {"family": "Quillfeather"}}
    made = client.post("/v1/referrals", body).ok(201)
    assert made["status"] == "captured"
    client.patch("/v1/patients/" + made["patient_id"],
                 {"address": {"postal_code": "42010"}}).ok(200)
    found = client.get(path_of(made)).ok(200)
    assert found["status"] == "valid"
    assert found["version"] == 2
    assert found["patient"]["address"]["postal_code"] == "42010"


def test_what_becomes_missing_again_is_incomplete(agency):
    client = agency.coordinator
    made = complete(client)
    found = client.patch(path_of(made), {"disciplines": None}).ok(200)
    assert found["status"] == "incomplete"
    assert found["valid_at"] == made["valid_at"]
    again = client.patch(path_of(made), {"disciplines": ["rn"]}).ok(200)
    assert again["status"] == "valid"
    assert again["soc_due_at"] == made["soc_due_at"]


def test_a_patch_that_changes_nothing_makes_no_version(agency):
    client = agency.coordinator
    made = create(client)
    same = client.patch(path_of(made), {"diagnoses": made["diagnoses"]})
    assert same.ok(200)["version"] == 1
    assert same.etag == '"1"'


def test_a_change_of_an_older_version_is_refused_with_the_present_one(agency):
    client = agency.coordinator
    made = create(client)
    client.patch(path_of(made), {"needs": "a"}, if_match='"1"').ok(200)
    stale = client.patch(path_of(made), {"needs": "b"}, if_match='"1"')
    assert stale.status == 412
    assert stale.etag == '"2"'


@pytest.mark.parametrize("body, pointer", [
    ({"patient": {"email": "x@patient.example"}}, "/patient/email"),
    ({"patient_id": "pat_00000000000000000000000000"}, "/patient_id"),
    ({"branch_id": "brn_00000000000000000000000000"}, "/branch_id"),
    ({"branch_id": None}, "/branch_id"),
    ({"status": "valid"}, "/status"),
    ({"soc_due_at": "2026-01-01T00:00:00Z"}, "/soc_due_at"),
])
def test_what_a_patch_may_not_touch_is_named(agency, body, pointer):
    client = agency.coordinator
    made = create(client)
    reply = client.patch(path_of(made), body)
    assert reply.status == 422
    assert reply.pointers() == [pointer]
    assert client.get(path_of(made)).ok()["version"] == 1


def test_an_ordered_date_and_the_return_home_move_the_clock(agency):
    client = agency.coordinator
    made = complete(client)
    day = datetime.date.today() + datetime.timedelta(days=9)
    ordered = client.patch(path_of(made), {"ordered_soc_date": str(day)}).ok()
    # The agency's zone is west of Greenwich: its day ends on the next in UTC.
    assert ordered["soc_due_at"][:10] == \
        str(day + datetime.timedelta(days=1))
    assert f"ordered for {day}" in ordered["soc_due_why"]
    home = client.patch(path_of(made), {
        "ordered_soc_date": None,
        "return_home_at": f"{day}T12:00:00Z"}).ok()
    assert home["soc_due_at"] == \
        f"{day + datetime.timedelta(days=2)}T12:00:00Z"
    assert home["soc_due_why"].startswith("C01: return home ")


def test_the_patients_own_zone_is_the_clocks(agency):
    client = agency.coordinator
    made = complete(client)
    assert made["time_zone"] == "America/Chicago"
    client.patch("/v1/patients/" + made["patient_id"],
                 {"time_zone": "Pacific/Honolulu"}).ok(200)
    found = client.get(path_of(made)).ok(200)
    assert found["time_zone"] == "Pacific/Honolulu"
    assert "HST" in found["soc_due_why"]
    assert found["soc_due_at"] == made["soc_due_at"]


# Deciding

def test_the_first_guard_that_fails_is_named(agency):
    client = agency.coordinator
    made = create(client)
    for command in ("validate", "accept"):
        reply = client.post(f"{path_of(made)}/{command}")
        assert reply.status == 409
        assert reply.code == "guard_failed"
        assert "physician_agrees" in reply.text
    assert client.get(path_of(made)).ok()["version"] == 1


def test_what_is_valid_is_validated_without_a_change(agency):
    client = agency.coordinator
    made = complete(client)
    reply = client.post(path_of(made) + "/validate")
    assert reply.ok(200)["version"] == made["version"]


def test_a_decline_gives_a_reason_of_the_list(agency):
    client = agency.coordinator
    made = create(client)
    path = path_of(made) + "/decline"
    for body in ({}, {"reason_code": "because"}):
        reply = client.post(path, body)
        assert reply.status == 422
        assert reply.pointers() == ["/reason_code"]
    declined = client.post(path, {"reason_code": "out_of_area",
                                  "note": "too far"}).ok(200)
    assert declined["status"] == "declined"
    assert declined["decision"]["reason_code"] == "out_of_area"
    assert declined["decision"]["decided_by"] == \
        client.get("/v1/me").ok()["subject"]
    for command in ("accept", "validate"):
        reply = client.post(f"{path_of(made)}/{command}")
        assert (reply.status, reply.code) == (409, "illegal_state")


def test_the_same_source_and_id_with_other_content_names_the_referral(agency):
    client = agency.coordinator
    made = create(client)
    body = json_referral(source=made["source"], needs="something else")
    reply = client.post("/v1/referrals", body)
    assert reply.status == 409
    assert reply.location == path_of(made)


# Patients

def test_one_identifier_is_one_patient(agency):
    client = agency.coordinator
    identifier = {"system": "his", "value": uuid.uuid4().hex, "type": "MR"}
    patient = client.post("/v1/patients", {
        "name": {"family": "Testpatient"}, "identifiers": [identifier]}).ok(201)
    made = create(client, patient={"identifiers": [identifier]})
    assert made["patient_id"] == patient["id"]
    assert made["patient"]["name"]["family"] == "Testpatient"
    again = client.post("/v1/patients", {"identifiers": [identifier]})
    assert again.status == 409
    assert again.location == "/v1/patients/" + patient["id"]
    other = client.post("/v1/patients", {}).ok(201)
    taken = client.patch("/v1/patients/" + other["id"],
                         {"identifiers": [identifier]})
    assert taken.status == 409
    assert taken.location == "/v1/patients/" + patient["id"]
    client.patch("/v1/patients/" + patient["id"], {"identifiers": []}).ok(200)
    client.patch("/v1/patients/" + other["id"],
                 {"identifiers": [identifier]}).ok(200)


def test_an_identifier_of_another_branch_tells_nothing(agency):
    identifier = {"system": "his", "value": uuid.uuid4().hex, "type": "MR"}
    patient = agency.coordinator.post("/v1/patients", {
        "name": {"family": "Testpatient"}, "birth_date": "1950-01-01",
        "identifiers": [identifier]}).ok(201)
    other = agency.branch("Other branch")["id"]
    client = agency.client("coordinator", branch_id=other, branch_ids=[other])
    made = create(client, patient={"identifiers": [identifier]})
    assert made["warnings"] == ["identifier_taken"]
    assert made["patient_id"] != patient["id"]
    assert "name" not in made["patient"]
    assert "birth_date" not in made["patient"]
    assert client.get("/v1/patients/" + patient["id"]).status == 404


def test_patients_are_found_by_the_beginning_of_their_name(agency):
    client = agency.coordinator
    names = ["Ångström", "Angstrom", "O'Brien-Smith", "Obrien", "Zed"]
    for name in names:
        client.post("/v1/patients", {"name": {"family": name}}).ok(201)

    def found(family):
        rows = client.pages("/v1/patients", family=family, limit=1)
        return sorted(row["name"]["family"] for row in rows)
    assert found("ång") == sorted(["Ångström", "Angstrom"])
    assert found("o'bri") == sorted(["O'Brien-Smith", "Obrien"])
    assert found("OBRIENS") == ["O'Brien-Smith"]
    assert found("x") == []
    assert len(client.pages("/v1/patients", limit=2)) == len(names)


# The worklist

def test_the_worklist_is_ordered_by_what_is_due(agency):
    client = agency.coordinator
    waiting = [create(client) for _ in range(3)]
    later = complete(client)
    day = datetime.datetime.now(datetime.timezone.utc).date()
    sooner = complete(client, ordered_soc_date=str(day))
    rows = client.pages("/v1/referrals", limit=2)
    assert [row["id"] for row in rows] == \
        [row["id"] for row in (*waiting, sooner, later)]
    rows = client.pages("/v1/referrals", status=["valid", "accepted"], limit=1)
    assert [row["id"] for row in rows] == [sooner["id"], later["id"]]
    rows = client.pages("/v1/referrals", patient_id=later["patient_id"])
    assert [row["id"] for row in rows] == [later["id"]]
    rows = client.pages("/v1/referrals", branch_id=agency.branch_id, limit=3)
    assert len(rows) == 5
    assert client.pages("/v1/referrals", status="admitted") == []


def test_rows_that_come_while_a_list_is_paged_shift_nothing(agency):
    client = agency.coordinator
    made = [create(client)["id"] for _ in range(4)]
    page = client.get("/v1/referrals", limit=2).ok(200)
    create(client)
    rest = client.get("/v1/referrals", limit=2,
                      cursor=page["next_cursor"]).ok(200)
    assert [row["id"] for row in page["data"] + rest["data"]] == made
