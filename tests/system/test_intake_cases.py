# SPDX-License-Identifier: Apache-2.0
"""What the real world sends: each case of the shared intake-cases by real
requests, with its right outcome. The README beside the files says why each is
right; the name of a test says what kind of input it stands for."""
import json
import os
import subprocess
import unicodedata
import uuid

import pytest

from harness.story import segments
from harness.wait import wait_for

CASES = "data/intake-cases/"
# Warnings that say nothing of what was sent.
OTHERS = {"later_message_differs", "control_id_reused", "expired_on_arrival"}


class Desk:
    """An agency that takes the cases in, with texts that are new in each."""

    def __init__(self, agency, shared_file):
        self.agency = agency
        self.client = agency.coordinator
        self.seed = uuid.uuid4().hex[:8]
        self.digits = f"{uuid.uuid4().int % 900000 + 100000}"
        self.shared_file = shared_file

    def content(self, name):
        """The bytes of a case."""
        content = self.shared_file(CASES + name)
        for mark, text in (("SEED4", self.digits[:4]),
                           ("SEED2", self.digits[4:]), ("SEED", self.seed)):
            content = content.replace(mark.encode(), text.encode())
        return content

    def hl7(self, name, ack="AA"):
        """Sends a message. The referral that is named, or None."""
        reply = self.client.hl7(self.content(name))
        reply.ok(200)
        found = segments(reply)
        assert found["MSA"][1] == ack, found
        if "location" not in reply.headers:
            return None
        return self.client.get(reply.headers["location"]).ok(200)

    def json(self, name, *statuses):
        """Sends a JSON case."""
        body = json.loads(self.content(name))
        path = "/v1/referrals"
        if name.startswith(("38", "41")):
            path = "/v1/patients"
        return self.client.post(path, body).ok(*statuses)

    def patient(self, referral):
        """The whole patient of a referral."""
        return self.client.get("/v1/patients/" + referral["patient_id"]).ok(200)

    def script(self, name):
        """What a script of the cases prints."""
        root = os.environ.get("CAIRN_SHARED") or "../shared"
        self.shared_file(CASES + name)
        done = subprocess.run(
            ["sh", os.path.join(root, CASES, name)], check=False, timeout=60,
            capture_output=True, env=dict(
                os.environ, CAIRN_URL=self.agency.url, SEED=self.seed,
                CAIRN_API_KEY=self.client.key))
        assert done.returncode == 0, done
        return done.stdout.decode("utf-8", "replace")


@pytest.fixture
def desk(agency, shared_file):
    """A desk of this test's own."""
    return Desk(agency, shared_file)


def warned(referral):
    """Has the referral a warning about what was sent?"""
    assert {row["code"] for row in referral["warning_details"]} <= \
        set(referral["warnings"])
    return bool(set(referral["warnings"]) - OTHERS)


def details(referral, code):
    """The occasions of a warning."""
    return [row for row in referral["warning_details"] if row["code"] == code]


def digits(text):
    """The digits of a number."""
    return "".join(c for c in text if c.isdigit())


# The wrong patient

def test_a_referral_number_that_two_people_share_makes_two_referrals(desk):
    first = desk.hl7("01a-shared-referral-number.hl7")
    second = desk.hl7("01b-shared-referral-number.hl7")
    assert second["id"] != first["id"]
    assert second["patient"]["name"]["family"] == "Birch"
    assert second["patient"]["birth_date"] == "1958-09-11"
    assert second["source"]["external_id"] == "20261120"
    assert details(second, "external_id_disputed")[0]["sent"] == "20261120"
    again = desk.client.get("/v1/referrals/" + first["id"]).ok(200)
    assert again["patient"]["name"]["family"] == "Alder"
    assert desk.hl7("01c-guard-same-person-again.hl7")["id"] == first["id"]
    # The second person's own number is theirs, too, when they are sent again.
    content = desk.content("01b-shared-referral-number.hl7").replace(
        b"-01b|P", b"-01d|P")
    reply = desk.client.hl7(content)
    assert reply.headers["location"].endswith(second["id"])


