# SPDX-License-Identifier: Apache-2.0
"""The admin port of each process: health, metrics, and what it must not
show."""
import json
import os
import re
import shutil
import subprocess

import pytest

from harness.system import REPO, free_port

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


# What a line of HELP may not be: a word or two that only its author knows.
HELP = re.compile(r"# HELP (cairn_\w+|process_\w+) (.+)")
LABELS = {"answer", "channel", "check", "code", "lane", "le", "method",
          "outcome", "partition", "process", "producer", "reason", "route",
          "rule", "service", "state", "status", "type", "version"}


@pytest.mark.parametrize("name", NAMES)
def test_each_metric_is_told_in_a_sentence(system, name):
    text = system.admin(name).get("/metrics").text
    told = HELP.findall(text)
    assert len(told) > 20
    for metric, words in told:
        assert words.endswith("."), metric
        assert len(words.split()) >= 4, metric
    with open(os.path.join(REPO, "deploy/README.md"),
              encoding="utf-8") as file:
        documented = file.read()
    for metric, _ in told:
        parts = metric.split("_")
        assert f"`{metric}" in documented or any(
            "`" + "_".join(parts[:n]) + "_..." in documented
            for n in (1, 2)), metric


@pytest.mark.parametrize("name", NAMES)
def test_labels_of_metrics_have_few_values(system, name):
    text = system.admin(name).get("/metrics").text
    series = {}
    for line in text.splitlines():
        match = re.match(r"(\w+)\{(.*)\} ", line)
        if match:
            series.setdefault(match[1], []).append(match[2])
            assert set(re.findall(r'(\w+)="', match[2])) <= LABELS, line
    for metric, rows in series.items():
        assert len(rows) <= 2000, metric


def value(text, line):
    """The number behind a metric and its labels; 0 when it is not told."""
    match = re.search("^" + re.escape(line) + r" (\S+)$", text, re.M)
    return float(match[1]) if match else 0


def test_metrics_tell_of_clocks_messages_and_e_mail(system, agency, data_file,
                                                    wait_for):
    hl7 = 'cairn_hl7_messages_total{type="%s",answer="%s"}'
    lines = {
        "referrals": [hl7 % ("REF^I12", "AA"), hl7 % ("other", "AR"),
                      'cairn_deadlines{rule="C01",state="open"}'],
        "notifications": ['cairn_messages_total{channel="email",'
                          'status="queued"}'],
    }

    def told():
        return {line: sum(value(system.admin(one).get("/metrics").text, line)
                          for one in (system.names_of(name) if "_total" in line
                                      else [name]))
                for name, own in lines.items() for line in own}
    before = told()
    content = data_file("referral.hl7")
    control = os.urandom(6).hex().encode()
    content = content.replace(content.split(b"|")[9], control, 1)
    for _ in range(2):
        assert b"MSA|AA" in agency.integrator.hl7(content).body
    other = content.replace(b"REF^I12^REF_I12", b"ADT^A01^ADT_A01") \
        .replace(b"REF^I12", b"ADT^A01")
    assert b"MSA|AR" in agency.integrator.hl7(other).body
    reference = agency.coordinator.get("/v1/referrals").ok(200)["data"][0]
    agency.coordinator.patch(
        "/v1/referrals/" + reference["id"],
        {"disciplines": ["rn"], "ordering_physician":
         {"agrees_to_sign": True}}).ok(200)
    agency.coordinator.post(f"/v1/referrals/{reference['id']}/accept").ok(200)

    def grown():
        now = told()
        return {line: now[line] - count for line, count in before.items()}
    wait_for(lambda: all(grown().values()), 25, "the metrics to grow")
    assert grown()[hl7 % ("REF^I12", "AA")] >= 2


def test_a_line_tells_who_asked_for_what_and_how_it_went(system, agency,
                                                         wait_for):
    """By the template of the path and the id of the agency as the API has it.
    What a client wrote into the path or the query is in no line."""
    reader = agency.coordinator
    tenant = reader.get("/v1/me").ok(200)["agency_id"]
    found = reader.get("/v1/patients", family="Marburg-Zzyzx")
    lost = reader.get("/v1/referrals/Marburg-Zzyzx")
    for reply, path in ((found, "/v1/patients"),
                        (lost, "/v1/referrals/{id}")):
        mark = reply.headers["request-id"]

        def written(mark=mark):
            return [json.loads(line) for name in system.names_of("gateway")
                    for line in system.log(name).splitlines()
                    if mark in line]
        # A turn's lines are written at its end.
        (line,) = wait_for(written, 5, "the line of the request")
        assert (line["verb"], line["path"], line["status"]) == \
            ("GET", path, reply.status)
        assert line["address"] == "127.0.0.1"
        assert line["tenant"] == tenant
        assert line["us"] > 0
    for name in system.names() + system.names_of("gateway"):
        text = system.log(name)
        assert "Zzyzx" not in text
        for tenants in re.findall(r'"tenant":"([^"]*)"', text):
            assert tenants.startswith("agc_"), name


def test_a_service_whose_mail_goes_nowhere_does_not_start(system):
    environment = dict(system.environment("notifications"),
                       CAIRN_BIND=f"tcp://127.0.0.1:{free_port()}",
                       CAIRN_ADMIN="")
    told = run("notifications", "--check-config",
               {**environment, "CAIRN_SMTP_URL": ""})
    assert told.returncode == 1
    assert told.stderr == "cairn-notifications: CAIRN_SMTP_URL is missing\n"
    told = run("notifications", "--check-config",
               {**environment, "CAIRN_SMTP_CA": "/nonexistent"})
    assert told.returncode == 1
    assert "CAIRN_SMTP_CA must be a file" in told.stderr
    ended = subprocess.run(
        [program("notifications")], capture_output=True, text=True,
        timeout=60, check=False,
        env={**environment, "CAIRN_SMTP_URL": "smtp://sink.invalid:2525"})
    assert ended.returncode == 1
    assert "CAIRN_SMTP_URL smtp://sink.invalid:2525" in \
        ended.stdout.splitlines()[-1]


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
    # Compose has settings of its own.
    with open(os.path.join(REPO, ".env.example"), encoding="utf-8") as file:
        compose = set(re.findall(r"^#?(CAIRN_\w+)=", file.read(), re.M))
    assert documented - compose <= known <= documented


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
