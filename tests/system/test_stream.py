# SPDX-License-Identifier: Apache-2.0
"""GET /v1/stream: every event that its reader may see, once and in order,
whatever happens to the connections and the gateways; and nothing else."""
import collections
import glob
import os
import random
import re
import signal
import threading
import time
import uuid

import pytest

from harness.client import Client
from harness.database import uuid_of
from harness.gateway import Gateway
from harness.story import Story, again, json_referral
from harness.stream import Stream
from harness.system import REPO
from harness.wait import wait_for

LONG = os.environ.get("CAIRN_LONG") == "1"
SEED = int(os.environ.get("CAIRN_SEED")
           or random.SystemRandom().randrange(10**9))
CUTS = 2000 if LONG else 200
RESTARTS = 40 if LONG else 4
HOLD_SECONDS = 0.06  # of one connection, at most
QUIET_SECONDS = 30  # consumers under the sanitizers, after the load
REVOKED_SECONDS = 1.0
LAG_SECONDS = 10  # services/gateway/stream.h
READ = ["referrals:read", "patients:read", "visits:read", "documents:read",
        "messages:read"]


def event_types():
    """The types of event that a coordinator's scopes read, clinicians' aside:
    they are there before a reader is."""
    found = []
    for path in glob.glob(os.path.join(REPO, "proto/cairn/*.proto")):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for listed, scope in re.findall(
                r"option \((?:cairn\.)?event\) = \{\s*type: \[(.*?)\]\s*"
                r"scope: \"(.*?)\"", text, re.DOTALL):
            if scope in READ:
                found += re.findall(r'"(.*?)"', listed)
    return found


@pytest.fixture(scope="module")
def second(system):
    """A second gateway beside the system's own."""
    with Gateway(system) as gateway:
        yield gateway


@pytest.fixture
def agency(agency_factory):
    """A tenant in which nothing happens by itself: without clinicians, whose
    events are still on their way when a test begins."""
    return agency_factory(disciplines=[])


@pytest.fixture(scope="module", autouse=True)
def quiet(agency_factory, second):
    """A stream of an agency in which nothing happens, opened before all
    tests, and its first id."""
    agency = agency_factory(disciplines=[])
    with Stream(second.url, agency.coordinator.key) as stream:
        stream.until(lambda _: stream.last_id)
        yield stream, stream.last_id


def types(events):
    """The types of events, in their order."""
    return [event.type for event in events]


def patient(client, **fields):
    """A new patient; its id."""
    return client.post("/v1/patients", {
        "name": {"family": "Quillfeather", "given": ["Sam"]},
        "birth_date": "1948-02-29", **fields}).ok(201)["id"]


def saw(*ids):
    """enough() for Stream.until: something of each of the ids has come."""
    return lambda events: set(ids) <= {event.data.get("id")
                                       for event in events}


def open_stream(url, client, **options):
    """A stream under the client's key that has answered 200."""
    stream = Stream(url, client.key, **options)
    assert stream.status == 200, stream.problem()
    return stream


# What it looks like

def test_an_event_is_thin_and_says_what_it_is_of(system, agency):
    with open_stream(system.url, agency.coordinator) as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        assert stream.headers["cache-control"] == "no-store"
        assert stream.headers["x-accel-buffering"] == "no"
        made = patient(agency.coordinator)
        (event,) = stream.until(saw(made))
        assert stream.lines.retry == 2000
    assert event.type == "patient.created"
    assert set(event.data) == {"type", "id", "version", "aggregate_seq",
                               "branch_id", "event_id", "occurred_at"}
    assert event.data["branch_id"] == agency.branch_id
    assert event.data["version"] == event.data["aggregate_seq"] == 1
    assert event.id and "Quillfeather" not in str(event)


def test_an_event_names_the_records_that_it_belongs_to(system, contract,
                                                       agency_factory):
    agency = agency_factory()
    with open_stream(system.url, agency.coordinator) as stream:
        story = Story(agency)
        story.tell()
        events = stream.until(lambda found: {"visit.completed", "message.sent",
                                             "episode.opened"} <=
                              set(types(found)))
    schema = contract.document["components"]["schemas"]["StreamEvent"]
    for event in events:
        assert contract.faults(schema, event.data) == [], event.data
    booked = next(event.data for event in events
                  if event.type == "visit.booked")
    assert (booked["referral_id"], booked["patient_id"], booked["id"]) == \
        (story.id, story.patient_id, story.visit_id)
    for event in events:
        if event.type != "clinician.updated" and \
                not event.type.startswith("patient."):
            assert event.data["patient_id"] == story.patient_id, event.data


