# SPDX-License-Identifier: Apache-2.0
"""The checks of tests/lint that are Python files, for their own tests."""
import importlib.util
import os
import pathlib

from harness.system import REPO


def check(name):
    """The module tests/<name>.py."""
    spec = importlib.util.spec_from_file_location(
        name, os.path.join(REPO, "tests", name + ".py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tree(root, files):
    """Writes the files, {path: text}, below a folder and returns its name."""
    for path, text in files.items():
        place = pathlib.Path(root, path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    return str(root)
