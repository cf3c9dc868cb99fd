# SPDX-License-Identifier: Apache-2.0
"""kill -9 of any service at any step of the story: the supervisor starts it
again, the client repeats what was not answered, and the story ends right, with
nothing twice."""
import os
import random
import threading
import time

import pytest

from harness.story import CHECKLIST, Story, text_of
from harness.system import SERVICES

STEPS = ["send", "complete_referral", "complete_patient", "accept", "booking",
         "complete_visit", "admission"]
KILLED = SERVICES + ["gateway"]
END_SECONDS = 40  # what a killed sender had claimed is free again by then
DELAY_MAX = 0.012  # about as long as a request takes under the sanitizers
ONCE = ["referral.received", "referral.validated", "referral.accepted",
        "referral.scheduled", "referral.admitted", "visit.booked",
        "visit.completed", "checklist.opened", "episode.opened"]

SEED = int(os.environ.get("CAIRN_SEED")
           or random.SystemRandom().randrange(10**9))


def cases():
    """(service, step, delay in seconds): each service once at a step of the
    seed's, or all with all."""
    chance = random.Random(SEED)
    steps = {name: STEPS if os.environ.get("CAIRN_LONG") == "1"
             else [chance.choice(STEPS)] for name in KILLED}
    return [pytest.param(name, step, chance.uniform(0, DELAY_MAX),
                         id=f"{name}-{step}-CAIRN_SEED={SEED}")
            for name in KILLED for step in steps[name]]


class Killer(threading.Thread):
    """Kills a service a moment after its start."""

    def __init__(self, system, name, delay):
        super().__init__()
        self.system, self.name_of, self.delay = system, name, delay
        self.pid = system.pid(name)

    def run(self):
        time.sleep(self.delay)
        self.system.kill(self.name_of)


class Broken(Story):
    """A story in which something is killed at one step."""

    def __init__(self, agency, system, name, step, delay):
        super().__init__(agency)
        self.plan = (system, name, step, delay)
        self.killer = None

    def at(self, step):
        """A kill may happen here."""
        system, name, wanted, delay = self.plan
        if step == wanted:
            self.killer = Killer(system, name, delay)
            self.killer.start()

    def tell(self):
        for step in ("send", "complete_referral", "complete_patient",
                     "accept"):
            self.at(step)
            getattr(self, step)()
        self.at("booking")
        self.wait_for_visit(seconds=END_SECONDS)
        self.wait_for_status("soc_scheduled", END_SECONDS)
        self.at("complete_visit")
        self.complete_visit()
        self.at("admission")
        self.wait_for_status("admitted", END_SECONDS)
        self.wait_for_documents(END_SECONDS)
        self.wait_for_messages(seconds=END_SECONDS)
        self.killer.join()
        return self


def check_nothing_twice(story, agency, database):
    """Checks every record, and every event that may come only once."""
    tenant = database.tenant(agency)
    expected = {"referrals.referral": 1, "referrals.patient": 1,
                "referrals.episode": 1, "scheduling.visit": 1,
                "documents.checklist": 1,
                "documents.document": len(CHECKLIST),
                "notifications.message": 2}
    for table, count in expected.items():
        found = database.value(f"SELECT count(*) FROM {table}"
                               f" WHERE tenant_id = '{tenant}'")
        assert (table, found) == (table, str(count))
    condition = f"tenant_id = '{tenant}'"
    types = [row["type"] for row in
             database.union("type", "outbox", condition)]
    assert {name: types.count(name) for name in ONCE} == dict.fromkeys(ONCE, 1)
    assert types.count("message.sent") == 2
    assert database.union("type", "dead_letter", condition) == []
    assert database.broken_logs() == []
    assert story.referral()["status"] == "admitted"


def check_mails(story, system):
    """One e-mail each: those with one Message-ID are one."""
    for address in (story.source_email, story.patient_email):
        mails = system.mails(to=address)
        assert len({mail["Message-ID"] for mail in mails}) == 1
        assert len({text_of(mail) for mail in mails}) == 1


@pytest.mark.parametrize("name, step, delay", cases())
def test_the_story_survives_the_end_of_a_service(
        system, agency, database, wait_for, name, step, delay):
    print(f"CAIRN_SEED={SEED}: kill -9 of {name} {delay * 1000:.1f} ms into"
          f" {step}")
    story = Broken(agency, system, name, step, delay)
    story.tell()
    system.restarted(name, story.killer.pid)
    system.ready(name)
    check_nothing_twice(story, agency, database)
    check_mails(story, system)
    wait_for(lambda: not database.behind(), 15, "consumers at the head")


def test_all_services_may_end_at_once(system, agency, database, wait_for):
    story = Story(agency)
    story.send()
    story.complete_referral()
    story.complete_patient()
    story.accept().ok(200)
    every = system.names() + system.names_of("gateway")
    pids = {name: system.kill(name) for name in every}
    for name, pid in pids.items():
        system.restarted(name, pid)
        system.ready(name)
    story.wait_for_visit(seconds=END_SECONDS)
    story.wait_for_status("soc_scheduled", END_SECONDS)
    story.complete_visit()
    story.wait_for_status("admitted", END_SECONDS)
    story.wait_for_documents(END_SECONDS)
    story.wait_for_messages(seconds=END_SECONDS)
    check_nothing_twice(story, agency, database)
    check_mails(story, system)
    wait_for(lambda: not database.behind(), 15, "consumers at the head")
