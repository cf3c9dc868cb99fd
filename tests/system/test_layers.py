# SPDX-License-Identifier: Apache-2.0
"""The check of the layers finds each include that points the wrong way."""
import pytest

from harness.lint import check, tree

layers = check("layers")

# file, the folder that it must not include
WRONG = [
    ("common/base/x.c", "wire"),
    ("common/wire/x.h", "policy"),
    ("common/policy/x.c", "wire"),
    ("common/hl7/x.c", "store"),
    ("common/loop/x.c", "bus"),
    ("common/http/x.c", "db"),
    ("common/db/x.c", "store"),
    ("common/bus/x.c", "contract"),
    ("common/contract/x.h", "store"),
    ("common/store/x.c", "outbox"),
    ("common/outbox/x.c", "inbox"),
    ("common/inbox/x.c", "outbox_internal"),
    ("common/deadlines/x.c", "service"),
    ("common/audit/x.c", "bus"),
    ("common/process/x.c", "store"),
    ("common/service/x.c", "nowhere"),
    ("common/nowhere/x.c", "base"),
]


def found(path, folder):
    text = f'#include <stdio.h>\n#include "common/{folder}/y.h"\n'
    return list(layers.faults(path, text))


def test_every_layer_has_a_wrong_arrow():
    assert set(layers.LAYERS) <= {path.split("/")[1] for path, _ in WRONG}


@pytest.mark.parametrize("path, folder", WRONG)
def test_an_arrow_that_points_the_wrong_way_is_found(path, folder):
    assert found(path, folder) == [(2, folder)]


@pytest.mark.parametrize("path, folder", [
    ("common/base/x.c", "base"), ("common/wire/x.c", "base"),
    ("common/store/x.c", "db"), ("common/deadlines/x.c", "inbox"),
    ("common/service/x.c", "deadlines")])
def test_an_arrow_that_points_down_is_free(path, folder):
    assert not found(path, folder)


def test_no_layer_stands_above_itself():
    below = {name: set(row.split()) for name, row in layers.LAYERS.items()}
    for name, row in below.items():
        assert all(name not in below[other] for other in row - {name})


def test_the_faults_of_a_tree_are_told_and_counted(tmp_path, monkeypatch, capsys):
    root = tree(tmp_path, {
        "common/base/a.c": '#include "common/base/a.h"\n',
        "common/base/b.c": '\n#include "common/db/db.h"\n'})
    monkeypatch.setattr("sys.argv", ["layers.py", root])
    assert layers.main() == 1
    assert capsys.readouterr().out == \
        "common/base/b.c:2: must not include db/\n"