def test_requests_are_answered_while_many_streams_rest(system, agency):
    streams = [open_stream(system.url, agency.coordinator) for _ in range(100)]
    slowest = 0
    for _ in range(50):
        begin = time.monotonic()
        agency.coordinator.get("/v1/me").ok(200)
        slowest = max(slowest, time.monotonic() - begin)
    made = patient(agency.coordinator)
    for stream in streams:
        stream.until(saw(made))
        stream.close()
    assert slowest < 1


# Who sees what

def test_a_reader_sees_its_reach_and_no_more(system, agency_factory):
    agency, other = agency_factory(), agency_factory()
    far = agency.branch("Far branch")["id"]
    readers = {
        "own": agency.coordinator,
        "far": agency.client("coordinator", branch_id=far, branch_ids=[far]),
        "all": agency.client("supervisor"),
        "team": agency.client("clinician"),
        "other agency": other.client("supervisor"),
        "patients only": agency.client(
            "supervisor", scopes=["stream:read", "patients:read"]),
    }
    streams = {name: open_stream(system.url, client)
               for name, client in readers.items()}
    topics = open_stream(system.url, readers["all"], topics="patients,visits")
    near = patient(agency.coordinator)
    away = patient(agency.integrator, branch_id=far)
    referral = agency.coordinator.post("/v1/referrals",
                                       json_referral()).ok(201)["id"]
    elsewhere = patient(other.integrator)

    # All streams of a tenant are served together; where nothing may come, the
    # end of the stream says that nothing did.
    whole = streams["all"].until(saw(near, away, referral))
    for name, client in readers.items():
        holder = other if name == "other agency" else agency
        for key in holder.administrator.pages("/v1/api-keys"):
            if client.key.startswith(key["prefix"]):
                holder.administrator.post(
                    f"/v1/api-keys/{key['id']}/revoke").ok(200)
    got = {name: stream.rest()[0] for name, stream in streams.items()}
    got["all"] = whole + got["all"]
    ids = {name: {event.data["id"] for event in events}
           for name, events in got.items()}
    assert {near, referral} <= ids["own"] and away not in ids["own"]
    assert ids["far"] == {away}
    assert {near, away, referral} <= ids["all"]
    assert ids["team"] == set()
    assert ids["other agency"] == {elsewhere}
    assert {near, away} <= ids["patients only"]
    assert set(types(got["patients only"])) == {"patient.created"}
    filtered = topics.rest()[0]
    assert {near, away} <= {event.data["id"] for event in filtered}
    assert {word.split(".")[0] for word in types(filtered)} == {"patient"}


def test_who_may_not_read_the_stream_is_refused(system, agency):
    def refused(key, **query):
        with Stream(system.url, key, **query) as stream:
            return stream.status, stream.problem()["code"]
    assert refused(None) == (401, "unauthenticated")
    assert refused(agency.administrator.key) == (403, "forbidden")
    narrow = agency.key("supervisor", scopes=["patients:read"])["key"]
    assert refused(narrow) == (403, "forbidden")
    few = agency.key("supervisor",
                     scopes=["stream:read", "patients:read"])["key"]
    assert refused(few, topics="visits") == (403, "forbidden")
    key = agency.coordinator.key
    assert refused(key, topics="nonsense") == (400, "invalid_parameter")
    assert refused(key, topics="visits,") == (400, "invalid_parameter")
    assert refused(key, nonsense="1") == (400, "unknown_parameter")
    reply = agency.coordinator.raw("GET", "/v1/stream", None,
                                   {"Accept": "application/json"})
    assert reply.status == 406
    reply = agency.coordinator.raw("HEAD", "/v1/stream")
    assert reply.status == 200 and reply.body == b""


