# SPDX-License-Identifier: Apache-2.0
"""deploy/docker/setup and what it runs in containers, without an engine: a
stand-in for docker tells what it was asked, and answers as the test wants."""
import json
import os
import shutil
import subprocess

import pytest

from harness.system import REPO

MODE = os.environ.get("MODE", "release")
DOCKER = os.path.join(REPO, "deploy/docker")
# $FAKE holds the answers: running (a service a line), epoch (of the database).
FAKE = """#!/bin/sh
echo "$*" >>"$FAKE/asked"
case $* in
"buildx version"|"compose version") exit 0 ;;
*" ps "*running*) cat "$FAKE/running" ;;
*" ps "*) ;;
*psql*) [ -s "$FAKE/epoch" ] && cat "$FAKE/epoch" ;;
*pg_dump*) echo archive ;;
esac
"""


class Setup:
    """A checkout with deploy/docker/setup, and the stand-in for docker."""

    def __init__(self, folder):
        self.root = folder / "checkout"
        self.fake = folder / "fake"
        (self.root / "deploy/docker").mkdir(parents=True)
        self.fake.mkdir()
        shutil.copy(os.path.join(DOCKER, "setup"), self.root / "deploy/docker")
        shutil.copy(os.path.join(REPO, ".env.example"), self.root)
        (self.fake / "docker").write_text(FAKE)
        (self.fake / "docker").chmod(0o755)
        self.tell("running", "")
        self.tell("epoch", "1\n")

    def tell(self, name, text):
        """What the stand-in will answer."""
        (self.fake / name).write_text(text)

    def env(self, text=None):
        """.env as it is, or as it is from now on."""
        path = self.root / ".env"
        if text is not None:
            path.write_text(text)
        return path.read_text() if path.exists() else None

    def asked(self):
        """What docker was asked to do, a line each."""
        path = self.fake / "asked"
        return path.read_text().splitlines() if path.exists() else []

    def run(self, *words, **environment):
        """Runs setup. Returns the ended process."""
        given = {name: value for name, value in os.environ.items()
                 if not name.startswith(("CAIRN_", "COMPOSE_"))}
        given.update(environment, FAKE=str(self.fake),
                     PATH=f"{self.fake}:{os.environ['PATH']}")
        return subprocess.run([self.root / "deploy/docker/setup", *words],
                              env=given, capture_output=True, text=True,
                              timeout=60, check=False)


@pytest.fixture
def setup(tmp_path):
    """A checkout of its own."""
    return Setup(tmp_path)


@pytest.mark.parametrize("env, database, epoch", [
    ("CAIRN_EPOCH=1\n", "1", "2"),
    ("A=1\nCAIRN_EPOCH=4\nB=2", "2", "5"),
    ("A=1\n", "3", "4"),
    ("CAIRN_EPOCH=1\n", "0", "2"),
])
def test_an_epoch_is_raised_above_all_that_were(setup, env, database, epoch):
    """Those of .env and of the database: of the two, one may be older."""
    setup.env(env)
    setup.tell("epoch", database + "\n")
    done = setup.run("epoch")
    assert done.returncode == 0, done.stderr
    lines = setup.env().splitlines()
    assert lines.count(f"CAIRN_EPOCH={epoch}") == 1
    assert sum(line.startswith("CAIRN_EPOCH=") for line in lines) == 1
    for line in env.splitlines():
        assert line in lines or line.startswith("CAIRN_EPOCH=")


@pytest.mark.parametrize("words", [["epoch"], ["restore", "archive"]])
def test_an_epoch_is_not_raised_while_a_service_runs(setup, words):
    setup.env("CAIRN_EPOCH=1\n")
    setup.tell("running", "postgres\nreferrals\n")
    (setup.root / "archive").write_text("archive")
    done = setup.run(*words)
    assert done.returncode == 1
    assert "these still run: referrals; first: docker-compose stop" \
        in done.stderr
    assert setup.env() == "CAIRN_EPOCH=1\n"
    assert not [line for line in setup.asked() if "dropdb" in line]


