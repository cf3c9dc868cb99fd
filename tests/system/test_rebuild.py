# SPDX-License-Identifier: Apache-2.0
"""A consumer that is emptied under load rebuilds its copies from snapshot and
log. Its rows are then equal to those of its twin, which was left alone. The
same when the log was deleted before, and through kill -9. The twins of
scheduling and notifications are processes of their own with a database of
their own."""
import os
import signal
import subprocess
import threading

import pytest

from harness.agency import Agency
from harness.client import Client
from harness.database import Database
from harness.story import Story
from harness.system import (REPO, System, die_with_parent, free_port, read,
                            temporary_home)
from harness.wait import wait_for

MODE = os.environ.get("MODE") or "release"
BUILD = os.path.join(REPO, "build", MODE)
READY_SECONDS = 60
REBUILD_SECONDS = 60
CAUGHT_UP_SECONDS = 60
# Patients before the twins begin: with their referrals more than one page.
BEFORE = 400 if os.environ.get("CAIRN_LONG") == "1" else 60
CLIENTS = 3
FOLLOWED = {"scheduling": ["access", "referrals"],
            "notifications": ["referrals", "scheduling"]}
# Copies and what their rows are compared by; a body is compared opened.
COPIES = {
    "scheduling": {"agency": "event_seq, time_zone, auto_book_soc",
                   "branch": "id, event_seq, time_zone",
                   "need": "id, patient_id, event_seq",
                   "patient": "id, version"},
    "notifications": {"referral": "id, event_seq, patient_id, accepted",
                      "patient": "id, version",
                      "visit": "id, event_seq, referral_id, clinician_id,"
                               " booked",
                      "clinician": "id, event_seq"},
}
SEALED = {"need", "patient", "referral", "visit", "clinician"}
EFFECTS = {"scheduling": "SELECT referral_id FROM scheduling.visit"
                         " WHERE kind = 'soc' ORDER BY 1",
           "notifications": "SELECT referral_id, template, audience"
                            " FROM notifications.message ORDER BY 1, 2, 3"}


class TwinDatabase(Database):
    """Another database of the system's cluster, migrated for two services."""

    def __init__(self, system, name):
        super().__init__(system)
        self.run("psql", "-X", "-q", "-c", f"CREATE DATABASE {name}")
        self.place[-1] = name
        self.name = name
        path = os.path.join(system.home, "environment/migrate")
        settings = dict(line.split("=", 1)
                        for line in read(path).splitlines())
        settings["PGDATABASE"] = name
        done = subprocess.run(
            [os.path.join(REPO, "deploy/migrate"),
             os.path.join(REPO, "build/migrations"), *FOLLOWED],
            env=settings, check=False, capture_output=True, text=True,
            timeout=120)
        assert done.returncode == 0, done.stderr

    def drop(self):
        """Removes it, whoever is connected."""
        place = self.place[:-1] + ["postgres"]
        subprocess.run(["psql", *place, "-X", "-q", "-c",
                        f"DROP DATABASE {self.name} WITH (FORCE)"],
                       check=True, capture_output=True)


class Twin:
    """A process of a service that nobody calls; it follows what the system's
    own does."""

    def __init__(self, system, database, service):
        self.service = service
        self.log = os.path.join(system.home, "log", f"twin-{service}.log")
        self.settings = dict(
            system.environment(service),
            CAIRN_BIND=f"tcp://127.0.0.1:{free_port()}",
            CAIRN_ADMIN=f"127.0.0.1:{free_port()}")
        place = self.settings["CAIRN_DB"].rpartition("dbname=")[0]
        self.settings["CAIRN_DB"] = place + "dbname=" + database.name
        if service == "notifications":
            # Its mails are not delivered, so nobody gets a message twice.
            self.settings["CAIRN_SMTP_URL"] = "smtp://127.0.0.1:1"
        self.process = None

    def start(self):
        """Starts it, or starts it again."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [os.path.join(BUILD, f"cairn-{self.service}")],
                env=self.settings, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
                preexec_fn=die_with_parent)

    def kill(self):
        """kill -9."""
        self.process.kill()
        assert self.process.wait(10) == -signal.SIGKILL, read(self.log)

    def stop(self):
        """As the supervisor does; it must end well."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(60) == 0, read(self.log)[-4000:]


class Load(threading.Thread):
    """Referrals come in, are completed and accepted, patients move house and
    visits are made, until it is stopped."""

    def __init__(self, agency):
        super().__init__()
        self.agency = agency
        self.stopping = threading.Event()
        self.count = 0
        self.error = None

    def run(self):
        try:
            while not self.stopping.is_set():
                tell(self.agency, self.count)
                self.count += 1
        except AssertionError as error:
            self.error = error

    def stop(self):
        """Ends it; nothing of it may have failed."""
        self.stopping.set()
        self.join(60)
        assert self.error is None, self.error


