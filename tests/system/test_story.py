# SPDX-License-Identifier: Apache-2.0
"""The story that must work: a hospital's referral becomes a booked start of
care, an open checklist and sent e-mails, and the visit admits the patient."""
import datetime
import os
import re
import subprocess
import time
import zoneinfo

import pytest

from harness.client import Client
from harness.story import CHECKLIST, MISSING, Story, lines_of, segments, text_of
from harness.system import REPO
from harness.wait import wait_for

REAL = "data/hl7v2/REF-I12-01.hl7"
LINE_ENDS = {"LF": b"\n", "CR": b"\r", "CRLF": b"\r\n"}
HOURS = datetime.timedelta(hours=1)
CITATION = "42 CFR 484.55(a)(1)"


def instant(text):
    """An RFC 3339 time."""
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def now():
    """The present instant."""
    return datetime.datetime.now(datetime.timezone.utc)


def stamp(at):
    """An instant as JSON has it."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture(params=[*LINE_ENDS, "JSON"])
def story(request, agency):
    """One story for each form that a referral comes in."""
    if request.param == "JSON":
        return Story(agency)
    content = request.getfixturevalue("shared_file")(REAL)
    return Story(agency, message=lines_of(content, LINE_ENDS[request.param]))


# The whole of it

def test_a_referral_becomes_care_by_events_alone(story, system, agency,
                                                 record_property):
    story.send()
    referral = check_captured(story, agency)
    check_completed(story, agency, referral)
    begin = time.monotonic()
    assert story.accept().ok(200)["status"] == "accepted"
    visit = story.wait_for_visit()
    record_property("accept_to_visit_seconds", time.monotonic() - begin)
    check_booked(story, visit, agency)
    check_checklist(story)
    check_mails(story, system)
    record_property("accept_to_mails_seconds", time.monotonic() - begin)
    found = story.wait_for_status("soc_scheduled")
    assert found["soc_visit_id"] == visit["id"]
    assert story.complete_visit()["status"] == "completed"
    story.wait_for_status("admitted")
    check_episode(story, visit)


def check_captured(story, agency):
    """The referral is kept, shown with what is missing, and stays one."""
    referral = story.referral()
    assert referral["status"] == "captured"
    assert {item["field"] for item in referral["missing"]} == MISSING
    assert all(item["why"] for item in referral["missing"])
    assert referral["time_zone"] == agency.time_zone
    assert "soc_due_at" not in referral
    if story.message is not None:
        assert "expired_on_arrival" in referral["warnings"]
        assert referral["source"]["external_id"] == "226839"
        assert referral["diagnoses"][0]["code"] == "K63.3"
    listed = story.get("/v1/referrals?status=captured")["data"]
    assert [row["id"] for row in listed] == [story.id]
    assert listed[0]["missing"] == referral["missing"]
    story.send()
    rows = story.get("/v1/referrals")["data"]
    assert [(row["id"], row["version"]) for row in rows] == \
        [(story.id, referral["version"])]
    assert len(story.get("/v1/patients")["data"]) == 1
    return referral


def check_completed(story, agency, before):
    """What was missing makes it valid at once, and the clock says why."""
    referral = story.complete_referral()
    assert referral["status"] == "valid"
    assert not referral.get("missing")
    assert referral["version"] > before["version"]
    valid_at = instant(referral["valid_at"])
    due_at = instant(referral["soc_due_at"])
    assert due_at - valid_at == 48 * HOURS
    why = referral["soc_due_why"]
    zone = zoneinfo.ZoneInfo(agency.time_zone)
    for part in ("C01", "valid referral", "48 h", CITATION,
                 f"{due_at.astimezone(zone):%Y-%m-%d %H:%M}",
                 f"{valid_at.astimezone(zone):%Y-%m-%d %H:%M}"):
        assert part in why
    patient = story.complete_patient(
        preferences={"windows": [{"weekday": day, "from": "06:00",
                                  "to": "22:00"} for day in
                                 ("monday", "tuesday", "wednesday", "thursday",
                                  "friday", "saturday", "sunday")]})
    assert patient["email"] == story.patient_email
    assert patient["language"] == "en"
    listed = story.get("/v1/referrals?status=valid")["data"]
    assert [row["soc_due_at"] for row in listed] == [referral["soc_due_at"]]


def check_booked(story, visit, agency):
    """In time, and by somebody who fits."""
    nurse = next(row for row in agency.clinicians if row["discipline"] == "rn")
    assert visit["clinician_id"] == nurse["id"]
    assert visit["discipline"] == "rn"
    assert visit["patient_id"] == story.patient_id
    assert visit["time_zone"] == agency.time_zone
    assert visit["due_at"] == story.referral()["soc_due_at"]
    assert now() < instant(visit["starts_at"]) < instant(visit["due_at"])
    assert instant(visit["ends_at"]) > instant(visit["starts_at"])
    assert story.get("/v1/visits/" + visit["id"]) == visit


def check_checklist(story):
    """Plan of care, face-to-face, consent."""
    documents = story.wait_for_documents()
    assert {row["kind"] for row in documents} == CHECKLIST
    assert len(documents) == len(CHECKLIST)
    for row in documents:
        assert row["status"] == "required"
        assert re.search(r"C\d\d: .*42 CFR", row["rule"])
        assert story.get("/v1/documents/" + row["id"]) == row
    checklist = story.get("/v1/checklists/" + story.id)
    assert checklist["open_count"] == len(CHECKLIST)
    assert len(checklist["documents"]) == len(CHECKLIST)


def check_mails(story, system):
    """Source and patient each get one message, and nobody else gets one."""
    sent = {row["audience"]: row for row in story.wait_for_messages()}
    for audience, address in (("referral_source", story.source_email),
                              ("patient", story.patient_email)):
        message = sent[audience]
        assert [row["outcome"] for row in message["attempts"]] == ["accepted"]
        (mail,) = system.mails(to=address)
        assert mail["To"] == address
        assert mail.get_all("X-Envelope-To") == [address]
        assert re.fullmatch(rf"<{message['id']}@[\w.-]+>", mail["Message-ID"])
        assert mail["Subject"] and mail["Date"]
        assert story.get("/v1/messages/" + message["id"]) == message
    (mail,) = system.mails(to=story.source_email)
    text = text_of(mail)
    assert story.id in text
    family = story.get("/v1/patients/" + story.patient_id)["name"]["family"]
    for private in (family, "K63.3", "Z47.1"):
        assert private not in text and private not in mail["Subject"]


def check_episode(story, visit):
    """Care began on the day of the visit, where the patient lives."""
    (episode,) = story.get(
        "/v1/episodes?patient_id=" + story.patient_id)["data"]
    assert episode["referral_id"] == story.id
    assert episode["status"] == "active"
    zone = zoneinfo.ZoneInfo(visit["time_zone"])
    assert episode["soc_date"] == \
        f"{instant(visit['starts_at']).astimezone(zone):%Y-%m-%d}"


# How it came in

def test_the_line_ends_of_a_message_do_not_make_it_another(agency, shared_file):
    content = shared_file(REAL)
    answers = {name: agency.coordinator.hl7(lines_of(content, end))
               for name, end in LINE_ENDS.items()}
    found = {name: segments(reply)["MSA"] for name, reply in answers.items()}
    assert {fields[1] for fields in found.values()} == {"AA"}
    assert len({fields[3] for fields in found.values()}) == 1
    assert len({reply.headers["location"] for reply in answers.values()}) == 1
    assert len(agency.coordinator.get("/v1/referrals").ok()["data"]) == 1


def test_a_message_is_kept_byte_for_byte(agency, shared_file):
    content = lines_of(shared_file(REAL), b"\r")
    story = Story(agency, message=content)
    story.send()
    assert agency.coordinator.get(story.path + "/raw").body == content


def test_an_integrator_may_send_and_complete_but_not_decide(agency):
    story = Story(agency, client=agency.integrator)
    story.send()
    story.complete_referral()
    story.complete_patient()
    assert story.accept().status == 403
    story.client = agency.coordinator
    story.accept().ok(200)
    story.wait_for_visit()


# What stands against it

def test_what_is_incomplete_is_not_accepted_and_the_guard_is_named(agency):
    story = Story(agency)
    story.send()
    reply = story.accept()
    assert (reply.status, reply.code) == (409, "guard_failed")
    assert reply.json["errors"][0]["code"] == "physician_agrees"
    assert story.referral()["status"] == "captured"
    assert story.rows("visits") == []


def test_what_is_declined_is_not_booked(agency):
    story = Story(agency)
    story.send()
    story.complete_referral()
    body = {"reason_code": "no_capacity"}
    declined = story.ask("POST", story.path + "/decline", body, "decline")
    assert declined.ok(200)["status"] == "declined"
    assert declined.json["decision"]["reason_code"] == "no_capacity"
    reply = story.accept()
    assert (reply.status, reply.code) == (409, "illegal_state")
    assert story.rows("visits") == []


# Who comes

def misfits(agency):
    """Clinicians of whom none can come, by the one reason."""
    week = {"starts_at": stamp(now() - HOURS),
            "ends_at": stamp(now() + 7 * 24 * HOURS)}
    made = {
        "postal_code": agency.clinician(coverage={"postal_codes": ["40202"]}),
        "language": agency.clinician(languages=["en"]),
        "licence_expired": agency.clinician(
            languages=["es"], licence={"number": "T-2", "state": "KY",
                                       "expires_on": "2020-01-31"}),
        "gender": agency.clinician(languages=["es"], gender="male"),
        "time_off": agency.clinician(languages=["es"], gender="female",
                                     time_off=[week]),
        "hours": agency.clinician(languages=["es"], gender="female", hours=[]),
    }
    # Of no other discipline is it said: there are nurses.
    agency.clinician("pt", languages=["es"])
    return {row["id"]: reason for reason, row in made.items()}


def left_out(visit):
    """Reasons by clinician."""
    reasons = {row["clinician_id"]: row["reason"] for row in visit["left_out"]}
    assert len(reasons) == len(visit["left_out"])
    return reasons


@pytest.fixture
def choosy(agency_factory):
    """A story whose patient speaks Spanish and asks for a woman."""
    agency = agency_factory(disciplines=[])
    story = Story(agency)
    expected = misfits(agency)
    story.send()
    story.complete_referral()
    story.complete_patient(language="es",
                           preferences={"clinician_gender": "female"})
    return agency, story, expected


def test_the_one_who_fits_comes_and_the_others_are_told_apart(choosy, system):
    agency, story, expected = choosy
    fits = agency.clinician(languages=["en", "es"], gender="female")
    story.accept().ok(200)
    visit = story.wait_for_visit()
    assert visit["clinician_id"] == fits["id"]
    assert left_out(visit) == expected
    story.wait_for_messages()
    (mail,) = system.mails(to=story.patient_email)
    assert mail["Subject"] == "Su primera visita en casa"


def fill(story, clinician_id):
    """Books all that a clinician has free before the visit is due."""
    until = stamp(instant(story.referral()["soc_due_at"]) + HOURS)
    while True:
        free = [slot for slot in story.get(
            f"/v1/availability?discipline=rn&patient_id={story.patient_id}"
            f"&to={until}")["slots"] if slot["clinician_id"] == clinician_id]
        if not free:
            return
        story.client.post("/v1/visits", {
            "referral_id": story.id, "kind": "routine", "discipline": "rn",
            **{name: free[0][name] for name in
               ("clinician_id", "starts_at", "ends_at")}}).ok(201)


def test_where_nobody_fits_the_visit_waits_with_every_reason(choosy, system):
    agency, story, expected = choosy
    busy = agency.clinician(languages=["es"], gender="female")
    story.accept().ok(200)
    assert story.wait_for_visit()["clinician_id"] == busy["id"]
    fill(story, busy["id"])
    other = Story(agency)
    other.send()
    other.complete_referral()
    other.complete_patient(language="es",
                           preferences={"clinician_gender": "female"})
    other.accept().ok(200)
    visit = other.wait_for_visit("required")
    assert visit["reason_code"] == "no_capacity"
    assert "clinician_id" not in visit and "starts_at" not in visit
    assert left_out(visit) == {**expected, busy["id"]: "booked"}
    other.wait_for_messages(1)
    assert len(system.mails(to=other.source_email)) == 1
    assert system.mails(to=other.patient_email) == []
    assert other.referral()["status"] == "accepted"


def test_where_nobody_is_of_the_discipline_that_is_the_reason(agency_factory):
    agency = agency_factory(disciplines=["pt", "ot"])
    story = Story(agency)
    story.send()
    story.complete_referral()
    story.accept().ok(200)
    visit = story.wait_for_visit("required")
    assert left_out(visit) == {row["id"]: "discipline"
                               for row in agency.clinicians}


def test_nobody_of_another_branch_is_sent(agency_factory):
    agency = agency_factory(disciplines=[])
    agency.clinician(branch_id=agency.branch("Elsewhere")["id"])
    story = Story(agency)
    story.send()
    story.complete_referral()
    story.accept().ok(200)
    assert story.wait_for_visit("required").get("left_out", []) == []


def test_therapy_alone_is_begun_by_a_therapist(agency):
    story = Story(agency)
    story.disciplines = ["pt"]
    story.send()
    story.complete_referral()
    story.accept().ok(200)
    visit = story.wait_for_visit()
    assert visit["discipline"] == "pt"
    assert visit["clinician_id"] == next(
        row["id"] for row in agency.clinicians if row["discipline"] == "pt")


def test_a_patient_without_an_address_is_not_written_to(agency, system):
    story = Story(agency)
    story.send()
    story.complete_referral()
    story.accept().ok(200)
    story.wait_for_visit()
    told = wait_for(lambda: len(found := story.rows("messages")) == 2 and found)
    (silent,) = [row for row in told if row["audience"] == "patient"]
    assert (silent["status"], silent["reason_code"]) == ("not_sent",
                                                         "no_address")
    story.wait_for_messages(1)
    assert len(system.mails(to=story.source_email)) == 1


def test_a_mail_is_tried_again_until_it_is_taken_or_refused(agency, system):
    stories = {}
    for kind in ("once", "drop", "fail", "reject"):
        story = stories[kind] = Story(agency)
        story.source_email = f"{kind}+{story.name}@hospital.example"
        story.send()
        story.complete_referral()
        story.accept().ok(200)

    def told(kind, status):
        found = [row for row in stories[kind].rows("messages")
                 if row["audience"] == "referral_source"
                 and row["status"] == status]
        return found[0] if found else None

    def outcomes(message):
        return [row["outcome"] for row in message["attempts"]]
    for kind in ("fail", "reject"):
        refused = wait_for(lambda kind=kind: told(kind, "failed"))
        assert refused["reason_code"] == "refused"
        assert outcomes(refused) == ["refused"]
        assert system.mails(to=stories[kind].source_email) == []
    once = wait_for(lambda: told("once", "sent"), 15)
    assert outcomes(once) == ["deferred", "accepted"]
    assert once["attempts"][0]["detail"] == "smtp 451"
    # Kept, but its answer was lost: sent again under the same Message-ID.
    drop = wait_for(lambda: told("drop", "sent"), 15)
    assert outcomes(drop)[-1] == "accepted" and len(outcomes(drop)) == 2
    mails = system.mails(to=stories["drop"].source_email)
    assert len(mails) == 2
    assert len({mail["Message-ID"] for mail in mails}) == 1


def test_an_agency_may_book_by_hand(agency_factory):
    agency = agency_factory(auto_book_soc=False)
    story = Story(agency)
    story.send()
    story.complete_referral()
    story.accept().ok(200)
    story.wait_for_documents()
    assert story.rows("visits") == []
    free = story.get(f"/v1/availability?discipline=rn&patient_id="
                     f"{story.patient_id}")["slots"][0]
    made = agency.coordinator.post("/v1/visits", {
        "referral_id": story.id, "kind": "soc", "discipline": "rn",
        "clinician_id": free["clinician_id"], "starts_at": free["starts_at"],
        "ends_at": free["ends_at"]}).ok(201)
    assert made["status"] == "booked"
    story.wait_for_status("soc_scheduled")


# As the README tells it

def test_the_story_of_the_readme_works_as_pasted(system, tmp_path):
    client = Client(system.url, system.key)
    if client.get("/v1/referrals").ok(200)["data"]:
        pytest.skip("somebody has used the demo agency")
    with open(os.path.join(REPO, "README.md"), encoding="utf-8") as file:
        blocks = re.findall(r"^```sh\n(.*?)^```$", file.read(),
                            re.DOTALL | re.MULTILINE)
    (tmp_path / ".cairn").symlink_to(system.home)
    (tmp_path / "tests").symlink_to(os.path.join(REPO, "tests"))
    # An interactive shell expands aliases; a script must switch this on.
    done = subprocess.run(["bash", "--norc", "-O", "expand_aliases", "-e"],
                          input=blocks[0], text=True, cwd=tmp_path, timeout=60,
                          capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for part in (r"^MSA\|AA\|EXAMPLE-MSG-0001\|ref_\w{26}",
                 r"ordering_physician\.agrees_to_sign",
                 r"^C01: valid referral .* \+ 48 h elapsed = .*"
                 + re.escape(CITATION),
                 r"^accepted$", r"'status': 'booked'", r"^C\d\d: .*42 CFR",
                 r"^sent$", r"^000001\.eml$", r"^000002\.eml$", r"^completed$",
                 r"^admitted$"):
        assert re.search(part, done.stdout, re.MULTILINE), \
            f"no {part} in:\n{done.stdout}"


# The log

def test_the_events_of_every_service_are_numbered_and_followed_to_the_end(
        agency, database):
    Story(agency).tell()
    wait_for(lambda: not database.behind(), what="consumers at the head")
    assert database.broken_logs() == []
    assert database.union(
        "type, error", "dead_letter",
        f"tenant_id = '{database.tenant(agency)}'") == []
    types = [row["type"] for row in database.union(
        "type", "outbox",
        f"tenant_id = '{database.tenant(agency)}'")]
    for once in ("referral.received", "referral.validated",
                 "referral.accepted", "referral.scheduled",
                 "referral.admitted", "visit.booked", "visit.completed",
                 "checklist.opened", "episode.opened"):
        assert types.count(once) == 1, once
    assert types.count("message.sent") == 2
