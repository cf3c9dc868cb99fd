# SPDX-License-Identifier: Apache-2.0
"""After the story there is an audit row for every read and write of patient
data, and no patient data except where it is sealed."""
import glob
import json
import os
import uuid

import pytest

from harness.database import uuid_of
from harness.story import Recorder, Story, lines_of

# Words of the made-up patient, in each form in which they may appear. The
# family name of the sample message is too common a word to be looked for.
PRIVATE = ["Quillfeather", "+12705550177", "2705550177", "5550177",
           "17 Synthetic Lane", "Synthetic Lane"]
# The only columns that may hold a name unsealed: folded, to be searched.
SEARCHED = {("referrals.patient", "family_norm"),
            ("referrals.patient", "given_norm")}
# Paths whose answers show no patient.
IMPERSONAL = ("/v1/me", "/v1/clinicians", "/v1/branches", "/v1/users",
              "/v1/api-keys", "/openapi.json")


@pytest.fixture(scope="module")
def owner(agency_factory):
    """The agency of this file's stories."""
    return agency_factory()


@pytest.fixture(scope="module")
def told(owner):
    """A story that was told with every request recorded, and every read."""
    client = Recorder(owner.url, owner.coordinator.key)
    story = Story(owner, client=client).tell()
    for path in ("/v1/patients", "/v1/patients/" + story.patient_id,
                 "/v1/patients?family=quill", "/v1/episodes",
                 "/v1/referrals?status=admitted", story.path,
                 "/v1/visits/" + story.visit_id,
                 "/v1/checklists/" + story.id,
                 f"/v1/availability?discipline=rn&patient_id="
                 f"{story.patient_id}"):
        client.get(path).ok(200)
    for name in ("documents", "messages"):
        client.get(f"/v1/{name}/{story.rows(name)[0]['id']}").ok(200)
    story.accept().ok(200)  # answered from what was kept
    client.post("/v1/referrals", story.body).ok(200)  # it is there already
    return story


@pytest.fixture(scope="module")
def told_by_hl7(owner, data_file):
    """A recorded arrival by HL7, twice, and the reading of its bytes."""
    client = Recorder(owner.url, owner.integrator.key)
    story = Story(owner, client=client, message=private_message(data_file))
    story.send()
    story.send()
    client.get(story.path + "/raw").ok(200)
    return story


@pytest.fixture(scope="module")
def refused(owner, told):
    """Problems of requests that were full of patient data."""
    client = Recorder(owner.url, owner.coordinator.key)
    patient = "/v1/patients/" + told.patient_id
    wrong = [
        {"birth_date": PRIVATE[0]}, {"sex": PRIVATE[0]},
        {"email": PRIVATE[4]}, {"phones": [PRIVATE[0]]},
        {"name": PRIVATE[0]}, {"language": PRIVATE[0] + PRIVATE[4]},
        {"address": {"postal_code": PRIVATE[0]}},
        {"address": {"lines": PRIVATE[4]}},
        {"name": {"family": 20 * PRIVATE[0]}}, {"time_zone": PRIVATE[0]},
        {"preferences": {"clinician_gender": PRIVATE[0]}},
    ]
    for body in wrong:
        reply = client.patch(patient, body)
        assert reply.status == 422, (body, reply)
    for method, path in (("POST", "/v1/patients"), ("POST", "/v1/referrals")):
        for content in (PRIVATE[0], f'{{"name": "{PRIVATE[0]}',
                        f'{{"id": "{PRIVATE[0]}", "id": "{PRIVATE[4]}"}}',
                        f'["{PRIVATE[0]}"]', json.dumps(
                            {"patient": {"birth_date": PRIVATE[0]},
                             "birth_date": PRIVATE[0]})):
            reply = client.raw(method, path, content.encode(), {
                "Content-Type": "application/json",
                "Idempotency-Key": str(uuid.uuid4())})
            assert reply.status in (400, 422), (content, reply)
    body = dict(told.body, diagnoses=[{"code": "Z99"}])
    assert client.post("/v1/referrals", body).status == 409
    assert client.get("/v1/patients/" + PRIVATE[0]).status == 404
    assert client.get("/v1/patients", family=PRIVATE[0],
                      limit=PRIVATE[0]).status == 400
    assert client.get("/v1/patients", cursor=PRIVATE[0]).status == 400
    assert client.get(patient + "/" + PRIVATE[0]).status == 404
    client.post(told.path + "/decline", {"reason_code": PRIVATE[0]})
    client.post(told.path + "/accept", {"note": PRIVATE[0]})
    return client.record


def private_message(data_file):
    """The sample message with the made-up patient in it."""
    sample = lines_of(data_file("referral.hl7"), b"\r")
    for word, private in ((b"Testpatient", PRIVATE[0]),
                          (b"1 Sample Street", PRIVATE[4]),
                          (b"270^5550110", "270^5550177")):
        assert word in sample
        sample = sample.replace(word, private.encode())
    return sample