def test_a_placeholder_in_place_of_a_number_is_nobody(desk, system):
    first = desk.hl7("02a-placeholder-number.hl7")
    second = desk.hl7("02b-placeholder-number.hl7")
    check_doubt(first, second)
    assert "email" not in second["patient"]
    assert "email" not in desk.patient(second)
    path = "/v1/referrals/" + second["id"]
    desk.client.patch(path, {
        "needs": "Wound care", "disciplines": ["rn"],
        "ordering_physician": {"name": "Dana Doe", "agrees_to_sign": True},
    }).ok(200)
    desk.client.patch("/v1/patients/" + second["patient_id"],
                      {"address": {"postal_code": "42010"},
                       "phones": ["2705550149"]}).ok(200)
    refused = desk.client.post(path + "/accept", {})
    assert refused.status == 409
    assert refused.code == "guard_failed"
    assert refused.pointers() == ["/identity"]
    desk.client.post(path + "/accept", {"identity": "different"}).ok(200)
    visits = wait_for(lambda: desk.client.get(
        "/v1/visits", referral_id=second["id"]).ok(200)["data"],
        what="the start of care")
    assert visits[0]["patient_id"] == second["patient_id"]
    mail = wait_for(lambda: desk.client.get(
        "/v1/messages", referral_id=second["id"]).ok(200)["data"],
        what="the messages")
    assert not any(f"amy.{desk.seed}" in json.dumps(row) for row in mail)
    assert not any(f"amy.{desk.seed}" in str(mail) for mail in system.mails())


def check_doubt(first, second):
    """The second is another person, and a person must say so."""
    assert second["patient_id"] != first["patient_id"]
    assert second["patient"]["name"]["family"] == "Birch"
    assert second["status"] == "matching"
    assert second["identity"] == "disputed"
    assert warned(second)
    assert details(second, "identity_disputed")[0]["patient_id"] == \
        first["patient_id"]


def test_a_number_of_another_person_makes_two_patients(desk):
    first = desk.json("03a-number-of-another-person.json", 201)
    second = desk.json("03b-number-of-another-person.json", 201)
    check_doubt(first, second)
    third = desk.json("03c-guard-new-family-name.json", 201)
    assert third["patient_id"] == first["patient_id"]
    assert details(third, "patient_differs")[0]["kept"] == "Alder, Amy"
    linked = desk.client.post(
        f"/v1/referrals/{second['id']}/link-patient",
        {"patient_id": first["patient_id"]}).ok(200)
    assert linked["patient_id"] == first["patient_id"]
    assert linked["identity"] == "linked"
    assert not details(linked, "identity_disputed")
    assert details(linked, "patient_differs")


def test_a_name_and_birth_date_seen_before_are_told_to_a_person(desk):
    first = desk.json("47a-same-person-without-number.json", 201)
    second = desk.json("47b-same-person-without-number.json", 201)
    assert second["patient_id"] != first["patient_id"]
    found = details(second, "duplicate_suspected")
    assert [row["patient_id"] for row in found] == [first["patient_id"]]


def test_a_number_without_authority_is_the_senders(desk):
    first = desk.hl7("20a-no-authority.hl7")
    second = desk.hl7("20b-no-authority.hl7")
    assert second["patient_id"] == first["patient_id"]
    row = second["patient"]["identifiers"][0]
    assert (row["system"], row["value"]) == (f"BROOKSIDE-{desk.seed}", "77120")


def test_a_social_security_number_by_another_name_is_no_key(desk):
    first = desk.hl7("42a-ssn-by-another-name.hl7")
    second = desk.hl7("42b-ssn-by-another-name.hl7")
    assert first["patient_id"] != second["patient_id"]
    assert first["patient"]["identifiers"] == []
    assert second["patient"]["identifiers"] == []


@pytest.mark.parametrize("one, two", [
    ("17a-number-with-a-blank.json", "17b-number-with-a-blank.json")])
def test_blanks_around_a_number_make_no_other_person(desk, one, two):
    first = desk.json(one, 201)
    assert desk.json(two, 201)["patient_id"] == first["patient_id"]


def test_blanks_around_a_referrals_number_make_no_other_referral(desk):
    first = desk.json("18a-source-number-with-a-blank.json", 201)
    body = json.loads(desk.content("18b-source-number-with-a-blank.json"))
    reply = desk.client.post("/v1/referrals", body)
    assert reply.status in (200, 409), reply
    assert reply.headers["location"].endswith(first["id"])


