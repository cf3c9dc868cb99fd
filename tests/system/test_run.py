# SPDX-License-Identifier: Apache-2.0
"""make run itself: what it starts, keeps to itself and brings back."""
import glob
import os
import stat
import subprocess

import pytest

from harness.client import Client
from harness.system import RUN, SERVICES, read


def processes(system):
    """The names of all that runs."""
    return system.names() + system.names_of("gateway") + ["postgres", "sink"]


def listening(pid):
    """Addresses on which a process listens, as /proc writes them."""
    inodes = set()
    for path in glob.glob(f"/proc/{pid}/fd/*"):
        try:
            inodes.add(os.readlink(path))
        except OSError:
            continue
    found = []
    for table in ("tcp", "tcp6"):
        with open(f"/proc/{pid}/net/{table}", encoding="ascii") as file:
            rows = [line.split() for line in file.readlines()[1:]]
        found += [row[1].partition(":")[0] for row in rows
                  if row[3] == "0A" and f"socket:[{row[9]}]" in inodes]
    return found


def test_the_demo_keys_work_and_are_of_two_agencies(system, client):
    one = client(system.key).get("/v1/me").ok(200)
    two = client(system.other_key).get("/v1/me").ok(200)
    assert one["role"] == two["role"] == "coordinator"
    assert one["agency_id"] != two["agency_id"]
    assert one["branch_id"]


def test_the_demo_has_an_administrator_who_reads_what_one_may(system, client):
    values = dict(line.split("=", 1)
                  for line in read(os.path.join(system.home, "env"))
                  .splitlines())
    administrator = client(values["CAIRN_ADMINISTRATOR_KEY"])
    me = administrator.get("/v1/me").ok(200)
    assert me["role"] == "administrator"
    assert me["agency_id"] == client(system.key).get("/v1/me") \
        .ok(200)["agency_id"]
    for path in ("/v1/users", "/v1/api-keys", "/v1/audit",
                 "/v1/services/referrals/dead-letters"):
        administrator.get(path).ok(200)


def test_an_epoch_that_was_told_once_is_kept(system, tmp_path):
    epoch = read(os.path.join(system.home, "epoch")).strip()
    for name in system.names():
        assert system.environment(name)["CAIRN_EPOCH"] == epoch
    (tmp_path / "epoch").write_text("3\n", encoding="utf-8")
    done = subprocess.run([RUN], capture_output=True, text=True, timeout=30,
                          env=dict(os.environ, CAIRN_HOME=str(tmp_path),
                                   CAIRN_PORT="0", CAIRN_EPOCH="2"),
                          check=False)
    assert done.returncode == 1
    assert "is in epoch 3 already" in done.stderr


def test_the_file_with_the_keys_is_its_owners_alone(system):
    for name in ("env", "secrets/platform.key", "secrets/seal.key"):
        mode = os.stat(os.path.join(system.home, name)).st_mode
        assert stat.S_IMODE(mode) == 0o600, name


def test_a_second_run_on_the_same_home_is_refused(system):
    done = subprocess.run([RUN], capture_output=True, text=True, timeout=30,
                          env=dict(os.environ, CAIRN_HOME=system.home,
                                   CAIRN_PORT="0"), check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("make run: another run uses ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("count", ["0", "5", "two", "1 "])
def test_a_count_of_replicas_that_is_none_is_refused(tmp_path, count):
    done = subprocess.run([RUN], capture_output=True, text=True, timeout=30,
                          env=dict(os.environ, CAIRN_HOME=str(tmp_path),
                                   CAIRN_REPLICAS=count), check=False)
    assert done.returncode == 1
    assert done.stderr == "make run: CAIRN_REPLICAS must be 1, 2, 3 or 4\n"
    assert not os.listdir(tmp_path)


def test_the_admin_file_of_each_process_names_its_admin_port(system):
    for name in system.names() + system.names_of("gateway"):
        with open(os.path.join(system.home, "run", name + ".admin"),
                  encoding="ascii") as file:
            told = Client("http://" + file.read().strip(), None)
        assert (told.host, told.port) == (system.admin(name).host,
                                          system.admin(name).port)
        assert told.get("/livez").status == 200, name


def test_only_loopback_is_opened(system):
    for name in processes(system):
        for address in listening(system.pid(name)):
            assert address in ("0100007F", "0" * 24 + "01000000"), name


def test_no_secret_is_in_an_environment_or_a_command_line(system):
    secrets = []
    for path in glob.glob(os.path.join(system.home, "secrets/**"),
                          recursive=True):
        if os.path.isfile(path) and not path.endswith(".pub"):
            with open(path, "rb") as file:
                secrets.append(file.read().strip())
    assert len(secrets) >= 2 + 3 * len(SERVICES)
    for name in processes(system):
        for part in ("environ", "cmdline"):
            with open(f"/proc/{system.pid(name)}/{part}", "rb") as file:
                text = file.read()
            assert not [1 for secret in secrets if secret in text], name


def test_what_is_killed_is_started_again_and_answers(system, client, wait_for):
    for name, path in (("documents", "/v1/documents"),
                       ("gateway", "/v1/me"), ("access", "/v1/me")):
        old = system.kill(name)
        system.restarted(name, old)
        system.ready(name)
        wait_for(lambda path=path:
                 client(system.key).get(path).status == 200, 10, name)
