# SPDX-License-Identifier: Apache-2.0
"""Two of each service and two gateways, under load through both. One of them
may be killed, stopped or restarted: no request that is safe to repeat fails,
and nothing is done twice."""
import errno
import http.client
import os
import random
import signal
import socket
import time
import urllib.parse

import pytest

from harness.agency import Agency
from harness.client import Client
from harness.database import Database
from harness.load import Load
from harness.system import SERVICES, System, temporary_home
from harness.wait import wait_for

LONG = os.environ.get("CAIRN_LONG") == "1"
SEED = int(os.environ.get("CAIRN_SEED")
           or random.SystemRandom().randrange(10**9))
STOP_SECONDS = (2.0, 3.0)
DRAIN_SECONDS = 20  # from SIGTERM to the end of a process
HEAD_SECONDS = 60  # consumers under the sanitizers, after a load

_chance = random.Random(SEED)
REPLICAS = [name for service in SERVICES for name in (service, service + "-2")]
GATEWAYS = ["gateway", "gateway-2"]


def some(names):
    """One of the seed's, or all, as parameters that name the seed."""
    taken = names if LONG else [_chance.choice(names)]
    return [pytest.param(name, id=f"{name}-CAIRN_SEED={SEED}")
            for name in taken]


@pytest.fixture(scope="module")
def pair():
    """A Cairn of two replicas, apart from that of the other tests."""
    running = System(temporary_home())
    try:
        running.start(CAIRN_REPLICAS="2")
        yield running
        running.stop()
        problems = running.problems()
        assert not problems, "\n\n".join(problems)
    finally:
        running.end()
        if os.environ.get("CAIRN_KEEP_HOME"):
            print(f"kept: {running.home}")
        else:
            running.remove()


@pytest.fixture
def office(pair):
    """An agency of the test's own, in the pair."""
    return Agency(pair.url, Client(pair.url, pair.platform_key))


@pytest.fixture
def stored(pair):
    """What stands in the pair's PostgreSQL."""
    return Database(pair)


def check_nothing_failed(load):
    """Every request got the answer that its kind has."""
    print(f"CAIRN_SEED={SEED}: {load.summary()}")
    failures = load.failures()
    assert not failures, f"CAIRN_SEED={SEED}: {load.summary()}\n" + \
        "\n".join(str(outcome) for outcome in failures[:20])


def check_one_row_each(load, office, stored):
    """Each answered write made one row and one event."""
    tenant = stored.tenant(office)
    for kind, table, event, before in (
            ("create", "referrals.referral", "referral.received", 0),
            ("user", "access.app_user", "user.created", 0),
            ("clinician", "scheduling.clinician", None,
             len(office.clinicians))):
        made = load.written(kind)
        ids = {outcome.reply.json["id"] for outcome in made.values()}
        assert len(ids) == len(made), f"two {kind} have one id"
        assert stored.value(
            f"SELECT count(*) FROM {table} WHERE tenant_id = '{tenant}'"
        ) == str(len(made) + before), table
        if event is not None:
            assert stored.value(
                f"SELECT count(*) FROM {table.partition('.')[0]}.outbox WHERE"
                f" tenant_id = '{tenant}' AND type = '{event}'"
            ) == str(len(made)), event


def check_one_effect_each(load, office, stored):
    """All consumers come to the head of the log, and of what an accepted
    referral brings about there is one."""
    wait_for(lambda: not stored.behind(), HEAD_SECONDS, "consumers at the head")
    tenant = stored.tenant(office)
    accepted = len(load.written("accept"))
    for table, condition in (("documents.checklist", "true"),
                             ("scheduling.visit", "kind = 'soc'")):
        assert stored.value(
            f"SELECT count(*) FROM {table} WHERE tenant_id = '{tenant}'"
            f" AND {condition}") == str(accepted), table
    for service, event in (("referrals", "referral.accepted"),
                           ("documents", "checklist.opened")):
        assert stored.value(
            f"SELECT count(*) FROM {service}.outbox WHERE tenant_id ="
            f" '{tenant}' AND type = '{event}'") == str(accepted), event
    assert stored.broken_logs() == []
    assert stored.union("type", "dead_letter",
                        f"tenant_id = '{tenant}'") == []


