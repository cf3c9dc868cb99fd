# SPDX-License-Identifier: Apache-2.0
"""A database whose server belongs to others: migrated by a role that owns it
and may make roles, and is no superuser."""
import os
import subprocess

from harness.system import REPO, read

PG = os.path.join(REPO, "tests/lib/pg.sh")
SERVICES = ["referrals", "notifications"]


def test_a_database_is_migrated_without_a_superuser():
    started = subprocess.run([PG, "start"], check=True, capture_output=True,
                             text=True, timeout=60).stdout.strip()
    place = started.partition("=")[2]
    host, _, port = place.rpartition(":")
    environment = dict(os.environ, PGHOST=host, PGPORT=port,
                       PGDATABASE="cairn")

    def sql(user, database, *commands):
        words = [word for command in commands for word in ("-c", command)]
        return subprocess.run(["psql", "-XAt", "-U", user, "-d", database,
                               "-v", "ON_ERROR_STOP=1", *words],
                              env=environment, capture_output=True, text=True,
                              timeout=60, check=False)
    try:
        made = sql("postgres", "postgres",
                   "CREATE ROLE operator LOGIN CREATEROLE",
                   "CREATE DATABASE cairn OWNER operator")
        assert made.returncode == 0, made.stderr
        for _ in range(2):
            done = subprocess.run(
                [os.path.join(REPO, "deploy/migrate"),
                 os.path.join(REPO, "build/migrations"), *SERVICES],
                env=dict(environment, PGUSER="operator"),
                capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 0, done.stderr
        assert int(sql("postgres", "cairn", "SELECT count(*) FROM"
                       " referrals.schema_migrations").stdout) > 5
        # The relay sees its tables; nobody sees a patient without a tenant.
        assert sql("referrals_relay", "cairn",
                   "SELECT count(*) FROM referrals.due").stdout == "0\n"
        for role in ("referrals_app", "referrals_relay"):
            seen = sql(role, "cairn", "SELECT count(*) FROM referrals.patient")
            assert seen.returncode != 0, role
    finally:
        subprocess.run([PG, "stop", place], check=True, timeout=60)


def test_a_database_that_is_not_there_is_made_without_an_error():
    """A first start warns of nothing, the server's log included."""
    started = subprocess.run([PG, "start"], check=True, capture_output=True,
                             text=True, timeout=60).stdout.strip()
    place = started.partition("=")[2]
    host, _, port = place.rpartition(":")
    try:
        done = subprocess.run(
            [os.path.join(REPO, "deploy/migrate"),
             os.path.join(REPO, "build/migrations"), SERVICES[0]],
            env=dict(os.environ, PGHOST=host, PGPORT=port, PGDATABASE="cairn",
                     PGUSER="postgres"),
            capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        said = read(os.path.join(host, "log"))
        assert "FATAL" not in said and "ERROR" not in said, said
    finally:
        subprocess.run([PG, "stop", place], check=True, timeout=60)