def test_an_epoch_is_not_raised_where_it_would_be_hidden(setup):
    setup.env("CAIRN_EPOCH=1\n")
    assert "unset it" in setup.run("epoch", CAIRN_EPOCH="2").stderr
    setup.tell("epoch", "")
    assert "does not tell its last epoch" in setup.run("epoch").stderr
    assert setup.env() == "CAIRN_EPOCH=1\n"
    assert setup.run("epoch", "6").returncode == 0
    assert setup.env() == "CAIRN_EPOCH=7\n"


def test_a_restore_ends_in_a_new_epoch(setup):
    setup.env("CAIRN_EPOCH=2\n")
    (setup.root / "archive").write_text("archive")
    done = setup.run("restore", "archive")
    assert done.returncode == 0, done.stderr
    assert setup.env() == "CAIRN_EPOCH=3\n"
    words = [word for line in setup.asked()
             for word in ("dropdb", "createdb", "pg_restore", "run --rm migrate")
             if word in line]
    assert words == ["run --rm migrate", "dropdb", "createdb", "pg_restore",
                     "run --rm migrate"]


def test_a_backup_is_for_its_owner_alone(setup):
    """Names of patients stand in the database in clear."""
    assert setup.run("backup", setup.root / "archive").returncode == 0
    path = setup.root / "archive"
    assert path.read_text() == "archive\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_settings_are_those_of_env(setup):
    setup.env("CAIRN_PUBLIC_URL=https://cairn.example\nCAIRN_VERSION=7\n"
              "CAIRN_SECRETS=kept\n")
    done = setup.run("up")
    assert done.returncode == 0, done.stderr
    assert "Cairn is at https://cairn.example" in done.stdout
    assert f"{setup.root}/kept/ca.crt" in done.stdout
    assert "demo" not in done.stdout
    assert any(f"{setup.root}/kept:/secrets cairn/tools:7" in line
               for line in setup.asked())


def test_a_first_start_has_its_settings_in_env(setup):
    done = setup.run("up")
    assert done.returncode == 0, done.stderr
    with open(os.path.join(REPO, ".env.example"), encoding="utf-8") as file:
        assert setup.env() == file.read()
    assert "show demo/env" in done.stdout
    assert done.stderr == ""


def test_make_run_and_make_up_share_no_port():
    with open(os.path.join(REPO, ".env.example"), encoding="utf-8") as file:
        ports = [int(line.partition("=")[2]) for line in file
                 if line.startswith(("CAIRN_HTTPS_PORT=", "CAIRN_HTTP_PORT="))]
    assert len(ports) == 2
    # make run has one for each of its gateways, four at most.
    assert not set(ports) & set(range(8080, 8084))


# Secrets

@pytest.fixture(scope="module")
def tools():
    """A PATH with the programs that make keys."""
    if os.geteuid() != 0 or shutil.which("openssl") is None:
        pytest.skip("the files are given to another user, by root; openssl")
    return f"{os.path.join(REPO, 'build', MODE)}:{os.environ['PATH']}"


def make_secrets(folder, tools, *words):
    """Runs deploy/docker/secrets. Returns the ended process."""
    return subprocess.run([os.path.join(DOCKER, "secrets"), *words],
                          env={"PATH": tools,
                               "CAIRN_SECRETS_FOLDER": str(folder)},
                          capture_output=True, text=True, timeout=60,
                          check=False)


def openssl(*words):
    """Runs openssl."""
    subprocess.run(["openssl", *words], check=True, capture_output=True,
                   timeout=60)


def test_what_an_agency_has_put_there_is_kept(tmp_path, tools):
    """Its own certificate above all: it was overwritten at each start."""
    assert make_secrets(tmp_path, tools).returncode == 0
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9",
            "-subj", "/CN=cairn.agency.example",
            "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "own"))
    own = (tmp_path / "own").read_text() + (tmp_path / "key").read_text()
    (tmp_path / "edge.pem").write_text(own)
    (tmp_path / "smtp_password").write_text("secret\n")
    for name in ("database_ca.crt", "smtp_ca.crt"):
        (tmp_path / name).write_text((tmp_path / "own").read_text())
    names = [name for name in os.listdir(tmp_path)
             if (tmp_path / name).is_file()]
    before = {name: (tmp_path / name).read_bytes() for name in names}
    done = make_secrets(tmp_path, tools)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    for name in names:
        assert (tmp_path / name).read_bytes() == before[name], name
    assert (tmp_path / "edge.pem").stat().st_mode & 0o777 == 0o400
    told = make_secrets(tmp_path, tools, "certificates").stdout
    assert len(told.splitlines()) == 6
    assert [line.split()[0] for line in told.splitlines() if "ENDS" in line] \
        == ["database_ca.crt", "smtp_ca.crt", "edge.pem"]


