# SPDX-License-Identifier: Apache-2.0
"""The story that must work, step by step: a hospital's referral comes in, is
completed and accepted, becomes a booked visit, a checklist and e-mails, and
the visit admits the patient."""
import http.client
import time
import uuid

from harness.client import HL7, Client
from harness.wait import wait_for

AGAIN_STATUS = (502, 503, 504)
AGAIN_SECONDS = 30
AGAIN_PAUSE = 0.02
CHECKLIST = {"plan_of_care", "face_to_face", "consent"}
MISSING = {"disciplines", "ordering_physician.agrees_to_sign", "source.email"}


class Recorder(Client):
    """A client that keeps what it asked and what it was told."""

    def __init__(self, url, key):
        super().__init__(url, key)
        self.record = []  # (method, path, Reply)

    def raw(self, method, path, content=None, headers=None):
        reply = super().raw(method, path, content, headers)
        self.record.append((method, path, reply))
        return reply


def again(call, seconds=AGAIN_SECONDS):
    """The reply of call(), which is repeated while the other side is down.
    Some tests kill parts of the system."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            reply = call()
            if reply.status not in AGAIN_STATUS:
                return reply
        except (OSError, http.client.HTTPException) as error:
            reply = error
        assert time.monotonic() < deadline, f"still {reply!r}"
        time.sleep(AGAIN_PAUSE)


def text_of(mail):
    """What a person reads in an e-mail."""
    return mail.get_body(("plain",)).get_content()


def lines_of(content, end):
    """An HL7 message with another line end."""
    lines = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return lines.replace(b"\n", end)


def segments(reply):
    """The segments of an acknowledgement, each a list of fields by its name."""
    assert reply.headers["content-type"].startswith(HL7)
    rows = [line.split("|") for line in reply.text.split("\r") if line]
    return {row[0]: row for row in rows}


def json_referral(**fields):
    """A referral of a synthetic patient as JSON, that lacks what the HL7 one
    lacks."""
    return {
        "source": {"organization": "Example Hospital", "system": "EXAMPLE-HIS",
                   "external_id": str(uuid.uuid4())},
        "patient": {
            "name": {"family": "Quillfeather", "given": ["Sam"]},
            "birth_date": "1948-02-29", "sex": "female",
            "phones": ["+12705550177"],
            "address": {"lines": ["17 Synthetic Lane"], "city": "Paducah",
                        "state": "KY", "postal_code": "42010"},
            "language": "en",
        },
        "ordering_physician": {"npi": "1234567893", "name": "Pat Example"},
        "diagnoses": [{"system": "icd-10-cm", "code": "Z47.1"}],
        **fields,
    }


class Story:
    """One referral in an agency. Each step may be repeated until it is
    answered; its key is always the same."""

    def __init__(self, agency, client=None, message=None):
        self.client = client or agency.coordinator
        self.message = message  # HL7 bytes; None: as JSON
        self.name = uuid.uuid4().hex
        self.source_email = f"source-{self.name}@hospital.example"
        self.patient_email = f"patient-{self.name}@patient.example"
        self.body = json_referral()
        self.disciplines = ["rn"]
        self.id = self.patient_id = self.visit_id = None

    def ask(self, method, path, body=None, step=None):
        """One request of the story."""
        key = None if step is None else f"{step}-{self.name}"
        media_type = "application/json" if method != "PATCH" else \
            "application/merge-patch+json"
        return again(lambda: self.client.call(method, path, body, key,
                                              media_type=media_type))

    # What people do

    def send(self):
        """The hospital sends the referral."""
        if self.message is None:
            reply = self.ask("POST", "/v1/referrals", self.body, "send")
            self.id = reply.ok(201)["id"]
        else:
            reply = again(lambda: self.client.hl7(self.message))
            reply.ok(200)
            found = segments(reply)
            assert found["MSA"][1] == "AA", reply
            self.id = found["MSA"][3]
        assert reply.location == "/v1/referrals/" + self.id
        self.patient_id = self.referral()["patient_id"]
        return reply

    def complete_referral(self):
        """Intake learns what was missing."""
        return self.ask("PATCH", self.path, {
            "disciplines": self.disciplines,
            "ordering_physician": {"agrees_to_sign": True},
            "source": {"email": self.source_email}}, "referral").ok(200)

    def complete_patient(self, **fields):
        """Intake learns how to reach the patient."""
        return self.ask("PATCH", "/v1/patients/" + self.patient_id,
                        {"email": self.patient_email, **fields},
                        "patient").ok(200)

    def accept(self):
        """The coordinator decides."""
        return self.ask("POST", self.path + "/accept", {}, "accept")

    def complete_visit(self):
        """The clinician was there."""
        return self.ask("POST", f"/v1/visits/{self.visit_id}/complete", {},
                        "visit").ok(200)

    # What is there

    @property
    def path(self):
        """Of the referral."""
        return "/v1/referrals/" + self.id

    def get(self, path):
        """A read."""
        return self.ask("GET", path).ok(200)

    def referral(self):
        """The referral as it is now."""
        return self.get(self.path)

    def rows(self, name):
        """All visits, documents or messages of the referral."""
        return self.get(f"/v1/{name}?referral_id={self.id}&limit=200")["data"]

    # What comes by events alone

    def wait_for_status(self, status, seconds=5):
        """Until the referral is that far."""
        return wait_for(lambda: (found := self.referral())["status"] == status
                        and found, seconds, f"{self.id} being {status}")

    def wait_for_visit(self, status="booked", seconds=5):
        """Until scheduling has done its part."""
        (visit,) = wait_for(
            lambda: [row for row in self.rows("visits")
                     if row["status"] == status and row["kind"] == "soc"],
            seconds, f"a visit that is {status}")
        self.visit_id = visit["id"]
        return visit

    def wait_for_documents(self, seconds=5):
        """Until documents has done its part."""
        return wait_for(lambda: self.rows("documents"), seconds, "a checklist")

    def wait_for_messages(self, count=2, seconds=5):
        """Until notifications has sent that many."""
        return wait_for(
            lambda: len(found := [row for row in self.rows("messages")
                                  if row["status"] == "sent"]) == count
            and found, seconds, f"{count} messages sent")

    def tell(self):
        """From beginning to end."""
        self.send()
        self.complete_referral()
        self.complete_patient()
        self.accept().ok(200)
        self.wait_for_visit()
        self.wait_for_documents()
        self.wait_for_messages()
        self.wait_for_status("soc_scheduled")
        self.complete_visit()
        self.wait_for_status("admitted")
        return self