def hl7_refusals(owner, data_file):
    """Acknowledgements of messages that cannot be taken."""
    sample = private_message(data_file)
    client = owner.coordinator
    for content in (sample.replace(b"REF^I12^REF_I12", b"ORU^R01"),
                    sample.replace(b"PID|1|", b"PIX|1|"),
                    sample.replace(b"UNICODE UTF-8", b"8859/1"),
                    sample.replace(b"19480229", PRIVATE[0].encode()),
                    sample.replace(b"MSH|", b"MSX|"),
                    sample[:120]):
        yield client.hl7(content)


# Audit

def audited(database, replies):
    """Audit rows by request id."""
    ids = ", ".join(f"'{reply.headers['request-id']}'" for reply in replies)
    rows = {}
    for row in database.union("request_id, actor, role, action, resource,"
                              " patients, at", "audit",
                              f"request_id IN ({ids})"):
        rows.setdefault(row["request_id"], []).append(row)
    return rows


def shows_a_patient(path, reply):
    """Was patient data read or written?"""
    empty = reply.json is not None and reply.json.get("data") == []
    return 200 <= reply.status < 300 and not empty and \
        not path.startswith(IMPERSONAL)


def unaudited(story, database, role):
    """Recorded requests without exactly one row of theirs that names the
    patient, or the referral where no more than that was said."""
    record = [(method, path, reply) for method, path, reply
              in story.client.record if shows_a_patient(path, reply)]
    rows = audited(database, [reply for _, _, reply in record])
    patient = uuid_of(story.patient_id)
    subject = story.client.get("/v1/me").ok(200)["subject"]
    missing = []
    for method, path, reply in record:
        found = rows.get(reply.headers["request-id"], [])
        own = [row for row in found if row["actor"] == subject]
        named = own and (patient in own[0]["patients"] or (
            own[0]["action"] == "hl7.repeat" and
            own[0]["resource"] == story.id))
        if len(own) != 1 or not named or own[0]["role"] != role:
            missing.append((method, path, reply.status, found))
    return len(record), missing


def test_every_read_and_write_of_patient_data_is_in_the_audit(told, database):
    count, missing = unaudited(told, database, "coordinator")
    assert count >= 20 and not missing


def test_a_message_that_comes_again_is_in_the_audit_again(told_by_hl7,
                                                          database):
    count, missing = unaudited(told_by_hl7, database, "integrator")
    assert count >= 5 and not missing


def test_the_audit_names_what_was_done(told, database):
    tenant = f"tenant_id = '{database.tenant_of(told)}'"
    actions = {row["action"] for row in database.union("action", "audit",
                                                       tenant)}
    assert {"referral.create", "referral.update", "patient.update",
            "referral.accept", "visit.book", "checklist.open", "message.send",
            "visit.complete", "visit.read", "visit.list"} <= actions


def test_what_events_bring_about_is_audited_as_the_systems_doing(told,
                                                                 database):
    patient = uuid_of(told.patient_id)
    rows = database.union(
        "action, actor, patients", "audit",
        f"tenant_id = '{database.tenant_of(told)}' AND actor = 'system'")
    done = {row["action"] for row in rows if patient in row["patients"]}
    assert {"visit.book", "checklist.open", "message.send"} <= done


def test_the_audit_can_only_grow(database):
    for service in ("access", "referrals", "scheduling", "documents",
                    "notifications"):
        granted = database.rows(f"""
            SELECT grantee, privilege_type
            FROM information_schema.role_table_grants
            WHERE table_schema = '{service}' AND table_name = 'audit'
            AND grantee <> '{service}_owner'""")
        assert {row["privilege_type"] for row in granted
                if row["grantee"] != "postgres"} <= {"INSERT", "SELECT"}


# Patient data

def secrets(told):
    """The words that must not be found."""
    return [word.lower() for word in
            [*PRIVATE, told.patient_email, told.source_email]]


def test_no_problem_repeats_patient_data(told, refused, owner, data_file):
    words = secrets(told)
    replies = [reply for _, _, reply in refused]
    replies += list(hl7_refusals(owner, data_file))
    for reply in replies:
        text = reply.text.lower() + str(reply.headers).lower()
        assert not [word for word in words if word in text], reply


def test_no_log_holds_patient_data(told, told_by_hl7, refused, system, owner,
                                   data_file):
    assert refused and told_by_hl7
    assert list(hl7_refusals(owner, data_file))
    words = [word.encode() for word in secrets(told)]
    paths = glob.glob(os.path.join(system.home, "log/*")) + \
        [os.path.join(system.home, "run.out")]
    assert len(paths) > 8
    for path in paths:
        if os.path.exists(path):
            with open(path, "rb") as file:
                text = file.read().lower()
            assert not [word for word in words if word in text], path


def test_patient_data_is_sealed_where_it_is_kept(told, told_by_hl7, refused,
                                                 database):
    assert refused and told_by_hl7
    words = secrets(told)
    found = {(table, column) for table, column, value in database.dump()
             if any(word in value.lower() for word in words)}
    assert found == {("referrals.patient", "family_norm")}
    assert found <= SEARCHED


def test_a_name_is_searched_by_its_folded_form(told, database):
    patient = uuid_of(told.patient_id)
    assert database.value(f"SELECT family_norm FROM referrals.patient"
                          f" WHERE id = '{patient}'") == "quillfeather"