def test_a_certificate_without_its_key_is_refused_by_name(tmp_path, tools):
    assert make_secrets(tmp_path, tools).returncode == 0
    (tmp_path / "edge.pem").write_text((tmp_path / "ca.crt").read_text())
    done = make_secrets(tmp_path, tools)
    assert done.returncode == 1
    assert "edge.pem must hold" in done.stderr


def test_a_certificate_of_ours_that_ends_soon_is_renewed(tmp_path, tools):
    assert make_secrets(tmp_path, tools).returncode == 0
    openssl("x509", "-in", str(tmp_path / "edge.crt"), "-days", "9",
            "-signkey", str(tmp_path / "edge.tls"),
            "-out", str(tmp_path / "short"))
    os.replace(tmp_path / "short", tmp_path / "edge.crt")
    (tmp_path / "edge.pem").write_text((tmp_path / "edge.crt").read_text() +
                                       (tmp_path / "edge.tls").read_text())
    done = make_secrets(tmp_path, tools)
    assert done.returncode == 0, done.stderr
    assert "edge.crt is made anew" in done.stdout
    assert "ENDS" not in make_secrets(tmp_path, tools, "certificates").stdout
    assert (tmp_path / "edge.pem").read_text() == \
        (tmp_path / "edge.crt").read_text() + \
        (tmp_path / "edge.tls").read_text()


# Logs of programs that are not ours

LINES = """\
2026-11-29 17:53:48.123 UTC|12|access_app|cairn|23505|ERROR:  duplicate "x\\y"
2026-11-29 17:53:48.123 UTC|12|||00000|LOG:  ready to accept connections
	a line that goes on
[WARNING]  (1) : Server gateways/gateway1 is DOWN
[WARNING]  (1) : Server gateways/gateway1 is UP, reason: Layer7 check passed
[WARNING]  (1) : gateways/gateway2 changed its IP from (none) to 172.20.0.3
{"ts":"2026-11-29T17:53:48Z","level":"info","svc":"edge"}

no \x01 letter, \xff no byte
"""


def test_each_line_of_another_program_becomes_json(tmp_path):
    path = tmp_path / "lines"
    path.write_bytes(LINES.encode("latin-1"))
    done = subprocess.run([os.path.join(DOCKER, "json-log"), "postgres",
                           "/bin/sh", "-c", f"cat {path} >&2; exit 3"],
                          capture_output=True, text=True, timeout=60,
                          check=False)
    assert done.returncode == 3, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["level"] for line in told] == \
        ["error", "info", "info", "warn", "info", "info", "info", "info"]
    assert told[0] == {"ts": "2026-11-29T17:53:48.123Z", "level": "error",
                       "svc": "postgres", "pid": 12, "user": "access_app",
                       "database": "cairn", "sqlstate": "23505",
                       "msg": 'duplicate "x\\y"'}
    assert "user" not in told[1] and "sqlstate" not in told[1]
    assert told[6]["svc"] == "edge"
    assert told[7]["msg"] == "no   letter, ? no byte"


def test_a_signal_reaches_the_program_and_its_end_is_told(tmp_path):
    ready = tmp_path / "ready"
    script = f"import signal, sys\n" \
        f"signal.signal(signal.SIGUSR1, lambda *_: sys.exit(7))\n" \
        f"open({str(ready)!r}, 'w').close()\n" \
        f"signal.pause()\n"
    with subprocess.Popen(
            [os.path.join(DOCKER, "json-log"), "edge", "/usr/bin/python3",
             "-c", script], stdout=subprocess.DEVNULL) as process:
        try:
            while not ready.exists() and process.poll() is None:
                os.sched_yield()
            process.send_signal(10)
            assert process.wait(30) == 7
        finally:
            process.kill()