def tell(agency, number):
    """One story, as far as its number says."""
    story = Story(agency)
    story.send()
    story.complete_referral()
    story.complete_patient()
    story.accept()
    if number % 3 == 0:
        reply = agency.coordinator.patch(
            f"/v1/patients/{story.patient_id}",
            {"language": "es", "email": f"new-{story.patient_email}"})
        reply.ok(200)
    return story


def behind(database, own, service):
    """Partitions of which the consumer has not passed all."""
    positions = ", ".join(
        f"('{row['producer']}', {row['partition']}, {row['epoch']},"
        f" '{row['xid']}'::xid8, {row['seq']})" for row in own.rows(
            "SELECT producer, partition, epoch, xid, seq"
            f" FROM {service}.inbox_position"))
    logs = " UNION ALL ".join(
        f"SELECT '{producer}' AS producer, partition, epoch, xid, seq"
        f" FROM {producer}.outbox" for producer in FOLLOWED[service])
    return database.rows(
        "SELECT DISTINCT p.producer, p.partition"
        f" FROM (VALUES {positions}) p (producer, partition, epoch, xid, seq)"
        f" JOIN ({logs}) o USING (producer, partition)"
        " WHERE (o.epoch, o.xid, o.seq) > (p.epoch, p.xid, p.seq)")


def contents(own, service, table, seal_key):
    """All rows of a copy, its bodies opened."""
    columns = COPIES[service][table]
    body = ", encode(body, 'hex') AS body" if table in SEALED else ""
    rows = own.rows(f"SELECT tenant_id, {columns}{body} FROM {service}.{table}"
                    f" ORDER BY tenant_id{', id' if 'id,' in columns else ''}")
    if body:
        lines = "".join(f"{row['tenant_id']} {service}.{table}.body"
                        f" {row.pop('body')}\n" for row in rows)
        done = subprocess.run(
            [os.path.join(BUILD, "tests/tool/unseal")], input=lines, text=True,
            check=False, capture_output=True, timeout=60,
            env={"CAIRN_SEAL_KEY_FILE": seal_key})
        assert done.returncode == 0, done.stderr
        for row, plain in zip(rows, done.stdout.splitlines()):
            row["body"] = plain
    return rows


@pytest.fixture(scope="module")
def cairn():
    """A Cairn of this file's own: its log is deleted."""
    if os.environ.get("CAIRN_TEST_HOME"):
        pytest.skip("it starts processes of its own")
    subprocess.run(["make", f"MODE={MODE}", "-C", REPO,
                    f"build/{MODE}/tests/tool/unseal"], check=True,
                   capture_output=True, timeout=600)
    running = System(temporary_home())
    try:
        running.start(CAIRN_REPLICAS="1")
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
def twins(cairn):
    """The twins' database and its two processes, not started."""
    own = TwinDatabase(cairn, "twin")
    running = {name: Twin(cairn, own, name) for name in FOLLOWED}
    try:
        yield own, running
        for twin in running.values():
            twin.stop()
    finally:
        for twin in running.values():
            if twin.process is not None and twin.process.poll() is None:
                twin.kill()
        own.drop()


def empty(own, service):
    """Empties all copies and asks for them in one transaction: no effect may
    read what is not there."""
    asks = "".join(f"SELECT {service}.rebuild_ask('{producer}', true);"
                   for producer in FOLLOWED[service])
    tables = ", ".join(f"{service}.{table}" for table in COPIES[service])
    own.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c",
            f"BEGIN; TRUNCATE {tables}; {asks} COMMIT")


def rebuilt(own, service):
    """Is no rebuild open?"""
    return own.value(f"SELECT count(*) FROM {service}.rebuild"
                     " WHERE ended_at IS NULL") == "0"


def assert_equal(database, own, seal_key):
    """Everything followed, the rows are the same, and so are the effects."""
    for service, tables in COPIES.items():
        for place in (database, own):
            wait_for(lambda p=place, s=service: not behind(database, p, s),
                     CAUGHT_UP_SECONDS, f"{service} having followed all")
        for table in tables:
            untouched = contents(database, service, table, seal_key)
            again = contents(own, service, table, seal_key)
            assert len(untouched) > 0
            assert again == untouched, f"{service}.{table}"
        assert own.value(f"SELECT count(*) FROM {service}.dead_letter") == "0"
        assert own.value("SELECT coalesce(sum(failed), 0)"
                         f" FROM {service}.rebuild") == "0"


