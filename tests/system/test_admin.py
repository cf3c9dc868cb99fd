# SPDX-License-Identifier: Apache-2.0
"""The admin port of each process: health, metrics, and what it must not
show."""
import os
import re
import shutil
import subprocess

import pytest

from harness.system import REPO

MODE = os.environ.get("MODE", "release")
NAMES = ["gateway", "access", "referrals", "scheduling", "documents",
         "notifications"]


def program(name):
    """The binary of a process."""
    return os.path.join(REPO, "build", MODE, "cairn-" + name)


def run(name, flag, environment=None):
    """Runs a binary with a flag. Returns the ended process."""
    return subprocess.run([program(name), flag], env=environment or {},
                          capture_output=True, text=True, timeout=20,
                          check=False)


@pytest.mark.parametrize("name", NAMES)
def test_a_running_process_is_alive_and_ready(system, wait_for, name):
    admin = system.admin(name)
    assert admin.get("/livez").status == 200
    wait_for(lambda: admin.get("/readyz").status == 200, 10, "readiness")
    told = admin.get("/readyz?verbose").ok(200)
    assert told["ready"] is True
    assert told["checks"]["running"] is True
    assert admin.get("/startupz").status == 200


@pytest.mark.parametrize("name", NAMES)
def test_a_binary_asks_the_process_whose_environment_it_has(system, name):
    assert run(name, "--healthcheck", system.environment(name)).returncode == 0
    nobody = dict(system.environment(name), CAIRN_ADMIN="127.0.0.1:1")
    assert run(name, "--healthcheck", nobody).returncode == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_binary_tells_its_version_and_commit(name):
    told = run(name, "--version")
    assert told.returncode == 0
    given, version, commit = told.stdout.split()
    assert given == "cairn-" + name
    assert re.fullmatch(r"\d+\.\d+\.\d+(-dev)?", version)
    assert commit


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/metrics"])
def test_clients_find_no_admin_page(client, path):
    assert client(None).get(path).status == 404


@pytest.mark.parametrize("name", NAMES)
def test_metrics_are_what_prometheus_reads(system, name):
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    text = system.admin(name).get("/metrics").text
    checked = subprocess.run(["promtool", "check", "metrics"], input=text,
                             capture_output=True, text=True, timeout=20,
                             check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_requests_are_counted_by_route_and_by_method(system, agency):
    agency.coordinator.get("/v1/me").ok(200)
    agency.coordinator.get("/v1/referrals").ok(200)
    assert agency.coordinator.get("/v1/nothing").status == 404
    text = system.admin("gateway").get("/metrics").text
    for line in ('cairn_http_requests_total{route="/v1/referrals",'
                 'method="GET",status="200"}',
                 'cairn_http_requests_total{route="none",method="any",'
                 'status="404"}',
                 'cairn_http_request_duration_seconds_count{'
                 'route="/v1/referrals",method="GET"}'):
        assert line in text
    served = system.admin("referrals").get("/metrics").text
    for line in ('cairn_rpc_requests_total{method='
                 '"referrals.v1.Referrals/ListReferrals",code="ok"}',
                 'cairn_rpc_request_duration_seconds_bucket{method='
                 '"referrals.v1.Referrals/ListReferrals",le="10"}',
                 'cairn_db_units_total{lane="read",outcome="committed"}'):
        assert line in served


@pytest.mark.parametrize("name", NAMES)
def test_metrics_name_no_tenant_and_no_record(system, agency, name):
    agency.coordinator.get("/v1/patients?limit=1")
    text = system.admin(name).get("/metrics").text
    assert "cairn_build_info{" in text
    assert "process_resident_memory_bytes" in text
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}|(ref|pat|vis|doc|msg|agy)_",
                         text)


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_told_to_operators(name):
    told = run(name, "--help").stdout
    settings = re.findall(r"^(CAIRN_\w+)$", told, re.M)
    assert "CAIRN_ADMIN" in settings
    with open(os.path.join(REPO, "deploy/README.md"),
              encoding="utf-8") as file:
        documented = set(re.findall(r"`(CAIRN_\w+)`", file.read()))
    assert set(settings) <= documented


def test_no_setting_is_told_that_no_program_has():
    with open(os.path.join(REPO, "deploy/README.md"),
              encoding="utf-8") as file:
        documented = set(re.findall(r"`(CAIRN_\w+)`", file.read()))
    known = set()
    for name in NAMES:
        known.update(re.findall(r"^(CAIRN_\w+)$", run(name, "--help").stdout,
                                re.M))
    assert documented == known


@pytest.mark.parametrize("name", NAMES)
def test_printed_settings_hold_no_secret(system, name):
    environment = system.environment(name)
    printed = run(name, "--print-config", environment)
    assert printed.returncode == 0, printed.stderr
    assert "CAIRN_ADMIN=" + environment["CAIRN_ADMIN"] in printed.stdout
    for setting, path in environment.items():
        if setting.endswith("_FILE"):
            with open(path, encoding="utf-8") as file:
                for line in file.read().splitlines():
                    assert line not in printed.stdout
    assert run(name, "--check-config", environment).returncode == 0


def test_every_fault_of_the_settings_has_a_line(system):
    environment = dict(system.environment("gateway"), CAIRN_LISTEN="nowhere",
                       CAIRN_ENDPOINTS="access", CAIRN_LOG_LEVEL="loud",
                       CAIRN_CONNECTIONS="1", CAIRN_LISTNE="x",
                       CAIRN_PUBLIC_URL="cairn.example/")
    checked = run("gateway", "--check-config", environment)
    assert checked.returncode == 1
    told = sorted(line.split()[1] for line in checked.stderr.splitlines())
    assert told == ["CAIRN_CONNECTIONS", "CAIRN_ENDPOINTS", "CAIRN_LISTEN",
                    "CAIRN_LISTNE", "CAIRN_LOG_LEVEL", "CAIRN_PUBLIC_URL"]