def test_a_known_patients_new_address_is_shown_beside_the_old(desk):
    first = desk.hl7("14a-known-patient.hl7")
    second = desk.hl7("14b-known-patient-moved.hl7")
    assert second["patient_id"] == first["patient_id"]
    rows = {row["field"]: row for row in details(second, "patient_differs")}
    assert rows["patient.address"]["sent"] == \
        "4 Harbour Street, Juneau, AK, 99801"
    assert rows["patient.address"]["kept"] == \
        "9 Orchard Way, Paducah, KY, 42001"
    assert rows["patient.phones"]["sent"] == "907-555-0146"
    assert rows["patient.phones"]["source"] == "BROOK"
    assert rows["patient.phones"]["at"]


def test_what_else_is_sent_of_a_known_patient_is_kept_or_shown(desk):
    body = json.loads(desk.content("17a-number-with-a-blank.json"))
    sent = body["patient"]

    def send(**members):
        body["patient"] = dict(sent, **members)
        body["source"] = {"organization": "Brookside"}
        return desk.client.post("/v1/referrals", body).ok(201)

    dialysis = {"label": "dialysis", "weekdays": ["monday"], "from": "08:00",
                "to": "12:00"}
    own = sent["identifiers"][0]
    first = send()
    second = send(commitments=[dialysis], interpreter_needed=True,
                  identifiers=[own, {"system": "OTHER", "value": "77-4711"}])
    assert second["patient_id"] == first["patient_id"]
    patient = desk.patient(second)
    assert patient["commitments"] == [dialysis]
    assert patient["interpreter_needed"] is True
    rows = details(second, "patient_differs")
    assert [(row["field"], row["sent"]) for row in rows] == \
        [("patient.identifiers", "other 77-4711")]
    third = send(commitments=[dict(dialysis, to="13:00")],
                 preferences={"channel": "voice"})
    rows = {row["field"]: row for row in details(third, "patient_differs")}
    assert set(rows) == {"patient.commitments"}
    assert "13:00" in rows["patient.commitments"]["sent"]
    assert "12:00" in rows["patient.commitments"]["kept"]


# Whole messages

def test_two_messages_in_one_body_are_refused_together(desk):
    assert desk.hl7("04-two-messages.hl7", "AE") is None
    for family in ("Alder", "Birch"):
        assert desk.client.get("/v1/patients", family=family + desk.seed) \
            .ok(200)["data"] == []


def test_a_batch_of_one_message_is_that_message(desk):
    assert desk.hl7("36-batch-envelope.hl7")["source"]["external_id"] == \
        f"R-{desk.seed}-36"


def test_a_training_message_makes_no_referral(desk):
    reply = desk.client.hl7(desk.content("22-training-message.hl7"))
    assert reply.status == 200
    found = segments(reply)
    assert found["MSA"][1] == "AR"
    assert found["ERR"][2] == "MSH^1^11"
    assert found["ERR"][3].startswith("202^")
    assert "location" not in reply.headers


def test_an_accept_acknowledgement_alone_is_given_when_asked_for(desk):
    assert desk.hl7("33-accept-acknowledgement.hl7", "CA") is not None


def test_the_type_and_charset_of_a_request_are_those_of_its_answer(desk):
    printed = desk.script("32-media-types.sh")
    assert "HTTP/1.1 200" in printed
    assert "content-type: application/hl7-v2\n" in printed.lower()
    path = printed.split("MSA|AA|")[1].split("|")[1].split("\n")[0]
    name = desk.client.get("/v1/referrals/" + path).ok(200)["patient"]["name"]
    assert name == {"family": "Müller", "given": ["Jörg"]}


def test_a_later_message_that_differs_is_told_to_have_changed_nothing(desk):
    first = desk.hl7("14a-known-patient.hl7")
    content = desk.content("14a-known-patient.hl7").replace(
        b"Orchard", b"Harbour").replace(b"-14a|P", b"-14z|P")
    reply = desk.client.hl7(content)
    assert reply.headers["location"].endswith(first["id"])
    found = segments(reply)
    assert found["MSA"][1] == "AA"
    assert found["ERR"][4] == "W"
    assert found["ERR"][5] == "later_message_differs"
    assert found["ERR"][8]


# Content of a message: file, what of the referral is right, is it warned

def needs(referral):
    """What the patient needs, its lines."""
    return referral.get("needs", "").split("\n")


def name(referral):
    """Family name and given names."""
    found = referral["patient"].get("name", {})
    return found.get("family"), found.get("given")


def address(referral):
    """Lines, city, state, ZIP code."""
    found = referral["patient"].get("address", {})
    return (found.get("lines"), found.get("city"), found.get("state"),
            found.get("postal_code"))


