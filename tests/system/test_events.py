# SPDX-License-Identifier: Apache-2.0
"""Three replicas of each consumer share the partitions of what they follow.
Within two seconds of a replica's start or end each partition has one that
works on it, and a referral becomes care meanwhile. That killed consumers lose
and repeat nothing is tested by tests/store/follow_test.c."""
import os
import signal
import time

import pytest

from harness.agency import Agency
from harness.client import Client
from harness.database import Database
from harness.story import Story
from harness.system import System, temporary_home
from harness.wait import wait_for

# A beat is 0.4 s, a lease lapses 1.2 s after the last one. Under the sanitizers
# fifteen processes share two cores with the tests.
SECONDS = 2 if os.environ.get("MODE") == "release" else 5
EFFECT_SECONDS = 15  # while replicas are killed and start again
REPLICAS = 3
PARTITIONS = 16
SHARE = -(-PARTITIONS // REPLICAS)
CONSUMERS = {("scheduling", "referrals"), ("scheduling", "access"),
             ("referrals", "access"), ("referrals", "scheduling"),
             ("documents", "referrals"), ("documents", "scheduling"),
             ("notifications", "referrals"), ("notifications", "scheduling")}


@pytest.fixture(scope="module")
def three():
    """A Cairn of three replicas, apart from that of the other tests."""
    running = System(temporary_home())
    try:
        running.start(CAIRN_REPLICAS=str(REPLICAS))
        yield running
        running.stop()
        problems = running.problems()
        assert not problems, "\n\n".join(problems)
    finally:
        running.end()
        running.remove()


@pytest.fixture
def stored(three):
    """The rows in its PostgreSQL."""
    return Database(three)


def holdings(stored):
    """{(service, producer): {live replica: partitions}}; of one that holds
    nothing 0."""
    rows = stored.rows(" UNION ALL ".join(
        f"SELECT '{service}' AS service, r.producer, r.id, (SELECT count(*) "
        f"FROM {service}.lease l WHERE l.producer = r.producer AND "
        f"l.holder = r.id) AS held FROM {service}.replica r "
        "WHERE r.until > now()"
        for service in sorted({service for service, _ in CONSUMERS})))
    found = {}
    for row in rows:
        found.setdefault((row["service"], row["producer"]), {})[row["id"]] = \
            int(row["held"])
    return found


def shared(stored, service=None, replicas=REPLICAS):
    """The holdings of the service, or of all, if each partition has a live
    holder and nobody has more than the share of so many."""
    found = {key: held for key, held in holdings(stored).items()
             if service in (None, key[0])}
    wanted = {key for key in CONSUMERS if service in (None, key[0])}
    assert wanted <= set(found), found
    for key, held in found.items():
        assert len(held) == replicas, (key, held)
        assert sum(held.values()) == PARTITIONS, (key, held)
        assert max(held.values()) <= -(-PARTITIONS // replicas), (key, held)
    return found


def covered(stored, service, gone):
    """Every partition is held by a live replica, and none by one that has
    gone."""
    for key, held in holdings(stored).items():
        if key[0] == service:
            assert not gone & set(held), (key, held)
            assert sum(held.values()) == PARTITIONS, (key, held)
    return True


def members(stored, service):
    """The live replicas of a service."""
    return {replica for key, held in holdings(stored).items()
            if key[0] == service for replica in held}


def test_three_replicas_share_every_producer(three, stored):
    for name in three.names():
        three.ready(name)
    found = wait_for(lambda: shared(stored), SECONDS, "the shares of three")
    assert {max(held.values()) for held in found.values()} == {SHARE}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_who_leaves_is_replaced_and_who_comes_has_a_share(three, stored,
                                                          number):
    wait_for(lambda: shared(stored), 30, "three replicas of each")
    before = members(stored, "scheduling")
    pid = three.kill("scheduling-2", number)
    three.end_of("scheduling-2", pid, 20)
    begin = time.monotonic()
    survivors = wait_for(lambda: len(members(stored, "scheduling") & before)
                         == 2 and members(stored, "scheduling") & before,
                         SECONDS, "two of them being left")
    wait_for(lambda: covered(stored, "scheduling", before - survivors),
             SECONDS, "the partitions of who has left")
    print(f"left: {time.monotonic() - begin:.2f} s")
    three.restarted("scheduling-2", pid)
    wait_for(lambda: len(members(stored, "scheduling")) == REPLICAS, 30,
             "the replica that was started again")
    begin = time.monotonic()
    wait_for(lambda: shared(stored, "scheduling"), SECONDS, "its share")
    print(f"joined: {time.monotonic() - begin:.2f} s")


def test_a_referral_becomes_care_while_replicas_are_killed(three):
    story = Story(Agency(three.url, Client(three.url, three.platform_key)))
    story.send()
    story.complete_referral()
    story.complete_patient()
    for name in ("scheduling", "documents-3", "notifications-2"):
        three.kill(name)
    story.accept().ok(200)
    story.wait_for_visit(seconds=EFFECT_SECONDS)
    story.wait_for_documents(seconds=EFFECT_SECONDS)
    story.wait_for_messages(seconds=EFFECT_SECONDS)
    story.wait_for_status("soc_scheduled", seconds=EFFECT_SECONDS)
