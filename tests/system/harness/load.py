# SPDX-License-Identifier: Apache-2.0
"""Many clients at several gateways, who ask only what is safe to ask twice:
reads, and writes with an Idempotency-Key. Each keeps its connections and does
what the edge in front of the gateways does:

- where no connection comes about, nothing was sent: it goes to the next
  gateway;
- a connection that has ended since its last answer is not used again;
- a request that was sent and got no answer is a failure, unless the load may
  retry: then it goes once, with the same key, to the next gateway."""
import dataclasses
import http.client
import json
import random
import select
import threading
import time
import urllib.parse
import uuid

from harness.client import Reply
from harness.story import json_referral
from harness.wait import wait_for

ANSWER_SECONDS = 20  # more than the gateway gives a request
PAUSE_SECONDS = 0.01  # of each client between two requests
EMPTY_SECONDS = 20
REMEMBERED = 200  # referrals of one client that it reads again
LISTS = ["referrals", "patients", "episodes", "visits", "clinicians",
         "documents", "messages"]


class Unanswered(Exception):
    """It was sent, and the connection ended without an answer."""


class Refused(Exception):
    """No gateway took a connection: nothing was sent."""


@dataclasses.dataclass
class Outcome:
    """What became of one request."""
    kind: str
    method: str
    path: str
    key: str  # None: a read
    body: object
    credential: str
    begun_at: float
    gateway: int = None  # which one was asked last
    seconds: float = 0
    retried: bool = False
    reply: Reply = None  # None: no answer
    error: str = None  # why it is a failure

    def __str__(self):
        return (f"{self.kind} {self.method} {self.path} key={self.key}"
                f" gateway={self.gateway} retried={self.retried}"
                f" after {self.seconds * 1000:.0f} ms: {self.error}"
                f" {self.reply!r}")


class Edge:
    """Kept connections to all gateways, of one client; each request goes to
    one of them by chance."""

    def __init__(self, urls, chance, retries):
        self.places = [urllib.parse.urlsplit(url) for url in urls]
        self.kept = [None] * len(urls)
        self.chance = chance
        self.retries = retries

    def _usable(self, at):
        """The kept connection, unless the gateway has ended it."""
        kept = self.kept[at]
        if kept is None or kept.sock is None:
            return None
        readable, _, _ = select.select([kept.sock], [], [], 0)
        if readable:
            kept.close()
            return None
        return kept

    def _connection(self, at):
        """To one gateway; OSError when there is none."""
        kept = self._usable(at)
        if kept is None:
            place = self.places[at]
            kept = http.client.HTTPConnection(place.hostname, place.port,
                                              timeout=ANSWER_SECONDS)
            kept.connect()
            self.kept[at] = kept
        return kept

    def _any(self, first):
        """(which gateway, its connection): the first one if it is up."""
        why = None
        for offset in range(len(self.places)):
            at = (first + offset) % len(self.places)
            try:
                return at, self._connection(at)
            except OSError as error:
                why = error
        raise Refused(repr(why))

    @staticmethod
    def _exchange(connection, method, path, content, headers):
        try:
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            return Reply(answer.status, answer.getheaders(), answer.read())
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unanswered(repr(error)) from None

    def send(self, outcome, content, headers):
        """Fills the outcome's gateway, retried and reply."""
        outcome.gateway, connection = self._any(
            self.chance.randrange(len(self.places)))
        try:
            outcome.reply = self._exchange(connection, outcome.method,
                                           outcome.path, content, headers)
        except Unanswered:
            if not self.retries:
                raise
            outcome.retried = True
            outcome.gateway, connection = self._any(outcome.gateway + 1)
            outcome.reply = self._exchange(connection, outcome.method,
                                           outcome.path, content, headers)

    def close(self):
        """Ends all connections."""
        for connection in self.kept:
            if connection is not None:
                connection.close()


