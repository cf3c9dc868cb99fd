# SPDX-License-Identifier: Apache-2.0
"""`make hooks`: git refuses a commit with a fault in what is staged."""
import os
import shutil
import subprocess

import pytest

from harness.lint import tree
from harness.system import REPO

GOOD = "/* SPDX-License-Identifier: Apache-2.0 */\nint one(void);\n"
NEEDED = ["Makefile", "CHANGELOG.md", ".clang-format", "tests/bans.py",
          "tests/bans.allow", "tests/layers.py", "tests/hooks/pre-commit"]


class Checkout:
    """A repository of its own with the hook installed."""

    def __init__(self, root):
        self.root = str(root)
        for path in NEEDED:
            place = os.path.join(self.root, path)
            os.makedirs(os.path.dirname(place), exist_ok=True)
            shutil.copy(os.path.join(REPO, path), place)
        self.git("init", "-q")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "the checks")
        self.run("make", "-s", "hooks")

    def run(self, *command, code=0):
        """What a command prints; it must end with that code."""
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith(("GIT_", "MAKE", "MFLAGS"))}
        done = subprocess.run(
            command, cwd=self.root, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        assert done.returncode == code, done.stdout
        return done.stdout

    def git(self, *words, code=0):
        """A git command."""
        return self.run("git", "-c", "user.name=Test",
                        "-c", "user.email=test@example.org", *words, code=code)

    def commit(self, path, text, code=0):
        """Stages one file and commits."""
        tree(self.root, {path: text})
        self.git("add", path)
        return self.git("commit", "-q", "-m", "a change", code=code)


@pytest.fixture(name="checkout")
def _checkout(tmp_path):
    return Checkout(tmp_path)


def test_what_is_good_is_committed(checkout):
    checkout.commit("common/base/one.h", GOOD)
    assert "a change" in checkout.git("log", "--oneline")


@pytest.mark.parametrize("path, text, told", [
    ("common/base/one.c", GOOD + "int two = atoi(three);\n", "number-parsing"),
    ("common/base/one.c", GOOD + '#include "common/db/db.h"\n',
     "must not include db/")])
def test_a_fault_is_refused(checkout, path, text, told):
    assert told in checkout.commit(path, text, code=1)


def test_another_layout_is_refused_or_the_hook_says_that_it_cannot_tell(
        checkout):
    bad = GOOD + "int  two;\n"
    if shutil.which("clang-format-14"):
        assert "clang-format" in checkout.commit("common/one.h", bad, code=1)
    else:
        assert "not checked" in checkout.commit("common/one.h", bad)


def test_what_is_staged_counts_not_what_stands_beside_it(checkout):
    tree(checkout.root, {"common/base/other.c": "exit(1);\n"})
    checkout.commit("common/base/one.h", GOOD)
    tree(checkout.root, {"common/base/one.h": GOOD + "int two = 2;\n"})
    checkout.git("add", "common/base/one.h")
    tree(checkout.root, {"common/base/one.h": "int  two;\n"})
    checkout.git("commit", "-q", "-m", "the staged text")
    tree(checkout.root, {"common/base/one.h": GOOD + "int three = atoi(a);\n"})
    checkout.git("add", "common/base/one.h")
    tree(checkout.root, {"common/base/one.h": GOOD})
    assert "number-parsing" in checkout.git("commit", "-m", "no", code=1)


def test_a_file_that_goes_is_not_looked_at(checkout):
    checkout.commit("common/base/one.h", GOOD)
    checkout.git("rm", "-q", "common/base/one.h")
    checkout.git("commit", "-q", "-m", "without it")


def test_it_is_installed_once_and_replaces_no_other(checkout):
    hook = os.path.join(checkout.root, ".git/hooks/pre-commit")
    checkout.run("make", "-s", "hooks")
    assert os.path.realpath(hook) == \
        os.path.join(checkout.root, "tests/hooks/pre-commit")
    os.remove(hook)
    tree(checkout.root, {".git/hooks/pre-commit": "#!/bin/sh\n"})
    checkout.run("make", "-s", "hooks", code=2)