def test_a_revoked_key_ends_its_streams_and_no_others(system, second, agency):
    doomed = agency.key("supervisor")
    streams = [open_stream(url, Client(url, doomed["key"]))
               for url in (system.url, second.url)]
    with open_stream(second.url, agency.coordinator) as stays:
        agency.administrator.post(
            f"/v1/api-keys/{doomed['id']}/revoke").ok(200)
        begin = time.monotonic()
        for stream in streams:
            _, at = stream.rest()
            assert stream.ended and at - begin < REVOKED_SECONDS
        made = patient(agency.coordinator)
        stays.until(saw(made))
    with Stream(second.url, doomed["key"]) as again_:
        assert again_.status == 401


def test_a_person_who_leaves_is_told_nothing_more(system, agency):
    admin = agency.administrator
    people = [admin.post("/v1/users", {
        "name": f"Test person {i}", "email": f"p{i}@agency.example",
        "role": "supervisor", "branch_ids": [agency.branch_id],
        "active": True}).ok(201) for i in range(2)]
    clients = [agency.client("supervisor", user_id=person["id"])
               for person in people]
    leaves, stays = [open_stream(system.url, client) for client in clients]
    admin.patch(f"/v1/users/{people[0]['id']}", {"active": False}).ok(200)
    begin = time.monotonic()
    made = patient(agency.coordinator)
    events, at = leaves.rest()
    assert leaves.ended and at - begin < REVOKED_SECONDS and events == []
    stays.until(saw(made))


def test_a_key_that_expires_ends_its_streams(system, agency):
    until = time.time() + 3
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(until))
    with open_stream(system.url, agency.client("supervisor", expires_at=stamp)
                     ) as stream:
        stream.rest(8)
        assert stream.ended and time.time() < until + 2


# Coming back

def test_a_reader_goes_on_where_it_was_at_any_gateway(system, second, agency):
    with open_stream(system.url, agency.coordinator) as stream:
        first = patient(agency.coordinator)
        stream.until(saw(first))
        last_id = stream.last_id
    missed = [patient(agency.coordinator) for _ in range(3)]
    # A gateway that was started after those events reads them in the log.
    with Gateway(system) as late:
        for url in (late.url, second.url, system.url):
            with open_stream(url, agency.coordinator, last_id=last_id) as back:
                events = back.until(saw(*missed))
                assert [event.data["id"] for event in events] == missed
        with open_stream(late.url, agency.coordinator,
                         last_event_id=last_id) as back:
            assert [event.data["id"] for event in back.until(saw(*missed))
                    ] == missed
        assert late.metric("cairn_stream_catch_ups_total") >= 1
        assert late.metric("cairn_stream_resets_total") == 0


@pytest.mark.parametrize("what", ["forged", "of another agency", "garbage"])
def test_an_id_that_is_none_resets_the_reader(system, agency_factory, what):
    agency = agency_factory(disciplines=[])
    owner = agency_factory() if what == "of another agency" else agency
    with open_stream(system.url, owner.coordinator) as stream:
        stream.until(lambda _: stream.last_id)
        last_id = stream.last_id
    if what == "forged":
        last_id = last_id[:-2] + ("AA" if last_id[-2:] != "AA" else "BB")
    elif what == "garbage":
        last_id = "1\"'%00" * 20
    with open_stream(system.url, agency.coordinator, last_id=last_id) as back:
        (event,) = back.until(lambda events: events)
        assert event.type == "reset"
        assert event.data == {"reason": "unknown_position"}
        assert event.id and event.id != last_id
        made = patient(agency.coordinator)
        assert [one.data["id"] for one in back.until(saw(made))] == [made]


def test_without_the_shared_key_a_reader_begins_anew_elsewhere(system, agency):
    with open_stream(system.url, agency.coordinator) as stream:
        stream.until(lambda _: stream.last_id)
        last_id = stream.last_id
    alone = Gateway(system)
    del alone.environment["CAIRN_STREAM_KEY_FILE"]
    with alone, open_stream(alone.url, agency.coordinator,
                            last_id=last_id) as back:
        assert types(back.until(lambda events: events)) == ["reset"]
    assert "CAIRN_STREAM_KEY is not set" in system.log("gateway-by-hand")


# Limits