def effects(place, service, tenant):
    """What the effects of a tenant's events have made."""
    return place.rows(EFFECTS[service].replace(
        " ORDER", f" {'AND' if 'WHERE' in EFFECTS[service] else 'WHERE'}"
        f" tenant_id = '{tenant}' ORDER"))


def many(agency, seconds=120):
    """Stories told by several at once until there are so many."""
    loads = [Load(agency) for _ in range(CLIENTS)]
    for load in loads:
        load.start()
    try:
        wait_for(lambda: sum(load.count for load in loads) >= BEFORE or
                 any(load.error for load in loads), seconds, "the first rows")
    finally:
        for load in loads:
            load.stop()


def test_an_emptied_consumer_becomes_equal_to_its_twin(cairn, twins):
    own, running = twins
    database = Database(cairn)
    seal_key = cairn.environment("scheduling")["CAIRN_SEAL_KEY_FILE"]
    agency = Agency(cairn.url, Client(cairn.url, cairn.platform_key))
    many(agency)
    for twin in running.values():
        twin.start()
    # A first start on a whole log: no snapshot.
    assert_equal(database, own, seal_key)
    for service in FOLLOWED:
        assert own.value(f"SELECT count(*) FROM {service}.rebuild") == "0"

    load = Load(agency)
    load.start()
    try:
        empty(own, "notifications")
        # In the middle of it: after a page that is there, before the last.
        kill_midway(own, running["scheduling"], "scheduling")
        for service in FOLLOWED:
            wait_for(lambda s=service: rebuilt(own, s), REBUILD_SECONDS,
                     f"the copies of {service}")
        assert running["scheduling"].process.poll() is None
        # What all have passed is deleted; whoever is emptied then cannot read
        # it again.
        for producer in ("access", "referrals", "scheduling"):
            delete_passed(database, own, producer)
        for service in FOLLOWED:
            empty(own, service)
        for service in FOLLOWED:
            wait_for(lambda s=service: rebuilt(own, s), REBUILD_SECONDS,
                     f"the copies of {service} after the log was cut")
    finally:
        load.stop()
    assert load.count > 0
    assert_equal(database, own, seal_key)
    # No effect was lost and none repeated by the twin: each acceptance has one
    # start of care, each referral its messages once.
    tenant = database.tenant(agency)
    accepted = database.value(
        "SELECT count(*) FROM referrals.referral WHERE status IN ('accepted',"
        f" 'soc_scheduled', 'admitted') AND tenant_id = '{tenant}'")
    assert str(len(effects(own, "scheduling", tenant))) == accepted
    wait_for(lambda: effects(own, "notifications", tenant)
             == effects(database, "notifications", tenant),
             what="the same messages")


def kill_midway(own, twin, service):
    """Empties it, and kills it in the middle: after a page that is there, while
    the next one finds its table locked."""
    def psql(text):
        own.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", text)

    def loading():
        return own.value(
            "SELECT loaded > 0 AND attempts > 0 AND ended_at IS NULL"
            f" FROM {service}.rebuild WHERE producer = 'referrals'") == "t"

    psql(f"""
        CREATE FUNCTION {service}.hold() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF (SELECT r.loaded FROM {service}.rebuild r
                WHERE r.producer = 'referrals') > 0 THEN
                RAISE lock_not_available;
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER hold BEFORE INSERT ON {service}.need
            FOR EACH ROW EXECUTE FUNCTION {service}.hold();
        """)
    empty(own, service)
    wait_for(loading, REBUILD_SECONDS, "a page")
    twin.kill()
    assert loading()
    psql(f"DROP TRIGGER hold ON {service}.need;"
         f" DROP FUNCTION {service}.hold()")
    twin.start()


def delete_passed(database, own, producer):
    """Deletes the events that every follower, the twins too, has passed."""
    of_twins = [row for service, producers in FOLLOWED.items()
                if producer in producers
                for row in own.rows(
                    "SELECT partition, epoch, xid, seq"
                    f" FROM {service}.inbox_position"
                    f" WHERE producer = '{producer}'")]
    of_all = of_twins + database.union("partition, epoch, xid, seq",
                                       "inbox_position",
                                       f"producer = '{producer}'")
    passed = {}
    for row in of_all:
        place = tuple(int(row[name]) for name in ("epoch", "xid", "seq"))
        number = int(row["partition"])
        passed[number] = min(passed.get(number, place), place)
    values = ", ".join(f"({number}, {epoch}, '{xid}'::xid8, {seq})"
                       for number, (epoch, xid, seq) in passed.items())
    database.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", f"""
        DELETE FROM {producer}.outbox o
        USING (VALUES {values}) p (partition, epoch, xid, seq)
        WHERE o.partition = p.partition
        AND (o.epoch, o.xid, o.seq) <= (p.epoch, p.xid, p.seq)""")