def phones(referral):
    """The digits of the phones."""
    return [digits(text) for text in referral["patient"]["phones"]]


ORCHARD = ["9 Orchard Way"]
ROWS = [
    ("05-line-feed-in-text.hl7", needs,
     ["Dressing change daily.", "Daughter has the key."], False),
    ("06-line-ends-in-hex.hl7", needs,
     ["Dressing change", "See plan", "Twice weekly", "End"], False),
    ("07-hex-in-latin-1.hl7", name, ("Núñez", ["Inés"]), False),
    ("08a-street-in-parts.hl7", lambda r: address(r)[0],
     ["1200 Mill Lane", "Unit 7"], False),
    ("08b-guard-street-whole.hl7", lambda r: address(r)[0],
     ["1200 Mill Lane"], False),
    ("09-birthplace-first.hl7", address,
     (ORCHARD, "Paducah", "KY", "42001"), None),
    ("10-mail-in-first-component.hl7", phones, ["2705550141"], False),
    ("10-mail-in-first-component.hl7", lambda r: r["patient"]["email"],
     "willa@patient.example", False),
    ("11-phone-with-extension.hl7", phones, ["27055501427", "2705550143"],
     True),
    ("11-phone-with-extension.hl7", lambda r: r["patient"]["phones"][0][-3:],
     " x7", True),
    ("12-contacts-in-pid-40.hl7", phones, ["2705550144"], False),
    ("12-contacts-in-pid-40.hl7", lambda r: r["patient"]["email"],
     "willa@patient.example", False),
    ("15-reason-in-rf1-10.hl7", needs, ["Teaching after a fall"], False),
    ("15-reason-in-rf1-10.hl7",
     lambda r: "diagnoses" in [row["field"] for row in r["missing"]], False,
     False),
    ("21-nickname-first.hl7", name, ("Testcase", ["Wilhelmina"]), None),
    ("23a-second-payer-first.hl7", lambda r: r["payer"],
     {"name": "Medicare Part A", "member_id": "M-1"}, True),
    ("23b-second-payer-first-by-set-id.hl7", lambda r: r["payer"],
     {"name": "Medicare Part A", "member_id": "M-1"}, True),
    ("24-discharge-in-utc.hl7", lambda r: r["discharge_date"], "2026-11-20",
     False),
    ("25a-birth-month-13.hl7", lambda r: r["patient"].get("birth_date"), None,
     True),
    ("25b-birth-year-alone.hl7", lambda r: r["patient"].get("birth_date"), None,
     True),
    ("26a-zip-without-hyphen.hl7", address,
     (ORCHARD, "Paducah", "KY", "42001-1234"), False),
    ("26b-state-in-words.hl7", address, (ORCHARD, "Paducah", "KY", "42001"),
     False),
    ("26c-postal-code-abroad.hl7", address, (ORCHARD, "Windsor", "ON", None),
     True),
    ("27-formatting-escapes.hl7", needs,
     ["Take pills", "Call nurse", "No stairs"], False),
    ("28-windows-1252-name.hl7", name, ("O\u2019Testcase", ["Willa"]), False),
    ("29-number-that-is-no-npi.hl7",
     lambda r: r["ordering_physician"].get("npi"), None, True),
    ("30-line-ends-in-name.hl7", name,
     ("Testcase", ["Willa Please call 270 555 0100"]), None),
    ("34-spellings-of-icd-10.hl7",
     lambda r: [row["system"] for row in r["diagnoses"]], ["icd-10-cm"] * 3,
     False),
    ("35-npi-with-authority.hl7", lambda r: r["ordering_physician"]["npi"],
     "1234567893", False),
    ("39-lower-case-segment.hl7", lambda r: r["diagnoses"][0]["code"], "Z47.1",
     None),
    ("40-language-of-three-letters.hl7", lambda r: r["patient"]["language"],
     "en", False),
    ("41b-born-in-the-future.hl7", lambda r: r["patient"].get("birth_date"),
     None, True),
    ("43-more-diagnoses-than-kept.hl7", lambda r: len(r["diagnoses"]), 30,
     True),
    ("44-patient-is-dead.hl7", name, ("Testcase", ["Willa"]), True),
]


@pytest.mark.parametrize("file, of, expected, warns", ROWS, ids=[
    f"{number}-{row[0][:-4]}" for number, row in enumerate(ROWS)])