def test_streams_are_limited_apart_from_requests(system, agency_factory):
    agency, other = agency_factory(), agency_factory()
    with Gateway(system, CAIRN_STREAMS_PER_TENANT="2",
                 CAIRN_STREAMS="3") as small:
        streams = [open_stream(small.url, agency.coordinator)
                   for _ in range(2)]
        with Stream(small.url, agency.coordinator.key) as over:
            assert over.status == 503 and over.headers["retry-after"]
            assert over.problem()["code"] == "too_many_streams"
        with open_stream(small.url, other.coordinator), \
                Stream(small.url, other.coordinator.key) as over:
            assert over.status == 503
        Client(small.url, agency.coordinator.key).get("/v1/me").ok(200)
        # A reader that leaves makes room, also while no event comes.
        streams.pop().close()

        def there_is_room():
            with Stream(small.url, agency.coordinator.key) as stream:
                return stream.status == 200
        wait_for(there_is_room, 5, "room for a stream")


def test_a_slow_reader_is_cut_off_and_misses_nothing(system, second, agency):
    before = second.metric("cairn_stream_swept_total")
    slow = open_stream(second.url, agency.coordinator, receive_buffer=2048)
    slow.until(lambda _: slow.last_id)
    stop = threading.Event()
    made = []

    def make():
        name = 0
        while not stop.is_set():
            name += 1
            made.append(patient(agency.coordinator))
    makers = [threading.Thread(target=make) for _ in range(3)]
    for maker in makers:
        maker.start()
    try:
        wait_for(lambda: second.metric("cairn_stream_swept_total") > before,
                 LAG_SECONDS + 25, "the slow reader being cut off")
    finally:
        stop.set()
        for maker in makers:
            maker.join()
    events = slow.read(5)
    assert slow.closed and not slow.ended
    assert len(events) < len(made)
    with open_stream(second.url, agency.coordinator,
                     last_id=slow.last_id) as back:
        have = {event.data["id"] for event in events}
        events += back.until(saw(*set(made) - have), 30)
    assert sorted(event.data["id"] for event in events) == sorted(made)


def test_a_stop_ends_streams_cleanly_at_once(system, agency):
    gateway = Gateway(system).start()
    streams = [open_stream(gateway.url, agency.coordinator) for _ in range(20)]
    begin = time.monotonic()
    gateway.stop()
    took = time.monotonic() - begin
    for stream in streams:
        stream.rest()
        assert stream.ended
    assert took < 5, f"the stop took {took:.1f} s"


def test_a_quiet_stream_gets_a_comment_and_a_fresh_id(quiet):
    stream, first = quiet
    assert stream.until(lambda _: stream.lines.comments > 0, 18,
                        "a comment") == []
    assert stream.last_id != first


# Everything at once

class Reader(threading.Thread):
    """Reads, is cut, comes back at another gateway, as often as it takes."""

    def __init__(self, urls, key, chance, last_id):
        super().__init__()
        self.urls, self.key, self.chance = urls, key, chance
        self.events = []
        self.last_id = last_id
        self.cuts = self.refused = 0
        self.failed = None
        self.enough = threading.Event()

    def turn(self, seconds):
        """One connection, cut after a while."""
        with Stream(self.chance.choice(self.urls), self.key,
                    last_id=self.last_id) as stream:
            assert stream.status in (200, 503), stream.problem()
            if stream.status == 200:
                self.events += stream.read(seconds)
                self.last_id = stream.last_id
                if self.chance.random() < 0.5:
                    stream.reset()

    def run(self):
        try:
            while self.cuts < CUTS or not self.enough.is_set():
                try:
                    self.turn(self.chance.uniform(0, HOLD_SECONDS))
                    self.cuts += 1
                except OSError:
                    self.refused += 1
                    self.enough.wait(0.01)
        except Exception as error:  # shown by the test
            self.failed = error


class Maker(threading.Thread):
    """Tells stories until it is told to stop."""

    def __init__(self, agency):
        super().__init__()
        self.agency = agency
        self.stories = 0
        self.failed = None
        self.enough = threading.Event()

    def run(self):
        try:
            while not self.enough.is_set():
                story = Story(self.agency)
                story.send()
                story.complete_referral()
                story.complete_patient()
                story.accept()
                for _ in range(3):
                    again(lambda: self.agency.coordinator.patch(
                        f"/v1/patients/{story.patient_id}",
                        {"email": f"{uuid.uuid4().hex}@patient.example"}))
                self.stories += 1
        except Exception as error:  # shown by the test
            self.failed = error


