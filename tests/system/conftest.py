# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the system tests. CAIRN_TEST_HOME names the home of a Cairn that
already runs; without it one is started, MODE says which build."""
import os

import pytest

from harness.agency import Agency
from harness.client import Client
from harness.contract import Contract
from harness.database import Database
from harness.system import REPO, System, temporary_home
from harness.wait import wait_for as wait


def pytest_collection_modifyitems(items):
    """First the tests that start a Cairn of their own, or none: the session's
    one would take a part of the processor beside them, resting as it is."""
    items.sort(key=lambda item: "system" in item.fixturenames)


@pytest.fixture(scope="session")
def system():
    """The one running Cairn of the session. After the last test it is stopped;
    an end that no test caused or a sanitizer's report fails the run."""
    if os.environ.get("CAIRN_TEST_HOME"):
        yield System(os.environ["CAIRN_TEST_HOME"]).attach()
        return
    running = System(temporary_home())
    try:
        try:
            running.start()
        except AssertionError as error:
            pytest.fail(str(error)[:4000], pytrace=False)
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


@pytest.fixture(scope="session")
def wait_for():
    """wait_for(look, seconds=5, what=...): see harness/wait.py."""
    return wait


@pytest.fixture(scope="session")
def client(system):
    """client(key) makes a client; client(None) has no credential."""
    return system.client


@pytest.fixture(scope="session")
def database(system):
    """The rows in PostgreSQL; see harness/database.py."""
    return Database(system)


@pytest.fixture(scope="session")
def contract(client):
    """The served openapi.json; see harness/contract.py."""
    return Contract(client(None).get("/openapi.json").ok(200))


@pytest.fixture(scope="session")
def platform(system):
    """A client with the platform operator's key."""
    return Client(system.url, system.platform_key)


@pytest.fixture(scope="session")
def agency_factory(system, platform):
    """agency_factory(**options) makes a tenant; see harness/agency.py."""
    return lambda **options: Agency(system.url, platform, **options)


@pytest.fixture
def agency(agency_factory):
    """A tenant of this test's own: a branch, clients `administrator`,
    `coordinator`, `integrator`, and two clinicians (rn, pt)."""
    return agency_factory()


@pytest.fixture(scope="session")
def shared_file():
    """shared_file("data/hl7v2/REF-I12-01.hl7") reads a file of the shared
    references, or skips the test where they are not beside the checkout."""
    root = os.environ.get("CAIRN_SHARED") or os.path.join(REPO, "../shared")

    def read_file(name):
        path = os.path.join(root, name)
        if not os.path.exists(path):
            # In CI the references are there: a test that skips is a fault.
            assert os.environ.get("CI") != "true", f"no shared/{name}"
            pytest.skip(f"shared/{name} is not beside the checkout")
        with open(path, "rb") as file:
            return file.read()
    return read_file


@pytest.fixture(scope="session")
def data_file():
    """data_file("referral.hl7") reads a file of tests/data."""
    def read_file(name):
        with open(os.path.join(REPO, "tests/data", name), "rb") as file:
            return file.read()
    return read_file


@pytest.fixture(scope="session")
def long_run():
    """Does this run have the time of the long forms (make test-long)?"""
    return os.environ.get("CAIRN_LONG") == "1"
