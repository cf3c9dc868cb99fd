# SPDX-License-Identifier: Apache-2.0
"""The rows in PostgreSQL, read as its superuser and not through the
services."""
import csv
import io
import os
import subprocess
import uuid

from harness.system import SERVICES, read

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
ID_DIGITS = 26
SECONDS = 60


def uuid_of(outside_id):
    """The UUID behind "ref_...", as PostgreSQL writes it."""
    digits = outside_id.rpartition("_")[2]
    assert len(digits) == ID_DIGITS, outside_id
    number = 0
    for digit in digits:
        number = number * len(ALPHABET) + ALPHABET.index(digit)
    return str(uuid.UUID(int=number))


class Database:
    """The cluster of a running System."""

    def __init__(self, system):
        path = os.path.join(system.home, "environment/migrate")
        settings = dict(line.split("=", 1) for line in read(path).splitlines())
        self.place = ["-h", settings["PGHOST"], "-p", settings["PGPORT"], "-U",
                      "postgres", "-d", settings["PGDATABASE"]]

    def run(self, *words):
        """What one of PostgreSQL's programs writes."""
        done = subprocess.run([words[0], *self.place, *words[1:]], check=False,
                              capture_output=True, text=True, timeout=SECONDS)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def rows(self, statement):
        """The rows of a SELECT, each a dict of texts."""
        text = self.run("psql", "-X", "-q", "--csv", "-v", "ON_ERROR_STOP=1",
                        "-c", statement)
        return list(csv.DictReader(io.StringIO(text)))

    def value(self, statement):
        """The one value of the one row, as text."""
        (row,) = self.rows(statement)
        (value,) = row.values()
        return value

    def union(self, columns, table, condition="true"):
        """Rows of a platform's table out of every service, each with
        `service`."""
        return self.rows(" UNION ALL ".join(
            f"SELECT '{service}' AS service, {columns} FROM {service}.{table}"
            f" WHERE {condition}" for service in SERVICES))

    @staticmethod
    def tenant(agency):
        """The tenant_id of an agency."""
        return uuid_of(agency.id)

    def tenant_of(self, story):
        """The tenant_id of a story."""
        return self.value("SELECT tenant_id FROM referrals.referral WHERE id ="
                          f" '{uuid_of(story.id)}'")

    # The log of events

    def broken_logs(self):
        """Aggregates whose events are not numbered 1 to n in the order of the
        log."""
        return self.rows(" UNION ALL ".join(f"""
            SELECT '{service}' AS service, aggregate_type, aggregate_id
            FROM (SELECT o.*, row_number() OVER (
                      PARTITION BY tenant_id, aggregate_type, aggregate_id
                      ORDER BY epoch, xid, seq) AS place
                  FROM {service}.outbox o) o
            WHERE place <> aggregate_seq""" for service in SERVICES))

    def behind(self):
        """Consumers that have not passed all of a partition of their
        producer's log."""
        logs = " UNION ALL ".join(
            f"SELECT '{service}' AS producer, partition, epoch, xid, seq"
            f" FROM {service}.outbox" for service in SERVICES)
        positions = " UNION ALL ".join(
            f"SELECT '{service}' AS consumer, * FROM {service}.inbox_position"
            for service in SERVICES)
        return self.rows(f"""
            SELECT DISTINCT p.consumer, p.producer, p.partition
            FROM ({positions}) p JOIN ({logs}) o USING (producer, partition)
            WHERE (o.epoch, o.xid, o.seq) > (p.epoch, p.xid, p.seq)""")

    def dump(self):
        """All data as (table, column, value); bytes as text where they are
        some."""
        table, columns = None, []
        for line in self.run("pg_dump", "--data-only").splitlines():
            if line.startswith("COPY "):
                table, _, rest = line[len("COPY "):].partition(" (")
                columns = rest.partition(") FROM ")[0].split(", ")
            elif line == "\\.":
                table = None
            elif table is not None:
                for column, value in zip(columns, line.split("\t")):
                    if value.startswith("\\\\x"):
                        value = bytes.fromhex(value[3:]).decode("latin-1")
                    yield table, column, value
