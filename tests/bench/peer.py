# SPDX-License-Identifier: Apache-2.0
"""The like-for-like peer: Node, fastify and pg, from the shared references. It
has no authentication, audit, idempotency or tenancy."""
import http.client
import os
import shutil
import signal
import subprocess

from harness.system import die_with_parent, free_port
from harness.wait import wait_for

HERE = os.path.dirname(os.path.realpath(__file__))
REPO = os.path.realpath(os.path.join(HERE, "../.."))


class Peer:
    """One running peer on a database of its own."""

    def __init__(self, folder, port, process):
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        self.process = process

    def stop(self):
        """Ends it, with its workers."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def without_response(source, target):
    """A wrk script without its look at each answer, which costs the load
    generator more than the request."""
    with open(source, encoding="utf-8") as file:
        lines = [line for line in file if not line.startswith(
            ("function response", "local bad"))]
    with open(target, "w", encoding="utf-8") as file:
        file.writelines(lines)


def install(folder):
    """Installs its sources and modules below build/. Returns None, or the
    reason why it cannot."""
    shared = os.environ.get("CAIRN_SHARED") or os.path.join(REPO, "../shared")
    source = os.path.join(shared, "tools/baseline-node")
    if not os.path.isdir(source):
        return "the shared references are not beside the checkout"
    if not shutil.which("node") or not shutil.which("npm"):
        return "no node and npm"
    os.makedirs(folder, exist_ok=True)
    for name in ("package.json", "schema.sql"):
        shutil.copyfile(os.path.join(source, name),
                        os.path.join(folder, name))
    for name in ("post_referral.lua", "get_by_id.lua"):
        without_response(os.path.join(source, name),
                         os.path.join(folder, name))
    with open(os.path.join(source, "server.mjs"), encoding="utf-8") as file:
        text = file.read()
    # The private cluster listens on a socket only.
    with open(os.path.join(folder, "server.mjs"), "w",
              encoding="utf-8") as file:
        file.write(text.replace("host: '127.0.0.1', port: +(process.env.PGPORT",
                                "host: process.env.PGHOST, "
                                "port: +(process.env.PGPORT"))
    if not os.path.isdir(os.path.join(folder, "node_modules/fastify")):
        done = subprocess.run(["npm", "install", "--no-audit", "--no-fund"],
                              cwd=folder, capture_output=True, text=True,
                              check=False)
        if done.returncode != 0:
            return "npm install failed: " + done.stderr.strip()[-200:]
    return None


def start(folder, server, workers):
    """Starts it; server is the environment that says where PostgreSQL is."""
    port = free_port()
    environment = dict(server, PORT=str(port), POOL="16", WORKERS=str(workers),
                       NODE_ENV="production")
    with open(os.path.join(folder, "peer.log"), "ab") as log:
        process = subprocess.Popen(["node", "server.mjs"], cwd=folder,
                                   env=environment, stdout=log, stderr=log,
                                   stdin=subprocess.DEVNULL,
                                   start_new_session=True,
                                   preexec_fn=die_with_parent)
    peer = Peer(folder, port, process)

    def up():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    wait_for(up, 20, "the peer")
    return peer