def check_asked_again(load, pair):
    """What is asked again under its key is answered from the record, by either
    gateway: the last ones and all that were retried."""
    writes = [outcome for outcome in load.outcomes()
              if outcome.key and outcome.kind in ("create", "accept", "user")]
    for outcome in [one for one in writes if one.retried] + writes[-6:]:
        for url in pair.urls:
            reply = Client(url, outcome.credential).call(
                outcome.method, outcome.path, outcome.body, outcome.key)
            assert reply.status == outcome.reply.status, outcome
            assert reply.body == outcome.reply.body, outcome
            assert reply.headers["idempotent-replayed"] == "true", outcome


def check(load, office, pair, stored):
    """All of it."""
    check_nothing_failed(load)
    check_one_row_each(load, office, stored)
    check_one_effect_each(load, office, stored)
    check_asked_again(load, pair)


@pytest.mark.parametrize("name", some(REPLICAS))
def test_a_killed_replica_fails_no_safe_request(pair, office, stored, name):
    with Load(pair, office, SEED) as load:
        load.go_on()
        pair.restarted(name, pair.kill(name))
        load.go_on()
        pair.ready(name)
        load.go_on()
    check(load, office, pair, stored)


@pytest.mark.parametrize("name", some(REPLICAS))
def test_a_stopped_replica_fails_no_safe_request(pair, office, stored, name):
    with Load(pair, office, SEED) as load:
        load.go_on()
        pair.kill(name, signal.SIGSTOP)
        try:
            time.sleep(_chance.uniform(*STOP_SECONDS))  # nothing tells its end
        finally:
            pair.kill(name, signal.SIGCONT)
        load.go_on(120)
    check(load, office, pair, stored)


def test_what_a_killed_gateway_did_not_answer_is_answered_once_by_the_other(
        pair, office, stored):
    with Load(pair, office, SEED, retries=True) as load:
        load.go_on()
        for kills in range(20):
            name = GATEWAYS[kills % 2]
            pair.restarted(name, pair.kill(name))
            pair.ready(name)
            load.go_on()
            if not LONG and any(one.retried and one.key
                                for one in load.outcomes()):
                break
    assert any(one.retried and one.key for one in load.outcomes())
    check(load, office, pair, stored)


def kept_connection(pair, url):
    """A connection on which one request was answered, and how to ask again."""
    place = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port,
                                            timeout=DRAIN_SECONDS)
    connection.auto_open = 0  # it is this one or none
    connection.connect()

    def ask():
        connection.request("GET", "/v1/me",
                           headers={"Authorization": "Bearer " + pair.key})
        reply = connection.getresponse()
        reply.read()
        return reply.status, reply.getheader("Connection")
    assert ask() == (200, None)
    return connection, ask


def test_a_stopping_gateway_lets_nobody_in_and_answers_who_is_there(pair):
    name, url = GATEWAYS[0], pair.urls[0]
    _, ask = kept_connection(pair, url)
    idle, _ = kept_connection(pair, url)
    pid = pair.kill(name, signal.SIGTERM)
    place = urllib.parse.urlsplit(url)

    def refused():
        with socket.socket() as probe:
            probe.settimeout(0.05)  # while the door closes nobody answers
            return probe.connect_ex((place.hostname, place.port)) == \
                errno.ECONNREFUSED
    wait_for(refused, what="the closed door")
    assert ask() == (200, "close")
    # A client that asks nothing sees the end of the connection, not a reset.
    assert idle.sock.recv(1) == b""
    assert pair.end_of(name, pid, DRAIN_SECONDS) == "with 0"
    pair.restarted(name, pid)
    pair.ready(name)


def restart(pair, name):
    """As an orchestrator does: SIGTERM, and the next one only when this one
    serves again."""
    pid = pair.kill(name, signal.SIGTERM)
    assert pair.end_of(name, pid, DRAIN_SECONDS) == "with 0", name
    pair.restarted(name, pid)
    pair.ready(name)


def test_a_rolling_restart_fails_no_safe_request(pair, office, stored):
    names = REPLICAS + GATEWAYS
    if not LONG:
        service = _chance.choice(SERVICES)
        names = pair.names_of(service) + GATEWAYS
    print(f"CAIRN_SEED={SEED}: {names}")
    with Load(pair, office, SEED) as load:
        load.go_on()
        for name in names:
            restart(pair, name)
            load.go_on(20)
    check(load, office, pair, stored)