def test_what_a_message_says_is_kept_or_shown(desk, file, of, expected, warns):
    found = desk.hl7(file)
    # Some are seen with the patient alone.
    found["patient"] = desk.patient(found)
    assert of(found) == expected
    if warns is not None:
        assert warned(found) == warns, found["warning_details"]


def test_a_number_that_was_sent_in_two_parts_is_one_referrals(desk):
    first = desk.hl7("13a-number-in-third-component.hl7")
    second = desk.hl7("13b-number-in-third-component-again.hl7")
    assert second["id"] == first["id"]
    assert second["source"]["external_id"] == f"R-{desk.seed}-13"


def test_what_was_read_can_be_sent_back(desk):
    # The script's PATCH has neither If-Match nor a key, which is 428.
    found = desk.hl7("29-number-that-is-no-npi.hl7")
    desk.client.patch("/v1/referrals/" + found["id"], {
        "ordering_physician": found["ordering_physician"]}).ok(200)


def test_what_has_no_place_yet_is_shown_with_what_was_sent(desk):
    content = desk.content("05-line-feed-in-text.hl7") + \
        b"\rAL1|1|DA|^Penicillin\rGT1|1||Elder^Sam|||||||||900-12-3456" \
        b"\rPRD|PP|Family^Fay"
    found = desk.client.get(desk.client.hl7(content).headers["location"]) \
        .ok(200)
    assert [(row["field"], row["sent"])
            for row in details(found, "segment_not_kept")] == \
        [("AL1", "1 | DA | ^Penicillin"), ("GT1", "1 | Elder^Sam")]
    assert [row["sent"] for row in details(found, "value_not_kept")] == \
        ["PP | Family^Fay"]
    assert "3456" not in json.dumps(found)
    # What is shown may be sent back.
    desk.client.patch("/v1/referrals/" + found["id"], found).ok(200)


# JSON

def test_a_blank_is_no_name_by_json(desk):
    body = json.loads(desk.content("16-blank-names.json"))
    reply = desk.client.post("/v1/referrals", body)
    assert reply.status in (201, 422)
    if reply.status == 201:
        made = reply.ok(201)
        assert made["status"] == "captured"
        assert "soc_due_at" not in made
        fields = [row["field"] for row in made["missing"]]
        assert "patient.name" in fields
        assert "ordering_physician.name" in fields


def test_control_characters_are_no_name(desk):
    body = json.loads(desk.content("31-control-characters-in-name.json"))
    reply = desk.client.post("/v1/referrals", body)
    assert reply.status == 422
    assert all(pointer.startswith("/patient/name/")
               for pointer in reply.pointers())


def test_a_name_is_found_however_its_accents_are_written(desk):
    for file in ("38a-composed-name.json", "38b-decomposed-name.json"):
        desk.json(file, 201)
    for form in ("NFC", "NFD"):
        family = unicodedata.normalize(form, "Nguyễn" + desk.seed)
        found = desk.client.get("/v1/patients", family=family).ok(200)["data"]
        assert len(found) == 2


def test_nobody_is_born_in_the_future(desk):
    body = json.loads(desk.content("41a-born-in-the-future.json"))
    body["name"] = {"family": "Testcase"}
    reply = desk.client.post("/v1/patients", body)
    assert reply.status == 422
    assert "/birth_date" in reply.pointers()


def test_limits_count_characters(desk):
    made = desk.json("45-four-thousand-characters.json", 201)
    assert len(made["needs"]) == 4000


# Times and languages, by the scripts of the cases

def slots_of(printed):
    """The slots that a script printed last."""
    return json.loads(printed.strip().split("\n")[-1])["slots"]


def test_a_commitment_over_midnight_holds_on_both_sides(desk):
    found = slots_of(desk.script("19-commitment-over-midnight.sh"))
    assert found
    # Chicago is UTC-6 or UTC-5: 10:00 there is never before 15:00Z.
    assert all(row["starts_at"][11:13] >= "15" for row in found)


def test_a_commitment_ends_on_the_clock_of_the_wall(desk):
    for row in slots_of(desk.script("46-clocks-go-forward.sh")):
        assert not (row["starts_at"] < "2027-10-02T17:00:00Z" and
                    row["ends_at"] > "2027-10-02T16:00:00Z"), row


def test_a_list_of_tags_is_no_malformed_request(desk):
    printed = desk.script("37-list-of-tags.sh")
    statuses = [line.split()[0] for line in printed.split("HTTP/1.1 ")[1:]]
    assert statuses == ["200", "412"]
