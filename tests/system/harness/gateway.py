# SPDX-License-Identifier: Apache-2.0
"""A further gateway of a running System, with settings of its own."""
import os
import re
import signal
import subprocess

from harness.client import Client
from harness.system import free_port, die_with_parent
from harness.wait import wait_for

START_SECONDS = 20
STOP_SECONDS = 20


class Gateway:
    """url, and the process behind it."""

    def __init__(self, system, **settings):
        self.system = system
        self.port = free_port()
        self.admin_port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = dict(
            system.environment("gateway"),
            CAIRN_LISTEN=f"127.0.0.1:{self.port}",
            CAIRN_ADMIN=f"127.0.0.1:{self.admin_port}", **settings)
        self.process = None

    def program(self):
        """The build that the system runs."""
        pid = self.system.pid("gateway")
        return os.readlink(f"/proc/{pid}/exe")

    def start(self):
        """Starts it and waits until it is ready."""
        with open(os.path.join(self.system.home, "log/gateway-by-hand.log"),
                  "ab") as log:
            self.process = subprocess.Popen(
                [self.program()], env=self.environment, stdout=log,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                preexec_fn=die_with_parent)
        wait_for(lambda: Client(f"http://127.0.0.1:{self.admin_port}", None)
                 .get("/readyz").status == 200, START_SECONDS, "a gateway")
        return self

    def metric(self, name):
        """The value of a metric without labels."""
        text = Client(f"http://127.0.0.1:{self.admin_port}", None).get(
            "/metrics").body.decode()
        return float(re.search(rf"^{name} (\S+)$", text, re.MULTILINE)[1])

    def kill(self):
        """SIGKILL."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def stop(self):
        """SIGTERM; it must end by itself, with 0."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(STOP_SECONDS)
        assert status == 0, f"the gateway ended with {status}"

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop()