def expected(database, agency):
    """event id: row of every event that the stream shows to a coordinator."""
    tenant = database.tenant(agency)
    words = "','".join(event_types())
    return {row["event_id"]: row for row in database.union(
        "event_id, type, aggregate_type, aggregate_id, aggregate_seq", "outbox",
        f"tenant_id = '{tenant}' AND type IN ('{words}')")}


def test_nothing_is_lost_or_repeated_whatever_is_cut(system, database, second,
                                                     agency_factory):
    agency = agency_factory(disciplines=[])
    with open_stream(system.url, agency.coordinator) as stream:
        # From here on, and the clinicians are the first to be seen.
        agency.clinicians = [agency.clinician(one) for one in ("rn", "pt")]
        stream.until(saw(*[one["id"] for one in agency.clinicians]))
        last_id = stream.last_id
    chance = random.Random(SEED)
    reader = Reader([system.url, second.url], agency.coordinator.key,
                    random.Random(SEED + 1), last_id)
    makers = [Maker(agency) for _ in range(2)]
    for thread in [reader, *makers]:
        thread.start()
    try:
        for turn in range(RESTARTS):
            cuts = reader.cuts + CUTS // (RESTARTS + 1)
            wait_for(lambda: reader.failed or reader.cuts >= cuts or
                     reader.cuts >= CUTS, 120, "cuts")
            if turn % 2 == 0:
                system.restarted("gateway", system.kill("gateway"))
            else:
                chance.choice([second.kill, second.stop])()
                second.start()
        wait_for(lambda: reader.failed or reader.cuts >= CUTS, 120, "cuts")
        for maker in makers:
            maker.enough.set()
            maker.join()
        wait_for(lambda: not database.behind(), QUIET_SECONDS, "quiet")
        wanted = wait_for(lambda: expected(database, agency))
        wait_for(lambda: reader.failed or len(reader.events) >= len(wanted),
                 20, f"{len(wanted)} events, CAIRN_SEED={SEED}")
    finally:
        for thread in [reader, *makers]:
            thread.enough.set()
            thread.join()
    assert reader.failed is None, reader.failed
    assert [maker.failed for maker in makers] == [None, None]
    wanted = expected(database, agency)
    got = [uuid_of(event.data["event_id"]) for event in reader.events]
    print(f"CAIRN_SEED={SEED}: {len(got)} events, {reader.cuts} cuts, "
          f"{reader.refused} refused, "
          f"{sum(maker.stories for maker in makers)} stories")
    assert "reset" not in types(reader.events)
    assert set(wanted) - set(got) == set(), f"lost, CAIRN_SEED={SEED}"
    assert [one for one, count in collections.Counter(got).items()
            if count > 1] == [], f"repeated, CAIRN_SEED={SEED}"
    assert set(got) == set(wanted)
    order = collections.defaultdict(list)
    for one in got:
        row = wanted[one]
        order[row["aggregate_type"], row["aggregate_id"]].append(
            int(row["aggregate_seq"]))
    assert all(seen == sorted(seen) for seen in order.values())
    assert len({row["type"].split(".")[0] for row in wanted.values()}) >= 5


# Last: it concerns all readers

@pytest.mark.skipif("CAIRN_TEST_HOME" in os.environ,
                    reason="the epoch of a home that stays is not for a test")
def test_a_log_of_a_new_epoch_resets_its_readers(system, second, agency):
    with open_stream(second.url, agency.coordinator) as stream:
        first = patient(agency.coordinator)
        stream.until(saw(first))
        last_id = stream.last_id
        for name in system.names_of("referrals"):
            path = os.path.join(system.home, "environment", name)
            with open(path, "a", encoding="utf-8") as file:
                file.write("CAIRN_EPOCH=2\n")
            system.restarted(name, system.kill(name, signal.SIGTERM))
            system.ready(name)
        again(lambda: agency.coordinator.post("/v1/patients", {
            "name": {"family": "Quillfeather"}})).ok(201)
        reset = stream.until(lambda events: events)[0]
        assert (reset.type, reset.data) == ("reset", {"reason": "restored"})
        made = patient(agency.coordinator)
        assert stream.until(saw(made))[-1].data["id"] == made
    with open_stream(second.url, agency.coordinator, last_id=last_id) as back:
        (event,) = back.until(lambda events: events)
        assert (event.type, event.data) == ("reset", {"reason": "restored"})
