# SPDX-License-Identifier: Apache-2.0
"""Every word of a problem, a warning or a reason is listed with its meaning, in
the protos (so in openapi.json) and in a README."""
import subprocess
import sys

from harness.system import REPO


def test_every_code_is_listed_with_its_meaning():
    done = subprocess.run([sys.executable, "tests/codes.py"], cwd=REPO,
                          capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
