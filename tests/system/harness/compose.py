# SPDX-License-Identifier: Apache-2.0
"""One Cairn in containers, started by deploy/docker/setup under a project name
of its own."""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

from harness.system import REPO, die_with_parent, free_port, read
from harness.wait import wait_for

SETUP = os.path.join(REPO, "deploy/docker/setup")
ENGINE_SECONDS = 30
UP_SECONDS = 1500  # the first time the base and all images are made
READY_SECONDS = 300  # on a machine that does other work too


def engine_answers():
    """Is there a Docker Engine that we may use?"""
    return subprocess.run(["docker", "info"], check=False, timeout=60,
                          capture_output=True).returncode == 0


class Engine:
    """The machine's Docker Engine; starts Debian's when none runs."""

    def __init__(self):
        self.process = None
        self.home = None

    def start(self):
        """None when an engine answers; else the reason why there is none."""
        if shutil.which("docker") is None:
            return "docker is not installed (deploy/install --containers)"
        if engine_answers():
            return None
        if os.geteuid() != 0 or shutil.which("dockerd") is None:
            return "no engine runs, and none can be started (root and dockerd)"
        self.home = tempfile.mkdtemp(prefix="cairn-engine-")
        with open(os.path.join(self.home, "log"), "wb") as log:
            self.process = subprocess.Popen(
                ["dockerd"], stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
                preexec_fn=die_with_parent)
        deadline = time.monotonic() + ENGINE_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            if engine_answers():
                return None
        said = read(os.path.join(self.home, "log")).strip().splitlines()[-1:]
        self.stop()
        return f"dockerd does not start: {' '.join(said)[-300:]}"

    def stop(self):
        """Stops the engine if start() started it."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
                self.process.wait(60)
            self.process = None
        if self.home is not None:
            shutil.rmtree(self.home, ignore_errors=True)
            self.home = None


class Compose:
    """url, home (as harness.system.System attaches to), and the containers."""

    def __init__(self, scale):
        self.scale = scale
        self.first = {}
        self.home = tempfile.mkdtemp(prefix="cairn-compose-")
        self.secrets = os.path.join(self.home, "compose-secrets")
        self.https = free_port()
        self.http = free_port()
        self.pg_port = free_port()
        self.url = f"https://127.0.0.1:{self.https}"
        mail = os.path.join(self.home, "mail")
        os.makedirs(mail)
        os.chmod(mail, 0o777)
        os.chmod(self.home, 0o755)
        given = {name: value for name, value in os.environ.items()
                 if not name.startswith(("CAIRN_", "COMPOSE_"))}
        self.environment = dict(
            given, COMPOSE_PROJECT_NAME=os.path.basename(self.home).lower()
            .replace("_", "x"),
            COMPOSE_PROFILES="demo", COMPOSE_FILE=":".join(
                (os.path.join(REPO, "docker-compose.yml"),
                 os.path.join(REPO, "tests/system/compose.yml"))),
            CAIRN_VERSION="test", CAIRN_PUBLIC_URL=self.url,
            CAIRN_SECRETS=self.secrets, CAIRN_SMTP_URL="smtp://sink:2525",
            CAIRN_SMTP_CA="/run/secrets/ca.crt",
            CAIRN_HTTPS_PORT=str(self.https), CAIRN_HTTP_PORT=str(self.http),
            CAIRN_TEST_PG_PORT=str(self.pg_port), CAIRN_TEST_MAIL=mail)

    def run(self, *words, seconds=300, both=False):
        """What a command writes (to its standard error too: both); the test
        fails when it does."""
        done = subprocess.run(words, env=self.environment, cwd=REPO,
                              check=False, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=seconds)
        assert done.returncode == 0, \
            f"{' '.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout + (done.stderr if both else "")

    def compose(self, *words, seconds=300):
        """The docker-compose that is installed."""
        return self.run(SETUP, "compose", *words, seconds=seconds)

    def start(self):
        """Builds, starts, and returns when the demo is loaded."""
        self.run(SETUP, "up", seconds=UP_SECONDS)
        wait_for(lambda: self.healthy() and
                 os.path.exists(os.path.join(self.secrets, "demo/env")),
                 READY_SECONDS, "the containers' health and the demo")
        with open(os.path.join(self.home, "env"), "w",
                  encoding="utf-8") as file:
            file.write(self.run(SETUP, "show", "demo/env"))
        # By container, before any test does something.
        self.first = {box["Id"]: self.run("docker", "logs", box["Id"],
                                          both=True).splitlines()
                      for box in self.containers()}
        self.compose("up", "-d", "--no-recreate",
                     *(word for name, count in self.scale.items()
                       for word in ("--scale", f"{name}={count}")),
                     *self.scale)
        wait_for(self.healthy, READY_SECONDS, "the further replicas' health")
        for folder in ("secrets", "environment", "log", "run"):
            os.makedirs(os.path.join(self.home, folder))
        shutil.copy(os.path.join(self.secrets, "platform.key"),
                    os.path.join(self.home, "secrets/platform.key"))
        with open(os.path.join(self.home, "environment/migrate"), "w",
                  encoding="utf-8") as file:
            file.write(f"PGHOST=127.0.0.1\nPGPORT={self.pg_port}\n"
                       "PGDATABASE=cairn\n")
        return self

    def test_environment(self):
        """For a pytest that runs against these containers."""
        return dict(os.environ, CAIRN_TEST_HOME=self.home,
                    CAIRN_CA=os.path.join(self.secrets, "ca.crt"),
                    CURL_CA_BUNDLE=os.path.join(self.secrets, "ca.crt"),
                    PGPASSWORD=read(os.path.join(self.secrets, "postgres")))

    def containers(self, service=None):
        """docker inspect of the project's containers."""
        words = ["docker", "ps", "-aq", "--filter", "label="
                 "com.docker.compose.project="
                 + self.environment["COMPOSE_PROJECT_NAME"]]
        if service is not None:
            words += ["--filter", f"label=com.docker.compose.service={service}"]
        ids = self.run(*words).split()
        return json.loads(self.run("docker", "inspect", *ids)) if ids else []

    def healthy(self):
        """Are all containers with a health check healthy, and do the others
        run?"""
        found = self.containers()
        return bool(found) and all(
            box["State"].get("Health", {"Status": "healthy"})["Status"]
            == "healthy" and (box["State"]["Running"] or
                              box["State"]["ExitCode"] == 0)
            for box in found)

    def logs(self):
        """All that all containers have written."""
        return self.compose("logs", "--no-color")

    def stop(self):
        """Ends and removes it all, the data too."""
        try:
            self.compose("down", "-v", "--remove-orphans")
        finally:
            shutil.rmtree(self.home, ignore_errors=True)