class Actor(threading.Thread):
    """One client: creates, completes and accepts referrals, makes users and
    clinicians, and reads."""

    def __init__(self, load, number):
        super().__init__(name=f"client {number}", daemon=True)
        self.load = load
        self.chance = random.Random(load.seed * 1000 + number)
        self.edge = Edge(load.urls, self.chance, load.retries)
        self.referrals = []  # ids of its own
        self.waiting = []  # of those, not accepted yet
        self.outcomes = []

    def run(self):
        acts = [self.create, self.create, self.read, self.read, self.list,
                self.list, self.accept, self.user, self.clinician]
        while not self.load.ended.wait(self.load.pause):
            self.chance.choice(acts)()
        self.edge.close()

    def ask(self, kind, client, method, path, body=None, expected=200):
        """One request; a write gets a key. Returns its JSON, None after a
        failure."""
        key = None if method == "GET" else str(uuid.UUID(
            int=self.chance.getrandbits(128), version=4))
        headers = {"Authorization": "Bearer " + client.key}
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            headers["Content-Type"] = "application/merge-patch+json" \
                if method == "PATCH" else "application/json"
        if key is not None:
            headers["Idempotency-Key"] = key
        outcome = Outcome(kind, method, path, key, body, client.key,
                          time.monotonic())
        try:
            self.edge.send(outcome, content, headers)
            if outcome.reply.status != expected:
                outcome.error = f"answered {outcome.reply.status}"
        except (Unanswered, Refused) as error:
            outcome.error = f"{type(error).__name__}: {error}"
        outcome.seconds = time.monotonic() - outcome.begun_at
        self.outcomes.append(outcome)
        return None if outcome.error else outcome.reply.json

    def check(self, right):
        """An answer that belongs to another request is a failure."""
        if not right:
            self.outcomes[-1].error = "answered to something else"

    # What a client does

    def create(self):
        body = json_referral(disciplines=["rn"])
        body["ordering_physician"]["agrees_to_sign"] = True
        made = self.ask("create", self.load.agency.coordinator, "POST",
                        "/v1/referrals", body, 201)
        if made is not None:
            self.check(made["source"]["external_id"] ==
                       body["source"]["external_id"])
            self.referrals = self.referrals[-REMEMBERED:] + [made["id"]]
            self.waiting.append(made["id"])

    def read(self):
        if not self.referrals:
            return
        wanted = self.chance.choice(self.referrals)
        found = self.ask("read", self.load.agency.coordinator, "GET",
                         "/v1/referrals/" + wanted)
        if found is not None:
            self.check(found["id"] == wanted)

    def list(self):
        name = self.chance.choice(LISTS + ["users"])
        client = self.load.agency.administrator if name == "users" \
            else self.load.agency.coordinator
        found = self.ask("list", client, "GET", f"/v1/{name}?limit=20")
        if found is not None:
            self.check(isinstance(found.get("data"), list))

    def accept(self):
        if not self.waiting:
            return
        wanted = self.waiting.pop()
        client = self.load.agency.coordinator
        self.ask("patch", client, "PATCH", "/v1/referrals/" + wanted,
                 {"source": {"email": f"{wanted}@hospital.example"}})
        found = self.ask("accept", client, "POST",
                         f"/v1/referrals/{wanted}/accept", {})
        if found is not None:
            self.check(found["id"] == wanted)

    def user(self):
        name = f"Test Person {self.chance.getrandbits(64):x}"
        made = self.ask("user", self.load.agency.administrator, "POST",
                        "/v1/users", {
                            "name": name, "email": "person@agency.example",
                            "role": "coordinator",
                            "branch_ids": [self.load.agency.branch_id]}, 201)
        if made is not None:
            self.check(made["name"] == name)

    def clinician(self):
        name = f"Test Clinician {self.chance.getrandbits(64):x}"
        made = self.ask("clinician", self.load.agency.administrator, "POST",
                        "/v1/clinicians", {
                            "name": name, "discipline": "rn",
                            "languages": ["en"],
                            "branch_id": self.load.agency.branch_id,
                            "coverage": {"postal_codes": ["42010"]},
                            "licence": {"number": "T-2", "state": "KY",
                                        "expires_on": "2035-12-31"},
                            "hours": [{"weekday": "monday", "from": "08:00",
                                       "to": "16:00"}]}, 201)
        if made is not None:
            self.check(made["name"] == name)


class Load:
    """`with Load(system, agency, seed) as load:` runs until the block ends.
    retries: a client may send what was not answered once more elsewhere."""

    def __init__(self, system, agency, seed, clients=6, retries=False,
                 pause=PAUSE_SECONDS):
        self.urls = system.urls
        self.agency = agency
        self.seed = seed
        self.retries = retries
        self.pause = pause
        self.ended = threading.Event()
        self.actors = [Actor(self, number) for number in range(clients)]

    def __enter__(self):
        for actor in self.actors:
            actor.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for actor in self.actors:
            actor.join(3 * ANSWER_SECONDS)
            assert not actor.is_alive(), f"{actor.name} hangs"

    def outcomes(self):
        """Of all clients, in the order of their begin."""
        return sorted((outcome for actor in self.actors
                       for outcome in actor.outcomes),
                      key=lambda outcome: outcome.begun_at)

    def count(self):
        """How many requests have ended."""
        return sum(len(actor.outcomes) for actor in self.actors)

    def go_on(self, count=60):
        """Until so many more requests have ended."""
        until = self.count() + count
        wait_for(lambda: self.count() >= until, EMPTY_SECONDS,
                 f"{count} more requests")

    def failures(self):
        """What must be empty."""
        return [outcome for outcome in self.outcomes() if outcome.error]

    def written(self, kind):
        """The answered writes of a kind, by key."""
        return {outcome.key: outcome for outcome in self.outcomes()
                if outcome.kind == kind and not outcome.error}

    def summary(self):
        """For the log of a test."""
        seconds = sorted(outcome.seconds for outcome in self.outcomes())
        if not seconds:
            return "no request"
        at = [seconds[int(len(seconds) * part)] * 1000 for part in
              (0.5, 0.99)]
        retried = sum(outcome.retried for outcome in self.outcomes())
        return (f"{len(seconds)} requests, {retried} retried,"
                f" {len(self.failures())} failed; p50 {at[0]:.0f} ms,"
                f" p99 {at[1]:.0f} ms, longest {seconds[-1] * 1000:.0f} ms")
